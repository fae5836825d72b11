package daemon

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"tend/internal/engine"
	"tend/internal/event"
	"tend/internal/fault"
	"tend/internal/logs"
	"tend/internal/notify"
	"tend/internal/proc"
	"tend/internal/spec"
	"tend/internal/unit"
)

// maxStored bounds the descriptors that are kept for an instance (FDSTORE=1).
const maxStored = 128

// hearing is by which ways an instance says how it is, and what it has left with
// us. It belongs to the loop.
type hearing struct {
	speech
	store []stored
	later []func() // what was heard before the answer to the spawn
	wrong bool     // that others have sent something in its name was said
	odd   map[string]bool
	pace  pace
}

// A pace slows down a program that doesn't stop to tell us something: each message
// is a turn of the loop, and most are a write to the ledger.
type pace struct {
	second time.Time // when the latest second began
	n      int       // messages within it
}

const (
	manyMessages = 100 // in a second
	messagePause = 100 * time.Millisecond
)

// tooMany counts a message, and reports whether the next one is to wait.
func (p *pace) tooMany(now time.Time) bool {
	if now.Sub(p.second) >= time.Second {
		p.second, p.n = now, 0
	}
	p.n++
	return p.n > manyMessages
}

// A speech is what an attempt says how it is with. It is made beside the loop, for
// one that is about to start.
type speech struct {
	socket *notifySocket // sd_notify(3); nil: none
	ready  int           // our end of the pipe of ready.fd; 0: there is none
	match  *matcher      // for ready.log; nil: none
	uid    int           // of the program
}

type notifySocket struct {
	fd   int
	name string // as NOTIFY_SOCKET has it
}

// nameOf returns the name of a socket, "" of none.
func (s *notifySocket) nameOf() string {
	if s == nil {
		return ""
	}
	return s.name
}

// A stored descriptor is one that a program has given us to keep over its
// restarts.
type stored struct {
	name   string
	fd     int
	number int    // in the order in which they came
	kept   string // the name under which the keeper has it
}

// notifies reports whether a program gets a socket to say how it is.
func notifies(p *spec.Program) bool { return p.Ready.Notify || p.Watchdog > 0 }

// openNotes begins to listen.
func (d *Daemon) openNotes() (err error) {
	d.notes, err = notify.Open(notify.Handler{
		Message: func(m *notify.Message) { d.post(func() { d.onMessage(m) }) },
		Line: func(tag uint64) {
			id, gen := untag(tag)
			d.post(func() { d.learn(id, gen, func(gen uint64) unit.Event { return unit.Ready{Gen: gen} }) })
		},
		Hung: func(tag uint64, fd int) { d.post(func() { d.onHung(tag, fd) }) },
	})
	return err
}

// tagOf names an attempt in one number.
func tagOf(id engine.ID, gen uint64) uint64 { return uint64(id)<<32 | uint64(uint32(gen)) }

// untag returns whose tag it is; of the generation there is the lower half.
func untag(tag uint64) (id engine.ID, gen uint32) { return engine.ID(tag >> 32), uint32(tag) }

// learn tells the engine of what was found out about an attempt, after the answer
// to its spawn.
func (d *Daemon) learn(id engine.ID, gen uint32, fact func(gen uint64) unit.Event) {
	n := d.instances[id]
	if n == nil || uint32(n.gen) != gen {
		return
	}
	if n.spawning {
		n.hear.later = append(n.hear.later, func() { d.learn(id, gen, fact) })
		return
	}
	d.step(engine.Fact{ID: id, Event: fact(n.gen)})
}

// expect prepares for an attempt what has to be there before it speaks.
func (d *Daemon) expect(n *instance, f engine.Spawn) {
	n.hear.odd = nil
	d.endReady(n) // of an attempt before this one
	n.hear.match = d.matcher(n.id, f.Gen, f.Spec)
}

// lend makes what an attempt speaks with, and hands over what is stored for it.
// What it returns is to be called when the process is there, or can't be. It runs
// beside the loop.
func (d *Daemon) lend(f engine.Spawn, v *speech, store []stored, a *proc.Attempt) (done func(), err error) {
	tree := treeName(f.Spec, f.Index)
	var ours []int // closed here once the process has them
	done = func() {
		for _, fd := range ours {
			unix.Close(fd)
		}
	}
	v.uid = os.Geteuid()
	if a.Cred != nil {
		v.uid = int(a.Cred.UID)
	}
	for _, s := range store {
		ours = append(ours, s.fd)
	}
	passFiles(a, store)
	if notifies(f.Spec) {
		if v.socket == nil {
			if v.socket, err = d.notifySocket(f.ID, tree, ""); err != nil {
				return done, err
			}
		}
		a.Env = slices.DeleteFunc(slices.Clone(a.Env), func(kv string) bool { // the program's own env may have some
			key, _, _ := strings.Cut(kv, "=")
			return key == "NOTIFY_SOCKET" || key == "WATCHDOG_USEC" || key == "WATCHDOG_PID"
		})
		a.Env = append(a.Env, "NOTIFY_SOCKET="+v.socket.name)
		if f.Spec.Watchdog > 0 {
			a.Env = append(a.Env, "WATCHDOG_USEC="+strconv.FormatInt(f.Spec.Watchdog.Microseconds(), 10))
			a.OwnPID = append(a.OwnPID, "WATCHDOG_PID")
		}
	}
	if number := f.Spec.Ready.FD; number.Set {
		if _, taken := a.Files[number.Value]; taken {
			return done, fmt.Errorf("cannot start: descriptor %d is one of those that are handed over (set ready.fd to a higher number)", number.Value)
		}
		var ends [2]int
		if err := unix.Pipe2(ends[:], unix.O_CLOEXEC); err != nil {
			return done, fmt.Errorf("cannot start: no pipe for ready.fd: %w", err)
		}
		v.ready, ours = ends[0], append(ours, ends[1])
		d.keep(keptReady+tree, v.ready)
		if err := d.notes.Pipe(v.ready, tagOf(f.ID, f.Gen)); err != nil {
			return done, err
		}
		setFile(a, number.Value, ends[1])
	}
	return done, nil
}

func setFile(a *proc.Attempt, number, fd int) {
	if a.Files == nil {
		a.Files = make(map[int]int)
	}
	a.Files[number] = fd
}

// passFiles hands descriptors over as sd_listen_fds(3) has it, behind those that
// are handed over already.
func passFiles(a *proc.Attempt, store []stored) {
	if len(store) == 0 {
		return
	}
	n, names := 0, ""
	env := slices.DeleteFunc(slices.Clone(a.Env), func(kv string) bool {
		key, value, _ := strings.Cut(kv, "=")
		switch key {
		case "LISTEN_FDS":
			n, _ = strconv.Atoi(value)
		case "LISTEN_FDNAMES":
			names = value + ":"
		case "LISTEN_PID":
		default:
			return false
		}
		return true
	})
	if !slices.Contains(a.OwnPID, "LISTEN_PID") { // what was there was meant for somebody else
		n, names = 0, ""
		a.OwnPID = append(a.OwnPID, "LISTEN_PID")
	}
	for _, s := range store {
		setFile(a, 3+n, s.fd)
		n++
		names += s.name + ":"
	}
	a.Env = append(env, "LISTEN_FDS="+strconv.Itoa(n), "LISTEN_FDNAMES="+strings.TrimSuffix(names, ":"))
}

// notifySocket makes the socket of an instance, under a new name unless there is
// one by which its program knows it. In the abstract namespace, it can be reached
// whatever folders the program's user may enter; who sends is checked.
func (d *Daemon) notifySocket(id engine.ID, tree, name string) (*notifySocket, error) {
	if name == "" {
		var b [8]byte
		rand.Read(b[:]) // never fails
		name = "@tend/" + d.place.hash() + "/" + hex.EncodeToString(b[:])
	}
	fd, err := notify.Listen(name)
	if err != nil {
		return nil, err
	}
	d.keep(keptNotify+tree, fd)
	if err := d.notes.Socket(fd, tagOf(id, 0)); err != nil {
		d.keeper.Drop(keptNotify + tree)
		unix.Close(fd)
		return nil, err
	}
	return &notifySocket{fd, name}, nil
}

// endReady ends the wait for a line on a descriptor.
func (d *Daemon) endReady(n *instance) {
	if n.hear.ready != 0 {
		d.notes.Remove(n.hear.ready)
		unix.Close(n.hear.ready)
		n.hear.ready = 0
		d.keeper.Drop(keptReady + n.tree)
	}
}

// hush ends all that an instance that is gone for good was heard by.
func (d *Daemon) hush(n *instance) {
	d.endReady(n)
	if s := n.hear.socket; s != nil {
		d.notes.Remove(s.fd)
		unix.Close(s.fd)
		d.keeper.Drop(keptNotify + n.tree)
		n.hear.socket = nil
	}
	d.dropStored(n, func(stored) bool { return true })
}

// hearRest takes what an instance has said and nobody has taken: its process has
// ended, and what it said counts before that.
func (d *Daemon) hearRest(n *instance) {
	if n.hear.socket == nil {
		return
	}
	for _, m := range d.notes.Rest(n.hear.socket.fd) {
		d.onMessage(m)
	}
}

// onMessage takes what somebody has sent to the socket of an instance.
func (d *Daemon) onMessage(m *notify.Message) {
	id, _ := untag(m.Tag)
	n := d.instances[id]
	switch {
	case n == nil || !d.notes.Pending(m):
		m.Close()
	case n.spawning:
		n.hear.later = append(n.hear.later, func() { d.onMessage(m) })
	default:
		fault.Point("daemon.message")
		if n.process != nil {
			d.heed(n, m)
		}
		m.Close() // which is the answer to BARRIER=1
		if n.hear.pace.tooMany(time.Now()) {
			time.AfterFunc(messagePause, func() { d.post(func() { d.heard = append(d.heard, m) }) })
		} else {
			d.heard = append(d.heard, m)
		}
	}
}

// thank lets go of messages that are put aside by now.
func (d *Daemon) thank() {
	if len(d.heard) > 0 {
		fault.Point("daemon.heard")
	}
	for _, m := range d.heard {
		d.notes.Taken(m)
	}
	clear(d.heard)
	d.heard = d.heard[:0]
}

// heed tells the engine what a message says.
func (d *Daemon) heed(n *instance, m *notify.Message) {
	if who := d.stranger(n, m); who != "" {
		if !n.hear.wrong {
			n.hear.wrong = true
			d.trouble(n, n.name, "ignored a notification of "+who+", which isn't one of its processes")
		}
		return
	}
	if !m.Whole {
		d.oddity(n, "ignored a notification that is too long, or has too many descriptors")
		return
	}
	gen := n.gen
	tell := func(ev unit.Event) { d.step(engine.Fact{ID: n.id, Event: ev}) }
	news := notify.Parse(m.Text)
	d.heedMain(n, m, news)
	if news.HasStatus {
		tell(unit.Says{Gen: gen, Text: news.Status})
	}
	if news.Store && !news.MainPIDFD {
		d.keepFiles(n, m, news)
	}
	if news.StoreRemove {
		d.dropStored(n, func(s stored) bool { return s.name == news.Name })
	}
	if news.Watchdog != 0 {
		tell(unit.Pace{Gen: gen, Every: news.Watchdog})
	}
	if news.Extend > 0 {
		tell(unit.Extend{Gen: gen, By: news.Extend})
	}
	if news.KeepAlive {
		tell(unit.KeepAlive{Gen: gen})
	}
	state, _ := d.engine.StateOf(n.id)
	switch {
	case news.Stopping:
		tell(unit.Unready{Gen: gen, Message: "says that it is stopping"})
	case news.Reloading:
		tell(unit.Unready{Gen: gen, Message: "reads its configuration anew"})
	case news.Ready && (n.spec.Ready.Notify || state != unit.Starting): // else something else says when it is
		tell(unit.Ready{Gen: gen})
	}
	if news.Trouble {
		tell(unit.Trouble{Gen: gen, Message: "it asks for it (WATCHDOG=trigger)"})
	}
}

// heedMain takes another process of an instance for its main one, where a message
// says that it is.
func (d *Daemon) heedMain(n *instance, m *notify.Message, news notify.News) {
	pid, inode := news.MainPID, news.MainInode
	if news.MainPIDFD {
		if len(m.Files) != 1 {
			d.oddity(n, fmt.Sprintf("ignored MAINPIDFD=1 with %d descriptors: it takes one", len(m.Files)))
			return
		}
		var err error
		if pid, inode, err = proc.PidOf(m.Files[0]); err != nil {
			d.oddity(n, "ignored MAINPIDFD=1: "+err.Error())
			return
		}
	}
	if pid == 0 || d.engine.PIDOf(n.id) == 0 { // what has ended can't be led by another
		return
	}
	if pid != n.process.Pid() {
		p, err := n.process.Follow(pid, inode)
		if err != nil {
			d.oddity(n, fmt.Sprintf("ignored MAINPID=%d: %v", pid, err))
			return
		}
		n.process = p
		fault.Point("daemon.followed")
		d.putBorn(n.tree, born{Gen: n.gen, Identity: p.Identity(), Cgroup: p.Cgroup(), Out: inodeOf(n.out), Err: inodeOf(n.err),
			Ready: inodeOfFD(n.hear.ready), Notify: n.hear.socket.nameOf()})
		d.keepProcess(n.tree, p)
		n.followed = true
	}
	d.step(engine.Fact{ID: n.id, Event: unit.Main{Gen: n.gen, PID: pid}})
}

// keepProcess gives the keeper the leader of a tree, so that how it ends is known
// whoever reaps it.
func (d *Daemon) keepProcess(tree string, p *proc.Process) {
	if fd, err := p.Handle(); err == nil { // else nothing is left of it
		d.keep(keptProcess+tree, fd)
		unix.Close(fd)
	}
}

// oddity tells of something that a program does, once for each start.
func (d *Daemon) oddity(n *instance, message string) {
	if n.hear.odd[message] {
		return
	}
	if n.hear.odd == nil {
		n.hear.odd = make(map[string]bool)
	}
	if len(n.hear.odd) < 8 { // one that says something else each time isn't quoted for ever
		n.hear.odd[message] = true
		d.trouble(n, n.name, message)
	}
}

// stranger returns in words who has sent a message that isn't an instance's, ""
// if it is. A sender that has ended already, as systemd-notify does at once, can
// only be known by its user.
func (d *Daemon) stranger(n *instance, m *notify.Message) string {
	if m.UID != 0 && m.UID != os.Geteuid() && m.UID != n.hear.uid {
		return fmt.Sprintf("process %d of user %d", m.PID, m.UID)
	}
	has, known := n.process.Has(m.PID)
	if has || !known || m.PIDFD >= 0 && hasEnded(m.PIDFD) {
		return ""
	}
	return fmt.Sprintf("process %d", m.PID)
}

// hasEnded reports whether the process behind a pidfd has ended.
func hasEnded(pidfd int) bool {
	fds := []unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}
	n, err := unix.Poll(fds, 0)
	return err == nil && n > 0
}

// keepFiles keeps the descriptors of a message for the next start.
func (d *Daemon) keepFiles(n *instance, m *notify.Message, news notify.News) {
	files := m.Files
	m.Files = nil
	for _, fd := range files {
		if slices.ContainsFunc(n.hear.store, func(s stored) bool { return sameFile(s.fd, fd) }) {
			unix.Close(fd) // it has told us already
			continue
		}
		if len(n.hear.store) >= maxStored {
			unix.Close(fd)
			d.oddity(n, fmt.Sprintf("no more than %d descriptors are kept for it", maxStored))
			continue
		}
		number := 1
		if have := len(n.hear.store); have > 0 {
			number += n.hear.store[have-1].number
		}
		s := stored{name: news.Name, fd: fd, number: number, kept: storeKey(number, news, n.tree)}
		d.keep(s.kept, fd)
		n.hear.store = append(n.hear.store, s)
		d.storing++
		if !news.NoPoll {
			d.notes.File(fd, tagOf(n.id, 0))
		}
	}
}

// storeKey is the name under which a descriptor of a program is kept: a number,
// whether its end is looked for, its name, and the tree.
func storeKey(number int, news notify.News, tree string) string {
	return fmt.Sprintf("%s%d %t %s %s", keptStore, number, !news.NoPoll, url.QueryEscape(news.Name), tree)
}

// keptFiles returns the descriptors that are kept for programs, by tree, as they
// came.
func (d *Daemon) keptFiles() map[string][]stored {
	files := make(map[string][]stored)
	for key := range d.kept {
		rest, ok := strings.CutPrefix(key, keptStore)
		parts := strings.SplitN(rest, " ", 4)
		if !ok || len(parts) != 4 {
			continue
		}
		number, err := strconv.Atoi(parts[0])
		name, bad := url.QueryUnescape(parts[2])
		if err == nil && bad == nil {
			files[parts[3]] = append(files[parts[3]], stored{name: name, number: number, kept: key})
		}
	}
	for _, list := range files {
		slices.SortFunc(list, func(a, b stored) int { return a.number - b.number })
	}
	return files
}

// sameFile reports whether two descriptors are of the same open file, as far as
// the kernel tells.
func sameFile(a, b int) bool {
	const kcmpFile = 0
	pid := uintptr(os.Getpid())
	r, _, errno := unix.Syscall6(unix.SYS_KCMP, pid, pid, kcmpFile, uintptr(a), uintptr(b), 0)
	return errno == 0 && r == 0
}

// dropStored closes those of the stored descriptors of an instance that f says.
func (d *Daemon) dropStored(n *instance, f func(stored) bool) {
	n.hear.store = slices.DeleteFunc(n.hear.store, func(s stored) bool {
		if !f(s) {
			return false
		}
		d.notes.Remove(s.fd)
		unix.Close(s.fd)
		d.keeper.Drop(s.kept)
		d.storing--
		return true
	})
}

// dropOfResting drops what is kept for instances that have come to rest: a stopped
// program shall leave nothing behind, a socket that is open above all.
func (d *Daemon) dropOfResting(said []event.Event) {
	if d.storing == 0 || !slices.ContainsFunc(said, func(e event.Event) bool {
		return e.Kind == event.State && slices.ContainsFunc([]unit.State{unit.Stopped, unit.Exited, unit.Done, unit.Failed}, func(s unit.State) bool { return s.String() == e.To })
	}) {
		return
	}
	for _, n := range d.instances {
		if len(n.hear.store) == 0 {
			continue
		}
		if state, ok := d.engine.StateOf(n.id); ok && state.AtRest() {
			d.dropStored(n, func(stored) bool { return true })
		}
	}
}

// copies returns copies of what is stored for an instance, for its next start.
func (h *hearing) copies() []stored {
	var list []stored
	for _, s := range h.store {
		if fd, err := unix.FcntlInt(uintptr(s.fd), unix.F_DUPFD_CLOEXEC, 3); err == nil {
			s.fd = fd
			list = append(list, s)
		}
	}
	return list
}

// onHung takes that nobody holds the other end of a descriptor any more.
func (d *Daemon) onHung(tag uint64, fd int) {
	id, gen := untag(tag)
	n := d.instances[id]
	if n == nil {
		return
	}
	if gen == 0 {
		d.dropStored(n, func(s stored) bool { return s.fd == fd })
		return
	}
	d.learn(id, gen, func(gen uint64) unit.Event {
		return unit.Checked{Gen: gen, Message: "it has closed that without a word"}
	})
}

// adoptSpeech takes over what an instance speaks with.
func (d *Daemon) adoptSpeech(a *adoption, alive bool) {
	n := a.instance
	if fd := d.takeKept(keptNotify + n.tree); fd >= 0 {
		if err := d.notes.Socket(fd, tagOf(n.id, 0)); err == nil {
			n.hear.socket = &notifySocket{fd, a.born.Notify}
		} else {
			a.trouble = append(a.trouble, err)
			unix.Close(fd)
		}
	} else if alive && a.born.Notify != "" && a.born.Gen == n.gen { // nobody has kept it, but its program knows the name
		s, err := d.notifySocket(n.id, n.tree, a.born.Notify)
		if err != nil {
			a.trouble = append(a.trouble, err)
		}
		n.hear.socket = s
	}
	if n.hear.socket != nil {
		n.hear.uid = os.Geteuid()
		if account, err := lookup(n.spec); err == nil && account != nil {
			n.hear.uid = int(account.Cred.UID)
		}
	}
	fd := d.takeKept(keptReady + n.tree)
	if fd < 0 && alive && a.born.Ready != 0 && a.born.Gen == n.gen && n.process != nil {
		if fd = n.process.Pipe(a.born.Ready); fd >= 0 {
			d.keep(keptReady+n.tree, fd)
		}
	}
	switch {
	case fd < 0:
	case !alive:
		unix.Close(fd)
		d.keeper.Drop(keptReady + n.tree)
	default:
		n.hear.ready = fd
		if err := d.notes.Pipe(fd, tagOf(n.id, n.gen)); err != nil {
			a.trouble = append(a.trouble, err)
			d.endReady(n)
		}
	}
}

// adoptFiles takes over the descriptors that are kept for an instance.
func (d *Daemon) adoptFiles(n *instance, files []stored) {
	for _, s := range files {
		if s.fd = d.takeKept(s.kept); s.fd >= 0 {
			n.hear.store = append(n.hear.store, s)
			d.storing++
			if poll := strings.SplitN(strings.TrimPrefix(s.kept, keptStore), " ", 3)[1]; poll == "true" {
				d.notes.File(s.fd, tagOf(n.id, 0))
			}
		}
	}
}

// hearAdopted takes what was said while no daemon lived, before any time is up.
// Of the signs of life nobody can say how many there would have been.
func (d *Daemon) hearAdopted(n *instance) {
	if n.process == nil {
		return
	}
	if pid := d.engine.PIDOf(n.id); pid != 0 && pid != n.process.Pid() { // the one before us has died over saying that
		d.step(engine.Fact{ID: n.id, Event: unit.Main{Gen: n.gen, PID: n.process.Pid()}})
	}
	d.hearRest(n)
	d.step(engine.Fact{ID: n.id, Event: unit.KeepAlive{Gen: n.gen}})
}

// speechFDs returns the descriptors that the binary which is executed in our place
// has to have, where nobody keeps them.
func (n *instance) speechFDs() map[string]int {
	fds := make(map[string]int)
	if n.hear.socket != nil {
		fds[keptNotify+n.tree] = n.hear.socket.fd
	}
	if n.hear.ready != 0 {
		fds[keptReady+n.tree] = n.hear.ready
	}
	for _, s := range n.hear.store {
		fds[s.kept] = s.fd
	}
	return fds
}

// A matcher looks for a line in what a program writes.
type matcher struct {
	re    *regexp.Regexp
	found func()

	mu   sync.Mutex
	done bool
}

// matcher returns one that tells when a program is ready by a line, nil where
// that isn't the way. f is called by whoever carries the output.
func (d *Daemon) matcher(id engine.ID, gen uint64, p *spec.Program) *matcher {
	if p.Ready.Log == "" {
		return nil
	}
	re, err := regexp.Compile(p.Ready.Log)
	if err != nil {
		return nil // the loader has refused it
	}
	return &matcher{re: re, found: func() {
		d.post(func() { d.learn(id, uint32(gen), func(gen uint64) unit.Event { return unit.Ready{Gen: gen} }) })
	}}
}

// maxLine bounds the part of a line that is looked at.
const maxLine = 16 << 10

// tap lets a matcher see the lines of streams, beside who sees them already.
func (m *matcher) tap(streams ...*logs.Options) {
	if m == nil {
		return
	}
	for _, o := range streams {
		if o == nil {
			continue
		}
		var line []byte
		before := o.Tap
		o.Tap = func(p []byte) []byte {
			m.look(&line, p)
			if before != nil {
				return before(p)
			}
			return p
		}
	}
}

// look goes through the next bytes of a stream; line is what it has of the latest.
func (m *matcher) look(line *[]byte, p []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for !m.done && len(p) > 0 {
		text, rest, ended := bytes.Cut(p, []byte{'\n'})
		p = rest
		*line = append(*line, text[:min(len(text), maxLine-min(len(*line), maxLine))]...)
		if !ended {
			return
		}
		if m.re.Match(bytes.TrimSuffix(*line, []byte{'\r'})) {
			m.done = true
			m.found()
		}
		*line = (*line)[:0]
	}
}

package daemon

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"tend/api"
	"tend/internal/engine"
	"tend/internal/event"
	"tend/internal/logs"
	"tend/internal/proc"
	"tend/internal/server"
	"tend/internal/spec"
	"tend/internal/unit"
)

// The names under which a pseudo-terminal is kept: without its master the program
// would be hung up. The relay is the pipe by which its output goes.
const (
	keptTerminal = "terminal "
	keptRelay    = "relay "
)

// A terminal is that of an instance with pty, and those who are attached to it. Each
// attempt has a pseudo-terminal of its own; the rest stays over restarts. It may be
// used from any goroutine.
type terminal struct {
	tree string

	mu      sync.Mutex
	line    *ptyLine // nil: no process has one
	size    proc.Size
	tail    []byte // what was written last
	before  int    // so much of it is from the log: an earlier daemon has carried it
	viewers map[*viewer]struct{}
	closed  bool
}

// A ptyLine is a pseudo-terminal of a process.
type ptyLine struct {
	master, relay int
	carrier       *logs.Terminal
}

const (
	// tailBytes is how much of what was written last is shown to who comes: a screen
	// or more.
	tailBytes = 8 << 10
	// lingerTime is how long the last output of a process that has ended waits for its
	// log to take it.
	lingerTime = time.Minute
	// maxUnseen is how much waits for somebody who doesn't read.
	maxUnseen = 256 << 10
)

func newTerminal(tree string) *terminal {
	return &terminal{tree: tree, size: proc.Size{Rows: 24, Columns: 80}, viewers: make(map[*viewer]struct{})}
}

// terminalOf returns the terminal of an instance, nil where it is to have none.
func (d *Daemon) terminalOf(n *instance, p *spec.Program) *terminal {
	switch {
	case p.PTY && n.terminal == nil:
		n.terminal = newTerminal(n.tree)
		d.seated = append(d.seated, n)
	case !p.PTY && n.terminal != nil:
		d.unseat(n, "has no terminal any more")
	}
	return n.terminal
}

// unseat ends the terminal of an instance, and tells why those who are attached.
func (d *Daemon) unseat(n *instance, why string) {
	if n.terminal == nil {
		return
	}
	n.terminal.close(api.AttachNotice{Name: n.name, Message: n.name + " " + why, End: true, OK: true})
	d.closeLine(n.terminal)
	n.terminal = nil
	d.seated = slices.DeleteFunc(d.seated, func(o *instance) bool { return o == n })
}

// openTerminal makes the pseudo-terminal of an attempt whose output goes to out. The
// program's side is the caller's.
func (d *Daemon) openTerminal(t *terminal, account *proc.Account, out *logs.Stream) (slave int, err error) {
	d.closeLine(t)
	var cred *proc.Credential
	if account != nil {
		cred = &account.Cred
	}
	t.mu.Lock()
	size := t.size
	t.mu.Unlock()
	master, slave, err := proc.OpenTerminal(cred, size)
	if err != nil {
		return -1, err
	}
	relay, err := logs.Relay()
	if err == nil {
		d.keep(keptTerminal+t.tree, master)
		d.keep(keptRelay+t.tree, relay)
		if err = d.connect(t, master, relay, out); err == nil {
			return slave, nil
		}
		d.dropTerminal(t.tree)
		unix.Close(relay)
	}
	unix.Close(master)
	unix.Close(slave)
	return -1, &proc.SpawnError{Step: proc.StepTerminal, Err: err}
}

// connect lets what comes from a master be seen, and go to out. The descriptors are
// the terminal's unless it fails.
func (d *Daemon) connect(t *terminal, master, relay int, out *logs.Stream) error {
	carrier, err := d.capture.Terminal(out, master, relay, t.show)
	if err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.line = &ptyLine{master: master, relay: relay, carrier: carrier}
	return nil
}

func (d *Daemon) dropTerminal(tree string) {
	d.keeper.Drop(keptTerminal + tree)
	d.keeper.Drop(keptRelay + tree)
}

// closeLine closes the pseudo-terminal of a process, if there is one. What it has
// written and is still on its way goes there.
func (d *Daemon) closeLine(t *terminal) {
	t.mu.Lock()
	line := t.line
	t.line = nil
	for v := range t.viewers {
		v.hangUp()
	}
	t.mu.Unlock()
	if line == nil {
		return
	}
	d.dropTerminal(t.tree)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), lingerTime)
		defer cancel()
		line.carrier.Drain(ctx) // it waits for a log that can't be written
		line.carrier.Close()
		unix.Close(line.master)
		unix.Close(line.relay)
	}()
}

// drain waits until all that was written is seen, and is in the pipe of the log.
func (t *terminal) drain(ctx context.Context) {
	if t == nil {
		return
	}
	t.mu.Lock()
	line := t.line
	t.mu.Unlock()
	if line != nil {
		line.carrier.Drain(ctx)
	}
}

// fds returns the descriptors that must not be closed while the process lives.
func (t *terminal) fds() map[string]int {
	if t == nil {
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.line == nil {
		return nil
	}
	return map[string]int{keptTerminal + t.tree: t.line.master, keptRelay + t.tree: t.line.relay}
}

// show takes what a program writes.
func (t *terminal) show(p []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.tail = append(t.tail, p...); len(t.tail) > 2*tailBytes {
		t.tail = append(t.tail[:0], lastLines(t.tail, tailBytes)...)
		t.before = 0
	}
	for v := range t.viewers {
		v.output(p)
	}
}

// lastLines returns the end of text, at most n bytes: whole lines of it, if there is
// a line end.
func lastLines(text []byte, n int) []byte {
	if len(text) <= n {
		return text
	}
	text = text[len(text)-n:]
	if i := bytes.IndexByte(text, '\n'); i >= 0 {
		text = text[i+1:]
	}
	return text
}

// notice tells those who are attached of something.
func (t *terminal) notice(n api.AttachNotice) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for v := range t.viewers {
		v.notice(n)
	}
}

// close tells those who are attached that it is over.
func (t *terminal) close(n api.AttachNotice) {
	t.notice(n)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closed = true
}

// A viewer is somebody who is attached.
type viewer struct {
	t    *terminal
	wake chan struct{} // holds a token when there is something to take

	// Under t.mu.
	seen   []sight
	bytes  int   // of output in seen
	missed int64 // of output that came when there was no room
	ended  bool  // nothing follows what is in seen
	gone   bool
	sized  bool
	typing *os.File // a master of its own, of the line it was opened for; nil: none
	on     *ptyLine
}

// A sight is output, or a notice.
type sight struct {
	output []byte
	notice *api.AttachNotice
}

var _ server.Attachment = (*viewer)(nil)

// output takes output of the program. t.mu is held, as in those that follow.
func (v *viewer) output(p []byte) {
	switch {
	case v.ended:
		return
	case v.missed > 0 || v.bytes+len(p) > maxUnseen:
		v.missed += int64(len(p))
		return
	}
	v.bytes += len(p)
	if n := len(v.seen); n > 0 && v.seen[n-1].notice == nil {
		v.seen[n-1].output = append(v.seen[n-1].output, p...)
	} else {
		v.seen = append(v.seen, sight{output: bytes.Clone(p)})
	}
	v.ring()
}

func (v *viewer) notice(n api.AttachNotice) {
	if v.ended || len(v.seen) > maxNotices && !n.End {
		return
	}
	if v.missed > 0 {
		v.seen = append(v.seen, v.left())
	}
	v.seen = append(v.seen, sight{notice: &n})
	v.ended = n.End
	v.ring()
}

// left says how much was left out, and begins anew.
func (v *viewer) left() sight {
	n := &api.AttachNotice{MissedBytes: v.missed, Message: fmt.Sprintf("%d bytes are left out here: they came faster than they were read", v.missed)}
	v.missed = 0
	return sight{notice: n}
}

// maxNotices bounds what waits beside output: it doesn't count as such.
const maxNotices = 1000

func (v *viewer) ring() {
	select {
	case v.wake <- struct{}{}:
	default:
	}
}

// hangUp ends a write to the pseudo-terminal that is no more.
func (v *viewer) hangUp() {
	if v.typing != nil {
		v.typing.Close()
		v.typing, v.on = nil, nil
	}
}

// Next implements [server.Attachment].
func (v *viewer) Next(ctx context.Context) ([]byte, *api.AttachNotice, error) {
	for {
		if s, err, ok := v.take(); ok {
			return s.output, s.notice, err
		}
		select {
		case <-v.wake:
		case <-ctx.Done():
			s, err, ok := v.take()
			if !ok {
				err = ctx.Err()
			}
			return s.output, s.notice, err
		}
	}
}

// take returns what is there, if anything.
func (v *viewer) take() (s sight, err error, ok bool) {
	v.t.mu.Lock()
	defer v.t.mu.Unlock()
	switch {
	case len(v.seen) > 0:
		s = v.seen[0]
		if v.seen = v.seen[1:]; len(v.seen) == 0 {
			v.seen = nil
		}
		v.bytes -= len(s.output)
		return s, nil, true
	case v.missed > 0:
		return v.left(), nil, true
	case v.ended, v.gone:
		return s, io.EOF, true
	}
	return s, nil, false
}

// Write implements [server.Attachment]. What is typed while no process is there goes
// nowhere.
func (v *viewer) Write(p []byte) error {
	for len(p) > 0 {
		f, err := v.keyboard()
		if f == nil || err != nil {
			return err
		}
		n, err := f.Write(p)
		p = p[n:]
		if err != nil {
			v.t.mu.Lock()
			again := v.typing != f && !v.gone // the line is closed: the rest is for nobody
			v.t.mu.Unlock()
			if again {
				return nil
			}
			return err
		}
	}
	return nil
}

// keyboard returns what is written to, nil where there is no process.
func (v *viewer) keyboard() (*os.File, error) {
	v.t.mu.Lock()
	defer v.t.mu.Unlock()
	switch {
	case v.gone:
		return nil, os.ErrClosed
	case v.t.line == nil:
		return nil, nil
	case v.on == v.t.line:
		return v.typing, nil
	}
	v.hangUp()
	// Of its own, so that nobody waits behind somebody else's input, and Close ends
	// the wait.
	fd, err := unix.FcntlInt(uintptr(v.t.line.master), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return nil, err
	}
	v.typing, v.on = os.NewFile(uintptr(fd), "terminal"), v.t.line
	return v.typing, nil
}

// Resize implements [server.Attachment]. The latest size counts. Who comes first
// says how large it is: programs that have the whole screen draw it anew for that,
// even where the size is the same as before.
func (v *viewer) Resize(rows, columns uint16) {
	t := v.t
	t.mu.Lock()
	defer t.mu.Unlock()
	size := proc.Size{Rows: rows, Columns: columns}
	if t.line != nil {
		if !v.sized && size == t.size {
			proc.Resize(t.line.master, proc.Size{Rows: rows + 1, Columns: columns})
		}
		proc.Resize(t.line.master, size) // which can't fail: it is a terminal
	}
	t.size, v.sized = size, true
}

// Close implements [server.Attachment].
func (v *viewer) Close() {
	v.t.mu.Lock()
	defer v.t.mu.Unlock()
	v.gone = true
	v.hangUp()
	delete(v.t.viewers, v)
	v.ring()
}

// attach gives somebody a place.
func (t *terminal) attach(tail api.Tail) *viewer {
	t.mu.Lock()
	defer t.mu.Unlock()
	v := &viewer{t: t, wake: make(chan struct{}, 1), ended: t.closed}
	t.viewers[v] = struct{}{}
	var last []byte
	switch tail {
	case api.TailAll:
		last = lastLines(t.tail, tailBytes)
	case api.TailNew:
		last = t.tail[t.before:]
	}
	if len(last) > 0 {
		v.output(last)
	}
	return v
}

// Attach implements [server.Control].
func (c control) Attach(ctx context.Context, name string, tail api.Tail) (server.Attachment, error) {
	type answer struct {
		viewer *viewer
		err    *api.Error
	}
	a, err := ask(ctx, c.d, func() (a answer) {
		t, err := c.d.terminalNamed(name)
		if err == nil {
			a.viewer = t.attach(tail)
			context.AfterFunc(ctx, a.viewer.Close) // who asked may have left by now
		}
		a.err = err
		return a
	})
	switch {
	case err != nil:
		return nil, err
	case a.err != nil:
		return nil, a.err
	}
	return a.viewer, nil
}

// terminalNamed returns the terminal of an instance that can be attached to, or says
// why there is none.
func (d *Daemon) terminalNamed(name string) (*terminal, *api.Error) {
	var found []engine.View
	for _, v := range d.engine.Views() {
		if v.Name == name {
			found = []engine.View{v}
			break
		}
		if v.Spec.Name == name {
			found = append(found, v)
		}
	}
	refuse := func(hint, format string, args ...any) (*terminal, *api.Error) {
		return nil, &api.Error{Kind: api.KindConflict, Message: fmt.Sprintf(format, args...), Hint: hint}
	}
	switch {
	case len(found) == 0:
		return nil, &api.Error{Kind: api.KindNotFound, Message: fmt.Sprintf("no program is named %q", name)}
	case len(found) > 1:
		return refuse("name one of them: tend attach "+found[0].Name, "%s has %d instances", name, len(found))
	}
	v := found[0]
	switch {
	case !v.Spec.PTY:
		return refuse("set pty = true for one; tend logs -f "+v.Name+" shows its output", "%s has no terminal", v.Name)
	case v.State.AtRest():
		return refuse("start it: tend start "+v.Name, "%s is %s", v.Name, v.State)
	}
	n := d.instances[v.ID]
	if n == nil || n.terminal == nil {
		// It has not been started yet with one: it waits, or its process is of an
		// earlier spec.
		if n == nil {
			n = &instance{id: v.ID, name: v.Name, spec: v.Spec}
			_, number, _ := strings.Cut(v.Name, ":")
			n.tree = v.Spec.Name + ":" + cmp.Or(number, "0")
			d.instances[v.ID] = n
		}
		d.terminalOf(n, v.Spec)
	}
	return n.terminal, nil
}

// adoptTerminal takes over the pseudo-terminal of an instance, once its output is.
func (d *Daemon) adoptTerminal(a *adoption) {
	n := a.instance
	master, relay := a.line[0], a.line[1]
	if n.spec != nil && n.spec.PTY && n.out == nil && master >= 0 {
		// The pipe of its log wasn't kept, and it holds none by which that is found.
		out, _ := d.outputs(n)
		if s, err := d.pipe(n.name, keptOut+n.tree, out); err == nil {
			n.out = s
		}
	}
	if n.spec == nil || !n.spec.PTY || master < 0 || relay < 0 || n.out == nil {
		for _, fd := range a.line {
			if fd >= 0 {
				unix.Close(fd)
			}
		}
		if master >= 0 || relay >= 0 {
			d.dropTerminal(n.tree)
		}
		return
	}
	unix.SetNonblock(master, true) // it is; fails for no terminal
	t := d.terminalOf(n, n.spec)
	if w, err := unix.IoctlGetWinsize(master, unix.TIOCGWINSZ); err == nil {
		t.size = proc.Size{Rows: w.Row, Columns: w.Col}
	}
	// What it wrote last is in its log, if that is one of lines as they are.
	if out, _ := destinations(n.name, n.spec, d.place.logs, nil); out.Mode == logs.File && !n.spec.Log.Timestamp && n.spec.Log.Format != spec.LogJSON {
		var text bytes.Buffer
		if _, err := logs.Read(&text, out.Path, 0, int(t.size.Rows)); err == nil {
			t.tail = lastLines(bytes.ReplaceAll(text.Bytes(), []byte("\n"), []byte("\r\n")), tailBytes)
			t.before = len(t.tail)
		}
	}
	if err := d.connect(t, master, relay, n.out); err != nil {
		unix.Close(master)
		unix.Close(relay)
		d.trouble(n, n.name, "cannot take over its terminal: "+err.Error())
		return
	}
	if n.process == nil { // nothing of it is left
		ctx, cancel := context.WithTimeout(context.Background(), hearTime)
		defer cancel()
		t.drain(ctx)
		d.closeLine(t)
	}
}

// seeEvents tells those who are attached of what happens to their programs.
func (d *Daemon) seeEvents(events []event.Event) {
	for _, n := range d.seated {
		for _, e := range events {
			if e.Name != n.name || e.Kind != event.State {
				continue
			}
			notice := api.AttachNotice{Name: e.Name, State: e.To}
			switch e.To {
			case unit.Stopped.String(), unit.Exited.String(), unit.Done.String(), unit.Failed.String():
				notice.End = true
				notice.OK = e.To != unit.Failed.String() && (e.Exit == nil || e.Exit.Success || e.To == unit.Stopped.String())
				notice.Message = e.Name + " is " + e.To
				if e.Exit != nil {
					notice.Message += ": " + e.Exit.Reason()
				}
			default:
				how := "was stopped"
				if e.Exit != nil {
					how = "ended: " + e.Exit.Reason()
				} else if e.From != unit.Stopping.String() {
					continue
				}
				then := map[string]string{unit.Starting.String(): "started again", unit.Backoff.String(): "started again after a while"}
				notice.Message = e.Name + " " + how + "; it is " + cmp.Or(then[e.To], e.To)
			}
			n.terminal.notice(notice)
		}
	}
}

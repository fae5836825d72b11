package daemon

import (
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"tend/internal/engine"
	"tend/internal/listen"
	"tend/internal/proc"
	"tend/internal/spec"
	"tend/internal/unit"
)

// keptListen begins the names of sockets that programs listen on; the address
// follows.
const keptListen = "listen "

// firstListen is the descriptor of a program's first socket (sd_listen_fds(3)).
const firstListen = 3

// openListening makes the table of the sockets that programs listen on, with those
// that are kept from an earlier daemon.
func (d *Daemon) openListening() {
	d.listening = listen.New(
		func(name string, fd int) { d.keep(keptListen+name, fd) },
		func(name string) { d.keeper.Drop(keptListen + name) },
		func(id uint64) { d.post(func() { d.onConnection(id) }) })
	for name := range d.kept {
		rest, is := strings.CutPrefix(name, keptListen)
		if !is {
			continue
		}
		fd := d.takeKept(name)
		if a, ok := listen.Parse(rest); !ok || !d.listening.Adopt(a, fd) {
			d.keeper.Drop(name)
			unix.Close(fd)
		}
	}
}

// adoptListening takes sockets over that nobody has kept from a program that listens
// on them.
func (d *Daemon) adoptListening(n *instance) {
	if n.process == nil {
		return
	}
	for i, a := range addressesOf(n.spec) {
		if fd := n.process.File(firstListen + i); fd >= 0 && !d.listening.Find(a, fd) {
			unix.Close(fd)
		}
	}
}

// addressesOf returns what an instance listens on. The loader has checked it.
func addressesOf(p *spec.Program) []listen.Address {
	if len(p.Listen) == 0 {
		return nil
	}
	list, err := p.Endpoints()
	if err != nil {
		return nil
	}
	addresses := make([]listen.Address, len(list))
	for i, s := range list {
		addresses[i] = listen.Address{Network: s.Network, Place: s.Address}
	}
	return addresses
}

// takeListening returns copies of the sockets of an instance, opened if need be.
func (d *Daemon) takeListening(p *spec.Program, account *proc.Account) ([]int, error) {
	o := listen.Owner{UID: -1, GID: -1, Mode: 0o666 &^ ownUmask()}
	if p.Umask.Set {
		o.Mode = 0o666 &^ fs.FileMode(p.Umask.Value)
	}
	if account != nil {
		o.UID, o.GID = int(account.Cred.UID), int(account.Cred.GID)
	}
	return d.listening.Take(addressesOf(p), o)
}

// ownUmask is the daemon's. It can't be asked for without setting it but here.
var ownUmask = sync.OnceValue(func() fs.FileMode {
	status, _ := os.ReadFile("/proc/self/status")
	_, after, _ := strings.Cut(string(status), "\nUmask:")
	line, _, _ := strings.Cut(after, "\n")
	mask, err := strconv.ParseUint(strings.TrimSpace(line), 8, 9)
	if err != nil {
		return 0o022
	}
	return fs.FileMode(mask)
})

// handOver gives an attempt the sockets of its program, as systemd does. Once it
// was spawned, done closes what was opened for it.
func (d *Daemon) handOver(a *proc.Attempt, p *spec.Program, account *proc.Account) (done func(), err error) {
	if len(p.Listen) == 0 {
		return func() {}, nil
	}
	list, err := p.Endpoints()
	if err != nil {
		return nil, err
	}
	fds, err := d.takeListening(p, account)
	if err != nil {
		return nil, err
	}
	names := make([]string, len(list))
	if a.Files == nil {
		a.Files = make(map[int]int)
	}
	for i, fd := range fds {
		a.Files[firstListen+i], names[i] = fd, list[i].Name
	}
	a.Env = slices.DeleteFunc(slices.Clone(a.Env), func(kv string) bool { // the program's own env may have some
		return strings.HasPrefix(kv, "LISTEN_FDS=") || strings.HasPrefix(kv, "LISTEN_FDNAMES=") || strings.HasPrefix(kv, "LISTEN_PID=")
	})
	a.Env = append(a.Env, "LISTEN_FDS="+strconv.Itoa(len(fds)), "LISTEN_FDNAMES="+strings.Join(names, ":"))
	a.OwnPID = append(a.OwnPID, "LISTEN_PID")
	return func() { closeAll(fds) }, nil
}

func closeAll(fds []int) {
	for _, fd := range fds {
		unix.Close(fd)
	}
}

// sweepListening closes the sockets that no program wants any more: of those that
// are removed, disabled or stopped by hand, and where listen was changed. What
// waits in the queue of a program that is being stopped is its own until it ends.
func (d *Daemon) sweepListening() {
	if !d.unswept {
		return
	}
	d.unswept = false
	if d.listening.Len() == 0 {
		return
	}
	wanted := make(map[listen.Address]bool)
	for _, v := range d.engine.Views() {
		if v.Wanted {
			for _, a := range addressesOf(v.Spec) {
				wanted[a] = true
			}
		}
	}
	d.listening.Retain(func(a listen.Address) bool { return wanted[a] })
}

// forIdleness marks the ids by which the table knows those whose connections are
// watched while they run; the others wait for their first.
const forIdleness = 1 << 63

// openAwaited opens the sockets at which a first connection is about to be looked
// for, before anybody hears that their program waits for it: whoever hears it may
// connect. A socket whose address has to be asked for is left to lookForDemand,
// which the loop doesn't wait for, and so is an error.
func (d *Daemon) openAwaited(effects []engine.Effect) {
	for _, f := range effects {
		w, ok := f.(engine.Watch)
		if !ok || !w.For.Demand || slices.ContainsFunc(addressesOf(w.Spec), listen.Address.Remote) {
			continue
		}
		if account, err := lookup(w.Spec); err == nil {
			fds, _ := d.takeListening(w.Spec, account)
			closeAll(fds)
		}
	}
}

// lookForDemand looks from now on for the first connection to an instance, or not
// any more.
func (d *Daemon) lookForDemand(f engine.Watch) {
	if !f.For.Demand {
		if d.demanded[f.ID] {
			delete(d.demanded, f.ID)
			d.listening.Ignore(uint64(f.ID))
		}
		return
	}
	d.demanded[f.ID] = true
	d.spawns.put(func() { // a host's name may have to be looked up
		account, err := lookup(f.Spec)
		var fds []int
		if err == nil {
			fds, err = d.takeListening(f.Spec, account)
		}
		closeAll(fds)
		d.post(func() {
			if !d.demanded[f.ID] {
				d.unswept = true // it may have been opened in vain
				return
			}
			if err == nil {
				err = d.listening.Await(uint64(f.ID), addressesOf(f.Spec))
			}
			if err != nil { // it is started, which fails for the same reason, and is tried again
				d.onConnection(uint64(f.ID))
			}
		})
	})
}

// onConnection says that there is a connection that was looked for.
func (d *Daemon) onConnection(id uint64) {
	if id&forIdleness != 0 {
		if i := d.idlers[engine.ID(id&^forIdleness)]; i != nil {
			i.used = true
		}
		return
	}
	delete(d.demanded, engine.ID(id))
	d.step(engine.Fact{ID: engine.ID(id), Event: unit.Demanded{}})
}

// An idler is an instance that is stopped when nobody uses it. Its connections are
// counted now and then; that there was a new one in between is known as well, so
// that none is too short to count.
type idler struct {
	gen       uint64
	addresses []listen.Address
	timeout   time.Duration
	used      bool      // there was a connection at the last look, or since
	since     time.Time // nobody uses it
	next      time.Time // look
}

// The time between two looks at connections is a part of idle_timeout.
const (
	looksPerTimeout = 4
	shortestLook    = 50 * time.Millisecond
	longestLook     = time.Minute
)

// lookForIdleness looks from now on whether anybody uses an instance, or not any
// more.
func (d *Daemon) lookForIdleness(f engine.Watch) {
	if !f.For.Idle {
		if d.idlers[f.ID] != nil {
			delete(d.idlers, f.ID)
			d.listening.Ignore(uint64(f.ID) | forIdleness)
		}
		return
	}
	now := time.Now()
	d.idlers[f.ID] = &idler{gen: f.Gen, addresses: addressesOf(f.Spec), timeout: f.Spec.IdleTimeout, used: true, since: now, next: now}
	d.armIdlers()
}

// armIdlers sets the timer of all idlers to the next look.
func (d *Daemon) armIdlers() {
	var first time.Time
	for _, i := range d.idlers {
		if first.IsZero() || i.next.Before(first) {
			first = i.next
		}
	}
	switch {
	case first.IsZero():
		if d.idleTimer != nil {
			d.idleTimer.Stop()
		}
	case d.idleTimer == nil:
		d.idleTimer = time.AfterFunc(time.Until(first), func() { d.post(d.checkIdlers) })
	default:
		d.idleTimer.Reset(time.Until(first))
	}
}

// checkIdlers counts the connections of those whose time has come.
func (d *Daemon) checkIdlers() {
	now := time.Now()
	for id, i := range d.idlers {
		if now.Before(i.next) {
			continue
		}
		i.next = now.Add(longestLook) // until this look is over
		err := d.listening.Await(uint64(id)|forIdleness, i.addresses)
		d.spawns.put(func() {
			n, countErr := 0, err
			if countErr == nil {
				n, countErr = d.listening.Connections(i.addresses)
			}
			d.post(func() { d.onCounted(id, i, n, countErr) })
		})
	}
	d.armIdlers()
}

// onCounted says how many connections an idler has. One whose connections can't
// be counted is in use.
func (d *Daemon) onCounted(id engine.ID, i *idler, n int, err error) {
	if d.idlers[id] != i {
		return
	}
	if err != nil {
		d.warnOnce(&d.countFailed, fmt.Sprintf("%v; programs with idle_timeout run on", err))
	}
	now := time.Now()
	if used := n > 0 || err != nil; i.used || used {
		i.used, i.since = used, now
	}
	switch {
	case i.used:
		i.next = now.Add(min(max(i.timeout/looksPerTimeout, shortestLook), longestLook))
	case now.Sub(i.since) < i.timeout:
		i.next = i.since.Add(i.timeout)
	default:
		d.step(engine.Fact{ID: id, Event: unit.Idle{Gen: i.gen}})
		if d.idlers[id] == i { // it is about to be stopped anyway, in its turn
			i.since, i.next = now, now.Add(i.timeout)
		}
	}
	d.armIdlers()
}

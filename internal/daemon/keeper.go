package daemon

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"tend/api"
	"tend/internal/event"
	"tend/internal/guard"
)

// A keeper is whoever holds descriptors beyond the daemon's death.
type keeper interface {
	// Keep gives it a descriptor to hold under a name. The descriptor stays the
	// caller's.
	Keep(name string, fd int) error
	Drop(name string)
	// Kind is what people are told: "guard", "fdstore" or "none".
	Kind() string
}

// The names under which things are kept. Those of pipes end in the name of a
// tree, that of the lock in the state folder.
const (
	keptLock     = "lock "
	keptListener = "listener"
	keptOut      = "out "
	keptErr      = "err "
	keptIn       = "in "
	keptSocket   = "socket " // and the group
	keptStage    = "stage "
	keptNotify   = "notify "
	keptReady    = "ready "            // our end of the pipe of ready.fd
	keptStore    = "store "            // and more, see storeKey
	keptProcess  = guard.ProcessPrefix // where the keeper isn't told how processes end, or not of those that aren't started by us
)

// byGuard is the guard as a keeper.
type byGuard struct{ *guard.Client }

func (byGuard) Kind() string { return "guard" }

// nobody keeps nothing: what is in a pipe when its program ends while no daemon
// lives is lost.
type nobody struct{}

func (nobody) Keep(string, int) error { return nil }
func (nobody) Drop(string)            {}
func (nobody) Kind() string           { return "none" }

// fdStore is the service manager's store of descriptors (FDSTORE=1 of
// sd_notify(3), for units with FileDescriptorStoreMax=).
type fdStore struct{ socket string }

// newFDStore returns the store of the manager that started us. ok is false where
// there is none, or no unit that has one.
func newFDStore() (s fdStore, ok bool) {
	s.socket = os.Getenv("NOTIFY_SOCKET")
	room, _ := strconv.Atoi(os.Getenv("FDSTORE")) // set by systemd 254 and later, to FileDescriptorStoreMax=
	return s, s.socket != "" && room > 0
}

func (s fdStore) Keep(name string, fd int) error {
	// A name that is there already would be another descriptor, not a new one.
	s.Drop(name)
	if err := s.notify("FDSTORE=1\nFDPOLL=0\nFDNAME="+storeName(name), unix.UnixRights(fd)); err != nil {
		return fmt.Errorf("cannot give %s to the service manager: %w", name, err)
	}
	return nil
}

func (s fdStore) Drop(name string) { s.notify("FDSTOREREMOVE=1\nFDNAME="+storeName(name), nil) }
func (s fdStore) Kind() string     { return "fdstore" }

func (s fdStore) notify(text string, rights []byte) error {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	name := s.socket
	if strings.HasPrefix(name, "@") { // abstract
		name = "\x00" + name[1:]
	}
	return unix.Sendmsg(fd, []byte(text), rights, &unix.SockaddrUnix{Name: name}, unix.MSG_NOSIGNAL)
}

// storeName writes a name with the characters that FDNAME= takes.
func storeName(name string) string {
	var b strings.Builder
	for _, c := range []byte(name) {
		if c > ' ' && c < 0x7f && c != ':' && c != '%' {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}

func keptName(stored string) string {
	var b []byte
	for i := 0; i < len(stored); i++ {
		if stored[i] == '%' && i+2 < len(stored) {
			if n, err := strconv.ParseUint(stored[i+1:i+3], 16, 8); err == nil {
				b = append(b, byte(n))
				i += 2
				continue
			}
		}
		b = append(b, stored[i])
	}
	return string(b)
}

// passedFDs returns the descriptors that the service manager has passed to us
// (sd_listen_fds(3)), by the names that we gave them.
func passedFDs() map[string]int {
	kept := make(map[string]int)
	if pid, err := strconv.Atoi(os.Getenv("LISTEN_PID")); err != nil || pid != os.Getpid() {
		return kept
	}
	n, _ := strconv.Atoi(os.Getenv("LISTEN_FDS"))
	names := strings.Split(os.Getenv("LISTEN_FDNAMES"), ":")
	for i := range n {
		fd := 3 + i
		unix.CloseOnExec(fd)
		if i < len(names) {
			kept[keptName(names[i])] = fd
		}
	}
	return kept
}

// handoffVariable is the variable of the environment in which a daemon that
// executes another binary in its place says where its handoff is.
const handoffVariable = "TEND_HANDOFF_FD"

// A handoff is what a daemon leaves to the binary that it executes in its place,
// in a file in memory.
type handoff struct {
	Guard int            `json:"guard"` // descriptor; -1: none
	Kept  map[string]int `json:"kept"`  // descriptors by name, where nobody keeps them
	From  string         `json:"from"`  // version

	LastEvent uint64      `json:"last_event"`
	Events    []heldEvent `json:"events"` // the latest
}

// heldEvent is an event with the two kinds of detail that there are.
type heldEvent struct {
	event.Event
	Detail      *struct{}        `json:"Detail,omitempty"` // hides the event's own
	Plan        *api.Plan        `json:"plan,omitempty"`
	Diagnostics []api.Diagnostic `json:"diagnostics,omitempty"`
}

func heldEvents(list []event.Event) []heldEvent {
	held := make([]heldEvent, len(list))
	for i, e := range list {
		held[i].Event = e
		switch d := e.Detail.(type) {
		case *api.Plan:
			held[i].Plan = d
		case []api.Diagnostic:
			held[i].Diagnostics = d
		}
	}
	return held
}

func (h *handoff) events() []event.Event {
	list := make([]event.Event, len(h.Events))
	for i, e := range h.Events {
		list[i] = e.Event
		switch {
		case e.Plan != nil:
			list[i].Detail = e.Plan
		case e.Diagnostics != nil:
			list[i].Detail = e.Diagnostics
		}
	}
	return list
}

// write writes h to a file in memory and returns its descriptor, which survives
// an execve(2).
func (h handoff) write() (int, error) {
	data, err := json.Marshal(h)
	if err != nil {
		return -1, err
	}
	fd, err := unix.MemfdCreate("tend-handoff", 0)
	if err != nil {
		return -1, err
	}
	if _, err := unix.Write(fd, data); err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// takeHandoff returns what the daemon before us has left in our process, nil if
// there was none.
func takeHandoff() *handoff {
	fd, err := strconv.Atoi(os.Getenv(handoffVariable))
	os.Unsetenv(handoffVariable)
	if err != nil {
		return nil
	}
	f := os.NewFile(uintptr(fd), "handoff")
	defer f.Close()
	var h handoff
	if _, err := f.Seek(0, 0); err != nil || json.NewDecoder(f).Decode(&h) != nil {
		return nil
	}
	for _, fd := range h.Kept {
		unix.CloseOnExec(fd)
	}
	return &h
}

// begin finds out who keeps what, and takes what an earlier daemon has left
// there.
func (d *Daemon) begin() error {
	d.kept = make(map[string]int)
	guardFD := -1
	if fd, err := strconv.Atoi(os.Getenv(guard.FDVariable)); err == nil {
		guardFD = fd
	}
	os.Unsetenv(guard.FDVariable)
	if h := takeHandoff(); h != nil {
		guardFD, d.kept, d.upgraded = h.Guard, h.Kept, h.From
		d.lastEvent, d.heldEvents = h.LastEvent, h.events()
		if d.upgraded == "" {
			d.upgraded = "another version"
		}
	}
	if guardFD >= 0 {
		d.guarded, d.guardPID = true, os.Getppid()
		c, err := guard.Dial(guardFD, d.guardHandler())
		if err != nil {
			return err
		}
		d.guard, d.keeper, d.died = c, byGuard{c}, c.Died
		d.ends = c.Ends
		for name, fd := range c.Kept {
			d.kept[name] = fd
		}
		return nil
	}
	for name, fd := range passedFDs() {
		d.kept[name] = fd
	}
	if s, ok := newFDStore(); ok {
		d.keeper = s
	}
	return nil
}

func (d *Daemon) guardHandler() guard.Handler {
	return guard.Handler{
		Signal: func(s syscall.Signal, no uint64) {
			d.post(func() {
				if !d.over { // else it is for the next daemon, if there is one
					d.onSignal(s)
					d.guard.Heard(no)
				}
			})
		},
		Ended: func(e guard.End) { d.post(func() { d.onGuardEnd(e) }) },
		Gone:  func() { d.post(d.onGuardGone) },
	}
}

// takeKept returns a descriptor that was kept, -1 if there is none. It is the
// caller's then.
func (d *Daemon) takeKept(name string) int {
	fd, ok := d.kept[name]
	if !ok {
		return -1
	}
	delete(d.kept, name)
	return fd
}

// keptState returns the state folder whose lock is kept for us, "" if there is
// none: then we are the first daemon.
func (d *Daemon) keptState() string {
	for name := range d.kept {
		if folder, ok := strings.CutPrefix(name, keptLock); ok && filepath.IsAbs(folder) {
			return folder
		}
	}
	return ""
}

// keptStages returns the stages of the capture that are kept.
func (d *Daemon) keptStages() map[int]int {
	stages := make(map[int]int)
	for name := range d.kept {
		if number, ok := strings.CutPrefix(name, keptStage); ok {
			if n, err := strconv.Atoi(number); err == nil {
				stages[n] = d.takeKept(name)
			}
		}
	}
	return stages
}

// keptListener returns the listening socket that is kept, nil if there is none.
func (d *Daemon) keptListener() *net.UnixListener {
	fd := d.takeKept(keptListener)
	if fd < 0 {
		return nil
	}
	f := os.NewFile(uintptr(fd), keptListener)
	defer f.Close()
	l, err := listenerOf(f)
	if err != nil {
		return nil // a new one is made
	}
	return l
}

// listenerOf makes a listener of its descriptor, which stays the caller's.
func listenerOf(f *os.File) (*net.UnixListener, error) {
	l, err := net.FileListener(f)
	if err != nil {
		return nil, err
	}
	u, ok := l.(*net.UnixListener)
	if !ok {
		l.Close()
		return nil, fmt.Errorf("%s is not a unix socket", f.Name())
	}
	u.SetUnlinkOnClose(false)
	return u, nil
}

// keep gives something to the keeper. That it can't is no reason to stop: a
// guarantee is weaker then, and people are told.
func (d *Daemon) keep(name string, fd int) {
	if d.keeper == nil {
		return
	}
	if err := d.keeper.Keep(name, fd); err != nil {
		d.post(func() { d.warnOnce(&d.keepFailed, err.Error()+"; what it prints may be lost should tend be killed") })
	}
}

// warnOnce tells of something the first time that it happens.
func (d *Daemon) warnOnce(said *bool, message string) {
	if !*said {
		*said = true
		d.warnf("%s", message)
	}
}

// Package listen opens the sockets that programs listen on, and keeps them open
// over the programs' restarts: a [Table] holds one for each address, whoever uses
// it, and hands out copies.
//
// It accepts nothing. [Table.Await] says when somebody connects, and
// [Connections] how many are connected.
package listen

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// An Address is where to listen.
type Address struct {
	Network string // "tcp" or "unix"
	Place   string // host:port, or an absolute path
}

// String returns a in the form that [Parse] takes.
func (a Address) String() string { return a.Network + " " + a.Place }

// Remote reports whether a name server may have to be asked where a is.
func (a Address) Remote() bool {
	if a.Network != "tcp" {
		return false
	}
	host, _, err := net.SplitHostPort(a.Place)
	if host == "" || host == "localhost" { // which is in the file of hosts
		return false
	}
	_, parseErr := netip.ParseAddr(host)
	return err != nil || parseErr != nil
}

// Parse returns the address that was written by String.
func Parse(s string) (a Address, ok bool) {
	a.Network, a.Place, ok = strings.Cut(s, " ")
	return a, ok && (a.Network == "tcp" || a.Network == "unix") && a.Place != ""
}

// An Owner says who may connect to a unix socket: the permissions of its file.
type Owner struct {
	Mode     fs.FileMode
	UID, GID int // -1: as it is
}

// An Error says why there is no socket at an address.
type Error struct {
	Address Address
	Err     error
	hint    string
}

func (e *Error) Unwrap() error { return e.Err }

// Error returns "cannot listen on", the place, and the reason.
func (e *Error) Error() string {
	why := e.Err
	if errno := syscall.Errno(0); errors.As(why, &errno) {
		why = errno
	}
	return fmt.Sprintf("cannot listen on %s: %v", e.Address.Place, why)
}

// Hint returns what may be done about it, "" when there is no telling.
func (e *Error) Hint() string {
	switch {
	case e.hint != "":
		return e.hint
	case errors.Is(e.Err, unix.EADDRINUSE) && e.Address.Network == "tcp":
		return "see who has it: ss -ltnp"
	case errors.Is(e.Err, unix.EACCES) && e.Address.Network == "tcp":
		return "ports below 1024 need root, CAP_NET_BIND_SERVICE or a lower sysctl net.ipv4.ip_unprivileged_port_start"
	case errors.Is(e.Err, unix.EADDRNOTAVAIL):
		return "no interface of this machine has the address"
	case errors.Is(e.Err, fs.ErrNotExist):
		return "create the folder first"
	}
	return ""
}

// A Table is the open sockets. Its methods may be called from several goroutines.
type Table struct {
	keep   func(name string, fd int)
	drop   func(name string)
	demand func(id uint64)

	mu   sync.Mutex // also held while a socket is opened, but not while its name is asked for: two who want one get the same
	open map[Address]*listener
	wait waiting
}

// listener is an open socket.
type listener struct {
	fd   int
	file file // of a unix socket
}

// file tells a socket's file from another one at its path.
type file struct{ dev, ino uint64 }

// New returns an empty table. keep is told of each socket that is opened, and drop
// of each that is closed, by the address's String; demand is told what was asked
// for by Await, from a goroutine of the table's.
func New(keep func(name string, fd int), drop func(name string), demand func(id uint64)) *Table {
	return &Table{keep: keep, drop: drop, demand: demand, open: make(map[Address]*listener)}
}

// Take returns copies of the sockets at the given addresses, which are the
// caller's. Those that aren't open are opened, by an *[Error] where that fails.
func (t *Table) Take(addresses []Address, o Owner) (fds []int, err error) {
	found, err := t.lookUp(addresses)
	if err != nil {
		return nil, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	defer func() {
		if err != nil {
			closeAll(fds)
			fds = nil
		}
	}()
	for _, a := range addresses {
		l, err := t.listener(a, found[a], o)
		if err != nil {
			return fds, err
		}
		fd, err := unix.FcntlInt(uintptr(l.fd), unix.F_DUPFD_CLOEXEC, 3)
		if err != nil {
			return fds, &Error{Address: a, Err: err}
		}
		fds = append(fds, fd)
	}
	return fds, nil
}

// lookUp returns where those of the addresses are that have to be asked for and
// aren't open. A name server that doesn't answer keeps nobody else from the table.
func (t *Table) lookUp(addresses []Address) (found map[Address]string, err error) {
	for _, a := range addresses {
		if !a.Remote() {
			continue
		}
		t.mu.Lock()
		open := t.open[a] != nil
		t.mu.Unlock()
		if open {
			continue
		}
		at, err := net.ResolveTCPAddr(a.Network, a.Place)
		if err != nil {
			return nil, &Error{Address: a, Err: err}
		}
		if found == nil {
			found = make(map[Address]string)
		}
		found[a] = at.String()
	}
	return found, nil
}

func closeAll(fds []int) {
	for _, fd := range fds {
		unix.Close(fd)
	}
}

// listener returns the socket at a, which it opens unless it is: at the place that
// was found for it, if any. t.mu is held.
func (t *Table) listener(a Address, found string, o Owner) (*listener, error) {
	l := t.open[a]
	if l != nil && a.Network == "unix" && l.file != fileAt(a.Place) {
		t.close(a) // somebody has removed the file: nobody can connect any more
		l = nil
	}
	if l == nil {
		var err error
		if l, err = openAt(a, cmp.Or(found, a.Place)); err != nil {
			return nil, err
		}
		t.open[a] = l
		t.keep(a.String(), l.fd)
	}
	if a.Network == "unix" {
		if err := o.apply(a.Place); err != nil {
			return nil, &Error{Address: a, Err: err}
		}
	}
	return l, nil
}

// apply gives the file of a socket its owner and permissions.
func (o Owner) apply(path string) error {
	if o.UID >= 0 || o.GID >= 0 {
		if err := os.Lchown(path, o.UID, o.GID); err != nil {
			return err
		}
	}
	return os.Chmod(path, o.Mode.Perm())
}

// openAt opens a socket for a, at a place that needs no name server.
func openAt(a Address, place string) (*listener, error) {
	if a.Network == "unix" {
		if err := vacate(a); err != nil {
			return nil, err
		}
	}
	config := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) (err error) {
		if a.Network == "unix" { // from the moment that the file is there it is nobody else's
			controlErr := c.Control(func(fd uintptr) { err = unix.Fchmod(int(fd), 0o600) })
			err = errors.Join(err, controlErr)
		}
		return err
	}}
	config.SetMultipathTCP(false) // which programs don't expect
	nl, err := config.Listen(context.Background(), a.Network, place)
	if err != nil {
		return nil, &Error{Address: a, Err: err}
	}
	if u, ok := nl.(*net.UnixListener); ok {
		u.SetUnlinkOnClose(false)
	}
	defer nl.Close()
	l := &listener{fd: -1}
	raw, err := nl.(syscall.Conn).SyscallConn()
	if err == nil {
		controlErr := raw.Control(func(fd uintptr) { l.fd, err = unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 3) })
		err = errors.Join(err, controlErr)
	}
	if err == nil {
		err = unix.SetNonblock(l.fd, false) // as systemd hands them over
	}
	if err != nil {
		return nil, &Error{Address: a, Err: err}
	}
	if a.Network == "unix" {
		l.file = fileAt(a.Place)
	}
	return l, nil
}

// vacate removes the socket that somebody has left at a path.
func vacate(a Address) error {
	info, err := os.Lstat(a.Place)
	switch {
	case err != nil:
		return nil // there is none, or listening will say what is wrong
	case info.Mode().Type() != fs.ModeSocket:
		return &Error{a, errors.New("there is a file that is not a socket"), "remove it, or choose another place"}
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return &Error{Address: a, Err: err}
	}
	defer unix.Close(fd)
	if err := unix.Connect(fd, &unix.SockaddrUnix{Name: a.Place}); !errors.Is(err, unix.ECONNREFUSED) {
		return &Error{a, unix.EADDRINUSE, "see who has it: ss -lxp"}
	}
	if err := os.Remove(a.Place); err != nil {
		return &Error{Address: a, Err: err}
	}
	return nil
}

// fileAt returns which file is at a path; zero: none.
func fileAt(path string) (f file) {
	var st unix.Stat_t
	if unix.Lstat(path, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFSOCK {
		f = file{st.Dev, st.Ino}
	}
	return f
}

// Adopt takes over a socket that was opened by an earlier table, unless there is
// one at its address. It reports whether it has: fd is the table's then.
func (t *Table) Adopt(a Address, fd int) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.open[a] != nil || !listens(fd) {
		return false
	}
	l := &listener{fd: fd}
	if a.Network == "unix" {
		l.file = fileAt(a.Place)
	}
	t.open[a] = l
	return true
}

// Find is Adopt for a descriptor whose address is to be found out: it is taken
// over if it listens at a, and kept.
func (t *Table) Find(a Address, fd int) bool {
	if fd < 0 || !listensAt(fd, a) || !t.Adopt(a, fd) {
		return false
	}
	t.keep(a.String(), fd)
	return true
}

func listens(fd int) bool {
	on, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN)
	return err == nil && on != 0
}

// listensAt reports whether fd is a socket that listens at a. Of a host's name
// only the port is compared.
func listensAt(fd int, a Address) bool {
	if !listens(fd) {
		return false
	}
	name, err := unix.Getsockname(fd)
	if err != nil {
		return false
	}
	host, port, _ := net.SplitHostPort(a.Place)
	ip := net.ParseIP(host)
	at := func(have net.IP, n int) bool {
		return a.Network == "tcp" && fmt.Sprint(n) == port && (ip == nil || ip.Equal(have))
	}
	switch name := name.(type) {
	case *unix.SockaddrUnix:
		return a.Network == "unix" && name.Name == a.Place
	case *unix.SockaddrInet4:
		return at(name.Addr[:], name.Port)
	case *unix.SockaddrInet6:
		return at(name.Addr[:], name.Port)
	}
	return false
}

// Len returns how many sockets are open.
func (t *Table) Len() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.open)
}

// FDs returns the descriptors by the address's String. They stay the table's.
func (t *Table) FDs() map[string]int {
	t.mu.Lock()
	defer t.mu.Unlock()
	fds := make(map[string]int, len(t.open))
	for a, l := range t.open {
		fds[a.String()] = l.fd
	}
	return fds
}

// Retain closes the sockets that aren't wanted, and removes their files.
func (t *Table) Retain(wanted func(Address) bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for a, l := range t.open {
		if wanted(a) {
			continue
		}
		if a.Network == "unix" && l.file != (file{}) && fileAt(a.Place) == l.file {
			os.Remove(a.Place)
		}
		t.close(a)
	}
}

// close closes a socket here, and lets the keeper forget it. t.mu is held.
func (t *Table) close(a Address) {
	l := t.open[a]
	delete(t.open, a)
	t.wait.remove(l)
	t.drop(a.String())
	unix.Close(l.fd)
}

// Close closes the descriptors and waits for the goroutine. The sockets live on
// with whoever else has them.
func (t *Table) Close() {
	t.mu.Lock()
	for a, l := range t.open {
		delete(t.open, a)
		t.wait.remove(l)
		unix.Close(l.fd)
	}
	t.mu.Unlock()
	t.wait.close()
}

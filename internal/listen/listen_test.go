package listen

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is longer than anything that is waited for takes.
const patience = 20 * time.Second

// world is a table, and what it has told.
type world struct {
	*Table
	t      *testing.T
	told   []string // what is kept and dropped
	demand chan uint64
}

func open(t *testing.T) *world {
	w := &world{t: t, demand: make(chan uint64, 100)}
	w.Table = New(
		func(name string, fd int) { w.told = append(w.told, "keep "+name) },
		func(name string) { w.told = append(w.told, "drop "+name) },
		func(id uint64) { w.demand <- id })
	t.Cleanup(func() {
		w.Retain(func(Address) bool { return false })
		w.Close()
	})
	return w
}

// tcp returns an address with a port that was free a moment ago.
func tcp(t *testing.T, host string) Address {
	t.Helper()
	l, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		t.Skip(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return Address{"tcp", net.JoinHostPort(host, port)}
}

func local(t *testing.T) Address { return Address{"unix", filepath.Join(t.TempDir(), "s")} }

var nobody = Owner{Mode: 0o660, UID: -1, GID: -1}

// take takes a copy of one socket; it is closed with the test.
func (w *world) take(a Address) int {
	w.t.Helper()
	fds, err := w.Take([]Address{a}, nobody)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { unix.Close(fds[0]) })
	return fds[0]
}

func (w *world) dial(a Address) net.Conn {
	w.t.Helper()
	c, err := net.Dial(a.Network, a.Place)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { c.Close() })
	return c
}

func (w *world) accept(fd int) int {
	w.t.Helper()
	conn, _, err := unix.Accept4(fd, unix.SOCK_CLOEXEC)
	if err != nil {
		w.t.Fatal(err)
	}
	return conn
}

// TestTake: a socket is opened once, whoever asks, and closed when nobody wants it.
func TestTake(t *testing.T) {
	w := open(t)
	all := []Address{tcp(t, "127.0.0.1"), tcp(t, ""), local(t)}
	for _, a := range all {
		first, second := w.take(a), w.take(a)
		w.dial(a)
		unix.Close(w.accept(first))
		w.dial(a)
		unix.Close(w.accept(second))
		if flags, err := unix.FcntlInt(uintptr(first), unix.F_GETFL, 0); err != nil || flags&unix.O_NONBLOCK != 0 {
			t.Errorf("%v doesn't block: %v", a, err)
		}
		if protocol, err := unix.GetsockoptInt(first, unix.SOL_SOCKET, unix.SO_PROTOCOL); a.Network == "tcp" && protocol != unix.IPPROTO_TCP {
			t.Errorf("%v speaks protocol %d, %v", a, protocol, err)
		}
	}
	if info, err := os.Stat(all[2].Place); err != nil || info.Mode() != fs.ModeSocket|0o660 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	if len(w.FDs()) != 3 || w.Len() != 3 {
		t.Errorf("%v", w.FDs())
	}
	w.Retain(func(a Address) bool { return a == all[0] })
	want := fmt.Sprintf("keep %v,keep %v,keep %v", all[0], all[1], all[2])
	if got := strings.Join(w.told[:3], ","); got != want || len(w.told) != 5 {
		t.Errorf("told %q", w.told)
	}
	if _, err := os.Lstat(all[2].Place); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the file is left: %v", err)
	}
	for _, a := range all {
		if b, ok := Parse(a.String()); b != a || !ok {
			t.Errorf("%v is read as %v", a, b)
		}
	}
	for _, bad := range []string{"", "tcp", "tcp ", "udp x"} {
		if _, ok := Parse(bad); ok {
			t.Errorf("%q is an address", bad)
		}
	}
}

// TestTrouble: what can't be opened is told in words, with what to do, and what
// isn't ours isn't removed.
func TestTrouble(t *testing.T) {
	w := open(t)
	taken, used, plain, stale := tcp(t, "127.0.0.1"), local(t), local(t), local(t)
	for _, a := range []Address{taken, used, stale} {
		l, err := net.Listen(a.Network, a.Place)
		if err != nil {
			t.Fatal(err)
		}
		if a == stale {
			l.(*net.UnixListener).SetUnlinkOnClose(false)
			l.Close()
		}
		defer l.Close()
	}
	if err := os.WriteFile(plain.Place, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		a          Address
		want, hint string
	}{
		{taken, "cannot listen on " + taken.Place + ": address already in use", "see who has it: ss -ltnp"},
		{used, "cannot listen on " + used.Place + ": address already in use", "see who has it: ss -lxp"},
		{plain, "cannot listen on " + plain.Place + ": there is a file that is not a socket", "remove it, or choose another place"},
		{Address{"unix", plain.Place + "er/s"}, "cannot listen on " + plain.Place + "er/s: no such file or directory", "create the folder first"},
		{Address{"tcp", "192.0.2.1:80"}, "cannot listen on 192.0.2.1:80: cannot assign requested address", "no interface of this machine has the address"},
	} {
		good := tcp(t, "127.0.0.1")
		fds, err := w.Take([]Address{good, test.a}, nobody)
		var e *Error
		if !errors.As(err, &e) || e.Error() != test.want || e.Hint() != test.hint || fds != nil {
			t.Errorf("%v: %v, hint %q", test.a, err, e.Hint())
		}
	}
	if data, err := os.ReadFile(plain.Place); string(data) != "x" {
		t.Errorf("the file is %q, %v", data, err)
	}
	w.take(stale)
	w.dial(stale)
	// Whoever removes the file gets a new socket at the next start.
	os.Remove(stale.Place)
	fd := w.take(stale)
	w.dial(stale)
	unix.Close(w.accept(fd))
}

// TestSlowName: a name server that doesn't answer keeps no one else from the table.
func TestSlowName(t *testing.T) {
	w := open(t)
	asked, answer := make(chan struct{}), make(chan struct{})
	was := net.DefaultResolver
	defer func() { net.DefaultResolver = was }()
	once := sync.OnceFunc(func() { close(asked) })
	net.DefaultResolver = &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		once()
		<-answer
		return nil, errors.New("nobody is there")
	}}
	named := Address{"tcp", "tend.invalid.:80"}
	failed := make(chan error)
	go func() {
		_, err := w.Take([]Address{named}, nobody)
		failed <- err
	}()
	<-asked
	w.take(tcp(t, "localhost"))
	w.Retain(func(Address) bool { return false })
	close(answer)
	var e *Error
	if err := <-failed; !errors.As(err, &e) || e.Address != named {
		t.Errorf("%v", err)
	}
}

// TestAwait: each who waits is told once, and only of sockets of its own.
func TestAwait(t *testing.T) {
	w := open(t)
	a, b := tcp(t, "127.0.0.1"), local(t)
	w.take(a)
	fd := w.take(b)
	await := func(id uint64, at ...Address) {
		t.Helper()
		if err := w.Await(id, at); err != nil {
			t.Fatal(err)
		}
	}
	next := func() uint64 {
		t.Helper()
		select {
		case id := <-w.demand:
			return id
		case <-time.After(patience):
			t.Fatal("nobody is told")
			return 0
		}
	}
	await(1, a, b)
	await(2, b)
	await(3, a)
	await(4, a, b)
	w.Ignore(4)
	w.dial(b)
	if x, y := next(), next(); x+y != 3 {
		t.Errorf("told %d and %d", x, y)
	}
	await(5, b) // the connection is still in the queue
	if id := next(); id != 5 {
		t.Errorf("told %d", id)
	}
	unix.Close(w.accept(fd))
	await(6, b)
	w.dial(a)
	if id := next(); id != 3 {
		t.Errorf("told %d", id)
	}
	w.Retain(func(Address) bool { return false }) // and with them those who wait
	if len(w.wait.queues)+len(w.wait.atFD)+len(w.demand) > 0 {
		t.Errorf("left: %v, %v, %d told", w.wait.queues, w.wait.atFD, len(w.demand))
	}
}

// TestConnections: those that are open are counted, and no others.
func TestConnections(t *testing.T) {
	for _, at := range []func(t *testing.T) Address{
		func(t *testing.T) Address { return tcp(t, "127.0.0.1") },
		func(t *testing.T) Address { return tcp(t, "::1") },
		func(t *testing.T) Address { a := tcp(t, ""); return a },
		local,
	} {
		w := open(t)
		a, other := at(t), at(t)
		fd := w.take(a)
		w.take(other)
		count := func(want int) {
			t.Helper()
			// The kernel takes its time to close a connection.
			for end := time.Now().Add(patience); ; {
				n, err := w.Connections([]Address{a})
				if err != nil {
					t.Fatal(err)
				}
				if n == want {
					return
				}
				if time.Now().After(end) {
					t.Fatalf("%v: %d connections, not %d", a, n, want)
				}
			}
		}
		count(0)
		w.dial(other)
		c := w.dial(a)
		count(1)
		conn := w.accept(fd)
		w.dial(a)
		count(2) // one of them in the queue
		c.Close()
		count(2) // the program hasn't closed it
		unix.Close(conn)
		count(1)
		unix.Close(w.accept(fd))
		count(0)
	}
}

// TestAdopt: what an earlier table has opened is taken over, and nothing else.
func TestAdopt(t *testing.T) {
	for _, a := range []Address{tcp(t, "127.0.0.1"), tcp(t, ""), local(t)} {
		w, next := open(t), open(t)
		w.take(a)
		copied := func() int {
			fd, err := unix.FcntlInt(uintptr(w.take(a)), unix.F_DUPFD_CLOEXEC, 3)
			if err != nil {
				t.Fatal(err)
			}
			return fd
		}
		c := w.dial(a)
		other := tcp(t, "127.0.0.1")
		if next.Find(other, copied()) || next.Find(a, int(os.Stdin.Fd())) || next.Find(a, -1) {
			t.Errorf("%v: another socket is taken for it", a)
		}
		if !next.Find(a, copied()) || next.Adopt(a, copied()) {
			t.Errorf("%v isn't taken over once", a)
		}
		w.Table.Close()
		conn := next.accept(next.take(a))
		unix.Write(conn, []byte("x"))
		if n, err := c.Read(make([]byte, 1)); n != 1 || err != nil {
			t.Errorf("%v: %v", a, err)
		}
		unix.Close(conn)
	}
}

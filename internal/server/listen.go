package server

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"tend/api"
)

// ListenUnix listens on the unix socket path with those permissions, and that
// group unless it is empty (a name or a number). Whatever the process's umask
// is, there is no moment at which the socket has others. A file that a dead
// daemon left is replaced; one that somebody answers on, or that isn't a socket,
// is an error. Closing the listener leaves the file.
func ListenUnix(path string, mode os.FileMode, group string) (*net.UnixListener, error) {
	l, err := listenUnix(path, mode, group)
	if err != nil {
		return nil, fmt.Errorf("cannot listen on %s: %w", path, err)
	}
	return l, nil
}

func listenUnix(path string, mode os.FileMode, group string) (_ *net.UnixListener, err error) {
	gid := -1
	if group != "" {
		if gid, err = lookupGroup(group); err != nil {
			return nil, err
		}
	}
	if err := vacant(path); err != nil {
		return nil, err
	}
	// bind(2) makes the file with what the umask leaves, so it happens in a
	// folder that is closed to others, and the file moves out when it is ready.
	dir, err := os.MkdirTemp(filepath.Dir(path), ".tend.sock-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	// A socket's address has room for 108 bytes (unix(7)): by way of the open
	// folder it is always short.
	d, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Net: "unix", Name: fmt.Sprintf("/proc/self/fd/%d/s", d.Fd())})
	if err != nil {
		return nil, err
	}
	l.SetUnlinkOnClose(false)
	made := filepath.Join(dir, "s")
	if gid >= 0 {
		err = os.Chown(made, -1, gid)
	}
	if err == nil {
		err = os.Chmod(made, mode.Perm())
	}
	if err == nil {
		err = os.Rename(made, path)
	}
	if err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

func lookupGroup(name string) (int, error) {
	g, err := user.LookupGroup(name)
	if err == nil {
		return strconv.Atoi(g.Gid)
	}
	if gid, err := strconv.ParseUint(name, 10, 31); err == nil {
		return int(gid), nil
	}
	return 0, fmt.Errorf("group %q not found: create it, or set another socket_group", name)
}

// vacant returns an error unless path is free, or a socket on which nobody
// listens.
func vacant(path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.Mode().Type() != fs.ModeSocket:
		return errors.New("there is a file that is not a socket: remove it, or choose another place")
	}
	// Whoever takes the connection is alive, be it that the answer never comes.
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	c := api.Dial(path)
	defer c.Close()
	d, err := c.Daemon(ctx)
	switch {
	case err == nil:
		return fmt.Errorf("a daemon answers there already, pid %d", d.PID)
	case errors.Is(err, api.ErrNoDaemon):
		return nil
	}
	return fmt.Errorf("somebody listens there already (%w)", err)
}

// A limited listener accepts no more connections than there are slots.
type limited struct {
	net.Listener
	slots  chan struct{}
	closed chan struct{}
	close  func() error
}

func newLimited(l net.Listener, slots chan struct{}) *limited {
	closed := make(chan struct{})
	return &limited{l, slots, closed, sync.OnceValue(func() error {
		close(closed)
		return l.Close()
	})}
}

func (l *limited) Close() error { return l.close() }

func (l *limited) Accept() (net.Conn, error) {
	select {
	case l.slots <- struct{}{}:
	case <-l.closed:
		return nil, net.ErrClosed
	}
	c, err := l.Listener.Accept()
	if err != nil {
		<-l.slots
		return nil, err
	}
	return &limitedConn{c, sync.OnceFunc(func() { <-l.slots })}, nil
}

type limitedConn struct {
	net.Conn
	release func()
}

func (c *limitedConn) Close() error {
	defer c.release()
	return c.Conn.Close()
}

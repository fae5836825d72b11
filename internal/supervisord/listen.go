package supervisord

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"tend/internal/svconf"
)

// dialLimit is how long it may take to find out whether somebody listens.
const dialLimit = time.Second

// A Listener listens for a server of a configuration.
type Listener struct {
	net.Listener
	Server svconf.Server

	made *os.File // that of a unix socket: as long as it is open, no other has its inode
}

// oPath opens a file to know it again, whatever it is (open(2)).
const oPath = 0x200000

// identify opens a file for nothing but its identity.
func identify(path string) (*os.File, os.FileInfo, error) {
	f, err := os.OpenFile(path, oPath|syscall.O_NOFOLLOW|syscall.O_CLOEXEC, 0)
	if err != nil {
		return nil, nil, err
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, nil, err
	}
	return f, info, nil
}

// Listen listens where a section [unix_http_server] or [inet_http_server] says.
// note is told what an administrator should know.
//
// The file of a unix socket appears with its mode and under its name at once, as
// with supervisord: it is made under another name and then linked. One that a
// dead daemon has left is removed; if somebody answers there, that is an error.
func Listen(server svconf.Server, note func(text string)) (*Listener, error) {
	if note == nil {
		note = func(string) {}
	}
	if server.File == "" {
		address := net.JoinHostPort(server.Host, strconv.Itoa(server.Port))
		l, err := net.Listen("tcp4", address)
		if errors.Is(err, syscall.EADDRINUSE) {
			return nil, inUse(server, err)
		}
		if err != nil {
			return nil, fmt.Errorf("cannot listen for %s: %w", server.Section, err)
		}
		return &Listener{Listener: l, Server: server}, nil
	}
	l, err := listenUnix(server, note)
	if err != nil {
		return nil, fmt.Errorf("cannot listen for %s: %w", server.Section, err)
	}
	return l, nil
}

// alreadyListening are supervisord's words when somebody else listens there.
const alreadyListening = "Another program is already listening on a port that one of our HTTP servers is configured to use. Shut this program down first before starting supervisord."

func inUse(server svconf.Server, err error) error {
	return fmt.Errorf("%s ([%s]: %w)", alreadyListening, server.Section, err)
}

func listenUnix(server svconf.Server, note func(string)) (*Listener, error) {
	for attempt := 0; ; attempt++ {
		l, err := bindUnix(server)
		if err == nil {
			return l, nil
		}
		if !errors.Is(err, fs.ErrExist) || attempt > 2 {
			return nil, err
		}
		if err := removeStale(server, note); err != nil {
			return nil, err
		}
	}
}

// bindUnix makes the socket. The error is fs.ErrExist if there is a file of that
// name already.
func bindUnix(server svconf.Server) (_ *Listener, err error) {
	// bind(2) makes the file with what the umask leaves, so it happens in a folder
	// that is closed to others, from where it is linked when it is ready.
	dir, err := os.MkdirTemp(filepath.Dir(server.File), ".tend.sock-")
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
	defer func() {
		if err != nil {
			l.Close()
		}
	}()
	made := filepath.Join(dir, "s")
	if o := server.Chown; o != nil {
		if err := os.Chown(made, o.UID, o.GID); err != nil {
			return nil, err
		}
	}
	if err := os.Chmod(made, fs.FileMode(server.Chmod&0o777)); err != nil {
		return nil, err
	}
	id, _, err := identify(made)
	if err != nil {
		return nil, err
	}
	if err := os.Link(made, server.File); err != nil {
		id.Close()
		return nil, err
	}
	return &Listener{Listener: l, Server: server, made: id}, nil
}

// removeStale removes the socket of a daemon that is dead.
func removeStale(server svconf.Server, note func(string)) error {
	id, before, err := identify(server.File)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // it went away by itself
	}
	if err != nil {
		return err
	}
	defer id.Close()
	if before.Mode().Type() != fs.ModeSocket {
		return fmt.Errorf("%s is not a socket: remove it, or set another file", server.File)
	}
	c, err := net.DialTimeout("unix", server.File, dialLimit)
	switch {
	case err == nil:
		c.Close()
		return inUse(server, syscall.EADDRINUSE)
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case !errors.Is(err, syscall.ECONNREFUSED):
		return err
	}
	// Whoever else has found it stale may have made its own by now.
	if now, err := os.Lstat(server.File); err != nil || !os.SameFile(before, now) {
		return nil
	}
	note("Unlinking stale socket " + server.File)
	return os.Remove(server.File)
}

// Remove removes the file of a unix socket, if it is still the one that was made.
// It is called once.
func (l *Listener) Remove() {
	if l.made == nil {
		return
	}
	defer l.made.Close()
	made, err := l.made.Stat()
	if err != nil {
		return
	}
	if now, err := os.Lstat(l.Server.File); err == nil && os.SameFile(made, now) {
		_ = os.Remove(l.Server.File)
	}
}

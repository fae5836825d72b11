package daemon

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"tend/internal/spec"
)

// sockets are those that the groups of [fcgi-program:x] share: each is there while a
// process of its group is. They may be used from any goroutine.
type sockets struct {
	mu      sync.Mutex
	byGroup map[string]*shared
}

type shared struct {
	fd    int
	users int // processes, and starts of some that are under way
}

// take returns the descriptor of the socket of a group, made if there is none, and
// whether it was made. It stays open until the last of its users has called release.
func (s *sockets) take(group string, at spec.Socket) (fd int, made bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	x := s.byGroup[group]
	if x == nil {
		fd, err := listenAt(at)
		if err != nil {
			return -1, false, fmt.Errorf("cannot start: no FastCGI socket %s: %w", at.Address, err)
		}
		x = &shared{fd: fd}
		s.put(group, x)
		made = true
	}
	x.users++
	return x.fd, made, nil
}

// adopt takes over a socket that was kept, for as many processes as live. fd is the
// sockets' then.
func (s *sockets) adopt(group string, fd, users int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.put(group, &shared{fd: fd, users: users})
}

func (s *sockets) put(group string, x *shared) {
	if s.byGroup == nil {
		s.byGroup = make(map[string]*shared)
	}
	s.byGroup[group] = x
}

// release ends the use of a process. It reports whether that was the last one, and
// the socket is closed.
func (s *sockets) release(group string) (closed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	x := s.byGroup[group]
	if x == nil {
		return false
	}
	if x.users--; x.users > 0 {
		return false
	}
	// Whoever else has it, the keeper for a moment and what the processes have left
	// behind, shall not keep clients waiting or the address taken.
	unix.Shutdown(x.fd, unix.SHUT_RDWR)
	unix.Close(x.fd)
	delete(s.byGroup, group)
	return true
}

// fds returns the descriptors by group.
func (s *sockets) fds() map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	fds := make(map[string]int)
	for group, x := range s.byGroup {
		fds[group] = x.fd
	}
	return fds
}

// listenAt makes a socket that listens, as supervisord does: of the file that was
// there before, nothing is left.
func listenAt(at spec.Socket) (fd int, err error) {
	family, address := unix.AF_INET, unix.Sockaddr(nil)
	if at.Network == "unix" {
		family, address = unix.AF_UNIX, &unix.SockaddrUnix{Name: at.Address}
	} else {
		tcp, err := net.ResolveTCPAddr("tcp4", at.Address)
		if err != nil {
			return -1, err
		}
		four := &unix.SockaddrInet4{Port: tcp.Port}
		copy(four.Addr[:], tcp.IP.To4()) // nil is all addresses
		address = four
	}
	fd, err = unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	defer func() {
		if err != nil {
			unix.Close(fd)
		}
	}()
	if at.Network == "unix" {
		if err := removeSocket(at.Address); err != nil {
			return -1, err
		}
	} else if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
		return -1, err
	}
	if err := unix.Bind(fd, address); err != nil {
		return -1, err
	}
	if at.Network == "unix" {
		if at.UID != -1 || at.GID != -1 {
			if err := os.Lchown(at.Address, at.UID, at.GID); err != nil {
				return -1, err
			}
		}
		if err := unix.Chmod(at.Address, uint32(at.Mode)); err != nil {
			return -1, err
		}
	}
	backlog := at.Backlog
	if backlog == 0 {
		backlog = unix.SOMAXCONN
	}
	return fd, unix.Listen(fd, backlog)
}

// removeSocket removes the file of an earlier socket. supervisord would remove
// whatever is there.
func removeSocket(path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.Mode().Type() != fs.ModeSocket:
		return errors.New("there is a file of that name that is no socket")
	}
	return os.Remove(path)
}

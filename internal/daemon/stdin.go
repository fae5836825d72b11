package daemon

import (
	"errors"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// A stdin is the writing end of the pipe that a program reads: those of a
// supervisord.conf have one. It may be used from any goroutine, and nobody ever
// waits for the program: what it doesn't read waits here, up to maxUnread.
type stdin struct {
	mu     sync.Mutex
	file   *os.File
	unread []byte // that the pipe has no room for
	busy   bool   // a goroutine waits for room
	gone   bool   // nobody reads any more, or the pipe is closed
}

// maxUnread is how much may wait beside what is in the pipe. A single text that is
// longer may wait too, if nothing else does.
const maxUnread = 1 << 20

var (
	errNotRead = errors.New("it doesn't read its standard input")
	errUnread  = errors.New("it has too much unread")
)

// newStdin makes the pipe of a program. The reading end is the caller's.
func newStdin() (s *stdin, reader int, err error) {
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
		return nil, -1, err
	}
	return adoptStdin(p[1]), p[0], nil
}

// adoptStdin takes over a writing end, of which fd is the only descriptor in this
// process. It is the stdin's then.
func adoptStdin(fd int) *stdin {
	unix.SetNonblock(fd, true) // fails for no pipe
	return &stdin{file: os.NewFile(uintptr(fd), "stdin")}
}

// fd calls f with the descriptor.
func (s *stdin) fd(f func(fd int)) {
	if raw, err := s.file.SyscallConn(); err == nil {
		raw.Control(func(fd uintptr) { f(int(fd)) }) // fails when it is closed
	}
}

// write appends to what the program reads. The error is errNotRead or errUnread.
func (s *stdin) write(data string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.gone {
		return errNotRead
	}
	if s.busy {
		if len(s.unread)+len(data) > maxUnread {
			return errUnread
		}
		s.unread = append(s.unread, data...)
		return nil
	}
	n, err := 0, error(unix.EBADF)
	s.fd(func(fd int) {
		for n, err = unix.Write(fd, []byte(data)); err == unix.EINTR; {
			n, err = unix.Write(fd, []byte(data))
		}
	})
	if err != nil && err != unix.EAGAIN {
		s.gone = true
		return errNotRead
	}
	if n = max(n, 0); n < len(data) {
		s.unread, s.busy = []byte(data[n:]), true
		go s.empty()
	}
	return nil
}

// empty writes what waits, until there is none.
func (s *stdin) empty() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.unread) > 0 && !s.gone {
		p := s.unread
		s.mu.Unlock()
		n, err := s.file.Write(p)
		s.mu.Lock()
		s.unread = s.unread[n:]
		s.gone = s.gone || err != nil
	}
	s.unread, s.busy = nil, false
}

// close ends the pipe. What waits is dropped. A nil stdin is closed.
func (s *stdin) close() {
	if s == nil {
		return
	}
	s.mu.Lock()
	s.gone = true
	s.mu.Unlock()
	s.file.Close()
}

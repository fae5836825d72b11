package guard

import (
	"encoding/binary"
	"fmt"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	maxMessage = 32 << 10 // bytes
	maxFDs     = 100      // in one message; the kernel takes 253 (SCM_MAX_FD)
)

// An End is how a process ended that had become the guard's child.
type End struct {
	No     uint64 // of the guard's counting
	PID    int
	Start  uint64 // clock ticks since boot; 0: unknown. With the pid it tells one process from all others
	Inode  uint64 // of its pidfd in pidfs, which does so by itself; 0 before Linux 6.9
	Code   int
	Signal syscall.Signal // 0: it exited with Code
	Core   bool
	At     time.Time

	User, System time.Duration
	MaxRSS       int64 // bytes
}

// String returns the end in words: "exit 1", "signal KILL".
func (e End) String() string {
	if e.Signal != 0 {
		return "signal " + strings.TrimPrefix(unix.SignalName(e.Signal), "SIG")
	}
	return fmt.Sprintf("exit %d", e.Code)
}

const endFormat = "%d %d %d %d %d %d %t %d %d %d %d"

func (e End) encode() string {
	return fmt.Sprintf(endFormat, e.No, e.PID, e.Start, e.Inode, e.Code, int(e.Signal), e.Core, e.At.UnixNano(), int64(e.User), int64(e.System), e.MaxRSS)
}

func decodeEnd(s string) (e End, err error) {
	var sig int
	var at, user, system int64
	_, err = fmt.Sscanf(s, endFormat, &e.No, &e.PID, &e.Start, &e.Inode, &e.Code, &sig, &e.Core, &at, &user, &system, &e.MaxRSS)
	e.Signal, e.At, e.User, e.System = syscall.Signal(sig), time.Unix(0, at), time.Duration(user), time.Duration(system)
	return e, err
}

// A link is one end of the socket, which keeps messages apart (SOCK_SEQPACKET).
type link struct {
	file *os.File
	conn syscall.RawConn

	// Of the one who receives. A guard of a thousand programs gets a message for
	// each, and shall be no bigger for it.
	buf, rights  []byte
	iov          unix.Iovec
	msg          unix.Msghdr
	n            int
	errno        syscall.Errno
	tryReceiving func(fd uintptr) bool

	mu    sync.Mutex // of those who send
	queue []outgoing
	going bool
	done  chan struct{} // closed with the link
	once  sync.Once
}

type outgoing struct {
	text string
	fds  []int // closed when sent
}

// newLink takes fd over.
func newLink(fd int) *link {
	unix.SetNonblock(fd, true)
	l := &link{file: os.NewFile(uintptr(fd), "guard"), done: make(chan struct{}),
		buf: make([]byte, maxMessage), rights: make([]byte, unix.CmsgSpace(4*maxFDs))}
	l.conn, _ = l.file.SyscallConn() // fails for a closed file only
	l.iov.Base, l.iov.Len = &l.buf[0], maxMessage
	l.msg.Iov, l.msg.Iovlen, l.msg.Control = &l.iov, 1, &l.rights[0]
	l.tryReceiving = func(fd uintptr) bool {
		for {
			l.msg.SetControllen(len(l.rights))
			n, _, errno := unix.Syscall(unix.SYS_RECVMSG, fd, uintptr(unsafe.Pointer(&l.msg)), unix.MSG_CMSG_CLOEXEC)
			if errno != unix.EINTR {
				l.n, l.errno = int(n), errno
				return errno != unix.EAGAIN
			}
		}
	}
	return l
}

func (l *link) close() {
	l.once.Do(func() {
		close(l.done)
		l.file.Close()
	})
}

// shutdown lets receive return what has come already, and then errClosed.
func (l *link) shutdown() {
	_ = l.conn.Control(func(fd uintptr) { // fails for a closed one only
		_ = unix.Shutdown(int(fd), unix.SHUT_RD)
	})
}

// send sends one message, and waits until the other end has room for it.
func (l *link) send(text string, fds ...int) error {
	var rights []byte
	if len(fds) > 0 {
		rights = unix.UnixRights(fds...)
	}
	var err error
	if werr := l.conn.Write(func(fd uintptr) bool {
		for {
			_, err = unix.SendmsgN(int(fd), []byte(text), rights, nil, unix.MSG_NOSIGNAL)
			if err != unix.EINTR {
				return err != unix.EAGAIN
			}
		}
	}); werr != nil {
		return errClosed
	}
	return err
}

// receive waits for a message. The descriptors that come with it are the
// caller's. It is for one goroutine at a time.
func (l *link) receive() (text string, fds []int, err error) {
	if err := l.conn.Read(l.tryReceiving); err != nil || l.errno != 0 || l.n == 0 {
		return "", nil, errClosed
	}
	for rest := l.rights[:l.msg.Controllen]; len(rest) > 0; {
		head, data, next, err := unix.ParseOneSocketControlMessage(rest)
		if err != nil {
			break
		}
		if head.Level == unix.SOL_SOCKET && head.Type == unix.SCM_RIGHTS {
			for ; len(data) >= 4; data = data[4:] {
				fds = append(fds, int(int32(binary.NativeEndian.Uint32(data))))
			}
		}
		rest = next
	}
	return string(l.buf[:l.n]), fds, nil
}

// post sends a message beside the caller, in the order of the calls: the guard
// waits for nobody.
func (l *link) post(text string) { l.enqueue(outgoing{text, nil}) }

// give posts descriptors with their names, and closes them.
func (l *link) give(names []string, fds []int) {
	var have []string
	var open []int
	for i, fd := range fds {
		if fd >= 0 {
			have, open = append(have, names[i]), append(open, fd)
		}
	}
	if len(open) > 0 {
		l.enqueue(outgoing{"fds " + strings.Join(have, "\n"), open})
	}
}

func (l *link) enqueue(m outgoing) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.queue = append(l.queue, m)
	if !l.going {
		l.going = true
		go l.drain()
	}
}

func (l *link) drain() {
	for {
		l.mu.Lock()
		if len(l.queue) == 0 {
			l.going, l.queue = false, nil
			l.mu.Unlock()
			return
		}
		m := l.queue[0]
		l.queue = l.queue[1:]
		l.mu.Unlock()
		_ = l.send(m.text, m.fds...) // the next daemon is told again
		for _, fd := range m.fds {
			unix.Close(fd)
		}
	}
}

// siginfo is siginfo_t as waitid(2) fills it, 128 bytes.
type siginfo struct {
	signo, errno, code, _ int32
	pid                   int32
	uid                   uint32
	status                int32
	_                     [100]byte
}

// Values of siginfo.code for SIGCHLD, see sigaction(2).
const (
	cldExited = 1
	cldDumped = 3
)

// waitid is waitid(2) with the kernel's fifth argument.
func waitid(idType, id, options int) (info siginfo, usage unix.Rusage, err error) {
	for {
		err = unix.Waitid(idType, id, (*unix.Siginfo)(unsafe.Pointer(&info)), options, &usage)
		if err != unix.EINTR {
			return info, usage, err
		}
	}
}

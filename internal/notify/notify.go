// Package notify hears what programs say of themselves: by systemd's protocol
// sd_notify(3), a datagram socket for each program whose address it finds in
// NOTIFY_SOCKET, and by that of s6, a line on a pipe.
//
// A [Receiver] waits for thousands of them without a thread or a goroutine for
// each. It decides nothing: who may say what, and what follows, is for others. A
// message stays in its socket until it was taken, so that the next one to listen
// hears it should this process die before that, and who sends too many waits.
package notify

import (
	"bytes"
	"fmt"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// maxMessage is the size of a message as systemd takes it, maxFiles how many
// descriptors can come with it (SCM_MAX_FD).
const (
	maxMessage = 4096
	maxFiles   = 253
)

// A Message is what somebody has sent, with who the kernel says has. Its
// descriptors are its owner's.
type Message struct {
	Tag   uint64 // of the socket
	PID   int    // 0: in no namespace that we see
	UID   int
	PIDFD int // of the sender; -1 before Linux 6.5
	Text  string
	Files []int
	Whole bool // nothing of it was cut off

	fd     int
	serial uint64 // of the socket when it was read; 0: it isn't there any more
}

// Close closes the descriptors of m.
func (m *Message) Close() {
	for _, fd := range m.Files {
		unix.Close(fd)
	}
	m.Files = nil
	if m.PIDFD >= 0 {
		unix.Close(m.PIDFD)
		m.PIDFD = -1
	}
}

// Listen makes the socket of a program, under a name as NOTIFY_SOCKET has it: a
// path, or @ and a name in the abstract namespace.
func Listen(name string) (fd int, err error) {
	fd, err = unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return -1, fmt.Errorf("cannot make a socket for notifications: %w", err)
	}
	// Before anybody can send: what comes earlier has no sender.
	err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PASSCRED, 1)
	if err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("cannot know who sends notifications: %w", err)
	}
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PASSPIDFD, 1) // Linux 6.5
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: name}); err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("cannot make the socket for notifications %s: %w", name, err)
	}
	return fd, nil
}

// A Receiver takes what comes in. Its methods may be called from several
// goroutines.
type Receiver struct {
	h     Handler
	epoll *os.File // in Go's own poller
	epfd  int
	wg    sync.WaitGroup

	mu       sync.Mutex
	sources  map[int32]*source // by descriptor
	serial   uint64
	buf, oob []byte
	scratch  [2]int // a pipe, to look into others
}

type kind uint8

const (
	socket kind = iota
	pipe
	other
)

// A source is a descriptor that is waited for.
type source struct {
	kind   kind
	tag    uint64
	serial uint64 // of the message that was read and not taken; 0: none was
}

// A Handler takes what comes. Its functions are called in order, from one
// goroutine, and must not block.
type Handler struct {
	// Message is given a message that somebody has sent. The next one of the same
	// socket comes after Taken.
	Message func(*Message)
	// Line is told the tag of a pipe by which a line has come.
	Line func(tag uint64)
	// Hung is told the tag and number of a descriptor whose other end nobody holds
	// any more.
	Hung func(tag uint64, fd int)
}

// Open returns a Receiver that waits for nothing yet.
func Open(h Handler) (*Receiver, error) {
	r := &Receiver{h: h, sources: make(map[int32]*source), buf: make([]byte, maxMessage+1),
		oob: make([]byte, unix.CmsgSpace(4*maxFiles)+unix.CmsgSpace(unix.SizeofUcred)+unix.CmsgSpace(4))}
	var err error
	if r.epfd, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return nil, fmt.Errorf("cannot make an epoll: %w", err)
	}
	if err := unix.SetNonblock(r.epfd, true); err != nil {
		unix.Close(r.epfd)
		return nil, fmt.Errorf("cannot make an epoll: %w", err)
	}
	r.epoll = os.NewFile(uintptr(r.epfd), "epoll")
	// A file that isn't in the poller refuses a deadline.
	err = r.epoll.SetDeadline(time.Time{})
	if err == nil {
		err = unix.Pipe2(r.scratch[:], unix.O_CLOEXEC|unix.O_NONBLOCK)
	}
	if err != nil {
		r.epoll.Close()
		return nil, fmt.Errorf("cannot wait for an epoll: %w", err)
	}
	r.wg.Go(r.loop)
	return r, nil
}

// Close stops receiving. What was waited for stays its owner's.
func (r *Receiver) Close() {
	r.epoll.Close()
	r.wg.Wait()
	unix.Close(r.scratch[0])
	unix.Close(r.scratch[1])
}

// Socket begins to receive by a socket that Listen has made. As with all that is
// waited for it stays the caller's, and is to be removed before it is closed.
func (r *Receiver) Socket(fd int, tag uint64) error {
	return r.add(fd, &source{kind: socket, tag: tag}, unix.EPOLLIN|unix.EPOLLONESHOT)
}

// Pipe waits for a line on a pipe, of which fd is the end to read.
func (r *Receiver) Pipe(fd int, tag uint64) error {
	if err := unix.SetNonblock(fd, true); err != nil {
		return fmt.Errorf("cannot wait for a pipe: %w", err)
	}
	return r.add(fd, &source{kind: pipe, tag: tag}, unix.EPOLLIN|unix.EPOLLET)
}

// File waits for the end of whatever fd leads to. One that has no such end, as a
// regular file, is none to wait for.
func (r *Receiver) File(fd int, tag uint64) {
	_ = r.add(fd, &source{kind: other, tag: tag}, 0) // EPOLLHUP and EPOLLERR come anyway
}

func (r *Receiver) add(fd int, s *source, events uint32) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sources[int32(fd)] = s
	if err := unix.EpollCtl(r.epfd, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: events, Fd: int32(fd)}); err != nil {
		delete(r.sources, int32(fd))
		return fmt.Errorf("cannot wait for descriptor %d: %w", fd, err)
	}
	return nil
}

// Remove ends what Socket, Pipe or File has begun. What was read before may still
// come.
func (r *Receiver) Remove(fd int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.sources[int32(fd)] != nil {
		_ = unix.EpollCtl(r.epfd, unix.EPOLL_CTL_DEL, fd, nil)
		delete(r.sources, int32(fd))
	}
}

// Pending reports whether m is still to be handled: those that Rest has returned,
// or whose socket was removed, aren't.
func (r *Receiver) Pending(m *Message) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.sources[int32(m.fd)]
	return m.serial == 0 || s != nil && s.serial == m.serial
}

// Taken says that a message was handled, and what follows from it outlives this
// process.
func (r *Receiver) Taken(m *Message) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.sources[int32(m.fd)]
	if m.serial == 0 || s == nil || s.serial != m.serial {
		return
	}
	_, _, _, _, _ = unix.Recvmsg(m.fd, r.buf[:1], nil, unix.MSG_DONTWAIT) // it is there, for nobody else reads
	r.rearm(m.fd, s)
}

// Rest returns all messages that a socket holds, those that weren't taken among
// them, and takes them.
func (r *Receiver) Rest(fd int) (list []*Message) {
	const most = 1024 // it holds far less, unless somebody doesn't stop to send
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.sources[int32(fd)]
	if s == nil {
		return nil
	}
	for range most {
		m, more := r.receive(fd, s, 0)
		if !more {
			break
		}
		if m != nil {
			list = append(list, m)
		}
	}
	r.rearm(fd, s)
	return list
}

func (r *Receiver) rearm(fd int, s *source) {
	s.serial = 0
	_ = unix.EpollCtl(r.epfd, unix.EPOLL_CTL_MOD, fd, &unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLONESHOT, Fd: int32(fd)})
}

// loop receives until Close.
func (r *Receiver) loop() {
	raw, err := r.epoll.SyscallConn()
	if err != nil {
		return // closed already
	}
	events := make([]unix.EpollEvent, 32)
	for {
		n := 0
		var errno error
		err := raw.Read(func(fd uintptr) bool {
			n, errno = unix.EpollWait(int(fd), events, 0)
			return n > 0 || errno != nil && errno != unix.EINTR
		})
		if err != nil || errno != nil {
			return
		}
		for _, ev := range events[:n] {
			r.handle(ev)
		}
	}
}

func (r *Receiver) handle(ev unix.EpollEvent) {
	fd := int(ev.Fd)
	r.mu.Lock()
	s := r.sources[ev.Fd]
	if s == nil {
		r.mu.Unlock()
		return
	}
	switch s.kind {
	case socket:
		m, more := r.receive(fd, s, unix.MSG_PEEK)
		if m == nil {
			if more { // nobody has sent it: it is none
				_, _, _, _, _ = unix.Recvmsg(fd, r.buf[:1], nil, unix.MSG_DONTWAIT)
			}
			r.rearm(fd, s)
			r.mu.Unlock()
			return
		}
		r.mu.Unlock()
		r.h.Message(m)
	case pipe:
		line := r.hasLine(fd)
		hung := !line && ev.Events&unix.EPOLLHUP != 0
		if hung {
			r.drop(fd)
		}
		r.mu.Unlock()
		switch {
		case line:
			r.h.Line(s.tag)
		case hung:
			r.h.Hung(s.tag, fd)
		}
	default:
		r.drop(fd)
		r.mu.Unlock()
		r.h.Hung(s.tag, fd)
	}
}

func (r *Receiver) drop(fd int) {
	_ = unix.EpollCtl(r.epfd, unix.EPOLL_CTL_DEL, fd, nil)
	delete(r.sources, int32(fd))
}

// hasLine looks whether there is a line's end in a pipe, and leaves it there.
func (r *Receiver) hasLine(fd int) bool {
	n, err := unix.Tee(fd, r.scratch[1], len(r.buf), unix.SPLICE_F_NONBLOCK)
	if err != nil || n <= 0 {
		return false
	}
	m, err := unix.Read(r.scratch[0], r.buf[:n])
	return err == nil && bytes.IndexByte(r.buf[:m], '\n') >= 0
}

// receive reads a message from a socket, and leaves it there if flags say so. It
// is nil where nobody has sent it; more is false where there is none.
func (r *Receiver) receive(fd int, s *source, flags int) (m *Message, more bool) {
	n, oobn, got, _, err := unix.Recvmsg(fd, r.buf, r.oob, flags|unix.MSG_DONTWAIT|unix.MSG_CMSG_CLOEXEC|unix.MSG_TRUNC)
	if err != nil {
		return nil, false
	}
	m = &Message{Tag: s.tag, PIDFD: -1, UID: -1, Whole: n <= maxMessage && got&unix.MSG_CTRUNC == 0, fd: fd}
	m.Text = string(r.buf[:min(n, maxMessage)])
	for rest := r.oob[:oobn]; len(rest) > 0; {
		head, data, next, err := unix.ParseOneSocketControlMessage(rest)
		if err != nil {
			break
		}
		rest = next
		if head.Level != unix.SOL_SOCKET {
			continue
		}
		one := unix.SocketControlMessage{Header: head, Data: data}
		switch head.Type {
		case unix.SCM_CREDENTIALS:
			if cred, err := unix.ParseUnixCredentials(&one); err == nil {
				m.PID, m.UID = int(cred.Pid), int(int32(cred.Uid))
			}
		case unix.SCM_RIGHTS:
			if fds, err := unix.ParseUnixRights(&one); err == nil {
				m.Files = append(m.Files, fds...)
			}
		case unix.SCM_PIDFD:
			one.Header.Type = unix.SCM_RIGHTS // a descriptor, as those are
			if fds, err := unix.ParseUnixRights(&one); err == nil && len(fds) == 1 {
				m.PIDFD = fds[0]
			}
		}
	}
	if m.UID < 0 {
		m.Close()
		return nil, true
	}
	if flags&unix.MSG_PEEK != 0 {
		r.serial++
		m.serial, s.serial = r.serial, r.serial
	}
	return m, true
}

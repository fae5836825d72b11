package logs

import (
	"context"
	"fmt"

	"golang.org/x/sys/unix"

	"tend/internal/fault"
)

// What a program writes to a pseudo-terminal (pty(7)) is read from the terminal's
// master, and somebody may want to see it at once, before a log has made lines of
// it. It goes from the master into a relay, a pipe of one piece at a time, is shown
// there, and goes on into the pipe of the stream. Both are moves of the kernel
// (splice(2)), so that a byte is in one of the three whenever this process dies:
// who holds the master and the relay beyond that loses nothing and doubles nothing.
// Where the stream's pipe is full all of it waits, and the program with it.

// A Terminal carries what is written to a pseudo-terminal into a Stream, and shows
// it. Its methods may be called from any goroutine.
type Terminal struct {
	c    *Capture
	name string
	show func(p []byte)
	seq  int32 // its name in c.terminals and the epoll

	// Descriptors of ours, for the worker that has the turn.
	master, relay, out int
	watched            [2]bool // the epoll knows master, and out
	noSplice           bool    // this kernel's terminals refuse it
	buf                []byte  // for those

	// Under c.mu.
	busy   bool // a worker has it
	again  bool // and is to take another turn
	closed bool
	ended  bool            // nobody has the program's side open any more, and all is carried
	asked  []chan struct{} // by Drain, since the last turn began
	drains []chan struct{} // before that: closed when a turn has found nothing more
	gone   chan struct{}   // closed when all is let go of
}

// pieceBytes is what a terminal is read by: no more than one buffer of a pipe
// holds, so that a relay is seen whole wherever there is room for one.
const pieceBytes = 4096

// Relay makes the pipe that a [Capture.Terminal] needs. It is the caller's, who has
// somebody keep it beyond this process's death together with the master.
func Relay() (fd int, err error) {
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
		return -1, err
	}
	defer unix.Close(p[0])
	defer unix.Close(p[1])
	return reopenPipe(p[0], unix.O_NONBLOCK)
}

// Terminal begins to carry what comes from master, which must not block, by way of
// relay to s. What is in relay goes first. show is called with all that is read
// from the master, each byte once and in order; it must not wait, and not keep p.
// The descriptors stay the caller's.
func (c *Capture) Terminal(s *Stream, master, relay int, show func(p []byte)) (*Terminal, error) {
	t := &Terminal{c: c, name: s.name, show: show, master: -1, relay: -1, out: -1, gone: make(chan struct{})}
	var err error
	if t.master, err = unix.FcntlInt(uintptr(master), unix.F_DUPFD_CLOEXEC, 3); err == nil {
		if t.relay, err = unix.FcntlInt(uintptr(relay), unix.F_DUPFD_CLOEXEC, 3); err == nil {
			t.out, err = s.Writer()
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err == nil && c.closed {
		err = ErrClosed
	}
	if err != nil {
		t.release()
		return nil, fmt.Errorf("cannot carry the output of %s's terminal: %w", s.name, err)
	}
	c.seq++
	t.seq = c.seq
	if c.terminals == nil {
		c.terminals = make(map[int32]*Terminal)
	}
	c.terminals[t.seq] = t
	t.kick()
	return t, nil
}

// kick gives t a turn that begins from now on. c.mu is held.
func (t *Terminal) kick() {
	t.again = true
	if !t.busy && !t.closed && !t.ended && !t.c.closed {
		t.busy = true
		t.c.wg.Go(t.work)
	}
}

// work takes turns until there is something to wait for.
func (t *Terminal) work() {
	sc := t.c.bufs.get()
	defer t.c.bufs.put(sc)
	t.c.mu.Lock()
	defer t.c.mu.Unlock()
	for t.again && !t.closed && !t.ended {
		t.again = false
		t.drains, t.asked = append(t.drains, t.asked...), nil
		t.c.mu.Unlock()
		what := t.turn(sc)
		t.c.mu.Lock()
		if what != awaitRoom {
			t.answer()
		}
		if t.ended = what == atEnd; !t.ended && !t.closed && !t.again {
			t.await(what)
		}
	}
	t.busy = false
	if t.closed || t.ended {
		t.drains = append(t.drains, t.asked...)
		t.answer()
		t.release()
	}
}

// answer tells those who wait that there is nothing more. c.mu is held.
func (t *Terminal) answer() {
	for _, d := range t.drains {
		close(d)
	}
	t.drains = nil
}

// What a turn may end in.
const (
	awaitOutput = iota // nothing more comes from the master now
	awaitRoom          // the stream's pipe is full
	atEnd              // nothing more will come
)

// turn carries what there is.
func (t *Terminal) turn(sc *scratch) (what int) {
	for {
		// What waits is older than what comes.
		waiting, err := unix.IoctlGetInt(t.relay, unix.TIOCINQ)
		if err != nil {
			return atEnd // it is our own
		}
		for waiting > 0 {
			n, err := unix.Splice(t.relay, nil, t.out, nil, waiting, unix.SPLICE_F_NONBLOCK)
			switch {
			case err == unix.EINTR:
			case err == unix.EAGAIN:
				return awaitRoom
			case err != nil:
				return atEnd
			}
			waiting -= int(max(n, 0))
		}
		if t.isClosed() {
			return awaitOutput
		}
		n, err := t.read()
		switch {
		case err == unix.EINTR:
			continue
		case err == unix.EAGAIN:
			return awaitOutput
		case err != nil || n == 0: // EIO: nobody has the other side open
			return atEnd
		}
		fault.Point("logs.relayed")
		if p, err := sc.peek(&Stream{fd: int32(t.relay)}, n); err == nil {
			t.show(p)
		}
	}
}

// read moves a piece from the master to the relay, which is empty.
func (t *Terminal) read() (n int, err error) {
	if !t.noSplice {
		m, err := unix.Splice(t.master, nil, t.relay, nil, pieceBytes, unix.SPLICE_F_NONBLOCK)
		if err != unix.EINVAL {
			return int(m), err
		}
		t.noSplice = true // Linux 5.10
	}
	// Should we die between the two, this piece is lost: there is no better way.
	if t.buf == nil {
		t.buf = make([]byte, pieceBytes)
	}
	if n, err = unix.Read(t.master, t.buf); n <= 0 {
		return n, err
	}
	_, err = writeTo(t.relay, t.buf[:n], 0)
	return n, err
}

// isClosed reports whether somebody has closed t.
func (t *Terminal) isClosed() bool {
	t.c.mu.Lock()
	defer t.c.mu.Unlock()
	return t.closed
}

// await has the epoll tell once of what is waited for. c.mu is held.
func (t *Terminal) await(what int) {
	fd, events := t.master, uint32(unix.EPOLLIN)
	if what == awaitRoom {
		fd, events = t.out, unix.EPOLLOUT
	}
	op := unix.EPOLL_CTL_MOD
	if !t.watched[what] {
		op, t.watched[what] = unix.EPOLL_CTL_ADD, true
	}
	ev := unix.EpollEvent{Events: events | unix.EPOLLONESHOT, Fd: ofTerminal, Pad: t.seq}
	if t.c.closed {
		return
	}
	if err := unix.EpollCtl(t.c.epfd, op, fd, &ev); err != nil {
		panic("logs: cannot arm a terminal: " + err.Error()) // our own descriptors
	}
}

// ofTerminal marks the events of terminals, in place of a slot.
const ofTerminal = -1

// Drain waits until all that was written to the terminal by the time of the call is
// in the stream's pipe; see [Stream.Drain] for the rest of its way.
func (t *Terminal) Drain(ctx context.Context) error {
	t.c.mu.Lock()
	if t.ended || t.closed {
		t.c.mu.Unlock()
		return nil
	}
	done := make(chan struct{})
	t.asked = append(t.asked, done)
	t.kick()
	t.c.mu.Unlock()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("cannot drain the terminal of %s: %w", t.name, context.Cause(ctx))
	}
}

// Close ends the carrying, and returns when nothing more is shown. What is in the
// master and the relay stays there for as long as others hold them.
func (t *Terminal) Close() {
	t.c.mu.Lock()
	t.close()
	t.c.mu.Unlock()
	<-t.gone // a turn doesn't wait for anything
}

// close is Close for who holds c.mu.
func (t *Terminal) close() {
	if t.closed || t.ended {
		return
	}
	t.closed = true
	t.drains, t.asked = append(t.drains, t.asked...), nil
	t.answer()
	if !t.busy {
		t.release()
	}
}

// release closes what is ours. c.mu is held.
func (t *Terminal) release() {
	defer close(t.gone)
	delete(t.c.terminals, t.seq)
	for what, fd := range [...]int{awaitOutput: t.master, awaitRoom: t.out} {
		if t.watched[what] && !t.c.closed { // others have the same open file
			_ = unix.EpollCtl(t.c.epfd, unix.EPOLL_CTL_DEL, fd, nil)
		}
	}
	for _, fd := range [...]int{t.master, t.relay, t.out} {
		if fd >= 0 {
			unix.Close(fd)
		}
	}
}

package listen

import (
	"fmt"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// waiting is who waits for a connection. One epoll serves all, in Go's own poller
// so that its goroutine waits without a thread, and only sockets are in it that
// somebody waits at: connections to a program that runs wake nobody here.
type waiting struct {
	epoll  *os.File // nil until somebody waits for the first time
	epfd   int
	done   chan struct{} // closed when the goroutine has ended
	atFD   map[int32]*listener
	queues map[*listener][]uint64 // of ids
}

// Await tells demand of id once, when there is a connection in the queue of a
// socket at one of the addresses. Those that aren't open are passed over.
func (t *Table) Await(id uint64, addresses []Address) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	w := &t.wait
	if w.epoll == nil {
		if err := w.open(); err != nil {
			return fmt.Errorf("cannot wait for connections: %w", err)
		}
		go t.loop()
	}
	for _, a := range addresses {
		l := t.open[a]
		if l == nil || slices.Contains(w.queues[l], id) {
			continue
		}
		if len(w.queues[l]) == 0 {
			if err := unix.EpollCtl(w.epfd, unix.EPOLL_CTL_ADD, l.fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(l.fd)}); err != nil {
				return fmt.Errorf("cannot wait for connections to %s: %w", a.Place, err)
			}
			w.atFD[int32(l.fd)] = l
		}
		w.queues[l] = append(w.queues[l], id)
	}
	return nil
}

// Ignore undoes Await.
func (t *Table) Ignore(id uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.wait.forget(id)
}

func (w *waiting) open() (err error) {
	if w.epfd, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return err
	}
	if err := unix.SetNonblock(w.epfd, true); err != nil {
		unix.Close(w.epfd)
		return err
	}
	w.epoll = os.NewFile(uintptr(w.epfd), "epoll of sockets")
	if err := w.epoll.SetDeadline(time.Time{}); err != nil { // a file that isn't in the poller refuses it
		w.epoll.Close()
		w.epoll = nil
		return err
	}
	w.done, w.atFD, w.queues = make(chan struct{}), make(map[int32]*listener), make(map[*listener][]uint64)
	return nil
}

// forget lets nobody wait under id any more.
func (w *waiting) forget(id uint64) {
	for l, ids := range w.queues {
		if ids = slices.DeleteFunc(ids, func(i uint64) bool { return i == id }); len(ids) > 0 {
			w.queues[l] = ids
		} else {
			w.remove(l)
		}
	}
}

// remove takes a socket out of the epoll. Its descriptor isn't the last one: by
// closing it alone it would stay.
func (w *waiting) remove(l *listener) {
	if len(w.queues[l]) > 0 {
		unix.EpollCtl(w.epfd, unix.EPOLL_CTL_DEL, l.fd, nil)
		delete(w.queues, l)
		delete(w.atFD, int32(l.fd))
	}
}

// loop is the goroutine that tells of connections.
func (t *Table) loop() {
	w := &t.wait
	defer close(w.done)
	raw, err := w.epoll.SyscallConn()
	if err != nil {
		return // closed already
	}
	buf := make([]unix.EpollEvent, 64)
	for {
		var n int
		err := raw.Read(func(fd uintptr) bool {
			n, err = unix.EpollWait(int(fd), buf, 0)
			return n > 0 || err != nil && err != unix.EINTR
		})
		if err != nil {
			return
		}
		for _, id := range t.ring(buf[:max(n, 0)]) {
			t.demand(id)
		}
	}
}

// ring returns who has waited for what has come, and lets them wait no more.
func (t *Table) ring(batch []unix.EpollEvent) (ids []uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, ev := range batch {
		if l := t.wait.atFD[ev.Fd]; l != nil {
			ids = append(ids, t.wait.queues[l]...)
		}
	}
	for _, id := range ids {
		t.wait.forget(id)
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

func (w *waiting) close() {
	if w.epoll != nil {
		w.epoll.Close()
		<-w.done
		w.epoll = nil
	}
}

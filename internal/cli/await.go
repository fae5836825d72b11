package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// awaitSocket returns when answers reports true. It is asked at once and then
// each time that the socket's folder gets an entry of the socket's name: a daemon
// that starts puts it there, so nothing is polled (inotify(7)). gone is called
// before it has to wait.
func awaitSocket(ctx context.Context, socket string, answers func() bool, gone func()) error {
	// The watch is there before the question, so that no daemon comes between.
	fd, err := syscall.InotifyInit1(syscall.IN_NONBLOCK | syscall.IN_CLOEXEC)
	if err != nil {
		return fmt.Errorf("cannot wait for the daemon: inotify: %w", err)
	}
	f := os.NewFile(uintptr(fd), "inotify")
	defer f.Close()
	folder := filepath.Dir(socket)
	if _, err := syscall.InotifyAddWatch(fd, folder, syscall.IN_CREATE|syscall.IN_MOVED_TO|syscall.IN_ATTRIB|syscall.IN_ONLYDIR); err != nil {
		return fmt.Errorf("cannot wait for the daemon: %s: %w", folder, err)
	}
	stop := context.AfterFunc(ctx, func() { f.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	if answers() {
		return nil
	}
	gone()
	buf := make([]byte, 4096)
	for {
		if _, err := f.Read(buf); err != nil {
			return errors.Join(ctx.Err(), err)
		}
		// Whatever the entry was: asking costs less than knowing.
		if answers() {
			return nil
		}
		if _, err := os.Stat(folder); err != nil {
			return fmt.Errorf("cannot wait for the daemon: %w", err)
		}
	}
}

// A process is watched for its end. The zero value is one that has ended.
type process struct{ epoll, pidfd int }

// watch returns the process with that pid, found by pidfd_open(2), Linux 5.3.
// Where that fails it is taken to have ended.
func watch(pid int) process {
	const sysPidfdOpen = 434 // the same on every architecture
	pidfd, _, errno := syscall.Syscall(sysPidfdOpen, uintptr(pid), 0, 0)
	if pid <= 0 || errno != 0 {
		return process{}
	}
	p := process{pidfd: int(pidfd)}
	epoll, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
	if err == nil {
		p.epoll = epoll
		// A pidfd is readable once the process has ended.
		err = syscall.EpollCtl(epoll, syscall.EPOLL_CTL_ADD, p.pidfd, &syscall.EpollEvent{Events: syscall.EPOLLIN})
	}
	if err != nil {
		p.close()
		return process{}
	}
	return p
}

func (p process) close() {
	for _, fd := range []int{p.epoll, p.pidfd} {
		if fd > 0 {
			syscall.Close(fd)
		}
	}
}

// wait reports whether the process ended within limit.
func (p process) wait(limit time.Duration) bool {
	if p.epoll == 0 {
		return true
	}
	end := time.Now().Add(limit)
	for {
		n, err := syscall.EpollWait(p.epoll, make([]syscall.EpollEvent, 1), int(max(0, time.Until(end).Milliseconds())))
		if err == nil {
			return n > 0
		}
		if !errors.Is(err, syscall.EINTR) {
			return true
		}
	}
}

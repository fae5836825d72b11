package doctor

import (
	"errors"
	"os"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A heldChild is a copy of us that does nothing until it is let go, and then
// ends with a status. Should we die, it ends too. No program is executed: an
// image may hold none but ours.
type heldChild struct {
	pid   int
	pidfd int
	hold  *os.File // closing it lets the child go
}

// startChild starts a child that will end with that status.
func startChild(status int) (*heldChild, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	// As package syscall does it: no descriptor may be opened meanwhile that the
	// child would have without knowing.
	runtime.LockOSThread() // the mask of signals is a thread's
	defer runtime.UnlockOSThread()
	syscall.ForkLock.Lock()
	pid, errno := forkHeld(r.Fd(), w.Fd(), uintptr(status))
	syscall.ForkLock.Unlock()
	runtime.KeepAlive(r)
	r.Close()
	if errno != 0 {
		w.Close()
		return nil, errno
	}
	c := &heldChild{pid: int(pid), hold: w}
	// Nobody else waits for it, so the pid is still its own.
	if c.pidfd, err = unix.PidfdOpen(c.pid, 0); err != nil {
		c.pidfd = -1
	}
	return c, nil
}

// forkHeld is the fork. The child has memory of its own, and only system calls
// to make: nothing of Go's runtime, which lost its threads, is needed. It is born
// with all signals blocked, since a handler would be Go again.
//
//go:norace
//go:nosplit
func forkHeld(r, w, status uintptr) (pid uintptr, errno syscall.Errno) {
	all, mask, buf := ^uint64(0), uint64(0), byte(0)
	syscall.RawSyscall6(unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, uintptr(unsafe.Pointer(&all)), uintptr(unsafe.Pointer(&mask)), 8, 0, 0)
	pid, _, errno = syscall.RawSyscall6(unix.SYS_CLONE, uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0)
	if errno != 0 || pid != 0 {
		syscall.RawSyscall6(unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, uintptr(unsafe.Pointer(&mask)), 0, 8, 0, 0)
		return pid, errno
	}
	syscall.RawSyscall(unix.SYS_CLOSE, w, 0, 0)
	syscall.RawSyscall(unix.SYS_READ, r, uintptr(unsafe.Pointer(&buf)), 1)
	for {
		syscall.RawSyscall(unix.SYS_EXIT_GROUP, status, 0, 0)
	}
}

// end lets the child go and waits for its end.
func (c *heldChild) end() (unix.WaitStatus, error) {
	c.hold.Close()
	return c.wait()
}

// wait waits for the end of the child and reaps it.
func (c *heldChild) wait() (ws unix.WaitStatus, err error) {
	for {
		_, err = unix.Wait4(c.pid, &ws, 0, nil)
		if !errors.Is(err, unix.EINTR) {
			return ws, err
		}
	}
}

// close gives back what the child, which has ended, has left.
func (c *heldChild) close() {
	c.hold.Close()
	if c.pidfd >= 0 {
		unix.Close(c.pidfd)
	}
}

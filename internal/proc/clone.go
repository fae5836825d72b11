package proc

import (
	"runtime"
	"sync/atomic"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A new process lives in our memory until it executes its program, so nothing
// of Go may run in it: no stack to grow, no preemption, no race detector. It
// therefore runs no Go at all. What it has to do between clone and execve is
// prepared by the parent as a list of system calls, and a few lines of
// assembly go through that list without touching the stack.
//
// Unlike vfork this doesn't stop the parent: CLONE_CHILD_CLEARTID wakes a
// futex when the child lets go of our memory (execve or exit), and the parent
// waits there as in any blocking system call. A slow execve thus keeps neither
// a P nor the garbage collector waiting.

// A call is one system call of a new process. The child ends with status 127
// at a call that fails, unless soft tells it to go on.
type call struct {
	nr   uintptr
	a    [6]uintptr
	soft uintptr // 0: any error ends the child; else only this errno does
	err  uintptr // written by the child: errno, 0 while none

	step Step   // what the call is for
	path string // what it is about, for an error
}

// cloneRun makes the system call trap, which must be clone or clone3 with
// CLONE_VM. In the parent it returns the child's pid or an errno. The child
// makes the calls of list, which must end in one that doesn't return. It reads
// list after this has returned, so the pointer does escape.
func cloneRun(trap, a0, a1, a2, a3, a4 uintptr, list *call) (pid, errno uintptr)

// cloneArgs is struct clone_args of clone3(2).
type cloneArgs struct {
	flags, pidfd, childTID, parentTID uint64
	exitSignal, stack, stackSize, tls uint64
	setTID, setTIDSize, cgroup        uint64
}

const cloneFlags = unix.CLONE_VM | unix.CLONE_FILES | unix.CLONE_PIDFD | unix.CLONE_CHILD_CLEARTID

// A clone is what one system call to make a process needs in memory.
type clone struct {
	args   cloneArgs
	pidfd  int32
	shared atomic.Uint32 // 1 while the child is in our memory
	mask   [2]uint64     // signals blocked before
}

// all is the set of all signals, as the kernel has it: 64 bits.
var all = ^uint64(0)

// start makes a process that goes through list, in the cgroup behind the
// descriptor cgroup if that isn't -1, which needs clone3. It returns the pid;
// c.pidfd is open then. list and all it points to must stay as they are until
// wait has returned.
func (c *clone) start(clone3 bool, cgroup int, list *call) (pid int, err error) {
	c.shared.Store(1)
	c.pidfd = -1
	tid := uintptr(unsafe.Pointer(&c.shared))
	fd := uintptr(unsafe.Pointer(&c.pidfd))
	trap, a := uintptr(unix.SYS_CLONE), cloneOrder(cloneFlags|uintptr(unix.SIGCHLD), fd, tid)
	if clone3 {
		c.args = cloneArgs{
			flags:      cloneFlags | unix.CLONE_CLEAR_SIGHAND,
			pidfd:      uint64(fd),
			childTID:   uint64(tid),
			exitSignal: uint64(unix.SIGCHLD),
		}
		if cgroup >= 0 {
			c.args.flags |= unix.CLONE_INTO_CGROUP
			c.args.cgroup = uint64(cgroup)
		}
		trap, a = unix.SYS_CLONE3, [5]uintptr{uintptr(unsafe.Pointer(&c.args)), unsafe.Sizeof(c.args)}
	}

	// A handler of ours that ran in the child would be Go code on the parent's
	// stack, so the child is born with all signals blocked. It unblocks them
	// when all are back at their defaults.
	runtime.LockOSThread()
	syscall.RawSyscall6(unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, uintptr(unsafe.Pointer(&all)), uintptr(unsafe.Pointer(&c.mask)), 8, 0, 0)
	r, errno := cloneRun(trap, a[0], a[1], a[2], a[3], a[4], list)
	syscall.RawSyscall6(unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, uintptr(unsafe.Pointer(&c.mask)), 0, 8, 0, 0)
	runtime.UnlockOSThread()
	if errno != 0 {
		return 0, syscall.Errno(errno)
	}
	return int(r), nil
}

// wait returns when the child has left our memory.
func (c *clone) wait() {
	for c.shared.Load() != 0 {
		// Not FUTEX_PRIVATE: the kernel's wake-up isn't.
		syscall.Syscall6(unix.SYS_FUTEX, uintptr(unsafe.Pointer(&c.shared)), 0 /* FUTEX_WAIT */, 1, 0, 0, 0)
	}
}

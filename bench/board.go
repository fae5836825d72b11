package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// errTimeout says that what was awaited did not come in time.
var errTimeout = errors.New("nothing came in time")

// A board is the memory that the guarded programs (csrc/probe.c) share with the
// harness: each leaves the time and pid of its newest start there. Nobody polls
// it; the start that makes the target full wakes the one who waits (futex(2)).
type board struct {
	dir   string // where the programs find it
	mem   []byte
	head  *boardHead
	slots []boardSlot
	alive int // reading end of the FIFO that every program holds open
}

// boardHead and boardSlot are struct board and struct slot of csrc/probe.c.
type boardHead struct {
	starts, target, full, _ uint32
}

type boardSlot struct {
	at          int64 // CLOCK_MONOTONIC ns of the newest start
	pid, starts uint32
}

// newBoard makes a board for n programs in a new folder, in memory where
// /dev/shm is there: a page on its way to a disk would hold a program up.
func newBoard(n int) (*board, error) {
	parent := "/dev/shm"
	if unix.Access(parent, unix.W_OK) != nil {
		parent = ""
	}
	dir, err := os.MkdirTemp(parent, "tend-bench-")
	if err != nil {
		return nil, fmt.Errorf("cannot make a board: %w", err)
	}
	b := &board{dir: dir, alive: -1}
	if err := b.open(n); err != nil {
		b.close()
		return nil, fmt.Errorf("cannot make a board: %w", err)
	}
	return b, nil
}

func (b *board) open(n int) error {
	headSize, slotSize := int(unsafe.Sizeof(boardHead{})), int(unsafe.Sizeof(boardSlot{}))
	size := headSize + max(n, 1)*slotSize
	f, err := os.Create(filepath.Join(b.dir, "board"))
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Truncate(int64(size)); err != nil {
		return err
	}
	b.mem, err = unix.Mmap(int(f.Fd()), 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return err
	}
	b.head = (*boardHead)(unsafe.Pointer(&b.mem[0]))
	b.slots = unsafe.Slice((*boardSlot)(unsafe.Pointer(&b.mem[headSize])), max(n, 1))
	fifo := filepath.Join(b.dir, "alive")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		return err
	}
	b.alive, err = unix.Open(fifo, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	return err
}

func (b *board) close() {
	if b.mem != nil {
		unix.Munmap(b.mem)
		b.mem, b.head, b.slots = nil, nil, nil
	}
	if b.alive >= 0 {
		unix.Close(b.alive)
		b.alive = -1
	}
	os.RemoveAll(b.dir)
}

// starts returns how many programs have started since the board was made.
func (b *board) starts() int { return int(atomic.LoadUint32(&b.head.starts)) }

// expect sets the number of starts, from now on, that wait returns after.
func (b *board) expect(n int) {
	atomic.StoreUint32(&b.head.full, 0)
	atomic.StoreUint32(&b.head.target, atomic.LoadUint32(&b.head.starts)+uint32(n))
}

// wait returns once the expected starts have come, errTimeout when they haven't.
func (b *board) wait(timeout time.Duration) error {
	deadline := time.Now().Add(timeout)
	for {
		if atomic.LoadUint32(&b.head.full) == 1 || int32(atomic.LoadUint32(&b.head.starts)-b.head.target) >= 0 {
			return nil
		}
		left := time.Until(deadline)
		if left <= 0 {
			return errTimeout
		}
		ts := unix.NsecToTimespec(left.Nanoseconds())
		const futexWait = 0
		_, _, errno := unix.Syscall6(unix.SYS_FUTEX, uintptr(unsafe.Pointer(&b.head.full)), futexWait, 0,
			uintptr(unsafe.Pointer(&ts)), 0, 0)
		switch errno {
		case 0, unix.EAGAIN, unix.EINTR, unix.ETIMEDOUT:
		default:
			return fmt.Errorf("cannot wait for a start: %w", errno)
		}
	}
}

// waitGone returns once no program has the board's FIFO open any more. At least
// one must have had it.
func (b *board) waitGone(timeout time.Duration) error {
	return poll(b.alive, timeout)
}

// poll waits for anything at all to be said of the descriptor: a hang-up of a
// FIFO, the end of a pidfd's process.
func poll(fd int, timeout time.Duration) error {
	deadline := time.Now().Add(timeout)
	for {
		left := time.Until(deadline)
		if left <= 0 {
			return errTimeout
		}
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(left.Milliseconds())+1)
		if err != nil && err != unix.EINTR {
			return fmt.Errorf("cannot poll: %w", err)
		}
		if n > 0 {
			return nil
		}
	}
}

// now returns CLOCK_MONOTONIC in ns, the clock of the programs' reports.
func now() int64 {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		panic(err) // the clock has been there since Linux 2.6
	}
	return ts.Nano()
}

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A fleet is one run of one contender over some programs, in a folder of its own.
type fleet struct {
	probe    string
	dir      string // configuration, state and logs
	programs []program
	board    *board
	root     int   // pid of the supervisor that was started
	began    int64 // when that was, CLOCK_MONOTONIC ns

	ctx     context.Context
	timeout time.Duration // of each thing waited for
}

// slice is how often a wait looks whether it still makes sense.
const slice = 250 * time.Millisecond

// launch configures and starts the contender; the programs come up later. The
// fleet must be closed, also after an error from another method.
func launch(ctx context.Context, c *contender, probe string, programs []program, timeout time.Duration) (*fleet, error) {
	dir, err := os.MkdirTemp("", "tend-bench-")
	if err != nil {
		return nil, err
	}
	f := &fleet{probe: probe, dir: dir, programs: programs, ctx: ctx, timeout: timeout}
	if f.board, err = newBoard(len(programs)); err != nil {
		os.RemoveAll(dir)
		return nil, err
	}
	if err := c.configure(f); err != nil {
		f.close()
		return nil, fmt.Errorf("cannot configure: %w", err)
	}
	argv := c.command(f)
	f.board.expect(len(programs))
	f.began = now()
	if f.root, err = start(argv, dir, f.log()); err != nil {
		f.close()
		return nil, err
	}
	return f, nil
}

// close kills whatever is left, without asking, and removes the fleet's files.
func (f *fleet) close() {
	sweep()
	f.board.close()
	os.RemoveAll(f.dir)
}

func (f *fleet) log() string { return filepath.Join(f.dir, "output.log") }

// await returns once the starts that the board expects have come.
func (f *fleet) await() error {
	return f.until(f.board.wait, true)
}

// until waits in slices. It gives up after the timeout, when the harness is told
// to end, and, where the supervisor is needed, when that has ended.
func (f *fleet) until(wait func(time.Duration) error, needed bool) error {
	for deadline := time.Now().Add(f.timeout); ; {
		err := wait(slice)
		if !errors.Is(err, errTimeout) {
			return err
		}
		if f.ctx.Err() != nil {
			return f.ctx.Err()
		}
		if needed && f.ended() {
			return fmt.Errorf("cannot go on: the supervisor ended; it said: %s", f.tail())
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%w: %s; it said: %s", errTimeout, f.timeout, f.tail())
		}
	}
}

// awaitSocket returns once somebody listens there. Programs may be up before.
func (f *fleet) awaitSocket(socket string) error {
	return f.until(func(time.Duration) error {
		conn, err := net.Dial("unix", socket)
		if err == nil {
			return conn.Close()
		}
		if err := f.pause(gap); err != nil {
			return err
		}
		return fmt.Errorf("%w: %w", errTimeout, err)
	}, true)
}

// ended says whether the supervisor has, and leaves it to be reaped.
func (f *fleet) ended() bool {
	var info unix.Siginfo
	err := unix.Waitid(unix.P_PID, f.root, &info, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil)
	return err != nil || info.Signo != 0
}

// tail returns the end of what the supervisor wrote.
func (f *fleet) tail() string {
	said, _ := os.ReadFile(f.log())
	if len(said) > 500 {
		said = said[len(said)-500:]
	}
	if len(said) == 0 {
		return "nothing"
	}
	return strings.TrimSpace(string(said))
}

// pause lets the supervisor come to rest.
func (f *fleet) pause(d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-f.ctx.Done():
		return f.ctx.Err()
	}
}

// bringUp waits until every program runs and returns the times from the start of
// the supervisor, and from the first program's first instruction, to the last's.
func (f *fleet) bringUp() (fromStart, fromFirst time.Duration, err error) {
	if err := f.await(); err != nil {
		return 0, 0, fmt.Errorf("cannot bring up %d programs, %d came: %w", len(f.programs), f.board.starts(), err)
	}
	first, last := f.board.slots[0].at, f.board.slots[0].at
	for i := range f.programs {
		s := &f.board.slots[i]
		if s.starts != 1 {
			return 0, 0, fmt.Errorf("cannot bring up %d programs: %s started %d times", len(f.programs), f.programs[i].name(), s.starts)
		}
		first, last = min(first, s.at), max(last, s.at)
	}
	return time.Duration(last - f.began), time.Duration(last - first), nil
}

// renew does what makes the program in the slot start anew and returns the time
// from the beginning of that to the new one's first instruction.
func (f *fleet) renew(slot int, do func() error) (time.Duration, error) {
	s := &f.board.slots[slot]
	before := s.starts
	f.board.expect(1)
	began := now()
	if err := do(); err != nil {
		return 0, err
	}
	if err := f.await(); err != nil {
		return 0, fmt.Errorf("cannot see %s start anew: %w", f.programs[slot].name(), err)
	}
	if got := atomic.LoadUint32(&s.starts); got != before+1 {
		return 0, fmt.Errorf("cannot see %s start anew: another program did", f.programs[slot].name())
	}
	return time.Duration(s.at - began), nil
}

// kill ends the program in the slot with KILL and returns the time to its next
// first instruction.
func (f *fleet) kill(slot int) (time.Duration, error) {
	pid := int(f.board.slots[slot].pid)
	return f.renew(slot, func() error {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			return fmt.Errorf("cannot kill %s: %w", f.programs[slot].name(), err)
		}
		return nil
	})
}

// stop tells the supervisor to end and returns the times until the last program
// and until the last process of the supervisor's side were gone.
func (f *fleet) stop(sig syscall.Signal) (programs, all time.Duration, err error) {
	side, err := supervisorSide(f.root, f.probe)
	if err != nil {
		return 0, 0, err
	}
	var fds []int
	defer func() {
		for _, fd := range fds {
			unix.Close(fd)
		}
	}()
	for _, pid := range side {
		fd, err := unix.PidfdOpen(pid, 0)
		if err != nil {
			return 0, 0, fmt.Errorf("cannot watch the supervisor's process %d: %w", pid, err)
		}
		fds = append(fds, fd)
	}
	began := now()
	if err := syscall.Kill(f.root, sig); err != nil {
		return 0, 0, fmt.Errorf("cannot stop the supervisor: %w", err)
	}
	if len(f.programs) > 0 {
		if err := f.until(f.board.waitGone, false); err != nil {
			return 0, 0, fmt.Errorf("cannot see the programs end: %w", err)
		}
	}
	programs = time.Duration(now() - began)
	for _, fd := range fds {
		wait := func(d time.Duration) error { return poll(fd, d) }
		if err := f.until(wait, false); err != nil {
			return 0, 0, fmt.Errorf("cannot see the supervisor end: %w", err)
		}
	}
	all = time.Duration(now() - began)
	if left, err := sweep(); err != nil {
		return 0, 0, err
	} else if left > 0 {
		return 0, 0, fmt.Errorf("cannot call it stopped: %d processes were left behind", left)
	}
	return programs, all, nil
}

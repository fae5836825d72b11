package main

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	deaths   = 2 // kills of the daemon in each round
	upgrades = 3 // of the daemon, in each round

	// One that dies again within so long is started after a wait, by tend's guard.
	calm = 11 * time.Second

	question = time.Millisecond       // between one question and the next, whether that is answered or not
	around   = 300 * time.Millisecond // questions before and after an upgrade
)

// survive kills the daemon of the big fleet, and exchanges it under a client that
// asks without a pause. No program may notice either.
func (b *bench) survive(c *contender, round int) error {
	if c.survival == nil {
		return nil
	}
	f, err := launch(b.ctx, c, b.probe, programs(b.n), b.timeout)
	if err != nil {
		return err
	}
	defer f.close()
	if _, _, err := f.bringUp(); err != nil {
		return err
	}
	// Let it be as it is at most times: at rest, with its memory given back.
	if err := f.pause(settle); err != nil {
		return err
	}
	before := f.board.starts()
	var died time.Time
	for i := 0; b.wants("death") && i < deaths; i++ {
		if i > 0 {
			if err := f.pause(time.Until(died.Add(calm))); err != nil {
				return err
			}
		}
		died = time.Now()
		took, err := f.murder(c.survival)
		if err != nil {
			return err
		}
		b.sheet.add("death", c.name, round, ms(took))
	}
	for i := 0; b.wants("upgrade") && i < upgrades; i++ {
		if err := f.pause(grace); err != nil {
			return err
		}
		if err := b.exchange(f, c, round); err != nil {
			return err
		}
	}
	if started := f.board.starts() - before; started > 0 {
		return fmt.Errorf("cannot call it survived: %d programs were started anew", started)
	}
	return nil
}

// murder kills the daemon and returns the time until a new one says that every
// program runs.
func (f *fleet) murder(s *survival) (time.Duration, error) {
	pid, err := s.daemonPID(f)
	if err != nil {
		return 0, err
	}
	if pid <= 1 || pid == f.root {
		return 0, fmt.Errorf("cannot kill the daemon: %d isn't the pid of one", pid)
	}
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return 0, fmt.Errorf("cannot watch the daemon: %w", err)
	}
	defer unix.Close(fd)
	began := now()
	if err := unix.PidfdSendSignal(fd, syscall.SIGKILL, nil, 0); err != nil {
		return 0, fmt.Errorf("cannot kill the daemon: %w", err)
	}
	// What it says until it is dead doesn't count.
	if err := f.until(func(d time.Duration) error { return poll(fd, d) }, true); err != nil {
		return 0, fmt.Errorf("cannot see the daemon die: %w", err)
	}
	err = f.until(func(time.Duration) error {
		n, err := s.running(f)
		if err == nil && n < len(f.programs) {
			err = fmt.Errorf("%d of %d programs run", n, len(f.programs))
		}
		if err != nil {
			return fmt.Errorf("%w: %w", errTimeout, err)
		}
		return nil
	}, true)
	if err != nil {
		return 0, fmt.Errorf("cannot see the daemon come back: %w", err)
	}
	return time.Duration(now() - began), nil
}

// exchange has the daemon execute its binary anew, while a client asks every
// millisecond, over a connection of its own each time.
func (b *bench) exchange(f *fleet, c *contender, round int) error {
	var (
		mu      sync.Mutex
		last    = now()
		longest int64
		refused atomic.Int64
		why     error
		asked   sync.WaitGroup
	)
	stop := make(chan struct{})
	var asking sync.WaitGroup
	asking.Go(func() {
		ticker := time.NewTicker(question)
		defer ticker.Stop()
		for {
			select {
			case <-stop:
				return
			case <-ticker.C:
			}
			asked.Go(func() {
				err := c.survival.ask(f)
				at := now()
				mu.Lock()
				defer mu.Unlock()
				if err != nil {
					refused.Add(1)
					why = err
					return
				}
				longest = max(longest, at-last)
				last = max(last, at)
			})
		}
	})
	upgrade := func() error {
		if err := f.pause(around); err != nil {
			return err
		}
		mu.Lock()
		longest = 0 // it was warming up
		mu.Unlock()
		pid, err := start(c.survival.upgrade(f), f.dir, f.log())
		if err != nil {
			return err
		}
		if err := reap(pid); err != nil {
			return fmt.Errorf("cannot upgrade: the command %w; it said: %s", err, f.tail())
		}
		return f.pause(around)
	}
	err := upgrade()
	close(stop)
	asking.Wait()
	asked.Wait()
	if err != nil {
		return err
	}
	if longest == 0 {
		return errors.Join(errors.New("cannot measure an upgrade: nothing was answered"), why)
	}
	if n, err := c.survival.running(f); err != nil || n < len(f.programs) {
		return errors.Join(fmt.Errorf("cannot call it survived: %d of %d programs run", n, len(f.programs)), err)
	}
	unguarded, err := c.survival.unguarded(f)
	if err != nil {
		return err
	}
	if why != nil {
		fmt.Fprintf(os.Stderr, " (%d without an answer, the last: %v)", refused.Load(), why)
	}
	b.sheet.add("upgrade-gap", c.name, round, ms(time.Duration(longest)))
	b.sheet.add("upgrade-refused", c.name, round, float64(refused.Load()))
	b.sheet.add("upgrade-unguarded", c.name, round, ms(unguarded))
	return nil
}

package daemon

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"tend/internal/proc"
	"tend/internal/spec"
)

// asides are the processes that run beside those of programs and belong to none:
// the commands of on_event, and checks by commands. They are ours as those are: in
// trees of their own, with marks by which the next daemon finds and ends them.
type asides struct {
	last atomic.Uint64 // number that was given to one

	mu   sync.Mutex
	open map[uint64]chan<- proc.Fact // by tag
}

// asideOwn marks the tags of processes that belong to no instance.
const asideOwn = aside | 1<<62

// begin returns a tag, and where the facts about it come.
func (a *asides) begin() (tag uint64, facts <-chan proc.Fact) {
	c := make(chan proc.Fact, 2) // Ended and Emptied
	tag = asideOwn | a.last.Add(1)
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.open == nil {
		a.open = make(map[uint64]chan<- proc.Fact)
	}
	a.open[tag] = c
	return tag, c
}

func (a *asides) end(tag uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.open, tag)
}

// take hands a fact to whoever waits for it. It is called by the reaper.
func (a *asides) take(tag uint64, f proc.Fact) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if c := a.open[tag]; c != nil {
		c <- f // has room for all that there are
	}
}

// killedEnd bounds the wait for the end of what was killed, and for the last of its
// output.
const killedEnd = 5 * time.Second

// beside gives an attempt a tree of its own: nobody is to take it for a process of
// the program that it runs as.
func (d *Daemon) beside(a *proc.Attempt, tree string, gen uint64) {
	mark := d.environ.markOf(tree, gen)
	a.Env[slices.Index(a.Env, a.Mark)], a.Mark, a.Name = mark, mark, tree
}

// runBeside runs an attempt to its end. What it leaves behind is killed, as all of it
// is when ctx ends, which is the error then.
func (d *Daemon) runBeside(ctx context.Context, a *proc.Attempt) (proc.Status, error) {
	tag, facts := d.asides.begin()
	defer d.asides.end(tag)
	a.Tag = tag
	p, err := d.host.Spawn(a)
	if err != nil {
		return proc.Status{}, err
	}
	var end proc.Ended
	ended, emptied := false, false
	take := func(f proc.Fact) {
		switch f := f.(type) {
		case proc.Ended:
			end, ended, emptied = f, true, !f.Left
		case proc.Emptied:
			emptied = true
		}
	}
	select {
	case f := <-facts:
		take(f)
	case <-ctx.Done():
	}
	if !emptied {
		_ = p.KillTree() // it may have ended by itself just now
		limit := time.NewTimer(killedEnd)
		defer limit.Stop()
		for waiting := true; waiting && !emptied; {
			select {
			case f := <-facts:
				take(f)
			case <-limit.C:
				waiting = false
			}
		}
	}
	switch {
	case ctx.Err() != nil:
		return proc.Status{}, ctx.Err()
	case !ended:
		return proc.Status{}, errors.New("it can't be killed")
	}
	return end.Status, nil
}

// runAside runs a command as program p would run, with more in its environment
// and input on standard input, as runBeside does. What it prints is dropped. An exit
// status other than 0 is an error.
func (d *Daemon) runAside(ctx context.Context, p *spec.Program, index int, argv, env []string, input []byte) error {
	n := d.asides.last.Add(1)
	account, err := lookup(p)
	if err != nil {
		return err
	}
	a := d.attempt(0, index, n, p, account)
	d.beside(a, "aside:"+strconv.FormatUint(n, 10), n)
	a.Argv, a.Env = argv, append(a.Env, env...)
	stdin, err := inputOf(input)
	if err != nil {
		return err
	}
	defer unix.Close(stdin)
	a.Stdin, a.Stdout, a.Stderr = stdin, -1, -1
	defer d.host.Forget(a.Name)
	status, err := d.runBeside(ctx, a)
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return errors.New("it did not end in time, and was killed")
	case err != nil:
		return err
	case status != proc.Status{}:
		return fmt.Errorf("%v", status)
	}
	return nil
}

// inputOf returns a descriptor from which b is read.
func inputOf(b []byte) (int, error) {
	fd, err := unix.MemfdCreate("input", unix.MFD_CLOEXEC)
	if err != nil {
		return -1, fmt.Errorf("memfd_create: %w", err)
	}
	for rest := b; len(rest) > 0; {
		n, err := unix.Write(fd, rest)
		if err != nil {
			unix.Close(fd)
			return -1, fmt.Errorf("write: %w", err)
		}
		rest = rest[n:]
	}
	if _, err := unix.Seek(fd, 0, unix.SEEK_SET); err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("lseek: %w", err)
	}
	return fd, nil
}

package daemon

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"tend/internal/proc"
	"tend/internal/spec"
)

// asides are the processes that run beside those of programs and belong to none:
// the commands of on_event. They are ours as those are: in a tree of their own,
// with a mark by which the next daemon finds and ends them.
type asides struct {
	last atomic.Uint64

	mu   sync.Mutex
	open map[uint64]chan proc.Fact // by tag
}

// asideOwn marks the tags of processes that belong to no instance.
const asideOwn = aside | 1<<62

// take hands a fact to whoever waits for it, and reports whether it is about a
// process that belongs to no instance. It is called by the reaper.
func (a *asides) take(f proc.Fact) bool {
	var tag uint64
	switch f := f.(type) {
	case proc.Ended:
		tag = f.Tag
	case proc.Emptied:
		tag = f.Tag
	}
	if tag&asideOwn != asideOwn {
		return false
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if c := a.open[tag]; c != nil {
		c <- f // has room for all that there are
	}
	return true
}

// runAside runs a command as program p would run, with more in its environment
// and input on standard input, and waits until nothing of it is left. What it
// leaves behind when it ends is killed, as all of it is when ctx ends. What it
// prints is dropped. An exit status other than 0 is an error.
func (d *Daemon) runAside(ctx context.Context, p *spec.Program, index int, argv, env []string, input []byte) error {
	n := d.asides.last.Add(1)
	account, err := lookup(p)
	if err != nil {
		return err
	}
	tag := asideOwn | n
	a := d.attempt(tag, index, n, p, account)
	a.Name = "aside:" + strconv.FormatUint(n, 10)
	a.Argv = argv
	for i, kv := range a.Env {
		if kv == a.Mark { // nobody is to take it for a process of the program
			a.Mark = d.environ.markOf(a.Name, n)
			a.Env[i] = a.Mark
			break
		}
	}
	a.Env = append(a.Env, env...)
	stdin, err := inputOf(input)
	if err != nil {
		return err
	}
	defer unix.Close(stdin)
	a.Stdin, a.Stdout, a.Stderr = stdin, -1, -1
	facts := make(chan proc.Fact, 2)
	d.asides.mu.Lock()
	if d.asides.open == nil {
		d.asides.open = make(map[uint64]chan proc.Fact)
	}
	d.asides.open[tag] = facts
	d.asides.mu.Unlock()
	defer func() {
		d.asides.mu.Lock()
		delete(d.asides.open, tag)
		d.asides.mu.Unlock()
		d.host.Forget(a.Name)
	}()
	process, err := d.host.Spawn(a)
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { process.KillTree() })
	defer stop()
	ended := (<-facts).(proc.Ended)
	if ended.Left {
		process.KillTree()
		<-facts
	}
	switch {
	case ctx.Err() == context.DeadlineExceeded:
		return fmt.Errorf("it did not end in time, and was killed")
	case ctx.Err() != nil:
		return ctx.Err()
	case ended.Status != proc.Status{}:
		return fmt.Errorf("%v", ended.Status)
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

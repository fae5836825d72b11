package proc

import (
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// background is a program that says its pid and that of a process in another
// session, which it waits for.
const background = `echo $$; setsid sh -c 'echo $$; exec sleep 1000' & wait`

// startBackground starts that, or another one of its kind. No zombie may stay.
func startBackground(t *testing.T, w *world, script string) (a *Attempt, p *Process, leader, daemon int, leaderFD int) {
	r, out := pipe(t)
	a = w.attempt(out, "/bin/sh", "-c", script)
	a.Hold = true
	p = w.spawn(a)
	leader, leaderFD = readPid(t, r)
	daemon, daemonFD := readPid(t, r)
	t.Cleanup(func() { w.noZombie(daemonFD) })
	return a, p, leader, daemon, leaderFD
}

// noZombie waits until an ended process is reaped, where that is our affair.
func (w *world) noZombie(fd int) {
	w.t.Helper()
	if w.caps.Subreaper && !w.t.Failed() {
		awaitReaped(w.t, fd)
	}
}

func (w *world) follow(p *Process, pid int) *Process {
	w.t.Helper()
	q, err := p.Follow(pid, 0)
	if err != nil {
		w.t.Fatal(err)
	}
	if q.Pid() != pid || q.Identity().PID != pid {
		w.t.Fatalf("follows %d, not %d", q.Pid(), pid)
	}
	return q
}

// mustEnd expects the end of q's leader by a signal.
func (w *world) mustEnd(q *Process, sig unix.Signal, left bool) (e Ended) {
	w.t.Helper()
	e = w.ended()
	if e.Pid != q.Pid() || e.Left != left || e.Tag != q.tag {
		w.t.Fatalf("told %+v of process %d", e, q.Pid())
	}
	// Else it is an orphan of the machine's, or of the session's: whether that reaps
	// it is its own affair.
	if w.caps.Subreaper && (e.Unknown || e.Status.Signal != sig) {
		w.t.Errorf("told %+v, want signal %v", e, sig)
	}
	q.Reap()
	return e
}

// The leader ends after another one has taken its place: nobody is told, and it
// doesn't stay a zombie.
func TestFollow(t *testing.T) {
	inEachMode(t, func(t *testing.T, w *world) {
		_, p, leader, daemon, gone := startBackground(t, w, background)
		q := w.follow(p, daemon)
		if err := unix.Kill(leader, unix.SIGKILL); err != nil {
			t.Fatal(err)
		}
		awaitReaped(t, gone)
		if err := q.Signal(unix.SIGTERM); err != nil {
			t.Fatal(err)
		}
		w.mustEnd(q, unix.SIGTERM, false)
	})
}

// The leader has ended before: what was told of that is to be ignored.
func TestFollowLate(t *testing.T) {
	inEachMode(t, func(t *testing.T, w *world) {
		_, p, leader, daemon, gone := startBackground(t, w, `echo $$; setsid sh -c 'echo $$; exec sleep 1000' &`)
		if e := w.ended(); e.Pid != leader || !e.Left {
			t.Fatalf("told %+v", e)
		}
		q := w.follow(p, daemon)
		awaitReaped(t, gone)
		if err := q.SignalGroup(unix.SIGTERM); err != nil {
			t.Fatal(err)
		}
		w.mustEnd(q, unix.SIGTERM, false)
		if err := p.KillTree(); err != os.ErrProcessDone {
			t.Errorf("something is left: %v", err)
		}
	})
}

// The leader that was lives on: it reaps its follower, and is one of the tree.
func TestFollowChild(t *testing.T) {
	inEachMode(t, func(t *testing.T, w *world) {
		a, p, _, daemon, gone := startBackground(t, w, background+"; sleep 1000")
		q := w.follow(p, daemon)
		if err := q.Signal(unix.SIGTERM); err != nil {
			t.Fatal(err)
		}
		e := w.mustEnd(q, unix.SIGTERM, true)
		if w.caps.ExitInfo && e.Unknown {
			t.Error("nobody knows how it ended")
		}
		if over(gone) {
			t.Fatal("the leader that was has ended with it")
		}
		if err := q.KillTree(); err != nil {
			t.Fatal(err)
		}
		w.emptied(a.Tag)
		awaitReaped(t, gone)
	})
}

// It may lead again, and then another one.
func TestFollowBack(t *testing.T) {
	inEachMode(t, func(t *testing.T, w *world) {
		a, p, leader, daemon, _ := startBackground(t, w, background)
		q := w.follow(w.follow(w.follow(p, daemon), leader), daemon)
		q = w.follow(q, leader)
		if err := q.Signal(unix.SIGTERM); err != nil {
			t.Fatal(err)
		}
		w.mustEnd(q, unix.SIGTERM, true)
		if err := q.SignalTree(unix.SIGTERM); err != nil {
			t.Fatal(err)
		}
		w.emptied(a.Tag)
	})
}

// The group that is signalled is the one that the leader is in.
func TestFollowGroup(t *testing.T) {
	inEachMode(t, func(t *testing.T, w *world) {
		_, p, _, child, gone := startBackground(t, w, `echo $$; sh -c 'echo $$; exec sleep 1000' & wait`)
		q := w.follow(p, child)
		if err := q.SignalGroup(unix.SIGTERM); err != nil {
			t.Fatal(err)
		}
		e := w.ended()
		if e.Pid != child || w.caps.Subreaper && (e.Unknown || e.Status.Signal != unix.SIGTERM) {
			t.Fatalf("told %+v", e)
		}
		if e.Left {
			w.emptied(e.Tag)
		}
		q.Reap()
		awaitReaped(t, gone)
	})
}

// What the leader that was has started belongs to the tree after its end, be it
// that only its parent and its session told.
func TestFollowRest(t *testing.T) {
	inEachMode(t, func(t *testing.T, w *world) {
		if w.caps.Cgroup == "" && !w.caps.Subreaper {
			t.Skip("nobody but init sees whose orphans are whose")
		}
		hold, release, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		defer hold.Close()
		r, out := pipe(t)
		a := w.attempt(out, "/bin/sh", "-c", `echo $$; setsid sh -c 'echo $$; exec sleep 1000' & read line; env -i sh -c 'echo $$; exec sleep 1000' & wait`)
		a.Hold, a.Stdin = true, int(hold.Fd())
		p := w.spawn(a)
		leader, gone := readPid(t, r)
		daemon, _ := readPid(t, r)
		q := w.follow(p, daemon)
		release.Close()
		_, late := readPid(t, r) // started after that, in the session of the leader that was
		if err := unix.Kill(leader, unix.SIGKILL); err != nil {
			t.Fatal(err)
		}
		awaitReaped(t, gone)
		if err := q.Signal(unix.SIGTERM); err != nil {
			t.Fatal(err)
		}
		w.mustEnd(q, unix.SIGTERM, true)
		if over(late) {
			t.Fatal("it has ended")
		}
		if err := q.SignalTree(unix.SIGTERM); err != nil {
			t.Fatal(err)
		}
		w.emptied(a.Tag)
		if !over(late) {
			t.Error("it lives")
		}
		w.noZombie(late)
	})
}

// Others can't be followed.
func TestFollowRefused(t *testing.T) {
	inEachMode(t, func(t *testing.T, w *world) {
		_, p, _, daemon, _ := startBackground(t, w, background)
		other := w.spawn(w.attempt(nil, "/bin/sleep", "1000"))
		fd, err := p.Handle()
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(fd)
		pid, inode, err := PidOf(fd)
		if err != nil || pid != p.Pid() {
			t.Errorf("a pidfd of %d is said to be of %d: %v", p.Pid(), pid, err)
		}
		for _, test := range []struct {
			pid   int
			inode uint64
		}{{other.Pid(), 0}, {os.Getpid(), 0}, {os.Getppid(), 0}, {1, 0}, {1 << 30, 0}, {daemon, inode}} {
			if test.inode == 0 && test.pid == daemon {
				continue // before pidfs
			}
			if q, err := p.Follow(test.pid, test.inode); err == nil {
				t.Errorf("follows %d: %v", test.pid, q)
			}
		}
		if _, _, err := PidOf(0); err == nil {
			t.Error("descriptor 0 is said to be a pidfd")
		}
		for _, p := range []*Process{p, other} {
			if err := p.KillTree(); err != nil {
				t.Error(err)
			}
		}
		for rest := 2; rest > 0; rest-- {
			if e, ok := w.next().(Ended); ok && e.Left {
				rest++ // Emptied follows
			}
		}
		p.Reap()
	})
}

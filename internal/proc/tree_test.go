package proc

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// The leader obeys, its child doesn't.
func TestLeaderObeysChildDoesNot(t *testing.T) {
	inEachMode(t, func(t *testing.T, w *world) {
		r, out := pipe(t)
		a := w.helper(out, "shield")
		p := w.spawn(a)
		usedHelpers.Store("ignore-term", true)
		_, child := readPid(t, r)
		if err := p.SignalGroup(unix.SIGTERM); err != nil {
			t.Fatal(err)
		}
		if e := w.ended(); e.Status.Signal != unix.SIGTERM || !e.Left {
			t.Fatalf("%+v", e)
		}
		if over(child) {
			t.Fatal("the child didn't ignore TERM")
		}
		// The group is still there to be signalled, the leader isn't.
		if err := p.Signal(unix.SIGTERM); err != os.ErrProcessDone {
			t.Errorf("%v", err)
		}
		if err := p.SignalGroup(unix.SIGTERM); err != nil {
			t.Errorf("%v", err)
		}
		if err := p.KillTree(); err != nil {
			t.Error(err)
		}
		w.emptied(a.Tag)
		if !ends(child) {
			t.Error("the child lives")
		}
		if err := p.SignalGroup(unix.SIGTERM); err != os.ErrProcessDone {
			t.Errorf("%v", err)
		}
		w.Forget(a.Name)
		if w.caps.Cgroup != "" && exists(w.treeDir(a.Name)) {
			t.Error("the cgroup is still there")
		}
		if w.caps.Subreaper {
			awaitReaped(t, child)
		}
	})
}

// A program that puts itself in the background: its leader exits well.
func TestForkAndDie(t *testing.T) {
	inEachMode(t, func(t *testing.T, w *world) {
		r, out := pipe(t)
		a := w.helper(out, "fork-and-die")
		p := w.spawn(a)
		if e := w.ended(); e.Status != (Status{}) || !e.Left {
			t.Fatalf("%+v", e)
		}
		readPid(t, r)
		if err := p.SignalTree(unix.SIGTERM); err != nil {
			t.Error(err)
		}
		w.emptied(a.Tag)
	})
}

// ends waits for the end of a killed process. It leaves its cgroup a moment before
// its pidfd tells.
func ends(fd int) bool { return awaitEnd(fd, time.Now().Add(10*time.Second)) }

// Nothing is too far away: two sessions, without a living parent.
func TestEscaped(t *testing.T) {
	for _, way := range []string{"main", "group", "tree", "kill"} {
		t.Run(way, func(t *testing.T) {
			inEachMode(t, func(t *testing.T, w *world) {
				r, out := pipe(t)
				a := w.helper(out, "escape")
				p := w.spawn(a)
				pid, fd := readPid(t, r)
				if sid, _ := unix.Getsid(pid); sid == p.Pid() || sid == w.self.sid {
					t.Fatalf("in session %d", sid)
				}
				var err error
				switch way {
				case "main":
					err = p.Signal(unix.SIGTERM)
				case "group":
					err = p.SignalGroup(unix.SIGTERM)
				case "tree":
					err = p.SignalTree(unix.SIGTERM)
				case "kill":
					if err := p.KillTree(); err != nil {
						t.Fatal(err)
					}
					if e := w.ended(); e.Left {
						w.emptied(a.Tag)
					}
					if !ends(fd) {
						t.Error("it lives")
					}
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				if e := w.ended(); !e.Left || e.Status.Signal != unix.SIGTERM {
					t.Fatalf("%+v", e)
				}
				if over(fd) {
					t.Fatal("it didn't ignore TERM")
				}
				if err := p.KillTree(); err != nil {
					t.Error(err)
				}
				w.emptied(a.Tag)
				if !ends(fd) {
					t.Error("it lives")
				}
			})
		})
	}
}

// A descendant that cleared its environment is known when it was seen before
// its parent died.
func TestBare(t *testing.T) {
	inEachMode(t, func(t *testing.T, w *world) {
		r, out := pipe(t)
		a := w.helper(out, "bare")
		p := w.spawn(a)
		_, fd := readPid(t, r)
		if err := p.Signal(unix.SIGTERM); err != nil {
			t.Fatal(err)
		}
		if e := w.ended(); !e.Left {
			t.Fatalf("%+v", e)
		}
		if err := p.KillTree(); err != nil {
			t.Error(err)
		}
		w.emptied(a.Tag)
		if !ends(fd) {
			t.Error("it lives")
		}
	})
}

// Shells that fork shells, in sessions of their own, while they are killed.
func TestKillStorm(t *testing.T) {
	if _, err := exec.LookPath("setsid"); err != nil {
		t.Skip(err)
	}
	inEachMode(t, func(t *testing.T, w *world) {
		r, out := pipe(t)
		// Bounded, should it not be killed.
		a := w.attempt(out, "/bin/sh", "-c", `trap "" TERM
			i=0; while [ $i -lt 200 ]; do i=$((i+1))
				setsid /bin/sh -c "sleep 30 & (sleep 30 & sleep 30) & wait" &
				(sleep 30; sleep 30) &
				[ $i = 10 ] && echo going
			done; wait`)
		p := w.spawn(a)
		if _, err := r.ReadString('\n'); err != nil {
			t.Fatal(err)
		}
		if err := p.KillTree(); err != nil {
			t.Error(err)
		}
		if e := w.ended(); e.Left {
			w.emptied(a.Tag)
		}
		for _, pid := range numbers("/proc") {
			if m, ok := inspect(pid); ok {
				if marker(pid, "PROC_TEST_MARK") == a.Mark {
					b, _ := os.ReadFile("/proc/" + filepath.Base(sprint(pid)) + "/cmdline")
					t.Errorf("process %d lives: %q %+v", pid, b, m.stat)
				}
				unix.Close(m.fd)
			}
		}
	})
}

// What os/exec starts beside us is not taken for a stranger, and what is left
// of a tree doesn't stay a zombie.
func TestStrangers(t *testing.T) {
	inEachMode(t, func(t *testing.T, w *world) {
		if !w.caps.Subreaper {
			t.Skip("orphans are init's")
		}
		stop := make(chan struct{})
		done := make(chan error)
		for range 2 {
			go func() {
				for {
					select {
					case <-stop:
						done <- nil
						return
					default:
					}
					var e *exec.ExitError
					if err := exec.Command("/bin/sh", "-c", "exit 3").Run(); !asExit(err, &e) || e.ExitCode() != 3 {
						done <- err
						return
					}
				}
			}()
		}
		for range 20 {
			r, out := pipe(t)
			a := w.attempt(out, "/bin/sh", "-c", `(echo started; read x </dev/null; exec sleep 0.01) & exit 4`)
			w.spawn(a)
			out.Close()
			if e := w.ended(); e.Status.Code != 4 {
				t.Fatalf("%+v", e)
			} else if e.Left {
				w.emptied(a.Tag)
			}
			if _, err := r.ReadString('\n'); err != nil {
				t.Fatal(err)
			}
		}
		close(stop)
		for range 2 {
			if err := <-done; err != nil {
				t.Errorf("os/exec: %v", err)
			}
		}
		// The strangers that are zombies yet are taken within a moment.
		for _, pid := range w.children(w.self.pid) {
			if fd, err := unix.PidfdOpen(pid, 0); err == nil {
				awaitReaped(t, fd)
				unix.Close(fd)
			}
		}
	})
}

// A child in our session is left to whoever started it, for a while.
func TestPatience(t *testing.T) {
	inEachMode(t, func(t *testing.T, w *world) {
		started, err := os.StartProcess("/bin/true", []string{"true"}, &os.ProcAttr{})
		if err != nil {
			t.Fatal(err)
		}
		defer started.Release()
		fd, err := unix.PidfdOpen(started.Pid, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(fd)
		poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		if err := retry(unix.EINTR, func() error { _, err := unix.Poll(poll, -1); return err }); err != nil {
			t.Fatal(err)
		}
		ripe := make(map[int]time.Time)
		now := time.Now()
		if next := w.lookForStrangers(now, ripe); !next.Equal(now.Add(waitersTime)) {
			t.Errorf("next look in %v", next.Sub(now))
		}
		if info, err := waitid(unix.P_PID, started.Pid, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil); err != nil || info.pid == 0 {
			t.Fatalf("taken at once (err %v)", err)
		}
		if next := w.lookForStrangers(now.Add(waitersTime), ripe); !next.IsZero() {
			t.Errorf("another look in %v", next.Sub(now))
		}
		if _, err := waitid(unix.P_PID, started.Pid, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil); err != unix.ECHILD {
			t.Errorf("still there: %v", err)
		}
	})
}

func asExit(err error, e **exec.ExitError) bool {
	x, ok := err.(*exec.ExitError)
	*e = x
	return ok
}

func TestTreeName(t *testing.T) {
	seen := map[string]string{}
	for _, name := range []string{"web", "queue:0", "a/b", "a%2Fb", "cgroup.procs", "..", "größe", "a b", "a\nb",
		strings.Repeat("语", 64), strings.Repeat("语", 64) + ":1"} {
		dir := treeName(name)
		if other, ok := seen[dir]; ok {
			t.Errorf("%q and %q are both %q", name, other, dir)
		}
		seen[dir] = name
		if len(dir) > 255 || strings.ContainsAny(dir, "/\n") || !strings.HasPrefix(dir, "tree-") {
			t.Errorf("%q becomes %q", name, dir)
		}
	}
}

func TestOwnCgroup(t *testing.T) {
	const (
		hybrid  = "40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd\n41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n"
		unified = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw\n"
		bind    = "30 23 0:26 /docker/abc /sys/fs/cg\\040roup rw - cgroup2 cgroup rw\n"
	)
	for _, test := range []struct{ mounts, cgroup, want string }{
		{hybrid, "9:pids:/x\n0::/\n", "/sys/fs/cgroup/unified"},
		{unified, "0::/system.slice/tend.service\n", "/sys/fs/cgroup/system.slice/tend.service"},
		{bind, "0::/docker/abc/sub\n", "/sys/fs/cg roup/sub"},
		{bind, "0::/elsewhere\n", ""},
		{unified, "1:cpu:/\n", ""},
		{"", "0::/\n", ""},
	} {
		dir := t.TempDir()
		for name, content := range map[string]string{"mounts": test.mounts, "cgroup": test.cgroup} {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		got, err := ownCgroup(dir+"/mounts", dir+"/cgroup")
		if got != test.want || (err == nil) != (test.want != "") {
			t.Errorf("%q in %q: %q, %v", test.cgroup, test.mounts, got, err)
		}
	}
}

// The two ways to list children agree.
func TestChildren(t *testing.T) {
	w := open(t, Config{})
	r, out := pipe(t)
	p := w.spawn(w.helper(out, "shield"))
	child, _ := readPid(t, r)
	for name, children := range map[string]func(int) []int{"file": childrenByFile, "scan": childrenByScan} {
		if got := children(p.Pid()); len(got) != 1 || got[0] != child {
			t.Errorf("by %s: %v, want %d", name, got, child)
		}
	}
	p.KillTree()
	if e := w.ended(); e.Left {
		w.emptied(e.Tag)
	}
}

// TestAfterKill: an instance whose tree was killed lives when it is started
// again, and so when another host does that, which finds its cgroup.
func TestAfterKill(t *testing.T) {
	inEachMode(t, func(t *testing.T, w *world) {
		for round := range 3 {
			r, out := pipe(t)
			a := w.helper(out, "shield")
			a.Name = "killed:0"
			p := w.spawn(a)
			readPid(t, r) // of the child, which is up
			if err := p.Signal(0); err != nil {
				t.Fatalf("round %d: it isn't alive: %v", round, err)
			}
			if err := p.KillTree(); err != nil {
				t.Fatal(err)
			}
			if e := w.ended(); e.Left {
				w.emptied(a.Tag)
			}
			if round == 1 { // as an earlier host has left it
				w.mu.Lock()
				clear(w.fresh)
				w.mu.Unlock()
			}
		}
		w.Forget("killed:0")
	})
}

// What is let go of runs on, and holds nothing: no descriptor, no report.
func TestLeave(t *testing.T) {
	inEachMode(t, func(t *testing.T, w *world) {
		const rounds = 5
		var before int
		var names []string
		var children []int
		for i := range rounds {
			r, out := pipe(t)
			a := w.helper(out, "fork-and-die")
			a.Tag = uint64(100 + i)
			p := w.spawn(a)
			_, child := readPid(t, r)
			if e := w.ended(); !e.Left && i == 0 {
				t.Fatalf("%+v", e)
			}
			p.Leave()
			// The end of another one comes after that.
			b := w.attempt(nil, "/bin/true")
			q := w.spawn(b)
			w.ended()
			q.Leave() // of nothing
			names, children = append(names, a.Name, b.Name), append(children, child)
			if over(child) {
				t.Fatal("the child is gone")
			}
			if err := p.SignalTree(unix.SIGTERM); err != os.ErrProcessDone {
				t.Errorf("a signal to what was let go of: %v", err)
			}
			w.mu.Lock()
			n := len(w.left) + len(w.events)
			w.mu.Unlock()
			if i == 0 {
				before = n
			} else if n > before {
				t.Fatalf("%d watched after %d rounds", n, i+1)
			}
		}
		for _, child := range children {
			unix.PidfdSendSignal(child, unix.SIGKILL, nil, 0)
			fds := []unix.PollFd{{Fd: int32(child), Events: unix.POLLIN}}
			if err := retry(unix.EINTR, func() error { _, err := unix.Poll(fds, 60_000); return err }); err != nil || !over(child) {
				t.Fatalf("the child lives: %v", err)
			}
		}
		for _, name := range names {
			w.Forget(name)
		}
	})
}

// TestMarkerOfExecuting: a process that executes something else has its mark all the
// time, though its environment isn't there for moments.
func TestMarkerOfExecuting(t *testing.T) {
	cmd := exec.Command("/bin/sh", "-c", "$AGAIN")
	cmd.Env = []string{"PROC_TEST_MARK=here", `AGAIN=exec sh -c $AGAIN`, "PATH=" + os.Getenv("PATH")}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { cmd.Process.Kill(); cmd.Wait() }()
	for n := range 20000 {
		if got := marker(cmd.Process.Pid, "PROC_TEST_MARK"); got != "PROC_TEST_MARK=here" {
			t.Fatalf("it has %q after %d looks", got, n)
		}
	}
}

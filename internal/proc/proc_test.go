package proc

import (
	"bufio"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

// The test binary plays the programs: with helperEnv set it is one of these.
const helperEnv = "PROC_TEST_HELPER"

var helpers = map[string]func(){
	// hang says its pid and waits to be killed.
	"hang": func() {
		fmt.Println(os.Getpid())
		forever()
	},
	// ignore-term says its pid and can only be killed by force.
	"ignore-term": func() {
		signal.Ignore(unix.SIGTERM)
		fmt.Println(os.Getpid())
		forever()
	},
	// fork-and-die leaves a child in its group and exits well.
	"fork-and-die": func() {
		start("hang", nil)
	},
	// shield is a leader that obeys TERM, with a child that doesn't.
	"shield": func() {
		start("ignore-term", nil)
		forever()
	},
	// escape starts a process two sessions away, without a living parent.
	"escape": func() {
		start("escaped", &syscall.SysProcAttr{Setsid: true})
		forever()
	},
	"escaped": func() {
		start("ignore-term", &syscall.SysProcAttr{Setsid: true})
	},
	// bare does the same, and the process has an empty environment.
	"bare": func() {
		c := exec.Command("/bin/sh", "-c", "echo $$; exec sleep 1000")
		c.Env, c.Stdout, c.SysProcAttr = []string{}, os.Stdout, &syscall.SysProcAttr{Setsid: true}
		check(c.Start())
		forever()
	},
}

// forever waits for a signal that kills.
func forever() {
	for {
		unix.Pause() // also returns for Go's own signals
	}
}

// start starts a helper from a helper, with our output.
func start(name string, attr *syscall.SysProcAttr) {
	c := exec.Command("/proc/self/exe")
	c.Env = append(os.Environ(), helperEnv+"="+name)
	c.Stdout, c.SysProcAttr = os.Stdout, attr
	check(c.Start())
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}

var marks atomic.Int64 // distinct over all hosts

var usedHelpers sync.Map

func TestMain(m *testing.M) {
	if name := os.Getenv(helperEnv); name != "" {
		helpers[name]()
		os.Exit(0)
	}
	code := m.Run()
	if code == 0 && flag.Lookup("test.run").Value.String() == "" {
		for name := range helpers {
			if _, ok := usedHelpers.Load(name); !ok && name != "hang" && name != "escaped" {
				fmt.Println("no test uses the helper", name)
				code = 1
			}
		}
		if err := goleak.Find(goleak.IgnoreTopFunction("os/signal.signal_recv"), goleak.IgnoreAnyFunction("os/signal.loop")); err != nil {
			fmt.Println(err)
			code = 1
		}
	}
	os.Exit(code)
}

var modes = []struct {
	name string
	Config
}{
	{"cgroup", Config{Cgroup: true}},
	{"cgroup without kill", Config{Cgroup: true, NoCgroupKill: true}},
	{"cgroup by clone", Config{Cgroup: true, NoClone3: true}},
	{"subreaper", Config{}},
	{"subreaper by clone", Config{NoClone3: true}},
	{"scan", Config{NoSubreaper: true}},
}

// A world is a Host with the facts it reports.
type world struct {
	*Host
	t     testing.TB
	facts chan Fact
	tag   uint64
}

func open(t testing.TB, c Config) *world {
	t.Helper()
	w := &world{t: t, facts: make(chan Fact, 100_000)}
	c.Report = func(f Fact) { w.facts <- f }
	c.CgroupName = fmt.Sprintf("proc-test-%d", os.Getpid())
	h, err := Open(c)
	if err != nil {
		t.Fatal(err)
	}
	w.Host = h
	t.Cleanup(func() {
		if err := h.Close(); err != nil {
			t.Error(err)
		}
		if dir := h.caps.Cgroup; dir != "" {
			removeCgroup(dir)
			if exists(dir) {
				t.Errorf("%s can't be removed", dir)
			}
		}
	})
	if why := h.Capabilities().CgroupWhy; c.Cgroup && why != nil {
		t.Skip(why)
	}
	return w
}

// inEachMode runs a test in all modes that this machine has.
func inEachMode(t *testing.T, f func(*testing.T, *world)) {
	for _, m := range modes {
		t.Run(m.name, func(t *testing.T) {
			before := descriptors(t)
			t.Cleanup(func() {
				if after := descriptors(t); !slices.Equal(before, after) {
					t.Errorf("descriptors leak:\n%v\n%v", before, after)
				}
			})
			f(t, open(t, m.Config))
		})
	}
}

// descriptors lists our open descriptors, except those of Go's poller, which
// come with the first use.
func descriptors(t testing.TB) (list []string) {
	for _, n := range numbers("/proc/self/fd") {
		to, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", n))
		if err == nil && to != "anon_inode:[eventpoll]" && to != "anon_inode:[eventfd]" {
			list = append(list, fmt.Sprint(n, " ", to))
		}
	}
	return list
}

// attempt returns one that runs argv with no input and output to stdout.
func (w *world) attempt(stdout *os.File, argv ...string) *Attempt {
	w.tag++
	mark := fmt.Sprintf("PROC_TEST_MARK=%d.%d", os.Getpid(), marks.Add(1))
	a := &Attempt{
		Tag: w.tag, Name: fmt.Sprintf("test/%d:0", w.tag), Mark: mark,
		Argv: argv, Env: append(os.Environ(), mark),
		Stdin: -1, Stdout: -1, Stderr: 2, Umask: -1,
	}
	if stdout != nil {
		a.Stdout = int(stdout.Fd())
	}
	return a
}

// helper returns an attempt that runs a helper.
func (w *world) helper(stdout *os.File, name string) *Attempt {
	usedHelpers.Store(name, true)
	a := w.attempt(stdout, "/proc/self/exe")
	a.Env = append(a.Env, helperEnv+"="+name)
	return a
}

func (w *world) spawn(a *Attempt) *Process {
	w.t.Helper()
	p, err := w.Spawn(a)
	if err != nil {
		w.t.Fatal(err)
	}
	return p
}

// next returns the next fact.
func (w *world) next() Fact {
	w.t.Helper()
	select {
	case f := <-w.facts:
		return f
	case <-time.After(time.Minute):
		w.t.Fatal("no fact in a minute")
	}
	return nil
}

func (w *world) ended() Ended {
	w.t.Helper()
	f := w.next()
	e, ok := f.(Ended)
	if !ok {
		w.t.Fatalf("%#v, want Ended", f)
	}
	return e
}

func (w *world) emptied(tag uint64) {
	w.t.Helper()
	f := w.next()
	if e, ok := f.(Emptied); !ok || e.Tag != tag {
		w.t.Fatalf("%#v, want Emptied of %d", f, tag)
	}
}

// pipe returns a pipe; the reader reads lines.
func pipe(t testing.TB) (*bufio.Reader, *os.File) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close(); w.Close() })
	return bufio.NewReader(r), w
}

// readPid reads a line that is a pid and returns a pidfd of it.
func readPid(t testing.TB, r *bufio.Reader) (pid, fd int) {
	t.Helper()
	line, err := r.ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	if pid, err = strconv.Atoi(strings.TrimSpace(line)); err != nil {
		t.Fatal(err)
	}
	if fd, err = unix.PidfdOpen(pid, 0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	return pid, fd
}

// awaitReaped waits until the process behind a pidfd isn't even a zombie. That it
// is reaped hangs a pidfd up since Linux 6.9; older ones have to be asked.
func awaitReaped(t testing.TB, fd int) {
	t.Helper()
	fds := []unix.PollFd{{Fd: int32(fd)}}
	for deadline := time.Now().Add(time.Minute); ; {
		if unix.PidfdSendSignal(fd, 0, nil, 0) == unix.ESRCH {
			return
		}
		if n, err := unix.Poll(fds, 20); err != nil && err != unix.EINTR {
			t.Fatal(err)
		} else if n > 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("not reaped in a minute")
		}
	}
}

// output runs an attempt to its end and returns what it wrote.
func (w *world) output(a *Attempt) string {
	w.t.Helper()
	r, out, err := os.Pipe()
	if err != nil {
		w.t.Fatal(err)
	}
	defer r.Close()
	a.Stdout = int(out.Fd())
	_, err = w.Spawn(a)
	out.Close()
	if err != nil {
		w.t.Fatal(err)
	}
	b, err := io.ReadAll(r)
	if err != nil {
		w.t.Fatal(err)
	}
	if e := w.ended(); e.Status != (Status{}) || e.Left {
		w.t.Fatalf("%+v; it said %q", e, b)
	}
	return string(b)
}

func TestStatus(t *testing.T) {
	inEachMode(t, func(t *testing.T, w *world) {
		for _, test := range []struct {
			script string
			want   Status
		}{
			{"exit 0", Status{}},
			{"exit 7", Status{Code: 7}},
			{"kill -9 $$", Status{Signal: unix.SIGKILL}},
			{"kill -15 $$", Status{Signal: unix.SIGTERM}},
		} {
			a := w.attempt(nil, "/bin/sh", "-c", test.script)
			before := time.Now()
			p := w.spawn(a)
			e := w.ended()
			if e.Status != test.want || e.Tag != a.Tag || e.Pid != p.Pid() || e.Left {
				t.Errorf("%s: %+v", test.script, e)
			}
			if e.At.Before(before) || e.MaxRSS <= 0 {
				t.Errorf("%s: at %v, %d bytes", test.script, e.At, e.MaxRSS)
			}
			for _, f := range []func(syscall.Signal) error{p.Signal, p.SignalGroup, p.SignalTree} {
				if err := f(unix.SIGTERM); err != os.ErrProcessDone {
					t.Errorf("signal after the end: %v", err)
				}
			}
			if err := p.KillTree(); err != os.ErrProcessDone {
				t.Errorf("kill after the end: %v", err)
			}
		}
	})
}

func TestUsage(t *testing.T) {
	w := open(t, Config{})
	w.spawn(w.attempt(nil, "/bin/sh", "-c", "i=0; while [ $i -lt 50000 ]; do i=$((i+1)); done"))
	if e := w.ended(); e.User <= 0 || e.User > time.Minute || e.MaxRSS < 100<<10 {
		t.Errorf("%+v", e)
	}
}

// TestTreeUsage: a cgroup tells what everything in it has used, whoever has waited
// for that, and of one run alone though it is that of the one before too.
func TestTreeUsage(t *testing.T) {
	run := func(w *world, script string) Ended {
		t.Helper()
		a := w.attempt(nil, "/bin/sh", "-c", script)
		a.Dir = t.TempDir()
		a.Name, a.Born = "test/usage:0", func(Birth) {}
		w.spawn(a)
		e := w.ended()
		if e.Left {
			w.next() // Emptied
		}
		return e
	}
	const work = "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done"
	const orphan = "mkfifo f; ((" + work + "; echo done > f) &); read x < f"
	w := open(t, Config{Cgroup: true})
	first := run(w, orphan)
	if used := first.User + first.System; first.Tree < 2*used || first.Tree < 10*time.Millisecond || first.Tree > time.Minute {
		t.Errorf("all have used %v, the main process %v", first.Tree, used)
	}
	if second := run(w, "exit 0"); second.Tree < 0 || second.Tree > first.Tree/2 {
		t.Errorf("the next one has used %v, the first %v", second.Tree, first.Tree)
	}
}

func TestNoTreeUsage(t *testing.T) {
	w := open(t, Config{})
	a := w.attempt(nil, "/bin/sh", "-c", "exit 0")
	a.Born = func(b Birth) {
		if b.CPU >= 0 || b.Cgroup != "" {
			t.Errorf("%+v", b)
		}
	}
	w.spawn(a)
	if e := w.ended(); e.Tree >= 0 {
		t.Errorf("%+v", e)
	}
}

func TestStatusString(t *testing.T) {
	for _, test := range []struct {
		s    Status
		want string
	}{
		{Status{Code: 3}, "exit status 3"},
		{Status{Signal: unix.SIGKILL}, "signal: killed"},
		{Status{Signal: unix.SIGABRT, CoreDump: true}, "signal: aborted (core dumped)"},
	} {
		if got := test.s.String(); got != test.want {
			t.Errorf("%q, want %q", got, test.want)
		}
	}
}

func TestOneHost(t *testing.T) {
	w := open(t, Config{})
	if h, err := Open(Config{}); err == nil {
		h.Close()
		t.Error("a second host opened")
	}
	_ = w
}

// A daemon's descriptors, ignored signals and blocked signals are its own.
func TestCleanChild(t *testing.T) {
	signal.Ignore(unix.SIGUSR2, unix.SIGPIPE, unix.SIGHUP)
	defer signal.Reset(unix.SIGUSR2, unix.SIGPIPE, unix.SIGHUP)
	// One without CLOEXEC among the low and one among the high numbers.
	low, err := unix.FcntlInt(0, unix.F_DUPFD, 3)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(low)
	high, err := unix.FcntlInt(0, unix.F_DUPFD, 500)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(high)

	inEachMode(t, func(t *testing.T, w *world) {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		blocked := unix.Sigset_t{}
		blocked.Val[0] = 1 << (unix.SIGUSR1 - 1)
		old := unix.Sigset_t{}
		if err := unix.PthreadSigmask(unix.SIG_BLOCK, &blocked, &old); err != nil {
			t.Fatal(err)
		}
		defer unix.PthreadSigmask(unix.SIG_SETMASK, &old, nil)

		r, out := pipe(t)
		stdin, in, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		defer in.Close()
		a := w.attempt(out, "/bin/cat")
		a.Stdin = int(stdin.Fd())
		p := w.spawn(a)
		stdin.Close()
		// What comes back says that the loader is done with its files.
		fmt.Fprintln(in, "hello")
		if line, err := r.ReadString('\n'); line != "hello\n" {
			t.Fatalf("%q, %v", line, err)
		}
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.Pid()))
		if err != nil {
			t.Fatal(err)
		}
		status := map[string]string{}
		for line := range strings.Lines(string(b)) {
			k, v, _ := strings.Cut(line, ":")
			status[k] = strings.TrimSpace(v)
		}
		for _, k := range []string{"SigBlk", "SigIgn", "SigCgt"} {
			if strings.Trim(status[k], "0") != "" {
				t.Errorf("%s is %s", k, status[k])
			}
		}
		open := numbers(fmt.Sprintf("/proc/%d/fd", p.Pid()))
		slices.Sort(open)
		if !slices.Equal(open, []int{0, 1, 2}) {
			t.Errorf("open in the child: %v", open)
		}
		s, err := readStat(p.Pid())
		sid := w.self.sid
		if w.sessions {
			sid = p.Pid()
		}
		if err != nil || s.sid != sid || s.pgrp != p.Pid() {
			t.Errorf("session %d, group %d of %d (err %v)", s.sid, s.pgrp, p.Pid(), err)
		}
		in.Close() // the only writer: cat ends
		if e := w.ended(); e.Status != (Status{}) {
			t.Errorf("%+v", e)
		}
	})
}

func TestAttributes(t *testing.T) {
	inEachMode(t, func(t *testing.T, w *world) {
		dir := t.TempDir()
		nice, oom := 7, 123
		a := w.attempt(nil, "/bin/sh", "-c", `pwd; umask; nice; cat /proc/self/oom_score_adj; ulimit -n; ulimit -c; ulimit -Hc; echo $X; grep NoNewPrivs /proc/self/status; cat`)
		a.Dir, a.Umask, a.Nice, a.OOMScoreAdj, a.NoNewPrivs = dir, 0o027, &nice, &oom, true
		a.Env = append(a.Env, "X=y z")
		a.Limits = []Rlimit{{unix.RLIMIT_NOFILE, 99, 100}, {unix.RLIMIT_CORE, 0, 0}}
		want := dir + "\n0027\n7\n123\n99\n0\n0\ny z\nNoNewPrivs:\t1\n"
		if got := w.output(a); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	})
}

func TestNoFileRestored(t *testing.T) {
	orig, now, err := RaiseNoFile()
	if err != nil {
		t.Fatal(err)
	}
	if now.Soft+1 < now.Hard {
		t.Errorf("ours is %+v", now)
	}
	// What os/exec gives its children is what we were given.
	b, err := exec.Command("/bin/sh", "-c", "ulimit -Sn; ulimit -Hn").Output()
	if err != nil {
		t.Fatal(err)
	}
	if want := fmt.Sprintf("%d\n%d\n", orig.Soft, orig.Hard); string(b) != want {
		t.Errorf("os/exec gives %q, we found %q", b, want)
	}
	w := open(t, Config{})
	if got := w.output(w.attempt(nil, "/bin/sh", "-c", "ulimit -Sn; ulimit -Hn")); got != string(b) {
		t.Errorf("a program gets %q, want %q", got, b)
	}
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
}

func TestCredential(t *testing.T) {
	needRoot(t)
	// os/exec with a Credential, in another test, leaves it at 0.
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 1, 0, 0, 0); err != nil {
		t.Fatal(err)
	}
	inEachMode(t, func(t *testing.T, w *world) {
		a := w.attempt(nil, "/bin/sh", "-c", "id -u; id -g; id -G; id -ru")
		a.Dir = "/"
		a.Cred = &Credential{UID: 12345, GID: 12346, Groups: []uint32{12346, 12347}}
		if got, want := w.output(a), "12345\n12346\n12346 12347\n12345\n"; got != want {
			t.Errorf("%q, want %q", got, want)
		}
		if d, _ := unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0); d != 1 {
			t.Errorf("we are not dumpable any more: %d", d)
		}
	})
}

// Without privileges what needs them is refused with a sentence and a hint.
func TestUnprivileged(t *testing.T) {
	const again = "PROC_TEST_UNPRIVILEGED"
	if os.Getenv(again) == "" {
		needRoot(t)
		c := exec.Command("/proc/self/exe", "-test.run=^TestUnprivileged$", "-test.v")
		c.Dir = "/"
		c.Env = append(os.Environ(), again+"=1", "TMPDIR=/")
		c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 12345, Gid: 12345}}
		if b, err := c.CombinedOutput(); err != nil || !strings.Contains(string(b), "--- PASS") {
			t.Errorf("%v\n%s", err, b)
		}
		return
	}
	w := open(t, Config{})
	// To be who one is takes no privilege.
	a := w.attempt(nil, "/bin/sh", "-c", "id -u")
	a.Cred = &Credential{UID: 12345, GID: 12345, Groups: []uint32{12345}}
	if got := w.output(a); got != "12345\n" {
		t.Errorf("%q", got)
	}
	nice := -5
	for _, test := range []struct {
		step Step
		set  func(*Attempt)
	}{
		{StepUser, func(a *Attempt) {
			a.Cred = &Credential{UID: 0, GID: 12345, Groups: []uint32{12345}}
		}},
		{StepGroup, func(a *Attempt) { a.Cred = &Credential{UID: 12345, GID: 0, Groups: []uint32{12345}} }},
		{StepGroups, func(a *Attempt) { a.Cred = &Credential{UID: 12345, GID: 12345, Groups: []uint32{0}} }},
		{StepNice, func(a *Attempt) { a.Nice = &nice }},
		{StepOOM, func(a *Attempt) { n := -900; a.OOMScoreAdj = &n }},
		{StepLimit, func(a *Attempt) { a.Limits = []Rlimit{{unix.RLIMIT_NOFILE, 1 << 29, 1 << 29}} }},
	} {
		a := w.attempt(nil, "/bin/true")
		test.set(a)
		_, err := w.Spawn(a)
		var e *SpawnError
		if !errors.As(err, &e) {
			t.Errorf("%s: %v", test.step, err)
			continue
		}
		// Groups are set before the group, and tell first.
		if e.Step != test.step && !(test.step == StepGroup && e.Step == StepGroups) {
			t.Errorf("%s: %v (%s)", test.step, err, e.Step)
		}
		if e.Hint() == "" {
			t.Errorf("%v: no hint", err)
		}
	}
}

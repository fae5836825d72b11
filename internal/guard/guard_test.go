package guard

import (
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// The test binary plays the one that becomes the guard, and the daemon under it:
// what a daemon does is said by the file named first in its arguments, a line a
// life, and what it finds is written to the pipe that the test reads.
func TestMain(m *testing.M) {
	switch {
	case Is():
		os.Exit(Main())
	case len(os.Args) > 1 && os.Args[1] == "become":
		fmt.Fprintln(os.Stderr, Become(append([]string{os.Args[0], "daemon"}, os.Args[2:]...), 0))
		os.Exit(1)
	case len(os.Args) > 1 && os.Args[1] == "daemon":
		os.Exit(daemon(os.Args[2], os.Args[3]))
	}
	os.Exit(m.Run())
}

// daemon is one life. The folder holds the script "lives", and what it tells goes
// to the named pipe "told".
func daemon(dir, _ string) int {
	told, err := os.OpenFile(filepath.Join(dir, "told"), os.O_WRONLY, 0)
	if err != nil {
		panic(err)
	}
	tell := func(format string, args ...any) { fmt.Fprintf(told, format+"\n", args...) }
	fd, err := strconv.Atoi(os.Getenv(FDVariable))
	if err != nil {
		panic(err)
	}
	signals, ends, gone := make(chan sent, 10), make(chan End, 10), make(chan bool, 1)
	onSignal := func(s syscall.Signal, no uint64) { signals <- sent{no, s} }
	c, err := Dial(fd, Handler{
		Signal: onSignal,
		Ended:  func(e End) { ends <- e },
		Gone:   func() { gone <- true },
	})
	if err != nil {
		panic(err)
	}
	tell("life pid %d died %q kept %v", os.Getpid(), c.Died, slices.Sorted(maps.Keys(c.Kept)))
	for _, e := range c.Ends {
		tell("ended before: %v", e)
		c.Taken(e.No)
	}
	for name, fd := range c.Kept {
		if name == "pipe" {
			buf := make([]byte, 100)
			unix.SetNonblock(fd, true)
			n, _ := unix.Read(fd, buf)
			tell("in the pipe: %q", buf[:max(n, 0)])
		}
	}
	for {
		// The script says what to do next, one line for each of all lives.
		line := next(dir)
		verb, arg, _ := strings.Cut(line, " ")
		switch verb {
		case "ready":
			c.Ready()
		case "keep":
			var p [2]int
			unix.Pipe2(p[:], 0)
			unix.Write(p[1], []byte(arg))
			if err := c.Keep("pipe", p[0]); err != nil {
				panic(err)
			}
			unix.Close(p[1])
		case "drop":
			c.Drop("pipe")
		case "child": // one that outlives us and then ends
			cmd := exec.Command("/bin/sh", "-c", "read line < "+dir+"/go; exit 7")
			cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
			if err := cmd.Start(); err != nil {
				panic(err)
			}
			tell("child %d", cmd.Process.Pid)
		case "signal":
			s := <-signals
			tell("signal %d", int(s.signal))
			if arg != "unheard" {
				c.Heard(s.no)
			}
		case "end":
			e := <-ends
			tell("ended: %v pid %d", e, e.PID)
			if arg == "taken" {
				c.Taken(e.No)
			}
		case "die":
			unix.Kill(os.Getpid(), unix.SIGKILL)
		case "exit":
			n, _ := strconv.Atoi(arg)
			return n
		case "bye":
			c.Bye()
			n, _ := strconv.Atoi(arg)
			return n
		case "again":
			c.Again()
			n, _ := strconv.Atoi(arg)
			return n
		case "hold":
			c.Hold()
			tell("held")
			tell("signals while held: %d", len(signals))
			if err := c.Resume(Handler{Signal: onSignal, Ended: func(End) {}, Gone: func() {}}); err != nil {
				panic(err)
			}
		case "gone":
			<-gone
			tell("gone")
			return 0
		case "say":
			tell("%s", arg)
		case "wait": // for the test to go on
			f, err := os.Open(filepath.Join(dir, "on"))
			if err == nil {
				io.ReadAll(f)
				f.Close()
			}
		}
	}
}

// next returns the next line of the script, which it takes out.
func next(dir string) string {
	file := filepath.Join(dir, "lives")
	b, err := os.ReadFile(file)
	if err != nil {
		panic(err)
	}
	line, rest, _ := strings.Cut(string(b), "\n")
	if err := os.WriteFile(file, []byte(rest), 0o644); err != nil {
		panic(err)
	}
	return line
}

// play starts a guard whose daemons do what the script says, and returns what
// they tell.
func play(t *testing.T, script string) (lines func() string, guard *exec.Cmd, dir string) {
	t.Helper()
	dir = t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "lives"), []byte(script), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"told", "go", "on"} {
		if err := unix.Mkfifo(filepath.Join(dir, name), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	told, err := os.OpenFile(filepath.Join(dir, "told"), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { told.Close() })
	guard = exec.Command("/proc/self/exe", "become", dir, "x")
	guard.Stderr = os.Stderr
	if err := guard.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { guard.Process.Kill(); guard.Wait() })
	var rest string
	return func() string {
		t.Helper()
		told.SetReadDeadline(time.Now().Add(30 * time.Second))
		for !strings.Contains(rest, "\n") {
			buf := make([]byte, 1000)
			n, err := told.Read(buf)
			if err != nil {
				t.Fatalf("nothing is told: %v", err)
			}
			rest += string(buf[:n])
		}
		var line string
		line, rest, _ = strings.Cut(rest, "\n")
		return line
	}, guard, dir
}

// expect checks the next line; %d stands for any number, which is returned.
func expect(t *testing.T, got, want string) (n int) {
	t.Helper()
	if strings.Contains(want, "%d") {
		before, after, _ := strings.Cut(want, "%d")
		text, ok := strings.CutPrefix(got, before)
		text, ok2 := strings.CutSuffix(text, after)
		if n, err := strconv.Atoi(text); ok && ok2 && err == nil {
			return n
		}
	} else if got == want {
		return 0
	}
	t.Fatalf("told %q, want %q", got, want)
	return 0
}

func goOn(t *testing.T, dir, name string) {
	t.Helper()
	f, err := os.OpenFile(filepath.Join(dir, name), os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintln(f)
	f.Close()
}

// TestKeeps: what a daemon has kept is there for the next one, with what is in
// it, until it is dropped.
func TestKeeps(t *testing.T) {
	line, guard, _ := play(t, "ready\nkeep hello\ndie\nkeep again\ndie\ndrop\ndie\nbye 5\n")
	expect(t, line(), fmt.Sprintf(`life pid %s died "" kept []`, "%d"))
	expect(t, line(), fmt.Sprintf(`life pid %s died "signal KILL" kept [pipe]`, "%d"))
	expect(t, line(), `in the pipe: "hello"`)
	expect(t, line(), fmt.Sprintf(`life pid %s died "signal KILL" kept [pipe]`, "%d"))
	expect(t, line(), `in the pipe: "again"`)
	expect(t, line(), fmt.Sprintf(`life pid %s died "signal KILL" kept []`, "%d"))
	if err := guard.Wait(); guard.ProcessState.ExitCode() != 5 {
		t.Errorf("the guard ends with %v", err)
	}
}

// TestRemembers: how a child of a dead daemon ended is told to the next one, and
// to the one after that until one has taken it.
func TestRemembers(t *testing.T) {
	line, guard, dir := play(t, "ready\nchild\ndie\nend\ndie\nsay third\ndie\nsay fourth\nbye 0\n")
	expect(t, line(), `life pid %d died "" kept []`)
	pid := expect(t, line(), "child %d")
	expect(t, line(), `life pid %d died "signal KILL" kept []`)
	goOn(t, dir, "go")
	expect(t, line(), fmt.Sprintf("ended: exit 7 pid %d", pid))
	expect(t, line(), `life pid %d died "signal KILL" kept []`)
	expect(t, line(), "ended before: exit 7")
	expect(t, line(), "third")
	expect(t, line(), `life pid %d died "signal KILL" kept []`)
	expect(t, line(), "fourth")
	guard.Wait()
}

// TestSignals: signals are passed on in order, none is lost while no daemon is
// there to hear, and none comes while it is asked to be silent.
func TestSignals(t *testing.T) {
	line, guard, dir := play(t, "ready\nwait\nsignal\ndie\nsignal\nsignal\nhold\nsignal\nbye 0\n")
	pid := expect(t, line(), `life pid %d died "" kept []`)
	guard.Process.Signal(unix.SIGHUP)
	goOn(t, dir, "on")
	expect(t, line(), "signal 1")
	expect(t, line(), `life pid %d died "signal KILL" kept []`)
	guard.Process.Signal(unix.SIGUSR1)
	expect(t, line(), "signal 10")
	guard.Process.Signal(unix.SIGTERM)
	expect(t, line(), "signal 15")
	expect(t, line(), "held")
	expect(t, line(), "signals while held: 0")
	guard.Process.Signal(unix.SIGINT)
	expect(t, line(), "signal 2")
	guard.Wait()
	if unix.Kill(pid, 0) == nil {
		t.Error("a daemon is left over")
	}
}

// TestUnheard: a signal that a daemon has not said to have heard before its end is
// for the next one, whether it has died or begins anew, and is told it once.
func TestUnheard(t *testing.T) {
	line, guard, _ := play(t, "ready\nsignal unheard\nhold\nsay quiet\nagain 0\nready\nsignal unheard\ndie\nsignal\ndie\nbye 0\n")
	expect(t, line(), `life pid %d died "" kept []`)
	guard.Process.Signal(unix.SIGTERM)
	expect(t, line(), "signal 15")
	expect(t, line(), "held")
	expect(t, line(), "signals while held: 0")
	expect(t, line(), "quiet")
	expect(t, line(), `life pid %d died "" kept []`)
	expect(t, line(), "signal 15")
	expect(t, line(), `life pid %d died "signal KILL" kept []`)
	expect(t, line(), "signal 15")
	expect(t, line(), `life pid %d died "signal KILL" kept []`)
	guard.Wait()
}

// TestFirst: a daemon that ends before it was ready isn't started again: it has
// said why.
func TestFirst(t *testing.T) {
	line, guard, _ := play(t, "exit 3\n")
	expect(t, line(), `life pid %d died "" kept []`)
	guard.Wait()
	if got := guard.ProcessState.ExitCode(); got != 3 {
		t.Errorf("the guard ends with %d", got)
	}
}

// TestExits: a daemon that ends without a goodbye has died, whatever its status.
func TestExits(t *testing.T) {
	line, guard, _ := play(t, "ready\nexit 0\nready\nexit 2\nbye 0\n")
	expect(t, line(), `life pid %d died "" kept []`)
	expect(t, line(), `life pid %d died "exit 0" kept []`)
	expect(t, line(), `life pid %d died "exit 2" kept []`)
	guard.Wait()
	if got := guard.ProcessState.ExitCode(); got != 0 {
		t.Errorf("the guard ends with %d", got)
	}
}

// TestAgain: a daemon that ends to begin anew isn't taken for one that has died.
// What the guard keeps stays, and as with the first one, the guard ends with a
// daemon that doesn't get up.
func TestAgain(t *testing.T) {
	line, guard, _ := play(t, "ready\nkeep hello\nagain 0\nready\nagain 1\nexit 3\n")
	expect(t, line(), `life pid %d died "" kept []`)
	expect(t, line(), `life pid %d died "" kept [pipe]`)
	expect(t, line(), `in the pipe: "hello"`)
	expect(t, line(), `life pid %d died "" kept [pipe]`)
	guard.Wait()
	if got := guard.ProcessState.ExitCode(); got != 3 {
		t.Errorf("the guard ends with %d", got)
	}
}

// TestGone: a daemon whose guard is killed is told.
func TestGone(t *testing.T) {
	line, guard, _ := play(t, "ready\nsay here\ngone\n")
	expect(t, line(), `life pid %d died "" kept []`)
	expect(t, line(), "here")
	guard.Process.Kill()
	expect(t, line(), "gone")
}

func TestEnd(t *testing.T) {
	for _, e := range []End{
		{No: 1, PID: 2, Start: 3, Inode: 4, Code: 5, At: time.Unix(0, 6), User: 7, System: 8, MaxRSS: 9},
		{No: 1 << 60, PID: 1 << 22, Signal: unix.SIGSEGV, Core: true, At: time.Unix(1e9, 1)},
	} {
		if got, err := decodeEnd(e.encode()); err != nil || got != e {
			t.Errorf("%+v comes back as %+v, %v", e, got, err)
		}
	}
	for _, text := range []string{"", "1 2", "a b c"} {
		if _, err := decodeEnd(text); err == nil {
			t.Errorf("%q is an end", text)
		}
	}
}

// TestHearsOut: what a daemon has said is taken before its end counts, whichever
// of the two is seen first, and though somebody has its end of the socket open.
func TestHearsOut(t *testing.T) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pair[1])
	g := &guard{kept: make(map[string]int), inbox: make(chan incoming), link: newLink(pair[0])}
	g.held = []sent{{1, unix.SIGHUP}}
	for _, text := range []string{"hello", "ready", "bye"} {
		if err := unix.Sendmsg(pair[1], []byte(text), nil, nil, 0); err != nil {
			t.Fatal(err)
		}
	}
	go receive(g.link, g.inbox)
	g.hearOut()
	if !g.wasUp || !g.bye {
		t.Errorf("ready %t, bye %t: not all was heard", g.wasUp, g.bye)
	}
	if len(g.held) != 1 {
		t.Error("a signal was given to a daemon that is dead")
	}
}

package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"tend/api"
)

// child plays the daemon that up starts, by the name of its role, and a process
// whose end is awaited.
func child(role string, args []string) int {
	if role == "wait" {
		io.Copy(io.Discard, os.Stdin)
		return 0
	}
	fd := -1
	for i, a := range args {
		if a == "--ready-fd" {
			fd, _ = strconv.Atoi(args[i+1])
		}
	}
	ready := os.NewFile(uintptr(fd), "ready")
	fmt.Println("args:", strings.Join(args, " "))
	switch role {
	case "ready":
		fmt.Fprintln(ready, "ready")
		ready.Close()
	case "error":
		fmt.Fprintln(ready, "error: another daemon runs here, pid 812")
		fmt.Println("tend: another daemon runs here\nhint: name another folder with --state")
		return 1
	case "dies":
		fmt.Println("panic: all is lost")
		return 3
	case "hangs":
		f, err := os.Open(os.Getenv("TEND_TEST_FIFO"))
		if err != nil {
			return 9
		}
		io.Copy(io.Discard, f)
	default:
		return 9
	}
	return 0
}

// rising is a world whose programs come up: each event shows the next list.
func rising(lists ...[]api.Instance) *world {
	shown := make(chan struct{}, len(lists)) // a list was asked for
	n := 0
	return &world{
		daemon: func() (*api.Daemon, error) { return &api.Daemon{}, nil },
		list: func() ([]api.Instance, error) {
			list := lists[min(n, len(lists)-1)]
			n++
			shown <- struct{}{}
			return list, nil
		},
		events: func(ctx context.Context, _ uint64, _ bool) iter.Seq2[api.Event, error] {
			return func(yield func(api.Event, error) bool) {
				for {
					select {
					case <-shown:
						if !yield(api.Event{Kind: "state"}, nil) {
							return
						}
					case <-ctx.Done():
						yield(api.Event{}, ctx.Err())
						return
					}
				}
			}
		},
		logs: func(_ context.Context, name string, o api.LogOptions) iter.Seq2[api.LogLine, error] {
			if name == "mailer" && o.Lines == 1 {
				return lines(name, "error: SMTP_URL is not set\n")
			}
			return lines(name)
		},
	}
}

func instance(name, state string, uptime time.Duration) api.Instance {
	program, _, _ := strings.Cut(name, ":")
	i := api.Instance{Name: name, Program: program, State: state, Ready: state == api.Running, Enabled: true, Wanted: true, Generation: 1, Since: now, UptimeSeconds: uptime.Seconds()}
	return i
}

func backoff(name string, try uint64, wait time.Duration) api.Instance {
	i := instance(name, api.Backoff, 0)
	i.Generation, i.NextRun, i.LastExit = try, at(wait), exit(1, "", "exit 1", 0)
	i.Message = fmt.Sprintf("exit 1 after 0.1 s, next try in %s (%dth)", span(wait), try)
	return i
}

func comingUp() [][]api.Instance {
	disabled := api.Instance{Name: "old", Program: "old", State: api.Stopped}
	return [][]api.Instance{
		{instance("web", api.Starting, 0), instance("queue:0", api.Waiting, 0), backoff("mailer", 1, 100*time.Millisecond), disabled},
		{instance("web", api.Running, 300*time.Millisecond), instance("queue:0", api.Starting, 0), backoff("mailer", 2, 200*time.Millisecond), disabled},
		{instance("web", api.Running, 300*time.Millisecond), instance("queue:0", api.Running, 40*time.Millisecond), backoff("mailer", 4, 1600*time.Millisecond), disabled},
	}
}

// upWorld is rising, but there is no daemon until one was started in state.
func upWorld(state string, lists ...[]api.Instance) *world {
	w := rising(lists...)
	w.daemon = func() (*api.Daemon, error) {
		if _, err := os.Stat(filepath.Join(state, "daemon.out")); err != nil {
			return nil, api.ErrNoDaemon
		}
		return &api.Daemon{}, nil
	}
	return w
}

func TestUp(t *testing.T) {
	t.Setenv("TEND_TEST_CHILD", "ready")
	good := [][]api.Instance{comingUp()[0][:2], comingUp()[1][:2], comingUp()[2][:2]}
	for _, test := range []struct {
		name    string
		lists   [][]api.Instance
		columns int
		want    int
	}{
		{"up-good-pipe", good, pipe, 0},
		{"up-bad-pipe", comingUp(), pipe, exitFailed},
		{"up-bad-terminal", comingUp(), 80, exitFailed},
		{"up-bad-narrow", comingUp(), 30, exitFailed},
		{"up-none", [][]api.Instance{{comingUp()[0][3]}}, pipe, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			state := filepath.Join(t.TempDir(), "state")
			c := newCall(t, upWorld(state, test.lists...), test.columns, false)
			c.app.exe = os.Args[0]
			if got := c.run("up", "-c", "x.toml", "--state", state); got != test.want {
				t.Errorf("exit status %d, want %d: %s", got, test.want, c.err)
			}
			golden(t, test.name, c.out.String()+"--- standard error\n"+c.err.String())
			out, _ := os.ReadFile(filepath.Join(state, "daemon.out"))
			if want := "args: run --ready-fd 3 --config x.toml --state " + state + "\n"; string(out) != want {
				t.Errorf("the daemon was started with %q, want %q", out, want)
			}
		})
	}
}

func TestUpJSON(t *testing.T) {
	c := newCall(t, rising(comingUp()[2][:2]), pipe, false)
	if got := c.run("--state", t.TempDir(), "up", "--json"); got != 0 || !strings.HasPrefix(c.out.String(), "[\n") {
		t.Errorf("exit status %d: %s", got, c.out)
	}
}

// Where a daemon runs already, only what isn't up is news.
func TestUpAgain(t *testing.T) {
	w := rising(comingUp()[2])
	w.daemon = func() (*api.Daemon, error) { return &api.Daemon{Pending: true}, nil }
	c := newCall(t, w, pipe, false)
	if got := c.run("--state", t.TempDir(), "up"); got != exitFailed {
		t.Errorf("exit status %d", got)
	}
	golden(t, "up-again", c.out.String()+"--- standard error\n"+c.err.String())
}

func TestUpFails(t *testing.T) {
	for role, want := range map[string]string{
		"error": "✗ another daemon runs here, pid 812\n  hint: name another folder with --state\n",
		"dies":  "panic: all is lost\n✗ the daemon ended: exit status 3\n",
	} {
		t.Setenv("TEND_TEST_CHILD", role)
		state := t.TempDir()
		c := newCall(t, &world{}, pipe, false)
		c.app.exe = os.Args[0]
		if got := c.run("up", "--state", state); got != exitFailed || !strings.HasSuffix(c.err.String(), want) {
			t.Errorf("%s: exit status %d, %q, want %q", role, got, c.err, want)
		}
	}
	c := newCall(t, &world{}, pipe, false)
	c.app.exe = "/nowhere/to/be/found"
	c.app.deps.Check = func(string) (*api.Check, error) {
		return &api.Check{Diagnostics: []api.Diagnostic{{Severity: "error", Text: "tend.toml:1: bad"}}}, nil
	}
	if got := c.run("up", "--state", t.TempDir()); got != exitFailed || c.err.String() != "tend.toml:1: bad\n✗ 1 error; nothing was started\n" {
		t.Errorf("a bad file: exit status %d, %q", got, c.err)
	}
	c = newCall(t, &world{}, pipe, false)
	c.app.deps.StateDir = func(string) (string, error) { return "", hinting{errors.New("cannot find a configuration")} }
	if got := c.run("up"); got != exitFailed || c.err.String() != "✗ cannot find a configuration\n  hint: tend init\n" {
		t.Errorf("no file: exit status %d, %q", got, c.err)
	}
	c = newCall(t, rising(comingUp()[2][:2]), pipe, false)
	c.app.deps.StateDir = func(string) (string, error) { return "", errors.New("cannot find a configuration") }
	if got := c.run("up"); got != 0 {
		t.Errorf("no file, but a daemon: exit status %d, %q", got, c.err)
	}
	c = newCall(t, &world{}, pipe, false)
	if got := c.run("up", "--socket", filepath.Join(t.TempDir(), "s")); got != exitNoDaemon {
		t.Errorf("nothing can be started on a socket: exit status %d, %q", got, c.err)
	}
}

// hinting is an error as the daemon's packages make them.
type hinting struct{ error }

func (hinting) Hint() string { return "tend init" }

// A state folder in a project stays out of its commits.
func TestMakeState(t *testing.T) {
	top := t.TempDir()
	for name, want := range map[string]bool{".tend": true, "other": false} {
		if err := makeState(filepath.Join(top, name)); err != nil {
			t.Fatal(err)
		}
		_, err := os.Stat(filepath.Join(top, name, ".gitignore"))
		if got := err == nil; got != want {
			t.Errorf("%s has a .gitignore: %v", name, got)
		}
	}
}

// A daemon that never gets ready costs no more than the timeout, and so does a
// program that never comes up.
func TestUpTimeout(t *testing.T) {
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := exec.Command("mkfifo", fifo).Run(); err != nil {
		t.Fatal(err)
	}
	hold, err := os.OpenFile(fifo, os.O_RDWR, 0) // closed, the child ends
	if err != nil {
		t.Fatal(err)
	}
	defer hold.Close()
	t.Setenv("TEND_TEST_CHILD", "hangs")
	t.Setenv("TEND_TEST_FIFO", fifo)
	c := newCall(t, &world{}, pipe, false)
	c.app.exe = os.Args[0]
	if got := c.run("up", "--state", t.TempDir(), "--timeout", "50ms"); got != exitFailed || !strings.Contains(c.err.String(), "is not ready yet") {
		t.Errorf("exit status %d: %s", got, c.err)
	}

	w := rising(comingUp()[1][:2])
	c = newCall(t, w, pipe, false)
	w.events = func(ctx context.Context, _ uint64, _ bool) iter.Seq2[api.Event, error] {
		return func(yield func(api.Event, error) bool) {
			<-ctx.Done()
			yield(api.Event{}, ctx.Err())
		}
	}
	if got := c.run("up", "--state", t.TempDir(), "--timeout", "50ms"); got != exitFailed {
		t.Errorf("exit status %d", got)
	}
	if want := "✗ 1 of 2 are up after 50 ms; tend why queue:0\n"; c.err.String() != want {
		t.Errorf("got %q, want %q", c.err, want)
	}
}

func TestSettled(t *testing.T) {
	failed := instance("x", api.Failed, 0)
	task := instance("t", api.Running, 1)
	task.Ready = false
	for _, test := range []struct {
		name string
		list []api.Instance
		want bool
	}{
		{"nothing", nil, true},
		{"up", []api.Instance{instance("a", api.Running, 1)}, true},
		{"starting", []api.Instance{instance("a", api.Running, 1), instance("b", api.Starting, 0)}, false},
		{"a failure and a start", []api.Instance{failed, instance("b", api.Starting, 0)}, false},
		{"a failure", []api.Instance{failed, instance("b", api.Running, 0)}, true},
		{"waits for a task's end", []api.Instance{task, instance("b", api.Waiting, 0)}, false},
		{"waits for what nobody wants", []api.Instance{instance("a", api.Running, 1), instance("b", api.Waiting, 0)}, true},
		{"waits for a failure", []api.Instance{failed, instance("b", api.Waiting, 0)}, true},
		{"a short backoff", []api.Instance{backoff("a", 2, 200*time.Millisecond)}, false},
		{"a long backoff", []api.Instance{backoff("a", 2, 2*time.Second)}, true},
		{"many short backoffs", []api.Instance{backoff("a", 5, 200*time.Millisecond)}, true},
		{"wanted but not begun", []api.Instance{instance("a", api.Stopped, 0)}, false},
	} {
		if got := settled(test.list); got != test.want {
			t.Errorf("%s: %v", test.name, got)
		}
	}
}

// The end of a process that isn't a child of ours, as a daemon isn't, is seen.
func TestWatch(t *testing.T) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "TEND_TEST_CHILD=wait")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p := watch(cmd.Process.Pid)
	defer p.close()
	if p.epoll == 0 {
		t.Fatal("there is no pidfd of it")
	}
	if p.wait(0) {
		t.Error("it has ended before its end")
	}
	in.Close()
	if !p.wait(time.Minute) {
		t.Error("its end isn't seen")
	}
	cmd.Wait()
	gone := watch(cmd.Process.Pid)
	defer gone.close()
	if !gone.wait(0) {
		t.Error("what is gone hasn't ended")
	}
}

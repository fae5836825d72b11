package server

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"tend/api"
	"tend/internal/event"
	"tend/internal/spec"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// deadline is how long a test waits for what must come.
const deadline = 20 * time.Second

// fake is a daemon that remembers what it was asked.
type fake struct {
	mu        sync.Mutex
	asked     []string
	instances []api.Instance
	seq       uint64 // of the latest event in instances
	logs      []LogFile
	err       error
	plan      *api.Plan
	stopping  bool
	seat      *seat         // who attaches gets it
	block     chan struct{} // Act and Daemon wait for it, or for their context
	begun     chan struct{} // told when one waits
}

func (f *fake) ask(what string, args ...any) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked = append(f.asked, fmt.Sprintf(what, args...))
	return f.err
}

func (f *fake) wait(ctx context.Context) error {
	if f.block == nil {
		return nil
	}
	f.begun <- struct{}{}
	select {
	case <-f.block:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (f *fake) Instances(context.Context) ([]api.Instance, uint64, error) {
	return f.instances, f.seq, f.ask("instances")
}

func (f *fake) Program(_ context.Context, name string) (*api.Program, error) {
	p := &api.Program{Name: name, File: "tend.toml", Line: 3, Config: map[string]any{"command": "sleep 1", "instances": 2}, Instances: f.instances}
	return p, f.ask("program %s", name)
}

func (f *fake) History(_ context.Context, pattern string, since time.Time, limit int) ([]api.Run, error) {
	code, seconds, bytes, cpu := 1, 60.0, int64(1<<20), 0.5
	ready, ended := then.Add(time.Second), then.Add(time.Minute)
	return []api.Run{
		{Name: pattern, Program: pattern, Generation: 8, PID: 43, Running: true, Started: ended, PeakMemoryAtMost: &bytes},
		{Name: pattern, Program: pattern, Generation: 7, PID: 42, Started: then, Ready: &ready, Ended: &ended, Seconds: &seconds, Code: &code, Reason: "exit 1",
			PeakMemoryBytes: &bytes, CPUSeconds: &cpu, CPUTree: true, Lines: []string{"boom"}, Skipped: 2},
	}, f.ask("history %s %s %d", pattern, since.UTC().Format(time.RFC3339), limit)
}

func (f *fake) Why(_ context.Context, pattern string) ([]api.Why, error) {
	return []api.Why{{Name: pattern, Program: pattern, State: api.Backoff, Since: then, Text: "it is so.", Lines: []string{"boom"},
		Ends:     []api.End{{Exit: api.Exit{Code: 1, At: then, Reason: "exit 1"}, UptimeSeconds: 0.1, Times: 4}},
		WaitsFor: []api.Neighbour{{Name: "db", State: api.Running, Message: "running"}}, Do: "tend logs web", Does: "see more"}}, f.ask("why %s", pattern)
}

func (f *fake) Act(ctx context.Context, verb, pattern string, a api.Act) (*api.Results, error) {
	if err := f.ask("%s %s %+v", verb, pattern, a); err != nil {
		return nil, err
	}
	return &api.Results{Results: []api.Result{{Name: pattern, OK: true, State: api.Running, Message: "started, pid 42"}}, Pending: true}, f.wait(ctx)
}

func (f *fake) Add(_ context.Context, a api.Add) (*api.Plan, error) {
	return f.plan, f.ask("add %s %v", a.Name, a.Config)
}

func (f *fake) Remove(_ context.Context, name string) (*api.Plan, error) {
	return f.plan, f.ask("remove %s", name)
}

func (f *fake) Scale(_ context.Context, name string, n int) (*api.Plan, error) {
	return f.plan, f.ask("scale %s %d", name, n)
}

func (f *fake) Exec(_ context.Context, name string) (*api.Exec, error) {
	n := 0o22
	return &api.Exec{Name: name, Env: []string{"A=b"}, Directory: "/", UID: -1, GID: -1, Umask: &n, Nice: &n, OOMScoreAdj: &n,
		Groups: []int{1}, Limits: []api.ExecLimit{{Name: "nofile", Resource: 7, Soft: new(uint64)}}}, f.ask("exec %s", name)
}

func (f *fake) Plan(context.Context) (*api.Plan, error) { return f.plan, f.ask("plan") }

func (f *fake) Reload(_ context.Context, o api.ReloadOptions) (*api.Plan, error) {
	if o.Wait {
		p := *f.plan
		p.Results, p.RolledBack = []api.Result{{Name: "web", OK: true, State: "running", Message: "started, pid 7"}}, "web did not become ready"
		return &p, f.ask("reload %+v", o)
	}
	return f.plan, f.ask("reload %+v", o)
}

func (f *fake) Daemon(ctx context.Context) (*api.Daemon, error) {
	return &api.Daemon{PID: 812, Version: "1", Started: then, Reload: "auto", Stopping: f.stopping, Tree: "cgroup"}, f.wait(ctx)
}

func (f *fake) Upgrade(_ context.Context, o api.UpgradeOptions) (*api.Upgrade, error) {
	return &api.Upgrade{From: "1", To: "2", Binary: o.Binary, PID: 812}, f.ask("upgrade %+v", o)
}

func (f *fake) Shutdown(_ context.Context, o api.ShutdownOptions) error {
	return f.ask("shutdown %+v", o)
}

func (f *fake) Attach(_ context.Context, name string, tail api.Tail) (Attachment, error) {
	if err := f.ask("attach %s %q", name, tail); err != nil {
		return nil, err
	}
	return f.seat, nil
}

func (f *fake) Logs(_ context.Context, pattern string) ([]LogFile, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var list []LogFile
	for _, l := range f.logs {
		program, _, _ := strings.Cut(l.Name, ":")
		for _, s := range []string{l.Name, program} {
			if ok, _ := path.Match(pattern, s); ok || s == pattern {
				list = append(list, l)
				break
			}
		}
	}
	if list == nil {
		return nil, &api.Error{Kind: api.KindNotFound, Message: fmt.Sprintf("no program is named %q", pattern)}
	}
	return list, nil
}

func (f *fake) setLogs(logs ...LogFile) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.logs = logs
}

func (f *fake) last() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.asked) == 0 {
		return ""
	}
	return f.asked[len(f.asked)-1]
}

var then = time.Date(2026, 11, 23, 14, 2, 11, 5e8, time.UTC)

func instance(name string) api.Instance {
	healthy, cpu, memory := true, 0.3, int64(48<<20)
	next := then.Add(time.Minute)
	program, _, _ := strings.Cut(name, ":")
	return api.Instance{
		Name: name, Program: program, State: api.Running, Ready: true, Healthy: &healthy, Enabled: true, Wanted: true,
		PID: 41207, Generation: 3, Since: then, UptimeSeconds: 1.5, Restarts: 2, CPUPercent: &cpu, MemoryBytes: &memory, NextRun: &next,
		LastExit: &api.Exit{Signal: "KILL", At: then, Reason: "signal KILL"}, Message: "as it should be", Status: "serving", After: []string{"db"}, Requires: []string{"db"}, Outdated: true, Idle: true, PTY: true,
		Usage: &api.Usage{CPUSeconds: 1.5, Processes: 2, Threads: 3, ResidentBytes: memory, ProportionalBytes: &memory, CgroupBytes: &memory, CgroupPeakBytes: &memory,
			Descriptors: &memory, ReadBytes: &memory, WrittenBytes: &memory},
		Processes: []api.Process{{PID: 41207, Parent: 1, Command: "php -S 127.0.0.1:8000", CPUPercent: &cpu, CPUSeconds: 1.5, MemoryBytes: memory, Threads: 3}},
	}
}

// served is a server on a unix socket.
type served struct {
	*Server
	fake   *fake
	events *event.Log
	socket string
	dir    string
	client *api.Client
	states chan http.ConnState
	down   func()
}

// serve starts a server; change, if any, is made before it listens.
func serve(t testing.TB, change func(*Server)) *served {
	t.Helper()
	s := &served{
		dir: t.TempDir(), events: event.NewLog(100, 0),
		fake: &fake{instances: []api.Instance{instance("web"), instance("queue:0"), {Name: "queue:1", Program: "queue", State: api.Stopped}}},
	}
	s.fake.plan = &api.Plan{
		Files: []string{"tend.toml"}, Unchanged: 14, Diagnostics: []api.Diagnostic{{File: "tend.toml", Line: 7, Key: "restrat", Severity: "warning", Message: "unknown key", Hint: "restart", Text: "…"}},
		Items: []api.PlanItem{{Program: "web", Action: api.PlanLive, Summary: "1 more", Changes: []api.PlanChange{{Key: "stop_timeout", Apply: "live", Old: "10s", New: "60s"}}}},
	}
	s.fake.begun = make(chan struct{}, 100)
	s.socket = filepath.Join(s.dir, "tend.sock")
	s.Server = New(Config{Control: s.fake, Events: s.events, Socket: s.socket, Metrics: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4")
		fmt.Fprintln(w, "tend_build_info 1")
	})})
	s.states = make(chan http.ConnState, 10_000)
	s.http.ConnState = func(_ net.Conn, c http.ConnState) {
		select {
		case s.states <- c:
		default: // a benchmark, which reads none
		}
	}
	if change != nil {
		change(s.Server)
	}
	l, err := ListenUnix(s.socket, 0o600, "")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(l) }()
	s.client = api.Dial(s.socket)
	s.down = sync.OnceFunc(func() {
		s.client.Close()
		ctx, cancel := context.WithTimeout(context.Background(), deadline)
		defer cancel()
		if err := s.Shutdown(ctx); err != nil {
			t.Errorf("shutdown: %v", err)
		}
		if err := <-ended; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	t.Cleanup(s.down)
	return s
}

// within returns a context for what must come.
func within(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	t.Cleanup(cancel)
	return ctx
}

// await waits until n connections have come into a state.
func (s *served) await(t testing.TB, state http.ConnState, n int) {
	t.Helper()
	timeout := time.After(deadline)
	for n > 0 {
		select {
		case got := <-s.states:
			if got == state {
				n--
			}
		case <-timeout:
			t.Fatalf("%d connections are not %v", n, state)
		}
	}
}

// dial opens a connection for requests by hand.
func (s *served) dial(t testing.TB) net.Conn {
	t.Helper()
	c, err := net.Dial("unix", s.socket)
	if err != nil {
		t.Fatal(err)
	}
	c.SetDeadline(time.Now().Add(deadline))
	t.Cleanup(func() { c.Close() })
	return c
}

// do sends a request as it is written, header lines after the first line, and
// returns the answer with its body.
func (s *served) do(t testing.TB, method, target, body string, header ...string) (*http.Response, string) {
	t.Helper()
	tr := &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) { return net.Dial("unix", s.socket) }}
	defer tr.CloseIdleConnections()
	req, err := http.NewRequestWithContext(within(t), method, "http://tend"+target, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range header {
		k, v, _ := strings.Cut(h, ": ")
		req.Header.Set(k, v)
	}
	r, err := tr.RoundTrip(req)
	if err != nil {
		t.Fatalf("%s %s: %v", method, target, err)
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatalf("%s %s: %v", method, target, err)
	}
	return r, string(b)
}

// said returns an event of that program.
func said(kind, name string) event.Event {
	program, _, _ := strings.Cut(name, ":")
	return event.Event{Kind: kind, At: then, Program: program, Name: name, Message: kind + " " + name}
}

var exited = event.Event{
	Kind: event.State, At: then, Program: "web", Name: "web", From: "running", To: "backoff", PID: 42, Gen: 3, Message: "exited",
	Exit: &event.Exit{Signal: spec.Signal(9), At: then},
}

// appendTo adds text to a file.
func appendTo(t testing.TB, path, text string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString(text); err != nil {
		t.Fatal(err)
	}
}

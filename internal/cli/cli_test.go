package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"iter"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"tend/api"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// TestMain lets the test binary play the daemon that up starts.
func TestMain(m *testing.M) {
	if role := os.Getenv("TEND_TEST_CHILD"); role != "" {
		os.Exit(child(role, os.Args[1:]))
	}
	// The race detector would let each child sleep for a second at its end.
	os.Setenv("GORACE", "atexit_sleep_ms=0")
	goleak.VerifyTestMain(m)
}

// now is the time of all tests, 14:02:11 in a zone of our own.
var now = time.Date(2026, 11, 21, 14, 2, 11, 0, time.FixedZone("test", 3600))

func ago(d time.Duration) time.Time { return now.Add(-d) }
func at(d time.Duration) *time.Time { t := now.Add(d); return &t }
func ptr[T any](v T) *T             { return &v }

// world is a fake daemon. Its functions may be nil.
type world struct {
	list     func() ([]api.Instance, error)
	act      func(verb, pattern string, act api.Act) (*api.Results, error)
	plan     *api.Plan
	asked    []string // what was changed by hand
	why      func(pattern string) ([]api.Why, error)
	history  func(pattern string, o api.HistoryOptions) ([]api.Run, error)
	daemon   func() (*api.Daemon, error)
	shutdown func(api.ShutdownOptions) error
	upgrade  func(api.UpgradeOptions) (*api.Upgrade, error)
	events   func(ctx context.Context, since uint64, follow bool) iter.Seq2[api.Event, error]
	logs     func(ctx context.Context, pattern string, o api.LogOptions) iter.Seq2[api.LogLine, error]
}

func (w *world) Instances(context.Context) ([]api.Instance, error) {
	if w.list == nil {
		return nil, fmt.Errorf("dial: %w", api.ErrNoDaemon)
	}
	return w.list()
}
func (w *world) Act(_ context.Context, verb, pattern string, act api.Act) (*api.Results, error) {
	if w.act == nil {
		return nil, fmt.Errorf("dial: %w", api.ErrNoDaemon)
	}
	return w.act(verb, pattern, act)
}
func (w *world) Why(_ context.Context, pattern string) ([]api.Why, error) {
	if w.why == nil {
		return nil, fmt.Errorf("dial: %w", api.ErrNoDaemon)
	}
	return w.why(pattern)
}
func (w *world) History(_ context.Context, pattern string, o api.HistoryOptions) ([]api.Run, error) {
	if w.history == nil {
		return nil, fmt.Errorf("dial: %w", api.ErrNoDaemon)
	}
	return w.history(pattern, o)
}
func (w *world) byHand(what string) (*api.Plan, error) {
	w.asked = append(w.asked, what)
	return w.Plan(context.Background())
}
func (w *world) Add(_ context.Context, a api.Add) (*api.Plan, error) {
	return w.byHand(fmt.Sprintf("add %s %v", a.Name, a.Config))
}
func (w *world) Remove(_ context.Context, name string) (*api.Plan, error) {
	return w.byHand("remove " + name)
}
func (w *world) Scale(_ context.Context, name string, n int) (*api.Plan, error) {
	return w.byHand(fmt.Sprintf("scale %s %d", name, n))
}
func (w *world) Attach(context.Context, string, api.AttachOptions) (*api.Attachment, error) {
	return nil, &api.Error{Kind: api.KindConflict, Message: "web has no terminal", Hint: "set pty = true"}
}

func (w *world) Exec(context.Context, string) (*api.Exec, error) {
	return nil, fmt.Errorf("dial: %w", api.ErrNoDaemon)
}
func (w *world) Plan(context.Context) (*api.Plan, error) {
	if w.plan == nil {
		return nil, fmt.Errorf("dial: %w", api.ErrNoDaemon)
	}
	return w.plan, nil
}
func (w *world) Reload(ctx context.Context, o api.ReloadOptions) (*api.Plan, error) {
	p, err := w.Plan(ctx)
	switch {
	case err != nil:
		return nil, err
	case p.Empties && !o.AllowEmpty:
		return nil, &api.Error{Kind: api.KindEmpty, Message: "nothing would be left", Hint: "tend reload --allow-empty"}
	}
	applied := *p
	applied.Applied = true
	if !o.Wait {
		applied.Results, applied.RolledBack = nil, ""
	}
	return &applied, nil
}
func (w *world) Daemon(context.Context) (*api.Daemon, error) {
	if w.daemon == nil {
		return nil, fmt.Errorf("dial: %w", api.ErrNoDaemon)
	}
	return w.daemon()
}
func (w *world) Shutdown(_ context.Context, o api.ShutdownOptions) error { return w.shutdown(o) }
func (w *world) Upgrade(_ context.Context, o api.UpgradeOptions) (*api.Upgrade, error) {
	return w.upgrade(o)
}
func (w *world) Events(ctx context.Context, since uint64, follow bool) iter.Seq2[api.Event, error] {
	return w.events(ctx, since, follow)
}
func (w *world) Logs(ctx context.Context, pattern string, o api.LogOptions) iter.Seq2[api.LogLine, error] {
	if w.logs == nil {
		return func(func(api.LogLine, error) bool) {}
	}
	return w.logs(ctx, pattern, o)
}

// buffer may be written and read by several goroutines.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// call is one run of a command line against a world.
type call struct {
	app      *app
	out, err *buffer
}

// pipe is the columns of an output that isn't a terminal.
const pipe = 0

func newCall(t *testing.T, w client, columns int, color bool) *call {
	t.Helper()
	c := &call{out: new(buffer), err: new(buffer)}
	c.app = newApp(Deps{Version: "1.2.3", Stdout: c.out, Stderr: c.err})
	c.app.getenv = func(string) string { return "" }
	c.app.now = func() time.Time { return now }
	c.app.dial = func(string) client { return w }
	for _, s := range []*screen{c.app.out, c.app.err} {
		s.tty, s.color, s.fixed = columns != pipe, color, [2]int{columns, 24}
	}
	return c
}

func (c *call) run(args ...string) int { return c.app.main(context.Background(), args) }

// golden compares got with a file of testdata.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name+".golden")
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), got); d != "" {
		t.Errorf("%s (-want +got):\n%s", path, d)
	}
}

func exit(code int, signal, reason string, d time.Duration) *api.Exit {
	return &api.Exit{Code: code, Signal: signal, Reason: reason, At: ago(d), Success: code == 0 && signal == ""}
}

// programs is one of each kind.
func programs() []api.Instance {
	up := api.Instance{State: api.Running, Ready: true, Enabled: true, Wanted: true, UptimeSeconds: 187200}
	as := func(name, program string, i api.Instance) api.Instance {
		i.Name, i.Program = name, program
		return i
	}
	web, q0, q1 := up, up, up
	web.PID, web.Restarts, web.LastExit = 41207, 1, exit(0, "KILL", "signal KILL", 52*time.Hour)
	q0.PID = 41209
	q1.PID, q1.Restarts, q1.LastExit, q1.UptimeSeconds = 41230, 17, exit(255, "", "exit 255", 3*time.Minute), 190
	sick := up
	sick.PID, sick.Healthy = 41300, ptr(false)
	return []api.Instance{
		as("web", "web", web), as("queue:0", "queue", q0), as("queue:1", "queue", q1), as("gateway", "gateway", sick),
		{Name: "mailer", Program: "mailer", State: api.Backoff, Enabled: true, Wanted: true, Restarts: 4, Generation: 4, Since: ago(2 * time.Second),
			LastExit: exit(1, "", "exit 1", 2*time.Second), NextRun: at(1600 * time.Millisecond)},
		{Name: "nightly", Program: "nightly", State: api.Waiting, Enabled: true, Wanted: true, LastExit: exit(0, "", "exit 0", 10*time.Hour), NextRun: at(12 * time.Hour)},
		{Name: "api", Program: "api", State: api.Waiting, Enabled: true, Wanted: true, Message: "waits for mailer"},
		{Name: "注文キュー", Program: "注文キュー", State: api.Failed, Enabled: true, Wanted: true, Message: "cannot start: user \"www\" not found\x1b[2J, 10 failed starts in a row",
			LastExit: exit(1, "", "cannot start: user \"www\" not found\x1b[2J", time.Minute)},
		{Name: "old-billing-importer-of-the-second-kind", Program: "old-billing-importer-of-the-second-kind", State: api.Stopped},
		{Name: "migrate", Program: "migrate", State: api.Done, Enabled: true, Wanted: true, LastExit: exit(0, "", "exit 0", time.Hour)},
	}
}

func has(list []api.Instance) func() ([]api.Instance, error) {
	return func() ([]api.Instance, error) { return list, nil }
}

func TestStatusTable(t *testing.T) {
	measured := programs()[:5]
	measured[0].CPUPercent, measured[0].MemoryBytes = ptr(0.3), ptr(int64(48e6))
	measured[1].CPUPercent, measured[1].MemoryBytes = ptr(12.0), ptr(int64(1.5e9))
	for _, test := range []struct {
		name    string
		list    []api.Instance
		columns int
		color   bool
	}{
		{"status-wide", programs(), 140, false},
		{"status-80", programs(), 80, false},
		{"status-40", programs(), 40, false},
		{"status-pipe", programs(), pipe, false},
		{"status-color", programs(), 100, true},
		{"status-measured", measured, 100, false},
		{"status-measured-60", measured, 60, false},
		{"status-measured-pipe", measured, pipe, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := newCall(t, &world{list: has(test.list)}, test.columns, test.color)
			if got := c.run("status"); got != exitSomeDown {
				t.Errorf("status exits with %d, want %d", got, exitSomeDown)
			}
			golden(t, test.name, c.out.String())
		})
	}
}

var sgr = regexp.MustCompile("\x1b\\[[0-9;]*m")

// Whatever is in it, a table doesn't wrap where its least columns have room, and
// colour changes nothing but colour.
func TestTableNeverWraps(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringOfN(rapid.RuneFrom([]rune("abc 注文é")), 0, 60, -1)
		n := rapid.IntRange(0, 6).Draw(t, "rows")
		var list []api.Instance
		for range n {
			list = append(list, api.Instance{
				Name: text.Draw(t, "name"), State: rapid.SampledFrom([]string{api.Running, api.Backoff, api.Failed, api.Waiting, api.Exited}).Draw(t, "state"),
				PID: rapid.IntRange(0, 4e6).Draw(t, "pid"), UptimeSeconds: rapid.Float64Range(0, 1e7).Draw(t, "uptime"),
				Message: text.Draw(t, "message"), CPUPercent: ptr(rapid.Float64Range(0, 6400).Draw(t, "cpu")),
			})
		}
		columns := rapid.IntRange(24, 200).Draw(t, "columns")
		render := func(color bool) string {
			var b bytes.Buffer
			statusTable(list, now, true).write(&screen{Writer: &b, tty: true, color: color, fixed: [2]int{columns, 24}})
			return b.String()
		}
		got := render(false)
		for line := range strings.Lines(got) {
			line = strings.TrimSuffix(line, "\n")
			if width(line) > columns {
				t.Errorf("%d columns, of %d: %q", width(line), columns, line)
			}
		}
		if colored := sgr.ReplaceAllString(render(true), ""); colored != got {
			t.Errorf("with colour %q, without %q", colored, got)
		}
	})
}

func TestWhy(t *testing.T) {
	w := &world{why: func(pattern string) ([]api.Why, error) {
		if pattern == "nobody" {
			return nil, &api.Error{Kind: api.KindNotFound, Message: `no program is named "nobody"`}
		}
		return []api.Why{
			{Name: "mailer", State: api.Backoff, Lines: []string{"error: SMTP_URL\x1b[2J is not set"}, Do: "tend logs mailer", Does: "see more of what it printed",
				Text: "mailer is in backoff, for 0.1 s now: it doesn't stay up, and waits before it is started again. The next try is in 1.6 s; the waits grow to 30 s."},
			{Name: "web", State: api.Running, Text: "web is ready: pid 41207, up 2 d 4 h.", Do: "tend logs -f web", Does: "see what it prints"},
		}, nil
	}}
	for name, columns := range map[string]int{"why-80": 80, "why-pipe": pipe} {
		c := newCall(t, w, columns, columns != pipe)
		if got := c.run("why", "mailer", "web"); got != 0 { // both tell of both: each is told once
			t.Errorf("exit status %d: %s", got, c.err)
		}
		golden(t, name, c.out.String())
	}
	for status, args := range map[int][]string{exitUsage: {"why"}, exitFailed: {"why", "web", "nobody"}} {
		if c := newCall(t, w, 80, false); c.run(args...) != status || c.out.String() != "" {
			t.Errorf("%v: %s%s", args, c.out, c.err)
		}
	}
	c := newCall(t, w, pipe, false)
	var list []api.Why
	if status := c.run("why", "--json", "mailer"); status != 0 || json.Unmarshal([]byte(c.out.String()), &list) != nil || len(list) != 2 {
		t.Errorf("exit status %d, %s", status, c.out)
	}
}

// runs is one run of each kind.
func runs() []api.Run {
	run := func(name string, gen uint64, started, lasted time.Duration, r api.Run) api.Run {
		r.Name, r.Program, r.Generation, r.Started, r.Seconds, r.Lines = name, name, gen, ago(started), ptr(lasted.Seconds()), append([]string{}, r.Lines...)
		if !r.Running {
			r.Ended = at(lasted - started)
		}
		return r
	}
	mb := func(n int64) *int64 { return ptr(n * 1_000_000) }
	list := []api.Run{
		run("web", 4, 3*time.Hour, 3*time.Hour, api.Run{Running: true, PID: 41207, PeakMemoryBytes: mb(48), CPUSeconds: ptr(75.0), CPUTree: true}),
		run("web", 3, 4*time.Hour, time.Hour, api.Run{PID: 40007, Wished: true, Signal: "TERM", Reason: "restarted, since app.js and 3 other files have changed (signal TERM)", PeakMemoryBytes: mb(51), CPUSeconds: ptr(12.3), Lines: []string{"listening", "bye"}}),
		run("web", 2, 27*time.Hour, 23*time.Hour, api.Run{PID: 39007, Code: ptr(1), Reason: "exit 1", PeakMemoryBytes: mb(1900), CPUSeconds: ptr(7200.0), Skipped: 12,
			Lines: []string{"listening", "GET /\x1b[2J", "fatal: a line that is longer than any terminal is wide, since it tells everything that there is to tell of what went wrong"}}),
		run("web", 1, 28*time.Hour, time.Minute, api.Run{PID: 38007, Success: true, Code: ptr(0), Reason: "exit 0", PeakMemoryAtMost: mb(24), CPUSeconds: ptr(0.002)}),
		{Name: "web", Program: "web", Generation: 9, PID: 7, Started: ago(52 * time.Hour), Unknown: true, Reason: "the machine went down", Lines: []string{}},
		run("web", 8, 53*time.Hour, time.Minute, api.Run{PID: 6, Unknown: true, Reason: "exit status unknown"}),
		{Name: "web", Program: "web", Generation: 7, Started: ago(54 * time.Hour), Ended: at(-54 * time.Hour), Reason: `cannot start: "nginx": no such file or directory`, Lines: []string{}},
	}
	return list
}

func TestHistory(t *testing.T) {
	w := &world{history: func(pattern string, o api.HistoryOptions) ([]api.Run, error) {
		list := runs()
		switch pattern {
		case "nobody":
			return nil, &api.Error{Kind: api.KindNotFound, Message: `no program is named "nobody"`}
		case "new":
			return []api.Run{}, nil
		case "*":
			for i := range 2 {
				r := list[i+1]
				r.Name, r.Generation = "a-program-with-a-rather-long-name:1", uint64(7+i)
				list = append(list, r)
			}
		}
		return list[:min(o.Limit, len(list))], nil
	}}
	for name, test := range map[string]struct {
		columns int
		args    string
	}{
		"history-80": {80, "web"}, "history-60": {60, "web -n 5"}, "history-color": {100, "web --lines"}, "history-pipe": {pipe, "web"}, "history-all-80": {80, "--all"}, "history-several": {100, "* web"},
	} {
		c := newCall(t, w, test.columns, name == "history-color")
		if got := c.run(strings.Fields("history " + test.args)...); got != 0 {
			t.Errorf("%s: exit status %d: %s", name, got, c.err)
		}
		golden(t, name, c.out.String())
	}
	for args, want := range map[string]struct {
		status int
		says   string
	}{
		"history": {exitUsage, "history of what?"}, "history --all web": {exitUsage, "not both"}, "history web -n 0": {exitUsage, "from 1 up"},
		"history web --since soon": {exitUsage, "--since"}, "history nobody": {exitFailed, "no program is named"}, "history new": {0, "nothing has run yet"},
		"history new --since 1h": {0, "nothing has run since then"},
	} {
		if c := newCall(t, w, 80, false); c.run(strings.Fields(args)...) != want.status || !strings.Contains(c.err.String(), want.says) || c.out.String() != "" {
			t.Errorf("%s: %s%s", args, c.out, c.err)
		}
	}
	c := newCall(t, w, pipe, false)
	var list []api.Run
	if status := c.run("history", "--json", "web", "w*"); status != 0 || json.Unmarshal([]byte(c.out.String()), &list) != nil || len(list) != 7 || !list[0].Running {
		t.Errorf("exit status %d, %s", status, c.out)
	}
}

func TestByHand(t *testing.T) {
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		args   []string
		status int
		asked  string
	}{
		{[]string{"add", "web", "--no-wait", "--", "./server", "-v"}, 0, "add web map[command:[./server -v] directory:" + here + "]"},
		{[]string{"add", "web", "--no-wait", "--env", "A=b=c", "--instances", "2", "--user", "www", "--directory", "/", "--set", "log.keep=2", "--", "x"}, 0,
			"add web map[command:[x] directory:/ env:map[A:b=c] instances:2 log.keep:2 user:www]"},
		{[]string{"add"}, exitUsage, ""},
		{[]string{"add", "--", "x"}, exitUsage, ""},
		{[]string{"add", "web"}, exitUsage, ""},
		{[]string{"add", "web", "x"}, exitUsage, ""},
		{[]string{"add", "web", "--env", "A", "--", "x"}, exitUsage, ""},
		{[]string{"add", "web", "--set", "A", "--", "x"}, exitUsage, ""},
		{[]string{"remove", "web", "api"}, 0, "remove web remove api"},
		{[]string{"remove"}, exitUsage, ""},
		{[]string{"scale", "queue=8", "web=0"}, 0, "scale queue 8 scale web 0"},
		{[]string{"scale"}, exitUsage, ""},
		{[]string{"scale", "queue"}, exitUsage, ""},
		{[]string{"scale", "queue=-1"}, exitUsage, ""},
		{[]string{"scale", "=1"}, exitUsage, ""},
		{[]string{"exec", "web"}, exitUsage, ""},
		{[]string{"exec", "web", "--", "env"}, exitNoDaemon, ""},
	} {
		w := &world{plan: bigPlan()}
		c := newCall(t, w, 80, false)
		if status := c.run(test.args...); status != test.status || strings.Join(w.asked, " ") != test.asked {
			t.Errorf("%q: status %d, asked %q: %s", test.args, status, w.asked, c.err)
		}
	}
}

func TestStatusJSON(t *testing.T) {
	c := newCall(t, &world{list: has(programs()[:1])}, pipe, false)
	if got := c.run("status", "--json"); got != 0 {
		t.Errorf("exit status %d", got)
	}
	var list []api.Instance
	if err := json.Unmarshal([]byte(c.out.String()), &list); err != nil || len(list) != 1 || list[0].PID != 41207 {
		t.Errorf("%v, %v of %s", err, list, c.out)
	}
	c = newCall(t, &world{list: has(nil)}, pipe, false)
	if got := c.run("status", "--json"); got != 0 || c.out.String() != "[]\n" {
		t.Errorf("no programs: exit status %d, %q", got, c.out)
	}
}

// takenBack is a reload that was.
func takenBack(why string) *api.Plan {
	p := bigPlan()
	p.RolledBack = why
	return p
}

func bigPlan() *api.Plan {
	dir, _ := os.Getwd()
	return &api.Plan{
		Files: []string{filepath.Join(dir, "tend.toml")}, Unchanged: 14,
		Items: []api.PlanItem{
			{Program: "queue", Action: api.PlanRestart, Summary: "2 instances, one after the other", Changes: []api.PlanChange{
				{Key: "command", Apply: "restart", Old: "php artisan queue:work", New: "php artisan queue:work --tries=3"},
				{Key: "env", Apply: "restart", Old: "A=\"1\"\nB=\"2\"\n", New: "A=\"1\"\nB=\"3\"\nC=\"4\"\n"},
				{Key: "stop_command", Apply: "live", Old: "", New: strings.Repeat("a long command ", 20) + "end"},
			}},
			{Program: "web", Action: api.PlanLive, Changes: []api.PlanChange{{Key: "stop_timeout", Apply: "live", Old: "10s", New: "60s"}}},
			{Program: "metrics", Action: api.PlanStart, Summary: "./bin/metrics --port 9100"},
			{Program: "legacy", Action: api.PlanDrain, Summary: "left to end by itself"},
		},
	}
}

func TestPlan(t *testing.T) {
	for _, test := range []struct {
		name    string
		columns int
		color   bool
		command string
		want    int
	}{
		{"plan-wide", 120, false, "plan", 2},
		{"plan-80", 80, false, "plan", 2},
		{"plan-pipe", pipe, false, "plan", 2},
		{"plan-color", 100, true, "plan", 2},
		{"reload-80", 80, false, "reload", 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := newCall(t, &world{plan: bigPlan()}, test.columns, test.color)
			if got := c.run(test.command); got != test.want {
				t.Errorf("exit status %d, want %d", got, test.want)
			}
			golden(t, test.name, c.out.String())
			for line := range strings.Lines(sgr.ReplaceAllString(c.out.String(), "")) {
				if test.columns > 0 && width(line)-1 > test.columns {
					t.Errorf("wraps: %q", line)
				}
			}
		})
	}
}

// Every command says what happened by its exit status.
func TestExitStatuses(t *testing.T) {
	all := programs()
	invalid := []api.Diagnostic{{File: "tend.toml", Line: 7, Severity: "error", Message: "unknown key", Text: "tend.toml:7: unknown key \"restrat\"\n"}}
	healthy := &world{
		list:   has(all[:3]),
		plan:   &api.Plan{Unchanged: 3},
		daemon: func() (*api.Daemon, error) { return &api.Daemon{}, nil },
		act: func(verb, pattern string, act api.Act) (*api.Results, error) {
			switch {
			case pattern == "nobody":
				return nil, &api.Error{Kind: api.KindNotFound, Message: `no program is called "nobody"`, Hint: "tend status"}
			case act.Signal == "FOO":
				return nil, &api.Error{Kind: api.KindBadRequest, Message: `"FOO" is not a signal`}
			}
			return &api.Results{Results: []api.Result{{Name: pattern, OK: pattern != "mailer", Message: verb + " is done"}}}, nil
		},
		events: func(context.Context, uint64, bool) iter.Seq2[api.Event, error] {
			return func(func(api.Event, error) bool) {}
		},
	}
	empties := &world{plan: &api.Plan{Empties: true, Items: []api.PlanItem{{Program: "web", Action: api.PlanStop}}}}
	broken := &world{plan: &api.Plan{Diagnostics: invalid}}
	none := &world{}
	for _, test := range []struct {
		w    *world
		args string
		want int
		err  string // part of standard error
	}{
		{healthy, "status", 0, ""},
		{healthy, "status queue", 0, ""},
		{healthy, "status wbe", 1, `✗ no program is called "wbe"; did you mean "web"?`},
		{&world{list: has(nil)}, "status", 0, "no program is configured"},
		{&world{list: has(all)}, "status", 3, ""},
		{&world{list: has(all)}, "status queue web", 0, ""},
		{&world{list: has(all)}, "status --json mailer", 3, ""},
		{none, "status", 4, "✗ no daemon answers in "},
		{none, "status", 4, "\n  start one: tend up\n"},
		{none, "start web queue", 4, "no daemon answers"},
		{none, "plan", 4, "no daemon answers"},
		{none, "reload", 4, "no daemon answers"},
		{none, "down", 4, "no daemon answers"},
		{none, "logs web", 4, "no daemon answers"},
		{none, "events -f", 4, "no daemon answers"},
		{none, "--state /some/where status", 4, "✗ no daemon answers in /some/where\n"},
		{healthy, "start web", 0, ""},
		{healthy, "start web mailer queue", 1, ""},
		{healthy, "stop nobody web", 1, "✗ no program is called \"nobody\"\n  hint: tend status\n"},
		{healthy, "restart --all", 0, ""},
		{healthy, "signal HUP web", 0, ""},
		{healthy, "signal FOO web", 2, `"FOO" is not a signal`},
		{healthy, "signal HUP", 2, "signal HUP to whom?"},
		{healthy, "signal web", 2, "tend signal HUP web"},
		{healthy, "signal", 2, "signal what to whom?"},
		{healthy, "start", 2, "✗ start what?\n  hint: give the name of a program, or --all\n"},
		{healthy, "start --all web", 2, "not both"},
		{healthy, "plan", 0, ""},
		{healthy, "plan x", 2, "plan takes no arguments"},
		{&world{plan: bigPlan()}, "plan", 2, ""},
		{&world{plan: bigPlan()}, "plan --json", 2, ""},
		{&world{plan: bigPlan()}, "reload", 0, ""},
		{empties, "plan", 2, "nothing would be left"},
		{empties, "reload", 1, "hint: tend reload --allow-empty"},
		{empties, "reload --allow-empty", 0, ""},
		{&world{plan: takenBack("web did not become ready")}, "reload", 1, "taken back: web did not become ready"},
		{broken, "plan", 1, "tend.toml:7: unknown key \"restrat\"\n✗ 1 error; what runs is untouched\n"},
		{broken, "reload", 1, "✗ 1 error; what runs is untouched"},
		{healthy, "events", 0, ""},
		{healthy, "logs -n -1 web", 2, "-n takes a number"},
		{healthy, "statsu", 2, "✗ unknown command \"statsu\"; did you mean \"status\"?\n  hint: tend help\n"},
		{healthy, "frobnicate", 2, "✗ unknown command \"frobnicate\"\n"},
		{healthy, "statsu --foo", 2, "unknown command"},
		{healthy, "status --jsn", 2, "✗ unknown flag --jsn; did you mean \"--json\"?\n  hint: tend help status\n"},
		{healthy, "logs -x web", 2, "unknown flag -x"},
		{healthy, "events --since soon", 2, "soon"},
		{healthy, "run web", 2, "run takes no names"},
		{healthy, "run --", 2, "no command after --"},
		{healthy, "run -c x -- y", 2, "not both"},
		{healthy, "run", 1, "isn't built in"},
		{healthy, "check", 1, "isn't built in"},
		{healthy, "completion tcsh", 2, "bash, zsh, fish"},
		{healthy, "completion bash", 0, ""},
		{healthy, "completion zsh", 0, ""},
		{healthy, "completion fish", 0, ""},
		{healthy, "help status", 0, ""},
		{healthy, "help nothing", 2, "unknown command"},
		{healthy, "status --help", 0, ""},
		{healthy, "version", 0, ""},
		{healthy, "--version", 0, ""},
		{healthy, "", 0, ""},
	} {
		t.Run(test.args, func(t *testing.T) {
			c := newCall(t, test.w, pipe, false)
			if got := c.run(strings.Fields(test.args)...); got != test.want {
				t.Errorf("exit status %d, want %d; standard error: %s", got, test.want, c.err)
			}
			if !strings.Contains(c.err.String(), test.err) {
				t.Errorf("standard error is %q, want %q in it", c.err, test.err)
			}
			if test.want == 0 && test.err == "" && c.err.String() != "" {
				t.Errorf("it did well and complains: %s", c.err)
			}
		})
	}
}

// What a reload has set going is shown below its plan, unless nobody waits for it.
func TestReloadResults(t *testing.T) {
	done, not := api.Result{Name: "web", OK: true, Message: "started, pid 7"}, api.Result{Name: "queue:1", Message: "exit 1"}
	for _, test := range []struct {
		results []api.Result
		args    []string
		status  int
		out     string
	}{
		{[]api.Result{done}, nil, 0, "web  started, pid 7\n"},
		{[]api.Result{done, not}, nil, exitFailed, "web      started, pid 7\nqueue:1  ✗ exit 1\n"},
		{[]api.Result{done, not}, []string{"--no-wait"}, 0, ""},
		{[]api.Result{not}, []string{"--json"}, exitFailed, ""},
	} {
		p := bigPlan()
		p.Results = test.results
		c := newCall(t, &world{plan: p}, pipe, false)
		if got := c.run(append([]string{"reload"}, test.args...)...); got != test.status {
			t.Errorf("%v: exit status %d", test, got)
		}
		if _, after, _ := strings.Cut(c.out.String(), "gone\n"); after != test.out {
			t.Errorf("%v: got\n%s", test, c.out)
		}
	}
}

// The names are acted on side by side and answered in their order.
func TestActOrder(t *testing.T) {
	last := make(chan struct{})
	w := &world{act: func(verb, pattern string, act api.Act) (*api.Results, error) {
		if !act.NoWait {
			t.Error("--no-wait is lost")
		}
		if pattern == "c" {
			close(last)
		} else {
			<-last // one after the other, this would never come
		}
		return &api.Results{Pending: true, Results: []api.Result{{Name: pattern, OK: true, Message: verb + "ed"}, {Name: "shared", OK: pattern != "a", Message: "by " + pattern}}}, nil
	}}
	c := newCall(t, w, pipe, false)
	if got := c.run("restart", "--no-wait", "a", "b", "c"); got != exitFailed {
		t.Errorf("exit status %d", got)
	}
	want := "a       restarted\nshared  ✗ by a\nb       restarted\nc       restarted\n"
	if c.out.String() != want {
		t.Errorf("got:\n%swant:\n%s", c.out, want)
	}
	if !strings.Contains(c.err.String(), "tend reload") {
		t.Errorf("nothing is said of the pending changes: %q", c.err)
	}
	c = newCall(t, &world{act: func(_, p string, _ api.Act) (*api.Results, error) {
		return &api.Results{Results: []api.Result{{Name: p, OK: true}}}, nil
	}}, pipe, false)
	c.run("stop", "--json", "a", "b")
	var r api.Results
	if err := json.Unmarshal([]byte(c.out.String()), &r); err != nil || len(r.Results) != 2 {
		t.Errorf("%v: %s", err, c.out)
	}
}

func TestCheck(t *testing.T) {
	diagnostics := []api.Diagnostic{
		{Severity: "error", Text: "tend.toml:7: [queue] unknown key \"restrat\"\n    7 | restrat = \"always\"\n      | ^^^^^^^ did you mean \"restart\"?"},
		{Severity: "error", File: "tend.toml", Line: 12, Key: "stop_timeout", Message: "\"soon\" is not a duration", Hint: "use a number with a unit"},
		{Severity: "warning", Text: "tend.toml:2: [web] warns"},
	}
	c := newCall(t, &world{}, 80, true)
	c.app.deps.Check = func(path string) (*api.Check, error) {
		return &api.Check{Diagnostics: diagnostics}, nil
	}
	if got := c.run("check"); got != exitFailed {
		t.Errorf("exit status %d", got)
	}
	golden(t, "check-color", c.err.String())

	c = newCall(t, &world{}, pipe, false)
	c.app.deps.Check = func(path string) (*api.Check, error) {
		if path != "conf.d" {
			t.Errorf("checks %q", path)
		}
		return &api.Check{OK: true, Files: []string{"conf.d/a.toml", "conf.d/b.toml"}, Diagnostics: diagnostics[2:], Programs: []map[string]any{
			{"name": "web", "program": "web"}, {"name": "queue:0", "program": "queue"}, {"name": "queue:1", "program": "queue"}}}, nil
	}
	if got := c.run("check", "-c", "conf.d"); got != 0 {
		t.Errorf("a warning fails: %d", got)
	}
	if want := "✓ conf.d/a.toml and conf.d/b.toml: 2 programs, 3 instances, 1 warning\n"; c.out.String() != want {
		t.Errorf("got %q, want %q", c.out, want)
	}
	if want := "tend.toml:2: [web] warns\n"; c.err.String() != want {
		t.Errorf("got %q, want %q", c.err, want)
	}

	c = newCall(t, &world{}, pipe, false)
	c.app.deps.Schema = func() []byte { return []byte("{}\n") }
	if got := c.run("check", "--schema"); got != 0 || c.out.String() != "{}\n" {
		t.Errorf("--schema: %d, %q", got, c.out)
	}
}

func lines(name string, text ...string) iter.Seq2[api.LogLine, error] {
	return func(yield func(api.LogLine, error) bool) {
		for _, s := range text {
			if !yield(api.LogLine{Name: name, Text: s}, nil) {
				return
			}
		}
	}
}

func TestLogs(t *testing.T) {
	w := &world{list: has(programs()), logs: func(_ context.Context, pattern string, o api.LogOptions) iter.Seq2[api.LogLine, error] {
		if o.Lines != 20 && o.Lines != 5 {
			t.Errorf("asks for %d lines", o.Lines)
		}
		return lines(pattern, "one\ntwo\n", "\x1b[31mthree\n")
	}}
	for _, test := range []struct{ args, want string }{
		{"logs web", "one\ntwo\n\x1b[31mthree\n"},
		{"logs -n 5 web mailer", "web    │ one\nweb    │ two\nweb    │ \x1b[31mthree\nmailer │ one\nmailer │ two\nmailer │ \x1b[31mthree\n"},
	} {
		c := newCall(t, w, pipe, false)
		if got := c.run(strings.Fields(test.args)...); got != 0 || c.out.String() != test.want {
			t.Errorf("%s: exit status %d, got:\n%q\nwant:\n%q", test.args, got, c.out, test.want)
		}
	}
	c := newCall(t, w, 80, true)
	c.run("logs", "web", "mailer")
	golden(t, "logs-color", c.out.String())
}

// A follower outlives its daemon: it waits for the next one, without asking time
// and again, and goes on at its position.
func TestLogsFollowAcrossDaemons(t *testing.T) {
	state := t.TempDir()
	var asked, answers int
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	w := &world{
		list: has(programs()[:1]),
		daemon: func() (*api.Daemon, error) {
			asked++
			if _, err := os.Stat(filepath.Join(state, socketName)); err != nil {
				return nil, api.ErrNoDaemon
			}
			return &api.Daemon{}, nil
		},
		logs: func(_ context.Context, _ string, o api.LogOptions) iter.Seq2[api.LogLine, error] {
			answers++
			return func(yield func(api.LogLine, error) bool) {
				switch answers {
				case 1:
					if yield(api.LogLine{Name: "web", Text: "before\n", Position: "p1"}, nil) {
						yield(api.LogLine{}, io.ErrUnexpectedEOF)
					}
				case 2:
					if o.Since != "p1" {
						t.Errorf("goes on from %q", o.Since)
					}
					if yield(api.LogLine{Name: "web", Text: "after\n", Position: "p2"}, nil) {
						cancel()
						yield(api.LogLine{}, ctx.Err())
					}
				}
			}
		},
	}
	c := newCall(t, w, pipe, false)
	said := make(chan struct{})
	c.app.err.Writer = writerFunc(func(p []byte) (int, error) {
		if strings.Contains(string(p), "waiting for it") {
			close(said)
		}
		return c.err.Write(p)
	})
	done := make(chan int)
	go func() { done <- c.app.main(ctx, []string{"--state", state, "logs", "-f", "web"}) }()
	<-said
	if err := os.WriteFile(filepath.Join(state, socketName), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	<-done
	if want := "before\nafter\n"; c.out.String() != want {
		t.Errorf("got %q, want %q", c.out, want)
	}
	if asked > 3 {
		t.Errorf("asked for the daemon %d times", asked)
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

func TestAwaitSocketEndsWithContext(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	err := awaitSocket(ctx, filepath.Join(t.TempDir(), "s"), func() bool { return false }, cancel)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestEvents(t *testing.T) {
	list := []api.Event{
		{Seq: 1, At: ago(48 * time.Hour), Kind: "daemon.started", Message: "started, pid 812"},
		{Seq: 2, At: now, Kind: "state", Name: "web", To: api.Starting, PID: 42, Message: "started"},
		{Seq: 3, At: now, Kind: "state", Name: "queue:0", To: api.Backoff, Message: "exited 1 after 0.1 s, next try in 1.6 s"},
		{Seq: 4, At: now, Kind: "program.added", Program: "metrics"},
		{Seq: 5, At: now, Kind: "config.rejected", Message: "the configuration has 1 error", Diagnostics: []api.Diagnostic{
			{Text: "tend.toml:7: unknown key\n    7 | restrat = 1\n      | ^^^^^^^\n"}}},
	}
	var since uint64
	w := &world{
		daemon: func() (*api.Daemon, error) { return &api.Daemon{EventSeq: 25}, nil },
		events: func(_ context.Context, from uint64, follow bool) iter.Seq2[api.Event, error] {
			since = from
			return func(yield func(api.Event, error) bool) {
				for n, e := range list {
					if n == 2 && !yield(api.Event{}, errors.New("7 events were missed")) {
						return
					}
					if !yield(e, nil) {
						return
					}
				}
			}
		},
	}
	c := newCall(t, w, 80, false)
	if got := c.run("events"); got != 0 {
		t.Errorf("exit status %d: %s", got, c.err)
	}
	golden(t, "events", c.out.String())
	if want := "! 7 events were missed\n"; c.err.String() != want {
		t.Errorf("got %q, want %q", c.err, want)
	}
	c = newCall(t, w, pipe, false)
	c.run("events", "--json", "--since", "3")
	if got := strings.Count(c.out.String(), "\n"); got != len(list) || since != 3 {
		t.Errorf("%d lines of JSON since %d", got, since)
	}
	c = newCall(t, w, pipe, false)
	if got := c.run("events", "-f"); got != exitFailed || since != 15 {
		t.Errorf("exit status %d, since %d", got, since)
	}
}

func TestDown(t *testing.T) {
	running := true
	w := &world{
		list: has(programs()[:3]),
		daemon: func() (*api.Daemon, error) {
			if !running {
				return nil, api.ErrNoDaemon
			}
			return &api.Daemon{EventSeq: 4}, nil
		},
		shutdown: func(o api.ShutdownOptions) error {
			if !o.Now {
				t.Error("--now is lost")
			}
			return nil
		},
		events: func(_ context.Context, since uint64, _ bool) iter.Seq2[api.Event, error] {
			return func(yield func(api.Event, error) bool) {
				for _, e := range []api.Event{
					{Kind: "state", Name: "queue:1", To: api.Stopping},
					{Kind: "state", Name: "queue:1", To: api.Stopped, Message: "stopped"},
					{Kind: "state", Name: "web", To: api.Stopped},
				} {
					if !yield(e, nil) {
						return
					}
				}
				running = false
				yield(api.Event{}, io.ErrUnexpectedEOF)
			}
		},
	}
	c := newCall(t, w, pipe, false)
	if got := c.run("down", "--now"); got != 0 {
		t.Errorf("exit status %d: %s", got, c.err)
	}
	if want := "queue:1  stopped\nweb      stopped\n✓ all is stopped\n"; c.out.String() != want {
		t.Errorf("got %q, want %q", c.out, want)
	}
}

func TestPlace(t *testing.T) {
	top := t.TempDir()
	inner := filepath.Join(top, "a", "b")
	if err := os.MkdirAll(inner, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Chdir(inner)
	env := map[string]string{}
	find := func(args ...string) place {
		a := newApp(Deps{Stdout: io.Discard, Stderr: io.Discard})
		a.getenv = func(k string) string { return env[k] }
		if err := a.root().ParseFlags(args); err != nil {
			t.Fatal(err)
		}
		root := a.root()
		root.ParseFlags(args)
		return a.place()
	}
	if got := find().socket; got != "/run/tend/tend.sock" {
		t.Errorf("without anything: %s", got)
	}
	if err := os.Mkdir(filepath.Join(top, stateFolder), 0o755); err != nil {
		t.Fatal(err)
	}
	if got, want := find(), (place{filepath.Join(top, ".tend", "tend.sock"), "../../.tend"}); got != want {
		t.Errorf("above: %v, want %v", got, want)
	}
	if err := os.Mkdir(stateFolder, 0o755); err != nil {
		t.Fatal(err)
	}
	if got := find(); got.shown != "./.tend" {
		t.Errorf("here: %v", got)
	}
	env["TEND_STATE"] = "/s"
	if got := find().socket; got != "/s/tend.sock" {
		t.Errorf("$TEND_STATE: %s", got)
	}
	env["TEND_SOCKET"] = "/x.sock"
	if got := find().socket; got != "/x.sock" {
		t.Errorf("$TEND_SOCKET: %s", got)
	}
	if got := find("--state", "/f").socket; got != "/f/tend.sock" {
		t.Errorf("--state: %s", got)
	}
	if got := find("--state", "/f", "--socket", "/g").socket; got != "/g" {
		t.Errorf("--socket: %s", got)
	}
}

func TestInit(t *testing.T) {
	t.Chdir(t.TempDir())
	c := newCall(t, &world{}, pipe, false)
	if got := c.run("init"); got != 0 {
		t.Fatalf("exit status %d: %s", got, c.err)
	}
	text, err := os.ReadFile("tend.toml")
	if err != nil || !bytes.Equal(text, example) {
		t.Errorf("%v: %s", err, text)
	}
	if !strings.Contains(c.out.String(), "tend check; tend up") {
		t.Errorf("it doesn't say what is next: %s", c.out)
	}
	c = newCall(t, &world{}, pipe, false)
	if got := c.run("init"); got != exitFailed || !strings.Contains(c.err.String(), "tend.toml is there already") {
		t.Errorf("it would overwrite: %d, %s", got, c.err)
	}
}

func TestCompletion(t *testing.T) {
	complete := func(w *world, args ...string) string {
		c := newCall(t, w, pipe, false)
		if got := c.run(append([]string{"__completeNoDesc"}, args...)...); got != 0 {
			t.Errorf("exit status %d", got)
		}
		return c.out.String()
	}
	w := &world{list: has(programs()[:3])}
	for _, test := range []struct {
		w    *world
		args []string
		want string
	}{
		{w, []string{"start", ""}, "web\nqueue\nqueue:0\nqueue:1\n:4\n"},
		{w, []string{"start", "web", "que"}, "queue\nqueue:0\nqueue:1\n:4\n"},
		{w, []string{"signal", "US"}, "USR1\nUSR2\n:4\n"},
		{w, []string{"signal", "HUP", "w"}, "web\n:4\n"},
		{&world{}, []string{"logs", ""}, ":4\n"},
		{w, []string{"completion", ""}, "bash\nzsh\nfish\n:4\n"},
	} {
		if got := complete(test.w, test.args...); got != test.want {
			t.Errorf("%q: got %q, want %q", test.args, got, test.want)
		}
	}
}

// Every command and flag is in the help and in the reference, and nothing that
// is shown is wider than a terminal.
func TestHelp(t *testing.T) {
	c := newCall(t, &world{}, 80, false)
	c.run("help")
	overview := c.out.String()
	golden(t, "help", overview)
	markdown := Markdown()
	a := newApp(Deps{})
	for _, cmd := range a.root().Commands() {
		if cmd.Hidden {
			continue
		}
		if !strings.Contains(overview, "\n  "+cmd.Name()+" ") {
			t.Errorf("%s isn't in the help", cmd.Name())
		}
		if !strings.Contains(markdown, "\n### tend "+cmd.Name()+"\n") {
			t.Errorf("%s isn't in the reference", cmd.Name())
		}
		c := newCall(t, &world{}, 80, false)
		c.run("help", cmd.Name())
		if !strings.Contains(c.out.String(), "\nusage\n  tend "+cmd.Name()) {
			t.Errorf("help %s: %s", cmd.Name(), c.out)
		}
		for line := range strings.Lines(c.out.String()) {
			if width(line) > 81 {
				t.Errorf("help %s is wider than 80 columns: %q", cmd.Name(), line)
			}
		}
		for line := range strings.Lines(ownFlags(cmd)) {
			if !strings.Contains(c.out.String(), line) || !strings.Contains(markdown, line) {
				t.Errorf("%s lacks %q", cmd.Name(), line)
			}
		}
	}
	if strings.Contains(markdown, "ready-fd") {
		t.Error("the reference tells of what is hidden")
	}
}

func TestRunOptions(t *testing.T) {
	for _, test := range []struct {
		args string
		want RunOptions
	}{
		{"run", RunOptions{}},
		{"run -c x.toml --state s", RunOptions{Config: "x.toml", State: "s"}},
		{"run -- sleep --help 1", RunOptions{Command: []string{"sleep", "--help", "1"}}},
		{"run --ready-fd 3", RunOptions{ReadyFD: 3, Detached: true}},
	} {
		c := newCall(t, &world{}, pipe, false)
		var got RunOptions
		c.app.deps.Run = func(_ context.Context, o RunOptions) int { got = o; return 7 }
		if status := c.run(strings.Fields(test.args)...); status != 7 {
			t.Errorf("%s: exit status %d", test.args, status)
		}
		if len(got.Command) == 0 {
			got.Command = nil
		}
		if d := cmp.Diff(test.want, got); d != "" {
			t.Errorf("%s (-want +got):\n%s", test.args, d)
		}
	}
}

func TestScreenColor(t *testing.T) {
	for _, test := range []struct {
		env  map[string]string
		want bool
	}{
		{nil, false}, // a buffer is no terminal
		{map[string]string{"CLICOLOR_FORCE": "1"}, true},
		{map[string]string{"CLICOLOR_FORCE": "0"}, false},
		{map[string]string{"CLICOLOR_FORCE": "1", "NO_COLOR": "1"}, false},
	} {
		if got := newScreen(io.Discard, func(k string) string { return test.env[k] }).color; got != test.want {
			t.Errorf("%v: %v", test.env, got)
		}
	}
	c := newCall(t, &world{list: has(programs())}, 80, true)
	c.run("--no-color", "status")
	if strings.Contains(c.out.String(), "\x1b") {
		t.Error("--no-color is coloured")
	}
}

func TestDidYouMean(t *testing.T) {
	for _, test := range []struct{ word, want string }{
		{"statsu", `; did you mean "status"?`}, {"strat", `; did you mean "start"?`}, {"re", `; did you mean "restart"?`}, {"xyz", ""}, {"q", ""},
	} {
		if got := didYouMean(test.word, []string{"start", "status", "restart", "reload", "up"}, ""); got != test.want {
			t.Errorf("didYouMean(%q) = %q, want %q", test.word, got, test.want)
		}
	}
}

// listen makes a socket that answers nothing, as a daemon that hangs.
func listen(t *testing.T, path string) {
	t.Helper()
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
}

// A completion doesn't make anybody wait for a daemon that hangs.
func TestCompletionIsImpatient(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	listen(t, path)
	c := newCall(t, nil, pipe, false)
	c.app.dial = func(socket string) client { return api.Dial(socket) }
	began := time.Now()
	c.run("__completeNoDesc", "--socket", path, "start", "")
	if took := time.Since(began); took > 10*patience {
		t.Errorf("took %v", took)
	}
	if c.out.String() != ":4\n" {
		t.Errorf("got %q", c.out)
	}
}

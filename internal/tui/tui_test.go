package tui

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/x/ansi"
	"github.com/google/go-cmp/cmp"

	"tend/api"
)

var update = flag.Bool("update", false, "write the screens that are seen as those that are wanted")

// noon is when it is in the tests.
var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// fake is a daemon that knows what it is given and remembers what it is asked.
type fake struct {
	list  []api.Instance
	plan  *api.Plan
	asked []string
}

func (f *fake) Instances(context.Context) ([]api.Instance, error) { return f.list, nil }

func (f *fake) Program(_ context.Context, name string) (*api.Program, error) {
	p := &api.Program{Name: name, File: "/srv/tend.toml", Line: 7, Config: map[string]any{
		"command": "./web --port 8080", "after": []any{"db"}, "restart": "always", "stop_timeout": 10.0, "umask": ""}}
	for _, i := range f.list {
		if i.Name == name || i.Program == name {
			open, pss, busy := int64(24), int64(40_000_000), 0.25
			i.Usage = &api.Usage{CPUSeconds: 3720, Processes: 8, Threads: 15, ResidentBytes: 48_000_000, ProportionalBytes: &pss, Descriptors: &open}
			i.Processes = []api.Process{
				{PID: 41207, Parent: 812, Command: "php -S 127.0.0.1:8000 -t public", CPUPercent: &busy, MemoryBytes: 31_000_000, Threads: 1},
				{PID: 41220, Parent: 41207, Command: "php \x1b[31mworker.php --queue=default,high --timeout=60 --sleep=3 --tries=3 --memory=128", CPUPercent: &busy, MemoryBytes: 12_000_000, Threads: 8},
				{PID: 41231, Parent: 41220, Command: "sh -c true", MemoryBytes: 1_000_000, Threads: 1},
				{PID: 41228, Parent: 41207, MemoryBytes: 4_000_000, Threads: 2},
				{PID: 41302, Parent: 1, Command: "[defunct]", CPUPercent: &busy, Threads: 1},
			}
			p.Instances = append(p.Instances, i)
		}
	}
	return p, nil
}

func (f *fake) Why(_ context.Context, name string) ([]api.Why, error) {
	return []api.Why{{Name: name, Program: name, Text: name + " is in backoff: it exited with status 1 four times in a row, 0.1 s after each start. The next try is in 1.6 s; waits grow to 30 s.",
		Lines: []string{"error: SMTP_URL is not set\x1b[2J"}, Does: "see what it printed", Do: "tend logs " + name,
		Ends: []api.End{{Exit: api.Exit{Reason: "exit 1", At: noon.Add(-2 * time.Second)}, UptimeSeconds: 0.1, Times: 4}}}}, nil
}

func (f *fake) History(_ context.Context, name string, _ api.HistoryOptions) ([]api.Run, error) {
	f.asked = append(f.asked, "history "+name)
	if name != "web" {
		return []api.Run{}, nil
	}
	run := func(gen uint64, started, lasted time.Duration, r api.Run) api.Run {
		ready, ended, seconds, cpu := noon.Add(time.Second-started), noon.Add(lasted-started), lasted.Seconds(), 75.5
		r.Name, r.Program, r.Generation, r.PID, r.Started, r.Ready, r.Seconds, r.CPUSeconds = "web", "web", gen, 41200+int(gen), noon.Add(-started), &ready, &seconds, &cpu
		if !r.Running {
			r.Ended = &ended
		}
		return r
	}
	code, peak := 1, int64(1_900_000_000)
	return []api.Run{
		run(7, time.Minute, time.Minute, api.Run{Running: true}),
		run(6, 52*time.Hour, 51*time.Hour, api.Run{Signal: "TERM", Wished: true, Reason: "restarted by a reload (signal TERM)", PeakMemoryAtMost: &peak}),
		run(5, 53*time.Hour, time.Hour, api.Run{Code: &code, Reason: "exit 1", PeakMemoryBytes: &peak, Lines: []string{"bye", "error: no room\x1b[2J left"}}),
		{Name: "web", Program: "web", Generation: 4, PID: 41204, Started: noon.Add(-99 * time.Hour), Unknown: true, Reason: "the machine went down"},
	}, nil
}

func (f *fake) Act(_ context.Context, verb, pattern string, act api.Act) (*api.Results, error) {
	f.asked = append(f.asked, fmt.Sprintf("%s %s %+v", verb, pattern, act))
	return &api.Results{Results: []api.Result{{Name: pattern, OK: true, Message: verb + " done"}}}, nil
}

func (f *fake) Plan(context.Context) (*api.Plan, error) { return f.plan, nil }

func (f *fake) Reload(_ context.Context, o api.ReloadOptions) (*api.Plan, error) {
	f.asked = append(f.asked, fmt.Sprintf("reload %+v", o))
	return f.plan, nil
}

func (f *fake) Daemon(context.Context) (*api.Daemon, error) {
	return &api.Daemon{PID: 812, Version: "1.2", Started: noon.Add(-26 * time.Hour), EventSeq: 3}, nil
}

func (f *fake) Events(context.Context, uint64, bool) iter.Seq2[api.Event, error] {
	return func(func(api.Event, error) bool) {}
}

func (f *fake) Logs(context.Context, string, api.LogOptions) iter.Seq2[api.LogLine, error] {
	return func(func(api.LogLine, error) bool) {}
}

func running(name, program string, up time.Duration, cpu float64, memory int64) api.Instance {
	return api.Instance{Name: name, Program: program, State: api.Running, Ready: true, Enabled: true, Wanted: true, PID: 41207,
		Generation: 2, Since: noon.Add(-up), UptimeSeconds: up.Seconds(), CPUPercent: &cpu, MemoryBytes: &memory}
}

// world is the programs of the sketch in the documentation.
func world() []api.Instance {
	web := running("web", "web", 52*time.Hour, 0.3, 48_000_000)
	web.Restarts, web.LastExit = 1, &api.Exit{Signal: "KILL", Reason: "signal KILL", At: noon.Add(-52 * time.Hour)}
	next, again := noon.Add(14*time.Hour), noon.Add(1600*time.Millisecond)
	return []api.Instance{
		web,
		running("queue:0", "queue", 52*time.Hour, 12, 91_000_000),
		running("queue:1", "queue", 3*time.Minute, 11, 90_000_000),
		{Name: "mailer", Program: "mailer", State: api.Backoff, Enabled: true, Wanted: true, Restarts: 4, Since: noon.Add(-2 * time.Second), NextRun: &again,
			LastExit: &api.Exit{Code: 1, Reason: "exit 1", At: noon.Add(-2 * time.Second)}, Message: "exit 1 after 0.1 s, next try in 1.6 s (4th)"},
		{Name: "nightly", Program: "nightly", State: api.Waiting, Idle: true, Enabled: true, Wanted: true, NextRun: &next, Since: noon.Add(-time.Hour)},
	}
}

// newTest returns a model on a screen of that size that has heard of world.
func newTest(t *testing.T, width, height int) (*model, *fake) {
	t.Helper()
	f := &fake{list: world()}
	m := newModel(t.Context(), newFeed(f), Options{Place: "./.tend"})
	m.now = noon
	send(m, tea.WindowSizeMsg{Width: width, Height: height})
	d, _ := f.Daemon(t.Context())
	for n := range 30 { // figures for the curves, which rise and fall
		at := noon.Add(time.Duration(n-29) * time.Second)
		list := world()
		for i := range list {
			if list[i].CPUPercent != nil {
				cpu := *list[i].CPUPercent * float64(1+n%6)
				if n < 29 {
					list[i].CPUPercent = &cpu
				}
			}
		}
		send(m, news{at: at, list: list, daemon: d})
	}
	send(m, happened{
		{Seq: 1, At: noon.Add(-time.Minute), Kind: "state", Name: "web", Program: "web", From: api.Stopped, To: api.Starting, PID: 41207, Message: "started"},
		{Seq: 2, At: noon.Add(-58 * time.Second), Kind: "state", Name: "web", Program: "web", From: api.Starting, To: api.Running, Message: "ready"},
		{Seq: 3, At: noon.Add(-2 * time.Second), Kind: "state", Name: "mailer", Program: "mailer", From: api.Starting, To: api.Backoff, Message: "exit 1 after 0.1 s"},
	})
	return m, f
}

// send gives m a message, and those that its commands answer with.
func send(m *model, msg tea.Msg) {
	_, cmd := m.Update(msg)
	settle(m, cmd)
}

func settle(m *model, cmd tea.Cmd) {
	if cmd == nil {
		return
	}
	switch msg := cmd().(type) {
	case nil:
	default:
		_, next := m.Update(msg)
		settle(m, next)
	}
}

// press presses keys, by name.
func press(m *model, keys ...string) {
	codes := map[string]rune{"enter": tea.KeyEnter, "esc": tea.KeyEscape, "up": tea.KeyUp, "down": tea.KeyDown, "space": tea.KeySpace, "tab": tea.KeyTab}
	for _, k := range keys {
		if code, ok := codes[k]; ok {
			send(m, tea.KeyPressMsg{Code: code})
			continue
		}
		for _, r := range k {
			_, cmd := m.Update(tea.KeyPressMsg{Code: r, Text: string(r)})
			if m.input() == nil { // an input line answers with the blinking of its cursor
				settle(m, cmd)
			}
		}
	}
}

// screen returns what is seen, and checks that it fits.
func screen(t *testing.T, m *model) string {
	t.Helper()
	s := ansi.Strip(m.View().Content)
	lines := strings.Split(s, "\n")
	if len(lines) > m.height {
		t.Errorf("%d lines on a screen of %d", len(lines), m.height)
	}
	for n, l := range lines {
		if w := ansi.StringWidth(l); w > m.width {
			t.Errorf("line %d has %d columns of %d: %q", n+1, w, m.width, l)
		}
		lines[n] = strings.TrimRight(l, " ")
	}
	return strings.Join(lines, "\n") + "\n"
}

// TestScreens compares whole screens with those in testdata, in two sizes.
func TestScreens(t *testing.T) {
	lost := fmt.Errorf("%w on ./.tend/tend.sock", api.ErrNoDaemon)
	tests := []struct {
		name string
		do   func(m *model, f *fake)
	}{
		{"list", func(*model, *fake) {}},
		{"filter", func(m *model, _ *fake) { press(m, "/", "que") }},
		{"nothing", func(m *model, _ *fake) { press(m, "/", "nobody", "enter") }},
		{"folded", func(m *model, _ *fake) { press(m, "down", "space", "down", "o") }},
		{"log", func(m *model, _ *fake) {
			press(m, "enter")
			send(m, printed{page: m.page, lines: []api.LogLine{
				{Name: "web", Text: "\x1b[32mGET\x1b[0m /health 200\n\x1b[2J\x1b]0;evil\a\tindented\n"}, {Name: "web", Text: "last\n"}}})
		}},
		{"group", func(m *model, _ *fake) {
			press(m, "down", "enter")
			send(m, printed{page: m.page, lines: []api.LogLine{{Name: "queue:0", Text: "job 1\n"}, {Name: "queue:1", Text: "job 2\n"}}})
		}},
		{"why", func(m *model, _ *fake) { press(m, "G", "up", "enter", "2") }},
		{"history", func(m *model, _ *fake) { press(m, "enter", "3") }},
		{"configuration", func(m *model, _ *fake) { press(m, "enter", "4") }},
		{"processes", func(m *model, _ *fake) { press(m, "enter", "tab", "tab", "tab", "tab") }},
		{"cut-off", func(m *model, _ *fake) {
			send(m, news{at: noon, err: lost})
			send(m, news{at: noon.Add(5 * time.Second), err: lost})
		}},
		{"confirm", func(m *model, _ *fake) { press(m, "down", "r") }},
		{"signal", func(m *model, _ *fake) { press(m, "K", "down") }},
		{"plan", func(m *model, f *fake) {
			f.plan = &api.Plan{Unchanged: 14, Items: []api.PlanItem{
				{Program: "queue", Action: api.PlanRestart, Summary: "2 instances", Changes: []api.PlanChange{{Key: "command", Apply: "restart", Old: "php artisan queue:work", New: "php artisan queue:work --tries=3"}}},
				{Program: "metrics", Action: api.PlanStart, Summary: "./bin/metrics --port 9100"}, {Program: "legacy", Action: api.PlanDrain}}}
			press(m, "p")
		}},
		{"help", func(m *model, _ *fake) { press(m, "?") }},
	}
	for _, test := range tests {
		for _, size := range [][2]int{{80, 24}, {120, 40}} {
			name := fmt.Sprintf("%s-%dx%d", test.name, size[0], size[1])
			t.Run(name, func(t *testing.T) {
				m, f := newTest(t, size[0], size[1])
				test.do(m, f)
				got, file := screen(t, m), filepath.Join("testdata", name+".txt")
				if *update {
					if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
						t.Fatal(err)
					}
				}
				want, err := os.ReadFile(file)
				if err != nil {
					t.Fatal(err)
				}
				if d := cmp.Diff(string(want), got); d != "" {
					t.Errorf("another screen than in %s (-update takes it over):\n%s", file, d)
				}
			})
		}
	}
}

// TestSizes: every screen fits into every terminal, however small.
func TestSizes(t *testing.T) {
	for _, keys := range [][]string{{}, {"?"}, {"x"}, {"K"}, {"p"}, {"enter"}, {"enter", "2"}, {"enter", "3"}, {"enter", "4"}, {"enter", "5"}, {"/", "q"}} {
		for width := 1; width <= 200; width += 7 {
			for _, height := range []int{1, 6, 7, 10, 24, 60} {
				m, f := newTest(t, width, height)
				f.plan = &api.Plan{Items: []api.PlanItem{{Program: strings.Repeat("long", 20), Action: api.PlanStart, Summary: strings.Repeat("x", 300)}}}
				press(m, keys...)
				if s := screen(t, m); !utf8.ValidString(s) || t.Failed() {
					t.Fatalf("keys %q at %d × %d:\n%s", keys, width, height, s)
				}
			}
		}
	}
}

// TestSelection: what is selected is meant by name, wherever it moves to.
func TestSelection(t *testing.T) {
	m, f := newTest(t, 80, 24)
	d, _ := f.Daemon(t.Context())
	press(m, "G", "up") // mailer
	if r, _ := m.current(); r.key != "mailer" {
		t.Fatalf("%q is selected", r.key)
	}
	list := append([]api.Instance{running("alpha", "alpha", time.Hour, 1, 1)}, world()...)
	send(m, news{at: noon, list: list, daemon: d})
	if r, _ := m.current(); r.key != "mailer" {
		t.Errorf("after one came before it, %q is selected", r.key)
	}
	press(m, "o") // by state: it is the worst
	if r, _ := m.current(); r.key != "mailer" || m.cursor != 0 {
		t.Errorf("sorted, %q at %d is selected", r.key, m.cursor)
	}
	send(m, news{at: noon, list: list[:2], daemon: d})
	if r, some := m.current(); !some || r.key == "mailer" {
		t.Errorf("after it went, %q is selected", r.key)
	}
	send(m, news{at: noon, list: nil, daemon: d})
	press(m, "x", "enter", "down", "s", "space") // with nothing there, nothing is done
	if len(f.asked) > 0 || m.dialog != nil || m.page != nil {
		t.Errorf("on an empty list something was done: %q", f.asked)
	}
}

// TestAsks: what ends something is done after a yes, and only then.
func TestAsks(t *testing.T) {
	tests := []struct {
		keys []string
		want []string
	}{
		{[]string{"s"}, []string{"start web {NoWait:false Signal: Rolling:false}"}},
		{[]string{"x"}, nil},
		{[]string{"x", "n"}, nil},
		{[]string{"x", "esc", "y"}, nil},
		{[]string{"x", "y"}, []string{"stop web {NoWait:false Signal: Rolling:false}"}},
		{[]string{"r", "o"}, nil}, // there is but one of it
		{[]string{"r", "y"}, []string{"restart web {NoWait:false Signal: Rolling:false}"}},
		{[]string{"down", "r", "o"}, []string{"restart queue {NoWait:false Signal: Rolling:true}"}},
		{[]string{"down", "down", "x", "y"}, []string{"stop queue:0 {NoWait:false Signal: Rolling:false}"}},
		{[]string{"K", "esc"}, nil},
		{[]string{"K", "down", "enter"}, []string{"signal web {NoWait:false Signal:TERM Rolling:false}"}},
		{[]string{"R", "y"}, []string{"run web {NoWait:true Signal: Rolling:false}"}},
		{[]string{"enter", "x", "y"}, []string{"stop web {NoWait:false Signal: Rolling:false}"}},
		{[]string{"p", "a"}, nil},
		{[]string{"p", "a", "n"}, nil},
		{[]string{"p", "y"}, nil},
		{[]string{"p", "a", "y"}, []string{"reload {AllowEmpty:true Wait:false}"}},
		{[]string{"/", "x", "y", "enter"}, nil}, // typed, not pressed
	}
	for _, test := range tests {
		t.Run(strings.Join(test.keys, " "), func(t *testing.T) {
			m, f := newTest(t, 80, 24)
			f.plan = &api.Plan{Empties: true, Items: []api.PlanItem{{Program: "web", Action: api.PlanStop}}}
			press(m, test.keys...)
			if d := cmp.Diff(test.want, f.asked); d != "" {
				t.Error(d)
			}
		})
	}
}

// TestCutOff: that the daemon is away is said, and so is that it is back.
func TestCutOff(t *testing.T) {
	m, f := newTest(t, 80, 24)
	send(m, news{at: noon, err: errors.New("the daemon has gone away")})
	send(m, news{at: noon.Add(3 * time.Second), err: errors.New("the daemon has gone away")})
	if s := screen(t, m); !strings.Contains(s, "cut off 3 s") || !strings.Contains(s, "gone away") || !strings.Contains(s, "web") {
		t.Errorf("it isn't said that this is old:\n%s", s)
	}
	d, _ := f.Daemon(t.Context())
	send(m, news{at: noon.Add(4 * time.Second), list: world(), daemon: d})
	if s := screen(t, m); strings.Contains(s, "cut off") || !strings.Contains(s, "● live") {
		t.Errorf("it isn't said that it is back:\n%s", s)
	}
}

// TestLog: it follows its end, stays where somebody reads, and is searched.
func TestLog(t *testing.T) {
	m, _ := newTest(t, 80, 24)
	press(m, "enter")
	out := func(from, to int) {
		for n := from; n < to; n++ {
			send(m, printed{page: m.page, lines: []api.LogLine{{Name: "web", Text: fmt.Sprintf("line %d.\n", n)}}})
		}
	}
	sees := func(want string, yes bool) {
		t.Helper()
		if s := screen(t, m); strings.Contains(s, want) != yes {
			t.Errorf("%q is there: %v\n%s", want, !yes, s)
		}
	}
	out(0, 100)
	sees("line 99.", true)
	sees("following", true)
	press(m, "up")
	out(100, 110)
	sees("line 98.", true)
	sees("line 99.", false)
	sees("10 lines more below", true)
	press(m, "/", "LINE 42.", "enter")
	sees("line 42.", true)
	sees("in 1 line", true)
	press(m, "G")
	sees("line 109.", true)
	out(110, keptLines+200)
	if len(m.page.lines) > keptLines {
		t.Errorf("%d lines are held", len(m.page.lines))
	}
	sees(fmt.Sprintf("line %d.", keptLines+199), true)
}

// TestTame: of what a program prints, colours reach the terminal and nothing else.
func TestTame(t *testing.T) {
	for in, want := range map[string]string{
		"plain":                       "plain",
		"\x1b[31mred\x1b[0m":          "\x1b[31mred\x1b[0m\x1b[m",
		"\x1b[2Jgone\x1b[5;5H":        "gone",
		"\x1b]52;c;ZXZpbA==\aclip":    "clip",
		"\x1b[?1049lscreen\x1b[>4;2m": "screen",
		"a\tb":                        "a       b",
		"bell\a\b\r":                  "bell",
		"wide 世界":                     "wide 世界",
		"\x1bP1;1|17/ab\x1b\\dcs":     "dcs",
		"cut \x1b[3":                  "cut ",
	} {
		if got, plain := tame(in); got != want || plain != ansi.Strip(want) {
			t.Errorf("tame(%q) = %q, %q, want %q", in, got, plain, want)
		}
	}
}

// TestPlot: what is known is seen, however small; what isn't is blank.
func TestPlot(t *testing.T) {
	var r record
	r.add([]api.Instance{running("web", "web", time.Hour, 0, 100)})
	r.add([]api.Instance{running("web", "web", time.Hour, 80, 100), running("new", "web", time.Hour, 20, 5)})
	list := []api.Instance{{Name: "web"}, {Name: "new"}}
	got := r.recent([]*api.Instance{&list[0], &list[1]}, 3, ofCPU)
	if s := spark(got, 100); s != " ▁▆" {
		t.Errorf("%v is drawn as %q", got, s)
	}
	if lines := plot([]float64{100, 50}, 2, 100); lines[0] != "▅ " || lines[1] != "█▆" {
		t.Errorf("on two lines: %q", lines)
	}
	r.add(nil)
	if len(r.of) != 0 {
		t.Error("who is gone is remembered")
	}
}

func thousand() []api.Instance {
	var list []api.Instance
	for n := range 1000 {
		list = append(list, running(fmt.Sprintf("program-%04d", n), fmt.Sprintf("program-%04d", n), time.Duration(n)*time.Second, float64(n%100), int64(n)*1e6))
	}
	return list
}

// BenchmarkView draws a list of 1,000 instances; BenchmarkNews takes one in, with
// sorting it.
func BenchmarkView(b *testing.B) {
	m := newModel(b.Context(), newFeed(&fake{}), Options{})
	m.width, m.height = 120, 40
	d, _ := (&fake{}).Daemon(b.Context())
	m.Update(news{at: noon, list: thousand(), daemon: d})
	for b.Loop() {
		m.View()
	}
}

func BenchmarkNews(b *testing.B) {
	m := newModel(b.Context(), newFeed(&fake{}), Options{})
	m.order = byCPU
	d, _ := (&fake{}).Daemon(b.Context())
	list, at := thousand(), noon
	for b.Loop() {
		at = at.Add(time.Second)
		m.Update(news{at: at, list: list, daemon: d})
	}
}

// TestMouse: it is off until it is switched on; then a click chooses and opens, turns to
// a tab, and the wheel scrolls, but no question takes it for an answer.
func TestMouse(t *testing.T) {
	m, _ := newTest(t, 80, 24)
	if m.View().MouseMode != tea.MouseModeNone {
		t.Error("the mouse is on to begin with")
	}
	press(m, "m")
	if m.View().MouseMode != tea.MouseModeCellMotion {
		t.Error("the mouse isn't on")
	}
	lines := strings.Split(screen(t, m), "\n")
	line := func(text string) int {
		return slices.IndexFunc(lines, func(l string) bool { return strings.Contains(l, text) })
	}
	click := func(x, y int) { send(m, tea.MouseClickMsg{X: x, Y: y, Button: tea.MouseLeft}) }
	click(5, line("queue:1"))
	if r, _ := m.current(); r.key != "queue:1" || m.page != nil {
		t.Errorf("a click has chosen %q", r.key)
	}
	click(5, 0)
	click(5, 22)
	if r, _ := m.current(); r.key != "queue:1" {
		t.Errorf("a click beside the list has chosen %q", r.key)
	}
	send(m, tea.MouseWheelMsg{Button: tea.MouseWheelUp})
	if m.cursor != 0 {
		t.Errorf("the wheel leads to row %d", m.cursor)
	}
	press(m, "x")
	send(m, tea.MouseWheelMsg{Button: tea.MouseWheelDown})
	click(5, line("queue:1"))
	if m.dialog == nil || m.cursor != 0 {
		t.Error("a question was answered by the mouse")
	}
	press(m, "n")
	click(5, line("web"))
	if m.page == nil || m.page.name != "web" {
		t.Fatal("a click on what is chosen doesn't open it")
	}
	tabs := strings.Split(screen(t, m), "\n")[tabsAt]
	for n, name := range tabNames {
		at := ansi.StringWidth(tabs[:strings.Index(tabs, name)])
		if click(at, tabsAt); m.page.tab != n {
			t.Errorf("a click on %s leads to %s", name, tabNames[m.page.tab])
		}
		if tabAt(at+len(name)) == n || tabAt(at-3) == n {
			t.Errorf("beside %s is %s as well", name, name)
		}
	}
	press(m, "m")
	if m.View().MouseMode != tea.MouseModeNone {
		t.Error("the mouse is still on")
	}
}

// TestMoments: what the daemon still holds as an event and has kept as a run is
// told once.
func TestMoments(t *testing.T) {
	at := func(d time.Duration) time.Time { return noon.Add(d) }
	ended, seconds, memory := at(-time.Second), 59.0, int64(48_000_000)
	exit := &api.Exit{Signal: "TERM", At: ended.Add(time.Microsecond), Reason: "signal TERM"}
	events := []api.Event{
		{Seq: 1, At: at(-time.Minute), Kind: "state", Name: "web", Program: "web", From: api.Stopped, To: api.Starting, PID: 7, Message: "started"},
		{Seq: 2, At: at(-30 * time.Second), Kind: "state", Name: "web", Program: "web", From: api.Starting, To: api.Running, Message: "running"},
		{Seq: 3, At: at(-2 * time.Second), Kind: "state", Name: "web", Program: "web", From: api.Running, To: api.Stopping, Message: "told to stop"},
		{Seq: 4, At: at(0), Kind: "state", Name: "web", Program: "web", From: api.Stopping, To: api.Stopped, Message: "stopped", Exit: exit},
		{Seq: 5, At: at(0), Kind: "state", Name: "other", Program: "web", From: api.Stopping, To: api.Stopped, Message: "stopped", Exit: exit},
	}
	run := api.Run{Name: "web", Program: "web", PID: 7, Started: at(-time.Minute).Add(time.Millisecond), Ended: &ended, Seconds: &seconds, Signal: "TERM", Wished: true,
		Reason: "stopped by hand (signal TERM)", PeakMemoryBytes: &memory}
	before := run
	before.PID, before.Started, before.Ended = 6, at(-time.Hour), ptr(at(-2*time.Minute))
	var got []string
	for _, m := range moments(events, []api.Run{run, before}, "web") {
		got = append(got, m.word+": "+m.text)
	}
	want := []string{
		"starting: started, pid 6", "ended: stopped by hand (signal TERM) after 59 s, 48 MB",
		"starting: started, pid 7", "running: ", "stopping: told to stop", "stopped: stopped by hand (signal TERM) after 59 s, 48 MB",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func ptr[T any](v T) *T { return &v }

// TestHistoryAsked: the history is asked for when it is seen, and again when
// something has happened or another daemon answers, not with every look.
func TestHistoryAsked(t *testing.T) {
	m, f := newTest(t, 80, 24)
	asked := func(want int) {
		t.Helper()
		n := 0
		for _, what := range f.asked {
			if what == "history web" {
				n++
			}
		}
		if n != want {
			t.Errorf("asked %d times, not %d", n, want)
		}
	}
	d, _ := f.Daemon(t.Context())
	look := func(err error) { send(m, news{at: m.now.Add(time.Second), list: f.list, daemon: d, err: err}) }
	press(m, "enter")
	look(nil)
	asked(0)
	press(m, "3")
	look(nil)
	look(nil)
	asked(1)
	send(m, happened{{Seq: 9, At: m.now, Kind: "state", Name: "mailer", Program: "mailer", To: api.Backoff}})
	look(nil)
	asked(1)
	send(m, happened{{Seq: 10, At: m.now, Kind: "state", Name: "web", Program: "web", To: api.Backoff}})
	look(nil)
	asked(2)
	look(errors.New("cut off"))
	look(nil)
	asked(3)
}

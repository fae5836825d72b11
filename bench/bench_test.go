package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pelletier/go-toml/v2"
)

// tools holds the compiled programs, or why there are none.
var tools struct {
	probe, limit string
	err          error
}

func TestMain(m *testing.M) {
	if err := becomeSubreaper(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	dir, err := os.MkdirTemp("", "tend-bench-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	if tools.probe, tools.err = compileProbe(dir); tools.err == nil {
		tools.limit, tools.err = compileLimit(dir)
	}
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// testFleet launches n programs under the contender; nothing outlives the test.
func testFleet(t *testing.T, c *contender, ps []program) *fleet {
	t.Helper()
	f, err := launch(t.Context(), c, tools.probe, ps, 30*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		f.close()
		for _, dir := range []string{f.dir, f.board.dir} {
			if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("%s is still there", dir)
			}
		}
		if left := children(t); len(left) > 0 {
			t.Errorf("processes are still there: %v", left)
		}
	})
	return f
}

func children(t *testing.T) []int {
	t.Helper()
	all, err := processes()
	if err != nil {
		t.Fatal(err)
	}
	var pids []int
	for pid, p := range all {
		if p.ppid == os.Getpid() {
			pids = append(pids, pid)
		}
	}
	return pids
}

func needCompiler(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath("cc"); err != nil && os.Getenv("CC") == "" {
		t.Skip("no C compiler")
	}
	if tools.err != nil {
		t.Fatal(tools.err)
	}
}

func TestLife(t *testing.T) {
	needCompiler(t)
	const n = 20
	f := testFleet(t, limit(tools.limit), programs(n))
	fromStart, fromFirst, err := f.bringUp()
	if err != nil {
		t.Fatal(err)
	}
	if fromFirst <= 0 || fromStart <= fromFirst {
		t.Errorf("up after %v, %v of it from the first to the last", fromStart, fromFirst)
	}

	side, err := supervisorSide(f.root, f.probe)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(side, []int{f.root}) {
		t.Errorf("the supervisor's side is %v, want its root %d alone", side, f.root)
	}
	if bytes, err := pss(side); err != nil || bytes < 4096 {
		t.Errorf("pss = %d, %v", bytes, err)
	}
	before, err := used(side)
	if err != nil {
		t.Fatal(err)
	}

	for _, slot := range []int{0, n - 1} {
		old := f.board.slots[slot].pid
		took, err := f.kill(slot)
		if err != nil {
			t.Fatal(err)
		}
		if took <= 0 || took > 10*time.Second {
			t.Errorf("restart took %v", took)
		}
		if f.board.slots[slot].pid == old {
			t.Errorf("slot %d has its old pid %d", slot, old)
		}
	}
	after, err := used(side)
	if err != nil {
		t.Fatal(err)
	}
	if after.switches < before.switches+2 || after.cpu < before.cpu {
		t.Errorf("two restarts took it from %+v to %+v", before, after)
	}

	gone, all, err := f.stop(syscall.SIGTERM)
	if err != nil {
		t.Fatal(err)
	}
	if gone <= 0 || all < gone {
		t.Errorf("programs gone after %v, all after %v", gone, all)
	}
}

// A supervisor that ends without its programs must not count as a stop.
func TestStopTellsOfWhatIsLeft(t *testing.T) {
	needCompiler(t)
	f := testFleet(t, limit(tools.limit), programs(3))
	if _, _, err := f.bringUp(); err != nil {
		t.Fatal(err)
	}
	f.timeout = time.Millisecond
	_, _, err := f.stop(syscall.SIGKILL)
	if !errors.Is(err, errTimeout) {
		t.Errorf("stop = %v, want a timeout: KILL leaves the programs", err)
	}
}

func TestStartsThatNeverCome(t *testing.T) {
	needCompiler(t)
	dead := limit(tools.limit)
	dead.command = func(*fleet) []string { return []string{"/bin/sh", "-c", "echo no such option >&2; exit 2"} }
	f := testFleet(t, dead, programs(1))
	_, _, err := f.bringUp()
	if err == nil || !strings.Contains(err.Error(), "the supervisor ended; it said: no such option") {
		t.Errorf("bringUp = %v, want that the supervisor ended, and its words", err)
	}

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	f = testFleet(t, limit(tools.limit), nil)
	f.ctx = ctx
	f.board.expect(1)
	if err := f.await(); !errors.Is(err, context.Canceled) {
		t.Errorf("await = %v, want %v", err, context.Canceled)
	}
}

// Each program writes into its own slot, also with a suffix, and x ends it.
func TestProbe(t *testing.T) {
	needCompiler(t)
	b, err := newBoard(12)
	if err != nil {
		t.Fatal(err)
	}
	defer b.close()
	p := program{slot: 11, change: 3, exits: true}
	b.expect(2)
	began := now()
	for range 2 {
		cmd := exec.Command(tools.probe, p.arg(b))
		cmd.Run()
		if got := cmd.ProcessState.ExitCode(); got != 1 {
			t.Errorf("exit status %d, want 1", got)
		}
		if got := int(b.slots[11].pid); got != cmd.ProcessState.Pid() {
			t.Errorf("pid %d, want %d", got, cmd.ProcessState.Pid())
		}
	}
	if err := b.wait(0); err != nil {
		t.Error(err)
	}
	if got := b.slots[11].starts; got != 2 || b.starts() != 2 {
		t.Errorf("%d starts in the slot, %d in all, want 2 and 2", got, b.starts())
	}
	if at := b.slots[11].at; at < began || at > now() {
		t.Errorf("started at %d, not between %d and now", at, began)
	}
	if err := b.waitGone(time.Second); err != nil {
		t.Errorf("waitGone = %v after the last one ended", err)
	}
	b.expect(1)
	if err := b.wait(time.Millisecond); !errors.Is(err, errTimeout) {
		t.Errorf("wait = %v, want %v", err, errTimeout)
	}
}

// The peers that are here do what the scenarios take for granted.
func TestPeers(t *testing.T) {
	needCompiler(t)
	if testing.Short() {
		t.Skip("takes seconds")
	}
	for _, c := range []*contender{supervisord(), runit(), s6()} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := c.version(); errors.Is(err, errAbsent) {
				t.Skip(err)
			} else if err != nil {
				t.Fatal(err)
			}
			f := testFleet(t, c, programs(3))
			if _, _, err := f.bringUp(); err != nil {
				t.Fatal(err)
			}
			f.programs[2].change++
			if err := c.reconfigure(f, 2); err != nil {
				t.Fatal(err)
			}
			if c.statusAPI != nil {
				socket, ask := c.statusAPI(f)
				if err := f.awaitSocket(socket); err != nil {
					t.Fatal(err)
				}
				if err := ask(); err != nil {
					t.Error(err)
				}
			}
			var command int
			if _, err := f.renew(2, func() (err error) {
				command, err = start(c.reloadCommand(f, 2), f.dir, f.log())
				return err
			}); err != nil {
				t.Fatal(err)
			}
			if err := reap(command); err != nil {
				t.Error(err)
			}
			// Not the old one again: it runs what was changed.
			cmdline, err := os.ReadFile("/proc/" + strconv.Itoa(int(f.board.slots[2].pid)) + "/cmdline")
			if want := f.programs[2].arg(f.board); err != nil || !strings.Contains(string(cmdline), want) {
				t.Errorf("the changed program runs as %q, %v; want %s", cmdline, err, want)
			}
			argv := c.statusCommand(f)
			out, _ := exec.Command(argv[0], argv[1:]...).Output()
			if got := strings.Count(string(out), "\n"); got < 3 {
				t.Errorf("the status has %d lines for 3 programs:\n%s", got, out)
			}
			if _, _, err := f.stop(c.stop); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestTendConfiguration(t *testing.T) {
	c := tend("/bin/tend")
	f := &fleet{probe: "/bin/probe", dir: t.TempDir(), board: &board{dir: "/dev/shm/b"}}
	f.programs = programs(2)
	f.programs[1] = program{slot: 1, change: 2, exits: true}
	type table struct {
		Reload  string
		Command []string
		Enabled *bool
		Backoff map[string]any
	}
	read := func() map[string]table {
		t.Helper()
		if err := c.configure(f); err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(filepath.Join(f.dir, "tend.toml"))
		if err != nil {
			t.Fatal(err)
		}
		got := make(map[string]table)
		if err := toml.Unmarshal(text, &got); err != nil {
			t.Fatalf("%v in\n%s", err, text)
		}
		return got
	}
	got := read()
	if len(got) != 3 || got["tend"].Reload != "manual" ||
		!slices.Equal(got["p0000"].Command, []string{"/bin/probe", "/dev/shm/b:0"}) || got["p0000"].Backoff != nil ||
		!slices.Equal(got["p0001"].Command, []string{"/bin/probe", "/dev/shm/b:1x,2"}) || got["p0001"].Backoff["max"] != "100ms" {
		t.Errorf("two programs are written as %+v", got)
	}
	f.programs = nil
	if got := read(); len(got) != 2 || got["none"].Enabled == nil || *got["none"].Enabled {
		t.Errorf("no program is written as %+v, want one that is disabled", got)
	}
}

func TestQuantile(t *testing.T) {
	for _, tt := range []struct {
		values []float64
		q      float64
		want   float64
	}{
		{[]float64{7}, 0.5, 7},
		{[]float64{3, 1, 2}, 0.5, 2},
		{[]float64{4, 1, 2, 3}, 0.5, 2.5},
		{[]float64{0, 100}, 0.99, 99},
		{[]float64{2, 1}, 1, 2},
		{[]float64{2, 1}, 0, 1},
	} {
		if got := quantile(tt.values, tt.q); got != tt.want {
			t.Errorf("quantile(%v, %v) = %v, want %v", tt.values, tt.q, got, tt.want)
		}
	}
	if got := quantile(nil, 0.5); !math.IsNaN(got) {
		t.Errorf("quantile of nothing = %v, want NaN", got)
	}
}

func TestReport(t *testing.T) {
	s := newSheet(3)
	// The machine is twice as slow in the second round: the ratio doesn't care.
	for round, slow := range []float64{1, 2, 1} {
		s.add("restart", "limit", round, 0.5*slow)
		s.add("restart", "tend", round, 0.7*slow)
		s.add("up", "limit", round, 1000*slow)
		s.add("up", "tend", round, 1600*slow)
	}
	s.add("restart", "s6", 0, 1004)
	s.add("idle-switches", "tend", 0, 0.04)
	s.add("pss-0", "tend", 0, 8)
	s.add("pss-n", "tend", 0, 13)
	columns := []*column{
		{name: "limit", version: "C"},
		{name: "tend", version: "1.0", failed: map[string]error{"storm": errors.New("no\nsocket"), "stop": nil}},
		{name: "runit", absent: errAbsent},
		{name: "s6", version: "2"},
	}
	got := report(s, 1000, columns, []string{"a machine", versions(columns)})
	want := `a machine  
limit C; tend 1.0; runit absent; s6 2  

| | limit | tend | aim | runit | s6 |
|---|---:|---:|:---|---:|---:|
| restart, one of 24, ms | 0.50 | 0.70 (1.40 ×) | ≤ 1.45 × ✓ | absent | 1,004.00 (2,008 ×) |
| 1,000 up: from the supervisor's start, ms | 1,000 | 1,600 (1.60 ×) | ≤ 1.5 × ✗ | absent | – |
| memory with no program, MiB | – | 8.0 | ≤ 10 ✓ | absent | – |
| memory with 1,000, MiB | – | 13.0 |  | absent | – |
| memory for one program more, KiB | – | 5.1 | ≤ 4 ✗ | absent | – |
| at rest with 1,000: wake-ups a second | – | 0.0 | 0 ✓ | absent | – |
| storm: restarts a second | – | failed |  | absent | – |
| storm: status by API, median, ms | – | failed |  | absent | – |
| storm: status by API, 99 %, ms | – | failed | ≤ 10 | absent | – |
| storm: status by command, median, ms | – | failed |  | absent | – |
| storm: status by command, 99 %, ms | – | failed | ≤ 10 | absent | – |

` + "`tend`" + `'s ratio to the limit from round to round: restart, one of 24 1.40 to 1.40; 1,000 up: from the supervisor's start 1.60 to 1.60.

- tend failed at storm: no socket
- runit is absent: not installed
`
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestPaste(t *testing.T) {
	page := "# Title\n" + beginMark + "\nold\n" + endMark + "\nrest\n"
	got, err := paste(page, beginMark, "\nnew\n\n")
	if want := "# Title\n" + beginMark + "\nnew\n" + endMark + "\nrest\n"; err != nil || got != want {
		t.Errorf("paste = %q, %v; want %q", got, err, want)
	}
	for _, bad := range []string{"", "no marks", beginMark, endMark + beginMark} {
		if _, err := paste(bad, beginMark, "new"); err == nil {
			t.Errorf("paste(%q) has no error", bad)
		}
	}
}

// The page that a whole run writes to has the marks.
func TestPageHasMarks(t *testing.T) {
	page, err := os.ReadFile(filepath.Join("..", defaultPage))
	if err != nil {
		t.Fatal(err)
	}
	for _, mark := range []string{beginMark, beginLogs, beginLoad} {
		if _, err := paste(string(page), mark, "new"); err != nil {
			t.Error(err)
		}
	}
}

func TestArguments(t *testing.T) {
	for _, tt := range []struct {
		args []string
		want string
	}{
		{[]string{"-only", "restrat"}, `no "restrat"`},
		{[]string{"-peers", "systemd"}, `no "systemd"`},
		{[]string{"-rounds", "0"}, "-rounds and -n start at 1"},
		{[]string{"now"}, "no arguments"},
	} {
		if err := run(tt.args); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("run(%q) = %v, want an error with %s", tt.args, err, tt.want)
		}
	}
	got, err := choose("-only", " up, stop ,", parts())
	if err != nil || len(got) != 2 || !got["up"] || !got["stop"] {
		t.Errorf("choose = %v, %v", got, err)
	}
}

// TestCarry has all loggers that are here carry a little, and sees that a line that
// is missing is noticed.
func TestCarry(t *testing.T) {
	needCompiler(t)
	dir := t.TempDir()
	writer, err := compile(dir, "writer", []string{"-static"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	bare, err := compile(dir, "carry", []string{"-static"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{ctx: t.Context(), timeout: 30 * time.Second, sheet: newSheet(1)}
	var did []*carrier
	for _, c := range carriers(bare, "") {
		if c.argv == nil {
			continue
		}
		if _, err := c.version(); err != nil {
			t.Logf("%s: %v", c.name, err)
			continue
		}
		did = append(did, c)
		for _, job := range []logJob{{1, 64 << 10}, {3, logLine}} {
			if err := b.carry(c, job, writer, 1<<20, 0); err != nil {
				t.Errorf("%s: %s: %v", c.name, job, err)
			}
		}
	}
	if text := b.logReport(did, nil, []string{"about"}); !strings.Contains(text, "| one program, writes of 64 KiB: CPU |") || !strings.Contains(text, "| bare loop |") {
		t.Errorf("the report is %s", text)
	}
	file := filepath.Join(dir, "log")
	line := func(n int) string { return fmt.Sprintf("%010d %s\n", n, strings.Repeat("x", logLine-12)) }
	for text, good := range map[string]bool{line(0) + line(1): true, line(0): false, line(0) + line(2): false, line(1) + line(0): false, line(0) + line(1)[:50]: false} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := did[0].whole([]string{file}, 2*logLine); (err == nil) != good {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// TestLoad goes through all situations with few programs and few pages.
func TestLoad(t *testing.T) {
	needCompiler(t)
	if testing.Short() {
		t.Skip("builds tend")
	}
	t.Chdir("..")
	binary, err := buildTend(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{ctx: t.Context(), probe: tools.probe, n: 20, timeout: 30 * time.Second, sheet: newSheet(1)}
	text, err := b.load(binary, crowd{pages: 6, stage: time.Second}, 1)
	if err != nil {
		t.Fatal(err)
	}
	t.Log(text)
	for _, s := range situations {
		if v := b.sheet.value("load-one-"+s.key, "tend", 0.5); !(v > 0) {
			t.Errorf("%s: one program takes %v ms", s.title, v)
		}
	}
	if v := b.sheet.value("load-events-flap", "tend", 0.5); !(v > 0) {
		t.Errorf("%v events a second in a storm", v)
	}
	if lag := b.sheet.value("load-lag-restart", "tend", 0.5); !(lag > 0) {
		t.Errorf("pages hear of events after %v ms", lag)
	}
	if n := b.sheet.value("load-cut", "tend", 1); n != 0 {
		t.Errorf("%v pages were cut off", n)
	}
	if !strings.Contains(text, "| one program at the control socket, 99 %, ms |") || !strings.Contains(text, "| 20 programs, 6 pages |") {
		t.Error("the report has other rows")
	}
	if left := children(t); len(left) > 0 {
		t.Errorf("processes are still there: %v", left)
	}
}

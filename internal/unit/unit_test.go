package unit

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"tend/internal/event"
	"tend/internal/spec"
)

var update = flag.Bool("update", false, "rewrite the files in testdata")

var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// still is an outside in which chance moves no wait. A schedule there is a
// duration, at whose multiples since the epoch runs begin; "never" is @reboot.
var still = Outside{
	Chance: func() float64 { return 0.5 },
	Next: func(p *spec.Program, after time.Time) time.Time {
		every, err := time.ParseDuration(p.Schedule)
		if err != nil {
			return time.Time{}
		}
		return epoch.Add((after.Sub(epoch)/every + 1) * every)
	},
}

// compare compares got with the golden file of that name, or rewrites it.
func compare(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if string(want) == got {
		return
	}
	wantLines, gotLines := strings.Split(string(want), "\n"), strings.Split(got, "\n")
	for i := range max(len(wantLines), len(gotLines)) {
		if i >= len(wantLines) || i >= len(gotLines) || wantLines[i] != gotLines[i] {
			at := func(lines []string) string {
				if i < len(lines) {
					return lines[i]
				}
				return "(the end)"
			}
			t.Fatalf("%s:%d:\nwant %s\ngot  %s\n(go test -update rewrites it)", file, i+1, at(wantLines), at(gotLines))
		}
	}
}

// TestLives plays the scripts in testdata/lives. A line is a time and an event,
// as "1.5s ended exit 1"; the lines under it, indented, are what the unit does.
//
//	program KEY=VALUE …    a new unit, stopped
//	up, down, down now, drain, restart, run, hold, bind, unhold, tick
//	ready, unready, healthy, sick REASON, alive, pace TIME, trouble REASON, extend TIME,
//	demanded, idle         facts, of the latest generation
//	respec KEY=VALUE …     the program with these changed
//	spawned PID, failed REASON, ended exit N, ended signal NAME, emptied, lost
//	                       facts; "left" after an end: with something left behind;
//	                       "gen N" in front: of that generation
//	main PID               another process leads
//	forgotten              the unit is made anew from its memory
//	resume
func TestLives(t *testing.T) {
	files, err := filepath.Glob("testdata/lives/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("cannot find the scripts: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var out strings.Builder
			var u *Unit
			for n, line := range strings.Split(strings.TrimSuffix(string(text), "\n"), "\n") {
				if strings.HasPrefix(line, "\t") {
					continue // what was done last time
				}
				fmt.Fprintln(&out, line)
				if line == "" || strings.HasPrefix(line, "#") {
					continue
				}
				at, rest, _ := strings.Cut(line, " ")
				d, err := time.ParseDuration(at)
				if err != nil {
					t.Fatalf("%s:%d: %v", file, n+1, err)
				}
				now := epoch.Add(d)
				if keys, ok := strings.CutPrefix(rest, "program"); ok {
					u = New(now, program(t, spec.New("web"), keys), still)
					continue
				}
				if rest == "forgotten" {
					u = Restore(remember(t, u), u.spec, still)
					continue
				}
				for _, a := range u.Step(now, parse(t, u, rest)) {
					fmt.Fprintf(&out, "\t%s\n", showAction(a))
				}
				fmt.Fprintf(&out, "\t= %s\n", show(u))
			}
			compare(t, file, out.String())
		})
	}
}

// remember returns the memory of u as it comes back from where it is kept.
func remember(t testing.TB, u *Unit) (m Memory) {
	t.Helper()
	data, err := json.Marshal(u.Memory())
	if err == nil {
		err = json.Unmarshal(data, &m)
	}
	if err != nil || !m.Valid() {
		t.Fatalf("%s: valid is %v, %v", data, m.Valid(), err)
	}
	return m
}

// program returns p with keys set, written as KEY=VALUE.
func program(t testing.TB, p *spec.Program, keys string) *spec.Program {
	t.Helper()
	q := *p
	for _, word := range strings.Fields(keys) {
		key, value, _ := strings.Cut(word, "=")
		f := spec.FieldOf(key)
		if f == nil {
			t.Fatalf("no key is named %q", key)
		}
		if err := f.Set(&q, value); err != nil {
			t.Fatalf("%s: %v", key, err)
		}
	}
	return &q
}

// parse reads an event as the scripts write it.
func parse(t testing.TB, u *Unit, line string) Event {
	t.Helper()
	words := strings.Fields(line)
	gen := u.Gen()
	if words[0] == "gen" {
		n, err := strconv.ParseUint(words[1], 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		gen, words = n, words[2:]
	}
	arg := strings.Join(words[1:], " ")
	switch words[0] {
	case "up":
		return Up{}
	case "down":
		return Down{Now: arg == "now"}
	case "drain":
		return Drain{}
	case "restart":
		return Restart{}
	case "hold":
		return Hold{On: true}
	case "bind":
		return Hold{On: true, Bound: true}
	case "unhold":
		return Hold{}
	case "run":
		return RunNow{}
	case "ready":
		return Ready{Gen: gen}
	case "unready":
		return Unready{Gen: gen, Message: "reads its configuration anew"}
	case "healthy":
		return Checked{Gen: gen, OK: true}
	case "sick":
		return Checked{Gen: gen, Message: arg}
	case "alive":
		return KeepAlive{Gen: gen}
	case "pace":
		every, err := time.ParseDuration(arg)
		if err != nil {
			t.Fatal(err)
		}
		return Pace{Gen: gen, Every: every}
	case "trouble":
		return Trouble{Gen: gen, Message: arg}
	case "extend":
		by, err := time.ParseDuration(arg)
		if err != nil {
			t.Fatal(err)
		}
		return Extend{Gen: gen, By: by}
	case "demanded":
		return Demanded{}
	case "idle":
		return Idle{Gen: gen}
	case "tick":
		return Tick{}
	case "respec":
		return Respec{Spec: program(t, u.Spec(), arg)}
	case "spawned":
		pid, err := strconv.Atoi(arg)
		if err != nil {
			t.Fatal(err)
		}
		return Spawned{Gen: gen, PID: pid}
	case "failed":
		return SpawnFailed{Gen: gen, Err: arg}
	case "ended":
		e := Ended{Gen: gen, Left: strings.HasSuffix(arg, " left")}
		if words[1] == "unknown" {
			e.Unknown = true
			return e
		}
		if words[1] == "signal" {
			sig, err := spec.ParseSignal(words[2])
			if err != nil {
				t.Fatal(err)
			}
			e.Signal = sig
			return e
		}
		code, err := strconv.Atoi(words[2])
		if err != nil {
			t.Fatal(err)
		}
		e.Code = code
		return e
	case "emptied":
		return Emptied{Gen: gen}
	case "main":
		pid, err := strconv.Atoi(arg)
		if err != nil {
			t.Fatal(err)
		}
		return Main{Gen: gen, PID: pid}
	case "lost":
		return Lost{Gen: gen}
	case "resume":
		return Resume{}
	}
	t.Fatalf("unknown event %q", line)
	return nil
}

func showAction(a Action) string {
	group := func(on bool) string {
		if on {
			return " group"
		}
		return ""
	}
	switch a := a.(type) {
	case Spawn:
		return fmt.Sprintf("spawn gen %d", a.Gen)
	case Signal:
		return fmt.Sprintf("signal %s%s", a.Sig, group(a.Group))
	case Sweep:
		if a.Group {
			return fmt.Sprintf("sweep %s, but the group has had it", a.Sig)
		}
		return fmt.Sprintf("sweep %s", a.Sig)
	case StopCommand:
		return "stop command"
	case Kill:
		if a.Scope != spec.KillTree {
			return "kill " + string(a.Scope)
		}
		return "kill"
	case Leave:
		return "leave what is left"
	case Watch:
		return "watch " + showWatching(a.For)
	case Change:
		text := fmt.Sprintf("say %s → %s: %s", a.From, a.To, a.Message)
		if a.Warning {
			text = "warn: " + a.Message
		}
		if a.PID != 0 {
			text += fmt.Sprintf(" (pid %d)", a.PID)
		}
		return text
	}
	panic(fmt.Sprintf("unknown action %T", a))
}

func showWatching(w Watching) string {
	var words []string
	for word, on := range map[string]bool{"readiness": w.Ready, "health": w.Health, "demand": w.Demand, "idleness": w.Idle} {
		if on {
			words = append(words, word)
		}
	}
	slices.Sort(words)
	return strings.Join(append(words, "")[:max(1, len(words))], " ")
}

func show(u *Unit) string {
	text := u.state.String()
	if u.phase != none {
		text += ", " + u.phase.String()
	}
	if due := u.Deadline(); !due.IsZero() {
		text += fmt.Sprintf(", due at %v", due.Sub(epoch))
	}
	if u.ready != (u.state == Running && !u.spec.IsTask()) && u.state != Draining {
		text += fmt.Sprintf(", ready %t", u.ready)
	}
	if u.due {
		text += ", to run"
	}
	if u.state == Stopping {
		switch {
		case u.again:
			text += ", to start again"
		case u.up:
			text += ", still wanted"
		}
		if u.over {
			text += ", killed"
		}
	}
	if u.restarts > 0 {
		text += fmt.Sprintf(", restarts %d", u.restarts)
	}
	return text
}

// places are all the situations that a unit can be in, each with a way there.
// TestLaws fails when it comes to one that isn't listed.
var places = []struct{ name, way string }{
	{"stopped", ""},
	{"waiting", "hold; up"},
	{"starting, spawning", "up"},
	{"starting, alive", "up; spawned 7"},
	{"running, alive", "up; spawned 7; +1s tick"},
	{"backoff", "up; spawned 7; ended exit 1; spawned 8; ended exit 1"},
	{"backoff, linear", "respec backoff.kind=linear max_failures=4 restart=never; up; spawned 7; ended exit 1"},
	{"running, alive, of a process alone", "respec kill_scope=group backoff.kind=linear restart=on-failure; up; spawned 7; +1s tick"},
	{"stopping, spawning", "up; down"},
	{"stopping, spawning, killed", "up; down now"},
	{"stopping, spawning, to start again", "up; restart"},
	{"stopping, alive", "up; spawned 7; +2s tick; down"},
	{"stopping, alive, killed", "up; spawned 7; +2s tick; down now"},
	{"stopping, alive, to start again", "up; spawned 7; +2s tick; restart"},
	{"stopping, left", "up; spawned 7; +2s tick; down; ended exit 0 left"},
	{"stopping, left, killed", "up; spawned 7; +2s tick; down now; ended exit 0 left"},
	{"stopping, alive, of a process alone", "respec kill_scope=main; up; spawned 7; +2s tick; down"},
	{"stopping, left, still wanted", "up; spawned 7; +2s tick; ended exit 0 left"},
	{"draining, spawning", "up; drain"},
	{"draining, alive", "up; spawned 7; +2s tick; drain"},
	{"exited", "respec restart=never; up; spawned 7; +2s tick; ended exit 0"},
	{"done", "respec type=task; up; spawned 7; +2s tick; ended exit 0"},
	{"failed", "respec max_failures=1; up; failed no such file"},
	{"waiting, for its time", "respec schedule=10m; up"},
	{"waiting, for its time, and held", "respec schedule=10m; hold; up; +10m tick"},
	{"waiting, for a connection", "respec on_demand=yes; up"},
	{"waiting, held down", "up; spawned 7; +1s tick; bind; ended exit 0"},
	{"starting, alive, not ready", "respec ready.notify=yes; up; spawned 7"},
	{"running, alive, ready and checked", "respec ready.notify=yes health.tcp=:80 watchdog=30s; up; spawned 7; ready"},
	{"running, alive, by its schedule", "respec schedule=10m; up; +10m tick; spawned 7; +1s tick"},
	{"running, alive, on demand", "respec on_demand=yes idle_timeout=1m; up; demanded; spawned 7; +1s tick"},
	{"stopping, alive, still wanted", "respec ready.notify=yes; up; spawned 7; +1m tick"},
	{"failed, tried again later", "respec max_failures=1 retry_failed=5m; up; failed no such file"},
}

var tableEvents = []string{"up", "down", "down now", "drain", "restart", "hold", "unhold", "respec stop_timeout=1s", "tick", "+1h tick",
	"spawned 9", "failed no memory", "ended exit 0", "ended exit 1", "ended signal KILL", "ended exit 1 left", "ended unknown", "emptied", "main 9", "lost", "resume",
	"run", "bind", "ready", "unready", "healthy", "sick status 500", "alive", "pace 5s", "trouble stuck", "extend 90s", "demanded", "idle",
	"respec ready.tcp=:80 health.tcp=:80", "respec schedule=1h", "gen 99 ready",
	"gen 99 spawned 9", "gen 99 failed no memory", "gen 99 ended exit 0", "gen 99 emptied"}

// at returns a unit that has gone a way, and the time then.
func at(t testing.TB, way string) (*Unit, time.Time) {
	now := epoch
	u := New(now, spec.New("web"), still)
	for _, line := range strings.Split(way, "; ") {
		if line == "" {
			continue
		}
		line, now = later(t, line, now)
		u.Step(now, parse(t, u, line))
	}
	return u, now
}

func later(t testing.TB, line string, now time.Time) (string, time.Time) {
	t.Helper()
	if line[0] != '+' {
		return line, now
	}
	wait, rest, _ := strings.Cut(line[1:], " ")
	d, err := time.ParseDuration(wait)
	if err != nil {
		t.Fatal(err)
	}
	return rest, now.Add(d)
}

// TestTable writes down what each event does in each situation.
func TestTable(t *testing.T) {
	var out strings.Builder
	fmt.Fprintln(&out, "# Every situation and every event: what the unit does, and where it is then. Generated; go test -update.")
	for _, place := range places {
		fmt.Fprintf(&out, "\n%s\n", place.name)
		u, _ := at(t, place.way)
		if got := situation(u); !strings.HasPrefix(place.name, got) {
			t.Errorf("the way to %q leads to %q", place.name, got)
		}
		for _, line := range tableEvents {
			u, now := at(t, place.way)
			before := show(u)
			rest, now := later(t, line, now)
			var did []string
			for _, a := range u.Step(now, parse(t, u, rest)) {
				did = append(did, showAction(a))
			}
			did = append(did, "= "+show(u))
			if len(did) == 1 && show(u) == before {
				did = []string{"-"}
			}
			fmt.Fprintf(&out, "  %-24s %s\n", line, strings.Join(did, "; "))
		}
	}
	compare(t, "testdata/table.txt", out.String())
}

func situation(u *Unit) string {
	if u.phase == none {
		return u.state.String()
	}
	return u.state.String() + ", " + u.phase.String()
}

// FuzzLaws tells a unit random things, each byte one event, and checks what
// holds always; then it lets the kernel obey and wishes it down.
func FuzzLaws(f *testing.F) {
	f.Add([]byte{0, 10, 1, 12, 0})
	f.Add([]byte("a stop overtakes a start"))
	f.Add([]byte{5, 0, 6, 10, 13, 10, 13, 2, 9, 9, 14, 9, 16, 3, 0, 4, 10, 8})
	for seed := range 200 {
		var b []byte
		x := uint32(seed)*2654435761 + 1
		for range 100 {
			x = x*1664525 + 1013904223
			b = append(b, byte(x>>24))
		}
		f.Add(b)
	}
	known := make(map[string]bool)
	for _, p := range places {
		u, _ := at(f, p.way)
		known[situation(u)] = true
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		now := epoch
		u := New(now, spec.New("web"), still)
		step := func(ev Event) []Action {
			free, pid := u.phase == none, u.pid
			lone := u.spec.KillScope != spec.KillTree
			actions := u.Step(now, ev)
			if _, ok := ev.(Respec); ok {
				actions = append(actions, u.Step(now, Hold{On: u.hold, Bound: u.bound})...)
			}
			for _, a := range actions {
				if _, ok := a.(Leave); ok && !lone {
					t.Fatalf("left alone, with kill_scope %s", u.spec.KillScope)
				}
				if _, ok := a.(Spawn); ok {
					gone := false
					switch e := ev.(type) {
					case Emptied:
						gone = true
					case Ended:
						gone = !e.Left || lone // what is left isn't its own
					case SpawnFailed, Lost:
						gone = true
					}
					if !free && !gone {
						t.Fatalf("%T spawned while there is a process", ev)
					}
				}
			}
			switch u.state {
			case Starting, Backoff, Failed, Stopping:
			default:
				if !u.deadline.IsZero() {
					t.Fatalf("%s has a deadline", u.state)
				}
			}
			if !known[situation(u)] {
				t.Fatalf("%q isn't in the table", situation(u))
			}
			if u.ready && u.state != Running && u.state != Draining {
				t.Fatalf("ready, and %s", u.state)
			}
			if u.state == Waiting && !u.hold && !s0(u).waitsForOthers() {
				t.Fatalf("waits for nothing")
			}
			if w := u.watch; w != (Watching{}) && (w.Demand != (u.phase == none) || w.Ready && u.state != Starting || w.Health && u.state != Running) {
				t.Fatalf("%s, but is looked at for %s", situation(u), showWatching(w))
			}
			if !u.up && !u.runAt.IsZero() {
				t.Fatalf("not wanted, and due at %v", u.runAt)
			}
			if (u.state == Stopped || u.state == Draining) && u.up {
				t.Fatalf("wanted, and %s", u.state)
			}
			if m, ok := ev.(Main); ok && u.pid != pid && (u.pid != m.PID || u.phase != alive || m.Gen != u.gen) {
				t.Fatalf("%s: pid %d became %d by %+v", situation(u), pid, u.pid, m)
			}
			if (u.phase == alive) != (u.pid != 0) {
				t.Fatalf("%s, with pid %d", situation(u), u.pid)
			}
			if (u.phase == alive || u.phase == left) && u.state == Stopping && u.deadline.IsZero() {
				t.Fatalf("stopping without an end")
			}
			return actions
		}
		for _, b := range data {
			now = now.Add(time.Duration(b>>5) * 300 * time.Millisecond)
			gen := u.gen
			if b>>3 == 31 {
				gen--
			}
			p := *u.spec
			switch n := b % 32; n {
			case 0:
				step(Up{})
			case 1, 2:
				step(Down{Now: n == 2})
			case 3:
				step(Drain{})
			case 4:
				step(Restart{})
			case 5, 6:
				step(Hold{On: n == 5})
			case 7, 8, 9:
				if due := u.Deadline(); !due.IsZero() {
					now = latest(now, due)
				}
				step(Tick{})
			case 24:
				step([]Event{Ready{gen}, Unready{gen, "x"}, Pace{gen, time.Second}, Extend{gen, time.Second}, KeepAlive{gen}, Says{gen, "x"}, Trouble{gen, "x"}, Idle{gen}}[b>>5])
			case 25, 26:
				step(Checked{Gen: gen, OK: n == 25})
			case 27:
				step(Hold{On: true, Bound: true})
			case 28:
				p.Ready.Notify, p.Ready.Timeout = b>>7 == 1, time.Duration(b>>5%4)*time.Second
				p.Health.TCP = strings.Repeat("x", int(b>>6%2))
				p.Watchdog = time.Duration(b>>5) * time.Second
				step(Respec{&p})
			case 29:
				p.Schedule = []string{"", "1s", "never", "1h"}[b>>6]
				p.OnDemand = b>>5%2 == 1
				p.CatchUp = b>>6%2 == 1
				p.Overlap = []spec.Overlap{spec.OverlapSkip, spec.OverlapQueue, spec.OverlapKill, spec.OverlapSkip}[b>>5%4]
				step(Respec{&p})
			case 30:
				step(RunNow{})
			case 31:
				step(Demanded{})
			case 10, 11:
				step(Spawned{Gen: gen, PID: 1})
			case 12:
				step(SpawnFailed{Gen: gen, Err: "no"})
			case 13, 14, 15:
				step(Ended{Gen: gen, Code: int(b) % 2, Left: n == 15})
			case 16:
				if b>>7 == 1 {
					step(Main{Gen: gen, PID: 1 + int(b>>5)})
					break
				}
				step(Emptied{Gen: gen})
			case 17:
				p.MaxFailures, p.RetryFailed = int(b>>6), time.Duration(b>>5)*time.Second
				step(Respec{&p})
			case 18:
				p.Restart = []spec.Restart{spec.RestartAlways, spec.RestartNever, spec.RestartOnFailure}[b>>5%3]
				step(Respec{&p})
			case 19:
				p.Type = []spec.Type{spec.Service, spec.Task}[b>>7]
				p.MinUptime = time.Duration(b>>6) * time.Second
				p.Backoff.Kind = []spec.BackoffKind{spec.Growing, spec.Linear}[b>>5%2]
				step(Respec{&p})
			case 21:
				step(Lost{Gen: gen})
			case 22, 23: // the owner dies, and another one resumes
				u = Restore(remember(t, u), u.spec, still)
				if n == 23 {
					step(Resume{})
				}
			case 20:
				p.StopTimeout = time.Duration(b>>5) * time.Second
				p.KillScope = []spec.KillScope{spec.KillTree, spec.KillMain, spec.KillGroup, spec.KillTree}[b>>5%4]
				p.StopCommand.Shell = strings.Repeat("x", int(b>>7))
				step(Respec{&p})
			}
		}
		step(Down{})
		for i := 0; u.state != Stopped; i++ {
			if i > 10 {
				t.Fatalf("doesn't come to rest: %s", situation(u))
			}
			switch u.phase {
			case spawning:
				step(Spawned{Gen: u.gen, PID: 1})
			case alive, left:
				// Not before it is asked to: the deadline must bring the kill.
				now = latest(now, u.deadline)
				killed := slices.ContainsFunc(step(Tick{}), func(a Action) bool { _, ok := a.(Kill); return ok })
				if !killed {
					t.Fatalf("isn't killed when the time is up: %s", situation(u))
				}
				if u.phase == alive {
					step(Ended{Gen: u.gen, Signal: 9, Left: true})
				} else {
					step(Emptied{Gen: u.gen})
				}
			default:
				t.Fatalf("%s after Down", u.state)
			}
		}
	})
}

func s0(u *Unit) *step { return &step{Unit: u} }

// latest returns the later of two times.
func latest(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// TestWait checks the waits between the starts of a program that doesn't stay up:
// their growth, their bounds whatever chance says, and their end.
func TestWait(t *testing.T) {
	for _, chance := range []float64{0, 0.5, 0.999999} {
		u := New(epoch, spec.New("web"), Outside{Chance: func() float64 { return chance }})
		want := 100 * time.Millisecond
		for u.shorts = 0; u.shorts < 2000; u.shorts++ {
			got := u.wait()
			if u.shorts < 2 {
				if got != 0 {
					t.Errorf("the first short run costs %v", got)
				}
				continue
			}
			low, high := want*9/10, min(want*11/10, 30*time.Second)
			if got < low-1 || got > high+1 {
				t.Fatalf("after %d short runs: %v, not from %v to %v", u.shorts, got, low, high)
			}
			want = min(2*want, 30*time.Second)
		}
	}
	p := spec.New("web")
	p.Backoff.Initial = 0
	u := New(epoch, p, still)
	for _, u.shorts = range []int{1, 2, 3, 2000} {
		if got := u.wait(); got != 0 {
			t.Errorf("with backoff.initial = 0, after %d short runs: %v", u.shorts, got)
		}
	}
}

func TestUnknownEventPanics(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("an unknown event is not refused")
		}
	}()
	New(epoch, spec.New("web"), still).Step(epoch, nil)
}

// TestView checks what a unit tells of itself along a life.
func TestView(t *testing.T) {
	u := New(epoch, spec.New("web"), still)
	u.Step(epoch, Up{})
	u.Step(epoch.Add(time.Second), Spawned{Gen: 1, PID: 7})
	if u.Gone() || !u.Up() || u.PID() != 7 || u.Gen() != 1 || !u.Started().Equal(epoch.Add(time.Second)) || u.Last() != nil {
		t.Errorf("after the start: %+v", u)
	}
	u.Step(epoch.Add(4*time.Second), Ended{Gen: 1, Code: 3, Core: true})
	want := event.Exit{Code: 3, Core: true, At: epoch.Add(4 * time.Second), Uptime: 3 * time.Second, Gen: 1, PID: 7}
	if u.PID() != 0 || *u.Last() != want || u.Restarts() != 1 {
		t.Errorf("after the end: %+v, last %+v", u, *u.Last())
	}
	u.Step(epoch.Add(5*time.Second), Down{})
	u.Step(epoch.Add(6*time.Second), SpawnFailed{Gen: 2, Err: "no"})
	if !u.Gone() || u.Up() || u.State() != Stopped || !u.Since().Equal(epoch.Add(6*time.Second)) {
		t.Errorf("after the stop: %+v", u)
	}
	// A clock that is set back doesn't make a run negative.
	u.Step(epoch, Up{})
	u.Step(epoch, Spawned{Gen: 3, PID: 8})
	u.Step(epoch.Add(-time.Hour), Ended{Gen: 3})
	if u.Last().Uptime != 0 {
		t.Errorf("an uptime of %v", u.Last().Uptime)
	}
}

func TestWords(t *testing.T) {
	for d, want := range map[time.Duration]string{
		300 * time.Millisecond: "0.3 s", 12 * time.Second: "12 s", 3 * time.Minute: "3 min", 100 * time.Minute: "100 min",
		5*time.Hour + 7*time.Minute: "5 h 7 min", 52 * time.Hour: "2 d 4 h", 9990 * time.Millisecond: "10.0 s", 9949 * time.Millisecond: "9.9 s",
	} {
		if got := Duration(d); got != want {
			t.Errorf("Duration(%v) = %q, want %q", d, got, want)
		}
	}
	for n, want := range map[int]string{1: "1st", 2: "2nd", 3: "3rd", 4: "4th", 11: "11th", 12: "12th", 13: "13th", 21: "21st", 101: "101st", 111: "111th", 113: "113th"} {
		if got := ordinal(n); got != want {
			t.Errorf("ordinal(%d) = %q, want %q", n, got, want)
		}
	}
}

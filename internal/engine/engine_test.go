package engine

import (
	"cmp"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"tend/internal/event"
	"tend/internal/spec"
	"tend/internal/unit"
)

var update = flag.Bool("update", false, "rewrite the files in testdata")

var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// still is an outside in which chance moves no wait. A schedule there is a
// duration, at whose multiples since the epoch runs begin.
var still = unit.Outside{
	Chance: func() float64 { return 0.5 },
	Next: func(p *spec.Program, after time.Time) time.Time {
		every, err := time.ParseDuration(p.Schedule)
		if err != nil {
			return time.Time{}
		}
		return epoch.Add((after.Sub(epoch)/every + 1) * every)
	},
}

// TestScripts plays the scripts in testdata. A line is a time and an input; the
// lines under it, indented, are what comes of it.
//
//	set NAME KEY=VALUE …; NAME …     a wanted world; "[tend] exit_when=…" is the daemon,
//	                                 "listens=EVENTS" makes a listener of supervisord's,
//	                                 "group=…" the group of a supervisord.conf
//	reload NAME …                    the same, as a command that waits
//	start, stop, restart, run PATTERN     a command; "nowait" or "rolling" behind it
//	signal SIG PATTERN, cancel N
//	spawned NAME, failed NAME REASON, ended NAME exit N [left], ended NAME signal SIG,
//	emptied NAME, ready NAME, sick NAME REASON, demanded NAME
//	                                 facts, of the latest generation
//	up NAME …                        spawned, and a tick when min_uptime has passed
//	tick, shutdown, shutdown now
//	renew NAME WHY                   what it is made of has changed
//	show                             nothing but a look at all instances
//	why PATTERN                      the story of instances
func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
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
			p := player{t: t, out: &out, e: New(still)}
			for n, line := range strings.Split(strings.TrimSuffix(string(text), "\n"), "\n") {
				if strings.HasPrefix(line, "\t") {
					continue // what came of it last time
				}
				fmt.Fprintln(&out, line)
				if line == "new engine" {
					p = player{t: t, out: &out, e: New(still)}
				} else if line != "" && line[0] != '#' {
					p.at = fmt.Sprintf("%s:%d", file, n+1)
					p.play(line)
				}
			}
			if *update {
				if err := os.WriteFile(file, []byte(out.String()), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			want, got := strings.Split(string(text), "\n"), strings.Split(out.String(), "\n")
			for i := range max(len(want), len(got)) {
				if i >= len(want) || i >= len(got) || want[i] != got[i] {
					t.Fatalf("%s:%d: want\n%s\ngot\n%s\n(go test -update rewrites it)", file, i+1,
						strings.Join(want[i:min(i+8, len(want))], "\n"), strings.Join(got[i:min(i+8, len(got))], "\n"))
				}
			}
		})
	}
}

// player plays one script.
type player struct {
	t    *testing.T
	out  *strings.Builder
	e    *Engine
	at   string // the line, for messages
	cmd  uint64
	pid  int
	wake time.Time
}

func (p *player) play(line string) {
	at, rest, _ := strings.Cut(line, " ")
	d, err := time.ParseDuration(at)
	if err != nil {
		p.t.Fatalf("%s: %v", p.at, err)
	}
	now := epoch.Add(d)
	verb, arg, _ := strings.Cut(rest, " ")
	switch verb {
	case "set":
		p.step(now, Desired{Set: parseSet(p.t, arg)})
	case "reload":
		p.cmd++
		p.step(now, Desired{Set: parseSet(p.t, arg), Cmd: p.cmd})
	case "start", "stop", "restart", "run":
		pattern, noWait := strings.CutSuffix(arg, " nowait")
		pattern, rolling := strings.CutSuffix(pattern, " rolling")
		p.cmd++
		p.step(now, Act{Cmd: p.cmd, Verb: Verb(verb), Pattern: pattern, NoWait: noWait, Rolling: rolling})
	case "signal":
		name, pattern, _ := strings.Cut(arg, " ")
		sig, err := spec.ParseSignal(name)
		if err != nil {
			p.t.Fatalf("%s: %v", p.at, err)
		}
		p.cmd++
		p.step(now, Act{Cmd: p.cmd, Verb: Signal, Pattern: pattern, Signal: sig})
	case "cancel":
		n, err := strconv.ParseUint(arg, 10, 64)
		if err != nil {
			p.t.Fatalf("%s: %v", p.at, err)
		}
		p.step(now, Cancel{Cmd: n})
	case "tick":
		p.step(now, Tick{})
	case "shutdown":
		p.step(now, Shutdown{Now: arg == "now"})
	case "show":
		for _, v := range p.e.Views() {
			wanted := ""
			if v.Wanted {
				wanted = " wanted"
			}
			fmt.Fprintf(p.out, "\t%s %s%s: %s\n", v.Name, v.State, wanted, v.Message)
		}
	case "renew":
		name, why, _ := strings.Cut(arg, " ")
		p.step(now, Renew{Program: name, Why: why})
	case "why":
		for _, s := range p.e.Stories(arg) {
			command, does := s.Do()
			fmt.Fprintf(p.out, "\t%s\n\t%s: %s\n", s.Text(now), does, command)
		}
	case "up":
		for _, name := range strings.Fields(arg) {
			p.fact(now, name, "spawned")
		}
		p.step(now.Add(time.Second), Tick{})
	case "spawned", "failed", "ended", "emptied", "ready", "sick", "demanded":
		name, more, _ := strings.Cut(arg, " ")
		p.fact(now, name, verb+" "+more)
	default:
		p.t.Fatalf("%s: unknown input %q", p.at, line)
	}
}

// fact tells of the process of the latest generation of an instance.
func (p *player) fact(now time.Time, name, what string) {
	for _, v := range p.e.Views() {
		if v.Name != name {
			continue
		}
		words := strings.Fields(what)
		var ev unit.Event
		switch words[0] {
		case "spawned":
			p.pid++
			ev = unit.Spawned{Gen: v.Gen, PID: p.pid}
		case "failed":
			ev = unit.SpawnFailed{Gen: v.Gen, Err: strings.Join(words[1:], " ")}
		case "emptied":
			ev = unit.Emptied{Gen: v.Gen}
		case "ready":
			ev = unit.Ready{Gen: v.Gen}
		case "sick":
			ev = unit.Checked{Gen: v.Gen, Message: strings.Join(words[1:], " ")}
		case "demanded":
			ev = unit.Demanded{}
		case "ended":
			ended := unit.Ended{Gen: v.Gen, Left: words[len(words)-1] == "left"}
			if words[1] == "signal" {
				ended.Signal, _ = spec.ParseSignal(words[2])
			} else {
				ended.Code, _ = strconv.Atoi(words[2])
			}
			ev = ended
		}
		p.step(now, Fact{ID: v.ID, Event: ev})
		return
	}
	p.t.Fatalf("%s: no instance is named %q", p.at, name)
}

// parseSet reads a set as the scripts write it.
func parseSet(t testing.TB, text string) *spec.Set {
	t.Helper()
	set := new(spec.Set)
	for _, part := range strings.Split(text, ";") {
		words := strings.Fields(part)
		if len(words) == 0 {
			continue
		}
		if words[0] == "[tend]" {
			if when, ok := strings.CutPrefix(words[1], "exit_when="); ok {
				set.Daemon.ExitWhen = when
			}
			set.Daemon.Rollback = words[1] == "rollback=yes"
			continue
		}
		p := spec.New(words[0])
		p.Command.Shell = "run"
		for _, word := range words[1:] {
			key, value, _ := strings.Cut(word, "=")
			if key == "listens" {
				p.Member.Pool.Events = value
				continue
			}
			if key == "group" { // of a supervisord.conf
				p.Member.Group = value
				continue
			}
			f := spec.FieldOf(key)
			if f == nil {
				t.Fatalf("no key is named %q", key)
			}
			if err := f.Set(p, value); err != nil {
				t.Fatalf("%s: %v", key, err)
			}
		}
		set.Programs = append(set.Programs, p)
	}
	if problems := spec.Check(set); len(problems) > 0 {
		t.Fatalf("%q: %v", text, problems)
	}
	return set
}

func (p *player) step(now time.Time, in Input) {
	out := p.e.Step(now, in)
	names := make(map[ID]string)
	for _, v := range p.e.Views() {
		names[v.ID] = v.Name
	}
	for _, f := range out.Do {
		fmt.Fprintf(p.out, "\tdo %s\n", showEffect(f, names))
	}
	for _, ev := range out.Say {
		fmt.Fprintf(p.out, "\tsay %s\n", showEvent(ev))
	}
	for _, r := range out.Ended {
		fmt.Fprintf(p.out, "\tended %s gen %d: %s\n", r.Name, r.Exit.Gen, r.Exit.Story())
	}
	for _, a := range out.Answer {
		if len(a.Results) == 0 && a.Refused == nil {
			fmt.Fprintf(p.out, "\tanswer %d: there was nothing to do\n", a.Cmd)
		}
		if a.Undone != "" {
			fmt.Fprintf(p.out, "\tanswer %d: taken back: %s\n", a.Cmd, a.Undone)
		}
		if a.Refused != nil {
			fmt.Fprintf(p.out, "\tanswer %d: refused: %s %s\n", a.Cmd, a.Refused.Message, a.Refused.Hint)
		}
		for _, r := range a.Results {
			ok := "ok"
			if !r.OK {
				ok = "failed"
			}
			fmt.Fprintf(p.out, "\tanswer %d: %s %s, %s: %s\n", a.Cmd, ok, r.Name, r.State, r.Message)
		}
	}
	if out.Wake != p.wake && !out.Wake.IsZero() {
		fmt.Fprintf(p.out, "\twake at %v\n", out.Wake.Sub(epoch))
	}
	p.wake = out.Wake
	if out.Exit != nil {
		fmt.Fprintf(p.out, "\texit %d\n", *out.Exit)
	}
}

func showEffect(f Effect, names map[ID]string) string {
	switch f := f.(type) {
	case Spawn:
		return fmt.Sprintf("spawn %s gen %d", f.Name, f.Gen)
	case StopCommand:
		return fmt.Sprintf("stop command of %s, pid %d", f.Name, f.PID)
	case Configure:
		return "configure " + f.Name
	case Forget:
		return "forget " + f.Name
	case Watch:
		var words []string
		for _, what := range []struct {
			name string
			on   bool
		}{{"readiness", f.For.Ready}, {"health", f.For.Health}, {"demand", f.For.Demand}, {"idleness", f.For.Idle}} {
			if what.on {
				words = append(words, what.name)
			}
		}
		return "watch " + names[f.ID] + " for " + cmp.Or(strings.Join(words, ", "), "nothing")
	case Kernel:
		switch a := f.Action.(type) {
		case unit.Signal:
			if a.Group {
				return fmt.Sprintf("signal %s %s group", names[f.ID], a.Sig)
			}
			return fmt.Sprintf("signal %s %s", names[f.ID], a.Sig)
		case unit.Sweep:
			return fmt.Sprintf("sweep %s %s", names[f.ID], a.Sig)
		case unit.Kill:
			return "kill " + names[f.ID]
		case unit.Leave:
			return "leave what is left of " + names[f.ID]
		}
	}
	panic(fmt.Sprintf("unknown effect %T", f))
}

func showEvent(ev event.Event) string {
	name := ev.Name
	if name == "" {
		name = ev.Program
	}
	switch {
	case ev.Kind == event.State:
		return fmt.Sprintf("%s %s → %s: %s", name, ev.From, ev.To, ev.Message)
	case name == "":
		return fmt.Sprintf("[%s] %s", ev.Kind, ev.Message)
	}
	return fmt.Sprintf("[%s] %s: %s", ev.Kind, name, ev.Message)
}

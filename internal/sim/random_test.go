package sim

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"tend/internal/engine"
	"tend/internal/spec"
	"tend/internal/unit"
)

var (
	flagSteps = flag.Int("sim.steps", stepsByDefault, "how many steps the engine takes")
	flagSeed  = flag.Uint64("sim.seed", 0, "run the one schedule with this seed, and show it")
	flagTail  = flag.Int("sim.tail", 100, "how many of its last lines are shown")
)

// TestRandom drives the engine through random lives of random programs until
// -sim.steps are taken. Each schedule has a number from which it can be run
// again, which is told when a law doesn't hold.
func TestRandom(t *testing.T) {
	if *flagSeed != 0 {
		trace(t, *flagSeed)
		return
	}
	steps, seeds := 0, uint64(0)
	start := time.Now()
	for seeds = 1; steps < *flagSteps; seeds++ {
		n, err := schedule(seeds, nil)
		steps += n
		if err != nil {
			t.Errorf("seed %d: %v", seeds, err)
			trace(t, seeds)
			return
		}
	}
	t.Logf("%d steps, seeds 1 to %d, %v a step", steps, seeds-1, time.Since(start)/time.Duration(steps))
}

// trace runs one schedule and shows its last steps.
func trace(t *testing.T, seed uint64) {
	t.Helper()
	var lines []string
	_, err := schedule(seed, func(line string) { lines = append(lines, line) })
	for _, line := range lines[max(0, len(lines)-*flagTail):] {
		t.Log(line)
	}
	t.Logf("run it again: go test ./internal/sim -run TestRandom -sim.seed=%d", seed)
	if err != nil {
		t.Error(err)
	}
}

// schedule is one random life: some hundred happenings in a wild world, then a
// quiet time in which everything must come to where it is wanted, and mostly a
// shutdown. It returns the number of steps.
func schedule(seed uint64, trace func(string)) (steps int, err error) {
	s := &script{rng: rand.New(rand.NewPCG(seed, 0)), last: make(map[string]engine.Verb)}
	s.hush = s.rng.IntN(3) == 0
	s.frail = s.rng.IntN(16) == 0
	s.World = New(s.rng)
	s.Trace = trace
	s.reload()
	for range 200 + s.rng.IntN(400) {
		s.happen()
		if s.frail {
			s.Crash()
		}
	}
	if s.Err() == nil && !s.Engine.Stopping() {
		if s.Settle() == nil && !s.Engine.Stopping() {
			s.check()
		}
	}
	if s.Err() == nil && s.rng.IntN(4) > 0 {
		s.tame = s.rng.IntN(2) == 0
		s.Step(engine.Shutdown{})
		for s.rng.IntN(20) > 0 && s.Next() {
			if s.rng.IntN(10) == 0 {
				s.Crash()
			}
		}
		if s.rng.IntN(3) == 0 {
			s.Step(engine.Shutdown{Now: true})
		}
		s.Settle()
		if s.Err() == nil && s.Exit() == nil {
			s.fail("the shutdown doesn't end")
		}
	}
	return s.Steps, s.Err()
}

// script is a random schedule and what is remembered of it.
type script struct {
	*World
	rng      *rand.Rand
	set      *spec.Set
	last     map[string]engine.Verb // by instance, since the latest reload
	hush     bool                   // nobody gives commands
	frail    bool                   // the daemon dies after each step
	anything bool                   // a command was given
	undone   int                    // reloads that were taken back before the latest command
}

// happen lets one random thing happen.
func (s *script) happen() {
	if s.Engine.Stopping() && s.rng.IntN(10) > 0 { // by exit_when
		s.Next()
		return
	}
	switch n := s.rng.IntN(100); {
	case n < 62:
		s.Next()
	case n < 68:
		s.reload()
	case n < 69:
		if s.hush {
			break
		}
		s.anything = true
		s.Step(engine.Renew{Program: string(rune('a' + s.rng.IntN(names))), Why: "a file has changed"})
	case n < 86:
		if !s.hush {
			s.command()
		}
	case n < 87:
		if s.lastCmd > 0 {
			s.Cancel(1 + s.rng.Uint64N(s.lastCmd))
		}
	case n < 92:
		if views := s.Views(); len(views) > 0 {
			s.Die(views[s.rng.IntN(len(views))].ID)
		}
	case n < 94:
		if views := s.Views(); len(views) > 0 {
			s.HandOver(views[s.rng.IntN(len(views))].ID, s.rng.IntN(4) == 0)
		}
	case n < 95:
		s.Step(engine.Tick{})
	case n < 96:
		if s.rng.IntN(2) == 0 {
			s.CrashInNextStep()
		} else {
			s.Crash()
		}
	case n < 98: // a fact of some other time
		if s.Engine.Instances() > 0 {
			v := s.Views()[s.rng.IntN(s.Engine.Instances())]
			gen := v.Gen + 1
			if v.Gen > 0 && s.rng.IntN(2) == 0 {
				gen = s.rng.Uint64N(v.Gen)
			}
			facts := []unit.Event{unit.Spawned{Gen: gen, PID: 1}, unit.SpawnFailed{Gen: gen}, unit.Ended{Gen: gen}, unit.Ended{Gen: gen, Left: true}, unit.Emptied{Gen: gen}, unit.Main{Gen: gen, PID: 1}, unit.Tick{},
				unit.Ready{Gen: gen}, unit.Unready{Gen: gen}, unit.Pace{Gen: gen, Every: time.Minute}, unit.Checked{Gen: gen}, unit.Trouble{Gen: gen}, unit.Idle{Gen: gen}, unit.Extend{Gen: gen, By: time.Hour}, unit.Says{Gen: gen}}
			s.Step(engine.Fact{ID: v.ID, Event: facts[s.rng.IntN(len(facts))]})
		}
	case n < 99:
		s.SetClock(s.upTo(2*time.Minute) - time.Minute)
	default:
		s.at += s.upTo(20 * time.Second) // the machine is busy: everything is late
	}
}

func (s *script) command() {
	pattern := "*"
	if n := s.rng.IntN(10); n < 8 {
		pattern = string(rune('a' + s.rng.IntN(names)))
		if n == 0 {
			pattern += ":*"
		} else if n == 1 {
			pattern += ":1"
		}
	}
	verb := []engine.Verb{engine.Start, engine.Stop, engine.Restart, engine.Signal, engine.RunNow}[s.rng.IntN(5)]
	s.Act(verb, pattern, s.rng.IntN(3) == 0)
	s.anything = true
	if s.undone != s.Undone { // which is a reload as well
		s.undone = s.Undone
		clear(s.last)
	}
	if s.Engine.Stopping() || verb == engine.Signal {
		return
	}
	for _, v := range s.Views() {
		if v.Name == pattern || v.Spec.Name == pattern || pattern == "*" || (pattern[1:] == ":*" && v.Name[0] == pattern[0] && v.Name != v.Spec.Name) {
			if verb != engine.RunNow || v.Spec.IsTask() {
				s.last[v.Name] = verb
			}
		}
	}
}

// names is how many names programs have.
const names = 6

// reload makes a new wanted world: the old one with some programs changed,
// dropped or added, some told anew without a change, and edges in any direction.
func (s *script) reload() {
	if s.Engine.Stopping() {
		return
	}
	clear(s.last)
	old := s.Engine.Set()
	set := &spec.Set{Daemon: spec.Daemon{ExitWhen: "never", Rollback: s.rng.IntN(4) == 0}}
	if s.rng.IntN(40) == 0 {
		set.Daemon.ExitWhen = []string{"all-done", "any-failed"}[s.rng.IntN(2)]
	}
	keep := s.rng.IntN(10)
	for _, i := range s.rng.Perm(names) {
		name := string(rune('a' + i))
		p := old.Program(name)
		switch {
		case p == nil && s.rng.IntN(2) == 0:
			continue
		case p == nil:
			p = s.change(spec.New(name))
		case s.rng.IntN(10) == 0:
			continue
		case keep == 9, s.rng.IntN(3) == 0:
			same := *p
			p = &same
		case s.rng.IntN(2) == 0:
			p = s.change(p)
		}
		set.Programs = append(set.Programs, p)
	}
	for i, p := range set.Programs {
		before := set.Programs[:i]
		ok := true
		for _, name := range p.Befores() {
			q := (&spec.Set{Programs: before}).Program(name)
			ok = ok && q != nil && q.Schedule == ""
		}
		if rewire := s.rng.IntN(8) == 0; ok && !rewire {
			continue
		}
		q := *p
		q.After, q.Requires = nil, nil
		for _, dep := range before {
			switch n := s.rng.IntN(8); {
			case dep.Schedule != "":
			case n < 2:
				q.After = append(q.After, dep.Name)
			case n == 2:
				q.Requires = append(q.Requires, dep.Name)
			}
		}
		set.Programs[i] = &q
	}
	for _, p := range set.Programs { // one that another comes after may have got a schedule
		p.After = slices.DeleteFunc(slices.Clone(p.After), func(name string) bool { return set.Program(name).Schedule != "" })
		p.Requires = slices.DeleteFunc(slices.Clone(p.Requires), func(name string) bool { return set.Program(name).Schedule != "" })
	}
	if problems := spec.Check(set); len(problems) > 0 {
		s.fail("the schedule makes a set that isn't valid: %v", problems)
	}
	s.set = set
	var cmd uint64
	if s.rng.IntN(3) > 0 {
		s.lastCmd++
		cmd = s.lastCmd
		s.open[cmd] = true
	}
	s.keepPIDs(old, func() { s.Step(engine.Desired{Set: set, Cmd: cmd}) })
}

// keepPIDs checks that a reload leaves alone what it doesn't change. It can't
// tell where an earlier wish still waits for something to end.
func (s *script) keepPIDs(old *spec.Set, reload func()) {
	before := s.views
	reload()
	for _, b := range before {
		if s.anything || b.State == unit.Stopping {
			return
		}
	}
	for id, b := range before {
		p, q := old.Program(b.Spec.Name), s.set.Program(b.Spec.Name)
		if p == nil || q == nil || !p.Enabled || !q.Enabled || b.Outdated || len(q.Requires) > 0 || spec.NeedsRestart(spec.Changes(p, q)) {
			continue
		}
		v, ok := s.views[id]
		if b.State == unit.Running && ok && len(v.Name) <= len(b.Name) && b.Wanted && v.Wanted && (v.State != unit.Running || v.PID != b.PID) {
			s.fail("a reload that doesn't ask for it ended %s: %s", b.Name, v.State)
		}
	}
}

// change returns p with some other values.
func (s *script) change(p *spec.Program) *spec.Program {
	q := *p
	if q.Command.IsZero() {
		q.Command.Shell = "run"
	}
	pick := func(d ...time.Duration) time.Duration { return d[s.rng.IntN(len(d))] }
	for range 1 + s.rng.IntN(4) {
		switch s.rng.IntN(23) {
		case 0:
			q.Command.Shell = fmt.Sprint("run ", s.rng.IntN(3))
		case 1:
			q.Enabled = !q.Enabled
		case 2:
			q.Autostart = !q.Autostart
		case 3, 4, 5:
			q.Instances = s.rng.IntN(4)
		case 6:
			q.Restart = []spec.Restart{spec.RestartAlways, spec.RestartNever, spec.RestartOnFailure}[s.rng.IntN(3)]
		case 7:
			q.SuccessCodes = []int{s.rng.IntN(2)}
		case 8:
			q.MinUptime = pick(0, 10*time.Millisecond, time.Second, 5*time.Second)
		case 9:
			q.Backoff.Initial, q.Backoff.Max = pick(0, time.Millisecond, 100*time.Millisecond), pick(time.Second, 30*time.Second)
		case 10:
			q.MaxFailures, q.RetryFailed = s.rng.IntN(4), pick(0, 0, 10*time.Second)
		case 11:
			q.StopTimeout = pick(0, 10*time.Millisecond, time.Second, 10*time.Second)
		case 12:
			q.WhenDisabled = []spec.WhenDisabled{spec.DisabledStop, spec.DisabledDrain}[s.rng.IntN(2)]
		case 13:
			q.Type = []spec.Type{spec.Service, spec.Task}[s.rng.IntN(2)]
		case 14:
			q.StopCommand.Shell = []string{"", "ask"}[s.rng.IntN(2)]
		case 15:
			q.StopScope = []spec.StopScope{spec.ScopeGroup, spec.ScopeMain}[s.rng.IntN(2)]
		case 16:
			q.KillScope = []spec.KillScope{spec.KillTree, spec.KillGroup, spec.KillMain}[s.rng.IntN(3)]
		case 18:
			q.Ready.Notify, q.Ready.Timeout = !q.Ready.Notify, pick(time.Second, 10*time.Second)
		case 19:
			q.Health.TCP, q.Health.Failures, q.Health.Grace = []string{"", "127.0.0.1:1"}[s.rng.IntN(2)], 1+s.rng.IntN(3), pick(0, time.Second)
		case 20:
			q.Rolling, q.MaxUnavailable = !q.Rolling, 1+s.rng.IntN(2)
		case 21:
			q.OnDemand, q.IdleTimeout = !q.OnDemand, 0
			if q.Listen = nil; q.OnDemand {
				q.Listen, q.IdleTimeout = []string{"./" + q.Name}, pick(0, time.Minute)
			}
		case 22:
			q.Schedule = []string{"", "20s", "1h", "@reboot"}[s.rng.IntN(4)]
			q.Overlap = []spec.Overlap{spec.OverlapSkip, spec.OverlapQueue, spec.OverlapKill}[s.rng.IntN(3)]
			q.CatchUp = q.Schedule != "" && s.rng.IntN(2) == 0
		case 17:
			q.Backoff.Kind = []spec.BackoffKind{spec.Growing, spec.Linear}[s.rng.IntN(2)]
		}
	}
	if q.IsTask() { // what has no meaning for it
		q.Ready, q.Health = spec.New("").Ready, spec.New("").Health
		q.OnDemand, q.IdleTimeout = q.OnDemand && q.Schedule == "", 0
	}
	if q.Schedule == "" {
		q.CatchUp = false
	}
	return &q
}

// check checks that the wishes were understood, from nothing but the latest set
// and the commands since.
func (s *script) check() {
	if s.undone != s.Undone {
		return
	}
	for _, v := range s.Views() {
		p := s.Engine.Set().Program(v.Spec.Name)
		switch verb := s.last[v.Name]; {
		case verb == engine.Stop && v.State != unit.Stopped:
			s.fail("%s was stopped last, but is %s", v.Name, v.State)
		case (verb == engine.Start || verb == engine.Restart) && v.State == unit.Stopped:
			s.fail("%s was started last, but is stopped", v.Name)
		case verb == "" && !p.Enabled && v.State != unit.Stopped:
			s.fail("%s is disabled, but is %s", v.Name, v.State)
		case !s.anything && p.Enabled && p.Autostart && v.State == unit.Stopped:
			s.fail("%s is enabled, but is stopped", v.Name)
		}
	}
}

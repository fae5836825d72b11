// Package sim is the world in which the engine is tested: a kernel and a clock
// that are made of numbers, and the laws that must hold whatever happens.
//
// A [World] carries the engine's effects out on processes that don't exist:
// some ignore the stop signal, some leave children behind, some can't be
// spawned at all; and it tells the engine of it late, twice, and while other
// things happen. It knows at each moment what is really there, and so can tell
// when the engine believes something else. It starts no process, reads no clock,
// and is the same for the same seed.
package sim

import (
	"container/heap"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"tend/internal/engine"
	"tend/internal/event"
	"tend/internal/spec"
	"tend/internal/unit"
)

// epoch is when worlds begin.
var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// A World is an engine with the kernel and the clock that it acts on. The first
// law that doesn't hold ends it: see [World.Err].
type World struct {
	Engine *engine.Engine
	Steps  int // taken by the engine
	Undone int // reloads that were taken back

	rng    *rand.Rand
	tame   bool // everything obeys and nothing fails
	at     time.Duration
	skew   time.Duration // how far the engine's clock is off
	agenda agenda
	serial int // of agenda items, for those of the same time
	lastID int // the kernel's latest pid
	trees  map[engine.ID]*tree
	told   map[engine.ID]time.Duration // when the latest fact of an instance arrives
	wake   time.Time
	exit   *int
	killed bool                // a Shutdown{Now} was said
	edges  map[string][]string // what programs come after, those that leave too

	views   map[engine.ID]*engine.View // after the latest step
	spare   map[engine.ID]*engine.View // the map of the step before, to be used again
	lastTo  map[engine.ID]string       // the state that people were told of
	silent  map[engine.ID]bool         // a start of which nobody was told yet
	ended   map[engine.ID]uint64       // the latest run that has
	open    map[uint64]bool            // commands without an answer
	lastCmd uint64
	ticks   int // in a row that did nothing
	err     error

	life  int   // of the engine's owner: facts of an earlier one are never told
	saved saved // what has outlived all owners
	die   bool  // the owner dies in the next step, before it does what the engine wants
	key   map[engine.ID]engine.Key

	// Trace, where it is set, is given each input and effect in words.
	Trace func(string)
}

// tree is what really lives of one instance.
type tree struct {
	id       engine.ID // in the engine of now
	spec     *spec.Program
	gen      uint64
	pid      int  // of the leader
	was      int  // of the one before it, until the engine is told; 0: none
	spawning bool // the effect is being carried out
	leader   bool
	inside   int  // children in the leader's group
	outside  int  // children that left it
	obeys    bool // the leader ends on the stop signal
	kidsObey bool
	stuck    bool // a kill takes long: in an uninterruptible sleep
	leftover bool // the leader's end was told, with something left
}

func (t *tree) empty() bool { return !t.spawning && !t.leader && t.inside+t.outside == 0 }

// item is something that will happen.
type item struct {
	at  time.Duration
	seq int
	run func()
}

type agenda []item

func (a agenda) Len() int { return len(a) }
func (a agenda) Less(i, j int) bool {
	return a[i].at < a[j].at || a[i].at == a[j].at && a[i].seq < a[j].seq
}
func (a agenda) Swap(i, j int) { a[i], a[j] = a[j], a[i] }
func (a *agenda) Push(x any)   { *a = append(*a, x.(item)) }
func (a *agenda) Pop() any {
	last := len(*a) - 1
	x := (*a)[last]
	*a = (*a)[:last]
	return x
}

// New returns a world without programs, in which chance comes from rng.
func New(rng *rand.Rand) *World {
	return &World{
		Engine: engine.New(outside(rng)), rng: rng,
		trees: make(map[engine.ID]*tree), told: make(map[engine.ID]time.Duration),
		views: make(map[engine.ID]*engine.View), spare: make(map[engine.ID]*engine.View), lastTo: make(map[engine.ID]string), silent: make(map[engine.ID]bool), ended: make(map[engine.ID]uint64), open: make(map[uint64]bool), edges: make(map[string][]string),
		saved: newSaved(), key: make(map[engine.ID]engine.Key),
	}
}

// outside is what units know of the world. A schedule is a duration: runs begin at
// its multiples.
func outside(rng *rand.Rand) unit.Outside {
	return unit.Outside{
		Chance: rng.Float64,
		Next: func(p *spec.Program, after time.Time) time.Time {
			every, err := time.ParseDuration(p.Schedule)
			if err != nil {
				return time.Time{}
			}
			return epoch.Add((after.Sub(epoch)/every + 1) * every)
		},
	}
}

// Err returns the first law that didn't hold, or nil.
func (w *World) Err() error { return w.err }

func (w *World) fail(format string, args ...any) {
	if w.err == nil {
		w.err = fmt.Errorf(format, args...)
	}
}

// Tame makes everything obey from now on: spawns succeed, services live, tasks
// succeed, signals are minded.
func (w *World) Tame() { w.tame = true }

// Now returns the time as the engine is told it.
func (w *World) Now() time.Time { return epoch.Add(w.at + w.skew) }

// SetClock moves the engine's clock by d, forward or back.
func (w *World) SetClock(d time.Duration) { w.skew += d }

// Exit returns the daemon's exit status, nil while it isn't to end.
func (w *World) Exit() *int { return w.exit }

// Views returns what the engine shows of all instances.
func (w *World) Views() []engine.View { return w.Engine.Views() }

// Act sends a command and returns its number.
func (w *World) Act(verb engine.Verb, pattern string, noWait bool) uint64 {
	w.lastCmd++
	cmd := w.lastCmd
	w.open[cmd] = true
	w.Step(engine.Act{Cmd: cmd, Verb: verb, Pattern: pattern, Signal: 1, NoWait: noWait})
	return cmd
}

// Cancel drops a command.
func (w *World) Cancel(cmd uint64) {
	delete(w.open, cmd)
	w.Step(engine.Cancel{Cmd: cmd})
}

// Die ends the leader of an instance, as if by itself.
func (w *World) Die(id engine.ID) {
	if t := w.trees[id]; t != nil && t.leader {
		w.end(t, w.rng.IntN(3), 0)
	}
}

// HandOver lets another process of an instance lead in place of its leader, which
// ends or lives on as one of the others, and tells the engine. lost says that the
// engine's owner dies before that.
func (w *World) HandOver(id engine.ID, lost bool) {
	t, v := w.trees[id], w.views[id]
	if t == nil || !t.leader || t.inside+t.outside == 0 || v == nil || v.PID != t.pid {
		return // there is no other one, or what leads is on its way to be told of
	}
	if t.outside > 0 {
		t.outside--
	} else {
		t.inside--
	}
	if w.rng.IntN(2) == 0 {
		t.inside++ // the one that has led
	}
	w.lastID++
	t.was, t.pid = t.pid, w.lastID
	if lost {
		w.Crash()
		return
	}
	t.was = 0
	w.Step(engine.Fact{ID: id, Event: unit.Main{Gen: t.gen, PID: t.pid}})
}

// Next lets the next thing happen: something of the kernel's, or the tick that
// the engine asked for. It reports false when nothing is to come.
func (w *World) Next() bool {
	tick := time.Duration(-1)
	if !w.wake.IsZero() {
		tick = max(w.wake.Sub(epoch)-w.skew, w.at)
	}
	switch {
	case w.err != nil:
		return false
	case len(w.agenda) > 0 && (tick < 0 || w.agenda[0].at <= tick):
		next := heap.Pop(&w.agenda).(item)
		w.at = max(w.at, next.at)
		next.run()
	case tick >= 0:
		if !w.tame && w.rng.IntN(4) == 0 {
			tick += w.upTo(50 * time.Millisecond) // timers come late
		}
		w.at = tick
		w.Step(engine.Tick{})
	default:
		return false
	}
	return w.err == nil
}

// Step tells the engine one input, carries out what it wants, and checks that
// all laws hold.
func (w *World) Step(in engine.Input) {
	if w.err != nil {
		return
	}
	w.Steps++
	w.trace(in)
	switch in := in.(type) {
	case engine.Shutdown:
		w.killed = w.killed || in.Now
	case engine.Desired:
		if !w.Engine.Stopping() {
			for _, p := range in.Set.Programs {
				w.edges[p.Name] = p.Befores()
			}
		}
	}
	before := w.views
	_, down := in.(engine.Shutdown)
	down = down || w.Engine.Stopping()
	out := w.Engine.Step(w.Now(), in)
	w.saved.apply(out.Save)
	w.look()
	w.checkSaved()
	if w.die {
		w.die = false
		for _, f := range out.Do { // what is let go of is so without anybody's doing
			if k, ok := f.(engine.Kernel); ok {
				if _, ok := k.Action.(unit.Leave); ok && w.trees[k.ID] != nil {
					w.leave(w.trees[k.ID])
				}
			}
		}
		w.restore()
		return
	}
	w.wake = out.Wake
	if out.Exit != nil {
		w.exit = out.Exit
	}
	for _, ev := range out.Say {
		if ev.Kind == event.RolledBack {
			w.Undone++
			for _, p := range w.Engine.Set().Programs {
				w.edges[p.Name] = p.Befores()
			}
		}
	}
	for _, r := range out.Ended {
		if r.Exit.Gen <= w.ended[r.ID] {
			w.fail("run %d of %s has ended after run %d, or twice", r.Exit.Gen, r.Name, w.ended[r.ID])
		}
		w.ended[r.ID] = r.Exit.Gen
	}
	w.checkEvents(before, out)
	w.checkOrder(before, out, down)
	for _, f := range out.Do {
		w.carryOut(f)
	}
	for _, a := range out.Answer {
		if !w.open[a.Cmd] {
			w.fail("command %d was answered twice, or after it was cancelled: %+v", a.Cmd, a)
		}
		delete(w.open, a.Cmd)
	}
	if _, ok := in.(engine.Tick); ok && len(out.Do)+len(out.Say) == 0 && !w.wake.IsZero() && !w.wake.After(w.Now()) {
		if w.ticks++; w.ticks > 3 {
			w.fail("the engine wants to be woken at once, but does nothing then")
		}
	} else {
		w.ticks = 0
	}
	w.checkTruth()
}

func (w *World) traceText(text string) {
	if w.Trace != nil {
		w.Trace(fmt.Sprintf("%v %s", w.at+w.skew, text))
	}
}

func (w *World) trace(x any) {
	if w.Trace == nil {
		return
	}
	name := func(id engine.ID) string { return fmt.Sprintf("%s#%d", w.name(id), id) }
	var text string
	switch x := x.(type) {
	case engine.Fact:
		text = fmt.Sprintf("fact %s %T%+v", name(x.ID), x.Event, x.Event)
	case engine.Desired:
		text = fmt.Sprintf("desired as command %d: %s", x.Cmd, describe(x.Set))
	case engine.Spawn:
		text = fmt.Sprintf("  do spawn %s gen %d", name(x.ID), x.Gen)
	case engine.Kernel:
		text = fmt.Sprintf("  do %s %T%+v", name(x.ID), x.Action, x.Action)
	case engine.Configure:
		text = fmt.Sprintf("  do configure %s", name(x.ID))
	case engine.StopCommand:
		text = fmt.Sprintf("  do stop command %s gen %d", name(x.ID), x.Gen)
	case event.Event:
		text = fmt.Sprintf("  say %s %s%s: %s → %s %s", x.Kind, x.Program, strings.TrimPrefix(x.Name, x.Program), x.From, x.To, x.Message)
	default:
		text = fmt.Sprintf("%T%+v", x, x)
	}
	w.Trace(fmt.Sprintf("%v %s", w.at+w.skew, text))
}

// describe returns a set in one line: what differs from the defaults.
func describe(set *spec.Set) string {
	var words []string
	for _, p := range set.Programs {
		var keys []string
		for _, c := range spec.Changes(spec.New(p.Name), p) {
			keys = append(keys, c.Field.Key+"="+c.New)
		}
		words = append(words, p.Name+"{"+strings.Join(keys, " ")+"}")
	}
	return strings.Join(words, " ")
}

func (w *World) upTo(d time.Duration) time.Duration { return time.Duration(w.rng.Int64N(int64(d) + 1)) }

// odds reports true in n of 100 cases of a world that isn't tame.
func (w *World) odds(n int) bool { return !w.tame && w.rng.IntN(100) < n }

func (w *World) later(d time.Duration, run func()) {
	w.serial++
	heap.Push(&w.agenda, item{w.at + d, w.serial, run})
}

// tell gives the engine a fact, some time later. Facts of one instance keep
// their order, but one may come again.
func (w *World) tell(id engine.ID, ev unit.Event) {
	delay := w.upTo(time.Millisecond)
	if w.odds(10) {
		delay = w.upTo(5 * time.Second)
	}
	at := max(w.at+delay, w.told[id])
	w.told[id] = at
	life := w.life
	step := func() {
		if life == w.life {
			w.Step(engine.Fact{ID: id, Event: ev})
		}
	}
	w.later(at-w.at, step)
	if w.odds(5) {
		w.later(at-w.at+w.upTo(20*time.Second), step)
	}
}

// carryOut does what the engine wants done.
func (w *World) carryOut(f engine.Effect) {
	w.trace(f)
	switch f := f.(type) {
	case engine.Spawn:
		w.spawn(f)
	case engine.StopCommand:
		if t := w.trees[f.ID]; t != nil && t.leader && t.gen == f.Gen && !w.odds(10) { // the command may fail
			w.ask(t, false)
		}
	case engine.Kernel:
		t := w.trees[f.ID]
		if t == nil {
			return // it has just ended, and the engine doesn't know yet
		}
		switch a := f.Action.(type) {
		case unit.Signal:
			w.mustBe(f.ID, t, a.Gen)
			if a.Sig != 1 {
				w.ask(t, a.Group)
			}
		case unit.Sweep:
			w.mustBe(f.ID, t, a.Gen)
			if t.leader {
				w.fail("%s was swept while its leader lives", w.name(f.ID))
			}
			w.later(w.upTo(20*time.Millisecond), func() {
				if t.kidsObey || w.tame {
					t.outside = 0
					if !a.Group {
						t.inside = 0
					}
					w.emptied(t)
				}
			})
		case unit.Kill:
			w.mustBe(f.ID, t, a.Gen)
			delay := w.upTo(20 * time.Millisecond)
			if t.stuck && !w.tame {
				delay += 12 * time.Second
			}
			w.later(delay, func() {
				switch a.Scope {
				case spec.KillTree:
					t.inside, t.outside = 0, 0
				case spec.KillGroup:
					t.inside = 0
				}
				w.end(t, 0, 9)
				w.emptied(t)
			})
		case unit.Leave:
			w.mustBe(f.ID, t, a.Gen)
			if t.leader {
				w.fail("%s was left alone while its leader lives", w.name(f.ID))
			}
			w.leave(t)
		}
	case engine.Watch:
		w.watch(f)
	case engine.Forget:
		if w.trees[f.ID] != nil {
			w.fail("%s was forgotten while something of it lives", f.Name)
		}
		delete(w.lastTo, f.ID)
		delete(w.silent, f.ID)
		delete(w.told, f.ID)
	}
}

// watch lets something be found of what is looked for.
func (w *World) watch(f engine.Watch) {
	t := w.trees[f.ID]
	if live := f.For.Ready || f.For.Health || f.For.Idle; live && (t == nil || t.gen != f.Gen) || f.For.Demand && t != nil {
		if t != nil || !live || f.For.Demand {
			w.fail("%s is looked at for %+v, generation %d", w.name(f.ID), f.For, f.Gen)
		}
		return // it has just ended, and the engine doesn't know yet
	}
	if f.For.Ready && !w.odds(20) {
		w.later(w.upTo(800*time.Millisecond), func() { w.tell(f.ID, unit.Ready{Gen: f.Gen}) })
	}
	if f.For.Health {
		for range w.rng.IntN(4) {
			ok := !w.odds(60)
			w.later(w.upTo(20*time.Second), func() { w.tell(f.ID, unit.Checked{Gen: f.Gen, OK: ok || w.tame, Message: "status 500"}) })
		}
	}
	if f.For.Demand && !w.odds(30) {
		w.later(w.upTo(5*time.Second), func() { w.tell(f.ID, unit.Demanded{}) })
	}
	if f.For.Idle && w.odds(30) {
		w.later(w.upTo(20*time.Second), func() { w.tell(f.ID, unit.Idle{Gen: f.Gen}) })
	}
}

func (w *World) mustBe(id engine.ID, t *tree, gen uint64) {
	if t.gen != gen {
		w.fail("%s has generation %d, but %d is meant", w.name(id), t.gen, gen)
	}
}

func (w *World) spawn(f engine.Spawn) {
	if w.trees[f.ID] != nil {
		w.fail("%s is to be spawned while something of its generation %d lives", f.Name, w.trees[f.ID].gen)
		return
	}
	t := &tree{id: f.ID, spec: f.Spec, gen: f.Gen, spawning: true, obeys: !w.odds(15), kidsObey: !w.odds(30), stuck: w.odds(5)}
	w.trees[f.ID], w.key[f.ID] = t, engine.Key{Program: f.Spec.Name, Index: f.Index}
	delay := w.upTo(2 * time.Millisecond)
	if w.odds(10) {
		delay = w.upTo(3 * time.Second)
	}
	w.later(delay, func() {
		switch {
		case !t.spawning: // who was to carry it out has died
		case w.odds(12):
			delete(w.trees, t.id)
			w.tell(t.id, unit.SpawnFailed{Gen: f.Gen, Err: "cannot start: no such file"})
		default:
			w.born(t)
			w.tell(t.id, unit.Spawned{Gen: f.Gen, PID: t.pid})
		}
	})
}

// born begins the life of a leader.
func (w *World) born(t *tree) {
	t.spawning = false
	w.lastID++
	t.leader, t.pid = true, w.lastID
	if w.odds(30) {
		t.inside, t.outside = w.rng.IntN(3), w.rng.IntN(3)
	}
	var life time.Duration
	switch {
	case w.tame && !t.spec.IsTask(), w.odds(25) && t.spec.Schedule == "":
		return
	case w.tame:
		life = 10 * time.Millisecond
	case w.odds(40):
		life = w.upTo(100 * time.Millisecond)
	case w.odds(50):
		life = w.upTo(3 * time.Second)
	default:
		life = w.upTo(30 * time.Second)
	}
	code := w.rng.IntN(3)
	if w.tame {
		code = t.spec.SuccessCodes[0]
	}
	w.later(life, func() { w.end(t, code, 0) })
}

// ask gives a tree the stop signal.
func (w *World) ask(t *tree, group bool) {
	w.later(w.upTo(20*time.Millisecond), func() {
		if group && (t.kidsObey || w.tame) {
			t.inside = 0
		}
		if t.obeys || w.tame {
			w.end(t, 0, spec.SIGTERM)
		}
		w.emptied(t)
	})
}

// end ends the leader, if it lives.
func (w *World) end(t *tree, code int, sig spec.Signal) {
	if !t.leader {
		return
	}
	t.leader = false
	t.leftover = !t.empty()
	if !t.leftover {
		delete(w.trees, t.id)
	}
	w.tell(t.id, unit.Ended{Gen: t.gen, Code: code, Signal: sig, Left: t.leftover})
}

// leave lets go of what a leader has left behind: the kernel keeps it, but it is
// the engine's no more. Its end may still be told.
func (w *World) leave(t *tree) {
	if t.leftover && w.odds(20) {
		w.tell(t.id, unit.Emptied{Gen: t.gen})
	}
	t.inside, t.outside, t.leftover = 0, 0, false
	delete(w.trees, t.id)
}

// emptied tells that nothing is left, when that has just become so.
func (w *World) emptied(t *tree) {
	if t.leftover && t.empty() {
		t.leftover = false
		delete(w.trees, t.id)
		w.tell(t.id, unit.Emptied{Gen: t.gen})
	}
}

// look reads what the engine shows.
func (w *World) look() {
	views := w.Engine.Views()
	w.views, w.spare = w.spare, w.views
	clear(w.views)
	for i := range views {
		w.views[views[i].ID] = &views[i]
	}
}

// checkTruth checks what the engine believes against what is.
func (w *World) checkTruth() {
	for id, v := range w.views {
		t := w.trees[id]
		switch {
		case v.State.AtRest() || v.State == unit.Backoff || v.State == unit.Waiting:
			if t != nil {
				w.fail("%s is %s while something of it lives", v.Name, v.State)
			}
		case v.PID != 0 && t != nil && t.gen == v.Gen && t.pid != v.PID && t.was != v.PID:
			w.fail("%s has pid %d, not %d", v.Name, t.pid, v.PID)
		case v.State == unit.Running && v.PID == 0:
			w.fail("%s runs without a process", v.Name)
		}
	}
	for id := range w.trees {
		if _, ok := w.views[id]; !ok {
			w.fail("something of instance %d lives that the engine doesn't know", id)
		}
	}
}

// checkEvents checks that the events make a story: each begins where the one
// before it ended, and the last one ends where the instance is.
func (w *World) checkEvents(before map[engine.ID]*engine.View, out engine.Output) {
	started := make(map[engine.ID]bool)
	spawns := func() {
		for _, f := range out.Do {
			if s, ok := f.(engine.Spawn); ok {
				w.silent[s.ID], started[s.ID] = true, true
			}
		}
	}
	spawns()
	for _, ev := range out.Say {
		w.trace(ev)
		if ev.Kind != event.State && (ev.Kind != event.Warning || ev.Name == "") {
			continue
		}
		id, ok := byName(w.views, ev.Name)
		if !ok {
			if id, ok = byName(before, ev.Name); !ok {
				w.fail("an event tells of %q, which nobody knows", ev.Name)
				return
			}
		}
		last, known := w.lastTo[id]
		if !known {
			last = unit.Stopped.String()
		}
		if ev.From != last && !(ev.From == unit.Starting.String() && (w.silent[id] || started[id])) {
			w.fail("an event says %s: %s → %s, but the one before it ended at %s", ev.Name, ev.From, ev.To, last)
		}
		if ev.Kind == event.State && (ev.To != unit.Starting.String() || ev.PID != 0) {
			delete(w.silent, id)
		}
		w.lastTo[id] = ev.To
	}
	spawns() // which of them came before a spawn isn't known
	for id, v := range w.views {
		last, known := w.lastTo[id]
		if !known {
			last = unit.Stopped.String()
		}
		if v.State.String() != last && !(v.State == unit.Starting && w.silent[id]) {
			w.fail("%s is %s, but the events say %s", v.Name, v.State, last)
		}
	}
}

func (w *World) name(id engine.ID) string {
	if v := w.views[id]; v != nil {
		return v.Name
	}
	return "?"
}

func byName(views map[engine.ID]*engine.View, name string) (engine.ID, bool) {
	for id, v := range views {
		if v.Name == name {
			return id, true
		}
	}
	return 0, false
}

// checkOrder checks the order along the edges of the graph: a wished start comes
// after those of what it is after, and a shutdown asks a program to end when
// those that come after it are gone. down says that the step was one of a
// shutdown from its beginning: one that exit_when begins comes after what the
// step was about.
func (w *World) checkOrder(before map[engine.ID]*engine.View, out engine.Output, down bool) {
	let := make(map[engine.ID]bool) // go of in this step
	for _, f := range out.Do {
		if k, ok := f.(engine.Kernel); ok {
			if _, ok := k.Action.(unit.Leave); ok {
				let[k.ID] = true
			}
		}
	}
	for _, f := range out.Do {
		switch f := f.(type) {
		case engine.Spawn:
			if b := before[f.ID]; b != nil && b.State != unit.Stopped && b.State != unit.Waiting {
				continue // started again after an end: that isn't held
			}
			for _, dep := range w.views {
				if slices.Contains(w.edges[w.views[f.ID].Spec.Name], dep.Spec.Name) && w.inSet(dep) && dep.Wanted && !ready(dep) && !dep.Spec.Rolling && !w.Engine.Set().Program(dep.Spec.Name).Rolling {
					w.fail("%s is started while %s is %s", f.Name, dep.Name, dep.State)
				}
			}
		case engine.Kernel, engine.StopCommand:
			var id engine.ID
			switch f := f.(type) {
			case engine.StopCommand:
				id = f.ID
			case engine.Kernel:
				if _, asked := f.Action.(unit.Signal); !asked {
					continue
				}
				id = f.ID
			}
			if b := before[id]; !down || w.killed || b.State == unit.Stopping || w.views[id].State != unit.Stopping || strings.HasPrefix(w.views[id].Message, "not ready") {
				continue
			}
			for other, v := range w.views {
				if slices.Contains(w.edges[v.Spec.Name], w.views[id].Spec.Name) && (w.trees[other] != nil && !let[other] || v.State != unit.Stopped) {
					w.fail("%s is asked to end while %s, which comes after it, is %s", w.name(id), v.Name, v.State)
				}
			}
		}
	}
}

// inSet reports whether an instance is part of the wanted world.
func (w *World) inSet(v *engine.View) bool {
	return w.Engine.Set().Program(v.Spec.Name) != nil
}

func ready(v *engine.View) bool {
	return v.State == unit.Running && v.Ready || v.State == unit.Waiting && v.Spec.OnDemand && v.Idle || v.State == unit.Done || v.State == unit.Exited && v.Last.Success
}

// Settle makes the world tame and lets everything happen that is still to come.
// It is an error when that doesn't end, when something isn't where it is wanted
// then, when something lives that shouldn't, or when a command got no answer.
func (w *World) Settle() error {
	w.Tame()
	limit := w.Steps + 500*(1+len(w.views)) // far more than it takes
	quiet := func() bool {                  // nothing is to come but runs of schedules
		if len(w.agenda) > 0 {
			return false
		}
		for _, v := range w.views {
			if v.State != unit.Running && v.State != unit.Waiting && (!v.State.AtRest() || !v.Next.IsZero()) {
				return false
			}
		}
		return true
	}
	for w.finishDrains(); !quiet() && w.Next(); w.finishDrains() {
		if w.Steps > limit {
			w.fail("the world doesn't come to rest")
		}
	}
	for id, v := range w.views {
		p := w.Engine.Set().Program(v.Spec.Name)
		switch {
		case p == nil:
			w.fail("%s was removed, and is still there, %s", v.Name, v.State)
		case !v.Wanted && v.State != unit.Stopped:
			w.fail("%s is not wanted, but is %s", v.Name, v.State)
		case v.State == unit.Stopped && w.trees[id] != nil:
			w.fail("%s is stopped, but something of it lives", v.Name)
		case v.Wanted && !v.State.AtRest() && v.State != unit.Running && v.State != unit.Waiting,
			v.Wanted && v.State == unit.Stopped:
			w.fail("%s is wanted, but is %s (%s)", v.Name, v.State, v.Message)
		case v.State == unit.Waiting && p.Schedule != "" && !v.Next.IsZero(), v.State == unit.Waiting && p.OnDemand:
		case v.State == unit.Waiting && !w.blocked(p):
			w.fail("%s waits for nothing", v.Name)
		}
	}
	for _, p := range w.Engine.Set().Programs {
		for i := range p.Instances {
			if _, ok := byName(w.views, spec.InstanceName(p.Name, i, p.Instances)); !ok {
				w.fail("there is no instance %d of %s", i, p.Name)
			}
		}
	}
	for cmd := range w.open {
		if !w.waiting() {
			w.fail("command %d was not answered", cmd)
		}
	}
	return w.err
}

// finishDrains ends what drains, as it does by itself some day.
func (w *World) finishDrains() {
	for _, v := range w.Views() {
		if t := w.trees[v.ID]; v.State == unit.Draining && t != nil {
			w.end(t, 0, 0)
			t.inside, t.outside = 0, 0
			w.emptied(t)
		}
	}
}

// blocked reports whether something that p comes after is wanted but not ready.
func (w *World) blocked(p *spec.Program) bool {
	for _, v := range w.views {
		if slices.Contains(p.Befores(), v.Spec.Name) && v.Wanted && !ready(v) {
			return true
		}
	}
	for _, name := range p.Requires {
		up := false
		for _, v := range w.views {
			up = up || v.Spec.Name == name && ready(v)
		}
		if !up {
			return true
		}
	}
	return false
}

// waiting reports whether an instance is held for good, by one that failed, or
// runs as a task that has no end.
func (w *World) waiting() bool {
	for _, v := range w.views {
		if v.State == unit.Waiting || v.State == unit.Running && v.Spec.IsTask() {
			return true
		}
	}
	return false
}

// Package engine is all units together, as a value: it takes inputs (a wanted
// set, a command, a fact about a process, a tick) and returns effects, events,
// answers, and the time at which it wants to be woken.
//
// It is pure. It starts no process, reads no clock, and makes no goroutine; the
// daemon that owns it carries the effects out and feeds the facts back. What it
// holds always, whatever the order of its inputs: never two processes for one
// instance; a program that is wanted and may run gets to run; one that isn't
// wanted comes to rest, with everything that it started gone; a stop overtakes a
// start.
package engine

import (
	"cmp"
	"container/heap"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"tend/internal/event"
	"tend/internal/spec"
	"tend/internal/unit"
)

// An ID names an instance for as long as the engine knows it, and never another.
type ID uint32

// An Input is something that the engine is told.
type Input interface{ input() }

type (
	// Desired is a new wanted world; it has passed all checks. It is answered under
	// Cmd, unless that is 0, when all that it sets going has its result.
	Desired struct {
		Set *spec.Set
		Cmd uint64
	}
	// Act is a command of a person or a program. It is answered under Cmd.
	Act struct {
		Cmd     uint64
		Verb    Verb
		Pattern string      // a program, an instance, or a glob over both
		Only    ID          // one instance, in place of a pattern; 0: none
		Signal  spec.Signal // of verb Signal
		NoWait  bool        // answer at once, not when it is done
		Rolling bool        // of verb Restart: one instance of a program after the other
		Why     string      // of verb Restart, for the history: "" is by hand
	}
	// Cancel drops a command whose asker has gone. What it began goes on.
	Cancel struct{ Cmd uint64 }
	// Fact is something that happened to the process of an instance.
	Fact struct {
		ID    ID
		Event unit.Event
	}
	// Renew restarts the instances of a program that are meant to run, whatever has
	// become of them, since what they are made of has changed. Why is for people.
	Renew struct{ Program, Why string }
	// Shutdown stops everything, for good. Now kills.
	Shutdown struct{ Now bool }
	// Tick says that the time of Wake has come.
	Tick struct{}
)

func (Desired) input()  {}
func (Act) input()      {}
func (Cancel) input()   {}
func (Fact) input()     {}
func (Renew) input()    {}
func (Shutdown) input() {}
func (Tick) input()     {}

// A Verb is what an [Act] does.
type Verb string

const (
	Start   Verb = "start"
	Stop    Verb = "stop"
	Restart Verb = "restart"
	RunNow  Verb = "run" // one run of a task, whatever its schedule says
	Signal  Verb = "signal"
)

// Output is what comes of an input.
type Output struct {
	Do     []Effect // in order per instance
	Say    []event.Event
	Ended  []Run // runs that are over, each once
	Answer []Answer
	Save   Save      // what has to outlive the daemon before Do is carried out
	Wake   time.Time // when a Tick is wanted; zero: never
	Exit   *int      // the shutdown is complete: the daemon's exit status
}

// A Run is one that is over: of an instance, however often that was named anew
// since.
type Run struct {
	ID ID
	Key
	Name string
	Exit event.Exit
}

// An Effect is something to be done for one instance.
type Effect interface{ effect() }

type (
	// Spawn starts generation Gen; unit.Spawned or unit.SpawnFailed answers it.
	Spawn struct {
		ID    ID
		Gen   uint64
		Name  string
		Index int
		Spec  *spec.Program // of this instance
	}
	// Kernel is an effect on the processes of an instance: a unit.Signal,
	// unit.Sweep, unit.Kill or unit.Leave.
	Kernel struct {
		ID     ID
		Action unit.Action
	}
	// StopCommand runs the stop command of generation Gen.
	StopCommand struct {
		ID    ID
		Gen   uint64
		Name  string
		Index int
		PID   int
		Spec  *spec.Program
	}
	// Watch says what to look for at an instance from now on, in place of what was
	// said before.
	Watch struct {
		ID   ID
		Gen  uint64
		For  unit.Watching
		Spec *spec.Program
	}
	// Configure says that the name or a live value outside the engine's own
	// policies may have changed: where the output goes.
	Configure struct {
		ID   ID
		Name string
		Spec *spec.Program
	}
	// Forget says that an instance is gone for good.
	Forget struct {
		ID   ID
		Name string
	}
)

func (Spawn) effect()       {}
func (Kernel) effect()      {}
func (StopCommand) effect() {}
func (Watch) effect()       {}
func (Configure) effect()   {}
func (Forget) effect()      {}

// An Answer ends a command.
type Answer struct {
	Cmd     uint64
	Results []Result
	Refused *Refusal // the command was not begun
	Undone  string   // why the new world of a Desired was taken back; "": it wasn't
}

// Result is what a command did to one instance.
type Result struct {
	Name    string
	OK      bool
	State   unit.State
	Message string
}

// Refusal says why a command was not begun.
type Refusal struct {
	NotFound bool // nothing matches; else the engine is shutting down
	Message  string
	Hint     string
}

// An Engine is all programs as they are wanted and as they are.
type Engine struct {
	outside unit.Outside
	set     *spec.Set
	trial   *trial   // nil: no reload is on trial
	reload  *command // that is being begun, and waits for what it sets going; nil: none

	programs   map[string]*program
	order      []*program // as they are shown: those of the set, then those that leave
	entries    map[ID]*entry
	lastID     ID
	due        deadlines
	stuck      []*entry   // with commands to be answered at the end of their patience
	stuckUntil time.Time  // the first such end
	touched    []*program // whose neighbours in the graph must be looked at

	stopping bool
	rested   bool // an instance came to rest in this step
	restored bool // nothing was stepped since Restore: what has rested meanwhile isn't known
	status   int  // the exit status of a complete shutdown

	past  map[Key]Record // of instances before the machine's last boot
	dirty []*entry       // that differ from their latest Record

	now time.Time
	out Output
}

// A program is the engine's view of one program: its instances and neighbours.
type program struct {
	spec    *spec.Program
	entries []*entry // by index; those that leave too
	leaving bool     // no longer in the set
	leavers int      // instances that leave
	held    int      // instances with a wish that waits, see entry.held
	roll    *roll    // nil: no rolling restart is under way
	touched bool
	after   []*program // which must be ready before this one
	before  []*program // which wait for this one

	lastDown int // in before, see heldBack
}

// An entry is one instance.
type entry struct {
	id      ID
	program *program
	index   int
	name    string
	unit    *unit.Unit
	manual  manual
	leaving bool       // to be forgotten when at rest
	held    unit.Event // a Down, Drain or Restart that waits for those that come after it
	waiting bool       // the unit was told last that its start has to wait
	bound   bool       // and that it is held down
	rolling rolling    // its part in the rolling restart of its program
	rollGen uint64     // the generation that its turn in it ends
	earlier bool       // its unit has an earlier spec than its program
	message string     // of the last change
	ends    []End      // how its last runs ended, the latest one last
	waits   []wait
	heapPos int  // in due; -1: not there
	dirty   bool // in Engine.dirty
}

// manual is what a person wished by hand, over the configuration.
type manual uint8

const (
	byConfig manual = iota
	wantUp
	wantDown
)

// wait is a command that waits for an entry.
type wait struct {
	cmd  *command
	slot int
	verb Verb
	gen  uint64 // of the entry when the command came

	stuck time.Time // since when it waits for what nobody wants; zero: it doesn't
}

// patience is how long a command waits for what nobody wants to be up: whoever
// starts both may start the other one in a moment.
const patience = time.Second

// command is an Act that isn't answered yet.
type command struct {
	id      uint64
	results []Result
	open    int    // results still missing, and what else it has to wait for
	undone  string // see Answer
}

// New returns an engine without programs.
func New(outside unit.Outside) *Engine {
	return &Engine{outside: outside, set: &spec.Set{}, programs: make(map[string]*program), entries: make(map[ID]*entry)}
}

// Set returns the wanted world.
func (e *Engine) Set() *spec.Set { return e.set }

// Stopping reports whether a shutdown has begun.
func (e *Engine) Stopping() bool { return e.stopping }

// Step tells the engine one input and returns what comes of it.
func (e *Engine) Step(now time.Time, in Input) Output {
	e.now, e.out = now, Output{}
	e.rested, e.restored = e.restored, false
	switch in := in.(type) {
	case Desired:
		e.onReload(in)
	case Act:
		e.onAct(in)
	case Cancel:
		e.onCancel(in.Cmd)
	case Fact:
		if n := e.entries[in.ID]; n != nil && !n.excused(in.Event) {
			if end, ok := in.Event.(unit.Ended); ok && e.stopping && n.held != nil && end.Gen == n.unit.Gen() {
				// It has ended before its turn, and mustn't be started again for that. There
				// is no process left to be asked.
				done := len(e.out.Do)
				e.release(n)
				e.out.Do = append(e.out.Do[:done], slices.DeleteFunc(e.out.Do[done:], func(f Effect) bool {
					_, watches := f.(Watch)
					return !watches
				})...)
			}
			e.tell(n, in.Event)
		}
	case Renew:
		e.onRenew(in)
	case Shutdown:
		e.onShutdown(in.Now)
	case Tick:
		if e.trial != nil && e.trial.culprit != nil && !e.stopping {
			e.rollBack()
		}
		for len(e.due) > 0 && !now.Before(e.due[0].unit.Deadline()) {
			e.tell(e.due[0], unit.Tick{})
		}
		if len(e.stuck) > 0 && !now.Before(e.stuckUntil) {
			stuck := e.stuck
			e.stuck = nil
			for _, n := range stuck {
				e.checkWaits(n)
			}
		}
	default:
		panic(fmt.Sprintf("engine: unknown input %T", in))
	}
	e.followGraph()
	e.checkTrial()
	e.checkExit()
	e.save()
	if len(e.due) > 0 {
		e.out.Wake = e.due[0].unit.Deadline()
	}
	if len(e.stuck) > 0 && (e.out.Wake.IsZero() || e.stuckUntil.Before(e.out.Wake)) {
		e.out.Wake = e.stuckUntil
	}
	if e.trial != nil && e.trial.culprit != nil && !e.stopping {
		e.out.Wake = e.now
	}
	return e.out
}

// excused reports whether a fact doesn't matter, since the instance is to end
// anyway, in its turn.
func (n *entry) excused(ev unit.Event) bool {
	if n.held == nil {
		return false
	}
	switch ev.(type) {
	case unit.Checked, unit.Trouble, unit.Idle:
		return true
	}
	return false
}

// reloaded is whose wish a restart is for which the configuration is the reason.
const reloaded = "restarted by a reload"

// onDesired makes set the wanted world and does the least that leads there.
func (e *Engine) onDesired(set *spec.Set) {
	if e.stopping {
		return
	}
	if sameWorld := e.set; !sameNames(sameWorld, set) || sameWorld.Daemon != set.Daemon {
		defer e.saveWorld()
	}
	e.set = set
	var starts []*entry
	order := make([]*program, 0, len(set.Programs))
	inSet := make(map[*program]bool, len(set.Programs))
	for _, s := range set.Programs {
		p := e.programs[s.Name]
		if p == nil {
			p = &program{}
			e.programs[s.Name] = p
		}
		starts = append(starts, e.adopt(p, s)...)
		order, inSet[p] = append(order, p), true
	}
	for _, p := range e.order {
		if !inSet[p] {
			order = append(order, p)
		}
	}
	removed := order[len(set.Programs):]
	e.order = order
	e.linkGraph()
	for _, p := range removed {
		if p.leaving {
			continue
		}
		p.leaving = true
		e.saveProgram(p)
		for _, n := range p.entries {
			e.dismiss(n)
		}
		e.touch(p)
	}
	e.bindDown()
	for _, n := range starts {
		e.start(n)
		e.await(n, Start)
	}
	for _, p := range e.order { // the edges are new, and who was held by one may not be any more
		if len(p.before) > 0 || p.held > 0 {
			e.touch(p)
		}
		for _, n := range p.entries {
			if n.unit.State() == unit.Waiting {
				e.tellHoldAnew(n)
			} else if !p.mustWait() || len(p.spec.Requires) > 0 {
				e.tellHold(n)
			}
		}
	}
}

// adopt gives p the spec s and returns the instances that are to be started:
// those are started when all wishes are known.
func (e *Engine) adopt(p *program, s *spec.Program) (starts []*entry) {
	old := p.spec
	known := old != nil && !p.leaving
	var changes []spec.Change
	if old != nil {
		changes = spec.Changes(old, s)
	}
	p.spec, p.leaving = s, false
	if !known || len(changes) > 0 || old.Member != s.Member {
		e.saveProgram(p)
	}
	if known && len(changes) == 0 {
		for _, n := range p.entries {
			// Only the manual start of a disabled program ends with a reload.
			if !n.leaving && !s.Enabled && n.manual == wantUp {
				n.manual = byConfig
				e.changed(n)
				e.retire(n, "disabled")
			}
		}
		return nil
	}
	enabled := s.Enabled && !(known && old.Enabled)
	disabled := known && old.Enabled && !s.Enabled
	restart := spec.NeedsRestart(changes)
	switch {
	case enabled:
		e.say(event.Event{Kind: event.Enabled, Program: s.Name, Message: "enabled"})
	case disabled:
		e.say(event.Event{Kind: event.Disabled, Program: s.Name, Message: "disabled"})
	case !known:
		e.say(event.Event{Kind: event.Added, Program: s.Name, Message: "added, disabled"})
	case !restart:
		keys := make([]string, len(changes))
		for i, c := range changes {
			keys[i] = c.Field.Key
		}
		e.say(event.Event{Kind: event.Changed, Program: s.Name, Message: "changed in place: " + strings.Join(keys, ", ")})
	}
	have := make(map[int]*entry, len(p.entries))
	for _, n := range p.entries {
		have[n.index] = n
		if n.index >= s.Instances {
			n.earlier = true
			e.changed(n)
			e.dismiss(n)
		}
	}
	for i := range s.Instances {
		n := have[i]
		name := spec.InstanceName(s.Name, i, s.Instances)
		if n == nil {
			e.lastID++
			n = &entry{id: e.lastID, program: p, index: i, name: name, heapPos: -1}
			n.unit = unit.New(e.now, s.Instance(i), e.outside)
			p.entries = append(p.entries, n)
			e.entries[n.id] = n
			e.recall(n)
			e.changed(n)
			if s.Enabled && s.Autostart && n.manual != wantDown {
				starts = append(starts, n)
			}
			continue
		}
		back := n.leaving
		if back {
			n.leaving = false
			p.leavers--
		}
		n.name = name
		e.changed(n)
		if s.Rolling && !enabled && !back && s.Enabled && n.manual != wantDown && n.unit.Up() && !n.unit.Gone() && n.outdated() {
			e.enroll(n)
			n.earlier = true
			e.await(n, Restart)
			e.do(Configure{ID: n.id, Name: n.name, Spec: n.unit.Spec()}) // it may be named otherwise now
			continue
		}
		e.respec(n)
		switch {
		case !s.Enabled:
			n.manual = byConfig
			e.retire(n, "disabled")
		case enabled || back:
			n.manual = byConfig
			switch {
			case restart && !n.unit.Gone() && (s.Autostart || n.unit.Up()):
				e.request(n, unit.Restart{By: reloaded})
				e.await(n, Restart)
			case s.Autostart:
				starts = append(starts, n)
			}
		case n.manual == wantDown: // told to stop, which may have to wait
		case s.Autostart && !old.Autostart && !n.unit.Up():
			starts = append(starts, n)
		case restart && n.unit.Up():
			e.request(n, unit.Restart{By: reloaded})
			e.await(n, Restart)
		}
	}
	slices.SortFunc(p.entries, func(a, b *entry) int { return a.index - b.index })
	return starts
}

// respec gives an instance the spec of its program.
func (e *Engine) respec(n *entry) {
	n.earlier = false
	e.tell(n, unit.Respec{Spec: n.program.spec.Instance(n.index)})
	e.do(Configure{ID: n.id, Name: n.name, Spec: n.unit.Spec()})
}

// outdated reports whether the process of an instance was started, or is to be,
// from another spec than its program has now.
func (n *entry) outdated() bool {
	return spec.NeedsRestart(spec.Changes(n.unit.Spec(), n.program.spec.Instance(n.index)))
}

// retire lets an instance go that is not wanted any more, in its program's way. why
// is what became of it, for its history.
func (e *Engine) retire(n *entry, why string) {
	if n.program.spec.WhenDisabled == spec.DisabledDrain {
		e.request(n, unit.Drain{}) // which may take for ever
	} else {
		e.request(n, unit.Down{By: why})
		e.await(n, Stop)
	}
}

// dismiss retires an instance that is to be forgotten.
func (e *Engine) dismiss(n *entry) {
	if n.leaving {
		return
	}
	n.leaving, n.manual = true, byConfig
	n.program.leavers++
	e.changed(n)
	e.retire(n, "removed")
}

// onRenew restarts what the configuration or a person wants up. One that has ended
// or failed is started again: what was wrong may be mended.
func (e *Engine) onRenew(in Renew) {
	p := e.programs[in.Program]
	if p == nil || p.leaving || e.stopping {
		return
	}
	said := false
	for _, n := range p.entries {
		if n.leaving || !n.unit.Up() || n.manual == wantDown {
			continue
		}
		switch n.held.(type) {
		case unit.Down, unit.Drain: // it isn't wanted up any more
			continue
		}
		if !said {
			said = true
			e.say(event.Event{Kind: event.Renewed, Program: in.Program, Message: in.Why + ", restarting"})
		}
		e.request(n, unit.Restart{By: "restarted, since " + in.Why})
	}
}

func (e *Engine) onShutdown(now bool) {
	if !e.stopping {
		e.stopping = true
		e.rested = true // there may be nothing to stop
		e.say(event.Event{Kind: event.DaemonStopping, Message: "stopping all programs"})
		e.endTrial("")
		e.saveWorld()
		e.listenersLast()
		if !now {
			e.linkGroups()
		}
	}
	for _, p := range slices.Backward(e.order) {
		for _, n := range p.entries {
			n.manual = wantDown
			e.changed(n)
			e.request(n, unit.Down{Now: now, By: "stopped with tend"})
		}
	}
}

func (e *Engine) onAct(in Act) {
	if e.stopping && in.Verb != Signal && in.Verb != Stop {
		e.out.Answer = append(e.out.Answer, stopsAlready(in.Cmd))
		return
	}
	var matched []*entry
	if in.Only == 0 {
		matched = e.match(in.Pattern)
	} else if n := e.entries[in.Only]; n != nil {
		matched = []*entry{n}
	}
	if len(matched) == 0 {
		r := &Refusal{NotFound: true, Message: fmt.Sprintf("no program is named %q", in.Pattern)}
		if near := spec.Nearest(in.Pattern, e.names()); near != "" {
			r.Hint = fmt.Sprintf("did you mean %q?", near)
		}
		e.out.Answer = append(e.out.Answer, Answer{Cmd: in.Cmd, Refused: r})
		return
	}
	cmd := &command{id: in.Cmd, results: make([]Result, len(matched)), open: len(matched)}
	if in.Verb == Start || in.Verb == Restart || in.Verb == RunNow {
		for _, n := range matched { // all wishes first: they decide who waits for whom
			if !n.leaving && (in.Verb != RunNow || n.unit.Spec().IsTask()) {
				n.manual = wantUp
				e.changed(n)
			}
		}
	}
	for i, n := range matched {
		w := wait{cmd: cmd, slot: i, verb: in.Verb, gen: n.unit.Gen()}
		if n.leaving && (in.Verb == Start || in.Verb == Restart || in.Verb == RunNow) {
			e.finish(n, w, false, "is being removed")
			continue
		}
		switch in.Verb {
		case Start:
			if n.unit.State() == unit.Running && n.held == nil {
				e.finish(n, w, true, "already running, "+pidText(n))
				continue
			}
			e.start(n)
		case Stop:
			n.manual = wantDown
			e.changed(n)
			if n.unit.Gone() && n.unit.State() == unit.Stopped && n.held == nil {
				e.finish(n, w, true, "already stopped")
				continue
			}
			e.request(n, unit.Down{By: "stopped by hand"})
		case RunNow:
			switch {
			case !n.unit.Spec().IsTask():
				e.finish(n, w, false, `is no task: "tend start" starts it`)
				continue
			}
			if _, restart := n.held.(unit.Restart); !restart {
				e.hold(n, nil) // it isn't to stop any more
			}
			switch {
			case (n.unit.State() == unit.Running || n.unit.State() == unit.Starting) && n.unit.Spec().Overlap == spec.OverlapSkip:
				e.finish(n, w, false, "runs already, "+pidText(n))
				continue
			}
			e.tellHold(n)
			e.tell(n, unit.RunNow{})
		case Restart:
			switch {
			case in.Rolling && n.unit.Up() && n.unit.State() == unit.Running:
				e.enroll(n)
			case n.unit.Gone():
				e.leaveRoll(n)
				e.start(n)
			default:
				e.leaveRoll(n)
				e.request(n, unit.Restart{By: cmp.Or(in.Why, "restarted by hand")})
			}
		case Signal:
			if n.unit.PID() == 0 {
				e.finish(n, w, false, "isn't running")
				continue
			}
			e.do(Kernel{ID: n.id, Action: unit.Signal{Gen: n.unit.Gen(), Sig: in.Signal}})
			e.finish(n, w, true, "sent "+in.Signal.String())
			continue
		default:
			panic(fmt.Sprintf("engine: unknown verb %q", in.Verb))
		}
		if in.NoWait {
			e.finish(n, w, true, "told to "+string(in.Verb))
			continue
		}
		n.waits = append(n.waits, w)
		e.checkWaits(n)
	}
}

// stopsAlready is the answer to what can't be begun any more.
func stopsAlready(cmd uint64) Answer {
	return Answer{Cmd: cmd, Refused: &Refusal{Message: "tend is stopping"}}
}

func (e *Engine) onCancel(cmd uint64) {
	for _, n := range e.entries {
		n.waits = slices.DeleteFunc(n.waits, func(w wait) bool { return w.cmd.id == cmd })
	}
	if t := e.trial; t != nil && t.cmd != nil && t.cmd.id == cmd {
		t.cmd = nil
	}
}

// await lets the reload that is being begun wait for what it has asked of an
// instance.
func (e *Engine) await(n *entry, verb Verb) {
	cmd := e.reload
	if cmd == nil {
		return
	}
	n.waits = append(n.waits, wait{cmd: cmd, slot: len(cmd.results), verb: verb, gen: n.unit.Gen()})
	cmd.results = append(cmd.results, Result{})
	cmd.open++
	e.checkWaits(n)
}

// match returns the instances that pattern means, in the order shown: those of a
// program, one instance, what a glob matches, or "group:*" in supervisord's way.
func (e *Engine) match(pattern string) []*entry {
	var matched []*entry
	for _, p := range e.order {
		name := p.spec.Name
		group := p.spec.Member.Group
		whole := name == pattern || group != "" && (pattern == group+":*" || pattern == group+":"+p.spec.Member.Process)
		if !whole {
			whole, _ = path.Match(pattern, name)
		}
		for _, n := range p.entries {
			is := whole || n.name == pattern
			if !is {
				is, _ = path.Match(pattern, n.name)
			}
			if is {
				matched = append(matched, n)
			}
		}
	}
	return matched
}

func (e *Engine) names() []string {
	var names []string
	for _, p := range e.order {
		names = append(names, p.spec.Name)
	}
	return names
}

// start wishes an instance up, held while what it comes after isn't ready.
func (e *Engine) start(n *entry) {
	if _, restart := n.held.(unit.Restart); restart && !n.unit.Gone() {
		return // it comes up anyway, and who asked for the restart waits for it
	}
	e.hold(n, nil)
	e.tellHold(n)
	e.tell(n, unit.Up{})
}

// request tells a unit to stop, drain or restart, as soon as nothing that comes
// after it is still on its way down. Where there is no process to end, or it is
// ending already, that is at once: a stop overtakes a start.
func (e *Engine) request(n *entry, ev unit.Event) {
	e.touch(n.program)
	down, isDown := ev.(unit.Down)
	_, isRestart := ev.(unit.Restart)
	ending := n.unit.Gone() || n.unit.State() == unit.Stopping
	if isDown && down.Now || ending && !isRestart {
		e.hold(n, nil)
		e.tell(n, ev)
		return
	}
	if _, stops := n.held.(unit.Down); stops && !isDown && !isRestart {
		return // as for the unit itself, a drain doesn't take a stop back
	}
	e.hold(n, ev) // until followGraph, when the wishes of all others are known
}

func (e *Engine) release(n *entry) {
	ev := n.held
	e.hold(n, nil)
	if _, ok := ev.(unit.Restart); ok {
		e.tellHold(n)
	}
	e.tell(n, ev)
}

// hold sets the wish that waits, nil for none. It is the only place where held
// is set.
func (e *Engine) hold(n *entry, ev unit.Event) {
	if n.held == nil && ev == nil {
		return
	}
	e.changed(n)
	if n.held != nil {
		n.program.held--
	}
	if ev != nil {
		n.program.held++
	}
	n.held = ev
}

// tell tells a unit one event and turns its actions into effects and events.
func (e *Engine) tell(n *entry, ev unit.Event) {
	before, ready, health, gen := n.unit.State(), n.unit.Ready(), n.unit.Health(), n.unit.Gen()
	last := n.unit.Last()
	actions := n.unit.Step(e.now, ev)
	if n.unit.Last() != last {
		n.noteEnd()
		e.out.Ended = append(e.out.Ended, Run{n.id, n.key(), n.name, *n.unit.Last()})
	}
	switch ev.(type) {
	case unit.KeepAlive: // often, and nothing that a later owner must know
	case unit.Checked:
		if len(actions) > 0 || n.unit.Health() != health {
			e.changed(n)
		}
	default:
		e.changed(n)
	}
	for _, a := range actions {
		switch a := a.(type) {
		case unit.Spawn:
			e.do(Spawn{ID: n.id, Gen: a.Gen, Name: n.name, Index: n.index, Spec: n.unit.Spec()})
		case unit.Signal, unit.Sweep, unit.Kill, unit.Leave:
			e.do(Kernel{ID: n.id, Action: a})
		case unit.StopCommand:
			e.do(StopCommand{ID: n.id, Gen: a.Gen, Name: n.name, Index: n.index, PID: n.unit.PID(), Spec: n.unit.Spec()})
		case unit.Watch:
			e.do(Watch{ID: n.id, Gen: a.Gen, For: a.For, Spec: n.unit.Spec()})
		case unit.Change:
			if !a.Warning {
				n.message = a.Message
			}
			kind := event.State
			if a.Warning {
				kind = event.Warning
			}
			cause := ""
			if a.To == unit.Stopping && a.From != unit.Stopping {
				cause = n.unit.Cause()
			}
			e.say(event.Event{Kind: kind, Cause: cause, Program: n.program.spec.Name, Name: n.name, From: a.From.String(), To: a.To.String(),
				PID: a.PID, Gen: n.unit.Gen(), Exit: a.Exit, Message: a.Message})
		default:
			panic(fmt.Sprintf("engine: unknown action %T", a))
		}
	}
	e.schedule(n)
	e.checkWaits(n)
	if n.unit.State() != before || n.unit.Ready() != ready || n.unit.Gen() != gen {
		e.rested = e.rested || n.unit.State().AtRest()
		if p := n.program; len(p.after) > 0 || len(p.before) > 0 || p.leavers > 0 || p.roll != nil {
			e.touch(p)
		}
	}
}

// schedule keeps the unit's deadline in the heap.
func (e *Engine) schedule(n *entry) {
	switch {
	case n.unit.Deadline().IsZero():
		if n.heapPos >= 0 {
			heap.Remove(&e.due, n.heapPos)
		}
	case n.heapPos < 0:
		heap.Push(&e.due, n)
	default:
		heap.Fix(&e.due, n.heapPos)
	}
}

// forgetGone forgets the instances that leave and are at rest.
func (e *Engine) forgetGone(p *program) {
	if p.leavers == 0 && !p.leaving {
		return
	}
	kept := p.entries[:0]
	for _, n := range p.entries {
		if !n.leaving || n.held != nil || !n.unit.Gone() || n.unit.State() != unit.Stopped {
			kept = append(kept, n)
			continue
		}
		for _, w := range n.waits {
			e.finish(n, w, w.verb == Stop, "was removed")
		}
		n.waits = nil
		if n.heapPos >= 0 {
			heap.Remove(&e.due, n.heapPos)
		}
		delete(e.entries, n.id)
		p.leavers--
		e.out.Save.Gone = append(e.out.Save.Gone, n.key())
		e.do(Forget{ID: n.id, Name: n.name})
	}
	clear(p.entries[len(kept):])
	p.entries = kept
	if p.leaving && len(kept) == 0 && e.programs[p.spec.Name] == p {
		delete(e.programs, p.spec.Name)
		e.order = without(e.order, p)
		p.unlink()
		e.out.Save.GonePrograms = append(e.out.Save.GonePrograms, p.spec.Name)
		e.say(event.Event{Kind: event.Removed, Program: p.spec.Name, Message: "removed"})
	}
}

// checkWaits answers the commands that wait for n and have their result.
func (e *Engine) checkWaits(n *entry) {
	if len(n.waits) == 0 {
		return
	}
	waits := n.waits
	n.waits = nil
	for _, w := range waits {
		if done, ok, message := e.outcome(n, &w); done {
			e.finish(n, w, ok, message)
		} else {
			n.waits = append(n.waits, w)
		}
	}
}

// outcome reports whether a command has its result, and which.
func (e *Engine) outcome(n *entry, w *wait) (done, ok bool, message string) {
	state := n.unit.State()
	if w.verb == Stop {
		switch {
		case n.unit.Gone() && state == unit.Stopped:
			return true, true, "stopped"
		case n.unit.Up() && n.held == nil:
			return true, false, "was started meanwhile"
		}
		return false, false, ""
	}
	if n.held != nil || n.rolling == rollQueued || n.rolling == rollBusy && n.unit.Gen() == w.gen {
		return false, false, ""
	}
	switch state {
	case unit.Running:
		if w.verb == RunNow && n.unit.Spec().IsTask() {
			return false, false, "" // its end is the result
		}
		if w.verb == Restart && n.unit.Gen() == w.gen {
			return true, false, "was kept running: another wish came before the restart"
		}
		return true, true, "started, " + pidText(n)
	case unit.Done:
		return true, true, n.message
	case unit.Exited:
		return true, n.unit.Last().Success, n.message
	case unit.Backoff, unit.Failed:
		return true, false, n.message
	case unit.Stopped, unit.Draining:
		return true, false, "was stopped meanwhile"
	case unit.Waiting:
		switch {
		case n.waiting:
			what, forGood := n.program.stuckBehind(make(map[*program]bool))
			switch {
			case what == "":
				w.stuck = time.Time{}
			case forGood || !w.stuck.IsZero() && !e.now.Before(w.stuck.Add(patience)):
				return true, false, "waits for " + what
			default:
				e.beStuck(n, w)
			}
		case w.verb == RunNow && n.unit.Gen() == w.gen:
		case w.verb == RunNow && n.unit.Last() != nil:
			return true, n.unit.Last().Success, n.message
		default:
			return true, true, n.message
		}
	case unit.Stopping:
		if !n.unit.Up() {
			return true, false, "was stopped meanwhile"
		}
	}
	return false, false, ""
}

// beStuck has the commands that wait for n looked at again when the patience of one
// of them is over.
func (e *Engine) beStuck(n *entry, w *wait) {
	if w.stuck.IsZero() {
		w.stuck = e.now
	}
	if until := w.stuck.Add(patience); len(e.stuck) == 0 || until.Before(e.stuckUntil) {
		e.stuckUntil = until
	}
	if !slices.Contains(e.stuck, n) {
		e.stuck = append(e.stuck, n)
	}
}

func pidText(n *entry) string { return fmt.Sprintf("pid %d", n.unit.PID()) }

// finish sets one result of a command, and answers it with the last one.
func (e *Engine) finish(n *entry, w wait, ok bool, message string) {
	w.cmd.results[w.slot] = Result{Name: n.name, OK: ok, State: n.unit.State(), Message: message}
	e.answer(w.cmd)
}

// answer answers a command that waits for nothing more than what has come now.
func (e *Engine) answer(cmd *command) {
	if cmd.open--; cmd.open == 0 {
		e.out.Answer = append(e.out.Answer, Answer{Cmd: cmd.id, Results: cmd.results, Undone: cmd.undone})
	}
}

func (e *Engine) do(f Effect) { e.out.Do = append(e.out.Do, f) }

func (e *Engine) say(ev event.Event) {
	ev.At = e.now
	e.out.Say = append(e.out.Say, ev)
}

// checkExit ends the daemon when a shutdown is complete, and begins one when
// exit_when says so.
func (e *Engine) checkExit() {
	if !e.rested {
		return
	}
	if !e.stopping {
		status, end := e.exitWhen()
		if !end {
			return
		}
		e.status = status
		e.onShutdown(false)
		e.followGraph()
	}
	for _, n := range e.entries {
		if !n.unit.Gone() || n.held != nil || n.unit.State() != unit.Stopped {
			return
		}
	}
	status := e.status
	e.out.Exit = &status
}

// exitWhen reports whether the daemon is to end by its own setting exit_when,
// and with which status.
func (e *Engine) exitWhen() (status int, end bool) {
	when := e.set.Daemon.ExitWhen
	if when == "" || when == "never" {
		return 0, false
	}
	ran := false
	for _, p := range e.order {
		if when != "all-done" && when != "any-failed" && p.spec.Name != when {
			continue
		}
		for _, n := range p.entries {
			final := n.unit.State().AtRest() && n.unit.Deadline().IsZero() && n.held == nil
			failure := exitStatus(n.unit)
			if when == "any-failed" {
				if final && failure != 0 {
					return 1, true
				}
				continue
			}
			if !final {
				return 0, false
			}
			ran = ran || n.unit.Gen() > 0
			if status == 0 && failure != 0 {
				status = failure
			}
		}
	}
	if when == "all-done" && status != 0 {
		status = 1
	}
	return status, ran
}

// exitStatus returns the status of a unit that came to rest by itself as a shell
// gives it: 0 for success, 128 and the signal's number, 1 for no start.
func exitStatus(u *unit.Unit) int {
	last := u.Last()
	switch {
	case u.State() == unit.Stopped, u.State() == unit.Done, last == nil, last.Success:
		return 0
	case last.Err != "":
		return 1
	case last.Signal != 0:
		return 128 + int(last.Signal)
	}
	return max(last.Code, 1)
}

// deadlines is a heap of entries by their units' deadlines.
type deadlines []*entry

func (d deadlines) Len() int { return len(d) }
func (d deadlines) Less(i, j int) bool {
	if c := d[i].unit.Deadline().Compare(d[j].unit.Deadline()); c != 0 {
		return c < 0
	}
	return d[i].id < d[j].id
}
func (d deadlines) Swap(i, j int) {
	d[i], d[j] = d[j], d[i]
	d[i].heapPos, d[j].heapPos = i, j
}
func (d *deadlines) Push(x any) {
	n := x.(*entry)
	n.heapPos = len(*d)
	*d = append(*d, n)
}
func (d *deadlines) Pop() any {
	last := len(*d) - 1
	n := (*d)[last]
	(*d)[last] = nil
	*d = (*d)[:last]
	n.heapPos = -1
	return n
}

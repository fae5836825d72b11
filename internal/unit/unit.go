// Package unit is the life of one instance of a program as a pure state machine.
//
// A [Unit] is told wishes and facts by [Unit.Step], answers with the actions that
// are to be carried out, and names by [Unit.Deadline] the time at which it wants
// a [Tick]. It knows no clock, no process and no other unit; what it is told of
// the time and of chance comes from outside, so that a life can be replayed.
//
// # The states
//
//	stopped   no process, and none wanted (or none wanted yet)
//	waiting   wanted, no process: held until what it comes after is ready
//	starting  asked to be spawned, or up for less than min_uptime
//	running   up for min_uptime
//	backoff   wanted, no process: waits before the next start
//	stopping  told to end, or its leader has ended and what it left is being ended
//	draining  not wanted any more, left to end by itself
//	exited    ended, and the policy doesn't start it again
//	done      a task that succeeded
//	failed    too many failed starts in a row, or a task that failed for good
//
// Beside the state stands the phase, what is known of the process: none, spawning
// (asked for, not answered yet), alive, or left (the leader has ended, something
// of its tree is still there). The phase is what is, the wish is what shall be,
// and the state follows from both; a stop during a start is therefore nothing
// special: the wish is down, and the unit settles when the phase is none.
//
// A unit has a process only in phases spawning, alive and left, and spawns only
// in phase none: there are never two for one instance. Every start has a number,
// the generation. Facts carry it, and a fact of another generation, or one that
// the phase has no use for, is late or doubled and is dropped.
//
// What belongs to a unit is said by kill_scope. With "tree" that is everything
// that its leader ever started: the unit isn't gone before all of that is. With
// "group" and "main" it is the leader: what outlives it is let go of ([Leave]),
// and there is no phase left.
//
// # The death of whoever owns the unit
//
// All that a unit is can be taken out as a [Memory] and made a unit again by
// [Restore], in another process and later. What it had asked for may have been
// carried out or not, and what happened meanwhile nobody has told it: the new
// owner looks, and tells it the fact ([Spawned] or [Lost] for a start, [Ended],
// [Emptied]), or else [Resume], at which it asks again for what can be asked
// twice.
package unit

import (
	"fmt"
	"math"
	"slices"
	"time"

	"tend/internal/event"
	"tend/internal/spec"
)

// State is where a unit is in its life.
type State uint8

const (
	Stopped State = iota
	Waiting
	Starting
	Running
	Backoff
	Stopping
	Draining
	Exited
	Done
	Failed
)

var stateNames = [...]string{"stopped", "waiting", "starting", "running", "backoff", "stopping", "draining", "exited", "done", "failed"}

func (s State) String() string { return stateNames[s] }

// AtRest reports whether there is no process in this state and none will come
// without a wish.
func (s State) AtRest() bool {
	return s == Stopped || s == Exited || s == Done || s == Failed
}

// phase is what is known of the process.
type phase uint8

const (
	none     phase = iota // no process, and nothing left of one
	spawning              // Spawn was said and not answered
	alive                 // the leader lives
	left                  // the leader has ended, something of its tree is there
)

var phaseNames = [...]string{"none", "spawning", "alive", "left"}

func (p phase) String() string { return phaseNames[p] }

// rekill is the time between two kills of a tree that doesn't go away: a process
// in an uninterruptible sleep dies only when its system call returns.
const rekill = 5 * time.Second

// A Unit is one instance. The zero Unit isn't usable; see [New].
type Unit struct {
	spec   *spec.Program // policies; the whole of it is used by the next spawn
	chance func() float64

	state State
	told  State // by the latest Change: a start is told of when its pid is known
	phase phase
	up    bool // the wish
	hold  bool // what it comes after isn't ready
	again bool // start again when the process is gone, whatever the policy says
	over  bool // the kill was sent

	gen      uint64
	pid      int
	restarts int
	shorts   int // runs shorter than backoff.reset in a row; linear: failed starts
	failures int // failed starts in a row
	since    time.Time
	started  time.Time
	deadline time.Time
	last     *event.Exit
}

// New returns a stopped unit. chance returns numbers from 0 up to 1, for the
// jitter of waits.
func New(now time.Time, s *spec.Program, chance func() float64) *Unit {
	return &Unit{spec: s, chance: chance, since: now}
}

// An Event is something that a unit is told: a wish ([Up], [Down], [Drain],
// [Restart], [Hold], [Respec]), a fact ([Spawned], [SpawnFailed], [Ended],
// [Emptied]), or [Tick].
type Event interface{ event() }

type (
	// Up wishes it to run. One that waits in backoff or has failed is tried at once.
	Up struct{}
	// Down wishes it to be stopped, with everything that it started. Now kills
	// instead of asking.
	Down struct{ Now bool }
	// Drain wishes that it isn't started again, and leaves it to end by itself.
	Drain struct{}
	// Restart wishes it to be stopped and started once more.
	Restart struct{}
	// Hold tells whether a start has to wait for what the program comes after. It
	// is minded by starts that are wished, not by those after an end.
	Hold struct{ On bool }
	// Respec gives it another spec. Live values count from now on, the others from
	// the next start.
	Respec struct{ Spec *spec.Program }

	// Resume says that what the unit has asked of its process may not have been
	// carried out: it asks again.
	Resume struct{}

	// Spawned is the answer to [Spawn]: the leader lives. At is when it was
	// started, where that isn't now.
	Spawned struct {
		Gen uint64
		PID int
		At  time.Time
	}
	// Lost is another answer to [Spawn]: who was to carry it out has died before
	// that, and there is no process.
	Lost struct{ Gen uint64 }
	// SpawnFailed is the other answer to [Spawn].
	SpawnFailed struct {
		Gen uint64
		Err string
	}
	// Ended says that the leader has ended. Left is set when something that it
	// started is still there; [Emptied] follows then. Unknown is set when nobody
	// can tell how it ended. At is when, where that isn't now.
	Ended struct {
		Gen     uint64
		Code    int
		Signal  spec.Signal
		Core    bool
		Unknown bool
		Left    bool
		At      time.Time
	}
	// Emptied says that nothing is left of the tree of an ended leader.
	Emptied struct{ Gen uint64 }

	// Tick says that the time of the deadline has come. A late or needless one is
	// harmless.
	Tick struct{}
)

func (Up) event()          {}
func (Down) event()        {}
func (Drain) event()       {}
func (Restart) event()     {}
func (Hold) event()        {}
func (Respec) event()      {}
func (Resume) event()      {}
func (Spawned) event()     {}
func (Lost) event()        {}
func (SpawnFailed) event() {}
func (Ended) event()       {}
func (Emptied) event()     {}
func (Tick) event()        {}

// An Action is something to be carried out for a unit, in the order given.
type Action interface{ action() }

type (
	// Spawn asks for the start of generation Gen. It is answered by [Spawned] or
	// [SpawnFailed].
	Spawn struct{ Gen uint64 }
	// Signal sends Sig to the leader, or to its process group.
	Signal struct {
		Gen   uint64
		Sig   spec.Signal
		Group bool
	}
	// StopCommand runs the program's stop_command.
	StopCommand struct{ Gen uint64 }
	// Sweep sends Sig to everything that an ended leader has left behind; Group is
	// set when its process group has had the signal already.
	Sweep struct {
		Gen   uint64
		Sig   spec.Signal
		Group bool
	}
	// Kill kills the leader, and what else Scope says.
	Kill struct {
		Gen   uint64
		Scope spec.KillScope
	}
	// Leave lets go of what an ended leader has left behind: it isn't the unit's
	// any more, and nothing is to be told of it.
	Leave struct{ Gen uint64 }
	// Change tells of a new state, or of something that happened within one.
	Change struct {
		From, To State
		PID      int
		Exit     *event.Exit // the end that led here
		Message  string
		Warning  bool // not a change of state, but something people should know
	}
)

func (Spawn) action()       {}
func (Signal) action()      {}
func (StopCommand) action() {}
func (Sweep) action()       {}
func (Kill) action()        {}
func (Leave) action()       {}
func (Change) action()      {}

// State returns the state.
func (u *Unit) State() State { return u.state }

// Deadline returns when the unit wants a [Tick]; zero: nothing is due.
func (u *Unit) Deadline() time.Time { return u.deadline }

// Gen returns the number of the latest start, 0 before the first.
func (u *Unit) Gen() uint64 { return u.gen }

// PID returns the leader's process id, 0 when none lives.
func (u *Unit) PID() int { return u.pid }

// Since returns when the state was entered.
func (u *Unit) Since() time.Time { return u.since }

// Started returns when the leader was spawned, the latest one where none lives;
// zero: there was none.
func (u *Unit) Started() time.Time { return u.started }

// Restarts counts the starts after the first that nobody asked for by Up.
func (u *Unit) Restarts() int { return u.restarts }

// Last returns the last end, nil when there was none.
func (u *Unit) Last() *event.Exit { return u.last }

// Up reports the wish.
func (u *Unit) Up() bool { return u.up }

// Gone reports whether nothing of the unit is left in the kernel, nor on its way
// there.
func (u *Unit) Gone() bool { return u.phase == none }

// Spec returns the spec that the next start uses.
func (u *Unit) Spec() *spec.Program { return u.spec }

// Step tells the unit one event and returns what is to be done. now must not be
// before that of the last Step, or deadlines are met late.
func (u *Unit) Step(now time.Time, ev Event) []Action {
	s := step{Unit: u, now: now}
	switch ev := ev.(type) {
	case Up:
		s.onUp()
	case Down:
		s.onDown(ev)
	case Drain:
		s.onDrain()
	case Restart:
		s.onRestart()
	case Hold:
		s.onHold(ev)
	case Respec:
		u.spec = ev.Spec
	case Resume:
		s.onResume()
	case Spawned:
		if ev.Gen == u.gen && u.phase == spawning {
			s.onSpawned(ev)
		}
	case Lost:
		if ev.Gen == u.gen && u.phase == spawning {
			s.onLost()
		}
	case SpawnFailed:
		if ev.Gen == u.gen && u.phase == spawning {
			s.onSpawnFailed(ev)
		}
	case Ended:
		if ev.Gen == u.gen && (u.phase == alive || u.phase == spawning) {
			s.onEnded(ev)
		}
	case Emptied:
		if ev.Gen == u.gen && u.phase == left {
			s.settle()
		}
	case Tick:
		if !u.deadline.IsZero() && !now.Before(u.deadline) {
			s.onDue()
		}
	default:
		panic(fmt.Sprintf("unit: unknown event %T in state %s", ev, u.state))
	}
	return s.actions
}

// step is one call of Step: the unit, the time, and what was decided so far.
type step struct {
	*Unit
	now     time.Time
	actions []Action
}

func (s *step) do(a Action) { s.actions = append(s.actions, a) }

// become enters a state. It is the only place where the state is set.
func (s *step) become(to State, deadline time.Time) (from State) {
	from = s.state
	if from != to {
		s.since = s.now
	}
	s.state, s.deadline = to, deadline
	return from
}

// enter is become with the event that tells of it.
func (s *step) enter(to State, deadline time.Time, exit *event.Exit, message string) {
	from := s.become(to, deadline)
	s.told = to
	s.do(Change{From: from, To: to, PID: s.pid, Exit: exit, Message: message})
}

func (s *step) onUp() {
	s.up = true
	switch s.state {
	case Stopped, Exited, Done, Failed, Backoff:
		s.forgetFailures()
		s.startOrWait()
	case Waiting, Starting, Running:
	case Stopping:
		s.again = true
	case Draining:
		if s.phase == alive && s.now.Sub(s.started) >= s.spec.MinUptime {
			s.enter(Running, time.Time{}, nil, "wanted again, kept")
			break
		}
		var ready time.Time
		if s.phase == alive {
			ready = s.started.Add(s.spec.MinUptime)
		}
		s.enter(Starting, ready, nil, "wanted again, kept")
	default:
		s.impossible("Up")
	}
}

func (s *step) onDown(ev Down) {
	s.up, s.again = false, false
	switch s.state {
	case Stopped:
	case Waiting, Backoff, Exited, Done, Failed:
		s.enter(Stopped, time.Time{}, nil, "stopped")
	case Starting, Running, Draining:
		s.stop(ev.Now)
	case Stopping:
		if ev.Now && s.phase != spawning {
			s.kill()
		} else if ev.Now {
			s.over = true
		}
	default:
		s.impossible("Down")
	}
}

func (s *step) onDrain() {
	s.up, s.again = false, false
	switch s.state {
	case Stopped, Stopping, Draining:
	case Waiting, Backoff, Exited, Done, Failed:
		s.enter(Stopped, time.Time{}, nil, "stopped")
	case Starting, Running:
		s.enter(Draining, time.Time{}, nil, "left to end by itself")
	default:
		s.impossible("Drain")
	}
}

func (s *step) onRestart() {
	s.up = true
	switch s.state {
	case Stopped, Exited, Done, Failed, Backoff:
		s.forgetFailures()
		s.startOrWait()
	case Waiting:
	case Starting, Running, Draining:
		s.again = true
		s.stop(false)
	case Stopping:
		s.again = true
	default:
		s.impossible("Restart")
	}
}

func (s *step) onHold(ev Hold) {
	s.hold = ev.On
	if s.state == Waiting && !s.hold {
		s.start()
	}
}

// startOrWait begins a start that somebody wished.
func (s *step) startOrWait() {
	if s.hold {
		s.enter(Waiting, time.Time{}, nil, "waits for what it comes after")
		return
	}
	s.start()
}

// start asks for a new process. The change of state is told when its pid is
// known, or why there is none.
func (s *step) start() {
	if s.phase != none {
		panic(fmt.Sprintf("unit: a start in state %s while the phase is %s", s.state, s.phase))
	}
	s.again, s.over = false, false
	s.gen++
	s.phase = spawning
	s.started = s.now
	s.become(Starting, time.Time{})
	s.since = s.now
	s.do(Spawn{Gen: s.gen})
}

func (s *step) onSpawned(ev Spawned) {
	s.phase, s.pid, s.started = alive, ev.PID, s.now
	if !ev.At.IsZero() {
		s.started = ev.At
	}
	message := "started"
	if s.gen > 1 {
		message = "started again"
	}
	switch s.state {
	case Starting:
		s.do(Change{From: s.told, To: Starting, PID: s.pid, Message: message})
		s.told = Starting
		s.deadline = s.started.Add(s.spec.MinUptime)
		if !s.now.Before(s.deadline) {
			s.onDue()
		}
	case Stopping:
		// The stop has overtaken the start.
		if s.over {
			s.kill()
		} else {
			s.ask()
		}
	case Draining:
		s.do(Change{From: Draining, To: Draining, PID: s.pid, Message: message})
	default:
		s.impossible("Spawned")
	}
}

// onLost goes on after a start that nobody will carry out any more. It wasn't
// the program's fault: nothing is counted, and nothing is waited for.
func (s *step) onLost() {
	if s.state == Starting {
		s.phase = none
		s.start()
		return
	}
	s.settle()
}

// onResume asks the process once more for what it was asked. Time goes on
// meanwhile: the deadline stays.
func (s *step) onResume() {
	if s.state != Stopping {
		return
	}
	switch {
	case s.phase == spawning: // goes on in onSpawned or onLost
	case s.over:
		s.kill()
	case s.phase == left:
		s.do(Sweep{Gen: s.gen, Sig: s.spec.StopSignal})
	default:
		s.request()
	}
}

func (s *step) onSpawnFailed(ev SpawnFailed) {
	s.last = &event.Exit{At: s.now, Err: ev.Err}
	s.settle()
}

func (s *step) onEnded(ev Ended) {
	at := s.now
	if !ev.At.IsZero() {
		at = ev.At
	}
	s.last = &event.Exit{Code: ev.Code, Signal: ev.Signal, Core: ev.Core, Unknown: ev.Unknown, At: at, Uptime: max(0, at.Sub(s.started))}
	s.last.Success = !ev.Unknown && ev.Signal == 0 && slices.Contains(s.spec.SuccessCodes, ev.Code)
	s.pid = 0
	if !ev.Left {
		s.settle()
		return
	}
	if s.spec.KillScope != spec.KillTree {
		s.do(Leave{Gen: s.gen})
		s.settle()
		return
	}
	asked := s.state == Stopping && s.phase == alive
	s.phase = left
	switch {
	case asked: // the time for it runs already
	case s.state != Stopping:
		s.enter(Stopping, s.now.Add(s.spec.StopTimeout), s.last, s.last.Reason()+"; ending what it left behind")
	case s.over: // the end came instead of Spawned, on which the kill was to follow
		s.kill()
	default:
		s.deadline = s.now.Add(s.spec.StopTimeout)
	}
	if !s.over {
		s.do(Sweep{Gen: s.gen, Sig: s.spec.StopSignal, Group: asked && s.signalsGroup()})
	}
}

func (s *step) signalsGroup() bool {
	return s.spec.StopScope == spec.ScopeGroup && s.spec.StopCommand.IsZero()
}

// stop begins to end what lives.
func (s *step) stop(now bool) {
	s.over = now
	message := "told to stop"
	if now {
		message = "killed"
	}
	s.enter(Stopping, time.Time{}, nil, message)
	switch {
	case s.phase == spawning: // goes on in onSpawned
	case now:
		s.kill()
	default:
		s.ask()
	}
}

// ask asks the leader to end, and sets the time at which the tree is killed.
func (s *step) ask() {
	s.deadline = s.now.Add(s.spec.StopTimeout)
	s.request()
}

func (s *step) request() {
	if !s.spec.StopCommand.IsZero() {
		s.do(StopCommand{Gen: s.gen})
		return
	}
	s.do(Signal{Gen: s.gen, Sig: s.spec.StopSignal, Group: s.spec.StopScope == spec.ScopeGroup})
}

func (s *step) kill() {
	s.over = true
	s.deadline = s.now.Add(rekill)
	scope := s.spec.KillScope
	if s.phase == left {
		scope = spec.KillTree // it was the whole tree's end that was waited for when the leader's came
	}
	s.do(Kill{Gen: s.gen, Scope: scope})
}

// settle goes on after a process is gone with everything that it started.
func (s *step) settle() {
	s.phase, s.pid = none, 0
	switch {
	case !s.up:
		message := "stopped"
		if s.state == Draining {
			message = "let go"
		}
		s.enter(Stopped, time.Time{}, s.last, message)
	case s.again:
		s.forgetFailures()
		s.restarts++
		s.startOrWait()
	default:
		s.decide()
	}
}

// decide applies the policy to an end that nobody asked for.
func (s *step) decide() {
	exit := s.last
	failed := exit.Err != "" || exit.Uptime < s.spec.MinUptime // not by the state: the tick may be late
	if s.spec.Type == spec.Task {
		failed = !exit.Success
	}
	took := ""
	if exit.Err == "" {
		took = " after " + Duration(exit.Uptime)
	}
	linear := s.spec.Backoff.Kind == spec.Linear
	switch {
	case linear && failed && s.spec.Type != spec.Task: // tried again whatever the policy says
	case s.spec.Type == spec.Task && exit.Success:
		s.forgetFailures()
		s.enter(Done, time.Time{}, exit, "done"+took)
		return
	case s.spec.Type == spec.Task && s.spec.Restart == spec.RestartNever:
		s.enter(Failed, time.Time{}, exit, exit.Reason()+took)
		return
	case s.spec.Restart == spec.RestartNever && exit.Err == "", s.spec.Restart == spec.RestartOnFailure && exit.Success:
		s.enter(Exited, time.Time{}, exit, exit.Reason()+took)
		return
	case s.spec.Restart == spec.RestartNever:
		s.enter(Failed, time.Time{}, exit, exit.Reason())
		return
	}
	if failed {
		s.failures++
	} else {
		s.failures = 0
	}
	if s.spec.MaxFailures > 0 && s.failures >= s.spec.MaxFailures {
		var retry time.Time
		message := exit.Reason() + took
		if s.failures > 1 {
			message += fmt.Sprintf(", %d failed starts in a row", s.failures)
		}
		if s.spec.RetryFailed > 0 {
			retry = s.now.Add(s.spec.RetryFailed)
			message += ", next try in " + Duration(s.spec.RetryFailed)
		}
		s.enter(Failed, retry, exit, message)
		return
	}
	switch {
	case linear:
		s.shorts = s.failures
	case exit.Uptime >= s.spec.Backoff.Reset && exit.Err == "":
		s.shorts = 0
	default:
		s.shorts++
	}
	wait := s.wait()
	message := exit.Reason() + took
	if wait > 0 {
		message += fmt.Sprintf(", next try in %s (%s)", Duration(wait), ordinal(s.shorts+1))
		s.enter(Backoff, s.now.Add(wait), exit, message)
		return
	}
	s.restarts++
	s.enter(Starting, time.Time{}, exit, message)
	s.start()
}

// wait returns how long to wait before the next start, at most max. Growing:
// nothing after the first short run in a row, then initial, initial·factor, …,
// each with its share of chance. Linear: initial times the failed starts in a row.
func (u *Unit) wait() time.Duration {
	b := u.spec.Backoff
	if b.Kind == spec.Linear {
		return time.Duration(min(float64(b.Initial)*float64(u.shorts), float64(b.Max)))
	}
	if u.shorts <= 1 || b.Initial == 0 { // 0 times a factor that grew to +Inf is no number
		return 0
	}
	wait := float64(b.Initial) * math.Pow(b.Factor, float64(u.shorts-2))
	wait = min(wait, float64(b.Max)) // also tames +Inf
	wait *= 1 + b.Jitter*(2*u.chance()-1)
	return time.Duration(min(max(wait, 0), float64(b.Max)))
}

func (u *Unit) forgetFailures() { u.shorts, u.failures = 0, 0 }

// onDue does what the deadline of the state was for.
func (s *step) onDue() {
	switch s.state {
	case Starting:
		if s.spec.Type != spec.Task { // a task has to succeed, not to stay up
			s.failures = 0
		}
		s.enter(Running, time.Time{}, nil, "running")
	case Backoff, Failed:
		s.restarts++
		s.start()
	case Stopping:
		if s.over {
			s.do(Change{From: Stopping, To: Stopping, PID: s.pid, Warning: true,
				Message: "something of it is still there after it was killed; trying again in " + Duration(rekill)})
		} else {
			s.do(Change{From: Stopping, To: Stopping, PID: s.pid, Warning: true,
				Message: "did not end within " + Duration(s.spec.StopTimeout) + ", killed"})
		}
		s.kill()
	default:
		// A deadline belongs to one of the states above: become sets it anew for
		// each, and only they are entered with one.
		s.impossible("Tick")
	}
}

func (s *step) impossible(event string) {
	panic(fmt.Sprintf("unit: %s in state %s, phase %s", event, s.state, s.phase))
}

// Duration returns d as people read it: "0.3 s", "12 s", "3 min", "2 d 4 h".
func Duration(d time.Duration) string {
	switch {
	case d < 10*time.Second:
		return fmt.Sprintf("%.1f s", d.Seconds())
	case d < 2*time.Minute:
		return fmt.Sprintf("%d s", d/time.Second)
	case d < 2*time.Hour:
		return fmt.Sprintf("%d min", d/time.Minute)
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h %d min", d/time.Hour, d%time.Hour/time.Minute)
	}
	return fmt.Sprintf("%d d %d h", d/(24*time.Hour), d%(24*time.Hour)/time.Hour)
}

func ordinal(n int) string {
	suffix := "th"
	if n%100 < 11 || n%100 > 13 {
		switch n % 10 {
		case 1:
			suffix = "st"
		case 2:
			suffix = "nd"
		case 3:
			suffix = "rd"
		}
	}
	return fmt.Sprintf("%d%s", n, suffix)
}

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
//	waiting   wanted, no process: held until what it comes after is ready, or until
//	          its time has come, or somebody asks for it
//	starting  asked to be spawned, not ready, or up for less than min_uptime
//	running   ready, or up for min_uptime where nothing says when it is ready
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
// # What is known of a process beyond its life
//
// A unit says with [Watch] what there is to look for: whether the process is
// ready, whether it is healthy, whether somebody asks for it. What is found is a
// fact as others are. A process that isn't ready in time, is unhealthy, or gives
// no sign of life is ended for that [event.Exit.Cause] though it is wanted, and
// what follows is decided as for an end of its own.
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
	"strings"
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

// missed is how late a scheduled run may be: one that is later was missed, since
// the machine slept, or nobody was there to run it.
const missed = time.Minute

// Outside is what units know of the world beyond what they are told.
type Outside struct {
	// Chance returns numbers from 0 up to 1, for the jitter of waits.
	Chance func() float64
	// Next returns when a program with a schedule is to run next, after a time;
	// zero: never by time.
	Next func(p *spec.Program, after time.Time) time.Time
}

// A Unit is one instance. The zero Unit isn't usable; see [New].
type Unit struct {
	spec    *spec.Program // policies; the whole of it is used by the next spawn
	outside Outside

	state State
	told  State // by the latest Change: a start is told of when its pid is known
	phase phase
	up    bool // the wish
	hold  bool // what it comes after isn't ready
	bound bool // what it requires is down: no start, also none after an end
	again bool // start again when the process is gone, whatever the policy says
	over  bool // the kill was sent
	due   bool // a run of the schedule, or one that somebody has asked for, is to begin

	counts bool          // this run counts as started
	ready  bool          // it is of use to others
	health Health        // as the checks find it
	misses int           // failed checks in a row
	cause  string        // why it is being ended though it is wanted
	by     string        // whose wish it is that it is being ended; "": nobody's
	status string        // what it says of itself
	lacks  string        // what is missing for it to be ready, as the latest try has found
	every  time.Duration // its own time between two keep-alives; 0: the watchdog's, negative: none are expected
	watch  Watching      // by the latest Watch

	gen      uint64
	pid      int
	restarts int
	shorts   int // runs shorter than backoff.reset in a row; linear: failed starts
	failures int // failed starts in a row
	since    time.Time
	started  time.Time
	toReady  time.Duration // from started until it was ready; 0: it wasn't yet
	deadline time.Time     // of the state
	ping     time.Time     // a keep-alive is due; zero: none is expected
	runAt    time.Time     // the schedule's next run; zero: there is none
	last     *event.Exit
}

// Health is what the checks say of a process.
type Health uint8

const (
	Unknown Health = iota // not checked, or not yet
	Healthy
	Unhealthy // and being ended for it
)

// Watching is what there is to look for.
type Watching struct {
	Ready  bool // whether the process is ready
	Health bool // whether it is healthy
	Demand bool // whether somebody connects to one of the program's sockets
	Idle   bool // whether nobody uses it for idle_timeout
}

// New returns a stopped unit.
func New(now time.Time, s *spec.Program, outside Outside) *Unit {
	return &Unit{spec: s, outside: outside, since: now}
}

// An Event is something that a unit is told: a wish ([Up], [Down], [Drain],
// [Restart], [Hold], [Respec]), a fact ([Spawned], [SpawnFailed], [Ended],
// [Emptied], [Main], …), or [Tick].
type Event interface{ event() }

type (
	// Up wishes it to run. One that waits in backoff or has failed is tried at once.
	Up struct{}
	// Down wishes it to be stopped, with everything that it started. Now kills
	// instead of asking. By says whose wish it is, for those who ask later why the
	// run has ended: "stopped by hand".
	Down struct {
		Now bool
		By  string
	}
	// Drain wishes that it isn't started again, and leaves it to end by itself.
	Drain struct{}
	// Restart wishes it to be stopped and started once more.
	Restart struct{ By string }
	// RunNow wishes one run of a task now, whatever its schedule says.
	RunNow struct{}
	// Hold tells whether a start has to wait for what the program comes after. It
	// is minded by starts that are wished, not by those after an end. Bound, which
	// is set with On only, says that something it requires is down: what lives is
	// stopped then, and starts again when that is over.
	Hold struct{ On, Bound bool }
	// Respec gives it another spec. Live values count from now on, the others from
	// the next start. A Hold follows.
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
		Used    event.Used
	}
	// Emptied says that nothing is left of the tree of an ended leader.
	Emptied struct{ Gen uint64 }
	// Main says that another process of the tree is the leader now: its end is what
	// Ended will tell, and signals are for it. What has led before is one of what the
	// leader has started.
	Main struct {
		Gen uint64
		PID int
	}

	// Ready says that the process is of use now.
	Ready struct{ Gen uint64 }
	// Unready says that it isn't for a while, and why in words.
	Unready struct {
		Gen     uint64
		Message string
	}
	// Checked is what a health check has found, or before it is ready a try whether
	// it is. Message says what is wrong.
	Checked struct {
		Gen     uint64
		OK      bool
		Message string
	}
	// KeepAlive is a sign of life, for the watchdog.
	KeepAlive struct{ Gen uint64 }
	// Pace says how often there will be such signs, in place of the watchdog's time;
	// negative: not at all.
	Pace struct {
		Gen   uint64
		Every time.Duration
	}
	// Trouble says that the process itself asks for what its watchdog would do.
	Trouble struct {
		Gen     uint64
		Message string
	}
	// Extend says that the process needs more time for what it is doing, to start
	// or to stop: By from now on.
	Extend struct {
		Gen uint64
		By  time.Duration
	}
	// Says is what the process says of its state, in words.
	Says struct {
		Gen  uint64
		Text string
	}
	// Demanded says that somebody asks for the program; Idle that nobody has for
	// idle_timeout.
	Demanded struct{}
	Idle     struct{ Gen uint64 }

	// Tick says that the time of the deadline has come. A late or needless one is
	// harmless.
	Tick struct{}
)

func (Up) event()          {}
func (Down) event()        {}
func (Drain) event()       {}
func (Restart) event()     {}
func (RunNow) event()      {}
func (Hold) event()        {}
func (Respec) event()      {}
func (Resume) event()      {}
func (Spawned) event()     {}
func (Lost) event()        {}
func (SpawnFailed) event() {}
func (Ended) event()       {}
func (Emptied) event()     {}
func (Main) event()        {}
func (Ready) event()       {}
func (Unready) event()     {}
func (Checked) event()     {}
func (KeepAlive) event()   {}
func (Pace) event()        {}
func (Trouble) event()     {}
func (Extend) event()      {}
func (Says) event()        {}
func (Demanded) event()    {}
func (Idle) event()        {}
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
	// Watch says what to look for from now on, at generation Gen.
	Watch struct {
		Gen uint64
		For Watching
	}
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
func (Watch) action()       {}
func (Change) action()      {}

// State returns the state.
func (u *Unit) State() State { return u.state }

// Deadline returns when the unit wants a [Tick]; zero: nothing is due.
func (u *Unit) Deadline() time.Time {
	first := u.deadline
	for _, t := range [...]time.Time{u.ping, u.runAt} {
		if !t.IsZero() && (first.IsZero() || t.Before(first)) {
			first = t
		}
	}
	return first
}

// NextStart returns when it is started by itself; zero: nothing is due.
func (u *Unit) NextStart() time.Time {
	switch u.state {
	case Backoff, Failed:
		if !u.deadline.IsZero() {
			return u.deadline
		}
	}
	return u.runAt
}

// Due returns when what the state waits for is over: the time to become ready, the
// wait of a backoff, the time until the kill; zero: it has no end.
func (u *Unit) Due() time.Time { return u.deadline }

// Killed reports whether the process that is being stopped was killed already.
func (u *Unit) Killed() bool { return u.over }

// Cause says why it is being ended though it is wanted, "" where it isn't.
func (u *Unit) Cause() string { return u.cause }

// Misses counts the health checks that failed in a row.
func (u *Unit) Misses() int { return u.misses }

// Failures counts the failed starts in a row.
func (u *Unit) Failures() int { return u.failures }

// ReadyAfter returns how long after its start the process was ready first, 0 if it
// wasn't yet.
func (u *Unit) ReadyAfter() time.Duration { return u.toReady }

// Ready reports whether it is of use to others.
func (u *Unit) Ready() bool { return u.ready }

// Health returns what the checks say.
func (u *Unit) Health() Health { return u.health }

// Status returns what the process says of its state, "" if it says nothing.
func (u *Unit) Status() string { return u.status }

// Lacks returns what is missing for it to be ready, as the latest try has found;
// "" where none has found anything.
func (u *Unit) Lacks() string { return u.lacks }

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
		s.onRestart(ev)
	case RunNow:
		s.onRunNow()
	case Hold:
		s.onHold(ev)
	case Respec:
		s.onRespec(ev)
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
	case Main:
		if s.lives(ev.Gen) && ev.PID != u.pid {
			s.onMain(ev)
		}
	case Ready:
		if s.lives(ev.Gen) {
			s.onReady()
		}
	case Unready:
		if s.lives(ev.Gen) && u.state == Running && u.ready {
			u.ready = false
			s.do(Change{From: Running, To: Running, PID: s.pid, Message: ev.Message})
		}
	case Checked:
		switch {
		case s.lives(ev.Gen) && u.state == Running:
			s.onChecked(ev)
		case s.lives(ev.Gen) && u.state == Starting && !ev.OK:
			u.lacks = ev.Message
		}
	case KeepAlive:
		if s.lives(ev.Gen) && !u.ping.IsZero() {
			u.ping = now.Add(u.pace())
		}
	case Pace:
		if s.lives(ev.Gen) {
			u.every = ev.Every
			s.expectPing()
		}
	case Trouble:
		if s.lives(ev.Gen) && (u.state == Running || u.state == Starting) {
			s.abort("watchdog: " + ev.Message)
		}
	case Extend:
		if s.lives(ev.Gen) && !u.deadline.IsZero() && !u.over {
			if later := now.Add(ev.By); later.After(u.deadline) {
				u.deadline = later
			}
		}
	case Says:
		if s.lives(ev.Gen) {
			u.status = ev.Text
		}
	case Demanded:
		if u.state == Waiting && u.spec.OnDemand && !u.due {
			u.due = true
			s.startOrWait()
		}
	case Idle:
		if s.lives(ev.Gen) && u.state == Running && u.spec.OnDemand {
			u.again = true
			s.stop(false, "nobody uses it", "nobody uses it")
		}
	case Tick:
		s.onTick()
	default:
		panic(fmt.Sprintf("unit: unknown event %T in state %s", ev, u.state))
	}
	s.look()
	return s.actions
}

// step is one call of Step: the unit, the time, and what was decided so far.
type step struct {
	*Unit
	now     time.Time
	actions []Action
	anew    bool // say what to look for, even if that hasn't changed
}

func (s *step) do(a Action) { s.actions = append(s.actions, a) }

// lives reports whether a fact of generation gen is about the process that lives.
func (s *step) lives(gen uint64) bool { return gen == s.gen && s.phase == alive }

// look says what there is to look for, where that isn't known already.
func (s *step) look() {
	want := Watching{
		Ready:  s.phase == alive && s.state == Starting && s.spec.Ready.IsSet(),
		Health: s.phase == alive && s.state == Running && s.spec.Health.IsSet(),
		Demand: s.state == Waiting && s.spec.OnDemand && !s.hold && !s.due,
		Idle:   s.phase == alive && s.state == Running && s.spec.OnDemand && s.spec.IdleTimeout > 0,
	}
	if want != s.watch || s.anew && want != (Watching{}) {
		s.watch = want
		s.do(Watch{Gen: s.gen, For: want})
	}
}

// become enters a state. It is the only place where the state is set.
func (s *step) become(to State, deadline time.Time) (from State) {
	from = s.state
	if from != to {
		s.since = s.now
	}
	if to != Running {
		s.ping, s.health, s.misses = time.Time{}, Unknown, 0
		if to != Draining {
			s.ready = false
		}
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
		if s.phase == alive && (s.counts || !s.spec.Ready.IsSet() && s.now.Sub(s.started) >= s.spec.MinUptime) {
			s.run("wanted again, kept")
			break
		}
		var limit time.Time
		if s.phase == alive {
			limit = s.startLimit()
		}
		s.enter(Starting, limit, nil, "wanted again, kept")
	default:
		s.impossible("Up")
	}
}

func (s *step) onDown(ev Down) {
	s.up, s.again, s.due, s.runAt = false, false, false, time.Time{}
	switch s.state {
	case Stopped:
	case Waiting, Backoff, Exited, Done, Failed:
		s.enter(Stopped, time.Time{}, nil, "stopped")
	case Starting, Running, Draining:
		s.stop(ev.Now, "", ev.By)
	case Stopping:
		if s.by != "" {
			s.by = ev.By
		}
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
	s.up, s.again, s.due, s.runAt = false, false, false, time.Time{}
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

func (s *step) onRestart(ev Restart) {
	s.up = true
	switch s.state {
	case Stopped, Exited, Done, Failed, Backoff:
		s.forgetFailures()
		s.startOrWait()
	case Waiting:
	case Starting, Running, Draining:
		s.again, s.due = true, s.scheduled()
		s.stop(false, "", ev.By)
	case Stopping:
		s.again = true
	default:
		s.impossible("Restart")
	}
}

// onRunNow begins a run, or, where one is under way, does what the schedule would.
func (s *step) onRunNow() {
	s.up = true
	switch s.state {
	case Stopped, Exited, Done, Failed, Backoff, Waiting:
		s.due = true
		s.forgetFailures()
		s.startOrWait()
	case Stopping:
		s.again, s.due = true, true
	case Draining:
		s.onUp()
		s.onOverlap("the run that was asked for")
	default:
		s.onOverlap("the run that was asked for")
	}
}

func (s *step) onHold(ev Hold) {
	s.hold, s.bound = ev.On, ev.Bound
	switch {
	case s.state == Waiting && !s.hold && !s.waitsForOthers():
		s.start()
	case s.bound && (s.state == Starting || s.state == Running):
		s.again, s.due = true, true // it goes on with what it was doing
		s.stop(false, "held down, since what it requires is down", "what it requires is down")
	case s.bound && s.state == Backoff:
		s.due = true
		s.enter(Waiting, time.Time{}, nil, "held down, since what it requires is down")
	}
}

// onRespec takes another spec, and plans anew what that says otherwise. One that
// has nothing to wait for any more is started by the Hold that follows: what it
// comes after may be others.
func (s *step) onRespec(ev Respec) {
	old := s.spec
	s.spec = ev.Spec
	if s.up && (old.Schedule != s.spec.Schedule || old.Timezone != s.spec.Timezone) {
		s.plan()
		rests := s.state == Waiting || s.state == Done || s.state == Exited || s.state == Failed
		if rests && !s.runAt.IsZero() && !s.due {
			s.startOrWait()
		}
	}
	if s.pace() <= 0 {
		s.ping = time.Time{}
	}
	s.anew = true // what is looked for may be the same, but found elsewhere
}

// scheduled reports whether runs begin by the clock.
func (s *step) scheduled() bool { return s.spec.Schedule != "" }

// plan sets the schedule's next run, after now.
func (s *step) plan() {
	s.runAt = time.Time{}
	if s.scheduled() {
		s.runAt = s.outside.Next(s.spec, s.now)
	}
}

// waitsForOthers reports whether a start has to wait for the clock, or for
// somebody who asks for it.
func (s *step) waitsForOthers() bool {
	return !s.due && (!s.runAt.IsZero() || s.spec.OnDemand)
}

// startOrWait begins a start that somebody wished.
func (s *step) startOrWait() { s.startOrWaitAfter(nil, "") }

// startOrWaitAfter is startOrWait after an end, of which message tells.
func (s *step) startOrWaitAfter(exit *event.Exit, message string) {
	if s.scheduled() && s.runAt.IsZero() && !s.due {
		s.plan()
	}
	if message != "" {
		message += ", "
	}
	switch {
	case s.waitsForOthers() && s.spec.OnDemand:
		message += "waits for a connection"
	case s.waitsForOthers():
		message += "next run " + s.runAt.Format("2006-01-02 15:04:05 MST")
	case s.hold:
		message += "waits for what it comes after"
	default:
		if exit != nil {
			s.enter(Starting, time.Time{}, exit, strings.TrimSuffix(message, ", "))
		}
		s.start()
		return
	}
	s.enter(Waiting, time.Time{}, exit, message)
}

// start asks for a new process. The change of state is told when its pid is
// known, or why there is none.
func (s *step) start() {
	if s.phase != none {
		panic(fmt.Sprintf("unit: a start in state %s while the phase is %s", s.state, s.phase))
	}
	s.again, s.over, s.due, s.counts, s.cause, s.status, s.lacks, s.every = false, false, false, false, "", "", "", 0
	s.by, s.toReady = "", 0
	s.plan()
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
		s.deadline = s.startLimit()
		if !s.deadline.IsZero() && !s.now.Before(s.deadline) {
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

func (s *step) onMain(ev Main) {
	message := fmt.Sprintf("its main process is pid %d now, was pid %d", ev.PID, s.pid)
	s.pid = ev.PID
	s.do(Change{From: s.state, To: s.state, PID: s.pid, Message: message})
	s.onResume() // what it may have been asked, the other one was
}

// startLimit returns when a start is over: it counts as started then or, where
// something says when it is ready, it has failed.
func (s *step) startLimit() time.Time {
	if !s.spec.Ready.IsSet() {
		return s.started.Add(s.spec.MinUptime)
	}
	if s.spec.Ready.Timeout == 0 {
		return time.Time{}
	}
	return s.started.Add(s.spec.Ready.Timeout)
}

// run enters Running: the process counts as started.
func (s *step) run(message string) {
	if !s.spec.IsTask() { // a task has to succeed, not to stay up
		s.failures = 0
	}
	s.counts, s.ready = true, !s.spec.IsTask()
	if s.ready && s.toReady == 0 {
		s.toReady = max(1, s.now.Sub(s.started))
	}
	s.enter(Running, time.Time{}, nil, message)
	s.expectPing()
}

// pace returns the longest time between two signs of life, 0 or less where none
// are expected.
func (u *Unit) pace() time.Duration {
	if u.every != 0 {
		return u.every
	}
	return u.spec.Watchdog
}

// expectPing expects the next sign of life, counted from now.
func (s *step) expectPing() {
	s.ping = time.Time{}
	if s.state == Running && s.pace() > 0 {
		s.ping = s.now.Add(s.pace())
	}
}

func (s *step) onReady() {
	switch s.state {
	case Starting:
		if s.spec.Ready.IsSet() {
			s.run("ready after " + Duration(s.now.Sub(s.started)))
		}
	case Running:
		if !s.ready && !s.spec.IsTask() {
			s.ready = true
			s.do(Change{From: Running, To: Running, PID: s.pid, Message: "ready again"})
		}
	}
}

// onChecked counts the failed health checks.
func (s *step) onChecked(ev Checked) {
	if ev.OK {
		if s.misses > 0 {
			s.do(Change{From: Running, To: Running, PID: s.pid, Message: "healthy again"})
		}
		s.health, s.misses = Healthy, 0
		return
	}
	if s.now.Before(s.since.Add(s.spec.Health.Grace)) {
		return
	}
	s.misses++
	if s.misses >= s.spec.Health.Failures {
		s.fail("unhealthy: " + ev.Message)
		s.health = Unhealthy
		return
	}
	s.do(Change{From: Running, To: Running, PID: s.pid, Warning: true,
		Message: fmt.Sprintf("health check %d of %d failed: %s", s.misses, s.spec.Health.Failures, ev.Message)})
}

// fail ends what lives for a cause, though it is wanted.
func (s *step) fail(cause string) {
	s.cause, s.over = cause, false
	s.enter(Stopping, time.Time{}, nil, cause)
	s.ask()
}

// abort is fail for one that may hang: SIGABRT tells where, by its core dump.
func (s *step) abort(cause string) {
	s.cause, s.over = cause, false
	s.enter(Stopping, s.now.Add(s.spec.StopTimeout), nil, cause)
	s.do(Signal{Gen: s.gen, Sig: spec.SIGABRT, Group: s.spec.StopScope == spec.ScopeGroup})
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
	s.last = &event.Exit{At: s.now, Err: ev.Err, Gen: s.gen, By: s.by}
	s.settle()
}

func (s *step) onEnded(ev Ended) {
	at := s.now
	if !ev.At.IsZero() {
		at = ev.At
	}
	s.last = &event.Exit{Code: ev.Code, Signal: ev.Signal, Core: ev.Core, Unknown: ev.Unknown, At: at, Uptime: max(0, at.Sub(s.started)),
		Gen: s.gen, PID: s.pid, Ready: s.toReady, By: s.by, Used: ev.Used}
	s.last.Success = !ev.Unknown && ev.Signal == 0 && s.cause == "" && slices.Contains(s.spec.SuccessCodes, ev.Code)
	s.last.Cause = s.cause
	s.pid, s.status, s.lacks = 0, "", ""
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

// stop begins to end what lives. message says why, "" that it was told to; by,
// whose wish it is.
func (s *step) stop(now bool, message, by string) {
	s.over, s.by = now, by
	switch {
	case message != "":
	case now:
		message = "killed"
	default:
		message = "told to stop"
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
		if !s.waitsForOthers() { // else it is who asks for it that starts it
			s.restarts++
		}
		s.startOrWait()
	default:
		s.decide()
	}
}

// decide applies the policy to an end that nobody asked for.
func (s *step) decide() {
	exit := s.last
	failed := exit.Err != "" || exit.Uptime < s.spec.MinUptime // not by the state: the tick may be late
	switch {
	case s.spec.IsTask():
		failed = !exit.Success
	case s.spec.Ready.IsSet():
		failed = !s.counts
	}
	took := ""
	if exit.Err == "" {
		took = " after " + Duration(exit.Uptime)
	}
	linear := s.spec.Backoff.Kind == spec.Linear
	switch {
	case linear && failed && !s.spec.IsTask(): // tried again whatever the policy says
	case s.spec.IsTask() && exit.Success:
		s.forgetFailures()
		if s.scheduled() && (s.due || !s.runAt.IsZero()) {
			s.startOrWaitAfter(exit, "done"+took)
			return
		}
		s.enter(Done, time.Time{}, exit, "done"+took)
		return
	case s.scheduled() && s.spec.Restart != spec.RestartOnFailure && (s.due || !s.runAt.IsZero()):
		s.startOrWaitAfter(exit, exit.Reason()+took)
		return
	case s.spec.IsTask() && s.spec.Restart == spec.RestartNever, s.scheduled() && s.spec.Restart != spec.RestartOnFailure:
		s.enter(Failed, time.Time{}, exit, exit.Reason()+took)
		return
	case s.spec.OnDemand && exit.Success && failed: // or one that leaves its connection alone would be started for it again at once
	case s.spec.OnDemand && exit.Success:
		s.forgetFailures()
		s.startOrWaitAfter(exit, exit.Reason()+took)
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
		if s.scheduled() && !s.runAt.IsZero() {
			s.forgetFailures()
			s.startOrWaitAfter(exit, fmt.Sprintf("%s%s, given up", exit.Reason(), took))
			return
		}
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
	case exit.Uptime >= s.spec.Backoff.Reset && exit.Err == "" && (s.counts || !s.spec.Ready.IsSet()):
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
	if s.bound {
		s.due = true
		s.enter(Waiting, time.Time{}, exit, message+", held down, since what it requires is down")
		return
	}
	if s.spec.OnDemand && exit.Success {
		s.startOrWaitAfter(exit, message)
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
	wait *= 1 + b.Jitter*(2*u.outside.Chance()-1)
	return time.Duration(min(max(wait, 0), float64(b.Max)))
}

func (u *Unit) forgetFailures() { u.shorts, u.failures = 0, 0 }

// onTick does what is due.
func (s *step) onTick() {
	past := func(t time.Time) bool { return !t.IsZero() && !s.now.Before(t) }
	if past(s.deadline) {
		s.onDue()
	}
	if past(s.ping) {
		s.abort("watchdog: no sign of life for " + Duration(s.pace()))
	}
	if past(s.runAt) {
		s.onRunDue()
	}
}

// onRunDue begins the run whose time has come.
func (s *step) onRunDue() {
	at := s.runAt
	s.plan()
	when := at.Format("2006-01-02 15:04:05 MST")
	late := s.now.Sub(at) > missed
	if late && !s.spec.CatchUp {
		s.do(Change{From: s.told, To: s.told, PID: s.pid, Warning: true, Message: "missed its run of " + when})
		return
	}
	switch s.state {
	case Waiting:
		s.due = true
		if late {
			s.do(Change{From: Waiting, To: Waiting, Warning: true, Message: "missed its run of " + when + ", which begins now"})
		}
		if !s.hold {
			s.start()
		}
	case Backoff:
		s.due = true
		s.forgetFailures()
		s.startOrWait()
	case Stopping, Draining, Starting, Running:
		s.onOverlap("its run of " + when)
	default:
		s.impossible("Tick")
	}
}

// onOverlap does what a program wants of a run that is due while another one is
// under way.
func (s *step) onOverlap(run string) {
	switch s.spec.Overlap {
	case spec.OverlapQueue:
		s.due = true
		s.do(Change{From: s.told, To: s.told, PID: s.pid, Warning: true, Message: run + " waits for the end of the one before it"})
	case spec.OverlapKill:
		s.again, s.due = true, true
		if s.state != Stopping {
			s.stop(false, "told to stop for "+run, "stopped for "+run)
		}
	default:
		s.do(Change{From: s.told, To: s.told, PID: s.pid, Warning: true, Message: "skipped " + run + ": the one before it is under way"})
	}
}

// onDue does what the deadline of the state was for.
func (s *step) onDue() {
	switch s.state {
	case Starting:
		if s.spec.Ready.IsSet() {
			cause := "not ready within " + Duration(s.deadline.Sub(s.started))
			if s.lacks != "" {
				cause += ": " + s.lacks
			}
			s.fail(cause)
			return
		}
		s.run("running")
	case Backoff, Failed:
		if s.bound {
			s.due = true
			s.enter(Waiting, time.Time{}, nil, "held down, since what it requires is down")
			return
		}
		if s.spec.OnDemand && s.last.Success {
			s.startOrWait()
			return
		}
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

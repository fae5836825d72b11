package unit

import (
	"time"

	"tend/internal/event"
	"tend/internal/spec"
)

// A Memory is all that a unit is, but for its spec and what the next try whether
// it is ready finds anew: what has to outlive the process that owns it. See
// [Restore].
type Memory struct {
	State State `json:"state"`
	Told  State `json:"told"` // by the latest Change
	Phase Phase `json:"phase"`
	Up    bool  `json:"up,omitempty"`
	Hold  bool  `json:"hold,omitempty"`
	Again bool  `json:"again,omitempty"`
	Over  bool  `json:"over,omitempty"`
	Bound bool  `json:"bound,omitempty"`
	Due   bool  `json:"due,omitempty"`

	Counts bool          `json:"counts,omitempty"`
	Ready  bool          `json:"ready,omitempty"`
	Health Health        `json:"health,omitempty"`
	Misses int           `json:"misses,omitempty"`
	Cause  string        `json:"cause,omitempty"`
	By     string        `json:"by,omitempty"`
	Status string        `json:"status,omitempty"`
	Every  time.Duration `json:"every,omitempty"`

	Gen      uint64 `json:"gen"`
	PID      int    `json:"pid,omitempty"`
	Restarts int    `json:"restarts,omitempty"`
	Shorts   int    `json:"shorts,omitempty"`
	Failures int    `json:"failures,omitempty"`

	ToReady time.Duration `json:"to_ready,omitempty"`

	// Zero times are times that aren't set.
	Since    time.Time   `json:"since,omitzero"`
	Started  time.Time   `json:"started,omitzero"`
	Deadline time.Time   `json:"deadline,omitzero"`
	Ping     time.Time   `json:"ping,omitzero"`
	RunAt    time.Time   `json:"run_at,omitzero"`
	Last     *event.Exit `json:"last,omitempty"`
}

// A Phase is what is known of a unit's process, see the package's doc.
type Phase = phase

// The phases, for whoever restores units.
const (
	None     = none
	Spawning = spawning
	Alive    = alive
	Left     = left
)

// Memory returns all that u is.
func (u *Unit) Memory() Memory {
	return Memory{
		State: u.state, Told: u.told, Phase: u.phase, Up: u.up, Hold: u.hold, Again: u.again, Over: u.over,
		Bound: u.bound, Due: u.due, Counts: u.counts, Ready: u.ready, Health: u.health, Misses: u.misses, Cause: u.cause, By: u.by, Status: u.status, Every: u.every,
		Gen: u.gen, PID: u.pid, Restarts: u.restarts, Shorts: u.shorts, Failures: u.failures, ToReady: u.toReady,
		Since: u.since, Started: u.started, Deadline: u.deadline, Ping: u.ping, RunAt: u.runAt, Last: u.last,
	}
}

// Restore returns the unit that m was taken of. It has yet to be told what
// happened to its process since, and [Resume].
func Restore(m Memory, s *spec.Program, outside Outside) *Unit {
	return &Unit{
		spec: s, outside: outside,
		state: m.State, told: m.Told, phase: m.Phase, up: m.Up, hold: m.Hold, again: m.Again, over: m.Over,
		bound: m.Bound, due: m.Due, counts: m.Counts, ready: m.Ready, health: m.Health, misses: m.Misses, cause: m.Cause, by: m.By, status: m.Status, every: m.Every,
		gen: m.Gen, pid: m.PID, restarts: m.Restarts, shorts: m.Shorts, failures: m.Failures, toReady: m.ToReady,
		since: m.Since, started: m.Started, deadline: m.Deadline, ping: m.Ping, runAt: m.RunAt, last: m.Last,
	}
}

// Shift returns m with each time that is set replaced by f of it: clocks differ
// between processes. The next run of a schedule is a time of people's clocks, and
// stays.
func (m Memory) Shift(f func(time.Time) time.Time) Memory {
	for _, t := range []*time.Time{&m.Since, &m.Started, &m.Deadline, &m.Ping} {
		if !t.IsZero() {
			*t = f(*t)
		}
	}
	if m.Last != nil {
		last := *m.Last
		if !last.At.IsZero() {
			last.At = f(last.At)
		}
		m.Last = &last
	}
	return m
}

// Valid reports whether m can be the memory of a unit: a state and a phase that
// go together.
func (m Memory) Valid() bool {
	switch m.State {
	case Stopped, Waiting, Backoff, Exited, Done, Failed:
		return m.Phase == none
	case Starting:
		return m.Phase == spawning || m.Phase == alive
	case Running:
		return m.Phase == alive
	case Stopping:
		return m.Phase == spawning || m.Phase == alive || m.Phase == left
	case Draining:
		return m.Phase == spawning || m.Phase == alive
	}
	return false
}

// MarshalText writes the state's name.
func (s State) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads a state's name; another one becomes a state that isn't
// [Memory.Valid].
func (s *State) UnmarshalText(b []byte) error {
	*s = State(index(stateNames[:], string(b)))
	return nil
}

// MarshalText writes the phase's name.
func (p phase) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText reads a phase's name; another one becomes a phase that isn't
// [Memory.Valid].
func (p *phase) UnmarshalText(b []byte) error {
	*p = phase(index(phaseNames[:], string(b)))
	return nil
}

// index returns the place of name in names, or one behind them.
func index(names []string, name string) int {
	for i, n := range names {
		if n == name {
			return i
		}
	}
	return len(names)
}

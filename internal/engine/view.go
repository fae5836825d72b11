package engine

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"tend/internal/event"
	"tend/internal/spec"
	"tend/internal/unit"
)

// A View is what is to be seen of one instance.
type View struct {
	ID       ID
	Name     string
	Spec     *spec.Program // of the instance
	State    unit.State
	Wanted   bool
	PID      int
	Gen      uint64
	Since    time.Time
	Started  time.Time // of the living process; zero: none
	Attempt  time.Time // when the latest start began, whatever came of it; zero: there was none
	Restarts int
	Last     *event.Exit
	Next     time.Time     // the next start, of backoff, failed or a schedule; zero: none is due
	Message  string        // why it is so
	Ready    bool          // it is of use to others
	Index    int           // of the instance
	Took     time.Duration // from Started until it was ready first; 0: it wasn't yet
	Health   unit.Health
	Status   string // what the process says of itself
	Idle     bool   // waits for its time or a connection, and for nothing else
	Outdated bool   // its process is of an earlier configuration: a rolling restart has ended before its turn
}

// Views returns all instances in the order in which they are shown.
func (e *Engine) Views() []View {
	views := make([]View, 0, len(e.entries))
	for _, p := range e.order {
		for _, n := range p.entries {
			views = append(views, e.view(n))
		}
	}
	return views
}

// ViewsOf returns the instances of the program with that name, or the instance.
func (e *Engine) ViewsOf(name string) []View {
	var views []View
	for _, p := range e.order {
		for _, n := range p.entries {
			if p.spec.Name == name || n.name == name {
				views = append(views, e.view(n))
			}
		}
	}
	return views
}

// Matching returns the instances that pattern means, as in [Act].
func (e *Engine) Matching(pattern string) []View {
	var views []View
	for _, n := range e.match(pattern) {
		views = append(views, e.view(n))
	}
	return views
}

// SpecOf returns the spec of an instance, nil where there is none.
func (e *Engine) SpecOf(id ID) *spec.Program {
	if n := e.entries[id]; n != nil {
		return n.unit.Spec()
	}
	return nil
}

// StateOf returns the state of an instance; ok is false where there is none.
func (e *Engine) StateOf(id ID) (state unit.State, ok bool) {
	if n := e.entries[id]; n != nil {
		return n.unit.State(), true
	}
	return unit.Stopped, false
}

// PIDOf returns the process id of the leader of an instance, 0 where none lives.
func (e *Engine) PIDOf(id ID) int {
	if n := e.entries[id]; n != nil {
		return n.unit.PID()
	}
	return 0
}

// Instances returns how many instances there are.
func (e *Engine) Instances() int { return len(e.entries) }

func (e *Engine) view(n *entry) View {
	u := n.unit
	v := View{ID: n.id, Name: n.name, Index: n.index, Took: u.ReadyAfter(), Spec: u.Spec(), State: u.State(), Wanted: n.wanted(), PID: u.PID(), Gen: u.Gen(),
		Since: u.Since(), Attempt: u.Started(), Restarts: u.Restarts(), Last: u.Last(), Message: n.message}
	if v.PID != 0 {
		v.Started = u.Started()
	}
	v.Ready, v.Health, v.Status, v.Next = u.Ready(), u.Health(), u.Status(), u.NextStart()
	v.Outdated = n.program.spec.Rolling && n.rolling == rollNone && !n.leaving && n.outdated()
	v.Idle = v.State == unit.Waiting && !n.waiting
	if v.State == unit.Starting && v.PID != 0 && v.Spec.Ready.IsSet() {
		v.Message = "waits for " + v.Spec.Ready.Subject()
		if lacks := u.Lacks(); lacks != "" {
			v.Message += ": " + lacks
		}
	}
	if v.State == unit.Waiting && n.waiting {
		v.Message = "waits for " + waitsFor(n)
	}
	return v
}

// waitsFor names what an instance is held for, and how that is.
func waitsFor(n *entry) string {
	var list []string
	for _, dep := range n.program.after {
		for _, m := range dep.entries {
			switch {
			case m.blocks() && m.unit.State().AtRest() && m.message != "":
				list = append(list, fmt.Sprintf("%s (%s: %s)", m.name, m.unit.State(), m.message))
			case m.blocks(), n.bound && !m.isUp() && slices.Contains(n.program.spec.Requires, dep.spec.Name):
				list = append(list, m.name+" ("+m.unit.State().String()+")")
			}
		}
	}
	return strings.Join(list, ", ")
}

package engine

import (
	"fmt"

	"tend/internal/event"
	"tend/internal/spec"
	"tend/internal/unit"
)

// A trial is a reload that is taken back should a program that it starts not
// become ready.
type trial struct {
	before  *spec.Set
	open    map[*entry]uint64 // those that have yet to become ready, with their generation before the reload
	culprit *entry            // did not; nil: none yet
}

// onReload makes set the wanted world, on trial where it asks for that.
func (e *Engine) onReload(set *spec.Set) {
	before := e.set
	e.trial = nil
	e.onDesired(set)
	if !set.Daemon.Rollback || e.stopping || len(before.Programs) == 0 || e.set != set {
		return
	}
	t := &trial{before: before, open: make(map[*entry]uint64)}
	for _, p := range e.order {
		old := before.Program(p.spec.Name)
		if p.leaving || old != nil && !spec.NeedsRestart(spec.Changes(old, p.spec)) && old.Enabled == p.spec.Enabled && old.Instances >= p.spec.Instances {
			continue
		}
		for _, n := range p.entries {
			if n.wanted() && !n.leaving {
				t.open[n] = n.unit.Gen()
			}
		}
	}
	if len(t.open) > 0 {
		e.trial = t
	}
}

// checkTrial ends a trial when all have become ready, and sees when one will not.
// Going back is a step of its own, the next tick: what one step takes away and
// gives back can't be saved.
func (e *Engine) checkTrial() {
	t := e.trial
	if t == nil || t.culprit != nil || e.stopping {
		return
	}
	for n, gen := range t.open {
		switch state := n.unit.State(); {
		case n.leaving || !n.wanted() || e.entries[n.id] != n:
			delete(t.open, n) // somebody has other wishes
		case n.rolling != rollNone || n.held != nil:
		case state == unit.Backoff && n.unit.Gen() > gen, state == unit.Failed && n.unit.Gen() > gen, state == unit.Exited && !n.unit.Last().Success:
			t.culprit = n
			return
		case n.program.roll == nil && n.program.spec.Rolling && n.outdated(): // the roll ended before its turn
			t.culprit = n
			return
		case state == unit.Starting && n.unit.Last() != nil && n.unit.Gen() > gen+1: // started again at once
			t.culprit = n
			return
		case state == unit.Running && (n.unit.Ready() || n.unit.Spec().IsTask()) && !n.outdated(),
			state == unit.Done, state == unit.Exited, state == unit.Waiting && !n.waiting:
			delete(t.open, n)
		}
	}
	if len(t.open) == 0 {
		e.trial = nil
	}
}

// rollBack goes back to what was wanted before a reload.
func (e *Engine) rollBack() {
	before, culprit := e.trial.before, e.trial.culprit
	e.trial = nil
	e.say(event.Event{Kind: event.RolledBack, Program: culprit.program.spec.Name, Name: culprit.name,
		Message: fmt.Sprintf("%s did not become ready: %s; the configuration before is in force again", culprit.name, culprit.message)})
	e.onDesired(before)
}

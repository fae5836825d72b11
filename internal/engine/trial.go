package engine

import (
	"fmt"
	"slices"

	"tend/internal/event"
	"tend/internal/spec"
	"tend/internal/unit"
)

// A trial is a reload that is taken back should a program that it starts not
// become ready.
type trial struct {
	before  *spec.Set
	open    []tried
	culprit *entry   // did not; nil: none yet
	why     string   // it didn't
	cmd     *command // the reload, which waits for how this ends; nil: nobody does
}

// tried is an instance that has yet to become ready.
type tried struct {
	*entry
	gen uint64 // its generation before the reload
}

// onReload makes a set the wanted world, on trial where it asks for that.
func (e *Engine) onReload(in Desired) {
	if in.Cmd != 0 {
		if e.stopping {
			e.out.Answer = append(e.out.Answer, stopsAlready(in.Cmd))
			return
		}
		cmd := &command{id: in.Cmd, open: 1} // until all is begun
		e.reload = cmd
		defer func() {
			e.reload = nil
			e.answer(cmd)
		}()
	}
	e.try(in.Set)
}

// try makes set the wanted world. One that is on trial stays so when it is named
// again.
func (e *Engine) try(set *spec.Set) {
	before := e.set
	if e.trial != nil && before.Daemon == set.Daemon && len(Diff(before, set).Items) == 0 {
		e.onDesired(set)
		e.joinTrial()
		return
	}
	e.endTrial("")
	gens := make(map[ID]uint64)
	if set.Daemon.Rollback {
		for id, n := range e.entries {
			gens[id] = n.unit.Gen()
		}
	}
	e.onDesired(set)
	if !set.Daemon.Rollback || e.stopping || len(before.Programs) == 0 || e.set != set {
		return
	}
	t := &trial{before: before}
	for _, p := range e.order {
		old := before.Program(p.spec.Name)
		if p.leaving || old != nil && !spec.NeedsRestart(spec.Changes(old, p.spec)) && old.Enabled == p.spec.Enabled && old.Instances >= p.spec.Instances {
			continue
		}
		for _, n := range p.entries {
			if !n.wanted() || n.leaving {
				continue
			}
			gen, known := gens[n.id]
			if !known {
				gen = n.unit.Gen()
				if n.unit.State() == unit.Starting { // by this
					gen--
				}
			}
			t.open = append(t.open, tried{n, gen})
		}
	}
	if len(t.open) > 0 {
		e.trial = t
		e.joinTrial()
	}
}

// joinTrial lets the reload that is being begun wait for how the trial ends.
func (e *Engine) joinTrial() {
	if e.reload != nil && e.trial.cmd == nil {
		e.trial.cmd = e.reload
		e.reload.open++
	}
}

// endTrial ends a trial, if there is one. undone says why its set is taken back, ""
// that it isn't.
func (e *Engine) endTrial(undone string) {
	t := e.trial
	e.trial = nil
	if t != nil && t.cmd != nil {
		t.cmd.undone = undone
		e.answer(t.cmd)
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
	t.open = slices.DeleteFunc(t.open, func(n tried) bool { return t.culprit == nil && e.proven(n) })
	if len(t.open) == 0 && t.culprit == nil {
		e.endTrial("")
	}
}

// proven reports whether an instance has become ready, or nobody waits for that
// any more. One that will not is the trial's culprit.
func (e *Engine) proven(n tried) bool {
	began := n.unit.Gen() > n.gen
	switch state := n.unit.State(); {
	case n.leaving || !n.wanted() || e.entries[n.id] != n.entry:
		return true // somebody has other wishes
	case n.rolling != rollNone || n.held != nil:
		return false
	case began && (state == unit.Backoff || state == unit.Failed),
		state == unit.Exited && !n.unit.Last().Success,
		n.program.roll == nil && n.program.spec.Rolling && n.outdated(), // the roll ended before its turn
		state == unit.Starting && n.unit.Gen() > n.gen+1:                // started again at once
		e.trial.culprit, e.trial.why = n.entry, n.message
		return false
	case state == unit.Running:
		return (n.unit.Ready() || n.unit.Spec().IsTask()) && !n.outdated()
	}
	return n.unit.State() == unit.Waiting && !n.waiting || n.unit.State() == unit.Done || n.unit.State() == unit.Exited
}

// rollBack goes back to what was wanted before a reload.
func (e *Engine) rollBack() {
	before, culprit := e.trial.before, e.trial.culprit
	message := fmt.Sprintf("%s did not become ready: %s; the configuration before is in force again", culprit.name, e.trial.why)
	e.say(event.Event{Kind: event.RolledBack, Program: culprit.program.spec.Name, Name: culprit.name, Message: message})
	e.endTrial(message)
	e.onDesired(before)
}

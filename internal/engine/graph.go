package engine

import (
	"fmt"
	"slices"

	"tend/internal/spec"
	"tend/internal/unit"
)

// linkGraph makes the edges between programs anew. Those that leave keep theirs,
// so that they are stopped in order too.
func (e *Engine) linkGraph() {
	for _, p := range e.order {
		p.after, p.before = nil, nil
	}
	for _, p := range e.order {
		for _, name := range p.spec.Befores() {
			if dep := e.programs[name]; dep != nil {
				p.after = append(p.after, dep)
				dep.before = append(dep.before, p)
			}
		}
	}
	if e.stopping {
		e.linkGroups()
	}
}

// linkGroups has each group of a supervisord.conf come after the one before it, as
// far as they know no other order. It is for the end of everything alone:
// supervisord starts its groups without waiting for any, and stops them one by one.
func (e *Engine) linkGroups() {
	var last, group []*program // the group before, and the one that is gathered
	for _, p := range e.order {
		if p.spec.Member.Group == "" {
			return // of another format
		}
		if p.spec.Member.Pool != (spec.Pool{}) {
			continue // it comes last, see listenersLast
		}
		if len(group) > 0 && group[0].spec.Member.Group != p.spec.Member.Group {
			last, group = group, nil
		}
		group = append(group, p)
		for _, dep := range last {
			p.after, dep.before = append(p.after, dep), append(dep.before, p)
		}
	}
}

// listenersLast has event listeners stop after all others, of whose ends they are to
// be told. Nothing is started any more.
func (e *Engine) listenersLast() {
	for _, p := range e.order {
		if p.spec.Member.Pool == (spec.Pool{}) {
			continue
		}
		for _, q := range e.order {
			if q.spec.Member.Pool == (spec.Pool{}) {
				q.after, p.before = append(q.after, p), append(p.before, q)
			}
		}
	}
}

// unlink takes a program that is gone out of the graph.
func (p *program) unlink() {
	for _, dep := range p.after {
		dep.before = without(dep.before, p)
	}
	for _, next := range p.before {
		next.after = without(next.after, p)
	}
}

// without returns list without its first p, in the same array.
func without(list []*program, p *program) []*program {
	if i := slices.Index(list, p); i >= 0 {
		return slices.Delete(list, i, i+1)
	}
	return list
}

// touch marks a program whose neighbours must be looked at.
func (e *Engine) touch(p *program) {
	if !p.touched {
		p.touched = true
		e.touched = append(e.touched, p)
	}
}

// followGraph carries what happened to a program on to its neighbours: those
// after it may start when it is ready, those before it may stop when it is gone.
func (e *Engine) followGraph() {
	for i := 0; i < len(e.touched); i++ { // it grows meanwhile
		p := e.touched[i]
		p.touched = false
		for _, next := range p.before {
			for _, n := range next.entries {
				e.tellHold(n)
				e.checkWaits(n) // what it waits for may have failed
			}
		}
		for _, dep := range p.after {
			e.releaseHeld(dep)
		}
		e.releaseHeld(p)
		e.advance(p)
		e.forgetGone(p)
	}
	clear(e.touched)
	e.touched = e.touched[:0]
}

// releaseHeld tells those instances of p to stop that were only held for the
// ones that come after p.
func (e *Engine) releaseHeld(p *program) {
	if p.held == 0 || p.heldBack() {
		return
	}
	for _, n := range p.entries {
		if n.held != nil {
			e.release(n)
		}
	}
	e.touch(p) // what it comes after may be held for it, even where no state has changed
}

// heldBack reports whether something that comes after p is on its way down. It
// looks first where it found that last, or the end of each of many would look at
// all that have ended before.
func (p *program) heldBack() bool {
	for i := range p.before {
		if at := (p.lastDown + i) % len(p.before); onItsWayDown(p.before[at]) {
			p.lastDown = at
			return true
		}
	}
	return false
}

// onItsWayDown reports whether an instance of p is being stopped, or is to be.
func onItsWayDown(p *program) bool {
	return p.held > 0 || slices.ContainsFunc(p.entries, func(n *entry) bool { return n.unit.State() == unit.Stopping })
}

// tellHold tells a unit whether its start has to wait, and whether it is held
// down, when that has changed.
func (e *Engine) tellHold(n *entry) {
	hold := n.program.mustWait()
	bound := hold && n.program.heldDown() && n.held == nil // one that is to end anyway does so in its turn
	if hold != n.waiting || bound != n.bound {
		n.waiting, n.bound = hold, bound
		e.tell(n, unit.Hold{On: hold, Bound: bound})
	}
}

// bindDown tells all that have to be held down by new edges, before anything is
// started that comes after them.
func (e *Engine) bindDown() {
	for again := true; again; {
		again = false
		for _, p := range e.order {
			if !p.heldDown() {
				continue
			}
			for _, n := range p.entries {
				if !n.bound && n.held == nil {
					e.tellHold(n)
					again = true
				}
			}
		}
	}
}

// tellHoldAnew is tellHold for one that waits and has got another spec: what else
// it has waited for may have gone.
func (e *Engine) tellHoldAnew(n *entry) {
	n.waiting = n.program.mustWait()
	n.bound = n.waiting && n.program.heldDown() && n.held == nil
	e.tell(n, unit.Hold{On: n.waiting, Bound: n.bound})
}

// mustWait reports whether starts of p have to wait for what it comes after.
func (p *program) mustWait() bool {
	return slices.ContainsFunc(p.after, func(dep *program) bool { return !dep.satisfied() }) || p.heldDown()
}

// heldDown reports whether something that p requires is down: none of its
// instances is up, or has done what it was there for.
func (p *program) heldDown() bool {
	if len(p.spec.Requires) == 0 {
		return false
	}
	return slices.ContainsFunc(p.after, func(dep *program) bool {
		return slices.Contains(p.spec.Requires, dep.spec.Name) && !slices.ContainsFunc(dep.entries, (*entry).isUp)
	})
}

// isUp reports whether the instance is of use to those that require it.
func (n *entry) isUp() bool {
	switch n.unit.State() {
	case unit.Running:
		_, down := n.held.(unit.Down)
		return !down && !n.unit.Spec().IsTask()
	case unit.Done:
		return true
	case unit.Exited:
		return n.unit.Last().Success
	case unit.Waiting: // for its time, or for a connection, which is what it is there for
		return !n.waiting
	}
	return false
}

// stuckBehind says what p waits for, by way of others or not, that won't get up by
// itself: it has failed, for good, or it is required and nobody wants it. "" is
// nothing. seen holds the programs that need not be looked at again.
func (p *program) stuckBehind(seen map[*program]bool) (what string, forGood bool) {
	seen[p] = true
	for _, dep := range p.after {
		required, wanted := slices.Contains(p.spec.Requires, dep.spec.Name), false
		for _, n := range dep.entries {
			if state := n.unit.State(); n.blocks() && state.AtRest() && state != unit.Stopped && n.unit.Deadline().IsZero() {
				return fmt.Sprintf("%s (%s: %s)", n.name, state, n.message), true
			}
			wanted = wanted || n.wanted() || n.isUp()
		}
		if required && !wanted {
			return dep.spec.Name + ", which is to be down", false
		}
		if !seen[dep] && slices.ContainsFunc(dep.entries, func(n *entry) bool { return n.waiting && n.wanted() }) {
			if what, forGood := dep.stuckBehind(seen); what != "" {
				return dep.spec.Name + ", and that for " + what, forGood
			}
		}
	}
	return "", false
}

// satisfied reports whether those that come after p may start: every instance of
// it that is wanted is ready, or has done what it was there for.
func (p *program) satisfied() bool {
	for _, n := range p.entries {
		if n.blocks() {
			return false
		}
	}
	return true
}

// blocks reports whether the start of what comes after this instance has to wait
// for it. One that nobody wants is not waited for.
func (n *entry) blocks() bool {
	if n.leaving || !n.wanted() {
		return false
	}
	if n.held != nil {
		return true
	}
	switch n.unit.State() {
	case unit.Running:
		return !n.unit.Ready() // a task is when it is done
	case unit.Waiting:
		return n.waiting || !n.unit.Spec().OnDemand && !n.scheduled() // its sockets are there
	case unit.Done:
		return false
	case unit.Exited:
		return !n.unit.Last().Success
	}
	return true
}

// scheduled reports whether an instance waits for its time: nobody waits for it.
func (n *entry) scheduled() bool { return n.unit.Spec().Schedule != "" }

// wanted reports whether the instance is to be up, by hand or by configuration.
func (n *entry) wanted() bool {
	switch n.manual {
	case wantUp:
		return true
	case wantDown:
		return false
	}
	return !n.leaving && n.program.spec.Enabled && (n.program.spec.Autostart || n.unit.Up())
}

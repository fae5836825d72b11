package engine

import (
	"fmt"
	"slices"
	"strings"

	"tend/internal/event"
	"tend/internal/unit"
)

// A roll is a rolling restart of a program: its instances are restarted a few at
// a time, and each has to be ready before the next one's turn.
type roll struct {
	queue []*entry // yet to be restarted, from their old spec until then
	busy  []*entry // being restarted
}

// rolling is an instance's part in a roll.
type rolling uint8

const (
	rollNone rolling = iota
	rollQueued
	rollBusy
)

// rollingNames are the parts as they are saved.
var rollingNames = [...]string{rollNone: "", rollQueued: "queued", rollBusy: "busy"}

func (r rolling) String() string { return rollingNames[r] }

func rollingOf(s string) rolling { return rolling(max(0, slices.Index(rollingNames[:], s))) }

// enroll puts an instance into the rolling restart of its program.
func (e *Engine) enroll(n *entry) {
	if n.rolling == rollQueued {
		return
	}
	e.takeOut(n)
	p := n.program
	if p.roll == nil {
		p.roll = new(roll)
	}
	p.roll.queue = append(p.roll.queue, n)
	n.rolling = rollQueued
	e.changed(n)
	e.touch(p)
}

// takeOut takes an instance out of a rolling restart.
func (e *Engine) takeOut(n *entry) {
	if n.rolling == rollNone {
		return
	}
	is := func(m *entry) bool { return m == n }
	if r := n.program.roll; r != nil {
		r.queue, r.busy = slices.DeleteFunc(r.queue, is), slices.DeleteFunc(r.busy, is)
	}
	n.rolling = rollNone
	e.changed(n)
	e.touch(n.program)
}

// leaveRoll takes an instance out of a rolling restart and gives it the spec of
// its program, which it may have been spared.
func (e *Engine) leaveRoll(n *entry) {
	e.takeOut(n)
	if n.outdated() {
		e.respec(n)
		if n.unit.State() == unit.Waiting {
			e.tellHoldAnew(n)
		}
	}
}

// advance goes on with the rolling restart of p, if there is one.
func (e *Engine) advance(p *program) {
	r := p.roll
	if r == nil {
		return
	}
	for _, n := range slices.Clone(r.busy) {
		switch state := n.unit.State(); {
		case n.unit.Gen() > n.rollGen+1 && !n.unit.Ready(): // its first start has failed
			e.endRoll(p, n)
			return
		case state == unit.Starting, state == unit.Stopping && n.unit.Up(), n.held != nil:
			continue // on its way
		case state == unit.Running && !n.unit.Ready() && !n.unit.Spec().IsTask():
			continue
		case state == unit.Backoff, state == unit.Failed, state == unit.Exited && !n.unit.Last().Success:
			e.endRoll(p, n)
			return
		}
		// Ready, or somebody has other wishes for it.
		e.leaveRoll(n)
		e.checkWaits(n)
	}
	for len(r.queue) > 0 && len(r.busy) < p.spec.MaxUnavailable {
		n := r.queue[0]
		r.queue = r.queue[1:]
		if !n.unit.Up() || n.unit.Gone() || n.leaving || n.held != nil {
			e.leaveRoll(n)
			continue
		}
		r.busy = append(r.busy, n)
		n.rolling, n.rollGen = rollBusy, n.unit.Gen()
		e.changed(n)
		e.respec(n)
		e.request(n, unit.Restart{By: "restarted in its turn"})
	}
	if len(r.queue)+len(r.busy) == 0 {
		p.roll = nil
	}
}

// endRoll ends a rolling restart because of an instance that didn't become ready:
// those that are still to come stay as they are.
func (e *Engine) endRoll(p *program, culprit *entry) {
	r := p.roll
	p.roll = nil
	for _, n := range r.busy {
		n.rolling = rollNone
		e.changed(n)
		e.checkWaits(n)
	}
	names := make([]string, len(r.queue))
	for i, n := range r.queue {
		names[i] = n.name
		n.rolling = rollNone
		e.changed(n)
		waits := n.waits
		n.waits = nil
		for _, w := range waits {
			e.finish(n, w, false, "stays as it is: "+culprit.name+" did not become ready")
		}
	}
	message := fmt.Sprintf("the rolling restart ends: %s did not become ready: %s", culprit.name, culprit.message)
	if len(names) > 0 {
		message += "; as before: " + strings.Join(names, ", ")
	}
	e.say(event.Event{Kind: event.Warning, Program: p.spec.Name, Message: message})
}

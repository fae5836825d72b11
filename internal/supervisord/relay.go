package supervisord

import (
	"context"
	"sync"
	"time"
)

// A Relay is the edge of Listeners: it takes inputs from any goroutine, one at a
// time, and has what follows carried out in order.
type Relay struct {
	mu        sync.Mutex
	listeners *Listeners
	do        RelayOptions
}

// RelayOptions are what a Relay needs. Its functions are called one at a time,
// must not wait for anything, and must not call the Relay.
type RelayOptions struct {
	Identifier string // of the daemon

	// Send writes to the standard input of a listener. A write that isn't OK costs
	// the listener its part in the protocol, and the event goes to another.
	Send func(id ID, data string) Outcome
	Say  func(level, text string)
	Show func(text string)
}

// NewRelay returns a Relay without pools.
func NewRelay(o RelayOptions) *Relay {
	if o.Say == nil {
		o.Say = func(string, string) {}
	}
	if o.Show == nil {
		o.Show = func(string) {}
	}
	return &Relay{listeners: NewListeners(o.Identifier), do: o}
}

// Step takes an input and does what follows.
func (r *Relay) Step(in Input) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for todo := []Input{in}; len(todo) > 0; todo = todo[1:] {
		for _, e := range r.listeners.Step(todo[0]) {
			switch e := e.(type) {
			case Send:
				if r.do.Send(e.ID, e.Data).Kind != OK {
					todo = append(todo, NotSent{e.ID})
				}
			case Say:
				r.do.Say(e.Level, e.Text)
			case Show:
				r.do.Show(e.Text)
			}
		}
	}
}

// Publish is Step with an event.
func (r *Relay) Publish(e Event) { r.Step(Publish{e}) }

// Run makes TICK events until ctx ends. now is time.Now, or what a test has.
func (r *Relay) Run(ctx context.Context, now func() time.Time) {
	r.Step(Tick{now()})
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		at := now()
		timer.Reset(NextTick(at).Sub(at))
		select {
		case <-timer.C:
			r.Step(Tick{now()})
		case <-ctx.Done():
			return
		}
	}
}

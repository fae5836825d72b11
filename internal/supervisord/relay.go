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
	unsaved   bool
}

// RelayOptions are what a Relay needs. Its functions are called one at a time,
// must not wait for anything, and must not call the Relay.
type RelayOptions struct {
	Identifier string // of the daemon
	Debug      bool   // each step of the protocol is said, as with loglevel=debug

	// Send writes to the standard input of a listener. A write that isn't OK costs
	// the listener its part in the protocol, and the event goes to another.
	Send func(id ID, data string) Outcome

	// Save, if set, puts aside what the Listeners know. It is called before anything
	// is sent: who had an event may not seem to be ready for one. Unsaved is called
	// when there is something to put aside that can wait, once until that is done.
	Save    func(Memory)
	Unsaved func()

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
	if o.Save == nil {
		o.Save = func(Memory) {}
	}
	if o.Unsaved == nil {
		o.Unsaved = func() {}
	}
	return &Relay{listeners: NewListeners(o.Identifier, o.Debug), do: o}
}

// Step takes an input and does what follows.
func (r *Relay) Step(in Input) {
	r.mu.Lock()
	defer r.mu.Unlock()
	serial := r.listeners.serial
	for todo := []Input{in}; len(todo) > 0; todo = todo[1:] {
		for _, e := range r.listeners.Step(todo[0]) {
			switch e := e.(type) {
			case Send:
				r.save()
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
	switch in.(type) {
	case Publish, Tick:
		if r.listeners.serial == serial {
			return // nobody wanted it
		}
	}
	if !r.unsaved {
		r.unsaved = true
		r.do.Unsaved()
	}
}

// save puts aside what is known now.
func (r *Relay) save() {
	r.unsaved = false
	r.do.Save(r.listeners.Memory())
}

// Save has what the Listeners know put aside, if it isn't.
func (r *Relay) Save() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.unsaved {
		r.save()
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

// Memory returns what the Listeners know.
func (r *Relay) Memory() Memory {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.listeners.Memory()
}

// Restore goes on with what the Listeners of another daemon knew. The pools must
// have been added.
func (r *Relay) Restore(m Memory) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.listeners.Restore(m)
}

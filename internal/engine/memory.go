package engine

import (
	"container/heap"
	"encoding/json"
	"slices"
	"time"

	"tend/internal/spec"
	"tend/internal/unit"
)

// A Key names an instance for as long as its program exists, in whatever engine.
type Key struct {
	Program string
	Index   int
}

// A Record is all that the engine knows of one instance, but for its spec where
// that is the one of its program.
type Record struct {
	Program string      `json:"program"`
	Index   int         `json:"index"`
	Name    string      `json:"name"`
	Manual  string      `json:"manual,omitempty"`  // "up" or "down": wished by hand
	Leaving bool        `json:"leaving,omitempty"` // to be forgotten when at rest
	Held    string      `json:"held,omitempty"`    // "down", "drain" or "restart": a wish that waits for others
	HeldBy  string      `json:"held_by,omitempty"` // whose wish that is
	Waiting bool        `json:"waiting,omitempty"` // the unit was told last that its start has to wait
	Bound   bool        `json:"bound,omitempty"`   // and that it is held down
	Rolling string      `json:"rolling,omitempty"` // "queued" or "busy": its part in a rolling restart
	RollGen uint64      `json:"roll_gen,omitempty"`
	Message string      `json:"message,omitempty"`
	Ends    []End       `json:"ends,omitempty"`
	Unit    unit.Memory `json:"unit"`

	// Spec is the earlier spec, by [spec.Encode], of one that a rolling restart has
	// yet to reach or has spared, or that there are too many of; nil: it has that of
	// its program.
	Spec json.RawMessage `json:"spec,omitempty"`
}

// Key returns whose record it is.
func (r *Record) Key() Key { return Key{r.Program, r.Index} }

// Shift returns r with each time that is set replaced by f of it, see
// [unit.Memory.Shift].
func (r Record) Shift(f func(time.Time) time.Time) Record {
	r.Unit = r.Unit.Shift(f)
	r.Ends = slices.Clone(r.Ends)
	for i := range r.Ends {
		r.Ends[i].At = f(r.Ends[i].At)
	}
	return r
}

// A World is what the engine knows beyond programs and instances.
type World struct {
	Daemon   spec.Daemon `json:"daemon"`
	Programs []string    `json:"programs"` // of the wanted set, in order
	Stopping bool        `json:"stopping,omitempty"`
	Status   int         `json:"status,omitempty"` // the exit status of a complete shutdown
}

// A Save is what a step has changed of that which must outlive the daemon. Put
// together, the saves of all steps are what [Restore] takes. What is gone is gone
// even if it is among the changed.
type Save struct {
	World        *World
	Programs     []*spec.Program // new or changed
	GonePrograms []string
	Instances    []Record // new or changed
	Gone         []Key
}

// Empty reports whether there is nothing to save.
func (s *Save) Empty() bool {
	return s.World == nil && len(s.Programs)+len(s.GonePrograms)+len(s.Instances)+len(s.Gone) == 0
}

// A Past is what an engine has left behind when its owner died.
type Past struct {
	World     World
	Programs  map[string]*spec.Program // of World.Programs, and those that leave
	Instances []Record

	// Rebooted is set when the machine was started anew since: no process is
	// left, and only wishes by hand and numbers count.
	Rebooted bool
}

// Restore returns an engine that goes on from the past, and the IDs of
// past.Instances; 0 stands for one that makes no sense, and isn't restored. Who
// owns the engine tells it what became of the processes, or [unit.Resume] where
// nothing did. A later Desired is a reload.
func Restore(now time.Time, outside unit.Outside, past Past) (*Engine, []ID) {
	e := New(outside)
	e.now = now
	ids := make([]ID, len(past.Instances))
	if past.Rebooted {
		e.past = make(map[Key]Record, len(past.Instances))
		for _, r := range past.Instances {
			e.past[r.Key()] = r
		}
		return e, ids
	}
	e.stopping, e.status = past.World.Stopping, past.World.Status
	e.set = &spec.Set{Daemon: past.World.Daemon}

	have := make(map[Key]int, len(past.Instances))
	for i, r := range past.Instances {
		if past.Programs[r.Program] != nil && r.Index >= 0 && r.Unit.Valid() {
			have[r.Key()] = i
		}
	}
	// A program of the set without all of its instances is taken for a new one.
	for _, name := range past.World.Programs {
		s := past.Programs[name]
		if s == nil || e.programs[name] != nil {
			continue
		}
		whole := true
		for i := range s.Instances {
			_, known := have[Key{name, i}]
			whole = whole && known
		}
		if whole {
			e.set.Programs = append(e.set.Programs, s)
			p := &program{spec: s}
			e.programs[name] = p
			e.order = append(e.order, p)
		}
	}
	for i := range past.Instances {
		r := &past.Instances[i]
		if at, known := have[r.Key()]; !known || at != i {
			continue
		}
		p := e.programs[r.Program]
		if p == nil {
			if !r.Leaving {
				continue
			}
			p = &program{spec: past.Programs[r.Program], leaving: true}
			e.programs[r.Program] = p
			e.order = append(e.order, p)
		}
		ids[i] = e.restore(p, r)
	}
	for _, p := range e.order {
		slices.SortFunc(p.entries, func(a, b *entry) int { return a.index - b.index })
		e.touch(p) // what was said to others of it may not have been heard
	}
	e.linkGraph()
	if e.stopping {
		e.listenersLast()
	}
	e.restored = true
	return e, ids
}

// restore makes the instance of a record.
func (e *Engine) restore(p *program, r *Record) ID {
	e.lastID++
	n := &entry{id: e.lastID, program: p, index: r.Index, name: r.Name, manual: manualOf(r.Manual), leaving: r.Leaving,
		waiting: r.Waiting, bound: r.Bound, rolling: rollingOf(r.Rolling), rollGen: r.RollGen, message: r.Message, ends: r.Ends, heapPos: -1}
	s := p.spec.Instance(r.Index)
	if r.Spec != nil {
		if own, err := spec.Decode(r.Program, r.Spec); err == nil { // else it is as if it had not been put aside
			s, n.earlier = own, true
		}
	}
	n.unit = unit.Restore(r.Unit, s, e.outside)
	switch r.Held {
	case "down":
		n.held = unit.Down{By: r.HeldBy}
	case "drain":
		n.held = unit.Drain{}
	case "restart":
		n.held = unit.Restart{By: r.HeldBy}
	}
	if n.held != nil {
		p.held++
	}
	if n.leaving {
		p.leavers++
	}
	if n.rolling != rollNone {
		if p.roll == nil {
			p.roll = new(roll)
		}
		if n.rolling == rollQueued {
			p.roll.queue = append(p.roll.queue, n)
		} else {
			p.roll.busy = append(p.roll.busy, n)
		}
	}
	p.entries = append(p.entries, n)
	e.entries[n.id] = n
	if !n.unit.Deadline().IsZero() {
		heap.Push(&e.due, n)
	}
	return n.id
}

// recall gives a new instance what is known of it from before the machine's last
// boot: what was stopped by hand stays stopped.
func (e *Engine) recall(n *entry) {
	r, known := e.past[n.key()]
	if !known {
		return
	}
	delete(e.past, n.key())
	if !r.Leaving && r.Manual == "down" {
		n.manual = wantDown
	}
	n.ends = r.Ends
	n.unit = unit.Restore(unit.Memory{Gen: r.Unit.Gen, Restarts: r.Unit.Restarts, Last: r.Unit.Last, RunAt: r.Unit.RunAt, Since: e.now}, n.unit.Spec(), e.outside)
}

func (n *entry) key() Key { return Key{n.program.spec.Name, n.index} }

// changed notes that n differs from its latest Record.
func (e *Engine) changed(n *entry) {
	if !n.dirty {
		n.dirty = true
		e.dirty = append(e.dirty, n)
	}
}

func (e *Engine) saveProgram(p *program) { e.out.Save.Programs = append(e.out.Save.Programs, p.spec) }

func (e *Engine) saveWorld() {
	w := e.world()
	e.out.Save.World = &w
}

func (e *Engine) world() World {
	w := World{Daemon: e.set.Daemon, Stopping: e.stopping, Status: e.status, Programs: make([]string, len(e.set.Programs))}
	for i, p := range e.set.Programs {
		w.Programs[i] = p.Name
	}
	return w
}

func sameNames(a, b *spec.Set) bool {
	return slices.EqualFunc(a.Programs, b.Programs, func(p, q *spec.Program) bool { return p.Name == q.Name })
}

// save collects the records of the instances that have changed.
func (e *Engine) save() {
	for i, n := range e.dirty {
		n.dirty = false
		e.dirty[i] = nil
		if e.entries[n.id] == n {
			e.out.Save.Instances = append(e.out.Save.Instances, n.record())
		}
	}
	e.dirty = e.dirty[:0]
}

func (n *entry) record() Record {
	r := Record{Program: n.program.spec.Name, Index: n.index, Name: n.name, Manual: n.manual.String(), Leaving: n.leaving,
		Waiting: n.waiting, Bound: n.bound, Rolling: n.rolling.String(), RollGen: n.rollGen, Message: n.message, Ends: n.ends, Unit: n.unit.Memory()}
	if n.earlier {
		r.Spec = spec.Encode(n.unit.Spec())
	}
	switch held := n.held.(type) {
	case unit.Down:
		r.Held, r.HeldBy = "down", held.By
	case unit.Drain:
		r.Held = "drain"
	case unit.Restart:
		r.Held, r.HeldBy = "restart", held.By
	}
	return r
}

// Past returns all that the engine is, as its saves come to when they are put
// together.
func (e *Engine) Past() Past {
	past := Past{World: e.world(), Programs: make(map[string]*spec.Program, len(e.programs))}
	for name, p := range e.programs {
		past.Programs[name] = p.spec
	}
	for _, p := range e.order {
		for _, n := range p.entries {
			past.Instances = append(past.Instances, n.record())
		}
	}
	return past
}

// manualNames are the wishes by hand as they are saved.
var manualNames = [...]string{byConfig: "", wantUp: "up", wantDown: "down"}

func (m manual) String() string { return manualNames[m] }

func manualOf(s string) manual { return manual(max(0, slices.Index(manualNames[:], s))) }

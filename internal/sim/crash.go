package sim

import (
	"cmp"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"time"

	"tend/internal/engine"
	"tend/internal/spec"
	"tend/internal/unit"
)

// saved is what the engine's owners have put aside.
type saved struct {
	world     engine.World
	programs  map[string]*spec.Program
	instances map[engine.Key]engine.Record
}

func newSaved() saved {
	return saved{programs: make(map[string]*spec.Program), instances: make(map[engine.Key]engine.Record)}
}

func (s *saved) apply(c engine.Save) {
	if c.World != nil {
		s.world = *c.World
	}
	for _, p := range c.Programs {
		s.programs[p.Name] = p
	}
	for _, r := range c.Instances {
		s.instances[r.Key()] = r
	}
	for _, name := range c.GonePrograms {
		delete(s.programs, name)
	}
	for _, k := range c.Gone {
		delete(s.instances, k)
	}
}

// checkSaved checks that what was put aside is what the engine is.
func (w *World) checkSaved() {
	if w.rng.IntN(8) > 0 {
		return // it costs more than all the rest
	}
	past := w.Engine.Past()
	if fmt.Sprint(past.World) != fmt.Sprint(w.saved.world) {
		w.fail("saved %+v, but the engine is %+v", w.saved.world, past.World)
	}
	if len(past.Programs) != len(w.saved.programs) || len(past.Instances) != len(w.saved.instances) {
		w.fail("saved %d programs and %d instances, but there are %d and %d", len(w.saved.programs), len(w.saved.instances), len(past.Programs), len(past.Instances))
	}
	for name, p := range past.Programs {
		if q := w.saved.programs[name]; q == nil || len(spec.Changes(p, q)) > 0 {
			w.fail("program %s was not saved as it is", name)
		}
	}
	for _, r := range past.Instances {
		if q := w.saved.instances[r.Key()]; !sameRecord(q, r) {
			w.fail("saved %+v, but the engine has %+v", q, r)
		}
	}
}

func sameRecord(a, b engine.Record) bool {
	x, y := a.Unit.Last, b.Unit.Last
	a.Unit.Last, b.Unit.Last = nil, nil
	ends := slices.Equal(a.Ends, b.Ends)
	a.Ends, b.Ends = nil, nil
	return ends && reflect.DeepEqual(a, b) && (x == nil) == (y == nil) && (x == nil || *x == *y)
}

// CrashInNextStep lets the engine's owner die in the next step: after it has
// saved, and before it does anything that the engine wants.
func (w *World) CrashInNextStep() { w.die = true }

// Crash lets the engine's owner die now, and another one take over: what was
// saved comes back from JSON, and what lives is found.
func (w *World) Crash() {
	if w.err == nil && w.exit == nil {
		w.restore()
	}
}

// restore makes the engine anew from what was saved, as the daemon does.
func (w *World) restore() {
	w.traceText("the owner dies")
	w.life++
	before := w.views
	past := engine.Past{World: w.saved.world, Programs: make(map[string]*spec.Program)}
	for name, p := range w.saved.programs {
		q, err := spec.Decode(name, spec.Encode(p))
		if err != nil {
			w.fail("%v", err)
		}
		past.Programs[name] = q
	}
	for _, r := range w.saved.instances {
		var back engine.Record
		data, err := json.Marshal(r)
		if err == nil {
			err = json.Unmarshal(data, &back)
		}
		if err != nil {
			w.fail("%v", err)
		}
		past.Instances = append(past.Instances, back)
	}
	slices.SortFunc(past.Instances, func(a, b engine.Record) int { // the same for the same seed
		return cmp.Or(cmp.Compare(a.Program, b.Program), cmp.Compare(a.Index, b.Index))
	})
	e, ids := engine.Restore(w.Now(), outside(w.rng), past)
	w.Engine = e

	// The kernel's things get the numbers of the new engine.
	trees := make(map[engine.Key]*tree, len(w.trees))
	for id, t := range w.trees {
		trees[w.key[id]] = t
	}
	clear(w.trees)
	clear(w.key)
	clear(w.told)
	clear(w.lastTo)
	clear(w.silent)
	clear(w.ended)
	clear(w.open)
	w.ticks, w.wake = 0, time.Time{}
	for i, r := range past.Instances {
		id := ids[i]
		if id == 0 {
			w.fail("%s isn't restored", r.Name)
			continue
		}
		w.key[id] = r.Key()
		w.lastTo[id] = r.Unit.Told.String()
		w.silent[id] = r.Unit.State == unit.Starting && r.Unit.Told != unit.Starting
		t := trees[r.Key()]
		if t == nil {
			continue
		}
		delete(trees, r.Key())
		if t.spawning { // it was just done, or will never be
			if w.rng.IntN(2) == 0 {
				t.spawning = false
				continue
			}
			t.id = id
			w.trees[id] = t
			w.born(t)
			continue
		}
		t.id = id
		w.trees[id] = t
	}
	for k := range trees {
		w.fail("something of %v lives that nobody has saved", k)
	}
	w.look()
	for _, b := range before {
		id, known := byName(w.views, b.Name)
		if known && (w.views[id].Outdated != b.Outdated || len(spec.Changes(b.Spec, w.views[id].Spec)) > 0) {
			w.fail("%s had another spec before: %v", b.Name, spec.Changes(b.Spec, w.views[id].Spec))
		}
	}

	// All is looked at before anything is told, which may change it.
	facts := make(map[engine.ID]unit.Event)
	for i, r := range past.Instances {
		t := w.trees[ids[i]]
		gen := r.Unit.Gen
		lives := t != nil && t.leader
		left := t != nil && !t.empty()
		if t != nil && t.gen != gen {
			w.fail("%s has generation %d, and %d was saved", r.Name, t.gen, gen)
		}
		if t != nil {
			t.leftover = !lives && left
		}
		switch end := (unit.Ended{Gen: gen, Code: w.rng.IntN(2), Unknown: w.rng.IntN(2) == 0, Left: left}); {
		case r.Unit.Phase == unit.None:
			facts[ids[i]] = unit.Resume{}
		case r.Unit.Phase == unit.Spawning && lives:
			facts[ids[i]] = unit.Spawned{Gen: gen, PID: t.pid, At: w.Now()}
		case r.Unit.Phase == unit.Spawning && !left && w.rng.IntN(2) == 0:
			facts[ids[i]] = unit.Lost{Gen: gen}
		case r.Unit.Phase != unit.Left && !lives:
			facts[ids[i]] = end
		case r.Unit.Phase == unit.Left && !left:
			facts[ids[i]] = unit.Emptied{Gen: gen}
		default:
			facts[ids[i]] = unit.Resume{}
		}
	}
	// The new owner may die over the telling as well.
	life := w.life
	for _, id := range ids {
		if ev := facts[id]; ev != nil {
			if w.Step(engine.Fact{ID: id, Event: ev}); w.life != life {
				return
			}
		}
		if t := w.trees[id]; t != nil && t.leader && t.was != 0 { // which the one that has died knew
			t.was = 0
			if w.Step(engine.Fact{ID: id, Event: unit.Main{Gen: t.gen, PID: t.pid}}); w.life != life {
				return
			}
		}
	}
	if w.Step(engine.Tick{}); w.life != life {
		return
	}

	// Nobody has noticed.
	for _, b := range before {
		if b.State != unit.Running {
			continue
		}
		for id, v := range w.views {
			if v.Name == b.Name && w.trees[id] != nil && w.trees[id].leader && (v.State != unit.Running && v.State != unit.Stopping && v.State != unit.Draining || v.PID != w.trees[id].pid || v.Gen != b.Gen || !v.Started.Equal(b.Started)) {
				w.fail("%s was running, pid %d, and is %s, pid %d", v.Name, b.PID, v.State, v.PID)
			}
		}
	}
}

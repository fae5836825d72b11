package daemon

import (
	"testing"
	"time"

	"tend/internal/engine"
	"tend/internal/proc"
	"tend/internal/spec"
	"tend/internal/unit"
)

// kept returns a ledger of one program that runs and one that was stopped by
// hand, as a daemon of that boot has left it.
func keptBy(boot string) map[string][]byte {
	p, q := spec.New("runs"), spec.New("stopped")
	p.Command.Shell, q.Command.Shell = "run", "run"
	now := time.Now()
	c := clockNow()
	at := func(t time.Time) time.Time { return c.store(now, t) }
	runs := engine.Record{Program: "runs", Name: "runs", Unit: unit.Memory{State: unit.Running, Told: unit.Running, Phase: unit.Alive, Up: true,
		Gen: 7, PID: 12, Restarts: 3, Since: at(now.Add(-time.Hour)), Started: at(now.Add(-time.Hour))}}
	down := engine.Record{Program: "stopped", Name: "stopped", Manual: "down", Unit: unit.Memory{Gen: 2}}
	return map[string][]byte{
		keyMeta:                   encode(meta{Version: memoryVersion, Boot: boot}),
		keyWorld:                  encode(engine.World{Programs: []string{"runs", "stopped"}}),
		keyProgram + "runs":       spec.Encode(p),
		keyProgram + "stopped":    spec.Encode(q),
		keyInstance + "runs:0":    encode(savedInstance{c, runs}),
		keyInstance + "stopped:0": encode(savedInstance{c, down}),
		keyBorn + "runs:0":        encode(born{Gen: 7, Identity: proc.Identity{PID: 12, Inode: 99}, Clock: c, At: at(now)}),
		keyEvents:                 encode(uint64(4711)),
	}
}

// TestRemember: what was put aside comes back, the clocks with it.
func TestRemember(t *testing.T) {
	now := time.Now()
	r := remember(keptBy(proc.BootID()), now)
	if !r.whole || r.past.Rebooted || !r.lives() || r.events != 4711 || len(r.past.Instances) != 2 || r.born["runs:0"].Inode != 99 {
		t.Fatalf("%+v", r)
	}
	for _, i := range r.past.Instances {
		if i.Name == "runs" {
			if up := now.Sub(i.Unit.Started); up < time.Hour-time.Second || up > time.Hour+time.Second {
				t.Errorf("up for %v", up)
			}
		}
	}
	if set := r.set(); len(set.Programs) != 2 || set.Programs[0].Name != "runs" {
		t.Errorf("the wanted world is %+v", set)
	}
}

// TestReboot: after the machine's boot no process of before is looked for, all
// that is wanted is started, numbers go on, and what was stopped by hand stays
// stopped.
func TestReboot(t *testing.T) {
	now := time.Now()
	r := remember(keptBy("another boot"), now)
	if !r.past.Rebooted || r.lives() || len(r.born) > 0 {
		t.Fatalf("%+v", r)
	}
	set := r.set()
	e, ids := engine.Restore(now, unit.Outside{Chance: func() float64 { return 0.5 }}, r.past)
	for _, id := range ids {
		if id != 0 {
			t.Error("an instance was restored")
		}
	}
	out := e.Step(now, engine.Desired{Set: set})
	var spawned []engine.Spawn
	for _, f := range out.Do {
		if s, ok := f.(engine.Spawn); ok {
			spawned = append(spawned, s)
		}
	}
	if len(spawned) != 1 || spawned[0].Name != "runs" || spawned[0].Gen != 8 {
		t.Errorf("spawned: %+v", spawned)
	}
}

// TestClock: times are meant by the clock that nobody sets. Whatever the time of
// day was set to meanwhile, a time so long ago is so long ago.
func TestClock(t *testing.T) {
	for _, set := range []time.Duration{0, time.Hour, -36 * time.Hour, 10 * 365 * 24 * time.Hour} {
		now := time.Now()
		c := clockNow()
		stored := c.store(now, now.Add(-time.Minute))
		// The clock was ahead by that when it was put aside.
		stored, c = stored.Add(set), c+clock(set)
		for _, same := range []bool{true, false} {
			got := now.Sub(c.load(now, clockNow(), same, stored))
			want := time.Minute
			if !same {
				want -= set
			}
			if got < want-time.Second || got > want+time.Second {
				t.Errorf("set by %v, same boot %v: %v ago, want %v", set, same, got, want)
			}
		}
	}
}

// TestRememberNonsense: values that make no sense are as good as lost.
func TestRememberNonsense(t *testing.T) {
	for _, spoil := range []func(map[string][]byte){
		func(v map[string][]byte) { v[keyMeta] = []byte("{") },
		func(v map[string][]byte) { v[keyMeta] = encode(meta{Version: memoryVersion + 1, Boot: proc.BootID()}) },
		func(v map[string][]byte) { delete(v, keyMeta) },
		func(v map[string][]byte) { delete(v, keyWorld) },
		func(v map[string][]byte) { clear(v) },
	} {
		v := keptBy(proc.BootID())
		spoil(v)
		if r := remember(v, time.Now()); r.whole || r.lives() {
			t.Errorf("%q: %+v", v, r)
		}
	}
	v := keptBy(proc.BootID())
	v[keyInstance+"runs:0"] = []byte("null")
	v[keyProgram+"stopped"] = []byte("[]")
	v["unknown/x"] = []byte("y")
	r := remember(v, time.Now())
	e, _ := engine.Restore(time.Now(), unit.Outside{Chance: func() float64 { return 0.5 }}, r.past)
	if n := e.Instances(); n != 0 {
		t.Errorf("%d instances of nonsense", n)
	}
}

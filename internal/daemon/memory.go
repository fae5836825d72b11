package daemon

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"tend/internal/engine"
	"tend/internal/proc"
	"tend/internal/spec"
	"tend/internal/svconf"
	"tend/internal/unit"
)

// The keys of the ledger, each with the name that follows.
const (
	keyMeta     = "meta"
	keyWorld    = "world"
	keyEvents   = "events"
	keyScaled   = "scaled"    // by program: what tend scale has said
	keyProgram  = "program/"  // NAME: spec.Encode
	keyInstance = "instance/" // NAME:INDEX
	keyBorn     = "born/"     // NAME:INDEX, the latest process

	keyListeners = "listeners" // supervisord.Memory
)

// memoryVersion is that of what the values mean. A ledger with a higher one is
// left alone.
const memoryVersion = 1

// meta says whose ledger it is.
type meta struct {
	Version int    `json:"version"`
	Boot    string `json:"boot"`
	Life    string `json:"life,omitempty"` // tells generations from those that a ledger before has counted
	Config  string `json:"config"`         // path; "" for a command
	Cgroup  string `json:"cgroup"`         // folder of the host; "" for none
	Tend    string `json:"tend"`           // version

	// Where supervisord's clients are answered, and what [supervisord] says. The file
	// that does so can't be used any more, perhaps.
	Servers     []svconf.Server `json:"servers,omitempty"`
	Supervisord *svconf.Daemon  `json:"supervisord,omitempty"`

	// Again says that everything is being stopped to begin anew, not for good.
	Again bool `json:"again,omitempty"`
}

// savedInstance is a record with the clock by which its times are meant.
type savedInstance struct {
	Clock clock `json:"clock"`
	engine.Record
}

// born is a process as it was put aside before it executed its program.
type born struct {
	Gen uint64 `json:"gen"`
	proc.Identity
	Cgroup string         `json:"cgroup,omitempty"`
	CPU    *time.Duration `json:"cpu,omitempty"`  // that others had used there before; nil: not known
	Peak   int64          `json:"peak,omitempty"` // the most memory that its maker ever had, in bytes; 0: not known
	Clock  clock          `json:"clock"`
	At     time.Time      `json:"at"`
	Out    uint64         `json:"out,omitempty"` // inodes of its pipes
	Err    uint64         `json:"err,omitempty"`
	Ready  uint64         `json:"ready,omitempty"`  // that of ready.fd
	Notify string         `json:"notify,omitempty"` // name of the socket that it knows
}

// A clock is how far the time of day is ahead of the time since the machine's
// boot. Times are put aside by the first and meant by the second, which nobody
// sets: what the two differ by when they are read again has to be made up for.
type clock time.Duration

func clockNow() clock {
	var t unix.Timespec
	unix.ClockGettime(unix.CLOCK_BOOTTIME, &t) // can't fail
	return clock(time.Now().UnixNano() - t.Nano())
}

// store returns t as it is put aside at now.
func (c clock) store(now, t time.Time) time.Time {
	return now.Round(0).Add(t.Sub(now))
}

// load returns a time that was put aside by clock c, with a monotonic reading.
// The clock is today's by now; where the boot is another, only the time of day is
// left.
func (c clock) load(now time.Time, today clock, sameBoot bool, t time.Time) time.Time {
	if sameBoot {
		t = t.Add(time.Duration(today - c))
	}
	return now.Add(t.Sub(now.Round(0)))
}

// put puts aside what a step has changed, as of the next commit.
func (d *Daemon) put(s engine.Save) {
	if d.ledger == nil || s.Empty() {
		return
	}
	now, c := time.Now(), clockNow()
	if s.World != nil {
		d.ledger.Put(keyWorld, encode(s.World))
	}
	for _, p := range s.Programs {
		d.ledger.Put(keyProgram+p.Name, spec.Encode(p))
	}
	for _, r := range s.Instances {
		r = r.Shift(func(t time.Time) time.Time { return c.store(now, t) })
		d.ledger.Put(keyInstance+treeOf(r.Program, r.Index), encode(savedInstance{c, r}))
	}
	for _, name := range s.GonePrograms {
		d.ledger.Delete(keyProgram + name)
	}
	for _, k := range s.Gone {
		tree := treeOf(k.Program, k.Index)
		d.ledger.Delete(keyInstance + tree)
		d.ledger.Delete(keyBorn + tree)
	}
	d.unsaved = true
}

// commit makes what was put outlive the daemon. Where that fails programs are
// guarded all the same, and people are told that tend itself is not.
func (d *Daemon) commit() {
	d.ears.save()
	if !d.unsaved {
		return
	}
	d.unsaved = false
	if last := d.events.Last(); last != d.savedEvents {
		d.savedEvents = last
		d.ledger.Put(keyEvents, encode(last))
	}
	err := d.ledger.Commit()
	switch {
	case err != nil && d.ledgerErr == nil:
		d.warnf("%v; until that works again, what tend knows dies with it", err)
	case err == nil && d.ledgerErr != nil:
		d.warnf("the ledger is written again")
	}
	d.ledgerErr = err
	if err != nil {
		d.unsaved = true // and tried again with the next turn
	}
}

// putBorn puts a process aside, at once. It is called by spawners.
func (d *Daemon) putBorn(tree string, b born) {
	now := time.Now()
	b.Clock = clockNow()
	b.At = b.Clock.store(now, now)
	d.ledger.PutNow(keyBorn+tree, encode(b)) // what is wrong with the ledger, commit tells
}

func encode(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("daemon: cannot encode a %T: %v", v, err))
	}
	return b
}

// remembered is a ledger as it was found.
type remembered struct {
	meta   meta
	past   engine.Past
	born   map[string]born // by tree
	scaled map[string]scaled
	events uint64

	listeners []byte // nil: none

	whole  bool   // it was there, and nothing of it was lost
	notice string // what was lost, in words
}

// remember makes sense of the values of a ledger. What makes none is left out:
// it is as if it had been lost.
func remember(values map[string][]byte, now time.Time) remembered {
	r := remembered{past: engine.Past{Programs: make(map[string]*spec.Program)}, born: make(map[string]born)}
	data, known := values[keyMeta]
	if !known {
		return r
	}
	if err := json.Unmarshal(data, &r.meta); err != nil || r.meta.Version > memoryVersion {
		r.notice = "the ledger is of another version of tend; what it says is not used"
		r.meta = meta{}
		return r
	}
	r.whole = json.Unmarshal(values[keyWorld], &r.past.World) == nil
	json.Unmarshal(values[keyEvents], &r.events) // 0 will do
	r.listeners = values[keyListeners]
	json.Unmarshal(values[keyScaled], &r.scaled) // and so will none
	same := r.meta.Boot == proc.BootID()
	r.past.Rebooted = !same
	// All wait for this, and most of it is decoding: each kind beside the others.
	today := clockNow()
	var kinds sync.WaitGroup
	each := func(prefix string, decode func(name string, value []byte)) {
		kinds.Go(func() {
			for key, value := range values {
				if name, ok := strings.CutPrefix(key, prefix); ok {
					decode(name, value)
				}
			}
		})
	}
	each(keyProgram, func(name string, value []byte) {
		if p, err := spec.Decode(name, value); err == nil {
			r.past.Programs[name] = p
		}
	})
	each(keyInstance, func(_ string, value []byte) {
		var s savedInstance
		if json.Unmarshal(value, &s) == nil {
			record := s.Record.Shift(func(t time.Time) time.Time { return s.Clock.load(now, today, same, t) })
			r.past.Instances = append(r.past.Instances, record)
		}
	})
	each(keyBorn, func(name string, value []byte) {
		var b born
		if json.Unmarshal(value, &b) == nil && same {
			b.At = b.Clock.load(now, today, same, b.At)
			r.born[name] = b
		}
	})
	kinds.Wait()
	return r
}

// lives reports whether some instance has a process, as far as was put aside.
func (r *remembered) lives() bool {
	if !r.whole || r.past.Rebooted {
		return false
	}
	for _, i := range r.past.Instances {
		if i.Unit.Phase != unit.None {
			return true
		}
	}
	return false
}

// set returns the wanted world as it was put aside, nil if it wasn't.
func (r *remembered) set() *spec.Set {
	if !r.whole {
		return nil
	}
	set := &spec.Set{Daemon: r.past.World.Daemon}
	for _, name := range r.past.World.Programs {
		if p := r.past.Programs[name]; p != nil {
			set.Programs = append(set.Programs, p)
		}
	}
	return set
}

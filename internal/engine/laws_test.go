package engine

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"tend/internal/spec"
	"tend/internal/unit"
)

// kernel is the simplest one: it does at once what it is told, and what it
// starts lives until it is told to end.
type kernel struct {
	e      *Engine
	now    time.Time
	pid    int
	effect []Effect // all so far
}

func newKernel() *kernel { return &kernel{e: New(still), now: epoch} }

// step tells the engine an input, and then what comes of it until it is quiet.
func (k *kernel) step(in Input) {
	inputs := []Input{in}
	for len(inputs) > 0 {
		out := k.e.Step(k.now, inputs[0])
		inputs = inputs[1:]
		k.effect = append(k.effect, out.Do...)
		for _, f := range out.Do {
			switch f := f.(type) {
			case Spawn:
				k.pid++
				inputs = append(inputs, Fact{f.ID, unit.Spawned{Gen: f.Gen, PID: k.pid}})
			case Watch:
				if f.For.Ready {
					inputs = append(inputs, Fact{f.ID, unit.Ready{Gen: f.Gen}})
				}
				if f.For.Demand {
					inputs = append(inputs, Fact{f.ID, unit.Demanded{}})
				}
			case StopCommand:
				inputs = append(inputs, Fact{f.ID, unit.Ended{Gen: f.Gen}})
			case Kernel:
				if s, ok := f.Action.(unit.Signal); ok {
					inputs = append(inputs, Fact{f.ID, unit.Ended{Gen: s.Gen, Signal: s.Sig}})
				}
			}
		}
		// A program that lives may have something due for ever.
		if len(inputs) == 0 && !out.Wake.IsZero() && out.Wake.Sub(k.now) < 5*time.Second {
			k.now = out.Wake
			inputs = append(inputs, Tick{})
		}
	}
}

// drawSet returns a random set; after leads to programs before.
func drawSet(t *rapid.T, label string) *spec.Set {
	set := new(spec.Set)
	for _, name := range rapid.SliceOfDistinct(rapid.SampledFrom([]string{"a", "b", "c", "d", "e"}), rapid.ID).Draw(t, label) {
		p := spec.New(name)
		p.Command.Shell = rapid.SampledFrom([]string{"run", "other"}).Draw(t, "command")
		p.Enabled = rapid.IntRange(0, 3).Draw(t, "enabled") > 0
		p.Instances = rapid.IntRange(0, 3).Draw(t, "instances")
		p.StopTimeout = time.Duration(rapid.IntRange(1, 2).Draw(t, "stop_timeout")) * time.Second
		p.Nice = spec.Optional{Set: true, Value: rapid.IntRange(0, 1).Draw(t, "nice")}
		for _, dep := range set.Programs {
			if rapid.IntRange(0, 3).Draw(t, "after") == 0 {
				p.After = append(p.After, dep.Name)
			}
		}
		set.Programs = append(set.Programs, p)
	}
	return set
}

// clone returns a set that is equal but shares nothing.
func clone(s *spec.Set) *spec.Set {
	c := &spec.Set{Daemon: s.Daemon}
	for _, p := range s.Programs {
		q := *p
		q.After, q.SuccessCodes = slices.Clone(p.After), slices.Clone(p.SuccessCodes)
		c.Programs = append(c.Programs, &q)
	}
	return c
}

// world is what a set comes to: the instances, in order, and their states.
func world(e *Engine) []string {
	var list []string
	for _, v := range e.Views() {
		list = append(list, fmt.Sprintf("%s %s wanted=%v command=%s stop_timeout=%s", v.Name, v.State, v.Wanted, v.Spec.Command, v.Spec.StopTimeout))
	}
	return list
}

// TestDiffLaws: nothing is to be done between equal sets, a plan names exactly
// what changes, and b after a comes to the same world as b from nothing, while
// what is unchanged isn't touched at all.
func TestDiffLaws(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := drawSet(t, "a"), drawSet(t, "b")
		for i, p := range b.Programs { // often the same program again
			if q := a.Program(p.Name); q != nil && rapid.Bool().Draw(t, "same") && !slices.ContainsFunc(q.After, func(dep string) bool { return b.Program(dep) == nil }) {
				b.Programs[i] = clone(&spec.Set{Programs: []*spec.Program{q}}).Programs[0]
			}
		}
		if len(spec.Check(a)) > 0 || len(spec.Check(b)) > 0 {
			t.Skip("a cycle")
		}
		if plan := Diff(a, clone(a)); len(plan.Items) > 0 || plan.Unchanged != len(a.Programs) || plan.Empties {
			t.Fatalf("between equal sets: %+v", plan)
		}
		plan := Diff(a, b)
		if plan.Empties != (len(b.Programs) == 0 && len(a.Programs) > 0) {
			t.Fatalf("empties is %v", plan.Empties)
		}

		k, fresh := newKernel(), newKernel()
		k.step(Desired{Set: a})
		pids := make(map[ID]int)
		programs := make(map[ID]string)
		for _, v := range k.e.Views() {
			pids[v.ID], programs[v.ID] = v.PID, v.Spec.Name
		}
		k.effect = nil
		k.step(Desired{Set: clone(a)})
		if len(k.effect) > 0 {
			t.Fatalf("the same set again: %v", k.effect)
		}
		k.step(Desired{Set: b})
		fresh.step(Desired{Set: b})
		if got, want := world(k.e), world(fresh.e); !slices.Equal(got, want) {
			t.Fatalf("b after a:\n%v\nb from nothing:\n%v", got, want)
		}
		named := make(map[string]Action)
		for _, item := range plan.Items {
			named[item.Program] = item.Action
		}
		for _, f := range k.effect {
			var id ID
			ends := false
			switch f := f.(type) {
			case Spawn:
				id = f.ID
			case Kernel:
				id, ends = f.ID, true
			case Configure:
				id = f.ID
			case Forget:
				id = f.ID
			case StopCommand:
				id, ends = f.ID, true
			}
			name, known := programs[id]
			if !known {
				continue
			}
			if named[name] == "" {
				t.Fatalf("%s isn't in the plan, but: %+v", name, f)
			}
			if p := b.Program(name); ends && named[name] == PlanLive && p.Instances >= a.Program(name).Instances {
				t.Fatalf("%s is to be changed in place, but: %+v", name, f)
			}
		}
		for _, v := range k.e.Views() {
			if pid := pids[v.ID]; pid != 0 && named[v.Spec.Name] == "" && v.PID != pid {
				t.Fatalf("%s is unchanged, but its pid is not", v.Name)
			}
		}
	})
}

// other returns a value for f that isn't the default.
func other(f *spec.Field) any {
	switch f.Key {
	case "ready.http", "health.http":
		return "http://localhost/"
	case "ready.tcp", "health.tcp", "ready.grpc", "health.grpc":
		return "localhost:80"
	case "listen":
		return []any{":80"}
	case "health.failures":
		return int64(4)
	case "log.also":
		return "journal"
	case "log.syslog", "log.journal":
		return "/run/other"
	}
	switch f.Kind() {
	case "command":
		return "other"
	case "bool":
		return f.Get(spec.New("p")) == "false"
	case "int":
		return int64(3)
	case "float":
		if _, high, _ := f.Range(); high > 1 {
			return 3.0
		}
		return 0.5
	case "duration":
		return "7s"
	case "size":
		return "7MB"
	case "signal":
		return "INT"
	case "enum":
		if f.Enum[0] == f.Get(spec.New("p")) {
			return f.Enum[1]
		}
		return f.Enum[0]
	case "string", "strings", "ints":
		if f.Key == "on_event.kinds" {
			return "done"
		}
		return "7"
	case "mode":
		return "077"
	case "env":
		return map[string]any{"A": "b"}
	case "limits":
		return map[string]any{"nofile": "7"}
	}
	panic("spec: a new kind of field, " + f.Kind() + ": give it a value here")
}

// TestEveryField changes each key of the table alone: that is one change with
// its mark and one item of a plan, and a running program is restarted once, or
// not touched, as the mark says.
func TestEveryField(t *testing.T) {
	for _, f := range spec.Fields {
		t.Run(f.Key, func(t *testing.T) {
			dep := spec.New("7")
			dep.Command.Shell = "run"
			before, after := spec.New("p"), spec.New("p")
			before.Command.Shell, after.Command.Shell = "run", "run"
			for _, p := range []*spec.Program{before, after} { // what some have no meaning without
				switch f.Key {
				case "timezone", "catch_up":
					p.Schedule = "1h"
				case "on_demand":
					p.Listen = []string{":80"}
				case "on_event.secret_file":
					p.OnEvent.URL = "http://127.0.0.1/"
				case "idle_timeout":
					p.Listen, p.OnDemand = []string{":80"}, true
				}
			}
			if err := f.Set(after, other(f)); err != nil {
				t.Fatal(err)
			}
			a, b := &spec.Set{Programs: []*spec.Program{dep, before}}, &spec.Set{Programs: []*spec.Program{dep, after}}
			if p := spec.Check(b); len(p) > 0 {
				t.Fatal(p)
			}
			changes := spec.Changes(before, after)
			if len(changes) != 1 || changes[0].Field != f || changes[0].Old == changes[0].New {
				t.Fatalf("changes: %+v", changes)
			}
			plan := Diff(a, b)
			want := map[spec.Apply]Action{spec.Live: PlanLive, spec.OnRestart: PlanRestart}[f.Apply]
			if f.Key == "enabled" {
				want = PlanStop
			}
			if len(plan.Items) != 1 || plan.Items[0].Action != want || plan.Unchanged != 1 || len(plan.Items[0].Changes) != 1 {
				t.Fatalf("plan: %+v", plan)
			}
			k := newKernel()
			k.step(Desired{Set: a})
			var id ID
			for _, v := range k.e.Views() {
				if v.Spec.Name == "p" {
					id = v.ID
				}
			}
			k.effect = nil
			k.step(Desired{Set: b})
			var ends, spawns, configures int
			for _, e := range k.effect {
				switch e := e.(type) {
				case Kernel:
					ends++
				case Spawn:
					if e.ID == id {
						spawns++
					}
				case Configure:
					configures++
				}
			}
			wantEnds, wantSpawns := 0, 0
			if f.Apply == spec.OnRestart {
				wantEnds, wantSpawns = 1, 1
			}
			if f.Key == "enabled" {
				wantEnds = 1
			}
			if ends != wantEnds || spawns != wantSpawns || configures != 1 {
				t.Errorf("%d ends, %d spawns, %d configures; want %d, %d, 1: %v", ends, spawns, configures, wantEnds, wantSpawns, k.effect)
			}
		})
	}
}

// TestPlan checks the items that aren't about a single field.
func TestPlan(t *testing.T) {
	for _, test := range []struct{ old, new, want string }{
		{"", "a", "start"},
		{"", "a enabled=false", "add"},
		{"", "a autostart=false", "add"},
		{"a", "", "stop"},
		{"a when_disabled=drain", "b", "start drain"},
		{"a enabled=false", "b", "start remove"},
		{"a enabled=false", "a", "start"},
		{"a autostart=false", "a", "start"},
		{"a enabled=false", "a autostart=false", "live"},
		{"a enabled=false", "a enabled=false command=new", "live"},
		{"a", "a enabled=false when_disabled=drain", "drain"},
		{"a", "a instances=3 command=new", "restart"},
		{"a; b", "b; a", ""},
	} {
		plan := Diff(parseSet(t, test.old), parseSet(t, test.new))
		got := ""
		for _, item := range plan.Items {
			if got != "" {
				got += " "
			}
			got += string(item.Action)
		}
		if got != test.want {
			t.Errorf("%q → %q: %q, want %q", test.old, test.new, got, test.want)
		}
	}
	if got := Diff(parseSet(t, "a"), parseSet(t, "a instances=3")).Items[0].Summary; got != "2 more" {
		t.Errorf("summary %q", got)
	}
	if got := Diff(parseSet(t, "a instances=3"), parseSet(t, "a")).Items[0].Summary; got != "2 fewer" {
		t.Errorf("summary %q", got)
	}
}

func TestUnknownInputPanics(t *testing.T) {
	for _, in := range []Input{nil, Act{Verb: "dance", Pattern: "a"}} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%v is not refused", in)
				}
			}()
			e := New(still)
			e.Step(epoch, Desired{Set: parseSet(t, "a")})
			e.Step(epoch, in)
		}()
	}
}

// many returns n programs, each after those that link names.
func many(n int, link func(i int) []string) *spec.Set {
	set := new(spec.Set)
	for i := range n {
		p := spec.New(fmt.Sprint("p", i))
		p.Command.Shell = "run"
		p.After = link(i)
		set.Programs = append(set.Programs, p)
	}
	return set
}

func alone(int) []string { return nil }

// onFirst makes all programs come after the first.
func onFirst(i int) []string {
	if i == 0 {
		return nil
	}
	return []string{"p0"}
}

// BenchmarkRestart is an exit and the start after it, in 10,000 programs.
func BenchmarkRestart(b *testing.B) {
	for name, link := range map[string]func(int) []string{"alone": alone, "after one": onFirst} {
		b.Run(name, func(b *testing.B) {
			k := newKernel()
			k.step(Desired{Set: many(10_000, link)})
			views := k.e.Views()
			k.effect = nil
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				id := views[i%len(views)].ID
				gen := uint64(1 + i/len(views))
				k.now = k.now.Add(time.Minute)
				k.e.Step(k.now, Fact{id, unit.Ended{Gen: gen, Code: 1}})
				k.e.Step(k.now, Fact{id, unit.Spawned{Gen: gen + 1, PID: 1}})
				k.e.Step(k.now.Add(time.Second), Tick{})
			}
		})
	}
}

// BenchmarkDesired is a reload of 1,000 programs of which one has changed.
func BenchmarkDesired(b *testing.B) {
	k := newKernel()
	sets := [2]*spec.Set{many(1000, alone), many(1000, alone)}
	sets[1].Programs[500].StopTimeout++
	k.step(Desired{Set: sets[0]})
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		k.e.Step(k.now, Desired{Set: sets[(i+1)%2]})
	}
}

// BenchmarkLife is all of 10,000 programs: up, and then a shutdown or a reload
// that removes them, with an end for each.
func BenchmarkLife(b *testing.B) {
	for _, test := range []struct {
		name string
		set  *spec.Set
		end  Input
	}{
		{"shutdown, alone", many(10_000, alone), Shutdown{}},
		{"shutdown, after one", many(10_000, onFirst), Shutdown{}},
		{"shutdown, a chain", many(10_000, func(i int) []string {
			if i == 0 {
				return nil
			}
			return []string{fmt.Sprint("p", i-1)}
		}), Shutdown{}},
		{"removed, after one", many(10_000, onFirst), Desired{Set: &spec.Set{}}},
		{"shutdown, instances after instances", func() *spec.Set {
			set := many(2, onFirst)
			set.Programs[0].Instances, set.Programs[1].Instances = 5000, 5000
			return set
		}(), Shutdown{}},
	} {
		b.Run(test.name, func(b *testing.B) {
			for b.Loop() {
				k := newKernel()
				k.step(Desired{Set: test.set})
				if v := k.e.Views()[9999]; v.State != unit.Running {
					b.Fatalf("%s is %s", v.Name, v.State)
				}
				k.step(test.end)
				for _, v := range k.e.Views() {
					if v.State != unit.Stopped {
						b.Fatalf("%s is %s", v.Name, v.State)
					}
				}
			}
		})
	}
}

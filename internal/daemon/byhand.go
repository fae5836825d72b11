package daemon

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"tend/api"
	"tend/internal/conf"
	"tend/internal/engine"
	"tend/internal/event"
	"tend/internal/proc"
	"tend/internal/spec"
)

// This file is what people do by hand over their files: programs that are added
// and removed by a command, other numbers of instances, and commands that are run
// as a program is.

// addHint says where a program that is added by a command can be kept.
const addHint = `include a folder: [tend] include = ["conf.d/*.toml"]`

// Add writes a program's file into a folder that is included, and reloads. A file
// that doesn't load is taken away again.
func (c control) Add(ctx context.Context, add api.Add) (*api.Plan, error) {
	text, err := conf.DropIn(add.Name, fromJSON(add.Config).(map[string]any))
	if err != nil {
		return nil, badValue(err)
	}
	type state struct {
		folder string
		err    *api.Error
	}
	s, err := ask(ctx, c.d, func() state {
		if err := c.d.mayEdit(); err != nil {
			return state{err: err}
		}
		if p := c.d.engine.Set().Program(add.Name); p != nil {
			return state{err: &api.Error{Kind: api.KindConflict, Message: fmt.Sprintf("there is a program %q already (%s:%d)", p.Name, p.Source.File, p.Source.Line), Hint: "choose another name"}}
		}
		if len(c.d.files.DropIns) == 0 {
			return state{err: &api.Error{Kind: api.KindConflict, Message: "the configuration includes no folder in which the program could be kept", Hint: addHint}}
		}
		return state{folder: c.d.files.DropIns[0]}
	})
	if err != nil {
		return nil, err
	}
	if s.err != nil {
		return nil, s.err
	}
	file := filepath.Join(s.folder, add.Name+".toml")
	if err := writeNew(file, text); err != nil {
		if errors.Is(err, fs.ErrExist) {
			return nil, &api.Error{Kind: api.KindConflict, Message: "there is a file " + file + " already", Hint: "choose another name"}
		}
		return nil, &api.Error{Kind: api.KindConflict, Message: fmt.Sprintf("cannot add %s: %v", add.Name, err)}
	}
	plan, err := c.load(context.WithoutCancel(ctx), reloadRequest{why: byCommand})
	if err != nil {
		os.Remove(file)
		c.load(context.WithoutCancel(ctx), reloadRequest{why: byCommand}) // as it was
		return nil, err
	}
	return plan, nil
}

// Remove takes away what Add has made.
func (c control) Remove(ctx context.Context, name string) (*api.Plan, error) {
	type state struct {
		file string
		err  *api.Error
	}
	s, err := ask(ctx, c.d, func() state {
		p := c.d.engine.Set().Program(name)
		if p == nil {
			return state{err: &api.Error{Kind: api.KindNotFound, Message: fmt.Sprintf("no program is named %q", name)}}
		}
		return state{file: p.Source.File, err: c.d.mayEdit()}
	})
	if err != nil {
		return nil, err
	}
	if s.err != nil {
		return nil, s.err
	}
	if is, err := conf.IsDropIn(s.file); err != nil || !is {
		e := &api.Error{Kind: api.KindConflict, Message: fmt.Sprintf("%s was not made by tend add", name), Hint: "take it out of " + s.file + " and say tend reload"}
		if s.file == "" {
			e.Hint = ""
		}
		return nil, e
	}
	aside := filepath.Join(filepath.Dir(s.file), "."+filepath.Base(s.file)+".removed") // hidden: it isn't read
	if err := os.Rename(s.file, aside); err != nil {
		return nil, &api.Error{Kind: api.KindConflict, Message: fmt.Sprintf("cannot remove %s: %v", name, err)}
	}
	plan, err := c.load(context.WithoutCancel(ctx), reloadRequest{why: byCommand, allowEmpty: true})
	if err != nil {
		os.Rename(aside, s.file)
		c.load(context.WithoutCancel(ctx), reloadRequest{why: byCommand}) // as it was
		return nil, err
	}
	os.Remove(aside)
	return plan, nil
}

// mayEdit says why a program can't be added or removed, nil where it can.
func (d *Daemon) mayEdit() *api.Error {
	switch {
	case d.config == "" || d.files == nil:
		return &api.Error{Kind: api.KindConflict, Message: "one command is guarded, without any file", Hint: "write a tend.toml: tend init"}
	case d.wire != nil:
		return &api.Error{Kind: api.KindConflict, Message: "programs of a supervisord.conf are added and removed in that file", Hint: "supervisorctl update applies it"}
	case d.pending: // it would be applied as well
		return &api.Error{Kind: api.KindConflict, Message: "the files hold changes that were not applied", Hint: "see them: tend plan; apply them: tend reload"}
	}
	return nil
}

// writeNew writes a file that isn't there yet, as a whole or not at all, and makes
// its folder where that is missing.
func writeNew(file string, text []byte) error {
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(file), ".tend-add-") // hidden: it isn't read
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // fails when it has got its name
	_, err = f.Write(text)
	if err == nil {
		err = f.Chmod(0o644)
	}
	if err == nil {
		err = f.Sync()
	}
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err == nil {
		if err = os.Link(f.Name(), file); err == nil { // unlike a rename, not over another one
			return nil
		}
	}
	return err
}

// fromJSON gives numbers the types that fields take.
func fromJSON(v any) any {
	switch v := v.(type) {
	case float64:
		if n := int64(v); float64(n) == v {
			return n
		}
	case []any:
		for i := range v {
			v[i] = fromJSON(v[i])
		}
	case map[string]any:
		for k := range v {
			v[k] = fromJSON(v[k])
		}
	}
	return v
}

func badValue(err error) *api.Error {
	e := &api.Error{Kind: api.KindBadRequest, Message: err.Error()}
	if v := (*spec.ValueError)(nil); errors.As(err, &v) {
		e.Hint = v.Hint
	}
	return e
}

// scaled is what tend scale has said of a program. It holds as long as the file
// says the same of it as it did then.
type scaled struct {
	Instances int `json:"instances"`
	Was       int `json:"was"` // in the file
}

// scale returns a set with the numbers of instances that were set by hand, and
// forgets those whose file says something else since.
func (d *Daemon) scale(set *spec.Set) *spec.Set {
	if set == nil || len(d.scaled) == 0 {
		return set
	}
	out, changed := &spec.Set{Daemon: set.Daemon, Programs: slices.Clone(set.Programs)}, false
	left := len(d.scaled)
	for i, p := range out.Programs {
		s, ok := d.scaled[p.Name]
		if !ok || s.Was != p.Instances {
			continue
		}
		left--
		q := *p
		q.Instances = s.Instances
		out.Programs[i], changed = &q, true
	}
	if left > 0 {
		for name, s := range d.scaled {
			if p := set.Program(name); p == nil || p.Instances != s.Was {
				delete(d.scaled, name)
			}
		}
		d.saveScaled()
	}
	if !changed || len(spec.Check(out)) > 0 { // something else has changed that doesn't go with it
		return set
	}
	return out
}

func (d *Daemon) saveScaled() {
	d.ledger.Put(keyScaled, encode(d.scaled))
	d.unsaved = true
}

// Scale sets the number of instances of a program.
func (c control) Scale(ctx context.Context, name string, instances int) (*api.Plan, error) {
	type answer struct {
		plan *api.Plan
		err  *api.Error
	}
	a, err := ask(ctx, c.d, func() answer {
		plan, err := c.d.scaleTo(name, instances)
		return answer{plan, err}
	})
	if err == nil && a.err != nil {
		err = a.err
	}
	return a.plan, err
}

func (d *Daemon) scaleTo(name string, instances int) (*api.Plan, *api.Error) {
	now := d.engine.Set()
	p := now.Program(name)
	switch {
	case d.engine.Stopping():
		return nil, &api.Error{Kind: api.KindUnavailable, Message: "tend is stopping"}
	case p == nil:
		e := &api.Error{Kind: api.KindNotFound, Message: fmt.Sprintf("no program is named %q", name)}
		if program, _, ok := strings.Cut(name, ":"); ok && now.Program(program) != nil {
			e.Hint = "it is the program that is scaled: " + program
		}
		return nil, e
	case p.Member.Group != "":
		return nil, &api.Error{Kind: api.KindConflict, Message: "numprocs of a supervisord.conf is set in that file", Hint: "supervisorctl update applies it"}
	}
	q := *p
	if err := spec.FieldOf("instances").Set(&q, int64(instances)); err != nil {
		return nil, badValue(err)
	}
	set := &spec.Set{Daemon: now.Daemon, Programs: slices.Clone(now.Programs)}
	set.Programs[slices.Index(set.Programs, p)] = &q
	if problems := spec.Check(set); len(problems) > 0 {
		return nil, &api.Error{Kind: api.KindConflict, Message: fmt.Sprintf("cannot scale %s: %s", name, problems[0].Message), Hint: problems[0].Hint}
	}
	was := p.Instances
	if s, again := d.scaled[name]; again {
		was = s.Was
	}
	if d.scaled == nil {
		d.scaled = make(map[string]scaled)
	}
	if d.scaled[name] = (scaled{instances, was}); instances == was {
		delete(d.scaled, name)
	}
	d.saveScaled()
	files := d.files
	if files == nil {
		files = new(conf.Result)
	}
	plan := planView(engine.Diff(now, set), files)
	plan.Applied = true
	if !plan.Empty() {
		d.tell(event.Event{Kind: event.Changed, Program: name, Message: fmt.Sprintf("scaled by hand: %d instances, was %d", instances, p.Instances)})
		d.step(engine.Desired{Set: set})
	}
	return plan, nil
}

// Exec implements server.Control.
func (c control) Exec(ctx context.Context, name string) (*api.Exec, error) {
	type found struct {
		spec  *spec.Program
		name  string
		index int
	}
	f, err := ask(ctx, c.d, func() (f found) {
		for _, v := range c.d.engine.Views() {
			if v.Name == name || v.Spec.Name == name {
				_, number, _ := strings.Cut(v.Name, ":")
				fmt.Sscan(number, &f.index) // 0 where there is none
				f.spec, f.name = v.Spec, v.Name
				return f
			}
		}
		return f
	})
	if err != nil {
		return nil, err
	}
	if f.spec == nil {
		return nil, &api.Error{Kind: api.KindNotFound, Message: fmt.Sprintf("no program is named %q", name)}
	}
	account, err := lookup(f.spec)
	if err != nil {
		return nil, &api.Error{Kind: api.KindConflict, Message: err.Error()}
	}
	a := c.d.attempt(0, f.index, 0, f.spec, account)
	e := &api.Exec{Name: f.name, Directory: a.Dir, UID: -1, GID: -1, DaemonUID: os.Geteuid(), Nice: a.Nice, OOMScoreAdj: a.OOMScoreAdj, NoNewPrivileges: a.NoNewPrivs}
	for _, kv := range a.Env {
		if kv != a.Mark { // by which processes of the program are known and ended
			e.Env = append(e.Env, kv)
		}
	}
	if a.Cred != nil {
		e.UID, e.GID = int(a.Cred.UID), int(a.Cred.GID)
		for _, g := range a.Cred.Groups {
			e.Groups = append(e.Groups, int(g))
		}
	}
	if a.Umask >= 0 {
		e.Umask = &a.Umask
	}
	for limit, value := range f.spec.Limits {
		e.Limits = append(e.Limits, api.ExecLimit{Name: limit, Resource: proc.Limits[limit], Soft: bounded(value.Soft), Hard: bounded(value.Hard)})
	}
	return e, nil
}

// bounded returns a limit as the protocol has it.
func bounded(n uint64) *uint64 {
	if n == spec.Unlimited {
		return nil
	}
	return &n
}

package daemon

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"tend/api"
	"tend/internal/engine"
	"tend/internal/logs"
	"tend/internal/server"
	"tend/internal/spec"
	"tend/internal/usage"
)

// control is the daemon as the server sees it.
type control struct{ d *Daemon }

var _ server.Control = control{}

func (c control) Instances(ctx context.Context) (list []api.Instance, seq uint64, err error) {
	type answer struct {
		views []engine.View
		trees []usage.Tree
		seq   uint64
	}
	a, err := look(ctx, c.d, func() answer {
		views := c.d.engine.Views()
		return answer{views, c.d.trees(views), c.d.events.Last()}
	})
	if err != nil {
		return nil, 0, err
	}
	list = view(a.views)
	c.d.measure(list, a.trees, false)
	return list, a.seq, nil
}

func (c control) Program(ctx context.Context, name string) (*api.Program, error) {
	type answer struct {
		spec  *spec.Program // as the configuration has it; nil: not any more
		views []engine.View
		trees []usage.Tree
	}
	a, err := look(ctx, c.d, func() (a answer) {
		a.views = c.d.engine.ViewsOf(name)
		program := name
		if len(a.views) > 0 {
			program = a.views[0].Spec.Name
		}
		a.spec, a.trees = c.d.engine.Set().Program(program), c.d.trees(a.views)
		return a
	})
	if err != nil {
		return nil, err
	}
	p := &api.Program{Instances: view(a.views)}
	switch {
	case a.spec != nil:
		p.Name, p.File, p.Line, p.Config = a.spec.Name, a.spec.Source.File, a.spec.Source.Line, effective(a.spec)
	case len(a.views) > 0:
		p.Name = a.views[0].Spec.Name
	default:
		return nil, &api.Error{Kind: api.KindNotFound, Message: fmt.Sprintf("no program is named %q", name)}
	}
	c.d.measure(p.Instances, a.trees, true)
	return p, nil
}

// effective returns every key of a program with the value in force.
func effective(p *spec.Program) map[string]any {
	m := make(map[string]any, len(spec.Fields))
	for _, f := range spec.Fields {
		m[f.Key] = f.JSON(p)
	}
	return m
}

func (c control) Act(ctx context.Context, verb, pattern string, act api.Act) (*api.Results, error) {
	in := engine.Act{Verb: engine.Verb(verb), Pattern: pattern, NoWait: act.NoWait, Rolling: act.Rolling}
	switch in.Verb {
	case engine.Start, engine.Stop, engine.Restart, engine.RunNow:
	case engine.Signal:
		sig, err := spec.ParseSignal(act.Signal)
		if err != nil {
			return nil, &api.Error{Kind: api.KindBadRequest, Message: err.Error(), Hint: "use a name as HUP, or a number from 1 to 64"}
		}
		in.Signal = sig
	default:
		return nil, &api.Error{Kind: api.KindBadRequest, Message: fmt.Sprintf("unknown action %q", verb), Hint: "use start, stop, restart, run or signal"}
	}
	answer := make(chan engine.Answer, 1)
	pending, err := ask(ctx, c.d, func() bool {
		c.d.cmdSeq++
		in.Cmd = c.d.cmdSeq
		in.NoWait = in.NoWait || c.d.upgrading // nobody will be there to answer
		c.d.cmds[in.Cmd] = answer
		pending := c.d.pending && in.Verb == engine.Restart
		c.d.step(in)
		return pending
	})
	if err != nil {
		return nil, err
	}
	select {
	case a := <-answer:
		return resultsView(a, pending)
	case <-ctx.Done():
		c.d.cancel(in.Cmd)
		return nil, ctx.Err()
	}
}

// cancel lets go of a command whose asker has gone. What it began goes on.
func (d *Daemon) cancel(cmd uint64) {
	d.post(func() {
		delete(d.cmds, cmd)
		d.step(engine.Cancel{Cmd: cmd})
	})
}

func resultsView(a engine.Answer, pending bool) (*api.Results, error) {
	if r := a.Refused; r != nil {
		kind := api.KindUnavailable
		if r.NotFound {
			kind = api.KindNotFound
		}
		return nil, &api.Error{Kind: kind, Message: r.Message, Hint: r.Hint}
	}
	v := &api.Results{Results: make([]api.Result, len(a.Results)), Pending: pending}
	for i, r := range a.Results {
		v.Results[i] = api.Result{Name: r.Name, OK: r.OK, State: r.State.String(), Message: r.Message}
	}
	return v, nil
}

func (c control) Plan(ctx context.Context) (*api.Plan, error) {
	return c.load(ctx, reloadRequest{why: forPlan})
}

func (c control) Reload(ctx context.Context, o api.ReloadOptions) (*api.Plan, error) {
	r := reloadRequest{why: byCommand, allowEmpty: o.AllowEmpty}
	if !o.Wait {
		return c.load(ctx, r)
	}
	done, cmd := make(chan engine.Answer, 1), make(chan uint64, 1)
	r.done, r.began = done, func(n uint64) { cmd <- n }
	plan, err := c.load(ctx, r)
	if err != nil {
		return nil, err
	}
	select {
	case a := <-done:
		results, err := resultsView(a, false)
		if err != nil {
			return nil, err
		}
		answered := *plan // which the event of it has as well
		answered.Results, answered.RolledBack = results.Results, a.Undone
		return &answered, nil
	case <-ctx.Done():
		c.d.cancel(<-cmd)
		return nil, ctx.Err()
	}
}

func (c control) load(ctx context.Context, r reloadRequest) (*api.Plan, error) {
	type result struct {
		plan *api.Plan
		err  *api.Error
	}
	done := make(chan result, 1)
	r.reply = func(p *api.Plan, err *api.Error) { done <- result{p, err} }
	c.d.post(func() { c.d.reload(r) })
	select {
	case got := <-done:
		if got.err != nil {
			return nil, got.err
		}
		return got.plan, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (c control) Daemon(ctx context.Context) (*api.Daemon, error) {
	d := c.d
	v := &api.Daemon{Version: d.opts.Version, Started: d.started.Round(0), State: d.place.state, Tree: "subreaper", Keeper: d.keeper.Kind()}
	if d.guarded {
		v.Guard = d.guardPID
	}
	if d.host.Capabilities().Cgroup != "" {
		v.Tree = "cgroup"
	}
	return look(ctx, d, func() *api.Daemon {
		set := d.engine.Set()
		v.PID, v.Logs, v.Reload = d.pid, d.place.logs, string(set.Daemon.Reload)
		v.Programs, v.Instances = len(set.Programs), d.engine.Instances()
		v.EventSeq, v.Pending, v.Stopping = d.events.Last(), d.pending, d.engine.Stopping()
		v.Upgrading, v.UpgradeError = d.upgrading, d.upgradeErr
		v.Config = []string{}
		if d.files != nil {
			v.Config = d.files.Files
		}
		return v
	})
}

func (c control) Shutdown(ctx context.Context, o api.ShutdownOptions) error {
	_, err := ask(ctx, c.d, func() struct{} {
		c.d.step(engine.Shutdown{Now: o.Now})
		c.d.asked = true
		c.d.setAgain(false)
		return struct{}{}
	})
	return err
}

func (c control) Logs(ctx context.Context, pattern string) ([]server.LogFile, error) {
	type answer struct {
		list  []server.LogFile
		ended []*logs.Stream
	}
	got, err := look(ctx, c.d, func() (a answer) {
		for _, v := range c.d.engine.Views() {
			if !matches(pattern, v.Name, v.Spec.Name) {
				continue
			}
			out, _ := destinations(v.Name, v.Spec, c.d.place.logs, nil)
			if out.Mode == logs.File {
				a.list = append(a.list, server.LogFile{Name: v.Name, Path: out.Path, Keep: out.Keep, Times: c.d.place.times()})
				n := c.d.instances[v.ID]
				if n != nil {
					a.list[len(a.list)-1].Begun = n.begun
				}
				if n != nil && n.out != nil && v.PID == 0 {
					a.ended = append(a.ended, n.out)
				}
			}
		}
		return a
	})
	// Who asks for the log of what has ended asks why, and wants its last words.
	// They may still be in the pipe.
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	for _, s := range got.ended {
		s.Drain(ctx) // a destination that fails has been told of
	}
	if err == nil && len(got.list) == 0 {
		err = &api.Error{Kind: api.KindNotFound, Message: fmt.Sprintf("no log of a program named %q", pattern)}
	}
	return got.list, err
}

func matches(pattern, name, program string) bool {
	for _, s := range []string{name, program} {
		if s == pattern {
			return true
		}
		if ok, _ := filepath.Match(pattern, s); ok {
			return true
		}
	}
	return false
}

package daemon

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"

	"tend/internal/engine"
	"tend/internal/logs"
	"tend/internal/spec"
	"tend/internal/supervisord"
	"tend/internal/svconf"
)

// A seen is what the loop tells of a process. What else there is to know of it is
// found out beside the loop.
type seen struct {
	engine.View
	from           *svconf.Process // nil: it isn't known any more
	stdout, stderr string
}

// see returns the processes of the active groups. It runs in the loop.
func (w *wire) see() map[supervisord.ID]seen {
	list := make(map[supervisord.ID]seen)
	for _, v := range w.d.engine.Views() {
		m := v.Spec.Member
		g := find(w.active, m.Group)
		if g == nil || w.d.engine.Set().Program(v.Spec.Name) == nil {
			continue // it leaves
		}
		s := seen{View: v}
		for _, p := range g.Processes { // of several with one name the last one counts
			if p.Name == m.Process {
				s.from = p
			}
		}
		s.stdout, s.stderr = w.logsOf(v.Spec, s.from)
		list[supervisord.ID{Group: m.Group, Name: m.Process}] = s
	}
	return list
}

// logsOf returns the files of a process's output, "" where it goes to none. from
// may be nil.
func (w *wire) logsOf(p *spec.Program, from *svconf.Process) (stdout, stderr string) {
	out, errs := destinations(p.Name, p, w.d.place.logs, nil)
	file := func(o logs.Options, c func(*svconf.Process) svconf.Channel) string {
		switch {
		case o.Mode == logs.File:
			return o.Path
		case o.Mode != logs.None && from != nil:
			return c(from).Log.Path // our own output, by the name that it has there
		}
		return ""
	}
	stdout = file(out, func(p *svconf.Process) svconf.Channel { return p.Stdout })
	if errs != nil {
		stderr = file(*errs, func(p *svconf.Process) svconf.Channel { return p.Stderr })
	}
	return stdout, stderr
}

// process says it in supervisord's terms.
func (s seen) process(id supervisord.ID) supervisord.Process {
	p := supervisord.Process{ID: id, State: stateOf(s.State), PID: s.PID, Start: s.Attempt, Stdout: s.stdout, Stderr: s.stderr}
	last := s.Last
	if last == nil {
		return p
	}
	if last.Err == "" {
		p.Stop = last.At
	}
	soon := last.Err == "" && last.Uptime < s.Spec.MinUptime
	code := last.Code
	if last.Signal != 0 || last.Unknown {
		code = -1
	}
	switch p.State {
	case supervisord.Backoff, supervisord.Fatal:
		switch {
		case soon:
			p.SpawnErr = "Exited too quickly (process log may have details)"
		case last.Err != "":
			if p.SpawnErr = findCommand(s.Spec, s.from).Detail; p.SpawnErr == "" {
				p.SpawnErr = last.Err
			}
		}
	case supervisord.Exited:
		if p.ExitStatus = code; !last.Success {
			p.SpawnErr = fmt.Sprintf("Bad exit code %d", code)
		}
	case supervisord.Stopped:
		if last.Err == "" {
			p.ExitStatus = code
		}
	}
	return p
}

// Groups implements supervisord.Daemon.
func (w *wire) Groups() []supervisord.Group {
	type answer struct {
		active []*svconf.Group
		seen   map[supervisord.ID]seen
	}
	got, _ := ask(w.ctx, w.d, func() answer { return answer{w.active, w.see()} })
	list := make([]supervisord.Group, len(got.active))
	at := make(map[string]int, len(list))
	for i, g := range got.active {
		list[i].Name, at[g.Name] = g.Name, i
	}
	for id, s := range got.seen {
		g := &list[at[id.Group]]
		g.Processes = append(g.Processes, s.process(id))
	}
	for _, g := range list {
		slices.SortFunc(g.Processes, func(a, b supervisord.Process) int {
			return cmp.Or(cmp.Compare(got.seen[a.ID].Spec.Member.Priority, got.seen[b.ID].Spec.Member.Priority), cmp.Compare(a.Name, b.Name))
		})
	}
	return list
}

// Group implements supervisord.Daemon.
func (w *wire) Group(name string) (supervisord.Group, bool) {
	for _, g := range w.Groups() {
		if g.Name == name {
			return g, true
		}
	}
	return supervisord.Group{}, false
}

// Start implements supervisord.Daemon.
func (w *wire) Start(ctx context.Context, ids []supervisord.ID, wait bool, report func(supervisord.ID, supervisord.Outcome)) error {
	ctx, cancel := w.within(ctx)
	defer cancel()
	known, err := ask(ctx, w.d, w.see)
	if err != nil {
		return err
	}
	refused := make(map[supervisord.ID]supervisord.Outcome)
	for _, id := range ids {
		if s, ok := known[id]; ok {
			if o := findCommand(s.Spec, s.from); o.Kind != supervisord.OK {
				refused[id] = o
			}
		}
	}
	return w.act(ctx, engine.Start, ids, wait, report, func(id supervisord.ID, s supervisord.State) supervisord.Outcome {
		switch {
		case refused[id].Kind != supervisord.OK:
			return refused[id]
		case s.Up():
			return supervisord.Outcome{Kind: supervisord.AlreadyStarted}
		case s == supervisord.Stopping:
			return supervisord.Outcome{Kind: supervisord.AbnormalTermination}
		}
		return supervisord.Outcome{}
	})
}

// Stop implements supervisord.Daemon.
func (w *wire) Stop(ctx context.Context, ids []supervisord.ID, wait bool, report func(supervisord.ID, supervisord.Outcome)) error {
	ctx, cancel := w.within(ctx)
	defer cancel()
	return w.act(ctx, engine.Stop, ids, wait, report, func(_ supervisord.ID, s supervisord.State) supervisord.Outcome {
		if !s.Up() {
			return supervisord.Outcome{Kind: supervisord.NotRunning}
		}
		return supervisord.Outcome{}
	})
}

// outcome is what became of one process.
type outcome struct {
	supervisord.ID
	supervisord.Outcome
}

// act has the engine do the same to several processes, in one turn of the loop,
// and waits for each. refuse says which are left alone, and runs in the loop.
func (w *wire) act(ctx context.Context, verb engine.Verb, ids []supervisord.ID, wait bool, report func(supervisord.ID, supervisord.Outcome),
	refuse func(supervisord.ID, supervisord.State) supervisord.Outcome) error {
	d := w.d
	type begun struct {
		open map[uint64]supervisord.ID // what is to be waited for, by the number of the command
		done []outcome
	}
	answers := make(chan engine.Answer, len(ids))
	b, err := ask(ctx, d, func() begun {
		b := begun{open: make(map[uint64]supervisord.ID)}
		known := w.see()
		for _, id := range ids {
			s, ok := known[id]
			o := supervisord.Outcome{Kind: supervisord.BadName}
			if ok {
				o = refuse(id, stateOf(s.State))
			}
			if o.Kind != supervisord.OK {
				b.done = append(b.done, outcome{id, o})
				continue
			}
			d.cmdSeq++
			b.open[d.cmdSeq], d.cmds[d.cmdSeq] = id, answers
			d.step(engine.Act{Cmd: d.cmdSeq, Verb: verb, Only: s.ID, NoWait: !wait || d.upgrading})
		}
		return b
	})
	if err != nil {
		return err
	}
	for _, o := range b.done {
		report(o.ID, o.Outcome)
	}
	for len(b.open) > 0 {
		select {
		case a := <-answers:
			report(b.open[a.Cmd], outcomeOf(a))
			delete(b.open, a.Cmd)
		case <-ctx.Done():
			d.post(func() {
				for cmd := range b.open {
					delete(d.cmds, cmd)
					d.step(engine.Cancel{Cmd: cmd})
				}
			})
			return ctx.Err()
		}
	}
	return nil
}

// outcomeOf says in supervisord's terms how a command about one process went.
func outcomeOf(a engine.Answer) supervisord.Outcome {
	if a.Refused != nil {
		if a.Refused.NotFound {
			return supervisord.Outcome{Kind: supervisord.BadName}
		}
		return supervisord.Outcome{Kind: supervisord.Failed, Detail: a.Refused.Message}
	}
	r := a.Results[0]
	switch s := stateOf(r.State); {
	case r.OK:
		return supervisord.Outcome{}
	case s == supervisord.Backoff || s == supervisord.Fatal:
		return supervisord.Outcome{Kind: supervisord.SpawnError}
	}
	return supervisord.Outcome{Kind: supervisord.AbnormalTermination, Detail: r.Message}
}

// Signal implements supervisord.Daemon.
func (w *wire) Signal(id supervisord.ID, signal svconf.Signal) supervisord.Outcome {
	d := w.d
	answer := make(chan engine.Answer, 1)
	known, err := ask(w.ctx, d, func() bool {
		s, ok := w.see()[id]
		if ok {
			d.cmdSeq++
			d.cmds[d.cmdSeq] = answer
			d.step(engine.Act{Cmd: d.cmdSeq, Verb: engine.Signal, Only: s.ID, Signal: spec.Signal(signal)})
		}
		return ok
	})
	switch {
	case err != nil:
		return supervisord.Outcome{Kind: supervisord.Failed, Detail: err.Error()}
	case !known:
		return supervisord.Outcome{Kind: supervisord.BadName}
	}
	if a := <-answer; a.Refused != nil || !a.Results[0].OK { // it has come with the step
		return supervisord.Outcome{Kind: supervisord.NotRunning}
	}
	return supervisord.Outcome{}
}

// WriteStdin implements supervisord.Daemon.
func (w *wire) WriteStdin(id supervisord.ID, data string) supervisord.Outcome {
	type answer struct {
		known bool
		in    *stdin
	}
	got, err := ask(w.ctx, w.d, func() answer {
		s, ok := w.see()[id]
		if n := w.d.instances[s.ID]; ok && n != nil {
			return answer{ok, n.stdin}
		}
		return answer{known: ok}
	})
	switch {
	case err != nil:
		return supervisord.Outcome{Kind: supervisord.Failed, Detail: err.Error()}
	case !got.known:
		return supervisord.Outcome{Kind: supervisord.BadName}
	case got.in == nil:
		return supervisord.Outcome{Kind: supervisord.NoFile}
	}
	switch got.in.write(data) {
	case nil:
		return supervisord.Outcome{}
	case errUnread:
		return supervisord.Outcome{Kind: supervisord.Failed, Detail: errUnread.Error()}
	}
	return supervisord.Outcome{Kind: supervisord.NoFile}
}

// ClearLogs implements supervisord.Daemon. What doesn't run keeps its files, as
// with supervisord.
func (w *wire) ClearLogs(id supervisord.ID) supervisord.Outcome {
	known, err := ask(w.ctx, w.d, w.see)
	if err != nil {
		return supervisord.Outcome{Kind: supervisord.Failed, Detail: err.Error()}
	}
	s, ok := known[id]
	switch {
	case !ok:
		return supervisord.Outcome{Kind: supervisord.BadName}
	case s.PID == 0:
		return supervisord.Outcome{}
	}
	for _, file := range []string{s.stdout, s.stderr} {
		info, err := os.Stat(file)
		if err == nil && !info.Mode().IsRegular() {
			continue
		}
		if err == nil {
			err = os.Truncate(file, 0)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return supervisord.Outcome{Kind: supervisord.Failed, Detail: err.Error()}
		}
	}
	return supervisord.Outcome{}
}

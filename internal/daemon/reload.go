package daemon

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"tend/api"
	"tend/internal/conf"
	"tend/internal/engine"
	"tend/internal/event"
	"tend/internal/spec"
)

// why says who asked for a load of the files.
type why int

const (
	bySignal  why = iota
	byCommand     // tend reload
	byWatch       // the files have changed
	forPlan       // only to know
)

// A reloadRequest is answered with the plan, or with why there is none.
type reloadRequest struct {
	why        why
	allowEmpty bool
	reply      func(*api.Plan, *api.Error) // nil: nobody waits
	done       chan<- engine.Answer        // gets what comes of it, if it is applied; nil: nobody waits for that
	began      func(cmd uint64)            // is told the number of the command that it is then
	take       func(*conf.Result)          // gets what was loaded, and nothing else happens; nil: it is applied
}

// reloads loads files beside the loop, one load at a time. Requests that come
// during a load wait together for the next one: what they mean to see may have
// been written after the load began.
type reloads struct {
	running bool
	waiting []reloadRequest
}

// load reads the files. It runs beside the loop, but for the first one.
func (d *Daemon) load() *conf.Result {
	return d.loader.Load(conf.Options{Path: d.config, Environ: os.Environ(), Root: os.Geteuid() == 0, Override: d.opts.Override})
}

func (d *Daemon) reload(r reloadRequest) {
	if d.config == "" {
		r.answer(nil, &api.Error{Kind: api.KindConflict, Message: "one command is guarded, without any file", Hint: "write a tend.toml: tend init"})
		return
	}
	d.reloads.waiting = append(d.reloads.waiting, r)
	if !d.reloads.running {
		d.beginLoad()
	}
}

func (d *Daemon) beginLoad() {
	batch := d.reloads.waiting
	d.reloads.waiting, d.reloads.running = nil, true
	d.hurry()
	go func() {
		result := d.load()
		d.post(func() {
			d.reloads.running = false
			if result.OK() {
				result.Set = d.scale(result.Set)
			}
			for _, r := range batch {
				d.onLoaded(r, result)
			}
			if len(d.reloads.waiting) > 0 {
				d.beginLoad()
			}
		})
	}()
}

func (r reloadRequest) answer(p *api.Plan, err *api.Error) {
	if r.reply != nil {
		r.reply(p, err)
	}
}

func (d *Daemon) onLoaded(r reloadRequest, result *conf.Result) {
	d.follow(result)
	if r.take != nil {
		r.take(result)
		return
	}
	if !result.OK() {
		d.reject(r, result)
		return
	}
	diff := engine.Diff(d.engine.Set(), result.Set)
	plan := planView(diff, result)
	changed := !plan.Empty() || d.engine.Set().Daemon != result.Set.Daemon
	switch {
	case r.why == forPlan:
		d.pending = changed
		r.answer(plan, nil)
		return
	case diff.Empties && !r.allowEmpty && r.why != bySignal:
		d.refuseEmpty(r, result)
		return
	case d.engine.Stopping():
		r.answer(nil, &api.Error{Kind: api.KindUnavailable, Message: "tend is stopping"})
		return
	}
	d.pending = false
	plan.Applied = true
	d.changeRemote(result.Set.Daemon)
	if changed {
		d.apply(r, result, plan)
	} else {
		// Sources may have moved, and the manual start of a disabled program
		// ends with any reload.
		d.desire(r, result.Set)
		d.wireApplied(result)
		if r.why == bySignal {
			d.tell(event.Event{Kind: event.ConfigApplied, Message: "reloaded, nothing has changed", Detail: plan})
		}
	}
	r.answer(plan, nil)
}

// desire makes a set the wanted world. Who waits for what comes of it is told,
// unless nobody will be there to tell.
func (d *Daemon) desire(r reloadRequest, set *spec.Set) {
	in := engine.Desired{Set: set}
	if r.done != nil {
		d.cmdSeq++
		if d.upgrading {
			r.done <- engine.Answer{}
		} else {
			in.Cmd = d.cmdSeq
			d.cmds[in.Cmd] = r.done
		}
		r.began(d.cmdSeq)
	}
	d.step(in)
}

func (d *Daemon) apply(r reloadRequest, result *conf.Result, plan *api.Plan) {
	d.warn(result)
	old := d.engine.Set().Daemon
	d.files = result
	d.say.configure(result.Set.Daemon)
	d.capture.Bound(result.Set.Daemon.LogMaxTotal, d.place.logs)
	d.tell(event.Event{Kind: event.ConfigApplied, Message: planWords(plan), Detail: plan})
	d.desire(r, result.Set)
	d.wireApplied(result)
	if now := result.Set.Daemon; now.State != old.State || now.SocketMode != old.SocketMode || now.SocketGroup != old.SocketGroup {
		d.tell(event.Event{Kind: event.DaemonWarning, Message: "a changed state, socket_mode or socket_group counts from the next start of tend"})
	}
	if result.Set.Daemon.Logs != old.Logs {
		if p, err := findPlace(d.opts, result.Set.Daemon, d.place.state); err == nil {
			d.place.logs = p.logs
			for _, n := range d.instances {
				if !n.spawning {
					d.redirect(n)
				}
			}
		}
	}
}

// reject keeps the old world and says what is wrong with the new one, but only
// once as long as the same is wrong.
func (d *Daemon) reject(r reloadRequest, result *conf.Result) {
	list := diagnosticsView(result)
	err := &api.Error{Kind: api.KindInvalid, Message: plural(countErrors(result), "error") + "; what runs is untouched", Diagnostics: list}
	if r.why != forPlan {
		d.sayRejected(r, event.Event{Kind: event.ConfigRejected, Message: "the configuration has " + err.Message, Detail: list})
	}
	d.pending = true
	r.answer(nil, err)
}

func (d *Daemon) refuseEmpty(r reloadRequest, result *conf.Result) {
	err := &api.Error{Kind: api.KindEmpty, Message: "no program would be left: what runs is untouched", Hint: "if that is meant: tend reload --allow-empty"}
	d.sayRejected(r, event.Event{Kind: event.ConfigRejected, Message: err.Message + " (" + err.Hint + ")", Detail: diagnosticsView(result)})
	d.pending = true
	r.answer(nil, err)
}

// sayRejected tells of a refused configuration. The automatic way doesn't repeat
// itself: an editor may write a broken file many times.
func (d *Daemon) sayRejected(r reloadRequest, e event.Event) {
	text := e.Message
	for _, diag := range e.Detail.([]api.Diagnostic) {
		text += "\n" + diag.Text
	}
	if r.why == byWatch && d.pending && text == d.rejection {
		return
	}
	d.rejection = text
	d.tell(e)
}

// warn tells of what a valid configuration leaves to be desired.
func (d *Daemon) warn(result *conf.Result) {
	if result == nil {
		return
	}
	for _, diag := range result.Diagnostics {
		if diag.Severity == conf.Info {
			continue // tend check says it to those who ask
		}
		message := fmt.Sprintf("%s:%d: %s", diag.File, diag.Line, diag.Message)
		if diag.Hint != "" {
			message += "; " + diag.Hint
		}
		d.tell(event.Event{Kind: event.DaemonWarning, Program: diag.Program, Message: message})
	}
}

// rejected is the error of a configuration that the daemon can't start with.
func rejected(r *conf.Result) error {
	var b strings.Builder
	for _, diag := range r.Diagnostics {
		b.WriteString(strings.TrimSuffix(diag.Text(), "\n") + "\n")
	}
	return hinted{errors.New("the configuration is not usable\n" + b.String() + "✗ " + plural(countErrors(r), "error")), "tend check says the same without starting anything"}
}

func countErrors(r *conf.Result) int {
	n := 0
	for _, diag := range r.Diagnostics {
		if diag.Severity == conf.Error {
			n++
		}
	}
	return n
}

func diagnosticsView(r *conf.Result) []api.Diagnostic {
	list := make([]api.Diagnostic, len(r.Diagnostics))
	for i, diag := range r.Diagnostics {
		list[i] = api.Diagnostic{File: diag.File, Line: diag.Line, Key: diag.Key, Severity: string(diag.Severity),
			Message: diag.Message, Hint: diag.Hint, Text: strings.TrimSuffix(diag.Text(), "\n")}
	}
	return list
}

func planView(p engine.Plan, r *conf.Result) *api.Plan {
	v := &api.Plan{Files: r.Files, Unchanged: p.Unchanged, Empties: p.Empties, Items: []api.PlanItem{}}
	for _, i := range p.Items {
		item := api.PlanItem{Program: i.Program, Action: string(i.Action), Summary: i.Summary}
		for _, c := range i.Changes {
			item.Changes = append(item.Changes, api.PlanChange{Key: c.Field.Key, Apply: string(c.Field.Apply), Old: c.Old, New: c.New})
		}
		v.Items = append(v.Items, item)
	}
	for _, diag := range diagnosticsView(r) {
		if diag.Severity != string(conf.Info) { // those are for tend check
			v.Diagnostics = append(v.Diagnostics, diag)
		}
	}
	return v
}

// planWords sums a plan up in a line.
func planWords(p *api.Plan) string {
	count := make(map[string]int)
	for _, i := range p.Items {
		count[i.Action]++
	}
	words := []string{}
	for _, action := range []string{api.PlanStart, api.PlanAdd, api.PlanRestart, api.PlanLive, api.PlanStop, api.PlanDrain, api.PlanRemove} {
		if n := count[action]; n > 0 {
			words = append(words, fmt.Sprintf("%d %s", n, action))
		}
	}
	if p.Unchanged > 0 || len(words) == 0 {
		words = append(words, fmt.Sprintf("%d unchanged", p.Unchanged))
	}
	return "configuration applied: " + strings.Join(words, ", ")
}

// quiet is how long the files must not change before they are taken.
const quiet = 250 * time.Millisecond

// watch begins to watch the files of the configuration.
func (d *Daemon) watch() {
	if d.config == "" {
		return
	}
	w, err := newWatcher(quiet, func() {
		d.post(func() {
			r := reloadRequest{why: byWatch}
			if d.engine.Set().Daemon.Reload == spec.ReloadManual {
				r = reloadRequest{why: forPlan, reply: d.onManualChange}
			}
			d.reload(r)
		})
	})
	if err != nil {
		d.tell(event.Event{Kind: event.DaemonWarning, Message: "cannot watch the configuration: " + err.Error() + "; apply changes with tend reload"})
		return
	}
	d.watcher = w
	d.follow(d.files)
	// What was written between the first load and this moment was not seen.
	if !slices.Equal(stamps(d.files.Files), d.stamps) {
		d.reload(reloadRequest{why: byWatch})
	}
}

// onManualChange tells of changed files where they are applied by hand.
func (d *Daemon) onManualChange(p *api.Plan, err *api.Error) {
	switch {
	case err != nil:
		d.tell(event.Event{Kind: event.DaemonWarning, Message: "the files have changed and have errors: tend check"})
	case !p.Empty():
		d.tell(event.Event{Kind: event.DaemonWarning, Message: "the files have changed: tend plan shows how, tend reload applies it"})
	}
}

// follow watches what the result was made of, from now on.
func (d *Daemon) follow(r *conf.Result) {
	if d.watcher == nil {
		return
	}
	if err := d.watcher.follow(r.Watch); err != nil && !d.watchFailed {
		d.watchFailed = true
		d.tell(event.Event{Kind: event.DaemonWarning, Message: "cannot watch the configuration: " + err.Error() + "; apply changes with tend reload"})
	}
}

// stamps returns what tells versions of files apart without reading them.
func stamps(files []string) []string {
	list := make([]string, len(files))
	for i, f := range files {
		if info, err := os.Stat(f); err == nil {
			list[i] = fmt.Sprint(f, info.Size(), info.ModTime().UnixNano())
		}
	}
	return list
}

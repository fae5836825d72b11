package daemon

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"tend/api"
	"tend/internal/conf"
	"tend/internal/engine"
	"tend/internal/event"
	"tend/internal/spec"
	"tend/internal/supervisord"
	"tend/internal/svconf"
	"tend/internal/unit"
)

// standsFor is the version of supervisord that clients are told.
const standsFor = "4.2.5"

// A wire is the daemon as supervisord's clients see it. There is one where the
// configuration is a supervisord.conf.
type wire struct {
	d    *Daemon
	log  string // our own that clients can read; "": none
	ctx  context.Context
	done context.CancelFunc // nobody is answered any more

	server    *supervisord.Server
	listeners []*supervisord.Listener

	// What follows is the loop's.
	active     []*svconf.Group // the groups that are wanted, by priority and name
	read       *conf.Result    // what was read last, applied or not
	restarting bool
}

var _ supervisord.Daemon = (*wire)(nil)

func (d *Daemon) newWire(read *conf.Result) *wire {
	w := &wire{d: d, read: read, active: groupsOf(read.Supervisord)}
	if d.main != nil {
		w.log = d.main.path
	} else {
		w.log = fileOf(d.opts.Stderr)
	}
	w.ctx, w.done = context.WithCancel(context.Background())
	if d.ears == nil {
		d.ears = newEars(d, w.identifier())
	}
	return w
}

// identifier is the name that clients and listeners are told.
func (w *wire) identifier() string {
	return w.read.Supervisord.Daemon.Identifier
}

// fileOf returns the path of an open file, "" where it is none that can be read.
func fileOf(f *os.File) string {
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return ""
	}
	path, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", f.Fd()))
	if err != nil || strings.HasSuffix(path, " (deleted)") {
		return ""
	}
	return path
}

// groupsOf returns the groups of a configuration that can be active: of those
// with one name the first.
func groupsOf(c *svconf.Config) []*svconf.Group {
	var list []*svconf.Group
	for _, g := range c.Groups {
		if find(list, g.Name) == nil {
			list = append(list, g)
		}
	}
	sortGroups(list)
	return list
}

func sortGroups(list []*svconf.Group) {
	slices.SortStableFunc(list, func(a, b *svconf.Group) int {
		return cmp.Or(cmp.Compare(a.Priority, b.Priority), cmp.Compare(a.Name, b.Name))
	})
}

func find(list []*svconf.Group, name string) *svconf.Group {
	for _, g := range list {
		if g.Name == name {
			return g
		}
	}
	return nil
}

// openWire begins to listen where a supervisord.conf says so, and writes the pid.
// What can't be is an error at a start, as it is with supervisord; in the place of
// a daemon that has died we do what we can.
func (d *Daemon) openWire() error {
	read := d.files
	if read != nil && !read.OK() && len(d.past.meta.Servers) > 0 && d.past.set() != nil {
		// The file was broken before the daemon before us has died: as that was.
		m := d.past.meta
		read = &conf.Result{Path: read.Path, Files: read.Files, Set: d.past.set(),
			Supervisord: &svconf.Config{Servers: m.Servers}}
		if m.Supervisord != nil {
			read.Supervisord.Daemon = *m.Supervisord
		}
	}
	if read == nil || !read.OK() || read.Supervisord == nil {
		return nil
	}
	note := func(text string) { d.notices = append(d.notices, text) }
	if err := d.openMain(read.Supervisord); err != nil && d.opts.Supervisord && d.died == "" && d.upgraded == "" {
		return err
	} else if err != nil {
		note(err.Error())
	}
	if path := read.Supervisord.Daemon.PIDFile; d.opts.Supervisord && path != "" {
		if err := os.WriteFile(path, fmt.Appendln(nil, d.mainPID()), 0o644); err != nil {
			note("could not write pidfile " + path + ": " + err.Error())
		} else {
			d.pidFile = path
		}
	}
	// What is started together is started in the order of priorities, one by one.
	d.spawns.limit = 1
	d.wire = d.newWire(read)
	err := d.wire.listen(note)
	if err != nil && d.died == "" && d.upgraded == "" {
		return err
	}
	if err != nil {
		note(err.Error())
	}
	return nil
}

// listen opens all servers, and returns why some can't be.
func (w *wire) listen(note func(string)) error {
	var errs []error
	for _, server := range w.read.Supervisord.Servers {
		l, err := supervisord.Listen(server, note)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		w.listeners = append(w.listeners, l)
	}
	return errors.Join(errs...)
}

// serve begins to answer. It does nothing for a nil wire, nor do close and reopen.
func (w *wire) serve() {
	if w == nil {
		return
	}
	warn := func(text string) { w.d.post(func() { w.d.warnf("%s", text) }) }
	w.server = supervisord.NewServer(supervisord.Options{Daemon: w, Log: warn})
	for _, l := range w.listeners {
		server := w.server
		go func() {
			if err := server.Serve(l, supervisord.LoginOf(l.Server)); err != nil {
				warn(fmt.Sprintf("[%s]: %v", l.Server.Section, err))
			}
		}()
	}
}

// close answers what is under way, as far as that takes no time, and removes the
// sockets.
func (w *wire) close() {
	if w == nil {
		return
	}
	w.done()
	if w.server != nil {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		w.server.Shutdown(ctx)
		cancel()
	}
	for _, l := range w.listeners {
		l.Close()
		l.Remove()
	}
	w.listeners = nil
}

// reopen goes on after close: the upgrade that it was for has failed.
func (w *wire) reopen() {
	if w == nil {
		return
	}
	w.ctx, w.done = context.WithCancel(context.Background())
	if err := w.listen(func(text string) { w.d.warnf("%s", text) }); err != nil {
		w.d.warnf("%v", err)
	}
	w.serve()
}

// wireApplied says that all of a configuration is the wanted world now.
func (d *Daemon) wireApplied(r *conf.Result) {
	switch {
	case r.Supervisord == nil:
	case d.wire == nil: // the one that we were started with couldn't be used
		d.wire = d.newWire(r)
		d.ears.sync(r.Set)
		d.wire.reopen()
		d.putMeta()
	default:
		d.wire.read, d.wire.active = r, groupsOf(r.Supervisord)
	}
}

// restored finds out which groups of the files are active in the world that the
// daemon before us has left, which hadn't to be the one of the files. Of a group
// that is another one by now only the name is known.
func (w *wire) restored(set *spec.Set) {
	was, now := members(set), members(w.read.Set)
	w.active = w.active[:0:0]
	for _, g := range groupsOf(w.read.Supervisord) {
		switch list := was[g.Name]; {
		case sameGroup(list, now[g.Name]):
			w.active = append(w.active, g)
		case len(list) > 0:
			w.active = append(w.active, &svconf.Group{Name: g.Name, Kind: g.Kind, Priority: list[0].Member.GroupPriority})
		}
		delete(was, g.Name)
	}
	for name, list := range was { // that are in no file any more
		w.active = append(w.active, &svconf.Group{Name: name, Kind: svconf.Programs, Priority: list[0].Member.GroupPriority})
	}
	sortGroups(w.active)
}

// members returns the programs of a set by their groups.
func members(set *spec.Set) map[string][]*spec.Program {
	m := make(map[string][]*spec.Program)
	for _, p := range set.Programs {
		m[p.Member.Group] = append(m[p.Member.Group], p)
	}
	return m
}

func sameGroup(a, b []*spec.Program) bool {
	return slices.EqualFunc(a, b, func(a, b *spec.Program) bool {
		return a.Name == b.Name && a.Member == b.Member && len(spec.Changes(a, b)) == 0
	})
}

// recognise looks again at groups of which only the name is known: files that
// were changed or broken may say again what they said.
func (w *wire) recognise(r *conf.Result) {
	was, now := members(w.d.engine.Set()), members(r.Set)
	active := slices.Clone(w.active)
	for i, g := range active {
		again := find(r.Supervisord.Groups, g.Name)
		if len(g.Processes) == 0 && len(was[g.Name]) > 0 && again != nil && sameGroup(was[g.Name], now[g.Name]) {
			active[i] = again
		}
	}
	w.active = active
}

// within returns a context that ends with ctx and with the wire.
func (w *wire) within(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(w.ctx, cancel)
	return ctx, func() { stop(); cancel() }
}

// Info implements supervisord.Daemon.
func (w *wire) Info() supervisord.Info {
	d := w.d
	info, err := ask(w.ctx, d, func() supervisord.Info {
		info := supervisord.Info{State: supervisord.DaemonRunning, PID: d.mainPID(), Identifier: w.identifier(), Version: standsFor, Log: w.log}
		switch {
		case w.restarting:
			info.State = supervisord.DaemonRestarting
		case d.engine.Stopping():
			info.State = supervisord.DaemonShutdown
		}
		return info
	})
	if err != nil {
		info.State = supervisord.DaemonShutdown // nobody listens to us any more
	}
	return info
}

// Configured implements supervisord.Daemon.
func (w *wire) Configured() []supervisord.Configured {
	list, _ := ask(w.ctx, w.d, func() []supervisord.Configured {
		var list []supervisord.Configured
		for _, g := range w.read.Supervisord.Groups {
			c := supervisord.Configured{Group: g, Active: find(w.active, g.Name) != nil}
			if c.Active {
				c.Logs = make(map[string]supervisord.AutoLogs)
				for _, p := range g.Processes {
					s := w.d.engine.Set().Program(spec.NameOf(g.Name, p.Name))
					if s == nil {
						continue
					}
					out, errs := w.logsOf(s, p)
					c.Logs[p.Name] = supervisord.AutoLogs{Stdout: out, Stderr: errs}
				}
			}
			list = append(list, c)
		}
		return list
	})
	return list
}

// Reread implements supervisord.Daemon.
func (w *wire) Reread(ctx context.Context) (supervisord.Changes, error) {
	type answer struct {
		changes supervisord.Changes
		err     error
	}
	ctx, cancel := w.within(ctx)
	defer cancel()
	done := make(chan answer, 1)
	w.d.post(func() {
		w.d.reload(reloadRequest{why: forPlan, take: func(r *conf.Result) {
			if err := unusable(r); err != nil {
				done <- answer{err: err}
				return
			}
			w.recognise(r)
			w.read = r
			added, changed, removed := svconf.Diff(w.active, r.Supervisord.Groups)
			done <- answer{changes: supervisord.Changes{Added: namesOf(added), Changed: namesOf(changed), Removed: namesOf(removed)}}
		}})
	})
	select {
	case a := <-done:
		return a.changes, a.err
	case <-ctx.Done():
		return supervisord.Changes{}, ctx.Err()
	}
}

// unusable returns what is wrong with a configuration in supervisord's words, or
// in ours where it has none.
func unusable(r *conf.Result) error {
	for _, diag := range r.Diagnostics {
		if diag.Severity == conf.Error {
			return errors.New(diag.Message)
		}
	}
	if !r.OK() || r.Supervisord == nil {
		return fmt.Errorf("%s is no supervisord.conf", r.Path)
	}
	return nil
}

func namesOf(groups []*svconf.Group) []string {
	var names []string
	for _, g := range groups {
		names = append(names, g.Name)
	}
	return names
}

// AddGroup implements supervisord.Daemon.
func (w *wire) AddGroup(ctx context.Context, name string) supervisord.Outcome {
	return w.regroup(ctx, func() supervisord.Outcome {
		g := find(w.read.Supervisord.Groups, name)
		switch {
		case w.d.engine.Stopping():
			return supervisord.Outcome{Kind: supervisord.Failed, Detail: "tend is stopping"}
		case g == nil:
			return supervisord.Outcome{Kind: supervisord.BadName}
		case find(w.active, name) != nil:
			return supervisord.Outcome{Kind: supervisord.AlreadyAdded}
		}
		w.active = append(slices.Clone(w.active), g) // whoever has been told reads the other
		sortGroups(w.active)
		set := w.without(name)
		for _, p := range w.read.Set.Programs {
			if p.Member.Group == name {
				set.Programs = append(set.Programs, p)
			}
		}
		w.want(set, "group "+name+" added")
		return supervisord.Outcome{}
	})
}

// RemoveGroup implements supervisord.Daemon.
func (w *wire) RemoveGroup(ctx context.Context, name string) supervisord.Outcome {
	return w.regroup(ctx, func() supervisord.Outcome {
		switch {
		case w.d.engine.Stopping():
			return supervisord.Outcome{Kind: supervisord.Failed, Detail: "tend is stopping"}
		case find(w.active, name) == nil:
			return supervisord.Outcome{Kind: supervisord.BadName}
		}
		for _, v := range w.d.engine.Views() {
			if v.Spec.Member.Group == name && (stateOf(v.State).Up() || stateOf(v.State) == supervisord.Stopping) {
				return supervisord.Outcome{Kind: supervisord.StillRunning}
			}
		}
		w.active = slices.DeleteFunc(slices.Clone(w.active), func(g *svconf.Group) bool { return g.Name == name })
		w.want(w.without(name), "group "+name+" removed")
		return supervisord.Outcome{}
	})
}

func (w *wire) regroup(ctx context.Context, do func() supervisord.Outcome) supervisord.Outcome {
	ctx, cancel := w.within(ctx)
	defer cancel()
	o, err := ask(ctx, w.d, do)
	if err != nil {
		return supervisord.Outcome{Kind: supervisord.Failed, Detail: err.Error()}
	}
	return o
}

// without returns the wanted world without a group.
func (w *wire) without(name string) *spec.Set {
	was := w.d.engine.Set()
	set := &spec.Set{Daemon: was.Daemon}
	for _, p := range was.Programs {
		if p.Member.Group != name {
			set.Programs = append(set.Programs, p)
		}
	}
	return set
}

// want makes set the wanted world.
func (w *wire) want(set *spec.Set, message string) {
	slices.SortStableFunc(set.Programs, func(a, b *spec.Program) int {
		x, y := a.Member, b.Member
		return cmp.Or(cmp.Compare(x.GroupPriority, y.GroupPriority), cmp.Compare(x.Group, y.Group),
			cmp.Compare(x.Priority, y.Priority), cmp.Compare(x.Process, y.Process))
	})
	plan := planView(engine.Diff(w.d.engine.Set(), set), new(conf.Result))
	plan.Applied = true
	w.d.tell(event.Event{Kind: event.ConfigApplied, Message: message, Detail: plan})
	w.d.step(engine.Desired{Set: set})
}

// Shutdown implements supervisord.Daemon.
func (w *wire) Shutdown() {
	_ = control{w.d}.Shutdown(w.ctx, api.ShutdownOptions{}) // fails where there is nothing left to end
}

// Restart implements supervisord.Daemon.
func (w *wire) Restart() {
	_, _ = ask(w.ctx, w.d, func() struct{} {
		w.restart()
		return struct{}{}
	})
}

// restart stops everything and begins anew, with the files as they are then. They
// are looked at first: supervisord would end with a configuration that it can't
// use, and stop what runs for that.
func (w *wire) restart() {
	d := w.d
	if w.restarting || d.engine.Stopping() {
		return
	}
	w.restarting = true
	d.reload(reloadRequest{why: bySignal, take: func(r *conf.Result) {
		switch {
		case d.engine.Stopping(): // told to end meanwhile
			w.restarting = false
		case !r.OK():
			w.restarting = false
			d.reject(reloadRequest{why: bySignal}, r)
		default:
			d.setAgain(true)
			d.tell(event.Event{Kind: event.DaemonStopping, Message: "told to restart: stopping everything, to begin anew"})
			d.step(engine.Shutdown{})
		}
	}})
}

// anew executes this program from its beginning. It returns only when that fails.
func anew() error {
	exe, err := os.Executable()
	if err == nil {
		// What a service manager has passed to us is closed by then.
		env := slices.DeleteFunc(os.Environ(), func(kv string) bool { return strings.HasPrefix(kv, "LISTEN_") })
		err = syscall.Exec(exe, os.Args, env)
	}
	return fmt.Errorf("cannot begin anew: %w", err)
}

// RemoteCommunication implements supervisord.Daemon.
func (w *wire) RemoteCommunication(typ, data string) {
	w.d.ears.publish(supervisord.RemoteEvent(typ, data))
}

// ClearLog implements supervisord.Daemon.
func (w *wire) ClearLog() error { return os.Truncate(w.log, 0) }

// stateOf returns the state in supervisord's terms.
func stateOf(s unit.State) supervisord.State {
	switch s {
	case unit.Stopped:
		return supervisord.Stopped
	case unit.Waiting, unit.Starting:
		return supervisord.Starting
	case unit.Running:
		return supervisord.Running
	case unit.Backoff:
		return supervisord.Backoff
	case unit.Stopping, unit.Draining:
		return supervisord.Stopping
	case unit.Exited, unit.Done:
		return supervisord.Exited
	case unit.Failed:
		return supervisord.Fatal
	}
	return supervisord.Unknown
}

// defaultPath is where commands are looked for without PATH.
const defaultPath = "/bin:/usr/bin:/usr/local/bin"

// findCommand looks for what p executes as supervisord does before each start. It
// is called beside the loop.
func findCommand(p *spec.Program, from *svconf.Process) supervisord.Outcome {
	if from != nil && from.ArgvError != "" {
		return supervisord.Outcome{Kind: supervisord.NotExecutable, Detail: fmt.Sprintf("can't parse command '%s': %s", from.Command, from.ArgvError)}
	}
	if from != nil && len(from.Argv) == 0 {
		return supervisord.Outcome{Kind: supervisord.NotExecutable, Detail: "command is empty"}
	}
	name := p.Command.Args()[0]
	file := name
	if !strings.Contains(name, "/") {
		path, ok := p.Env["PATH"]
		if !ok {
			path = cmp.Or(os.Getenv("PATH"), defaultPath)
		}
		for _, dir := range filepath.SplitList(path) {
			if found := filepath.Join(dir, name); dir != "" && exists(found) {
				file = found
				break
			}
		}
	}
	at := file
	if !filepath.IsAbs(at) {
		at = filepath.Join(p.Directory, at)
	}
	info, err := os.Stat(at)
	switch {
	case err != nil:
		return supervisord.Outcome{Kind: supervisord.NoFile, Detail: fmt.Sprintf("can't find command '%s'", file)}
	case info.IsDir():
		return supervisord.Outcome{Kind: supervisord.NotExecutable, Detail: fmt.Sprintf("command at '%s' is a directory", file)}
	case info.Mode()&0o111 == 0:
		return supervisord.Outcome{Kind: supervisord.NotExecutable, Detail: fmt.Sprintf("command at '%s' is not executable", file)}
	case syscall.Access(at, 1) != nil:
		return supervisord.Outcome{Kind: supervisord.NotExecutable, Detail: fmt.Sprintf("no permission to run command '%s'", file)}
	}
	return supervisord.Outcome{}
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

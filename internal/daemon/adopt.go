package daemon

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"tend/internal/engine"
	"tend/internal/event"
	"tend/internal/guard"
	"tend/internal/logs"
	"tend/internal/proc"
	"tend/internal/spec"
	"tend/internal/unit"
)

// graceForStale is how long what an earlier daemon has left, and nobody wants,
// may take to end.
const graceForStale = 10 * time.Second

// restore makes the engine, and takes over what an earlier daemon on the same
// state folder has left running. set is the wanted world by the files, nil where
// they are not usable.
func (d *Daemon) restore(past remembered, set *spec.Set) {
	now := time.Now()
	// What lives may be more than what was put aside: starts that nobody has heard
	// of, and what should have been ended. Where each tree has its cgroup, those
	// of processes that are known needn't be looked into.
	here := d.host.Capabilities().Cgroup
	everywhere := here == "" || !past.whole || past.meta.Cgroup == ""
	skip := make(map[string]bool)
	for _, r := range past.past.Instances {
		if b := past.born[treeOf(r.Program, r.Index)]; b.Gen == r.Unit.Gen && r.Unit.Phase != unit.None && b.Cgroup != "" {
			skip[b.Cgroup] = true
		}
	}
	stale := d.host.Stale(d.environ.mark, []string{past.meta.Cgroup, here}, everywhere, skip)
	if !past.whole && set != nil {
		past = recognise(now, past, set, stale) // who nobody remembers is known by the mark it bears
	}
	var ids []engine.ID
	d.engine, ids = engine.Restore(now, outside, past.past)
	if d.again = past.meta.Again && d.engine.Stopping(); d.again && d.wire != nil {
		d.wire.restarting = true
	}
	d.putMeta()
	d.recall(past.past)
	d.ears.restore(d.engine.Set(), past)

	wanted := make(map[string]*engine.Record) // by the rest of a mark: TREE/GEN
	for i := range past.past.Instances {
		r := &past.past.Instances[i]
		if ids[i] == 0 || r.Unit.Phase == unit.None {
			continue
		}
		wanted[restOfMark(treeOf(r.Program, r.Index), r.Unit.Gen)] = r
	}
	lone := make(map[string]bool) // trees of programs that leave alone what outlives their leader
	leaveAlone := func(p *spec.Program) {
		if p.KillScope != spec.KillTree {
			for i := range p.Instances {
				lone[treeName(p, i)] = true
			}
		}
	}
	for _, p := range past.past.Programs {
		leaveAlone(p)
	}
	if set != nil {
		for _, p := range set.Programs {
			leaveAlone(p)
		}
	}
	found := make(map[string][]proc.Stale) // those of starts under way, by tree
	var stray, checks []proc.Stale
	for _, s := range stale {
		r := wanted[s.Mark]
		switch {
		case r == nil && isCheck(s.Mark):
			checks = append(checks, s)
			continue
		case r == nil:
			if tree, _, _ := strings.Cut(s.Mark, "/"); !lone[tree] {
				stray = append(stray, s)
				continue
			}
		case r.Unit.Phase == unit.Spawning:
			tree := treeOf(r.Program, r.Index)
			found[tree] = append(found[tree], s)
		}
		s.Close()
	}
	if len(checks) > 0 {
		proc.EndStale(checks, 0)
	}
	if len(stray) > 0 {
		n := len(stray)
		proc.EndStale(stray, graceForStale)
		d.warnf("ended %s that an earlier tend has left, of programs that aren't wanted", plural(n, "process"))
	}

	// All is looked at before anything is told, which may start others. Pipes are
	// taken over beside their processes: it is the kernel that takes its time.
	facts := make([]unit.Event, len(ids))
	adoptions := make([]*adoption, len(ids))
	for i := range past.past.Instances {
		r := &past.past.Instances[i]
		if ids[i] != 0 {
			adoptions[i] = d.adoption(ids[i], r, past.born[treeOf(r.Program, r.Index)])
		}
	}
	var pipes sync.WaitGroup
	pipes.Go(func() {
		for _, a := range adoptions {
			if a != nil {
				d.adoptKept(a)
			}
		}
	})
	for i, a := range adoptions {
		if a != nil {
			facts[i] = d.adopt(a, &past.past.Instances[i], found[a.tree])
		}
	}
	pipes.Wait()
	adopted, ended := 0, 0
	files := d.keptFiles()
	for i, a := range adoptions {
		if a == nil {
			continue
		}
		_, over := facts[i].(unit.Ended)
		d.adoptSpeech(a, a.process != nil && !over)
		d.adoptFiles(a.instance, files[a.tree])
		d.adoptFound(a)
		d.adoptTerminal(a)
		d.adoptListening(a.instance)
		if a.process != nil || a.instance.out != nil || a.hear.socket != nil || len(a.hear.store) > 0 {
			d.instances[ids[i]] = a.instance
		}
		switch facts[i].(type) {
		case unit.Resume, unit.Spawned:
			if d.instances[ids[i]] == nil || d.instances[ids[i]].process == nil {
				break // none lives
			}
			if d.instances[ids[i]].process.Over() { // which it will tell itself
				ended++
			} else {
				adopted++
			}
		case unit.Ended, unit.Emptied:
			ended++
		}
	}
	d.adoptSockets()
	for name, fd := range d.kept { // of instances that are gone
		unix.Close(fd)
		if slices.ContainsFunc([]string{keptOut, keptErr, keptProcess, keptIn, keptSocket, keptNotify, keptReady, keptStore, keptTerminal, keptRelay}, func(kind string) bool { return strings.HasPrefix(name, kind) }) {
			d.keeper.Drop(name)
		}
	}
	d.kept = nil
	if adopted+ended > 0 {
		message := "took over " + plural(adopted, "running program")
		if ended > 0 {
			message += fmt.Sprintf(", %d ended meanwhile", ended)
		}
		d.tell(event.Event{Kind: event.Adopted, Message: message})
	}
	var again []*instance
	for i, a := range adoptions {
		if a == nil {
			continue
		}
		alive := false
		switch facts[i].(type) {
		case unit.Resume, unit.Spawned:
			alive = true
		default:
			d.releaseInput(a.tree, a.stdin, "")
			a.stdin = nil
		}
		if d.ears.adopted(a.instance, alive) {
			again = append(again, a.instance)
		}
	}
	for i, ev := range facts {
		if end, ok := ev.(unit.Ended); ok && end.Left && d.hasHeir(adoptions[i].instance) {
			ev = unit.Resume{}
		}
		if ev != nil {
			d.step(engine.Fact{ID: ids[i], Event: ev})
		}
	}
	for _, n := range again {
		d.startAgain(n)
	}
	for _, a := range adoptions {
		if a != nil {
			d.hearAdopted(a.instance)
		}
	}
	if past.whole && !past.past.Rebooted {
		d.step(engine.Tick{})
	}
	for _, e := range d.ends { // what was to be learnt from them is put aside
		d.taken = append(d.taken, e.No)
	}
	d.ends = nil
}

// hasHeir reports whether an instance whose leader has ended while no daemon lived
// has said before that who leads in its place.
func (d *Daemon) hasHeir(n *instance) bool {
	before := n.process
	d.hearRest(n)
	return n.process != before
}

// isCheck reports whether the rest of a mark is that of a check by a command.
func isCheck(mark string) bool {
	tree, _, _ := strings.Cut(mark, "/")
	return strings.HasSuffix(tree, checkTree)
}

func restOfMark(tree string, gen uint64) string { return fmt.Sprintf("%s/%d", tree, gen) }

// putMeta says whose ledger it is from now on.
func (d *Daemon) putMeta() {
	m := meta{Version: memoryVersion, Boot: proc.BootID(), Life: d.life, Config: d.config,
		Cgroup: d.host.Capabilities().Cgroup, Tend: d.opts.Version, Again: d.again}
	if d.wire != nil {
		c := d.wire.read.Supervisord
		m.Servers, m.Supervisord = c.Servers, &c.Daemon
	}
	d.ledger.Put(keyMeta, encode(m))
	d.unsaved = true
}

// setAgain says whether the end of the programs is to be a new beginning. It is
// put aside with the order to end: should we die meanwhile, the next daemon goes
// on as we would have.
func (d *Daemon) setAgain(again bool) {
	if d.again != again {
		d.again = again
		d.putMeta()
	}
}

// An adoption is an instance that is being taken over.
type adoption struct {
	*instance
	born born

	kept    [2]int // descriptors of its pipes, for output and errors; -1: none was kept
	line    [2]int // and of its terminal: the master and the relay
	trouble []error
}

// adoption begins to take an instance over.
func (d *Daemon) adoption(id engine.ID, r *engine.Record, b born) *adoption {
	tree := treeOf(r.Program, r.Index)
	a := &adoption{
		instance: &instance{id: id, name: r.Name, tree: tree, gen: r.Unit.Gen, spec: d.engine.SpecOf(id)},
		born:     b,
		kept:     [2]int{d.takeKept(keptOut + tree), d.takeKept(keptErr + tree)},
		line:     [2]int{d.takeKept(keptTerminal + tree), d.takeKept(keptRelay + tree)},
	}
	if fd := d.takeKept(keptIn + tree); fd >= 0 {
		a.stdin = adoptStdin(fd)
	}
	if a.voice, _ = d.ears.voice(nil, d.memberOf(a.spec)); a.voice != nil {
		a.voice.resume(b.PID, a.stdin)
	}
	if r.Unit.State == unit.Starting {
		a.hear.match = d.matcher(id, a.gen, a.spec)
	}
	return a
}

// adoptSockets takes over the sockets of groups that have processes.
func (d *Daemon) adoptSockets() {
	users := make(map[string]int)
	for _, n := range d.instances {
		if m := d.memberOf(n.spec); n.process != nil && m.Socket != (spec.Socket{}) {
			n.socket = m.Group
			users[m.Group]++
		}
	}
	for group, n := range users {
		if fd := d.takeKept(keptSocket + group); fd >= 0 {
			d.sockets.adopt(group, fd, n)
		}
	}
}

// adopt takes the process of an instance over, and returns the fact about it that
// the engine is to be told.
func (d *Daemon) adopt(ad *adoption, r *engine.Record, found []proc.Stale) unit.Event {
	n, gen, tree := ad.instance, ad.gen, ad.tree
	tag := uint64(n.id)<<32 | uint64(uint32(gen))
	a := proc.Adoption{Tag: tag, Name: tree, Mark: d.environ.markOf(tree, gen), CPU: -1, Ended: true}
	if b := ad.born; b.Gen == gen {
		a.Identity, a.Cgroup, a.Ended = b.Identity, b.Cgroup, r.Unit.Phase == unit.Left
		if n.peak = b.Peak; b.CPU != nil {
			a.CPU = *b.CPU
		}
	} else if leader := leaderOf(found); leader != nil {
		a.Identity, a.Cgroup, a.Ended = leader.Identity, leader.Tree, false
		ad.born = born{Gen: gen, Identity: leader.Identity, Cgroup: leader.Tree}
		d.putBorn(tree, ad.born)
	} else if len(found) > 0 { // only what it has started
		a.Cgroup = found[0].Tree
	}
	alive := false
	if r.Unit.Phase != unit.None {
		n.process, alive = d.host.Adopt(a)
		n.cgroup = a.Cgroup
	}
	if alive {
		if fd := d.takeKept(keptProcess + tree); fd >= 0 { // the keeper has it still
			unix.Close(fd)
			n.followed = true
		}
	}
	b := ad.born
	switch {
	case r.Unit.Phase == unit.None:
		return unit.Resume{} // it may wait for something that has to be looked for
	case alive && r.Unit.Phase == unit.Spawning:
		return unit.Spawned{Gen: gen, PID: a.PID, At: b.At}
	case alive || n.process != nil && r.Unit.Phase == unit.Left:
		return unit.Resume{}
	case r.Unit.Phase == unit.Left:
		return unit.Emptied{Gen: gen}
	case n.process == nil && r.Unit.Phase == unit.Spawning && a.PID == 0:
		return unit.Lost{Gen: gen}
	}
	return d.endOf(n, a, n.process != nil)
}

// leaderOf returns the process that was started as that of an attempt: it leads
// a process group, and is the first that does.
func leaderOf(found []proc.Stale) *proc.Stale {
	var leader *proc.Stale
	for i, s := range found {
		if s.Leads && (leader == nil || s.Start < leader.Start) {
			leader = &found[i]
		}
	}
	return leader
}

// endOf returns how a process ended while no daemon lived, as far as somebody
// knows.
func (d *Daemon) endOf(n *instance, a proc.Adoption, left bool) unit.Event {
	end := unit.Ended{Gen: n.gen, Left: left, Unknown: true}
	id := a.Identity
	for _, e := range d.ends {
		if id.PID == e.PID && (id.Inode != 0 && id.Inode == e.Inode || id.Start != 0 && id.Start == e.Start) {
			end.Code, end.Signal, end.Core, end.Unknown, end.At = e.Code, spec.Signal(e.Signal), e.Core, false, monotonic(e.At)
			f := endedOf(e)
			f.Tree = -1
			end.Used = used(f, n.peak)
		}
	}
	if fd := d.takeKept(keptProcess + n.tree); fd >= 0 {
		if s, ok := proc.ExitStatus(fd, id); ok && end.Unknown {
			end.Code, end.Signal, end.Core, end.Unknown = s.Code, spec.Signal(s.Signal), s.CoreDump, false
		}
		unix.Close(fd)
	}
	return end
}

// endedOf returns the guard's word on how a process ended as the host would tell it.
func endedOf(e guard.End) proc.Ended {
	return proc.Ended{Status: proc.Status{Code: e.Code, Signal: e.Signal, CoreDump: e.Core}, At: e.At, User: e.User, System: e.System, MaxRSS: e.MaxRSS}
}

// monotonic returns a time of day as one that clocks that are set don't move.
func monotonic(t time.Time) time.Time {
	now := time.Now()
	return now.Add(t.Sub(now.Round(0)))
}

// adoptKept takes over the pipes of an instance that were kept. It touches nothing
// that belongs to the loop, beside which it runs.
func (d *Daemon) adoptKept(a *adoption) {
	if a.kept[0] < 0 && a.kept[1] < 0 {
		return
	}
	out, errs := d.outputs(a.instance)
	a.out = d.adoptPipe(a, a.kept[0], out)
	a.err = d.adoptPipe(a, a.kept[1], errs)
	for _, fd := range a.kept {
		if fd >= 0 {
			unix.Close(fd)
		}
	}
}

// adoptFound takes over those pipes of an instance that nobody has kept, but its
// processes hold.
func (d *Daemon) adoptFound(a *adoption) {
	find := func(kept string, inode uint64, o logs.Options) *logs.Stream {
		fd := a.process.Pipe(inode)
		if fd < 0 {
			return nil
		}
		defer unix.Close(fd)
		s := d.adoptPipe(a, fd, o)
		if s != nil {
			d.keep(kept+a.tree, fd)
		}
		return s
	}
	wantOut := a.kept[0] < 0 && a.born.Out != 0 && a.process != nil
	wantErr := a.kept[1] < 0 && a.born.Err != 0 && a.process != nil
	if wantOut || wantErr {
		out, errs := d.outputs(a.instance)
		if wantOut {
			a.out = find(keptOut, a.born.Out, out)
		}
		if wantErr {
			a.err = find(keptErr, a.born.Err, errs)
		}
	}
	for _, err := range a.trouble {
		d.trouble(a.instance, a.name, "cannot take over its output: "+err.Error())
	}
}

// adoptPipe takes over a pipe; nil: there is none, or it can't be. fd stays the
// caller's.
func (d *Daemon) adoptPipe(a *adoption, fd int, o logs.Options) *logs.Stream {
	if fd < 0 {
		return nil
	}
	s, err := d.capture.Adopt(a.name, fd, o)
	if err != nil {
		a.trouble = append(a.trouble, err)
		return nil
	}
	return s
}

// outputs returns where the output of an instance that is taken over goes.
func (d *Daemon) outputs(n *instance) (out, errs logs.Options) {
	account, err := lookup(n.spec)
	if err != nil {
		account = nil // the pipe has its owner
	}
	out, errOut := destinations(n.name, n.spec, d.place.logs, account)
	if errs = out; errOut != nil {
		errs = *errOut
	}
	n.voice.taps(&out, nil)
	if errOut != nil {
		n.voice.taps(new(logs.Options), &errs)
	}
	n.hear.match.tap(&out, &errs)
	out.UID, out.GID, errs.UID, errs.GID = -1, -1, -1, -1 // as it is
	return out, errs
}

// recognise makes up a past from the marks of processes that live, where the
// ledger is lost: each is taken for the instance that it says it is, and the
// others of its program for starts that were never carried out.
func recognise(now time.Time, past remembered, set *spec.Set, stale []proc.Stale) remembered {
	type attempt struct {
		gen   uint64
		stale []proc.Stale
	}
	byTree := make(map[string]*attempt)
	for _, s := range stale {
		tree, number, _ := strings.Cut(s.Mark, "/")
		var gen uint64
		if _, err := fmt.Sscan(number, &gen); err != nil || gen == 0 {
			continue
		}
		a := byTree[tree]
		if a == nil || gen > a.gen {
			a = &attempt{gen: gen}
			byTree[tree] = a
		}
		if gen == a.gen {
			a.stale = append(a.stale, s)
		}
	}
	p := remembered{meta: past.meta, born: make(map[string]born), events: past.events, notice: past.notice}
	p.past.Programs = make(map[string]*spec.Program)
	p.past.World.Daemon = set.Daemon
	for _, s := range set.Programs {
		known := false
		for i := range s.Instances {
			a := byTree[treeName(s, i)]
			known = known || a != nil && leaderOf(a.stale) != nil
		}
		if !known || !s.Enabled {
			continue
		}
		p.past.World.Programs = append(p.past.World.Programs, s.Name)
		p.past.Programs[s.Name] = s
		for i := range s.Instances {
			tree := treeName(s, i)
			m := unit.Memory{State: unit.Starting, Told: unit.Stopped, Phase: unit.Spawning, Up: true, Gen: 1, Since: now, Started: now}
			if a := byTree[tree]; a != nil {
				m.Gen = a.gen
				if leader := leaderOf(a.stale); leader != nil {
					p.born[tree] = born{Gen: a.gen, Identity: leader.Identity, Cgroup: leader.Tree, At: proc.StartTime(leader.Start, now)}
				}
			}
			p.past.Instances = append(p.past.Instances, engine.Record{Program: s.Name, Index: i, Name: spec.InstanceName(s.Name, i, s.Instances), Unit: m})
		}
	}
	return p
}

// onGuardEnd takes the guard's word on how a process ended. Of a program that we
// have adopted, that is its end; what else there is is nothing to us.
func (d *Daemon) onGuardEnd(e guard.End) {
	end := endedOf(e)
	if tag, ok := d.host.Collected(proc.Identity{PID: e.PID, Inode: e.Inode, Start: e.Start}, end); ok {
		if n := d.instances[engine.ID(tag>>32)]; n != nil {
			if n.end != 0 { // of one whose place this has taken
				d.taken = append(d.taken, n.end)
			}
			n.end = e.No
			return
		}
	}
	d.taken = append(d.taken, e.No)
}

// onGuardGone steps down: without the guard nobody would start us again, and
// nobody holds what programs print. The next tend takes over.
func (d *Daemon) onGuardGone() {
	if d.exit == nil && !d.leave {
		d.warnf("the guard is gone: stepping down, the programs run on; start tend again to take them over")
		d.leave = true
	}
}

package daemon

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"tend/internal/engine"
	"tend/internal/event"
	"tend/internal/logs"
	"tend/internal/proc"
	"tend/internal/spec"
	"tend/internal/supervisord"
	"tend/internal/unit"
)

// ears are supervisord's event listeners: what happens is told to the Relay, and what
// that says is done. There are some where the configuration is a supervisord.conf;
// nil ears hear nothing.
type ears struct {
	d     *Daemon
	relay *supervisord.Relay

	mu     sync.Mutex
	stdins map[supervisord.ID]*stdin // of listeners with a process
	told   map[string]*trouble       // what was told lately, by the text without numbers

	// What follows is the loop's.
	groups  []string // that were told of
	pools   []supervisord.Pool
	courses map[string]*supervisord.Course // by program
	certain map[supervisord.ID]bool        // of an earlier daemon: they wait for an event
	ticking context.CancelFunc             // nil: nobody wants to be told the time
	shown   *sayer                         // what listeners have printed
}

// A trouble is told once in a while at most: a listener that fails may do so with
// each event.
type trouble struct {
	at   time.Time // when it was told
	more int       // times that it came since
}

const troubleEvery = time.Second

func newEars(d *Daemon, identifier string) *ears {
	e := &ears{d: d, stdins: make(map[supervisord.ID]*stdin), told: make(map[string]*trouble), courses: make(map[string]*supervisord.Course), shown: newSayer(d.opts.Stdout)}
	e.relay = supervisord.NewRelay(supervisord.RelayOptions{
		Identifier: identifier,
		Send:       e.send,
		Save:       func(m supervisord.Memory) { d.ledger.PutNow(keyListeners, encode(m.Light())) }, // what is wrong with the ledger, commit tells
		Unsaved:    func() { d.post(func() {}) },                                                    // the loop's next turn commits
		Say:        e.say,
		Show: func(text string) {
			d.post(func() {
				e.shown.batch = append(e.shown.batch, text...)
				e.shown.flush()
			})
		},
	})
	return e
}

// send writes to the standard input of a listener.
func (e *ears) send(id supervisord.ID, data string) supervisord.Outcome {
	e.mu.Lock()
	in := e.stdins[id]
	e.mu.Unlock()
	if in == nil || in.write(data) != nil {
		return supervisord.Outcome{Kind: supervisord.NoFile}
	}
	return supervisord.Outcome{}
}

// say tells of what goes wrong with listeners.
func (e *ears) say(_, text string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	now := time.Now()
	kind := strings.Map(func(r rune) rune {
		if r >= '0' && r <= '9' {
			return -1
		}
		return r
	}, text)
	t := e.told[kind]
	switch {
	case t == nil:
		if len(e.told) == 100 { // they hold what listeners have said, which may be anything
			clear(e.told)
		}
		t = new(trouble)
		e.told[kind] = t
	case now.Sub(t.at) < troubleEvery:
		t.more++
		return
	case t.more > 0:
		text += fmt.Sprintf(" (and %d more like this)", t.more)
	}
	t.at, t.more = now, 0
	e.d.post(func() { e.d.warnf("%s", text) })
}

// idOf returns the name of a process by that of its program.
func idOf(program string) supervisord.ID {
	group, process, ok := strings.Cut(program, ":")
	if !ok {
		process = group
	}
	return supervisord.ID{Group: group, Name: process}
}

// sync makes the groups and pools of a set known, and tells of those that are new or
// gone.
func (e *ears) sync(set *spec.Set) {
	if e == nil {
		return
	}
	groups, pools := poolsOf(set)
	for _, p := range e.pools {
		if !slices.ContainsFunc(pools, func(q supervisord.Pool) bool { return q.Name == p.Name }) {
			e.relay.Step(supervisord.RemovePool{Name: p.Name})
		}
	}
	for _, g := range e.groups {
		if !slices.Contains(groups, g) {
			e.relay.Publish(supervisord.GroupEvent(g, false))
		}
	}
	for _, g := range groups {
		if i := slices.IndexFunc(pools, func(p supervisord.Pool) bool { return p.Name == g }); i >= 0 && !slices.ContainsFunc(e.pools, pools[i].Equal) {
			e.relay.Step(supervisord.AddPool{Pool: pools[i]})
		}
		if !slices.Contains(e.groups, g) {
			e.relay.Publish(supervisord.GroupEvent(g, true))
		}
	}
	e.groups, e.pools = groups, pools
	e.tick()
}

// poolsOf returns the groups of a set in their order, and the pools of listeners.
func poolsOf(set *spec.Set) (groups []string, pools []supervisord.Pool) {
	for _, p := range set.Programs {
		m := p.Member
		if m.Group == "" {
			continue
		}
		if !slices.Contains(groups, m.Group) {
			groups = append(groups, m.Group)
		}
		if m.Pool == (spec.Pool{}) {
			continue
		}
		i := slices.IndexFunc(pools, func(p supervisord.Pool) bool { return p.Name == m.Group })
		if i < 0 {
			i = len(pools)
			pools = append(pools, supervisord.Pool{Name: m.Group, Events: strings.Split(m.Pool.Events, ","), Buffer: m.Pool.Buffer, Handler: m.Pool.Handler})
		}
		pools[i].Processes = append(pools[i].Processes, m.Process)
	}
	return groups, pools
}

// tick has the time told as long as somebody wants that: nothing else wakes an idle
// daemon.
func (e *ears) tick() {
	wanted := slices.ContainsFunc(e.pools, func(p supervisord.Pool) bool { return p.Ticks() })
	switch {
	case wanted && e.ticking == nil:
		var ctx context.Context
		ctx, e.ticking = context.WithCancel(context.Background())
		go e.relay.Run(ctx, time.Now)
	case !wanted && e.ticking != nil:
		e.ticking()
		e.ticking = nil
	}
}

// restore goes on where the daemon before us has ended. set is the world that it has
// left, and of is what it knew.
func (e *ears) restore(set *spec.Set, past remembered) {
	if e == nil {
		return
	}
	e.groups, e.pools = poolsOf(set)
	for _, p := range e.pools {
		e.relay.Step(supervisord.AddPool{Pool: p})
	}
	var m supervisord.Memory
	if past.listeners != nil && !past.past.Rebooted && json.Unmarshal(past.listeners, &m) == nil {
		e.relay.Restore(m)
	}
	e.certain = make(map[supervisord.ID]bool)
	for _, p := range m.Pools {
		for _, x := range p.Listeners {
			e.certain[supervisord.ID{Group: p.Name, Name: x.Name}] = x.Ready()
		}
	}
	for _, r := range past.past.Instances {
		e.courses[r.Program] = &supervisord.Course{ID: idOf(r.Program), State: stateOf(r.Unit.Told), PID: r.Unit.PID, Tries: r.Unit.Failures}
	}
	e.tick()
}

// adopted decides about a listener that an earlier daemon has left, once it is known
// whether it lives. One that waited for an event goes on. Where another one was, in
// what it reads and says, nobody knows: it is started again, and what it was busy
// with is given to another. It reports whether to do so.
func (e *ears) adopted(n *instance, alive bool) (again bool) {
	if n.voice == nil || !n.voice.listener() {
		return false
	}
	if alive && e.certain[n.voice.id] && n.stdin != nil {
		return false
	}
	e.relay.Step(supervisord.Became{ID: n.voice.id, State: supervisord.Exited})
	return alive
}

// hear takes what happened to processes.
func (e *ears) hear(events []event.Event) {
	if e == nil {
		return
	}
	for _, ev := range events {
		if ev.Kind != event.State {
			continue
		}
		c := e.courses[ev.Program]
		if c == nil {
			c = &supervisord.Course{ID: idOf(ev.Program)}
			e.courses[ev.Program] = c
		}
		turn := supervisord.Turn{To: stateOf(stateNamed(ev.To)), PID: ev.PID, Ended: ev.Exit != nil, Expected: ev.Exit != nil && ev.Exit.Success}
		for _, change := range c.Follow(turn) {
			if change.To == supervisord.Running || change.To == supervisord.Stopping {
				// That it has ended was told when it had, see ended.
				e.relay.Step(supervisord.Became{ID: change.ID, State: change.To})
			}
			e.relay.Publish(change.Event())
		}
	}
}

// stateNamed is the inverse of unit.State.String.
func stateNamed(name string) unit.State {
	for s := unit.Stopped; s < unit.Failed; s++ {
		if s.String() == name {
			return s
		}
	}
	return unit.Failed
}

// publish tells of something else.
func (e *ears) publish(ev supervisord.Event) {
	if e != nil {
		e.relay.Publish(ev)
	}
}

// save puts aside what listeners are about.
func (e *ears) save() {
	if e != nil {
		e.relay.Save()
	}
}

// close ends the telling of time.
func (e *ears) close() {
	if e == nil {
		return
	}
	if e.ticking != nil {
		e.ticking()
	}
	e.shown.close()
}

// A voice is the output of an instance as far as it is listened to: what a listener
// says to us, or what listeners are told that others say. A nil voice is that of a
// program of another format.
type voice struct {
	e      *ears
	id     supervisord.ID
	member spec.Member
	pid    atomic.Int64                  // of the latest process
	birth  atomic.Pointer[chan struct{}] // closed when that is known; nil: it is
	deaf   atomic.Bool                   // of a listener: what it says is not for us, until its next start

	out, err logs.Tap // nil: nobody listens
}

// voice returns the voice of an instance: the one that it has, unless it is another
// by now. changed is set then.
func (e *ears) voice(had *voice, m spec.Member) (v *voice, changed bool) {
	switch {
	case e == nil || m.Group == "":
		return nil, had != nil
	case had != nil && had.member == m:
		return had, false
	}
	v = &voice{e: e, id: supervisord.ID{Group: m.Group, Name: m.Process}, member: m}
	if had != nil {
		v.pid.Store(had.pid.Load())
		v.deaf.Store(had.deaf.Load())
	}
	v.out, v.err = v.channel(m.Stdout, false), v.channel(m.Stderr, true)
	if v.listener() {
		v.out = v.protocol()
	}
	return v, true
}

func (v *voice) listener() bool { return v.member.Pool != (spec.Pool{}) }

// heard reports whether somebody listens.
func (v *voice) heard() bool { return v != nil && (v.out != nil || v.err != nil) }

// taps has what goes by the options listened to. err may be nil.
func (v *voice) taps(out, err *logs.Options) {
	if v == nil {
		return
	}
	out.Tap = v.out
	if err != nil {
		err.Tap = v.err
	}
}

// protocol is what a listener says.
func (v *voice) protocol() logs.Tap {
	strip := v.stripper()
	return func(p []byte) []byte {
		if !v.deaf.Load() {
			v.e.relay.Step(supervisord.Wrote{ID: v.id, Data: p})
		}
		return strip(p)
	}
}

func (v *voice) stripper() func([]byte) []byte {
	if !v.member.StripANSI {
		return func(p []byte) []byte { return p }
	}
	return new(supervisord.Plainer).Strip
}

// channel is what a program says, as events. It is nil where nobody wants any.
func (v *voice) channel(h spec.Heard, stderr bool) logs.Tap {
	if h == (spec.Heard{}) && !v.member.StripANSI {
		return nil
	}
	strip := v.stripper()
	var capture *supervisord.Capture
	if h.Capture > 0 {
		capture = supervisord.NewCapture(h.Capture)
	}
	speaker := v.pid.Load()
	log := func(p []byte) []byte { // as it goes to the log
		if p = strip(p); h.Events && len(p) > 0 {
			v.e.relay.Publish(supervisord.Output{ID: v.id, PID: int(speaker), Stderr: stderr, Data: p}.LogEvent())
		}
		return p
	}
	return func(p []byte) []byte {
		v.awaitBirth()
		if capture == nil {
			speaker = v.pid.Load()
			return log(p)
		}
		var plain []byte
		take := func(pieces []supervisord.Piece) {
			for _, piece := range pieces {
				switch piece.Kind {
				case supervisord.Plain:
					plain = append(plain, log(piece.Data)...)
				case supervisord.Captured:
					log(piece.Data)
				case supervisord.Said:
					v.e.relay.Publish(supervisord.Output{ID: v.id, PID: int(speaker), Stderr: stderr, Data: piece.Data}.CommunicationEvent())
				}
			}
		}
		if pid := v.pid.Load(); pid != speaker { // another process, which begins outside the tags
			take(capture.End())
			speaker = pid
		}
		take(capture.Feed(p))
		return plain
	}
}

// speaks says which process it is from now on that speaks.
func (v *voice) speaks(pid int) {
	if v != nil {
		v.pid.Store(int64(pid))
		v.born()
	}
}

// awaitBirth waits for the pid of a process that is being started: it may say
// something before whoever has started it goes on. The wait is for a turn of that
// thread, and bounded.
func (v *voice) awaitBirth() {
	known := v.birth.Load()
	if known == nil {
		return
	}
	late := time.NewTimer(time.Second)
	defer late.Stop()
	select {
	case <-*known:
	case <-late.C:
	}
}

// born ends awaitBirth.
func (v *voice) born() {
	if known := v.birth.Swap(nil); known != nil {
		close(*known)
	}
}

// begin is called before a process is started, which will read in.
func (v *voice) begin(in *stdin) {
	if v == nil {
		return
	}
	known := make(chan struct{})
	v.birth.Store(&known)
	if !v.listener() {
		return
	}
	v.e.mu.Lock()
	v.e.stdins[v.id] = in
	v.e.mu.Unlock()
	v.deaf.Store(false)
}

// resume is begin for a process that an earlier daemon has started.
func (v *voice) resume(pid int, in *stdin) {
	v.speaks(pid)
	if !v.listener() {
		return
	}
	v.deaf.Store(!v.e.certain[v.id] || in == nil)
	if in != nil {
		v.e.mu.Lock()
		v.e.stdins[v.id] = in
		v.e.mu.Unlock()
	}
}

// ended is called when a process has ended, and all that it has said was heard.
func (v *voice) ended() {
	if v == nil {
		return
	}
	v.born() // or there was none
	if !v.listener() {
		return
	}
	v.e.mu.Lock()
	delete(v.e.stdins, v.id)
	v.e.mu.Unlock()
	v.e.relay.Step(supervisord.Became{ID: v.id, State: supervisord.Exited})
}

// memberOf returns the place of a program in supervisord's world: that of the wanted
// set, which may have changed without its being another program.
func (d *Daemon) memberOf(p *spec.Program) spec.Member {
	if q := d.engine.Set().Program(p.Name); q != nil {
		return q.Member
	}
	return p.Member
}

// inputs are what a process reads: the pipe of a program of supervisord's, or the
// socket of a group.
type inputs struct {
	stdin  *stdin
	socket string // the group's
	fd     int    // for the process; -1: it reads nothing
	made   bool   // fd is ours to close
}

// input makes what an instance reads, and has it kept. It runs beside the loop.
func (d *Daemon) input(m spec.Member, tree string) (in inputs, err error) {
	in.fd = -1
	switch {
	case m.Group == "":
	case m.Socket != (spec.Socket{}):
		fd, made, err := d.sockets.take(m.Group, m.Socket)
		if err != nil {
			return in, err
		}
		if made {
			d.keep(keptSocket+m.Group, fd)
		}
		in.socket, in.fd = m.Group, fd
	default:
		s, reader, err := newStdin()
		if err != nil {
			return in, &proc.SpawnError{Step: proc.StepStdio, Err: err}
		}
		s.fd(func(fd int) { d.keep(keptIn+tree, fd) })
		in.stdin, in.fd, in.made = s, reader, true
	}
	return in, nil
}

// release ends what a process has read.
func (d *Daemon) releaseInput(tree string, s *stdin, socket string) {
	if s != nil {
		s.close()
		d.keeper.Drop(keptIn + tree)
	}
	if socket != "" && d.sockets.release(socket) {
		d.keeper.Drop(keptSocket + socket)
	}
}

// hearOut has all that an ended process has said heard before its end is told of. It
// reports false where there is nothing to wait for; else then is called in the loop.
func (d *Daemon) hearOut(n *instance, then func()) bool {
	var streams []*logs.Stream
	if n.voice.heard() {
		streams = []*logs.Stream{n.out, n.err}
	}
	t := n.terminal
	if streams == nil && t == nil {
		return false
	}
	d.spawns.put(func() {
		ctx, cancel := context.WithTimeout(context.Background(), hearTime)
		defer cancel()
		t.drain(ctx)
		for _, s := range streams {
			if s != nil {
				s.Drain(ctx) // a destination that fails has been told of
			}
		}
		d.post(then)
	})
	return true
}

// hearTime bounds the wait for the last words of a process.
const hearTime = time.Second

// startAgain restarts a listener whose place in the protocol isn't known.
func (d *Daemon) startAgain(n *instance) {
	for _, v := range d.engine.Views() {
		if v.ID == n.id && (v.State == unit.Starting || v.State == unit.Running) {
			d.trouble(n, n.name, "started again: how far it was with its events was known to the daemon that has died")
			d.cmdSeq++
			d.step(engine.Act{Cmd: d.cmdSeq, Verb: engine.Restart, Only: n.id, NoWait: true, Why: "restarted after tend's death"})
		}
	}
}

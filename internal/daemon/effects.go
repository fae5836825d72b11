package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"tend/internal/engine"
	"tend/internal/event"
	"tend/internal/logs"
	"tend/internal/proc"
	"tend/internal/spec"
	"tend/internal/unit"
)

// instance is the daemon's hold on one instance: its process and its output.
// It belongs to the loop.
type instance struct {
	id       engine.ID
	name     string
	tree     string // the name of its processes
	cgroup   string // of an adopted process, perhaps not one of our host's
	spec     *spec.Program
	gen      uint64 // of process
	process  *proc.Process
	followed bool         // the keeper has a pidfd of it, see heedMain
	out, err *logs.Stream // err is nil where it is merged
	voice    *voice
	stdin    *stdin    // nil: it reads nothing of ours
	socket   string    // the group whose socket its process has; "": none
	terminal *terminal // nil: it has none
	hear     hearing
	checking chan struct{} // holds a token while a check by a command runs; nil: there was none
	spawning bool
	early    []proc.Fact // that came before the answer to the spawn
	ending   bool        // its process has ended, and what it has said isn't heard yet
	later    []proc.Fact // that came meanwhile
	end      uint64      // number of the guard's word on how process ended; 0: there is none
	signals  int         // signals and stop commands under way
	next     func()      // the spawn that waits for these
	gone     bool        // forgotten while something of it was under way
	words    lastWords
	from     *logs.Position // of its log, before the latest process; nil: not known
	peak     int64          // the most memory that we had when we made that, in bytes; 0: not known
	begun    *logs.Position // of its log, before our first process of it; nil: not known
}

// do carries out one effect.
func (d *Daemon) do(f engine.Effect) {
	switch f := f.(type) {
	case engine.Spawn:
		d.spawn(f)
	case engine.Kernel:
		d.signal(f)
	case engine.StopCommand:
		d.stopCommand(f)
	case engine.Watch:
		d.lookFor(f)
	case engine.Configure:
		d.unswept = true
		d.configure(f)
	case engine.Forget:
		d.unswept = true
		d.forget(f)
	default:
		panic(fmt.Sprintf("daemon: unknown effect %T", f))
	}
}

// spawned is the answer of a spawn that was carried out beside the loop.
type spawned struct {
	out, err *logs.Stream
	voice    *voice
	stdin    *stdin
	socket   string
	terminal *terminal
	speech   speech
	store    []stored // to be handed over
	process  *proc.Process
	begun    *logs.Position
	from     *logs.Position
	peak     int64
	failure  error
}

func (d *Daemon) spawn(f engine.Spawn) {
	n := d.instances[f.ID]
	if n == nil {
		n = &instance{id: f.ID}
		d.instances[f.ID] = n
	}
	n.name, n.tree, n.spec, n.gen, n.spawning = f.Name, treeName(f.Spec, f.Index), f.Spec, f.Gen, true
	if n.followed {
		n.followed = false
		d.keeper.Drop(keptProcess + n.tree)
	}
	m := d.memberOf(f.Spec)
	var heardAnew bool
	if n.voice, heardAnew = d.ears.voice(n.voice, m); heardAnew {
		d.redirect(n)
	}
	d.expect(n, f)
	have := spawned{out: n.out, err: n.err, voice: n.voice, terminal: d.terminalOf(n, f.Spec), speech: n.hear.speech, store: n.hear.copies()}
	logDir := d.place.logs
	n.next = func() {
		got := d.start(f, m, have, logDir)
		d.post(func() { d.onSpawned(n, f, got) })
	}
	d.startNext(n)
}

// startNext lets the spawn of an instance begin once no signal is under way: what
// was meant for the remains of one process would hit the next.
func (d *Daemon) startNext(n *instance) {
	if n.next != nil && n.signals == 0 {
		d.starts = append(d.starts, n.next)
		n.next = nil
	}
}

// signalled says that a signal or a stop command isn't under way any more.
func (d *Daemon) signalled(n *instance) {
	n.signals--
	d.startNext(n)
}

// start makes the pipes and the process of an attempt. It runs beside the loop.
func (d *Daemon) start(f engine.Spawn, m spec.Member, s spawned, logDir string) spawned {
	account, err := lookup(f.Spec)
	if err != nil {
		s.failure = err
		return s
	}
	out, errOut := destinations(f.Name, f.Spec, logDir, account)
	s.voice.taps(&out, errOut)
	s.speech.match.tap(&out, errOut)
	s.listenAnew(out, errOut)
	tree := treeName(f.Spec, f.Index)
	if out.Mode == logs.File {
		s.from = logEnd(s.out, out)
	}
	if s.out == nil {
		s.begun = s.from
		if s.out, s.failure = d.pipe(f.Name, keptOut+tree, out); s.failure != nil {
			return s
		}
	}
	if errOut != nil && s.err == nil {
		if s.err, s.failure = d.pipe(f.Name, keptErr+tree, *errOut); s.failure != nil {
			return s
		}
	}
	attempt := d.attempt(uint64(f.ID)<<32|uint64(uint32(f.Gen)), f.Index, f.Gen, f.Spec, account)
	attempt.Argv = f.Spec.Command.Args()
	attempt.Hold = true
	handedOver, err := d.handOver(attempt, f.Spec, account)
	if err != nil {
		s.failure = err
		return s
	}
	defer handedOver()
	lent, err := d.lend(f, &s.speech, s.store, attempt)
	defer lent()
	if err != nil {
		s.failure = err
		return s
	}
	in, err := d.input(m, tree)
	if err != nil {
		s.failure = err
		return s
	}
	s.stdin, s.socket, attempt.Stdin = in.stdin, in.socket, in.fd
	if s.terminal != nil {
		slave, err := d.openTerminal(s.terminal, account, s.out)
		if err != nil {
			s.failure = err
			return s
		}
		defer unix.Close(slave)
		attempt.Stdin, attempt.Terminal = slave, true
		attempt.Env = withTerm(attempt.Env)
	}
	s.voice.begin(in.stdin)
	attempt.Born = func(b proc.Birth) {
		s.voice.speaks(b.PID)
		s.peak = ownPeak()
		d.putBorn(tree, born{Gen: f.Gen, Identity: b.Identity, Cgroup: b.Cgroup, CPU: known(b.CPU), Peak: s.peak, Out: inodeOf(s.out), Err: inodeOf(s.err),
			Ready: inodeOfFD(s.speech.ready), Notify: s.speech.socket.nameOf()})
	}
	s.process, s.failure = d.run(attempt, s.out, s.err)
	if in.made {
		unix.Close(in.fd)
	}
	if s.failure != nil {
		s.voice.ended()
		d.releaseInput(tree, s.stdin, s.socket)
		s.stdin, s.socket = nil, ""
		if s.terminal != nil {
			d.closeLine(s.terminal)
		}
	}
	if _, ok := d.keeper.(fdStore); ok && s.failure == nil {
		// A manager isn't told how programs end whose parent it becomes, but the
		// kernel tells whoever holds a pidfd.
		d.keepProcess(tree, s.process)
	}
	return s
}

// settleTime bounds the wait for what an earlier process has written last.
const settleTime = 50 * time.Millisecond

// logEnd returns where the log of an instance ends, with what its stream, nil for
// none, still has of earlier processes; nil where that isn't known.
func logEnd(s *logs.Stream, o logs.Options) *logs.Position {
	if s != nil {
		ctx, cancel := context.WithTimeout(context.Background(), settleTime)
		s.Drain(ctx) // what is late is taken for the next one's
		cancel()
	}
	at, err := logs.Read(io.Discard, o.Path, o.Keep, 0)
	if err != nil {
		return nil
	}
	return &at
}

// listenAnew lets a matcher see what comes from now on by streams that were there
// before: what an earlier process has written last goes without it.
func (s *spawned) listenAnew(out logs.Options, errOut *logs.Options) {
	if s.speech.match == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), drainTime)
	defer cancel()
	for stream, o := range map[*logs.Stream]*logs.Options{s.out: &out, s.err: errOut} {
		if stream != nil && o != nil {
			stream.Drain(ctx) // a destination that fails has been told of
			stream.Configure(*o)
		}
	}
}

// spareFDs are descriptors that programs can't have: without some for clients and
// log files nobody could tell the daemon to stop one of them, and output would
// be lost.
const spareFDs = 16

// spare returns an error unless that many descriptors could be opened now. There
// is no cheaper way to know: the numbers in use have holes.
func spare() (err error) {
	var fds [spareFDs]int
	n := 0
	for ; n < len(fds) && err == nil; n++ {
		fds[n], err = unix.FcntlInt(0, unix.F_DUPFD_CLOEXEC, 3)
	}
	if err != nil {
		n--
	}
	for _, fd := range fds[:n] {
		unix.Close(fd)
	}
	return err
}

// inodeOf returns the number of a stream's pipe, 0 for none.
func inodeOf(s *logs.Stream) uint64 {
	if s == nil {
		return 0
	}
	return s.Inode()
}

// inodeOfFD returns the number of the pipe behind a descriptor, 0 for none.
func inodeOfFD(fd int) uint64 {
	var st unix.Stat_t
	if fd == 0 || unix.Fstat(fd, &st) != nil {
		return 0
	}
	return st.Ino
}

// pipe makes the pipe for the output of an instance, which it keeps over its
// restarts: only a first start is refused for want of descriptors. kept is the
// name under which it is kept beyond the daemon's death.
func (d *Daemon) pipe(name, kept string, o logs.Options) (*logs.Stream, error) {
	var s *logs.Stream
	err := spare()
	if err == nil {
		s, err = d.capture.Pipe(name, o)
	}
	for _, none := range []error{unix.EMFILE, unix.ENFILE} {
		if errors.Is(err, none) {
			return nil, &proc.SpawnError{Step: proc.StepStdio, Err: none} // which has a hint
		}
	}
	if err != nil {
		return nil, fmt.Errorf("cannot start: no pipe for the output: %w", err)
	}
	if fd, err := s.Writer(); err == nil {
		d.keep(kept, fd)
		unix.Close(fd)
	}
	return s, nil
}

// run spawns an attempt whose output goes to the given streams, or to the terminal
// that it has; errs is nil where standard error is merged.
func (d *Daemon) run(a *proc.Attempt, out, errs *logs.Stream) (*proc.Process, error) {
	if a.Terminal {
		a.Stdout, a.Stderr = a.Stdin, a.Stdin
		return d.host.Spawn(a)
	}
	stdout, err := out.Writer()
	if err != nil {
		return nil, fmt.Errorf("cannot start: %w", err)
	}
	defer unix.Close(stdout)
	a.Stdout, a.Stderr = stdout, stdout
	if errs != nil {
		stderr, err := errs.Writer()
		if err != nil {
			return nil, fmt.Errorf("cannot start: %w", err)
		}
		defer unix.Close(stderr)
		a.Stderr = stderr
	}
	return d.host.Spawn(a)
}

// attempt fills in all but the command and the descriptors.
func (d *Daemon) attempt(tag uint64, index int, gen uint64, p *spec.Program, account *proc.Account) *proc.Attempt {
	tree := treeName(p, index)
	env, mark := d.environ.of(tree, index, gen, p, account)
	a := &proc.Attempt{Tag: tag, Name: tree, Mark: mark, Env: env, Dir: p.Directory, Umask: -1, Stdin: -1, NoNewPrivs: p.NoNewPrivileges}
	if account != nil {
		a.Cred = &account.Cred
	}
	if p.Umask.Set {
		a.Umask = p.Umask.Value
	}
	if p.Nice.Set {
		a.Nice = &p.Nice.Value
	}
	if p.OOMScoreAdj.Set {
		a.OOMScoreAdj = &p.OOMScoreAdj.Value
	}
	for limit, value := range p.Limits {
		a.Limits = append(a.Limits, proc.Rlimit{Resource: proc.Limits[limit], Soft: value.Soft, Hard: value.Hard})
	}
	return a
}

// treeName names the processes of an instance, whatever name it is shown by:
// that changes when the number of instances does.
func treeName(p *spec.Program, index int) string { return treeOf(p.Name, index) }

func treeOf(program string, index int) string { return program + ":" + strconv.Itoa(index) }

// lookup returns the account that a program runs as, nil for the daemon's own.
func lookup(p *spec.Program) (*proc.Account, error) {
	if p.User == "" && p.Group == "" {
		return nil, nil
	}
	return proc.LookupUser(p.User, p.Group)
}

// destinations returns where the output of an instance goes; err is nil where
// standard error is merged.
func destinations(name string, p *spec.Program, logDir string, account *proc.Account) (out logs.Options, err *logs.Options) {
	out = logs.Options{MaxSize: p.Log.MaxSize, Keep: p.Log.Keep, Rate: p.Log.RateLimit, UID: -1, GID: -1}
	if account != nil {
		out.UID, out.GID = int(account.Cred.UID), int(account.Cred.GID)
	}
	out.Recipe = recipe(name, p, "stdout")
	switch p.Log.Compress {
	case spec.CompressGzip:
		out.Compress = logs.Gzip
	case spec.CompressZstd:
		out.Compress = logs.Zstd
	}
	if p.Log.Stderr != "" {
		e := out
		e.Also = nil
		e.Recipe = recipe(name, p, "stderr")
		if size := p.Log.StderrMaxSize; size.Set {
			e.MaxSize = int64(size.Value)
		}
		if keep := p.Log.StderrKeep; keep.Set {
			e.Keep = keep.Value
		}
		file := p.Log.Stderr
		if file == spec.Separate {
			file = filepath.Join(logDir, spec.FileName(name)+".err.log")
		}
		direct(&e, p, name, file, "stderr")
		err = &e
	}
	file := p.Log.File
	if file == "" {
		file = filepath.Join(logDir, spec.FileName(name)+".log")
	}
	direct(&out, p, name, file, "stdout")
	return out, err
}

// recipe returns what is made of the output of an instance, nil for nothing.
func recipe(name string, p *spec.Program, stream string) *logs.Recipe {
	r := &logs.Recipe{JSON: p.Log.Format == spec.LogJSON, Timestamp: p.Log.Timestamp, StripANSI: p.Log.StripANSI, MaxLine: int(p.Log.MaxLine), Terminal: p.PTY}
	if *r == (logs.Recipe{}) {
		return nil
	}
	if r.JSON {
		r.Source = source(name, p, stream)
	}
	return r
}

// source returns who writes a stream.
func source(name string, p *spec.Program, stream string) logs.Source {
	instance := 0
	if i := strings.LastIndexByte(name, ':'); i >= 0 && p.Member.Group == "" {
		instance, _ = strconv.Atoi(name[i+1:])
	}
	return logs.Source{Program: p.Name, Instance: instance, Name: name, Stream: stream}
}

// direct sends the output of o to a file as the configuration names it, and
// wherever else it is to go.
func direct(o *logs.Options, p *spec.Program, name, file, stream string) {
	inherit, standard := logs.Inherit, logs.Target{Kind: logs.Stdout}
	if stream == "stderr" {
		inherit, standard = logs.InheritError, logs.Target{Kind: logs.Stderr}
	}
	targets := map[string]logs.Target{
		spec.Inherit: standard,
		spec.Syslog:  {Kind: logs.Syslog, Address: p.Log.Syslog},
		spec.Journal: {Kind: logs.Journal, Address: p.Log.Journal},
	}
	var words []string
	switch file {
	case spec.Inherit:
		o.Mode = inherit
	case spec.None:
		o.Mode = logs.None
	case spec.Syslog, spec.Journal:
		o.Mode = logs.None
		words = append(words, file)
	default:
		o.Mode, o.Path = logs.File, file
		if strings.HasPrefix(file, "/dev/") || strings.HasPrefix(file, "/proc/") {
			o.MaxSize = 0 // it may lead to a regular file, but isn't ours to rename
		}
	}
	for _, word := range p.Log.Also {
		if word != file && !slices.Contains(words, word) {
			words = append(words, word)
		}
	}
	for _, word := range words {
		o.Also = append(o.Also, targets[word])
	}
	if len(o.Also) > 0 {
		o.Source = source(name, p, stream)
	}
}

func (d *Daemon) onSpawned(n *instance, f engine.Spawn, got spawned) {
	n.spawning = false
	d.unswept = d.unswept || len(f.Spec.Listen) > 0 // nobody may want it any more
	n.from, n.peak = got.from, got.peak
	n.out, n.err, n.process, n.stdin, n.socket, n.hear.speech = got.out, got.err, got.process, got.stdin, got.socket, got.speech
	if got.begun != nil {
		n.begun = got.begun
	}
	if n.name != f.Name || n.spec != f.Spec {
		d.redirect(n) // it was renamed or changed meanwhile
	}
	if got.failure != nil {
		d.endReady(n)
		d.step(engine.Fact{ID: n.id, Event: unit.SpawnFailed{Gen: f.Gen, Err: failure(got.failure)}})
	} else {
		d.step(engine.Fact{ID: n.id, Event: unit.Spawned{Gen: f.Gen, PID: got.process.Pid()}})
	}
	early, later := n.early, n.hear.later
	n.early, n.hear.later = nil, nil
	for _, f := range later {
		f()
	}
	for _, fact := range early {
		d.onFact(fact)
	}
	if n.gone {
		d.release(n)
	}
}

// failure words why a start failed, with what to do about it.
func failure(err error) string {
	s := err.Error()
	if !strings.HasPrefix(s, "cannot start") {
		s = "cannot start: " + s
	}
	if h, ok := err.(interface{ Hint() string }); ok && h.Hint() != "" {
		s += " (" + h.Hint() + ")"
	}
	return s
}

// aside marks the tags of processes that aren't an instance's leader.
const aside = 1 << 63

// onProc takes a fact of proc's into the loop.
func (d *Daemon) onProc(f proc.Fact) {
	if tag := tagOfFact(f); tag&aside != 0 {
		d.asides.take(tag, f) // which ignores stop commands
		return
	}
	d.post(func() { d.onFact(f) })
}

func tagOfFact(f proc.Fact) uint64 {
	switch f := f.(type) {
	case proc.Ended:
		return f.Tag
	case proc.Emptied:
		return f.Tag
	}
	panic(fmt.Sprintf("daemon: unknown fact %T", f))
}

func (d *Daemon) onFact(f proc.Fact) { d.take(f, false) }

// take tells the engine of a fact. What an ended process has said is heard first,
// where somebody listens; heard is set when it was.
func (d *Daemon) take(f proc.Fact, heard bool) {
	tag := tagOfFact(f)
	n := d.instances[engine.ID(tag>>32)]
	if n == nil || uint32(n.gen) != uint32(tag) {
		return
	}
	if n.spawning {
		n.early = append(n.early, f)
		return
	}
	if n.ending && !heard {
		n.later = append(n.later, f)
		return
	}
	var ev unit.Event
	switch f := f.(type) {
	case proc.Ended:
		if !heard && d.hearOut(n, func() {
			n.ending = false
			d.take(f, true)
			later := n.later
			n.later = nil
			for _, f := range later {
				d.take(f, false)
			}
		}) {
			n.ending = true
			return
		}
		d.hearRest(n)
		if f.Pid != n.process.Pid() {
			return // another one has taken its place meanwhile
		}
		n.voice.ended()
		d.releaseInput(n.tree, n.stdin, n.socket)
		n.stdin, n.socket = nil, ""
		if n.terminal != nil && !f.Left {
			d.closeLine(n.terminal)
		}
		ev = unit.Ended{Used: used(f, n.peak), Gen: n.gen, Code: f.Status.Code, Signal: spec.Signal(f.Status.Signal), Core: f.Status.CoreDump, Unknown: f.Unknown, Left: f.Left}
		d.reaps = append(d.reaps, n.process)
		if n.end != 0 {
			d.taken = append(d.taken, n.end)
			n.end = 0
		}
	case proc.Emptied:
		if n.terminal != nil {
			d.closeLine(n.terminal) // which those that were left may have had
		}
		ev = unit.Emptied{Gen: n.gen}
	}
	d.step(engine.Fact{ID: n.id, Event: ev})
}

// signal carries out a signal to the processes of an instance, beside the loop
// but in the order given: finding a whole tree may take long.
func (d *Daemon) signal(f engine.Kernel) {
	n := d.instances[f.ID]
	if n == nil || n.process == nil {
		return
	}
	p, name := n.process, n.name
	n.signals++
	d.kernel.put(func() {
		var err error
		switch a := f.Action.(type) {
		case unit.Signal:
			if a.Group {
				err = p.SignalGroup(syscall.Signal(a.Sig))
			} else {
				err = p.Signal(syscall.Signal(a.Sig))
			}
		case unit.Sweep:
			err = p.SignalTree(syscall.Signal(a.Sig))
		case unit.Kill:
			switch a.Scope {
			case spec.KillMain:
				err = p.Signal(syscall.SIGKILL)
			case spec.KillGroup:
				err = p.SignalGroup(syscall.SIGKILL)
			default:
				err = p.KillTree()
			}
		case unit.Leave:
			p.Leave()
		default:
			panic(fmt.Sprintf("daemon: unknown action %T", a))
		}
		d.post(func() {
			if err != nil && err != os.ErrProcessDone {
				d.trouble(n, name, err.Error())
			}
			d.signalled(n)
		})
	})
}

// trouble tells of something about an instance that its state doesn't show.
func (d *Daemon) trouble(n *instance, name, message string) {
	d.tell(event.Event{Kind: event.Warning, Program: n.spec.Name, Name: name, Message: message})
}

// stopCommand runs an instance's stop command as part of its tree. Where that
// can't be done the stop signal is sent: better than waiting for the kill.
func (d *Daemon) stopCommand(f engine.StopCommand) {
	n := d.instances[f.ID]
	if n == nil || n.process == nil {
		return
	}
	out, errs, leader := n.out, n.err, n.process
	n.signals++
	d.spawns.put(func() {
		account, err := lookup(f.Spec)
		if err == nil {
			a := d.attempt(aside|uint64(f.ID)<<32|uint64(uint32(f.Gen)), f.Index, f.Gen, f.Spec, account)
			a.Argv = f.Spec.StopCommand.Args()
			a.Env = append(slices.Clip(a.Env), "TEND_PID="+strconv.Itoa(f.PID))
			_, err = d.run(a, out, errs)
		}
		if err != nil {
			leader.SignalGroup(syscall.Signal(f.Spec.StopSignal))
		}
		d.post(func() {
			if err != nil {
				d.trouble(n, f.Name, "the stop command failed, sent "+f.Spec.StopSignal.String()+" instead: "+failure(err))
			}
			d.signalled(n)
		})
	})
}

// configure gives an instance another name or other live values.
func (d *Daemon) configure(f engine.Configure) {
	n := d.instances[f.ID]
	if n == nil {
		return // never started: everything is taken from the spec when it is
	}
	n.name, n.spec = f.Name, f.Spec
	n.voice, _ = d.ears.voice(n.voice, d.memberOf(f.Spec))
	if !n.spawning {
		d.redirect(n)
	}
}

// redirect brings the streams of an instance in line with its spec. A stderr
// that gets or loses a file of its own keeps its pipe until the next start.
func (d *Daemon) redirect(n *instance) {
	if n.out == nil {
		return
	}
	out, errOut := destinations(n.name, n.spec, d.place.logs, nil)
	n.voice.taps(&out, errOut)
	n.hear.match.tap(&out, errOut)
	err := n.out.Configure(out)
	if err == nil && n.err != nil {
		if errOut == nil {
			merged := out
			merged.Tap = nil // which is for one stream
			errOut = &merged
		}
		err = n.err.Configure(*errOut)
	}
	if err != nil {
		d.trouble(n, n.name, "cannot change where its output goes: "+err.Error())
	}
}

// forget drops an instance that is gone for good.
func (d *Daemon) forget(f engine.Forget) {
	n := d.instances[f.ID]
	if n == nil {
		return
	}
	n.gone = true
	if !n.spawning {
		d.release(n)
	}
}

func (d *Daemon) release(n *instance) {
	delete(d.instances, n.id)
	d.unseat(n, "is no program any more")
	d.releaseInput(n.tree, n.stdin, n.socket)
	d.hush(n)
	tree, host, cgroup, checking := n.tree, d.host, n.cgroup, n.checking
	streams := []*logs.Stream{n.out, n.err}
	d.kernel.put(func() { // after the signals to it
		for _, s := range streams {
			if s != nil {
				ctx, cancel := context.WithTimeout(context.Background(), drainTime)
				s.Drain(ctx) // a destination that fails has been told of
				cancel()
				s.Close()
			}
		}
		for _, kept := range []string{keptOut, keptErr, keptProcess} {
			d.keeper.Drop(kept + tree)
		}
		host.Forget(tree)
		d.forgetCheck(tree, checking)
		host.RemoveTree(cgroup)
	})
}

// environ makes the environments of programs.
type environ struct {
	base []string // the daemon's, without what belongs to a supervised program
	mark string   // the name and beginning of the mark
}

// markName is the variable by which the descendants of a program are known even
// when they have left its session. Its value names the daemon and the instance.
const markName = "TEND_MARK"

func newEnviron(env []string, hash string) environ {
	base := make([]string, 0, len(env))
	for _, kv := range env {
		name, _, _ := strings.Cut(kv, "=")
		switch name {
		case "TEND_PROGRAM", "TEND_INSTANCE", "NOTIFY_SOCKET", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "WATCHDOG_USEC", "WATCHDOG_PID", "FDSTORE", markName:
		default:
			base = append(base, kv)
		}
	}
	return environ{base: base, mark: markName + "=" + hash + "/"}
}

// markOf returns the entry that marks an attempt of an instance.
func (e environ) markOf(tree string, gen uint64) string {
	return e.mark + tree + "/" + strconv.FormatUint(gen, 10)
}

// of returns the environment of an instance, and the entry of it that marks it.
func (e environ) of(tree string, index int, gen uint64, p *spec.Program, account *proc.Account) (env []string, mark string) {
	set := make(map[string]string, len(p.Env)+10)
	if m := p.Member; m.Group != "" {
		set["SUPERVISOR_ENABLED"], set["SUPERVISOR_GROUP_NAME"], set["SUPERVISOR_PROCESS_NAME"] = "1", m.Group, m.Process
		if m.ServerURL != "" {
			set["SUPERVISOR_SERVER_URL"] = m.ServerURL
		}
	}
	if account != nil && p.User != "" && p.UserEnv {
		set["HOME"], set["USER"], set["LOGNAME"] = account.Home, account.Name, account.Name
		if account.Shell != "" {
			set["SHELL"] = account.Shell
		}
	}
	for k, v := range p.Env {
		set[k] = v
	}
	set["TEND_PROGRAM"], set["TEND_INSTANCE"] = p.Name, strconv.Itoa(index)
	mark = e.markOf(tree, gen)
	env = make([]string, 0, len(e.base)+len(set)+1)
	for _, kv := range e.base {
		k, _, _ := strings.Cut(kv, "=")
		if _, replaced := set[k]; !replaced {
			env = append(env, kv)
		}
	}
	for k, v := range set {
		env = append(env, k+"="+v)
	}
	return append(env, mark), mark
}

// withTerm returns an environment that says which terminal there is.
func withTerm(env []string) []string {
	if slices.ContainsFunc(env, func(kv string) bool { return strings.HasPrefix(kv, "TERM=") }) {
		return env
	}
	return append(slices.Clip(env), "TERM=xterm-256color")
}

// drainTime bounds the wait for the last output of an instance that goes.
const drainTime = 2 * time.Second

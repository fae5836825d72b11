// Package daemon is the one loop that owns the engine: it carries effects out,
// feeds facts back, and answers those who ask.
//
// Everything that changes the engine passes through the inbox and is handled by
// one goroutine, so that no state needs a lock. What may block (a spawn, the
// loading of files, a log that goes to a terminal) happens beside the loop and
// comes back as a message. Decisions belong into unit and engine; here is only
// what the outside world makes necessary.
package daemon

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"tend/api"
	"tend/internal/conf"
	"tend/internal/engine"
	"tend/internal/event"
	"tend/internal/fault"
	"tend/internal/guard"
	"tend/internal/health"
	"tend/internal/history"
	"tend/internal/ledger"
	"tend/internal/listen"
	"tend/internal/logs"
	"tend/internal/metrics"
	"tend/internal/notify"
	"tend/internal/proc"
	"tend/internal/server"
	"tend/internal/spec"
	"tend/internal/supervisord"
	"tend/internal/unit"
	"tend/internal/usage"
)

// Options say what to run.
type Options struct {
	Config  string   // file or folder; "" is searched for
	Command []string // guard this one command, without any file
	State   string   // folder; "" is what the configuration says, or the default place
	Version string

	// Supervisord is set where we were started by that name: then the pid file is
	// written, what we say goes to the main log only, and QUIT stops everything.
	Supervisord bool
	Override    map[string]string // options of [supervisord], over those of the file

	// Ready, when it isn't nil, is told "ready" once the socket answers, or why
	// that can't be, and closed.
	Ready *os.File

	Stdout, Stderr *os.File
}

// calm is how long after a configuration was applied the memory that this took
// is given back to the system.
const calm = 3 * time.Second

// eventsKept is the length of the event log. A thousand programs that come up
// together are three thousand events; whoever follows has them as they come.
const eventsKept = 2048

// A Daemon guards the programs of one state folder.
type Daemon struct {
	opts    Options
	pid     int
	started time.Time
	loader  *conf.Loader
	config  string // path given to the loader; "": a command
	place   place
	lock    *lock
	pidFile string // that was written; "": none
	ledger  *ledger.Ledger
	history *history.Store
	life    string // of the ledger: what it counts, it counts from its beginning

	// Who keeps what would die with us, and what was kept for us. See begin.
	keeper     keeper
	guard      *guard.Client // nil: none
	guarded    bool
	guardPID   int            // 0: none
	kept       map[string]int // descriptors by name, until somebody takes them
	ends       []guard.End    // of programs while no daemon lived
	died       string         // how the daemon before us ended; "" for the first
	upgraded   string         // the version that has executed us in its place; "": none
	lastEvent  uint64         // of that one
	heldEvents []event.Event

	unsaved     bool // the ledger has something to commit
	savedEvents uint64
	ledgerErr   error
	keepFailed  bool
	reaps       []*proc.Process // that may be reaped when this turn is put aside
	taken       []uint64        // the guard's words that are, then

	engine  *engine.Engine
	events  *event.Log
	news    *server.News
	host    *proc.Host
	capture *logs.Capture
	usage   *usage.Sampler // nil: there is no /proc
	metrics *metrics.Set
	server  *server.Server
	remote  *remote // nil: not on a network
	wire    *wire   // nil: not a configuration of supervisord's
	ears    *ears   // nil: the same
	say     *sayer
	main    *mainLog // supervisord's log; nil: none

	inbox  inbox
	tidy   *time.Timer // gives memory back after a load
	timer  *time.Timer
	wake   time.Time // when the engine wants a tick
	armed  time.Time // what the timer is set for; zero: not set
	exit   *int      // the status to end with, once known
	leave  bool      // end at once and leave the programs running
	again  bool      // begin anew when everything is stopped
	over   bool      // the loop has ended
	asked  bool      // a stop signal has come
	cmds   map[uint64]chan<- engine.Answer
	cmdSeq uint64

	instances  map[engine.ID]*instance
	seated     []*instance // that have a terminal
	spawns     queue       // what may take long: lookups, pipes, forks
	notices    []string    // to be told when there is somebody to tell
	past       remembered
	upgrading  bool
	upgradeErr string // why the latest one failed
	keptAgain  bool   // an earlier daemon of the same guard was here
	listener   *net.UnixListener

	// The sockets that programs listen on, and who is looked at for their sake.
	listening   *listen.Table
	unswept     bool               // some may not be wanted any more
	demanded    map[engine.ID]bool // wait for a connection
	idlers      map[engine.ID]*idler
	idleTimer   *time.Timer // nil: never needed
	countFailed bool

	asides  asides
	hooks   hooks
	watched fileWatch
	prober  *health.Prober
	notes   *notify.Receiver  // what programs say
	storing int               // descriptors of programs
	heard   []*notify.Message // that may be let go of when this turn is put aside

	starts  []func() // for spawns, when this turn of the loop is over
	kernel  queue    // signals, in the order given
	sockets sockets
	words   queue             // the last ones of programs, to be read
	scaled  map[string]scaled // by program
	environ environ

	files       *conf.Result // what the wanted set was made of
	reloads     reloads
	watcher     *watcher
	stamps      []string // of the files when they were first read
	pending     bool     // files hold changes that aren't applied
	rejection   string   // the latest refusal, word by word
	watchFailed bool     // and that was said
}

// Run guards the programs until a signal or a command ends it, and returns the
// daemon's exit status.
func Run(opts Options) int {
	d := &Daemon{
		opts: opts, pid: os.Getpid(), started: time.Now(), loader: new(conf.Loader), config: opts.Config,
		keeper: nobody{}, prober: health.New(), cmds: make(map[uint64]chan<- engine.Answer),
		instances: make(map[engine.ID]*instance),
		demanded:  make(map[engine.ID]bool), idlers: make(map[engine.ID]*idler),
		spawns: queue{limit: 4}, kernel: queue{limit: 1}, words: queue{limit: 1}, watched: fileWatch{scans: queue{limit: 1}},
	}
	d.inbox.wake = make(chan struct{}, 1)
	d.hurry()

	signals := make(chan os.Signal, 16)
	signal.Notify(signals, syscall.SIGHUP, syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGTERM, syscall.SIGINT, syscall.SIGQUIT)
	signal.Ignore(syscall.SIGPIPE)
	defer signal.Stop(signals)

	set, err := d.open()
	if err != nil {
		d.close()
		d.ready(err)
		if opts.Supervisord {
			fmt.Fprintln(opts.Stderr, "Error: "+err.Error())
			return 2
		}
		fmt.Fprintln(opts.Stderr, "tend: "+err.Error())
		var hint interface{ Hint() string }
		if errors.As(err, &hint) && hint.Hint() != "" {
			fmt.Fprintln(opts.Stderr, "hint: "+hint.Hint())
		}
		return 1
	}
	d.begun(set)
	d.wire.serve()
	d.watch()
	d.ready(nil)
	d.loop(signals)
	d.tidy.Stop()
	return d.end()
}

// begun says who we are, and makes set the wanted world.
func (d *Daemon) begun(set *spec.Set) {
	switch {
	case d.upgraded != "":
		d.tell(event.Event{Kind: event.DaemonStarted, PID: d.pid, Message: fmt.Sprintf("tend %s goes on where %s was, %s", d.opts.Version, d.upgraded, d.summary(set))})
	case d.died != "":
		d.tell(event.Event{Kind: event.DaemonStarted, PID: d.pid, Message: fmt.Sprintf("tend %s started again: the daemon before it died (%s)", d.opts.Version, d.died)})
	default:
		if !d.opts.Supervisord {
			fmt.Fprintf(d.opts.Stdout, "pid %d\n", d.mainPID())
		}
		d.tell(event.Event{Kind: event.DaemonStarted, PID: d.pid, Message: fmt.Sprintf("tend %s started, %s", d.opts.Version, d.summary(set))})
	}
	for _, text := range d.notices {
		d.warnf("%s", text)
	}
	d.notices = nil
	d.scaled = d.past.scaled
	d.restore(d.past, set)
	d.past = remembered{}
	set = d.scale(set)
	if d.files != nil && d.files.OK() {
		d.warn(d.files)
	}
	d.applyFirst(set)
	if d.died == "" && d.upgraded == "" {
		d.ears.publish(supervisord.DaemonEvent(true))
	}
}

// applyFirst brings the wanted world by the files about, where it isn't that
// already: over one that an earlier daemon has left it is a reload.
func (d *Daemon) applyFirst(set *spec.Set) {
	was := d.engine.Set()
	goesOn := d.wire != nil && len(was.Programs) > 0 && (d.died != "" || d.upgraded != "")
	if goesOn {
		d.wire.restored(was)
	}
	switch diff := engine.Diff(was, set); {
	case d.engine.Stopping():
		return // what was begun is brought to its end
	case d.files != nil && !d.files.OK():
		d.reject(reloadRequest{why: byWatch}, d.files)
	case goesOn:
		// Changes are applied by hand here, and whoever dies hasn't been told to.
		d.pending = len(diff.Items) > 0
	case len(was.Programs) == 0:
		d.step(engine.Desired{Set: set})
	case diff.Empties && d.keptAgain:
		d.refuseEmpty(reloadRequest{why: byWatch}, d.files)
	case len(diff.Items) > 0 || was.Daemon != set.Daemon:
		files := d.files
		if files == nil { // a command, and it is another one
			files = new(conf.Result)
		}
		plan := planView(diff, files)
		plan.Applied = true
		d.tell(event.Event{Kind: event.ConfigApplied, Message: "changed while no daemon lived; " + planWords(plan), Detail: plan})
		d.step(engine.Desired{Set: set})
	}
}

// mainPID returns the pid that people know us by: the guard's, or ours.
func (d *Daemon) mainPID() int {
	if d.guarded {
		return d.guardPID
	}
	return d.pid
}

// warnf tells of something about tend itself.
func (d *Daemon) warnf(format string, args ...any) {
	d.tell(event.Event{Kind: event.DaemonWarning, Message: fmt.Sprintf(format, args...)})
}

// hurry lets garbage lie while a configuration is loaded and applied: people and
// a thousand programs wait. Soon after that everything is collected and given
// back, and little is allowed to gather, since what a supervisor costs is what
// it costs when nothing happens.
func (d *Daemon) hurry() {
	ownGOGC := os.Getenv("GOGC") != ""
	if !ownGOGC {
		debug.SetGCPercent(400)
	}
	if d.tidy != nil {
		d.tidy.Reset(calm)
		return
	}
	d.tidy = time.AfterFunc(calm, func() {
		if !ownGOGC {
			debug.SetGCPercent(50)
		}
		debug.FreeOSMemory()
		guard.Trim()
	})
}

// open takes everything the daemon needs, so that nothing is started when
// something is missing. It returns the wanted world.
func (d *Daemon) open() (*spec.Set, error) {
	d.say = newSayer(d.opts.Stderr)
	if err := d.begin(); err != nil {
		return nil, err
	}
	again := d.keptState() // of the daemon before us
	d.keptAgain = again != ""
	set, unusable := d.firstSet()
	if unusable != nil && !d.keptAgain && d.files == nil {
		return nil, unusable // there are no files at all
	}
	var settings spec.Daemon
	if unusable == nil {
		settings = set.Daemon
	}
	var err error
	if d.place, err = findPlace(d.opts, settings, again); err != nil {
		return nil, err
	}
	if err := d.openLedger(); err != nil {
		return nil, err
	}
	if unusable != nil {
		// The last good world stands, if somebody lives in it.
		if !d.past.lives() && !d.keptAgain {
			return nil, unusable
		}
		if set = d.past.set(); set == nil {
			return nil, unusable
		}
		d.opts.Config = d.config
		if d.place, err = findPlace(d.opts, set.Daemon, d.place.state); err != nil {
			return nil, err
		}
		if d.files == nil && d.config != "" {
			d.files = d.load() // which says what is wrong, and what to watch
		}
	}
	d.metrics = metrics.New(d.opts.Version, d.figures)
	d.inbox.lag = d.metrics.Lag
	d.events = event.NewLog(eventsKept, max(d.lastEvent, d.past.events), d.heldEvents...)
	d.news = server.NewNews(control{d}, d.events)
	d.heldEvents = nil
	d.savedEvents = d.events.Last()
	d.say.configure(set.Daemon)
	d.environ = newEnviron(os.Environ(), d.place.hash())
	stages := &logs.Stages{Journal: filepath.Join(d.place.state, "stages"), Kept: d.keptStages(),
		Keep: func(number, fd int) error { d.keep(keptStage+strconv.Itoa(number), fd); return nil }}
	if d.capture, err = logs.Open(logs.Config{Notice: d.onLogNotice, Stdout: d.opts.Stdout, Stderr: d.opts.Stderr, Stages: stages, Times: d.place.times()}); err != nil {
		return nil, err
	}
	d.capture.Bound(set.Daemon.LogMaxTotal, d.place.logs)
	if err = d.openNotes(); err != nil {
		return nil, err
	}
	if d.host, err = proc.Open(d.hostConfig()); err != nil {
		return nil, err
	}
	d.usage, _ = usage.New() // without a /proc nothing is measured
	d.openListening()
	d.openHooks()
	d.engine = engine.New(outside) // until restore
	if err := d.openWire(); err != nil {
		return nil, err
	}
	l := d.keptListener()
	if l == nil {
		if l, err = d.listen(set.Daemon); err != nil {
			return nil, err
		}
	}
	d.serve(l)
	if d.remote, err = d.openRemote(set.Daemon); err != nil {
		if d.died == "" && d.upgraded == "" {
			return nil, err
		}
		d.notices = append(d.notices, err.Error()) // programs were guarded without a network, too
	}
	// Who waits for a daemon to come back looks at the socket's file.
	now := time.Now()
	os.Chtimes(d.place.socket(), now, now)
	return set, nil
}

// firstSet returns the wanted world by the files, or why they are not usable.
func (d *Daemon) firstSet() (*spec.Set, error) {
	if len(d.opts.Command) > 0 {
		dir, err := os.Getwd()
		if err != nil {
			return nil, err
		}
		return conf.Command(d.opts.Command, dir), nil
	}
	path, err := Find(d.config)
	if err != nil {
		return nil, err
	}
	d.config, d.opts.Config = path, path
	d.files = d.load()
	if !d.files.OK() {
		return nil, rejected(d.files)
	}
	d.stamps = stamps(d.files.Files)
	return d.files.Set, nil
}

// openLedger takes the lock on the state folder, and reads what an earlier
// daemon on it has put aside.
func (d *Daemon) openLedger() error {
	name := keptLock + d.place.state
	fd := d.takeKept(name)
	if fd >= 0 {
		d.lock = &lock{file: os.NewFile(uintptr(fd), "lock"), state: d.place.state}
	} else {
		l, err := takeLock(d.place.state)
		if err != nil {
			return err
		}
		d.lock = l
		d.keep(name, int(l.file.Fd()))
	}
	if err := d.lock.write(d.mainPID(), d.pid, d.guarded); err != nil {
		d.notices = append(d.notices, err.Error()) // they are for people; the lock is what counts
	}
	l, values, notice, err := ledger.Open(filepath.Join(d.place.state, "ledger"))
	if err != nil {
		return hinted{err, "see who owns the state folder, or name another one with --state"}
	}
	d.ledger, d.past = l, remember(values, time.Now())
	for _, text := range []string{notice, d.past.notice} {
		if text != "" {
			d.notices = append(d.notices, text)
			d.past.whole = d.past.whole && text != notice
		}
	}
	d.openHistory()
	if len(d.opts.Command) == 0 && d.config == "" {
		d.config = d.past.meta.Config
	}
	return nil
}

// listen makes the control socket, and gives it to the keeper: who connects
// while no daemon lives waits for the next one.
func (d *Daemon) listen(settings spec.Daemon) (*net.UnixListener, error) {
	mode := os.FileMode(0o600)
	if settings.SocketMode != 0 {
		mode = os.FileMode(settings.SocketMode)
	}
	l, err := server.ListenUnix(d.place.socket(), mode, settings.SocketGroup)
	if err != nil {
		return nil, err
	}
	// Not by File: that makes the socket a blocking one, whose Accept nobody ends.
	if raw, err := l.SyscallConn(); err == nil {
		raw.Control(func(fd uintptr) { d.keep(keptListener, int(fd)) })
	}
	return l, nil
}

// serve begins to answer on l.
func (d *Daemon) serve(l *net.UnixListener) {
	d.server = server.New(server.Config{Control: control{d}, Events: d.events, News: d.news, Metrics: d.metrics.Handler(), Socket: d.place.socket()})
	d.listener = l
	l.SetUnlinkOnClose(false)
	go d.server.Serve(l)
}

// hostConfig takes the best that the kernel offers. The tests reach the ways of
// lesser kernels by naming in TEND_TEST_WITHOUT what is to be done without.
func (d *Daemon) hostConfig() proc.Config {
	without := strings.Split(os.Getenv("TEND_TEST_WITHOUT"), ",")
	return proc.Config{
		Report:       d.onProc,
		CgroupName:   "tend-" + d.place.hash(),
		Cgroup:       !slices.Contains(without, "cgroup"),
		NoCgroupKill: slices.Contains(without, "cgroup.kill"),
		NoClone3:     slices.Contains(without, "clone3"),
		NoSubreaper:  slices.Contains(without, "subreaper"),
		NoPidfs:      slices.Contains(without, "pidfs"),
		NoExitInfo:   slices.Contains(without, "exitinfo"),
		Guard:        d.guardPID,
	}
}

// loop handles signals, messages and the timer until the end.
func (d *Daemon) loop(signals <-chan os.Signal) {
	d.timer = time.NewTimer(time.Hour)
	d.timer.Stop()
	for d.exit == nil && !d.leave {
		d.arm()
		d.sweepListening()
		d.commit()
		d.thank()
		d.say.flush()
		d.main.flush()
		d.watchFiles()
		d.launch()
		d.settle()
		select {
		case s := <-signals:
			d.onSignal(s)
		case <-d.inbox.wake:
			d.inbox.answer()
			for _, f := range d.inbox.take() {
				f()
				d.inbox.answer()
			}
		case <-d.timer.C:
			d.armed = time.Time{}
			d.step(engine.Tick{})
		}
	}
}

// launch begins the spawns of this turn. They come last: the scheduler runs the
// youngest goroutine first, and nothing should run before a restart.
func (d *Daemon) launch() {
	for _, start := range d.starts {
		d.spawns.put(start)
	}
	clear(d.starts)
	d.starts = d.starts[:0]
}

// settle lets the kernel and the guard forget what is put aside now.
func (d *Daemon) settle() {
	if len(d.reaps)+len(d.taken) == 0 {
		return
	}
	if d.unsaved { // it isn't: the ledger can't be written. The next daemon shall know
		return
	}
	fault.Point("daemon.settling")
	for _, p := range d.reaps {
		p.Reap()
		d.inbox.answer()
	}
	clear(d.reaps)
	d.reaps = d.reaps[:0]
	if taken := d.taken; len(taken) > 0 {
		d.taken = nil
		if d.guard != nil {
			d.kernel.put(func() {
				for _, no := range taken {
					d.guard.Taken(no)
				}
			})
		}
	}
}

// arm sets the one timer to the time at which the engine wants to be woken.
func (d *Daemon) arm() {
	wake := d.wake
	switch {
	case wake.IsZero():
		if !d.armed.IsZero() {
			d.timer.Stop()
		}
	case !wake.Equal(d.armed):
		d.timer.Reset(time.Until(wake))
	}
	d.armed = wake
}

func (d *Daemon) onSignal(s os.Signal) {
	switch s {
	case syscall.SIGHUP, syscall.SIGUSR1:
		if d.wire != nil && s == syscall.SIGHUP {
			if d.engine.Stopping() {
				d.main.say("WARN", "ignored SIGHUP indicating restart request (shutdown in progress)")
				break
			}
			d.main.say("WARN", "received SIGHUP indicating restart request")
			d.wire.restart()
			break
		}
		d.reload(reloadRequest{why: bySignal})
	case syscall.SIGUSR2:
		d.main.say("INFO", "received SIGUSR2 indicating log reopen request")
		d.main.reopen()
		if err := d.capture.Reopen(); err != nil {
			d.tell(event.Event{Kind: event.LogTrouble, Message: "cannot reopen the log files: " + err.Error()})
			break
		}
		d.tell(event.Event{Kind: event.LogReopened, Message: "log files reopened"})
	default: // TERM, INT, QUIT
		if s == syscall.SIGQUIT && !d.opts.Supervisord {
			d.leave = true
			break
		}
		d.main.say("WARN", "received "+unix.SignalName(s.(syscall.Signal))+" indicating exit request")
		d.setAgain(false)
		d.step(engine.Shutdown{Now: d.asked})
		d.asked = true
	}
}

// step tells the engine one input and carries out what comes of it.
func (d *Daemon) step(in engine.Input) {
	stopping := d.engine.Stopping()
	out := d.engine.Step(time.Now(), in)
	if _, ok := in.(engine.Desired); ok {
		d.ears.sync(d.engine.Set())
	}
	if d.engine.Stopping() && !stopping {
		d.ears.publish(supervisord.DaemonEvent(false))
	}
	d.wake = out.Wake
	switch in.(type) {
	case engine.Desired, engine.Act, engine.Shutdown:
		d.unswept = true
	}
	d.openAwaited(out.Do)
	d.put(out.Save)
	d.tell(out.Say...)
	if len(out.Do)+len(out.Answer) > 0 {
		d.commit() // the worst after a crash is what is known too early, never what is forgotten
		fault.Point("daemon.saved")
	}
	for _, r := range out.Ended {
		d.record(r)
	}
	for _, f := range out.Do {
		d.do(f)
	}
	for _, a := range out.Answer {
		if c := d.cmds[a.Cmd]; c != nil {
			delete(d.cmds, a.Cmd)
			c <- a
		}
	}
	d.dropOfResting(out.Say)
	if out.Exit != nil {
		d.exit = out.Exit
	}
}

// tell appends events to the log, and writes them to the daemon's own.
func (d *Daemon) tell(events ...event.Event) {
	for i := range events {
		if events[i].At.IsZero() {
			events[i].At = time.Now()
		}
	}
	d.events.Append(events...)
	d.metrics.Observe(events...)
	if d.main == nil || !d.opts.Supervisord {
		d.say.events(events)
	}
	d.main.events(events)
	d.ears.hear(events)
	d.seeEvents(events)
	for i, e := range events {
		e.Seq = d.events.Last() - uint64(len(events)-1-i) // nobody else appends
		d.tellHooks(e)
	}
}

// post hands a message to the loop. It may be called from any goroutine and
// never blocks.
func (d *Daemon) post(f func()) { d.inbox.put(f) }

// ask runs f in the loop and returns what it says. f must not touch what its
// maker reads: an asker that has left is not there when it runs.
func ask[T any](ctx context.Context, d *Daemon, f func() T) (said T, err error) {
	done := make(chan T, 1)
	d.post(func() { done <- f() })
	return heard(ctx, done)
}

// look is ask for an f that changes nothing: it doesn't wait for what else is to be
// done.
func look[T any](ctx context.Context, d *Daemon, f func() T) (said T, err error) {
	done := make(chan T, 1)
	d.inbox.ask(func() { done <- f() })
	return heard(ctx, done)
}

func heard[T any](ctx context.Context, done <-chan T) (said T, err error) {
	select {
	case said = <-done:
		return said, nil
	case <-ctx.Done():
		return said, &api.Error{Kind: api.KindUnavailable, Message: "the daemon did not answer in time"}
	}
}

// ready tells whoever started the daemon in the background how that went.
func (d *Daemon) ready(err error) {
	if err == nil && d.guard != nil {
		d.guard.Ready()
		if d.upgraded != "" { // should we die, it is this binary that is started again
			if exe, err := os.Executable(); err == nil {
				if f, err := os.Open("/proc/self/exe"); err == nil {
					d.guard.Binary(exe, int(f.Fd()))
					f.Close()
				}
			}
		}
	}
	if d.opts.Ready == nil {
		return
	}
	if err != nil {
		fmt.Fprintf(d.opts.Ready, "error: %s\n", err)
	} else {
		fmt.Fprintln(d.opts.Ready, "ready")
	}
	d.opts.Ready.Close()
	d.opts.Ready = nil
}

// end lets go of everything and returns the exit status. Programs that still
// run are left running.
func (d *Daemon) end() int {
	d.over = true
	status := 0
	if d.exit != nil {
		status = *d.exit
		d.drainLogs()
	}
	d.again = d.again && !d.leave
	switch {
	case d.guard == nil:
	case d.again:
		d.guard.Again()
	default:
		d.guard.Bye()
	}
	d.tell(event.Event{Kind: event.DaemonStopping, Message: map[bool]string{true: "leaving, the programs run on", false: "stopped"}[d.leave]})
	d.close()
	if d.again && d.guard == nil {
		fmt.Fprintln(d.opts.Stderr, "tend: "+anew().Error())
		return 1
	}
	return status
}

// drainLogs brings what ended programs have written last into their files.
func (d *Daemon) drainLogs() {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	for _, n := range d.instances {
		for _, s := range []*logs.Stream{n.out, n.err} {
			if s != nil {
				s.Drain(ctx) // a destination that fails has been told of
			}
		}
	}
}

// onLogNotice tells of a log that can't be written, or can again.
func (d *Daemon) onLogNotice(n logs.Notice) {
	where := n.Path
	if where == "" {
		where = "the standard output"
	}
	var message string
	switch {
	case n.Limited && n.Err != nil:
		message = fmt.Sprintf("%v: what is more is left out", n.Err)
	case n.Limited:
		message = fmt.Sprintf("it stays below its rate limit again; %d bytes were left out", n.Dropped)
	case n.Err != nil && n.Kept:
		message = n.Err.Error()
	case n.Err != nil:
		message = fmt.Sprintf("cannot write %s: %v; its output is dropped until that works again", where, n.Err)
	case n.Dropped > 0:
		message = fmt.Sprintf("%s is written again; %d bytes were lost", where, n.Dropped)
	default:
		message = where + " is written again"
	}
	d.post(func() { d.tell(event.Event{Kind: event.LogTrouble, Name: n.Stream, Message: message}) })
}

func (d *Daemon) close() {
	if d.watcher != nil {
		d.watcher.close()
	}
	d.closeFiles()
	d.hangUp()
	d.ears.close()
	if d.idleTimer != nil {
		d.idleTimer.Stop()
	}
	d.prober.Hold()
	if d.host != nil {
		d.closeHooks()
		d.spawns.wait() // a host must not be closed under a spawn
		d.words.wait()
		d.kernel.wait()
		d.takeMail()
		d.words.wait() // for those that had to wait
		d.takeMail()
		d.commit()
		d.settle()
		d.kernel.wait()
		if !d.leave {
			for _, n := range d.instances {
				d.host.Forget(n.tree)
				d.forgetCheck(n.tree, n.checking)
				d.host.RemoveTree(n.cgroup)
			}
		}
		d.host.Close()
	}
	if d.history != nil {
		d.history.Close() // what is wrong with it was told
	}
	if d.listening != nil {
		if d.exit != nil { // all is stopped: nobody listens any more
			d.listening.Retain(func(listen.Address) bool { return false })
		}
		d.listening.Close()
	}
	if d.ledger != nil {
		if d.exit != nil { // all is stopped, as it was meant to be: there is nothing to remember
			d.ledger.Remove()
		} else {
			d.ledger.Close()
		}
	}
	if d.capture != nil {
		d.capture.Close()
	}
	if d.notes != nil {
		d.notes.Close()
	}
	if d.pidFile != "" {
		os.Remove(d.pidFile)
	}
	if d.lock != nil {
		d.lock.release()
	}
	d.main.close()
	if d.say != nil {
		d.say.close()
	}
}

// hangUp ends the talk with clients. What they have asked is answered meanwhile,
// as far as that takes no time: the loop is over, but here is its place.
func (d *Daemon) hangUp() {
	d.refuseWaiting("tend is ending", "tend run starts it again")
	var all sync.WaitGroup
	all.Go(d.wire.close)
	if d.remote != nil {
		away := d.remote.close()
		all.Go(func() { <-away })
	}
	if d.server != nil {
		all.Go(func() {
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			defer cancel()
			d.server.Shutdown(ctx)
		})
	}
	done := make(chan struct{})
	go func() {
		all.Wait()
		close(done)
	}()
	for hungUp := false; !hungUp; {
		select {
		case <-d.inbox.wake:
			d.takeMail()
		case <-done:
			hungUp = true
		}
	}
	if d.server != nil && (!d.again || d.guard == nil) { // the guard keeps it for the next one
		os.Remove(d.place.socket()) // it is ours as long as the lock is
	}
}

// takeMail handles what has come in and wasn't handled. Nothing is begun of it:
// it is put aside.
func (d *Daemon) takeMail() {
	d.inbox.answer()
	for _, f := range d.inbox.take() {
		f()
	}
	clear(d.starts)
	d.starts = d.starts[:0]
}

func (d *Daemon) summary(set *spec.Set) string {
	instances := 0
	for _, p := range set.Programs {
		if p.Enabled {
			instances += p.Instances
		}
	}
	return fmt.Sprintf("%s, %s", plural(len(set.Programs), "program"), plural(instances, "instance"))
}

func plural(n int, word string) string {
	if n == 1 {
		return "1 " + word
	}
	if strings.HasSuffix(word, "s") {
		word += "e"
	}
	return fmt.Sprintf("%d %ss", n, word)
}

// view returns instances as the API shows them.
func view(views []engine.View) []api.Instance {
	now := time.Now()
	list := make([]api.Instance, len(views))
	for i, v := range views {
		list[i] = instanceView(now, v)
	}
	return list
}

func instanceView(now time.Time, v engine.View) api.Instance {
	i := api.Instance{
		Name: v.Name, Program: v.Spec.Name, State: v.State.String(),
		After: v.Spec.After, Requires: v.Spec.Requires,
		Ready: v.Ready, Status: v.Status, Outdated: v.Outdated, Idle: v.Idle, PTY: v.Spec.PTY,
		Enabled: v.Spec.Enabled, Wanted: v.Wanted, PID: v.PID, Generation: v.Gen,
		Since: v.Since.Round(0), Restarts: v.Restarts, LastExit: exitView(v.Last), Message: v.Message,
	}
	if v.Health != unit.Unknown {
		healthy := v.Health == unit.Healthy
		i.Healthy = &healthy
	}
	if !v.Started.IsZero() {
		i.UptimeSeconds = now.Sub(v.Started).Seconds()
	}
	if !v.Next.IsZero() {
		next := v.Next.Round(0)
		i.NextRun = &next
	}
	return i
}

func exitView(e *event.Exit) *api.Exit {
	if e == nil {
		return nil
	}
	x := &api.Exit{Code: e.Code, At: e.At.Round(0), Reason: e.Reason(), Success: e.Success}
	if e.Signal != 0 {
		x.Signal = e.Signal.String()
	}
	return x
}

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
	"math/rand/v2"
	"os"
	"os/signal"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"
	"time"

	"tend/api"
	"tend/internal/conf"
	"tend/internal/engine"
	"tend/internal/event"
	"tend/internal/logs"
	"tend/internal/proc"
	"tend/internal/server"
	"tend/internal/spec"
	"tend/internal/unit"
)

// Options say what to run.
type Options struct {
	Config  string   // file or folder; "" is searched for
	Command []string // guard this one command, without any file
	State   string   // folder; "" is what the configuration says, or the default place
	Version string

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

	engine  *engine.Engine
	events  *event.Log
	host    *proc.Host
	capture *logs.Capture
	server  *server.Server
	say     *sayer

	inbox  inbox
	tidy   *time.Timer // gives memory back after a load
	timer  *time.Timer
	wake   time.Time // when the engine wants a tick
	armed  time.Time // what the timer is set for; zero: not set
	exit   *int      // the status to end with, once known
	leave  bool      // end at once and leave the programs running
	asked  bool      // a stop signal has come
	cmds   map[uint64]chan<- engine.Answer
	cmdSeq uint64

	instances map[engine.ID]*instance
	spawns    queue    // what may take long: lookups, pipes, forks
	starts    []func() // for spawns, when this turn of the loop is over
	kernel    queue    // signals, in the order given
	environ   environ

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
		events: event.NewLog(eventsKept), cmds: make(map[uint64]chan<- engine.Answer),
		instances: make(map[engine.ID]*instance),
		spawns:    queue{limit: 4}, kernel: queue{limit: 1},
	}
	d.inbox.wake = make(chan struct{}, 1)
	d.engine = engine.New(rand.Float64)
	d.hurry()

	signals := make(chan os.Signal, 16)
	signal.Notify(signals, syscall.SIGHUP, syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGTERM, syscall.SIGINT, syscall.SIGQUIT)
	signal.Ignore(syscall.SIGPIPE)
	defer signal.Stop(signals)

	set, err := d.open()
	if err != nil {
		d.close()
		d.ready(err)
		fmt.Fprintln(opts.Stderr, "tend: "+err.Error())
		var hint interface{ Hint() string }
		if errors.As(err, &hint) && hint.Hint() != "" {
			fmt.Fprintln(opts.Stderr, "hint: "+hint.Hint())
		}
		return 1
	}
	fmt.Fprintf(opts.Stdout, "pid %d\n", os.Getpid())
	d.tell(event.Event{Kind: event.DaemonStarted, PID: os.Getpid(), Message: fmt.Sprintf("tend %s started, %s", opts.Version, d.summary(set))})
	d.warn(d.files)
	d.step(engine.Desired{Set: set})
	d.watch()
	d.ready(nil)
	d.loop(signals)
	d.tidy.Stop()
	return d.end()
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
	})
}

// open takes everything the daemon needs, so that nothing is started when
// something is missing.
func (d *Daemon) open() (*spec.Set, error) {
	d.say = newSayer(d.opts.Stderr)
	var set *spec.Set
	if len(d.opts.Command) == 0 {
		path, err := Find(d.config)
		if err != nil {
			return nil, err
		}
		d.config, d.opts.Config = path, path
		d.files = d.load()
		if !d.files.OK() {
			return nil, rejected(d.files)
		}
		set = d.files.Set
		d.stamps = stamps(d.files.Files)
	} else {
		dir, err := os.Getwd()
		if err != nil {
			return nil, err
		}
		set = conf.Command(d.opts.Command, dir)
	}
	var err error
	if d.place, err = findPlace(d.opts, set.Daemon); err != nil {
		return nil, err
	}
	if d.lock, err = takeLock(d.place.state); err != nil {
		return nil, err
	}
	d.say.configure(set.Daemon)
	if d.capture, err = logs.Open(logs.Config{Notice: d.onLogNotice, Stdout: d.opts.Stdout}); err != nil {
		return nil, err
	}
	if d.host, err = proc.Open(d.hostConfig()); err != nil {
		return nil, err
	}
	d.environ = newEnviron(os.Environ(), d.place.hash())
	// Until programs can be adopted, those of a daemon that was killed must not
	// run beside the ones that are started now.
	if n := d.host.EndStale(d.environ.mark, 10*time.Second); n > 0 {
		d.tell(event.Event{Kind: event.DaemonWarning, Message: "ended " + plural(n, "process") + " that an earlier tend has left running"})
	}
	d.server = server.New(server.Config{Control: control{d}, Events: d.events})
	mode := os.FileMode(0o600)
	if set.Daemon.SocketMode != 0 {
		mode = os.FileMode(set.Daemon.SocketMode)
	}
	l, err := server.ListenUnix(d.place.socket(), mode, set.Daemon.SocketGroup)
	if err != nil {
		return nil, err
	}
	go d.server.Serve(l)
	return set, nil
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
	}
}

// loop handles signals, messages and the timer until the end.
func (d *Daemon) loop(signals <-chan os.Signal) {
	d.timer = time.NewTimer(time.Hour)
	d.timer.Stop()
	for d.exit == nil && !d.leave {
		d.arm()
		d.say.flush()
		d.launch()
		select {
		case s := <-signals:
			d.onSignal(s)
		case <-d.inbox.wake:
			for _, f := range d.inbox.take() {
				f()
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
		d.reload(reloadRequest{why: bySignal})
	case syscall.SIGUSR2:
		if err := d.capture.Reopen(); err != nil {
			d.tell(event.Event{Kind: event.LogTrouble, Message: "cannot reopen the log files: " + err.Error()})
			break
		}
		d.tell(event.Event{Kind: event.LogReopened, Message: "log files reopened"})
	case syscall.SIGQUIT:
		d.leave = true
	default: // TERM, INT
		d.step(engine.Shutdown{Now: d.asked})
		d.asked = true
	}
}

// step tells the engine one input and carries out what comes of it.
func (d *Daemon) step(in engine.Input) {
	out := d.engine.Step(time.Now(), in)
	d.wake = out.Wake
	d.tell(out.Say...)
	for _, f := range out.Do {
		d.do(f)
	}
	for _, a := range out.Answer {
		if c := d.cmds[a.Cmd]; c != nil {
			delete(d.cmds, a.Cmd)
			c <- a
		}
	}
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
	d.say.events(events)
}

// post hands a message to the loop. It may be called from any goroutine and
// never blocks.
func (d *Daemon) post(f func()) { d.inbox.put(f) }

// ask runs f in the loop and returns what it says. f must not touch what its
// maker reads: an asker that has left is not there when it runs.
func ask[T any](ctx context.Context, d *Daemon, f func() T) (said T, err error) {
	done := make(chan T, 1)
	d.post(func() { done <- f() })
	select {
	case said = <-done:
		return said, nil
	case <-ctx.Done():
		return said, &api.Error{Kind: api.KindUnavailable, Message: "the daemon did not answer in time"}
	}
}

// ready tells whoever started the daemon in the background how that went.
func (d *Daemon) ready(err error) {
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
	status := 0
	if d.exit != nil {
		status = *d.exit
		d.drainLogs()
	}
	d.tell(event.Event{Kind: event.DaemonStopping, Message: map[bool]string{true: "leaving, the programs run on", false: "stopped"}[d.leave]})
	d.close()
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
	if d.server != nil {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		d.server.Shutdown(ctx)
		cancel()
	}
	if d.host != nil {
		d.spawns.wait() // a host must not be closed under a spawn
		d.kernel.wait()
		if !d.leave {
			for _, n := range d.instances {
				d.host.Forget(n.tree)
			}
		}
		d.host.Close()
	}
	if d.capture != nil {
		d.capture.Close()
	}
	if d.lock != nil {
		d.lock.release()
	}
	if d.say != nil {
		d.say.close()
	}
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

// view returns the instances as the API shows them.
func (d *Daemon) view() []api.Instance {
	now := time.Now()
	views := d.engine.Views()
	list := make([]api.Instance, len(views))
	for i, v := range views {
		list[i] = instanceView(now, v)
	}
	return list
}

func instanceView(now time.Time, v engine.View) api.Instance {
	i := api.Instance{
		Name: v.Name, Program: v.Spec.Name, State: v.State.String(),
		Ready:   v.State == unit.Running && v.Spec.Type != spec.Task, // a task runs to become done
		Enabled: v.Spec.Enabled, Wanted: v.Wanted, PID: v.PID, Generation: v.Gen,
		Since: v.Since.Round(0), Restarts: v.Restarts, LastExit: exitView(v.Last), Message: v.Message,
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

package supervisord

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"tend/internal/svconf"
)

// A life is how a program of the scenario behaves.
type life struct {
	lasts    time.Duration // 0: until it is stopped
	status   int
	stubborn bool // it ignores SIGTERM
	noStdin  bool
	noFile   string // why it can't be started
	notExec  string
}

// lives are the programs of the scenario; others run until they are stopped.
var lives = map[string]life{
	"quick":    {lasts: 300 * time.Millisecond, status: 5},
	"crasher":  {lasts: 10 * time.Millisecond, status: 3},
	"oneshot":  {lasts: 10 * time.Millisecond},
	"badexit":  {lasts: 1500 * time.Millisecond, status: 7},
	"backoff":  {lasts: 10 * time.Millisecond, status: 4},
	"stubborn": {stubborn: true},
	"closer":   {noStdin: true},
	"missing":  {noFile: "can't find command '/nonexistent/program'"},
	"notexec":  {notExec: "command at '/etc/passwd' is not executable"},
}

const tooQuick = "Exited too quickly (process log may have details)"

// A fake is a Daemon whose processes are made up. Its time passes only when
// somebody waits for a process, or by advance.
type fake struct {
	t   *testing.T
	dir string

	mu     sync.Mutex
	now    time.Time
	state  DaemonState
	config *svconf.Config
	groups []*fakeGroup
	named  bool // AUTO logs have names in config
	pids   int
	events []Event
}

type fakeGroup struct {
	conf      *svconf.Group
	logs      map[string]AutoLogs
	processes []*fakeProcess
}

type fakeProcess struct {
	Process
	conf    *svconf.Process
	life    life
	started bool // since the group was added
	backoff int
	next    time.Time // when something happens by itself
	ends    time.Time // of the process; zero: not by itself
}

// newFake reads the scenario in a folder of its own and starts what starts by
// itself.
func newFake(t *testing.T, dir string) *fake {
	f := &fake{t: t, dir: dir, now: time.Date(2026, 11, 23, 0, 58, 26, 0, time.UTC), state: DaemonRunning, pids: 20000}
	for _, sub := range []string{"run", "conf.d"} {
		if err := os.Mkdir(filepath.Join(dir, sub), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	config, err := f.load()
	if err != nil {
		t.Fatal(err)
	}
	f.begin(config)
	return f
}

func (f *fake) begin(config *svconf.Config) {
	f.config, f.groups, f.named = config, nil, true
	for _, g := range config.Groups {
		f.add(g)
	}
}

func (f *fake) load() (*svconf.Config, error) {
	config, diagnostics := svconf.Load(svconf.Options{
		Path: filepath.Join(f.dir, "supervisord.conf"), Dir: f.dir, Host: "host", UID: 0, Earlier: f.config,
	})
	for _, d := range diagnostics {
		if d.Severity == svconf.Error {
			return nil, errors.New(d.Message)
		}
	}
	return config, nil
}

func (f *fake) add(conf *svconf.Group) {
	g := &fakeGroup{conf: conf, logs: make(map[string]AutoLogs)}
	for _, c := range conf.Processes {
		p := &fakeProcess{Process: Process{ID: ID{conf.Name, c.Name}}, conf: c, life: lives[c.Name]}
		var auto AutoLogs
		name := func(channel svconf.Channel, what string, auto *string) string {
			switch channel.Log.Kind {
			case svconf.LogNone:
				return ""
			case svconf.LogAuto:
				*auto = filepath.Join(f.dir, "run", c.Name+"-"+what+"---scenario-abcdefgh.log")
				f.write(*auto, "", false)
				return *auto
			}
			return channel.Log.Path
		}
		p.Stdout, p.Stderr = name(c.Stdout, "stdout", &auto.Stdout), name(c.Stderr, "stderr", &auto.Stderr)
		g.logs[c.Name] = auto
		g.processes = append(g.processes, p)
		if c.AutoStart {
			p.next = f.now.Add(time.Millisecond)
		}
	}
	f.groups = append(f.groups, g)
	slices.SortStableFunc(f.groups, func(a, b *fakeGroup) int {
		return cmp.Or(cmp.Compare(a.conf.Priority, b.conf.Priority), cmp.Compare(a.conf.Name, b.conf.Name))
	})
	f.events = append(f.events, GroupEvent(conf.Name, true))
}

// write adds to a log, or replaces what it holds.
func (f *fake) write(path, text string, add bool) {
	how := os.O_CREATE | os.O_WRONLY | os.O_TRUNC
	if add {
		how = os.O_CREATE | os.O_WRONLY | os.O_APPEND
	}
	file, err := os.OpenFile(path, how, 0o600)
	if err != nil {
		f.t.Error(err)
		return
	}
	defer file.Close()
	if _, err := file.WriteString(text); err != nil {
		f.t.Error(err)
	}
}

func (f *fake) each(do func(*fakeProcess)) {
	for _, g := range f.groups {
		for _, p := range g.processes {
			do(p)
		}
	}
}

func (f *fake) find(id ID) *fakeProcess {
	var found *fakeProcess
	f.each(func(p *fakeProcess) {
		if p.ID == id {
			found = p
		}
	})
	return found
}

func (f *fake) become(p *fakeProcess, s State) {
	change := Change{ID: p.ID, From: p.State, To: s, Tries: p.backoff, PID: p.PID}
	f.events = append(f.events, change.Event())
	p.State = s
}

func (f *fake) spawn(p *fakeProcess) {
	f.pids++
	p.started, p.SpawnErr, p.ExitStatus = true, "", 0
	p.Start = f.now
	f.become(p, Starting)
	p.PID = f.pids
	p.ends = time.Time{}
	if p.life.lasts > 0 {
		p.ends = f.now.Add(p.life.lasts)
	}
	up := f.now.Add(time.Duration(p.conf.StartSecs)*time.Second + time.Millisecond)
	p.next = up
	if !p.ends.IsZero() && p.ends.Before(up) {
		p.next = p.ends
	}
	switch p.Name {
	case "talker":
		f.write(p.Stdout, "out-0\n", true)
		for i := range 99 {
			f.write(p.Stderr, fmt.Sprintf("err-%d\n", i), true)
		}
	case "crasher":
		f.write(p.Stdout, "boom\n", true)
	}
}

// happen does what is due for a process.
func (f *fake) happen(p *fakeProcess) {
	p.next = time.Time{}
	switch p.State {
	case Stopped, Fatal, Unknown:
		f.spawn(p)
	case Exited:
		f.spawn(p)
	case Starting:
		if !p.ends.IsZero() && !f.now.Before(p.ends) && f.now.Before(p.Start.Add(time.Duration(p.conf.StartSecs)*time.Second)) {
			p.PID, p.Stop = 0, f.now
			p.SpawnErr = tooQuick
			p.backoff++
			f.become(p, Backoff)
			p.next = f.now.Add(time.Duration(p.backoff) * time.Second)
			if p.backoff > p.conf.StartRetries {
				p.next = f.now
			}
			return
		}
		p.backoff = 0
		f.become(p, Running)
		p.next = p.ends
	case Running:
		p.Stop, p.ExitStatus = f.now, p.life.status
		if p.ExitStatus != 0 {
			p.SpawnErr = fmt.Sprintf("Bad exit code %d", p.ExitStatus)
		}
		f.become(p, Exited)
		p.PID = 0
		if p.conf.AutoRestart == svconf.Always {
			p.next = f.now
		}
	case Backoff:
		if p.backoff > p.conf.StartRetries {
			p.backoff = 0
			f.become(p, Fatal)
			return
		}
		f.spawn(p)
	case Stopping:
		p.Stop, p.ExitStatus = f.now, -1
		f.become(p, Stopped)
		p.PID = 0
	}
}

// nextDue returns when something happens next; zero: nothing does.
func (f *fake) nextDue() time.Time {
	var at time.Time
	f.each(func(p *fakeProcess) {
		if !p.next.IsZero() && (at.IsZero() || p.next.Before(at)) {
			at = p.next
		}
	})
	return at
}

// advanceTo lets time pass.
func (f *fake) advanceTo(until time.Time) {
	for {
		at := f.nextDue()
		if at.IsZero() || at.After(until) {
			break
		}
		if at.After(f.now) {
			f.now = at
		}
		f.each(func(p *fakeProcess) {
			if !p.next.IsZero() && !p.next.After(f.now) {
				f.happen(p)
			}
		})
	}
	if until.After(f.now) {
		f.now = until
	}
}

// until lets time pass until a process is in a state.
func (f *fake) until(group, name string, s State) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for range 10000 {
		if p := f.find(ID{group, name}); p != nil && p.State == s {
			return
		}
		at := f.nextDue()
		if at.IsZero() {
			break
		}
		f.advanceTo(at)
	}
	f.t.Errorf("%s:%s doesn't become %v", group, name, s)
}

func (f *fake) pass(d time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.advanceTo(f.now.Add(d))
}

func (f *fake) clock() time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.now
}

func (f *fake) Info() Info {
	f.mu.Lock()
	defer f.mu.Unlock()
	return Info{State: f.state, PID: 19975, Identifier: "scenario", Version: "4.2.5", Log: filepath.Join(f.dir, "run", "supervisord.log")}
}

func (f *fake) Groups() []Group {
	f.mu.Lock()
	defer f.mu.Unlock()
	var list []Group
	for _, g := range f.groups {
		list = append(list, g.view())
	}
	return list
}

func (g *fakeGroup) view() Group {
	v := Group{Name: g.conf.Name}
	for _, p := range g.processes {
		v.Processes = append(v.Processes, p.Process)
	}
	return v
}

func (f *fake) Group(name string) (Group, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if g := f.group(name); g != nil {
		return g.view(), true
	}
	return Group{}, false
}

func (f *fake) group(name string) *fakeGroup {
	for _, g := range f.groups {
		if g.conf.Name == name {
			return g
		}
	}
	return nil
}

func (f *fake) Configured() []Configured {
	f.mu.Lock()
	defer f.mu.Unlock()
	var list []Configured
	for _, g := range f.config.Groups {
		c := Configured{Group: g}
		if active := f.group(g.Name); active != nil {
			c.Active = true
			if active.conf == g {
				c.Logs = active.logs
			}
		}
		list = append(list, c)
	}
	return list
}

// act tells processes something and waits for them.
func (f *fake) act(ids []ID, wait bool, tell, check func(*fakeProcess) (Outcome, bool), report func(ID, Outcome)) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	var pending []*fakeProcess
	for _, id := range ids {
		p := f.find(id)
		if p == nil {
			report(id, Outcome{Kind: BadName})
			continue
		}
		if o, done := tell(p); done || !wait {
			report(id, o)
			continue
		}
		pending = append(pending, p)
	}
	for len(pending) > 0 {
		pending = slices.DeleteFunc(pending, func(p *fakeProcess) bool {
			o, done := check(p)
			if done {
				report(p.ID, o)
			}
			return done
		})
		if at := f.nextDue(); len(pending) > 0 {
			if at.IsZero() {
				return errors.New("it would take for ever")
			}
			f.advanceTo(at)
		}
	}
	return nil
}

func (f *fake) Start(_ context.Context, ids []ID, wait bool, report func(ID, Outcome)) error {
	return f.act(ids, wait, func(p *fakeProcess) (Outcome, bool) {
		switch {
		case p.life.noFile != "":
			return Outcome{NoFile, p.life.noFile}, true
		case p.life.notExec != "":
			return Outcome{NotExecutable, p.life.notExec}, true
		case p.conf.ArgvError != "":
			return Outcome{NotExecutable, fmt.Sprintf("can't parse command '%s': %s", p.conf.Command, p.conf.ArgvError)}, true
		case p.State.Up():
			return Outcome{Kind: AlreadyStarted}, true
		case p.State == Stopping:
			return Outcome{Kind: AbnormalTermination}, true
		}
		p.backoff = 0
		f.spawn(p)
		return Outcome{}, false
	}, func(p *fakeProcess) (Outcome, bool) {
		switch {
		case p.State == Running:
			return Outcome{}, true
		case p.SpawnErr != "":
			return Outcome{Kind: SpawnError}, true
		case p.State != Starting:
			return Outcome{Kind: AbnormalTermination}, true
		}
		return Outcome{}, false
	}, report)
}

func (f *fake) Stop(_ context.Context, ids []ID, wait bool, report func(ID, Outcome)) error {
	return f.act(ids, wait, func(p *fakeProcess) (Outcome, bool) {
		switch {
		case !p.State.Up():
			return Outcome{Kind: NotRunning}, true
		case p.State == Backoff:
			f.become(p, Stopped)
			p.next = time.Time{}
			return Outcome{}, true
		}
		f.become(p, Stopping)
		p.next = f.now.Add(10 * time.Millisecond)
		if p.life.stubborn {
			p.next = f.now.Add(time.Duration(p.conf.StopWaitSecs) * time.Second)
		}
		return Outcome{}, false
	}, func(p *fakeProcess) (Outcome, bool) { return Outcome{}, p.State == Stopped }, report)
}

func (f *fake) Signal(id ID, _ svconf.Signal) Outcome {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.find(id).State.Signallable() {
		return Outcome{Kind: NotRunning}
	}
	return Outcome{}
}

func (f *fake) WriteStdin(id ID, data string) Outcome {
	f.mu.Lock()
	defer f.mu.Unlock()
	p := f.find(id)
	switch {
	case p.PID == 0:
		return Outcome{Kind: NotRunning}
	case p.life.noStdin:
		return Outcome{Kind: NoFile}
	case p.Name == "cat":
		f.write(p.Stdout, data, true)
	}
	return Outcome{}
}

func (f *fake) ClearLogs(id ID) Outcome {
	f.mu.Lock()
	defer f.mu.Unlock()
	p := f.find(id)
	for _, path := range []string{p.Stdout, p.Stderr} {
		if path != "" && p.PID > 0 {
			f.write(path, "", false)
		}
	}
	return Outcome{}
}

func (f *fake) ClearLog() error {
	f.write(f.Info().Log, "", false)
	return nil
}

func (f *fake) Reread(context.Context) (Changes, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	config, err := f.load()
	f.write(filepath.Join(f.dir, "run", "supervisord.log"), "2026-11-23 00:58:50,863 INFO read again\n", true)
	if err != nil {
		return Changes{}, err
	}
	f.config = config
	var c Changes
	for _, g := range config.Groups {
		switch active := f.group(g.Name); {
		case active == nil:
			c.Added = append(c.Added, g.Name)
		case !active.conf.Equal(g):
			c.Changed = append(c.Changed, g.Name)
		}
	}
	for _, g := range f.groups {
		if !slices.ContainsFunc(config.Groups, func(o *svconf.Group) bool { return o.Name == g.conf.Name }) {
			c.Removed = append(c.Removed, g.conf.Name)
		}
	}
	return c, nil
}

func (f *fake) AddGroup(_ context.Context, name string) Outcome {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, g := range f.config.Groups {
		if g.Name != name {
			continue
		}
		if f.group(name) != nil {
			return Outcome{Kind: AlreadyAdded}
		}
		f.add(g)
		return Outcome{}
	}
	return Outcome{Kind: BadName}
}

func (f *fake) RemoveGroup(_ context.Context, name string) Outcome {
	f.mu.Lock()
	defer f.mu.Unlock()
	g := f.group(name)
	if g == nil {
		return Outcome{Kind: BadName}
	}
	for _, p := range g.processes {
		if p.State.Up() || p.State == Stopping {
			return Outcome{Kind: StillRunning}
		}
	}
	f.groups = slices.DeleteFunc(f.groups, func(o *fakeGroup) bool { return o == g })
	f.events = append(f.events, GroupEvent(name, false))
	return Outcome{}
}

func (f *fake) Shutdown() { f.set(DaemonShutdown) }
func (f *fake) Restart()  { f.set(DaemonRestarting) }

func (f *fake) set(s DaemonState) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.state = s
}

// restarted ends a restart.
func (f *fake) restarted() {
	f.mu.Lock()
	defer f.mu.Unlock()
	config, err := f.load()
	if err != nil {
		f.t.Fatal(err)
	}
	f.state = DaemonRunning
	f.begin(config)
}

func (f *fake) RemoteCommunication(typ, data string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.events = append(f.events, RemoteEvent(typ, data))
}

// shared returns a folder of the material beside the project, or skips the test.
func shared(t testing.TB, name string) string {
	t.Helper()
	dir, err := filepath.Abs("../../..")
	if err != nil {
		t.Fatal(err)
	}
	folder := filepath.Join(dir, "shared", "supervisord", name)
	if _, err := os.Stat(folder); err != nil {
		t.Skipf("no recordings of supervisord: %v", err)
	}
	return folder
}

// scenario returns a fake that runs the scenario of the recordings.
func scenario(t *testing.T) *fake {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(shared(t, "scenario"), "supervisord.conf"))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "supervisord.conf"), text, 0o644); err != nil {
		t.Fatal(err)
	}
	f := newFake(t, dir)
	f.write(f.Info().Log, strings.Repeat("2026-11-23 00:58:25,863 INFO a line of the daemon\n", 40), true)
	return f
}

package daemon

import (
	"bytes"
	"fmt"
	"io"
	"log/syslog"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"tend/api"
	"tend/internal/event"
	"tend/internal/logs"
	"tend/internal/supervisord"
	"tend/internal/svconf"
	"tend/internal/unit"
)

// A mainLog is supervisord's own log: what happens in supervisord's words, in the
// file that [supervisord] names, and on standard output where that is a terminal's
// or a container's. As with a sayer, lines are collected and written beside the
// loop, and dropped and counted when too many wait.
type mainLog struct {
	d     *Daemon
	path  string // for clients who read it; "": it is in no file
	level string // loglevel
	file  *logs.Writer
	outs  []io.Writer

	batch []mainLine // of the loop, since the last flush
	lost  int

	queue   queue
	mu      sync.Mutex
	waiting int  // lines handed to the queue and not written
	failing bool // the file takes nothing, and that was said
}

// A mainLine is a line, or several that take a look at files to be worded.
type mainLine struct {
	at   time.Time
	say  supervisord.Say
	late func() []supervisord.Say // nil: say is all
}

// linesWaiting bounds what waits to be written.
const linesWaiting = 8192

// openMain opens the main log, where there is one: by supervisord's name always,
// else where the file says so.
func (d *Daemon) openMain(c *svconf.Config) error {
	if c == nil || !d.opts.Supervisord && c.Source("supervisord", "logfile") == (svconf.Source{}) {
		return nil
	}
	s := c.Daemon
	m := &mainLog{d: d, level: s.LogLevel, queue: queue{limit: 1}}
	toStdout := d.opts.Supervisord && s.NoDaemon && !s.Silent
	switch path := s.LogFile; path {
	case "syslog":
		w, err := syslog.New(syslog.LOG_USER|syslog.LOG_INFO, "supervisord")
		if err != nil {
			return fmt.Errorf("cannot open the log: %w", err)
		}
		m.outs = append(m.outs, bare{w})
	case "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1":
		toStdout = true // once, where supervisord would write each line twice
	case "/dev/stderr", "/dev/fd/2", "/proc/self/fd/2":
		m.outs = append(m.outs, d.opts.Stderr)
	default:
		if strings.HasPrefix(path, "/dev/") || strings.HasPrefix(path, "/proc/") {
			s.LogMaxBytes = 0
		}
		w, err := logs.OpenWriter(path, int64(max(0, s.LogMaxBytes)), max(0, s.LogBackups))
		if err != nil {
			return err
		}
		m.file, m.path = w, path
		if info, err := os.Stat(path); err != nil || !info.Mode().IsRegular() {
			m.path = ""
		}
		m.outs = append(m.outs, w)
	}
	if toStdout {
		m.outs = append(m.outs, d.opts.Stdout)
	}
	d.main = m
	return nil
}

// bare writes lines without the time, which syslog has its own of.
type bare struct{ io.Writer }

func (b bare) Write(p []byte) (int, error) {
	for line := range strings.Lines(string(p)) {
		if len(line) > len("2006-01-02 15:04:05,000 ") {
			line = line[len("2006-01-02 15:04:05,000 "):]
		}
		if _, err := io.WriteString(b.Writer, line); err != nil {
			return 0, err
		}
	}
	return len(p), nil
}

// say adds a line. It does nothing for a nil log, nor do events and flush.
func (m *mainLog) say(level, text string) {
	if m != nil && supervisord.Logged(level, m.level) {
		m.batch = append(m.batch, mainLine{at: time.Now(), say: supervisord.Say{Level: level, Text: text}})
	}
}

// events adds what there is to say of events.
func (m *mainLog) events(events []event.Event) {
	if m == nil {
		return
	}
	for _, e := range events {
		m.event(e)
	}
}

func (m *mainLog) event(e event.Event) {
	name := e.Name
	if name == "" {
		name = e.Program
	}
	text := e.Message
	if name != "" {
		text = name + ": " + text
	}
	switch e.Kind {
	case event.State:
		m.turn(e)
	case event.Warning:
		if e.To == unit.Stopping.String() && e.PID != 0 {
			text = fmt.Sprintf("killing '%s' (%d) with SIGKILL", m.processOf(e.Program), e.PID)
		}
		m.say("WARN", text)
	case event.DaemonStarted:
		if m.d.died == "" && m.d.upgraded == "" {
			text = fmt.Sprintf("supervisord started with pid %d", m.d.mainPID())
		}
		m.say("INFO", text)
	case event.DaemonStopping:
		if names := m.unstopped(); m.d.engine.Stopping() && m.d.exit == nil && len(names) > 0 {
			m.say("INFO", "waiting for "+strings.Join(names, ", ")+" to die")
		}
	case event.ConfigRejected:
		if list, ok := e.Detail.([]api.Diagnostic); ok {
			for _, diag := range list {
				text += "; " + diag.Message
			}
		}
		m.say("ERRO", text)
	case event.DaemonWarning, event.LogTrouble:
		m.say("WARN", text)
	case event.LogReopened:
		m.say("INFO", "supervisord logreopen")
	case event.Adopted, event.ConfigApplied:
		m.say("INFO", text)
	default:
		m.say("DEBG", text)
	}
}

// unstopped returns the names of the processes that have to end.
func (m *mainLog) unstopped() []string {
	var names []string
	for _, v := range m.d.engine.Views() {
		if s := stateOf(v.State); s.Up() || s == supervisord.Stopping {
			names = append(names, m.processOf(v.Spec.Name))
		}
	}
	return names
}

// processOf returns the name of a process without its group.
func (m *mainLog) processOf(program string) string {
	if _, process, ok := strings.Cut(program, ":"); ok {
		return process
	}
	return program
}

// states are supervisord's, by ours as events have them.
var states = func() map[string]supervisord.State {
	byName := make(map[string]supervisord.State)
	for _, s := range []unit.State{unit.Stopped, unit.Waiting, unit.Starting, unit.Running, unit.Backoff, unit.Stopping, unit.Draining, unit.Exited, unit.Done, unit.Failed} {
		byName[s.String()] = stateOf(s)
	}
	return byName
}()

// turn adds what there is to say of a new state.
func (m *mainLog) turn(e event.Event) {
	if !supervisord.Logged("WARN", m.level) {
		return // none of it matters more
	}
	t := supervisord.LogTurn{Name: m.processOf(e.Program), From: states[e.From], To: states[e.To], PID: e.PID, Exit: e.Exit, Stopping: m.d.engine.Stopping()}
	if e.From == e.To && e.From == unit.Stopping.String() {
		return
	}
	p := m.d.engine.Set().Program(e.Program)
	if p != nil {
		t.StartSecs = int(p.MinUptime / time.Second)
		t.TooSoon = e.Exit != nil && e.Exit.Uptime < p.MinUptime
	}
	if e.Exit == nil || e.Exit.Err == "" {
		for _, s := range t.Lines() {
			if supervisord.Logged(s.Level, m.level) {
				m.batch = append(m.batch, mainLine{at: e.At, say: s})
			}
		}
		return
	}
	var from *svconf.Process
	if w := m.d.wire; w != nil && p != nil {
		if g := find(w.active, p.Member.Group); g != nil {
			if i := slices.IndexFunc(g.Processes, func(q *svconf.Process) bool { return q.Name == p.Member.Process }); i >= 0 {
				from = g.Processes[i]
			}
		}
	}
	m.batch = append(m.batch, mainLine{at: e.At, late: func() []supervisord.Say {
		t.SpawnErr = e.Exit.Err
		if p != nil {
			if found := findCommand(p, from); found.Detail != "" {
				t.SpawnErr = found.Detail
			}
		}
		return t.Lines()
	}})
}

// flush hands the collected lines over to be written.
func (m *mainLog) flush() {
	if m == nil || len(m.batch) == 0 {
		return
	}
	batch := m.batch
	m.batch = nil
	m.mu.Lock()
	full := m.waiting+len(batch) > linesWaiting
	if !full {
		m.waiting += len(batch)
	}
	m.mu.Unlock()
	if full {
		m.lost += len(batch)
		return
	}
	if m.lost > 0 {
		batch = append(batch, mainLine{at: time.Now(), say: supervisord.Say{Level: "WARN", Text: fmt.Sprintf("%d lines were dropped, nobody took them", m.lost)}})
		m.lost = 0
	}
	m.queue.put(func() { m.write(batch) })
}

// write writes lines. It runs beside the loop.
func (m *mainLog) write(batch []mainLine) {
	var text []byte
	for _, l := range batch {
		if l.late == nil {
			text = supervisord.AppendLine(text, l.at, l.say)
			continue
		}
		for _, s := range l.late() {
			if supervisord.Logged(s.Level, m.level) {
				text = supervisord.AppendLine(text, l.at, s)
			}
		}
	}
	for _, out := range m.outs {
		if out != io.Writer(m.file) {
			_, _ = out.Write(text) // nowhere left to complain
			continue
		}
		var err error
		for line := range bytes.Lines(text) { // it is rotated between any two of them
			if _, err = m.file.Write(line); err != nil {
				break
			}
		}
		if failing := err != nil; failing != m.failing {
			m.failing = failing
			if failing {
				m.d.post(func() { m.d.warnf("cannot write the log %s: %v", m.file.Path(), err) })
			}
		}
	}
	m.mu.Lock()
	m.waiting -= len(batch)
	m.mu.Unlock()
}

// reopen has the next line written to a new file, where the old one was renamed.
func (m *mainLog) reopen() {
	if m != nil && m.file != nil {
		m.file.Reopen()
	}
}

// close writes what is left, as long as somebody takes it.
func (m *mainLog) close() {
	if m == nil {
		return
	}
	m.flush()
	done := make(chan struct{})
	m.queue.put(func() { close(done) })
	select {
	case <-done:
	case <-time.After(time.Second):
		return // it is written to
	}
	if m.file != nil {
		m.file.Close()
	}
}

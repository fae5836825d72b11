package daemon

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"tend/api"
	"tend/internal/event"
	"tend/internal/spec"
	"tend/internal/unit"
)

// sayer writes the daemon's own log. The loop must not wait for a terminal that
// is held or a pipe that nobody reads: lines are collected, written beside the
// loop, and dropped and counted when too many wait.
type sayer struct {
	out   *os.File
	json  bool
	level level

	batch []byte // of the loop, since the last flush
	lost  int

	queue   queue
	mu      sync.Mutex
	waiting int // bytes handed to the queue and not written
}

// maxWaiting bounds what waits to be written.
const maxWaiting = 1 << 20

type level int

const (
	debugLevel level = iota
	infoLevel
	warnLevel
	errorLevel
)

var levelNames = [...]string{"debug", "info", "warn", "error"}

func newSayer(out *os.File) *sayer {
	return &sayer{out: out, level: infoLevel, queue: queue{limit: 1}}
}

// configure applies the table [tend].
func (s *sayer) configure(d spec.Daemon) {
	s.json, s.level = d.LogFormat == "json", infoLevel
	for l, name := range levelNames {
		if name == d.LogLevel {
			s.level = level(l)
		}
	}
}

func levelOf(e event.Event) level {
	switch e.Kind {
	case event.ConfigRejected:
		return errorLevel
	case event.Warning, event.DaemonWarning, event.LogTrouble:
		return warnLevel
	case event.State:
		switch {
		case e.To == unit.Failed.String():
			return errorLevel
		case e.To == unit.Running.String():
			return debugLevel // "started" has been said
		}
	}
	return infoLevel
}

func (s *sayer) events(events []event.Event) {
	for _, e := range events {
		if l := levelOf(e); l >= s.level {
			s.batch = s.line(s.batch, l, e)
		}
	}
}

// line appends an event as a line: the time, of whom it tells, and the words.
func (s *sayer) line(b []byte, l level, e event.Event) []byte {
	name := e.Name
	if name == "" {
		name = e.Program
	}
	message := e.Message
	if e.PID != 0 && e.To == unit.Starting.String() && !strings.Contains(message, "pid ") {
		message = fmt.Sprintf("%s, pid %d", message, e.PID)
	}
	if s.json {
		line, err := json.Marshal(struct {
			Time    string `json:"time"`
			Level   string `json:"level"`
			Kind    string `json:"kind"`
			Name    string `json:"name,omitempty"`
			State   string `json:"state,omitempty"`
			PID     int    `json:"pid,omitempty"`
			Message string `json:"message"`
		}{e.At.Format("2006-01-02T15:04:05.000Z07:00"), levelNames[l], e.Kind, name, e.To, e.PID, message})
		if err != nil {
			panic("daemon: cannot encode an event: " + err.Error())
		}
		return append(append(b, line...), '\n')
	}
	b = e.At.AppendFormat(b, "2006-01-02 15:04:05 ")
	if l >= warnLevel {
		b = append(b, levelNames[l]+": "...)
	}
	if name != "" {
		b = append(b, name+": "...)
	}
	b = append(b, message...)
	if e.Kind == event.ConfigRejected {
		if list, ok := e.Detail.([]api.Diagnostic); ok {
			for _, diag := range list {
				b = append(append(b, '\n'), diag.Text...)
			}
		}
	}
	return append(b, '\n')
}

// flush hands the collected lines over to be written.
func (s *sayer) flush() {
	if len(s.batch) == 0 {
		return
	}
	s.mu.Lock()
	full := s.waiting+len(s.batch) > maxWaiting
	if !full {
		s.waiting += len(s.batch)
	}
	s.mu.Unlock()
	if full {
		s.lost++
		s.batch = s.batch[:0]
		return
	}
	if s.lost > 0 {
		s.batch = fmt.Appendf(s.batch, "warn: %d batches of log lines were dropped, nobody read them\n", s.lost)
		s.lost = 0
	}
	text := s.batch
	s.batch = nil
	s.queue.put(func() {
		s.out.Write(text) // nowhere left to complain
		s.mu.Lock()
		s.waiting -= len(text)
		s.mu.Unlock()
	})
}

// close writes what is left, as long as somebody reads it.
func (s *sayer) close() {
	s.flush()
	done := make(chan struct{})
	s.queue.put(func() { close(done) })
	select {
	case <-done:
	case <-time.After(time.Second):
	}
}

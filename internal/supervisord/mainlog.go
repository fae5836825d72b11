package supervisord

import (
	"fmt"
	"slices"
	"time"

	"tend/internal/event"
)

// Levels of the main log as they are written there, the least important first.
var levels = [...]string{"BLAT", "TRAC", "DEBG", "INFO", "WARN", "ERRO", "CRIT"}

// levelNames are the values of loglevel, in the order of levels.
var levelNames = [...]string{"blather", "trace", "debug", "info", "warn", "error", "critical"}

// Logged reports whether a line of a level, as "WARN", is written to a main log
// whose loglevel is min, as "info".
func Logged(level, min string) bool {
	return slices.Index(levels[:], level) >= slices.Index(levelNames[:], min)
}

// AppendLine appends a line of the main log as tools read it.
func AppendLine(b []byte, at time.Time, s Say) []byte {
	b = at.AppendFormat(b, "2006-01-02 15:04:05,000 ")
	return append(append(append(append(b, s.Level...), ' '), s.Text...), '\n')
}

// A LogTurn is a change in the life of a process, as the main log tells of it.
type LogTurn struct {
	Name      string // of the process, without its group
	From, To  State
	PID       int         // of the process that was started, or is there
	Exit      *event.Exit // the end that led here; nil: none
	TooSoon   bool        // that end came within startsecs
	StartSecs int
	SpawnErr  string // why it couldn't be started, for an Exit with an Err
	Stopping  bool   // everything is being stopped, which is told once for all
}

// Lines returns what the main log says of a turn, which may be nothing.
func (t LogTurn) Lines() []Say {
	var lines []Say
	say := func(level, format string, args ...any) {
		lines = append(lines, Say{level, fmt.Sprintf(format, args...)})
	}
	switch e := t.Exit; {
	case e == nil:
	case e.Err != "":
		say("INFO", "spawnerr: %s", t.SpawnErr)
	default:
		level, word, expected := "WARN", "exited", "; not expected"
		if e.Success && !t.TooSoon {
			level, expected = "INFO", "; expected"
		}
		if t.From == Stopping {
			word, expected = "stopped", ""
			if e.Success { // however soon it came
				level = "INFO"
			}
		}
		say(level, "%s: %s (%s%s)", word, t.Name, ended(e), expected)
	}
	switch {
	case t.To == Starting && t.PID != 0:
		say("INFO", "spawned: '%s' with pid %d", t.Name, t.PID)
	case t.To == Running:
		say("INFO", "success: %s entered RUNNING state, process has stayed up for > than %d seconds (startsecs)", t.Name, t.StartSecs)
	case t.To == Fatal:
		say("INFO", "gave up: %s entered FATAL state, too many start retries too quickly", t.Name)
	case t.To == Stopping && t.From != Stopping && !t.Stopping:
		say("INFO", "waiting for %s to stop", t.Name)
	}
	return lines
}

// ended says how a process has ended.
func ended(e *event.Exit) string {
	switch {
	case e.Unknown:
		return "exit status unknown"
	case e.Signal != 0 && e.Core:
		return "terminated by SIG" + e.Signal.String() + " (core dumped)"
	case e.Signal != 0:
		return "terminated by SIG" + e.Signal.String()
	}
	return fmt.Sprintf("exit status %d", e.Code)
}

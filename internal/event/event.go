// Package event holds what happened: a numbered, bounded log with followers.
//
// Publishers never block and readers pull: who falls behind the bound is told
// how many events were missed. The package knows nothing of what the events mean.
package event

import (
	"strconv"
	"time"

	"tend/internal/spec"
)

// Kinds of events.
const (
	State          = "state"           // an instance changed its state
	Added          = "program.added"   // a program came in by a configuration
	Removed        = "program.removed" // a program went, and everything of it is gone
	Enabled        = "program.enabled"
	Disabled       = "program.disabled"
	LetGo          = "program.let-go"  // what was draining has ended
	Changed        = "program.changed" // live values were applied
	Warning        = "program.warning" // something about a program that its state doesn't tell
	ConfigApplied  = "config.applied"
	ConfigRejected = "config.rejected"
	Renewed        = "program.renewed"    // restarted for files that have changed
	FilesWatched   = "files.watched"      // for changes of which programs are restarted
	RolledBack     = "config.rolled-back" // what a reload has started didn't become ready
	DaemonStarted  = "daemon.started"
	DaemonStopping = "daemon.stopping"
	Adopted        = "daemon.adopted" // what an earlier daemon has left running was taken over
	DaemonWarning  = "daemon.warning"
	LogTrouble     = "log.trouble"  // a log can't be written, or can again
	LogReopened    = "log.reopened" // what is written now goes to new files, where others were renamed
)

// An Event is one thing that happened. Which fields are set depends on Kind.
type Event struct {
	Seq     uint64 // from 1, without gaps
	At      time.Time
	Kind    string
	Program string
	Name    string // of the instance
	From    string // states, of kind State
	To      string
	PID     int
	Gen     uint64
	Exit    *Exit
	Cause   string // of kind State: why it is being ended though it is wanted, "unhealthy: …"
	Message string // in words, without the name
	Detail  any    // what the daemon adds for its own kinds; never changed afterwards
}

// Exit says how a run ended.
type Exit struct {
	Code    int
	Signal  spec.Signal // 0: it exited by itself
	Core    bool
	Unknown bool // it ended while nobody looked who could tell how
	At      time.Time
	Uptime  time.Duration
	Err     string // it could not be started, and why
	Cause   string // why it was ended, though it was wanted: "unhealthy: …"
	Success bool   // by the program's success_codes
}

// Reason returns the exit in words: "exit 1", "signal KILL", "cannot start: …",
// "unhealthy: status 500 (signal TERM)".
func (e *Exit) Reason() string {
	if e.Cause != "" {
		return e.Cause + " (" + e.how() + ")"
	}
	return e.how()
}

func (e *Exit) how() string {
	switch {
	case e.Err != "":
		return e.Err
	case e.Unknown:
		return "exit status unknown"
	case e.Signal != 0 && e.Core:
		return "signal " + e.Signal.String() + " (core dumped)"
	case e.Signal != 0:
		return "signal " + e.Signal.String()
	}
	return "exit " + strconv.Itoa(e.Code)
}

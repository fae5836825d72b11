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
	Code    int         `json:",omitempty"`
	Signal  spec.Signal `json:",omitempty"` // 0: it exited by itself
	Core    bool        `json:",omitempty"`
	Unknown bool        `json:",omitempty"` // it ended while nobody looked who could tell how
	At      time.Time
	Uptime  time.Duration `json:",omitempty"`
	Err     string        `json:",omitempty"` // it could not be started, and why
	Cause   string        `json:",omitempty"` // why it was ended, though it was wanted: "unhealthy: …"
	Success bool          `json:",omitempty"` // by the program's success_codes

	Gen   uint64        `json:",omitempty"` // of the run
	PID   int           `json:",omitempty"` // 0: it had no process, or nobody knows
	Ready time.Duration `json:",omitempty"` // from its start until it was of use to others; 0: it never was
	By    string        `json:",omitempty"` // whose wish it was that it ends: "stopped by hand"; "": nobody's
	Used  Used          `json:",omitzero"`
}

// Used is what a run has used, as far as that is known.
type Used struct {
	// CPU is the time of processors, of the main process and of those children
	// that it has waited for, or where Tree is set of all that it has started. It
	// is known where Known is set.
	CPU   time.Duration `json:",omitempty"`
	Known bool          `json:",omitempty"`
	Tree  bool          `json:",omitempty"`
	// Memory is the most that the largest of these processes had in memory at a
	// time, in bytes; 0: it isn't known. Where AtMost is set it was no more than
	// that, and perhaps much less.
	Memory int64 `json:",omitempty"`
	AtMost bool  `json:",omitempty"`
}

// Story returns the exit in words, with whose wish it was: "stopped by hand (signal
// TERM)".
func (e *Exit) Story() string {
	if e.By == "" || e.Cause != "" {
		return e.Reason()
	}
	return e.By + " (" + e.how() + ")"
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

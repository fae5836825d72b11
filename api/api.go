// Package api is the protocol between the tend daemon and everybody else: the
// wire types, the kinds of errors, the paths, and a Go client.
//
// The protocol is JSON over HTTP, on a unix socket or TCP. Times are RFC 3339,
// sizes bytes, durations seconds. openapi.json describes it for other languages.
// The package knows nothing of how the daemon works.
package api

import "time"

// States of an instance, as supervisord names them but in lower case.
const (
	Stopped  = "stopped"
	Waiting  = "waiting"  // for what it comes after, its time, or a connection
	Starting = "starting" // spawned, not yet ready, or up for min_uptime
	Running  = "running"
	Backoff  = "backoff"  // ended too soon, waits before the next start
	Stopping = "stopping" // told to end, or what it left behind is being ended
	Draining = "draining" // no longer wanted, left to end by itself
	Exited   = "exited"   // ended, and its policy doesn't start it again
	Done     = "done"     // a task that succeeded
	Failed   = "failed"   // too many failed starts
)

// EventSeqHeader is a header of the answer to GET /v1/programs: the number of the
// latest event that the list shows. Who follows the events from there on misses none.
const EventSeqHeader = "Tend-Event-Seq"

// Instance is one copy of a program, as GET /v1/programs lists it.
type Instance struct {
	Name          string     `json:"name"`    // "queue:0"
	Program       string     `json:"program"` // "queue"
	State         string     `json:"state"`
	Ready         bool       `json:"ready"`
	Healthy       *bool      `json:"healthy"` // null where no health is checked
	Enabled       bool       `json:"enabled"`
	Wanted        bool       `json:"wanted"`     // to be up, by configuration or by hand
	PID           int        `json:"pid"`        // 0 when none
	Generation    uint64     `json:"generation"` // counts the starts
	Since         time.Time  `json:"since"`      // of the state
	UptimeSeconds float64    `json:"uptime_seconds"`
	Restarts      int        `json:"restarts"`
	LastExit      *Exit      `json:"last_exit"`
	CPUPercent    *float64   `json:"cpu_percent"`         // null where it isn't measured
	MemoryBytes   *int64     `json:"memory_bytes"`        // null where it isn't measured
	Usage         *Usage     `json:"usage,omitempty"`     // of a program's full view, as are
	Processes     []Process  `json:"processes,omitempty"` // its processes: each after its parent, the main one first, 200 at most
	NextRun       *time.Time `json:"next_run"`            // the next start: of a schedule, or the end of a backoff
	Idle          bool       `json:"idle,omitempty"`      // waits for its time or a connection, and for nothing else
	After         []string   `json:"after,omitempty"`     // programs that are ready before it is started
	Requires      []string   `json:"requires,omitempty"`  // and without which it is stopped
	Message       string     `json:"message,omitempty"`   // why it is so: what it waits for, what failed
	Status        string     `json:"status,omitempty"`    // what the program says of itself, by sd_notify(3)
	PTY           bool       `json:"pty,omitempty"`       // it has a terminal, which can be attached to
	Outdated      bool       `json:"outdated,omitempty"`  // it runs by an earlier configuration, since a rolling restart has ended before its turn
}

// Up reports whether the instance is where it is wanted to be. A finished task
// is up, and so is a program that nobody wants to run.
func (i Instance) Up() bool {
	switch {
	case !i.Wanted:
		return true
	case i.State == Running, i.State == Done, i.State == Draining:
		return true
	case i.State == Waiting: // for its time, or a connection
		return i.Idle
	case i.State == Exited:
		return i.LastExit != nil && i.LastExit.Success
	}
	return false
}

// Usage is what all processes of an instance use. What is null couldn't be read.
type Usage struct {
	CPUSeconds        float64 `json:"cpu_seconds"`
	Processes         int     `json:"processes"`
	Threads           int     `json:"threads"`
	ResidentBytes     int64   `json:"resident_bytes"`     // what they share counts for each
	ProportionalBytes *int64  `json:"proportional_bytes"` // what they share is divided (PSS)
	CgroupBytes       *int64  `json:"cgroup_bytes"`       // as the kernel counts it, with the page cache
	CgroupPeakBytes   *int64  `json:"cgroup_peak_bytes"`
	Descriptors       *int64  `json:"descriptors"`
	ReadBytes         *int64  `json:"read_bytes"` // fetched from storage
	WrittenBytes      *int64  `json:"written_bytes"`
}

// Process is one of those that an instance consists of.
type Process struct {
	PID         int      `json:"pid"`
	Parent      int      `json:"parent"`  // may be none of the instance's: it has lost its own
	Command     string   `json:"command"` // with its arguments, 512 bytes of it
	CPUPercent  *float64 `json:"cpu_percent"`
	CPUSeconds  float64  `json:"cpu_seconds"`
	MemoryBytes int64    `json:"memory_bytes"`
	Threads     int      `json:"threads"`
}

// Login is the body of POST /v1/login.
type Login struct {
	Token string `json:"token"`
}

// Access says what the asker may do, as GET /v1/access gives it.
type Access struct {
	Name  string `json:"name,omitempty"` // of the token in the cookie
	Read  bool   `json:"read"`
	Act   bool   `json:"act"`
	Login bool   `json:"login"` // there are tokens to log in with
}

// Exit says how a run ended.
type Exit struct {
	Code    int       `json:"code"`             // 0 when a signal ended it
	Signal  string    `json:"signal,omitempty"` // "KILL"
	At      time.Time `json:"at"`
	Reason  string    `json:"reason"` // "exit 1", "signal KILL", "cannot start: …"
	Success bool      `json:"success"`
}

// Program is a program's full view, as GET /v1/programs/{name} gives it.
type Program struct {
	Name      string         `json:"name"`
	File      string         `json:"file"`
	Line      int            `json:"line"`
	Config    map[string]any `json:"config"` // every effective key
	Instances []Instance     `json:"instances"`
}

// AttachNotice is what somebody who is attached to a program's terminal is told
// beside its output.
type AttachNotice struct {
	Name        string `json:"name"`                   // of the instance
	State       string `json:"state,omitempty"`        // that it has now
	Message     string `json:"message"`                // in words: "web ended: exit 1; it is started again"
	MissedBytes int64  `json:"missed_bytes,omitempty"` // of output, which was left out here: it came faster than it was read
	End         bool   `json:"end,omitempty"`          // nothing follows: the program has come to rest, or is gone
	OK          bool   `json:"ok,omitempty"`           // with End: it is as it was meant to be
}

// Act is the body of POST /v1/programs/{name}/{verb}.
type Act struct {
	NoWait  bool   `json:"no_wait,omitempty"` // answer when it is begun, not when it is done
	Signal  string `json:"signal,omitempty"`  // of verb signal: "HUP" or "1"
	Rolling bool   `json:"rolling,omitempty"` // of verb restart: one instance of a program after the other
}

// Result is what an action did to one instance.
type Result struct {
	Name    string `json:"name"`
	OK      bool   `json:"ok"`
	State   string `json:"state"`
	Message string `json:"message"` // "started, pid 42", "exited 1 after 0.1 s, next try in 1.6 s"
}

// Add is the body of POST /v1/programs: a program that is added by a command. It
// is kept in a file of its own, in a folder that the configuration includes.
type Add struct {
	Name   string         `json:"name"`
	Config map[string]any `json:"config"` // keys of a program, as in a file, those of tables dotted
}

// Scale is the body of POST /v1/programs/{name}/scale.
type Scale struct {
	Instances int `json:"instances"`
}

// Exec says how a command is run as a program is, as GET
// /v1/programs/{name}/exec gives it.
type Exec struct {
	Name            string      `json:"name"` // of the instance
	Env             []string    `json:"env"`  // NAME=value
	Directory       string      `json:"directory"`
	UID             int         `json:"uid"` // -1: the daemon's own, as are GID and Groups then
	GID             int         `json:"gid"`
	Groups          []int       `json:"groups"`
	DaemonUID       int         `json:"daemon_uid"`
	Umask           *int        `json:"umask"` // null: the daemon's own, as are those below
	Nice            *int        `json:"nice"`
	OOMScoreAdj     *int        `json:"oom_score_adj"`
	NoNewPrivileges bool        `json:"no_new_privileges"`
	Limits          []ExecLimit `json:"limits"`
}

// ExecLimit is a resource limit of setrlimit(2).
type ExecLimit struct {
	Name string `json:"name"` // "nofile"
	// Resource is the number of RLIMIT_NOFILE and its like.
	Resource int     `json:"resource"`
	Soft     *uint64 `json:"soft"` // null: unlimited
	Hard     *uint64 `json:"hard"` // null: unlimited
}

// Results answers an action.
type Results struct {
	Results []Result `json:"results"`
	// Pending is set where the configuration files hold changes that weren't
	// applied, which a restart doesn't do.
	Pending bool `json:"pending,omitempty"`
}

// Plan says what a reload would do, or did.
type Plan struct {
	Files       []string     `json:"files"`
	Items       []PlanItem   `json:"items"`     // only what changes
	Unchanged   int          `json:"unchanged"` // instances that aren't touched
	Empties     bool         `json:"empties"`   // nothing would be left: needs allow_empty
	Diagnostics []Diagnostic `json:"diagnostics,omitempty"`
	Applied     bool         `json:"applied"`

	// Results are those of a reload that waits, an instance that it has set going
	// each.
	Results []Result `json:"results,omitempty"`
	// RolledBack says why a reload that waits was taken back (rollback = true); ""
	// that it wasn't.
	RolledBack string `json:"rolled_back,omitempty"`
}

// Empty reports whether the plan changes nothing.
func (p Plan) Empty() bool { return len(p.Items) == 0 }

// Actions of a plan.
const (
	PlanStart   = "start"   // new, or newly enabled
	PlanStop    = "stop"    // removed or disabled
	PlanDrain   = "drain"   // removed or disabled, left to end by itself
	PlanRestart = "restart" // changed in a way that needs it
	PlanLive    = "live"    // changed in place
	PlanAdd     = "add"     // new, but not to be started (disabled, or autostart = false)
	PlanRemove  = "remove"  // removed while not running
)

// PlanItem is what happens to one program.
type PlanItem struct {
	Program string       `json:"program"`
	Action  string       `json:"action"`
	Summary string       `json:"summary,omitempty"` // of a start: the command; of instances: "2 more"
	Changes []PlanChange `json:"changes,omitempty"`
}

// PlanChange is a key whose value changes.
type PlanChange struct {
	Key   string `json:"key"`
	Apply string `json:"apply"` // "live" or "restart"
	Old   string `json:"old"`
	New   string `json:"new"`
}

// ReloadOptions is the body of POST /v1/reload.
type ReloadOptions struct {
	AllowEmpty bool `json:"allow_empty,omitempty"`
	// Wait lets the answer come when all that the reload sets going has its result:
	// starts, restarts, stops, a rolling restart, and the trial of rollback = true.
	Wait bool `json:"wait,omitempty"`
}

// Diagnostic is something that a loader has to say of a configuration file.
type Diagnostic struct {
	File     string `json:"file"`
	Line     int    `json:"line"` // from 1; 0: the file as a whole
	Key      string `json:"key,omitempty"`
	Severity string `json:"severity"` // "error", "warning" or "info"
	Message  string `json:"message"`
	Hint     string `json:"hint,omitempty"`
	// Text is the whole complaint as people read it, with the line and carets.
	Text string `json:"text,omitempty"`
}

// Check is what `tend check --json` prints.
type Check struct {
	OK          bool             `json:"ok"`
	Files       []string         `json:"files"`
	Diagnostics []Diagnostic     `json:"diagnostics"`
	Programs    []map[string]any `json:"programs"` // an object an instance
}

// Event is an entry of the numbered event log.
type Event struct {
	Seq         uint64       `json:"seq"`
	At          time.Time    `json:"at"`
	Kind        string       `json:"kind"`              // "state", "config.applied", …
	Name        string       `json:"name,omitempty"`    // the instance, "queue:0"
	Program     string       `json:"program,omitempty"` // "queue"
	From        string       `json:"from,omitempty"`    // of kind "state"
	To          string       `json:"to,omitempty"`
	PID         int          `json:"pid,omitempty"`
	Generation  uint64       `json:"generation,omitempty"`
	Exit        *Exit        `json:"exit,omitempty"`
	Message     string       `json:"message"`               // the event in words
	Plan        *Plan        `json:"plan,omitempty"`        // of config.applied
	Diagnostics []Diagnostic `json:"diagnostics,omitempty"` // of config.rejected
}

// Daemon describes the daemon, as GET /v1/daemon gives it.
type Daemon struct {
	PID       int       `json:"pid"`
	Version   string    `json:"version"`
	Started   time.Time `json:"started"`
	Config    []string  `json:"config"` // files
	State     string    `json:"state"`  // folder
	Logs      string    `json:"logs"`   // folder
	Reload    string    `json:"reload"` // "auto" or "manual"
	Programs  int       `json:"programs"`
	Instances int       `json:"instances"`
	EventSeq  uint64    `json:"event_seq"` // number of the latest event
	Pending   bool      `json:"pending"`   // files hold changes that aren't applied
	Stopping  bool      `json:"stopping"`
	Tree      string    `json:"tree"` // how a whole tree is found: "cgroup" or "subreaper"

	Guard        int    `json:"guard"`         // pid of the guard above the daemon, 0 when there is none
	Keeper       string `json:"keeper"`        // who keeps the programs' output over the daemon's death: "guard", "fdstore" or "none"
	Upgrading    bool   `json:"upgrading"`     // another binary is about to be executed
	UpgradeError string `json:"upgrade_error"` // why the latest upgrade failed, "" when none did
}

// UpgradeOptions is the body of POST /v1/daemon/upgrade.
type UpgradeOptions struct {
	Binary string `json:"binary,omitempty"` // absolute path; "" is that of the running one, which may have been replaced
}

// Upgrade says what is about to be executed in the daemon's place. The daemon
// answers again when it is there, from then on as the new version; until then
// connections wait.
type Upgrade struct {
	From   string `json:"from"` // versions
	To     string `json:"to"`
	Binary string `json:"binary"`
	PID    int    `json:"pid"` // which stays
}

// ShutdownOptions is the body of POST /v1/daemon/shutdown.
type ShutdownOptions struct {
	Now bool `json:"now,omitempty"` // kill instead of asking to end
}

// LogLine is one message of a log in the event-stream form: a piece of output of
// whole lines. A line that grows over 64 KiB comes in pieces.
//
// GET /v1/programs/{name}/logs answers text/plain, the bytes as they are, for
// one instance. With "Accept: text/event-stream" it answers events named "log"
// with this as data, and takes a program or a pattern with several instances;
// each event's id is a position from which a later request goes on (parameter
// since, or the header Last-Event-ID). The events of the last lines asked for
// have no id but the last of them, and with more than 32 instances an id comes
// ten times a second at most. Bytes that aren't UTF-8 come as U+FFFD.
type LogLine struct {
	Name     string     `json:"name"` // the instance
	Text     string     `json:"text"`
	Position string     `json:"position,omitempty"` // set by the Go client: the event's id
	Time     *time.Time `json:"time,omitempty"`     // when it was printed, where LogOptions.Times asks for it and that is known
	Missed   bool       `json:"missed,omitempty"`   // output before this was rotated away before it was read
}

// LogTrouble is the data of an event named "trouble": the log of an instance
// can't be read any further. Those of others go on.
type LogTrouble struct {
	Name    string `json:"name"`
	Message string `json:"message"`
}

// EventsMissed is the data of an event named "missed" among those of
// GET /v1/events: so many events are no longer held.
type EventsMissed struct {
	Missed uint64 `json:"missed"`
}

// Health answers GET /healthz: the daemon's loop works.
type Health struct {
	OK bool `json:"ok"`
}

// Kinds of errors.
const (
	KindBadRequest  = "bad-request"
	KindNotFound    = "not-found"
	KindConflict    = "conflict"    // as things stand it can't be done
	KindInvalid     = "invalid"     // the configuration has errors
	KindEmpty       = "would-empty" // a reload would take everything away
	KindForbidden   = "forbidden"
	KindUnavailable = "unavailable" // the daemon is stopping
	KindInternal    = "internal"
)

// Error is the protocol's error.
type Error struct {
	Kind        string       `json:"kind"`
	Message     string       `json:"message"`
	Hint        string       `json:"hint,omitempty"`
	Diagnostics []Diagnostic `json:"diagnostics,omitempty"` // of kind invalid
}

func (e *Error) Error() string { return e.Message }

// ErrorBody is the body of an answer that isn't a success.
type ErrorBody struct {
	Error *Error `json:"error"`
}

// Why tells the story of one instance, as GET /v1/programs/{name}/why gives it.
type Why struct {
	Name     string      `json:"name"`
	Program  string      `json:"program"`
	State    string      `json:"state"`
	Since    time.Time   `json:"since"`     // of the state
	Text     string      `json:"text"`      // how it is, what led there, what comes next: a paragraph
	Lines    []string    `json:"lines"`     // what it printed last before its last end, as far as that is known; else last of all
	Ends     []End       `json:"ends"`      // how its last runs ended, the latest first
	WaitsFor []Neighbour `json:"waits_for"` // what it comes after
	Next     *time.Time  `json:"next"`      // when something happens by itself; null: nothing is due
	Do       string      `json:"do"`        // the command that helps best
	Does     string      `json:"does"`      // what that is for
}

// End is how a run ended, or how several in a row did that ended alike.
type End struct {
	Exit          Exit    `json:"exit"` // of the latest of them
	UptimeSeconds float64 `json:"uptime_seconds"`
	Times         int     `json:"times"` // in a row
}

// Neighbour is an instance that another one comes after.
type Neighbour struct {
	Name    string `json:"name"`
	State   string `json:"state"`
	Message string `json:"message,omitempty"`
	Blocks  bool   `json:"blocks"` // it is waited for
}

// Run is a run of an instance from its start to its end, as GET
// /v1/programs/{name}/history gives it. What is null isn't known, or isn't yet.
type Run struct {
	Name       string     `json:"name"` // of the instance
	Program    string     `json:"program"`
	Generation uint64     `json:"generation"` // counts the starts; anew after a shutdown of the daemon
	PID        int        `json:"pid"`        // 0: it had no process, or nobody knows which
	Running    bool       `json:"running"`    // it goes on
	Started    time.Time  `json:"started"`
	Ready      *time.Time `json:"ready"`   // when it was of use to others first
	Ended      *time.Time `json:"ended"`   // of its main process
	Seconds    *float64   `json:"seconds"` // from its start to its end, or until now
	Code       *int       `json:"code"`    // null too when a signal ended it, and when it couldn't be started
	Signal     string     `json:"signal"`  // "KILL"; "": none ended it, or nobody knows
	CoreDumped bool       `json:"core_dumped"`
	Success    bool       `json:"success"` // by the program's success_codes
	Wished     bool       `json:"wished"`  // somebody wished its end: by hand, by a reload, with tend
	Unknown    bool       `json:"unknown"` // it has ended, and nobody knows how
	Reason     string     `json:"reason"`  // "exit 1", "stopped by hand (signal TERM)", "unhealthy: status 500 (signal TERM)", "cannot start: …"; "" while it goes on

	// The most memory that the largest process was seen to have at a time: of the
	// main one and of those children that it has waited for; while it goes on, of
	// the main one. Where only a bound is known, that is in the second.
	PeakMemoryBytes  *int64 `json:"peak_memory_bytes"`
	PeakMemoryAtMost *int64 `json:"peak_memory_at_most_bytes"`
	// The time of processors, of the same processes, or where CPUTree is set of all
	// that the run has started.
	CPUSeconds *float64 `json:"cpu_seconds"`
	CPUTree    bool     `json:"cpu_tree"`

	Lines   []string `json:"lines"`   // what it printed last
	Skipped int      `json:"skipped"` // how many runs of the instance just before it aren't kept
}

// Failed reports whether the run ended though it was to go on, or without success:
// not where somebody wished its end, nor where nobody knows how it ended.
func (r Run) Failed() bool {
	return !r.Running && !r.Success && !r.Wished && r.Ended != nil && !r.Unknown
}

// End returns when the run ended, or where nobody knows, when it started.
func (r Run) End() time.Time {
	if r.Ended != nil {
		return *r.Ended
	}
	return r.Started
}

// Package spec says what is wanted: which programs are to run, and how.
//
// A [Set] is the whole wanted world, a [Program] one entry of it. Every loader
// of package conf ends here, and everything behind it starts here. The field
// table in fields.go is the single list of the keys of a program: parsing,
// defaults, comparison, the reference page and the JSON Schema all read it.
//
// The package does no I/O: it neither reads files nor looks up users.
package spec

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A Set is the wanted world. Programs are in the order of their files, or of their
// priorities where those of supervisord have some, which is
// the order in which they are shown; names are unique.
type Set struct {
	Daemon   Daemon
	Programs []*Program
}

// Program returns the program with that name, or nil.
func (s *Set) Program(name string) *Program {
	for _, p := range s.Programs {
		if p.Name == name {
			return p
		}
	}
	return nil
}

// Daemon holds the daemon's own settings, the table [tend].
type Daemon struct {
	Reload      Reload
	State       string // folder; "" stands for the default place
	Logs        string // folder; "" stands for the default place
	SocketMode  int    // permission bits of the control socket
	SocketGroup string
	Listen      string // address of the API on a network; "": none
	TLSCert     string // files; "": no TLS
	TLSKey      string
	TokenFile   string // "": no tokens
	Rollback    bool   // a reload whose programs don't become ready is taken back
	ExitWhen    string // "never", "all-done", "any-failed" or a program's name
	LogLevel    string // debug, info, warn, error
	LogFormat   string // text, json
	LogMaxTotal int64  // bytes of all programs' logs; 0: no bound
}

// Reload says how a changed file comes to be applied.
type Reload string

const (
	ReloadAuto   Reload = "auto"   // watched, applied after a quiet moment
	ReloadManual Reload = "manual" // on a signal or a command
)

// A Program is one program as it is wanted. It is made by [New], filled by the
// setters of the field table, and not changed once it is part of a Set.
//
// Strings may hold [InstanceMark]; [Program.Instance] replaces it.
type Program struct {
	Name   string
	Source Source
	Member Member

	Command         Command
	Enabled         bool
	Autostart       bool
	Instances       int
	Directory       string
	Env             Env
	EnvFile         []string
	User, Group     string
	UserEnv         bool
	Umask           Optional // permission bits
	PTY             bool     // it gets a terminal, as its standard streams
	Restart         Restart
	SuccessCodes    []int // sorted
	MinUptime       time.Duration
	Backoff         Backoff
	MaxFailures     int // failed starts in a row; 0: no limit
	RetryFailed     time.Duration
	StopSignal      Signal
	StopCommand     Command
	StopTimeout     time.Duration
	StopScope       StopScope
	KillScope       KillScope
	WhenDisabled    WhenDisabled
	After           []string
	Requires        []string
	Ready           Ready
	Health          Health
	Watchdog        time.Duration // longest time between two keep-alives; 0: none are expected
	Type            Type
	Schedule        string // a cron line; "" is a program that runs always, or a task that runs once
	Timezone        string // of the schedule; "" is the machine's
	Overlap         Overlap
	CatchUp         bool
	Listen          []string // addresses that are opened for it
	OnDemand        bool
	IdleTimeout     time.Duration // 0: it isn't stopped for being idle
	Rolling         bool
	MaxUnavailable  int
	Watch           []string // globs of files; a change restarts it
	WatchIgnore     []string
	WatchDelay      time.Duration
	OnEvent         OnEvent
	Log             Log
	Limits          Limits
	Nice            Optional
	OOMScoreAdj     Optional
	NoNewPrivileges bool
}

// Source is where a program was written, for messages.
type Source struct {
	File string
	Line int
}

// A Member is a program's place among those of a supervisord.conf. It isn't part
// of what a program does: a change of it alone restarts nothing, and the zero
// Member is a program of another format.
type Member struct {
	Group         string // of supervisord's; "" in other formats
	Process       string // the name within the group
	GroupPriority int    // groups of lower numbers are started first
	Priority      int    // and so within a group
	ServerURL     string // where the process is told to find its supervisor; "" is nowhere

	Pool      Pool   // of an [eventlistener:x]; the zero Pool is none
	Socket    Socket // of a [fcgi-program:x]; the zero Socket is none
	Stdout    Heard
	Stderr    Heard
	StripANSI bool // escape sequences are taken out of its output
}

// A Pool is what an event listener of supervisord's listens to, in common with the
// others of its group.
type Pool struct {
	Events  string // types, separated by commas; "" is no listener
	Buffer  int    // events that may wait
	Handler string // result_handler
}

// A Socket is what the processes of a group share as their standard input: they
// accept connections from it.
type Socket struct {
	Network  string // "tcp", "unix" or "", which is none
	Address  string // host:port, or a path
	Mode     int    // permission bits of a path
	UID, GID int    // whom a path is given to; -1 is unchanged
	Backlog  int    // 0: the largest that the system has
}

// Heard is what event listeners are told of an output.
type Heard struct {
	Capture int  // bytes kept of what is between the tags of a PROCESS_COMMUNICATION; 0: there are no tags
	Events  bool // all of it, as PROCESS_LOG
}

// parts returns the places of all that a Member holds, in the order in which they
// are encoded: new ones come last.
func (m *Member) parts() []any {
	return []any{&m.Group, &m.Process, &m.GroupPriority, &m.Priority, &m.ServerURL,
		&m.Pool.Events, &m.Pool.Buffer, &m.Pool.Handler,
		&m.Socket.Network, &m.Socket.Address, &m.Socket.Mode, &m.Socket.UID, &m.Socket.GID, &m.Socket.Backlog,
		&m.Stdout.Capture, &m.Stdout.Events, &m.Stderr.Capture, &m.Stderr.Events, &m.StripANSI}
}

// NameOf returns the name of a process in a group as supervisord's tools write it,
// its namespec: "group:process", or the one name where both are the same.
func NameOf(group, process string) string {
	if group == process {
		return group
	}
	return group + ":" + process
}

// GroupOf returns the group of an instance of p, by the instance's name, and the
// name of the process within it. A program of another format than supervisord's
// is a group of its own, whose processes are called by their numbers; where there
// is one, it has the group's name.
func (p *Program) GroupOf(name string) (group, process string) {
	if p.Member.Group != "" {
		return p.Member.Group, p.Member.Process
	}
	if _, number, ok := strings.Cut(name, ":"); ok {
		return p.Name, number
	}
	return p.Name, name
}

// A Command is what is executed: Shell through /bin/sh -c, or Argv as it is.
// At most one of the two is set.
type Command struct {
	Shell string
	Argv  []string
}

// IsZero reports whether there is no command.
func (c Command) IsZero() bool { return c.Shell == "" && len(c.Argv) == 0 }

// Args returns the argument vector to execute.
func (c Command) Args() []string {
	if c.Shell != "" {
		return []string{"/bin/sh", "-c", c.Shell}
	}
	return c.Argv
}

// String returns the command as a person would read it.
func (c Command) String() string {
	if c.Shell != "" {
		return c.Shell
	}
	words := make([]string, len(c.Argv))
	for i, w := range c.Argv {
		if w == "" || strings.ContainsAny(w, " \t\n\"'\\$`;&|<>()*?[]#~") {
			w = "'" + strings.ReplaceAll(w, "'", `'\''`) + "'"
		}
		words[i] = w
	}
	return strings.Join(words, " ")
}

// Env holds variables that are added to the daemon's environment.
type Env map[string]string

// Optional is a whole number that may be left unset.
type Optional struct {
	Set   bool
	Value int
}

// Some returns a set Optional.
func Some(v int) Optional { return Optional{Set: true, Value: v} }

// Restart says after which ends a program is started again.
type Restart string

const (
	RestartAlways    Restart = "always"
	RestartOnFailure Restart = "on-failure"
	RestartNever     Restart = "never"
)

// Backoff spaces the starts of a program that doesn't stay up.
type Backoff struct {
	Kind    BackoffKind
	Initial time.Duration // the wait after the second short run in a row; linear: after the first failed start
	Max     time.Duration
	Factor  float64       // each further wait is this many times longer; growing only
	Jitter  float64       // part of a wait that is left to chance, 0 to 1
	Reset   time.Duration // up this long: the row is broken; growing only
}

// BackoffKind says how waits follow each other, and after what.
type BackoffKind string

const (
	// Growing waits after each short run in a row, longer each time.
	Growing BackoffKind = "growing"
	// Linear is supervisord's way: the n-th failed start in a row waits n times the
	// initial wait, and is tried again whatever the policy says; an end after the
	// program counted as started costs no wait.
	Linear BackoffKind = "linear"
)

// StopScope says who gets the stop signal.
type StopScope string

const (
	ScopeGroup StopScope = "group"
	ScopeMain  StopScope = "main"
)

// KillScope says who is killed when the time to stop is up, and by that what
// belongs to a program beyond its leader.
type KillScope string

const (
	KillTree  KillScope = "tree"  // everything that it ever started, which is ended with the leader
	KillGroup KillScope = "group" // the process group; what outlives the leader is left alone
	KillMain  KillScope = "main"  // the leader; what outlives it is left alone
)

// WhenDisabled says what becomes of a running program that is disabled.
type WhenDisabled string

const (
	DisabledStop  WhenDisabled = "stop"
	DisabledDrain WhenDisabled = "drain"
)

// Ready says how it is known that a program is ready. At most one of the ways is
// set; with none it is ready when it was up for MinUptime.
type Ready struct {
	HTTP     string // a URL that answers with a status of 200 to 399
	TCP      string // host:port, or unix:PATH, that accepts a connection
	GRPC     string // host:port, or unix:PATH, where gRPC's health service says SERVING
	Exec     Command
	Log      string        // a regular expression that a line of its output matches
	Notify   bool          // sd_notify(3)
	FD       Optional      // a descriptor to which it writes a newline, as with s6
	Timeout  time.Duration // 0: it is waited for without end
	Interval time.Duration // between two tries of HTTP, TCP, GRPC and Exec
}

// IsSet reports whether there is a way.
func (r *Ready) IsSet() bool { return r.Way() != "" }

// Way names the way: "http", "tcp", "grpc", "exec", "log", "notify", "fd", or "".
func (r *Ready) Way() string {
	switch {
	case r.HTTP != "":
		return "http"
	case r.TCP != "":
		return "tcp"
	case r.GRPC != "":
		return "grpc"
	case !r.Exec.IsZero():
		return "exec"
	case r.Log != "":
		return "log"
	case r.Notify:
		return "notify"
	case r.FD.Set:
		return "fd"
	}
	return ""
}

// Subject says what makes it ready, as in "waits for …".
func (r *Ready) Subject() string {
	switch r.Way() {
	case "http":
		return Show(r.HTTP)
	case "tcp":
		return "a connection to " + Show(r.TCP)
	case "grpc":
		return "gRPC health at " + Show(r.GRPC)
	case "exec":
		return "success of " + Show(r.Exec.String())
	case "log":
		return "a line like " + r.Log
	case "notify":
		return "READY=1"
	case "fd":
		return "a line on descriptor " + strconv.Itoa(r.FD.Value)
	}
	return ""
}

// Health says how a ready program is checked. At most one of the ways is set.
type Health struct {
	HTTP, TCP, GRPC string // as those of Ready
	Exec            Command
	Interval        time.Duration
	Timeout         time.Duration // of one check
	Failures        int           // that many in a row: unhealthy
	Grace           time.Duration // after it is ready; failures within aren't counted
}

// IsSet reports whether there is a way.
func (h *Health) IsSet() bool {
	return h.HTTP != "" || h.TCP != "" || h.GRPC != "" || !h.Exec.IsZero()
}

// OnEvent says who is told of what happens to a program: a command, a web server,
// or both.
type OnEvent struct {
	Command    Command
	URL        string
	Kinds      []string // of [EventKinds]
	SecretFile string   // whose contents sign what is posted
	Timeout    time.Duration
}

// IsSet reports whether anybody is told.
func (o *OnEvent) IsSet() bool { return o.URL != "" || !o.Command.IsZero() }

// EventKinds are the kinds of events that OnEvent tells of.
var EventKinds = []string{"running", "ended", "backoff", "failed", "unhealthy", "exited", "done", "stopped", "warning", "rolled-back"}

// Overlap says what becomes of a run that is due while the one before it runs.
type Overlap string

const (
	OverlapSkip  Overlap = "skip"
	OverlapQueue Overlap = "queue" // it follows at once; several that are due meanwhile are one
	OverlapKill  Overlap = "kill"  // the one before it is stopped
)

// IsTask reports whether p runs to its end.
func (p *Program) IsTask() bool { return p.Type == Task || p.Schedule != "" }

// Befores returns the programs that must be ready before p is started, those of
// After and of Requires.
func (p *Program) Befores() []string {
	if len(p.Requires) == 0 {
		return p.After
	}
	return append(slices.Clone(p.After), p.Requires...)
}

// Type tells a program that stays up from one that runs to its end.
type Type string

const (
	Service Type = "service"
	Task    Type = "task"
)

// Log says where a program's output goes.
type Log struct {
	File      string // a path, Inherit, None, Syslog, Journal, or "" for the default place
	Stderr    string // a path of its own, Separate, Inherit, None, Syslog, Journal, or "" to be merged
	Also      []string
	Syslog    string // where it is
	Journal   string // the path of its socket
	MaxSize   int64  // bytes; 0: never rotated
	Keep      int
	Compress  Compress
	RateLimit int64 // bytes a second; 0: no limit
	Timestamp bool
	Format    LogFormat
	MaxLine   int64 // bytes; 0: no limit
	StripANSI bool
	Shared    bool // others may write to the same file

	StderrMaxSize Optional // unset: as MaxSize
	StderrKeep    Optional // unset: as Keep
}

// Compress is how rotated files are compressed.
type Compress string

const (
	CompressNone Compress = "none"
	CompressGzip Compress = "gzip"
	CompressZstd Compress = "zstd"
)

// LogFormat is the form in which output is kept.
type LogFormat string

const (
	LogRaw  LogFormat = "raw"
	LogJSON LogFormat = "json" // an object a line
)

// Words for where output goes.
const (
	Inherit  = "inherit"  // the daemon's own
	None     = "none"     // nowhere
	Syslog   = "syslog"   // line by line
	Journal  = "journal"  // line by line
	Separate = "separate" // as [Log.Stderr]: a file of its own at the default place
)

// A Limit is a resource limit as setrlimit(2) takes it. Unlimited is RLIM_INFINITY.
type Limit struct{ Soft, Hard uint64 }

// Unlimited is RLIM_INFINITY.
const Unlimited = ^uint64(0)

// Limits holds resource limits by the names of [LimitNames].
type Limits map[string]Limit

// InstanceMark stands in strings of a Program for the number of the instance;
// it is what loaders put for ${TEND_INSTANCE}. A NUL byte can't be part of any
// argument, path or variable, so it collides with nothing.
const InstanceMark = "\x00"

// Show returns s as a person wrote it, with [InstanceMark] spelled out.
func Show(s string) string { return strings.ReplaceAll(s, InstanceMark, "${TEND_INSTANCE}") }

// InstanceName returns the name of instance i of a program with n instances:
// "web" where there is one, else "web:0", "web:1" and so on.
func InstanceName(program string, i, n int) string {
	if n == 1 && i == 0 {
		return program
	}
	return program + ":" + strconv.Itoa(i)
}

// FileName returns the form of a program's or instance's name that is used in
// file names: "queue:1" is "queue.1", a blank is "_". Two programs whose names
// collide in it are refused by [Check].
func FileName(name string) string {
	return strings.Map(func(r rune) rune {
		switch r {
		case ':':
			return '.'
		case ' ':
			return '_'
		}
		return r
	}, name)
}

// Instance returns p with [InstanceMark] replaced by the number of instance i.
// It is p itself where nothing is to be replaced.
func (p *Program) Instance(i int) *Program {
	q := *p
	number, changed := strconv.Itoa(i), false
	expand := func(s string) string {
		if strings.Contains(s, InstanceMark) {
			changed = true
			return strings.ReplaceAll(s, InstanceMark, number)
		}
		return s
	}
	expandAll := func(list []string) []string {
		if !slices.ContainsFunc(list, func(s string) bool { return strings.Contains(s, InstanceMark) }) {
			return list
		}
		list = slices.Clone(list)
		for i := range list {
			list[i] = expand(list[i])
		}
		return list
	}
	for _, s := range []*string{&q.Command.Shell, &q.StopCommand.Shell, &q.Directory, &q.User, &q.Group, &q.Log.File, &q.Log.Stderr,
		&q.Ready.HTTP, &q.Ready.TCP, &q.Ready.GRPC, &q.Ready.Exec.Shell, &q.Health.HTTP, &q.Health.TCP, &q.Health.GRPC, &q.Health.Exec.Shell} {
		*s = expand(*s)
	}
	for _, list := range []*[]string{&q.Command.Argv, &q.StopCommand.Argv, &q.Ready.Exec.Argv, &q.Health.Exec.Argv, &q.Listen} {
		*list = expandAll(*list)
	}
	cloned := false
	for k, v := range p.Env {
		if !strings.Contains(v, InstanceMark) {
			continue
		}
		if !cloned {
			q.Env, cloned = maps.Clone(p.Env), true
		}
		q.Env[k] = expand(v)
	}
	if !changed {
		return p
	}
	return &q
}

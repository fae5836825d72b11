package spec

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Apply says what it takes to apply a changed field to a running program.
type Apply string

const (
	Live      Apply = "live"    // applied in place
	OnRestart Apply = "restart" // the program is restarted
)

// A Field is a row of the field table: one key of a program.
type Field struct {
	Key   string // as it is written in files, dotted: "backoff.initial"
	Apply Apply
	Doc   string // one sentence or two for the reference, Markdown
	Value string // what is expected, for messages and the reference: "a duration"
	Enum  []string
	Yes   string             // the one of Enum that true stands for, false for the first; "": none
	check func(string) error // of a string, what else it has to be; nil: nothing
	ptr   func(*Program) any // the place of the value; its type is the kind
	min   float64            // smallest number allowed, where the kind is a number
	max   float64            // largest; both 0: no bounds
}

// Fields is the field table, in the order of the reference page.
var Fields = []*Field{
	{Key: "command", Apply: OnRestart, Doc: "What to run. A string runs as `/bin/sh -c`; an array is executed as it is, without a shell.",
		ptr: func(p *Program) any { return &p.Command }},
	{Key: "enabled", Apply: Live, Doc: "Guarded or not. In INI files a section without it is disabled, as in the original daemon.",
		ptr: func(p *Program) any { return &p.Enabled }},
	{Key: "autostart", Apply: Live, Doc: "Start when the daemon starts, when the program is added, or when a reload turns this on.",
		ptr: func(p *Program) any { return &p.Autostart }},
	{Key: "instances", Apply: Live, Doc: "How many copies run, named `NAME:0` to `NAME:n-1`; one copy is just `NAME`. Growing and shrinking touches no other copy.",
		ptr: func(p *Program) any { return &p.Instances }, min: 0, max: 10000},
	{Key: "directory", Apply: OnRestart, Doc: "Working directory. Relative ones are meant from the folder of the configuration file, which is the default.",
		ptr: func(p *Program) any { return &p.Directory }},
	{Key: "env", Apply: OnRestart, Doc: "Variables added to the daemon's environment. A program also gets `TEND_PROGRAM` and `TEND_INSTANCE`.",
		ptr: func(p *Program) any { return &p.Env }},
	{Key: "env_file", Apply: OnRestart, Doc: "Files of `NAME=value` lines, read when the configuration is loaded; `env` overrides them.",
		ptr: func(p *Program) any { return &p.EnvFile }},
	{Key: "user", Apply: OnRestart, Doc: "User to run as, a name or a number; supplementary groups are set too, and `HOME`, `USER` and `LOGNAME` unless `user_env` is off.",
		ptr: func(p *Program) any { return &p.User }},
	{Key: "group", Apply: OnRestart, Doc: "Group to run as, a name or a number; default is the user's own.",
		ptr: func(p *Program) any { return &p.Group }},
	{Key: "user_env", Apply: OnRestart, Doc: "With `user`, set `HOME`, `USER`, `LOGNAME` and `SHELL` to that user's. Off, they stay the daemon's, as with supervisord.",
		ptr: func(p *Program) any { return &p.UserEnv }},
	{Key: "umask", Apply: OnRestart, Doc: "File mode creation mask, octal: `\"022\"`.", Value: `an octal mode, as "022"`,
		ptr: func(p *Program) any { return &octal{&p.Umask} }},
	{Key: "pty", Apply: OnRestart, Doc: "It gets a pseudo-terminal as its standard input, output and error, and as its controlling terminal; `tend attach` connects to it. `TERM` is set unless its environment has one. Its log has the lines as it writes them, without the carriage returns that a terminal adds.",
		ptr: func(p *Program) any { return &p.PTY }},
	{Key: "restart", Apply: Live, Doc: "When to start it again after it ended: `on-failure` is after a status not in `success_codes`, or a signal.",
		Enum: []string{"always", "on-failure", "never"}, ptr: func(p *Program) any { return (*string)(&p.Restart) }},
	{Key: "success_codes", Apply: Live, Doc: "Exit statuses that count as success.",
		ptr: func(p *Program) any { return &p.SuccessCodes }, min: 0, max: 255},
	{Key: "min_uptime", Apply: Live, Doc: "Up this long counts as started; less is a failed start.",
		ptr: func(p *Program) any { return &p.MinUptime }},
	{Key: "backoff.kind", Apply: Live, Doc: "`growing`: whatever ends sooner than `backoff.reset` waits, longer each time. `linear` is supervisord's way: the n-th failed start in a row waits n times `backoff.initial` and is tried again whatever `restart` says, until `max_failures`; an end after `min_uptime` costs no wait and is judged by `restart` alone.",
		Enum: []string{string(Growing), string(Linear)}, ptr: func(p *Program) any { return (*string)(&p.Backoff.Kind) }},
	{Key: "backoff.initial", Apply: Live, Doc: "First wait before another start. The first short run in a row costs no wait, the second this one; with `linear` the first failed start does.",
		ptr: func(p *Program) any { return &p.Backoff.Initial }},
	{Key: "backoff.max", Apply: Live, Doc: "Longest wait.",
		ptr: func(p *Program) any { return &p.Backoff.Max }},
	{Key: "backoff.factor", Apply: Live, Doc: "Each wait in a row is this many times the one before.",
		ptr: func(p *Program) any { return &p.Backoff.Factor }, min: 1, max: 100},
	{Key: "backoff.jitter", Apply: Live, Doc: "Part of a wait that is left to chance, so that many programs don't start in step.",
		ptr: func(p *Program) any { return &p.Backoff.Jitter }, min: 0, max: 1},
	{Key: "backoff.reset", Apply: Live, Doc: "A program that was up this long is restarted at once, and its row of short runs is forgotten.",
		ptr: func(p *Program) any { return &p.Backoff.Reset }},
	{Key: "max_failures", Apply: Live, Doc: "After this many failed starts in a row it is `failed`; 0 is no limit.",
		ptr: func(p *Program) any { return &p.MaxFailures }, min: 0, max: 1e9},
	{Key: "retry_failed", Apply: Live, Doc: "A `failed` program is tried again after this time; 0 leaves it alone until told otherwise.",
		ptr: func(p *Program) any { return &p.RetryFailed }},
	{Key: "stop_signal", Apply: Live, Doc: "Signal that asks it to end: a name or a number.",
		ptr: func(p *Program) any { return &p.StopSignal }},
	{Key: "stop_command", Apply: Live, Doc: "Run instead of sending `stop_signal`; then the same wait and kill.",
		ptr: func(p *Program) any { return &p.StopCommand }},
	{Key: "stop_timeout", Apply: Live, Doc: "After this time it is killed, by default with everything that it ever started: `stopped` is said only when nothing of that is left. See `kill_scope`.",
		ptr: func(p *Program) any { return &p.StopTimeout }},
	{Key: "stop_scope", Apply: Live, Doc: "Who gets `stop_signal`: the `main` process, or its process `group`.",
		Enum: []string{"group", "main"}, ptr: func(p *Program) any { return (*string)(&p.StopScope) }},
	{Key: "kill_scope", Apply: Live, Doc: "Who is killed after `stop_timeout`: the whole `tree`, the process `group`, or the `main` process. With `tree`, what outlives the main process is ended too; with the others it is left alone, as supervisord does with and without `killasgroup`, and `stopped` speaks of the main process.",
		Enum: []string{string(KillTree), string(KillGroup), string(KillMain)}, ptr: func(p *Program) any { return (*string)(&p.KillScope) }},
	{Key: "when_disabled", Apply: Live, Doc: "What happens to it when it is disabled or removed: `stop`, or `drain`: not restarted, left to end by itself, then let go.",
		Enum: []string{"stop", "drain"}, ptr: func(p *Program) any { return (*string)(&p.WhenDisabled) }},
	{Key: "after", Apply: Live, Doc: "Programs that must be ready before this one is started; it is stopped before them.",
		ptr: func(p *Program) any { return &p.After }},
	{Key: "requires", Apply: Live, Doc: "As `after`; and while one of these is down, this one is held down too.",
		ptr: func(p *Program) any { return &p.Requires }},
	{Key: "ready.http", Apply: Live, Doc: "Ready when this URL answers with a status of 200 to 399. Until it is ready a program is `starting`; without any `ready` it is so for `min_uptime`.",
		ptr: func(p *Program) any { return &p.Ready.HTTP }},
	{Key: "ready.tcp", Apply: Live, Doc: "Ready when this address accepts a connection: `host:port`, or `unix:PATH`.",
		ptr: func(p *Program) any { return &p.Ready.TCP }},
	{Key: "ready.grpc", Apply: Live, Doc: "Ready when gRPC's health service at this address (`host:port`, `unix:PATH`, with `/SERVICE` behind it for one service) says SERVING.",
		ptr: func(p *Program) any { return &p.Ready.GRPC }},
	{Key: "ready.exec", Apply: Live, Doc: "Ready when this command exits with 0. It runs with the program's environment, user and folder.",
		ptr: func(p *Program) any { return &p.Ready.Exec }},
	{Key: "ready.log", Apply: Live, Doc: "Ready when a line of its output matches this regular expression.",
		ptr: func(p *Program) any { return &p.Ready.Log }},
	{Key: "ready.notify", Apply: OnRestart, Doc: "Ready when it says so by systemd's protocol, sd_notify(3): it gets `NOTIFY_SOCKET`.",
		ptr: func(p *Program) any { return &p.Ready.Notify }},
	{Key: "ready.fd", Apply: OnRestart, Doc: "Ready when it writes a line to this descriptor, as programs made for s6 do.",
		ptr: func(p *Program) any { return &p.Ready.FD }, min: 3, max: 1023},
	{Key: "ready.timeout", Apply: Live, Doc: "Not ready after this time is a failed start; 0 waits without end.",
		ptr: func(p *Program) any { return &p.Ready.Timeout }},
	{Key: "ready.interval", Apply: Live, Doc: "Time between two tries of `ready.http`, `.tcp`, `.grpc` and `.exec`.",
		ptr: func(p *Program) any { return &p.Ready.Interval }},
	{Key: "health.http", Apply: Live, Doc: "Once it is ready it is healthy as long as this URL answers with a status of 200 to 399. An unhealthy program is restarted.",
		ptr: func(p *Program) any { return &p.Health.HTTP }},
	{Key: "health.tcp", Apply: Live, Doc: "Healthy as long as this address accepts connections.",
		ptr: func(p *Program) any { return &p.Health.TCP }},
	{Key: "health.grpc", Apply: Live, Doc: "Healthy as long as gRPC's health service at this address says SERVING.",
		ptr: func(p *Program) any { return &p.Health.GRPC }},
	{Key: "health.exec", Apply: Live, Doc: "Healthy as long as this command exits with 0.",
		ptr: func(p *Program) any { return &p.Health.Exec }},
	{Key: "health.interval", Apply: Live, Doc: "Time between two checks.",
		ptr: func(p *Program) any { return &p.Health.Interval }},
	{Key: "health.timeout", Apply: Live, Doc: "A check that takes longer has failed.",
		ptr: func(p *Program) any { return &p.Health.Timeout }},
	{Key: "health.failures", Apply: Live, Doc: "So many failed checks in a row make it unhealthy.",
		ptr: func(p *Program) any { return &p.Health.Failures }, min: 1, max: 1e6},
	{Key: "health.grace", Apply: Live, Doc: "For this long after it is ready failed checks aren't counted.",
		ptr: func(p *Program) any { return &p.Health.Grace }},
	{Key: "watchdog", Apply: OnRestart, Doc: "systemd's watchdog: it gets `NOTIFY_SOCKET` and `WATCHDOG_USEC`, and says WATCHDOG=1 at least this often. When it doesn't it gets SIGABRT, and is started again.",
		ptr: func(p *Program) any { return &p.Watchdog }},
	{Key: "type", Apply: OnRestart, Doc: "A `task` runs to its end; success is `done`.",
		Enum: []string{"service", "task"}, ptr: func(p *Program) any { return (*string)(&p.Type) }},
	{Key: "schedule", Apply: Live, Doc: "When to run it: a cron line as `\"30 4 * * mon-fri\"`, `@daily`, `@every 90m` and their like, or `@reboot`. It is a task then; one that fails waits for its next time, unless `restart` is `on-failure`.",
		ptr: func(p *Program) any { return &p.Schedule }},
	{Key: "timezone", Apply: Live, Doc: "Time zone of `schedule`, as `Europe/Berlin`; default is the machine's.",
		ptr: func(p *Program) any { return &p.Timezone }},
	{Key: "overlap", Apply: Live, Doc: "A run that is due while the one before it runs: `skip` it, `queue` it (it follows at once; several are one), or `kill` the one that runs.",
		Enum: []string{string(OverlapSkip), string(OverlapQueue), string(OverlapKill)}, ptr: func(p *Program) any { return (*string)(&p.Overlap) }},
	{Key: "catch_up", Apply: Live, Doc: "A run that was missed, since the machine or `tend` was down, is made up for (once). Else it is only told of.",
		ptr: func(p *Program) any { return &p.CatchUp }},
	{Key: "listen", Apply: OnRestart, Doc: "Sockets that are opened for it and handed over as `LISTEN_FDS`: `host:port`, `:port`, a path, or these with `NAME=` in front for `LISTEN_FDNAMES`. They stay open over its restarts and those of `tend`: [sockets](../how-to/sockets.md).",
		ptr: func(p *Program) any { return &p.Listen }},
	{Key: "on_demand", Apply: Live, Doc: "It is started by the first connection to one of `listen`.",
		ptr: func(p *Program) any { return &p.OnDemand }},
	{Key: "idle_timeout", Apply: Live, Doc: "With `on_demand`: without an open connection to one of `listen` for this long it is stopped, until the next one; 0 is never.",
		ptr: func(p *Program) any { return &p.IdleTimeout }},
	{Key: "rolling", Apply: Live, Doc: "A reload restarts its instances one after the other, each ready before the next. One that doesn't become ready ends that, and the rest stay as they are.",
		ptr: func(p *Program) any { return &p.Rolling }},
	{Key: "max_unavailable", Apply: Live, Doc: "How many instances a rolling restart may restart at a time.",
		ptr: func(p *Program) any { return &p.MaxUnavailable }, min: 1, max: 10000},
	{Key: "watch", Apply: Live, Doc: "Files whose change restarts it, for development: globs as `src/**/*.go`, relative ones from the folder of the configuration file; `**` is any number of folders. One that has ended or failed is started again by a change.",
		ptr: func(p *Program) any { return &p.Watch }},
	{Key: "watch_ignore", Apply: Live, Doc: "Files and folders that `watch` leaves alone; globs as those. The default is what is hidden, and `node_modules`.",
		ptr: func(p *Program) any { return &p.WatchIgnore }},
	{Key: "watch_delay", Apply: Live, Doc: "So long nothing must change any more before it is restarted: an editor or a compiler writes many files at once.",
		ptr: func(p *Program) any { return &p.WatchDelay }},
	{Key: "on_event.command", Apply: Live, Doc: "Run when something happens to it (see `on_event.kinds`), with the event as JSON on standard input and in `TEND_EVENT` variables. It runs with the program's environment, user, folder and limits.",
		ptr: func(p *Program) any { return &p.OnEvent.Command }},
	{Key: "on_event.url", Apply: Live, Doc: "Where events are posted as JSON. What can't be delivered is tried again for some minutes.",
		ptr: func(p *Program) any { return &p.OnEvent.URL }},
	{Key: "on_event.kinds", Apply: Live, Doc: "Which events: `running`, `ended` (whatever follows), `backoff`, `failed`, `unhealthy`, `exited`, `done`, `stopped`, `warning`, `rolled-back`.",
		ptr: func(p *Program) any { return &p.OnEvent.Kinds }},
	{Key: "on_event.secret_file", Apply: Live, Doc: "A file whose contents sign what is posted to `on_event.url`: the header `Tend-Signature` is `sha256=` and the HMAC of the body.",
		ptr: func(p *Program) any { return &p.OnEvent.SecretFile }},
	{Key: "on_event.timeout", Apply: Live, Doc: "Longest time for the command, which is killed then with all that it started, and for one try to post; 0 is no limit.",
		ptr: func(p *Program) any { return &p.OnEvent.Timeout }},
	{Key: "log.file", Apply: Live, Doc: "Where its output goes: a path, `inherit` (the daemon's own output), `syslog`, `journal` or `none`; default is `NAME.log` in the log folder.",
		ptr: func(p *Program) any { return &p.Log.File }},
	{Key: "log.stderr", Apply: Live, Doc: "Where standard error goes; default is where the rest goes. A path, `separate` (`NAME.err.log` in the log folder), `inherit` (the daemon's own standard error), `syslog`, `journal` or `none`.",
		ptr: func(p *Program) any { return &p.Log.Stderr }},
	{Key: "log.also", Apply: Live, Doc: "Where each line goes as well: `inherit`, `syslog`, `journal`. What one of these doesn't take within a second is dropped there, counted and told; the file gets it.",
		Value: "a list of `inherit`, `syslog`, `journal`", Enum: []string{Inherit, Syslog, Journal}, ptr: func(p *Program) any { return &p.Log.Also }},
	{Key: "log.syslog", Apply: Live, Doc: "Where `syslog` is: the path of a unix datagram socket, `udp://HOST:PORT` or `tcp://HOST:PORT`. Messages are those of RFC 5424, with the instance as APP-NAME; in TCP their length stands in front (RFC 6587).",
		Value: "a path or an address", check: checkSyslog, ptr: func(p *Program) any { return &p.Log.Syslog }},
	{Key: "log.journal", Apply: Live, Doc: "The socket of `journal`; that of a namespace is `/run/systemd/journal.NAME/socket`.",
		Value: "a path", check: checkSocket, ptr: func(p *Program) any { return &p.Log.Journal }},
	{Key: "log.max_size", Apply: Live, Doc: "The file is rotated at a line's end when it is this large; 0 is never.",
		ptr: func(p *Program) any { return (*Size)(&p.Log.MaxSize) }},
	{Key: "log.keep", Apply: Live, Doc: "How many rotated files are kept.",
		ptr: func(p *Program) any { return &p.Log.Keep }, min: 0, max: 10000},
	{Key: "log.compress", Apply: Live, Doc: "Compress rotated files, in the background: `web.log.1.gz` or `web.log.1.zst`. `true` is `gzip`.",
		Enum: []string{string(CompressNone), string(CompressGzip), string(CompressZstd)}, Yes: string(CompressGzip), ptr: func(p *Program) any { return (*string)(&p.Log.Compress) }},
	{Key: "log.rate_limit", Apply: Live, Doc: "How much an instance may print in a second, on an average, of each of its streams. What is more is left out, whole lines of it; an event says so, and how much it was. 0 is no limit: then the program is slowed down to what the disk takes, and nothing is lost.",
		ptr: func(p *Program) any { return (*Size)(&p.Log.RateLimit) }},
	{Key: "log.stderr_max_size", Apply: Live, Doc: "`log.max_size` of a standard error with a file of its own; default is the same.",
		ptr: func(p *Program) any { return &optionalSize{&p.Log.StderrMaxSize} }},
	{Key: "log.stderr_keep", Apply: Live, Doc: "`log.keep` of a standard error with a file of its own; default is the same.",
		ptr: func(p *Program) any { return &p.Log.StderrKeep }, min: 0, max: 10000},
	{Key: "log.timestamp", Apply: Live, Doc: "Put the time in front of each line.",
		ptr: func(p *Program) any { return &p.Log.Timestamp }},
	{Key: "log.format", Apply: Live, Doc: "`raw` is what the program writes. `json` makes an object of each line: `time`, `program`, `instance`, `stream`, `message`, and `\"partial\": true` where the line goes on in the next object. Bytes that aren't UTF-8 become U+FFFD.",
		Enum: []string{string(LogRaw), string(LogJSON)}, ptr: func(p *Program) any { return (*string)(&p.Log.Format) }},
	{Key: "log.max_line", Apply: Live, Doc: "A longer line is ended there, and goes on in the next one behind `… `. It counts what is put in front. 0 is no limit; in objects, and on the way to `syslog` and `journal`, 16KB then, and 32KiB at most.",
		ptr: func(p *Program) any { return (*Size)(&p.Log.MaxLine) }, min: 128},
	{Key: "log.strip_ansi", Apply: Live, Doc: "Take out the escape sequences that colour the output on a terminal.",
		ptr: func(p *Program) any { return &p.Log.StripANSI }},
	{Key: "log.shared", Apply: Live, Doc: "Other programs or instances may write to the same file, which is an error else: no line is lost, but nobody can tell whose it is.",
		ptr: func(p *Program) any { return &p.Log.Shared }},
	{Key: "limits", Apply: OnRestart, Doc: "Resource limits (rlimits) by name, as `limits.nofile = 65536`: a number, `\"unlimited\"`, or `\"soft:hard\"`.",
		ptr: func(p *Program) any { return &p.Limits }},
	{Key: "nice", Apply: OnRestart, Doc: "Scheduling priority, -20 (first) to 19 (last).",
		ptr: func(p *Program) any { return &p.Nice }, min: -20, max: 19},
	{Key: "oom_score_adj", Apply: OnRestart, Doc: "How soon the kernel kills it when memory runs out, -1000 (never) to 1000 (first).",
		ptr: func(p *Program) any { return &p.OOMScoreAdj }, min: -1000, max: 1000},
	{Key: "no_new_privileges", Apply: OnRestart, Doc: "It and its children can't gain privileges by executing setuid programs.",
		ptr: func(p *Program) any { return &p.NoNewPrivileges }},
}

// Later are keys of the contract that this version doesn't know yet. They are
// refused by name, so that nobody believes them to be in force. A key stands
// for its dotted sub-keys too.
var Later = []string{
	"limits.memory", "limits.cpu", "limits.pids", "capabilities", "read_only", "read_write",
}

var byKey = func() map[string]*Field {
	m := make(map[string]*Field, len(Fields))
	for _, f := range Fields {
		m[f.Key] = f
	}
	return m
}()

// FieldOf returns the field with that key, or nil.
func FieldOf(key string) *Field { return byKey[key] }

// IsTable reports whether key names a group of fields, as "log" does.
func IsTable(key string) bool {
	return slices.ContainsFunc(Fields, func(f *Field) bool { return strings.HasPrefix(f.Key, key+".") })
}

// IsLater reports whether key, or a key that it is below, is one of list.
func IsLater(list []string, key string) bool {
	return slices.ContainsFunc(list, func(l string) bool { return l == key || strings.HasPrefix(key, l+".") })
}

// New returns a program with that name and the defaults of the field table.
func New(name string) *Program {
	return &Program{
		Name: name, Enabled: true, Autostart: true, Instances: 1, UserEnv: true,
		Restart: RestartAlways, SuccessCodes: []int{0}, MinUptime: time.Second,
		Backoff:    Backoff{Kind: Growing, Initial: 100 * time.Millisecond, Max: 30 * time.Second, Factor: 2, Jitter: 0.1, Reset: 10 * time.Second},
		StopSignal: SIGTERM, StopTimeout: 10 * time.Second, StopScope: ScopeGroup, KillScope: KillTree, WhenDisabled: DisabledStop, Type: Service,
		Ready:   Ready{Timeout: time.Minute, Interval: 200 * time.Millisecond},
		Health:  Health{Interval: 10 * time.Second, Timeout: 3 * time.Second, Failures: 3},
		Overlap: OverlapSkip, MaxUnavailable: 1,
		WatchIgnore: []string{"**/.*", "**/node_modules"}, WatchDelay: 300 * time.Millisecond,
		OnEvent: OnEvent{Kinds: []string{"failed", "unhealthy", "rolled-back"}, Timeout: 10 * time.Second},
		Log:     Log{MaxSize: 50e6, Keep: 5, Format: LogRaw, Compress: CompressNone, Syslog: "/dev/log", Journal: "/run/systemd/journal/socket"},
	}
}

// checkSyslog returns an error unless s is where a syslog may be.
func checkSyslog(s string) error {
	scheme, address, ok := strings.Cut(s, "://")
	if ok && (scheme == "udp" || scheme == "tcp") {
		colon := strings.LastIndexByte(address, ':')
		host, port := address[:max(colon, 0)], address[colon+1:]
		if _, err := strconv.ParseUint(port, 10, 16); err != nil || host == "" || strings.Contains(host, ":") && host[0] != '[' {
			return &ValueError{Message: fmt.Sprintf("%q has no host and port", s), Hint: "write it as udp://HOST:PORT"}
		}
		return nil
	}
	if checkSocket(s) != nil {
		return &ValueError{Message: fmt.Sprintf("%q is no address of a syslog", s), Hint: "use the path of a socket, as /dev/log, udp://HOST:PORT or tcp://HOST:PORT"}
	}
	return nil
}

// checkSocket returns an error unless s is the path of a unix socket.
func checkSocket(s string) error {
	if !strings.HasPrefix(s, "/") || len(s) > 107 { // unix(7)
		return &ValueError{Message: fmt.Sprintf("%q is not the path of a socket", s), Hint: "use an absolute path of at most 107 bytes"}
	}
	return nil
}

// octal gives an Optional the octal notation of file modes.
type octal struct{ *Optional }

// optionalSize gives an Optional the notation of sizes.
type optionalSize struct{ *Optional }

// Size is a number of bytes, written with a unit.
type Size int64

// A ValueError says why a value doesn't fit a field.
type ValueError struct {
	Message string // what is wrong: `"soon" is not a duration`
	Hint    string // what to do, or ""
}

func (e *ValueError) Error() string { return e.Message }

func notA(v any, what, hint string) error {
	return &ValueError{Message: fmt.Sprintf("%s is not %s", showValue(v), what), Hint: hint}
}

func showValue(v any) string {
	switch v := v.(type) {
	case string:
		return strconv.Quote(v)
	case []any:
		return "a list"
	case map[string]any:
		return "a table"
	case time.Time:
		return v.Format(time.RFC3339)
	}
	return fmt.Sprint(v)
}

// Set gives the field of p the value v, which is a string, bool, int64, float64,
// []any or map[string]any of these. Strings are understood in the notation of
// INI files, so that every field can be written in each format. Paths aren't
// resolved. The error is a *[ValueError].
func (f *Field) Set(p *Program, v any) error {
	switch ptr := f.ptr(p).(type) {
	case *Command:
		return setCommand(ptr, v)
	case *bool:
		b, ok := toBool(v)
		if !ok {
			return notA(v, "a yes or no", "use true or false")
		}
		*ptr = b
	case *int:
		n, err := f.toInt(v)
		if err != nil {
			return err
		}
		*ptr = n
	case *Optional:
		n, err := f.toInt(v)
		if err != nil {
			return err
		}
		*ptr = Some(n)
	case *octal:
		s, ok := v.(string)
		if n, isInt := v.(int64); isInt {
			// TOML writes octal as 0o022; a plain 22 is a mistake more often than a wish.
			s, ok = strconv.FormatInt(n, 8), true
		}
		n, err := strconv.ParseUint(strings.TrimPrefix(s, "0o"), 8, 16)
		if !ok || err != nil || n > 0o777 {
			return notA(v, "an octal mode", `write it as "022"`)
		}
		*ptr.Optional = Some(int(n))
	case *float64:
		var n float64
		switch v := v.(type) {
		case float64:
			n = v
		case int64:
			n = float64(v)
		case string:
			var err error
			if n, err = strconv.ParseFloat(v, 64); err != nil {
				return notA(v, "a number", "")
			}
		default:
			return notA(v, "a number", "")
		}
		if !(n >= f.min && n <= f.max) { // also refuses NaN
			return f.outOfRange(v)
		}
		*ptr = n + 0 // -0 becomes 0
	case *time.Duration:
		d, err := toDuration(v)
		if err != nil {
			return err
		}
		*ptr = d
	case *Size:
		n, err := toSize(v)
		if err != nil {
			return err
		}
		if n != 0 && float64(n) < f.min {
			return &ValueError{Message: FormatSize(n) + " is too little", Hint: fmt.Sprintf("use 0, or at least %vB", f.min)}
		}
		*ptr = Size(n)
	case *optionalSize:
		n, err := toSize(v)
		if err != nil {
			return err
		}
		*ptr.Optional = Some(int(n))
	case *Signal:
		n, err := toSignal(v)
		if err != nil {
			return err
		}
		*ptr = n
	case *string:
		s, ok := toString(v)
		if on, yes := toBool(v); yes && f.Yes != "" && !slices.Contains(f.Enum, s) {
			if s, ok = f.Enum[0], true; on {
				s = f.Yes
			}
		}
		if !ok {
			return notA(v, "a string", "")
		}
		if f.Enum != nil && !slices.Contains(f.Enum, s) {
			return notA(v, "one of "+strings.Join(f.Enum, ", "), didYouMean(s, f.Enum))
		}
		if f.check != nil {
			if err := f.check(s); err != nil {
				return err
			}
		}
		*ptr = s
	case *[]string:
		list, err := toStrings(v)
		if err != nil {
			return err
		}
		for _, s := range list {
			if f.Enum != nil && !slices.Contains(f.Enum, s) {
				return notA(s, "one of "+strings.Join(f.Enum, ", "), didYouMean(s, f.Enum))
			}
		}
		*ptr = list
	case *[]int:
		words, err := toList(v)
		if err != nil {
			return err
		}
		list := make([]int, 0, len(words))
		for _, w := range words {
			n, err := f.toInt(w)
			if err != nil {
				return err
			}
			list = append(list, n)
		}
		slices.Sort(list)
		*ptr = slices.Compact(list)
	case *Env:
		m, ok := v.(map[string]any)
		if !ok {
			return notA(v, "a table of variables", `write env = { NAME = "value" }, or env.NAME = value in INI`)
		}
		// A fresh map: the defaults of [tend] may share the old one.
		env := maps.Clone(*ptr)
		if env == nil {
			env = make(Env, len(m))
		}
		for k, v := range m {
			s, ok := toString(v)
			if !ok {
				return notA(v, "a string", "the value of "+k+" must be one")
			}
			if k == "" || strings.ContainsAny(k, "=\x00") {
				return notA(k, "a name for a variable", "")
			}
			env[k] = s
		}
		*ptr = env
	case *Limits:
		m, ok := v.(map[string]any)
		if !ok {
			return notA(v, "a table of limits", `write limits = { nofile = 65536 }, or limits.nofile = 65536`)
		}
		limits := maps.Clone(*ptr)
		if limits == nil {
			limits = make(Limits, len(m))
		}
		for k, v := range m {
			if !slices.Contains(LimitNames, k) {
				return &ValueError{Message: fmt.Sprintf("unknown limit %q", k), Hint: didYouMean(k, LimitNames)}
			}
			l, err := toLimit(v)
			if err != nil {
				return err
			}
			limits[k] = l
		}
		*ptr = limits
	default:
		panic(fmt.Sprintf("spec: field %s has a value of unknown kind %T", f.Key, ptr))
	}
	return nil
}

// Get returns the field's value in p in one canonical notation, which is equal
// for two programs exactly when their values are. "" stands for unset.
func (f *Field) Get(p *Program) string {
	switch v := f.ptr(p).(type) {
	case *Command:
		switch {
		case len(v.Argv) > 0:
			return quoteList(v.Argv)
		case strings.HasPrefix(v.Shell, `["`), strings.HasPrefix(v.Shell, `"`):
			return strconv.Quote(v.Shell) // or it could be taken for a list, or for such a one
		}
		return v.Shell
	case *bool:
		return strconv.FormatBool(*v)
	case *int:
		return strconv.Itoa(*v)
	case *Optional:
		if !v.Set {
			return ""
		}
		return strconv.Itoa(v.Value)
	case *octal:
		if !v.Set {
			return ""
		}
		return fmt.Sprintf("%03o", v.Value)
	case *float64:
		return strconv.FormatFloat(*v, 'g', -1, 64)
	case *time.Duration:
		return FormatDuration(*v)
	case *Size:
		return FormatSize(int64(*v))
	case *optionalSize:
		if !v.Set {
			return ""
		}
		return FormatSize(int64(v.Value))
	case *Signal:
		return v.String()
	case *string:
		return *v
	case *[]string:
		if len(*v) == 0 {
			return ""
		}
		return quoteList(*v)
	case *[]int:
		words := make([]string, len(*v))
		for i, n := range *v {
			words[i] = strconv.Itoa(n)
		}
		return strings.Join(words, ",")
	case *Env:
		var b strings.Builder
		for _, k := range slices.Sorted(maps.Keys(*v)) {
			fmt.Fprintf(&b, "%s=%s\n", k, strconv.Quote((*v)[k]))
		}
		return b.String()
	case *Limits:
		var b strings.Builder
		for _, k := range slices.Sorted(maps.Keys(*v)) {
			fmt.Fprintf(&b, "%s=%s\n", k, (*v)[k])
		}
		return b.String()
	default:
		panic(fmt.Sprintf("spec: field %s has a value of unknown kind %T", f.Key, v))
	}
}

// equal reports whether the field has the same value in a and b, without the
// strings that comparing the results of Get would make.
func (f *Field) equal(a, b *Program) bool {
	switch x := f.ptr(a).(type) {
	case *Command:
		y := f.ptr(b).(*Command)
		return x.Shell == y.Shell && slices.Equal(x.Argv, y.Argv)
	case *bool:
		return *x == *f.ptr(b).(*bool)
	case *int:
		return *x == *f.ptr(b).(*int)
	case *Optional:
		return *x == *f.ptr(b).(*Optional)
	case *octal:
		return *x.Optional == *f.ptr(b).(*octal).Optional
	case *optionalSize:
		return *x.Optional == *f.ptr(b).(*optionalSize).Optional
	case *float64:
		return *x == *f.ptr(b).(*float64)
	case *time.Duration:
		return *x == *f.ptr(b).(*time.Duration)
	case *Size:
		return *x == *f.ptr(b).(*Size)
	case *Signal:
		return *x == *f.ptr(b).(*Signal)
	case *string:
		return *x == *f.ptr(b).(*string)
	case *[]string:
		return slices.Equal(*x, *f.ptr(b).(*[]string))
	case *[]int:
		return slices.Equal(*x, *f.ptr(b).(*[]int))
	case *Env:
		return maps.Equal(*x, *f.ptr(b).(*Env))
	case *Limits:
		return maps.Equal(*x, *f.ptr(b).(*Limits))
	}
	panic("spec: field " + f.Key + " has a value of unknown kind")
}

// JSON returns the field's value in p for JSON output: durations in seconds,
// sizes in bytes, nil where it is unset.
func (f *Field) JSON(p *Program) any {
	switch v := f.ptr(p).(type) {
	case *Command:
		if v.Shell != "" {
			return Show(v.Shell)
		}
		if v.IsZero() {
			return nil
		}
		return showAll(v.Argv)
	case *bool:
		return *v
	case *int:
		return *v
	case *Optional:
		if !v.Set {
			return nil
		}
		return v.Value
	case *float64:
		return *v
	case *time.Duration:
		return v.Seconds()
	case *Size:
		return int64(*v)
	case *optionalSize:
		if !v.Set {
			return nil
		}
		return int64(v.Value)
	case *string:
		return Show(*v)
	case *[]string:
		return showAll(*v)
	case *[]int:
		return *v
	case *Env:
		m := make(map[string]string, len(*v))
		for k, s := range *v {
			m[k] = Show(s)
		}
		return m
	case *Limits:
		m := make(map[string]string, len(*v))
		for k, l := range *v {
			m[k] = l.String()
		}
		return m
	}
	if s := f.Get(p); s != "" { // octal, Signal
		return s
	}
	return nil
}

// Command returns the field's value in p, of kind command.
func (f *Field) Command(p *Program) Command { return *f.ptr(p).(*Command) }

// Strings returns the field's value in p, of kind strings.
func (f *Field) Strings(p *Program) []string { return *f.ptr(p).(*[]string) }

// Kind names the field's kind for the reference page and the JSON Schema:
// command, bool, int, float, duration, size, signal, string, enum, strings,
// ints, mode, env or limits.
func (f *Field) Kind() string {
	switch f.ptr(new(Program)).(type) {
	case *Command:
		return "command"
	case *bool:
		return "bool"
	case *int, *Optional:
		return "int"
	case *octal:
		return "mode"
	case *float64:
		return "float"
	case *time.Duration:
		return "duration"
	case *Size, *optionalSize:
		return "size"
	case *Signal:
		return "signal"
	case *string:
		if f.Enum != nil {
			return "enum"
		}
		return "string"
	case *[]string:
		return "strings"
	case *[]int:
		return "ints"
	case *Env:
		return "env"
	case *Limits:
		return "limits"
	}
	panic("spec: field " + f.Key + " has a value of unknown kind")
}

// Range returns the bounds of a number; ok is false where there are none.
func (f *Field) Range() (low, high float64, ok bool) { return f.min, f.max, f.max != 0 }

// Copy gives the field of dst the value that it has in src.
func (f *Field) Copy(dst, src *Program) {
	switch d := f.ptr(dst).(type) {
	case *Command:
		*d = *f.ptr(src).(*Command)
	case *bool:
		*d = *f.ptr(src).(*bool)
	case *int:
		*d = *f.ptr(src).(*int)
	case *Optional:
		*d = *f.ptr(src).(*Optional)
	case *octal:
		*d.Optional = *f.ptr(src).(*octal).Optional
	case *optionalSize:
		*d.Optional = *f.ptr(src).(*optionalSize).Optional
	case *float64:
		*d = *f.ptr(src).(*float64)
	case *time.Duration:
		*d = *f.ptr(src).(*time.Duration)
	case *Size:
		*d = *f.ptr(src).(*Size)
	case *Signal:
		*d = *f.ptr(src).(*Signal)
	case *string:
		*d = *f.ptr(src).(*string)
	case *[]string:
		*d = *f.ptr(src).(*[]string)
	case *[]int:
		*d = *f.ptr(src).(*[]int)
	case *Env:
		*d = *f.ptr(src).(*Env)
	case *Limits:
		*d = *f.ptr(src).(*Limits)
	default:
		panic("spec: field " + f.Key + " has a value of unknown kind")
	}
}

func (f *Field) toInt(v any) (int, error) {
	var n int64
	switch v := v.(type) {
	case int64:
		n = v
	case string:
		var err error
		if n, err = strconv.ParseInt(strings.TrimSpace(v), 10, 64); err != nil {
			return 0, notA(v, "a whole number", "")
		}
	default:
		return 0, notA(v, "a whole number", "")
	}
	if f.max != 0 && (float64(n) < f.min || float64(n) > f.max) {
		return 0, f.outOfRange(v)
	}
	return int(n), nil
}

func (f *Field) outOfRange(v any) error {
	return &ValueError{
		Message: fmt.Sprintf("%v is out of range", v),
		Hint:    fmt.Sprintf("use a number from %v to %v", f.min, f.max),
	}
}

func quoteList(list []string) string {
	words := make([]string, len(list))
	for i, w := range list {
		words[i] = strconv.Quote(w)
	}
	return "[" + strings.Join(words, ", ") + "]"
}

func showAll(list []string) []string {
	out := make([]string, len(list))
	for i, s := range list {
		out[i] = Show(s)
	}
	return out
}

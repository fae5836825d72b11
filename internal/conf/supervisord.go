package conf

import (
	"cmp"
	"fmt"
	"io/fs"
	"net"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unicode/utf8"

	"tend/internal/spec"
	"tend/internal/svconf"
)

// A supervisord is the load of a file of supervisord's. Package svconf reads it as
// supervisord does; this maps what comes out to programs.
type supervisord struct {
	l      *load
	opts   svconf.Options
	config *svconf.Config
	set    *spec.Set
	said   map[[2]string]bool // sections and options that something was said of
	denied error              // a file that root doesn't trust
}

// loadSupervisord reads the root file at path.
func (l *load) loadSupervisord(path string) *spec.Set {
	s := &supervisord{l: l, said: make(map[[2]string]bool)}
	if l.opts.Machine != nil {
		s.opts = *l.opts.Machine
	} else {
		var err error
		if s.opts, err = svconf.System(path); err != nil {
			l.sayFile(path, "", err)
			return nil
		}
	}
	if s.opts.FS == nil {
		s.opts.FS = svconf.OS{}
	}
	s.opts.Path, s.opts.Environ, s.opts.Earlier, s.opts.Override = path, l.opts.Environ, l.earlier, l.opts.Override
	s.opts.FS = watched{s.opts.FS, s}
	config, diagnostics := svconf.Load(s.opts)
	for _, d := range diagnostics {
		s.sayTheirs(d)
	}
	if s.denied != nil {
		l.sayFile(path, "", s.denied)
	}
	if config == nil || s.denied != nil {
		return nil
	}
	for _, pattern := range config.Patterns {
		if strings.ContainsAny(pattern, `*?[`) {
			l.seeGlob(pattern)
		}
	}
	s.config = config
	l.result.Supervisord = config
	s.set = &spec.Set{}
	s.daemon()
	s.groups()
	s.sayIgnored()
	s.check()
	return s.set
}

// watched is the file system with everything that is read noted in the load.
type watched struct {
	svconf.FS
	s *supervisord
}

func (w watched) ReadFile(name string) ([]byte, error) {
	l := w.s.l
	l.seeFile(name)
	if l.opts.Root {
		if info, err := w.FS.Stat(name); err == nil {
			if err := checkWriters(info); err != nil {
				// An included file that can't be read is left out. This one mustn't
				// be: what it runs would be stopped.
				w.s.denied = fmt.Errorf("%s: %w", name, err)
				return nil, err
			}
		}
	}
	text, err := w.FS.ReadFile(name)
	if err == nil && !slices.Contains(l.result.Files, name) {
		l.result.Files = append(l.result.Files, name)
	}
	return text, err
}

func (w watched) ReadDir(name string) ([]fs.DirEntry, error) {
	w.s.l.see(name)
	return w.FS.ReadDir(name)
}

// sayTheirs records what package svconf has to say.
func (s *supervisord) sayTheirs(d svconf.Diagnostic) {
	s.say(Severity(d.Severity), svconf.Source{File: d.File, Line: d.Line}, d.Section, d.Option, d.Hint, d.Message)
}

// say records a diagnostic about a place in the files.
func (s *supervisord) say(severity Severity, at svconf.Source, section, option, hint, message string) {
	if at.File == "" {
		at.File = s.opts.Path
	}
	if !slices.ContainsFunc(s.l.sources, func(src *source) bool { return src.name == at.File }) {
		s.l.sources = append(s.l.sources, &source{name: at.File, path: absolute(s.opts.Dir, at.File)})
	}
	d := Diagnostic{File: at.File, Line: at.Line, Program: section, Key: option, Severity: severity, Message: message, Hint: hint}
	if strings.Contains(message, section) {
		d.Program = "" // supervisord says where it is
	}
	if !s.l.said[d] {
		s.l.said[d] = true
		s.l.result.Diagnostics = append(s.l.result.Diagnostics, d)
	}
}

// about records something of ours about an option of a section, once.
func (s *supervisord) about(severity Severity, section, option, hint, format string, args ...any) {
	if at := [2]string{section, option}; s.said[at] {
		return
	} else {
		s.said[at] = true
	}
	s.say(severity, s.config.Source(section, option), section, option, hint, fmt.Sprintf(format, args...))
}

// given reports whether an option is written in a section, or for all of them.
func (s *supervisord) given(section, option string) bool {
	return s.config.Source(section, option) != (svconf.Source{})
}

// byName are options of [supervisord] that count when tend is started by the name
// of supervisord, and what does their work else.
var byName = []struct{ option, hint string }{
	{"pidfile", "with tend run and tend up the pid is in STATE/tend.pid"},
	{"silent", "tend run writes to standard error what it does"},
	{"umask", "programs have the umask that tend is started with, unless they have their own"},
	{"minfds", "tend raises its own limit as far as it may; that of programs is limits.nofile in a tend.toml"},
	{"minprocs", "the limit of programs is limits.nproc in a tend.toml"},
}

// daemon maps [supervisord] and the servers.
func (s *supervisord) daemon() {
	const section = "supervisord"
	c, d := s.config, newDaemon()
	d.Reload = spec.ReloadManual // supervisord never applies changes by itself
	switch c.Daemon.LogLevel {
	case "critical", "error":
		d.LogLevel = "error"
	case "warn":
		d.LogLevel = "warn"
	case "debug", "trace", "blather":
		d.LogLevel = "debug"
	}
	if s.given(section, "childlogdir") {
		d.Logs = absolute(s.opts.Dir, c.Daemon.ChildLogDir)
	}
	s.set.Daemon = d
	for _, o := range byName {
		if s.given(section, o.option) {
			s.about(Info, section, o.option, o.hint, "accepted, has an effect with tend supervisord only")
		}
	}
	if s.given(section, "nocleanup") {
		s.about(Info, section, "nocleanup", "", "accepted, has no effect here: no log is ever removed at a start")
	}
	if s.given(section, "nodaemon") && !c.Daemon.NoDaemon {
		s.about(Info, section, "nodaemon", "tend supervisord and tend up start it in the background", "accepted, has no effect with tend run, which stays in the foreground")
	}
	if c.Daemon.Directory != nil && c.Daemon.NoDaemon {
		s.about(Info, section, "directory", "", "accepted, has no effect here, nor in supervisord with nodaemon=true")
	}
	if u := c.Daemon.User; u != nil && u.UID != s.opts.UID {
		if s.opts.UID == 0 {
			s.about(Info, section, "user", "", "programs run as %s, unless they have a user of their own; tend itself stays root", u.Name)
		} else {
			// supervisord's own words for it.
			s.say(Error, c.Source(section, "user"), section, "user", "start tend as this user or as root, or drop user", "Can't drop privilege as nonroot user")
		}
	}
	for _, p := range c.RPC {
		if p.Factory != svconf.MainRPC {
			s.about(Warning, p.Section, "supervisor.rpcinterface_factory", "", "accepted, has no effect here: %s is Python", p.Factory)
		}
	}
}

// groups maps all processes, in the order in which supervisord starts them.
func (s *supervisord) groups() {
	known := make(map[string]bool)
	for _, g := range s.config.Groups {
		if known[g.Name] {
			continue // svconf has told of it
		}
		known[g.Name] = true
		var list []*svconf.Process
		byName := make(map[string]int)
		for _, p := range g.Processes {
			// As in supervisord's table of them, the last of a name is the one.
			if i, twice := byName[p.Name]; twice {
				list[i] = p
				s.about(Warning, p.Section, "process_name", "write process_name = %(program_name)s", "group %s has another process named %s: only the last one is ever started", g.Name, p.Name)
				continue
			}
			byName[p.Name] = len(list)
			list = append(list, p)
		}
		slices.SortStableFunc(list, func(a, b *svconf.Process) int {
			return cmp.Or(cmp.Compare(a.Priority, b.Priority), cmp.Compare(a.Name, b.Name))
		})
		for _, p := range list {
			if why := checkProcessName(spec.NameOf(g.Name, p.Name)); why != "" {
				s.about(Error, p.Section, "process_name", "choose another name", "%s", why)
				continue
			}
			mapped := s.program(g, p)
			if mapped.Instance(0) != mapped { // a NUL byte is InstanceMark here
				s.about(Error, p.Section, "", "save the file as plain UTF-8 text", "a value holds a NUL byte, which no argument, path or variable can")
				continue
			}
			s.set.Programs = append(s.set.Programs, mapped)
		}
	}
}

// checkProcessName returns why a name that supervisord may allow can't be one
// here, or "". Names are part of file names, so they have an end.
func checkProcessName(name string) string {
	switch {
	case len(name) > 200:
		return fmt.Sprintf("the name %.40s… has more than 200 bytes", name)
	case !utf8.ValidString(name):
		return fmt.Sprintf("the name %q is not UTF-8", name)
	case strings.ContainsFunc(name, func(r rune) bool { return r == '/' || r < ' ' || r == 0x7f }):
		return fmt.Sprintf("the name %q holds a slash or a control character", name)
	case name == "" || name == "." || name == "..":
		return fmt.Sprintf("the name %q is none", name)
	}
	return ""
}

// seconds returns a number of seconds within what a duration of ours may be.
func seconds(n int) time.Duration {
	return time.Duration(min(max(n, 0), 36500*24*60*60)) * time.Second
}

// program maps one process.
func (s *supervisord) program(g *svconf.Group, from *svconf.Process) *spec.Program {
	p := spec.New(spec.NameOf(g.Name, from.Name))
	at := s.config.Source(from.Section, "")
	p.Source = spec.Source{File: absolute(s.opts.Dir, at.File), Line: at.Line}
	p.Member = s.member(g, from)
	p.Command.Argv = from.Argv
	if len(from.Argv) == 0 || from.Argv[0] == "" {
		// supervisord has a process that never starts, and so have we: no file is
		// called like this.
		p.Command.Argv = []string{cmp.Or(from.Command, "(no command)")}
	}
	p.Autostart = from.AutoStart
	p.Directory = s.directory(from)
	for name, value := range from.Environment {
		if name == "" || strings.ContainsAny(name, "=\x00") {
			s.about(Warning, from.Section, "environment", "write NAME=value, ...", "%q is no name for a variable; it is left out", name)
			continue
		}
		if p.Env == nil {
			p.Env = make(spec.Env, len(from.Environment))
		}
		p.Env[name] = value
	}
	p.User, p.UserEnv = s.user(from.User), false
	if from.Umask != nil {
		p.Umask = spec.Some(*from.Umask & 0o777)
	}

	p.Restart = map[svconf.Restart]spec.Restart{svconf.Never: spec.RestartNever, svconf.Always: spec.RestartAlways, svconf.Unexpected: spec.RestartOnFailure}[from.AutoRestart]
	p.SuccessCodes = slices.Compact(slices.Sorted(slices.Values(from.ExitCodes)))
	p.MinUptime = seconds(from.StartSecs)
	p.Backoff.Kind, p.Backoff.Initial, p.Backoff.Max = spec.Linear, time.Second, seconds(max(1, from.StartRetries))
	p.MaxFailures = max(0, min(from.StartRetries, 1e9-1)) + 1

	p.StopSignal = spec.Signal(from.StopSignal)
	if p.StopSignal == 0 {
		p.StopSignal = spec.Signal(syscall.SIGCONT)
		s.about(Warning, from.Section, "stopsignal", "write TERM, or what the program minds", "0 is no signal: the program is only killed, after stopwaitsecs")
	}
	p.StopTimeout = seconds(from.StopWaitSecs)
	p.StopScope, p.KillScope = spec.ScopeMain, spec.KillMain
	if from.StopAsGroup {
		p.StopScope = spec.ScopeGroup
	}
	if from.KillAsGroup {
		p.KillScope = spec.KillGroup
	}
	s.log(p, from)
	return p
}

// member maps what only supervisord's programs have.
func (s *supervisord) member(g *svconf.Group, from *svconf.Process) spec.Member {
	m := spec.Member{
		Group: g.Name, Process: from.Name, GroupPriority: g.Priority, Priority: from.Priority, ServerURL: s.config.ServerURL,
		Stdout: heard(from.Stdout), Stderr: heard(from.Stderr), StripANSI: s.config.Daemon.StripANSI,
	}
	if from.ServerURL != nil {
		m.ServerURL = *from.ServerURL
	}
	if from.RedirectError {
		m.Stderr = spec.Heard{}
	}
	switch g.Kind {
	case svconf.Listeners:
		m.Pool = spec.Pool{Events: strings.Join(g.Events, ","), Buffer: g.BufferSize, Handler: g.ResultHandler}
		m.Stdout = spec.Heard{} // it is for the protocol
	case svconf.FastCGI:
		m.Socket = socket(g.Socket)
	}
	return m
}

func heard(c svconf.Channel) spec.Heard {
	return spec.Heard{Capture: max(c.CaptureMaxBytes, 0), Events: c.Events}
}

func socket(from *svconf.Socket) spec.Socket {
	s := spec.Socket{Network: "unix", Address: from.Path, Mode: from.Mode & 0o7777, UID: -1, GID: -1}
	if from.Path == "" {
		s = spec.Socket{Network: "tcp", Address: net.JoinHostPort(from.Host, strconv.Itoa(from.Port)), UID: -1, GID: -1}
	}
	if from.Owner != nil {
		s.UID, s.GID = from.Owner.UID, from.Owner.GID
	}
	if from.Backlog != nil {
		s.Backlog = *from.Backlog
	}
	return s
}

// directory returns where a process begins: where supervisord is, which is where
// it was started unless it has gone to the background.
func (s *supervisord) directory(p *svconf.Process) string {
	dir := s.opts.Dir
	if d := s.config.Daemon.Directory; d != nil && !s.config.Daemon.NoDaemon {
		dir = absolute(dir, *d)
	}
	if p.Directory != nil && *p.Directory != "" {
		dir = absolute(dir, *p.Directory)
	}
	return dir
}

// user returns whom a process runs as.
func (s *supervisord) user(a *svconf.Account) string {
	if a == nil {
		if a = s.config.Daemon.User; a == nil || a.UID == s.opts.UID {
			return ""
		}
	}
	name := strings.TrimSpace(a.Name)
	if _, err := strconv.Atoi(name); err == nil {
		return strconv.Itoa(a.UID)
	}
	return name
}

// log maps where the output goes.
func (s *supervisord) log(p *spec.Program, from *svconf.Process) {
	out, errs := from.Stdout, from.Stderr
	p.Log.File = s.logFile(out.Log, "", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1")
	p.Log.MaxSize, p.Log.Keep = size(out.MaxBytes), keep(out.Backups)
	if out.Syslog || errs.Syslog && !from.RedirectError {
		s.syslog(p, from)
	}
	if !from.RedirectError {
		p.Log.Stderr = s.logFile(errs.Log, spec.Separate, "/dev/stderr", "/dev/fd/2", "/proc/self/fd/2")
		if errs.Syslog && errs.Log.Kind == svconf.LogNone {
			p.Log.Stderr = spec.Syslog
		}
		if n := size(errs.MaxBytes); n != p.Log.MaxSize {
			p.Log.StderrMaxSize = spec.Some(int(n))
		}
		if n := keep(errs.Backups); n != p.Log.Keep {
			p.Log.StderrKeep = spec.Some(n)
		}
		if filepath.IsAbs(p.Log.Stderr) && p.Log.Stderr == p.Log.File {
			p.Log.Stderr, p.Log.StderrMaxSize, p.Log.StderrKeep = "", spec.Optional{}, spec.Optional{}
		}
	}
}

// syslog sends output to syslog: besides its file, where it has one, as there.
func (s *supervisord) syslog(p *spec.Program, from *svconf.Process) {
	out, errs := from.Stdout, from.Stderr
	if out.Syslog && out.Log.Kind == svconf.LogNone {
		p.Log.File = spec.Syslog
	}
	beside := func(c svconf.Channel) bool { return c.Syslog && c.Log.Kind != svconf.LogNone }
	if !beside(out) && (from.RedirectError || !beside(errs)) {
		return
	}
	p.Log.Also = []string{spec.Syslog}
	if !from.RedirectError && out.Syslog != errs.Syslog {
		option := "stdout_syslog"
		if errs.Syslog {
			option = "stderr_syslog"
		}
		s.about(Warning, from.Section, option, "", "both of its streams go to syslog")
	}
}

// logFile returns a log as [spec.Log] has it. own are names for the daemon's own
// output, standard is for AUTO.
func (s *supervisord) logFile(f svconf.LogFile, standard string, own ...string) string {
	switch {
	case f.Kind == svconf.LogAuto:
		return standard
	case f.Kind == svconf.LogNone, f.Path == "", f.Path == "/dev/null":
		return "none"
	case slices.Contains(own, f.Path):
		return "inherit"
	}
	return absolute(s.opts.Dir, f.Path)
}

func size(n int) int64 { return int64(max(n, 0)) }
func keep(n int) int   { return min(max(n, 0), 10000) }

// sayIgnored tells of what supervisord takes no notice of.
func (s *supervisord) sayIgnored() {
	for _, i := range s.config.Ignored {
		switch {
		case i.FromDefault:
		case i.Option == "":
			s.say(Info, i.Source, i.Section, "", "", "supervisord knows no such section, and takes no notice of it; nor does tend")
		default:
			s.say(Warning, i.Source, i.Section, i.Option, "drop it, or look at how it is written", "supervisord knows no such option, and takes no notice of it; nor does tend")
		}
	}
}

// check looks at the set as a whole. What supervisord lets pass is a warning.
func (s *supervisord) check() {
	// Files that several write to are said to be meant, as far as they are.
	writers := make(map[string][]*spec.Program)
	for _, p := range s.set.Programs {
		for _, file := range []string{p.Log.File, p.Log.Stderr} {
			if filepath.IsAbs(file) && !strings.HasPrefix(file, "/dev/") {
				writers[file] = append(writers[file], p)
			}
		}
	}
	for _, list := range writers {
		if len(list) > 1 {
			for _, p := range list {
				p.Log.Shared = true
			}
		}
	}
	for _, problem := range spec.Check(s.set) {
		p := s.set.Program(problem.Program)
		at := s.config.Source("supervisord", "")
		section := "supervisord"
		if p != nil {
			at = svconf.Source{File: s.shown(p.Source.File), Line: p.Source.Line}
			section = p.Name
		}
		s.say(Warning, at, section, "", problem.Hint, problem.Message)
	}
	for _, p := range s.set.Programs {
		if p.Log.Shared {
			s.say(Info, svconf.Source{File: s.shown(p.Source.File), Line: p.Source.Line}, p.Name, "", "put %(process_num)s or %(program_name)s into its name", "another program writes to the same log file")
		}
	}
}

// shown returns the name by which svconf calls the file at an absolute path.
func (s *supervisord) shown(path string) string {
	for _, src := range s.l.sources {
		if src.path == path {
			return src.name
		}
	}
	if path == absolute(s.opts.Dir, s.opts.Path) {
		return s.opts.Path
	}
	return path
}

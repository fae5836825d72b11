package svconf

import (
	"errors"
	"io/fs"
	"slices"
	"strings"
)

const (
	// maxText is how many bytes may come together of what the files hold, of what is
	// expanded, and of what each process has for itself.
	maxText = 64 << 20

	// maxProcesses is how many processes all groups together may have.
	maxProcesses = 100_000
)

// load is one run of Load or LoadCtl.
type load struct {
	opts        Options
	file        ini
	config      *Config
	diagnostics []Diagnostic
	variables   map[string]string
	meter       meter
	made        map[string]*Group // by name
	processes   int               // still allowed

	here *names // just %(here)s
	env  *names // %(ENV_x)s
}

// Load reads the file and what it includes. The Config is nil if supervisord
// would refuse the file; then the first [Diagnostic] of severity [Error] is what
// it would say, and others are of sections behind it, which it wouldn't reach.
func Load(opts Options) (*Config, []Diagnostic) {
	l := newLoad(opts)
	if !l.readAll() {
		return nil, l.diagnostics
	}
	if l.file.byName["supervisord"] == nil {
		l.say(Diagnostic{File: opts.Path, Message: ".ini file does not include supervisord section", Hint: "add a line [supervisord]; nothing has to follow it"})
		return nil, l.diagnostics
	}
	l.override()
	if !l.daemon() {
		return nil, l.diagnostics
	}
	c := l.config
	c.RPC = l.plugins("rpcinterface:", "supervisor.rpcinterface_factory")
	l.groups()
	l.servers()
	l.user()
	if slices.ContainsFunc(l.diagnostics, func(d Diagnostic) bool { return d.Severity == Error }) {
		return nil, l.diagnostics
	}
	for _, g := range c.Groups {
		for _, p := range g.Processes {
			p.Environment = merged(c.Daemon.Environment, p.Environment)
		}
	}
	c.Sections, c.byName = l.file.sections, l.file.byName
	if l.file.defaults.Name != "" {
		c.Default = &l.file.defaults
	}
	l.ignored()
	return c, l.diagnostics
}

// override puts what the command line says in the place of what the files say.
func (l *load) override() {
	s := l.file.byName["supervisord"]
	for name, value := range l.opts.Override {
		s.set(Option{Name: name, Value: strings.ReplaceAll(value, "%", "%%"), Source: s.Source})
	}
}

// merged returns the union of two environments, of which the second wins.
func merged(a, b map[string]string) map[string]string {
	m := make(map[string]string, len(a)+len(b))
	for _, e := range []map[string]string{a, b} {
		for k, v := range e {
			m[k] = v
		}
	}
	return m
}

func newLoad(opts Options) *load {
	if opts.FS == nil {
		opts.FS = OS{}
	}
	if opts.Accounts == nil {
		opts.Accounts = OS{}
	}
	l := &load{opts: opts, meter: meter{left: maxText}, made: make(map[string]*Group), processes: maxProcesses, variables: make(map[string]string, len(opts.Environ))}
	l.file = ini{byName: make(map[string]*Section), meter: &l.meter}
	l.env = newNames()
	for _, v := range opts.Environ {
		name, value, ok := strings.Cut(v, "=")
		if _, twice := l.variables[name]; twice || !ok { // the first counts, as in os.environ
			continue
		}
		l.env.text("ENV_"+name, value)
		l.variables[name] = value
	}
	here := l.absolute(dirname(opts.Path))
	l.config = &Config{Path: opts.Path, Here: here}
	if opts.Earlier != nil {
		for _, p := range opts.Earlier.defined {
			l.define(p)
		}
	}
	l.here = newNames()
	l.here.text("here", here)
	return l
}

// define makes a variable of [supervisord] known to expansions, from now on.
func (l *load) define(p pair) {
	l.config.defined = append(l.config.defined, p)
	l.env.text("ENV_"+p.name, p.value)
}

// environ looks a variable of the daemon's environment up.
func (l *load) environ(name string) (string, bool) {
	v, ok := l.variables[name]
	return v, ok
}

// say adds a diagnostic, which is an error unless it says otherwise.
func (l *load) say(d Diagnostic) {
	if d.Severity == "" {
		d.Severity = Error
	}
	l.diagnostics = append(l.diagnostics, d)
}

// sayAbout adds a diagnostic about a section, or an option of it.
func (l *load) sayAbout(s *Section, option string, d Diagnostic) {
	d.Section, d.Option = s.Name, option
	source := s.Source
	if o, ok := l.file.lookup(s, option); ok {
		source = o.Source
	}
	d.File, d.Line = source.File, source.Line
	l.say(d)
}

// sayError adds an error of reading a file.
func (l *load) sayError(file string, err error) {
	d := Diagnostic{File: file, Message: err.Error()}
	var syntax syntaxError
	var p problem
	switch {
	case errors.As(err, &syntax):
		d.Line, d.Hint = syntax.line, syntax.hint
	case errors.As(err, &p):
		d.Hint, d.Ours = p.hint, p.ours
	}
	l.say(d)
}

// readRoot reads the root file.
func (l *load) readRoot() bool {
	path := l.opts.Path
	at := l.below(path)
	if _, err := l.opts.FS.Stat(at); err != nil {
		l.say(Diagnostic{File: path, Message: "could not find config file " + path, Hint: reason(err)})
		return false
	}
	text, err := l.opts.FS.ReadFile(at)
	if err != nil {
		l.say(Diagnostic{File: path, Message: "could not read config file " + path, Hint: reason(err)})
		return false
	}
	l.config.Files = append(l.config.Files, l.absolute(path))
	if err := l.parse(path, text); err != nil {
		l.sayError(path, err)
		return false
	}
	return true
}

// parse adds what a file holds.
func (l *load) parse(file string, text []byte) error {
	if err := l.meter.spend(len(text)); err != nil {
		return err
	}
	return l.file.read(file, text)
}

// reason returns why a file can't be read, without the name that the caller has
// said.
func reason(err error) string {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return e.Err.Error()
	}
	return err.Error()
}

// readAll reads the root and what it includes.
func (l *load) readAll() bool {
	if !l.readRoot() {
		return false
	}
	include := l.file.byName["include"]
	if include == nil {
		return true
	}
	if err := l.file.expandHere(l.config.Here); err != nil {
		l.sayError(l.opts.Path, err)
		return false
	}
	files, ok := l.file.lookup(include, "files")
	if !ok {
		l.sayAbout(include, "", Diagnostic{Message: ".ini file has [include] section, but no files setting", Hint: "write files = conf.d/*.conf, or drop the section"})
		return false
	}
	known := newNames()
	known.update(l.here)
	known.text("host_node_name", l.opts.Host)
	known.update(l.env)
	list, err := expand(files.Value, scope{inner: known}, "include.files", &l.meter)
	if err != nil {
		l.sayProblem(include, "files", err, "")
		return false
	}
	base := dirname(l.absolute(l.opts.Path))
	for _, pattern := range strings.FieldsFunc(list, isSpace) {
		if !l.include(files.Source, join(base, pattern)) {
			return false
		}
	}
	return true
}

// include reads the files that a pattern matches, which stands at source.
func (l *load) include(source Source, pattern string) bool {
	say := func(severity Severity, ours bool, message string) {
		l.say(Diagnostic{Severity: severity, Ours: ours, File: source.File, Line: source.Line, Section: "include", Option: "files", Message: message})
	}
	l.config.Patterns = append(l.config.Patterns, pattern)
	matches := l.glob(pattern)
	if len(matches) == 0 {
		say(Warning, false, `No file matches via include "`+pattern+`"`)
		return true
	}
	for _, file := range matches {
		say(Info, false, `Included extra file "`+file+`" during parsing`)
		text, err := l.readIncluded(file)
		if err != nil {
			// Python's parser goes on without a file that it can't open.
			say(Warning, true, "cannot read "+file+", it is left out: "+reason(err))
		} else {
			l.config.Files = append(l.config.Files, file)
			if err := l.parse(file, text); err != nil {
				l.sayError(file, err)
				return false
			}
		}
		if err := l.file.expandHere(l.absolute(dirname(file))); err != nil {
			l.sayError(file, err)
			return false
		}
	}
	return true
}

// readIncluded reads a regular file: a pipe could wait for ever, and a folder
// isn't meant.
func (l *load) readIncluded(file string) ([]byte, error) {
	info, err := l.opts.FS.Stat(file)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("it is not a regular file")
	}
	return l.opts.FS.ReadFile(file)
}

// sayProblem adds an error of a value. The suffix is what supervisord says behind
// it.
func (l *load) sayProblem(s *Section, option string, err error, suffix string) {
	d := Diagnostic{Message: err.Error() + suffix}
	if p, ok := errors.AsType[problem](err); ok {
		d.Hint, d.Ours = p.hint, p.ours
	}
	l.sayAbout(s, option, d)
}

// optionsOf are the options of each kind of section that supervisord knows. nil:
// any.
var optionsOf = func() map[string][]string {
	process := strings.Fields(`command process_name numprocs numprocs_start priority autostart startsecs startretries
		autorestart exitcodes stopsignal stopwaitsecs stopasgroup killasgroup user redirect_stderr
		stdout_logfile stdout_logfile_maxbytes stdout_logfile_backups stdout_capture_maxbytes stdout_events_enabled stdout_syslog
		stderr_logfile stderr_logfile_maxbytes stderr_logfile_backups stderr_capture_maxbytes stderr_events_enabled stderr_syslog
		environment directory umask serverurl`)
	return map[string][]string{
		"supervisord": strings.Fields(`minfds minprocs directory user umask logfile logfile_maxbytes logfile_backups loglevel pidfile
			identifier nodaemon silent childlogdir nocleanup strip_ansi environment`),
		"supervisorctl":    strings.Fields("serverurl username password prompt history_file"),
		"unix_http_server": strings.Fields("file chmod chown username password"),
		"inet_http_server": strings.Fields("port username password"),
		"include":          {"files"},
		"program":          process,
		"fcgi-program":     append(slices.Clone(process), "socket", "socket_backlog", "socket_owner", "socket_mode"),
		"eventlistener":    append(slices.Clone(process), "buffer_size", "events", "result_handler"),
		"group":            {"programs", "priority"},
		"rpcinterface":     nil,
		"ctlplugin":        nil,
	}
}()

// kindOf returns what kind of section a name belongs to, or "".
func kindOf(section string) string {
	kind, _, named := strings.Cut(section, ":")
	switch kind {
	case "program", "fcgi-program", "eventlistener", "group", "rpcinterface", "ctlplugin":
		if named {
			return kind
		}
	case "supervisord", "supervisorctl", "include":
		if !named {
			return kind
		}
	default: // whatever begins like one is a server
		for _, kind := range []string{"unix_http_server", "inet_http_server"} {
			if strings.HasPrefix(section, kind) {
				return kind
			}
		}
	}
	return ""
}

// ignored collects what has no meaning to supervisord.
func (l *load) ignored() {
	for _, s := range l.file.sections {
		kind := kindOf(s.Name)
		if kind == "" {
			l.config.Ignored = append(l.config.Ignored, Ignored{Section: s.Name, Source: s.Source})
			continue
		}
		known := optionsOf[kind]
		if known == nil {
			continue
		}
		for _, o := range l.file.options(s) {
			if slices.Contains(known, o.Name) {
				continue
			}
			d, ok := l.file.defaults.Option(o.Name)
			l.config.Ignored = append(l.config.Ignored, Ignored{Section: s.Name, Option: o.Name, Source: o.Source, FromDefault: ok && d.Source == o.Source})
		}
	}
}

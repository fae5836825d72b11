package svconf

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// groups reads all sections that make processes, in the order in which
// supervisord does: what it complains of first is what it complains of.
func (l *load) groups() {
	c := l.config
	taken := make(map[string]bool) // sections that a [group:x] has
	for _, s := range l.file.sections {
		if strings.HasPrefix(s.Name, "group:") {
			l.addGroup(l.group(s, taken))
		}
	}
	for _, s := range l.file.sections {
		if strings.HasPrefix(s.Name, "program:") && !taken[s.Name] {
			l.addGroup(l.program(s))
		}
	}
	for _, s := range l.file.sections {
		if strings.HasPrefix(s.Name, "eventlistener:") {
			l.addGroup(l.listener(s))
		}
	}
	for _, s := range l.file.sections {
		if strings.HasPrefix(s.Name, "fcgi-program:") && !taken[s.Name] {
			l.addGroup(l.fastCGI(s))
		}
	}
	slices.SortStableFunc(c.Groups, func(a, b *Group) int {
		return cmp.Or(cmp.Compare(a.Priority, b.Priority), cmp.Compare(a.Name, b.Name))
	})
}

// addGroup adds a group, unless it is nil.
func (l *load) addGroup(g *Group) {
	if g == nil {
		return
	}
	if first := l.made[g.Name]; first != nil {
		l.sayAbout(l.file.byName[g.Section], "", Diagnostic{Severity: Warning, Ours: true,
			Message: fmt.Sprintf("group %s is there already, made of [%s]: only the one of lower priority number is ever started", g.Name, first.Section),
			Hint:    "rename one of them"})
	}
	l.made[g.Name] = g
	l.config.Groups = append(l.config.Groups, g)
}

// afterColon returns the name in a section's name, as it is written.
func afterColon(section string) string {
	_, name, _ := strings.Cut(section, ":")
	return name
}

// finish returns the group that r has read, or nil if there was a problem.
func (r *reader) finish(g *Group) *Group {
	if r.err != nil {
		r.l.sayProblem(r.section, r.option, r.err, "")
		return nil
	}
	return g
}

// group reads a [group:x].
func (l *load) group(s *Section, taken map[string]bool) *Group {
	r := l.reader(s, l.here)
	name, err := parseName(afterColon(s.Name))
	r.fail("", err)
	g := &Group{Name: name, Kind: Programs, Section: s.Name}
	programs := splitList(r.textOr("programs", ""))
	g.Priority = r.integer("priority", 999)
	if r.err != nil {
		return r.finish(nil)
	}
	accused := s.Name // supervisord blames the program that it read before
	whole := true
	for _, program := range programs {
		member, fcgi := l.file.byName["program:"+program], l.file.byName["fcgi-program:"+program]
		switch {
		case member == nil && fcgi == nil:
			hint := "write a section [program:" + program + "], or take it out of programs="
			if program == "" {
				hint = "there is a comma too many in programs="
			} else if l.file.byName["eventlistener:"+program] != nil {
				hint = "an event listener can't be in a group"
			}
			r.fail("programs", bad(hint, "[%s] names unknown program or fcgi-program %s", accused, program))
		case member != nil && fcgi != nil:
			r.fail("programs", bad("rename one of the two", "[%s] name %s is ambiguous (exists as program and fcgi-program)", accused, program))
		case member == nil:
			member = fcgi
		}
		if r.err != nil {
			return r.finish(nil)
		}
		accused = member.Name
		taken[member.Name] = true
		processes, ok := l.processesOf(member, name)
		whole = whole && ok
		g.Processes = append(g.Processes, processes...)
	}
	if !whole {
		return nil
	}
	return g
}

// program reads a [program:x] that no group has.
func (l *load) program(s *Section) *Group {
	r := l.reader(s, l.here)
	name, err := parseName(afterColon(s.Name))
	r.fail("", err)
	g := &Group{Name: name, Kind: Programs, Section: s.Name, Priority: r.integer("priority", 999)}
	return r.finish(g).withProcesses(l, s)
}

// withProcesses adds the processes of a section to a group that has no others.
// The group may be nil, and is if they can't be read.
func (g *Group) withProcesses(l *load, s *Section) *Group {
	if g == nil {
		return nil
	}
	processes, ok := l.processesOf(s, g.Name)
	if !ok {
		return nil
	}
	g.Processes = processes
	return g
}

// listener reads an [eventlistener:x].
func (l *load) listener(s *Section) *Group {
	r := l.reader(s, l.here)
	g := &Group{Name: afterColon(s.Name), Kind: Listeners, Section: s.Name}
	g.Priority = r.integer("priority", -1)
	g.BufferSize = r.integer("buffer_size", 10)
	if g.BufferSize < 1 {
		r.fail("buffer_size", bad("it is how many events wait; 10 is usual", "[%s] section sets invalid buffer_size (%d)", s.Name, g.BufferSize))
	}
	g.ResultHandler = r.textOr("result_handler", DefaultResultHandler)
	text, _ := r.text("events")
	for _, name := range splitList(text) {
		name = upper(name)
		if !slices.Contains(events, name) {
			hint := "known are " + strings.Join(events, ", ")
			if name == "" {
				hint = "there is a comma too many"
			}
			r.fail("events", bad(hint, "Unknown event type %s in [%s] events", name, s.Name))
			break
		}
		g.Events = append(g.Events, name)
	}
	slices.Sort(g.Events)
	g.Events = slices.Compact(g.Events)
	if len(g.Events) == 0 {
		r.fail("events", bad("write events = PROCESS_STATE, or what it listens to", `[%s] section requires an "events" line`, s.Name))
	}
	if r.bool("redirect_stderr", false) {
		r.fail("redirect_stderr", bad("take it out", "[%s] section sets redirect_stderr=true but this is not allowed because it will interfere with the eventlistener protocol", s.Name))
	}
	return r.finish(g).withProcesses(l, s)
}

// fastCGI reads a [fcgi-program:x] that no group has.
func (l *load) fastCGI(s *Section) *Group {
	r := l.reader(s, l.here)
	name, err := parseName(afterColon(s.Name))
	r.fail("", err)
	g := &Group{Name: name, Kind: FastCGI, Section: s.Name, Priority: r.integer("priority", 999)}
	user := r.account("user")
	socket := &Socket{}
	if text, ok := r.text("socket_backlog"); ok {
		n, err := parseInt(text, 10)
		r.fail("socket_backlog", err)
		if err == nil && (n.int < 1 || n.int > 65535) {
			r.fail("socket_backlog", bad("use a number from 1 to 65535", "Invalid socket_backlog value %s", n))
		}
		socket.Backlog = &n.int
	}
	if text, ok := r.text("socket_owner"); ok {
		owner, ok := l.owner(text)
		if !ok {
			r.fail("socket_owner", bad("write user or user:group, of those that exist", "Invalid socket_owner value %s", text))
		}
		socket.Owner = owner
	}
	hasMode := false
	if text, ok := r.text("socket_mode"); ok {
		n, err := parseOctal(text)
		if err != nil {
			r.fail("socket_mode", bad("write it in octal digits, as 0700", "Invalid socket_mode value %s", text))
		}
		socket.Mode, hasMode = n.int, true
	}
	r.names = newNames()
	r.names.text("program_name", name)
	r.names.update(l.here)
	url, _ := r.text("socket")
	if url == "" {
		r.fail("socket", bad("write socket = unix:///run/NAME.sock, or tcp://HOST:PORT", `[%s] section requires a "socket" line`, s.Name))
	}
	if r.err == nil {
		if err := l.fastCGISocket(socket, url, user, hasMode); err != nil {
			p := err.(problem)
			p.message += " in [" + s.Name + "] socket"
			r.fail("socket", p)
		}
	}
	g.Socket = socket
	return r.finish(g).withProcesses(l, s)
}

// fastCGISocket reads the address of a socket, whose other options are known.
func (l *load) fastCGISocket(socket *Socket, url string, user *Account, hasMode bool) error {
	if path, ok := strings.CutPrefix(url, "unix://"); ok {
		if !strings.HasPrefix(path, "/") {
			return bad("write socket = unix:///run/NAME.sock, with three slashes", "('Unix socket path %%s is not an absolute path', %s)", repr(path))
		}
		socket.Path = l.normal(path)
		socket.URL = "unix://" + socket.Path
		if socket.Owner == nil && user != nil && user.UID != l.opts.UID {
			socket.Owner = &Owner{UID: user.UID, GID: user.GID}
		}
		if !hasMode {
			socket.Mode = 0o700
		}
		return nil
	}
	if socket.Owner != nil || hasMode {
		return bad("drop them, or use unix://", "socket_owner and socket_mode params should only be used with a Unix domain socket")
	}
	address, ok := strings.CutPrefix(url, "tcp://")
	host, port, found := strings.Cut(strings.TrimSuffix(address, "\n"), ":")
	notDigit := func(r rune) bool { return digitOf(r) < 0 }
	if !ok || !found || host == "" || strings.ContainsFunc(host, isSpace) || port == "" || strings.ContainsFunc(port, notDigit) {
		return bad("write socket = tcp://HOST:PORT or unix:///PATH; the host can't be an IPv6 address", "('Bad socket format %%s', %s)", repr(url))
	}
	n, err := parsePort(port)
	if err != nil {
		return err
	}
	socket.Host, socket.Port = lower(host), n
	socket.URL = fmt.Sprintf("tcp://%s:%d", socket.Host, n)
	return nil
}

// processesOf reads the processes of a section, as members of a group.
func (l *load) processesOf(s *Section, group string) ([]*Process, bool) {
	r := l.reader(s, newNames())
	list := r.processes(group)
	if r.err != nil {
		l.sayProblem(s, r.option, r.err, fmt.Sprintf(" in section %s (file: %s)", repr(s.Name), repr(s.Source.File)))
		return nil, false
	}
	slices.SortStableFunc(list, func(a, b *Process) int {
		return cmp.Or(cmp.Compare(a.Priority, b.Priority), cmp.Compare(a.Name, b.Name))
	})
	return list, true
}

// channels are the names of the two outputs.
var channels = [2]string{"stdout", "stderr"}

// processes reads the options of a section in supervisord's order, first those
// that all its processes share, and then those of each.
func (r *reader) processes(group string) []*Process {
	l, s := r.l, r.section
	program, err := parseName(afterColon(s.Name))
	r.fail("", err)
	r.names.update(l.here)
	r.names.text("program_name", program)
	r.names.text("host_node_name", l.opts.Host)
	r.names.text("group_name", group)

	shared := Process{Group: group, Program: program, Section: s.Name}
	shared.Priority = r.integer("priority", 999)
	shared.AutoStart = r.bool("autostart", true)
	shared.AutoRestart = value(r, "autorestart", Unexpected, parseRestart)
	shared.StartSecs = r.integer("startsecs", 1)
	shared.StartRetries = r.integer("startretries", 3)
	shared.StopSignal = value(r, "stopsignal", 15, parseSignal)
	shared.StopWaitSecs = r.integer("stopwaitsecs", 10)
	shared.StopAsGroup = r.bool("stopasgroup", false)
	shared.KillAsGroup = r.bool("killasgroup", shared.StopAsGroup)
	shared.ExitCodes = value(r, "exitcodes", []int{0}, parseExitCodes)
	shared.RedirectError = r.bool("redirect_stderr", false)
	count := r.integer("numprocs", 1)
	first := r.integer("numprocs_start", 0)
	environment, _ := r.raw("environment")
	shared.Stdout.CaptureMaxBytes = r.size("stdout_capture_maxbytes", 0)
	shared.Stdout.Events = r.bool("stdout_events_enabled", false)
	shared.Stderr.CaptureMaxBytes = r.size("stderr_capture_maxbytes", 0)
	shared.Stderr.Events = r.bool("stderr_events_enabled", false)
	shared.ServerURL = r.optional("serverurl")
	if shared.ServerURL != nil && upper(strip(*shared.ServerURL)) == "AUTO" {
		shared.ServerURL = nil
	}
	shared.User = r.account("user")
	shared.Umask = r.octal("umask")
	nameFormat, given := r.raw("process_name")
	if !given {
		nameFormat = "%(program_name)s"
	}
	nameFormat, err = parseName(nameFormat)
	r.fail("process_name", err)
	if count > 1 && !strings.Contains(nameFormat, "%(process_num)") {
		r.fail("process_name", bad("write process_name = %(program_name)s_%(process_num)02d", "%%(process_num) must be present within process_name when numprocs > 1"))
	}
	if shared.StopAsGroup && !shared.KillAsGroup {
		r.fail("killasgroup", bad("stopasgroup=true has killasgroup=true with it: drop killasgroup", "Cannot set stopasgroup=true and killasgroup=false"))
	}
	if r.err == nil && count > l.processes {
		r.fail("numprocs", problem{message: fmt.Sprintf("numprocs=%d makes more than the %d processes that tend takes", count, maxProcesses), hint: "lower numprocs", ours: true})
	}
	var list []*Process
	for i := 0; i < count && r.err == nil; i++ {
		l.processes--
		p := shared
		p.Num = first + i
		r.names.number("process_num", p.Num)
		r.names.number("numprocs", count)
		// The variables that environment= defines win over the daemon's. They stay
		// known for the processes after this one, but those of the daemon come back.
		r.names.update(l.env)
		r.process(&p, environment, nameFormat)
		if p.ArgvError != "" && r.err == nil {
			r.tell("command", "the command can't be parsed, so it will never start: "+p.ArgvError, `close the quotes; mind that " ;" and " #" begin a comment even within them`)
		}
		list = append(list, &p)
	}
	return list
}

// process reads what each process has for itself.
func (r *reader) process(p *Process, environment, nameFormat string) {
	known := scope{inner: r.names}
	text, err := expand(environment, known, "environment", &r.l.meter)
	r.fail("environment", err)
	if r.err != nil {
		return
	}
	pairs, err := parseEnvironment(text)
	r.fail("environment", err)
	r.fail("environment", r.l.meter.spend(len(text)+64*len(pairs)))
	if r.err != nil {
		return
	}
	p.Environment = make(map[string]string, len(pairs))
	for _, v := range pairs {
		p.Environment[v.name] = v.value
		r.checkSeparator(v)
	}
	for _, v := range pairs { // the last of equal ones counts
		r.names.text("ENV_"+v.name, p.Environment[v.name])
	}
	p.Directory = r.optional("directory")
	r.channel(&p.Stdout, channels[0])
	r.channel(&p.Stderr, channels[1])
	if r.err != nil {
		return
	}
	if p.RedirectError {
		if p.Stderr.Log.Kind == LogPath {
			r.warn("stderr_logfile", fmt.Sprintf("For [%s], redirect_stderr=true but stderr_logfile has also been set to a filename, the filename has been ignored", r.section.Name))
		}
		p.Stderr.Log = LogFile{Kind: LogNone}
	}
	command, ok := r.text("command")
	if !ok {
		r.fail("", bad("write command = PROGRAM and its arguments", "program section %s does not specify a command", r.section.Name))
		return
	}
	p.Command = command
	if p.Argv, err = SplitCommand(command); err != nil {
		p.ArgvError = err.Error()
	}
	r.fail("command", r.l.meter.spend(len(command)+24*len(p.Argv)))
	p.Name, err = expand(nameFormat, known, "process_name", &r.l.meter)
	r.fail("process_name", err)
}

// warn adds a warning that supervisord logs.
func (r *reader) warn(option, message string) {
	r.l.sayAbout(r.section, option, Diagnostic{Severity: Warning, Message: message})
}

// channel reads the options of one output.
func (r *reader) channel(c *Channel, name string) {
	option := name + "_logfile"
	c.Log = LogFile{Kind: LogAuto}
	syslog := false
	if text, ok := r.text(option); ok {
		// It is expanded twice: a percent sign has to be written %%%%.
		text, err := expand(text, scope{inner: r.names}, option, &r.l.meter)
		r.fail(option, secondTime(err))
		if r.err != nil {
			return
		}
		switch lower(text) {
		case "none", "off":
			c.Log.Kind = LogNone
		case "auto":
		case "syslog":
			syslog = true
		default:
			c.Log.Kind = LogPath
			c.Log.Path, err = r.l.existingPath(text)
			r.fail(option, err)
		}
	}
	c.Backups = r.integer(name+"_logfile_backups", 10)
	c.MaxBytes = r.size(name+"_logfile_maxbytes", 50<<20)
	c.Syslog = r.bool(name+"_syslog", false)
	if r.err != nil {
		return
	}
	if syslog {
		r.warn(option, fmt.Sprintf("For [%s], %s=syslog but this is deprecated and will be removed.  Use %s_syslog=true to enable syslog instead.", r.section.Name, option, name))
		c.Log, c.Syslog = LogFile{Kind: LogNone}, true
	}
	if c.Log.Kind == LogAuto && c.MaxBytes == 0 {
		r.warn(option, fmt.Sprintf("For [%s], AUTO logging used for %s without rollover, set maxbytes > 0 to avoid filling up filesystem unintentionally", r.section.Name, option))
	}
}

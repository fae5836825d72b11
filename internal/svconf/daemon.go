package svconf

import "strings"

// daemon reads [supervisord]. It reports false if nothing else can be read
// without follow-up errors.
func (l *load) daemon() bool {
	s := l.file.byName["supervisord"]
	d := &l.config.Daemon
	// Unlike in other sections, each option is read whatever became of the others:
	// they don't depend on each other.
	read := func(f func(r *reader)) {
		r := l.reader(s, l.here)
		f(r)
		if r.err != nil {
			l.sayProblem(s, r.option, r.err, "")
		}
	}
	read(func(r *reader) { d.MinFDs = r.integer("minfds", 1024) })
	read(func(r *reader) { d.MinProcs = r.integer("minprocs", 200) })
	read(func(r *reader) {
		if dir := r.optional("directory"); dir != nil {
			path, err := l.existingDir(*dir)
			r.fail("directory", err)
			d.Directory = &path
		}
	})
	read(func(r *reader) {
		// Whether there is such a user is asked for at the end.
		if name := r.optional("user"); name != nil {
			d.User = &Account{Name: *name}
		}
	})
	read(func(r *reader) {
		d.Umask = 0o22
		if mask := r.octal("umask"); mask != nil {
			d.Umask = *mask
		}
	})
	read(func(r *reader) { d.LogFile = l.daemonPath(r, "logfile", "supervisord.log") })
	read(func(r *reader) { d.LogMaxBytes = r.size("logfile_maxbytes", 50<<20) })
	read(func(r *reader) { d.LogBackups = r.integer("logfile_backups", 10) })
	read(func(r *reader) { d.LogLevel = value(r, "loglevel", "info", parseLevel) })
	read(func(r *reader) { d.PIDFile = l.daemonPath(r, "pidfile", "supervisord.pid") })
	read(func(r *reader) { d.Identifier = r.textOr("identifier", "supervisor") })
	read(func(r *reader) { d.NoDaemon = r.bool("nodaemon", false) })
	read(func(r *reader) { d.Silent = r.bool("silent", false) })
	read(func(r *reader) {
		dir := r.textOr("childlogdir", l.tempDir())
		if r.err != nil {
			return
		}
		path, err := l.existingDir(dir)
		r.fail("childlogdir", err)
		d.ChildLogDir = path
	})
	read(func(r *reader) { d.NoCleanup = r.bool("nocleanup", false) })
	read(func(r *reader) { d.StripANSI = r.bool("strip_ansi", false) })

	// All that follows may need these names. They are expanded twice: first as any
	// option here, then with the host's name as well, so that a percent sign has to
	// be written %%%%.
	environment := true
	read(func(r *reader) {
		text := r.textOr("environment", "")
		known := newNames()
		known.update(l.here)
		known.text("host_node_name", l.opts.Host)
		known.update(l.env)
		if r.err == nil {
			var err error
			text, err = expand(text, scope{inner: known}, "environment", &l.meter)
			r.fail("environment", secondTime(err))
		}
		if r.err == nil {
			pairs, err := parseEnvironment(text)
			r.fail("environment", err)
			d.Environment = make(map[string]string, len(pairs))
			for _, p := range pairs {
				d.Environment[p.name] = p.value
				l.define(p)
				r.checkSeparator(p)
			}
		}
		environment = r.err == nil
	})
	return environment
}

// daemonPath reads the path of a file of the daemon's.
func (l *load) daemonPath(r *reader, option, def string) string {
	text := r.textOr(option, def)
	if r.err != nil {
		return ""
	}
	path, err := l.existingPath(text)
	r.fail(option, err)
	if option == "logfile" && path == "syslog" {
		return path
	}
	return l.normal(path)
}

// tempDir returns the folder for temporary files.
func (l *load) tempDir() string {
	if l.opts.TempDir != "" {
		return l.opts.TempDir
	}
	for _, name := range []string{"TMPDIR", "TEMP", "TMP"} {
		if dir, ok := l.environ(name); ok && dir != "" && l.isDir(l.absolute(dir)) {
			return l.absolute(dir)
		}
	}
	return "/tmp"
}

// user looks the user of [supervisord] up, which supervisord does last.
func (l *load) user() {
	d := &l.config.Daemon
	if d.User == nil {
		return
	}
	a, err := l.account(d.User.Name)
	if err != nil {
		l.sayProblem(l.file.byName["supervisord"], "user", err, "")
		return
	}
	d.User = a
}

// account looks a user up by name or number.
func (l *load) account(name string) (*Account, error) {
	if n, err := parseInt(name, 10); err == nil {
		if gid, ok := l.opts.Accounts.UserID(n.int); ok && n.big == nil {
			return &Account{name, n.int, gid}, nil
		}
		return nil, bad("no user has this number", "Invalid user id %s", name)
	}
	if uid, gid, ok := l.opts.Accounts.User(name); ok {
		return &Account{name, uid, gid}, nil
	}
	return nil, bad("there is no such user: create it, or drop user", "Invalid user name %s", name)
}

// owner reads user or user:group. Whatever is wrong, the message is the caller's.
func (l *load) owner(text string) (*Owner, bool) {
	name, group, both := strings.Cut(text, ":")
	a, err := l.account(name)
	if err != nil {
		return nil, false
	}
	o := &Owner{Name: text, UID: a.UID, GID: -1}
	if !both {
		return o, true
	}
	if n, err := parseInt(group, 10); err == nil {
		o.GID = n.int
		return o, n.big == nil && l.opts.Accounts.GroupID(n.int)
	}
	gid, ok := l.opts.Accounts.Group(group)
	o.GID = gid
	return o, ok
}

// plugins reads the sections of a kind that name Python objects. Only their ENV_
// names are expanded.
func (l *load) plugins(prefix, factory string) []Plugin {
	var list []Plugin
	for _, s := range l.file.sections {
		name, ok := strings.CutPrefix(s.Name, prefix)
		if !ok {
			continue
		}
		r := l.reader(s, newNames())
		p := Plugin{Name: name, Section: s.Name, Options: make(map[string]string)}
		if _, ok := r.raw(factory); !ok {
			l.sayAbout(s, "", Diagnostic{Message: "section [" + s.Name + "] does not specify a " + factory, Hint: "write " + factory + " = MODULE:FUNCTION"})
			continue
		}
		p.Factory, _ = r.text(factory)
		for _, o := range l.file.options(s) {
			if o.Name != factory {
				p.Options[o.Name], _ = r.text(o.Name)
			}
		}
		if r.err != nil {
			l.sayProblem(s, r.option, r.err, "")
			continue
		}
		list = append(list, p)
	}
	return list
}

// servers reads the sections of servers: those on TCP first.
func (l *load) servers() {
	c := l.config
	for _, kind := range []string{"inet_http_server", "unix_http_server"} {
		for _, s := range l.file.sections {
			if !strings.HasPrefix(s.Name, kind) {
				continue
			}
			r := l.reader(s, newNames())
			server := Server{Section: s.Name}
			_, server.Name, _ = strings.Cut(s.Name, ":")
			if kind == "inet_http_server" {
				l.inetServer(r, &server)
			} else {
				l.unixServer(r, &server)
			}
			if r.err != nil {
				l.sayProblem(s, r.option, r.err, "")
				continue
			}
			c.Servers = append(c.Servers, server)
		}
	}
	// The first unix socket counts, but the last address.
	for _, s := range c.Servers {
		host := s.Host
		if host == "" {
			host = "localhost"
		}
		if s.File != "" {
			c.ServerURL = "unix://" + s.File
			break
		}
		c.ServerURL = "http://" + host + ":" + number{int: s.Port}.String()
	}
}

// credentials reads username and password, which need each other.
func (r *reader) credentials(server *Server) {
	server.Username, server.Password = r.optional("username"), r.optional("password")
	if (server.Username == nil) != (server.Password == nil) {
		r.fail("", bad("give both, or neither", "Section [%s] contains incomplete authentication: If a username or a password is specified, both the username and password must be specified", r.section.Name))
	}
}

func (l *load) inetServer(r *reader, server *Server) {
	r.credentials(server)
	port, ok := r.text("port")
	if !ok {
		r.fail("", bad("write port = 127.0.0.1:9001", "section [%s] has no port value", r.section.Name))
		return
	}
	var err error
	server.Host, server.Port, err = parseAddress(port)
	r.fail("port", err)
}

func (l *load) unixServer(r *reader, server *Server) {
	file := *r
	file.names = l.here
	path, ok := file.text("file")
	r.option, r.err = file.option, file.err
	if !ok {
		r.fail("", bad("write file = /run/supervisor.sock", "section [%s] has no file value", r.section.Name))
		return
	}
	server.File = l.normal(strip(path))
	r.credentials(server)
	if chown, ok := r.text("chown"); ok {
		owner, ok := l.owner(chown)
		if !ok {
			r.fail("chown", bad("write user or user:group, of those that exist", "Invalid sockchown value %s", chown))
		}
		server.Chown = owner
	}
	server.Chmod = 0o700
	if chmod, ok := r.text("chmod"); ok {
		n, err := parseOctal(chmod)
		if err != nil {
			r.fail("chmod", bad("write it in octal digits, as 0700", "Invalid chmod value %s", chmod))
		}
		server.Chmod = n.int
	}
}

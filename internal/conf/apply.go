package conf

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"tend/internal/spec"
)

// A field is a row of the field table with what loading needs to know of it.
type field struct {
	*spec.Field
	kind string // as [spec.Field.Kind]
	mark bool   // it may hold [spec.InstanceMark]
}

var fields = func() map[string]*field {
	m := make(map[string]*field, len(spec.Fields))
	for _, f := range spec.Fields {
		m[f.Key] = &field{Field: f, kind: f.Kind()}
	}
	// Those in which [spec.Program.Instance] replaces it.
	for _, key := range []string{"command", "stop_command", "directory", "user", "group", "log.file", "log.stderr", "env",
		"ready.http", "ready.tcp", "ready.grpc", "ready.exec", "health.http", "health.tcp", "health.grpc", "health.exec", "listen"} {
		m[key].mark = true
	}
	return m
}()

// isTable reports whether a key of a program holds other keys.
func isTable(key string) bool { return key == "env" || key == "limits" || spec.IsTable(key) }

// A setting is a key of the table [tend].
type setting struct {
	key  string
	doc  string // Markdown
	kind string // enum, string, path, mode, bool, size; strings and table are handled on their own
	enum []string
	set  func(d *spec.Daemon, v string)
}

// settings is the table of the keys of [tend].
var settings = []setting{
	{key: "include", kind: "strings", doc: "Files to read as well: names, folders and patterns, relative ones from the folder of this file."},
	{key: "reload", kind: "enum", enum: []string{string(spec.ReloadAuto), string(spec.ReloadManual)},
		doc: "`auto`: the files are watched, and applied after a quiet moment. `manual`: on a signal or command.",
		set: func(d *spec.Daemon, v string) { d.Reload = spec.Reload(v) }},
	{key: "state", kind: "path", doc: "Folder of the socket and of what the daemon remembers.",
		set: func(d *spec.Daemon, v string) { d.State = v }},
	{key: "logs", kind: "path", doc: "Folder of the programs' output.",
		set: func(d *spec.Daemon, v string) { d.Logs = v }},
	{key: "socket_mode", kind: "mode", doc: "File mode of the control socket, octal; default is `\"600\"`. Whom it lets in as one of the others may only look."},
	{key: "socket_group", kind: "string", doc: "Group that owns the control socket.",
		set: func(d *spec.Daemon, v string) { d.SocketGroup = v }},
	{key: "listen", kind: "string", doc: "Address on which the page and the API answer beside the socket, as `127.0.0.1:8700`. One that other machines reach needs `tls_cert`, `tls_key` and `token_file`.",
		set: func(d *spec.Daemon, v string) { d.Listen = v }},
	{key: "tls_cert", kind: "path", doc: "File of the certificate (PEM, with those between it and the root). It is read again when it has changed.",
		set: func(d *spec.Daemon, v string) { d.TLSCert = v }},
	{key: "tls_key", kind: "path", doc: "File of its key.",
		set: func(d *spec.Daemon, v string) { d.TLSKey = v }},
	{key: "token_file", kind: "path", doc: "File with a line for each who is let in by `listen`: a name, `read` or `full`, and a token. Without it whoever reaches `listen` may look and nobody may act.",
		set: func(d *spec.Daemon, v string) { d.TokenFile = v }},
	{key: "exit_when", kind: "string", doc: "When the daemon ends by itself: `never`, `all-done`, `any-failed`, or the name of a program, whose status becomes the daemon's.",
		set: func(d *spec.Daemon, v string) { d.ExitWhen = v }},
	{key: "rollback", kind: "bool", doc: "A reload of which a program doesn't become ready is taken back: what was in force before is so again."},
	{key: "default", kind: "table", doc: "Keys of a program, for all programs."},
	{key: "log.level", kind: "enum", enum: []string{"debug", "info", "warn", "error"}, doc: "The least important message of the daemon's own log.",
		set: func(d *spec.Daemon, v string) { d.LogLevel = v }},
	{key: "log.format", kind: "enum", enum: []string{"text", "json"}, doc: "Form of the daemon's own log.",
		set: func(d *spec.Daemon, v string) { d.LogFormat = v }},
	{key: "log.max_total", kind: "size", doc: "How large the logs of all programs may be together, those in `logs` of removed ones too: rotated files are removed, the oldest first, until the others stay within that. What is being written isn't touched; 0 is no bound."},
}

// settingOf returns the setting with that key, or nil.
func settingOf(key string) *setting {
	if i := slices.IndexFunc(settings, func(s setting) bool { return s.key == key }); i >= 0 {
		return &settings[i]
	}
	return nil
}

// newDaemon returns the settings that hold where nothing is set.
func newDaemon() spec.Daemon {
	return spec.Daemon{Reload: spec.ReloadAuto, SocketMode: 0o600, ExitWhen: "never", LogLevel: "info", LogFormat: "text"}
}

// defaults is what [tend] says for all programs.
type defaults struct {
	src     *source
	base    *spec.Program   // every program begins as a copy of it
	late    []entry         // values with references, which differ from program to program
	envFile *entry          // or nil
	given   map[string]bool // keys that are set
	text    string          // all of it, for comparison with the last load
}

// apply makes a set of the sections.
func (l *load) apply() *spec.Set {
	set := &spec.Set{Daemon: l.daemon()}
	d := l.defaults()
	l.defaultsText = d.text
	if l.reused && d.text != l.memory.defaults {
		l.stale = true
		return nil
	}
	byName := make(map[string]*section, len(l.sections))
	set.Programs = make([]*spec.Program, 0, len(l.sections))
	for _, s := range l.sections {
		if s.old == nil {
			if why := spec.CheckName(s.name, s.src.format == iniFormat); why != "" {
				hint := ""
				if strings.HasPrefix(why, "the name can't") || s.name == "" {
					hint = "choose another name"
				}
				l.sayAt(s.src, s.at, Error, s.name, "", hint, "%s", why)
				if s.name == "" {
					continue // package spec has it for the daemon
				}
			}
		}
		if first := byName[s.name]; first != nil {
			l.sayTwice(s, first)
			continue
		}
		byName[s.name] = s
		p := l.program(s, d)
		if p == nil {
			return nil
		}
		set.Programs = append(set.Programs, p)
	}
	l.check(set, byName)
	return set
}

// check reports what is wrong with the set as a whole.
func (l *load) check(set *spec.Set, byName map[string]*section) {
	for _, p := range append(spec.Check(set), checkValues(set)...) {
		s, program := l.settings, "tend"
		if p.Program != "" {
			s, program = byName[p.Program], p.Program
		}
		switch {
		case l.failed[[2]string{program, p.Key}], s.broken:
			continue // its value was refused, so it only seems to be missing
		case l.partial && strings.HasPrefix(p.Message, "no program is named"):
			continue // what isn't there may only not have been read
		}
		if s.old != nil {
			l.stale = true // the places of its keys were left out
			return
		}
		src, at := s.src, s.at
		if i := slices.IndexFunc(s.entries, func(e entry) bool { return e.key == p.Key }); i >= 0 {
			at = s.entries[i].val
		} else if d := l.settings; d != nil && p.Program != "" {
			if i := slices.IndexFunc(d.entries, func(e entry) bool { return e.key == "default."+p.Key }); i >= 0 && p.Key != "" {
				src, at = d.src, d.entries[i].val
			}
		}
		l.sayAt(src, at, Error, program, p.Key, p.Hint, "%s", p.Message)
	}
	if len(set.Programs) == 0 && len(l.sources) > 0 && !l.partial {
		l.sayAt(l.sources[0], span{}, Warning, "", "", `a program is a table: [web] and command = "…"`, "there is no program")
	}
}

// daemon applies the table [tend].
func (l *load) daemon() spec.Daemon {
	d := newDaemon()
	s := l.settings
	if s == nil {
		return d
	}
	for _, e := range s.entries {
		if e.key == "default" || strings.HasPrefix(e.key, "default.") {
			if e.key == "default" {
				l.sayAt(s.src, e.val, Error, "tend", e.key, `write default = { stop_timeout = "60s" }, or default.stop_timeout = …`, "default is a table")
			}
			continue
		}
		setting := settingOf(e.key)
		if setting == nil {
			l.unknownSetting(s.src, e)
			continue
		}
		if _, bad := e.value.(invalid); bad {
			continue
		}
		text, ok := e.value.(string)
		if !ok && setting.kind != "mode" && setting.kind != "bool" && setting.kind != "size" {
			l.sayValue(s.src, e, "tend", &spec.ValueError{Message: show(e.value) + " is not a string", Hint: "put it into quotes"})
			continue
		}
		if text, ok = l.expandEntry(s.src, e, "tend", text, l.environ); !ok {
			continue
		}
		v := e.value
		if _, isText := v.(string); isText {
			v = text
		}
		var p spec.Program
		switch setting.kind {
		case "bool":
			if err := fields["enabled"].Set(&p, v); err != nil {
				l.sayValue(s.src, e, "tend", err)
				continue
			}
			d.Rollback = p.Enabled
			continue
		case "mode":
			if err := fields["umask"].Set(&p, v); err != nil {
				l.sayValue(s.src, e, "tend", err)
				continue
			}
			d.SocketMode = p.Umask.Value
			continue
		case "size":
			v := e.value
			if _, isText := v.(string); isText {
				v = text
			}
			var p spec.Program
			if err := fields["log.max_size"].Set(&p, v); err != nil {
				l.sayValue(s.src, e, "tend", err)
				continue
			}
			d.LogMaxTotal = p.Log.MaxSize
			continue
		case "enum":
			if !slices.Contains(setting.enum, text) {
				l.sayValue(s.src, e, "tend", notOneOf(text, setting.enum))
				continue
			}
		case "path":
			if text != "" {
				text = absolute(s.src.dir, text)
			}
		}
		setting.set(&d, text)
	}
	return d
}

func notOneOf(text string, enum []string) error {
	err := &spec.ValueError{Message: fmt.Sprintf("%q is not one of %s", text, strings.Join(enum, ", "))}
	if better := spec.Nearest(text, enum); better != "" {
		err.Hint = fmt.Sprintf("did you mean %q?", better)
	}
	return err
}

// defaults applies what can be applied once for all programs.
func (l *load) defaults() *defaults {
	d := &defaults{base: spec.New(""), given: make(map[string]bool)}
	if l.settings == nil {
		return d
	}
	d.src = l.settings.src
	t := target{l: l, p: d.base, owner: "tend"}
	var text strings.Builder
	var plain []entry
	for _, e := range l.settings.entries {
		key, ok := strings.CutPrefix(e.key, "default.")
		if !ok {
			continue
		}
		fmt.Fprintf(&text, "%s\x00%T %[2]v\x00", e.key, e.value)
		d.given[key] = true
		switch {
		case key == "env_file":
			d.envFile = &e
		case hasReference(e.value):
			d.late = append(d.late, e)
		default:
			plain = append(plain, e)
		}
	}
	if text.Len() > 0 {
		d.text = d.src.path + "\x00" + text.String()
	}
	t.entries(d.src, plain, "default.")
	return d
}

// hasReference reports whether a value may change by substitution.
func hasReference(v any) bool {
	switch v := v.(type) {
	case string:
		return strings.IndexByte(v, '$') >= 0
	case []any:
		return slices.ContainsFunc(v, hasReference)
	}
	return false
}

// program makes the program of a section. It is nil where the section was kept
// from the last load and something that it depends on has changed since.
func (l *load) program(s *section, d *defaults) *spec.Program {
	line := s.src.line(s.at.from)
	if k := s.old; k != nil {
		for _, f := range k.envFiles {
			if now := l.readEnvFile(f.path); now.err != nil || now.text != f.text {
				l.stale = true
				return nil
			}
		}
		if k.program.Source.Line != line {
			p := *k.program
			p.Source.Line = line
			k = &kept{program: &p, envFiles: k.envFiles}
		}
		s.kept = k
		return k.program
	}
	p := *d.base
	p.Name = s.name
	p.Source = spec.Source{File: s.src.path, Line: line}
	if !d.given["directory"] {
		p.Directory = s.src.dir
	}
	if s.src.format == iniFormat && !d.given["enabled"] {
		p.Enabled = false
		if !slices.ContainsFunc(s.entries, func(e entry) bool { return e.key == "enabled" }) {
			l.sayAt(s.src, s.at, Warning, s.name, "enabled", "add enabled = 1, or enabled = 0 to say it", "enabled is not given: it is disabled, as in the original daemon")
		}
	}
	t := target{l: l, p: &p, owner: s.name}
	if i := slices.IndexFunc(s.entries, func(e entry) bool { return e.key == "env_file" }); i >= 0 {
		t.envFiles(s.src, s.entries[i], s.name)
	} else if d.envFile != nil {
		t.envFiles(d.src, *d.envFile, "tend")
	}
	if len(d.late) > 0 {
		t.owner = "tend"
		t.entries(d.src, d.late, "default.")
		t.owner = s.name
	}
	t.entries(s.src, s.entries, "")
	if len(t.env) > 0 {
		env := maps.Clone(t.env)
		maps.Copy(env, p.Env)
		p.Env = env
	}
	if s.text != "" {
		s.kept = &kept{program: &p, envFiles: t.read}
	}
	return &p
}

// A target is a program that entries are applied to.
type target struct {
	l     *load
	p     *spec.Program
	owner string            // whose entries they are, for messages
	env   map[string]string // of the env files
	read  []*envFile

	unknown bool // some env file can't be read: any variable may be in it
}

// lookup finds a variable: first those of tend itself, then those of the env
// files, then those of the daemon's environment.
func (t *target) lookup(name string) (string, bool) {
	switch name {
	case programVariable:
		return t.p.Name, true
	case instanceVariable:
		return spec.InstanceMark, true
	}
	if v, ok := t.env[name]; ok {
		return v, true
	}
	v, ok := t.l.environ(name)
	return v, ok || t.unknown
}

// fail marks a key of the program as refused.
func (t *target) fail(key string) { t.l.failed[[2]string{t.p.Name, key}] = true }

// entries applies entries to the program; prefix is what their keys have in
// front, "default." or nothing.
func (t *target) entries(src *source, list []entry, prefix string) {
	var tables map[string]map[string]any // env and limits, which are set as a whole
	for _, e := range list {
		key := e.key[len(prefix):]
		f := fields[key]
		if f == nil {
			table, name, ok := strings.Cut(key, ".")
			if ok && (table == "env" || table == "limits" && !spec.IsLater(spec.Later, key)) {
				v, ok := t.value(fields[table], src, e)
				if !ok {
					t.fail(table)
					continue
				}
				if tables == nil {
					tables = make(map[string]map[string]any)
				}
				if tables[table] == nil {
					tables[table] = make(map[string]any)
				}
				tables[table][name] = v
				continue
			}
			t.l.unknown(src, e, key, t.owner)
			continue
		}
		if key == "env_file" {
			continue // was first
		}
		v, ok := t.value(f, src, e)
		if !ok {
			t.fail(key)
			continue
		}
		err := strict(f, src.format, e.value)
		if err == nil {
			err = f.Set(t.p, v)
		}
		if err == nil {
			err = t.paths(key, src.dir)
		}
		if err != nil {
			t.fail(key)
			t.l.sayValue(src, e, t.owner, err)
		}
	}
	for _, table := range []string{"env", "limits"} {
		m := tables[table]
		if m == nil || fields[table].Set(t.p, m) == nil {
			continue
		}
		// One of them is refused: find out which.
		for _, e := range list {
			name, ok := strings.CutPrefix(e.key[len(prefix):], table+".")
			if v, found := m[name]; ok && found {
				if err := fields[table].Set(t.p, map[string]any{name: v}); err != nil {
					t.l.sayValue(src, e, t.owner, err)
				}
			}
		}
	}
}

// value returns the value of an entry with its references replaced.
func (t *target) value(f *field, src *source, e entry) (any, bool) {
	switch v := e.value.(type) {
	case invalid:
		return nil, false
	case string:
		if f.kind == "command" {
			return expandShell(v, t.p.Name), true
		}
		return t.expand(f, src, e, v)
	case []any:
		if !hasReference(v) {
			return v, true
		}
		list := make([]any, len(v))
		for i, w := range v {
			list[i] = w
			if s, ok := w.(string); ok {
				if s, ok = t.expand(f, src, e, s); !ok {
					return nil, false
				}
				list[i] = s
			}
		}
		return list, true
	}
	return e.value, true
}

func (t *target) expand(f *field, src *source, e entry, s string) (string, bool) {
	if strings.IndexByte(s, '$') < 0 {
		return s, true
	}
	s, ok := t.l.expandEntry(src, e, t.owner, s, t.lookup)
	if ok && !f.mark && strings.Contains(s, spec.InstanceMark) {
		at := t.l.narrow(src, e.val, "${"+instanceVariable)
		t.l.sayAt(src, at, Error, t.owner, e.key, "", "${%s} can't be used in %s: it is the same for all instances", instanceVariable, e.key)
		return "", false
	}
	return s, ok
}

// paths makes the path in a field that was just set absolute, from dir.
func (t *target) paths(key, dir string) error {
	switch key {
	case "directory":
		t.p.Directory = absolute(dir, t.p.Directory)
	case "on_event.secret_file":
		t.p.OnEvent.SecretFile = absolute(dir, t.p.OnEvent.SecretFile)
	case "watch":
		t.p.Watch = absolutes(dir, t.p.Watch)
	case "watch_ignore":
		t.p.WatchIgnore = absolutes(dir, t.p.WatchIgnore)
	case "log.file":
		switch t.p.Log.File {
		case "", spec.Inherit, spec.None, spec.Syslog, spec.Journal:
		default:
			t.p.Log.File = absolute(dir, t.p.Log.File)
		}
	case "log.stderr":
		switch t.p.Log.Stderr {
		case "", spec.Separate, spec.Inherit, spec.None, spec.Syslog, spec.Journal:
		default:
			t.p.Log.Stderr = absolute(dir, t.p.Log.Stderr)
		}
	}
	return nil
}

func absolutes(dir string, list []string) []string {
	out := make([]string, len(list))
	for i, path := range list {
		out[i] = absolute(dir, path)
	}
	return out
}

// envFiles reads the files of the entry env_file.
func (t *target) envFiles(src *source, e entry, owner string) {
	t.owner = owner
	defer func() { t.owner = t.p.Name }()
	f := fields["env_file"]
	v, ok := t.value(f, src, e)
	if !ok {
		t.fail("env_file")
		return
	}
	if err := f.Set(t.p, v); err != nil {
		t.l.sayValue(src, e, owner, err)
		t.fail("env_file")
		return
	}
	list := make([]string, len(t.p.EnvFile))
	for i, path := range t.p.EnvFile {
		list[i] = absolute(src.dir, path)
		file := t.l.readEnvFile(list[i])
		if file.err != nil {
			at := t.l.narrow(src, e.val, path)
			if at.from == at.to { // the .env of a Procfile isn't written anywhere
				at = e.at
			}
			t.l.sayAt(src, at, Error, owner, e.key, "", "env_file: cannot read %s: %s", path, reason(file.err))
			t.unknown = true
			continue
		}
		t.read = append(t.read, file)
		if t.env == nil {
			t.env = make(map[string]string, len(file.value))
		}
		maps.Copy(t.env, file.value)
	}
	t.p.EnvFile = list
}

// readEnvFile reads an env file, once a load.
func (l *load) readEnvFile(path string) *envFile {
	if f := l.envFiles[path]; f != nil {
		return f
	}
	f := &envFile{path: path, value: make(map[string]string)}
	l.envFiles[path] = f
	if f.text, f.err = l.read(path); f.err != nil {
		return f
	}
	src := &source{name: path, path: path, text: strings.TrimPrefix(f.text, "\ufeff")}
	if len(l.sources) > 0 && l.sources[0].dir != "" {
		// As the configuration is named, so are the files beside it.
		if rest, ok := strings.CutPrefix(path, l.sources[0].dir+"/"); ok {
			src.name = strings.TrimSuffix(l.sources[0].name, l.sources[0].path[len(l.sources[0].dir)+1:]) + rest
		}
	}
	if i := strings.IndexByte(src.text, 0); i >= 0 {
		l.sayAt(src, span{i, i + 1}, Error, "", "", "save it as plain UTF-8 text", "the file holds a NUL byte")
		return f
	}
	list, errs := parseDotenv(src.text)
	for _, e := range errs {
		l.sayAt(src, e.at, Error, "", "", e.hint, "%s", e.message)
	}
	for _, v := range list {
		f.value[v.name] = v.value
	}
	return f
}

// strict refuses TOML values of the wrong type that the notation of INI files,
// where everything is a string, would allow.
func strict(f *field, format format, v any) error {
	if format != tomlFormat {
		return nil
	}
	switch v := v.(type) {
	case string:
		want := map[string]string{"bool": "true or false", "int": "a whole number", "float": "a number"}[f.kind]
		if want == "" || hasReference(v) {
			return nil
		}
		err := &spec.ValueError{Message: fmt.Sprintf("%q is a string, not %s", v, want)}
		if _, number := strconv.ParseFloat(v, 64); number == nil || v == "true" || v == "false" {
			err.Hint = "drop the quotes"
		}
		return err
	case int64:
		if f.kind == "string" && f.Key != "user" && f.Key != "group" {
			return &spec.ValueError{Message: fmt.Sprintf("%d is not a string", v), Hint: "put it into quotes"}
		}
	case bool, float64:
		if f.kind == "string" {
			return &spec.ValueError{Message: fmt.Sprintf("%v is not a string", v), Hint: "put it into quotes"}
		}
	}
	return nil
}

// sayValue reports err, which says why the value of an entry doesn't fit.
func (l *load) sayValue(src *source, e entry, program string, err error) {
	hint := ""
	var valueError *spec.ValueError
	if errors.As(err, &valueError) {
		hint = valueError.Hint
	}
	at := e.val
	if at.from == at.to {
		at = e.at
	}
	l.sayAt(src, at, Error, program, e.key, hint, "%s", err)
}

// expandEntry returns s, which is the value of an entry or a part of it, with
// its references replaced.
func (l *load) expandEntry(src *source, e entry, program, s string, lookup func(string) (string, bool)) (string, bool) {
	s, err := expand(s, lookup)
	var wrong *substError
	if errors.As(err, &wrong) {
		l.sayAt(src, l.narrow(src, e.val, wrong.at), Error, program, e.key, wrong.hint, "%s", wrong.message)
		return "", false
	}
	return s, true
}

// narrow returns the part of a place that reads as text, or the whole of it.
func (l *load) narrow(src *source, at span, text string) span {
	if at.from < 0 || at.to > len(src.text) || text == "" {
		return at
	}
	if i := strings.Index(src.text[at.from:at.to], text); i >= 0 {
		return span{at.from + i, at.from + i + len(text)}
	}
	return at
}

// elsewhere are keys of other supervisors, and what they are called here.
var elsewhere = map[string]string{
	"cmd": "command", "exec": "command", "args": "command", "cwd": "directory", "workdir": "directory", "working_dir": "directory",
	"environment": "env", "numprocs": "instances", "replicas": "instances", "autorestart": "restart", "depends_on": "after",
	"stopsignal": "stop_signal", "stopwaitsecs": "stop_timeout", "startsecs": "min_uptime", "startretries": "max_failures",
	"exitcodes": "success_codes", "stdout_logfile": "log.file", "stderr_logfile": "log.stderr", "logfile": "log.file",
}

// unknown reports a key that programs don't have.
func (l *load) unknown(src *source, e entry, key, owner string) {
	parent, _, dotted := strings.Cut(key, ".")
	hint := ""
	switch {
	case spec.IsLater(spec.Later, key):
		l.sayAt(src, e.at, Error, owner, e.key, "drop it: it would not be in force", "%s is not yet known to this version", e.key)
		return
	case isTable(key):
		if key == "env" || key == "limits" {
			break
		}
		l.sayAt(src, e.val, Error, owner, e.key, fmt.Sprintf("write %s = …", l.example(key)), "%s is a table", e.key)
		return
	case elsewhere[key] != "":
		hint = fmt.Sprintf("did you mean %q?", elsewhere[key])
	case dotted && fields[parent] != nil:
		hint = parent + " is not a table"
	default:
		keys := make([]string, 0, len(spec.Fields)+2)
		for _, f := range spec.Fields {
			keys = append(keys, f.Key)
		}
		if better := spec.Nearest(key, append(keys, "backoff", "log")); better != "" {
			hint = fmt.Sprintf("did you mean %q?", better)
		} else if _, table := e.value.(map[string]any); table && owner != "tend" {
			hint = fmt.Sprintf("a name with a dot is quoted: [%q]", owner+"."+key)
		} else if settingOf(key) != nil {
			hint = "it is a key of [tend]"
		}
	}
	l.sayAt(src, e.at, Error, owner, e.key, hint, "unknown key %q", e.key)
}

// example returns the first key of a table.
func (l *load) example(table string) string {
	for _, f := range spec.Fields {
		if strings.HasPrefix(f.Key, table+".") {
			return f.Key
		}
	}
	return table
}

// unknownSetting reports a key that [tend] doesn't have.
func (l *load) unknownSetting(src *source, e entry) {
	hint := ""
	switch {
	case e.key == "log":
		l.sayAt(src, e.val, Error, "tend", e.key, "write log.level = …", "log is a table")
		return
	case fields[e.key] != nil:
		hint = fmt.Sprintf("for all programs, write default.%s; [tend] is the daemon's own table", e.key)
	default:
		keys := make([]string, 0, len(settings))
		for _, s := range settings {
			keys = append(keys, s.key)
		}
		if better := spec.Nearest(e.key, keys); better != "" {
			hint = fmt.Sprintf("did you mean %q?", better)
		}
	}
	l.sayAt(src, e.at, Error, "tend", e.key, hint, "unknown key %q", e.key)
}

package svconf

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// object is a JSON object of the reference.
type object = map[string]any

// A form is how the reference prints accounts: as numbers if it looks them up, or
// else as they are written.
type form struct{ numbers bool }

// understood returns what Load makes of a file, in the form of the reference.
func understood(opts Options, f form) object {
	c, diagnostics := Load(opts)
	r := object{"ok": c != nil}
	said := func(severity Severity) []any {
		list := []any{}
		for _, d := range diagnostics {
			if d.Severity == severity && !d.Ours {
				list = append(list, d.Message)
			}
		}
		return list
	}
	r["infos"] = said(Info)
	r["warnings"] = said(Warning)
	if c == nil {
		errors := said(Error)
		r["error"] = ""
		if len(errors) > 0 {
			r["error"] = errors[0]
		}
		// What supervisord refuses it doesn't warn of any more.
		delete(r, "warnings")
		return normal(r)
	}
	r["supervisord"] = daemonObject(c)
	servers := []any{}
	for _, s := range c.Servers {
		o := object{"section": s.Section, "username": s.Username, "password": s.Password}
		if s.File == "" {
			o["type"], o["host"], o["port"] = "inet", s.Host, s.Port
		} else {
			o["type"], o["file"], o["chmod"], o["chown"] = "unix", s.File, octal(s.Chmod), f.owner(s.Chown, "")
		}
		servers = append(servers, o)
	}
	r["servers"] = servers
	plugins := []any{}
	for _, p := range c.RPC {
		plugins = append(plugins, object{"name": p.Name, "factory": p.Factory, "options": p.Options})
	}
	r["rpcinterfaces"] = plugins
	groups := []any{}
	for _, g := range c.Groups {
		groups = append(groups, f.group(g))
	}
	r["groups"] = groups
	ignored := object{}
	for _, i := range c.Ignored {
		if !looksInto(c, i.Source.File) {
			continue
		}
		section := "[" + i.Section + "]"
		if i.Option == "" {
			ignored[section] = "unknown section"
		} else {
			list, _ := ignored[section].([]any)
			ignored[section] = append(list, i.Option)
		}
	}
	r["ignored"] = ignored
	if s := c.Section("supervisorctl"); s != nil && looksInto(c, s.Source.File) {
		ctl, diagnostics := LoadCtl(opts)
		if ctl != nil {
			r["supervisorctl"] = object{"serverurl": ctl.ServerURL, "username": ctl.Username, "password": ctl.Password, "prompt": ctl.Prompt, "history_file": ctl.HistoryFile}
		} else {
			i := slices.IndexFunc(diagnostics, func(d Diagnostic) bool { return d.Severity == Error })
			r["supervisorctl"] = object{"error": diagnostics[i].Message}
		}
	}
	return normal(r)
}

// looksInto reports whether the reference prints what it does only for the root
// and for a fragment that it includes.
func looksInto(c *Config, file string) bool {
	return file == c.Path || strings.HasSuffix(file, "/conf.d/program.conf")
}

func octal(n int) string { return fmt.Sprintf("%03o", n) }

func account(a *Account) any {
	if a == nil {
		return nil
	}
	return a.Name
}

// owner is an owner as the reference prints it. One that follows from the user is
// the user twice, if it isn't looked up.
func (f form) owner(o *Owner, user string) any {
	switch {
	case o == nil:
		return nil
	case f.numbers:
		return []any{o.UID, o.GID}
	case o.Name == "":
		return []any{user, user}
	}
	return o.Name
}

func daemonObject(c *Config) object {
	d := c.Daemon
	o := object{
		"nodaemon": d.NoDaemon, "silent": d.Silent, "user": account(d.User), "umask": octal(d.Umask), "directory": d.Directory,
		"logfile": d.LogFile, "logfile_maxbytes": d.LogMaxBytes, "logfile_backups": d.LogBackups, "loglevel": d.LogLevel,
		"pidfile": d.PIDFile, "identifier": d.Identifier, "childlogdir": d.ChildLogDir, "minfds": d.MinFDs, "minprocs": d.MinProcs,
		"nocleanup": d.NoCleanup, "strip_ansi": d.StripANSI, "environment": d.Environment, "child_serverurl": c.ServerURL,
	}
	if c.ServerURL == "" {
		o["child_serverurl"] = nil
	}
	return o
}

func (f form) group(g *Group) object {
	o := object{"name": g.Name, "type": string(g.Kind), "priority": g.Priority}
	class := map[GroupKind]string{Programs: "ProcessConfig", Listeners: "EventListenerConfig", FastCGI: "FastCGIProcessConfig"}[g.Kind]
	switch g.Kind {
	case Listeners:
		o["buffer_size"], o["events"], o["result_handler"] = g.BufferSize, g.Events, g.ResultHandler
	case FastCGI:
		socket := object{"url": g.Socket.URL, "backlog": g.Socket.Backlog}
		if g.Socket.Path != "" {
			user := ""
			if len(g.Processes) > 0 && g.Processes[0].User != nil {
				user = g.Processes[0].User.Name
			}
			socket["mode"], socket["owner"] = octal(g.Socket.Mode), f.owner(g.Socket.Owner, user)
		}
		o["socket"] = socket
	}
	processes := []any{}
	for _, p := range g.Processes {
		processes = append(processes, f.process(p, class))
	}
	o["processes"] = processes
	return o
}

func (f form) process(p *Process, class string) object {
	o := object{
		"name": p.Name, "class": class, "command": p.Command, "directory": p.Directory, "umask": nil, "user": account(p.User),
		"priority": p.Priority, "autostart": p.AutoStart, "autorestart": string(p.AutoRestart), "startsecs": p.StartSecs,
		"startretries": p.StartRetries, "exitcodes": p.ExitCodes, "stopsignal": p.StopSignal.String(), "stopwaitsecs": p.StopWaitSecs,
		"stopasgroup": p.StopAsGroup, "killasgroup": p.KillAsGroup, "redirect_stderr": p.RedirectError,
		"environment": p.Environment, "serverurl": p.ServerURL,
	}
	if p.ArgvError != "" {
		o["argv_error"] = p.ArgvError
	} else {
		o["argv"] = p.Argv
	}
	if p.User != nil && f.numbers {
		o["user"] = p.User.UID
	}
	if p.Umask != nil {
		o["umask"] = octal(*p.Umask)
	}
	for i, c := range []Channel{p.Stdout, p.Stderr} {
		name := channels[i] + "_"
		switch c.Log.Kind {
		case LogAuto:
			o[name+"logfile"] = "AUTO"
		case LogPath:
			o[name+"logfile"] = c.Log.Path
		default:
			o[name+"logfile"] = nil
		}
		o[name+"logfile_maxbytes"], o[name+"logfile_backups"] = c.MaxBytes, c.Backups
		o[name+"capture_maxbytes"], o[name+"events_enabled"], o[name+"syslog"] = c.CaptureMaxBytes, c.Events, c.Syslog
	}
	return o
}

// placeholders are the names of the world's folders in the reference.
var placeholders = strings.NewReplacer("/run0/etc", "{HERE}", "/run0/cwd", "{CWD}", "/run0", "{RUN}")

// normal returns r as JSON gives it back, with placeholders for folders.
func normal(r object) object {
	text, err := json.Marshal(r)
	if err != nil {
		panic(err)
	}
	return parse([]byte(placeholders.Replace(string(text))))
}

func parse(text []byte) object {
	var r object
	if err := json.Unmarshal(text, &r); err != nil {
		panic(err)
	}
	return r
}

// compare reports how r differs from what the reference says.
func compare(want, got object) string {
	want = maps.Clone(want)
	for _, key := range []string{"strict_on_this_machine", "mode", "env_assumed", "kind"} {
		delete(want, key)
	}
	if want["ok"] == false {
		delete(want, "warnings")
	}
	return cmp.Diff(want, got)
}

// findShared returns a folder of ../shared/supervisord, seen from the root of the
// repository.
func findShared(t *testing.T, name string) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			break
		}
		if dir == filepath.Dir(dir) {
			t.Fatal("no go.mod above this package")
		}
		dir = filepath.Dir(dir)
	}
	shared := filepath.Join(filepath.Dir(dir), "shared", "supervisord", name)
	if _, err := os.Stat(shared); err != nil {
		t.Skipf("the files of others are not here: %v", err)
	}
	return shared
}

// expected reads what the reference said of a file. HOME is root's in this test.
func expected(t *testing.T, file string) object {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return parse([]byte(strings.ReplaceAll(string(text), "{HOME}", "/root")))
}

// TestReference compares with what supervisord understood of the files of others
// and of hand-made ones.
func TestReference(t *testing.T) {
	for _, kind := range []string{"corpus", "edge"} {
		t.Run(kind, func(t *testing.T) {
			dir := findShared(t, kind)
			files, err := filepath.Glob(filepath.Join(dir, "*.conf"))
			if err != nil || len(files) < 100 {
				t.Fatalf("%d files, %v", len(files), err)
			}
			for _, file := range files {
				t.Run(strings.TrimSuffix(filepath.Base(file), ".conf"), func(t *testing.T) {
					text, err := os.ReadFile(file)
					if err != nil {
						t.Fatal(err)
					}
					want := expected(t, strings.TrimSuffix(file, ".conf")+".expected.json")
					w := rootOrFragment(string(text), want["mode"].(string))
					if diff := compare(want, understood(w.options(assumed(string(text))...), form{})); diff != "" {
						t.Error(diff)
					}
				})
			}
		})
	}
}

// TestReferenceTrees does so with whole installations.
func TestReferenceTrees(t *testing.T) {
	dir := findShared(t, "trees")
	// The roots whose names don't say which file they are.
	roots := map[string]string{"alt": "supervisord_alt.conf", "alt52": "supervisord_alt.conf"}
	files, err := filepath.Glob(filepath.Join(dir, "*.expected.json"))
	if err != nil || len(files) < 4 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	for _, file := range files {
		name, which, _ := strings.Cut(strings.TrimSuffix(filepath.Base(file), ".expected.json"), ".")
		t.Run(name+"."+which, func(t *testing.T) {
			want := expected(t, file)
			w := tree(t, filepath.Join(dir, name))
			var env []string
			assumed, _ := want["env_assumed"].(object)
			for _, k := range slices.Sorted(maps.Keys(assumed)) {
				env = append(env, k+"="+assumed[k].(string))
			}
			opts := w.options(env...)
			if root := roots[which]; root != "" {
				opts.Path = w.here() + "/" + root
			}
			if diff := compare(want, understood(opts, form{})); diff != "" {
				t.Error(diff)
			}
		})
	}
}

package conf

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"tend/internal/spec"
	"tend/internal/svconf"
)

// A world is the machine in which supervisord was asked what it understands of the
// files in ../shared/supervisord: all folders and accounts exist.
type world struct{ fstest.MapFS }

const (
	worldHere = "/run0/etc"
	worldCwd  = "/run0/cwd"
	worldRoot = worldHere + "/supervisord.conf"
)

func inside(name string) string {
	if name = path.Clean(name)[1:]; name == "" {
		return "."
	}
	return name
}

func (w world) add(name, text string) { w.MapFS[inside(name)] = &fstest.MapFile{Data: []byte(text)} }

func (w world) ReadFile(name string) ([]byte, error)       { return w.MapFS.ReadFile(inside(name)) }
func (w world) ReadDir(name string) ([]fs.DirEntry, error) { return w.MapFS.ReadDir(inside(name)) }
func (w world) Lstat(name string) (fs.FileInfo, error)     { return w.MapFS.Lstat(inside(name)) }
func (w world) Stat(name string) (fs.FileInfo, error) {
	info, err := w.MapFS.Stat(inside(name))
	if errors.Is(err, fs.ErrNotExist) {
		return fstest.MapFS{"x/y": {}}.Stat("x")
	}
	return info, err
}

func (world) User(name string) (uid, gid int, ok bool) {
	return 12345, 12345, strings.TrimSpace(name) != ""
}
func (world) UserID(uid int) (gid int, ok bool)     { return uid, true }
func (world) Group(name string) (gid int, ok bool)  { return 12345, strings.TrimSpace(name) != "" }
func (world) GroupID(int) bool                      { return true }
func (world) Home(string) (dir string, exists bool) { return "", false }

var worldEnv = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LANG=C.UTF-8"}

func (w world) load(root string, env ...string) *Result {
	return Load(Options{Path: root, Environ: slices.Concat(worldEnv, env),
		Machine: &svconf.Options{Dir: worldCwd, Host: "testhost", TempDir: "/tmp", FS: w, Accounts: w}})
}

// shared returns a folder beside the repository, and skips the test without it.
func shared(t *testing.T, name string) string {
	t.Helper()
	dir, err := filepath.Abs("../../../shared/supervisord/" + name)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(dir); err != nil {
		t.Skipf("the files of others are not here: %v", err)
	}
	return dir
}

var (
	envName   = regexp.MustCompile(`%\(ENV_([A-Za-z0-9_]+)\)`)
	levelName = regexp.MustCompile(`LOG_?LEVEL$`)
)

// assumed are the variables that supervisord was given for a text that uses them.
func assumed(text string) (list []string) {
	for _, m := range envName.FindAllStringSubmatch(text, -1) {
		v := m[1] + "=1"
		if levelName.MatchString(m[1]) {
			v = m[1] + "=info"
		}
		if !slices.Contains(list, v) && !slices.ContainsFunc(worldEnv, func(v string) bool { return strings.HasPrefix(v, m[1]+"=") }) {
			list = append(list, v)
		}
	}
	return list
}

// theirs is what supervisord says that it understands, as ../shared/supervisord
// has it.
type theirs struct {
	OK          bool
	Error       string
	Mode        string
	EnvAssumed  map[string]string `json:"env_assumed"`
	Supervisord struct {
		User           *string
		Nodaemon       bool
		Directory      *string
		ChildServerURL *string `json:"child_serverurl"`
	}
	Groups []struct {
		Name, Type string
		Priority   int
		Processes  []theirProcess
	}
}

type theirProcess struct {
	Name                                            string
	Argv                                            []string
	Directory, Umask, User, Serverurl               *string
	Priority, Startsecs, Startretries, Stopwaitsecs int
	Autostart, Stopasgroup, Killasgroup             bool
	Autorestart, Stopsignal                         string
	Exitcodes                                       []int
	RedirectStderr                                  bool    `json:"redirect_stderr"`
	StdoutLogfile                                   *string `json:"stdout_logfile"`
	StderrLogfile                                   *string `json:"stderr_logfile"`
	StdoutMax                                       int64   `json:"stdout_logfile_maxbytes"`
	StderrMax                                       int64   `json:"stderr_logfile_maxbytes"`
	StdoutBackups                                   int     `json:"stdout_logfile_backups"`
	StderrBackups                                   int     `json:"stderr_logfile_backups"`
	StdoutSyslog                                    bool    `json:"stdout_syslog"`
	StderrSyslog                                    bool    `json:"stderr_syslog"`
	Environment                                     map[string]string
}

func readTheirs(t *testing.T, file string) (want theirs) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	text = []byte(strings.NewReplacer("{HOME}", "/root", "{CWD}", worldCwd, "{HERE}", worldHere, "{RUN}", "/run0").Replace(string(text)))
	if err := json.Unmarshal(text, &want); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	return want
}

// ours says in supervisord's words what a program does, and theirProgram what it
// should: each is written without a look at the mapping.
func ours(p *spec.Program) map[string]string {
	stderr, stderrMax, stderrKeep := p.Log.Stderr, p.Log.MaxSize, p.Log.Keep
	if p.Log.StderrMaxSize.Set {
		stderrMax = int64(p.Log.StderrMaxSize.Value)
	}
	if p.Log.StderrKeep.Set {
		stderrKeep = p.Log.StderrKeep.Value
	}
	m := map[string]string{
		"argv": fmt.Sprintf("%q", p.Command.Args()), "autostart": fmt.Sprint(p.Autostart), "directory": p.Directory, "env": fmt.Sprintf("%q", map[string]string(p.Env)),
		"user": p.User, "user_env": fmt.Sprint(p.UserEnv), "restart": string(p.Restart), "exitcodes": fmt.Sprint(p.SuccessCodes), "startsecs": fmt.Sprint(p.MinUptime.Seconds()),
		"attempts": fmt.Sprint(p.MaxFailures), "backoff": fmt.Sprint(p.Backoff.Kind, " ", p.Backoff.Initial), "stopsignal": p.StopSignal.String(),
		"stopwaitsecs": fmt.Sprint(p.StopTimeout.Seconds()), "stop": string(p.StopScope), "kill": string(p.KillScope), "umask": fmt.Sprint(p.Umask),
		"also": fmt.Sprint(len(p.Log.Also) == 1 && p.Log.Also[0] == spec.Syslog), "stdout": p.Log.File, "stdout rotation": fmt.Sprint(p.Log.MaxSize, p.Log.Keep), "stderr": stderr, "stderr rotation": fmt.Sprint(stderrMax, stderrKeep),
		"enabled": fmt.Sprint(p.Enabled), "server": p.Member.ServerURL, "instances": fmt.Sprint(p.Instances),
	}
	if stderr == "" {
		delete(m, "stderr rotation")
	}
	return m
}

func theirProgram(d *theirs, kind string, p *theirProcess) map[string]string {
	text := func(s *string, or string) string {
		if s == nil {
			return or
		}
		return *s
	}
	abs := func(p string) string { return absolute(worldCwd, p) }
	dir := worldCwd
	if d.Supervisord.Directory != nil && !d.Supervisord.Nodaemon {
		dir = abs(*d.Supervisord.Directory)
	}
	if p.Directory != nil && *p.Directory != "" {
		dir = absolute(dir, *p.Directory)
	}
	umask := spec.Optional{}
	if p.Umask != nil {
		fmt.Sscanf(*p.Umask, "%o", &umask.Value)
		umask = spec.Some(umask.Value & 0o777)
	}
	user := p.User
	if user == nil {
		user = d.Supervisord.User
	}
	place := func(file *string, syslog bool, auto string, own ...string) string {
		switch {
		case file == nil && syslog:
			return spec.Syslog
		case file == nil, *file == "/dev/null", *file == "":
			return "none"
		case *file == "AUTO":
			return auto
		case slices.Contains(own, *file):
			return "inherit"
		}
		return abs(*file)
	}
	positive := func(n int64) int64 { return max(n, 0) }
	century := func(n int) string { return fmt.Sprint(float64(min(max(n, 0), 100*365*24*60*60))) } // the longest duration here
	slices.Sort(p.Exitcodes)
	sig, err := spec.ParseSignal(strings.Replace(p.Stopsignal, "SIGRTMIN", "34", 1))
	if err != nil {
		sig = 18 // 0, which does nothing, and nor does CONT
	}
	scope := map[bool]string{true: "group", false: "main"}
	m := map[string]string{
		"argv": fmt.Sprintf("%q", p.Argv), "autostart": fmt.Sprint(p.Autostart), "directory": dir, "env": fmt.Sprintf("%q", p.Environment),
		"user": strings.TrimSpace(text(user, "")), "user_env": "false",
		"restart": map[string]string{"true": "always", "false": "never", "unexpected": "on-failure"}[p.Autorestart], "exitcodes": fmt.Sprint(slices.Compact(p.Exitcodes)),
		"startsecs": century(p.Startsecs), "attempts": fmt.Sprint(max(p.Startretries+1, 1)), "backoff": "linear 1s",
		"stopsignal": sig.String(), "stopwaitsecs": century(p.Stopwaitsecs), "stop": scope[p.Stopasgroup], "kill": scope[p.Killasgroup],
		"umask":  fmt.Sprint(umask),
		"stdout": place(p.StdoutLogfile, p.StdoutSyslog, "", "/dev/stdout", "/dev/fd/1"), "stdout rotation": fmt.Sprint(positive(p.StdoutMax), positive(int64(p.StdoutBackups))),
		"stderr": place(p.StderrLogfile, p.StderrSyslog, "separate", "/dev/stderr", "/dev/fd/2"), "stderr rotation": fmt.Sprint(positive(p.StderrMax), positive(int64(p.StderrBackups))),
		"also":    fmt.Sprint(p.StdoutSyslog && p.StdoutLogfile != nil || p.StderrSyslog && p.StderrLogfile != nil && !p.RedirectStderr),
		"enabled": "true", "server": text(p.Serverurl, text(d.Supervisord.ChildServerURL, "")), "instances": "1",
	}
	if p.RedirectStderr || strings.HasPrefix(m["stderr"], "/") && m["stderr"] == m["stdout"] {
		m["stderr"] = ""
		delete(m, "stderr rotation")
	}
	return m
}

// compareTheirs checks a result against what supervisord understood.
func compareTheirs(t *testing.T, r *Result, want theirs) {
	t.Helper()
	if r.OK() != want.OK {
		t.Fatalf("accepted is %v, %v there (%s): %v", r.OK(), want.OK, want.Error, r.Diagnostics)
	}
	if !want.OK {
		said := slices.ContainsFunc(r.Diagnostics, func(d Diagnostic) bool { return d.Severity == Error && d.Message == want.Error })
		if theirWords := !strings.ContainsAny(want.Error, "\n") && !strings.Contains(want.Error, "codec can't"); !said && theirWords {
			t.Errorf("supervisord says %q, we %v", want.Error, r.Diagnostics)
		}
		return
	}
	if r.Set.Daemon.Reload != spec.ReloadManual || r.Supervisord == nil {
		t.Errorf("%+v", r.Set.Daemon)
	}
	groups := make(map[string]bool)
	i := 0
	for _, g := range want.Groups {
		if groups[g.Name] {
			continue // there are two of the name, and only the first is activated
		}
		groups[g.Name] = true
		byName := make(map[string]*theirProcess)
		var names []string
		for _, p := range g.Processes {
			if byName[p.Name] == nil {
				names = append(names, p.Name)
			}
			byName[p.Name] = &p
		}
		slices.SortStableFunc(names, func(a, b string) int {
			if d := byName[a].Priority - byName[b].Priority; d != 0 {
				return d
			}
			return strings.Compare(a, b)
		})
		for _, name := range names {
			if i >= len(r.Set.Programs) {
				t.Fatalf("%s:%s is missing", g.Name, name)
			}
			p := r.Set.Programs[i]
			i++
			if p.Member.Group != g.Name || p.Member.Process != name || p.Name != spec.NameOf(g.Name, name) || p.Member.GroupPriority != g.Priority || p.Member.Priority != byName[name].Priority {
				t.Fatalf("%s is %+v, and not of group %q, process %q", p.Name, p.Member, g.Name, name)
			}
			want, got := theirProgram(&want, g.Type, byName[name]), ours(p)
			if len(byName[name].Argv) == 0 {
				delete(want, "argv")
				delete(got, "argv")
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s: -supervisord +ours\n%s", p.Name, diff)
			}
		}
	}
	if i != len(r.Set.Programs) {
		t.Errorf("%d programs too many: %s", len(r.Set.Programs)-i, r.Set.Programs[i].Name)
	}
}

// theirFiles calls f with each file of others, loaded in a world of its own, and
// with what supervisord understood of it.
func theirFiles(t *testing.T, f func(t *testing.T, r *Result, want theirs)) {
	for _, kind := range []string{"corpus", "edge"} {
		t.Run(kind, func(t *testing.T) {
			files, err := filepath.Glob(filepath.Join(shared(t, kind), "*.conf"))
			if err != nil || len(files) < 100 {
				t.Fatalf("%d files, %v", len(files), err)
			}
			for _, file := range files {
				t.Run(strings.TrimSuffix(filepath.Base(file), ".conf"), func(t *testing.T) {
					text, err := os.ReadFile(file)
					if err != nil {
						t.Fatal(err)
					}
					want := readTheirs(t, strings.TrimSuffix(file, ".conf")+".expected.json")
					w := world{fstest.MapFS{inside(worldCwd): {Mode: fs.ModeDir | 0o755}}}
					if want.Mode == "root" {
						w.add(worldRoot, string(text))
					} else {
						w.add(worldRoot, "[supervisord]\n\n[include]\nfiles = conf.d/*.conf\n")
						w.add(worldHere+"/conf.d/program.conf", string(text))
					}
					f(t, w.load(worldRoot, assumed(string(text))...), want)
				})
			}
		})
	}
	t.Run("trees", func(t *testing.T) {
		dir := shared(t, "trees")
		roots := map[string]string{"alt": "supervisord_alt.conf", "alt52": "supervisord_alt.conf"}
		files, err := filepath.Glob(filepath.Join(dir, "*.expected.json"))
		if err != nil || len(files) < 4 {
			t.Fatalf("%d files, %v", len(files), err)
		}
		for _, file := range files {
			name, which, _ := strings.Cut(strings.TrimSuffix(filepath.Base(file), ".expected.json"), ".")
			t.Run(name+"."+which, func(t *testing.T) {
				want := readTheirs(t, file)
				w := world{fstest.MapFS{inside(worldCwd): {Mode: fs.ModeDir | 0o755}}}
				tree := os.DirFS(filepath.Join(dir, name))
				err := fs.WalkDir(tree, ".", func(file string, d fs.DirEntry, err error) error {
					if err != nil || d.IsDir() {
						return err
					}
					text, err := fs.ReadFile(tree, file)
					w.add(path.Join(worldHere, file), string(text))
					return err
				})
				if err != nil {
					t.Fatal(err)
				}
				var env []string
				for _, k := range slices.Sorted(maps.Keys(want.EnvAssumed)) {
					env = append(env, k+"="+want.EnvAssumed[k])
				}
				root := worldRoot
				if file := roots[which]; file != "" {
					root = worldHere + "/" + file
				}
				f(t, w.load(root, env...), want)
			})
		}
	})
}

// TestSupervisord compares with what supervisord understood of the files of others
// and of hand-made ones: the same programs in the same order, doing the same, or
// refused.
func TestSupervisord(t *testing.T) {
	theirFiles(t, func(t *testing.T, r *Result, want theirs) { compareTheirs(t, r, want) })
}

// importsTo loads what Import makes of a result, and checks that it is the same.
func importsTo(t *testing.T, r *Result) *Result {
	t.Helper()
	text := Import(r)
	file := filepath.Join(t.TempDir(), "tend.toml")
	write(t, file, string(text))
	again := Load(Options{Path: file, Environ: []string{"HOME=/nowhere"}})
	if !again.OK() {
		t.Fatalf("%v in\n%s", again.Diagnostics, text)
	}
	if len(r.Set.Programs) != len(again.Set.Programs) {
		t.Fatalf("%d programs, not %d, in\n%s", len(again.Set.Programs), len(r.Set.Programs), text)
	}
	if a, b := r.Set.Daemon, again.Set.Daemon; a != b {
		t.Errorf("settings %+v, not %+v", b, a)
	}
	for i, p := range r.Set.Programs {
		q := again.Set.Programs[i]
		if m := p.Member; m.Pool != (spec.Pool{}) || m.Socket != (spec.Socket{}) {
			if q.Enabled {
				t.Errorf("%s is enabled, and can't do its work in\n%s", p.Name, text)
			}
			alone := *p
			alone.Enabled = false
			p = &alone
		}
		for _, c := range spec.Changes(p, q) {
			t.Errorf("%s: %s was %q, and is %q in\n%s", p.Name, c.Field.Key, c.Old, c.New, text)
		}
		if !utf8.Valid(text) {
			t.Errorf("not UTF-8: %q", text)
		}
	}
	return again
}

// TestImport: what is written for the files of others loads to the same programs.
func TestImport(t *testing.T) {
	theirFiles(t, func(t *testing.T, r *Result, _ theirs) {
		if r.OK() {
			importsTo(t, r)
		}
	})
	t.Run("procfiles", func(t *testing.T) {
		paths, _ := filepath.Glob(filepath.Join(shared(t, "procfiles"), "*.Procfile"))
		n := 0
		for _, path := range paths {
			if r := Load(Options{Path: path}); r.OK() {
				importsTo(t, r)
				n++
			}
		}
		if n < 10 {
			t.Errorf("only %d of %d load", n, len(paths))
		}
	})
	t.Run("dotenv", func(t *testing.T) {
		dir := t.TempDir()
		write(t, filepath.Join(dir, "Procfile"), "web: echo $A '${TEND_INSTANCE}' \"\\\\\"\nb: true\n")
		write(t, filepath.Join(dir, ".env"), "A='1 $$'\nB=2\n")
		r := Load(Options{Path: filepath.Join(dir, "Procfile")})
		if !r.OK() || r.Set.Programs[0].Env["A"] != "1 $$" {
			t.Fatal(r.Diagnostics)
		}
		importsTo(t, r)
	})
	t.Run("names", func(t *testing.T) {
		r := &Result{Path: "x", Set: &spec.Set{Daemon: newDaemon()}}
		for _, name := range []string{"tend", "a:b", "a.b", "a b", "a_b", "é+", strings.Repeat("x", 99), strings.Repeat("x", 98), "..", "a:b:c"} {
			p := spec.New(name)
			p.Command.Argv = []string{"/bin/x", "$HOME", spec.InstanceMark, "tab\t'\"\n\x01"}
			p.Directory, p.Env = "/", spec.Env{"A.B": "${X}", "C": "'\"", "": "x"}
			delete(p.Env, "")
			r.Set.Programs = append(r.Set.Programs, p)
		}
		again := importsTo(t, r)
		var names []string
		for _, p := range again.Set.Programs {
			names = append(names, p.Name)
		}
		want := []string{"tend_", "a.b", "a.b-2", "a_b", "a_b-2", "é_", strings.Repeat("x", 60), strings.Repeat("x", 60) + "-2", ".._", "a.b.c"}
		if diff := cmp.Diff(want, names); diff != "" {
			t.Error(diff)
		}
	})
}

package conf

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"tend/internal/spec"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// TestGolden loads the files of each archive in testdata and compares what was
// understood, and what was said, with its file "want". Lines of the archive's
// comment that begin with "env " set variables, "path " names what is loaded
// (else the first file), "root" loads as root would.
func TestGolden(t *testing.T) {
	paths, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(paths) == 0 {
		t.Fatal("no golden files", err)
	}
	for _, path := range paths {
		name := strings.TrimSuffix(filepath.Base(path), ".txtar")
		archive, err := txtar.ParseFile(path)
		if err != nil {
			t.Fatal(err)
		}
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			golden, err := filepath.Abs(path)
			if err != nil {
				t.Fatal(err)
			}
			t.Chdir(dir)
			o := Options{Path: archive.Files[0].Name}
			for line := range strings.Lines(string(archive.Comment)) {
				word, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
				switch word {
				case "env":
					o.Environ = append(o.Environ, rest)
				case "path":
					o.Path = rest
				case "root":
					o.Root = true
				}
			}
			want := archive.Files[len(archive.Files)-1]
			if want.Name != "want" {
				archive.Files = append(archive.Files, txtar.File{Name: "want"})
				want = archive.Files[len(archive.Files)-1]
			}
			for _, f := range archive.Files[:len(archive.Files)-1] {
				write(t, f.Name, strings.NewReplacer("<CR>", "\r", "<TAB>", "\t", "<BOM>", "\ufeff", "<NUL>", "\x00", "<LATIN>", "\xe4").Replace(string(f.Data)))
			}
			got := dump(Load(o), dir)
			if *update {
				archive.Files[len(archive.Files)-1].Data = []byte(got)
				if err := os.WriteFile(golden, txtar.Format(archive), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if diff := cmp.Diff(string(want.Data), got); diff != "" {
				t.Errorf("-want +got, see -update:\n%s", diff)
			}
		})
	}
}

func write(t testing.TB, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// dump returns what is in a result, with dir shown as DIR: what differs from the
// defaults, and the diagnostics.
func dump(r *Result, dir string) string {
	var b strings.Builder
	for _, d := range r.Diagnostics {
		b.WriteString(d.Text() + "\n")
	}
	if len(r.Diagnostics) > 0 {
		b.WriteString("\n")
	}
	if r.OK() {
		if r.Set.Daemon != newDaemon() {
			fmt.Fprintf(&b, "[tend] %+v\n", r.Set.Daemon)
		}
		for _, p := range r.Set.Programs {
			fmt.Fprintf(&b, "[%s] %s:%d\n", p.Name, p.Source.File, p.Source.Line)
			plain := spec.New(p.Name)
			for _, f := range spec.Fields {
				if v := f.Get(p); v != f.Get(plain) {
					fmt.Fprintf(&b, "  %s = %s\n", f.Key, strings.NewReplacer("\n", "; ", `\x00`, "${TEND_INSTANCE}").Replace(strings.TrimSuffix(v, "\n")))
				}
			}
		}
	}
	fmt.Fprintf(&b, "files %s\nwatch %s\n", r.Files, r.Watch)
	return strings.ReplaceAll(b.String(), dir, "DIR")
}

// loadText loads a file with that name and text, and nothing beside it.
func loadText(t testing.TB, name, text string, environ ...string) *Result {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	write(t, path, text)
	return Load(Options{Path: path, Environ: environ})
}

func TestFind(t *testing.T) {
	dir := t.TempDir()
	old := places
	t.Cleanup(func() { places = old })
	system := filepath.Join(dir, "etc", "tend.toml")
	places = []string{system}
	env := func(string) string { return "" }

	if path, err := Find(dir, env, false); err == nil || !strings.Contains(err.Error(), "tend init") {
		t.Errorf("nothing there: %q, %v", path, err)
	}
	for _, want := range []string{system, filepath.Join(dir, "Procfile"), filepath.Join(dir, "tend.ini"), filepath.Join(dir, "tend.toml")} {
		write(t, want, "")
		for _, root := range []bool{false, true} {
			if path, err := Find(dir, env, root); path != want || err != nil {
				t.Errorf("Find = %q, %v; want %q", path, err, want)
			}
		}
	}
	if path, err := Find(dir, func(string) string { return "named" }, false); path != "named" || err != nil {
		t.Errorf("$TEND_CONFIG: %q, %v", path, err)
	}
}

func TestCommand(t *testing.T) {
	for _, test := range []struct{ path, name string }{
		{"/usr/bin/php", "php"}, {"my program", "my-program"}, {"a:b", "a-b"}, {"/", "program"}, {".", "program"}, {"..", "program"},
		{"", "program"}, {"ä.sh", "ä.sh"}, {"\xff\xfe", "program"}, {strings.Repeat("x", 70), strings.Repeat("x", 64)},
	} {
		set := Command([]string{test.path, "arg"}, "/srv")
		p := set.Programs[0]
		if p.Name != test.name || p.Directory != "/srv" || !slices.Equal(p.Command.Args(), []string{test.path, "arg"}) {
			t.Errorf("Command(%q) is %q in %q: %q", test.path, p.Name, p.Directory, p.Command.Args())
		}
		if problems := spec.Check(set); test.path != "" && problems != nil {
			t.Errorf("Command(%q): %v", test.path, problems)
		}
		if set.Daemon != newDaemon() {
			t.Errorf("Command(%q) has other settings: %+v", test.path, set.Daemon)
		}
	}
}

func TestWriters(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tend.toml")
	write(t, path, "[a]\ncommand = \"a\"\n")
	for _, test := range []struct {
		mode os.FileMode
		gid  int
		root bool
		ok   bool
	}{
		{0o644, 0, true, true}, {0o600, 0, true, true}, {0o666, 0, true, false}, {0o602, 0, true, false},
		{0o664, 0, true, true}, {0o664, 1, true, false}, {0o666, 0, false, true},
	} {
		if err := os.Chown(path, -1, test.gid); err != nil {
			t.Skip("only root can give files away:", err)
		}
		if err := os.Chmod(path, test.mode); err != nil {
			t.Fatal(err)
		}
		if r := Load(Options{Path: path, Root: test.root}); r.OK() != test.ok {
			t.Errorf("mode %03o, group %d, root %v: OK is %v: %v", test.mode, test.gid, test.root, r.OK(), r.Diagnostics)
		}
	}
}

func TestNotAFile(t *testing.T) {
	dir := t.TempDir()
	for _, path := range []string{filepath.Join(dir, "absent.toml"), "/dev/null"} {
		r := Load(Options{Path: path})
		if r.OK() || len(r.Diagnostics) != 1 || r.Diagnostics[0].Line != 0 || r.Diagnostics[0].File != path {
			t.Errorf("%s: %+v", path, r.Diagnostics)
		}
		if !slices.Contains(r.Watch, filepath.Dir(path)) {
			t.Errorf("%s: its folder is not watched: %v", path, r.Watch)
		}
	}
}

// TestWatchLinks has a volume as Kubernetes lays it out.
func TestWatchLinks(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "volume", "..v1", "tend.toml"), "[a]\ncommand = \"a\"\n")
	for _, link := range [][2]string{{"..v1", "volume/..data"}, {"..data/tend.toml", "volume/tend.toml"}, {"../volume", "etc/tend"}} {
		path := filepath.Join(dir, link[1])
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(link[0], path); err != nil {
			t.Fatal(err)
		}
	}
	r := Load(Options{Path: filepath.Join(dir, "etc/tend/tend.toml")})
	if !r.OK() {
		t.Fatal(r.Diagnostics)
	}
	for _, want := range []string{"etc", "etc/tend", "etc/tend/tend.toml", "volume", "volume/tend.toml", "volume/..data", "volume/..v1", "volume/..v1/tend.toml"} {
		if !slices.Contains(r.Watch, filepath.Join(dir, want)) {
			t.Errorf("%s is not watched: %v", want, r.Watch)
		}
	}
}

// TestProcfiles loads the Procfiles of real projects, where they are at hand.
// Those that aren't Procfiles but templates or conflicts are refused.
func TestProcfiles(t *testing.T) {
	paths, _ := filepath.Glob("../../../shared/supervisord/procfiles/*.Procfile")
	if len(paths) == 0 {
		t.Skip("no collection of Procfiles here")
	}
	refused := map[string]string{
		"011": `not "name: command"`, "013": `not "name: command"`, "023": `not "name: command"`, "046": `not "name: command"`,
	}
	for _, path := range paths {
		r := Load(Options{Path: path})
		id, _, _ := strings.Cut(filepath.Base(path), ".")
		if why := refused[id]; why != "" {
			if r.OK() || !strings.Contains(r.Diagnostics[0].Text(), why) {
				t.Errorf("%s: should be refused: %v", id, r.Diagnostics)
			}
			continue
		}
		if !r.OK() || len(r.Set.Programs) == 0 {
			t.Errorf("%s: %v", id, r.Diagnostics)
			continue
		}
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range r.Set.Programs {
			if !bytes.Contains(text, []byte(p.Command.Shell)) || !p.Enabled {
				t.Errorf("%s: %s runs %q", id, p.Name, p.Command.Shell)
			}
		}
	}
}

func TestFormatOf(t *testing.T) {
	for _, test := range []struct {
		path, text string
		want       format
	}{
		{"a.toml", "", tomlFormat}, {"a.ini", "", iniFormat}, {"a.conf", "", iniFormat}, {"a.TOML", "", tomlFormat},
		{"Procfile", "", procfileFormat}, {"Procfile.dev", "", procfileFormat}, {"x.Procfile", "", procfileFormat},
		{"x", "", tomlFormat}, {"x", "[web]\ncommand = \"x\"\n", tomlFormat}, {"x", "[web]\ncommand = x\n", iniFormat},
		{"x", "# c\nweb: x = 1\n", procfileFormat}, {"x", "; c\n", iniFormat}, {"x", "[web]\nenabled = 1\ncommand = x y\n", iniFormat},
		{"x", "[web]\ncommand = [\"x\"]\n", tomlFormat}, {"x", "[web]\nenabled = yes\n", iniFormat},
	} {
		if got := formatOf(test.path, test.text); got != test.want {
			t.Errorf("formatOf(%q, %q) = %v, want %v", test.path, test.text, got, test.want)
		}
	}
}

func TestText(t *testing.T) {
	long := strings.Repeat("x", 300)
	for _, test := range []struct {
		d    Diagnostic
		want string
	}{
		{Diagnostic{File: "tend.toml", Line: 7, Col: 1, EndCol: 8, Program: "queue", Key: "restrat", Severity: Error,
			Message: `unknown key "restrat"`, Hint: `did you mean "restart"?`, Source: `restrat = "always"`},
			"tend.toml:7: [queue] unknown key \"restrat\"\n    7 | restrat = \"always\"\n      | ^^^^^^^ did you mean \"restart\"?"},
		{Diagnostic{File: "tend.toml", Line: 12, Col: 17, EndCol: 23, Program: "web", Key: "stop_timeout", Severity: Error,
			Message: `"soon" is not a duration`, Source: "\tstop_timeout = \"soon\""},
			"tend.toml:12: [web] stop_timeout: \"soon\" is not a duration\n   12 | \tstop_timeout = \"soon\"\n      | \t               ^^^^^^"},
		{Diagnostic{File: "x", Severity: Warning, Message: "m", Hint: "h"}, "x: warning: m\n  h"},
		{Diagnostic{File: "x\x1b[2J", Line: 1, Col: 1, EndCol: 2, Severity: Error, Message: "m", Source: "\x1b]0;t\a"},
			"x\ufffd[2J:1: m\n    1 | \ufffd]0;t\ufffd\n      | ^"},
		{Diagnostic{File: "x", Line: 1, Col: 200, EndCol: 203, Severity: Error, Message: "m", Source: long},
			"x:1: m\n    1 | …" + long[:100] + "…\n      | " + strings.Repeat(" ", 26) + "^^^"},
		{Diagnostic{File: "x", Line: 1, Col: 300, EndCol: 400, Severity: Error, Message: "m", Source: long},
			"x:1: m\n    1 | …" + long[:100] + "\n      | " + strings.Repeat(" ", 100) + "^"},
	} {
		if got := test.d.Text(); got != test.want {
			t.Errorf("Text of %q:\n%q\nwant\n%q", test.d.Message, got, test.want)
		}
	}
}

func TestExpand(t *testing.T) {
	lookup := func(name string) (string, bool) {
		v, ok := map[string]string{"A": "1", "EMPTY": "", "B_2": "two", "REF": "${A}"}[name]
		return v, ok
	}
	for _, test := range []struct{ in, want, err string }{
		{"plain", "plain", ""}, {"${A}", "1", ""}, {"x${A}y${B_2}z", "x1ytwoz", ""}, {"$A $", "$A $", ""}, {"$$", "$", ""},
		{"$${A}", "${A}", ""}, {"$$$${A}", "$${A}", ""}, {"$$${A}", "$1", ""}, {"${NO:-d}", "d", ""}, {"${EMPTY:-d}", "d", ""}, {"${EMPTY}", "", ""},
		{"${A:-d}", "1", ""}, {"${NO:-}", "", ""}, {"${NO:-${A}}", "1", ""}, {"${NO:-a:-b}", "a:-b", ""},
		{"${REF}", "${A}", ""}, {"${NO}", "", "the variable NO is not set"}, {"${NO:-${NEITHER}}", "", "the variable NEITHER is not set"},
		{"${", "", `"${" without a "}"`}, {"${A", "", `"${" without a "}"`}, {"${}", "", "is not a reference"}, {"${1}", "", "is not a reference"},
		{"${A-b}", "", "is not a reference"}, {strings.Repeat("${N:-", 20) + strings.Repeat("}", 20), "", "nested too deeply"},
	} {
		got, err := expand(test.in, lookup)
		if got != test.want || (err != nil) != (test.err != "") || err != nil && !strings.Contains(err.Error(), test.err) {
			t.Errorf("expand(%q) = %q, %v; want %q, %q", test.in, got, err, test.want, test.err)
		}
	}
	if got := expandShell(`$$ $x ${y} "${TEND_PROGRAM}" ${TEND_INSTANCE}`, "web"); got != "$$ $x ${y} \"web\" "+spec.InstanceMark {
		t.Errorf("expandShell: %q", got)
	}
}

// TestIncludeUnreadable has a pattern match a link that leads nowhere: a file
// that is there but can't be read is an error, unlike none at all.
func TestIncludeUnreadable(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "tend.toml")
	write(t, path, "[tend]\ninclude = [\"*.part\"]\n[a]\ncommand = \"a\"\n")
	if r := Load(Options{Path: path}); !r.OK() {
		t.Fatal(r.Diagnostics)
	}
	if err := os.Symlink("absent", filepath.Join(dir, "b.part")); err != nil {
		t.Fatal(err)
	}
	r := Load(Options{Path: path})
	if r.OK() || len(r.Diagnostics) != 1 || r.Diagnostics[0].Line != 2 || !strings.Contains(r.Diagnostics[0].Message, "b.part") {
		t.Errorf("%+v", r.Diagnostics)
	}
	if !slices.Contains(r.Watch, filepath.Join(dir, "absent")) {
		t.Errorf("what the link leads to is not watched: %v", r.Watch)
	}
}

package svconf

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// mustLoad loads a root that holds text.
func mustLoad(t *testing.T, text string) *Config {
	t.Helper()
	c, diagnostics := Load(newWorldOf(text).options())
	if c == nil {
		t.Fatal(diagnostics)
	}
	return c
}

func groupNames(groups []*Group) string {
	var list []string
	for _, g := range groups {
		list = append(list, g.Name)
	}
	return strings.Join(list, " ")
}

// TestDiff: what a reread says of two configurations.
func TestDiff(t *testing.T) {
	const old = "[supervisord]\n[program:a]\ncommand=x\n[program:b]\ncommand=x\n"
	for _, test := range []struct{ name, old, new, added, changed, removed string }{
		{"the same", old, old, "", "", ""},
		{"added", old, old + "[program:c]\ncommand=x\n", "c", "", ""},
		{"removed", old, "[supervisord]\n[program:b]\ncommand=x\n", "", "", "a"},
		{"changed", old, old + "startsecs=2\n", "", "b", ""},
		{"what is ignored doesn't count", old, old + "nonsense=2\n", "", "", ""},
		{"a default doesn't count", old, old + "startsecs=1\nstdout_logfile=auto\n", "", "", ""},
		{"AUTO is any log", old, old + "stdout_logfile=/tmp/x\n", "", "", ""},
		{"but its size counts", old, old + "stdout_logfile_maxbytes=1\n", "", "b", ""},
		{"one log isn't the other", old + "stdout_logfile=/tmp/y\n", old + "stdout_logfile=/tmp/x\n", "", "b", ""},
		{"none isn't a log", old + "stdout_logfile=NONE\n", old + "stdout_logfile=/tmp/x\n", "", "b", ""},
		{"none is AUTO", old + "stdout_logfile=NONE\n", old, "", "", ""},
		{"the empty folder isn't none", old, old + "directory=\n", "", "b", ""},
		{"the daemon's environment is everybody's", old, strings.Replace(old, "]\n", "]\nenvironment=A=1\n", 1), "", "a b", ""},
		{"other quotes, same value", old + "environment=A=\"1\"\n", old + "environment=A=1,\n", "", "", ""},
		{"a group takes them away", old, old + "[group:g]\nprograms=a,b\n", "g", "", "a b"},
		{"another order", old + "[group:g]\nprograms=a,b\n", old + "[group:g]\nprograms=b,a\n", "", "g", ""},
		{"another priority", old + "[group:g]\nprograms=a,b\n", old + "[group:g]\nprograms=a,b\npriority=1\n", "", "g", ""},
		{"events in another order", old + "[eventlistener:l]\ncommand=x\nevents=TICK_5,TICK_60\n", old + "[eventlistener:l]\ncommand=x\nevents=tick_60,TICK_5\n", "", "", ""},
		{"other events", old + "[eventlistener:l]\ncommand=x\nevents=TICK_5\n", old + "[eventlistener:l]\ncommand=x\nevents=TICK_60\n", "", "l", ""},
		{"another socket", old + "[fcgi-program:f]\ncommand=x\nsocket=unix:///x\n", old + "[fcgi-program:f]\ncommand=x\nsocket=unix:///y\n", "", "f", ""},
		{"only its mode", old + "[fcgi-program:f]\ncommand=x\nsocket=unix:///x\n", old + "[fcgi-program:f]\ncommand=x\nsocket=unix:///x\nsocket_mode=0777\n", "", "", ""},
		{"another kind", old, strings.Replace(old, "program:a]\n", "fcgi-program:a]\nsocket=tcp://x:1\n", 1), "", "a", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			added, changed, removed := Diff(mustLoad(t, test.old).Groups, mustLoad(t, test.new).Groups)
			got := []string{groupNames(added), groupNames(changed), groupNames(removed)}
			if diff := cmp.Diff([]string{test.added, test.changed, test.removed}, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestEarlier: what an earlier configuration defined stays known in a reread, and
// only there.
func TestEarlier(t *testing.T) {
	first := mustLoad(t, "[supervisord]\nenvironment=A=1\n")
	opts := newWorldOf("[supervisord]\nenvironment=B=2\n[program:x]\ncommand=%(ENV_A)s%(ENV_B)s\n").options()
	if c, _ := Load(opts); c != nil {
		t.Error("a reload knows of what was before")
	}
	opts.Earlier = first
	second, diagnostics := Load(opts)
	if second == nil || second.Groups[0].Processes[0].Command != "12" {
		t.Fatal(second, diagnostics)
	}
	if _, ok := second.Groups[0].Processes[0].Environment["A"]; ok {
		t.Error("what is known to expansions is in the environment")
	}
	opts.Earlier = second
	if c, diagnostics := Load(opts); c == nil {
		t.Error("it is forgotten after the next reread", diagnostics)
	}
}

// TestLimits: what Python would try to do until its memory ends is refused.
func TestLimits(t *testing.T) {
	for _, text := range []string{
		"command=%(here)999999999999s",
		"command=%(process_num).999999999d",
		"command=x\nnumprocs=1000000000\nprocess_name=%(process_num)d",
		"command=" + strings.Repeat("%(process_num)9999999s", 9),
		"command=" + strings.Repeat("x ", 1<<20) + "\nnumprocs=90000\nprocess_name=%(process_num)d",
		"environment=A=\"" + strings.Repeat("x", 1<<20) + "\"\ncommand=x\nnumprocs=90000\nprocess_name=%(process_num)d",
	} {
		c, diagnostics := Load(newWorldOf("[supervisord]\n[program:a]\n" + text + "\n").options())
		if c != nil || len(diagnostics) != 1 || !diagnostics[0].Ours {
			t.Errorf("%.60s: %v", text, diagnostics)
		}
	}
}

// TestLargeNumber: a number that an int can't hold is cut, and told of.
func TestLargeNumber(t *testing.T) {
	c, diagnostics := Load(newWorldOf("[supervisord]\n[program:a]\ncommand=x\npriority=-99999999999999999999\nstdout_logfile_maxbytes=9999999999999GB\n").options())
	if c == nil || len(diagnostics) != 3 { // a group's priority, and a process's
		t.Fatal(diagnostics)
	}
	for _, d := range diagnostics {
		if d.Severity != Warning || !d.Ours || !strings.Contains(d.Message, "too large") {
			t.Error(d)
		}
	}
}

// TestSources: each section and option is known to stand somewhere.
func TestSources(t *testing.T) {
	c := mustLoad(t, "[DEFAULT]\nuser=root\n[supervisord]\n\n[program:a]\ncommand=x\n  y\nautostart=true\n")
	for _, test := range []struct {
		section, option string
		line            int
	}{
		{"supervisord", "", 3}, {"program:a", "", 5}, {"program:a", "command", 6}, {"program:a", "autostart", 8},
		{"program:a", "user", 2}, {"program:a", "umask", 0}, {"program:b", "", 0}, {"DEFAULT", "", 0},
	} {
		if got := c.Source(test.section, test.option); got.Line != test.line {
			t.Errorf("[%s] %s is in line %d, not %d", test.section, test.option, test.line, got.Line)
		}
	}
	if want := []string{"/run0/etc/supervisord.conf"}; !slices.Equal(c.Files, want) {
		t.Errorf("files %q, want %q", c.Files, want)
	}
}

// TestMissing: a root that can't be read.
func TestMissing(t *testing.T) {
	dir := t.TempDir()
	for path, want := range map[string]string{
		dir + "/no.conf": "could not find config file " + dir + "/no.conf",
		dir:              "could not read config file " + dir,
	} {
		opts, err := System(path)
		if err != nil {
			t.Fatal(err)
		}
		c, diagnostics := Load(opts)
		if c != nil || len(diagnostics) != 1 || diagnostics[0].Message != want {
			t.Errorf("%s: %v", path, diagnostics)
		}
	}
}

// TestSystem reads a file of the machine, by a relative name, with what it
// includes: a folder and a link to nowhere are left out.
func TestSystem(t *testing.T) {
	t.Chdir(t.TempDir())
	for name, text := range map[string]string{
		"supervisord.conf": "[supervisord]\nuser=root\n[include]\nfiles=d/*\n",
		"d/a.conf":         "[program:a]\ncommand=x\nuser=0\n",
		"d/folder/b.conf":  "[program:b]\ncommand=x\n",
	} {
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("nowhere", "d/link"); err != nil {
		t.Fatal(err)
	}
	opts, err := System("supervisord.conf")
	if err != nil {
		t.Fatal(err)
	}
	c, diagnostics := Load(opts)
	if c == nil {
		t.Fatal(diagnostics)
	}
	if got := groupNames(c.Groups); got != "a" {
		t.Errorf("groups %q", got)
	}
	if len(c.Files) != 2 || len(diagnostics) != 5 { // three files included, two of them left out
		t.Error(c.Files, diagnostics)
	}
}

// TestSplitCommand: the quotes of a shell.
func TestSplitCommand(t *testing.T) {
	for _, test := range []struct {
		command string
		want    []string
	}{
		{"", []string{}},
		{" a  b\tc\nd ", []string{"a", "b", "c", "d"}},
		{`'a b'"c d"\ e`, []string{"a bc d e"}},
		{`"" ''`, []string{"", ""}},
		{`"\"\\\a'" '\"'`, []string{`"\\a'`, `\"`}},
		{`a#b # c`, []string{"a#b", "#", "c"}},
		{`"a`, nil}, {`'a`, nil}, {`a\`, nil}, {`"a\`, nil},
	} {
		got, err := SplitCommand(test.command)
		if (err != nil) != (test.want == nil) || !slices.Equal(got, test.want) {
			t.Errorf("%s: %q, %v", test.command, got, err)
		}
	}
}

// TestText: the words of a diagnostic can't write to the terminal.
func TestText(t *testing.T) {
	d := Diagnostic{Severity: Warning, File: "a\x1b[2J", Line: 3, Section: "program:x", Option: "command", Message: "m\u202e", Hint: "h"}
	if want := "a\ufffd[2J:3: warning: [program:x] command: m\ufffd\n  h"; d.Text() != want {
		t.Errorf("%q, want %q", d.Text(), want)
	}
}

// TestMatch: the patterns of Python's glob, which aren't quite those of Go's.
func TestMatch(t *testing.T) {
	for _, test := range []struct {
		pattern, name string
		want          bool
	}{
		{"*.conf", "a.conf", true}, {"*.conf", "a.conf~", false}, {"a*b*c", "aXbYbZc", true}, {"a*b*c", "aXbYbZ", false}, {"**", "x", true},
		{"?", "ż", true}, {"?", "", false}, {"[a-c]x", "bx", true}, {"[!a-c]x", "bx", false}, {"[!a-c]x", "dx", true},
		{"[]]", "]", true}, {"[!]]", "]", false}, {"[a", "[a", true}, {"[", "[", true}, {"[a-]", "-", true}, {"[-a]", "-", true}, {"[c-a]", "b", false},
		{`\*`, `\x`, true}, {`[\]`, `\`, true}, {"*", "", true}, {"", "", true}, {"a", "", false}, {"*a", "ba", true}, {"[^a]", "^", true}, {"[^a]", "b", false},
	} {
		if got := match(test.pattern, test.name); got != test.want {
			t.Errorf("%q matches %q: %v", test.pattern, test.name, got)
		}
	}
}

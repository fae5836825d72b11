package conf

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"tend/internal/spec"
)

// TestLoaderKeeps checks that a table with the same text gives the same program,
// wherever in the file it is, and nothing else does.
func TestLoaderKeeps(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "tend.toml")
	env := filepath.Join(dir, "a.env")
	write(t, env, "X=1\n")
	var l Loader
	environ := []string{"HOME=/root"}
	load := func(text string) *spec.Set {
		t.Helper()
		write(t, path, text)
		r := l.Load(Options{Path: path, Environ: environ})
		if !r.OK() {
			t.Fatal(r.Diagnostics)
		}
		return r.Set
	}
	const a, b, c = "[a]\ncommand = \"a\"\n", "[b]\ncommand = \"b\"\nenv_file = \"a.env\"\n", "[c]\ncommand = \"c\"\nenv.H = \"${HOME}\"\n"

	first := load(a + b + c)
	if again := load(a + b + c); !slices.Equal(first.Programs, again.Programs) {
		t.Error("the same file gives other programs")
	}
	changed := load(a + strings.Replace(b, `"b"`, `"bb"`, 1) + c)
	if changed.Programs[0] != first.Programs[0] || changed.Programs[1] == first.Programs[1] || changed.Programs[2] != first.Programs[2] {
		t.Error("one changed table: the others must be the same")
	}
	if changed.Programs[1].Command.Shell != "bb" {
		t.Errorf("the changed program is %+v", changed.Programs[1])
	}
	moved := load("# one more line\n" + a + b + c)
	if p := moved.Programs[0]; p.Source.Line != 2 || len(spec.Changes(p, first.Programs[0])) != 0 {
		t.Errorf("after a new line above, %+v", p)
	}
	write(t, env, "X=2\n")
	if set := load("# one more line\n" + a + b + c); set.Program("b").Env["X"] != "2" {
		t.Errorf("the env file has changed: %v", set.Program("b").Env)
	}
	environ = []string{"HOME=/home"}
	if set := load("# one more line\n" + a + b + c); set.Program("c").Env["H"] != "/home" {
		t.Errorf("the environment has changed: %v", set.Program("c").Env)
	}
	if set := load("[tend.default]\nnice = 5\n" + a + b + c); set.Program("a").Nice != spec.Some(5) {
		t.Errorf("a default has come: %+v", set.Program("a"))
	}
	if set := load(a + b + c); set.Program("a").Nice.Set {
		t.Errorf("the default has gone: %+v", set.Program("a"))
	}
	if set := load(a + b + c + "[a.env]\nMORE = 1\n"); set.Program("a").Env["MORE"] != "1" {
		t.Errorf("a part of the table elsewhere: %+v", set.Program("a"))
	}
	if set := load(a + "instances = 2\n" + b + c); set.Program("a").Instances != 2 {
		t.Errorf("one more key at the end of a table: %+v", set.Program("a"))
	}

	load(a + b + c)
	write(t, path, a+b+c+"[d]\ncommand = 3\nafter = [\"nobody\"]\n")
	if r := l.Load(Options{Path: path, Environ: environ}); r.OK() || len(r.Diagnostics) != 2 {
		t.Errorf("a broken file: %v", r.Diagnostics)
	}
	write(t, path, strings.Replace(a, "[a]", "[x]", 1)+b+strings.Replace(c, "[c]", "[c]\nafter = [\"a\"]", 1))
	r := l.Load(Options{Path: path, Environ: environ})
	if r.OK() || r.Diagnostics[0].Line != 7 {
		t.Errorf("what a kept program comes after has gone: %v", r.Diagnostics)
	}
}

// TestLoaderIsLoad checks the law of the Loader: whatever it remembers, it
// returns what a fresh load returns.
func TestLoaderIsLoad(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "tend.toml")
	write(t, filepath.Join(dir, "a.env"), "X=1\n")
	piece := rapid.OneOf(
		rapid.Custom(func(t *rapid.T) string {
			name := rapid.SampledFrom([]string{"a", "b", "c", "tend"}).Draw(t, "name")
			header := rapid.SampledFrom([]string{"[%s]\n", "[ %s ] # c\n", "[%s.env]\n", "[%s.log]\n", "  [%s]\n", "[[%s]]\n", "[%s]"}).Draw(t, "header")
			return fmt.Sprintf(header, name)
		}),
		rapid.SampledFrom([]string{
			"command = \"x\"\n", "command = \"${A}\"\n", "after = [\"a\"]\n", "after = [\n\"b\"\n]\n", "env_file = \"a.env\"\n", "\n", "# c\n",
			"command = '''\n[a]\n'''\n", "bad\n", "instances = 2\n", "env.A = \"${A}\"\n", "default.nice = 3\n", "include = []\n", "A = \"1\"\n",
			"x", "[", "\r\n", "restrat = 1\n", "a.command = \"x\"\n", "b = { command = \"x\" }\n",
		}),
	)
	text := rapid.Custom(func(t *rapid.T) string { return strings.Join(rapid.SliceOfN(piece, 0, 12).Draw(t, "pieces"), "") })
	rapid.Check(t, func(rt *rapid.T) {
		var l Loader
		for range rapid.IntRange(2, 4).Draw(rt, "loads") {
			s := text.Draw(rt, "text")
			if rapid.Bool().Draw(rt, "good") { // more often something to remember
				s = "[a]\ncommand = \"a\"\n[b]\ncommand = \"b\"\n" + strings.Repeat("#\n", rapid.IntRange(0, 2).Draw(rt, "lines")) + "[c]\ncommand = \"c\"\n" + s
			}
			if err := os.WriteFile(path, []byte(s), 0o600); err != nil {
				rt.Fatal(err)
			}
			o := Options{Path: path, Environ: []string{"A=1"}}
			if diff := cmp.Diff(Load(o), l.Load(o)); diff != "" {
				rt.Fatalf("-fresh +remembering\n%s\n%s", diff, s)
			}
		}
	})
}

// TestNotations checks that a program can be written in TOML and in INI, key by
// key, and means the same: parse ∘ print is the identity.
func TestNotations(t *testing.T) {
	values := map[string][]string{ // by kind, as in INI files
		"command": {"exec ./a --b", "a | b && c"}, "bool": {"true", "false"}, "int": {"1", "7", "19"}, "float": {"1", "0.5"},
		"duration": {"0s", "1m30s", "2d", "250ms"}, "size": {"0B", "50MB", "64KiB", "1001B"}, "signal": {"TERM", "USR1", "34"},
		"string": {"/x", "root", "a b", "ä", "it's"}, "strings": {"/a", "/a, /b"}, "ints": {"0", "0, 3, 255"}, "mode": {"022", "777"},
	}
	related := []string{ // to others, or to something else that has to be there
		"after", "requires", "env_file", "command", "ready.http", "ready.tcp", "ready.grpc", "ready.exec", "ready.log", "ready.notify", "ready.fd",
		"health.http", "health.tcp", "health.grpc", "health.exec", "schedule", "timezone", "catch_up", "listen", "on_demand", "idle_timeout", "pty", "on_event.url", "on_event.kinds", "on_event.secret_file",
	}
	dir := t.TempDir()
	rapid.Check(t, func(rt *rapid.T) {
		var toml, ini strings.Builder
		toml.WriteString("[p]\ncommand = \"x\"\n")
		ini.WriteString("[p]\ncommand = x\n")
		want := spec.New("p")
		want.Command.Shell, want.Directory = "x", dir
		enabled := false
		for _, f := range spec.Fields {
			kind := f.Kind()
			choices := values[kind]
			switch {
			case kind == "enum":
				choices = f.Enum
			case kind == "env" || kind == "limits":
				choices = []string{"64", "1:2"}
			case slices.Contains(related, f.Key) || !rapid.Bool().Draw(rt, f.Key):
				continue
			}
			text := rapid.SampledFrom(choices).Draw(rt, f.Key+" value")
			var value any = text
			inTOML := fmt.Sprintf("%q", text)
			key := f.Key
			switch kind {
			case "bool", "int", "float":
				inTOML = text
			case "env", "limits":
				key += ".core"
				value = map[string]any{"core": text}
			}
			if err := f.Set(want, value); err != nil {
				continue // out of this key's range
			}
			enabled = enabled || key == "enabled"
			fmt.Fprintf(&toml, "%s = %s\n", key, inTOML)
			fmt.Fprintf(&ini, "%s = \"%s\"\n", key, text)
		}
		if !enabled {
			ini.WriteString("enabled = 1\n")
		}
		if want.Backoff.Initial > want.Backoff.Max {
			return
		}
		for _, key := range []*string{&want.Directory, &want.Log.File, &want.Log.Stderr} {
			if *key != "" {
				*key = absolute(dir, *key)
			}
		}
		if want.Log.File != "" && want.Log.File == want.Log.Stderr || want.Instances > 1 && want.Log.File+want.Log.Stderr != "" {
			return
		}
		for name, text := range map[string]string{"p.toml": toml.String(), "p.ini": ini.String()} {
			path := filepath.Join(dir, name)
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				rt.Fatal(err)
			}
			r := Load(Options{Path: path})
			if len(r.Diagnostics) > 0 {
				rt.Fatalf("%s\n%s", r.Diagnostics[0].Text(), text)
			}
			for _, c := range spec.Changes(want, r.Set.Programs[0]) {
				rt.Errorf("%s: %s is %s, want %s\n%s", name, c.Field.Key, c.New, c.Old, text)
			}
		}
	})
}

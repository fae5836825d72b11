package svconf

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/rogpeppe/go-internal/txtar"
)

// FuzzLoad: no file makes Load panic or eat memory, it always answers alike, it
// refuses with a reason, and what it read means the same when it is written
// again.
func FuzzLoad(f *testing.F) {
	paths, err := filepath.Glob("testdata/*.txtar")
	if err != nil {
		f.Fatal(err)
	}
	for _, path := range paths {
		archive, err := txtar.ParseFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(unescape.Replace(string(archive.Files[0].Data)), "")
		f.Add(unescape.Replace(string(archive.Files[0].Data)), unescape.Replace(string(archive.Files[min(1, len(archive.Files)-1)].Data)))
	}
	f.Add("[supervisord]\n[include]\nfiles=*.conf\n", "[program:a]\ncommand=%(here)s\n")
	f.Fuzz(func(t *testing.T, text, included string) {
		w := newWorldOf(text)
		w.add(w.here()+"/conf.d/a.ini", included)
		c, diagnostics := Load(w.options())
		again, same := Load(w.options())
		if diff := cmp.Diff(diagnostics, same); diff != "" {
			t.Fatal(diff)
		}
		refused := slices.ContainsFunc(diagnostics, func(d Diagnostic) bool { return d.Severity == Error })
		if refused != (c == nil) {
			t.Fatalf("refused %v: %v", refused, diagnostics)
		}
		for _, d := range diagnostics {
			if d.Text() == "" || d.Message == "" {
				t.Errorf("nothing is said: %+v", d)
			}
		}
		LoadCtl(w.options())
		if c == nil {
			return
		}
		if added, changed, removed := Diff(c.Groups, again.Groups); len(added)+len(removed) > 0 || len(changed) > 0 && !twoOfAName(c) {
			t.Fatalf("it isn't equal to itself: %d %d %d", len(added), len(changed), len(removed))
		}
		printed, ok := print(c)
		if !ok {
			return
		}
		var back ini
		back.byName = make(map[string]*Section)
		back.meter = &meter{left: maxText}
		if err := back.read("printed", []byte(printed)); err != nil {
			t.Fatalf("%v\n%s", err, printed)
		}
		ignore := cmp.Options{cmpopts.IgnoreUnexported(Section{}), cmpopts.IgnoreFields(Section{}, "Source"), cmpopts.IgnoreFields(Option{}, "Source"), cmpopts.EquateEmpty()}
		if diff := cmp.Diff(c.Sections, back.sections, ignore); diff != "" {
			t.Fatalf("%s\n%s", diff, printed)
		}
	})
}

// twoOfAName reports whether two groups are called alike, of which supervisord
// always takes one for changed.
func twoOfAName(c *Config) bool {
	seen := make(map[string]bool)
	for _, g := range c.Groups {
		if seen[g.Name] {
			return true
		}
		seen[g.Name] = true
	}
	return false
}

// print writes the sections of a configuration as a file, if they can be written:
// a comment that wasn't taken for one by a whim of the parser can't.
func print(c *Config) (string, bool) {
	var b strings.Builder
	for _, s := range c.Sections {
		if strings.ContainsAny(s.Name, ";#") {
			return "", false
		}
		fmt.Fprintf(&b, "[%s]\n", s.Name)
		for _, o := range s.Options {
			if strings.ContainsAny(o.Name, ";#[") || strings.ContainsAny(o.Value, ";#") || lower(o.Name) != o.Name {
				return "", false
			}
			fmt.Fprintf(&b, "%s = %s\n", o.Name, strings.ReplaceAll(o.Value, "\n", "\n  "))
		}
	}
	return b.String(), !strings.Contains(b.String(), "\r")
}

// FuzzWords: what is put into quotes comes out of them.
func FuzzWords(f *testing.F) {
	f.Add("a b", `c"d`)
	f.Add("", `\`)
	f.Fuzz(func(t *testing.T, a, b string) {
		quoted := "'" + strings.ReplaceAll(a, "'", `'\''`) + "' \"" + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(b) + `"`
		argv, err := SplitCommand(quoted)
		if err != nil || !slices.Equal(argv, []string{a, b}) {
			t.Errorf("%s: %q, %v", quoted, argv, err)
		}
		SplitCommand(a) // it may refuse it, but not more
		_, _ = parseEnvironment(a)
		if strings.Contains(a, `"`) || strings.Contains(b, "'") || a != strings.Trim(a, "'") || b != strings.Trim(b, `"`) {
			return
		}
		quoted = `A="` + a + `",B='` + b + `'`
		pairs, err := parseEnvironment(quoted)
		if err != nil || len(pairs) != 2 || pairs[0].value != a || pairs[1].value != b {
			t.Errorf("%s: %q, %v", quoted, pairs, err)
		}
	})
}

// FuzzExpand: no format makes expand panic, and what has no percent sign stays.
func FuzzExpand(f *testing.F) {
	for _, list := range goodOf {
		for _, s := range list {
			f.Add(s)
		}
	}
	for _, s := range badOf {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		n := newNames()
		n.text("here", "/etc")
		n.number("process_num", -3)
		m := meter{left: 1 << 16}
		got, err := expand(s, scope{inner: n}, "x.y", &m)
		if err == nil && len(got) > 1<<17 {
			t.Errorf("%d bytes", len(got))
		}
		doubled := strings.ReplaceAll(s, "%", "%%")
		m.left = 1 << 16
		if got, err := expand(doubled, scope{inner: n}, "x.y", &m); len(s) < 1<<15 && (err != nil || got != s) {
			t.Errorf("%q: %q, %v", doubled, got, err)
		}
	})
}

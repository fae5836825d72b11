package conf

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"tend/internal/spec"
)

// seeds returns the files of the golden archives with that ending.
func seeds(f *testing.F, ending string) {
	paths, err := filepath.Glob("testdata/*.txtar")
	if err != nil {
		f.Fatal(err)
	}
	for _, path := range paths {
		archive, err := txtar.ParseFile(path)
		if err != nil {
			f.Fatal(err)
		}
		for _, file := range archive.Files {
			if strings.HasSuffix(file.Name, ending) {
				f.Add(string(file.Data))
			}
		}
	}
}

// fuzzFile loads texts under that name and checks what holds for any text.
func fuzzFile(f *testing.F, name string) {
	f.Fuzz(func(t *testing.T, text string) {
		if strings.Contains(text, "include") || strings.Contains(text, "env_file") {
			t.Skip("names other files")
		}
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		r := Load(Options{Path: path})
		lines := 1 + strings.Count(text, "\n")
		bad := false
		for _, d := range r.Diagnostics {
			bad = bad || d.Severity == Error
			if d.Line < 1 || d.Line > lines || d.Col < 1 || d.EndCol <= d.Col || d.Message == "" {
				t.Errorf("a place outside of the %d lines: %+v", lines, d)
			}
			if n := strings.Count(d.Text(), "\n"); n != 2 {
				t.Errorf("%d lines of text: %q", n+1, d.Text())
			}
		}
		if bad == r.OK() {
			t.Errorf("OK is %v with %v", r.OK(), r.Diagnostics)
		}
		if !r.OK() {
			return
		}
		if problems := spec.Check(r.Set); len(problems) > 0 {
			t.Errorf("accepted, with %v", problems)
		}
		for _, p := range r.Set.Programs {
			if why := spec.CheckName(p.Name, true); why != "" {
				t.Errorf("accepted a name: %s", why)
			}
			if p.Source.Line < 1 || p.Source.Line > lines || p.Source.File != path || !filepath.IsAbs(p.Directory) {
				t.Errorf("%+v", p)
			}
		}
		if diff := cmp.Diff(r, Load(Options{Path: path})); diff != "" {
			t.Errorf("another load gives another result: %s", diff)
		}
	})
}

func FuzzTOML(f *testing.F) {
	seeds(f, ".toml")
	fuzzFile(f, "tend.toml")
}

func FuzzINI(f *testing.F) {
	seeds(f, ".ini")
	fuzzFile(f, "tend.ini")
}

func FuzzProcfile(f *testing.F) {
	seeds(f, "Procfile")
	fuzzFile(f, "Procfile")
}

// FuzzINIQuotes: what is printed in double quotes is read again.
func FuzzINIQuotes(f *testing.F) {
	f.Add(`a; "b" \ 'c' \\`)
	f.Add("two\nlines")
	quote := strings.NewReplacer(`\`, `\\`, `"`, `\"`)
	f.Fuzz(func(t *testing.T, value string) {
		if strings.TrimSpace(value) == "" || strings.ContainsAny(value, "\x00\r") || strings.Contains(value, "\n[") || strings.Contains(value, "${TEND_") || strings.ToValidUTF8(value, "") != value {
			t.Skip()
		}
		r := loadText(t, "tend.ini", "[a]\ncommand = \""+quote.Replace(value)+"\" ; a comment\nenabled = 1\n")
		if len(r.Diagnostics) > 0 || r.Set.Programs[0].Command.Shell != value {
			t.Errorf("%q: %v %+v", value, r.Diagnostics, r.Set)
		}
	})
}

// FuzzDotenv: errors are within the text, and what is printed is read again.
func FuzzDotenv(f *testing.F) {
	seeds(f, ".env")
	quote := strings.NewReplacer(`\`, `\\`, `"`, `\"`, "$", `\$`)
	f.Fuzz(func(t *testing.T, text string) {
		list, errs := parseDotenv(text)
		for _, e := range errs {
			if e.at.from < 0 || e.at.from > e.at.to || e.at.to > len(text) {
				t.Errorf("a place outside of the text: %+v", e)
			}
		}
		var b strings.Builder
		for _, v := range list {
			b.WriteString(v.name + "=\"" + quote.Replace(v.value) + "\"\n")
		}
		again, errs := parseDotenv(b.String())
		if len(errs) > 0 || len(again) != len(list) {
			t.Fatalf("%q: %v", b.String(), errs)
		}
		for i := range list {
			if again[i].name != list[i].name || again[i].value != list[i].value {
				t.Errorf("%+v is read as %+v", list[i], again[i])
			}
		}
	})
}

// FuzzExpand: a text whose dollars are doubled means itself, and what is wrong
// with another one is a part of it.
func FuzzExpand(f *testing.F) {
	for _, s := range []string{"", "$", "$$", "${A}", "${A:-${B:-x}}", "${", "}", "${A:-$}", "$${A}"} {
		f.Add(s)
	}
	lookup := func(name string) (string, bool) { return "v", name == "A" }
	f.Fuzz(func(t *testing.T, s string) {
		if got, err := expand(strings.ReplaceAll(s, "$", "$$"), lookup); got != s || err != nil {
			t.Errorf("%q with doubled dollars is %q, %v", s, got, err)
		}
		_, err := expand(s, lookup)
		if wrong, ok := err.(*substError); err != nil && (!ok || !strings.Contains(s, wrong.at)) {
			t.Errorf("%q: %v is not about a part of it", s, err)
		}
	})
}

// FuzzSupervisord: whatever supervisord would take becomes programs that can be
// saved, compared and written as a tend.toml.
func FuzzSupervisord(f *testing.F) {
	seeds(f, ".conf")
	f.Add("[program:x]\ncommand=a\nstopsignal=0\nstartsecs=-1\nstartretries=-5\nstopwaitsecs=-1\nstdout_logfile_backups=-1\nexitcodes=\n[supervisord]\n")
	f.Add("[supervisord]\n[program:x]\ncommand=a\x00b\n")
	f.Add("[supervisord]\n[program:x]\ncommand=a\nenvironment===x\n")
	f.Add("[supervisord]\n[program:x]\ncommand=a\nenvironment=\x00=x\n")
	f.Add("[supervisord]\n[program:x]\ncommand=$a '\"'\nenvironment=A=\"$\",B='\"'\ndirectory=$HOME\nstdout_logfile=$x\numask=1777\nprocess_name=%(ENV_N)s\n")
	f.Fuzz(func(t *testing.T, text string) {
		w := world{fstest.MapFS{inside(worldCwd): {Mode: fs.ModeDir | 0o755}}}
		w.add(worldRoot, text)
		r := w.load(worldRoot, "N=a/b\xff", "X=$")
		bad := false
		for _, d := range r.Diagnostics {
			bad = bad || d.Severity == Error
		}
		if bad == r.OK() {
			t.Errorf("OK is %v with %v", r.OK(), r.Diagnostics)
		}
		if !r.OK() {
			return
		}
		utf8Only := true
		for _, p := range r.Set.Programs {
			q, err := spec.Decode(p.Name, spec.Encode(p))
			if err != nil || len(spec.Changes(p, q)) > 0 || p.Member != q.Member {
				t.Fatalf("saved, %s is %+v and not %+v, %v", p.Name, q, p, err)
			}
			if p.Command.IsZero() || !filepath.IsAbs(p.Directory) || p.Instances != 1 {
				t.Errorf("%+v", p)
			}
			utf8Only = utf8Only && utf8.Valid(spec.Encode(p)) && !strings.Contains(string(spec.Encode(p)), `\u0001`)
		}
		if utf8Only {
			importsTo(t, r)
		}
	})
}

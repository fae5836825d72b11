package svconf

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// unescape makes characters that a golden file can't well hold.
var unescape = strings.NewReplacer("<CR>", "\r", "<TAB>", "\t", "<BOM>", "\ufeff", "<BAD>", "\xe4", "<NBSP>", "\u00a0", "<EOL>", "")

// goldens calls f with each archive of testdata, in a world at dir with its files.
// Lines of the archive's comment that begin with "env " set variables.
func goldens(t *testing.T, dir string, f func(t *testing.T, path string, archive *txtar.Archive, w world, opts Options)) {
	paths, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(paths) == 0 {
		t.Fatal("no golden files", err)
	}
	for _, path := range paths {
		archive, err := txtar.ParseFile(path)
		if err != nil {
			t.Fatal(err)
		}
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txtar"), func(t *testing.T) {
			w := newWorld()
			w.dir = dir
			w.files[inside(w.cwd())] = &fstest.MapFile{Mode: fs.ModeDir | 0o755}
			var env []string
			for line := range strings.Lines(string(archive.Comment)) {
				if v, ok := strings.CutPrefix(strings.TrimSpace(line), "env "); ok {
					env = append(env, v)
				}
			}
			for _, file := range archive.Files {
				if file.Name != "want" {
					w.add(w.here()+"/"+file.Name, unescape.Replace(string(file.Data)))
				}
			}
			f(t, path, archive, w, w.options(env...))
		})
	}
}

// TestGolden compares what is understood of each archive, and what is said, with
// its file "want".
func TestGolden(t *testing.T) {
	goldens(t, "/run0", func(t *testing.T, path string, archive *txtar.Archive, _ world, opts Options) {
		got := dump(opts)
		i := slices.IndexFunc(archive.Files, func(f txtar.File) bool { return f.Name == "want" })
		if *update {
			if i < 0 {
				archive.Files = append(archive.Files, txtar.File{Name: "want"})
				i = len(archive.Files) - 1
			}
			archive.Files[i].Data = []byte(got)
			if err := os.WriteFile(path, txtar.Format(archive), 0o644); err != nil {
				t.Fatal(err)
			}
			return
		}
		if i < 0 {
			t.Fatal("no want, see -update")
		}
		if diff := cmp.Diff(string(archive.Files[i].Data), got); diff != "" {
			t.Errorf("-want +got, see -update:\n%s", diff)
		}
	})
}

// TestGoldenReference asks the real supervisord about the same files, so that
// nobody can make it say what we like.
func TestGoldenReference(t *testing.T) {
	s := startSupervisord(t)
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	goldens(t, dir, func(t *testing.T, _ string, _ *txtar.Archive, w world, opts Options) {
		if err := os.RemoveAll(w.here()); err != nil {
			t.Fatal(err)
		}
		if err := os.CopyFS("/", w.files); err != nil {
			t.Fatal(err)
		}
		want, err := s.ask(w, opts.Environ, false, false)
		if err != nil {
			t.Fatal(err)
		}
		got := understood(opts, form{})
		delete(want, "ignored")
		delete(got, "ignored")
		if diff := compare(want, got); diff != "" {
			t.Errorf("supervisord -, we +\n%s", diff)
		}
	})
}

// dump returns what is said of a configuration and what is in it: of processes
// only what isn't as in a section with nothing but a command.
func dump(opts Options) string {
	var b strings.Builder
	c, diagnostics := Load(opts)
	for _, d := range diagnostics {
		b.WriteString(d.Text() + "\n")
	}
	if c == nil {
		return placeholders.Replace(b.String())
	}
	if len(diagnostics) > 0 {
		b.WriteString("\n")
	}
	plain := Process{Command: "x", Argv: []string{"x"}, Environment: c.Daemon.Environment, Priority: 999, AutoStart: true, AutoRestart: Unexpected,
		StartSecs: 1, StartRetries: 3, ExitCodes: []int{0}, StopSignal: 15, StopWaitSecs: 10,
		Stdout: Channel{Log: LogFile{Kind: LogAuto}, MaxBytes: 50 << 20, Backups: 10}, Stderr: Channel{Log: LogFile{Kind: LogAuto}, MaxBytes: 50 << 20, Backups: 10}}
	usual := form{}.process(&plain, "")
	fmt.Fprintf(&b, "[supervisord] %s:%d\n", c.Source("supervisord", "").File, c.Source("supervisord", "").Line)
	daemon := daemonObject(c)
	plainly, _ := Load(newWorldOf("[supervisord]\n").options())
	write(&b, "  ", daemon, daemonObject(plainly), nil)
	for _, s := range c.Servers {
		fmt.Fprintf(&b, "[%s] host %q port %d file %q chmod %03o\n", s.Section, s.Host, s.Port, s.File, s.Chmod)
	}
	for _, p := range c.RPC {
		fmt.Fprintf(&b, "[%s] %s %v\n", p.Section, p.Factory, p.Options)
	}
	for _, g := range c.Groups {
		fmt.Fprintf(&b, "group %q, %s, priority %d, of [%s] %s:%d\n", g.Name, g.Kind, g.Priority, g.Section, c.Source(g.Section, "").File, c.Source(g.Section, "").Line)
		group := form{}.group(g)
		write(&b, "  ", group, object{}, []string{"name", "type", "priority", "processes"})
		for _, p := range g.Processes {
			fmt.Fprintf(&b, "  process %q, of [%s], command %s:%d\n", p.Name, p.Section, c.Source(p.Section, "command").File, c.Source(p.Section, "command").Line)
			write(&b, "    ", form{}.process(p, ""), usual, []string{"name", "command"})
		}
	}
	for _, i := range c.Ignored {
		fmt.Fprintf(&b, "ignored [%s] %s %s:%d%s\n", i.Section, i.Option, i.Source.File, i.Source.Line, map[bool]string{true: ", from [DEFAULT]"}[i.FromDefault])
	}
	if c.Section("supervisorctl") != nil {
		ctl, diagnostics := LoadCtl(opts)
		for _, d := range diagnostics {
			b.WriteString("supervisorctl: " + d.Text() + "\n")
		}
		if ctl != nil {
			text, _ := json.Marshal(ctl)
			fmt.Fprintf(&b, "supervisorctl %s\n", text)
		}
	}
	return placeholders.Replace(b.String())
}

// newWorldOf is a world of one file.
func newWorldOf(text string) world {
	w := newWorld()
	w.add(w.root(), text)
	return w
}

// write writes what of o isn't as usual.
func write(b *strings.Builder, indent string, o, usual object, without []string) {
	for _, key := range slices.Sorted(maps.Keys(o)) {
		if slices.Contains(without, key) || reflect.DeepEqual(o[key], usual[key]) {
			continue
		}
		var text bytes.Buffer
		encoder := json.NewEncoder(&text)
		encoder.SetEscapeHTML(false)
		if err := encoder.Encode(o[key]); err != nil {
			panic(err)
		}
		fmt.Fprintf(b, "%s%s: %s", indent, key, text.String())
	}
}

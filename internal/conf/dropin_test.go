package conf

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tend/internal/spec"
)

// A file that is written for a program loads to what was meant, whatever the
// values hold.
func TestDropIn(t *testing.T) {
	text, err := DropIn("a.b", map[string]any{
		"command": []any{"sh", "-c", `echo "$HOME" ${TEND_PROGRAM} $$ 'x'`, "ä\n"}, "env": map[string]any{"A": "$B", "C": `"`},
		"limits": map[string]any{"nofile": "1:2"}, "instances": int64(2), "log.keep": "3", "stop_timeout": "10s", "success_codes": "0,3",
	})
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for file, text := range map[string][]byte{
		"tend.toml":       []byte("[tend]\ninclude = ['conf.d/*.toml', 'more', '*.ini', 'x*/*.toml']\ndefault.stop_timeout = '1m'"),
		"conf.d/a.b.toml": text, "more/x.toml": []byte("[x]\ncommand = 'y'"),
	} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, file)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, file), text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	r := Load(Options{Path: filepath.Join(dir, "tend.toml"), Environ: []string{"HOME=wrong", "B=wrong"}})
	if !r.OK() {
		t.Fatalf("%s\n%v", text, r.Diagnostics)
	}
	p := r.Set.Program("a.b")
	if d := cmp.Diff(spec.Command{Argv: []string{"sh", "-c", `echo "$HOME" ${TEND_PROGRAM} $$ 'x'`, "ä\n"}}, p.Command); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff(spec.Env{"A": "$B", "C": `"`}, p.Env); d != "" {
		t.Error(d)
	}
	if p.StopTimeout.String() != "10s" || p.Instances != 2 || p.Log.Keep != 3 || p.Limits["nofile"] != (spec.Limit{Soft: 1, Hard: 2}) || len(p.SuccessCodes) != 2 {
		t.Errorf("%s\n%+v", text, p)
	}
	// What was said is said, though it is what holds where nothing is.
	if d := cmp.Diff([]string{filepath.Join(dir, "conf.d"), filepath.Join(dir, "more")}, r.DropIns); d != "" {
		t.Error(d)
	}
	for file, want := range map[string]bool{"conf.d/a.b.toml": true, "more/x.toml": false} {
		if is, err := IsDropIn(filepath.Join(dir, file)); is != want || err != nil {
			t.Errorf("%s: %v, %v", file, is, err)
		}
	}
	for _, name := range []string{"", "tend", "a/b", "..", "a:b"} {
		if _, err := DropIn(name, nil); err == nil {
			t.Errorf("%q may be a name", name)
		}
	}
}

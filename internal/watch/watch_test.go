package watch

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 20 * time.Second

// watching returns a folder, and the changes that are told of it. A marker file
// tells when all before it was looked at: what doesn't matter brings no change.
func watching(t *testing.T, globs, ignore []string) (dir string, next func() Change, set func(globs, ignore []string)) {
	t.Helper()
	dir = t.TempDir()
	told := make(chan Change, 100)
	w, err := Open(func(c Change) { told <- c }, func(err error) { t.Error(err) })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Close)
	set = func(globs, ignore []string) {
		in := func(list []string) (out []string) {
			for _, g := range list {
				out = append(out, filepath.Join(dir, g))
			}
			return out
		}
		w.Set([]Rule{{Key: "p", Globs: in(globs), Ignore: in(ignore), Delay: 10 * time.Millisecond}})
	}
	set(globs, ignore)
	return dir, func() Change {
		t.Helper()
		select {
		case c := <-told:
			c.Path, _ = filepath.Rel(dir, c.Path)
			return c
		case <-time.After(patience):
			t.Fatal("nothing was told")
		}
		panic("not reached")
	}, set
}

func write(t *testing.T, path ...string) {
	t.Helper()
	name := filepath.Join(path...)
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestChanges(t *testing.T) {
	dir, next, _ := watching(t, []string{"*.toml", "src/**/*.go"}, []string{"**/.*", "**/vendor"})
	expect := func(path string) {
		t.Helper()
		if c := next(); c.Path != path || c.Key != "p" {
			t.Fatalf("%+v, want %s", c, path)
		}
	}
	write(t, dir, "a.toml")
	expect("a.toml")

	// Neither what doesn't match, nor what is ignored, nor what is only read.
	write(t, dir, "b.txt")
	write(t, dir, "src.go")
	write(t, dir, ".hidden/x.go")
	if _, err := os.ReadFile(filepath.Join(dir, "a.toml")); err != nil {
		t.Fatal(err)
	}
	// The folder comes later, with what is in it, and so do those below.
	write(t, dir, "src/main.go")
	expect("src/main.go")
	write(t, dir, "src/deep/er/x.go")
	expect("src/deep/er/x.go")
	write(t, dir, "src/vendor/y.go")
	write(t, dir, "src/.git/z.go")
	write(t, dir, "src/deep/er/z.go")
	expect("src/deep/er/z.go")

	// As editors do it: a new file takes the place of the old one.
	write(t, dir, "src/main.go~")
	if err := os.Rename(filepath.Join(dir, "src/main.go~"), filepath.Join(dir, "src/main.go")); err != nil {
		t.Fatal(err)
	}
	expect("src/main.go")
	if err := os.Remove(filepath.Join(dir, "src/main.go")); err != nil {
		t.Fatal(err)
	}
	expect("src/main.go")
}

// Many changes before there is quiet are one.
func TestQuiet(t *testing.T) {
	dir := t.TempDir()
	told := make(chan Change, 100)
	w, err := Open(func(c Change) { told <- c }, func(err error) { t.Error(err) })
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	w.Set([]Rule{{Key: "p", Globs: []string{dir + "/*"}, Delay: 500 * time.Millisecond}})
	for i := range 50 {
		write(t, dir, fmt.Sprint(i))
	}
	total := 0
	for total < 50 {
		select {
		case c := <-told:
			total += c.Count
		case <-time.After(patience):
			t.Fatalf("%d of 50 were told", total)
		}
	}
	if len(told) > 0 {
		t.Error("told more than once")
	}
}

// Rules that are set again hold from then on.
func TestSet(t *testing.T) {
	dir, next, set := watching(t, []string{"a/*"}, nil)
	write(t, dir, "a/1")
	if c := next(); c.Path != "a/1" {
		t.Fatalf("%+v", c)
	}
	write(t, dir, "b/c/1")
	set([]string{"b/**"}, nil)
	write(t, dir, "a/2")
	write(t, dir, "b/c/2")
	if c := next(); c.Path != "b/c/2" || c.Count != 1 {
		t.Fatalf("%+v", c)
	}
}

package logs

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestRate: what comes too fast is left out at a line's end, the rest is in order, and
// it is told once how much that was.
func TestRate(t *testing.T) {
	c, seen := open(t, Config{})
	path := logPath(t)
	const rate = 100_000
	s, w := pipe(t, c, Options{Path: path, Rate: rate})
	const n = 200_000
	began := time.Now()
	for i := 0; i < n; i += 1000 {
		write(t, w, lines(i, i+1000))
	}
	bad := seen.next(t)
	if !errors.Is(bad.Err, errRate) || !bad.Limited || bad.Dropped == 0 {
		t.Errorf("notice: %+v", bad)
	}
	for tryDrain(s) != nil && len(whole(t, path, 0)) == 0 {
	}
	took := time.Since(began)
	got := whole(t, path, 0)
	if most := rate*(2+int(took/time.Second)) + 2*turnBytes; len(got) > most || len(got) < 1000 {
		t.Errorf("%d bytes in %v", len(got), took)
	}
	last := -1
	for line := range strings.Lines(got[:strings.LastIndex(got, "\n")+1]) { // another one may be on its way
		var i int
		if _, err := fmt.Sscanf(line, "line %d\n", &i); err != nil || line != lines(i, i+1) {
			t.Fatalf("%q is no line", line)
		}
		if i <= last {
			t.Fatalf("line %d after %d", i, last)
		}
		last = i
	}
	good := seen.next(t)
	got = whole(t, path, 0)
	if good.Err != nil || !good.Limited || good.Dropped != c.Stats().Dropped || int(good.Dropped)+len(got) < len(lines(0, n)) {
		t.Errorf("notice: %+v, of %d bytes %d are there", good, len(lines(0, n)), len(got))
	}
	// A second's worth may come at once again, though what was left in the pipe may
	// have been too much once more.
	for late := time.Now().Add(deadline); ; {
		write(t, w, "the end\n")
		err := tryDrain(s)
		if got = whole(t, path, 0); strings.HasSuffix(got, "\nthe end\n") {
			break
		}
		if time.Now().After(late) {
			t.Fatalf("it ends in %q: %v", got[max(0, len(got)-20):], err)
		}
	}
}

// TestBound: the oldest rotated files go first, whoever's they are, and nothing else.
func TestBound(t *testing.T) {
	dir := t.TempDir()
	c, seen := open(t, Config{})
	a, b := filepath.Join(dir, "a.log"), filepath.Join(dir, "b.log")
	now := time.Now()
	put := func(name string, size, age int) {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(strings.Repeat("x\n", size/2)), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, now, now.Add(-time.Duration(age)*time.Minute)); err != nil {
			t.Fatal(err)
		}
	}
	put("a.log", 5000, 0)
	put("a.log.1", 1000, 1)
	put("a.log.2.gz", 1000, 4)
	put("b.log.1", 1000, 2)
	put("b.log.2", 1000, 5)
	put("gone.log.1", 1000, 3)
	put("notes.txt", 9000, 9)
	put("notes.txt.1", 9000, 9)
	left := func() string {
		packedAll(t, c)
		names, _ := filepath.Glob(filepath.Join(dir, "*.log*"))
		for i := range names {
			names[i] = filepath.Base(names[i])
		}
		return strings.Join(names, " ")
	}
	pipe(t, c, Options{Path: a, Keep: 5})
	s, w := pipe(t, c, Options{Path: b, Keep: 5, MaxSize: 500})
	c.Bound(8000, dir)
	if got := left(); got != "a.log a.log.1 b.log.1 gone.log.1" {
		t.Errorf("left: %s", got)
	}
	write(t, w, strings.Repeat("x\n", 550))
	drained(t, s)
	if got := left(); got != "a.log a.log.1 b.log b.log.1 b.log.2" && got != "a.log a.log.1 b.log b.log.1 b.log.2 b.log.3" {
		t.Errorf("left: %s", got)
	}
	c.Bound(100, dir)
	if got := left(); got != "a.log b.log" {
		t.Errorf("left: %s", got)
	}
	if _, err := os.Stat(filepath.Join(dir, "notes.txt.1")); err != nil {
		t.Error(err)
	}
	if n := seen.list(); len(n) != 0 {
		t.Errorf("notices: %+v", n)
	}
}

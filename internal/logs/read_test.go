package logs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// FuzzRead compares Read with a plain model over files of any content.
func FuzzRead(f *testing.F) {
	f.Add([]byte("a\nb\nc\n"), []byte{2, 2}, 2)
	f.Add([]byte("a\nb\nunfinished"), []byte{1, 5}, 1)
	f.Add([]byte("torn over files\n\n\n"), []byte{3, 3, 3, 3}, 2)
	f.Add([]byte("\n"), []byte{}, 1)
	f.Add([]byte(""), []byte{0, 0}, 3)
	f.Add(bytes.Repeat([]byte("0123456789abcde\n"), 9000), []byte{200, 255, 0}, 8000)
	f.Add([]byte("all\nof\nit"), []byte{4}, -1)
	f.Fuzz(func(t *testing.T, in, sizes []byte, n int) {
		path := filepath.Join(t.TempDir(), "x.log")
		sizes = sizes[:min(len(sizes), 8)]
		rest := in
		for i, size := range sizes {
			k := min(len(rest), int(size)*int(size))
			if err := os.WriteFile(rotated(path, len(sizes)-i), rest[:k], 0o600); err != nil {
				t.Fatal(err)
			}
			rest = rest[k:]
		}
		if err := os.WriteFile(path, rest, 0o600); err != nil {
			t.Fatal(err)
		}
		var got bytes.Buffer
		pos, err := Read(&got, path, len(sizes), n)
		if err != nil {
			t.Fatal(err)
		}
		want := string(in)
		if n >= 0 {
			all := strings.SplitAfter(want, "\n")
			if all[len(all)-1] == "" {
				all = all[:len(all)-1]
			}
			want = strings.Join(all[len(all)-min(n, len(all)):], "")
		}
		same(t, fmt.Sprintf("last %d lines", n), got.String(), want)
		if pos.Offset != int64(len(rest)) {
			t.Errorf("position %+v, file of %d bytes", pos, len(rest))
		}
		var back Position
		if text, err := pos.MarshalText(); err != nil || back.UnmarshalText(text) != nil || back != pos {
			t.Errorf("%+v became %q and %+v", pos, text, back)
		}
	})
}

func TestPositionText(t *testing.T) {
	for _, s := range []string{"", "1", "1.2", "1.2.-3", "1.2.3.4", "a.b.c", "-1.2.3"} {
		var p Position
		if err := p.UnmarshalText([]byte(s)); err == nil {
			t.Errorf("%q became %+v", s, p)
		}
	}
}

// TestReadHuge: the end of a huge file is read without the rest.
func TestReadHuge(t *testing.T) {
	path := logPath(t)
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	const size = 100 << 30 // sparse
	if _, err := f.WriteAt([]byte("\nlast\nlines\n"), size); err != nil {
		t.Skipf("no sparse files here: %v", err)
	}
	before := cpu()
	var b bytes.Buffer
	pos, err := Read(&b, path, 5, 2)
	if err != nil || b.String() != "last\nlines\n" || pos.Offset != size+12 {
		t.Errorf("%q, %+v, %v", b.String(), pos, err)
	}
	same(t, "selected", chosen(t, path, 5, Selection{Lines: 2}), "last\nlines\n")
	same(t, "matching", chosen(t, path, 5, Selection{Lines: 1, Match: regexp.MustCompile("^l")}), "lines\n")
	if used := cpu() - before; used > 100*time.Millisecond {
		t.Errorf("took %v of CPU", used)
	}
}

func TestReadNothing(t *testing.T) {
	path := logPath(t)
	if pos, err := Read(io.Discard, path, 5, 10); err != nil || pos != (Position{}) {
		t.Errorf("%+v, %v", pos, err)
	}
	if _, err := Read(io.Discard, os.DevNull, 5, 10); err == nil {
		t.Error("/dev/null was read as a log")
	}
}

// TestReadAcrossGaps: a crash within a rotation leaves a number out.
func TestReadAcrossGaps(t *testing.T) {
	path := logPath(t)
	for n, s := range map[int]string{4: "1\n", 3: "2\n", 1: "3\n"} {
		if err := os.WriteFile(rotated(path, n), []byte(s), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var b bytes.Buffer
	if _, err := Read(&b, path, 5, -1); err != nil || b.String() != "1\n2\n3\n" {
		t.Errorf("%q, %v", b.String(), err)
	}
	f := follow(t, path, 5, Position{})
	f.wait(t, 6)
	c, _ := open(t, Config{})
	s, w := pipe(t, c, Options{Path: path, MaxSize: 1, Keep: 5})
	write(t, w, "4\n")
	drained(t, s)
	write(t, w, "5\n")
	drained(t, s)
	same(t, "follower", f.wait(t, 10), "1\n2\n3\n4\n5\n")
	same(t, "files", whole(t, path, 5), "1\n2\n3\n4\n5\n")
}

// TestReadThenFollow, again and again while the log is written and rotated:
// together they see each byte once.
func TestReadThenFollow(t *testing.T) {
	c, _ := open(t, Config{})
	path := logPath(t)
	const keep = 2000
	s, w := pipe(t, c, Options{Path: path, MaxSize: 3000, Keep: keep})
	want := lines(0, 40_000)
	wrote := make(chan error, 1)
	go func() {
		for rest := want; rest != ""; {
			n := min(len(rest), 500)
			if _, err := w.WriteString(rest[:n]); err != nil {
				wrote <- err
				return
			}
			rest = rest[n:]
		}
		wrote <- nil
	}()
	for range 10 {
		var b bytes.Buffer
		pos, err := Read(&b, path, keep, -1)
		if err != nil {
			t.Fatal(err)
		}
		got := b.String()
		same(t, "read", got, want[:min(len(got), len(want))])
		f := follow(t, path, keep, pos)
		if len(got) < len(want) {
			got += f.wait(t, 1)
		}
		got = b.String() + f.wait(t, len(got)-b.Len())
		same(t, "followed", got, want[:min(len(got), len(want))])

		// Hang up, and go on from where that was.
		pos = f.stop(t)
		if pos == (Position{}) {
			continue
		}
		got = b.String() + f.wait(t, 0)
		if len(got) < len(want) {
			g := follow(t, path, keep, pos)
			got += g.wait(t, 1)
			same(t, "resumed", got, want[:min(len(got), len(want))])
			g.stop(t)
		}
	}
	if err := <-wrote; err != nil {
		t.Fatal(err)
	}
	drained(t, s)
	same(t, "files", whole(t, path, keep), want)
}

// TestReadWhileRotating: the last lines are in a row, whenever one looks.
func TestReadWhileRotating(t *testing.T) {
	c, _ := open(t, Config{})
	path := logPath(t)
	s, w := pipe(t, c, Options{Path: path, MaxSize: 200, Keep: 50})
	stop, done := make(chan bool), make(chan int)
	go func() {
		i := 0
		for ; ; i += 7 {
			select {
			case <-stop:
				done <- i
				return
			default:
				w.WriteString(lines(i, i+7))
			}
		}
	}()
	for range 300 {
		var b bytes.Buffer
		if _, err := Read(&b, path, 50, 100); err != nil {
			t.Fatal(err)
		}
		got := b.String()
		if got == "" {
			continue
		}
		var first int
		if _, err := fmt.Sscanf(got, "line %d\n", &first); err != nil {
			t.Fatalf("%q: %v", got, err)
		}
		n := strings.Count(got, "\n")
		if i := strings.LastIndexByte(got, '\n') + 1; i < len(got) { // the last one is being written
			if !strings.HasPrefix(lines(first+n, first+n+1), got[i:]) {
				t.Fatalf("the last line is %q after %d", got[i:], first+n-1)
			}
			got = got[:i]
		}
		same(t, "lines", got, lines(first, first+n))
	}
	close(stop)
	<-done
	drained(t, s)
}

func TestPositionGone(t *testing.T) {
	c, _ := open(t, Config{})
	path := logPath(t)
	s, w := pipe(t, c, Options{Path: path, MaxSize: 10, Keep: 1})
	write(t, w, "first\n")
	drained(t, s)
	pos, err := Read(io.Discard, path, 1, 0)
	if err != nil {
		t.Fatal(err)
	}
	write(t, w, lines(0, 10))
	drained(t, s)
	err = Follow(context.Background(), path, 1, pos, func([]byte, Position) error { return nil })
	if !errors.Is(err, ErrGone) {
		t.Errorf("%v", err)
	}
	if err := Follow(context.Background(), filepath.Join(path, "no/folder"), 1, pos, nil); err == nil {
		t.Error("a folder that isn't there was watched")
	}
}

func TestEmitError(t *testing.T) {
	path := logPath(t)
	if err := os.WriteFile(path, []byte("x\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	hungUp := errors.New("hung up")
	err := Follow(context.Background(), path, 0, Position{}, func([]byte, Position) error { return hungUp })
	if err != hungUp {
		t.Errorf("%v", err)
	}
}

// TestManyFollowers: more than a user may have inotify instances.
func TestManyFollowers(t *testing.T) {
	c, _ := open(t, Config{})
	path := logPath(t)
	s, w := pipe(t, c, Options{Path: path, MaxSize: 20_000, Keep: 100})
	all := make([]*following, 1000)
	for i := range all {
		all[i] = follow(t, path, 100, Position{})
	}
	want := lines(0, 10_000)
	write(t, w, want)
	drained(t, s)
	for i, f := range all {
		same(t, fmt.Sprint("follower ", i), f.wait(t, len(want)), want)
	}
}

// TestLatency measures from the program's write to the follower's emit, and
// holds the median to the promise; a busy machine may delay single ones.
func TestLatency(t *testing.T) {
	got := latencies(t, 200)
	t.Logf("median %v, 99 of 100 %v", got[len(got)/2], got[len(got)*99/100])
	if got[len(got)/2] > 20*time.Millisecond {
		t.Errorf("median latency %v", got[len(got)/2])
	}
}

func latencies(t testing.TB, n int) []time.Duration {
	c, _ := open(t, Config{})
	path := logPath(t)
	_, w := pipe(t, c, Options{Path: path})
	ctx, cancel := context.WithCancel(context.Background())
	came := make(chan time.Time, 1)
	var wg sync.WaitGroup
	wg.Go(func() {
		_ = Follow(ctx, path, 0, Position{}, func([]byte, Position) error {
			came <- time.Now()
			return nil
		})
	})
	defer wg.Wait()
	defer cancel()
	var all []time.Duration
	for range n {
		start := time.Now()
		write(t, w, "line\n")
		select {
		case at := <-came:
			all = append(all, at.Sub(start))
		case <-time.After(deadline):
			t.Fatal("the line didn't come")
		}
	}
	slices.Sort(all)
	return all
}

// TestNewerIsYounger: when a log is removed, its rotated files don't come after it;
// only what takes its name does.
func TestNewerIsYounger(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	for _, name := range []string{path + ".1", path} {
		if err := os.WriteFile(name, []byte(name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	// The one was made long before the other, also for a file system that doesn't
	// say when.
	old := time.Unix(1e9, 0)
	if err := os.Chtimes(path+".1", old, old); err != nil {
		t.Fatal(err)
	}
	f := follower{chain: chain{path, 5}}
	var err error
	if f.cur, err = f.open(0); err != nil {
		t.Fatal(err)
	}
	defer f.cur.Close()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if l, err := f.newer(); l != nil || err != nil {
		t.Errorf("after the removed log comes %v, %v", l, err)
	}
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := f.newer()
	if l == nil || err != nil {
		t.Fatalf("after the removed log comes %v, %v", l, err)
	}
	defer l.Close()
	if f.find(l.id) != 0 {
		t.Error("what comes after the removed log isn't the one with its name")
	}
}

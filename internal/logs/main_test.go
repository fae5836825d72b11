package logs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// The test binary plays the program. As "flood" it writes numbered lines to its
// standard output until it is killed, as "bulk" so many bytes, so many at a time.
func TestMain(m *testing.M) {
	if d, err := time.ParseDuration(os.Getenv("TEND_TEST_PATIENCE")); err == nil {
		deadline = d
	}
	switch os.Getenv("LOGS_TEST_ROLE") {
	case "flood":
		for i := 0; ; i++ {
			if _, err := fmt.Fprintf(os.Stdout, "line %d\n", i); err != nil {
				os.Exit(1)
			}
		}
	case "bulk":
		size, _ := strconv.Atoi(os.Args[1])
		total, _ := strconv.Atoi(os.Args[2])
		if size <= 0 || bulk(os.Stdout, size, total) != nil {
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// deadline is how long a test waits for what must come; TEND_TEST_PATIENCE=5m is
// for a machine that is always slow.
var deadline = 20 * time.Second

// notices collects what a Capture says and lets a test wait for it.
type notices struct {
	mu  sync.Mutex
	all []Notice
	c   chan Notice
}

func (n *notices) add(x Notice) {
	n.mu.Lock()
	n.all = append(n.all, x)
	n.mu.Unlock()
	n.c <- x
}

func (n *notices) list() []Notice {
	n.mu.Lock()
	defer n.mu.Unlock()
	return append([]Notice(nil), n.all...)
}

func (n *notices) next(t *testing.T) Notice {
	t.Helper()
	select {
	case x := <-n.c:
		return x
	case <-time.After(deadline):
		t.Fatal("no notice came")
		panic("unreachable")
	}
}

func open(t testing.TB, cfg Config) (*Capture, *notices) {
	t.Helper()
	// The test's folder is removed by the first call's cleanup. It has to come after
	// Close: a turn that finds its file removed begins it anew.
	t.TempDir()
	n := &notices{c: make(chan Notice, 10_000)}
	cfg.Notice = n.add
	c, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil && !errors.Is(err, ErrClosed) {
			t.Error(err)
		}
	})
	return c, n
}

// pipe makes a stream and a writer of it.
func pipe(t testing.TB, c *Capture, o Options) (*Stream, *os.File) {
	t.Helper()
	o.UID, o.GID = -1, -1
	s, err := c.Pipe("web", o)
	if err != nil {
		t.Fatal(err)
	}
	return s, writer(t, s)
}

func writer(t testing.TB, s *Stream) *os.File {
	t.Helper()
	fd, err := s.Writer()
	if err != nil {
		t.Fatal(err)
	}
	w := os.NewFile(uintptr(fd), "output")
	t.Cleanup(func() { w.Close() })
	return w
}

func write(t testing.TB, w *os.File, s string) {
	t.Helper()
	if _, err := w.WriteString(s); err != nil {
		t.Fatal(err)
	}
}

func drained(t testing.TB, s *Stream) {
	t.Helper()
	if err := tryDrain(s); err != nil {
		t.Fatal(err)
	}
}

func tryDrain(s *Stream) error {
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	return s.Drain(ctx)
}

// lines returns the numbered lines [from, to).
func lines(from, to int) string {
	var b strings.Builder
	for i := from; i < to; i++ {
		b.WriteString("line ")
		b.WriteString(strconv.Itoa(i))
		b.WriteByte('\n')
	}
	return b.String()
}

// whole returns all of a log by the plainest means.
func whole(t testing.TB, path string, keep int) string {
	t.Helper()
	var b bytes.Buffer
	for n := keep; n >= 0; n-- {
		for _, suffix := range suffixes {
			if p := decompressed(t, rotated(path, n)+suffix); p != nil {
				b.Write(p)
				break // the same is there twice for a moment
			}
		}
	}
	return b.String()
}

// same compares long texts and shows where they part.
func same(t testing.TB, what, got, want string) {
	t.Helper()
	if got == want {
		return
	}
	i := 0
	for i < len(got) && i < len(want) && got[i] == want[i] {
		i++
	}
	around := func(s string) string { return s[max(0, min(i-20, len(s))):min(len(s), i+60)] }
	t.Fatalf("%s: %d bytes, want %d; they part at %d:\n got …%q…\nwant …%q…", what, len(got), len(want), i, around(got), around(want))
}

func logPath(t testing.TB) string { return filepath.Join(t.TempDir(), "web.log") }

// follow collects what a follower gets and lets a test wait until it is enough.
type following struct {
	mu     sync.Mutex
	buf    bytes.Buffer
	pos    Position
	grown  chan struct{}
	cancel context.CancelFunc
	done   chan error
}

func follow(t testing.TB, path string, keep int, from Position) *following {
	ctx, cancel := context.WithCancel(context.Background())
	f := &following{grown: make(chan struct{}, 1), cancel: cancel, done: make(chan error, 1)}
	go func() {
		f.done <- Follow(ctx, path, keep, from, func(p []byte, next Position) error {
			f.mu.Lock()
			f.buf.Write(p)
			f.pos = next
			f.mu.Unlock()
			select {
			case f.grown <- struct{}{}:
			default:
			}
			return nil
		})
	}()
	t.Cleanup(func() { f.stop(t) })
	return f
}

// wait returns what has come once it has n bytes.
func (f *following) wait(t testing.TB, n int) string {
	t.Helper()
	late := time.After(deadline)
	for {
		f.mu.Lock()
		s := f.buf.String()
		f.mu.Unlock()
		if len(s) >= n {
			return s
		}
		select {
		case <-f.grown:
		case err := <-f.done:
			f.done <- err
			t.Fatalf("follower ended after %d of %d bytes: %v", len(s), n, err)
		case <-late:
			t.Fatalf("follower has %d of %d bytes", len(s), n)
		}
	}
}

func (f *following) stop(t testing.TB) Position {
	t.Helper()
	f.cancel()
	err := <-f.done
	f.done <- err
	if err != nil && !errors.Is(err, context.Canceled) {
		t.Errorf("follower: %v", err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.pos
}

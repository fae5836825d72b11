package logs

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"
)

// A sight is what somebody has seen of a terminal.
type sight struct {
	mu  sync.Mutex
	all bytes.Buffer
}

func (s *sight) show(p []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all.Write(p)
}

func (s *sight) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.all.String()
}

// A line is a terminal without its carrier: the descriptors that are kept.
type line struct {
	master, relay int
	slave         *os.File
}

func openLine(t *testing.T) *line {
	t.Helper()
	master, slave, err := pty.Open()
	if err != nil {
		t.Skip("no pseudo-terminals here: ", err)
	}
	relay, err := Relay()
	if err != nil {
		t.Fatal(err)
	}
	l := &line{relay: relay, slave: slave}
	conn, err := master.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	conn.Control(func(fd uintptr) { l.master, err = unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 3) })
	if err != nil {
		t.Fatal(err)
	}
	master.Close()
	if err := unix.SetNonblock(l.master, true); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		unix.Close(l.master)
		unix.Close(l.relay)
		slave.Close()
	})
	return l
}

func (l *line) carry(t *testing.T, c *Capture, s *Stream, show func([]byte)) *Terminal {
	t.Helper()
	term, err := c.Terminal(s, l.master, l.relay, show)
	if err != nil {
		t.Fatal(err)
	}
	return term
}

func drainTerminal(t *testing.T, term *Terminal, s *Stream) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	if err := term.Drain(ctx); err != nil {
		t.Fatal(err)
	}
	drained(t, s)
}

// TestTerminal: what is written to a terminal is seen as the terminal has it, and
// logged in lines as programs mean them, in whatever form.
func TestTerminal(t *testing.T) {
	stamp := regexp.MustCompile(`(?m)^\d{4}-\d\d-\d\dT\S+ `)
	for _, test := range []struct {
		name   string
		recipe Recipe
		plain  bool // its kernel doesn't splice terminals
	}{
		{"plain", Recipe{}, false},
		{"timestamp", Recipe{Timestamp: true}, false},
		{"JSON", Recipe{JSON: true}, false},
		{"without splice", Recipe{}, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			c, _ := open(t, Config{Stages: &Stages{Journal: filepath.Join(t.TempDir(), "stages")}})
			path := logPath(t)
			test.recipe.Terminal = true
			s, _ := pipe(t, c, Options{Path: path, Recipe: &test.recipe})
			l := openLine(t)
			var seen sight
			term := l.carry(t, c, s, seen.show)
			if test.plain {
				c.mu.Lock()
				term.noSplice = true // nothing has come: it isn't looked at
				c.mu.Unlock()
			}
			want := lines(0, 5000) + "50%\r100%\n"
			write(t, l.slave, want)
			l.slave.Close()
			drainTerminal(t, term, s)
			same(t, "seen", seen.String(), strings.ReplaceAll(want, "\n", "\r\n"))
			got := whole(t, path, 0)
			switch {
			case test.recipe.JSON:
				var b strings.Builder
				for _, o := range objects(t, path) {
					b.WriteString(o.Message + "\n")
				}
				got = b.String()
			case test.recipe.Timestamp:
				got = stamp.ReplaceAllString(got, "")
			}
			same(t, "log", got, want)
			// Nobody has it open any more: that is its end.
			c.mu.Lock()
			defer c.mu.Unlock()
			if !term.ended || len(c.terminals) != 0 {
				t.Errorf("ended %t, %d are open", term.ended, len(c.terminals))
			}
		})
	}
}

// TestTerminalTakenOver: a carrier may go at any moment; the next one goes on
// without a byte lost or doubled.
func TestTerminalTakenOver(t *testing.T) {
	c, _ := open(t, Config{})
	path := logPath(t)
	s, _ := pipe(t, c, Options{Path: path, Recipe: &Recipe{Terminal: true}})
	l := openLine(t)
	want := lines(0, 100_000)
	written := make(chan struct{})
	go func() {
		defer close(written)
		l.slave.WriteString(want)
		l.slave.Close()
	}()
	var seen sight
	term := l.carry(t, c, s, seen.show)
	takeovers := 0
	for over := false; !over; takeovers++ {
		term.Close()
		term = l.carry(t, c, s, seen.show)
		select {
		case <-written:
			over = true
		default:
		}
	}
	drainTerminal(t, term, s)
	same(t, "log", whole(t, path, 0), want)
	same(t, "seen", seen.String(), strings.ReplaceAll(want, "\n", "\r\n"))
	if takeovers < 10 {
		t.Errorf("it was taken over %d times only", takeovers)
	}
}

// TestTerminalWaits: a destination that takes nothing holds up the program, and
// costs nothing of what it writes.
func TestTerminalWaits(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	c, _ := open(t, Config{Stdout: w})
	w.Close()
	s, _ := pipe(t, c, Options{Mode: Inherit, Recipe: &Recipe{Terminal: true}})
	l := openLine(t)
	var seen sight
	term := l.carry(t, c, s, seen.show)
	want := lines(0, 100_000)
	written := make(chan error, 1)
	go func() {
		_, err := l.slave.WriteString(want)
		l.slave.Close()
		written <- err
	}()
	// The pipes and the terminal between hold much less.
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	for ctx.Err() == nil {
		if term.Drain(ctx) == nil {
			continue // it wasn't full yet
		}
	}
	if n := len(seen.String()); n > len(want)/2 {
		t.Fatalf("%d of %d bytes have gone where nobody reads", n, len(want))
	}
	got := make([]byte, len(want))
	if _, err := io.ReadFull(r, got); err != nil {
		t.Fatal(err)
	}
	same(t, "output", string(got), want)
	if err := <-written; err != nil {
		t.Fatal(err)
	}
}

// TestTerminalClosed: what is asked of a terminal after its end has an answer, and
// the capture's end is one.
func TestTerminalClosed(t *testing.T) {
	c, _ := open(t, Config{})
	s, _ := pipe(t, c, Options{Path: logPath(t)})
	l := openLine(t)
	term := l.carry(t, c, s, func([]byte) {})
	write(t, l.slave, "hello\n")
	drainTerminal(t, term, s)
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if err := term.Drain(context.Background()); err != nil {
		t.Error(err)
	}
	term.Close()
	if _, err := c.Terminal(s, l.master, l.relay, nil); err == nil {
		t.Error("a capture that is closed carries a terminal")
	}
}

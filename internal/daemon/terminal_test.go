package daemon

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tend/api"
	"tend/internal/logs"
	"tend/internal/proc"
)

// see returns what a viewer is shown, with notices in brackets, until there is
// nothing more.
func see(t *testing.T, v *viewer) string {
	t.Helper()
	over, cancel := context.WithCancel(context.Background())
	cancel()
	var b strings.Builder
	for {
		p, n, err := v.Next(over)
		switch {
		case errors.Is(err, context.Canceled):
			return b.String()
		case err == io.EOF:
			return b.String() + "<end>"
		case err != nil:
			t.Fatal(err)
		case n != nil:
			b.WriteString("<" + n.Message + ">")
		}
		b.Write(p)
	}
}

// TestViewers: all see all, in order, from what was written last on.
func TestViewers(t *testing.T) {
	term := newTerminal("web:0")
	early := term.attach(api.TailAll)
	term.show([]byte("one\r\n"))
	term.notice(api.AttachNotice{Message: "web ended"})
	term.show([]byte("two\r\n"))
	late, fresh := term.attach(api.TailAll), term.attach(api.TailNone)
	term.show([]byte("three"))
	term.close(api.AttachNotice{Message: "gone", End: true})
	term.show([]byte("never"))
	term.notice(api.AttachNotice{Message: "never"})
	for _, test := range []struct {
		v    *viewer
		want string
	}{
		{early, "one\r\n<web ended>two\r\nthree<gone><end>"},
		{late, "one\r\ntwo\r\nthree<gone><end>"},
		{fresh, "three<gone><end>"},
		{term.attach(api.TailNone), "<end>"},
	} {
		if got := see(t, test.v); got != test.want {
			t.Errorf("seen %q, want %q", got, test.want)
		}
		test.v.Close()
	}
	if len(term.viewers) != 0 {
		t.Errorf("%d are still there", len(term.viewers))
	}
}

// TestViewerThatSleeps: who takes nothing costs no more than so much memory, and is
// told what was left out before what is live, and before the end.
func TestViewerThatSleeps(t *testing.T) {
	term := newTerminal("web:0")
	v := term.attach(api.TailAll)
	defer v.Close()
	line := []byte(strings.Repeat("x", 1022) + "\r\n")
	const lines = 10_000
	flood := func() {
		for range lines {
			term.show(line)
		}
	}
	flood()
	if v.bytes > maxUnseen || len(term.tail) > 2*tailBytes {
		t.Fatalf("%d bytes wait, and a tail of %d", v.bytes, len(term.tail))
	}
	kept := strings.Repeat(string(line), maxUnseen/len(line))
	left := fmt.Sprintf("<%d bytes are left out here: they came faster than they were read>", lines*len(line)-len(kept))
	if got := see(t, v); got != kept+left {
		t.Errorf("seen %d bytes: …%q", len(got), got[max(0, len(got)-200):])
	}
	term.show([]byte("live"))
	if got := see(t, v); got != "live" {
		t.Errorf("then seen %q", got)
	}
	flood()
	for range 2 * maxNotices {
		term.notice(api.AttachNotice{Message: "."})
	}
	if len(v.seen) > maxNotices+2 {
		t.Errorf("%d notices wait", len(v.seen))
	}
	term.close(api.AttachNotice{Message: "gone", End: true})
	got := see(t, v)
	if !strings.HasPrefix(got, kept+left+"<.>") || !strings.HasSuffix(got, "<.><gone><end>") {
		t.Errorf("seen %d bytes: …%q", len(got), got[max(0, len(got)-200):])
	}
}

// TestTail: the tail is of whole lines, and that of a new daemon what that has carried.
func TestTail(t *testing.T) {
	term := newTerminal("web:0")
	term.tail = []byte("from the log\r\n")
	term.before = len(term.tail)
	term.show([]byte("new"))
	if got := see(t, term.attach(api.TailAll)); got != "from the log\r\nnew" {
		t.Errorf("all: %q", got)
	}
	if got := see(t, term.attach(api.TailNew)); got != "new" {
		t.Errorf("new: %q", got)
	}
	long := bytes.Repeat([]byte("0123456789abcde\n"), tailBytes/8)
	term.show(long)
	term.show([]byte("x"))
	got := see(t, term.attach(api.TailAll))
	if len(got) > tailBytes || len(got) < tailBytes-16 || !strings.HasPrefix(got, "0123") || !strings.HasSuffix(got, "e\nx") {
		t.Errorf("%d bytes: %q…", len(got), got[:20])
	}
}

// A seatOf is a terminal with a pseudo-terminal, whose program is the test.
func seatOf(t *testing.T) (d *Daemon, term *terminal, slave *os.File) {
	t.Helper()
	capture, err := logs.Open(logs.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { capture.Close() })
	d = &Daemon{capture: capture, keeper: nobody{}}
	out, err := capture.Pipe("web", logs.Options{Mode: logs.None, UID: -1, GID: -1})
	if err != nil {
		t.Fatal(err)
	}
	term = newTerminal("web:0")
	fd, err := d.openTerminal(term, nil, out)
	if err != nil {
		t.Skip(err)
	}
	slave = os.NewFile(uintptr(fd), "slave")
	t.Cleanup(func() { slave.Close() })
	return d, term, slave
}

// TestTyping: what is typed arrives; somebody who types into a program that reads
// nothing holds up nobody, and can go at any time.
func TestTyping(t *testing.T) {
	d, term, slave := seatOf(t)
	raw, err := unix.IoctlGetTermios(int(slave.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	raw.Lflag &^= unix.ICANON | unix.ECHO
	if err := unix.IoctlSetTermios(int(slave.Fd()), unix.TCSETS, raw); err != nil {
		t.Fatal(err)
	}
	a, b := term.attach(api.TailAll), term.attach(api.TailAll)
	defer b.Close()
	if err := a.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 100)
	if n, err := slave.Read(buf); string(buf[:n]) != "hello" || err != nil {
		t.Fatalf("read %q, %v", buf[:n], err)
	}
	written := make(chan error, 2)
	go func() { written <- a.Write(make([]byte, 10<<20)) }()
	go func() { written <- b.Write(make([]byte, 10<<20)) }()
	if _, err := io.ReadFull(slave, buf); err != nil { // they have begun
		t.Fatal(err)
	}
	a.Close()
	if err := <-written; err == nil {
		t.Error("who has gone has typed all")
	}
	if err := a.Write([]byte("x")); !errors.Is(err, os.ErrClosed) {
		t.Errorf("after the close: %v", err)
	}
	// When the process is gone the rest is for nobody, and that is no error.
	d.closeLine(term)
	if err := <-written; err != nil {
		t.Errorf("the program has gone: %v", err)
	}
	if err := b.Write([]byte("x")); err != nil {
		t.Errorf("without a program: %v", err)
	}
}

// TestResize: the size is that of who said so last, stays for the next process, and a
// newcomer of the same size has the screen drawn anew.
func TestResize(t *testing.T) {
	_, term, slave := seatOf(t)
	size := func() proc.Size {
		w, err := unix.IoctlGetWinsize(int(slave.Fd()), unix.TIOCGWINSZ)
		if err != nil {
			t.Fatal(err)
		}
		return proc.Size{Rows: w.Row, Columns: w.Col}
	}
	if got := size(); got != (proc.Size{Rows: 24, Columns: 80}) {
		t.Errorf("at first %v", got)
	}
	a, b := term.attach(api.TailAll), term.attach(api.TailAll)
	defer a.Close()
	defer b.Close()
	a.Resize(50, 132)
	b.Resize(30, 100)
	b.Resize(30, 100)
	a.Resize(40, 90)
	if want := (proc.Size{Rows: 40, Columns: 90}); size() != want || term.size != want {
		t.Errorf("it is %v, noted as %v", size(), term.size)
	}
}

// TestLeave: nothing of a terminal is left when its process has ended.
func TestLeave(t *testing.T) {
	d, term, slave := seatOf(t)
	v := term.attach(api.TailAll)
	defer v.Close()
	if _, err := slave.WriteString("last words"); err != nil {
		t.Fatal(err)
	}
	slave.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	term.drain(ctx)
	if got := see(t, v); got != "last words" {
		t.Errorf("seen %q", got)
	}
	line := term.line
	d.closeLine(term)
	if term.fds() != nil {
		t.Error("there are descriptors to keep")
	}
	line.carrier.Close() // which returns when it is let go of
}

package proc

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// terminal returns an attempt that runs a shell in a terminal, and its master.
func (w *world) terminal(script string) (*Attempt, *os.File) {
	w.t.Helper()
	master, slave, err := OpenTerminal(nil, Size{Rows: 24, Columns: 80})
	if err != nil {
		w.t.Fatal(err)
	}
	f := os.NewFile(uintptr(master), "master")
	w.t.Cleanup(func() { f.Close() })
	a := w.attempt(nil, "/bin/sh", "-c", script)
	a.Stdin, a.Stdout, a.Stderr, a.Terminal = slave, slave, slave, true
	return a, f
}

// readAll returns what is written to a terminal until nobody has it open.
func readAll(t *testing.T, master *os.File) string {
	t.Helper()
	if err := master.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if _, err := b.ReadFrom(master); !errors.Is(err, unix.EIO) {
		t.Errorf("it doesn't end by EIO: %v", err)
	}
	return b.String()
}

// TestTerminal: a program with a terminal leads a session of its own that is
// controlled by it, and has a size; when it has ended nobody has the terminal open.
func TestTerminal(t *testing.T) {
	inEachMode(t, func(t *testing.T, w *world) {
		a, master := w.terminal(`tty; stty size; tr ' ' '\n' </proc/$$/stat | sed -n '1p;5,7p'; : >/dev/tty && echo controlled; kill -WINCH $$`)
		p := w.spawn(a)
		unix.Close(a.Stdin)
		text := readAll(t, master)
		lines := strings.Split(strings.ReplaceAll(text, "\r\n", "\n"), "\n")
		if e := w.ended(); e.Status != (Status{}) {
			t.Errorf("%v; it said %q", e.Status, text)
		}
		if len(lines) != 8 || !strings.HasPrefix(lines[0], "/dev/pts/") || lines[1] != "24 80" || lines[6] != "controlled" {
			t.Fatalf("it said %q", lines)
		}
		pid := fmt.Sprint(p.Pid())
		if lines[2] != pid || lines[3] != pid || lines[4] != pid || lines[5] == "0" {
			t.Errorf("pid, group, session, terminal: %q, of %s", lines[2:6], pid)
		}
		p.Reap()
	})
}

// TestTerminalHangUp: when the terminal is closed the program is hung up.
func TestTerminalHangUp(t *testing.T) {
	inEachMode(t, func(t *testing.T, w *world) {
		a, master := w.terminal(`echo here; exec sleep 1000`)
		p := w.spawn(a)
		unix.Close(a.Stdin)
		if _, err := master.Read(make([]byte, 100)); err != nil {
			t.Fatal(err)
		}
		master.Close()
		if e := w.ended(); e.Status.Signal != syscall.SIGHUP {
			t.Errorf("%v", e.Status)
		}
		p.Reap()
	})
}

// TestTerminalOwner: the terminal belongs to the program's user.
func TestTerminalOwner(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root gives files away")
	}
	master, slave, err := OpenTerminal(&Credential{UID: 65534, GID: 65534}, Size{Rows: 1, Columns: 2})
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(master)
	defer unix.Close(slave)
	var st unix.Stat_t
	if err := unix.Fstat(slave, &st); err != nil || st.Uid != 65534 {
		t.Errorf("user %d, %v", st.Uid, err)
	}
}

// TestNoTerminal: what isn't a terminal, or another session's, can't control a
// program, and the reasons why there is none are told.
func TestNoTerminal(t *testing.T) {
	w := open(t, Config{})
	a := w.attempt(nil, "/bin/true")
	a.Terminal = true
	var e *SpawnError
	if _, err := w.Spawn(a); !errors.As(err, &e) || e.Step != StepTerminal || e.Err != unix.ENOTTY {
		t.Errorf("/dev/null as a terminal: %v", err)
	}
	for errno, want := range map[error]string{
		unix.ENODEV: "mount -t devpts",
		unix.ENOSPC: "kernel.pty.max",
		unix.EACCES: "mode 0666",
		unix.EMFILE: "ulimit -n",
	} {
		if e := terminalError(errno, errno); !strings.Contains(e.Hint(), want) || !strings.HasPrefix(e.Error(), "cannot start: no terminal for it: ") {
			t.Errorf("%v: %v, hint %q", errno, e, e.Hint())
		}
	}
	if e := terminalError(unix.ENOSPC, unix.ENOSPC); !strings.Contains(e.Error(), "the limit of the system is ") {
		t.Errorf("%v", e)
	}
}

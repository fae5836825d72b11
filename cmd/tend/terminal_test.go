package main

import (
	"io"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/charmbracelet/x/vt"
	"github.com/creack/pty"
	"github.com/rogpeppe/go-internal/testscript"
)

type terminalKey struct{}

// A terminal is a pseudo-terminal (pty(7)) in which a script runs a command, with
// what is to be seen on it.
type terminal struct {
	env  []string
	line *os.File
	cmd  *exec.Cmd
	done chan struct{} // closed when the command has ended and all is read

	mu     sync.Mutex
	screen *vt.Emulator
	news   chan struct{} // closed, and made anew, when something was written
}

// cmdTerminal: terminal COLUMNS ROWS COMMAND... starts a command in a terminal.
func cmdTerminal(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 3 {
		ts.Fatalf("usage: terminal COLUMNS ROWS COMMAND...")
	}
	t := ts.Value(terminalKey{}).(*terminal)
	size := sizeOf(ts, args)
	t.screen = vt.NewEmulator(int(size.Cols), int(size.Rows))
	t.news, t.done = make(chan struct{}), make(chan struct{})
	path, err := exec.LookPath(args[2])
	ts.Check(err)
	t.cmd = exec.Command(path, args[3:]...)
	t.cmd.Args[0] = args[2]
	t.cmd.Dir = ts.MkAbs(".")
	t.cmd.Env = append(t.env, "TERM=xterm-256color")
	t.line, err = pty.StartWithSize(t.cmd, size)
	ts.Check(err)
	line, screen := t.line, t.screen
	go io.Copy(line, screen) // what a terminal answers when it is asked
	go func() {
		defer close(t.done)
		buf := make([]byte, 32<<10)
		for {
			n, err := line.Read(buf)
			if err != nil {
				return // EIO: nobody has the other side open
			}
			t.mu.Lock()
			screen.Write(buf[:n])
			close(t.news)
			t.news = make(chan struct{})
			t.mu.Unlock()
		}
	}()
}

func sizeOf(ts *testscript.TestScript, args []string) *pty.Winsize {
	columns, err := strconv.ParseUint(args[0], 10, 16)
	ts.Check(err)
	rows, err := strconv.ParseUint(args[1], 10, 16)
	ts.Check(err)
	return &pty.Winsize{Cols: uint16(columns), Rows: uint16(rows)}
}

// look returns what is on the screen, and a channel that is closed when that
// changes.
func (t *terminal) look() (string, <-chan struct{}) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.screen.String(), t.news
}

// close ends what runs in the terminal.
func (t *terminal) close() {
	if t.cmd != nil {
		t.cmd.Process.Kill()
		t.cmd.Wait()
		t.line.Close()
		t.endAnswers()
		<-t.done
		t.cmd = nil
	}
}

// endAnswers ends the goroutine that passes on what the screen answers. The screen's
// own Close tells it by a variable that it reads at the same time.
func (t *terminal) endAnswers() { t.screen.InputPipe().(io.Closer).Close() }

// cmdSee: see REGEXP... waits until all are on the screen of the terminal at the
// same time, "! see REGEXP..." until none is.
func cmdSee(ts *testscript.TestScript, neg bool, args []string) {
	t := ts.Value(terminalKey{}).(*terminal)
	late := time.After(patience)
	for {
		screen, news := t.look()
		met := true
		for _, a := range args {
			met = met && regexp.MustCompile("(?m)"+a).MatchString(screen) != neg
		}
		if met {
			return
		}
		select {
		case <-news:
		case <-late:
			ts.Fatalf("this isn't what was to be seen (%q):\n%s", args, screen)
		}
	}
}

// cmdPress: press KEY... sends keys to the terminal: letters as they are, enter,
// esc and ctrl-X, which is a key of its own.
func cmdPress(ts *testscript.TestScript, neg bool, args []string) {
	t := ts.Value(terminalKey{}).(*terminal)
	for _, a := range args {
		if x, ok := strings.CutPrefix(a, "ctrl-"); ok && len(x) == 1 {
			a = string(x[0] & 0x1f)
		}
		_, err := t.line.WriteString(strings.NewReplacer("enter", "\r", "esc", "\x1b").Replace(a))
		ts.Check(err)
	}
}

// cmdResize: resize COLUMNS ROWS gives the terminal another size.
func cmdResize(ts *testscript.TestScript, neg bool, args []string) {
	t := ts.Value(terminalKey{}).(*terminal)
	size := sizeOf(ts, args)
	t.mu.Lock()
	t.screen.Resize(int(size.Cols), int(size.Rows))
	t.mu.Unlock()
	ts.Check(pty.Setsize(t.line, size))
}

// cmdLeft: left STATUS waits for the end of what runs in the terminal, with that
// exit status, and for the terminal to be as it was before: in its own mode, off
// the other screen.
func cmdLeft(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: left STATUS")
	}
	t := ts.Value(terminalKey{}).(*terminal)
	timer := time.AfterFunc(patience, func() { t.cmd.Process.Signal(syscall.SIGKILL) })
	t.cmd.Wait()
	timer.Stop()
	<-t.done
	if got := strconv.Itoa(t.cmd.ProcessState.ExitCode()); got != args[0] {
		ts.Fatalf("exit status %s, not %s", got, args[0])
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.screen.IsAltScreen() {
		ts.Fatalf("the terminal was left on the other screen")
	}
	t.line.Close()
	t.endAnswers()
	t.cmd = nil
}

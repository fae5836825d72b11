package supervisorctl

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// openTerminal returns both ends of a terminal of its own.
func openTerminal(t *testing.T) (person, program *os.File) {
	t.Helper()
	person, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("no terminals here: %v", err)
	}
	t.Cleanup(func() { person.Close() })
	n, err := unix.IoctlGetInt(int(person.Fd()), unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(int(person.Fd()), unix.TIOCSPTLCK, 0)
	}
	if err != nil {
		t.Skipf("no terminals here: %v", err)
	}
	program, err = os.OpenFile(fmt.Sprint("/dev/pts/", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("no terminals here: %v", err)
	}
	t.Cleanup(func() { program.Close() })
	return person, program
}

// TestTerminal types at the shell: lines are edited, completed and kept, and ^C
// ends what it should.
func TestTerminal(t *testing.T) {
	server := answers{
		"login": "u:p", "getAllProcessInfo": []any{info("web", "web", 20, "RUNNING", "d", 12)}, "getPID": 5, "getProcessInfo": info("web", "web", 20, "", "", 12),
		"GET /logtail/web/stdout": "a log\n",
	}
	socket := listenUnix(t, server)
	dir := filepath.Dir(socket)
	config, history := filepath.Join(dir, "c"), filepath.Join(dir, "h")
	if err := os.WriteFile(config, []byte("[supervisorctl]\nserverurl=unix://"+socket+"\nhistory_file="+history+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(history, []byte("pid all\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	person, program := openTerminal(t)
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := &exec.Cmd{Path: exe, Args: []string{"supervisorctl", "-c", config}, Env: []string{asProgram + "=1"}, Stdin: program, Stdout: program, Stderr: program,
		SysProcAttr: &syscall.SysProcAttr{Setsid: true, Setctty: true}}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	program.Close()
	late := time.AfterFunc(patience, func() { _ = cmd.Process.Kill() })
	defer late.Stop()

	var shown strings.Builder
	read := 0
	await := func(text string) {
		t.Helper()
		for piece := make([]byte, 1024); !strings.Contains(shown.String()[read:], text); {
			n, err := person.Read(piece)
			shown.Write(piece[:n])
			if err != nil {
				t.Fatalf("no %q: %v\n%q", text, err, shown.String())
			}
		}
		read += strings.Index(shown.String()[read:], text) + len(text)
	}
	for _, step := range []struct{ await, typed string }{
		{"Server requires authentication", ""},
		{"Username:", "u\r"},
		{"Password:", "p\r"},
		{"RUNNING   d", ""},
		{"supervisor> ", "\x1b[A\r"}, // the line of the last time
		{"12", ""},
		{"supervisor> ", "pi\tx\x7fw\t\r"}, // completed, and corrected
		{"12", ""},
		{"supervisor> ", "tail -f web\r"},
		{"a log", ""},
		{"supervisor> ", "nosuch\x03"},
	} {
		await(step.await)
		if _, err := person.WriteString(step.typed); err != nil {
			t.Fatal(err)
		}
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("%v\n%q", err, shown.String())
	}
	if text, err := os.ReadFile(history); err != nil || string(text) != "pid all\npid all\npid web \ntail -f web\n" {
		t.Errorf("kept: %q, %v", text, err)
	}
}

package supervisord

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tend/internal/supervisorctl"
)

// TestRealClient has supervisord's own supervisorctl, where it is installed, talk
// to a Server, and compares what it says with what tend's says.
func TestRealClient(t *testing.T) {
	real, err := exec.LookPath("supervisorctl")
	if err != nil {
		t.Skipf("no supervisorctl: %v", err)
	}
	commands := []string{
		"status", "status greek:*", "pid", "pid cat", "version", "avail", "start nolog", "start nolog", "start nope",
		"start missing badquote quick", "stop nolog", "stop nolog", "restart greek:*", "signal HUP cat", "signal BOGUS cat",
		"tail talker stderr", "tail nolog", "maintail -100", "clear all", "reread", "update", "add nope", "remove cat",
		"stop all", "start all", "status", "shutdown", "status",
	}
	// All in one session, as Python takes its time to start.
	input := strings.Join(commands, "\n") + "\nquit\n"
	play := func(run func(args []string, out, errs *bytes.Buffer) int) string {
		f := scenario(t)
		f.pass(3 * time.Second)
		socket := filepath.Join(f.dir, "ctl.sock")
		serveAt(t, NewServer(Options{Daemon: f, Now: f.clock}), socket, nil)
		config := filepath.Join(f.dir, "ctl.conf")
		if err := os.WriteFile(config, []byte("[supervisorctl]\nserverurl=unix://"+socket+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		var out, errs bytes.Buffer
		status := run([]string{"-c", config}, &out, &errs)
		text := strings.ReplaceAll(out.String(), f.dir, "{SCENARIO}")
		return fmt.Sprintf("%s--\n%sexit %d", inFile.ReplaceAllString(text, "file: F line: N"), errs.String(), status)
	}
	env := []string{"HOME=/", "TZ=UTC", "LANG=C.UTF-8", "PATH=" + os.Getenv("PATH")}
	theirs := play(func(args []string, out, errs *bytes.Buffer) int {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		c := exec.CommandContext(ctx, real, args...)
		c.Env, c.Stdin, c.Stdout, c.Stderr = env, strings.NewReader(input), out, errs
		var exit *exec.ExitError
		if err := c.Run(); err != nil && !errors.As(err, &exit) {
			t.Fatal(err)
		}
		return c.ProcessState.ExitCode()
	})
	ours := play(func(args []string, out, errs *bytes.Buffer) int {
		return supervisorctl.Main(append([]string{"supervisorctl"}, args...), strings.NewReader(input), out, errs, env)
	})
	if diff := cmp.Diff(theirs, ours); diff != "" {
		t.Errorf("(-theirs +ours):\n%s", diff)
	}
	t.Logf("%d commands, %d bytes", len(commands), len(theirs))
}

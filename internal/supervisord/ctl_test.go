package supervisord

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tend/internal/supervisorctl"
)

// beforeCtl is what happened before a recorded command and wasn't recorded.
func beforeCtl(f *fake, number string) {
	conf := func(name, text string) { f.write(filepath.Join(f.dir, "conf.d", name), text, false) }
	remove := func(name string) {
		if err := os.Remove(filepath.Join(f.dir, "conf.d", name)); err != nil {
			f.t.Error(err)
		}
	}
	switch number {
	case "071":
		conf("new.conf", "[program:new]\ncommand=/bin/sleep 100000\n[program:newer]\ncommand=/bin/sleep 100000\n")
	case "078":
		conf("new.conf", "[program:new]\ncommand=/bin/sleep 100001\n")
	case "083":
		remove("new.conf")
	case "084":
		conf("new.conf", "[program:new]\ncommand=/bin/sleep 1000\n[program:newer]\ncommand=/bin/sleep 1000\n")
	case "087":
		conf("bad.conf", "[program:bad]\nautostart=maybe\ncommand=/bin/true\n")
	case "089":
		remove("bad.conf")
		remove("new.conf")
	case "107":
		f.until("crasher", "crasher", Fatal)
	case "109":
		f.restarted()
		f.pass(4 * time.Second)
		f.until("backoff", "backoff", Backoff)
	}
}

var (
	pidLine = regexp.MustCompile(`(?m)^(supervisor> )?[1-9]\d*$`)
	inFile  = regexp.MustCompile(`file: \S+ line: \d+`)
	started = regexp.MustCompile(`(?m)^(STARTING|RUNNING|BACKOFF|FATAL|EXITED)`)
	varying = regexp.MustCompile(`(?m)^(backoff|crasher|badexit|oneshot|quick)(\s+).*$`)
	talks   = regexp.MustCompile(`^0(51|52|53|62|64)$`) // what is in logs differs
)

// TestSupervisorctl plays the recorded commands to tend's supervisorctl over a
// Server with a made up Daemon, and compares what they print.
func TestSupervisorctl(t *testing.T) {
	folder := shared(t, "ctl")
	f := scenario(t)
	f.pass(3 * time.Second)
	f.until("backoff", "backoff", Backoff)
	serveAt(t, NewServer(Options{Daemon: f, Now: f.clock}), filepath.Join(f.dir, "ctl.sock"), nil)
	config := filepath.Join(f.dir, "ctl.conf")
	if err := os.WriteFile(config, []byte("[supervisorctl]\nserverurl=unix://"+filepath.Join(f.dir, "ctl.sock")+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(folder, "*.txt"))
	if err != nil || len(files) < 100 {
		t.Fatal(len(files), err)
	}
	same, left := 0, 0
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".txt")
		number := name[:3]
		beforeCtl(f, number)
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		head, _, _ := strings.Cut(string(text), "--- http\n")
		head, stderr, _ := strings.Cut(head, "--- stderr\n")
		head, stdout, _ := strings.Cut(head, "--- stdout\n")
		head, stdin, _ := strings.Cut(head, "--- stdin\n")
		command, exit, _ := strings.Cut(head, "\nexit: ")
		args := strings.Fields(strings.TrimPrefix(command, "$ supervisorctl"))
		if strings.Contains(exit, "interrupted") || strings.Contains(name, "tcp") || strings.Contains(name, "refused") ||
			strings.Contains(name, "nosock") || number >= "113" || strings.Contains(name, "fg_cat") || strings.Contains(name, "fg_nolog") || // whose streams end in any order
			strings.Contains(name, "open") {
			left++
			continue
		}
		f.pass(10 * time.Millisecond)
		var out, errs bytes.Buffer
		status := supervisorctl.Main(append([]string{"supervisorctl", "-c", config}, args...), strings.NewReader(stdin), &out, &errs, []string{"HOME=" + f.dir, "TZ=UTC"})
		mask := func(s string) string {
			s = strings.ReplaceAll(s, filepath.Join(f.dir, "ctl.sock"), "{RUN}/proxy.sock")
			s = strings.ReplaceAll(s, filepath.Join(f.dir, "run"), "{RUN}")
			s = strings.ReplaceAll(s, f.dir, "{SCENARIO}")
			s = uptimes.ReplaceAllString(s, "pid N, uptime U")
			s = dates.ReplaceAllString(s, "DATE")
			s = started.ReplaceAllString(s, "S")
			s = inFile.ReplaceAllString(s, "file: F line: N")
			s = varying.ReplaceAllString(s, "$1 varies")
			if strings.Contains(name, "pid") || strings.Contains(name, "interactive") {
				s = pidLine.ReplaceAllString(s, "PID")
			}
			if talks.MatchString(number) && s != "" {
				s = "LOG"
			}
			if strings.HasSuffix(command, " all") { // in the order in which they were done
				lines := strings.Split(s, "\n")
				slices.Sort(lines)
				s = strings.Join(lines, "\n")
			}
			return s
		}
		want := fmt.Sprintf("exit %s\n%s\n--\n%s", strings.TrimSpace(exit), mask(stdout), mask(stderr))
		got := fmt.Sprintf("exit %d\n%s\n--\n%s", status, mask(out.String()), mask(errs.String()))
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-supervisord +tend):\n%s", name, diff)
			continue
		}
		same++
	}
	if same < 100 {
		t.Errorf("only %d commands print the same", same)
	}
	t.Logf("%d commands print the same, %d were left out", same, left)
}

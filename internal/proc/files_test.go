package proc

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestFiles: further descriptors are what they are meant to be, whatever numbers
// they have here, and nothing else is open.
func TestFiles(t *testing.T) {
	inEachMode(t, func(t *testing.T, w *world) {
		var ours [3]int
		for i, number := range []int{0, 4, 900} {
			fd, err := unix.MemfdCreate("", 0)
			if err != nil {
				t.Fatal(err)
			}
			unix.Write(fd, fmt.Appendf(nil, "file %d\n", i))
			unix.Seek(fd, 0, io.SeekStart)
			ours[i], err = unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, number)
			unix.Close(fd)
			if err != nil {
				t.Fatal(err)
			}
			defer unix.Close(ours[i])
		}
		a := w.attempt(nil, "/bin/sh", "-c", `cat <&3; cat <&5; cat <&9; cd /proc/self/fd; echo *; echo $$ $LISTEN_PID $WATCHDOG_PID`)
		a.Files = map[int]int{5: ours[0], 3: ours[1], 9: ours[2]}
		a.OwnPID = []string{"LISTEN_PID", "WATCHDOG_PID"}
		a.Limits = []Rlimit{{unix.RLIMIT_NOFILE, 20, 20}}
		adj := 5
		a.OOMScoreAdj = &adj // which opens a file on the way
		got := strings.Split(w.output(a), "\n")
		if len(got) < 5 {
			t.Fatalf("%q", got)
		}
		if files := strings.Join(got[:3], ","); files != "file 1,file 0,file 2" {
			t.Errorf("%q", files)
		}
		if got[3] != "0 1 2 3 4 5 9" { // 4 is the folder that the shell reads
			t.Errorf("open: %s", got[3])
		}
		pids := strings.Fields(got[4])
		if len(pids) != 3 || pids[0] != pids[1] || pids[1] != pids[2] {
			t.Errorf("pids: %q", got[4])
		}
	})
}

// TestFilesFailure: what fails is named, whether or not a pid was waited for.
func TestFilesFailure(t *testing.T) {
	w := open(t, Config{})
	a := w.attempt(nil, "surely-not-there")
	a.OwnPID = []string{"LISTEN_PID"}
	if _, err := w.Spawn(a); err == nil || !strings.Contains(err.Error(), "not found in PATH") {
		t.Errorf("%v", err)
	}
	f, err := os.Open("/dev/null")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	a = w.attempt(nil, "/bin/true")
	a.Files = map[int]int{50: int(f.Fd())}
	a.Limits = []Rlimit{{unix.RLIMIT_NOFILE, 20, 20}}
	_, err = w.Spawn(a)
	var e *SpawnError
	if !errors.As(err, &e) || e.Step != StepStdio || !strings.Contains(err.Error(), "descriptor 50") {
		t.Errorf("%v", err)
	}
}

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"

	"tend/api"
)

// patience is how long a script waits for something that must come. It is long,
// since machines are slow at times; nothing is waited for that doesn't come.
const patience = 30 * time.Second

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"tend":  main,
		"child": child,
	})
}

// TestScripts runs testdata/script/*.txt: the real binary, real processes, one
// script a promise of the contract.
//
// Commands beside those of testscript: "event REGEXP..." waits for the next events
// that match, in any order, "logline NAME REGEXP" for a line of a program's log, "gone PID" (or
// a file FILE.pid with it) for the end of a process, "sig NAME" signals the daemon, "setpid VAR NAME" takes an instance's pid, "same VAR
// NAME" and "differs VAR NAME" compare it, "replace FILE OLD NEW" edits in place.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: filepath.Join("testdata", "script"),
		Setup: func(env *testscript.Env) error {
			env.Setenv("HOME", env.WorkDir)
			env.Setenv("TEND_SOCKET", filepath.Join(env.WorkDir, ".tend", "tend.sock"))
			env.Values[cursorKey{}] = new(uint64)
			// A script that fails must leave nothing running.
			env.Defer(func() { killDaemon(filepath.Join(env.WorkDir, ".tend", "tend.pid")) })
			return nil
		},
		Condition: func(cond string) (bool, error) {
			switch cond {
			case "root":
				return os.Geteuid() == 0, nil
			}
			return false, fmt.Errorf("unknown condition %q", cond)
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"event":   cmdEvent,
			"logline": cmdLogline,
			"gone":    cmdGone,
			"sig":     cmdSig,
			"setpid":  cmdSetpid,
			"same":    cmdSame,
			"differs": cmdDiffers,
			"replace": cmdReplace,
			"tmpfs":   cmdTmpfs,
		},
	})
}

type cursorKey struct{}

func client(ts *testscript.TestScript) *api.Client { return api.Dial(ts.Getenv("TEND_SOCKET")) }

// cmdEvent waits for events after the last one that was waited for: one for each
// argument, in any order. The text that is matched is "NAME KIND FROM>TO MESSAGE".
func cmdEvent(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: event REGEXP...")
	}
	var want []*regexp.Regexp
	for _, a := range args {
		want = append(want, regexp.MustCompile(a))
	}
	cursor := ts.Value(cursorKey{}).(*uint64)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var seen []string
	for {
		for e, err := range client(ts).Events(ctx, *cursor, true) {
			if err != nil {
				if !errors.Is(err, api.ErrNoDaemon) {
					seen = append(seen, err.Error())
				}
				break
			}
			*cursor = e.Seq
			name := e.Name
			if name == "" {
				name = e.Program
			}
			text := fmt.Sprintf("%s %s %s>%s %s", name, e.Kind, e.From, e.To, e.Message)
			for _, d := range e.Diagnostics {
				text += "\n" + d.Text
			}
			seen = append(seen, text)
			if i := slices.IndexFunc(want, func(re *regexp.Regexp) bool { return re.MatchString(text) }); i >= 0 {
				if want = slices.Delete(want, i, i+1); len(want) == 0 {
					return
				}
			}
		}
		// The daemon may not be there yet: its socket is the event to wait for.
		if !awaitSocket(ctx, ts.Getenv("TEND_SOCKET")) {
			ts.Fatalf("no event matches %q; seen:\n%s", want, strings.Join(seen, "\n"))
		}
	}
}

// awaitSocket waits until something answers at the socket.
func awaitSocket(ctx context.Context, socket string) bool {
	for ctx.Err() == nil {
		if _, err := api.Dial(socket).Daemon(ctx); err == nil {
			return true
		}
		select {
		case <-ctx.Done():
		case <-time.After(10 * time.Millisecond):
		}
	}
	return false
}

func cmdLogline(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: logline NAME REGEXP")
	}
	want := regexp.MustCompile("(?m)" + args[1])
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var seen []string
	for l, err := range client(ts).Logs(ctx, args[0], api.LogOptions{Lines: 1000, Follow: true}) {
		if err != nil {
			ts.Fatalf("no line of %s matches %q: %v; seen:\n%s", args[0], args[1], err, strings.Join(seen, ""))
		}
		seen = append(seen, l.Text)
		if want.MatchString(l.Text) {
			return
		}
	}
	ts.Fatalf("no line of %s matches %q; seen:\n%s", args[0], args[1], strings.Join(seen, ""))
}

// cmdGone waits for the end of a process that isn't ours.
func cmdGone(ts *testscript.TestScript, neg bool, args []string) {
	for _, arg := range args {
		if strings.HasSuffix(arg, ".pid") {
			arg = ts.ReadFile(arg)
		}
		pid, err := strconv.Atoi(strings.TrimSpace(arg))
		ts.Check(err)
		if neg {
			if unix.Kill(pid, 0) != nil {
				ts.Fatalf("process %d is gone", pid)
			}
			continue
		}
		fd, err := unix.PidfdOpen(pid, 0)
		if err == unix.ESRCH {
			continue
		}
		ts.Check(err)
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(patience.Milliseconds()))
		unix.Close(fd)
		ts.Check(err)
		if n == 0 {
			ts.Fatalf("process %d is still there", pid)
		}
	}
}

// cmdSig sends a signal to the daemon.
func cmdSig(ts *testscript.TestScript, neg bool, args []string) {
	data, err := os.ReadFile(ts.MkAbs(".tend/tend.pid"))
	ts.Check(err)
	pid, err := strconv.Atoi(strings.TrimSpace(string(data)))
	ts.Check(err)
	ts.Check(unix.Kill(pid, unix.SignalNum("SIG"+args[0])))
}

func pidOf(ts *testscript.TestScript, name string) int {
	list, err := client(ts).Instances(context.Background())
	ts.Check(err)
	for _, i := range list {
		if i.Name == name {
			return i.PID
		}
	}
	ts.Fatalf("no instance %q", name)
	return 0
}

func cmdSetpid(ts *testscript.TestScript, neg bool, args []string) {
	pid := pidOf(ts, args[1])
	if pid == 0 {
		ts.Fatalf("%s has no process", args[1])
	}
	ts.Setenv(args[0], strconv.Itoa(pid))
}

func cmdSame(ts *testscript.TestScript, neg bool, args []string) {
	if now := strconv.Itoa(pidOf(ts, args[1])); now != ts.Getenv(args[0]) {
		ts.Fatalf("%s had pid %s and has %s", args[1], ts.Getenv(args[0]), now)
	}
}

func cmdDiffers(ts *testscript.TestScript, neg bool, args []string) {
	if now := strconv.Itoa(pidOf(ts, args[1])); now == ts.Getenv(args[0]) {
		ts.Fatalf("%s still has pid %s", args[1], now)
	}
}

func cmdReplace(ts *testscript.TestScript, neg bool, args []string) {
	file := ts.MkAbs(args[0])
	data, err := os.ReadFile(file)
	ts.Check(err)
	if !strings.Contains(string(data), args[1]) {
		ts.Fatalf("%s does not hold %q", args[0], args[1])
	}
	ts.Check(os.WriteFile(file, []byte(strings.ReplaceAll(string(data), args[1], args[2])), 0o644))
}

// cmdTmpfs mounts a small file system: "tmpfs DIR SIZE".
func cmdTmpfs(ts *testscript.TestScript, neg bool, args []string) {
	dir := ts.MkAbs(args[0])
	ts.Check(os.MkdirAll(dir, 0o755))
	ts.Check(unix.Mount("tmpfs", dir, "tmpfs", 0, "size="+args[1]))
	ts.Defer(func() { unix.Unmount(dir, unix.MNT_DETACH) })
}

// killDaemon ends the daemon of a script with everything that it runs.
func killDaemon(pidFile string) {
	data, err := os.ReadFile(pidFile)
	if err != nil {
		return
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(data)))
	if err != nil {
		return
	}
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return
	}
	defer unix.Close(fd)
	for range 2 { // the second one kills what is left
		unix.PidfdSendSignal(fd, unix.SIGTERM, nil, 0)
	}
	unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(patience.Milliseconds()))
}

// child is a program to be guarded that a shell can't play.
func child() {
	mode := os.Args[1]
	arg := func() int {
		n, err := strconv.Atoi(os.Args[2])
		if err != nil {
			panic(err)
		}
		return n
	}
	switch mode {
	case "lines": // N numbered lines, then stay
		for i := range arg() {
			fmt.Printf("line %d\n", i+1)
		}
	case "no-newline": // N bytes without a line's end, then stay
		block := []byte(strings.Repeat("x", 1<<16))
		for n := arg(); n > 0; n -= len(block) {
			os.Stdout.Write(block[:min(n, len(block))])
		}
	case "ignore-term":
		signal.Ignore(syscall.SIGTERM)
	case "files": // tell the open descriptors
		entries, _ := os.ReadDir("/proc/self/fd")
		fmt.Printf("%d descriptors\n", len(entries)-1) // one of them is the folder's
	default:
		panic("unknown mode " + mode)
	}
	fmt.Println("ready")
	for {
		unix.Pause()
	}
}

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"

	"tend/api"
	"tend/internal/xmlrpc"
)

// patience is how long a script waits for something that must come. It is long,
// since machines are slow at times; nothing is waited for that doesn't come.
// TEND_TEST_PATIENCE=5m is for a machine that is always slow, as an emulated one.
var patience = 30 * time.Second

func TestMain(m *testing.M) {
	if d, err := time.ParseDuration(os.Getenv("TEND_TEST_PATIENCE")); err == nil {
		patience = d
	}
	testscript.Main(m, map[string]func(){
		"tend":  main,
		"child": child,

		"supervisord": main, // a link to the binary

		"tortured": tortured,
	})
}

// TestScripts runs testdata/script/*.txt: the real binary, real processes, one
// script a promise of the contract.
//
// Commands beside those of testscript: "event REGEXP..." waits for the next events
// that match, in any order, "logline NAME REGEXP" for a line of a program's log, "holds FILE REGEXP..." for what
// others write to a file, "gone PID" (or
// a file FILE.pid with it) for the end of a process, "sig NAME" signals tend, "sig NAME daemon" the daemon under its guard, "setpid VAR NAME" takes an instance's pid, "same VAR
// NAME" and "differs VAR NAME" compare it, "replace FILE OLD NEW" edits in place,
// "port VAR" finds a free TCP port, "late PROGRAM" lets a dead daemon have missed a run,
// "exits STATUS COMMAND..." is exec of a command whose exit status is that number, and
// "daemonpid VAR" takes the daemon's pid. "terminal", "see", "press", "resize" and
// "left" are in terminal_test.go.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Files: scripts(t),
		Setup: func(env *testscript.Env) error {
			env.Setenv("HOME", env.WorkDir)
			env.Setenv("TEND_SOCKET", filepath.Join(env.WorkDir, ".tend", "tend.sock"))
			env.Values[cursorKey{}] = &cursor{lives: make(map[time.Time]bool)}
			shown := &terminal{env: slices.Clone(env.Vars)}
			env.Values[terminalKey{}] = shown
			// A script that fails must leave nothing running.
			env.Defer(func() {
				shown.close()
				killDaemon(filepath.Join(env.WorkDir, ".tend", "tend.pid"))
				killLeftovers(env.WorkDir)
			})
			return nil
		},
		Condition: func(cond string) (bool, error) {
			switch cond {
			case "root":
				return os.Geteuid() == 0, nil
			case "unshare": // unshare(1) may make a pid namespace
				return exec.Command("unshare", "--pid", "--fork", "--mount-proc", "true").Run() == nil, nil
			}
			return false, fmt.Errorf("unknown condition %q", cond)
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"event":   cmdEvent,
			"logline": cmdLogline,
			"holds":   cmdHolds,
			"gone":    cmdGone,
			"sig":     cmdSig,
			"setpid":  cmdSetpid,
			"same":    cmdSame,
			"differs": cmdDiffers,
			"replace": cmdReplace,
			"tmpfs":   cmdTmpfs,
			"port":    cmdPort,
			"late":    cmdLate,
			"nofile":  cmdNofile,

			"exits":     cmdExits,
			"daemonpid": cmdDaemonpid,

			"freeport":    cmdFreeport,
			"fetch":       cmdFetch,
			"served":      cmdServed,
			"certificate": cmdCertificate,

			"terminal": cmdTerminal,
			"see":      cmdSee,
			"press":    cmdPress,
			"resize":   cmdResize,
			"left":     cmdLeft,
		},
	})
}

// scripts returns the scripts to play. The short tests run with the race detector,
// and leave out those in which nothing happens at the same time that doesn't in
// others: what words mean, and what is said of them. The terminal that is played for
// top has a race of its own.
func scripts(t *testing.T) []string {
	all, err := filepath.Glob(filepath.Join("testdata", "script", "*.txt"))
	if err != nil || len(all) == 0 {
		t.Fatalf("there are no scripts: %v", err)
	}
	if !testing.Short() {
		return all
	}
	static := regexp.MustCompile(`^(after|check|disabled|doctor|drain|exec|exit-|fault-(command|config|log-folder|state)|form-|graph|hazards|help|json|key-(command|env|instances|later|log|process|user)|names|original|run-command|supervisord-(ctl|life|name|reload)|task|top|typo)`)
	return slices.DeleteFunc(all, func(file string) bool { return static.MatchString(filepath.Base(file)) })
}

type cursorKey struct{}

// cursor is the last event that a script has seen. A daemon that begins anew
// numbers its events from the first one on; by when it has started it is known
// whether it is another one.
type cursor struct {
	seq   uint64
	lives map[time.Time]bool
}

// isNew reports whether e has not been seen before, and moves the cursor there.
func (c *cursor) isNew(e api.Event) bool {
	if e.Kind == "daemon.started" && !c.lives[e.At] {
		c.lives[e.At] = true
		c.seq = min(c.seq, e.Seq-1)
	}
	if e.Seq <= c.seq {
		return false
	}
	c.seq = e.Seq
	return true
}

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
	cursor := ts.Value(cursorKey{}).(*cursor)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var seen []string
	for {
		for e, err := range client(ts).Events(ctx, 0, true) {
			if errors.As(err, new(api.Missed)) {
				continue // of a daemon that has died
			}
			if err != nil {
				if !errors.Is(err, api.ErrNoDaemon) {
					seen = append(seen, err.Error())
				}
				break
			}
			if !cursor.isNew(e) {
				continue
			}
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
	awaitSocket(ctx, ts.Getenv("TEND_SOCKET"))
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

// cmdHolds waits until each of some expressions matches in a file.
func cmdHolds(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: holds FILE REGEXP...")
	}
	var want []*regexp.Regexp
	for _, a := range args[1:] {
		want = append(want, regexp.MustCompile("(?m)"+a))
	}
	file := ts.MkAbs(args[0])
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	ts.Check(err)
	defer unix.Close(fd)
	_, err = unix.InotifyAddWatch(fd, filepath.Dir(file), unix.IN_MODIFY|unix.IN_CREATE|unix.IN_MOVED_TO)
	ts.Check(err)
	end := time.Now().Add(patience)
	for {
		data, _ := os.ReadFile(file) // it may come yet
		want = slices.DeleteFunc(want, func(re *regexp.Regexp) bool { return re.Match(data) })
		if len(want) == 0 {
			return
		}
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(time.Until(end).Milliseconds()))
		if err != unix.EINTR {
			ts.Check(err)
		}
		if n == 0 && !time.Now().Before(end) {
			ts.Fatalf("%s doesn't hold %q:\n%s", args[0], want, data)
		}
		var events [4096]byte
		unix.Read(fd, events[:])
	}
}

// cmdNofile waits until no file matches a pattern.
func cmdNofile(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: nofile PATTERN")
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for {
		names, err := filepath.Glob(ts.MkAbs(args[0]))
		ts.Check(err)
		if len(names) == 0 {
			return
		}
		select {
		case <-ctx.Done():
			ts.Fatalf("still there: %v", names)
		case <-time.After(10 * time.Millisecond):
		}
	}
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
		// Where its group lives on, Linux 6.1 says EINVAL: the number isn't free, and
		// no process has it.
		if err == unix.ESRCH || err == unix.EINVAL {
			continue
		}
		ts.Check(err)
		n, err := 0, unix.EINTR
		for err == unix.EINTR {
			n, err = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(patience.Milliseconds()))
		}
		unix.Close(fd)
		ts.Check(err)
		if n == 0 {
			ts.Fatalf("process %d is still there", pid)
		}
	}
}

// cmdSig sends a signal to the tend that was started, or to the daemon under it:
// "sig NAME [daemon]".
func cmdSig(ts *testscript.TestScript, neg bool, args []string) {
	file := ".tend/tend.pid"
	if len(args) == 2 && args[1] == "daemon" {
		file = ".tend/daemon.pid"
	}
	data, err := os.ReadFile(ts.MkAbs(file))
	ts.Check(err)
	pid, err := strconv.Atoi(strings.TrimSpace(string(data)))
	ts.Check(err)
	ts.Check(unix.Kill(pid, unix.SignalNum("SIG"+args[0])))
	if args[0] == "STOP" {
		awaitStopped(ts, pid)
	}
}

// awaitStopped waits until each thread of a process has stopped: one that was
// running when the signal came may do some more.
func awaitStopped(ts *testscript.TestScript, pid int) {
	for end := time.Now().Add(patience); ; {
		running := false
		files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
		for _, file := range files {
			b, _ := os.ReadFile(file)
			_, after, _ := strings.Cut(string(b), ") ")
			running = running || !strings.HasPrefix(after, "T")
		}
		if !running {
			return
		}
		if time.Now().After(end) {
			ts.Fatalf("process %d doesn't stop", pid)
		}
		runtime.Gosched()
	}
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
	switch now := strconv.Itoa(pidOf(ts, args[1])); now {
	case "0":
		ts.Fatalf("%s has no process", args[1])
	case ts.Getenv(args[0]):
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

// cmdExits runs a command that must end with a given status: "exits STATUS COMMAND...".
func cmdExits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits STATUS COMMAND...")
	}
	err := ts.Exec(args[1], args[2:]...)
	status := 0
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		status = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if strconv.Itoa(status) != args[0] {
		ts.Fatalf("exit status %d, not %s", status, args[0])
	}
}

// cmdDaemonpid sets a variable to the pid of the daemon as we see it, which is
// another one than its own when it lives in a pid namespace, and $MAIN to the pid
// of the tend that was started, as that sees it.
func cmdDaemonpid(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: daemonpid VAR")
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	socket := ts.Getenv("TEND_SOCKET")
	if !awaitSocket(ctx, socket) {
		ts.Fatalf("no daemon answers on %s", socket)
	}
	d, err := client(ts).Daemon(ctx)
	ts.Check(err)
	// Not by the socket's credentials: it may be one that a dead daemon has made.
	ts.Setenv(args[0], strconv.Itoa(outside(ts.Getenv("HOME"), d.PID)))
	if main, err := os.ReadFile(ts.MkAbs(".tend/tend.pid")); err == nil {
		ts.Setenv("MAIN", strings.TrimSpace(string(main)))
	}
}

// outside returns the pid that we know a process by that a script has started
// and that has pid inside its pid namespace; 0 if there is none.
func outside(home string, pid int) int {
	files, _ := filepath.Glob("/proc/[0-9]*/status")
	for _, file := range files {
		dir := filepath.Dir(file)
		env, _ := os.ReadFile(filepath.Join(dir, "environ"))
		status, _ := os.ReadFile(file)
		_, after, _ := strings.Cut(string(status), "\nNSpid:")
		line, _, _ := strings.Cut(after, "\n")
		pids := strings.Fields(line)
		if len(pids) > 0 && pids[len(pids)-1] == strconv.Itoa(pid) && slices.Contains(strings.Split(string(env), "\x00"), "HOME="+home) {
			n, _ := strconv.Atoi(filepath.Base(dir))
			return n
		}
	}
	return 0
}

// killLeftovers kills what a script has started and left: testscript gives each
// one a home of its own, which tells whose it is.
func killLeftovers(home string) {
	files, _ := filepath.Glob("/proc/[0-9]*/environ")
	for _, file := range files {
		env, err := os.ReadFile(file)
		if err != nil || !slices.Contains(strings.Split(string(env), "\x00"), "HOME="+home) {
			continue
		}
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file))); err == nil && pid != os.Getpid() {
			unix.Kill(pid, unix.SIGKILL)
		}
	}
}

// killDaemon ends the daemon of a script with everything that it runs.
func killDaemon(pidFile string) {
	data, err := os.ReadFile(pidFile)
	if err != nil {
		return
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(data)))
	if err != nil || pid == 1 { // 1 is that of a pid namespace, and ours is another's
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

// manager does what systemd does for a unit with FileDescriptorStoreMax=,
// KillMode=process and Restart=on-failure (sd_notify(3), sd_listen_fds(3)).
func manager(command []string) {
	check := func(err error) {
		if err != nil {
			panic(err)
		}
	}
	dir, err := os.Getwd()
	check(err)
	check(unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0))
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Net: "unixgram", Name: filepath.Join(dir, "notify")})
	check(err)
	type stored struct {
		name string
		file *os.File
	}
	var mu sync.Mutex
	var store []stored
	go func() {
		buf, rights := make([]byte, 4096), make([]byte, unix.CmsgSpace(4*16))
		for {
			n, rn, _, _, err := socket.ReadMsgUnix(buf, rights)
			if err != nil {
				return
			}
			var fds []int
			if list, err := unix.ParseSocketControlMessage(rights[:rn]); err == nil && len(list) > 0 {
				fds, _ = unix.ParseUnixRights(&list[0])
			}
			text := "\n" + string(buf[:n]) + "\n"
			_, after, _ := strings.Cut(text, "\nFDNAME=")
			name, _, _ := strings.Cut(after, "\n")
			mu.Lock()
			if strings.Contains(text, "\nFDSTOREREMOVE=1\n") {
				store = slices.DeleteFunc(store, func(s stored) bool { return s.name == name && s.file.Close() == nil })
			}
			if strings.Contains(text, "\nFDSTORE=1\n") {
				for _, fd := range fds {
					store = append(store, stored{name, os.NewFile(uintptr(fd), name)})
				}
			}
			mu.Unlock()
		}
	}()
	for {
		cmd := exec.Command("sh", append([]string{"-c", `LISTEN_PID=$$ exec "$@"`, "sh"}, command...)...)
		cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
		var names []string
		mu.Lock()
		for _, s := range store {
			names = append(names, s.name)
			cmd.ExtraFiles = append(cmd.ExtraFiles, s.file)
		}
		cmd.Env = append(os.Environ(), "NOTIFY_SOCKET="+filepath.Join(dir, "notify"), "FDSTORE=100",
			fmt.Sprintf("LISTEN_FDS=%d", len(names)), "LISTEN_FDNAMES="+strings.Join(names, ":"))
		err := cmd.Start()
		mu.Unlock() // of the files that are passed none is closed before
		check(err)
		if cmd.Wait() == nil {
			return
		}
		for { // what was its child is ours now
			if pid, err := unix.Wait4(-1, nil, unix.WNOHANG, nil); pid <= 0 || err != nil {
				break
			}
		}
	}
}

// use has so many megabytes in memory, and uses the processor for a tenth of a
// second at least.
func use(megabytes int) {
	memory := make([]byte, megabytes<<20)
	var used unix.Rusage
	for round := byte(1); time.Duration(used.Utime.Nano()) < 100*time.Millisecond; round++ {
		for i := 0; i < len(memory); i += os.Getpagesize() {
			memory[i] = round
		}
		unix.Getrusage(unix.RUSAGE_SELF, &used)
	}
	fmt.Println("used", len(memory))
	os.Exit(3)
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
	case "use": // have N MB in memory, use the processor for a tenth of a second, and exit with status 3
		use(arg())
	case "ignore-term":
		signal.Ignore(syscall.SIGTERM)
	case "traps": // tell which signal comes, and end
		signals := make(chan os.Signal, 1)
		signal.Notify(signals, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGUSR1, syscall.SIGUSR2)
		fmt.Println("ready")
		fmt.Println("got", unix.SignalName((<-signals).(syscall.Signal)))
		return
	case "tell": // say TEXT... by sd_notify(3)
		tell(os.Args[2:])
		return
	case "handed-over": // print what was handed over by sd_listen_fds(3), and stay
		handedOver()
	case "deaf": // ask the daemon for PATH..., a connection each, and never read the answers
		for _, path := range os.Args[2:] {
			c, err := net.Dial("unix", os.Getenv("TEND_SOCKET"))
			if err != nil {
				panic(err)
			}
			fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: tend\r\n\r\n", path)
			defer c.Close()
		}
	case "manager": // start COMMAND... as a service manager that stores descriptors
		manager(os.Args[2:])
		return
	case "stream": // connect to ADDRESS again and again
		stream(os.Args[2])
		return
	case "request": // connect to ADDRESS once, and print the answer
		answer, err := request(os.Args[2])
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		fmt.Print(answer)
		return
	case "hold": // connect to ADDRESS until somebody writes to FIFO
		hold(os.Args[2], os.Args[3])
		return
	case "occupy": // listen on ADDRESS, and answer
		occupy(os.Args[2])
	case "leftover": // end without removing the socket
		l, err := net.ListenUnix("unix", &net.UnixAddr{Name: os.Getenv("TEND_SOCKET")})
		if err != nil {
			panic(err)
		}
		l.SetUnlinkOnClose(false)
		return
	case "call": // call METHOD with strings, in which \n is a line's end, of the supervisord at ADDRESS, and print its answer
		c, err := xmlrpc.NewClient(os.Args[2], nil)
		if err != nil {
			panic(err)
		}
		var params []any
		for _, p := range os.Args[4:] {
			params = append(params, strings.ReplaceAll(p, `\n`, "\n"))
		}
		answer, err := c.Call(context.Background(), os.Args[3], params...)
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Println(answer)
		return
	case "accept": // accept connections from standard input, and write a line with our pid to each
		l, err := net.FileListener(os.Stdin)
		if err != nil {
			panic(err)
		}
		fmt.Println("listening at", l.Addr())
		for {
			c, err := l.Accept()
			if err != nil {
				panic(err)
			}
			fmt.Fprintln(c, os.Getpid())
			c.Close()
		}
	case "dial": // print what is said at ADDRESS, a path or host:port
		network := "tcp"
		if strings.HasPrefix(os.Args[2], "/") {
			network = "unix"
		}
		c, err := net.Dial(network, os.Args[2])
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		io.Copy(os.Stdout, c)
		return
	case "webhook": // tell the port into PIPE, and into REQUESTS what is posted, a line each; the first post is refused
		webhook(os.Args[2], os.Args[3])
		return
	case "garbage": // say to the daemon what no client would
		for _, text := range []string{
			"", "\x00\xff\x00", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "GET", "GET / HTTP/9.9\r\n\r\n",
			"GET /v1/programs/%zz/../..//logs?lines=-1&follow=9 HTTP/1.1\r\nHost: x\r\n\r\n",
			"POST /v1/reload HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n{",
			"POST /v1/programs/*/stop HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\n\x00{[",
			"GET / HTTP/1.1\r\nX: " + strings.Repeat("x", 1<<20),
		} {
			c, err := net.Dial("unix", os.Getenv("TEND_SOCKET"))
			if err != nil {
				panic(err)
			}
			io.WriteString(c, text) // the daemon may have heard enough
			c.(*net.UnixConn).CloseWrite()
			io.Copy(io.Discard, c) // to its end
			c.Close()
		}
		return
	default:
		panic("unknown mode " + mode)
	}
	fmt.Println("ready")
	for {
		unix.Pause()
	}
}

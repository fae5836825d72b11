// Package guard is the parent that must never die: a process that starts the
// daemon, starts it again should it die, and meanwhile keeps what would die with
// it. It is systemd's FDSTORE and a subreaper in small, and does next to nothing
// else, so that it has next to nothing to die of.
//
// [Main] is the guard, [Dial] the daemon's end of the socket between the two.
// The guard
//
//   - holds descriptors for the daemon under names, and gives them back to the
//     next one: the pipes of programs, so that what they print isn't lost when
//     they end while nobody reads; the listening socket, so that nobody is
//     refused; the lock;
//   - is the subreaper of all programs: those whose daemon has died become its
//     children. It reaps them, and remembers how they ended until a daemon says
//     that it has put that aside: those that lead a process group, and those of
//     which it holds a pidfd under a name that begins with [ProcessPrefix];
//   - passes signals on, as messages, so that none comes too early and none is
//     merged with another one, and again to the next daemon those that one hasn't
//     heard before its end;
//   - ends with the daemon when that has said goodbye, with its exit status, and
//     starts it anew when that is what it has asked for.
//
// It decides nothing about programs and knows none of them. Should the guard be
// killed, the daemon finds the socket closed.
package guard

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// FDVariable is the variable of the environment in which the daemon finds the
// number of its end of the socket.
const FDVariable = "TEND_GUARD_FD"

// ProcessPrefix begins the names under which the guard holds pidfds.
const ProcessPrefix = "pidfd "

// ReadyVariable is the one in which the guard, and then the first daemon, finds
// the number of a descriptor by which somebody waits for that one.
const ReadyVariable = "TEND_READY_FD"

const (
	// A daemon that dies again and again is started after waits that double.
	firstWait = 100 * time.Millisecond
	longWait  = 5 * time.Second
	calm      = 10 * time.Second // up this long: it doesn't die again and again

	quiet = 2 * time.Second // without a word: what begins a daemon is over, see Trim

	// remembered bounds the ends that wait for a daemon; the oldest are forgotten.
	remembered = 1 << 16
)

// Become makes this process the guard of a daemon with the given arguments, the
// name of the program first. It keeps its pid. ready, unless it is 0, is a
// descriptor for the daemon's use. It returns only when it fails.
func Become(args []string, ready int) error {
	exe, err := os.Executable()
	if err != nil {
		return fmt.Errorf("cannot become the guard: %w", err)
	}
	env := os.Environ()
	if ready > 0 {
		if _, err := unix.FcntlInt(uintptr(ready), unix.F_SETFD, 0); err != nil {
			return fmt.Errorf("cannot become the guard: descriptor %d: %w", ready, err)
		}
		env = append(env, fmt.Sprintf("%s=%d", ReadyVariable, ready))
	}
	// A process of its own making, without all that reading a command line takes.
	argv := append([]string{args[0], Command}, args[1:]...)
	if err := syscall.Exec(exe, argv, append(env, mark)); err != nil {
		return fmt.Errorf("cannot become the guard: %s: %w", exe, err)
	}
	return nil
}

// Command is the first argument of a guard; those of the daemon follow.
const Command = "guard"

// mark tells a guard that was made by Become from somebody who typed its name.
const mark = "TEND_GUARD=1"

// Is reports whether this process is to be a guard: then it calls Main.
func Is() bool {
	return len(os.Args) > 2 && os.Args[1] == Command && os.Getenv("TEND_GUARD") == "1"
}

// A guard is the state of the process. Its loop owns it.
type guard struct {
	args  []string
	ready int    // for the first daemon; 0: none
	exe   string // path of the binary
	exeFD int    // the binary itself: the path may be another one's by now

	kept   map[string]int // descriptors by name
	ends   []End
	lastNo uint64

	lastSignal uint64

	daemon  int // pid; 0: none lives
	link    *link
	inbox   chan incoming
	silent  bool   // its socket has been read to its end
	held    []sent // signals that came when no daemon was there to hear
	told    []sent // those that a daemon was told, and hasn't said that it has heard
	hello   bool   // it hears
	wasUp   bool   // some daemon was ready once
	bye     bool
	again   bool // it ends to be started anew
	started time.Time
	deaths  int // in a row
	died    string
}

// sent is a signal with its number, by which it is known who has heard it.
type sent struct {
	no     uint64
	signal syscall.Signal
}

// incoming is a message of the daemon, or the end of its socket.
type incoming struct {
	from *link
	text string
	fd   int // -1: none
	end  bool
}

// Main is the guard. It returns its exit status.
func Main() int {
	// A first collection costs more, in tables, than there is to collect for long.
	debug.SetGCPercent(50)
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		fmt.Fprintln(os.Stderr, "tend: cannot be a subreaper:", err)
		return 1
	}
	g := &guard{
		args: append([]string{os.Args[0]}, os.Args[2:]...), exeFD: -1,
		kept: make(map[string]int), inbox: make(chan incoming, 16),
	}
	fmt.Sscan(os.Getenv(ReadyVariable), &g.ready)
	os.Unsetenv(ReadyVariable)
	os.Unsetenv("TEND_GUARD")
	if g.ready > 0 {
		unix.CloseOnExec(g.ready)
	}
	var err error
	if g.exe, err = os.Executable(); err == nil {
		g.exeFD, err = unix.Open("/proc/self/exe", unix.O_PATH|unix.O_CLOEXEC, 0)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "tend: cannot find its own binary:", err)
		return 1
	}
	signals := make(chan os.Signal, 64)
	signal.Notify(signals, unix.SIGCHLD, unix.SIGHUP, unix.SIGUSR1, unix.SIGUSR2, unix.SIGTERM, unix.SIGINT, unix.SIGQUIT)
	signal.Ignore(unix.SIGPIPE)
	return g.run(signals)
}

// run starts the daemon and takes what comes, until the daemon has ended for
// good.
func (g *guard) run(signals <-chan os.Signal) int {
	again := time.NewTimer(0)
	tidy := time.NewTimer(quiet)
	for {
		select {
		case <-again.C:
			if err := g.start(); err != nil {
				fmt.Fprintln(os.Stderr, "tend: cannot start the daemon:", err)
				if !g.wasUp {
					return 1
				}
				g.deaths++
				again.Reset(g.wait())
			}
		case s := <-signals:
			if s != unix.SIGCHLD {
				g.lastSignal++
				g.held = append(g.held, sent{g.lastSignal, s.(syscall.Signal)})
				g.pass()
				break
			}
			status, ended := g.reap()
			if ended {
				g.hearOut()
			}
			switch {
			case !ended:
			case g.bye || !g.again && !g.wasUp:
				return status
			case g.again:
				// As the first one: should it fail, it has said why to who asked.
				g.again, g.wasUp, g.deaths, g.died = false, false, 0, ""
				again.Reset(0)
			default:
				g.deaths++
				if time.Since(g.started) >= calm {
					g.deaths = 1
				}
				again.Reset(g.wait())
			}
		case <-tidy.C:
			Trim()
		case m := <-g.inbox:
			tidy.Reset(quiet)
			g.take(m)
		}
	}
}

// take does what a message asks for, if the daemon is the one that sent it.
func (g *guard) take(m incoming) {
	switch {
	case m.from == g.link && m.end:
		g.silent = true
	case m.from == g.link:
		g.onMessage(m.text, m.fd)
	case m.fd >= 0:
		unix.Close(m.fd)
	}
}

// hearOut takes what a daemon has said before it ended: its end may be seen before
// its goodbye. What is in the socket can be read after a shutdown, and then its
// end, even if a child that hasn't executed anything yet has the other end open.
func (g *guard) hearOut() {
	g.link.shutdown()
	for !g.silent {
		g.take(<-g.inbox)
	}
}

// wait returns how long to wait before the next start: nothing after the first
// death in a row.
func (g *guard) wait() time.Duration {
	if g.deaths <= 1 {
		return 0
	}
	return min(firstWait<<min(g.deaths-2, 10), longWait)
}

// start starts a daemon and tells it what there is for it.
func (g *guard) start() error {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	at := max(3, g.ready+1)
	files := make([]uintptr, at+1)
	for i := range files {
		files[i] = ^uintptr(0)
	}
	files[0], files[1], files[2], files[at] = 0, 1, 2, uintptr(pair[1])
	env := append(os.Environ(), fmt.Sprintf("%s=%d", FDVariable, at))
	if g.ready > 0 {
		files[g.ready] = uintptr(g.ready)
		env = append(env, fmt.Sprintf("%s=%d", ReadyVariable, g.ready))
	}
	// In a process group of its own, or Ctrl-C would reach it twice.
	pid, err := syscall.ForkExec(g.binary(), g.args, &syscall.ProcAttr{
		Env: env, Files: files, Sys: &syscall.SysProcAttr{Setpgid: true},
	})
	unix.Close(pair[1])
	if err != nil {
		unix.Close(pair[0])
		return err
	}
	if g.ready > 0 {
		unix.Close(g.ready) // its end is waited for
		g.ready = 0
	}
	g.daemon, g.link, g.silent, g.hello, g.bye, g.started = pid, newLink(pair[0]), false, false, false, time.Now()
	go receive(g.link, g.inbox)
	return nil
}

// binary returns what is executed: by its path as long as that is still the
// file, since it names the process in lists, else by the descriptor.
func (g *guard) binary() string {
	var byPath, byFD unix.Stat_t
	if unix.Stat(g.exe, &byPath) == nil && unix.Fstat(g.exeFD, &byFD) == nil && byPath.Dev == byFD.Dev && byPath.Ino == byFD.Ino {
		return g.exe
	}
	return fmt.Sprintf("/proc/self/fd/%d", g.exeFD)
}

// receive takes the daemon's messages until its socket ends.
func receive(l *link, inbox chan<- incoming) {
	for {
		text, fds, err := l.receive()
		if err != nil {
			l.close()
			inbox <- incoming{from: l, fd: -1, end: true}
			return
		}
		m := incoming{from: l, text: text, fd: -1}
		for i, fd := range fds {
			if i == 0 {
				m.fd = fd
			} else {
				unix.Close(fd)
			}
		}
		inbox <- m
	}
}

// reap takes the ends of children. It reports the daemon's.
func (g *guard) reap() (status int, ended bool) {
	for {
		// Only a look: what is to be known of it can be read while it is a zombie.
		info, usage, err := waitid(unix.P_ALL, 0, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT)
		if err != nil || info.pid == 0 {
			return status, ended
		}
		end := End{PID: int(info.pid), At: time.Now(), User: time.Duration(usage.Utime.Nano()), System: time.Duration(usage.Stime.Nano()), MaxRSS: usage.Maxrss << 10}
		if info.code == cldExited {
			end.Code = int(info.status)
		} else {
			end.Signal, end.Core = syscall.Signal(info.status), info.code == cldDumped
		}
		var leads bool
		end.Start, leads = born(end.PID)
		end.Inode = inode(end.PID)
		named := !leads && g.names(end.PID)
		waitid(unix.P_PID, end.PID, unix.WEXITED|unix.WNOHANG)
		switch {
		case end.PID == g.daemon:
			g.daemon, g.died, ended = 0, end.String(), true
			status = end.Code
			if end.Signal != 0 {
				status = 128 + int(end.Signal)
			}
		case leads || named: // programs lead a process group, strangers seldom do
			g.remember(end)
		}
	}
}

// names reports whether one of the descriptors held is a pidfd of a process that
// isn't reaped yet.
func (g *guard) names(pid int) bool {
	for name, fd := range g.kept {
		if strings.HasPrefix(name, ProcessPrefix) && pidOf(fd) == pid {
			return true
		}
	}
	return false
}

// pidOf returns the process that a pidfd is of, 0 or less where there is none.
func pidOf(fd int) (pid int) {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/self/fdinfo/%d", fd))
	for line := range strings.Lines(string(b)) {
		if value, ok := strings.CutPrefix(line, "Pid:"); ok {
			fmt.Sscan(value, &pid)
		}
	}
	return pid
}

func (g *guard) remember(e End) {
	g.lastNo++
	e.No = g.lastNo
	if len(g.ends) >= remembered {
		g.ends = slices.Delete(g.ends, 0, remembered/2)
	}
	g.ends = append(g.ends, e)
	if g.hello {
		g.link.post("ended " + e.encode())
	}
}

// pass gives the daemon the signals that wait for it.
func (g *guard) pass() {
	if !g.hello || g.daemon == 0 {
		return
	}
	for _, s := range g.held {
		g.link.post(fmt.Sprintf("signal %d %d", int(s.signal), s.no))
	}
	g.told, g.held = append(g.told, g.held...), nil
}

// onMessage does what the daemon asks for.
func (g *guard) onMessage(text string, fd int) {
	verb, rest, _ := strings.Cut(text, " ")
	if fd >= 0 && verb != "keep" && verb != "binary" {
		unix.Close(fd)
	}
	switch verb {
	case "hello":
		if g.daemon != 0 { // else what waits is for the next one
			g.greet()
		}
	case "ready":
		g.wasUp = true
	case "heard":
		var no uint64
		fmt.Sscan(rest, &no)
		g.told = slices.DeleteFunc(g.told, func(s sent) bool { return s.no <= no })
	case "hold":
		g.hello = false
		g.link.post("holding")
	case "keep":
		if old, ok := g.kept[rest]; ok {
			unix.Close(old)
			delete(g.kept, rest)
		}
		if fd >= 0 {
			g.kept[rest] = fd
		}
	case "drop":
		if old, ok := g.kept[rest]; ok {
			unix.Close(old)
			delete(g.kept, rest)
		}
	case "taken":
		var no uint64
		fmt.Sscan(rest, &no)
		g.ends = slices.DeleteFunc(g.ends, func(e End) bool { return e.No == no })
		if len(g.ends) == 0 {
			g.ends = nil
		}
	case "binary":
		if fd >= 0 {
			unix.Close(g.exeFD)
			g.exe, g.exeFD = rest, fd
		}
	case "bye":
		g.bye = true
	case "again":
		g.again = true
	}
}

// greet tells a daemon that hears now what there is for it.
func (g *guard) greet() {
	names := make([]string, 0, len(g.kept))
	for name := range g.kept {
		names = append(names, name)
	}
	for batch := range slices.Chunk(names, maxFDs) {
		fds := make([]int, len(batch))
		for i, name := range batch {
			// The daemon may drop one before this is sent.
			fd, err := unix.FcntlInt(uintptr(g.kept[name]), unix.F_DUPFD_CLOEXEC, 3)
			if err != nil {
				fd = -1
			}
			fds[i] = fd
		}
		g.link.give(batch, fds)
	}
	for _, e := range g.ends {
		g.link.post("ended " + e.encode())
	}
	g.link.post("begin " + g.died)
	g.died = ""
	g.hello = true
	g.held, g.told = append(g.told, g.held...), nil // it knows those that it has heard already
	g.pass()
}

// born returns when a process was started, in clock ticks since the machine's
// boot, and whether it leads a process group (proc_pid_stat(5)).
func born(pid int) (start uint64, leads bool) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, true
	}
	i := strings.LastIndexByte(string(b), ')')
	f := strings.Fields(string(b[i+1:]))
	if len(f) < 20 {
		return 0, true
	}
	var group int
	fmt.Sscan(f[2], &group)
	fmt.Sscan(f[19], &start)
	return start, group == pid
}

// inode returns the inode of a process in pidfs, 0 where there is none: before
// Linux 6.9 all have the same.
func inode(pid int) uint64 {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return 0
	}
	defer unix.Close(fd)
	var fs unix.Statfs_t
	var st unix.Stat_t
	if unix.Fstatfs(fd, &fs) != nil || fs.Type != unix.PID_FS_MAGIC || unix.Fstat(fd, &st) != nil {
		return 0
	}
	return st.Ino
}

// errClosed is what a link says whose other end is gone.
var errClosed = errors.New("the other end is gone")

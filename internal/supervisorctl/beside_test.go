package supervisorctl

import (
	"bufio"
	"bytes"
	"errors"
	goflag "flag"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

var flagBeside = goflag.Bool("beside", false, "compare with the real supervisorctl, command by command")

// patience is how long a test waits for what has to come.
const patience = 60 * time.Second

// daemon is a real supervisord with the scenario, in a folder of its own.
type daemon struct {
	t    *testing.T
	dir  string
	port string
	cmd  *exec.Cmd
	done chan struct{}

	mu    sync.Mutex
	lines []string // of its log
	more  chan struct{}
}

// newDaemon makes the folder of a daemon.
func newDaemon(t *testing.T) *daemon {
	scenario := shared(t, "scenario")
	d := &daemon{t: t, dir: t.TempDir(), more: make(chan struct{})}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, d.port, _ = net.SplitHostPort(l.Addr().String())
	l.Close()
	for _, sub := range []string{"run", "conf.d"} {
		if err := os.Mkdir(filepath.Join(d.dir, sub), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"supervisord.conf", "listener.py"} {
		text, err := os.ReadFile(filepath.Join(scenario, name))
		if err != nil {
			t.Fatal(err)
		}
		d.write(name, strings.ReplaceAll(string(text), "19001", d.port))
	}
	d.write("ctl.conf", "[supervisorctl]\nserverurl=unix://%(here)s/run/s.sock\n")
	return d
}

func (d *daemon) write(name, text string) {
	if err := os.WriteFile(filepath.Join(d.dir, name), []byte(text), 0o644); err != nil {
		d.t.Fatal(err)
	}
}

func (d *daemon) remove(name string) {
	if err := os.Remove(filepath.Join(d.dir, name)); err != nil {
		d.t.Fatal(err)
	}
}

var environ = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/", "LANG=C.UTF-8", "TZ=UTC", "PYTHONIOENCODING=utf-8"}

// start starts supervisord and waits until the scenario has settled.
func (d *daemon) start(path string) {
	d.cmd = exec.Command(path, "-c", filepath.Join(d.dir, "supervisord.conf"))
	d.cmd.Env = environ
	log, err := d.cmd.StdoutPipe()
	if err != nil {
		d.t.Fatal(err)
	}
	if err := d.cmd.Start(); err != nil {
		d.t.Fatal(err)
	}
	d.done = make(chan struct{})
	go func() {
		defer close(d.done)
		for lines := bufio.NewScanner(log); lines.Scan(); {
			d.mu.Lock()
			d.lines = append(d.lines, lines.Text())
			close(d.more)
			d.more = make(chan struct{})
			d.mu.Unlock()
		}
		_ = d.cmd.Wait()
	}()
	d.t.Cleanup(func() {
		_ = d.cmd.Process.Signal(syscall.SIGTERM)
		d.ended()
	})
	d.settled(0)
}

// ended waits until the daemon is gone.
func (d *daemon) ended() {
	select {
	case <-d.done:
	case <-time.After(patience):
		_ = d.cmd.Process.Kill()
		d.t.Errorf("supervisord %d didn't end; its programs may be left", d.cmd.Process.Pid)
	}
}

// mark returns a place in the log.
func (d *daemon) mark() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.lines)
}

// settled waits for what the scenario's programs come to, in the log behind a
// mark.
func (d *daemon) settled(mark int) {
	for _, line := range []string{
		"success: cat entered RUNNING", "success: talker entered RUNNING", "success: stubborn entered RUNNING", "success: alpha entered RUNNING",
		"success: pair_01 entered RUNNING", "success: listener entered RUNNING", "success: comm entered RUNNING",
		"exited: badexit", "exited: oneshot", "gave up: crasher entered FATAL",
	} {
		d.await(mark, line)
	}
}

func (d *daemon) await(mark int, text string) {
	d.t.Helper()
	late := time.After(patience)
	for {
		d.mu.Lock()
		more := d.more
		for _, line := range d.lines[mark:] {
			if strings.Contains(line, text) {
				d.mu.Unlock()
				return
			}
		}
		d.mu.Unlock()
		select {
		case <-more:
		case <-d.done:
			d.t.Fatalf("supervisord ended before %q:\n%s", text, strings.Join(d.lines, "\n"))
		case <-late:
			d.t.Fatalf("no %q in the log of supervisord", text)
		}
	}
}

// step is one command, carried out by both.
type step struct {
	args   string
	stdin  string
	before func(d *daemon) // what happens first, for each of them
	after  func(d *daemon)

	flags     []string // instead of -c ctl.conf
	interrupt string   // SIGINT comes when that was shown; stdin stays open
	log       bool     // what is shown is a log: only that there is something counts
	sorted    bool     // the order of lines isn't fixed
	noStderr  bool     // Python says more there
	retry     bool     // supervisord breaks some connections while it shuts down
}

// outcome is what came of it.
type outcome struct {
	status         int
	stdout, stderr string
}

// run carries out a step by the program at path, or by ours.
func (d *daemon) run(path string, ours bool, s step) outcome {
	flags := s.flags
	if flags == nil {
		flags = []string{"-c", "ctl.conf"}
	}
	args := append([]string{path}, flags...)
	args = append(args, strings.Fields(s.args)...)
	for i := range args {
		args[i] = strings.NewReplacer("{PORT}", d.port, "{DIR}", d.dir).Replace(args[i])
	}
	// The environment is shown in errors, so it is the same for both.
	cmd := &exec.Cmd{Path: path, Args: args, Dir: d.dir, Env: append(slices.Clone(environ), asProgram+"=1")}
	if ours {
		cmd.Path, _ = os.Executable()
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // no terminal
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	stdin, _ := cmd.StdinPipe()
	stdout, _ := cmd.StdoutPipe()
	if err := cmd.Start(); err != nil {
		d.t.Error(err)
		return outcome{}
	}
	late := time.AfterFunc(patience, func() { _ = cmd.Process.Kill() })
	defer late.Stop()
	_, _ = io.WriteString(stdin, s.stdin)
	if s.interrupt == "" {
		stdin.Close()
	}
	var out bytes.Buffer
	interrupted := s.interrupt != ""
	for piece := make([]byte, 4096); ; {
		n, err := stdout.Read(piece)
		out.Write(piece[:n])
		if s.interrupt != "" && strings.Contains(out.String(), s.interrupt) {
			s.interrupt = ""
			_ = cmd.Process.Signal(os.Interrupt)
			if !ours {
				// Python sees it only with the next byte if it wasn't reading yet.
				stdin.Close()
			}
		}
		if err != nil {
			break
		}
	}
	err := cmd.Wait()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		d.t.Error(err)
	}
	return outcome{cmd.ProcessState.ExitCode(), d.mask(out.String(), s, interrupted), d.mask(stderr.String(), s, interrupted)}
}

// masks are what differs from one run to the next.
var masks = []struct {
	re *regexp.Regexp
	by string
}{
	{regexp.MustCompile(`pid \d+, uptime [0-9:, days]+`), "pid N, uptime U"},
	{regexp.MustCompile(`[A-Z][a-z]{2} \d\d \d\d:\d\d [AP]M`), "DATE"},
	{regexp.MustCompile(`file: \S+ line: \d+`), "file: F line: N"},
	{regexp.MustCompile(`(?m)^((?:\S.*> )*)[1-9]\d*$`), "${1}N"},
	// What is restarted for ever, or ends soon, is sometimes in one state and
	// sometimes in another.
	{regexp.MustCompile(`(?m)^((?:\S.*> )?(?:backoff|crasher|badexit|oneshot|quick) ).*$`), "$1 (varies)"},
}

func (d *daemon) mask(text string, s step, interrupted bool) string {
	text = strings.NewReplacer(d.dir, "{DIR}", d.port, "{PORT}").Replace(text)
	for _, m := range masks {
		text = m.re.ReplaceAllString(text, m.by)
	}
	if s.log && text != "" {
		header := ""
		if strings.HasPrefix(text, "==>") {
			header, _, _ = strings.Cut(text, "\n")
		}
		end := ""
		// Where SIGINT finds it within its own reading, supervisorctl takes it for
		// an error of the connection, and ends without this. TestRecorded has it.
		if strings.HasSuffix(text, "\n\n") && !interrupted {
			end = " and an empty line"
		}
		text = header + " LOG" + end
	}
	if s.sorted {
		lines := strings.Split(text, "\n")
		slices.Sort(lines)
		// backoff may be between two attempts, and then isn't stopped.
		// oneshot may end before it is seen to run.
		lines = slices.DeleteFunc(lines, func(l string) bool {
			return l == "backoff: stopped" || l == "badexit: stopped" || strings.HasPrefix(l, "oneshot: ")
		})
		text = strings.Join(lines, "\n")
	}
	return text
}

// TestBesideSupervisorctl runs the real supervisorctl and ours side by side,
// each with a real supervisord of its own in the same state, and compares what
// they print and exit with.
func TestBesideSupervisorctl(t *testing.T) {
	if !*flagBeside {
		t.Skip("minutes of real daemons, on demand: make test-supervisorctl")
	}
	supervisord, err := exec.LookPath("supervisord")
	if err != nil {
		t.Skipf("supervisord isn't installed: %v", err)
	}
	real, err := exec.LookPath("supervisorctl")
	if err != nil {
		t.Skipf("supervisorctl isn't installed: %v", err)
	}
	theirs, ours := newDaemon(t), newDaemon(t)
	both := func(do func(d *daemon)) {
		var all sync.WaitGroup
		for _, d := range []*daemon{theirs, ours} {
			all.Go(func() { do(d) })
		}
		all.Wait()
	}
	theirs.start(supervisord)
	ours.start(supervisord)

	compared := 0
	for i, s := range steps() {
		t.Run(fmt.Sprintf("%03d %s", i+1, strings.Join(append(slices.Clone(s.flags), s.args), " ")), func(t *testing.T) {
			if s.before != nil {
				both(s.before)
			}
			var want, got outcome
			compare := func() {
				both(func(d *daemon) {
					if d == ours {
						got = d.run(real, true, s)
					} else {
						want = d.run(real, false, s)
					}
				})
			}
			compare()
			for try := 0; s.retry && want != got && try < 5; try++ {
				compare()
			}
			if s.after != nil {
				both(s.after)
			}
			if s.noStderr || s.interrupt != "" {
				want.stderr, got.stderr = "", ""
			}
			if want != got {
				t.Errorf("supervisorctl exits with %d\n%s%s\nours with %d\n%s%s", want.status, want.stdout, want.stderr, got.status, got.stdout, got.stderr)
			}
			compared++
		})
	}
	t.Logf("%d commands compared", compared)
}

// steps are the commands. Later ones build on what earlier ones did.
func steps() []step {
	list := func(lines string) []step {
		var steps []step
		for _, line := range strings.Split(strings.TrimSpace(lines), "\n") {
			line = strings.TrimSpace(line)
			// The processes of a group end in any order.
			steps = append(steps, step{args: line, sorted: strings.HasSuffix(line, ":*")})
		}
		return steps
	}
	conf := func(name, text string) func(*daemon) {
		return func(d *daemon) { d.write("conf.d/"+name, text) }
	}
	noConf := func(names ...string) func(*daemon) {
		return func(d *daemon) {
			for _, name := range names {
				d.remove("conf.d/" + name)
			}
		}
	}
	tcp := func(more ...string) []string {
		return append([]string{"-c", "ctl.conf", "-s", "http://127.0.0.1:{PORT}"}, more...)
	}
	url := func(url string) []string { return []string{"-c", "ctl.conf", "-s", url} }
	const two = "[program:new]\ncommand=/bin/sleep %d\n[program:newer]\ncommand=/bin/sleep %d\n"

	var all []step
	add := func(s ...step) { all = append(all, s...) }

	add(list(`
		status
		status cat
		status greek:*
		status greek:
		status greek:alpha talker
		status nope
		status nope:*
		status cat nope
		status nope cat greek:beta
		status all
		status cat all
		status talker cat talker
		pid
		pid cat
		pid nolog
		pid all
		pid nope
		pid nope cat nolog
		pid greek:*
		version
		version x
		avail
		avail x
		help
		help start
		help nope
		help start stop
		help help
		?
		?stop
		help EOF
		EOF
		quit
		exit now
		!ls
		-
		start nolog
		start nolog
		start nope
		start missing
		start notexec
		start badquote
		start quick
		start greek:*
		start nope:*
		start
		start greek:beta nolog nope
		start nope:* nope missing quick
		stop nolog
		stop nolog
		stop nope
		stop greek:*
		stop greek:*
		stop nope:*
		stop nope: cat nolog
		stop
		stop stubborn
		start cat
		restart cat
		restart greek:*
		restart nolog
		restart nope
		restart nope:*
		restart
		signal CONT cat
		signal CONT greek:*
		signal 18 cat
		signal SIGCONT cat
		signal cont cat
		signal BOGUS cat
		signal BOGUS greek:*
		signal CONT nope
		signal CONT crasher
		signal CONT
		signal
		signal CONT nope:*
		signal CONT nope cat crasher
		tail nolog
		tail nope
		tail talker bad
		tail talker BAD
		tail a b c d
		tail
		tail -f
		tail -5
		tail -x talker
		tail - talker
		tail -99999999999 talker
		tail greek:*
		tail -f nope
		tail -f nope:*
		tail -f nolog stderr
		maintail x
		maintail -x
		maintail -5 x
		clear talker
		clear nope
		clear greek:*
		clear greek:alpha nope cat
		clear
		reread x
		reread
		update
		update nope
		update nope cat all
		add
		remove
		fg nope
		fg
		fg cat nolog
		fg missing
		nosuchcommand
		status;start
		start-x
		shutdown x
		reload x
		open foo
		open
		open unix:///nonexistent/socket
		open http://127.0.0.1:{PORT}
		open unix://{DIR}/run/s.sock`)...)
	all[len(all)-1].sorted = true
	add(
		step{args: "signal CONT all", sorted: true},
		step{args: "clear all", sorted: true},
		step{args: "tail talker", log: true, before: func(d *daemon) {
			mark := d.mark() // its logs have just been cleared
			d.await(mark, "out-")
			d.await(mark, "err-")
		}}, step{args: "tail -20 talker", log: true}, step{args: "tail talker stderr", log: true}, step{args: "tail talker STDERR", log: true}, step{args: "tail talker stdout stderr", log: true}, step{args: "tail --5 talker", log: true},
		step{args: "maintail", log: true}, step{args: "maintail -100", log: true}, step{args: "maintail -1_00", log: true},
		step{args: "tail -f talker", log: true, interrupt: "out-"},
		step{args: "tail -f talker stderr", log: true, interrupt: "err-"},
		step{args: "maintail -f", log: true, interrupt: "talker"},
	)
	// The log of cat holds what was typed before, so that fg shows it in any case.
	add(
		step{args: "fg cat", stdin: "typed line\n", interrupt: "typed line\n"},
		step{args: "fg nope", stdin: "x\n"},
	)
	add(
		step{args: "reread", before: conf("new.conf", fmt.Sprintf(two, 100000, 100000))},
		step{args: "avail"}, step{args: "add new"}, step{args: "add new"}, step{args: "add nope"}, step{args: "add new nope cat"},
		step{args: "update"}, step{args: "remove new"}, step{args: "remove cat nope"},
		step{args: "reread", before: conf("new.conf", "[program:new]\ncommand=/bin/sleep 100001\n")},
		step{args: "update"}, step{args: "stop new"}, step{args: "remove new"}, step{args: "remove nope"},
		step{args: "update", before: noConf("new.conf")},
		step{args: "update newer", before: conf("new.conf", fmt.Sprintf(two, 1000, 1000))},
		step{args: "update nope"}, step{args: "update all"},
		step{args: "update new", before: conf("new.conf", fmt.Sprintf(two, 1001, 1001))},
		step{args: "update nope newer"},
		step{args: "reread", before: conf("bad.conf", "[program:bad]\nautostart=maybe\ncommand=/bin/true\n")},
		step{args: "update"},
		step{args: "update", before: noConf("bad.conf", "new.conf")},
		step{args: "avail"},
	)
	// The shell, from a pipe.
	add(
		step{stdin: "status cat\nversion\nquit\n"},
		step{args: "-i", stdin: "pid\n"},
		step{args: "-i pid cat"},
		step{stdin: ""},
		step{stdin: "\n\n   \nnosuch\nhelp stop\n?\nexit\nversion\n"},
		step{stdin: "start\nstart nope\npid cat nope\nEOF\nversion\n"},
		step{stdin: "shutdown\nn\nreload\nN\nshutdown\n\nshutdown x\nversion"},
		step{stdin: "shutdown"},
		step{stdin: "open foo\nopen unix:///nonexistent\nstatus\nopen unix://x\nfg cat\n"},
		step{stdin: "status cat\r\nversion\r\n"},
		step{args: "-i status cat", flags: tcp(), stdin: "user\nthepassword\n", noStderr: true},
		step{args: "-i status cat", flags: tcp(), stdin: "user\nwrong\nuser\nthepassword\n", noStderr: true},
		step{args: "-i status cat", flags: tcp(), stdin: "user\n", noStderr: true},
		step{args: "-i status cat", flags: tcp()},
		step{flags: tcp(), stdin: "user\nthepassword\npid cat\n", noStderr: true},
		step{args: "-i shutdown"}, step{args: "-i reload", stdin: "no\n"},
		step{interrupt: "supervisor> ", log: true},
	)
	// Other servers, and none.
	add(
		step{args: "status", flags: tcp()},
		step{args: "pid", flags: tcp()},
		step{args: "reread", flags: tcp()},
		step{args: "shutdown", flags: tcp()},
		step{args: "status cat", flags: tcp("-u", "user", "-p", "thepassword")},
		step{args: "status cat", flags: tcp("--username=user", "--pass", "thepassword")},
		step{args: "status cat", flags: tcp("-u", "user", "-p", "wrong")},
		step{args: "status cat", flags: tcp("-p", "thepassword")},
		step{args: "status cat", flags: tcp("-u", "user", "-p", "wrong", "-i"), stdin: "user\nthepassword\n", noStderr: true},
		step{args: "tail -f talker", flags: tcp("-u", "user", "-p", "thepassword"), log: true, interrupt: "out-"},
		step{args: "status", flags: url("http://127.0.0.1:{PORT}/with/path?x")},
	)
	for _, address := range []string{"unix:///tmp/nonexistent.sock", "http://127.0.0.1:1", "http://nohost.invalid:1", "localhost:9001", "https://localhost", "http://h:x", "http://h:99999", "unix://{DIR}", "unix://{DIR}/ctl.conf", "unix://{DIR}/ctl.conf/x", "unix://"} {
		for _, args := range []string{"status", "status x", "start x", "stop x", "restart x", "signal CONT x", "pid", "avail", "reread", "update", "add x", "remove x", "tail x", "maintail", "clear x", "fg x", "version", "reload", "shutdown", "open " + address} {
			if args == "status" || address == "unix:///tmp/nonexistent.sock" || address == "http://127.0.0.1:1" && slices.Contains([]string{"pid", "reread", "shutdown"}, args) {
				add(step{args: args, flags: url(address)})
			}
		}
	}
	// The command line and the configuration file.
	for _, flags := range [][]string{
		{"-h"}, {"--help"}, {"-?"}, {"--he"}, {"-c", "nope", "-h"}, {"-z"}, {"-hz"}, {"--foo"}, {"-c"}, {"-s"}, {"-s", "foo"}, {"-s", "unix:"}, {"-sunix://x", "-c", "nope"}, {"-s", "1:2"},
		{"-c", "nope"}, {"-c", "{DIR}"}, {"-c", "ctl.conf", "-c", "ctl.conf"}, {"-ii"}, {"-i", "--interactive"}, {"--i=1"}, {"--s"}, {"--p"}, {"--serverurl"}, {"--serverurl=x"}, {"--conf=ctl.conf", "-ic", "x"},
		{"-r"}, {"--history-file", "x"}, {"--history_file"}, {"-c", "ctl.conf", "--", "-x"}, {"-c", "ctl.conf", "-"}, {"-c", "ctl.conf", ""}, {"-c", "ctl.conf", "status  cat"}, {"-c", "ctl.conf", "status", "cat", "-i"},
		{"-cctl.conf", "pid", "cat"}, {"-c", ""}, {"--", "version"}, {"-u", "a", "-u", "b"}, {"-u", "", "-u", "b"}, {"-pa", "-c", "ctl.conf", "version"},
	} {
		add(step{flags: flags})
	}
	for _, c := range []struct{ text, args string }{
		{"", "version"},
		{"[supervisor]\n", "version"},
		{"[supervisorctl]\n", "help quit"},
		{"[SUPERVISORCTL]\n", "help quit"},
		{"[supervisorctl]\nserverurl=unix://run/s.sock\n", "pid cat"},
		{"[supervisorctl]\nserverurl = unix://%(here)s/./run/../run/s.sock ; the socket\nprompt= # none\n", "pid cat"},
		{"# x\n; y\n[a]\nb=c\n d\n[supervisorctl] rest\n  # z\nSERVERURL : unix://%(here)s/no\nserverurl\t=\tunix://%(here)s/run/s.sock\n", "pid cat"},
		{"[supervisorctl]\nserverurl=unix://%(here)s/no\n[other]\nserverurl=x\n[supervisorctl]\nserverurl=unix://%(here)s/run/s.sock\n", "pid cat"},
		{"[DEFAULT]\nserverurl=unix://%(here)s/run/s.sock\n[supervisorctl]\n", "pid cat"},
		{"[supervisorctl]\nserverurl=unix://%(here)s/run/s.so%(ENV_K)s\n", "pid cat"},
		{"[supervisorctl]\nserverurl=unix://%(ENV_HOME)s/x%%y\n", "pid cat"},
		{"[supervisorctl]\nserverurl=unix://%(here)-3s%(here).1s\n", "pid cat"},
		{"[supervisorctl]\nserverurl=unix:/~/x\n", "pid cat"},
		{"[supervisorctl]\nserverurl=unix://~/x/../y\n", "pid cat"},
		{"[supervisorctl]\nserverurl=%Y\n", "version"},
		{"[supervisorctl]\nserverurl=100%\n", "version"},
		{"[supervisorctl]\nserverurl=%(here\n", "version"},
		{"[supervisorctl]\nserverurl=%(here)\n", "version"},
		{"[supervisorctl]\nserverurl=%(here)d\n", "version"},
		{"[supervisorctl]\nserverurl=%(here)c\n", "version"},
		{"[supervisorctl]\nserverurl=%(here)y\n", "version"},
		{"[supervisorctl]\nprompt=%(here)s\n", "version"},
		{"[supervisorctl]\nusername=user\npassword=a%b\n", "version"},
		{"[supervisorctl]\nserverurl=http://127.0.0.1:{PORT}\nusername=user\npassword=thepassword\n", "pid cat"},
		{"[supervisorctl]\nserverurl=http://127.0.0.1:{PORT}\nusername=%(ENV_TZ)s\npassword=x\n", "pid cat"},
		{"[supervisorctl]\nserverurl=http://127.0.0.1:{PORT}\nusername=user\n", "-p thepassword pid cat"},
		{"[supervisorctl]\nserverurl=unix://%(here)s\n  more\n\n  lines\n", "version"},
		{"[supervisorctl]\nserverurl=\n", "version"},
	} {
		add(step{args: c.args, flags: []string{"-c", "own.conf"}, before: func(d *daemon) { d.write("own.conf", strings.ReplaceAll(c.text, "{PORT}", d.port)) }})
	}
	for _, text := range []string{"a=b\n", "[supervisorctl]\nnothing\n", "[supervisorctl]\n=x\n", "\uFEFF[supervisorctl]\n", "[supervisorctl]\na=\xff\n", "[]\n"} {
		// Here Python shows a traceback: only the exit status is the same.
		add(step{args: "version", flags: []string{"-c", "own.conf"}, before: func(d *daemon) { d.write("own.conf", text) }, noStderr: true})
	}
	add(step{args: "help", flags: []string{"-c", "own.conf"}, stdin: "", before: func(d *daemon) {
		d.write("own.conf", "[supervisorctl]\nprompt=my shell\nhistory_file=%(here)s/history\nserverurl=unix://%(here)s/run/s.sock\n")
	}}, step{flags: []string{"-c", "own.conf"}, stdin: "pid cat\n"},
		step{flags: []string{}, args: "version"}) // supervisord.conf here is found
	// All, and the end.
	add(
		step{args: "stop all", sorted: true}, step{args: "stop all", sorted: true},
		step{args: "start all", sorted: true}, step{args: "start all crasher", sorted: true}, step{args: "restart all", sorted: true},
	)
	marks := make(map[string]int)
	var mu sync.Mutex
	add(
		step{args: "reload", before: func(d *daemon) {
			mark := d.mark()
			mu.Lock()
			defer mu.Unlock()
			marks[d.dir] = mark
		}, after: func(d *daemon) {
			mu.Lock()
			mark := maps.Clone(marks)[d.dir]
			mu.Unlock()
			d.settled(mark)
		}},
		step{args: "status"},
		step{args: "shutdown"},
	)
	for _, args := range []string{"shutdown", "reload", "status", "pid", "start cat", "avail", "reread", "update", "add x", "remove x"} {
		add(step{args: args, retry: true})
	}
	add(
		step{args: "status", before: (*daemon).ended},
		step{args: "shutdown"},
		step{stdin: "status\nstart x\nshutdown\ny\nquit\n"},
	)
	return all
}

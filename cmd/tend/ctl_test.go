package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// A ctlStep is a command for supervisorctl.
type ctlStep struct {
	args   string
	stdin  string
	files  map[string]string // written before, "" is removed
	follow string            // it is interrupted when it has shown that
	sorted bool              // the order of its lines isn't fixed
}

// TestSupervisorctl has Debian's supervisorctl command the real supervisord and
// tend, and ours command tend, and compares what the three print and end with.
func TestSupervisorctl(t *testing.T) {
	if testing.Short() {
		t.Skip("takes its time, beside the real supervisord")
	}
	t.Parallel()
	const config = servers + `
[inet_http_server]
port = 127.0.0.1:{PORT}
username = me
password = {SHA}8843d7f92416211de9ebb963ff4ce28125932878
[include]
files = conf.d/*.conf
[program:talker]
command = sh -c "echo out1; echo out2; echo err1 >&2; exec sleep 1000"
[program:idle]
command = sleep 1000
autostart = false
[program:quick]
command = sh -c "exit 3"
startsecs = 4
startretries = 0
autostart = false
[program:missing]
command = ./no-such-program
autostart = false
startretries = 0
[program:folder]
command = /tmp
autostart = false
startretries = 0
[program:quote]
command = sh -c "unbalanced
autostart = false
startretries = 0
[program:nolog]
command = sleep 1000
stdout_logfile = NONE
autostart = false
[program:a]
command = sleep 1000
[program:b]
command = sleep 1000
[group:grp]
programs = a,b
`
	real := debian(t, "supervisorctl")
	mine, err := exec.LookPath("tend")
	if err != nil {
		t.Fatal(err)
	}
	peers := []*peer{startCtlPeer(t, true, config), startCtlPeer(t, false, config), startCtlPeer(t, false, config)}
	each := func(do func(i int, p *peer)) {
		var all sync.WaitGroup
		for i, p := range peers {
			all.Go(func() { do(i, p) })
		}
		all.Wait()
	}
	each(func(_ int, p *peer) { p.await("success: talker ", "success: a ", "success: b ") })
	who := []string{"supervisorctl with supervisord", "supervisorctl with tend", "ours with tend"}
	for n, s := range ctlSteps() {
		answers := make([]string, len(peers))
		each(func(i int, p *peer) {
			for name, text := range s.files {
				p.write(name, text)
			}
			command := []string{real}
			if i == 2 {
				command = []string{mine, "supervisorctl"}
			}
			answers[i] = p.ctl(command, s)
		})
		for i := range peers[1:] {
			if answers[0] != answers[i+1] {
				t.Errorf("%d: %s %q\n%s: %s\n%s: %s", n+1, s.args, s.stdin, who[0], answers[0], who[i+1], answers[i+1])
			}
		}
	}
	t.Logf("%d commands compared", len(ctlSteps()))
	each(func(_ int, p *peer) { // by the last command
		select {
		case <-p.done:
			if status := p.cmd.ProcessState.ExitCode(); status != 0 {
				t.Errorf("%s ended with %d", p, status)
			}
		case <-time.After(patience):
			t.Errorf("%s doesn't end", p)
		}
	})
}

// startCtlPeer starts a peer with a server on TCP, whose port is its own.
func startCtlPeer(t *testing.T, real bool, config string) *peer {
	port := freePort(t)
	p := startPeer(t, real, strings.Replace(config, "{PORT}", strconv.Itoa(port), 1))
	p.port = port
	return p
}

// ctl runs supervisorctl and returns what it prints and ends with.
func (p *peer) ctl(command []string, s ctlStep) string {
	args := strings.ReplaceAll(s.args, "{PORT}", fmt.Sprint(p.port))
	command = append(append(slices.Clone(command), "-c", "supervisord.conf"), strings.Fields(args)...)
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Dir, cmd.Env = p.dir, append(p.environ(), "PYTHONUNBUFFERED=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // no terminal
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		p.t.Error(err)
		return ""
	}
	stdout, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		p.t.Error(err)
		return ""
	}
	late := time.AfterFunc(patience, func() { _ = cmd.Process.Kill() })
	defer late.Stop()
	_, _ = io.WriteString(stdin, s.stdin)
	if s.follow == "" {
		stdin.Close()
	}
	var out bytes.Buffer
	for piece := make([]byte, 4096); ; {
		n, err := stdout.Read(piece)
		out.Write(piece[:n])
		if s.follow != "" && strings.Contains(out.String(), s.follow) {
			// How it ends, by an interrupt that may find Python anywhere, is no answer.
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
			until, _, _ := strings.Cut(out.String(), s.follow) // what came with it is a matter of time
			return p.maskCtl(until + s.follow)
		}
		if err != nil {
			break
		}
	}
	var exit *exec.ExitError
	if err := cmd.Wait(); err != nil && !errors.As(err, &exit) {
		p.t.Error(err)
	}
	text := p.maskCtl(out.String())
	if s.sorted {
		lines := strings.Split(text, "\n")
		slices.Sort(lines)
		text = strings.Join(lines, "\n")
	}
	return fmt.Sprintf("[%d]\n%s%s", cmd.ProcessState.ExitCode(), text, p.maskCtl(stderr.String()))
}

// ctlMasks are what else differs in what supervisorctl prints.
var ctlMasks = []struct {
	re *regexp.Regexp
	by string
}{
	{regexp.MustCompile(`file: \S+ line: \d+`), "file: F line: N"}, // where Python says that it was
	{regexp.MustCompile(`(?m)^[1-9]\d*$`), "N"},                    // of pid
}

func (p *peer) maskCtl(text string) string {
	text = strings.ReplaceAll(p.mask(text), fmt.Sprint(p.port), "{PORT}")
	for _, m := range ctlMasks {
		text = m.re.ReplaceAllString(text, m.by)
	}
	return text
}

func ctlSteps() (steps []ctlStep) {
	list := func(lines string) {
		for line := range strings.Lines(strings.TrimSpace(lines)) {
			line = strings.TrimSpace(line)
			steps = append(steps, ctlStep{args: line, sorted: strings.Contains(line, "*") || strings.HasSuffix(line, " all")})
		}
	}
	add := func(s ...ctlStep) { steps = append(steps, s...) }
	list(`
		status
		status talker
		status grp:*
		status nope
		status nope:* talker
		pid
		pid talker
		pid idle
		pid nope
		version
		avail
		help
		help start
		start idle
		start idle
		start nope
		start
		start missing
		start folder
		start quote
		start quick
		start grp:a nope
		status
		stop idle
		stop idle
		stop nope
		stop grp:*
		status grp:*
		start grp:*
		restart talker
		restart grp:*
		restart nope
		signal CONT talker
		signal BOGUS talker
		signal CONT idle
		signal CONT nope
		signal CONT all
		tail talker
		tail -5 talker
		tail talker stderr
		tail nolog
		tail nope
		tail talker bad
		tail
		clear talker
		clear nope
		clear all
		tail talker
		maintail x
		maintail -1
		reread
		update
		add nope
		remove talker
		fg
		fg nope
		nosuchcommand
		-u me -p foobar -s http://127.0.0.1:{PORT} status talker
		-u me -p wrong -s http://127.0.0.1:{PORT} status talker
		-s unix:///no/such/socket status
		-s unix:///no/such/socket start talker`)
	add(
		ctlStep{args: "restart talker"},
		ctlStep{args: "tail -f talker", follow: "out2\n"},
		ctlStep{args: "tail -f talker stderr", follow: "err1\n"},
		ctlStep{args: "maintail -f", follow: "==> Press Ctrl-C to exit <==\n"},
		ctlStep{args: "reread", files: map[string]string{"conf.d/new.conf": "[program:new]\ncommand = sleep 1000\n[program:newer]\ncommand = sleep 1000\nautostart = false\n"}},
		ctlStep{args: "avail"},
		ctlStep{args: "add new"},
		ctlStep{args: "add new"},
		ctlStep{args: "update"},
		ctlStep{args: "reread", files: map[string]string{"conf.d/new.conf": "[program:new]\ncommand = sleep 1001\n"}},
		ctlStep{args: "update"},
		ctlStep{args: "remove new"},
		ctlStep{args: "stop new"},
		ctlStep{args: "remove new"},
		ctlStep{args: "update nope"},
		ctlStep{args: "reread", files: map[string]string{"conf.d/new.conf": "[program:new]\nautostart = perhaps\n"}},
		ctlStep{args: "update"},
		ctlStep{args: "update all", files: map[string]string{"conf.d/new.conf": ""}},
		ctlStep{stdin: "status talker\nversion\nhelp stop\nnosuch\nstart\nquit\nversion\n"},
		ctlStep{stdin: "shutdown\nn\nreload\nN\n"},
		ctlStep{args: "stop all", sorted: true},
		ctlStep{args: "start all", sorted: true},
		ctlStep{args: "shutdown x"},
		ctlStep{args: "shutdown"},
	)
	return steps
}

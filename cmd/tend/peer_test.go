package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
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

	"tend/internal/xmlrpc"
)

// A peer is a running supervisord, the real one or tend by that name, with a
// folder of its own.
type peer struct {
	t    *testing.T
	real bool
	dir  string
	port int // of its server on TCP; 0: it has none
	rpc  *xmlrpc.Client
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended

	mu    sync.Mutex
	lines []string // of its log
	more  chan struct{}
}

// debian returns the path of a program of the package supervisor, and skips the
// test where it isn't installed. There is one called supervisord in front of it.
func debian(t *testing.T, name string) string {
	t.Helper()
	path := filepath.Join("/usr/bin", name)
	if _, err := os.Stat(path); err != nil {
		t.Skipf("%s isn't installed: scripts/test-packages installs what the tests can use", name)
	}
	return path
}

// servers is the beginning of each peer's configuration.
const servers = `[unix_http_server]
file = %(here)s/s.sock
[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface
[supervisorctl]
serverurl = unix://%(here)s/s.sock
[supervisord]
childlogdir = %(here)s
logfile = %(here)s/main.log
pidfile = %(here)s/main.pid
`

// startPeer starts a supervisord in the foreground.
func startPeer(t *testing.T, real bool, config string) *peer {
	t.Helper()
	p := &peer{t: t, real: real, dir: t.TempDir(), more: make(chan struct{})}
	p.write("supervisord.conf", config)
	path, err := exec.LookPath("supervisord")
	if real {
		path, err = debian(t, "supervisord"), nil
	}
	if err != nil {
		t.Fatal(err)
	}
	if p.rpc, err = xmlrpc.NewClient("unix://"+filepath.Join(p.dir, "s.sock"), nil); err != nil {
		t.Fatal(err)
	}
	p.cmd = exec.Command(path, "-n", "-c", filepath.Join(p.dir, "supervisord.conf"))
	p.cmd.Dir, p.cmd.Env = p.dir, p.environ()
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	log, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var stderr strings.Builder
	p.cmd.Stderr = &stderr
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p.done = make(chan struct{})
	go func() {
		defer close(p.done)
		for lines := bufio.NewScanner(log); lines.Scan(); {
			p.mu.Lock()
			p.lines = append(p.lines, lines.Text())
			close(p.more)
			p.more = make(chan struct{})
			p.mu.Unlock()
		}
		_ = p.cmd.Wait()
	}()
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		killLeftovers(p.dir)
		<-p.done
		killLeftovers(p.dir) // what a daemon has started meanwhile
		if t.Failed() {
			t.Logf("log of %s:\n%s\n%s", p, strings.Join(p.lines, "\n"), stderr.String())
		}
	})
	p.await("supervisord started with pid")
	return p
}

func (p *peer) String() string {
	if p.real {
		return "supervisord"
	}
	return "tend"
}

// freePort returns a port that nobody listens at now.
func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// environ is the same for all, but for the folder.
func (p *peer) environ() []string {
	return []string{"PATH=" + os.Getenv("PATH"), "HOME=" + p.dir, "LANG=C.UTF-8", "TZ=UTC", "PYTHONIOENCODING=utf-8", "TMPDIR=" + p.dir}
}

func (p *peer) write(name, text string) {
	p.t.Helper()
	path := filepath.Join(p.dir, name)
	err := os.MkdirAll(filepath.Dir(path), 0o755)
	if err == nil {
		err = os.WriteFile(path, []byte(text), 0o644)
	}
	if err != nil {
		p.t.Error(err)
	}
}

// await waits until the log holds a text as often as it is given.
func (p *peer) await(texts ...string) {
	p.t.Helper()
	want := make(map[string]int)
	for _, text := range texts {
		want[text]++
	}
	late := time.After(patience)
	for {
		p.mu.Lock()
		more, missing := p.more, ""
		for text, n := range want {
			found := 0
			for _, line := range p.lines {
				if strings.Contains(line, text) {
					found++
				}
			}
			if found < n {
				missing = text
			}
		}
		p.mu.Unlock()
		if missing == "" {
			return
		}
		select {
		case <-more:
		case <-p.done:
			p.t.Fatalf("%s ended before %q", p, missing)
		case <-late:
			p.t.Fatalf("no %q in the log of %s", missing, p)
		}
	}
}

// call calls a method and returns the answer, or the fault, in words.
func (p *peer) call(method string, params ...any) string {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	value, err := p.rpc.Call(ctx, method, params...)
	var fault *xmlrpc.Fault
	switch {
	case errors.As(err, &fault):
		return p.mask(fmt.Sprintf("fault %d %s", fault.Code, fault.Text))
	case err != nil:
		p.t.Errorf("%s: %s: %v", p, method, err)
		return ""
	}
	if list, ok := value.([]any); ok && strings.Contains(method, "Group") {
		slices.SortFunc(list, func(a, b any) int { return strings.Compare(words(a), words(b)) }) // what ends first comes first
	}
	return p.mask(words(value))
}

// words writes a value, the members of a struct in the order of their names.
func words(value any) string {
	var list []string
	switch value := value.(type) {
	case xmlrpc.Struct:
		for _, m := range value {
			list = append(list, m.Name+":"+words(m.Value))
		}
		slices.Sort(list)
	case []any:
		for _, v := range value {
			list = append(list, words(v))
		}
	default:
		return fmt.Sprint(value)
	}
	return "[" + strings.Join(list, " ") + "]"
}

// info returns a field of what is known of a process.
func (p *peer) info(name, field string) any {
	p.t.Helper()
	value, err := p.rpc.Call(context.Background(), "supervisor.getProcessInfo", name)
	if err != nil {
		p.t.Fatalf("%s: %s: %v", p, name, err)
	}
	found, _ := value.(xmlrpc.Struct).Get(field)
	return found
}

// kill sends a signal to a process, and not by the daemon.
func (p *peer) kill(name string, sig syscall.Signal) {
	p.t.Helper()
	if pid := p.info(name, "pid").(int); pid > 1 {
		_ = syscall.Kill(pid, sig)
	} else {
		p.t.Errorf("%s: %s has no process", p, name)
	}
}

// stop sends a signal to the daemon and waits for its end.
func (p *peer) stop(sig syscall.Signal) {
	p.t.Helper()
	_ = p.cmd.Process.Signal(sig)
	select {
	case <-p.done:
		if status := p.cmd.ProcessState.ExitCode(); status != 0 {
			p.t.Errorf("%s ended with %d", p, status)
		}
	case <-time.After(patience):
		p.t.Fatalf("%s doesn't end", p)
	}
}

// peerMasks are what differs from one run to the next.
var peerMasks = []struct {
	re *regexp.Regexp
	by string
}{
	{regexp.MustCompile(`^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} `), ""},
	{regexp.MustCompile(`pid:\d+|with pid \d+|pid \d+`), "pid N"},
	{regexp.MustCompile(`uptime (\d+ days?, )?\d+:\d\d:\d\d`), "uptime U"},
	{regexp.MustCompile(`killing '(\S+)' \(\d+\)`), "killing '$1' (N)"},
	{regexp.MustCompile(`[A-Z][a-z]{2} \d\d \d\d:\d\d [AP]M`), "DATE"},
	{regexp.MustCompile(`(start|stop|now):[1-9]\d*`), "$1:T"},
	{regexp.MustCompile(`(\{DIR\}/)(?:nums|grp)\.`), "$1"},          // ours have the group's name before it
	{regexp.MustCompile(`-stdout---supervisor-\S{8}\.log`), ".log"}, // of AUTO
	{regexp.MustCompile(`-stderr---supervisor-\S{8}\.log`), ".err.log"},
	{regexp.MustCompile(`\((\S*): line \d+\)`), "($1: line N)"},
}

func (p *peer) mask(text string) string {
	text = strings.ReplaceAll(text, p.dir, "{DIR}")
	for _, m := range peerMasks {
		text = m.re.ReplaceAllString(text, m.by)
	}
	return text
}

// turns are the beginnings of the lines that tell of a new state.
var turns = []string{"spawned:", "success:", "exited:", "stopped:", "gave up:", "killing "}

// lifes returns what the log says of each process's states, in order.
func (p *peer) lifes(names ...string) map[string][]string {
	p.mu.Lock()
	defer p.mu.Unlock()
	lifes := make(map[string][]string)
	for _, line := range p.lines {
		line = p.mask(line)
		_, text, _ := strings.Cut(line, " ")
		if !slices.ContainsFunc(turns, func(t string) bool { return strings.HasPrefix(text, t) }) {
			continue
		}
		words := strings.FieldsFunc(text, func(r rune) bool { return r == ' ' || r == '\'' })
		for _, name := range names {
			if slices.Contains(words, name) {
				lifes[name] = append(lifes[name], line)
			}
		}
	}
	return lifes
}

// side starts the real supervisord and tend with one configuration, and has both
// do the same at the same time.
func side(t *testing.T, config string) (theirs, ours *peer, both func(do func(p *peer))) {
	t.Helper()
	debian(t, "supervisord")
	theirs, ours = startPeer(t, true, config), startPeer(t, false, config)
	return theirs, ours, func(do func(p *peer)) {
		var all sync.WaitGroup
		for _, p := range []*peer{theirs, ours} {
			all.Go(func() { do(p) })
		}
		all.Wait()
		if t.Failed() {
			t.FailNow()
		}
	}
}

// compare has both do something that has an answer, which must be the same.
func compare(t *testing.T, theirs *peer, both func(func(p *peer)), what string, do func(p *peer) string) {
	t.Helper()
	var want, got string
	both(func(p *peer) {
		if p == theirs {
			want = do(p)
		} else {
			got = do(p)
		}
	})
	if want != got {
		t.Errorf("%s:\nsupervisord: %s\ntend:        %s", what, want, got)
	}
}

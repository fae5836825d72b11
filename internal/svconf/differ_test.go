package svconf

import (
	"bufio"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
)

var (
	differCases = flag.Int("svconf.cases", 400, "how many random files TestDiffer asks supervisord about")
	differSeed  = flag.Uint64("svconf.seed", 1, "the first seed of TestDiffer")
)

// python has Debian's supervisor.
const python = "/usr/bin/python3"

// driver asks the reference in one process: for each line on its standard input
// it answers with a line.
const driver = `
import sys, os, json, signal, resource
sys.path.insert(0, sys.argv[1])
sys.dont_write_bytecode = True
import reference
out = sys.stdout
sys.stdout = sys.stderr
# A relaxed question leaves its changes behind in the modules.
import supervisor.options as O, supervisor.datatypes as D
kept = [(x, dict(vars(x))) for x in (O, D)] + [(O.Options, {'import_spec': O.Options.import_spec})]
# supervisord goes on for ever with a billion processes.
class TooLong(BaseException): pass
def too_long(*_): raise TooLong()
signal.signal(signal.SIGALRM, too_long)
resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
for line in sys.stdin:
    q = json.loads(line)
    os.environ.clear()
    for v in q['env']:
        k, _, v = v.partition('=')
        os.environ[k] = v
    for x, was in kept:
        for k in was:
            if vars(x).get(k) is not was[k]:
                setattr(x, k, was[k])
    signal.alarm(10)
    try:
        r = reference.child(q)
    except BaseException as e:
        r = {'ok': False, 'kind': 'crash', 'error': repr(e)}
    signal.alarm(0)
    answer = json.dumps(r, default=str) if not str(r.get('error')).startswith(('TooLong', 'MemoryError')) else '{"kind": "huge"}'
    if len(answer) > 16 << 20:
        answer = '{"kind": "huge"}'
    out.write(answer + '\n')
    out.flush()
`

// A supervisord is the real one's reading of files.
type supervisord struct {
	in  io.Writer
	out *bufio.Scanner
}

// startSupervisord starts the reference, or skips the test if it isn't here.
func startSupervisord(t *testing.T) *supervisord {
	t.Helper()
	tools := findShared(t, "tools")
	if err := exec.Command(python, "-c", "import supervisor.options").Run(); err != nil {
		t.Skipf("no supervisor to compare with (apt-get install supervisor): %v", err)
	}
	// Its life ends with the test, even in the middle of an answer.
	cmd := exec.CommandContext(t.Context(), python, "-c", driver, tools)
	cmd.Stderr = os.Stderr
	cmd.Env = baseEnv
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		_ = cmd.Wait() // it was killed
	})
	s := &supervisord{in, bufio.NewScanner(out)}
	s.out.Buffer(nil, 64<<20)
	return s
}

// ask returns what supervisord understands of the files in dir. fragment says
// that the root does nothing but include conf.d/program.conf.
func (s *supervisord) ask(w world, env []string, fragment, strict bool) (object, error) {
	included := []string{}
	if fragment {
		included = append(included, w.here()+"/conf.d/program.conf")
	}
	q, err := json.Marshal(object{"here": w.here(), "cwd": w.cwd(), "root": w.root(), "included": included, "strict": strict, "path": nil, "env": env})
	if err != nil {
		return nil, err
	}
	if _, err := s.in.Write(append(q, '\n')); err != nil {
		return nil, err
	}
	if !s.out.Scan() {
		return nil, errors.Join(s.out.Err(), io.ErrUnexpectedEOF)
	}
	return parse(s.out.Bytes()), nil
}

// TestDiffer makes files at random, of what people write and of what only the
// malicious would, and compares with what the real supervisord makes of them. A
// failure names its seed: -svconf.seed N -svconf.cases 1 does it again.
func TestDiffer(t *testing.T) {
	s := startSupervisord(t)
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	seeds := realFiles(t)
	failures := 0
	for seed := *differSeed; seed < *differSeed+uint64(*differCases); seed++ {
		g := &generator{Rand: rand.New(rand.NewPCG(seed, 0)), seeds: seeds}
		files, fragment := g.files()
		w := newWorld()
		w.dir = dir
		w.files[inside(w.here()+"/conf.d")] = &fstest.MapFile{Mode: fs.ModeDir | 0o755}
		for _, sub := range []string{"etc", "cwd"} {
			if err := errors.Join(os.RemoveAll(dir+"/"+sub), os.MkdirAll(dir+"/"+sub+"/conf.d", 0o777)); err != nil {
				t.Fatal(err)
			}
		}
		for name, text := range files {
			w.add(w.here()+"/"+name, text)
			if err := os.WriteFile(w.here()+"/"+name, []byte(text), 0o666); err != nil {
				t.Fatal(err)
			}
		}
		opts := w.options("NUM=3", "LEVEL=debug", "TRICKY=a\"b,c='d", "PERCENT=50%", "EMPTY=", "UNI=żółw")
		opts.UID = -1 // nobody's: the reference takes names for what they are
		strict := g.one(5)
		if strict {
			// The machine's own folders and users.
			opts.FS, opts.Accounts, opts.UID = OS{}, OS{}, os.Getuid()
		}
		want, err := s.ask(w, opts.Environ, fragment, strict)
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		if want["kind"] == "huge" {
			continue // too many processes for Python
		}
		got := understood(opts, form{strict})
		if strict {
			forgetObjects(want)
			forgetObjects(got)
		}
		if said := fmt.Sprint(got["infos"], got["error"]); !strict && (strings.Contains(said, "Invalid socket_owner value") || strings.Contains(said, "Invalid sockchown value") || strings.Contains(said, "Invalid user id")) ||
			strings.Contains(said, "\""+w.here()+"\" during parsing") {
			continue // the reference doesn't ask for these
		}
		if want["kind"] == "traceback" && got["ok"] == false {
			continue // supervisord dies, without words of its own
		}
		ctl, _ := want["supervisorctl"].(object)
		if text := fmt.Sprint(want["error"], ctl["error"]); strict && (strings.Contains(text, "cannot be resolved") || strings.Contains(text, "EntryPoint") || strings.Contains(text, "Invalid module name")) {
			continue // it looked for Python objects
		}
		cutNumbers(want)
		// What is ignored the reference finds out in a way of its own.
		delete(want, "ignored")
		delete(got, "ignored")
		if a, b := fmt.Sprint(want["error"]), fmt.Sprint(got["error"]); strings.HasPrefix(a, unknownEvent) && strings.HasPrefix(b, unknownEvent) {
			continue // of several, supervisord names any
		}
		if diff := compare(want, got); diff != "" {
			shown := ""
			for name, text := range files {
				shown += fmt.Sprintf("-- %s --\n%s\n", name, text)
			}
			t.Errorf("seed %d, strict %v: supervisord -, we +\n%s\n%s", seed, strict, diff, shown)
			if failures++; failures == 5 {
				t.Fatal("and so on")
			}
		}
	}
}

const unknownEvent = "Unknown event type "

// cutNumbers cuts what is more than an int holds.
func cutNumbers(v any) any {
	switch v := v.(type) {
	case object:
		for key := range v {
			v[key] = cutNumbers(v[key])
		}
	case []any:
		for i := range v {
			v[i] = cutNumbers(v[i])
		}
	case float64:
		return min(max(v, math.MinInt), math.MaxInt)
	}
	return v
}

// forgetObjects takes out what the reference prints in words of its own if it has
// loaded it.
func forgetObjects(v any) {
	switch v := v.(type) {
	case object:
		for key := range v {
			switch key {
			case "factory", "result_handler":
				delete(v, key)
			default:
				forgetObjects(v[key])
			}
		}
	case []any:
		for _, item := range v {
			forgetObjects(item)
		}
	}
}

// A generator makes configurations.
type generator struct {
	*rand.Rand
	seeds []string // real files, which it changes
}

// one is true once in n times.
func (g *generator) one(n int) bool { return g.IntN(n) == 0 }

func (g *generator) of(list ...string) string { return list[g.IntN(len(list))] }

var (
	goodOf = map[string][]string{
		"int":     {"0", "1", "2", "3", "10", "999", "-1", "+5", " 7", "1_000", "٣", "007"},
		"small":   {"0", "1", "2", "3", "-2", "12", "%(ENV_NUM)s"},
		"bool":    {"true", "false", "yes", "No", "ON", "off", "1", "0", "TRUE"},
		"restart": {"true", "false", "unexpected", "Unexpected", "1", "no"},
		"size":    {"0", "1", "1KB", "50MB", "2gb", "1 MB", "-1", "10Kb"},
		"octal":   {"022", "0o22", "777", "7", "0O17", "-2", "0_2"},
		"signal":  {"TERM", "int", "SIGHUP", "sigusr1", "9", "KILL", "RTMIN", " quit ", "SIG_IGN", "SIGCLD", "IOT", "0", "34", "STKFLT"},
		"codes":   {"0", "0,2", "", "1, 2,3", "255", "0 , 7"},
		"log":     {"AUTO", "NONE", "off", "auto", "/dev/stdout", "/tmp/%(program_name)s.log", "syslog", "a.log", "%(here)s/x.log", "/tmp/%(group_name)s-%(process_num)02d.log", "~/x", "", "~www/y", "/tmp/%(ENV_UNI)s"},
		"env":     {`A="1",B="2"`, "A=1", "", `PATH="/x:%(ENV_PATH)s"`, "A='x y', B=\"z\"", "A=1,", "N=%(process_num)d", `H="%(host_node_name)s"`, "a.b=1", `A="a""b"`, "A=$HOME", "A=1;B=2", `X="%%"`, `X="%%%%"`, "A(1)=2", `E="%(ENV_TRICKY)s"`, "K%(process_num)s=1", "A=x#y\n B", `A="1",A="2"`, "A=x\n  , B=y", "L=%(here)s"},
		"path":    {"/tmp", "/", "relative", "%(here)s", "/tmp/%(program_name)s", "/x/%(process_num)d", "~", "", "%(ENV_HOME)s"},
		"command": {"/bin/true", "/bin/echo %(program_name)s %(process_num)02d", `sh -c "a b"`, `x 'y z' "q\"r" \ s`, "a ; b", "a #b", "c;d#e", `"open`, "%(ENV_NUM)s %(here)s", "date +%%Y", "", `x "" ''`, "a\\", "%(group_name)s %(numprocs)d %(host_node_name)s", "żółw", "one\n  two\n\n  three", "x = y : z", "%(ENV_A)s"},
		"name":    {"%(program_name)s", "%(program_name)s_%(process_num)02d", "x%(process_num)d", "fixed", "%(group_name)s-%(process_num)s", "%(process_num)5s", "%(ENV_NUM)s%(process_num)s", "%(process_num)x"},
		"user":    {"root", "0", "daemon", " 1", "%(ENV_NUM)s"},
		"owner":   {"root", "root:root", "0:0", "daemon:daemon", "root:0"},
		"url":     {"AUTO", "http://x:1", "", " auto ", "unix:///tmp/x"},
		"text":    {"x", "%(here)s", "%(ENV_NUM)s", "a b", "", "50%%"},
		"level":   {"info", "debug", "WARN", "%(ENV_LEVEL)s", "blather"},
		"port":    {"9001", "*:9001", ":80", "Localhost:1", "a:b:7", "%(ENV_NUM)s", "127.0.0.1:9001"},
		"socket":  {"unix:///tmp/x.sock", "tcp://localhost:9000", "tcp://%(program_name)s:1", "unix://%(here)s/../y", "tcp://HOST:65535", "unix:////double"},
		"events":  {"EVENT", "PROCESS_STATE", "tick_5,TICK_60", "PROCESS_STATE , PROCESS_LOG", "REMOTE_COMMUNICATION,REMOTE_COMMUNICATION"},
		"handler": {"supervisor.dispatchers:default_handler"},
		"members": {"a", "a,b", "b , a", "", "f", "a,f", "a,a"},
	}
	badOf = []string{
		"", "x", "%", "%(nope)s", "%d", "%s", "%Y", "%(here)d", "%(process_num)", "%(process_num)q", "100%", "%5%", "%(ENV_NUM)d", "%(ENV_NOPE)s",
		"0x10", "1.5", "1__0", "_1", "1_", "9", "08", "-", "99999999999999999999999", "70000", "1k", "1MBKB", "KB", "always", "maybe", "TERM,INT", "200", "SIG",
		"a:b", "a/b", "no such user", "A", "A=", "=B", "A=b=c", `"`, "'", `A="x`, "A=1 B=2", "A=@", "A=é", ",", ",,", "0,", "256", "a b",
		"tcp://x", "tcp://[::1]:80", "unix://rel", "http://x:1", "tcp://x:0", "tcp://x:99999", "tcp://:1", "x:", ":", "x:y", "TICK_1", "EVENT,", "/nonexistent/dir/x", "~nobodyatall/x",
		"%(program_name)", "%(a(b)c)s", "%(here)s%", "%(here)*d", "%(here).3s", "%(here)-40s|", "%(here)+d", "%c", "%r", "%(here)r", "%(here)a", "%(ENV_UNI)a %(ENV_UNI).2s", "%s %s", "%s %(here)s",
		"%(process_num)#x", "%(process_num)f", "%(process_num)08.3f", "%(process_num)g", "%(process_num)E", "%(process_num)c", "% (here)s", "%(process_num)+05d", "%(process_num) .3d", "%%(here)s", "%%%%(x)s",
		"[x]", "a=b", "\x00", "\x1f", "\u00a0x\u00a0", "\u2028", "İ", "‘x’", "\\", "\\n", "it's", `say "x"`, `it's "x"`, "$A", "`x`", "a\tb", "%(ENV_PERCENT)s", "%(ENV_EMPTY)s",
	}
	processOptions = map[string]string{
		"command": "command", "process_name": "name", "numprocs": "small", "numprocs_start": "int", "priority": "int", "autostart": "bool",
		"startsecs": "int", "startretries": "int", "autorestart": "restart", "exitcodes": "codes", "stopsignal": "signal", "stopwaitsecs": "int",
		"stopasgroup": "bool", "killasgroup": "bool", "user": "user", "redirect_stderr": "bool", "stdout_logfile": "log", "stdout_logfile_maxbytes": "size",
		"stdout_logfile_backups": "int", "stdout_capture_maxbytes": "size", "stdout_events_enabled": "bool", "stdout_syslog": "bool",
		"stderr_logfile": "log", "stderr_logfile_maxbytes": "size", "stderr_logfile_backups": "int", "stderr_capture_maxbytes": "size",
		"stderr_events_enabled": "bool", "stderr_syslog": "bool", "environment": "env", "directory": "path", "umask": "octal", "serverurl": "url", "nonsense": "text",
	}
	daemonOptions = map[string]string{
		"minfds": "int", "minprocs": "int", "directory": "path", "user": "user", "umask": "octal", "logfile": "log", "logfile_maxbytes": "size", "logfile_backups": "int",
		"loglevel": "level", "pidfile": "log", "identifier": "text", "nodaemon": "bool", "silent": "bool", "childlogdir": "path", "nocleanup": "bool", "strip_ansi": "bool",
		"environment": "env", "nonsense": "text",
	}
	otherOptions = map[string]map[string]string{
		"unix_http_server": {"file": "path", "chmod": "octal", "chown": "owner", "username": "text", "password": "text"},
		"inet_http_server": {"port": "port", "username": "text", "password": "text"},
		"supervisorctl":    {"serverurl": "url", "username": "text", "password": "text", "prompt": "text", "history_file": "path"},
		"rpcinterface:r":   {"supervisor.rpcinterface_factory": "handler", "x": "text", "y": "text"},
		"group:g":          {"programs": "members", "priority": "int"},
		"listen":           {"buffer_size": "int", "events": "events", "result_handler": "handler"},
		"fcgi":             {"socket": "socket", "socket_backlog": "int", "socket_owner": "owner", "socket_mode": "octal"},
	}
)

// value makes a value of a kind.
func (g *generator) value(kind string, strange int) string {
	if g.one(strange) {
		if g.one(4) {
			return g.of(badOf...) + g.of(badOf...)
		}
		return g.of(badOf...)
	}
	return g.of(goodOf[kind]...)
}

// options writes some options of a section.
func (g *generator) options(b *strings.Builder, options map[string]string, share, strange int, always ...string) {
	write := func(name string) {
		kind := options[name]
		if g.one(20) {
			name = strings.ToUpper(name)
		}
		b.WriteString(g.of("", "", "", "", "", "", "", " ") + name + g.of("=", "=", "=", " = ", ":", "= ") + g.value(kind, strange))
		b.WriteString(g.of("", "", "", "", "", "", " ; comment", " # comment", ";no comment", "\t;x", " #a ;b") + "\n")
		if g.one(15) {
			b.WriteString(g.of("; line", "# line", "", "  ; indented", "  going on", "\tgoing = on", "   [x]", " ", "[", "bare", ": x", "x=y\n z", "\u00a0nbsp") + "\n")
		}
	}
	// Without the order of the map, so that a seed says all.
	for _, name := range sortedKeys(options) {
		if g.IntN(100) < share {
			write(name)
		}
	}
	for _, name := range always {
		if !g.one(12) {
			write(name)
		}
	}
}

func sortedKeys(m map[string]string) []string {
	list := make([]string, 0, len(m))
	for k := range m {
		list = append(list, k)
	}
	// Insertion sort, the lists being short.
	for i := range list {
		for j := i; j > 0 && list[j] < list[j-1]; j-- {
			list[j], list[j-1] = list[j-1], list[j]
		}
	}
	return list
}

// sections writes some sections. Most files have few strange values, so that not
// all of them are refused.
func (g *generator) sections(daemon bool) string {
	var b strings.Builder
	strange := []int{1000, 200, 60, 8}[g.IntN(4)]
	share := []int{3, 10, 30}[g.IntN(3)]
	header := func(name string) {
		if g.one(60) {
			name = g.of(" "+name, name+"]", strings.ToUpper(name), name+":x", "x", name+" ")
		}
		b.WriteString("[" + name + "]" + g.of("", "", "", "", " ; c", " rest", " #]") + "\n")
	}
	if g.one(30) {
		b.WriteString(g.of("; first\n", "stray\n", "\n", " \n", "a=b\n", "\ufeff", "\xff\n"))
	}
	if g.one(15) {
		header("DEFAULT")
		g.options(&b, processOptions, 5, strange)
		g.options(&b, daemonOptions, 5, strange)
	}
	if daemon && !g.one(40) {
		header("supervisord")
		g.options(&b, daemonOptions, share, strange)
	}
	for range g.IntN(6) {
		switch g.IntN(12) {
		case 0:
			header("group:" + g.of("g", "h", "a", " s", "x y"))
			g.options(&b, otherOptions["group:g"], 50, strange, "programs")
		case 1:
			header("eventlistener:" + g.of("l", "m", "a"))
			g.options(&b, otherOptions["listen"], 20, strange, "events")
			g.options(&b, processOptions, share, strange, "command")
		case 2:
			header("fcgi-program:" + g.of("f", "f", "a"))
			g.options(&b, otherOptions["fcgi"], 30, strange, "socket")
			g.options(&b, processOptions, share, strange, "command")
		case 3:
			header("unix_http_server" + g.of("", "", ":x"))
			g.options(&b, otherOptions["unix_http_server"], 30, strange, "file")
		case 4:
			header("inet_http_server" + g.of("", "", ":y"))
			g.options(&b, otherOptions["inet_http_server"], 30, strange, "port")
		case 5:
			header(g.of("rpcinterface:r", "rpcinterface:supervisor"))
			g.options(&b, otherOptions["rpcinterface:r"], 50, strange, "supervisor.rpcinterface_factory")
		case 6:
			header("supervisorctl")
			g.options(&b, otherOptions["supervisorctl"], 50, strange)
		default:
			header("program:" + g.of("a", "b", "c", "d", "a", "b", " e ", "n.1"))
			g.options(&b, processOptions, share, strange, "command")
			if g.one(4) {
				b.WriteString("numprocs=2\nprocess_name=%(program_name)s_%(process_num)s\n")
			}
		}
		if g.one(6) {
			b.WriteString("\n")
		}
	}
	text := b.String()
	if g.one(25) {
		text = strings.ReplaceAll(text, "\n", g.of("\r\n", "\r", "\n\n"))
	}
	if g.one(25) && text != "" { // a byte goes, or is another
		i := g.IntN(len(text))
		text = text[:i] + g.of("", "", "[", "]", "=", "%", " ", "\n", ";", "\"", "\x80", "\r") + text[i+1:]
	}
	return text
}

// realFiles returns the texts of the files of others.
func realFiles(t *testing.T) []string {
	var list []string
	for _, kind := range []string{"corpus", "edge"} {
		files, err := filepath.Glob(filepath.Join(findShared(t, kind), "*.conf"))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			list = append(list, string(text))
		}
	}
	return list
}

// mutate changes some lines of a file.
func (g *generator) mutate(text string) string {
	list := strings.SplitAfter(text, "\n")
	for range 1 + g.IntN(4) {
		i := g.IntN(len(list))
		line := list[i]
		key, value, ok := strings.Cut(line, "=")
		switch g.IntN(8) {
		case 0:
			list[i] = ""
		case 1:
			list[i] = line + line
		case 2:
			j := g.IntN(len(list))
			list[i], list[j] = list[j], line
		case 3:
			list[i] = " " + line
		case 4:
			if ok {
				list[i] = key + "=" + g.of(badOf...) + "\n"
			}
		case 5:
			if ok {
				list[i] = key + "=" + g.of(badOf...) + value
			}
		case 6:
			if n := len(line); n > 0 {
				at := g.IntN(n)
				list[i] = line[:at] + g.of(badOf...) + line[at:]
			}
		case 7:
			if n := len(line); n > 0 {
				at := g.IntN(n)
				list[i] = line[:at] + g.of("", ";", " ;", "#", " #", "\"", "'", "%", ",", "=", "\\", "\n", "[", "]", ":", "\t") + line[at+1:]
			}
		}
	}
	return strings.Join(list, "")
}

// long makes a file of many kilobytes, with bytes that are no UTF-8 somewhere.
func (g *generator) long() string {
	text := g.of("", "[supervisord]\n", "stray\n")
	for n := 6000 + g.IntN(20000); len(text) < n; {
		text += g.of("# comment żółw\n", "#é", "\n#😀", "\n\n", "# "+strings.Repeat("x", g.IntN(300))+"\n")
	}
	text += "\n" + g.of("bare", "[program:a]") + "\ncommand=x\n"
	at := g.IntN(len(text))
	return text[:at] + g.of("\xff", "\xc3", "\xe2\x82", "\xe2\x28\xa1", "\xf0\x9f\x98", "\xed\xa0\x80", "\xc0\xaf", "\xf5", "\xf4\x90", "\xf0\x80", "\xe0\x9f\xbf", "") + text[at:]
}

// files makes the files of a configuration.
func (g *generator) files() (files map[string]string, fragment bool) {
	switch g.IntN(7) {
	case 4:
		if g.one(8) { // longer than what Python decodes at once
			return map[string]string{"supervisord.conf": g.long()}, false
		}
	case 5, 6:
		text := g.mutate(g.seeds[g.IntN(len(g.seeds))])
		if strings.Contains(text, "[supervisord]") {
			return map[string]string{"supervisord.conf": text}, false
		}
		return map[string]string{
			"supervisord.conf":    "[supervisord]\n\n[include]\nfiles = conf.d/*.conf\n",
			"conf.d/program.conf": text,
		}, true
	case 0:
		return map[string]string{
			"supervisord.conf":    "[supervisord]\n\n[include]\nfiles = conf.d/*.conf\n",
			"conf.d/program.conf": g.sections(g.one(5)),
		}, true
	case 1:
		include := "[include]\nfiles = " + g.of("conf.d/*.conf", "conf.d/a.conf conf.d/b*", "*.d/[!x].conf", "conf.d/?.conf\n  nothing/*", "%(here)s/conf.d/*.ini conf.d/*", "conf.d/.h*", "conf.d/[b", "./conf.d/../conf.d/a.conf", "*/a.conf", "conf.d/", "conf.d", "", "%(nope)s", "%(ENV_NUM)s", "**/*.conf") + "\n"
		if g.one(30) {
			include = "[include]\nfile=x\n"
		}
		root := g.sections(true)
		if g.one(2) {
			root = include + root
		} else {
			root += "\n" + include
		}
		files = map[string]string{"supervisord.conf": root}
		for _, name := range []string{"conf.d/a.conf", "conf.d/b.conf", "conf.d/c.ini", "conf.d/.h.conf", "conf.d/[b"} {
			if g.one(2) {
				files[name] = g.sections(g.one(8))
			}
		}
		return files, false
	}
	return map[string]string{"supervisord.conf": g.sections(true)}, false
}

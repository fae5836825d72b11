package supervisorctl

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tend/internal/xmlrpc"
)

// answers are what a fake supervisord says: a value or an error for each method,
// without its namespace; a method that isn't there is unknown.
type answers map[string]any

func (a answers) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method == "GET" {
		switch text, known := a["GET "+r.URL.EscapedPath()]; {
		case known:
			fmt.Fprint(w, text)
		default:
			http.NotFound(w, r)
		}
		return
	}
	if login, locked := a["login"]; locked {
		if user, password, _ := r.BasicAuth(); user+":"+password != login {
			http.Error(w, "no", http.StatusUnauthorized)
			return
		}
	}
	call, err := xmlrpc.DecodeCall(r.Body, xmlrpc.CallLimits)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	method := strings.TrimPrefix(call.Method, "supervisor.")
	if method == "getVersion" && a[method] == nil {
		a = answers{method: apiVersion}
	}
	switch answer := a[method].(type) {
	case nil:
		w.Write(xmlrpc.EncodeFault(xmlrpc.NewFault(xmlrpc.UnknownMethod, "")))
	case *xmlrpc.Fault:
		w.Write(xmlrpc.EncodeFault(answer))
	case int:
		if answer < 100 {
			w.Write(xmlrpc.EncodeFault(xmlrpc.NewFault(answer, "detail")))
		} else {
			http.Error(w, "no", answer)
		}
	case []byte:
		w.Write(answer)
	case io.Closer: // of the connection
		if conn, _, err := http.NewResponseController(w).Hijack(); err == nil {
			conn.Close()
		}
	default:
		body, err := xmlrpc.EncodeResponse(answer)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.Write(body)
	}
}

func info(group, name string, state int, statename, description string, pid int) xmlrpc.Struct {
	return xmlrpc.Struct{{Name: "name", Value: name}, {Name: "group", Value: group}, {Name: "state", Value: state}, {Name: "statename", Value: statename}, {Name: "description", Value: description}, {Name: "pid", Value: pid}}
}

func outcomeOf(group, name string, status int, description string) xmlrpc.Struct {
	return xmlrpc.Struct{{Name: "name", Value: name}, {Name: "group", Value: group}, {Name: "status", Value: status}, {Name: "description", Value: description}}
}

// run runs a command line against a fake server; {URL} in it is its address.
func run(t *testing.T, server http.Handler, args []string, stdin string) (status int, stdout, stderr string) {
	t.Helper()
	socket := listenUnix(t, server)
	if args[0] != "-c" {
		config := filepath.Join(filepath.Dir(socket), "c")
		if err := os.WriteFile(config, []byte("[supervisorctl]\nserverurl=unix://"+socket+"\n[ctlplugin:x]\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		args = append([]string{"-c", config}, args...)
	}
	var out, err bytes.Buffer
	status = Main(append([]string{"/usr/bin/supervisorctl"}, args...), strings.NewReader(stdin), &out, &err, []string{"HOME=/home/x", "A=B=C"})
	return status, strings.ReplaceAll(out.String(), socket, "{SOCKET}"), strings.ReplaceAll(strings.ReplaceAll(err.String(), socket, "{SOCKET}"), filepath.Dir(socket), "{DIR}")
}

func TestCommands(t *testing.T) {
	two := []any{info("web", "web", 20, "RUNNING", "pid 12, uptime 1 day, 0:00:01", 12), info("grüße", "worker-with-a-very-long-name-0001", 200, "FATAL", "spawn error", 0)}
	text := func(s string) string { return "error: <class " + s + ": file: supervisorctl line: 0\n" }
	for _, c := range []struct {
		args   string
		server answers
		status int
		stdout string
		stderr string
	}{
		{"status", answers{"getAllProcessInfo": two}, 3,
			"web                                       RUNNING   pid 12, uptime 1 day, 0:00:01\n" +
				"grüße:worker-with-a-very-long-name-0001   FATAL     spawn error\n", ""},
		{"status web", answers{"getAllProcessInfo": two}, 0, "web                              RUNNING   pid 12, uptime 1 day, 0:00:01\n", ""},
		{"status grüße:* web:x", answers{"getAllProcessInfo": two}, 3,
			"web:x: ERROR (no such process)\ngrüße:worker-with-a-very-long-name-0001   FATAL     spawn error\n", ""},
		{"status", answers{"getAllProcessInfo": []any{}}, 0, "", ""},
		// An answer that can't be one.
		{"status", answers{"getAllProcessInfo": "x"}, 1, text("'TypeError'>, getAllProcessInfo answered with a value of an unexpected kind: x"), ""},
		{"status", answers{"getAllProcessInfo": []any{"x"}}, 1, text("'TypeError'>, getAllProcessInfo answered with a value of an unexpected kind: x"), ""},
		{"status", answers{"getVersion": 5}, 1, text("'xmlrpc.client.Fault'>, <Fault 5: 'UNKNOWN: detail'>"), ""},
		{"status", answers{"getVersion": 503}, 1, text("'xmlrpc.client.ProtocolError'>, <ProtocolError for 127.0.0.1/RPC2: 503 Service Unavailable>"), ""},
		{"status", answers{"getVersion": io.NopCloser(nil)}, 1, text("'http.client.RemoteDisconnected'>, Remote end closed connection without response"), ""},
		{"pid", answers{"getVersion": []byte("<a/>")}, 1, text(`'Exception'>, cannot read the answer: line 1: element "a", not methodResponse`), ""},
		// Another version.
		{"status", answers{"getVersion": "2.0"}, 4, "Sorry, this version of supervisorctl expects to talk to a server with API version 3.0, but the remote version is 2.0.\n", ""},
		{"start x", answers{"getVersion": "2.0"}, 5, "Sorry, this version of supervisorctl expects to talk to a server with API version 3.0, but the remote version is 2.0.\n", ""},
		{"start x", answers{"getVersion": xmlrpc.UnknownMethod}, 3, "Sorry, supervisord responded but did not recognize the supervisor namespace commands that supervisorctl uses to control it.  " +
			"Please check that the [rpcinterface:supervisor] section is enabled in the configuration file (see sample.conf).\n", ""},
		// Outcomes.
		{"start all", answers{"startAllProcesses": []any{outcomeOf("a", "a", 80, "OK"), outcomeOf("b", "c", 60, ""), outcomeOf("d", "d", 40, ""), outcomeOf("e", "e", 80, "")}}, 7,
			"a: started\nb:c: ERROR (already started)\nd: ERROR (abnormal termination)\ne: started\n", ""},
		{"start all", answers{"startAllProcesses": []any{outcomeOf("a", "a", 50, ""), outcomeOf("b", "b", 10, "")}}, 1, "a: ERROR (spawn error)\nb: ERROR (no such process)\n", ""},
		{"start x", answers{"startProcess": xmlrpc.ShutdownState}, 1, text("'ValueError'>, Unknown result code 6 for x"), ""},
		{"start g:*", answers{"startProcessGroup": xmlrpc.ShutdownState}, 1, text("'xmlrpc.client.Fault'>, <Fault 6: 'SHUTDOWN_STATE: detail'>"), ""},
		{"stop x", answers{"stopProcess": &xmlrpc.Fault{Code: 30, Text: "FAILED: it's so"}}, 1, "FAILED: it's so\n", ""},
		{"stop g:*", answers{"stopProcessGroup": []any{outcomeOf("g", "a", 70, ""), outcomeOf("g", "b", 80, "")}}, 0, "g:a: ERROR (not running)\ng:b: stopped\n", ""},
		{"stop g:* h:*", answers{"stopProcessGroup": xmlrpc.BadName}, 1, "g: ERROR (no such group)\nh: ERROR (no such group)\n", ""},
		{"start g:* h:", answers{"startProcessGroup": xmlrpc.BadName}, 2, "g: ERROR (no such group)\nh: ERROR (no such group)\n", ""},
		{"signal HUP x y", answers{"signalProcess": xmlrpc.NotRunning}, 7, "x: ERROR (not running)\ny: ERROR (not running)\n", ""},
		{"signal HUP all", answers{"signalAllProcesses": []any{outcomeOf("g", "a", 11, "")}}, 1, "g:a: ERROR (bad signal name)\n", ""},
		{"clear x", answers{"clearProcessLogs": xmlrpc.Failed}, 1, "x: ERROR (failed)\n", ""},
		{"clear g:*", answers{"clearProcessLogs": xmlrpc.BadName}, 1, "g:None: ERROR (no such process)\n", ""},
		{"pid web", answers{"getProcessInfo": info("web", "web", 20, "", "", 5)}, 0, "5\n", ""},
		{"pid web", answers{"getProcessInfo": info("web", "web", 0, "", "", 0)}, 7, "0\n", ""},
		{"pid web", answers{"getProcessInfo": xmlrpc.Failed}, 1, text("'xmlrpc.client.Fault'>, <Fault 30: 'FAILED: detail'>"), ""},
		// Groups.
		{"reread", answers{"reloadConfig": []any{[]any{[]any{"b", "a"}, []any{"c"}, []any{"d"}}}}, 0, "a: available\nb: available\nc: changed\nd: disappeared\n", ""},
		{"reread", answers{"reloadConfig": xmlrpc.ShutdownState}, 1, "ERROR: supervisor shutting down\n", ""},
		{"reread", answers{"reloadConfig": []any{}}, 1, text("'TypeError'>, reloadConfig answered with a value of an unexpected kind: []"), ""},
		{"update", answers{"reloadConfig": xmlrpc.ShutdownState}, 1, "ERROR: already shutting down\n", ""},
		{"update", answers{"reloadConfig": &xmlrpc.Fault{Code: 92, Text: "CANT_REREAD: a 'b' \"c\"\n\x01é\u2028"}}, 1,
			text(`'xmlrpc.client.Fault'>, <Fault 92: 'CANT_REREAD: a \'b\' "c"\n` + "\uFFFD" + `é\u2028'>`), ""},
		{"update", answers{"reloadConfig": []any{[]any{[]any{}, []any{}, []any{"a"}}}, "stopProcessGroup": []any{outcomeOf("a", "a", 30, "")}}, 1, "a: stopped\na: has problems; not removing\n", ""},
		{"update b c b", answers{"reloadConfig": []any{[]any{[]any{"b", "d"}, []any{}, []any{"a"}}}, "getAllProcessInfo": []any{}, "addProcessGroup": true}, 1, "ERROR: no such group: c\nb: added process group\n", ""},
		{"add a", answers{"addProcessGroup": xmlrpc.ShutdownState}, 1, "ERROR: shutting down\n", ""},
		{"remove a", answers{"removeProcessGroup": xmlrpc.Failed}, 1, text("'xmlrpc.client.Fault'>, <Fault 30: 'FAILED: detail'>"), ""},
		{"avail", answers{"getAllConfigInfo": xmlrpc.ShutdownState}, 1, "ERROR: supervisor shutting down\n", ""},
		// Logs.
		{"tail x", answers{"readProcessStdoutLog": "a\x1b[1m\n"}, 0, "a\uFFFD[1m\n\n", ""},
		{"tail x", answers{"readProcessStdoutLog": xmlrpc.Failed}, 1, "x: ERROR (unknown error reading log)\n", ""},
		{"tail x stderr", answers{"readProcessStderrLog": xmlrpc.BadArguments}, 1, text("'xmlrpc.client.Fault'>, <Fault 3: 'BAD_ARGUMENTS: detail'>"), ""},
		{"tail -3000000000 x", answers{}, 1, text("'OverflowError'>, int exceeds XML-RPC limits"), ""},
		{"maintail", answers{"readLog": xmlrpc.NoFile}, 1, "supervisord: ERROR (no log file)\n", ""},
		{"tail -f a:50%/?b", answers{"GET /logtail/a:50%25%2F%3Fb/stdout": "log\n\xff\n"}, 0, "==> Press Ctrl-C to exit <==\nlog\n\xff\n", ""},
		{"maintail -f", answers{"GET /mainlogtail": "log\n"}, 0, "==> Press Ctrl-C to exit <==\nlog\n", ""},
		{"tail -f x stderr", answers{}, 0, "==> Press Ctrl-C to exit <==\n", "unix://{SOCKET}/logtail/x/stderr Cannot read, status code 404\n"},
		{"fg x", answers{"getProcessInfo": info("x", "x", 10, "STARTING", "", 5)}, 1, "ERROR: process not running\n", ""},
		{"fg x", answers{"getProcessInfo": xmlrpc.Failed}, 0, "ERROR: <Fault 30: 'FAILED: detail'>\n", ""},
		{"fg x", answers{"getProcessInfo": info("x", "x", 20, "RUNNING", "", 5), "GET /logtail/x/stdout": "", "GET /logtail/x/stderr": ""}, 0, "==> Press Ctrl-C to exit <==\nExiting foreground\n", ""},
		// The daemon.
		{"shutdown", answers{"shutdown": xmlrpc.Failed}, 1, text("'xmlrpc.client.Fault'>, <Fault 30: 'FAILED: detail'>"), ""},
		{"reload", answers{"restart": xmlrpc.ShutdownState}, 1, "ERROR: already shutting down\n", ""},
		{"version", answers{"getSupervisorVersion": "tend 1.0"}, 0, "tend 1.0\n", ""},
		// Something that a plugin may have.
		{"cache_clear x", answers{}, 1, "*** Unknown syntax: cache_clear x\n", "hint: sections [ctlplugin:…] of {DIR}/c are left aside, since plugins are Python code\n"},
	} {
		t.Run(c.args, func(t *testing.T) {
			status, stdout, stderr := run(t, c.server, strings.Fields(c.args), "")
			if status != c.status {
				t.Errorf("exit status %d, not %d", status, c.status)
			}
			if diff := cmp.Diff(c.stdout, stdout); diff != "" {
				t.Errorf("stdout (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(c.stderr, stderr); diff != "" {
				t.Errorf("stderr (-want +got):\n%s", diff)
			}
		})
	}
}

// TestForeground: what ends fg, beside the user.
func TestForeground(t *testing.T) {
	for _, c := range []struct {
		answer any
		want   string
	}{
		{xmlrpc.NotRunning, "Process got killed\nExiting foreground\n"},
		{xmlrpc.NoFile, "ERROR: <Fault 20: 'NO_FILE: detail'>\nExiting foreground\n"},
		{true, "Exiting foreground\n"},
	} {
		server := answers{"getProcessInfo": info("x", "x", 20, "RUNNING", "", 5), "sendProcessStdin": c.answer, "GET /logtail/x/stdout": "", "GET /logtail/x/stderr": ""}
		status, stdout, _ := run(t, server, []string{"fg", "x"}, "a line\nwithout end")
		if want := "==> Press Ctrl-C to exit <==\n" + c.want; status != 0 || stdout != want {
			t.Errorf("%v: exit status %d\n%s", c.answer, status, cmp.Diff(want, stdout))
		}
	}
}

func TestShell(t *testing.T) {
	server := answers{"getAllProcessInfo": []any{info("web", "web", 20, "RUNNING", "d", 12)}, "getPID": "5", "shutdown": true, "restart": true}
	const web = "web                              RUNNING   d\n"
	for _, c := range []struct{ stdin, stdout string }{
		{"", web + "supervisor> \n"},
		{"pid\n\nquit\npid\n", web + "supervisor> 5\nsupervisor> supervisor> \n"},
		{"shutdown\nyes\nreload\nn\nreload\nY\nshutdown\n", web + "supervisor> Really shut the remote supervisord process down y/N? Shut down\n" +
			"supervisor> Really restart the remote supervisord process y/N? supervisor> Really restart the remote supervisord process y/N? Restarted supervisord\n" +
			"supervisor> Really shut the remote supervisord process down y/N? error: <class 'EOFError'>, EOF when reading a line: file: supervisorctl line: 0\nsupervisor> \n"},
		{"open unix://nowhere\npid\nopen mailto:x", web + "supervisor> unix://nowhere no such file\nsupervisor> unix://nowhere no such file\nsupervisor> ERROR: url must be http:// or unix://\nsupervisor> \n"},
	} {
		// The exit status is always 0, whatever failed.
		status, stdout, _ := run(t, server, []string{"-i"}, c.stdin)
		if status != 0 || stdout != c.stdout {
			t.Errorf("%q: exit status %d\n%s", c.stdin, status, cmp.Diff(c.stdout, stdout))
		}
	}
}

func TestLogin(t *testing.T) {
	server := answers{"login": "u:p", "getPID": "5"}
	if status, stdout, _ := run(t, server, []string{"-u", "u", "-p", "p", "pid"}, ""); status != 0 || stdout != "5\n" {
		t.Errorf("exit status %d: %s", status, stdout)
	}
	// A wrong one is asked for only in the shell.
	const refused = "Server requires authentication\nerror: <class 'xmlrpc.client.ProtocolError'>, <ProtocolError for 127.0.0.1/RPC2: 401 Unauthorized>: file: supervisorctl line: 0\n"
	if status, stdout, _ := run(t, server, []string{"-u", "u", "-p", "x", "pid"}, ""); status != 1 || stdout != refused {
		t.Errorf("exit status %d: %s", status, stdout)
	}
	// One half of it isn't sent.
	if status, stdout, _ := run(t, server, []string{"-p", "p", "pid"}, ""); status != 1 || stdout != refused {
		t.Errorf("exit status %d: %s", status, stdout)
	}
}

func TestUsage(t *testing.T) {
	for _, c := range []struct {
		args   string
		status int
		want   string
	}{
		{"-z", 2, "Error: option -z not recognized\n"},
		{"--c", 2, "Error: option --configuration requires argument\n"},
		{"-c x -c y", 2, "Error: conflicting command line option '-c'\n"},
		{"-s nothing", 2, "Error: invalid value for -s 'nothing': value 'nothing' is not a URL\n"},
		{"-c /nonexistent/x version", 2, "Error: could not find config file /nonexistent/x\n"},
	} {
		status, stdout, stderr := run(t, answers{}, strings.Fields(c.args), "")
		if want := c.want + "For help, use /usr/bin/supervisorctl -h\n"; status != c.status || stdout != "" || stderr != want {
			t.Errorf("%s: exit status %d, %s%s", c.args, status, stdout, stderr)
		}
	}
	if status, stdout, _ := run(t, answers{}, []string{"--help"}, ""); status != 0 || !strings.Contains(stdout, "Usage: /usr/bin/supervisorctl [options]") {
		t.Errorf("exit status %d: %s", status, stdout)
	}
}

// TestSearch: the places of the configuration file, in their order.
func TestSearch(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	program := filepath.Join(dir, "usr", "bin", "supervisorctl")
	places := []string{"usr/etc/supervisord.conf", "usr/supervisord.conf", "supervisord.conf", "etc/supervisord.conf"}
	for _, place := range places {
		if err := os.MkdirAll(filepath.Dir(place), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(place, []byte("[supervisorctl]\nserverurl=unix://%(here)s/s\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, place := range places {
		var out bytes.Buffer
		Main([]string{program, "pid"}, strings.NewReader(""), &out, io.Discard, nil)
		if want := "unix://" + filepath.Join(dir, filepath.Dir(place), "s") + " no such file\n"; out.String() != want {
			t.Errorf("%s: %s", place, out.String())
		}
		if err := os.Remove(place); err != nil {
			t.Fatal(err)
		}
	}
}

func TestCompletions(t *testing.T) {
	s := &session{known: []process{{name: parseName("web")}, {name: parseName("g:a-1")}, {name: parseName("g:a-2")}}}
	for _, c := range []struct{ line, want string }{
		{"", "add ,avail ,clear ,exit ,fg ,help ,maintail ,open ,pid ,quit ,reload ,remove ,reread ,restart ,shutdown ,signal ,start ,status ,stop ,tail ,update ,version "},
		{"st", "start ,status ,stop "},
		{"help sta", "start ,status "},
		{"update ", "g ,web "},
		{"start ", "g:* ,g:a-1 ,g:a-2 ,web "},
		{"start g:a", "g:a-1 ,g:a-2 "},
		{"start web g", "g:* ,g:a-1 ,g:a-2 "},
		{"start nope", ""},
		{"version ", ""},
	} {
		word := c.line[strings.LastIndexByte(c.line, ' ')+1:]
		if got := strings.Join(s.completions(c.line, word), ","); got != c.want {
			t.Errorf("%q: %s", c.line, got)
		}
	}
}

func TestRepr(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"a", `'a'`}, {"it's", `"it's"`}, {`it's "x"`, `'it\'s "x"'`}, {"a\\b\n\t\r\x00\x7f", `'a\\b\n\t\r\x00\x7f'`}, {"é€🦊", `'é€🦊'`}, {"\u00a0\u200b\U000e0001", `'\xa0\u200b\U000e0001'`},
	} {
		if got := repr(c.text); got != c.want {
			t.Errorf("%q is written %s, not %s", c.text, got, c.want)
		}
	}
}

func TestToInt(t *testing.T) {
	for _, c := range []struct {
		text string
		want int
		ok   bool
	}{{"5", 5, true}, {"-5", -5, true}, {"+5", 5, true}, {"1_000", 1000, true}, {"007", 7, true}, {"", 0, false}, {"-", 0, false}, {"--5", 0, false}, {"-+5", 0, false}, {"_5", 0, false}, {"5_", 0, false}, {"5__5", 0, false}, {"0x5", 0, false}, {"5.0", 0, false}} {
		if got, ok := toInt(c.text); got != c.want || ok != c.ok {
			t.Errorf("%q is %d, %v", c.text, got, ok)
		}
	}
}

// TestActionsAreHelped: each action has its text and is in the list.
func TestActionsAreHelped(t *testing.T) {
	for name := range actions {
		if name == "EOF" {
			continue
		}
		if helpTexts[name] == "" {
			t.Errorf("%s has no help", name)
		}
		if listed := slices.Contains(regexp.MustCompile(`\w+`).FindAllString(actionList, -1), name); !listed && name != "help" {
			t.Errorf("%s isn't listed", name)
		}
	}
}

// FuzzConfiguration: whatever a file holds, it is read or refused.
func FuzzConfiguration(f *testing.F) {
	f.Add("[supervisorctl]\nserverurl = unix://%(here)s/s ; x\n more\n\n# y\nprompt: %%\n")
	f.Add("[a]b]\n=\n[")
	f.Add("%(a)-10.3s %(a)d %(")
	f.Fuzz(func(t *testing.T, text string) {
		sections, err := parseConfiguration(text)
		if err == nil {
			for _, options := range sections {
				for _, value := range options {
					_, _ = expand(value, map[string]string{"here": "/x"}, "a.b")
				}
			}
		}
		_, _ = expand(text, map[string]string{"here": "/x"}, "a.b")
	})
}

package supervisorctl

import (
	"bytes"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tend/internal/xmlrpc"
)

// A recording is one command of the real supervisorctl, with what it said to
// supervisord and what that answered.
type recording struct {
	args, stdin, stdout, stderr string
	exit                        int
	interrupted                 bool
	exchanges                   []exchange
}

type exchange struct {
	request string // "supervisor.getVersion []" or "GET /path"
	status  int
	body    []byte
}

var (
	pieces    = regexp.MustCompile(`\n\[(new connection|client|server)\]\n`)
	requests  = regexp.MustCompile(`(POST|GET) (\S+) HTTP/1\.1\r?\n`)
	responses = regexp.MustCompile(`HTTP/1\.1 (\d{3}) [A-Za-z ]+\r?\n`)
)

func readRecording(t *testing.T, file string) recording {
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	head, wire, _ := strings.Cut(string(text), "--- http\n")
	head, stderr, _ := strings.Cut(head, "--- stderr\n")
	head, stdout, _ := strings.Cut(head, "--- stdout\n")
	head, stdin, _ := strings.Cut(head, "--- stdin\n")
	r := recording{stdin: stdin, stdout: stdout, stderr: stderr}
	command, exit, _ := strings.Cut(head, "\nexit: ")
	r.args = strings.TrimPrefix(command, "$ supervisorctl ")
	fields := strings.Fields(exit)
	r.interrupted = len(fields) > 1
	if r.exit, err = strconv.Atoi(fields[len(fields)-1]); err != nil {
		t.Fatalf("%s: exit %q", file, exit)
	}

	// What each side said, whatever the pieces in which it came.
	var client, server strings.Builder
	marks := pieces.FindAllStringSubmatchIndex(wire, -1)
	for i, m := range marks {
		end := len(wire)
		if i+1 < len(marks) {
			end = marks[i+1][0]
		}
		switch wire[m[2]:m[3]] {
		case "client":
			client.WriteString(wire[m[1]:end])
		case "server":
			server.WriteString(wire[m[1]:end])
		}
	}
	answers := split(server.String(), responses)
	for i, message := range split(client.String(), requests) {
		m := requests.FindStringSubmatch(message)
		e := exchange{request: m[1] + " " + m[2]}
		if m[1] == "POST" {
			call, err := xmlrpc.DecodeCall(strings.NewReader(message[strings.Index(message, "<?xml"):]), xmlrpc.CallLimits)
			if err != nil {
				t.Fatalf("%s: %v", file, err)
			}
			e.request = fmt.Sprint(call.Method, call.Params)
		}
		if i < len(answers) {
			head, body, _ := strings.Cut(strings.ReplaceAll(answers[i], "\r\n", "\n"), "\n\n")
			e.status, _ = strconv.Atoi(responses.FindStringSubmatch(answers[i])[1])
			e.body = []byte(body)
			if strings.Contains(head, "chunked") {
				_, raw, _ := strings.Cut(answers[i], "\r\n\r\n")
				e.body = unchunk(raw)
			}
		}
		r.exchanges = append(r.exchanges, e)
	}
	return r
}

// split cuts text before each match.
func split(text string, re *regexp.Regexp) []string {
	var list []string
	for at := re.FindAllStringIndex(text, -1); len(at) > 0; at = at[1:] {
		end := len(text)
		if len(at) > 1 {
			end = at[1][0]
		}
		list = append(list, text[at[0][0]:end])
	}
	return list
}

// unchunk undoes Transfer-Encoding: chunked, as far as there is something.
func unchunk(raw string) []byte {
	var body []byte
	for {
		size, rest, ok := strings.Cut(raw, "\r\n")
		n, err := strconv.ParseInt(size, 16, 32)
		if !ok || err != nil || int(n) > len(rest) {
			return body
		}
		body = append(body, rest[:n]...)
		raw = strings.TrimPrefix(rest[n:], "\r\n")
	}
}

// replay is a server that answers as recorded, each exchange once and in order.
type replay struct {
	mu        sync.Mutex
	exchanges []exchange
	wrong     []string
}

func (p *replay) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	request := r.Method + " " + r.URL.EscapedPath()
	if r.Method == "POST" {
		call, err := xmlrpc.DecodeCall(r.Body, xmlrpc.CallLimits)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		request = fmt.Sprint(call.Method, call.Params)
	}
	p.mu.Lock()
	if len(p.exchanges) == 0 || p.exchanges[0].request != request {
		p.wrong = append(p.wrong, request)
		p.mu.Unlock()
		http.Error(w, "not recorded", http.StatusTeapot)
		return
	}
	e := p.exchanges[0]
	p.exchanges = p.exchanges[1:]
	p.mu.Unlock()
	w.WriteHeader(e.status)
	w.Write(e.body)
	if r.Method == "GET" && e.status == 200 {
		http.NewResponseController(w).Flush()
		<-r.Context().Done() // logs go on for ever
	}
}

// listenUnix starts a server on a unix socket and returns its path.
func listenUnix(t *testing.T, handler http.Handler) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "ctl") // the name of a test may be too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	socket := filepath.Join(dir, "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server := &httptest.Server{Listener: l, Config: &http.Server{Handler: handler}}
	server.Start()
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
	})
	return socket
}

// watched is a buffer that does something once it holds a text.
type watched struct {
	buffer bytes.Buffer
	until  string
	do     func()
}

func (w *watched) String() string { return w.buffer.String() }

func (w *watched) Write(p []byte) (int, error) {
	n, err := w.buffer.Write(p)
	if w.do != nil && w.String() == w.until {
		w.do()
		w.do = nil
	}
	return n, err
}

// TestRecorded repeats the recorded commands against what supervisord answered
// to them: the same calls have to be made, in the same order, and the same has
// to be printed.
func TestRecorded(t *testing.T) {
	files, _ := filepath.Glob(filepath.Join(shared(t, "ctl"), "*.txt"))
	repeated := 0
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".txt")
		// These spoke to another server or to none, or depend on how fast two
		// streams are. TestBesideSupervisorctl has them.
		if slices.ContainsFunc([]string{"tcp", "nosock", "refused", "down", "open_http", "fg_cat", "fg_nolog"}, func(part string) bool { return strings.Contains(name[4:], part) }) &&
			!strings.Contains(name, "shutdown_a") && name != "111-shutdown" {
			continue
		}
		t.Run(name, func(t *testing.T) {
			r := readRecording(t, file)
			server := &replay{exchanges: r.exchanges}
			socket := listenUnix(t, server)
			config := filepath.Join(filepath.Dir(socket), "ctl.conf")
			if err := os.WriteFile(config, []byte("[supervisorctl]\nserverurl=unix://"+socket+"\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			stdout, stderr := &watched{}, &bytes.Buffer{}
			if r.interrupted {
				stdout.until = strings.TrimSuffix(r.stdout, "\n")
				stdout.do = func() { _ = syscall.Kill(os.Getpid(), syscall.SIGINT) }
			}
			status := Main(append([]string{"/usr/bin/supervisorctl", "-c", config}, strings.Fields(r.args)...), strings.NewReader(r.stdin), stdout, stderr, nil)
			if status != r.exit {
				t.Errorf("exit status %d, not %d", status, r.exit)
			}
			mask := func(text string) string {
				text = strings.ReplaceAll(text, socket, "{RUN}/proxy.sock")
				return regexp.MustCompile(`file: \S+ line: \d+`).ReplaceAllString(text, "file: F line: N")
			}
			if diff := cmp.Diff(mask(r.stdout), mask(stdout.String())); diff != "" {
				t.Errorf("stdout (-recorded +ours):\n%s", diff)
			}
			if diff := cmp.Diff(mask(r.stderr), mask(stderr.String())); diff != "" {
				t.Errorf("stderr (-recorded +ours):\n%s", diff)
			}
			if len(server.wrong) > 0 || len(server.exchanges) > 0 {
				t.Errorf("asked for %v when it wasn't recorded; never asked for %v", server.wrong, server.exchanges)
			}
			repeated++
		})
	}
	t.Logf("%d recorded commands repeated", repeated)
}

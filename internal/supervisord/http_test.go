package supervisord

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tend/internal/svconf"
	"tend/internal/xmlrpc"
)

// A simple Daemon has one process, web, whose start may be held up.
type simple struct {
	dir   string
	state DaemonState
	hold  chan struct{} // Start reports when it can receive
	begun chan struct{} // and sends here when it waits
	got   chan string   // remote communication
}

func newSimple(t testing.TB) *simple {
	d := &simple{dir: t.TempDir(), state: DaemonRunning, hold: make(chan struct{}), begun: make(chan struct{}, 16), got: make(chan string, 1)}
	for _, name := range []string{"web.out", "own.log"} {
		if err := os.WriteFile(filepath.Join(d.dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return d
}

func (d *simple) Info() Info {
	return Info{State: d.state, PID: 1, Identifier: "x", Version: "4.2.5", Log: filepath.Join(d.dir, "own.log")}
}
func (d *simple) Groups() []Group {
	g, _ := d.Group("web")
	return []Group{g}
}
func (d *simple) Group(name string) (Group, bool) {
	if name != "web" {
		return Group{}, false
	}
	return Group{"web", []Process{{ID: ID{"web", "web"}, Stdout: filepath.Join(d.dir, "web.out")}}}, true
}
func (d *simple) Configured() []Configured { return nil }
func (d *simple) Start(ctx context.Context, ids []ID, wait bool, report func(ID, Outcome)) error {
	if wait {
		select {
		case d.begun <- struct{}{}:
		default: // nobody wants to know
		}
		select {
		case <-d.hold:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	for _, id := range ids {
		report(id, Outcome{})
	}
	return nil
}
func (d *simple) Stop(_ context.Context, ids []ID, _ bool, report func(ID, Outcome)) error {
	for _, id := range ids {
		report(id, Outcome{Kind: NotRunning})
	}
	return nil
}
func (d *simple) Signal(ID, svconf.Signal) Outcome            { return Outcome{} }
func (d *simple) WriteStdin(ID, string) Outcome               { return Outcome{} }
func (d *simple) ClearLogs(ID) Outcome                        { return Outcome{} }
func (d *simple) ClearLog() error                             { return nil }
func (d *simple) Reread(context.Context) (Changes, error)     { return Changes{}, nil }
func (d *simple) AddGroup(context.Context, string) Outcome    { return Outcome{Kind: BadName} }
func (d *simple) RemoveGroup(context.Context, string) Outcome { return Outcome{Kind: BadName} }
func (d *simple) Shutdown()                                   {}
func (d *simple) Restart()                                    {}
func (d *simple) RemoteCommunication(typ, data string) {
	select {
	case d.got <- typ + "|" + data:
	default:
	}
}

// serve serves a Daemon on a unix socket, and returns how to connect to it.
func serve(t testing.TB, d Daemon, limits Limits, login *Login) (*Server, func() net.Conn) {
	t.Helper()
	s := NewServer(Options{Daemon: d, Limits: limits})
	server := svconf.Server{Section: "unix_http_server", File: filepath.Join(t.TempDir(), "s"), Chmod: 0o700}
	l, err := Listen(server, nil)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Serve(l, login) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		s.Shutdown(ctx)
		if err := <-done; err != nil {
			t.Error(err)
		}
		l.Remove()
		if _, err := os.Lstat(server.File); err == nil {
			t.Error("the socket is still there")
		}
	})
	return s, func() net.Conn {
		c, err := net.Dial("unix", server.File)
		if err != nil {
			t.Fatal(err)
		}
		_ = c.SetDeadline(time.Now().Add(20 * time.Second))
		t.Cleanup(func() { c.Close() })
		return c
	}
}

func post(body string, fields ...string) string {
	return fmt.Sprintf("POST /RPC2 HTTP/1.1\r\n%sContent-Length: %d\r\n\r\n%s", strings.Join(fields, ""), len(body), body)
}

func call(t testing.TB, method string, params ...any) string {
	t.Helper()
	b, err := xmlrpc.EncodeCall(method, params...)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// ask sends a request on a new connection and returns the answer.
func ask(t testing.TB, c net.Conn, request string) reply {
	t.Helper()
	if _, err := io.WriteString(c, request); err != nil {
		t.Fatal(err)
	}
	a, err := readReply(bufio.NewReader(c))
	if err != nil {
		t.Fatalf("%.80q: %v", request, err)
	}
	return a
}

func TestRequests(t *testing.T) {
	_, dial := serve(t, newSimple(t), Limits{}, nil)
	state := call(t, "supervisor.getState")
	big := strings.Repeat("x", 100<<10)
	for request, want := range map[string]string{
		post(state): "HTTP/1.1 200 OK",
		strings.ReplaceAll(post(state), "\r\n", "\n"):                                   "HTTP/1.1 200 OK",
		"\r\n" + post(state):                                                            "HTTP/1.1 200 OK",
		strings.Replace(post(state), "/RPC2", "http://host:1/RPC2?a", 1):                "HTTP/1.1 200 OK",
		post(state, "Content-Length: 5\r\n"):                                            "HTTP/1.1 400 Bad Request",
		post(state, "Content-Length: -5\r\n"):                                           "HTTP/1.1 400 Bad Request",
		post(state, "Transfer-Encoding: chunked\r\n"):                                   "HTTP/1.1 411 Length Required",
		post(state, "X: "+strings.Repeat("x", maxLine)+"\r\n"):                          "HTTP/1.1 431 Request Header Fields Too Large",
		post(state, strings.Repeat("X: "+strings.Repeat("x", 2000)+"\r\n", 9)):          "HTTP/1.1 431 Request Header Fields Too Large",
		"POST /RPC2 HTTP/1.1\r\nContent-Length: 4194305\r\n\r\n":                        "HTTP/1.1 413 Request Entity Too Large",
		"POST /RPC2 HTTP/1.1\r\nContent-Length: 99999999999999999999999\r\n\r\n":        "HTTP/1.1 400 Bad Request",
		"POST /RPC2 HTTP/2.0\r\n\r\n":                                                   "HTTP/1.1 400 Bad Request",
		"POST  /RPC2 HTTP/1.1\r\n\r\n":                                                  "HTTP/1.1 400 Bad Request",
		"GET RPC2 HTTP/1.1\r\n\r\n":                                                     "HTTP/1.1 400 Bad Request",
		"POST /RPC2 HTTP/1.1\rX\r\n\r\n":                                                "HTTP/1.1 400 Bad Request",
		post(call(t, "supervisor.sendRemoteCommEvent", "t", big)):                       "HTTP/1.1 200 OK",
		post(call(t, "supervisor.startProcess", 5)):                                     "HTTP/1.1 500 Internal Server Error",
		"PUT /x HTTP/1.0\r\nContent-Length: 3\r\n\r\nabc":                               "HTTP/1.0 400 Bad Request",
		"PUT /x HTTP/1.1\r\nContent-Length: 99999\r\n\r\n" + strings.Repeat("x", 99999): "HTTP/1.1 400 Bad Request",
		"GET /logtail/web/stdin HTTP/1.1\r\n\r\n":                                       "HTTP/1.1 404 Not Found",
		"GET /logtail/%zz HTTP/1.1\r\n\r\n":                                             "HTTP/1.1 404 Not Found",
	} {
		if got := ask(t, dial(), request).status; got != want {
			t.Errorf("%.100q is answered %q, not %q", request, got, want)
		}
	}
}

// TestConnection: several requests on one connection, one after the other and at
// once, until one ends it.
func TestConnection(t *testing.T) {
	_, dial := serve(t, newSimple(t), Limits{}, nil)
	c := dial()
	state, wrong := post(call(t, "supervisor.getState")), "PUT /x HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc"
	last := post(call(t, "supervisor.getState"), "Connection: close\r\n")
	if _, err := io.WriteString(c, state+wrong+state+last+state); err != nil {
		t.Fatal(err)
	}
	r := bufio.NewReader(c)
	for i, want := range []string{"HTTP/1.1 200 OK", "HTTP/1.1 400 Bad Request", "HTTP/1.1 200 OK", "HTTP/1.1 200 OK"} {
		got, err := readReply(r)
		if err != nil || got.status != want || (got.header.Get("Connection") == "close") != (i == 3) {
			t.Errorf("answer %d: %v, %v", i, got, err)
		}
	}
	if n, err := io.Copy(io.Discard, r); n > 0 || err != nil {
		t.Errorf("%d bytes more, %v", n, err)
	}
	c = dial()
	a := ask(t, c, strings.Replace(post(call(t, "supervisor.getState"), "Connection: Keep-Alive\r\n"), "HTTP/1.1", "HTTP/1.0", 1))
	if a.status != "HTTP/1.0 200 OK" || a.header.Get("Connection") != "Keep-Alive" {
		t.Errorf("HTTP/1.0 that stays: %v", a)
	}
	a = ask(t, c, strings.Replace(state, "HTTP/1.1", "HTTP/1.0", 1))
	if n, err := io.Copy(io.Discard, c); a.status != "HTTP/1.0 200 OK" || n > 0 || err != nil {
		t.Errorf("HTTP/1.0 that goes: %v, %d, %v", a, n, err)
	}
}

func TestLogin(t *testing.T) {
	for _, l := range []*Login{{"user", "pass:word"}, {"user", "{SHA}d1c9d0a8dc2dfd09d6a2a11bf1a5fb1d3da6bd51"}} {
		if strings.HasPrefix(l.Password, "{SHA}") {
			l.Password = "{SHA}" + sha1Of("pass:word")
		}
		_, dial := serve(t, newSimple(t), Limits{}, l)
		for login, want := range map[string]string{
			"":                                 "401",
			"Basic " + b64("user:pass:word"):   "200",
			"basic  " + b64("user:pass:word"):  "200",
			"Basic " + b64("user:pass"):        "401",
			"Basic " + b64("User:pass:word"):   "401",
			"Basic " + b64("user:"+l.Password): map[bool]string{true: "401", false: "200"}[strings.HasPrefix(l.Password, "{")],
			"Basic":                            "500",
			"Basic !!":                         "500",
			"Digest x":                         "401",
		} {
			field := "Authorization: " + login + "\r\n"
			if login == "" {
				field = ""
			}
			a := ask(t, dial(), post(call(t, "supervisor.getState"), field))
			if !strings.Contains(a.status, want) {
				t.Errorf("%q is answered %q, not %s", login, a.status, want)
			}
			if want == "401" && (a.header.Get("Www-Authenticate") != `Basic realm="default"` || a.header.Get("Connection") != "close") {
				t.Errorf("%q is answered with %v", login, a.header)
			}
		}
	}
	empty, secret := "", "x"
	if LoginOf(svconf.Server{}) != nil || LoginOf(svconf.Server{Username: &empty, Password: &secret}) != nil {
		t.Error("a login where there is none")
	}
}

// TestLongCall: a call that waits holds its own connection and no other.
func TestLongCall(t *testing.T) {
	d := newSimple(t)
	_, dial := serve(t, d, Limits{}, nil)
	waiting := dial()
	if _, err := io.WriteString(waiting, post(call(t, "supervisor.startProcess", "web"))); err != nil {
		t.Fatal(err)
	}
	<-d.begun
	if a := ask(t, dial(), post(call(t, "supervisor.getState"))); a.status != "HTTP/1.1 200 OK" {
		t.Errorf("beside a long call: %v", a)
	}
	close(d.hold)
	if a, err := readReply(bufio.NewReader(waiting)); err != nil || !bytes.Contains(a.body, []byte("<boolean>1</boolean>")) {
		t.Errorf("%v, %s", err, a.body)
	}
}

// TestShutdownWaits: an answer that is under way is waited for, as long as there is
// time; streams and idle connections aren't.
func TestShutdownWaits(t *testing.T) {
	d := newSimple(t)
	s, dial := serve(t, d, Limits{}, nil)
	waiting, stream, idle := dial(), dial(), dial()
	ask(t, idle, post(call(t, "supervisor.getState")))
	if _, err := io.WriteString(waiting, post(call(t, "supervisor.startProcess", "web"))); err != nil {
		t.Fatal(err)
	}
	<-d.begun
	if _, err := io.WriteString(stream, "GET /logtail/web HTTP/1.1\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	r := bufio.NewReader(stream)
	if line, err := r.ReadString('\n'); line != "HTTP/1.1 200 OK\r\n" || err != nil {
		t.Fatalf("%q, %v", line, err)
	}
	done := make(chan struct{})
	go func() {
		s.Shutdown(context.Background())
		close(done)
	}()
	for _, c := range []io.Reader{r, idle} {
		if _, err := io.Copy(io.Discard, c); err != nil {
			t.Error(err)
		}
	}
	select {
	case <-done:
		t.Error("it didn't wait")
	default:
	}
	close(d.hold)
	if a, err := readReply(bufio.NewReader(waiting)); err != nil || a.status != "HTTP/1.1 200 OK" {
		t.Errorf("%v, %v", a, err)
	}
	<-done
}

// TestShutdownBreaksOff: it doesn't wait for ever.
func TestShutdownBreaksOff(t *testing.T) {
	d := newSimple(t)
	s, dial := serve(t, d, Limits{}, nil)
	waiting := dial()
	if _, err := io.WriteString(waiting, post(call(t, "supervisor.startProcess", "web"))); err != nil {
		t.Fatal(err)
	}
	<-d.begun
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	s.Shutdown(ctx)
	if _, err := io.Copy(io.Discard, waiting); err != nil {
		t.Error(err)
	}
}

// TestLimits: who is slow is let go, and who is idle makes room.
func TestLimits(t *testing.T) {
	d := newSimple(t)
	short := 50 * time.Millisecond
	_, dial := serve(t, d, Limits{Connections: 2, Idle: time.Minute, Header: short, Body: short, Write: time.Second}, nil)
	slow := dial()
	if a := ask(t, slow, "POST /RPC2 HT"); a.status != "HTTP/1.1 408 Request Timeout" {
		t.Errorf("a slow header is answered %v", a)
	}
	slow.Close()
	body := dial()
	if _, err := io.WriteString(body, "POST /RPC2 HTTP/1.1\r\nContent-Length: 9\r\n\r\nx"); err != nil {
		t.Fatal(err)
	}
	if n, err := io.Copy(io.Discard, body); n > 0 || err != nil {
		t.Errorf("a slow body is answered: %d, %v", n, err)
	}
	body.Close()
	state := post(call(t, "supervisor.getState"))
	first := dial()
	ask(t, first, state)
	var others []net.Conn
	for range 3 {
		c := dial()
		ask(t, c, state)
		others = append(others, c)
	}
	if n, err := io.Copy(io.Discard, first); n > 0 || err != nil {
		t.Errorf("the one that was idle longest gets %d, %v", n, err)
	}
	ask(t, others[2], state)
	ask(t, others[1], state)
}

// TestStream follows a log over a truncation and a rotation.
func TestStream(t *testing.T) {
	d := newSimple(t)
	_, dial := serve(t, d, Limits{}, nil)
	path := filepath.Join(d.dir, "web.out")
	add := func(text string, how int) {
		f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|how, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if _, err := f.WriteString(text); err != nil {
			t.Fatal(err)
		}
	}
	add(strings.Repeat("a", 2000)+"end\n", os.O_APPEND)
	c := dial()
	r := bufio.NewReader(c)
	if _, err := io.WriteString(c, "GET /logtail/web%3Aweb/stdout HTTP/1.0\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		if line == "\r\n" {
			break
		}
	}
	want := func(text string) {
		t.Helper()
		got := make([]byte, len(text))
		if _, err := io.ReadFull(r, got); err != nil || string(got) != text {
			t.Fatalf("%q, not %q, %v", got, text, err)
		}
	}
	want(strings.Repeat("a", 1020) + "end\n")
	add("more\n", os.O_APPEND)
	want("more\n")
	add("x\n", os.O_TRUNC)
	want(truncatedMark + "x\n")
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	add("new\n", os.O_APPEND)
	want("new\n")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	add("newer\n", os.O_APPEND)
	want("newer\n")
	a := ask(t, dial(), "GET /logtail/nobody HTTP/1.1\r\n\r\n")
	if a.status != "HTTP/1.1 404 Not Found" {
		t.Errorf("%v", a)
	}
}

func TestListen(t *testing.T) {
	dir := t.TempDir()
	server := svconf.Server{Section: "unix_http_server", File: filepath.Join(dir, "s"), Chmod: 0o750, Chown: &svconf.Owner{UID: os.Getuid(), GID: os.Getgid()}}
	var notes []string
	note := func(text string) { notes = append(notes, text) }
	l, err := Listen(server, note)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Lstat(server.File); err != nil || info.Mode() != os.ModeSocket|0o750 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	if _, err := Listen(server, note); err == nil || !strings.Contains(err.Error(), alreadyListening) {
		t.Errorf("a second one gives %v", err)
	}
	l.Close() // without removing it, as when it dies
	again, err := Listen(server, note)
	if err != nil {
		t.Fatal(err)
	}
	if len(notes) != 1 || notes[0] != "Unlinking stale socket "+server.File {
		t.Errorf("notes: %q", notes)
	}
	l.Remove() // which isn't its own any more
	if _, err := os.Lstat(server.File); err != nil {
		t.Error(err)
	}
	again.Close()
	again.Remove()
	if entries, err := os.ReadDir(dir); err != nil || len(entries) > 0 {
		t.Errorf("what is left: %v, %v", entries, err)
	}
	if err := os.WriteFile(server.File, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Listen(server, note); err == nil || !strings.Contains(err.Error(), "is not a socket") {
		t.Errorf("a file in its place gives %v", err)
	}
	server.File = filepath.Join(dir, "none", "s")
	if _, err := Listen(server, note); err == nil {
		t.Error("it listens in a folder that isn't there")
	}
	tcp, err := Listen(svconf.Server{Section: "inet_http_server", Host: "127.0.0.1"}, note)
	if err != nil {
		t.Fatal(err)
	}
	defer tcp.Close()
	port := tcp.Addr().(*net.TCPAddr).Port
	if _, err := Listen(svconf.Server{Section: "inet_http_server", Host: "127.0.0.1", Port: port}, note); err == nil || !strings.Contains(err.Error(), alreadyListening) {
		t.Errorf("a second one on TCP gives %v", err)
	}
}

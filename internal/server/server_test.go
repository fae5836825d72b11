package server

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tend/api"
	"tend/internal/event"
)

func TestClient(t *testing.T) {
	s := serve(t, nil)
	ctx, c := within(t), s.client
	list, err := c.Instances(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(s.fake.instances, list); d != "" {
		t.Error("instances:", d)
	}
	plan, err := c.Plan(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(s.fake.plan, plan); d != "" {
		t.Error("plan:", d)
	}
	if _, err := c.Reload(ctx, api.ReloadOptions{AllowEmpty: true}); err != nil || s.fake.last() != "reload {AllowEmpty:true Wait:false}" {
		t.Error(s.fake.last(), err)
	}
	if d, err := c.Daemon(ctx); err != nil || d.PID != 812 || d.Config == nil {
		t.Errorf("daemon: %+v, %v; want pid 812 and an empty list", d, err)
	}
	if u, err := c.Upgrade(ctx, api.UpgradeOptions{Binary: "/bin/tend"}); err != nil || u.To != "2" || s.fake.last() != "upgrade {Binary:/bin/tend}" {
		t.Errorf("Upgrade: %v, %+v, %s", err, u, s.fake.last())
	}
	if err := c.Shutdown(ctx, api.ShutdownOptions{Now: true}); err != nil || s.fake.last() != "shutdown {Now:true}" {
		t.Error(s.fake.last(), err)
	}
	if runs, err := c.History(ctx, "web:*", api.HistoryOptions{Limit: 3, Since: then}); err != nil || len(runs) != 2 || !runs[0].Running || runs[0].Lines == nil || !runs[1].End().Equal(then.Add(time.Minute)) ||
		s.fake.last() != "history web:* "+then.UTC().Format(time.RFC3339)+" 3" {
		t.Errorf("History = %+v, %v; asked %q", runs, err, s.fake.last())
	}
	if w, err := c.Why(ctx, "web:*"); err != nil || len(w) != 1 || w[0].Ends[0].Times != 4 || s.fake.last() != "why web:*" {
		t.Errorf("%+v, %v, asked %s", w, err, s.fake.last())
	}
	if _, err := c.Add(ctx, api.Add{Name: "x", Config: map[string]any{"command": "y"}}); err != nil || s.fake.last() != "add x map[command:y]" {
		t.Error(s.fake.last(), err)
	}
	if _, err := c.Remove(ctx, "x"); err != nil || s.fake.last() != "remove x" {
		t.Error(s.fake.last(), err)
	}
	if _, err := c.Scale(ctx, "web", 0); err != nil || s.fake.last() != "scale web 0" {
		t.Error(s.fake.last(), err)
	}
	if e, err := c.Exec(ctx, "web"); err != nil || e.Limits[0].Hard != nil || s.fake.last() != "exec web" {
		t.Errorf("%+v, %v, asked %s", e, err, s.fake.last())
	}
	r, err := c.Act(ctx, "signal", "web", api.Act{Signal: "HUP"})
	if err != nil || len(r.Results) != 1 || !r.Pending || s.fake.last() != "signal web {NoWait:false Signal:HUP Rolling:false}" {
		t.Errorf("%+v, %v, asked %s", r, err, s.fake.last())
	}
}

func TestNames(t *testing.T) {
	s := serve(t, nil)
	for _, name := range []string{"web", "queue:0", "queue:*", "w*", "[ab]?", "a/b", "a b", "a+b", "..", ".", "100%", "%2F", "größe", "a?b#c", "logs", "x/logs", "start"} {
		if _, err := s.client.Act(within(t), "start", name, api.Act{}); err != nil {
			t.Errorf("%q: %v", name, err)
		} else if want := fmt.Sprintf("start %s {NoWait:false Signal: Rolling:false}", name); s.fake.last() != want {
			t.Errorf("asked %q, want %q", s.fake.last(), want)
		}
		if p, err := s.client.Program(within(t), name); err != nil || p.Name != name {
			t.Errorf("program %q: %+v, %v", name, p, err)
		}
	}
	// Names that a person may leave as they are.
	for _, target := range []string{"/v1/programs/queue:*", "/v1/programs/queue%3a%2A"} {
		if r, _ := s.do(t, "GET", target, ""); r.StatusCode != 200 || s.fake.last() != "program queue:*" {
			t.Errorf("%s: %s, asked %q", target, r.Status, s.fake.last())
		}
	}
}

func TestErrors(t *testing.T) {
	s := serve(t, nil)
	long := `{"signal": "` + strings.Repeat("x", maxBody) + `"}`
	for _, test := range []struct {
		method, target, body string
		status               int
		kind, message        string // message is a part of it
	}{
		{"GET", "/nothing", "", 404, api.KindNotFound, "unknown path /nothing"},
		{"GET", "/assets/nothing", "", 404, api.KindNotFound, "unknown path /assets/nothing"},
		{"GET", "/v1/programs/", "", 404, api.KindNotFound, "unknown path"},
		{"GET", "/v1/programs/a/b", "", 404, api.KindNotFound, "unknown path"},
		{"GET", "/v1/plan/", "", 404, api.KindNotFound, "unknown path"},
		{"DELETE", "/v1/programs", "", 405, api.KindBadRequest, "/v1/programs takes GET or POST, not DELETE"},
		{"GET", "/v1/programs/web/start", "", 405, api.KindBadRequest, "takes POST, not GET"},
		{"GET", "/v1/plan?deep=1", "", 400, api.KindBadRequest, `unknown parameter "deep"`},
		{"GET", "/v1/events?since=x", "", 400, api.KindBadRequest, `since must be the number of an event, not "x"`},
		{"GET", "/v1/events?follow=maybe", "", 400, api.KindBadRequest, `follow must be 1 or 0, not "maybe"`},
		{"GET", "/v1/events?%zz", "", 400, api.KindBadRequest, "cannot read the query"},
		{"GET", "/v1/programs/web/history?limit=0", "", 400, api.KindBadRequest, `limit must be a number from 1 up, not "0"`},
		{"GET", "/v1/programs/web/history?since=x", "", 400, api.KindBadRequest, `since must be a time, not "x"`},
		{"GET", "/v1/programs/web/logs?lines=x", "", 400, api.KindBadRequest, `lines must be a number, not "x"`},
		{"GET", "/v1/programs/web/logs?since=x", "", 400, api.KindBadRequest, `since must be the id of an event, not "x"`},
		{"GET", "/v1/programs/web/logs", "", 404, api.KindNotFound, `no program is named "web"`},
		{"GET", "/v1/plan", "{}", 400, api.KindBadRequest, "GET /v1/plan takes no body"},
		{"POST", "/v1/programs/web/stop", `{"no_wait": tru}`, 400, api.KindBadRequest, "line 1, column 16: malformed JSON"},
		{"POST", "/v1/programs/web/stop", "{\n \"no_wait\": 1}", 400, api.KindBadRequest, "line 2, column 13: no_wait must be boolean, not number"},
		{"POST", "/v1/programs/web/stop", `{"no_wait": true`, 400, api.KindBadRequest, "it ends too early"},
		{"POST", "/v1/programs/web/stop", `{"nowait": true}`, 400, api.KindBadRequest, `unknown field "nowait"`},
		{"POST", "/v1/programs/web/stop", `{} {}`, 400, api.KindBadRequest, "there is something after the JSON value"},
		{"POST", "/v1/programs/web/stop", `[]`, 400, api.KindBadRequest, "the body must be object, not array"},
		{"POST", "/v1/programs/web/stop", `{"signal": "HUP"}`, 400, api.KindBadRequest, "stop takes no signal"},
		{"POST", "/v1/programs/web/signal", "", 400, api.KindBadRequest, "signal is missing"},
		{"POST", "/v1/programs/web/signal", long, 413, api.KindBadRequest, "the body is longer than 65536 bytes"},
		{"POST", "/v1/programs/web/jump", "", 404, api.KindNotFound, "unknown path"},
	} {
		r, body := s.do(t, test.method, test.target, test.body)
		var e api.ErrorBody
		if err := json.Unmarshal([]byte(body), &e); err != nil || e.Error == nil {
			t.Errorf("%s %s: no error but %s %q", test.method, test.target, r.Status, body)
			continue
		}
		if r.StatusCode != test.status || e.Error.Kind != test.kind || !strings.Contains(e.Error.Message, test.message) {
			t.Errorf("%s %s: %d %s %q, want %d %s %q", test.method, test.target, r.StatusCode, e.Error.Kind, e.Error.Message, test.status, test.kind, test.message)
		}
		if allow := r.Header.Get("Allow"); (test.status == 405) != (allow != "") {
			t.Errorf("%s %s: Allow is %q", test.method, test.target, allow)
		}
		if e.Error.Kind == api.KindBadRequest && s.fake.last() != "" {
			t.Errorf("%s %s: the daemon was asked %q", test.method, test.target, s.fake.last())
		}
	}
}

// What the daemon refuses reaches the client whole, with the status of its kind.
func TestRefused(t *testing.T) {
	s := serve(t, nil)
	for kind, status := range statuses {
		want := &api.Error{Kind: kind, Message: "cannot: why", Hint: "do", Diagnostics: []api.Diagnostic{{File: "f", Line: 1, Severity: "error"}}}
		s.fake.err = fmt.Errorf("wrapped: %w", want)
		_, err := s.client.Reload(within(t), api.ReloadOptions{})
		var got *api.Error
		if !errors.As(err, &got) {
			t.Fatalf("%s: %v", kind, err)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Error(d)
		}
		if r, _ := s.do(t, "GET", "/v1/programs", ""); r.StatusCode != status {
			t.Errorf("%s: status %d, want %d", kind, r.StatusCode, status)
		}
	}
	s.fake.err = errors.New("disk on fire")
	if _, body := s.do(t, "GET", "/v1/plan", ""); !strings.Contains(body, `"kind":"internal","message":"disk on fire"`) {
		t.Error(body)
	}
}

func TestHealth(t *testing.T) {
	s := serve(t, nil)
	if r, body := s.do(t, "GET", "/healthz", ""); r.StatusCode != 200 || body != "{\"ok\":true}\n" {
		t.Error(r.Status, body)
	}
	s.fake.stopping = true
	if r, _ := s.do(t, "GET", "/healthz", ""); r.StatusCode != 503 {
		t.Error(r.Status)
	}
}

// A daemon whose loop hangs is told of, not waited for.
func TestHangingDaemon(t *testing.T) {
	s := serve(t, func(s *Server) { s.readLimit = time.Millisecond })
	s.fake.block = make(chan struct{})
	if r, body := s.do(t, "GET", "/v1/daemon", ""); r.StatusCode != 503 || !strings.Contains(body, "did not answer in time") {
		t.Error(r.Status, body)
	}
}

// An action whose client goes away is cancelled, also when it has a body.
func TestClientLeaves(t *testing.T) {
	s := serve(t, nil)
	s.fake.block = make(chan struct{})
	ctx, cancel := context.WithCancel(within(t))
	gone := make(chan error)
	go func() {
		_, err := s.client.Act(ctx, "stop", "web", api.Act{NoWait: true})
		gone <- err
	}()
	<-s.fake.begun
	cancel()
	if err := <-gone; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	s.down() // waits for the handler, and so for its context
}

func TestAccess(t *testing.T) {
	s := serve(t, nil)
	names := map[access]bool{}
	for _, row := range routes {
		for granted := open; granted <= admin; granted++ {
			req := httptest.NewRequest(row.method, strings.ReplaceAll(row.path, "{name}", "web"), strings.NewReader(""))
			if row.events != nil {
				req.URL.RawQuery = "follow=0"
			}
			req = req.WithContext(context.WithValue(within(t), grantKey{}, granted))
			w := httptest.NewRecorder()
			s.Handler().ServeHTTP(w, req)
			if forbidden := w.Code == http.StatusForbidden; forbidden != (granted < row.access) {
				t.Errorf("%s %s with access %d: %d", row.method, row.path, granted, w.Code)
			}
		}
		names[row.access] = true
	}
	if len(names) != 4 {
		t.Errorf("%d kinds of access are in use", len(names))
	}
	// What isn't a unix socket is given nothing.
	w := httptest.NewRecorder()
	s.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/v1/programs", nil))
	if w.Code != http.StatusForbidden {
		t.Error(w.Code)
	}
}

func TestGarbage(t *testing.T) {
	s := serve(t, nil)
	for name, garbage := range map[string]string{
		"binary":    "\x00\x01\x02\xff\xfe\r\n\r\n",
		"text":      "hello\r\n\r\n",
		"http2":     "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
		"no host":   "GET /v1/programs HTTP/1.1\r\n\r\n",
		"header":    "GET / HTTP/1.1\r\nHost: x\r\n" + strings.Repeat("A: "+strings.Repeat("b", 1000)+"\r\n", 100) + "\r\n",
		"escape":    "GET /v1/programs/%zz HTTP/1.1\r\nHost: x\r\n\r\n",
		"smuggling": "POST /v1/reload HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}x",
	} {
		c := s.dial(t)
		go io.WriteString(c, garbage) // the server may close before it has read all
		r, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if r.StatusCode/100 != 4 && r.StatusCode != 505 {
			t.Errorf("%s: %s", name, r.Status)
		}
		if _, err := io.Copy(io.Discard, c); err != nil && !strings.Contains(err.Error(), "reset") {
			t.Errorf("%s: the connection stays open: %v", name, err)
		}
	}
	if s.fake.last() != "" {
		t.Errorf("asked %q", s.fake.last())
	}
}

// More clients than there is room for wait their turn.
func TestConnections(t *testing.T) {
	s := serve(t, func(s *Server) { s.conns = make(chan struct{}, 2) })
	a, b := s.dial(t), s.dial(t)
	s.await(t, http.StateNew, 2)
	answer := make(chan error)
	go func() {
		_, err := s.client.Instances(within(t))
		answer <- err
	}()
	select {
	case err := <-answer:
		t.Fatalf("answered beyond the limit: %v", err)
	default:
	}
	a.Close()
	if err := <-answer; err != nil {
		t.Error(err)
	}
	b.Close()
}

// A client that takes nothing is let go after a while, with all that it held.
func TestSlowReader(t *testing.T) {
	s := serve(t, func(s *Server) { s.writeLimit = 50 * time.Millisecond })
	s.fake.instances = make([]api.Instance, 20_000)
	for i := range s.fake.instances {
		s.fake.instances[i] = instance("web")
	}
	c := s.dial(t)
	io.WriteString(c, "GET /v1/programs HTTP/1.1\r\nHost: x\r\n\r\n")
	s.await(t, http.StateClosed, 1)
	b, err := io.ReadAll(c)
	if err != nil || !bytes.HasPrefix(b, []byte("HTTP/1.1 200")) || bytes.HasSuffix(b, []byte("0\r\n\r\n")) {
		t.Errorf("%d bytes, %v: the answer must not look whole", len(b), err)
	}
}

func TestShutdownEndsStreams(t *testing.T) {
	s := serve(t, nil)
	s.events.Append(said(event.State, "web"))
	var got []string
	for e, err := range s.client.Events(within(t), 0, true) {
		if err != nil {
			if !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Error(err)
			}
			break
		}
		got = append(got, e.Message)
		if len(got) == 1 {
			s.events.Append(said(event.DaemonStopping, ""))
			go s.down()
		}
	}
	s.down()
	if want := []string{"state web", "daemon.stopping "}; !cmp.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if _, err := s.client.Daemon(within(t)); !errors.Is(err, api.ErrNoDaemon) {
		t.Error(err)
	}
}

// Whose connection was accepted has an answer, also when the request comes last.
func TestShutdownAnswersWhoWasLetIn(t *testing.T) {
	s := serve(t, nil)
	conn, err := net.Dial("unix", s.socket)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for c := range s.states {
		if c == http.StateNew {
			break
		}
	}
	down := make(chan struct{})
	go func() {
		s.down()
		close(down)
	}()
	<-s.ending.Done()
	fmt.Fprint(conn, "GET /v1/daemon HTTP/1.1\r\nHost: tend\r\n\r\n")
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != http.StatusOK {
		t.Errorf("answered %s", resp.Status)
	}
	<-down
}

// What a dashboard waits for: the list of 1,000 instances, from asking to having it.
func BenchmarkInstances1000(b *testing.B) {
	s := serve(b, nil)
	s.fake.instances = make([]api.Instance, 1000)
	for i := range s.fake.instances {
		s.fake.instances[i] = instance(fmt.Sprintf("queue:%d", i))
	}
	b.Run("go client", func(b *testing.B) {
		for b.Loop() {
			if list, err := s.client.Instances(within(b)); err != nil || len(list) != 1000 {
				b.Fatal(len(list), err)
			}
		}
	})
	b.Run("bytes", func(b *testing.B) {
		c := s.dial(b)
		r := bufio.NewReaderSize(c, 64<<10)
		for b.Loop() {
			c.SetDeadline(time.Now().Add(deadline))
			io.WriteString(c, "GET /v1/programs HTTP/1.1\r\nHost: x\r\n\r\n")
			a, err := http.ReadResponse(r, nil)
			if err != nil {
				b.Fatal(err)
			}
			n, err := io.Copy(io.Discard, a.Body)
			if err != nil {
				b.Fatal(err)
			}
			b.SetBytes(n)
		}
	})
}

// What a command pays: a fresh connection and one small answer.
func BenchmarkDaemonFresh(b *testing.B) {
	s := serve(b, nil)
	for b.Loop() {
		c := api.Dial(s.socket)
		if _, err := c.Daemon(within(b)); err != nil {
			b.Fatal(err)
		}
		c.Close()
	}
}

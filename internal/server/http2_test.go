package server

import (
	"bufio"
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"tend/api"
	"tend/internal/event"
)

const http2Token = "0123456789abcdef-full"

// secure is a server on TCP with TLS, and a client that speaks HTTP/2 with it.
type secure struct {
	*Server
	fake   *fake
	events *event.Log
	dir    string
	client *http.Client
	url    string
	down   func()
}

func serveTLS(t *testing.T, change func(*Server)) *secure {
	t.Helper()
	s := &secure{fake: &fake{instances: []api.Instance{instance("web")}, begun: make(chan struct{}, 100)}, events: event.NewLog(100, 0), dir: t.TempDir()}
	tokens := filepath.Join(s.dir, "tokens")
	if err := os.WriteFile(tokens, []byte("ann full "+http2Token+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	a := &Access{Secure: true}
	var err error
	if a.Tokens, err = ReadTokens(tokens); err != nil {
		t.Fatal(err)
	}
	borrowed := httptest.NewUnstartedServer(nil) // for its certificate
	borrowed.StartTLS()
	certificate := borrowed.TLS.Certificates[0]
	borrowed.Close()
	s.Server = New(Config{Control: s.fake, Events: s.events, Access: a,
		TLS: &tls.Config{GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return &certificate, nil }}})
	change(s.Server)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(l) }()
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, Protocols: new(http.Protocols), DisableCompression: true}
	transport.Protocols.SetHTTP2(true)
	s.client, s.url = &http.Client{Transport: transport}, "https://"+l.Addr().String()
	s.down = sync.OnceFunc(func() {
		ctx, cancel := context.WithTimeout(context.Background(), deadline)
		defer cancel()
		if err := s.Shutdown(ctx); err != nil {
			t.Errorf("shutdown: %v", err)
		}
		if err := <-ended; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	t.Cleanup(s.down)
	t.Cleanup(transport.CloseIdleConnections)
	return s
}

// open sends a request, whose answer is still to be read.
func (s *secure) open(t *testing.T, ctx context.Context, method, path, body string) *http.Response {
	t.Helper()
	r, err := http.NewRequestWithContext(ctx, method, s.url+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+http2Token)
	resp, err := s.client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	if resp.ProtoMajor != 2 {
		t.Fatalf("the answer comes by %s", resp.Proto)
	}
	return resp
}

// TestHTTP2: as many streams as are allowed go over one connection, others are refused
// and commands still get through; who leaves makes room; the end comes to all.
func TestHTTP2(t *testing.T) {
	const most = 40
	s := serveTLS(t, func(s *Server) { s.streams = make(chan struct{}, most) })
	s.events.Append(said(event.State, "web"))
	ctx := within(t)
	var readers []*bufio.Reader
	var leave context.CancelFunc
	for n := range most {
		own, cancel := context.WithCancel(ctx)
		defer cancel()
		target := "/v1/events"
		if n%2 == 1 {
			target += "?latest=1"
		}
		r := s.open(t, own, "GET", target, "")
		readers, leave = append(readers, bufio.NewReader(r.Body)), cancel
	}
	next := func(r *bufio.Reader) string {
		line, err := r.ReadString('\n')
		for ; err == nil && !strings.HasPrefix(line, "id: "); line, err = r.ReadString('\n') {
		}
		if err != nil {
			return err.Error()
		}
		return strings.TrimSpace(strings.TrimPrefix(line, "id: "))
	}
	for n, r := range readers {
		if got := next(r); got != "1" {
			t.Fatalf("stream %d: %s", n, got)
		}
	}
	if r := s.open(t, ctx, "GET", "/v1/events", ""); r.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("one stream more: %s", r.Status)
	}
	if r := s.open(t, ctx, "GET", "/v1/programs", ""); r.StatusCode != http.StatusOK {
		t.Errorf("a command: %s", r.Status)
	}
	if n := len(s.conns); n != 2 { // one for the next to come
		t.Errorf("%d connections are open, want one for all", n-1)
	}
	leave() // the last one's place is free when the server has seen it
	for readers = readers[:most-1]; ; {
		if r := s.open(t, ctx, "GET", "/v1/events", ""); r.StatusCode == http.StatusOK {
			readers = append(readers, bufio.NewReader(r.Body))
			if got := next(readers[most-1]); got != "1" {
				t.Errorf("in the place of who left: %s", got)
			}
			break
		}
	}
	s.events.Append(said(event.DaemonStopping, ""))
	began := time.Now()
	s.down()
	for n, r := range readers {
		if got, end := next(r), next(r); got != "2" || end != "EOF" {
			t.Errorf("stream %d ends with %s, %s", n, got, end)
		}
	}
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("the end took %v", took)
	}
}

// TestHTTP2Bounds: who has to wait for the daemon may wait longer than a client has to
// take a piece of an answer, and who takes nothing is let go without harm to others on
// the same connection.
func TestHTTP2Bounds(t *testing.T) {
	const limit = 100 * time.Millisecond
	s := serveTLS(t, func(s *Server) { s.writeLimit = limit })
	s.fake.block = make(chan struct{})
	log := filepath.Join(s.dir, "web.log")
	if err := os.WriteFile(log, []byte("one\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.fake.setLogs(LogFile{Name: "web", Path: log})
	ctx := within(t)

	var waits sync.WaitGroup
	waits.Go(func() {
		if r := s.open(t, ctx, "POST", "/v1/programs/web/restart", "{}"); r.StatusCode != http.StatusOK {
			t.Errorf("who has waited gets %s", r.Status)
		}
	})
	<-s.fake.begun
	// A log in which nothing happens.
	quiet := s.open(t, ctx, "GET", "/v1/programs/web/logs?follow", "")
	lines := bufio.NewReader(quiet.Body)
	if line, err := lines.ReadString('\n'); line != "one\n" {
		t.Fatalf("%q, %v", line, err)
	}
	// And one who reads nothing of what there is.
	stuck := s.open(t, ctx, "GET", "/v1/events", "")
	big := said(event.State, "web")
	big.Message = strings.Repeat("x", 256<<10)
	for range 60 {
		s.events.Append(big)
	}
	began := time.Now()
	for len(s.streams) > 1 {
		if ctx.Err() != nil {
			t.Fatal("who reads nothing is still there")
		}
		s.open(t, ctx, "GET", "/v1/programs", "").Body.Close() // others go on meanwhile
	}
	if took := time.Since(began); took < limit {
		t.Errorf("let go after %v", took)
	}
	if _, err := io.Copy(io.Discard, stuck.Body); err == nil {
		t.Error("what was broken off looks whole")
	}
	close(s.fake.block)
	waits.Wait()
	f, err := os.OpenFile(log, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	io.WriteString(f, "two\n")
	if line, err := lines.ReadString('\n'); line != "two\n" {
		t.Errorf("the quiet log goes on with %q, %v", line, err)
	}
}

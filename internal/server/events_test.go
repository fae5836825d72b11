package server

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tend/api"
	"tend/internal/event"
)

func TestEventsHeld(t *testing.T) {
	s := serve(t, nil)
	r, body := s.do(t, "GET", "/v1/events?follow=0", "")
	if r.StatusCode != 200 || body != "[]\n" {
		t.Errorf("nothing happened: %s %q", r.Status, body)
	}
	plan := &api.Plan{Applied: true}
	bad := []api.Diagnostic{{File: "tend.toml", Line: 7, Severity: "error", Message: "unknown key"}}
	s.events.Append(exited,
		event.Event{Kind: event.ConfigApplied, At: then, Message: "applied", Detail: plan},
		event.Event{Kind: event.ConfigRejected, At: then, Message: "rejected", Detail: bad})
	want := []api.Event{
		{Seq: 1, At: then, Kind: "state", Name: "web", Program: "web", From: "running", To: "backoff", PID: 42, Generation: 3, Message: "exited",
			Exit: &api.Exit{Signal: "KILL", At: then, Reason: "signal KILL"}},
		{Seq: 2, At: then, Kind: "config.applied", Message: "applied", Plan: &api.Plan{Files: []string{}, Items: []api.PlanItem{}, Applied: true}},
		{Seq: 3, At: then, Kind: "config.rejected", Message: "rejected", Diagnostics: bad},
	}
	for since := range uint64(4) {
		var got []api.Event
		for e, err := range s.client.Events(within(t), since, false) {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, e)
		}
		if d := cmp.Diff(want[since:], got, cmp.Comparer(func(a, b []api.Event) bool { return len(a) == 0 && len(b) == 0 || cmp.Equal([]any{a}, []any{b}) })); d != "" && len(got)+len(want[since:]) > 0 {
			t.Errorf("since %d: %s", since, d)
		}
	}
	if plan.Items != nil {
		t.Error("the log's own plan was changed")
	}
	// More than a batch, and the ring has turned.
	for i := range 150 {
		s.events.Append(said(event.Changed, fmt.Sprintf("queue:%d", i)))
	}
	var seqs []uint64
	var missed Missed
	for e, err := range s.client.Events(within(t), 3, false) {
		if err != nil {
			if !errors.As(err, &missed) {
				t.Fatal(err)
			}
			continue
		}
		seqs = append(seqs, e.Seq)
	}
	if len(seqs) != 100 || seqs[0] != 54 || seqs[99] != 153 || missed.N != 50 {
		t.Errorf("%d events, %v, missed %d", len(seqs), seqs, missed.N)
	}
	if _, body := s.do(t, "GET", "/v1/events?follow=0&program=queue:149", ""); strings.Count(body, "seq") != 1 {
		t.Error(body)
	}
}

type Missed = api.Missed

// sse reads an event stream line by line.
func (s *served) sse(t *testing.T, target string, header ...string) func() string {
	t.Helper()
	c := s.dial(t)
	fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: x\r\n%s\r\n", target, strings.Join(header, ""))
	r, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	if ct := r.Header.Get("Content-Type"); r.StatusCode != 200 || ct != "text/event-stream" {
		t.Fatalf("%s, %s", r.Status, ct)
	}
	in := bufio.NewReader(r.Body)
	return func() string {
		var block strings.Builder
		for {
			line, err := in.ReadString('\n')
			if err != nil {
				return "EOF"
			}
			if line == "\n" {
				return block.String()
			}
			block.WriteString(line)
		}
	}
}

func TestEventStream(t *testing.T) {
	s := serve(t, nil)
	s.events.Append(said(event.State, "web"))
	next := s.sse(t, "/v1/events")
	want := "id: 1\nevent: state\ndata: {\"seq\":1,\"at\":\"2026-11-23T14:02:11.5Z\",\"kind\":\"state\",\"name\":\"web\",\"program\":\"web\",\"message\":\"state web\"}\n"
	if got := next(); got != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	s.events.Append(said(event.Changed, "queue:0"))
	if got := next(); !strings.HasPrefix(got, "id: 2\nevent: program.changed\n") {
		t.Error(got)
	}
	// A browser that connects again.
	next = s.sse(t, "/v1/events?since=0", "Last-Event-ID: 1\r\n")
	if got := next(); !strings.HasPrefix(got, "id: 2\n") {
		t.Error(got)
	}
	next = s.sse(t, "/v1/events?program=queue")
	if got := next(); !strings.HasPrefix(got, "id: 2\n") {
		t.Error(got)
	}
	// A number that only another daemon can have given: all is news.
	next = s.sse(t, "/v1/events?since=4711")
	if got := next(); !strings.HasPrefix(got, "id: 1\n") {
		t.Error(got)
	}
}

func TestEventsMissed(t *testing.T) {
	s := serve(t, nil)
	for range 130 {
		s.events.Append(said(event.State, "web"))
	}
	next := s.sse(t, "/v1/events?since=10")
	if got := next(); got != "event: missed\ndata: {\"missed\":20}\n" {
		t.Errorf("%q", got)
	}
	if got := next(); !strings.HasPrefix(got, "id: 31\n") {
		t.Errorf("%q", got)
	}
	if got := s.sse(t, "/v1/events")(); !strings.HasPrefix(got, "id: 31\n") {
		t.Errorf("who asks for what there is has missed nothing, but: %q", got)
	}
	var got []string
	for e, err := range s.client.Events(within(t), 10, true) {
		if err != nil {
			got = append(got, err.Error())
			continue
		}
		got = append(got, fmt.Sprint(e.Seq))
		break
	}
	if d := cmp.Diff([]string{"20 events were missed, the daemon no longer holds them", "31"}, got); d != "" {
		t.Error(d)
	}
}

func TestHeartbeat(t *testing.T) {
	s := serve(t, func(s *Server) { s.heartbeat = 5 * time.Millisecond })
	s.fake.setLogs(LogFile{Name: "web", Path: s.dir + "/web.log"})
	for _, target := range []string{"/v1/events", "/v1/programs/web/logs?follow"} {
		next := s.sse(t, target, "Accept: text/event-stream\r\n")
		for range 3 {
			if got := next(); got != ": \n" {
				t.Errorf("%s: %q", target, got)
			}
		}
	}
}

func TestManyFollowers(t *testing.T) {
	s := serve(t, nil)
	const followers, events = 200, 50
	ctx := within(t)
	var ready, done sync.WaitGroup
	ready.Add(followers)
	for range followers {
		done.Go(func() {
			c := api.Dial(s.socket)
			defer c.Close()
			var last uint64
			begun := sync.OnceFunc(ready.Done)
			defer begun()
			for e, err := range c.Events(ctx, 0, true) {
				if err != nil || e.Seq != last+1 {
					t.Errorf("after %d: %d, %v", last, e.Seq, err)
					return
				}
				begun()
				if last = e.Seq; last == events {
					return
				}
			}
		})
	}
	s.events.Append(said(event.State, "web"))
	ready.Wait()
	for range events - 1 {
		s.events.Append(said(event.State, "web"))
	}
	done.Wait()
	s.await(t, http.StateClosed, followers)
	if n := len(s.streams); n != 0 {
		t.Errorf("%d streams are held", n)
	}
}

func TestTooManyStreams(t *testing.T) {
	s := serve(t, func(s *Server) { s.streams = make(chan struct{}, 1) })
	s.events.Append(said(event.State, "web"))
	s.sse(t, "/v1/events")()
	var e *api.Error
	for _, err := range s.client.Events(within(t), 0, true) {
		if !errors.As(err, &e) || e.Kind != api.KindUnavailable {
			t.Error(err)
		}
	}
	if _, err := s.client.Instances(within(t)); err != nil {
		t.Errorf("commands must still get through: %v", err)
	}
}

// A reader of a stream who takes nothing is let go, and holds no event.
func TestSlowFollower(t *testing.T) {
	s := serve(t, func(s *Server) { s.writeLimit = 50 * time.Millisecond })
	c := s.dial(t)
	io.WriteString(c, "GET /v1/events HTTP/1.1\r\nHost: x\r\n\r\n")
	closed := make(chan struct{})
	go func() {
		s.await(t, http.StateClosed, 1)
		close(closed)
	}()
	big := said(event.State, "web")
	big.Message = strings.Repeat("x", 32<<10)
	ctx, cancel := context.WithCancel(within(t))
	defer cancel()
	var seq uint64
	for n := 0; ; n++ {
		select {
		case <-closed:
			return
		case <-ctx.Done():
			t.Fatal("the reader is still there")
		default:
		}
		s.events.Append(big)
		seq++
		if seq%100 == 0 { // let the stream take them, rather than the ring turn
			s.events.Next(ctx, seq-1, 1)
		}
	}
}

package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tend/api"
	"tend/internal/event"
)

func (s *served) log(names ...string) []string {
	var files []LogFile
	var paths []string
	for _, n := range names {
		p := filepath.Join(s.dir, strings.ReplaceAll(n, ":", ".")+".log")
		files, paths = append(files, LogFile{Name: n, Path: p, Keep: 2}), append(paths, p)
	}
	s.fake.setLogs(files...)
	return paths
}

// lines collects "name: text" of the lines without follow.
func (s *served) lines(t *testing.T, pattern string, o api.LogOptions) (got []string, position string) {
	t.Helper()
	for l, err := range s.client.Logs(within(t), pattern, o) {
		if err != nil {
			t.Fatalf("%v after %q", err, got)
		}
		got = append(got, l.Name+": "+l.Text)
		if l.Position != "" {
			position = l.Position
		}
	}
	return got, position
}

// A follower is a client that follows logs.
type follower struct {
	t    *testing.T
	next func() (api.LogLine, error, bool)
	at   string // latest position
}

func (s *served) follow(t *testing.T, pattern string, o api.LogOptions) *follower {
	o.Follow = true
	next, stop := iter.Pull2(s.client.Logs(within(t), pattern, o))
	t.Cleanup(stop)
	return &follower{t, next, ""}
}

// want reads until all of these pieces came, in that order for each instance.
func (f *follower) want(pieces ...string) {
	f.t.Helper()
	rest := map[string]string{}
	for _, p := range pieces {
		name, text, _ := strings.Cut(p, ": ")
		rest[name] += text
	}
	for len(rest) > 0 {
		l, err, ok := f.next()
		if err != nil || !ok {
			f.t.Fatalf("ended (%v) before %.200q", err, fmt.Sprint(rest))
		}
		left, ok := strings.CutPrefix(rest[l.Name], l.Text)
		if !ok {
			f.t.Fatalf("%s: got %.200q, want %.200q", l.Name, l.Text, rest[l.Name])
		}
		if rest[l.Name] = left; left == "" {
			delete(rest, l.Name)
		}
		if l.Position != "" {
			f.at = l.Position
		}
	}
}

func TestLogsPlain(t *testing.T) {
	s := serve(t, nil)
	p := s.log("web")
	target := "/v1/programs/web/logs"
	if r, body := s.do(t, "GET", target, ""); r.StatusCode != 200 || body != "" {
		t.Errorf("nothing was written: %s %q", r.Status, body)
	}
	appendTo(t, p[0], "one\ntwo\n\xff\x00three\nunfinished")
	for query, want := range map[string]string{
		"": "one\ntwo\n\xff\x00three\nunfinished", "?lines=2": "\xff\x00three\nunfinished", "?lines=0": "", "?lines=-1": "one\ntwo\n\xff\x00three\nunfinished",
	} {
		r, body := s.do(t, "GET", target+query, "")
		if ct := r.Header.Get("Content-Type"); body != want || !strings.HasPrefix(ct, "text/plain") {
			t.Errorf("%q: %s %q, want %q", query, ct, body, want)
		}
	}
	s.log("web:0", "web:1")
	if r, body := s.do(t, "GET", target, ""); r.StatusCode != 400 || !strings.Contains(body, "2 instances") {
		t.Error(r.Status, body)
	}
	if r, body := s.do(t, "GET", "/v1/programs/web:1/logs", ""); r.StatusCode != 200 || body != "" {
		t.Error(r.Status, body)
	}
	os.Mkdir(s.dir+"/folder.log", 0o700)
	s.log("folder")
	if r, body := s.do(t, "GET", "/v1/programs/folder/logs", ""); r.StatusCode != 500 || !strings.Contains(body, "not a regular file") {
		t.Error(r.Status, body)
	}
}

func TestLogsPlainFollow(t *testing.T) {
	s := serve(t, nil)
	p := s.log("web")
	appendTo(t, p[0], "old\nnew\n")
	conn := s.dial(t)
	io.WriteString(conn, "GET /v1/programs/web/logs?follow&lines=1 HTTP/1.0\r\n\r\n")
	var got strings.Builder
	buf := make([]byte, 1)
	until := func(suffix string) {
		t.Helper()
		for !strings.HasSuffix(got.String(), suffix) {
			if _, err := conn.Read(buf); err != nil {
				t.Fatalf("%v after %q", err, got.String())
			}
			got.Write(buf)
		}
	}
	until("\r\n\r\nnew\n")
	appendTo(t, p[0], "a prompt> ") // not held back for the line's end
	until("a prompt> ")
}

func TestLogsMerged(t *testing.T) {
	s := serve(t, nil)
	p := s.log("queue:0", "queue:1", "web")
	appendTo(t, p[0], "a\nb\nc\n")
	appendTo(t, p[1], "d\nno end")
	got, _ := s.lines(t, "queue", api.LogOptions{Lines: 2})
	if d := cmp.Diff([]string{"queue:0: b\nc\n", "queue:1: d\n", "queue:1: no end"}, got); d != "" {
		t.Error(d)
	}
	if got, _ := s.lines(t, "*", api.LogOptions{Lines: 0}); got != nil {
		t.Error(got)
	}
	if got, _ := s.lines(t, "q*:0", api.LogOptions{Lines: -5}); !cmp.Equal(got, []string{"queue:0: a\nb\nc\n"}) {
		t.Error(got)
	}
	for _, err := range s.client.Logs(within(t), "nobody", api.LogOptions{}) {
		var e *api.Error
		if !errors.As(err, &e) || e.Kind != api.KindNotFound {
			t.Error(err)
		}
	}
}

// Whole lines, nothing lost, nothing doubled: over a break of the stream, in the
// middle of a line, and a rotation meanwhile.
func TestLogsResume(t *testing.T) {
	s := serve(t, nil)
	p := s.log("queue:0", "queue:1", "späte")
	appendTo(t, p[0], "a\nb\nc\n")
	appendTo(t, p[1], "d\n")
	f := s.follow(t, "*", api.LogOptions{Lines: 1})
	f.want("queue:0: c\n", "queue:1: d\n")
	if f.at == "" {
		t.Fatal("the last lines bring no position")
	}
	appendTo(t, p[0], "e\nhalf a ")
	f.want("queue:0: e\n")
	appendTo(t, p[1], "f\n")
	f.want("queue:1: f\n")
	appendTo(t, p[0], "line\ng\n")
	if err := os.Rename(p[0], p[0]+".1"); err != nil {
		t.Fatal(err)
	}
	appendTo(t, p[0], "h\n")
	appendTo(t, p[2], "i\n") // its log begins after the break
	want := []string{"queue:0: half a line\ng\nh\n", "späte: i\n"}
	s.follow(t, "*", api.LogOptions{Lines: 1, Since: f.at}).want(want...)

	// Without following it ends where the logs end.
	got, _ := s.lines(t, "*", api.LogOptions{Since: f.at})
	if d := cmp.Diff("queue:0: half a line\ng\n|queue:0: h\n|späte: i\n", strings.Join(got, "|")); d != "" {
		t.Error(d)
	}
	// An instance that the position doesn't know begins with its last lines.
	got, end := s.lines(t, "*", api.LogOptions{Lines: 1, Since: strings.Join(strings.Split(f.at, ",")[:1], ",")})
	if d := cmp.Diff("queue:0: half a line\ng\n|queue:0: h\n|queue:1: f\n|späte: i\n", strings.Join(got, "|")); d != "" {
		t.Error(d)
	}
	if got, _ := s.lines(t, "*", api.LogOptions{Lines: 1, Since: end}); got != nil {
		t.Errorf("after the end: %q", got)
	}
	r, body := s.do(t, "GET", "/v1/programs/queue:0/logs", "", "Last-Event-ID: "+f.at)
	if body != "half a line\ng\nh\n" {
		t.Error(r.Status, body)
	}
}

func TestLogsRotatedAway(t *testing.T) {
	s := serve(t, nil)
	p := s.log("web")
	appendTo(t, p[0], "a\n")
	_, at := s.lines(t, "web", api.LogOptions{Lines: 1})
	appendTo(t, p[0]+".new", "b\n") // another inode for sure
	if err := os.Rename(p[0]+".new", p[0]); err != nil {
		t.Fatal(err)
	}
	var got []api.LogLine
	for l, err := range s.client.Logs(within(t), "web", api.LogOptions{Since: at}) {
		if err != nil {
			t.Fatal(err)
		}
		l.Position = ""
		got = append(got, l)
	}
	if d := cmp.Diff([]api.LogLine{{Name: "web", Text: "b\n", Missed: true}}, got); d != "" {
		t.Error(d)
	}
}

// Instances come and go under a follower.
func TestLogsMembers(t *testing.T) {
	s := serve(t, nil)
	p := s.log("queue:0")
	f := s.follow(t, "queue", api.LogOptions{Lines: 10})
	appendTo(t, p[0], "a\n")
	f.want("queue:0: a\n")

	p = s.log("queue:0", "queue:1")
	appendTo(t, p[1], "b\n")
	s.events.Append(said(event.State, "queue:1"))
	f.want("queue:1: b\n")

	// The last words of one that goes, though they have no line's end.
	appendTo(t, p[0], "c\n")
	f.want("queue:0: c\n")
	s.log("queue:1")
	appendTo(t, p[0], "last words")
	s.events.Append(said(event.State, "queue:0"))
	f.want("queue:0: last words")
	appendTo(t, p[1], "d\n")
	f.want("queue:1: d\n")

	s.log("web")
	s.events.Append(event.Event{Kind: event.Removed, Program: "queue"})
	if l, err, ok := f.next(); ok {
		t.Errorf("goes on with %+v, %v", l, err)
	}
}

// Not even the folder is there yet, and then the program starts.
func TestLogsNoFolder(t *testing.T) {
	s := serve(t, nil)
	path := filepath.Join(s.dir, "logs", "web.log")
	s.fake.setLogs(LogFile{Name: "web", Path: path})
	appendTo(t, s.dir+"/other.log", "here\n")
	f := s.follow(t, "web", api.LogOptions{Lines: 10})
	got := make(chan string)
	go func() {
		l, err, _ := f.next()
		got <- fmt.Sprint(l.Text, err)
	}()
	if err := os.Mkdir(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	s.events.Append(said(event.State, "web"))
	appendTo(t, path, "hello\n")
	if l := <-got; l != "hello\n<nil>" {
		t.Error(l)
	}
}

// One log that can't be read leaves the others alone, and is told of at the end.
func TestLogsTrouble(t *testing.T) {
	s := serve(t, nil)
	p := s.log("bad", "web")
	if err := os.Mkdir(p[0], 0o700); err != nil {
		t.Fatal(err)
	}
	appendTo(t, p[1], "a\n")
	for _, follow := range []bool{false, true} {
		var got []string
		for l, err := range s.client.Logs(within(t), "*", api.LogOptions{Lines: 10, Follow: follow}) {
			if err != nil {
				got = append(got, err.Error())
				break
			}
			if got = append(got, l.Text); follow {
				s.log()
				s.events.Append(event.Event{Kind: event.ConfigApplied})
			}
		}
		if len(got) != 2 || got[0] != "a\n" || !strings.HasPrefix(got[1], "bad: cannot read log: ") {
			t.Errorf("follow %v: %q", follow, got)
		}
		s.log("bad", "web")
	}
}

// A line without an end is sent in pieces, and never in the middle of a rune.
func TestLogsLongLine(t *testing.T) {
	s := serve(t, nil)
	p := s.log("web")
	text := strings.Repeat("€", 100_000) + "\n"
	appendTo(t, p[0], text)
	got := ""
	for l, err := range s.client.Logs(within(t), "web", api.LogOptions{Lines: 1}) {
		if err != nil {
			t.Fatal(err)
		}
		if len(l.Text) > 2*maxLine {
			t.Errorf("a piece of %d bytes", len(l.Text))
		}
		got += l.Text
	}
	if got != text {
		t.Errorf("%d bytes, want %d", len(got), len(text))
	}
	f := s.follow(t, "web", api.LogOptions{})
	s.follow(t, "web", api.LogOptions{Since: "web=0.0.0"}).want("web: " + text)
	_ = f
}

// Many logs that are all written to, and a client that is slower: all lines come,
// and no more than a few followers hold bytes meanwhile.
func TestLogsBusy(t *testing.T) {
	s := serve(t, nil)
	const instances, lines = 60, 300
	var names, since []string
	for i := range instances {
		names = append(names, fmt.Sprintf("queue:%d", i))
		since = append(since, names[i]+"=0.0.0")
	}
	p := s.log(names...)
	f := s.follow(t, "queue", api.LogOptions{Since: strings.Join(since, ",")})
	var all sync.WaitGroup
	var want []string
	line := strings.Repeat("x", 200) + "\n"
	for i := range instances {
		want = append(want, names[i]+": "+strings.Repeat(line, lines))
		all.Go(func() {
			for range lines / 50 {
				appendTo(t, p[i], strings.Repeat(line, 50))
			}
		})
	}
	f.want(want...)
	all.Wait()
}

// Clients that read nothing of a flood are let go, with their followers.
func TestLogsSlowReaders(t *testing.T) {
	s := serve(t, func(s *Server) { s.writeLimit = 50 * time.Millisecond })
	p := s.log("web")
	appendTo(t, p[0], strings.Repeat(strings.Repeat("x", 99)+"\n", 50_000))
	for _, accept := range []string{"text/plain", "text/event-stream"} {
		for _, query := range []string{"lines=-1", "follow&since=web=0.0.0"} {
			fmt.Fprintf(s.dial(t), "GET /v1/programs/web/logs?%s HTTP/1.1\r\nHost: x\r\nAccept: %s\r\n\r\n", query, accept)
		}
	}
	s.await(t, http.StateClosed, 4)
}

func TestLogsManyFollowers(t *testing.T) {
	s := serve(t, nil)
	p := s.log("web")
	appendTo(t, p[0], "first\n")
	const followers = 200
	ctx, cancel := context.WithCancel(within(t))
	defer cancel()
	var ready, done sync.WaitGroup
	ready.Add(followers)
	for range followers {
		done.Go(func() {
			c := api.Dial(s.socket)
			defer c.Close()
			begun := sync.OnceFunc(ready.Done)
			defer begun()
			for l, err := range c.Logs(ctx, "web", api.LogOptions{Lines: 1, Follow: true}) {
				if err != nil {
					t.Error(err)
				}
				begun()
				if strings.HasSuffix(l.Text, "last\n") {
					return
				}
			}
		})
	}
	ready.Wait()
	appendTo(t, p[0], "last\n")
	done.Wait()
}

// Lines of several logs come in the order of their times, those that are selected
// only, and what follows is selected too.
func TestLogsSelected(t *testing.T) {
	s := serve(t, nil)
	p := s.log("a", "b")
	appendTo(t, p[0], "2026-01-01T00:00:01Z one\n2026-01-01T00:00:03Z three\n and more\n")
	appendTo(t, p[1], "2026-01-01T00:00:02Z two\n2026-01-01T00:00:04Z four\nno end")
	at := func(second int) time.Time { return time.Date(2026, 1, 1, 0, 0, second, 0, time.UTC) }
	for _, test := range []struct {
		o    api.LogOptions
		want string
	}{
		{api.LogOptions{Lines: -1, Times: true}, "a: 2026-01-01T00:00:01Z one\nb: 2026-01-01T00:00:02Z two\na: 2026-01-01T00:00:03Z three\n and more\nb: 2026-01-01T00:00:04Z four\nb: no end"},
		{api.LogOptions{Lines: -1, From: at(2), Until: at(3)}, "b: 2026-01-01T00:00:02Z two\na: 2026-01-01T00:00:03Z three\n and more\n"},
		{api.LogOptions{Lines: 1, Grep: "e$"}, "a:  and more\n"},
		{api.LogOptions{Lines: 1, Grep: "o"}, "a:  and more\nb: no end"},
		{api.LogOptions{Lines: 0, Grep: "o"}, ""},
	} {
		var got strings.Builder
		var before time.Time
		for l, err := range s.client.Logs(within(t), "*", test.o) {
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(&got, "%s: %s", l.Name, l.Text)
			if test.o.Times != (l.Time != nil) || l.Time != nil && l.Time.Before(before) {
				t.Errorf("%q is of %v after %v", l.Text, l.Time, before)
			}
			if l.Time != nil {
				before = *l.Time
			}
		}
		if got.String() != test.want {
			t.Errorf("%+v: %q, want %q", test.o, got.String(), test.want)
		}
	}
	f := s.follow(t, "*", api.LogOptions{Lines: -1, Grep: "e"})
	f.want("a: 2026-01-01T00:00:01Z one\n", "a: 2026-01-01T00:00:03Z three\n and more\n")
	appendTo(t, p[1], "\nfive\nsix\nseven\n")
	f.want("b: no end\nfive\nseven\n")
	for _, bad := range []string{"from=now", "until=1", "grep=(", "until=2026-01-01T00:00:00Z&follow=1", "times=perhaps"} {
		if r, body := s.do(t, "GET", "/v1/programs/a/logs?"+bad, ""); r.StatusCode != 400 {
			t.Errorf("%s: %s %s", bad, r.Status, body)
		}
	}
}

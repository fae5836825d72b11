package server

import (
	"bufio"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"tend/api"
	"tend/internal/event"
)

// TestCell: who asks while an answer is made gets the next one, all of them the same,
// and who takes one that isn't new gets the one that there is.
func TestCell(t *testing.T) {
	begun, goOn := make(chan int), make(chan struct{})
	n := 0
	c := cell[int]{make: func(context.Context) (int, error) {
		n++
		begun <- n
		<-goOn
		return n, nil
	}}
	got := make(chan int, 100)
	ask := func(age time.Duration) {
		m := c.join(age) // the place is taken before this returns
		go func() {
			<-m.done
			got <- m.made
		}()
	}
	ask(0)
	<-begun
	for range 50 {
		ask(0)
	}
	ask(time.Hour) // takes what is being made
	goOn <- struct{}{}
	if a, b := <-got, <-got; a != 1 || b != 1 {
		t.Errorf("the first two got %d and %d", a, b)
	}
	<-begun
	ask(time.Hour)
	if a := <-got; a != 1 {
		t.Errorf("who takes what there is got %d", a)
	}
	goOn <- struct{}{}
	for range 50 {
		if a := <-got; a != 2 {
			t.Fatalf("one of many got %d", a)
		}
	}
	// An answer that fails is told to those who wait, and isn't kept.
	c.make = func(context.Context) (int, error) { return 0, errors.New("no") }
	if _, err := c.get(t.Context(), 0); err == nil {
		t.Error("no error")
	}
	if v, err := c.get(t.Context(), time.Hour); v != 2 || err != nil {
		t.Errorf("after an error: %d, %v", v, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	c.make = func(context.Context) (int, error) { <-goOn; return 0, nil }
	if _, err := c.get(ctx, 0); !errors.Is(err, context.Canceled) {
		t.Errorf("who has left: %v", err)
	}
	goOn <- struct{}{}
	c.stale.Stop()
}

// TestList: the list says up to where it is true, and comes compressed to who wants it.
func TestList(t *testing.T) {
	s := serve(t, nil)
	for i := range 100 {
		s.fake.instances = append(s.fake.instances, instance(fmt.Sprintf("p:%d", i)))
	}
	s.fake.seq = 4711
	for _, target := range []string{"/v1/programs", "/v1/programs?max_age=0.5", "/v1/programs?max_age=2"} {
		for _, encoding := range []string{"", "gzip"} {
			c := s.dial(t)
			fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: x\r\nAccept-Encoding: %s\r\n\r\n", target, encoding)
			r, err := http.ReadResponse(bufio.NewReader(c), nil)
			if err != nil {
				t.Fatal(err)
			}
			if r.Header.Get(api.EventSeqHeader) != "4711" || r.Header.Get("Content-Encoding") != encoding || r.Header.Get("Vary") != "Accept-Encoding" {
				t.Errorf("%s %q: %v", target, encoding, r.Header)
			}
			var body io.Reader = r.Body
			if encoding != "" {
				if body, err = gzip.NewReader(r.Body); err != nil {
					t.Fatal(err)
				}
			}
			var list []api.Instance
			if err := json.NewDecoder(body).Decode(&list); err != nil || len(list) != 103 || list[102].Name != "p:99" {
				t.Errorf("%s %q: %d instances, %v", target, encoding, len(list), err)
			}
		}
	}
	for _, bad := range []string{"x", "-1", "", "NaN", "1e9"} {
		if r, body := s.do(t, "GET", "/v1/programs?max_age="+bad, ""); r.StatusCode != http.StatusBadRequest || !strings.Contains(body, "max_age must be a number of seconds") {
			t.Errorf("%q: %s %s", bad, r.Status, body)
		}
	}
}

// TestLatest: of what an instance went through while nobody could listen only the end
// is told, and of other things all.
func TestLatest(t *testing.T) {
	s := serve(t, nil)
	for i := range 10 {
		s.events.Append(said(event.State, "web"), said(event.State, "queue:0"))
		if i == 4 {
			s.events.Append(said(event.ConfigApplied, ""))
		}
	}
	ids := func(next func() string, n int) string {
		var got []string
		for range n {
			id, _, _ := strings.Cut(next(), "\n")
			got = append(got, strings.TrimPrefix(id, "id: "))
		}
		return strings.Join(got, " ")
	}
	if got := ids(s.sse(t, "/v1/events?latest=1"), 3); got != "11 20 21" {
		t.Errorf("from the beginning: %s", got)
	}
	if got := ids(s.sse(t, "/v1/events?latest=1&program=web&since=3"), 1); got != "20" {
		t.Errorf("of one: %s", got)
	}
	next := s.sse(t, "/v1/events?latest=1&since=21")
	s.events.Append(said(event.State, "web"))
	if got := ids(next, 1); got != "22" {
		t.Errorf("what comes: %s", got)
	}
	for range 120 { // the log holds a hundred
		s.events.Append(said(event.Changed, "web"))
	}
	late := s.sse(t, "/v1/events?latest=1&since=22")
	if got := late(); got != "event: missed\ndata: {\"missed\":20}\n" {
		t.Errorf("who comes late: %q", got)
	}
	if got := ids(late, 1); got != "43" {
		t.Errorf("after what was missed: %s", got)
	}
	if got := ids(s.sse(t, "/v1/events?latest=1"), 1); got != "43" {
		t.Errorf("who asks for what there is: %s", got)
	}
	if r, body := s.do(t, "GET", "/v1/events?latest=1&follow=0", ""); r.StatusCode != http.StatusBadRequest {
		t.Errorf("%s %s", r.Status, body)
	}
	s.events.Append(said(event.DaemonStopping, ""))
	end := s.sse(t, "/v1/events?latest=1&since=142")
	s.down()
	if a, b := end(), end(); !strings.HasPrefix(a, "id: 143\n") || b != "EOF" {
		t.Errorf("the last words are %q, %q", a, b)
	}
}

// TestManyPages: two hundred pages get the latest word on each instance, whatever a
// storm they come into, and leave nothing behind.
func TestManyPages(t *testing.T) {
	s := serve(t, nil)
	const pages, instances, turns = 200, 20, 200
	var done sync.WaitGroup
	for range pages {
		next := s.sse(t, "/v1/events?latest=1&since=0")
		done.Go(func() {
			seen := make(map[string]int)
			for end := 0; end < instances; {
				var e api.Event
				for line := range strings.Lines(next()) {
					if data, ok := strings.CutPrefix(line, "data: "); ok {
						if err := json.Unmarshal([]byte(data), &e); err != nil {
							t.Error(err)
							return
						}
					}
				}
				if e.Kind != event.State {
					continue
				}
				if e.PID < seen[e.Name] {
					t.Errorf("%s goes back from %d to %d", e.Name, seen[e.Name], e.PID)
				}
				if seen[e.Name] = e.PID; e.PID == turns {
					end++
				}
			}
		})
	}
	for turn := range turns {
		for i := range instances {
			e := said(event.State, fmt.Sprintf("p:%d", i))
			e.PID = turn + 1
			s.events.Append(e)
		}
	}
	done.Wait()
}

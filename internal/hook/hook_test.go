package hook

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 20 * time.Second

// sender returns a sender without waits, and the notices that it gives.
func sender(t *testing.T, o Options) (*Sender, <-chan Notice) {
	notices := make(chan Notice, 100)
	o.Notice = func(n Notice) { notices <- n }
	if o.Waits == nil {
		o.Waits = []time.Duration{0, 0, 0}
	}
	s := New(o)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		s.Close(ctx)
	})
	return s, notices
}

func flush(t *testing.T, s *Sender) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if left := s.Flush(ctx); left > 0 {
		t.Fatalf("%d messages are still open", left)
	}
}

func next[T any](t *testing.T, c <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-c:
	case <-time.After(patience):
		t.Fatal("nothing came")
	}
	return v
}

// A request as the server has seen it.
type request struct {
	body, event, delivery, signature string
}

// serve answers the requests with those statuses in turn, the last one for all
// that follow.
func serve(t *testing.T, statuses ...int) (url string, seen chan request) {
	seen = make(chan request, 1000)
	n := 0
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		seen <- request{string(body), r.Header.Get("Tend-Event"), r.Header.Get("Tend-Delivery"), r.Header.Get("Tend-Signature")}
		status := statuses[min(n, len(statuses)-1)]
		n++
		if status/100 == 3 {
			w.Header().Set("Location", "/elsewhere")
		}
		w.WriteHeader(status)
	}))
	t.Cleanup(srv.Close)
	return srv.URL, seen
}

func TestPost(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("key\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	url, seen := serve(t, 204)
	s, _ := sender(t, Options{})
	s.Send(Message{To: "a", URL: url, Body: []byte("The quick brown fox jumps over the lazy dog"), Event: "failed", SecretFile: secret, Timeout: patience})
	r := next(t, seen)
	// The signature is that of the example in the article on HMAC.
	if r.event != "failed" || r.signature != "sha256=f7bc83f430538424b13298e6aa6fb143ef4d59a14946175997479dbc2d1a3cd8" || r.delivery == "" {
		t.Errorf("%+v", r)
	}
}

// What may help is tried again, as the same delivery; what can't isn't.
func TestAgain(t *testing.T) {
	for _, test := range []struct {
		statuses []int
		tries    int
		err      string
	}{
		{[]int{500, 429, 200}, 3, ""},
		{[]int{503}, 4, "503 Service Unavailable"},
		{[]int{404}, 1, "404 Not Found"},
		{[]int{307}, 1, "307 Temporary Redirect"}, // nobody else gets it
	} {
		url, seen := serve(t, test.statuses...)
		s, notices := sender(t, Options{})
		s.Send(Message{To: "a", URL: url, Timeout: patience})
		flush(t, s)
		first := next(t, seen)
		for range test.tries - 1 {
			if r := next(t, seen); r.delivery != first.delivery {
				t.Errorf("%v: another delivery", test.statuses)
			}
		}
		if len(seen) > 0 {
			t.Errorf("%v: tried more than %d times", test.statuses, test.tries)
		}
		if test.err == "" {
			continue
		}
		if n := next(t, notices); n.To != "a" || n.Lost != 1 || !strings.Contains(n.Err.Error(), test.err) {
			t.Errorf("%v: %+v", test.statuses, n)
		}
	}
}

// A server that is away is waited for; it holds nobody up, and what is too much
// for its queue is counted.
func TestAway(t *testing.T) {
	s, notices := sender(t, Options{Queue: 3, Waits: []time.Duration{time.Hour}})
	for range 10 {
		s.Send(Message{To: "away", URL: "http://127.0.0.1:1/", Timeout: patience})
	}
	url, seen := serve(t, 200)
	s.Send(Message{To: "here", URL: url, Body: []byte("x"), Timeout: patience})
	if r := next(t, seen); r.body != "x" {
		t.Errorf("%+v", r)
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if left := s.Close(ctx); left != 0 { // each is tried once more, and given up
		t.Errorf("%d are left", left)
	}
	lost := 0
	for lost < 10 {
		n := next(t, notices)
		if n.To != "away" {
			t.Errorf("%+v", n)
		}
		lost += n.Lost
	}
	if lost != 10 {
		t.Errorf("%d are lost, not 10", lost)
	}
}

// A server that takes a connection and never answers.
func TestSlow(t *testing.T) {
	hang := make(chan struct{})
	srv := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-hang }))
	defer srv.Close()
	defer close(hang)
	s, notices := sender(t, Options{Waits: []time.Duration{}})
	s.Send(Message{To: "slow", URL: srv.URL, Timeout: 10 * time.Millisecond})
	if n := next(t, notices); n.Err.Error() != "no answer within 10ms" {
		t.Errorf("%+v", n)
	}
}

// Commands of one destination run one after the other, those that fail once.
func TestCommands(t *testing.T) {
	s, notices := sender(t, Options{})
	var order []int // without a lock: the race detector would find two at a time
	for i := range 20 {
		s.Send(Message{To: "command", Timeout: patience, Run: func(context.Context) error {
			order = append(order, i)
			if i == 7 {
				return errors.New("exit status 3")
			}
			return nil
		}})
	}
	flush(t, s)
	if want := "[0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19]"; fmt.Sprint(order) != want {
		t.Errorf("ran %v", order)
	}
	if n := next(t, notices); n.Lost != 1 || n.Err.Error() != "exit status 3" {
		t.Errorf("%+v", n)
	}
}

// Close ends what doesn't.
func TestCloseEnds(t *testing.T) {
	s := New(Options{})
	begun := make(chan struct{})
	s.Send(Message{To: "hangs", Timeout: time.Hour, Run: func(ctx context.Context) error {
		close(begun)
		<-ctx.Done()
		return ctx.Err()
	}})
	next(t, begun)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if left := s.Close(ctx); left != 1 {
		t.Errorf("%d were given up, not 1", left)
	}
}

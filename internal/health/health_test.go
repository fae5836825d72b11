package health

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	grpchealth "google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
)

const patience = 30 * time.Second

// once carries a probe out and returns what is wrong in words, "" if nothing is.
func once(t *testing.T, p Probe, timeout time.Duration) string {
	t.Helper()
	pr := New()
	defer pr.Hold()
	got := make(chan Result, 1)
	pr.Watch("x", Check{Probe: p, Interval: time.Hour, Timeout: timeout, Tell: func(r Result) { got <- r }})
	r := <-got
	if r.OK != (r.Message == "") {
		t.Errorf("%+v", r)
	}
	return r.Message
}

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestHTTP(t *testing.T) {
	hang := make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/moved":
			http.Redirect(w, r, "/broken", http.StatusFound)
		case "/broken":
			w.WriteHeader(http.StatusInternalServerError)
		case "/gone":
			w.WriteHeader(http.StatusNotFound)
		case "/hangs":
			<-hang
		case "/drops":
			c, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			c.Close()
		}
	}))
	defer s.Close()
	defer close(hang)
	secure := httptest.NewTLSServer(http.NotFoundHandler())
	defer secure.Close()
	for url, want := range map[string]string{
		s.URL:                  "",
		s.URL + "/moved":       "", // which isn't followed
		s.URL + "/broken":      "status 500",
		s.URL + "/gone":        "status 404",
		s.URL + "/drops":       "the connection was closed without an answer",
		secure.URL:             "status 404", // whoever it is
		"http://" + nobody(t):  "connection refused",
		"http://x.invalid:80/": "cannot look up x.invalid",
	} {
		if got := once(t, HTTP(url), patience); got != want && (want == "" || !strings.HasPrefix(got, want)) {
			t.Errorf("%s: %q, want %q", url, got, want)
		}
	}
	if got := once(t, HTTP(s.URL+"/hangs"), 50*time.Millisecond); got != "no answer within 0.05 s" {
		t.Errorf("%q", got)
	}
}

// nobody returns an address that nobody listens on.
func nobody(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func TestTCP(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	path := filepath.Join(t.TempDir(), "sock")
	u, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	for address, want := range map[string]string{
		l.Addr().String():    "",
		"unix:" + path:       "",
		nobody(t):            "connection refused",
		"unix:" + path + "x": "no such file or directory",
	} {
		if got := once(t, TCP(address), patience); got != want {
			t.Errorf("%s: %q, want %q", address, got, want)
		}
	}
}

// TestGRPC asks Google's own server.
func TestGRPC(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sock")
	serve := func(network, address string, with bool) (string, *grpchealth.Server) {
		l, err := net.Listen(network, address)
		if err != nil {
			t.Fatal(err)
		}
		s, h := grpc.NewServer(), grpchealth.NewServer()
		if with {
			grpc_health_v1.RegisterHealthServer(s, h)
		}
		done := make(chan error)
		go func() { done <- s.Serve(l) }()
		t.Cleanup(func() {
			s.Stop()
			<-done
		})
		return l.Addr().String(), h
	}
	tcp, h := serve("tcp", "127.0.0.1:0", true)
	serve("unix", path, true)
	without, _ := serve("tcp", "127.0.0.1:0", false)
	plain := httptest.NewServer(http.NotFoundHandler())
	defer plain.Close()
	h.SetServingStatus("good", grpc_health_v1.HealthCheckResponse_SERVING)
	h.SetServingStatus("bad", grpc_health_v1.HealthCheckResponse_NOT_SERVING)
	for address, want := range map[string]string{
		tcp:              "",
		tcp + "/good":    "",
		tcp + "/bad":     "it says NOT_SERVING",
		tcp + "/nothing": `no such service: "nothing"`,
		"unix:" + path:   "",
		without:          "it has no health service (grpc.health.v1.Health)",
		nobody(t):        "connection refused",
	} {
		if got := once(t, GRPC(address), patience); got != want {
			t.Errorf("%s: %q, want %q", address, got, want)
		}
	}
	if got := once(t, GRPC(strings.TrimPrefix(plain.URL, "http://")), patience); got == "" {
		t.Error("a server of HTTP/1 is healthy")
	}
	h.Shutdown() // all of it is NOT_SERVING
	if got := once(t, GRPC(tcp), patience); got != "it says NOT_SERVING" {
		t.Errorf("%q", got)
	}
}

// FuzzReply: no answer of a server makes it panic, and only one is good.
func FuzzReply(f *testing.F) {
	f.Add([]byte{0, 0, 0, 0, 2, 8, 1})
	f.Add([]byte{0, 0, 0, 0, 0})
	f.Add([]byte{0, 0, 0, 0, 5, 0x12, 1, 'x', 8, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, err := decodeHealthReply(b); err == nil && len(b) < 5 {
			t.Error("too short, and good")
		}
	})
}

// script is a probe whose answers are given.
type script struct {
	answers chan error
	asked   atomic.Int64
}

func (s *script) probe(ctx context.Context) error {
	s.asked.Add(1)
	select {
	case err := <-s.answers:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// TestTold: all failures are told, and good news.
func TestTold(t *testing.T) {
	p := New()
	defer p.Hold()
	s := &script{answers: make(chan error)}
	told := make(chan Result, 100)
	p.Watch(1, Check{Probe: s.probe, Interval: time.Millisecond, Timeout: patience, Tell: func(r Result) { told <- r }})
	sick := errors.New("sick")
	for _, err := range []error{nil, nil, nil, sick, sick, nil, nil, sick, nil} {
		s.answers <- err
	}
	want := "ok sick sick ok sick ok"
	var got []string
	for range strings.Fields(want) {
		r := <-told
		got = append(got, map[bool]string{true: "ok", false: r.Message}[r.OK])
	}
	if s := strings.Join(got, " "); s != want {
		t.Errorf("%s, want %s", s, want)
	}
}

// TestForget: what was forgotten or replaced isn't told any more, and given up.
func TestForget(t *testing.T) {
	p := New()
	defer p.Hold()
	began, ended := make(chan struct{}), make(chan error, 1)
	p.Watch(1, Check{Interval: time.Hour, Timeout: time.Hour, Tell: func(Result) { t.Error("told of what was forgotten") },
		Probe: func(ctx context.Context) error {
			close(began)
			<-ctx.Done()
			ended <- ctx.Err()
			return ctx.Err()
		}})
	<-began
	told := make(chan Result)
	p.Watch(1, Check{Interval: time.Hour, Timeout: time.Hour, Tell: func(r Result) { told <- r }, Probe: func(context.Context) error { return nil }})
	if err := <-ended; err != context.Canceled {
		t.Error(err)
	}
	if r := <-told; !r.OK {
		t.Errorf("%+v", r)
	}
	p.Forget(1)
	p.Forget(2)
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.checks)+len(p.due) != 0 {
		t.Errorf("%d checks, %d due", len(p.checks), len(p.due))
	}
}

// TestHold: nothing is under way after Hold, nothing is told of what was given up,
// and it is asked again after Resume.
func TestHold(t *testing.T) {
	p := New()
	defer p.Hold()
	s := &script{answers: make(chan error)}
	told := make(chan Result, 1)
	p.Watch(1, Check{Probe: s.probe, Interval: time.Hour, Timeout: time.Hour, Tell: func(r Result) { told <- r }})
	for s.asked.Load() == 0 {
		runtime.Gosched()
	}
	p.Hold()
	p.Watch(2, Check{Probe: s.probe, Interval: time.Hour, Timeout: time.Hour, Tell: func(r Result) { told <- r }})
	if n := s.asked.Load(); n != 1 {
		t.Errorf("asked %d times", n)
	}
	p.Resume()
	for range 2 {
		s.answers <- nil
		if r := <-told; !r.OK {
			t.Errorf("%+v", r)
		}
	}
}

// TestLanes: so many go side by side and no more, and each has its turn.
func TestLanes(t *testing.T) {
	for _, heavy := range []bool{false, true} {
		p := New()
		limit := lightLimit
		if heavy {
			limit = heavyLimit
		}
		var now, most atomic.Int64
		full, done := make(chan struct{}), make(chan struct{}, 10*limit)
		var once sync.Once
		for i := range 10 * limit {
			p.Watch(i, Check{Heavy: heavy, Interval: time.Hour, Timeout: time.Hour, Tell: func(Result) { done <- struct{}{} },
				Probe: func(context.Context) error {
					n := now.Add(1)
					defer now.Add(-1)
					for old := most.Load(); n > old && !most.CompareAndSwap(old, n); old = most.Load() {
					}
					if int(n) == limit {
						once.Do(func() { close(full) })
					}
					<-full
					return nil
				}})
		}
		for range 10 * limit {
			<-done
		}
		if int(most.Load()) != limit {
			t.Errorf("%d side by side, not %d", most.Load(), limit)
		}
		p.Hold()
	}
}

// TestThousand: a thousand checks have no thread and no goroutine while none is
// under way, and few while they are. And they don't stay in step.
func TestThousand(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	accepting := make(chan struct{})
	go func() {
		defer close(accepting)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			c.Close()
		}
	}()
	defer func() { l.Close(); <-accepting }()
	p := New()
	defer p.Hold()
	goroutines, before := runtime.NumGoroutine(), threads(t)
	told := make(chan Result, 1000)
	for i := range 1000 {
		p.Watch(i, Check{Probe: TCP(l.Addr().String()), Interval: time.Hour, Timeout: patience, Shy: true, Tell: func(r Result) { told <- r }})
	}
	for range 1000 {
		if r := <-told; !r.OK {
			t.Fatalf("%+v", r)
		}
	}
	// Those that have told end soon.
	for end := time.Now().Add(patience); runtime.NumGoroutine() > goroutines && time.Now().Before(end); {
		runtime.Gosched()
	}
	if n := runtime.NumGoroutine(); n > goroutines {
		t.Errorf("%d goroutines, %d before", n, goroutines)
	}
	if n := threads(t); n > before+2*runtime.GOMAXPROCS(0)+4 {
		t.Errorf("%d threads, %d before", n, before)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	first, last := p.due[0].at, p.due[0].at
	for _, k := range p.due {
		if k.at.After(last) {
			last = k.at
		}
	}
	if spread := last.Sub(first); len(p.due) != 1000 || spread < 20*time.Minute {
		t.Errorf("%d are due within %v", len(p.due), spread)
	}
}

func threads(t *testing.T) int {
	list, err := os.ReadDir("/proc/self/task")
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

func TestWords(t *testing.T) {
	long := words(fmt.Errorf("%s", strings.Repeat("é", 1000)), false, 0)
	if s := short(long); len(s) > 310 || !strings.HasSuffix(s, "é…") {
		t.Errorf("%q", s)
	}
}

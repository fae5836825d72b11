package metrics

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"tend/api"
	"tend/internal/event"
)

func scrape(t *testing.T, s *Set) string {
	t.Helper()
	w := httptest.NewRecorder()
	s.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	if w.Code != http.StatusOK {
		t.Fatalf("status %d: %s", w.Code, w.Body)
	}
	return w.Body.String()
}

func example() *Set {
	healthy, next := false, time.Unix(1790000000, 0)
	s := New("1.2", func(context.Context) (Snapshot, error) {
		return Snapshot{Moved: 100, Dropped: 7, EventSeq: 42, Pending: true, Keeper: "guard", Instances: []api.Instance{
			{Name: "web", Program: "web", State: api.Running, Ready: true, Wanted: true, PID: 5, UptimeSeconds: 3, Healthy: &healthy,
				Usage: &api.Usage{CPUSeconds: 1.5, Processes: 2, Threads: 3, ResidentBytes: 4096}},
			{Name: "queue:0", Program: "queue", State: api.Backoff, Wanted: true, Restarts: 3, NextRun: &next},
		}}, nil
	})
	at := time.Unix(1700000000, 0)
	after := func(d time.Duration) time.Time { at = at.Add(d); return at }
	s.Observe(
		event.Event{Kind: event.State, Program: "web", Name: "web", From: "stopped", To: "starting", PID: 5, At: after(0)},
		event.Event{Kind: event.State, Program: "web", Name: "web", From: "starting", To: "running", PID: 5, At: after(2 * time.Second)},
		event.Event{Kind: event.State, Program: "web", Name: "web", From: "running", To: "stopping", PID: 5, At: after(time.Hour)},
		event.Event{Kind: event.State, Program: "web", Name: "web", From: "stopping", To: "stopped", At: after(40 * time.Millisecond),
			Exit: &event.Exit{Signal: 15, Gen: 1, By: "stopped by hand"}},
		event.Event{Kind: event.State, Program: "web", Name: "web", From: "stopped", To: "starting", PID: 6, At: after(time.Second)},
		event.Event{Kind: event.State, Program: "web", Name: "web", From: "starting", To: "stopping", At: after(time.Second), Exit: &event.Exit{Code: 7, Gen: 2}},
		event.Event{Kind: event.State, Program: "web", Name: "web", From: "stopping", To: "backoff", At: after(time.Second), Exit: &event.Exit{Code: 7, Gen: 2}},
		event.Event{Kind: event.State, Program: "web", Name: "web", From: "backoff", To: "starting", PID: 7, At: after(time.Second)},
		event.Event{Kind: event.State, Program: "web", Name: "web", From: "starting", To: "starting", PID: 7, At: after(0)},
		event.Event{Kind: event.State, Program: "queue", Name: "queue:0", From: "starting", To: "backoff", Exit: &event.Exit{Code: 3}},
		event.Event{Kind: event.State, Program: "queue", Name: "queue:0", From: "stopping", To: "starting", Exit: &event.Exit{Signal: 9, Cause: "unhealthy: status 500"}},
		event.Event{Kind: event.State, Program: "gone", Name: "gone", From: "starting", To: "failed", Exit: &event.Exit{Err: "cannot start: no such file"}},
		event.Event{Kind: event.Removed, Program: "gone"},
		event.Event{Kind: event.ConfigRejected},
	)
	s.Lag(5 * time.Millisecond)
	return s
}

func TestScrape(t *testing.T) {
	got := scrape(t, example())
	for _, want := range []string{
		`tend_instance_state{instance="web",program="web",state="running"} 1`,
		`tend_event_lag_seconds_bucket{le="0.0016"} 0`,
		`tend_event_lag_seconds_bucket{le="0.0064"} 1`,
		`tend_instance_up{instance="queue:0",program="queue"} 0`,
		`tend_instance_healthy{instance="web",program="web"} 0`,
		`tend_instance_restarts_total{instance="queue:0",program="queue"} 3`,
		`tend_instance_cpu_seconds_total{instance="web",program="web"} 1.5`,
		`tend_instance_next_start_time_seconds{instance="queue:0",program="queue"} 1.79e+09`,
		`tend_program_exits_total{cause="asked",program="web",status="SIGTERM"} 1`,
		`tend_program_exits_total{cause="failure",program="web",status="7"} 1`,
		`tend_program_restarts_total{program="web",reason="asked"} 1`,
		`tend_program_restarts_total{program="web",reason="failure"} 1`,
		`tend_program_exits_total{cause="failure",program="queue",status="3"} 1`,
		`tend_program_exits_total{cause="unhealthy",program="queue",status="SIGKILL"} 1`,
		`tend_program_start_duration_seconds_sum{program="web"} 2`,
		`tend_program_stop_duration_seconds_bucket{program="web",le="0.05"} 1`,
		`tend_reloads_total{result="rejected"} 1`,
		`tend_reloads_total{result="applied"} 0`,
		`tend_log_dropped_bytes_total 7`,
		`tend_config_pending 1`,
		`tend_build_info{version="1.2"} 1`,
		`process_open_fds`,
	} {
		if !strings.Contains(got, want) {
			t.Errorf("%s is missing", want)
		}
	}
	for _, bad := range []string{`program="gone"`, `tend_instance_healthy{instance="queue:0"`, `tend_instance_start_time_seconds{instance="queue:0"`} {
		if strings.Contains(got, bad) {
			t.Errorf("%s is there", bad)
		}
	}
}

// TestPromtool: Prometheus' own tool has nothing to say against the metrics.
func TestPromtool(t *testing.T) {
	tool, err := exec.LookPath("promtool")
	if err != nil {
		t.Skip("promtool isn't here: apt-get install prometheus")
	}
	cmd := exec.Command(tool, "check", "metrics")
	cmd.Stdin = strings.NewReader(scrape(t, example()))
	if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("%v: %s", err, out)
	}
}

// TestUnanswered: a daemon that doesn't answer is an error of the scrape, and not
// a daemon without programs.
func TestUnanswered(t *testing.T) {
	s := New("1", func(context.Context) (Snapshot, error) { return Snapshot{}, errors.New("the daemon did not answer") })
	w := httptest.NewRecorder()
	s.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	body, _ := io.ReadAll(w.Body)
	if w.Code != http.StatusInternalServerError || !strings.Contains(string(body), "did not answer") {
		t.Errorf("status %d: %s", w.Code, body)
	}
}

// names returns the names of the metrics that a scrape shows, those of histograms
// with their suffixes.
func names(text string) map[string]bool {
	known := make(map[string]bool)
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, "#") {
			name, _, _ := strings.Cut(line, " ")
			name, _, _ = strings.Cut(name, "{")
			known[name] = true
		}
	}
	return known
}

// TestWhatOthersAsk: the dashboard and the alerts ask for metrics that there are.
func TestWhatOthersAsk(t *testing.T) {
	known := names(scrape(t, example()))
	word := regexp.MustCompile(`\b(?:tend|process)_[a-z_]+\b`)
	for _, file := range []string{"../../contrib/grafana/tend.json", "../../contrib/prometheus/tend.rules.yml"} {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		asked := word.FindAllString(string(b), -1)
		if len(asked) < 5 {
			t.Errorf("%s asks for %v", file, asked)
		}
		for _, name := range asked {
			if !known[name] {
				t.Errorf("%s asks for %s, which there isn't", file, name)
			}
		}
		if strings.HasSuffix(file, ".json") && !json.Valid(b) {
			t.Errorf("%s is no JSON", file)
		}
	}
}

// TestRules: Prometheus' own tool accepts the alerts.
func TestRules(t *testing.T) {
	tool, err := exec.LookPath("promtool")
	if err != nil {
		t.Skip("promtool isn't here: apt-get install prometheus")
	}
	if out, err := exec.Command(tool, "check", "rules", "../../contrib/prometheus/tend.rules.yml").CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}

// Package metrics tells Prometheus how the programs are.
//
// What happens is counted as it happens ([Set.Observe]); how things are is asked
// when somebody scrapes. Names follow the conventions of Prometheus: tend_, base
// units, _total for what only grows. The counters begin at 0 with the daemon, as
// those of any process; how often an instance was started again is kept over
// the daemon's death and is a counter of its own.
package metrics

import (
	"context"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"tend/api"
	"tend/internal/event"
)

// A Snapshot is how things are.
type Snapshot struct {
	Instances []api.Instance // with what they use
	Moved     int64          // bytes of output that were carried
	Dropped   int64          // of these, lost because their destination failed
	EventSeq  uint64         // number of the latest event
	Pending   bool           // the files hold changes that aren't applied
	Keeper    string         // who keeps the programs' output over the daemon's death
}

// A Set is all metrics of a daemon. Its methods may be called from several
// goroutines.
type Set struct {
	registry *prometheus.Registry
	snapshot func(context.Context) (Snapshot, error)

	exits   *prometheus.CounterVec
	again   *prometheus.CounterVec
	reloads *prometheus.CounterVec
	starts  *prometheus.HistogramVec
	stops   *prometheus.HistogramVec
	lag     prometheus.Histogram

	mu    sync.Mutex
	began map[string]time.Time // of starts and stops under way, by instance
	ends  map[string]end       // the latest, by instance
}

// end is how a run ended.
type end struct {
	program string
	gen     uint64 // of the run
	cause   string // "": it has been started again since
}

// durations are the buckets of starts and stops, in seconds: from a worker that is
// up at once to a database that reads its journal.
var durations = []float64{0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300}

// New returns the metrics of a daemon. snapshot is called for each scrape.
func New(version string, snapshot func(context.Context) (Snapshot, error)) *Set {
	s := &Set{
		registry: prometheus.NewPedanticRegistry(), snapshot: snapshot, began: make(map[string]time.Time), ends: make(map[string]end),
		exits: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tend_program_exits_total", Help: "Ends of a program's processes, and starts that failed, by cause and status.",
		}, []string{"program", "cause", "status"}),
		again: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tend_program_restarts_total", Help: "Starts of a program's instances after their first, by why the run before has ended.",
		}, []string{"program", "reason"}),
		reloads: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tend_reloads_total", Help: "Configurations that were applied, rejected, or taken back.",
		}, []string{"result"}),
		starts: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "tend_program_start_duration_seconds", Help: "From the start of a process until it counts as running.", Buckets: durations,
		}, []string{"program"}),
		stops: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "tend_program_stop_duration_seconds", Help: "From the wish that a program stops until nothing of it is left.", Buckets: durations,
		}, []string{"program"}),
		lag: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "tend_event_lag_seconds", Help: "From what happens, as the end of a process or a command, until the daemon deals with it.", Buckets: prometheus.ExponentialBuckets(0.0001, 4, 9),
		}),
	}
	for _, result := range []string{"applied", "rejected", "rolled-back"} {
		s.reloads.WithLabelValues(result)
	}
	info := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "tend_build_info", Help: "1, with the version of the daemon.", ConstLabels: prometheus.Labels{"version": version},
	})
	info.Set(1)
	s.registry.MustRegister(s.exits, s.again, s.reloads, s.starts, s.stops, s.lag, info, view{s},
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), collectors.NewGoCollector())
	return s
}

// Observe counts what has happened.
func (s *Set) Observe(events ...event.Event) {
	for i := range events {
		switch e := &events[i]; e.Kind {
		case event.State:
			s.observeState(e)
		case event.ConfigApplied:
			s.reloads.WithLabelValues("applied").Inc()
		case event.ConfigRejected:
			s.reloads.WithLabelValues("rejected").Inc()
		case event.RolledBack:
			s.reloads.WithLabelValues("rolled-back").Inc()
		case event.Removed:
			s.forget(e.Program)
		}
	}
}

// Lag counts how long something that has happened has waited for the daemon.
func (s *Set) Lag(d time.Duration) { s.lag.Observe(d.Seconds()) }

func (s *Set) observeState(e *event.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	last, ended := s.ends[e.Name]
	if e.Exit != nil && (!ended || e.Exit.Gen != last.gen || e.Exit.Gen == 0) { // more than one event may tell of it
		cause, status := exitLabels(e.Exit)
		s.exits.WithLabelValues(e.Program, cause, status).Inc()
		last = end{e.Program, e.Exit.Gen, cause}
		s.ends[e.Name] = last
	}
	if e.To == api.Starting && e.PID != 0 && last.cause != "" {
		s.again.WithLabelValues(e.Program, last.cause).Inc()
		last.cause = ""
		s.ends[e.Name] = last
	}
	began, known := s.began[e.Name]
	switch e.To {
	case api.Starting:
		if e.PID != 0 {
			s.began[e.Name] = e.At
		}
	case api.Stopping:
		if e.From != api.Stopping {
			s.began[e.Name] = e.At
		}
	case api.Running:
		if known && e.From == api.Starting {
			s.starts.WithLabelValues(e.Program).Observe(e.At.Sub(began).Seconds())
		}
		delete(s.began, e.Name)
	default:
		if known && e.From == api.Stopping {
			s.stops.WithLabelValues(e.Program).Observe(e.At.Sub(began).Seconds())
		}
		delete(s.began, e.Name)
	}
}

// exitLabels returns what is told of an end. Causes and statuses are few, so that
// the series are.
func exitLabels(e *event.Exit) (cause, status string) {
	switch {
	case e.Err != "":
		return "start-failed", ""
	case e.Signal != 0:
		status = "SIG" + e.Signal.String()
	case e.Unknown:
		status = "unknown"
	default:
		status = strconv.Itoa(e.Code)
	}
	switch {
	case e.Cause != "":
		return causeOf(e.Cause), status
	case e.By != "":
		return "asked", status
	case e.Success:
		return "success", status
	}
	return "failure", status
}

// forget drops the series of a program that is gone.
func (s *Set) forget(program string) {
	l := prometheus.Labels{"program": program}
	s.exits.DeletePartialMatch(l)
	s.again.DeletePartialMatch(l)
	s.mu.Lock()
	maps.DeleteFunc(s.ends, func(_ string, e end) bool { return e.program == program })
	s.mu.Unlock()
	s.starts.DeletePartialMatch(l)
	s.stops.DeletePartialMatch(l)
}

// Handler answers scrapes.
func (s *Set) Handler() http.Handler {
	return promhttp.HandlerFor(s.registry, promhttp.HandlerOpts{EnableOpenMetrics: true})
}

// view collects how things are.
type view struct{ *Set }

func describe(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(name, help, labels, nil)
}

var (
	stateDesc     = describe("tend_instance_state", "1 for the state that an instance is in.", "program", "instance", "state")
	wantedDesc    = describe("tend_instance_wanted", "Whether an instance is to be up, by configuration or by hand.", "program", "instance")
	upDesc        = describe("tend_instance_up", "Whether an instance is where it is wanted to be.", "program", "instance")
	readyDesc     = describe("tend_instance_ready", "Whether an instance is ready.", "program", "instance")
	healthyDesc   = describe("tend_instance_healthy", "Whether the health checks of an instance succeed.", "program", "instance")
	startDesc     = describe("tend_instance_start_time_seconds", "When the process of an instance was started, since the epoch.", "program", "instance")
	restartsDesc  = describe("tend_instance_restarts_total", "Starts of an instance after the first that nobody asked for.", "program", "instance")
	cpuDesc       = describe("tend_instance_cpu_seconds_total", "Processor time of an instance's processes that live.", "program", "instance")
	memoryDesc    = describe("tend_instance_resident_memory_bytes", "Resident memory of an instance's processes.", "program", "instance")
	processesDesc = describe("tend_instance_processes", "Processes of an instance.", "program", "instance")
	threadsDesc   = describe("tend_instance_threads", "Threads of an instance's processes.", "program", "instance")
	nextDesc      = describe("tend_instance_next_start_time_seconds", "When an instance is started by itself next, since the epoch.", "program", "instance")
	movedDesc     = describe("tend_log_bytes_total", "Bytes of output that were carried to their destinations.")
	droppedDesc   = describe("tend_log_dropped_bytes_total", "Bytes of output that were lost because their destination failed.")
	eventsDesc    = describe("tend_events_total", "Events so far.")
	pendingDesc   = describe("tend_config_pending", "Whether the configuration files hold changes that aren't applied.")
	keptDesc      = describe("tend_output_kept", "1, with who keeps the programs' output should the daemon die.", "keeper")
)

// Describe sends nothing: which series there are depends on the programs.
func (view) Describe(chan<- *prometheus.Desc) {}

func (v view) Collect(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	s, err := v.snapshot(ctx)
	if err != nil {
		ch <- prometheus.NewInvalidMetric(stateDesc, err)
		return
	}
	gauge := func(d *prometheus.Desc, value float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
	}
	counter := func(d *prometheus.Desc, value float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, value, labels...)
	}
	for i := range s.Instances {
		n := &s.Instances[i]
		gauge(stateDesc, 1, n.Program, n.Name, n.State)
		gauge(wantedDesc, number(n.Wanted), n.Program, n.Name)
		gauge(upDesc, number(n.Up()), n.Program, n.Name)
		gauge(readyDesc, number(n.Ready), n.Program, n.Name)
		counter(restartsDesc, float64(n.Restarts), n.Program, n.Name)
		if n.Healthy != nil {
			gauge(healthyDesc, number(*n.Healthy), n.Program, n.Name)
		}
		if n.PID != 0 {
			started := time.Now().Add(-time.Duration(n.UptimeSeconds * float64(time.Second)))
			gauge(startDesc, float64(started.UnixMilli())/1000, n.Program, n.Name)
		}
		if n.NextRun != nil {
			gauge(nextDesc, float64(n.NextRun.UnixMilli())/1000, n.Program, n.Name)
		}
		if u := n.Usage; u != nil {
			counter(cpuDesc, u.CPUSeconds, n.Program, n.Name)
			gauge(memoryDesc, float64(u.ResidentBytes), n.Program, n.Name)
			gauge(processesDesc, float64(u.Processes), n.Program, n.Name)
			gauge(threadsDesc, float64(u.Threads), n.Program, n.Name)
		}
	}
	counter(movedDesc, float64(s.Moved))
	counter(droppedDesc, float64(s.Dropped))
	counter(eventsDesc, float64(s.EventSeq))
	gauge(pendingDesc, number(s.Pending))
	gauge(keptDesc, 1, s.Keeper)
}

func number(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// causeOf returns the kind of a cause in words: what it is about is too much for a
// label.
func causeOf(cause string) string {
	for kind, begin := range map[string]string{"not-ready": "not ready", "unhealthy": "unhealthy", "watchdog": "watchdog"} {
		if strings.HasPrefix(cause, begin) {
			return kind
		}
	}
	return "ended"
}

package main

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
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Who looks, and how the page in a browser looks (web/state.js).
const (
	pageEvery = 2 * time.Second        // between its questions for figures
	pageSoon  = 400 * time.Millisecond // from an event to the question that follows it
	pageRest  = time.Second            // but from one question to the next
	pageRetry = 300 * time.Millisecond // after its stream broke

	probeGap = 10 * time.Millisecond // between two questions at the control socket
	weighGap = 250 * time.Millisecond
)

// A crowd is how many look, and for how long.
type crowd struct {
	pages  int           // that are open: half at the unix socket, half on TCP with a token
	stage  time.Duration // of each situation
	settle time.Duration // before the first, and after the last
}

var bigCrowd = crowd{pages: 200, stage: 10 * time.Second, settle: settle}

// situations are the rows of load's table, in the order in which they are made.
var situations = []struct{ key, title string }{
	{"calm", "nobody looks"},
	{"pages", "the pages are open"},
	{"flap", "and a fifth of the programs flaps"},
	{"restart", "and all are restarted, again and again"},
}

// load guards n programs, has pages look at them and makes a storm, while somebody
// asks at the control socket how one program, and all, are. It returns the Markdown.
func (b *bench) load(binary string, w crowd, rounds int) (string, error) {
	began := time.Now()
	c := tend(binary)
	version, err := c.version()
	if err != nil {
		return "", err
	}
	for round := range rounds {
		fmt.Fprintf(os.Stderr, "round %d of %d: ", round+1, rounds)
		err := b.loadRound(c, w, round)
		fmt.Fprintln(os.Stderr)
		if err != nil {
			return "", err
		}
	}
	return b.loadReport(w, []string{
		machine(runtime.NumCPU(), runtime.Version(), began.UTC().Format(time.DateOnly)),
		fmt.Sprintf("tend %s; rounds: %d, in %s", version, rounds, time.Since(began).Round(time.Second)),
	}), nil
}

// loadToken is the token of the pages on TCP.
const loadToken = "bench-0123456789abcdef"

func (b *bench) loadRound(c *contender, w crowd, round int) error {
	address, err := freeAddress()
	if err != nil {
		return err
	}
	flapping := b.n / 5
	c.configure = func(f *fleet) error {
		if err := os.WriteFile(filepath.Join(f.dir, "tokens"), []byte("bench read "+loadToken+"\n"), 0o600); err != nil {
			return err
		}
		var text strings.Builder
		fmt.Fprintf(&text, "[tend]\nreload = \"manual\"\nlisten = %q\ntoken_file = \"tokens\"\n", address)
		for _, p := range f.programs {
			fmt.Fprintf(&text, "\n[%s]\ncommand = [%q, %q]\n", p.name(), f.probe, p.arg(f.board))
		}
		for i := range flapping {
			fmt.Fprintf(&text, "\n[flap%04d]\ncommand = [%q, %q]\nautostart = false\n", i, f.probe, program{slot: 0, exits: true}.arg(f.board))
			text.WriteString("backoff = { initial = \"100ms\", max = \"100ms\", factor = 1.0, jitter = 0.0 }\n")
		}
		return os.WriteFile(filepath.Join(f.dir, "tend.toml"), []byte(text.String()), 0o600)
	}
	f, err := launch(b.ctx, c, b.probe, programs(b.n-flapping), b.timeout)
	if err != nil {
		return err
	}
	defer f.close()
	if _, _, err := f.bringUp(); err != nil {
		return err
	}
	socket := filepath.Join(f.dir, "state", "tend.sock")
	if err := f.awaitSocket(socket); err != nil {
		return err
	}
	if err := f.pause(w.settle); err != nil {
		return err
	}

	ctx, leave := context.WithCancel(b.ctx)
	var open sync.WaitGroup
	defer func() { leave(); open.Wait() }()
	audience := new(audience)
	repeat := func(verb, pattern string) (stop func() error) {
		ctx, cancel := context.WithCancel(ctx)
		done := make(chan error, 1)
		go func() {
			for ctx.Err() == nil {
				if err := post(ctx, f, socket, "/v1/programs/"+pattern+"/"+verb, ""); err != nil && ctx.Err() == nil {
					done <- err
					return
				}
			}
			done <- nil
		}()
		return func() error { cancel(); return <-done }
	}
	for _, s := range situations {
		fmt.Fprintf(os.Stderr, "%s; ", s.title)
		stop := func() error { return nil }
		switch s.key {
		case "pages":
			for i := range w.pages {
				v := &visitor{audience: audience, client: unixClient(socket, 0), base: "http://tend"}
				if i%2 == 1 {
					v.client, v.base, v.token = &http.Client{Transport: &http.Transport{MaxConnsPerHost: 6}}, "http://"+address, loadToken
				}
				open.Go(func() { v.look(ctx) })
			}
			if err := f.until(func(time.Duration) error {
				if n := audience.live.Load(); n < int64(w.pages) {
					return fmt.Errorf("%w: %d pages are live", errTimeout, n)
				}
				return nil
			}, true); err != nil {
				return err
			}
		case "flap":
			if err := post(ctx, f, socket, "/v1/programs/flap*/start", `{"no_wait": true}`); err != nil {
				return err
			}
		case "restart":
			stop = repeat("restart", "*")
		}
		if err := b.watch(f, c, w.stage, round, socket, s.key, audience); err != nil {
			return errors.Join(err, stop())
		}
		if err := stop(); err != nil {
			return err
		}
	}
	if err := audience.trouble(); err != nil {
		return err
	}
	b.sheet.add("load-cut", c.name, round, float64(audience.cut.Load()))
	leave()
	open.Wait()
	if err := post(b.ctx, f, socket, "/v1/programs/flap*/stop", ""); err != nil {
		return err
	}
	if err := f.pause(w.settle); err != nil {
		return err
	}
	return b.weigh(f, c, round, "-load-after")
}

// watch asks for the length of a stage, and weighs the supervisor's side meanwhile.
func (b *bench) watch(f *fleet, c *contender, stage time.Duration, round int, socket, key string, a *audience) error {
	type daemon struct {
		EventSeq uint64 `json:"event_seq"`
	}
	var from, to daemon
	if err := askOnce(f, socket, "/v1/daemon", &from); err != nil {
		return err
	}
	a.lags(true)
	pid, err := c.survival.daemonPID(f)
	if err != nil {
		return err
	}
	side := []int{pid, f.root} // and none of those that are about to become a program
	before, err := used(side)
	if err != nil {
		return err
	}
	began := time.Now()
	var weighed time.Time
	for time.Since(began) < stage {
		for series, path := range map[string]string{"one": "/v1/programs/p0000", "all": "/v1/programs"} {
			asked := now()
			if err := askOnce(f, socket, path, nil); err != nil {
				return err
			}
			b.sheet.add("load-"+series+"-"+key, c.name, round, ms(time.Duration(now()-asked)))
		}
		if time.Since(weighed) > weighGap {
			weighed = time.Now()
			bytes, err := pss(side)
			if err != nil {
				return err
			}
			b.sheet.add("load-pss-"+key, c.name, round, float64(bytes)/(1<<20))
		}
		if err := f.pause(probeGap); err != nil {
			return err
		}
	}
	seconds := time.Since(began).Seconds()
	if err := askOnce(f, socket, "/v1/daemon", &to); err != nil {
		return err
	}
	after, err := used(side)
	if err != nil {
		return err
	}
	b.sheet.add("load-cpu-"+key, c.name, round, (after.cpu-before.cpu).Seconds()/seconds)
	b.sheet.add("load-events-"+key, c.name, round, float64(to.EventSeq-from.EventSeq)/seconds)
	for _, lag := range a.lags(false) {
		b.sheet.add("load-lag-"+key, c.name, round, ms(lag))
	}
	return nil
}

// loadReport returns the Markdown that a run of load amounts to.
func (b *bench) loadReport(w crowd, about []string) string {
	var text strings.Builder
	for _, line := range about {
		fmt.Fprintf(&text, "%s  \n", line)
	}
	fmt.Fprintf(&text, "\n| %s programs, %d pages", thousands(b.n), w.pages)
	for _, s := range situations {
		text.WriteString(" | " + s.title)
	}
	text.WriteString(" | aim |\n|---" + strings.Repeat("|---:", len(situations)) + "|:---|\n")
	row := func(title, series string, q float64, decimals int, most float64) {
		fmt.Fprintf(&text, "| %s", title)
		met := true
		for _, s := range situations {
			v := b.sheet.value(series+"-"+s.key, "tend", q)
			met = met && !(v > most)
			if v != v {
				text.WriteString(" | –")
				continue
			}
			text.WriteString(" | " + number(v, decimals))
		}
		aim := ""
		if most > 0 {
			aim = fmt.Sprintf("≤ %g ✗", most)
			if met {
				aim = fmt.Sprintf("≤ %g ✓", most)
			}
		}
		fmt.Fprintf(&text, " | %s |\n", aim)
	}
	row("events a second", "load-events", 0.5, 0, 0)
	row("one program at the control socket, median, ms", "load-one", 0.5, 1, 0)
	row("one program at the control socket, 99 %, ms", "load-one", 0.99, 1, 50)
	row("one program at the control socket, longest, ms", "load-one", 1, 1, 0)
	row("all programs at the control socket, median, ms", "load-all", 0.5, 1, 0)
	row("all programs at the control socket, 99 %, ms", "load-all", 0.99, 1, 50)
	row("from an event to the pages, 99 %, ms", "load-lag", 0.99, 0, 0)
	row("memory of daemon and guard, most, MiB", "load-pss", 1, 1, 0)
	row("processors that daemon and guard use", "load-cpu", 0.5, 2, 0)
	fmt.Fprintf(&text, "\nPages that were cut off: %s. Memory when the pages are closed and the storm is over: %s MiB.\n",
		number(b.sheet.value("load-cut", "tend", 1), 0), number(b.sheet.value("pss-load-after", "tend", 0.5), 1))
	return text.String()
}

// post asks for an action at the unix socket, over a connection of its own.
func post(ctx context.Context, f *fleet, socket, path, body string) error {
	client := unixClient(socket, 0)
	defer client.CloseIdleConnections()
	r, err := http.NewRequestWithContext(ctx, "POST", "http://tend"+path, strings.NewReader(body))
	if err != nil {
		return err
	}
	resp, err := client.Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	said, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("cannot post %s: %s: %.200s", path, resp.Status, said)
	}
	return err
}

func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

// An audience is all visitors, and what became of them.
type audience struct {
	live atomic.Int64 // pages that follow the events
	cut  atomic.Int64 // streams that broke

	mu      sync.Mutex
	wrong   error
	lag     []time.Duration // from events to pages; of a sample of them
	weighed bool            // lag is collected
}

func (a *audience) trouble() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.wrong
}

// lags returns how late events were since it was called before, and says whether
// they are collected from now on.
func (a *audience) lags(on bool) []time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	got := a.lag
	a.lag, a.weighed = nil, on
	return got
}

func (a *audience) heard(lag time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.weighed {
		a.lag = append(a.lag, lag)
	}
}

// A visitor is a page in a browser, without the browser.
type visitor struct {
	*audience
	client      *http.Client
	base, token string
}

// look opens the page and lives as it does until ctx ends.
func (v *visitor) look(ctx context.Context) {
	defer v.client.CloseIdleConnections()
	for _, path := range []string{"/", "/assets/app.js", "/assets/state.js", "/assets/list.js", "/assets/style.css", "/v1/access"} {
		if _, err := v.get(ctx, path); err != nil {
			v.fail(ctx, err)
			return
		}
	}
	for first := true; ctx.Err() == nil; first = false {
		if !first {
			v.cut.Add(1)
			pause(ctx, pageRetry)
		}
		seq, err := v.refresh(ctx)
		if err == nil {
			err = v.follow(ctx, seq)
		}
		if errors.Is(err, errWrong) {
			v.fail(ctx, err)
			return
		}
	}
}

var errWrong = errors.New("a page got a wrong answer")

func (v *visitor) fail(ctx context.Context, err error) {
	if ctx.Err() != nil {
		return
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.wrong = errors.Join(v.wrong, err)
}

func (v *visitor) request(ctx context.Context, path string) (*http.Response, error) {
	r, err := http.NewRequestWithContext(ctx, "GET", v.base+path, nil)
	if err != nil {
		return nil, err
	}
	r.Header.Set("Accept-Encoding", "gzip") // and it stays packed: what a browser does with it costs the browser
	if v.token != "" {
		r.Header.Set("Authorization", "Bearer "+v.token)
	}
	resp, err := v.client.Do(r)
	if err == nil && resp.StatusCode != http.StatusOK {
		resp.Body.Close()
		err = fmt.Errorf("%w: %s: %s", errWrong, path, resp.Status)
	}
	return resp, err
}

func (v *visitor) get(ctx context.Context, path string) ([]byte, error) {
	resp, err := v.request(ctx, path)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	return io.ReadAll(resp.Body)
}

// refresh asks for the daemon and all programs, and returns the number of the
// latest event before.
func (v *visitor) refresh(ctx context.Context) (seq uint64, err error) {
	text, err := v.get(ctx, "/v1/daemon?max_age=1")
	if err != nil {
		return 0, err
	}
	var d struct {
		EventSeq uint64 `json:"event_seq"`
	}
	if err := json.Unmarshal(text, &d); err != nil {
		return 0, fmt.Errorf("%w: %w", errWrong, err)
	}
	_, err = v.get(ctx, "/v1/programs?max_age=1")
	return d.EventSeq, err
}

// follow follows the events after seq, and asks for figures as long as it can.
func (v *visitor) follow(ctx context.Context, seq uint64) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	resp, err := v.request(ctx, fmt.Sprintf("/v1/events?latest=1&since=%d", seq))
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	v.live.Add(1)
	defer v.live.Add(-1)
	happened := make(chan struct{}, 1)
	var asking sync.WaitGroup
	defer asking.Wait()
	defer cancel()
	asking.Go(func() { v.ask(ctx, happened) })
	lines := bufio.NewReaderSize(resp.Body, 64<<10)
	for n := 0; ; {
		line, err := lines.ReadSlice('\n')
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) { // a plan may be longer
			return err
		}
		if !bytes.HasPrefix(line, []byte("data: ")) {
			continue
		}
		if n++; n%16 == 0 {
			if _, rest, ok := bytes.Cut(line, []byte(`"at":"`)); ok {
				text, _, _ := bytes.Cut(rest, []byte(`"`))
				if at, err := time.Parse(time.RFC3339Nano, string(text)); err == nil {
					v.heard(time.Since(at))
				}
			}
		}
		select {
		case happened <- struct{}{}:
		default:
		}
	}
}

// ask asks for figures now and then, and soon after something has happened.
func (v *visitor) ask(ctx context.Context, happened <-chan struct{}) {
	for asked := time.Now(); ctx.Err() == nil; {
		select {
		case <-happened:
			pause(ctx, pageSoon)
			pause(ctx, time.Until(asked.Add(pageRest)))
		case <-time.After(pageEvery):
		case <-ctx.Done():
			return
		}
		asked = time.Now()
		if _, err := v.refresh(ctx); err != nil && ctx.Err() == nil {
			v.fail(ctx, err)
		}
	}
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// Package health finds out whether programs are ready and healthy: it asks them,
// again and again, by HTTP, TCP, gRPC's health protocol or whatever else a
// [Probe] does, and tells what they answer.
//
// A [Prober] asks for thousands of programs without a thread, a goroutine or a
// timer for each: while nothing is due there is one timer. What an answer means,
// and how many failures are too many, is for others; so is how a command is run.
package health

import (
	"container/heap"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"tend/internal/spec"
)

// TryTimeout bounds a single try of whether a program is ready.
const TryTimeout = 5 * time.Second

// A Probe asks once, and returns nil if the answer is good, else what is wrong.
// When ctx is done it gives up.
type Probe func(ctx context.Context) error

// A Check says what to ask, how often, and whom to tell.
type Check struct {
	Probe    Probe
	Interval time.Duration // from the beginning of one to that of the next, but never before the end
	Timeout  time.Duration // of one
	Heavy    bool          // it costs more than a connection: few go side by side
	Shy      bool          // not all at the same time: the second comes after a part of the interval, by chance

	// Tell is told each failure, and good news: an answer that is good after none
	// or a failure. It must not block, and not call the Prober.
	Tell func(Result)
}

// A Result is what a check has found. Message says what is wrong, in plain words.
type Result struct {
	OK      bool
	Message string
}

// A Prober carries checks out. Its methods may be called from several goroutines.
type Prober struct {
	mu     sync.Mutex
	checks map[any]*check
	due    dues
	timer  *time.Timer // set for the first of due
	light  lane
	heavy  lane
	held   bool
	idle   sync.Cond // signalled when no check is under way
}

// A lane bounds how many checks go side by side. Each under way has a goroutine.
type lane struct {
	limit, busy int
	waiting     []*check
}

// check is a Check with what became of it.
type check struct {
	Check
	at     time.Time
	pos    int // in the heap; -1: not in it
	dead   bool
	begun  bool
	good   bool // the last answer that was told
	cancel context.CancelFunc
}

// How many checks go side by side: a connection costs a descriptor, a command a
// process.
const (
	lightLimit = 128
	heavyLimit = 16
)

// New returns a Prober without checks.
func New() *Prober {
	p := &Prober{checks: make(map[any]*check), light: lane{limit: lightLimit}, heavy: lane{limit: heavyLimit}}
	p.idle.L = &p.mu
	return p
}

// Watch begins a check under a key, in place of the one that it has; the first
// is due now.
func (p *Prober) Watch(key any, c Check) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.forget(key)
	k := &check{Check: c, at: time.Now(), pos: -1}
	p.checks[key] = k
	heap.Push(&p.due, k)
	p.arm()
}

// Forget ends the check of a key. One that is under way is given up, and nothing
// is told of it any more, but for what is being told just now.
func (p *Prober) Forget(key any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.forget(key)
	p.arm()
}

func (p *Prober) forget(key any) {
	k := p.checks[key]
	if k == nil {
		return
	}
	delete(p.checks, key)
	k.dead = true
	if k.pos >= 0 {
		heap.Remove(&p.due, k.pos)
	}
	if k.cancel != nil {
		k.cancel()
	}
}

// Hold gives up what is under way, returns when nothing is any more, and lets
// nothing begin until Resume.
func (p *Prober) Hold() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.held = true
	for _, k := range p.checks {
		if k.cancel != nil {
			k.cancel()
		}
	}
	for p.light.busy+p.heavy.busy > 0 {
		p.idle.Wait()
	}
	p.arm()
}

// Resume goes on after Hold.
func (p *Prober) Resume() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.held = false
	p.arm()
}

// arm sets the timer for what is due first.
func (p *Prober) arm() {
	switch {
	case p.held || len(p.due) == 0:
		if p.timer != nil {
			p.timer.Stop()
		}
	case p.timer == nil:
		p.timer = time.AfterFunc(time.Until(p.due[0].at), p.tick)
	default:
		p.timer.Reset(time.Until(p.due[0].at))
	}
}

// tick begins what is due.
func (p *Prober) tick() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for now := time.Now(); !p.held && len(p.due) > 0 && !p.due[0].at.After(now); {
		k := heap.Pop(&p.due).(*check)
		l := p.laneOf(k)
		if l.busy == l.limit {
			l.waiting = append(l.waiting, k)
			continue
		}
		l.busy++
		go p.work(k)
	}
	p.arm()
}

func (p *Prober) laneOf(k *check) *lane {
	if k.Heavy {
		return &p.heavy
	}
	return &p.light
}

// work carries out a check, and then those that wait for a place beside the others.
func (p *Prober) work(k *check) {
	l := p.laneOf(k)
	p.mu.Lock()
	defer p.mu.Unlock()
	for {
		if !k.dead {
			p.run(k)
		}
		if len(l.waiting) == 0 {
			break
		}
		k, l.waiting = l.waiting[0], l.waiting[1:]
	}
	l.waiting = nil
	if l.busy--; p.light.busy+p.heavy.busy == 0 {
		p.idle.Broadcast()
	}
	p.arm()
}

// run carries out a check. The lock is let go of meanwhile.
func (p *Prober) run(k *check) {
	began := time.Now()
	if p.held {
		p.later(k, began)
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), k.Timeout)
	k.cancel = cancel
	p.mu.Unlock()
	err := k.Probe(ctx)
	late := ctx.Err() == context.DeadlineExceeded
	cancel()
	p.mu.Lock()
	k.cancel = nil
	switch {
	case k.dead:
		return
	case p.held: // it was given up, perhaps; it is asked again
		p.later(k, began)
		return
	}
	r := Result{OK: err == nil}
	if err != nil {
		r.Message = short(words(err, late, k.Timeout))
	}
	if !r.OK || !k.good {
		k.Tell(r)
	}
	k.good = r.OK
	wait := k.Interval
	if k.Shy && !k.begun {
		wait = time.Duration((0.5 + rand.Float64()/2) * float64(wait))
	}
	k.begun = true
	next := began.Add(wait)
	if now := time.Now(); next.Before(now) {
		next = now
	}
	p.later(k, next)
}

// later makes a check due at a time.
func (p *Prober) later(k *check, at time.Time) {
	k.at = at
	heap.Push(&p.due, k)
	if k.pos == 0 {
		p.arm()
	}
}

// words returns what is wrong as people say it.
func words(err error, late bool, timeout time.Duration) string {
	var errno syscall.Errno
	var lookup *net.DNSError
	switch {
	case late:
		return "no answer within " + span(timeout)
	case errors.As(err, &lookup):
		return "cannot look up " + lookup.Name + ": " + lookup.Err
	case errors.As(err, &errno):
		return errno.Error()
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "the connection was closed without an answer"
	case errors.Is(err, os.ErrDeadlineExceeded):
		return "no answer within " + span(timeout)
	}
	return err.Error()
}

// short returns s in a length that fits a line.
func short(s string) string {
	const most = 300
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "…"
	}
	return s
}

func span(d time.Duration) string {
	return fmt.Sprintf("%g s", d.Round(time.Millisecond).Seconds())
}

// ReadyProbe returns what asks whether a program is ready, nil where it says so
// itself, or a command does.
func ReadyProbe(r *spec.Ready) Probe { return probe(r.HTTP, r.TCP, r.GRPC) }

// HealthProbe returns what asks whether a program is healthy, nil where a command
// does.
func HealthProbe(h *spec.Health) Probe { return probe(h.HTTP, h.TCP, h.GRPC) }

func probe(http, tcp, grpc string) Probe {
	switch {
	case http != "":
		return HTTP(http)
	case tcp != "":
		return TCP(tcp)
	case grpc != "":
		return GRPC(grpc)
	}
	return nil
}

// dues is a heap of checks by when they are due.
type dues []*check

func (d dues) Len() int           { return len(d) }
func (d dues) Less(i, j int) bool { return d[i].at.Before(d[j].at) }
func (d dues) Swap(i, j int) {
	d[i], d[j] = d[j], d[i]
	d[i].pos, d[j].pos = i, j
}
func (d *dues) Push(x any) {
	k := x.(*check)
	k.pos = len(*d)
	*d = append(*d, k)
}
func (d *dues) Pop() any {
	old := *d
	k := old[len(old)-1]
	old[len(old)-1] = nil
	*d = old[:len(old)-1]
	k.pos = -1
	return k
}

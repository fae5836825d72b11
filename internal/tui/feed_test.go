package tui

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	tea "charm.land/bubbletea/v2"

	"tend/api"
)

// slow is a daemon that takes its time to answer, counts the questions, and goes
// away when it is told to.
type slow struct {
	fake
	takes  time.Duration
	looks  atomic.Int64
	events chan api.Event
	away   chan struct{} // closed: it is gone
	since  []uint64      // what followers came with
}

func (s *slow) Instances(ctx context.Context) ([]api.Instance, error) {
	s.looks.Add(1)
	pause(ctx, nil, s.takes)
	select {
	case <-s.away:
		return nil, api.ErrNoDaemon
	default:
	}
	return world(), ctx.Err()
}

func (s *slow) Events(ctx context.Context, since uint64, _ bool) iter.Seq2[api.Event, error] {
	s.since = append(s.since, since)
	return func(yield func(api.Event, error) bool) {
		for {
			select {
			case e := <-s.events:
				if !yield(e, nil) {
					return
				}
			case <-s.away:
				yield(api.Event{}, errors.New("the daemon has gone away"))
				return
			case <-ctx.Done():
				return
			}
		}
	}
}

// TestFeed: the daemon is asked once a second while nothing happens, soon after
// something has, not all the time when much does, and again when it comes back.
func TestFeed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &slow{takes: 20 * time.Millisecond, events: make(chan api.Event), away: make(chan struct{})}
		ctx, cancel := context.WithCancel(t.Context())
		f := newFeed(d)
		got := make(chan tea.Msg, 1<<16)
		f.send = func(m tea.Msg) { got <- m }
		go f.look(ctx)
		go f.follow(ctx)
		within := func(span time.Duration) int64 {
			before := d.looks.Load()
			pause(ctx, nil, span)
			return d.looks.Load() - before
		}
		within(100 * time.Millisecond)
		if n := within(10 * time.Second); n < 9 || n > 10 {
			t.Errorf("asked %d times in ten quiet seconds", n)
		}
		d.events <- api.Event{Seq: 1}
		if n := within(gather + 50*time.Millisecond); n != 1 {
			t.Errorf("asked %d times soon after an event", n)
		}
		// A storm: many events, few messages, and most of the time left to the daemon.
		for len(got) > 0 {
			<-got
		}
		before := d.looks.Load()
		for n := range 5000 {
			d.events <- api.Event{Seq: uint64(n + 2)}
			pause(ctx, nil, time.Millisecond)
		}
		pause(ctx, nil, 2*gather)
		if n := d.looks.Load() - before; n < 10 || n > 50 {
			t.Errorf("asked %d times in a storm of five seconds", n)
		}
		var seen, pieces int
		for len(got) > 0 {
			if h, ok := (<-got).(happened); ok {
				seen, pieces = seen+len(h), pieces+1
			}
		}
		if seen != 5000 || pieces > 60 {
			t.Errorf("%d events in %d pieces", seen, pieces)
		}
		close(d.away)
		within(3 * time.Second)
		var last news
		for len(got) > 0 {
			if n, ok := (<-got).(news); ok {
				last = n
			}
		}
		if !errors.Is(last.err, api.ErrNoDaemon) {
			t.Errorf("that it is gone isn't said: %v", last.err)
		}
		cancel()
		synctest.Wait() // the follower has ended
		if n := len(d.since); n < 3 || n > 6 || !slices.Equal(d.since[:2], []uint64{0, 5001}) {
			t.Errorf("events were asked for after %v", d.since)
		}
	})
}

// lines is a log that breaks after each line.
type lines struct {
	fake
	asked chan string
	n     int
}

func (l *lines) Logs(_ context.Context, name string, o api.LogOptions) iter.Seq2[api.LogLine, error] {
	return func(yield func(api.LogLine, error) bool) {
		l.asked <- o.Since
		l.n++
		if yield(api.LogLine{Name: name, Text: "x\n", Position: fmt.Sprint(l.n)}, nil) {
			yield(api.LogLine{}, errors.New("the daemon has gone away"))
		}
	}
}

// TestTail: a log goes on where it was when the daemon comes back.
func TestTail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &lines{asked: make(chan string, 10)}
		ctx, cancel := context.WithCancel(t.Context())
		f := newFeed(l)
		p := &page{name: "web"}
		go f.tail(ctx, p)
		for _, want := range []string{"", "1", "2"} {
			if got := <-l.asked; got != want {
				t.Errorf("asked for what is after %q, not %q", got, want)
			}
		}
		cancel()
		synctest.Wait()
	})
}

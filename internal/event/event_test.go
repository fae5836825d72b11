package event

import (
	"context"
	"errors"
	"testing"

	"pgregory.net/rapid"
)

// numbers returns the numbers of events, and whether each is the one after the
// one before.
func numbers(events []Event) (first, last uint64, whole bool) {
	for i, e := range events {
		if i > 0 && e.Seq != last+1 {
			return first, last, false
		}
		if i == 0 {
			first = e.Seq
		}
		last = e.Seq
	}
	return first, last, true
}

// TestLog: whoever asks gets the events after a number in order and without a
// gap, and is told exactly how many are lost.
func TestLog(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		size := rapid.IntRange(1, 5).Draw(t, "size")
		base := rapid.Uint64Range(0, 7).Draw(t, "base")
		l := NewLog(size, base)
		total := base
		for range rapid.IntRange(0, 6).Draw(t, "appends") {
			n := rapid.IntRange(0, 4).Draw(t, "n")
			total += uint64(n)
			l.Append(make([]Event, n)...)
			if l.Last() != total {
				t.Fatalf("the latest is %d, not %d", l.Last(), total)
			}
			seq := rapid.Uint64Range(0, total+2).Draw(t, "seq")
			limit := rapid.IntRange(1, 6).Draw(t, "limit")
			events, missed := l.Since(seq, limit)
			lost := max(base, total-min(total, uint64(size))) // up to this number
			if want := max(lost, seq) - seq; missed != want && seq < total {
				t.Fatalf("%d missed after %d of %d, want %d", missed, seq, total, want)
			}
			first, last, whole := numbers(events)
			if len(events) > 0 && (first != seq+missed+1 || !whole) {
				t.Fatalf("after %d, %d missed: %d to %d", seq, missed, first, last)
			}
			if want := total - min(total, max(seq, lost)); uint64(len(events)) != min(want, uint64(limit)) {
				t.Fatalf("%d events after %d of %d", len(events), seq, total)
			}
		}
	})
}

// TestNext: a follower waits until there is something, however many wait, and
// misses nothing.
func TestNext(t *testing.T) {
	l := NewLog(100, 0)
	const followers, total = 4, 50
	done := make(chan error)
	for range followers {
		go func() {
			seq := uint64(0)
			for seq < total {
				events, missed, err := l.Next(t.Context(), seq, 7)
				first, last, whole := numbers(events)
				if err != nil || missed > 0 || first != seq+1 || !whole {
					done <- errors.New("a follower missed something")
					return
				}
				seq = last
			}
			done <- nil
		}()
	}
	for range total {
		l.Append(Event{Kind: State})
	}
	for range followers {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := l.Next(ctx, total, 1); !errors.Is(err, context.Canceled) {
		t.Errorf("Next with an ended context: %v", err)
	}
}

// TestGoesOn: a log that goes on from an earlier one has its events and numbers.
func TestGoesOn(t *testing.T) {
	l := NewLog(3, 10)
	l.Append(make([]Event, 5)...)
	held, missed := l.Since(0, 10)
	if len(held) != 3 || missed != 12 {
		t.Fatalf("%d held, %d missed", len(held), missed)
	}
	again := NewLog(2, l.Last(), held...)
	again.Append(Event{})
	events, missed := again.Since(13, 10)
	if first, last, whole := numbers(events); first != 15 || last != 16 || !whole || missed != 1 {
		t.Errorf("%d to %d, %d missed", first, last, missed)
	}
}

func TestReason(t *testing.T) {
	for want, e := range map[string]Exit{
		"exit 3": {Code: 3}, "signal KILL": {Signal: 9}, "signal SEGV (core dumped)": {Signal: 11, Core: true}, "cannot start: no": {Err: "cannot start: no", Code: 1},
		"exit status unknown": {Unknown: true},
	} {
		if got := e.Reason(); got != want {
			t.Errorf("%+v: %q, want %q", e, got, want)
		}
	}
}

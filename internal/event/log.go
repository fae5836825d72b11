package event

import (
	"context"
	"slices"
	"sync"
)

// A Log is a numbered history that keeps the latest events. Its methods may be
// called from several goroutines.
type Log struct {
	mu   sync.Mutex
	ring []Event // event number n is at (n-1-base) % size
	size int
	base uint64        // number before the first
	last uint64        // number of the latest event; 0: none
	more chan struct{} // closed when an event is appended; nil: nobody waits
}

// NewLog returns a log that keeps size events, whose next one follows number
// last. held are the latest of an earlier log, if they are known.
func NewLog(size int, last uint64, held ...Event) *Log {
	held = held[max(0, len(held)-size):]
	base := last - uint64(len(held))
	return &Log{size: size, base: base, last: last, ring: slices.Clone(held)}
}

// Append numbers the events and adds them. It never blocks.
func (l *Log) Append(events ...Event) {
	if len(events) == 0 {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range events {
		l.last++
		e.Seq = l.last
		if len(l.ring) < l.size {
			l.ring = append(l.ring, e)
		} else {
			l.ring[(l.last-1-l.base)%uint64(l.size)] = e
		}
	}
	if l.more != nil {
		close(l.more)
		l.more = nil
	}
}

// Last returns the number of the latest event, 0 when there is none.
func (l *Log) Last() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.last
}

// Since returns up to limit events after number seq, in order, and how many
// after seq are no longer held. A seq from the future is treated as the latest.
func (l *Log) Since(seq uint64, limit int) (events []Event, missed uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.since(seq, limit)
}

func (l *Log) since(seq uint64, limit int) (events []Event, missed uint64) {
	if seq >= l.last {
		return nil, 0
	}
	oldest := l.last - uint64(len(l.ring)) // the number before the oldest held
	if seq < oldest {
		missed, seq = oldest-seq, oldest
	}
	n := min(l.last-seq, uint64(limit))
	events = make([]Event, 0, n)
	for i := seq; i < seq+n; i++ {
		events = append(events, l.ring[(i-l.base)%uint64(l.size)])
	}
	return events, missed
}

// Next is [Log.Since], but waits until there is at least one event or ctx ends.
func (l *Log) Next(ctx context.Context, seq uint64, limit int) (events []Event, missed uint64, err error) {
	for {
		l.mu.Lock()
		events, missed = l.since(seq, limit)
		if len(events) > 0 || missed > 0 {
			l.mu.Unlock()
			return events, missed, nil
		}
		if l.more == nil {
			l.more = make(chan struct{})
		}
		more := l.more
		l.mu.Unlock()
		select {
		case <-more:
		case <-ctx.Done():
			return nil, 0, ctx.Err()
		}
	}
}

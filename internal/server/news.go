package server

import (
	"bytes"
	"compress/gzip"
	"context"
	"slices"
	"strconv"
	"sync"
	"time"

	"tend/api"
	"tend/internal/event"
)

// News is what many ask for at the same moment: the list of instances, the daemon,
// and what has happened. It is made once for all who ask, whichever server they ask,
// so that two hundred open pages cost little more than one. When nobody asks it
// costs nothing and keeps nothing.
type News struct {
	instances cell[*listing]
	daemon    cell[*api.Daemon]
	digests   digests
}

// NewNews returns the news of a daemon.
func NewNews(c Control, log *event.Log) *News {
	return &News{
		instances: cell[*listing]{make: func(ctx context.Context) (*listing, error) { return newListing(ctx, c) }},
		daemon:    cell[*api.Daemon]{make: c.Daemon},
		digests:   digests{log: log},
	}
}

// A listing is the answer to GET /v1/programs. It isn't changed.
type listing struct {
	seq    uint64 // of the latest event that it shows
	plain  []byte
	packed func() []byte // by gzip
}

// newListing makes the listing of how things are.
func newListing(ctx context.Context, c Control) (*listing, error) {
	all, seq, err := c.Instances(ctx)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	b.Grow(512 * len(all))
	enc := encoder(&b)
	sep := byte('[')
	for i := range all {
		b.WriteByte(sep)
		sep = ','
		if err := enc.Encode(&all[i]); err != nil {
			return nil, err
		}
	}
	if len(all) == 0 {
		b.WriteByte('[')
	}
	b.WriteString("]\n")
	plain := b.Bytes()
	return &listing{seq: seq, plain: plain, packed: sync.OnceValue(func() []byte { return pack(plain) })}, nil
}

// pack compresses by gzip, fast.
func pack(plain []byte) []byte {
	var b bytes.Buffer
	w, err := gzip.NewWriterLevel(&b, gzip.BestSpeed)
	if err != nil {
		panic(err) // the level is known
	}
	w.Write(plain) // a buffer takes everything
	w.Close()
	return b.Bytes()
}

// shelfLife is how long an answer is kept for those who take one that isn't new.
const shelfLife = 2 * time.Second

// A cell makes an answer once for all who wait for one. Nobody gets one that was
// begun before it was asked for, but who says so.
type cell[T any] struct {
	make func(context.Context) (T, error)

	mu      sync.Mutex
	last    *making[T] // the latest that is made; nil: none, or it is stale
	stale   *time.Timer
	running *making[T] // nil: nobody is at it
	next    *making[T] // is begun when running is done; nil: nobody waits for it
}

// A making is an answer that is being made, or made.
type making[T any] struct {
	began  time.Time
	ctx    context.Context // since it has begun
	cancel context.CancelFunc
	asking int // how many wait for it, or have it

	done chan struct{} // closed when the rest is there
	made T
	err  error
}

// get returns an answer that is made from how things were at most age ago.
func (c *cell[T]) get(ctx context.Context, age time.Duration) (made T, err error) {
	m := c.join(age)
	select {
	case <-m.done:
		return m.made, m.err
	case <-ctx.Done():
		c.mu.Lock()
		defer c.mu.Unlock()
		if m.asking--; m.asking == 0 {
			c.drop(m)
		}
		return made, ctx.Err()
	}
}

func (c *cell[T]) join(age time.Duration) *making[T] {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, m := range []*making[T]{c.last, c.running} {
		if m != nil && age > 0 && m.asking > 0 && time.Since(m.began) <= age {
			m.asking++
			return m
		}
	}
	if c.next == nil {
		c.next = &making[T]{done: make(chan struct{})}
	}
	m := c.next
	m.asking++
	if c.running == nil {
		c.begin()
		go c.run()
	}
	return m
}

// begin makes the next one the running one.
func (c *cell[T]) begin() {
	c.running, c.next = c.next, nil
	if m := c.running; m != nil {
		m.began = time.Now()
		// Not the context of one of those who wait: it is for all of them.
		m.ctx, m.cancel = context.WithTimeout(context.Background(), readLimit)
	}
}

// drop gives up what nobody waits for any more.
func (c *cell[T]) drop(m *making[T]) {
	switch m {
	case c.next:
		c.next = nil
	case c.running:
		m.cancel()
	}
}

// run makes answers as long as somebody waits for one.
func (c *cell[T]) run() {
	for m := c.running; m != nil; {
		m.made, m.err = c.make(m.ctx)
		m.cancel()
		close(m.done)
		c.mu.Lock()
		if m.err == nil {
			c.keep(m)
		}
		c.begin()
		m = c.running
		c.mu.Unlock()
	}
}

// keep keeps an answer until there is another one, or nobody has asked for a while.
func (c *cell[T]) keep(m *making[T]) {
	c.last = m
	if c.stale != nil {
		c.stale.Reset(shelfLife)
		return
	}
	c.stale = time.AfterFunc(shelfLife, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.last = nil
	})
}

// digestGap is the time from one digest to the next, and so the longest that an event
// waits.
const digestGap = 250 * time.Millisecond

// A digest is what has happened, for those who want to know how things are rather
// than all that went on: of an instance's changes of state only the latest is in it.
type digest struct {
	from, to uint64 // it tells of the events after from, up to to
	text     []byte // as it goes over the wire
}

// digests makes digests as long as somebody follows. A follower that has read the one
// before takes the latest as it is, which is what most do at most times; others make
// one of their own. So nothing is kept for those who lag behind.
type digests struct {
	log *event.Log

	mu        sync.Mutex
	followers int
	end       context.CancelFunc // of the goroutine that makes them
	latest    digest
	fresh     chan struct{} // closed when there is another one
}

// follow has digests made until leave is called.
func (d *digests) follow() (leave func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.followers++; d.followers == 1 {
		ctx, cancel := context.WithCancel(context.Background())
		last := d.log.Last()
		d.end, d.latest, d.fresh = cancel, digest{from: last, to: last}, make(chan struct{})
		go d.run(ctx, last)
	}
	return func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		if d.followers--; d.followers == 0 {
			d.end()
			d.latest = digest{}
		}
	}
}

func (d *digests) run(ctx context.Context, seq uint64) {
	for {
		if _, _, err := d.log.Next(ctx, seq, 1); err != nil {
			return
		}
		next := newDigest(d.log, seq, d.log.Last(), "")
		seq = next.to
		d.mu.Lock()
		if ctx.Err() == nil { // else these are the digests of others by now
			d.latest = next
			close(d.fresh)
			d.fresh = make(chan struct{})
		}
		d.mu.Unlock()
		select {
		case <-time.After(digestGap):
		case <-ctx.Done():
			return
		}
	}
}

// now returns the latest digest, and what is closed when there is another one.
func (d *digests) now() (digest, <-chan struct{}) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.latest, d.fresh
}

// newDigest tells of the events after one number up to another, or of those of one
// program or instance among them.
func newDigest(log *event.Log, from, to uint64, of string) digest {
	d := digest{from: from, to: to}
	events, missed := log.Since(from, int(to-from))
	for len(events) > 0 && events[len(events)-1].Seq > to { // those before are no longer held
		events = events[:len(events)-1]
	}
	latest := make(map[string]int) // of the instances' changes of state
	for i, e := range events {
		if e.Kind == event.State {
			latest[e.Name] = i
		}
	}
	var b bytes.Buffer
	if missed > 0 {
		writeEvent(&b, "", "missed", api.EventsMissed{Missed: missed})
	}
	for i, e := range events {
		if concerns(e, of) && (e.Kind != event.State || latest[e.Name] == i) {
			if err := writeEvent(&b, strconv.FormatUint(e.Seq, 10), e.Kind, EventView(e)); err != nil {
				panic(err) // what an event holds can be encoded
			}
		}
	}
	d.text = slices.Clip(b.Bytes())
	return d
}

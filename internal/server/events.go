package server

import (
	"bytes"
	"context"
	"net/http"
	"strconv"
	"sync"
	"time"

	"tend/api"
	"tend/internal/event"
)

// eventBatch is how many events are taken from the log at a time.
const eventBatch = 64

func (s *Server) events(c *call) error {
	follow, err := c.flag("follow", true)
	if err != nil {
		return err
	}
	seq, told, err := s.eventSince(c)
	if err != nil {
		return err
	}
	latest, err := c.flag("latest", false)
	if err != nil {
		return err
	}
	of := c.query.Get("program")
	switch {
	case !follow && latest:
		return badRequest("latest is for a stream")
	case !follow:
		return s.heldEvents(c, seq, of)
	case latest:
		return s.latestEvents(c, seq, told, of)
	}
	st, err := s.openStream(c)
	if err != nil {
		return err
	}
	defer st.close()
	for {
		batch, missed, over := st.next(&seq)
		for _, e := range batch {
			if missed > 0 && told {
				st.event("", "missed", api.EventsMissed{Missed: missed})
			}
			missed, told = 0, true
			if concerns(e, of) {
				st.event(strconv.FormatUint(e.Seq, 10), e.Kind, EventView(e))
			}
		}
		if err := st.flush(); err != nil {
			return err
		}
		if over {
			return nil
		}
	}
}

// concerns reports whether an event is of a program or an instance; "" is all.
func concerns(e event.Event, of string) bool { return of == "" || e.Program == of || e.Name == of }

// latestEvents streams digests of what has happened.
func (s *Server) latestEvents(c *call, seq uint64, told bool, of string) error {
	st, err := s.openStream(c)
	if err != nil {
		return err
	}
	defer st.close()
	defer s.news.digests.follow()()
	if !told {
		_, lost := s.log.Since(seq, 0)
		seq += lost
	}
	beat := time.NewTimer(s.heartbeat)
	defer beat.Stop()
	for over := false; ; {
		latest, fresh := s.news.digests.now()
		if over {
			latest.to = s.log.Last()
		}
		if latest.to > seq {
			if latest.from != seq || of != "" || over {
				latest = newDigest(s.log, seq, latest.to, of)
			}
			seq = latest.to
			st.text(latest.text)
		}
		if err := st.flush(); err != nil || over {
			return err
		}
		beat.Reset(s.heartbeat)
		select {
		case <-fresh:
		case <-beat.C:
			st.beat()
		case <-st.ctx.Done():
			over = true // after the latest word
		}
	}
}

// eventSince returns the number after which events are wanted, and whether the
// reader is to be told of lost ones: one that starts has lost nothing.
func (s *Server) eventSince(c *call) (seq uint64, told bool, err error) {
	v, name := c.query.Get("since"), "since"
	// A browser that connects again has the same query and this.
	if last := c.r.Header.Get("Last-Event-ID"); last != "" {
		v, name = last, "Last-Event-ID"
	}
	if v == "" {
		return 0, false, nil
	}
	if seq, err = strconv.ParseUint(v, 10, 64); err != nil {
		return 0, false, badRequest("%s must be the number of an event, not %q", name, v)
	}
	if seq > s.log.Last() {
		return 0, false, nil // of a daemon before this one
	}
	return seq, true, nil
}

// heldEvents answers with the events that are held.
func (s *Server) heldEvents(c *call, seq uint64, of string) error {
	l := c.out.list()
	for last := s.log.Last(); seq < last; {
		batch, _ := s.log.Since(seq, eventBatch)
		for _, e := range batch {
			if seq = e.Seq; seq > last {
				break
			}
			if concerns(e, of) {
				if err := l.add(EventView(e)); err != nil {
					return err
				}
			}
		}
	}
	return l.close()
}

// EventView returns an event as the protocol has it.
func EventView(e event.Event) *api.Event {
	v := &api.Event{
		Seq: e.Seq, At: e.At.Round(0), Kind: e.Kind, Name: e.Name, Program: e.Program,
		From: e.From, To: e.To, PID: e.PID, Generation: e.Gen, Message: e.Message,
	}
	if x := e.Exit; x != nil {
		v.Exit = &api.Exit{Code: x.Code, At: x.At.Round(0), Reason: x.Reason(), Success: x.Success}
		if x.Signal != 0 {
			v.Exit.Signal = x.Signal.String()
		}
	}
	switch d := e.Detail.(type) {
	case *api.Plan:
		if d != nil {
			p := filled(*d)
			v.Plan = &p
		}
	case []api.Diagnostic:
		v.Diagnostics = d
	}
	return v
}

// A stream is an answer of server-sent events. Events are collected and sent by
// flush; errors stay until then. While it waits it holds no buffer.
type stream struct {
	s   *Server
	out *out
	ctx context.Context // ends with the client, or the server's streams

	buf    *bytes.Buffer // nil: nothing is collected
	unsent bool          // something was written since the latest flush
	err    error
	stop   context.CancelFunc // ends ctx
	cancel func()             // and gives the stream's place back
}

var buffers = sync.Pool{New: func() any { return new(bytes.Buffer) }}

// maxPooled bounds the buffers that are kept for later.
const maxPooled = 256 << 10

// openStream begins a stream. The caller closes it.
func (s *Server) openStream(c *call) (*stream, error) {
	st, err := s.hold(c)
	if err != nil {
		return nil, err
	}
	c.out.Header().Set("Content-Type", "text/event-stream")
	c.out.Header().Set("Cache-Control", "no-store")
	c.out.WriteHeader(http.StatusOK)
	if err := c.out.flush(); err != nil {
		st.close()
		return nil, err
	}
	return st, nil
}

// hold takes the place of a stream without beginning the answer.
func (s *Server) hold(c *call) (*stream, error) {
	select {
	case s.streams <- struct{}{}:
	default:
		return nil, &api.Error{Kind: api.KindUnavailable, Message: "too many streams are open: " + strconv.Itoa(cap(s.streams)), Hint: "close some followers of logs or events"}
	}
	ctx, cancel := context.WithCancel(c.ctx)
	stop := context.AfterFunc(s.ending, cancel)
	return &stream{s: s, out: c.out, ctx: ctx, stop: cancel, cancel: func() {
		stop()
		cancel()
		<-s.streams
	}}, nil
}

func (st *stream) close() {
	st.release()
	st.cancel()
}

// event collects an event. An empty id is left out.
func (st *stream) event(id, kind string, data any) {
	if st.err != nil {
		return
	}
	b := st.buffer()
	st.err = writeEvent(b, id, kind, data)
	// One write for a burst of small events, but not one buffer for all.
	if b.Len() > 64<<10 {
		st.write()
	}
}

// writeEvent writes an event as it goes over the wire. An empty id is left out.
func writeEvent(b *bytes.Buffer, id, kind string, data any) error {
	if id != "" {
		b.WriteString("id: " + id + "\n")
	}
	b.WriteString("event: " + kind + "\ndata: ")
	err := encoder(b).Encode(data) // one line, with its end
	b.WriteByte('\n')
	return err
}

// text sends events as they are, at once.
func (st *stream) text(text []byte) {
	st.write()
	if st.err == nil && len(text) > 0 {
		_, st.err = st.out.Write(text)
		st.unsent = true
	}
}

func (st *stream) buffer() *bytes.Buffer {
	if st.buf == nil {
		st.buf = buffers.Get().(*bytes.Buffer)
	}
	return st.buf
}

func (st *stream) write() {
	if st.buf != nil && st.err == nil {
		_, st.err = st.out.Write(st.buf.Bytes())
	}
	st.release()
}

func (st *stream) release() {
	if st.buf == nil {
		return
	}
	if st.buf.Cap() <= maxPooled {
		st.buf.Reset()
		buffers.Put(st.buf)
	}
	st.buf = nil
}

// flush sends what was collected, if anything.
func (st *stream) flush() error {
	if st.buf == nil && !st.unsent && st.err == nil {
		return nil
	}
	st.write()
	st.unsent = false
	if st.err == nil {
		st.err = st.out.flush()
	}
	return st.err
}

// beat sends a comment, by which both sides notice that the other has gone.
func (st *stream) beat() {
	st.buffer().WriteString(": \n\n")
}

// next waits for the events after seq, and moves seq on. Without events for a
// while it collects a heartbeat and returns none. over says that the stream is
// to end after these: the client has gone, or the server ends.
func (st *stream) next(seq *uint64) (batch []event.Event, missed uint64, over bool) {
	batch, missed, beat, over := st.wait(seq)
	if beat {
		st.beat()
	}
	return batch, missed, over
}

// wait is next, but says only that a heartbeat is due.
func (st *stream) wait(seq *uint64) (batch []event.Event, missed uint64, beat, over bool) {
	ctx, cancel := context.WithTimeout(st.ctx, st.s.heartbeat)
	defer cancel()
	batch, missed, err := st.s.log.Next(ctx, *seq, eventBatch)
	switch {
	case st.ctx.Err() != nil:
		// Those that came with the end, as the word that it is the end.
		batch, missed = st.s.log.Since(*seq, eventBatch)
		over = len(batch) < eventBatch
	case err != nil:
		beat = true
	}
	if len(batch) > 0 {
		*seq = batch[len(batch)-1].Seq
	}
	return batch, missed, beat, over
}

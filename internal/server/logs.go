package server

import (
	"bytes"
	"container/heap"
	"context"
	"errors"
	"io"
	"io/fs"
	"mime"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"tend/api"
	"tend/internal/event"
)

const (
	defaultLines = 100

	// maxLine is how long a line may grow before it is sent in pieces.
	maxLine = 64 << 10

	// maxEmits is how many followers of one stream may wait with their bytes in
	// memory for a client that is slow. Others let go of theirs and read again.
	maxEmits = 8

	// manyLogs is the number of merged logs up to which each event has an id.
	// It names a position in each of them; with more, idPause is between two.
	manyLogs = 32
	idPause  = 100 * time.Millisecond

	// drainLimit is how long the log of a removed instance, which is read to its
	// end, may yield nothing before it is given up.
	drainLimit = 5 * time.Second

	// manyOpen is how many logs are merged by time. Of more, they are as many at a
	// time: each takes a descriptor and a buffer.
	manyOpen = 256
)

// logs answers with what programs print: text/plain for one instance, or a
// stream of events that merges several.
func (s *Server) logs(c *call) error {
	follow, err := c.flag("follow", false)
	if err != nil {
		return err
	}
	lines := defaultLines
	if v := c.query.Get("lines"); v != "" {
		if lines, err = strconv.Atoi(v); err != nil {
			return badRequest("lines must be a number, not %q", v)
		}
	}
	begun, err := c.flag("begun", false)
	if err != nil {
		return err
	}
	since, err := logSinceOf(c)
	if err != nil {
		return err
	}
	sel, err := selectionOf(c)
	if err != nil {
		return err
	}
	sel.Lines = lines
	times, err := c.flag("times", false)
	if err != nil {
		return err
	}
	if follow && !sel.Until.IsZero() {
		return badRequest("until is the end, and what comes after it can't be followed")
	}
	seq := s.log.Last() // before asking, so that no change is missed
	files, err := s.logFiles(c.ctx, c.name)
	if err != nil {
		return err
	}
	raw := !acceptsEvents(c.r.Header.Values("Accept"))
	if raw && len(files) > 1 {
		err := badRequest("%q means %d instances, and plain text has room for one", c.name, len(files))
		err.Hint = "name one, as " + files[0].Name + ", or ask with Accept: text/event-stream"
		return err
	}
	var st *stream
	if raw {
		if st, err = s.hold(c); err == nil {
			c.out.Header().Set("Content-Type", "text/plain; charset=utf-8")
			c.out.Header().Set("X-Content-Type-Options", "nosniff")
		}
	} else {
		st, err = s.openStream(c)
	}
	if err != nil {
		return err
	}
	defer st.close()
	m := &merged{
		st: st, pattern: c.name, raw: raw, live: follow, sel: sel, times: times, begun: begun, since: since,
		tails: make(map[string]*tail), emits: make(chan struct{}, maxEmits),
	}
	defer m.wg.Wait() // before st is closed
	defer st.stop()
	return m.run(files, seq)
}

// logFiles asks the daemon for the logs that pattern means.
func (s *Server) logFiles(ctx context.Context, pattern string) ([]LogFile, error) {
	ctx, cancel := context.WithTimeout(ctx, s.readLimit)
	defer cancel()
	return s.control.Logs(ctx, pattern)
}

// acceptsEvents reports whether an event stream is asked for by name.
func acceptsEvents(accept []string) bool {
	for a := range strings.SplitSeq(strings.Join(accept, ","), ",") {
		if t, _, err := mime.ParseMediaType(a); err == nil && t == "text/event-stream" {
			return true
		}
	}
	return false
}

// merged is one answer with the logs of instances. The handler's goroutine
// watches for instances that come and go; each followed log has a goroutine.
type merged struct {
	st      *stream
	pattern string
	raw     bool // bytes, not events
	live    bool // what comes is followed
	begun   bool // from where the daemon has begun
	sel     selection
	times   bool // each event is of one time, which it has with it
	since   map[string]position

	emits chan struct{} // holds an element for each follower that waits with bytes
	wg    sync.WaitGroup

	mu    sync.Mutex // guards st's output and what follows, those of the tails too
	tails map[string]*tail
	order []*tail // as they were met, for ids
	ended bool    // the last of them has
	idAt  time.Time
	held  *api.LogLine // the latest of the last lines: it waits for its id
}

// A tail is the log of one instance.
type tail struct {
	file   LogFile
	ctx    context.Context
	cancel context.CancelFunc
	kick   chan struct{} // something happened to the instance

	placed bool     // what follows holds
	read   position // after what was read
	sent   position // after the whole lines that were sent
	carry  []byte   // between the two: the beginning of a line
	end    *position
	idle   *time.Timer // with end: gives up
	missed bool
}

// run sends the last lines of files, and goes on with what comes.
func (m *merged) run(files []LogFile, seq uint64) error {
	tails := make([]*tail, len(files))
	for i, f := range files {
		tails[i] = m.add(f)
	}
	for from := 0; from < len(tails); from += manyOpen {
		if err := m.begin(tails[from:min(len(tails), from+manyOpen)]); err != nil {
			return err
		}
	}
	if m.live {
		m.mu.Lock()
		m.release(true)
		err := m.flush()
		for _, t := range slices.Clone(m.order) {
			m.start(t)
		}
		m.mu.Unlock()
		if err != nil {
			return err
		}
		over := m.watch(seq)
		m.st.stop()
		m.wg.Wait()
		if !over {
			return m.st.err
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.ended && m.st.ctx.Err() != nil {
		return m.st.err // broken off, which the end would deny
	}
	m.release(true)
	if !m.raw {
		m.st.event("", "end", struct{}{})
	}
	return m.flush()
}

func (m *merged) add(f LogFile) *tail {
	t := &tail{file: f, kick: make(chan struct{}, 1)}
	t.ctx, t.cancel = context.WithCancel(m.st.ctx)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.tails[f.Name] = t
	m.order = append(m.order, t)
	return t
}

// begin sends what comes before following: the last lines, those of several logs
// in the order of their times, or without follow all after the position that was
// asked for.
func (m *merged) begin(tails []*tail) error {
	var order sources
	defer func() {
		for _, s := range order {
			s.r.Close()
		}
	}()
	for _, t := range tails {
		from, known := m.since[t.file.Name]
		if b := t.file.Begun; !known && m.begun && b != nil {
			from, known = *b, true
		}
		if known {
			if err := m.resume(t, from); err != nil {
				return err
			}
			continue
		}
		sel := m.sel
		sel.Times = t.file.Times
		r, err := t.file.reader(sel)
		if err == nil {
			t.placed, t.read, t.sent = true, r.End(), r.End()
			s := &source{t: t, r: r, number: len(order)}
			if err = s.advance(); err == nil {
				order = append(order, s)
				continue
			}
			r.Close()
		}
		if err == io.EOF {
			err = nil
		}
		if err := m.began(t, err); err != nil {
			return err
		}
	}
	heap.Init(&order)
	var text []byte
	for len(order) > 0 {
		s := order[0]
		at := s.line.At
		text = append(text[:0], s.line.Text...)
		err := s.advance()
		for err == nil && len(text) < maxLine && (len(order) == 1 && !m.times || s.line.At.Equal(at) || m.raw) {
			text = append(text, s.line.Text...)
			err = s.advance()
		}
		m.mu.Lock()
		whole := bytes.LastIndexByte(text, '\n') + 1
		rest := text[whole:]
		if err == io.EOF && m.live && !m.raw && len(rest) < maxLine && int64(len(rest)) <= s.t.sent.Offset {
			// A line that has no end yet is sent when it has.
			s.t.carry, rest = bytes.Clone(rest), nil
			s.t.sent.Offset -= int64(len(s.t.carry))
		}
		m.sendPieces(s.t, text[:whole], at)
		m.sendPieces(s.t, rest, at)
		m.mu.Unlock()
		if err == nil {
			heap.Fix(&order, 0)
			continue
		}
		heap.Pop(&order)
		s.r.Close()
		if err == io.EOF {
			err = nil
		}
		if err := m.began(s.t, err); err != nil {
			return err
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.flush()
}

// sendPieces sends what there was of t's log, a line that is too long in pieces.
// The caller holds mu.
func (m *merged) sendPieces(t *tail, text []byte, at time.Time) {
	for len(text) > 0 {
		n := len(text)
		if n > maxLine && !m.raw {
			if n = bytes.LastIndexByte(text[:maxLine], '\n') + 1; n == 0 {
				n = maxLine - partialRune(text[:maxLine])
			}
		}
		m.sendAt(t, text[:n], at, true)
		text = text[n:]
	}
}

// resume goes on with t from a position.
func (m *merged) resume(t *tail, from position) error {
	t.placed, t.read, t.sent = true, from, from
	if m.live {
		return nil
	}
	end, err := t.file.end()
	if err == nil && end != (position{}) && !reached(from, end) {
		m.finish(t, end)
		m.wg.Add(1)
		m.follow(t)
		return m.st.err
	}
	return m.began(t, err)
}

// A source is a log that is merged with others.
type source struct {
	t      *tail
	r      *logReader
	line   logLine
	number int
}

func (s *source) advance() (err error) {
	s.line, err = s.r.Next()
	return err
}

// sources are a heap, the one with the oldest line first.
type sources []*source

func (h sources) Len() int { return len(h) }
func (h sources) Less(i, j int) bool {
	if c := h[i].line.At.Compare(h[j].line.At); c != 0 {
		return c < 0
	}
	return h[i].number < h[j].number
}
func (h sources) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *sources) Push(x any)   { *h = append(*h, x.(*source)) }
func (h *sources) Pop() any {
	last := (*h)[len(*h)-1]
	*h = (*h)[:len(*h)-1]
	return last
}

// began sends what begin has collected, or that t's log can't be read.
func (m *merged) began(t *tail, err error) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err != nil {
		if m.raw {
			return err
		}
		m.trouble(t, err)
	}
	return m.flush()
}

// start follows t beside the others. The caller holds mu.
func (m *merged) start(t *tail) {
	if m.tails[t.file.Name] != t {
		return // it had trouble
	}
	m.wg.Add(1)
	go m.follow(t)
}

// errBusy is what a follower is told that has to let go of its bytes.
var errBusy = errors.New("too many wait for the client")

// follow sends what comes after t.read, until t is cancelled or the log can't be
// read.
func (m *merged) follow(t *tail) {
	defer m.wg.Done()
	for {
		err := t.file.follow(t.ctx, t.read, func(chunk []byte, next position) error {
			select {
			case m.emits <- struct{}{}:
			default:
				return errBusy
			}
			defer func() { <-m.emits }()
			m.mu.Lock()
			defer m.mu.Unlock()
			if t.end != nil {
				t.idle.Stop() // that the client is slow isn't counted
				defer t.idle.Reset(drainLimit)
			}
			m.take(t, chunk, next)
			if err := m.flush(); err != nil {
				return err
			}
			if t.end != nil && reached(t.read, *t.end) {
				t.cancel()
			}
			return nil
		})
		switch {
		case t.ctx.Err() != nil:
			m.leave(t, nil)
			return
		case m.failed():
			m.st.stop()
			return
		case errors.Is(err, errBusy):
			select {
			case m.emits <- struct{}{}:
				<-m.emits
			case <-t.ctx.Done():
			}
		case rotatedAway(err):
			m.mu.Lock()
			t.read, t.carry, t.missed = position{}, nil, true
			m.mu.Unlock()
		case errors.Is(err, fs.ErrNotExist): // not even its folder
			select {
			case <-t.kick:
			case <-t.ctx.Done():
			}
		default:
			m.leave(t, err)
			return
		}
	}
}

// leave ends t, with err if its log could not be read.
func (m *merged) leave(t *tail, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.st.ctx.Err() == nil { // else whoever goes on gets the line whole
		m.sendCarry(t)
	}
	if err != nil {
		m.trouble(t, err)
	}
	_ = m.flush() // an error stays in st
	m.drop(t)
}

// drop forgets t. The caller holds mu.
func (m *merged) drop(t *tail) {
	t.cancel()
	if t.idle != nil {
		t.idle.Stop()
	}
	if m.tails[t.file.Name] == t {
		delete(m.tails, t.file.Name)
	}
	if m.live { // else it has only ended, and its position counts
		m.order = slices.DeleteFunc(m.order, func(o *tail) bool { return o == t })
	}
	if len(m.tails) == 0 && m.st.ctx.Err() == nil {
		m.ended = true
		m.st.stop() // for the watcher
	}
}

func (m *merged) failed() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.st.err != nil
}

// trouble tells that the log of t can't be read. The caller holds mu.
func (m *merged) trouble(t *tail, err error) {
	if m.raw {
		m.st.err = err // breaks the answer off
	} else {
		m.release(false)
		m.st.event("", "trouble", api.LogTrouble{Name: t.file.Name, Message: err.Error()})
	}
	m.drop(t)
}

// take sends the whole lines of what t's log goes on with, and keeps the rest.
// The caller holds mu.
func (m *merged) take(t *tail, chunk []byte, next position) {
	i := bytes.LastIndexByte(chunk, '\n') + 1
	switch {
	case m.raw:
		i = len(chunk)
	case i == 0 && len(t.carry)+len(chunk) > maxLine:
		i = len(chunk) - partialRune(chunk)
	}
	rest := chunk[i:]
	t.read = next
	if i > 0 {
		t.sent = next
		t.sent.Offset -= int64(len(rest))
		text := append(t.carry, chunk[:i]...)
		t.carry = nil
		m.send(t, m.matching(text))
	}
	if len(rest) > 0 {
		t.carry = append(t.carry, rest...)
	}
}

// partialRune returns how many bytes at the end of b begin a rune that b doesn't
// hold whole.
func partialRune(b []byte) int {
	for n := 1; n < utf8.UTFMax && n < len(b); n++ {
		if c := b[len(b)-n:]; utf8.RuneStart(c[0]) {
			if utf8.FullRune(c) {
				return 0
			}
			return n
		}
	}
	return 0
}

// sendCarry sends a line that has no end.
func (m *merged) sendCarry(t *tail) {
	if len(t.carry) > 0 {
		t.sent = t.read
		m.send(t, m.matching(t.carry))
		t.carry = nil
	}
}

// matching returns those lines of text that are asked for.
func (m *merged) matching(text []byte) []byte {
	if m.sel.Match == nil {
		return text
	}
	var out []byte
	for line := range bytes.Lines(text) {
		if m.sel.Match.Match(bytes.TrimSuffix(line, []byte("\n"))) {
			out = append(out, line...)
		}
	}
	return out
}

// send collects a piece of what t's output goes on with.
func (m *merged) send(t *tail, text []byte) { m.sendAt(t, text, time.Time{}, false) }

// sendAt collects a piece of t's output, of some time if that is known. Of the last
// lines, the latest is held back: it is to have an id, which is there when all logs
// were read.
func (m *merged) sendAt(t *tail, text []byte, at time.Time, last bool) {
	switch {
	case m.st.err != nil || len(text) == 0:
		return
	case m.raw:
		_, m.st.err = m.st.out.Write(text)
		return
	}
	m.release(false)
	line := &api.LogLine{Name: t.file.Name, Text: string(text), Missed: t.missed}
	if m.times && !at.IsZero() {
		line.Time = &at
	}
	t.missed = false
	if last {
		m.held = line
		return
	}
	id := ""
	if now := time.Now(); len(m.order) <= manyLogs || now.Sub(m.idAt) >= idPause {
		id, m.idAt = m.id(), now
	}
	m.st.event(id, "log", line)
}

// release collects the line that was held back.
func (m *merged) release(withID bool) {
	if m.held == nil {
		return
	}
	id := ""
	if withID {
		id = m.id()
	}
	m.st.event(id, "log", m.held)
	m.held = nil
}

// id returns the positions in all logs.
func (m *merged) id() string {
	b := make([]byte, 0, 48*len(m.order))
	for _, t := range m.order {
		if !t.placed {
			continue
		}
		if len(b) > 0 {
			b = append(b, ',')
		}
		at, _ := t.sent.MarshalText() // has no error
		b = append(append(append(b, url.QueryEscape(t.file.Name)...), '='), at...)
	}
	return string(b)
}

// selectionOf returns which lines a request is about.
func selectionOf(c *call) (sel selection, err error) {
	for _, p := range []struct {
		name string
		to   *time.Time
	}{{"from", &sel.Since}, {"until", &sel.Until}} {
		if v := c.query.Get(p.name); v != "" {
			if *p.to, err = time.Parse(time.RFC3339Nano, v); err != nil {
				return sel, badRequest("%s must be a time as 2006-01-02T15:04:05Z, not %q", p.name, v)
			}
		}
	}
	if v := c.query.Get("grep"); v != "" {
		if sel.Match, err = regexp.Compile(v); err != nil {
			return sel, badRequest("grep must be a regular expression: %v", err)
		}
	}
	return sel, nil
}

// logSinceOf returns the positions that a request goes on from, by instance.
func logSinceOf(c *call) (map[string]position, error) {
	v := c.query.Get("since")
	if last := c.r.Header.Get("Last-Event-ID"); last != "" {
		v = last
	}
	if v == "" {
		return nil, nil
	}
	since := make(map[string]position)
	for part := range strings.SplitSeq(v, ",") {
		name, at, _ := strings.Cut(part, "=")
		name, err := url.QueryUnescape(name)
		var p position
		if err == nil {
			err = p.UnmarshalText([]byte(at))
		}
		if err != nil {
			return nil, badRequest("since must be the id of an event, not %q", part)
		}
		since[name] = p
	}
	return since, nil
}

// flush sends what was collected. The caller holds mu.
func (m *merged) flush() error {
	if m.raw {
		if m.st.err == nil {
			m.st.err = m.st.out.flush()
		}
		return m.st.err
	}
	return m.st.flush()
}

// watch follows the event log for instances that come and go, and keeps the
// stream alive. It returns whether all logs have ended; else the client is gone
// or the server ends.
func (m *merged) watch(seq uint64) (over bool) {
	for {
		batch, missed, end := m.next(&seq)
		if end {
			m.mu.Lock()
			defer m.mu.Unlock()
			return m.ended
		}
		stale := missed > 0
		for _, e := range batch {
			stale = stale || m.concerns(e)
		}
		if stale && !m.refresh() {
			return false
		}
	}
}

// next is the stream's, with heartbeats under the lock.
func (m *merged) next(seq *uint64) (batch []event.Event, missed uint64, end bool) {
	batch, missed, beat, end := m.st.wait(seq)
	if beat && !m.raw {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.st.beat()
		end = m.flush() != nil
	}
	return batch, missed, end
}

// concerns reports whether e may change which logs there are, or make one that
// had no folder.
func (m *merged) concerns(e event.Event) bool {
	return e.Kind == event.ConfigApplied || matches(m.pattern, e.Name) || matches(m.pattern, e.Program) ||
		e.Program != "" && strings.HasPrefix(m.pattern, e.Program+":")
}

// matches reports whether a name is meant by a pattern. The daemon has the last
// word: this is to ask it less often.
func matches(pattern, name string) bool {
	ok, _ := path.Match(pattern, name)
	return name != "" && (ok || name == pattern)
}

// refresh follows the logs that are there now, and those that are there no more
// to their end. It reports whether the stream goes on.
func (m *merged) refresh() bool {
	files, err := m.st.s.logFiles(m.st.ctx, m.pattern)
	if e := (*api.Error)(nil); errors.As(err, &e) && e.Kind == api.KindNotFound {
		files, err = nil, nil
	}
	if err != nil {
		return m.st.ctx.Err() != nil // watch finds out what that was
	}
	now := make(map[string]LogFile, len(files))
	for _, f := range files {
		now[f.Name] = f
	}
	var gone []*tail
	m.mu.Lock()
	for name, t := range m.tails {
		if f := now[name]; f.Path == t.file.Path {
			delete(now, name)
			select {
			case t.kick <- struct{}{}:
			default:
			}
		} else if t.end == nil {
			gone = append(gone, t)
		}
	}
	m.mu.Unlock()
	for _, t := range gone {
		end, err := t.file.end()
		if err != nil || end == (position{}) {
			t.cancel() // there is nothing more to read
			continue
		}
		m.finish(t, end)
	}
	for _, f := range files {
		if _, fresh := now[f.Name]; fresh && !m.raw {
			t := m.add(f)
			m.mu.Lock()
			t.placed = true
			m.start(t)
			m.mu.Unlock()
		}
	}
	return true
}

// finish lets t end when it has read up to end.
func (m *merged) finish(t *tail, end position) {
	m.mu.Lock()
	defer m.mu.Unlock()
	t.end = &end
	t.idle = time.AfterFunc(drainLimit, t.cancel)
	if reached(t.read, end) {
		t.cancel()
	}
}

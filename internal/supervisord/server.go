package supervisord

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"tend/internal/xmlrpc"
)

// Limits bound what clients can make a server hold and how long.
type Limits struct {
	Connections int           // of each listener at once; with one more, the one that is idle longest is closed
	Idle        time.Duration // between two requests
	Header      time.Duration // for a request without its body
	Body        time.Duration
	Write       time.Duration // until a client begins to take an answer
}

// DefaultLimits are those of a Server for which others aren't given.
var DefaultLimits = Limits{Connections: 256, Idle: 10 * time.Minute, Header: 30 * time.Second, Body: time.Minute, Write: time.Minute}

const (
	// smallBody is how long a request may be that doesn't have to wait for others.
	smallBody = 64 << 10

	// bigOnes is how many requests and answers above that are in memory at once.
	bigOnes = 2

	// acceptPause is how long no connection is taken after one could not be.
	acceptPause = 50 * time.Millisecond

	// roomPause is how long a connection waits for room when all others are busy.
	roomPause = time.Second
)

// Options are what a Server needs.
type Options struct {
	Daemon Daemon
	Limits Limits           // zero: DefaultLimits
	Now    func() time.Time // nil: time.Now
	Log    func(text string)
}

// A Server answers supervisord's clients.
type Server struct {
	daemon Daemon
	limits Limits
	now    func() time.Time
	log    func(string)
	big    chan struct{} // holds an element for each request that is big

	calls   context.Context // ends when answers are waited for no longer
	streams context.Context // ends when a shutdown begins
	endCall context.CancelFunc
	endRead context.CancelFunc
	wg      sync.WaitGroup

	mu        sync.Mutex
	closing   bool
	listeners map[net.Listener]struct{}
	conns     map[*conn]struct{}
	idleTick  uint64
	freed     chan struct{} // closed, and made anew, when there may be room
}

// NewServer returns a server that listens nowhere yet.
func NewServer(o Options) *Server {
	s := &Server{
		daemon: o.Daemon, limits: o.Limits, now: o.Now, log: o.Log,
		big:       make(chan struct{}, bigOnes),
		listeners: make(map[net.Listener]struct{}), conns: make(map[*conn]struct{}),
		freed: make(chan struct{}),
	}
	if s.limits == (Limits{}) {
		s.limits = DefaultLimits
	}
	if s.now == nil {
		s.now = time.Now
	}
	if s.log == nil {
		s.log = func(string) {}
	}
	s.calls, s.endCall = context.WithCancel(context.Background())
	s.streams, s.endRead = context.WithCancel(s.calls)
	return s
}

// Serve takes connections until the listener or the server is closed, which is no
// error. login is nil if none is asked for.
func (s *Server) Serve(l net.Listener, login *Login) error {
	s.mu.Lock()
	if s.closing {
		s.mu.Unlock()
		return l.Close()
	}
	s.listeners[l] = struct{}{}
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		delete(s.listeners, l)
		s.mu.Unlock()
	}()
	for {
		c, err := l.Accept()
		switch {
		case err == nil:
			s.take(l, c, login)
			continue
		case errors.Is(err, net.ErrClosed) || s.streams.Err() != nil:
			return nil
		}
		var temporary net.Error
		if !errors.As(err, &temporary) {
			return fmt.Errorf("cannot take connections: %w", err)
		}
		// Out of descriptors or memory, or the client is gone already.
		s.log("cannot take a connection: " + err.Error())
		select {
		case <-time.After(acceptPause):
		case <-s.streams.Done():
			return nil
		}
	}
}

// A conn is a connection of a client.
type conn struct {
	net.Conn
	s     *Server
	from  net.Listener
	r     *bufio.Reader
	login *Login
	idle  uint64 // since which tick it waits for a request; 0: it doesn't
}

// take serves a connection, if there is room for it, can be made, or comes soon.
// Each listener has room of its own, so that those who come from elsewhere can't
// keep out those who come by the unix socket.
func (s *Server) take(l net.Listener, nc net.Conn, login *Login) {
	c := &conn{Conn: nc, s: s, from: l, r: bufio.NewReaderSize(nc, maxLine), login: login}
	late := time.NewTimer(roomPause)
	defer late.Stop()
	for {
		s.mu.Lock()
		if s.closing {
			break
		}
		if s.room(l) {
			s.conns[c] = struct{}{}
			s.idleTick++
			c.idle = s.idleTick
			s.wg.Add(1)
			s.mu.Unlock()
			go c.run()
			return
		}
		freed := s.freed
		s.mu.Unlock()
		select {
		case <-freed:
			continue
		case <-s.streams.Done():
		case <-late.C:
			s.log("there are too many connections: one was refused")
		}
		s.mu.Lock()
		break
	}
	s.mu.Unlock()
	nc.Close()
}

func (c *conn) run() {
	s := c.s
	defer s.wg.Done()
	c.serve()
	c.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
	s.free()
}

// free tells who waits for room that there may be some. The caller holds mu.
func (s *Server) free() {
	close(s.freed)
	s.freed = make(chan struct{})
}

// room reports whether there is room for one more connection of a listener. If
// there is none, the one that has been idle longest has to go. The caller holds mu.
func (s *Server) room(l net.Listener) bool {
	n := 0
	var oldest *conn
	for c := range s.conns {
		if c.from != l {
			continue
		}
		n++
		if c.idle > 0 && (oldest == nil || c.idle < oldest.idle) {
			oldest = c
		}
	}
	switch {
	case n < s.limits.Connections:
		return true
	case oldest == nil:
		return false
	}
	oldest.Close()
	delete(s.conns, oldest)
	return true
}

// rest marks a connection as idle, or not. It reports whether to go on.
func (c *conn) rest(idle bool) bool {
	s := c.s
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, there := s.conns[c]; !there {
		return false // evicted
	}
	c.idle = 0
	if idle {
		s.idleTick++
		c.idle = s.idleTick
		s.free()
	}
	return !s.closing || !idle
}

// Shutdown takes no more connections and requests, and ends streams. It waits for
// the answers that are under way until ctx ends, and then breaks them off.
func (s *Server) Shutdown(ctx context.Context) {
	s.mu.Lock()
	s.closing = true
	for l := range s.listeners {
		l.Close()
	}
	for c := range s.conns {
		if c.idle > 0 {
			c.Close()
		}
	}
	s.mu.Unlock()
	s.endRead()
	done := make(chan struct{})
	go func() {
		s.wg.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-ctx.Done():
		s.endCall()
		s.mu.Lock()
		for c := range s.conns {
			c.Close()
		}
		s.mu.Unlock()
		<-done
	}
	s.endCall()
}

// serve answers the requests of a connection, one after the other.
func (c *conn) serve() {
	for c.rest(true) {
		c.deadline(c.s.limits.Idle)
		if _, err := c.r.Peek(1); err != nil {
			return
		}
		if !c.rest(false) {
			return
		}
		c.deadline(c.s.limits.Header)
		q, err := readRequest(c.r)
		if err != nil {
			status := 0
			var wrong errRequest
			var slow net.Error
			if errors.As(err, &wrong) {
				status = wrong.status
			} else if errors.As(err, &slow) && slow.Timeout() {
				status = 408
			}
			if status > 0 {
				a := errorPage(status, "Connection: close")
				_ = c.write(append(head(1, a.status, c.s.now(), a.fields...), a.body...))
				c.linger()
			}
			return
		}
		if !c.answer(q) {
			return
		}
	}
}

// deadline bounds the time in which something has to come.
func (c *conn) deadline(d time.Duration) { _ = c.SetReadDeadline(time.Now().Add(d)) }

// linger reads a little of what the client may still send, so that closing the
// connection doesn't take the answer away from it.
func (c *conn) linger() {
	type halfCloser interface{ CloseWrite() error }
	if h, ok := c.Conn.(halfCloser); ok && h.CloseWrite() == nil {
		c.deadline(time.Second)
		_, _ = io.CopyN(io.Discard, c.r, smallBody)
	}
}

// slowest is the pace in bytes a second below which a client that reads isn't
// waited for.
const slowest = 64 << 10

// write sends bytes, in the time that a client may take for that many.
func (c *conn) write(b []byte) error {
	pace := time.Duration(len(b)) * time.Second / slowest
	_ = c.SetWriteDeadline(time.Now().Add(c.s.limits.Write + pace))
	_, err := c.Write(b)
	return err
}

// answer answers a request. It reports whether the connection goes on.
func (c *conn) answer(q *request) bool {
	if status := c.login.check(q); status == 401 {
		a := errorPage(401, "Connection: close", `WWW-Authenticate: Basic realm="default"`)
		a.close = true
		return c.send(q, a)
	} else if status != 0 {
		return c.send(q, errorPage(status))
	}
	path := q.path()
	switch {
	case strings.HasPrefix(path, "/RPC2"):
		if q.method != "POST" {
			return c.send(q, errorPage(400))
		}
		return c.rpc(q)
	case strings.HasPrefix(path, "/logtail"), strings.HasPrefix(path, "/mainlogtail"):
		if q.method != "GET" {
			return c.send(q, errorPage(400))
		}
		return c.tail(q, path)
	case q.method == "GET", q.method == "POST":
		if a, ok := c.webPage(q); ok {
			return c.send(q, a)
		}
	}
	if q.method == "GET" || q.method == "HEAD" {
		return c.send(q, errorPage(404))
	}
	return c.send(q, errorPage(400))
}

// send sends an answer, after what there is of a body that nobody has read.
func (c *conn) send(q *request, a answer) bool {
	a.close = a.close || q.encoded || q.length > smallBody
	if q.length > 0 && !a.close {
		c.deadline(c.s.limits.Body)
		if _, err := io.CopyN(io.Discard, c.r, q.length); err != nil {
			return false
		}
	}
	going := c.sendRead(q, a)
	if !going && (q.length > 0 || q.encoded) {
		c.linger()
	}
	return going
}

// sendRead sends an answer to a request whose body has been read.
func (c *conn) sendRead(q *request, a answer) bool {
	going := q.keepAlive && !a.close
	switch {
	case !going && q.minor == 1 && !slices.Contains(a.fields, "Connection: close"):
		a.fields = append(a.fields, "Connection: close")
	case going && q.minor == 0:
		a.fields = append(a.fields, "Connection: Keep-Alive")
	}
	b := head(q.minor, a.status, c.s.now(), a.fields...)
	if q.method != "HEAD" {
		b = append(b, a.body...)
	}
	return c.write(b) == nil && going
}

// rpc answers a call.
func (c *conn) rpc(q *request) bool {
	switch {
	case q.length < 0 || q.encoded:
		return c.send(q, errorPage(411))
	case q.length == 0: // supervisord waits for ever for what doesn't come
		return c.send(q, errorPage(400))
	case q.length > xmlrpc.CallLimits.Bytes:
		return c.send(q, errorPage(413))
	}
	call, broken := c.readCall(q)
	switch {
	case broken:
		return false
	case call == nil:
		return c.sendRead(q, errorPage(400))
	}
	r := &rpc{ctx: c.s.calls, daemon: c.s.daemon, now: c.s.now, budget: maxLogRead, infos: maxInfos, big: c.s.big}
	defer r.release()
	return c.sendRead(q, c.s.call(r, call))
}

// readCall reads the body of a call. The call is nil if it is none; broken means
// that it has not come.
func (c *conn) readCall(q *request) (call *xmlrpc.Call, broken bool) {
	if q.length > smallBody {
		select {
		case c.s.big <- struct{}{}:
			defer func() { <-c.s.big }()
		case <-c.s.calls.Done():
			return nil, true
		}
	}
	c.deadline(c.s.limits.Body)
	body := make([]byte, q.length)
	if _, err := io.ReadFull(c.r, body); err != nil {
		return nil, true
	}
	call, err := xmlrpc.DecodeCall(bytes.NewReader(body), xmlrpc.CallLimits)
	if err != nil {
		return nil, false
	}
	return call, false
}

// call carries a call out.
func (s *Server) call(c *rpc, call *xmlrpc.Call) answer {
	value, err := c.call(call.Method, call.Params)
	var f *xmlrpc.Fault
	switch {
	case errors.As(err, &f):
		return xmlAnswer(xmlrpc.EncodeFault(f))
	case err != nil:
		if !errors.Is(err, errType) {
			s.log("cannot answer " + call.Method + ": " + err.Error())
		}
		return errorPage(500)
	}
	body, err := xmlrpc.EncodeResponse(value)
	if err != nil {
		s.log("cannot answer " + call.Method + ": " + err.Error())
		return errorPage(500)
	}
	return xmlAnswer(body)
}

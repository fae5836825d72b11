// Package server speaks the daemon's protocol: JSON and event streams over
// HTTP/1.1 on a unix socket, and over HTTP/2 as well where there is TLS.
//
// All that can be asked, and what one must be allowed for it, is the one table
// in routes.go. The package decides nothing about programs: it asks [Control],
// reads the event log, and carries the bytes of logs from the files to whoever
// wants them, past the daemon's loop. Who may do what over a network is said by
// [Access]; a server without one answers on anything but a unix socket only what
// is open to all, and on that by the socket's mode and who the kernel says is there.
package server

import (
	"context"
	"crypto/tls"
	"errors"
	"log"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"tend/api"
	"tend/internal/event"
	"tend/internal/logs"
)

// Control is the daemon as the server sees it. Its methods are called from many
// goroutines; what they return isn't changed by either side afterwards. Errors
// that are meant for the one who asks are [*api.Error].
type Control interface {
	// Instances returns all instances in the order in which they are shown, and the
	// number of the latest event that they show.
	Instances(ctx context.Context) (list []api.Instance, seq uint64, err error)
	Program(ctx context.Context, name string) (*api.Program, error)
	// Why tells of what pattern means; none is an error of kind not-found.
	Why(ctx context.Context, pattern string) ([]api.Why, error)
	// History returns the runs of what pattern means, at most limit of each instance
	// and none that has ended before since.
	History(ctx context.Context, pattern string, since time.Time, limit int) ([]api.Run, error)
	// Act does a verb to what pattern means: a program, an instance or a glob.
	Act(ctx context.Context, verb, pattern string, act api.Act) (*api.Results, error)
	Add(ctx context.Context, add api.Add) (*api.Plan, error)
	Remove(ctx context.Context, name string) (*api.Plan, error)
	Scale(ctx context.Context, name string, instances int) (*api.Plan, error)
	Exec(ctx context.Context, name string) (*api.Exec, error)
	Plan(ctx context.Context) (*api.Plan, error)
	Reload(ctx context.Context, o api.ReloadOptions) (*api.Plan, error)
	Daemon(ctx context.Context) (*api.Daemon, error)
	Upgrade(ctx context.Context, o api.UpgradeOptions) (*api.Upgrade, error)
	Shutdown(ctx context.Context, o api.ShutdownOptions) error
	// Logs returns where the output of the instances that pattern means is; none
	// is an error of kind not-found.
	Logs(ctx context.Context, pattern string) ([]LogFile, error)
	// Attach attaches to the terminal of the instance with that name, or of the only
	// one of the program with that name, until ctx ends or it is closed.
	Attach(ctx context.Context, name string, tail api.Tail) (Attachment, error)
}

// An Attachment is somebody's place at the terminal of an instance. One goroutine
// may read, another write.
type Attachment interface {
	// Next waits for output, or a notice. The bytes are the caller's. The error is
	// io.EOF after a notice with End.
	Next(ctx context.Context) ([]byte, *api.AttachNotice, error)
	// Write gives the program input. It waits for as long as that isn't read, until
	// Close.
	Write(p []byte) error
	Resize(rows, columns uint16)
	Close()
}

// A LogFile says where the output of an instance is.
type LogFile struct {
	Name  string // of the instance
	Path  string
	Keep  int    // rotated files beside it, Path.1 to Path.Keep
	Times string // folder of the index by time; "": there is none

	// Begun is where the first output is that this daemon has seen of the instance,
	// nil where that isn't known.
	Begun *logs.Position
}

// Config is what a server needs.
type Config struct {
	Control Control
	Events  *event.Log
	News    *News                            // of Control and Events, where servers share it; nil: this one has its own
	Metrics http.Handler                     // answers GET /metrics; nil: nobody does
	Access  *Access                          // of a server on a network; nil: who reaches a unix socket may do all, others nothing
	Socket  string                           // path of the unix socket that is served, whose mode says who may do what; "": who gets in may do all
	TLS     *tls.Config                      // what is spoken, with a certificate; nil: no TLS
	Logf    func(format string, args ...any) // told of broken connections and bugs; nil: nobody
}

// Bounds.
const (
	// maxConns is how many connections are open at a time. The rest waits in the
	// socket's backlog, where it costs no descriptor.
	maxConns = 512
	// maxStreams is how many of them may be streams, which stay: the others are
	// kept for commands.
	maxStreams = 448

	headerLimit = 10 * time.Second // for a request's header, and for its body
	readLimit   = 20 * time.Second // for the daemon, to answer what it knows
	writeLimit  = time.Minute      // for a client, to take a piece of an answer
	idleLimit   = 2 * time.Minute  // for a connection without a request
	heartbeat   = 15 * time.Second // between signs of life on a stream
	maxHeader   = 16 << 10         // bytes
	maxBody     = 64 << 10         // bytes

	// Of HTTP/2, where many requests share a connection.
	maxConcurrent = 100              // requests of a connection at a time
	pingAfter     = 30 * time.Second // of silence: is the other side there?
	pingLimit     = 15 * time.Second // for its answer
)

// A Server answers requests. Its methods may be called from several goroutines.
type Server struct {
	control Control
	log     *event.Log
	news    *News
	socket  string
	metrics http.Handler
	access  atomic.Pointer[Access] // nil: not on a network
	http    *http.Server
	tls     bool          // speaks TLS; net/http gives any server a configuration for it
	conns   chan struct{} // holds an element for each open connection
	streams chan struct{} // and for each open stream

	ending context.Context // ends with the streams
	end    context.CancelFunc

	readLimit, writeLimit, heartbeat time.Duration

	mu        sync.Mutex
	listeners []*limited
}

// New returns a server that listens nowhere yet.
func New(c Config) *Server {
	s := &Server{
		control: c.Control, log: c.Events, socket: c.Socket, metrics: c.Metrics, tls: c.TLS != nil,
		conns: make(chan struct{}, maxConns), streams: make(chan struct{}, maxStreams),
		readLimit: readLimit, writeLimit: writeLimit, heartbeat: heartbeat,
	}
	if s.news = c.News; s.news == nil {
		s.news = NewNews(c.Control, c.Events)
	}
	s.access.Store(c.Access)
	s.ending, s.end = context.WithCancel(context.Background())
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(true) // with TLS only
	s.http = &http.Server{
		Handler:   s.Handler(),
		Protocols: protocols,
		TLSConfig: c.TLS,
		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams: maxConcurrent, SendPingTimeout: pingAfter, PingTimeout: pingLimit,
			// No more than a body can be, for each and for all of a connection.
			MaxReceiveBufferPerStream: maxBody, MaxReceiveBufferPerConnection: 4 * maxBody,
		},
		ReadHeaderTimeout: headerLimit,
		// WriteTimeout holds for what net/http itself answers; ours is renewed
		// with each piece. ReadTimeout would end requests that wait.
		WriteTimeout:   s.writeLimit,
		IdleTimeout:    idleLimit,
		MaxHeaderBytes: maxHeader,
		ErrorLog:       log.New(logWriter(func(string, ...any) {}), "", 0),
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, grantKey{}, s.grantOf(c))
		},
	}
	if c.Logf != nil {
		s.http.ErrorLog.SetOutput(logWriter(c.Logf))
	}
	return s
}

type logWriter func(format string, args ...any)

func (f logWriter) Write(p []byte) (int, error) {
	f("%s", p)
	return len(p), nil
}

// SetAccess says anew who may do what. It holds for requests from now on.
func (s *Server) SetAccess(a *Access) { s.access.Store(a) }

// Handler returns the handler of all routes. Away from [Server.Serve] it knows
// nothing of who asks, and answers only what is open to all.
func (s *Server) Handler() http.Handler { return http.HandlerFunc(s.handle) }

// Serve answers what comes in on l until [Server.Shutdown], and closes l. It
// returns nil after a shutdown.
func (s *Server) Serve(l net.Listener) error {
	limited := newLimited(l, s.conns)
	s.mu.Lock()
	s.listeners = append(s.listeners, limited)
	s.mu.Unlock()
	var err error
	if s.tls {
		err = s.http.ServeTLS(limited, "", "")
	} else {
		err = s.http.Serve(limited)
	}
	if errors.Is(err, http.ErrServerClosed) || s.ending.Err() != nil {
		return nil
	}
	return err
}

// drain closes the listeners, and waits until all who were let in have had their
// answer and left. Only then may net/http be told to shut down: from that moment
// on it hangs up on whose request it has just read.
func (s *Server) drain(ctx context.Context) {
	s.mu.Lock()
	for _, l := range s.listeners {
		l.Close()
	}
	s.mu.Unlock()
	s.http.SetKeepAlivesEnabled(false)
	for range cap(s.conns) { // all slots are free then
		select {
		case s.conns <- struct{}{}:
		case <-ctx.Done():
			return
		}
	}
}

// Shutdown closes the listeners, ends the streams after the latest events, and
// waits for other answers under way; when ctx ends it breaks them off and
// returns its error.
func (s *Server) Shutdown(ctx context.Context) error {
	s.end()
	s.drain(ctx)
	err := s.http.Shutdown(ctx)
	if err != nil {
		s.http.Close()
	}
	return err
}

package api

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// ErrNoDaemon is wrapped by errors of a [Client] when nothing answers on the
// socket: there is no such file, or nobody listens on it any more.
var ErrNoDaemon = errors.New("no daemon answers")

// ErrEnded is wrapped by errors of a [Client] when the daemon has ended before it
// had answered. What was asked for may have been begun, or not.
var ErrEnded = errors.New("the daemon ended before it had answered")

// Missed is an error that doesn't end a stream: N events before the next one
// are no longer held by the daemon.
type Missed struct{ N uint64 }

func (m Missed) Error() string {
	return fmt.Sprintf("%d events were missed, the daemon no longer holds them", m.N)
}

// LogOptions say which part of a log is wanted.
type LogOptions struct {
	Lines  int    // that many last lines of each instance first; < 0: all there are
	Follow bool   // go on with what comes, until the instances are removed
	Begun  bool   // all since the daemon has started the instance first; Lines holds for those of which it doesn't know
	Since  string // go on after this Position of a LogLine; Lines holds for instances that it doesn't know

	From, Until time.Time // of the lines that are there, those that were printed in between; zero: no bound
	Grep        string    // only lines in which this regular expression finds something; "": all
	Times       bool      // each LogLine has its Time, where that is known
}

// patience bounds the wait for answers that come at once from a daemon that is
// well; it is longer than the daemon's own bound.
const patience = 30 * time.Second

// A Client asks a daemon. Its methods may be called from several goroutines.
// Errors of the protocol are [*Error].
type Client struct {
	socket string
	http   http.Client
}

// Dial returns a client of the daemon that listens on the unix socket path. It
// does no I/O yet.
func Dial(socket string) *Client {
	c := &Client{socket: socket}
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	c.http.Transport = &http.Transport{
		DialContext:         c.connect,
		DisableCompression:  true,
		Protocols:           protocols,
		MaxIdleConnsPerHost: 8,
		IdleConnTimeout:     30 * time.Second, // less than the daemon's
		ReadBufferSize:      32 << 10,         // a list of many instances, in few reads
	}
	return c
}

// Close closes the connections that no request uses. Calls that go on aren't
// touched, and the client can still be used.
func (c *Client) Close() { c.http.CloseIdleConnections() }

func (c *Client) connect(ctx context.Context, _, _ string) (net.Conn, error) {
	path := c.socket
	// A unix socket's address has room for 108 bytes with the final zero
	// (unix(7)), and net takes a leading @ for an abstract name.
	if len(path) >= 108 || strings.HasPrefix(path, "@") {
		dir, err := os.Open(filepath.Dir(path))
		if err != nil {
			return nil, err
		}
		defer dir.Close()
		path = fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), filepath.Base(path))
	}
	var d net.Dialer
	return d.DialContext(ctx, "unix", path)
}

// Instances returns all instances, in the order in which they are shown.
func (c *Client) Instances(ctx context.Context) ([]Instance, error) {
	var list []Instance
	return list, c.get(ctx, "/v1/programs", &list)
}

// Program returns the full view of the program with that name, or of the one
// that the instance with that name belongs to.
func (c *Client) Program(ctx context.Context, name string) (*Program, error) {
	return got[Program](c.get, ctx, programPath(name))
}

// Why tells the stories of the instances that pattern means: a program, an
// instance or a glob.
func (c *Client) Why(ctx context.Context, pattern string) ([]Why, error) {
	var list []Why
	return list, c.get(ctx, programPath(pattern)+"/why", &list)
}

// HistoryOptions say which runs History is to return.
type HistoryOptions struct {
	Limit int       // at most that many of each instance; 0: as many as are kept
	Since time.Time // only those that have ended since, or go on; zero: all
}

// History returns the runs of the instances that pattern means, of removed ones as
// well: those that go on first, then the others, the latest end first.
func (c *Client) History(ctx context.Context, pattern string, o HistoryOptions) ([]Run, error) {
	query := url.Values{}
	if o.Limit > 0 {
		query.Set("limit", strconv.Itoa(o.Limit))
	}
	if !o.Since.IsZero() {
		query.Set("since", o.Since.UTC().Format(time.RFC3339Nano))
	}
	var list []Run
	return list, c.get(ctx, programPath(pattern)+"/history?"+query.Encode(), &list)
}

// Act does the verb ("start", "stop", "restart", "run" or "signal") to all instances
// that pattern means: a program, an instance or a glob. It waits for the result
// as long as ctx allows, unless act says otherwise.
func (c *Client) Act(ctx context.Context, verb, pattern string, act Act) (*Results, error) {
	r := new(Results)
	if err := c.do(ctx, http.MethodPost, programPath(pattern)+"/"+url.PathEscape(verb), act, r); err != nil {
		return nil, err
	}
	return r, nil
}

// Add adds a program by a file of its own, and returns what that changed.
func (c *Client) Add(ctx context.Context, add Add) (*Plan, error) {
	p := new(Plan)
	if err := c.do(ctx, http.MethodPost, "/v1/programs", add, p); err != nil {
		return nil, err
	}
	return p, nil
}

// Remove removes a program that was added by [Client.Add].
func (c *Client) Remove(ctx context.Context, name string) (*Plan, error) {
	p := new(Plan)
	if err := c.do(ctx, http.MethodDelete, programPath(name), nil, p); err != nil {
		return nil, err
	}
	return p, nil
}

// Scale sets how many instances of a program there are, until its file says
// something else than it does now.
func (c *Client) Scale(ctx context.Context, name string, instances int) (*Plan, error) {
	p := new(Plan)
	if err := c.do(ctx, http.MethodPost, programPath(name)+"/scale", Scale{Instances: instances}, p); err != nil {
		return nil, err
	}
	return p, nil
}

// Exec says how a command is run as the instance with that name is, or the first
// one of the program with that name.
func (c *Client) Exec(ctx context.Context, name string) (*Exec, error) {
	return got[Exec](c.get, ctx, programPath(name)+"/exec")
}

// Plan returns what a reload would do.
func (c *Client) Plan(ctx context.Context) (*Plan, error) {
	return got[Plan](c.get, ctx, "/v1/plan")
}

// Reload applies the configuration files and returns what that changed.
func (c *Client) Reload(ctx context.Context, o ReloadOptions) (*Plan, error) {
	p := new(Plan)
	if err := c.do(ctx, http.MethodPost, "/v1/reload", o, p); err != nil {
		return nil, err
	}
	return p, nil
}

// Daemon describes the daemon.
func (c *Client) Daemon(ctx context.Context) (*Daemon, error) {
	return got[Daemon](c.get, ctx, "/v1/daemon")
}

// Upgrade begins to execute another binary in the daemon's place.
func (c *Client) Upgrade(ctx context.Context, o UpgradeOptions) (*Upgrade, error) {
	u := new(Upgrade)
	if err := c.do(ctx, http.MethodPost, "/v1/daemon/upgrade", o, u); err != nil {
		return nil, err
	}
	return u, nil
}

// Shutdown begins the daemon's end: all programs are stopped, then it exits.
func (c *Client) Shutdown(ctx context.Context, o ShutdownOptions) error {
	return c.do(ctx, http.MethodPost, "/v1/daemon/shutdown", o, nil)
}

// Events returns the events after number since; with 0, from the oldest that is
// held. With follow it goes on with those to come. An error of type [Missed]
// comes between events and doesn't end them, each other one does.
func (c *Client) Events(ctx context.Context, since uint64, follow bool) iter.Seq2[Event, error] {
	query := url.Values{}
	if since > 0 {
		query.Set("since", strconv.FormatUint(since, 10))
	}
	if !follow {
		query.Set("follow", "0")
		return func(yield func(Event, error) bool) {
			var list []Event
			if err := c.get(ctx, "/v1/events?"+query.Encode(), &list); err != nil {
				yield(Event{}, err)
				return
			}
			if since > 0 && len(list) > 0 && list[0].Seq > since+1 {
				if !yield(Event{}, Missed{list[0].Seq - since - 1}) {
					return
				}
			}
			for _, e := range list {
				if !yield(e, nil) {
					return
				}
			}
		}
	}
	return func(yield func(Event, error) bool) {
		err := c.stream(ctx, "/v1/events?"+query.Encode(), func(m message) error {
			var e Event
			var err error
			if m.kind == "missed" {
				var lost EventsMissed
				if err := json.Unmarshal(m.data, &lost); err != nil {
					return err
				}
				err = Missed{lost.Missed}
			} else if err := json.Unmarshal(m.data, &e); err != nil {
				return err
			}
			if !yield(e, err) {
				return errEnough
			}
			return nil
		})
		if err != errEnough {
			yield(Event{}, err)
		}
	}
}

// Logs returns the output of all instances that pattern means, merged. Without
// Follow it ends after what there is. A log that can't be read is told by an
// error after the others' output.
func (c *Client) Logs(ctx context.Context, pattern string, o LogOptions) iter.Seq2[LogLine, error] {
	query := url.Values{"lines": {strconv.Itoa(max(o.Lines, -1))}}
	if o.Follow {
		query.Set("follow", "1")
	}
	if o.Begun {
		query.Set("begun", "1")
	}
	for name, value := range map[string]string{"since": o.Since, "grep": o.Grep} {
		if value != "" {
			query.Set(name, value)
		}
	}
	for name, value := range map[string]time.Time{"from": o.From, "until": o.Until} {
		if !value.IsZero() {
			query.Set(name, value.UTC().Format(time.RFC3339Nano))
		}
	}
	if o.Times {
		query.Set("times", "1")
	}
	return func(yield func(LogLine, error) bool) {
		var trouble error
		err := c.stream(ctx, programPath(pattern)+"/logs?"+query.Encode(), func(m message) error {
			switch m.kind {
			case "log":
				var l LogLine
				if err := json.Unmarshal(m.data, &l); err != nil {
					return err
				}
				l.Position = m.id
				if !yield(l, nil) {
					return errEnough
				}
			case "trouble":
				var t LogTrouble
				if err := json.Unmarshal(m.data, &t); err != nil {
					return err
				}
				trouble = &Error{Kind: KindInternal, Message: t.Name + ": " + t.Message}
			case "end":
				return errEnd
			}
			return nil
		})
		if err == errEnd {
			err = trouble
		}
		if err != nil && err != errEnough {
			yield(LogLine{}, err)
		}
	}
}

// What ends a stream without being an error of it.
var (
	errEnough = errors.New("the reader has enough")
	errEnd    = errors.New("the stream has its end")
)

// programPath returns the path of a program. A name of dots is encoded, lest
// somebody on the way takes it for a step in the path.
func programPath(name string) string {
	segment := url.PathEscape(name)
	if strings.Trim(segment, ".") == "" {
		segment = strings.ReplaceAll(segment, ".", "%2E")
	}
	return "/v1/programs/" + segment
}

func got[T any](get func(context.Context, string, any) error, ctx context.Context, path string) (*T, error) {
	v := new(T)
	if err := get(ctx, path, v); err != nil {
		return nil, err
	}
	return v, nil
}

// get asks for something that a daemon answers at once.
func (c *Client) get(ctx context.Context, path string, out any) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return c.do(ctx, http.MethodGet, path, nil, out)
}

// do sends in, unless it is nil, and reads the answer into out, unless that is.
func (c *Client) do(ctx context.Context, method, path string, in, out any) error {
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return fmt.Errorf("cannot encode the request: %w", err)
		}
		body = bytes.NewReader(b)
	}
	r, err := c.send(ctx, method, path, body, "application/json")
	if err != nil {
		return err
	}
	defer r.Body.Close()
	if out != nil {
		if err := json.NewDecoder(r.Body).Decode(out); err != nil {
			return fmt.Errorf("cannot read the daemon's answer: %w", err)
		}
	}
	io.Copy(io.Discard, r.Body) // to its end, so that the connection can be used again
	return nil
}

// send returns the answer of a request that succeeded.
func (c *Client) send(ctx context.Context, method, path string, body io.Reader, accept string) (*http.Response, error) {
	header := http.Header{"Accept": {accept}}
	if body != nil {
		header.Set("Content-Type", "application/json")
	}
	return c.request(ctx, method, path, body, header)
}

// request is send with any header. The answer may also be of another protocol.
func (c *Client) request(ctx context.Context, method, path string, body io.Reader, header http.Header) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://tend"+path, body)
	if err != nil {
		return nil, fmt.Errorf("cannot make the request: %w", err)
	}
	req.Header = header
	r, err := c.http.Do(req)
	if err != nil {
		return nil, c.explain(err)
	}
	if r.StatusCode/100 == 2 || r.StatusCode == http.StatusSwitchingProtocols {
		return r, nil
	}
	defer r.Body.Close()
	var e ErrorBody
	if err := json.NewDecoder(r.Body).Decode(&e); err != nil || e.Error == nil {
		return nil, &Error{Kind: KindInternal, Message: fmt.Sprintf("what answers on %s is no tend daemon, or a broken one: %s", c.socket, r.Status)}
	}
	return nil, e.Error
}

// explain says what it means that there was no answer.
func (c *Client) explain(err error) error {
	if u := (*url.Error)(nil); errors.As(err, &u) {
		err = u.Err // its method and URL mean nothing to people
	}
	switch {
	case errors.Is(err, syscall.ENOENT), errors.Is(err, syscall.ENOTDIR), errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("%w on %s: %w", ErrNoDaemon, c.socket, err)
	case errors.Is(err, syscall.EAGAIN):
		return fmt.Errorf("cannot reach the daemon: too many others wait for it on %s: %w", c.socket, err)
	case errors.Is(err, io.EOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return fmt.Errorf("%w: %w", ErrEnded, err)
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("the daemon on %s did not answer in time: %w", c.socket, err)
	case errors.Is(err, context.Canceled):
		return err
	}
	return fmt.Errorf("cannot ask the daemon: %w", err)
}

// A message is an event of an event stream.
type message struct {
	id, kind string
	data     []byte // valid until the next one
}

// stream hands the messages at path to each, until that fails or the stream
// ends, which is an error as well: the daemon has gone away.
func (c *Client) stream(ctx context.Context, path string, each func(message) error) error {
	r, err := c.send(ctx, http.MethodGet, path, nil, "text/event-stream")
	if err != nil {
		return err
	}
	defer r.Body.Close()
	in := bufio.NewReader(r.Body)
	var m message
	for {
		line, err := in.ReadBytes('\n')
		if err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return fmt.Errorf("the daemon has gone away: %w", err)
		}
		line = bytes.TrimSuffix(line, []byte("\n"))
		if len(line) == 0 {
			if m.data != nil {
				if err := each(m); err != nil {
					return err
				}
			}
			m = message{}
			continue
		}
		field, value, _ := bytes.Cut(line, []byte(":"))
		value = bytes.TrimPrefix(value, []byte(" "))
		switch string(field) {
		case "id":
			m.id = string(value)
		case "event":
			m.kind = string(value)
		case "data": // tend's is JSON on one line
			m.data = value
		}
	}
}

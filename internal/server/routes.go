package server

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"tend/api"
)

// An access is what somebody must be allowed for a row of the table. Each
// includes those before it.
type access uint8

const (
	open  access = iota // for everybody who reaches the listener
	read                // what there is, logs included
	write               // act on programs
	admin               // change what is guarded, end the daemon
)

// A route is a row of the table. What is in it beside the handler is checked
// before that is called, and is where the description of the API comes from.
type route struct {
	method, path string // {name} stands for one segment
	access       access
	summary      string
	query        []param
	body         any // of the type of the request's body; nil: it has none
	answer       any // of the type of the answer
	status       int // of success; 0: 200
	events       []eventType
	text         bool // an answer may also be text/plain
	frames       bool // the connection is upgraded; answer is what a notice on it says
	page         bool // of the page, and not of the API
	serve        func(*Server, *call) error
}

// A param is a parameter in the query.
type param struct {
	name, kind, summary string // kind is JSON Schema's type
}

// An eventType is a kind of events of a stream. Its name is empty for events
// that are named by their kind.
type eventType struct {
	name string
	data any
}

var (
	followParam    = param{"follow", "boolean", "go on with what comes"}
	linesParam     = param{"lines", "integer", "that many last lines of each instance, 100 unless given; -1: all"}
	begunParam     = param{"begun", "boolean", "all since the daemon has started the instance first; lines holds for those of which it doesn't know"}
	logSince       = param{"since", "string", "go on after this id of an event; lines holds for instances that it doesn't know"}
	logFrom        = param{"from", "string", "of the lines that are there, none printed before this time (RFC 3339), as far as that is known"}
	logUntil       = param{"until", "string", "and none printed after this one"}
	logGrep        = param{"grep", "string", "only lines in which this regular expression (RE2) finds something"}
	logTimes       = param{"times", "boolean", "each event is of one time, and has it"}
	runLimit       = param{"limit", "integer", "at most that many runs of each instance, 50 unless given, which is as many as are kept"}
	runSince       = param{"since", "string", "only runs that have ended since this time (RFC 3339), or go on"}
	eventSince     = param{"since", "integer", "only events after this number; one that the daemon has not reached is from its life before and means all"}
	eventLatest    = param{"latest", "boolean", "of a stream: of the changes of an instance's state that come close together only the latest, four times a second at most"}
	ageParam       = param{"max_age", "number", "an answer that was made up to that many seconds ago will do; 0 unless given"}
	eventOf        = param{"program", "string", "only events of this program or instance"}
	attachReadOnly = param{"read_only", "boolean", "what is sent is nothing to the program"}
	attachTail     = param{"tail", "string", "what comes first: what was written last (all, the default), nothing (none), or what this daemon has carried (new), for who was attached to the one before it"}
)

// routes is the API and its security on one page.
var routes = []route{
	{method: "GET", path: "/", access: open, summary: "the page", page: true, serve: (*Server).page},
	{method: "GET", path: "/assets/{name}", access: open, summary: "a file of the page", page: true, serve: (*Server).asset},
	{method: "GET", path: "/assets/vendor/{name}", access: open, summary: "a file of a library that the page uses", page: true, serve: (*Server).vendored},
	{method: "GET", path: "/healthz", access: open, summary: "whether the daemon's loop works", answer: api.Health{}, serve: (*Server).health},
	{method: "GET", path: "/v1/access", access: open, summary: "what the asker may do", answer: api.Access{}, serve: (*Server).whoAmI},
	{method: "POST", path: "/v1/login", access: open, summary: "have a token kept in a cookie", body: api.Login{}, answer: api.Access{}, serve: (*Server).login},
	{method: "POST", path: "/v1/logout", access: open, summary: "have that cookie taken away", body: struct{}{}, answer: struct{}{}, serve: (*Server).logout},
	{method: "GET", path: "/metrics", access: read, summary: "figures for Prometheus", text: true, serve: (*Server).figures},
	{method: "GET", path: "/v1/programs", access: read, summary: "all instances; the header Tend-Event-Seq is the number of the latest event that they show", query: []param{ageParam}, answer: []api.Instance{}, serve: (*Server).instances},
	{method: "POST", path: "/v1/programs", access: admin, summary: "add a program by a file of its own", body: api.Add{}, answer: api.Plan{}, serve: (*Server).add},
	{method: "DELETE", path: "/v1/programs/{name}", access: admin, summary: "remove a program that was added so", answer: api.Plan{}, serve: (*Server).remove},
	{method: "POST", path: "/v1/programs/{name}/scale", access: write, summary: "set how many instances there are, until the file says something else", body: api.Scale{}, answer: api.Plan{}, serve: (*Server).scale},
	{method: "GET", path: "/v1/programs/{name}/exec", access: admin, summary: "how a command is run as the program is: environment, user, folder, limits", answer: api.Exec{}, serve: (*Server).exec},
	{method: "GET", path: "/v1/programs/{name}", access: read, summary: "a program with every effective key", answer: api.Program{}, serve: (*Server).program},
	{method: "GET", path: "/v1/programs/{name}/why", access: read, summary: "why programs are as they are: what led there, and what comes next", answer: []api.Why{}, serve: (*Server).why},
	{method: "GET", path: "/v1/programs/{name}/history", access: read, summary: "past runs, and the one that goes on, of removed programs as well: how they ended, what they used, what they printed last", query: []param{runLimit, runSince}, answer: []api.Run{}, serve: (*Server).history},
	{method: "POST", path: "/v1/programs/{name}/start", access: write, summary: "start a program, an instance or what a glob means", body: api.Act{}, answer: api.Results{}, serve: act("start")},
	{method: "POST", path: "/v1/programs/{name}/stop", access: write, summary: "stop them, with everything they ever started", body: api.Act{}, answer: api.Results{}, serve: act("stop")},
	{method: "POST", path: "/v1/programs/{name}/restart", access: write, summary: "stop and start them", body: api.Act{}, answer: api.Results{}, serve: act("restart")},
	{method: "POST", path: "/v1/programs/{name}/run", access: write, summary: "run tasks once now, whatever their schedule says", body: api.Act{}, answer: api.Results{}, serve: act("run")},
	{method: "POST", path: "/v1/programs/{name}/signal", access: write, summary: "send their main processes a signal", body: api.Act{}, answer: api.Results{}, serve: act("signal")},
	{method: "GET", path: "/v1/programs/{name}/logs", access: read, summary: "what programs print", query: []param{followParam, linesParam, begunParam, logSince, logFrom, logUntil, logGrep, logTimes}, text: true,
		events: []eventType{{"log", api.LogLine{}}, {"trouble", api.LogTrouble{}}, {"end", struct{}{}}}, serve: (*Server).logs},
	{method: "POST", path: "/v1/programs/{name}/attach", access: admin, summary: "the terminal of an instance with pty: the connection becomes one of frames both ways (Upgrade: " + api.AttachProtocol + ")", query: []param{attachReadOnly, attachTail}, answer: api.AttachNotice{},
		status: http.StatusSwitchingProtocols, frames: true, serve: (*Server).attach},
	{method: "GET", path: "/v1/plan", access: read, summary: "what a reload would do", answer: api.Plan{}, serve: (*Server).plan},
	{method: "POST", path: "/v1/reload", access: admin, summary: "apply the configuration files", body: api.ReloadOptions{}, answer: api.Plan{}, serve: (*Server).reload},
	{method: "GET", path: "/v1/events", access: read, summary: "what happened: a stream, or with follow=0 an array of what is held", query: []param{followParam, eventSince, eventOf, eventLatest}, answer: []api.Event{},
		events: []eventType{{"missed", api.EventsMissed{}}, {"", api.Event{}}}, serve: (*Server).events},
	{method: "GET", path: "/v1/daemon", access: read, summary: "the daemon itself", query: []param{ageParam}, answer: api.Daemon{}, serve: (*Server).daemon},
	{method: "POST", path: "/v1/daemon/upgrade", access: admin, summary: "execute another binary in the daemon's place, when it has shown that it can go on from here", body: api.UpgradeOptions{}, answer: api.Upgrade{}, status: http.StatusAccepted, serve: (*Server).upgrade},
	{method: "POST", path: "/v1/daemon/shutdown", access: admin, summary: "begin to stop everything, then exit", body: api.ShutdownOptions{}, answer: struct{}{}, status: http.StatusAccepted, serve: (*Server).shutdown},
}

type grantKey struct{}

// handle finds the row of a request, checks what the row says, and answers.
func (s *Server) handle(w http.ResponseWriter, r *http.Request) {
	o := &out{ResponseWriter: w, limit: s.writeLimit}
	o.wait()
	if r.ContentLength != 0 {
		// Holds for what net/http reads away as well, should nobody want it.
		o.readBy(headerLimit)
	}
	if err := s.dispatch(o, r); err != nil {
		o.fail(r.Context(), err)
	}
}

func (s *Server) dispatch(o *out, r *http.Request) error {
	row, name, err := find(o, r.Method, r.URL.EscapedPath())
	if err != nil {
		return err
	}
	granted, err := s.grant(r)
	if errors.Is(err, errStale) {
		http.SetCookie(o, s.access.Load().cookie("", -time.Second))
	} else if err != nil {
		return err
	}
	if granted < row.access {
		return s.refuse(granted)
	}
	c := &call{out: o, r: r, ctx: r.Context(), row: row, name: name, granted: granted}
	if err := c.parseQuery(); err != nil {
		return err
	}
	if row.body == nil && r.ContentLength != 0 {
		o.Header().Set("Connection", "close")
		return badRequest("%s %s takes no body", row.method, row.path)
	}
	if row.method == http.MethodGet && row.events == nil {
		var cancel context.CancelFunc
		c.ctx, cancel = context.WithTimeout(c.ctx, s.readLimit)
		defer cancel()
	}
	return row.serve(s, c)
}

// find returns the row of a request and what stands for {name} in its path.
func find(o *out, method, path string) (*route, string, error) {
	var allowed []string
	for i := range routes {
		row := &routes[i]
		segment, ok := match(row.path, path)
		if !ok {
			continue
		}
		if row.method != method {
			allowed = append(allowed, row.method)
			continue
		}
		name, err := url.PathUnescape(segment)
		if err != nil {
			return nil, "", badRequest("cannot decode the name %q in the path", segment)
		}
		return row, name, nil
	}
	if allowed != nil {
		o.Header().Set("Allow", strings.Join(allowed, ", "))
		return nil, "", &statusError{http.StatusMethodNotAllowed, badRequest("%s takes %s, not %s", path, strings.Join(allowed, " or "), method)}
	}
	return nil, "", &api.Error{Kind: api.KindNotFound, Message: "unknown path " + path, Hint: "a name with a / in it must be percent-encoded"}
}

// match reports whether a path, as it was sent, is that of a row, and returns the
// segment that stands for {name}.
func match(pattern, path string) (segment string, ok bool) {
	before, after, named := strings.Cut(pattern, "{name}")
	if !named {
		return "", path == pattern
	}
	rest, ok := strings.CutPrefix(path, before)
	if !ok {
		return "", false
	}
	segment, ok = strings.CutSuffix(rest, after)
	return segment, ok && segment != "" && !strings.Contains(segment, "/")
}

// grant returns what a request may do.
func (s *Server) grant(r *http.Request) (access, error) {
	if a := s.access.Load(); a != nil {
		return a.grant(r)
	}
	granted, _ := r.Context().Value(grantKey{}).(access)
	return granted, nil
}

// refuse says why somebody isn't allowed something.
func (s *Server) refuse(granted access) error {
	switch a := s.access.Load(); {
	case a != nil && granted == open:
		return &statusError{http.StatusUnauthorized, &api.Error{Kind: api.KindForbidden, Message: "this needs a token", Hint: "Authorization: Bearer TOKEN, or POST /v1/login"}}
	case a == nil && granted == read:
		return &api.Error{Kind: api.KindForbidden, Message: "whom the socket's mode lets in as one of the others may look, not act", Hint: "be root, its owner or one of its group"}
	case a != nil && len(a.Tokens) > 0:
		return &api.Error{Kind: api.KindForbidden, Message: "this token may look, not act"}
	}
	return &api.Error{Kind: api.KindForbidden, Message: "this is not allowed here", Hint: "use the daemon's unix socket, or give it a token_file"}
}

// A call is a request that has found its row.
type call struct {
	out     *out
	r       *http.Request
	ctx     context.Context
	row     *route
	name    string
	query   url.Values
	granted access
}

func (c *call) parseQuery() (err error) {
	if c.query, err = url.ParseQuery(c.r.URL.RawQuery); err != nil {
		return badRequest("cannot read the query: %v", err)
	}
	for key := range c.query {
		if !slices.ContainsFunc(c.row.query, func(p param) bool { return p.name == key }) {
			known := make([]string, len(c.row.query))
			for i, p := range c.row.query {
				known[i] = p.name
			}
			err := badRequest("unknown parameter %q", key)
			err.Hint = "known: " + cmp.Or(strings.Join(known, ", "), "none")
			return err
		}
	}
	return nil
}

// flag returns a boolean parameter; "?follow" alone is true.
func (c *call) flag(name string, absent bool) (bool, error) {
	if !c.query.Has(name) {
		return absent, nil
	}
	switch v := c.query.Get(name); v {
	case "", "1", "true":
		return true, nil
	case "0", "false":
		return false, nil
	default:
		return false, badRequest("%s must be 1 or 0, not %q", name, v)
	}
}

package server

import (
	"cmp"
	"net/http"
	"reflect"
	"strconv"
	"time"

	"tend/api"
)

func (s *Server) health(c *call) error {
	d, err := s.control.Daemon(c.ctx)
	if err != nil {
		return err
	}
	if d.Stopping {
		return &api.Error{Kind: api.KindUnavailable, Message: "the daemon is stopping"}
	}
	return c.out.json(http.StatusOK, api.Health{OK: true})
}

// figures answers with metrics, in the form that the scraper asks for.
func (s *Server) figures(c *call) error {
	if s.metrics == nil {
		return &api.Error{Kind: api.KindUnavailable, Message: "this daemon has no metrics"}
	}
	s.metrics.ServeHTTP(c.out, c.r.WithContext(c.ctx))
	return nil
}

func (s *Server) instances(c *call) error {
	age, err := c.maxAge()
	if err != nil {
		return err
	}
	l, err := s.news.instances.get(c.ctx, age)
	if err != nil {
		return err
	}
	h := c.out.Header()
	h.Set(api.EventSeqHeader, strconv.FormatUint(l.seq, 10))
	h.Set("Vary", "Accept-Encoding")
	body := l.plain
	if len(body) > worthPacking && gzipped(c.r) {
		h.Set("Content-Encoding", "gzip")
		body = l.packed()
	}
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	_, err = c.out.Write(body)
	return err
}

// worthPacking is the length in bytes from which on a list is compressed for who takes
// that.
const worthPacking = 4 << 10

// maxAge returns how old an answer may be.
func (c *call) maxAge() (time.Duration, error) {
	if !c.query.Has(ageParam.name) {
		return 0, nil
	}
	v := c.query.Get(ageParam.name)
	seconds, err := strconv.ParseFloat(v, 64)
	if err != nil || !(seconds >= 0 && seconds <= 3600) {
		return 0, badRequest("%s must be a number of seconds, not %q", ageParam.name, v)
	}
	return time.Duration(seconds * float64(time.Second)), nil
}

func (s *Server) program(c *call) error {
	p, err := s.control.Program(c.ctx, c.name)
	if err != nil {
		return err
	}
	return c.out.json(http.StatusOK, filled(*p))
}

func (s *Server) why(c *call) error {
	list, err := s.control.Why(c.ctx, c.name)
	if err != nil {
		return err
	}
	for i := range list {
		list[i] = filled(list[i])
	}
	return c.out.json(http.StatusOK, list)
}

// mostRuns is how many runs of an instance are shown at most.
const mostRuns = 50

func (s *Server) history(c *call) error {
	limit := mostRuns
	if v := c.query.Get("limit"); v != "" {
		n, err := strconv.Atoi(v)
		if err != nil || n < 1 {
			return badRequest("limit must be a number from 1 up, not %q", v)
		}
		limit = min(n, mostRuns)
	}
	var since time.Time
	if v := c.query.Get("since"); v != "" {
		var err error
		if since, err = time.Parse(time.RFC3339Nano, v); err != nil {
			e := badRequest("since must be a time, not %q", v)
			e.Hint = "as in 2026-01-02T15:04:05Z"
			return e
		}
	}
	runs, err := s.control.History(c.ctx, c.name, since, limit)
	if err != nil {
		return err
	}
	l := c.out.list()
	for i := range runs {
		run := filled(runs[i])
		if err := l.add(&run); err != nil {
			return err
		}
	}
	return l.close()
}

func act(verb string) func(*Server, *call) error {
	return func(s *Server, c *call) error {
		var a api.Act
		if err := c.body(&a); err != nil {
			return err
		}
		switch {
		case verb == "signal" && a.Signal == "":
			err := badRequest("signal is missing")
			err.Hint = `as in {"signal": "HUP"}`
			return err
		case verb != "signal" && a.Signal != "":
			return badRequest("%s takes no signal", verb)
		}
		r, err := s.control.Act(c.ctx, verb, c.name, a)
		if err != nil {
			return err
		}
		return c.out.json(http.StatusOK, filled(*r))
	}
}

func (s *Server) add(c *call) error {
	var a api.Add
	if err := c.body(&a); err != nil {
		return err
	}
	if a.Name == "" {
		return badRequest("name is missing")
	}
	p, err := s.control.Add(c.ctx, a)
	return c.answer(p, err)
}

func (s *Server) remove(c *call) error {
	p, err := s.control.Remove(c.ctx, c.name)
	return c.answer(p, err)
}

func (s *Server) scale(c *call) error {
	n := api.Scale{Instances: -1}
	if err := c.body(&n); err != nil {
		return err
	}
	if n.Instances < 0 {
		return badRequest("instances must be a number from 0 up")
	}
	p, err := s.control.Scale(c.ctx, c.name, n.Instances)
	return c.answer(p, err)
}

func (s *Server) exec(c *call) error {
	e, err := s.control.Exec(c.ctx, c.name)
	if err != nil {
		return err
	}
	return c.out.json(http.StatusOK, filled(*e))
}

func (s *Server) plan(c *call) error {
	p, err := s.control.Plan(c.ctx)
	return c.answer(p, err)
}

// answer answers with a plan.
func (c *call) answer(p *api.Plan, err error) error {
	if err != nil {
		return err
	}
	return c.out.json(http.StatusOK, filled(*p))
}

func (s *Server) reload(c *call) error {
	var o api.ReloadOptions
	if err := c.body(&o); err != nil {
		return err
	}
	p, err := s.control.Reload(c.ctx, o)
	if err != nil {
		return err
	}
	return c.out.json(http.StatusOK, filled(*p))
}

func (s *Server) daemon(c *call) error {
	age, err := c.maxAge()
	if err != nil {
		return err
	}
	d, err := s.news.daemon.get(c.ctx, age)
	if err != nil {
		return err
	}
	return c.out.json(http.StatusOK, filled(*d))
}

func (s *Server) upgrade(c *call) error {
	var o api.UpgradeOptions
	if err := c.body(&o); err != nil {
		return err
	}
	u, err := s.control.Upgrade(c.ctx, o)
	if err != nil {
		return err
	}
	return c.out.json(http.StatusAccepted, u)
}

func (s *Server) shutdown(c *call) error {
	var o api.ShutdownOptions
	if err := c.body(&o); err != nil {
		return err
	}
	if err := s.control.Shutdown(c.ctx, o); err != nil {
		return err
	}
	return c.out.json(http.StatusAccepted, struct{}{})
}

// filled returns v with empty lists and maps where there were none, so that
// clients get [] and {} and never null.
func filled[T any](v T) T {
	e := reflect.ValueOf(&v).Elem()
	for i := range e.NumField() {
		f := e.Field(i)
		switch {
		case f.Kind() == reflect.Slice && f.IsNil():
			f.Set(reflect.MakeSlice(f.Type(), 0, 0))
		case f.Kind() == reflect.Map && f.IsNil():
			f.Set(reflect.MakeMap(f.Type()))
		}
	}
	return v
}

// jsonType returns what JSON calls a Go type.
func jsonType(t reflect.Type) string {
	return cmp.Or(map[reflect.Kind]string{
		reflect.Bool: "boolean", reflect.String: "string", reflect.Struct: "object",
	}[t.Kind()], t.String())
}

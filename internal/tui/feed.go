package tui

import (
	"context"
	"errors"
	"time"

	tea "charm.land/bubbletea/v2"

	"tend/api"
)

const (
	idle    = time.Second            // between looks while nothing happens
	gather  = 100 * time.Millisecond // in which what comes is told in one piece
	respite = 3                      // times the length of a look, the daemon is left alone after it
	asking  = 10 * time.Second       // for an answer that should come at once
)

// Messages of the feed.
type (
	// news is how everything is, or why that isn't known.
	news struct {
		at     time.Time
		list   []api.Instance
		daemon *api.Daemon
		err    error
	}
	// happened are events, in their order.
	happened []api.Event
	// printed are lines of the log that a page follows.
	printed struct {
		page  *page
		lines []api.LogLine
		err   error // the log can't be read, or not now
	}
)

// A feed asks the daemon and sends what it learns.
type feed struct {
	client Client
	send   func(tea.Msg)
	kick   chan struct{} // something has happened: look soon
}

func newFeed(c Client) *feed {
	return &feed{client: c, send: func(tea.Msg) {}, kick: make(chan struct{}, 1)}
}

// look sends news, once a second and sooner when something has happened. It takes
// no more than a quarter of the daemon's time, however long that needs to answer.
func (f *feed) look(ctx context.Context) {
	for ctx.Err() == nil {
		began := time.Now()
		n := f.once(ctx)
		if ctx.Err() != nil {
			return
		}
		f.send(n)
		rest := min(max(gather, respite*time.Since(began)), 2*idle)
		if n.err != nil {
			rest = idle
		}
		if !pause(ctx, nil, rest) {
			return
		}
		pause(ctx, f.kick, max(0, idle-rest))
	}
}

func (f *feed) once(ctx context.Context) news {
	ctx, cancel := context.WithTimeout(ctx, asking)
	defer cancel()
	list, err := f.client.Instances(ctx)
	if err != nil {
		return news{at: time.Now(), err: err}
	}
	d, err := f.client.Daemon(ctx)
	return news{at: time.Now(), list: list, daemon: d, err: err}
}

// pause waits for d, or less where something comes from sooner. It reports
// whether ctx goes on.
func pause(ctx context.Context, sooner <-chan struct{}, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-sooner:
	case <-t.C:
	}
	return ctx.Err() == nil
}

// follow sends the events, those that the daemon still holds first. When the
// daemon goes away it tries again until there is one.
func (f *feed) follow(ctx context.Context) {
	events := make(chan api.Event)
	go gathered(ctx, events, func(list []api.Event) {
		f.send(happened(list))
		select {
		case f.kick <- struct{}{}:
		default:
		}
	})
	var since uint64
	for {
		for e, err := range f.client.Events(ctx, since, true) {
			if errors.As(err, new(api.Missed)) {
				continue // the list is asked for as a whole anyway
			}
			if err != nil {
				break
			}
			since = e.Seq
			select {
			case events <- e:
			case <-ctx.Done():
				return
			}
		}
		if !pause(ctx, nil, idle) {
			return
		}
	}
}

// tail sends the log of what the page shows until ctx ends, over the lives of
// daemons.
func (f *feed) tail(ctx context.Context, p *page) {
	lines := make(chan api.LogLine)
	go gathered(ctx, lines, func(list []api.LogLine) { f.send(printed{page: p, lines: list}) })
	o := api.LogOptions{Lines: 500, Follow: true}
	for {
		var broken error
		for l, err := range f.client.Logs(ctx, p.name, o) {
			if err != nil {
				broken = err
				break
			}
			if l.Position != "" {
				o.Since = l.Position
			}
			select {
			case lines <- l:
			case <-ctx.Done():
				return
			}
		}
		if ctx.Err() != nil {
			return
		}
		if broken != nil {
			f.send(printed{page: p, err: broken})
		}
		if !pause(ctx, nil, idle) {
			return
		}
	}
}

// gathered hands what comes in to out, many at a time where they come fast: a
// storm mustn't become a storm of drawings.
func gathered[T any](ctx context.Context, in <-chan T, out func([]T)) {
	var list []T
	var due <-chan time.Time
	for {
		select {
		case v := <-in:
			if list = append(list, v); due == nil {
				due = time.After(gather)
			}
		case <-due:
			out(list)
			list, due = nil, nil
		case <-ctx.Done():
			return
		}
	}
}

// Messages that answer what a key asked for.
type (
	acted struct {
		verb, name string
		results    *api.Results
		err        error
	}
	programmed struct { // a program's full view
		page    *page
		program *api.Program
		err     error
	}
	told struct { // why the instances of a page are as they are
		page    *page
		stories []api.Why
		err     error
	}
	recalled struct { // the runs of the instances of a page
		page *page
		runs []api.Run
		err  error
	}
	planned struct {
		plan *api.Plan
		err  error
	}
	reloaded planned
)

// act asks for an action and for its result.
func (f *feed) act(ctx context.Context, verb, name string, body api.Act) tea.Cmd {
	return func() tea.Msg {
		r, err := f.client.Act(ctx, verb, name, body)
		return acted{verb, name, r, err}
	}
}

func (f *feed) program(ctx context.Context, p *page) tea.Cmd {
	return func() tea.Msg {
		ctx, cancel := context.WithTimeout(ctx, asking)
		defer cancel()
		got, err := f.client.Program(ctx, p.name)
		return programmed{p, got, err}
	}
}

func (f *feed) why(ctx context.Context, p *page) tea.Cmd {
	return func() tea.Msg {
		ctx, cancel := context.WithTimeout(ctx, asking)
		defer cancel()
		got, err := f.client.Why(ctx, p.name)
		return told{p, got, err}
	}
}

func (f *feed) plan(ctx context.Context) tea.Cmd {
	return func() tea.Msg {
		got, err := f.client.Plan(ctx)
		return planned{got, err}
	}
}

func (f *feed) reload(ctx context.Context, o api.ReloadOptions) tea.Cmd {
	return func() tea.Msg {
		got, err := f.client.Reload(ctx, o)
		return reloaded{got, err}
	}
}

func (f *feed) runs(ctx context.Context, p *page) tea.Cmd {
	return func() tea.Msg {
		ctx, cancel := context.WithTimeout(ctx, asking)
		defer cancel()
		got, err := f.client.History(ctx, p.name, api.HistoryOptions{})
		return recalled{p, got, err}
	}
}

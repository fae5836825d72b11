// Package tui is the dashboard at the terminal, tend top: all programs at a
// glance, and one program closely.
//
// It is a client of the daemon like any other. [feed] asks and follows, and sends
// what it learns to [model], which holds what is shown and decides what a key
// does; nothing in the model waits. Only what is visible is drawn, so that a
// thousand programs cost what a screen of them costs.
package tui

import (
	"context"
	"errors"
	"iter"
	"os"

	tea "charm.land/bubbletea/v2"

	"tend/api"
)

// Client is what the dashboard uses of [api.Client].
type Client interface {
	Instances(ctx context.Context) ([]api.Instance, error)
	Program(ctx context.Context, name string) (*api.Program, error)
	Why(ctx context.Context, pattern string) ([]api.Why, error)
	History(ctx context.Context, pattern string, o api.HistoryOptions) ([]api.Run, error)
	Act(ctx context.Context, verb, pattern string, act api.Act) (*api.Results, error)
	Plan(ctx context.Context) (*api.Plan, error)
	Reload(ctx context.Context, o api.ReloadOptions) (*api.Plan, error)
	Daemon(ctx context.Context) (*api.Daemon, error)
	Events(ctx context.Context, since uint64, follow bool) iter.Seq2[api.Event, error]
	Logs(ctx context.Context, pattern string, o api.LogOptions) iter.Seq2[api.LogLine, error]
}

// Options say what is shown.
type Options struct {
	Client  Client
	Place   string // of the daemon, for people
	NoColor bool   // as $NO_COLOR, which holds as well
	Filter  string // to begin with
}

// Run shows the dashboard on the terminal of standard input and output until the
// user leaves it. A daemon that doesn't answer at all is an error; one that goes
// away later is waited for.
func Run(ctx context.Context, o Options) error {
	if _, err := o.Client.Daemon(ctx); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	f := newFeed(o.Client)
	m := newModel(ctx, f, o)
	env := os.Environ()
	if o.NoColor {
		env = append(env, "NO_COLOR=1")
	}
	p := tea.NewProgram(m, tea.WithContext(ctx), tea.WithEnvironment(env))
	f.send = p.Send
	go f.look(ctx)
	go f.follow(ctx)
	_, err := p.Run()
	if errors.Is(err, tea.ErrInterrupted) {
		return nil // it was asked to leave by a signal
	}
	return err
}

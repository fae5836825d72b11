package daemon

import (
	"context"
	"encoding/json"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"tend/api"
	"tend/internal/event"
	"tend/internal/hook"
	"tend/internal/server"
	"tend/internal/spec"
	"tend/internal/unit"
)

// hooks tell of events as the programs' on_event says. They belong to the loop.
type hooks struct {
	sender *hook.Sender
	host   string
	set    *spec.Set                // that by was made of
	by     map[string]*spec.Program // with an on_event
}

// lastTold is how long the daemon's end waits for events to be told.
const lastTold = 5 * time.Second

func (d *Daemon) openHooks() {
	d.hooks.host, _ = os.Hostname() // "" where nobody knows
	d.hooks.sender = hook.New(hook.Options{Agent: "tend/" + d.opts.Version, Notice: func(n hook.Notice) {
		d.post(func() { d.warnf("%s: %s could not be told: %v", n.To, plural(n.Lost, "event"), n.Err) })
	}})
}

func (d *Daemon) closeHooks() {
	if d.hooks.sender == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), lastTold)
	defer cancel()
	if left := d.hooks.sender.Close(ctx); left > 0 {
		d.warnf("on_event: %s could not be told before the end", plural(left, "event"))
	}
}

// told is the body of a message: an event with what makes it one to tell.
type told struct {
	Kind string `json:"event"` // of spec.EventKinds
	Host string `json:"host"`
	logged
}

type logged = api.Event

// tellHooks tells of an event those who want to know. It never blocks.
func (d *Daemon) tellHooks(e event.Event) {
	if e.Program == "" || d.hooks.sender == nil || d.engine == nil {
		return // also what is told of hooks themselves
	}
	if set := d.engine.Set(); set != d.hooks.set {
		d.hooks.set, d.hooks.by = set, make(map[string]*spec.Program)
		for _, p := range set.Programs {
			if p.OnEvent.IsSet() {
				d.hooks.by[p.Name] = p
			}
		}
	}
	p := d.hooks.by[e.Program]
	if p == nil {
		return
	}
	for _, kind := range eventKinds(e) {
		if slices.Contains(p.OnEvent.Kinds, kind) {
			d.sendHook(p, kind, e)
			return // one event is told of once
		}
	}
}

func (d *Daemon) sendHook(p *spec.Program, kind string, e event.Event) {
	v := *server.EventView(e)
	body, err := json.Marshal(told{kind, d.hooks.host, v})
	if err != nil {
		d.warnf("on_event of %s: %v", p.Name, err)
		return
	}
	o := p.OnEvent
	if o.URL != "" {
		d.hooks.sender.Send(hook.Message{To: "on_event.url of " + p.Name, Body: body, URL: o.URL, Event: kind, SecretFile: o.SecretFile, Timeout: o.Timeout})
	}
	if o.Command.IsZero() {
		return
	}
	exit := ""
	if v.Exit != nil {
		exit = v.Exit.Reason
	}
	env := []string{
		"TEND_EVENT=" + kind, "TEND_EVENT_PROGRAM=" + v.Program, "TEND_EVENT_NAME=" + v.Name, "TEND_EVENT_STATE=" + v.To,
		"TEND_EVENT_MESSAGE=" + strings.ReplaceAll(v.Message, "\x00", ""), "TEND_EVENT_EXIT=" + strings.ReplaceAll(exit, "\x00", ""),
		"TEND_EVENT_PID=" + strconv.Itoa(v.PID), "TEND_EVENT_AT=" + v.At.Format(time.RFC3339Nano), "TEND_EVENT_SEQ=" + strconv.FormatUint(v.Seq, 10),
	}
	index := 0
	if _, number, ok := strings.Cut(e.Name, ":"); ok {
		index, _ = strconv.Atoi(number)
	}
	d.hooks.sender.Send(hook.Message{To: "on_event.command of " + p.Name, Timeout: o.Timeout, Run: func(ctx context.Context) error {
		return d.runAside(ctx, p.Instance(index), index, o.Command.Args(), env, append(body, '\n'))
	}})
}

// eventKinds returns what an event is, in the terms of spec.EventKinds, the most
// telling first.
func eventKinds(e event.Event) (kinds []string) {
	switch e.Kind {
	case event.Warning:
		return []string{"warning"}
	case event.RolledBack:
		return []string{"rolled-back"}
	case event.State:
	default:
		return nil
	}
	if e.Cause != "" {
		kinds = append(kinds, "unhealthy")
	}
	switch e.To {
	case unit.Waiting.String(): // the end of a scheduled run
		if e.Exit != nil && e.Exit.Success {
			kinds = append(kinds, "done")
		} else if e.Exit != nil {
			kinds = append(kinds, "failed")
		}
	case unit.Running.String(), unit.Backoff.String(), unit.Failed.String(), unit.Exited.String(), unit.Done.String(), unit.Stopped.String():
		if e.From != e.To {
			kinds = append(kinds, e.To)
		}
	}
	if e.Exit != nil && e.To != unit.Stopped.String() && e.Exit.Err == "" {
		kinds = append(kinds, "ended")
	}
	return kinds
}

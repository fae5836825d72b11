package daemon

import (
	"slices"
	"strings"
	"testing"

	"tend/internal/event"
	"tend/internal/spec"
)

// TestEventKinds: what an event is told as, the most telling kind first.
func TestEventKinds(t *testing.T) {
	ended, started, done := &event.Exit{Code: 1}, &event.Exit{Err: "cannot start: no such file"}, &event.Exit{Success: true}
	for want, e := range map[string]event.Event{
		"":              {Kind: event.State, From: "stopped", To: "starting"},
		"running":       {Kind: event.State, From: "starting", To: "running"},
		"ended":         {Kind: event.State, From: "running", To: "starting", Exit: ended}, // and started again at once
		"backoff ended": {Kind: event.State, From: "running", To: "backoff", Exit: ended},
		"backoff":       {Kind: event.State, From: "starting", To: "backoff", Exit: started},
		"failed ended":  {Kind: event.State, From: "running", To: "failed", Exit: ended},
		"unhealthy":     {Kind: event.State, From: "running", To: "stopping", Cause: "unhealthy: status 500"},
		"exited ended":  {Kind: event.State, From: "running", To: "exited", Exit: done},
		"done ended":    {Kind: event.State, From: "running", To: "waiting", Exit: done}, // of a schedule
		"stopped":       {Kind: event.State, From: "stopping", To: "stopped", Exit: ended},
		"warning":       {Kind: event.Warning, From: "running", To: "running"},
		"rolled-back":   {Kind: event.RolledBack},
	} {
		got := eventKinds(e)
		if strings.Join(got, " ") != want {
			t.Errorf("%+v is %q, want %q", e, got, want)
		}
		for _, kind := range got {
			if !slices.Contains(spec.EventKinds, kind) {
				t.Errorf("%q can't be asked for", kind)
			}
		}
	}
}

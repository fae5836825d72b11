package cli

import (
	"context"
	"errors"
	"iter"

	"tend/api"
)

// eventsOf returns the events of c after number since. That some were lost is
// noted and doesn't end them; a daemon that goes away does, without an error.
func eventsOf(ctx context.Context, c client, since uint64, follow bool, note func(string)) iter.Seq2[api.Event, error] {
	return func(yield func(api.Event, error) bool) {
		var pending error // the latest error: it is the last word unless more follows
		for e, err := range c.Events(ctx, since, follow) {
			if err != nil {
				if pending != nil {
					note(pending.Error())
				}
				pending = err
				continue
			}
			if pending != nil {
				note(pending.Error())
				pending = nil
			}
			if !yield(e, nil) {
				return
			}
		}
		var said *api.Error
		switch {
		case pending == nil, ctx.Err() != nil:
		case errors.Is(pending, api.ErrNoDaemon), errors.As(pending, &said), !follow:
			yield(api.Event{}, pending)
		}
	}
}

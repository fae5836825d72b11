package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"tend/api"
)

// lingers is how long down waits for the daemon's process after the last event: all
// programs are gone by then, it only has to exit.
const lingers = 5 * time.Second

func (a *app) downCommand() *cobra.Command {
	var now bool
	cmd := a.does(&cobra.Command{
		Use:     "down",
		Short:   "stop everything, the daemon too",
		GroupID: groupRun,
		Long: `Stops all programs in reverse order, then the daemon, and waits until it is
gone. With --now programs are killed instead of asked to end; it may be given to
a second tend down while a first one waits.`,
		Example: `  tend down
  tend down --now`,
		Args:              noArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
	}, func(ctx context.Context, _ *cobra.Command, _ []string) error { return a.down(ctx, now) })
	cmd.Flags().BoolVar(&now, "now", false, "kill what runs")
	return cmd
}

func (a *app) down(ctx context.Context, now bool) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // ends the stream where Shutdown fails
	c := a.connect()
	d, err := c.Daemon(ctx)
	if err != nil {
		return err
	}
	list, err := c.Instances(ctx)
	if err != nil {
		return err
	}
	names := 0
	for _, i := range list {
		names = max(names, width(clean(i.Name)))
	}
	// Held since before the shutdown, so that it can't be another process.
	p := watch(d.PID)
	defer p.close()
	shutdown := func() error { return c.Shutdown(ctx, api.ShutdownOptions{Now: now}) }
	asked := false
	// The stream ends with the daemon. Its end is what we wait for, so whatever
	// form it takes is welcome.
	for e, err := range eventsOf(ctx, c, d.EventSeq-min(d.EventSeq, 1), true, a.note) {
		if err != nil {
			break
		}
		if !asked {
			// The last event before says that the stream is there: a daemon may be
			// gone before one that is opened after the shutdown gets to it.
			asked = true
			if err := shutdown(); err != nil {
				return err
			}
			continue
		}
		if e.Kind != "state" || !rests(e.To) {
			continue
		}
		words := e.Message
		if words == "" {
			words = e.To
		}
		fmt.Fprintf(a.out, "%s  %s\n", pad(clean(e.Name), names), clean(words))
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if !asked { // there was no stream
		if err := shutdown(); err != nil {
			return err
		}
	}
	// It answers to its end, which in another pid namespace is all that is seen of it.
	end := time.Now().Add(lingers)
	gone := p.wait(lingers)
	_, err = c.Daemon(ctx)
	for ; err == nil && time.Now().Before(end); _, err = c.Daemon(ctx) {
		time.Sleep(20 * time.Millisecond)
	}
	if err == nil {
		return &failure{exitFailed, "the daemon still answers", "see what keeps it: tend status; kill it all: tend down --now"}
	} else if e := (*api.Error)(nil); errors.As(err, &e) && e.Kind != api.KindUnavailable {
		return err
	}
	if !gone {
		return &failure{exitFailed, fmt.Sprintf("the daemon's process %d is still there", d.PID), "see what it does: ps -p " + fmt.Sprint(d.PID)}
	}
	fmt.Fprintln(a.out, a.out.paint(green, "✓")+" all is stopped")
	return nil
}

// rests reports whether nothing of an instance in that state is left.
func rests(state string) bool {
	switch state {
	case api.Stopped, api.Exited, api.Done, api.Failed:
		return true
	}
	return false
}

package cli

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"tend/api"
)

// recent is how many past events a follower shows first, unless told otherwise.
const recent = 10

func (a *app) eventsCommand() *cobra.Command {
	var follow bool
	var since uint64
	cmd := a.does(&cobra.Command{
		Use:     "events",
		Short:   "show what happened",
		GroupID: groupLook,
		Long: `Shows the events that the daemon remembers, oldest first, and with -f those that
follow. Events are numbered: --since goes on after a number that --json showed.`,
		Example: `  tend events | tail
  tend events -f
  tend events --since 4711 --json`,
		Args:              noArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
	}, func(ctx context.Context, cmd *cobra.Command, _ []string) error {
		c := a.connect()
		if follow && !cmd.Flags().Changed("since") {
			d, err := c.Daemon(ctx)
			if err != nil {
				return err
			}
			since = d.EventSeq - min(d.EventSeq, recent)
		}
		return a.events(ctx, c, since, follow)
	})
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on as things happen")
	cmd.Flags().Uint64Var(&since, "since", 0, "only events after this `number`")
	a.jsonFlag(cmd)
	return cmd
}

func (a *app) events(ctx context.Context, c client, since uint64, follow bool) error {
	names := 8 // columns; grows with what is seen
	for e, err := range eventsOf(ctx, c, since, follow, a.note) {
		if err != nil {
			return err
		}
		if a.json {
			if err := a.printLineJSON(e); err != nil {
				return err
			}
			continue
		}
		names = max(names, width(clean(eventName(e))))
		if _, err := fmt.Fprintln(a.out, a.eventLine(e, names)); err != nil {
			return err
		}
		for _, d := range e.Diagnostics {
			if _, err := fmt.Fprintln(a.out, "    "+strings.ReplaceAll(cleanLines(strings.TrimSpace(d.Text)), "\n", "\n    ")); err != nil {
				return err
			}
		}
	}
	if follow && ctx.Err() == nil {
		return failed("the daemon has ended")
	}
	return nil
}

// eventName returns whom e is about.
func eventName(e api.Event) string {
	switch {
	case e.Name != "":
		return e.Name
	case e.Program != "":
		return e.Program
	}
	return "tend"
}

// eventLine returns e in one line: when, who, what.
func (a *app) eventLine(e api.Event, names int) string {
	words := e.Message
	if words == "" {
		words = e.Kind
		if e.To != "" {
			words = e.To
		}
	}
	if e.To == api.Starting && e.PID != 0 {
		words += ", pid " + strconv.Itoa(e.PID)
	}
	name := pad(clean(eventName(e)), names)
	st := plain
	switch e.To {
	case api.Running, api.Done:
		st = green
	case api.Backoff:
		st = yellow
	case api.Failed:
		st = red
	}
	if e.Name == "" && e.Program == "" {
		name = a.out.paint(dim, name)
	}
	return a.out.paint(dim, eventTime(e.At, a.now(), a.out.tty)) + "  " + name + "  " + a.out.paint(st, clean(words))
}

// eventTime returns the time of day for people, with the date where it isn't
// today's, and RFC 3339 for others.
func eventTime(t, now time.Time, person bool) string {
	t = t.In(now.Location())
	switch {
	case !person:
		return t.Format(time.RFC3339)
	case t.Format(time.DateOnly) == now.Format(time.DateOnly):
		return t.Format(time.TimeOnly)
	}
	return t.Format("2 Jan 15:04:05")
}

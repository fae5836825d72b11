package cli

import (
	"cmp"
	"context"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"tend/api"
	"tend/internal/words"
)

func (a *app) historyCommand() *cobra.Command {
	var all, lines bool
	var since string
	o := api.HistoryOptions{Limit: 10}
	cmd := a.does(&cobra.Command{
		Use:     "history NAME…",
		Short:   "show past runs of programs, and how they ended",
		GroupID: groupLook,
		Long: `Shows the runs of programs, those that go on first, then the latest end first:
when each was started, how long it lasted, how it ended, the most memory that it
had and the time of processors that it used; and what failed ones printed last.
NAME is a program, an instance or a glob, of removed programs too as long as
their history is kept. It is kept over restarts of tend, up to 50 runs of each
instance and some megabytes of all.

"< 24 MB" means that no more is known than that: the kernel counts the memory
of whoever starts a process as the process's own.

--since takes a time as "tend logs" does.`,
		Example: `  tend history mailer
  tend history 'queue:*' --since 2d -n 50
  tend history --all --since 1h
  tend history web --json | jq '.[] | select(.success | not) | .reason'`,
		Args: func(_ *cobra.Command, args []string) (err error) {
			switch {
			case all && len(args) > 0:
				return misused("history takes names or --all, not both")
			case !all && len(args) == 0:
				return &failure{exitUsage, "history of what?", "give the name of a program, or --all"}
			case o.Limit < 1:
				return misused("-n takes a number of runs from 1 up, not %d", o.Limit)
			}
			if o.Since, err = pastTime(since, time.Now()); err != nil {
				return misused("--since: %v", err)
			}
			return nil
		},
		ValidArgsFunction: a.completeNames,
	}, func(ctx context.Context, _ *cobra.Command, patterns []string) error {
		if all {
			patterns = []string{"*"}
		}
		return a.history(ctx, patterns, o, lines)
	})
	cmd.Flags().BoolVar(&all, "all", false, "all programs")
	cmd.Flags().IntVarP(&o.Limit, "runs", "n", o.Limit, "`number` of runs of each instance")
	cmd.Flags().StringVar(&since, "since", "", "only runs that have ended since a `time`, or go on")
	cmd.Flags().BoolVar(&lines, "lines", false, "all that is kept of what each run printed last")
	a.jsonFlag(cmd)
	return cmd
}

func (a *app) history(ctx context.Context, patterns []string, o api.HistoryOptions, lines bool) error {
	c := a.connect()
	list := []api.Run{}
	for _, pattern := range patterns {
		runs, err := c.History(ctx, pattern, o)
		if err != nil {
			return err
		}
		list = append(list, runs...)
	}
	if len(patterns) > 1 {
		list = mergeRuns(list)
	}
	switch {
	case a.json:
		return a.printJSON(list)
	case len(list) == 0 && !o.Since.IsZero():
		a.note("nothing has run since then")
		return nil
	case len(list) == 0:
		a.note("nothing has run yet")
		return nil
	}
	return a.historyTable(list, lines).write(a.out)
}

// mergeRuns puts the answers to several patterns in order, each run once.
func mergeRuns(list []api.Run) []api.Run {
	slices.SortStableFunc(list, func(x, y api.Run) int {
		if x.Running != y.Running {
			return map[bool]int{true: -1, false: 1}[x.Running]
		}
		return cmp.Or(y.End().Compare(x.End()), cmp.Compare(x.Name, y.Name), cmp.Compare(y.Generation, x.Generation))
	})
	return slices.CompactFunc(list, func(x, y api.Run) bool {
		return x.Name == y.Name && x.Generation == y.Generation && x.Started.Equal(y.Started)
	})
}

// linesOfFailed is how many of the last lines of a run that failed are shown
// unless all are asked for.
const linesOfFailed = 2

// historyTable lays runs out, for a person or, a word a column, for a script.
func (a *app) historyTable(list []api.Run, lines bool) *table {
	person := a.out.tty
	t := &table{under: make(map[int][]string)}
	several := slices.ContainsFunc(list, func(r api.Run) bool { return r.Name != list[0].Name })
	if several {
		t.columns = append(t.columns, column{title: "NAME"})
	}
	t.columns = append(t.columns, column{title: "STARTED", whole: true}, column{title: "LASTED", drop: 3},
		column{title: "PEAK MEM", right: true, drop: 2}, column{title: "CPU", right: true, drop: 1}, column{title: "HOW IT ENDED"})
	for _, r := range list {
		var row []cell
		if several {
			row = append(row, cell{text: clean(r.Name)})
		}
		symbol, text, st := words.RunEnd(r)
		if r.Running {
			text += ", pid " + strconv.Itoa(r.PID)
		}
		if person {
			text = symbol + " " + text
			row = append(row, cell{text: eventTime(r.Started, a.now(), true)}, cell{text: words.Lasted(r)},
				cell{text: words.Peak(r)}, cell{text: words.CPUTime(r)}, cell{text, st})
		} else {
			row = append(row, cell{text: r.Started.In(a.now().Location()).Format(time.RFC3339)}, cell{text: plainSeconds(r.Seconds)},
				cell{text: plainPeak(r)}, cell{text: plainSeconds(r.CPUSeconds)}, cell{text: text})
		}
		n := len(t.rows)
		t.rows = append(t.rows, row)
		show := r.Lines
		if !lines {
			if !person || !r.Failed() {
				show = nil
			}
			show = show[max(0, len(show)-linesOfFailed):]
		}
		for _, l := range show {
			t.under[n] = append(t.under[n], "  │ "+bare(l))
		}
		if r.Skipped > 0 && person {
			t.under[n] = append(t.under[n], "  "+count(r.Skipped, "run")+" before it not kept: they ended too fast")
		}
	}
	return t
}

func plainSeconds(s *float64) string {
	if s == nil {
		return "-"
	}
	return shortSpan(seconds(*s))
}

func plainPeak(r api.Run) string {
	switch {
	case r.PeakMemoryBytes != nil:
		return strconv.FormatInt(*r.PeakMemoryBytes, 10)
	case r.PeakMemoryAtMost != nil:
		return "<" + strconv.FormatInt(*r.PeakMemoryAtMost, 10)
	}
	return "-"
}

package cli

import (
	"context"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"tend/api"
)

func (a *app) statusCommand() *cobra.Command {
	cmd := a.does(&cobra.Command{
		Use:     "status [NAME…]",
		Short:   "show how the programs are",
		GroupID: groupLook,
		Long: `Shows the programs: state, pid, uptime, restarts, last exit. NAME is a program,
an instance or a glob. The exit status is 3 when something that is wanted isn't
up. In a pipe the table is plain, and only its last column holds blanks.`,
		Example: `  tend status
  tend status 'queue:*'
  tend status --json | jq '.[] | select(.state == "backoff") | .name'`,
		ValidArgsFunction: a.completeNames,
	}, a.status)
	a.jsonFlag(cmd)
	return cmd
}

func (a *app) status(ctx context.Context, _ *cobra.Command, patterns []string) error {
	list, err := a.connect().Instances(ctx)
	if err != nil {
		return err
	}
	if list, err = choose(list, patterns); err != nil {
		return err
	}
	switch {
	case a.json:
		err = a.printJSON(list)
	case len(list) == 0:
		a.note("the daemon runs, but no program is configured")
	default:
		err = statusTable(list, a.now(), a.out.tty).write(a.out)
	}
	if err != nil {
		return err
	}
	for _, i := range list {
		if !i.Up() {
			return exits(exitSomeDown)
		}
	}
	return nil
}

// choose returns those of list that a pattern means, in the order of list, or all
// without patterns. A pattern that means none is an error with the nearest name.
func choose(list []api.Instance, patterns []string) ([]api.Instance, error) {
	chosen := make([]api.Instance, 0, len(list)) // never nil, which would be null in JSON
	if len(patterns) == 0 {
		return append(chosen, list...), nil
	}
	found := make([]bool, len(patterns))
	for _, i := range list {
		wanted := false
		for p, pattern := range patterns {
			if matches(pattern, i) {
				found[p], wanted = true, true
			}
		}
		if wanted {
			chosen = append(chosen, i)
		}
	}
	for p, ok := range found {
		if !ok {
			var names []string
			for _, i := range list {
				names = append(names, i.Program, i.Name)
			}
			return nil, failed("no program is called %s%s", quote(patterns[p]), didYouMean(patterns[p], names, ""))
		}
	}
	return chosen, nil
}

// statusTable lays the instances out, for a person or (plain ASCII, a word a
// column) for a script.
func statusTable(list []api.Instance, now time.Time, person bool) *table {
	none, duration := "-", shortSpan
	if person {
		none, duration = "–", span
	}
	t := &table{columns: []column{
		{title: "NAME"},
		{title: "STATE"},
		{title: "PID", drop: 4},
		{title: "UP", drop: 5},
		{title: "RESTARTS", right: true, drop: 3},
	}}
	measured := false
	for _, i := range list {
		measured = measured || i.CPUPercent != nil || i.MemoryBytes != nil
	}
	if measured {
		t.columns = append(t.columns, column{title: "CPU", right: true, drop: 2}, column{title: "MEM", right: true, drop: 1})
	}
	t.columns = append(t.columns, column{title: "LAST EXIT"})
	for _, i := range list {
		symbol, word, st := stateWord(i)
		if person {
			word = symbol + " " + word
		}
		row := []cell{{text: clean(i.Name)}, {word, st}, {text: none}, {text: none}, {text: strconv.Itoa(i.Restarts)}}
		if i.PID != 0 {
			row[2].text = strconv.Itoa(i.PID)
			row[3].text = duration(seconds(i.UptimeSeconds))
		}
		if measured {
			cpu, mem := none, none
			if i.CPUPercent != nil {
				cpu = percent(*i.CPUPercent)
			}
			switch {
			case i.MemoryBytes == nil:
			case person:
				mem = size(*i.MemoryBytes)
			default:
				mem = strconv.FormatInt(*i.MemoryBytes, 10)
			}
			row = append(row, cell{text: cpu}, cell{text: mem})
		}
		last := lastExit(i, now)
		if last == "" {
			last = none
		}
		t.rows = append(t.rows, append(row, cell{text: last}))
	}
	return t
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"tend/api"
)

func (a *app) reloadCommand() *cobra.Command {
	var allowEmpty, noWait bool
	cmd := a.does(&cobra.Command{
		Use:     "reload",
		Short:   "apply the files",
		GroupID: groupChange,
		Long: `Reads the files again and does what tend plan shows: the least that makes what
runs be what is written. Programs that didn't change keep running. Files with an
error change nothing.

It waits for what that sets going: until programs are up, and ready where
something says when they are, or stopped; for the end of a rolling restart; and,
with rollback = true, until it is known whether the reload is taken back. Ctrl-C
ends the waiting and nothing else.`,
		Example: `  tend plan; tend reload
  tend reload --no-wait`,
		Args:              noArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
	}, func(ctx context.Context, _ *cobra.Command, _ []string) error {
		c := a.connect()
		stop := func() {}
		if !noWait {
			stop = a.showWaits(ctx, c, []string{"*"})
		}
		p, err := c.Reload(ctx, api.ReloadOptions{AllowEmpty: allowEmpty, Wait: !noWait})
		stop()
		if err != nil {
			return err
		}
		if err := a.showPlan(p); err != nil {
			return err
		}
		if !p.Applied && !p.Empty() {
			return failed("the files were not applied")
		}
		if !a.json && !p.Empty() {
			fmt.Fprintln(a.out, a.out.paint(green, "✓")+" "+planSum(p))
		}
		return a.reloaded(p)
	})
	cmd.Flags().BoolVar(&allowEmpty, "allow-empty", false, "also when no program is left")
	cmd.Flags().BoolVar(&noWait, "no-wait", false, "don't wait for what it sets going")
	a.jsonFlag(cmd)
	return cmd
}

// reloaded shows what came of a reload, and fails if that isn't what was asked for.
func (a *app) reloaded(p *api.Plan) error {
	names, wrong := 0, 0
	for _, r := range p.Results {
		names = max(names, width(clean(r.Name)))
		if !r.OK {
			wrong++
		}
	}
	if !a.json {
		for _, r := range p.Results {
			a.showResult(r, names)
		}
	}
	switch {
	case p.RolledBack != "":
		return failed("taken back: %s", clean(p.RolledBack))
	case wrong > 0:
		return exits(exitFailed)
	}
	return nil
}

// planSum returns what was done in one line: "1 restarted, 1 changed in place,
// 2 new, 1 gone".
func planSum(p *api.Plan) string {
	var restarted, live, added, gone int
	for _, i := range p.Items {
		switch i.Action {
		case api.PlanRestart:
			restarted++
		case api.PlanLive:
			live++
		case api.PlanStart, api.PlanAdd:
			added++
		default:
			gone++
		}
	}
	sum := ""
	for _, part := range []struct {
		n    int
		word string
	}{{restarted, "restarted"}, {live, "changed in place"}, {added, "new"}, {gone, "gone"}} {
		if part.n > 0 {
			if sum != "" {
				sum += ", "
			}
			sum += fmt.Sprintf("%d %s", part.n, part.word)
		}
	}
	return sum
}

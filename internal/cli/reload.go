package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"tend/api"
)

func (a *app) reloadCommand() *cobra.Command {
	var allowEmpty bool
	cmd := a.does(&cobra.Command{
		Use:     "reload",
		Short:   "apply the files",
		GroupID: groupChange,
		Long: `Reads the files again and does what tend plan shows: the least that makes what
runs be what is written. Programs that didn't change keep running. Files with an
error change nothing.`,
		Example: `  tend plan; tend reload
  tend reload --allow-empty`,
		Args:              noArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
	}, func(ctx context.Context, _ *cobra.Command, _ []string) error {
		p, err := a.connect().Reload(ctx, api.ReloadOptions{AllowEmpty: allowEmpty})
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
		return nil
	})
	cmd.Flags().BoolVar(&allowEmpty, "allow-empty", false, "also when no program is left")
	a.jsonFlag(cmd)
	return cmd
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

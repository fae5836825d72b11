package cli

import (
	"context"
	"strings"

	"github.com/spf13/cobra"
)

// TopOptions say what Deps.Top is to show.
type TopOptions struct {
	Socket  string
	Place   string // of the daemon, for people
	NoColor bool
	Filter  string // words to begin with
}

func (a *app) topCommand() *cobra.Command {
	return a.does(&cobra.Command{
		Use:     "top [FILTER…]",
		Short:   "watch the programs, and act on them by key",
		GroupID: groupLook,
		Long: `Shows all programs live, with what they use, and on a page of its own a
program's log, history, keys and processes. Programs are started, stopped,
restarted and signalled by key, and a changed configuration is looked at and
applied. What ends something asks first. ? shows the keys. FILTER is part of a
name, a state or a glob.

When the daemon goes away this is said, and it goes on with the next one.`,
		Example: `  tend top
  tend top backoff
  tend top 'queue:*'`,
		ValidArgsFunction: a.completeNames,
	}, func(ctx context.Context, _ *cobra.Command, filter []string) error {
		if a.deps.Top == nil {
			return failed("the dashboard isn't built in")
		}
		if !a.out.tty {
			return &failure{exitUsage, "top needs a terminal", "tend status is for pipes and scripts"}
		}
		p := a.place()
		return a.deps.Top(ctx, TopOptions{Socket: p.socket, Place: p.shown, NoColor: a.noColor, Filter: strings.Join(filter, " ")})
	})
}

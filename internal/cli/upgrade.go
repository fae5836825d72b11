package cli

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"tend/api"
)

// upgradeLimit is how long the new daemon may take to answer.
const upgradeLimit = 30 * time.Second

func (a *app) upgradeCommand() *cobra.Command {
	cmd := a.does(&cobra.Command{
		Use:     "upgrade [BINARY]",
		Short:   "put another binary in the daemon's place; programs keep their pids",
		GroupID: groupFiles,
		Long: `Executes BINARY in the daemon's place, or the file that the running daemon was
started from and that has been replaced. Its pid stays, programs don't notice,
their output goes on, and requests that come meanwhile wait. First the binary
has to show that it can go on from what the daemon knows; if it can't, nothing
is changed.`,
		Example: `  tend upgrade
  tend upgrade ./tend-2.0`,
		Args: cobra.MaximumNArgs(1),
	}, func(ctx context.Context, _ *cobra.Command, args []string) error {
		var o api.UpgradeOptions
		if len(args) > 0 {
			path, err := filepath.Abs(args[0])
			if err != nil {
				return err
			}
			o.Binary = path
		}
		return a.upgrade(ctx, o)
	})
	a.jsonFlag(cmd)
	return cmd
}

func (a *app) upgrade(ctx context.Context, o api.UpgradeOptions) error {
	ctx, cancel := context.WithTimeout(ctx, upgradeLimit)
	defer cancel()
	c := a.connect()
	before, err := c.Daemon(ctx)
	if err != nil {
		return err
	}
	u, err := c.Upgrade(ctx, o)
	if err != nil {
		return err
	}
	// The old daemon's events end with it, and what connects then waits for the
	// new one, whose first event tells of it.
	now, err := c.Daemon(ctx)
	for err == nil && now.Upgrading {
		for e, err := range eventsOf(ctx, c, now.EventSeq, true, func(string) {}) {
			if err != nil || strings.HasPrefix(e.Kind, "daemon.") {
				break
			}
		}
		now, err = c.Daemon(ctx)
	}
	switch {
	case errors.Is(err, api.ErrNoDaemon):
		return &failure{exitFailed, "the daemon ended over it", "start it again, which takes over what runs: tend up"}
	case err != nil:
		return err
	case now.Started.Equal(before.Started):
		return &failure{exitFailed, "cannot upgrade: " + now.UpgradeError, "the daemon goes on as it was"}
	}
	if a.json {
		return a.printJSON(u)
	}
	words := u.From + " → " + now.Version
	if u.From == now.Version {
		words = now.Version + ", executed anew"
	}
	_, err = fmt.Fprintf(a.out, "%s %s; %s kept, pid %d\n", a.out.paint(green, "✓"), clean(words), count(now.Instances, "instance"), now.PID)
	return err
}

// selfTestCommand is what a daemon asks of a binary before it executes it.
func (a *app) selfTestCommand() *cobra.Command {
	return a.does(&cobra.Command{
		Use:    "self-test LEDGER",
		Short:  "show that this version can go on from a ledger",
		Hidden: true,
		Args:   cobra.ExactArgs(1),
	}, func(_ context.Context, _ *cobra.Command, args []string) error {
		if a.deps.SelfTest == nil {
			return failed("self-test isn't built in")
		}
		return a.deps.SelfTest(args[0], a.deps.Version)
	})
}

package cli

import (
	"context"
	"os"

	"github.com/spf13/cobra"
)

func (a *app) runCommand() *cobra.Command {
	var o RunOptions
	var dev, times bool
	cmd := &cobra.Command{
		Use:     "run [-- COMMAND ARG…]",
		Short:   "guard the programs in the foreground",
		GroupID: groupRun,
		Long: `Starts the programs of the configuration and keeps them running, until it gets
TERM or INT. With a command after -- it guards that one, named after it, without
any file.

It is two processes: the guard, which is the one that was started, and the
daemon under it. Should that die, the guard starts it again, and the programs
don't notice.

With --dev it is for development: all output comes here, a colour a program, and
the keys restart and mute programs (? lists them). Ctrl-C stops everything.

The configuration is -c PATH, else $TEND_CONFIG, else tend.toml, tend.ini or
Procfile in this folder, else /etc/tend/tend.toml, else supervisord's. PATH may
be a folder: every *.toml and *.ini in it.`,
		Example: `  tend run
  tend run -c /etc/tend
  tend run --dev
  tend run -- php artisan queue:work`,
		Args: func(cmd *cobra.Command, args []string) error {
			dash := cmd.ArgsLenAtDash()
			switch {
			case dash < 0 && len(args) > 0, dash > 0:
				return &failure{exitUsage, "run takes no names, not " + quote(args[0]), "a file: tend run -c PATH; a command: tend run -- COMMAND"}
			case dash == 0 && len(args) == 0:
				return &failure{exitUsage, "no command after --", "as in: tend run -- ./server -v"}
			case dash == 0 && o.Config != "":
				return misused("run takes -c PATH or a command, not both")
			case dash == 0 && dev:
				return &failure{exitUsage, "run --dev takes no command", "write the programs into a file: tend init"}
			case times && !dev:
				return misused("--times goes with --dev")
			}
			return nil
		},
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	cmd.Flags().StringVarP(&o.Config, "config", "c", "", "`path` of a file, or of a folder of files")
	cmd.Flags().IntVar(&o.ReadyFD, "ready-fd", 0, "for tend up")
	cmd.Flags().BoolVar(&o.Supervisord, "as-supervisord", false, "for supervisord")
	cmd.Flags().StringArrayVar(&o.Override, "override", nil, "for the flags of supervisord")
	for _, name := range []string{"ready-fd", "as-supervisord", "override"} {
		cmd.Flags().MarkHidden(name)
	}
	cmd.Flags().BoolVar(&o.NoGuard, "no-guard", false, "one process: nobody starts the daemon again should it die")
	cmd.Flags().BoolVar(&dev, "dev", false, "all output here, and keys to restart and mute")
	cmd.Flags().BoolVar(&times, "times", false, "with --dev: the time in front of each line")
	return a.does(cmd, func(ctx context.Context, _ *cobra.Command, args []string) error {
		if dev {
			return a.dev(ctx, o.Config, times)
		}
		if a.deps.Run == nil {
			return failed("run isn't built in")
		}
		o.State = a.state
		if o.State == "" {
			o.State = os.Getenv("TEND_STATE")
		}
		o.Command = args
		o.Detached = o.ReadyFD > 0
		if status := a.deps.Run(ctx, o); status != 0 {
			return exits(status) // it has said why
		}
		return nil
	})
}

package cli

import (
	"context"

	"github.com/spf13/cobra"
)

// supervisordCommand is the command supervisord.
func (a *app) supervisordCommand() *cobra.Command {
	return a.byName(&cobra.Command{
		Use:   "supervisord",
		Short: "be supervisord, by its flags",
		Long: `Takes the flags of supervisord, has its log, its pid file and its exit statuses,
and goes to the background unless there is -n or nodaemon=true. A link named
supervisord does the same, so that what calls it needs no change.
All flags: tend supervisord -h.`,
		Example: `  tend supervisord -n -c /etc/supervisor/supervisord.conf
  ln -s /usr/local/bin/tend /usr/bin/supervisord`,
	})
}

// supervisorctlCommand is the command supervisorctl.
func (a *app) supervisorctlCommand() *cobra.Command {
	return a.byName(&cobra.Command{
		Use:   "supervisorctl",
		Short: "be supervisorctl, with its commands",
		Long: `Commands a supervisord, or tend in its place, as supervisorctl does: the same
commands, texts and exit statuses. A link named supervisorctl does the same.
All commands: tend supervisorctl help.`,
		Example: `  tend supervisorctl status
  tend supervisorctl -c supervisord.conf restart web:*`,
	})
}

// byName gives cmd all arguments as they are, for who is called by its name.
func (a *app) byName(cmd *cobra.Command) *cobra.Command {
	cmd.DisableFlagParsing = true
	cmd.ValidArgsFunction = cobra.FixedCompletions(nil, cobra.ShellCompDirectiveDefault)
	return a.does(cmd, func(_ context.Context, cmd *cobra.Command, args []string) error {
		if a.deps.ByName == nil {
			return failed("%s isn't built in", cmd.Name())
		}
		if status := a.deps.ByName(cmd.Name(), args); status != 0 {
			return exits(status) // it has said why
		}
		return nil
	})
}

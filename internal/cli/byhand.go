package cli

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"tend/api"
)

// addCommand returns the command that adds a program.
func (a *app) addCommand() *cobra.Command {
	var env, keys []string
	var directory, user string
	instances := 1
	var noWait bool
	cmd := a.does(&cobra.Command{
		Use:     "add NAME -- COMMAND ARG…",
		Short:   "add a program, and keep it",
		GroupID: groupChange,
		Long: `Adds a program that runs COMMAND, and waits until it is up. It is kept in a file
of its own, NAME.toml in the first folder that the configuration includes, so
that it outlives the daemon and is plain to see; the file may be edited as any
other. It runs in this folder, unless --directory says otherwise. tend remove
takes it away.`,
		Example: `  tend add web -- ./server --port 8000
  tend add queue --instances 4 --env QUEUE=mail -- php worker.php
  tend add job --set restart=on-failure --set log.keep=2 -- ./job`,
		Args: func(cmd *cobra.Command, args []string) error {
			switch dash := cmd.ArgsLenAtDash(); {
			case len(args) == 0 || dash == 0:
				return &failure{exitUsage, "add what?", "as in: tend add web -- ./server"}
			case dash != 1 || len(args) == 1:
				return &failure{exitUsage, "add needs one name and a command behind --", "as in: tend add " + args[0] + " -- ./server"}
			}
			return nil
		},
		ValidArgsFunction: cobra.NoFileCompletions,
	}, func(ctx context.Context, cmd *cobra.Command, args []string) error {
		add := api.Add{Name: args[0], Config: map[string]any{"command": args[1:]}}
		if directory == "" {
			dir, err := os.Getwd()
			if err != nil {
				return fmt.Errorf("cannot tell this folder: %w", err)
			}
			directory = dir
		}
		add.Config["directory"] = directory
		if cmd.Flags().Changed("instances") {
			add.Config["instances"] = instances
		}
		if user != "" {
			add.Config["user"] = user
		}
		if len(env) > 0 {
			table := make(map[string]any, len(env))
			for _, kv := range env {
				name, value, ok := strings.Cut(kv, "=")
				if !ok {
					return misused("--env takes NAME=VALUE, not %s", quote(kv))
				}
				table[name] = value
			}
			add.Config["env"] = table
		}
		for _, kv := range keys {
			key, value, ok := strings.Cut(kv, "=")
			if !ok {
				return misused("--set takes KEY=VALUE, not %s", quote(kv))
			}
			add.Config[key] = value
		}
		c := a.connect()
		p, err := c.Add(ctx, add)
		if err != nil {
			return err
		}
		if noWait || a.json {
			return a.showDone(p)
		}
		r, err := c.Act(ctx, "start", add.Name, api.Act{}) // which it was told already: it is waited for
		if err != nil {
			return err
		}
		for _, result := range r.Results {
			message := clean(strings.TrimPrefix(result.Message, "already "))
			if !result.OK {
				err = exits(exitFailed)
				message = a.out.paint(red, "✗") + " " + message
			}
			fmt.Fprintf(a.out, "%s  %s\n", clean(result.Name), message)
		}
		return err
	})
	f := cmd.Flags()
	f.StringArrayVar(&env, "env", nil, "`NAME=VALUE` for its environment; may be repeated")
	f.StringVar(&directory, "directory", "", "`folder` to run in (default: this one)")
	f.StringVar(&user, "user", "", "`user` to run as")
	f.IntVar(&instances, "instances", 1, "`number` of copies")
	f.StringArrayVar(&keys, "set", nil, "`KEY=VALUE` of the configuration; may be repeated")
	f.BoolVar(&noWait, "no-wait", false, "don't wait until it is up")
	a.jsonFlag(cmd)
	return cmd
}

func (a *app) removeCommand() *cobra.Command {
	cmd := a.does(&cobra.Command{
		Use:     "remove NAME…",
		Short:   "remove programs that were added by tend add",
		GroupID: groupChange,
		Long: `Stops programs that were added by tend add, and removes their files. Others are
taken out of the file in which they are written.`,
		Example: `  tend remove web`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return &failure{exitUsage, "remove what?", "give the name of a program that tend add has made"}
			}
			return nil
		},
		ValidArgsFunction: a.completeNames,
	}, func(ctx context.Context, _ *cobra.Command, names []string) error {
		c := a.connect()
		for _, name := range names {
			p, err := c.Remove(ctx, name)
			if err != nil {
				return err
			}
			if err := a.showDone(p); err != nil {
				return err
			}
		}
		return nil
	})
	a.jsonFlag(cmd)
	return cmd
}

func (a *app) scaleCommand() *cobra.Command {
	cmd := a.does(&cobra.Command{
		Use:     "scale NAME=N…",
		Short:   "run another number of instances",
		GroupID: groupChange,
		Long: `Sets how many instances of a program there are; the others aren't touched. That
holds until instances of the program is changed in its file, or the daemon is
stopped; a reload for something else, an upgrade or the daemon's death keep it.`,
		Example: `  tend scale queue=8
  tend scale queue=2 web=4`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return &failure{exitUsage, "scale what?", "as in: tend scale queue=8"}
			}
			for _, arg := range args {
				name, n, _ := strings.Cut(arg, "=")
				if _, err := strconv.ParseUint(n, 10, 31); err != nil || name == "" {
					return &failure{exitUsage, "scale takes NAME=N, not " + quote(arg), "as in: tend scale queue=8"}
				}
			}
			return nil
		},
		ValidArgsFunction: a.completeNames,
	}, func(ctx context.Context, _ *cobra.Command, args []string) error {
		c := a.connect()
		for _, arg := range args {
			name, text, _ := strings.Cut(arg, "=")
			n, _ := strconv.Atoi(text)
			p, err := c.Scale(ctx, name, n)
			if err != nil {
				return err
			}
			if err := a.showDone(p); err != nil {
				return err
			}
		}
		return nil
	})
	a.jsonFlag(cmd)
	return cmd
}

// showDone shows a plan that was carried out.
func (a *app) showDone(p *api.Plan) error {
	if err := a.showPlan(p); err != nil {
		return err
	}
	if !a.json && !p.Empty() {
		fmt.Fprintln(a.out, a.out.paint(green, "✓")+" "+planSum(p))
	}
	return nil
}

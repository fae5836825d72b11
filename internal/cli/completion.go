package cli

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

var shells = []string{"bash", "zsh", "fish"}

func (a *app) completionCommand() *cobra.Command {
	return a.does(&cobra.Command{
		Use:   "completion SHELL",
		Short: "print the completion of a shell: bash, zsh or fish",
		Long: `Prints a script that makes the shell complete commands, flags and the names of
programs, which it asks of the daemon.`,
		Example: `  source <(tend completion bash)
  tend completion zsh > "${fpath[1]}/_tend"
  tend completion fish > ~/.config/fish/completions/tend.fish`,
		ValidArgs: shells,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 || !slices.Contains(shells, args[0]) {
				return &failure{exitUsage, "completion takes the name of a shell", "one of: " + strings.Join(shells, ", ")}
			}
			return nil
		},
	}, func(_ context.Context, cmd *cobra.Command, args []string) error {
		switch root := cmd.Root(); args[0] {
		case "bash":
			return root.GenBashCompletionV2(a.out, true)
		case "zsh":
			return root.GenZshCompletion(a.out)
		default:
			return root.GenFishCompletion(a.out, true)
		}
	})
}

// patience is how long a completion may take: somebody has just pressed a key.
const patience = 300 * time.Millisecond

// completeNames offers the programs and instances of the daemon that weren't
// given yet. Without a daemon it offers nothing.
func (a *app) completeNames(cmd *cobra.Command, given []string, word string) ([]string, cobra.ShellCompDirective) {
	ctx := cmd.Context()
	if ctx == nil {
		ctx = context.Background()
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	list, err := a.connect().Instances(ctx)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var names []string
	instances := make(map[string]int)
	for _, i := range list {
		instances[i.Program]++
	}
	last := ""
	for _, i := range list {
		if instances[i.Program] > 1 && i.Program != last {
			last = i.Program
			names = append(names, cobra.CompletionWithDesc(i.Program, count(instances[i.Program], "instance")))
		}
		_, state, _ := stateWord(i)
		names = append(names, cobra.CompletionWithDesc(i.Name, state))
	}
	names = slices.DeleteFunc(startingWith(names, word), func(s string) bool {
		name, _, _ := strings.Cut(s, "\t")
		return slices.Contains(given, name)
	})
	return names, cobra.ShellCompDirectiveNoFileComp
}

// startingWith returns those of list that start with word.
func startingWith(list []string, word string) (out []string) {
	for _, s := range list {
		if strings.HasPrefix(s, word) {
			out = append(out, s)
		}
	}
	return out
}

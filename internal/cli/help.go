package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

func (a *app) helpCommand() *cobra.Command {
	return a.does(&cobra.Command{
		Use:   "help [COMMAND]",
		Short: "explain a command",
		Args: func(cmd *cobra.Command, args []string) error {
			if _, rest, err := cmd.Root().Find(args); err != nil {
				return usageError(cmd.Root(), err)
			} else if len(rest) > 0 {
				return &failure{exitUsage, "help takes the name of a command", "tend help"}
			}
			return nil
		},
		ValidArgsFunction: func(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
			var names []string
			for _, c := range cmd.Root().Commands() {
				if len(args) == 0 && c.IsAvailableCommand() {
					names = append(names, cobra.CompletionWithDesc(c.Name(), c.Short))
				}
			}
			return startingWith(names, word), cobra.ShellCompDirectiveNoFileComp
		},
	}, func(_ context.Context, cmd *cobra.Command, args []string) error {
		c, _, err := cmd.Root().Find(args)
		if err != nil {
			return err
		}
		return c.Help()
	})
}

// help prints the help of cmd. It is written by hand: text/template, which cobra
// would use, costs the binary 1.5 MB.
func (a *app) help(cmd *cobra.Command, _ []string) {
	if a.noColor { // --help comes before PersistentPreRun
		a.out.color = false
	}
	var b strings.Builder
	title := func(s string) { fmt.Fprintf(&b, "\n%s\n", a.out.paint(bold, s)) }
	if cmd.HasParent() {
		fmt.Fprintln(&b, strings.TrimSpace(cmd.Short+"\n\n"+cmd.Long))
		title("usage")
		fmt.Fprintf(&b, "  %s\n", useLine(cmd))
	} else {
		fmt.Fprintln(&b, cmd.Short)
		for _, g := range cmd.Groups() {
			title(g.Title)
			for _, c := range cmd.Commands() {
				if c.GroupID == g.ID && c.IsAvailableCommand() {
					fmt.Fprintf(&b, "  %s %s\n", pad(c.Name(), 13), c.Short)
				}
			}
		}
		title("more")
		for _, c := range cmd.Commands() {
			if c.GroupID == "" && c.IsAvailableCommand() {
				fmt.Fprintf(&b, "  %s %s\n", pad(c.Name(), 13), c.Short)
			}
		}
	}
	if flags := ownFlags(cmd); flags != "" && cmd.HasParent() {
		title("flags")
		b.WriteString(flags)
	}
	if cmd.Example != "" {
		title("examples")
		fmt.Fprintln(&b, cmd.Example)
	}
	if !cmd.HasParent() {
		title("flags of every command")
		b.WriteString(cmd.PersistentFlags().FlagUsages())
		fmt.Fprintf(&b, "\n%s\n", a.out.paint(dim, "more of one: tend help COMMAND"))
	}
	fmt.Fprint(a.out, b.String())
}

// useLine returns how cmd is called.
func useLine(cmd *cobra.Command) string {
	line := "tend " + cmd.Use
	if ownFlags(cmd) == "" {
		return line
	}
	// Flags come before what they must not be mistaken for.
	if name, rest, ok := strings.Cut(cmd.Use, " "); ok && strings.Contains(rest, "--") {
		return "tend " + name + " [flags] " + rest
	}
	return line + " [flags]"
}

// ownFlags returns the flags of cmd alone, a line each.
func ownFlags(cmd *cobra.Command) string {
	cmd.InheritedFlags() // makes cobra tell the flags of the parents apart
	lines := slices.DeleteFunc(strings.SplitAfter(cmd.LocalFlags().FlagUsages(), "\n"), func(l string) bool {
		return strings.Contains(l, "--help ")
	})
	return strings.Join(lines, "")
}

// Markdown returns the reference of all commands, docs/reference/commands.md.
func Markdown() string {
	a := newApp(Deps{})
	root := a.root()
	root.InitDefaultHelpCmd()
	var b strings.Builder
	b.WriteString("# Commands\n\n<!-- Written from the commands themselves; change internal/cli. -->\n\n")
	b.WriteString("Flags of every command:\n\n```\n" + root.PersistentFlags().FlagUsages() + "```\n\n")
	b.WriteString(exitStatuses)
	groups := append(root.Groups(), &cobra.Group{Title: "more"})
	for _, g := range groups {
		fmt.Fprintf(&b, "\n## %s\n", g.Title)
		for _, c := range root.Commands() {
			if c.GroupID != g.ID || !c.IsAvailableCommand() {
				continue
			}
			fmt.Fprintf(&b, "\n### tend %s\n\n```\n%s\n```\n\n%s.\n", c.Name(), useLine(c), upperFirst(c.Short))
			if c.Long != "" {
				fmt.Fprintf(&b, "\n%s\n", strings.ReplaceAll(c.Long, "*", `\*`))
			}
			if flags := ownFlags(c); flags != "" {
				fmt.Fprintf(&b, "\n```\n%s```\n", flags)
			}
			if c.Example != "" {
				fmt.Fprintf(&b, "\n```sh\n%s\n```\n", strings.ReplaceAll(strings.TrimPrefix(c.Example, "  "), "\n  ", "\n"))
			}
		}
	}
	return b.String()
}

func upperFirst(s string) string { return strings.ToUpper(s[:1]) + s[1:] }

const exitStatuses = `| exit status | |
|---|---|
| 0 | done |
| 1 | it failed, and said why |
| 2 | wrong usage; of ` + "`plan`" + `: there is something to do |
| 3 | of ` + "`status`" + `: something that is wanted isn't up |
| 4 | no daemon answers |
`

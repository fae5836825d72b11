package cli

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"tend/api"
	"tend/internal/words"
)

func (a *app) planCommand() *cobra.Command {
	cmd := a.does(&cobra.Command{
		Use:     "plan",
		Short:   "show what a reload would do",
		GroupID: groupFiles,
		Long: `Compares the files with what runs and shows what a reload would do, program by
program, key by key. The exit status is 0 when there is nothing to do and 2 when
there is something.`,
		Example: `  tend plan
  tend plan --json | jq -r '.items[].program'`,
		Args:              noArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
	}, func(ctx context.Context, _ *cobra.Command, _ []string) error {
		p, err := a.connect().Plan(ctx)
		if err != nil {
			return err
		}
		if err := a.showPlan(p); err != nil {
			return err
		}
		if p.Empty() {
			return nil
		}
		if !a.json {
			command := "tend reload"
			if p.Empties {
				a.note("nothing would be left")
				command += " --allow-empty"
			}
			fmt.Fprintln(a.out, "apply with: "+a.out.paint(bold, command))
		}
		return exits(exitUsage)
	})
	a.jsonFlag(cmd)
	return cmd
}

// showPlan prints p, as JSON or for people. The error says that the files have
// errors, so that there is no plan.
func (a *app) showPlan(p *api.Plan) error {
	if a.json {
		if err := a.printJSON(p); err != nil {
			return err
		}
	}
	if a.diagnose(p.Diagnostics) > 0 {
		return exits(exitFailed)
	}
	if a.json {
		return nil
	}
	_, err := a.out.Write([]byte(a.renderPlan(p)))
	return err
}

// renderPlan returns p as people read it.
func (a *app) renderPlan(p *api.Plan) string {
	files, verb := fileNames(p.Files)
	var b strings.Builder
	switch {
	case p.Empty():
		fmt.Fprintf(&b, "%s nothing to do: %s %s what runs\n", a.out.paint(green, "✓"), files, map[bool]string{false: "is", true: "are"}[verb == "differ"])
		return b.String()
	case p.Applied:
		fmt.Fprintf(&b, "%s applied:\n", files)
	default:
		fmt.Fprintf(&b, "%s %s from what runs:\n", files, verb)
	}
	names, actions := 0, 0
	for _, i := range p.Items {
		names, actions = max(names, width(clean(i.Program))), max(actions, width(i.Action))
	}
	columns, _ := a.out.size()
	names = min(names, max(24, columns/3))
	indent := 4 + names + 3 + actions + 3
	room := 0 // for what is behind the indent; 0: as it comes
	if columns > 0 {
		room = max(20, columns-indent)
	}
	for _, i := range p.Items {
		symbol, st := words.PlanMark(i.Action)
		lines := a.planChanges(i.Changes, room)
		if s := clean(i.Summary); s != "" {
			if room > 0 {
				s = cutMiddle(s, room-2)
			}
			if i.Action != api.PlanStart && i.Action != api.PlanAdd {
				s = a.out.paint(dim, "("+strings.Trim(s, "()")+")")
			}
			lines = append(lines, s)
		}
		if len(lines) == 0 {
			lines = []string{""}
		}
		name := clean(i.Program)
		if columns > 0 {
			name = cut(name, names)
		}
		for n, l := range lines {
			if n > 0 {
				fmt.Fprintf(&b, "%s%s\n", strings.Repeat(" ", indent), l)
				continue
			}
			row := "  " + a.out.paint(st, symbol) + " " + pad(name, names) + "   " + a.out.paint(st, i.Action) +
				strings.Repeat(" ", max(0, actions-width(i.Action))) + "   " + l
			b.WriteString(strings.TrimRight(row, " ") + "\n")
		}
	}
	if p.Unchanged > 0 {
		fmt.Fprintf(&b, "  %s\n", a.out.paint(dim, fmt.Sprintf("= %d unchanged", p.Unchanged)))
	}
	return b.String()
}

// planChanges returns the lines of the changes of a program, each no wider than
// room where that isn't 0.
func (a *app) planChanges(changes []api.PlanChange, room int) []string {
	keys := 0
	for _, c := range changes {
		keys = max(keys, width(c.Key))
	}
	arrow := a.out.paint(dim, "→")
	var lines []string
	for _, c := range changes {
		before, after := words.Difference(c.Old, c.New)
		key := pad(c.Key, keys) + "   "
		if room == 0 {
			lines = append(lines, key+before+" "+arrow+" "+after)
			continue
		}
		rest := max(10, room-keys-3)
		if width(before)+3+width(after) > rest {
			before, after = words.Focus(before, after, rest-3)
		}
		lines = append(lines, key+before+" "+arrow+" "+after)
	}
	return lines
}

// fileNames returns how to call the files of a configuration, and the form of
// "differ" that goes with it.
func fileNames(files []string) (names, verb string) {
	short := make([]string, len(files))
	for i, f := range files {
		short[i] = clean(shortPath(f))
	}
	switch {
	case len(files) == 0:
		return "the configuration", "differs"
	case len(files) == 1:
		return short[0], "differs"
	case len(files) <= 3:
		return strings.Join(short[:len(short)-1], ", ") + " and " + short[len(short)-1], "differ"
	}
	return fmt.Sprintf("%s and %d more in %s", short[0], len(files)-1, filepath.Dir(short[1])), "differ"
}

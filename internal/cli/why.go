package cli

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"tend/api"
)

func (a *app) whyCommand() *cobra.Command {
	cmd := a.does(&cobra.Command{
		Use:     "why NAME…",
		Short:   "tell why programs are as they are",
		GroupID: groupLook,
		Long: `Tells in a paragraph how a program is and since when, what led there, what it
waits for, and what happens next and when; with the last lines that it has
printed, and the command that helps best. NAME is a program, an instance or a
glob.`,
		Example: `  tend why mailer
  tend why 'queue:*'`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return &failure{exitUsage, "why what?", "give the name of a program, as in: tend why web"}
			}
			return nil
		},
		ValidArgsFunction: a.completeNames,
	}, a.why)
	a.jsonFlag(cmd)
	return cmd
}

func (a *app) why(ctx context.Context, _ *cobra.Command, patterns []string) error {
	c := a.connect()
	list := []api.Why{}
	for _, pattern := range patterns {
		stories, err := c.Why(ctx, pattern)
		if err != nil {
			return err
		}
		for _, w := range stories {
			if !slices.ContainsFunc(list, func(o api.Why) bool { return o.Name == w.Name }) {
				list = append(list, w)
			}
		}
	}
	if a.json {
		return a.printJSON(list)
	}
	columns, _ := a.out.size()
	switch {
	case columns == 0: // not a terminal: a paragraph is a line
		columns = math.MaxInt
	case columns > 100:
		columns = 100
	}
	var b strings.Builder
	for i, w := range list {
		if i > 0 {
			b.WriteByte('\n')
		}
		name := clean(w.Name)
		text := strings.Join(wrap(clean(w.Text), columns), "\n")
		if rest, ok := strings.CutPrefix(text, name); ok {
			text = a.out.paint(bold, name) + rest
		}
		fmt.Fprintln(&b, text)
		for _, line := range w.Lines {
			fmt.Fprintf(&b, "  %s %s\n", a.out.paint(dim, name+" |"), bare(line))
		}
		if w.Do != "" {
			fmt.Fprintf(&b, "%s: %s\n", clean(w.Does), clean(w.Do))
		}
	}
	_, err := fmt.Fprint(a.out, b.String())
	return err
}

// wrap breaks a text of words into lines of at most n columns, where that can be.
func wrap(text string, n int) (lines []string) {
	line := ""
	for word := range strings.FieldsSeq(text) {
		switch {
		case line == "":
			line = word
		case width(line)+1+width(word) > n:
			lines = append(lines, line)
			line = word
		default:
			line += " " + word
		}
	}
	return append(lines, line)
}

package cli

import (
	"errors"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// usageError puts an error of cobra's about the arguments of cmd into our words,
// with the nearest command or flag.
func usageError(cmd *cobra.Command, err error) error {
	var f *failure
	if errors.As(err, &f) {
		return err
	}
	see := "tend help"
	if cmd.HasParent() {
		see += " " + cmd.Name()
	}
	out := &failure{status: exitUsage, message: err.Error(), hint: see}
	var unknown *pflag.NotExistError
	switch {
	case strings.HasPrefix(err.Error(), "unknown command "):
		// The message is all that cobra tells: unknown command "statsu" for "tend".
		name := strings.SplitN(err.Error(), `"`, 3)[1]
		var names []string
		for _, c := range cmd.Commands() {
			if !c.Hidden {
				names = append(names, c.Name())
			}
		}
		out.message = "unknown command " + quote(name) + didYouMean(name, names, "")
	case errors.As(err, &unknown):
		name := unknown.GetSpecifiedName()
		if unknown.GetSpecifiedShortnames() != "" {
			out.message = "unknown flag -" + name
			break
		}
		var names []string
		cmd.Flags().VisitAll(func(f *pflag.Flag) {
			if !f.Hidden {
				names = append(names, f.Name)
			}
		})
		out.message = "unknown flag --" + name + didYouMean(name, names, "--")
	}
	return out
}

// didYouMean returns `; did you mean "x"?` with the nearest of names, or "" where
// none is near.
func didYouMean(word string, names []string, prefix string) string {
	// One error in two letters is a typing error, more is another word.
	best, least := "", min(2, len(word)/2)+1
	for _, n := range names {
		if d := distance(word, n); d < least {
			best, least = n, d
		}
	}
	for _, n := range names {
		if best == "" && len(word) > 1 && strings.HasPrefix(n, word) {
			best = n
		}
	}
	if best == "" {
		return ""
	}
	return `; did you mean "` + prefix + best + `"?`
}

// distance counts the insertions, deletions, replacements and swaps of
// neighbours that turn a into b (optimal string alignment).
func distance(a, b string) int {
	s, t := []rune(a), []rune(b)
	before, last, row := make([]int, len(t)+1), make([]int, len(t)+1), make([]int, len(t)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(s); i++ {
		row[0] = i
		for j := 1; j <= len(t); j++ {
			cost := 1
			if s[i-1] == t[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && s[i-1] == t[j-2] && s[i-2] == t[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(t)]
}

// noArgs refuses arguments.
func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return &failure{status: exitUsage, message: cmd.Name() + " takes no arguments, not " + quote(args[0]), hint: "tend help " + cmd.Name()}
	}
	return nil
}

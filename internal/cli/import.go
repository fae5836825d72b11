package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"
)

func (a *app) importCommand() *cobra.Command {
	return a.does(&cobra.Command{
		Use:     "import FILE",
		Short:   "write a supervisord.conf or a Procfile as a tend.toml",
		GroupID: groupFiles,
		Long: `Prints a tend.toml that does the same as FILE, on standard output. Comments say
what has no equal. The file itself is left as it is; tend can also run it
unchanged: tend run -c FILE.`,
		Example: `  tend import /etc/supervisor/supervisord.conf > tend.toml
  tend import Procfile`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return misused("import takes one file, not %d", len(args))
			}
			return nil
		},
	}, func(_ context.Context, _ *cobra.Command, args []string) error {
		return a.importFile(args[0])
	})
}

func (a *app) importFile(path string) error {
	if a.deps.Import == nil {
		return failed("import isn't built in")
	}
	text, diagnostics := a.deps.Import(path)
	if text == nil {
		errors := 0
		for _, d := range diagnostics {
			if d.Severity == "error" {
				fmt.Fprintln(a.err, a.paintDiagnostic(d))
				errors++
			}
		}
		return failed("%s; nothing was written", count(errors, "error"))
	}
	_, err := a.out.Write(text) // its comments say what the diagnostics do
	return err
}

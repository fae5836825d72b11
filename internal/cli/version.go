package cli

import (
	"context"
	"fmt"
	"runtime"

	"github.com/spf13/cobra"
)

func (a *app) versionCommand() *cobra.Command {
	cmd := a.does(&cobra.Command{
		Use:               "version",
		Short:             "print the version",
		Args:              noArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
	}, func(context.Context, *cobra.Command, []string) error { return a.printVersion() })
	a.jsonFlag(cmd)
	return cmd
}

func (a *app) printVersion() error {
	if a.json {
		return a.printJSON(map[string]string{"version": a.deps.Version, "go": runtime.Version(), "platform": runtime.GOOS + "/" + runtime.GOARCH})
	}
	_, err := fmt.Fprintln(a.out, "tend", a.deps.Version)
	return err
}

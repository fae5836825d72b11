package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"tend/api"
)

func (a *app) checkCommand() *cobra.Command {
	var config string
	var schema bool
	cmd := a.does(&cobra.Command{
		Use:     "check",
		Short:   "look for errors in the files, without a daemon",
		GroupID: groupFiles,
		Long: `Reads the configuration and says everything that is wrong with it. With --json
it prints what it understood: every program with every key that is in force.
Warnings don't fail.`,
		Example: `  tend check
  tend check -c conf.d
  tend check --schema > tend.schema.json`,
		Args:              noArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
	}, func(context.Context, *cobra.Command, []string) error {
		if schema {
			if a.deps.Schema == nil {
				return failed("the JSON Schema isn't built in")
			}
			_, err := a.out.Write(a.deps.Schema())
			return err
		}
		return a.check(config)
	})
	cmd.Flags().StringVarP(&config, "config", "c", "", "`path` of a file, or of a folder of files")
	cmd.Flags().BoolVar(&schema, "schema", false, "print the JSON Schema of tend.toml")
	a.jsonFlag(cmd)
	return cmd
}

func (a *app) check(config string) error {
	if a.deps.Check == nil {
		return failed("check isn't built in")
	}
	c, err := a.deps.Check(config)
	if err != nil {
		return err
	}
	if a.json {
		if err := a.printJSON(c); err != nil {
			return err
		}
		if !c.OK {
			return exits(exitFailed)
		}
		return nil
	}
	if a.diagnose(c.Diagnostics) > 0 {
		return exits(exitFailed)
	}
	if !c.OK {
		return failed("the configuration can't be used")
	}
	fmt.Fprintln(a.out, a.out.paint(green, "✓")+" "+checkSum(c, config))
	return nil
}

// checkSum returns what c understood: "tend.toml: 4 programs, 7 instances".
func checkSum(c *api.Check, config string) string {
	programs := make(map[any]bool)
	for _, p := range c.Programs {
		programs[p["program"]] = true
	}
	sum := count(len(programs), "program") + ", " + count(len(c.Programs), "instance")
	warnings, notes := 0, 0
	for _, d := range c.Diagnostics {
		if d.Severity == "info" {
			notes++
		} else {
			warnings++
		}
	}
	if warnings > 0 {
		sum += ", " + count(warnings, "warning")
	}
	if notes > 0 {
		sum += ", " + count(notes, "note")
	}
	switch {
	case len(c.Files) > 0:
		files, _ := fileNames(c.Files)
		sum = files + ": " + sum
	case config != "":
		sum = clean(config) + ": " + sum
	}
	return sum
}

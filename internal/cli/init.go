package cli

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
)

// example is the file that init writes. It must load without a complaint.
//
//go:embed example.toml
var example []byte

func (a *app) initCommand() *cobra.Command {
	return a.does(&cobra.Command{
		Use:     "init [PATH]",
		Short:   "write a tend.toml to begin with",
		GroupID: groupFiles,
		Long: `Writes a commented example to PATH, tend.toml in this folder by default. A file
that is there already is left alone.`,
		Example: `  tend init
  tend init deploy/tend.toml`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 1 {
				return misused("init takes one path, not %d", len(args))
			}
			return nil
		},
	}, func(_ context.Context, _ *cobra.Command, args []string) error {
		path := "tend.toml"
		if len(args) == 1 {
			path = args[0]
		}
		return a.init(path)
	})
}

func (a *app) init(path string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if errors.Is(err, fs.ErrExist) {
		return &failure{exitFailed, clean(path) + " is there already", "look at it: tend check -c " + clean(path)}
	}
	if err != nil {
		return err
	}
	_, err = f.Write(example)
	if err = errors.Join(err, f.Close()); err != nil {
		os.Remove(path)
		return err
	}
	if a.deps.Check != nil {
		c, err := a.deps.Check(path)
		if err != nil {
			return err
		}
		if a.diagnose(c.Diagnostics) > 0 {
			return exits(exitFailed)
		}
	}
	fmt.Fprintf(a.out, "%s wrote %s\n", a.out.paint(green, "✓"), clean(path))
	config := ""
	if path != "tend.toml" {
		config = " -c " + clean(path)
	}
	fmt.Fprintf(a.out, "  put your programs in, then: tend check%s; tend up%s\n", config, config)
	for _, other := range []string{"tend.ini", "Procfile"} {
		if _, err := os.Stat(filepath.Join(filepath.Dir(path), other)); err == nil && filepath.Base(path) == "tend.toml" {
			a.note(other + " beside it isn't read any more: tend.toml comes first")
		}
	}
	return nil
}

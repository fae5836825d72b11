// Package conf reads configuration files of every format and makes one
// [spec.Set] of them.
//
// A load goes in three steps. A format's reader turns the text of a file into
// sections of entries: keys and values with their places (toml.go, ini.go,
// procfile.go). The load gathers them over includes and folders (load.go).
// Then each section is applied to a program by the field table of package
// spec (apply.go). What is wrong becomes a [Diagnostic] with its place; all of
// it is reported, and a set is returned only when no error was found.
//
// A file of supervisord is another matter: package svconf reads it as supervisord
// does, and supervisord.go maps what that comes to. import.go goes the other way
// and writes what was loaded, from whatever format, as a tend.toml.
//
// The package reads files and nothing else: it watches nothing and doesn't know
// what runs. Users are looked up for supervisord's files only, since supervisord
// refuses those that name others.
package conf

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"unicode/utf8"

	"tend/internal/spec"
	"tend/internal/svconf"
)

// Options say what to load, and for whom.
type Options struct {
	Path    string   // a file, or a folder of *.toml and *.ini
	Environ []string // NAME=value, for substitution
	Root    bool     // refuse files that others than root and the owner may write

	// Machine is where a file of supervisord is read, but for its Path, Environ and
	// Earlier. nil is this machine, here and now.
	Machine *svconf.Options

	// Override are options of supervisord's own section, from its command line.
	Override map[string]string
}

// A Result is what a load came to.
type Result struct {
	Path        string       // as it was given
	Set         *spec.Set    // nil when there are errors
	Files       []string     // every file that was read, absolute, in reading order
	Watch       []string     // files and folders whose change can change the result, absolute, sorted
	DropIns     []string     // folders in which a new *.toml would be read, absolute
	Diagnostics []Diagnostic // in the order of the files and their lines

	// Supervisord is what a file of supervisord's says beyond its programs, nil for
	// those of another format.
	Supervisord *svconf.Config
}

// OK reports whether there is a set: there may be warnings, but no error.
func (r *Result) OK() bool { return r.Set != nil }

// Load reads the configuration at o.Path and everything it includes. It finds
// all errors before it returns, and applies nothing in part: with any error,
// Result.Set is nil.
func Load(o Options) *Result { return new(Loader).Load(o) }

// places are where [Find] looks after the current folder.
var places = []string{"/etc/tend/tend.toml", "/etc/supervisor/supervisord.conf", "/etc/supervisord.conf"}

// Find returns the configuration to use where none was named: $TEND_CONFIG,
// else tend.toml, tend.ini or Procfile in cwd, else that of the system. It
// doesn't read it. The order is the same for root: what protects root from a
// stranger's file is the check of [Options.Root].
func Find(cwd string, getenv func(string) string, root bool) (string, error) {
	if path := getenv("TEND_CONFIG"); path != "" {
		return path, nil
	}
	var unreadable error
	exists := func(path string) bool {
		info, err := os.Stat(path)
		if err != nil && !errors.Is(err, os.ErrNotExist) && unreadable == nil {
			unreadable = err
		}
		return err == nil && !info.IsDir()
	}
	for _, name := range []string{"tend.toml", "tend.ini", "Procfile"} {
		if path := filepath.Join(cwd, name); exists(path) {
			return path, nil
		}
	}
	for _, path := range places {
		if exists(path) {
			return path, nil
		}
	}
	if unreadable != nil {
		return "", fmt.Errorf("cannot find a configuration: %w", unreadable)
	}
	return "", fmt.Errorf("cannot find a configuration: there is no tend.toml, tend.ini or Procfile in %s, and none in /etc; make one with tend init, or name one with -c", cwd)
}

// Command returns the set of "tend run -- argv…": one program, named after the
// command, that runs in dir.
func Command(argv []string, dir string) *spec.Set {
	name := "program"
	if len(argv) > 0 {
		name = commandName(argv[0])
	}
	p := spec.New(name)
	p.Command = spec.Command{Argv: argv}
	p.Directory = dir
	return &spec.Set{Daemon: newDaemon(), Programs: []*spec.Program{p}}
}

// commandName makes a valid name of the command at path.
func commandName(path string) string {
	name := strings.Map(func(r rune) rune {
		if r == utf8.RuneError || r != '.' && spec.CheckName(string(r), false) != "" {
			return '-'
		}
		return r
	}, filepath.Base(path))
	if runes := []rune(name); len(runes) > 64 {
		name = string(runes[:64])
	}
	if spec.CheckName(name, false) != "" || strings.Trim(name, "-") == "" {
		return "program"
	}
	return name
}

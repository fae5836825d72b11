package main

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"tend/internal/cli"
	"tend/internal/conf"
	"tend/internal/daemon"
	"tend/internal/supervisorctl"
	"tend/internal/svconf"
)

// spoken is the version of supervisord that -v prints, as scripts compare it.
const spoken = "4.2.5"

// byName does what the name asks for by which the binary was called, or its first
// argument: what people have written for supervisord goes on working when a link
// of that name leads here. A daemon that is under a guard already has its own
// command line, whatever it is called.
func byName(args []string) (status int, done bool) {
	if len(args) == 0 || daemon.Begun() {
		return 0, false
	}
	name, rest := filepath.Base(args[0]), args
	if len(args) > 1 && (args[1] == "supervisorctl" || args[1] == "supervisord") && name != "supervisorctl" && name != "supervisord" {
		name, rest = args[1], append([]string{args[0] + " " + args[1]}, args[2:]...)
	}
	switch name {
	case "supervisorctl":
		return supervisorctl.Main(rest, os.Stdin, os.Stdout, os.Stderr, os.Environ()), true
	case "supervisord":
		return superviseMain(rest), true
	}
	return 0, false
}

// A svFlag is one of supervisord's flags. does is false for those without an
// effect here.
type svFlag struct {
	short string
	long  string
	value bool
	does  bool
}

var svFlags = []svFlag{
	{"c", "configuration", true, true},
	{"n", "nodaemon", false, true},
	{"h", "help", false, true},
	{"?", "", false, true},
	{"v", "version", false, true},
	{"j", "pidfile", true, true},
	{"l", "logfile", true, true},
	{"i", "identifier", true, true},
	{"d", "directory", true, true},
	{"e", "loglevel", true, true},
	{"s", "silent", false, false},
	{"u", "user", true, false},
	{"m", "umask", true, false},
	{"y", "logfile_maxbytes", true, false},
	{"z", "logfile_backups", true, false},
	{"q", "childlogdir", true, false},
	{"k", "nocleanup", false, false},
	{"a", "minfds", true, false},
	{"t", "strip_ansi", false, false},
	{"", "minprocs", true, false},
	{"", "profile_options", true, false},
}

const svUsage = `supervisord -- run a set of programs as daemons. This is tend, which takes its place.

Usage: %s [options]

Options:
-c/--configuration FILENAME -- configuration file path (searches if not given)
-n/--nodaemon -- run in the foreground (same as 'nodaemon=true' in config file)
-h/--help -- print this usage message and exit
-v/--version -- print the version of supervisord that is spoken and exit
-d/--directory DIRECTORY -- directory to chdir to when daemonized
-l/--logfile FILENAME -- what the daemon says goes there when daemonized
-e/--loglevel LEVEL -- critical, error, warn, info, debug, trace or blather
-j/--pidfile FILENAME -- write a pid file
-i/--identifier STR -- identifier told to clients

Accepted, and named as without effect: -s -u -m -y -z -q -k -a -t --minprocs
--profile_options
`

// A svCommand is supervisord's command line as it was understood.
type svCommand struct {
	given map[string]string // by the long name, "h" for -?
	idle  []string          // flags without effect
}

// parseSupervisord reads supervisord's flags as Python's getopt does.
func parseSupervisord(args []string) (svCommand, error) {
	c := svCommand{given: make(map[string]string)}
	take := func(f svFlag, as, value string) error {
		name := cmp.Or(f.long, "help")
		if _, twice := c.given[name]; twice && f.value {
			return fmt.Errorf("conflicting command line option '%s'", as)
		}
		c.given[name] = value
		if !f.does {
			c.idle = append(c.idle, as)
		}
		return nil
	}
	for len(args) > 0 && len(args[0]) > 1 && args[0][0] == '-' {
		arg := args[0]
		args = args[1:]
		if arg == "--" {
			break
		}
		if long, ok := strings.CutPrefix(arg, "--"); ok {
			name, value, has := strings.Cut(long, "=")
			var found []svFlag
			for _, f := range svFlags {
				if f.long == name {
					found = []svFlag{f}
					break
				}
				if f.long != "" && strings.HasPrefix(f.long, name) {
					found = append(found, f)
				}
			}
			switch {
			case len(found) == 0:
				return c, fmt.Errorf("option --%s not recognized", name)
			case len(found) > 1:
				return c, fmt.Errorf("option --%s not a unique prefix", name)
			case has && !found[0].value:
				return c, fmt.Errorf("option --%s must not have an argument", found[0].long)
			case found[0].value && !has:
				if len(args) == 0 {
					return c, fmt.Errorf("option --%s requires argument", found[0].long)
				}
				value, args = args[0], args[1:]
			}
			if err := take(found[0], "--"+found[0].long, value); err != nil {
				return c, err
			}
			continue
		}
		for cluster := arg[1:]; cluster != ""; {
			i := slices.IndexFunc(svFlags, func(f svFlag) bool { return f.short == cluster[:1] })
			if i < 0 {
				return c, fmt.Errorf("option -%s not recognized", cluster[:1])
			}
			f, value := svFlags[i], ""
			cluster = cluster[1:]
			if f.value {
				if value, cluster = cluster, ""; value == "" {
					if len(args) == 0 {
						return c, fmt.Errorf("option -%s requires argument", f.short)
					}
					value, args = args[0], args[1:]
				}
			}
			if err := take(f, "-"+f.short, value); err != nil {
				return c, err
			}
		}
	}
	if len(args) > 0 {
		return c, fmt.Errorf("positional arguments are not supported: ['%s']", strings.Join(args, "', '"))
	}
	return c, nil
}

// levels are supervisord's, as ours.
var levels = map[string]string{
	"critical": "error", "error": "error", "warn": "warn", "info": "info", "debug": "debug", "trace": "debug", "blather": "debug",
}

// superviseMain is supervisord, as far as starting goes. The daemon that it starts
// is that of tend run, under the name of tend, so that neither the guard nor the
// daemon reads supervisord's flags again.
func superviseMain(args []string) int {
	self := args[0]
	fail := func(err error) int {
		fmt.Fprintf(os.Stderr, "Error: %s\nFor help, use %s -h\n", strings.TrimSpace(err.Error()), self)
		return 2
	}
	c, err := parseSupervisord(args[1:])
	if err != nil {
		return fail(err)
	}
	has := func(name string) bool { _, ok := c.given[name]; return ok }
	switch {
	case has("help"):
		fmt.Printf(svUsage, self)
		return 0
	case has("version"):
		fmt.Println(spoken)
		return 0
	}
	o := cli.RunOptions{Config: c.given["configuration"], Identifier: c.given["identifier"], State: os.Getenv("TEND_STATE")}
	if o.Config == "" {
		if o.Config, err = findSupervisord(self); err != nil {
			return fail(err)
		}
	}
	if has("loglevel") {
		if o.LogLevel = levels[strings.ToLower(c.given["loglevel"])]; o.LogLevel == "" {
			return fail(fmt.Errorf("invalid value for --loglevel '%s': bad logging level name '%s'", c.given["loglevel"], c.given["loglevel"]))
		}
	}
	config, err := loadSupervisord(o.Config)
	if err != nil {
		return fail(err)
	}
	if o.PIDFile, err = filepath.Abs(cmp.Or(c.given["pidfile"], config.Daemon.PIDFile)); err != nil {
		return fail(err)
	}
	foreground := has("nodaemon") || config.Daemon.NoDaemon
	if foreground {
		for _, name := range []string{"logfile", "directory"} {
			if has(name) {
				c.idle = append(c.idle, "--"+name+" in the foreground")
			}
		}
	}
	if len(c.idle) > 0 {
		fmt.Fprintf(os.Stderr, "tend: accepted, without effect here: %s\n", strings.Join(c.idle, ", "))
	}
	if foreground {
		return run(context.Background(), o)
	}
	logfile := config.Daemon.LogFile
	if has("logfile") {
		logfile = c.given["logfile"]
	}
	if err := detach(o, logfile, c.given["directory"]); err != nil {
		return fail(err)
	}
	return 0
}

// noConfig are supervisord's words.
const noConfig = "No config file found at default paths; use the -c option to specify a config file at a different path"

// findSupervisord returns the configuration that supervisord takes when none is
// named. self is how the program was called.
func findSupervisord(self string) (string, error) {
	if path, err := exec.LookPath(self); err == nil {
		self = path
	}
	parent := filepath.Join(filepath.Dir(self), "..")
	for _, path := range []string{
		filepath.Join(parent, "etc", "supervisord.conf"), filepath.Join(parent, "supervisord.conf"),
		"supervisord.conf", filepath.Join("etc", "supervisord.conf"),
		"/etc/supervisord.conf", "/etc/supervisor/supervisord.conf",
	} {
		if _, err := os.Stat(path); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("%s", noConfig)
}

// loadSupervisord reads a configuration, to say what is wrong with it where
// somebody sees that.
func loadSupervisord(path string) (*svconf.Config, error) {
	if _, err := os.Stat(path); err != nil {
		return nil, fmt.Errorf("could not find config file %s", path)
	}
	r := conf.Load(conf.Options{Path: path, Environ: os.Environ(), Root: os.Geteuid() == 0})
	for _, d := range r.Diagnostics {
		if d.Severity == conf.Error {
			return nil, fmt.Errorf("%s", d.Message)
		}
	}
	if !r.OK() || r.Supervisord == nil {
		return nil, fmt.Errorf("%s is no supervisord.conf; tend run takes it", path)
	}
	return r.Supervisord, nil
}

// detach starts the daemon in the background, and returns when it is up, or with
// why it isn't.
func detach(o cli.RunOptions, logfile, dir string) error {
	exe, err := os.Executable()
	if err == nil {
		o.Config, err = filepath.Abs(o.Config)
	}
	if err != nil {
		return err
	}
	if logfile == "syslog" {
		fmt.Fprintln(os.Stderr, "tend: logfile=syslog is not written to yet: what the daemon says is lost; tend events shows it")
		logfile = os.DevNull
	}
	out, err := os.OpenFile(logfile, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return fmt.Errorf("could not open the log file %s: %w", logfile, err)
	}
	defer out.Close()
	ready, theirs, err := os.Pipe()
	if err != nil {
		return err
	}
	defer ready.Close()
	o.Detached = true
	cmd := exec.Command(exe)
	cmd.Args = append(daemonArgs(o), "--ready-fd", "3")
	cmd.Dir = dir
	cmd.Stdout, cmd.Stderr = out, out
	cmd.ExtraFiles = []*os.File{theirs} // descriptor 3
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	err = cmd.Start()
	theirs.Close()
	if err != nil {
		return err
	}
	said, err := io.ReadAll(ready)
	switch why, wrong := bytes.CutPrefix(said, []byte("error: ")); {
	case err != nil:
		return fmt.Errorf("cannot hear from the daemon: %w", err)
	case string(said) == "ready\n":
		return cmd.Process.Release()
	case wrong:
		_ = cmd.Wait() // it has said why
		return fmt.Errorf("%s", why)
	}
	return fmt.Errorf("the daemon ended at once: %v; see %s", cmd.Wait(), logfile)
}

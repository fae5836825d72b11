package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"tend/internal/cli"
	"tend/internal/conf"
	"tend/internal/daemon"
	"tend/internal/proc"
	"tend/internal/supervisorctl"
	"tend/internal/svconf"
)

// spoken is the version of supervisord that -v prints, as scripts compare it.
const spoken = "4.2.5"

// linked is what the name asks for by which the binary was called: what people have
// written for supervisord goes on working when a link of that name leads here. A
// daemon that is under a guard already has its own command line, whatever it is
// called.
func linked(args []string) (status int, done bool) {
	if len(args) == 0 || daemon.Begun() {
		return 0, false
	}
	switch name := filepath.Base(args[0]); name {
	case "supervisorctl", "supervisord":
		return byName(name, args), true
	}
	return 0, false
}

// byName is supervisord or supervisorctl. args begin with how that was called.
func byName(name string, args []string) int {
	if name == "supervisorctl" {
		return supervisorctl.Main(args, os.Stdin, os.Stdout, os.Stderr, os.Environ())
	}
	return superviseMain(args)
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
	{"s", "silent", false, true},
	{"u", "user", true, true},
	{"m", "umask", true, true},
	{"y", "logfile_maxbytes", true, true},
	{"z", "logfile_backups", true, true},
	{"q", "childlogdir", true, true},
	{"k", "nocleanup", false, false},
	{"a", "minfds", true, true},
	{"t", "strip_ansi", false, true},
	{"", "minprocs", true, true},
	{"", "profile_options", true, false},
}

const svUsage = `supervisord -- run a set of programs as daemons. This is tend, which takes its place.

Usage: %s [options]

Options:
-c/--configuration FILENAME -- configuration file path (searches if not given)
-n/--nodaemon -- run in the foreground (same as 'nodaemon=true' in config file)
-h/--help -- print this usage message and exit
-v/--version -- print the version of supervisord that is spoken and exit
-s/--silent -- no log on standard output, in the foreground
-l/--logfile FILENAME -- the log; -y/--logfile_maxbytes BYTES and
    -z/--logfile_backups NUM say when it is rotated, and how many are kept
-e/--loglevel LEVEL -- critical, error, warn, info, debug, trace or blather
-j/--pidfile FILENAME -- write a pid file
-i/--identifier STR -- identifier told to clients
-q/--childlogdir DIRECTORY -- where the programs' AUTO logs are
-t/--strip_ansi -- strip escape sequences from the programs' output
-u/--user USER -- run programs as this user, or number, if they have none
-d/--directory DIRECTORY -- directory to chdir to when daemonized
-m/--umask UMASK -- umask when daemonized (default is 022)
-a/--minfds NUM, --minprocs NUM -- limits that programs can rely on

Accepted, without effect: -k/--nocleanup (no log is ever removed at a start),
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

// levels are the values of loglevel.
var levels = []string{"critical", "error", "warn", "info", "debug", "trace", "blather"}

// overrides returns the flags as options of [supervisord], NAME=VALUE, in place of
// those of the file. Their paths are meant from here.
func (c svCommand) overrides() ([]string, error) {
	var list []string
	for name, value := range c.given {
		switch name {
		case "configuration", "help", "version", "profile_options":
			continue
		case "nodaemon", "silent", "nocleanup", "strip_ansi":
			value = "true"
		case "loglevel":
			if !slices.Contains(levels, strings.ToLower(value)) {
				return nil, fmt.Errorf("invalid value for --loglevel '%s': bad logging level name '%s'", value, value)
			}
		case "logfile", "pidfile", "childlogdir", "directory":
			if name == "logfile" && value == "syslog" {
				break
			}
			path, err := filepath.Abs(value)
			if err != nil {
				return nil, err
			}
			value = path
		}
		list = append(list, name+"="+value)
	}
	slices.Sort(list)
	return list, nil
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
	o := cli.RunOptions{Supervisord: true, Config: c.given["configuration"], State: os.Getenv("TEND_STATE")}
	if o.Override, err = c.overrides(); err != nil {
		return fail(err)
	}
	if o.Config == "" {
		if o.Config, err = findSupervisord(self); err != nil {
			return fail(err)
		}
	}
	config, err := loadSupervisord(o)
	if err != nil {
		return fail(err)
	}
	d := config.Daemon
	if d.NoDaemon {
		for _, name := range []string{"directory", "umask"} {
			if has(name) {
				c.idle = append(c.idle, "--"+name+" in the foreground")
			}
		}
	}
	if len(c.idle) > 0 {
		fmt.Fprintf(os.Stderr, "tend: accepted, without effect here: %s\n", strings.Join(c.idle, ", "))
	}
	if err := openable(d.LogFile); err != nil {
		return fail(err)
	}
	if err := raiseLimits(d); err != nil {
		return fail(err)
	}
	if d.NoDaemon {
		return run(context.Background(), o)
	}
	if err := detach(o, d); err != nil {
		return fail(err)
	}
	return 0
}

// openable tries to open the log, while there is somebody to be told. Those that
// are open already, as /dev/stdout, need no right to be opened.
func openable(path string) error {
	if path == "syslog" || strings.HasPrefix(path, "/dev/") || strings.HasPrefix(path, "/proc/") {
		return nil
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND|syscall.O_NONBLOCK, 0o644)
	if errors.Is(err, syscall.ENXIO) { // a named pipe without a reader
		return nil
	}
	if err != nil {
		return fmt.Errorf("could not open the log file %s: %w", path, err)
	}
	return f.Close()
}

// raiseLimits raises the limits that programs get to minfds and minprocs, as far
// as they are lower.
func raiseLimits(d svconf.Daemon) error {
	files, _, err := proc.RaiseNoFile()
	if err != nil {
		return err
	}
	var procs syscall.Rlimit
	if err := syscall.Getrlimit(unix.RLIMIT_NPROC, &procs); err != nil {
		return fmt.Errorf("cannot read the limit of processes: %w", err)
	}
	for _, l := range []struct {
		option     string
		resource   int
		min        int
		soft, hard uint64
	}{
		{"minfds", unix.RLIMIT_NOFILE, d.MinFDs, files.Soft, files.Hard},
		{"minprocs", unix.RLIMIT_NPROC, d.MinProcs, procs.Cur, procs.Max},
	} {
		if l.min < 0 || l.soft >= uint64(l.min) {
			continue
		}
		// By syscall: it would give programs the limit that it found otherwise.
		limit := &syscall.Rlimit{Cur: uint64(l.min), Max: max(l.hard, uint64(l.min))}
		if err := syscall.Setrlimit(l.resource, limit); err != nil {
			return fmt.Errorf("cannot raise the limit to %s = %d: it is %d, and may be raised to %d: %w (raise it where supervisord is started, or lower %[1]s)", l.option, l.min, l.soft, l.hard, err)
		}
	}
	return nil
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
func loadSupervisord(o cli.RunOptions) (*svconf.Config, error) {
	if _, err := os.Stat(o.Config); err != nil {
		return nil, fmt.Errorf("could not find config file %s", o.Config)
	}
	r := conf.Load(conf.Options{Path: o.Config, Environ: os.Environ(), Root: os.Geteuid() == 0, Override: overrides(o.Override)})
	for _, d := range r.Diagnostics {
		if d.Severity == conf.Error {
			return nil, fmt.Errorf("%s", d.Message)
		}
	}
	if !r.OK() || r.Supervisord == nil {
		return nil, fmt.Errorf("%s is no supervisord.conf; tend run takes it", o.Config)
	}
	return r.Supervisord, nil
}

// detach starts the daemon in the background, and returns when it is up, or with
// why it isn't.
func detach(o cli.RunOptions, d svconf.Daemon) error {
	exe, err := os.Executable()
	if err == nil {
		o.Config, err = filepath.Abs(o.Config)
	}
	if err != nil {
		return err
	}
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer null.Close()
	// What is no line of the log, as the last words of a daemon, goes there too.
	last := null
	if info, err := os.Stat(d.LogFile); err == nil && info.Mode().IsRegular() {
		f, err := os.OpenFile(d.LogFile, os.O_WRONLY|os.O_APPEND, 0)
		if err != nil {
			return err
		}
		defer f.Close()
		last = f
	}
	ready, theirs, err := os.Pipe()
	if err != nil {
		return err
	}
	defer ready.Close()
	o.Detached = true
	dir := ""
	if d.Directory != nil {
		// Its relative paths are meant from here all the same.
		dir = *d.Directory
		o.Override = append(o.Override, "logfile="+d.LogFile, "pidfile="+d.PIDFile)
	}
	cmd := exec.Command(exe)
	cmd.Args = append(daemonArgs(o), "--ready-fd", "3")
	cmd.Dir = dir
	cmd.Stdout, cmd.Stderr = null, last
	cmd.ExtraFiles = []*os.File{theirs} // descriptor 3
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	syscall.Umask(d.Umask)
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
	return fmt.Errorf("the daemon ended at once: %v; see %s", cmd.Wait(), d.LogFile)
}

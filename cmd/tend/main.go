// Command tend keeps programs running: the guard, the daemon, and their command
// line.
package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"tend/api"
	"tend/internal/cli"
	"tend/internal/conf"
	"tend/internal/daemon"
	"tend/internal/doctor"
	"tend/internal/guard"
	"tend/internal/tui"
)

// version is set by the linker for releases.
var version = ""

func main() {
	if guard.Is() {
		os.Exit(guard.Main())
	}
	if status, done := linked(os.Args); done {
		os.Exit(status)
	}
	os.Exit(cli.Main(os.Args[1:], cli.Deps{
		Version: versionText(),
		Run:     run,
		ByName: func(name string, args []string) int {
			return byName(name, append([]string{os.Args[0] + " " + name}, args...))
		},
		Check:    daemon.Check,
		Import:   daemon.Import,
		StateDir: daemon.StateDir,
		SelfTest: daemon.SelfTest,
		Schema:   conf.Schema,
		Doctor:   examine,
		Top:      top,
	}))
}

// examine is the command "doctor".
func examine(o cli.DoctorOptions) *api.Doctor {
	opts := doctor.Options{State: o.State, Logs: o.Logs, Unasked: o.Unasked}
	if d := o.Daemon; d != nil {
		info := &doctor.DaemonInfo{PID: d.PID, GuardPID: d.Guard, Keeper: d.Keeper, Tree: d.Tree, Instances: d.Instances}
		for _, i := range o.Instances {
			if i.PID != 0 {
				info.Programs = append(info.Programs, doctor.ProgramInfo{Name: i.Name, PID: i.PID, PTY: i.PTY})
			}
		}
		opts.Daemon = info
	}
	return doctor.Examine(opts)
}

// top is the command "top".
func top(ctx context.Context, o cli.TopOptions) error {
	return tui.Run(ctx, tui.Options{Client: api.Dial(o.Socket), Place: o.Place, NoColor: o.NoColor, Filter: o.Filter})
}

// run is the command "run": this process becomes the guard, which starts the
// daemon by the same command.
func run(_ context.Context, o cli.RunOptions) int {
	if !o.NoGuard && !daemon.Begun() {
		err := guard.Become(daemonArgs(o), o.ReadyFD)
		fmt.Fprintln(os.Stderr, "tend: "+err.Error())
		fmt.Fprintln(os.Stderr, "hint: tend run --no-guard does without")
		return 1
	}
	opts := daemon.Options{
		Supervisord: o.Supervisord, Override: overrides(o.Override),
		Config: o.Config, Command: o.Command, State: o.State, Version: versionText(),
		Stdout: os.Stdout, Stderr: os.Stderr,
	}
	if fd, err := strconv.Atoi(os.Getenv(guard.ReadyVariable)); err == nil {
		o.ReadyFD = fd
	}
	os.Unsetenv(guard.ReadyVariable)
	if o.ReadyFD > 0 {
		unix.CloseOnExec(o.ReadyFD)
		opts.Ready = os.NewFile(uintptr(o.ReadyFD), "ready")
	}
	return daemon.Run(opts)
}

// daemonArgs returns the command line by which the guard starts the daemon. The
// descriptor of who waits for it goes to the first one only, which finds its
// number in the environment.
func daemonArgs(o cli.RunOptions) []string {
	name := os.Args[0]
	if base := filepath.Base(name); base == "supervisord" || base == "supervisorctl" {
		name = "tend" // what is started next mustn't take its arguments for supervisord's
	}
	args := []string{name, "run"}
	if o.Supervisord {
		args = append(args, "--as-supervisord")
	}
	for _, option := range o.Override {
		args = append(args, "--override", option)
	}
	if o.Config != "" {
		args = append(args, "--config", o.Config)
	}
	if o.State != "" {
		args = append(args, "--state", o.State)
	}
	if len(o.Command) > 0 {
		args = append(append(args, "--"), o.Command...)
	}
	return args
}

// overrides returns NAME=VALUE by name.
func overrides(list []string) map[string]string {
	m := make(map[string]string, len(list))
	for _, option := range list {
		name, value, _ := strings.Cut(option, "=")
		m[name] = value
	}
	return m
}

func versionText() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "devel"
}

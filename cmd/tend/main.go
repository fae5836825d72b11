// Command tend keeps programs running: the daemon and its command line.
package main

import (
	"context"
	"os"
	"runtime/debug"

	"golang.org/x/sys/unix"

	"tend/api"
	"tend/internal/cli"
	"tend/internal/conf"
	"tend/internal/daemon"
	"tend/internal/doctor"
)

// version is set by the linker for releases.
var version = ""

func main() {
	os.Exit(cli.Main(os.Args[1:], cli.Deps{
		Version:  versionText(),
		Run:      run,
		Check:    daemon.Check,
		StateDir: daemon.StateDir,
		Schema:   conf.Schema,
		Doctor:   examine,
	}))
}

// examine is the command "doctor".
func examine(o cli.DoctorOptions) *api.Doctor {
	opts := doctor.Options{State: o.State, Logs: o.Logs, Unasked: o.Unasked}
	if d := o.Daemon; d != nil {
		info := &doctor.DaemonInfo{PID: d.PID, GuardPID: o.GuardPID, Keeper: o.Keeper, Tree: d.Tree, Instances: d.Instances}
		for _, i := range o.Instances {
			if i.PID != 0 {
				info.Programs = append(info.Programs, doctor.ProgramInfo{Name: i.Name, PID: i.PID})
			}
		}
		opts.Daemon = info
	}
	return doctor.Examine(opts)
}

// run is the command "run".
func run(_ context.Context, o cli.RunOptions) int {
	opts := daemon.Options{
		Config: o.Config, Command: o.Command, State: o.State, Version: versionText(),
		Stdout: os.Stdout, Stderr: os.Stderr,
	}
	if o.ReadyFD > 0 {
		unix.CloseOnExec(o.ReadyFD)
		opts.Ready = os.NewFile(uintptr(o.ReadyFD), "ready")
	}
	return daemon.Run(opts)
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

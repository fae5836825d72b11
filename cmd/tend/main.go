// Command tend keeps programs running: the daemon and its command line.
package main

import (
	"context"
	"os"
	"runtime/debug"

	"golang.org/x/sys/unix"

	"tend/internal/cli"
	"tend/internal/conf"
	"tend/internal/daemon"
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
	}))
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

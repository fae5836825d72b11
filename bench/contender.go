package main

import (
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// A contender is one of those compared: how its users configure it, start it,
// change something under it, stop it and ask it. The zero value of a field says
// that it can't do that.
type contender struct {
	name string

	// version says which one is here; an error, that it isn't.
	version func() (string, error)

	// configure lays down in f.dir what guards f's programs.
	configure func(f *fleet) error

	// command is what starts the supervisor in the foreground.
	command func(f *fleet) []string

	// reconfigure writes that the program in the slot has changed.
	reconfigure func(f *fleet, slot int) error

	// A change that was written is put into force by a signal or by a command.
	reloadSignal  func(f *fleet, slot int) error
	reloadCommand func(f *fleet, slot int) []string

	// stop is the signal that makes the supervisor end its programs, then itself.
	stop syscall.Signal

	// statusCommand asks how every program is, and prints a line for each.
	statusCommand func(f *fleet) []string

	// statusAPI asks the same at a unix socket, over a connection that is kept open.
	statusAPI func(f *fleet) (socket string, ask func() error)

	// survival is how one sees that programs outlive the process that guards them.
	survival *survival
}

// survival belongs to a contender of two processes: a daemon that may die and be
// exchanged while the programs run on, and a guard that was started, and stays.
type survival struct {
	// daemonPID is that of the process that may die.
	daemonPID func(f *fleet) (int, error)

	// ask asks the daemon anything, over a connection of its own.
	ask func(f *fleet) error

	// running asks, in the same way, how many programs run.
	running func(f *fleet) (int, error)

	// upgrade is the command that has the daemon execute a binary in its place.
	upgrade func(f *fleet) []string

	// unguarded returns for how long nobody watched over the programs during the
	// latest upgrade, as the daemon itself tells.
	unguarded func(f *fleet) (time.Duration, error)
}

// A program is one guarded copy of the probe.
type program struct {
	slot   int
	change int  // which version of it this is: the configuration differs, the program doesn't
	exits  bool // at once, in place of sleeping for ever
}

func (p program) name() string { return fmt.Sprintf("p%04d", p.slot) }

// arg is the one argument of the probe.
func (p program) arg(b *board) string {
	arg := b.dir + ":" + strconv.Itoa(p.slot)
	if p.exits {
		arg += "x"
	}
	if p.change > 0 {
		arg += "," + strconv.Itoa(p.change)
	}
	return arg
}

// errAbsent says that a contender isn't installed.
var errAbsent = errors.New("not installed")

// needs returns errAbsent unless all the commands are there.
func needs(commands ...string) error {
	for _, c := range commands {
		if _, err := exec.LookPath(c); err != nil {
			return fmt.Errorf("%w: no %s (bench/install-peers installs it)", errAbsent, c)
		}
	}
	return nil
}

// path returns where the command is, which needs has found before.
func path(command string) string {
	p, err := exec.LookPath(command)
	if err != nil {
		return command
	}
	if abs, err := filepath.Abs(p); err == nil {
		return abs
	}
	return p
}

// packaged returns the version of a Debian package, for programs that don't tell theirs.
func packaged(name string) string {
	out, err := exec.Command("dpkg-query", "-W", "-f", "${Version}", name).Output()
	if err != nil {
		return "of unknown version"
	}
	return strings.TrimSpace(string(out))
}

package proc

import (
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// A Size is that of a terminal, in characters.
type Size struct{ Rows, Columns uint16 }

// OpenTerminal makes a pseudo-terminal (pty(7)) for a program that runs as cred,
// nil: as we do. What is written to the slave is read from the master, which
// doesn't block, and the other way round; both are the caller's. The slave's file
// is the program's own, so that it can open /dev/tty and its like by name. The
// error is a *SpawnError.
func OpenTerminal(cred *Credential, size Size) (master, slave int, err error) {
	const ptmx = "/dev/ptmx"
	master, err = unix.Open(ptmx, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return -1, -1, terminalError(&os.PathError{Op: "open", Path: ptmx, Err: err}, err)
	}
	defer func() {
		if err != nil {
			unix.Close(master)
		}
	}()
	if err := unix.IoctlSetPointerInt(master, unix.TIOCSPTLCK, 0); err != nil {
		return -1, -1, terminalError(os.NewSyscallError("unlocking it", err), err)
	}
	// Not by its name, which may be that of another one: the instance of devpts that
	// is mounted here needn't be the one of /dev/ptmx.
	fd, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(master), unix.TIOCGPTPEER, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC)
	if errno != 0 {
		return -1, -1, terminalError(os.NewSyscallError("opening the program's side", errno), errno)
	}
	slave = int(fd)
	if cred != nil {
		if err := unix.Fchown(slave, int(cred.UID), -1); err != nil {
			unix.Close(slave)
			return -1, -1, terminalError(fmt.Errorf("giving it to user %d: %w", cred.UID, err), err)
		}
	}
	if err := Resize(slave, size); err != nil {
		unix.Close(slave)
		return -1, -1, terminalError(err, err)
	}
	return master, slave, nil
}

// Resize gives a terminal another size. Programs in its foreground are sent
// SIGWINCH where it differs from the one before.
func Resize(fd int, size Size) error {
	err := unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: size.Rows, Col: size.Columns})
	return os.NewSyscallError("setting its size", err)
}

// terminalError says why there is no terminal, and what may be done about that.
func terminalError(err, errno error) *SpawnError {
	e := &SpawnError{Step: StepTerminal, Err: errno, why: "no terminal for it: " + err.Error()}
	switch errno {
	case unix.ENOENT, unix.ENODEV, unix.ENXIO, unix.EIO:
		e.hint = "pseudo-terminals need devpts: mount -t devpts -o ptmxmode=0666 devpts /dev/pts; or drop pty"
	case unix.ENOSPC:
		e.why = "no terminal for it: all pseudo-terminals are in use"
		if most, err := os.ReadFile("/proc/sys/kernel/pty/max"); err == nil {
			if n, err := strconv.Atoi(string(most[:max(len(most)-1, 0)])); err == nil {
				e.why += fmt.Sprintf(" (the limit of the system is %d)", n)
			}
		}
		e.hint = "raise sysctl kernel.pty.max, or the option max= of /dev/pts"
	case unix.EACCES, unix.EPERM:
		e.hint = "let the daemon's user open /dev/ptmx (mode 0666); for a program with another user run the daemon as root"
	}
	return e
}

package doctor

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"

	"tend/api"
)

// A feature is something of the kernel that tend uses, and how it is tried.
type feature struct {
	id       string // "kernel." in front
	name     string
	floor    string // the release of Linux that has it first
	required bool   // there is no other way
	without  string // what is done without it
	try      func() error
}

// features in the order of their age. What seccomp refuses, it refuses with
// EPERM or ENOSYS: then a version says nothing, and the trial says it.
var features = []feature{
	{"pidfd_open", "pidfd_open", "5.3", true, "", tryPidfdOpen},
	{"waitid_pidfd", "waitid(P_PIDFD)", "5.4", true, "", tryWaitidPidfd},
	{"clone3", "clone3", "5.3", false, "processes are made by clone", tryClone3},
	{"clone_into_cgroup", "CLONE_INTO_CGROUP", "5.7", false, "a process enters its cgroup before it executes its program", tryCloneIntoCgroup},
	{"close_range", "close_range", "5.9", true, "", tryCloseRange},
	{"pidfs", "pidfs", "6.9", false, "a process is recognised by pid, start time and boot", tryPidfs},
	{"signal_group", "PIDFD_SIGNAL_PROCESS_GROUP", "6.9", false, "a group is signalled by its number, or its processes one by one", trySignalGroup},
	{"pidfd_info", "PIDFD_GET_INFO", "6.13", false, "/proc is read", tryPidfdInfo},
	{"exit_info", "exit information of a pidfd", "6.15", false, "only a parent learns an exit status", tryExitInfo},
	{"splice", "splice", "2.6.17", false, "output is read and written", trySplice},
	{"landlock", "Landlock", "5.13", false, "read_only and read_write can't be kept", tryLandlock},
	{"subreaper", "child subreaper", "3.4", false, "orphans go to process 1", trySubreaper},
}

// kernel reports the release and which features work.
func (m *machine) kernel() []api.Finding {
	const area = "kernel"
	release := m.text("/proc/sys/kernel/osrelease")
	short := release
	if f := strings.SplitN(release, ".", 3); len(f) == 3 {
		short = f[0] + "." + f[1]
	}
	var missing []string
	var rest []found
	for _, f := range m.features {
		id := "kernel." + f.id
		switch err := f.try(); {
		case err == nil:
			rest = append(rest, ok(area, id, f.name, "since Linux "+f.floor))
		case f.required:
			rest = append(rest, problem(area, id, f.name+" doesn't work: "+reason(err),
				"tend needs it, and cannot run here", "use Linux "+f.floor+" or newer"+seccompHint(err)))
		default:
			missing = append(missing, f.name)
			rest = append(rest, ok(area, id, "no "+f.name, f.without+" ("+reason(err)+"; since Linux "+f.floor+")").value(0))
		}
	}
	title, detail := "Linux "+short+": all that tend uses is there", release
	if len(missing) > 0 {
		title = "Linux " + short + " without " + strings.Join(missing, ", ")
		detail = release + "; there is another way for each"
	}
	return append(list(ok(area, "kernel.release", title, detail)), list(rest...)...)
}

// reason returns an error in words.
func reason(err error) string {
	switch {
	case errors.Is(err, unix.ENOSYS), errors.Is(err, unix.ENOTTY):
		return "the kernel doesn't have it, or seccomp hides it"
	case errors.Is(err, unix.EPERM):
		return "it is refused, as by seccomp"
	}
	return err.Error()
}

func seccompHint(err error) string {
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.ENOSYS) {
		return ", or a newer container runtime: its seccomp profile may refuse it"
	}
	return ""
}

// withSelf calls do with a pidfd of this process.
func withSelf(do func(fd int) error) error {
	fd, err := unix.PidfdOpen(os.Getpid(), 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return do(fd)
}

func tryPidfdOpen() error { return withSelf(func(int) error { return nil }) }

// tryWaitidPidfd waits for ourselves: a kernel that knows the kind says that we
// aren't our child.
func tryWaitidPidfd() error {
	return withSelf(func(fd int) error {
		err := unix.Waitid(unix.P_PIDFD, fd, nil, unix.WEXITED|unix.WNOHANG, nil)
		if err == unix.ECHILD {
			return nil
		}
		return err
	})
}

// tryClone3 passes too few arguments: who knows the call says that.
func tryClone3() error {
	_, _, errno := unix.RawSyscall(unix.SYS_CLONE3, 0, 0, 0)
	if errno == unix.EINVAL {
		return nil
	}
	return errno
}

// tryCloneIntoCgroup asks for a process in the cgroup behind a descriptor that
// isn't open: EBADF comes from where the cgroup is looked up, and no process.
func tryCloneIntoCgroup() error {
	args := struct {
		flags, pidfd, childTID, parentTID uint64
		exitSignal, stack, stackSize, tls uint64
		setTID, setTIDSize, cgroup        uint64
	}{flags: unix.CLONE_INTO_CGROUP, exitSignal: uint64(unix.SIGCHLD), cgroup: 1 << 30}
	pid, _, errno := unix.RawSyscall(unix.SYS_CLONE3, uintptr(unsafe.Pointer(&args)), unsafe.Sizeof(args), 0)
	if errno == 0 && pid == 0 {
		unix.RawSyscall(unix.SYS_EXIT_GROUP, 0, 0, 0)
	}
	if errno == unix.EBADF {
		return nil
	}
	if errno == 0 {
		return errors.New("it was obeyed with a bad descriptor")
	}
	return errno
}

// tryCloseRange closes what can't be open.
func tryCloseRange() error { return unix.CloseRange(^uint(0)>>32, ^uint(0)>>32, 0) }

func tryPidfs() error {
	return withSelf(func(fd int) error {
		var st unix.Statfs_t
		if err := unix.Fstatfs(fd, &st); err != nil {
			return err
		}
		if st.Type != unix.PID_FS_MAGIC {
			return errors.New("pidfds have no file system of their own")
		}
		return nil
	})
}

// trySignalGroup sends nothing to the group that we may lead.
func trySignalGroup() error {
	return withSelf(func(fd int) error {
		err := unix.PidfdSendSignal(fd, 0, nil, unix.PIDFD_SIGNAL_PROCESS_GROUP)
		switch err {
		case unix.ESRCH:
			return nil // the flag is known, and we lead none
		case unix.EINVAL:
			return errors.New("the kernel doesn't know the flag")
		}
		return err
	})
}

func tryPidfdInfo() error {
	return withSelf(func(fd int) error {
		info := unix.PidfdInfo{Mask: unix.PIDFD_INFO_PID}
		if err := unix.IoctlPidfdInfo(fd, &info); err != nil {
			return err
		}
		if info.Pid != uint32(os.Getpid()) {
			return fmt.Errorf("it tells of pid %d, not %d", info.Pid, os.Getpid())
		}
		return nil
	})
}

// tryExitInfo asks for the exit status of a child after somebody else, here we,
// took it.
func tryExitInfo() error {
	const status = 7
	c, err := startChild(status)
	if err != nil {
		return err
	}
	defer c.close()
	if _, err := c.end(); err != nil {
		return err
	}
	if c.pidfd < 0 {
		return errors.New("no pidfd")
	}
	info := unix.PidfdInfo{Mask: unix.PIDFD_INFO_EXIT}
	err = unix.IoctlPidfdInfo(c.pidfd, &info)
	switch {
	case err == unix.ESRCH, err == nil && info.Mask&unix.PIDFD_INFO_EXIT == 0:
		return errors.New("it is forgotten once the parent has read it")
	case err != nil:
		return err
	case unix.WaitStatus(info.Exit_code).ExitStatus() != status:
		return fmt.Errorf("it tells %#x of a child that exited with %d", info.Exit_code, status)
	}
	return nil
}

// trySplice moves bytes from pipe to pipe, which needs no file system.
func trySplice() error {
	return withPipe(func(r, w int) error {
		var to [2]int
		if err := unix.Pipe2(to[:], unix.O_CLOEXEC); err != nil {
			return err
		}
		defer unix.Close(to[0])
		defer unix.Close(to[1])
		_, err := unix.Splice(r, nil, to[1], nil, len(spliced), unix.SPLICE_F_NONBLOCK)
		return err
	})
}

var spliced = []byte("tend doctor\n")

// withPipe calls do with a pipe that holds a few bytes.
func withPipe(do func(r, w int) error) error {
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
		return err
	}
	defer unix.Close(p[0])
	defer unix.Close(p[1])
	if _, err := unix.Write(p[1], spliced); err != nil {
		return err
	}
	return do(p[0], p[1])
}

// spliceTo moves bytes from a pipe into the file fd, and reads them back.
func spliceTo(fd int) error {
	return withPipe(func(r, _ int) error {
		offset := int64(0)
		n, err := unix.Splice(r, nil, fd, &offset, len(spliced), unix.SPLICE_F_NONBLOCK)
		if err != nil {
			return err
		}
		back := make([]byte, len(spliced))
		if got, err := unix.Pread(fd, back, 0); err != nil || int64(got) != n || !bytes.Equal(back[:got], spliced[:n]) {
			return errors.New("the bytes don't come back")
		}
		return nil
	})
}

func tryLandlock() error {
	abi, _, errno := unix.RawSyscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	switch {
	case errno == unix.EOPNOTSUPP:
		return errors.New("it is switched off at boot: lsm=")
	case errno != 0:
		return errno
	case abi == 0:
		return errors.New("it has no version")
	}
	return nil
}

// trySubreaper becomes one and gives it back: nothing was started in between
// that could be orphaned.
func trySubreaper() error {
	var was int
	if err := unix.Prctl(unix.PR_GET_CHILD_SUBREAPER, uintptr(unsafe.Pointer(&was)), 0, 0, 0); err != nil {
		return err
	}
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return err
	}
	if was == 0 {
		return unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)
	}
	return nil
}

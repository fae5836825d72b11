package proc

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// A Step is what was being done for an attempt when it failed.
type Step string

const (
	StepFork     Step = "fork"
	StepCgroup   Step = "cgroup"
	StepStdio    Step = "stdio"
	StepTerminal Step = "terminal"
	StepOOM      Step = "oom_score_adj"
	StepNice     Step = "nice"
	StepLimit    Step = "limit"
	StepUser     Step = "user"
	StepGroup    Step = "group"
	StepGroups   Step = "groups"
	StepDir      Step = "directory"
	StepPrivs    Step = "no_new_privileges"
	StepExec     Step = "command"
	StepWatch    Step = "watch"
)

// A SpawnError says why an attempt couldn't be started. Nothing of it runs.
type SpawnError struct {
	Step Step
	Path string // file, or value, that the step is about
	Err  error  // a syscall.Errno where the kernel refused

	why  string // instead of the sentence made of the above
	hint string
}

func (e *SpawnError) Unwrap() error { return e.Err }

// Error returns "cannot start: " and the reason.
func (e *SpawnError) Error() string {
	if e.why != "" {
		return "cannot start: " + e.why
	}
	what := string(e.Step)
	if e.Step == StepExec {
		what = ""
	}
	if e.Path != "" {
		what = strings.TrimPrefix(what+fmt.Sprintf(" %q", e.Path), " ")
	}
	if what != "" {
		what += ": "
	}
	return fmt.Sprintf("cannot start: %s%v", what, e.Err)
}

// Hint returns what may be done about it, "" when there is no telling.
func (e *SpawnError) Hint() string {
	if e.hint != "" {
		return e.hint
	}
	switch {
	case e.Err == unix.EMFILE:
		return "raise the limit of open descriptors of the daemon (ulimit -n)"
	case e.Err == unix.ENFILE:
		return "raise the system's limit, sysctl fs.file-max"
	case e.Err == unix.ENOMEM:
		return "memory is short; free some or add swap"
	case e.Step == StepWatch && e.Err == unix.ENOSPC:
		return "raise sysctl fs.epoll.max_user_watches"
	case e.Step == StepDir && errors.Is(e.Err, unix.ENOENT):
		return "create it, or change directory"
	case e.Err == unix.EPERM || e.Err == unix.EACCES:
		switch e.Step {
		case StepUser, StepGroup, StepGroups:
			return "run the daemon as root, or drop user and group"
		case StepNice, StepOOM, StepLimit:
			return "only a privileged daemon may set this; use a value that asks for less"
		case StepDir:
			return "the program's user must be able to enter it"
		}
	}
	return ""
}

// forkError explains why no process could be made.
func forkError(err error, cred *Credential) *SpawnError {
	e := &SpawnError{Step: StepFork, Err: err}
	switch err {
	case unix.EAGAIN:
		e.refused(cred)
		e.why = "cannot fork: " + e.why
	case unix.EMFILE, unix.ENFILE:
		e.why = err.Error() // "too many open files": it is the pidfd
	default:
		e.why = fmt.Sprintf("cannot fork: %v", err)
	}
	return e
}

// refused explains EAGAIN, which clone and execve return when a user has too
// many processes.
func (e *SpawnError) refused(cred *Credential) {
	uid := os.Geteuid()
	if cred != nil {
		uid = int(cred.UID)
	}
	e.why = fmt.Sprintf("%v (RLIMIT_NPROC of user %d or pids limit reached)", e.Err, uid)
	e.hint = "raise limits.nproc, or the pids limit of the container or unit"
}

// callError explains the call that a child failed at.
func (h *Host) callError(c *call, a *Attempt, name string, candidates []string) *SpawnError {
	e := &SpawnError{Step: c.step, Path: c.path, Err: syscall.Errno(c.err)}
	switch {
	case c.step != StepExec:
	case e.Err == unix.EAGAIN:
		e.refused(a.Cred)
	case len(candidates) > 1 && missing(c.err) && !exists(within(a.Dir, c.path)):
		e.Path = name
		e.why = fmt.Sprintf("command %q not found in PATH", name)
		e.hint = "give its full path, or set PATH in env"
	default:
		e.explainExec(within(a.Dir, c.path))
	}
	return e
}

// explainExec finds out what about file the kernel refused to execute.
func (e *SpawnError) explainExec(file string) {
	st, err := os.Stat(file)
	switch {
	case err != nil:
		return
	case missing(uintptr(e.Err.(syscall.Errno))):
		// It is there, so it is the interpreter that isn't.
		if i := interpreter(file); i != "" {
			e.why = fmt.Sprintf("%q: bad interpreter %q: no such file", e.Path, i)
			e.hint = "correct its first line, or install " + filepath.Base(i)
			if strings.HasSuffix(i, "\r") {
				e.hint = "its lines end in CR LF; store it with LF alone"
			}
			return
		}
		e.why = fmt.Sprintf("%q: the loader it was built for is missing", e.Path)
		e.hint = "it was built for another C library or machine; build it for this one, or statically"
	case e.Err == unix.EACCES && st.IsDir():
		e.why = fmt.Sprintf("%q: is a directory", e.Path)
	case e.Err == unix.EACCES && st.Mode()&0o111 == 0:
		e.why = fmt.Sprintf("%q: permission denied (not executable)", e.Path)
		e.hint = "chmod +x " + e.Path
	case e.Err == unix.EACCES:
		e.hint = "the program's user must be able to reach and execute it, and its file system not be mounted noexec"
	case e.Err == unix.ENOEXEC:
		e.hint = "it was built for another machine, or is damaged"
	}
}

// head returns the beginning of a file.
func head(file string) []byte {
	f, err := os.OpenFile(file, os.O_RDONLY|unix.O_NONBLOCK, 0) // it may be a FIFO
	if err != nil {
		return nil
	}
	defer f.Close()
	b, _ := io.ReadAll(io.LimitReader(f, 256)) // BINPRM_BUF_SIZE
	return b
}

// interpreter returns the interpreter that the file's #! line names, or "".
func interpreter(file string) string {
	line, ok := bytes.CutPrefix(head(file), []byte("#!"))
	if !ok {
		return ""
	}
	line, _, _ = bytes.Cut(line, []byte("\n"))
	name, _, _ := strings.Cut(strings.Trim(string(line), " \t"), " ")
	name, _, _ = strings.Cut(name, "\t")
	return name
}

// binary reports whether a file can't be a shell script.
func binary(file string) bool {
	return bytes.IndexByte(head(file), 0) >= 0
}

// within returns file as seen from dir.
func within(dir, file string) string {
	if filepath.IsAbs(file) {
		return file
	}
	return filepath.Join(dir, file)
}

// limitName returns the name of a resource as the configuration has it.
func limitName(resource int) string {
	for name, r := range Limits {
		if r == resource {
			return name
		}
	}
	return fmt.Sprint(resource)
}

// Limits names the resources of setrlimit(2).
var Limits = map[string]int{
	"as":          unix.RLIMIT_AS,
	"core":        unix.RLIMIT_CORE,
	"cpu_seconds": unix.RLIMIT_CPU,
	"data":        unix.RLIMIT_DATA,
	"fsize":       unix.RLIMIT_FSIZE,
	"locks":       unix.RLIMIT_LOCKS,
	"memlock":     unix.RLIMIT_MEMLOCK,
	"msgqueue":    unix.RLIMIT_MSGQUEUE,
	"nice":        unix.RLIMIT_NICE,
	"nofile":      unix.RLIMIT_NOFILE,
	"nproc":       unix.RLIMIT_NPROC,
	"rss":         unix.RLIMIT_RSS,
	"rtprio":      unix.RLIMIT_RTPRIO,
	"rttime":      unix.RLIMIT_RTTIME,
	"sigpending":  unix.RLIMIT_SIGPENDING,
	"stack":       unix.RLIMIT_STACK,
}

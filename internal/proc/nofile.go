package proc

import (
	"fmt"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// RaiseNoFile raises our limit of open descriptors to what is allowed. It
// returns the limit as this process got it, which is what Spawn gives to
// programs, and the limit now. It does so once; later calls return the same.
func RaiseNoFile() (orig, now Rlimit, err error) {
	l, err := raiseNoFile()
	return l.orig, l.now, err
}

type noFile struct{ orig, now Rlimit }

var raiseNoFile = sync.OnceValues(func() (l noFile, err error) {
	var lim unix.Rlimit
	if err := unix.Prlimit(0, unix.RLIMIT_NOFILE, nil, &lim); err != nil {
		return l, fmt.Errorf("cannot read the limit of open descriptors: %w", err)
	}
	l.now = Rlimit{unix.RLIMIT_NOFILE, lim.Cur, lim.Max}
	l.orig = l.now
	// Package syscall has raised it before main, to one less than allowed,
	// remembers what it was and tells nobody. But it gives that back to what
	// os.StartProcess starts.
	if lim.Cur == lim.Max-1 {
		if l.orig, err = inheritedNoFile(); err != nil {
			return l, err
		}
	}
	return l, nil
})

// inheritedNoFile returns the limit that a child of os.StartProcess has.
func inheritedNoFile() (l Rlimit, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("cannot find out the limit of open descriptors: %w", err)
		}
	}()
	r, w, err := os.Pipe()
	if err != nil {
		return l, err
	}
	defer r.Close()
	defer w.Close()
	p, err := os.StartProcess(shell, []string{shell, "-c", "read line"}, &os.ProcAttr{Files: []*os.File{r, nil, nil}})
	if err != nil {
		return l, err
	}
	var lim unix.Rlimit
	err = unix.Prlimit(p.Pid, unix.RLIMIT_NOFILE, nil, &lim)
	w.Close() // ends the read
	p.Wait()
	return Rlimit{unix.RLIMIT_NOFILE, lim.Cur, lim.Max}, err
}

package proc

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Has reports whether the process pid is one of the tree. known is false when it
// has ended, or is about to: then nobody can tell.
func (p *Process) Has(pid int) (has, known bool) {
	p.mu.Lock()
	leader := pid == int(p.pid) && p.fd >= 0 // it may have ended: its number is its own until it is reaped
	start, wasSeen := p.seen[int32(pid)]
	seen := maps.Clone(p.seen)
	p.mu.Unlock()
	if leader {
		return true, true
	}
	m, ok := inspect(pid)
	if !ok {
		return false, false
	}
	defer unix.Close(m.fd)
	if p.cgroup != "" {
		has = inCgroup(pid, p.cgroup)
	} else {
		s := &stray{pid: pid, stat: m.stat}
		has = wasSeen && start == m.start || p.leads(s) || s.hasMark(p.mark) || p.descends(m.ppid, seen)
	}
	return has, has || !exiting(pid) && !over(m.fd)
}

// descends reports whether a process is the leader or one of those seen, with
// their start times, or descends from one.
func (p *Process) descends(pid int, seen map[int32]uint64) bool {
	for pid > 1 && pid != p.h.self.pid {
		if pid == int(p.pid) {
			return true
		}
		s, err := readStat(pid)
		if err != nil {
			return false
		}
		if start, ok := seen[int32(pid)]; ok && start == s.start {
			return true
		}
		pid = s.ppid
	}
	return false
}

// inCgroup reports whether a process is in a tree's cgroup or below it. The folder
// of a host is named for its daemon, so that where the hierarchy is mounted doesn't
// matter.
func inCgroup(pid int, dir string) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil {
		return false
	}
	name := "/" + filepath.Base(filepath.Dir(dir)) + "/" + filepath.Base(dir)
	for line := range strings.Lines(string(b)) {
		if at, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "0::"); ok {
			return strings.HasSuffix(at, name) || strings.Contains(at, name+"/")
		}
	}
	return false
}

// exiting reports whether a process is on its way out: it has left behind by then
// what tells whose it is (PF_EXITING in proc_pid_stat(5)).
func exiting(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return true
	}
	f := bytes.Fields(b[bytes.LastIndexByte(b, ')')+1:])
	if len(f) < 7 {
		return true
	}
	const pfExiting = 4
	flags, err := strconv.ParseUint(string(f[6]), 10, 64)
	return err != nil || flags&pfExiting != 0
}

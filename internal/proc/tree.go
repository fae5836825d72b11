package proc

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// A member is a live process of a tree. Its pidfd was open before the rest was
// read and the process was alive after that: all is about the same process.
type member struct {
	pid int
	fd  int // pidfd; whoever gets the member closes it
	stat
}

// stat is what matters of /proc/PID/stat, see proc_pid_stat(5).
type stat struct {
	ppid, pgrp, sid int
	start           uint64 // clock ticks since boot
}

// inspect opens the process pid. It isn't ok when there is none or it has
// ended, reaped or not.
func inspect(pid int) (m member, ok bool) {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return member{}, false
	}
	m = member{pid: pid, fd: fd}
	if m.stat, err = readStat(pid); err != nil || over(fd) {
		unix.Close(fd)
		return member{}, false
	}
	return m, true
}

// over reports whether the process behind a pidfd has ended.
func over(fd int) bool {
	fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	n := 0
	err := retry(unix.EINTR, func() (err error) { n, err = unix.Poll(fds, 0); return err })
	return err != nil || n > 0
}

func readStat(pid int) (stat, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return stat{}, err
	}
	// The second field, the name in parentheses, may hold anything.
	f := bytes.Fields(b[bytes.LastIndexByte(b, ')')+1:])
	if len(f) < 20 {
		return stat{}, fmt.Errorf("cannot read /proc/%d/stat: %q", pid, b)
	}
	num := func(i int) int { n, _ := strconv.Atoi(string(f[i])); return n }
	start, err := strconv.ParseUint(string(f[19]), 10, 64)
	return stat{ppid: num(1), pgrp: num(2), sid: num(3), start: start}, err
}

// childrenByFile returns the children of a process, from the files that Linux
// has when built with CONFIG_PROC_CHILDREN.
func childrenByFile(pid int) []int {
	dir := fmt.Sprintf("/proc/%d/task", pid)
	var list []int
	for _, tid := range numbers(dir) {
		b, _ := os.ReadFile(fmt.Sprintf("%s/%d/children", dir, tid))
		for f := range bytes.FieldsSeq(b) {
			if n, err := strconv.Atoi(string(f)); err == nil {
				list = append(list, n)
			}
		}
	}
	return list
}

// childrenByScan returns the same from all of /proc.
func childrenByScan(pid int) []int {
	return slices.DeleteFunc(numbers("/proc"), func(n int) bool {
		s, err := readStat(n)
		return err != nil || s.ppid != pid
	})
}

// numbers returns the entries of a folder of /proc that are numbers.
func numbers(dir string) []int {
	d, err := os.Open(dir)
	if err != nil {
		return nil
	}
	defer d.Close()
	names, _ := d.Readdirnames(-1)
	list := make([]int, 0, len(names))
	for _, name := range names {
		if n, err := strconv.Atoi(name); err == nil {
			list = append(list, n)
		}
	}
	return list
}

// marker returns the entry for key in the environment with which pid was
// executed, "" if there is none or it can't be read.
func marker(pid int, key string) string {
	const first, longest = 50 * time.Microsecond, 20 * time.Millisecond
	for wait := first; ; wait *= 2 {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
		if err != nil {
			return ""
		}
		for e := range bytes.SplitSeq(b, []byte{0}) {
			if k, _, ok := bytes.Cut(e, []byte("=")); ok && string(k) == key {
				return string(e)
			}
		}
		if len(b) > 0 || wait > longest || wait > 2*first && bare(pid) {
			return ""
		}
		time.Sleep(wait)
	}
}

// bare reports whether a process has no environment (env_start and env_end in
// proc_pid_stat(5)). One that is within execve(2) has, but for moments it isn't in
// its new memory yet: where it begins is known first, then where it ends.
func bare(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return true
	}
	f := bytes.Fields(b[bytes.LastIndexByte(b, ')')+1:])
	const vsize, envStart, envEnd = 20, 47, 48
	return len(f) <= envEnd || string(f[vsize]) == "0" || string(f[envEnd]) != "0" && bytes.Equal(f[envStart], f[envEnd])
}

// A stray is a process that may have outlived its parent in some tree.
type stray struct {
	pid int
	stat
	key  string // what mark is about, once it was read
	mark string
}

// hasMark reports whether the stray has the entry mark. The environment is
// read once for all marks with the same key.
func (s *stray) hasMark(mark string) bool {
	key, _, ok := strings.Cut(mark, "=")
	if !ok {
		return false
	}
	if s.key != key {
		s.key, s.mark = key, marker(s.pid, key)
	}
	return s.mark == mark
}

// strays returns the live processes that may belong to a tree by what they
// are: children of ours, or of the guard, that we didn't start here. Without a
// subreaper, or with programs that have another parent, that may be any process. Those in our own session are what others in this process
// started.
func (h *Host) strays() []*stray {
	var list []*stray
	tried := make(map[int]bool)
	for {
		var pids []int
		if (h.caps.Subreaper || h.self.pid == 1) && !h.foreign {
			pids = h.children(h.self.pid)
			if h.guard != 0 {
				pids = append(pids, h.children(h.guard)...)
			}
		} else {
			pids = numbers("/proc")
		}
		again := false
		for _, pid := range pids {
			if tried[pid] || pid <= 1 || pid == h.self.pid || pid == h.guard || h.known(pid) {
				continue
			}
			tried[pid] = true
			m, ok := inspect(pid)
			if !ok {
				again = true // its children may have become ours
				continue
			}
			unix.Close(m.fd)
			if m.sid != h.self.sid {
				list = append(list, &stray{pid: pid, stat: m.stat})
			}
		}
		if !again {
			return list
		}
	}
}

// others reports whether pid is known to belong to another attempt than p, or is
// its leader.
func (h *Host) others(pid int, p *Process) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if q := h.procs[int32(pid)]; q != nil && (q == p || !q.precedes(p)) {
		return true
	}
	l, ok := h.left[int32(pid)]
	return ok && !l.p.precedes(p)
}

// kin returns the live members of the tree except the leader, where there is
// no cgroup. strays is what h.strays returned a moment ago, after the leader
// was reaped if it was.
func (p *Process) kin(strays []*stray) []member {
	h := p.h
	p.mu.Lock()
	ended, seen := p.ended, maps.Clone(p.seen)
	p.mu.Unlock()

	var found []member
	met := make(map[int]bool)      // pids in found
	sessions := make(map[int]bool) // of those in found
	vanished := false              // a process was gone before it was looked at
	var add func(pid int, belongs func(*member) bool)
	add = func(pid int, belongs func(*member) bool) {
		if met[pid] || h.others(pid, p) {
			return
		}
		m, ok := inspect(pid)
		if !ok {
			vanished = true
			return
		}
		if !belongs(&m) {
			unix.Close(m.fd)
			return
		}
		met[pid] = true
		if m.sid > 1 { // 0 stands for all sessions of other namespaces
			sessions[m.sid] = true
		}
		found = append(found, m)
		p.descend(pid, add)
	}

	if !ended {
		p.descend(int(p.pid), add)
	}
	for pid, start := range seen {
		add(int(pid), func(m *member) bool { return m.start == start })
	}
	for again := true; again; {
		before := len(sessions)
		for _, s := range strays {
			if p.leads(s) || sessions[s.sid] || s.hasMark(p.mark) {
				add(s.pid, func(m *member) bool { return m.start == s.start })
			}
		}
		again = len(sessions) > before
		if vanished && strays != nil {
			// Its children may have become ours.
			vanished, again = false, true
			strays = h.strays()
		}
	}

	p.mu.Lock()
	defer p.mu.Unlock()
	p.seen = nil
	for _, m := range found {
		if m.sid != int(p.pid) {
			if p.seen == nil {
				p.seen = make(map[int32]uint64)
			}
			p.seen[int32(m.pid)] = m.start
		}
	}
	return found
}

// leads reports whether a stray is in the session or group of the leader. Of one
// that had ended before it was adopted that can't be said: its pid may be
// another's by now.
func (p *Process) leads(s *stray) bool {
	return !p.late && p.pid > 1 && (s.sid == int(p.pid) || s.pgrp == int(p.pid))
}

// descend adds the children of pid.
func (p *Process) descend(pid int, add func(int, func(*member) bool)) {
	for _, child := range p.h.children(pid) {
		add(child, func(m *member) bool { return m.ppid == pid || p.h.inherits(m.ppid) })
	}
}

// learn notes who descends from the leader, before a signal may end the one
// that shows it. A cgroup knows by itself.
func (p *Process) learn() {
	if p.cgroup != "" {
		return
	}
	p.mu.Lock()
	ended := p.ended
	p.mu.Unlock()
	if ended {
		return
	}
	for _, m := range p.kin(nil) {
		unix.Close(m.fd)
	}
}

// members returns the live processes of the tree, leader included.
func (p *Process) members() []member {
	p.mu.Lock()
	empty := p.empty
	p.mu.Unlock()
	if empty {
		return nil
	}
	var list []member
	if p.cgroup != "" {
		list = cgroupMembers(p.cgroup)
	} else {
		list = p.kin(p.h.strays())
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	// A leader is one of its tree though it may have left its cgroup.
	if !p.ended && !slices.ContainsFunc(list, func(m member) bool { return m.pid == int(p.pid) }) {
		if fd, err := unix.FcntlInt(uintptr(p.fd), unix.F_DUPFD_CLOEXEC, 0); err == nil {
			leader := member{pid: int(p.pid), fd: fd, stat: stat{pgrp: int(p.pid), sid: int(p.pid)}}
			if s, err := readStat(int(p.pid)); err == nil {
				leader.stat = s
			}
			list = append([]member{leader}, list...)
		}
	}
	return list
}

// inherits reports whether the process pid is one that becomes the parent of
// orphans.
func (h *Host) inherits(pid int) bool { return pid == h.self.pid || pid == h.guard || h.foreign }

func exists(file string) bool {
	_, err := os.Stat(file)
	return !errors.Is(err, os.ErrNotExist)
}

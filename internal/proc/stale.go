package proc

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// A Stale is a live process that an earlier daemon, or a program of it, has
// started.
type Stale struct {
	Identity
	Mark  string // what its environment's mark says behind the prefix; "" when only the cgroup tells
	Tree  string // the folder of the tree's cgroup; "" when only the mark tells
	Leads bool   // it leads a process group, as the process of an attempt does
	fd    int
}

// Stale returns what is left of an earlier daemon: all processes in the trees of
// the given cgroup folders (of a host, "" is ignored), and those whose
// environment holds an entry that begins with prefix, where everywhere says that
// all of /proc is to be looked through. Processes that we descend from aren't
// among them: one may have been started by a program of the other. In skip are
// folders of trees that needn't be looked into.
func (h *Host) Stale(prefix string, hosts []string, everywhere bool, skip map[string]bool) []Stale {
	var list []Stale
	met := map[int]bool{h.guard: true}
	for pid := h.self.pid; pid > 0 && !met[pid]; {
		met[pid] = true
		s, err := readStat(pid)
		if err != nil {
			break
		}
		pid = s.ppid
	}
	add := func(m member, tree string) {
		s := Stale{Tree: tree, fd: m.fd, Leads: m.pgrp == m.pid, Identity: h.identify(m.pid, m.fd)}
		s.Start = m.start
		s.Mark, _ = strings.CutPrefix(markedBy(m.pid, prefix), prefix)
		list = append(list, s)
		met[m.pid] = true
	}
	looked := make(map[string]bool)
	for _, host := range hosts {
		if host == "" || looked[host] {
			continue
		}
		looked[host] = true
		for _, tree := range subgroups(host) {
			if skip[tree] {
				continue
			}
			for _, m := range cgroupMembers(tree) {
				if met[m.pid] {
					unix.Close(m.fd)
					continue
				}
				add(m, tree)
			}
		}
	}
	if !everywhere {
		return list
	}
	for _, pid := range numbers("/proc") {
		if met[pid] || markedBy(pid, prefix) == "" {
			continue
		}
		m, ok := inspect(pid)
		if ok && markedBy(pid, prefix) == "" { // it was another's by then
			unix.Close(m.fd)
			ok = false
		}
		if ok {
			add(m, "")
		}
	}
	return list
}

// Close lets go of what was found.
func (s *Stale) Close() { unix.Close(s.fd) }

// EndStale ends what was found: it is asked by SIGTERM, and killed after grace.
func EndStale(list []Stale, grace time.Duration) {
	for _, s := range list {
		unix.PidfdSendSignal(s.fd, unix.SIGTERM, nil, 0)
		unix.PidfdSendSignal(s.fd, unix.SIGCONT, nil, 0) // or a stopped one never sees it
	}
	for _, limit := range []time.Duration{grace, time.Second} {
		deadline := time.Now().Add(limit)
		for _, s := range list {
			if !awaitEnd(s.fd, deadline) {
				unix.PidfdSendSignal(s.fd, unix.SIGKILL, nil, 0)
			}
		}
	}
	dirs := make(map[string]bool)
	for _, s := range list {
		unix.Close(s.fd)
		if s.Tree != "" && !dirs[s.Tree] {
			dirs[s.Tree] = true
			removeCgroup(s.Tree)
			unix.Rmdir(filepath.Dir(s.Tree)) // stays while there are others in it
		}
	}
}

// awaitEnd reports whether the process behind a pidfd ends before the deadline.
func awaitEnd(fd int, deadline time.Time) bool {
	for {
		wait := max(time.Until(deadline), 0)
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(wait.Milliseconds()))
		if err != unix.EINTR {
			return n > 0
		}
	}
}

// markedBy returns the entry that begins with prefix of the environment with
// which pid was executed, "" if there is none.
func markedBy(pid int, prefix string) string {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
	if err != nil {
		return ""
	}
	for entry := range bytes.SplitSeq(b, []byte{0}) {
		if bytes.HasPrefix(entry, []byte(prefix)) {
			return string(entry)
		}
	}
	return ""
}

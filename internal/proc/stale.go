package proc

import (
	"bytes"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// EndStale ends what an earlier daemon has left behind when it was killed: all
// processes in the host's cgroup, and those whose environment holds an entry
// that begins with mark. They are asked to end by SIGTERM, and killed after
// grace. It returns how many there were. It is for the time before the first
// Spawn.
func (h *Host) EndStale(mark string, grace time.Duration) int {
	ended := 0
	sig, deadline := unix.SIGTERM, time.Now().Add(grace)
	for range maxPasses { // what ends may have started more
		stale := h.stale(mark)
		if len(stale) == 0 {
			return ended
		}
		if sig == unix.SIGTERM {
			ended = max(ended, len(stale))
		}
		for _, m := range stale {
			unix.PidfdSendSignal(m.fd, sig, nil, 0)
			if sig == unix.SIGTERM {
				unix.PidfdSendSignal(m.fd, unix.SIGCONT, nil, 0) // or a stopped one never sees it
			}
		}
		for _, m := range stale {
			awaitEnd(m.fd, deadline)
			unix.Close(m.fd)
		}
		if sig == unix.SIGTERM {
			sig = unix.SIGKILL
		}
		deadline = time.Now().Add(time.Second)
	}
	return ended
}

// awaitEnd waits until the process behind a pidfd has ended, at most until the
// deadline.
func awaitEnd(fd int, deadline time.Time) {
	for {
		wait := max(time.Until(deadline), 0)
		_, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(wait.Milliseconds()))
		if err != unix.EINTR {
			return
		}
	}
}

// stale returns what is left of an earlier daemon, but for those that we descend
// from: one may have been started by a program of the other.
func (h *Host) stale(mark string) []member {
	var list []member
	met := map[int]bool{}
	for pid := h.self.pid; pid > 0 && !met[pid]; {
		met[pid] = true
		s, err := readStat(pid)
		if err != nil {
			break
		}
		pid = s.ppid
	}
	if h.caps.Cgroup != "" {
		for _, m := range cgroupMembers(h.caps.Cgroup) {
			if met[m.pid] {
				unix.Close(m.fd)
				continue
			}
			met[m.pid] = true
			list = append(list, m)
		}
	}
	for _, pid := range numbers("/proc") {
		if met[pid] || !markedBy(pid, mark) {
			continue
		}
		m, ok := inspect(pid)
		if ok && !markedBy(pid, mark) { // it was another's by then
			unix.Close(m.fd)
			ok = false
		}
		if ok {
			list = append(list, m)
		}
	}
	return list
}

// markedBy reports whether the environment with which pid was executed holds an
// entry that begins with prefix.
func markedBy(pid int, prefix string) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
	return err == nil && (bytes.HasPrefix(b, []byte(prefix)) || bytes.Contains(b, []byte("\x00"+prefix)))
}

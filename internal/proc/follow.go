package proc

import (
	"bytes"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// Follow makes the process pid of the tree the leader of the attempt, as daemons
// name one that put themselves in the background. What it returns stands for the
// attempt from now on, and p is not to be used any more: the end of the leader
// that was isn't reported, or is to be ignored where that is under way, as its Pid
// tells; as long as it lives it is one of the tree. inode, where it isn't 0, is that
// of the pidfd of the process that is meant.
func (p *Process) Follow(pid int, inode uint64) (*Process, error) {
	h := p.h
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return nil, fmt.Errorf("there is no process %d", pid)
	}
	q := &Process{h: h, tag: p.tag, name: p.name, mark: p.mark, cgroup: p.cgroup, adopted: true, pid: int32(pid), fd: int32(fd), id: h.identify(pid, fd)}
	if err := p.mayFollow(q, inode); err != nil {
		unix.Close(fd)
		return nil, err
	}
	if p.cgroup == "" {
		q.seen = p.kindred()
	}
	h.mu.Lock()
	before := h.procs[q.pid] // it has led already, and comes back
	h.procs[q.pid] = q
	h.mu.Unlock()
	if before != nil {
		before.settle()
	}
	if err := h.watch(fd, unix.EPOLLIN, kindLeader, q.pid); err != nil {
		h.forget(q)
		unix.Close(fd)
		return nil, fmt.Errorf("cannot wait for process %d: %w", pid, err)
	}
	// Whoever ends p looks for an heir after it has said that it has ended: one of
	// us two sees what the other has done.
	p.heir.Store(q)
	p.mu.Lock()
	ended := p.ended
	p.mu.Unlock()
	if ended {
		p.Reap()
		p.settle()
	}
	return q, nil
}

// mayFollow returns why q can't take p's place, nil if it can.
func (p *Process) mayFollow(q *Process, inode uint64) error {
	if inode != 0 && q.id.Inode != 0 && inode != q.id.Inode {
		return fmt.Errorf("process %d is another one by now", q.pid)
	}
	// It is still there after that, so that it was this one which was looked at.
	if has, _ := p.Has(int(q.pid)); !has || over(int(q.fd)) || p.h.others(int(q.pid), p) {
		return fmt.Errorf("process %d isn't one of its processes", q.pid)
	}
	return nil
}

// kindred returns the start times of all live processes of the tree, by which an
// heir knows those that don't descend from it.
func (p *Process) kindred() map[int32]uint64 {
	seen := make(map[int32]uint64)
	for _, m := range p.members() {
		seen[int32(m.pid)] = m.start
		unix.Close(m.fd)
	}
	return seen
}

// bequeath lets the heir of p know what only p can tell of its tree, now that its
// leader has ended. It is for the reaping goroutine.
func (p *Process) bequeath(strays []*stray) {
	q := p.latest()
	for _, m := range p.kin(strays) {
		q.mu.Lock()
		if q.seen == nil {
			q.seen = make(map[int32]uint64)
		}
		q.seen[int32(m.pid)] = m.start
		q.mu.Unlock()
		unix.Close(m.fd)
	}
}

// latest returns who leads the tree now.
func (p *Process) latest() *Process {
	for q := p.heir.Load(); q != nil; q = p.heir.Load() {
		p = q
	}
	return p
}

// precedes reports whether q has taken p's place, or will have been the one before
// that.
func (p *Process) precedes(q *Process) bool {
	for p != nil && p != q {
		p = p.heir.Load()
	}
	return p != nil
}

// PidOf returns the process that a pidfd is of, and the pidfd's inode, 0 before
// Linux 6.9. It fails where fd is no pidfd, or the process was reaped.
func PidOf(fd int) (pid int, inode uint64, err error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/self/fdinfo/%d", fd))
	if err != nil {
		return 0, 0, err
	}
	for line := range bytes.Lines(b) {
		if value, ok := bytes.CutPrefix(line, []byte("Pid:")); ok {
			pid, _ = strconv.Atoi(string(bytes.TrimSpace(value)))
		}
	}
	if pid <= 0 {
		return 0, 0, fmt.Errorf("descriptor %d is none of a process", fd)
	}
	var st unix.Stat_t
	if onPidfs(fd) && unix.Fstat(fd, &st) == nil {
		inode = st.Ino
	}
	return pid, inode, nil
}

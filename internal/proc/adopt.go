package proc

import (
	"fmt"
	"os"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// An Identity tells a process from all others, those that had or will have its
// pid included: by its inode in pidfs (Linux 6.9), else by the time of its
// start. It holds until the machine's next boot.
type Identity struct {
	PID   int    `json:"pid"`
	Inode uint64 `json:"inode,omitempty"`
	Start uint64 `json:"start,omitempty"` // clock ticks since boot; where Inode is 0
}

// is reports whether two identities, perhaps with different parts known, are of
// one process.
func (i Identity) is(j Identity) bool {
	switch {
	case i.PID != j.PID:
		return false
	case i.Inode != 0 && j.Inode != 0:
		return i.Inode == j.Inode
	case i.Start != 0 && j.Start != 0:
		return i.Start == j.Start
	}
	return false
}

// onPidfs reports whether pidfds have inodes of their own.
func onPidfs(fd int) bool {
	var st unix.Statfs_t
	return unix.Fstatfs(fd, &st) == nil && st.Type == unix.PID_FS_MAGIC
}

// identify returns the identity of the process pid behind a pidfd, which isn't
// reaped before this returns.
func (h *Host) identify(pid, fd int) Identity {
	id := Identity{PID: pid}
	var st unix.Stat_t
	if h.caps.Pidfs && unix.Fstat(fd, &st) == nil {
		id.Inode = st.Ino
		return id
	}
	if s, err := readStat(pid); err == nil {
		id.Start = s.start
	}
	return id
}

// An Adoption is about a process that an earlier daemon has started.
type Adoption struct {
	Tag        uint64
	Name, Mark string
	Identity
	Cgroup string        // folder of its tree's cgroup; "": none
	CPU    time.Duration // as its Birth has it
	Ended  bool          // the leader is known to have ended: this is about what it left
}

// Adopt takes over the tree of a process that an earlier daemon has started. It
// returns nil when nothing is left of it. Otherwise alive says whether the
// leader lives: then Ended will be reported as ever, else Emptied. Adopt is for
// the time before the first Spawn.
func (h *Host) Adopt(a Adoption) (p *Process, alive bool) {
	p = &Process{h: h, tag: a.Tag, name: a.Name, mark: a.Mark, id: a.Identity, pid: int32(a.PID), fd: -1, cpu: a.CPU, adopted: true}
	if a.Cgroup != "" && exists(a.Cgroup+"/cgroup.events") {
		p.cgroup = a.Cgroup
	}
	if !a.Ended && a.PID > 0 {
		alive = h.adoptLeader(p)
	}
	if alive {
		return p, true
	}
	p.ended, p.late = true, true
	if p.cgroup != "" {
		if fd := eventsOf(p); fd >= 0 {
			h.watchEvents(p, fd)
			return p, false
		}
	} else if kin := p.kin(h.strays()); len(kin) > 0 {
		h.watchKin(p, kin)
		return p, false
	}
	p.settle()
	return nil, false
}

// adoptLeader finds the leader of p and watches it.
func (h *Host) adoptLeader(p *Process) bool {
	fd, err := unix.PidfdOpen(int(p.pid), 0)
	if err != nil {
		return false
	}
	if !h.identify(int(p.pid), fd).is(p.id) {
		// The kernel may know less, or more, than it did for the one before.
		s, err := readStat(int(p.pid))
		if p.id.Start == 0 || err != nil || s.start != p.id.Start {
			unix.Close(fd)
			return false
		}
	}
	parent, err := h.parentOf(int(p.pid), fd)
	if err != nil {
		unix.Close(fd)
		return false
	}
	switch parent {
	case h.self.pid: // we have executed ourselves anew
		p.adopted, p.held = false, true
	case h.guard:
		p.held = true
	default:
		h.foreign = true
	}
	p.fd = int32(fd)
	h.mu.Lock()
	h.procs[p.pid] = p
	h.mu.Unlock()
	if err := h.watch(fd, unix.EPOLLIN, kindLeader, p.pid); err != nil {
		h.forget(p)
		p.close()
		return false
	}
	return true
}

// collected is the end of an adopted process, as somebody else has told it.
type collected struct {
	p *Process
	Ended
}

// Collected tells how a process ended whose parent is the guard. It returns the
// tag of the adopted attempt that this is; ok is false if it is none.
func (h *Host) Collected(id Identity, end Ended) (tag uint64, ok bool) {
	h.mu.Lock()
	p := h.procs[int32(id.PID)]
	h.mu.Unlock()
	if p == nil || !p.id.is(id) {
		return 0, false
	}
	p.mu.Lock()
	adopted := p.adopted
	p.mu.Unlock()
	if !adopted {
		return 0, false
	}
	h.collect(p, end)
	return p.tag, p.heir.Load() == nil // else nobody wants to know
}

func (h *Host) collect(p *Process, end Ended) {
	h.mu.Lock()
	h.collected = append(h.collected, collected{p, end})
	h.mu.Unlock()
	h.wake()
}

// wake has the reaping goroutine look at what was put aside for it.
func (h *Host) wake() {
	one := uint64(1)
	unix.Write(h.news, (*[8]byte)(unsafe.Pointer(&one))[:]) // full means that it is read anyway
}

func (h *Host) takeCollected() []collected {
	var buf [8]byte
	unix.Read(h.news, buf[:])
	h.mu.Lock()
	defer h.mu.Unlock()
	list := h.collected
	h.collected = nil
	return list
}

const (
	// reapTime is how long the parent of an adopted process may take to reap it,
	// and guardTime how long the guard to tell of it.
	reapTime  = time.Second
	guardTime = 3 * time.Second
)

// lookForeign finds out how an adopted process ended: the guard tells, or it can
// be read when its parent has reaped it, or has left it to us.
func (p *Process) lookForeign() {
	h := p.h
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ended || p.over != nil {
		return
	}
	unix.EpollCtl(h.epfd, unix.EPOLL_CTL_DEL, int(p.fd), nil)
	over, end := make(chan struct{}), Ended{At: time.Now(), Unknown: true}
	p.over = over
	fd, err := unix.FcntlInt(uintptr(p.fd), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		fd = -1 // which can't be read
	}
	byGuard := p.held
	h.wg.Go(func() {
		defer unix.Close(fd)
		parent, err := h.parentOf(int(p.pid), fd)
		for err == nil && parent != h.self.pid && (h.guard == 0 || parent != h.guard) && awaitParent(fd, parent) {
			parent, err = h.parentOf(int(p.pid), fd) // who gets what that one has left
		}
		switch {
		case err == nil && parent == h.self.pid:
			// It is one of our children now, and stays in the kernel as those do.
			if info, err := waitid(unix.P_PIDFD, fd, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil); err == nil && info.pid != 0 {
				end.Status, end.Unknown = info.ending(), false
			}
			p.mu.Lock()
			p.adopted, p.held = false, true
			p.mu.Unlock()
		case h.guard == 0:
		case byGuard, err == nil && parent == h.guard, err != nil && !h.caps.ExitInfo:
			p.mu.Lock()
			p.held = true
			p.mu.Unlock()
			timer := time.NewTimer(guardTime)
			defer timer.Stop()
			select {
			case <-over:
				return
			case <-h.done:
				return
			case <-timer.C:
			}
		}
		if end.Unknown && h.caps.ExitInfo {
			if status, ok := exitInfo(fd); ok {
				end.Status, end.Unknown = status, false
			}
		}
		h.collect(p, end)
	})
}

// awaitParent waits until an ended process, of which fd is a pidfd, was reaped by
// its parent, or that one has ended without having done so, which it reports.
func awaitParent(fd, parent int) (orphaned bool) {
	parentFD, err := unix.PidfdOpen(parent, 0)
	if err != nil {
		return err == unix.ESRCH
	}
	defer unix.Close(parentFD)
	// POLLHUP comes when it is reaped.
	fds := []unix.PollFd{{Fd: int32(fd)}, {Fd: int32(parentFD), Events: unix.POLLIN}}
	n := 0
	err = retry(unix.EINTR, func() (err error) { n, err = unix.Poll(fds, int(reapTime.Milliseconds())); return err })
	return err == nil && n > 0 && fds[0].Revents == 0
}

// pidfdInfo is struct pidfd_info of ioctl_pidfd(2), its first version.
type pidfdInfo struct {
	mask, cgroup    uint64
	pid, tgid, ppid uint32
	ids             [8]uint32
	exitCode        int32
}

const pidfdInfoExit = 1 << 3

// get is PIDFD_GET_INFO (Linux 6.13).
func (info *pidfdInfo) get(fd int) error {
	// It is _IOWR(0xFF, 11, struct pidfd_info).
	const request = 3<<30 | unsafe.Sizeof(*info)<<16 | 0xff<<8 | 11
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), request, uintptr(unsafe.Pointer(info))); errno != 0 {
		return errno
	}
	return nil
}

// parentOf returns the parent of the process pid behind a pidfd.
func (h *Host) parentOf(pid, fd int) (int, error) {
	var info pidfdInfo
	// Much cheaper than /proc, when a daemon takes over a thousand.
	if h.caps.Pidfs && info.get(fd) == nil {
		return int(info.ppid), nil
	}
	s, err := readStat(pid)
	return s.ppid, err
}

// exitInfo reads how a reaped process ended from its pidfd (since Linux 6.15).
func exitInfo(fd int) (Status, bool) {
	info := pidfdInfo{mask: pidfdInfoExit}
	if info.get(fd) != nil || info.mask&pidfdInfoExit == 0 {
		return Status{}, false
	}
	w := syscall.WaitStatus(info.exitCode)
	s := Status{Code: w.ExitStatus()}
	if w.Signaled() {
		s = Status{Signal: w.Signal(), CoreDump: w.CoreDump()}
	}
	return s, true
}

// fileOf returns a descriptor of the file that process pid has open as fd, for
// reading and writing, if its inode is ino.
func fileOf(pid, fd int, ino uint64) (int, bool) {
	path := fmt.Sprintf("/proc/%d/fd/%d", pid, fd)
	var st unix.Stat_t
	if unix.Stat(path, &st) != nil || st.Ino != ino || st.Mode&unix.S_IFMT != unix.S_IFIFO {
		return -1, false
	}
	n, err := unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return -1, false
	}
	if unix.Fstat(n, &st) != nil || st.Ino != ino {
		unix.Close(n)
		return -1, false
	}
	return n, true
}

// Pipe returns a descriptor of the pipe with inode ino that some process of the
// tree has as its output, -1 when none has.
func (p *Process) Pipe(ino uint64) int {
	members := p.members()
	for _, m := range members {
		defer unix.Close(m.fd)
	}
	for _, m := range members {
		for _, fd := range []int{1, 2} {
			if n, ok := fileOf(m.pid, fd, ino); ok {
				return n
			}
		}
		for _, fd := range numbers(fmt.Sprintf("/proc/%d/fd", m.pid)) {
			if n, ok := fileOf(m.pid, fd, ino); ok {
				return n
			}
		}
	}
	return -1
}

// File returns a copy of a descriptor of the leader, -1 when it has none, or when
// the kernel doesn't let us have it.
func (p *Process) File(number int) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.fd < 0 {
		return -1
	}
	fd, err := unix.PidfdGetfd(int(p.fd), number, 0)
	if err != nil {
		return -1
	}
	return fd
}

// Over reports whether the leader has ended, be it that this wasn't told yet.
func (p *Process) Over() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.ended || p.fd < 0 || over(int(p.fd))
}

// BootID returns what tells one boot of the machine from all others.
func BootID() string {
	b, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return string(b)
}

// ExitStatus reads how a process ended from a pidfd that was held since before
// that, if it is that of the process meant.
func ExitStatus(fd int, id Identity) (Status, bool) {
	var st unix.Stat_t
	if id.Inode == 0 || unix.Fstat(fd, &st) != nil || st.Ino != id.Inode {
		return Status{}, false
	}
	return exitInfo(fd)
}

// StartTime returns the time at which a process was started, from the clock ticks
// since the machine's boot (proc_pid_stat(5)): a hundredth of a second each.
func StartTime(ticks uint64, now time.Time) time.Time {
	var boot unix.Timespec
	unix.ClockGettime(unix.CLOCK_BOOTTIME, &boot) // can't fail
	return now.Add(time.Duration(ticks)*(time.Second/100) - time.Duration(boot.Nano()))
}

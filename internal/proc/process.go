package proc

import (
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A Process is an attempt that was started: its leader, and the tree of what
// that has started. Its methods may be called from several goroutines.
type Process struct {
	h          *Host
	tag        uint64
	name, mark string
	cgroup     string        // folder of the tree; "": none
	cpu        time.Duration // that others had used in the cgroup before; negative: not known
	held       bool          // Reap takes its status
	adopted    bool          // it isn't our child
	late       bool          // it had ended before it was adopted; pid is 0 where it isn't known
	id         Identity
	over       chan struct{}           // closed with the end; nil: nobody waits for that
	heir       atomic.Pointer[Process] // leads the tree in its place, see Follow; nil: none

	mu    sync.Mutex
	seen  map[int32]uint64 // start times of descendants met outside the session
	pid   int32
	fd    int32 // pidfd; -1 once the tree is empty, or where the leader had ended before it was adopted
	ended bool  // the leader has ended
	empty bool  // and nothing of the tree is left
}

// Pid returns the leader's process id, which is also that of its session and
// process group, unless it was made the leader by Follow. It may belong to another
// process after Ended.
func (p *Process) Pid() int { return int(p.pid) }

// Identity returns who the leader is, of an attempt that was adopted, had a Born, or
// has come from Follow.
func (p *Process) Identity() Identity { return p.id }

// Handle returns a pidfd of the leader, which is the caller's. It fails when nothing
// of the tree is left.
func (p *Process) Handle() (fd int, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.fd < 0 {
		return -1, os.ErrProcessDone
	}
	return unix.FcntlInt(uintptr(p.fd), unix.F_DUPFD_CLOEXEC, 3)
}

// Cgroup returns the folder of the tree's cgroup, "" where it has none.
func (p *Process) Cgroup() string { return p.cgroup }

// Signal sends sig to the leader. It returns os.ErrProcessDone after its end.
func (p *Process) Signal(sig syscall.Signal) error {
	p.learn()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ended {
		return os.ErrProcessDone
	}
	return wrapSignal(sig, unix.PidfdSendSignal(int(p.fd), sig, nil, 0))
}

// SignalGroup sends sig to the leader's process group. It returns
// os.ErrProcessDone when no member is left.
func (p *Process) SignalGroup(sig syscall.Signal) error {
	p.learn()
	if done, err := p.killGroup(sig); done {
		return err
	}
	group := p.group()
	return p.signalEach(sig, func(m member) bool { return m.pgrp == group })
}

// group returns the number of the leader's process group.
func (p *Process) group() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.ended {
		if s, err := readStat(int(p.pid)); err == nil {
			return s.pgrp
		}
	}
	return int(p.pid)
}

// killGroup signals the group at once, if the kernel can tell which it is: by
// its number while the leader isn't reaped and so nobody else can have it,
// later by the leader's pidfd (Linux 6.9).
func (p *Process) killGroup(sig syscall.Signal) (done bool, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.empty:
		return true, os.ErrProcessDone
	case p.fd < 0 || p.pid <= 1: // whom a signal to -1 or 0 would reach!
		return false, nil
	case !p.ended && !p.adopted:
		err := unix.Kill(-int(p.pid), sig)
		return err != unix.ESRCH, wrapSignal(sig, err) // it may have led none, see Follow
	}
	if !p.h.caps.Pidfs { // which came with the flag
		return false, nil
	}
	err = unix.PidfdSendSignal(int(p.fd), sig, nil, unix.PIDFD_SIGNAL_PROCESS_GROUP)
	if err == unix.EINVAL || err == unix.ESRCH && !p.ended {
		return false, nil
	}
	return true, wrapSignal(sig, err)
}

// SignalTree sends sig to everything that the attempt started and that is
// left. What is started meanwhile gets it too, as far as that comes to an end:
// an attempt of the same Name must not be spawned before this has returned. It
// returns os.ErrProcessDone when there is nothing.
func (p *Process) SignalTree(sig syscall.Signal) error {
	return p.signalEach(sig, func(member) bool { return true })
}

// KillTree kills everything that the attempt started and that is left, until
// nothing new appears. Its end is reported as ever: by Ended, and by Emptied
// when something outlived the leader. An attempt of the same Name must not be
// spawned before this has returned.
func (p *Process) KillTree() error {
	// The group first: no fork escapes from that, and the leader dies even if
	// it has left its cgroup.
	p.learn()
	done, err := p.killGroup(unix.SIGKILL)
	// Nor if the kernel doesn't know the group.
	if (!done || err != nil) && p.Signal(unix.SIGKILL) == nil {
		done, err = true, nil
	}
	if p.cgroup != "" && p.h.caps.CgroupKill {
		p.mu.Lock()
		empty := p.empty
		p.mu.Unlock()
		if empty {
			return os.ErrProcessDone
		}
		p.h.spoil(p.name)
		return wrapSignal(unix.SIGKILL, os.WriteFile(p.cgroup+"/cgroup.kill", []byte("1"), 0))
	}
	if rest := p.SignalTree(unix.SIGKILL); rest != os.ErrProcessDone || !done {
		return rest
	}
	return err
}

// maxPasses bounds the passes over a tree that grows while it is signalled.
const maxPasses = 1000

// signalEach signals each member of the tree that is wanted once, again and
// again looking for new ones. Every signal goes through a pidfd that was open
// when the process was recognised: never to a recycled pid.
func (p *Process) signalEach(sig syscall.Signal, want func(member) bool) error {
	type id struct {
		pid   int
		start uint64
	}
	sent := make(map[id]bool)
	var failed error
	for range maxPasses {
		fresh := false
		for _, m := range p.members() {
			if k := (id{m.pid, m.start}); want(m) && !sent[k] && m.pid > 1 && m.pid != p.h.self.pid && m.pid != p.h.guard {
				sent[k] = true
				switch err := unix.PidfdSendSignal(m.fd, sig, nil, 0); err {
				case nil:
					fresh = true
				case unix.ESRCH:
				default:
					failed = fmt.Errorf("cannot send %v to process %d: %w", sig, m.pid, err)
				}
			}
			unix.Close(m.fd)
		}
		if !fresh {
			break
		}
	}
	if len(sent) == 0 {
		return os.ErrProcessDone
	}
	return failed
}

func wrapSignal(sig syscall.Signal, err error) error {
	switch err {
	case nil:
		return nil
	case unix.ESRCH:
		return os.ErrProcessDone
	}
	return fmt.Errorf("cannot send %v: %w", sig, err)
}

// siginfo is siginfo_t as waitid(2) fills it, 128 bytes.
type siginfo struct {
	signo, errno, code, _ int32
	pid                   int32
	uid                   uint32
	status                int32
	_                     [100]byte
}

// Values of siginfo.code for SIGCHLD, see sigaction(2).
const (
	cldExited = 1
	cldDumped = 3
)

// ending returns how the process ended that info is about.
func (info *siginfo) ending() Status {
	if info.code == cldExited {
		return Status{Code: int(info.status)}
	}
	return Status{Signal: syscall.Signal(info.status), CoreDump: info.code == cldDumped}
}

// waitid is waitid(2) with the kernel's fifth argument. The result's pid is 0
// when nothing has ended.
func waitid(idType, id, options int, usage *unix.Rusage) (info siginfo, err error) {
	err = retry(unix.EINTR, func() error {
		return unix.Waitid(idType, id, (*unix.Siginfo)(unsafe.Pointer(&info)), options, usage)
	})
	return info, err
}

// look finds out how the leader ended, if it has. Its status stays in the kernel
// until Reap where that was asked for: should we die before the status is put
// aside, whoever becomes its parent learns it.
func (p *Process) look() (Ended, bool) {
	p.mu.Lock()
	if p.adopted {
		p.mu.Unlock()
		p.lookForeign()
		return Ended{}, false
	}
	if p.ended {
		p.mu.Unlock()
		return Ended{}, false
	}
	options := unix.WEXITED | unix.WNOHANG
	if p.held {
		options |= unix.WNOWAIT
	}
	var usage unix.Rusage
	info, err := waitid(unix.P_PIDFD, int(p.fd), options, &usage)
	p.mu.Unlock()
	if err != nil || info.pid == 0 {
		return Ended{}, false
	}
	fact := Ended{
		At:     time.Now(),
		User:   time.Duration(usage.Utime.Nano()),
		System: time.Duration(usage.Stime.Nano()),
		MaxRSS: usage.Maxrss << 10,
	}
	fact.Status = info.ending()
	return p.end(fact)
}

// end notes that the leader has ended. It reports false if that was known.
func (p *Process) end(fact Ended) (Ended, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ended {
		return Ended{}, false
	}
	p.ended = true
	if p.over != nil {
		close(p.over)
	}
	if !p.held {
		p.h.forget(p)
	}
	if p.fd >= 0 {
		unix.EpollCtl(p.h.epfd, unix.EPOLL_CTL_DEL, int(p.fd), nil)
	}
	fact.Tag, fact.Pid, fact.Tree = p.tag, int(p.pid), -1
	return fact, true
}

// Reap takes the status of an ended leader from the kernel, for an Attempt that
// is to Hold it: now the pid may become another process's.
func (p *Process) Reap() {
	p.mu.Lock()
	held, ours := p.held && p.ended, !p.adopted
	p.held = p.held && !held
	p.mu.Unlock()
	if !held {
		return
	}
	if ours {
		waitid(unix.P_PID, int(p.pid), unix.WEXITED|unix.WNOHANG, nil)
	}
	p.h.forget(p)
}

// discard waits for a child that never became a program, and drops it.
func (p *Process) discard() {
	waitid(unix.P_PIDFD, int(p.fd), unix.WEXITED, nil)
	p.h.forget(p)
	p.close()
}

// Leave lets go of what an ended leader has left behind: it runs on, and nothing
// is reported of it any more, but for an Emptied that is under way.
func (p *Process) Leave() {
	p.h.mu.Lock()
	p.h.leaving = append(p.h.leaving, p)
	p.h.mu.Unlock()
	p.h.wake()
}

// letGo forgets what Leave was said of. It is for the reaping goroutine, which
// alone closes what it watches.
func (h *Host) letGo() {
	h.mu.Lock()
	leaving := h.leaving
	h.leaving = nil
	for _, p := range leaving {
		for fd, q := range h.events {
			if p == q {
				delete(h.events, fd)
				unix.Close(int(fd))
			}
		}
		for pid, l := range h.left {
			if l.p == p {
				delete(h.left, pid)
				unix.Close(l.fd)
			}
		}
	}
	h.mu.Unlock()
	for _, p := range leaving {
		p.settle()
	}
}

// forget takes p from the running, unless its pid is another's already.
func (h *Host) forget(p *Process) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.procs[p.pid] == p {
		delete(h.procs, p.pid)
	}
}

// settle marks the tree as empty, or as nothing of ours any more.
func (p *Process) settle() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ended, p.empty = true, true
	p.seen = nil
	p.close()
}

// close closes the pidfd.
func (p *Process) close() {
	if p.fd >= 0 {
		unix.Close(int(p.fd))
		p.fd = -1
	}
}

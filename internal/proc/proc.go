// Package proc runs Linux processes: it spawns them, waits for them, signals
// them and everything they started, and says what happened as facts. It is the
// only package that knows that a pid is a number.
//
// It decides nothing: what to start, when to stop and what an exit status
// means is for others. It doesn't look after the programs' output, which only
// passes through as descriptors. It needs Linux 5.9 and /proc.
//
// # Trees
//
// Every attempt leads a process group of its own, and a session where that is
// of use: to keep it from our terminal, or to recognise what it left. (A session
// costs a tenth of a millisecond: with autogroups each is a group of the
// scheduler.) What it ever started is its tree. Where cgroup v2 can be written, each instance has a
// cgroup and the kernel keeps the tree. Otherwise this process is a child
// subreaper: what outlives its parent becomes our child, and is recognised by
// its session, its group, its having been seen as a descendant, or the
// attempt's Mark in its environment. A process that, unseen, left the session,
// lost its parent and cleared its environment is then beyond recognition.
package proc

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Config says how a Host works. The zero value, with a Report, is the plain
// way: no cgroup.
type Config struct {
	// Report receives each Fact, from the host's one reaping goroutine. It
	// must not block and must not call into the Host.
	Report func(Fact)

	// Cgroup asks for cgroup v2 where it can be written; CgroupName is the
	// folder made for the host under our own cgroup.
	Cgroup     bool
	CgroupName string

	// Guard is the pid of the process that becomes the parent of what a daemon
	// before us has left, and tells by Collected how it ends. 0: there is none.
	Guard int

	// Switches that let the tests reach the fallbacks.
	NoSubreaper  bool // orphans go to init; trees are found in all of /proc
	NoPidfs      bool // as before Linux 6.9, which also signals no group by a pidfd
	NoExitInfo   bool // as before Linux 6.15
	NoCgroupKill bool // as before Linux 5.14
	NoClone3     bool // as under a seccomp filter that refuses it
}

// Capabilities says which ways are in force.
type Capabilities struct {
	Cgroup     string // folder of the host's cgroup, "" when none is used
	CgroupWhy  error  // why no cgroup is used although it was asked for
	CgroupKill bool   // a whole cgroup is killed by one write (Linux 5.14)
	Subreaper  bool   // orphans of programs become our children
	Pidfs      bool   // a process has a number that no other one ever has (Linux 6.9)
	ExitInfo   bool   // the status of another's child can be read (Linux 6.15)
	Clone3     bool   // processes are made by clone3, not by clone
}

// Status is how a process ended: by exit with Code, or by Signal when that
// isn't 0.
type Status struct {
	Code     int
	Signal   syscall.Signal
	CoreDump bool
}

// String returns "exit status 3" or "signal: killed".
func (s Status) String() string {
	switch {
	case s.Signal == 0:
		return fmt.Sprintf("exit status %d", s.Code)
	case s.CoreDump:
		return fmt.Sprintf("signal: %v (core dumped)", s.Signal)
	}
	return fmt.Sprintf("signal: %v", s.Signal)
}

// A Fact is something that happened: Ended or Emptied.
type Fact interface{ fact() }

// Ended says that the process of an attempt has ended. It may be reported before
// Spawn has returned.
type Ended struct {
	Tag     uint64
	Pid     int
	Status  Status
	Unknown bool // it was adopted, and nobody can tell its Status
	Left    bool // other processes of the tree are alive: Emptied will follow
	At      time.Time

	// What the process and its reaped children used, by getrusage(2).
	User, System time.Duration
	MaxRSS       int64 // bytes; 0: nobody knows
	// And what everything in the attempt's cgroup has used until then; negative where
	// there is none, or where that can't be known.
	Tree time.Duration
}

// Emptied says that no process of an attempt's tree is alive any more. It
// follows each Ended with Left set, once.
type Emptied struct {
	Tag uint64
	At  time.Time
}

func (Ended) fact()   {}
func (Emptied) fact() {}

// A Host spawns processes and waits for them. There is at most one open Host
// in a process, since it reaps for the process as a whole; os/exec may be used
// beside it as long as its children stay in our session, which they do unless
// Setsid is set.
type Host struct {
	report func(Fact)
	caps   Capabilities

	spawners chan *spawner
	null     int // /dev/null, which also fills the idle slots
	limit    int // descriptors from here on don't exist for a new child

	epoll *os.File // of pidfds and cgroup.events files; itself in Go's poller
	epfd  int
	done  chan struct{}
	wg    sync.WaitGroup

	// forks is read-locked from a clone until the pid is registered, so that
	// whoever holds the write lock knows each child that is ours.
	forks sync.RWMutex

	mu     sync.Mutex
	procs  map[int32]*Process // running attempts by pid
	left   map[int32]leftover // by pid: kept alive by no leader (no cgroup)
	events map[int32]*Process // by descriptor: cgroup.events of trees with Left
	fresh  map[string]bool    // names of instances whose cgroup was never killed, see openTree

	creds struct { // see keepDumpable
		sync.Mutex
		n int
	}
	dumpable int

	self     identity
	guard    int  // pid, see Config; 0: none
	foreign  bool // some adopted process has another parent than us or the guard
	children func(pid int) []int

	news      int // eventfd: there is something in collected or leaving
	collected []collected
	leaving   []*Process // see Process.Leave

	sessions bool    // each program leads a session of its own, not just a group
	reset    []int32 // signals that a child sets to their default

	onChild    [4]uint64 // the runtime's struct sigaction of SIGCHLD
	dropsChild bool      // while it is not in force
}

// A leftover is a process of a tree whose leader has ended.
type leftover struct {
	p  *Process
	fd int // pidfd, in the epoll
}

// opened guards the rule of one Host at a time.
var opened atomic.Bool

// The kinds of things in the epoll, kept in the upper half of an event's data;
// the lower half is the pid, or for cgroup.events the descriptor.
const (
	kindLeader int32 = iota
	kindLeftover
	kindCgroup
	kindNews
)

// Open makes this process a supervisor: a child subreaper that reaps what
// nobody waits for. It fails when the kernel is older than Linux 5.9 or when
// descriptors or /proc are wanting.
func Open(c Config) (_ *Host, err error) {
	if !opened.CompareAndSwap(false, true) {
		return nil, errors.New("cannot open a process host: one is open already")
	}
	h := &Host{
		report:   c.Report,
		null:     -1,
		epfd:     -1,
		news:     -1,
		guard:    c.Guard,
		done:     make(chan struct{}),
		procs:    make(map[int32]*Process),
		left:     make(map[int32]leftover),
		events:   make(map[int32]*Process),
		fresh:    make(map[string]bool),
		spawners: make(chan *spawner, spawnerCount),
	}
	defer func() {
		if err != nil {
			h.release()
		}
	}()
	if h.report == nil {
		h.report = func(Fact) {}
	}
	if h.self, err = ownIdentity(); err != nil {
		return nil, err
	}
	if _, err := readStat(h.self.pid); err != nil {
		return nil, fmt.Errorf("cannot read /proc: %w; mount it", err)
	}
	if _, _, err := RaiseNoFile(); err != nil {
		return nil, err
	}
	h.dumpable, _ = unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0)
	if h.null, err = unix.Open("/dev/null", unix.O_RDWR|unix.O_CLOEXEC, 0); err != nil {
		return nil, fmt.Errorf("cannot open /dev/null: %w", err)
	}
	if err := h.openSpawners(); err != nil {
		return nil, err
	}
	if err := h.openEpoll(); err != nil {
		return nil, err
	}
	h.children = childrenByFile
	if _, err := os.Stat(fmt.Sprintf("/proc/self/task/%d/children", h.self.pid)); err != nil {
		h.children = childrenByScan // no CONFIG_PROC_CHILDREN
	}
	if h.news, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err == nil {
		err = h.watch(h.news, unix.EPOLLIN, kindNews, 0)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot make an eventfd: %w", err)
	}
	if err := h.probe(!c.NoClone3); err != nil {
		return nil, err
	}
	if c.Cgroup {
		h.caps.CgroupWhy = h.openCgroup(c.CgroupName)
		h.caps.CgroupKill = h.caps.Cgroup != "" && !c.NoCgroupKill && exists(h.caps.Cgroup+"/cgroup.kill")
	}
	// Last, since a trial in the cgroup finds out anew what there is.
	h.caps.Pidfs = h.caps.Pidfs && !c.NoPidfs
	h.caps.ExitInfo = h.caps.ExitInfo && !c.NoExitInfo

	// A cgroup knows its orphans without us, and init reaps them.
	if h.caps.Cgroup == "" && !c.NoSubreaper {
		h.caps.Subreaper = unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == nil
	}
	h.sessions = h.caps.Cgroup == "" || h.self.pid == 1 || hasTerminal()
	h.wg.Go(h.loop)
	if !h.caps.Subreaper && h.self.pid != 1 {
		return h, h.dropChildSignals() // nobody becomes our child but those we start
	}
	child := make(chan os.Signal, 1)
	signal.Notify(child, unix.SIGCHLD)
	h.wg.Go(func() {
		defer signal.Stop(child)
		h.reapStrangers(child)
	})
	return h, nil
}

// hasTerminal reports whether we have a controlling terminal, which programs
// could then open, and be stopped for reading from it.
func hasTerminal() bool {
	fd, err := unix.Open("/dev/tty", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return false
	}
	unix.Close(fd)
	return true
}

// dropChildSignals lets the kernel drop SIGCHLD, which tells nothing that a pidfd
// doesn't. The Go runtime has a handler for it even when nobody asked to be
// notified, and each of a thousand ends would wake a thread to run it. The
// default is to do nothing; ignoring it explicitly would reap by itself. Close
// gives the handler back: the runtime believes that it is still there.
func (h *Host) dropChildSignals() error {
	_, _, errno := unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(unix.SIGCHLD), uintptr(unsafe.Pointer(&sigDefault)), uintptr(unsafe.Pointer(&h.onChild)), 8, 0, 0)
	if errno != 0 {
		return fmt.Errorf("cannot reset SIGCHLD: %w", errno)
	}
	h.dropsChild = true
	return nil
}

// Close stops watching and gives back what the host holds. Programs keep
// running; nothing is reported about them any more. No Spawn may be under way.
func (h *Host) Close() error {
	select {
	case <-h.done:
		return os.ErrClosed
	default:
	}
	close(h.done)
	h.epoll.Close()
	h.wg.Wait()
	for _, p := range h.procs {
		p.settle()
		if p.held {
			p.Reap()
		}
	}
	for _, l := range h.left {
		unix.Close(l.fd)
		l.p.settle()
	}
	for fd, p := range h.events {
		unix.Close(int(fd))
		p.settle()
	}
	if h.caps.Subreaper {
		unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)
	}
	if h.caps.Cgroup != "" {
		unix.Rmdir(h.caps.Cgroup) // stays while an instance's cgroup does
	}
	h.release()
	return nil
}

// release gives back what Open takes step by step.
func (h *Host) release() {
	if h.epoll != nil {
		h.epoll.Close()
	}
	for {
		select {
		case sp := <-h.spawners:
			sp.close()
			continue
		default:
		}
		break
	}
	for _, fd := range []int{h.null, h.news} {
		if fd >= 0 {
			unix.Close(fd)
		}
	}
	if h.dropsChild {
		unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(unix.SIGCHLD), uintptr(unsafe.Pointer(&h.onChild)), 0, 8, 0, 0)
	}
	opened.Store(false)
}

// Capabilities says which ways are in force.
func (h *Host) Capabilities() Capabilities { return h.caps }

// openEpoll makes the epoll that holds the pidfds, and puts it into Go's own
// poller: the reaping goroutine then waits without a thread.
func (h *Host) openEpoll() (err error) {
	h.epfd, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return fmt.Errorf("cannot make an epoll: %w", err)
	}
	if err := unix.SetNonblock(h.epfd, true); err != nil {
		return fmt.Errorf("cannot make an epoll: %w", err)
	}
	h.epoll = os.NewFile(uintptr(h.epfd), "epoll")
	// A file that isn't in the poller refuses a deadline.
	if err := h.epoll.SetDeadline(time.Time{}); err != nil {
		return fmt.Errorf("cannot wait for an epoll: %w", err)
	}
	return nil
}

// watch puts fd into the epoll.
func (h *Host) watch(fd int, events uint32, kind, key int32) error {
	return unix.EpollCtl(h.epfd, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: events, Fd: key, Pad: kind})
}

// loop is the reaping goroutine. All facts come from here.
func (h *Host) loop() {
	raw, err := h.epoll.SyscallConn()
	if err != nil {
		return // closed already
	}
	buf := make([]unix.EpollEvent, 128)
	for {
		var n int
		err := raw.Read(func(fd uintptr) bool {
			n, err = unix.EpollWait(int(fd), buf, 0)
			return n > 0 || err != nil && err != unix.EINTR
		})
		if err != nil {
			return
		}
		h.handle(buf[:max(n, 0)])
	}
}

// handle carries one batch of events through. Leaders are reaped first, so
// that one look for what they left serves them all.
func (h *Host) handle(batch []unix.EpollEvent) {
	type end struct {
		p    *Process
		fact Ended
	}
	var ended []end
	var shrunk []*Process // trees that lost a leftover
	over := func(p *Process, fact Ended) {
		if p.heir.Load() == nil {
			ended = append(ended, end{p, fact})
			return
		}
		if p.cgroup == "" {
			p.bequeath(h.strays())
		}
		p.Reap()
		p.settle()
	}
	for _, ev := range batch {
		switch ev.Pad {
		case kindLeader:
			h.mu.Lock()
			p := h.procs[ev.Fd]
			h.mu.Unlock()
			if p == nil {
				continue
			}
			if fact, ok := p.look(); ok {
				over(p, fact)
			}
		case kindNews:
			for _, c := range h.takeCollected() {
				if fact, ok := c.p.end(c.Ended); ok {
					over(c.p, fact)
				}
			}
			h.letGo()
		case kindLeftover:
			h.mu.Lock()
			l, ok := h.left[ev.Fd]
			if ok {
				delete(h.left, ev.Fd)
				unix.Close(l.fd)
			}
			h.mu.Unlock()
			if ok {
				shrunk = append(shrunk, l.p.latest())
			}
		case kindCgroup:
			h.mu.Lock()
			p := h.events[ev.Fd]
			h.mu.Unlock()
			if p != nil && !populated(int(ev.Fd)) {
				h.mu.Lock()
				delete(h.events, ev.Fd)
				h.mu.Unlock()
				unix.Close(int(ev.Fd))
				h.emptied(p)
			}
		}
	}

	grouped := ended[:0]
	for _, e := range ended {
		if e.p.cgroup == "" {
			grouped = append(grouped, e)
			continue
		}
		if now := cpuTime(e.p.cgroup); e.p.cpu >= 0 && now >= 0 {
			e.fact.Tree = now - e.p.cpu
		}
		fd := eventsOf(e.p)
		e.fact.Left = fd >= 0
		h.finish(e.p, e.fact)
		if fd >= 0 {
			h.watchEvents(e.p, fd)
		}
	}
	if len(grouped) == 0 && len(shrunk) == 0 {
		return
	}
	strays := h.strays()
	for _, e := range grouped {
		kin := e.p.kin(strays)
		e.fact.Left = len(kin) > 0
		h.finish(e.p, e.fact)
		if e.fact.Left {
			h.watchKin(e.p, kin)
		}
	}
	for _, p := range shrunk {
		p.mu.Lock()
		rest := p.ended && !p.empty
		p.mu.Unlock()
		if rest {
			h.watchKin(p, p.kin(strays))
		}
	}
}

// finish reports that the leader ended.
func (h *Host) finish(p *Process, fact Ended) {
	if !fact.Left {
		p.settle()
	}
	h.report(fact)
}

// emptied reports that nothing of the tree is left, unless somebody else leads it.
func (h *Host) emptied(p *Process) {
	p.settle()
	if p.heir.Load() == nil {
		h.report(Emptied{Tag: p.tag, At: time.Now()})
	}
}

// watchEvents waits for the cgroup behind fd, its cgroup.events, to be empty.
func (h *Host) watchEvents(p *Process, fd int) {
	h.mu.Lock()
	h.events[int32(fd)] = p
	h.mu.Unlock()
	// The file polls readable with EPOLLPRI when it has changed since it was
	// last read, which was before this.
	if err := h.watch(fd, unix.EPOLLPRI, kindCgroup, int32(fd)); err == nil && populated(fd) {
		return
	}
	h.mu.Lock()
	delete(h.events, int32(fd))
	h.mu.Unlock()
	unix.Close(fd)
	h.emptied(p)
}

// watchKin waits for the end of the processes in kin, whose pidfds it takes
// over. When there are none, the tree is empty.
func (h *Host) watchKin(p *Process, kin []member) {
	if len(kin) == 0 {
		h.emptied(p)
		return
	}
	for _, m := range kin {
		h.mu.Lock()
		_, known := h.left[int32(m.pid)]
		if !known {
			h.left[int32(m.pid)] = leftover{p, m.fd}
		}
		h.mu.Unlock()
		if known {
			unix.Close(m.fd)
		} else if err := h.watch(m.fd, unix.EPOLLIN, kindLeftover, int32(m.pid)); err != nil {
			h.mu.Lock()
			delete(h.left, int32(m.pid))
			h.mu.Unlock()
			unix.Close(m.fd)
		}
	}
}

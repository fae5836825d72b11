package proc

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"tend/internal/fault"
)

// An Attempt says what is to run and how. Nil and -1 mean: as we have it.
type Attempt struct {
	Tag  uint64 // returned in each Fact
	Name string // of the instance, such as "queue:0": names its cgroup

	// Mark is an entry "KEY=VALUE" of Env that no other program has, by which
	// orphans of the attempt are recognised where there is no cgroup. "" for
	// none.
	Mark string

	Argv []string // Argv[0] without a slash is searched in the PATH of Env
	Env  []string
	Dir  string // "" is ours; Argv[0] and PATH may be relative to it

	Stdin, Stdout, Stderr int // descriptors of ours; -1 is /dev/null

	// Terminal says that Stdin is a terminal, and is to be the controlling one of
	// the program, in a session of its own: see [OpenTerminal].
	Terminal bool

	// Files are further descriptors of ours, by the numbers from 3 on under which
	// the program has them.
	Files map[int]int
	// OwnPID names variables that are added to Env, whose value is the pid of the
	// process itself.
	OwnPID []string

	// Born, where it is set, is told who the process is before it executes its
	// program: what is put aside there is put aside however soon we die. It is called
	// by the spawning goroutine.
	Born func(Birth)

	// Hold leaves the status of the process in the kernel until Process.Reap.
	Hold bool

	Cred        *Credential
	Umask       int // -1 is ours
	Nice        *int
	OOMScoreAdj *int
	NoNewPrivs  bool
	Limits      []Rlimit // RLIMIT_NOFILE is what it was before RaiseNoFile, unless here
}

// A Birth is what an Adoption by a later daemon has to know of a process.
type Birth struct {
	Identity
	Cgroup string        // folder; "": none
	CPU    time.Duration // that was used in the cgroup before; negative: not known
}

// A Credential is who a process runs as.
type Credential struct {
	UID, GID uint32
	Groups   []uint32 // supplementary
}

// Rlimit sets a resource limit, see prlimit(2). Infinity is ^uint64(0).
type Rlimit struct {
	Resource   int // unix.RLIMIT_NOFILE, …
	Soft, Hard uint64
}

const (
	// Two spawners keep two cores busy; more only lengthen the wait of each.
	spawnerCount = 2

	// The slots for the standard descriptors of new processes lie between
	// these numbers: above those that stand for something, and low, since each
	// descriptor below the limit is copied for every new process. Go's poller
	// and whatever else was opened early may lie among them.
	slotsFrom = 16
	slotsTo   = 64

	// Where execvp(3) and a shell without PATH look.
	defaultPath = "/usr/local/bin:/usr/bin:/bin"

	shell = "/bin/sh"

	lastSignal = 64
)

// A spawner holds what making one process at a time needs. Its memory is
// reused, and read by the new process until that has let go of it.
type spawner struct {
	clone
	slots [3]int        // below the limit: what becomes 0, 1, 2
	pids  [][]byte      // strings of the environment that end in the pid
	gate  atomic.Uint32 // 0 while the child waits for its pid to be written there
	calls []call
	keep  []unsafe.Pointer // what calls points to, for the garbage collector
}

func (h *Host) openSpawners() error {
	for range spawnerCount {
		sp := new(spawner)
		for i := range sp.slots {
			fd, err := unix.FcntlInt(uintptr(h.null), unix.F_DUPFD_CLOEXEC, slotsFrom)
			if err != nil {
				for _, fd := range sp.slots[:i] {
					unix.Close(fd)
				}
				return fmt.Errorf("cannot reserve descriptors: %w", err)
			}
			sp.slots[i] = fd
			h.limit = max(h.limit, slotsTo, fd+1)
		}
		h.spawners <- sp
	}
	return nil
}

func (sp *spawner) close() {
	for _, fd := range sp.slots {
		unix.Close(fd)
	}
}

// ptr returns p as an argument, and keeps what it points to.
func (sp *spawner) ptr(p unsafe.Pointer) uintptr {
	sp.keep = append(sp.keep, p)
	return uintptr(p)
}

// str returns s as a C string. A NUL byte in it is an error.
func (sp *spawner) str(s string) (uintptr, error) {
	p, err := unix.BytePtrFromString(s)
	if err != nil {
		return 0, fmt.Errorf("%q has a NUL byte: %w", s, err)
	}
	return sp.ptr(unsafe.Pointer(p)), nil
}

// strs returns s as an array of C strings ended by a null pointer.
func (sp *spawner) strs(s []string) (uintptr, error) {
	p, err := syscall.SlicePtrFromStrings(s)
	if err != nil {
		return 0, fmt.Errorf("a NUL byte: %w", err)
	}
	return sp.ptr(unsafe.Pointer(&p[0])), nil
}

// do adds a call that must succeed.
func (sp *spawner) do(step Step, nr uintptr, args ...uintptr) *call {
	sp.calls = append(sp.calls, call{nr: nr, step: step})
	c := &sp.calls[len(sp.calls)-1]
	copy(c.a[:], args)
	return c
}

// sigDefault is struct sigaction of the kernel: SIG_DFL, no flags, no mask. It
// has room for the largest of the architectures.
var sigDefault [4]uint64

// none is the empty set of signals.
var none uint64

// begin starts a new list with what every child does first: it leaves our
// descriptor table, taking along only the few below limit, which is why the
// cost of a spawn doesn't depend on how many are open.
func (sp *spawner) begin(limit int) {
	sp.calls = sp.calls[:0]
	clear(sp.keep)
	sp.keep, sp.pids = sp.keep[:0], nil
	sp.do(StepFork, unix.SYS_CLOSE_RANGE, uintptr(limit), maxFD, unix.CLOSE_RANGE_UNSHARE)
}

// maxFD is ~0U of close_range(2).
const maxFD = 1<<32 - 1

// end makes the last call of a list, reached when none before it has executed
// a program.
func (sp *spawner) end() { sp.do(StepExec, unix.SYS_EXIT_GROUP, 127) }

// prepare fills the list for a. join is the cgroup.procs file that the child is
// to write itself to, "" for none.
func (sp *spawner) prepare(h *Host, a *Attempt, argv, candidates []string, join string) error {
	limit := h.limit
	for number, fd := range a.Files {
		limit = max(limit, number+1, fd+1)
	}
	sp.begin(limit)
	if h.sessions || a.Terminal {
		sp.do(StepFork, unix.SYS_SETSID)
	} else {
		sp.do(StepFork, unix.SYS_SETPGID, 0, 0)
	}
	for i, fd := range sp.slots {
		sp.do(StepStdio, unix.SYS_DUP3, uintptr(fd), uintptr(i), 0)
	}
	if a.Terminal {
		sp.do(StepTerminal, unix.SYS_IOCTL, 0, unix.TIOCSCTTY, 0)
	}
	// Further files wait above all numbers in use until nothing is opened any more.
	files := slices.Sorted(maps.Keys(a.Files))
	for i, number := range files {
		sp.do(StepStdio, unix.SYS_DUP3, uintptr(a.Files[number]), uintptr(limit+i), unix.O_CLOEXEC).path = fileName(number)
	}
	// From here on descriptor 3 is the next that open returns.
	sp.do(StepStdio, unix.SYS_CLOSE_RANGE, 3, uintptr(limit-1), 0)
	sp.do(StepStdio, unix.SYS_CLOSE_RANGE, uintptr(limit+len(files)), maxFD, 0)

	// Handlers are ours and must be gone before signals are unblocked (clone3
	// does that by itself); ignored signals would stay ignored in the program.
	act := uintptr(unsafe.Pointer(&sigDefault))
	for _, sig := range h.reset {
		sp.do(StepFork, unix.SYS_RT_SIGACTION, uintptr(sig), act, 0, 8)
	}

	// What needs our privileges comes before they are given up.
	if join != "" {
		if err := sp.writeFile(StepCgroup, join, "0"); err != nil {
			return err
		}
	}
	if a.OOMScoreAdj != nil {
		if err := sp.writeFile(StepOOM, "/proc/self/oom_score_adj", strconv.Itoa(*a.OOMScoreAdj)); err != nil {
			return err
		}
	}
	if a.Nice != nil {
		sp.do(StepNice, unix.SYS_SETPRIORITY, unix.PRIO_PROCESS, 0, uintptr(*a.Nice)).path = strconv.Itoa(*a.Nice)
	}
	limits := a.Limits
	if !slices.ContainsFunc(limits, func(l Rlimit) bool { return l.Resource == unix.RLIMIT_NOFILE }) {
		orig, _, _ := RaiseNoFile()
		limits = append(slices.Clone(limits), orig)
	}
	for _, l := range limits {
		lim := &unix.Rlimit{Cur: l.Soft, Max: l.Hard}
		sp.do(StepLimit, unix.SYS_PRLIMIT64, 0, uintptr(l.Resource), sp.ptr(unsafe.Pointer(lim)), 0).path = limitName(l.Resource)
	}
	if a.Umask >= 0 {
		sp.do(StepFork, unix.SYS_UMASK, uintptr(a.Umask))
	}
	if c := a.Cred; c != nil {
		who := strconv.Itoa(int(c.UID))
		// Only what changes: so a user may ask to be what it is.
		if !h.self.sameGroups(c) {
			var p unsafe.Pointer
			if len(c.Groups) > 0 {
				p = unsafe.Pointer(unsafe.SliceData(slices.Clone(c.Groups)))
			}
			sp.do(StepGroups, unix.SYS_SETGROUPS, uintptr(len(c.Groups)), sp.ptr(p)).path = who
		}
		if int(c.GID) != h.self.gid {
			sp.do(StepGroup, unix.SYS_SETRESGID, uintptr(c.GID), uintptr(c.GID), uintptr(c.GID)).path = strconv.Itoa(int(c.GID))
		}
		if int(c.UID) != h.self.uid {
			sp.do(StepUser, unix.SYS_SETRESUID, uintptr(c.UID), uintptr(c.UID), uintptr(c.UID)).path = who
		}
	}
	if a.Dir != "" {
		p, err := sp.str(a.Dir)
		if err != nil {
			return &SpawnError{Step: StepDir, Path: a.Dir, Err: err}
		}
		sp.do(StepDir, unix.SYS_CHDIR, p).path = a.Dir
	}
	if a.NoNewPrivs {
		sp.do(StepPrivs, unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1)
	}
	sp.do(StepFork, unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, uintptr(unsafe.Pointer(&none)), 0, 8)

	for i, number := range files { // the others close when the program is executed
		sp.do(StepStdio, unix.SYS_DUP3, uintptr(limit+i), uintptr(number), 0).path = fileName(number)
	}
	args, err := sp.strs(argv)
	if err != nil {
		return &SpawnError{Step: StepExec, Path: argv[0], Err: err}
	}
	env, err := sp.strs(a.Env)
	if len(a.OwnPID) > 0 && err == nil {
		env, err = sp.awaitPID(a)
	}
	if err != nil {
		return &SpawnError{Step: StepExec, Path: argv[0], Err: fmt.Errorf("environment: %w", err)}
	}
	for _, file := range candidates {
		p, err := sp.str(file)
		if err != nil {
			return &SpawnError{Step: StepExec, Path: file, Err: err}
		}
		c := sp.do(StepExec, unix.SYS_EXECVE, p, args, env)
		c.path = file
		if len(candidates) > 1 {
			c.soft = uintptr(unix.ENOEXEC) // found, but see below
		}
	}
	sp.end()
	return nil
}

// fileName names a further descriptor of a program, for messages.
func fileName(number int) string { return "descriptor " + strconv.Itoa(number) }

// pidRoom is room for a pid of any length.
const pidRoom = "0000000000"

// awaitPID returns the environment of a with its own pid in it, for which the
// child waits: its memory is ours, and we know the number when it is there. Should
// we die before we tell it, it gives up.
func (sp *spawner) awaitPID(a *Attempt) (uintptr, error) {
	env := slices.Clip(a.Env)
	for _, name := range a.OwnPID {
		env = append(env, name+"="+pidRoom)
	}
	p, err := syscall.SlicePtrFromStrings(env)
	if err != nil {
		return 0, fmt.Errorf("a NUL byte: %w", err)
	}
	for i, name := range a.OwnPID {
		sp.pids = append(sp.pids, unsafe.Slice(p[len(a.Env)+i], len(name)+1+len(pidRoom))[len(name)+1:])
	}
	sp.gate.Store(0)
	patience := &unix.Timespec{Sec: 10}
	c := sp.do(StepFork, unix.SYS_FUTEX, sp.ptr(unsafe.Pointer(&sp.gate)), 0 /* FUTEX_WAIT */, 0, sp.ptr(unsafe.Pointer(patience)))
	c.soft = uintptr(unix.ETIMEDOUT)
	return sp.ptr(unsafe.Pointer(&p[0])), nil
}

// tellPID lets the child go on that waits for its pid.
func (sp *spawner) tellPID(pid int) {
	if sp.pids == nil {
		return
	}
	for _, room := range sp.pids {
		n := copy(room, strconv.Itoa(pid))
		clear(room[n:])
	}
	sp.gate.Store(1)
	syscall.RawSyscall6(unix.SYS_FUTEX, uintptr(unsafe.Pointer(&sp.gate)), 1 /* FUTEX_WAKE */, 1, 0, 0, 0)
}

// writeFile makes the child write s to the file name.
func (sp *spawner) writeFile(step Step, name, s string) error {
	p, err := sp.str(name)
	if err != nil {
		return err
	}
	b, err := sp.str(s)
	if err != nil {
		return err
	}
	at := unix.AT_FDCWD
	sp.do(step, unix.SYS_OPENAT, uintptr(at), p, unix.O_WRONLY).path = s
	sp.do(step, unix.SYS_WRITE, 3, b, uintptr(len(s))).path = s
	sp.do(step, unix.SYS_CLOSE, 3)
	return nil
}

// failure returns the call at which the child gave up, nil if none. Of several
// files tried in vain it is the one that says most: any before "no such file".
func (sp *spawner) failure() *call {
	var tried *call
	for i := range sp.calls {
		c := &sp.calls[i]
		switch {
		case c.nr == unix.SYS_EXECVE && c.err == 0:
			return nil // it was this one, or the child was killed before
		case c.err == 0, c.nr == unix.SYS_FUTEX && c.err != c.soft:
		case c.soft == 0 || c.err == c.soft:
			return c
		case tried == nil || missing(tried.err) && !missing(c.err):
			tried = c
		}
	}
	return tried
}

// missing reports whether an error of execve only says: not here.
func missing(errno uintptr) bool {
	return errno == uintptr(unix.ENOENT) || errno == uintptr(unix.ENOTDIR)
}

// Spawn starts an attempt. It returns when the program is executing, or with a
// *SpawnError. It may block, on a slow disk for instance, and may be called
// from several goroutines.
func (h *Host) Spawn(a *Attempt) (*Process, error) {
	if len(a.Argv) == 0 || a.Argv[0] == "" {
		return nil, &SpawnError{Step: StepExec, Err: errors.New("no command given")}
	}
	candidates, err := lookPath(a.Argv[0], a.Env)
	if err != nil {
		return nil, err
	}
	p, err := h.spawn(a, a.Argv, candidates)
	// As execvp(3) does: what isn't of a form the kernel knows is a script for
	// the shell, unless it is plainly none.
	var e *SpawnError
	if errors.As(err, &e) && e.Err == unix.ENOEXEC && !binary(within(a.Dir, e.Path)) {
		argv := append([]string{shell, e.Path}, a.Argv[1:]...)
		return h.spawn(a, argv, []string{shell})
	}
	return p, err
}

// lookPath returns the files that name may stand for, in order. Whether they
// exist and may be executed is for the child to find out, with its credentials
// and from its directory.
func lookPath(name string, env []string) ([]string, error) {
	if strings.Contains(name, "/") {
		return []string{name}, nil
	}
	search := defaultPath
	for _, e := range env {
		if v, ok := strings.CutPrefix(e, "PATH="); ok {
			search = v
		}
	}
	var files []string
	for _, dir := range strings.Split(search, ":") {
		if dir == "" {
			dir = "." // by tradition
		}
		file := path.Join(dir, name)
		if !strings.Contains(file, "/") {
			file = "./" + file
		}
		if !slices.Contains(files, file) {
			files = append(files, file)
		}
	}
	return files, nil
}

// spawn starts argv, from the first of the candidates that can be executed.
func (h *Host) spawn(a *Attempt, argv, candidates []string) (*Process, error) {
	cgroup, join := -1, ""
	if h.caps.Cgroup != "" {
		fd, err := h.openTree(a.Name)
		if err != nil {
			return nil, &SpawnError{Step: StepCgroup, Path: h.treeDir(a.Name), Err: err}
		}
		defer unix.Close(fd)
		if h.caps.Clone3 {
			cgroup = fd
		} else {
			join = h.treeDir(a.Name) + "/cgroup.procs"
		}
	}

	sp := <-h.spawners
	defer func() { h.spawners <- sp }()
	if err := sp.prepare(h, a, argv, candidates, join); err != nil {
		return nil, err
	}
	for i, fd := range [3]int{a.Stdin, a.Stdout, a.Stderr} {
		if fd < 0 {
			continue // the slot holds /dev/null
		}
		// dup3 may meet a descriptor that another thread is just opening.
		if err := retry(unix.EBUSY, func() error { return unix.Dup3(fd, sp.slots[i], unix.O_CLOEXEC) }); err != nil {
			return nil, &SpawnError{Step: StepStdio, Path: [3]string{"stdin", "stdout", "stderr"}[i], Err: err}
		}
		// The program's end of a pipe must not stay open here.
		defer unix.Dup3(h.null, sp.slots[i], unix.O_CLOEXEC)
	}
	if a.Cred != nil {
		defer h.keepDumpable()()
	}

	p := &Process{h: h, tag: a.Tag, name: a.Name, mark: a.Mark, held: a.Hold, cpu: -1}
	if h.caps.Cgroup != "" {
		p.cgroup = h.treeDir(a.Name)
		if a.Born != nil {
			p.cpu = cpuTime(p.cgroup)
		}
	}
	h.forks.RLock()
	pid, err := sp.start(h.caps.Clone3, cgroup, &sp.calls[0])
	if err == nil {
		p.pid, p.fd = int32(pid), sp.pidfd
		h.mu.Lock()
		h.procs[p.pid] = p
		h.mu.Unlock()
	}
	h.forks.RUnlock()
	if err != nil {
		return nil, forkError(err, a.Cred)
	}
	sp.tellPID(pid)
	if a.Born != nil {
		fault.Point("proc.cloned")
		p.id = h.identify(int(p.pid), int(p.fd))
		a.Born(Birth{p.id, p.cgroup, p.cpu})
		fault.Point("proc.born")
	}
	sp.wait()

	if c := sp.failure(); c != nil {
		p.discard()
		return nil, h.callError(c, a, argv[0], candidates)
	}
	p.mu.Lock()
	err = h.watch(int(p.fd), unix.EPOLLIN, kindLeader, p.pid)
	p.mu.Unlock()
	if err != nil {
		// Without a way to see its end it must not run.
		unix.PidfdSendSignal(int(p.fd), unix.SIGKILL, nil, 0)
		p.discard()
		return nil, &SpawnError{Step: StepWatch, Err: err}
	}
	return p, nil
}

// probe finds out by a child that only exits whether this kernel will do, and
// whether it takes clone3.
func (h *Host) probe(clone3 bool) error {
	h.caps.Clone3 = clone3 && h.try(true, -1) == nil
	h.reset = signalsToReset(h.caps.Clone3)
	if h.caps.Clone3 {
		return nil
	}
	return h.try(false, -1)
}

// signalsToReset returns the signals that a child must set back to their default
// itself: those that are ignored now, and without clone3 those with a handler.
func signalsToReset(clone3 bool) (list []int32) {
	for sig := int32(1); sig <= lastSignal; sig++ {
		if sig == int32(unix.SIGKILL) || sig == int32(unix.SIGSTOP) {
			continue
		}
		var act [4]uint64 // the handler is the first word on all our architectures
		_, _, errno := unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(sig), 0, uintptr(unsafe.Pointer(&act)), 8, 0, 0)
		const ignored = 1 // SIG_IGN
		if errno != 0 || !clone3 || act[0] == ignored {
			list = append(list, sig)
		}
	}
	return list
}

// try makes a child that does nothing, in the cgroup behind a descriptor
// unless that is -1.
func (h *Host) try(clone3 bool, cgroup int) error {
	sp := <-h.spawners
	defer func() { h.spawners <- sp }()
	sp.begin(h.limit)
	sp.end()
	if _, err := sp.start(clone3, cgroup, &sp.calls[0]); err != nil {
		return fmt.Errorf("cannot make a process: %w", err)
	}
	sp.wait()
	info, _ := waitid(unix.P_PIDFD, int(sp.pidfd), unix.WEXITED, nil)
	h.caps.Pidfs = onPidfs(int(sp.pidfd))
	_, h.caps.ExitInfo = exitInfo(int(sp.pidfd))
	unix.Close(int(sp.pidfd))
	if info.code != cldExited && cgroup >= 0 {
		return errors.New("what is born there is killed at once") // see openTree: our own cgroup has been killed once
	}
	if errno := syscall.Errno(sp.calls[0].err); errno != 0 {
		return fmt.Errorf("cannot give a process its own descriptors: close_range: %w; Linux 5.9 or newer is needed, and a seccomp filter that allows it", errno)
	}
	return nil
}

// keepDumpable is called before a spawn that changes the user; what it returns
// is called after it. The kernel marks the memory of a process that changes
// its user as not dumpable, and at that moment the child's memory is ours: it
// keeps the child's new user from attaching to it. Afterwards we want it back,
// for core dumps and a readable /proc/self in a user namespace, but not while
// another such child is under way.
func (h *Host) keepDumpable() func() {
	h.creds.Lock()
	h.creds.n++
	h.creds.Unlock()
	return func() {
		h.creds.Lock()
		defer h.creds.Unlock()
		if h.creds.n--; h.creds.n == 0 && h.dumpable == 1 {
			unix.Prctl(unix.PR_SET_DUMPABLE, 1, 0, 0, 0)
		}
	}
}

// identity is who we are.
type identity struct {
	pid, sid, uid, gid int
	groups             []int // sorted, with gid
}

func ownIdentity() (identity, error) {
	id := identity{pid: os.Getpid(), uid: os.Geteuid(), gid: os.Getegid()}
	var err error
	if id.sid, err = unix.Getsid(0); err != nil {
		return id, fmt.Errorf("cannot get our session: %w", err)
	}
	groups, err := os.Getgroups()
	if err != nil {
		return id, fmt.Errorf("cannot get our groups: %w", err)
	}
	id.groups = normal(append(groups, id.gid))
	return id, nil
}

// sameGroups reports whether c has the groups that we have.
func (id *identity) sameGroups(c *Credential) bool {
	groups := []int{int(c.GID)}
	for _, g := range c.Groups {
		groups = append(groups, int(g))
	}
	return slices.Equal(normal(groups), id.groups)
}

func normal(groups []int) []int {
	slices.Sort(groups)
	return slices.Compact(groups)
}

// retry calls f again while it fails with errno or is interrupted.
func retry(errno syscall.Errno, f func() error) error {
	for {
		if err := f(); err != errno && err != unix.EINTR {
			return err
		}
	}
}

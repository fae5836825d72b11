package logs

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Config is what a Capture needs from the daemon.
type Config struct {
	// Notice, if set, is called for each change in a destination's health. It
	// must not block: the stream waits for it.
	Notice func(Notice)

	// MaxOpenFiles bounds the log files that are held open; 0 is 256. Others
	// are opened again when there is output for them.
	MaxOpenFiles int

	// Stdout is where Inherit goes; nil is os.Stdout. The Capture keeps a
	// duplicate of the descriptor.
	Stdout *os.File

	// Stderr is the same for InheritError.
	Stderr *os.File

	// Times is the folder of the index by which output that carries no times is
	// found by time; "": there is none.
	Times string

	// Stages, where it is set, makes output that isn't spliced survive the death
	// of this process as well: see stage.go.
	Stages *Stages
}

// ErrClosed is what a closed Capture or Stream answers.
var ErrClosed = errors.New("log stream is closed")

// A Capture empties the pipes of all programs. Its methods may be called from
// any goroutine.
type Capture struct {
	notice func(Notice)
	epoll  *os.File
	epfd   int
	stdout int // duplicate of Config.Stdout
	stderr int // and of Config.Stderr
	start  time.Time
	times  string
	files  *files
	bufs   scratches
	stages *stages // nil: none

	mu        sync.Mutex
	closed    bool
	slots     []*Stream           // by EpollEvent.Fd
	free      []int32             // unused slots
	seq       int32               // tells a slot's owners apart in late events
	terminals map[int32]*Terminal // by their seq
	streams   int
	moved     int64
	dropped   int64
	packer    packer
	big       int   // streams with a larger pipe
	total     int64 // see Bound
	folder    string
	senders   map[Target]*sender // made when there is something to send

	// Two lanes, so that a standard output that blocks holds up only those
	// that write to it.
	disk, out lane

	wg sync.WaitGroup // the dispatcher and all workers
}

// A lane is a queue of streams that have something to carry, and the number of
// goroutines that serve it.
type lane struct {
	head, tail   *Stream
	workers, max int
}

func (l *lane) push(s *Stream) {
	s.next = nil
	if l.head == nil {
		l.head = s
	} else {
		l.tail.next = s
	}
	l.tail = s
}

func (l *lane) pop() *Stream {
	s := l.head
	if s != nil {
		l.head = s.next
		s.next = nil
	}
	return s
}

// remove takes s out of the queue, if it is there.
func (l *lane) remove(s *Stream) {
	var rest lane
	for q := l.pop(); q != nil; q = l.pop() {
		if q != s {
			rest.push(q)
		}
	}
	l.head, l.tail = rest.head, rest.tail
}

// Open makes a Capture. It keeps three descriptors (an epoll and duplicates of
// cfg.Stdout and cfg.Stderr) and one parked goroutine until it is closed.
func Open(cfg Config) (*Capture, error) {
	if cfg.Notice == nil {
		cfg.Notice = func(Notice) {}
	}
	if cfg.MaxOpenFiles <= 0 {
		cfg.MaxOpenFiles = defaultOpenFiles
	}
	if cfg.Stdout == nil {
		cfg.Stdout = os.Stdout
	}
	if cfg.Stderr == nil {
		cfg.Stderr = os.Stderr
	}
	stdout, err := duplicate(cfg.Stdout)
	if err != nil {
		return nil, fmt.Errorf("cannot capture output: standard output: %w", err)
	}
	stderr, err := duplicate(cfg.Stderr)
	if err != nil {
		unix.Close(stdout)
		return nil, fmt.Errorf("cannot capture output: standard error: %w", err)
	}
	epfd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		unix.Close(stdout)
		unix.Close(stderr)
		return nil, fmt.Errorf("cannot capture output: epoll: %w", err)
	}
	// An epoll descriptor can itself be polled. Marked non-blocking, os.NewFile
	// puts it into the runtime's poller: waiting costs a parked goroutine, not
	// a blocked thread.
	if err := unix.SetNonblock(epfd, true); err != nil {
		unix.Close(stdout)
		unix.Close(stderr)
		unix.Close(epfd)
		return nil, fmt.Errorf("cannot capture output: epoll: %w", err)
	}
	c := &Capture{
		notice: cfg.Notice,
		epoll:  os.NewFile(uintptr(epfd), "epoll"),
		epfd:   epfd,
		stdout: stdout,
		stderr: stderr,
		start:  time.Now(),
		times:  cfg.Times,
		files:  newFiles(cfg.MaxOpenFiles),
		disk:   lane{max: fileWorkers},
		out:    lane{max: 1},
	}
	conn, err := c.epoll.SyscallConn()
	if err != nil {
		unix.Close(stdout)
		unix.Close(stderr)
		c.epoll.Close()
		return nil, fmt.Errorf("cannot capture output: epoll: %w", err)
	}
	if cfg.Stages != nil {
		c.stages = c.openStages(*cfg.Stages)
	}
	c.wg.Go(func() { c.dispatch(conn) })
	return c, nil
}

// duplicate returns a descriptor of f's open file, without changing its mode as
// [os.File.Fd] may.
func duplicate(f *os.File) (fd int, err error) {
	conn, err := f.SyscallConn()
	if err != nil {
		return -1, err
	}
	cerr := conn.Control(func(old uintptr) {
		fd, err = unix.FcntlInt(old, unix.F_DUPFD_CLOEXEC, 3)
	})
	return fd, errors.Join(cerr, err)
}

// Pipe makes a pipe for the output that name writes. The Capture keeps one
// descriptor of it.
func (c *Capture) Pipe(name string, o Options) (*Stream, error) {
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
		return nil, fmt.Errorf("cannot make a pipe for the output of %s: %w", name, err)
	}
	defer unix.Close(p[0])
	defer unix.Close(p[1])
	return c.Adopt(name, p[0], o)
}

// Adopt is Pipe for a pipe that exists, such as that of a program which has
// outlived an earlier daemon. What waits in it is carried on. The descriptor fd
// stays the caller's.
func (c *Capture) Adopt(name string, fd int, o Options) (*Stream, error) {
	fail := func(err error) (*Stream, error) {
		return nil, fmt.Errorf("cannot capture the output of %s: %w", name, err)
	}
	if err := o.check(); err != nil {
		return fail(err)
	}
	own, err := reopenPipe(fd, unix.O_NONBLOCK)
	if err != nil {
		return fail(err)
	}
	if o.UID != -1 || o.GID != -1 {
		if err := unix.Fchown(own, o.UID, o.GID); err != nil {
			unix.Close(own)
			return fail(fmt.Errorf("giving the pipe to user %d, group %d: %w", o.UID, o.GID, err))
		}
	}
	size, err := unix.FcntlInt(uintptr(own), unix.F_GETPIPE_SZ, 0)
	if err != nil {
		unix.Close(own)
		return fail(err)
	}
	makeFolder(&o)

	s := &Stream{c: c, name: name, fd: int32(own), size: int32(size)}
	s.set(&o)
	if s.size > plainPipe { // an earlier process has made it larger
		s.small, s.big = plainPipe, true
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		unix.Close(own)
		return fail(ErrClosed)
	}
	if n := len(c.free); n > 0 {
		s.slot, c.free = c.free[n-1], c.free[:n-1]
	} else {
		s.slot = int32(len(c.slots))
		c.slots = append(c.slots, nil)
	}
	c.seq++
	s.seq = c.seq
	if err := s.arm(unix.EPOLL_CTL_ADD); err != nil {
		c.free = append(c.free, s.slot)
		unix.Close(own)
		return fail(fmt.Errorf("epoll: %w", err))
	}
	c.slots[s.slot] = s
	c.streams++
	if s.big {
		c.big++
	}
	c.pack(&o) // what an earlier process has left undone
	return s, nil
}

// reopenPipe opens the pipe behind fd for reading and writing: such a
// descriptor sees neither the end of file nor SIGPIPE (fifo(7)).
func reopenPipe(fd, flags int) (int, error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return -1, err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFIFO {
		return -1, errors.New("descriptor is not a pipe")
	}
	path := fmt.Sprintf("/proc/self/fd/%d", fd)
	n, err := openRetry(path, unix.O_RDWR|unix.O_CLOEXEC|flags, 0)
	if err != nil {
		return -1, fmt.Errorf("opening the pipe again: %w", &os.PathError{Op: "open", Path: path, Err: err})
	}
	return n, nil
}

// makeFolder makes the folder of the log file early, so that a follower has
// something to watch. An error is told when the first output meets it.
func makeFolder(o *Options) {
	if o.Mode == File {
		_ = os.MkdirAll(filepath.Dir(o.Path), 0o755)
	}
}

// dispatch hands streams whose pipe is readable to the workers, until the epoll
// is closed.
func (c *Capture) dispatch(conn syscall.RawConn) {
	var events [128]unix.EpollEvent
	for {
		n := 0
		err := conn.Read(func(fd uintptr) bool {
			var err error
			for {
				if n, err = unix.EpollWait(int(fd), events[:], 0); err != unix.EINTR {
					return n != 0
				}
			}
		})
		if err != nil {
			return
		}
		c.mu.Lock()
		for _, ev := range events[:max(n, 0)] {
			if ev.Fd == ofTerminal {
				if t := c.terminals[ev.Pad]; t != nil {
					t.kick()
				}
				continue
			}
			// The slot may have a new owner since the kernel made the event.
			if s := c.slots[ev.Fd]; s != nil && s.seq == ev.Pad {
				c.enqueue(s)
			}
		}
		c.mu.Unlock()
	}
}

// enqueue gives s a turn, unless it has one coming. c.mu is held.
func (c *Capture) enqueue(s *Stream) {
	if s.state != armed || c.closed {
		return
	}
	s.state = queued
	l := c.lane(s)
	l.push(s)
	if l.workers < l.max {
		l.workers++
		c.wg.Go(func() { c.work(l) })
	}
}

func (c *Capture) lane(s *Stream) *lane {
	if s.mode == Inherit || s.mode == InheritError {
		return &c.out
	}
	if s.extra != nil {
		for _, t := range s.extra.Also {
			if t.Kind >= Stdout {
				return &c.out
			}
		}
	}
	return &c.disk
}

// work gives turns to the streams of a lane until none waits.
func (c *Capture) work(l *lane) {
	c.mu.Lock()
	defer c.mu.Unlock()
	defer func() { l.workers-- }()
	for {
		s := l.pop()
		if s == nil {
			return
		}
		s.state = running
		o := s.options()
		due := s.failure == nil || c.now() >= s.failure.retry
		s.flush = s.drains != nil || s.hold != nil && s.hold.after > lastHold
		c.mu.Unlock()
		n, held := c.turn(s, &o, due)
		c.mu.Lock()
		c.settle(s, l, n, held)
	}
}

// settle decides what becomes of s after a turn that moved n bytes: a further
// turn, at once or after a nap, or back to the epoll. held says that the pipe
// isn't empty, but holds the beginning of a line that has to be whole. c.mu is
// held, and let go of during the nap.
func (c *Capture) settle(s *Stream, l *lane, n int64, held bool) {
	s.moved += n
	c.moved += n
	if n > 0 {
		s.hold = nil
	}
	s.wake(n)
	again, nap := s.pace(n, c.now())
	c.size(s, again && n >= int64(s.size)/2)
	again = again && !(held && n == 0)
	if nap >= minNap/2 && l.head == nil && !s.closed && !c.closed && s.drains == nil {
		// Let the pipe fill: a splice of 30 KiB costs about what one of 100
		// bytes does. While others wait for a turn, that is the nap.
		c.mu.Unlock()
		ts := unix.NsecToTimespec(nap.Nanoseconds())
		_ = unix.Nanosleep(&ts, nil) // the runtime's timers are too coarse when all else is idle
		c.mu.Lock()
	}
	switch {
	case s.closed:
		s.release()
	case again || s.drains != nil:
		s.state = queued
		next := c.lane(s) // Configure may have changed it
		next.push(s)
		if next != l && next.workers < next.max {
			next.workers++
			c.wg.Go(func() { c.work(next) })
		}
	case held:
		s.state = armed // but the epoll would say at once that there is something
		s.await()
	default:
		s.state = armed
		if err := s.arm(unix.EPOLL_CTL_MOD); err != nil {
			panic("logs: cannot arm a pipe: " + err.Error()) // our own descriptors, long in the epoll
		}
	}
}

// size gives the pipe of a stream that fills half of it in a nap more room, and takes
// it back from one that has become quiet. c.mu is held.
func (c *Capture) size(s *Stream, full bool) {
	switch {
	case s.closed, s.mode != File || s.extra != nil && (s.extra.Recipe != nil || s.extra.sees()) || s.tap != nil:
		// What isn't spliced has to find room in a stage.
	case full && !s.big && s.size < s.largest() && c.big < maxBig:
		if n, err := unix.FcntlInt(uintptr(s.fd), unix.F_SETPIPE_SZ, int(s.largest())); err == nil {
			s.small, s.size, s.big = s.size, int32(n), true
			c.big++
		}
	case s.big && s.nap == 0:
		if n, err := unix.FcntlInt(uintptr(s.fd), unix.F_SETPIPE_SZ, int(s.small)); err == nil {
			s.size, s.big = int32(n), false
			c.big--
		}
	}
}

// largest is how large the pipe of s may be made, in bytes.
func (s *Stream) largest() int32 {
	n := int32(bigPipe)
	for s.maxSize > 0 && int64(n)*pipesPerFile > s.maxSize && n > plainPipe {
		n /= 2
	}
	return n
}

// now is the monotonic time since c was made.
func (c *Capture) now() time.Duration { return time.Since(c.start) }

// Reopen opens all log files by name when there is next output for them (the
// SIGUSR2 of logrotate's postrotate). When it returns nothing more is written
// to the files that were open before.
func (c *Capture) Reopen() error {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return ErrClosed
	}
	for _, s := range c.slots {
		if s != nil && s.failure != nil {
			s.failure.retry = 0
		}
	}
	senders := slices.Collect(maps.Values(c.senders))
	c.mu.Unlock()
	for _, s := range senders {
		s.mu.Lock()
		s.retry = time.Time{}
		s.mu.Unlock()
	}
	c.files.reopen()
	return nil
}

// StageFDs returns the descriptors of the stages by number, as [Stream.FD].
func (c *Capture) StageFDs() map[int]int { return c.stages.fds() }

// Stats are totals since the Capture was opened.
type Stats struct {
	Streams   int   // open now
	OpenFiles int   // log files held open now
	Moved     int64 // bytes taken out of pipes
	Dropped   int64 // of these, bytes lost because their destination failed
}

// Stats returns the totals.
func (c *Capture) Stats() Stats {
	c.mu.Lock()
	defer c.mu.Unlock()
	return Stats{Streams: c.streams, OpenFiles: c.files.count(), Moved: c.moved, Dropped: c.dropped}
}

// Close lets go of all pipes and files. It drains nothing: what is in a pipe
// stays there for as long as somebody else (the program, a guard) holds it.
// It waits for turns under way; one that is blocked in a standard output
// nobody reads is left behind after a second.
func (c *Capture) Close() error {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return ErrClosed
	}
	c.closed = true
	for _, l := range []*lane{&c.disk, &c.out} {
		for s := l.pop(); s != nil; s = l.pop() {
			s.state = armed
		}
	}
	for _, s := range c.slots {
		if s != nil {
			s.close()
		}
	}
	for _, t := range c.terminals {
		t.close()
	}
	c.mu.Unlock()
	err := c.epoll.Close()

	done := make(chan struct{})
	go func() {
		c.wg.Wait()
		c.files.shrink()
		c.bufs.close()
		c.stages.close()
		c.hangUp()
		unix.Close(c.stdout)
		unix.Close(c.stderr)
		close(done)
	}()
	late := time.NewTimer(time.Second)
	defer late.Stop()
	select {
	case <-done:
	case <-late.C:
	}
	return err
}

// The states of a stream.
const (
	armed   = iota // in the epoll, or disarmed with an event on its way
	queued         // in a lane
	running        // a worker has it
)

// A Stream is the output of one instance: a pipe and its destination. It must
// be small, for there may be ten thousand; what only some need is behind a
// pointer.
type Stream struct {
	c    *Capture
	name string
	next *Stream // in a lane

	path    string
	maxSize int64
	keep    int32
	mode    Mode
	state   uint8
	closed  bool
	big     bool // the pipe is larger than it was, small, when it was made
	flush   bool // what isn't a whole line doesn't wait any longer; the worker's, set before its turn

	tap    Tap
	extra  *Options // what there is of options beyond these; nil: nothing
	rest   *[]byte  // the beginning of a line that wasn't sent to targets yet; the worker's
	budget *budget  // nil: no limit has been looked at
	hold   *hold    // nil: no beginning of a line is held back

	fd, size, slot, seq, small int32 // the pipe, its capacity in bytes, the place in c.slots

	moved   int64
	last    time.Duration // end of the last turn, by c.now
	nap     time.Duration // how long the last one was, if it came to one
	failure *failure      // nil while the destination takes bytes; changed by the worker alone, under c.mu
	drains  *drain
}

// A failure is the state of a destination that refuses bytes.
type failure struct {
	err     error
	dropped int64
	retry   time.Duration // by c.now: output that comes earlier is dropped
	midLine bool          // what was dropped last has no line end; the worker's alone
}

// A hold is the wait for the rest of a line.
type hold struct {
	timer *time.Timer
	after time.Duration // how long the next wait is
}

// A drain is a caller of Drain that waits.
type drain struct {
	left  int64 // bytes that were in the pipe and still are
	fresh bool  // a turn has begun since the call: what it moves counts
	done  chan struct{}
	next  *drain
}

func (s *Stream) set(o *Options) {
	s.path, s.mode, s.maxSize, s.keep, s.tap = o.Path, o.Mode, o.MaxSize, int32(min(o.Keep, 1<<30)), o.Tap
	s.extra = nil
	if o.Recipe != nil || o.Compress != Plain || len(o.Also) > 0 || o.Rate > 0 {
		extra := *o
		s.extra = &extra
	}
}

func (s *Stream) options() Options {
	if s.extra != nil {
		return *s.extra
	}
	return Options{Path: s.path, Mode: s.mode, MaxSize: s.maxSize, Keep: int(s.keep), Tap: s.tap, UID: -1, GID: -1}
}

// arm asks the epoll for one event.
func (s *Stream) arm(op int) error {
	ev := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLONESHOT, Fd: s.slot, Pad: s.seq}
	return unix.EpollCtl(s.c.epfd, op, int(s.fd), &ev)
}

// pace decides how s goes on after a turn that moved n bytes and ended at now:
// again, after a nap, or when the epoll says so. The nap is made longer or
// shorter so that the pipe is about half full at its end: enough to save turns,
// not so much that the program waits.
func (s *Stream) pace(n int64, now time.Duration) (again bool, nap time.Duration) {
	elapsed := now - s.last
	s.last = now
	full := int64(s.size)
	switch {
	case n*int64(maxNap) < 1024*int64(elapsed): // less than 1 KiB in the longest nap
		s.nap = 0
		return false, 0
	case n >= full*3/4:
		s.nap /= 2
	case n < full/2:
		longest := maxNap
		if s.big {
			longest *= 2
		}
		s.nap = min(max(2*s.nap, minNap), longest)
	}
	return true, s.nap
}

// wake tells those who drain about a turn that moved n bytes. c.mu is held.
func (s *Stream) wake(n int64) {
	for p := &s.drains; *p != nil; {
		d := *p
		if d.fresh {
			d.left -= n
		}
		if d.fresh && (n == 0 || d.left <= 0) && s.rest == nil || s.closed {
			close(d.done)
			*p = d.next
			continue
		}
		d.fresh = true
		p = &d.next
	}
}

// Writer opens the pipe once more, for one spawn: the standard output of a
// program. The caller closes it. The descriptor blocks, and is opened O_RDWR
// and O_CLOEXEC.
func (s *Stream) Writer() (fd int, err error) {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	if s.closed {
		return -1, fmt.Errorf("cannot open the output of %s: %w", s.name, ErrClosed)
	}
	fd, err = reopenPipe(int(s.fd), 0)
	if err != nil {
		return -1, fmt.Errorf("cannot open the output of %s: %w", s.name, err)
	}
	return fd, nil
}

// FD returns the descriptor of the pipe, for a process that is about to execute
// another binary in its place. It stays the stream's.
func (s *Stream) FD() int {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	return int(s.fd)
}

// Inode returns the number of the pipe, by which it is found again among the
// descriptors of whoever holds it.
func (s *Stream) Inode() uint64 {
	var st unix.Stat_t
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	if s.closed || unix.Fstat(int(s.fd), &st) != nil {
		return 0
	}
	return st.Ino
}

// Configure changes the options of a live stream. They hold from its next turn
// on; bytes that are in the pipe by now may go either way.
func (s *Stream) Configure(o Options) error {
	if err := o.check(); err != nil {
		return fmt.Errorf("cannot configure the log of %s: %w", s.name, err)
	}
	makeFolder(&o)
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	if s.closed {
		return fmt.Errorf("cannot configure the log of %s: %w", s.name, ErrClosed)
	}
	if s.path != o.Path || s.mode != o.Mode {
		s.c.files.forget(s.path)
	}
	if s.state == queued {
		// A worker of the old place's lane must not carry it to the new one: all of
		// them could end up in a standard output that blocks.
		s.c.lane(s).remove(s)
		s.state = armed
		s.set(&o)
		s.c.enqueue(s)
	}
	s.set(&o)
	s.c.pack(&o)
	if s.failure != nil {
		s.failure.retry = 0
	}
	return nil
}

// Drain waits until all that is in the pipe at the time of the call has reached
// its destination. While the destination refuses bytes, which are dropped then,
// it returns that error; else ctx's, when ctx ends first.
func (s *Stream) Drain(ctx context.Context) error {
	d := &drain{done: make(chan struct{})}
	s.c.mu.Lock()
	if s.closed {
		s.c.mu.Unlock()
		return fmt.Errorf("cannot drain the output of %s: %w", s.name, ErrClosed)
	}
	// What has left the pipe is written, or will be when the turn that is under
	// way has ended.
	n, err := unix.IoctlGetInt(int(s.fd), unix.TIOCINQ)
	if err != nil || n == 0 && s.state != running && s.rest == nil {
		defer s.c.mu.Unlock()
		if err == nil {
			err = s.failed()
		}
		return err
	}
	d.left, d.fresh = int64(n), s.state != running || n == 0
	d.next, s.drains = s.drains, d
	s.c.enqueue(s)
	s.c.mu.Unlock()

	select {
	case <-d.done:
		s.c.mu.Lock()
		defer s.c.mu.Unlock()
		if s.closed {
			return fmt.Errorf("cannot drain the output of %s: %w", s.name, ErrClosed)
		}
		return s.failed()
	case <-ctx.Done():
		s.c.mu.Lock()
		defer s.c.mu.Unlock()
		for p := &s.drains; *p != nil; p = &(*p).next {
			if *p == d {
				*p = d.next
				break
			}
		}
		return fmt.Errorf("cannot drain the output of %s: %w", s.name, context.Cause(ctx))
	}
}

// failed is Drain's error while bytes are dropped. s.c.mu is held.
func (s *Stream) failed() error {
	if s.failure == nil {
		return nil
	}
	return fmt.Errorf("cannot drain the output of %s: %w", s.name, s.failure.err)
}

// Close lets go of the pipe. What is in it is lost unless somebody else holds
// it; Drain first.
func (s *Stream) Close() error {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	if s.closed {
		return ErrClosed
	}
	if s.state == queued {
		s.c.lane(s).remove(s)
		s.state = armed
	}
	s.close()
	s.c.files.forget(s.path)
	return nil
}

// close takes s, which isn't queued, from the capture. A worker that has it
// closes the descriptor at the end of its turn. c.mu is held.
func (s *Stream) close() {
	s.closed = true
	if s.big {
		s.c.big--
	}
	s.c.slots[s.slot] = nil
	s.c.free = append(s.c.free, s.slot)
	s.c.streams--
	s.wake(0)
	if s.state == armed {
		s.release()
	}
}

// await has a turn come after a while. c.mu is held.
func (s *Stream) await() {
	if s.hold == nil {
		s.hold = &hold{after: firstHold}
	}
	h := s.hold
	h.timer = time.AfterFunc(h.after, func() {
		s.c.mu.Lock()
		defer s.c.mu.Unlock()
		if s.hold == h && !s.closed {
			s.c.enqueue(s)
		}
	})
	h.after *= 2
}

// release closes the pipe's descriptor, which takes it from the epoll: nobody
// else shares its open file.
func (s *Stream) release() {
	if s.hold != nil {
		s.hold.timer.Stop()
		s.hold = nil
	}
	if s.fd >= 0 {
		unix.Close(int(s.fd))
		s.fd = -1
	}
}

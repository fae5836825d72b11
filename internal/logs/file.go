package logs

import (
	"bytes"
	"container/list"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"tend/internal/fault"
)

// files are the log files held open, the least recently used of them closed
// when there are too many. A path has one file, however many streams write it,
// so that nobody writes over another's bytes.
type files struct {
	mu     sync.Mutex
	max    int
	byPath map[string]*file
	lru    list.List // of *file, the most recently used in front
}

// A file is one destination.
type file struct {
	path string

	// Under files.mu.
	elem      *list.Element
	users     int
	forgotten bool // close it when its last user lets go

	// mu is held for a turn. The rest is under it, or nobody's while users is 0.
	mu       sync.Mutex
	fd       int  // -1: closed
	regular  bool // can be rotated, and truncated by others
	noSplice bool // this file system refuses splice

	noted time.Time // when the size was last put into the index; zero: not since it was opened

	rotateErr error     // why the last rotation failed
	rotateAt  time.Time // when to try again
}

func newFiles(limit int) *files {
	return &files{max: limit, byPath: make(map[string]*file)}
}

// acquire returns the file of path, locked, perhaps not open yet.
func (fs *files) acquire(path string) *file {
	fs.mu.Lock()
	f := fs.byPath[path]
	if f == nil {
		f = &file{path: path, fd: -1}
		f.elem = fs.lru.PushFront(f)
		fs.byPath[path] = f
	} else {
		fs.lru.MoveToFront(f.elem)
	}
	f.users++
	idle := fs.evict(fs.max)
	fs.mu.Unlock()
	closeAll(idle)
	f.mu.Lock()
	return f
}

// release undoes acquire.
func (fs *files) release(f *file) {
	f.mu.Unlock()
	fs.mu.Lock()
	f.users--
	var idle []int
	if f.forgotten && f.users == 0 {
		idle = append(idle, fs.drop(f))
	}
	idle = append(idle, fs.evict(fs.max)...)
	fs.mu.Unlock()
	closeAll(idle)
}

// evict drops unused files until at most limit remain, and returns their
// descriptors. fs.mu is held.
func (fs *files) evict(limit int) (fds []int) {
	for e := fs.lru.Back(); e != nil && fs.lru.Len() > limit; {
		f := e.Value.(*file)
		e = e.Prev()
		if f.users == 0 {
			fds = append(fds, fs.drop(f))
		}
	}
	return fds
}

// drop takes f, which has no users, from the table. fs.mu is held.
func (fs *files) drop(f *file) (fd int) {
	fs.lru.Remove(f.elem)
	delete(fs.byPath, f.path)
	return f.fd
}

func closeAll(fds []int) {
	for _, fd := range fds {
		if fd >= 0 {
			unix.Close(fd)
		}
	}
}

// shrink closes all files that aren't in use.
func (fs *files) shrink() {
	fs.mu.Lock()
	idle := fs.evict(0)
	fs.mu.Unlock()
	closeAll(idle)
}

// forget closes the file of path, at once or when its users are done with it.
func (fs *files) forget(path string) {
	fs.mu.Lock()
	f := fs.byPath[path]
	var idle []int
	if f != nil {
		if f.users == 0 {
			idle = append(idle, fs.drop(f))
		} else {
			f.forgotten = true
		}
	}
	fs.mu.Unlock()
	closeAll(idle)
}

// reopen closes all files, waiting for turns under way.
func (fs *files) reopen() {
	fs.mu.Lock()
	var all []*file
	for _, f := range fs.byPath {
		f.users++
		all = append(all, f)
	}
	fs.mu.Unlock()
	for _, f := range all {
		f.mu.Lock()
		f.close()
		f.rotateAt = time.Time{}
		fs.release(f)
	}
	fs.shrink()
}

func (fs *files) count() int {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	return len(fs.byPath)
}

// openRetry is open(2), again when a signal interrupts it.
func openRetry(path string, flags int, perm uint32) (fd int, err error) {
	for {
		if fd, err = unix.Open(path, flags, perm); err != unix.EINTR {
			return fd, err
		}
	}
}

// open opens the file by its name. fs gives up unused descriptors when there
// are no others.
func (f *file) open(fs *files) error {
	// O_RDWR: the last byte says whether a line is begun, and a named pipe
	// nobody reads can be opened. O_NONBLOCK only matters for such.
	const flags = unix.O_RDWR | unix.O_CREAT | unix.O_CLOEXEC | unix.O_NONBLOCK | unix.O_NOCTTY
	fd, err := openRetry(f.path, flags, 0o640)
	switch err {
	case unix.ENOENT:
		if err := os.MkdirAll(filepath.Dir(f.path), 0o755); err != nil {
			return fmt.Errorf("cannot make the log folder: %w", err)
		}
		fd, err = openRetry(f.path, flags, 0o640)
	case unix.EMFILE, unix.ENFILE:
		fs.shrink()
		fd, err = openRetry(f.path, flags, 0o640)
	}
	if err != nil {
		return fmt.Errorf("cannot open log file: %w", &os.PathError{Op: "open", Path: f.path, Err: err})
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		unix.Close(fd)
		return fmt.Errorf("cannot open log file: %w", &os.PathError{Op: "stat", Path: f.path, Err: err})
	}
	f.fd, f.regular, f.noSplice, f.noted = fd, st.Mode&unix.S_IFMT == unix.S_IFREG, false, time.Time{}
	return nil
}

func (f *file) close() {
	if f.fd >= 0 {
		unix.Close(f.fd)
		f.fd = -1
	}
}

// ready opens the file if need be, and returns its size: where the next byte
// goes. Asking each time costs little, and takes notice of others: a file that
// was truncated (logrotate's copytruncate) is continued at its new end, one
// that was removed is begun anew.
func (f *file) ready(fs *files) (size int64, err error) {
	if f.fd < 0 {
		if err := f.open(fs); err != nil {
			return 0, err
		}
	}
	if !f.regular {
		return 0, nil
	}
	var st unix.Stat_t
	if err := unix.Fstat(f.fd, &st); err != nil {
		return 0, f.writeError(err)
	}
	if st.Nlink == 0 {
		f.close()
		if err := f.open(fs); err != nil {
			return 0, err
		}
		if err := unix.Fstat(f.fd, &st); err != nil {
			return 0, f.writeError(err)
		}
	}
	return st.Size, nil
}

func (f *file) writeError(err error) error {
	return fmt.Errorf("cannot write log file: %w", &os.PathError{Op: "write", Path: f.path, Err: err})
}

// column returns how much there is of the line that the file's first size bytes
// end in; 0: none is begun. With limit bytes it is long enough.
func (f *file) column(size int64, limit int) int {
	if !f.midLine(size) {
		return 0
	}
	if limit == 0 {
		return 1
	}
	p := make([]byte, min(int64(limit), size))
	n, err := unix.Pread(f.fd, p, size-int64(len(p)))
	if err != nil || n < len(p) {
		return 1
	}
	return n - 1 - bytes.LastIndexByte(p, '\n')
}

// note puts the size into the index, if it wasn't there lately.
func (f *file) note(folder string) {
	now := time.Now()
	if !f.noted.IsZero() && now.Sub(f.noted) < noteEvery {
		return
	}
	f.noted = now
	var st unix.Statx_t
	var at Position
	if statx(f.fd, "", unix.AT_EMPTY_PATH, &st, &at) != nil {
		return
	}
	at.Offset = int64(st.Size)
	before := st.Mtime.Sec*1e9 + int64(st.Mtime.Nsec)
	addNote(folder, f.path, note{at: at, before: before, since: now.UnixNano()})
}

// midLine says whether the last of size bytes is no line end. A file that can't
// be read is taken to end in one.
func (f *file) midLine(size int64) bool {
	var b [1]byte
	if size == 0 || !f.regular {
		return false
	}
	n, err := unix.Pread(f.fd, b[:], size-1)
	return n == 1 && err == nil && b[0] != '\n'
}

// write writes all of p at offset off, or nothing. A file that isn't regular has
// no offset, and is waited for as long as patience says.
func (f *file) write(p []byte, off int64, patience time.Duration) error {
	if !f.regular {
		if _, err := writeTo(f.fd, p, patience); err != nil {
			return f.writeError(err)
		}
		return nil
	}
	for done := 0; done < len(p); {
		n, err := unix.Pwrite(f.fd, p[done:], off+int64(done))
		if n > 0 {
			done += n
		}
		if err == unix.EINTR {
			continue
		}
		if err == nil && n == 0 {
			err = unix.EIO
		}
		if err != nil {
			// The bytes are still in the pipe: take back those that were
			// written, lest they be there twice.
			_ = unix.Ftruncate(f.fd, off)
			return f.writeError(err)
		}
	}
	return nil
}

// writeTo writes p to a terminal, pipe or socket, waiting at most patience (-1:
// for ever) each time it takes nothing.
func writeTo(fd int, p []byte, patience time.Duration) (done int, err error) {
	timeout := -1
	if patience >= 0 {
		timeout = int(patience.Milliseconds())
	}
	for done < len(p) {
		n, err := unix.Write(fd, p[done:])
		if n > 0 {
			done += n
		}
		switch err {
		case nil, unix.EINTR:
		case unix.EAGAIN:
			ready, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}, timeout)
			if err != nil && err != unix.EINTR {
				return done, err
			}
			if ready == 0 && err == nil {
				return done, fmt.Errorf("nobody has read it for %v: %w", patience, unix.EAGAIN)
			}
		default:
			return done, err
		}
	}
	return done, nil
}

// rotated is the name of the nth rotated file; 0 is path itself.
func rotated(path string, n int) string {
	if n == 0 {
		return path
	}
	return path + "." + strconv.Itoa(n)
}

// rotate makes the file path.1, after moving path.1 to path.2 and so on, and
// opens a new one. When it fails, the file is what it was, or closed if only
// the new one can't be opened.
//
// A crash within leaves a gap in the numbers, which the next rotation fills.
func (f *file) rotate(fs *files, keep int) error {
	if err := shift(f.path, keep); err != nil {
		return fmt.Errorf("cannot rotate log file: %w", err)
	}
	fault.Point("logs.rotated")
	var st unix.Stat_t
	known := unix.Fstat(f.fd, &st) == nil
	f.close()
	if err := f.open(fs); err != nil {
		return err
	}
	if known {
		// Whoever may read the old file may read the new one. Without the
		// privilege to give files away the new one is the daemon's.
		_ = unix.Fchown(f.fd, int(st.Uid), int(st.Gid))
		_ = unix.Fchmod(f.fd, st.Mode&0o777)
	}
	return nil
}

// shift renames path to path.1, path.1 to path.2, up to the first free number
// or keep, whose file is replaced. Files beyond keep are removed: keep may have
// been lowered.
func shift(path string, keep int) error {
	if keep == 0 {
		// Not truncated but removed: a follower reads the old file to its end.
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	last := 1
	for ; last < keep && exists(path, last); last++ {
	}
	for n := min(last, keep); n > 0; n-- {
		if n == keep && n > 1 {
			removeAll(path, n) // it needn't have the same suffix as what takes its place
		}
		for _, suffix := range suffixes {
			if n == 1 && suffix != "" {
				break
			}
			err := os.Rename(rotated(path, n-1)+suffix, rotated(path, n)+suffix)
			if err != nil && !errors.Is(err, os.ErrNotExist) {
				return err
			}
		}
	}
	for n := keep + 1; removeAll(path, n); n++ {
	}
	return nil
}

// exists says whether there is an nth rotated file, compressed or not.
func exists(path string, n int) bool {
	for _, suffix := range suffixes {
		if _, err := os.Lstat(rotated(path, n) + suffix); !errors.Is(err, os.ErrNotExist) {
			return true
		}
	}
	return false
}

// removeAll removes the nth rotated file, and returns whether there was one.
func removeAll(path string, n int) (removed bool) {
	for _, suffix := range suffixes {
		removed = os.Remove(rotated(path, n)+suffix) == nil || removed
	}
	return removed
}

// step moves bytes from the pipe to the file: up to about turnBytes or what the
// size limit allows. more says that the pipe may hold more. Bytes leave the
// pipe as they are written, or thereafter. Where sc.held is set, what the pipe
// holds has to become more first.
func (f *file) step(c *Capture, s *Stream, o *Options, sc *scratch) (n int, more bool, err error) {
	size, err := f.ready(c.files)
	if err != nil {
		return 0, false, err
	}
	if c.times != "" && f.regular && (o.Recipe == nil || !o.Recipe.JSON && !o.Recipe.Timestamp) {
		f.note(c.times)
	}
	limit := o.MaxSize
	if !f.regular || f.rotateErr != nil && time.Now().Before(f.rotateAt) {
		limit = 0
	}
	raw := f.regular && !f.noSplice && o.Recipe == nil && !o.sees()
	if raw && (limit == 0 || limit-size >= int64(s.size)) {
		n, err := f.splice(s, size, turnBytes, limit)
		if err == unix.EINVAL { // not this file system (splice(2)), or an append-only file
			f.noSplice = true
			return 0, true, nil
		}
		return n, false, err
	}

	want := int64(scratchBytes)
	if limit > 0 && o.Recipe == nil { // no further than the limit and, most likely, the end of the line there
		want = min(want, max(limit-size, 0)+4096)
	}
	var st *stage
	if !raw && f.regular && c.stages != nil {
		if st, err = c.stages.get(); err != nil {
			return 0, false, err
		}
		defer c.stages.put(st)
		sc.shrink(st.size)
	}
	p, err := sc.peek(s, int(want))
	if err != nil || len(p) == 0 {
		return 0, false, err
	}
	var rotate bool
	var column int
	if o.Recipe != nil {
		if column, err = f.prepare(o.Recipe, &size); err != nil {
			return 0, false, err
		}
		if p, n, rotate, err = sc.cook(s, o.Recipe, p, int(want), spot{off: size, limit: limit, column: column}); err != nil {
			return 0, false, err
		}
	} else {
		n, rotate = cut(p, size, limit, limit > 0 && f.midLine(size))
	}
	if n == 0 && !rotate {
		sc.held = true
		return 0, false, nil
	}
	if rotate {
		if err := f.tryRotate(c, s, o); err != nil {
			return 0, false, err
		}
		return 0, true, nil
	}
	p = p[:n]
	if raw {
		n, err := f.splice(s, size, n, 0)
		if err == unix.EINVAL {
			f.noSplice = true
			return 0, true, nil
		}
		return n, true, err
	}
	if st != nil {
		return c.stages.carry(c, st, f, s, o, sc, size, column, n)
	}
	last := p[n-1]
	if o.sees() { // once: they don't stay where they would be seen again
		if err := sc.skip(s, n); err != nil {
			return 0, false, err
		}
		p = c.taken(s, o, p)
	}
	if o.Recipe != nil {
		if o.Tap != nil {
			sc.cookAll(o.Recipe, p, column)
		}
		p = sc.out
	}
	patience := stuckAfter
	if s.failure != nil {
		patience = 0
	}
	err = f.write(p, size, patience)
	switch {
	case err != nil && o.sees():
		sc.lose(n, last)
		fallthrough
	case err != nil:
		return 0, false, err
	case o.sees():
		return n, true, nil
	}
	return n, true, sc.skip(s, n)
}

// splice moves at most n bytes to offset off of the file, no further than
// limit, if there is one. EINVAL comes as it is.
func (f *file) splice(s *Stream, off int64, n int, limit int64) (int, error) {
	if limit > 0 {
		n = int(min(int64(n), limit-off))
	}
	for {
		m, err := unix.Splice(int(s.fd), nil, f.fd, &off, n, unix.SPLICE_F_NONBLOCK|unix.SPLICE_F_MOVE)
		fault.Point("logs.spliced")
		switch err {
		case nil:
			return int(m), nil
		case unix.EINTR:
		case unix.EAGAIN:
			return 0, nil
		case unix.EINVAL:
			return 0, err
		default:
			return 0, f.writeError(err)
		}
	}
}

// tryRotate rotates, or gives notice that it can't and lets the file grow: a
// long file is better than lost lines. The error is of a file that is closed
// for good.
func (f *file) tryRotate(c *Capture, s *Stream, o *Options) error {
	err := f.rotate(c.files, o.Keep)
	if f.fd < 0 {
		return err
	}
	was := f.rotateErr
	f.rotateErr = err
	if err != nil {
		f.rotateAt = time.Now().Add(retryAfter)
	}
	if (was == nil) != (err == nil) {
		c.notice(Notice{Stream: s.name, Path: f.path, Err: err, Kept: true})
	}
	if err == nil && o.Keep > 0 {
		c.mu.Lock()
		c.pack(o)
		c.trimSoon()
		c.mu.Unlock()
	}
	return nil
}

// endLine ends a line whose rest was dropped, so that what comes next isn't
// taken for its end.
func (f *file) endLine(fs *files) error {
	size, err := f.ready(fs)
	if err == nil && f.midLine(size) {
		err = f.write([]byte("\n"), size, 0)
	}
	return err
}

// scratches are the tools that cutting, stamping and copying need: for as many
// turns as are under way, and two kept for later ones.
type scratches struct {
	mu   sync.Mutex
	idle []*scratch
}

// A scratch shows what is in a pipe without taking it out: tee(2) into a pipe
// of its own, read from there. The pipe and the buffer are made at first use.
type scratch struct {
	r, w   int // 0: none
	bytes  []byte
	out    []byte
	cooks  cook
	cooked time.Time // when out was made
	most   int       // how large the pipe may be when it is made; 0: as large as it is
	held   bool      // see step

	lost    int64 // bytes that were out of the pipe when their file refused them
	lostMid bool  // the last of them was no line end
}

// lose notes that n bytes are lost, of which the last is given.
func (sc *scratch) lose(n int, last byte) {
	sc.lost, sc.lostMid = sc.lost+int64(n), last != '\n'
}

const scratchBytes = 64 << 10

func (ss *scratches) get() *scratch {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	n := len(ss.idle)
	if n == 0 {
		return new(scratch)
	}
	sc := ss.idle[n-1]
	ss.idle = ss.idle[:n-1]
	return sc
}

func (ss *scratches) put(sc *scratch) {
	if cap(sc.out) > 4*scratchBytes {
		sc.out = nil
	}
	ss.mu.Lock()
	if len(ss.idle) < 2 {
		ss.idle = append(ss.idle, sc)
		sc = nil
	}
	ss.mu.Unlock()
	if sc != nil {
		sc.close()
	}
}

func (ss *scratches) close() {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	for _, sc := range ss.idle {
		sc.close()
	}
	ss.idle = nil
}

func (sc *scratch) close() {
	if sc.r > 0 {
		unix.Close(sc.r)
		unix.Close(sc.w)
	}
}

func (sc *scratch) buf() []byte {
	if sc.bytes == nil {
		sc.bytes = make([]byte, scratchBytes)
	}
	return sc.bytes
}

// shrink makes the pipe no larger than another one, which must have room for all
// that this one shows: a pipe has room for so many pieces, whatever their length.
func (sc *scratch) shrink(size int) {
	if sc.r == 0 {
		sc.most = size
		return
	}
	if now, err := unix.FcntlInt(uintptr(sc.r), unix.F_GETPIPE_SZ, 0); err == nil && now > size {
		_, _ = unix.FcntlInt(uintptr(sc.r), unix.F_SETPIPE_SZ, size)
	}
}

// peek returns up to n of the bytes that wait in the pipe; they stay there.
func (sc *scratch) peek(s *Stream, n int) ([]byte, error) {
	buf := sc.buf()
	if sc.r == 0 {
		var p [2]int
		if err := unix.Pipe2(p[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
			return nil, fmt.Errorf("cannot make a pipe to look ahead with: %w", err)
		}
		sc.r, sc.w = p[0], p[1]
		if sc.most > 0 {
			sc.shrink(sc.most)
		}
	}
	var k int
	for {
		m, err := unix.Tee(int(s.fd), sc.w, min(n, len(buf)), unix.SPLICE_F_NONBLOCK)
		if err == unix.EINTR {
			continue
		}
		if err == unix.EAGAIN {
			return nil, nil
		}
		if err != nil {
			return nil, fmt.Errorf("cannot look into the pipe: %w", err)
		}
		k = int(m)
		break
	}
	if err := readFull(sc.r, buf[:k]); err != nil {
		return nil, fmt.Errorf("cannot look into the pipe: %w", err)
	}
	return buf[:k], nil
}

// skip takes n bytes, which are there, out of the pipe.
func (sc *scratch) skip(s *Stream, n int) error {
	if err := readFull(int(s.fd), sc.buf()[:n]); err != nil {
		return fmt.Errorf("cannot read the pipe: %w", err)
	}
	return nil
}

func readFull(fd int, p []byte) error {
	for len(p) > 0 {
		n, err := unix.Read(fd, p)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return err
		}
		if n == 0 {
			return unix.EPIPE
		}
		p = p[n:]
	}
	return nil
}

// cook leaves in sc.out what is made of p, or of what is seen at another look of
// want bytes, as [cook.do] says. The beginning of a line
// that waits alone is made something of when nothing can come behind it, or it has
// waited long enough.
func (sc *scratch) cook(s *Stream, r *Recipe, p []byte, want int, at spot) (_ []byte, n int, rotate bool, err error) {
	sc.cooked = time.Now()
	sc.cooks.begin(r, sc.cooked)
	sc.out, n, rotate = sc.cooks.do(sc.out[:0], p, at)
	if n > 0 || rotate || !s.flush && !s.full() {
		return p, n, rotate, nil
	}
	// It may have become full since it was looked into.
	if p, err = sc.peek(s, want); err != nil {
		return nil, 0, false, err
	}
	if sc.out, n, rotate = sc.cooks.do(sc.out[:0], p, at); n == 0 && !rotate {
		at.flush = true
		sc.out, n, rotate = sc.cooks.do(sc.out[:0], p, at)
	}
	return p, n, rotate, nil
}

// cookAll leaves in sc.out what is made of all of p, whatever that is.
func (sc *scratch) cookAll(r *Recipe, p []byte, column int) {
	sc.cookAllAt(time.Now(), r, p, column)
}

// cookAllAt is cookAll with a time for those lines that get one.
func (sc *scratch) cookAllAt(now time.Time, r *Recipe, p []byte, column int) {
	sc.cooked = now
	sc.cooks.begin(r, now)
	sc.out = sc.out[:0]
	for at := (spot{column: column, flush: true}); len(p) > 0; {
		var n int
		sc.out, n, _ = sc.cooks.do(sc.out, p, at)
		p = p[n:]
		at.column = 0
	}
}

// prepare returns the column that a file is in, and ends its last line where an
// object has to begin.
func (f *file) prepare(r *Recipe, size *int64) (column int, err error) {
	if column = f.column(*size, r.MaxLine); column > 0 && r.JSON {
		if err := f.write([]byte("\n"), *size, 0); err != nil {
			return 0, err
		}
		*size++
		column = 0
	}
	return column, nil
}

// full says that a program that writes waits for room in the pipe.
func (s *Stream) full() bool {
	p := []unix.PollFd{{Fd: s.fd, Events: unix.POLLOUT}}
	n, err := unix.Poll(p, 0)
	return n == 0 && err == nil
}

// turn moves what is in the pipe of s, at most about turnBytes, and returns how
// much that was. due says that a failed destination is to be tried again.
// held is as settle's.
func (c *Capture) turn(s *Stream, o *Options, due bool) (n int64, held bool) {
	sc := c.bufs.get()
	defer c.bufs.put(sc)
	sc.held = false
	if s.rest != nil && s.flush {
		defer func() { c.send(s, o, nil, true) }()
	}
	if due && o.Rate > 0 && (o.Mode != None || len(o.Also) > 0) && !c.ration(s, o) {
		due, s.rest = false, nil
		nowhere := *o
		nowhere.Also = nil
		o = &nowhere
	}
	switch {
	case o.Mode == None && (due || s.failure.err != errRate): // a failure that isn't due is of another place
		n, _ = c.drop(s, o, sc)
		c.spend(s, n)
		return n, false
	case !due:
		n, mid := c.drop(s, o, sc)
		s.failure.midLine = mid || n == 0 && s.failure.midLine
		c.lost(s, o, n)
		return n, false
	}
	if s.failure != nil && s.failure.midLine {
		n = c.dropLine(s, o, sc)
		c.lost(s, o, n)
		if s.failure.midLine {
			return n, false
		}
	}
	moved, err := c.deliver(s, o, sc)
	n += moved
	c.spend(s, moved)
	switch {
	case err != nil:
		m, mid := c.drop(s, o, sc)
		if m == 0 {
			mid = sc.lostMid
		}
		m, sc.lost = m+sc.lost, 0
		c.fail(s, o, err, m)
		s.failure.midLine = mid
		n += m
	case s.failure != nil && moved > 0:
		c.mu.Lock()
		f := s.failure
		s.failure = nil
		c.mu.Unlock()
		if f.err != errRate { // of which the budget tells
			c.notice(Notice{Stream: s.name, Path: o.Path, Dropped: f.dropped})
		}
	}
	return n, sc.held
}

// deliver moves bytes to their destination and returns how many it was.
func (c *Capture) deliver(s *Stream, o *Options, sc *scratch) (moved int64, err error) {
	if o.Mode == Inherit || o.Mode == InheritError {
		p, err := sc.peek(s, scratchBytes)
		if err != nil || len(p) == 0 {
			return 0, err
		}
		fd, name := c.stdout, "output"
		if o.Mode == InheritError {
			fd, name = c.stderr, "error"
		}
		if o.sees() || o.Recipe != nil {
			n := len(p)
			if o.Recipe != nil {
				if p, n, _, err = sc.cook(s, o.Recipe, p, scratchBytes, spot{whole: true}); err != nil {
					return 0, err
				}
				if n == 0 {
					sc.held = true
					return 0, nil
				}
			}
			last := p[n-1]
			if err := sc.skip(s, n); err != nil {
				return 0, err
			}
			p = c.taken(s, o, p[:n])
			if o.Recipe != nil {
				if o.Tap != nil {
					sc.cookAll(o.Recipe, p, 0)
				}
				p = sc.out
			}
			if _, err := writeTo(fd, p, -1); err != nil {
				sc.lose(n, last)
				return 0, fmt.Errorf("cannot write to standard %s: %w", name, err)
			}
			return int64(n), nil
		}
		n, err := writeTo(fd, p, -1)
		if err != nil {
			err = fmt.Errorf("cannot write to standard %s: %w", name, err)
		}
		return int64(n), errors.Join(err, sc.skip(s, n))
	}
	f := c.files.acquire(o.Path)
	defer c.files.release(f)
	if s.failure != nil && s.failure.dropped > 0 {
		if err := f.endLine(c.files); err != nil {
			return 0, err
		}
	}
	for more := true; more && moved < turnBytes && err == nil; {
		var n int
		n, more, err = f.step(c, s, o, sc)
		moved += int64(n)
	}
	return moved, err
}

// fail notes that the destination of s refuses bytes, and that dropped of them
// are lost.
func (c *Capture) fail(s *Stream, o *Options, err error, dropped int64) {
	c.mu.Lock()
	f := s.failure
	news := f == nil || errno(f.err) != errno(err)
	if f == nil {
		f = new(failure)
		s.failure = f
	}
	f.err, f.retry = err, c.now()+retryAfter
	f.dropped += dropped
	c.dropped += dropped
	note := Notice{Stream: s.name, Path: o.Path, Err: err, Dropped: f.dropped}
	c.mu.Unlock()
	if news {
		c.notice(note)
	}
}

func (c *Capture) lost(s *Stream, o *Options, n int64) {
	if s.failure.err == errRate {
		c.exceeded(s, o, n)
	}
	c.mu.Lock()
	s.failure.dropped += n
	c.dropped += n
	c.mu.Unlock()
}

func errno(err error) unix.Errno {
	var e unix.Errno
	errors.As(err, &e)
	return e
}

// drop reads and forgets what is in the pipe, at most about turnBytes. midLine
// says that the last byte was no line end. Who wants to see them does.
func (c *Capture) drop(s *Stream, o *Options, sc *scratch) (n int64, midLine bool) {
	buf := sc.buf()
	for n < turnBytes {
		m, err := unix.Read(int(s.fd), buf)
		if err == unix.EINTR {
			continue
		}
		if m <= 0 {
			break
		}
		n += int64(m)
		midLine = buf[m-1] != '\n'
		c.taken(s, o, buf[:m])
	}
	return n, midLine
}

// dropLine forgets the rest of a line whose head was dropped.
func (c *Capture) dropLine(s *Stream, o *Options, sc *scratch) int64 {
	p, err := sc.peek(s, scratchBytes)
	if err != nil || len(p) == 0 {
		return 0
	}
	i := bytes.IndexByte(p, '\n')
	s.failure.midLine = i < 0
	n := len(p)
	if i >= 0 {
		n = i + 1
	}
	if sc.skip(s, n) != nil {
		return 0
	}
	c.taken(s, o, p[:n])
	return int64(n)
}

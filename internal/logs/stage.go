package logs

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"tend/internal/fault"
)

// Output that is spliced is in the pipe or in the file, whenever this process
// dies. Output that is stamped, or goes to a file system that refuses splice,
// has to be written and then taken out of the pipe: a death between the two
// would double it.
//
// So it takes a detour. What is about to be written is moved to a second pipe, a
// stage, after the place in the file where it goes was noted in a journal; when
// it is written the stage is emptied. The stages are held by somebody else too
// (Stages.Keep). What is in one when we die was not written, or written in whole
// or in part, and the size of the file says which: whoever comes next finishes
// that (openStages).

// Stages says where what is on its way is noted.
type Stages struct {
	// Journal is the path of a file that outlives this process.
	Journal string
	// Keep is given a descriptor of each stage, to be held beyond the death of
	// this process. The descriptor stays the caller's.
	Keep func(number, fd int) error
	// Kept are the stages of an earlier process, by number. They are used on, and
	// what is in them is finished by Open.
	Kept map[int]int
}

// stages are the stages that no worker uses.
type stages struct {
	journal *os.File
	null    *os.File // nil: there is no /dev/null
	keep    func(number, fd int) error

	mu   sync.Mutex
	all  []*stage
	idle []*stage
	next int // number
}

// A stage is a pipe for the output that one worker is writing.
type stage struct {
	number int
	r, w   int
	size   int // its capacity: a user who has many pipes gets small ones
}

// slotBytes is the room of a stage in the journal.
const slotBytes = 8 << 10

// slot is what the journal says of a stage.
type slot struct {
	size   int64  // of the file before the stage's bytes
	ino    uint64 // of the file
	recipe *Recipe
	path   string
	cooked time.Time // when they were cooked, which their lines say
}

func (s slot) encode() []byte {
	b := binary.LittleEndian.AppendUint64(nil, uint64(s.size))
	b = binary.LittleEndian.AppendUint64(b, s.ino)
	var recipe []byte
	if s.recipe != nil {
		recipe, _ = json.Marshal(s.recipe) // strings, numbers and bools
	}
	b = binary.LittleEndian.AppendUint16(b, uint16(len(recipe)))
	b = binary.LittleEndian.AppendUint16(b, uint16(len(s.path)))
	b = append(append(b, s.path...), recipe...)
	return binary.LittleEndian.AppendUint64(b, uint64(s.cooked.UnixNano()))
}

func decodeSlot(b []byte) (s slot, ok bool) {
	if len(b) < 20 {
		return s, false
	}
	m, n := int(binary.LittleEndian.Uint16(b[16:])), int(binary.LittleEndian.Uint16(b[18:]))
	if len(b) < 20+n || n == 0 || b[20] != '/' {
		return s, false
	}
	s = slot{size: int64(binary.LittleEndian.Uint64(b)), ino: binary.LittleEndian.Uint64(b[8:]), path: string(b[20 : 20+n])}
	switch {
	case m == 1: // of a version that knew but this one
		s.recipe = &Recipe{Timestamp: true}
	case m > 0:
		s.recipe = new(Recipe)
		if len(b) < 20+n+m || json.Unmarshal(b[20+n:20+n+m], s.recipe) != nil {
			return slot{}, false
		}
		if rest := b[20+n+m:]; len(rest) >= 8 {
			s.cooked = time.Unix(0, int64(binary.LittleEndian.Uint64(rest)))
		}
	}
	return s, true
}

// openStages finishes what an earlier process has left in its stages. Where the
// journal can't be opened there are no stages, which is said.
func (c *Capture) openStages(o Stages) *stages {
	journal, err := os.OpenFile(o.Journal, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		c.notice(Notice{Path: o.Journal, Err: fmt.Errorf("output with timestamps may be doubled should tend be killed: %w", err)})
		return nil
	}
	ss := &stages{journal: journal, keep: o.Keep}
	ss.null, _ = os.OpenFile(os.DevNull, os.O_WRONLY, 0) // see empty
	for number, fd := range o.Kept {
		st, err := openStage(number, fd)
		if err != nil {
			continue
		}
		ss.next = max(ss.next, number+1)
		ss.all = append(ss.all, st)
		if err := c.finish(ss, st); err != nil {
			c.notice(Notice{Path: o.Journal, Err: fmt.Errorf("output that was on its way when tend died is lost: %w", err)})
		}
		ss.put(st)
	}
	return ss
}

// openStage makes a stage of a pipe. fd stays the caller's.
func openStage(number, fd int) (*stage, error) {
	r, err := reopenPipe(fd, unix.O_NONBLOCK)
	if err != nil {
		return nil, err
	}
	size, err := unix.FcntlInt(uintptr(r), unix.F_GETPIPE_SZ, 0)
	if err != nil {
		unix.Close(r)
		return nil, err
	}
	return &stage{number: number, r: r, w: r, size: size}, nil
}

// finish writes what is in a stage, as far as it isn't written.
func (c *Capture) finish(ss *stages, st *stage) error {
	sc := c.bufs.get()
	defer c.bufs.put(sc)
	p, err := sc.peek(&Stream{fd: int32(st.r)}, scratchBytes)
	if err != nil || len(p) == 0 {
		return err
	}
	n := len(p)
	defer func() { ss.empty(st, n) }() // whatever becomes of it, it is done with
	buf := make([]byte, slotBytes)
	m, _ := ss.journal.ReadAt(buf, int64(st.number)*slotBytes)
	at, ok := decodeSlot(buf[:m])
	if !ok {
		return fmt.Errorf("the journal %s doesn't say where it belongs", ss.journal.Name())
	}
	f := c.files.acquire(at.path)
	defer c.files.release(f)
	size, err := f.ready(c.files)
	if err != nil {
		return err
	}
	var now unix.Stat_t
	if err := unix.Fstat(f.fd, &now); err != nil || now.Ino != at.ino || size < at.size {
		at.size = size // it is another file by now, or was cut: that can't hold these bytes
	}
	if at.recipe != nil {
		cooked := time.Now()
		if age := cooked.Sub(at.cooked); 0 <= age && age < 24*time.Hour { // else a version wrote it that knew no time
			cooked = at.cooked
		}
		sc.cookAllAt(cooked, at.recipe, p, f.column(at.size, at.recipe.MaxLine))
		p = sc.out
	}
	if size >= at.size+int64(len(p)) {
		return nil
	}
	// Who reads along may have what was written: it stays, and the rest follows.
	written := make([]byte, size-at.size)
	if n, err := unix.Pread(f.fd, written, at.size); err == nil && n == len(written) && bytes.HasPrefix(p, written) {
		return f.write(p[n:], size, 0)
	}
	if err := unix.Ftruncate(f.fd, at.size); err != nil {
		return err
	}
	return f.write(p, at.size, 0)
}

// get returns a stage, a new one if all others are in use.
func (ss *stages) get() (*stage, error) {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	if n := len(ss.idle); n > 0 {
		st := ss.idle[n-1]
		ss.idle = ss.idle[:n-1]
		return st, nil
	}
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
		return nil, fmt.Errorf("cannot make a pipe for output on its way: %w", err)
	}
	defer unix.Close(p[0])
	defer unix.Close(p[1])
	st, err := openStage(ss.next, p[0])
	if err != nil {
		return nil, err
	}
	// If nobody holds it, what is in it at our death is lost; that is said where
	// the guarantees are.
	if ss.keep != nil {
		ss.keep(st.number, p[0])
	}
	ss.next++
	ss.all = append(ss.all, st)
	return st, nil
}

// fds returns the descriptors of all stages, in use or not.
func (ss *stages) fds() map[int]int {
	if ss == nil {
		return nil
	}
	ss.mu.Lock()
	defer ss.mu.Unlock()
	fds := make(map[int]int, len(ss.all))
	for _, st := range ss.all {
		fds[st.number] = st.r
	}
	return fds
}

// empty takes n bytes out of a stage, which holds so many. Where that can be done
// they aren't even read.
func (ss *stages) empty(st *stage, n int) error {
	for n > 0 && ss.null != nil {
		m, err := unix.Splice(st.r, nil, int(ss.null.Fd()), nil, n, unix.SPLICE_F_NONBLOCK)
		if err == unix.EINTR {
			continue
		}
		if err != nil || m == 0 {
			break
		}
		n -= int(m)
	}
	return readFull(st.r, make([]byte, n))
}

func (ss *stages) put(st *stage) {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	ss.idle = append(ss.idle, st)
}

func (ss *stages) close() {
	if ss == nil {
		return
	}
	ss.mu.Lock()
	defer ss.mu.Unlock()
	for _, st := range ss.idle {
		unix.Close(st.r)
	}
	ss.idle = nil
	ss.journal.Close()
	if ss.null != nil {
		ss.null.Close()
	}
}

// carry moves the next n bytes of the stream, which the scratch shows, by way of a
// stage to offset size of the file. Where there is a recipe, sc.out is what is
// made of them in that column.
func (ss *stages) carry(c *Capture, st *stage, f *file, s *Stream, o *Options, sc *scratch, size int64, column, n int) (int, bool, error) {
	var now unix.Stat_t
	if err := unix.Fstat(f.fd, &now); err != nil {
		return 0, false, f.writeError(err)
	}
	if o.Tap != nil {
		sc.cooked = time.Now() // what was cooked is so again, of what the tap leaves
	}
	note := slot{size: size, ino: now.Ino, recipe: o.Recipe, path: f.path, cooked: sc.cooked}.encode()
	if _, err := ss.journal.WriteAt(note, int64(st.number)*slotBytes); err != nil {
		return 0, false, fmt.Errorf("cannot note where output goes: %w", err)
	}
	moved := 0
	for moved < n {
		m, err := unix.Splice(int(s.fd), nil, st.w, nil, n-moved, unix.SPLICE_F_NONBLOCK)
		if err == unix.EINTR {
			continue
		}
		if err != nil || m == 0 {
			break
		}
		moved += int(m)
	}
	// They all have room, for they had in the pipe that was looked into, which is no
	// larger. What has none stays where it is.
	if moved == 0 {
		return 0, false, fmt.Errorf("cannot move output on: %w", unix.EAGAIN)
	}
	p, last := sc.bytes[:moved], sc.bytes[moved-1]
	if o.sees() {
		p = c.taken(s, o, p)
	}
	if o.Recipe != nil {
		if o.Tap != nil || moved < n {
			sc.cookAllAt(sc.cooked, o.Recipe, p, column)
		}
		p = sc.out
	}
	fault.Point("logs.staged")
	err := f.write(p, size, 0)
	fault.Point("logs.written")
	if drain := ss.empty(st, moved); err == nil && drain != nil {
		err = fmt.Errorf("cannot empty a pipe: %w", drain)
	}
	if err != nil {
		sc.lose(moved, last)
		return 0, false, err
	}
	return moved, true, nil
}

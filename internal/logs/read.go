package logs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// A Position is a place in a log that stays the same when the log is rotated:
// a file, whatever it is called by now, and an offset in it. The zero Position
// is the beginning of the oldest file there is.
type Position struct {
	Inode  uint64
	Birth  int64 // when the file was made, in ns since 1970, as an inode's number is used again; 0 where the file system doesn't know
	Offset int64
}

// MarshalText writes p as three numbers with dots between.
func (p Position) MarshalText() ([]byte, error) {
	b := strconv.AppendUint(nil, p.Inode, 10)
	b = strconv.AppendInt(append(b, '.'), p.Birth, 10)
	return strconv.AppendInt(append(b, '.'), p.Offset, 10), nil
}

// UnmarshalText reads what MarshalText wrote.
func (p *Position) UnmarshalText(b []byte) error {
	f := strings.Split(string(b), ".")
	if len(f) != 3 {
		return fmt.Errorf("%q is no log position", b)
	}
	inode, err1 := strconv.ParseUint(f[0], 10, 64)
	birth, err2 := strconv.ParseInt(f[1], 10, 64)
	offset, err3 := strconv.ParseInt(f[2], 10, 64)
	if errors.Join(err1, err2, err3) != nil || offset < 0 {
		return fmt.Errorf("%q is no log position", b)
	}
	*p = Position{inode, birth, offset}
	return nil
}

// ErrGone means that a Position's file is no more: it was rotated away.
var ErrGone = errors.New("log position is gone")

// Read writes the last lines of a log to w: of path and, as far as need be, the
// rotated files path.1 to path.keep. A last line without an end counts. With
// lines < 0 it writes all there is. It returns the position after the last byte,
// from where [Follow] goes on. A log that has no file yet is empty.
//
// The end is read backwards: its cost is that of the lines, not of the files.
func Read(w io.Writer, path string, keep, lines int) (Position, error) {
	pos, err := read(w, chain{path, keep}, lines)
	if err != nil {
		err = fmt.Errorf("cannot read log: %w", err)
	}
	return pos, err
}

func read(w io.Writer, c chain, lines int) (Position, error) {
	f, err := c.newest()
	if f == nil || err != nil {
		return Position{}, err
	}
	end := f.id
	end.Offset = f.size
	parts := []*logFile{f} // newest first
	defer func() {
		for _, f := range parts {
			f.Close()
		}
	}()
	// To find the nth last line's beginning is to find the nth line end before
	// it; the log's very last byte ends the last line and isn't counted.
	start, buf, last := f.size, []byte(nil), true
	for lines != 0 {
		if lines < 0 {
			start = 0
		} else {
			if buf == nil {
				buf = make([]byte, blockBytes)
			}
			if start, lines, last, err = backward(f, buf, f.size, lines, last); err != nil {
				return Position{}, err
			}
		}
		if lines == 0 {
			break
		}
		if f, err = c.neighbour(f, +1); err != nil {
			return Position{}, err
		}
		if f == nil {
			break
		}
		parts = append(parts, f)
		start = f.size
	}
	for i := len(parts) - 1; i >= 0; i-- {
		from := int64(0)
		if i == len(parts)-1 {
			from = start
		}
		f := parts[i]
		if _, err := io.Copy(w, io.NewSectionReader(f, from, f.size-from)); err != nil {
			return Position{}, err
		}
	}
	return end, nil
}

const blockBytes = 64 << 10

// backward looks for the beginning of the nth last line in the first size bytes
// of f. It returns where that is, and 0 for what is left of n; else 0 and the
// number of lines still to be found in older files. last says that no byte of
// the log was seen yet.
func backward(f io.ReaderAt, buf []byte, size int64, n int, last bool) (start int64, left int, still bool, err error) {
	for size > 0 {
		k := min(size, int64(len(buf)))
		p := buf[:k]
		if m, err := f.ReadAt(p, size-k); int64(m) < k {
			if err == io.EOF { // truncated meanwhile
				err = io.ErrUnexpectedEOF
			}
			return 0, 0, false, err
		}
		if last && p[k-1] == '\n' {
			p = p[:k-1]
		}
		last = false
		for {
			i := bytes.LastIndexByte(p, '\n')
			if i < 0 {
				break
			}
			if n--; n == 0 {
				return size - k + int64(i) + 1, 0, false, nil
			}
			p = p[:i]
		}
		size -= k
	}
	return 0, n, last, nil
}

// A chain is a log's files by number: path (0), path.1, … path.keep.
type chain struct {
	path string
	keep int
}

// maxGap is how many numbers in a row may be missing: one is, while a rotation
// is under way or after a crash in one, and path itself, after a rename from
// outside.
const maxGap = 2

// A logFile is one file of a chain, held open.
type logFile struct {
	*os.File
	packed  *packed  // nil: it isn't compressed
	id      Position // with offset 0, of the file before it was compressed
	size    int64    // when it was opened, decompressed
	mtime   int64    // and when it was last written, in ns since 1970
	watched target   // a follower's
}

// ReadAt reads what the program wrote.
func (f *logFile) ReadAt(p []byte, off int64) (int, error) {
	if f.packed != nil {
		return f.packed.ReadAt(p, off)
	}
	return f.File.ReadAt(p, off)
}

// now returns the file's size by now, decompressed, and whether it still has a
// name.
func (f *logFile) now() (size int64, named bool, err error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return 0, false, err
	}
	if f.packed != nil {
		return f.size, true, nil
	}
	return st.Size, st.Nlink > 0, nil
}

// written returns when the file was last written, in ns since 1970.
func (f *logFile) written() int64 {
	var st unix.Stat_t
	if f.packed == nil && unix.Fstat(int(f.Fd()), &st) == nil {
		return st.Mtim.Nano()
	}
	return f.mtime
}

// open opens the nth file, compressed or not; nil if there is none.
func (c chain) open(n int) (*logFile, error) {
	f, err := openLog(rotated(c.path, n), Plain)
	for codec := Gzip; n > 0 && f == nil && err == nil && int(codec) < len(suffixes); codec++ {
		f, err = openLog(rotated(c.path, n)+suffixes[codec], codec)
	}
	if n > 0 && f == nil && err == nil { // compressed between the looks
		f, err = openLog(rotated(c.path, n), Plain)
	}
	return f, err
}

// openLog opens one file; nil if there is none.
func openLog(name string, codec Codec) (*logFile, error) {
	// O_NONBLOCK: a named pipe must not make the reader wait.
	f, err := os.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var id Position
	var st unix.Statx_t
	if err := statx(int(f.Fd()), "", unix.AT_EMPTY_PATH, &st, &id); err != nil {
		f.Close()
		return nil, &os.PathError{Op: "stat", Path: f.Name(), Err: err}
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		f.Close()
		return nil, fmt.Errorf("%s is not a regular file", f.Name())
	}
	l := &logFile{File: f, id: id, size: int64(st.Size), mtime: st.Mtime.Sec*1e9 + int64(st.Mtime.Nsec)}
	if codec == Plain {
		return l, nil
	}
	if p, was, ok := openPacked(f, l.size, codec); ok {
		l.packed, l.id, l.size = p, was, p.size
		return l, nil
	}
	tmp, err := unpacked(f, codec)
	f.Close()
	if err != nil {
		return nil, err
	}
	l.File = tmp
	st2, err := tmp.Stat()
	if err != nil {
		tmp.Close()
		return nil, err
	}
	l.size = st2.Size()
	return l, nil
}

// statx fills in st and the identity of a file (statx(2), Linux 4.11).
func statx(dir int, path string, flags int, st *unix.Statx_t, id *Position) error {
	for {
		err := unix.Statx(dir, path, flags, unix.STATX_BASIC_STATS|unix.STATX_BTIME, st)
		if err == unix.EINTR {
			continue
		}
		if err == nil {
			*id = Position{Inode: st.Ino}
			if st.Mask&unix.STATX_BTIME != 0 {
				id.Birth = st.Btime.Sec*1e9 + int64(st.Btime.Nsec)
			}
		}
		return err
	}
}

// find returns the number that a file has now, -1 if none. A file's number only
// grows, so looking upward can't miss one that is being renamed.
func (c chain) find(id Position) int {
	id.Offset = 0
	for n, missing := 0, 0; n <= c.keep && missing <= maxGap; n++ {
		here := false
		for codec, suffix := range suffixes {
			got, ok := identity(rotated(c.path, n)+suffix, Codec(codec))
			if ok && got == id {
				return n
			}
			if here = here || ok; n == 0 {
				break
			}
		}
		if missing++; here {
			missing = 0
		}
	}
	return -1
}

// identity returns what a file of that name is or, where we have compressed it,
// was.
func identity(name string, codec Codec) (id Position, ok bool) {
	var st unix.Statx_t
	if statx(unix.AT_FDCWD, name, 0, &st, &id) != nil {
		return Position{}, false
	}
	if codec == Plain {
		return id, true
	}
	f, err := os.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return Position{}, false
	}
	defer f.Close()
	var head [gzipLabel + labelSize]byte
	n, _ := f.ReadAt(head[:], 0)
	if l, ok := decodeLabel(codec, head[:n]); ok {
		return l.id, true
	}
	return id, true
}

// newest opens the newest file; nil if there is none. Within a rotation, or
// before the first byte after one from outside, that isn't path.
func (c chain) newest() (*logFile, error) {
	for n := 0; n <= min(c.keep, maxGap); n++ {
		if f, err := c.open(n); f != nil || err != nil {
			return f, err
		}
	}
	return nil, nil
}

// oldest opens the oldest file; nil if there is none.
func (c chain) oldest() (*logFile, error) {
	f, err := c.newest()
	for f != nil && err == nil {
		var older *logFile
		if older, err = c.neighbour(f, +1); older == nil {
			break
		}
		f.Close()
		f = older
	}
	return f, err
}

// neighbour opens the file next to f: the next older one with step +1, the next
// newer one with -1; nil if there is none.
func (c chain) neighbour(f *logFile, step int) (*logFile, error) {
	for n := c.find(f.id); n >= 0; n = c.find(f.id) {
		var g *logFile
		var err error
		k := n + step
		for limit := k + step*maxGap; k >= 0 && k <= c.keep && k != limit+step; k += step {
			if g, err = c.open(k); g != nil || err != nil {
				break
			}
		}
		// Files are renamed from the oldest on. So while f stays where it was,
		// nothing newer than f was renamed but into a gap that is there no more.
		still := true
		for k -= step; k != n && still; k -= step {
			if k > 0 {
				still = !exists(c.path, k)
				continue
			}
			_, gone := os.Lstat(c.path)
			still = errors.Is(gone, fs.ErrNotExist)
		}
		if still && c.find(f.id) == n {
			return g, err
		}
		if g != nil {
			g.Close()
		}
	}
	return nil, nil
}

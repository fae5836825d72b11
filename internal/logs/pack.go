package logs

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime"
	"slices"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"golang.org/x/sys/unix"

	"tend/internal/fault"
)

// A Codec is how rotated files are compressed.
type Codec uint8

const (
	Plain Codec = iota // not at all
	Gzip
	Zstd
)

// suffixes are what the name of a rotated file ends in, by codec.
var suffixes = [...]string{"", ".gz", ".zst"}

// A compressed log is made of blocks, each a gzip member or a zstd frame of its
// own, which together any tool decompresses. In front of a block stands, where the
// format has room for what its readers skip, what we want to know: which file it
// was, so that a position is still found, and how long the block is, so that it
// needn't be decompressed to reach the next one.

const (
	// blockSize is how much of a log is compressed at once.
	blockSize = 1 << 20

	// packing is the end of the name of a file that is being compressed into.
	packing = ".packing"

	labelSize = 32

	// A gzip member has its label in a subfield of its header (RFC 1952).
	gzipLabel = 16

	// A zstd frame has a skippable frame with its label in front (RFC 8878).
	zstdMagic = 0x184D2A5E
	zstdLabel = 8
)

// A label is what stands in front of a block.
type label struct {
	id     Position // of the file that it was
	raw    uint32   // length of the block
	packed uint32   // length of what it was made, from the first byte of its header
}

func (l label) encode() []byte {
	b := append([]byte(nil), "tend\x00\x00\x00\x01"...)
	b = binary.LittleEndian.AppendUint64(b, l.id.Inode)
	b = binary.LittleEndian.AppendUint64(b, uint64(l.id.Birth))
	b = binary.LittleEndian.AppendUint32(b, l.raw)
	return binary.LittleEndian.AppendUint32(b, l.packed)
}

// decodeLabel reads the label in the first bytes of a block; !ok: it isn't ours.
func decodeLabel(codec Codec, b []byte) (l label, ok bool) {
	at := zstdLabel
	if codec == Gzip {
		at = gzipLabel
	}
	if len(b) < at+labelSize || string(b[at:at+8]) != "tend\x00\x00\x00\x01" {
		return l, false
	}
	b = b[at:]
	l.id = Position{Inode: binary.LittleEndian.Uint64(b[8:]), Birth: int64(binary.LittleEndian.Uint64(b[16:]))}
	l.raw, l.packed = binary.LittleEndian.Uint32(b[24:]), binary.LittleEndian.Uint32(b[28:])
	return l, l.raw > 0 && l.raw <= blockSize && int(l.packed) > at+labelSize
}

// A compressor makes blocks.
type compressor struct {
	codec Codec
	gzip  *gzip.Writer
	zstd  *zstd.Encoder
	out   bytes.Buffer
}

func newCompressor(codec Codec) (*compressor, error) {
	k := &compressor{codec: codec}
	var err error
	if codec == Gzip {
		k.gzip, err = gzip.NewWriterLevel(&k.out, gzip.DefaultCompression)
	} else {
		k.zstd, err = zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(blockSize))
	}
	return k, err
}

// block returns p compressed, with its label, until the next call.
func (k *compressor) block(id Position, p []byte) ([]byte, error) {
	l := label{id: id, raw: uint32(len(p))}
	k.out.Reset()
	if k.codec == Gzip {
		k.gzip.Reset(&k.out)
		k.gzip.Extra = append([]byte{'t', 'd', labelSize, 0}, l.encode()...)
		if _, err := k.gzip.Write(p); err != nil {
			return nil, err
		}
		if err := k.gzip.Close(); err != nil {
			return nil, err
		}
		b := k.out.Bytes()
		l.packed = uint32(len(b))
		copy(b[gzipLabel:], l.encode())
		return b, nil
	}
	b := k.out.AvailableBuffer()
	b = binary.LittleEndian.AppendUint32(b, zstdMagic)
	b = binary.LittleEndian.AppendUint32(b, labelSize)
	b = append(b, l.encode()...)
	b = k.zstd.EncodeAll(p, b)
	l.packed = uint32(len(b))
	copy(b[zstdLabel:], l.encode())
	k.out.Reset()
	k.out.Write(b)
	return k.out.Bytes(), nil
}

// A packed reads a compressed log as if it weren't.
type packed struct {
	f      io.ReaderAt
	codec  Codec
	blocks []packedBlock
	size   int64

	now int // the block in buf; -1: none
	buf []byte
	in  []byte
}

type packedBlock struct {
	off, at     int64 // in the log, in the file
	raw, packed int
}

// openPacked reads the labels of a compressed log. !ok: it isn't one of ours.
func openPacked(f io.ReaderAt, size int64, codec Codec) (p *packed, id Position, ok bool) {
	p = &packed{f: f, codec: codec, now: -1}
	var head [gzipLabel + labelSize]byte
	for at := int64(0); at < size; {
		n, _ := f.ReadAt(head[:], at)
		l, ok := decodeLabel(codec, head[:n])
		if !ok || at > 0 && l.id != id || at+int64(l.packed) > size {
			return nil, Position{}, false
		}
		id = l.id
		p.blocks = append(p.blocks, packedBlock{off: p.size, at: at, raw: int(l.raw), packed: int(l.packed)})
		p.size += int64(l.raw)
		at += int64(l.packed)
	}
	return p, id, len(p.blocks) > 0
}

func (p *packed) ReadAt(b []byte, off int64) (n int, err error) {
	for n < len(b) {
		at := off + int64(n)
		if at >= p.size {
			return n, io.EOF
		}
		i, _ := slices.BinarySearchFunc(p.blocks, at, func(k packedBlock, at int64) int {
			switch {
			case k.off+int64(k.raw) <= at:
				return -1
			case k.off > at:
				return 1
			}
			return 0
		})
		if err := p.load(i); err != nil {
			return n, err
		}
		n += copy(b[n:], p.buf[at-p.blocks[i].off:])
	}
	return n, nil
}

// load decompresses a block.
func (p *packed) load(i int) error {
	if p.now == i {
		return nil
	}
	p.now = -1
	k := p.blocks[i]
	p.in = slices.Grow(p.in[:0], k.packed)[:k.packed]
	if n, err := p.f.ReadAt(p.in, k.at); n < k.packed {
		return fmt.Errorf("cannot read a compressed block: %w", err)
	}
	p.buf = slices.Grow(p.buf[:0], k.raw)[:k.raw]
	r, err := decompress(bytes.NewReader(p.in), p.codec)
	if err == nil {
		defer r.Close()
		_, err = io.ReadFull(r, p.buf)
	}
	if err != nil {
		return fmt.Errorf("cannot decompress: %w", err)
	}
	p.now = i
	return nil
}

func decompress(r io.Reader, codec Codec) (io.ReadCloser, error) {
	if codec == Gzip {
		return gzip.NewReader(r)
	}
	d, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1))
	if err != nil {
		return nil, err
	}
	return d.IOReadCloser(), nil
}

// unpacked returns a nameless file with what somebody else has compressed.
func unpacked(f *os.File, codec Codec) (*os.File, error) {
	r, err := decompress(io.NewSectionReader(f, 0, 1<<62), codec)
	if err != nil {
		return nil, fmt.Errorf("cannot decompress %s: %w", f.Name(), err)
	}
	defer r.Close()
	tmp, err := os.CreateTemp("", "tend-log-")
	if err != nil {
		return nil, err
	}
	os.Remove(tmp.Name())
	if _, err := io.Copy(tmp, r); err != nil {
		tmp.Close()
		return nil, fmt.Errorf("cannot decompress %s: %w", f.Name(), err)
	}
	return tmp, nil
}

// A packer compresses rotated files, one after the other. Its goroutine exists
// only while there are some.
type packer struct {
	jobs    []packJob
	trim    bool // the bound has to be looked at
	running bool
}

// A packJob is a log whose rotated files are to be compressed.
type packJob struct {
	path  string
	keep  int
	codec Codec
}

// pack has the rotated files of a log compressed in a while. c.mu is held.
func (c *Capture) pack(o *Options) {
	if o.Compress == Plain || o.Mode != File || o.Keep == 0 || c.closed {
		return
	}
	job := packJob{o.Path, o.Keep, o.Compress}
	if slices.Contains(c.packer.jobs, job) {
		return
	}
	c.packer.jobs = append(c.packer.jobs, job)
	c.packSoon()
}

// packSoon has the goroutine run. c.mu is held.
func (c *Capture) packSoon() {
	if !c.packer.running {
		c.packer.running = true
		c.wg.Go(c.packAll)
	}
}

// packAll does the jobs, on a thread that lets all others go first.
func (c *Capture) packAll() {
	runtime.LockOSThread() // and never unlocks: the thread ends with the goroutine
	_ = unix.Setpriority(unix.PRIO_PROCESS, unix.Gettid(), 19)
	const idle = 3 << 13 // IOPRIO_CLASS_IDLE, see ioprio_set(2)
	_, _, _ = unix.Syscall(unix.SYS_IOPRIO_SET, 1, 0, idle)
	c.mu.Lock()
	defer c.mu.Unlock()
	for (len(c.packer.jobs) > 0 || c.packer.trim) && !c.closed {
		if c.packer.trim {
			c.packer.trim = false
			c.mu.Unlock()
			if err := c.trim(); err != nil {
				c.notice(Notice{Err: fmt.Errorf("cannot keep the logs within their bound: %w", err), Kept: true})
			}
			c.mu.Lock()
			continue
		}
		job := c.packer.jobs[0]
		c.packer.jobs = c.packer.jobs[1:]
		c.mu.Unlock()
		if err := c.packLog(job); err != nil {
			c.notice(Notice{Path: job.path, Err: fmt.Errorf("cannot compress a rotated file of %s: %w", job.path, err), Kept: true})
		}
		c.mu.Lock()
	}
	c.packer = packer{}
}

// packLog compresses what is to be compressed of a log, the oldest file first.
func (c *Capture) packLog(job packJob) error {
	// What an earlier process has left there is begun anew.
	if err := os.Remove(job.path + packing); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	var k *compressor
	last, missing := 0, 0
	for n := 1; n <= job.keep && missing <= maxGap; n++ {
		if missing++; exists(job.path, n) {
			last, missing = n, 0
		}
	}
	for n := last; n > 0; n-- {
		name := rotated(job.path, n)
		f, err := os.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOFOLLOW, 0)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		if k == nil {
			if k, err = newCompressor(job.codec); err != nil {
				f.Close()
				return err
			}
		}
		err = c.packFile(job, k, f)
		f.Close()
		if err == ErrClosed {
			return nil
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// packFile compresses one file. A rotation under way or meanwhile is no harm: the
// file is found again by what it is.
func (c *Capture) packFile(job packJob, k *compressor, f *os.File) (err error) {
	var st unix.Statx_t
	var id Position
	if err := statx(int(f.Fd()), "", unix.AT_EMPTY_PATH, &st, &id); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG || st.Size == 0 {
		return nil
	}
	tmp := job.path + packing
	out, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	defer out.Close()
	defer func() {
		if err != nil {
			os.Remove(tmp)
		}
	}()
	buf := make([]byte, blockSize)
	for off := int64(0); ; {
		c.mu.Lock()
		closed := c.closed
		c.mu.Unlock()
		if closed {
			return ErrClosed
		}
		n, err := f.ReadAt(buf, off)
		if n == 0 && err == io.EOF {
			break
		}
		if err != nil && err != io.EOF {
			return err
		}
		b, err := k.block(id, buf[:n])
		if err != nil {
			return err
		}
		if _, err := out.Write(b); err != nil {
			return err
		}
		off += int64(n)
	}
	fault.Point("logs.packing")
	_ = out.Chown(int(st.Uid), int(st.Gid))
	_ = out.Chmod(fs.FileMode(st.Mode & 0o777))
	times := []unix.Timespec{{Sec: st.Atime.Sec, Nsec: int64(st.Atime.Nsec)}, {Sec: st.Mtime.Sec, Nsec: int64(st.Mtime.Nsec)}}
	_ = unix.UtimesNanoAt(unix.AT_FDCWD, tmp, times, 0)
	// The only copy is about to be removed.
	if err := out.Sync(); err != nil {
		return err
	}
	// With the log's lock nobody rotates it.
	held := c.files.acquire(job.path)
	defer c.files.release(held)
	n := chain{job.path, job.keep}.find(id)
	if n <= 0 {
		os.Remove(tmp) // rotated away
		return nil
	}
	name := rotated(job.path, n)
	if err := os.Rename(tmp, name+suffixes[job.codec]); err != nil {
		return err
	}
	fault.Point("logs.packed")
	return os.Remove(name)
}

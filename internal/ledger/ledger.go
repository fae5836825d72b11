// Package ledger keeps what must outlive the daemon: values by key, in one file
// that is never half written.
//
// The file is a journal. A [Ledger.Commit] appends all that was put and deleted
// since the last one as one frame with a checksum, by one write(2): after the
// death of the process, at whatever moment, a frame is there or it isn't. When
// the file has grown to much more than what is alive in it, it is written anew
// beside the old one, brought to the disk, and renamed over it.
//
// A frame is not brought to the disk at once: it survives the process, which is
// what the ledger is for, and after the machine's death no process is left to be
// found. [Ledger.Sync] is for what should survive that too. A file that was cut
// short by it is read up to where it is whole; one that can't be read at all is
// set aside. Both is told, neither is an error.
//
// The package knows nothing of what the values mean.
package ledger

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"tend/internal/fault"
)

// magic begins the file; the number is the version of the format. What the
// values hold has a version of its own.
const magic = "tend ledger 1\n"

const (
	frameHead = 8       // bytes: length and checksum, little endian
	maxFrame  = 1 << 28 // bytes; more is no frame
	slack     = 1 << 20 // bytes of what is dead that never matter
)

var checksums = crc32.MakeTable(crc32.Castagnoli)

// The operations within a frame.
const (
	opPut    = 'p'
	opDelete = 'd'
)

// A Ledger is the open file. Its methods may be called from several goroutines.
type Ledger struct {
	path string

	mu      sync.Mutex
	file    *os.File
	pending []byte // a frame in the making, with room for its head
	size    int64  // of the file
	fresh   int64  // size after it was written anew

	rewriting bool
	since     []byte // frames that were appended since the rewrite began
	failed    error  // why the last commit failed; the file may end in half a frame then

	syncing, again bool // an fdatasync(2) is under way, and another one was asked for
	background     sync.WaitGroup
}

// Open opens the ledger at path, or makes one, and returns the values in it.
// notice, where it isn't "", says in words that something was lost and where it
// was put.
func Open(path string) (l *Ledger, values map[string][]byte, notice string, err error) {
	data, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, nil, "", fmt.Errorf("cannot read the ledger: %w", err)
	}
	values, whole, why := replay(data)
	if why != "" {
		aside := path + ".set-aside"
		notice = fmt.Sprintf("%s %s; what could be read of it counts, all of it is in %s", path, why, aside)
		if err := os.WriteFile(aside, data, 0o600); err != nil { // no reason not to go on
			notice = fmt.Sprintf("%s %s; what could be read of it counts; it can't be set aside: %v", path, why, err)
			os.Remove(aside)
		}
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, nil, "", fmt.Errorf("cannot open the ledger: %w", err)
	}
	l = &Ledger{path: path, file: f, size: int64(whole), fresh: int64(whole)}
	if err := l.begin(whole); err != nil {
		f.Close()
		return nil, nil, "", err
	}
	return l, values, notice, nil
}

// Read returns the values in the file at path, as Open would, and changes
// nothing.
func Read(path string) (map[string][]byte, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("cannot read the ledger: %w", err)
	}
	values, _, why := replay(data)
	if why != "" && len(values) == 0 {
		return nil, fmt.Errorf("cannot read the ledger: %s %s", path, why)
	}
	return values, nil
}

// begin cuts the file to its first whole bytes and sets it to its end.
func (l *Ledger) begin(whole int) error {
	err := l.file.Truncate(int64(whole))
	if err == nil && whole == 0 {
		_, err = l.file.WriteAt([]byte(magic), 0)
		l.size, l.fresh = int64(len(magic)), int64(len(magic))
	}
	if err != nil {
		return fmt.Errorf("cannot begin the ledger: %w", err)
	}
	return nil
}

// replay returns the values in the bytes of a file, how many of these are whole,
// and in words why the rest isn't.
func replay(data []byte) (values map[string][]byte, whole int, why string) {
	values = make(map[string][]byte)
	switch {
	case len(data) == 0:
		return values, 0, ""
	case !bytes.HasPrefix(data, []byte(magic)):
		return values, 0, "is not a ledger of this version"
	}
	whole = len(magic)
	for whole < len(data) {
		rest := data[whole:]
		if len(rest) < frameHead {
			return values, whole, "is cut short"
		}
		n := binary.LittleEndian.Uint32(rest)
		if n > maxFrame {
			return values, whole, "is damaged"
		}
		if int(n) > len(rest)-frameHead {
			return values, whole, "is cut short"
		}
		body := rest[frameHead : frameHead+int(n)]
		if crc32.Checksum(body, checksums) != binary.LittleEndian.Uint32(rest[4:]) || !apply(body, values) {
			return values, whole, "is damaged"
		}
		whole += frameHead + int(n)
	}
	return values, whole, ""
}

// apply carries the operations of a frame out, all or none. It reports false
// where they make no sense.
func apply(body []byte, values map[string][]byte) bool {
	type operation struct {
		key   string
		value []byte // nil: deleted
	}
	var list []operation
	field := func() ([]byte, bool) {
		n, used := binary.Uvarint(body)
		if used <= 0 || n > uint64(len(body)-used) {
			return nil, false
		}
		b := body[used : used+int(n)]
		body = body[used+int(n):]
		return b, true
	}
	for len(body) > 0 {
		op := body[0]
		body = body[1:]
		key, ok := field()
		if !ok {
			return false
		}
		switch op {
		case opDelete:
			list = append(list, operation{string(key), nil})
		case opPut:
			value, ok := field()
			if !ok {
				return false
			}
			list = append(list, operation{string(key), append([]byte{}, value...)})
		default:
			return false
		}
	}
	for _, o := range list {
		if o.value == nil {
			delete(values, o.key)
		} else {
			values[o.key] = o.value
		}
	}
	return true
}

// Put sets the value of a key, as of the next Commit.
func (l *Ledger) Put(key string, value []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.put(key, value)
}

func (l *Ledger) put(key string, value []byte) {
	l.operation(opPut, key)
	l.pending = binary.AppendUvarint(l.pending, uint64(len(value)))
	l.pending = append(l.pending, value...)
}

// Delete forgets a key, as of the next Commit.
func (l *Ledger) Delete(key string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.operation(opDelete, key)
}

func (l *Ledger) operation(op byte, key string) {
	if len(l.pending) == 0 {
		l.pending = append(l.pending, make([]byte, frameHead)...)
	}
	l.pending = append(l.pending, op)
	l.pending = binary.AppendUvarint(l.pending, uint64(len(key)))
	l.pending = append(l.pending, key...)
}

// PutNow is Put and Commit of this one key: what others have put and not
// committed waits for their Commit.
func (l *Ledger) PutNow(key string, value []byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	others := l.pending
	l.pending = nil
	l.put(key, value)
	err := l.commit()
	l.pending = others
	return err
}

// Commit appends what was put and deleted. When it has returned nil, that
// survives this process. After an error what was to be committed is still
// pending, and is tried again with the next Commit.
func (l *Ledger) Commit() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.commit()
}

func (l *Ledger) commit() error {
	if len(l.pending) == 0 {
		return nil
	}
	if l.file == nil {
		return l.failure(os.ErrClosed)
	}
	body := l.pending[frameHead:]
	binary.LittleEndian.PutUint32(l.pending, uint32(len(body)))
	binary.LittleEndian.PutUint32(l.pending[4:], crc32.Checksum(body, checksums))
	if l.failed != nil {
		// Half of the last frame may be there, behind which nothing is read.
		if err := l.file.Truncate(l.size); err != nil {
			return l.failure(err)
		}
	}
	if _, err := l.file.WriteAt(l.pending, l.size); err != nil {
		l.file.Truncate(l.size) // of half a frame; if that fails, it is tried again
		return l.failure(err)
	}
	fault.Point("ledger.written")
	l.failed = nil
	l.size += int64(len(l.pending))
	if l.rewriting {
		l.since = append(l.since, l.pending...)
	}
	l.pending = l.pending[:0]
	if cap(l.pending) > slack {
		l.pending = nil
	}
	if !l.rewriting && l.size > 2*l.fresh+slack {
		l.rewriting = true
		size := l.size
		l.background.Go(func() { l.rewrite(size) })
	}
	return nil
}

func (l *Ledger) failure(err error) error {
	l.failed = fmt.Errorf("cannot write the ledger: %w", err)
	return l.failed
}

// rewrite makes the first size bytes of the file anew beside it, without what is
// dead, and puts it in its place.
func (l *Ledger) rewrite(size int64) {
	f, err := l.anew(size)
	l.mu.Lock()
	defer l.mu.Unlock()
	since := l.since
	l.rewriting, l.since = false, nil
	if err == nil && l.file == nil {
		err = os.ErrClosed
	}
	if err == nil {
		_, err = f.Write(since)
	}
	var now int64
	if err == nil {
		now, err = f.Seek(0, io.SeekCurrent)
	}
	if err == nil {
		err = os.Rename(f.Name(), l.path)
	}
	if err != nil {
		// The old one goes on. It is tried again when that has doubled.
		l.fresh = l.size
		if f != nil {
			os.Remove(f.Name())
			f.Close()
		}
		return
	}
	l.file.Close()
	l.file, l.size, l.fresh, l.failed = f, now, now-int64(len(since)), nil
	if dir, err := os.Open(filepath.Dir(l.path)); err == nil {
		l.background.Go(func() {
			dir.Sync() // or the rename may be lost with the machine, which is the old file then
			dir.Close()
		})
	}
}

// anew writes what is alive in the first size bytes of the file to a new one,
// and brings it to the disk.
func (l *Ledger) anew(size int64) (f *os.File, err error) {
	data := make([]byte, size)
	old, err := os.Open(l.path)
	if err != nil {
		return nil, err
	}
	defer old.Close()
	if _, err := io.ReadFull(old, data); err != nil {
		return nil, err
	}
	values, _, why := replay(data)
	if why != "" {
		return nil, errors.New(why)
	}
	f, err = os.OpenFile(l.path+".new", os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, err
	}
	scratch := new(Ledger)
	for _, key := range slices.Sorted(maps.Keys(values)) {
		scratch.put(key, values[key])
	}
	scratch.file = f
	if _, err = f.WriteString(magic); err == nil {
		scratch.size = int64(len(magic))
		scratch.fresh = size // so that it isn't rewritten itself
		if err = scratch.commit(); err == nil {
			_, err = f.Seek(scratch.size, io.SeekStart)
		}
	}
	if err == nil {
		err = f.Sync()
	}
	return f, err
}

// Sync brings what is committed to the disk, in the background: for what should
// survive the machine's death.
func (l *Ledger) Sync() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.syncing {
		l.again = true
		return
	}
	if l.file == nil {
		return
	}
	l.syncing = true
	l.background.Go(func() {
		for {
			l.mu.Lock()
			f := l.file
			l.mu.Unlock()
			if f != nil {
				f.Sync() // an error is of the disk, and there is no other one
			}
			l.mu.Lock()
			if !l.again {
				l.syncing = false
				l.mu.Unlock()
				return
			}
			l.again = false
			l.mu.Unlock()
		}
	})
}

// Close lets go of the file, with all that was committed in it.
func (l *Ledger) Close() error {
	l.mu.Lock()
	f := l.file
	l.file = nil
	l.mu.Unlock()
	l.background.Wait()
	if f == nil {
		return os.ErrClosed
	}
	return f.Close()
}

// Remove closes the ledger and removes its file: there is nothing left that
// anybody would have to know.
func (l *Ledger) Remove() error {
	err := os.Remove(l.path)
	return errors.Join(err, l.Close())
}

package logs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"sync"
)

// blocks are the buffers of followers: one while it reads and emits, none while
// it waits.
var blocks = sync.Pool{New: func() any { return new([blockBytes]byte) }}

// Follow emits the bytes of a log from a position on, past its present end and
// over rotations, until ctx ends or emit fails; it returns that error. Chunks
// are as they come, not lines. next is the position after the chunk, from which
// Follow, or another process, can go on. The chunk is emit's for the call only.
//
// A position whose file was rotated away is answered by [ErrGone] before
// anything is emitted. A follower that is slower than keep rotations goes on
// with the oldest file there is. A file that is truncated is begun again; what
// was not read by then is lost.
//
// The folder must exist; the file may come later. Follow costs the writer
// nothing: it waits for inotify(7) and reads the file.
func Follow(ctx context.Context, path string, keep int, from Position, emit func(chunk []byte, next Position) error) error {
	f := follower{chain: chain{path, keep}, emit: emit}
	err := f.run(ctx, from)
	f.close()
	if err != nil && !errors.Is(err, errEmit) {
		return fmt.Errorf("cannot follow log: %w", err)
	}
	return f.emitErr
}

var errEmit = errors.New("emit failed")

type follower struct {
	chain
	emit    func([]byte, Position) error
	emitErr error

	watch     *watch
	cur, next *logFile // the file that is read; the one after it, when it is there
	off       int64    // in cur
}

func (f *follower) close() {
	for _, l := range []*logFile{f.cur, f.next} {
		if l != nil {
			f.watch.leave(l)
			l.Close()
		}
	}
	if f.watch != nil {
		f.watch.close()
	}
}

func (f *follower) run(ctx context.Context, from Position) (err error) {
	if f.watch, err = watchName(filepath.Dir(f.path), filepath.Base(f.path)); err != nil {
		return err
	}
	if err := f.start(from); err != nil {
		return err
	}
	for {
		// Every check comes before the wait, and what happens after a check has
		// left its mark in the watch's channel.
		more, err := f.advance()
		if err != nil {
			return err
		}
		if more {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			continue
		}
		select {
		case <-f.watch.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// start opens the file of a position.
func (f *follower) start(from Position) error {
	if from == (Position{}) {
		return nil // advance takes the oldest
	}
	for n := f.find(from); n >= 0; n = f.find(from) {
		l, err := f.open(n)
		if err != nil {
			return err
		}
		if l == nil {
			continue // renamed between the two
		}
		if l.id.Inode != from.Inode || l.id.Birth != from.Birth {
			l.Close()
			continue
		}
		f.off = from.Offset
		return f.become(l)
	}
	return ErrGone
}

// become makes l the file that is read.
func (f *follower) become(l *logFile) error {
	if f.cur != nil {
		f.watch.leave(f.cur)
		f.cur.Close()
	}
	f.cur = l
	return f.watch.join(l)
}

// advance does one step: emits what there is, or goes to the next file. more
// says that there was something to do.
func (f *follower) advance() (more bool, err error) {
	if f.cur == nil {
		l, err := f.oldest()
		if l == nil || err != nil {
			return false, err
		}
		return true, f.become(l)
	}
	if n, err := f.read(); n > 0 || err != nil {
		return true, err
	}
	size, _, err := f.cur.now()
	if err != nil {
		return false, err
	}
	if size < f.off { // truncated
		f.off = 0
		return true, nil
	}
	if f.next == nil {
		if err := f.findNext(); f.next == nil || err != nil {
			return false, err
		}
	}
	// A writer that was not told of a rename yet goes on with the old file,
	// though the new one is there. It has let go of the old one when there are
	// bytes in the new one; and then the old one is read once more.
	size, named, err := f.next.now()
	if err != nil {
		return false, err
	}
	if size == 0 {
		if f.find(f.next.id) == 0 {
			return false, nil
		}
		if !named { // removed, never used
			f.watch.leave(f.next)
			f.next.Close()
			f.next = nil
			return true, nil
		}
	}
	if n, err := f.read(); n > 0 || err != nil {
		return true, err
	}
	l := f.next
	f.next, f.off = nil, 0
	f.watch.leave(f.cur)
	f.cur.Close()
	f.cur = l
	return true, nil
}

// read emits what cur holds after off, a block at most.
func (f *follower) read() (int, error) {
	buf := blocks.Get().(*[blockBytes]byte)
	defer blocks.Put(buf)
	n, err := f.cur.ReadAt(buf[:], f.off)
	if err != nil && err != io.EOF {
		return n, err
	}
	if n == 0 {
		return 0, nil
	}
	f.off += int64(n)
	next := f.cur.id
	next.Offset = f.off
	if f.emitErr = f.emit(buf[:n], next); f.emitErr != nil {
		return n, errEmit
	}
	return n, nil
}

// findNext opens the file that came after cur, if there is one, and watches it.
func (f *follower) findNext() error {
	n := f.find(f.cur.id)
	if n == 0 {
		return nil
	}
	var l *logFile
	var err error
	if n > 0 {
		l, err = f.neighbour(f.cur, -1)
	} else {
		l, err = f.newer()
	}
	if l == nil || err != nil {
		return err
	}
	f.next = l
	return f.watch.join(l)
}

// newer opens the oldest file that is younger than cur, which has left the
// chain: it was removed, or renamed in another manner.
func (f *follower) newer() (*logFile, error) {
	l, err := f.newest()
	if l == nil || err != nil {
		return nil, err
	}
	// When cur was removed and its successor isn't there yet, the newest is a
	// rotated one that was read before. Only of path itself it is known that it came
	// after cur, whenever it was made.
	if f.find(l.id) != 0 && !younger(l, f.cur) {
		l.Close()
		return nil, nil
	}
	for {
		older, err := f.neighbour(l, +1)
		if older == nil || err != nil {
			return l, err
		}
		if !younger(older, f.cur) {
			older.Close()
			return l, nil
		}
		l.Close()
		l = older
	}
}

// younger says whether a was made after b. Where the file system doesn't tell
// when a file was made, it is younger if it was written last.
func younger(a, b *logFile) bool {
	if a.id.Birth != b.id.Birth {
		return a.id.Birth > b.id.Birth
	}
	return a.written() > b.written()
}

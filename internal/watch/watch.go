// Package watch tells when files that match patterns have changed, and then been
// left alone for a moment.
//
// There is one inotify(7) instance for everybody. Folders are watched, not files:
// editors write a new file and rename it over the old one. A file counts as
// changed when it is closed after writing, made, renamed or removed; reading
// doesn't count. Symbolic links to folders aren't followed. What happens with the
// news is not this package's business.
package watch

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"time"

	"github.com/bmatcuk/doublestar/v4"
	"golang.org/x/sys/unix"
)

// A Rule says which files matter to somebody.
type Rule struct {
	Key    string        // whose rule it is
	Globs  []string      // absolute patterns, with ** for any number of folders
	Ignore []string      // what they leave alone; a folder with all below it
	Delay  time.Duration // how long there must be quiet before it is told
}

// A Change is told once for all that happened until there was quiet.
type Change struct {
	Key   string
	Path  string // the first of those that have changed; "" where that isn't known
	Count int    // how many have
}

// A Watcher watches by the rules of its latest Set. Its methods may be called
// from several goroutines.
type Watcher struct {
	inotify *os.File
	fd      int
	tell    func(Change)
	trouble func(error)
	done    chan struct{}

	scans sync.Mutex // one at a time

	mu     sync.Mutex
	closed bool
	rules  []*rule
	dirs   map[int32]string // by watch descriptor
}

// rule is a Rule with what has happened.
type rule struct {
	Rule
	timer   *time.Timer // nil: nothing has happened
	changed map[string]bool
	first   string
}

// folderEvents are those after which files in a folder may be others.
const folderEvents = unix.IN_CLOSE_WRITE | unix.IN_CREATE | unix.IN_MOVED_TO | unix.IN_MOVED_FROM | unix.IN_DELETE |
	unix.IN_DELETE_SELF | unix.IN_ONLYDIR

// Open returns a watcher without rules. tell and trouble are called from any
// goroutine, and must not call into the watcher.
func Open(tell func(Change), trouble func(error)) (*Watcher, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("cannot watch files: inotify: %w (fs.inotify.max_user_instances bounds them)", err)
	}
	w := &Watcher{inotify: os.NewFile(uintptr(fd), "inotify"), fd: fd, tell: tell, trouble: trouble,
		done: make(chan struct{}), dirs: make(map[int32]string)}
	go w.loop()
	return w, nil
}

// Set makes rules the ones that are in force, and returns how many folders are
// watched for them. It looks through all of these, which may take a while.
func (w *Watcher) Set(rules []Rule) int {
	w.scans.Lock()
	defer w.scans.Unlock()
	w.mu.Lock()
	kept := make(map[string]*rule, len(w.rules))
	for _, r := range w.rules {
		kept[r.Key] = r
	}
	w.rules = nil
	for _, r := range rules {
		if old := kept[r.Key]; old != nil && reflect.DeepEqual(old.Rule, r) {
			w.rules = append(w.rules, old)
			delete(kept, r.Key)
			continue
		}
		w.rules = append(w.rules, &rule{Rule: r})
	}
	for _, r := range kept {
		if r.timer != nil {
			r.timer.Stop()
		}
	}
	w.mu.Unlock()
	return w.scan()
}

// scan watches all folders in which something may match. w.scans is held.
func (w *Watcher) scan() int {
	w.mu.Lock()
	rules := w.rules
	w.mu.Unlock()
	want := make(map[string]bool)
	for _, r := range rules {
		for _, glob := range r.Globs {
			r.folders(glob, want)
		}
	}
	dirs := make(map[int32]string, len(want))
	var failed error
	for dir := range want {
		wd, err := unix.InotifyAddWatch(w.fd, dir, folderEvents) // the same one again, where there is one
		switch {
		case err == nil:
			dirs[int32(wd)] = dir
		case errors.Is(err, unix.ENOSPC):
			failed = fmt.Errorf("cannot watch %s: fs.inotify.max_user_watches is used up (watch fewer folders: watch_ignore)", dir)
		case !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.ENOTDIR): // gone since
			failed = fmt.Errorf("cannot watch %s: inotify: %w", dir, err)
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return 0
	}
	for wd := range w.dirs {
		if dirs[wd] == "" {
			unix.InotifyRmWatch(w.fd, uint32(wd)) // fails when the folder is gone, and the watch with it
		}
	}
	w.dirs = dirs
	if failed != nil {
		w.trouble(failed)
	}
	return len(dirs)
}

// folders adds the folders to want whose contents may match a glob. Where that
// begins in one that doesn't exist it is the nearest one above.
func (r *Rule) folders(glob string, want map[string]bool) {
	base, pattern := doublestar.SplitPattern(glob)
	info, err := os.Stat(base)
	for err != nil && base != filepath.Dir(base) {
		base, pattern = filepath.Dir(base), ""
		info, err = os.Stat(base)
	}
	if err != nil || !info.IsDir() {
		return
	}
	depth := strings.Count(pattern, "/")
	deep := strings.Contains(pattern, "**") || strings.Contains(pattern, "{")
	filepath.WalkDir(base, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil && d != nil && d.IsDir():
			return fs.SkipDir // it can't be read, or is gone
		case err != nil || !d.IsDir():
			return nil
		case path != base && (r.ignores(path) || !deep && strings.Count(path[len(base):], "/") > depth):
			return fs.SkipDir
		}
		want[path] = true
		return nil
	})
}

func (r *Rule) ignores(path string) bool { return matches(r.Ignore, path) }

func matches(globs []string, path string) bool {
	for _, g := range globs {
		if ok, _ := doublestar.PathMatch(g, path); ok { // they are valid, or match nothing
			return true
		}
	}
	return false
}

func (w *Watcher) loop() {
	defer close(w.done)
	var buf [64 << 10]byte
	for {
		n, err := w.inotify.Read(buf[:])
		if err != nil {
			return
		}
		var fresh []string // new folders
		lost := false
		w.mu.Lock()
		for b := buf[:n]; len(b) >= unix.SizeofInotifyEvent; {
			// struct inotify_event: wd, mask, cookie, len, then len bytes of
			// name, padded with zeros.
			wd, mask := int32(binary.NativeEndian.Uint32(b)), binary.NativeEndian.Uint32(b[4:])
			end := unix.SizeofInotifyEvent + int(binary.NativeEndian.Uint32(b[12:]))
			name := unix.ByteSliceToString(b[unix.SizeofInotifyEvent:end])
			b = b[end:]
			dir, known := w.dirs[wd]
			switch path := filepath.Join(dir, name); {
			case mask&unix.IN_Q_OVERFLOW != 0:
				lost = true
			case !known || name == "":
			case mask&unix.IN_ISDIR != 0:
				if mask&(unix.IN_CREATE|unix.IN_MOVED_TO) != 0 {
					fresh = append(fresh, path)
				}
			default:
				w.changed(path)
			}
		}
		if lost { // anything may have happened
			for _, r := range w.rules {
				w.touch(r, "")
			}
		}
		w.mu.Unlock()
		if lost || len(fresh) > 0 {
			w.rescan(fresh)
		}
	}
}

// rescan watches new folders as well. What was made in them before that counts as
// changed.
func (w *Watcher) rescan(fresh []string) {
	w.scans.Lock()
	w.scan()
	w.scans.Unlock()
	for _, dir := range fresh {
		filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				return nil // gone already
			}
			if !d.IsDir() {
				w.mu.Lock()
				w.changed(path)
				w.mu.Unlock()
			}
			return nil
		})
	}
}

// changed notes a changed file with those to whom it matters. w.mu is held.
func (w *Watcher) changed(path string) {
	for _, r := range w.rules {
		if matches(r.Globs, path) && !r.ignored(path) {
			w.touch(r, path)
		}
	}
}

// ignored reports whether a file, or a folder above it that a walk would have
// left out, is to be left alone.
func (r *Rule) ignored(path string) bool {
	for ; path != filepath.Dir(path); path = filepath.Dir(path) {
		if r.ignores(path) {
			return true
		}
	}
	return false
}

// touch notes that something of a rule has changed, and begins to wait for quiet.
// w.mu is held.
func (w *Watcher) touch(r *rule, path string) {
	if r.changed == nil {
		r.changed, r.first = make(map[string]bool), path
	}
	r.changed[path] = true
	if r.timer == nil {
		r.timer = time.AfterFunc(r.Delay, func() { w.due(r) })
	} else {
		r.timer.Reset(r.Delay)
	}
}

func (w *Watcher) due(r *rule) {
	w.mu.Lock()
	c := Change{Key: r.Key, Path: r.first, Count: len(r.changed)}
	r.changed, r.first = nil, ""
	closed := w.closed
	w.mu.Unlock()
	if c.Count > 0 && !closed {
		w.tell(c)
	}
}

// Close ends the watch. Nothing is told any more when it has returned, but for
// what is being told meanwhile.
func (w *Watcher) Close() {
	w.mu.Lock()
	w.closed = true
	for _, r := range w.rules {
		if r.timer != nil {
			r.timer.Stop()
		}
	}
	w.mu.Unlock()
	w.inotify.Close()
	<-w.done
}

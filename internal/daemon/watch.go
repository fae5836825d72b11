package daemon

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// A watcher calls back when watched files have changed and then been left alone
// for a moment.
//
// Folders are watched by inotify(7), not files: editors write a new file and
// rename it over the old one, and Kubernetes swaps a symlink beside it; either
// way the folder is what tells. A file counts as written when it is closed, so
// that a log in the same folder doesn't wake the daemon with every line.
type watcher struct {
	inotify *os.File
	fd      int
	quiet   time.Duration
	call    func()
	done    chan struct{}

	mu      sync.Mutex
	paths   map[string]bool  // that matter
	folders map[string]bool  // of which every file matters
	names   map[int32]string // folders by watch descriptor
}

// changes are the events of a folder that may change what its files say.
const changes = unix.IN_CLOSE_WRITE | unix.IN_CREATE | unix.IN_MOVED_TO | unix.IN_MOVED_FROM | unix.IN_DELETE |
	unix.IN_DELETE_SELF | unix.IN_MOVE_SELF | unix.IN_ONLYDIR

func newWatcher(quiet time.Duration, call func()) (*watcher, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("inotify: %w; fs.inotify.max_user_instances bounds them", err)
	}
	w := &watcher{inotify: os.NewFile(uintptr(fd), "inotify"), fd: fd, quiet: quiet, call: call,
		done: make(chan struct{}), names: make(map[int32]string)}
	go w.loop()
	return w, nil
}

// follow makes paths, files and folders, the ones that are watched. A folder
// that doesn't exist is watched by the nearest one above it that does.
func (w *watcher) follow(paths []string) error {
	files, folders, watch := make(map[string]bool), make(map[string]bool), make(map[string]bool)
	for _, p := range paths {
		info, err := os.Stat(p)
		dir := filepath.Dir(p)
		if err == nil && info.IsDir() {
			folders[p], dir = true, p
		}
		files[p] = true
		for {
			if _, err := os.Stat(dir); err == nil || dir == filepath.Dir(dir) {
				break
			}
			files[dir], dir = true, filepath.Dir(dir)
		}
		watch[dir] = true
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.paths, w.folders = files, folders
	var failed error
	names := make(map[int32]string, len(watch))
	for dir := range watch {
		// Adding again is needed too: the folder may have been replaced.
		wd, err := unix.InotifyAddWatch(w.fd, dir, changes)
		if err != nil {
			failed = fmt.Errorf("inotify: %s: %w", dir, err)
			continue
		}
		names[int32(wd)] = dir
	}
	for wd := range w.names {
		if names[wd] == "" {
			unix.InotifyRmWatch(w.fd, uint32(wd)) // fails when the folder is gone, and the watch with it
		}
	}
	w.names = names
	return failed
}

// matters reports whether something that happened to a name in a watched folder
// may change what the files say. An empty name is the folder itself.
func (w *watcher) matters(wd int32, name string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	dir, watched := w.names[wd]
	if !watched {
		return false // of a watch that was removed
	}
	// Kubernetes replaces all files of a volume at once by the link ..data.
	return name == "" || name == "..data" || w.folders[dir] || w.paths[filepath.Join(dir, name)]
}

func (w *watcher) loop() {
	defer close(w.done)
	var timer *time.Timer
	var buf [16 << 10]byte
	for {
		n, err := w.inotify.Read(buf[:])
		if err != nil {
			if timer != nil {
				timer.Stop()
			}
			return
		}
		changed := false
		for b := buf[:n]; len(b) >= unix.SizeofInotifyEvent; {
			// struct inotify_event: wd, mask, cookie, len, then len bytes of
			// name, padded with zeros.
			wd, mask := int32(binary.NativeEndian.Uint32(b)), binary.NativeEndian.Uint32(b[4:])
			end := unix.SizeofInotifyEvent + int(binary.NativeEndian.Uint32(b[12:]))
			name := unix.ByteSliceToString(b[unix.SizeofInotifyEvent:end])
			b = b[end:]
			// After an overflow anything may have happened.
			changed = changed || mask&unix.IN_Q_OVERFLOW != 0 || w.matters(wd, name)
		}
		switch {
		case !changed:
		case timer == nil:
			timer = time.AfterFunc(w.quiet, w.call)
		default:
			timer.Reset(w.quiet)
		}
	}
}

func (w *watcher) close() {
	w.inotify.Close()
	<-w.done
}

package logs

import (
	"encoding/binary"
	"fmt"
	"os"
	"slices"
	"strconv"
	"sync"

	"golang.org/x/sys/unix"
)

// All followers of a process share one inotify instance, for a user has only
// 128 of them (fs.inotify.max_user_instances); it exists while somebody
// follows. A folder is watched for new names, not for writes, and a file by its
// descriptor: ten thousand programs that write into one folder wake only those
// who follow them.
var shared struct {
	sync.Mutex
	in *notifier
}

// A notifier is an inotify instance and who waits for what. All but f is under
// shared.
type notifier struct {
	f         *os.File
	fd        int
	followers int
	subs      map[target][]*watch
	users     map[int32]int // of each watch descriptor
}

// A target is what a watch waits for: a name in a watched folder, or with name
// "" the watched file itself.
type target struct {
	wd   int32
	name string
}

// A watch is one follower's share in the notifier. C has an element after
// something has happened.
type watch struct {
	C      chan struct{}
	in     *notifier
	folder target
}

// watchName waits for a file of that name to appear in dir.
func watchName(dir, name string) (*watch, error) {
	shared.Lock()
	defer shared.Unlock()
	in := shared.in
	if in == nil {
		fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
		if err != nil {
			return nil, fmt.Errorf("inotify: %w; fs.inotify.max_user_instances bounds them", err)
		}
		in = &notifier{f: os.NewFile(uintptr(fd), "inotify"), fd: fd, subs: make(map[target][]*watch), users: make(map[int32]int)}
		go in.run()
		shared.in = in
	}
	w := &watch{C: make(chan struct{}, 1), in: in}
	in.followers++
	var err error
	if w.folder, err = w.add(dir, name, unix.IN_CREATE|unix.IN_MOVED_TO|unix.IN_ONLYDIR); err != nil {
		w.resign()
		return nil, err
	}
	return w, nil
}

// join waits for writes to l as well. The link in /proc leads to the file
// itself, whatever its name is by now.
func (w *watch) join(l *logFile) (err error) {
	shared.Lock()
	defer shared.Unlock()
	l.watched, err = w.add("/proc/self/fd/"+strconv.Itoa(int(l.Fd())), "", unix.IN_MODIFY)
	return err
}

// leave undoes join.
func (w *watch) leave(l *logFile) {
	shared.Lock()
	defer shared.Unlock()
	w.remove(l.watched)
}

func (w *watch) close() {
	shared.Lock()
	defer shared.Unlock()
	w.remove(w.folder)
	w.resign()
}

func (w *watch) add(path, name string, mask uint32) (target, error) {
	in := w.in
	n, err := unix.InotifyAddWatch(in.fd, path, mask) // the same for the same inode
	if err == unix.ENOSPC {
		return target{}, fmt.Errorf("inotify: no watch left, raise fs.inotify.max_user_watches: %w", err)
	}
	if err != nil {
		return target{}, &os.PathError{Op: "watch", Path: path, Err: err}
	}
	t := target{int32(n), name}
	in.users[t.wd]++
	in.subs[t] = append(in.subs[t], w)
	return t, nil
}

func (w *watch) remove(t target) {
	in := w.in
	i := slices.Index(in.subs[t], w)
	if i < 0 {
		return // add had failed
	}
	if in.subs[t] = slices.Delete(in.subs[t], i, i+1); len(in.subs[t]) == 0 {
		delete(in.subs, t)
	}
	if in.users[t.wd]--; in.users[t.wd] == 0 {
		delete(in.users, t.wd)
		_, _ = unix.InotifyRmWatch(in.fd, uint32(t.wd)) // fails if what it watched is gone
	}
}

// resign lets go of the notifier, which ends with its last follower.
func (w *watch) resign() {
	if w.in.followers--; w.in.followers == 0 {
		w.in.f.Close()
		shared.in = nil
	}
}

// run wakes those who wait, until the notifier is closed.
func (in *notifier) run() {
	var buf [16 << 10]byte
	for {
		n, err := in.f.Read(buf[:])
		if err != nil {
			return
		}
		shared.Lock()
		for b := buf[:n]; len(b) >= unix.SizeofInotifyEvent; {
			// struct inotify_event: wd, mask, cookie, len, then len bytes of
			// name, padded with zeros.
			wd, mask := binary.NativeEndian.Uint32(b), binary.NativeEndian.Uint32(b[4:])
			end := unix.SizeofInotifyEvent + int(binary.NativeEndian.Uint32(b[12:]))
			name := unix.ByteSliceToString(b[unix.SizeofInotifyEvent:end])
			b = b[end:]
			if mask&unix.IN_Q_OVERFLOW != 0 { // anything may have happened
				for _, subs := range in.subs {
					wakeAll(subs)
				}
				continue
			}
			wakeAll(in.subs[target{int32(wd), name}])
		}
		shared.Unlock()
	}
}

func wakeAll(subs []*watch) {
	for _, w := range subs {
		select {
		case w.C <- struct{}{}:
		default: // it has one it didn't take yet
		}
	}
}

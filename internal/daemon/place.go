package daemon

import (
	"errors"
	"fmt"
	"hash/fnv"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"tend/internal/spec"
)

// place is where a daemon keeps its things.
type place struct {
	state string // folder of the socket and the lock
	logs  string // folder of the programs' output
}

func (p place) socket() string { return filepath.Join(p.state, "tend.sock") }

// times is the folder of the index by which output is found by time.
func (p place) times() string { return filepath.Join(p.logs, ".times") }

// hash tells the daemons of one machine apart by their state folders.
func (p place) hash() string {
	h := fnv.New64a()
	h.Write([]byte(p.state))
	return strconv.FormatUint(h.Sum64(), 36)
}

// suffix tells the folders of several files of supervisord's in one folder apart:
// "-web" for web.conf, "" for supervisord.conf and for files of other formats.
func suffix(config string) string {
	if name, ok := strings.CutSuffix(filepath.Base(config), ".conf"); ok && name != "supervisord" && name != "" {
		return "-" + name
	}
	return ""
}

// choosePlace decides on the folders. A configuration below /etc/tend, and one of
// supervisord's where that looks for it, has the system's places, any other one a
// .tend folder beside it.
func choosePlace(o Options, d spec.Daemon) (place, error) {
	base := "."
	if o.Config != "" {
		base = filepath.Dir(o.Config)
		if info, err := os.Stat(o.Config); err == nil && info.IsDir() {
			base = o.Config
		}
	}
	base, err := filepath.Abs(base)
	if err != nil {
		return place{}, err
	}
	system := base == "/etc"
	for _, dir := range []string{"/etc/tend", "/etc/supervisor"} {
		system = system || base == dir || strings.HasPrefix(base, dir+"/")
	}
	var p place
	switch {
	case o.State != "":
		p.state = o.State
	case d.State != "":
		p.state = d.State
	case system:
		p.state = "/run/tend" + suffix(o.Config)
	default:
		p.state = filepath.Join(base, ".tend"+suffix(o.Config))
	}
	switch {
	case d.Logs != "":
		p.logs = d.Logs
	case system && o.State == "":
		p.logs = "/var/log/tend" + suffix(o.Config)
	default:
		p.logs = filepath.Join(p.state, "logs")
	}
	for _, dir := range []*string{&p.state, &p.logs} {
		if *dir, err = filepath.Abs(*dir); err != nil {
			return place{}, err
		}
	}
	return p, nil
}

// findPlace decides on the folders, and makes that of the state. A daemon that
// follows another one stays in the state folder of that, which is given then.
func findPlace(o Options, d spec.Daemon, state string) (place, error) {
	p, err := choosePlace(o, d)
	if err != nil {
		return place{}, err
	}
	if state != "" && state != p.state {
		if p.logs == filepath.Join(p.state, "logs") {
			p.logs = filepath.Join(state, "logs")
		}
		p.state = state
	}
	fresh := false
	if _, err := os.Stat(p.state); errors.Is(err, os.ErrNotExist) {
		fresh = true
	}
	err = os.MkdirAll(p.state, 0o755)
	if chosen := o.State != "" || d.State != "" || state != ""; o.Supervisord && !chosen && (err != nil || unix.Access(p.state, unix.W_OK) != nil) {
		// Supervisord needs none, and runs where nothing can be written beside its file.
		if p.state, err = privateFolder(p.hash()); err != nil {
			return place{}, err
		}
		if d.Logs == "" {
			p.logs = filepath.Join(p.state, "logs")
		}
	}
	if err != nil {
		return place{}, hinted{fmt.Errorf("cannot make the state folder: %w", err), "name another one with --state"}
	}
	if fresh && strings.HasPrefix(filepath.Base(p.state), ".tend") {
		// The folder lies in people's projects: keep it out of their commits.
		os.WriteFile(filepath.Join(p.state, ".gitignore"), []byte("*\n"), 0o644)
	}
	return p, nil
}

// privateFolder makes a folder that is ours alone, where this user may write: below
// $XDG_RUNTIME_DIR or that of temporary files. It is the same one each time.
func privateFolder(name string) (string, error) {
	base := os.Getenv("XDG_RUNTIME_DIR")
	if base == "" {
		base = os.TempDir()
	}
	path := filepath.Join(base, fmt.Sprintf("tend-%d-%s", os.Geteuid(), name))
	err := os.Mkdir(path, 0o700)
	if errors.Is(err, os.ErrExist) {
		// Others can write there too: it may be theirs, or lead somewhere else.
		var info os.FileInfo
		if info, err = os.Lstat(path); err == nil {
			owner, ok := info.Sys().(*syscall.Stat_t)
			if !ok || !info.IsDir() || int(owner.Uid) != os.Geteuid() || info.Mode().Perm()&0o077 != 0 {
				err = errors.New("it is there, and not a folder of this user alone")
			}
		}
	}
	if err != nil {
		return "", hinted{fmt.Errorf("cannot use the state folder %s: %w", path, err), "name another one with $TEND_STATE"}
	}
	return path, nil
}

// hinted is an error that says what to do.
type hinted struct {
	error
	hint string
}

func (h hinted) Hint() string  { return h.hint }
func (h hinted) Unwrap() error { return h.error }

// lock is the right to be the only daemon on a state folder. The kernel gives it
// back when all who hold it have ended, the guard among them; the pids in files
// are for people.
type lock struct {
	file  *os.File
	state string
}

// The files with the pids: of whom people have started, and of the daemon under
// a guard.
const (
	mainPIDFile   = "tend.pid"
	daemonPIDFile = "daemon.pid"
)

// lockTime is how long a lock is waited for whose holder says no pid.
const lockTime = 3 * time.Second

func takeLock(state string) (*lock, error) {
	path := filepath.Join(state, "lock")
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|syscall.O_CLOEXEC, 0o644)
	if err != nil {
		return nil, hinted{fmt.Errorf("cannot use the state folder: %w", err), "name another one with --state"}
	}
	// One that has no pid in its file is at its end, or its beginning: both are short.
	var pid []byte
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	for end := time.Now().Add(lockTime); err == syscall.EWOULDBLOCK && time.Now().Before(end); {
		if pid, _ = os.ReadFile(filepath.Join(state, mainPIDFile)); len(pid) > 0 {
			break
		}
		time.Sleep(lockTime / 100)
		err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	}
	if err != nil {
		f.Close()
		if err == syscall.EWOULDBLOCK {
			return nil, hinted{fmt.Errorf("another tend (pid %s) guards %s", strings.TrimSpace(string(pid)), state),
				"tend status shows what it runs, tend reload applies changed files; another state folder is named with --state"}
		}
		return nil, fmt.Errorf("cannot lock %s: %w", path, err)
	}
	return &lock{f, state}, nil
}

// write writes the pids.
func (l *lock) write(main, daemon int, guarded bool) error {
	pids := map[string]int{mainPIDFile: main, daemonPIDFile: daemon}
	if !guarded {
		delete(pids, daemonPIDFile)
	}
	for name, pid := range pids {
		// Whoever reads it finds the old pid or the new one, never a part of one.
		file := filepath.Join(l.state, name)
		err := os.WriteFile(file+".new", []byte(strconv.Itoa(pid)+"\n"), 0o644)
		if err == nil {
			err = os.Rename(file+".new", file)
		}
		if err != nil {
			return fmt.Errorf("cannot write the pid file: %w", err)
		}
	}
	return nil
}

func (l *lock) release() {
	for _, name := range []string{mainPIDFile, daemonPIDFile} {
		os.Remove(filepath.Join(l.state, name))
	}
	l.file.Close()
}

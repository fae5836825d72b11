package svconf

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/user"
	"strconv"
)

// An FS is what Load sees of the file system, with the functions of package os.
// All paths are absolute.
type FS interface {
	ReadFile(name string) ([]byte, error)
	ReadDir(name string) ([]fs.DirEntry, error)
	Stat(name string) (fs.FileInfo, error)  // of what a symbolic link leads to
	Lstat(name string) (fs.FileInfo, error) // of the link itself
}

// Accounts is whom Load knows. Users and groups are looked up by name, or by
// number where supervisord takes the text for one.
type Accounts interface {
	User(name string) (uid, gid int, ok bool)
	UserID(uid int) (gid int, ok bool)
	Group(name string) (gid int, ok bool)
	GroupID(gid int) (ok bool)
	Home(user string) (dir string, ok bool) // "" is the user that runs the daemon
}

// OS is the machine's own [FS] and [Accounts].
type OS struct{}

// maxFile is the largest file that is read, in bytes.
const maxFile = 16 << 20

// ReadFile reads a file, which may be a pipe as a shell makes one of <(command),
// but not one without end.
func (OS) ReadFile(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, err
	}
	if len(text) > maxFile {
		return nil, errors.New("it has more than " + strconv.Itoa(maxFile>>20) + " MB")
	}
	return text, nil
}

// ReadDir is [os.ReadDir].
func (OS) ReadDir(name string) ([]fs.DirEntry, error) { return os.ReadDir(name) }

// Stat is [os.Stat].
func (OS) Stat(name string) (fs.FileInfo, error) { return os.Stat(name) }

// Lstat is [os.Lstat].
func (OS) Lstat(name string) (fs.FileInfo, error) { return os.Lstat(name) }

// User looks a user up by name.
func (OS) User(name string) (uid, gid int, ok bool) { return ids(user.Lookup(name)) }

// UserID looks a user up by number.
func (OS) UserID(uid int) (gid int, ok bool) {
	_, gid, ok = ids(user.LookupId(strconv.Itoa(uid)))
	return gid, ok
}

// Group looks a group up by name.
func (OS) Group(name string) (gid int, ok bool) {
	g, err := user.LookupGroup(name)
	if err != nil {
		return 0, false
	}
	gid, err = strconv.Atoi(g.Gid)
	return gid, err == nil
}

// GroupID looks a group up by number.
func (OS) GroupID(gid int) bool {
	_, err := user.LookupGroupId(strconv.Itoa(gid))
	return err == nil
}

// Home returns the home folder of a user.
func (OS) Home(name string) (string, bool) {
	find := func() (*user.User, error) { return user.Lookup(name) }
	if name == "" {
		find = func() (*user.User, error) { return user.LookupId(strconv.Itoa(os.Getuid())) }
	}
	u, err := find()
	if err != nil {
		return "", false
	}
	return u.HomeDir, true
}

func ids(u *user.User, err error) (uid, gid int, ok bool) {
	if err != nil {
		return 0, 0, false
	}
	uid, err1 := strconv.Atoi(u.Uid)
	gid, err2 := strconv.Atoi(u.Gid)
	return uid, gid, err1 == nil && err2 == nil
}

// System returns the options with which supervisord would read a file here and
// now.
func System(path string) (Options, error) {
	dir, err := os.Getwd()
	if err != nil {
		return Options{}, fmt.Errorf("cannot read %s: no working directory: %w", path, err)
	}
	host, err := os.Hostname()
	if err != nil {
		return Options{}, fmt.Errorf("cannot read %s: no host name: %w", path, err)
	}
	return Options{Path: path, Dir: dir, Environ: os.Environ(), Host: host, UID: os.Getuid()}, nil
}

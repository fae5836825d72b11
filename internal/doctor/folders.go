package doctor

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"

	"tend/api"
)

// A folderTrial is what came of writing into a folder, or into the next one
// above it that is there.
type folderTrial struct {
	at      string // the folder that is there
	write   error
	splice  error // moving bytes from a pipe into a file
	kind    int64 // magic number of the file system
	free    int64 // bytes
	noFiles bool  // there is room for bytes, but for no more files
}

// kinds of file systems by their magic numbers, see statfs(2).
var kinds = map[int64]string{
	unix.TMPFS_MAGIC: "tmpfs", unix.RAMFS_MAGIC: "ramfs", unix.EXT4_SUPER_MAGIC: "ext4", unix.XFS_SUPER_MAGIC: "xfs",
	unix.BTRFS_SUPER_MAGIC: "btrfs", unix.OVERLAYFS_SUPER_MAGIC: "overlayfs", unix.NFS_SUPER_MAGIC: "NFS",
	unix.F2FS_SUPER_MAGIC: "f2fs", unix.FUSE_SUPER_MAGIC: "FUSE", unix.V9FS_MAGIC: "9p", unix.SMB2_SUPER_MAGIC: "SMB",
	unix.CIFS_SUPER_MAGIC: "SMB", 0x2fc12fc1: "zfs",
}

// remote are file systems on which locks and sockets are of little worth.
var remote = map[string]bool{"NFS": true, "SMB": true, "9p": true}

// Free space below which there is something to say.
const (
	freeProblem = 1e6
	freeWarning = 100e6
)

// folders reports whether state and logs can be kept where they belong.
func (m *machine) folders(o Options) []api.Finding {
	var all []found
	others := m.pid != 0 || o.Unasked != ""
	if o.State != "" {
		all = append(all, m.keep("state", o.State, "", others)...)
	}
	if o.Logs != "" {
		all = append(all, m.keep("logs", o.Logs, o.State, others)...)
	}
	return list(all...)
}

// keep reports on one folder, which may lie below another one that is reported. It
// may be that of a daemon of somebody else's.
func (m *machine) keep(area, dir, above string, others bool) []found {
	t := m.folder(dir)
	there := dir
	rel, err := filepath.Rel(above, dir)
	below := above != "" && err == nil && filepath.IsLocal(rel)
	switch {
	case below:
		there = rel + " in the state folder"
	case t.at != dir:
		there += ", to be made"
	}
	if t.write != nil {
		hint := "name another one: --state, $TEND_STATE, or state in [tend]"
		if area == "logs" && !below {
			hint = "name another one: logs in [tend]"
		}
		if others && errors.Is(t.write, unix.EACCES) {
			return []found{ok(area, area+".folder", there+": not ours to write", "").value(t.free)}
		}
		return []found{problem(area, area+".folder", "cannot write in "+t.at+": "+errText(t.write), "", hint).value(0)}
	}
	kind := kinds[t.kind]
	if kind == "" {
		kind = fmt.Sprintf("file system %#x", uint32(t.kind))
	}
	title := there + ": " + kind + ", " + bytesText(t.free) + " free"
	f := ok(area, area+".folder", title, "")
	switch {
	case t.noFiles:
		f = problem(area, area+".folder", there+": no more files fit on it", "", "remove some: df -i")
	case t.free < freeProblem:
		f = problem(area, area+".folder", title, "", "make room")
	case t.free < freeWarning && kind != "tmpfs", t.free < freeWarning/10:
		f = warning(area, area+".folder", title, "", "make room")
	}
	all := []found{f.value(t.free)}
	switch volatile := kind == "tmpfs" || kind == "ramfs"; {
	case remote[kind]:
		all = append(all, warning(area, area+".remote", "it is on "+kind, "locks may not hold, and a write may wait for the network",
			"use a folder of this machine"))
	case volatile && area == "logs":
		all = append(all, warning(area, area+".volatile", "logs are in memory, and gone after a reboot", "", "name a folder on a disk: logs in [tend]").value(0))
	case volatile:
		all = append(all, ok(area, area+".volatile", "it is gone after a reboot", "as is all that it tells of").value(0))
	}
	if t.splice != nil {
		all = append(all, warning(area, area+".splice", "splice doesn't work there: "+errText(t.splice),
			"a crash of tend loses what it has read and not yet written", "use another file system for it").value(0))
	} else {
		all = append(all, ok(area, area+".splice", "splice works there", "output is never in tend's memory"))
	}
	return all
}

// tryFolder writes a file without a name into dir, or into the next folder above
// it that is there.
func tryFolder(dir string) (t folderTrial) {
	t.at = dir
	for {
		info, err := os.Stat(t.at)
		if err == nil && !info.IsDir() {
			t.write = unix.ENOTDIR
			return t
		}
		parent := filepath.Dir(t.at)
		if err == nil || !errors.Is(err, os.ErrNotExist) || parent == t.at {
			break
		}
		t.at = parent
	}
	var st unix.Statfs_t
	if unix.Statfs(t.at, &st) == nil {
		t.kind = int64(st.Type)
		t.free = int64(st.Bavail) * st.Bsize
		t.noFiles = st.Files > 0 && st.Ffree == 0
	}
	fd, err := unix.Open(t.at, unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, 0o600)
	if err == unix.EOPNOTSUPP || err == unix.EISDIR || err == unix.EINVAL { // not every file system has those
		name := filepath.Join(t.at, ".tend-doctor-"+strconv.Itoa(os.Getpid()))
		if fd, err = unix.Open(name, unix.O_CREAT|unix.O_EXCL|unix.O_RDWR|unix.O_CLOEXEC, 0o600); err == nil {
			unix.Unlink(name)
		}
	}
	if err != nil {
		t.write = err
		return t
	}
	defer unix.Close(fd)
	if _, t.write = unix.Write(fd, spliced); t.write == nil {
		t.splice = spliceTo(fd)
	}
	return t
}

package proc

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"hash/fnv"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"golang.org/x/sys/unix"
)

// openCgroup makes the host's cgroup, a folder named name under our own, and
// tries it: whether a process can be put there depends on mounts, owners,
// namespaces and the kind of the cgroup.
func (h *Host) openCgroup(name string) error {
	if name == "" || strings.ContainsAny(name, "/\n") || strings.HasPrefix(name, ".") {
		return fmt.Errorf("cannot use cgroups: %q is no name for one", name)
	}
	own, err := ownCgroup("/proc/self/mountinfo", "/proc/self/cgroup")
	if err != nil {
		return fmt.Errorf("cannot use cgroups: %w", err)
	}
	dir := filepath.Join(own, name)
	if err := unix.Mkdir(dir, 0o755); err != nil && err != unix.EEXIST {
		return fmt.Errorf("cannot use cgroups: mkdir %s: %w", dir, err)
	}
	err = h.tryCgroup(dir)
	if err != nil {
		unix.Rmdir(dir)
		return fmt.Errorf("cannot use cgroups: %s: %w", dir, err)
	}
	h.caps.Cgroup = dir
	return nil
}

// tryCgroup makes a child in the cgroup dir.
func (h *Host) tryCgroup(dir string) error {
	if err := unix.Access(dir+"/cgroup.procs", unix.W_OK); err != nil {
		return err
	}
	if !exists(dir + "/cgroup.events") {
		return errors.New("no cgroup.events")
	}
	if !h.caps.Clone3 {
		return nil
	}
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return h.try(true, fd)
}

// ownCgroup returns the folder of our own cgroup in the v2 hierarchy, wherever
// that is mounted. The arguments are files as in /proc/self.
func ownCgroup(mountinfo, cgroup string) (string, error) {
	b, err := os.ReadFile(cgroup)
	if err != nil {
		return "", err
	}
	own := ""
	for line := range strings.Lines(string(b)) {
		if p, ok := strings.CutPrefix(line, "0::"); ok {
			own = strings.TrimSuffix(p, "\n")
		}
	}
	if own == "" {
		return "", errors.New("no cgroup v2")
	}
	b, err = os.ReadFile(mountinfo)
	if err != nil {
		return "", err
	}
	// See proc_pid_mountinfo(5): 41 31 0:38 ROOT MOUNTPOINT OPTIONS … - TYPE SOURCE …
	sc := bufio.NewScanner(bytes.NewReader(b))
	for sc.Scan() {
		before, after, _ := strings.Cut(sc.Text(), " - ")
		f := strings.Fields(before)
		if len(f) < 6 || !strings.HasPrefix(after, "cgroup2 ") {
			continue
		}
		root, point := unescape(f[3]), unescape(f[4])
		if rel, err := filepath.Rel(root, own); err == nil && rel != ".." && !strings.HasPrefix(rel, "../") {
			return filepath.Join(point, rel), nil
		}
	}
	return "", errors.New("cgroup v2 isn't mounted, or not with our own cgroup in it")
}

// unescape undoes the octal escapes of mountinfo.
func unescape(s string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(s)
}

// treeDir returns the cgroup folder of an instance.
func (h *Host) treeDir(name string) string { return h.caps.Cgroup + "/" + treeName(name) }

// treeName returns the name of an instance as a file name that can't be one of
// the kernel's own files in a cgroup, which all have a dot in them and begin
// with the name of a controller.
func treeName(name string) string {
	var b strings.Builder
	b.WriteString("tree-")
	for _, r := range name {
		if r == '/' || r == '%' || !unicode.IsPrint(r) {
			for _, c := range []byte(string(r)) {
				fmt.Fprintf(&b, "%%%02X", c)
			}
			continue
		}
		b.WriteRune(r)
	}
	if b.Len() > 200 { // NAME_MAX is 255 bytes
		sum := fnv.New64a()
		sum.Write([]byte(name))
		return fmt.Sprintf("%.160s-%016x", strings.ToValidUTF8(b.String()[:160], ""), sum.Sum64())
	}
	return b.String()
}

// openTree returns a descriptor of an instance's cgroup, made if need be.
//
// One that has been killed once is made anew. Since a race between fork and
// cgroup.kill was mended in Linux 6.14 (and in the stable ones of that time), the
// kernel counts the kills of a cgroup, and clone3 compares the count of the
// caller's cgroup to that of the one that the child is born into: whatever is
// born into a cgroup that was ever killed is killed as well. So it was still in
// 6.18. One that an earlier daemon has left may have been.
func (h *Host) openTree(name string) (int, error) {
	dir := h.treeDir(name)
	h.mu.Lock()
	fresh := h.fresh[name]
	h.fresh[name] = true
	h.mu.Unlock()
	if !fresh {
		removeCgroup(dir) // it is empty, or isn't there
	}
	for {
		fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != unix.ENOENT {
			return fd, err
		}
		if err := unix.Mkdir(dir, 0o755); err != nil && err != unix.EEXIST {
			return -1, err
		}
	}
}

// Forget removes what is kept for an instance between its attempts. It is for
// an instance that is gone for good, with its tree empty.
func (h *Host) Forget(name string) {
	if h.caps.Cgroup != "" {
		h.spoil(name)
		removeCgroup(h.treeDir(name))
	}
}

// spoil notes that the cgroup of an instance isn't to be used again.
func (h *Host) spoil(name string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.fresh, name)
}

// RemoveTree removes the cgroup folder of an adopted process whose tree is empty,
// where that isn't one of ours.
func (h *Host) RemoveTree(cgroup string) {
	if cgroup != "" && (h.caps.Cgroup == "" || filepath.Dir(cgroup) != h.caps.Cgroup) {
		removeCgroup(cgroup)
		unix.Rmdir(filepath.Dir(cgroup)) // stays while there are others in it
	}
}

// removeCgroup removes an empty cgroup and those that a program made in it.
func removeCgroup(dir string) {
	if unix.Rmdir(dir) != unix.EBUSY {
		return
	}
	for _, sub := range subgroups(dir) {
		removeCgroup(sub)
	}
	unix.Rmdir(dir)
}

func subgroups(dir string) (list []string) {
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		if e.IsDir() {
			list = append(list, filepath.Join(dir, e.Name()))
		}
	}
	return list
}

// eventsOf returns the open cgroup.events file of the tree when processes are
// alive in it, else -1.
func eventsOf(p *Process) int {
	fd, err := unix.Open(p.cgroup+"/cgroup.events", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1
	}
	if !populated(fd) {
		unix.Close(fd)
		return -1
	}
	return fd
}

// cpuTime returns the processor time that was used in a cgroup since it was made,
// by whatever was in it and below; negative where that can't be read. The kernel
// counts it in each, whether or not the controller cpu is on.
func cpuTime(dir string) time.Duration {
	fd, err := unix.Open(dir+"/cpu.stat", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1
	}
	defer unix.Close(fd)
	var buf [64]byte // it is the first line
	n, err := unix.Read(fd, buf[:])
	if err != nil {
		return -1
	}
	line, _, _ := strings.Cut(string(buf[:n]), "\n")
	usec, err := strconv.ParseInt(strings.TrimPrefix(line, "usage_usec "), 10, 64)
	if err != nil {
		return -1
	}
	return time.Duration(usec) * time.Microsecond
}

// populated reads a cgroup.events file anew.
func populated(fd int) bool {
	var buf [256]byte
	n, err := unix.Pread(fd, buf[:], 0)
	return err == nil && bytes.Contains(buf[:n], []byte("populated 1"))
}

// cgroupMembers returns the live processes in a cgroup and those below it. A
// pid read there may be another process's by the time it is opened, so only
// those count that a later reading names again.
func cgroupMembers(dir string) []member {
	opened := make(map[int]member)
	for {
		pids := cgroupPids(dir, nil)
		fresh := false
		for _, pid := range pids {
			if _, ok := opened[pid]; ok {
				continue
			}
			fresh = true
			m, ok := inspect(pid)
			if !ok {
				m = member{pid: pid, fd: -1}
			}
			opened[pid] = m
		}
		if fresh {
			continue
		}
		var list []member
		for pid, m := range opened {
			if m.fd < 0 {
				continue
			}
			if slices.Contains(pids, pid) {
				list = append(list, m)
			} else {
				unix.Close(m.fd)
			}
		}
		return list
	}
}

// cgroupPids appends the pids in a cgroup and those below it to list.
func cgroupPids(dir string, list []int) []int {
	b, _ := os.ReadFile(dir + "/cgroup.procs")
	for f := range bytes.FieldsSeq(b) {
		// 0 stands for a process outside our pid namespace.
		if n, err := strconv.Atoi(string(f)); err == nil && n > 0 {
			list = append(list, n)
		}
	}
	for _, sub := range subgroups(dir) {
		list = cgroupPids(sub, list)
	}
	return list
}

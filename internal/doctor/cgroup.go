package doctor

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"tend/api"
)

// A cgroupTrial is what came of making a cgroup and ending what is in it.
type cgroupTrial struct {
	made        error // mkdir
	entered     error // a child was put there
	kill        error // cgroup.kill ended it
	controllers string
}

// cgroups reports whether trees can be cgroups, and which controllers are ours.
func (m *machine) cgroups() []api.Finding {
	const area = "cgroup"
	dir, err := m.ownCgroup()
	if err != nil {
		return list(warning(area, "cgroup.v2", err.Error(), "",
			"mount it: mount -t cgroup2 none /sys/fs/cgroup").value(0))
	}
	shown := strings.TrimPrefix(dir, m.root)
	enter := m.remedy("Delegate=yes in the unit", "systemd-run --user --scope -p Delegate=yes tend run", "give the container a writable /sys/fs/cgroup", "let tend's user own a cgroup, and start it in there")
	if m.pid != 0 {
		// The daemon has made its own already. A child of ours might not be let in
		// where those of the daemon are.
		all := []found{ok(area, "cgroup.v2", "the daemon is in "+shown, m.controllers(dir))}
		if err := unix.Access(dir, unix.W_OK); err != nil {
			all = append(all, warning(area, "cgroup.make", "no cgroup can be made in it: "+errText(err), "", enter))
		}
		return list(all...)
	}
	t := m.cgroup(dir)
	switch {
	case t.made != nil:
		return list(ok(area, "cgroup.v2", "v2 is there, we are in "+shown, ""),
			warning(area, "cgroup.make", "no cgroup can be made in it: "+errText(t.made), "", enter))
	case t.entered != nil:
		return list(ok(area, "cgroup.v2", "v2 is there, we are in "+shown, ""),
			warning(area, "cgroup.make", "no process can be put into a cgroup of ours: "+errText(t.entered), "", enter))
	}
	all := []found{ok(area, "cgroup.v2", "v2 can be written", "we are in "+shown), ok(area, "cgroup.make", "a cgroup was made, entered and removed", "")}
	if t.kill == nil {
		all = append(all, ok(area, "cgroup.kill", "cgroup.kill ends all in it at once", "since Linux 5.14"))
	} else {
		all = append(all, ok(area, "cgroup.kill", "no cgroup.kill", "its processes are killed one by one until none is left ("+errText(t.kill)+")").value(0))
	}
	have := strings.Fields(t.controllers)
	var lack []string
	for _, c := range []string{"memory", "cpu", "pids", "io"} {
		if !slices.Contains(have, c) {
			lack = append(lack, c)
		}
	}
	if len(lack) == 0 {
		all = append(all, ok(area, "cgroup.controllers", "memory, cpu, pids and io can be limited", ""))
	} else {
		detail := "they aren't delegated"
		if v1 := m.text("/proc/self/cgroup"); strings.Contains(v1, ":memory:") || strings.Contains(v1, ":cpu:") || strings.Contains(v1, ",cpu:") || strings.Contains(v1, ":pids:") {
			detail = "controllers are on v1"
		}
		all = append(all, ok(area, "cgroup.controllers", "no limits of "+strings.Join(lack, ", "), detail+"; only limits.memory, cpu and pids need them").value(0))
	}
	return list(all...)
}

// controllers says which controllers a cgroup has.
func (m *machine) controllers(dir string) string {
	b, _ := os.ReadFile(filepath.Join(dir, "cgroup.controllers"))
	if c := strings.Fields(string(b)); len(c) > 0 {
		return "controllers: " + strings.Join(c, ", ")
	}
	return "no controllers"
}

// v2Path returns the path of a process in the v2 hierarchy.
func v2Path(cgroup string) (string, bool) {
	for line := range strings.Lines(cgroup) {
		if p, ok := strings.CutPrefix(line, "0::"); ok {
			return strings.TrimSuffix(p, "\n"), true
		}
	}
	return "", false
}

// ownCgroup returns the folder of the cgroup v2 in which the process is.
func (m *machine) ownCgroup() (string, error) {
	b, err := os.ReadFile(m.self("cgroup"))
	if err != nil {
		return "", errors.New("no cgroup can be found: /proc can't be read")
	}
	own, ok := v2Path(string(b))
	if !ok {
		return "", errors.New("no cgroup v2")
	}
	for line := range strings.Lines(m.text("/proc/self/mountinfo")) {
		// 41 31 0:38 ROOT MOUNTPOINT OPTIONS … - TYPE SOURCE …, see proc_pid_mountinfo(5).
		before, after, _ := strings.Cut(line, " - ")
		f := strings.Fields(before)
		if len(f) < 6 || !strings.HasPrefix(after, "cgroup2 ") {
			continue
		}
		if rel, err := filepath.Rel(unescape(f[3]), own); err == nil && rel != ".." && !strings.HasPrefix(rel, "../") {
			return m.path(filepath.Join(unescape(f[4]), rel)), nil
		}
	}
	return "", errors.New("cgroup v2 isn't mounted, or not with our own in it")
}

// unescape undoes the octal escapes of mountinfo.
func unescape(s string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(s)
}

// tryCgroup makes a cgroup in dir, puts a child there, kills that by cgroup.kill
// and removes the cgroup.
func tryCgroup(dir string) (t cgroupTrial) {
	b, _ := os.ReadFile(filepath.Join(dir, "cgroup.controllers"))
	t.controllers = string(b)
	probe := filepath.Join(dir, "tend-doctor-"+strconv.Itoa(os.Getpid()))
	if t.made = os.Mkdir(probe, 0o755); t.made != nil {
		return t
	}
	defer unix.Rmdir(probe)
	c, err := startChild(0)
	if err != nil {
		t.entered = err
		return t
	}
	defer c.close()
	if t.entered = writeFile(filepath.Join(probe, "cgroup.procs"), strconv.Itoa(c.pid)); t.entered != nil {
		c.end()
		return t
	}
	if t.kill = writeFile(filepath.Join(probe, "cgroup.kill"), "1"); t.kill != nil {
		c.end()
		return t
	}
	// The kill is done when the write returns, and comes before any other end.
	if ws, err := c.end(); err != nil {
		t.kill = err
	} else if !ws.Signaled() {
		t.kill = errors.New("the child lived on")
	}
	return t
}

// writeFile writes to a file that is there.
func writeFile(path, text string) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Close())
}

// errText returns an error without the path, which is said already.
func errText(err error) string {
	var e *os.PathError
	if errors.As(err, &e) {
		return e.Err.Error()
	}
	return err.Error()
}

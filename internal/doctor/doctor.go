// Package doctor finds out what the kernel, the container and the user allow,
// and which guarantees follow for programs: how a tree is stopped, how a crash
// of tend is survived, what is known of what ends meanwhile, how many fit.
//
// It looks and tries, and needs no daemon. What can be tried without harm is
// tried, since a version says little: kernels are patched, and seccomp refuses
// what they could. Whatever a trial makes (a child that ends at once, a cgroup,
// a file without a name) is gone when it returns. The package changes nothing,
// repairs nothing and knows nothing of configurations. What it is told of a
// daemon it believes.
//
// A probe is a function of a [machine] that returns findings; the machine is
// the real one, or a folder and a few functions in the tests. [Guarantees] is
// pure: it concludes from the findings alone.
package doctor

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"tend/api"
)

// Who holds pipes and statuses while no daemon lives.
const (
	KeeperGuard   = "guard"   // the parent of the daemon
	KeeperFDStore = "fdstore" // systemd's descriptor store
	KeeperNone    = "none"    // nobody
)

// How a whole tree is found and ended.
const (
	TreeCgroup    = "cgroup"
	TreeSubreaper = "subreaper"
	TreeGroup     = "group" // the process group, and nothing beyond it
)

// DaemonInfo is what a running daemon says of itself.
type DaemonInfo struct {
	PID       int
	GuardPID  int    // 0: there is none
	Keeper    string // KeeperGuard and the like; "" is taken for KeeperNone
	Tree      string // TreeCgroup and the like; "" where it isn't known
	Instances int    // that are configured
	Programs  []ProgramInfo
}

// ProgramInfo is an instance that runs, with what its process shows to differ
// from the daemon's words. Where a field is "", those hold.
type ProgramInfo struct {
	Name   string
	PID    int
	Tree   string
	Keeper string
	Output string // "direct": past tend
	PTY    bool   // it has a terminal of tend's
}

// Options says what to look at.
type Options struct {
	State, Logs string      // folders; "" is left out
	Daemon      *DaemonInfo // nil: none runs, or none that answers
	Unasked     string      // why the daemon that runs can't be asked
}

// Examine looks at everything and concludes.
func Examine(o Options) *api.Doctor {
	m := thisMachine()
	if o.Daemon != nil {
		m.look(o.Daemon)
	}
	findings := m.probe(o)
	return &api.Doctor{
		Findings:   findings,
		Guarantees: Guarantees(findings, o.Daemon),
		Programs:   Programs(findings, o.Daemon),
	}
}

// machine is what the probes look at.
type machine struct {
	root   string // in front of every path
	pid    int    // the process whose limits and cgroup count: the daemon's, 0 is ourselves
	euid   int
	getenv func(string) string

	features []feature                                               // of the kernel, in order
	cgroup   func(dir string) cgroupTrial                            // tries to make a cgroup in dir
	folder   func(dir string) folderTrial                            // tries to write in dir
	inherit  func() (soft int64, err error)                          // limit of descriptors that children get
	inotify  func() error                                            // makes an inotify instance
	unit     func(name string, user bool) (map[string]string, error) // what systemd says of a unit
	clock    func() (clockReading, error)
}

func thisMachine() *machine {
	return &machine{
		euid:     os.Geteuid(),
		getenv:   os.Getenv,
		features: features,
		cgroup:   tryCgroup,
		folder:   tryFolder,
		inherit:  inheritedNoFile,
		inotify:  tryInotify,
		unit:     systemdUnit,
		clock:    readClock,
	}
}

// probe runs all probes, in the order in which people read them.
func (m *machine) probe(o Options) []api.Finding {
	return slices.Concat(
		m.tend(o.Daemon, o.Unasked),
		m.kernel(),
		m.container(),
		m.user(),
		m.cgroups(),
		m.descriptors(),
		m.processes(),
		m.memory(),
		m.procfs(),
		m.watches(),
		m.clocks(),
		m.systemd(),
		m.folders(o),
	)
}

// path returns where the machine's path is.
func (m *machine) path(path string) string { return filepath.Join(m.root, "/", path) }

// self returns the path of a file about the process that is looked at.
func (m *machine) self(name string) string {
	if m.pid == 0 {
		return m.path("/proc/self/" + name)
	}
	return m.path("/proc/" + strconv.Itoa(m.pid) + "/" + name)
}

// text returns the content of a file of /proc or /sys, "" if it can't be read.
func (m *machine) text(path string) string {
	b, err := os.ReadFile(m.path(path))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

// number returns the number in a file. It isn't ok when there is none, as when
// the file says "max".
func (m *machine) number(path string) (n int64, ok bool) {
	n, err := strconv.ParseInt(m.text(path), 10, 64)
	return n, err == nil
}

// status returns the fields of /proc/PID/status.
func (m *machine) status() map[string]string {
	b, _ := os.ReadFile(m.self("status"))
	fields := make(map[string]string)
	for line := range strings.Lines(string(b)) {
		if key, value, ok := strings.Cut(line, ":"); ok {
			fields[key] = strings.TrimSpace(value)
		}
	}
	return fields
}

// look makes the daemon the process that is looked at, if it can be seen, and
// completes what is known of its programs by what they show. A pid is that of
// the daemon's own pid namespace, which may not be ours: a process that doesn't
// look like what it should be is left alone.
func (m *machine) look(d *DaemonInfo) {
	cmdline := m.text("/proc/" + strconv.Itoa(d.PID) + "/cmdline")
	if d.PID == 0 || !strings.Contains(cmdline, "tend") && !strings.Contains(cmdline, "\x00run") {
		return
	}
	m.pid = d.PID
	for i := range d.Programs {
		m.lookAt(&d.Programs[i], d.Tree)
	}
}

// lookAt looks at the process of a program.
func (m *machine) lookAt(p *ProgramInfo, tree string) {
	dir := "/proc/" + strconv.Itoa(p.PID)
	if environ, err := os.ReadFile(m.path(dir + "/environ")); err == nil && len(environ) > 0 && !strings.Contains("\x00"+string(environ), "\x00TEND_PROGRAM=") {
		return
	}
	if own, ok := v2Path(m.text(dir + "/cgroup")); ok && tree == TreeCgroup && p.Tree == "" && !strings.Contains(own, "/tree-") {
		p.Tree = TreeGroup
	}
	if to, err := os.Readlink(m.path(dir + "/fd/1")); err == nil && p.Output == "" && !strings.HasPrefix(to, "pipe:") && !(p.PTY && strings.HasPrefix(to, "/dev/pts/")) {
		p.Output = "direct"
	}
}

// tend says what runs.
func (m *machine) tend(d *DaemonInfo, unasked string) []api.Finding {
	const area = "tend"
	if unasked != "" {
		return list(warning(area, "tend.daemon", "a daemon is here, and can't be asked: "+unasked, "this is what another tend run would have",
			"ask as its user or as root: sudo tend doctor"))
	}
	if d == nil {
		return list(ok(area, "tend.daemon", "no daemon runs here: this is what tend run would have", "").value(0))
	}
	title := "daemon pid " + strconv.Itoa(d.PID) + m.resident(d.PID)
	if d.GuardPID != 0 {
		title += ", guard pid " + strconv.Itoa(d.GuardPID) + m.resident(d.GuardPID)
	}
	return list(ok(area, "tend.daemon", title, ""))
}

// resident returns ", 1.9 MB" of a process that can be seen.
func (m *machine) resident(pid int) string {
	if m.pid == 0 {
		return ""
	}
	for line := range strings.Lines(m.text("/proc/" + strconv.Itoa(pid) + "/status")) {
		if f := strings.Fields(line); len(f) == 3 && f[0] == "VmRSS:" {
			if kib, err := strconv.ParseInt(f[1], 10, 64); err == nil {
				return " (" + bytesText(kib*1024) + ")"
			}
		}
	}
	return ""
}

// found is a finding under construction.
type found struct{ api.Finding }

func ok(area, id, title, detail string) found {
	return found{api.Finding{ID: id, Area: area, Level: api.LevelOK, Title: title, Detail: detail, Value: 1}}
}

func warning(area, id, title, detail, hint string) found {
	return found{api.Finding{ID: id, Area: area, Level: api.LevelWarning, Title: title, Detail: detail, Hint: hint}}
}

func problem(area, id, title, detail, hint string) found {
	return found{api.Finding{ID: id, Area: area, Level: api.LevelProblem, Title: title, Detail: detail, Hint: hint}}
}

func (f found) value(n int64) found {
	f.Value = n
	return f
}

// list collects findings.
func list(all ...found) []api.Finding {
	out := make([]api.Finding, len(all))
	for i, f := range all {
		out[i] = f.Finding
	}
	return out
}

// thousands returns n as "1,900".
func thousands(n int64) string {
	s := strconv.FormatInt(n, 10)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// bytesText returns n bytes as "1.9 MB", with units of 1000.
func bytesText(n int64) string {
	if n < 1000 {
		return strconv.FormatInt(n, 10) + " B"
	}
	f, unit := float64(n), -1
	for f >= 999.5 && unit < 4 {
		f /= 1000
		unit++
	}
	digits := 0
	if f < 9.95 {
		digits = 1
	}
	return strconv.FormatFloat(f, 'f', digits, 64) + " " + []string{"kB", "MB", "GB", "TB", "PB"}[unit]
}

package doctor

import (
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"tend/api"
)

// Inode numbers of the namespaces that the machine itself has, from the kernel's
// include/linux/nsfs.h. They never changed.
const (
	firstPIDNamespace  = "pid:[4026531836]"
	firstUserNamespace = "user:[4026531837]"
)

// reapers are programs that as process 1 reap orphans that aren't theirs.
var reapers = []string{"systemd", "init", "tini", "dumb-init", "docker-init", "catatonit", "s6-svscan", "runit", "openrc-init", "dinit", "busybox", "linuxrc", "tend"}

// container reports whether we are in one, and what it takes away.
func (m *machine) container() []api.Finding {
	const area = "container"
	pidNS, _ := os.Readlink(m.path("/proc/self/ns/pid"))
	userNS, _ := os.Readlink(m.path("/proc/self/ns/user"))
	inPID := pidNS != "" && pidNS != firstPIDNamespace
	inUser := userNS != "" && userNS != firstUserNamespace
	status := m.status()
	one := m.text("/proc/1/comm")

	kind := m.containerKind()
	var signs []string
	if inPID {
		signs = append(signs, "pid namespace")
	}
	if inUser {
		signs = append(signs, "user namespace")
	}
	first := ok(area, "container.kind", "none: the machine itself", "").value(0)
	switch {
	case kind != "":
		first = ok(area, "container.kind", kind, strings.Join(signs, ", "))
	case len(signs) > 0:
		first = ok(area, "container.kind", "a "+strings.Join(signs, " and a ")+" of its own", "")
	}
	all := []found{first}

	switch {
	case one == "": // hidepid, or no /proc: said elsewhere
	case !inPID:
		all = append(all, ok(area, "container.pid1", "process 1 is "+one, ""))
	case os.Getpid() == 1 && m.root == "", slices.Contains(reapers, one):
		all = append(all, ok(area, "container.pid1", "process 1 is "+one+", which reaps", "when it ends, the container ends with everything in it"))
	default:
		all = append(all, warning(area, "container.pid1", "process 1 is "+one+", which may not reap orphans",
			"what loses its parent outside of tend's trees may stay as a zombie",
			"make tend run process 1, or start the container with an init: docker run --init"))
	}
	if inUser {
		text, ids := m.mapped()
		f := ok(area, "container.user", "user namespace with "+text, "user and group can name only what is mapped")
		all = append(all, f.value(ids))
	}
	switch status["Seccomp"] {
	case "2":
		all = append(all, ok(area, "container.seccomp", "seccomp filters system calls", "what it refuses of those that tend uses is said under kernel"))
	case "1":
		all = append(all, problem(area, "container.seccomp", "seccomp is in strict mode", "nothing but read and write is allowed", "start tend without it"))
	}
	return list(all...)
}

// containerKind returns what runs the container, "" where nothing tells.
func (m *machine) containerKind() string {
	exists := func(path string) bool { _, err := os.Stat(m.path(path)); return err == nil }
	switch {
	case m.getenv("KUBERNETES_SERVICE_HOST") != "":
		return "Kubernetes"
	case exists("/.dockerenv"):
		return "Docker"
	case exists("/run/.containerenv"):
		return "Podman"
	}
	if c := m.getenv("container"); c != "" { // systemd's convention: lxc, systemd-nspawn, podman
		return c
	}
	return m.text("/run/systemd/container")
}

// remedy chooses the way that is open here: that of a unit of systemd's, of a
// user where systemd runs, of a container, or of any other machine.
func (m *machine) remedy(unit, user, container, other string) string {
	if m.containerKind() != "" {
		return container
	}
	if _, err := os.Stat(m.path("/run/systemd/system")); err != nil {
		return other
	}
	b, _ := os.ReadFile(m.self("cgroup"))
	if name, _ := unitOf(string(b)); name == "" && m.euid != 0 && user != "" {
		return user
	} else if name == "" && m.pid != 0 {
		return other
	}
	return unit
}

// mapped says how many users the namespace has.
func (m *machine) mapped() (text string, ids int64) {
	lines := 0
	for line := range strings.Lines(m.text("/proc/self/uid_map")) {
		if f := strings.Fields(line); len(f) == 3 {
			n, _ := strconv.ParseInt(f[2], 10, 64)
			ids += n
			lines++
		}
	}
	switch {
	case lines == 0:
		return "no users mapped", 0
	case ids == 1:
		return "one user", 1
	}
	return thousands(ids) + " users", ids
}

// capabilities that tend may need, and what is lost without them.
var capabilities = []struct {
	bit  uint
	name string
	lost string
	need bool // a promise isn't kept without it
}{
	{unix.CAP_KILL, "CAP_KILL", "programs of other users can't be stopped", true},
	{unix.CAP_SETUID, "CAP_SETUID", "no program can be another user's", true},
	{unix.CAP_SETGID, "CAP_SETGID", "no program can have another group", true},
	{unix.CAP_SYS_RESOURCE, "CAP_SYS_RESOURCE", "limits can't be raised, oom_score_adj can't be lowered", false},
	{unix.CAP_SYS_ADMIN, "CAP_SYS_ADMIN", "", false},
}

// user reports who we are and what we may.
func (m *machine) user() []api.Finding {
	const area = "user"
	status := m.status()
	uid := m.euid
	if f := strings.Fields(status["Uid"]); len(f) > 1 {
		uid, _ = strconv.Atoi(f[1])
	}
	effective, err := strconv.ParseUint(status["CapEff"], 16, 64)
	if err != nil { // nothing known
		effective = ^uint64(0)
	}
	var names, lost []string
	needed := false
	for _, c := range capabilities {
		if effective&(1<<c.bit) == 0 {
			names = append(names, c.name)
			if c.lost != "" {
				lost = append(lost, c.lost)
			}
			needed = needed || c.need
		}
	}
	var all []found
	switch {
	case uid != 0:
		f := ok(area, "user.who", "uid "+strconv.Itoa(uid)+", not root", "programs run as this user; user and group need root")
		if effective&(1<<unix.CAP_SETUID) != 0 {
			f.Title, f.Detail = "uid "+strconv.Itoa(uid)+" with capabilities", ""
		}
		all = append(all, f.value(int64(uid)))
	case len(names) == 0:
		all = append(all, ok(area, "user.who", "root with all that tend may need", "").value(0))
	case !needed:
		all = append(all, ok(area, "user.who", "root without "+strings.Join(names, ", "), strings.Join(lost, "; ")).value(0))
	default:
		all = append(all, warning(area, "user.who", "root without "+strings.Join(names, ", "), strings.Join(lost, "; "),
			m.remedy("leave them in CapabilityBoundingSet= of the unit", "", "docker run --cap-add "+strings.TrimPrefix(names[0], "CAP_"), "start tend with them")).value(0))
	}
	if status["NoNewPrivs"] == "1" {
		all = append(all, ok(area, "user.no_new_privs", "no new privileges", "sudo, ping and the like don't work in programs"))
	}
	return list(all...)
}

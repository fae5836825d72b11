package doctor

import (
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"tend/api"
)

const (
	perProgram = 2   // descriptors in the daemon: pidfd and pipe
	ownFiles   = 128 // descriptors of the daemon itself: files, clients, watches
	ownTasks   = 64  // threads of guard and daemon
)

// Rooms below which there is something to say. A thousand programs are many, a
// hundred may not be.
const (
	roomProblem = 10
	roomWarning = 500
)

// unlimited stands for a room that nothing limits.
const unlimited = math.MaxInt64

// descriptors reports how many programs the limit of open files leaves room for.
func (m *machine) descriptors() []api.Finding {
	const area = "descriptors"
	_, hard, ok1 := m.limit("Max open files")
	if !ok1 {
		return list(warning(area, "descriptors.limit", "the limit of open files can't be read", "", "mount /proc").value(0))
	}
	// The daemon raises its own limit to the hard one, and gives programs the
	// soft one that it was started with.
	room := int64(unlimited)
	if hard != unlimited {
		room = max(0, (hard-ownFiles)/perProgram)
	}
	title := numberText(hard)
	if m.pid == 0 {
		if soft, err := m.inherit(); err == nil && soft != hard {
			title += " (" + numberText(soft) + " for a program)"
		}
	}
	title += ": room for " + about(room)
	detail := "two descriptors for each program"
	hint := m.remedy("LimitNOFILE=65536 in the unit", "", "docker run --ulimit nofile=65536", "ulimit -n 65536 as root, or nofile in /etc/security/limits.conf")
	all := []found{sized(area, "descriptors.limit", title, detail, hint, room)}
	all = append(all, m.pipes(room))
	return list(all...)
}

// pipes reports what the kernel gives pipes of a user: 16 pages each, until all
// of his together reach a limit, from which on new ones have 2.
func (m *machine) pipes(room int64) found {
	const area, id, each = "descriptors", "descriptors.pipes", 16
	if hard, ok := m.number("/proc/sys/fs/pipe-user-pages-hard"); ok && hard > 0 && !m.mayExceed() && hard/2 < room {
		return sized(area, id, "pipes of a user take "+thousands(hard)+" pages at most: room for "+about(hard/2), "",
			"sysctl fs.pipe-user-pages-hard=0", hard/2)
	}
	soft, ok1 := m.number("/proc/sys/fs/pipe-user-pages-soft")
	switch {
	case !ok1 || soft == 0 || m.mayExceed():
		return ok(area, id, "pipes have 64 KiB each", "").value(room)
	case soft/each < roomWarning:
		return warning(area, id, "after "+thousands(soft/each)+" pipes new ones have 8 KiB",
			"a program that writes much waits more often", "sysctl fs.pipe-user-pages-soft=0").value(room)
	}
	return ok(area, id, "after "+thousands(soft/each)+" pipes new ones have 8 KiB",
		"a program that writes much waits more often; sysctl fs.pipe-user-pages-soft=0 lifts that").value(room)
}

// mayExceed reports whether the limits of a user don't count for the process.
func (m *machine) mayExceed() bool {
	effective, err := strconv.ParseUint(m.status()["CapEff"], 16, 64)
	return err == nil && effective&(1<<unix.CAP_SYS_RESOURCE|1<<unix.CAP_SYS_ADMIN) != 0
}

// processes reports how many processes there may be.
func (m *machine) processes() []api.Finding {
	const area = "processes"
	room, by, hint := int64(unlimited), "", ""
	least := func(n int64, what, remedy string) {
		if n = max(0, n); n < room {
			room, by, hint = n, what, remedy
		}
	}
	if soft, _, ok := m.limit("Max processes"); ok && soft != unlimited && !m.mayExceed() {
		least(soft-ownTasks, thousands(soft)+" processes of a user", m.remedy("LimitNPROC=infinity in the unit", "", "docker run --ulimit nproc=-1", "ulimit -u as root, or nproc in /etc/security/limits.conf"))
	}
	if n, ok := m.number("/proc/sys/kernel/pid_max"); ok {
		least(n-ownTasks, "pid_max "+thousands(n), "sysctl kernel.pid_max=4194304")
	}
	if n, ok := m.number("/proc/sys/kernel/threads-max"); ok {
		least(n-ownTasks, "threads-max "+thousands(n), "sysctl kernel.threads-max="+strconv.FormatInt(2*n, 10))
	}
	if n, where, ok := m.cgroupRoom("pids.max", "pids.current"); ok {
		least(n, "pids.max of the cgroup "+where, m.remedy("TasksMax=infinity in the unit", "", "docker run --pids-limit -1", "write max to that file"))
	}
	if n, where, ok := m.cgroupRoom("cgroup.max.descendants", ""); ok {
		least(n, "cgroup.max.descendants of "+where, "write max to that file")
	}
	title := "nothing limits their number"
	if room != unlimited {
		title = "room for " + about(room) + ": " + by
	}
	return list(sized(area, "processes.room", title, "of one process each; those that start more of their own take more", hint, room))
}

// cgroupRoom returns the least that file allows in our cgroups, up to the root
// and in both versions, less what is there.
func (m *machine) cgroupRoom(file, used string) (room int64, where string, found bool) {
	var dirs []string
	top := m.path("/sys/fs/cgroup")
	if dir, err := m.ownCgroup(); err == nil {
		dirs = append(dirs, dir)
	}
	b, _ := os.ReadFile(m.self("cgroup"))
	for line := range strings.Lines(string(b)) { // 8:pids:/docker/0123…
		if f := strings.SplitN(strings.TrimSpace(line), ":", 3); len(f) == 3 && f[1] == "pids" {
			dirs = append(dirs, filepath.Join(top, "pids", f[2]))
		}
	}
	read := func(path string) (int64, bool) {
		b, err := os.ReadFile(path)
		n, err2 := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
		return n, err == nil && err2 == nil
	}
	for _, dir := range dirs {
		for ; strings.HasPrefix(dir, top); dir = filepath.Dir(dir) {
			n, limited := read(filepath.Join(dir, file))
			if !limited {
				continue
			}
			if used != "" {
				now, _ := read(filepath.Join(dir, used))
				n -= now
			}
			if !found || n < room {
				room, where, found = n, strings.TrimPrefix(dir, m.root), true
			}
		}
	}
	return room, where, found
}

// memory reports what happens when memory runs out.
func (m *machine) memory() []api.Finding {
	const area = "memory"
	var all []found
	b, _ := os.ReadFile(m.self("oom_score_adj"))
	adj, err := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
	switch {
	case err != nil:
	case adj > 0:
		all = append(all, warning(area, "memory.oom", fmt.Sprintf("oom_score_adj is %d: the kernel likes to kill tend", adj),
			"programs have the same", "OOMScoreAdjust=0 or less in the unit").value(adj))
	case adj <= -1000:
		all = append(all, warning(area, "memory.oom", "oom_score_adj is -1000: the kernel kills neither tend nor a program",
			"programs have the same, and one that takes all memory takes it from the rest", "OOMScoreAdjust=-900 in the unit, and oom_score_adj in the programs").value(adj))
	default:
		all = append(all, ok(area, "memory.oom", "oom_score_adj is "+strconv.FormatInt(adj, 10), "of tend, and of programs that set none").value(adj))
	}
	if n, has := m.number("/proc/sys/vm/overcommit_memory"); has {
		text := map[int64]string{0: "as the kernel guesses", 1: "always granted", 2: "only what there is (overcommit_memory is 2)"}[n]
		all = append(all, ok(area, "memory.overcommit", "memory is granted "+text, "").value(n))
	}
	if n, where, ok1 := m.cgroupRoom("memory.max", ""); ok1 {
		f := ok(area, "memory.limit", bytesText(n)+" for all in the cgroup "+where, "tend takes some 10 MB and little more for each program")
		if n < 64<<20 {
			f = warning(area, "memory.limit", "only "+bytesText(n)+" for all in the cgroup "+where,
				"tend takes some 10 MB of it", m.remedy("a greater MemoryMax= in the unit", "", "a greater docker run --memory", "write more to memory.max"))
		}
		all = append(all, f.value(n))
	}
	return list(all...)
}

// watches reports whether files can be watched, for reload = "auto".
func (m *machine) watches() []api.Finding {
	const area = "inotify"
	instances, _ := m.number("/proc/sys/fs/inotify/max_user_instances")
	count, _ := m.number("/proc/sys/fs/inotify/max_user_watches")
	if err := m.inotify(); err != nil {
		hint := "sysctl fs.inotify.max_user_instances=" + strconv.FormatInt(max(512, 2*instances), 10)
		if !errors.Is(err, unix.EMFILE) {
			hint = ""
		}
		return list(warning(area, "inotify.watch", "files can't be watched: "+err.Error(),
			`changed files aren't applied by themselves; tend reload does it`, hint))
	}
	return list(ok(area, "inotify.watch", "files can be watched",
		"up to "+thousands(instances)+" instances and "+thousands(count)+" watches of a user").value(count))
}

func tryInotify() error {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	_, err = unix.InotifyAddWatch(fd, "/", unix.IN_ONLYDIR|unix.IN_DELETE_SELF)
	return err
}

// limit returns a line of /proc/PID/limits.
func (m *machine) limit(name string) (soft, hard int64, ok bool) {
	b, _ := os.ReadFile(m.self("limits"))
	for line := range strings.Lines(string(b)) {
		rest, is := strings.CutPrefix(line, name)
		f := strings.Fields(rest)
		if !is || len(f) < 2 {
			continue
		}
		value := func(s string) int64 {
			n, err := strconv.ParseInt(s, 10, 64)
			if err != nil {
				return unlimited
			}
			return n
		}
		return value(f[0]), value(f[1]), true
	}
	return 0, 0, false
}

// inheritedNoFile asks a child: Go has raised our own limit, and gives the old
// one back to what it starts.
func inheritedNoFile() (int64, error) {
	out, err := exec.Command("/bin/sh", "-c", "ulimit -n").Output()
	if err != nil {
		return 0, err
	}
	text := strings.TrimSpace(string(out))
	if text == "unlimited" {
		return unlimited, nil
	}
	return strconv.ParseInt(text, 10, 64)
}

// sized returns the finding of a room of n programs.
func sized(area, id, title, detail, hint string, n int64) found {
	switch {
	case n < roomProblem:
		return problem(area, id, title, detail, hint).value(n)
	case n < roomWarning:
		return warning(area, id, title, detail, hint).value(n)
	}
	return ok(area, id, title, detail).value(n)
}

func numberText(n int64) string {
	if n == unlimited {
		return "unlimited"
	}
	return thousands(n)
}

// about returns a number of programs, in round figures where it is large.
func about(n int64) string {
	switch {
	case n == unlimited:
		return "any number of programs"
	case n == 1:
		return "1 program"
	case n < 100:
		return strconv.FormatInt(n, 10) + " programs"
	}
	step := int64(10)
	for n/step >= 100 {
		step *= 10
	}
	return "about " + thousands(n/step*step) + " programs"
}

package doctor

import (
	"context"
	"os"
	"os/exec"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"tend/api"
)

// procfs reports whether /proc shows what tend reads there.
func (m *machine) procfs() []api.Finding {
	const area = "proc"
	if _, err := os.Stat(m.self("stat")); err != nil {
		return list(problem(area, "proc.mounted", "/proc isn't mounted", "tend cannot run", "mount -t proc proc /proc"))
	}
	all := []found{ok(area, "proc.mounted", "/proc is mounted", "")}
	for line := range strings.Lines(m.text("/proc/self/mountinfo")) {
		before, after, _ := strings.Cut(line, " - ")
		f, g := strings.Fields(before), strings.Fields(after)
		if len(f) < 6 || f[4] != "/proc" || len(g) < 3 || g[0] != "proc" {
			continue
		}
		for o := range strings.SplitSeq(g[2], ",") {
			value, hides := strings.CutPrefix(o, "hidepid=")
			switch {
			case !hides, value == "0", value == "off":
			case m.euid == 0:
				all = append(all, ok(area, "proc.hidepid", "processes of others are hidden ("+o+")", "from others than root").value(0))
			default:
				all = append(all, warning(area, "proc.hidepid", "processes of others are hidden ("+o+")",
					"what programs start as another user can't be found without a cgroup", "mount -o remount,hidepid=0 /proc, or gid= with a group of tend's user").value(0))
			}
		}
	}
	return list(all...)
}

// A clockReading is what the clocks say.
type clockReading struct {
	wall      time.Time
	monotonic time.Duration
	later     time.Duration // the same, read again
}

func readClock() (r clockReading, err error) {
	var a, b unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &a); err != nil {
		return r, err
	}
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &b); err != nil {
		return r, err
	}
	return clockReading{time.Now(), time.Duration(a.Nano()), time.Duration(b.Nano())}, nil
}

// slowClocks are sources that are read by a slow access to a device, not by an
// instruction.
var slowClocks = []string{"hpet", "acpi_pm", "jiffies", "pit", "refined-jiffies"}

// clocks reports whether time can be trusted.
func (m *machine) clocks() []api.Finding {
	const area, id = "clock", "clock.source"
	r, err := m.clock()
	source := m.text("/sys/devices/system/clocksource/clocksource0/current_clocksource")
	switch {
	case err != nil:
		return list(problem(area, id, "no monotonic clock: "+err.Error(), "waits and timeouts need it", ""))
	case r.later < r.monotonic:
		return list(problem(area, id, "the monotonic clock goes backwards", "waits and timeouts need it", "use another clocksource="))
	case r.wall.Year() < 2024:
		return list(warning(area, id, "the clock says "+r.wall.Format("2 Jan 2006"), "times in logs and events are wrong", "set it, or let NTP set it"))
	case slices.Contains(slowClocks, source):
		return list(warning(area, id, "the clock source is "+source, "reading the time is slow", "clocksource=tsc at boot, where the machine's is stable"))
	case source == "":
		return list(ok(area, id, "the clock runs", ""))
	}
	return list(ok(area, id, "the clock runs ("+source+")", ""))
}

// systemd reports whether it runs, and what it would do to a unit of ours.
func (m *machine) systemd() []api.Finding {
	const area = "systemd"
	if _, err := os.Stat(m.path("/run/systemd/system")); err != nil {
		return list(ok(area, "systemd.runs", "doesn't run here", "").value(0))
	}
	b, _ := os.ReadFile(m.self("cgroup"))
	unit, user := unitOf(string(b))
	if unit == "" {
		return list(ok(area, "systemd.runs", "runs, and this isn't a unit of it", "docs/how-to/systemd.md shows a unit"))
	}
	all := []found{ok(area, "systemd.runs", "in "+unit, "")}
	stored := m.environ("FDSTORE")
	p, err := m.unit(unit, user)
	if err != nil || p["LoadState"] != "loaded" {
		p = map[string]string{}
	}
	if stored == "" && p["FileDescriptorStoreMax"] != "0" {
		stored = p["FileDescriptorStoreMax"]
	}
	n, _ := strconv.ParseInt(stored, 10, 64)
	if n > 0 {
		all = append(all, ok(area, "systemd.fdstore", "keeps up to "+thousands(n)+" descriptors", "FileDescriptorStoreMax").value(n))
	} else {
		all = append(all, ok(area, "systemd.fdstore", "keeps no descriptors", "the guard does; FileDescriptorStoreMax= would too").value(0))
	}
	if m.pid == 0 { // the unit of a shell, or of whatever asks
		return list(all...)
	}
	switch p["KillMode"] {
	case "control-group":
		all = append(all, warning(area, "systemd.kill_mode", "KillMode is control-group: a stop signals all programs at once",
			"not tend alone, which would stop them in order", "KillMode=mixed in the unit"))
	case "mixed", "process":
		all = append(all, ok(area, "systemd.kill_mode", "KillMode is "+p["KillMode"], "a stop signals tend alone, which stops programs in order"))
	}
	if p["OOMPolicy"] == "stop" || p["OOMPolicy"] == "kill" {
		all = append(all, warning(area, "systemd.oom_policy", "OOMPolicy is "+p["OOMPolicy"]+": one program out of memory takes all down",
			"", "OOMPolicy=continue in the unit"))
	}
	return list(all...)
}

// environ returns a variable of the process that is looked at.
func (m *machine) environ(name string) string {
	if m.pid == 0 {
		return m.getenv(name)
	}
	b, _ := os.ReadFile(m.self("environ"))
	for e := range strings.SplitSeq(string(b), "\x00") {
		if value, ok := strings.CutPrefix(e, name+"="); ok {
			return value
		}
	}
	return ""
}

// unitOf returns the systemd service that a process belongs to, by its cgroup:
// in v2, or in the hierarchy that systemd has for itself beside v1. user is set
// where it is one of a user's own systemd.
func unitOf(cgroup string) (unit string, user bool) {
	for line := range strings.Lines(cgroup) {
		f := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(f) < 3 || f[1] != "" && f[1] != "name=systemd" {
			continue
		}
		for p := f[2]; p != "/" && p != "." && p != ""; p = path.Dir(p) {
			if base := path.Base(p); strings.HasSuffix(base, ".service") && !strings.HasPrefix(base, "user@") {
				return base, strings.Contains(f[2], "/user@")
			}
		}
	}
	return "", false
}

// systemdUnit asks systemd about a unit.
func systemdUnit(name string, user bool) (map[string]string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	args := []string{"show", "--property=LoadState,KillMode,OOMPolicy,FileDescriptorStoreMax", "--", name}
	if user {
		args = append([]string{"--user"}, args...)
	}
	out, err := exec.CommandContext(ctx, "systemctl", args...).Output()
	if err != nil {
		return nil, err
	}
	p := make(map[string]string)
	for line := range strings.Lines(string(out)) {
		if key, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok {
			p[key] = value
		}
	}
	return p, nil
}

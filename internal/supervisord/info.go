package supervisord

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"time"

	"tend/internal/svconf"
	"tend/internal/xmlrpc"
)

// processInfo is what getProcessInfo answers. The members have supervisord's
// order.
func processInfo(p Process, now time.Time) xmlrpc.Struct {
	return xmlrpc.Struct{
		{Name: "name", Value: p.Name},
		{Name: "group", Value: p.Group},
		{Name: "start", Value: unix(p.Start)},
		{Name: "stop", Value: unix(p.Stop)},
		{Name: "now", Value: unix(now)},
		{Name: "state", Value: int(p.State)},
		{Name: "statename", Value: p.State.String()},
		{Name: "spawnerr", Value: p.SpawnErr},
		{Name: "exitstatus", Value: p.ExitStatus},
		{Name: "logfile", Value: p.Stdout},
		{Name: "stdout_logfile", Value: p.Stdout},
		{Name: "stderr_logfile", Value: p.Stderr},
		{Name: "pid", Value: p.PID},
		{Name: "description", Value: describe(p, now)},
	}
}

// unix returns a time in seconds, as far as XML-RPC's integers reach; 0 is never.
func unix(t time.Time) int {
	if t.IsZero() {
		return 0
	}
	return int(min(max(t.Unix(), 0), math.MaxInt32))
}

// describe is the column that supervisorctl's status ends with.
func describe(p Process, now time.Time) string {
	switch p.State {
	case Running:
		return fmt.Sprintf("pid %d, uptime %s", p.PID, uptime(unix(now)-unix(p.Start)))
	case Fatal, Backoff:
		if p.SpawnErr != "" {
			return p.SpawnErr
		}
		return fmt.Sprintf("unknown error (try \"tail %s\")", p.Name)
	case Stopped, Exited:
		if p.Start.IsZero() {
			return "Not started"
		}
		stop := p.Stop
		if stop.IsZero() {
			stop = time.Unix(0, 0)
		}
		return stop.Local().Format("Jan 02 03:04 PM")
	}
	return ""
}

// uptime writes seconds as Python writes a timedelta.
func uptime(seconds int) string {
	seconds = max(seconds, 0)
	days, rest := seconds/86400, seconds%86400
	clock := fmt.Sprintf("%d:%02d:%02d", rest/3600, rest/60%60, rest%60)
	switch days {
	case 0:
		return clock
	case 1:
		return "1 day, " + clock
	}
	return fmt.Sprintf("%d days, %s", days, clock)
}

// configInfo is what getAllConfigInfo answers.
func configInfo(groups []Configured) []any {
	type entry struct {
		name string
		info xmlrpc.Struct
	}
	var list []entry
	for _, g := range groups {
		for _, p := range g.Group.Processes {
			list = append(list, entry{p.Name, processConfig(g, p)})
		}
	}
	slices.SortStableFunc(list, func(a, b entry) int { return cmp.Compare(a.name, b.name) })
	infos := make([]any, len(list))
	for i, e := range list {
		infos[i] = e.info
	}
	return infos
}

func processConfig(g Configured, p *svconf.Process) xmlrpc.Struct {
	codes := make([]any, len(p.ExitCodes))
	for i, c := range p.ExitCodes {
		codes[i] = c
	}
	var uid any = "none"
	if p.User != nil {
		uid = fit(p.User.UID)
	}
	names := g.Logs[p.Name]
	info := xmlrpc.Struct{
		{Name: "autostart", Value: p.AutoStart},
		{Name: "directory", Value: orNone(p.Directory)},
		{Name: "uid", Value: uid},
		{Name: "command", Value: p.Command},
		{Name: "exitcodes", Value: codes},
		{Name: "group", Value: g.Group.Name},
		{Name: "group_prio", Value: fit(g.Group.Priority)},
		{Name: "inuse", Value: g.Active},
		{Name: "killasgroup", Value: p.KillAsGroup},
		{Name: "name", Value: p.Name},
		{Name: "process_prio", Value: fit(p.Priority)},
		{Name: "redirect_stderr", Value: p.RedirectError},
		{Name: "startretries", Value: fit(p.StartRetries)},
		{Name: "startsecs", Value: fit(p.StartSecs)},
	}
	info = append(info, channelConfig("stdout", p.Stdout, names.Stdout)...)
	info = append(info,
		xmlrpc.Member{Name: "stopsignal", Value: int(p.StopSignal)},
		xmlrpc.Member{Name: "stopwaitsecs", Value: fit(p.StopWaitSecs)},
	)
	info = append(info, channelConfig("stderr", p.Stderr, names.Stderr)...)
	return append(info, xmlrpc.Member{Name: "serverurl", Value: orNone(p.ServerURL)})
}

func channelConfig(name string, c svconf.Channel, auto string) xmlrpc.Struct {
	file := "none"
	switch c.Log.Kind {
	case svconf.LogPath:
		file = c.Log.Path
	case svconf.LogAuto:
		if file = auto; file == "" {
			file = "auto"
		}
	}
	return xmlrpc.Struct{
		{Name: name + "_capture_maxbytes", Value: fit(c.CaptureMaxBytes)},
		{Name: name + "_events_enabled", Value: c.Events},
		{Name: name + "_logfile", Value: file},
		{Name: name + "_logfile_backups", Value: fit(c.Backups)},
		{Name: name + "_logfile_maxbytes", Value: fit(c.MaxBytes)},
		{Name: name + "_syslog", Value: c.Syslog},
	}
}

// fit brings a number within those that XML-RPC has, so that one large value in
// a file doesn't cost the whole answer.
func fit(n int) int { return min(max(n, math.MinInt32), math.MaxInt32) }

func orNone(s *string) string {
	if s == nil {
		return "none"
	}
	return *s
}

package doctor

import (
	"slices"
	"strconv"

	"tend/api"
)

// Guarantees says what holds for programs, by what was found and by what the
// daemon says of itself. Where daemon is nil, it says what would hold with
// tend run.
func Guarantees(findings []api.Finding, daemon *DaemonInfo) []api.Guarantee {
	f := index(findings)
	tree, keeper, tail := f.tree(daemon), f.keeper(daemon), f.tail()
	return []api.Guarantee{
		f.stop(tree),
		f.crash(keeper, daemon),
		f.status(keeper),
		f.output(keeper, tail),
		f.room(daemon),
	}
}

// Programs says which guarantees the programs have that run.
func Programs(findings []api.Finding, daemon *DaemonInfo) []api.DoctorProgram {
	all := []api.DoctorProgram{} // null would not be a list
	if daemon == nil {
		return all
	}
	f := index(findings)
	for _, p := range daemon.Programs {
		tree, keeper := f.tree(daemon), f.keeper(daemon)
		d := api.DoctorProgram{Name: p.Name, PID: p.PID}
		if p.Keeper != "" && p.Keeper != keeper {
			d.Differs, d.Hint = "nobody holds its pipe and status but the daemon", "tend restart "+p.Name
			if p.Keeper != KeeperNone {
				d.Differs, d.Hint = "kept by "+p.Keeper, ""
			}
			keeper = p.Keeper
		}
		if p.Tree != "" && p.Tree != tree {
			d.Differs = "it left its cgroup: what it starts from now on may outlive a stop"
			d.Hint = "let it stay in the cgroup that it is started in"
			tree = p.Tree
		}
		stop, crash, status, output := f.stop(tree), f.crash(keeper, daemon), f.status(keeper), f.output(keeper, f.tail())
		if stop.Level == api.LevelProblem && p.Tree != "" {
			stop.Level = api.LevelWarning // its own doing, and tend works
		}
		if p.Output != "" {
			output.Answer, output.Level = p.Output, api.LevelOK
		}
		if p.PTY && crash.Answer == "identity" {
			crash.Answer = "hang-up"
			if d.Differs == "" {
				d.Differs, d.Hint = "a crash of tend hangs it up: nobody else keeps its terminal", keep
			}
		}
		d.Stop, d.Crash, d.Status, d.Output = stop.Answer, crash.Answer, status.Answer, output.Answer
		d.Level = worst(stop.Level, crash.Level, status.Level, output.Level)
		all = append(all, d)
	}
	return all
}

func worst(levels ...string) string {
	for _, l := range []string{api.LevelProblem, api.LevelWarning} {
		if slices.Contains(levels, l) {
			return l
		}
	}
	return api.LevelOK
}

// byID holds findings by their ids.
type byID map[string]api.Finding

func index(findings []api.Finding) byID {
	m := make(byID, len(findings))
	for _, f := range findings {
		m[f.ID] = f
	}
	return m
}

// has reports whether a feature was found to be there.
func (f byID) has(id string) bool { return f[id].Value != 0 && f[id].Level == api.LevelOK }

// tree returns how trees are, or would be, found.
func (f byID) tree(d *DaemonInfo) string {
	switch {
	case d != nil && d.Tree != "":
		return d.Tree
	case f.has("cgroup.make"):
		return TreeCgroup
	case f.has("kernel.subreaper"):
		return TreeSubreaper
	}
	return TreeGroup
}

// keeper returns who keeps, or would keep, pipes and statuses.
func (f byID) keeper(d *DaemonInfo) string {
	switch {
	case d == nil:
		return KeeperGuard
	case d.Keeper == "":
		return KeeperNone
	}
	return d.Keeper
}

// tail returns why the daemon's own death may lose output, "" if it can't.
func (f byID) tail() string {
	for _, id := range []string{"logs.splice", "state.splice"} {
		if s, ok := f[id]; ok {
			if s.Level != api.LevelOK {
				return s.Title
			}
			return ""
		}
	}
	return ""
}

func (f byID) stop(tree string) api.Guarantee {
	g := api.Guarantee{ID: api.GuaranteeStop, Name: "how a tree is stopped", Level: api.LevelOK, Answer: tree}
	hint := f["cgroup.make"].Hint
	if hint == "" {
		hint = f["cgroup.v2"].Hint
	}
	if hint == "" {
		hint = "let tend write its cgroup: Delegate=yes in the unit"
	}
	switch tree {
	case TreeCgroup:
		g.Text = "each program is a cgroup: stopped means empty, nothing gets out"
		if k, found := f["cgroup.kill"]; found && k.Value == 0 {
			g.Why = "without cgroup.kill its processes are killed one by one, until none is left"
		}
	case TreeSubreaper:
		g.Level = api.LevelWarning
		g.Text = "orphans come to tend and are known by session, group and mark"
		g.Why = "what leaves its session, loses its parent and clears its environment, all unseen, isn't found"
		g.Hint = hint
	default:
		g.Level, g.Answer = api.LevelProblem, TreeGroup
		g.Text = "only the process group is stopped: what leaves it stays"
		g.Why = "there is neither a cgroup to write nor a subreaper"
		g.Hint = hint
	}
	return g
}

func (f byID) crash(keeper string, d *DaemonInfo) api.Guarantee {
	g := api.Guarantee{ID: api.GuaranteeCrash, Name: "how a crash of tend is survived", Level: api.LevelOK}
	identity := "pid, start time and boot"
	if f.has("kernel.pidfs") {
		identity = "their numbers in pidfs, which no other ever has"
	}
	switch keeper {
	case KeeperGuard:
		g.Answer = KeeperGuard
		g.Text = "programs run on; the guard starts the daemon again"
		g.Why = "programs are known by " + identity
		if d != nil && d.GuardPID == 1 {
			g.Why += "; the guard is process 1: the container ends with it"
		}
	case KeeperFDStore:
		g.Answer = KeeperFDStore
		g.Text = "programs run on; systemd starts the daemon again"
		g.Why = "programs are known by " + identity
		if f["systemd.kill_mode"].Title != "" && f["systemd.kill_mode"].Title != "KillMode is process" {
			g.Level = api.LevelWarning
			g.Why = f["systemd.kill_mode"].Title + ": systemd ends what a crash leaves"
			g.Hint = "KillMode=process in the unit, or tend run with its guard"
		}
	default:
		g.Level, g.Answer = api.LevelWarning, "identity"
		g.Text = "programs run on; the next tend run finds them by identity"
		g.Why = "no guard, no descriptor store; they are known by " + identity
		g.Hint = keep
	}
	return g
}

// keep is what to do where nobody keeps pipes and statuses.
const keep = "start tend with its guard, without --no-guard"

func (f byID) status(keeper string) api.Guarantee {
	g := api.Guarantee{ID: api.GuaranteeStatus, Name: "exit status of what ends while no daemon lives", Level: api.LevelOK}
	switch {
	case keeper == KeeperGuard:
		g.Answer, g.Text = "guard", "the guard knows that of what ends while the daemon is away"
	case keeper == KeeperFDStore && f.has("kernel.exit_info"):
		g.Answer, g.Text = "kernel", "the kernel tells it by the pidfds that systemd kept"
	default:
		g.Level, g.Answer = api.LevelWarning, "unknown"
		g.Text = "that of what ends while the daemon is away is unknown"
		g.Why = "nobody waits for the program"
		if keeper == KeeperFDStore {
			g.Why = "this kernel forgets it: exit information of a pidfd came with Linux 6.15"
		}
		g.Hint = keep
	}
	return g
}

func (f byID) output(keeper, tail string) api.Guarantee {
	g := api.Guarantee{ID: api.GuaranteeOutput, Name: "output while no daemon lives", Level: api.LevelOK, Answer: "complete"}
	who := map[string]string{KeeperGuard: "the guard", KeeperFDStore: "systemd"}[keeper]
	switch {
	case who == "":
		g.Level, g.Answer = api.LevelWarning, "tail"
		g.Text = "the last words of what ends meanwhile are lost"
		g.Why = "nobody but the daemon and the program holds its pipe"
		g.Hint = keep
	case tail != "":
		g.Level, g.Answer = api.LevelWarning, "tail"
		g.Text = "what the daemon has read and not yet written is lost"
		g.Why, g.Hint = tail, "keep logs on a file system that takes splice"
	default:
		g.Text = "nothing is lost: it waits in pipes that " + who + " holds open"
	}
	return g
}

// room returns how many programs fit, by the least of all rooms.
func (f byID) room(d *DaemonInfo) api.Guarantee {
	g := api.Guarantee{ID: api.GuaranteeRoom, Name: "room", Level: api.LevelOK}
	room, least := int64(unlimited), api.Finding{}
	for _, id := range []string{"descriptors.limit", "descriptors.pipes", "processes.room"} {
		if r, found := f[id]; found && r.Value < room {
			room, least = r.Value, r
		}
	}
	g.Answer, g.Text = strconv.FormatInt(room, 10), about(room)+" fit, by "+least.Area
	if room == unlimited {
		g.Answer, g.Text = "unlimited", about(room)+" fit"
	}
	g.Why = least.Title
	g.Level, g.Hint = least.Level, least.Hint
	if g.Level == "" {
		g.Level = api.LevelOK
	}
	if d != nil {
		switch n := int64(d.Instances); {
		case n > room:
			g.Level, g.Text = api.LevelProblem, about(room)+" fit, and "+thousands(n)+" are configured"
		case n > room/2:
			g.Level, g.Text = api.LevelWarning, about(room)+" fit, and "+thousands(n)+" are configured"
		}
	}
	if g.Level != api.LevelOK && g.Hint == "" {
		g.Hint = "raise the limit of open files: LimitNOFILE=65536 in the unit, or ulimit -n 65536"
	}
	return g
}

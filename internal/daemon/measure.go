package daemon

import (
	"context"
	"math"

	"tend/api"
	"tend/internal/engine"
	"tend/internal/metrics"
	"tend/internal/usage"
)

// trees returns what there is to measure of instances, by their names.
func (d *Daemon) trees(views []engine.View) []usage.Tree {
	list := make([]usage.Tree, 0, len(views))
	for _, v := range views {
		if n := d.instances[v.ID]; n != nil && n.process != nil && v.PID != 0 { // else the pid may be another's by now
			list = append(list, usage.Tree{Key: v.Name, PID: v.PID, Cgroup: n.process.Cgroup()})
		}
	}
	return list
}

// measure adds to instances what they use. It runs beside the loop.
func (d *Daemon) measure(list []api.Instance, trees []usage.Tree, details bool) {
	if d.usage == nil {
		return
	}
	used := d.used(trees, details)
	for i := range list {
		u := used[list[i].Name]
		if u == nil || list[i].PID == 0 {
			continue
		}
		list[i].MemoryBytes = &u.Resident
		if !math.IsNaN(u.CPUPercent) {
			list[i].CPUPercent = &u.CPUPercent
		}
		if details {
			list[i].Usage, list[i].Processes = usageView(u), processesView(u.List)
		}
	}
}

func processesView(list []usage.Process) []api.Process {
	v := make([]api.Process, len(list))
	for i, p := range list {
		v[i] = api.Process{PID: p.PID, Parent: p.Parent, Command: p.Command, CPUSeconds: p.CPU.Seconds(), MemoryBytes: p.Resident, Threads: p.Threads}
		if !math.IsNaN(p.CPUPercent) {
			v[i].CPUPercent = &list[i].CPUPercent
		}
	}
	return v
}

// figures returns how things are, for Prometheus.
func (d *Daemon) figures(ctx context.Context) (s metrics.Snapshot, err error) {
	var trees []usage.Tree
	s, err = look(ctx, d, func() metrics.Snapshot {
		views := d.engine.Views()
		trees = d.trees(views)
		stats := d.capture.Stats()
		return metrics.Snapshot{Instances: view(views), Moved: stats.Moved, Dropped: stats.Dropped,
			EventSeq: d.events.Last(), Pending: d.pending, Keeper: d.keeper.Kind()}
	})
	if err != nil || d.usage == nil {
		return s, err
	}
	used := d.used(trees, false)
	for i := range s.Instances {
		if u := used[s.Instances[i].Name]; u != nil {
			s.Instances[i].Usage = usageView(u)
		}
	}
	return s, nil
}

// used returns what instances use, by their names.
func (d *Daemon) used(trees []usage.Tree, details bool) map[string]*usage.Usage {
	used := make(map[string]*usage.Usage, len(trees))
	for i, u := range d.usage.Sample(trees, details) {
		used[trees[i].Key] = u
	}
	return used
}

func usageView(u *usage.Usage) *api.Usage {
	known := func(n int64) *int64 {
		if n < 0 {
			return nil
		}
		return &n
	}
	return &api.Usage{
		CPUSeconds: u.CPU.Seconds(), Processes: u.Processes, Threads: u.Threads,
		ResidentBytes: u.Resident, ProportionalBytes: known(u.Proportional),
		CgroupBytes: known(u.Cgroup.Memory), CgroupPeakBytes: known(u.Cgroup.Peak),
		Descriptors: known(int64(u.Descriptors)), ReadBytes: known(u.Read), WrittenBytes: known(u.Written),
	}
}

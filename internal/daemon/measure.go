package daemon

import (
	"context"
	"math"

	"tend/api"
	"tend/internal/metrics"
	"tend/internal/usage"
)

// trees returns what there is to measure, by the instances' names.
func (d *Daemon) trees() []usage.Tree {
	list := make([]usage.Tree, 0, len(d.instances))
	for _, v := range d.engine.Views() {
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
	if details { // of those alone that were asked for
		asked := make(map[string]bool, len(list))
		for _, i := range list {
			asked[i.Name] = true
		}
		some := trees[:0]
		for _, t := range trees {
			if asked[t.Key] {
				some = append(some, t)
			}
		}
		trees = some
	}
	got := d.usage.Sample(trees, details)
	for i := range list {
		u, ok := got[list[i].Name]
		if !ok || list[i].PID == 0 {
			continue
		}
		list[i].MemoryBytes = &u.Resident
		if !math.IsNaN(u.CPUPercent) {
			list[i].CPUPercent = &u.CPUPercent
		}
		if details {
			list[i].Usage = usageView(u)
		}
	}
}

// figures returns how things are, for Prometheus.
func (d *Daemon) figures(ctx context.Context) (s metrics.Snapshot, err error) {
	var trees []usage.Tree
	s, err = ask(ctx, d, func() metrics.Snapshot {
		trees = d.trees()
		stats := d.capture.Stats()
		return metrics.Snapshot{Instances: d.view(), Moved: stats.Moved, Dropped: stats.Dropped,
			EventSeq: d.events.Last(), Pending: d.pending, Keeper: d.keeper.Kind()}
	})
	if err != nil || d.usage == nil {
		return s, err
	}
	got := d.usage.Sample(trees, false)
	for i := range s.Instances {
		if u, ok := got[s.Instances[i].Name]; ok {
			s.Instances[i].Usage = usageView(u)
		}
	}
	return s, nil
}

func usageView(u usage.Usage) *api.Usage {
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

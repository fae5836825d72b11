package daemon

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"tend/api"
	"tend/internal/engine"
	"tend/internal/event"
	"tend/internal/history"
	"tend/internal/proc"
	"tend/internal/unit"
	"tend/internal/usage"
)

// pastRun is a run that is over as the history keeps it. The store knows whose it
// was, its generation, and when it ended.
type pastRun struct {
	Exit  event.Exit `json:"exit"`
	Lines []string   `json:"lines,omitempty"`
	// Vanished is set where the machine went down under it: nobody knows when it
	// ended, and the time that the store has is that of its start.
	Vanished bool `json:"vanished,omitempty"`
}

// longReason is the length of the longest words on an end that are kept, in bytes.
const longReason = 1000

// wordsTime is how long who asks waits for the last lines of what has just ended.
const wordsTime = 300 * time.Millisecond

// openHistory begins to keep the runs that are over. What is wrong with the file is
// found out beside the loop.
func (d *Daemon) openHistory() {
	d.life = cmp.Or(d.past.meta.Life, strconv.FormatInt(time.Now().UnixNano(), 36))
	d.history = history.Open(filepath.Join(d.place.state, "history"), func(text string) {
		d.post(func() { d.warnf("%s", text) })
	})
}

// recall adds to the history what the daemon before us has known and perhaps not
// brought there.
func (d *Daemon) recall(past engine.Past) {
	d.history.Fill(func() (list []history.Entry) {
		for _, r := range past.Instances {
			whose := engine.Run{Key: r.Key(), Name: r.Name}
			add := func(x event.Exit, p pastRun) {
				if whose.Exit = x; x.Gen > 0 { // else of an earlier version: it can't be told from others
					list = append(list, d.entry(whose, p))
				}
			}
			for _, end := range r.Ends {
				add(end.Exit, pastRun{})
			}
			if r.Unit.Last != nil {
				add(*r.Unit.Last, pastRun{})
			}
			if past.Rebooted && (r.Unit.Phase == unit.Alive || r.Unit.Phase == unit.Spawning) {
				add(event.Exit{Unknown: true, At: r.Unit.Started, Gen: r.Unit.Gen, PID: r.Unit.PID, Ready: r.Unit.ToReady}, pastRun{Vanished: true})
			}
		}
		return list
	})
}

// record keeps a run that is over, and the last lines of its output once these are
// read.
func (d *Daemon) record(r engine.Run) {
	d.history.Add(d.entry(r, pastRun{}))
	if n := d.instances[r.ID]; n != nil && r.Exit.Err == "" {
		d.noteWords(n, func(lines []string) {
			if len(lines) > 0 {
				d.history.Add(d.entry(r, pastRun{Lines: lines}))
			}
		})
	}
}

func (d *Daemon) entry(r engine.Run, p pastRun) history.Entry {
	p.Exit = r.Exit
	for _, text := range []*string{&p.Exit.Err, &p.Exit.Cause, &p.Exit.By} {
		*text = (*text)[:min(len(*text), longReason)]
	}
	data := encode(p)
	if len(data) > history.MaxData { // lines of what takes six bytes for each of its own
		p.Lines = nil
		data = encode(p)
	}
	// A program that was removed and is there again counts its starts anew.
	mark := int64(p.Exit.PID)
	if mark == 0 {
		mark = -p.Exit.At.Unix()
	}
	key := history.Key{Subject: history.Subject(r.Key), Life: d.life, Gen: p.Exit.Gen, Mark: mark}
	return history.Entry{Key: key, Name: r.Name, At: p.Exit.At, Data: data}
}

// used returns what a run has used. own is the most memory that this process had
// when it started the run, 0 where that isn't known: the kernel counts the memory
// of whoever makes a process as the process's, up to when that executes its
// program.
func used(f proc.Ended, own int64) event.Used {
	if f.MaxRSS == 0 {
		return event.Used{CPU: max(f.Tree, 0), Known: f.Tree > 0, Tree: f.Tree > 0}
	}
	u := event.Used{CPU: f.User + f.System, Known: true, Memory: f.MaxRSS}
	if f.Tree >= u.CPU { // else it has left its cgroup
		u.CPU, u.Tree = f.Tree, true
	}
	// We may have grown since we looked, and the kernel counts by and by.
	u.AtMost = own == 0 || f.MaxRSS <= own+own/8+1<<20
	return u
}

// ownPeak returns the most memory that this process ever had, in bytes.
func ownPeak() int64 {
	var u unix.Rusage
	unix.Getrusage(unix.RUSAGE_SELF, &u) // can't fail
	return u.Maxrss << 10
}

// History implements server.Control.
func (c control) History(ctx context.Context, pattern string, since time.Time, limit int) ([]api.Run, error) {
	type whom struct {
		name  string
		asked bool
	}
	means := func(program, name string) bool {
		if pattern == program || pattern == name {
			return true
		}
		byProgram, _ := path.Match(pattern, program)
		byName, _ := path.Match(pattern, name)
		return byProgram || byName
	}
	instances := make(map[history.Subject]whom)
	pids := make(map[int]int) // of runs that go on, to their places in the list
	var trees []usage.Tree
	var reading []chan struct{} // the last lines of what has just ended
	list, err := ask(ctx, c.d, func() (list []api.Run) {
		asked := make(map[engine.ID]bool)
		for _, v := range c.d.engine.Matching(pattern) {
			asked[v.ID] = true
		}
		for _, v := range c.d.engine.Views() {
			instances[history.Subject{Program: v.Spec.Name, Index: v.Index}] = whom{v.Name, asked[v.ID]}
			n := c.d.instances[v.ID]
			if asked[v.ID] && n != nil && n.words.busy {
				reading = append(reading, n.words.done)
			}
			if !asked[v.ID] || v.PID == 0 {
				continue
			}
			started := v.Started.Round(0)
			r := api.Run{Name: v.Name, Program: v.Spec.Name, Generation: v.Gen, PID: v.PID, Started: started, Running: true, Lines: []string{}}
			if v.Took > 0 {
				ready := started.Add(v.Took)
				r.Ready = &ready
			}
			lasted := time.Since(v.Started).Seconds()
			r.Seconds = &lasted
			if n != nil && n.process != nil {
				pids[v.PID] = len(list)
				trees = append(trees, usage.Tree{Key: v.Name, PID: v.PID, Cgroup: n.process.Cgroup()})
			}
			list = append(list, r)
		}
		return list
	})
	if err != nil {
		return nil, err
	}
	if c.d.usage != nil && len(trees) > 0 {
		sample := c.d.usage.Sample(trees, false)
		for i, t := range trees {
			r := &list[pids[t.PID]]
			if u := sample[i]; u != nil {
				cpu, tree := u.CPU.Seconds(), t.Cgroup != ""
				r.CPUSeconds, r.CPUTree = &cpu, tree
			}
			if peak := usage.Peak(t.PID); peak > 0 {
				r.PeakMemoryBytes = &peak
			}
		}
	}
	enough := time.NewTimer(wordsTime)
	defer enough.Stop()
wait:
	for _, done := range reading {
		select {
		case <-done:
		case <-enough.C:
			break wait
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	past, err := c.d.history.Read(func(o history.Subject, name string) bool {
		if k, ok := instances[o]; ok {
			return k.asked
		}
		return means(o.Program, name)
	}, since, limit)
	if err != nil {
		return nil, &api.Error{Kind: api.KindInternal, Message: err.Error(), Hint: "see who owns the state folder, or take the file out of the way: a new one is begun"}
	}
	anybody := len(list) > 0 || len(past) > 0
	for _, k := range instances {
		anybody = anybody || k.asked
	}
	if !anybody {
		return nil, &api.Error{Kind: api.KindNotFound, Message: fmt.Sprintf("no program is named %q, and none was whose history is kept", pattern)}
	}
	more := make(map[string]int) // of each instance, how many are shown
	for _, r := range list {
		more[r.Name]++
	}
	for _, e := range slices.Backward(past) {
		r, ok := runView(e)
		if k, known := instances[e.Subject]; known {
			r.Name = k.name
		}
		if more[r.Name]++; ok && more[r.Name] <= limit {
			list = append(list, r)
		}
	}
	slices.SortStableFunc(list, func(a, b api.Run) int {
		if a.Running != b.Running {
			return map[bool]int{true: -1, false: 1}[a.Running]
		}
		return b.End().Compare(a.End())
	})
	return list, nil
}

// runView returns a past run as the API shows it. ok is false where nobody can read
// it any more.
func runView(e history.Entry) (r api.Run, ok bool) {
	var p pastRun
	if json.Unmarshal(e.Data, &p) != nil {
		return r, false
	}
	x := p.Exit
	started := x.At.Add(-x.Uptime)
	r = api.Run{Name: e.Name, Program: e.Program, Generation: e.Gen, PID: x.PID, Started: started, Success: x.Success, Wished: x.By != "" && x.Cause == "", Unknown: x.Unknown,
		CoreDumped: x.Core, Reason: x.Story(), Lines: p.Lines, Skipped: e.Skipped}
	if r.Lines == nil {
		r.Lines = []string{}
	}
	if x.Ready > 0 {
		ready := started.Add(x.Ready)
		r.Ready = &ready
	}
	switch {
	case p.Vanished:
		r.Reason = "the machine went down"
	case x.Err != "":
		r.Ended = &x.At
	default:
		lasted := x.Uptime.Seconds()
		r.Ended, r.Seconds = &x.At, &lasted
	}
	switch {
	case x.Unknown, x.Err != "":
	case x.Signal != 0:
		r.Signal = x.Signal.String()
	default:
		r.Code = &x.Code
	}
	if u := x.Used; u.Known {
		cpu := u.CPU.Seconds()
		r.CPUSeconds, r.CPUTree = &cpu, u.Tree
	}
	switch u := x.Used; {
	case u.Memory == 0:
	case u.AtMost:
		r.PeakMemoryAtMost = &u.Memory
	default:
		r.PeakMemoryBytes = &u.Memory
	}
	return r, true
}

// known returns what isn't negative.
func known(d time.Duration) *time.Duration {
	if d < 0 {
		return nil
	}
	return &d
}

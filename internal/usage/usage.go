// Package usage measures what trees of processes use: processor time, memory,
// threads, descriptors, bytes read and written.
//
// It reads /proc, and the folder of a tree's cgroup where there is one, when it is
// asked and never by itself: nobody who looks, no cost. It knows nothing of
// programs and keeps nothing but the figures that the next ones are compared
// with.
package usage

import (
	"errors"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/procfs"
)

// A Tree is what to measure: a process with all its descendants and its session,
// or all that is in a cgroup.
type Tree struct {
	Key    string // by which it is known from one sample to the next
	PID    int    // of the leader
	Cgroup string // folder; "": none
}

// Usage is what a tree uses.
type Usage struct {
	CPU        time.Duration // of what lives, and of its children that have ended
	CPUPercent float64       // of one processor, since the sample before, or since the leader's start; NaN: not known
	Resident   int64         // bytes of memory; what processes share counts for each of them
	Processes  int
	Threads    int
	Cgroup     Cgroup

	// Of samples with details only; -1 where it can't be read.
	Proportional int64 // bytes of memory, what is shared divided among those that share it (PSS)
	Descriptors  int
	Read         int64 // bytes fetched from storage, by what lives
	Written      int64
}

// Cgroup holds what the kernel counts for a cgroup; -1 where it doesn't.
type Cgroup struct {
	Memory int64 // bytes, with the page cache that it has filled
	Peak   int64 // the most that ever was
}

// A Sampler measures. It may be used by several goroutines.
type Sampler struct {
	mu    sync.Mutex
	fs    procfs.FS
	last  map[string]reading
	at    time.Time // of the latest sample without details
	fresh map[string]Usage
}

// reading is what a sample is compared with.
type reading struct {
	at    time.Time
	cpu   time.Duration
	start uint64 // of the leader, in clock ticks since boot
}

// shelfLife is how long a sample is as good as a new one.
const shelfLife = time.Second

// ticks is USER_HZ, the unit of times in /proc, the same on all machines that Go
// runs on.
const ticks = 100

// New returns a Sampler. It fails where there is no /proc.
func New() (*Sampler, error) {
	fs, err := procfs.NewFS("/proc")
	if err != nil {
		return nil, err
	}
	return &Sampler{fs: fs, last: make(map[string]reading)}, nil
}

// Sample measures trees. A tree whose leader is gone isn't in the answer. With
// details it costs several times as much.
func (s *Sampler) Sample(trees []Tree, details bool) map[string]Usage {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if !details && now.Sub(s.at) < shelfLife && s.covers(trees) {
		return s.fresh
	}
	family := s.family(trees)
	next := make(map[string]reading, len(trees))
	got := make(map[string]Usage, len(trees))
	for _, t := range trees {
		if u, r, ok := s.measure(t, family, now, details); ok {
			got[t.Key], next[t.Key] = u, r
		}
	}
	if !details || len(trees) >= len(s.last) {
		// Of what wasn't asked for this time nothing is kept: it may be gone.
		s.last = next
	}
	if !details {
		s.at, s.fresh = now, got
	}
	return got
}

// covers reports whether the latest sample has all trees.
func (s *Sampler) covers(trees []Tree) bool {
	for _, t := range trees {
		if _, ok := s.fresh[t.Key]; !ok {
			return false
		}
	}
	return true
}

// family holds processes by what they belong to, where no cgroup says it.
type family struct {
	children map[int][]int // by parent
	session  map[int][]int // by session
}

// family looks at all processes, unless no tree needs it.
func (s *Sampler) family(trees []Tree) (f family) {
	needed := false
	for _, t := range trees {
		needed = needed || t.Cgroup == ""
	}
	if !needed {
		return f
	}
	dir, err := os.Open("/proc")
	if err != nil {
		return f
	}
	defer dir.Close()
	names, _ := dir.Readdirnames(-1) // as many as could be read
	f.children, f.session = make(map[int][]int), make(map[int][]int)
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		if st, err := readStat(pid); err == nil {
			f.children[st.parent] = append(f.children[st.parent], pid)
			f.session[st.session] = append(f.session[st.session], pid)
		}
	}
	return f
}

// members returns the processes of a tree.
func (f family) members(t Tree) []int {
	if t.Cgroup != "" {
		return cgroupProcs(t.Cgroup, nil)
	}
	seen := map[int]bool{t.PID: true}
	list := []int{t.PID}
	add := func(pids []int) {
		for _, pid := range pids {
			if !seen[pid] {
				seen[pid] = true
				list = append(list, pid)
			}
		}
	}
	add(f.session[t.PID])
	for i := 0; i < len(list); i++ { // it grows meanwhile
		add(f.children[list[i]])
	}
	return list
}

// cgroupProcs adds the processes of a cgroup, and of those below it, to list.
func cgroupProcs(dir string, list []int) []int {
	b, err := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
	if err != nil {
		return list
	}
	for line := range strings.Lines(string(b)) {
		if pid, err := strconv.Atoi(strings.TrimSpace(line)); err == nil {
			list = append(list, pid)
		}
	}
	entries, _ := os.ReadDir(dir) // what can't be read has no processes to show
	for _, e := range entries {
		if e.IsDir() {
			list = cgroupProcs(filepath.Join(dir, e.Name()), list)
		}
	}
	return list
}

// measure adds up what the processes of a tree use.
func (s *Sampler) measure(t Tree, f family, now time.Time, details bool) (u Usage, r reading, ok bool) {
	u = Usage{CPUPercent: math.NaN(), Cgroup: Cgroup{-1, -1}, Proportional: -1, Descriptors: -1, Read: -1, Written: -1}
	for _, pid := range f.members(t) {
		st, err := readStat(pid)
		if err != nil {
			continue // it has just ended
		}
		if pid == t.PID {
			ok, r.start = true, st.start
		}
		u.CPU += st.cpu
		u.Resident += st.resident
		u.Processes++
		u.Threads += st.threads
		if !details {
			continue
		}
		if p, err := s.fs.Proc(pid); err == nil {
			u.detail(p)
		}
	}
	if !ok {
		return u, r, false
	}
	if t.Cgroup != "" {
		u.Cgroup = Cgroup{readNumber(t.Cgroup, "memory.current"), readNumber(t.Cgroup, "memory.peak")}
	}
	r.at, r.cpu = now, u.CPU
	if before, known := s.last[t.Key]; known && before.start == r.start && now.After(before.at) {
		u.CPUPercent = 100 * max(0, u.CPU-before.cpu).Seconds() / now.Sub(before.at).Seconds()
	} else if up := uptime() - time.Duration(r.start)*(time.Second/ticks); up > 0 {
		u.CPUPercent = 100 * u.CPU.Seconds() / up.Seconds()
	}
	return u, r, true
}

// stat is what is needed of /proc/PID/stat (proc_pid_stat(5)). With thousands of
// programs it is read thousands of times for each look, and so without a library.
type stat struct {
	parent, session, threads int
	cpu                      time.Duration // its own, and of children that it has waited for
	start                    uint64        // clock ticks since boot
	resident                 int64         // bytes
}

func readStat(pid int) (st stat, err error) {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return st, err
	}
	s := string(b)
	s = s[strings.LastIndexByte(s, ')')+1:] // the name before may hold anything
	var sum int64
	n := 2 // the number of the field, from 1
	for field := range strings.FieldsSeq(s) {
		n++
		v, _ := strconv.ParseInt(field, 10, 64) // the state is no number
		switch n {
		case 4:
			st.parent = int(v)
		case 6:
			st.session = int(v)
		case 14, 15, 16, 17:
			sum += v
		case 20:
			st.threads = int(v)
		case 22:
			st.start = uint64(v)
		case 24:
			st.resident = v * pageSize
		}
	}
	if n < 24 {
		return st, errors.New("cannot read the state of process " + strconv.Itoa(pid))
	}
	st.cpu = time.Duration(sum) * (time.Second / ticks)
	return st, nil
}

var pageSize = int64(os.Getpagesize())

// detail adds what costs more to learn of a process.
func (u *Usage) detail(p procfs.Proc) {
	add := func(sum *int64, n int64) { *sum = max(*sum, 0) + n }
	if m, err := p.ProcSMapsRollup(); err == nil {
		add(&u.Proportional, int64(m.Pss))
	}
	if n, err := p.FileDescriptorsLen(); err == nil {
		u.Descriptors = max(u.Descriptors, 0) + n
	}
	if io, err := p.IO(); err == nil {
		add(&u.Read, int64(io.ReadBytes))
		add(&u.Written, int64(io.WriteBytes))
	}
}

// Peak returns the most memory that a process had at a time, in bytes, 0 where that
// can't be read.
func Peak(pid int) int64 {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(b)) {
		if value, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			n, _ := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(value), "kB")), 10, 64)
			return n << 10
		}
	}
	return 0
}

// readNumber reads a file of a cgroup that holds one number, -1 where it isn't
// there.
func readNumber(dir, name string) int64 {
	b, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		return -1
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
	if err != nil {
		return -1
	}
	return n
}

// uptime returns how long the machine is up, 0 where that can't be read.
func uptime() time.Duration {
	b, err := os.ReadFile("/proc/uptime")
	if err != nil {
		return 0
	}
	first, _, _ := strings.Cut(string(b), " ")
	seconds, err := strconv.ParseFloat(first, 64)
	if err != nil {
		return 0
	}
	return time.Duration(seconds * float64(time.Second))
}

// Package usage measures what trees of processes use: processor time, memory,
// threads, descriptors, bytes read and written.
//
// It reads /proc, and the folder of a tree's cgroup where there is one, when it is
// asked and never by itself: nobody who looks, no cost. It knows nothing of
// programs and keeps nothing but the figures that the next ones are compared
// with.
package usage

import (
	"bytes"
	"cmp"
	"errors"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

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
	List         []Process // the leader and what came of it, each after its parent, at most maxListed
}

// A Process is one of a tree.
type Process struct {
	PID, Parent int    // Parent may be none of the tree
	Command     string // with its arguments; the name alone, in brackets, where it has hidden them
	CPU         time.Duration
	CPUPercent  float64 // as of the tree
	Resident    int64   // bytes of memory
	Threads     int
	start       uint64
}

// Bounds of what is told of a tree's processes.
const (
	maxListed  = 200 // processes
	maxCommand = 512 // bytes of a command
)

// Cgroup holds what the kernel counts for a cgroup; -1 where it doesn't.
type Cgroup struct {
	Memory int64 // bytes, with the page cache that it has filled
	Peak   int64 // the most that ever was
}

// A Sampler measures. It may be used by several goroutines: who wants the details of
// one tree doesn't wait for who measures a thousand.
type Sampler struct {
	fs       procfs.FS
	sampling sync.Mutex // held by the one who samples without details: the next one finds it done

	mu       sync.Mutex        // guards what is below, and is held for moments
	plain    map[string]*taken // by key, the latest of each tree
	detailed map[string]*taken
	family   family
	looked   time.Time // when the family was looked at
}

// taken is what was measured of a tree. It isn't changed.
type taken struct {
	at    time.Time
	pid   int
	start uint64 // of the leader, in clock ticks since boot
	usage Usage
}

const (
	// shelfLife is how long a sample is as good as a new one.
	shelfLife = time.Second
	// forget is how long it is kept, to be compared with.
	forget = time.Minute
)

// ticks is USER_HZ, the unit of times in /proc, the same on all machines that Go
// runs on.
const ticks = 100

// New returns a Sampler. It fails where there is no /proc.
func New() (*Sampler, error) {
	fs, err := procfs.NewFS("/proc")
	if err != nil {
		return nil, err
	}
	return &Sampler{fs: fs, plain: make(map[string]*taken), detailed: make(map[string]*taken)}, nil
}

// Sample measures trees and returns what each uses, nil for one whose leader is gone.
// What was measured within the last second isn't measured again. Details cost several
// times as much.
func (s *Sampler) Sample(trees []Tree, details bool) []*Usage {
	all := s.detailed
	if !details {
		s.sampling.Lock()
		defer s.sampling.Unlock()
		all = s.plain
	}
	now := time.Now()
	got := make([]*Usage, len(trees))
	before := make(map[int]*taken) // by the place in trees, of those that have to be measured
	s.mu.Lock()
	for key, t := range all {
		if now.Sub(t.at) >= forget {
			delete(all, key)
		}
	}
	for i, t := range trees {
		old := all[t.Key]
		if old == nil || old.pid != t.PID {
			old = s.plain[t.Key]
		} else if now.Sub(old.at) < shelfLife {
			got[i] = &old.usage
			continue
		}
		before[i] = old
	}
	s.mu.Unlock()
	if len(before) == 0 {
		return got
	}
	m := moment{at: now, uptime: uptime(), family: s.relations(trees, now)}
	for i, old := range before {
		if t := s.measure(trees[i], m, old, details); t != nil {
			got[i] = &t.usage
			s.mu.Lock()
			all[trees[i].Key] = t
			s.mu.Unlock()
		}
	}
	return got
}

// relations returns who belongs to whom, where a tree needs that to be known.
func (s *Sampler) relations(trees []Tree, now time.Time) family {
	if !slices.ContainsFunc(trees, func(t Tree) bool { return t.Cgroup == "" }) {
		return family{}
	}
	s.mu.Lock()
	known, looked := s.family, s.looked
	s.mu.Unlock()
	if now.Sub(looked) < shelfLife {
		return known
	}
	known = newFamily()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.family, s.looked = known, now
	return known
}

// A moment is what a sample needs to know beside its trees.
type moment struct {
	at     time.Time
	uptime time.Duration // of the machine
	family
}

// family holds processes by what they belong to, where no cgroup says it.
type family struct {
	children map[int][]int // by parent
	session  map[int][]int // by session
}

// newFamily looks at all processes.
func newFamily() (f family) {
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
	var buf [buffer]byte
	text, err := readFile(dir+"/cgroup.procs", buf[:])
	if err != nil {
		return list
	}
	for line := range bytes.Lines(text) {
		if pid, err := strconv.Atoi(string(bytes.TrimSpace(line))); err == nil {
			list = append(list, pid)
		}
	}
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err == nil && st.Nlink <= 2 { // the folder has none below
		return list
	}
	entries, _ := os.ReadDir(dir) // what can't be read has no processes to show
	for _, e := range entries {
		if e.IsDir() {
			list = cgroupProcs(filepath.Join(dir, e.Name()), list)
		}
	}
	return list
}

// measure adds up what the processes of a tree use; nil says that its leader is gone.
func (s *Sampler) measure(t Tree, m moment, before *taken, details bool) *taken {
	r := &taken{at: m.at, pid: t.PID}
	u := &r.usage
	*u = Usage{CPUPercent: math.NaN(), Cgroup: Cgroup{-1, -1}, Proportional: -1, Descriptors: -1, Read: -1, Written: -1}
	there := false
	for _, pid := range m.members(t) {
		st, err := readStat(pid)
		if err != nil {
			continue // it has just ended
		}
		if pid == t.PID {
			there, r.start = true, st.start
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
		u.List = append(u.List, Process{PID: pid, Parent: st.parent, CPU: st.cpu, Resident: st.resident, Threads: st.threads, start: st.start})
	}
	if !there {
		return nil
	}
	if t.Cgroup != "" {
		u.Cgroup = Cgroup{readNumber(t.Cgroup, "memory.current"), readNumber(t.Cgroup, "memory.peak")}
	}
	u.CPUPercent = m.lifelong(u.CPU, r.start)
	known := before != nil && before.start == r.start
	if known {
		u.CPUPercent = m.percent(u.CPU, before.usage.CPU, before.usage.CPUPercent, before.at)
	}
	if !details {
		return r
	}
	u.List = ordered(u.List, t.PID)
	for i := range u.List {
		p := &u.List[i]
		p.Command = command(p.PID)
		p.CPUPercent = m.lifelong(p.CPU, p.start)
		if known {
			for _, old := range before.usage.List {
				if old.PID == p.PID && old.start == p.start {
					p.CPUPercent = m.percent(p.CPU, old.CPU, old.CPUPercent, before.at)
				}
			}
		}
	}
	return r
}

// lifelong returns the percentage of a processor that was used since the start, in
// ticks, of a process.
func (m moment) lifelong(cpu time.Duration, start uint64) float64 {
	switch up := m.uptime - time.Duration(start)*(time.Second/ticks); {
	case m.uptime == 0:
		return math.NaN()
	case up <= 0: // it has just been started
		return 0
	default:
		return 100 * cpu.Seconds() / up.Seconds()
	}
}

// percent returns the percentage that was used since a time before, when it was known
// to be so much.
func (m moment) percent(cpu, before time.Duration, percent float64, at time.Time) float64 {
	since := m.at.Sub(at)
	if since < shelfLife/2 { // processor time is counted in steps too long for this
		return percent
	}
	return 100 * max(0, cpu-before).Seconds() / since.Seconds()
}

// ordered returns the processes of a tree, each after its parent, the leader first, and
// those with the same parent by age. Those whose parent is none of them come last.
func ordered(list []Process, leader int) []Process {
	slices.SortFunc(list, func(a, b Process) int { return cmp.Or(cmp.Compare(a.start, b.start), cmp.Compare(a.PID, b.PID)) })
	children := make(map[int][]Process)
	there := make(map[int]bool)
	for _, p := range list {
		there[p.PID] = true
	}
	for _, p := range list {
		parent := p.Parent
		if p.PID == leader || !there[parent] || parent == p.PID {
			parent = 0
		}
		children[parent] = append(children[parent], p)
	}
	roots := children[0]
	if at := slices.IndexFunc(roots, func(p Process) bool { return p.PID == leader }); at > 0 {
		first := roots[at]
		roots = slices.Insert(slices.Delete(roots, at, at+1), 0, first)
	}
	out := make([]Process, 0, len(list))
	var add func([]Process)
	add = func(some []Process) {
		for _, p := range some {
			if len(out) < maxListed {
				out = append(out, p)
				add(children[p.PID])
			}
		}
	}
	add(roots)
	return out
}

// command returns what a process was started as, "" when it has just ended.
func command(pid int) string {
	var buf [buffer]byte
	dir := "/proc/" + strconv.Itoa(pid)
	text, err := readFile(dir+"/cmdline", buf[:])
	if err != nil {
		return ""
	}
	text = bytes.TrimRight(text, "\x00 ")
	if len(text) == 0 {
		name, err := readFile(dir+"/comm", buf[:])
		if err != nil {
			return ""
		}
		return "[" + strings.ToValidUTF8(string(bytes.TrimSpace(name)), "\ufffd") + "]"
	}
	if len(text) > maxCommand {
		text = text[:maxCommand]
	}
	return strings.ToValidUTF8(string(bytes.ReplaceAll(text, []byte{0}, []byte{' '})), "\ufffd")
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
	var buf [buffer]byte
	text, err := readFile("/proc/"+strconv.Itoa(pid)+"/stat", buf[:])
	if err != nil {
		return st, err
	}
	text = text[bytes.LastIndexByte(text, ')')+1:] // the name before may hold anything
	var sum int64
	n := 2 // the number of the field, from 1
	for field := range bytes.FieldsSeq(text) {
		n++
		v, _ := strconv.ParseInt(string(field), 10, 64) // the state is no number
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

// buffer is room for a small file of the kernel, in bytes. A longer one is read all
// the same.
const buffer = 1024

// readFile reads a file of the kernel's into buf, or into a longer buffer where it
// needs one. That is half the calls of [os.ReadFile], thousands of times.
func readFile(path string, buf []byte) ([]byte, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	for n := 0; ; {
		if n == len(buf) {
			buf = append(buf, make([]byte, len(buf))...)
		}
		got, err := unix.Read(fd, buf[n:])
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return nil, err
		}
		// It collects what it gives by the page, in whole lines: a short read that is
		// shorter than any page can be is the last one.
		if n += got; got == 0 || n < min(len(buf), buffer) {
			return buf[:n], nil
		}
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
	var buf [32]byte
	text, err := readFile(dir+"/"+name, buf[:])
	if err != nil {
		return -1
	}
	n, err := strconv.ParseInt(string(bytes.TrimSpace(text)), 10, 64)
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

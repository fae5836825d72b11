package usage

import (
	"bufio"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// play starts a shell in a session of its own, and returns it when it has said
// something.
func play(t *testing.T, script string) (pid int, said string, line func() string) {
	t.Helper()
	cmd := exec.Command("/bin/sh", "-c", script)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		cmd.Wait()
	})
	r := bufio.NewReader(out)
	line = func() string {
		s, err := r.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(s)
	}
	return cmd.Process.Pid, line(), line
}

// TestTree: what children use counts, and so does what has left the session, as
// long as its parent lives.
func TestTree(t *testing.T) {
	s, err := New()
	if err != nil {
		t.Fatal(err)
	}
	pid, _, _ := play(t, `sleep 1000 & setsid sleep 1000 & echo ready; wait`)
	tree := []Tree{{Key: "a", PID: pid}}
	u := s.Sample(tree, true)[0]
	for early := func() bool { // a child is a copy of the shell at first
		return slices.ContainsFunc(u.List[1:], func(p Process) bool { return p.Command != "sleep 1000" })
	}; u != nil && early(); u = s.Sample(tree, true)[0] {
		clear(s.detailed)
	}
	if u == nil {
		t.Fatal("there is no such tree")
	}
	if u.Processes != 3 || u.Threads != 3 {
		t.Errorf("%d processes, %d threads, want 3 of each", u.Processes, u.Threads)
	}
	if u.Resident < 1<<20 || u.Descriptors < 9 || u.Proportional <= 0 || u.Proportional > u.Resident || u.Read < 0 {
		t.Errorf("details: %+v", u)
	}
	if math.IsNaN(u.CPUPercent) {
		t.Error("no CPU percentage")
	}
	if len(u.List) != 3 || u.List[0].PID != pid || u.List[1].Parent != pid || u.List[2].Parent != pid {
		t.Fatalf("processes: %+v", u.List)
	}
	if !strings.HasPrefix(u.List[0].Command, "/bin/sh -c sleep 1000 &") || u.List[1].Command != "sleep 1000" || u.List[1].Resident == 0 || u.List[1].Threads != 1 {
		t.Errorf("processes: %+v", u.List)
	}
	if plain := s.Sample(tree, false)[0]; plain.List != nil {
		t.Errorf("without details: %+v", plain)
	}
}

// TestCPU: the second sample tells of the time since the first.
func TestCPU(t *testing.T) {
	s, err := New()
	if err != nil {
		t.Fatal(err)
	}
	// It works until it has used a fifth of a second, and says so.
	pid, _, line := play(t, `echo ready; while read -r stat < /proc/$$/stat; do set -- $stat; [ $((${14} + ${15})) -ge 20 ] && break; done; echo done; exec sleep 1000`)
	tree := []Tree{{Key: "a", PID: pid}}
	before := s.Sample(tree, true)[0]
	line()
	s.detailed["a"].at = s.detailed["a"].at.Add(-shelfLife) // else it would be as good as a new one
	after := s.Sample(tree, true)[0]
	if used := after.CPU - before.CPU; used <= 0 || after.CPUPercent <= 0 {
		t.Errorf("used %v, %f %%", used, after.CPUPercent)
	}
	if after.CPU < 200*time.Millisecond {
		t.Errorf("%v in all", after.CPU)
	}
}

// TestOrdered: each process comes after its parent, the leader first, whatever has lost
// its parent last, and never more than a screen can hold.
func TestOrdered(t *testing.T) {
	list := []Process{{PID: 9, Parent: 1, start: 1}, {PID: 4, Parent: 3, start: 5}, {PID: 2, Parent: 1, start: 2}, {PID: 5, Parent: 2, start: 4}, {PID: 3, Parent: 2, start: 3}, {PID: 6, Parent: 9, start: 6}}
	var got []int
	for _, p := range ordered(list, 2) {
		got = append(got, p.PID)
	}
	if want := []int{2, 3, 4, 5, 9, 6}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	many := make([]Process, 3*maxListed)
	for i := range many {
		many[i] = Process{PID: 10 + i, Parent: 9 + i, start: uint64(i)} // each is the child of the one before
	}
	if got := ordered(many, 10); len(got) != maxListed || got[0].PID != 10 {
		t.Errorf("%d processes of many, the first %d", len(got), got[0].PID)
	}
}

func TestGone(t *testing.T) {
	s, err := New()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/bin/true")
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	if got := s.Sample([]Tree{{Key: "a", PID: cmd.Process.Pid}}, false); got[0] != nil {
		t.Errorf("%+v", got[0])
	}
}

func TestShelf(t *testing.T) {
	s, err := New()
	if err != nil {
		t.Fatal(err)
	}
	pid, said, _ := play(t, `sleep 1000 & echo $!; wait`)
	tree := []Tree{{Key: "a", PID: pid}}
	first := s.Sample(tree, false)[0]
	child, _ := strconv.Atoi(said)
	syscall.Kill(child, syscall.SIGKILL)
	if again := s.Sample(tree, false)[0]; again != first {
		t.Error("a sample isn't good for a second")
	}
	more := s.Sample(append(tree, Tree{Key: "b", PID: pid}), false)
	if more[0] != first || more[1] == nil {
		t.Errorf("a tree that wasn't in the sample: %+v", more)
	}
	// Another process under the same name isn't the one that was measured.
	other, _, _ := play(t, `echo ready; exec sleep 1000`)
	if u := s.Sample([]Tree{{Key: "a", PID: other}}, false)[0]; u == first || u == nil || u.Processes != 1 {
		t.Errorf("the next process is %+v", u)
	}
}

// TestLongFile: what doesn't fit into the buffer is read all the same.
func TestLongFile(t *testing.T) {
	for _, size := range []int{0, 10, buffer - 1, buffer, buffer + 1, 5 * buffer} {
		file := filepath.Join(t.TempDir(), "file")
		want := strings.Repeat("x", size)
		if err := os.WriteFile(file, []byte(want), 0o600); err != nil {
			t.Fatal(err)
		}
		for _, room := range []int{1, buffer} {
			if got, err := readFile(file, make([]byte, room)); err != nil || string(got) != want {
				t.Errorf("%d bytes are read as %d, %v", size, len(got), err)
			}
		}
	}
}

func BenchmarkSample(b *testing.B) {
	s, err := New()
	if err != nil {
		b.Fatal(err)
	}
	cmd := exec.Command("/bin/sleep", "1000")
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	defer func() { cmd.Process.Kill(); cmd.Wait() }()
	for b.Loop() {
		clear(s.plain)
		s.Sample([]Tree{{Key: "a", PID: cmd.Process.Pid}}, false)
	}
}

// TestPeak: the most memory that a process ever had is no less than what it has.
func TestPeak(t *testing.T) {
	s, err := New()
	if err != nil {
		t.Fatal(err)
	}
	pid, _, _ := play(t, "echo ready; kill -STOP $$")
	if u, peak := s.Sample([]Tree{{Key: "a", PID: pid}}, false)[0], Peak(pid); u == nil || peak < u.Resident || peak < 100<<10 || peak > 1<<30 {
		t.Errorf("the peak is %d, it has %+v", peak, u)
	}
	if peak := Peak(1 << 30); peak != 0 {
		t.Errorf("nobody had %d", peak)
	}
}

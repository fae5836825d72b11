package usage

import (
	"bufio"
	"math"
	"os/exec"
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
	u, ok := s.Sample(tree, true)["a"]
	if !ok {
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
	before := s.Sample(tree, true)["a"]
	line()
	after := s.Sample(tree, true)["a"]
	if used := after.CPU - before.CPU; used <= 0 || after.CPUPercent <= 0 {
		t.Errorf("used %v, %f %%", used, after.CPUPercent)
	}
	if after.CPU < 200*time.Millisecond {
		t.Errorf("%v in all", after.CPU)
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
	if got := s.Sample([]Tree{{Key: "a", PID: cmd.Process.Pid}}, false); len(got) != 0 {
		t.Errorf("%+v", got)
	}
}

func TestShelf(t *testing.T) {
	s, err := New()
	if err != nil {
		t.Fatal(err)
	}
	pid, said, _ := play(t, `sleep 1000 & echo $!; wait`)
	tree := []Tree{{Key: "a", PID: pid}}
	first := s.Sample(tree, false)
	child, _ := strconv.Atoi(said)
	syscall.Kill(child, syscall.SIGKILL)
	if again := s.Sample(tree, false); again["a"] != first["a"] && !math.IsNaN(first["a"].CPUPercent) {
		t.Error("a sample isn't good for a second")
	}
	if more := s.Sample(append(tree, Tree{Key: "b", PID: pid}), false); len(more) != 2 {
		t.Errorf("a tree that wasn't in the sample: %+v", more)
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
		s.at = time.Time{}
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
	if u, peak := s.Sample([]Tree{{Key: "a", PID: pid}}, false)["a"], Peak(pid); peak < u.Resident || peak < 100<<10 || peak > 1<<30 {
		t.Errorf("the peak is %d, it has %d", peak, u.Resident)
	}
	if peak := Peak(1 << 30); peak != 0 {
		t.Errorf("nobody had %d", peak)
	}
}

package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// becomeSubreaper makes every orphan below the harness its child (prctl(2),
// Linux 3.4). So whatever a supervisor leaves behind can be found and ended by
// a pid that cannot have been given to a stranger: nobody else can reap it.
func becomeSubreaper() error {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("cannot become a subreaper: %w", err)
	}
	return nil
}

// start runs argv in a session of its own, in folder dir, its output appended to
// the file log. The caller reaps it.
func start(argv []string, dir, log string) (pid int, err error) {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return 0, err
	}
	defer null.Close()
	out, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return 0, err
	}
	defer out.Close()
	pid, err = syscall.ForkExec(argv[0], argv, &syscall.ProcAttr{
		Dir:   dir,
		Env:   environ(),
		Files: []uintptr{null.Fd(), out.Fd(), out.Fd()},
		Sys:   &syscall.SysProcAttr{Setsid: true},
	})
	if err != nil {
		return 0, fmt.Errorf("cannot start %s: %w", argv[0], err)
	}
	return pid, nil
}

// environ is the harness's environment without what would make a supervisor
// believe that it is meant by another one.
func environ() []string {
	var env []string
	for _, kv := range os.Environ() {
		name, _, _ := strings.Cut(kv, "=")
		switch {
		case strings.HasPrefix(name, "TEND_"), strings.HasPrefix(name, "LISTEN_"), name == "NOTIFY_SOCKET":
		default:
			env = append(env, kv)
		}
	}
	return env
}

// reap waits for the end of a child.
func reap(pid int) error {
	for {
		var status syscall.WaitStatus
		_, err := syscall.Wait4(pid, &status, 0, nil)
		switch {
		case err == syscall.EINTR:
		case err != nil:
			return fmt.Errorf("cannot wait for %d: %w", pid, err)
		case status.ExitStatus() != 0:
			return fmt.Errorf("exited with status %d", status.ExitStatus())
		default:
			return nil
		}
	}
}

// sweep kills and reaps all that is left below the harness and returns how many
// processes that were still alive. It kills children only: their children become
// the harness's own, being its orphans, and are next.
func sweep() (killed int, err error) {
	for {
		all, err := processes()
		if err != nil {
			return killed, err
		}
		children := 0
		for pid, p := range all {
			if p.ppid != os.Getpid() {
				continue
			}
			children++
			if p.state != 'Z' {
				killed++
				syscall.Kill(pid, syscall.SIGKILL)
			}
			var status syscall.WaitStatus
			for {
				if _, err := syscall.Wait4(pid, &status, 0, nil); err != syscall.EINTR {
					break
				}
			}
		}
		if children == 0 {
			return killed, nil
		}
	}
}

// A process is what /proc/PID/stat says of one.
type process struct {
	ppid  int
	state byte // 'Z' is a zombie
}

// processes returns all processes of the machine. One that ends meanwhile is left out.
func processes() (map[int]process, error) {
	names, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return nil, err
	}
	all := make(map[int]process, len(names))
	for _, name := range names {
		pid, _ := strconv.Atoi(filepath.Base(name))
		stat, err := os.ReadFile(name + "/stat")
		if err != nil {
			continue
		}
		// The command's name, in brackets, may hold blanks and brackets itself.
		fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
		if len(fields) < 2 {
			continue
		}
		ppid, _ := strconv.Atoi(string(fields[1]))
		all[pid] = process{ppid, fields[0][0]}
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("cannot read /proc: no process there")
	}
	return all, nil
}

// supervisorSide returns root and its living descendants that don't run the program probe.
func supervisorSide(root int, probe string) ([]int, error) {
	all, err := processes()
	if err != nil {
		return nil, err
	}
	children := make(map[int][]int)
	for pid, p := range all {
		children[p.ppid] = append(children[p.ppid], pid)
	}
	var side []int
	for todo := []int{root}; len(todo) > 0; {
		pid := todo[0]
		todo = append(todo[1:], children[pid]...)
		exe, err := os.Readlink("/proc/" + strconv.Itoa(pid) + "/exe")
		if err == nil && exe != probe {
			side = append(side, pid)
		}
	}
	if len(side) == 0 {
		return nil, fmt.Errorf("cannot find the supervisor's processes: it ended")
	}
	return side, nil
}

// pss returns the bytes of memory that the processes have between them, shared
// pages by their share (/proc/PID/smaps_rollup, Linux 4.14).
func pss(pids []int) (int64, error) {
	var sum int64
	for _, pid := range pids {
		rollup, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
		if err != nil {
			return 0, fmt.Errorf("cannot read the memory of %d: %w", pid, err)
		}
		kib, err := field(rollup, "Pss:")
		if err != nil {
			return 0, fmt.Errorf("cannot read the memory of %d: %w", pid, err)
		}
		sum += kib << 10
	}
	return sum, nil
}

// A usage is what processes have used since they began.
type usage struct {
	cpu      time.Duration
	switches int64 // voluntary and nonvoluntary context switches: times it was woken or preempted
}

// used sums the usage of all threads of the processes.
func used(pids []int) (usage, error) {
	var sum usage
	for _, pid := range pids {
		tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*", pid))
		if len(tasks) == 0 {
			return usage{}, fmt.Errorf("cannot read the use of %d: it ended", pid)
		}
		for _, task := range tasks {
			status, err := os.ReadFile(task + "/status")
			if err != nil {
				return usage{}, fmt.Errorf("cannot read the use of %d: %w", pid, err)
			}
			for _, name := range []string{"voluntary_ctxt_switches:", "nonvoluntary_ctxt_switches:"} {
				n, err := field(status, name)
				if err != nil {
					return usage{}, fmt.Errorf("cannot read the use of %d: %w", pid, err)
				}
				sum.switches += n
			}
			cpu, err := taskCPU(task)
			if err != nil {
				return usage{}, fmt.Errorf("cannot read the use of %d: %w", pid, err)
			}
			sum.cpu += cpu
		}
	}
	return sum, nil
}

// taskCPU returns the time that a thread has been on a CPU: to the nanosecond from
// schedstat, in ticks of 10 ms where the kernel keeps none (CONFIG_SCHED_INFO).
func taskCPU(task string) (time.Duration, error) {
	if schedstat, err := os.ReadFile(task + "/schedstat"); err == nil {
		ns, err := strconv.ParseInt(string(bytes.Fields(schedstat)[0]), 10, 64)
		return time.Duration(ns), err
	}
	stat, err := os.ReadFile(task + "/stat")
	if err != nil {
		return 0, err
	}
	var ticks int64
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	for _, f := range fields[11:13] { // utime and stime, proc_pid_stat(5)
		n, err := strconv.ParseInt(string(f), 10, 64)
		if err != nil {
			return 0, err
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond, nil
}

// field returns the number after name at the beginning of a line, as /proc writes it.
func field(text []byte, name string) (int64, error) {
	for line := range bytes.Lines(text) {
		if rest, ok := bytes.CutPrefix(line, []byte(name)); ok {
			return strconv.ParseInt(string(bytes.Fields(rest)[0]), 10, 64)
		}
	}
	return 0, fmt.Errorf("no field %q", name)
}

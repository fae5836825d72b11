package proc

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// TestAdoptNothing: where nothing is known of an attempt but its mark, and no
// process bears that, nothing is found, not even what has session or group 0:
// that stands for those of all other namespaces.
func TestAdoptNothing(t *testing.T) {
	for _, mode := range modes {
		t.Run(mode.name, func(t *testing.T) {
			w := open(t, mode.Config)
			for _, a := range []Adoption{
				{Name: "none:0", Mark: "PROC_TEST=never"},
				{Name: "none:0", Mark: "PROC_TEST=never", Ended: true},
				{Name: "none:0", Mark: "PROC_TEST=never", Identity: Identity{PID: 1, Inode: 1}},
				{Name: "none:0", Mark: "PROC_TEST=never", Identity: Identity{PID: os.Getpid(), Inode: 1}},
				{Name: "none:0", Mark: "PROC_TEST=never", Identity: Identity{PID: os.Getpid(), Start: 1}, Ended: true},
			} {
				if p, alive := w.Adopt(a); p != nil || alive {
					for _, m := range p.members() {
						cmd, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", m.pid))
						t.Errorf("%+v: found %d %q", a, m.pid, cmd)
						unix.Close(m.fd)
					}
					t.Fatalf("%+v: something was adopted", a)
				}
			}
		})
	}
}

// TestAdopt: a process that another has started is known by its identity, its end
// is seen, and how it ended as far as the kernel tells.
func TestAdopt(t *testing.T) {
	for _, mode := range modes {
		t.Run(mode.name, func(t *testing.T) {
			w := open(t, mode.Config)
			// Its parent isn't us but a shell, which reaps it when it is told to.
			shell := exec.Command("/bin/sh", "-c", `setsid sleep 1000 & echo $!; wait $!; echo reaped; read line`)
			in, err := shell.StdinPipe()
			if err != nil {
				t.Fatal(err)
			}
			out, err := shell.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := shell.Start(); err != nil {
				t.Fatal(err)
			}
			defer func() { in.Close(); shell.Wait() }()
			var pid int
			if _, err := fmt.Fscan(out, &pid); err != nil {
				t.Fatal(err)
			}
			fd, err := unix.PidfdOpen(pid, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer unix.Close(fd)
			id := w.identify(pid, fd)
			wrong := id
			wrong.Inode, wrong.Start = wrong.Inode/2, wrong.Start/2
			if p, alive := w.Adopt(Adoption{Tag: 1, Name: "adopted:0", Mark: "PROC_TEST=x", Identity: wrong}); p != nil || alive {
				t.Fatal("another process was taken for it")
			}
			p, alive := w.Adopt(Adoption{Tag: 2, Name: "adopted:0", Mark: "PROC_TEST=x", Identity: id})
			if !alive {
				t.Fatal("it isn't adopted")
			}
			if err := p.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			fact := w.next()
			end, ok := fact.(Ended)
			if !ok || end.Tag != 2 || end.Pid != pid {
				t.Fatalf("told %+v", fact)
			}
			if known := w.caps.ExitInfo; known == end.Unknown || known && end.Status.Signal != syscall.SIGTERM {
				t.Errorf("the kernel tells: %v; told %+v", known, end)
			}
		})
	}
}

// TestAdoptOutside: a leader that has left its cgroup is signalled as one of its
// tree all the same, by kernels as well that signal no group by a pidfd.
func TestAdoptOutside(t *testing.T) {
	for _, mode := range []struct {
		name string
		Config
	}{
		{"latest", Config{Cgroup: true}},
		{"before pidfs", Config{Cgroup: true, NoPidfs: true}},
		{"before cgroup.kill", Config{Cgroup: true, NoPidfs: true, NoCgroupKill: true}},
	} {
		for _, way := range []struct {
			name string
			do   func(*Process) error
		}{
			{"group", func(p *Process) error { return p.SignalGroup(syscall.SIGTERM) }},
			{"tree", func(p *Process) error { return p.SignalTree(syscall.SIGTERM) }},
			{"kill", (*Process).KillTree},
		} {
			t.Run(mode.name+"/"+way.name, func(t *testing.T) {
				w := open(t, mode.Config)
				shell := exec.Command("/bin/sh", "-c", `setsid sh -c 'echo $$; exec sleep 1000' & wait $!`)
				out, err := shell.StdoutPipe()
				if err != nil {
					t.Fatal(err)
				}
				if err := shell.Start(); err != nil {
					t.Fatal(err)
				}
				defer shell.Wait()
				pid, fd := readPid(t, bufio.NewReader(out))
				defer unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0)
				tree, err := w.openTree("outside:0")
				if err != nil {
					t.Fatal(err)
				}
				unix.Close(tree)
				defer w.Forget("outside:0")
				p, alive := w.Adopt(Adoption{Tag: 1, Name: "outside:0", Mark: "PROC_TEST=x", Identity: w.identify(pid, fd), Cgroup: w.treeDir("outside:0")})
				if !alive {
					t.Fatal("it isn't adopted")
				}
				if err := way.do(p); err != nil {
					t.Fatal(err)
				}
				w.ended()
			})
		}
	}
}

func TestIdentity(t *testing.T) {
	for _, test := range []struct {
		a, b Identity
		is   bool
	}{
		{Identity{1, 2, 3}, Identity{1, 2, 4}, true},
		{Identity{1, 2, 3}, Identity{1, 3, 3}, false},
		{Identity{1, 0, 3}, Identity{1, 2, 3}, true},
		{Identity{1, 0, 3}, Identity{2, 0, 3}, false},
		{Identity{1, 2, 0}, Identity{1, 0, 3}, false},
		{Identity{1, 0, 0}, Identity{1, 0, 0}, false},
	} {
		if test.a.is(test.b) != test.is || test.b.is(test.a) != test.is {
			t.Errorf("%+v is %+v: %v", test.a, test.b, !test.is)
		}
	}
	if id := BootID(); len(strings.TrimSpace(id)) < 30 {
		t.Errorf("boot id %q", id)
	}
}

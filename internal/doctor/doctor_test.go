package doctor

import (
	"encoding/json"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tend/api"
)

// fake returns a machine of files: "proc/self/limits" and the like. A content
// that begins with "-> " makes a link. All trials succeed.
func fake(t *testing.T, files map[string]string) *machine {
	t.Helper()
	root := t.TempDir()
	for name, content := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		var err error
		if to, is := strings.CutPrefix(content, "-> "); is {
			err = os.Symlink(to, path)
		} else {
			err = os.WriteFile(path, []byte(content), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return &machine{
		root:    root,
		euid:    1000,
		getenv:  func(string) string { return "" },
		cgroup:  func(string) cgroupTrial { return cgroupTrial{controllers: "cpu io memory pids\n"} },
		folder:  func(dir string) folderTrial { return folderTrial{at: dir, kind: unix.EXT4_SUPER_MAGIC, free: 50e9} },
		inherit: func() (int64, error) { return 1024, nil },
		inotify: func() error { return nil },
		unit:    func(string, bool) (map[string]string, error) { return nil, errors.New("no systemctl") },
		clock: func() (clockReading, error) {
			return clockReading{time.Date(2026, 11, 21, 0, 0, 0, 0, time.UTC), 5, 6}, nil
		},
	}
}

// with returns files and those of more over them.
func with(files map[string]string, more ...string) map[string]string {
	all := maps.Clone(files)
	if all == nil {
		all = make(map[string]string)
	}
	for i := 0; i < len(more); i += 2 {
		all[more[i]] = more[i+1]
	}
	return all
}

const mountinfo = `22 1 0:21 / /proc rw,nosuid - proc proc rw
30 22 0:27 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw
`

const limits = `Limit                     Soft Limit           Hard Limit           Units     
Max processes             SOFT                 96365                processes 
Max open files            1024                 HARD                 files     
`

var host = map[string]string{
	"proc/self/ns/pid":                  "-> " + firstPIDNamespace,
	"proc/self/ns/user":                 "-> " + firstUserNamespace,
	"proc/self/status":                  "Uid:\t1000\t1000\t1000\t1000\nNoNewPrivs:\t0\nSeccomp:\t0\nCapEff:\t0000000000000000\n",
	"proc/self/stat":                    "1 (x) S",
	"proc/self/cgroup":                  "0::/user.slice/a\n",
	"proc/self/mountinfo":               mountinfo,
	"proc/self/limits":                  strings.NewReplacer("SOFT", "96365", "HARD", "524288").Replace(limits),
	"proc/self/oom_score_adj":           "0\n",
	"proc/1/comm":                       "systemd\n",
	"proc/sys/kernel/osrelease":         "6.1.0-18-amd64\n",
	"proc/sys/kernel/pid_max":           "4194304\n",
	"proc/sys/fs/pipe-user-pages-soft":  "16384\n",
	"proc/sys/fs/pipe-user-pages-hard":  "0\n",
	"sys/fs/cgroup/user.slice/pids.max": "max\n",
}

// check looks for "ID LEVEL VALUE TITLE-PART | HINT-PART" among the findings;
// VALUE may be "*".
func check(t *testing.T, findings []api.Finding, want ...string) {
	t.Helper()
	for _, w := range want {
		text, hint, _ := strings.Cut(w, " | ")
		f := strings.SplitN(text, " ", 3)
		i := slices.IndexFunc(findings, func(x api.Finding) bool { return x.ID == f[0] })
		if i < 0 {
			t.Errorf("no finding %s in %s", f[0], dump(findings))
			continue
		}
		if got := findings[i]; got.Level != f[1] || !strings.Contains(got.Title+" ("+got.Detail+")", f[2]) || !strings.Contains(got.Hint, hint) {
			t.Errorf("want %s\ngot  %s", w, dump(findings[i:i+1]))
		}
	}
}

func dump(v any) string {
	b, _ := json.Marshal(v)
	return string(b)
}

func TestKernel(t *testing.T) {
	m := fake(t, host)
	works, fails := func() error { return nil }, func(err error) func() error { return func() error { return err } }
	m.features = []feature{{"a", "A", "5.3", true, "", works}, {"b", "B", "6.9", false, "c is used", works}}
	check(t, m.kernel(), "kernel.release ok Linux 6.1: all that tend uses is there", "kernel.a ok A (since Linux 5.3)")
	m.features[1].try = fails(unix.ENOSYS)
	got := m.kernel()
	check(t, got, "kernel.release ok Linux 6.1 without B", "kernel.b ok no B (c is used (the kernel doesn't have it, or seccomp hides it; since Linux 6.9))")
	if index(got).has("kernel.b") || !index(got).has("kernel.a") {
		t.Errorf("what is there and what isn't can't be told apart: %s", dump(got))
	}
	m.features[0].try = fails(unix.EPERM)
	check(t, m.kernel(), "kernel.a problem A doesn't work: it is refused, as by seccomp | use Linux 5.3 or newer, or a newer container runtime")
	m.features[0].try = fails(unix.EINVAL)
	check(t, m.kernel(), "kernel.a problem A doesn't work: invalid argument | use Linux 5.3 or newer")
}

func TestContainer(t *testing.T) {
	inside := with(host, "proc/self/ns/pid", "-> pid:[4026532200]", "proc/self/ns/user", "-> user:[4026532199]",
		"proc/self/uid_map", "         0     100000      65536\n", ".dockerenv", "", "proc/1/comm", "tini\n")
	for _, test := range []struct {
		name  string
		files map[string]string
		want  []string
	}{
		{"none", host, []string{"container.kind ok none", "container.pid1 ok process 1 is systemd"}},
		{"docker", inside, []string{"container.kind ok Docker (pid namespace, user namespace)", "container.pid1 ok process 1 is tini, which reaps", "container.user ok user namespace with 65,536 users"}},
		{"no init", with(inside, "proc/1/comm", "node\n"), []string{"container.pid1 warning process 1 is node | docker run --init"}},
		{"one user", with(inside, "proc/self/uid_map", "0 1000 1\n"), []string{"container.user ok with one user"}},
		{"seccomp", with(host, "proc/self/status", "Seccomp:\t2\n"), []string{"container.seccomp ok seccomp filters"}},
		{"strict", with(host, "proc/self/status", "Seccomp:\t1\n"), []string{"container.seccomp problem strict"}},
		{"podman", with(host, "run/.containerenv", ""), []string{"container.kind ok Podman"}},
	} {
		t.Run(test.name, func(t *testing.T) { check(t, fake(t, test.files).container(), test.want...) })
	}
	m := fake(t, host)
	m.getenv = func(name string) string { return map[string]string{"KUBERNETES_SERVICE_HOST": "10.0.0.1"}[name] }
	check(t, m.container(), "container.kind ok Kubernetes")
}

func TestUser(t *testing.T) {
	for _, test := range []struct{ name, status, want string }{
		{"ordinary", "Uid:\t1000\t1000\nCapEff:\t0\n", "user.who ok uid 1000, not root"},
		{"root", "Uid:\t0\t0\nCapEff:\t000001ffffffffff\n", "user.who ok root with all that tend may need"},
		{"Docker's root", "Uid:\t0\t0\nCapEff:\t00000000a80425fb\n", "user.who ok root without CAP_SYS_RESOURCE, CAP_SYS_ADMIN (limits can't be raised"},
		{"weak root", "Uid:\t0\t0\nCapEff:\t0\n", "user.who warning root without CAP_KILL, CAP_SETUID, CAP_SETGID | start tend with them"},
		{"with capabilities", "Uid:\t7\t7\nCapEff:\t00000000a80425fb\n", "user.who ok uid 7 with capabilities"},
		{"no new privileges", "Uid:\t7\t7\nNoNewPrivs:\t1\n", "user.no_new_privs ok no new privileges"},
	} {
		t.Run(test.name, func(t *testing.T) {
			check(t, fake(t, with(host, "proc/self/status", test.status)).user(), test.want)
		})
	}
}

func TestCgroups(t *testing.T) {
	refused := &os.PathError{Op: "mkdir", Path: "/x", Err: unix.EACCES}
	for _, test := range []struct {
		name  string
		files map[string]string
		trial cgroupTrial
		want  []string
		has   bool
	}{
		{"all", host, cgroupTrial{controllers: "cpuset cpu io memory pids"},
			[]string{"cgroup.v2 ok v2 can be written (we are in /sys/fs/cgroup/user.slice/a)", "cgroup.make ok a cgroup", "cgroup.kill ok at once", "cgroup.controllers ok memory, cpu, pids and io"}, true},
		{"old kernel", host, cgroupTrial{kill: &os.PathError{Op: "open", Err: unix.ENOENT}, controllers: "memory pids"},
			[]string{"cgroup.kill ok no cgroup.kill", "cgroup.controllers ok no limits of cpu, io (they aren't delegated"}, true},
		{"v1 beside it", with(host, "proc/self/cgroup", "8:pids:/\n4:memory:/\n0::/\n"), cgroupTrial{},
			[]string{"cgroup.controllers ok no limits of memory, cpu, pids, io (controllers are on v1"}, true},
		{"not ours", host, cgroupTrial{made: refused}, []string{"cgroup.make warning permission denied | own a cgroup"}, false},
		{"not ours, systemd", with(host, "run/systemd/system/x", ""), cgroupTrial{made: refused}, []string{"cgroup.make warning permission denied | systemd-run --user"}, false},
		{"not ours, unit", with(host, "run/systemd/system/x", "", "proc/self/cgroup", "0::/system.slice/tend.service\n"), cgroupTrial{made: refused},
			[]string{"cgroup.make warning permission denied | Delegate=yes in the unit"}, false},
		{"not ours, container", with(host, ".dockerenv", ""), cgroupTrial{made: refused}, []string{"cgroup.make warning permission denied | give the container"}, false},
		{"no entry", host, cgroupTrial{entered: refused}, []string{"cgroup.make warning no process can be put"}, false},
		{"v1 alone", with(host, "proc/self/cgroup", "4:memory:/\n"), cgroupTrial{}, []string{"cgroup.v2 warning no cgroup v2 | mount"}, false},
		{"not mounted", with(host, "proc/self/mountinfo", "1 1 0:1 / / rw - ext4 x rw\n"), cgroupTrial{}, []string{"cgroup.v2 warning isn't mounted"}, false},
		{"another's subtree", with(host, "proc/self/mountinfo", "1 1 0:1 /other /sys/fs/cgroup rw - cgroup2 x rw\n"), cgroupTrial{}, []string{"cgroup.v2 warning isn't mounted"}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			m := fake(t, test.files)
			m.cgroup = func(dir string) cgroupTrial {
				if !strings.HasPrefix(dir, m.root+"/sys/fs/cgroup") {
					t.Errorf("tries %s", dir)
				}
				return test.trial
			}
			got := m.cgroups()
			check(t, got, test.want...)
			if index(got).has("cgroup.make") != test.has {
				t.Errorf("usable is %v in %s", !test.has, dump(got))
			}
		})
	}
}

func TestDescriptors(t *testing.T) {
	for _, test := range []struct{ name, hard, want string }{
		{"plenty", "524288", "descriptors.limit ok 524,288 (1,024 for a program): room for about 260,000 programs"},
		{"the sketch's", "4096", "descriptors.limit ok room for about 1,900 programs"},
		{"few", "1024", "descriptors.limit warning room for about 440 programs | limits.conf"},
		{"none", "100", "descriptors.limit problem room for 0 programs | ulimit"},
		{"unlimited", "unlimited", "descriptors.limit ok any number"},
	} {
		t.Run(test.name, func(t *testing.T) {
			m := fake(t, with(host, "proc/self/limits", strings.ReplaceAll(limits, "HARD", test.hard)))
			check(t, m.descriptors(), test.want)
		})
	}
	check(t, fake(t, nil).descriptors(), "descriptors.limit warning can't be read")

	check(t, fake(t, host).descriptors(), "descriptors.pipes ok after 1,024 pipes")
	check(t, fake(t, with(host, "proc/sys/fs/pipe-user-pages-soft", "1600\n")).descriptors(), "descriptors.pipes warning after 100 pipes | pipe-user-pages-soft=0")
	check(t, fake(t, with(host, "proc/sys/fs/pipe-user-pages-hard", "200\n")).descriptors(), "descriptors.pipes warning room for about 100 programs | pipe-user-pages-hard=0")
	check(t, fake(t, with(host, "proc/self/status", "CapEff:\t000001ffffffffff\n")).descriptors(), "descriptors.pipes ok 64 KiB each")
	// Of a daemon the soft limit is the raised one, and says nothing.
	m := fake(t, with(host, "proc/77/limits", strings.ReplaceAll(limits, "HARD", "4096")))
	m.pid = 77
	check(t, m.descriptors(), "descriptors.limit ok 4,096: room")
}

func TestProcesses(t *testing.T) {
	for _, test := range []struct {
		name string
		more []string
		want string
	}{
		{"pid_max", []string{"proc/sys/kernel/pid_max", "32768\n"}, "processes.room ok about 32,000 programs: pid_max 32,768"},
		{"nproc", []string{"proc/self/limits", strings.ReplaceAll(limits, "SOFT", "164")}, "processes.room warning about 100 programs: 164 processes of a user | ulimit -u"},
		{"nproc of root", []string{"proc/self/limits", strings.ReplaceAll(limits, "SOFT", "164"), "proc/self/status", "CapEff:\t000001ffffffffff\n"}, "processes.room ok pid_max 4,194,304"},
		{"threads-max", []string{"proc/sys/kernel/threads-max", "1064\n"}, "processes.room ok about 1,000 programs: threads-max"},
		{"pids.max above", []string{"sys/fs/cgroup/user.slice/pids.max", "25\n", "sys/fs/cgroup/user.slice/pids.current", "20\n"}, "processes.room problem 5 programs: pids.max of the cgroup /sys/fs/cgroup/user.slice | max"},
		{"pids.max of v1", []string{"proc/self/cgroup", "8:pids:/docker/1\n", "sys/fs/cgroup/pids/docker/1/pids.max", "100\n", ".dockerenv", ""}, "processes.room warning pids.max | --pids-limit"},
		{"descendants", []string{"sys/fs/cgroup/user.slice/a/cgroup.max.descendants", "3\n"}, "processes.room problem 3 programs: cgroup.max.descendants"},
	} {
		t.Run(test.name, func(t *testing.T) { check(t, fake(t, with(host, test.more...)).processes(), test.want) })
	}
}

func TestMemory(t *testing.T) {
	for _, test := range []struct {
		name string
		more []string
		want string
	}{
		{"plain", nil, "memory.oom ok oom_score_adj is 0"},
		{"liked", []string{"proc/self/oom_score_adj", "500\n"}, "memory.oom warning likes to kill | OOMScoreAdjust"},
		{"spared", []string{"proc/self/oom_score_adj", "-1000\n"}, "memory.oom warning neither"},
		{"strict", []string{"proc/sys/vm/overcommit_memory", "2\n"}, "memory.overcommit ok only what there is"},
		{"limit", []string{"sys/fs/cgroup/user.slice/memory.max", "536870912\n"}, "memory.limit ok 537 MB for all"},
		{"tight", []string{"sys/fs/cgroup/user.slice/memory.max", "33554432\n"}, "memory.limit warning only 34 MB | memory.max"},
	} {
		t.Run(test.name, func(t *testing.T) { check(t, fake(t, with(host, test.more...)).memory(), test.want) })
	}
}

func TestProcfs(t *testing.T) {
	hidden := with(host, "proc/self/mountinfo", strings.Replace(mountinfo, "proc proc rw", "proc proc rw,hidepid=invisible", 1))
	check(t, fake(t, host).procfs(), "proc.mounted ok mounted")
	check(t, fake(t, nil).procfs(), "proc.mounted problem isn't mounted | mount -t proc")
	check(t, fake(t, hidden).procfs(), "proc.hidepid warning hidepid=invisible | remount")
	m := fake(t, hidden)
	m.euid = 0
	check(t, m.procfs(), "proc.hidepid ok hidepid=invisible")
}

func TestWatches(t *testing.T) {
	m := fake(t, with(host, "proc/sys/fs/inotify/max_user_instances", "128\n", "proc/sys/fs/inotify/max_user_watches", "8192\n"))
	check(t, m.watches(), "inotify.watch ok up to 128 instances and 8,192 watches")
	m.inotify = func() error { return unix.EMFILE }
	check(t, m.watches(), "inotify.watch warning too many open files | max_user_instances=512")
}

func TestClocks(t *testing.T) {
	m := fake(t, with(host, "sys/devices/system/clocksource/clocksource0/current_clocksource", "tsc\n"))
	check(t, m.clocks(), "clock.source ok (tsc)")
	good, _ := m.clock()
	m.clock = func() (clockReading, error) { return clockReading{good.wall, 6, 5}, nil }
	check(t, m.clocks(), "clock.source problem backwards")
	m.clock = func() (clockReading, error) { return clockReading{time.Unix(0, 0), 5, 6}, nil }
	check(t, m.clocks(), "clock.source warning 1970 | NTP")
	m = fake(t, with(host, "sys/devices/system/clocksource/clocksource0/current_clocksource", "hpet\n"))
	check(t, m.clocks(), "clock.source warning hpet | tsc")
}

func TestSystemd(t *testing.T) {
	check(t, fake(t, host).systemd(), "systemd.runs ok doesn't run here")
	here := with(host, "run/systemd/system/x", "")
	check(t, fake(t, here).systemd(), "systemd.runs ok isn't a unit of it")

	unit := with(here, "proc/self/cgroup", "0::/system.slice/tend.service\n", "proc/7/cgroup", "0::/system.slice/tend.service\n", "proc/7/environ", "A=b\x00FDSTORE=512\x00")
	m := fake(t, unit)
	m.pid = 7
	m.unit = func(name string, user bool) (map[string]string, error) {
		if name != "tend.service" || user {
			t.Errorf("asks for unit %s, user %v", name, user)
		}
		return map[string]string{"LoadState": "loaded", "KillMode": "control-group", "OOMPolicy": "stop", "FileDescriptorStoreMax": "0"}, nil
	}
	check(t, m.systemd(), "systemd.runs ok in tend.service", "systemd.fdstore ok up to 512",
		"systemd.kill_mode warning at once | KillMode=mixed", "systemd.oom_policy warning takes all down | OOMPolicy=continue")
	m.unit = func(string, bool) (map[string]string, error) {
		return map[string]string{"LoadState": "not-found", "KillMode": "control-group"}, nil
	}
	if got := index(m.systemd()); got["systemd.kill_mode"].ID != "" {
		t.Errorf("the defaults of a unit that isn't there are believed: %s", dump(got))
	}

	for cgroup, want := range map[string]string{
		"0::/user.slice/user-1.slice/user@1.service/app.slice/tend.service\n": "tend.service user",
		"0::/user.slice/user-1.slice/session-3.scope\n":                       " ",
		"0::/system.slice/tend.service/tend-x/tree-web\n":                     "tend.service ",
		"4:memory:/a.service\n1:name=systemd:/system.slice/b.service\n0::/\n": "b.service ",
	} {
		name, user := unitOf(cgroup)
		got := name + " "
		if user {
			got += "user"
		}
		if got != want {
			t.Errorf("unit of %q is %q, want %q", cgroup, got, want)
		}
	}
}

func TestFolders(t *testing.T) {
	for _, test := range []struct {
		name  string
		trial folderTrial
		want  []string
	}{
		{"fine", folderTrial{kind: unix.EXT4_SUPER_MAGIC, free: 50e9}, []string{"state.folder ok /s: ext4, 50 GB free", "state.splice ok works", "logs.folder ok /l: ext4"}},
		{"to be made", folderTrial{at: "/", kind: unix.XFS_SUPER_MAGIC, free: 50e9}, []string{"state.folder ok /s, to be made: xfs"}},
		{"tmpfs", folderTrial{kind: unix.TMPFS_MAGIC, free: 50e6}, []string{"state.folder ok tmpfs", "state.volatile ok after a reboot", "logs.volatile warning gone after a reboot | logs in [tend]"}},
		{"full", folderTrial{kind: unix.EXT4_SUPER_MAGIC, free: 1000}, []string{"state.folder problem 1.0 kB free | make room"}},
		{"nearly", folderTrial{kind: unix.EXT4_SUPER_MAGIC, free: 50e6}, []string{"logs.folder warning 50 MB free | make room"}},
		{"no inodes", folderTrial{kind: unix.EXT4_SUPER_MAGIC, free: 50e9, noFiles: true}, []string{"state.folder problem no more files"}},
		{"refused", folderTrial{write: unix.EROFS}, []string{"state.folder problem cannot write in /s: read-only file system | --state", "logs.folder problem read-only | logs in [tend]"}},
		{"NFS", folderTrial{kind: unix.NFS_SUPER_MAGIC, free: 50e9}, []string{"state.remote warning on NFS"}},
		{"no splice", folderTrial{kind: 0x1234, free: 50e9, splice: unix.EINVAL}, []string{"logs.folder ok file system 0x1234", "logs.splice warning invalid argument"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			m := fake(t, host)
			m.folder = func(dir string) folderTrial {
				trial := test.trial
				if trial.at == "" {
					trial.at = dir
				}
				return trial
			}
			check(t, m.folders(Options{State: "/s", Logs: "/l"}), test.want...)
		})
	}
	m := fake(t, host)
	check(t, m.folders(Options{State: "/s", Logs: "/s/logs"}), "logs.folder ok logs in the state folder: ext4")
	m.folder = func(dir string) folderTrial { return folderTrial{at: dir, write: unix.EACCES} }
	check(t, m.folders(Options{State: "/s", Unasked: "permission denied"}), "state.folder ok not ours to write")
}

func TestLook(t *testing.T) {
	m := fake(t, with(host,
		"proc/50/cmdline", "tend\x00run\x00", "proc/50/status", "VmRSS:\t    1900 kB\n", "proc/40/status", "VmRSS:\t    1000 kB\n",
		"proc/51/environ", "TEND_PROGRAM=web\x00", "proc/51/cgroup", "0::/a/tend-x/tree-web\n", "proc/51/fd/1", "-> pipe:[1]",
		"proc/52/environ", "TEND_PROGRAM=away\x00", "proc/52/cgroup", "0::/a/docker\n", "proc/52/fd/1", "-> /dev/null",
		"proc/53/environ", "A=b\x00", "proc/53/cgroup", "0::/elsewhere\n",
		"proc/54/environ", "TEND_PROGRAM=shell\x00", "proc/54/cgroup", "0::/a/tend-x/tree-shell\n", "proc/54/fd/1", "-> /dev/pts/7"))
	d := &DaemonInfo{PID: 50, GuardPID: 40, Tree: TreeCgroup, Keeper: KeeperGuard,
		Programs: []ProgramInfo{{Name: "web", PID: 51}, {Name: "away", PID: 52}, {Name: "stranger", PID: 53}, {Name: "shell", PID: 54, PTY: true}}}
	m.look(d)
	check(t, m.tend(d, ""), "tend.daemon ok daemon pid 50 (1.9 MB), guard pid 40 (1.0 MB)")
	got := Programs(nil, d)
	want := []api.DoctorProgram{
		{Name: "web", PID: 51, Level: "ok", Stop: "cgroup", Crash: "guard", Status: "guard", Output: "complete"},
		{Name: "away", PID: 52, Level: "warning", Stop: "group", Crash: "guard", Status: "guard", Output: "direct",
			Differs: "it left its cgroup: what it starts from now on may outlive a stop", Hint: "let it stay in the cgroup that it is started in"},
		{Name: "stranger", PID: 53, Level: "ok", Stop: "cgroup", Crash: "guard", Status: "guard", Output: "complete"},
		{Name: "shell", PID: 54, Level: "ok", Stop: "cgroup", Crash: "guard", Status: "guard", Output: "complete"},
	}
	if !slices.Equal(got, want) {
		t.Errorf("programs are\n%s, want\n%s", dump(got), dump(want))
	}
	// Without a keeper a terminal is gone with the daemon.
	d.Keeper, d.Programs = KeeperNone, []ProgramInfo{{Name: "web", PID: 51}, {Name: "shell", PID: 54, PTY: true}}
	if got := Programs(nil, d); got[0].Crash != "identity" || got[0].Differs != "" || got[1].Crash != "hang-up" || !strings.Contains(got[1].Differs, "hangs it up") || got[1].Hint == "" || got[1].Level != "warning" {
		t.Errorf("without a keeper: %s", dump(got))
	}
	// A pid of another namespace: what it is here isn't a tend.
	m = fake(t, with(host, "proc/1/cmdline", "/sbin/init\x00"))
	m.look(&DaemonInfo{PID: 1})
	if m.pid != 0 {
		t.Error("any process with the pid is taken for the daemon")
	}
}

func TestGuarantees(t *testing.T) {
	has := func(ids ...string) (list []api.Finding) {
		for _, id := range ids {
			list = append(list, ok("", id, "", "").Finding)
		}
		return list
	}
	all := append(has("cgroup.make", "cgroup.kill", "kernel.subreaper", "kernel.pidfs", "kernel.exit_info", "logs.splice"),
		api.Finding{ID: "descriptors.limit", Area: "descriptors", Level: "ok", Value: 1900},
		api.Finding{ID: "processes.room", Area: "processes", Level: "ok", Value: 30000})
	without := func(id string) []api.Finding {
		return slices.DeleteFunc(slices.Clone(all), func(f api.Finding) bool { return f.ID == id })
	}
	noSplice := append(without("logs.splice"), warning("logs", "logs.splice", "splice doesn't work there", "", "").Finding)
	killMode := append(slices.Clone(all), warning("systemd", "systemd.kill_mode", "KillMode is control-group", "", "").Finding)
	for _, test := range []struct {
		name     string
		findings []api.Finding
		daemon   *DaemonInfo
		want     string // answers, with ! or x where a level is a warning or a problem
	}{
		{"the best", all, nil, "cgroup guard guard complete 1900"},
		{"no cgroup", without("cgroup.make"), nil, "subreaper! guard guard complete 1900"},
		{"nothing", nil, nil, "groupx guard guard complete unlimited"},
		{"the daemon knows better", all, &DaemonInfo{Tree: TreeSubreaper, Keeper: KeeperGuard}, "subreaper! guard guard complete 1900"},
		{"no guard", all, &DaemonInfo{Tree: TreeCgroup, Keeper: KeeperNone}, "cgroup identity! unknown! tail! 1900"},
		{"a silent daemon", all, &DaemonInfo{}, "cgroup identity! unknown! tail! 1900"},
		{"descriptor store", all, &DaemonInfo{Keeper: KeeperFDStore}, "cgroup fdstore kernel complete 1900"},
		{"descriptor store, old kernel", without("kernel.exit_info"), &DaemonInfo{Keeper: KeeperFDStore}, "cgroup fdstore unknown! complete 1900"},
		{"descriptor store, killed", killMode, &DaemonInfo{Keeper: KeeperFDStore}, "cgroup fdstore! kernel complete 1900"},
		{"no splice", noSplice, nil, "cgroup guard guard tail! 1900"},
		{"crowded", all, &DaemonInfo{Keeper: KeeperGuard, Instances: 1000}, "cgroup guard guard complete 1900!"},
		{"overfull", all, &DaemonInfo{Keeper: KeeperGuard, Instances: 2000}, "cgroup guard guard complete 1900x"},
	} {
		t.Run(test.name, func(t *testing.T) {
			var got []string
			for _, g := range Guarantees(test.findings, test.daemon) {
				got = append(got, g.Answer+map[string]string{"ok": "", "warning": "!", "problem": "x"}[g.Level])
				if g.Level != api.LevelOK && (g.Why == "" && g.ID != api.GuaranteeRoom || g.Hint == "") {
					t.Errorf("a weakness without why or what to do: %s", dump(g))
				}
				if g.Name == "" || g.Text == "" {
					t.Errorf("without words: %s", dump(g))
				}
			}
			if s := strings.Join(got, " "); s != test.want {
				t.Errorf("got %s, want %s", s, test.want)
			}
		})
	}
	// Programs are known by what there is, and pidfs is older than its handles.
	for want, findings := range map[string][]api.Finding{"numbers in pidfs": all, "pid, start time and boot": without("kernel.pidfs")} {
		if g := Guarantees(findings, nil)[1]; g.ID != api.GuaranteeCrash || !strings.Contains(g.Why, want) {
			t.Errorf("programs aren't known by %s: %s", want, dump(g))
		}
	}
}

// TestHere looks at this machine, whatever it is: all trials come to an end, and
// leave nothing.
func TestHere(t *testing.T) {
	dir := t.TempDir()
	d := Examine(Options{State: filepath.Join(dir, "state"), Logs: dir})
	ids := make(map[string]bool)
	areas := make(map[string]bool)
	for _, f := range d.Findings {
		if ids[f.ID] {
			t.Errorf("two findings %s", f.ID)
		}
		ids[f.ID], areas[f.Area] = true, true
		if !strings.HasPrefix(f.ID, f.Area+".") || f.Title == "" || !slices.Contains([]string{"ok", "warning", "problem"}, f.Level) {
			t.Errorf("a finding that isn't one: %s", dump(f))
		}
		if f.Level == api.LevelProblem && f.Hint == "" {
			t.Errorf("a problem without what to do: %s", dump(f))
		}
	}
	for _, area := range []string{"tend", "kernel", "container", "user", "cgroup", "descriptors", "processes", "memory", "proc", "inotify", "clock", "systemd", "state", "logs"} {
		if !areas[area] {
			t.Errorf("nothing about %s", area)
		}
	}
	if len(d.Guarantees) != 5 || d.Programs == nil {
		t.Errorf("%d guarantees, programs %v", len(d.Guarantees), d.Programs)
	}
	if left, _ := os.ReadDir(dir); len(left) > 0 {
		t.Errorf("left in a folder: %v", left)
	}
	if own, err := thisMachine().ownCgroup(); err == nil {
		if left, _ := filepath.Glob(own + "/tend-doctor-*"); len(left) > 0 {
			t.Errorf("left cgroups: %v", left)
		}
	}
	if _, err := unix.Wait4(-1, nil, unix.WNOHANG, nil); err != unix.ECHILD {
		t.Errorf("left a child: %v", err)
	}
}

func TestChild(t *testing.T) {
	for _, status := range []int{0, 7, 255} {
		c, err := startChild(status)
		if err != nil {
			t.Fatal(err)
		}
		ws, err := c.end()
		c.close()
		if err != nil || ws.ExitStatus() != status {
			t.Errorf("a child of status %d ended with %d: %v", status, ws.ExitStatus(), err)
		}
	}
}

func TestNumbers(t *testing.T) {
	for n, want := range map[int64]string{0: "0", 999: "999", 1000: "1,000", 1234567: "1,234,567", -100: "-100", -1000: "-1,000"} {
		if got := thousands(n); got != want {
			t.Errorf("thousands(%d) is %s", n, got)
		}
	}
	for n, want := range map[int64]string{0: "0 programs", 1: "1 program", 99: "99 programs", 1984: "about 1,900 programs", 262080: "about 260,000 programs", unlimited: "any number of programs"} {
		if got := about(n); got != want {
			t.Errorf("about(%d) is %s", n, got)
		}
	}
}

package cli

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tend/api"
)

// healthy is what is found where all is well.
func healthy() *api.Doctor {
	ok := func(area, title string) api.Finding {
		return api.Finding{ID: area + ".x", Area: area, Level: api.LevelOK, Title: title, Detail: "an aside", Value: 1}
	}
	return &api.Doctor{
		Findings: []api.Finding{
			ok("tend", "daemon pid 812 (6.1 MB), guard pid 811 (1.9 MB)"),
			ok("kernel", "Linux 6.18: all that tend uses is there"),
			{ID: "kernel.y", Area: "kernel", Level: api.LevelOK, Title: "pidfs"},
			ok("cgroup", "v2 can be written"), ok("memory", "enough"), ok("clock", "runs"), ok("state", ".tend: ext4, 85 GB free"),
		},
		Guarantees: []api.Guarantee{
			{ID: api.GuaranteeStop, Level: api.LevelOK, Answer: "cgroup", Text: "each program is a cgroup: stopped means empty, nothing gets out"},
			{ID: api.GuaranteeRoom, Level: api.LevelOK, Answer: "1900", Text: "about 1,900 programs fit, by descriptors", Why: "4,096 for tend"},
		},
		Programs: []api.DoctorProgram{
			{Name: "web", PID: 41207, Level: api.LevelOK, Stop: "cgroup", Crash: "guard", Status: "guard", Output: "complete"},
			{Name: "queue:0", PID: 41209, Level: api.LevelOK, Stop: "cgroup", Crash: "guard", Status: "guard", Output: "complete"},
		},
	}
}

// sick is what is found where something is wrong.
func sick() *api.Doctor {
	d := healthy()
	d.Findings = append(d.Findings,
		api.Finding{ID: "cgroup.make", Area: "cgroup", Level: api.LevelWarning, Title: "no cgroup can be made in it: permission denied", Hint: "systemd-run --user --scope -p Delegate=yes tend run"},
		api.Finding{ID: "state.folder", Area: "state", Level: api.LevelProblem, Title: "cannot write in \x1b[2J.tend: read-only file system", Detail: "nothing can be kept", Hint: "name another one: --state, $TEND_STATE, or state in [tend]"})
	d.Guarantees[0] = api.Guarantee{ID: api.GuaranteeStop, Level: api.LevelWarning, Answer: "subreaper", Text: "orphans come to tend and are known by session, group and mark",
		Why: "what leaves its session, loses its parent and clears its environment, all unseen, isn't found", Hint: d.Findings[7].Hint}
	d.Programs[1].Level, d.Programs[1].Differs, d.Programs[1].Hint = api.LevelWarning, "it left its cgroup", "let it stay"
	return d
}

func TestDoctor(t *testing.T) {
	for _, test := range []struct {
		name    string
		doctor  *api.Doctor
		columns int
		color   bool
		status  int
		args    []string
	}{
		{"doctor-80", healthy(), 80, false, 0, nil},
		{"doctor-all", healthy(), 80, false, 0, []string{"--all"}},
		{"doctor-sick-80", sick(), 80, false, exitFailed, nil},
		{"doctor-sick-pipe", sick(), pipe, false, exitFailed, nil},
		{"doctor-sick-color", sick(), 120, true, exitFailed, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := newCall(t, &world{}, test.columns, test.color)
			c.app.deps.Doctor = func(DoctorOptions) *api.Doctor { return test.doctor }
			if got := c.run(append([]string{"doctor"}, test.args...)...); got != test.status {
				t.Errorf("exits with %d, want %d", got, test.status)
			}
			for line := range strings.Lines(c.out.String()) {
				if n := width(sgr.ReplaceAllString(strings.TrimSuffix(line, "\n"), "")); test.columns > 0 && n > test.columns {
					t.Errorf("a line of %d columns: %q", n, line)
				}
			}
			golden(t, test.name, c.out.String())
		})
	}
}

func TestDoctorJSON(t *testing.T) {
	c := newCall(t, &world{}, pipe, false)
	c.app.deps.Doctor = func(DoctorOptions) *api.Doctor { return sick() }
	if got := c.run("doctor", "--json"); got != exitFailed {
		t.Errorf("exits with %d, want %d", got, exitFailed)
	}
	var got api.Doctor
	if err := json.Unmarshal([]byte(c.out.String()), &got); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(sick(), &got); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
}

// What the daemon says goes to the probes; that it says nothing is no failure.
func TestDoctorOptions(t *testing.T) {
	dir := t.TempDir()
	ask := func(w *world) (o DoctorOptions) {
		t.Helper()
		c := newCall(t, w, pipe, false)
		c.app.deps.Doctor = func(got DoctorOptions) *api.Doctor { o = got; return &api.Doctor{} }
		if got := c.run("doctor", "--state", dir); got != 0 {
			t.Errorf("exits with %d: %s", got, c.err)
		}
		return o
	}
	if o := ask(&world{}); o.Daemon != nil || o.Unasked != "" || o.State != dir || o.Logs != filepath.Join(dir, "logs") {
		t.Errorf("without a daemon: %+v", o)
	}
	denied := &os.SyscallError{Syscall: "connect", Err: syscall.EACCES}
	if o := ask(&world{daemon: func() (*api.Daemon, error) { return nil, denied }}); o.Unasked != "permission denied" {
		t.Errorf("with one that can't be asked: %+v", o)
	}
	lives := &world{list: has(programs()), daemon: func() (*api.Daemon, error) {
		return &api.Daemon{PID: 812, State: dir, Logs: "/logs", Tree: "cgroup"}, nil
	}}
	if o := ask(lives); o.Daemon == nil || o.Logs != "/logs" || len(o.Instances) != len(programs()) {
		t.Errorf("with a daemon: %+v", o)
	}
	lives.list = func() ([]api.Instance, error) { return nil, errors.New("it hangs") }
	if o := ask(lives); o.Daemon != nil || o.Unasked != "it hangs" {
		t.Errorf("with one that answers by half: %+v", o)
	}
}

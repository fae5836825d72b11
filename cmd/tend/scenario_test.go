package main

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestScenario drives the real supervisord and tend through the same deaths, and
// compares what became of each process, by the lines of the log that tell of its
// states, and the answers to the same calls.
//
// Supervisord may notice an end up to a second late. So nothing here ends within
// a second of the time at which another end would be another one.
func TestScenario(t *testing.T) {
	if testing.Short() {
		t.Skip("takes its time, beside the real supervisord")
	}
	t.Parallel()
	config := servers + `
[program:steady]
command = sleep 1000
[program:once]
command = sh -c "sleep 3; exit 0"
[program:oncebad]
command = sh -c "sleep 3; exit 3"
autorestart = false
[program:listed]
command = sh -c "sleep 3; exit 3"
exitcodes = 3,4
[program:always]
command = sh -c "echo x >>%(here)s/always; test $(wc -l <%(here)s/always) -ge 2 && exec sleep 1000; sleep 3; exit 0"
autorestart = true
[program:unexpected]
command = sh -c "echo x >>%(here)s/unexpected; test $(wc -l <%(here)s/unexpected) -ge 2 && exec sleep 1000; sleep 3; exit 5"
[program:killed]
command = sleep 1000
[program:killednever]
command = sleep 1000
autorestart = false
[program:fatal]
command = sh -c "exit 1"
startsecs = 4
startretries = 1
[program:fatalnever]
command = sh -c "exit 0"
startsecs = 4
startretries = 1
autorestart = false
[program:fatalone]
command = sh -c "exit 0"
startsecs = 4
startretries = 0
[program:zero]
command = sh -c "sleep 1.5; exit 0"
startsecs = 0
autorestart = unexpected
[program:missing]
command = /no/such/program
startretries = 1
[program:folder]
command = /tmp
startretries = 0
[program:plain]
command = %(here)s/supervisord.conf
startretries = 0
[program:badquote]
command = sh -c "exit
startretries = 0
[program:deaf]
command = sh -c "trap '' TERM; while :; do sleep 0.2; done"
stopwaitsecs = 2
[program:polite]
command = sh -c "trap 'exit 0' TERM; sleep 1000 & wait"
[program:rude]
command = sh -c "trap 'exit 9' TERM; sleep 1000 & wait"
[program:hup]
command = sleep 1000
stopsignal = HUP
[program:asgroup]
command = sh -c "sleep 1001 & echo $! >%(here)s/asgroup.pid; wait"
stopasgroup = true
[program:alone]
command = sh -c "sleep 1002 & echo $! >%(here)s/alone.pid; wait"
[program:killgroup]
command = sh -c "trap '' TERM; sleep 1003 & echo $! >%(here)s/killgroup.pid; while :; do sleep 0.2; done"
killasgroup = true
stopwaitsecs = 1
[program:backoff]
command = sh -c "exit 1"
startsecs = 4
startretries = 10
[program:nums]
command = sleep 1000
process_name = %(program_name)s_%(process_num)02d
numprocs = 2
[program:one]
command = sleep 1000
[program:two]
command = sleep 1000
[group:grp]
programs = two,one
[program:manual]
command = sleep 1000
autostart = false
`
	names := []string{"steady", "once", "oncebad", "listed", "always", "unexpected", "killed", "killednever", "fatal", "fatalnever", "fatalone",
		"zero", "missing", "folder", "plain", "badquote", "deaf", "polite", "rude", "hup", "asgroup", "alone", "killgroup", "backoff",
		"nums_00", "nums_01", "one", "two", "manual", "added"}
	theirs, ours, both := side(t, config)
	same := func(method string, params ...any) {
		t.Helper()
		compare(t, theirs, both, fmt.Sprint(method, params), func(p *peer) string { return p.call(method, params...) })
	}
	up := func(names ...string) (lines []string) {
		for _, name := range names {
			lines = append(lines, "success: "+name+" entered RUNNING")
		}
		return lines
	}

	// Deaths by themselves. backoff waits for three seconds after its third attempt.
	both(func(p *peer) {
		p.await("exited: backoff ", "exited: backoff ", "exited: backoff ")
		p.call("supervisor.stopProcess", "backoff")
	})
	both(func(p *peer) {
		p.await(up("steady", "killed", "killednever", "deaf", "polite", "rude", "hup", "asgroup", "alone", "killgroup", "nums_00", "nums_01", "one", "two", "zero")...)
		p.await("exited: once ", "exited: oncebad ", "exited: listed ", "exited: zero ")
		p.await("gave up: fatal ", "gave up: fatalnever ", "gave up: fatalone ", "gave up: missing ", "gave up: folder ", "gave up: plain ", "gave up: badquote ")
		p.await(append(up("always", "unexpected"), up("always", "unexpected")...)...)
	})

	// By somebody else.
	both(func(p *peer) {
		p.kill("killed", syscall.SIGKILL)
		p.kill("killednever", syscall.SIGUSR1)
		p.await("exited: killednever ", "success: killed ", "success: killed ")
	})

	// By command, one after the other and in groups.
	for _, name := range []string{"deaf", "polite", "rude", "hup", "asgroup", "alone", "killgroup", "nums:nums_00", "steady"} {
		same("supervisor.stopProcess", name)
	}
	gone := func(name string, within time.Duration) func(*peer) string {
		return func(p *peer) string {
			text, err := os.ReadFile(filepath.Join(p.dir, name+".pid"))
			if err != nil {
				p.t.Error(err)
				return ""
			}
			pid, _ := strconv.Atoi(strings.TrimSpace(string(text)))
			fd, err := unix.PidfdOpen(pid, 0)
			if err != nil {
				return "its child is gone"
			}
			defer unix.Close(fd)
			for {
				n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(within.Milliseconds()))
				if err != unix.EINTR {
					return map[bool]string{true: "its child is gone", false: "its child is there"}[n > 0]
				}
			}
		}
	}
	compare(t, theirs, both, "stopasgroup", gone("asgroup", patience)) // the signal has been sent
	compare(t, theirs, both, "no stopasgroup", gone("alone", 0))
	compare(t, theirs, both, "killasgroup", gone("killgroup", patience))
	same("supervisor.stopProcess", "steady")
	same("supervisor.stopProcess", "fatal")
	same("supervisor.startProcess", "manual")
	same("supervisor.startProcess", "manual")
	same("supervisor.startProcess", "grp:one")
	same("supervisor.startProcess", "fatalone")
	same("supervisor.startProcess", "missing")
	same("supervisor.startProcess", "missing", false)
	same("supervisor.startProcess", "badquote")
	same("supervisor.startProcess", "nope")
	same("supervisor.startProcess", "one")
	same("supervisor.startProcess", "steady", false)
	both(func(p *peer) { p.await(up("steady", "steady")...) })
	same("supervisor.signalProcess", "manual", "CONT")
	same("supervisor.signalProcess", "deaf", "TERM")
	same("supervisor.stopProcessGroup", "grp")
	same("supervisor.startProcessGroup", "grp")
	same("supervisor.startProcess", "nums:*")

	// Changed files: reread, and what update does with it.
	both(func(p *peer) {
		next := strings.Replace(config, "[program:manual]\ncommand = sleep 1000\nautostart = false\n", "[program:added]\ncommand = sleep 1000\n", 1)
		p.write("supervisord.conf", strings.Replace(next, "[program:steady]\ncommand = sleep 1000", "[program:steady]\ncommand = sleep 1001", 1))
	})
	same("supervisor.reloadConfig")
	same("supervisor.removeProcessGroup", "manual")
	same("supervisor.stopProcessGroup", "manual")
	same("supervisor.removeProcessGroup", "manual")
	same("supervisor.startProcess", "manual")
	same("supervisor.addProcessGroup", "added")
	same("supervisor.addProcessGroup", "added")
	same("supervisor.stopProcessGroup", "steady")
	same("supervisor.removeProcessGroup", "steady")
	same("supervisor.addProcessGroup", "steady")
	same("supervisor.reloadConfig")
	both(func(p *peer) {
		p.await(append(up("steady", "steady", "steady"), up("added")...)...)
		p.write("supervisord.conf", config+"autorestart = perhaps\n")
	})
	same("supervisor.reloadConfig")
	for _, name := range names {
		if name != "manual" && name != "backoff" {
			spec := map[string]string{"one": "grp:one", "two": "grp:two", "nums_00": "nums:nums_00", "nums_01": "nums:nums_01"}[name]
			if spec == "" {
				spec = name
			}
			same("supervisor.getProcessInfo", spec)
		}
	}
	// All that was to come has come before what was awaited last.
	want, got := theirs.lifes(names...), ours.lifes(names...)
	for _, name := range slices.Sorted(maps.Keys(want)) {
		if !slices.Equal(want[name], got[name]) {
			t.Errorf("%s:\nsupervisord:\n\t%s\ntend:\n\t%s", name, strings.Join(want[name], "\n\t"), strings.Join(got[name], "\n\t"))
		}
	}
	if len(want) < len(names) {
		t.Errorf("of %d programs only these are in the log: %q", len(names), slices.Sorted(maps.Keys(want)))
	}
}

// TestOrder compares the order in which groups are started and stopped, by HUP and
// at the end.
func TestOrder(t *testing.T) {
	if testing.Short() {
		t.Skip("takes its time, beside the real supervisord")
	}
	t.Parallel()
	const slow = `command = sh -c "trap 'sleep 0.3; exit 0' TERM; sleep 1000 & wait"` + "\n"
	config := servers + "[program:early]\n" + slow + "priority = 1\n[program:late]\n" + slow + "priority = 900\n[program:b]\n" + slow +
		"priority = 20\n[program:a]\n" + slow + "priority = 10\n[group:pair]\nprograms = a,b\npriority = 500\n"
	theirs, ours, both := side(t, config)
	names := []string{"early", "late", "a", "b"}
	success := func(n int) (lines []string) {
		for _, name := range names {
			lines = append(lines, slices.Repeat([]string{"success: " + name + " "}, n)...)
		}
		return lines
	}
	both(func(p *peer) {
		p.await(success(1)...)
		_ = p.cmd.Process.Signal(syscall.SIGHUP)
		p.await(success(2)...)
		p.stop(syscall.SIGTERM)
	})
	order := func(p *peer) (list []string) {
		for _, line := range p.lines {
			line = p.mask(line)
			switch {
			case strings.Contains(line, "received SIG"), strings.Contains(line, "supervisord started"):
				list = append(list, line)
			case strings.Contains(line, "stopped: "):
				// The two of a group end in any order.
				list = append(list, strings.NewReplacer(": a (", ": pair (", ": b (", ": pair (").Replace(line))
			case strings.Contains(line, "spawned: "):
				list = append(list, line)
			}
		}
		return list
	}
	if want, got := order(theirs), order(ours); !slices.Equal(want, got) {
		t.Errorf("supervisord:\n\t%s\ntend:\n\t%s", strings.Join(want, "\n\t"), strings.Join(got, "\n\t"))
	}
}

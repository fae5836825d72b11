package supervisorctl

import (
	"slices"
	"strings"
	"unicode/utf8"

	"tend/internal/xmlrpc"
)

// The states of supervisord that status counts as not running, and the one that
// fg needs.
const (
	stateStopped = 0
	stateRunning = 20
	stateExited  = 100
	stateFatal   = 200
	stateUnknown = 1000
)

func (s *session) showStatus(arg string) error {
	if ok, err := s.up(); !ok {
		if err == nil {
			s.status = exitUnknown
		}
		return err
	}
	all, err := s.processes()
	if err != nil {
		return err
	}
	shown := all
	if names := strings.Fields(arg); len(names) > 0 && !slices.Contains(names, "all") {
		shown = nil
		for _, text := range names {
			n, found := parseName(text), false
			for _, p := range all {
				if p.group == n.group && (n.whole || p.process == n.process) {
					shown, found = append(shown, p), true
				}
			}
			if !found {
				if n.whole {
					s.say("%s: ERROR (no such group)", n.group)
				} else {
					s.say("%s: ERROR (no such process)", text)
				}
				s.status = exitUnknown
			}
		}
	}
	width := 30
	for _, p := range shown {
		width = max(width, utf8.RuneCountInString(p.String()))
	}
	for _, p := range shown {
		s.say("%-*s%-10s%s", width+3, p.String(), p.statename, p.description)
	}
	for _, p := range shown {
		switch p.state {
		case stateStopped, stateExited, stateFatal, stateUnknown:
			s.status = exitSomeNotRunning
		}
	}
	return nil
}

func (s *session) showPID(arg string) error {
	if ok, err := s.up(); !ok {
		return err
	}
	names := strings.Fields(arg)
	switch {
	case len(names) == 0:
		pid, err := s.call("getPID")
		if err != nil {
			return err
		}
		s.say("%v", pid)
	case slices.Contains(names, "all"):
		all, err := s.processes()
		if err != nil {
			return err
		}
		for _, p := range all {
			s.say("%d", p.pid)
		}
	default:
		for _, name := range names {
			p, err := s.process(name)
			switch {
			case faultCode(err) == xmlrpc.BadName:
				s.fail("No such process %s", name)
			case err != nil:
				return err
			default:
				s.say("%d", p.pid)
				if p.pid == 0 {
					s.status = exitNotRunning
				}
			}
		}
	}
	return nil
}

// A verb is what start, stop and signal have in common: one method for a
// process, one for a group, one for all, and words for the outcomes.
type verb struct {
	one, group, all string         // methods
	done            string         // "started"
	faults          map[int]string // what is said of those that are expected
	ignored         int            // the fault that isn't a failure
	noGroup         int            // exit status for an unknown group
}

// quoted stands for a fault whose text is shown as it is.
const quoted = "\x00"

var (
	starting = verb{"startProcess", "startProcessGroup", "startAllProcesses", "started", map[int]string{
		xmlrpc.BadName: "no such process", xmlrpc.NoFile: "no such file", xmlrpc.NotExecutable: "file is not executable",
		xmlrpc.AlreadyStarted: "already started", xmlrpc.SpawnError: "spawn error", xmlrpc.AbnormalTermination: "abnormal termination",
	}, xmlrpc.AlreadyStarted, exitUsage}
	stopping = verb{"stopProcess", "stopProcessGroup", "stopAllProcesses", "stopped", map[int]string{
		xmlrpc.BadName: "no such process", xmlrpc.BadSignal: "bad signal name", xmlrpc.NotRunning: "not running", xmlrpc.Failed: quoted,
	}, xmlrpc.NotRunning, exitFailed}
	signalling = verb{"signalProcess", "signalProcessGroup", "signalAllProcesses", "signalled", stopping.faults, 0, exitFailed}
	clearing   = verb{"clearProcessLogs", "", "clearAllProcessLogs", "cleared", map[int]string{
		xmlrpc.BadName: "no such process", xmlrpc.Failed: "failed",
	}, 0, exitFailed}
)

// carry out a verb for each name, the last parameters being params.
func (s *session) carryOut(v verb, names []string, params ...any) error {
	if slices.Contains(names, "all") {
		list, err := s.results(v.all, params...)
		if err != nil {
			return err
		}
		return s.outcomes(v, list)
	}
	for _, text := range names {
		n := parseName(text)
		var list []result
		if n.whole && v.group != "" {
			var err error
			list, err = s.results(v.group, append([]any{n.group}, params...)...)
			switch {
			case faultCode(err) == xmlrpc.BadName:
				s.say("%s: ERROR (no such group)", n.group)
				s.status = v.noGroup
				continue
			case err != nil:
				return err
			}
		} else {
			if n.whole {
				n.process = "None" // what Python makes of no name
			}
			_, err := s.call(v.one, append([]any{text}, params...)...)
			switch fault := asFault(err); {
			case fault != nil:
				list = []result{{n, fault.Code, fault.Text}}
			case err != nil:
				return err
			default:
				list = []result{{n, xmlrpc.Success, ""}}
			}
		}
		if err := s.outcomes(v, list); err != nil {
			return err
		}
	}
	return nil
}

// outcomes says what came of each process.
func (s *session) outcomes(v verb, list []result) error {
	for _, r := range list {
		words, known := v.faults[r.status]
		switch {
		case r.status == xmlrpc.Success:
			s.say("%s: %s", r, v.done)
		case !known:
			return valueError("Unknown result code %d for %s", r.status, r)
		case words == quoted:
			s.say("%s", r.description)
		default:
			s.say("%s: ERROR (%s)", r, words)
		}
		s.failedWith(r.status, v.ignored)
	}
	return nil
}

func (s *session) start(arg string) error {
	names, err := s.namesFor("start", arg)
	if len(names) == 0 || err != nil {
		return err
	}
	return s.carryOut(starting, names)
}

func (s *session) stop(arg string) error {
	names, err := s.namesFor("stop", arg)
	if len(names) == 0 || err != nil {
		return err
	}
	return s.carryOut(stopping, names)
}

// restart is stop and start, each as if it had been typed.
func (s *session) restart(arg string) error {
	names, err := s.namesFor("restart", arg)
	if len(names) == 0 || err != nil {
		return err
	}
	if err := s.stop(arg); err != nil {
		return err
	}
	return s.start(arg)
}

func (s *session) clear(arg string) error {
	names, err := s.namesFor("clear", arg)
	if len(names) == 0 || err != nil {
		return err
	}
	return s.carryOut(clearing, names)
}

func (s *session) signal(arg string) error {
	if ok, err := s.up(); !ok {
		return err
	}
	args := strings.Fields(arg)
	if len(args) < 2 {
		s.fail("Error: signal requires a signal name and a process name")
		s.helpFor("signal")
		return nil
	}
	return s.carryOut(signalling, args[1:], args[0])
}

// namesFor checks that there is a daemon and that the action has names, and
// returns them. Without any, it has said why.
func (s *session) namesFor(action, arg string) ([]string, error) {
	if ok, err := s.up(); !ok {
		return nil, err
	}
	names := strings.Fields(arg)
	if len(names) == 0 {
		s.fail("Error: %s requires a process name", action)
		if action == "start" {
			s.status = exitUsage // it alone makes that difference
		}
		s.helpFor(action)
	}
	return names, nil
}

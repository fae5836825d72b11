package supervisorctl

import (
	"strings"

	"tend/internal/xmlrpc"
)

// An action does what a line says. arg is what stands behind its name. The error
// is one that the action doesn't expect and that is shown as Python's; whatever
// else is wrong, it says, and sets the exit status.
type action func(s *session, arg string) (quit bool, err error)

// actions are all that there are. It is filled late, because some of them carry
// out others.
var actions map[string]action

func init() {
	leave := func(s *session, _ string) (bool, error) {
		s.say("")
		return true, nil
	}
	actions = map[string]action{
		"EOF": leave, "exit": leave, "quit": leave,
		"help": (*session).help,

		"status": stay((*session).showStatus), "pid": stay((*session).showPID),
		"start": stay((*session).start), "stop": stay((*session).stop), "restart": stay((*session).restart),
		"signal": stay((*session).signal), "clear": stay((*session).clear),

		"avail": stay((*session).avail), "reread": stay((*session).reread), "update": stay((*session).update),
		"add": stay((*session).add), "remove": stay((*session).remove),

		"tail": stay((*session).tail), "maintail": stay((*session).mainTail), "fg": stay((*session).foreground),

		"shutdown": stay((*session).shutdown), "reload": stay((*session).reload),
		"version": stay((*session).showVersion), "open": stay((*session).open),
	}
}

// stay makes an action after which the shell goes on.
func stay(do func(*session, string) error) action {
	return func(s *session, arg string) (bool, error) { return false, do(s, arg) }
}

// help shows the text of one action, or their list.
func (s *session) help(arg string) (bool, error) {
	text, known := helpTexts[arg]
	switch {
	case arg == "":
		text = actionList
	case !known:
		text = "*** No help on " + arg
	}
	s.say("%s", text)
	return false, nil
}

// helpFor shows the text of an action that was used in a wrong way.
func (s *session) helpFor(action string) { s.say("%s", helpTexts[action]) }

// refuse says that an action takes no arguments, if there are some.
func (s *session) refuse(action, arg string) bool {
	if arg == "" {
		return false
	}
	s.fail("Error: %s accepts no arguments", action)
	s.helpFor(action)
	return true
}

// actionList is what Python's shell makes of the names of the actions, in
// columns for 79 characters.
const actionList = `
default commands (type help <topic>):
=====================================
add    exit      open  reload  restart   start   tail   
avail  fg        pid   remove  shutdown  status  update 
clear  maintail  quit  reread  signal    stop    version
`

var helpTexts = map[string]string{
	"help": "help\t\tPrint a list of available actions\n" +
		"help <action>\tPrint help for <action>",
	"add":   "add <name> [...]\tActivates any updates in config for process/group",
	"avail": "avail\t\t\tDisplay all configured processes",
	"clear": "clear <name>\t\tClear a process' log files.\n" +
		"clear <name> <name>\tClear multiple process' log files\n" +
		"clear all\t\tClear all process' log files",
	"exit": "exit\tExit the supervisor shell.",
	"fg": "fg <process>\tConnect to a process in foreground mode\n" +
		"\t\tCtrl-C to exit",
	"maintail": "maintail -f \tContinuous tail of supervisor main log file (Ctrl-C to exit)\n" +
		"maintail -100\tlast 100 *bytes* of supervisord main log file\n" +
		"maintail\tlast 1600 *bytes* of supervisor main log file\n",
	"open": "open <url>\tConnect to a remote supervisord process.\n" +
		"\t\t(for UNIX domain socket, use unix:///socket/path)",
	"pid": "pid\t\t\tGet the PID of supervisord.\n" +
		"pid <name>\t\tGet the PID of a single child process by name.\n" +
		"pid all\t\t\tGet the PID of every child process, one per line.",
	"quit":   "quit\tExit the supervisor shell.",
	"reload": "reload \t\tRestart the remote supervisord.",
	"remove": "remove <name> [...]\tRemoves process/group from active config",
	"reread": "reread \t\t\tReload the daemon's configuration files without add/remove",
	"restart": "restart <name>\t\tRestart a process\n" +
		"restart <gname>:*\tRestart all processes in a group\n" +
		"restart <name> <name>\tRestart multiple processes or groups\n" +
		"restart all\t\tRestart all processes\n" +
		"Note: restart does not reread config files. For that, see reread and update.",
	"shutdown": "shutdown \tShut the remote supervisord down.",
	"signal": "signal <signal name> <name>\t\tSignal a process\n" +
		"signal <signal name> <gname>:*\t\tSignal all processes in a group\n" +
		"signal <signal name> <name> <name>\tSignal multiple processes or groups\n" +
		"signal <signal name> all\t\tSignal all processes",
	"start": "start <name>\t\tStart a process\n" +
		"start <gname>:*\t\tStart all processes in a group\n" +
		"start <name> <name>\tStart multiple processes or groups\n" +
		"start all\t\tStart all processes",
	"status": "status <name>\t\tGet status for a single process\n" +
		"status <gname>:*\tGet status for all processes in a group\n" +
		"status <name> <name>\tGet status for multiple named processes\n" +
		"status\t\t\tGet all process status info",
	"stop": "stop <name>\t\tStop a process\n" +
		"stop <gname>:*\t\tStop all processes in a group\n" +
		"stop <name> <name>\tStop multiple processes or groups\n" +
		"stop all\t\tStop all processes",
	"tail": "tail [-f] <name> [stdout|stderr] (default stdout)\n" +
		"Ex:\n" +
		"tail -f <name>\t\tContinuous tail of named process stdout\n" +
		"\t\t\tCtrl-C to exit.\n" +
		"tail -100 <name>\tlast 100 *bytes* of process stdout\n" +
		"tail <name> stderr\tlast 1600 *bytes* of process stderr",
	"update": "update\t\t\tReload config and add/remove as necessary, and will restart affected programs\n" +
		"update all\t\tReload config and add/remove as necessary, and will restart affected programs\n" +
		"update <gname> [...]\tUpdate specific groups",
	"version": "version\t\t\tShow the version of the remote supervisord process",
}

// A name is what a user calls a process, or all of a group.
type name struct {
	group, process string
	whole          bool // group:* or group:
}

func parseName(text string) name {
	group, process, found := strings.Cut(text, ":")
	if !found {
		return name{group: text, process: text}
	}
	return name{group: group, process: process, whole: process == "" || process == "*"}
}

// String returns the shortest form: a process that is called like its group
// needs the group not.
func (n name) String() string {
	if n.group == n.process {
		return n.process
	}
	return n.group + ":" + n.process
}

// process is what actions use of getProcessInfo.
type process struct {
	name
	pid, state             int
	statename, description string
}

// result is one of a list with the outcome for each process.
type result struct {
	name
	status      int
	description string
}

// members reads the members of a struct; bad becomes true where one isn't there
// or of another type.
type members struct {
	xmlrpc.Struct
	bad bool
}

func member[T any](m *members, name string) T {
	value, _ := m.Get(name)
	v, ok := value.(T)
	m.bad = m.bad || !ok
	return v
}

// listOf reads a list of structs.
func listOf[T any](method string, value any, read func(*members) T) ([]T, error) {
	values, ok := value.([]any)
	if !ok {
		return nil, unexpected(method, value)
	}
	list := make([]T, 0, len(values))
	for _, v := range values {
		fields, _ := v.(xmlrpc.Struct)
		m := &members{Struct: fields}
		list = append(list, read(m))
		if m.bad {
			return nil, unexpected(method, v)
		}
	}
	return list, nil
}

func readProcess(m *members) process {
	return process{
		name: readName(m), pid: member[int](m, "pid"), state: member[int](m, "state"),
		statename: member[string](m, "statename"), description: member[string](m, "description"),
	}
}

func readResult(m *members) result {
	return result{name: readName(m), status: member[int](m, "status"), description: member[string](m, "description")}
}

func readName(m *members) name {
	return name{group: member[string](m, "group"), process: member[string](m, "name")}
}

// processes asks for all of them.
func (s *session) processes() ([]process, error) {
	value, err := s.call("getAllProcessInfo")
	if err != nil {
		return nil, err
	}
	return listOf("getAllProcessInfo", value, readProcess)
}

// process asks for one.
func (s *session) process(name string) (process, error) {
	value, err := s.call("getProcessInfo", name)
	if err != nil {
		return process{}, err
	}
	list, err := listOf("getProcessInfo", []any{value}, readProcess)
	if err != nil {
		return process{}, err
	}
	return list[0], nil
}

// results calls a method that answers with an outcome for each process.
func (s *session) results(method string, params ...any) ([]result, error) {
	value, err := s.call(method, params...)
	if err != nil {
		return nil, err
	}
	return listOf(method, value, readResult)
}

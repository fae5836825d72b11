package svconf

import "strconv"

// A Signal is the number of a signal on Linux. 0 is one that a file can name,
// though sending it does nothing.
type Signal int

// signals are the names, the one that a number is called by first.
var signals = []struct {
	name   string
	number Signal
}{
	{"SIGHUP", 1}, {"SIGINT", 2}, {"SIGQUIT", 3}, {"SIGILL", 4}, {"SIGTRAP", 5}, {"SIGABRT", 6}, {"SIGIOT", 6},
	{"SIGBUS", 7}, {"SIGFPE", 8}, {"SIGKILL", 9}, {"SIGUSR1", 10}, {"SIGSEGV", 11}, {"SIGUSR2", 12}, {"SIGPIPE", 13},
	{"SIGALRM", 14}, {"SIGTERM", 15}, {"SIGSTKFLT", 16}, {"SIGCHLD", 17}, {"SIGCLD", 17}, {"SIGCONT", 18},
	{"SIGSTOP", 19}, {"SIGTSTP", 20}, {"SIGTTIN", 21}, {"SIGTTOU", 22}, {"SIGURG", 23}, {"SIGXCPU", 24},
	{"SIGXFSZ", 25}, {"SIGVTALRM", 26}, {"SIGPROF", 27}, {"SIGWINCH", 28}, {"SIGIO", 29}, {"SIGPOLL", 29},
	{"SIGPWR", 30}, {"SIGSYS", 31}, {"SIGRTMIN", 34}, {"SIGRTMAX", 64},
	// No signals, but Python keeps them where supervisord looks for such.
	{"SIG_DFL", 0}, {"SIG_BLOCK", 0}, {"SIG_IGN", 1}, {"SIG_UNBLOCK", 1}, {"SIG_SETMASK", 2},
}

// String returns the name of s, as SIGTERM, or its number if it has none.
func (s Signal) String() string {
	for _, known := range signals {
		if known.number == s && s != 0 {
			return known.name
		}
	}
	return strconv.Itoa(int(s))
}

// ParseSignal reads a signal as stopsignal= and supervisord's XML-RPC take it: a
// name, with or without SIG, or a number.
func ParseSignal(s string) (Signal, error) { return parseSignal(s) }

// parseSignal reads a name, with or without SIG, or a number.
func parseSignal(s string) (Signal, error) {
	const hint = "write one signal, as TERM, INT, QUIT, HUP, USR1, USR2 or KILL"
	n, err := parseInt(s, 10)
	if err != nil {
		name := upper(strip(s))
		if len(name) < 3 || name[:3] != "SIG" {
			name = "SIG" + name
		}
		for _, known := range signals {
			if known.name == name {
				return known.number, nil
			}
		}
		return 0, bad(hint, "value %s is not a valid signal name", repr(s))
	}
	for _, known := range signals {
		if int(known.number) == n.int {
			return known.number, nil
		}
	}
	return 0, bad(hint, "value %s is not a valid signal number", repr(s))
}

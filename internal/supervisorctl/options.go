package supervisorctl

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

const usageText = `supervisorctl -- control applications run by supervisord from the cmd line.

Usage: %s [options] [action [arguments]]

Options:
-c/--configuration FILENAME -- configuration file path (searches if not given)
-h/--help -- print usage message and exit
-i/--interactive -- start an interactive shell after executing commands
-s/--serverurl URL -- URL on which supervisord server is listening
     (default "http://localhost:9001").
-u/--username USERNAME -- username to use for authentication with server
-p/--password PASSWORD -- password to use for authentication with server
-r/--history-file -- keep a readline history (if readline is available)

action [arguments] -- see below

Actions are commands like "tail" or "stop".  If -i is specified or no action is
specified on the command line, a "shell" interpreting actions typed
interactively is started.  Use the action "help" to find out about available
actions.

`

const defaultServerURL = "http://localhost:9001"

// flag is one of the command line. Long ones may be shortened as far as they are
// unique. (The long form of -r is --history_file, whatever the usage says.)
type flag struct {
	short byte
	long  string
	value bool // an argument follows
}

var flags = []flag{
	{'h', "help", false},
	{'?', "", false},
	{'c', "configuration", true},
	{'i', "interactive", false},
	{'s', "serverurl", true},
	{'u', "username", true},
	{'p', "password", true},
	{'r', "history_file", true},
}

// given is a flag of the command line.
type given struct {
	flag
	as    string // "-c" or "--configuration"
	value string
}

// getopt cuts args into flags and the rest, which begins with the first argument
// that is none.
func getopt(args []string) (list []given, rest []string, err error) {
	for len(args) > 0 && len(args[0]) > 1 && args[0][0] == '-' {
		arg := args[0]
		args = args[1:]
		switch {
		case arg == "--":
			return list, args, nil
		case strings.HasPrefix(arg, "--"):
			var g given
			if g, args, err = longFlag(arg[2:], args); err != nil {
				return nil, nil, err
			}
			list = append(list, g)
		default:
			for cluster := arg[1:]; cluster != ""; {
				i := slices.IndexFunc(flags, func(f flag) bool { return f.short == cluster[0] })
				if i < 0 {
					return nil, nil, fmt.Errorf("option -%s not recognized", cluster[:1])
				}
				g := given{flag: flags[i], as: "-" + cluster[:1]}
				cluster = cluster[1:]
				if g.flag.value {
					if g.value, cluster = cluster, ""; g.value == "" {
						if len(args) == 0 {
							return nil, nil, fmt.Errorf("option %s requires argument", g.as)
						}
						g.value, args = args[0], args[1:]
					}
				}
				list = append(list, g)
			}
		}
	}
	return list, args, nil
}

func longFlag(arg string, args []string) (given, []string, error) {
	name, value, hasValue := strings.Cut(arg, "=")
	var found []flag
	for _, f := range flags {
		if f.long != "" && strings.HasPrefix(f.long, name) {
			found = append(found, f)
		}
	}
	switch {
	case len(found) == 0:
		return given{}, nil, fmt.Errorf("option --%s not recognized", name)
	case len(found) > 1:
		return given{}, nil, fmt.Errorf("option --%s not a unique prefix", name)
	}
	g := given{flag: found[0], as: "--" + found[0].long, value: value}
	switch {
	case !g.flag.value && hasValue:
		return given{}, nil, fmt.Errorf("option %s must not have an argument", g.as)
	case g.flag.value && !hasValue:
		if len(args) == 0 {
			return given{}, nil, fmt.Errorf("option %s requires argument", g.as)
		}
		g.value, args = args[0], args[1:]
	}
	return g, args, nil
}

// configure reads the command line and the configuration file. Where done is
// true, all is said and the program ends.
func (s *session) configure(args []string) (status int, done bool) {
	list, rest, err := getopt(args)
	if err != nil {
		return s.usage(err), true
	}
	seen := make(map[byte]bool)
	var config, serverURL, user, password, history *string
	for _, g := range list {
		switch g.short {
		case 'h', '?':
			fmt.Fprint(s.stdout, strings.ReplaceAll(usageText, "%s", s.program))
			return exitOK, true
		case 's':
			if !isURL(g.value) {
				return s.usage(fmt.Errorf("invalid value for %s %s: value %s is not a URL", g.as, repr(g.value), repr(g.value))), true
			}
			serverURL = &g.value
		case 'c':
			config = &g.value
		case 'u':
			user = &g.value
		case 'p':
			password = &g.value
		case 'r':
			history = &g.value
		case 'i':
			s.interactive = true
		}
		if seen[g.short] {
			return s.usage(fmt.Errorf("conflicting command line option %s", repr(g.as))), true
		}
		seen[g.short] = true
	}
	if s.args = rest; len(rest) == 0 {
		s.interactive = true
	}
	s.prompt, s.serverURL = "supervisor", defaultServerURL
	if config == nil {
		config = s.search()
	}
	if config != nil && *config != "" {
		s.configuration = *config
		if status, err := s.readConfiguration(*config); err != nil {
			if status == exitUsage {
				return s.usage(err), true
			}
			fmt.Fprintf(s.stderr, "Error: %v\n", err)
			return status, true
		}
	}
	if serverURL != nil {
		s.serverURL = *serverURL
	}
	if user != nil {
		s.user = user
	}
	if password != nil {
		s.password = password
	}
	if history != nil {
		s.history = s.absolute(*history)
	}
	return 0, false
}

func (s *session) usage(err error) int {
	fmt.Fprintf(s.stderr, "Error: %v\nFor help, use %s -h\n", err, s.program)
	return exitUsage
}

// search returns the first of the configuration files that exists, or nil: it
// isn't needed.
func (s *session) search() *string {
	here := filepath.Join(filepath.Dir(s.program), "..")
	if filepath.Dir(s.program) == "." {
		here = ""
	}
	for _, path := range []string{
		filepath.Join(here, "etc", "supervisord.conf"),
		filepath.Join(here, "supervisord.conf"),
		"supervisord.conf",
		"etc/supervisord.conf",
		"/etc/supervisord.conf",
		"/etc/supervisor/supervisord.conf",
	} {
		if _, err := os.Stat(path); err == nil {
			return &path
		}
	}
	return nil
}

// isURL says whether text is a URL in the eyes of Python: a scheme and something
// behind it.
func isURL(text string) bool {
	scheme, rest, found := strings.Cut(text, ":")
	if !found || scheme == "" || !isLetter(scheme[0]) {
		return false
	}
	for _, c := range []byte(scheme) {
		if !isLetter(c) && (c < '0' || c > '9') && !strings.ContainsRune("+-.", rune(c)) {
			return false
		}
	}
	if i := strings.IndexAny(rest, "?#;"); i >= 0 {
		rest = rest[:i]
	}
	return strings.TrimPrefix(rest, "//") != ""
}

func isLetter(c byte) bool { return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' }

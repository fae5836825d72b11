// Package supervisorctl is supervisord's command line client: the same flags,
// configuration file, commands, texts, columns and exit statuses, so that what
// was written for the one works with the other.
//
// It is held to supervisorctl 4.2.5. Even its oddities are kept where a script
// can depend on them: that an action that needs a password is tried twice, that
// errors nobody thought of are shown as Python shows them ("error: <class …>, …:
// file: … line: …", with a file and line that mean nothing), that the shell's
// exit status is always 0.
//
// What differs: plugins ([ctlplugin:x], Python code) are left aside, bytes of
// logs that aren't UTF-8 are shown as they are and not described, -r has an
// effect, IPv6 and names work everywhere, and a configuration file that can't be
// parsed gives one line and not a traceback. The shell edits lines by itself and
// knows nothing of .inputrc.
//
// It speaks XML-RPC, to supervisord or to who takes its place, and knows nothing
// of tend's own API.
package supervisorctl

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"strings"
	"syscall"

	"tend/internal/xmlrpc"
)

// The exit statuses, of the LSB for init scripts; the last two are those of
// their status action.
const (
	exitOK             = 0
	exitFailed         = 1
	exitUsage          = 2 // also what start gives for an unknown group
	exitUnimplemented  = 3
	exitRefused        = 4
	exitWrongVersion   = 5
	exitNotRunning     = 7
	exitSomeNotRunning = 3
	exitUnknown        = 4
)

// apiVersion is what getVersion has to answer.
const apiVersion = "3.0"

// Main is supervisorctl with the command line args, whose first is the name of
// the program, and the environment env. It returns the exit status.
//
// Where stdin and stdout are terminals, its shell lets lines be edited. SIGINT
// is taken while it has a meaning, in the shell and while something is followed,
// and left alone otherwise.
func Main(args []string, stdin io.Reader, stdout, stderr io.Writer, env []string) int {
	s := &session{
		ctx:    context.Background(),
		stdin:  &input{r: stdin},
		stdout: stdout,
		stderr: stderr,
		env:    environment(env),
	}
	s.program, args = programName(args)
	if status, done := s.configure(args); done {
		return status
	}
	if len(s.args) > 0 {
		s.one(strings.Join(s.args, " "))
		return s.status
	}
	s.shell()
	return exitOK
}

// programName returns the path of the program, which is shown in texts and where
// the search for the configuration begins, and the rest of args. Python gives
// the path even where $PATH was searched for it.
func programName(args []string) (name string, rest []string) {
	if len(args) == 0 {
		return "supervisorctl", nil
	}
	name = args[0]
	if !strings.Contains(name, "/") {
		if path, err := exec.LookPath(name); err == nil {
			name = path
		}
	}
	return name, args[1:]
}

// environment makes a map of NAME=value.
func environment(list []string) map[string]string {
	env := make(map[string]string, len(list))
	for _, e := range list {
		if name, value, ok := strings.Cut(e, "="); ok {
			env[name] = value
		}
	}
	return env
}

// session is one run.
type session struct {
	ctx     context.Context // ends when what runs now is interrupted
	program string
	env     map[string]string
	settings
	args []string // the action and what follows it

	stdin          *input
	stdout, stderr io.Writer

	status int            // the exit status; an action changes it where it fails
	client *xmlrpc.Client // of the action that runs now
	known  []process      // for completion; nil: ask

	interrupts interrupts
	terminal   *terminal
}

// settings are what flags and the configuration file say.
type settings struct {
	interactive   bool
	prompt        string
	serverURL     string
	user          *string
	password      *string
	history       string // file; "" keeps none
	hasPlugins    bool   // there are sections that we leave aside
	configuration string
}

// say writes a line.
func (s *session) say(format string, args ...any) {
	fmt.Fprintf(s.stdout, format+"\n", args...)
}

// fail writes a line and makes the exit status 1.
func (s *session) fail(format string, args ...any) {
	s.say(format, args...)
	s.status = exitFailed
}

// one carries out one line: an action and its arguments. It returns whether the
// shell is to end.
func (s *session) one(line string) (quit bool) {
	line = strings.TrimSpace(line)
	if line == "" {
		return false
	}
	name, arg := splitAction(line)
	do, known := actions[name]
	if !known {
		s.fail("*** Unknown syntax: %s", line)
		if s.hasPlugins {
			fmt.Fprintf(s.stderr, "hint: sections [ctlplugin:…] of %s are left aside, since plugins are Python code\n", s.configuration)
		}
		return false
	}
	s.known = nil
	defer s.disconnect()

	quit, err := do(s, arg)
	if needsPassword(err) {
		s.say("Server requires authentication")
		if s.interactive {
			if err = s.login(); err == nil {
				s.disconnect()
				return s.one(line)
			}
		} else {
			s.status = exitFailed
			_, err = do(s, arg) // the original does, and shows that error
		}
	}
	if err != nil && s.ctx.Err() == nil {
		s.fail("%s", pythonError(err))
	}
	return quit
}

func needsPassword(err error) bool {
	var status *xmlrpc.StatusError
	return errors.As(err, &status) && status.Code == http.StatusUnauthorized
}

// login asks for name and password.
func (s *session) login() error {
	user, err := s.ask("Username:", false)
	if err != nil {
		return err
	}
	password, err := s.askPassword("Password:")
	if err != nil {
		return err
	}
	s.say("")
	s.user, s.password = &user, &password
	return nil
}

// splitAction cuts a line into the name of an action, made of ASCII letters,
// digits and _, and the rest. "?" is short for help, and "!", which Python's
// shells know, is nothing here.
func splitAction(line string) (name, arg string) {
	switch line[0] {
	case '?':
		return "help", strings.TrimSpace(line[1:])
	case '!':
		return "", line
	}
	n := 0
	for n < len(line) && (line[n] == '_' || line[n] >= '0' && line[n] <= '9' || line[n] >= 'a' && line[n] <= 'z' || line[n] >= 'A' && line[n] <= 'Z') {
		n++
	}
	return line[:n], strings.TrimSpace(line[n:])
}

// connect returns the client for the action that runs now. There is a new one
// for each, since the daemon may have been restarted since the last.
func (s *session) connect() (*xmlrpc.Client, error) {
	if s.client != nil {
		return s.client, nil
	}
	var login *xmlrpc.Login
	if s.user != nil && s.password != nil {
		login = &xmlrpc.Login{User: *s.user, Password: *s.password}
	}
	client, err := xmlrpc.NewClient(s.serverURL, login)
	if err != nil {
		return nil, s.addressError(err)
	}
	s.client = client
	return client, nil
}

func (s *session) disconnect() {
	if s.client != nil {
		s.client.Close()
		s.client = nil
	}
}

// call calls a method of supervisord.
func (s *session) call(method string, params ...any) (any, error) {
	client, err := s.connect()
	if err != nil {
		return nil, err
	}
	return client.Call(s.ctx, "supervisor."+method, params...)
}

// up checks that there is a daemon, and one that we can speak to. Most actions
// begin with it; where it is false, it has said why.
func (s *session) up() (bool, error) {
	version, err := s.call("getVersion")
	switch {
	case faultCode(err) == xmlrpc.UnknownMethod:
		s.say("Sorry, supervisord responded but did not recognize the supervisor namespace commands that supervisorctl " +
			"uses to control it.  Please check that the [rpcinterface:supervisor] section is enabled in the configuration file (see sample.conf).")
		s.status = exitUnimplemented
		return false, nil
	case errors.Is(err, syscall.ECONNREFUSED):
		s.say("%s refused connection", s.serverURL)
		s.status = exitRefused
		return false, nil
	case errors.Is(err, syscall.ENOENT):
		s.say("%s no such file", s.serverURL)
		s.status = exitNotRunning
		return false, nil
	case err != nil:
		return false, err // whether that is a failure is seen after a login
	case version != apiVersion:
		s.say("Sorry, this version of supervisorctl expects to talk to a server with API version %s, but the remote version is %v.", apiVersion, version)
		s.status = exitWrongVersion
		return false, nil
	}
	return true, nil
}

// asFault returns the fault that err is, or nil.
func asFault(err error) *xmlrpc.Fault {
	var fault *xmlrpc.Fault
	errors.As(err, &fault)
	return fault
}

// faultCode returns the code of a fault, and 0 for all else.
func faultCode(err error) int {
	if fault := asFault(err); fault != nil {
		return fault.Code
	}
	return 0
}

// failedWith makes the exit status that of a fault, unless it is the ignored one.
func (s *session) failedWith(code, ignored int) {
	switch code {
	case ignored, xmlrpc.Success:
	case xmlrpc.SpawnError, xmlrpc.AbnormalTermination, xmlrpc.NotRunning:
		s.status = exitNotRunning
	default:
		s.status = exitFailed
	}
}

package supervisorctl

import (
	"errors"
	"strings"
	"syscall"

	"tend/internal/xmlrpc"
)

// sure asks before the daemon itself is touched; only the shell does.
func (s *session) sure(question string) (bool, error) {
	if !s.interactive {
		return true, nil
	}
	answer, err := s.ask(question, false)
	return strings.HasPrefix(strings.ToLower(answer), "y"), err
}

func (s *session) shutdown(arg string) error {
	if s.refuse("shutdown", arg) {
		return nil
	}
	if sure, err := s.sure("Really shut the remote supervisord process down y/N? "); !sure || err != nil {
		return err
	}
	_, err := s.call("shutdown")
	switch {
	case err == nil:
		s.say("Shut down")
	case faultCode(err) == xmlrpc.ShutdownState:
		s.say("ERROR: already shutting down")
	case errors.Is(err, syscall.ECONNREFUSED):
		s.fail("ERROR: %s refused connection (already shut down?)", s.serverURL)
	case errors.Is(err, syscall.ENOENT):
		s.fail("ERROR: %s no such file (already shut down?)", s.serverURL)
	default:
		return err
	}
	return nil
}

func (s *session) reload(arg string) error {
	if s.refuse("reload", arg) {
		return nil
	}
	if sure, err := s.sure("Really restart the remote supervisord process y/N? "); !sure || err != nil {
		return err
	}
	_, err := s.call("restart")
	switch {
	case err == nil:
		s.say("Restarted supervisord")
	case faultCode(err) == xmlrpc.ShutdownState:
		s.fail("ERROR: already shutting down")
	default:
		return err
	}
	return nil
}

func (s *session) showVersion(arg string) error {
	if s.refuse("version", arg) {
		return nil
	}
	if ok, err := s.up(); !ok {
		return err
	}
	version, err := s.call("getSupervisorVersion")
	if err != nil {
		return err
	}
	s.say("%v", version)
	return nil
}

// open turns to another server and shows its status, which doesn't count for
// the exit status.
func (s *session) open(url string) error {
	scheme, _, _ := strings.Cut(url, ":")
	if scheme = strings.ToLower(scheme); !strings.Contains(url, ":") || scheme != "unix" && scheme != "http" {
		s.fail("ERROR: url must be http:// or unix://")
		return nil
	}
	s.serverURL = url
	s.disconnect()
	before := s.status
	if err := s.showStatus(""); err != nil {
		return err
	}
	s.status = before
	return nil
}

package supervisorctl

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strings"
	"sync"

	"tend/internal/xmlrpc"
)

// tailBytes is how much of a log is shown if nobody says how much.
const tailBytes = 1600

func (s *session) tail(arg string) error {
	if ok, err := s.up(); !ok {
		return err
	}
	args := strings.Fields(arg)
	if len(args) < 1 || len(args) > 3 {
		s.fail("Error: too %s arguments", map[bool]string{true: "few", false: "many"}[len(args) < 1])
		s.helpFor("tail")
		return nil
	}
	modifier := ""
	if strings.HasPrefix(args[0], "-") {
		modifier, args = args[0], args[1:]
	}
	if len(args) == 0 {
		s.fail("Error: tail requires process name")
		return nil
	}
	name, channel := args[0], "stdout"
	if len(args) > 1 {
		channel = strings.ToLower(args[len(args)-1])
	}
	if !slices.Contains([]string{"stdout", "stderr"}, channel) {
		s.fail("Error: bad channel %s", repr(channel))
		return nil
	}
	if modifier == "-f" {
		return s.follow("/logtail/", name, "/"+channel)
	}
	bytes := tailBytes
	if modifier != "" {
		n, ok := toInt(modifier[1:])
		if !ok {
			s.fail("Error: bad argument %s", modifier)
			return nil
		}
		bytes = n
	}
	method := "readProcessStdoutLog"
	if channel == "stderr" {
		method = "readProcessStderrLog"
	}
	text, err := s.call(method, name, -bytes, 0)
	return s.showLog(name, text, err)
}

func (s *session) mainTail(arg string) error {
	if ok, err := s.up(); !ok {
		return err
	}
	args := strings.Fields(arg)
	if len(args) > 1 {
		s.fail("Error: too many arguments")
		s.helpFor("maintail")
		return nil
	}
	bytes := tailBytes
	if len(args) == 1 {
		modifier, isFlag := strings.CutPrefix(args[0], "-")
		if isFlag && modifier == "f" {
			return s.follow("/mainlogtail", "", "")
		}
		n, ok := toInt(modifier)
		if !isFlag || !ok {
			s.fail("Error: bad argument %s", args[0])
			return nil
		}
		bytes = n
	}
	text, err := s.call("readLog", -bytes, 0)
	return s.showLog("supervisord", text, err)
}

// showLog shows the answer for the log of name, or why there is none.
func (s *session) showLog(name string, text any, err error) error {
	switch faultCode(err) {
	case xmlrpc.NoFile:
		s.fail("%s: ERROR (no log file)", name)
	case xmlrpc.Failed:
		s.fail("%s: ERROR (unknown error reading log)", name)
	case xmlrpc.BadName:
		if name == "supervisord" {
			return err // readLog takes no name
		}
		s.fail("%s: ERROR (no such process name)", name)
	default:
		if err != nil {
			return err
		}
		s.say("%v", text)
	}
	return nil
}

// follow shows a log as it grows, until the server ends it or SIGINT comes. It
// never fails: not even that there is no such log changes the exit status.
func (s *session) follow(prefix, name, suffix string) error {
	s.say("==> Press Ctrl-C to exit <==")
	interrupted, err := s.interruptible(func(ctx context.Context) error {
		return s.stream(ctx, prefix, name, suffix, s.stdout)
	})
	if interrupted {
		s.say("")
		return nil
	}
	return err
}

// stream copies a log to w as it grows. What goes wrong is said on stderr.
func (s *session) stream(ctx context.Context, prefix, name, suffix string, w io.Writer) error {
	client, err := s.connect()
	if err != nil {
		return err
	}
	// Names can hold characters that a path can't; the original sends them as
	// they are.
	stream, err := client.Stream(ctx, prefix+url.PathEscape(name)+suffix)
	var status *xmlrpc.StatusError
	switch {
	case ctx.Err() != nil:
		return nil
	case errors.As(err, &status):
		fmt.Fprintf(s.stderr, "%s%s%s%s Cannot read, status code %d\n", s.serverURL, prefix, name, suffix, status.Code)
		return nil
	case err != nil:
		class, text := classOf(err)
		fmt.Fprintf(s.stderr, "%s%s%s%s Cannot connect, error: <class '%s'> (%s)\n", s.serverURL, prefix, name, suffix, class, text)
		return nil
	}
	defer stream.Close()
	// How it ends doesn't matter: the server goes away without a word, too.
	_, _ = io.Copy(w, stream)
	return nil
}

// locked is a writer for several goroutines.
type locked struct {
	mu sync.Mutex
	w  io.Writer
}

func (l *locked) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(p)
}

// foreground shows what a process says and sends it what is typed.
func (s *session) foreground(arg string) error {
	if ok, err := s.up(); !ok {
		return err
	}
	names := strings.Fields(arg)
	switch {
	case len(names) == 0:
		s.fail("ERROR: no process name supplied")
		s.helpFor("fg")
		return nil
	case len(names) > 1:
		s.fail("ERROR: too many process names supplied")
		return nil
	}
	name := names[0]
	p, err := s.process(name)
	switch fault := asFault(err); {
	case fault != nil && fault.Code == xmlrpc.BadName:
		s.fail("ERROR: bad process name supplied")
		return nil
	case fault != nil:
		s.say("ERROR: %s", faultText(fault))
		return nil
	case err != nil:
		return err
	case p.state != stateRunning:
		s.fail("ERROR: process not running")
		return nil
	}
	s.say("==> Press Ctrl-C to exit <==")

	// The streams write while this goroutine does.
	stdout, stderr := s.stdout, s.stderr
	s.stdout, s.stderr = &locked{w: stdout}, &locked{w: stderr}
	defer func() { s.stdout, s.stderr = stdout, stderr }()
	var streams sync.WaitGroup
	defer streams.Wait()

	interrupted, err := s.interruptible(func(ctx context.Context) error {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		for _, channel := range []string{"/stdout", "/stderr"} {
			streams.Go(func() { _ = s.stream(ctx, "/logtail/", name, channel, s.stdout) })
		}
		return s.talk(ctx, name)
	})
	if interrupted || err == errEOF {
		s.say("Exiting foreground")
		return nil
	}
	return err
}

// talk sends each line to the process, until there is no more, which is errEOF,
// or the process doesn't run any more.
func (s *session) talk(ctx context.Context, name string) error {
	for {
		line, err := s.stdin.line(ctx)
		if err != nil {
			return errEOF
		}
		_, err = s.call("sendProcessStdin", name, line+"\n")
		switch fault := asFault(err); {
		case fault != nil && fault.Code == xmlrpc.NotRunning:
			s.say("Process got killed")
			s.say("Exiting foreground")
			return nil
		case fault != nil:
			s.say("ERROR: %s", faultText(fault))
			s.say("Exiting foreground")
			return nil
		case err != nil:
			return err
		}
		p, err := s.process(name)
		if err != nil {
			return err
		}
		if p.state != stateRunning {
			s.say("Process got killed")
			s.say("Exiting foreground")
			return nil
		}
	}
}

package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"tend/api"
)

func (a *app) attachCommand() *cobra.Command {
	var readOnly bool
	var keys string
	var detach []byte
	cmd := a.does(&cobra.Command{
		Use:     "attach NAME",
		Short:   "sit at the terminal of a program",
		GroupID: groupLook,
		Long: `Connects this terminal with that of a program which has one (pty = true): shows
what it has written last and what it writes, and gives it what is typed, Ctrl-C
included. Ctrl-P Ctrl-Q leaves it as it is; --detach-keys takes others, as
ctrl-x or x, with commas between. Several may be attached; the size is
that of the one who has changed it last. It goes on over restarts of the program
and of the daemon, and ends when the program comes to rest, with 0 unless that
is a failure.

Where standard input isn't a terminal it is given to the program, and attach
ends when that was the end of it and the program has been silent for a moment.
Where standard output is none, what was written before isn't shown.`,
		Example: `  tend attach shell
  tend attach queue:1 --read-only
  echo reload | tend attach server`,
		Args: func(_ *cobra.Command, args []string) (err error) {
			if len(args) != 1 {
				return &failure{exitUsage, "attach to which program?", "as in: tend attach web"}
			}
			if detach, err = parseKeys(keys); err != nil {
				return &failure{exitUsage, "--detach-keys: " + err.Error(), "as in: --detach-keys ctrl-p,ctrl-q"}
			}
			return nil
		},
		ValidArgsFunction: a.completeNames,
	}, func(ctx context.Context, _ *cobra.Command, args []string) error {
		return a.attach(ctx, args[0], readOnly, detach)
	})
	cmd.Flags().BoolVar(&readOnly, "read-only", false, "look on: nothing that is typed is passed on")
	cmd.Flags().StringVar(&keys, "detach-keys", "ctrl-p,ctrl-q", "the `keys` that leave")
	return cmd
}

// silence is how long a program is silent that has said all to its input.
const silence = 500 * time.Millisecond

// Why an attachment ends that isn't broken.
var (
	errDetached = errors.New("detached")
	errSilent   = errors.New("the input is at its end, and nothing comes any more")
)

// A session is an attachment over the lives of programs and daemons.
type session struct {
	a        *app
	name     string
	readOnly bool
	leave    context.CancelCauseFunc
	tty      int // a descriptor of this terminal; -1: there is none
	modes    modes

	mu     sync.Mutex
	there  sync.Cond       // told when conn is another one
	conn   *api.Attachment // nil: none
	over   bool
	silent *time.Timer // runs when the input is at its end
}

func (a *app) attach(ctx context.Context, name string, readOnly bool, detach []byte) error {
	ctx, leave := context.WithCancelCause(ctx)
	defer leave(nil)
	s := &session{a: a, name: name, readOnly: readOnly, leave: leave, tty: -1}
	s.there.L = &s.mu
	defer s.end()
	c := a.connect()
	o := api.AttachOptions{ReadOnly: readOnly}
	if !a.out.tty {
		o.Tail = api.TailNone // it is for eyes
	}
	conn, err := c.Attach(ctx, name, o)
	if err != nil {
		return err
	}
	began := daemonSince(ctx, c)

	in, _ := a.deps.Stdin.(*os.File)
	if a.out.tty {
		s.tty = a.out.fd
	}
	if in != nil && term.IsTerminal(int(in.Fd())) {
		s.tty = int(in.Fd())
		was, err := term.MakeRaw(s.tty)
		if err != nil {
			conn.Close()
			return fmt.Errorf("cannot read single keys from the terminal: %w", err)
		}
		defer term.Restore(s.tty, was)
	} else {
		in = nil
	}
	if s.tty >= 0 {
		defer s.restore()
		defer s.followSize()()
	}
	defer s.onSignals()()

	typed := make(chan []byte, 256)
	go s.read(typed, in != nil, detach)
	go s.pass(typed)
	for {
		s.connected(conn)
		end, err := s.show(conn)
		s.connected(nil)
		conn.Close()
		switch cause := context.Cause(ctx); {
		case end != nil:
			s.restore()
			s.say(end.Message)
			if !end.OK {
				return exits(exitFailed)
			}
			return nil
		case cause == errDetached:
			s.restore()
			s.say("detached from " + name)
			return nil
		case cause == errSilent:
			return nil
		case cause != nil:
			return cause
		case err != nil && errors.As(err, new(writeError)):
			return err
		}
		if conn, err = s.again(ctx, c, &began); err != nil {
			if errors.Is(context.Cause(ctx), errDetached) {
				return nil
			}
			return errors.Join(context.Cause(ctx), err)
		}
	}
}

// restore brings this terminal back to what it was, but for its lines.
func (s *session) restore() {
	if s.tty >= 0 {
		io.WriteString(s.a.out, s.modes.reset())
	}
}

// daemonSince tells one daemon from the next.
func daemonSince(ctx context.Context, c client) time.Time {
	d, err := c.Daemon(ctx)
	if err != nil {
		return time.Time{}
	}
	return d.Started
}

// again attaches anew to a daemon that was gone, or to its successor, which shows
// what came meanwhile.
func (s *session) again(ctx context.Context, c client, began *time.Time) (*api.Attachment, error) {
	said := false
	for {
		err := awaitSocket(ctx, s.a.place().socket, func() bool {
			_, err := c.Daemon(ctx)
			return err == nil
		}, func() {
			if !said {
				s.say("the daemon is gone; waiting for it to come back")
			}
			said = true
		})
		if err != nil {
			return nil, err
		}
		o := api.AttachOptions{ReadOnly: s.readOnly, Tail: api.TailNone}
		if now := daemonSince(ctx, c); !now.Equal(*began) {
			o.Tail, *began = api.TailNew, now
		}
		conn, err := c.Attach(ctx, s.name, o)
		var refused *api.Error
		switch {
		case err == nil:
			return conn, nil
		case errors.As(err, &refused), ctx.Err() != nil:
			return nil, err
		}
	}
}

// connected makes conn the one that typing goes to; nil: it waits for the next.
func (s *session) connected(conn *api.Attachment) {
	s.mu.Lock()
	s.conn = conn
	s.there.Broadcast()
	s.mu.Unlock()
	s.tellSize()
}

// end lets go of who waits for a connection.
func (s *session) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.over = true
	s.there.Broadcast()
}

// line returns the connection, and waits for one; nil: it is over.
func (s *session) line() *api.Attachment {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.conn == nil && !s.over {
		s.there.Wait()
	}
	return s.conn
}

// tellSize gives the program's terminal the size of this one.
func (s *session) tellSize() {
	s.mu.Lock()
	conn := s.conn
	s.mu.Unlock()
	if s.tty < 0 || s.readOnly || conn == nil {
		return
	}
	if columns, rows, err := term.GetSize(s.tty); err == nil && columns > 0 && rows > 0 {
		conn.Resize(uint16(rows), uint16(columns)) // that it is broken is seen by who reads
	}
}

// followSize passes on each change of the size, until stop is called.
func (s *session) followSize() (stop func()) {
	changed := make(chan os.Signal, 1)
	signal.Notify(changed, syscall.SIGWINCH)
	done := make(chan struct{})
	go func() {
		for {
			select {
			case <-changed:
				s.tellSize()
			case <-done:
				return
			}
		}
	}()
	return func() {
		signal.Stop(changed)
		close(done)
	}
}

// onSignals has the signals that end a process end the session, which leaves the
// terminal as it was. In a terminal that is read key by key Ctrl-C is none.
func (s *session) onSignals() (stop func()) {
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	after := context.AfterFunc(ctx, func() { s.leave(exits(128 + int(syscall.SIGTERM))) })
	return func() {
		after()
		cancel()
	}
}

// read reads what is typed until its end, or the keys that leave.
func (s *session) read(typed chan<- []byte, keys bool, detach []byte) {
	defer close(typed)
	var k keyhole
	if keys || s.readOnly {
		k.sequence = detach
	}
	buf := make([]byte, 4096)
	for {
		n, err := s.a.deps.Stdin.Read(buf)
		pass, left := k.look(buf[:n])
		if len(pass) > 0 && !s.readOnly {
			typed <- bytes.Clone(pass)
		}
		switch {
		case left:
			s.leave(errDetached)
			return
		case err != nil && keys: // the terminal is gone
			s.leave(errDetached)
			return
		case err != nil:
			return
		}
	}
}

// pass gives the program what is typed. What is typed while there is no daemon waits
// for the next one.
func (s *session) pass(typed <-chan []byte) {
	for p := range typed {
		for {
			conn := s.line()
			if conn == nil {
				return
			}
			if _, err := conn.Write(p); err == nil {
				break
			}
			s.drop(conn)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.readOnly {
		s.silent = time.AfterFunc(silence, func() { s.leave(errSilent) })
	}
}

// drop makes a connection that is broken none, until there is the next.
func (s *session) drop(conn *api.Attachment) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conn == conn {
		s.conn = nil
	}
}

// A writeError says that this terminal can't be written.
type writeError struct{ error }

// show shows what comes until the connection ends. end is the notice of the
// program's end, nil where it wasn't that.
func (s *session) show(conn *api.Attachment) (end *api.AttachNotice, err error) {
	for {
		p, notice, err := conn.Next()
		switch {
		case err != nil:
			return nil, err
		case notice != nil && notice.End:
			return notice, nil
		case notice != nil:
			s.say(notice.Message)
			continue
		}
		s.modes.note(p)
		if _, err := s.a.out.Write(p); err != nil {
			return nil, writeError{err}
		}
		s.mu.Lock()
		if s.silent != nil {
			s.silent.Reset(silence)
		}
		s.mu.Unlock()
	}
}

// say tells something beside the program's output, on a line of its own.
func (s *session) say(text string) {
	before, end := "", "\n"
	if s.tty >= 0 {
		end = "\r\n"
	}
	if s.modes.midLine {
		before = end
	}
	s.modes.midLine = false
	io.WriteString(s.a.err, before+s.a.err.paint(dim, cleanLines(text))+end)
}

// parseKeys understands keys as docker writes them: single characters, and ctrl-X,
// with commas between.
func parseKeys(text string) ([]byte, error) {
	var keys []byte
	if text == "" {
		return nil, nil
	}
	for key := range strings.SplitSeq(text, ",") {
		x, ctrl := strings.CutPrefix(strings.ToLower(key), "ctrl-")
		switch {
		case ctrl && len(x) == 1 && (x[0] >= 'a' && x[0] <= 'z' || strings.Contains(`@[\]^_`, x)):
			keys = append(keys, x[0]&0x1f)
		case !ctrl && len(key) == 1:
			keys = append(keys, key[0])
		default:
			return nil, fmt.Errorf("%q is no key", key)
		}
	}
	return keys, nil
}

// A keyhole looks for the keys that leave. What may be their beginning waits for the
// next key.
type keyhole struct {
	sequence []byte
	held     int
	buf      []byte
}

// look returns what of the keys is the program's, until the next call. left is set
// when they leave.
func (k *keyhole) look(p []byte) (pass []byte, left bool) {
	if len(k.sequence) == 0 {
		return p, false
	}
	k.buf = k.buf[:0]
	for _, b := range p {
		for k.held > 0 && b != k.sequence[k.held] {
			// The longest end of what is held that may be the beginning still.
			n := k.held - 1
			for n > 0 && !slices.Equal(k.sequence[k.held-n:k.held], k.sequence[:n]) {
				n--
			}
			k.buf = append(k.buf, k.sequence[:k.held-n]...)
			k.held = n
		}
		if b != k.sequence[k.held] {
			k.buf = append(k.buf, b)
			continue
		}
		if k.held++; k.held == len(k.sequence) {
			return k.buf, true
		}
	}
	return k.buf, false
}

// modes are what a program has made of the terminal, by DEC's private modes (the
// sequences CSI ? number h, and l): the other screen, the mouse, a hidden cursor.
type modes struct {
	set     []string // that aren't as they are in a terminal that is new
	rest    []byte   // a sequence that goes on in the next piece
	midLine bool
}

// plain says which modes are on in a terminal that is new, of those that are minded.
var plainModes = map[string]bool{
	"1": false, "7": true, "25": true, "47": false, "66": false, "1000": false, "1002": false, "1003": false, "1004": false,
	"1005": false, "1006": false, "1015": false, "1047": false, "1049": false, "2004": false,
}

// note looks at output.
func (m *modes) note(p []byte) {
	m.midLine = p[len(p)-1] != '\n'
	if len(m.rest) > 0 {
		p = append(m.rest, p...)
		m.rest = nil
	}
	for {
		i := bytes.IndexByte(p, 0x1b)
		if i < 0 {
			return
		}
		p = p[i:]
		const begin = "\x1b[?"
		if !bytes.HasPrefix(p, []byte(begin[:min(len(p), len(begin))])) {
			p = p[1:]
			continue
		}
		n := len(begin)
		for n < len(p) && (p[n] >= '0' && p[n] <= '9' || p[n] == ';') {
			n++
		}
		if n >= len(p) {
			if len(p) < 64 {
				m.rest = bytes.Clone(p)
			}
			return
		}
		for number := range strings.SplitSeq(string(p[len(begin):n]), ";") {
			usual, minded := plainModes[number]
			if !minded || p[n] != 'h' && p[n] != 'l' {
				continue
			}
			m.set = slices.DeleteFunc(m.set, func(s string) bool { return s == number })
			if on := p[n] == 'h'; on != usual {
				m.set = append(m.set, number)
			}
		}
		p = p[n:]
	}
}

// reset returns what brings the terminal back to what it was.
func (m *modes) reset() string {
	var b strings.Builder
	for _, number := range slices.Backward(m.set) {
		final := "l"
		if plainModes[number] {
			final = "h"
		}
		b.WriteString("\x1b[?" + number + final)
	}
	m.set = nil
	if b.Len() > 0 {
		b.WriteString("\x1b[0m\x1b>") // colours, the keypad
	}
	return b.String()
}

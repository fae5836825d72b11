package logs

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/leodido/go-syslog/v4/rfc5424"
	"golang.org/x/sys/unix"
)

// A Target is where the lines of a stream go besides its file, or instead of one.
// What it doesn't take is dropped and counted; the file isn't held up for longer
// than stuckAfter by it.
type Target struct {
	Kind TargetKind

	// Address is, of Syslog, the path of a unix datagram socket, "udp://HOST:PORT"
	// or "tcp://HOST:PORT"; of Journal the path of its socket. Else it is empty.
	Address string
}

// A TargetKind says how a target is spoken to.
type TargetKind uint8

const (
	Syslog  TargetKind = iota // RFC 5424, in TCP with octet counting (RFC 6587)
	Journal                   // journald's native protocol
	Stdout                    // to Config.Stdout, as Inherit
	Stderr                    // to Config.Stderr
)

func (t Target) String() string {
	switch t.Kind {
	case Syslog:
		return "syslog at " + t.Address
	case Journal:
		return "the journal at " + t.Address
	case Stdout:
		return "the standard output"
	}
	return "the standard error"
}

// network returns what net.Dial wants to know.
func (t Target) network() (network, address string, err error) {
	scheme, address, ok := strings.Cut(t.Address, "://")
	switch {
	case t.Address != "" && t.Address[0] == '/':
		return "unixgram", t.Address, nil
	case ok && t.Kind == Syslog && (scheme == "udp" || scheme == "tcp"):
		if _, _, err := net.SplitHostPort(address); err != nil {
			return "", "", err
		}
		return scheme, address, nil
	}
	return "", "", fmt.Errorf("%q is neither the path of a socket nor udp:// or tcp:// with a host and a port", t.Address)
}

func (t Target) check() error {
	if t.Kind > Stderr {
		return fmt.Errorf("unknown log target %d", t.Kind)
	}
	if t.Kind >= Stdout {
		return nil
	}
	_, _, err := t.network()
	return err
}

const (
	// A target that fails is tried again after firstRetry, then after twice that.
	firstRetry = time.Second
	lastRetry  = 30 * time.Second
)

// A sender is a target and the connection to it, which all streams share.
type sender struct {
	target Target

	mu      sync.Mutex
	conn    net.Conn // nil: none
	fd      int      // of a standard output
	out     []byte   // a message, or lines, on their way
	err     error    // why it fails; nil: it doesn't
	wait    time.Duration
	retry   time.Time
	dropped int64
}

// A batch is some lines of a stream.
type batch struct {
	from  Source
	now   time.Time
	lines [][]byte // without their ends; a part of a long line is one
	text  []byte   // all of them as a standard output has them
	bytes int64
}

// sender returns the one for a target.
func (c *Capture) sender(t Target) *sender {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.senders[t]
	if s == nil {
		s = &sender{target: t, fd: c.stdout}
		if t.Kind == Stderr {
			s.fd = c.stderr
		}
		if c.senders == nil {
			c.senders = make(map[Target]*sender)
		}
		c.senders[t] = s
	}
	return s
}

// taken is called with bytes of s that are out of its pipe, each once and in order.
// It returns what goes to the file.
func (c *Capture) taken(s *Stream, o *Options, p []byte) []byte {
	if o.Tap != nil {
		p = o.Tap(p)
	}
	if len(o.Also) > 0 {
		c.send(s, o, p, false)
	}
	return p
}

// sees says whether somebody besides the file wants to see the bytes.
func (o *Options) sees() bool { return o.Tap != nil || len(o.Also) > 0 }

// send sends the lines of p to the targets. The beginning of a line stays with s
// until its rest comes, or with flush goes as it is.
func (c *Capture) send(s *Stream, o *Options, p []byte, flush bool) {
	if s.rest != nil {
		p = append(*s.rest, p...)
		s.rest = nil
	}
	if len(p) == 0 {
		return
	}
	var plain Recipe
	if o.Recipe != nil {
		plain.StripANSI, plain.Terminal, plain.MaxLine = o.Recipe.StripANSI, o.Recipe.Terminal, o.Recipe.MaxLine
	}
	b := batch{from: o.Source, now: time.Now()}
	k := cook{Recipe: &plain}
	limit := plain.piece()
	var all []byte // messages are their cook's until the next one
	var ends []int
	n := 0
	for n < len(p) {
		message, m, _ := k.next(p[n:], limit, flush)
		if m == 0 {
			break
		}
		all = append(all, message...)
		ends = append(ends, len(all))
		n += m
	}
	if n < len(p) {
		rest := bytes.Clone(p[n:])
		s.rest = &rest
	}
	if n == 0 {
		return
	}
	b.bytes = int64(n)
	from := 0
	for _, end := range ends {
		b.lines = append(b.lines, all[from:end])
		from = end
	}
	for _, t := range o.Also {
		if t.Kind >= Stdout && b.text == nil {
			b.text = p[:n]
			if o.Recipe != nil {
				b.text = k.wholeLines(o.Recipe, p[:n], b.now)
			} else if b.text[n-1] != '\n' {
				b.text = append(bytes.Clone(b.text), '\n')
			}
		}
		c.sender(t).send(c, &b)
	}
}

// wholeLines cooks lines for where others write too.
func (k *cook) wholeLines(r *Recipe, p []byte, now time.Time) (out []byte) {
	k.begin(r, now)
	for len(p) > 0 {
		var n int
		out, n, _ = k.do(out, p, spot{whole: true, flush: true})
		p = p[n:]
	}
	return out
}

// send sends a batch, or drops what isn't taken of it.
func (s *sender) send(c *Capture, b *batch) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil && b.now.Before(s.retry) {
		s.dropped += b.bytes
		return
	}
	left := b.lines
	err := s.try(b, &left)
	if err != nil && s.conn != nil {
		// The other side may have been started anew since the last time.
		s.hangUp()
		if err = s.try(b, &left); err != nil {
			s.hangUp()
		}
	}
	switch {
	case err == nil && s.err != nil:
		c.notice(Notice{Path: s.target.String(), Dropped: s.dropped})
		s.err, s.dropped, s.wait = nil, 0, 0
	case err != nil:
		for _, line := range left {
			s.dropped += int64(len(line)) + 1
		}
		news := s.err == nil
		s.err = err
		s.wait = min(max(2*s.wait, firstRetry), lastRetry)
		s.retry = time.Now().Add(s.wait)
		if news {
			c.notice(Notice{Path: s.target.String(), Err: err, Dropped: s.dropped})
		}
	}
}

func (s *sender) hangUp() {
	if s.conn != nil {
		s.conn.Close()
		s.conn = nil
	}
}

// try sends the lines of a batch that are left.
func (s *sender) try(b *batch, left *[][]byte) error {
	if s.target.Kind >= Stdout {
		return writePatiently(s.fd, b.text)
	}
	network, address, err := s.target.network()
	if err != nil {
		return err
	}
	if s.conn == nil {
		if s.conn, err = net.DialTimeout(network, address, stuckAfter); err != nil {
			s.conn = nil
			return err
		}
	}
	head := syslogHead(b)
	if s.target.Kind == Journal {
		head = journalHead(b)
	}
	if err := s.conn.SetWriteDeadline(time.Now().Add(stuckAfter)); err != nil {
		return err
	}
	for len(*left) > 0 {
		line := (*left)[0]
		m := s.out[:0]
		if network == "tcp" {
			m = strconv.AppendInt(m, int64(len(head)+len(line)), 10)
			m = append(m, ' ')
		}
		m = append(append(m, head...), line...)
		if s.target.Kind == Journal {
			m = append(m, '\n')
		}
		s.out = m
		_, err := s.conn.Write(m)
		switch {
		case errors.Is(err, unix.EMSGSIZE): // no datagram is that large here
			return fmt.Errorf("a line of %d bytes: %w", len(line), err)
		case err != nil:
			return err
		}
		*left = (*left)[1:]
	}
	return nil
}

// writePatiently writes to a descriptor that may block, but no longer than
// stuckAfter each time.
func writePatiently(fd int, p []byte) error {
	// What can be written has room for a page (pipe(7)).
	const page = 4096
	for len(p) > 0 {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}, int(stuckAfter.Milliseconds()))
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return err
		case n == 0:
			return fmt.Errorf("nobody has read it for %v: %w", stuckAfter, unix.EAGAIN)
		}
		n, err = unix.Write(fd, p[:min(len(p), page)])
		if err != nil && err != unix.EINTR && err != unix.EAGAIN {
			return err
		}
		p = p[max(n, 0):]
	}
	return nil
}

// severity returns what a stream's lines are: an error or information.
func severity(stream string) int {
	if stream == "stderr" {
		return 3
	}
	return 6
}

const facilityDaemon = 3

// hostname is asked for once.
var hostname = sync.OnceValue(func() string {
	name, err := os.Hostname()
	if err != nil {
		return "-"
	}
	return name
})

// syslogHead returns what stands in front of each line of a batch: the instance is
// APP-NAME, the stream MSGID (RFC 5424).
func syslogHead(b *batch) []byte {
	m := &rfc5424.SyslogMessage{}
	m.SetPriority(uint8(facilityDaemon<<3 | severity(b.from.Stream))).SetVersion(1)
	m.SetTimestamp(b.now.Format("2006-01-02T15:04:05.000000Z07:00"))
	m.SetHostname(printable(hostname(), 255)).SetAppname(printable(b.from.Name, 48)).SetMsgID(printable(b.from.Stream, 32))
	head, err := m.String()
	if err != nil { // no name could do that
		head = "<30>1 - - - - - -"
	}
	return append([]byte(head), ' ')
}

// printable makes a word of s that a syslog header may hold.
func printable(s string, limit int) string {
	s = strings.Map(func(r rune) rune {
		if r <= ' ' || r > '~' {
			return '_'
		}
		return r
	}, s)
	if s == "" {
		return "-"
	}
	return s[:min(len(s), limit)]
}

// journalHead returns the fields of each line of a batch, up to the message.
func journalHead(b *batch) []byte {
	return fmt.Appendf(nil, "PRIORITY=%d\nSYSLOG_FACILITY=%d\nSYSLOG_IDENTIFIER=%s\nTEND_PROGRAM=%s\nTEND_INSTANCE=%d\nTEND_STREAM=%s\nMESSAGE=",
		severity(b.from.Stream), facilityDaemon, b.from.Name, b.from.Program, b.from.Instance, b.from.Stream)
}

// hangUp closes all connections.
func (c *Capture) hangUp() {
	c.mu.Lock()
	senders := c.senders
	c.senders = nil
	c.mu.Unlock()
	for _, s := range senders {
		s.mu.Lock()
		s.hangUp()
		s.mu.Unlock()
	}
}

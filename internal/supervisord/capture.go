package supervisord

import "bytes"

// The tags around what a program wants to say to event listeners.
const (
	captureBegin = "<!--XSUPERVISOR:BEGIN-->"
	captureEnd   = "<!--XSUPERVISOR:END-->"
)

// A Capture takes what a program writes apart: what is for its log, and what is
// between the tags and so for event listeners. It is pure, and holds no more than
// what it was made for and a tag.
type Capture struct {
	max       int // bytes of what is between the tags
	inside    bool
	held      []byte // what may be the beginning of a tag
	collected []byte
}

// NewCapture returns a capture for *_capture_maxbytes.
func NewCapture(max int) *Capture { return &Capture{max: max} }

// A Piece is a part of what a program has written.
type Piece struct {
	Kind PieceKind
	Data []byte
}

// A PieceKind says what a piece is.
type PieceKind int

const (
	// Plain is what stands outside the tags: for the log, and for PROCESS_LOG events
	// where those are enabled.
	Plain PieceKind = iota

	// Captured is what stands between the tags: for PROCESS_LOG events, not for the
	// log.
	Captured

	// Said is all of what stood between two tags, when the second has come: for a
	// PROCESS_COMMUNICATION event. It was Captured piece by piece before.
	Said
)

// Feed takes what the program has written and returns what it is. The pieces are
// the caller's.
func (c *Capture) Feed(b []byte) []Piece {
	var pieces []Piece
	data := append(c.held, b...)
	c.held = nil
	for {
		tag := captureBegin
		if c.inside {
			tag = captureEnd
		}
		at := bytes.Index(data, []byte(tag))
		if at < 0 {
			// No more is kept back than what may become a tag.
			n := beginning(data, tag)
			pieces = c.piece(pieces, data[:len(data)-n])
			c.held = bytes.Clone(data[len(data)-n:])
			return pieces
		}
		pieces = c.piece(pieces, data[:at])
		data = data[at+len(tag):]
		if c.inside {
			pieces = append(pieces, Piece{Said, c.collected})
			c.collected = nil
		}
		c.inside = !c.inside
	}
}

// End returns what was kept back, when nothing more comes: the process has ended,
// and the next one begins outside the tags.
func (c *Capture) End() []Piece {
	pieces := c.piece(nil, c.held)
	c.held, c.collected, c.inside = nil, nil, false
	return pieces
}

// piece adds a part that has no tag in it. Of what is captured the end is kept.
func (c *Capture) piece(pieces []Piece, b []byte) []Piece {
	if len(b) == 0 {
		return pieces
	}
	b = bytes.Clone(b)
	if !c.inside {
		return append(pieces, Piece{Plain, b})
	}
	c.collected = append(c.collected, b[max(len(b)-c.max, 0):]...)
	if over := len(c.collected) - c.max; over > 0 {
		c.collected = bytes.Clone(c.collected[over:])
	}
	return append(pieces, Piece{Captured, b})
}

// beginning returns how many bytes at the end of b are the beginning of a tag.
func beginning(b []byte, tag string) int {
	for n := min(len(b), len(tag)-1); n > 0; n-- {
		if string(b[len(b)-n:]) == tag[:n] {
			return n
		}
	}
	return 0
}

package supervisord

import "strings"

// A Plainer takes escape sequences of terminals out of output, as strip_ansi does:
// those that begin with ESC and [ and end with one of a few letters. It is pure, and
// its zero value is ready. A sequence may come in pieces.
type Plainer struct {
	state  int // of the sequence that has begun
	length int
}

const (
	outside = iota
	escaped // after ESC
	within  // after ESC [
)

const (
	sequenceEnds = "HfABCDRsuJKhlpm"
	maxSequence  = 64 // a longer one is none
)

// Strip returns p without escape sequences, in its memory or in another.
func (a *Plainer) Strip(p []byte) []byte {
	if a.state == outside && strings.IndexByte(string(p), '\x1b') < 0 {
		return p
	}
	plain := make([]byte, 0, len(p)+1)
	for _, c := range p {
		switch {
		case a.state == escaped && c == '[':
			a.state, a.length = within, 0
		case a.state == within:
			if a.length++; strings.IndexByte(sequenceEnds, c) >= 0 || a.length == maxSequence {
				a.state = outside
			}
		default:
			if a.state == escaped { // the ESC before was of something else
				plain, a.state = append(plain, '\x1b'), outside
			}
			if c == '\x1b' {
				a.state = escaped
			} else {
				plain = append(plain, c)
			}
		}
	}
	return plain
}

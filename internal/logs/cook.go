package logs

import (
	"bytes"
	"encoding/binary"
	"strconv"
	"time"
	"unicode/utf8"
)

// A Recipe says what is made of a program's output on its way to a file or a
// standard output. Output without a recipe isn't touched.
type Recipe struct {
	// JSON makes an object of each line: {"time", "program", "instance",
	// "stream", "message"}, and "partial": true where the line goes on in the
	// next object. Bytes that aren't UTF-8 become U+FFFD.
	JSON bool

	// Timestamp puts the local time (RFC 3339, milliseconds) and a blank in
	// front of each line; an object has its time without being told.
	Timestamp bool

	// StripANSI takes out the escape sequences by which terminals are told of
	// colours and the like (ECMA-48).
	StripANSI bool

	// Terminal takes a carriage return from a line's end, which a terminal puts
	// there; others stay.
	Terminal bool

	// MaxLine is the length in bytes at which a line is ended, and goes on in the
	// next one behind [Continued]; 0 is none. It counts what is put in front.
	// Of an object it is the length of the message, and [pieceMax] where it is
	// 0 or more.
	MaxLine int

	// Source is what an object says of where its line is from.
	Source Source
}

// A Source is who writes a stream, for destinations that tell one from another.
type Source struct {
	Program  string
	Instance int
	Name     string // of the instance
	Stream   string // "stdout" or "stderr"
}

// Continued is what a line begins with that goes on one that was too long.
const Continued = "… "

const (
	// MinMaxLine is the least that Recipe.MaxLine may be, but for 0.
	MinMaxLine = 128

	// pieceMax bounds what has to be seen whole: an object's message. It has to
	// wait in a pipe, of which an unprivileged user may get one of 8 KiB; what
	// has filled its pipe is seen as it is.
	pieceMax = 32 << 10

	// defaultPiece is the bound where none is asked for.
	defaultPiece = 16 << 10

	// escapeMax is the length of an escape sequence that is waited for.
	escapeMax = 256

	// cookedMax is about how much is cooked at once.
	cookedMax = 256 << 10
)

// stamped is the form of a time in a log: always the same number of bytes in a
// zone, so that a line that was written in part can be told from one that was
// written in whole.
const stamped = "2006-01-02T15:04:05.000Z07:00"

// piece is how long an object's message may be.
func (r *Recipe) piece() int {
	if r.MaxLine == 0 {
		return defaultPiece
	}
	return min(r.MaxLine, pieceMax)
}

// A spot is where cooked output goes.
type spot struct {
	off, limit int64 // as cut's
	column     int   // bytes of the line that the file ends in, 0: none is begun
	whole      bool  // only whole lines go there; what is flushed ends its line
	flush      bool  // what isn't whole doesn't wait for its rest
}

// A cook is a recipe at work: what it puts into a line is made once for many.
type cook struct {
	*Recipe
	stamp   []byte // in front of each line, or of each message
	message []byte // room for one
	buf     [512]byte
}

// begin makes what stands in front of the lines that are cooked next.
func (k *cook) begin(r *Recipe, now time.Time) {
	k.Recipe = r
	b := k.buf[:0]
	switch {
	case r.JSON:
		b = now.AppendFormat(append(b, `{"time":"`...), stamped)
		b = appendJSON(append(b, `","program":"`...), []byte(r.Source.Program))
		b = strconv.AppendInt(append(b, `","instance":`...), int64(r.Source.Instance), 10)
		b = append(append(b, `,"stream":"`...), r.Source.Stream...)
		b = append(b, `","message":"`...)
	case r.Timestamp:
		b = append(now.AppendFormat(b, stamped), ' ')
	}
	k.stamp = b
}

// do appends to out what is made of p, which isn't empty, and returns how many
// bytes of p that is. It takes at least one byte, or asks for a rotation, or has
// to see more before it can take any: then n is 0 and rotate false.
//
// Where files part is what [cut] says, of the cooked lines.
func (k *cook) do(out, p []byte, at spot) (_ []byte, n int, rotate bool) {
	began := len(out)
	column := at.column
	for n < len(p) && len(out)-began < cookedMax {
		mark, start := len(out), column
		var m int
		out, m, column = k.line(out, p[n:], column, at)
		if m == 0 {
			break
		}
		if size := int64(len(out) - began); at.limit > 0 && at.off+size > at.limit {
			switch hard := 2*at.limit - at.off; {
			case mark > began:
				return out[:mark], n, false
			case at.off > 0 && (start == 0 || hard <= 0):
				return out[:mark], 0, true
			case !k.JSON && size > hard:
				out, n = k.torn(out[:mark], p[:m], start, hard, at)
				return out, n, false
			}
			return out, n + m, false
		}
		n += m
	}
	return out, n, false
}

// torn cooks as much of a line as stays within hard bytes, but at least a byte,
// and no escape sequence in part.
func (k *cook) torn(out, line []byte, column int, hard int64, at spot) ([]byte, int) {
	mark := len(out)
	at.flush = false
	n := len(line)
	for try := n; try > 1; {
		try /= 2
		got, m, _ := k.line(out, line[:try], column, at)
		if m == 0 {
			break
		}
		n = m
		if int64(len(got)-mark) <= hard {
			break
		}
	}
	at.flush = true
	out, _, _ = k.line(out, line[:n], column, at)
	return out, n
}

// line cooks p up to its first line end, or all of it, and returns how many
// bytes of p that is, and the column that the file is in thereafter.
func (k *cook) line(out, p []byte, column int, at spot) ([]byte, int, int) {
	if k.JSON {
		message, n, partial := k.next(p, k.piece(), at.flush)
		if n == 0 {
			return out, 0, 0
		}
		out = appendJSON(append(out, k.stamp...), message)
		if partial {
			return append(out, "\",\"partial\":true}\n"...), n, 0
		}
		return append(out, "\"}\n"...), n, 0
	}
	if at.whole {
		message, n, _ := k.next(p, k.piece(), at.flush)
		if n == 0 {
			return out, 0, 0
		}
		out = append(append(out, k.stamp...), message...)
		return append(out, '\n'), n, 0
	}
	i := 0
	for i < len(p) {
		if p[i] == '\n' {
			if column == 0 {
				out = append(out, k.stamp...)
			}
			return append(out, '\n'), i + 1, 0
		}
		run := firstLine(p[i:])
		if run[len(run)-1] == '\n' {
			run = run[:len(run)-1]
		}
		if k.Terminal && run[len(run)-1] == '\r' && (i+len(run) < len(p) || !at.flush) {
			switch run = run[:len(run)-1]; {
			case len(run) > 0: // first what is before it
			case i+1 < len(p):
				i++
				continue
			default: // a line end may follow
				return out, i, column
			}
		}
		if k.StripANSI {
			if p[i] == escape {
				m := sequence(p[i:])
				if m == 0 {
					if !at.flush && len(p)-i < escapeMax {
						break
					}
					m = 1 // it is none
				}
				i += m
				continue
			}
			if j := bytes.IndexByte(run, escape); j > 0 {
				run = run[:j]
			}
		}
		i += len(run)
		for len(run) > 0 {
			if column == 0 {
				out = append(out, k.stamp...)
				column = len(k.stamp)
			}
			m := len(run)
			if k.MaxLine > 0 {
				if m = fit(run, k.MaxLine-column); m == 0 {
					out = append(append(append(out, '\n'), k.stamp...), Continued...)
					column = len(k.stamp) + len(Continued)
					continue
				}
			}
			out = append(out, run[:m]...)
			column += m
			run = run[m:]
		}
	}
	return out, i, column
}

// next returns the message that p begins with, which is a line without its end
// or, with partial, a part of one of at most limit bytes. n is how many bytes of p
// that is; 0: the rest of the line has to be there first. The message is p's or
// k's own, until the next call.
func (k *cook) next(p []byte, limit int, flush bool) (message []byte, n int, partial bool) {
	if !k.StripANSI {
		line := p[:min(len(p), limit+1)]
		if i := bytes.IndexByte(line, '\n'); i >= 0 {
			return k.trim(p[:i]), i + 1, false
		}
		switch {
		case len(p) > limit:
			n := fit(p, limit)
			return p[:n], n, true
		case flush:
			return p, len(p), true
		}
		return nil, 0, false
	}
	b := k.message[:0]
	defer func() { k.message = b }()
	for i := 0; i < len(p); {
		switch p[i] {
		case '\n':
			return k.trim(b), i + 1, false
		case escape:
			m := sequence(p[i:])
			if m == 0 {
				if !flush && len(p)-i < escapeMax {
					return nil, 0, false
				}
				m = 1
			}
			i += m
		default:
			run := p[i:]
			if j := bytes.IndexAny(run, "\n\x1b"); j >= 0 {
				run = run[:j]
			}
			if m := fit(run, limit-len(b)); m < len(run) {
				return append(b, run[:m]...), i + m, true
			}
			b = append(b, run...)
			i += len(run)
		}
	}
	if !flush {
		return nil, 0, false
	}
	return b, len(p), true
}

// trim returns a line without what a terminal puts at its end.
func (k *cook) trim(line []byte) []byte {
	if k.Terminal {
		return bytes.TrimSuffix(line, []byte("\r"))
	}
	return line
}

// fit returns how much of p has room, without tearing a rune where that can be
// helped.
func fit(p []byte, room int) int {
	if len(p) <= room {
		return len(p)
	}
	if room <= 0 {
		return 0
	}
	for n := room; n > 0 && n > room-utf8.UTFMax; n-- {
		if utf8.RuneStart(p[n]) {
			return n
		}
	}
	return room
}

const escape = 0x1b

// sequence returns the length of the escape sequence that p begins with, 0 when
// its end isn't there. One that is broken off is none: then it is 1, that of the
// escape character.
func sequence(p []byte) int {
	if len(p) < 2 {
		return 0
	}
	switch c := p[1]; {
	case c == '[': // CSI: parameters, intermediates, a final byte
		for i, c := range p[2:] {
			if c >= 0x40 && c <= 0x7e {
				return i + 3
			}
			if c < 0x20 || c > 0x7e {
				return 1
			}
		}
		return 0
	case c == ']', c == 'P', c == 'X', c == '^', c == '_': // a string, up to BEL or ST
		for i := 2; i < len(p); i++ {
			switch p[i] {
			case 0x07:
				return i + 1
			case '\n':
				return 1
			case escape:
				if i+1 == len(p) {
					return 0
				}
				if p[i+1] == '\\' {
					return i + 2
				}
				return 1
			}
		}
		return 0
	case c >= 0x20 && c <= 0x2f: // intermediates, a final byte
		for i, c := range p[2:] {
			if c >= 0x30 && c <= 0x7e {
				return i + 3
			}
			if c < 0x20 || c > 0x2f {
				return 1
			}
		}
		return 0
	case c >= 0x30 && c <= 0x7e:
		return 2
	}
	return 1
}

// plainly are the bytes that stand for themselves in a JSON string.
var plainly = func() (t [256]bool) {
	for c := range utf8.RuneSelf {
		t[c] = c >= 0x20 && c != '"' && c != '\\'
	}
	return t
}()

// allPlainly says the same of eight bytes: none is below 0x20, a quote, a backslash
// or above 0x7f. A difference borrows from the next byte only where it has found
// one already.
func allPlainly(w uint64) bool {
	const ones = 0x0101010101010101
	quote, backslash := w^'"'*ones, w^'\\'*ones
	return ((w-0x20*ones)|(quote-ones)&^quote|(backslash-ones)&^backslash|w)&(0x80*ones) == 0
}

// appendJSON appends p as it stands within the quotes of a JSON string.
func appendJSON(b, p []byte) []byte {
	const hex = "0123456789abcdef"
	start := 0
	for i := 0; i < len(p); {
		for i+8 <= len(p) && allPlainly(binary.LittleEndian.Uint64(p[i:])) {
			i += 8
		}
		if i == len(p) {
			break
		}
		c := p[i]
		if plainly[c] {
			i++
			continue
		}
		if c >= utf8.RuneSelf {
			r, size := utf8.DecodeRune(p[i:])
			// Two runes end a line in JavaScript, though not in JSON.
			if r != utf8.RuneError && r != '\u2028' && r != '\u2029' || r == utf8.RuneError && size > 1 {
				i += size
				continue
			}
			b = append(b, p[start:i]...)
			switch r {
			case '\u2028':
				b = append(b, `\u2028`...)
			case '\u2029':
				b = append(b, `\u2029`...)
			default:
				b = append(b, "\ufffd"...)
			}
			i += size
			start = i
			continue
		}
		b = append(b, p[start:i]...)
		switch c {
		case '"', '\\':
			b = append(b, '\\', c)
		case '\n':
			b = append(b, '\\', 'n')
		case '\r':
			b = append(b, '\\', 'r')
		case '\t':
			b = append(b, '\\', 't')
		default:
			b = append(b, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		}
		i++
		start = i
	}
	return append(b, p[start:]...)
}

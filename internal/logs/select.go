package logs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"time"
)

// A Selection says which lines of a log are wanted: the last Lines of those that
// were printed from Since to Until and that Match finds something in.
type Selection struct {
	Lines        int // < 0: all
	Since, Until time.Time
	Match        *regexp.Regexp // in the line without its end; nil: any
	Times        string         // the folder of the index, as Config.Times; "": there is none
}

// narrow says whether lines have to be looked at one by one.
func (s *Selection) narrow() bool {
	return s.Match != nil || !s.Since.IsZero() || !s.Until.IsZero()
}

// A Line is one of a log.
type Line struct {
	Text []byte // with its end, unless it is the last one and has none; valid until the next one

	// At is when it was printed, as far as that is known: the time that it begins
	// with, else that of the line before, else by the index.
	At time.Time
}

// A Reader yields the lines of a log that were selected, in order, over rotated
// and compressed files. It isn't followed by what is written meanwhile.
type Reader struct {
	sel   Selection
	notes map[Position][]note
	parts []part // the one that is read is the last
	end   Position

	buf        []byte // of the part that is read, from off on
	at, filled int
	begun      bool // off is in the part that is read
	off        int64
	own        time.Time // of the line before, in this part
	floor      time.Time // times don't go back, lest a merge of several does
}

// A part is what is read of one file.
type part struct {
	*logFile
	from, to int64
}

// NewReader opens a log at the first line that is selected. A log that has no
// file yet is empty.
func NewReader(path string, keep int, sel Selection) (*Reader, error) {
	r := &Reader{sel: sel, notes: notesOf(sel.Times, path)}
	if err := r.open(chain{path, keep}); err != nil {
		r.Close()
		return nil, fmt.Errorf("cannot read log: %w", err)
	}
	return r, nil
}

// End returns the position after the last byte that there was when r was made.
func (r *Reader) End() Position { return r.end }

// Close closes the files.
func (r *Reader) Close() {
	for _, p := range r.parts {
		p.Close()
	}
	r.parts = nil
}

func (r *Reader) open(c chain) error {
	f, err := c.newest()
	if f == nil || err != nil {
		return err
	}
	r.end = f.id
	r.end.Offset = f.size
	left, last := r.sel.Lines, true
	var buf []byte
	for f != nil {
		p := part{f, 0, f.size}
		r.parts = append(r.parts, p)
		mine := &r.parts[len(r.parts)-1]
		older, err := r.bound(mine)
		if err != nil {
			return err
		}
		if left >= 0 && mine.to > mine.from {
			if r.sel.narrow() {
				left, err = r.lastOf(mine, left)
			} else {
				if buf == nil {
					buf = make([]byte, blockBytes)
				}
				if left == 0 {
					mine.from = mine.to
				} else {
					mine.from, left, last, err = backward(f, buf, f.size, left, last)
				}
			}
			if err != nil {
				return err
			}
		}
		if left == 0 || !older {
			return nil
		}
		if f, err = c.neighbour(f, +1); err != nil {
			return err
		}
	}
	return nil
}

// bound leaves of a part what may have been printed in the time that is asked for,
// and says whether older files may have some of it too.
func (r *Reader) bound(p *part) (older bool, err error) {
	notes := r.notes[p.id]
	if until := r.sel.Until; !until.IsZero() && !p.carriesTimes() {
		if p.id.Birth > until.UnixNano() {
			p.to = 0
			return true, nil
		}
		for _, n := range notes {
			if n.since > until.UnixNano() {
				p.to = min(p.to, n.at.Offset)
				break
			}
		}
	}
	since := r.sel.Since
	if since.IsZero() {
		return true, nil
	}
	if p.written() < since.UnixNano() {
		p.from = p.to
		return false, nil
	}
	older = true
	for _, n := range notes {
		if n.before < since.UnixNano() && n.at.Offset <= p.to {
			// What is before n is too old, and so are older files.
			p.from, older = n.at.Offset, false
		}
	}
	if older {
		if p.from, older, err = bisect(p, since); err != nil {
			return false, err
		}
	}
	p.from = min(p.from, p.to)
	return older, nil
}

// carriesTimes says whether the first line begins with a time: then each line tells
// of itself.
func (p *part) carriesTimes() bool {
	var b [64]byte
	n, _ := p.ReadAt(b[:], 0)
	_, ok := timeOf(b[:n])
	return ok
}

// bisect looks for where the lines of a part that carry times are no older than
// since. What it returns may be too early, never too late, as long as times grow.
func bisect(p *part, since time.Time) (from int64, older bool, err error) {
	buf := make([]byte, blockBytes)
	// first returns the first line behind off that carries a time.
	first := func(off int64) (at time.Time, line int64, err error) {
		n, err := p.ReadAt(buf[:min(int64(len(buf)), p.to-off)], off)
		if err != nil && err != io.EOF {
			return at, 0, err
		}
		begin := 0
		if off > 0 {
			begin = bytes.IndexByte(buf[:n], '\n') + 1
			if begin == 0 {
				return at, 0, nil
			}
		}
		for begin < n {
			if at, ok := timeOf(buf[begin:n]); ok {
				return at, off + int64(begin), nil
			}
			i := bytes.IndexByte(buf[begin:n], '\n')
			if i < 0 {
				break
			}
			begin += i + 1
		}
		return at, 0, nil
	}
	at, _, err := first(0)
	if err != nil || at.IsZero() || !at.Before(since) {
		return 0, true, err
	}
	lo, hi := int64(0), p.to
	for hi-lo > 2*blockBytes {
		mid := lo + (hi-lo)/2
		at, line, err := first(mid)
		if err != nil {
			return 0, false, err
		}
		if at.IsZero() {
			break
		}
		if at.Before(since) {
			lo = line
		} else {
			hi = mid
		}
	}
	return lo, false, nil
}

// chunkBytes is how much is looked through at once, from the end on.
const chunkBytes = 1 << 20

// lastOf moves the beginning of a part to the nth last of its lines that fit, and
// returns how many are missing.
func (r *Reader) lastOf(p *part, n int) (left int, err error) {
	if n == 0 {
		p.from = p.to
		return 0, nil
	}
	size := int64(chunkBytes)
	for to := p.to; to > p.from; {
		from := max(p.from, to-size)
		buf := make([]byte, to-from)
		if _, err := io.ReadFull(io.NewSectionReader(p, from, to-from), buf); err != nil {
			return 0, err
		}
		if from > p.from {
			i := bytes.IndexByte(buf[:len(buf)-1], '\n')
			if i < 0 {
				size *= 2 // a line that is longer
				continue
			}
			buf, from = buf[i+1:], from+int64(i)+1
		}
		size = chunkBytes
		var fits []int64
		own := time.Time{}
		for off := from; len(buf) > 0; {
			line := firstLine(buf)
			if at, ok := timeOf(line); ok {
				own = at
			}
			if r.fits(line, own) {
				fits = append(fits, off)
			}
			off += int64(len(line))
			buf = buf[len(line):]
		}
		if len(fits) >= n {
			p.from = fits[len(fits)-n]
			return 0, nil
		}
		n -= len(fits)
		to = from
	}
	return n, nil
}

// fits says whether a line is selected; own is the time that it or a line before
// it carries.
func (r *Reader) fits(line []byte, own time.Time) bool {
	s := &r.sel
	if !own.IsZero() && (!s.Since.IsZero() && own.Before(s.Since) || !s.Until.IsZero() && own.After(s.Until)) {
		return false
	}
	return s.Match == nil || s.Match.Match(bytes.TrimSuffix(line, []byte("\n")))
}

// Next returns the next line; the error is io.EOF after the last one.
func (r *Reader) Next() (Line, error) {
	for {
		line, off, err := r.line()
		if err != nil {
			return Line{}, err
		}
		p := &r.parts[len(r.parts)-1]
		if at, ok := timeOf(line); ok {
			r.own = at
		}
		if r.sel.narrow() && !r.fits(line, r.own) {
			continue
		}
		at := r.own
		if at.IsZero() {
			for _, n := range r.notes[p.id] {
				if n.at.Offset > off {
					break
				}
				at = time.Unix(0, n.since)
			}
		}
		if at.Before(r.floor) {
			at = r.floor
		}
		r.floor = at
		return Line{Text: line, At: at}, nil
	}
}

// line returns the next line, selected or not, and where it begins.
func (r *Reader) line() ([]byte, int64, error) {
	for len(r.parts) > 0 {
		p := &r.parts[len(r.parts)-1]
		if r.buf == nil {
			r.buf = make([]byte, 8<<10)
		}
		if !r.begun {
			r.begun, r.off = true, p.from
		}
		if i := bytes.IndexByte(r.buf[r.at:r.filled], '\n'); i >= 0 {
			return r.take(i + 1)
		}
		if r.off+int64(r.filled) >= p.to {
			if r.at < r.filled {
				return r.take(r.filled - r.at)
			}
			if len(r.parts) == 1 {
				return nil, 0, io.EOF
			}
			p.Close()
			r.parts = r.parts[:len(r.parts)-1]
			r.at, r.filled, r.begun, r.own = 0, 0, false, time.Time{}
			continue
		}
		if r.at > 0 {
			copy(r.buf, r.buf[r.at:r.filled])
			r.off += int64(r.at)
			r.at, r.filled = 0, r.filled-r.at
		}
		if r.filled == len(r.buf) {
			if len(r.buf) >= chunkBytes { // such a line comes in pieces
				return r.take(r.filled)
			}
			r.buf = slices.Grow(r.buf, len(r.buf))[:2*len(r.buf)]
		}
		room := min(int64(len(r.buf)-r.filled), p.to-r.off-int64(r.filled))
		n, err := p.ReadAt(r.buf[r.filled:r.filled+int(room)], r.off+int64(r.filled))
		if n == 0 {
			if err == nil || errors.Is(err, io.EOF) { // truncated meanwhile
				p.to = r.off + int64(r.filled)
				continue
			}
			return nil, 0, fmt.Errorf("cannot read log: %w", err)
		}
		r.filled += n
	}
	return nil, 0, io.EOF
}

func (r *Reader) take(n int) ([]byte, int64, error) {
	line, off := r.buf[r.at:r.at+n], r.off+int64(r.at)
	r.at += n
	return line, off, nil
}

// timeOf returns the time that a line begins with, if it does: as RFC 3339 or ISO
// 8601 has it, with a T or a blank, with or without a zone, in brackets or not; or
// as the first thing in a JSON object, under "time", "ts" or "timestamp".
func timeOf(line []byte) (time.Time, bool) {
	p := line[:min(len(line), 64)]
	if len(p) > 0 && p[0] == '{' {
		i := bytes.IndexByte(p, ':')
		if i < 0 {
			return time.Time{}, false
		}
		switch string(bytes.Trim(p[1:i], " \"")) {
		case "time", "ts", "timestamp":
		default:
			return time.Time{}, false
		}
		p = bytes.TrimLeft(p[i+1:], " \"")
	} else if len(p) > 0 && p[0] == '[' {
		p = p[1:]
	}
	const least = len("2006-01-02T15:04:05")
	if len(p) < least || p[4] != '-' || p[7] != '-' || p[10] != 'T' && p[10] != ' ' || p[13] != ':' || p[16] != ':' {
		return time.Time{}, false
	}
	number := func(from, to int) int {
		n := 0
		for _, c := range p[from:to] {
			if c < '0' || c > '9' {
				return -1 << 20
			}
			n = 10*n + int(c-'0')
		}
		return n
	}
	year, month, day := number(0, 4), number(5, 7), number(8, 10)
	hour, minute, second := number(11, 13), number(14, 16), number(17, 19)
	if year < 0 || month < 1 || month > 12 || day < 1 || day > 31 || hour < 0 || hour > 23 || minute < 0 || minute > 59 || second < 0 || second > 60 {
		return time.Time{}, false
	}
	i, nanos := least, 0
	if i < len(p) && (p[i] == '.' || p[i] == ',') {
		scale := int(time.Second)
		for i++; i < len(p) && p[i] >= '0' && p[i] <= '9'; i++ {
			scale /= 10
			nanos += scale * int(p[i]-'0')
		}
	}
	zone := time.Local
	switch {
	case i < len(p) && p[i] == 'Z':
		zone = time.UTC
	case i+6 <= len(p) && (p[i] == '+' || p[i] == '-') && p[i+3] == ':':
		h, m := number(i+1, i+3), number(i+4, i+6)
		if h < 0 || m < 0 {
			return time.Time{}, false
		}
		offset := 3600*h + 60*m
		if p[i] == '-' {
			offset = -offset
		}
		return time.Date(year, time.Month(month), day, hour, minute, second, nanos, time.UTC).Add(-time.Duration(offset) * time.Second), true
	}
	return time.Date(year, time.Month(month), day, hour, minute, second, nanos, zone), true
}

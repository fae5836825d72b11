package conf

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// Severity tells what stops a load from what doesn't.
type Severity string

const (
	Error   Severity = "error"
	Warning Severity = "warning"
	Info    Severity = "info"
)

// A Diagnostic is something to be said about a place in a file.
type Diagnostic struct {
	File     string // as the user named it, or as it was included
	Line     int    // from 1; 0: the file as a whole
	Col      int    // first character concerned, from 1; 0: the whole line
	EndCol   int    // the one after the last
	Program  string // "tend" stands for the daemon's own table
	Key      string
	Severity Severity
	Message  string // what is wrong
	Hint     string // what to do about it, or ""
	Source   string // the line itself
}

// Text returns d as it is printed, in one to three lines without a final
// newline: place and message, the line, and the hint under the characters it is
// about. Control characters of the file are replaced, so that a file can't
// write to the terminal.
func (d Diagnostic) Text() string {
	var b strings.Builder
	b.WriteString(printable(d.File))
	if d.Line > 0 {
		fmt.Fprintf(&b, ":%d", d.Line)
	}
	b.WriteString(": ")
	if d.Severity != Error {
		b.WriteString(string(d.Severity) + ": ")
	}
	if d.Program != "" {
		b.WriteString("[" + printable(d.Program) + "] ")
	}
	if d.Key != "" && !strings.Contains(d.Message, d.Key) {
		b.WriteString(printable(d.Key) + ": ")
	}
	b.WriteString(printable(d.Message))
	if d.Line == 0 || d.Col == 0 {
		if d.Hint != "" {
			b.WriteString("\n  " + printable(d.Hint))
		}
		return b.String()
	}
	source, col, end := window(d.Source, d.Col, d.EndCol)
	fmt.Fprintf(&b, "\n%5d | %s\n      | %s%s", d.Line, source, indent(source, col-1), strings.Repeat("^", max(1, end-col)))
	if d.Hint != "" {
		b.WriteString(" " + printable(d.Hint))
	}
	return b.String()
}

// windowWidth is how many characters of a source line are printed.
const windowWidth = 100

// window returns the part of a line that is worth printing, and where the
// columns are in it.
func window(line string, col, end int) (string, int, int) {
	runes := []rune(printable(line))
	end = min(end, len(runes)+1)
	if len(runes) <= windowWidth {
		return string(runes), col, end
	}
	from := max(0, min(col-1-windowWidth/4, len(runes)-windowWidth))
	to := min(len(runes), from+windowWidth)
	text, shift := string(runes[from:to]), -from
	if from > 0 {
		text, shift = "…"+text, shift+1
	}
	if to < len(runes) {
		text += "…"
	}
	return text, col + shift, min(end+shift, to+shift+1)
}

// indent returns n columns of blanks that are as wide as the start of line:
// tabs stay tabs.
func indent(line string, n int) string {
	var b strings.Builder
	for _, r := range line {
		if n--; n < 0 {
			break
		}
		if r != '\t' {
			r = ' '
		}
		b.WriteRune(r)
	}
	return b.String()
}

// printable replaces what a terminal would take for a command.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' && r != '\t' || r >= 0x7f && r < 0xa0 || r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069 {
			return utf8.RuneError
		}
		return r
	}, s)
}

// A span is a range of bytes of a file.
type span struct{ from, to int }

// A source is a file that was read.
type source struct {
	name   string // as it is shown
	path   string // absolute
	dir    string // its folder, absolute
	text   string // without a byte order mark
	format format

	// Where line was called last: most calls go forward.
	lastOffset, lastLine int
}

// line returns the number of the line with the byte at offset.
func (s *source) line(offset int) int {
	if s.lastLine == 0 || offset < s.lastOffset {
		s.lastOffset, s.lastLine = 0, 1
	}
	offset = min(offset, len(s.text))
	s.lastLine += strings.Count(s.text[s.lastOffset:offset], "\n")
	s.lastOffset = offset
	return s.lastLine
}

// place fills in where d is: the part of at that is on its first line.
func (s *source) place(d *Diagnostic, at span) {
	at.from = min(max(at.from, 0), len(s.text))
	at.to = min(max(at.to, at.from), len(s.text))
	// A place behind the last newline is no line of its own.
	if at.from == len(s.text) && at.from > 0 && s.text[at.from-1] == '\n' {
		at.from, at.to = at.from-1, at.from
	}
	start := strings.LastIndexByte(s.text[:at.from], '\n') + 1
	end := len(s.text)
	if n := strings.IndexByte(s.text[at.from:], '\n'); n >= 0 {
		end = at.from + n
	}
	line := strings.TrimSuffix(s.text[start:end], "\r")
	from := min(at.from-start, len(line))
	to := min(max(at.to-start, from), len(line))
	d.File, d.Line, d.Source = s.name, s.line(at.from), strings.ToValidUTF8(line, string(utf8.RuneError))
	d.Col = 1 + utf8.RuneCountInString(line[:from])
	d.EndCol = d.Col + max(1, utf8.RuneCountInString(line[from:to]))
}

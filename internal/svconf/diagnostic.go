package svconf

import (
	"fmt"
	"strings"
)

// Severity tells what has the file refused from what doesn't.
type Severity string

const (
	Error   Severity = "error"
	Warning Severity = "warning"
	Info    Severity = "info"
)

// A Diagnostic is something to be said about a place in the files.
type Diagnostic struct {
	Severity Severity
	File     string // "" if it is about the configuration as a whole
	Line     int    // from 1; 0: the file as a whole
	Section  string // as in the header, without the brackets
	Option   string // as supervisord calls it; "" if it is about the section
	Message  string // what is wrong, in supervisord's own words unless Ours is set
	Hint     string // what to do about it, or ""
	Ours     bool   // supervisord doesn't say this
}

// Text returns d as it is printed: place and message, and the hint on a line of
// its own, without a final newline. Control characters of the file are replaced,
// so that a file can't write to the terminal.
func (d Diagnostic) Text() string {
	var b strings.Builder
	if d.File != "" {
		b.WriteString(printable(d.File))
		if d.Line > 0 {
			fmt.Fprintf(&b, ":%d", d.Line)
		}
		b.WriteString(": ")
	}
	if d.Severity != Error {
		b.WriteString(string(d.Severity) + ": ")
	}
	if d.Section != "" && !strings.Contains(d.Message, d.Section) {
		b.WriteString("[" + printable(d.Section) + "] ")
	}
	if d.Option != "" && !strings.Contains(d.Message, d.Option) {
		b.WriteString(printable(d.Option) + ": ")
	}
	b.WriteString(printable(d.Message))
	if d.Hint != "" {
		b.WriteString("\n  " + printable(d.Hint))
	}
	return b.String()
}

// printable replaces what a terminal would take for a command.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' && r != '\t' && r != '\n' || r >= 0x7f && r < 0xa0 || r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069 {
			return '\ufffd'
		}
		return r
	}, s)
}

// A problem is an error in the words that supervisord has for it.
type problem struct {
	message string
	hint    string
	ours    bool // supervisord has no word for it
}

func (p problem) Error() string { return p.message }

// bad makes a problem.
func bad(hint, format string, args ...any) error {
	return problem{message: fmt.Sprintf(format, args...), hint: hint}
}

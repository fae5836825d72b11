package cli

import (
	"io"
	"os"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/term"
)

// A screen is where output goes, and what it can show there.
type screen struct {
	io.Writer
	tty   bool // a person looks at it: symbols, fitted to its width
	color bool
	fd    int // of the terminal
	fixed [2]int
}

// newScreen returns the screen of w. $NO_COLOR (https://no-color.org) and
// TERM=dumb switch colour off, $CLICOLOR_FORCE switches it on without a terminal.
func newScreen(w io.Writer, getenv func(string) string) *screen {
	s := &screen{Writer: w}
	if f, ok := w.(*os.File); ok {
		s.fd = int(f.Fd())
		s.tty = term.IsTerminal(s.fd)
	}
	force := getenv("CLICOLOR_FORCE")
	s.color = getenv("NO_COLOR") == "" && (s.tty && getenv("TERM") != "dumb" || force != "" && force != "0")
	return s
}

// size returns the columns and rows of the terminal, 0 and 0 where there is none.
func (s *screen) size() (columns, rows int) {
	if !s.tty {
		return 0, 0
	}
	if s.fixed != [2]int{} {
		return s.fixed[0], s.fixed[1]
	}
	columns, rows, err := term.GetSize(s.fd)
	if err != nil || columns <= 0 || rows <= 0 {
		return 80, 24
	}
	return columns, rows
}

// A style is an SGR parameter of ECMA-48. Only the eight colours that terminals
// let people choose are used, so that it reads on dark and on light.
type style string

const (
	plain  style = ""
	bold   style = "1"
	dim    style = "2"
	red    style = "31"
	green  style = "32"
	yellow style = "33"
	cyan   style = "36"
)

// paint returns text in that style, or text alone without colour.
func (s *screen) paint(st style, text string) string {
	if !s.color || st == plain || text == "" {
		return text
	}
	return "\x1b[" + string(st) + "m" + text + "\x1b[0m"
}

// width returns how many columns s takes on a terminal.
func width(s string) int {
	n := 0
	for _, r := range s {
		n += runeWidth(r)
	}
	return n
}

func runeWidth(r rune) int {
	switch {
	case r < 0x300:
		return 1
	case unicode.In(r, unicode.Mn, unicode.Me, unicode.Cf):
		return 0
	case unicode.Is(wide, r):
		return 2
	}
	return 1
}

// wide holds the characters of two columns: the East Asian Width classes W and F
// of Unicode Standard Annex 11, by block.
var wide = &unicode.RangeTable{
	R16: []unicode.Range16{
		{0x1100, 0x115f, 1}, {0x2e80, 0x303e, 1}, {0x3041, 0xa4cf, 1}, {0xa960, 0xa97c, 1},
		{0xac00, 0xd7a3, 1}, {0xf900, 0xfaff, 1}, {0xfe30, 0xfe6f, 1}, {0xff00, 0xff60, 1}, {0xffe0, 0xffe6, 1},
	},
	R32: []unicode.Range32{{0x16fe0, 0x18cff, 1}, {0x1b000, 0x1b2ff, 1}, {0x1f300, 0x1f64f, 1}, {0x1f680, 0x1f6ff, 1}, {0x1f900, 0x1f9ff, 1}, {0x20000, 0x3fffd, 1}},
}

// pad returns s with blanks behind it to n columns.
func pad(s string, n int) string { return s + strings.Repeat(" ", max(0, n-width(s))) }

// cut returns s shortened at its end to n columns.
func cut(s string, n int) string {
	if width(s) <= n {
		return s
	}
	return head(s, n-1) + "…"
}

// cutMiddle returns s shortened in its middle to n columns.
func cutMiddle(s string, n int) string {
	if width(s) <= n {
		return s
	}
	front := n / 2
	return head(s, front) + "…" + tail(s, n-1-front)
}

// head returns as much of the beginning of s as fits into n columns.
func head(s string, n int) string {
	for i, r := range s {
		if n -= runeWidth(r); n < 0 {
			return s[:i]
		}
	}
	return s
}

// tail returns as much of the end of s as fits into n columns.
func tail(s string, n int) string {
	i := len(s)
	for i > 0 {
		r, size := utf8.DecodeLastRuneInString(s[:i])
		if n -= runeWidth(r); n < 0 {
			break
		}
		i -= size
	}
	return s[i:]
}

// clean returns s on one line and without characters that a terminal would obey:
// names, commands and messages come from files and programs.
func clean(s string) string {
	return strings.ReplaceAll(cleanLines(s), "\n", `\n`)
}

// cleanLines is clean, but keeps line ends and makes tabs blanks.
func cleanLines(s string) string {
	if strings.IndexFunc(s, func(r rune) bool {
		return r != '\n' && unicode.IsControl(r) || r == utf8.RuneError || unicode.Is(unicode.Bidi_Control, r)
	}) < 0 {
		return s
	}
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n':
			return r
		case r == '\t':
			return ' '
		case unicode.IsControl(r), unicode.Is(unicode.Bidi_Control, r):
			return utf8.RuneError
		}
		return r
	}, s)
}

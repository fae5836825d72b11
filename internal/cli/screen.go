package cli

import (
	"io"
	"os"

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

// paint returns text in that style, or text alone without colour.
func (s *screen) paint(st style, text string) string {
	if !s.color || st == plain || text == "" {
		return text
	}
	return "\x1b[" + string(st) + "m" + text + "\x1b[0m"
}

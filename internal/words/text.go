package words

import (
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

// A Style is an SGR parameter of ECMA-48. Only the eight colours that terminals
// let people choose are used, so that it reads on dark and on light.
type Style string

const (
	Plain  Style = ""
	Bold   Style = "1"
	Dim    Style = "2"
	Red    Style = "31"
	Green  Style = "32"
	Yellow Style = "33"
	Cyan   Style = "36"
)

// Width returns how many columns s takes on a terminal.
func Width(s string) int {
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

// Pad returns s with blanks behind it to n columns.
func Pad(s string, n int) string { return s + strings.Repeat(" ", max(0, n-Width(s))) }

// Cut returns s shortened at its end to n columns.
func Cut(s string, n int) string {
	if Width(s) <= n {
		return s
	}
	return head(s, n-1) + "…"
}

// CutMiddle returns s shortened in its middle to n columns.
func CutMiddle(s string, n int) string {
	if Width(s) <= n {
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

// escapes are the sequences of ECMA-48 by which a terminal is told of colours, its
// title and the like.
var escapes = regexp.MustCompile("\x1b(\\[[0-?]*[ -/]*[@-~]|\\][^\x07\x1b]*(\x07|\x1b\\\\)?|[()][0-~]|[=>78])")

// Bare returns a line that a program has printed without what is for terminals, and
// clean.
func Bare(s string) string { return Clean(escapes.ReplaceAllString(s, "")) }

// Clean returns s on one line and without characters that a terminal would obey:
// names, commands and messages come from files and programs.
func Clean(s string) string {
	return strings.ReplaceAll(CleanLines(s), "\n", `\n`)
}

// CleanLines is Clean, but keeps line ends and makes tabs blanks.
func CleanLines(s string) string {
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

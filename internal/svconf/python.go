package svconf

import (
	"fmt"
	"math"
	"math/big"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// This file holds what of Python's own ways shows in a configuration: which
// characters are blanks, what is a whole number, and how a value is written in a
// message.

// isSpace reports whether Python's str.isspace is true of r: four separators of
// ASCII more than Go knows.
func isSpace(r rune) bool {
	return unicode.IsSpace(r) || r >= 0x1c && r <= 0x1f
}

// strip is Python's str.strip.
func strip(s string) string { return strings.TrimFunc(s, isSpace) }

// lower is Python's str.lower, which makes two characters of a dotted İ.
func lower(s string) string {
	return strings.ToLower(strings.ReplaceAll(s, "\u0130", "i\u0307"))
}

// upper is Python's str.upper, as far as names of ours can need it.
func upper(s string) string { return strings.ToUpper(s) }

// repr is Python's repr of a text, as its messages quote values.
func repr(s string) string {
	quote := byte('\'')
	if strings.Contains(s, "'") && !strings.Contains(s, `"`) {
		quote = '"'
	}
	var b strings.Builder
	b.WriteByte(quote)
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && n == 1:
			fmt.Fprintf(&b, `\udc%02x`, s[i]) // as surrogateescape shows a byte of the environment
		case r == rune(quote) || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\r':
			b.WriteString(`\r`)
		case r == '\t':
			b.WriteString(`\t`)
		case unicode.IsPrint(r):
			b.WriteRune(r)
		default:
			b.WriteString(escaped(r))
		}
		i += n
	}
	b.WriteByte(quote)
	return b.String()
}

// ascii is Python's ascii of a text: repr, and all beyond ASCII escaped.
func ascii(s string) string {
	var b strings.Builder
	for _, r := range repr(s) {
		if r < 0x80 {
			b.WriteRune(r)
		} else {
			b.WriteString(escaped(r))
		}
	}
	return b.String()
}

func escaped(r rune) string {
	switch {
	case r < 0x100:
		return fmt.Sprintf(`\x%02x`, r)
	case r < 0x10000:
		return fmt.Sprintf(`\u%04x`, r)
	}
	return fmt.Sprintf(`\U%08x`, r)
}

// A number is a whole number as Python reads one, which has no largest.
type number struct {
	int          // cut to what an int holds
	big *big.Int // the number itself, if it was cut
}

func (n number) String() string {
	if n.big != nil {
		return n.big.String()
	}
	return strconv.Itoa(n.int)
}

// times multiplies, for units of sizes.
func (n number) times(factor int) number {
	if n.big == nil {
		if p := n.int * factor; p/factor == n.int {
			return number{int: p}
		}
		n.big = big.NewInt(int64(n.int))
	}
	return cut(new(big.Int).Mul(n.big, big.NewInt(int64(factor))))
}

func cut(n *big.Int) number {
	switch {
	case n.IsInt64():
		return number{int: int(n.Int64())}
	case n.Sign() < 0:
		return number{int: math.MinInt, big: n}
	}
	return number{int: math.MaxInt, big: n}
}

// maxDigits is how long a decimal number may be for Python, see its
// sys.set_int_max_str_digits.
const maxDigits = 4300

// parseInt is Python's int(s, base), for base 8 and 10: blanks around, a sign,
// single underscores between digits, the digits of any script.
func parseInt(s string, base int) (number, error) {
	bad := func() (number, error) {
		shown := repr(s)
		if runes := []rune(shown); len(runes) > 200 {
			shown = string(runes[:200])
		}
		return number{}, problem{message: fmt.Sprintf("invalid literal for int() with base %d: %s", base, shown), hint: "write a whole number"}
	}
	digits := strings.TrimSpace(s) // not strip: these are the blanks of C
	sign := ""
	if digits != "" && (digits[0] == '-' || digits[0] == '+') {
		sign, digits = digits[:1], digits[1:]
	}
	// The prefix may be followed by an underscore, as a digit may.
	prefixed := base == 8 && len(digits) > 2 && (digits[:2] == "0o" || digits[:2] == "0O")
	if prefixed {
		digits = digits[2:]
	}
	plain := make([]byte, 0, min(len(digits), 32))
	underscore := !prefixed // nothing, or an underscore, is before the next digit
	for _, r := range digits {
		d := digitOf(r)
		switch {
		case r == '_' && !underscore:
			underscore = true
			continue
		case d < 0 || d >= base:
			return bad()
		}
		underscore = false
		plain = append(plain, '0'+byte(d))
	}
	if underscore || len(plain) == 0 {
		return bad()
	}
	if base == 10 && len(plain) > maxDigits {
		return number{}, problem{message: fmt.Sprintf("Exceeds the limit (%d digits) for integer string conversion: value has %d digits; use sys.set_int_max_str_digits() to increase the limit", maxDigits, len(plain))}
	}
	n, ok := new(big.Int).SetString(sign+string(plain), base)
	if !ok {
		return bad()
	}
	return cut(n), nil
}

// digitOf returns the value of a decimal digit of any script, or -1. The digits
// of a script stand in a row of ten; rows may touch, so it is counted from the
// start of a range.
func digitOf(r rune) int {
	if r < 0x80 {
		if r >= '0' && r <= '9' {
			return int(r - '0')
		}
		return -1
	}
	if !unicode.Is(unicode.Nd, r) {
		return -1
	}
	for _, rg := range unicode.Nd.R16 {
		if rune(rg.Lo) <= r && r <= rune(rg.Hi) {
			return int(r-rune(rg.Lo)) % 10
		}
	}
	for _, rg := range unicode.Nd.R32 {
		if rune(rg.Lo) <= r && r <= rune(rg.Hi) {
			return int(r-rune(rg.Lo)) % 10
		}
	}
	return -1
}

// undecodable returns what Python's decoder says of the first bytes that are not
// UTF-8, and how many of text's bytes were handed out before it noticed: it
// reads pieces of 8192 bytes. ok is true if all is well.
func undecodable(text []byte) (message string, before int, ok bool) {
	if utf8.Valid(text) {
		return "", 0, true
	}
	const piece = 8192
	carried := 0 // start of a character that the piece before cut through
	for end := 0; ; {
		end = min(end+piece, len(text))
		i := carried
		for i < end {
			r, n := utf8.DecodeRune(text[i:end])
			if r != utf8.RuneError || n != 1 {
				i += n
				continue
			}
			length, reason := badSequence(text[i:end])
			if reason == "unexpected end of data" && end < len(text) {
				break // the next piece may go on with it
			}
			at := i - carried
			if length == 1 {
				return fmt.Sprintf("'utf-8' codec can't decode byte 0x%02x in position %d: %s", text[i], at, reason), carried, false
			}
			return fmt.Sprintf("'utf-8' codec can't decode bytes in position %d-%d: %s", at, at+length-1, reason), carried, false
		}
		carried = i
		if end == len(text) {
			return "", 0, true // not reached: some byte was bad
		}
	}
}

// badSequence tells how many bytes of b, which doesn't begin with a character,
// Python takes for the bad ones, and why.
func badSequence(b []byte) (length int, reason string) {
	need, low, high := 0, byte(0x80), byte(0xbf)
	switch c := b[0]; {
	case c >= 0xc2 && c <= 0xdf:
		need = 1
	case c >= 0xe0 && c <= 0xef:
		need = 2
		if c == 0xe0 {
			low = 0xa0
		} else if c == 0xed {
			high = 0x9f
		}
	case c >= 0xf0 && c <= 0xf4:
		need = 3
		if c == 0xf0 {
			low = 0x90
		} else if c == 0xf4 {
			high = 0x8f
		}
	default:
		return 1, "invalid start byte"
	}
	for i := 1; i <= need; i++ {
		if i == len(b) {
			return i, "unexpected end of data"
		}
		if b[i] < low || b[i] > high {
			return i, "invalid continuation byte"
		}
		low, high = 0x80, 0xbf
	}
	return 1, "invalid start byte" // not reached: b would begin with a character
}

package svconf

import "strings"

var (
	errNoClosing = problem{message: "No closing quotation", hint: "close the quote, or put a backslash before it"}
	errNoEscaped = problem{message: "No escaped character", hint: "a backslash at the end has nothing to escape: double it, or drop it"}
)

// SplitCommand splits a command line into its arguments as supervisord does: with
// the quotes and backslashes of a shell, but nothing else of one. The error says
// why supervisord fails to start such a command.
func SplitCommand(s string) ([]string, error) {
	argv := []string{}
	var word strings.Builder
	inWord := false
	end := func() {
		if inWord {
			argv = append(argv, word.String())
		}
		word.Reset()
		inWord = false
	}
	for i := 0; i < len(s); i++ {
		switch c := s[i]; c {
		case ' ', '\t', '\r', '\n':
			end()
		case '\'':
			n := strings.IndexByte(s[i+1:], '\'')
			if n < 0 {
				return nil, errNoClosing
			}
			word.WriteString(s[i+1 : i+1+n])
			inWord = true
			i += 1 + n
		case '"':
			inWord = true
			closed := false
			for i++; i < len(s); i++ {
				if s[i] == '"' {
					closed = true
					break
				}
				if s[i] == '\\' {
					if i++; i == len(s) {
						return nil, errNoEscaped
					}
					if s[i] != '"' && s[i] != '\\' {
						word.WriteByte('\\')
					}
				}
				word.WriteByte(s[i])
			}
			if !closed {
				return nil, errNoClosing
			}
		case '\\':
			if i++; i == len(s) {
				return nil, errNoEscaped
			}
			word.WriteByte(s[i])
			inWord = true
		default:
			word.WriteByte(c)
			inWord = true
		}
	}
	end()
	return argv, nil
}

// A pair is one variable of an environment.
type pair struct {
	name, value string
	after       string // what stands where a comma should; "" at the end
}

// parseEnvironment reads KEY=value,KEY2="value". The grammar is what falls out of
// taking the tokens of Python's lexer in steps of four, whatever the fourth is.
func parseEnvironment(s string) ([]pair, error) {
	tokens, err := lex(s)
	if err != nil {
		return nil, problem{message: err.Error(), hint: `close the quote; a quote within a value can't be escaped, use one kind within the other. Mind that " ;" and " #" begin a comment even within quotes`}
	}
	var pairs []pair
	for i := 0; i < len(tokens); i += 4 {
		if i+2 >= len(tokens) || tokens[i+1] != "=" {
			return nil, problem{
				message: "Unexpected end of key/value pairs in value '" + s + "'",
				hint:    `write KEY="value",KEY2="value": a value with other characters than letters, digits and _/.+-(): needs quotes, and commas stand between`,
			}
		}
		p := pair{name: tokens[i], value: strings.Trim(tokens[i+2], `'"`)}
		if i+3 < len(tokens) {
			p.after = tokens[i+3]
		}
		pairs = append(pairs, p)
	}
	return pairs, nil
}

// isWord reports whether the lexer takes r for a part of a word.
func isWord(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("_/.+-():", c) >= 0
}

// lex splits s into tokens as Python's shlex does when it isn't told to follow
// POSIX: words, quoted texts with their quotes, and single other characters.
func lex(s string) ([]string, error) {
	var tokens []string
	comment := func(i int) int { // the last byte of the comment at i
		if n := strings.IndexByte(s[i:], '\n'); n >= 0 {
			return i + n
		}
		return len(s)
	}
	for i := 0; i < len(s); {
		switch c := s[i]; {
		case c == ' ' || c == '\t' || c == '\r' || c == '\n':
			i++
		case c == '#':
			i = comment(i) + 1
		case c == '\'' || c == '"':
			n := strings.IndexByte(s[i+1:], c)
			if n < 0 {
				return nil, errNoClosing
			}
			tokens = append(tokens, s[i:i+n+2])
			i += n + 2
		case isWord(c):
			// Quotes within a word are like letters, and a comment within one
			// doesn't end it: the next line goes on.
			var word strings.Builder
			for i < len(s) {
				c := s[i]
				if c == '#' {
					i = min(comment(i)+1, len(s))
					continue
				}
				if !isWord(c) && c != '\'' && c != '"' {
					break
				}
				word.WriteByte(c)
				i++
			}
			tokens = append(tokens, word.String())
		default:
			n := 1
			for n < len(s)-i && s[i+n]&0xc0 == 0x80 && c >= 0x80 {
				n++ // all bytes of a character
			}
			tokens = append(tokens, s[i:i+n])
			i += n
		}
	}
	return tokens, nil
}

package conf

import (
	"strings"
)

// A variable is a line of an env file.
type variable struct {
	name, value string
	at          span
}

// An envFile is one that was read.
type envFile struct {
	path  string // absolute
	text  string
	value map[string]string // by name
	err   error             // why it can't be read
}

// A lineError is what is wrong with a part of a file.
type lineError struct {
	at            span
	message, hint string
}

// parseDotenv understands the lines of an env file:
//
//	NAME=value            # blanks around the value are dropped, a comment may follow
//	export NAME="a\nb"    # escapes \n \r \t \" \\ \$; may go over several lines
//	NAME='as it is'       # may go over several lines
//
// Nothing is substituted and no command is run. After an error it goes on with
// the next line.
func parseDotenv(text string) (list []variable, errs []lineError) {
	fail := func(from, to int, message, hint string) {
		errs = append(errs, lineError{span{from, to}, message, hint})
	}
	for pos := 0; pos < len(text); {
		end := lineEnd(text, pos)
		next := min(end+1, len(text))
		start := skipBlanks(text, pos, end)
		if start == end || text[start] == '#' || text[start:end] == "\r" {
			pos = next
			continue
		}
		if rest, ok := strings.CutPrefix(text[start:end], "export"); ok && rest != "" && (rest[0] == ' ' || rest[0] == '\t') {
			start = skipBlanks(text, start+len("export"), end)
		}
		equals := strings.IndexByte(text[start:end], '=')
		if equals < 0 {
			fail(start, end, "this is not NAME=value", "begin a comment with #")
			pos = next
			continue
		}
		name := strings.TrimRight(text[start:start+equals], " \t")
		if !isEnvName(name) {
			fail(start, start+equals, "this is not a name for a variable", "use letters, digits and _")
			pos = next
			continue
		}
		v := variable{name: name, at: span{start, start + len(name)}}
		from := skipBlanks(text, start+equals+1, end)
		if from == end || text[from] != '"' && text[from] != '\'' {
			v.value = unquotedEnv(text[from:end])
			list = append(list, v)
			pos = next
			continue
		}
		value, after, ok := quotedEnv(text, from)
		if !ok {
			fail(from, end, "the quote is not closed", "")
			pos = next
			continue
		}
		end = lineEnd(text, after)
		pos = min(end+1, len(text))
		if rest := strings.TrimSpace(text[after:end]); rest != "" && rest[0] != '#' {
			fail(after, end, "something follows the closing quote", "put the whole value into the quotes")
			continue
		}
		v.value = value
		list = append(list, v)
	}
	return list, errs
}

// isEnvName reports whether name is what env files call variables: what the
// shell does, and the dots and dashes that some programs want.
func isEnvName(name string) bool {
	for i := range len(name) {
		switch c := name[i]; {
		case c == '_', c >= 'A' && c <= 'Z', c >= 'a' && c <= 'z':
		case i > 0 && (c == '.' || c == '-' || c >= '0' && c <= '9'):
		default:
			return false
		}
	}
	return name != ""
}

// unquotedEnv returns a value without its comment: a # that begins it or
// follows a blank.
func unquotedEnv(s string) string {
	for i := range len(s) {
		if s[i] == '#' && (i == 0 || s[i-1] == ' ' || s[i-1] == '\t') {
			s = s[:i]
			break
		}
	}
	return strings.TrimSpace(s)
}

// quotedEnv returns the quoted value at text[from:], and where it ends.
func quotedEnv(text string, from int) (value string, after int, ok bool) {
	quote := text[from]
	var b strings.Builder
	for i := from + 1; i < len(text); i++ {
		switch c := text[i]; {
		case c == quote:
			return b.String(), i + 1, true
		case c == '\\' && quote == '"' && i+1 < len(text):
			i++
			switch text[i] {
			case 'n':
				b.WriteByte('\n')
			case 'r':
				b.WriteByte('\r')
			case 't':
				b.WriteByte('\t')
			case '"', '\\', '$':
				b.WriteByte(text[i])
			default:
				b.WriteByte('\\')
				b.WriteByte(text[i])
			}
		default:
			b.WriteByte(c)
		}
	}
	return "", 0, false
}

// lineEnd returns the index of the newline that ends the line at pos, or the
// length of text.
func lineEnd(text string, pos int) int {
	if n := strings.IndexByte(text[pos:], '\n'); n >= 0 {
		return pos + n
	}
	return len(text)
}

func skipBlanks(text string, pos, end int) int {
	for pos < end && (text[pos] == ' ' || text[pos] == '\t') {
		pos++
	}
	return pos
}

package xmlrpc

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"unicode/utf8"
)

// ErrLimit is wrapped by the errors of input that is well-formed as far as it
// was read, and larger than its [Limits].
var ErrLimit = errors.New("more than the limit")

// scanner cuts XML into tags and text. It is our own because encoding/xml keeps
// the attributes of a tag, which is many times their size in the input, and
// can't be told to let control characters pass, which supervisord sends.
type scanner struct {
	b       []byte
	i       int
	lenient bool // control characters and broken UTF-8 in text are let pass

	self []byte // a tag that closed itself, whose end comes next
}

// token is a tag or a piece of text. Its bytes are valid until the next one.
type token struct {
	kind byte // 'o'pening, 'c'losing, 't'ext, 'e'nd of input
	data []byte
}

// errorf returns an error that names the line.
func (s *scanner) errorf(format string, args ...any) error {
	line := 1 + bytes.Count(s.b[:min(s.i, len(s.b))], []byte{'\n'})
	return fmt.Errorf("line %d: %w", line, fmt.Errorf(format, args...))
}

// start takes the mark of byte order and the declaration, if they are there, and
// makes the text UTF-8.
func (s *scanner) start() error {
	s.b = bytes.TrimPrefix(s.b, []byte("\uFEFF"))
	if rest, ok := bytes.CutPrefix(s.b, []byte("<?xml")); ok && len(rest) > 0 && isSpace(rest[0]) {
		end := bytes.Index(rest, []byte("?>"))
		if end < 0 {
			return s.errorf("the XML declaration doesn't end")
		}
		s.i = len("<?xml") + end + len("?>")
		if err := s.recode(rest[:end]); err != nil {
			return err
		}
	}
	switch {
	case utf8.Valid(s.b):
	case s.lenient:
		s.b = bytes.ToValidUTF8(s.b, []byte("\uFFFD"))
	default:
		return errors.New("not UTF-8")
	}
	return nil
}

// recode changes the text from the encoding that its declaration names.
func (s *scanner) recode(declaration []byte) error {
	_, after, ok := bytes.Cut(declaration, []byte("encoding"))
	if !ok {
		return nil
	}
	name := bytes.ToLower(bytes.Trim(after, " \t\r\n='\""))
	if i := bytes.IndexAny(name, "'\""); i >= 0 {
		name = name[:i] // what follows is standalone=
	}
	switch string(name) {
	case "utf-8", "utf8", "us-ascii", "ascii":
	case "iso-8859-1", "latin1", "latin-1":
		out := make([]byte, 0, len(s.b)+len(s.b)/8)
		for _, c := range s.b {
			out = utf8.AppendRune(out, rune(c))
		}
		s.b = out // the declaration is ASCII: the place stays
	default:
		return s.errorf("encoding %q is not known; send UTF-8", name)
	}
	return nil
}

// next returns the next token. Comments and processing instructions are none.
func (s *scanner) next() (token, error) {
	if s.self != nil {
		name := s.self
		s.self = nil
		return token{'c', name}, nil
	}
	for {
		rest := s.b[s.i:]
		switch {
		case len(rest) == 0:
			return token{kind: 'e'}, nil
		case rest[0] != '<':
			return s.text()
		case bytes.HasPrefix(rest, []byte("<!--")):
			// "--" may not occur in a comment, so that its end is where it is.
			end := bytes.Index(rest[4:], []byte("--"))
			if end < 0 || len(rest) < 4+end+3 || rest[4+end+2] != '>' {
				return token{}, s.errorf("a comment doesn't end")
			}
			if err := s.chars(rest[4 : 4+end]); err != nil {
				return token{}, err
			}
			s.i += 4 + end + 3
		case bytes.HasPrefix(rest, []byte("<![CDATA[")):
			end := bytes.Index(rest, []byte("]]>"))
			if end < 0 {
				return token{}, s.errorf("a CDATA section doesn't end")
			}
			data := rest[len("<![CDATA["):end]
			if err := s.chars(data); err != nil {
				return token{}, err
			}
			s.i += end + len("]]>")
			return token{'t', newlines(data)}, nil
		case bytes.HasPrefix(rest, []byte("<?")):
			end := bytes.Index(rest, []byte("?>"))
			if end < 0 {
				return token{}, s.errorf("a processing instruction doesn't end")
			}
			if name := nameAt(rest[2:]); len(name) == 0 || bytes.EqualFold(name, []byte("xml")) {
				return token{}, s.errorf("a processing instruction %q where none may be", name)
			}
			if err := s.chars(rest[:end]); err != nil {
				return token{}, err
			}
			s.i += end + len("?>")
		case bytes.HasPrefix(rest, []byte("<!")):
			return token{}, s.errorf("a document type is not allowed")
		case bytes.HasPrefix(rest, []byte("</")):
			name := nameAt(rest[2:])
			after := trimSpace(rest[2+len(name):])
			if len(name) == 0 || len(after) == 0 || after[0] != '>' {
				return token{}, s.errorf("a closing tag without its name or end")
			}
			s.i = len(s.b) - len(after) + 1
			return token{'c', name}, nil
		default:
			return s.open(rest)
		}
	}
}

// open reads an opening tag. Attributes have no meaning here.
func (s *scanner) open(rest []byte) (token, error) {
	name := nameAt(rest[1:])
	if len(name) == 0 {
		return token{}, s.errorf("< is not the beginning of a tag; it is written &lt;")
	}
	after := rest[1+len(name):]
	for {
		blank := len(after) > 0 && isSpace(after[0])
		after = trimSpace(after)
		switch {
		case len(after) > 0 && after[0] == '>':
			s.i = len(s.b) - len(after) + 1
			return token{'o', name}, nil
		case bytes.HasPrefix(after, []byte("/>")):
			s.i = len(s.b) - len(after) + 2
			s.self = name
			return token{'o', name}, nil
		}
		attr := nameAt(after)
		if len(attr) == 0 || !blank {
			return token{}, s.errorf("the tag %q doesn't end", shorten(name))
		}
		after = trimSpace(after[len(attr):])
		if len(after) == 0 || after[0] != '=' {
			return token{}, s.errorf("attribute %q has no value", shorten(attr))
		}
		after = trimSpace(after[1:])
		if len(after) == 0 || after[0] != '"' && after[0] != '\'' {
			return token{}, s.errorf("the value of attribute %q has no quotes", shorten(attr))
		}
		end := bytes.IndexByte(after[1:], after[0])
		if end < 0 {
			return token{}, s.errorf("the value of attribute %q doesn't end", shorten(attr))
		}
		if value := after[1 : 1+end]; bytes.IndexByte(value, '<') >= 0 {
			return token{}, s.errorf("< in the value of attribute %q", shorten(attr))
		} else if err := s.chars(value); err != nil {
			return token{}, err
		} else if _, err := s.references(value); err != nil {
			return token{}, err
		}
		after = after[end+2:]
	}
}

// text reads text up to the next tag.
func (s *scanner) text() (token, error) {
	rest := s.b[s.i:]
	end := bytes.IndexByte(rest, '<')
	if end < 0 {
		end = len(rest)
	}
	raw := rest[:end]
	if bytes.Contains(raw, []byte("]]>")) {
		return token{}, s.errorf("]]> in text; it is written ]]&gt;")
	}
	if err := s.chars(raw); err != nil {
		return token{}, err
	}
	text, err := s.references(newlines(raw))
	if err != nil {
		return token{}, err
	}
	s.i += end
	return token{'t', text}, nil
}

// references replaces what begins with &.
func (s *scanner) references(b []byte) ([]byte, error) {
	if bytes.IndexByte(b, '&') < 0 {
		return b, nil
	}
	out := make([]byte, 0, len(b))
	for {
		i := bytes.IndexByte(b, '&')
		if i < 0 {
			return append(out, b...), nil
		}
		out = append(out, b[:i]...)
		b = b[i+1:]
		end := bytes.IndexByte(b, ';')
		if end < 0 {
			return nil, s.errorf("& is not the beginning of a reference; it is written &amp;")
		}
		name := b[:end]
		b = b[end+1:]
		switch string(name) {
		case "amp":
			out = append(out, '&')
		case "lt":
			out = append(out, '<')
		case "gt":
			out = append(out, '>')
		case "quot":
			out = append(out, '"')
		case "apos":
			out = append(out, '\'')
		default:
			r, ok := character(name)
			if !ok {
				return nil, s.errorf("the reference &%s; is not known", shorten(name))
			}
			out = utf8.AppendRune(out, r)
		}
	}
}

// character returns the character of a reference such as #233 or #xe9.
func character(name []byte) (rune, bool) {
	digits, ok := bytes.CutPrefix(name, []byte{'#'})
	base := 10
	if hex, isHex := bytes.CutPrefix(digits, []byte{'x'}); isHex {
		digits, base = hex, 16
	}
	if !ok || len(digits) == 0 || digits[0] == '+' || digits[0] == '-' {
		return 0, false
	}
	n, err := strconv.ParseUint(string(digits), base, 32)
	if err != nil || n > utf8.MaxRune || !utf8.ValidRune(rune(n)) || !allowed(rune(n)) {
		return 0, false
	}
	return rune(n), true
}

// chars checks that all characters are allowed in XML. supervisord sends those
// of logs as they are, so that many of its clients can't read an answer with an
// escape sequence in it; ours can.
func (s *scanner) chars(b []byte) error {
	if s.lenient {
		return nil
	}
	for i := 0; i < len(b); i++ {
		if c := b[i]; c < ' ' && c != '\n' && c != '\t' && c != '\r' {
			return s.errorf("character %#x is not allowed in XML", c)
		} else if c == 0xEF && i+2 < len(b) && b[i+1] == 0xBF && b[i+2] >= 0xBE {
			return s.errorf("character U+FFFE or U+FFFF is not allowed in XML")
		}
	}
	return nil
}

// allowed says whether XML 1.0 has the character r.
func allowed(r rune) bool {
	return r >= ' ' && r != 0xFFFE && r != 0xFFFF || r == '\n' || r == '\t' || r == '\r'
}

// newlines makes all ends of lines \n, as XML wants it.
func newlines(b []byte) []byte {
	if bytes.IndexByte(b, '\r') < 0 {
		return b
	}
	b = bytes.ReplaceAll(b, []byte("\r\n"), []byte{'\n'})
	return bytes.ReplaceAll(b, []byte{'\r'}, []byte{'\n'})
}

// nameAt returns the name that b begins with, or nothing.
func nameAt(b []byte) []byte {
	n := 0
	for n < len(b) {
		c := b[n]
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '_' || c == ':' || c >= utf8.RuneSelf
		if !letter && (n == 0 || (c < '0' || c > '9') && c != '-' && c != '.') {
			break
		}
		n++
	}
	return b[:n]
}

func isSpace(c byte) bool { return c == ' ' || c == '\t' || c == '\n' || c == '\r' }

func trimSpace(b []byte) []byte {
	for len(b) > 0 && isSpace(b[0]) {
		b = b[1:]
	}
	return b
}

func blank(b []byte) bool { return len(trimSpace(b)) == 0 }

// shorten keeps what somebody sent from filling an error.
func shorten(b []byte) string {
	if len(b) > 40 {
		return string(bytes.ToValidUTF8(b[:40], nil)) + "…"
	}
	return string(b)
}

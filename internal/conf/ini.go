package conf

import (
	"slices"
	"strings"
	"unicode/utf8"
)

// An iniReader turns the lines of an INI file into sections, by the rules of
// PHP's parse_ini_file with INI_SCANNER_NORMAL, which the original daemon's
// files are read with. It differs where PHP would refuse a command or lose a
// part of it:
//
//   - the characters {}|&~!()^ and = are like any other in a value,
//   - a ; inside a word of a text belongs to it (PHP: a comment),
//   - a command that is quoted in parts keeps its quotes, for the shell,
//   - yes, no, null and the like are understood by the key, so that text can be
//     any of these words.
//
// Each of the first three comes with a warning where it changes the meaning.
type iniReader struct {
	l        *load
	src      *source
	text     string
	sections []*section
	current  *section
	stray    bool // a key outside of any section was told of
}

func (l *load) readINI(src *source) []*section {
	r := iniReader{l: l, src: src, text: src.text}
	for pos := 0; pos < len(r.text); {
		pos = r.readLine(pos)
	}
	return r.sections
}

// findSupervisord looks for a section that only supervisord has.
func findSupervisord(text string) (span, bool) {
	for pos := 0; pos < len(text); pos = lineEnd(text, pos) + 1 {
		line := strings.TrimRight(text[pos:lineEnd(text, pos)], " \t\r")
		if !strings.HasPrefix(line, "[") {
			continue
		}
		name, _, _ := strings.Cut(line[1:], "]")
		kind, _, colon := strings.Cut(name, ":")
		switch kind {
		case "program", "group", "eventlistener", "fcgi-program", "rpcinterface", "ctlplugin":
			if !colon {
				continue
			}
		case "supervisord", "supervisorctl", "unix_http_server", "inet_http_server":
		default:
			continue
		}
		return span{pos + 1, pos + 1 + len(name)}, true
	}
	return span{}, false
}

func (r *iniReader) say(at span, severity Severity, key, hint, message string) {
	program := ""
	if r.current != nil {
		program = r.current.name
	}
	r.l.sayAt(r.src, at, severity, program, key, hint, "%s", message)
}

// readLine reads what begins at pos, and returns where the next line begins.
func (r *iniReader) readLine(pos int) int {
	end := lineEnd(r.text, pos)
	start := skipBlanks(r.text, pos, end)
	line := strings.TrimRight(r.text[start:end], " \t\r")
	switch {
	case line == "" || line[0] == ';':
		return end + 1
	case line[0] == '#':
		// To PHP it is a key, which the original daemon takes no notice of.
		r.say(span{start, start + 1}, Warning, "", "begin it with ;", "# doesn't begin a comment in INI files; this line is left out")
		return end + 1
	case line[0] == '[':
		r.header(start, line)
		return end + 1
	}
	equals := strings.IndexByte(line, '=')
	if equals < 0 {
		r.say(span{start, start + len(line)}, Error, "", "begin a comment with ;", "this is not key = value")
		if r.current != nil {
			r.current.broken = true
		}
		return end + 1
	}
	key := strings.TrimRight(line[:equals], " \t")
	at := span{start, start + len(key)}
	key, index, list := cutIndex(key)
	if index != "" {
		key += "." + index
	}
	if key == "" {
		r.say(span{start, start + equals + 1}, Error, "", "write key = value", "the key is missing")
	}
	value, val, next := r.value(key, start+equals+1)
	if key == "" {
		return next
	}
	if r.current == nil {
		if !r.stray {
			r.say(at, Error, key, "a program is a section: write [NAME] above it", key+" stands outside of any section")
		}
		r.stray = true
		return next
	}
	if text, ok := value.(string); ok && !utf8.ValidString(text) {
		r.say(val, Error, key, "save the file as UTF-8", "the value is not UTF-8")
		value = invalid{}
	}
	r.entry(entry{key: key, value: value, at: at, val: val}, list && index == "")
	return next
}

// cutIndex parts "key[index]". list reports whether there are brackets.
func cutIndex(key string) (name, index string, list bool) {
	if !strings.HasSuffix(key, "]") {
		return key, "", false
	}
	name, index, ok := strings.Cut(key[:len(key)-1], "[")
	if !ok {
		return key, "", false
	}
	return strings.TrimRight(name, " \t"), strings.Trim(index, " \t\"'"), true
}

// entry adds an entry to the section. As in PHP, the last of equal keys counts,
// and those with [] make a list.
func (r *iniReader) entry(e entry, list bool) {
	i := slices.IndexFunc(r.current.entries, func(o entry) bool { return o.key == e.key })
	if list {
		if i >= 0 {
			old := &r.current.entries[i]
			if values, ok := old.value.([]any); ok {
				if _, bad := e.value.(invalid); !bad {
					old.value = append(values, e.value)
				}
				old.val.to = max(old.val.to, e.val.to)
				return
			}
		}
		if _, bad := e.value.(invalid); !bad {
			e.value = []any{e.value}
		}
	}
	if i < 0 {
		r.current.entries = append(r.current.entries, e)
		return
	}
	r.say(e.at, Warning, e.key, "drop one of them", e.key+" is given twice: this one counts")
	r.current.entries[i] = e
}

// header begins a section: [name], with a comment behind it at most.
func (r *iniReader) header(start int, line string) {
	closing := strings.IndexByte(line, ']')
	if closing < 0 {
		r.l.partial = true
		r.current = nil
		r.stray = true // its keys are not told of
		r.say(span{start, start + len(line)}, Error, "", "write [NAME]", "the bracket is not closed")
		return
	}
	if rest := strings.TrimLeft(line[closing+1:], " \t"); rest != "" && rest[0] != ';' && rest[0] != '#' {
		at := start + len(line) - len(rest)
		r.say(span{at, at + len(rest)}, Error, "", "write it on a line of its own", "something follows the section's name")
	}
	inside := line[1:closing]
	name := strings.Trim(inside, " \t")
	if n := len(name); n >= 2 && (name[0] == '"' || name[0] == '\'') && name[n-1] == name[0] {
		name = name[1 : n-1]
	}
	at := span{start + 1, start + closing}
	r.current = &section{src: r.src, name: name, at: at, settings: name == "tend", explicit: true}
	r.sections = append(r.sections, r.current)
}

// value reads the value that begins at pos. It returns the place of it, and
// where the next line begins: a quoted one may go over several lines.
func (r *iniReader) value(key string, pos int) (value any, at span, next int) {
	end := lineEnd(r.text, pos)
	start := skipBlanks(r.text, pos, end)
	if start < end && (r.text[start] == '"' || r.text[start] == '\'') {
		text, after, ok := r.quoted(start)
		if !ok {
			r.say(span{start, end}, Error, key, "close it, or leave both quotes out", "the quote is not closed")
			return invalid{}, span{start, end}, end + 1
		}
		end = lineEnd(r.text, after)
		rest := strings.TrimSpace(r.text[after:end])
		if rest == "" || rest[0] == ';' {
			return text, span{start, after}, end + 1
		}
	}
	line := r.text[start:end]
	var b strings.Builder
	var parts bool // some part is quoted
	isText := isText(key)
	i := 0
scan:
	for i < len(line) {
		blank := i == 0 || line[i-1] == ' ' || line[i-1] == '\t'
		switch c := line[i]; {
		case c == ';' && (blank || !isText):
			if isText {
				r.say(span{start + i, start + i + 1}, Warning, key, "if it is part of the value, put the value into quotes", "a comment begins at the ;")
			}
			break scan
		case c == ';':
			r.say(span{start + i, start + i + 1}, Warning, key, "put the value into quotes", "the ; is part of the value here; to PHP it begins a comment")
			b.WriteByte(c)
			i++
		case c == '"', c == '\'' && blank:
			text, after, ok := r.quoted(start + i)
			if !ok || after > end {
				r.say(span{start + i, end}, Error, key, "close it, or put the whole value into quotes", "the quote is not closed")
				return invalid{}, span{start, end}, end + 1
			}
			parts = true
			b.WriteString(text)
			i = after - start
		default:
			b.WriteByte(c)
			i++
		}
	}
	raw := strings.TrimRight(line[:i], " \t\r")
	at = span{start, start + len(raw)}
	if parts && isCommand(key) {
		r.say(at, Warning, key, "put the whole value into quotes, or write \\\" within it", "the quotes are kept for the shell; PHP would drop them")
		return raw, at, end + 1
	}
	return strings.TrimRight(b.String(), " \t\r"), at, end + 1
}

// quoted returns the quoted text at pos, and where it ends. Only in double
// quotes a backslash takes the meaning of a quote or backslash behind it. A text
// that would swallow a section's header is one whose quote isn't closed.
func (r *iniReader) quoted(pos int) (text string, after int, ok bool) {
	quote := r.text[pos]
	var b strings.Builder
	for i := pos + 1; i < len(r.text); i++ {
		switch c := r.text[i]; {
		case c == quote:
			return b.String(), i + 1, true
		case c == '\\' && quote == '"' && i+1 < len(r.text) && strings.IndexByte(`"\'`, r.text[i+1]) >= 0:
			i++
			b.WriteByte(r.text[i])
		case c == '\n' && strings.HasPrefix(r.text[i+1:], "["):
			return "", 0, false
		case c == '\r' && strings.HasPrefix(r.text[i+1:], "\n"): // Windows line end
		default:
			b.WriteByte(c)
		}
	}
	return "", 0, false
}

func isCommand(key string) bool {
	return key == "command" || key == "stop_command"
}

// isText reports whether the value of a key is free text, in which a ; may be
// meant.
func isText(key string) bool {
	if strings.HasPrefix(key, "env.") {
		return true
	}
	f := fields[key]
	return f != nil && (f.kind == "command" || f.kind == "string")
}

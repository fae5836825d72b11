package conf

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/pelletier/go-toml/v2/unstable"

	"tend/internal/spec"
)

// A tomlReader turns the expressions of a TOML file into sections. It walks the
// parser's nodes: decoding by reflection would lose the places and the time.
type tomlReader struct {
	l        *load
	src      *source
	data     []byte
	base     int // where in data the parser's input begins
	parser   unstable.Parser
	sections []*section
	byName   map[string]*section
	headers  map[string]int // dotted names of sub-tables, and where they are
	current  *section       // that of the last header, nil before the first
	prefix   string         // key of the header's sub-table, with a dot, or ""
	skip     bool           // the header's table is refused: its keys aren't looked at
	memory   map[string]*kept
	mixed    bool // the text of a kept section is not all of it
}

// readTOML returns the sections of a TOML file. Sections whose text is the same
// as that of the last load aren't parsed again.
func (l *load) readTOML(src *source) []*section {
	t := tomlReader{l: l, src: src, data: []byte(src.text), memory: l.memory.sections(src)}
	before := len(l.result.Diagnostics)
	t.read()
	if t.mixed {
		for _, d := range l.result.Diagnostics[before:] {
			delete(l.said, d)
		}
		l.result.Diagnostics = l.result.Diagnostics[:before]
		t = tomlReader{l: l, src: src, data: t.data}
		t.read()
	}
	return t.sections
}

func (t *tomlReader) read() {
	t.byName = make(map[string]*section, len(t.memory))
	t.sections = make([]*section, 0, len(t.memory)+1)
	t.parser.Reset(t.data)
	for !t.mixed {
		if t.parser.NextExpression() {
			t.expression(t.parser.Expression())
			continue
		}
		err := t.parser.Error()
		if err == nil {
			break
		}
		// All errors are to be found, so go on with the next table.
		if pos, atHeader := t.syntaxError(err); !t.resume(pos, atHeader) {
			break
		}
	}
	t.close(len(t.data))
}

// at returns the range in the file of a part of the parser's input.
func (t *tomlReader) at(r unstable.Range) span {
	from := t.base + int(r.Offset)
	return span{from, from + int(r.Length)}
}

// syntaxError reports err and returns where in the file it is; atHeader says that
// it is at a header, which can be read.
func (t *tomlReader) syntaxError(err error) (pos int, atHeader bool) {
	resume := 0
	t.l.partial = true
	message, at := err.Error(), span{len(t.data), len(t.data)}
	var parserError *unstable.ParserError
	if errors.As(err, &parserError) && cap(parserError.Highlight) > 0 {
		// As Parser.Range does, which panics where the part isn't one.
		from := max(0, min(cap(t.data)-cap(parserError.Highlight), len(t.data)))
		at = span{from, min(from+max(1, len(parserError.Highlight)), len(t.data))}
	}
	program, hint := "", ""
	start := strings.LastIndexByte(t.src.text[:at.from], '\n') + 1
	header := strings.HasPrefix(t.src.text[start:], "[")
	if s := t.current; s != nil {
		s.text = ""
		if !header {
			s.broken, program = true, s.name
		}
	}
	is := func(parts ...string) bool {
		return slices.ContainsFunc(parts, func(p string) bool { return strings.Contains(message, p) })
	}
	foreign := at.from < len(t.data) && t.data[at.from] >= utf8.RuneSelf
	switch inList := is("of value", "array is", "array value", "expected value", "expected keyword"); {
	case header && inList && start > t.base: // else the header itself is wrong
		message, hint = "a list above is not closed", "close it with ]"
		resume = start
		if t.current != nil {
			t.current.broken = true
		}
	case is("incomplete"), inList && (at.from == len(t.data) || t.data[at.from] == '\n' || t.data[at.from] == '\r'):
		message = "the value is missing or not finished"
	case is("start of value", "expected keyword", "strings must be quoted"):
		message, hint = "this is not a value", `put strings into quotes: "…"`
		at = t.wordAt(at)
	case is("strings cannot have new lines", "unterminated"):
		message, hint = "the quote is not closed", `close it on the same line, or use """ for several lines`
	case is("leading zeroes"):
		message, hint = "a number can't begin with a zero", `write an octal mode in quotes, as "022"`
		at = t.wordAt(at)
	case foreign && is("expected '=' after key", "at start of key", "to close table name"):
		message, hint = "a name with letters other than a to z must be quoted", "put it into double quotes"
	case is("expected '=' after key"):
		message, hint = "expected = after the key", "write key = value"
	case is("at start of key"):
		message, hint = "a key can't begin like this", "keys are letters, digits, _ and -; quote others"
	case is("to close table name"):
		message, hint = "the bracket is not closed", "write [NAME]"
	case is("expected newline"):
		message, hint = "expected the end of the line", "write one key = value a line"
	}
	t.l.sayAt(t.src, at, Error, program, "", hint, "%s", message)
	if resume > 0 {
		return resume, true
	}
	return at.from, false
}

// wordAt widens a place to the word it begins.
func (t *tomlReader) wordAt(at span) span {
	line := t.src.text[at.from:lineEnd(t.src.text, at.from)]
	if n := strings.IndexAny(line, " \t\r,]}#"); n > 0 {
		line = line[:n]
	}
	return span{at.from, at.from + len(line)}
}

// resume makes the parser go on at the first header behind pos, or at pos.
func (t *tomlReader) resume(pos int, atHeader bool) bool {
	for pos < len(t.data) {
		if !atHeader {
			pos = lineEnd(t.src.text, pos) + 1
		}
		atHeader = false
		if pos < len(t.data) && t.data[pos] == '[' {
			t.base = pos
			t.parser.Reset(t.data[pos:])
			return true
		}
	}
	return false
}

func (t *tomlReader) expression(n *unstable.Node) {
	switch n.Kind {
	case unstable.Table:
		t.header(n)
	case unstable.ArrayTable:
		it := n.Key()
		it.Next()
		name, at := string(it.Node().Data), t.at(it.Node().Raw)
		t.close(at.from)
		for full := name; it.Next(); {
			full += "." + string(it.Node().Data)
			at.to, name = t.at(it.Node().Raw).to, full
		}
		t.l.sayAt(t.src, at, Error, name, "", fmt.Sprintf("write [%s]; copies are made by instances = 2", name), "[[%s]] begins a list of tables: a program is one table", name)
		t.current, t.prefix, t.skip = nil, "", true
	case unstable.KeyValue:
		t.keyValue(n)
	}
}

// open returns where the bracket is that opens the header with a key at pos.
func (t *tomlReader) open(pos int) int {
	return max(0, strings.LastIndexByte(t.src.text[:pos], '['))
}

// close ends the section of the last header at pos.
func (t *tomlReader) close(pos int) {
	if s := t.current; s != nil && s.text != "" && s.old == nil {
		s.text = t.src.text[t.open(s.at.from):pos]
	}
	t.current = nil
}

func (t *tomlReader) header(n *unstable.Node) {
	it := n.Key()
	it.Next()
	node := it.Node()
	at := t.at(node.Raw)
	var parts []string
	last := at
	for it.Next() {
		parts = append(parts, string(it.Node().Data))
		last = t.at(it.Node().Raw)
	}
	t.prefix, t.skip = "", false

	if s := t.current; s != nil && len(parts) > 0 && s.old == nil && s.name == string(node.Data) {
		// Still the same piece of text.
	} else {
		from := t.open(at.from)
		t.close(from)
		name := string(node.Data)
		if s := t.byName[name]; s != nil {
			t.mixed = t.mixed || s.old != nil
			s.text = "" // it has several pieces
			if len(parts) == 0 && s.explicit {
				s = nil
			}
			t.current = s
		}
		if t.current == nil {
			t.current = t.section(name, at)
			t.current.text = "…" // until close knows it
		}
		t.current.explicit = t.current.explicit || len(parts) == 0
		if len(parts) == 0 && t.reuse(t.current, from) {
			return
		}
	}
	if len(parts) > 0 {
		t.subTable(parts, last)
	}
}

// subTable begins the table [current.parts…].
func (t *tomlReader) subTable(parts []string, at span) {
	s, key := t.current, strings.Join(parts, ".")
	full := s.name + "\x00" + key
	if first, ok := t.headers[full]; ok {
		t.l.sayAt(t.src, at, Error, s.name, key, "make one of the two", "the table %s is given twice; first in line %d", key, t.src.line(first))
	}
	if t.headers == nil {
		t.headers = make(map[string]int)
	}
	t.headers[full] = at.from
	if t.isTable(s, key) {
		t.prefix = key + "."
		return
	}
	// It is refused as the key that it isn't, and its own keys with it.
	t.skip = true
	s.entries = append(s.entries, entry{key: key, value: map[string]any{}, at: at, val: at})
}

// isTable reports whether key holds other keys in that section.
func (t *tomlReader) isTable(s *section, key string) bool {
	if s.settings {
		if key == "log" || key == "default" {
			return true
		}
		rest, ok := strings.CutPrefix(key, "default.")
		return ok && isTable(rest)
	}
	return isTable(key)
}

// section begins a section.
func (t *tomlReader) section(name string, at span) *section {
	s := &section{src: t.src, name: name, at: at, settings: name == "tend"}
	t.sections = append(t.sections, s)
	t.byName[name] = s
	return s
}

// reuse looks whether the section that begins at from was the same in the last
// load, and if so skips it. A section's text reaches to the next header, and the
// parser is between two expressions at both ends, so the same text means the
// same. Should more of the section follow, the file is read again without
// memory (see mixed).
func (t *tomlReader) reuse(s *section, from int) bool {
	k := t.memory[s.name]
	if k == nil || !strings.HasPrefix(t.src.text[from:], k.text) {
		return false
	}
	end := from + len(k.text)
	if end < len(t.data) && (t.data[end] != '[' || t.data[end-1] != '\n') {
		return false
	}
	s.old, s.text = k, t.src.text[from:end]
	t.l.reused = true
	t.base = end
	t.parser.Reset(t.data[end:])
	return true
}

func (t *tomlReader) keyValue(n *unstable.Node) {
	if t.skip {
		return
	}
	it := n.Key()
	it.Next()
	first := it.Node()
	at := t.at(first.Raw)
	key := string(first.Data)
	s := t.current
	if s == nil {
		// Before the first header: only dotted keys and inline tables are
		// programs, as in web.command = "…".
		if !it.Next() {
			t.topLevel(key, at, n)
			return
		}
		s = t.pieceOf(key, at)
		first = it.Node()
		at, key = t.at(first.Raw), string(first.Data)
	}
	for it.Next() {
		key += "." + string(it.Node().Data)
		at.to = t.at(it.Node().Raw).to
	}
	t.entry(s, t.prefix+key, at, n)
}

// pieceOf returns the section with that name, for a piece of it outside of its
// own header.
func (t *tomlReader) pieceOf(name string, at span) *section {
	s := t.byName[name]
	if s == nil {
		s = t.section(name, at)
	}
	return s
}

// topLevel handles a key with a value outside of any table.
func (t *tomlReader) topLevel(name string, at span, n *unstable.Node) {
	value := n.Value()
	if value.Kind != unstable.InlineTable {
		hint := fmt.Sprintf("a program is a table: write [%s] and command = …", name)
		if spec.FieldOf(name) != nil || settingOf(name) != nil {
			hint = "write it below a header: [web] for a program, [tend] for the daemon"
		}
		t.l.sayAt(t.src, at, Error, "", name, hint, "%s stands outside of any table", name)
		return
	}
	s := t.pieceOf(name, at)
	if s.explicit {
		s = t.section(name, at) // told of as a second one
	}
	s.explicit = true
	t.inline(s, "", value)
}

// entry adds a key with the value of n to a section; tables become dotted keys.
func (t *tomlReader) entry(s *section, key string, at span, n *unstable.Node) {
	value := n.Value()
	if value.Kind == unstable.InlineTable && t.isTable(s, key) {
		t.inline(s, key+".", value)
		return
	}
	e := entry{key: key, at: at, val: t.valueSpan(at, n)}
	v, err := t.value(value)
	if err != nil {
		t.l.sayValue(t.src, e, s.name, err)
		v = invalid{}
	}
	e.value = v
	for _, other := range s.entries {
		if other.key == key {
			t.l.sayAt(t.src, at, Error, s.name, key, "drop one of the two", "%s is given twice; first in line %d", key, t.src.line(other.at.from))
			return
		}
	}
	s.entries = append(s.entries, e)
}

// inline adds the keys of an inline table.
func (t *tomlReader) inline(s *section, prefix string, table *unstable.Node) {
	for children := table.Children(); children.Next(); {
		n := children.Node()
		if n.Kind != unstable.KeyValue {
			continue
		}
		it := n.Key()
		it.Next()
		key, at := string(it.Node().Data), t.at(it.Node().Raw)
		for it.Next() {
			key += "." + string(it.Node().Data)
			at.to = t.at(it.Node().Raw).to
		}
		t.entry(s, prefix+key, at, n)
	}
}

// valueSpan returns where the value of n is, whose key is at: the parser has no
// range of its own for lists and tables.
func (t *tomlReader) valueSpan(key span, n *unstable.Node) span {
	end := t.at(n.Raw).to
	from := key.to
	for from < end && (t.data[from] == ' ' || t.data[from] == '\t' || t.data[from] == '=') {
		from++
	}
	return span{from, end}
}

// value returns a node's value as [spec.Field.Set] takes it.
func (t *tomlReader) value(n *unstable.Node) (any, error) {
	switch n.Kind {
	case unstable.String:
		s := string(n.Data)
		if strings.IndexByte(s, 0) >= 0 {
			return nil, &spec.ValueError{Message: "a value can't hold a NUL character"}
		}
		return s, nil
	case unstable.Bool:
		return n.Data[0] == 't', nil
	case unstable.Integer:
		text := strings.ReplaceAll(string(n.Data), "_", "")
		base := 10
		if strings.HasPrefix(text, "0") && len(text) > 2 {
			base = 0 // 0x, 0o, 0b
		}
		i, err := strconv.ParseInt(text, base, 64)
		if err != nil {
			return nil, &spec.ValueError{Message: text + " is too large"}
		}
		return i, nil
	case unstable.Float:
		text := strings.ReplaceAll(string(n.Data), "_", "")
		f, err := strconv.ParseFloat(text, 64)
		if err != nil && !math.IsInf(f, 0) {
			return nil, &spec.ValueError{Message: text + " is not a number"}
		}
		return f, nil
	case unstable.Array:
		list := []any{}
		for children := n.Children(); children.Next(); {
			if children.Node().Kind == unstable.Comment {
				continue
			}
			v, err := t.value(children.Node())
			if err != nil {
				return nil, err
			}
			list = append(list, v)
		}
		return list, nil
	case unstable.InlineTable:
		return map[string]any{}, nil // no key takes one: it is only to be refused
	}
	return other(n.Data), nil // dates and times
}

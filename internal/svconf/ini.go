package svconf

import (
	"fmt"
	"slices"
	"strings"
)

// A Source is a place in a file.
type Source struct {
	File string // as supervisord names it: the root as it was given, an included one with the folder of the root
	Line int    // from 1
}

// An Option is an option of a section as it stands in a file: its name in lower
// case, its value before any expansion but that of %(here)s, which supervisord
// replaces early where there is an [include].
type Option struct {
	Name   string
	Value  string
	Source Source
}

// A Section is all that the files say under one header.
type Section struct {
	Name    string
	Source  Source // of its first header; of none in the text if it is [DEFAULT]
	Options []Option

	index map[string]int // of options
}

// Option returns the option of that name, which is in lower case.
func (s *Section) Option(name string) (Option, bool) {
	i, ok := s.index[name]
	if !ok {
		return Option{}, false
	}
	return s.Options[i], true
}

// set adds an option or gives it a new value at its old place.
func (s *Section) set(o Option) int {
	i, ok := s.index[o.Name]
	if !ok {
		i = len(s.Options)
		if s.index == nil {
			s.index = make(map[string]int)
		}
		s.index[o.Name] = i
		s.Options = append(s.Options, o)
	}
	s.Options[i] = o
	return i
}

// A place names one option that still has to be looked at.
type place struct {
	section *Section
	index   int
}

// An ini is what the files hold, merged: the dialect is that of Python's
// RawConfigParser with comments behind values, and without objection to
// anything that is there twice.
type ini struct {
	defaults Section // [DEFAULT]
	sections []*Section
	byName   map[string]*Section
	meter    *meter

	here []place // options whose value holds %(here)s still
}

const herePattern = "%(here)s"

// lookup returns an option of a section, or else that of [DEFAULT].
func (f *ini) lookup(s *Section, name string) (Option, bool) {
	if o, ok := s.Option(name); ok {
		return o, true
	}
	return f.defaults.Option(name)
}

// options returns all options of a section: its own, then those of [DEFAULT].
func (f *ini) options(s *Section) []Option {
	list := slices.Clone(s.Options)
	for _, o := range f.defaults.Options {
		if _, ok := s.Option(o.Name); !ok {
			list = append(list, o)
		}
	}
	return list
}

// A syntaxError is a file that isn't a configuration at all. It ends the reading.
type syntaxError struct {
	problem
	line int
}

// splitLines cuts a text into lines with their ends, which may be those of Unix, of
// Windows and of the old Mac.
func splitLines(text string) []string {
	if strings.Contains(text, "\r") {
		text = strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(text)
	}
	list := strings.SplitAfter(text, "\n")
	if n := len(list); list[n-1] == "" {
		list = list[:n-1]
	}
	return list
}

// read adds what a file holds. A file with errors in it is read to its end, so
// that all of them are told of, except where it doesn't begin with a section.
func (f *ini) read(file string, text []byte) error {
	undecoded, before, ok := undecodable(text)
	if !ok {
		// Python hands out lines as long as it can decode them.
		if n := strings.LastIndexByte(string(text[:before]), '\n'); n >= 0 {
			if err := f.readLines(file, splitLines(string(text[:n+1]))); err != nil && err.headless {
				return err.error()
			}
		}
		return syntaxError{problem{message: undecoded, hint: "save the file as UTF-8"}, lineOfBad(text)}
	}
	if err := f.readLines(file, splitLines(string(text))); err != nil {
		return err.error()
	}
	return nil
}

// lineOfBad returns the line of the first byte that isn't UTF-8.
func lineOfBad(text []byte) int {
	good := strings.ToValidUTF8(string(text), "\x00\xff") // can't be in it
	at := strings.Index(good, "\x00\xff")
	if at < 0 {
		return 0
	}
	return 1 + strings.Count(good[:at], "\n")
}

// badLines are the lines of a file that are neither header, option nor comment.
type badLines struct {
	file     string
	headless bool // there is but one, and it is before any header
	lines    []string
	numbers  []int
}

// error makes the error of them.
func (b *badLines) error() error {
	if b.headless {
		line := b.lines[0]
		hint := "begin with a section, as [program:NAME]"
		if strings.HasPrefix(line, "\ufeff") {
			hint = "the file begins with a byte order mark: save it as UTF-8 without one"
		}
		return syntaxError{problem{
			message: fmt.Sprintf("File contains no section headers.\nfile: %s, line: %d\n%s", repr(b.file), b.numbers[0], repr(line)),
			hint:    hint,
		}, b.numbers[0]}
	}
	var m strings.Builder
	m.WriteString("Source contains parsing errors: " + repr(b.file))
	for i, line := range b.lines {
		fmt.Fprintf(&m, "\n\t[line %2d]: %s", b.numbers[i], repr(line))
	}
	return syntaxError{problem{message: m.String(), hint: "a line is [section], key=value, a comment, or goes on with the value above if it begins with a blank"}, b.numbers[0]}
}

// readLines adds the options of lines.
func (f *ini) readLines(file string, lines []string) *badLines {
	var (
		bad     *badLines
		section *Section
		name    string   // of the option that lines may go on with; "" none
		value   []string // its lines
		source  Source   // its place
		indent  int      // of it
	)
	// The value of an option is known when the next one begins.
	finish := func() {
		if name == "" || section == nil {
			return
		}
		text := strings.TrimRightFunc(strings.Join(value, "\n"), isSpace)
		i := section.set(Option{Name: name, Value: text, Source: source})
		if section != &f.defaults && strings.Contains(text, herePattern) {
			f.here = append(f.here, place{section, i})
		}
		name, value = "", nil
	}
	for i, line := range lines {
		comment := commentStart(line)
		text := line
		if comment >= 0 {
			text = line[:comment]
		}
		text = strip(text)
		if text == "" {
			if comment < 0 && name != "" {
				value = append(value, "")
			}
			continue
		}
		in := indentation(line)
		if name != "" && in > indent {
			value = append(value, text)
			continue
		}
		indent = in
		if header, ok := header(text); ok {
			finish()
			section = f.section(header, Source{file, i + 1})
			continue
		}
		if section == nil {
			return &badLines{file: file, headless: true, lines: []string{line}, numbers: []int{i + 1}}
		}
		at := strings.IndexAny(text, "=:")
		if at <= 0 { // nothing to split at, or nothing before it
			if at == 0 {
				finish() // what follows doesn't go on with the option above
			}
			if bad == nil {
				bad = &badLines{file: file}
			}
			bad.lines = append(bad.lines, line)
			bad.numbers = append(bad.numbers, i+1)
			continue
		}
		finish()
		name = lower(strip(text[:at]))
		value = []string{strip(text[at+1:])}
		source = Source{file, i + 1}
	}
	finish()
	return bad
}

// header returns what stands between the first bracket and the last.
func header(text string) (string, bool) {
	if text[0] != '[' {
		return "", false
	}
	end := strings.LastIndexByte(text, ']')
	if end < 2 {
		return "", false
	}
	return text[1:end], true
}

// section returns the section of that name, a new one if there is none.
func (f *ini) section(name string, source Source) *Section {
	if s, ok := f.byName[name]; ok {
		return s
	}
	if name == "DEFAULT" {
		if f.defaults.Name == "" {
			f.defaults.Name, f.defaults.Source = name, source
		}
		return &f.defaults
	}
	s := &Section{Name: name, Source: source}
	f.sections = append(f.sections, s)
	f.byName[name] = s
	return s
}

// indentation returns how many characters of blanks a line begins with.
func indentation(line string) int {
	n := 0
	for _, r := range line {
		if !isSpace(r) {
			break
		}
		n++
	}
	return n
}

// commentStart returns where the comment of a line begins, or -1.
//
// Behind a value, the next ; and the next # are looked at in turn, and the first
// pair with one that stands after a blank decides; so a ; that would be a
// comment can be overlooked for a # that comes after it.
func commentStart(line string) int {
	if text := strip(line); text != "" && (text[0] == '#' || text[0] == ';') {
		return 0
	}
	blankBefore := func(i int) bool {
		return i == 0 || indentation(lastRune(line[:i])) > 0
	}
	next := func(c byte, after int) int {
		if n := strings.IndexByte(line[after+1:], c); n >= 0 {
			return after + 1 + n
		}
		return len(line)
	}
	for semicolon, hash := -1, -1; ; {
		start := len(line)
		if semicolon < len(line) {
			if semicolon = next(';', semicolon); semicolon < len(line) && blankBefore(semicolon) {
				start = semicolon
			}
		}
		if hash < len(line) {
			if hash = next('#', hash); hash < len(line) && blankBefore(hash) {
				start = min(start, hash)
			}
		}
		switch {
		case start < len(line):
			return start
		case semicolon == len(line) && hash == len(line):
			return -1
		}
	}
}

// lastRune returns the last character of s as a text.
func lastRune(s string) string {
	for i := len(s) - 1; i >= 0; i-- {
		if s[i]&0xc0 != 0x80 {
			return s[i:]
		}
	}
	return ""
}

// expandHere replaces %(here)s in all sections, without regard to what it stands
// in. Those of a file that was read before have been replaced already, except in
// what a new section has from [DEFAULT].
func (f *ini) expandHere(here string) error {
	replace := func(o Option) (Option, error) {
		if err := f.meter.spend(len(o.Value) + strings.Count(o.Value, herePattern)*len(here)); err != nil {
			return o, err
		}
		o.Value = strings.ReplaceAll(o.Value, herePattern, here)
		return o, nil
	}
	var again []place
	for _, p := range f.here {
		o := p.section.Options[p.index]
		if !strings.Contains(o.Value, herePattern) {
			continue // it was given again since
		}
		o, err := replace(o)
		if err != nil {
			return err
		}
		p.section.Options[p.index] = o
		if strings.Contains(o.Value, herePattern) { // the folder is called so
			again = append(again, p)
		}
	}
	f.here = again
	for _, o := range f.defaults.Options {
		if !strings.Contains(o.Value, herePattern) {
			continue
		}
		for _, s := range f.sections {
			if _, ok := s.Option(o.Name); ok {
				continue
			}
			o, err := replace(o)
			if err != nil {
				return err
			}
			s.set(o)
		}
	}
	return nil
}

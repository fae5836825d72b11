package supervisorctl

import (
	"bufio"
	"fmt"
	"maps"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// readConfiguration reads [supervisorctl] of a file. Files that it includes
// aren't looked at. The status is what the original exits with: 2 where it says
// what is wrong, and 1 where Python does.
func (s *session) readConfiguration(path string) (status int, err error) {
	if _, err := os.Stat(path); err != nil {
		return exitUsage, fmt.Errorf("could not find config file %s", path)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return exitUsage, fmt.Errorf("could not read config file %s", path)
	}
	if !utf8.Valid(text) {
		return exitUsage, fmt.Errorf("config file %s isn't UTF-8", path)
	}
	sections, err := parseConfiguration(string(text))
	if err != nil {
		return exitFailed, fmt.Errorf("cannot parse config file %s: %w", path, err)
	}
	ours, found := sections["supervisorctl"]
	if !found {
		return exitUsage, fmt.Errorf(".ini file does not include supervisorctl section")
	}
	for name := range sections {
		s.hasPlugins = s.hasPlugins || strings.HasPrefix(name, "ctlplugin:")
	}

	names := make(map[string]string, len(s.env)+1)
	for name, value := range s.env {
		names["ENV_"+name] = value
	}
	withHere := maps.Clone(names)
	withHere["here"] = filepath.Dir(s.absolute(path))

	for _, option := range []struct {
		name  string
		names map[string]string
		set   func(string)
	}{
		{"serverurl", withHere, func(v string) {
			if socket, ok := strings.CutPrefix(v, "unix://"); ok {
				v = "unix://" + s.absolute(socket)
			}
			s.serverURL = v
		}},
		{"prompt", names, func(v string) { s.prompt = v }},
		{"username", names, func(v string) { s.user = &v }},
		{"password", names, func(v string) { s.password = &v }},
		{"history_file", withHere, func(v string) {
			if v != "" {
				s.history = s.absolute(v)
			}
		}},
	} {
		value, found := ours[option.name]
		if !found {
			if value, found = sections["DEFAULT"][option.name]; !found {
				continue
			}
		}
		value, err := expand(value, option.names, "supervisorctl."+option.name)
		if err != nil {
			return exitUsage, err
		}
		option.set(value)
	}
	return exitOK, nil
}

// absolute is Python's normpath(abspath(expanduser(path))).
func (s *session) absolute(path string) string {
	if strings.HasPrefix(path, "~") {
		name, rest, _ := strings.Cut(path[1:], "/")
		home := s.env["HOME"]
		if name != "" || home == "" {
			if u, err := lookupUser(name); err == nil {
				home = u.HomeDir
			} else if name != "" {
				home = ""
			}
		}
		if home != "" {
			path = strings.TrimRight(home, "/") + "/" + rest
		}
	}
	absolute, err := filepath.Abs(path)
	if err != nil { // the working directory is gone
		absolute = filepath.Clean(path)
	}
	if strings.HasPrefix(path, "//") && !strings.HasPrefix(path, "///") {
		return "/" + absolute // POSIX gives two slashes a meaning, and Python keeps them
	}
	return absolute
}

func lookupUser(name string) (*user.User, error) {
	if name == "" {
		return user.Current()
	}
	return user.Lookup(name)
}

// parseConfiguration reads all sections of a file, as Python's configparser in
// the tuning of supervisord does: comments also behind values, options in lower
// case, lines that are indented deeper go on, what comes later wins.
func parseConfiguration(text string) (map[string]map[string]string, error) {
	var (
		sections = make(map[string]map[string]string)
		values   = make(map[[2]string][]string) // the lines of each value
		section  string
		option   string
		inside   bool // of any section
		indent   int
		broken   error
	)
	lines := bufio.NewScanner(strings.NewReader(text))
	lines.Buffer(nil, len(text)+1)
	for n := 1; lines.Scan(); n++ {
		line := lines.Text()
		code, comment := cutComment(line)
		value := strings.TrimSpace(code)
		if value == "" {
			if comment {
				continue
			}
			if inside && option != "" {
				key := [2]string{section, option}
				values[key] = append(values[key], "") // an empty line within a value stays
			}
			continue
		}
		level := len(line) - len(strings.TrimLeftFunc(line, unicode.IsSpace))
		if inside && option != "" && level > indent {
			key := [2]string{section, option}
			values[key] = append(values[key], value)
			continue
		}
		indent = level
		if end := strings.LastIndexByte(value, ']'); value[0] == '[' && end > 1 {
			section, option, inside = value[1:end], "", true
			if sections[section] == nil {
				sections[section] = make(map[string]string)
			}
			continue
		}
		if !inside {
			return nil, fmt.Errorf("line %d: %q stands before any section", n, value)
		}
		at := strings.IndexAny(value, "=:")
		if at <= 0 || strings.TrimSpace(value[:at]) == "" {
			if broken == nil {
				broken = fmt.Errorf("line %d: %q is neither a [section] nor option=value", n, value)
			}
			continue
		}
		option = strings.ToLower(strings.TrimSpace(value[:at]))
		values[[2]string{section, option}] = []string{strings.TrimSpace(value[at+1:])}
	}
	if err := lines.Err(); err != nil {
		return nil, err
	}
	for key, lines := range values {
		sections[key[0]][key[1]] = strings.TrimRightFunc(strings.Join(lines, "\n"), unicode.IsSpace)
	}
	return sections, broken
}

// cutComment returns a line without its comment: # or ; at its beginning or
// behind a blank, even within quotes.
func cutComment(line string) (code string, comment bool) {
	if trimmed := strings.TrimSpace(line); trimmed != "" && (trimmed[0] == '#' || trimmed[0] == ';') {
		return "", true
	}
	before := ' '
	for i, r := range line {
		if (r == '#' || r == ';') && unicode.IsSpace(before) {
			return line[:i], true
		}
		before = r
	}
	return line, false
}

// formatError is an error in the words of the original, which begin with a
// capital.
type formatError string

func (e formatError) Error() string { return string(e) }

// expand is Python's text % names, for an option of that name.
func expand(text string, names map[string]string, option string) (string, error) {
	var b strings.Builder
	badly := func(format string, args ...any) (string, error) {
		return "", formatError(fmt.Sprintf("Format string %s for %s is badly formatted: %s", repr(text), repr(option), fmt.Sprintf(format, args...)))
	}
	for i := 0; i < len(text); {
		if text[i] != '%' {
			b.WriteByte(text[i])
			i++
			continue
		}
		i++
		value, named := "", false
		if i < len(text) && text[i] == '(' {
			end := closing(text[i:])
			if end < 0 {
				return badly("incomplete format key")
			}
			name := text[i+1 : i+end]
			if value, named = names[name]; !named {
				return "", formatError(fmt.Sprintf("Format string %s for %s contains names (%s) which cannot be expanded. Available names: %s",
					repr(text), repr(option), repr(name), strings.Join(slices.Sorted(maps.Keys(names)), ", ")))
			}
			i += end + 1
		}
		from := i
		for i < len(text) && strings.IndexByte("#0- +.123456789hlL", text[i]) >= 0 {
			i++
		}
		if i == len(text) {
			return badly("incomplete format")
		}
		flags, r := text[from:i], rune(text[i])
		if r >= utf8.RuneSelf {
			r, _ = utf8.DecodeRuneInString(text[i:])
		}
		switch {
		case r == '%':
			b.WriteByte('%')
		case !strings.ContainsRune("srdiouxXeEfFgGca", r):
			return badly("unsupported format character %s (0x%x) at index %d", repr(string(r)), r, utf8.RuneCountInString(text[:i]))
		case !named:
			return badly("not enough arguments for format string")
		case r == 's' || r == 'r' || r == 'a':
			if r != 's' {
				value = repr(value)
			}
			b.WriteString(padded(value, flags))
		case r == 'c':
			return badly("%%c requires int or char")
		default:
			return badly("%%%c format: a real number is required, not str", r)
		}
		i++
	}
	return b.String(), nil
}

// closing returns the place of the parenthesis that closes the one at the
// beginning of s.
func closing(s string) int {
	depth := 0
	for i := range len(s) {
		switch s[i] {
		case '(':
			depth++
		case ')':
			if depth--; depth == 0 {
				return i
			}
		}
	}
	return -1
}

// padded returns value in the width and precision of flags such as "-10.3".
func padded(value, flags string) string {
	flags = strings.TrimRight(flags, "hlL")
	left := strings.Contains(flags, "-")
	width, precision, cut := strings.Cut(strings.TrimLeft(flags, "#0- +"), ".")
	runes := []rune(value)
	if n, _ := toInt("0" + precision); cut && n < len(runes) {
		runes = runes[:n]
	}
	n, _ := toInt("0" + width)
	fill := strings.Repeat(" ", max(0, min(n, 1<<16)-len(runes)))
	if left {
		return string(runes) + fill
	}
	return fill + string(runes)
}

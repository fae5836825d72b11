package conf

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// readProcfile understands "name: command" lines, with names as foreman has
// them. Where a file .env lies beside the Procfile, it is the env_file of all.
func (l *load) readProcfile(src *source) []*section {
	var env []entry
	dotenv := filepath.Join(src.dir, ".env")
	l.see(dotenv)
	if _, err := os.Stat(dotenv); !errors.Is(err, fs.ErrNotExist) {
		env = []entry{{key: "env_file", value: dotenv}}
	}
	var sections []*section
	for pos := 0; pos < len(src.text); {
		start, end := pos, lineEnd(src.text, pos)
		pos = end + 1
		line := strings.TrimRight(src.text[start:end], " \t\r")
		start = skipBlanks(src.text, start, start+len(line))
		line = strings.TrimLeft(line, " \t")
		if line == "" || line[0] == '#' {
			continue
		}
		at := span{start, start + len(line)}
		name, command, ok := strings.Cut(line, ":")
		if name = strings.TrimRight(name, " \t"); !ok || !isProcess(name) {
			l.partial = true
			l.sayAt(src, at, Error, "", "", "begin a comment with #", `this is not "name: command"`)
			continue
		}
		at.to = start + len(name)
		value := strings.TrimLeft(command, " \t")
		if value == "" {
			l.sayAt(src, at, Error, name, "command", "say what to run: "+name+": …", "the command is missing")
			continue
		}
		val := span{start + len(line) - len(value), start + len(line)}
		entries := append([]entry{{key: "command", value: value, at: at, val: val}}, env...)
		for i := range entries {
			entries[i].at = at
		}
		sections = append(sections, &section{src: src, name: name, at: at, entries: entries})
	}
	return sections
}

// isProcess reports whether name is one that foreman allows.
func isProcess(name string) bool {
	for i := range len(name) {
		c := name[i]
		if c != '_' && c != '-' && (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') {
			return false
		}
	}
	return name != ""
}

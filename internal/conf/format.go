package conf

import (
	"path/filepath"
	"strings"
)

// A format is a kind of configuration file.
type format int

const (
	tomlFormat format = iota
	iniFormat
	procfileFormat
	supervisordFormat
)

// formatOf tells a file's format by its name, and by its first lines where the
// name says nothing.
func formatOf(path, text string) format {
	name := filepath.Base(path)
	if _, is := findSupervisord(text); name == "supervisord.conf" || is && filepath.Ext(name) != ".toml" && !strings.HasPrefix(name, "Procfile") {
		return supervisordFormat
	}
	switch ext := strings.ToLower(filepath.Ext(name)); {
	case ext == ".toml":
		return tomlFormat
	case ext == ".ini", ext == ".conf":
		return iniFormat
	case strings.HasPrefix(name, "Procfile"), ext == ".procfile":
		return procfileFormat
	}
	return sniff(text)
}

// sniff tells a format by the first line that only one of them has. TOML is
// what is native, so it is what nothing speaks against.
func sniff(text string) format {
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' || line[0] == '[' {
			continue
		}
		if line[0] == ';' {
			return iniFormat
		}
		if name, _, ok := strings.Cut(line, ":"); ok && isProcess(name) {
			return procfileFormat
		}
		_, value, ok := strings.Cut(line, "=")
		if value = strings.TrimSpace(value); !ok || value == "" {
			continue
		}
		if strings.IndexByte(`"'[{+-0123456789`, value[0]) >= 0 || value == "true" || value == "false" {
			// These look the same in INI: go on to a line that tells.
			if strings.IndexByte("[{", value[0]) >= 0 {
				return tomlFormat
			}
			continue
		}
		return iniFormat
	}
	return tomlFormat
}

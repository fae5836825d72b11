package conf

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"tend/internal/spec"
)

// dropInMark is the beginning of a file that was made by [DropIn].
const dropInMark = "# Made by tend add; tend remove takes it away.\n"

// DropIn returns a file of one program, as it is added by a command. The values
// are as [spec.Field.Set] takes them, by key; what they hold is meant as it is,
// without references to variables. An error of a value is a *[spec.ValueError].
func DropIn(name string, values map[string]any) ([]byte, error) {
	if why := spec.CheckName(name, false); why != "" {
		return nil, &spec.ValueError{Message: why}
	}
	if name == "tend" {
		return nil, &spec.ValueError{Message: `"tend" is the name of the daemon's own table`, Hint: "choose another name"}
	}
	w := &writer{}
	w.WriteString(dropInMark + "\n[" + tomlKey(name) + "]\n")
	p := spec.New(name)
	for _, key := range slices.Sorted(maps.Keys(values)) {
		f := spec.FieldOf(key)
		if f == nil {
			err := &spec.ValueError{Message: fmt.Sprintf("unknown key %q", key)}
			var keys []string
			for _, f := range spec.Fields {
				keys = append(keys, f.Key)
			}
			if better := spec.Nearest(key, keys); better != "" {
				err.Hint = fmt.Sprintf("did you mean %q?", better)
			}
			return nil, err
		}
		if err := f.Set(p, values[key]); err != nil {
			if v := (*spec.ValueError)(nil); errors.As(err, &v) {
				err = &spec.ValueError{Message: key + ": " + v.Message, Hint: v.Hint}
			}
			return nil, err
		}
	}
	for _, f := range spec.Fields { // in the order of the reference page
		if _, given := values[f.Key]; given {
			w.value(f, p)
		}
	}
	return []byte(w.String()), nil
}

// value writes one key of a program.
func (w *writer) value(f *spec.Field, p *spec.Program) {
	switch f.Key {
	case "env":
		for _, k := range slices.Sorted(maps.Keys(p.Env)) {
			w.key("env."+tomlKey(k), quote(escapeMark(p.Env[k])))
		}
	case "limits":
		for _, k := range slices.Sorted(maps.Keys(p.Limits)) {
			w.key("limits."+k, quote(p.Limits[k].String()))
		}
	default:
		w.key(f.Key, tomlValue(f, p))
	}
}

// IsDropIn reports whether the file at path is one that was made by [DropIn], and
// the error why it can't be read.
func IsDropIn(path string) (bool, error) {
	text, err := os.ReadFile(path)
	return strings.HasPrefix(string(text), dropInMark), err
}

// seeDropIns notes a folder in which a new file of TOML would be read.
func (l *load) seeDropIns(dir string) {
	if !slices.Contains(l.result.DropIns, dir) {
		l.result.DropIns = append(l.result.DropIns, dir)
	}
}

// seeDropInGlob notes the folder of a pattern that means files of TOML.
func (l *load) seeDropInGlob(pattern string) {
	dir, base := filepath.Split(pattern)
	if ok, _ := filepath.Match(base, "x.toml"); ok && !strings.ContainsAny(dir, `*?[\`) {
		l.seeDropIns(filepath.Clean(dir))
	}
}

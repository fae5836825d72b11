package conf

import (
	"slices"

	"tend/internal/spec"
	"tend/internal/svconf"
)

// A Loader loads the same configuration again and again. It remembers the
// programs of the last good load, so that a reload costs what has changed: a
// TOML table with the same text gives the same *[spec.Program], to be compared
// by its pointer. The zero Loader is ready; it is not safe for concurrent use.
type Loader struct {
	environ  []string
	defaults string                      // [tend] default, as it was
	files    map[string]map[string]*kept // by path and by name

	supervisord *svconf.Config // of the last good load of a file of supervisord's
}

// kept is a program of the last good load.
type kept struct {
	text     string // of its table
	program  *spec.Program
	envFiles []*envFile
}

// Load is [Load] with the Loader's memory.
func (m *Loader) Load(o Options) *Result {
	memory := m
	if !slices.Equal(m.environ, o.Environ) {
		memory = nil
	}
	l, set := run(o, memory, m.supervisord)
	if l.stale {
		l, set = run(o, nil, m.supervisord)
	}
	r := l.finish(set)
	if r.OK() {
		m.keep(l)
		m.supervisord = r.Supervisord
	}
	return r
}

func run(o Options, memory *Loader, earlier *svconf.Config) (*load, *spec.Set) {
	l := &load{
		opts: o, memory: memory, earlier: earlier, result: &Result{Path: o.Path},
		loaded: make(map[string]bool), watch: make(map[string]bool),
		failed: make(map[[2]string]bool), said: make(map[Diagnostic]bool), envFiles: make(map[string]*envFile),
	}
	l.root()
	if l.foreign {
		return l, l.set
	}
	return l, l.apply()
}

// keep remembers a good load.
func (m *Loader) keep(l *load) {
	m.environ, m.defaults = l.opts.Environ, l.defaultsText
	warned := make(map[string]bool)
	for _, d := range l.result.Diagnostics {
		warned[d.Program] = true
	}
	files := make(map[string]map[string]*kept, len(l.sources))
	for _, s := range l.sections {
		if s.kept == nil || s.text == "" || warned[s.name] {
			continue
		}
		// The text of this load: that of an older one would keep its whole file
		// in memory.
		s.kept.text = s.text
		if files[s.src.path] == nil {
			files[s.src.path] = make(map[string]*kept, len(l.sections))
		}
		files[s.src.path][s.name] = s.kept
	}
	m.files = files
}

// sections returns what is known of a file, by the names of its programs.
func (m *Loader) sections(src *source) map[string]*kept {
	if m == nil {
		return nil
	}
	return m.files[src.path]
}

package conf

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"tend/internal/spec"
	"tend/internal/svconf"
)

// An entry is a key with its value, as a reader found it.
type entry struct {
	key   string // dotted, below its section
	value any    // as [spec.Field.Set] takes it; or invalid, or other
	at    span   // the key
	val   span   // the value
}

// invalid stands for a value that a diagnostic has been made of already.
type invalid struct{}

// other is a value of a kind that no key has, as it was written.
type other string

// A section is a program as it was written, or the daemon's own table.
type section struct {
	src      *source
	name     string
	at       span // the name in its header
	settings bool // it is [tend]
	entries  []entry

	broken   bool   // a part of it could not be understood at all
	explicit bool   // it had a header of its own
	text     string // all of it, where that is one piece; else ""
	old      *kept  // of the last load: it is unchanged, and entries are left out
	kept     *kept  // for the next load
}

// A load is one run of [Loader.Load].
type load struct {
	opts Options

	// Of a file of supervisord's: the set that it makes, and the configuration that
	// it replaces.
	foreign bool
	set     *spec.Set
	earlier *svconf.Config

	memory *Loader // what was kept of the last load; nil: start from nothing
	reused bool    // some of it was used
	stale  bool    // it must not be: something has changed, or places are missing
	result *Result

	defaultsText string // [tend] default

	sources   []*source
	sections  []*section // programs, in the order of the files
	settings  *section   // [tend], nil where there is none
	loaded    map[string]bool
	loading   []string // absolute paths of the files that include this one
	watch     map[string]bool
	partial   bool // something could not be read: what seems missing may be there
	failed    map[[2]string]bool
	said      map[Diagnostic]bool
	variables map[string]string // of opts.Environ
	envFiles  map[string]*envFile
}

// sayAt records a diagnostic. program is "tend" for the daemon's own table.
func (l *load) sayAt(src *source, at span, severity Severity, program, key, hint, format string, args ...any) {
	d := Diagnostic{Program: program, Key: key, Severity: severity, Hint: hint, Message: fmt.Sprintf(format, args...)}
	src.place(&d, at)
	if severity == Error {
		l.failed[[2]string{program, key}] = true
	}
	// A default is applied to every program, and complained of once.
	if !l.said[d] {
		l.said[d] = true
		l.result.Diagnostics = append(l.result.Diagnostics, d)
	}
}

// sayFile records an error about a file as a whole.
func (l *load) sayFile(name, hint string, err error) {
	l.result.Diagnostics = append(l.result.Diagnostics, Diagnostic{File: name, Severity: Error, Message: "cannot read it: " + reason(err), Hint: hint})
}

// reason returns err without the path and the operation: they are said already.
func reason(err error) string {
	var pathError *fs.PathError
	if errors.As(err, &pathError) {
		return pathError.Err.Error()
	}
	return err.Error()
}

// root reads the configuration itself, a file or a folder.
func (l *load) root() {
	path := l.opts.Path
	abs, err := filepath.Abs(path)
	if err != nil {
		l.partial = true
		l.sayFile(path, "", err)
		return
	}
	info, err := os.Stat(abs)
	if m := l.opts.Machine; m != nil && m.FS != nil {
		info, err = m.FS.Stat(abs)
	}
	switch {
	case err == nil && info.IsDir():
		err = l.folder(path, abs)
	case err == nil && l.isSupervisord(abs):
		l.foreign = true
		l.set = l.loadSupervisord(path)
		return
	default:
		err = l.file(path, abs)
	}
	if err != nil {
		l.partial = true
		hint := ""
		if errors.Is(err, os.ErrNotExist) {
			hint = "write it, or name another one with -c"
		}
		l.sayFile(path, hint, err)
	}
}

// isSupervisord reports whether the file is one of supervisord's. One that can't be
// read is not: that is told of by whoever reads it as any other.
func (l *load) isSupervisord(abs string) bool {
	fsys := svconf.FS(svconf.OS{})
	if m := l.opts.Machine; m != nil && m.FS != nil {
		fsys = m.FS
	}
	info, err := fsys.Stat(abs)
	if err != nil || !info.Mode().IsRegular() {
		return false
	}
	text, err := fsys.ReadFile(abs)
	return err == nil && formatOf(abs, string(text)) == supervisordFormat
}

// folder reads every *.toml and *.ini of a folder, in the order of their names.
func (l *load) folder(name, abs string) error {
	l.see(abs)
	l.seeDropIns(abs)
	list, err := os.ReadDir(abs)
	if err != nil {
		return err
	}
	for _, e := range list {
		if hidden := strings.HasPrefix(e.Name(), "."); hidden || e.IsDir() {
			continue
		}
		if ext := filepath.Ext(e.Name()); ext != ".toml" && ext != ".ini" {
			continue
		}
		shown := filepath.Join(name, e.Name())
		if err := l.file(shown, filepath.Join(abs, e.Name())); err != nil {
			l.partial = true
			l.sayFile(shown, "", err)
		}
	}
	return nil
}

// file reads a file and what it includes. The error says why it can't be read;
// what is wrong in it becomes diagnostics.
func (l *load) file(name, abs string) error {
	if l.loaded[abs] {
		return nil
	}
	text, err := l.read(abs)
	if err != nil {
		return err
	}
	l.loaded[abs] = true
	src := &source{name: name, path: abs, dir: filepath.Dir(abs), text: strings.TrimPrefix(text, "\ufeff")}
	src.format = formatOf(abs, src.text)
	l.sources = append(l.sources, src)

	if i := strings.IndexByte(src.text, 0); i >= 0 {
		l.partial = true
		l.sayAt(src, span{i, i + 1}, Error, "", "", "save it as plain UTF-8 text", "the file holds a NUL byte")
		return nil
	}
	var sections []*section
	switch src.format {
	case supervisordFormat:
		at, _ := findSupervisord(src.text)
		l.partial = true
		l.sayAt(src, at, Error, "", "", "load it by itself: -c "+name, "this is a file of supervisord, which can't be a part of another configuration")
	case tomlFormat:
		sections = l.readTOML(src)
	case procfileFormat:
		sections = l.readProcfile(src)
	default:
		sections = l.readINI(src)
	}
	var settings *section
	for _, s := range sections {
		switch {
		case !s.settings:
			l.sections = append(l.sections, s)
		case settings == nil:
			settings = s
		default:
			l.sayTwice(s, settings)
		}
	}
	if settings != nil {
		l.loading = append(l.loading, abs)
		l.takeSettings(settings)
		l.loading = l.loading[:len(l.loading)-1]
	}
	return nil
}

// sayTwice tells of a name that has two sections.
func (l *load) sayTwice(s, first *section) {
	where := fmt.Sprintf("line %d", first.src.line(first.at.from))
	if first.src != s.src {
		where += " of " + first.src.name
	}
	hint := "rename one, or make one of the two"
	if s.settings {
		hint = "make one of the two"
	}
	l.sayAt(s.src, s.at, Error, s.name, "", hint, "it is given twice; first in %s", where)
}

// takeSettings keeps a section [tend] and reads the files that it includes.
func (l *load) takeSettings(s *section) {
	included := len(l.loading) > 1
	var keep []entry
	for _, e := range s.entries {
		switch {
		case e.key == "include":
			l.include(s, e)
		case included:
			l.sayAt(s.src, e.at, Error, "tend", e.key, "write it in the file that includes this one", "%s: an included file can only set include", e.key)
		default:
			keep = append(keep, e)
		}
	}
	if len(keep) == 0 {
		return
	}
	s.entries = keep
	if l.settings != nil {
		l.sayTwice(s, l.settings)
		return
	}
	l.settings = s
}

// include reads the files that the entry names.
func (l *load) include(s *section, e entry) {
	patterns, err := words(e.value, s.src.format)
	if err != nil {
		l.sayValue(s.src, e, "tend", err)
		return
	}
	for _, pattern := range patterns {
		pattern, ok := l.expandEntry(s.src, e, "tend", pattern, l.environ)
		if !ok {
			continue
		}
		l.includePattern(s, e, pattern)
	}
}

func (l *load) includePattern(s *section, e entry, pattern string) {
	fail := func(hint, format string, args ...any) {
		l.partial = true
		l.sayAt(s.src, l.narrow(s.src, e.val, pattern), Error, "tend", e.key, hint, format, args...)
	}
	shown := func(match string) string {
		if filepath.IsAbs(pattern) {
			return match
		}
		if rel, err := filepath.Rel(s.src.dir, match); err == nil {
			return filepath.Join(filepath.Dir(s.src.name), rel)
		}
		return match
	}
	abs := absolute(s.src.dir, pattern)
	matches := []string{abs}
	glob := strings.ContainsAny(pattern, `*?[\`)
	if glob {
		l.seeGlob(abs)
		l.seeDropInGlob(abs)
		var err error
		if matches, err = filepath.Glob(abs); err != nil {
			fail("use *, ? and [a-z]", "include: %q is not a pattern", pattern)
			return
		}
		if !strings.HasPrefix(filepath.Base(abs), ".") {
			// As in the shell. Editors keep their own files beside one's own.
			matches = slices.DeleteFunc(matches, func(m string) bool { return strings.HasPrefix(filepath.Base(m), ".") })
		}
	}
	for _, match := range matches {
		if slices.Contains(l.loading, match) {
			if !glob {
				chain := append(slices.Clone(l.loading[slices.Index(l.loading, match):]), match)
				for i := range chain {
					chain[i] = shown(chain[i])
				}
				fail("drop one of them", "include: these include each other: %s", strings.Join(chain, " → "))
			}
			continue
		}
		info, err := os.Stat(match)
		switch {
		case err == nil && info.IsDir() && glob:
			continue
		case err == nil && info.IsDir():
			err = l.folder(shown(match), match)
		default:
			err = l.file(shown(match), match)
		}
		if err != nil {
			hint := ""
			if errors.Is(err, os.ErrNotExist) {
				hint = "a pattern, as conf.d/*.toml, may match nothing"
			}
			fail(hint, "include: cannot read %s: %s", shown(match), reason(err))
		}
	}
}

// words understands the value of include.
func words(v any, f format) ([]string, error) {
	switch v := v.(type) {
	case string:
		if f != iniFormat {
			return []string{v}, nil
		}
		return strings.FieldsFunc(v, func(r rune) bool { return r == ',' || r == ' ' || r == '\t' }), nil
	case []any:
		list := make([]string, 0, len(v))
		for _, w := range v {
			s, ok := w.(string)
			if !ok {
				return nil, &spec.ValueError{Message: fmt.Sprintf("%v is not a file name", w), Hint: `use a list of strings, as ["conf.d/*.toml"]`}
			}
			list = append(list, s)
		}
		return list, nil
	}
	return nil, &spec.ValueError{Message: fmt.Sprintf("%s is not a list of files", show(v)), Hint: `write include = ["conf.d/*.toml"]`}
}

// maxFile is the largest file that is read, in bytes.
const maxFile = 64 << 20

// read returns the text of a file, and has it watched.
func (l *load) read(abs string) (string, error) {
	l.seeFile(abs)
	// O_NONBLOCK: opening a named pipe must not wait for its writer.
	f, err := os.OpenFile(abs, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return "", err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return "", err
	}
	if !info.Mode().IsRegular() {
		return "", errors.New("it is not a regular file")
	}
	if info.Size() > maxFile {
		return "", fmt.Errorf("it has %s, more than %s", spec.FormatSize(info.Size()), spec.FormatSize(maxFile))
	}
	if l.opts.Root {
		if err := checkWriters(info); err != nil {
			return "", err
		}
	}
	text := make([]byte, info.Size()+1) // one more: to meet the end without another read
	n, err := io.ReadFull(f, text)
	switch {
	case err == nil: // it grew since
		rest, err := io.ReadAll(io.LimitReader(f, maxFile))
		if err != nil {
			return "", err
		}
		text = append(text, rest...)
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		text = text[:n]
	default:
		return "", err
	}
	if !slices.Contains(l.result.Files, abs) {
		l.result.Files = append(l.result.Files, abs)
	}
	return string(text), nil
}

// checkWriters refuses a file that others than root and its owner may write: it
// says what root is to run.
func checkWriters(info fs.FileInfo) error {
	stat, ok := info.Sys().(*syscall.Stat_t)
	switch mode := info.Mode().Perm(); {
	case mode&0o002 != 0:
		return fmt.Errorf("everybody may write to it (mode %03o), and tend runs as root; chmod go-w makes it safe", mode)
	case mode&0o020 != 0 && (!ok || stat.Gid != 0):
		return fmt.Errorf("its group may write to it (mode %03o), and tend runs as root; chmod go-w makes it safe", mode)
	}
	return nil
}

// see has a file or folder watched.
func (l *load) see(path string) { l.watch[path] = true }

// seeFile has a file watched, with its folder and all that symbolic links on the
// way to it lead through: Kubernetes swaps a whole volume by a link to a folder.
func (l *load) seeFile(abs string) {
	l.see(abs)
	l.see(filepath.Dir(abs))
	path := abs
	for range 40 { // as many links as Linux follows, see path_resolution(7)
		target := firstLink(path)
		if target == "" {
			return
		}
		link, rest := target, strings.TrimPrefix(path[len(target):], "/")
		l.see(filepath.Dir(link))
		to, err := os.Readlink(link)
		if err != nil {
			return
		}
		path = filepath.Join(absolute(filepath.Dir(link), to), rest)
		l.see(path)
		l.see(filepath.Dir(path))
	}
}

// firstLink returns the shortest prefix of an absolute path that is a symbolic
// link, or "".
func firstLink(path string) string {
	real, err := filepath.EvalSymlinks(path)
	if err == nil && real == path {
		return ""
	}
	for i := 1; i <= len(path); i++ {
		if i < len(path) && path[i] != '/' {
			continue
		}
		info, err := os.Lstat(path[:i])
		if err != nil {
			return ""
		}
		if info.Mode()&fs.ModeSymlink != 0 {
			return path[:i]
		}
	}
	return ""
}

// seeGlob has the folders watched in which the pattern may match something new.
func (l *load) seeGlob(pattern string) {
	dir := filepath.Dir(pattern)
	if !strings.ContainsAny(dir, `*?[\`) {
		// The folder may come later: then its parent tells.
		for dir != "/" {
			l.see(dir)
			if _, err := os.Stat(dir); err == nil {
				return
			}
			dir = filepath.Dir(dir)
		}
		return
	}
	l.seeGlob(dir)
	matches, _ := filepath.Glob(dir) // a bad pattern is told of by its own load
	for _, m := range matches {
		l.see(m)
	}
}

// absolute returns path, which is meant from dir where it is relative.
func absolute(dir, path string) string {
	if filepath.IsAbs(path) {
		return filepath.Clean(path)
	}
	return filepath.Join(dir, path)
}

// environ looks a variable of the daemon's environment up.
func (l *load) environ(name string) (string, bool) {
	if l.variables == nil {
		l.variables = make(map[string]string, len(l.opts.Environ))
		for _, v := range l.opts.Environ {
			if name, value, ok := strings.Cut(v, "="); ok {
				l.variables[name] = value
			}
		}
	}
	v, ok := l.variables[name]
	return v, ok
}

// finish sorts what was found and decides whether there is a set.
func (l *load) finish(set *spec.Set) *Result {
	r := l.result
	order := make(map[string]int, len(l.sources))
	for i, s := range l.sources {
		order[s.name] = i + 1
	}
	slices.SortStableFunc(r.Diagnostics, func(a, b Diagnostic) int {
		return cmp.Or(cmp.Compare(order[a.File], order[b.File]), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Col, b.Col))
	})
	r.Watch = slices.Sorted(maps.Keys(l.watch))
	if !slices.ContainsFunc(r.Diagnostics, func(d Diagnostic) bool { return d.Severity == Error }) {
		r.Set = set
	}
	return r
}

// show returns a value as a message names it.
func show(v any) string {
	switch v := v.(type) {
	case string:
		return strconv.Quote(v)
	case []any:
		return "a list"
	case map[string]any:
		return "a table"
	}
	return fmt.Sprint(v)
}

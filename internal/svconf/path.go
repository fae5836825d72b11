package svconf

import (
	"cmp"
	"io/fs"
	"slices"
	"strings"
	"unicode/utf8"
)

// This file holds Python's way with paths: supervisord shows them, so they have
// to come out alike.

// dirname is all before the last slash.
func dirname(path string) string {
	i := strings.LastIndexByte(path, '/') + 1
	head := path[:i]
	if trimmed := strings.TrimRight(head, "/"); trimmed != "" {
		return trimmed
	}
	return head
}

// join puts a path below a folder, unless it is absolute.
func join(dir, path string) string {
	switch {
	case strings.HasPrefix(path, "/"):
		return path
	case dir == "" || strings.HasSuffix(dir, "/"):
		return dir + path
	}
	return dir + "/" + path
}

// clean drops what isn't needed of an absolute path. Two slashes at the start are
// kept, to which POSIX gives leave to mean something.
func clean(path string) string {
	lead := "/"
	if strings.HasPrefix(path, "//") && !strings.HasPrefix(path, "///") {
		lead = "//"
	}
	var parts []string
	for part := range strings.SplitSeq(path, "/") {
		switch part {
		case "", ".":
		case "..":
			if len(parts) > 0 {
				parts = parts[:len(parts)-1]
			}
		default:
			parts = append(parts, part)
		}
	}
	return lead + strings.Join(parts, "/")
}

// absolute returns a path as one from the root, meant from the daemon's working
// directory.
func (l *load) absolute(path string) string { return clean(join(l.opts.Dir, path)) }

// normal is absolute, with ~ replaced.
func (l *load) normal(path string) string { return l.absolute(l.expandUser(path)) }

// expandUser replaces ~ and ~user at the start of a path. If nobody knows the
// folder, it stays.
func (l *load) expandUser(path string) string {
	if !strings.HasPrefix(path, "~") {
		return path
	}
	name, rest := path[1:], ""
	if i := strings.IndexByte(path, '/'); i >= 0 {
		name, rest = path[1:i], path[i:]
	}
	home, ok := "", false
	if name == "" {
		home, ok = l.environ("HOME")
	}
	if !ok {
		home, ok = l.opts.Accounts.Home(name)
	}
	if !ok {
		return path
	}
	if path = strings.TrimRight(home, "/") + rest; path == "" {
		return "/"
	}
	return path
}

// isDir reports whether a path, meant from the working directory, is a folder.
func (l *load) isDir(path string) bool {
	if path != "" { // which is no folder, not even the one we are in
		path = l.below(path)
	}
	info, err := l.opts.FS.Stat(path)
	return err == nil && info.IsDir()
}

// below makes a path absolute and leaves it as it is otherwise: .. is not
// undone, since what is before it may be a symbolic link.
func (l *load) below(path string) string { return join(l.opts.Dir, path) }

// existingDir returns the path of a folder that has to be there.
func (l *load) existingDir(path string) (string, error) {
	dir := l.expandUser(path)
	if !l.isDir(dir) {
		return "", bad("make the folder", "%s is not an existing directory", path)
	}
	return dir, nil
}

// existingPath returns the path of a file whose folder has to be there. A name
// alone is one in the working directory.
func (l *load) existingPath(path string) (string, error) {
	file := l.expandUser(path)
	if dir := dirname(file); dir != "" && !l.isDir(dir) {
		return "", bad("make the folder "+dir, "The directory named as part of the path %s does not exist", path)
	}
	return file, nil
}

// glob returns what a pattern matches, sorted, each as the pattern has it: with
// *, ?, [a-z] and [!a-z] in any part of it, without backslashes; hidden files
// only where the pattern begins with a dot.
func (l *load) glob(pattern string) []string {
	list := l.globPart(pattern, false)
	slices.SortFunc(list, func(a, b string) int { return cmp.Compare(a, b) })
	return list
}

func hasMagic(s string) bool { return strings.ContainsAny(s, "*?[") }

func (l *load) globPart(pattern string, foldersOnly bool) []string {
	dir, base := dirname(pattern), pattern[strings.LastIndexByte(pattern, '/')+1:]
	if !hasMagic(pattern) {
		if base == "" && l.isDir(dir) || base != "" && l.exists(pattern) {
			return []string{pattern}
		}
		return nil
	}
	dirs := []string{dir}
	if dir != pattern && hasMagic(dir) {
		dirs = l.globPart(dir, true)
	}
	var list []string
	for _, dir := range dirs {
		switch {
		case hasMagic(base):
			for _, name := range l.names(dir, foldersOnly) {
				if name != "" && name[0] == '.' && base[0] != '.' {
					continue
				}
				if match(base, name) {
					list = append(list, join(dir, name))
				}
			}
		case base == "" && l.isDir(dir), base != "" && l.exists(join(dir, base)):
			list = append(list, join(dir, base))
		}
	}
	return list
}

// exists reports whether there is something of that name, even a symbolic link
// that leads nowhere.
func (l *load) exists(path string) bool {
	_, err := l.opts.FS.Lstat(l.below(path))
	return err == nil
}

// names returns what is in a folder, or the folders in it.
func (l *load) names(dir string, foldersOnly bool) []string {
	entries, err := l.opts.FS.ReadDir(l.below(dir))
	if err != nil {
		return nil
	}
	var list []string
	for _, e := range entries {
		if foldersOnly && !e.IsDir() && (e.Type()&fs.ModeSymlink == 0 || !l.isDir(join(dir, e.Name()))) {
			continue
		}
		list = append(list, e.Name())
	}
	return list
}

// match reports whether a name without slashes is what a pattern means. It looks
// back only to the last star, so it needs no more than pattern times name.
func match(pattern, name string) bool {
	p, n := 0, 0
	star, resume := -1, 0 // the last star, and what of name it doesn't take yet
	for n < len(name) {
		r, size := utf8.DecodeRuneInString(name[n:])
		if p < len(pattern) && pattern[p] == '*' {
			star, resume = p, n
			p++
			continue
		}
		if p < len(pattern) {
			if ok, width := matchOne(pattern[p:], r); ok {
				p += width
				n += size
				continue
			}
		}
		if star < 0 {
			return false
		}
		_, size = utf8.DecodeRuneInString(name[resume:])
		resume += size
		p, n = star+1, resume
	}
	return strings.Trim(pattern[p:], "*") == ""
}

// matchOne matches the first element of a pattern, which is no star, with r. It
// returns how many bytes the element has.
func matchOne(pattern string, r rune) (bool, int) {
	first, size := utf8.DecodeRuneInString(pattern)
	switch first {
	case '?':
		return true, size
	case '[':
	default:
		return first == r, size
	}
	// The class ends at the next bracket, but not at one right at its start. If
	// there is none, the bracket is meant as such.
	body := 1
	if strings.HasPrefix(pattern[body:], "!") {
		body++
	}
	from := body
	if strings.HasPrefix(pattern[from:], "]") {
		from++
	}
	end := strings.IndexByte(pattern[from:], ']')
	if end < 0 {
		return r == '[', 1
	}
	end += from
	set := []rune(pattern[body:end])
	in := false
	for i := 0; i < len(set); i++ {
		if i+2 < len(set) && set[i+1] == '-' {
			in = in || set[i] <= r && r <= set[i+2]
			i += 2
			continue
		}
		in = in || set[i] == r
	}
	return in != (body == 2), end + 1
}

package svconf

import (
	"errors"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

// A world is a file system in memory as the reference was asked in: the root is
// in etc and the working directory is cwd, both below a folder. In a relaxed one
// every folder and every account exists.
type world struct {
	dir     string // that folder
	files   fstest.MapFS
	relaxed bool
}

func (w world) here() string { return w.dir + "/etc" }
func (w world) cwd() string  { return w.dir + "/cwd" }
func (w world) root() string { return w.here() + "/supervisord.conf" }

func inside(name string) string {
	if name = path.Clean(name)[1:]; name == "" {
		return "."
	}
	return name
}

func (w world) ReadFile(name string) ([]byte, error)       { return w.files.ReadFile(inside(name)) }
func (w world) ReadDir(name string) ([]fs.DirEntry, error) { return w.files.ReadDir(inside(name)) }
func (w world) Lstat(name string) (fs.FileInfo, error)     { return w.files.Lstat(inside(name)) }

func (w world) Stat(name string) (fs.FileInfo, error) {
	info, err := w.files.Stat(inside(name))
	if errors.Is(err, fs.ErrNotExist) && w.relaxed {
		return fstest.MapFS{"x/y": {}}.Stat("x")
	}
	return info, err
}

func (w world) User(name string) (uid, gid int, ok bool) {
	if w.relaxed {
		return 12345, 12345, strip(name) != ""
	}
	uid, ok = map[string]int{"root": 0, "www": 33}[name]
	return uid, uid, ok
}

func (w world) UserID(uid int) (gid int, ok bool) { return uid, w.relaxed || uid == 0 || uid == 33 }
func (w world) Group(name string) (gid int, ok bool) {
	_, gid, ok = w.User(name)
	return gid, ok
}
func (w world) GroupID(gid int) bool { _, ok := w.UserID(gid); return ok }
func (w world) Home(name string) (string, bool) {
	return "/home/" + name, name == "www" && !w.relaxed
}

var baseEnv = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LANG=C.UTF-8"}

func (w world) options(env ...string) Options {
	return Options{
		Path: w.root(), Dir: w.cwd(), Environ: slices.Concat(baseEnv, env), Host: "testhost", TempDir: "/tmp",
		FS: w, Accounts: w,
	}
}

// add puts a file into the world.
func (w world) add(name, text string) { w.files[inside(name)] = &fstest.MapFile{Data: []byte(text)} }

func newWorld() world {
	w := world{dir: "/run0", files: fstest.MapFS{}, relaxed: true}
	w.files[inside(w.cwd())] = &fstest.MapFile{Mode: fs.ModeDir | 0o755}
	return w
}

// rootOrFragment makes a world of one file: of a root, or of a fragment with a
// root that includes it.
func rootOrFragment(text, mode string) world {
	w := newWorld()
	if mode == "root" {
		w.add(w.root(), text)
		return w
	}
	w.add(w.root(), "[supervisord]\n\n[include]\nfiles = conf.d/*.conf\n")
	w.add(w.here()+"/conf.d/program.conf", text)
	return w
}

// tree makes a world of a folder.
func tree(t *testing.T, dir string) world {
	t.Helper()
	w := newWorld()
	err := filepath.WalkDir(dir, func(file string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, file)
		w.add(path.Join(w.here(), filepath.ToSlash(rel)), string(text))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return w
}

var envName = regexp.MustCompile(`%\(ENV_([A-Za-z0-9_]+)\)`)
var levelName = regexp.MustCompile(`LOG_?LEVEL$`)

// assumed are the variables that the reference gives a text which uses them.
func assumed(text string) []string {
	env := make(map[string]string)
	for _, m := range envName.FindAllStringSubmatch(text, -1) {
		env[m[1]] = "1"
		if levelName.MatchString(m[1]) {
			env[m[1]] = "info"
		}
	}
	var list []string
	for _, name := range slices.Sorted(maps.Keys(env)) {
		if !slices.ContainsFunc(baseEnv, func(v string) bool { return strings.HasPrefix(v, name+"=") }) {
			list = append(list, name+"="+env[name])
		}
	}
	return list
}

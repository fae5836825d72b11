// Package house holds the rules of the project as tests: who may import whom,
// what is pure, what is documented. It has no code of its own, and doesn't check
// what a compiler or a linter does.
package house

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// rooms is the drawing of ARCHITECTURE.md: each package and what it may import
// of ours. "*" is everything.
var rooms = map[string]string{
	"api":                    "",
	"bench":                  "",
	"web":                    "",
	"cmd/tend":               "*",
	"cmd/tend-docs":          "*",
	"internal/spec":          "",
	"internal/conf":          "internal/spec internal/svconf internal/cron",
	"internal/cron":          "",
	"internal/usage":         "",
	"internal/metrics":       "api internal/event",
	"internal/svconf":        "",
	"internal/xmlrpc":        "",
	"internal/supervisorctl": "internal/xmlrpc",
	"internal/event":         "internal/spec",
	"internal/unit":          "internal/spec internal/event",
	"internal/engine":        "internal/spec internal/unit internal/event",
	"internal/proc":          "internal/fault",
	"internal/logs":          "internal/fault",
	"internal/health":        "internal/spec",
	"internal/listen":        "",
	"internal/notify":        "",
	"internal/guard":         "",
	"internal/hook":          "",
	"internal/ledger":        "internal/fault",
	"internal/daemon":        "internal/fault internal/engine internal/unit internal/conf internal/proc internal/logs internal/health internal/notify internal/ledger internal/guard internal/event internal/spec internal/cron internal/usage internal/metrics internal/server internal/listen internal/supervisord internal/svconf api internal/hook internal/watch internal/history",
	"internal/server":        "api internal/event internal/logs web",
	"internal/supervisord":   "api internal/event internal/logs internal/xmlrpc internal/svconf",
	"internal/cli":           "api internal/words",
	"internal/doctor":        "api",
	"internal/tui":           "api internal/words",
	"internal/words":         "api",
	"internal/fleet":         "api internal/spec internal/event",
	"internal/fault":         "",
	"internal/sim":           "internal/engine internal/unit internal/spec internal/event",
	"internal/house":         "",
	"internal/history":       "internal/fault",
	"internal/watch":         "",
}

// modules are those of others, each with the packages of ours that may import
// it: one, so that its types don't leave it. The exceptions have their reasons;
// "" is for tests only, which may import all of them.
var modules = map[string]string{
	"github.com/spf13/cobra":              "internal/cli",
	"github.com/spf13/pflag":              "internal/cli",                        // cobra's flags
	"golang.org/x/term":                   "internal/cli internal/supervisorctl", // the two that sit at a terminal
	"charm.land/bubbletea":                "internal/tui",
	"charm.land/bubbles":                  "internal/tui",
	"charm.land/lipgloss":                 "internal/tui",
	"github.com/charmbracelet/x":          "internal/tui", // what lipgloss measures and cuts with
	"github.com/creack/pty":               "",
	"github.com/pelletier/go-toml":        "internal/conf",
	"github.com/robfig/cron":              "internal/cron",
	"github.com/prometheus/client_golang": "internal/metrics",
	"github.com/prometheus/procfs":        "internal/usage",
	"github.com/adhocore/gronx":           "",                                                                                                                                                                                     // a second opinion
	"golang.org/x/sys":                    "internal/proc internal/logs internal/notify internal/daemon internal/guard internal/ledger internal/doctor internal/listen cmd/tend bench internal/watch internal/cli internal/usage", // system calls that the standard library lacks
	"github.com/bmatcuk/doublestar":       "internal/conf internal/watch",                                                                                                                                                         // the one checks patterns, the other looks what they match
	"github.com/google/go-cmp":            "",
	"github.com/chromedp/cdproto":         "",
	"github.com/chromedp/chromedp":        "",
	"github.com/rogpeppe/go-internal":     "",
	"go.uber.org/goleak":                  "",
	"pgregory.net/rapid":                  "",
	"google.golang.org/grpc":              "", // whose server is asked
	"github.com/klauspost/compress":       "internal/logs",
	"github.com/leodido/go-syslog":        "internal/logs",
}

// source is one parsed file.
type source struct {
	*ast.File
	path string // from the root of the project
	dir  string
	test bool
}

// sources parses all Go files of the project, whatever their build constraints.
func sources(t *testing.T) (*token.FileSet, []source) {
	t.Helper()
	const root = "../.."
	set := token.NewFileSet()
	var list []source
	err := filepath.WalkDir(root, func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := d.Name()
		if d.IsDir() && file != root && (name == "testdata" || name == "node_modules" || name[0] == '.' || name[0] == '_') {
			return fs.SkipDir
		}
		if d.IsDir() || filepath.Ext(name) != ".go" {
			return nil
		}
		parsed, err := parser.ParseFile(set, file, nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, file)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		list = append(list, source{parsed, rel, path.Dir(rel), strings.HasSuffix(name, "_test.go")})
		return nil
	})
	if err != nil || len(list) < 10 {
		t.Fatalf("cannot read the project (%d files): %v", len(list), err)
	}
	return set, list
}

func imports(f source) []string {
	var list []string
	for _, spec := range f.Imports {
		name, _ := strconv.Unquote(spec.Path.Value)
		list = append(list, name)
	}
	return list
}

// TestImports checks the imports of each package against the drawing.
func TestImports(t *testing.T) {
	_, files := sources(t)
	for _, f := range files {
		allowed, known := rooms[f.dir]
		if !known {
			t.Errorf("%s: the drawing has no room for package %s", f.path, f.dir)
			continue
		}
		for _, name := range imports(f) {
			if ours, ok := strings.CutPrefix(name, "tend/"); ok {
				if !f.test && allowed != "*" && !slices.Contains(strings.Fields(allowed), ours) {
					t.Errorf("%s: %s may not import %s", f.path, f.dir, ours)
				}
				continue
			}
			if first, _, _ := strings.Cut(name, "/"); !strings.Contains(first, ".") {
				continue // the standard library
			}
			module := moduleOf(name)
			switch users, known := modules[module]; {
			case !known:
				t.Errorf("%s: no row for the module of %s", f.path, name)
			case f.test: // whatever the project knows
			case !slices.Contains(strings.Fields(users), f.dir):
				t.Errorf("%s: %s may not import %s", f.path, f.dir, name)
			}
		}
	}
}

// moduleOf returns the module of an imported package, as modules names it.
func moduleOf(name string) string {
	for module := range modules {
		if name == module || strings.HasPrefix(name, module+"/") {
			return module
		}
	}
	return name
}

// impure are what a package without input or output doesn't import.
var impure = []string{"os", "io/ioutil", "net", "syscall", "log", "math/rand", "crypto/rand", "runtime", "unsafe", "golang.org/x/sys"}

// clocks are what of package time reads the clock or waits for it.
var clocks = []string{"Now", "Since", "Until", "After", "AfterFunc", "NewTimer", "NewTicker", "Tick", "Sleep"}

// TestPure checks that the core does no input or output, reads no clock and
// starts no goroutine.
func TestPure(t *testing.T) {
	set, files := sources(t)
	checked := make(map[string]int)
	for _, f := range files {
		if f.test || !slices.Contains([]string{"internal/spec", "internal/unit", "internal/engine", "internal/sim"}, f.dir) {
			continue
		}
		checked[f.dir]++
		for _, name := range imports(f) {
			if f.dir == "internal/sim" && name == "math/rand/v2" {
				continue // of a seed that is given
			}
			if slices.ContainsFunc(impure, func(bad string) bool { return name == bad || strings.HasPrefix(name, bad+"/") }) {
				t.Errorf("%s: imports %s", f.path, name)
			}
		}
		ast.Inspect(f.File, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.GoStmt:
				t.Errorf("%s: a go statement", set.Position(n.Pos()))
			case *ast.SelectStmt:
				t.Errorf("%s: a select statement", set.Position(n.Pos()))
			case *ast.ChanType:
				t.Errorf("%s: a channel", set.Position(n.Pos()))
			case *ast.SelectorExpr:
				if pkg, ok := n.X.(*ast.Ident); ok && pkg.Name == "time" && slices.Contains(clocks, n.Sel.Name) {
					t.Errorf("%s: time.%s", set.Position(n.Pos()), n.Sel.Name)
				}
			}
			return true
		})
	}
	if len(checked) != 4 {
		t.Errorf("only these were checked: %v", checked)
	}
}

// TestNoSleepInTests: a test waits for an event, never for time to pass.
func TestNoSleepInTests(t *testing.T) {
	set, files := sources(t)
	for _, f := range files {
		if !f.test {
			continue
		}
		ast.Inspect(f.File, func(n ast.Node) bool {
			if n, ok := n.(*ast.SelectorExpr); ok && n.Sel.Name == "Sleep" {
				if pkg, ok := n.X.(*ast.Ident); ok && pkg.Name == "time" {
					t.Errorf("%s: time.Sleep in a test", set.Position(n.Pos()))
				}
			}
			return true
		})
	}
}

// TestPackageComments: each package says in one place what it is.
func TestPackageComments(t *testing.T) {
	_, files := sources(t)
	comments := make(map[string]int)
	for _, f := range files {
		comments[f.dir] += 0
		if f.Doc == nil || strings.HasSuffix(f.Name.Name, "_test") {
			continue
		}
		comments[f.dir]++
		want, text := "Package "+f.Name.Name+" ", f.Doc.Text()
		if f.Name.Name == "main" { // named for its folder: "Gofmt formats …", or "Command gofmt …"
			want = strings.ToUpper(path.Base(f.dir)[:1]) + path.Base(f.dir)[1:] + " "
			text = strings.TrimPrefix(text, "Command ")
			text = strings.ToUpper(text[:1]) + text[1:]
		}
		if !strings.HasPrefix(text, want) {
			t.Errorf("%s: the comment of the package begins %q, not %q", f.path, strings.SplitN(text, "\n", 2)[0], want)
		}
	}
	for dir, n := range comments {
		if n != 1 {
			t.Errorf("%s has %d package comments, not one", dir, n)
		}
	}
}

// TestAPIComments: package api is for others too, so all of it is documented:
// each exported function, type, constant and variable.
func TestAPIComments(t *testing.T) {
	set, files := sources(t)
	seen := 0
	for _, f := range files {
		if f.test || f.dir != "api" {
			continue
		}
		missing := func(n *ast.Ident, docs ...*ast.CommentGroup) {
			if !n.IsExported() {
				return
			}
			seen++
			if !slices.ContainsFunc(docs, func(doc *ast.CommentGroup) bool { return doc.Text() != "" }) {
				t.Errorf("%s: %s has no comment", set.Position(n.Pos()), n.Name)
			}
		}
		for _, decl := range f.Decls {
			switch d := decl.(type) {
			case *ast.FuncDecl:
				if d.Recv == nil || d.Name.Name != "Error" { // which is what interface error says
					missing(d.Name, d.Doc)
				}
			case *ast.GenDecl:
				for _, s := range d.Specs {
					switch s := s.(type) {
					case *ast.TypeSpec:
						missing(s.Name, s.Doc, s.Comment, d.Doc)
					case *ast.ValueSpec:
						for _, name := range s.Names {
							missing(name, s.Doc, s.Comment, d.Doc)
						}
					}
				}
			}
		}
	}
	if seen == 0 {
		t.Error("package api is not there")
	}
}

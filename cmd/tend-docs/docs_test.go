package main

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"tend/internal/cli"
	"tend/internal/conf"
)

// top is the top folder as the tests see it.
const top = "../.."

// The pages that are checked in are those that would be written now.
func TestGenerated(t *testing.T) {
	for _, p := range pages() {
		got, err := os.ReadFile(filepath.Join(top, reference, p.name))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, p.content) {
			t.Errorf("%s/%s is not what the code says; run make generate", reference, p.name)
		}
	}
}

// The examples load without a complaint.
func TestExamples(t *testing.T) {
	for _, name := range []string{"tend.toml", "commands.ini", "Procfile"} {
		mustLoad(t, filepath.Join(top, "examples", name))
	}
}

// Every configuration that a page shows loads without a complaint. Those that
// are meant to be wrong stand in blocks of another language.
func TestSnippets(t *testing.T) {
	names := map[string]string{"toml": "tend.toml", "ini": "tend.ini", "procfile": "Procfile"}
	found := 0
	for _, p := range papers(t) {
		for i, b := range p.blocks {
			name := names[b.language]
			if name == "" {
				continue
			}
			found++
			dir := t.TempDir()
			// What snippets refer to.
			for _, extra := range []string{".env", "conf.d/app.toml"} {
				file := filepath.Join(dir, extra)
				if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(file, nil, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			file := filepath.Join(dir, name)
			if err := os.WriteFile(file, []byte(b.text), 0o644); err != nil {
				t.Fatal(err)
			}
			if !mustLoad(t, file) {
				t.Errorf("it is block %d of %s", i+1, p.name)
			}
		}
	}
	if found == 0 {
		t.Error("no page shows a configuration")
	}
}

func mustLoad(t *testing.T, file string) bool {
	t.Helper()
	r := conf.Load(conf.Options{Path: file, Environ: []string{"HOME=/root", "PATH=/bin"}})
	for _, d := range r.Diagnostics {
		t.Error(d.Text())
	}
	return r.OK() && len(r.Diagnostics) == 0
}

// Every relative link leads to a file, and every anchor to a heading.
func TestLinks(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)\s]+)\)`)
	for _, p := range papers(t) {
		for _, m := range link.FindAllStringSubmatch(p.prose, -1) {
			target, anchor, _ := strings.Cut(m[1], "#")
			if strings.Contains(target, "://") {
				continue
			}
			file := filepath.Join(top, p.name)
			if target != "" {
				file = filepath.Join(filepath.Dir(file), target)
			}
			text, err := os.ReadFile(file)
			if info, statErr := os.Stat(file); statErr == nil && info.IsDir() {
				continue
			}
			if err != nil {
				t.Errorf("%s links to %s, which isn't there", p.name, m[1])
				continue
			}
			if anchor != "" && !slices.Contains(anchors(string(text)), anchor) {
				t.Errorf("%s links to %s: no such heading", p.name, m[1])
			}
		}
	}
}

// anchors returns the headings of a page as GitHub makes anchors of them.
func anchors(text string) []string {
	drop := regexp.MustCompile(`[^\p{L}\p{N} _-]`)
	var list []string
	for line := range strings.Lines(text) {
		if title, ok := strings.CutPrefix(strings.TrimLeft(line, "#"), " "); ok && strings.HasPrefix(line, "#") {
			list = append(list, strings.ReplaceAll(drop.ReplaceAllString(strings.ToLower(strings.TrimSpace(title)), ""), " ", "-"))
		}
	}
	return list
}

// Every command and flag that a page shows in a shell exists.
func TestCommands(t *testing.T) {
	known := make(map[string]string) // the section of the reference on each command
	sections := strings.Split(cli.Markdown(), "\n### tend ")
	global := sections[0]
	for _, s := range sections[1:] {
		name, text, _ := strings.Cut(s, "\n")
		known[name] = text
	}
	call := regexp.MustCompile(`(?m)^(?:\$ |# )?(?:bin/|\.\./bin/)?tend ((?:--?[a-z-]+ \S+ )?)([a-z]+)([^#\n|;&]*)`)
	flag := regexp.MustCompile(` --[a-z-]+`)
	found := 0
	for _, p := range papers(t) {
		for _, b := range p.blocks {
			if b.language != "sh" && b.language != "console" {
				continue
			}
			for _, m := range call.FindAllStringSubmatch(b.text, -1) {
				found++
				text, ok := known[m[2]]
				if !ok {
					t.Errorf("%s shows %q: there is no such command", p.name, strings.TrimSpace(m[0]))
					continue
				}
				ours, _, _ := strings.Cut(m[3], " -- ")
				for _, f := range flag.FindAllString(" "+m[1]+ours, -1) {
					if !strings.Contains(text, f) && !strings.Contains(global, f) {
						t.Errorf("%s shows %q: there is no flag%s", p.name, strings.TrimSpace(m[0]), f)
					}
				}
			}
		}
	}
	if found == 0 {
		t.Error("no page shows a command")
	}
}

// A paper is a Markdown file of the repository.
type paper struct {
	name   string // from the top folder
	prose  string // without blocks of code
	blocks []block
}

// A block is a fenced block of code.
type block struct{ language, text string }

func papers(t *testing.T) []paper {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(top, "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	err = filepath.WalkDir(filepath.Join(top, "docs"), func(path string, _ fs.DirEntry, err error) error {
		if filepath.Ext(path) == ".md" {
			files = append(files, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	fence := regexp.MustCompile("(?ms)^```(\\w*)[^\n]*\n(.*?)^```$")
	var list []paper
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		p := paper{name: strings.TrimPrefix(f, top+"/"), prose: fence.ReplaceAllString(string(text), "")}
		for _, m := range fence.FindAllStringSubmatch(string(text), -1) {
			p.blocks = append(p.blocks, block{m[1], m[2]})
		}
		list = append(list, p)
	}
	return list
}

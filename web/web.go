// Package web is the page: what a browser gets that asks for /. It is plain
// HTML, CSS and JavaScript, which talks to the API as any other client does, and
// holds nothing secret.
//
// vendor has the libraries that it is made with, in the versions that
// package-lock.json pins; scripts/vendor-web puts them there.
package web

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"io/fs"
	"mime"
	"path"
	"sync"
)

//go:embed index.html icon.svg *.css *.js vendor
var files embed.FS

// A File is a file of the page, as it is sent.
type File struct {
	Type string // the media type, with the charset
	Tag  string // the entity tag: it changes with the content
	Body []byte
	Gzip []byte // Body again; nil where that isn't smaller
}

// Open returns a file by its path, as "index.html" or "vendor/preact.js", or nil
// if there is none.
func Open(name string) *File { return all()[name] }

// Names returns the paths of all files.
func Names() []string {
	var names []string
	for name := range all() {
		names = append(names, name)
	}
	return names
}

// all reads the files when the first is asked for: most daemons serve none.
var all = sync.OnceValue(func() map[string]*File {
	m := make(map[string]*File)
	err := fs.WalkDir(files, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		body, err := files.ReadFile(name)
		if err != nil {
			return err
		}
		sum := sha256.Sum256(body)
		m[name] = &File{Type: types[path.Ext(name)], Tag: `"` + base64.RawURLEncoding.EncodeToString(sum[:12]) + `"`, Body: body, Gzip: pack(body)}
		return nil
	})
	if err != nil {
		panic(err) // they are in the binary
	}
	return m
})

// types are said here and not asked of the machine, which may know others.
var types = map[string]string{
	".html": mime.FormatMediaType("text/html", charset),
	".css":  mime.FormatMediaType("text/css", charset),
	".js":   mime.FormatMediaType("text/javascript", charset),
	".txt":  mime.FormatMediaType("text/plain", charset),
	".svg":  "image/svg+xml",
}

var charset = map[string]string{"charset": "utf-8"}

func pack(body []byte) []byte {
	var b bytes.Buffer
	w, _ := gzip.NewWriterLevel(&b, gzip.BestCompression) // the level is one that there is
	w.Write(body)                                         // a buffer takes everything
	w.Close()
	if b.Len() >= len(body) {
		return nil
	}
	return b.Bytes()
}

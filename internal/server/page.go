package server

import (
	"net/http"
	"strconv"
	"strings"

	"tend/api"
	"tend/web"
)

// pagePolicy is what a browser lets the page do: load what comes from here, talk to
// here, and be in nobody's frame. Nothing that stands in a log can become a script,
// should it ever become markup.
const pagePolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"form-action 'none'; base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"

// page answers with the page itself.
func (s *Server) page(c *call) error { return c.file("index.html") }

// asset answers with a file of the page.
func (s *Server) asset(c *call) error { return c.file(c.name) }

// vendored answers with a file of a library that the page uses.
func (s *Server) vendored(c *call) error { return c.file("vendor/" + c.name) }

// file answers with a file of the page. A browser asks each time whether it has
// changed, which is answered without the file: after an upgrade of tend no part of
// the page is of before.
func (c *call) file(name string) error {
	f := web.Open(name)
	if f == nil {
		return &api.Error{Kind: api.KindNotFound, Message: "unknown path " + c.r.URL.EscapedPath()}
	}
	h := c.out.Header()
	h.Set("Cache-Control", "no-cache")
	h.Set("Content-Security-Policy", pagePolicy)
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Vary", "Accept-Encoding")
	body, tag := f.Body, f.Tag
	if f.Gzip != nil && gzipped(c.r) {
		body, tag = f.Gzip, strings.TrimSuffix(tag, `"`)+`-gzip"`
		h.Set("Content-Encoding", "gzip")
	}
	h.Set("ETag", tag)
	if knows(c.r, tag) {
		h.Del("Content-Encoding")
		c.out.WriteHeader(http.StatusNotModified)
		return nil
	}
	h.Set("Content-Type", f.Type)
	h.Set("Content-Length", strconv.Itoa(len(body)))
	c.out.WriteHeader(http.StatusOK)
	_, err := c.out.Write(body)
	return err
}

// gzipped reports whether the client takes gzip.
func gzipped(r *http.Request) bool {
	for part := range strings.SplitSeq(strings.Join(r.Header.Values("Accept-Encoding"), ","), ",") {
		name, q, _ := strings.Cut(strings.TrimSpace(part), ";")
		if strings.EqualFold(strings.TrimSpace(name), "gzip") {
			weight, has := strings.CutPrefix(strings.TrimSpace(q), "q=")
			v, err := strconv.ParseFloat(weight, 64)
			return !has || err == nil && v > 0
		}
	}
	return false
}

// knows reports whether the client has what has that tag.
func knows(r *http.Request, tag string) bool {
	for part := range strings.SplitSeq(r.Header.Get("If-None-Match"), ",") {
		if part = strings.TrimPrefix(strings.TrimSpace(part), "W/"); part == tag || part == "*" {
			return true
		}
	}
	return false
}

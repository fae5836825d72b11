package server

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"tend/web"
)

// urlOf returns the path by which a file of the page is asked for.
func urlOf(name string) string {
	if name == "index.html" {
		return "/"
	}
	return "/assets/" + name
}

// TestPage: everybody gets each file of the page, with what keeps browsers safe.
func TestPage(t *testing.T) {
	s := remote(t, nil)
	names := web.Names()
	if len(names) < 15 || !slices.Contains(names, "index.html") || !slices.Contains(names, "vendor/preact.js") {
		t.Fatalf("there is only %q", names)
	}
	types := map[string]string{"html": "text/html; charset=utf-8", "css": "text/css; charset=utf-8", "js": "text/javascript; charset=utf-8", "svg": "image/svg+xml", "txt": "text/plain; charset=utf-8"}
	for _, name := range names {
		w := ask(s, "GET", urlOf(name), "")
		f := web.Open(name)
		if w.Code != http.StatusOK || !bytes.Equal(w.Body.Bytes(), f.Body) {
			t.Errorf("%s: status %d, %d bytes of %d", name, w.Code, w.Body.Len(), len(f.Body))
		}
		h := w.Header()
		if got, want := h.Get("Content-Type"), types[name[strings.LastIndexByte(name, '.')+1:]]; got != want || want == "" {
			t.Errorf("%s: Content-Type %q, want %q", name, got, want)
		}
		for key, want := range map[string]string{
			"Content-Security-Policy": pagePolicy, "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer",
			"Cache-Control": "no-cache", "Vary": "Accept-Encoding", "Content-Encoding": "",
		} {
			if got := h.Get(key); got != want {
				t.Errorf("%s: %s is %q, want %q", name, key, got, want)
			}
		}
		zipped := ask(s, "GET", urlOf(name), "", "Accept-Encoding", "br, gzip;q=0.8")
		if (zipped.Header().Get("Content-Encoding") == "gzip") != (f.Gzip != nil) {
			t.Errorf("%s: Content-Encoding %q", name, zipped.Header().Get("Content-Encoding"))
		} else if f.Gzip != nil {
			r, err := gzip.NewReader(zipped.Body)
			if err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			if b, err := io.ReadAll(r); err != nil || !bytes.Equal(b, f.Body) {
				t.Errorf("%s: gzip holds something else (%v)", name, err)
			}
			if zipped.Header().Get("ETag") == h.Get("ETag") {
				t.Errorf("%s: one tag for two forms", name)
			}
		}
		if w := ask(s, "GET", urlOf(name), "", "If-None-Match", `"other", W/`+h.Get("ETag")); w.Code != http.StatusNotModified || w.Body.Len() != 0 {
			t.Errorf("%s: status %d for who has it", name, w.Code)
		}
		if w := ask(s, "GET", urlOf(name), "", "If-None-Match", `"other"`); w.Code != http.StatusOK {
			t.Errorf("%s: status %d for who has another", name, w.Code)
		}
	}
	if w := ask(s, "GET", "/", "", "Accept-Encoding", "gzip;q=0"); w.Header().Get("Content-Encoding") != "" {
		t.Error("gzip for who doesn't want it")
	}
}

// TestPageAlone: nothing but the page's files is to be had there.
func TestPageAlone(t *testing.T) {
	s := remote(t, nil)
	for _, path := range []string{
		"/index.html", "/assets", "/assets/", "/assets/index.htm", "/assets/web.go", "/assets/package.json", "/assets/package-lock.json", "/assets/vendor", "/assets/vendor/",
		"/assets/vendor/../app.js", "/assets/../v1/programs", "/assets/..%2fapi%2fapi.go", "/assets/vendor/..%2fapp.js", "/assets/%2e%2e", "/assets//app.js",
		"/app.js", "/assets/vendor/x/y.js", "/favicon.ico", "/assets/APP.JS", "/assets/app.js/", "/assets/app.js%00",
	} {
		if w := ask(s, "GET", path, ""); w.Code != http.StatusNotFound {
			t.Errorf("%s: status %d", path, w.Code)
		}
	}
	if w := ask(s, "POST", "/", ""); w.Code != http.StatusMethodNotAllowed {
		t.Errorf("POST /: status %d", w.Code)
	}
	if w := ask(s, "GET", "/", "", "Host", "evil.example"); w.Code != http.StatusMisdirectedRequest {
		t.Errorf("as evil.example: status %d", w.Code)
	}
}

// TestPageIsWhole: what the page refers to is there, and nothing is elsewhere.
func TestPageIsWhole(t *testing.T) {
	ref := regexp.MustCompile(`(?:from|import)\s*\(?\s*['"]([^'"]+)['"]|(?:src|href)="([^"#]+)"`)
	inline := regexp.MustCompile(`(?i)<script(?:[^>]*)>[^<]|<style|\sstyle="|\son[a-z]+="|innerHTML|dangerouslySet|\beval\(`)
	for _, name := range web.Names() {
		vendored := strings.HasPrefix(name, "vendor/")
		body := string(web.Open(name).Body)
		if strings.HasSuffix(name, ".txt") {
			continue
		}
		if !vendored {
			if m := inline.FindString(body); m != "" {
				t.Errorf("%s has %q, which the policy forbids", name, m)
			}
			if m := regexp.MustCompile(`https?://[^\s"')]*`).FindString(body); m != "" && m != "http://www.w3.org/2000/svg" {
				t.Errorf("%s names %s", name, m)
			}
		}
		if !strings.HasSuffix(name, ".js") && !strings.HasSuffix(name, ".html") {
			continue
		}
		for _, m := range ref.FindAllStringSubmatch(body, -1) {
			to := m[1] + m[2]
			switch {
			case strings.HasPrefix(to, "assets/"):
				to = strings.TrimPrefix(to, "assets/")
			case strings.HasPrefix(to, "./") && vendored:
				to = "vendor/" + to[2:]
			case strings.HasPrefix(to, "./"):
				to = to[2:]
			}
			if web.Open(to) == nil {
				t.Errorf("%s refers to %s, which isn't there", name, m[1]+m[2])
			}
		}
	}
}

// TestPageHears: browsers are given events by their kind only, so the page names each.
func TestPageHears(t *testing.T) {
	source, err := os.ReadFile("../event/event.go")
	if err != nil {
		t.Fatal(err)
	}
	_, source, _ = bytes.Cut(source, []byte("const ("))
	source, _, _ = bytes.Cut(source, []byte("\n)"))
	kinds := regexp.MustCompile(`= "(.+?)"`).FindAllSubmatch(source, -1)
	if len(kinds) < 10 {
		t.Fatalf("there are only %d kinds of events", len(kinds))
	}
	for _, m := range kinds {
		if !bytes.Contains(web.Open("state.js").Body, fmt.Appendf(nil, "'%s'", m[1])) {
			t.Errorf("state.js doesn't listen for %s", m[1])
		}
	}
}

// TestPageOnTheSocket: curl gets it by the unix socket as well.
func TestPageOnTheSocket(t *testing.T) {
	s := serve(t, nil)
	if r, body := s.do(t, "GET", "/", ""); r.StatusCode != http.StatusOK || !strings.Contains(body, "<title>tend</title>") {
		t.Errorf("%s: %s", r.Status, body)
	}
}

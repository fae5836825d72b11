package server

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const (
	looker = "0123456789abcdef-look"
	actor  = "0123456789abcdef-act"
)

// known returns an Access with two tokens.
func known(t *testing.T) *Access {
	t.Helper()
	path := filepath.Join(t.TempDir(), "tokens")
	if err := os.WriteFile(path, []byte("# who may\ngrafana read "+looker+"\n\nann full "+actor+" # from home\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	tokens, err := ReadTokens(path)
	if err != nil {
		t.Fatal(err)
	}
	return &Access{Tokens: tokens, Hosts: []string{"tend.example", "*.apps.example", "tend"}}
}

// remote returns a server on a network.
func remote(t *testing.T, change func(*Access)) *Server {
	t.Helper()
	a := known(t)
	if change != nil {
		change(a)
	}
	s := serve(t, nil)
	s.SetAccess(a)
	return s.Server
}

// ask asks a server as a client at some address does.
func ask(s *Server, method, path, body string, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	if body == "" {
		r.Body, r.ContentLength = http.NoBody, 0
	}
	r.Host = "127.0.0.1:8700"
	r.RemoteAddr = "192.0.2.7:4000"
	for i := 0; i+1 < len(header); i += 2 {
		if header[i] == "Host" {
			r.Host = header[i+1]
		} else {
			r.Header.Set(header[i], header[i+1])
		}
	}
	w := httptest.NewRecorder()
	s.Handler().ServeHTTP(w, r)
	return w
}

// TestEveryRouteEveryCaller tries each row of the table as each kind of caller.
func TestEveryRouteEveryCaller(t *testing.T) {
	s := remote(t, nil)
	loopback := remote(t, func(a *Access) { a.Tokens = nil })
	callers := []struct {
		name    string
		s       *Server
		header  []string
		granted access
	}{
		{"nobody", s, nil, open},
		{"a wrong cookie", s, []string{"Cookie", cookieName + "=0123456789abcdef-what"}, open},
		{"a reader", s, []string{"Authorization", "Bearer " + looker}, read},
		{"a reader by cookie", s, []string{"Cookie", cookieName + "=" + looker}, read},
		{"an actor", s, []string{"Authorization", "Bearer " + actor}, admin},
		{"an actor by cookie", s, []string{"Cookie", cookieName + "=" + actor, "Sec-Fetch-Site", "same-origin"}, admin},
		{"somebody on this machine, without tokens", loopback, nil, read},
	}
	for _, c := range callers {
		for _, row := range routes {
			if row.events != nil || row.path == "/v1/logout" || row.path == "/v1/login" {
				continue // streams are asked for in other tests; the others are open
			}
			clear(c.s.access.Load().failures.from)
			w := ask(c.s, row.method, strings.ReplaceAll(row.path, "{name}", "web"), "", c.header...)
			refused := w.Code == http.StatusUnauthorized || w.Code == http.StatusForbidden
			if want := c.granted < row.access; refused != want {
				t.Errorf("%s, %s %s: status %d, refused should be %t: %s", c.name, row.method, row.path, w.Code, want, w.Body)
			}
		}
	}
}

// TestOtherSites: a browser that was lured to another site acts for nobody.
func TestOtherSites(t *testing.T) {
	s := remote(t, nil)
	cookie := cookieName + "=" + actor
	for _, header := range [][]string{
		{"Cookie", cookie, "Sec-Fetch-Site", "cross-site"},
		{"Cookie", cookie, "Origin", "https://evil.example"},
	} {
		if w := ask(s, "POST", "/v1/programs/web/stop", "", header...); w.Code != http.StatusForbidden {
			t.Errorf("%v: status %d", header, w.Code)
		}
	}
	// A token in a header is nothing that a browser sends by itself.
	if w := ask(s, "POST", "/v1/programs/web/stop", "", "Authorization", "Bearer "+actor, "Sec-Fetch-Site", "cross-site"); w.Code != http.StatusOK {
		t.Errorf("with a header: status %d: %s", w.Code, w.Body)
	}
}

// TestHosts: a name that somebody else has made lead here is refused, whoever asks.
func TestHosts(t *testing.T) {
	s := remote(t, nil)
	for host, ok := range map[string]bool{
		"127.0.0.1:8700": true, "[::1]:8700": true, "localhost:8700": true, "tend.example": true, "TEND.example:443": true, "a.apps.example": true,
		"evil.example": false, "apps.example": false, "a.b.apps.example": false, "": false, "localhost.evil.example": false,
	} {
		w := ask(s, "GET", "/v1/programs", "", "Authorization", "Bearer "+looker, "Host", host)
		if (w.Code == http.StatusOK) != ok {
			t.Errorf("%q: status %d", host, w.Code)
		}
	}
}

// TestGuessing: wrong tokens cost time, for who shows them alone.
func TestGuessing(t *testing.T) {
	now := time.Unix(1700000000, 0)
	s := remote(t, func(a *Access) { a.failures.now = func() time.Time { return now } })
	wrong := []string{"Authorization", "Bearer 0123456789abcdef-guess"}
	for i := range freeFailures {
		if w := ask(s, "GET", "/v1/programs", "", wrong...); w.Code != http.StatusUnauthorized {
			t.Fatalf("guess %d: status %d", i, w.Code)
		}
	}
	right := []string{"Authorization", "Bearer " + looker}
	if w := ask(s, "GET", "/v1/programs", "", right...); w.Code != http.StatusTooManyRequests {
		t.Errorf("after %d guesses: status %d", freeFailures, w.Code)
	}
	now = now.Add(2 * time.Second)
	if w := ask(s, "GET", "/v1/programs", "", right...); w.Code != http.StatusOK {
		t.Errorf("after a pause: status %d", w.Code)
	}
	for range 10 {
		now = now.Add(time.Minute + time.Second)
		ask(s, "GET", "/v1/programs", "", wrong...)
	}
	now = now.Add(59 * time.Second)
	if w := ask(s, "GET", "/v1/programs", "", right...); w.Code != http.StatusTooManyRequests {
		t.Errorf("the pause doesn't grow to a minute: status %d", w.Code)
	}
	now = now.Add(2 * time.Second)
	if w := ask(s, "GET", "/v1/programs", "", right...); w.Code != http.StatusOK {
		t.Errorf("the pause is longer than a minute: status %d", w.Code)
	}
}

// TestFailersAreBounded: guesses from ever new places take no more memory.
func TestFailersAreBounded(t *testing.T) {
	a := remote(t, nil).access.Load()
	for i := range 2 * maxFailers {
		r := httptest.NewRequest("GET", "/", nil)
		r.RemoteAddr = fmt.Sprintf("10.%d.%d.%d:1", i>>16, i>>8&255, i&255)
		a.check(r, "wrong")
	}
	if n := len(a.failures.from); n > maxFailers {
		t.Errorf("%d are remembered", n)
	}
}

func TestLogin(t *testing.T) {
	s := remote(t, func(a *Access) { a.Secure = true })
	if w := ask(s, "POST", "/v1/login", `{"token": "0123456789abcdef-guess"}`); w.Code != http.StatusUnauthorized || w.Header().Get("Set-Cookie") != "" {
		t.Errorf("a wrong token: status %d, %v", w.Code, w.Header())
	}
	w := ask(s, "POST", "/v1/login", `{"token": "`+actor+`"}`)
	set := w.Header().Get("Set-Cookie")
	if w.Code != http.StatusOK || !strings.Contains(w.Body.String(), `"name":"ann","read":true,"act":true`) {
		t.Errorf("status %d: %s", w.Code, w.Body)
	}
	for _, want := range []string{"HttpOnly", "Secure", "SameSite=Strict", "Path=/"} {
		if !strings.Contains(set, want) {
			t.Errorf("the cookie isn't %s: %s", want, set)
		}
	}
	cookie, _, _ := strings.Cut(set, ";")
	if w := ask(s, "GET", "/v1/access", "", "Cookie", cookie); !strings.Contains(w.Body.String(), `"name":"ann"`) {
		t.Errorf("who am I: %s", w.Body)
	}
	if w := ask(s, "POST", "/v1/logout", "", "Cookie", cookie, "Sec-Fetch-Site", "same-origin"); w.Code != http.StatusOK || !strings.Contains(w.Header().Get("Set-Cookie"), "Max-Age=0") {
		t.Errorf("logout: %d, %v", w.Code, w.Header())
	}
	if w := ask(s, "GET", "/v1/programs", "", "Cookie", cookieName+"=0123456789abcdef-gone"); w.Code != http.StatusUnauthorized || !strings.Contains(w.Header().Get("Set-Cookie"), "Max-Age=0") {
		t.Errorf("a stale cookie: %d, %v", w.Code, w.Header())
	}
}

func TestTokenFiles(t *testing.T) {
	dir := t.TempDir()
	for _, test := range []struct{ text, want string }{
		{"", "there is none"},
		{"# nobody\n", "there is none"},
		{"ann full\n", "line 1: it should be a name"},
		{"\nann all 0123456789abcdef\n", `line 2: "all" is neither read nor full`},
		{"ann full short\n", "shorter than 16"},
	} {
		path := filepath.Join(dir, "tokens")
		if err := os.WriteFile(path, []byte(test.text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := ReadTokens(path); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%q: %v", test.text, err)
		}
	}
	path := filepath.Join(dir, "public")
	if err := os.WriteFile(path, []byte("ann full 0123456789abcdef\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadTokens(path); err == nil || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("a file that everybody reads: %v", err)
	}
}

package supervisord

import (
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestWeb: the page and its buttons, and who may press them.
func TestWeb(t *testing.T) {
	d := newSimple(t)
	close(d.hold) // starts take no time
	if err := os.WriteFile(filepath.Join(d.dir, "web.out"), []byte(strings.Repeat("x", 5000)+"\n<b>the end</b>\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, dial := serve(t, d, Limits{}, nil)
	press := func(action string, fields ...string) string {
		return "POST /index.html?processname=web&action=" + action + " HTTP/1.1\r\nHost: box:9001\r\n" + strings.Join(fields, "") + "Content-Length: 0\r\n\r\n"
	}
	get := func(path string) string { return "GET " + path + " HTTP/1.1\r\nHost: box:9001\r\n\r\n" }
	for _, test := range []struct {
		request, status string
		has, hasNot     string
	}{
		{get("/"), "200 OK", `action="/index.html?action=start&amp;processname=web"><button>Start<`, "Restart<"},
		{get("/index.html?message=%3Cscript%3E"), "200 OK", "&lt;script&gt;", "<script>"},
		{get("/stylesheets/supervisor.css"), "200 OK", "Content-Type: text/css", ""},
		{get("/ok.html"), "200 OK", "OK", ""},
		{get("/images/none.gif"), "404 Not Found", "", ""},
		{get("/../options.py"), "404 Not Found", "", ""},
		{get("/?message=%zz"), "400 Bad Request", "", ""},

		{press("start"), "303 See Other", "Location: /?message=Process+web+started\r\n", ""},
		{press("stop"), "303 See Other", "Location: /?message=" + url.QueryEscape("ERROR: NOT_RUNNING: web"), ""},
		{press("restart"), "303 See Other", "Process+web+restarted", ""},
		{press("clearlog"), "303 See Other", "Log+for+web+cleared", ""},
		{press("restartall"), "303 See Other", "All+restarted+at", ""},
		{press("stopall"), "303 See Other", "All+stopped+at", ""},
		{press("nothing"), "400 Bad Request", "", ""},
		{"POST /index.html?action=start HTTP/1.1\r\nContent-Length: 0\r\n\r\n", "400 Bad Request", "", ""},
		{"POST /index.html?action=start&processname=nope HTTP/1.1\r\nContent-Length: 5\r\n\r\na=b&c", "303 See Other", url.QueryEscape("ERROR: BAD_NAME: nope"), ""},

		// A browser says which page has sent a form.
		{press("start", "Origin: http://box:9001\r\n"), "303 See Other", "started", ""},
		{press("start", "Origin: http://evil\r\n"), "403 Forbidden", "another page", ""},
		{press("start", "Origin: null\r\n"), "403 Forbidden", "another page", ""},
		{get("/index.html?action=start&processname=web"), "405 Method Not Allowed", "Allow: POST", ""},
		{get("/index.html?action=stopall"), "405 Method Not Allowed", "Nothing was done", ""},
		{get("/index.html?action=refresh"), "303 See Other", "Page+refreshed+at", ""},
		{"POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc", "400 Bad Request", "", ""},

		{get("/tail.html?processname=web"), "200 OK", "&lt;b&gt;the end&lt;/b&gt;", "<b>"},
		{get("/tail.html?processname=web&limit=-1"), "200 OK", strings.Repeat("x", 1000), strings.Repeat("x", 1100)},
		{get("/tail.html?processname=web&limit=9999999999"), "200 OK", strings.Repeat("x", 5000), ""},
		{get("/tail.html?processname=nope"), "404 Not Found", "BAD_NAME", ""},
		{get("/tail.html"), "404 Not Found", "BAD_NAME", ""},
	} {
		got := ask(t, dial(), test.request)
		whole := string(got.body)
		for name, values := range got.header {
			whole = name + ": " + values[0] + "\r\n" + whole
		}
		if got.status != "HTTP/1.1 "+test.status || !strings.Contains(whole, test.has) || test.hasNot != "" && strings.Contains(whole, test.hasNot) {
			t.Errorf("%.80q: %s, without %q or with %q:\n%s", test.request, got.status, test.has, test.hasNot, whole)
		}
	}
}

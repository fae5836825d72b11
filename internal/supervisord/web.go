package supervisord

import (
	"errors"
	"fmt"
	"html"
	"net/url"
	"path"
	"strconv"
	"strings"

	"tend/internal/xmlrpc"
)

// The page is supervisord's in its addresses and in what it can do, and our own in
// how it looks. It is written by hand: html/template, with all that it brings,
// makes the binary larger by more than this package.
//
// One thing is not as there: supervisord carries out what a GET asks for, so that
// any page that a browser shows could stop programs by an image of that address,
// with the password that the browser remembers. Here it has to be a POST, and one
// that no other page has sent.

const (
	maxRows = 1000    // of processes on the page
	minTail = 1024    // bytes of a log
	maxTail = 1 << 20 // as much as a browser likes to show
)

// webPage answers a request for the page, or for what belongs to it. ok is false if
// there is no such thing.
func (c *conn) webPage(q *request) (a answer, ok bool) {
	target, query, _ := strings.Cut(q.target, "?")
	form, err := url.ParseQuery(query)
	if err != nil {
		return errorPage(400), true
	}
	var name string
	if name = path.Clean(q.path()); name == "/" {
		name = "/index.html"
	}
	if q.method == "POST" && name != "/index.html" || strings.Contains(target, "..") {
		return a, false
	}
	r := &rpc{ctx: c.s.calls, daemon: c.s.daemon, now: c.s.now, budget: maxLogRead, infos: maxInfos, big: c.s.big}
	defer r.release()
	switch name {
	case "/index.html":
		return r.index(q, form), true
	case "/tail.html":
		return r.tailPage(form), true
	case "/ok.html":
		return htmlAnswer(200, "OK"), true
	case "/stylesheets/supervisor.css":
		a = htmlAnswer(200, style)
		a.fields[0] = "Content-Type: text/css; charset=utf-8"
		return a, true
	}
	return a, false
}

// htmlAnswer is an answer that a browser shows, and lets nothing else into.
func htmlAnswer(status int, body string, fields ...string) answer {
	fields = append([]string{
		"Content-Type: text/html; charset=utf-8",
		"Content-Length: " + strconv.Itoa(len(body)),
		"Cache-Control: no-store",
		"X-Content-Type-Options: nosniff",
		"Referrer-Policy: same-origin",
		"Content-Security-Policy: default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
	}, fields...)
	return answer{status: status, fields: fields, body: []byte(body)}
}

// ownPage reports whether a request comes from our own page, or from no page at
// all: a browser says where a POST comes from.
func (q *request) ownPage() bool {
	return q.origin == "" || q.origin == "http://"+q.host || q.origin == "https://"+q.host
}

// index is the table of all processes, or what a button of it does.
func (c *rpc) index(q *request, form url.Values) answer {
	action := form.Get("action")
	switch {
	case action == "" && q.method == "POST":
		return errorPage(400)
	case action == "":
		return htmlAnswer(200, c.table(form.Get("message")))
	case q.method != "POST" && action != "refresh":
		return htmlAnswer(405, c.table("Nothing was done: press the button again. What changes something has to be asked for with POST."), "Allow: POST")
	case q.method == "POST" && !q.ownPage():
		return htmlAnswer(403, c.table("Nothing was done: another page has asked for it."))
	}
	message, ok := c.press(action, form.Get("processname"))
	if !ok {
		return errorPage(400)
	}
	return htmlAnswer(303, "", "Location: /?message="+url.QueryEscape(message))
}

// press does what a button says, and returns what there is to say about it. ok is
// false if there is no such button.
func (c *rpc) press(action, name string) (message string, ok bool) {
	when := " at " + c.now().Format("Mon Jan 2 15:04:05 2006")
	calls := func(done string, methods ...string) (string, bool) {
		args := []any{name}
		if name == "" {
			args = nil
		}
		for _, method := range methods {
			_, err := c.call("supervisor."+method, args)
			var f *xmlrpc.Fault
			switch {
			case errors.As(err, &f) && f.Code == xmlrpc.NotRunning && len(methods) > 1: // it only has to be started
			case errors.As(err, &f):
				return "ERROR: " + f.Text, true
			case err != nil:
				return "ERROR: " + err.Error(), true
			}
		}
		return done, true
	}
	if strings.HasSuffix(action, "all") {
		name = ""
	} else if name == "" && action != "refresh" {
		return "", false
	}
	switch action {
	case "refresh":
		return "Page refreshed" + when, true
	case "stopall":
		return calls("All stopped"+when, "stopAllProcesses")
	case "restartall":
		return calls("All restarted"+when, "stopAllProcesses", "startAllProcesses")
	case "start":
		return calls("Process "+name+" started", "startProcess")
	case "stop":
		return calls("Process "+name+" stopped", "stopProcess")
	case "restart":
		return calls("Process "+name+" restarted", "stopProcess", "startProcess")
	case "clearlog":
		return calls("Log for "+name+" cleared", "clearProcessLogs")
	}
	return "", false
}

// pageHead begins a page.
func pageHead(title string) string {
	return `<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>` + html.EscapeString(title) + `</title>
<link rel="stylesheet" href="/stylesheets/supervisor.css">
`
}

// button is a form of one button.
func button(action, name, label string) string {
	target := "/index.html?action=" + action
	if name != "" {
		target += "&processname=" + url.QueryEscape(name)
	}
	return `<form method="post" action="` + html.EscapeString(target) + `"><button>` + label + `</button></form>`
}

// table is the page with all processes. A message stands above them.
func (c *rpc) table(message string) string {
	info, list := c.daemon.Info(), c.everything()
	var b strings.Builder
	b.WriteString(pageHead("Supervisor Status"))
	fmt.Fprintf(&b, "<header><h1>%s</h1>%s%s%s</header>\n", html.EscapeString(info.Identifier), `<form action="/"><button>Refresh</button></form>`,
		button("restartall", "", "Restart all"), button("stopall", "", "Stop all"))
	if message != "" {
		fmt.Fprintf(&b, "<p role=\"status\">%s</p>\n", html.EscapeString(message))
	}
	b.WriteString("<table>\n<thead><tr><th>State<th>Description<th>Name<th>Action</thead>\n<tbody>\n")
	for i, p := range list {
		if i == maxRows {
			break
		}
		name := p.Namespec()
		query := url.QueryEscape(name)
		fmt.Fprintf(&b, `<tr><td><span class="%s">%s</span><td>%s<td><a href="/tail.html?processname=%s">%s</a><td>`,
			strings.ToLower(p.State.String()), p.State, html.EscapeString(describe(p, c.now())), html.EscapeString(query), html.EscapeString(name))
		if p.State.Up() {
			b.WriteString(button("restart", name, "Restart") + button("stop", name, "Stop"))
		} else if p.State != Stopping {
			b.WriteString(button("start", name, "Start"))
		}
		b.WriteString(button("clearlog", name, "Clear log"))
		tail := html.EscapeString(url.PathEscape(name))
		if p.Stdout != "" {
			fmt.Fprintf(&b, `<a href="/logtail/%s">Tail -f stdout</a>`, tail)
		}
		if p.Stderr != "" {
			fmt.Fprintf(&b, `<a href="/logtail/%s/stderr">Tail -f stderr</a>`, tail)
		}
		b.WriteString("\n")
	}
	b.WriteString("</tbody>\n</table>\n")
	switch {
	case len(list) == 0:
		b.WriteString("<p>No programs to manage.</p>\n")
	case len(list) > maxRows:
		fmt.Fprintf(&b, "<p>These are the first %d of %d processes; supervisorctl status shows all.</p>\n", maxRows, len(list))
	}
	fmt.Fprintf(&b, "<footer>tend, as supervisord %s; pid %d</footer>\n", html.EscapeString(info.Version), info.PID)
	return b.String()
}

// tailPage is the end of a process's output.
func (c *rpc) tailPage(form url.Values) answer {
	name := form.Get("processname")
	limit, err := strconv.Atoi(form.Get("limit"))
	if err != nil {
		limit = minTail
	}
	limit = min(max(limit, minTail), maxTail)
	text, status := "", 200
	if value, err := c.call("supervisor.readProcessStdoutLog", []any{name, -limit, 0}); err != nil {
		text, status = "ERROR: "+err.Error(), 404
		var f *xmlrpc.Fault
		if errors.As(err, &f) {
			text = "ERROR: " + f.Text
		}
	} else {
		text, _ = value.(string)
	}
	again := "/tail.html?" + url.Values{"processname": {name}, "limit": {strconv.Itoa(limit)}}.Encode()
	return htmlAnswer(status, pageHead("Supervisor Tail of "+name)+
		"<header><h1>"+html.EscapeString(name)+`</h1><a href="/">All processes</a><a href="`+html.EscapeString(again)+"\">Refresh</a></header>\n<pre>"+
		html.EscapeString(strings.ToValidUTF8(text, "\uFFFD"))+"</pre>\n")
}

const style = `:root { color-scheme: light dark; --line: color-mix(in srgb, currentColor 15%, transparent) }
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 70rem; padding: 0 1rem }
header { display: flex; flex-wrap: wrap; align-items: center; gap: .5rem }
h1 { font-size: 1.3rem; margin: 0 auto 0 0 }
form { display: inline }
button, td a, header a { font: inherit; font-size: .85rem; margin-right: .4rem }
button { padding: .15rem .6rem; border: 1px solid var(--line); border-radius: .4rem; background: none; color: inherit; cursor: pointer }
button:hover { border-color: currentColor }
p[role=status] { border-left: 3px solid; padding: .3rem .8rem; margin: 1rem 0 0 }
table { border-collapse: collapse; width: 100%; margin: 1.2rem 0 }
th { text-align: left; font-weight: 600; font-size: .85rem }
th, td { padding: .45rem .6rem; border-bottom: 1px solid var(--line) }
td:nth-child(3) a { font-size: 1rem; font-weight: 600 }
span { display: inline-block; min-width: 5.6rem; padding: .05rem .5rem; border-radius: .4rem; text-align: center; font-size: .8rem; border: 1px solid var(--line) }
.running { background: #1a7f37; color: #fff }
.starting, .stopping { background: #9a6700; color: #fff }
.backoff, .fatal, .unknown { background: #cf222e; color: #fff }
pre { overflow: auto; padding: 1rem; border: 1px solid var(--line); border-radius: .4rem }
footer { opacity: .6; font-size: .85rem }
`

package supervisord

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/textproto"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tend/internal/svconf"
	"tend/internal/xmlrpc"
)

// An exchange is a recorded request with its answer.
type exchange struct {
	name   string // without its number
	file   string
	status string // the first line of the answer; "": there was none
}

// exchanges reads the list of what was recorded, in order.
func exchanges(t *testing.T, folder string) []exchange {
	index, err := os.ReadFile(filepath.Join(folder, "INDEX.tsv"))
	if err != nil {
		t.Fatal(err)
	}
	var list []exchange
	for line := range strings.Lines(string(index)) {
		f := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		if len(f) < 4 || f[0] == "file" {
			continue
		}
		_, name, _ := strings.Cut(f[0], "-")
		list = append(list, exchange{name: name, file: f[0], status: f[2]})
	}
	return list
}

// before is what happened before an exchange and wasn't recorded, by its number:
// the recorder waited for a state, or wrote a file.
func before(f *fake, number string) {
	conf := func(name, text string) {
		f.write(filepath.Join(f.dir, "conf.d", name), text, false)
	}
	switch number {
	case "014":
		f.until("crasher", "crasher", Fatal)
		f.until("badexit", "badexit", Exited)
		f.until("talker", "talker", Running)
		f.until("backoff", "backoff", Backoff)
	case "042":
		f.until("quick", "quick", Fatal)
	case "043":
		f.until("crasher", "crasher", Fatal)
	case "059":
		f.until("greek", "alpha", Stopped)
	case "069":
		f.until("stubborn", "stubborn", Stopped)
	case "075":
		f.until("backoff", "backoff", Backoff)
	case "100":
		f.pass(300 * time.Millisecond)
	case "155":
		conf("new.conf", "[program:new]\ncommand=/bin/sleep 100000\n")
	case "159":
		f.until("new", "new", Running)
		conf("new.conf", "[program:new]\ncommand=/bin/sleep 100001\n")
	case "163":
		f.until("new", "new", Running)
		if err := os.Remove(filepath.Join(f.dir, "conf.d", "new.conf")); err != nil {
			f.t.Error(err)
		}
	case "166":
		conf("bad.conf", "[program:bad]\nautostart=maybe\ncommand=/bin/true\n")
	case "167":
		conf("bad.conf", "garbage\n")
	case "168":
		conf("bad.conf", "[program:bad]\n")
	case "169":
		if err := os.Remove(filepath.Join(f.dir, "conf.d", "bad.conf")); err != nil {
			f.t.Error(err)
		}
	case "217":
		f.write(f.find(ID{"talker", "talker"}).Stderr, "err-96\n", true)
	case "249": // by way of the page, which isn't here
		_ = f.Stop(f.t.Context(), among(all(f), State.Up), true, func(ID, Outcome) {})
	case "254":
		f.pass(2 * time.Second)
		f.until("backoff", "backoff", Backoff)
	case "258":
		f.restarted()
	case "259":
		f.until("stubborn", "stubborn", Running)
	}
}

func all(f *fake) []Process { return (&rpc{daemon: f}).everything() }

const getState = "<?xml version='1.0'?>\n<methodCall>\n<methodName>supervisor.getState</methodName>\n<params>\n</params>\n</methodCall>\n"

// request returns the bytes that were sent. Where only the body was kept, the rest
// is as the recorder makes it.
func (x exchange) request(t *testing.T, folder string) []byte {
	if b, err := os.ReadFile(filepath.Join(folder, x.file+".request.http")); err == nil {
		return b
	}
	body, err := os.ReadFile(filepath.Join(folder, x.file+".request.xml"))
	hasBody := err == nil
	path, extra, verb := "/RPC2", "", "POST"
	switch x.name {
	case "http--connection-close":
		extra = "Connection: close\r\n"
	case "http--expect-100":
		extra = "Expect: 100-continue\r\n"
	case "http--path-RPC2-slash":
		path = "/RPC2/"
	case "http--path-RPC2-query":
		path = "/RPC2?x=1"
	case "http--path-RPC3":
		path = "/RPC3"
	case "http--path-root-post":
		path = "/"
	case "http--empty-body":
		hasBody = true
	case "http--not-xml":
		body, hasBody = []byte("hello"), true
	case "http--no-content-length":
		return []byte("POST /RPC2 HTTP/1.1\r\nHost: x\r\nContent-Type: text/xml\r\n\r\n")
	case "http--chunked-request":
		return fmt.Appendf(nil, "POST /RPC2 HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", len(getState), getState)
	case "http--bad-request-line":
		return []byte("NONSENSE\r\n\r\n")
	case "http--lowercase-headers":
		return fmt.Appendf(nil, "POST /RPC2 HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n%s", len(body), body)
	case "http--header-no-space":
		return fmt.Appendf(nil, "POST /RPC2 HTTP/1.1\r\nHost:x\r\nContent-Length:%d\r\n\r\n%s", len(body), body)
	case "http--pipelined-two":
		second := strings.ReplaceAll(getState, "getState", "getPID")
		one := func(body string) string {
			return fmt.Sprintf("POST /RPC2 HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
		}
		return []byte(one(getState) + one(second))
	case "http--put-rpc2":
		verb = "PUT"
	case "http--get-rpc2":
		verb = "GET"
	}
	if !hasBody {
		return fmt.Appendf(nil, "%s %s HTTP/1.1\r\nHost: localhost\r\n\r\n", verb, path)
	}
	return fmt.Appendf(nil, "POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/xml\r\n%sContent-Length: %d\r\n\r\n%s", path, extra, len(body), body)
}

// A reply is an answer as it came.
type reply struct {
	status string
	header textproto.MIMEHeader
	body   []byte
}

// read reads an answer. Of a stream it reads the first piece.
func readReply(r *bufio.Reader) (reply, error) {
	t := textproto.NewReader(r)
	var a reply
	var err error
	if a.status, err = t.ReadLine(); err != nil {
		return a, err
	}
	if a.header, err = t.ReadMIMEHeader(); err != nil {
		return a, err
	}
	switch length := a.header.Get("Content-Length"); {
	case length != "":
		n, err := strconv.Atoi(length)
		if err != nil {
			return a, err
		}
		a.body = make([]byte, n)
		_, err = io.ReadFull(r, a.body)
		return a, err
	case a.header.Get("Transfer-Encoding") == "chunked":
		size, err := t.ReadLine()
		n, err2 := strconv.ParseInt(size, 16, 32)
		if err != nil || err2 != nil {
			return a, errors.Join(err, err2)
		}
		a.body = make([]byte, n)
		_, err = io.ReadFull(r, a.body)
		return a, err
	}
	return a, nil
}

// recorded returns the answer that was recorded; its header and its body are nil if
// they were not kept.
func (x exchange) recorded(t *testing.T, folder string) reply {
	a := reply{status: x.status}
	if b, err := os.ReadFile(filepath.Join(folder, x.file+".response.http")); err == nil && len(b) > 0 {
		a, err = readReply(bufio.NewReader(bytes.NewReader(b)))
		if err != nil && a.header == nil {
			t.Errorf("%s: %v", x.file, err)
		}
		return a
	}
	if b, err := os.ReadFile(filepath.Join(folder, x.file+".response.xml")); err == nil {
		a.body = b
	}
	return a
}

var (
	uptimes  = regexp.MustCompile(`pid \d+, uptime [0-9:, days]+`)
	dates    = regexp.MustCompile(`[A-Z][a-z]{2} \d\d \d\d:\d\d [AP]M`)
	autoName = regexp.MustCompile(`---scenario-[A-Za-z0-9_]{8}\.log`)
	severals = regexp.MustCompile(`AllProcesses|ProcessGroup|clearAll`)
	ownLogs  = regexp.MustCompile(`readLog|readMainLog|i4-and-bare`)
	numbers  = regexp.MustCompile(`getPID|multicall--two`)
)

// plain returns a value of an answer as a text in which what may differ between
// two runs is masked: times, process numbers, names of logs, and what logs hold
// that are written meanwhile.
func plain(name string, v any) string {
	var write func(key string, v any) string
	write = func(key string, v any) string {
		switch v := v.(type) {
		case xmlrpc.Struct:
			parts := make([]string, len(v))
			for i, m := range v {
				parts[i] = m.Name + "=" + write(m.Name, m.Value)
			}
			slices.Sort(parts)
			return "{" + strings.Join(parts, "\n ") + "}"
		case []any:
			parts := make([]string, len(v))
			for i, e := range v {
				parts[i] = write("", e)
			}
			if severals.MatchString(name) { // in the order in which they were done
				slices.Sort(parts)
			}
			return "[" + strings.Join(parts, ",\n") + "]"
		case int:
			if v > 0 && slices.Contains([]string{"start", "stop", "now", "pid"}, key) || v > 9 && numbers.MatchString(name) {
				return "int:N"
			}
		case string:
			v = uptimes.ReplaceAllString(v, "pid N, uptime U")
			v = dates.ReplaceAllString(v, "DATE")
			v = autoName.ReplaceAllString(v, "---scenario-X.log")
			if ownLogs.MatchString(name) && v != "" {
				v = "LOG"
			}
			return fmt.Sprintf("%T:%q", v, v)
		}
		return fmt.Sprintf("%T:%v", v, v)
	}
	if strings.Contains(name, "StderrLog") {
		return "tail"
	}
	return write("", v)
}

// masked returns the body of an answer, masked.
func masked(t *testing.T, x exchange, body []byte) string {
	if strings.HasPrefix(x.name, "logtail") && !bytes.HasPrefix(body, []byte("<head>")) || strings.HasPrefix(x.name, "mainlogtail") {
		return "STREAM"
	}
	one, _, _ := bytes.Cut(body, []byte("HTTP/1.1 200 OK")) // the second one of two
	if !bytes.HasPrefix(one, []byte("<?xml")) {
		return string(body)
	}
	value, err := xmlrpc.DecodeResponse(bytes.NewReader(one), xmlrpc.AnswerLimits)
	var fault *xmlrpc.Fault
	switch {
	case errors.As(err, &fault):
		if fault.Code == xmlrpc.CantReread {
			fault.Text = strings.ReplaceAll(fault.Text, "\r", "")
		}
		return fmt.Sprintf("fault %d %q", fault.Code, fault.Text)
	case err != nil:
		t.Errorf("%s: %v", x.file, err)
	}
	return plain(x.name, value)
}

// others are the exchanges that are answered otherwise on purpose.
var others = map[string]string{
	"107": "a character that is cut in two is repaired, which supervisord fails on",
	"182": "a call without a body is refused, and not waited for",
	"194": "there is no page here",
	"200": "what is no request is refused, and not waited for",
	"226": "HTTP/1.0 gets a stream at once, and not when 64 KiB are there",
}

// TestRecorded plays the recorded requests in order to a Server with a made up
// Daemon, and compares the answers.
func TestRecorded(t *testing.T) {
	folder := shared(t, "xmlrpc")
	f := scenario(t)
	s := NewServer(Options{Daemon: f, Now: f.clock, Log: func(text string) { t.Log(text) }})
	text := func(s string) *string { return &s }
	servers := map[bool]svconf.Server{
		false: {Section: "unix_http_server", File: filepath.Join(f.dir, "s.sock"), Chmod: 0o700},
		true:  {Section: "inet_http_server", Host: "127.0.0.1", Username: text("user"), Password: text("{SHA}82ab876d1387bfafe46cc1c8a2ef074eae50cb1d")},
	}
	listeners := make(map[bool]*Listener)
	done := make(chan error, len(servers))
	for tcp, server := range servers {
		l, err := Listen(server, nil)
		if err != nil {
			t.Fatal(err)
		}
		listeners[tcp] = l
		go func() { done <- s.Serve(l, LoginOf(server)) }()
	}
	defer func() {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		s.Shutdown(ctx)
		for range servers {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	}()

	same, other, left := 0, 0, 0
	for _, x := range exchanges(t, folder) {
		number := x.file[:3]
		before(f, number)
		f.pass(3 * time.Millisecond)
		if strings.HasPrefix(x.name, "web--") && x.name != "web--404" && x.name != "web--dotdot" && x.name != "web--head-root" {
			left++ // the page looks other here, see TestWeb
			continue
		}
		request := x.request(t, folder)
		switch x.name {
		case "web--404":
		case "web--dotdot":
			request = []byte("GET /../options.py HTTP/1.1\r\n\r\n")
		case "web--head-root":
			request = []byte("HEAD / HTTP/1.1\r\n\r\n")
		}
		var c net.Conn
		var err error
		if strings.HasPrefix(x.name, "auth--") {
			c, err = net.Dial("tcp", listeners[true].Addr().String())
		} else {
			c, err = net.Dial("unix", servers[false].File)
		}
		if err != nil {
			t.Fatal(err)
		}
		_ = c.SetDeadline(time.Now().Add(20 * time.Second))
		if _, err := c.Write(request); err != nil {
			t.Fatalf("%s: %v", x.file, err)
		}
		if strings.HasSuffix(x.file, "logtail--group-process") || strings.HasSuffix(x.file, "logtail--encoded-colon") {
			f.write(f.find(ID{"pair", "pair_01"}).Stdout, "x", true)
		}
		if x.name == "web--head-root" {
			answer, err := http.ReadResponse(bufio.NewReader(c), &http.Request{Method: "HEAD"})
			if err != nil || answer.Status != "404 Not Found" {
				t.Errorf("%s: %v, %v", x.file, answer, err)
			}
			same++
			c.Close()
			continue
		}
		got, err := readReply(bufio.NewReader(c))
		c.Close()
		if err != nil {
			t.Errorf("%s: %v", x.file, err)
			continue
		}
		want := x.recorded(t, folder)
		got.body = bytes.ReplaceAll(got.body, []byte(filepath.Join(f.dir, "run")), []byte("{RUN}"))
		got.body = bytes.ReplaceAll(got.body, []byte(f.dir), []byte("{SCENARIO}"))
		diff := cmp.Diff(want.status, got.status)
		if want.body != nil {
			diff += cmp.Diff(masked(t, x, want.body), masked(t, x, got.body))
		}
		if want.header != nil {
			for _, field := range []string{"Server", "Content-Type", "Www-Authenticate", "Transfer-Encoding", "X-Accel-Buffering", "Connection"} {
				diff += cmp.Diff(want.header.Get(field), got.header.Get(field))
			}
		}
		why, meant := others[number]
		switch {
		case diff == "" && meant:
			t.Errorf("%s is the same, and was meant not to be: %s", x.file, why)
		case diff == "":
			same++
		case meant:
			other++
			t.Logf("%s differs: %s", x.file, why)
		default:
			t.Errorf("%s (-supervisord +tend):\n%s", x.file, diff)
		}
	}
	if same < 240 {
		t.Errorf("only %d exchanges are the same", same)
	}
	t.Logf("%d exchanges are the same, %d differ on purpose, %d are of the page and were left out", same, other, left)
}

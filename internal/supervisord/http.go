package supervisord

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// HTTP is done by hand over bufio, because net/http can't be made to do what
// clients of supervisord rely on: it refuses a request of HTTP/1.1 without Host,
// which supervisord never asked for, answers "Expect: 100-continue" before the
// method has a say, writes its own texts for requests that it can't read, and
// sorts the header. What is needed is little: a request line, four fields, and a
// body whose length is known.

const (
	maxLine    = 8 << 10  // of a request line, or a field
	maxHeader  = 16 << 10 // all of them together
	serverName = "Medusa/1.12"
)

// A request is what is needed of a request of HTTP.
type request struct {
	method string
	target string // as it was sent
	minor  int    // HTTP/1.minor

	length    int64  // of the body; -1: it isn't told
	encoded   bool   // the body comes in another manner than by its length
	host      string // that the client has asked for
	origin    string // of the page that has sent it; "": the client says nothing of one
	login     string
	hasLogin  bool
	keepAlive bool
}

// errRequest is the error of a request that can't be read, but can be answered.
type errRequest struct{ status int }

func (e errRequest) Error() string { return "cannot read the request: " + statusText(e.status) }

// readRequest reads a request without its body. The error is io.EOF if there is
// none, and errRequest if it is wrong.
func readRequest(r *bufio.Reader) (*request, error) {
	left := maxHeader
	line, err := readLine(r, &left)
	for skipped := 0; err == nil && line == "" && skipped < 4; skipped++ { // some clients send one more than they should
		line, err = readLine(r, &left)
	}
	if err != nil {
		return nil, err
	}
	q := &request{length: -1}
	if err := q.first(line); err != nil {
		return nil, err
	}
	for {
		line, err := readLine(r, &left)
		switch {
		case err == io.EOF:
			return nil, io.ErrUnexpectedEOF
		case err != nil:
			return nil, err
		case line == "":
			return q, nil
		}
		if err := q.field(line); err != nil {
			return nil, err
		}
	}
}

// readLine reads a line of the header, whose end may lack its CR.
func readLine(r *bufio.Reader, left *int) (string, error) {
	b, err := r.ReadSlice('\n')
	*left -= len(b)
	switch {
	case errors.Is(err, bufio.ErrBufferFull) || *left < 0:
		return "", errRequest{431}
	case err == io.EOF && len(b) > 0:
		return "", io.ErrUnexpectedEOF
	case err != nil:
		return "", err
	}
	b = bytes.TrimSuffix(b[:len(b)-1], []byte("\r"))
	if bytes.ContainsAny(b, "\x00\r") {
		return "", errRequest{400}
	}
	return string(b), nil
}

// first reads the request line.
func (q *request) first(line string) error {
	part := strings.Split(line, " ")
	if len(part) != 3 || part[0] == "" || part[1] == "" {
		return errRequest{400}
	}
	q.method, q.target = part[0], part[1]
	switch part[2] {
	case "HTTP/1.1":
		q.minor, q.keepAlive = 1, true
	case "HTTP/1.0":
	default:
		return errRequest{400}
	}
	// A proxy is spoken to with the whole address.
	if rest, ok := strings.CutPrefix(q.target, "http://"); ok {
		_, path, _ := strings.Cut(rest, "/")
		q.target = "/" + path
	}
	if q.target[0] != '/' {
		return errRequest{400}
	}
	return nil
}

// field reads a field of the header, if it is one that matters. Its name may be
// in any case, but the blank after the colon has to be there: supervisord doesn't
// find it otherwise, and then knows of no length.
func (q *request) field(line string) error {
	name, value, ok := strings.Cut(line, ": ")
	if !ok {
		return nil
	}
	value = strings.TrimSpace(value)
	switch strings.ToLower(name) {
	case "content-length":
		n, err := strconv.ParseUint(value, 10, 62)
		if err != nil || q.length >= 0 && q.length != int64(n) {
			return errRequest{400}
		}
		q.length = int64(n)
	case "host":
		q.host = value
	case "origin":
		q.origin = value
	case "transfer-encoding":
		q.encoded = true
	case "authorization":
		q.login, q.hasLogin = value, true
	case "connection":
		for option := range strings.SplitSeq(strings.ToLower(value), ",") {
			switch strings.TrimSpace(option) {
			case "close":
				q.keepAlive = false
			case "keep-alive":
				q.keepAlive = true
			}
		}
	}
	return nil
}

// path returns the target without its query and without escapes, as far as those
// can be read.
func (q *request) path() string {
	path, _, _ := strings.Cut(q.target, "?")
	if plain, err := url.PathUnescape(path); err == nil {
		return plain
	}
	return path
}

// An answer is an answer of HTTP with a body of known length.
type answer struct {
	status int
	fields []string // "Name: value"
	body   []byte
	close  bool // the connection ends with it
}

// statusText are the words for a status.
func statusText(status int) string {
	switch status {
	case 200:
		return "OK"
	case 303:
		return "See Other"
	case 400:
		return "Bad Request"
	case 401:
		return "Unauthorized"
	case 403:
		return "Forbidden"
	case 404:
		return "Not Found"
	case 405:
		return "Method Not Allowed"
	case 408:
		return "Request Timeout"
	case 411:
		return "Length Required"
	case 413:
		return "Request Entity Too Large"
	case 431:
		return "Request Header Fields Too Large"
	case 503:
		return "Service Unavailable"
	}
	return "Internal Server Error"
}

// errorPage is the answer for an error: supervisord's small page.
func errorPage(status int, fields ...string) answer {
	text := statusText(status)
	page := fmt.Sprintf("<head>\r\n<title>Error response</title>\r\n</head>\r\n<body>\r\n<h1>Error response</h1>\r\n<p>Error code %d.\r\n<p>Message: %s.\r\n</body>\r\n", status, text)
	return answer{status: status, fields: append(fields, "Content-Length: "+strconv.Itoa(len(page)), "Content-Type: text/html"), body: []byte(page)}
}

// xmlAnswer is the answer to a call.
func xmlAnswer(body []byte) answer {
	return answer{status: 200, fields: []string{"Content-Type: text/xml", "Content-Length: " + strconv.Itoa(len(body))}, body: body}
}

// head writes what comes before a body.
func head(minor, status int, now time.Time, fields ...string) []byte {
	b := fmt.Appendf(nil, "HTTP/1.%d %d %s\r\nServer: %s\r\nDate: %s\r\n", minor, status, statusText(status), serverName, httpTime(now))
	for _, f := range fields {
		b = append(append(b, f...), "\r\n"...)
	}
	return append(b, "\r\n"...)
}

func httpTime(t time.Time) string { return t.UTC().Format("Mon, 02 Jan 2006 15:04:05 GMT") }

package supervisord

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"testing"
	"time"
)

// wire is a connection that gives what it was made with, and takes all.
type wire struct {
	io.Reader
	out bytes.Buffer
}

func (w *wire) Write(b []byte) (int, error)      { return w.out.Write(b) }
func (w *wire) Close() error                     { return nil }
func (w *wire) LocalAddr() net.Addr              { return nil }
func (w *wire) RemoteAddr() net.Addr             { return nil }
func (w *wire) SetDeadline(time.Time) error      { return nil }
func (w *wire) SetReadDeadline(time.Time) error  { return nil }
func (w *wire) SetWriteDeadline(time.Time) error { return nil }

// FuzzHTTP serves a connection on which anything comes. Whatever that is, what is
// answered is HTTP, with as many answers as there can be requests.
func FuzzHTTP(f *testing.F) {
	f.Add([]byte(post(call(f, "supervisor.getState"))))
	f.Add([]byte(post(call(f, "supervisor.startProcess", "web", false)) + "GET /logtail/web HTTP/1.1\r\n\r\n"))
	f.Add([]byte(post(call(f, "supervisor.readLog", -5, 0), "Authorization: Basic eDp5\r\n")))
	f.Add([]byte(post(call(f, "system.multicall", []any{}))))
	f.Add([]byte(post(call(f, "supervisor.tailProcessLog", "web:web", 0, 10))))
	f.Add([]byte(post(call(f, "supervisor.signalProcess", "web:*", "TERM"))))
	f.Add([]byte(post(call(f, "system.methodHelp", "system.methodHelp"))))
	f.Add([]byte("PUT /x HTTP/1.0\r\nConnection: keep-alive, x\r\nContent-Length: 3\r\n\r\nabcHEAD / HTTP/1.0\n\n"))
	f.Add([]byte("GET /mainlogtail HTTP/1.0\r\n\r\n"))
	f.Add([]byte("POST /RPC2 HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"))
	d := newSimple(f)
	close(d.hold)
	f.Fuzz(func(t *testing.T, input []byte) {
		s := NewServer(Options{Daemon: d})
		w := &wire{Reader: bytes.NewReader(input)}
		c := &conn{Conn: w, s: s, r: bufio.NewReaderSize(w, maxLine), login: nil}
		s.conns[c] = struct{}{}
		c.serve()
		s.endCall()
		out := bufio.NewReader(&w.out)
		for n := 0; ; n++ {
			if _, err := out.Peek(1); err != nil {
				break
			}
			if n > len(input) {
				t.Fatalf("more answers than bytes: %q", input)
			}
			if a, err := readReply(out); err != nil && a.header == nil {
				t.Fatalf("%q is answered with what isn't HTTP: %v", input, err)
			} else if a.header.Get("Content-Length") == "" {
				break // a stream, or the end of one
			} else if bytes.Contains(input, []byte("HEAD ")) {
				break // whose answer has no body
			}
		}
	})
}

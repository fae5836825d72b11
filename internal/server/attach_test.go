package server

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"tend/api"
)

// A seat is a terminal that shows what a test says, and tells what it is given.
type seat struct {
	shown  chan any // []byte or *api.AttachNotice
	given  chan string
	closed chan struct{}
}

func newSeat() *seat {
	return &seat{shown: make(chan any, 100), given: make(chan string, 100), closed: make(chan struct{}, 2)}
}

func (t *seat) Next(ctx context.Context) ([]byte, *api.AttachNotice, error) {
	got := func(v any) ([]byte, *api.AttachNotice, error) {
		switch v := v.(type) {
		case []byte:
			return v, nil, nil
		case *api.AttachNotice:
			return nil, v, nil
		}
		return nil, nil, io.EOF
	}
	select {
	case v := <-t.shown:
		return got(v)
	default:
	}
	select {
	case v := <-t.shown:
		return got(v)
	case <-ctx.Done():
		return nil, nil, ctx.Err()
	}
}

func (t *seat) Write(p []byte) error {
	t.given <- "in " + string(p)
	if string(p) == "stuck" { // nobody reads it: only Close ends that
		<-t.closed
		return io.ErrClosedPipe
	}
	return nil
}

func (t *seat) Resize(rows, columns uint16) { t.given <- fmt.Sprintf("size %d %d", rows, columns) }

func (t *seat) Close() {
	select {
	case t.closed <- struct{}{}:
	default:
	}
}

func attached(t *testing.T, s *served, o api.AttachOptions) *api.Attachment {
	t.Helper()
	a, err := s.client.Attach(within(t), "web", o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close() })
	return a
}

// TestAttach: frames go both ways, and the end is the end.
func TestAttach(t *testing.T) {
	s := serve(t, nil)
	s.fake.seat = newSeat()
	a := attached(t, s, api.AttachOptions{Tail: api.TailNew})
	if got := s.fake.last(); got != `attach web "new"` {
		t.Errorf("asked %s", got)
	}
	if err := a.Resize(50, 132); err != nil {
		t.Fatal(err)
	}
	long := strings.Repeat("x", 3*api.MaxFrame/2)
	if n, err := a.Write([]byte(long)); n != len(long) || err != nil {
		t.Fatal(n, err)
	}
	for _, want := range []string{"size 50 132", "in " + long[:api.MaxFrame], "in " + long[api.MaxFrame:]} {
		if got := <-s.fake.seat.given; got != want {
			t.Fatalf("given %.20q…, want %.20q…", got, want)
		}
	}
	s.fake.seat.shown <- []byte(long)
	s.fake.seat.shown <- &api.AttachNotice{Name: "web", State: "exited", Message: "web is exited", End: true, OK: true}
	s.fake.seat.shown <- nil
	var got strings.Builder
	for got.Len() < len(long) {
		p, n, err := a.Next()
		if err != nil || n != nil {
			t.Fatal(n, err)
		}
		got.Write(p)
	}
	if got.String() != long {
		t.Error("output has changed on its way")
	}
	if _, n, err := a.Next(); err != nil || n == nil || !n.End || !n.OK || n.Message != "web is exited" {
		t.Errorf("%+v, %v", n, err)
	}
	if _, _, err := a.Next(); err != io.EOF {
		t.Errorf("after the end: %v", err)
	}
}

// TestAttachReadOnly: who looks on changes nothing, whatever is sent.
func TestAttachReadOnly(t *testing.T) {
	s := serve(t, nil)
	s.fake.seat = newSeat()
	a := attached(t, s, api.AttachOptions{ReadOnly: true})
	a.Write([]byte("rm"))
	a.Resize(1, 1)
	s.fake.seat.shown <- []byte("hello")
	if p, _, err := a.Next(); string(p) != "hello" || err != nil {
		t.Fatal(p, err)
	}
	a.Close()
	<-s.fake.seat.closed
	if n := len(s.fake.seat.given); n > 0 {
		t.Errorf("it was given %d things", n)
	}
}

// TestAttachLeaves: who goes away is noticed, also while nobody reads what was typed,
// and by the heartbeat where nothing else is said.
func TestAttachLeaves(t *testing.T) {
	s := serve(t, nil)
	s.fake.seat = newSeat()
	a := attached(t, s, api.AttachOptions{})
	a.Close()
	<-s.fake.seat.closed

	s = serve(t, func(s *Server) { s.heartbeat = 1e6 })
	s.fake.seat = newSeat()
	a = attached(t, s, api.AttachOptions{})
	a.Write([]byte("stuck"))
	<-s.fake.seat.given
	a.Close()
	<-s.fake.seat.closed
}

// TestAttachShutdown: the server's end is the end of all who are attached, be it that
// they read nothing; what there was is sent before.
func TestAttachShutdown(t *testing.T) {
	s := serve(t, nil)
	s.fake.seat = newSeat()
	a := attached(t, s, api.AttachOptions{})
	s.fake.seat.shown <- []byte("last words")
	s.down()
	if p, _, err := a.Next(); string(p) != "last words" || err != nil {
		t.Errorf("%q, %v", p, err)
	}
	if _, _, err := a.Next(); err == nil {
		t.Error("it isn't the end")
	}

	s = serve(t, nil)
	s.fake.seat = newSeat()
	attached(t, s, api.AttachOptions{})
	for range 50 { // more than the socket holds
		s.fake.seat.shown <- make([]byte, 1<<20)
	}
	s.down()
}

// TestAttachRefused: it needs another protocol, a terminal, and frames that make
// sense.
func TestAttachRefused(t *testing.T) {
	s := serve(t, nil)
	s.fake.seat = newSeat()
	away := http.Client{Timeout: deadline}
	r, err := away.Post("http://"+network(t, s)+"/v1/programs/web/attach", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Body.Close()
	if r.StatusCode != http.StatusForbidden { // a network, without a token
		t.Errorf("by TCP: %s", r.Status)
	}
	conn, in := dial(t, s)
	fmt.Fprint(conn, "POST /v1/programs/web/attach HTTP/1.1\r\nHost: tend\r\n\r\n")
	r, err = http.ReadResponse(in, nil)
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(r.Body)
	if r.StatusCode != http.StatusUpgradeRequired || r.Header.Get("Upgrade") != api.AttachProtocol || !strings.Contains(string(body), "tend attach") {
		t.Errorf("%s, %v: %s", r.Status, r.Header, body)
	}
	fmt.Fprint(conn, "POST /v1/programs/web/attach?tail=some HTTP/1.1\r\nHost: tend\r\nConnection: keep-alive, upgrade\r\nUpgrade: Tend-Attach\r\n\r\n")
	if r, err = http.ReadResponse(in, nil); err != nil || r.StatusCode != http.StatusBadRequest {
		t.Fatalf("%+v, %v", r, err)
	}
	io.Copy(io.Discard, r.Body)
	fmt.Fprint(conn, "POST /v1/programs/web/attach HTTP/1.1\r\nHost: tend\r\nConnection: keep-alive, upgrade\r\nUpgrade: Tend-Attach\r\n\r\n\x00\xff\xff\xff\xffxxx")
	if r, err = http.ReadResponse(in, nil); err != nil || r.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("%+v, %v", r, err)
	}
	if _, err := in.ReadByte(); err != io.EOF {
		t.Errorf("after a frame that is too long: %v", err)
	}
	s.fake.err = &api.Error{Kind: api.KindConflict, Message: "web has no terminal", Hint: "set pty = true"}
	var e *api.Error
	if _, err := s.client.Attach(within(t), "web", api.AttachOptions{}); !errors.As(err, &e) || e.Hint != "set pty = true" {
		t.Errorf("%v", err)
	}
}

// network has a server listen on a network as well.
func network(t *testing.T, s *served) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(l) }()
	t.Cleanup(func() {
		s.down()
		if err := <-ended; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	return l.Addr().String()
}

// dial connects to a server's socket.
func dial(t *testing.T, s *served) (net.Conn, *bufio.Reader) {
	t.Helper()
	conn, err := net.Dial("unix", s.socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn, bufio.NewReader(conn)
}

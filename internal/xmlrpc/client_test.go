package xmlrpc

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// serve answers a call with its method and parameters, but for some methods.
func serve(t *testing.T) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /RPC2", func(w http.ResponseWriter, r *http.Request) {
		if user, password, ok := r.BasicAuth(); ok && (user != "user" || password != "pass:word") {
			http.Error(w, "no", http.StatusUnauthorized)
			return
		}
		call, err := DecodeCall(r.Body, CallLimits)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		switch call.Method {
		case "fault":
			w.Write(EncodeFault(NewFault(BadName, "x")))
		case "garbage":
			io.WriteString(w, "<html>")
		case "away":
			http.Redirect(w, r, "/elsewhere", http.StatusFound)
		case "drop":
			conn, _, err := http.NewResponseController(w).Hijack()
			if err == nil {
				conn.Close()
			}
		default:
			body, err := EncodeResponse([]any{call.Method, append([]any{}, call.Params...), r.RemoteAddr})
			if err != nil {
				t.Error(err)
			}
			w.Write(body)
		}
	})
	mux.HandleFunc("GET /logtail/", func(w http.ResponseWriter, r *http.Request) {
		if _, _, ok := r.BasicAuth(); !ok {
			http.NotFound(w, r)
			return
		}
		fmt.Fprintln(w, r.URL.Path)
		http.NewResponseController(w).Flush()
		<-r.Context().Done()
	})
	return mux
}

func testClient(t *testing.T, c *Client) {
	ctx := t.Context()
	value, err := c.Call(ctx, "echo", 1, "é<", true, []any{"x"}, Struct{{"a", 1}})
	if got := fmt.Sprint(value); err != nil || !strings.HasPrefix(got, "[echo [1 é< true [x] [{a 1}]]") {
		t.Errorf("echo gives %v, %v", got, err)
	}
	var fault *Fault
	if _, err := c.Call(ctx, "fault"); !errors.As(err, &fault) || fault.Code != BadName {
		t.Errorf("a fault gives %v", err)
	}
	if _, err := c.Call(ctx, "garbage"); err == nil || !strings.Contains(err.Error(), "cannot read the answer") {
		t.Errorf("garbage gives %v", err)
	}
	var status *StatusError
	if _, err := c.Call(ctx, "away"); !errors.As(err, &status) || *status != (StatusError{302, "Found"}) {
		t.Errorf("a redirection gives %v", err)
	}
	if _, err := c.Call(ctx, "drop"); !errors.Is(err, io.EOF) {
		t.Errorf("a connection that breaks gives %v", err)
	}
	if _, err := c.Call(ctx, "echo", 1.5); err == nil {
		t.Error("a float was sent")
	}
}

func TestClientUnix(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server := &httptest.Server{Listener: l, Config: &http.Server{Handler: serve(t)}}
	server.Start()
	defer server.Close()
	c, err := NewClient("unix://"+socket, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	testClient(t, c)

	none, _ := NewClient("unix://"+socket+"x", nil)
	if _, err := none.Call(t.Context(), "echo"); !errors.Is(err, syscall.ENOENT) {
		t.Errorf("no socket gives %v", err)
	}
	l.Close()
	file, _ := net.Listen("unix", socket+"y")
	file.(*net.UnixListener).SetUnlinkOnClose(false)
	file.Close()
	dead, _ := NewClient("unix://"+socket+"y", nil)
	if _, err := dead.Call(t.Context(), "echo"); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("a dead socket gives %v", err)
	}
}

func TestClientTCP(t *testing.T) {
	server := httptest.NewServer(serve(t))
	defer server.Close()
	c, err := NewClient(server.URL+"/whatever", &Login{"user", "pass:word"})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	testClient(t, c)

	first, _ := c.Call(t.Context(), "echo")
	second, _ := c.Call(t.Context(), "echo")
	if first.([]any)[2] != second.([]any)[2] {
		t.Errorf("the connection isn't used again: %v, %v", first, second)
	}

	wrong, _ := NewClient(server.URL, &Login{"user", "x"})
	var status *StatusError
	if _, err := wrong.Call(t.Context(), "echo"); !errors.As(err, &status) || status.Code != 401 || status.Error() != "the server answers 401 Unauthorized" {
		t.Errorf("a wrong password gives %v", err)
	}
}

func TestStream(t *testing.T) {
	server := httptest.NewServer(serve(t))
	defer server.Close()
	c, _ := NewClient(server.URL, &Login{"u", "p"})
	defer c.Close()
	ctx, cancel := context.WithCancel(t.Context())
	stream, err := c.Stream(ctx, "/logtail/web:0/stdout")
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	if line, err := bufio.NewReader(stream).ReadString('\n'); err != nil || line != "/logtail/web:0/stdout\n" {
		t.Errorf("%q, %v", line, err)
	}
	cancel()
	if _, err := io.ReadAll(stream); !errors.Is(err, context.Canceled) {
		t.Errorf("a stream that was ended gives %v", err)
	}
	var status *StatusError
	if _, err := c.Stream(t.Context(), "/other"); !errors.As(err, &status) || status.Code != 404 {
		t.Errorf("no such path gives %v", err)
	}
	if _, err := c.Stream(t.Context(), "/a b\n"); err == nil {
		t.Error("a path with a blank was asked for")
	}
}

func TestAddresses(t *testing.T) {
	for _, address := range []string{"", "localhost:9001", "https://x", "HTTP://x", "file:///x", "http://h:x", "http://h:99999", "http://[::1"} {
		var bad *AddressError
		if _, err := NewClient(address, nil); !errors.As(err, &bad) {
			t.Errorf("%q: %v", address, err)
		}
	}
}

package xmlrpc

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// A Client calls the methods of one server. It may be used by several
// goroutines. A call isn't repeated when its connection breaks, since it may
// have been carried out.
type Client struct {
	http     *http.Client
	base     string // "http://host:port"
	user     string
	password string
	auth     bool
	limits   Limits
}

// A Login is a name and password for a server.
type Login struct{ User, Password string }

// NewClient returns a client of the server at address, which is
// unix:///path/of/socket, or http://host:port with port 80 if it has none. The
// path of the latter has no meaning: calls go to /RPC2. Without login, nil, no
// password is sent. Nothing is connected yet.
func NewClient(address string, login *Login) (*Client, error) {
	c := &Client{limits: AnswerLimits}
	if login != nil {
		c.user, c.password, c.auth = login.User, login.Password, true
	}
	var dialer net.Dialer
	transport := &http.Transport{DisableCompression: true}
	switch {
	case strings.HasPrefix(address, "unix://"):
		path := strings.TrimPrefix(address, "unix://")
		c.base = "http://localhost"
		transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, "unix", path)
		}
	case strings.HasPrefix(address, "http://"):
		u, err := url.Parse(address)
		if err != nil {
			return nil, &AddressError{address, err.Error()}
		}
		if port := u.Port(); port != "" {
			if n, err := strconv.Atoi(port); err != nil || n > 65535 {
				return nil, &AddressError{address, "port " + port + " is none"}
			}
		}
		c.base = "http://" + u.Host
		// Proxy stays unset: supervisord is spoken to directly, whatever
		// $HTTP_PROXY says.
		transport.DialContext = dialer.DialContext
	default:
		return nil, &AddressError{address, "it begins with neither unix:// nor http://"}
	}
	c.http = &http.Client{
		Transport: transport,
		// supervisord sends none for calls; following one would send the password
		// somewhere else.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return c, nil
}

// An AddressError says why there can't be a server at an address.
type AddressError struct{ Address, Why string }

func (e *AddressError) Error() string {
	return fmt.Sprintf("cannot call %q: %s", e.Address, e.Why)
}

// A StatusError is an answer of HTTP other than 200: 401 where a password is
// needed or wrong, 404 for the log of an unknown program.
type StatusError struct {
	Code   int
	Reason string // the words after the code
}

func (e *StatusError) Error() string {
	return fmt.Sprintf("the server answers %d %s", e.Code, e.Reason)
}

// Call calls a method and waits for its answer, which can take as long as the
// start of a program. The error is a *Fault where the server says that it
// failed, a *StatusError where HTTP does, a *RangeError where it can't be
// written, and anything else where there was no answer that could be read.
func (c *Client) Call(ctx context.Context, method string, params ...any) (any, error) {
	body, err := EncodeCall(method, params...)
	if err != nil {
		return nil, err
	}
	answer, err := c.do(ctx, http.MethodPost, "/RPC2", body)
	if err != nil {
		return nil, err
	}
	defer answer.Close()
	value, err := DecodeResponse(answer, c.limits)
	// What is left is drained, a little of it, so that the connection can be used
	// again.
	_, _ = io.CopyN(io.Discard, answer, 1<<10)
	return value, err
}

// Stream gets a path such as /logtail/web/stdout, whose answer goes on until
// somebody ends it: the server, Close, or ctx.
func (c *Client) Stream(ctx context.Context, path string) (io.ReadCloser, error) {
	return c.do(ctx, http.MethodGet, path, nil)
}

// Close lets idle connections go.
func (c *Client) Close() { c.http.CloseIdleConnections() }

func (c *Client) do(ctx context.Context, method, path string, body []byte) (io.ReadCloser, error) {
	request, err := http.NewRequestWithContext(ctx, method, c.base+path, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("cannot ask for %q: %w", path, err)
	}
	request.Header.Set("User-Agent", "tend")
	if body != nil {
		request.Header.Set("Content-Type", "text/xml")
		request.Header.Set("Accept", "text/xml")
		// bytes.Reader makes it repeatable, and net/http would then repeat it on a
		// new connection.
		request.GetBody = nil
	}
	if c.auth {
		request.SetBasicAuth(c.user, c.password)
	}
	answer, err := c.http.Do(request)
	if err != nil {
		return nil, err
	}
	if answer.StatusCode != http.StatusOK {
		answer.Body.Close()
		_, reason, _ := strings.Cut(answer.Status, " ")
		return nil, &StatusError{answer.StatusCode, reason}
	}
	return answer.Body, nil
}

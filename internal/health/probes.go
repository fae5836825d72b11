package health

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// dial connects to host:port or unix:PATH.
func dial(ctx context.Context, address string) (net.Conn, error) {
	var d net.Dialer
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		return d.DialContext(ctx, "unix", path)
	}
	return d.DialContext(ctx, "tcp", address)
}

// TCP returns a probe that is content when host:port, or unix:PATH, accepts a
// connection.
func TCP(address string) Probe {
	return func(ctx context.Context) error {
		c, err := dial(ctx, address)
		if err != nil {
			return err
		}
		return c.Close()
	}
}

// plain asks each time by a new connection, as a client would, and directly. Who
// it is that answers isn't the question, so no certificate is looked into.
var plain = &http.Transport{
	DisableKeepAlives:      true,
	TLSClientConfig:        &tls.Config{InsecureSkipVerify: true},
	MaxResponseHeaderBytes: 64 << 10,
}

// HTTP returns a probe that is content with a status of 200 to 399 at a URL. No
// redirect is followed.
func HTTP(address string) Probe {
	return func(ctx context.Context) error {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
		if err != nil {
			return err
		}
		req.Header.Set("User-Agent", "tend")
		req.Header.Set("Accept", "*/*")
		resp, err := plain.RoundTrip(req)
		if err != nil {
			return err
		}
		resp.Body.Close()
		if resp.StatusCode < 200 || resp.StatusCode > 399 {
			return fmt.Errorf("status %d", resp.StatusCode)
		}
		return nil
	}
}

// Of gRPC's health protocol, see docs/decisions/010-grpc-by-hand.md.
const (
	healthMethod   = "/grpc.health.v1.Health/Check"
	statusServing  = 1
	maxHealthReply = 4 << 10
)

var servingNames = map[uint64]string{0: "UNKNOWN", 1: "SERVING", 2: "NOT_SERVING", 3: "SERVICE_UNKNOWN"}

// GRPC returns a probe that is content when gRPC's health service at host:port or
// unix:PATH says SERVING, of the whole server, or of one service where
// host:port/SERVICE names it.
func GRPC(address string) Probe {
	target, service := address, ""
	if !strings.HasPrefix(address, "unix:") {
		target, service, _ = strings.Cut(address, "/")
	}
	authority := target
	if strings.HasPrefix(target, "unix:") {
		authority = "localhost"
	}
	var protocols http.Protocols
	protocols.SetUnencryptedHTTP2(true)
	request := encodeHealthRequest(service)
	return func(ctx context.Context) error {
		// A transport of its own, whose connection ends with the call.
		t := &http.Transport{Protocols: &protocols, MaxResponseHeaderBytes: 64 << 10,
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx, target) }}
		defer t.CloseIdleConnections()
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+authority+healthMethod, bytes.NewReader(request))
		if err != nil {
			return err
		}
		req.Header.Set("Content-Type", "application/grpc")
		req.Header.Set("TE", "trailers")
		req.Header.Set("User-Agent", "tend")
		resp, err := t.RoundTrip(req)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return fmt.Errorf("status %d, which isn't gRPC", resp.StatusCode)
		}
		reply, err := io.ReadAll(io.LimitReader(resp.Body, maxHealthReply))
		if err != nil {
			return err
		}
		// Where there is nothing to say but the status, it stands in front.
		code, message := resp.Trailer.Get("Grpc-Status"), resp.Trailer.Get("Grpc-Message")
		if code == "" {
			code, message = resp.Header.Get("Grpc-Status"), resp.Header.Get("Grpc-Message")
		}
		switch code {
		case "0":
		case "":
			return fmt.Errorf("the answer isn't gRPC")
		case "5":
			return fmt.Errorf("no such service: %q", service)
		case "12":
			return fmt.Errorf("it has no health service (grpc.health.v1.Health)")
		default:
			if m, err := url.PathUnescape(message); err == nil { // it is percent-encoded
				message = m
			}
			return fmt.Errorf("gRPC status %s: %s", strconv.Quote(code)[1:len(strconv.Quote(code))-1], message)
		}
		status, err := decodeHealthReply(reply)
		if err != nil {
			return err
		}
		if status != statusServing {
			if name := servingNames[status]; name != "" {
				return fmt.Errorf("it says %s", name)
			}
			return fmt.Errorf("it says status %d", status)
		}
		return nil
	}
}

// encodeHealthRequest returns a gRPC message: whether it is compressed, its length,
// and a protobuf whose field 1 is the name of the service.
func encodeHealthRequest(service string) []byte {
	var body []byte
	if service != "" {
		body = append(body, 1<<3|2)
		body = binary.AppendUvarint(body, uint64(len(service)))
		body = append(body, service...)
	}
	message := binary.BigEndian.AppendUint32([]byte{0}, uint32(len(body)))
	return append(message, body...)
}

// decodeHealthReply returns field 1 of the protobuf in a gRPC message, the status
// of the service; 0, which is unknown, where it isn't there.
func decodeHealthReply(b []byte) (status uint64, err error) {
	broken := fmt.Errorf("its answer makes no sense")
	if len(b) < 5 || b[0] != 0 || uint64(binary.BigEndian.Uint32(b[1:5])) != uint64(len(b)-5) {
		return 0, broken
	}
	for b = b[5:]; len(b) > 0; {
		key, n := binary.Uvarint(b)
		if n <= 0 {
			return 0, broken
		}
		b = b[n:]
		var skip uint64
		switch key & 7 {
		case 0: // a number
			value, n := binary.Uvarint(b)
			if n <= 0 {
				return 0, broken
			}
			if key>>3 == 1 {
				status = value
			}
			skip = uint64(n)
		case 1: // 64 bits
			skip = 8
		case 2: // bytes
			size, n := binary.Uvarint(b)
			if n <= 0 || size > uint64(len(b)) {
				return 0, broken
			}
			skip = uint64(n) + size
		case 5: // 32 bits
			skip = 4
		default:
			return 0, broken
		}
		if skip > uint64(len(b)) {
			return 0, broken
		}
		b = b[skip:]
	}
	return status, nil
}

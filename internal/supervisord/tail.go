package supervisord

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"
	"time"

	"tend/internal/logs"
)

const (
	// tailBytes is how much of a log's end a stream begins with.
	tailBytes = 1024

	// tailKeep is up to which number rotated logs are looked for. It ends where
	// there are none.
	tailKeep = 1 << 16
)

// never and past are deadlines: none, and one that is over.
var never, past = time.Time{}, time.Unix(1, 0)

const truncatedMark = "==> File truncated <==\n"

// tail answers with the end of a log, and goes on with what it gets.
func (c *conn) tail(q *request, path string) bool {
	file, status := c.s.logOf(path)
	fields := []string{"Content-Type: text/plain;charset=utf-8"}
	if strings.HasPrefix(path, "/logtail") {
		fields = append(fields, "X-Accel-Buffering: no")
	}
	if status == 0 {
		if f, _, err := openLog(file); err != nil {
			status = 404
		} else {
			f.Close()
		}
	}
	if status != 0 {
		return c.send(q, errorPage(status))
	}
	at, err := logs.Read(io.Discard, file, 0, 0)
	if err != nil {
		return c.send(q, errorPage(404))
	}
	now := c.s.now()
	fields = append([]string{"Last-Modified: " + httpTime(now)}, fields...)
	if q.minor == 1 {
		fields = append(fields, "Transfer-Encoding: chunked")
	}
	if c.write(head(q.minor, 200, now, fields...)) != nil {
		return false
	}
	c.follow(q, file, at)
	if q.minor == 1 {
		_ = c.write([]byte("0\r\n\r\n"))
	}
	return false
}

// logOf returns the file that a path of /logtail or /mainlogtail means, or the
// status of the answer that there is none.
func (s *Server) logOf(path string) (file string, status int) {
	if strings.HasPrefix(path, "/mainlogtail") {
		return s.daemon.Info().Log, 0
	}
	if plain, err := url.PathUnescape(path); err == nil {
		path = plain
	}
	_, rest, ok := strings.Cut(strings.TrimLeft(path, "/"), "/")
	if !ok {
		return "", 500 // supervisord fails on a path without a name
	}
	name, channel, ok := strings.Cut(rest, "/")
	if !ok {
		channel = "stdout"
	}
	r := rpc{daemon: s.daemon}
	p, err := r.one(name)
	switch {
	case err != nil:
		return "", 404
	case channel == "stdout":
		return p.Stdout, 0
	case channel == "stderr":
		return p.Stderr, 0
	}
	return "", 404
}

// follow sends what a log has from shortly before a position on, until the client
// or the server ends it.
func (c *conn) follow(q *request, file string, at logs.Position) {
	ctx, cancel := context.WithCancel(c.s.streams)
	defer cancel()
	// Whoever has hung up is noticed, even if the log gets nothing.
	gone := make(chan struct{})
	_ = c.SetReadDeadline(never)
	go func() {
		defer close(gone)
		if _, err := c.r.Peek(1); err != nil {
			cancel()
		}
	}()
	defer func() {
		_ = c.SetReadDeadline(past)
		<-gone
	}()
	at.Offset = max(at.Offset-tailBytes, 0)
	send := func(b []byte) error {
		if q.minor == 1 {
			b = append(append(fmt.Appendf(nil, "%x\r\n", len(b)), b...), "\r\n"...)
		}
		return c.write(b)
	}
	for {
		err := logs.Follow(ctx, file, tailKeep, at, func(chunk []byte, next logs.Position) error {
			if next.Inode == at.Inode && next.Birth == at.Birth && next.Offset-int64(len(chunk)) < at.Offset {
				if err := send([]byte(truncatedMark)); err != nil {
					return err
				}
			}
			at = next
			return send(chunk)
		})
		if !errors.Is(err, logs.ErrGone) {
			return
		}
		at = logs.Position{} // it was rotated away since; what there is comes after it
	}
}

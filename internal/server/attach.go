package server

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"tend/api"
)

// lastWords bounds the wait for somebody at a terminal to take the last output when
// the server ends.
const lastWords = time.Second

// attach lets somebody sit at the terminal of an instance.
func (s *Server) attach(c *call) error {
	readOnly, err := c.flag("read_only", false)
	if err != nil {
		return err
	}
	tail := api.Tail(c.query.Get("tail"))
	if tail == "all" {
		tail = api.TailAll
	}
	if tail != api.TailAll && tail != api.TailNone && tail != api.TailNew {
		return badRequest("tail must be all, none or new, not %q", string(tail))
	}
	if !upgrades(c.r.Header, api.AttachProtocol) {
		c.out.Header().Set("Upgrade", api.AttachProtocol)
		e := badRequest("a terminal is attached to by a connection of another protocol")
		e.Hint = "say Connection: Upgrade and Upgrade: " + api.AttachProtocol + ", as tend attach does"
		return &statusError{http.StatusUpgradeRequired, e}
	}
	st, err := s.hold(c)
	if err != nil {
		return err
	}
	defer st.close()
	t, err := s.control.Attach(st.ctx, c.name, tail)
	if err != nil {
		return err
	}
	defer t.Close()
	conn, rest, err := http.NewResponseController(c.out.ResponseWriter).Hijack()
	if err != nil {
		return err
	}
	defer conn.Close()
	c.out.begun = true // there is no other answer any more

	done := make(chan struct{})
	go func() {
		defer close(done)
		defer st.stop()
		hear(rest.Reader, t, readOnly)
	}()
	tell(st, conn, t)
	conn.Close()
	t.Close() // which ends a Write that waits
	<-done
	return nil
}

// upgrades reports whether a request asks for a protocol.
func upgrades(h http.Header, protocol string) bool {
	has := func(name, token string) bool {
		for _, v := range h.Values(name) {
			for word := range strings.SplitSeq(v, ",") {
				if strings.EqualFold(strings.TrimSpace(word), token) {
					return true
				}
			}
		}
		return false
	}
	return has("Connection", "Upgrade") && has("Upgrade", protocol)
}

// hear does what a client sends, until it goes away or makes no sense.
func hear(in *bufio.Reader, t Attachment, readOnly bool) {
	var buf []byte
	for {
		kind, p, err := api.ReadFrame(in, buf)
		if err != nil {
			return
		}
		buf = p[:0]
		switch {
		case readOnly:
		case kind == api.FrameData && len(p) > 0:
			if t.Write(p) != nil {
				return
			}
		case kind == api.FrameSize:
			if rows, columns, ok := api.ParseSize(p); ok {
				t.Resize(rows, columns)
			}
		}
	}
}

// tell sends output and notices until nothing follows, the client is gone or the
// server ends.
func tell(st *stream, conn net.Conn, t Attachment) {
	// A terminal may be held for an hour, by Ctrl-S. It only mustn't hold up our end.
	defer context.AfterFunc(st.ctx, func() { conn.SetWriteDeadline(time.Now().Add(lastWords)) })()
	send := func(b []byte) error {
		_, err := conn.Write(b)
		return err
	}
	if send([]byte("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: "+api.AttachProtocol+"\r\n\r\n")) != nil {
		return
	}
	var frames []byte
	for ending := false; ; {
		ctx, cancel := context.WithTimeout(st.ctx, st.s.heartbeat)
		if ending { // what is there by now, as the word that it is the end
			cancel()
		}
		p, notice, err := t.Next(ctx)
		cancel()
		frames = frames[:0]
		switch {
		case errors.Is(err, io.EOF), err != nil && ending:
			return
		case err != nil && st.ctx.Err() != nil:
			ending = true
			continue
		case err != nil: // nothing for a while
			frames = api.AppendFrame(frames, api.FrameData, nil)
		case notice != nil:
			b, err := json.Marshal(notice)
			if err != nil {
				return
			}
			frames = api.AppendFrame(frames, api.FrameNotice, b)
		}
		for len(p) > 0 {
			n := min(len(p), api.MaxFrame)
			frames = api.AppendFrame(frames, api.FrameData, p[:n])
			p = p[n:]
		}
		if send(frames) != nil {
			return
		}
	}
}

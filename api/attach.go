package api

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"sync"
)

// AttachProtocol is the name under which a connection is upgraded to that of a
// program's terminal (POST /v1/programs/{name}/attach, RFC 9110, 7.8). From then on
// both sides send frames: a byte that says what it is, the length in four bytes, the
// most significant first, and so many bytes.
const AttachProtocol = "tend-attach"

// Kinds of frames. Others may come in later versions and are to be skipped.
const (
	FrameData   = 0 // input of the program, or its output; an empty one is a sign of life
	FrameSize   = 1 // to the daemon: rows and columns of the terminal, two bytes each
	FrameNotice = 2 // from the daemon: an [AttachNotice] in JSON
)

// MaxFrame is the longest frame that may be sent, in bytes without its head.
const MaxFrame = 64 << 10

// AppendFrame appends a frame to b. p is no longer than [MaxFrame].
func AppendFrame(b []byte, kind byte, p []byte) []byte {
	b = append(b, kind)
	b = binary.BigEndian.AppendUint32(b, uint32(len(p)))
	return append(b, p...)
}

// ReadFrame reads a frame, into buf where that has room. At the end of what there is
// between two frames the error is io.EOF.
func ReadFrame(r io.Reader, buf []byte) (kind byte, p []byte, err error) {
	var head [5]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, nil, err
	}
	n := binary.BigEndian.Uint32(head[1:])
	if n > MaxFrame {
		return 0, nil, fmt.Errorf("a frame of %d bytes is longer than %d", n, MaxFrame)
	}
	if int(n) > cap(buf) {
		buf = make([]byte, n)
	}
	if _, err := io.ReadFull(r, buf[:n]); err != nil {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return 0, nil, err
	}
	return head[0], buf[:n], nil
}

// Size returns the payload of a [FrameSize].
func Size(rows, columns uint16) []byte {
	return binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(nil, rows), columns)
}

// ParseSize returns what a [FrameSize] says. ok is false where that is no size.
func ParseSize(p []byte) (rows, columns uint16, ok bool) {
	if len(p) != 4 {
		return 0, 0, false
	}
	rows, columns = binary.BigEndian.Uint16(p), binary.BigEndian.Uint16(p[2:])
	return rows, columns, rows > 0 && columns > 0
}

// A Tail says what of a program's output comes first to who attaches.
type Tail string

const (
	TailAll  Tail = ""     // what was written last: a screen or more
	TailNone Tail = "none" // only what comes from now on
	TailNew  Tail = "new"  // what this daemon has carried, for who was attached to the one before it
)

// AttachOptions says how to attach to a terminal.
type AttachOptions struct {
	ReadOnly bool // what is typed and the size of this terminal are nothing to the program
	Tail     Tail
}

// An Attachment is a connection to the terminal of a program. One goroutine may
// read, others write.
type Attachment struct {
	conn io.ReadWriteCloser
	in   *bufio.Reader
	buf  []byte

	mu   sync.Mutex
	out  []byte
	stop func() bool // ends the watch of the context
}

// Attach connects to the terminal of the instance with that name, or of the only one
// of the program with that name. It stays connected over restarts of the program.
// The connection ends with ctx.
func (c *Client) Attach(ctx context.Context, name string, o AttachOptions) (*Attachment, error) {
	query := url.Values{}
	if o.ReadOnly {
		query.Set("read_only", "1")
	}
	if o.Tail != TailAll {
		query.Set("tail", string(o.Tail))
	}
	r, err := c.request(ctx, http.MethodPost, programPath(name)+"/attach?"+query.Encode(), nil, http.Header{"Connection": {"Upgrade"}, "Upgrade": {AttachProtocol}})
	if err != nil {
		return nil, err
	}
	conn, ok := r.Body.(io.ReadWriteCloser)
	if r.StatusCode != http.StatusSwitchingProtocols || !ok {
		r.Body.Close()
		return nil, &Error{Kind: KindInternal, Message: "the daemon doesn't let terminals be attached to: " + r.Status}
	}
	a := &Attachment{conn: conn, in: bufio.NewReader(conn)}
	a.stop = context.AfterFunc(ctx, func() { conn.Close() })
	return a, nil
}

// Next waits for output, or for a notice. The bytes are the caller's until the next
// call. After a notice with End, or when the daemon goes away, it returns io.EOF or
// another error.
func (a *Attachment) Next() ([]byte, *AttachNotice, error) {
	for {
		kind, p, err := ReadFrame(a.in, a.buf)
		if err != nil {
			return nil, nil, err
		}
		a.buf = p[:0]
		switch {
		case kind == FrameData && len(p) > 0:
			return p, nil, nil
		case kind == FrameNotice:
			n := new(AttachNotice)
			if err := json.Unmarshal(p, n); err != nil {
				return nil, nil, errors.New("the daemon has sent a notice that isn't JSON")
			}
			return nil, n, nil
		}
	}
}

// Write sends input to the program.
func (a *Attachment) Write(p []byte) (n int, err error) {
	for n < len(p) {
		piece := p[n:min(len(p), n+MaxFrame)]
		if err := a.send(FrameData, piece); err != nil {
			return n, err
		}
		n += len(piece)
	}
	return n, nil
}

// Resize gives the program's terminal another size, in characters.
func (a *Attachment) Resize(rows, columns uint16) error {
	return a.send(FrameSize, Size(rows, columns))
}

func (a *Attachment) send(kind byte, p []byte) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.out = AppendFrame(a.out[:0], kind, p)
	_, err := a.conn.Write(a.out)
	return err
}

// Close ends the connection. The program isn't touched.
func (a *Attachment) Close() error {
	a.stop()
	return a.conn.Close()
}

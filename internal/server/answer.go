package server

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"tend/api"
)

// out is an answer under way. Each piece has a deadline of its own, so that a
// client that takes nothing is let go, and one that is slow is not.
type out struct {
	http.ResponseWriter
	limit time.Duration // for a client to take a piece
	begun bool
}

func (o *out) Unwrap() http.ResponseWriter { return o.ResponseWriter }

func (o *out) WriteHeader(status int) {
	o.begun = true
	o.ResponseWriter.WriteHeader(status)
}

func (o *out) Write(p []byte) (int, error) {
	o.begun = true
	o.renew()
	return o.ResponseWriter.Write(p)
}

// flush sends what was written.
func (o *out) flush() error {
	o.begun = true
	o.renew()
	err := http.NewResponseController(o.ResponseWriter).Flush()
	o.wait()
	return err
}

// renew gives the client its time again. Only a test's recorder has no
// deadlines, and there it doesn't matter.
func (o *out) renew() {
	_ = http.NewResponseController(o.ResponseWriter).SetWriteDeadline(time.Now().Add(o.limit))
}

// wait lifts the client's bound while it is us who have nothing to send: HTTP/2 ends
// an answer when its time is over, also between two pieces.
func (o *out) wait() {
	_ = http.NewResponseController(o.ResponseWriter).SetWriteDeadline(time.Time{})
}

// readBy bounds the time for the rest of the request; 0 lifts the bound.
func (o *out) readBy(limit time.Duration) {
	t := time.Time{}
	if limit > 0 {
		t = time.Now().Add(limit)
	}
	_ = http.NewResponseController(o.ResponseWriter).SetReadDeadline(t)
}

// json answers with v.
func (o *out) json(status int, v any) error {
	o.Header().Set("Content-Type", "application/json")
	o.WriteHeader(status)
	return encoder(o).Encode(v)
}

// list answers with the elements of lists, one after the other, so that a long
// one needs no buffer as long as itself.
type list struct {
	w   *bufio.Writer
	enc *json.Encoder
	sep string
}

func (o *out) list() *list {
	o.Header().Set("Content-Type", "application/json")
	w := bufio.NewWriterSize(o, 32<<10)
	return &list{w: w, enc: encoder(w), sep: "["}
}

func (l *list) add(v any) error {
	l.w.WriteString(l.sep) // an error stays, and add's caller gets it from Encode
	l.sep = ","
	return l.enc.Encode(v)
}

func (l *list) close() error {
	if l.sep == "[" {
		l.w.WriteByte('[')
	}
	l.w.WriteString("]\n")
	return l.w.Flush()
}

func encoder(w io.Writer) *json.Encoder {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false) // nobody puts it into a page as it is
	return e
}

// statuses are the HTTP statuses of the kinds of errors.
var statuses = map[string]int{
	api.KindBadRequest:  http.StatusBadRequest,
	api.KindNotFound:    http.StatusNotFound,
	api.KindConflict:    http.StatusConflict,
	api.KindInvalid:     http.StatusUnprocessableEntity,
	api.KindEmpty:       http.StatusConflict,
	api.KindForbidden:   http.StatusForbidden,
	api.KindUnavailable: http.StatusServiceUnavailable,
	api.KindInternal:    http.StatusInternalServerError,
}

// A statusError has another HTTP status than its kind.
type statusError struct {
	status int
	err    *api.Error
}

func (e *statusError) Error() string { return e.err.Message }

func badRequest(format string, args ...any) *api.Error {
	return &api.Error{Kind: api.KindBadRequest, Message: fmt.Sprintf(format, args...)}
}

// fail answers with an error, or breaks the connection when an answer has begun:
// its reader must not take what came for the whole.
func (o *out) fail(ctx context.Context, err error) {
	if o.begun || ctx.Err() != nil {
		panic(http.ErrAbortHandler)
	}
	var e *api.Error
	var with *statusError
	status := 0
	switch {
	case errors.As(err, &with):
		e, status = with.err, with.status
	case errors.As(err, &e):
		status = cmp.Or(statuses[e.Kind], http.StatusInternalServerError)
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		e, status = &api.Error{Kind: api.KindUnavailable, Message: "the daemon did not answer in time"}, http.StatusServiceUnavailable
	default:
		e, status = &api.Error{Kind: api.KindInternal, Message: err.Error()}, http.StatusInternalServerError
	}
	if o.json(status, api.ErrorBody{Error: e}) != nil {
		panic(http.ErrAbortHandler)
	}
}

// body reads the request's body into v. An empty one leaves v as it is.
func (c *call) body(v any) error {
	// The server reads on after a body in the background, to notice when the
	// client goes away: that must not end by this bound.
	defer c.out.readBy(0)
	b, err := io.ReadAll(http.MaxBytesReader(c.out.ResponseWriter, c.r.Body, maxBody))
	if err != nil {
		c.out.Header().Set("Connection", "close")
		if big := (*http.MaxBytesError)(nil); errors.As(err, &big) {
			return &statusError{http.StatusRequestEntityTooLarge, badRequest("the body is longer than %d bytes", big.Limit)}
		}
		return badRequest("cannot read the body: %v", err)
	}
	if len(bytes.TrimSpace(b)) == 0 {
		return nil
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return badJSON(b, err)
	}
	if _, err := d.Token(); err != io.EOF {
		return badRequest("%s: there is something after the JSON value", place(b, d.InputOffset()))
	}
	return nil
}

// badJSON says what is wrong with a body, and where.
func badJSON(b []byte, err error) error {
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	switch {
	case errors.As(err, &syntax):
		return badRequest("%s: malformed JSON: %v", place(b, syntax.Offset), err)
	case errors.As(err, &kind):
		return badRequest("%s: %s must be %s, not %s", place(b, kind.Offset), cmp.Or(kind.Field, "the body"), jsonType(kind.Type), kind.Value)
	case errors.Is(err, io.ErrUnexpectedEOF):
		return badRequest("%s: malformed JSON: it ends too early", place(b, int64(len(b))))
	}
	return badRequest("%s", strings.TrimPrefix(err.Error(), "json: ")) // unknown field "x"
}

// place returns where the byte before offset is.
func place(b []byte, offset int64) string {
	b = b[:max(0, min(offset-1, int64(len(b))))]
	return fmt.Sprintf("line %d, column %d", 1+bytes.Count(b, []byte("\n")), len(b)-bytes.LastIndexByte(b, '\n'))
}

package xmlrpc

import (
	"fmt"
	"math"
	"strconv"
	"unicode/utf8"
)

const declaration = "<?xml version='1.0'?>\n"

// maxWriteDepth keeps a value that holds itself from being written for ever.
const maxWriteDepth = 64

// EncodeCall returns the text of a call.
func EncodeCall(method string, params ...any) ([]byte, error) {
	b := append([]byte(declaration), "<methodCall>\n<methodName>"...)
	b = appendText(b, method)
	b = append(b, "</methodName>\n<params>\n"...)
	for i, v := range params {
		b = append(b, "<param>\n"...)
		var err error
		if b, err = appendValue(b, v, 0); err != nil {
			return nil, fmt.Errorf("cannot write parameter %d of %s: %w", i+1, method, err)
		}
		b = append(b, "</param>\n"...)
	}
	return append(b, "</params>\n</methodCall>\n"...), nil
}

// EncodeResponse returns the text of an answer.
func EncodeResponse(value any) ([]byte, error) {
	b := append([]byte(declaration), "<methodResponse>\n<params>\n<param>\n"...)
	b, err := appendValue(b, value, 0)
	if err != nil {
		return nil, fmt.Errorf("cannot write the answer: %w", err)
	}
	return append(b, "</param>\n</params>\n</methodResponse>\n"...), nil
}

// EncodeFault returns the text of an answer that is a fault.
func EncodeFault(f *Fault) []byte {
	b := append([]byte(declaration), "<methodResponse>\n<fault>\n"...)
	b, err := appendValue(b, Struct{{"faultCode", f.Code}, {"faultString", f.Text}}, 0)
	if err != nil { // only a code of more than 32 bits can do that
		return EncodeFault(NewFault(Failed, f.Text))
	}
	return append(b, "</fault>\n</methodResponse>\n"...)
}

func appendValue(b []byte, v any, depth int) ([]byte, error) {
	if depth > maxWriteDepth {
		return nil, fmt.Errorf("values within values, more than %d", maxWriteDepth)
	}
	var err error
	switch v := v.(type) {
	case bool:
		b = append(b, "<value><boolean>"...)
		if v {
			b = append(b, '1')
		} else {
			b = append(b, '0')
		}
		return append(b, "</boolean></value>\n"...), nil
	case int:
		if v < math.MinInt32 || v > math.MaxInt32 {
			return nil, &RangeError{v}
		}
		b = append(b, "<value><int>"...)
		b = strconv.AppendInt(b, int64(v), 10)
		return append(b, "</int></value>\n"...), nil
	case string:
		b = append(b, "<value><string>"...)
		b = appendText(b, v)
		return append(b, "</string></value>\n"...), nil
	case []any:
		b = append(b, "<value><array><data>\n"...)
		for _, e := range v {
			if b, err = appendValue(b, e, depth+1); err != nil {
				return nil, err
			}
		}
		return append(b, "</data></array></value>\n"...), nil
	case Struct:
		b = append(b, "<value><struct>\n"...)
		for _, m := range v {
			b = append(b, "<member>\n<name>"...)
			b = appendText(b, m.Name)
			b = append(b, "</name>\n"...)
			if b, err = appendValue(b, m.Value, depth+1); err != nil {
				return nil, fmt.Errorf("member %q: %w", m.Name, err)
			}
			b = append(b, "</member>\n"...)
		}
		return append(b, "</struct></value>\n"...), nil
	}
	return nil, fmt.Errorf("supervisord sends no %T", v)
}

// A RangeError is the error of an integer that XML-RPC has no room for.
type RangeError struct{ Int int }

func (e *RangeError) Error() string { return strconv.Itoa(e.Int) + " has more than 32 bits" }

// appendText escapes what Python escapes and nothing else. Characters that XML
// hasn't and broken UTF-8 become U+FFFD: supervisord sends the former as they
// are, which most clients can't read, and fails on the latter.
func appendText(b []byte, s string) []byte {
	from := 0
	for i := 0; i < len(s); {
		c := s[i]
		size, by := 1, ""
		switch {
		case c == '&':
			by = "&amp;"
		case c == '<':
			by = "&lt;"
		case c == '>':
			by = "&gt;"
		case c >= utf8.RuneSelf:
			var r rune
			if r, size = utf8.DecodeRuneInString(s[i:]); r == utf8.RuneError && size == 1 || !allowed(r) {
				by = "\uFFFD"
			}
		case !allowed(rune(c)):
			by = "\uFFFD"
		}
		if by != "" {
			b = append(b, s[from:i]...)
			b = append(b, by...)
			from = i + size
		}
		i += size
	}
	return append(b, s[from:]...)
}

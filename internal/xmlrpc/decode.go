package xmlrpc

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"time"
)

// ErrNoMethod is the error of a call that is well-formed and names no method.
var ErrNoMethod = errors.New("the call names no method")

// DecodeCall reads a call. Its params may be missing.
func DecodeCall(r io.Reader, limits Limits) (*Call, error) {
	d, err := newDecoder(r, limits, false)
	if err != nil {
		return nil, fmt.Errorf("cannot read the call: %w", err)
	}
	call, err := d.call()
	if err != nil {
		return nil, fmt.Errorf("cannot read the call: %w", err)
	}
	return call, nil
}

// DecodeResponse reads an answer: its value, or the *Fault as the error. It lets
// characters pass that XML hasn't, because supervisord sends logs as they are.
func DecodeResponse(r io.Reader, limits Limits) (any, error) {
	d, err := newDecoder(r, limits, true)
	if err != nil {
		return nil, fmt.Errorf("cannot read the answer: %w", err)
	}
	value, fault, err := d.response()
	switch {
	case err != nil:
		return nil, fmt.Errorf("cannot read the answer: %w", err)
	case fault != nil:
		return nil, fault
	}
	return value, nil
}

type decoder struct {
	scanner
	depth, values int // that are left
}

func newDecoder(r io.Reader, limits Limits, lenient bool) (*decoder, error) {
	b, err := io.ReadAll(io.LimitReader(r, limits.Bytes+1))
	if err != nil {
		return nil, err
	}
	if int64(len(b)) > limits.Bytes {
		return nil, fmt.Errorf("%w of %d bytes", ErrLimit, limits.Bytes)
	}
	d := &decoder{scanner{b: b, lenient: lenient}, limits.Depth, limits.Values}
	return d, d.start()
}

func (d *decoder) call() (*Call, error) {
	if err := d.opening("methodCall"); err != nil {
		return nil, err
	}
	call, params := &Call{}, false
	for {
		t, err := d.tag()
		if err != nil {
			return nil, err
		}
		switch name := string(t.data); {
		case t.kind == 'c' && name == "methodCall":
			if call.Method == "" {
				return nil, ErrNoMethod
			}
			return call, d.finish()
		case t.kind == 'o' && name == "methodName" && call.Method == "":
			if call.Method, err = d.text("methodName"); err != nil {
				return nil, err
			}
		case t.kind == 'o' && name == "params" && !params:
			params = true
			if call.Params, err = d.params(); err != nil {
				return nil, err
			}
		default:
			return nil, d.unexpected(t, "methodName or params, once")
		}
	}
}

// params reads what is between <params> and its end.
func (d *decoder) params() ([]any, error) {
	var list []any
	for {
		t, err := d.tag()
		switch {
		case err != nil:
			return nil, err
		case t.kind == 'c' && string(t.data) == "params":
			return list, nil
		case t.kind != 'o' || string(t.data) != "param":
			return nil, d.unexpected(t, "param")
		}
		value, err := d.typed("param")
		if err != nil {
			return nil, err
		}
		list = append(list, value)
	}
}

// typed reads a <value> and the end of the element that it is all of.
func (d *decoder) typed(name string) (any, error) {
	if err := d.opening("value"); err != nil {
		return nil, err
	}
	value, err := d.value()
	if err != nil {
		return nil, err
	}
	return value, d.closing(name)
}

func (d *decoder) response() (any, *Fault, error) {
	if err := d.opening("methodResponse"); err != nil {
		return nil, nil, err
	}
	t, err := d.tag()
	if err != nil {
		return nil, nil, err
	}
	var value any
	var fault *Fault
	switch name := string(t.data); {
	case t.kind == 'o' && name == "params":
		var list []any
		if list, err = d.params(); err == nil && len(list) != 1 {
			err = d.errorf("an answer has one value, not %d", len(list))
		}
		if err == nil {
			value = list[0]
		}
	case t.kind == 'o' && name == "fault":
		fault, err = d.fault()
	default:
		err = d.unexpected(t, "params or fault")
	}
	if err == nil {
		err = d.closing("methodResponse")
	}
	if err == nil {
		err = d.finish()
	}
	return value, fault, err
}

func (d *decoder) fault() (*Fault, error) {
	value, err := d.typed("fault")
	if err != nil {
		return nil, err
	}
	members, _ := value.(Struct)
	code, _ := members.Get("faultCode")
	text, _ := members.Get("faultString")
	f := &Fault{}
	var isInt, isText bool
	f.Code, isInt = code.(int)
	f.Text, isText = text.(string)
	if !isInt || !isText {
		return nil, d.errorf("a fault without faultCode and faultString")
	}
	return f, nil
}

// value reads what is between <value> and its end.
func (d *decoder) value() (any, error) {
	if d.values--; d.values < 0 {
		return nil, d.errorf("%w of values", ErrLimit)
	}
	text, t, err := d.run()
	switch {
	case err != nil:
		return nil, err
	case t.kind == 'c' && string(t.data) == "value":
		return string(text), nil
	case t.kind != 'o':
		return nil, d.unexpected(t, "a type")
	case !blank(text):
		return nil, d.errorf("text beside the element %q in a value", shorten(t.data))
	}
	v, err := d.ofType(string(t.data))
	if err != nil {
		return nil, err
	}
	return v, d.closing("value")
}

// ofType reads what is between <int> or another type and its end.
func (d *decoder) ofType(name string) (any, error) {
	switch name {
	case "array":
		return d.array()
	case "struct":
		return d.structure()
	case "int", "i4", "boolean", "string", "double", "dateTime.iso8601", "base64", "nil":
	default:
		return nil, d.errorf("%q is not a type of XML-RPC", shorten([]byte(name)))
	}
	text, err := d.text(name)
	if err != nil {
		return nil, err
	}
	if name == "string" {
		return text, nil
	}
	v, err := scalar(name, strings.TrimSpace(text))
	if err != nil {
		return nil, d.errorf("%q is no %s", shorten([]byte(text)), name)
	}
	return v, nil
}

var errScalar = errors.New("not of its type")

func scalar(name, text string) (any, error) {
	switch name {
	case "int", "i4":
		return strconv.Atoi(text)
	case "boolean":
		if text != "0" && text != "1" {
			return nil, errScalar
		}
		return text == "1", nil
	case "double":
		if strings.Trim(text, "0123456789.eE+-") != "" { // Go knows more, such as hexadecimal
			return nil, errScalar
		}
		f, err := strconv.ParseFloat(text, 64)
		if math.IsInf(f, 0) {
			return nil, errScalar
		}
		return f, err
	case "dateTime.iso8601":
		t, err := time.Parse("20060102T15:04:05", text)
		return t, err
	case "base64":
		// Blanks and line ends may be anywhere.
		b, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(text), ""))
		return string(b), err
	case "nil":
		if text != "" {
			return nil, errScalar
		}
		return nil, nil
	}
	panic("xmlrpc: no scalar " + name)
}

// enter and leave count the depth.
func (d *decoder) enter() error {
	if d.depth--; d.depth < 0 {
		return d.errorf("%w of depth", ErrLimit)
	}
	return nil
}

func (d *decoder) leave() { d.depth++ }

func (d *decoder) array() ([]any, error) {
	if err := d.enter(); err != nil {
		return nil, err
	}
	defer d.leave()
	if err := d.opening("data"); err != nil {
		return nil, err
	}
	list := []any{}
	for {
		t, err := d.tag()
		switch {
		case err != nil:
			return nil, err
		case t.kind == 'c' && string(t.data) == "data":
			return list, d.closing("array")
		case t.kind != 'o' || string(t.data) != "value":
			return nil, d.unexpected(t, "value")
		}
		v, err := d.value()
		if err != nil {
			return nil, err
		}
		list = append(list, v)
	}
}

func (d *decoder) structure() (Struct, error) {
	if err := d.enter(); err != nil {
		return nil, err
	}
	defer d.leave()
	members := Struct{}
	for {
		t, err := d.tag()
		switch {
		case err != nil:
			return nil, err
		case t.kind == 'c' && string(t.data) == "struct":
			return members, nil
		case t.kind != 'o' || string(t.data) != "member":
			return nil, d.unexpected(t, "member")
		}
		if d.values--; d.values < 0 {
			return nil, d.errorf("%w of values", ErrLimit)
		}
		if err := d.opening("name"); err != nil {
			return nil, err
		}
		name, err := d.text("name")
		if err != nil {
			return nil, err
		}
		value, err := d.typed("member")
		if err != nil {
			return nil, err
		}
		members = append(members, Member{name, value})
	}
}

// run returns the text up to the next tag, and that tag.
func (d *decoder) run() ([]byte, token, error) {
	var text []byte
	for {
		t, err := d.next()
		if err != nil || t.kind != 't' {
			return text, t, err
		}
		if text == nil {
			text = t.data[:len(t.data):len(t.data)] // mostly the only piece; appending copies
		} else {
			text = append(text, t.data...)
		}
	}
}

// text returns the text up to the end of the element name, which has no other
// in it.
func (d *decoder) text(name string) (string, error) {
	text, t, err := d.run()
	if err != nil {
		return "", err
	}
	if t.kind != 'c' || string(t.data) != name {
		return "", d.unexpected(t, "the end of "+name)
	}
	return string(text), nil
}

// tag returns the next tag, before which there may be blanks only.
func (d *decoder) tag() (token, error) {
	text, t, err := d.run()
	if err == nil && !blank(text) {
		err = d.errorf("text %q where an element should be", shorten(trimSpace(text)))
	}
	return t, err
}

func (d *decoder) opening(name string) error {
	t, err := d.tag()
	if err == nil && (t.kind != 'o' || string(t.data) != name) {
		err = d.unexpected(t, name)
	}
	return err
}

func (d *decoder) closing(name string) error {
	t, err := d.tag()
	if err == nil && (t.kind != 'c' || string(t.data) != name) {
		err = d.unexpected(t, "the end of "+name)
	}
	return err
}

// finish checks that nothing follows the outermost element.
func (d *decoder) finish() error {
	t, err := d.tag()
	if err == nil && t.kind != 'e' {
		err = d.unexpected(t, "the end of the text")
	}
	return err
}

func (d *decoder) unexpected(t token, want string) error {
	switch t.kind {
	case 'o':
		return d.errorf("element %q, not %s", shorten(t.data), want)
	case 'c':
		return d.errorf("end of %q, not %s", shorten(t.data), want)
	}
	return d.errorf("the text ends before %s", want)
}

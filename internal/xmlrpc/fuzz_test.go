package xmlrpc

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// FuzzDecode holds the reader to its laws, for anything that comes: it doesn't
// panic; what it takes for XML, encoding/xml does too; and what it has read and
// can be written is read again as the same.
func FuzzDecode(f *testing.F) {
	for _, s := range []string{
		"", "<", "<?xml version='1.0'?>\n<methodCall>\n<methodName>supervisor.getState</methodName>\n<params>\n</params>\n</methodCall>\n",
		callOf(param("<int>1</int>") + param("a&amp;b&#10;<!-- x --><![CDATA[<]]>")),
		callOf(param("<struct><member><name>n</name><value><array><data><value><boolean>1</boolean></value></data></array></value></member></struct>")),
		callOf(param("<double>1.5</double>") + param("<base64>aGk=</base64>") + param("<dateTime.iso8601>20261123T01:02:03</dateTime.iso8601>") + param("<nil/>")),
		"<methodResponse><params><param><value>\x1b</value></param></params></methodResponse>",
		string(EncodeFault(NewFault(BadName, "x"))), "<?xml version='1.0' encoding='latin1'?><methodCall a='b'/>",
	} {
		f.Add([]byte(s))
	}
	limits := Limits{Bytes: 1 << 16, Depth: 8, Values: 1 << 10}
	f.Fuzz(func(t *testing.T, b []byte) {
		if call, err := DecodeCall(bytes.NewReader(b), limits); err == nil {
			checkXML(t, b)
			if again, err := EncodeCall(call.Method, call.Params...); err == nil {
				second, err := DecodeCall(bytes.NewReader(again), AnswerLimits)
				if err != nil {
					t.Fatalf("cannot read what was written: %v\n%s", err, again)
				}
				call.Params = plain(call.Params).([]any)
				second.Params = plain(second.Params).([]any)
				call.Method, second.Method = plain(call.Method).(string), plain(second.Method).(string)
				if diff := cmp.Diff(call, second); diff != "" {
					t.Fatal(diff)
				}
			}
		}
		value, err := DecodeResponse(bytes.NewReader(b), limits)
		var fault *Fault
		if errors.As(err, &fault) {
			EncodeFault(fault)
		} else if err == nil {
			if again, err := EncodeResponse(value); err == nil {
				second, err := DecodeResponse(bytes.NewReader(again), AnswerLimits)
				if err != nil {
					t.Fatalf("cannot read what was written: %v\n%s", err, again)
				}
				if diff := cmp.Diff(plain(value), plain(second)); diff != "" {
					t.Fatal(diff)
				}
			}
		}
	})
}

// plain returns v as it comes back: with what XML hasn't replaced, and with the
// ends of lines that reading gives, since \r is written as it is, in Python too.
func plain(v any) any {
	switch v := v.(type) {
	case string:
		d := decoder{scanner{b: appendText(nil, v)}, 1, 1}
		t, err := d.text2()
		if err != nil {
			panic(err)
		}
		return t
	case []any:
		list := make([]any, len(v))
		for i := range v {
			list[i] = plain(v[i])
		}
		return list
	case Struct:
		s := make(Struct, len(v))
		for i, m := range v {
			s[i] = Member{plain(m.Name).(string), plain(m.Value)}
		}
		return s
	}
	return v
}

func (d *decoder) text2() (string, error) {
	text, _, err := d.run()
	return string(text), err
}

// checkXML reads b by the standard library.
func checkXML(t *testing.T, b []byte) {
	d := xml.NewDecoder(bytes.NewReader(bytes.TrimPrefix(b, []byte("\uFEFF"))))
	d.CharsetReader = func(_ string, r io.Reader) (io.Reader, error) {
		all, err := io.ReadAll(r)
		return bytes.NewReader(bytes.ToValidUTF8(all, []byte("x"))), err
	}
	for {
		_, err := d.Token()
		if err == io.EOF {
			return
		}
		if err != nil {
			t.Fatalf("encoding/xml refuses what we read: %v\n%q", err, b)
		}
	}
}

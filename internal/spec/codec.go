package spec

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"unicode/utf8"
)

// Encode returns p, without its name, as JSON for a later process of ours: the
// keys of the field table whose values aren't the defaults. Whatever the field
// table can hold comes back from [Decode] as it was, bytes that are no UTF-8
// included.
func Encode(p *Program) []byte {
	m := map[string]any{sourceKey: []any{pack(p.Source.File), p.Source.Line}}
	if g := p.Member; g != (Member{}) {
		var list []any
		for _, part := range g.parts() {
			list = append(list, pack(reflect.ValueOf(part).Elem().Interface()))
		}
		m[memberKey] = list
	}
	normal := New(p.Name)
	for _, f := range Fields {
		if !f.equal(p, normal) {
			m[f.Key] = pack(f.value(p))
		}
	}
	b, err := json.Marshal(m)
	if err != nil {
		panic("spec: cannot encode a program: " + err.Error()) // strings, numbers and tables of them
	}
	return b
}

// These stand beside the keys of the field table and are none of them.
const (
	sourceKey = "@source"
	memberKey = "@member"
)

// Decode is the inverse of [Encode]. A key that isn't known is ignored: a later
// version of ours may have written it.
func Decode(name string, data []byte) (*Program, error) {
	var m map[string]any
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	if err := d.Decode(&m); err != nil {
		return nil, fmt.Errorf("cannot decode program %q: %w", name, err)
	}
	p := New(name)
	for key, v := range m {
		v, err := unpack(v)
		if err != nil {
			return nil, fmt.Errorf("cannot decode program %q: %s: %w", name, key, err)
		}
		if key == sourceKey {
			if list, ok := v.([]any); ok && len(list) == 2 {
				p.Source.File, _ = list[0].(string)
				line, _ := list[1].(int64)
				p.Source.Line = int(line)
			}
			continue
		}
		if key == memberKey {
			list, _ := v.([]any)
			parts := p.Member.parts()
			for i, v := range list[:min(len(list), len(parts))] {
				switch part := parts[i].(type) {
				case *string:
					*part, _ = v.(string)
				case *int:
					n, _ := v.(int64)
					*part = int(n)
				case *bool:
					*part, _ = v.(bool)
				}
			}
			continue
		}
		f := FieldOf(key)
		if f == nil {
			continue
		}
		f.clear(p)
		if err := f.Set(p, v); err != nil {
			return nil, fmt.Errorf("cannot decode program %q: %s: %w", name, key, err)
		}
	}
	return p, nil
}

// value returns the field's value in p as Set takes it.
func (f *Field) value(p *Program) any {
	switch v := f.ptr(p).(type) {
	case *Command:
		if len(v.Argv) == 0 {
			return v.Shell
		}
		return list(v.Argv)
	case *[]string:
		return list(*v)
	case *Env:
		m := make(map[string]any, len(*v))
		for k, s := range *v {
			m[k] = s
		}
		return m
	case *Limits:
		m := make(map[string]any, len(*v))
		for k, l := range *v {
			m[k] = l.String()
		}
		return m
	}
	return f.Get(p)
}

// clear empties a field into which Set would merge.
func (f *Field) clear(p *Program) {
	switch v := f.ptr(p).(type) {
	case *Env:
		*v = nil
	case *Limits:
		*v = nil
	}
}

func list(words []string) []any {
	out := make([]any, len(words))
	for i, w := range words {
		out[i] = w
	}
	return out
}

// packed marks a string that is written in hexadecimal, since JSON has no room
// for bytes that are no UTF-8.
const packed = "\x01"

// pack makes the strings in v, and the names in its tables, fit for JSON.
func pack(v any) any {
	switch v := v.(type) {
	case string:
		return packString(v)
	case []any:
		out := make([]any, len(v))
		for i, e := range v {
			out[i] = pack(e)
		}
		return out
	case map[string]any:
		out := make(map[string]any, len(v))
		for k, e := range v {
			out[packString(k)] = pack(e)
		}
		return out
	}
	return v
}

func packString(s string) string {
	if utf8.ValidString(s) && !strings.HasPrefix(s, packed) {
		return s
	}
	return packed + hex.EncodeToString([]byte(s))
}

// unpack undoes pack, and gives numbers the types that Set takes.
func unpack(v any) (any, error) {
	switch v := v.(type) {
	case string:
		return unpackString(v)
	case json.Number:
		if n, err := v.Int64(); err == nil {
			return n, nil
		}
		return v.Float64()
	case []any:
		for i, e := range v {
			e, err := unpack(e)
			if err != nil {
				return nil, err
			}
			v[i] = e
		}
	case map[string]any:
		out := make(map[string]any, len(v))
		for k, e := range v {
			k, err := unpackString(k)
			if err != nil {
				return nil, err
			}
			if out[k], err = unpack(e); err != nil {
				return nil, err
			}
		}
		return out, nil
	}
	return v, nil
}

func unpackString(s string) (string, error) {
	text, is := strings.CutPrefix(s, packed)
	if !is {
		return s, nil
	}
	b, err := hex.DecodeString(text)
	return string(b), err
}

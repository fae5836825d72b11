package server

import (
	"bytes"
	"cmp"
	"encoding/json"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"net/http"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"tend/api"
	"tend/internal/event"
)

var update = flag.Bool("update", false, "write api/openapi.json anew")

const described = "../../api/openapi.json"

type object = map[string]any

// describe makes the description of the API from the table and the types.
func describe(t *testing.T) object {
	d := &describer{docs: docsOf(t, "../../api/api.go"), schemas: object{}}
	failure := object{"description": "it failed", "content": jsonContent(d.schema(reflect.TypeFor[api.ErrorBody]()))}
	paths := object{}
	for _, row := range routes {
		if row.page {
			continue
		}
		if paths[row.path] == nil {
			paths[row.path] = object{}
		}
		params := []any{}
		if strings.Contains(row.path, "{name}") {
			params = append(params, object{"name": "name", "in": "path", "required": true, "schema": object{"type": "string"},
				"description": "a program, an instance or, where several can be meant, a glob"})
		}
		for _, p := range row.query {
			params = append(params, object{"name": p.name, "in": "query", "description": p.summary, "schema": object{"type": p.kind}})
		}
		if row.events != nil {
			params = append(params, object{"name": "Last-Event-ID", "in": "header", "description": "goes before since: what a browser sends that connects again", "schema": object{"type": "string"}})
		}
		content := object{}
		if row.answer != nil {
			content = jsonContent(d.schema(reflect.TypeOf(row.answer)))
		}
		if row.frames {
			content = object{"application/octet-stream": object{"schema": object{"type": "string", "description": "Both sides send frames: a byte that says what it is, the length of the rest in four bytes, the most significant first, and so many bytes, at most 65536. " +
				"0 is input of the program or its output, an empty one a sign of life; 1, to the daemon, is rows and columns of the terminal, in two bytes each; 2, from the daemon, is a notice in JSON, as x-notice says. Others are to be skipped."},
				"x-notice": d.schema(reflect.TypeOf(row.answer))}}
			params = append(params, object{"name": "Upgrade", "in": "header", "required": true, "schema": object{"type": "string", "const": api.AttachProtocol}})
		}
		if row.text {
			content["text/plain"] = object{"schema": object{"type": "string", "description": "the bytes as they are"}}
		}
		if row.events != nil {
			events := object{}
			for _, e := range row.events {
				events[cmp.Or(e.name, "*")] = d.schema(reflect.TypeOf(e.data))
			}
			content["text/event-stream"] = object{
				"schema":   object{"type": "string", "description": "server-sent events; each one's data is JSON, as x-events says by its name (*: any other)"},
				"x-events": events,
			}
		}
		op := object{
			"summary": row.summary, "operationId": operation(row), "parameters": params,
			"x-access": [...]string{"open", "read", "write", "admin"}[row.access],
			"responses": object{
				fmt.Sprint(cmp.Or(row.status, 200)): object{"description": row.summary, "content": content},
				"default":                           failure,
			},
		}
		if row.body != nil {
			op["requestBody"] = object{"description": "may be empty, for an object without fields", "content": jsonContent(d.schema(reflect.TypeOf(row.body)))}
		}
		paths[row.path].(object)[strings.ToLower(row.method)] = op
	}
	return object{
		"openapi": "3.1.0",
		"info": object{"title": "tend", "version": "1",
			"description": "JSON over HTTP/1.1 on the unix socket tend.sock in the daemon's state folder. Times are RFC 3339, sizes bytes, durations seconds. Readers must allow for fields that they don't know; the daemon refuses those that it doesn't."},
		"servers":    []any{object{"url": "http://localhost", "description": "the unix socket; the host doesn't matter"}},
		"paths":      paths,
		"components": object{"schemas": d.schemas},
	}
}

func jsonContent(schema object) object {
	return object{"application/json": object{"schema": schema}}
}

func operation(row route) string {
	words := regexp.MustCompile(`[a-z]+\d?`).FindAllString(row.path, -1)
	words = slices.DeleteFunc(words, func(w string) bool { return w == "v1" })
	if row.path == "/v1/programs/{name}" {
		words = []string{"program"}
	} else {
		words = slices.DeleteFunc(words, func(w string) bool { return w == "name" })
	}
	id := strings.ToLower(row.method)
	for _, w := range words {
		id += strings.ToUpper(w[:1]) + w[1:]
	}
	return id
}

type describer struct {
	docs    map[string]string
	schemas object
}

// schema returns the JSON Schema of a type; those with a name are referred to.
func (d *describer) schema(t reflect.Type) object {
	switch {
	case t == reflect.TypeFor[time.Time]():
		return object{"type": "string", "format": "date-time"}
	case t.Kind() == reflect.Struct && t.Name() == "":
		return object{"type": "object", "properties": object{}}
	case t.Kind() == reflect.Struct:
		name := t.Name()
		ref := object{"$ref": "#/components/schemas/" + name}
		if d.schemas[name] != nil {
			return ref
		}
		properties, required := object{}, []any{}
		s := object{"type": "object", "properties": properties, "description": d.docs[name]}
		d.schemas[name] = s
		for f := range t.Fields() {
			key, option, _ := strings.Cut(f.Tag.Get("json"), ",")
			p := d.schema(f.Type)
			if option == "" {
				required = append(required, key)
				if f.Type.Kind() == reflect.Pointer {
					p = orNull(p)
				}
			}
			if doc := d.docs[name+"."+f.Name]; doc != "" {
				p["description"] = doc
			}
			properties[key] = p
		}
		if len(required) > 0 {
			s["required"] = required
		}
		return ref
	}
	switch t.Kind() {
	case reflect.Pointer:
		return d.schema(t.Elem())
	case reflect.Slice:
		return object{"type": "array", "items": d.schema(t.Elem())}
	case reflect.Map:
		return object{"type": "object", "additionalProperties": true}
	case reflect.Int, reflect.Int64:
		return object{"type": "integer"}
	case reflect.Uint64:
		return object{"type": "integer", "minimum": 0}
	case reflect.Float64:
		return object{"type": "number"}
	case reflect.Bool:
		return object{"type": "boolean"}
	case reflect.String:
		return object{"type": "string"}
	}
	panic("no schema for " + t.String())
}

func orNull(s object) object {
	if s["$ref"] != nil {
		return object{"anyOf": []any{s, object{"type": "null"}}}
	}
	s["type"] = []any{s["type"], "null"}
	return s
}

// docsOf returns the comments of types ("Event") and fields ("Event.Seq").
func docsOf(t *testing.T, file string) map[string]string {
	f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	docs := map[string]string{}
	line := func(c *ast.CommentGroup) string { return strings.Join(strings.Fields(c.Text()), " ") }
	for _, decl := range f.Decls {
		gen, ok := decl.(*ast.GenDecl)
		if !ok || gen.Tok != token.TYPE {
			continue
		}
		spec := gen.Specs[0].(*ast.TypeSpec)
		docs[spec.Name.Name] = line(gen.Doc)
		fields, ok := spec.Type.(*ast.StructType)
		if !ok {
			continue
		}
		for _, f := range fields.Fields.List {
			docs[spec.Name.Name+"."+f.Names[0].Name] = strings.TrimSpace(line(f.Doc) + " " + line(f.Comment))
		}
	}
	return docs
}

func TestOpenAPIIsCurrent(t *testing.T) {
	var want bytes.Buffer
	e := encoder(&want)
	e.SetIndent("", "  ")
	if err := e.Encode(describe(t)); err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile(described, want.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(described)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want.Bytes()) {
		t.Error("api/openapi.json is not what the code says: go test ./internal/server -run OpenAPI -update")
	}
}

// TestOpenAPI asks for each path of the file and compares the answers.
func TestOpenAPI(t *testing.T) {
	b, err := os.ReadFile(described)
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Paths map[string]map[string]struct {
			RequestBody *struct {
				Content map[string]struct{ Schema object }
			}
			Responses map[string]struct {
				Content map[string]struct {
					Schema object
					Events map[string]object `json:"x-events"`
					Notice object            `json:"x-notice"`
				}
			}
		}
		Components struct{ Schemas map[string]object }
	}
	if err := json.Unmarshal(b, &file); err != nil {
		t.Fatal(err)
	}
	s := serve(t, nil)
	p := s.log("web")
	appendTo(t, p[0], "2026-01-02T03:04:05Z a line\n")
	for range 120 { // more than are held
		s.events.Append(exited)
	}
	s.events.Append(event.Event{Kind: event.ConfigApplied, At: then, Detail: s.fake.plan},
		event.Event{Kind: event.ConfigRejected, At: then, Detail: s.fake.plan.Diagnostics})
	v := &validator{schemas: file.Components.Schemas, used: map[string]bool{}}

	rows := 0
	for path, operations := range file.Paths {
		for method, op := range operations {
			rows++
			method := strings.ToUpper(method)
			i := slices.IndexFunc(routes, func(r route) bool { return r.method == method && r.path == path })
			if i < 0 {
				t.Errorf("%s %s is no route", method, path)
				continue
			}
			target, body := strings.ReplaceAll(path, "{name}", "web"), ""
			if op.RequestBody != nil {
				switch {
				case strings.HasSuffix(path, "/signal"):
					body = `{"signal": "HUP"}`
				case strings.HasSuffix(path, "/scale"):
					body = `{"instances": 3}`
				case path == "/v1/reload":
					body = `{"wait": true}`
				case path == "/v1/programs":
					body = `{"name": "web", "config": {"command": "sleep 1"}}`
				case path == "/v1/login":
					body = `{"token": "0123456789abcdef-act"}`
				default:
					body = "{}"
				}
				v.check(t, path+" (request)", op.RequestBody.Content["application/json"].Schema, decoded(t, body))
			}
			for status, response := range op.Responses {
				for kind, content := range response.Content {
					where := fmt.Sprintf("%s %s %s %s", method, path, status, kind)
					switch {
					case status == "default":
						r, got := s.do(t, method, target+"?unknown=1", body)
						if r.StatusCode < 400 {
							t.Errorf("%s: %s", where, r.Status)
						}
						v.check(t, where, content.Schema, decoded(t, got))
					case kind == "text/event-stream":
						if path == "/v1/events" {
							target += "?since=1" // which is lost
						} else if strings.HasSuffix(path, "/logs") {
							target += "?times=1"
						}
						next := s.sse(t, target, "Accept: text/event-stream\r\n")
						for v.event(t, where, content.Events, next()) {
						}
						target, _, _ = strings.Cut(target, "?")
					case content.Notice != nil:
						v.check(t, where, content.Notice, decoded(t, s.notice(t, target)))
					default:
						if kind == "application/json" && content.Schema["type"] == "array" && path == "/v1/events" {
							target += "?follow=0"
						}
						if path == "/v1/login" { // which needs somebody who is known
							s.SetAccess(known(t))
						}
						r, got := s.do(t, method, target, body)
						s.SetAccess(nil)
						if ct, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";"); fmt.Sprint(r.StatusCode) != status || ct != kind {
							t.Errorf("%s: %s, %s", where, r.Status, ct)
						}
						target, _, _ = strings.Cut(target, "?")
						if kind == "application/json" {
							v.check(t, where, content.Schema, decoded(t, got))
						}
					}
				}
			}
		}
	}
	of := 0
	for _, row := range routes {
		if !row.page {
			of++
		}
	}
	if rows != of {
		t.Errorf("%d operations for %d routes", rows, of)
	}
	// The other direction: what the file describes was seen, but for what only a
	// daemon in another state says.
	unseen := []string{"Error.diagnostics", "Error.hint", "LogLine.missed", "LogLine.position", "LogTrouble.message", "LogTrouble.name"}
	for name, schema := range file.Components.Schemas {
		for key := range schema["properties"].(object) {
			if full := name + "." + key; !v.used[full] && !slices.Contains(unseen, full) && name != "Act" && !strings.HasSuffix(name, "Options") {
				t.Errorf("%s is described, and was in no answer", full)
			}
		}
	}
}

// notice returns what somebody who is attached is told, word by word.
func (s *served) notice(t *testing.T, target string) string {
	t.Helper()
	s.fake.seat = newSeat()
	s.fake.seat.shown <- &api.AttachNotice{Name: "web", State: "exited", Message: "web is exited", MissedBytes: 5, End: true, OK: true}
	conn, in := dial(t, s)
	fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: tend\r\nConnection: upgrade\r\nUpgrade: %s\r\n\r\n", target, api.AttachProtocol)
	r, err := http.ReadResponse(in, nil)
	if err != nil || r.StatusCode != http.StatusSwitchingProtocols {
		t.Fatal(r, err)
	}
	kind, p, err := api.ReadFrame(in, nil)
	if err != nil || kind != api.FrameNotice {
		t.Fatal(kind, p, err)
	}
	return string(p)
}

func decoded(t *testing.T, text string) any {
	t.Helper()
	var v any
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Errorf("%v in %.200q", err, text)
	}
	return v
}

// A validator checks values against the subset of JSON Schema that describe
// makes. It is stricter than the standard: a property must be described.
type validator struct {
	schemas map[string]object
	used    map[string]bool // properties that were seen, "Event.seq"
}

func (v *validator) check(t *testing.T, where string, schema object, value any) {
	t.Helper()
	if err := v.valid("", schema, value); err != nil {
		t.Errorf("%s: %v", where, err)
	}
}

// event checks an event as it came, and reports whether the stream goes on.
func (v *validator) event(t *testing.T, where string, events map[string]object, text string) bool {
	t.Helper()
	if text == "EOF" {
		t.Errorf("%s: the stream broke off", where)
		return false
	}
	fields := map[string]string{}
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
		fields[name] = value
	}
	kind := fields["event"]
	schema := events[kind]
	if schema == nil {
		schema = events["*"]
	}
	if schema == nil {
		t.Errorf("%s: an event %q", where, text)
		return false
	}
	v.check(t, where+" "+kind, schema, decoded(t, fields["data"]))
	return kind != "end" && kind != event.ConfigRejected
}

func (v *validator) valid(name string, schema object, value any) error {
	if ref, ok := schema["$ref"].(string); ok {
		name = strings.TrimPrefix(ref, "#/components/schemas/")
		if schema = v.schemas[name]; schema == nil {
			return fmt.Errorf("%s leads nowhere", ref)
		}
	}
	if any, ok := schema["anyOf"].([]any); ok {
		var errs []string
		for _, s := range any {
			err := v.valid(name, s.(object), value)
			if err == nil {
				return nil
			}
			errs = append(errs, err.Error())
		}
		return fmt.Errorf("none of: %s", strings.Join(errs, "; "))
	}
	types, ok := schema["type"].([]any)
	if !ok {
		types = []any{schema["type"]}
	}
	switch value := value.(type) {
	case nil:
		if !slices.Contains(types, any("null")) {
			return fmt.Errorf("%s is null, not %v", name, types)
		}
	case bool:
		return is(name, types, "boolean", value)
	case float64:
		if value == float64(int64(value)) && slices.Contains(types, any("integer")) {
			return nil
		}
		return is(name, types, "number", value)
	case string:
		if schema["format"] == "date-time" {
			if _, err := time.Parse(time.RFC3339Nano, value); err != nil {
				return fmt.Errorf("%s: %v", name, err)
			}
		}
		return is(name, types, "string", value)
	case []any:
		for _, e := range value {
			if err := v.valid(name, schema["items"].(object), e); err != nil {
				return err
			}
		}
		return is(name, types, "array", value)
	case object:
		if err := is(name, types, "object", value); err != nil || schema["additionalProperties"] == true {
			return err
		}
		properties := schema["properties"].(object)
		for key := range maps.Keys(value) {
			p, ok := properties[key].(object)
			if !ok {
				return fmt.Errorf("%s.%s is not described", name, key)
			}
			v.used[name+"."+key] = true
			if err := v.valid(name+"."+key, p, value[key]); err != nil {
				return err
			}
		}
		required, _ := schema["required"].([]any)
		for _, key := range required {
			if _, ok := value[key.(string)]; !ok {
				return fmt.Errorf("%s.%s is missing", name, key)
			}
		}
	}
	return nil
}

func is(name string, types []any, want string, value any) error {
	if !slices.Contains(types, any(want)) {
		return fmt.Errorf("%s is %v, a %s, not %v", name, value, want, types)
	}
	return nil
}

// The validator must find what is wrong, or the test above means nothing.
func TestValidator(t *testing.T) {
	v := &validator{used: map[string]bool{}, schemas: map[string]object{"T": {
		"type": "object", "required": []any{"a"},
		"properties": object{"a": object{"type": "integer"}, "b": object{"type": []any{"string", "null"}}, "c": object{"type": "string", "format": "date-time"}},
	}}}
	ref := object{"$ref": "#/components/schemas/T"}
	for text, ok := range map[string]bool{
		`{"a": 1}`: true, `{"a": 1, "b": null}`: true, `{"a": 1, "c": "2026-11-23T14:02:11Z"}`: true,
		`{}`: false, `{"a": 1.5}`: false, `{"a": null}`: false, `{"a": 1, "x": 1}`: false, `{"a": 1, "c": "today"}`: false, `[]`: false, `"a"`: false,
	} {
		if err := v.valid("", ref, decoded(t, text)); (err == nil) != ok {
			t.Errorf("%s: %v", text, err)
		}
	}
	if err := v.valid("", object{"$ref": "#/components/schemas/U"}, nil); err == nil {
		t.Error("a reference that leads nowhere is valid")
	}
	if _, ok := statuses[api.KindEmpty]; !ok || http.StatusText(statuses[api.KindEmpty]) == "" {
		t.Error("a kind has no status")
	}
}

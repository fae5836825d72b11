package conf

import (
	"bytes"
	"encoding/json"
	"strings"

	"tend/internal/spec"
)

// object is a JSON object.
type object map[string]any

// Schema returns the JSON Schema (draft 2020-12) of the TOML form, made from the
// field table and the table of the settings: editors complete and check by it.
func Schema() []byte {
	program := table(programProperties())
	program["required"] = []string{"command"}
	program["description"] = "A program."
	schema := object{
		"$schema":              "https://json-schema.org/draft/2020-12/schema",
		"title":                "tend.toml",
		"description":          "Configuration of tend: a table is a program, [tend] is the daemon's own.",
		"type":                 "object",
		"properties":           object{"tend": object{"$ref": "#/$defs/tend"}},
		"propertyNames":        object{"pattern": `^[\p{L}\p{M}\p{Nd}_.-]{1,64}$`},
		"additionalProperties": object{"$ref": "#/$defs/program"},
		"$defs": object{
			"tend":      daemonSchema(),
			"program":   program,
			"reference": object{"type": "string", "pattern": `\$\{`, "description": "A value with ${VAR} or ${VAR:-default}."},
			"command": object{"oneOf": []any{
				object{"type": "string", "minLength": 1},
				object{"type": "array", "items": object{"type": "string"}, "minItems": 1},
			}},
			"strings": object{"oneOf": []any{
				object{"type": "string"},
				object{"type": "array", "items": object{"type": "string"}},
			}},
			"duration": object{
				"oneOf":    []any{object{"const": 0}, object{"type": "string", "pattern": `^\s*(\d+d)?((\d+(\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h))*0?\s*$|\$\{`}},
				"examples": []string{"10s", "1m30s", "500ms"},
			},
			"size": object{
				"oneOf":    []any{object{"type": "integer", "minimum": 0}, object{"type": "string", "pattern": `^\s*[\d.]+\s*([KMGT]iB|[KMGTk]?B|[KkMG])?\s*$|\$\{`}},
				"examples": []string{"50MB", "64KiB"},
			},
			"mode": object{
				"oneOf":    []any{object{"type": "integer", "minimum": 0, "maximum": 0o777}, object{"type": "string", "pattern": `^(0o)?[0-7]+$|\$\{`}},
				"examples": []string{"022"},
			},
			"signal": object{
				"oneOf":    []any{object{"type": "integer", "minimum": 1, "maximum": 64}, object{"type": "string"}},
				"examples": []string{"TERM", "INT", "QUIT", "HUP", "USR1", "USR2"},
			},
			"env": object{"type": "object", "additionalProperties": object{"type": []string{"string", "integer", "number", "boolean"}}},
			"limits": object{
				"type":                 "object",
				"propertyNames":        object{"enum": spec.LimitNames},
				"additionalProperties": object{"type": []string{"string", "integer"}},
			},
		},
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(schema); err != nil {
		panic("conf: the schema can't be encoded: " + err.Error()) // it holds nothing but strings, numbers, lists and maps
	}
	return b.Bytes()
}

// table returns the schema of a table with these keys and no others.
func table(properties object) object {
	return object{"type": "object", "properties": properties, "additionalProperties": false}
}

// programProperties returns the keys of a program, grouped into tables.
func programProperties() object {
	all := object{}
	standard := spec.New("")
	for _, f := range spec.Fields {
		property := fieldSchema(fields[f.Key])
		property["description"] = f.Doc + " Changed " + map[spec.Apply]string{spec.Live: "in place.", spec.OnRestart: "with a restart of the program."}[f.Apply]
		if value := f.Get(standard); value != "" && property["default"] == nil {
			property["default"] = defaultOf(fields[f.Key], standard, value)
		}
		group, key, ok := strings.Cut(f.Key, ".")
		if !ok {
			all[f.Key] = property
			continue
		}
		if all[group] == nil {
			all[group] = table(object{})
		}
		all[group].(object)["properties"].(object)[key] = property
	}
	return all
}

// defaultOf returns a field's default in the notation of TOML.
func defaultOf(f *field, p *spec.Program, text string) any {
	switch f.kind {
	case "bool", "int", "float", "ints", "strings":
		return f.JSON(p)
	}
	return text
}

func fieldSchema(f *field) object {
	number := func(kind string) object {
		n := object{"type": kind}
		if low, high, ok := f.Range(); ok {
			n["minimum"], n["maximum"] = low, high
		}
		return n
	}
	orReference := func(o object) object {
		return object{"anyOf": []any{o, object{"$ref": "#/$defs/reference"}}}
	}
	switch f.kind {
	case "bool":
		return orReference(object{"type": "boolean"})
	case "int":
		return orReference(number("integer"))
	case "float":
		return orReference(number("number"))
	case "enum":
		choices := make([]any, 0, len(f.Enum)+2)
		for _, s := range f.Enum {
			choices = append(choices, s)
		}
		if f.Yes != "" {
			choices = append(choices, false, true)
		}
		return orReference(object{"enum": choices})
	case "ints":
		return object{"type": "array", "items": number("integer")}
	case "string":
		if f.Key == "user" || f.Key == "group" {
			return object{"type": []string{"string", "integer"}}
		}
		return object{"type": "string"}
	}
	return object{"$ref": "#/$defs/" + f.kind}
}

// daemonSchema returns the schema of [tend].
func daemonSchema() object {
	all := object{}
	for _, s := range settings {
		var property object
		switch s.kind {
		case "strings", "mode", "size":
			property = object{"$ref": "#/$defs/" + s.kind}
		case "enum":
			property = object{"enum": s.enum}
		case "bool":
			property = object{"type": "boolean"}
		case "table":
			property = table(programProperties())
		default:
			property = object{"type": "string"}
		}
		property["description"] = s.doc
		group, key, ok := strings.Cut(s.key, ".")
		if !ok {
			all[s.key] = property
			continue
		}
		if all[group] == nil {
			all[group] = table(object{})
		}
		all[group].(object)["properties"].(object)[key] = property
	}
	daemon := table(all)
	daemon["description"] = "The daemon's own table."
	return daemon
}

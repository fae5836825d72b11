package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"tend/internal/conf"
	"tend/internal/spec"
)

// keys returns the page of all keys. Those of a program come from the field
// table, those of [tend] from the schema, where the loader describes them.
func keys(schema []byte) []byte {
	var b bytes.Buffer
	b.WriteString(keysIntro)
	b.WriteString("\n## Keys of a program\n\n| key | value | default | change | meaning |\n|---|---|---|---|---|\n")
	defaults := spec.New("name")
	for _, f := range spec.Fields {
		row(&b, code(f.Key), expected(f), byDefault(f, defaults), string(f.Apply), f.Doc)
	}
	b.WriteString("\n## Keys of `[tend]`\n\n" + daemonIntro + "\n| key | value | default | meaning |\n|---|---|---|---|\n")
	daemonDefaults := daemonDefaults()
	for _, k := range daemonKeys(schema) {
		row(&b, code(k.key), k.value, daemonDefaults[k.key], k.doc)
	}
	fmt.Fprintf(&b, laterIntro, list(spec.Later))
	return b.Bytes()
}

const keysIntro = `# Keys

<!-- Written by make generate from the field table in internal/spec; change that. -->

A TOML table, or an INI section, is a program; its name is the program's. Only ` + "`command`" + ` is required. Dotted keys and
tables mean the same: ` + "`log.keep = 3`" + ` is ` + "`[web.log]`" + ` with ` + "`keep = 3`" + `. An unknown key or a value that doesn't fit is an
error, and no file with an error is applied.

The column *change* says what a reload does to a running program whose value has changed: ` + "`live`" + ` is applied in place,
` + "`restart`" + ` restarts that program and no other.

## Values

| kind | written as |
|---|---|
| duration | a number with a unit: ` + "`\"500ms\"`, `\"10s\"`, `\"1m30s\"`, `\"2h\"`, `\"2d\"`" + `; a plain ` + "`0`" + ` |
| size | a number with a unit: ` + "`\"64KiB\"` and `\"64K\"` are 65,536 bytes, `\"50MB\"`" + ` is 50,000,000; a plain number is bytes |
| signal | a name, ` + "`\"TERM\"` or `\"SIGTERM\"`" + `, or a number from 1 to 64 |
| list | ` + "`[\"a\", \"b\"]`; in INI also `a, b`" + ` |
| variables | ` + "`{ NAME = \"value\" }`; in INI `env.NAME = value`" + ` |
| limits | ` + "`{ nofile = 65536, core = \"unlimited\", stack = \"8MiB:16MiB\" }`" + `: one value, or soft and hard; the names are below |
| yes or no | ` + "`true`, `false`; in INI also `1`, `on`, `yes` and `0`, `off`, `no`, `none`" + ` |

` + "`${VAR}` and `${VAR:-default}`" + ` stand for variables of the daemon's environment and of ` + "`env_file`; `${TEND_PROGRAM}` and\n`${TEND_INSTANCE}` for the program's name and the instance's number; `$$`" + ` is a dollar. A variable that is unset and has no
default is an error. In a ` + "`command` or `stop_command`" + ` that is a string only ` + "`tend`'s own two are replaced: all else is the\nshell's.\n"

const daemonIntro = "The daemon's own table. The keys of `default` are those of a program, and hold for every program that doesn't say\notherwise.\n"

const laterIntro = `
## Not known yet

These keys are planned and refused by name until they do something, so that nobody believes them to be in force.

Of a program: %s.
`

func row(b *bytes.Buffer, cells ...string) {
	for _, c := range cells {
		b.WriteString("| " + strings.ReplaceAll(c, "|", `\|`) + " ")
	}
	b.WriteString("|\n")
}

func code(s string) string { return "`" + s + "`" }

func list(words []string) string {
	quoted := make([]string, len(words))
	for i, w := range words {
		quoted[i] = code(w)
	}
	return strings.Join(quoted, ", ")
}

// expected says what a field may hold.
func expected(f *spec.Field) string {
	if f.Value != "" {
		return f.Value
	}
	low, high, bounded := f.Range()
	span := ""
	if bounded && high >= 1e9 { // a bound that only keeps it from overflowing
		span = ", from " + number(low)
	} else if bounded {
		span = fmt.Sprintf(", %s to %s", number(low), number(high))
	}
	switch kind := f.Kind(); kind {
	case "enum":
		if f.Yes != "" {
			return list(f.Enum) + ", yes or no"
		}
		return list(f.Enum)
	case "command":
		return "a string or a list"
	case "bool":
		return "yes or no"
	case "int":
		return "a whole number" + span
	case "ints":
		return "a list of numbers" + span
	case "float":
		return "a number" + span
	case "strings":
		return "a list of strings"
	case "env":
		return "variables"
	case "limits":
		return "limits: " + list(spec.LimitNames)
	case "string", "duration", "size", "signal":
		return "a " + kind
	default:
		panic("tend-docs: no words for the kind " + kind)
	}
}

// number writes bounds without an exponent.
func number(n float64) string { return strconv.FormatFloat(n, 'f', -1, 64) }

// byDefault returns the default as it would be written in TOML.
func byDefault(f *spec.Field, defaults *spec.Program) string {
	s := f.Get(defaults)
	switch f.Kind() {
	case "command":
		if f.Key == "command" {
			return "required"
		}
	case "strings", "ints":
		return code("[" + strings.Trim(s, "[]") + "]")
	case "enum", "duration", "size", "signal":
		s = strconv.Quote(s)
	}
	if s == "" {
		return "–"
	}
	return code(s)
}

// daemonDefaults returns the defaults of the keys of [tend] that have one: those
// of a daemon without any file.
func daemonDefaults() map[string]string {
	d := conf.Command([]string{"name"}, "/").Daemon
	m := map[string]string{"state": "[by place](files.md#state-and-logs)", "logs": "[by place](files.md#state-and-logs)"}
	for key, value := range map[string]string{
		"reload": string(d.Reload), "socket_mode": strconv.FormatInt(int64(d.SocketMode), 8), "exit_when": d.ExitWhen,
		"log.level": d.LogLevel, "log.format": d.LogFormat, "log.max_total": spec.FormatSize(d.LogMaxTotal),
	} {
		m[key] = code(strconv.Quote(value))
	}
	m["rollback"] = code(strconv.FormatBool(d.Rollback))
	for _, key := range []string{"include", "socket_group", "default", "listen", "tls_cert", "tls_key", "token_file"} {
		m[key] = "–"
	}
	return m
}

// A daemonKey is a key of [tend] as the schema describes it.
type daemonKey struct{ key, value, doc string }

// A schemaNode is what is read of a JSON Schema.
type schemaNode struct {
	Description string
	Type        any
	Enum        []string
	Ref         string `json:"$ref"`
	Properties  map[string]schemaNode
}

// words says what the key may hold.
func (n *schemaNode) words() string {
	switch {
	case len(n.Enum) > 0:
		return list(n.Enum)
	case n.Ref == "#/$defs/strings":
		return "a list of strings"
	case n.Ref == "#/$defs/size":
		return "a size"
	case n.Ref == "#/$defs/mode":
		return `an octal mode, as "660"`
	case n.Type == "string":
		return "a string"
	case n.Type == "boolean":
		return "yes or no"
	case n.Type == "object":
		return "a table of keys of a program"
	}
	panic(fmt.Sprintf("tend-docs: no words for %+v in the schema", *n))
}

// daemonKeys returns the keys of [tend], by name; those of a table dotted.
func daemonKeys(schema []byte) []daemonKey {
	var top struct {
		Defs struct{ Tend schemaNode } `json:"$defs"`
	}
	if err := json.Unmarshal(schema, &top); err != nil {
		panic("tend-docs: cannot read the schema: " + err.Error())
	}
	var found []daemonKey
	var walk func(prefix string, table schemaNode)
	walk = func(prefix string, table schemaNode) {
		for _, name := range slices.Sorted(maps.Keys(table.Properties)) {
			n := table.Properties[name]
			if n.Type == "object" && name != "default" {
				walk(prefix+name+".", n)
			} else {
				found = append(found, daemonKey{prefix + name, n.words(), n.Description})
			}
		}
	}
	walk("", top.Defs.Tend)
	return found
}

package conf

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"tend/internal/spec"
)

// Import writes what was loaded as a tend.toml that loads to the same programs,
// with comments where something can't be the same. It is for the results of other
// formats, and the result must be OK.
func Import(r *Result) []byte {
	w := &writer{taken: make(map[string]bool)}
	w.comment("Made by tend import from " + r.Path + ".")
	w.notes(r)
	w.settings(r.Set.Daemon)
	w.common(r.Set.Programs)
	for _, p := range r.Set.Programs {
		w.program(r, alone(p))
	}
	return []byte(w.String())
}

// A writer writes TOML.
type writer struct {
	strings.Builder
	base  *spec.Program   // what is said for all
	taken map[string]bool // names of tables
}

// comment writes text in front of which each line has a #.
func (w *writer) comment(text string) {
	for line := range strings.SplitSeq(text, "\n") {
		w.WriteString(strings.TrimRight("# "+printable(line), " ") + "\n")
	}
}

// notes repeats what the load had to say: that is what has no equal here, or had
// none before.
func (w *writer) notes(r *Result) {
	if r.Supervisord != nil {
		w.comment(`SUPERVISOR_ENABLED, SUPERVISOR_PROCESS_NAME and SUPERVISOR_GROUP_NAME are not set any
more, nor is SUPERVISOR_SERVER_URL: env can set what a program needs of them. Groups
and priorities are gone; the programs are in the order in which supervisord starts
them, and after says who really needs whom.`)
	}
	first := true
	for _, d := range r.Diagnostics {
		if d.Severity == Info && d.Key == "files" {
			continue // an included file is a part of this one now
		}
		if first {
			w.comment("\nWhat was said of the original:")
			first = false
		}
		d.Source, d.Col = "", 0
		w.comment("  " + strings.ReplaceAll(d.Text(), "\n", "\n  "))
	}
}

func (w *writer) settings(d spec.Daemon) {
	standard := newDaemon()
	var lines []string
	add := func(key, value, usual string) {
		if value != usual {
			lines = append(lines, key+" = "+quote(escapeDollar(value)))
		}
	}
	add("reload", string(d.Reload), string(standard.Reload))
	add("state", d.State, standard.State)
	add("logs", d.Logs, standard.Logs)
	add("socket_mode", fmt.Sprintf("%03o", d.SocketMode), fmt.Sprintf("%03o", standard.SocketMode))
	add("socket_group", d.SocketGroup, standard.SocketGroup)
	add("listen", d.Listen, standard.Listen)
	add("tls_cert", d.TLSCert, standard.TLSCert)
	add("tls_key", d.TLSKey, standard.TLSKey)
	add("token_file", d.TokenFile, standard.TokenFile)
	if d.Rollback {
		lines = append(lines, "rollback = true")
	}
	add("exit_when", d.ExitWhen, standard.ExitWhen)
	add("log.level", d.LogLevel, standard.LogLevel)
	add("log.format", d.LogFormat, standard.LogFormat)
	add("log.max_total", spec.FormatSize(d.LogMaxTotal), spec.FormatSize(standard.LogMaxTotal))
	if len(lines) > 0 {
		w.WriteString("\n[tend]\n" + strings.Join(lines, "\n") + "\n")
	}
}

// tableName makes a name that a TOML file may give a program: "group:name"
// becomes "group.name", as in the names of files.
func (w *writer) tableName(name string) string {
	good := strings.Map(func(r rune) rune {
		switch {
		case r == ':' || r == '.':
			return '.'
		case r == utf8.RuneError || spec.CheckName(string(r), false) != "":
			return '_'
		}
		return r
	}, name)
	if runes := []rune(good); len(runes) > 60 {
		good = string(runes[:60])
	}
	if good == "tend" || spec.CheckName(good, false) != "" {
		good += "_" // the daemon's own table, and the names of folders
	}
	unique := good
	for n := 2; w.taken[unique]; n++ {
		unique = good + "-" + strconv.Itoa(n)
	}
	w.taken[unique] = true
	return unique
}

// alone returns a program as it is without supervisord's ways of talking to it: what
// can't do its work without them is disabled.
func alone(p *spec.Program) *spec.Program {
	m := p.Member
	if m.Pool == (spec.Pool{}) && m.Socket == (spec.Socket{}) {
		return p
	}
	q := *p
	q.Enabled = false
	return &q
}

// lacks says what of a program of supervisord's has no equal.
func (w *writer) lacks(m spec.Member) {
	if m.Pool != (spec.Pool{}) {
		w.comment("An event listener, to which only a supervisord.conf gives events; what follows\ntend events can do its work.")
	}
	if m.Socket != (spec.Socket{}) {
		w.comment("It has the socket " + m.Socket.Address + " for its standard input, which only a\nsupervisord.conf can say.")
	}
	none := spec.Heard{}
	if m.Stdout != none || m.Stderr != none {
		w.comment("Its output makes events there: *_capture_maxbytes and *_events_enabled.")
	}
	if m.StripANSI {
		w.comment("Escape sequences are taken out of its output there: strip_ansi.")
	}
}

func (w *writer) program(r *Result, p *spec.Program) {
	name := w.tableName(p.Name)
	w.WriteString("\n")
	w.lacks(p.Member)
	if name != p.Name {
		w.comment(fmt.Sprintf("%s there: a name can't hold what that does.", p.Name))
	}
	if p.Member.Group != "" && r.Supervisord != nil && len(p.Command.Argv) == 1 && strings.ContainsAny(p.Command.Argv[0], "\"'") {
		w.comment("The command can't be parsed, so it never starts.")
	}
	w.WriteString("[" + tomlKey(name) + "]\n")
	fileEnv := w.envOfFiles(p)
	for _, f := range spec.Fields {
		if f.Get(p) == f.Get(w.base) {
			continue
		}
		switch f.Key {
		case "env":
			for _, k := range slices.Sorted(maps.Keys(p.Env)) {
				v := p.Env[k]
				if from, ok := fileEnv[k]; ok && from == v {
					continue
				}
				if !utf8.ValidString(k + v) {
					w.comment("env." + k + " isn't UTF-8, and can't be written here.")
					continue
				}
				w.key("env."+tomlKey(k), quote(escapeMark(v)))
			}
		default:
			w.value(f, p)
		}
	}
}

// common writes what most programs say, so that they needn't.
func (w *writer) common(list []*spec.Program) {
	w.base = spec.New("")
	var lines []string
	for _, f := range spec.Fields {
		switch f.Kind() {
		case "enum", "bool", "int", "float", "duration", "size", "signal":
		default:
			if f.Key != "directory" {
				continue
			}
		}
		most := make(map[string]int)
		for _, p := range list {
			most[f.Get(p)]++
		}
		for _, p := range list {
			v := f.Get(p)
			if most[""] > 0 || most[v] < 2 || most[v]*2 <= len(list) || v == f.Get(w.base) {
				continue // "" can't be written by those that differ
			}
			f.Copy(w.base, p)
			lines = append(lines, f.Key+" = "+tomlValue(f, p))
		}
	}
	if len(lines) > 0 {
		w.WriteString("\n[tend.default]\n" + strings.Join(lines, "\n") + "\n")
	}
}

// envOfFiles returns the variables that the program's env files give again.
func (w *writer) envOfFiles(p *spec.Program) map[string]string {
	l := &load{opts: Options{}, result: new(Result), watch: make(map[string]bool), failed: make(map[[2]string]bool), said: make(map[Diagnostic]bool), envFiles: make(map[string]*envFile)}
	env := make(map[string]string)
	for _, path := range p.EnvFile {
		maps.Copy(env, l.readEnvFile(path).value)
	}
	return env
}

func (w *writer) key(key, value string) { w.WriteString(key + " = " + value + "\n") }

// tomlValue writes the value of a field.
func tomlValue(f *spec.Field, p *spec.Program) string {
	switch f.Kind() {
	case "command":
		c := f.Command(p)
		if c.Shell != "" {
			return quote(strings.ReplaceAll(c.Shell, spec.InstanceMark, "${"+instanceVariable+"}"))
		}
		return quoteAll(c.Argv)
	case "bool", "int", "float":
		return f.Get(p)
	case "ints":
		return "[" + strings.ReplaceAll(f.Get(p), ",", ", ") + "]"
	case "strings":
		return quoteAll(f.Strings(p))
	case "size":
		return sizeText(f.Get(p))
	}
	return quote(escapeMark(f.Get(p)))
}

// sizeText writes no unit where it would be one of bytes.
func sizeText(s string) string {
	if n, ok := strings.CutSuffix(s, "B"); ok && len(n) > 0 && n[len(n)-1] <= '9' {
		if v, err := strconv.ParseInt(n, 10, 64); err == nil && v < math.MaxInt64 {
			return n
		}
	}
	return quote(s)
}

func quoteAll(list []string) string {
	words := make([]string, len(list))
	for i, s := range list {
		words[i] = quote(escapeMark(s))
	}
	return "[" + strings.Join(words, ", ") + "]"
}

// escapeMark writes a value so that its references are replaced to what it is.
func escapeMark(s string) string {
	return strings.ReplaceAll(escapeDollar(s), spec.InstanceMark, "${"+instanceVariable+"}")
}

func escapeDollar(s string) string { return strings.ReplaceAll(s, "$", "$$") }

// quote writes a TOML string: literal where that is easier to read.
func quote(s string) string {
	plain := !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f || r == utf8.RuneError })
	if plain && strings.ContainsAny(s, `"\`) && !strings.Contains(s, "'") {
		return "'" + s + "'"
	}
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\t':
			b.WriteString(`\t`)
		case r == '\r':
			b.WriteString(`\r`)
		case r < ' ' || r == 0x7f:
			fmt.Fprintf(&b, `\u%04X`, r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}

// tomlKey writes a part of a key, quoted where it needs to be.
func tomlKey(s string) string {
	bare := s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '_' && r != '-'
	})
	if bare {
		return s
	}
	return quote(s)
}

// ImportFile loads a file of any format and writes it as a tend.toml. The result
// says what was wrong with it; the text is nil if that was an error.
func ImportFile(o Options) ([]byte, *Result) {
	r := Load(o)
	if !r.OK() {
		return nil, r
	}
	return Import(r), r
}

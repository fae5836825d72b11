package spec

import (
	"errors"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// set gives the field with that key the value v in a new program.
func set(t *testing.T, key string, v any) (*Program, error) {
	t.Helper()
	f := FieldOf(key)
	if f == nil {
		t.Fatalf("no key is named %q", key)
	}
	p := New("p")
	return p, f.Set(p, v)
}

// TestNotations lists what values may look like, and what they are then in the
// canonical notation of Get; "!" and a part of the message where they are
// refused.
func TestNotations(t *testing.T) {
	list := func(v ...any) []any { return v }
	for _, test := range []struct {
		key  string
		v    any
		want string
	}{
		{"command", "php -S :80", "php -S :80"},
		{"command", list("php", "-v"), `["php", "-v"]`},
		{"command", " ", "!is empty"},
		{"command", list(), "!is empty"},
		{"command", list(""), "!is empty"},
		{"command", list("a", int64(1)), "!1 is not a string"},
		{"command", int64(1), "!1 is not a command"},
		{"enabled", false, "false"}, {"enabled", "Off", "false"}, {"enabled", "", "false"}, {"enabled", "none", "false"}, {"enabled", "null", "false"},
		{"enabled", int64(0), "false"}, {"enabled", "1", "true"}, {"enabled", "ON", "true"}, {"enabled", "yes", "true"}, {"enabled", int64(1), "true"},
		{"enabled", "maybe", `!"maybe" is not a yes or no`}, {"enabled", int64(2), "!2 is not"}, {"enabled", 1.0, "!is not"},
		{"instances", int64(4), "4"}, {"instances", " 4 ", "4"}, {"instances", int64(0), "0"},
		{"instances", int64(-1), "!-1 is out of range"}, {"instances", int64(10001), "!out of range"}, {"instances", "4.5", "!not a whole number"}, {"instances", 4.0, "!not a whole number"},
		{"nice", int64(-20), "-20"}, {"nice", int64(20), "!out of range"}, {"nice", "", "!not a whole number"},
		{"oom_score_adj", "-1000", "-1000"},
		{"max_failures", int64(1e10), "!out of range"},
		{"umask", "022", "022"}, {"umask", "0o27", "027"}, {"umask", int64(0o22), "022"}, {"umask", "0", "000"},
		{"umask", "8", "!not an octal mode"}, {"umask", "1000", "!not an octal mode"}, {"umask", int64(-1), "!not an octal mode"}, {"umask", true, "!not an octal mode"},
		{"backoff.factor", 1.5, "1.5"}, {"backoff.factor", int64(3), "3"}, {"backoff.factor", "2.5", "2.5"},
		{"backoff.factor", 0.5, "!out of range"}, {"backoff.factor", math.NaN(), "!out of range"}, {"backoff.factor", math.Inf(1), "!out of range"}, {"backoff.factor", "x", "!not a number"}, {"backoff.factor", true, "!not a number"},
		{"backoff.jitter", math.Copysign(0, -1), "0"}, {"backoff.jitter", 1.0, "1"},
		{"stop_timeout", "1m30s", "1m30s"}, {"stop_timeout", "90s", "1m30s"}, {"stop_timeout", "500ms", "500ms"}, {"stop_timeout", "2d", "2d"}, {"stop_timeout", "1d12h", "36h"},
		{"stop_timeout", int64(0), "0s"}, {"stop_timeout", "0", "0s"}, {"stop_timeout", " 1h ", "1h"}, {"stop_timeout", "1h0m5s", "1h0m5s"}, {"stop_timeout", "36500d", "36500d"},
		{"stop_timeout", "soon", `!"soon" is not a duration`}, {"stop_timeout", int64(10), "!10 is not a duration"}, {"stop_timeout", "10", "!not a duration"}, {"stop_timeout", "-1s", "!not a duration"},
		{"stop_timeout", "36501d", "!not a duration"}, {"stop_timeout", "960000h", "!not a duration"}, {"stop_timeout", "1d-1h", "!not a duration"}, {"stop_timeout", 1.5, "!not a duration"}, {"stop_timeout", "1.5d", "!not a duration"}, {"stop_timeout", "36500d2000000h", "!not a duration"},
		{"log.max_size", "50MB", "50MB"}, {"log.max_size", "64KiB", "64KiB"}, {"log.max_size", "64k", "64KiB"}, {"log.max_size", "1.5GiB", "1536MiB"}, {"log.max_size", "1 MB", "1MB"}, {"log.max_size", int64(0), "0B"},
		{"log.max_size", "1001", "1001B"}, {"log.max_size", "2TB", "2000GB"}, {"log.max_size", "1e3", "1KB"}, {"log.max_size", "9007199254740993B", "9007199254740993B"},
		{"log.max_size", int64(-1), "!not a size"}, {"log.max_size", "-1", "!not a size"}, {"log.max_size", "big", "!not a size"}, {"log.max_size", "NaN", "!not a size"}, {"log.max_size", "Inf", "!not a size"}, {"log.max_size", "99999999TiB", "!not a size"}, {"log.max_size", true, "!not a size"},
		{"log.max_size", "9223372036854775807KB", "!not a size"},
		{"stop_signal", "TERM", "TERM"}, {"stop_signal", "sigint", "INT"}, {"stop_signal", "9", "KILL"}, {"stop_signal", int64(1), "HUP"}, {"stop_signal", int64(64), "64"}, {"stop_signal", "CLD", "CHLD"}, {"stop_signal", "IOT", "ABRT"}, {"stop_signal", "poll", "IO"},
		{"stop_signal", "TREM", "!not a signal"}, {"stop_signal", int64(0), "!not a signal"}, {"stop_signal", "65", "!not a signal"}, {"stop_signal", "", "!not a signal"}, {"stop_signal", true, "!not a signal"},
		{"restart", "never", "never"}, {"restart", "nevr", "!not one of always, on-failure, never"},
		{"directory", "/tmp", "/tmp"}, {"directory", int64(5), "5"}, {"user", 1.5, "1.5"}, {"directory", list(), "!a list is not a string"},
		{"after", list("a", "b"), `["a", "b"]`}, {"after", "a, b,", `["a", "b"]`}, {"after", "", ""}, {"after", list(true), "!true is not a string"}, {"after", map[string]any{}, "!a table is not a list"},
		{"success_codes", list(int64(3), int64(0), int64(3)), "0,3"}, {"success_codes", "2,1", "1,2"}, {"success_codes", int64(7), "7"}, {"success_codes", list(), ""}, {"success_codes", list(int64(256)), "!out of range"}, {"success_codes", time.Unix(0, 0).UTC(), "!1970-01-01T00:00:00Z is not a list"},
		{"env", map[string]any{"B": "x y", "A": int64(1)}, "A=\"1\"\nB=\"x y\"\n"}, {"env", map[string]any{"A=": "x"}, "!not a name"}, {"env", map[string]any{"A": list()}, "!a list is not a string"}, {"env", "A=1", "!not a table"},
		{"limits", map[string]any{"nofile": int64(65536), "core": "unlimited", "stack": "8MB:infinity", "nproc": "1:2"}, "core=unlimited\nnofile=65536\nnproc=1:2\nstack=8000000:unlimited\n"},
		{"limits", map[string]any{"nofiles": int64(1)}, "!unknown limit"}, {"limits", map[string]any{"nofile": "2:1"}, "!above the hard one"}, {"limits", map[string]any{"nofile": int64(-1)}, "!not a limit"},
		{"limits", map[string]any{"nofile": "x"}, "!not a limit"}, {"limits", map[string]any{"nofile": "1:x"}, "!not a limit"}, {"limits", map[string]any{"nofile": true}, "!not a limit"}, {"limits", "nofile=1", "!not a table"},
	} {
		p, err := set(t, test.key, test.v)
		f := FieldOf(test.key)
		if part, refused := strings.CutPrefix(test.want, "!"); refused {
			var value *ValueError
			if !errors.As(err, &value) || !strings.Contains(value.Message, part) {
				t.Errorf("%s = %#v: error %v, want one with %q", test.key, test.v, err, part)
			}
			if f.Get(p) != f.Get(New("p")) {
				t.Errorf("%s = %#v is refused, but has set %q", test.key, test.v, f.Get(p))
			}
			continue
		}
		if err != nil || f.Get(p) != test.want {
			t.Errorf("%s = %#v is %q, error %v; want %q", test.key, test.v, f.Get(p), err, test.want)
		}
	}
}

func TestHints(t *testing.T) {
	for _, test := range []struct {
		key  string
		v    any
		hint string
	}{
		{"restart", "alway", `did you mean "always"?`},
		{"stop_signal", "TREM", `did you mean "TERM"?`},
		{"stop_signal", "NOSUCHSIGNAL", "use a name as TERM, or a number from 1 to 64"},
		{"limits", map[string]any{"nofiles": int64(1)}, `did you mean "nofile"?`},
		{"instances", int64(-1), "use a number from 0 to 10000"},
		{"stop_timeout", "10", `use a number with a unit, as "10s" or "1m30s"`},
	} {
		_, err := set(t, test.key, test.v)
		var value *ValueError
		if !errors.As(err, &value) || value.Hint != test.hint {
			t.Errorf("%s = %v: %#v, want the hint %q", test.key, test.v, err, test.hint)
		}
	}
}

// TestDefaults compares New with the contract.
func TestDefaults(t *testing.T) {
	want := map[string]string{
		"enabled": "true", "autostart": "true", "instances": "1", "pty": "false", "restart": "always", "success_codes": "0", "min_uptime": "1s",
		"backoff.initial": "100ms", "backoff.max": "30s", "backoff.factor": "2", "backoff.jitter": "0.1", "backoff.reset": "10s",
		"max_failures": "0", "retry_failed": "0s", "stop_signal": "TERM", "stop_timeout": "10s", "stop_scope": "group", "kill_scope": "tree", "user_env": "true", "backoff.kind": "growing", "when_disabled": "stop",
		"type": "service", "log.max_size": "50MB", "log.keep": "5", "log.timestamp": "false", "log.shared": "false", "log.compress": "none", "log.rate_limit": "0B", "log.syslog": "/dev/log", "log.journal": "/run/systemd/journal/socket", "log.format": "raw", "log.max_line": "0B", "log.strip_ansi": "false", "no_new_privileges": "false",
		"ready.notify": "false", "ready.timeout": "1m", "ready.interval": "200ms", "health.interval": "10s", "health.timeout": "3s", "health.failures": "3", "health.grace": "0s",
		"watchdog": "0s", "overlap": "skip", "catch_up": "false", "on_demand": "false", "idle_timeout": "0s", "rolling": "false", "max_unavailable": "1",
		"watch_ignore": `["**/.*", "**/node_modules"]`, "watch_delay": "300ms", "on_event.kinds": `["failed", "unhealthy", "rolled-back"]`, "on_event.timeout": "10s",
	}
	p := New("p")
	for _, f := range Fields {
		if got := f.Get(p); got != want[f.Key] {
			t.Errorf("%s = %q, want %q", f.Key, got, want[f.Key])
		}
	}
}

// TestFieldsReachAll checks that every value of a Program is reached by exactly
// one field, so that none can be forgotten in a comparison.
func TestFieldsReachAll(t *testing.T) {
	p := new(Program)
	reached := make(map[any]string)
	for _, f := range Fields {
		ptr := f.ptr(p)
		if o, ok := ptr.(*octal); ok {
			ptr = o.Optional
		}
		if o, ok := ptr.(*optionalSize); ok {
			ptr = o.Optional
		}
		address := reflect.ValueOf(ptr).Pointer()
		if other, twice := reached[address]; twice {
			t.Errorf("%s and %s are the same value", f.Key, other)
		}
		reached[address] = f.Key
	}
	var walk func(v reflect.Value, path string)
	tables := []reflect.Type{reflect.TypeFor[Backoff](), reflect.TypeFor[Log](), reflect.TypeFor[Ready](), reflect.TypeFor[Health](), reflect.TypeFor[OnEvent]()}
	walk = func(v reflect.Value, path string) {
		if _, ok := reached[v.Addr().Pointer()]; ok && !slices.Contains(tables, v.Type()) {
			delete(reached, v.Addr().Pointer())
			return
		}
		if v.Kind() != reflect.Struct {
			t.Errorf("no field of the table reaches Program%s", path)
			return
		}
		for i := range v.NumField() {
			walk(v.Field(i), path+"."+v.Type().Field(i).Name)
		}
	}
	v := reflect.ValueOf(p).Elem()
	for i := range v.NumField() {
		if name := v.Type().Field(i).Name; name != "Name" && name != "Source" && name != "Member" {
			walk(v.Field(i), "."+name)
		}
	}
	for _, key := range reached {
		t.Errorf("%s doesn't lead into a Program", key)
	}
}

// TestFieldTable checks the rows themselves.
func TestFieldTable(t *testing.T) {
	seen := make(map[string]bool)
	for _, f := range Fields {
		if seen[f.Key] || f.Doc == "" || (f.Apply != Live && f.Apply != OnRestart) || IsLater(Later, f.Key) {
			t.Errorf("the row of %q isn't right", f.Key)
		}
		seen[f.Key] = true
		if f.Kind() == "enum" && (f.Enum == nil || !slices.Contains(f.Enum, f.Get(New("p")))) {
			t.Errorf("%s: its default %q is not one of %v", f.Key, f.Get(New("p")), f.Enum)
		}
		if low, high, ok := f.Range(); ok && low >= high {
			t.Errorf("%s: the range is empty", f.Key)
		}
	}
	if FieldOf("no_such_key") != nil || !IsTable("backoff") || IsTable("env") || IsTable("back") || !IsLater(Later, "limits.cpu") || !IsLater(Later, "limits.memory") || IsLater(Later, "limits.nofile") {
		t.Error("keys are told apart wrongly")
	}
}

// drawValue draws something that may be the value of f.
func drawValue(t *rapid.T, f *Field) any {
	word := rapid.SampledFrom([]string{"a", "b c", `["a"]`, `"x"`, `"[\"a\"]"`, "[", "é\xff", InstanceMark, "A=\"b\"\nB", ""}).AsAny()
	words := rapid.SliceOfN(word, 0, 2)
	switch f.Kind() {
	case "command":
		if rapid.Bool().Draw(t, "argv") {
			return words.Draw(t, "argv")
		}
		return word.Draw(t, "shell")
	case "bool":
		return rapid.Bool().Draw(t, "bool")
	case "int":
		// Only what is in range: rapid gives up when most draws are thrown away.
		low, high, ok := f.Range()
		if !ok {
			low, high = -3, 12
		}
		return rapid.Int64Range(int64(low), int64(min(high, low+15))).Draw(t, "int")
	case "mode":
		return rapid.Int64Range(0, 0o777).Draw(t, "mode")
	case "float":
		list := []float64{0, math.Copysign(0, -1), 0.1, 0.1 + 1e-17, 0.5, 1, 1.5, 2, 99}
		low, high, _ := f.Range()
		list = slices.DeleteFunc(list, func(v float64) bool { return v < low || v > high })
		return rapid.SampledFrom(list).Draw(t, "float")
	case "duration":
		return FormatDuration(time.Duration(rapid.Int64Range(0, int64(36500*24*time.Hour)).Draw(t, "duration")))
	case "size":
		return rapid.Int64Range(0, math.MaxInt64).Draw(t, "size")
	case "signal":
		return rapid.Int64Range(1, 64).Draw(t, "signal")
	case "enum":
		return rapid.SampledFrom(f.Enum).Draw(t, "enum")
	case "string":
		if f.check != nil {
			return rapid.SampledFrom([]string{"/x", "/x y"}).Draw(t, "path")
		}
		return word.Draw(t, "string")
	case "strings":
		if f.Enum != nil {
			return rapid.SliceOfN(rapid.SampledFrom(f.Enum).AsAny(), 0, 2).Draw(t, "words")
		}
		return words.Draw(t, "strings")
	case "ints":
		return rapid.SliceOfN(rapid.Int64Range(0, 3).AsAny(), 0, 3).Draw(t, "ints")
	case "env":
		return rapid.MapOfN(rapid.SampledFrom([]string{"A", "B", "A\n", `"`}), word, 0, 2).Draw(t, "env")
	case "limits":
		return rapid.MapOfN(rapid.SampledFrom([]string{"nofile", "core"}), rapid.SampledFrom([]any{int64(1), "1:2", "unlimited", "2"}), 0, 2).Draw(t, "limits")
	}
	t.Fatalf("a new kind of field, %s: give it values here", f.Kind())
	return nil
}

// TestGetIsCanonical: two values are equal exactly when Get says the same, which
// is exactly when there is no change between them; and Copy copies.
func TestGetIsCanonical(t *testing.T) {
	for _, f := range Fields {
		t.Run(f.Key, rapid.MakeCheck(func(t *rapid.T) {
			p, q := New("p"), New("p")
			if f.Set(p, drawValue(t, f)) != nil || f.Set(q, drawValue(t, f)) != nil {
				t.Skip("out of range")
			}
			same := f.Get(p) == f.Get(q)
			if f.equal(p, q) != same || (len(Changes(p, q)) == 0) != same {
				t.Fatalf("%q and %q: equal is %v", f.Get(p), f.Get(q), f.equal(p, q))
			}
			f.Copy(q, p)
			if !f.equal(p, q) || len(Changes(p, q)) > 0 {
				t.Fatalf("the copy of %q is %q", f.Get(p), f.Get(q))
			}
		}))
	}
}

// TestGetIsRead: what Get writes, Set reads as the same, where the kind has a
// notation in one string.
func TestGetIsRead(t *testing.T) {
	for _, f := range Fields {
		switch f.Kind() {
		case "command", "strings", "env", "limits": // lists and tables
			continue
		}
		t.Run(f.Key, rapid.MakeCheck(func(t *rapid.T) {
			p, q := New("p"), New("p")
			if f.Set(p, drawValue(t, f)) != nil {
				t.Skip("out of range")
			}
			text := f.Get(p)
			if text == "" && f.Kind() != "string" && f.Kind() != "ints" {
				return // unset
			}
			if err := f.Set(q, text); err != nil || !f.equal(p, q) {
				t.Fatalf("%q is read as %q, error %v", text, f.Get(q), err)
			}
		}))
	}
}

// TestEncode: whatever the field table can hold comes back as it was, and what a
// later version has added is no reason to lose the rest.
func TestEncode(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := New("p")
		p.Source = Source{File: rapid.SampledFrom([]string{"", "a.toml", "\xff", "\x01"}).Draw(t, "file"), Line: rapid.IntRange(0, 9).Draw(t, "line")}
		if rapid.Bool().Draw(t, "member") {
			word := rapid.SampledFrom([]string{"", "a", "b", "\xff", "\x01"})
			for _, part := range p.Member.parts() {
				switch part := part.(type) {
				case *string:
					*part = word.Draw(t, "word of the member")
				case *int:
					*part = rapid.IntRange(-9, 999).Draw(t, "number of the member")
				case *bool:
					*part = rapid.Bool().Draw(t, "flag of the member")
				}
			}
		}
		for _, f := range Fields {
			if rapid.Bool().Draw(t, f.Key) {
				_ = f.Set(p, drawValue(t, f)) // what is out of range leaves the default
			}
		}
		data := Encode(p)
		q, err := Decode("p", data)
		if err != nil {
			t.Fatalf("%s: %v", data, err)
		}
		if changes := Changes(p, q); len(changes) > 0 || q.Source != p.Source || q.Member != p.Member || q.Name != p.Name {
			t.Fatalf("%s: %+v, source %+v", data, changes, q.Source)
		}
	})
	p, err := Decode("p", []byte(`{"command": "run", "of_the_future": {"a": [1, null, true]}}`))
	if err != nil || p.Command.Shell != "run" || p.Instances != 1 {
		t.Errorf("%+v, %v", p, err)
	}
	for _, bad := range []string{"", "{", "[]", `{"instances": "many"}`, `{"command": "\u0001zz"}`} {
		if _, err := Decode("p", []byte(bad)); err == nil {
			t.Errorf("%s is not refused", bad)
		}
	}
}

func TestJSON(t *testing.T) {
	p := New("p")
	for key, v := range map[string]any{
		"command": "run " + InstanceMark, "umask": "022", "nice": int64(5), "log.max_size": "1MB", "env": map[string]any{"N": InstanceMark},
		"limits": map[string]any{"nofile": "1:2"}, "after": "a,b", "directory": "/x", "success_codes": "0,1",
	} {
		if err := FieldOf(key).Set(p, v); err != nil {
			t.Fatal(err)
		}
	}
	for key, want := range map[string]any{
		"command": "run ${TEND_INSTANCE}", "umask": "022", "nice": 5, "log.max_size": int64(1e6), "env": map[string]string{"N": "${TEND_INSTANCE}"},
		"limits": map[string]string{"nofile": "1:2"}, "after": []string{"a", "b"}, "directory": "/x", "success_codes": []int{0, 1},
		"stop_timeout": 10.0, "stop_signal": "TERM", "stop_command": nil, "oom_score_adj": nil, "enabled": true, "backoff.factor": 2.0, "instances": 1,
	} {
		if diff := cmp.Diff(want, FieldOf(key).JSON(p)); diff != "" {
			t.Errorf("%s: %s", key, diff)
		}
	}
	p.Command = Command{Argv: []string{"run", InstanceMark}}
	if diff := cmp.Diff([]string{"run", "${TEND_INSTANCE}"}, FieldOf("command").JSON(p)); diff != "" {
		t.Error(diff)
	}
}

// TestTablesAdd checks that tables add to what is there, and leave the map alone
// that defaults share.
func TestTablesAdd(t *testing.T) {
	p := New("p")
	env, limits := FieldOf("env"), FieldOf("limits")
	for _, step := range []struct {
		f *Field
		k string
		v any
	}{{env, "A", "1"}, {limits, "core", int64(0)}} {
		if err := step.f.Set(p, map[string]any{step.k: step.v}); err != nil {
			t.Fatal(err)
		}
		shared := *p
		if err := step.f.Set(&shared, map[string]any{map[*Field]string{env: "B", limits: "nofile"}[step.f]: int64(2)}); err != nil {
			t.Fatal(err)
		}
		if lines := strings.Count(step.f.Get(&shared), "\n"); lines != 2 {
			t.Errorf("%s has %d entries, want 2", step.f.Key, lines)
		}
		if lines := strings.Count(step.f.Get(p), "\n"); lines != 1 {
			t.Errorf("%s: the shared one has %d entries, want 1", step.f.Key, lines)
		}
	}
}

func TestChanges(t *testing.T) {
	a, b := New("p"), New("p")
	a.Source, b.Source = Source{"a", 1}, Source{"b", 2}
	if c := Changes(a, b); c != nil || Changes(a, a) != nil {
		t.Errorf("between equal programs: %v", c)
	}
	a.Command.Shell, b.Command.Argv = "x "+InstanceMark, []string{"it's", "a b"}
	b.Env = Env{"A": "1"}
	b.Directory = "/x"
	got := Changes(a, b)
	var lines []string
	for _, c := range got {
		lines = append(lines, c.Field.Key+" "+c.Old+" → "+c.New)
	}
	want := []string{`command x ${TEND_INSTANCE} → 'it'\''s' 'a b'`, "directory – → /x", `env – → A="1"`}
	if diff := cmp.Diff(want, lines); diff != "" {
		t.Error(diff)
	}
	if !NeedsRestart(got) || NeedsRestart(nil) || NeedsRestart(Changes(New("a"), func() *Program { p := New("a"); p.Instances = 2; return p }())) {
		t.Error("what needs a restart is told wrongly")
	}
}

func TestCommand(t *testing.T) {
	for _, test := range []struct {
		c      Command
		args   []string
		string string
	}{
		{Command{Shell: "a | b"}, []string{"/bin/sh", "-c", "a | b"}, "a | b"},
		{Command{Argv: []string{"a", "", "b'c", "$d", "e"}}, []string{"a", "", "b'c", "$d", "e"}, `a '' 'b'\''c' '$d' e`},
		{Command{}, nil, ""},
	} {
		if !slices.Equal(test.c.Args(), test.args) || test.c.String() != test.string || test.c.IsZero() != (test.args == nil) {
			t.Errorf("%+v: %q, %q", test.c, test.c.Args(), test.c.String())
		}
	}
}

func TestInstance(t *testing.T) {
	p := New("p")
	if p.Instance(3) != p {
		t.Error("a program without a mark is copied")
	}
	const m = InstanceMark
	p.Command.Argv = []string{"run", "-p", "80" + m}
	p.StopCommand.Shell, p.Directory, p.User, p.Group, p.Log.File, p.Log.Stderr = "stop "+m, "/d"+m, "u"+m, "g"+m, "/l"+m, "/e"+m
	p.Env = Env{"A": m + m, "B": "b", "C": "c" + m}
	before := *p
	q := p.Instance(12)
	for _, f := range Fields {
		got := f.Get(q)
		if want := strings.ReplaceAll(strings.ReplaceAll(f.Get(p), `\x00`, "12"), m, "12"); got != want {
			t.Errorf("%s = %q, want %q", f.Key, got, want)
		}
	}
	if q.Env["A"] != "1212" || q.Env["B"] != "b" || p.Env["A"] != m+m || p.Command.Argv[2] != "80"+m || len(Changes(p, &before)) > 0 {
		t.Errorf("env %v, argv of the program itself %q", q.Env, p.Command.Argv)
	}
	if InstanceName("q", 0, 1) != "q" || InstanceName("q", 0, 2) != "q:0" || InstanceName("q", 1, 1) != "q:1" || FileName("a b:1") != "a_b.1" || Show("x"+m) != "x${TEND_INSTANCE}" {
		t.Error("names")
	}
}

func TestCheckName(t *testing.T) {
	for name, want := range map[string]string{
		"web": "", "日本語-1_a.b": "", strings.Repeat("x", 64): "", "": "empty", strings.Repeat("é", 65): "65 characters", "a\xff": "UTF-8",
		".": "folder", "..": "folder", "a/b": "'/'", "a:b": "':'", "a\nb": `'\n'`, "a b": "' '", "a*": "'*'",
	} {
		if got := CheckName(name, false); (want == "") != (got == "") || !strings.Contains(got, want) {
			t.Errorf("%q: %q, want %q", name, got, want)
		}
	}
	if CheckName("a b", true) != "" {
		t.Error("blanks are refused where they are allowed")
	}
}

// TestCheck: each problem is found, and told with its program and key.
func TestCheck(t *testing.T) {
	prog := func(name string, change func(*Program)) *Program {
		p := New(name)
		p.Command.Shell = "run"
		if change != nil {
			change(p)
		}
		return p
	}
	s := &Set{Daemon: Daemon{ExitWhen: "weeb"}, Programs: []*Program{
		prog("web", func(p *Program) { p.After = []string{"dbb"} }),
		prog("none", func(p *Program) { p.Command = Command{} }),
		prog("q", func(p *Program) { p.Instances = 2 }),
		prog("q.1", nil),
		prog("slow", func(p *Program) { p.Backoff.Max = time.Millisecond }),
		prog("log", func(p *Program) { p.Log.File, p.Log.Stderr = "/x.log", "/x.log" }),
		prog("log2", func(p *Program) { p.Log.File = "/x.log" }),
		prog("log3", func(p *Program) { p.Log.File, p.Instances = "/y.log", 2 }),
		prog("log4", func(p *Program) { p.Log.File, p.Instances = "/z"+InstanceMark, 2 }),
		prog("shared", func(p *Program) { p.Log.File, p.Log.Shared = "/x.log", true }),
		prog("log5", func(p *Program) { p.Log.File, p.Instances = "/dev/stdout", 2 }),
		prog("term", func(p *Program) { p.PTY, p.Log.Stderr = true, Separate }),
		prog("a", func(p *Program) { p.After = []string{"b"} }),
		prog("b", func(p *Program) { p.After = []string{"db", "a"} }),
		prog("db", nil),
	}}
	var got []string
	for _, p := range Check(s) {
		got = append(got, p.Program+"|"+p.Key+"|"+p.Message+"|"+p.Hint)
	}
	want := []string{
		`q.1||its files would collide with those of "q"|rename one of them`,
		`web|after|no program is named "dbb"|did you mean "db"?`,
		`none|command|the command is missing|say what to run: command = "…"`,
		`slow|backoff.max|backoff.max (1ms) is less than backoff.initial (100ms)|`,
		`log|log.stderr|log.stderr and log.file are the same file|drop log.stderr: it is merged by default`,
		`term|log.stderr|a program with pty writes everything to its terminal: its errors can't be told from the rest|drop log.stderr, or pty`,
		`a|after|these wait for each other: a → b → a|drop one of them`,
		`log2|log.file|"log" writes to the same file|give each program a file of its own, or say log.shared = true`,
		`log3|log.file|its 2 instances would write to the same file|put ${TEND_INSTANCE} into the path`,
		`|exit_when|no program is named "weeb"|use never, all-done, any-failed or a program's name`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if p := Check(&Set{Daemon: Daemon{ExitWhen: "web"}, Programs: []*Program{prog("web", nil)}}); p != nil {
		t.Errorf("a good set: %v", p)
	}
	if s.Program("db").Name != "db" || s.Program("x") != nil {
		t.Error("a program isn't found by its name")
	}
}

func TestCycle(t *testing.T) {
	for text, want := range map[string]string{
		"": "", "a": "", "a-a": "a a", "a-b b-c": "", "a-b b-c c-b": "b c b", "a-b,c b-d c-d d": "", "a-x": "", "a-b b-c c-a": "a b c a",
	} {
		s := new(Set)
		for word := range strings.FieldsSeq(text) {
			name, after, _ := strings.Cut(word, "-")
			p := New(name)
			if after != "" {
				p.After = strings.Split(after, ",")
			}
			s.Programs = append(s.Programs, p)
		}
		if got := strings.Join(Cycle(s), " "); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

func TestNearest(t *testing.T) {
	keys := []string{"", "restart", "command", "env", "enabled"}
	for s, want := range map[string]string{
		"restrat": "restart", "Restart": "restart", "comand": "command", "enb": "env", "enable": "enabled", "xyzzy": "", "": "", "envv": "env",
	} {
		if got := Nearest(s, keys); got != want {
			t.Errorf("%q: %q, want %q", s, got, want)
		}
	}
}

// TestFormatsAreRead: durations and sizes are read as what they were written from.
func TestFormatsAreRead(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		unit := rapid.SampledFrom([]time.Duration{1, time.Millisecond, time.Second, time.Minute, time.Hour, 24 * time.Hour}).Draw(t, "unit")
		d := time.Duration(rapid.Int64Range(0, int64(36500*24*time.Hour/unit)).Draw(t, "n")) * unit
		if got, err := toDuration(FormatDuration(d)); got != d || err != nil {
			t.Fatalf("%v is written %q and read as %v, %v", d, FormatDuration(d), got, err)
		}
		factor := rapid.SampledFrom([]int64{1, 1000, 1024, 1e6, 1 << 20, 1e9, 1 << 30}).Draw(t, "factor")
		n := rapid.Int64Range(0, math.MaxInt64/factor).Draw(t, "size") * factor
		if got, err := toSize(FormatSize(n)); got != n || err != nil {
			t.Fatalf("%d is written %q and read as %d, %v", n, FormatSize(n), got, err)
		}
	})
}

// FuzzValues: nothing that a file may hold makes a setter panic, and what it
// takes is in one canonical form.
func FuzzValues(f *testing.F) {
	for _, s := range []string{"", "10s", "1d", "d", "50MB", "1e400B", "SIGTERM", "1:2", ":", "0o77", "-0", "a,b", "NaN", "\x00"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		for _, field := range Fields {
			for _, v := range []any{s, []any{s}, map[string]any{s: s}, map[string]any{"nofile": s}} {
				p, q := New("p"), New("p")
				if field.Set(p, v) == nil && (field.Set(q, v) != nil || field.Get(p) != field.Get(q) || !field.equal(p, q)) {
					t.Errorf("%s = %q: %q and %q", field.Key, s, field.Get(p), field.Get(q))
				}
				field.JSON(p)
			}
		}
	})
}

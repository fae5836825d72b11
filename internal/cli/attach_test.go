package cli

import (
	"strings"
	"testing"
)

func TestParseKeys(t *testing.T) {
	for text, want := range map[string]string{
		"": "", "ctrl-p,ctrl-q": "\x10\x11", "q": "q", "Ctrl-P,Q": "\x10Q", `ctrl-@,ctrl-[,ctrl-\,ctrl-],ctrl-^,ctrl-_`: "\x00\x1b\x1c\x1d\x1e\x1f",
	} {
		if got, err := parseKeys(text); err != nil || string(got) != want {
			t.Errorf("%q: %q, %v", text, got, err)
		}
	}
	for _, text := range []string{"ctrl-", "ctrl-1", "ctrl-pq", "pq", "a,,b", ",", "é"} {
		if got, err := parseKeys(text); err == nil || !strings.Contains(err.Error(), "is no key") {
			t.Errorf("%q: %q, %v", text, got, err)
		}
	}
}

// TestKeyhole: what is typed is the program's but for the keys that leave, however it
// is cut, and only their beginning waits.
func TestKeyhole(t *testing.T) {
	for _, test := range []struct{ keys, typed, pass, held string }{
		{"pq", "hello", "hello", ""},
		{"pq", "help", "hel", "p"},
		{"pq", "appx", "appx", ""},
		{"pq", "apq", "a", "left"},
		{"pq", "ppq", "p", "left"},
		{"aab", "aaab", "a", "left"},
		{"aab", "aaxaab", "aax", "left"},
		{"abab", "abaabab", "aba", "left"},
		{"abab", "ababx", "", "left"},
		{"abac", "ababac", "ab", "left"},
		{"", "anything", "anything", ""},
	} {
		for size := 1; size <= len(test.typed); size++ {
			k := keyhole{sequence: []byte(test.keys)}
			var pass strings.Builder
			left := false
			for rest := test.typed; rest != "" && !left; {
				n := min(size, len(rest))
				var p []byte
				p, left = k.look([]byte(rest[:n]))
				pass.Write(p)
				rest = rest[n:]
			}
			held := "left"
			if !left {
				held = test.keys[:k.held]
			}
			if pass.String() != test.pass || held != test.held {
				t.Errorf("%q of %q in pieces of %d: passed %q and %q waits; want %q and %q", test.typed, test.keys, size, pass.String(), held, test.pass, test.held)
			}
		}
	}
}

// TestModes: what a program has made of the terminal is taken back, and nothing else.
func TestModes(t *testing.T) {
	const after = "\x1b[0m\x1b>"
	for _, test := range []struct{ output, reset string }{
		{"hello\x1b[31mred\x1b[0m\n", ""},
		{"\x1b[?1049h\x1b[?25l\x1b[?1000;1006h", "\x1b[?1006l\x1b[?1000l\x1b[?25h\x1b[?1049l" + after},
		{"\x1b[?1049h vi \x1b[?1049l", ""},
		{"\x1b[?2004h$ \x1b[?2004l", ""},
		{"\x1b[?2004h$ ", "\x1b[?2004l" + after},
		{"\x1b[?25h\x1b[?7h\x1b[?9999h\x1b[?6n\x1b[?", ""},
		{"\x1b\x1b[?1h", "\x1b[?1l" + after},
		{"\x1b[?" + strings.Repeat("1;", 100) + "1h", ""}, // nothing that anybody writes
	} {
		for size := 1; size <= len(test.output); size++ {
			var m modes
			for rest := test.output; rest != ""; {
				n := min(size, len(rest))
				m.note([]byte(rest[:n]))
				rest = rest[n:]
			}
			if size > 100 && strings.Contains(test.output, "1;1;") {
				break // seen whole, it may be minded
			}
			if got := m.reset(); got != test.reset {
				t.Errorf("%q in pieces of %d: %q, want %q", test.output, size, got, test.reset)
			}
			if m.reset() != "" {
				t.Error("it is taken back twice")
			}
		}
	}
}

package supervisord

import "testing"

// TestPlainer: escape sequences go and all else stays, in whatever pieces it comes.
func TestPlainer(t *testing.T) {
	for in, want := range map[string]string{
		"plain\n":                         "plain\n",
		"\x1b[31mred\x1b[0m \x1b[2Kline":  "red line",
		"\x1b[1;31;40mx\x1b[10;5Hy\x1b[s": "xy",
		"\x1b]0;title\a":                  "\x1b]0;title\a",
		"\x1b\x1b[1mx":                    "\x1bx",
		"a\x1b(Bb":                        "a\x1b(Bb",
	} {
		for piece := 1; piece <= len(in); piece++ {
			var a Plainer
			got := ""
			for rest := in; rest != ""; {
				n := min(piece, len(rest))
				got += string(a.Strip([]byte(rest[:n])))
				rest = rest[n:]
			}
			if got != want {
				t.Errorf("%q in pieces of %d is %q, not %q", in, piece, got, want)
			}
		}
	}
}

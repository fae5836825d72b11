package words

import (
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"tend/api"
)

func TestWords(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-time.Second: "0 s", 40 * time.Millisecond: "40 ms", 300 * time.Millisecond: "0.3 s", 999 * time.Millisecond: "0.9 s",
		1600 * time.Millisecond: "1.6 s", 2 * time.Second: "2 s", 59900 * time.Millisecond: "59 s", 3*time.Minute + 50*time.Second: "3 min",
		4*time.Hour + 12*time.Minute: "4 h 12 min", 3 * time.Hour: "3 h", 52 * time.Hour: "2 d 4 h", 1000 * 24 * time.Hour: "1000 d",
	} {
		if got := Span(d); got != want {
			t.Errorf("Span(%v) = %q, want %q", d, got, want)
		}
	}
	for d, want := range map[time.Duration]string{
		1600 * time.Millisecond: "1.6 s", 42 * time.Second: "42 s", 3*time.Minute + 50*time.Second: "4 min",
		5*time.Hour + 59*time.Minute: "6 h", 52 * time.Hour: "2 d", 59*time.Minute + 50*time.Second: "1 h",
	} {
		if got := Roughly(d); got != want {
			t.Errorf("Roughly(%v) = %q, want %q", d, got, want)
		}
	}
	for n, want := range map[int64]string{0: "0 B", 999: "999 B", 1500: "1.5 kB", 48e6: "48 MB", 999999: "1.0 MB", 1.5e9: "1.5 GB", 1e18: "1000 PB"} {
		if got := Size(n); got != want {
			t.Errorf("Size(%d) = %q, want %q", n, got, want)
		}
	}
	for s, want := range map[string]int{"web": 3, "注文": 4, "e\u0301": 1, "–…│●": 4, "😀": 2} {
		if got := Width(s); got != want {
			t.Errorf("Width(%q) = %d, want %d", s, got, want)
		}
	}
	if got := Clean("a\x1b[2Jb\nc\td\u202e"); strings.ContainsAny(got, "\x1b\n\t\u202e") {
		t.Errorf("Clean leaves %q", got)
	}
	rapid.Check(t, func(t *rapid.T) {
		s, n := rapid.String().Draw(t, "s"), rapid.IntRange(1, 40).Draw(t, "n")
		s = Clean(s)
		if Width(Cut(s, n)) > n || Width(CutMiddle(s, n)) > n {
			t.Errorf("Cut(%q, %d) = %q, in the middle %q", s, n, Cut(s, n), CutMiddle(s, n))
		}
	})
}

func TestFocus(t *testing.T) {
	for _, test := range []struct {
		before, after string
		n             int
		want          [2]string
	}{
		{"php artisan queue:work", "php artisan queue:work --tries=3", 40, [2]string{"…eue:work", "…eue:work --tries=3"}},
		{"–", strings.Repeat("x", 40), 20, [2]string{"–", "xxxxxxxxx…xxxxxxxxx"}},
		{"10s", "60s", 40, [2]string{"10s", "60s"}},
		{"1 and the same behind it", "2 and the same behind it", 30, [2]string{"1 and the…", "2 and the…"}},
	} {
		b, a := Focus(test.before, test.after, test.n)
		if got := [2]string{b, a}; got != test.want {
			t.Errorf("Focus(%q, %q, %d) = %q, want %q", test.before, test.after, test.n, got, test.want)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringOfN(rapid.RuneFrom([]rune("ab注")), 0, 60, -1)
		n := rapid.IntRange(8, 100).Draw(t, "n")
		b, a := Focus(text.Draw(t, "before"), text.Draw(t, "after"), n)
		if Width(b)+Width(a) > n {
			t.Errorf("%q and %q take more than %d columns", b, a, n)
		}
	})
}

func TestMatches(t *testing.T) {
	i := api.Instance{Name: "queue:0", Program: "queue"}
	for _, p := range []string{"queue", "queue:0", "queue:*", "q*", "*", "queue:?", "[pq]ueue"} {
		if !Matches(p, i) {
			t.Errorf("%q doesn't match", p)
		}
	}
	for _, p := range []string{"", "que", "queue:1", "queue:", "web*"} {
		if Matches(p, i) {
			t.Errorf("%q matches", p)
		}
	}
}

// TestBare: of what a program prints to a terminal its text is left.
func TestBare(t *testing.T) {
	for line, want := range map[string]string{
		"plain":                                    "plain",
		"\x1b[1;31merror:\x1b[0m no room":          "error: no room",
		"\x1b]0;title\x07text\x1b[K\x1b(B":         "text",
		"\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\": "link",
		"cut \x1b[38;5":                            "cut �[38;5",
		"bell\x07":                                 "bell�",
	} {
		if got := Bare(line); got != want {
			t.Errorf("%q becomes %q, not %q", line, got, want)
		}
	}
}

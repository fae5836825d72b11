package logs

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// chosen reads what is selected.
func chosen(t testing.TB, path string, keep int, sel Selection) string {
	t.Helper()
	r, err := NewReader(path, keep, sel)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var b strings.Builder
	for {
		line, err := r.Next()
		if err == io.EOF {
			return b.String()
		}
		if err != nil {
			t.Fatal(err)
		}
		b.Write(line.Text)
	}
}

// FuzzSelect compares a reader with a plain model, over files cut anywhere at a
// line's end, some of them compressed.
func FuzzSelect(f *testing.F) {
	f.Add([]byte("one\ntwo\nthree\nfour\n"), []byte{1, 2}, 2, "o", uint8(1))
	f.Add([]byte("one\n\n\nfour"), []byte{1}, 0, "", uint8(2))
	f.Add([]byte(strings.Repeat("x", 20_000)+"\n"+strings.Repeat("a\nb\n", 9000)), []byte{255}, 7000, "a", uint8(4))
	f.Fuzz(func(t *testing.T, in, cuts []byte, n int, match string, kind uint8) {
		expr, err := regexp.Compile(match)
		if err != nil || len(in) > 1<<20 {
			return
		}
		dir := t.TempDir()
		path := filepath.Join(dir, "p.log")
		var parts [][]byte
		var part []byte
		i := 0
		for line := range bytes.Lines(in) {
			part = append(part, line...)
			if i++; len(cuts) > 0 && i%(1+int(cuts[len(parts)%len(cuts)])) == 0 && len(parts) < 20 {
				parts, part = append(parts, part), nil
			}
		}
		parts = append(parts, part)
		for i, part := range parts {
			name := rotated(path, len(parts)-1-i)
			codec := Codec(kind) % 3
			if i == len(parts)-1 || i%2 == 0 || len(part) == 0 {
				codec = Plain
			}
			if codec != Plain {
				k, err := newCompressor(codec)
				if err != nil {
					t.Fatal(err)
				}
				if part, err = k.block(Position{Inode: uint64(i + 1)}, part); err != nil {
					t.Fatal(err)
				}
			}
			if err := os.WriteFile(name+suffixes[codec], part, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		sel := Selection{Lines: n}
		if kind&4 != 0 {
			sel.Match = expr
		}
		var want []string
		for line := range strings.Lines(string(in)) {
			if sel.Match == nil || expr.MatchString(strings.TrimSuffix(line, "\n")) {
				want = append(want, line)
			}
		}
		if n >= 0 {
			want = want[max(0, len(want)-n):]
		}
		same(t, "selected", chosen(t, path, 30, sel), strings.Join(want, ""))
	})
}

// TestSelectByTime: lines that carry times are found exactly, wherever they are.
func TestSelectByTime(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	for _, form := range []string{stamped + " x", "2006-01-02 15:04:05.000 x", "[2006-01-02T15:04:05.000Z07:00] x", `{"time":"` + stamped + `","message":"x"}`} {
		path := logPath(t)
		const n = 60_000
		start := time.Date(2026, 3, 1, 12, 0, 0, 0, time.Local)
		at := func(i int) time.Time { return start.Add(time.Duration(i) * 100 * time.Millisecond) }
		text := func(from, to int) string {
			var b []byte
			for i := from; i < to; i++ {
				b = append(at(i).AppendFormat(b, form), "\n"...)
				if i%7 == 0 {
					b = append(b, "  a line that goes on\n"...)
				}
			}
			return string(b)
		}
		for i, name := range []string{path + ".2", path + ".1", path} {
			if err := os.WriteFile(name, []byte(text(i*n/3, (i+1)*n/3)), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Chtimes(name, at((i+1)*n/3-1), at((i+1)*n/3-1)); err != nil {
				t.Fatal(err)
			}
		}
		for range 30 {
			from := rng.IntN(n)
			to := from + rng.IntN(n-from)
			got := chosen(t, path, 5, Selection{Lines: -1, Since: at(from), Until: at(to - 1).Add(50 * time.Millisecond)})
			same(t, fmt.Sprintf("%s, %d to %d", form, from, to), got, text(from, to))
		}
		same(t, "the last three of a time", chosen(t, path, 5, Selection{Lines: 3, Since: at(n / 2), Match: regexp.MustCompile("x")}), strings.ReplaceAll(text(n-3, n), "  a line that goes on\n", ""))
	}
}

// TestSelectByIndex: lines without times are found by when they were printed.
func TestSelectByIndex(t *testing.T) {
	dir := t.TempDir()
	c, _ := open(t, Config{Times: filepath.Join(dir, "times")})
	path := filepath.Join(dir, "web.log")
	s, w := pipe(t, c, Options{Path: path, MaxSize: 2000, Keep: 50})
	write(t, w, lines(0, 500))
	drained(t, s)
	// A second must pass, or the two belong together.
	c.files.mu.Lock()
	f := c.files.byPath[path]
	c.files.mu.Unlock()
	late := time.After(deadline)
	for {
		f.mu.Lock()
		over := time.Since(f.noted) > noteEvery
		f.mu.Unlock()
		if over {
			break
		}
		select {
		case <-late:
			t.Fatal("no second has passed")
		case <-time.After(noteEvery / 10):
		}
	}
	between := time.Now().Add(-noteEvery / 4)
	write(t, w, lines(500, 1000))
	drained(t, s)
	sel := Selection{Lines: -1, Times: filepath.Join(dir, "times")}
	sel.Since = between
	same(t, "since", chosen(t, path, 50, sel), lines(500, 1000))
	sel.Since, sel.Until = time.Time{}, between
	same(t, "until", chosen(t, path, 50, sel), lines(0, 500))
	sel.Until, sel.Lines, sel.Match = time.Time{}, 2, regexp.MustCompile("9$")
	same(t, "the last two", chosen(t, path, 50, sel), "line 989\nline 999\n")
	sel = Selection{Lines: -1, Since: time.Now().Add(time.Hour), Times: sel.Times}
	same(t, "in an hour", chosen(t, path, 50, sel), "")
}

// TestIndexIsBounded: it is thinned out, the latest least.
func TestIndexIsBounded(t *testing.T) {
	folder := t.TempDir()
	const n = 5 * manyNotes
	for i := range int64(n) {
		addNote(folder, "/x", note{at: Position{1, 2, i}, before: i, since: i})
	}
	st, err := os.Stat(indexOf(folder, "/x"))
	if err != nil || st.Size() >= manyNotes*noteSize {
		t.Errorf("%d bytes, %v", st.Size(), err)
	}
	notes := notesOf(folder, "/x")[Position{1, 2, 0}]
	for i, n := range notes {
		if i > 0 && n.at.Offset <= notes[i-1].at.Offset || n.since != n.at.Offset {
			t.Fatalf("note %d is %+v after %+v", i, n, notes[i-1])
		}
	}
	if first, last := notes[0], notes[len(notes)-1]; first.since != 0 || last.since != n-1 {
		t.Errorf("from %+v to %+v", first, last)
	}
}

func TestTimeOf(t *testing.T) {
	want := time.Date(2026, 1, 2, 3, 4, 5, 678e6, time.UTC)
	for _, s := range []string{"2026-01-02T03:04:05.678Z x", "2026-01-02T04:04:05.678+01:00", "[2026-01-02 03:04:05.678Z] x", `{"ts":"2026-01-02T03:04:05.678Z"`, `{"time": "2026-01-02T03:04:05.678000Z"}`, want.Local().Format("2006-01-02 15:04:05,000") + " INFO"} {
		if got, ok := timeOf([]byte(s)); !ok || !got.Equal(want) {
			t.Errorf("%q is of %v, %v", s, got, ok)
		}
	}
	for _, s := range []string{"", "x", "{", "2026-01-02", "2026-13-02T03:04:05Z", "2026-01-02Tab:04:05Z", `{"at":"2026-01-02T03:04:05Z"}`} {
		if got, ok := timeOf([]byte(s)); ok {
			t.Errorf("%q is of %v", s, got)
		}
	}
}

package logs

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

// A model is what a recipe makes of a whole stream, by the plainest means: the
// messages of its lines.
func model(in []byte, strip, terminal bool) string {
	if strip {
		in = regexp.MustCompile(`\x1b\[[0-9;]*m`).ReplaceAll(in, nil)
	}
	if terminal {
		in = bytes.ReplaceAll(in, []byte("\r\n"), []byte("\n"))
	}
	return string(in)
}

// FuzzCook plays a writer of cooked output: input in chunks, files cut by size.
// Whatever comes, what is in the files, taken apart again, is the input.
func FuzzCook(f *testing.F) {
	f.Add([]byte("one\ntwo\nthree\nfour\n"), []byte{3, 1, 7}, uint16(40), uint8(0))
	f.Add([]byte("a \x1b[31mred\x1b[0m line\nand no end"), []byte{1}, uint16(0), uint8(2))
	f.Add([]byte(strings.Repeat("é long line ", 90)+"\n\n\xff\xfe\n"), []byte{200, 13}, uint16(500), uint8(7))
	f.Add([]byte(strings.Repeat("\x1b[1mé long line ", 90)+"\n\n\xff\"\\\n"), []byte{255}, uint16(100), uint8(11))
	f.Add([]byte("\x1b[\x1b\n\x1b]0;title\x07x\n"), []byte{2}, uint16(9), uint8(10))
	f.Add([]byte("one\r\ntwo\r\r\n50%\r100%\r\n\r"), []byte{4, 1}, uint16(0), uint8(16))
	f.Add([]byte(strings.Repeat("x", 128)+"\r\n"+strings.Repeat("y", 127)+"\r\n"), []byte{9}, uint16(60), uint8(21))
	now := time.Date(2026, 1, 2, 3, 4, 5, 6e6, time.UTC)
	stamp := now.Format(stamped) + " "
	f.Fuzz(func(t *testing.T, in, chunks []byte, limit uint16, kind uint8) {
		r := &Recipe{JSON: kind&1 != 0, StripANSI: kind&2 != 0, Timestamp: kind&8 != 0, Terminal: kind&16 != 0, Source: Source{Program: "wéb\"", Instance: 3, Stream: "stdout"}}
		if kind&4 != 0 {
			r.MaxLine = MinMaxLine
		}
		if !r.JSON && bytes.Contains(in, []byte(Continued)) {
			return // can't be told from ours
		}
		var old [][]byte
		var cur []byte
		var k cook
		take := func(wait []byte, flush bool) []byte {
			for len(wait) > 0 {
				column := 0
				if len(cur) > 0 {
					column = len(cur) - 1 - bytes.LastIndexByte(cur, '\n')
				}
				at := spot{off: int64(len(cur)), limit: int64(limit), column: column, flush: flush}
				k.begin(r, now)
				out, n, rotate := k.do(nil, wait, at)
				switch {
				case rotate && (len(cur) == 0 || limit == 0 || n != 0):
					t.Fatalf("rotation of a file of %d bytes, limit %d, with %d bytes", len(cur), limit, n)
				case rotate:
					old, cur = append(old, cur), nil
					continue
				case n == 0 && flush:
					t.Fatalf("%q is held back though it must not be", wait)
				case n == 0:
					return wait
				case n < 0 || n > len(wait):
					t.Fatalf("%d of %d bytes", n, len(wait))
				}
				// The same again is what a daemon does that finds it half written.
				sc := scratch{}
				sc.cooks.begin(r, now)
				again, _, _ := sc.cooks.do(nil, wait[:n], spot{column: column, flush: true})
				if !bytes.Equal(again, out) {
					t.Fatalf("%q becomes %q, and %q the second time", wait[:n], out, again)
				}
				cur = append(cur, out...)
				wait = wait[n:]
			}
			return nil
		}
		var wait []byte
		for i, rest := 0, in; len(rest) > 0; i++ {
			n := len(rest)
			if len(chunks) > 0 {
				n = min(n, 1+int(chunks[i%len(chunks)]))
			}
			wait = take(append(wait, rest[:n]...), false)
			rest = rest[n:]
		}
		take(wait, true)
		var got strings.Builder
		for _, file := range append(old, cur) {
			for line := range bytes.Lines(file) {
				if !r.JSON {
					if r.MaxLine > 0 && len(line) > r.MaxLine+1 {
						t.Fatalf("a line of %d bytes", len(line))
					}
					s := string(line)
					if r.Timestamp {
						if !strings.HasPrefix(s, stamp) {
							t.Fatalf("no time in front of %q", s)
						}
						s = s[len(stamp):]
					}
					if rest, ok := strings.CutPrefix(s, Continued); ok {
						have := strings.TrimSuffix(got.String(), "\n")
						got.Reset()
						got.WriteString(have)
						s = rest
					}
					got.WriteString(s)
					continue
				}
				var o object
				if err := json.Unmarshal(line, &o); err != nil {
					t.Fatalf("%q: %v", line, err)
				}
				if o.Program != r.Source.Program || o.Instance != 3 || o.Stream != "stdout" || !o.Time.Equal(now) {
					t.Fatalf("%q", line)
				}
				got.WriteString(o.Message)
				if !o.Partial {
					got.WriteByte('\n')
				}
			}
		}
		if r.StripANSI && bytes.ContainsRune(regexp.MustCompile(`\x1b\[[0-9;]*m`).ReplaceAll(in, nil), escape) {
			return // more than the model knows: that it ends, and again the same, is what is shown
		}
		if r.Terminal && (limit > 0 || r.StripANSI && bytes.Contains(in, []byte("\r\x1b"))) {
			return // a line torn there keeps what was at its end
		}
		want := model(in, r.StripANSI, r.Terminal)
		if r.JSON && !utf8.Valid(in) {
			return
		}
		if limit == 0 || r.JSON || !r.Timestamp { // a line that was torn by rotation has two stamps
			if got.String() != want {
				t.Fatalf("%q became %q", want, got.String())
			}
		}
	})
}

// An object is a line of a log in JSON.
type object struct {
	Time     time.Time
	Program  string
	Instance int
	Stream   string
	Message  string
	Partial  bool
}

func objects(t *testing.T, path string) (list []object) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for line := range bytes.Lines(b) {
		var o object
		if err := json.Unmarshal(line, &o); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		list = append(list, o)
	}
	return list
}

// TestJSON: a line is an object when it is whole, whatever is in it; one that stays
// without an end is told after a moment; two streams share a file.
func TestJSON(t *testing.T) {
	for _, stages := range []bool{false, true} {
		t.Run(fmt.Sprint("stages ", stages), func(t *testing.T) {
			dir := t.TempDir()
			cfg := Config{}
			if stages {
				cfg.Stages = &Stages{Journal: filepath.Join(dir, "stages")}
			}
			c, _ := open(t, cfg)
			path := filepath.Join(dir, "web.log")
			recipe := func(stream string) *Recipe {
				return &Recipe{JSON: true, Source: Source{Program: "web", Instance: 2, Stream: stream}}
			}
			s, w := pipe(t, c, Options{Path: path, Recipe: recipe("stdout")})
			e, ew := pipe(t, c, Options{Path: path, Recipe: recipe("stderr")})
			f := follow(t, path, 0, Position{})
			write(t, w, "half a ")
			write(t, ew, "an error\n")
			drained(t, e)
			write(t, w, "line \"\\\x00\xff\n")
			write(t, w, "prompt> ")
			for n := 0; strings.Count(f.wait(t, n+1), "\n") < 3; {
				n = len(f.wait(t, n+1))
			}
			got := objects(t, path)
			want := []struct {
				stream, message string
				partial         bool
			}{{"stderr", "an error", false}, {"stdout", "half a line \"\\\x00\ufffd", false}, {"stdout", "prompt> ", true}}
			for i, o := range got {
				if o.Program != "web" || o.Instance != 2 || o.Stream != want[i].stream || o.Message != want[i].message || o.Partial != want[i].partial || time.Since(o.Time) > deadline {
					t.Errorf("object %d: %+v, want %+v", i, o, want[i])
				}
			}
			drained(t, s)
		})
	}
}

// TestJSONFlood: what comes faster than it can be seen is all there.
func TestJSONFlood(t *testing.T) {
	dir := t.TempDir()
	c, _ := open(t, Config{Stages: &Stages{Journal: filepath.Join(dir, "stages")}})
	path := filepath.Join(dir, "web.log")
	s, w := pipe(t, c, Options{Path: path, Recipe: &Recipe{JSON: true}})
	want := lines(0, 100_000)
	for rest := want; rest != ""; { // never at a line's end
		n := min(len(rest), 60_001)
		write(t, w, rest[:n])
		rest = rest[n:]
	}
	long := strings.Repeat("x", 3*pieceMax)
	write(t, w, long+"\n")
	drained(t, s)
	var got strings.Builder
	partial := 0
	for _, o := range objects(t, path) {
		got.WriteString(o.Message)
		if o.Partial {
			partial++
		} else {
			got.WriteByte('\n')
		}
	}
	same(t, "messages", got.String(), want+long+"\n")
	if partial != 3*pieceMax/defaultPiece-1 && partial != 3*pieceMax/defaultPiece || partial > 3*pieceMax/defaultPiece {
		t.Errorf("%d objects go on in the next one", partial)
	}
}

// TestInheritCooked: only whole lines go to a standard output that others use too.
func TestInheritCooked(t *testing.T) {
	out, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	c, _ := open(t, Config{Stdout: out})
	s, w := pipe(t, c, Options{Mode: Inherit, Recipe: &Recipe{StripANSI: true, MaxLine: MinMaxLine}})
	write(t, w, "\x1b[31mred\x1b[0m\n"+strings.Repeat("y", MinMaxLine+1)+"\nend")
	drained(t, s)
	b, err := os.ReadFile(out.Name())
	if err != nil {
		t.Fatal(err)
	}
	same(t, "output", string(b), "red\n"+strings.Repeat("y", MinMaxLine)+"\ny\nend\n")
}

// TestHeldIsIdle: the beginning of a line costs nothing but a few looks.
func TestHeldIsIdle(t *testing.T) {
	c, _ := open(t, Config{})
	path := logPath(t)
	s, w := pipe(t, c, Options{Path: path, Recipe: &Recipe{JSON: true}})
	f := follow(t, path, 0, Position{})
	write(t, w, "no end")
	f.wait(t, 10)
	c.mu.Lock()
	hold, state := s.hold, s.state
	c.mu.Unlock()
	for state != armed || hold != nil {
		c.mu.Lock()
		hold, state = s.hold, s.state
		c.mu.Unlock()
	}
	write(t, w, ", but here\n")
	drained(t, s)
	got := objects(t, path)
	if len(got) != 2 || got[0].Message != "no end" || !got[0].Partial || got[1].Message != ", but here" || got[1].Partial {
		t.Errorf("%+v", got)
	}
}

func TestAllPlainly(t *testing.T) {
	for at := range 8 {
		for c := range 256 {
			p := []byte("abcdefgh")
			p[at] = byte(c)
			if got := allPlainly(binary.LittleEndian.Uint64(p)); got != plainly[c] {
				t.Errorf("%q: %v", p, got)
			}
		}
	}
}

// TestJSONAtPages: writes that fill the pipe again and again, and end within a line,
// tear none.
func TestJSONAtPages(t *testing.T) {
	dir := t.TempDir()
	c, _ := open(t, Config{Stages: &Stages{Journal: filepath.Join(dir, "stages")}})
	path := filepath.Join(dir, "web.log")
	s, w := pipe(t, c, Options{Path: path, Recipe: &Recipe{JSON: true}})
	const total = 64 << 20
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "LOGS_TEST_ROLE=bulk")
	cmd.Args = append(cmd.Args[:1], "65536", fmt.Sprint(total))
	cmd.Stdout = w
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	drained(t, s)
	n, torn := 0, 0
	for _, o := range objects(t, path) {
		n += len(o.Message) + 1
		if o.Partial {
			n--
			torn++
		}
	}
	if n < total || n > total+1 || torn > 1 { // the last line has no end
		t.Errorf("%d bytes of %d, %d lines torn", n, total, torn)
	}
}

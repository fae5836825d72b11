package logs

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestFinish: what was on its way to a file when its writer died is there once,
// whether it had been written in whole, in part, or not at all.
func TestFinish(t *testing.T) {
	const before, staged = "2026-01-01T00:00:00.000Z earlier\n", "one\ntwo\nth"
	when := time.Now().Add(-time.Hour) // what has been read of them stays as it is, the time too
	stamped := func(s string) string {
		sc := new(scratch)
		sc.cookAllAt(when, &Recipe{Timestamp: true}, []byte(s), 0)
		return string(sc.out)
	}
	for _, test := range []struct {
		name    string
		written string // of what is staged
		replace bool   // the file is another one by now
	}{
		{"not at all", "", false},
		{"in part", stamped(staged)[:20], false},
		{"in whole", stamped(staged), false},
		{"another file", "", true},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "p.log")
			if err := os.WriteFile(path, []byte(before+test.written), 0o640); err != nil {
				t.Fatal(err)
			}
			var st unix.Stat_t
			if err := unix.Stat(path, &st); err != nil {
				t.Fatal(err)
			}
			if test.replace {
				os.Remove(path)
				if err := os.WriteFile(path+".x", nil, 0o640); err != nil { // so that the inode isn't used again at once
					t.Fatal(err)
				}
				if err := os.WriteFile(path, []byte(before), 0o640); err != nil {
					t.Fatal(err)
				}
			}
			var p [2]int
			if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
				t.Fatal(err)
			}
			defer unix.Close(p[0])
			defer unix.Close(p[1])
			if _, err := unix.Write(p[1], []byte(staged)); err != nil {
				t.Fatal(err)
			}
			journal, err := os.Create(filepath.Join(dir, "stages"))
			if err != nil {
				t.Fatal(err)
			}
			note := slot{size: int64(len(before)), ino: st.Ino, recipe: &Recipe{Timestamp: true}, path: path, cooked: when}.encode()
			if _, err := journal.WriteAt(note, 2*slotBytes); err != nil {
				t.Fatal(err)
			}
			journal.Close()

			c, err := Open(Config{Stages: &Stages{Journal: journal.Name(), Kept: map[int]int{2: p[0]}}, Notice: func(n Notice) { t.Errorf("told %+v", n) }})
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			got, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			rest, ok := bytes.CutPrefix(got, []byte(before))
			if !ok || string(rest) != stamped(staged) || !regexp.MustCompile(`^\S+ one\n\S+ two\n\S+ th$`).Match(rest) {
				t.Fatalf("the file is %q", got)
			}
			if n, _ := unix.IoctlGetInt(p[0], unix.TIOCINQ); n != 0 {
				t.Errorf("%d bytes are left in the stage", n)
			}
			// It is used on, and the line goes on where it was.
			s, err := c.Pipe("p", Options{Path: path, Recipe: &Recipe{Timestamp: true}, UID: -1, GID: -1})
			if err != nil {
				t.Fatal(err)
			}
			w, err := s.Writer()
			if err != nil {
				t.Fatal(err)
			}
			defer unix.Close(w)
			if _, err := unix.Write(w, []byte("ree\nfour\n")); err != nil {
				t.Fatal(err)
			}
			if err := s.Drain(context.Background()); err != nil {
				t.Fatal(err)
			}
			got, _ = os.ReadFile(path)
			if !strings.Contains(string(got), " three\n") || strings.Count(string(got), "\n") != 5 {
				t.Errorf("then the file is %q", got)
			}
			if got := c.stages.all; len(got) != 1 || got[0].number != 2 {
				t.Errorf("%d stages", len(got))
			}
		})
	}
}

// TestStagesAreKept: each stage is given away before anything is in it.
func TestStagesAreKept(t *testing.T) {
	dir := t.TempDir()
	kept := make(map[int]bool)
	c, err := Open(Config{Stages: &Stages{Journal: filepath.Join(dir, "stages"), Keep: func(number, fd int) error {
		if n, err := unix.IoctlGetInt(fd, unix.TIOCINQ); err != nil || n != 0 {
			t.Errorf("stage %d holds %d bytes, %v", number, n, err)
		}
		kept[number] = true
		return nil
	}}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	s, err := c.Pipe("p", Options{Path: filepath.Join(dir, "p.log"), Recipe: &Recipe{Timestamp: true}, UID: -1, GID: -1})
	if err != nil {
		t.Fatal(err)
	}
	w, err := s.Writer()
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(w)
	unix.Write(w, []byte("line\n"))
	if err := s.Drain(context.Background()); err != nil {
		t.Fatal(err)
	}
	if len(kept) != 1 || !kept[0] || len(c.StageFDs()) != 1 {
		t.Errorf("kept %v", kept)
	}
}

func TestSlot(t *testing.T) {
	for _, s := range []slot{{1, 2, &Recipe{JSON: true, MaxLine: 1000, Source: Source{Program: "web"}}, "/a", time.Unix(0, 5)}, {1 << 40, 1 << 60, nil, "/" + strings.Repeat("x", 4000), time.Time{}}} {
		if got, ok := decodeSlot(s.encode()); !ok || !reflect.DeepEqual(got, s) {
			t.Errorf("%+v comes back as %+v", s, got)
		}
	}
	for _, bad := range [][]byte{nil, make([]byte, slotBytes), []byte("12345678123456781\x00\xff\xff/a"), []byte("1234567812345678\x02\x00\x02\x00/a{")} {
		if s, ok := decodeSlot(bad); ok {
			t.Errorf("%.20q is %+v", bad, s)
		}
	}
}

// TestSmallStage: where a stage has less room than the program's pipe, no line is
// torn for that.
func TestSmallStage(t *testing.T) {
	dir := t.TempDir()
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	defer unix.Close(p[0])
	defer unix.Close(p[1])
	if n, err := unix.FcntlInt(uintptr(p[0]), unix.F_SETPIPE_SZ, 8<<10); err != nil || n != 8<<10 {
		t.Fatal(n, err)
	}
	c, _ := open(t, Config{Stages: &Stages{Journal: filepath.Join(dir, "stages"), Kept: map[int]int{0: p[0]}}})
	path := filepath.Join(dir, "web.log")
	s, w := pipe(t, c, Options{Path: path, Recipe: &Recipe{JSON: true}})
	want := lines(0, 50_000)
	for rest := want; rest != ""; {
		n := min(len(rest), 60_001)
		write(t, w, rest[:n])
		rest = rest[n:]
	}
	drained(t, s)
	var got strings.Builder
	for _, o := range objects(t, path) {
		if o.Partial {
			t.Fatalf("%q is a part of a line", o.Message)
		}
		got.WriteString(o.Message + "\n")
	}
	same(t, "messages", got.String(), want)
}

package logs

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// seer is a tap that keeps what it sees, and takes all x out.
type seer struct {
	mu  sync.Mutex
	all []byte
}

func (s *seer) tap(p []byte) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all = append(s.all, p...)
	return bytes.ReplaceAll(p, []byte("x"), nil)
}

func (s *seer) seen() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return string(s.all)
}

// TestTap: a tap sees each byte once, and its answer is what arrives, wherever that
// is and whichever way it goes there.
func TestTap(t *testing.T) {
	var in strings.Builder
	for i := range 20_000 {
		in.WriteString(strings.Repeat("x", i%3))
		in.WriteString(lines(i, i+1))
	}
	want := strings.ReplaceAll(in.String(), "x", "")
	for _, test := range []struct {
		name   string
		o      Options
		stages bool
	}{
		{"a file", Options{}, false},
		{"a file by a stage", Options{}, true},
		{"rotated", Options{MaxSize: 100_000, Keep: 100}, false},
		{"rotated by a stage", Options{MaxSize: 100_000, Keep: 100}, true},
		{"standard output", Options{Mode: Inherit}, false},
		{"nowhere", Options{Mode: None}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "p.log")
			stdout, err := os.Create(filepath.Join(dir, "stdout"))
			if err != nil {
				t.Fatal(err)
			}
			defer stdout.Close()
			cfg := Config{Stdout: stdout}
			if test.stages {
				cfg.Stages = &Stages{Journal: filepath.Join(dir, "stages")}
			}
			c, _ := open(t, cfg)
			var see seer
			o := test.o
			o.Tap = see.tap
			if o.Mode == File {
				o.Path = path
			}
			s, w := pipe(t, c, o)
			write(t, w, in.String())
			drained(t, s)
			if got := see.seen(); got != in.String() {
				t.Errorf("the tap has seen %d bytes, not the %d that were written", len(got), in.Len())
			}
			got := whole(t, path, o.Keep)
			switch o.Mode {
			case Inherit:
				b, err := os.ReadFile(stdout.Name())
				if err != nil {
					t.Fatal(err)
				}
				got = string(b)
			case None:
				return
			}
			if got != want {
				t.Errorf("%d bytes have arrived, not %d", len(got), len(want))
			}
		})
	}
}

// TestTapOfFailure: a tap sees each byte once where none arrives as well.
func TestTapOfFailure(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skip("no /dev/full: ", err)
	}
	defer full.Close()
	var in strings.Builder
	for i := range 5000 {
		in.WriteString(lines(i, i+1))
	}
	in.WriteString("the end")
	for _, test := range []struct {
		name string
		o    Options
	}{
		{"standard output", Options{Mode: Inherit}},
		{"a device", Options{Path: "/dev/full"}},
		{"no folder", Options{Path: "/proc/self/none/p.log"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			c, _ := open(t, Config{Stdout: full})
			var see seer
			test.o.Tap = see.tap
			s, w := pipe(t, c, test.o)
			for part := range strings.SplitAfterSeq(in.String(), "00\n") {
				write(t, w, part)
				if tryDrain(s) == nil {
					t.Error("what can't be written is drained")
				}
			}
			if got := see.seen(); got != in.String() {
				t.Errorf("the tap has seen %d bytes, not the %d that were written", len(got), in.Len())
			}
		})
	}
}

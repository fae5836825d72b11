package logs

import (
	"bytes"
	stdgzip "compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	"golang.org/x/sys/unix"
)

// decompressed reads a file by means that know nothing of our blocks.
func decompressed(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(name)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	switch filepath.Ext(name) {
	case ".gz":
		r, err := stdgzip.NewReader(bytes.NewReader(b))
		if err != nil {
			t.Fatal(err)
		}
		if b, err = io.ReadAll(r); err != nil {
			t.Fatal(err)
		}
	case ".zst":
		d, err := zstd.NewReader(nil)
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		if b, err = d.DecodeAll(b, nil); err != nil {
			t.Fatal(err)
		}
	}
	return b
}

// packedAll waits until nothing is left to compress.
func packedAll(t testing.TB, c *Capture) {
	t.Helper()
	late := time.Now().Add(deadline)
	for {
		c.mu.Lock()
		running := c.packer.running
		c.mu.Unlock()
		if !running {
			return
		}
		if time.Now().After(late) {
			t.Fatal("still compressing")
		}
		unix.Nanosleep(&unix.Timespec{Nsec: 100_000}, nil) // as TestIdle: nobody tells of it
	}
}

// TestPack: rotated files are compressed, in a form that any tool reads, and with
// the old one's times and mode; they are read and followed as if they weren't.
func TestPack(t *testing.T) {
	for _, codec := range []Codec{Gzip, Zstd} {
		t.Run(suffixes[codec], func(t *testing.T) {
			c, seen := open(t, Config{})
			path := logPath(t)
			const keep = 10
			o := Options{Path: path, MaxSize: 3 << 20, Keep: keep, Compress: codec} // several blocks a file
			s, w := pipe(t, c, o)
			var from Position
			want := lines(0, 800_000)
			for rest := want; rest != ""; {
				n := min(len(rest), 1_000_003)
				write(t, w, rest[:n])
				rest = rest[n:]
				if from == (Position{}) {
					drained(t, s)
					var err error
					if from, err = Read(io.Discard, path, keep, 0); err != nil {
						t.Fatal(err)
					}
				}
			}
			drained(t, s)
			packedAll(t, c)
			n := 1
			for ; exists(path, n); n++ {
				if _, err := os.Stat(rotated(path, n)); err == nil {
					t.Errorf("%s is still there", rotated(path, n))
				}
				st, err := os.Stat(rotated(path, n) + suffixes[codec])
				if err != nil {
					t.Fatal(err)
				}
				if st.Mode().Perm() != 0o640 || st.Size() > 1<<20 {
					t.Errorf("%s has mode %v and %d bytes", st.Name(), st.Mode(), st.Size())
				}
			}
			if n < 3 {
				t.Fatalf("%d rotations", n-1)
			}
			same(t, "files", whole(t, path, keep), want)
			if _, err := exec.LookPath("zstd"); err == nil || codec == Gzip {
				out, err := exec.Command(map[Codec]string{Gzip: "gzip", Zstd: "zstd"}[codec], "-dc", rotated(path, 1)+suffixes[codec]).Output()
				if err != nil || !bytes.Equal(out, decompressed(t, rotated(path, 1)+suffixes[codec])) {
					t.Errorf("the tool gives %d bytes, %v", len(out), err)
				}
			}
			for _, lines := range []int{0, 1, 100, 500_000, -1} {
				var b bytes.Buffer
				if _, err := Read(&b, path, keep, lines); err != nil {
					t.Fatal(err)
				}
				same(t, fmt.Sprint("last ", lines), b.String(), lastLines(want, lines))
			}
			same(t, "all, followed", follow(t, path, keep, Position{}).wait(t, len(want)), want)
			// A position in a file that was compressed since is still one.
			f := follow(t, path, keep, from)
			same(t, "the rest, followed", f.wait(t, len(want)-int(from.Offset)), want[from.Offset:])
			if n := seen.list(); len(n) != 0 {
				t.Errorf("notices: %+v", n)
			}
		})
	}
}

func lastLines(s string, n int) string {
	if n < 0 {
		return s
	}
	all := strings.SplitAfter(s, "\n")
	all = all[:len(all)-1]
	return strings.Join(all[max(0, len(all)-n):], "")
}

// TestPackCombinations: whatever rotates, compresses, changes its mind, dies and is
// opened again, the exact sequence is in the files and with the follower.
func TestPackCombinations(t *testing.T) {
	for seed := range uint64(12) {
		t.Run(fmt.Sprint("seed", seed), func(t *testing.T) {
			t.Parallel()
			rng := rand.New(rand.NewPCG(seed, 2))
			dir := t.TempDir()
			path := filepath.Join(dir, "web.log")
			const keep = 300
			o := Options{Path: path, Keep: keep, MaxSize: 5000, Compress: Codec(seed % 3), UID: -1, GID: -1}
			c, _ := open(t, Config{})
			s, w := pipe(t, c, o)
			guard, err := s.Writer()
			if err != nil {
				t.Fatal(err)
			}
			defer unix.Close(guard)
			follower := follow(t, path, keep, Position{})
			want := lines(0, 3000+rng.IntN(20_000))
			for rest := want; rest != ""; {
				n := min(len(rest), 1+rng.IntN([]int{20, 3000, 20_000}[rng.IntN(3)]))
				write(t, w, rest[:n])
				rest = rest[n:]
				switch rng.IntN(10) {
				case 0:
					if err := c.Reopen(); err != nil {
						t.Fatal(err)
					}
				case 1:
					drained(t, s)
				case 2:
					o.Compress = Codec(rng.IntN(3))
					o.MaxSize = []int64{2000, 20_000}[rng.IntN(2)]
					if err := s.Configure(o); err != nil {
						t.Fatal(err)
					}
				case 3: // another daemon
					if err := c.Close(); err != nil {
						t.Fatal(err)
					}
					if rng.IntN(2) == 0 { // the old one has died at it
						if err := os.WriteFile(path+packing, []byte("half"), 0o600); err != nil {
							t.Fatal(err)
						}
					}
					c, _ = open(t, Config{})
					if s, err = c.Adopt("web", guard, o); err != nil {
						t.Fatal(err)
					}
				case 4:
					packedAll(t, c)
				}
			}
			drained(t, s)
			packedAll(t, c)
			same(t, "files", whole(t, path, keep), want)
			same(t, "follower", follower.wait(t, len(want)), want)
			var b bytes.Buffer
			if _, err := Read(&b, path, keep, -1); err != nil {
				t.Fatal(err)
			}
			same(t, "read", b.String(), want)
		})
	}
}

// TestPackInterrupted: what a process that died has left behind is done again, also
// where both the file and its compressed form are there.
func TestPackInterrupted(t *testing.T) {
	path := logPath(t)
	o := Options{Path: path, Keep: 5, MaxSize: 1000, Compress: Gzip, UID: -1, GID: -1}
	want := lines(0, 300)
	o.Compress = Plain
	c, _ := open(t, Config{})
	s, w := pipe(t, c, o)
	write(t, w, want)
	drained(t, s)
	k, err := newCompressor(Gzip)
	if err != nil {
		t.Fatal(err)
	}
	id, _ := identity(rotated(path, 2), Plain)
	b, err := k.block(id, decompressed(t, rotated(path, 2)))
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{rotated(path, 2) + ".gz": b, path + packing: b[:10]} {
		if err := os.WriteFile(name, content, 0o640); err != nil {
			t.Fatal(err)
		}
	}
	before := whole(t, path, 5)
	o.Compress = Gzip
	if err := s.Configure(o); err != nil {
		t.Fatal(err)
	}
	packedAll(t, c)
	same(t, "files", whole(t, path, 5), before)
	names, _ := filepath.Glob(path + "*")
	for _, name := range names {
		if name != path && !strings.HasSuffix(name, ".gz") {
			t.Errorf("%s is left", name)
		}
	}
}

// TestForeignPacked: what logrotate has compressed is read too.
func TestForeignPacked(t *testing.T) {
	path := logPath(t)
	if err := os.WriteFile(path, []byte("new\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	z := stdgzip.NewWriter(&b)
	z.Write([]byte(lines(0, 10_000)))
	z.Close()
	if err := os.WriteFile(path+".1.gz", b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	var got bytes.Buffer
	if _, err := Read(&got, path, 5, 3); err != nil {
		t.Fatal(err)
	}
	same(t, "read", got.String(), lines(9998, 10_000)+"new\n")
	same(t, "followed", follow(t, path, 5, Position{}).wait(t, len(lines(0, 10_000))+4), lines(0, 10_000)+"new\n")
}

// TestPackKilled: a daemon that is closed while it compresses leaves the file alone.
func TestPackKilled(t *testing.T) {
	path := logPath(t)
	if err := os.WriteFile(path+".1", bytes.Repeat([]byte("a line\n"), 3<<20), 0o640); err != nil {
		t.Fatal(err)
	}
	c, err := Open(Config{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Pipe("web", Options{Path: path, Keep: 1, Compress: Gzip, UID: -1, GID: -1}); err != nil {
		t.Fatal(err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	for c.packing(ctx) {
	}
	if got := len(whole(t, path, 1)); got != 7*3<<20 {
		t.Errorf("%d bytes are left", got)
	}
}

// packing says whether a closed capture still compresses.
func (c *Capture) packing(ctx context.Context) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.packer.running && ctx.Err() == nil
}

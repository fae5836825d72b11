package logs

import (
	"bytes"
	"strings"
	"testing"
)

// FuzzCut plays a writer: input in chunks, files cut by cut. Whatever comes,
// the files' concatenation is the input, no file is empty or larger than twice
// the limit, and a file ends within a line only if that line was too long.
func FuzzCut(f *testing.F) {
	f.Add([]byte("one\ntwo\nthree\nfour\n"), []byte{3, 1, 7}, uint8(8))
	f.Add([]byte("a line that is longer than two files may be\nb\n"), []byte{200}, uint8(5))
	f.Add([]byte("\n\n\n\n\n\n\n"), []byte{2}, uint8(1))
	f.Add([]byte(strings.Repeat("stamped\n", 9)), []byte{30, 1}, uint8(20))
	f.Add([]byte("no limit\n"), []byte{1}, uint8(0))
	f.Fuzz(func(t *testing.T, in, chunks []byte, limit uint8) {
		var old [][]byte
		var cur []byte // the file as the reader sees it
		for i, rest := 0, in; len(rest) > 0; i++ {
			n := len(rest)
			if len(chunks) > 0 {
				n = min(n, 1+int(chunks[i%len(chunks)]))
			}
			for p := rest[:n]; len(p) > 0; {
				mid := len(cur) > 0 && cur[len(cur)-1] != '\n'
				k, rotate := cut(p, int64(len(cur)), int64(limit), mid)
				if rotate {
					if len(cur) == 0 || limit == 0 || k != 0 {
						t.Fatalf("rotation of a file of %d bytes, limit %d, with %d bytes", len(cur), limit, k)
					}
					if mid && len(cur) < 2*int(limit) {
						t.Fatalf("torn at %d bytes, limit %d: %q", len(cur), limit, cur)
					}
					old = append(old, cur)
					cur = nil
					continue
				}
				if k < 1 || k > len(p) {
					t.Fatalf("%d of %d bytes", k, len(p))
				}
				cur = append(cur, p[:k]...)
				p = p[k:]
			}
			rest = rest[n:]
		}
		if got := append(bytes.Join(old, nil), cur...); !bytes.Equal(got, in) {
			t.Fatalf("%q became %q", in, got)
		}
		for _, file := range append(old, cur) {
			if limit > 0 && len(file) > 2*int(limit) {
				t.Errorf("%d bytes in a file, limit %d: %q", len(file), limit, file)
			}
		}
	})
}

package conf

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// manyPrograms returns a TOML file of n small programs, like those of a real
// project; mark makes one of them differ.
func manyPrograms(n int, mark string) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "[program%d]\ncommand = \"exec ./worker --queue %d\"\nstop_timeout = \"30s\"\n", i, i)
		if i%2 == 0 {
			fmt.Fprintf(&b, "env = { APP_ENV = \"production\", N = %d }\n", i)
		}
		if i == n/2 {
			fmt.Fprintf(&b, "# %s\ninstances = %d\n", mark, len(mark))
		}
		b.WriteByte('\n')
	}
	return b.String()
}

func BenchmarkLoad(b *testing.B) {
	path := filepath.Join(b.TempDir(), "tend.toml")
	texts := [2]string{manyPrograms(1000, "a"), manyPrograms(1000, "bb")}
	write := func(b *testing.B, i int) {
		if err := os.WriteFile(path, []byte(texts[i%2]), 0o600); err != nil {
			b.Fatal(err)
		}
	}
	o := Options{Path: path, Environ: os.Environ()}
	b.Run("first", func(b *testing.B) {
		write(b, 0)
		b.ReportAllocs()
		for b.Loop() {
			if !Load(o).OK() {
				b.Fatal("not OK")
			}
		}
	})
	b.Run("same", func(b *testing.B) {
		write(b, 0)
		var l Loader
		l.Load(o)
		b.ReportAllocs()
		for b.Loop() {
			if !l.Load(o).OK() {
				b.Fatal("not OK")
			}
		}
	})
	b.Run("one changed", func(b *testing.B) {
		var l Loader
		write(b, 0)
		l.Load(o)
		b.ReportAllocs()
		i := 0
		for b.Loop() {
			b.StopTimer()
			i++
			write(b, i)
			b.StartTimer()
			if !l.Load(o).OK() {
				b.Fatal("not OK")
			}
		}
	})
}

package ledger

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

func open(t testing.TB, path string) (*Ledger, map[string][]byte, string) {
	t.Helper()
	l, values, notice, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	return l, values, notice
}

func equal(a, b map[string][]byte) bool { return maps.EqualFunc(a, b, bytes.Equal) }

// TestEveryCut: wherever the file ends, what is read is what some commit left,
// the latest that is whole; a cut elsewhere than between two is told of, and
// what was cut is kept.
func TestEveryCut(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ledger")
	l, values, notice := open(t, path)
	if len(values) > 0 || notice != "" {
		t.Fatalf("a new one has %v, %q", values, notice)
	}
	model := make(map[string][]byte)
	after := map[int64]map[string][]byte{0: {}, int64(len(magic)): {}} // by size
	for i := range 40 {
		for j := range i % 4 {
			key, value := fmt.Sprint("key", (i+j)%7), bytes.Repeat([]byte{byte(i), 0, '\n'}, i*j)
			if i%5 == 4 {
				l.Delete(key)
				delete(model, key)
			} else {
				l.Put(key, value)
				model[key] = value
			}
		}
		if err := l.Commit(); err != nil {
			t.Fatal(err)
		}
		after[l.size] = maps.Clone(model)
	}
	l.Put("never", []byte("committed"))
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string][]byte{}
	for cut := range len(data) + 1 {
		whole := after[int64(cut)]
		if whole != nil {
			want = whole
		}
		if err := os.WriteFile(path, data[:cut], 0o600); err != nil {
			t.Fatal(err)
		}
		l, got, notice := open(t, path)
		if !equal(got, want) {
			t.Fatalf("cut to %d: %v, want %v", cut, got, want)
		}
		if (notice == "") != (whole != nil) {
			t.Fatalf("cut to %d: notice %q", cut, notice)
		}
		if aside, _ := os.ReadFile(path + ".set-aside"); notice != "" && !bytes.Equal(aside, data[:cut]) {
			t.Fatalf("cut to %d: set aside is %q", cut, aside)
		}
		// And it goes on from there.
		l.Put("more", []byte("x"))
		if err := errors.Join(l.Commit(), l.Close()); err != nil {
			t.Fatal(err)
		}
		l, got, notice = open(t, path)
		l.Close()
		if notice != "" || string(got["more"]) != "x" || len(got) != len(want)+1 {
			t.Fatalf("cut to %d, and then more: %v, %q", cut, got, notice)
		}
	}
}

// TestModel: whatever is put, deleted, committed and opened again, the ledger
// holds what a map would, also while it is written anew.
func TestModel(t *testing.T) {
	dir := t.TempDir()
	n := 0
	rapid.Check(t, func(t *rapid.T) {
		n++
		path := filepath.Join(dir, fmt.Sprint(n))
		l, _, _, err := Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { l.Close() }()
		model, committed := map[string][]byte{}, map[string][]byte{}
		size := rapid.SampledFrom([]int{1, 100, 300_000}).Draw(t, "size")
		for range rapid.IntRange(0, 30).Draw(t, "steps") {
			key := rapid.SampledFrom([]string{"", "a", "b", "c\x00"}).Draw(t, "key")
			value := bytes.Repeat(rapid.SliceOfN(rapid.Byte(), 0, 3).Draw(t, "value"), size)
			switch rapid.IntRange(0, 6).Draw(t, "do") {
			case 0, 1, 2:
				l.Put(key, value)
				model[key] = value
			case 3:
				l.Delete(key)
				delete(model, key)
			case 4:
				if err := l.Commit(); err != nil {
					t.Fatal(err)
				}
				committed = maps.Clone(model)
			case 5: // passes by what is put and not committed
				if err := l.PutNow("now", value); err != nil {
					t.Fatal(err)
				}
				model["now"], committed["now"] = value, value
			case 6:
				l.Sync()
				if err := l.Close(); err != nil {
					t.Fatal(err)
				}
				again, values, notice, err := Open(path)
				if err != nil || notice != "" || !equal(values, committed) {
					t.Fatalf("%d values, want %d; %q, %v", len(values), len(committed), notice, err)
				}
				l, model = again, maps.Clone(committed)
			}
		}
	})
}

// TestRewrite: a file in which one thing is said again and again stays small.
func TestRewrite(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ledger")
	l, _, _ := open(t, path)
	l.Put("kept", []byte("all along"))
	value := bytes.Repeat([]byte("x"), 10_000)
	for i := range 2000 {
		l.Put("again", value)
		l.Put(fmt.Sprint("n", i%3), fmt.Append(nil, i))
		if err := l.Commit(); err != nil {
			t.Fatal(err)
		}
	}
	l.background.Wait()
	if l.size > 5*slack {
		t.Errorf("the file has %d bytes", l.size)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	l, values, notice := open(t, path)
	defer l.Close()
	if notice != "" || len(values) != 5 || string(values["n1"]) != "1999" || string(values["kept"]) != "all along" {
		t.Errorf("%q, %d values, n1 is %q", notice, len(values), values["n1"])
	}
}

func TestForeign(t *testing.T) {
	for _, text := range []string{"pid 12\n", strings.Replace(magic, "1", "2", 1) + "whatever", "tend"} {
		path := filepath.Join(t.TempDir(), "ledger")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		l, values, notice := open(t, path)
		aside, _ := os.ReadFile(path + ".set-aside")
		if len(values) > 0 || !strings.Contains(notice, path+".set-aside") || string(aside) != text {
			t.Errorf("%q: %v, %q, set aside %q", text, values, notice, aside)
		}
		l.Put("a", nil)
		if err := errors.Join(l.Commit(), l.Close()); err != nil {
			t.Error(err)
		}
		l, values, notice = open(t, path)
		if _, ok := values["a"]; !ok || notice != "" {
			t.Errorf("%q: after that %v, %q", text, values, notice)
		}
		if err := l.Remove(); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("after Remove: %v", err)
		}
	}
}

// TestFullDisk: what can't be written is written when there is room again, and
// what was written before is never spoilt.
func TestFullDisk(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("mounts a small file system, which root may")
	}
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=64k"); err != nil {
		t.Skipf("cannot mount a tmpfs: %v", err)
	}
	defer unix.Unmount(dir, unix.MNT_DETACH)
	path := filepath.Join(dir, "ledger")
	l, _, _ := open(t, path)
	l.Put("first", []byte("1"))
	if err := l.Commit(); err != nil {
		t.Fatal(err)
	}
	filler := filepath.Join(dir, "filler")
	if err := os.WriteFile(filler, make([]byte, 56<<10), 0o600); err != nil {
		t.Fatal(err)
	}
	l.Put("large", make([]byte, 20<<10))
	if err := l.Commit(); !errors.Is(err, unix.ENOSPC) {
		t.Fatalf("a commit on a full disk: %v", err)
	}
	if data, _ := os.ReadFile(path); len(data) > 0 {
		if values, _, _ := replay(data); string(values["first"]) != "1" {
			t.Errorf("on the full disk: %v", values)
		}
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	l.Put("last", []byte("2"))
	if err := errors.Join(l.Commit(), l.Close()); err != nil {
		t.Fatal(err)
	}
	l, values, notice := open(t, path)
	l.Close()
	if notice != "" || len(values) != 3 || len(values["large"]) != 20<<10 {
		t.Errorf("%d values, %q", len(values), notice)
	}
}

// TestConcurrent is for the race detector.
func TestConcurrent(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ledger")
	l, _, _ := open(t, path)
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := range 300 {
				if err := l.PutNow(fmt.Sprint(g), bytes.Repeat([]byte{byte(i)}, 5000)); err != nil {
					t.Error(err)
				}
				l.Sync()
			}
		})
	}
	wg.Wait()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := l.PutNow("late", nil); err == nil {
		t.Error("a closed ledger takes more")
	}
	l, values, notice := open(t, path)
	l.Close()
	if notice != "" || len(values) != 4 || values["3"][0] != byte(299%256) {
		t.Errorf("%d values, %q", len(values), notice)
	}
}

// FuzzReplay: no bytes make a panic, and what is whole is read again as the same.
func FuzzReplay(f *testing.F) {
	frame := func(body string) string {
		b := binary.LittleEndian.AppendUint32(nil, uint32(len(body)))
		b = binary.LittleEndian.AppendUint32(b, crc32.Checksum([]byte(body), checksums))
		return string(b) + body
	}
	f.Add([]byte(magic))
	f.Add([]byte(magic + frame("p\x01a\x01b")))
	f.Add([]byte(magic + frame("p\x01a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01b")))
	f.Add([]byte(magic + frame("d\x01a")[:9]))
	f.Add([]byte(magic + "\xff\xff\xff\xff\x00\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, data []byte) {
		values, whole, why := replay(data)
		if whole > len(data) || (why == "") != (whole == len(data)) {
			t.Fatalf("%d of %d bytes are whole, %q", whole, len(data), why)
		}
		again, n, why := replay(data[:whole])
		if n != whole || why != "" || !equal(values, again) {
			t.Fatalf("read again: %d of %d, %q", n, whole, why)
		}
	})
}

func BenchmarkCommit(b *testing.B) {
	l, _, _ := open(b, filepath.Join(b.TempDir(), "ledger"))
	defer l.Close()
	value := bytes.Repeat([]byte("x"), 400)
	for i := 0; b.Loop(); i++ {
		l.Put(fmt.Sprint("instance/", i%1000), value)
		if err := l.Commit(); err != nil {
			b.Fatal(err)
		}
	}
}

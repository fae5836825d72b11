package history

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"
)

// notices collects what a store says.
type notices struct {
	mu   sync.Mutex
	list []string
}

func (n *notices) say(text string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.list = append(n.list, text)
}

func (n *notices) take() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	list := n.list
	n.list = nil
	return list
}

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// entry is the end of a generation of a program, a second after the one before.
func entry(program string, gen int) Entry {
	return Entry{Key: Key{Subject{program, 0}, "a1", uint64(gen), 0}, Name: program, At: noon.Add(time.Duration(gen) * time.Second),
		Data: fmt.Appendf(nil, `{"gen":%d}`, gen)}
}

func all(Subject, string) bool { return true }

// gens returns what a store knows of each program: its generations in order.
func gens(t *testing.T, s *Store, limit int) map[string][]int {
	t.Helper()
	list, err := s.Read(all, time.Time{}, limit)
	if err != nil {
		t.Fatal(err)
	}
	got := make(map[string][]int)
	for _, e := range list {
		got[e.Program] = append(got[e.Program], int(e.Gen))
	}
	return got
}

func same(t *testing.T, got map[string][]int, program string, from, to int) {
	t.Helper()
	var want []int
	for n := from; n <= to; n++ {
		want = append(want, n)
	}
	if !slices.Equal(got[program], want) {
		t.Errorf("%s has %v, not %d to %d", program, got[program], from, to)
	}
}

func TestKeptOverLives(t *testing.T) {
	path := filepath.Join(t.TempDir(), "history")
	var said notices
	s := Open(path, said.say)
	odd := Entry{Key: Key{Subject{"größe \"x\"", 3}, "a1", 7, -4}, Name: "größe \"x\":3", At: noon.Add(time.Second / 2), Skipped: 4, Data: []byte(`{"a":"b c"}`)}
	s.Add(entry("web", 1))
	s.Add(odd)
	same(t, gens(t, s, Kept), "web", 1, 1) // before it is written
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = Open(path, said.say)
	defer s.Close()
	s.Fill(func() []Entry { return []Entry{entry("web", 1), entry("web", 2)} }) // of which one is there
	s.work.Wait()
	s.Add(entry("web", 2)) // the daemon has died before it knew that it is there
	s.Add(entry("web", 3))
	if err := s.Flush(); err != nil {
		t.Fatal(err)
	}
	got := gens(t, s, Kept)
	same(t, got, "web", 1, 3)
	same(t, gens(t, s, 2), "web", 2, 3)
	list, err := s.Read(func(o Subject, name string) bool { return o.Index == 3 && name == odd.Name }, time.Time{}, 1)
	if err != nil || len(list) != 1 || list[0].Key != odd.Key || !list[0].At.Equal(odd.At) || list[0].Skipped != 4 || !bytes.Equal(list[0].Data, odd.Data) {
		t.Errorf("got %+v, %v", list, err)
	}
	if list, err := s.Read(all, noon.Add(3*time.Second), Kept); err != nil || len(list) != 1 || list[0].Gen != 3 {
		t.Errorf("since: got %+v, %v", list, err)
	}
	if lost := said.take(); lost != nil {
		t.Errorf("said %q", lost)
	}
}

// What more is known of an entry takes its place, be that written or not.
func TestMore(t *testing.T) {
	path := filepath.Join(t.TempDir(), "history")
	l := bounds
	l.large = 500
	s := open(path, func(string) {}, l)
	defer s.Close()
	more := func(gen int, written bool) {
		e := entry("web", gen)
		s.Add(e)
		if written {
			if err := s.Flush(); err != nil {
				t.Fatal(err)
			}
		}
		e.Data = []byte("more")
		s.Add(e)
	}
	check := func() {
		t.Helper()
		list, err := s.Read(all, time.Time{}, Kept)
		if err != nil || len(list) != 20 {
			t.Fatalf("%d entries, %v", len(list), err)
		}
		for i, e := range list {
			if e.Gen != uint64(i+1) || string(e.Data) != "more" {
				t.Errorf("entry %d is %d: %s", i, e.Gen, e.Data)
			}
		}
	}
	for gen := 1; gen <= 20; gen++ {
		more(gen, gen%2 == 0)
	}
	check()
	if err := s.Flush(); err != nil {
		t.Fatal(err)
	}
	check() // in a file that was written anew meanwhile
	if n := strings.Count(string(must(os.ReadFile(path))), "\n"); n > 30 {
		t.Errorf("%d lines are there", n)
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// A generation that was counted anew is another one.
func TestLives(t *testing.T) {
	s := Open(filepath.Join(t.TempDir(), "history"), func(string) {})
	defer s.Close()
	e := entry("web", 1)
	s.Add(e)
	e.Life = "b2"
	s.Add(e)
	e.Mark = 4711
	s.Add(e)
	if got := gens(t, s, Kept)["web"]; !slices.Equal(got, []int{1, 1, 1}) {
		t.Errorf("got %v", got)
	}
}

// One that never stops coming pushes nobody else out, and the file stays within
// its bound.
func TestBounded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "history")
	l := bounds
	l.large, l.rest, l.reserve = 20_000, 10_000, 1e9
	var said notices
	s := open(path, said.say, l)
	for gen := 1; gen <= 3; gen++ {
		s.Add(entry("web", gen))
	}
	for gen := 1; gen <= 10_000; gen++ {
		s.Add(entry("flapping", gen))
		if gen%100 == 0 {
			if err := s.Flush(); err != nil {
				t.Fatal(err)
			}
		}
	}
	check := func() {
		t.Helper()
		got := gens(t, s, Kept)
		same(t, got, "web", 1, 3)
		same(t, got, "flapping", 10_000-Kept+1, 10_000)
	}
	check()
	info, err := os.Stat(path)
	if err != nil || info.Size() > l.large+10_000 {
		t.Errorf("the file has %d bytes, %v", info.Size(), err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(path, said.say, l)
	defer s.Close()
	check()
	if lost := said.take(); lost != nil {
		t.Errorf("said %q", lost)
	}
	// Where one of each is too much, those stay that had one last.
	for n := range 1000 {
		s.Add(entry(fmt.Sprint("one-", n), 1))
	}
	if err := s.Flush(); err != nil {
		t.Fatal(err)
	}
	got := gens(t, s, Kept)
	if got["web"] != nil || got["one-0"] != nil || got["one-999"] == nil || len(got) < 50 {
		t.Errorf("%d subjects are left, of web %v", len(got), got["web"])
	}
	if info, err := os.Stat(path); err != nil || info.Size() > l.rest {
		t.Errorf("the file has %d bytes, %v", info.Size(), err)
	}
}

func TestForeign(t *testing.T) {
	path := filepath.Join(t.TempDir(), "history")
	const foreign = "tend history 2\nwhatever that means\n"
	if err := os.WriteFile(path, []byte(foreign), 0o600); err != nil {
		t.Fatal(err)
	}
	var said notices
	s := Open(path, said.say)
	defer s.Close()
	s.Add(entry("web", 1))
	same(t, gens(t, s, Kept), "web", 1, 1)
	if kept, err := os.ReadFile(path + ".set-aside"); err != nil || string(kept) != foreign {
		t.Errorf("set aside: %q, %v", kept, err)
	}
	if text := strings.Join(said.take(), "\n"); !strings.Contains(text, ".set-aside") {
		t.Errorf("said %q", text)
	}
}

func TestDamaged(t *testing.T) {
	path := filepath.Join(t.TempDir(), "history")
	file := []byte(magic)
	for gen := 1; gen <= 3; gen++ {
		e := entry("web", gen)
		file = appendLine(file, &e)
	}
	file = bytes.Replace(file, []byte(`"gen":2`), []byte(`"gen":5`), 1)
	long := append(bytes.Repeat([]byte("x"), 3*MaxData), '\n')
	e := entry("web", 4)
	file = appendLine(append(file, long...), &e)
	if err := os.WriteFile(path, file, 0o600); err != nil {
		t.Fatal(err)
	}
	var said notices
	s := Open(path, said.say)
	defer s.Close()
	if got := gens(t, s, Kept)["web"]; !slices.Equal(got, []int{1, 3, 4}) {
		t.Errorf("got %v", got)
	}
	if text := strings.Join(said.take(), "\n"); !strings.Contains(text, "2 of its lines are no entries") {
		t.Errorf("said %q", text)
	}
}

// FuzzTorn cuts a file anywhere and writes something over its end: what is whole
// before that counts, and what is added afterwards is there.
func FuzzTorn(f *testing.F) {
	f.Add(uint16(100), []byte{})
	f.Add(uint16(0), []byte("x"))
	f.Add(uint16(5), []byte("\n"))
	f.Add(uint16(200), []byte{0, 0, 0, '\n', 0})
	file, ends := []byte(magic), []int{len(magic)}
	for gen := 1; gen <= 10; gen++ {
		e := entry("web", gen)
		file = appendLine(file, &e)
		ends = append(ends, len(file))
	}
	f.Fuzz(func(t *testing.T, cut uint16, tail []byte) {
		n := min(int(cut), len(file))
		path := filepath.Join(t.TempDir(), "history")
		torn := append(slices.Clone(file[:n]), tail...)
		if err := os.WriteFile(path, torn, 0o600); err != nil {
			t.Fatal(err)
		}
		var said notices
		s := Open(path, said.say)
		defer s.Close()
		whole := 0 // generations
		for whole < 10 && ends[whole+1] <= len(torn) && bytes.Equal(torn[:ends[whole+1]], file[:ends[whole+1]]) {
			whole++
		}
		s.Add(entry("web", 99))
		if err := s.Flush(); err != nil {
			t.Fatal(err)
		}
		got := gens(t, s, Kept)["web"]
		if len(got) == 0 || got[len(got)-1] != 99 {
			t.Fatalf("what was added isn't there: %v", got)
		}
		foreign := len(torn) > 0 && !bytes.HasPrefix(torn, []byte(magic)[:min(len(torn), len(magic))])
		for gen := 1; gen <= whole && !foreign; gen++ {
			if !slices.Contains(got, gen) {
				t.Fatalf("%d of %d whole ones is gone: %v", gen, whole, got)
			}
		}
		if whole < len(torn) && !bytes.Equal(torn, file[:ends[whole]]) && len(torn) > 0 && said.take() == nil {
			t.Fatalf("said nothing of %q", torn[min(len(torn), ends[whole]):])
		}
	})
}

// A storm is written no faster than the rate, takes no more memory than the
// bound, and the latest of each that fits is there in the end.
func TestStorm(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		l := bounds
		l.rate, l.reserve, l.wait = 1000, 10_000, 100_000
		var said notices
		s := open(filepath.Join(dir, "history"), said.say, l)
		began := time.Now()
		gen := 0
		for range 600 { // ten minutes
			gen++
			for n := range 50 {
				s.Add(entry(fmt.Sprint("p", n), gen))
			}
			<-time.After(time.Second) // of the test's clock, which takes none
			s.mu.Lock()
			waiting := s.waiting
			s.mu.Unlock()
			if waiting > l.wait {
				t.Fatalf("%d bytes wait", waiting)
			}
		}
		s.file.Lock()
		written, most := float64(s.size), l.reserve+l.rate*time.Since(began).Seconds()+1000
		s.file.Unlock()
		if written > most || written < most/2 {
			t.Errorf("%.0f bytes were written, of %.0f that may be", written, most)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if text := strings.Join(said.take(), "\n"); strings.Count(text, "faster") != 1 {
			t.Errorf("said %q", text)
		}
		s = open(filepath.Join(dir, "history"), said.say, l)
		defer s.Close()
		list, err := s.Read(all, time.Time{}, Kept)
		if err != nil {
			t.Fatal(err)
		}
		latest, known := make(map[string]int), make(map[string]int)
		for _, e := range list {
			latest[e.Program] = max(latest[e.Program], int(e.Gen))
			known[e.Program] += e.Skipped + 1
		}
		for n := range 50 {
			if p := fmt.Sprint("p", n); latest[p] != gen {
				t.Errorf("the latest of %s is %d, of %d", p, latest[p], gen)
			}
		}
		// Of the last ones that are written, some of each that weren't are known.
		if known["p49"] <= 2*Kept {
			t.Errorf("of p49 %d are accounted for, of %d", known["p49"], gen)
		}
	})
}

// TestDiskFull fills the disk: what ends then is kept in memory, and written when
// there is room.
func TestDiskFull(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can mount a small disk")
	}
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=64k"); err != nil {
		t.Skipf("cannot mount a small disk: %v", err)
	}
	defer unix.Unmount(dir, unix.MNT_DETACH)
	var said notices
	s := Open(filepath.Join(dir, "history"), said.say)
	defer s.Close()
	s.Add(entry("web", 1))
	if err := s.Flush(); err != nil {
		t.Fatal(err)
	}
	filler := filepath.Join(dir, "filler")
	if err := os.WriteFile(filler, make([]byte, 1<<20), 0o600); err == nil {
		t.Fatal("the disk is not full")
	}
	for gen := 2; gen <= 200; gen++ {
		s.Add(entry("web", gen))
	}
	if err := s.Flush(); err == nil {
		t.Fatal("written to a full disk")
	}
	same(t, gens(t, s, Kept), "web", 200-Kept+1, 200)
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	if err := s.Flush(); err != nil {
		t.Fatal(err)
	}
	same(t, gens(t, s, Kept), "web", 200-Kept+1, 200)
	if text := strings.Join(said.take(), "\n"); !strings.Contains(text, "no space left") || !strings.Contains(text, "written again") {
		t.Errorf("said %q", text)
	}
}

// BenchmarkAdd is what an end costs who tells of it, in a storm of ten thousand
// programs, and what the store holds then.
func BenchmarkAdd(b *testing.B) {
	s := Open(filepath.Join(b.TempDir(), "history"), func(string) {})
	defer s.Close()
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	data := []byte(`{"pid":12345,"started":"2026-03-01T12:00:00Z","reason":"exit 1","lines":["error: cannot connect to the database"]}`)
	n := 0
	for b.Loop() {
		n++
		e := entry(fmt.Sprint("program-", n%10_000), n)
		e.Data = data
		s.Add(e)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	b.ReportMetric(float64(after.HeapAlloc)-float64(before.HeapAlloc), "held-B")
}

// BenchmarkRead is what a look costs at a file at its bound.
func BenchmarkRead(b *testing.B) {
	s := Open(filepath.Join(b.TempDir(), "history"), func(string) {})
	defer s.Close()
	for n := 0; s.size < 7<<20; n++ {
		e := entry(fmt.Sprint("program-", n%1000), n)
		e.Data = bytes.Repeat([]byte("x"), 300)
		s.Add(e)
		if n%1000 == 0 {
			s.Flush()
		}
	}
	for b.Loop() {
		list, err := s.Read(func(o Subject, _ string) bool { return o.Program == "program-7" }, time.Time{}, 10)
		if err != nil || len(list) != 10 {
			b.Fatal(len(list), err)
		}
	}
}

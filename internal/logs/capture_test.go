package logs

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestRaw(t *testing.T) {
	c, _ := open(t, Config{})
	path := filepath.Join(t.TempDir(), "a/b/web.log") // the folders are made
	s, w := pipe(t, c, Options{Path: path})
	want := lines(0, 50_000)
	write(t, w, want)
	drained(t, s)
	same(t, "file", whole(t, path, 0), want)
	if st := c.Stats(); st.Moved != int64(len(want)) || st.Dropped != 0 || st.Streams != 1 || st.OpenFiles != 1 {
		t.Errorf("stats: %+v", st)
	}
}

// TestCombinations writes numbered lines in pieces of any size while the log is
// rotated, opened again, configured and followed; the exact sequence must be in
// the files and with the follower.
func TestCombinations(t *testing.T) {
	for seed := range uint64(24) {
		t.Run(fmt.Sprint("seed", seed), func(t *testing.T) {
			t.Parallel()
			rng := rand.New(rand.NewPCG(seed, 1))
			c, seen := open(t, Config{MaxOpenFiles: 1})
			path := logPath(t)
			const keep = 1000 // all, to compare
			o := Options{Path: path, Keep: keep, MaxSize: []int64{0, 1000, 5000, 70_000}[seed%4]}
			s, w := pipe(t, c, o)
			follower := follow(t, path, keep, Position{})
			want := lines(0, 4000+rng.IntN(20_000))
			for rest := want; rest != ""; {
				n := min(len(rest), 1+rng.IntN([]int{20, 3000, 200_000}[rng.IntN(3)]))
				write(t, w, rest[:n])
				rest = rest[n:]
				switch rng.IntN(8) {
				case 0:
					if err := c.Reopen(); err != nil {
						t.Fatal(err)
					}
				case 1:
					drained(t, s)
				case 2:
					o.MaxSize = []int64{0, 900, 40_000}[rng.IntN(3)]
					if err := s.Configure(o); err != nil {
						t.Fatal(err)
					}
				case 3: // another program has the place of the one open file
					other, ow := pipe(t, c, Options{Path: path + ".other"})
					write(t, ow, "hello\n")
					drained(t, other)
					if err := other.Close(); err != nil {
						t.Fatal(err)
					}
				case 4: // the program is started again
					w.Close()
					w = writer(t, s)
				}
			}
			drained(t, s)
			same(t, "files", whole(t, path, keep), want)
			same(t, "follower", follower.wait(t, len(want)), want)
			if n := seen.list(); len(n) != 0 {
				t.Errorf("notices: %+v", n)
			}
		})
	}
}

func TestRotationBounds(t *testing.T) {
	c, _ := open(t, Config{})
	path := logPath(t)
	const limit, keep = 1000, 3
	s, w := pipe(t, c, Options{Path: path, MaxSize: limit, Keep: keep})
	want := lines(0, 1000)
	write(t, w, want)
	drained(t, s)
	got := whole(t, path, keep)
	if !strings.HasSuffix(want, got) || len(got) < keep*(limit-20) {
		t.Fatalf("the files aren't the end of the output: %q", got)
	}
	for n := range keep + 1 {
		p, err := os.ReadFile(rotated(path, n))
		if err != nil {
			t.Fatal(err)
		}
		if len(p) == 0 || len(p) > limit || p[len(p)-1] != '\n' || !strings.HasPrefix(string(p), "line ") {
			t.Errorf("%s: %d bytes, or cut within a line: %.30q", rotated(path, n), len(p), p)
		}
	}
	if _, err := os.Stat(rotated(path, keep+1)); !os.IsNotExist(err) {
		t.Errorf("a file more than keep: %v", err)
	}
	// Fewer are kept from now on.
	if err := s.Configure(Options{Path: path, MaxSize: limit, Keep: 1}); err != nil {
		t.Fatal(err)
	}
	write(t, w, lines(1000, 1200))
	drained(t, s)
	for n := 2; n <= keep; n++ {
		if _, err := os.Stat(rotated(path, n)); !os.IsNotExist(err) {
			t.Errorf("%s is still there: %v", rotated(path, n), err)
		}
	}
}

func TestKeepNone(t *testing.T) {
	c, _ := open(t, Config{})
	path := logPath(t)
	s, w := pipe(t, c, Options{Path: path, MaxSize: 1000})
	want := lines(0, 500)
	write(t, w, want)
	drained(t, s)
	got := whole(t, path, 5)
	if !strings.HasSuffix(want, got) || len(got) == 0 || len(got) > 1000 {
		t.Errorf("%d bytes: %q", len(got), got)
	}
}

// TestEndlessLine: output without line ends is bounded all the same.
func TestEndlessLine(t *testing.T) {
	c, _ := open(t, Config{})
	path := logPath(t)
	const limit, keep = 100_000, 1000
	s, w := pipe(t, c, Options{Path: path, MaxSize: limit, Keep: keep})
	want := strings.Repeat("0123456789abcdef", 250_000) + "\nnext\n"
	write(t, w, want)
	drained(t, s)
	same(t, "files", whole(t, path, keep), want)
	for n := 0; ; n++ {
		st, err := os.Stat(rotated(path, n))
		if err != nil {
			if n < 20 {
				t.Errorf("%d files only", n)
			}
			break
		}
		if st.Size() > 2*limit {
			t.Errorf("%s: %d bytes", st.Name(), st.Size())
		}
	}
}

func TestTimestamp(t *testing.T) {
	for _, limit := range []int64{0, 1000} {
		c, _ := open(t, Config{})
		path := logPath(t)
		s, w := pipe(t, c, Options{Path: path, MaxSize: limit, Keep: 1000, Recipe: &Recipe{Timestamp: true}})
		want := lines(0, 3000)
		for rest := want; rest != ""; {
			n := min(len(rest), 777) // lines come in pieces
			write(t, w, rest[:n])
			rest = rest[n:]
			drained(t, s)
		}
		stamp := regexp.MustCompile(`(?m)^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}(Z|[+-]\d\d:\d\d) line `)
		got := whole(t, path, 1000)
		if n := len(stamp.FindAllString(got, -1)); n != 3000 {
			t.Errorf("%d stamps", n)
		}
		same(t, "lines", stamp.ReplaceAllString(got, "line "), want)
	}
}

// TestCopyWhereSpliceIsRefused: the other road gives the same files.
func TestCopyWhereSpliceIsRefused(t *testing.T) {
	c, _ := open(t, Config{})
	path := logPath(t)
	s, w := pipe(t, c, Options{Path: path, MaxSize: 10_000, Keep: 2000})
	f := c.files.acquire(path)
	if err := f.open(c.files); err != nil {
		t.Fatal(err)
	}
	f.noSplice = true
	c.files.release(f)
	want := lines(0, 20_000)
	write(t, w, want)
	drained(t, s)
	same(t, "files", whole(t, path, 1000), want)
}

func TestTruncatedOutside(t *testing.T) {
	c, _ := open(t, Config{})
	path := logPath(t)
	s, w := pipe(t, c, Options{Path: path})
	write(t, w, lines(0, 1000))
	drained(t, s)
	f := follow(t, path, 0, Position{})
	f.wait(t, len(lines(0, 1000)))
	if err := os.Truncate(path, 0); err != nil { // logrotate's copytruncate
		t.Fatal(err)
	}
	write(t, w, lines(1000, 1010))
	drained(t, s)
	same(t, "file", whole(t, path, 0), lines(1000, 1010)) // and no hole
	same(t, "follower", f.wait(t, len(lines(0, 1010))), lines(0, 1010))
}

func TestRenamedOutside(t *testing.T) {
	c, _ := open(t, Config{})
	path := logPath(t)
	s, w := pipe(t, c, Options{Path: path})
	f := follow(t, path, 1, Position{})
	write(t, w, lines(0, 100))
	f.wait(t, len(lines(0, 100)))
	old := path + "-20260101"
	if err := os.Rename(path, old); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, nil, 0o600); err != nil { // logrotate's "create"
		t.Fatal(err)
	}
	write(t, w, lines(100, 200)) // it was told of nothing yet
	drained(t, s)
	if err := c.Reopen(); err != nil {
		t.Fatal(err)
	}
	write(t, w, lines(200, 300))
	drained(t, s)
	same(t, "old", whole(t, old, 0), lines(0, 200))
	same(t, "new", whole(t, path, 0), lines(200, 300))
	same(t, "follower", f.wait(t, len(lines(0, 300))), lines(0, 300))
}

func TestRemovedOutside(t *testing.T) {
	c, _ := open(t, Config{})
	path := filepath.Join(t.TempDir(), "logs/web.log")
	s, w := pipe(t, c, Options{Path: path})
	write(t, w, lines(0, 10))
	drained(t, s)
	if err := os.RemoveAll(filepath.Dir(path)); err != nil {
		t.Fatal(err)
	}
	write(t, w, lines(10, 20))
	drained(t, s)
	same(t, "file", whole(t, path, 0), lines(10, 20))
}

func TestRotationKeepsMode(t *testing.T) {
	c, _ := open(t, Config{})
	path := logPath(t)
	if err := os.WriteFile(path, []byte("old\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o604); err != nil {
		t.Fatal(err)
	}
	s, w := pipe(t, c, Options{Path: path, MaxSize: 6, Keep: 1})
	write(t, w, "fresh\n")
	drained(t, s)
	st, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if st.Mode() != 0o604 || whole(t, path, 0) != "fresh\n" {
		t.Errorf("mode %v, %q", st.Mode(), whole(t, path, 0))
	}
}

// tmpfs mounts a file system of that many bytes.
func tmpfs(t *testing.T, bytes int) string {
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%d", bytes)); err != nil {
		t.Skipf("cannot mount a tmpfs (needs root): %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

func TestDiskFull(t *testing.T) {
	for _, o := range []Options{{}, {MaxSize: 70_000, Keep: 1000}, {Recipe: &Recipe{Timestamp: true}}} {
		t.Run(fmt.Sprintf("size %d stamp %v", o.MaxSize, o.Recipe != nil), func(t *testing.T) {
			dir := tmpfs(t, 1<<20)
			ballast := filepath.Join(dir, "ballast")
			if err := os.WriteFile(ballast, make([]byte, 700<<10), 0o600); err != nil {
				t.Fatal(err)
			}
			c, seen := open(t, Config{})
			path := filepath.Join(dir, "web.log")
			o.Path = path
			s, w := pipe(t, c, o)
			// Far more than there is room for; the program is not held up.
			n := 0
			for ; n < 400_000; n += 1000 {
				write(t, w, lines(n, n+1000))
			}
			bad := seen.next(t)
			if !errors.Is(bad.Err, unix.ENOSPC) || bad.Stream != "web" || bad.Path != path || bad.Dropped == 0 {
				t.Fatalf("notice: %+v", bad)
			}
			if err := tryDrain(s); !errors.Is(err, unix.ENOSPC) {
				t.Errorf("drain: %v", err)
			}
			if err := os.Remove(ballast); err != nil {
				t.Fatal(err)
			}
			if err := c.Reopen(); err != nil { // or in 100 ms by itself
				t.Fatal(err)
			}
			write(t, w, lines(n, n+100))
			if err := tryDrain(s); err != nil {
				t.Fatal(err)
			}
			// One notice a change: small pieces may have found room in between.
			all := seen.list()
			for i, x := range all {
				if (x.Err == nil) != (i%2 == 1) || x.Dropped == 0 {
					t.Errorf("notice %d: %+v", i, x)
				}
			}
			if len(all)%2 != 0 {
				t.Errorf("%d notices: %+v", len(all), all)
			}
			got := whole(t, path, 1000)
			if o.Recipe != nil {
				got = regexp.MustCompile(`(?m)^2\S* `).ReplaceAllString(got, "")
			}
			if o.Recipe == nil && int64(len(got)-1) > c.Stats().Moved-c.Stats().Dropped {
				t.Errorf("%d bytes in the files, moved %d, dropped %d", len(got), c.Stats().Moved, c.Stats().Dropped)
			}
			checkGap(t, got, n+99)
		})
	}
}

// checkGap checks that the lines rise to last with a gap, and that only a line
// before a gap may be cut short.
func checkGap(t *testing.T, got string, last int) {
	t.Helper()
	all := strings.Split(strings.TrimSuffix(got, "\n"), "\n")
	prev, gaps := -1, 0
	for i, l := range all {
		next := fmt.Sprint("line ", prev+1)
		if l == next {
			prev++
			continue
		}
		var n int
		_, err := fmt.Sscanf(l, "line %d", &n)
		if err == nil && n > prev {
			gaps++
			prev = n
			continue
		}
		if !strings.HasPrefix(next, l) || i == len(all)-1 || all[i+1] == fmt.Sprint("line ", prev+1) {
			t.Fatalf("line %d is %q after %d", i, l, prev)
		}
	}
	if gaps == 0 || prev != last {
		t.Errorf("%d gaps, last line %d, want %d", gaps, prev, last)
	}
}

func TestReadOnly(t *testing.T) {
	dir := tmpfs(t, 1<<20)
	c, seen := open(t, Config{})
	path := filepath.Join(dir, "web.log")
	if err := unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	s, w := pipe(t, c, Options{Path: path})
	write(t, w, lines(0, 30_000)) // more than a pipe holds
	if bad := seen.next(t); !errors.Is(bad.Err, unix.EROFS) {
		t.Fatalf("notice: %+v", bad)
	}
	if err := tryDrain(s); err != nil && !errors.Is(err, unix.EROFS) {
		t.Error(err)
	}
	if err := unix.Mount("", dir, "", unix.MS_REMOUNT, ""); err != nil {
		t.Fatal(err)
	}
	if err := c.Reopen(); err != nil {
		t.Fatal(err)
	}
	// A turn that was under way when the file became writable may still drop what
	// it finds: what is said then has to be said again.
	lost := int64(len(lines(0, 30_000)))
	for again := true; again; {
		write(t, w, "again\n")
		select {
		case good := <-seen.c:
			if again = false; good.Err != nil || good.Dropped < lost || (good.Dropped-lost)%6 != 0 {
				t.Errorf("notice: %+v", good)
			}
		case <-time.After(100 * time.Millisecond):
		}
	}
	drained(t, s)
	if got := whole(t, path, 0); got == "" || strings.ReplaceAll(got, "again\n", "") != "" {
		t.Errorf("the file is %q", got)
	}
}

// TestNoFolder needs no privilege: the folder's place is taken by a file.
func TestNoFolder(t *testing.T) {
	c, seen := open(t, Config{})
	dir := filepath.Join(t.TempDir(), "logs")
	if err := os.WriteFile(dir, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s, w := pipe(t, c, Options{Path: filepath.Join(dir, "web.log")})
	write(t, w, lines(0, 30_000)+"half a li")
	if bad := seen.next(t); !errors.Is(bad.Err, unix.ENOTDIR) {
		t.Fatalf("notice: %+v", bad)
	}
	if err := tryDrain(s); err != nil && !errors.Is(err, unix.ENOTDIR) {
		t.Error(err)
	}
	path := logPath(t)
	if err := s.Configure(Options{Path: path}); err != nil {
		t.Fatal(err)
	}
	write(t, w, "ne\nwhole\n") // the rest of a line whose head is lost is lost, too
	drained(t, s)
	same(t, "file", whole(t, path, 0), "whole\n")
}

// TestCannotRotate: a file that can't be renamed grows; no line is lost.
func TestCannotRotate(t *testing.T) {
	c, seen := open(t, Config{})
	path := logPath(t)
	if err := os.MkdirAll(path+".1/in the way", 0o700); err != nil {
		t.Fatal(err)
	}
	s, w := pipe(t, c, Options{Path: path, MaxSize: 100, Keep: 1})
	want := lines(0, 1000)
	write(t, w, want)
	if n := seen.next(t); n.Err == nil || n.Dropped != 0 {
		t.Errorf("notice: %+v", n)
	}
	drained(t, s)
	same(t, "file", whole(t, path, 0), want)
	if err := os.RemoveAll(path + ".1"); err != nil {
		t.Fatal(err)
	}
	if err := c.Reopen(); err != nil {
		t.Fatal(err)
	}
	write(t, w, "on\n")
	drained(t, s)
	same(t, "rotated", whole(t, path+".1", 0), want)
	same(t, "file", whole(t, path, 0), "on\n")
}

func TestInheritError(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	c, _ := open(t, Config{Stderr: w})
	w.Close()
	_, in := pipe(t, c, Options{Mode: InheritError})
	write(t, in, "to standard error\n")
	buf := make([]byte, 100)
	if n, err := r.Read(buf); string(buf[:n]) != "to standard error\n" {
		t.Errorf("%q, %v", buf[:n], err)
	}
}

func TestSharedFile(t *testing.T) {
	c, _ := open(t, Config{})
	path := logPath(t)
	s1, w1 := pipe(t, c, Options{Path: path, MaxSize: 50_000, Keep: 1000})
	s2, w2 := pipe(t, c, Options{Path: path, MaxSize: 50_000, Keep: 1000})
	done := make(chan bool)
	go func() {
		for range 20_000 {
			w2.WriteString("b\n")
		}
		close(done)
	}()
	for range 20_000 {
		write(t, w1, "a\n")
	}
	<-done
	drained(t, s1)
	drained(t, s2)
	got := whole(t, path, 1000)
	if a, b := strings.Count(got, "a\n"), strings.Count(got, "b\n"); a != 20_000 || b != 20_000 || len(got) != 80_000 {
		t.Errorf("%d and %d lines in %d bytes", a, b, len(got))
	}
}

func TestManyStreams(t *testing.T) {
	const streams = 2000
	var lim unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &lim); err != nil || lim.Cur < streams+200 {
		t.Skipf("needs %d descriptors, has %d", streams+200, lim.Cur)
	}
	c, _ := open(t, Config{MaxOpenFiles: 16})
	dir := t.TempDir()
	before, fds := heap(), descriptors(t)
	all := make([]*Stream, streams)
	for i := range all {
		var err error
		if all[i], err = c.Pipe("web", Options{Path: fmt.Sprintf("%s/%d.log", dir, i), UID: -1, GID: -1}); err != nil {
			t.Fatal(err)
		}
	}
	if per := float64(heap()-before) / streams; per > 300 {
		t.Errorf("%.0f bytes of heap a stream", per)
	}
	if n := descriptors(t) - fds; n != streams {
		t.Errorf("%d descriptors for %d streams", n, streams)
	}
	for round := range 3 {
		for i, s := range all {
			fd, err := s.Writer()
			if err != nil {
				t.Fatal(err)
			}
			if _, err := unix.Write(fd, fmt.Appendf(nil, "%d of %d\n", round, i)); err != nil {
				t.Fatal(err)
			}
			unix.Close(fd)
		}
	}
	for i, s := range all {
		drained(t, s)
		same(t, s.path, whole(t, s.path, 0), fmt.Sprintf("0 of %d\n1 of %[1]d\n2 of %[1]d\n", i))
		if n := c.Stats().OpenFiles; n > 16+fileWorkers {
			t.Fatalf("%d files open", n)
		}
	}
	for _, s := range all {
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if st := c.Stats(); st.Streams != 0 || st.OpenFiles != 0 {
		t.Errorf("stats: %+v", st)
	}
}

func heap() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func descriptors(t *testing.T) int {
	d, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(d)
}

// TestDaemonsComeAndGo: captures take over a pipe from one another while the
// program writes; every byte arrives, and the program sees no error.
func TestDaemonsComeAndGo(t *testing.T) {
	path := logPath(t)
	o := Options{Path: path, MaxSize: 20_000, Keep: 2000, UID: -1, GID: -1}
	first, _ := open(t, Config{})
	s, w := pipe(t, first, o)
	guard, err := s.Writer()
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(guard)
	const n = 100_000
	wrote := make(chan error, 1)
	go func() {
		for i := 0; i < n; i += 10 {
			if _, err := w.WriteString(lines(i, i+10)); err != nil {
				wrote <- err
				return
			}
		}
		wrote <- nil
	}()
	c := first
	for takeovers := 0; ; takeovers++ {
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
		c, _ = open(t, Config{})
		if s, err = c.Adopt("web", guard, o); err != nil {
			t.Fatal(err)
		}
		select {
		case err := <-wrote:
			if err != nil {
				t.Fatal(err)
			}
			drained(t, s)
			same(t, "files", whole(t, path, 2000), lines(0, n))
			t.Logf("%d takeovers", takeovers)
			return
		default:
		}
		drained(t, s)
	}
}

func TestWriterKilled(t *testing.T) {
	c, _ := open(t, Config{})
	path := logPath(t)
	s, w := pipe(t, c, Options{Path: path, MaxSize: 100_000, Keep: 2000})
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "LOGS_TEST_ROLE=flood")
	cmd.Stdout = w
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	f := follow(t, path, 2000, Position{})
	f.wait(t, 1<<20)
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	drained(t, s)
	got := whole(t, path, 2000)
	n := strings.Count(got, "\n")
	if !strings.HasPrefix(lines(n, n+1), got[strings.LastIndexByte(got, '\n')+1:]) {
		t.Errorf("the tail is %q", got[strings.LastIndexByte(got, '\n')+1:])
	}
	same(t, "files", got[:strings.LastIndexByte(got, '\n')+1], lines(0, n))
	same(t, "follower", f.wait(t, len(got)), got)
}

// TestPipeGrows: while a program writes densely its pipe is larger, and then no more.
func TestPipeGrows(t *testing.T) {
	c, _ := open(t, Config{})
	path := logPath(t)
	s, w := pipe(t, c, Options{Path: path})
	small := capacity(t, w)
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	_, err := unix.FcntlInt(uintptr(p[0]), unix.F_SETPIPE_SZ, bigPipe)
	unix.Close(p[0])
	unix.Close(p[1])
	if err != nil {
		t.Skip("this user has too many pipes already: ", err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "LOGS_TEST_ROLE=bulk")
	cmd.Args = append(cmd.Args[:1], "65536", "300000000")
	cmd.Stdout = w
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error)
	go func() { ended <- cmd.Wait() }()
	grew := false
	for running := true; running; {
		select {
		case err := <-ended:
			if err != nil {
				t.Fatal(err)
			}
			running = false
		case <-time.After(time.Millisecond):
			grew = grew || capacity(t, w) > small
		}
	}
	if !grew {
		t.Error("the pipe doesn't grow")
	}
	drained(t, s)
	for late := time.Now().Add(deadline); capacity(t, w) != small; { // the turn that finds it empty
		write(t, w, "lonely\n")
		drained(t, s)
		if time.Now().After(late) {
			t.Fatalf("the pipe keeps %d bytes", capacity(t, w))
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.big != 0 || s.big {
		t.Errorf("%d large pipes are counted", c.big)
	}
}

// TestFloodIsFlat: what a program writes doesn't stay in the daemon's memory.
func TestFloodIsFlat(t *testing.T) {
	for _, o := range []Options{{MaxSize: 4 << 20, Keep: 1}, {MaxSize: 4 << 20, Keep: 1, Recipe: &Recipe{Timestamp: true}}} {
		c, _ := open(t, Config{})
		o.Path = logPath(t)
		s, w := pipe(t, c, o)
		chunk := lines(0, 10_000)
		write(t, w, chunk)
		drained(t, s)
		before := heap()
		for range 300 {
			write(t, w, chunk)
		}
		drained(t, s)
		if after := heap(); after > before+1<<20 {
			t.Errorf("heap grew from %d to %d bytes", before, after)
		}
	}
}

// capacity returns how many bytes fit into a pipe.
func capacity(t *testing.T, f *os.File) int {
	t.Helper()
	n, err := unix.FcntlInt(f.Fd(), unix.F_GETPIPE_SZ, 0)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestInherit: a standard output that nobody reads holds up those that write
// to it, not the others.
func TestInherit(t *testing.T) {
	r, stdout, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer stdout.Close()
	c, _ := open(t, Config{Stdout: stdout})
	s, w := pipe(t, c, Options{Mode: Inherit})
	want := lines(0, 5000)
	go func() { w.WriteString(want) }()
	got := make([]byte, len(want))
	for n := 0; n < len(got); {
		m, err := r.Read(got[n:])
		if err != nil {
			t.Fatal(err)
		}
		n += m
	}
	same(t, "standard output", string(got), want)

	// So much that stdout is full and something is left in the pipe. Who has many
	// pipes gets small ones (pipe(7), pipe-user-pages-soft).
	amount := capacity(t, stdout) + capacity(t, w)/2
	write(t, w, strings.Repeat("x", amount))
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := s.Drain(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("drain: %v", err)
	}
	path := logPath(t)
	other, ow := pipe(t, c, Options{Path: path})
	write(t, ow, want)
	drained(t, other)
	same(t, "file", whole(t, path, 0), want)
	rest := make([]byte, amount)
	for n := 0; n < len(rest); {
		m, err := r.Read(rest[n:])
		if err != nil {
			t.Fatal(err)
		}
		n += m
	}
	drained(t, s)
}

func TestNone(t *testing.T) {
	c, seen := open(t, Config{})
	s, w := pipe(t, c, Options{Mode: None})
	write(t, w, lines(0, 50_000))
	drained(t, s)
	path := logPath(t)
	if err := s.Configure(Options{Path: path}); err != nil {
		t.Fatal(err)
	}
	write(t, w, "kept\n")
	drained(t, s)
	same(t, "file", whole(t, path, 0), "kept\n")
	if n := seen.list(); len(n) != 0 || c.Stats().Dropped != 0 {
		t.Errorf("notices %+v, stats %+v", n, c.Stats())
	}
}

// TestStuckFIFO: a named pipe as a log file, which nobody reads, doesn't hold
// the program up for ever.
func TestStuckFIFO(t *testing.T) {
	c, seen := open(t, Config{})
	path := logPath(t)
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	_, w := pipe(t, c, Options{Path: path, MaxSize: 1000, Keep: 1})
	write(t, w, lines(0, 50_000))
	if n := seen.next(t); !errors.Is(n.Err, unix.EAGAIN) {
		t.Errorf("notice: %+v", n)
	}
	if _, err := os.Stat(path + ".1"); !os.IsNotExist(err) {
		t.Errorf("a named pipe was rotated: %v", err)
	}
}

// TestIdle: who waits costs nothing.
func TestIdle(t *testing.T) {
	c, _ := open(t, Config{})
	path := logPath(t)
	s, w := pipe(t, c, Options{Path: path})
	f := follow(t, path, 1, Position{})
	write(t, w, "one\n")
	f.wait(t, 4)
	drained(t, s)
	before := cpu()
	time.AfterFunc(300*time.Millisecond, func() { w.WriteString("two\n") })
	f.wait(t, 8)
	if used := cpu() - before; used > 50*time.Millisecond {
		t.Errorf("%v of CPU in 300 ms", used)
	}
}

func cpu() time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func TestMisuse(t *testing.T) {
	c, _ := open(t, Config{})
	for _, o := range []Options{{Path: "web.log"}, {}, {Path: "/x", MaxSize: -1}, {Path: "/x", Keep: -1}, {Path: "/x", Mode: 9}} {
		if _, err := c.Pipe("web", o); err == nil {
			t.Errorf("%+v was taken", o)
		}
	}
	f, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := c.Adopt("web", int(f.Fd()), Options{Mode: None, UID: -1, GID: -1}); err == nil {
		t.Error("/dev/null was taken for a pipe")
	}
	s, _ := pipe(t, c, Options{Mode: None})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	_, err1 := s.Writer()
	_, err2 := c.Pipe("web", Options{Mode: None, UID: -1, GID: -1})
	for i, err := range []error{s.Close(), tryDrain(s), s.Configure(Options{Mode: None}), c.Reopen(), c.Close(), err1, err2} {
		if !errors.Is(err, ErrClosed) {
			t.Errorf("%d: %v", i, err)
		}
	}
}

func TestChown(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	c, _ := open(t, Config{})
	s, err := c.Pipe("web", Options{Mode: None, UID: 1234, GID: 5678})
	if err != nil {
		t.Fatal(err)
	}
	w := writer(t, s)
	var st unix.Stat_t
	if err := unix.Fstat(int(w.Fd()), &st); err != nil || st.Uid != 1234 || st.Gid != 5678 {
		t.Errorf("user %d, group %d, %v", st.Uid, st.Gid, err)
	}
}

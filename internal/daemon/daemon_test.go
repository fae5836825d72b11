package daemon

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"tend/internal/event"
	"tend/internal/logs"
	"tend/internal/proc"
	"tend/internal/spec"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is longer than anything that is waited for takes.
const patience = 20 * time.Second

// watched returns a watcher of paths in a fresh folder, and what its calls are
// counted in.
func watched(t *testing.T, names ...string) (dir string, calls chan struct{}, w *watcher) {
	t.Helper()
	dir = t.TempDir()
	calls = make(chan struct{}, 100)
	w, err := newWatcher(10*time.Millisecond, func() { calls <- struct{}{} })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.close)
	var paths []string
	for _, n := range names {
		paths = append(paths, filepath.Join(dir, n))
	}
	if err := w.follow(paths); err != nil {
		t.Fatal(err)
	}
	return dir, calls, w
}

func await(t *testing.T, calls <-chan struct{}, what string) {
	t.Helper()
	select {
	case <-calls:
	case <-time.After(patience):
		t.Fatalf("not called after %s", what)
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestWatcherSeesWaysOfChanging(t *testing.T) {
	dir, calls, _ := watched(t, "tend.toml")
	file := filepath.Join(dir, "tend.toml")
	write(t, file, "a")
	await(t, calls, "a write")
	write(t, file+".new", "b")
	if err := os.Rename(file+".new", file); err != nil {
		t.Fatal(err)
	}
	await(t, calls, "a rename over it")
	if err := os.Symlink("..v2", filepath.Join(dir, "..data")); err != nil {
		t.Fatal(err)
	}
	await(t, calls, "a swap of ..data")
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	await(t, calls, "its removal")
}

// A log beside the configuration must not wake anybody, and a file that is being
// written isn't taken before it is closed.
func TestWatcherLeavesOthersAlone(t *testing.T) {
	dir, calls, w := watched(t, "tend.toml")
	other, err := os.Create(filepath.Join(dir, "web.log"))
	if err != nil {
		t.Fatal(err)
	}
	other.WriteString("line\n")
	other.Close()
	half, err := os.OpenFile(filepath.Join(dir, "tend.toml"), os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	await(t, calls, "its creation")
	half.WriteString("[web]\n")
	// The watcher reads events in order: when it has told of another path,
	// nothing came of the half-written file.
	if err := w.follow([]string{filepath.Join(dir, "tend.toml"), filepath.Join(dir, "mark")}); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "mark"), "")
	await(t, calls, "the mark")
	if n := len(calls); n != 0 {
		t.Errorf("called %d times for a file that is still written", n)
	}
	half.Close()
	await(t, calls, "its end")
}

func TestWatcherFindsFolderThatComesLater(t *testing.T) {
	dir, calls, w := watched(t, "conf.d/a.toml")
	sub := filepath.Join(dir, "conf.d")
	if err := os.Mkdir(sub, 0o755); err != nil {
		t.Fatal(err)
	}
	await(t, calls, "the folder's creation")
	if err := w.follow([]string{filepath.Join(sub, "a.toml")}); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(sub, "a.toml"), "x")
	await(t, calls, "a file in it")
}

func TestEnviron(t *testing.T) {
	e := newEnviron([]string{"PATH=/bin", "HOME=/root", "TEND_PROGRAM=outer", "NOTIFY_SOCKET=/x", "LANG=C"}, "h")
	p := spec.New("web")
	p.User = "www"
	p.Env = spec.Env{"LANG": "de", "EMPTY": ""}
	env, mark := e.of("web:2", 2, 7, p, &proc.Account{Name: "www", Home: "/srv", Shell: "/bin/sh"})
	slices.Sort(env)
	want := []string{"EMPTY=", "HOME=/srv", "LANG=de", "LOGNAME=www", "PATH=/bin", "SHELL=/bin/sh",
		"TEND_INSTANCE=2", "TEND_MARK=h/web:2/7", "TEND_PROGRAM=web", "USER=www"}
	if !slices.Equal(env, want) || mark != "TEND_MARK=h/web:2/7" {
		t.Errorf("got %q, %q\nwant %q", env, mark, want)
	}
}

func TestDestinations(t *testing.T) {
	p := spec.New("queue")
	out, errs := destinations("queue:1", p, "/logs", nil)
	if out.Path != "/logs/queue.1.log" || out.Mode != logs.File || errs != nil || out.UID != -1 {
		t.Errorf("by default: %+v, %+v", out, errs)
	}
	p.Log.File, p.Log.Stderr = "inherit", "/var/err.log"
	out, errs = destinations("queue:1", p, "/logs", &proc.Account{Cred: proc.Credential{UID: 33, GID: 44}})
	if out.Mode != logs.Inherit || errs == nil || errs.Path != "/var/err.log" || errs.UID != 33 || errs.GID != 44 {
		t.Errorf("with stderr apart: %+v, %+v", out, errs)
	}
	p.Log.File = "none"
	if out, _ = destinations("queue:1", p, "/logs", nil); out.Mode != logs.None {
		t.Errorf("none: %+v", out)
	}
}

func TestLimitsHaveNumbers(t *testing.T) {
	for _, name := range spec.LimitNames {
		if _, ok := proc.Limits[name]; !ok {
			t.Errorf("limit %q has no number in proc", name)
		}
	}
}

func TestLockIsHeldOnce(t *testing.T) {
	dir := t.TempDir()
	l, err := takeLock(dir)
	if err != nil {
		t.Fatal(err)
	}
	var h hinted
	if _, err := takeLock(dir); !errors.As(err, &h) || !strings.Contains(err.Error(), "pid ") || h.Hint() == "" {
		t.Errorf("a second lock: %v", err)
	}
	l.release()
	again, err := takeLock(dir)
	if err != nil {
		t.Fatalf("after the release: %v", err)
	}
	again.release()
}

func TestPlaces(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "tend.toml")
	for _, c := range []struct {
		name        string
		o           Options
		d           spec.Daemon
		state, logs string
	}{
		{"beside the file", Options{Config: file}, spec.Daemon{}, dir + "/.tend", dir + "/.tend/logs"},
		{"in the folder", Options{Config: dir}, spec.Daemon{}, dir + "/.tend", dir + "/.tend/logs"},
		{"by flag", Options{Config: file, State: "/x"}, spec.Daemon{State: "/y"}, "/x", "/x/logs"},
		{"by key", Options{Config: file}, spec.Daemon{State: "/y", Logs: "/z"}, "/y", "/z"},
		{"another supervisord.conf", Options{Config: dir + "/web.conf"}, spec.Daemon{}, dir + "/.tend-web", dir + "/.tend-web/logs"},
		{"the first one", Options{Config: dir + "/supervisord.conf"}, spec.Daemon{}, dir + "/.tend", dir + "/.tend/logs"},
		{"another one of the system's", Options{Config: "/etc/supervisor/web.conf"}, spec.Daemon{}, "/run/tend-web", "/var/log/tend-web"},
		{"the system's", Options{Config: "/etc/tend/tend.toml"}, spec.Daemon{}, "/run/tend", "/var/log/tend"},
	} {
		if p, err := choosePlace(c.o, c.d); err != nil || p.state != c.state || p.logs != c.logs {
			t.Errorf("%s: %+v, %v", c.name, p, err)
		}
	}
}

// The daemon's own log must never hold up the loop, even when nobody reads it.
func TestSayerDoesNotBlock(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	s := newSayer(w)
	long := strings.Repeat("x", 64<<10)
	for range 100 { // far more than the pipe and the bound hold
		s.events([]event.Event{{Kind: event.Added, Program: "web", Message: long}})
		s.flush()
	}
	if s.lost == 0 {
		t.Error("nothing was dropped")
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		buf := make([]byte, 64<<10)
		for {
			if _, err := r.Read(buf); err != nil {
				return
			}
		}
	})
	s.close()
	s.queue.wait()
	w.Close()
	wg.Wait()
	r.Close()
}

func TestQueueKeepsOrder(t *testing.T) {
	q := queue{limit: 1}
	var got []int
	for i := range 1000 {
		q.put(func() { got = append(got, i) })
	}
	q.wait()
	if len(got) != 1000 || !slices.IsSorted(got) {
		t.Errorf("%d jobs, sorted %v", len(got), slices.IsSorted(got))
	}
}

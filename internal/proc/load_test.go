package proc

import (
	"fmt"
	"os"
	"runtime"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Many quick programs, from several goroutines, while the garbage collector
// runs: each is reported once with its own status.
func TestManySpawns(t *testing.T) {
	n := 2000
	if testing.Short() {
		n = 200
	}
	inEachMode(t, func(t *testing.T, w *world) {
		stop := make(chan struct{})
		var gc sync.WaitGroup
		gc.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					runtime.GC()
				}
			}
		})
		const workers = 4
		var wg sync.WaitGroup
		for i := range workers {
			wg.Go(func() {
				for tag := i; tag < n; tag += workers {
					a := &Attempt{
						Tag: uint64(tag), Name: fmt.Sprint("many:", i),
						Argv:  []string{"sh", "-c", fmt.Sprintf("exit %d", tag%200)},
						Env:   []string{"PATH=/no:/usr/bin:/bin"},
						Stdin: -1, Stdout: -1, Stderr: -1, Umask: -1,
					}
					if _, err := w.Spawn(a); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		got := make([]bool, n)
		// With a cgroup the four share a tree with what runs beside them.
		for ended := 0; ended < n; {
			switch f := w.next().(type) {
			case Ended:
				ended++
				if got[f.Tag] || f.Status != (Status{Code: int(f.Tag) % 200}) {
					t.Errorf("%+v", f)
				}
				got[f.Tag] = true
			}
		}
		wg.Wait()
		close(stop)
		gc.Wait()
		for _, pid := range w.children(w.self.pid) {
			if s, err := readStat(pid); err == nil && s.sid != w.self.sid {
				t.Errorf("process %d is still there", pid)
			}
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		if len(w.procs)+len(w.left) != 0 {
			t.Errorf("%d processes, %d leftovers on the books", len(w.procs), len(w.left))
		}
	})
}

// What is kept in memory for a running program.
func TestMemory(t *testing.T) {
	w := open(t, Config{})
	const n = 200
	var before, after runtime.MemStats
	list := make([]*Process, 0, n)
	a := w.attempt(nil, "/bin/sleep", "1000")
	list = append(list, w.spawn(a)) // first use of everything
	runtime.GC()
	runtime.ReadMemStats(&before)
	for range n {
		list = append(list, w.spawn(a))
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	each := (int64(after.HeapAlloc) - int64(before.HeapAlloc)) / n
	t.Logf("%d bytes of heap a process", each)
	if each > 300 {
		t.Errorf("%d bytes of heap a process, want at most 300", each)
	}
	for _, p := range list {
		p.KillTree()
	}
	for range list {
		w.ended()
	}
}

func BenchmarkSpawn(b *testing.B) {
	for _, open := range []int{0, 1000, 10_000} {
		var fds []int
		for range open {
			fd, err := unix.FcntlInt(0, unix.F_DUPFD_CLOEXEC, 100)
			if err != nil {
				b.Fatal(err)
			}
			fds = append(fds, fd)
		}
		for _, m := range modes {
			b.Run(fmt.Sprintf("%s/fds=%d", m.name, open), func(b *testing.B) { benchSpawn(b, m.Config) })
		}
		b.Run(fmt.Sprintf("os.StartProcess/fds=%d", open), func(b *testing.B) {
			null, err := os.OpenFile("/dev/null", os.O_RDWR, 0)
			if err != nil {
				b.Fatal(err)
			}
			defer null.Close()
			for b.Loop() {
				p, err := os.StartProcess(benchProgram, []string{benchProgram}, &os.ProcAttr{Files: []*os.File{null, null, null}, Env: []string{}})
				if err != nil {
					b.Fatal(err)
				}
				if _, err := p.Wait(); err != nil {
					b.Fatal(err)
				}
			}
		})
		for _, fd := range fds {
			unix.Close(fd)
		}
	}
}

const benchProgram = "/bin/true"

func benchSpawn(b *testing.B, c Config) {
	w := open(b, c)
	a := &Attempt{Name: "bench", Argv: []string{benchProgram}, Stdin: -1, Stdout: -1, Stderr: -1, Umask: -1}
	for b.Loop() {
		if _, err := w.Spawn(a); err != nil {
			b.Fatal(err)
		}
		if f := <-w.facts; f.(Ended).Status != (Status{}) {
			b.Fatal(f)
		}
	}
}

// BenchmarkBringUp starts 1,000 programs that stay.
func BenchmarkBringUp(b *testing.B) {
	for _, m := range modes {
		b.Run(m.name, func(b *testing.B) {
			w := open(b, m.Config)
			for b.Loop() {
				const n = 1000
				list := make([]*Process, n)
				var wg sync.WaitGroup
				began := time.Now()
				for i := range spawnerCount {
					wg.Go(func() {
						for j := i; j < n; j += spawnerCount {
							p, err := w.Spawn(&Attempt{
								Name: fmt.Sprint("up:", j), Argv: []string{"/bin/sleep", "1000"},
								Stdin: -1, Stdout: -1, Stderr: -1, Umask: -1,
							})
							if err != nil {
								b.Error(err)
								return
							}
							list[j] = p
						}
					})
				}
				wg.Wait()
				b.ReportMetric(float64(time.Since(began).Microseconds())/1000, "ms/1000up")
				began = time.Now()
				for _, p := range list {
					p.KillTree()
				}
				for range list {
					if e := (<-w.facts).(Ended); e.Left {
						b.Error("something is left")
					}
				}
				b.ReportMetric(float64(time.Since(began).Microseconds())/1000, "ms/1000killed")
			}
		})
	}
}

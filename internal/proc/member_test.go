package proc

import (
	"os"
	"testing"
)

// TestHas: whose a process is can be told, in its own session as well.
func TestHas(t *testing.T) {
	inEachMode(t, func(t *testing.T, w *world) {
		r, out := pipe(t)
		a := w.attempt(out, "/bin/sh", "-c", `echo $$; setsid sh -c 'echo $$; exec sleep 1000' & wait`)
		p := w.spawn(a)
		other := w.spawn(w.attempt(nil, "/bin/sleep", "1000"))
		leader, _ := readPid(t, r)
		child, gone := readPid(t, r)
		for _, test := range []struct {
			pid        int
			has, known bool
		}{{leader, true, true}, {child, true, true}, {other.Pid(), false, true}, {os.Getpid(), false, true}, {1, false, true}} {
			if has, known := p.Has(test.pid); has != test.has || known != test.known {
				t.Errorf("process %d: %t, %t, want %t, %t", test.pid, has, known, test.has, test.known)
			}
		}
		for _, q := range []*Process{p, other} {
			if err := q.KillTree(); err != nil {
				t.Error(err)
			}
		}
		awaitReaped(t, gone)
		if has, known := p.Has(child); has || known {
			t.Errorf("an ended process: %t, %t", has, known)
		}
		for rest := 2; rest > 0; rest-- {
			if e, ok := w.next().(Ended); ok && e.Left {
				rest++ // Emptied follows
			}
		}
	})
}

package daemon

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"tend/internal/engine"
	"tend/internal/event"
	"tend/internal/history"
	"tend/internal/logs"
	"tend/internal/proc"
	"tend/internal/spec"
	"tend/internal/unit"
)

// TestWordsOf: of the end of a log those lines are a run's that were written from
// its start to that of the next one.
func TestWordsOf(t *testing.T) {
	at := func(inode uint64, offset int64) *logs.Position { return &logs.Position{Inode: inode, Offset: offset} }
	const text = "one\ntwo\nthree\nfour\nfive\nsix\nseven" // 33 bytes, the last of which is byte 1033 of file 7
	end := *at(7, 1033)
	for _, test := range []struct {
		name        string
		from, until *logs.Position
		want        string
	}{
		{"all that are kept", nil, nil, "three four five six seven"},
		{"from a start", at(7, 1024), nil, "six seven"},
		{"until the next start", nil, at(7, 1014), "one two three"},
		{"between", at(7, 1008), at(7, 1019), "three four"},
		{"nothing was printed", at(7, 1033), nil, ""},
		{"nor between", at(7, 1014), at(7, 1014), ""},
		{"more than was read", at(7, 500), at(7, 2000), "three four five six seven"},
		{"long ago", at(7, 10), at(7, 20), ""},
		{"files that are rotated away", at(6, 20), at(6, 30), "three four five six seven"},
	} {
		if got := strings.Join(wordsOf(text, end, test.from, test.until), " "); got != test.want {
			t.Errorf("%s: %q, not %q", test.name, got, test.want)
		}
	}
	long := wordsOf(strings.Repeat("ä", 1000)+"\xff\n", logs.Position{}, nil, nil)
	if len(long) != 1 || len(long[0]) > wordsLong+3 || !strings.HasSuffix(long[0], "ä…") {
		t.Errorf("a long line becomes %q", long)
	}
}

func TestUsed(t *testing.T) {
	const mb = 1 << 20
	whole := proc.Ended{User: time.Second, System: 2 * time.Second, MaxRSS: 50 * mb, Tree: -1}
	tree, left := whole, whole
	tree.Tree, left.Tree = 5*time.Second, time.Second
	small, unknown := whole, proc.Ended{Unknown: true, Tree: -1}
	small.MaxRSS = 21 * mb
	both := proc.Ended{Unknown: true, Tree: time.Second}
	for _, test := range []struct {
		name string
		f    proc.Ended
		own  int64
		want event.Used
	}{
		{"by the kernel", whole, 20 * mb, event.Used{CPU: 3 * time.Second, Known: true, Memory: 50 * mb}},
		{"of the whole cgroup", tree, 20 * mb, event.Used{CPU: 5 * time.Second, Known: true, Tree: true, Memory: 50 * mb}},
		{"one that has left it", left, 20 * mb, event.Used{CPU: 3 * time.Second, Known: true, Memory: 50 * mb}},
		{"perhaps our memory", small, 20 * mb, event.Used{CPU: 3 * time.Second, Known: true, Memory: 21 * mb, AtMost: true}},
		{"of an unknown maker", whole, 0, event.Used{CPU: 3 * time.Second, Known: true, Memory: 50 * mb, AtMost: true}},
		{"nobody knows", unknown, 20 * mb, event.Used{}},
		{"the cgroup alone does", both, 20 * mb, event.Used{CPU: time.Second, Known: true, Tree: true}},
	} {
		if got := used(test.f, test.own); got != test.want {
			t.Errorf("%s: %+v, not %+v", test.name, got, test.want)
		}
	}
}

// TestRecall: what the ledger knows of ends is brought to the history, once, and
// what was running when the machine went down has ended with it.
func TestRecall(t *testing.T) {
	now := time.Now()
	exit := func(gen uint64) event.Exit {
		return event.Exit{Code: int(gen), Gen: gen, PID: 100 + int(gen), At: now.Add(time.Duration(gen) * time.Second), Uptime: time.Second}
	}
	last := exit(6)
	past := engine.Past{Rebooted: true, Instances: []engine.Record{
		{Program: "web", Index: 1, Name: "web:1", Ends: []engine.End{{Exit: exit(2), Times: 1}, {Exit: exit(6), Times: 4}},
			Unit: unit.Memory{Gen: 7, PID: 107, State: unit.Running, Phase: unit.Alive, Started: now.Add(time.Minute), Last: &last}},
		{Program: "old", Name: "old", Unit: unit.Memory{Last: &event.Exit{Code: 1}}}, // of a version without numbers
	}}
	d := &Daemon{life: "a1"}
	path := filepath.Join(t.TempDir(), "history")
	for range 2 { // the second time all of it is there
		d.history = history.Open(path, func(text string) { t.Error(text) })
		d.history.Add(d.entry(engine.Run{Key: engine.Key{Program: "web", Index: 1}, Name: "web:1", Exit: last}, pastRun{Lines: []string{"bye"}}))
		d.recall(past)
		if err := d.history.Close(); err != nil {
			t.Fatal(err)
		}
	}
	var got []uint64
	list, err := d.history.Read(func(history.Subject, string) bool { return true }, time.Time{}, history.Kept)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range list {
		r, ok := runView(e)
		if !ok || r.Name != "web:1" {
			t.Errorf("%s is %+v", e.Data, r)
		}
		got = append(got, r.Generation)
		switch r.Generation {
		case 6:
			if r.Code == nil || *r.Code != 6 || !slices.Equal(r.Lines, []string{"bye"}) || r.PID != 106 || r.Seconds == nil || *r.Seconds != 1 {
				t.Errorf("the last one is %+v", r)
			}
		case 7:
			if r.Ended != nil || r.Running || r.Code != nil || !r.Unknown || r.Failed() || r.Reason != "the machine went down" || !r.Started.Round(0).Equal(now.Add(time.Minute).Round(0)) {
				t.Errorf("the one that was running is %+v", r)
			}
		}
	}
	slices.Sort(got)
	if !slices.Equal(got, []uint64{2, 6, 7}) {
		t.Errorf("there are %v", got)
	}
}

// TestRunView: what is not known is null.
func TestRunView(t *testing.T) {
	d := &Daemon{life: "a1"}
	at := time.Now()
	view := func(x event.Exit) string {
		x.At, x.Gen = at, 1
		r, ok := runView(d.entry(engine.Run{Exit: x}, pastRun{}))
		if !ok {
			t.Fatal("it can't be read")
		}
		say := []string{r.Reason}
		for word, is := range map[string]bool{"code": r.Code != nil, "signal": r.Signal != "", "cpu": r.CPUSeconds != nil, "peak": r.PeakMemoryBytes != nil,
			"most": r.PeakMemoryAtMost != nil, "ready": r.Ready != nil, "seconds": r.Seconds != nil, "wished": r.Wished, "failed": r.Failed()} {
			if is {
				say = append(say, word)
			}
		}
		slices.Sort(say[1:])
		return strings.Join(say, " ")
	}
	all := event.Used{Known: true, Memory: 1}
	for want, x := range map[string]event.Exit{
		"exit 1 code cpu failed peak seconds":                             {Code: 1, Used: all},
		"exit 0 code ready seconds":                                       {Success: true, Ready: 1},
		"stopped by hand (signal TERM) most seconds signal wished":        {Signal: spec.SIGTERM, By: "stopped by hand", Used: event.Used{Memory: 1, AtMost: true}},
		"unhealthy: status 500 (signal TERM) failed seconds signal":       {Signal: spec.SIGTERM, By: "stopped by hand", Cause: "unhealthy: status 500"},
		"exit status unknown seconds":                                     {Unknown: true},
		"cannot start: no failed":                                         {Err: "cannot start: no"},
		"cannot start: " + strings.Repeat("x", longReason-14) + " failed": {Err: "cannot start: " + strings.Repeat("x", 2*longReason)},
	} {
		if got := view(x); got != want {
			t.Errorf("%q, not %q", got, want)
		}
	}
}

// BenchmarkRecord is what an end costs the loop.
func BenchmarkRecord(b *testing.B) {
	d := &Daemon{life: "a1"}
	d.history = history.Open(filepath.Join(b.TempDir(), "history"), func(string) {})
	defer d.history.Close()
	r := engine.Run{Key: engine.Key{Program: "web"}, Name: "web", Exit: event.Exit{Code: 1, PID: 4711, At: time.Now(), Uptime: time.Minute,
		Used: event.Used{CPU: time.Second, Known: true, Tree: true, Memory: 50 << 20}}}
	for b.Loop() {
		r.Exit.Gen++
		d.record(r)
		d.history.Add(d.entry(r, pastRun{Lines: []string{"error: no database at 127.0.0.1:5432, giving up"}}))
	}
}

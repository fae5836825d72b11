package daemon

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"tend/internal/logs"
	"tend/internal/proc"
)

// TestPassFiles: descriptors are numbered on from those that are handed over.
func TestPassFiles(t *testing.T) {
	store := []stored{{name: "a", fd: 10}, {name: "b", fd: 11}}
	for _, test := range []struct {
		env, pid, want []string
		files          map[int]int
	}{
		{[]string{"X=1", "LISTEN_FDS=7", "LISTEN_FDNAMES=z", "LISTEN_PID=1"}, nil, []string{"X=1", "LISTEN_FDS=2", "LISTEN_FDNAMES=a:b"}, map[int]int{3: 10, 4: 11}},
		{[]string{"LISTEN_FDS=1", "LISTEN_FDNAMES=web", "X=1"}, []string{"LISTEN_PID"}, []string{"X=1", "LISTEN_FDS=3", "LISTEN_FDNAMES=web:a:b"}, map[int]int{4: 10, 5: 11}},
	} {
		a := &proc.Attempt{Env: test.env, OwnPID: test.pid}
		passFiles(a, store)
		if !slices.Equal(a.Env, test.want) || fmt.Sprint(a.Files) != fmt.Sprint(test.files) || !slices.Equal(a.OwnPID, []string{"LISTEN_PID"}) {
			t.Errorf("%v: %v, %v, %v", test.env, a.Env, a.Files, a.OwnPID)
		}
	}
	a := &proc.Attempt{Env: []string{"LISTEN_FDS=7"}}
	if passFiles(a, nil); len(a.Files)+len(a.OwnPID) != 0 {
		t.Errorf("%+v", a)
	}
}

// TestMatcher: a line is found however it is cut, in the stream that it is in, once.
func TestMatcher(t *testing.T) {
	for _, test := range []struct {
		re    string
		parts []string
		want  bool
	}{
		{"^ready$", []string{"ready\n"}, true},
		{"^ready$", []string{"x\nre", "a", "dy\nmore"}, true},
		{"^ready$", []string{"ready\r\n"}, true},
		{"^ready$", []string{"ready"}, false}, // there may be more of it
		{"^ready$", []string{"not ready\n", "ready?\n"}, false},
		{"end$", []string{strings.Repeat("x", 3*maxLine), "end\n"}, false}, // too long to be looked at
		{"^next$", []string{strings.Repeat("x", 3*maxLine), "\nnext\n"}, true},
	} {
		found := 0
		m := &matcher{re: regexp.MustCompile(test.re), found: func() { found++ }}
		var out, errs logs.Options
		out.Tap = func(p []byte) []byte { return append([]byte("<"), p...) }
		m.tap(&out, &errs, nil)
		for _, part := range test.parts {
			if got := string(out.Tap([]byte(part))); got != "<"+part {
				t.Errorf("%q became %q", part, got)
			}
			errs.Tap([]byte("other"))
		}
		if want := map[bool]int{true: 1}[test.want]; found != want {
			t.Errorf("%q in %q: found %d", test.re, test.parts, found)
		}
	}
}

// TestPace: who sends too much in a second waits, until the next one.
func TestPace(t *testing.T) {
	var p pace
	now := time.Now()
	for i := range 3 * manyMessages {
		if got := p.tooMany(now.Add(time.Duration(i))); got != (i >= manyMessages) {
			t.Fatalf("message %d: %t", i, got)
		}
	}
	if p.tooMany(now.Add(time.Second)) {
		t.Error("still too many in the next second")
	}
}

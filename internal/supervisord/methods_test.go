package supervisord

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"tend/internal/xmlrpc"
)

// do calls a method of a Daemon and returns the answer as a text.
func do(d Daemon, method string, params ...any) string {
	return doWithin(d, maxLogRead, maxInfos, method, params...)
}

// doWithin is do with less room for logs and processes.
func doWithin(d Daemon, budget, infos int, method string, params ...any) string {
	c := &rpc{ctx: context.Background(), daemon: d, now: time.Now, budget: budget, infos: infos}
	value, err := c.call(method, params)
	var f *xmlrpc.Fault
	switch {
	case errors.As(err, &f):
		return fmt.Sprintf("%d %s", f.Code, f.Text)
	case err != nil:
		return "500"
	}
	return fmt.Sprint(value)
}

// TestOddParameters calls with what nobody should send. All of these answers are
// supervisord's.
func TestOddParameters(t *testing.T) {
	d := newSimple(t)
	for _, c := range []struct {
		method string
		params []any
		want   string
	}{
		{"supervisor.sendRemoteCommEvent", []any{5, 7}, "true"},
		{"supervisor.sendProcessStdin", []any{"nope", 5}, "2 INCORRECT_PARAMETERS: 5"},
		{"supervisor.sendProcessStdin", []any{5, 5}, "2 INCORRECT_PARAMETERS: 5"},
		{"supervisor.sendProcessStdin", []any{"web:", "x"}, "10 BAD_NAME: web:"},
		{"supervisor.signalProcess", []any{"web", []any{1}}, "500"},
		{"supervisor.signalProcess", []any{"web", ""}, "11 BAD_SIGNAL: "},
		{"supervisor.signalProcess", []any{"web", "-5"}, "11 BAD_SIGNAL: -5"},
		{"supervisor.signalProcess", []any{"web", "BOGUS"}, "11 BAD_SIGNAL: BOGUS"}, // though it doesn't run
		{"supervisor.signalProcess", []any{"web", true}, "70 NOT_RUNNING: web"},
		{"supervisor.signalProcess", []any{"web", " 18 "}, "70 NOT_RUNNING: web"},
		{"supervisor.signalProcess", []any{"nope", "BOGUS"}, "10 BAD_NAME: nope"},
		{"supervisor.signalAllProcesses", []any{"BOGUS"}, "[]"},
		{"supervisor.getProcessInfo", []any{5}, "500"},
		{"supervisor.getProcessInfo", []any{nil}, "500"},
		{"supervisor.getProcessInfo", []any{"a:b:c"}, "10 BAD_NAME: a:b:c"},
		{"supervisor.getProcessInfo", []any{":"}, "10 BAD_NAME: :"},
		{"supervisor.getProcessInfo", []any{""}, "10 BAD_NAME: "},
		{"supervisor.startProcess", []any{":*"}, "10 BAD_NAME: :*"},
		{"supervisor.startProcess", []any{"web", 0}, "true"},
		{"supervisor.startProcess", []any{"web:", ""}, "[[{name web} {group web} {status 80} {description OK}]]"},
		{"supervisor.startProcess", []any{}, "2 INCORRECT_PARAMETERS"},
		{"supervisor.startProcess", []any{"web", true, true}, "2 INCORRECT_PARAMETERS"},
		{"supervisor.startProcessGroup", []any{5}, "10 BAD_NAME: 5"},
		{"supervisor.startProcessGroup", []any{nil}, "10 BAD_NAME"},
		{"supervisor.startProcessGroup", []any{true}, "10 BAD_NAME: True"},
		{"supervisor.startProcessGroup", []any{1.5}, "10 BAD_NAME: 1.5"},
		{"supervisor.startProcessGroup", []any{[]any{"a"}}, "2 INCORRECT_PARAMETERS"},
		{"supervisor.stopProcessGroup", []any{xmlrpc.Struct{}}, "2 INCORRECT_PARAMETERS"},
		{"supervisor.addProcessGroup", []any{5}, "10 BAD_NAME: 5"},
		{"supervisor.removeProcessGroup", []any{"web:web"}, "10 BAD_NAME: web:web"},
		{"system.methodHelp", []any{5}, "4 SIGNATURE_UNSUPPORTED"},
		{"supervisor.readLog", []any{1.7, "3 "}, "bcd"},
		{"supervisor.readLog", []any{true, 4}, "bcde"},
		{"supervisor.readLog", []any{nil, 4}, "2 INCORRECT_PARAMETERS"},
		{"supervisor.readLog", []any{"x", 4}, "500"},
		{"supervisor.readLog", []any{-3, 0}, "fgh"},
		{"supervisor.readLog", []any{-3, 3}, "3 BAD_ARGUMENTS"},
		{"supervisor.readLog", []any{100, 0}, ""},
		{"supervisor.tailProcessLog", []any{"web", "x", 4}, "500"},
		{"supervisor.tailProcessLog", []any{"web", -3, -4}, "[ 0 true]"},
		{"supervisor.tailProcessLog", []any{"web", 0, -4}, "[ 0 true]"},
		{"supervisor.tailProcessLog", []any{"web", 0, 0}, "[ 0 false]"},
		{"supervisor.readProcessLog", []any{"web", -5, 5}, "3 BAD_ARGUMENTS"},
		{"supervisor.readProcessStderrLog", []any{"web", -5, 5}, "20 NO_FILE"},
		{"supervisor.readProcessLog", []any{"nope", "x", 5}, "10 BAD_NAME: nope"},
		{"system.multicall", []any{5}, "2 INCORRECT_PARAMETERS"},
		{"system.multicall", []any{[]any{xmlrpc.Struct{{Name: "methodName", Value: "supervisor.getPID"}, {Name: "params", Value: []any{1}}}}}, "[[{faultCode 2} {faultString INCORRECT_PARAMETERS}]]"},
		{"system.multicall", []any{[]any{xmlrpc.Struct{{Name: "methodName", Value: "supervisor.getPID"}}}}, "[1]"},
	} {
		if err := os.WriteFile(d.Info().Log, []byte("abcdefgh"), 0o600); err != nil {
			t.Fatal(err)
		}
		close(d.hold)
		got := do(d, c.method, c.params...)
		d.hold = make(chan struct{})
		if got != c.want {
			t.Errorf("%s%v gives %q, not %q", c.method, c.params, got, c.want)
		}
	}
}

// TestShutdownState: all methods of supervisor.* but one refuse to answer while
// the daemon ends or begins anew.
func TestShutdownState(t *testing.T) {
	for _, state := range []DaemonState{DaemonShutdown, DaemonRestarting} {
		d := newSimple(t)
		d.state = state
		for name, m := range methods {
			params := make([]any, len(m.takes))
			for i := range params {
				params[i] = "x"
			}
			refused := do(d, name, params...) == "6 SHUTDOWN_STATE"
			if want := strings.HasPrefix(name, "supervisor.") && name != "supervisor.sendRemoteCommEvent"; refused != want {
				t.Errorf("in state %v %s is refused: %v", state, name, refused)
			}
		}
	}
}

// TestDescriptions: each method has a signature and a text for each parameter.
func TestDescriptions(t *testing.T) {
	for name, m := range methods {
		if n := strings.Count(m.help, "@param "); n != len(m.takes) || strings.Count(m.help, "@return "+m.returns+" ") != 1 {
			t.Errorf("%s takes %v and returns %s, and its help says\n%s", name, m.takes, m.returns, m.help)
		}
		if m.does == nil || m.optional > len(m.takes) {
			t.Errorf("%s is not whole", name)
		}
	}
	if len(methods) != 41 {
		t.Errorf("%d methods, not 41", len(methods))
	}
}

// A crowd is a Daemon with many processes.
type crowd struct {
	*simple
	n int
}

func (d crowd) Groups() []Group {
	g := Group{Name: "crowd", Processes: make([]Process, d.n)}
	for i := range g.Processes {
		g.Processes[i] = Process{ID: ID{"crowd", fmt.Sprint(i)}}
	}
	return []Group{g}
}

// TestBounds: one request can't ask for more than there is room for.
func TestBounds(t *testing.T) {
	d := newSimple(t)
	many := make([]any, maxMulticall+1)
	for i := range many {
		many[i] = xmlrpc.Struct{{Name: "methodName", Value: "supervisor.getPID"}}
	}
	if got := do(d, "system.multicall", many); !strings.HasPrefix(got, "2 INCORRECT_PARAMETERS: more than") {
		t.Errorf("many calls give %.60s", got)
	}
	ask := xmlrpc.Struct{{Name: "methodName", Value: "supervisor.getAllProcessInfo"}}
	got := doWithin(crowd{d, 100}, 0, 250, "system.multicall", []any{ask, ask, ask})
	if n := strings.Count(got, "it tells about more than"); n != 1 {
		t.Errorf("three answers about 100 processes give %d faults", n)
	}
	if err := os.WriteFile(d.Info().Log, make([]byte, 600), 0o600); err != nil {
		t.Fatal(err)
	}
	read := xmlrpc.Struct{{Name: "methodName", Value: "supervisor.readLog"}, {Name: "params", Value: []any{0, 0}}}
	got = doWithin(d, 1000, 0, "system.multicall", []any{read, read})
	if n := strings.Count(got, "at once: ask for a part of them"); n != 1 {
		t.Errorf("two reads of a log give %d faults", n)
	}
}

// TestRelay: writes that fail cost a listener its part, and the event goes on.
func TestRelay(t *testing.T) {
	var did []string
	r := NewRelay(RelayOptions{
		Identifier: "x",
		Send: func(id ID, data string) Outcome {
			header, _, _ := strings.Cut(data, "\n")
			did = append(did, id.Name+" "+header[strings.LastIndex(header, "eventname"):])
			if id.Name == "a" {
				return Outcome{Kind: NoFile}
			}
			return Outcome{}
		},
		Say: func(level, _ string) { did = append(did, level) },
	})
	r.Step(AddPool{Pool{Name: "p", Events: []string{"EVENT"}, Buffer: 5, Processes: []string{"a", "b"}}})
	for _, name := range []string{"a", "b"} {
		r.Step(Became{ID{"p", name}, Running})
		r.Step(Wrote{ID{"p", name}, []byte("READY\n")})
	}
	r.Publish(GroupEvent("g", true))
	if want := []string{"a eventname:PROCESS_GROUP_ADDED len:12", "WARN", "b eventname:PROCESS_GROUP_ADDED len:12"}; !slices.Equal(did, want) {
		t.Errorf("%q, not %q", did, want)
	}
	// Ticks come by a clock that the test has.
	did = nil
	r.Step(Wrote{ID{"p", "b"}, []byte("RESULT 2\nOKREADY\n")})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	now := time.Unix(1_000_000_004, 999_000_000)
	calls := 0
	r.Run(ctx, func() time.Time {
		if calls++; calls > 2 { // the first is before the loop, the second says how long to wait
			now = now.Add(5 * time.Second)
			cancel()
		}
		return now
	})
	if want := []string{"b eventname:TICK_5 len:15"}; !slices.Equal(did, want) {
		t.Errorf("%q, not %q", did, want)
	}
}

// TestHelp is what a page shows as a comment.
func TestHelp(t *testing.T) {
	got := do(newSimple(t), "system.methodHelp", "supervisor.getPID")
	if want := " Return the process number of the daemon\n\n        @return int The process number\n        "; got != want {
		t.Errorf("%q", got)
	}
	if !bytes.Contains([]byte(do(newSimple(t), "system.methodSignature", "supervisor.readLog")), []byte("[string int int]")) {
		t.Error("the signature of readLog")
	}
}

package supervisord

import (
	"bufio"
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite the scripts in testdata with what happens")

// script plays a script to new Listeners. Lines that begin with "> " are inputs;
// what is below them, up to the next, is what has to follow.
//
//	> pool NAME types=A,B buffer=N processes=a,b [handler=H]
//	> unpool NAME
//	> state GROUP:NAME RUNNING
//	> wrote GROUP:NAME "text as in Go"
//	> notsent GROUP:NAME
//	> event TYPE "payload"
//	> tick UNIXTIME
//
// With forget, the Listeners are replaced after each input by others that were told
// what those knew.
func script(t *testing.T, text string, forget bool) string {
	l := NewListeners("tend", true)
	var pools []Pool
	var b strings.Builder
	lines := bufio.NewScanner(strings.NewReader(text))
	for lines.Scan() {
		line := lines.Text()
		if line == "" || line[0] == '#' {
			fmt.Fprintln(&b, line)
			continue
		}
		command, ok := strings.CutPrefix(line, "> ")
		if !ok {
			continue // what followed last time
		}
		fmt.Fprintln(&b, line)
		in := input(t, command)
		effects := l.Step(in)
		switch in := in.(type) {
		case AddPool:
			pools = append(pools, in.Pool)
		case RemovePool:
			pools = slices.DeleteFunc(pools, func(p Pool) bool { return p.Name == in.Name })
		}
		if forget {
			b, err := json.Marshal(l.Memory())
			if err != nil {
				t.Fatal(err)
			}
			next := NewListeners("tend", true)
			next.ticks = l.ticks
			for _, p := range pools {
				next.Step(AddPool{p})
			}
			var m Memory
			if err := json.Unmarshal(b, &m); err != nil {
				t.Fatal(err)
			}
			next.Restore(m)
			l = next
		}
		for _, e := range effects {
			switch e := e.(type) {
			case Send:
				fmt.Fprintf(&b, "send %s:%s %q\n", e.ID.Group, e.ID.Name, e.Data)
			case Say:
				fmt.Fprintf(&b, "%s %s\n", e.Level, e.Text)
			case Show:
				fmt.Fprintf(&b, "show %q\n", e.Text)
			}
		}
	}
	return b.String()
}

func input(t *testing.T, command string) Input {
	verb, rest, _ := strings.Cut(command, " ")
	first, rest, _ := strings.Cut(rest, " ")
	group, name, _ := strings.Cut(first, ":")
	id := ID{group, name}
	quoted := func() string {
		s, err := strconv.Unquote(rest)
		if err != nil {
			t.Fatalf("%q: %v", command, err)
		}
		return s
	}
	switch verb {
	case "pool":
		p := Pool{Name: first}
		for _, f := range strings.Fields(rest) {
			key, value, _ := strings.Cut(f, "=")
			switch key {
			case "types":
				p.Events = strings.Split(value, ",")
			case "processes":
				p.Processes = strings.Split(value, ",")
			case "buffer":
				p.Buffer, _ = strconv.Atoi(value)
			case "handler":
				p.Handler = value
			}
		}
		return AddPool{p}
	case "unpool":
		return RemovePool{first}
	case "state":
		for _, s := range []State{Stopped, Starting, Running, Backoff, Stopping, Exited, Fatal, Unknown} {
			if s.String() == rest {
				return Became{id, s}
			}
		}
	case "wrote":
		return Wrote{id, []byte(quoted())}
	case "notsent":
		return NotSent{id}
	case "event":
		return Publish{Event{first, quoted()}}
	case "tick":
		n, _ := strconv.ParseInt(first, 10, 64)
		return Tick{time.Unix(n, 0)}
	}
	t.Fatalf("no such input: %q", command)
	return nil
}

func TestListenerScripts(t *testing.T) {
	files, _ := filepath.Glob("testdata/listeners/*.txt")
	if len(files) < 5 {
		t.Fatalf("only %d scripts", len(files))
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := script(t, string(want), false)
			if again := script(t, string(want), true); again != got {
				t.Errorf("replaced by others: %s", cmp.Diff(got, again))
			}
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// recordedEvents are the events of the recording, made as the daemon makes them.
func recordedEvents() []Event {
	id := func(name string) ID { return ID{name, name} }
	beta := ID{"greek", "beta"}
	comm := Output{ID: id("comm"), PID: 20041}
	out := func(o Output, stderr bool, data string) Output {
		o.Stderr, o.Data = stderr, []byte(data)
		return o
	}
	var ticker ticks
	tick := func(at int64) Event {
		for _, e := range ticker.at(time.Unix(at, 0)) {
			return e
		}
		return Event{}
	}
	tick(1795395509)
	tick5 := tick(1795395511)
	ticker.last[0] = 1795395540
	return []Event{
		GroupEvent("listener", true),
		DaemonEvent(true),
		Change{ID: id("listener"), From: Stopped, To: Starting}.Event(),
		Change{ID: id("backoff"), From: Starting, To: Backoff, Tries: 1}.Event(),
		Change{ID: id("oneshot"), From: Starting, To: Running, PID: 20044}.Event(),
		Change{ID: id("oneshot"), From: Running, To: Exited, PID: 20044, Expected: true}.Event(),
		out(comm, false, "before").LogEvent(),
		out(comm, false, "captured text").CommunicationEvent(),
		out(comm, true, "to-stderr\n").LogEvent(),
		Change{ID: id("backoff"), From: Backoff, To: Starting, Tries: 1}.Event(),
		Change{ID: id("crasher"), From: Backoff, To: Fatal}.Event(),
		Change{ID: id("badexit"), From: Running, To: Exited, PID: 20040}.Event(),
		Change{ID: id("crasher"), From: Fatal, To: Starting}.Event(),
		tick5,
		Change{ID: id("oneshot"), From: Exited, To: Starting}.Event(),
		Change{ID: beta, From: Running, To: Stopping, PID: 20136}.Event(),
		Change{ID: beta, From: Stopping, To: Stopped, PID: 20136}.Event(),
		Change{ID: id("backoff"), From: Backoff, To: Stopped}.Event(),
		RemoteEvent("mytype", "some data\nline two"),
		GroupEvent("new", false),
		tick(1795395541),
		DaemonEvent(false),
	}
}

// TestRecordedEvents sends one event of each type and compares with what
// supervisord's listener got.
func TestRecordedEvents(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(shared(t, "events"), "one-of-each.txt"))
	if err != nil {
		t.Fatal(err)
	}
	l := NewListeners("scenario", false)
	me := ID{"listener", "listener"}
	l.Step(AddPool{Pool{Name: "listener", Events: []string{"EVENT"}, Buffer: 100, Processes: []string{"listener"}}})
	l.Step(Became{me, Running})
	l.Step(Wrote{me, []byte("READY\n")})
	lines := strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
	events := recordedEvents()
	if len(lines) != 2*len(events) {
		t.Fatalf("%d lines for %d events", len(lines), len(events))
	}
	for i, e := range events {
		header, _ := strings.CutPrefix(lines[2*i], "H ")
		payload, _ := strings.CutPrefix(lines[2*i+1], "B ")
		// Events were left out of the recording, and numbers with them.
		for _, f := range strings.Fields(header) {
			if n, ok := strings.CutPrefix(f, "serial:"); ok {
				l.serial, _ = strconv.ParseUint(n, 10, 64)
				l.pools[0].serial = l.serial
			}
		}
		sent := ""
		for _, effect := range l.Step(Publish{e}) {
			if s, ok := effect.(Send); ok {
				sent = s.Data
			}
		}
		gotHeader, gotPayload, _ := strings.Cut(sent, "\n")
		if gotHeader != header || pythonBytes([]byte(gotPayload)) != payload {
			t.Errorf("sent\n%s\n%s\nnot\n%s\n%s", gotHeader, pythonBytes([]byte(gotPayload)), header, payload)
		}
		l.Step(Wrote{me, []byte("RESULT 2\nOKREADY\n")})
	}
	t.Logf("%d types of events are sent as recorded", len(events))
}

func TestPayloads(t *testing.T) {
	o := Output{ID: ID{"g", "n"}, PID: 7, Data: []byte("za\xc5")}
	for _, c := range []struct {
		got        Event
		typ, bytes string
	}{
		{o.LogEvent(), "PROCESS_LOG_STDOUT", "processname:n groupname:g pid:7 channel:stdout\nUndecodable: b'za\\xc5'"},
		{Output{ID: o.ID, PID: 7, Stderr: true, Data: []byte("'\"\\\n\t\r\x00\xff")}.CommunicationEvent(), "PROCESS_COMMUNICATION_STDERR", `processname:n groupname:g pid:7` + "\nUndecodable: b'\\'\"\\\\\\n\\t\\r\\x00\\xff'"},
		{Output{ID: o.ID, Data: []byte("'\xff")}.LogEvent(), "PROCESS_LOG_STDOUT", "processname:n groupname:g pid:0 channel:stdout\nUndecodable: b\"'\\xff\""},
		{Change{ID: o.ID, From: Stopping, To: Unknown, PID: 3}.Event(), "PROCESS_STATE_UNKNOWN", "processname:n groupname:g from_state:STOPPING"},
	} {
		if c.got.Type != c.typ || c.got.Payload != c.bytes {
			t.Errorf("%s %q, not %s %q", c.got.Type, c.got.Payload, c.typ, c.bytes)
		}
	}
}

// TestCapture cuts one text at every place, and at two.
func TestCapture(t *testing.T) {
	const text = "before<!--XSUPERVISOR:BEGIN-->captured<!-- text<!--XSUPERVISOR:END-->after<!--XSUPERVISOR:\n<<!--XSUPERVISOR:BEGIN--><!--XSUPERVISOR:END--><!--XSUP"
	for i := range len(text) {
		for j := i; j < len(text); j += 7 {
			c := NewCapture(100)
			var said []string
			var plain, captured strings.Builder
			var pieces []Piece
			for _, part := range []string{text[:i], text[i:j], text[j:]} {
				pieces = append(pieces, c.Feed([]byte(part))...)
			}
			for _, p := range append(pieces, c.End()...) {
				switch p.Kind {
				case Plain:
					plain.Write(p.Data)
				case Captured:
					captured.Write(p.Data)
				case Said:
					said = append(said, string(p.Data))
				}
			}
			if plain.String() != "beforeafter<!--XSUPERVISOR:\n<<!--XSUP" || captured.String() != "captured<!-- text" || cmp.Diff(said, []string{"captured<!-- text", ""}) != "" {
				t.Fatalf("cut at %d and %d: %q, %q, %q", i, j, plain.String(), captured.String(), said)
			}
		}
	}
	c := NewCapture(4)
	pieces := c.Feed([]byte(captureBegin + "0123456789" + captureEnd))
	if last := pieces[len(pieces)-1]; last.Kind != Said || string(last.Data) != "6789" {
		t.Errorf("a capture of 4 bytes gives %q", last.Data)
	}
}

// FuzzCapture: whatever is written, nothing is lost but the tags, wherever it is
// cut, and no more is held than there is room for.
func FuzzCapture(f *testing.F) {
	f.Add([]byte("a<!--XSUPERVISOR:BEGIN-->b<!--XSUPERVISOR:END-->c"), uint8(3), uint8(1))
	f.Fuzz(func(t *testing.T, text []byte, step, room uint8) {
		parts := func(n int) (plain, captured, said []byte) {
			c := NewCapture(int(room))
			take := func(pieces []Piece) {
				for _, p := range pieces {
					switch p.Kind {
					case Plain:
						plain = append(plain, p.Data...)
					case Captured:
						captured = append(captured, p.Data...)
					case Said:
						said = append(append(said, p.Data...), 0)
					}
				}
			}
			for at := 0; at < len(text); at += n {
				take(c.Feed(text[at:min(at+n, len(text))]))
				if len(c.held) >= len(captureBegin) || len(c.collected) > int(room) {
					t.Fatalf("%d and %d bytes are held", len(c.held), len(c.collected))
				}
			}
			take(c.End())
			return plain, captured, said
		}
		p1, c1, s1 := parts(max(len(text), 1))
		p2, c2, s2 := parts(int(step) + 1)
		if !bytes.Equal(p1, p2) || !bytes.Equal(c1, c2) || !bytes.Equal(s1, s2) {
			t.Errorf("cut: %q %q %q, whole: %q %q %q", p2, c2, s2, p1, c1, s1)
		}
		tags := bytes.Count(text, []byte(captureBegin)) + bytes.Count(text, []byte(captureEnd))
		if n := len(p1) + len(c1); n > len(text) || tags == 0 && n != len(text) {
			t.Errorf("%d bytes became %d", len(text), n)
		}
	})
}

// FuzzListeners gives garbage to a pool of two. Nothing panics, no more is held
// than is allowed, and a listener that is not RUNNING and READY gets nothing.
func FuzzListeners(f *testing.F) {
	f.Add([]byte("\x00READY\n\x03\x02\x00RESULT 2\nOK"), false)
	f.Add([]byte("\x00READY\n\x03\x02\x00RESULT 0\n"), true)
	f.Fuzz(func(t *testing.T, text []byte, show bool) {
		l := NewListeners("x", false)
		p := Pool{Name: "p", Events: []string{"TICK"}, Buffer: 3, Processes: []string{"a", "b"}}
		if show {
			p.Handler = stdoutHandler
		}
		l.Step(AddPool{p})
		out := make(map[ID]int) // events that a listener has
		step := func(in Input) {
			for _, e := range l.Step(in) {
				if s, ok := e.(Send); ok {
					if out[s.ID]++; out[s.ID] > 1 {
						t.Fatalf("%v has two events", s.ID)
					}
				}
			}
			for _, x := range l.pools[0].listeners {
				if x.event == nil {
					out[ID{"p", x.name}] = 0
				}
				if (x.event != nil) != (x.state == busy) {
					t.Fatalf("%s is %v with event %v", x.name, x.state, x.event)
				}
				if len(x.line) > maxResultLine || len(x.result) > maxResult {
					t.Fatalf("%s holds %d and %d bytes", x.name, len(x.line), len(x.result))
				}
			}
			size := 0
			for _, n := range l.pools[0].waiting {
				size += n.size()
			}
			if len(l.pools[0].waiting) > p.Buffer || size != l.pools[0].bytes {
				t.Fatalf("%d events wait, with %d bytes and not %d", len(l.pools[0].waiting), size, l.pools[0].bytes)
			}
		}
		states := []State{Stopped, Starting, Running, Backoff, Stopping, Exited, Fatal, Unknown}
		now := time.Unix(1e9, 0)
		for len(text) > 0 {
			kind := text[0]
			text = text[1:]
			id := ID{"p", string('a' + kind&1)}
			switch kind >> 1 & 3 {
			case 0: // up to the next small byte
				n := bytes.IndexFunc(text, func(r rune) bool { return r < 8 })
				if n < 0 {
					n = len(text)
				}
				step(Wrote{id, text[:n]})
				text = text[n:]
			case 1:
				step(Became{id, Running})
				if kind > 128 {
					step(Became{id, states[int(kind>>3)%len(states)]})
				}
			case 2:
				now = now.Add(time.Duration(kind) * time.Second)
				step(Tick{now})
			case 3:
				step(NotSent{id})
			}
		}
	})
}

// TestLight: what programs print, and what is very long, is not put aside with each
// event. Who has such an event isn't taken for ready.
func TestLight(t *testing.T) {
	l := NewListeners("tend", false)
	l.Step(AddPool{Pool{Name: "p", Events: []string{"EVENT"}, Buffer: 10, Processes: []string{"a", "b"}}})
	for _, name := range []string{"a", "b"} {
		l.Step(Became{ID{"p", name}, Running})
		l.Step(Wrote{ID{"p", name}, []byte(ready)})
	}
	l.Step(Publish{Event{"PROCESS_LOG_STDOUT", "for a"}})
	l.Step(Publish{Event{"TICK_5", "for b"}})
	l.Step(Publish{Event{"PROCESS_LOG_STDERR", "waits"}})
	l.Step(Publish{Event{"REMOTE_COMMUNICATION", strings.Repeat("x", maxKept+1)}})
	l.Step(Publish{Event{"TICK_60", "waits too"}})
	m := l.Memory()
	light := m.Light().Pools[0]
	if len(light.Waiting) != 1 || light.Waiting[0].Type != "TICK_60" {
		t.Errorf("waiting: %v", light.Waiting)
	}
	if len(light.Listeners) != 1 || light.Listeners[0].Name != "b" {
		t.Errorf("listeners: %+v", light.Listeners)
	}
	if p := m.Pools[0]; len(p.Waiting) != 3 || len(p.Listeners) != 2 {
		t.Error("the whole memory has lost something by that")
	}
}

// TestPoolChanges: a pool that is another one by now is so in place. Listeners that it
// still has go on, and the event of one that it hasn't is for another.
func TestPoolChanges(t *testing.T) {
	l := NewListeners("tend", false)
	pool := Pool{Name: "p", Events: []string{"TICK_5"}, Buffer: 10, Processes: []string{"a", "b"}}
	l.Step(AddPool{pool})
	for _, name := range pool.Processes {
		l.Step(Became{ID{"p", name}, Running})
		l.Step(Wrote{ID{"p", name}, []byte(ready)})
	}
	l.Step(Publish{Event{"TICK_5", "for a"}})
	pool.Events, pool.Processes = []string{"TICK_60"}, []string{"b", "c"}
	sent := l.Step(AddPool{pool})
	if len(sent) != 1 || sent[0].(Send).ID.Name != "b" || !strings.HasSuffix(sent[0].(Send).Data, "for a") {
		t.Errorf("the event of the listener that is gone isn't given to the other: %v", sent)
	}
	l.Step(Wrote{ID{"p", "b"}, []byte("RESULT 2\nOK" + ready)})
	if sent := l.Step(Publish{Event{"TICK_5", ""}}); len(sent) != 0 {
		t.Errorf("what isn't wanted any more is sent: %v", sent)
	}
	if sent := l.Step(Publish{Event{"TICK_60", ""}}); len(sent) != 1 || !strings.Contains(sent[0].(Send).Data, "poolserial:1 ") {
		t.Errorf("sent %v", sent)
	}
}

package supervisord

import (
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// An Event is what event listeners are told.
type Event struct {
	Type    string // as PROCESS_STATE_RUNNING
	Payload string // valid UTF-8
}

// under reports whether an event is of a type, which may be an abstract one that
// stands for several.
func (e Event) under(typ string) bool {
	rest, ok := strings.CutPrefix(e.Type, typ)
	return typ == "EVENT" || ok && (rest == "" || rest[0] == '_')
}

// A Change is a change of the state of a process.
type Change struct {
	ID
	From, To State
	Tries    int  // failed attempts in a row, with STARTING and BACKOFF
	PID      int  // with RUNNING, STOPPING, STOPPED and EXITED; that of the process that was there
	Expected bool // with EXITED: the status is one of exitcodes
}

// Event returns the event PROCESS_STATE_x.
func (c Change) Event() Event {
	b := fmt.Sprintf("processname:%s groupname:%s from_state:%s", c.Name, c.Group, c.From)
	switch c.To {
	case Starting, Backoff:
		b += fmt.Sprintf(" tries:%d", c.Tries)
	case Running, Stopping, Stopped:
		b += fmt.Sprintf(" pid:%d", c.PID)
	case Exited:
		expected := 0
		if c.Expected {
			expected = 1
		}
		b += fmt.Sprintf(" expected:%d pid:%d", expected, c.PID)
	}
	return Event{"PROCESS_STATE_" + c.To.String(), text(b)}
}

// An Output is something that a process has written.
type Output struct {
	ID
	PID    int
	Stderr bool
	Data   []byte
}

func (o Output) channel() string {
	if o.Stderr {
		return "stderr"
	}
	return "stdout"
}

// LogEvent returns the event PROCESS_LOG_x, as for *_events_enabled.
func (o Output) LogEvent() Event {
	return Event{
		"PROCESS_LOG_" + strings.ToUpper(o.channel()),
		text(fmt.Sprintf("processname:%s groupname:%s pid:%d channel:%s\n", o.Name, o.Group, o.PID, o.channel())) + decoded(o.Data),
	}
}

// CommunicationEvent returns the event PROCESS_COMMUNICATION_x, for what was
// captured between the tags.
func (o Output) CommunicationEvent() Event {
	return Event{
		"PROCESS_COMMUNICATION_" + strings.ToUpper(o.channel()),
		text(fmt.Sprintf("processname:%s groupname:%s pid:%d\n", o.Name, o.Group, o.PID)) + decoded(o.Data),
	}
}

// RemoteEvent returns the event of a client.
func RemoteEvent(typ, data string) Event {
	return Event{"REMOTE_COMMUNICATION", text("type:" + typ + "\n" + data)}
}

// GroupEvent returns the event PROCESS_GROUP_ADDED or PROCESS_GROUP_REMOVED.
func GroupEvent(name string, added bool) Event {
	what := "REMOVED"
	if added {
		what = "ADDED"
	}
	return Event{"PROCESS_GROUP_" + what, text("groupname:" + name + "\n")}
}

// DaemonEvent returns the event SUPERVISOR_STATE_CHANGE_RUNNING or _STOPPING.
func DaemonEvent(running bool) Event {
	what := "STOPPING"
	if running {
		what = "RUNNING"
	}
	return Event{Type: "SUPERVISOR_STATE_CHANGE_" + what}
}

// periods are those of ticks, in seconds.
var periods = [...]int64{5, 60, 3600}

// ticks tells when a period is over. Its zero value knows of none yet.
type ticks struct {
	last  [len(periods)]int64
	known bool
}

// at returns the events that are due: one for each period that is another than
// last time. The first time there is none.
func (t *ticks) at(now time.Time) []Event {
	var due []Event
	for i, period := range periods {
		begin := now.Unix() - now.Unix()%period
		if t.known && begin != t.last[i] {
			due = append(due, Event{fmt.Sprintf("TICK_%d", period), "when:" + strconv.FormatInt(begin, 10)})
		}
		t.last[i] = begin
	}
	t.known = true
	return due
}

// NextTick returns when the shortest period is over.
func NextTick(now time.Time) time.Time {
	return time.Unix(now.Unix()-now.Unix()%periods[0]+periods[0], 0)
}

// text makes valid UTF-8 of what should have been.
func text(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }

// decoded returns output as text. What isn't any is written as Python writes
// bytes, which listeners know how to read.
func decoded(b []byte) string {
	if utf8.Valid(b) {
		return string(b)
	}
	return "Undecodable: " + pythonBytes(b)
}

// pythonBytes writes bytes as a literal of Python.
func pythonBytes(b []byte) string {
	quote := byte('\'')
	if strings.IndexByte(string(b), '\'') >= 0 && strings.IndexByte(string(b), '"') < 0 {
		quote = '"'
	}
	out := append(make([]byte, 0, 2*len(b)+3), 'b', quote)
	for _, c := range b {
		switch {
		case c == quote || c == '\\':
			out = append(out, '\\', c)
		case c == '\n':
			out = append(out, `\n`...)
		case c == '\r':
			out = append(out, `\r`...)
		case c == '\t':
			out = append(out, `\t`...)
		case c < ' ' || c > '~':
			out = fmt.Appendf(out, `\x%02x`, c)
		default:
			out = append(out, c)
		}
	}
	return string(append(out, quote))
}

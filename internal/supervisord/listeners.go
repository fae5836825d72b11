package supervisord

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"tend/internal/svconf"
)

// The protocol of event listeners. A listener is a process that reads events from
// its standard input and says on its standard output when it wants one and what
// became of it:
//
//	ACKNOWLEDGED  at first, and after each result. It says "READY\n"             → READY
//	READY         it gets an event, if its process is RUNNING                    → BUSY
//	BUSY          it says "RESULT n\n" and n bytes: OK, and the event is done;
//	              anything else, and the event is tried again                    → ACKNOWLEDGED
//	UNKNOWN       it has said something else. It gets nothing more until it is
//	              started again
//
// Listeners of one configuration are a pool. An event goes to one listener of each
// pool that wants its type; while none is READY, it waits in the pool's buffer,
// from which the oldest is thrown away when there are too many. An event whose
// listener dies, or doesn't take it, goes back to the head.

const (
	// maxPoolBytes is how much the events of a pool may hold, whatever their number.
	maxPoolBytes = 16 << 20

	// maxResultLine is how long the line of a result may be.
	maxResultLine = 128

	// maxResult is how long a result may be that is looked at, as with
	// supervisor-stdout. Others are only compared.
	maxResult = 1 << 20

	ready      = "READY\n"
	resultWord = "RESULT "
	accepted   = "OK"
)

// stdoutHandler is the result handler of supervisor-stdout, whose listener answers
// an event with its payload, to be printed.
const stdoutHandler = "supervisor_stdout:event_handler"

// A Pool is an [eventlistener:x].
type Pool struct {
	Name      string
	Events    []string // types, with abstract ones
	Buffer    int      // events that may wait
	Handler   string   // result_handler
	Processes []string // names, in the order in which they are asked
}

// Equal reports whether two pools are the same in everything.
func (p Pool) Equal(q Pool) bool {
	return p.Name == q.Name && slices.Equal(p.Events, q.Events) && p.Buffer == q.Buffer && p.Handler == q.Handler && slices.Equal(p.Processes, q.Processes)
}

// Ticks reports whether the pool wants to be told the time.
func (p *Pool) Ticks() bool {
	return slices.ContainsFunc(p.Events, func(typ string) bool { return typ == "EVENT" || strings.HasPrefix(typ, "TICK") })
}

// An Input is something that Listeners has to know.
type Input interface{ input() }

type (
	// AddPool makes a pool known, whose listeners are down. Of one that is known it
	// changes what is different, and the listeners that it still has go on.
	AddPool struct{ Pool Pool }

	// RemovePool forgets a pool and all events that it has.
	RemovePool struct{ Name string }

	// Became tells the state of the process of a listener. Of other processes it
	// isn't asked.
	Became struct {
		ID    ID
		State State
	}

	// Wrote is what a listener has written to its standard output.
	Wrote struct {
		ID   ID
		Data []byte
	}

	// NotSent tells that a Send could not be carried out.
	NotSent struct{ ID ID }

	// Publish is an event for whoever wants it.
	Publish struct{ Event Event }

	// Tick tells the time, so that TICK events come. It is due at NextTick.
	Tick struct{ Now time.Time }
)

func (AddPool) input()    {}
func (RemovePool) input() {}
func (Became) input()     {}
func (Wrote) input()      {}
func (NotSent) input()    {}
func (Publish) input()    {}
func (Tick) input()       {}

// An Effect is something that has to be done for Listeners.
type Effect interface{ effect() }

type (
	// Send writes to the standard input of a listener.
	Send struct {
		ID   ID
		Data string
	}

	// Say writes to the daemon's log.
	Say struct {
		Level string // as in a line of the log: DEBG, WARN or ERRO
		Text  string
	}

	// Show prints on the daemon's standard output, for supervisor-stdout.
	Show struct{ Text string }
)

func (Send) effect() {}
func (Say) effect()  {}
func (Show) effect() {}

// Listeners is what decides about events. It is a pure value: Step takes what
// happened and returns what has to be done, in order.
type Listeners struct {
	identifier string
	serial     uint64
	pools      []*pool
	ticks      ticks
	debug      bool // that each step of the protocol is said
	effects    []Effect
}

// NewListeners returns Listeners without pools, for a daemon of that identifier.
// With debug they say each step of the protocol, else only what goes wrong.
func NewListeners(identifier string, debug bool) *Listeners {
	return &Listeners{identifier: identifier, debug: debug}
}

type pool struct {
	Pool
	serial    uint64
	waiting   []*notice // the oldest first
	bytes     int       // of those
	listeners []*listener
}

// A notice is an event on its way to a pool.
type notice struct {
	Event
	serial     uint64 // of the daemon
	poolSerial uint64
}

func (n *notice) size() int { return len(n.Type) + len(n.Payload) + 64 }

type protocolState int

const (
	acknowledged protocolState = iota
	readyState
	busy
	unknown
)

func (s protocolState) String() string {
	return [...]string{"ACKNOWLEDGED", "READY", "BUSY", "UNKNOWN"}[s]
}

type listener struct {
	name    string
	running bool
	state   protocolState
	event   *notice // that it has, when busy

	line   []byte // what has come of "READY\n", or of the line of a result
	inBody bool
	left   int // of the result, behind its line
	result []byte
}

// Step takes an input and returns what has to be done.
func (l *Listeners) Step(in Input) []Effect {
	l.effects = nil
	switch in := in.(type) {
	case AddPool:
		p := l.add(in.Pool)
		if in.Pool.Handler != "" && in.Pool.Handler != svconf.DefaultResultHandler && in.Pool.Handler != stdoutHandler {
			l.say("WARN", "pool %s has result_handler=%s, which is Python and isn't run: a result of OK is taken for its approval", p.Name, p.Handler)
		}
	case RemovePool:
		l.remove(in.Name)
	case Became:
		if p, x := l.find(in.ID); x != nil {
			l.became(p, x, in.State)
		}
	case Wrote:
		if p, x := l.find(in.ID); x != nil {
			l.wrote(p, x, in.Data)
		}
	case NotSent:
		if p, x := l.find(in.ID); x != nil && x.event != nil {
			l.breach(p, x, "it doesn't read what it is sent")
		}
	case Publish:
		l.publish(in.Event)
	case Tick:
		for _, e := range l.ticks.at(in.Now) {
			l.publish(e)
		}
	default:
		panic(fmt.Sprintf("supervisord: %T is no input of Listeners", in))
	}
	return l.effects
}

func (l *Listeners) say(level, format string, args ...any) {
	if level == "DEBG" && !l.debug {
		return
	}
	l.effects = append(l.effects, Say{level, fmt.Sprintf(format, args...)})
}

func (l *Listeners) add(with Pool) *pool {
	at := slices.IndexFunc(l.pools, func(p *pool) bool { return p.Name == with.Name })
	if at < 0 {
		at = len(l.pools)
		l.pools = append(l.pools, new(pool))
	}
	p := l.pools[at]
	was := p.listeners
	p.Pool, p.listeners = with, nil
	for _, name := range with.Processes {
		x := &listener{name: name}
		if i := slices.IndexFunc(was, func(x *listener) bool { return x.name == name }); i >= 0 {
			x = was[i]
			was = slices.Delete(was, i, i+1)
		}
		p.listeners = append(p.listeners, x)
	}
	for _, x := range was {
		l.giveBack(p, x)
	}
	l.dispatch(p)
	return p
}

func (l *Listeners) remove(name string) {
	l.pools = slices.DeleteFunc(l.pools, func(p *pool) bool { return p.Name == name })
}

func (l *Listeners) find(id ID) (*pool, *listener) {
	for _, p := range l.pools {
		if p.Name != id.Group {
			continue
		}
		for _, x := range p.listeners {
			if x.name == id.Name {
				return p, x
			}
		}
	}
	return nil, nil
}

// publish gives an event to the pools that want it. It has a number only if there
// are such.
func (l *Listeners) publish(e Event) {
	taken := false
	for _, p := range l.pools {
		if !slices.ContainsFunc(p.Events, e.under) {
			continue
		}
		n := &notice{Event: e, serial: l.serial, poolSerial: p.serial}
		taken = true
		p.serial++
		l.wait(p, n, false)
		l.dispatch(p)
	}
	if taken {
		l.serial++
	}
}

// wait puts an event into a pool's buffer: at the end, or back to the head.
func (l *Listeners) wait(p *pool, n *notice, head bool) {
	for len(p.waiting) > 0 && (len(p.waiting) >= p.Buffer || p.bytes+n.size() > maxPoolBytes) {
		l.discard(p, p.waiting[0])
		p.bytes -= p.waiting[0].size()
		p.waiting = slices.Delete(p.waiting, 0, 1)
	}
	if n.size() > maxPoolBytes {
		l.discard(p, n)
		return
	}
	p.bytes += n.size()
	if head {
		p.waiting = slices.Insert(p.waiting, 0, n)
	} else {
		p.waiting = append(p.waiting, n)
	}
}

func (l *Listeners) discard(p *pool, n *notice) {
	l.say("ERRO", "pool %s event buffer overflowed, discarding event %d", p.Name, n.serial)
}

// dispatch sends what waits, the oldest first, to listeners that are ready.
func (l *Listeners) dispatch(p *pool) {
	for _, x := range p.listeners {
		if len(p.waiting) == 0 {
			return
		}
		if !x.running || x.state != readyState {
			continue
		}
		n := p.waiting[0]
		p.waiting = slices.Delete(p.waiting, 0, 1)
		p.bytes -= n.size()
		x.state, x.event = busy, n
		l.effects = append(l.effects, Send{ID{p.Name, x.name}, l.envelope(p, n)})
		l.say("DEBG", "event %d sent to listener %s", n.serial, x.name)
	}
}

// envelope is an event as it is sent. Its length is in characters, since that is
// what supervisord's listeners count.
func (l *Listeners) envelope(p *pool, n *notice) string {
	return fmt.Sprintf("ver:3.0 server:%s serial:%d pool:%s poolserial:%d eventname:%s len:%d\n%s",
		l.identifier, n.serial, p.Name, n.poolSerial, n.Type, utf8.RuneCountInString(n.Payload), n.Payload)
}

// became follows the process of a listener.
func (l *Listeners) became(p *pool, x *listener, s State) {
	switch s {
	case Running:
		x.running = true
	case Stopping:
		x.running = false // what it is busy with it may still finish
	case Starting:
		l.reset(p, x)
	default:
		l.reset(p, x)
	}
	l.dispatch(p)
}

// reset makes a listener one that has just been started, or is about to be. What
// it was busy with is for another.
func (l *Listeners) reset(p *pool, x *listener) {
	x.running = false
	x.state = acknowledged
	x.forget()
	l.giveBack(p, x)
}

func (x *listener) forget() { x.line, x.result, x.left, x.inBody = nil, nil, 0, false }

// giveBack puts the event of a listener back to the head of the buffer.
func (l *Listeners) giveBack(p *pool, x *listener) {
	if n := x.event; n != nil {
		x.event = nil
		l.say("DEBG", "rebuffering event %d for pool %s (buf size=%d, max=%d)", n.serial, p.Name, len(p.waiting), p.Buffer)
		l.wait(p, n, true)
	}
}

func (l *Listeners) enter(x *listener, s protocolState) {
	l.say("DEBG", "%s: %s -> %s", x.name, x.state, s)
	x.state = s
}

// breach ends the use of a listener that doesn't keep to the protocol.
func (l *Listeners) breach(p *pool, x *listener, why string) {
	l.say("WARN", "%s: %s -> UNKNOWN: %s; it gets no more events until it is started again", x.name, x.state, why)
	x.state = unknown
	x.forget()
	l.giveBack(p, x)
	l.dispatch(p)
}

// wrote takes what a listener says.
func (l *Listeners) wrote(p *pool, x *listener, b []byte) {
	for len(b) > 0 || x.state == busy && x.inBody && x.left == 0 {
		switch {
		case x.state == unknown:
			return
		case x.state == readyState:
			l.breach(p, x, fmt.Sprintf("it says %s without having got an event", some(b)))
		case x.state == acknowledged:
			n := min(len(b), len(ready)-len(x.line))
			x.line = append(x.line, b[:n]...)
			b = b[n:]
			if len(x.line) < len(ready) {
				return
			}
			if string(x.line) != ready {
				l.breach(p, x, fmt.Sprintf("it says %s and not READY", some(x.line)))
				return
			}
			x.line = nil
			l.enter(x, readyState)
			// What it says besides is wrong in this state, so that comes first.
			if len(b) == 0 {
				l.dispatch(p)
			}
		case !x.inBody:
			b = l.resultLine(p, x, b)
		default:
			n := min(len(b), x.left)
			x.result = append(x.result, b[:min(n, x.room(p))]...)
			x.left -= n
			b = b[n:]
			if x.left == 0 {
				l.done(p, x)
			}
		}
	}
}

// room is how much of a result is still of interest.
func (x *listener) room(p *pool) int {
	if p.Handler == stdoutHandler {
		return maxResult - len(x.result)
	}
	return len(accepted) + 1 - min(len(x.result), len(accepted)+1)
}

// resultLine takes what belongs to the line of a result, and returns the rest.
func (l *Listeners) resultLine(p *pool, x *listener, b []byte) []byte {
	end := slices.Index(b, '\n')
	n := end
	if end < 0 {
		n = len(b)
	}
	if len(x.line)+n > maxResultLine {
		l.breach(p, x, "the line of its result has no end")
		return nil
	}
	x.line = append(x.line, b[:n]...)
	if end < 0 {
		return nil
	}
	line := string(x.line)
	x.line = nil
	digits, ok := strings.CutPrefix(line, resultWord)
	length, err := strconv.ParseUint(strings.TrimSpace(digits), 10, 31)
	if !ok || err != nil {
		l.breach(p, x, fmt.Sprintf("its result begins with %s and not with RESULT and a number", some([]byte(line))))
		return nil
	}
	if p.Handler == stdoutHandler && length > maxResult {
		l.breach(p, x, fmt.Sprintf("a result of %d bytes is more than the %d that there is room for", length, maxResult))
		return nil
	}
	x.inBody, x.left = true, int(length)
	return b[n+1:]
}

// done takes a whole result.
func (l *Listeners) done(p *pool, x *listener) {
	result := string(x.result)
	x.forget()
	lines, ok := "", result == accepted
	if p.Handler == stdoutHandler {
		lines, ok = shown(result)
	}
	if ok {
		x.event = nil
		l.say("DEBG", "%s: event was processed", x.name)
		if lines != "" {
			l.effects = append(l.effects, Show{lines})
		}
	} else {
		l.say("WARN", "%s: event was rejected", x.name)
		l.giveBack(p, x)
	}
	l.enter(x, acknowledged)
	l.dispatch(p)
}

// shown returns what supervisor-stdout prints for a result, which is the payload of
// a PROCESS_LOG event.
func shown(result string) (string, bool) {
	head, data, ok := strings.Cut(result, "\n")
	if !ok {
		return "", false
	}
	field := make(map[string]string)
	for _, f := range strings.Fields(head) {
		name, value, ok := strings.Cut(f, ":")
		if !ok {
			return "", false
		}
		field[name] = value
	}
	name, ok1 := field["processname"]
	channel, ok2 := field["channel"]
	if !ok1 || !ok2 {
		return "", false
	}
	var b strings.Builder
	for line := range strings.Lines(data) {
		fmt.Fprintf(&b, "%s %s | %s\n", name, channel, strings.TrimSuffix(line, "\n"))
	}
	return b.String(), true
}

// some returns the beginning of what a listener has said, for a message.
func some(b []byte) string {
	const enough = 32
	if len(b) > enough {
		return strconv.Quote(string(b[:enough])) + "..."
	}
	return strconv.Quote(string(b))
}

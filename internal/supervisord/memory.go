package supervisord

import (
	"bytes"
	"slices"
)

// A Memory is what Listeners know, in a form that can be kept: for a daemon that
// gives its place to another one while its listeners run on. A listener that is
// READY doesn't say so twice, so that without it nothing would be sent again.
type Memory struct {
	Serial uint64
	Pools  []PoolMemory
}

// A PoolMemory is what is known of a pool.
type PoolMemory struct {
	Name      string
	Serial    uint64
	Waiting   []EventMemory
	Listeners []ListenerMemory
}

// An EventMemory is an event on its way to a pool.
type EventMemory struct {
	Event
	Serial, PoolSerial uint64
}

// A ListenerMemory is where the protocol is with a listener.
type ListenerMemory struct {
	Name    string
	Running bool
	State   int          // in the order ACKNOWLEDGED, READY, BUSY, UNKNOWN
	Event   *EventMemory // with BUSY
	Line    []byte       // that has come so far
	InBody  bool
	Left    int
	Result  []byte
}

// Ready reports whether the listener waits for an event.
func (m ListenerMemory) Ready() bool { return protocolState(m.State) == readyState }

// Memory returns what the Listeners know.
func (l *Listeners) Memory() Memory {
	m := Memory{Serial: l.serial}
	for _, p := range l.pools {
		pm := PoolMemory{Name: p.Name, Serial: p.serial}
		for _, n := range p.waiting {
			pm.Waiting = append(pm.Waiting, n.memory())
		}
		for _, x := range p.listeners {
			xm := ListenerMemory{
				Name: x.name, Running: x.running, State: int(x.state),
				Line: bytes.Clone(x.line), InBody: x.inBody, Left: x.left, Result: bytes.Clone(x.result),
			}
			if x.event != nil {
				n := x.event.memory()
				xm.Event = &n
			}
			pm.Listeners = append(pm.Listeners, xm)
		}
		m.Pools = append(m.Pools, pm)
	}
	return m
}

// maxKept is how long the payload of an event may be that is put aside.
const maxKept = 64 << 10

// Light returns what is to be put aside with each event: all but what programs have
// printed, which is in their logs, and what is very long. A listener that is busy
// with such an event is unknown to it.
func (m Memory) Light() Memory {
	heavy := func(e EventMemory) bool {
		return len(e.Payload) > maxKept || e.under("PROCESS_LOG")
	}
	pools := slices.Clone(m.Pools)
	for i := range pools {
		p := &pools[i]
		p.Waiting = slices.DeleteFunc(slices.Clone(p.Waiting), heavy)
		p.Listeners = slices.DeleteFunc(slices.Clone(p.Listeners), func(x ListenerMemory) bool { return x.Event != nil && heavy(*x.Event) })
	}
	m.Pools = pools
	return m
}

func (n *notice) memory() EventMemory { return EventMemory{n.Event, n.serial, n.poolSerial} }

func (m EventMemory) notice() *notice { return &notice{m.Event, m.Serial, m.PoolSerial} }

// Restore goes on with what other Listeners knew. The pools must have been added;
// what it says of others is dropped. Whether a listener lives still is for Became to
// say. What can't be, as it comes from elsewhere, is left out.
func (l *Listeners) Restore(m Memory) {
	l.effects = nil
	l.serial = m.Serial
	for _, pm := range m.Pools {
		for _, p := range l.pools {
			if p.Name == pm.Name {
				l.restorePool(p, pm)
			}
		}
	}
}

func (l *Listeners) restorePool(p *pool, m PoolMemory) {
	p.serial = m.Serial
	for _, n := range m.Waiting {
		l.wait(p, n.notice(), false)
	}
	for _, xm := range m.Listeners {
		for _, x := range p.listeners {
			s := protocolState(xm.State)
			if x.name != xm.Name || s < acknowledged || s > unknown || (s == busy) != (xm.Event != nil) ||
				len(xm.Line) > maxResultLine || len(xm.Result) > maxResult || xm.Left < 0 || xm.InBody && s != busy {
				continue
			}
			x.running, x.state = xm.Running, s
			x.line, x.inBody, x.left, x.result = bytes.Clone(xm.Line), xm.InBody, xm.Left, bytes.Clone(xm.Result)
			if xm.Event != nil {
				x.event = xm.Event.notice()
			}
		}
	}
}

package supervisord

// A Course follows the state of one process, and fills in the steps that
// supervisord tells of and others don't see: whoever starts a process again at its
// end goes from RUNNING to STARTING, and listeners wait for the EXITED between. It is
// pure.
type Course struct {
	ID    ID
	State State
	PID   int // of the living process; 0: none
	Tries int // failed attempts in a row
}

// A Turn is a change of state as it was seen.
type Turn struct {
	To       State
	PID      int  // of the living process; 0: none
	Ended    bool // what led here is the end of a process, or that it couldn't be started
	Expected bool // by exitcodes
}

// Follow returns the changes that a turn stands for, in order: there may be none.
func (c *Course) Follow(t Turn) []Change {
	if t.PID != 0 && t.To != Starting {
		c.PID = t.PID
	}
	var changes []Change
	become := func(to State) {
		switch {
		case to == Backoff:
			c.Tries++
		case to == Running, to == Starting && c.State != Backoff:
			c.Tries = 0
		}
		changes = append(changes, Change{ID: c.ID, From: c.State, To: to, Tries: c.Tries, PID: c.PID, Expected: t.Expected})
		if c.State = to; !to.Signallable() {
			c.PID = t.PID
		}
	}
	start := func() { // a start isn't seen before it has a pid
		switch {
		case c.State == Starting:
			return
		case c.State == Stopping:
			become(Stopped)
		}
		become(Starting)
	}
	exit := func() {
		if c.State == Starting {
			become(Running) // it was up long enough, and nobody had looked
		}
		become(Exited)
	}
	switch t.To {
	case Starting:
		if t.Ended && (c.State == Starting || c.State == Running) {
			exit()
		}
		start()
	case Running:
		start()
		become(Running)
	case Backoff:
		start()
		become(Backoff)
	case Fatal:
		start()
		become(Backoff)
		become(Fatal)
	case Exited:
		exit()
	case Stopping:
		switch c.State {
		case Stopping:
		case Running, Starting:
			become(Stopping)
		default:
			start()
			become(Stopping)
		}
	case Stopped:
		switch c.State {
		case Stopped, Exited, Fatal: // it is at rest, and stays so
			c.State = Stopped
		default:
			become(Stopped)
		}
	}
	if t.PID != 0 {
		c.PID = t.PID
	}
	return changes
}

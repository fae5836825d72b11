// Package supervisord is supervisord on the wire: its XML-RPC methods and log
// streams over HTTP, on unix sockets and TCP, and the protocol of its event
// listeners. What stands behind them is a [Daemon], a small interface that is
// implemented elsewhere.
//
// A [Server] answers HTTP. [Listeners] is what decides about events: a pure
// value that takes what happened and gives what has to be written to whom;
// [Capture] is the same for what a program says between the tags of a
// PROCESS_COMMUNICATION event.
//
// It starts, stops and reads no process itself, reads no configuration (that is
// svconf's), and runs no Python: a result handler is known by its name or not at
// all.
//
// Nothing that is sent to it may make it panic or hold more than a fixed amount
// of memory: connections, requests, answers, buffers of events and lines of
// listeners are bounded, and so is the time in which a request has to come.
package supervisord

import (
	"context"
	"time"

	"tend/internal/svconf"
	"tend/internal/xmlrpc"
)

// A Daemon is what runs the processes. Its methods are called from many
// goroutines at once. An error that is a *[xmlrpc.Fault] is answered as it is;
// any other is a failure inside, and answered as one.
type Daemon interface {
	// Info tells about the daemon itself.
	Info() Info

	// Groups returns the active groups by priority and then name, and in each its
	// processes by priority and then name, which is the order in which they are
	// started. Group returns one of them.
	Groups() []Group
	Group(name string) (Group, bool)

	// Configured returns what was read last, whether it is active or not.
	Configured() []Configured

	// Start starts processes, and Stop stops them, one after the other in the order
	// given, without waiting for one before the next is told. Each outcome is
	// reported once, by calls that don't overlap, as soon as it is known: with wait
	// when the process has come to rest in the new state or has failed to, without
	// when that has begun. They return when all are reported, or with an error when
	// ctx has ended, which takes nothing back.
	//
	// Start refuses, in this order: what it can't find (NoFile) or can't execute or
	// parse (NotExecutable), what is up (AlreadyStarted), what is in state Unknown
	// (Failed). What is being stopped can't be started either, nor what fails in
	// another manner: AbnormalTermination, or SpawnError if it is the spawn that
	// fails, or if the process ends within startsecs. Stop refuses what isn't up
	// (NotRunning).
	Start(ctx context.Context, ids []ID, wait bool, report func(ID, Outcome)) error
	Stop(ctx context.Context, ids []ID, wait bool, report func(ID, Outcome)) error

	// Signal sends a signal to a process, not to its children.
	Signal(id ID, signal svconf.Signal) Outcome

	// WriteStdin appends to what the process reads. It doesn't wait for it to do so:
	// NoFile means that it doesn't read any more, Failed that it has too much unread.
	WriteStdin(id ID, data string) Outcome

	// ClearLogs empties the logs of a process, and ClearLog that of the daemon. The
	// daemon has them open, so it has to do that itself; they are read without it.
	ClearLogs(id ID) Outcome
	ClearLog() error

	// Reread reads the configuration and says which groups it would add, change and
	// remove. The error's text is the one for the user.
	Reread(ctx context.Context) (Changes, error)

	// AddGroup makes a configured group active, and RemoveGroup an active one not.
	AddGroup(ctx context.Context, name string) Outcome
	RemoveGroup(ctx context.Context, name string) Outcome

	// Shutdown and Restart begin what they say and return; the state that Info tells
	// is another one by then.
	Shutdown()
	Restart()

	// RemoteCommunication publishes an event that a client has made.
	RemoteCommunication(typ, data string)
}

// An ID names a process: its group and its name therein.
type ID struct{ Group, Name string }

// Namespec is how supervisord writes the name of a process: with its group,
// unless both are called the same.
func (id ID) Namespec() string {
	if id.Group == id.Name {
		return id.Name
	}
	return id.Group + ":" + id.Name
}

// Info is what the daemon tells of itself.
type Info struct {
	State      DaemonState
	PID        int
	Identifier string
	Version    string // that of the supervisord it stands for, as 4.2.5
	Log        string // its log file; "": none
}

// A DaemonState is the state of the daemon in supervisord's numbers.
type DaemonState int

const (
	DaemonShutdown   DaemonState = -1
	DaemonRestarting DaemonState = 0
	DaemonRunning    DaemonState = 1
	DaemonFatal      DaemonState = 2
)

func (s DaemonState) String() string {
	switch s {
	case DaemonShutdown:
		return "SHUTDOWN"
	case DaemonRestarting:
		return "RESTARTING"
	case DaemonRunning:
		return "RUNNING"
	}
	return "FATAL"
}

// A State is the state of a process in supervisord's numbers.
type State int

const (
	Stopped  State = 0
	Starting State = 10
	Running  State = 20
	Backoff  State = 30
	Stopping State = 40
	Exited   State = 100
	Fatal    State = 200
	Unknown  State = 1000
)

func (s State) String() string {
	switch s {
	case Stopped:
		return "STOPPED"
	case Starting:
		return "STARTING"
	case Running:
		return "RUNNING"
	case Backoff:
		return "BACKOFF"
	case Stopping:
		return "STOPPING"
	case Exited:
		return "EXITED"
	case Fatal:
		return "FATAL"
	}
	return "UNKNOWN"
}

// Up reports whether a process counts as running: a start of it is refused, a
// stop isn't. One that waits to be tried again counts.
func (s State) Up() bool { return s == Running || s == Backoff || s == Starting }

// Signallable reports whether there is a process to send a signal to.
func (s State) Signallable() bool { return s == Running || s == Starting || s == Stopping }

// A Group is an active group.
type Group struct {
	Name      string
	Processes []Process
}

// A Process is what is known of a process now.
type Process struct {
	ID
	State      State
	PID        int       // 0: none
	Start      time.Time // of the last attempt; zero: never
	Stop       time.Time // when it last ended; zero: never
	SpawnErr   string    // why the last attempt failed, as "Exited too quickly (process log may have details)"
	ExitStatus int       // -1: ended by a signal
	Stdout     string    // log files; "": none
	Stderr     string
}

// Configured is a group as it was read, with what became of it.
type Configured struct {
	Group  *svconf.Group
	Active bool

	// Logs are the files that stand for AUTO, by process; nil as long as they have
	// no names, which is until the group is made active.
	Logs map[string]AutoLogs
}

// AutoLogs are the files that AUTO stands for, "" for those that aren't AUTO.
type AutoLogs struct{ Stdout, Stderr string }

// Changes are the groups that a new configuration adds, changes and removes: the
// first two in the order of the configuration, those that go in the order in which
// they became active.
type Changes struct{ Added, Changed, Removed []string }

// An Outcome is what became of something that was asked for. The zero Outcome is
// success.
type Outcome struct {
	Kind   Kind
	Detail string // why, in supervisord's words where there are such
}

// A Kind is a kind of outcome: one of supervisord's faults, or OK.
type Kind int

const (
	OK Kind = iota
	BadName
	NoFile              // the command isn't there; or standard input is closed; or there is no log
	NotExecutable       // the command is there; or it can't be parsed
	Failed              // with the reason as the detail
	AbnormalTermination // a start led to another state
	SpawnError          // it could not be started, or ended too soon
	AlreadyStarted
	NotRunning
	AlreadyAdded
	StillRunning
)

// codes are the faults that the kinds become.
var codes = [...]int{
	OK:                  xmlrpc.Success,
	BadName:             xmlrpc.BadName,
	NoFile:              xmlrpc.NoFile,
	NotExecutable:       xmlrpc.NotExecutable,
	Failed:              xmlrpc.Failed,
	AbnormalTermination: xmlrpc.AbnormalTermination,
	SpawnError:          xmlrpc.SpawnError,
	AlreadyStarted:      xmlrpc.AlreadyStarted,
	NotRunning:          xmlrpc.NotRunning,
	AlreadyAdded:        xmlrpc.AlreadyAdded,
	StillRunning:        xmlrpc.StillRunning,
}

// fault returns the fault for an outcome, nil for success. The name is what the
// client called it; it is the detail where supervisord says no more.
func (o Outcome) fault(name string) *xmlrpc.Fault {
	if o.Kind == OK {
		return nil
	}
	if o.Kind < 0 || int(o.Kind) >= len(codes) {
		return xmlrpc.NewFault(xmlrpc.Failed, o.Detail)
	}
	detail := name
	switch o.Kind {
	case NoFile, NotExecutable, Failed:
		if o.Detail != "" {
			detail = o.Detail
		}
	}
	return faultAbout(codes[o.Kind], detail)
}

// faultAbout is the fault about something that a client has named, be its name
// empty.
func faultAbout(code int, name string) *xmlrpc.Fault {
	f := xmlrpc.NewFault(code, name)
	if name == "" {
		f.Text += ": "
	}
	return f
}

package supervisord

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"tend/internal/svconf"
	"tend/internal/xmlrpc"
)

// A method is one that can be called.
type method struct {
	does     func(c *rpc, args []any) (any, error)
	returns  string   // the type of the answer, in XML-RPC's words
	takes    []string // those of the parameters
	optional int      // how many of them, from the last, may be missing
	always   bool     // it answers during a shutdown as well
	help     string
}

// The types of parameters.
var (
	none        []string
	aName       = []string{"string"}
	aFlag       = []string{"boolean"}
	nameAndFlag = []string{"string", "boolean"}
	nameAndText = []string{"string", "string"}
	part        = []string{"int", "int"}
	nameAndPart = []string{"string", "int", "int"}
)

// methods are all there are, by name. It is filled in by init, as the methods
// about methods need it.
var methods map[string]method

func init() {
	methods = map[string]method{
		"supervisor.getAPIVersion":        {(*rpc).getAPIVersion, "string", none, 0, false, "Return the version of the XML-RPC interface\n\n@return string The version, which is another one than supervisord's"},
		"supervisor.getVersion":           {(*rpc).getAPIVersion, "string", none, 0, false, "Return the version of the XML-RPC interface; an older name of getAPIVersion\n\n@return string The version"},
		"supervisor.getSupervisorVersion": {(*rpc).getSupervisorVersion, "string", none, 0, false, "Return the version of supervisord that is spoken here\n\n@return string The version"},
		"supervisor.getIdentification":    {(*rpc).getIdentification, "string", none, 0, false, "Return what this daemon is called, to tell it from others\n\n@return string The identifier"},
		"supervisor.getState":             {(*rpc).getState, "struct", none, 0, false, "Return current state of supervisord as a struct\n\n@return struct A struct with keys int statecode, string statename"},
		"supervisor.getPID":               {(*rpc).getPID, "int", none, 0, false, "Return the process number of the daemon\n\n@return int The process number"},
		"supervisor.readLog":              {(*rpc).readLog, "string", part, 0, false, "Read a part of the daemon's log\n\n@param int offset Where to begin; below 0 that far from the end\n@param int length How many bytes; 0 for all that follow\n@return string The part"},
		"supervisor.clearLog":             {(*rpc).clearLog, "boolean", none, 0, false, "Empty the daemon's log\n\n@return boolean Always true unless there is an error"},
		"supervisor.shutdown":             {(*rpc).shutdown, "boolean", none, 0, false, "Stop all processes and end\n\n@return boolean Always true unless there is an error"},
		"supervisor.restart":              {(*rpc).restart, "boolean", none, 0, false, "Stop all processes, read the configuration again and start anew\n\n@return boolean Always true unless there is an error"},
		"supervisor.reloadConfig":         {(*rpc).reloadConfig, "array", none, 0, false, "Read the configuration again, and apply nothing\n\n@return array One element: an array of the names of the groups that are added, changed and removed"},

		"supervisor.addProcessGroup":    {(*rpc).addProcessGroup, "boolean", aName, 0, false, "Make a group active that is in the configuration\n\n@param string name The group\n@return boolean Always true unless there is an error"},
		"supervisor.removeProcessGroup": {(*rpc).removeProcessGroup, "boolean", aName, 0, false, "Let go of a group whose processes are stopped\n\n@param string name The group\n@return boolean Always true unless there is an error"},

		"supervisor.startProcess":       {(*rpc).startProcess, "boolean", nameAndFlag, 1, false, "Start a process\n\n@param string name The process, group:process or group:*\n@param boolean wait Answer when it has started, or has failed to\n@return boolean Always true unless there is an error"},
		"supervisor.startProcessGroup":  {(*rpc).startProcessGroup, "array", nameAndFlag, 1, false, "Start the processes of a group\n\n@param string name The group\n@param boolean wait Answer when they have started, or have failed to\n@return array A struct with a status for each process"},
		"supervisor.startAllProcesses":  {(*rpc).startAllProcesses, "array", aFlag, 1, false, "Start all processes\n\n@param boolean wait Answer when they have started, or have failed to\n@return array A struct with a status for each process"},
		"supervisor.stopProcess":        {(*rpc).stopProcess, "boolean", nameAndFlag, 1, false, "Stop a process\n\n@param string name The process, group:process or group:*\n@param boolean wait Answer when it has stopped\n@return boolean Always true unless there is an error"},
		"supervisor.stopProcessGroup":   {(*rpc).stopProcessGroup, "array", nameAndFlag, 1, false, "Stop the processes of a group\n\n@param string name The group\n@param boolean wait Answer when they have stopped\n@return array A struct with a status for each process"},
		"supervisor.stopAllProcesses":   {(*rpc).stopAllProcesses, "array", aFlag, 1, false, "Stop all processes\n\n@param boolean wait Answer when they have stopped\n@return array A struct with a status for each process"},
		"supervisor.signalProcess":      {(*rpc).signalProcess, "boolean", nameAndText, 0, false, "Send a signal to a process\n\n@param string name The process, group:process or group:*\n@param string signal Its name or number\n@return boolean Always true unless there is an error"},
		"supervisor.signalProcessGroup": {(*rpc).signalProcessGroup, "array", nameAndText, 0, false, "Send a signal to the processes of a group\n\n@param string name The group\n@param string signal Its name or number\n@return array A struct with a status for each process"},
		"supervisor.signalAllProcesses": {(*rpc).signalAllProcesses, "array", aName, 0, false, "Send a signal to all processes\n\n@param string signal Its name or number\n@return array A struct with a status for each process"},

		"supervisor.getProcessInfo":    {(*rpc).getProcessInfo, "struct", aName, 0, false, "Tell about a process\n\n@param string name The process, or group:process\n@return struct What is known of it"},
		"supervisor.getAllProcessInfo": {(*rpc).getAllProcessInfo, "array", none, 0, false, "Tell about all processes\n\n@return array A struct for each, as getProcessInfo gives it"},
		"supervisor.getAllConfigInfo":  {(*rpc).getAllConfigInfo, "array", none, 0, false, "Tell how all processes are configured, active or not\n\n@return array A struct for each"},

		"supervisor.readProcessStdoutLog": {(*rpc).readStdout, "string", nameAndPart, 0, false, "Read a part of what a process has written to stdout\n\n@param string name The process, or group:process\n@param int offset Where to begin; below 0 that far from the end\n@param int length How many bytes; 0 for all that follow\n@return string The part"},
		"supervisor.readProcessStderrLog": {(*rpc).readStderr, "string", nameAndPart, 0, false, "Read a part of what a process has written to stderr\n\n@param string name The process, or group:process\n@param int offset Where to begin; below 0 that far from the end\n@param int length How many bytes; 0 for all that follow\n@return string The part"},
		"supervisor.tailProcessStdoutLog": {(*rpc).tailStdout, "array", nameAndPart, 0, false, "Read the end of what a process has written to stdout\n\n@param string name The process, or group:process\n@param int offset From where on it is new\n@param int length How many bytes at most\n@return array The part, the offset to ask from next, and whether there was more than that"},
		"supervisor.tailProcessStderrLog": {(*rpc).tailStderr, "array", nameAndPart, 0, false, "Read the end of what a process has written to stderr\n\n@param string name The process, or group:process\n@param int offset From where on it is new\n@param int length How many bytes at most\n@return array The part, the offset to ask from next, and whether there was more than that"},
		"supervisor.clearProcessLogs":     {(*rpc).clearProcessLogs, "boolean", aName, 0, false, "Empty the logs of a process\n\n@param string name The process, or group:process\n@return boolean Always true unless there is an error"},
		"supervisor.clearAllProcessLogs":  {(*rpc).clearAllProcessLogs, "array", none, 0, false, "Empty the logs of all processes\n\n@return array A struct with a status for each process"},

		"supervisor.sendProcessStdin":    {(*rpc).sendProcessStdin, "boolean", nameAndText, 0, false, "Write to the stdin of a process\n\n@param string name The process, or group:process\n@param string chars What to write\n@return boolean Always true unless there is an error"},
		"supervisor.sendRemoteCommEvent": {(*rpc).sendRemoteCommEvent, "boolean", nameAndText, 0, true, "Send an event to the event listeners\n\n@param string type What kind it is, for them to know\n@param string data What it says\n@return boolean Always true unless there is an error"},

		"system.listMethods":     {(*rpc).listMethods, "array", none, 0, true, "Return the names of all methods\n\n@return array The names"},
		"system.methodHelp":      {(*rpc).methodHelp, "string", aName, 0, true, "Return the documentation of a method\n\n@param string name The method\n@return string The documentation"},
		"system.methodSignature": {(*rpc).methodSignature, "array", aName, 0, true, "Return the types that a method has\n\n@param string name The method\n@return array The type of what it returns, then those of its parameters"},
		"system.multicall":       {(*rpc).multicall, "array", []string{"array"}, 0, true, "Call several methods, one after the other\n\n@param array calls A struct with methodName and params for each\n@return array The answer of each as it is, or a struct with faultCode and faultString"},
	}
	for other, name := range map[string]string{
		"supervisor.readMainLog":     "supervisor.readLog",
		"supervisor.readProcessLog":  "supervisor.readProcessStdoutLog",
		"supervisor.tailProcessLog":  "supervisor.tailProcessStdoutLog",
		"supervisor.clearProcessLog": "supervisor.clearProcessLogs",
	} {
		methods[other] = methods[name]
	}
}

// errType is the error of a parameter that supervisord has no way with: it
// answers that with 500 of HTTP.
var errType = errors.New("a parameter has a type that it can't have")

// maxMulticall bounds the answers that one request can ask for.
const maxMulticall = 1000

// rpc is one request of XML-RPC.
type rpc struct {
	ctx    context.Context
	daemon Daemon
	now    func() time.Time
	budget int // bytes of logs that may still be read for it

	big  chan struct{} // those whose answers are big hold an element; nil: no bound
	held bool          // this one does
}

// hold waits until there is room for a big answer.
func (c *rpc) hold() error {
	if c.held || c.big == nil {
		return nil
	}
	select {
	case c.big <- struct{}{}:
		c.held = true
		return nil
	case <-c.ctx.Done():
		return c.ctx.Err()
	}
}

// release gives the room back.
func (c *rpc) release() {
	if c.held {
		c.held = false
		<-c.big
	}
}

// call calls a method. The error is a *xmlrpc.Fault, or something that has no
// other answer than 500.
func (c *rpc) call(name string, args []any) (any, error) {
	m, known := methods[name]
	switch {
	case !known:
		return nil, xmlrpc.NewFault(xmlrpc.UnknownMethod, "")
	case len(args) > len(m.takes) || len(args) < len(m.takes)-m.optional:
		return nil, xmlrpc.NewFault(xmlrpc.IncorrectParameters, "")
	case !m.always && c.daemon.Info().State < DaemonRunning:
		return nil, xmlrpc.NewFault(xmlrpc.ShutdownState, "")
	}
	return m.does(c, args)
}

// badName is the fault for a name that nothing has. Whatever is no string has no
// name either, and some methods say that of it and others fail on it.
func badName(name any) error {
	if name == nil {
		return xmlrpc.NewFault(xmlrpc.BadName, "")
	}
	text, _ := python(name)
	return faultAbout(xmlrpc.BadName, text)
}

// python returns a value as Python's str does, as far as there is need.
func python(v any) (text string, ok bool) {
	switch v := v.(type) {
	case string:
		return v, true
	case int, float64:
		return fmt.Sprint(v), true
	case bool:
		if v {
			return "True", true
		}
		return "False", true
	case nil:
		return "", false
	case time.Time:
		return v.Format("20060102T15:04:05"), true
	}
	return "", false
}

// truth returns whether Python takes a value for true.
func truth(v any) bool {
	switch v := v.(type) {
	case bool:
		return v
	case int:
		return v != 0
	case float64:
		return v != 0
	case string:
		return v != ""
	case []any:
		return len(v) > 0
	case xmlrpc.Struct:
		return len(v) > 0
	}
	return v != nil
}

// waits returns the optional parameter wait.
func waits(args []any, i int) bool { return i >= len(args) || truth(args[i]) }

// process looks a process up by its namespec. With group:* and group: there is
// none, but all is set.
func (c *rpc) process(name any) (p Process, all bool, err error) {
	text, ok := name.(string)
	if !ok {
		return p, false, errType
	}
	group, process, qualified := strings.Cut(text, ":")
	if !qualified {
		process = text
	}
	g, ok := c.daemon.Group(group)
	if !ok {
		return p, false, badName(name)
	}
	if qualified && (process == "" || process == "*") {
		return p, true, nil
	}
	for _, p := range g.Processes {
		if p.Name == process {
			return p, false, nil
		}
	}
	return p, false, badName(name)
}

// one looks one process up.
func (c *rpc) one(name any) (Process, error) {
	p, all, err := c.process(name)
	if all {
		err = badName(name)
	}
	return p, err
}

// groupNamed returns the processes of a group.
func (c *rpc) groupNamed(name any) ([]Process, error) {
	switch name.(type) {
	case []any, xmlrpc.Struct:
		return nil, xmlrpc.NewFault(xmlrpc.IncorrectParameters, "")
	}
	text, ok := name.(string)
	if ok {
		if g, ok := c.daemon.Group(text); ok {
			return g.Processes, nil
		}
	}
	return nil, badName(name)
}

// everything returns all processes.
func (c *rpc) everything() []Process {
	var list []Process
	for _, g := range c.daemon.Groups() {
		list = append(list, g.Processes...)
	}
	return list
}

// among returns the names of those that are in one of some states.
func among(list []Process, in func(State) bool) []ID {
	var ids []ID
	for _, p := range list {
		if in(p.State) {
			ids = append(ids, p.ID)
		}
	}
	return ids
}

// status is one element of the answer of a method about several processes.
func status(id ID, f *xmlrpc.Fault) any {
	code, text := xmlrpc.Success, "OK"
	if f != nil {
		code, text = f.Code, f.Text
	}
	return xmlrpc.Struct{
		{Name: "name", Value: id.Name},
		{Name: "group", Value: id.Group},
		{Name: "status", Value: code},
		{Name: "description", Value: text},
	}
}

// An action is Start or Stop of a Daemon.
type action func(ctx context.Context, ids []ID, wait bool, report func(ID, Outcome)) error

// actOne carries an action out on one process, which the client called name.
func (c *rpc) actOne(do action, id ID, name string, wait bool) (any, error) {
	var got Outcome
	err := do(c.ctx, []ID{id}, wait, func(_ ID, o Outcome) { got = o })
	if err != nil {
		return nil, fmt.Errorf("cannot wait for %s: %w", id.Namespec(), err)
	}
	if f := got.fault(name); f != nil {
		return nil, f
	}
	return true, nil
}

// actAll carries an action out on several, and answers in the order in which
// they are done.
func (c *rpc) actAll(do action, ids []ID, wait bool) (any, error) {
	list := make([]any, 0, len(ids))
	if len(ids) == 0 {
		return list, nil
	}
	err := do(c.ctx, ids, wait, func(id ID, o Outcome) { list = append(list, status(id, o.fault(id.Namespec()))) })
	if err != nil {
		return nil, fmt.Errorf("cannot wait for %d processes: %w", len(ids), err)
	}
	return list, nil
}

func down(s State) bool { return !s.Up() }

func (c *rpc) startProcess(args []any) (any, error) {
	p, all, err := c.process(args[0])
	switch {
	case err != nil:
		return nil, err
	case all:
		return c.startGroup(p, args)
	}
	return c.actOne(c.daemon.Start, p.ID, args[0].(string), waits(args, 1))
}

// startGroup is startProcess of group:*.
func (c *rpc) startGroup(_ Process, args []any) (any, error) {
	group, _, _ := strings.Cut(args[0].(string), ":")
	return c.startProcessGroup(append([]any{group}, args[1:]...))
}

func (c *rpc) startProcessGroup(args []any) (any, error) {
	list, err := c.groupNamed(args[0])
	if err != nil {
		return nil, err
	}
	return c.actAll(c.daemon.Start, among(list, down), waits(args, 1))
}

func (c *rpc) startAllProcesses(args []any) (any, error) {
	return c.actAll(c.daemon.Start, among(c.everything(), down), waits(args, 0))
}

func (c *rpc) stopProcess(args []any) (any, error) {
	p, all, err := c.process(args[0])
	switch {
	case err != nil:
		return nil, err
	case all:
		group, _, _ := strings.Cut(args[0].(string), ":")
		return c.stopProcessGroup(append([]any{group}, args[1:]...))
	case !p.State.Up():
		return nil, xmlrpc.NewFault(xmlrpc.NotRunning, args[0].(string))
	}
	return c.actOne(c.daemon.Stop, p.ID, args[0].(string), waits(args, 1))
}

func (c *rpc) stopProcessGroup(args []any) (any, error) {
	list, err := c.groupNamed(args[0])
	if err != nil {
		return nil, err
	}
	return c.actAll(c.daemon.Stop, among(list, State.Up), waits(args, 1))
}

func (c *rpc) stopAllProcesses(args []any) (any, error) {
	return c.actAll(c.daemon.Stop, among(c.everything(), State.Up), waits(args, 0))
}

// signalNamed reads the signal of a request, which can be a number as well.
func signalNamed(v any) (svconf.Signal, error) {
	text, ok := python(v)
	if !ok {
		return 0, errType
	}
	if b, is := v.(bool); is { // as Python's booleans are numbers
		text = "0"
		if b {
			text = "1"
		}
	}
	n, err := svconf.ParseSignal(text)
	if err != nil {
		return 0, faultAbout(xmlrpc.BadSignal, text)
	}
	return n, nil
}

// signalOne sends a signal to a process, which the client called name.
func (c *rpc) signalOne(p Process, name string, signal any) error {
	n, err := signalNamed(signal)
	if err != nil {
		return err
	}
	if !p.State.Signallable() {
		return faultAbout(xmlrpc.NotRunning, name)
	}
	if f := c.daemon.Signal(p.ID, n).fault(name); f != nil {
		return f
	}
	return nil
}

func (c *rpc) signalProcess(args []any) (any, error) {
	p, all, err := c.process(args[0])
	switch {
	case err != nil:
		return nil, err
	case all:
		group, _, _ := strings.Cut(args[0].(string), ":")
		return c.signalProcessGroup([]any{group, args[1]})
	}
	return true, c.signalOne(p, args[0].(string), args[1])
}

func (c *rpc) signalProcessGroup(args []any) (any, error) {
	list, err := c.groupNamed(args[0])
	if err != nil {
		return nil, err
	}
	return c.signalThese(list, args[1])
}

func (c *rpc) signalAllProcesses(args []any) (any, error) {
	return c.signalThese(c.everything(), args[0])
}

func (c *rpc) signalThese(list []Process, signal any) (any, error) {
	return each(list, State.Signallable, func(p Process) error { return c.signalOne(p, p.Namespec(), signal) })
}

// each does something with each process that is in one of some states.
func each(list []Process, in func(State) bool, do func(Process) error) (any, error) {
	answer := make([]any, 0, len(list))
	for _, p := range list {
		if !in(p.State) {
			continue
		}
		err := do(p)
		var f *xmlrpc.Fault
		if err != nil && !errors.As(err, &f) {
			return nil, err
		}
		answer = append(answer, status(p.ID, f))
	}
	return answer, nil
}

func (c *rpc) getProcessInfo(args []any) (any, error) {
	p, err := c.one(args[0])
	if err != nil {
		return nil, err
	}
	return processInfo(p, c.now()), nil
}

func (c *rpc) getAllProcessInfo([]any) (any, error) {
	list := c.everything()
	slices.SortStableFunc(list, func(a, b Process) int {
		if d := strings.Compare(a.Group, b.Group); d != 0 {
			return d
		}
		return strings.Compare(a.Name, b.Name)
	})
	now, answer := c.now(), make([]any, len(list))
	for i, p := range list {
		answer[i] = processInfo(p, now)
	}
	return answer, nil
}

func (c *rpc) getAllConfigInfo([]any) (any, error) { return configInfo(c.daemon.Configured()), nil }

func (c *rpc) clearProcessLogs(args []any) (any, error) {
	p, err := c.one(args[0])
	if err != nil {
		return nil, err
	}
	if f := c.daemon.ClearLogs(p.ID).fault(args[0].(string)); f != nil {
		return nil, f
	}
	return true, nil
}

func (c *rpc) clearAllProcessLogs([]any) (any, error) {
	anyState := func(State) bool { return true }
	return each(c.everything(), anyState, func(p Process) error {
		if f := c.daemon.ClearLogs(p.ID).fault(p.Namespec()); f != nil {
			return f
		}
		return nil
	})
}

func (c *rpc) sendProcessStdin(args []any) (any, error) {
	data, ok := args[1].(string)
	if !ok {
		text, _ := python(args[1])
		return nil, xmlrpc.NewFault(xmlrpc.IncorrectParameters, text)
	}
	p, err := c.one(args[0])
	if err != nil {
		return nil, err
	}
	name := args[0].(string)
	if !p.State.Signallable() || p.State == Stopping {
		return nil, xmlrpc.NewFault(xmlrpc.NotRunning, name)
	}
	if f := c.daemon.WriteStdin(p.ID, data).fault(name); f != nil {
		return nil, f
	}
	return true, nil
}

func (c *rpc) sendRemoteCommEvent(args []any) (any, error) {
	var text [2]string
	for i := range text {
		var ok bool
		if text[i], ok = python(args[i]); !ok {
			return nil, errType
		}
	}
	c.daemon.RemoteCommunication(text[0], text[1])
	return true, nil
}

func (c *rpc) addProcessGroup(args []any) (any, error) { return c.group(c.daemon.AddGroup, args[0]) }

func (c *rpc) removeProcessGroup(args []any) (any, error) {
	return c.group(c.daemon.RemoveGroup, args[0])
}

func (c *rpc) group(do func(context.Context, string) Outcome, arg any) (any, error) {
	name, ok := arg.(string)
	if !ok {
		return nil, badName(arg)
	}
	if f := do(c.ctx, name).fault(name); f != nil {
		return nil, f
	}
	return true, nil
}

func (c *rpc) reloadConfig([]any) (any, error) {
	changes, err := c.daemon.Reread(c.ctx)
	if err != nil {
		return nil, xmlrpc.NewFault(xmlrpc.CantReread, err.Error())
	}
	lists := make([]any, 3)
	for i, names := range [3][]string{changes.Added, changes.Changed, changes.Removed} {
		list := make([]any, len(names))
		for j, name := range names {
			list[j] = name
		}
		lists[i] = list
	}
	return []any{lists}, nil
}

func (c *rpc) getAPIVersion([]any) (any, error)        { return "3.0", nil }
func (c *rpc) getSupervisorVersion([]any) (any, error) { return c.daemon.Info().Version, nil }
func (c *rpc) getIdentification([]any) (any, error)    { return c.daemon.Info().Identifier, nil }
func (c *rpc) getPID([]any) (any, error)               { return c.daemon.Info().PID, nil }

func (c *rpc) getState([]any) (any, error) {
	s := c.daemon.Info().State
	return xmlrpc.Struct{{Name: "statecode", Value: int(s)}, {Name: "statename", Value: s.String()}}, nil
}

func (c *rpc) shutdown([]any) (any, error) {
	c.daemon.Shutdown()
	return true, nil
}

func (c *rpc) restart([]any) (any, error) {
	c.daemon.Restart()
	return true, nil
}

func (c *rpc) listMethods([]any) (any, error) {
	names := make([]string, 0, len(methods))
	for name := range methods {
		names = append(names, name)
	}
	slices.Sort(names)
	list := make([]any, len(names))
	for i, name := range names {
		list[i] = name
	}
	return list, nil
}

// described returns the method that a parameter names.
func described(arg any) (method, error) {
	name, _ := arg.(string)
	m, ok := methods[name]
	if !ok {
		return m, xmlrpc.NewFault(xmlrpc.SignatureUnsupported, "")
	}
	return m, nil
}

func (c *rpc) methodHelp(args []any) (any, error) {
	m, err := described(args[0])
	if err != nil {
		return nil, err
	}
	// It looks like a comment in Python, and there are pages that show it as one.
	const indent = "\n        "
	return " " + strings.ReplaceAll(strings.ReplaceAll(m.help, "\n", indent), indent+"\n", "\n\n") + indent, nil
}

func (c *rpc) methodSignature(args []any) (any, error) {
	m, err := described(args[0])
	if err != nil {
		return nil, err
	}
	list := []any{m.returns}
	for _, t := range m.takes {
		list = append(list, t)
	}
	return list, nil
}

// multicall calls methods in order, each when the one before it has its answer.
// Answers are bare values, not arrays of one, as those who wrote their clients for
// supervisord expect.
func (c *rpc) multicall(args []any) (any, error) {
	calls, ok := args[0].([]any)
	if !ok {
		return nil, xmlrpc.NewFault(xmlrpc.IncorrectParameters, "")
	}
	if len(calls) > maxMulticall {
		return nil, xmlrpc.NewFault(xmlrpc.IncorrectParameters, fmt.Sprintf("more than %d calls in one", maxMulticall))
	}
	answers := make([]any, len(calls))
	for i, v := range calls {
		answer, err := c.within(v)
		var f *xmlrpc.Fault
		switch {
		case err == nil:
			answers[i] = answer
			continue
		case c.ctx.Err() != nil:
			return nil, err
		case !errors.As(err, &f):
			f = xmlrpc.NewFault(xmlrpc.Failed, err.Error())
		}
		answers[i] = xmlrpc.Struct{{Name: "faultCode", Value: f.Code}, {Name: "faultString", Value: f.Text}}
	}
	return answers, nil
}

// within is one call of a multicall.
func (c *rpc) within(v any) (any, error) {
	call, ok := v.(xmlrpc.Struct)
	if !ok {
		return nil, errType
	}
	value, _ := call.Get("methodName")
	if !truth(value) {
		return nil, xmlrpc.NewFault(xmlrpc.IncorrectParameters, "No methodName")
	}
	name, ok := value.(string)
	if !ok {
		return nil, errType
	}
	if name == "system.multicall" {
		return nil, xmlrpc.NewFault(xmlrpc.IncorrectParameters, "Recursive system.multicall forbidden")
	}
	params, given := call.Get("params")
	list, ok := params.([]any)
	if given && !ok {
		return nil, errType
	}
	return c.call(name, list)
}

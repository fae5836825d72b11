package engine

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"tend/internal/event"
	"tend/internal/spec"
	"tend/internal/unit"
)

// An End is how a run of an instance ended, or how several in a row did that
// ended alike: the latest of them then.
type End struct {
	event.Exit
	Times int `json:"times"`
}

// endsKept is how many different ends are known of an instance.
const endsKept = 4

// noteEnd remembers the unit's last end. Ends that were put aside aren't changed.
func (n *entry) noteEnd() {
	end := End{*n.unit.Last(), 1}
	n.ends = slices.Clone(n.ends)
	long := func(d time.Duration) bool { return d >= n.unit.Spec().Backoff.Reset }
	if last := len(n.ends) - 1; last >= 0 {
		if before := n.ends[last]; before.Reason() == end.Reason() && long(before.Uptime) == long(end.Uptime) {
			end.Times += before.Times
			n.ends = n.ends[:last]
		}
	}
	n.ends = append(n.ends, end)
	n.ends = n.ends[max(0, len(n.ends)-endsKept):]
}

// A Neighbour is an instance of a program that another one comes after.
type Neighbour struct {
	Name    string
	State   unit.State
	Message string // why it is so
	Blocks  bool   // it is waited for
}

// A Story is a [View] with what led there and what comes next.
type Story struct {
	View
	After    []Neighbour
	Ends     []End  // the latest one last; of each row of alike ones the latest
	ByHand   bool   // somebody has started or stopped it, over the configuration
	Leaving  bool   // no longer configured
	Held     string // "stop", "drain" or "restart": a wish that waits for what comes after it
	Due      time.Time
	Killed   bool // what is being stopped was killed
	Misses   int  // failed health checks in a row
	Failures int  // failed starts in a row
}

// Stories tells of the instances that pattern means, as in [Act].
func (e *Engine) Stories(pattern string) []Story {
	var list []Story
	for _, n := range e.match(pattern) {
		u := n.unit
		s := Story{View: e.view(n), Ends: n.ends, ByHand: n.manual != byConfig, Leaving: n.leaving,
			Due: u.Due(), Killed: u.Killed(), Misses: u.Misses(), Failures: u.Failures()}
		switch n.held.(type) {
		case unit.Down:
			s.Held = "stop"
		case unit.Drain:
			s.Held = "drain"
		case unit.Restart:
			s.Held = "restart"
		}
		for _, dep := range n.program.after {
			for _, m := range dep.entries {
				blocks := m.blocks() || n.bound && !m.isUp() && slices.Contains(n.program.spec.Requires, dep.spec.Name)
				s.After = append(s.After, Neighbour{m.name, m.unit.State(), m.message, blocks && n.waiting})
			}
		}
		list = append(list, s)
	}
	return list
}

// Text tells the story in a paragraph: how it is, what led there, what comes next.
func (s *Story) Text(now time.Time) string {
	sentences := []string{s.is(now)}
	for _, more := range []string{s.held(), s.outdated(), s.says(), s.led(now), s.next(now)} {
		if more != "" {
			sentences = append(sentences, more)
		}
	}
	return strings.Join(sentences, " ")
}

// Do returns the one command that helps best, and what it does.
func (s *Story) Do() (command, does string) {
	for _, m := range s.After {
		if m.Blocks {
			return "tend why " + m.Name, "see why " + m.Name + " isn't ready"
		}
	}
	switch s.State {
	case unit.Stopped:
		if !s.Spec.Enabled || s.Leaving {
			return "tend plan", "see what the files would change"
		}
		return "tend start " + s.Name, "start it"
	case unit.Waiting:
		if s.Spec.IsTask() {
			return "tend run-now " + s.Name, "run it now"
		}
		return "tend start " + s.Name, "start it now"
	case unit.Exited, unit.Failed:
		if s.Last != nil && s.Last.Success {
			return "tend start " + s.Name, "run it again"
		}
		return "tend start " + s.Name, "try it once more, when what was wrong is mended"
	case unit.Done:
		return "tend start " + s.Name, "run it again"
	case unit.Backoff:
		return "tend logs " + s.Name, "see more of what it printed"
	case unit.Stopping:
		return "tend events -f", "see it end"
	}
	return "tend logs -f " + s.Name, "see what it prints"
}

func took(d time.Duration) string { return unit.Duration(max(d, 0)) }

func times(n int) string {
	switch n {
	case 1:
		return "once"
	case 2:
		return "twice"
	}
	return fmt.Sprintf("%d times", n)
}

// is says how the instance is, and since when.
func (s *Story) is(now time.Time) string {
	since := took(now.Sub(s.Since))
	pid := ""
	if s.PID != 0 {
		pid = fmt.Sprintf("pid %d, ", s.PID)
	}
	switch s.State {
	case unit.Running:
		up := "up " + took(now.Sub(s.Started))
		switch {
		case s.Spec.IsTask():
			return fmt.Sprintf("%s is running: %s%s. It is a task, and done when it has exited with success.", s.Name, pid, up)
		case !s.Ready:
			return fmt.Sprintf("%s runs, %s%s, and isn't ready: it reads its configuration anew.", s.Name, pid, up)
		case s.Misses > 0:
			return fmt.Sprintf("%s is ready, %s%s, but its last health check has failed (%s): %d more, and it is restarted.",
				s.Name, pid, up, alike(s.Misses), max(s.Spec.Health.Failures-s.Misses, 1))
		case s.Health == unit.Healthy:
			return fmt.Sprintf("%s is ready and healthy: %s%s.", s.Name, pid, up)
		}
		return fmt.Sprintf("%s is ready: %s%s.", s.Name, pid, up)
	case unit.Starting:
		return fmt.Sprintf("%s is starting, %sfor %s: %s.", s.Name, pid, since, s.untilReady())
	case unit.Waiting:
		what := s.Message
		switch {
		case s.Idle && s.Spec.OnDemand:
			what = "waits for a connection"
		case s.Idle:
			what = "waits for its time"
		case len(s.blockers()) > 0:
			what = "waits for " + strings.Join(s.blockers(), ", ")
		}
		return fmt.Sprintf("%s %s, for %s now.", s.Name, what, since)
	case unit.Backoff:
		return fmt.Sprintf("%s is in backoff, for %s now: it doesn't stay up, and waits before it is started again.", s.Name, since)
	case unit.Stopping:
		return fmt.Sprintf("%s is being stopped, %sfor %s now: %s.", s.Name, pid, since, s.Message)
	case unit.Draining:
		return fmt.Sprintf("%s is draining, %sfor %s now: it isn't wanted any more, and is left to end by itself.", s.Name, pid, since)
	case unit.Exited:
		return fmt.Sprintf("%s has ended %s ago, and isn't started again, since its restart is %q.", s.Name, since, s.Spec.Restart)
	case unit.Done:
		return fmt.Sprintf("%s is done: it is a task that has succeeded, %s ago.", s.Name, since)
	case unit.Failed:
		if s.Failures > 1 {
			return fmt.Sprintf("%s has failed %s ago, after %d failed starts in a row.", s.Name, since, s.Failures)
		}
		return fmt.Sprintf("%s has failed %s ago.", s.Name, since)
	case unit.Stopped:
		return fmt.Sprintf("%s is stopped, for %s now: %s.", s.Name, since, s.whyStopped())
	}
	panic("engine: unknown state " + s.State.String())
}

func alike(n int) string {
	if n == 1 {
		return "the first"
	}
	return fmt.Sprintf("%d in a row", n)
}

func (s *Story) whyStopped() string {
	switch {
	case s.Leaving:
		return "it isn't configured any more"
	case !s.Spec.Enabled:
		return "it is disabled (enabled = false)"
	case s.ByHand && !s.Wanted:
		return "somebody has stopped it"
	case !s.Spec.Autostart:
		return "it is only started by hand (autostart = false)"
	}
	return cmp.Or(s.Message, "it was not started yet")
}

// untilReady says when a start is one.
func (s *Story) untilReady() string {
	r := &s.Spec.Ready
	switch r.Way() {
	case "http":
		return "it is ready when " + r.HTTP + " answers"
	case "tcp":
		return "it is ready when " + r.TCP + " accepts connections"
	case "grpc":
		return "it is ready when " + r.GRPC + " says that it serves"
	case "exec":
		return "it is ready when " + r.Exec.String() + " succeeds"
	case "log":
		return fmt.Sprintf("it is ready when it prints a line that matches %q", r.Log)
	case "notify":
		return "it is ready when it says so (sd_notify)"
	case "fd":
		return fmt.Sprintf("it is ready when it writes a line to descriptor %d", r.FD.Value)
	}
	return "it counts as started when it is up for " + took(s.Spec.MinUptime)
}

// blockers names what it waits for, each with how that is.
func (s *Story) blockers() (list []string) {
	for _, m := range s.After {
		switch {
		case !m.Blocks:
		case m.Message != "" && m.State.AtRest():
			list = append(list, fmt.Sprintf("%s (%s: %s)", m.Name, m.State, m.Message))
		default:
			list = append(list, fmt.Sprintf("%s (%s)", m.Name, m.State))
		}
	}
	return list
}

// held tells of a wish that isn't carried out yet.
func (s *Story) held() string {
	switch s.Held {
	case "":
		return ""
	case "drain":
		return "It is to be let go of, as soon as what comes after it has stopped."
	}
	return fmt.Sprintf("It is to %s, as soon as what comes after it has stopped.", s.Held)
}

func (s *Story) outdated() string {
	if !s.Outdated {
		return ""
	}
	return "It still runs by an earlier configuration: a rolling restart has ended before its turn."
}

func (s *Story) says() string {
	if s.Status == "" {
		return ""
	}
	return fmt.Sprintf("It says of itself: %q.", s.Status)
}

// led tells of the last ends, the latest one first.
func (s *Story) led(now time.Time) string {
	var list []string
	for i, end := range slices.Backward(s.Ends) {
		what := end.Reason()
		if end.Err == "" {
			what += " after " + took(end.Uptime)
		}
		when := took(now.Sub(end.At)) + " ago"
		switch {
		case i == len(s.Ends)-1 && end.Times == 1:
			list = append(list, fmt.Sprintf("Its last end was %s, %s.", what, when))
		case i == len(s.Ends)-1:
			list = append(list, fmt.Sprintf("It has ended %s in a row the same way, the last time %s: %s.", times(end.Times), when, what))
		case end.Times == 1:
			list = append(list, fmt.Sprintf("Before that: %s, %s.", what, when))
		default:
			list = append(list, fmt.Sprintf("Before that, %s: %s, the last one %s.", times(end.Times), what, when))
		}
	}
	return strings.Join(list, " ")
}

// next says what happens if nobody does anything, and when.
func (s *Story) next(now time.Time) string {
	in := took(s.Due.Sub(now))
	switch s.State {
	case unit.Running:
		if s.Held != "" {
			return ""
		}
		return strings.TrimSpace(s.afterEnd() + s.run(now))
	case unit.Starting:
		if s.Due.IsZero() || !s.Spec.Ready.IsSet() {
			return strings.TrimSpace(s.run(now))
		}
		return fmt.Sprintf("If that takes more than another %s it is a failed start, and it is started again.%s", in, s.run(now))
	case unit.Waiting:
		if s.Spec.OnDemand && s.Idle {
			return "The first connection to one of its sockets starts it."
		}
		return strings.TrimSpace(s.run(now))
	case unit.Backoff:
		next := fmt.Sprintf("The next try is in %s; the waits grow to %s.", in, took(s.Spec.Backoff.Max))
		if left := s.Spec.MaxFailures - s.Failures; s.Spec.MaxFailures > 0 && left > 0 && s.Failures > 0 {
			next += fmt.Sprintf(" If it fails %s more, it is given up.", times(left))
		}
		return next
	case unit.Stopping:
		after := "is stopped"
		if s.Wanted {
			after = "is started again"
		}
		switch {
		case s.Due.IsZero():
			return "When it has ended it " + after + "."
		case s.Killed:
			return fmt.Sprintf("It was killed, and what is left of it is killed again in %s; when nothing is left it %s.", in, after)
		}
		return fmt.Sprintf("If it hasn't ended in %s it is killed; when nothing of it is left it %s.", in, after)
	case unit.Draining:
		return "When it has ended it isn't started again."
	case unit.Failed:
		if !s.Due.IsZero() {
			return fmt.Sprintf("It is tried again in %s.", in)
		}
		return "It isn't tried again by itself." + s.run(now)
	case unit.Done, unit.Exited:
		return strings.TrimSpace(s.run(now))
	}
	return ""
}

// afterEnd says what follows when the process ends.
func (s *Story) afterEnd() string {
	switch {
	case s.Spec.IsTask() && s.Spec.Restart == spec.RestartNever, s.Spec.Schedule != "" && s.Spec.Restart != spec.RestartOnFailure:
		return "If it fails it isn't tried again by itself."
	case s.Spec.IsTask():
		return "If it fails it is tried again."
	case s.Spec.Restart == spec.RestartNever:
		return "When it ends it isn't started again."
	case s.Spec.Restart == spec.RestartOnFailure:
		return "If it fails it is started again."
	}
	return "When it ends it is started again."
}

// run tells of the next run by the schedule.
func (s *Story) run(now time.Time) string {
	if s.Spec.Schedule == "" || s.Next.IsZero() || s.State == unit.Backoff || s.State == unit.Failed && !s.Due.IsZero() {
		return ""
	}
	return fmt.Sprintf(" Its next run is at %s, in %s.", s.Next.Format("2006-01-02 15:04:05 MST"), took(s.Next.Sub(now)))
}

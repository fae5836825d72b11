// Package words says things to people at a terminal: durations, sizes, states,
// ends, always in the same words, whoever shows them.
package words

import (
	"path"
	"strconv"
	"strings"
	"time"

	"tend/api"
)

// Span returns d for people, in at most two units: "40 ms", "0.3 s", "42 s",
// "3 min", "4 h 12 min", "2 d 4 h".
func Span(d time.Duration) string {
	two := func(big time.Duration, bigUnit string, small time.Duration, smallUnit string) string {
		s := strconv.FormatInt(int64(d/big), 10) + " " + bigUnit
		if rest := d % big / small; rest > 0 {
			s += " " + strconv.FormatInt(int64(rest), 10) + " " + smallUnit
		}
		return s
	}
	const day = 24 * time.Hour
	switch {
	case d <= 0:
		return "0 s"
	case d < 100*time.Millisecond:
		return strconv.FormatInt(max(1, d.Milliseconds()), 10) + " ms"
	case d < 10*time.Second:
		// Cut off, not rounded: 0.99 s isn't yet a second.
		return strconv.FormatFloat(d.Truncate(100*time.Millisecond).Seconds(), 'f', -1, 64) + " s"
	case d < time.Minute:
		return strconv.FormatInt(int64(d/time.Second), 10) + " s"
	case d < time.Hour:
		return strconv.FormatInt(int64(d/time.Minute), 10) + " min"
	case d < day:
		return two(time.Hour, "h", time.Minute, "min")
	}
	return two(day, "d", time.Hour, "h")
}

// Roughly returns d in the unit that fits it, rounded: "6 h" for 5 h 59 min.
func Roughly(d time.Duration) string {
	for _, u := range []struct {
		unit time.Duration
		name string
	}{{24 * time.Hour, "d"}, {time.Hour, "h"}, {time.Minute, "min"}, {time.Second, "s"}} {
		// From 60 min on it is 1 h; below 10 s the tenths matter.
		if r := d.Round(u.unit); r >= u.unit && d >= u.unit-u.unit/60 && d >= 10*time.Second {
			return strconv.FormatInt(int64(r/u.unit), 10) + " " + u.name
		}
	}
	return Span(d)
}

// ShortSpan is Span without blanks, "2d4h", for columns that scripts split.
func ShortSpan(d time.Duration) string {
	return strings.ReplaceAll(strings.ReplaceAll(Span(d), " ", ""), "min", "m")
}

// Size returns n bytes for people: "48 MB". A unit is 1000 of the one below, as
// in the configuration.
func Size(n int64) string {
	if n < 1000 {
		return strconv.FormatInt(n, 10) + " B"
	}
	f, unit := float64(n), 0
	for f >= 999.5 && unit < 5 {
		f /= 1000
		unit++
	}
	digits := 0
	if f < 9.95 {
		digits = 1
	}
	return strconv.FormatFloat(f, 'f', digits, 64) + " " + []string{"B", "kB", "MB", "GB", "TB", "PB"}[unit]
}

// Percent returns p for people: "0.3%", "12%".
func Percent(p float64) string {
	if p < 9.95 {
		return strconv.FormatFloat(p, 'f', 1, 64) + "%"
	}
	return strconv.FormatFloat(p, 'f', 0, 64) + "%"
}

// Count returns "1 error", "2 errors".
func Count(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return strconv.Itoa(n) + " " + thing + "s"
}

// Clock returns a coming t as a time of day, with the date where the time alone
// could mean an earlier day.
func Clock(t, now time.Time) string {
	t = t.In(now.Location())
	if t.Before(now.Add(24 * time.Hour)) {
		return t.Format("15:04")
	}
	return t.Format("2 Jan 15:04")
}

// State returns the one word for how i is, with its symbol and colour.
func State(i api.Instance) (symbol, word string, st Style) {
	switch i.State {
	case api.Running:
		switch {
		case i.Healthy != nil && !*i.Healthy:
			return "●", "unhealthy", Red
		case i.Ready:
			return "●", "ready", Green
		}
		return "◐", "running", Green
	case api.Starting:
		return "◐", i.State, Cyan
	case api.Waiting:
		return "◷", i.State, Plain
	case api.Backoff:
		return "◌", i.State, Yellow
	case api.Stopping, api.Draining:
		return "◑", i.State, Cyan
	case api.Done:
		return "✓", i.State, Green
	case api.Failed:
		return "✗", i.State, Red
	case api.Exited:
		if i.Up() {
			return "○", i.State, Dim
		}
		return "✗", i.State, Red
	case api.Stopped:
		if !i.Enabled {
			return "○", "disabled", Dim
		}
		return "○", i.State, Dim
	}
	return "?", Clean(i.State), Plain
}

// LastExit returns how i ended last and what comes next: "exit 1, 2 s ago, again
// in 1.6 s". It is "" when there is nothing to say.
func LastExit(i api.Instance, now time.Time) string {
	var parts []string
	if e := i.LastExit; e != nil {
		reason := e.Reason
		switch {
		case i.State == api.Done, i.State == api.Waiting && e.Success:
			reason = "done"
		case i.State == api.Failed && i.NextRun == nil:
			reason = Why(i)
		}
		parts = append(parts, reason)
		if i.State != api.Waiting || i.NextRun == nil {
			parts = append(parts, Roughly(now.Sub(e.At))+" ago")
		}
	}
	switch {
	case i.NextRun == nil:
		if i.State == api.Waiting && i.Message != "" {
			parts = append([]string{i.Message}, parts...)
		}
		if word := WaitsFor(i); word != "" {
			parts = append([]string{word}, parts...)
		}
		if i.Status != "" {
			parts = append([]string{strconv.Quote(i.Status)}, parts...)
		}
	case i.State == api.Waiting, i.State == api.Done:
		parts = append(parts, "next "+Clock(*i.NextRun, now)+" (in "+Roughly(i.NextRun.Sub(now))+")")
	case i.State == api.Backoff, i.State == api.Failed:
		parts = append(parts, "again in "+Roughly(i.NextRun.Sub(now)))
	}
	return Clean(strings.Join(parts, ", "))
}

// WaitsFor returns what i, which is starting, has to be for it to be ready, and what
// is missing: "waits for http://127.0.0.1:8000/: connection refused". It is "" where
// nothing is known of that.
func WaitsFor(i api.Instance) string {
	if i.State == api.Starting && strings.HasPrefix(i.Message, "waits for ") {
		return i.Message
	}
	return ""
}

// Why returns why i is as it is: the daemon's words, else its last exit.
func Why(i api.Instance) string {
	if i.Message == "" && i.LastExit != nil {
		return i.LastExit.Reason
	}
	return i.Message
}

// Matches reports whether pattern means i: by its name, its program's, or as a
// glob of either.
func Matches(pattern string, i api.Instance) bool {
	if pattern == i.Name || pattern == i.Program {
		return true
	}
	name, _ := path.Match(pattern, i.Name)
	program, _ := path.Match(pattern, i.Program)
	return name || program
}

// RunEnd returns how a run ended, with its symbol and colour: "exit 1".
func RunEnd(r api.Run) (symbol, text string, st Style) {
	text = Clean(r.Reason)
	switch {
	case r.Running:
		return "●", "running", Green
	case r.Success:
		return "✓", text, Green
	case r.Failed():
		return "✗", text, Red
	}
	return "○", text, Plain
}

// Peak returns the most memory that a run had, "–" where that isn't known: "48 MB",
// "< 24 MB".
func Peak(r api.Run) string {
	switch {
	case r.PeakMemoryBytes != nil:
		return Size(*r.PeakMemoryBytes)
	case r.PeakMemoryAtMost != nil:
		return "< " + Size(*r.PeakMemoryAtMost)
	}
	return "–"
}

// CPUTime returns the time of processors that a run has used, "–" where that isn't
// known.
func CPUTime(r api.Run) string {
	if r.CPUSeconds == nil {
		return "–"
	}
	return Span(time.Duration(*r.CPUSeconds * float64(time.Second)))
}

// Lasted returns how long a run took, or takes already, "–" where nobody knows.
func Lasted(r api.Run) string {
	if r.Seconds == nil {
		return "–"
	}
	return Span(time.Duration(*r.Seconds * float64(time.Second)))
}

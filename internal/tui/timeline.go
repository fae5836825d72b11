package tui

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
	"time"

	"tend/api"
	"tend/internal/words"
)

// A moment is something that happened to an instance, as a line of its history.
type moment struct {
	at     time.Time
	name   string
	symbol string
	style  words.Style
	word   string
	text   string
	lines  []string // what it printed last
}

// How far two times of one end or start may lie apart: clocks are set between
// daemons, and a start is told of when its pid is known.
const (
	nearEnd   = 2 * time.Millisecond
	nearStart = time.Second
)

// moments puts together what the daemon holds of events and what it has kept of
// runs: of starts and ends that both tell, the event, which says what came of it.
// Those of an instance alone where only is not "".
func moments(events []api.Event, runs []api.Run, only string) []moment {
	type process struct {
		name string
		pid  int
	}
	starts, ends := make(map[process][]time.Time), make(map[string][]api.Event)
	var list []moment
	for _, e := range events {
		if only != "" && e.Name != "" && e.Name != only {
			continue
		}
		if e.To == api.Starting && e.PID != 0 {
			starts[process{e.Name, e.PID}] = append(starts[process{e.Name, e.PID}], e.At)
		}
		if e.Exit != nil {
			ends[e.Name] = append(ends[e.Name], e)
		}
	}
	near := func(a, b time.Time, by time.Duration) bool { return a.Sub(b).Abs() < by }
	added := make(map[uint64]api.Run)         // to the events that tell of an end, by number
	for _, r := range slices.Backward(runs) { // of one end and the next start at the same time, the end first
		told := slices.ContainsFunc(starts[process{r.Name, r.PID}], func(at time.Time) bool { return near(at, r.Started, nearStart) })
		if !told && r.PID != 0 {
			list = append(list, moment{at: r.Started, name: r.Name, symbol: "◐", style: words.Cyan, word: api.Starting, text: "started, pid " + strconv.Itoa(r.PID)})
		}
		if r.Running {
			continue
		}
		// The latest event of it, as what came of it may have taken its time.
		told = false
		for _, e := range slices.Backward(ends[r.Name]) {
			_, taken := added[e.Seq]
			if told = !taken && r.Ended != nil && e.Exit.Signal == r.Signal && near(e.Exit.At, *r.Ended, nearEnd); told {
				added[e.Seq] = r
				break
			}
		}
		if told {
			continue
		}
		m := moment{at: r.End(), name: r.Name, word: "ended", lines: lastOf(r)}
		m.symbol, _, m.style = words.RunEnd(r)
		m.text = ended(r) + used(r)
		list = append(list, m)
	}
	for _, e := range events {
		if only != "" && e.Name != "" && e.Name != only {
			continue
		}
		m := moment{at: e.At, name: e.Name, symbol: "·", style: words.Dim, word: cmp.Or(e.To, strings.TrimPrefix(e.Kind, "program."))}
		if e.To != "" {
			m.symbol, _, m.style = words.State(api.Instance{State: e.To, Ready: true, Enabled: true, Wanted: true, LastExit: e.Exit})
		}
		if m.text = words.Clean(e.Message); m.text == m.word { // it says nothing more
			m.text = ""
		}
		if e.To == api.Starting && e.PID != 0 {
			m.text += ", pid " + strconv.Itoa(e.PID)
		}
		if r, ok := added[e.Seq]; ok {
			if m.text == "" {
				m.text = ended(r)
			}
			m.text += used(r)
			m.lines = lastOf(r)
		}
		list = append(list, m)
	}
	slices.SortStableFunc(list, func(a, b moment) int { return a.at.Compare(b.at) })
	return list
}

// ended returns how a run has ended.
func ended(r api.Run) string {
	_, text, _ := words.RunEnd(r)
	if r.Seconds != nil {
		text += " after " + words.Lasted(r)
	}
	return text
}

// used returns what a run has used, behind something else.
func used(r api.Run) string {
	text := ""
	if peak := words.Peak(r); peak != "–" {
		text += ", " + peak
	}
	if r.CPUSeconds != nil {
		text += ", cpu " + words.CPUTime(r)
	}
	return text
}

// lastOf returns the last lines of a run that has failed.
func lastOf(r api.Run) []string {
	if !r.Failed() {
		return nil
	}
	return r.Lines[max(0, len(r.Lines)-2):]
}

// timeline returns what happened, the latest first, with the time between.
func (m *model) timeline() []string {
	p := m.page
	only := ""
	if p.name != p.of {
		only = p.name
	}
	list := moments(m.history[p.of], p.runs, only)
	names := 0
	if only == "" {
		for _, e := range list {
			if e.name != "" && e.name != p.of {
				names = max(names, words.Width(words.Clean(e.name)))
			}
		}
	}
	var lines []string
	day := ""
	var later time.Time
	for _, e := range slices.Backward(list) {
		at := e.at.In(m.now.Location())
		if d := at.Format("Monday, 2 January"); d != day {
			day = d
			lines = append(lines, "  "+paint(words.Bold, d))
		}
		if gap := later.Sub(at); !later.IsZero() && gap >= time.Second {
			lines = append(lines, paint(words.Dim, "            │  "+words.Roughly(gap)))
		}
		later = at
		text := e.text
		if names > 0 {
			text = paint(words.Cyan, words.Pad(words.Clean(e.name), names)) + "  " + text
		}
		lines = append(lines, "  "+paint(words.Dim, at.Format(time.TimeOnly))+"  "+paint(e.style, e.symbol)+"  "+paint(e.style, words.Pad(e.word, 9))+"  "+text)
		for _, l := range e.lines {
			_, plain := tame(l)
			lines = append(lines, paint(words.Dim, "            │  "+plain))
		}
	}
	switch {
	case p.runsTrouble != nil:
		lines = append(lines, "", "  "+paint(words.Dim, "what was before isn't known: "+said(p.runsTrouble)))
	case len(lines) == 0 && p.runs == nil:
		return []string{"", paint(words.Dim, "  asking the daemon")}
	case len(lines) == 0:
		return []string{"", paint(words.Dim, "  it has not run yet")}
	}
	return lines
}

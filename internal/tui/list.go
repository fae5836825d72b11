package tui

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/charmbracelet/x/ansi"

	"tend/api"
	"tend/internal/words"
)

// A layout says how wide the columns are; 0 leaves one out.
type layout struct {
	name, pid, up, restarts, sparkCPU, sparkMemory, last int
}

const (
	stateColumns   = 11 // "◐ unhealthy"
	upColumns      = 10 // "4 h 12 min"
	shortUpColumns = 6  // "12 min"
	cpuColumns     = 5
	memoryColumns  = 6
)

// layout divides the width of the screen. What says least goes first.
func (m *model) layout() layout {
	names := 8
	for _, r := range m.rows {
		n := words.Width(r.key)
		switch {
		case r.group:
			n += 4 + len(strconv.Itoa(len(r.members))) // "▾ " and " ×3"
		case r.child:
			n += 2
		}
		names = max(names, n)
	}
	l := layout{name: min(names, max(12, m.width/5)), pid: 7, up: upColumns, restarts: 8, sparkCPU: 12, sparkMemory: 12}
	const least = 22 // columns for the last exit
	room := func() int {
		used := 2 + l.name + 2 + stateColumns + 2 + cpuColumns + 2 + memoryColumns + 2
		for _, c := range []int{l.pid, l.up, l.restarts} {
			if c > 0 {
				used += c + 2
			}
		}
		for _, c := range []int{l.sparkCPU, l.sparkMemory} {
			if c > 0 {
				used += c + 1
			}
		}
		return m.width - used - 1
	}
	for _, give := range []func(){
		func() { l.sparkCPU, l.sparkMemory = 8, 8 },
		func() { l.pid = 0 },
		func() { l.restarts = 3 },
		func() { l.sparkMemory = 0 },
		func() { l.up = shortUpColumns },
		func() { l.sparkCPU = 6 },
		func() { l.name = min(l.name, 14) },
	} {
		if room() >= least {
			break
		}
		give()
	}
	if room() < 10 {
		l.sparkCPU = 0
	}
	if room() < 10 {
		l.up = 0
	}
	l.last = max(0, room())
	if spare := l.last - 40; spare > 0 { // long names before long reasons
		more := min(spare, names-l.name)
		l.name, l.last = l.name+max(0, more), l.last-max(0, more)
	}
	return l
}

// listScreen draws the list.
func (m *model) listScreen() string {
	l := m.layout()
	lines := make([]string, 0, m.height)
	lines = append(lines, m.head(), m.counts(), m.titles(l))
	height := m.body()
	for n := m.top; n < min(len(m.rows), m.top+height); n++ {
		lines = append(lines, m.line(m.rows[n], l, n == m.cursor))
	}
	switch {
	case len(m.rows) > 0:
	case m.daemon.PID == 0:
		lines = append(lines, "", paint(words.Dim, "  asking the daemon"))
	case m.filter.Value() != "":
		lines = append(lines, "", "  nothing is called or in state "+strconv.Quote(words.Clean(m.filter.Value()))+paint(words.Dim, "  (esc shows all)"))
	default:
		lines = append(lines, "", "  no program is configured", paint(words.Dim, "  begin with: tend init; then p, a"))
	}
	return m.framed(lines, m.rulerText(), m.reason(), listHints)
}

// framed returns a screen: lines, as many as there is room for, and below them a
// rule with a text in it, another text, and the keys.
func (m *model) framed(lines []string, ruler, text string, keys []hint) string {
	height := 3 + m.body()
	lines = lines[:min(len(lines), height)]
	for n := range lines {
		lines[n] = fit(lines[n], m.width)
	}
	for len(lines) < height {
		lines = append(lines, "")
	}
	return strings.Join(append(lines, rule(ruler, m.width), m.foot(text), hints(keys, m.width)), "\n")
}

var listHints = []hint{{"enter", "open"}, {"s", "start"}, {"x", "stop"}, {"r", "restart"}, {"/", "filter"}, {"o", "sort"}, {"p", "plan"}, {"space", "fold"}, {"K", "signal"}, {"?", "help"}, {"q", "quit"}}

// counts returns how many instances are how, and what all use.
func (m *model) counts() string {
	type count struct {
		n      int
		symbol string
		st     words.Style
		rank   int
	}
	by := make(map[string]*count)
	all := row{}
	for n := range m.list {
		i := &m.list[n]
		all.members = append(all.members, i)
		symbol, word, st := words.State(*i)
		c := by[word]
		if c == nil {
			c = &count{symbol: symbol, st: st, rank: rank(i)}
			by[word] = c
		}
		c.n++
	}
	parts := make([]string, 0, len(by))
	for word := range by {
		parts = append(parts, word)
	}
	slices.SortFunc(parts, func(a, b string) int {
		if by[a].rank != by[b].rank {
			return by[a].rank - by[b].rank
		}
		return strings.Compare(a, b)
	})
	for n, word := range parts {
		c := by[word]
		parts[n] = paint(c.st, c.symbol+" "+strconv.Itoa(c.n)+" "+word)
	}
	left := " " + paint(words.Bold, words.Count(len(m.list), "instance")) + "  "
	states, right := strings.Join(parts, "  "), ""
	if m.daemon.Pending {
		right = paint(words.Yellow, "! changes wait: p") + "  "
	}
	if cpu, known := all.cpu(); known {
		right += paint(words.Dim, "cpu ") + words.Percent(cpu) + "  "
	}
	if memory, known := all.memory(); known {
		right += paint(words.Dim, "mem ") + words.Size(memory) + " "
	}
	if ansi.StringWidth(left+states+right) >= m.width { // the states say how many there are
		left = " "
	}
	return ends(left+states, right, m.width)
}

// titles returns the names of the columns, with a mark at what they are sorted by.
func (m *model) titles(l layout) string {
	title := func(name string, by order) string {
		if m.order != by || by == byFile {
			return name
		}
		if m.reverse {
			return name + "▲"
		}
		return name + "▼"
	}
	cells := []string{"  " + words.Pad(title("NAME", byName), l.name), words.Pad(title("STATE", byState), stateColumns)}
	if l.pid > 0 {
		cells = append(cells, left("PID", l.pid))
	}
	if l.up > 0 {
		cells = append(cells, left(title("UP", byUptime), l.up))
	}
	restarts := "RESTARTS"
	if l.restarts < 8 {
		restarts = "RST"
		if m.order == byRestarts {
			restarts = "RS"
		}
	}
	cells = append(cells, left(title(restarts, byRestarts), l.restarts))
	cells = append(cells, under(left(title("CPU", byCPU), cpuColumns), l.sparkCPU), under(left(title("MEM", byMemory), memoryColumns), l.sparkMemory))
	return paint("1;2", fit(strings.Join(cells, "  ")+"  LAST EXIT", m.width))
}

// left returns s with blanks before it to n columns.
func left(s string, n int) string { return strings.Repeat(" ", max(0, n-words.Width(s))) + s }

// under returns s with room for a sparkline of n columns.
func under(s string, n int) string {
	if n == 0 {
		return s
	}
	return s + strings.Repeat(" ", n+1)
}

// line draws a row.
func (m *model) line(r row, l layout, selected bool) string {
	p := pen{}
	mark := "  "
	bold := words.Plain
	if selected {
		p, bold = chosen(m.dark), words.Bold
		mark = p.paint("1;36", "▌ ")
	}
	quiet := words.Dim
	if m.lost != nil { // what is shown was true
		bold = words.Dim
	}
	symbol, word, st := words.State(*r.worst())
	name := words.Clean(r.key)
	switch {
	case r.group:
		arrow := "▾ "
		if r.folded {
			arrow = "▸ "
		}
		n := strconv.Itoa(len(r.members))
		name = words.Pad(words.Cut(arrow+name, l.name-len(n)-2)+" ×"+n, l.name)
		if bold == words.Plain {
			bold = words.Bold
		}
	case r.child:
		name = words.Pad(words.Cut("  "+name, l.name), l.name)
	default:
		name = words.Pad(words.Cut(name, l.name), l.name)
	}
	if m.lost != nil {
		st = words.Dim
	}
	var b strings.Builder
	gap := p.paint(words.Plain, "  ")
	b.WriteString(mark)
	b.WriteString(p.paint(bold, name))
	cell := func(st words.Style, text string) { b.WriteString(gap); b.WriteString(p.paint(st, text)) }
	cell(st, words.Pad(symbol+" "+word, stateColumns))
	i := r.first()
	if l.pid > 0 {
		if pid := strconv.Itoa(i.PID); i.PID != 0 && !r.group {
			cell(quiet, left(pid, l.pid))
		} else {
			cell(quiet, left("–", l.pid))
		}
	}
	if l.up > 0 {
		if up := r.uptime(); up > 0 {
			d := time.Duration(up * float64(time.Second))
			text := words.Span(d)
			if l.up < upColumns { // its first unit alone
				text = strings.Join(strings.Fields(text)[:2], " ")
			}
			cell(words.Plain, left(text, l.up))
		} else {
			cell(quiet, left("–", l.up))
		}
	}
	restarts := r.restarts()
	st = quiet
	if restarts > 0 {
		st = words.Plain
	}
	text := strconv.Itoa(restarts)
	if len(text) > l.restarts {
		text = "9" + strings.Repeat("9", l.restarts-2) + "+"
	}
	cell(st, left(text, l.restarts))
	figure := func(known bool, text string, width, columns int, st words.Style, pick func(*series) *[samples]float64, least float64) {
		if !known {
			cell(quiet, left("–", width))
		} else {
			cell(words.Plain, left(text, width))
		}
		if columns > 0 {
			b.WriteString(p.paint(st, " "+spark(m.record.recent(r.members, columns, pick), least)))
		}
	}
	cpu, known := r.cpu()
	figure(known, words.Percent(cpu), cpuColumns, l.sparkCPU, words.Cyan, ofCPU, 20)
	memory, known := r.memory()
	figure(known, words.Size(memory), memoryColumns, l.sparkMemory, words.Green, ofMemory, 1<<20)
	if r.group {
		cell(quiet, fit(tally(r.members), l.last))
	} else {
		last := words.LastExit(*i, m.now)
		if last == "" {
			last = "–"
		}
		st := quiet
		if !i.Up() && m.lost == nil {
			st = words.Plain
		}
		cell(st, fit(last, l.last))
	}
	b.WriteString(p.paint(words.Plain, " "))
	return b.String()
}

// tally returns how members are, in words: "2 ready, 1 backoff".
func tally(members []*api.Instance) string {
	var order []string
	n := make(map[string]int)
	for _, i := range members {
		_, word, _ := words.State(*i)
		if n[word] == 0 {
			order = append(order, word)
		}
		n[word]++
	}
	for k, word := range order {
		order[k] = fmt.Sprintf("%d %s", n[word], word)
	}
	return strings.Join(order, ", ")
}

// rulerText says what of the list is shown.
func (m *model) rulerText() string {
	var parts []string
	if f := m.filter.Value(); f != "" && !m.typing {
		parts = append(parts, paint(words.Yellow, "/"+words.Clean(f)))
	}
	if m.order != byFile || m.reverse {
		by := orderNames[m.order]
		if m.reverse {
			by += ", reversed"
		}
		parts = append(parts, paint(words.Dim, "by "+by))
	}
	if len(m.rows) > m.body() {
		parts = append(parts, paint(words.Dim, fmt.Sprintf("%d to %d of %d", m.top+1, min(len(m.rows), m.top+m.body()), len(m.rows))))
	}
	return strings.Join(parts, paint(words.Dim, " · "))
}

// reason says why the selected row is as it is.
func (m *model) reason() string {
	r, some := m.current()
	if !some {
		return ""
	}
	if r.group {
		w := r.worst()
		if w.Up() {
			return paint(words.Bold, words.Clean(r.key)) + "  " + tally(r.members)
		}
		return paint(words.Bold, words.Clean(w.Name)) + "  " + m.why(w)
	}
	return paint(words.Bold, words.Clean(r.key)) + "  " + m.why(r.first())
}

// why says in a line why i is as it is.
func (m *model) why(i *api.Instance) string {
	symbol, word, st := words.State(*i)
	parts := []string{paint(st, symbol+" "+word) + paint(words.Dim, " for "+words.Span(m.now.Sub(i.Since)))}
	last := words.LastExit(*i, m.now) // which says some of the rest in some states
	if message := words.Clean(i.Message); message != "" && message != i.State && !strings.Contains(last, message) {
		parts = append(parts, message)
	}
	if status := words.Clean(i.Status); status != "" && !strings.Contains(last, status) {
		parts = append(parts, "says "+strconv.Quote(status))
	}
	if last != "" && i.State != api.Backoff {
		parts = append(parts, last)
	}
	if i.Outdated {
		parts = append(parts, "runs by an earlier configuration")
	}
	return strings.Join(parts, paint(words.Dim, " · "))
}

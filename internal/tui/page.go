package tui

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"charm.land/bubbles/v2/textinput"
	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/x/ansi"

	"tend/api"
	"tend/internal/words"
)

// Tabs of a page.
const (
	tabLog = iota
	tabWhy
	tabHistory
	tabConfig
	tabProcesses
	tabs // how many there are
)

var tabNames = [tabs]string{"log", "why", "history", "configuration", "processes"}

// keptLines is how much of a log a page holds; older lines are in the files.
const keptLines = 10_000

// A page shows one program or one instance.
type page struct {
	name string // what the API is asked for: a program or an instance
	of   string // its program
	stop context.CancelFunc

	tab    int
	tops   [tabs]int // the first line that is shown of each tab but the log
	lines  []logLine
	names  int // columns of the longest name in the log
	merged bool
	top    int  // of the log
	free   bool // somebody scrolled: the end isn't followed
	fresh  int  // lines that came since
	shift  int  // columns to the left that aren't shown
	broken error

	search textinput.Model
	typing bool

	program *api.Program
	stories []api.Why
	trouble error // why there is none of what was asked for last
	asked   bool  // an answer is awaited

	runs        []api.Run // nil: not known yet
	runsTrouble error
	stale       bool // there may be more of them
}

type logLine struct{ name, coloured, plain string }

// open opens the page of a row at a tab.
func (m *model) open(r row, tab int) tea.Cmd {
	ctx, cancel := context.WithCancel(m.ctx)
	p := &page{name: r.key, of: r.first().Program, stop: cancel, search: newInput(), tab: tab, merged: r.group, stale: true}
	m.page, m.notice = p, ""
	go m.feed.tail(ctx, p)
	return m.refresh()
}

// print takes what was printed.
func (p *page) print(msg printed) {
	p.broken = msg.err
	for _, l := range msg.lines {
		if l.Missed {
			p.add(logLine{name: l.Name, coloured: paint(words.Yellow, "… rotated away before it was read"), plain: "… rotated away before it was read"})
		}
		for line := range strings.Lines(l.Text) {
			coloured, plain := tame(strings.TrimRight(line, "\r\n"))
			p.add(logLine{l.Name, coloured, plain})
		}
	}
	if over := len(p.lines) - keptLines; over > 0 {
		p.lines = slices.Clone(p.lines[over:])
		p.top = max(0, p.top-over)
	}
}

func (p *page) add(l logLine) {
	p.names = max(p.names, words.Width(words.Clean(l.name)))
	p.lines = append(p.lines, l)
	if p.free {
		p.fresh++
	}
}

// position returns the first line of the log that is shown on height lines.
func (p *page) position(height int) int {
	if !p.free {
		return max(0, len(p.lines)-height)
	}
	return p.top
}

// scroll moves the log to a line; at its end it is followed again.
func (p *page) scroll(to, height int) {
	end := max(0, len(p.lines)-height)
	if to >= end {
		p.free, p.fresh = false, 0
		return
	}
	p.free, p.top = true, max(0, to)
}

// find scrolls to the next line that holds what is searched for: from the line at
// start on, backwards for step -1, forwards for 1, and for 0 the latest one from
// the end of what is shown.
func (p *page) find(start, step, height int) {
	wanted := strings.ToLower(p.search.Value())
	if wanted == "" {
		return
	}
	if step == 0 {
		start, step = min(len(p.lines), start+height), -1
	}
	for n := start + step; n >= 0 && n < len(p.lines); n += step {
		if strings.Contains(strings.ToLower(p.lines[n].plain), wanted) {
			if n < p.position(height) || n >= p.position(height)+height || step != 0 {
				p.scroll(n-height/2, height)
			}
			return
		}
	}
}

// row returns the instances that the page is about, as the list has them now.
func (m *model) pageRow() row {
	r := row{key: m.page.name}
	for n := range m.list {
		if i := &m.list[n]; i.Name == m.page.name || i.Program == m.page.name {
			r.members = append(r.members, i)
		}
	}
	r.group = len(r.members) > 1
	return r
}

// pageKey is a key of a page.
func (m *model) pageKey(name string) tea.Cmd {
	p, height := m.page, m.body()
	move := func(by int) {
		if p.tab == tabLog {
			p.scroll(p.position(height)+by, height)
		} else {
			p.tops[p.tab] = max(0, p.tops[p.tab]+by) // bounded where it is drawn
		}
	}
	switch name {
	case "esc":
		if p.search.Value() != "" {
			p.search.SetValue("")
			return nil
		}
		m.close()
	case "q", "backspace":
		m.close()
	case "1", "2", "3", "4", "5":
		return m.turn(int(name[0] - '1'))
	case "tab":
		return m.turn((p.tab + 1) % tabs)
	case "shift+tab":
		return m.turn((p.tab + tabs - 1) % tabs)
	case "w":
		return m.turn(tabWhy)
	case "up", "k":
		move(-1)
	case "down", "j":
		move(1)
	case "pgup", "ctrl+b":
		move(-height)
	case "pgdown", "ctrl+f", "space":
		move(height)
	case "home", "g":
		move(-1 << 30)
	case "end", "G":
		move(1 << 30)
	case "left", "h":
		p.shift = max(0, p.shift-16)
	case "right", "l":
		p.shift += 16
	case "/":
		p.tab, p.typing = tabLog, true
		p.search.SetValue("")
		return p.search.Focus()
	case "n", "N":
		// From the line in the middle, where the last one that was found is.
		step := -1
		if name == "N" {
			step = 1
		}
		p.find(p.position(height)+height/2, step, height)
	default:
		r := m.pageRow()
		return m.command(name, r, len(r.members) > 0)
	}
	return nil
}

// turn shows a tab.
func (m *model) turn(tab int) tea.Cmd {
	m.page.tab = tab
	return m.refresh()
}

// close goes back to the list.
func (m *model) close() {
	m.page.stop()
	m.page = nil
	m.arrange()
}

// pageScreen draws the page.
func (m *model) pageScreen() string {
	p, height := m.page, m.body()
	r := m.pageRow()
	lines := []string{m.head(), m.summary(r), m.tabLine()}
	ruler := ""
	switch p.tab {
	case tabLog:
		var body []string
		body, ruler = m.logLines(height)
		lines = append(lines, body...)
	default:
		body := m.tabBody(r)
		most := max(0, len(body)-height)
		p.tops[p.tab] = min(p.tops[p.tab], most)
		top := p.tops[p.tab]
		if most > 0 {
			ruler = paint(words.Dim, fmt.Sprintf("%d to %d of %d", top+1, min(len(body), top+height), len(body)))
		}
		lines = append(lines, body[top:min(len(body), top+height)]...)
	}
	text := ""
	if len(r.members) > 0 {
		text = m.why(r.worst())
	}
	list := []hint{{"s", "start"}, {"x", "stop"}, {"r", "restart"}, {"K", "signal"}, {"/", "search"}, {"n", "earlier"}, {"G", "follow"}, {"tab", "next"}, {"p", "plan"}, {"?", "help"}, {"esc", "back"}}
	if p.tab != tabLog {
		list = slices.DeleteFunc(list, func(h hint) bool { return h.key == "n" || h.key == "G" })
	}
	return m.framed(lines, ruler, text, list)
}

// summary returns how the program is, in a line.
func (m *model) summary(r row) string {
	if len(r.members) == 0 {
		return " " + paint(words.Bold, words.Clean(m.page.name)) + paint(words.Dim, "  is no longer configured")
	}
	i := r.worst()
	symbol, word, st := words.State(*i)
	if m.lost != nil {
		st = words.Dim
	}
	parts := []string{" " + paint(words.Bold, words.Clean(r.key)), paint(st, symbol+" "+word)}
	dim := func(what, value string) { parts = append(parts, paint(words.Dim, what+" ")+value) }
	if r.group {
		parts[1] = tally(r.members)
	} else {
		if i.PID != 0 {
			dim("pid", strconv.Itoa(i.PID))
		}
		if i.Healthy != nil {
			dim("health", map[bool]string{true: "good", false: paint(words.Red, "bad")}[*i.Healthy])
		}
	}
	if up := r.uptime(); up > 0 {
		dim("up", words.Span(time.Duration(up*float64(time.Second))))
	}
	dim("restarts", strconv.Itoa(r.restarts()))
	// The curves are left out where there is no room for them.
	short, long := strings.Join(parts, "  "), strings.Join(parts, "  ")
	figure := func(what, value string, st words.Style, pick func(*series) *[samples]float64, least float64) {
		text := "  " + paint(words.Dim, what+" ") + value
		short += text
		long += text + " " + paint(st, spark(m.record.recent(r.members, 8, pick), least))
	}
	if cpu, known := r.cpu(); known {
		figure("cpu", words.Percent(cpu), words.Cyan, ofCPU, 20)
	}
	if memory, known := r.memory(); known {
		figure("mem", words.Size(memory), words.Green, ofMemory, 1<<20)
	}
	if ansi.StringWidth(long) > m.width {
		return short
	}
	return long
}

// tabLine returns the names of the tabs.
func (m *model) tabLine() string {
	var parts []string
	for n, name := range tabNames {
		if n == m.page.tab {
			parts = append(parts, paint("1;36", strconv.Itoa(n+1))+" "+paint("1;4", name))
			continue
		}
		parts = append(parts, paint(words.Dim, strconv.Itoa(n+1)+" "+name))
	}
	return " " + strings.Join(parts, "   ")
}

// logLines draws the log on height lines, and says where in it that is.
func (m *model) logLines(height int) (lines []string, ruler string) {
	p := m.page
	wanted := strings.ToLower(p.search.Value())
	top := p.position(height)
	for _, l := range p.lines[top:min(len(p.lines), top+height)] {
		text, room := l.coloured, m.width
		if wanted != "" && strings.Contains(strings.ToLower(l.plain), wanted) {
			text = mark(l.plain, wanted)
		}
		if p.shift > 0 {
			text = ansi.TruncateLeft(text, p.shift, "")
		}
		prefix := ""
		if p.merged {
			prefix = paint(words.Cyan, words.Pad(words.Clean(l.name), p.names)) + paint(words.Dim, " │ ")
			room -= p.names + 3
		}
		lines = append(lines, prefix+fit(text, room))
	}
	switch {
	case p.broken != nil:
		ruler = paint(words.Yellow, "the log: "+said(p.broken)+"; trying again")
	case len(p.lines) == 0:
		lines = append(lines, "", paint(words.Dim, "  nothing was printed yet"))
	}
	switch {
	case ruler != "":
	case p.free && p.fresh > 0:
		ruler = paint(words.Yellow, fmt.Sprintf("%s more below: G follows", words.Count(p.fresh, "line")))
	case p.free:
		ruler = paint(words.Dim, fmt.Sprintf("line %d of %d: G follows", top+1, len(p.lines)))
	default:
		ruler = paint(words.Green, "following")
	}
	if wanted != "" {
		found := 0
		for _, l := range p.lines {
			if strings.Contains(strings.ToLower(l.plain), wanted) {
				found++
			}
		}
		ruler += paint(words.Dim, " · ") + paint(words.Yellow, "/"+words.Clean(p.search.Value())) + paint(words.Dim, " in "+words.Count(found, "line"))
	}
	return lines, ruler
}

// mark returns text with each place of wanted, which is in lower case, marked.
func mark(text, wanted string) string {
	lower := strings.ToLower(text)
	if len(lower) != len(text) { // a letter of another length: the places don't match
		return paint(marked, text)
	}
	var b strings.Builder
	for {
		at := strings.Index(lower, wanted)
		if at < 0 {
			b.WriteString(text)
			return b.String()
		}
		b.WriteString(text[:at] + paint(marked, text[at:at+len(wanted)]))
		text, lower = text[at+len(wanted):], lower[at+len(wanted):]
	}
}

// tabBody returns all lines of a tab other than the log.
func (m *model) tabBody(r row) []string {
	p := m.page
	switch p.tab {
	case tabHistory:
		return m.timeline()
	case tabWhy:
		switch {
		case p.trouble != nil:
			return []string{"", "  " + paint(words.Red, said(p.trouble))}
		case p.stories == nil:
			return []string{"", paint(words.Dim, "  asking the daemon")}
		}
		return storyLines(p.stories, m.now.Location(), m.width)
	case tabConfig, tabProcesses:
		switch {
		case p.trouble != nil:
			return []string{"", "  " + paint(words.Red, said(p.trouble))}
		case p.program == nil:
			return []string{"", paint(words.Dim, "  asking the daemon")}
		case p.tab == tabConfig:
			return configLines(p.program, m.width)
		}
		return m.processLines(r)
	}
	return nil
}

// storyLines returns why instances are as they are, as tend why tells it.
func storyLines(stories []api.Why, zone *time.Location, width int) []string {
	room := min(96, width-4)
	lines := []string{""}
	for _, w := range stories {
		name := words.Clean(w.Name)
		for n, l := range strings.Split(ansi.Wordwrap(words.Clean(w.Text), room, ""), "\n") {
			if rest, ok := strings.CutPrefix(l, name); ok && n == 0 {
				l = paint(words.Bold, name) + rest
			}
			lines = append(lines, "  "+l)
		}
		for _, l := range w.Lines {
			_, plain := tame(l)
			lines = append(lines, "    "+paint(words.Dim, "│ ")+plain)
		}
		if w.Do != "" {
			lines = append(lines, "  "+words.Clean(w.Does)+": "+paint(words.Bold, words.Clean(w.Do)))
		}
		if len(w.Ends) > 0 {
			lines = append(lines, "", "  "+paint(words.Dim, "how it ended before"))
		}
		for _, e := range w.Ends {
			text := e.Exit.At.In(zone).Format(time.DateTime) + "  " + words.Clean(e.Exit.Reason) + " after " + words.Span(time.Duration(e.UptimeSeconds*float64(time.Second)))
			if e.Times > 1 {
				text += fmt.Sprintf(", %d times in a row", e.Times)
			}
			lines = append(lines, "    "+text)
		}
		lines = append(lines, "")
	}
	return lines
}

// configLines returns the effective keys.
func configLines(p *api.Program, width int) []string {
	lines := []string{"", "  " + paint(words.Dim, "from ") + words.Clean(p.File) + ":" + strconv.Itoa(p.Line), ""}
	columns := 0
	for key := range p.Config {
		columns = max(columns, len(key))
	}
	for _, key := range slices.Sorted(maps.Keys(p.Config)) {
		value := p.Config[key]
		room := max(20, width-columns-5)
		unset := value == nil || value == "" || value == false
		text, isText := value.(string)
		if !isText {
			b, err := json.Marshal(value)
			if err != nil {
				continue
			}
			text = string(b)
			unset = unset || text == "[]" || text == "{}"
		}
		if text == "" {
			text = "–"
		}
		st := words.Plain
		if unset {
			st = words.Dim
		}
		head := paint(words.Cyan, words.Pad(key, columns))
		for n, part := range strings.Split(ansi.Hardwrap(words.Clean(text), room, true), "\n") {
			if n > 0 {
				head = strings.Repeat(" ", columns)
			}
			lines = append(lines, "  "+head+"  "+paint(st, part))
		}
	}
	return lines
}

// processLines returns what the trees of the instances use.
func (m *model) processLines(r row) []string {
	p := m.page
	wide := max(10, min(samples, m.width-6))
	lines := []string{""}
	for n := range p.program.Instances {
		i := &p.program.Instances[n]
		if p.name != p.of && i.Name != p.name {
			continue
		}
		symbol, word, st := words.State(*i)
		title := "  " + paint(words.Bold, words.Clean(i.Name)) + "  " + paint(st, symbol+" "+word)
		u := i.Usage
		if i.PID == 0 || u == nil {
			lines = append(lines, title+paint(words.Dim, "  no process"), "")
			continue
		}
		lines = append(lines, title)
		pair := func(a, b, c, d string) {
			lines = append(lines, "    "+paint(words.Dim, words.Pad(a, 13))+words.Pad(b, 20)+paint(words.Dim, words.Pad(c, 13))+d)
		}
		pair("pid", strconv.Itoa(i.PID), "start", "number "+strconv.FormatUint(i.Generation, 10))
		pair("processes", strconv.Itoa(u.Processes), "threads", strconv.Itoa(u.Threads))
		pair("cpu time", words.Span(time.Duration(u.CPUSeconds*float64(time.Second))), "descriptors", number(u.Descriptors))
		pair("resident", words.Size(u.ResidentBytes), "proportional", amount(u.ProportionalBytes))
		if u.CgroupBytes != nil || u.CgroupPeakBytes != nil {
			pair("cgroup", amount(u.CgroupBytes), "peak", amount(u.CgroupPeakBytes))
		}
		pair("read", amount(u.ReadBytes), "written", amount(u.WrittenBytes))
		lines = append(append(lines, ""), m.treeLines(i)...)
	}
	draw := func(title string, st words.Style, pick func(*series) *[samples]float64, least float64, show func(float64) string) {
		values := m.record.recent(r.members, wide, pick)
		lines = append(lines, "  "+paint(words.Bold, title)+paint(words.Dim, fmt.Sprintf("  at most %s in the last %s", show(largest(values)), words.Span(time.Duration(wide)*time.Second))))
		for _, l := range plot(values, 3, least) {
			lines = append(lines, "    "+paint(st, l))
		}
		lines = append(lines, "")
	}
	draw("cpu", words.Cyan, ofCPU, 20, words.Percent)
	draw("memory", words.Green, ofMemory, 1<<20, func(v float64) string { return words.Size(int64(v)) })
	return lines
}

// treeLines returns the processes of an instance, each below its parent.
func (m *model) treeLines(i *api.Instance) []string {
	if len(i.Processes) == 0 {
		return nil
	}
	line := func(pid, cpu, memory, command string) string {
		return fmt.Sprintf("  %9s %7s %8s  ", pid, cpu, memory) + command
	}
	lines := []string{paint(words.Dim, line("pid", "cpu", "mem", "command"))}
	for n, twig := range twigs(i.Processes) {
		p := i.Processes[n]
		cpu := "–"
		if p.CPUPercent != nil {
			cpu = words.Percent(*p.CPUPercent)
		}
		command := words.Clean(p.Command)
		if command == "" {
			command = "–" // it has just ended
		}
		lines = append(lines, line(strconv.Itoa(p.PID), cpu, words.Size(p.MemoryBytes), paint(words.Dim, twig)+command))
	}
	if more := i.Usage.Processes - len(i.Processes); more > 0 {
		lines = append(lines, paint(words.Dim, line("", "", "", "and "+strconv.Itoa(more)+" more")))
	}
	return append(lines, "")
}

// twigs returns what is drawn before each of the processes to show whose child it is.
func twigs(list []api.Process) []string {
	at := make(map[int]int) // the place of each pid
	last := make(map[int]int)
	for n, p := range list {
		at[p.PID] = n
		last[p.Parent] = n
	}
	out := make([]string, len(list))
	below := make([]string, len(list)) // what is drawn before the children of each
	for n, p := range list {
		parent, ok := at[p.Parent]
		switch {
		case !ok || parent >= n:
			continue // the main one, or one that has lost its parent
		case last[p.Parent] == n:
			out[n], below[n] = below[parent]+"└─ ", below[parent]+"   "
		default:
			out[n], below[n] = below[parent]+"├─ ", below[parent]+"│  "
		}
	}
	return out
}

// number and amount return what may be unknown, in words.
func number(n *int64) string {
	if n == nil {
		return "–"
	}
	return strconv.FormatInt(*n, 10)
}

func amount(n *int64) string {
	if n == nil {
		return "–"
	}
	return words.Size(*n)
}

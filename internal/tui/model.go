package tui

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"charm.land/bubbles/v2/textinput"
	tea "charm.land/bubbletea/v2"

	"tend/api"
	"tend/internal/words"
)

// remembered is how many events of a program are kept for its page.
const remembered = 500

// noticed is how long what came of an action stays.
const noticed = 8 * time.Second

// A model is what is shown, and what keys do. It is changed by messages only.
type model struct {
	ctx    context.Context
	feed   *feed
	place  string
	width  int
	height int
	dark   bool

	now    time.Time // of the latest news
	list   []api.Instance
	daemon api.Daemon
	lost   error     // why the latest question has no answer
	lostAt time.Time // since when

	seen    uint64                 // number of the latest event
	history map[string][]api.Event // by program, the oldest first
	record  record
	sampled time.Time

	rows     []row
	selected string // key of a row: a list that changes doesn't change what is meant
	cursor   int    // its place
	top      int    // the first row that is shown
	order    order
	reverse  bool
	folded   map[string]bool // as somebody said
	filter   textinput.Model
	typing   bool // what is typed is the filter

	page   *page
	dialog dialog
	mouse  bool // is listened to

	notice string // what came of an action
	bad    bool
	until  time.Time
}

func newModel(ctx context.Context, f *feed, o Options) *model {
	m := &model{
		ctx: ctx, feed: f, place: o.Place, width: 80, height: 24, dark: true,
		history: make(map[string][]api.Event), folded: make(map[string]bool),
		filter: newInput(), now: time.Now(),
	}
	m.filter.SetValue(o.Filter)
	return m
}

// newInput returns a line of input without blinking: nothing moves on the screen
// unless something has happened.
func newInput() textinput.Model {
	in := textinput.New()
	in.Prompt = ""
	styles := in.Styles()
	styles.Cursor.Blink = false
	in.SetStyles(styles)
	return in
}

func (m *model) Init() tea.Cmd { return tea.RequestBackgroundColor }

func (m *model) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	switch msg := msg.(type) {
	case tea.WindowSizeMsg:
		m.width, m.height = msg.Width, msg.Height
		m.arrange()
	case tea.BackgroundColorMsg:
		m.dark = msg.IsDark()
	case tea.KeyPressMsg:
		return m, m.key(msg)
	case tea.MouseClickMsg:
		return m, m.click(tea.Mouse(msg))
	case tea.MouseWheelMsg:
		return m, m.wheel(tea.Mouse(msg))
	case tea.PasteMsg:
		if in := m.input(); in != nil {
			*in, _ = in.Update(msg)
			m.typed()
		}
	case news:
		return m, m.hear(msg)
	case happened:
		for _, e := range msg {
			m.seen = e.Seq
			if e.Program != "" {
				kept := append(m.history[e.Program], e)
				m.history[e.Program] = kept[max(0, len(kept)-remembered):]
				if m.page != nil && m.page.of == e.Program {
					m.page.stale = true
				}
			}
		}
		if m.page != nil && slices.ContainsFunc(msg, func(e api.Event) bool { return e.Kind == "config.applied" }) {
			m.page.program = nil
			return m, m.refresh()
		}
	case printed:
		if msg.page == m.page {
			m.page.print(msg)
		}
	case programmed:
		if msg.page == m.page {
			m.page.asked = false
			m.page.program, m.page.trouble = msg.program, msg.err
		}
	case told:
		if msg.page == m.page {
			m.page.asked = false
			m.page.stories, m.page.trouble = msg.stories, msg.err
		}
	case recalled:
		if msg.page == m.page {
			m.page.asked = false
			if m.page.runsTrouble = msg.err; msg.err == nil {
				m.page.runs = msg.runs
			}
		}
	case acted:
		m.tell(outcome(msg))
	case planned:
		m.notice = ""
		if e := (*api.Error)(nil); errors.As(msg.err, &e) && len(e.Diagnostics) > 0 {
			msg.plan, msg.err = &api.Plan{Diagnostics: e.Diagnostics}, nil
		}
		if msg.err != nil {
			m.tell(said(msg.err), true)
			break
		}
		m.dialog = &planDialog{plan: msg.plan}
	case reloaded:
		switch {
		case msg.err != nil:
			m.tell("not applied: "+said(msg.err), true)
		case msg.plan.Empty():
			m.tell("nothing to do: the files are what runs", false)
		default:
			m.tell("applied: "+words.Count(len(msg.plan.Items), "program")+" changed", false)
		}
	}
	return m, nil
}

// said returns err in the words of the daemon, with what to do.
func said(err error) string {
	if e := (*api.Error)(nil); errors.As(err, &e) {
		text := e.Message
		if text == "" || len(e.Diagnostics) > 0 {
			text = strings.TrimSpace(text + " " + words.Count(len(e.Diagnostics), "complaint") + " (tend check shows them)")
		}
		if e.Hint != "" {
			text += " (" + e.Hint + ")"
		}
		return words.Clean(text)
	}
	return words.Clean(err.Error())
}

// outcome returns what came of an action, and whether that is bad.
func outcome(a acted) (string, bool) {
	if a.err != nil {
		return a.verb + " " + a.name + ": " + said(a.err), true
	}
	var bad []api.Result
	for _, r := range a.results.Results {
		if !r.OK {
			bad = append(bad, r)
		}
	}
	all := a.results.Results
	switch {
	case len(bad) > 0:
		text := bad[0].Name + ": " + bad[0].Message
		if len(bad) > 1 {
			text += fmt.Sprintf(" (and %d more)", len(bad)-1)
		}
		return words.Clean(text), true
	case len(all) == 1:
		return words.Clean(all[0].Name + ": " + all[0].Message), false
	}
	return words.Clean(a.verb + " " + a.name + ": done for " + words.Count(len(all), "instance")), false
}

// tell shows a line for a while.
func (m *model) tell(text string, bad bool) {
	m.notice, m.bad, m.until = text, bad, m.now.Add(noticed)
}

// hear takes news in.
func (m *model) hear(n news) tea.Cmd {
	m.now = n.at
	if !n.at.Before(m.until) {
		m.notice = ""
	}
	if n.err != nil {
		if m.lost == nil {
			m.lostAt = n.at
		}
		m.lost = n.err
		return nil
	}
	if m.lost != nil && m.page != nil {
		m.page.stale = true // another daemon may know more
	}
	m.lost = nil
	m.list, m.daemon = n.list, *n.daemon
	// A little less than a second: looks come a little early at times.
	if n.at.Sub(m.sampled) > 900*time.Millisecond {
		m.sampled = n.at
		m.record.add(m.list)
	}
	m.arrange()
	return m.refresh()
}

// refresh asks for what the part of the page that is seen shows, unless that is
// known and doesn't change by itself, or an answer is still awaited.
func (m *model) refresh() tea.Cmd {
	p := m.page
	switch {
	case p == nil || p.asked:
		return nil
	case p.tab == tabWhy:
		p.asked = true
		return m.feed.why(m.ctx, p)
	case p.tab == tabHistory && p.stale:
		p.asked, p.stale = true, false
		return m.feed.runs(m.ctx, p)
	case p.tab == tabProcesses, p.tab == tabConfig && p.program == nil:
		p.asked = true
		return m.feed.program(m.ctx, p)
	}
	return nil
}

// arrange makes the rows anew and finds the selected one among them.
func (m *model) arrange() {
	m.rows = m.buildRows()
	if at := slices.IndexFunc(m.rows, func(r row) bool { return r.key == m.selected }); at >= 0 {
		m.cursor = at
	} else if m.selected != "" || len(m.rows) == 0 {
		m.cursor = max(0, min(m.cursor, len(m.rows)-1)) // it went: what took its place
	}
	m.choose(m.cursor)
}

// choose selects the row at that place and brings it into sight.
func (m *model) choose(at int) {
	m.cursor = max(0, min(at, len(m.rows)-1))
	if len(m.rows) > 0 && (len(m.list) > 0) {
		m.selected = m.rows[m.cursor].key
	}
	height := m.body()
	m.top = max(0, min(m.top, len(m.rows)-height))
	m.top = min(max(m.top, m.cursor-height+1), m.cursor)
}

// body returns how many lines are between the head and the foot.
func (m *model) body() int { return max(1, m.height-6) }

// current returns the selected row.
func (m *model) current() (row, bool) {
	if m.cursor >= len(m.rows) {
		return row{}, false
	}
	return m.rows[m.cursor], true
}

// input returns the line that is being typed, or nil.
func (m *model) input() *textinput.Model {
	switch {
	case m.dialog != nil:
		return nil
	case m.page != nil && m.page.typing:
		return &m.page.search
	case m.page == nil && m.typing:
		return &m.filter
	}
	return nil
}

// typed does what follows from a changed line of input.
func (m *model) typed() {
	if m.page != nil {
		m.page.find(m.page.position(m.body()), 0, m.body())
		return
	}
	m.arrange()
}

// key does what a key asks for.
func (m *model) key(k tea.KeyPressMsg) tea.Cmd {
	name := k.String()
	switch name {
	case "ctrl+c":
		return tea.Quit
	case "ctrl+z":
		return tea.Suspend
	case "ctrl+l":
		return tea.ClearScreen
	}
	if m.dialog != nil {
		return m.dialog.key(m, name)
	}
	if in := m.input(); in != nil {
		return m.edit(in, k)
	}
	if m.page != nil {
		return m.pageKey(name)
	}
	return m.listKey(name)
}

// edit changes a line of input: enter keeps it, esc takes it away.
func (m *model) edit(in *textinput.Model, k tea.KeyPressMsg) tea.Cmd {
	switch k.String() {
	case "esc", "enter":
		if k.String() == "esc" {
			in.SetValue("")
		}
		in.Blur()
		m.typing = false
		if m.page != nil {
			m.page.typing = false
		} else {
			m.arrange()
		}
		return nil
	case "up", "down", "pgup", "pgdown":
		if m.page == nil {
			return m.listKey(k.String())
		}
	}
	var cmd tea.Cmd
	*in, cmd = in.Update(k)
	m.typed()
	return cmd
}

// listKey is a key of the list.
func (m *model) listKey(name string) tea.Cmd {
	r, some := m.current()
	switch name {
	case "q":
		return tea.Quit
	case "esc":
		m.filter.SetValue("")
		m.arrange()
	case "up", "k":
		m.choose(m.cursor - 1)
	case "down", "j":
		m.choose(m.cursor + 1)
	case "pgup", "ctrl+b":
		m.choose(m.cursor - m.body())
	case "pgdown", "ctrl+f":
		m.choose(m.cursor + m.body())
	case "home", "g":
		m.choose(0)
	case "end", "G":
		m.choose(len(m.rows) - 1)
	case "/":
		m.typing = true
		m.filter.CursorEnd()
		return m.filter.Focus()
	case "o":
		m.order, m.reverse = (m.order+1)%orders, false
		m.arrange()
		m.tell("sorted by "+orderNames[m.order], false)
	case "O":
		m.reverse = !m.reverse
		m.arrange()
	case "space", "left", "right", "h", "l":
		m.fold(r, some, name)
	case "z":
		m.foldAll()
	case "enter":
		if some {
			return m.open(r, tabLog)
		}
	case "w":
		if some {
			return m.open(r, tabWhy)
		}
	default:
		return m.command(name, r, some)
	}
	return nil
}

// fold folds or unfolds the program of the selected row.
func (m *model) fold(r row, some bool, name string) {
	if !some || !r.group && !r.child {
		return
	}
	program := r.first().Program
	folded := !r.folded
	switch name {
	case "left", "h":
		folded = true
	case "right", "l":
		folded = false
	}
	if r.child {
		if folded = name != "right" && name != "l"; folded {
			m.selected = program
		}
	}
	m.folded[program] = folded
	m.arrange()
}

// foldAll folds all programs, or unfolds them where none is unfolded.
func (m *model) foldAll() {
	open := slices.ContainsFunc(m.rows, func(r row) bool { return r.child })
	for _, r := range m.rows {
		if r.group {
			m.folded[r.key] = open
		}
	}
	if r, some := m.current(); some && r.child && open {
		m.selected = r.first().Program
	}
	m.arrange()
}

// command is a key that acts on a row, on the list as on a page.
func (m *model) command(name string, r row, some bool) tea.Cmd {
	switch name {
	case "?":
		m.dialog = &helpDialog{}
		return nil
	case "m":
		if m.mouse = !m.mouse; m.mouse {
			m.tell("the mouse is on: click, and scroll; most terminals select text with shift", false)
		} else {
			m.tell("the mouse is off", false)
		}
		return nil
	case "p":
		m.tell("asking for the plan", false)
		return m.feed.plan(m.ctx)
	}
	if !some {
		return nil
	}
	act := func(verb string, body api.Act) func() tea.Cmd {
		return func() tea.Cmd {
			doing := map[string]string{"start": "starting", "stop": "stopping", "restart": "restarting", "run": "running"}[verb]
			m.tell(doing+" "+r.key, false)
			return m.feed.act(m.ctx, verb, r.key, body)
		}
	}
	what := words.Clean(r.key)
	if r.group {
		what += ", " + words.Count(len(r.members), "instance")
	}
	switch name {
	case "s":
		return act("start", api.Act{})()
	case "x":
		m.dialog = &question{title: "stop " + what + "?", text: []string{"It stays stopped until it is started, or the daemon is."},
			choices: []choice{{"y", "stop", act("stop", api.Act{})}}}
	case "r":
		q := &question{title: "restart " + what + "?", choices: []choice{{"y", "restart", act("restart", api.Act{})}}}
		if r.group {
			q.choices = append(q.choices, choice{"o", "one after the other", act("restart", api.Act{Rolling: true})})
		}
		m.dialog = q
	case "R":
		m.dialog = &question{title: "run " + what + " now?", text: []string{"Once, whatever its schedule says."},
			choices: []choice{{"y", "run", act("run", api.Act{NoWait: true})}}}
	case "K":
		m.dialog = &signalDialog{name: r.key, what: what}
	}
	return nil
}

// View draws the screen.
func (m *model) View() tea.View {
	v := tea.NewView(m.screen())
	v.AltScreen = true
	v.WindowTitle = "tend top"
	if m.mouse {
		v.MouseMode = tea.MouseModeCellMotion
	}
	return v
}

func (m *model) screen() string {
	if m.width < 20 || m.height < 7 {
		return fit("the terminal is too small", m.width)
	}
	var s string
	if m.page != nil {
		s = m.pageScreen()
	} else {
		s = m.listScreen()
	}
	if m.dialog != nil {
		s = over(s, m.dialog.view(m), m.width, m.height)
	}
	return s
}

// head returns the first line: whose dashboard this is, and whether it is true.
func (m *model) head() string {
	left := " " + paint("1;36", "tend") + "  " + words.Clean(m.place)
	if m.daemon.PID != 0 {
		left += paint(words.Dim, "  "+words.Clean(m.daemon.Version)+", up "+words.Span(m.now.Sub(m.daemon.Started)))
	}
	var right string
	switch behind := int64(m.daemon.EventSeq) - int64(m.seen); {
	case m.lost != nil:
		right = paint("1;31", "✗ cut off "+words.Span(m.now.Sub(m.lostAt).Truncate(time.Second))) + paint(words.Dim, ", trying again")
	case m.daemon.PID == 0:
		right = paint(words.Dim, "◌ asking")
	case m.daemon.Stopping:
		right = paint(words.Yellow, "◑ the daemon is stopping")
	case m.daemon.Upgrading:
		right = paint(words.Yellow, "◑ the daemon is being upgraded")
	case behind > 50:
		right = paint(words.Yellow, "◐ "+strconv.FormatInt(behind, 10)+" events behind")
	default:
		right = paint(words.Green, "●") + " live"
	}
	return ends(left, right+" ", m.width)
}

// foot returns the line above the keys: what is typed, what came of an action, or
// text.
func (m *model) foot(text string) string {
	switch in := m.input(); {
	case in != nil:
		in.SetWidth(max(1, m.width-4))
		return fit(" "+paint("1;36", "/")+in.View(), m.width)
	case m.notice != "" && m.bad:
		return fit(" "+paint(words.Red, "✗ "+m.notice), m.width)
	case m.notice != "":
		return fit(" "+paint(words.Cyan, "→ ")+m.notice, m.width)
	case m.lost != nil:
		return fit(" "+paint(words.Red, words.Clean(m.lost.Error())), m.width)
	}
	return fit(" "+text, m.width)
}

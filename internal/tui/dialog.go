package tui

import (
	"fmt"
	"strings"

	tea "charm.land/bubbletea/v2"

	"tend/api"
	"tend/internal/words"
)

// A dialog lies over the screen and takes all keys.
type dialog interface {
	// key does what a key asks for, and takes the dialog away from m, or puts
	// another one there, where that is what it asks for.
	key(m *model, name string) tea.Cmd
	view(m *model) string
}

// A question asks before something is done. Whatever isn't one of the choices
// means no.
type question struct {
	title   string
	text    []string
	choices []choice
}

type choice struct {
	key, does string
	do        func() tea.Cmd
}

func (q *question) key(m *model, name string) tea.Cmd {
	m.dialog = nil
	for _, c := range q.choices {
		if c.key == name {
			return c.do()
		}
	}
	m.tell("nothing was done", false)
	return nil
}

func (q *question) view(m *model) string {
	lines := append([]string(nil), q.text...)
	if len(lines) > 0 {
		lines = append(lines, "")
	}
	var keys []string
	for _, c := range q.choices {
		keys = append(keys, paint("1;36", c.key)+" "+c.does)
	}
	keys = append(keys, paint("1;36", "n")+" leave it")
	return box(q.title, append(lines, strings.Join(keys, "   ")), m.width, m.height)
}

// signals are those that are offered, with what they mean to most programs.
var signals = []struct{ name, means string }{
	{"HUP", "read the configuration again, open logs anew"},
	{"TERM", "end, in order"},
	{"INT", "end, as Ctrl-C asks"},
	{"QUIT", "end, many with a dump of what they do"},
	{"USR1", "as the program says"},
	{"USR2", "as the program says"},
	{"WINCH", "as the program says"},
	{"STOP", "stand still"},
	{"CONT", "go on"},
	{"KILL", "end at once, unasked"},
}

// A signalDialog lets one choose a signal.
type signalDialog struct {
	name, what string
	at         int
}

func (d *signalDialog) key(m *model, name string) tea.Cmd {
	switch name {
	case "up", "k":
		d.at = (d.at + len(signals) - 1) % len(signals)
	case "down", "j":
		d.at = (d.at + 1) % len(signals)
	case "enter":
		m.dialog = nil
		sig := signals[d.at].name
		m.tell("sending "+sig+" to "+d.name, false)
		return m.feed.act(m.ctx, "signal", d.name, api.Act{Signal: sig})
	case "esc", "q", "n", "K":
		m.dialog = nil
	}
	return nil
}

func (d *signalDialog) view(m *model) string {
	var lines []string
	for n, s := range signals {
		line := "  " + words.Pad(s.name, 6) + " " + paint(words.Dim, s.means)
		if n == d.at {
			line = paint("1;36", "▌ ") + paint(words.Bold, words.Pad(s.name, 6)) + " " + s.means
		}
		lines = append(lines, line)
	}
	lines = append(lines, "", paint("1;36", "enter")+" send   "+paint("1;36", "esc")+" leave it")
	return box("signal to "+d.what, lines, m.width, m.height)
}

// A planDialog shows what a reload would do, and applies it after a question.
type planDialog struct {
	plan *api.Plan
	top  int
}

func (d *planDialog) errors() (n int) {
	for _, g := range d.plan.Diagnostics {
		if g.Severity == "error" {
			n++
		}
	}
	return n
}

// height returns how many lines of the plan are shown at a time.
func (d *planDialog) height(m *model) int { return max(1, m.height-6) }

func (d *planDialog) key(m *model, name string) tea.Cmd {
	height := d.height(m)
	switch name {
	case "up", "k":
		d.top--
	case "down", "j":
		d.top++
	case "pgup":
		d.top -= height
	case "pgdown", "space":
		d.top += height
	case "a":
		if d.errors() > 0 || d.plan.Empty() {
			return nil
		}
		q := &question{title: "apply this?"}
		for _, a := range []string{api.PlanStart, api.PlanRestart, api.PlanStop, api.PlanDrain, api.PlanLive, api.PlanAdd, api.PlanRemove} {
			n := 0
			for _, i := range d.plan.Items {
				if i.Action == a {
					n++
				}
			}
			if n > 0 {
				symbol, st := words.PlanMark(a)
				q.text = append(q.text, paint(st, symbol+" "+a)+"  "+words.Count(n, "program"))
			}
		}
		if d.plan.Empties {
			q.text = append(q.text, paint(words.Red, "nothing would be left"))
		}
		q.choices = []choice{{"y", "apply", func() tea.Cmd {
			m.tell("applying", false)
			return m.feed.reload(m.ctx, api.ReloadOptions{AllowEmpty: d.plan.Empties})
		}}}
		m.dialog = q
	default:
		m.dialog = nil
	}
	d.top = max(0, min(d.top, len(d.lines(m))-height))
	return nil
}

func (d *planDialog) view(m *model) string {
	lines := d.lines(m)
	height := d.height(m)
	last := min(len(lines), d.top+height)
	shown := append([]string(nil), lines[d.top:last]...)
	keys := paint("1;36", "esc") + " close"
	if d.errors() == 0 && !d.plan.Empty() {
		keys = paint("1;36", "a") + " apply   " + keys
	}
	if len(lines) > height {
		keys += paint(words.Dim, fmt.Sprintf("   %d to %d of %d, ↑ ↓", d.top+1, last, len(lines)))
	}
	return box("plan", append(shown, "", keys), m.width, m.height)
}

// lines returns the plan in words, as tend plan says it.
func (d *planDialog) lines(m *model) []string {
	p, room := d.plan, max(20, m.width-8)
	var lines []string
	for _, g := range p.Diagnostics {
		st := words.Yellow
		if g.Severity == "error" {
			st = words.Red
		}
		text := g.Text
		if text == "" {
			text = fmt.Sprintf("%s:%d: %s", g.File, g.Line, g.Message)
		}
		for n, l := range strings.Split(strings.TrimRight(words.CleanLines(text), "\n"), "\n") {
			if n == 0 {
				l = paint(st, words.Cut(l, room))
			}
			lines = append(lines, l)
		}
	}
	switch {
	case d.errors() > 0:
		return append(lines, "", words.Count(d.errors(), "error")+"; what runs is untouched")
	case p.Empty():
		return append(lines, paint(words.Green, "✓")+" nothing to do: the files are what runs")
	}
	names, actions := 0, 0
	for _, i := range p.Items {
		names, actions = max(names, words.Width(words.Clean(i.Program))), max(actions, len(i.Action))
	}
	names = min(names, room/3)
	for _, i := range p.Items {
		symbol, st := words.PlanMark(i.Action)
		line := paint(st, symbol) + " " + words.Pad(words.Cut(words.Clean(i.Program), names), names) + "  " + paint(st, words.Pad(i.Action, actions))
		if i.Summary != "" {
			line += "  " + paint(words.Dim, words.CutMiddle(words.Clean(i.Summary), max(10, room-names-actions-6)))
		}
		lines = append(lines, line)
		keys := 0
		for _, c := range i.Changes {
			keys = max(keys, words.Width(c.Key))
		}
		for _, c := range i.Changes {
			before, after := words.Difference(c.Old, c.New)
			if rest := max(10, room-keys-9); words.Width(before)+words.Width(after) > rest {
				before, after = words.Focus(before, after, rest)
			}
			lines = append(lines, "    "+words.Pad(c.Key, keys)+"  "+before+paint(words.Dim, " → ")+after)
		}
	}
	if p.Unchanged > 0 {
		lines = append(lines, paint(words.Dim, fmt.Sprintf("= %d unchanged", p.Unchanged)))
	}
	return lines
}

// A helpDialog says what the keys do.
type helpDialog struct{}

func (*helpDialog) key(m *model, _ string) tea.Cmd {
	m.dialog = nil
	return nil
}

// keys are all there are, for the help. Two columns fit into 80.
var keys = [2][]hint{
	{
		{"↑ ↓ j k", "choose"}, {"pgup pgdn", "a screen further"}, {"g G", "first, last"},
		{"enter", "open the program's page"}, {"space", "fold, unfold its instances"}, {"z", "fold or unfold all"},
		{"/", "filter by name, state, glob"}, {"o O", "sort, reverse"}, {"p", "plan, then a applies it"},
		{"?", "this help"}, {"q", "leave"}, {"ctrl+z", "into the background"},
	},
	{
		{"s", "start"}, {"x", "stop"}, {"r", "restart"}, {"R", "run a task now"}, {"K", "send a signal"},
		{"w", "why it is so"}, {"1 to 5", "a part of the page"}, {"tab", "the next part"}, {"/ n N", "search the log"},
		{"G", "follow its end"}, {"esc", "back"}, {"m", "mouse on, off"},
	},
}

func (*helpDialog) view(m *model) string {
	var lines []string
	for n := range keys[0] {
		l, r := keys[0][n], keys[1][n]
		lines = append(lines, paint("1;36", words.Pad(l.key, 10))+words.Pad(l.does, 28)+paint("1;36", words.Pad(r.key, 8))+r.does)
	}
	return box("keys", lines, m.width, m.height)
}

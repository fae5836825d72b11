package tui

import (
	"strconv"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/x/ansi"
)

// The mouse is off unless somebody switches it on: with it the terminal no longer
// selects text by itself.

const (
	listTop = 3 // lines above the first row of the list
	tabsAt  = 2 // the line of a page's tabs
	notch   = 3 // lines that the wheel moves
)

// click selects a row, opens the one that is selected, or turns to a tab.
func (m *model) click(e tea.Mouse) tea.Cmd {
	switch {
	case m.dialog != nil || e.Button != tea.MouseLeft:
		return nil
	case m.page != nil:
		if tab := tabAt(e.X); e.Y == tabsAt && tab >= 0 {
			return m.turn(tab)
		}
		return nil
	}
	at := m.top + e.Y - listTop
	if e.Y < listTop || e.Y >= listTop+m.body() || at >= len(m.rows) {
		return nil
	}
	if at == m.cursor {
		return m.open(m.rows[at], tabLog)
	}
	m.choose(at)
	return nil
}

// wheel goes through whatever is shown.
func (m *model) wheel(e tea.Mouse) tea.Cmd {
	key := map[tea.MouseButton]string{tea.MouseWheelUp: "up", tea.MouseWheelDown: "down"}[e.Button]
	if key == "" {
		return nil
	}
	switch d := m.dialog.(type) {
	case nil:
	case *signalDialog, *planDialog:
		return d.key(m, key)
	default: // a question takes any key that it doesn't know for a no
		return nil
	}
	for range notch {
		if m.page != nil {
			m.pageKey(key)
		} else {
			m.listKey(key)
		}
	}
	return nil
}

// tabAt returns the tab whose name is at a column of [model.tabLine], -1 for none.
func tabAt(x int) int {
	from := 1
	for n, name := range tabNames {
		to := from + ansi.StringWidth(strconv.Itoa(n+1)+" "+name)
		if x >= from && x < to {
			return n
		}
		from = to + 3
	}
	return -1
}

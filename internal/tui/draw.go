package tui

import (
	"strings"

	"charm.land/lipgloss/v2"
	"github.com/charmbracelet/x/ansi"

	"tend/internal/words"
)

// A pen paints text. The zero value paints on the terminal's own background.
type pen struct{ ground words.Style } // SGR parameters below those of the text

// paint returns text in that style. Where there is to be no colour, the toolkit
// takes it away again.
func (p pen) paint(st words.Style, text string) string {
	if text == "" || st == words.Plain && p.ground == "" {
		return text
	}
	codes := string(st)
	if p.ground != "" {
		codes = strings.TrimPrefix(codes+";"+string(p.ground), ";")
	}
	return "\x1b[" + codes + "m" + text + "\x1b[m"
}

func paint(st words.Style, text string) string { return pen{}.paint(st, text) }

// marked is what a search has found.
const marked words.Style = "7"

// chosen is the ground of the selected line: a grey near the terminal's own
// background. The mark in front of the line says the same without colour.
func chosen(dark bool) pen {
	if dark {
		return pen{"48;5;236"}
	}
	return pen{"48;5;254"}
}

// fit returns s, which may be painted, with exactly n columns.
func fit(s string, n int) string {
	w := ansi.StringWidth(s)
	switch {
	case n <= 0:
		return ""
	case w > n:
		return ansi.Truncate(s, n, "…")
	}
	return s + strings.Repeat(" ", n-w)
}

// ends returns left and right at the ends of a line of n columns. The left one
// gives way.
func ends(left, right string, n int) string {
	w := ansi.StringWidth(right)
	if w+2 > n {
		return fit(left, n)
	}
	return fit(left, n-w-1) + " " + right
}

// rule returns a line across n columns with a text in it.
func rule(text string, n int) string {
	if text == "" {
		return paint(words.Dim, strings.Repeat("─", n))
	}
	line := paint(words.Dim, "── ") + text + " "
	return fit(line+paint(words.Dim, strings.Repeat("─", max(0, n-ansi.StringWidth(line)))), n)
}

// A hint is a key and what it does.
type hint struct{ key, does string }

// hints returns as many of list as fit into n columns; the last two always do.
func hints(list []hint, n int) string {
	show := func(h hint) string { return paint("1;36", h.key) + " " + paint(words.Dim, h.does) }
	tail := ""
	for _, h := range list[max(0, len(list)-2):] {
		tail += "  " + show(h)
	}
	line := ""
	for _, h := range list[:max(0, len(list)-2)] {
		next := line + "  " + show(h)
		if ansi.StringWidth(next+tail)-1 > n {
			break
		}
		line = next
	}
	return fit(strings.TrimPrefix(line+tail, " "), n)
}

// box draws a frame with a title around lines, no larger than width × height.
func box(title string, lines []string, width, height int) string {
	inner := ansi.StringWidth(title) + 2
	for _, l := range lines {
		inner = max(inner, ansi.StringWidth(l))
	}
	inner = min(inner, width-4)
	if len(lines) > height-2 {
		lines = lines[:max(0, height-2)]
	}
	var b strings.Builder
	dash := max(0, inner-ansi.StringWidth(title)-1)
	b.WriteString(paint(words.Cyan, "╭─ ") + paint(words.Bold, title) + paint(words.Cyan, " "+strings.Repeat("─", dash)+"╮") + "\n")
	for _, l := range lines {
		b.WriteString(paint(words.Cyan, "│") + " " + fit(l, inner) + " " + paint(words.Cyan, "│") + "\n")
	}
	b.WriteString(paint(words.Cyan, "╰"+strings.Repeat("─", inner+2)+"╯"))
	return b.String()
}

// over lays top in the middle of a screen.
func over(screen, top string, width, height int) string {
	x := max(0, (width-lipgloss.Width(top))/2)
	y := max(0, (height-lipgloss.Height(top))/3)
	return lipgloss.NewCompositor(lipgloss.NewLayer(screen), lipgloss.NewLayer(top).X(x).Y(y).Z(1)).Render()
}

// tame returns a line that a program has printed without what a terminal would
// obey, with its colours and without them.
func tame(s string) (coloured, plain string) {
	var c, p strings.Builder
	var state byte
	columns := 0
	painted := false
	for len(s) > 0 {
		seq, width, n, next := ansi.DecodeSequence(s, state, nil)
		if n == 0 {
			break
		}
		switch {
		case width > 0:
			seq = words.Clean(seq)
			c.WriteString(seq)
			p.WriteString(seq)
			columns += width
		case seq == "\t":
			blanks := strings.Repeat(" ", 8-columns%8)
			c.WriteString(blanks)
			p.WriteString(blanks)
			columns += len(blanks)
		case strings.HasPrefix(seq, "\x1b[") && strings.HasSuffix(seq, "m") && strings.Trim(seq[2:len(seq)-1], "0123456789;:") == "":
			c.WriteString(seq)
			painted = true
		}
		state, s = next, s[n:]
	}
	if painted {
		c.WriteString("\x1b[m") // its colour isn't the next line's
	}
	return c.String(), p.String()
}

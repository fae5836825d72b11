package cli

import "strings"

// A table is laid out for a width: where the terminal is too narrow, the last
// column gives way first, then long names, then whole columns. Names are cut in
// their middle, as instances differ at the end.
type table struct {
	columns []column
	rows    [][]cell
	under   map[int][]string // lines below a row, as wide as the screen
}

type column struct {
	title string
	right bool // aligned to the right
	drop  int  // columns go in this order, from 1; 0 stays
	whole bool // never cut
}

type cell struct {
	text  string
	style style
}

// Widths below which the first and the last column are not cut while there is
// something else to give.
const (
	fineLast  = 24
	leastName = 16
	leastLast = 16
)

// write prints t on s.
func (t *table) write(s *screen) error {
	limit, _ := s.size()
	widths := make([]int, len(t.columns))
	for c, col := range t.columns {
		widths[c] = width(col.title)
		for _, row := range t.rows {
			widths[c] = max(widths[c], width(row[c].text))
		}
	}
	gone := make([]bool, len(t.columns))
	if limit > 0 {
		t.fit(widths, gone, limit)
	}
	var b strings.Builder
	line := func(at func(c int) cell) {
		var l strings.Builder
		blanks := 0 // not written until something follows: no line ends in blanks
		for c, col := range t.columns {
			if gone[c] {
				continue
			}
			x := at(c)
			if c == 0 {
				x.text = cutMiddle(x.text, widths[c])
			} else {
				x.text = cut(x.text, widths[c])
			}
			room := widths[c] - width(x.text)
			if col.right {
				blanks += room
			}
			if x.text != "" {
				l.WriteString(strings.Repeat(" ", blanks))
				l.WriteString(s.paint(x.style, x.text))
				blanks = 0
			}
			if !col.right {
				blanks += room
			}
			blanks += 2
		}
		b.WriteString(l.String())
		b.WriteByte('\n')
	}
	line(func(c int) cell { return cell{t.columns[c].title, dim} })
	for n, row := range t.rows {
		line(func(c int) cell { return row[c] })
		for _, text := range t.under[n] {
			if limit > 0 {
				text = cut(text, limit)
			}
			b.WriteString(s.paint(dim, text) + "\n")
		}
	}
	_, err := s.Write([]byte(b.String()))
	return err
}

// fit narrows widths and marks columns as gone until a line takes at most limit
// columns, or nothing is left to give.
func (t *table) fit(widths []int, gone []bool, limit int) {
	over := func() int {
		sum := -2
		for c, w := range widths {
			if !gone[c] {
				sum += w + 2
			}
		}
		return sum - limit
	}
	shrink := func(c, least int) {
		if n := over(); n > 0 && !gone[c] && !t.columns[c].whole && widths[c] > least {
			widths[c] = max(least, widths[c]-n)
		}
	}
	last := len(widths) - 1
	shrink(last, fineLast)
	shrink(0, leastName)
	shrink(last, leastLast)
	for n := 1; n <= len(t.columns) && over() > 0; n++ {
		for c, col := range t.columns {
			gone[c] = gone[c] || col.drop == n
		}
	}
	shrink(last, 1)
	shrink(0, 4)
}

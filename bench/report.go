package main

import (
	"bytes"
	"fmt"
	"math"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// A metric is a row of the table.
type metric struct {
	title    string
	part     string // of -only
	series   string
	quantile float64
	decimals int
	ratio    bool    // to the limit means something
	most     float64 // the aim: at most so much, 0 when there is none
	aim      aimKind

	// value computes what is no series of its own.
	value func(s *sheet, contender string) float64
}

type aimKind int

const (
	noAim      aimKind = iota
	figureAim          // the figure itself is held against the aim
	limitTimes         // the ratio to the limit is
)

// metrics are the rows, for a fleet of n programs.
func metrics(n int) []metric {
	fleet := thousands(n)
	// perProgram returns what one more program costs, of units that there are so
	// many of in a MiB.
	perProgram := func(series string, units float64) func(s *sheet, c string) float64 {
		return func(s *sheet, c string) float64 {
			return (s.value(series+"-n", c, 0.5) - s.value(series+"-0", c, 0.5)) * units / float64(n)
		}
	}
	return []metric{
		{title: fmt.Sprintf("restart, one of %d, ms", few), part: "restart", series: "restart", quantile: 0.5, decimals: 2, ratio: true, aim: limitTimes, most: 1.45},
		{title: "restart, one of " + fleet + ", ms", part: "restart-n", series: "restart-n", quantile: 0.5, decimals: 2, ratio: true},
		{title: fleet + " up: from the supervisor's start, ms", part: "up", series: "up", quantile: 0.5, ratio: true, aim: limitTimes, most: 1.5},
		{title: fleet + " up: from the first program to the last, ms", part: "up", series: "up-first", quantile: 0.5, ratio: true},
		{title: "memory with no program, MiB", part: "memory", series: "pss-0", quantile: 0.5, decimals: 1, aim: figureAim, most: 10},
		{title: fmt.Sprintf("memory with %d, MiB", middle), part: "memory", series: "pss-middle", quantile: 0.5, decimals: 1},
		{title: "memory with " + fleet + ", MiB", part: "memory", series: "pss-n", quantile: 0.5, decimals: 1},
		{title: "memory for one program more, KiB", part: "memory", decimals: 1, value: perProgram("pss", 1<<10), aim: figureAim, most: 4},
		{title: "the guard's memory with no program, MiB", part: "memory", series: "guard-0", quantile: 0.5, decimals: 1, aim: figureAim, most: 3},
		{title: "the guard's memory with " + fleet + ", MiB", part: "memory", series: "guard-n", quantile: 0.5, decimals: 1},
		{title: "the guard's memory for one program more, bytes", part: "memory", value: perProgram("guard", 1<<20), aim: figureAim, most: 100},
		{title: "at rest with " + fleet + ": wake-ups a second", part: "idle", series: "idle-switches", quantile: 0.5, decimals: 1, aim: figureAim, most: 0},
		{title: "at rest with " + fleet + ": CPU, ms a second", part: "idle", series: "idle-cpu", quantile: 0.5, decimals: 2},
		{title: "one of " + fleet + " changed, by signal, ms", part: "reload", series: "reload-signal", quantile: 0.5, decimals: 2, ratio: true, aim: figureAim, most: 4},
		{title: "one of " + fleet + " changed, by command, ms", part: "reload", series: "reload-command", quantile: 0.5, decimals: 2, aim: figureAim, most: 4},
		{title: fleet + " stopped: last program gone, ms", part: "stop", series: "stop-programs", quantile: 0.5, ratio: true, aim: limitTimes, most: 1.2},
		{title: fleet + " stopped: supervisor gone, ms", part: "stop", series: "stop", quantile: 0.5, ratio: true, aim: limitTimes, most: 1.2},
		{title: "daemon killed, until all " + fleet + " are adopted and it answers, ms", part: "death", series: "death", quantile: 0.5, aim: figureAim, most: 100},
		{title: "upgrade with " + fleet + ": longest time without an answer, ms", part: "upgrade", series: "upgrade-gap", quantile: 0.5, aim: figureAim, most: 20},
		{title: "upgrade with " + fleet + ": programs not guarded, ms", part: "upgrade", series: "upgrade-unguarded", quantile: 0.5},
		{title: "upgrade with " + fleet + ": connections refused", part: "upgrade", series: "upgrade-refused", quantile: 1, aim: figureAim, most: 0},
		{title: "storm: restarts a second", part: "storm", series: "storm-restarts", quantile: 0.5},
		{title: "storm: status by API, median, ms", part: "storm", series: "storm-api", quantile: 0.5, decimals: 1},
		{title: "storm: status by API, 99 %, ms", part: "storm", series: "storm-api", quantile: 0.99, decimals: 1, aim: figureAim, most: 10},
		{title: "storm: status by command, median, ms", part: "storm", series: "storm-command", quantile: 0.5, decimals: 1},
		{title: "storm: status by command, 99 %, ms", part: "storm", series: "storm-command", quantile: 0.99, decimals: 1, aim: figureAim, most: 10},
	}
}

// figure returns the contender's figure in the row, NaN when there is none.
func (m metric) figure(s *sheet, contender string) float64 {
	if m.value != nil {
		return m.value(s, contender)
	}
	return s.value(m.series, contender, m.quantile)
}

// times returns the ratio to the limit: the median over the rounds, NaN when there is none.
func (m metric) times(s *sheet, contender string) float64 {
	if !m.ratio || contender == "limit" {
		return math.NaN()
	}
	return quantile(s.ratios(m.series, contender, "limit", m.quantile), 0.5)
}

// A column is a contender of the table, and why it has no figures, if so.
type column struct {
	name    string
	version string
	absent  error
	failed  map[string]error // by part
}

// cell returns what the table says of the contender.
func (m metric) cell(s *sheet, c *column) string {
	v, r := m.figure(s, c.name), m.times(s, c.name)
	switch {
	case c.absent != nil:
		return "absent"
	case math.IsNaN(v) && c.failed[m.part] != nil:
		return "failed"
	case math.IsNaN(v):
		return "–"
	case math.IsNaN(r):
		return number(v, m.decimals)
	default:
		decimals := 2
		if r >= 100 {
			decimals = 0
		}
		return fmt.Sprintf("%s (%s ×)", number(v, m.decimals), number(r, decimals))
	}
}

// verdict returns the aim, and whether tend met it. It is judged as it is printed.
func (m metric) verdict(s *sheet) string {
	var text string
	var got float64
	var decimals int
	switch m.aim {
	case noAim:
		return ""
	case limitTimes:
		text, got, decimals = fmt.Sprintf("≤ %g ×", m.most), m.times(s, "tend"), 2
	case figureAim:
		text, got, decimals = fmt.Sprintf("≤ %g", m.most), m.figure(s, "tend"), m.decimals
		if m.most == 0 {
			text = "0"
		}
	}
	switch scale := math.Pow10(decimals); {
	case math.IsNaN(got):
		return text
	case math.Round(got*scale)/scale <= m.most:
		return text + " ✓"
	default:
		return text + " ✗"
	}
}

// report returns the Markdown that a run amounts to. Rows that nobody has a
// figure or a failure for are left out.
func report(s *sheet, n int, columns []*column, about []string) string {
	var b strings.Builder
	for _, line := range about {
		fmt.Fprintf(&b, "%s  \n", line)
	}
	b.WriteString("\n|")
	for _, c := range columns {
		fmt.Fprintf(&b, " | %s", c.name)
		if c.name == "tend" {
			b.WriteString(" | aim")
		}
	}
	b.WriteString(" |\n|---")
	for _, c := range columns {
		b.WriteString("|---:")
		if c.name == "tend" {
			b.WriteString("|:---")
		}
	}
	b.WriteString("|\n")
	for _, m := range metrics(n) {
		var cells []string
		said := false
		for _, c := range columns {
			cell := m.cell(s, c)
			said = said || (cell != "–" && cell != "absent")
			cells = append(cells, cell)
			if c.name == "tend" {
				cells = append(cells, m.verdict(s))
			}
		}
		if said {
			fmt.Fprintf(&b, "| %s | %s |\n", m.title, strings.Join(cells, " | "))
		}
	}
	if spread := spread(s, n); spread != "" {
		fmt.Fprintf(&b, "\n`tend`'s ratio to the limit from round to round: %s.\n", spread)
	}
	var notes []string
	for _, c := range columns {
		if c.absent != nil {
			notes = append(notes, fmt.Sprintf("- %s is absent: %v", c.name, c.absent))
		}
		said := make(map[string]bool)
		for _, sc := range scenarios {
			for _, part := range sc.parts {
				if err := c.failed[part]; err != nil && !said[err.Error()] {
					said[err.Error()] = true
					notes = append(notes, fmt.Sprintf("- %s failed at %s: %s", c.name, part, oneLine(err)))
				}
			}
		}
	}
	if len(notes) > 0 {
		fmt.Fprintf(&b, "\n%s\n", strings.Join(notes, "\n"))
	}
	return b.String()
}

// spread says how far tend's ratios went apart.
func spread(s *sheet, n int) string {
	var out []string
	for _, m := range metrics(n) {
		if !m.ratio {
			continue
		}
		if r := s.ratios(m.series, "tend", "limit", m.quantile); len(r) > 1 {
			title, _, _ := strings.Cut(m.title, ", ms")
			out = append(out, fmt.Sprintf("%s %.2f to %.2f", title, quantile(r, 0), quantile(r, 1)))
		}
	}
	return strings.Join(out, "; ")
}

// number prints v with its decimals and a comma at the thousands.
func number(v float64, decimals int) string {
	s := fmt.Sprintf("%.*f", decimals, v)
	whole, rest, dot := strings.Cut(s, ".")
	if len(strings.TrimPrefix(whole, "-")) > 3 {
		whole = whole[:len(whole)-3] + "," + whole[len(whole)-3:]
	}
	if dot {
		return whole + "." + rest
	}
	return whole
}

// thousands prints n with a comma at the thousands.
func thousands(n int) string { return number(float64(n), 0) }

func oneLine(err error) string { return strings.Join(strings.Fields(err.Error()), " ") }

// machine says in a line where the figures come from.
func machine(cpus int, goVersion, date string) string {
	var uts unix.Utsname
	unix.Uname(&uts)
	model := "unknown CPU"
	if info, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range bytes.Lines(info) {
			if key, value, ok := strings.Cut(string(line), ":"); ok && strings.TrimSpace(key) == "model name" {
				model = strings.TrimSpace(value)
				break
			}
		}
	}
	var si unix.Sysinfo_t
	unix.Sysinfo(&si)
	gib := float64(si.Totalram) * float64(si.Unit) / (1 << 30)
	return fmt.Sprintf("%s, Linux %s, %s, %d CPUs, %.0f GiB, %s", date,
		unix.ByteSliceToString(uts.Release[:]), model, cpus, gib, goVersion)
}

// The marks between which the page holds the newest report.
const (
	beginMark = "<!-- bench: begin (written by make bench) -->"
	beginLogs = "<!-- bench: begin (written by go run ./bench -logs) -->"
	beginLoad = "<!-- bench: begin (written by go run ./bench -load) -->"
	endMark   = "<!-- bench: end -->"
)

// paste puts the report between the mark that the page has and the next end.
func paste(page, mark, report string) (string, error) {
	before, rest, ok := strings.Cut(page, mark)
	_, after, closed := strings.Cut(rest, endMark)
	if !ok || !closed {
		return "", fmt.Errorf("cannot find the marks %q and %q", mark, endMark)
	}
	return before + mark + "\n" + strings.TrimSpace(report) + "\n" + endMark + after, nil
}

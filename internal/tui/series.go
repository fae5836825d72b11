package tui

import (
	"math"
	"strings"

	"tend/api"
)

// samples is how many seconds of figures are kept.
const samples = 120

// A series holds what an instance has used, a sample a second; NaN where it isn't
// known. All series of a [record] have their samples at the same places.
type series struct{ cpu, memory [samples]float64 } // percent, bytes

// A record keeps the figures of all instances: the daemon doesn't.
type record struct {
	last int // place of the latest sample
	of   map[string]*series
}

// add takes the figures of list as the next sample, and forgets who isn't there.
func (r *record) add(list []api.Instance) {
	r.last = (r.last + 1) % samples
	of := make(map[string]*series, len(list))
	for i := range list {
		in := &list[i]
		s := r.of[in.Name]
		if s == nil {
			s = new(series)
			for n := range samples {
				s.cpu[n], s.memory[n] = math.NaN(), math.NaN()
			}
		}
		s.cpu[r.last], s.memory[r.last] = math.NaN(), math.NaN()
		if in.CPUPercent != nil {
			s.cpu[r.last] = *in.CPUPercent
		}
		if in.MemoryBytes != nil {
			s.memory[r.last] = float64(*in.MemoryBytes)
		}
		of[in.Name] = s
	}
	r.of = of
}

// recent returns the n latest sums over members, the oldest first, of what pick
// takes from a series.
func (r *record) recent(members []*api.Instance, n int, pick func(*series) *[samples]float64) []float64 {
	n = min(n, samples)
	sums := make([]float64, n)
	for i := range sums {
		sums[i] = math.NaN()
	}
	for _, in := range members {
		s := r.of[in.Name]
		if s == nil {
			continue
		}
		values := pick(s)
		for i := range sums {
			v := values[(r.last-n+1+i+samples)%samples]
			switch {
			case math.IsNaN(v):
			case math.IsNaN(sums[i]):
				sums[i] = v
			default:
				sums[i] += v
			}
		}
	}
	return sums
}

func ofCPU(s *series) *[samples]float64    { return &s.cpu }
func ofMemory(s *series) *[samples]float64 { return &s.memory }

var eighths = []rune(" ▁▂▃▄▅▆▇█")

// plot draws values as columns of blocks on rows lines, the top one first. The
// scale goes from 0 to least, or a little beyond the largest value where that is
// more. What isn't known is blank, and what is known is never.
func plot(values []float64, rows int, least float64) []string {
	top := least
	for _, v := range values {
		if v*1.25 > top {
			top = v * 1.25
		}
	}
	lines := make([]string, rows)
	for r := range lines {
		var b strings.Builder
		for _, v := range values {
			full := 0 // eighths of a row, over all rows
			if !math.IsNaN(v) && top > 0 {
				full = max(1, int(math.Round(v/top*float64(8*rows))))
			}
			b.WriteRune(eighths[min(8, max(0, full-8*(rows-1-r)))])
		}
		lines[r] = b.String()
	}
	return lines
}

// spark is a plot on one line.
func spark(values []float64, least float64) string { return plot(values, 1, least)[0] }

// largest returns the largest value that is known, or 0.
func largest(values []float64) float64 {
	most := 0.0
	for _, v := range values {
		if v > most {
			most = v
		}
	}
	return most
}

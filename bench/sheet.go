package main

import (
	"math"
	"slices"
)

// A sheet holds the samples as they were taken: by series, contender and round.
type sheet struct {
	rounds  int
	samples map[string]map[string][][]float64
}

func newSheet(rounds int) *sheet {
	return &sheet{rounds: rounds, samples: make(map[string]map[string][][]float64)}
}

func (s *sheet) add(series, contender string, round int, value float64) {
	by := s.samples[series]
	if by == nil {
		by = make(map[string][][]float64)
		s.samples[series] = by
	}
	if by[contender] == nil {
		by[contender] = make([][]float64, s.rounds)
	}
	by[contender][round] = append(by[contender][round], value)
}

// value returns the quantile q of all samples of the series, NaN without any.
func (s *sheet) value(series, contender string, q float64) float64 {
	var all []float64
	for _, samples := range s.samples[series][contender] {
		all = append(all, samples...)
	}
	return quantile(all, q)
}

// ratios returns, for each round in which both were measured, the contender's
// quantile over the other's: what a round does to both cancels out.
func (s *sheet) ratios(series, contender, other string, q float64) []float64 {
	var out []float64
	mine, theirs := s.samples[series][contender], s.samples[series][other]
	for round := range min(len(mine), len(theirs)) {
		r := quantile(mine[round], q) / quantile(theirs[round], q)
		if !math.IsNaN(r) && !math.IsInf(r, 0) {
			out = append(out, r)
		}
	}
	return out
}

// quantile returns the q-quantile of the values by linear interpolation between
// the nearest two; 0.5 is the median. It is NaN without values.
func quantile(values []float64, q float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(values))
	at := q * float64(len(sorted)-1)
	low := int(at)
	if low+1 == len(sorted) {
		return sorted[low]
	}
	return sorted[low] + (at-float64(low))*(sorted[low+1]-sorted[low])
}

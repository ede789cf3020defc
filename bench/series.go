package main

import (
	"fmt"
	"slices"
	"time"
)

// series is one measurement, one value per round.
type series []float64

func (s series) sorted() series { return slices.Sorted(slices.Values(s)) }

// Median of the rounds.
func (s series) Median() float64 {
	sorted := s.sorted()
	n := len(sorted)
	if n == 0 {
		return 0
	}
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

// over divides round by round, so that a slow round does not affect the ratio.
func (s series) over(other series) series {
	ratios := make(series, 0, len(s))
	for i := range s {
		ratios = append(ratios, s[i]/other[i])
	}
	return ratios
}

// format writes the median, with the whole range in brackets.
func (s series) format(unit func(float64) string) string {
	if len(s) == 0 {
		return "-"
	}
	sorted := s.sorted()
	return fmt.Sprintf("%s (%s to %s)", unit(s.Median()), unit(sorted[0]), unit(sorted[len(sorted)-1]))
}

// Time formats nanoseconds.
func (s series) Time() string { return s.format(nanoseconds) }

// Times formats ratios.
func (s series) Times() string { return s.format(times) }

// Number formats plain numbers.
func (s series) Number() string { return s.format(number) }

func nanoseconds(ns float64) string {
	switch {
	case ns < 1e3:
		return number(ns) + " ns"
	case ns < 1e6:
		return number(ns/1e3) + " µs"
	case ns < 1e9:
		return number(ns/1e6) + " ms"
	}
	return number(ns/float64(time.Second)) + " s"
}

func times(ratio float64) string { return number(ratio) + "x" }

// number formats three significant digits, with separators.
func number(v float64) string {
	switch {
	case v < 9.995:
		return fmt.Sprintf("%.2f", v)
	case v < 99.95:
		return fmt.Sprintf("%.1f", v)
	case v < 1e3:
		return fmt.Sprintf("%.0f", v)
	case v < 1e6:
		return fmt.Sprintf("%d,%03d", int(v)/1000, int(v)%1000)
	}
	if v < 1e9 {
		return number(v/1e6) + " million"
	}
	return number(v/1e9) + " billion"
}

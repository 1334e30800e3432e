package main

import (
	"fmt"
	"slices"
	"time"
)

// A Goal is one line of the table: what was to be reached, and what was. Values are ratios, or plain numbers where the unit
// says so, one for each repeat.
type Goal struct {
	Row    string    `json:"row"`
	Text   string    `json:"text"`
	Bound  float64   `json:"bound"`
	AtMost bool      `json:"at_most"` // the bound is an upper one
	Unit   string    `json:"unit"`    // "×" for a ratio
	Values []float64 `json:"values"`
	Blank  string    `json:"blank,omitempty"` // why there is no value
}

// Reached is the median.
func (g *Goal) Reached() float64 { return median(g.Values) }

// Met reports whether the goal is reached; a blank one is not.
func (g *Goal) Met() bool {
	switch {
	case len(g.Values) == 0:
		return false
	case g.AtMost:
		return g.Reached() <= g.Bound
	default:
		return g.Reached() >= g.Bound
	}
}

// median of the values, 0 of none.
func median(v []float64) float64 {
	s := slices.Sorted(slices.Values(v))
	switch n := len(s); {
	case n == 0:
		return 0
	case n%2 == 1:
		return s[n/2]
	default:
		return (s[n/2-1] + s[n/2]) / 2
	}
}

// spread is the smallest and the largest value.
func spread(v []float64) (least, most float64) {
	if len(v) == 0 {
		return 0, 0
	}
	return slices.Min(v), slices.Max(v)
}

func micros(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

// goal is one line to be judged, without its values.
type goal struct {
	text   string
	bound  float64
	atMost bool
	unit   string
}

func atLeast(bound float64, text string) goal { return goal{text: text, bound: bound, unit: "×"} }
func atMost(bound float64, text string) goal {
	return goal{text: text, bound: bound, atMost: true, unit: "×"}
}

func (g goal) in(unit string) goal {
	g.unit = unit
	return g
}

// judge adds a line with its values.
func (b *bench) judge(row string, g goal, values []float64, blank string) {
	if !b.wanted(row) {
		return
	}
	if len(values) == 0 && blank == "" {
		blank = "nothing was measured"
	}
	b.result.Goals = append(b.result.Goals, &Goal{Row: row, Text: g.text, Bound: g.bound, AtMost: g.atMost, Unit: g.unit, Values: values, Blank: blank})
}

// blank adds a line that has no value, and why.
func (b *bench) blank(row string, g goal, why string) { b.judge(row, g, nil, why) }

// compare judges the ratio of a metric of ours to the reference's, repeat by repeat.
func (b *bench) compare(row string, g goal, metric string, ours, theirs *Figure) {
	values, blank := ratios(metric, ours, theirs)
	b.judge(row, g, values, blank)
}

// ratios pairs the repeats of two figures. A void figure has none.
func ratios(metric string, ours, theirs *Figure) (values []float64, why string) {
	for _, f := range []*Figure{ours, theirs} {
		if f == nil {
			return nil, "one of the two was not measured"
		}
		if f.Void != "" {
			return nil, fmt.Sprintf("void: %s: %s", f.System, f.Void)
		}
	}
	o, t := ours.Metrics[metric], theirs.Metrics[metric]
	for i := range min(len(o), len(t)) {
		if t[i] > 0 {
			values = append(values, o[i]/t[i])
		}
	}
	return values, ""
}

package main

import (
	"fmt"
	"io"
	"strconv"
	"strings"
)

// writeGoals writes the table of goals as Markdown, which is a table on a terminal too.
func writeGoals(w io.Writer, goals []*Goal) {
	t := table{header: []string{"row", "goal", "what", "reached", "min – max", ""}}
	for _, g := range goals {
		t.row(g.cells()...)
	}
	t.write(w)
}

// cells of one line.
func (g *Goal) cells() []string {
	sign := "≥"
	if g.AtMost {
		sign = "≤"
	}
	want := sign + " " + number(g.Bound) + " " + g.Unit
	if len(g.Values) == 0 {
		return []string{g.Row, want, g.Text, "—", g.Blank, "blank"}
	}
	verdict := "reached"
	if !g.Met() {
		verdict = "**short**"
	}
	least, most := spread(g.Values)
	return []string{g.Row, want, g.Text, number(g.Reached()) + " " + g.Unit, number(least) + " – " + number(most), verdict}
}

// writeFigures writes what was measured.
func writeFigures(w io.Writer, figures []*Figure) {
	t := table{header: []string{"row", "system", "load", "per second", "p50 µs", "p99 µs", "CPU µs/op", "written B/op", "flushes", "ops/flush"}}
	for _, f := range figures {
		if f.Void != "" {
			t.row(f.Row, f.System, f.Load, "void: "+f.Void)
			continue
		}
		rate := fmt.Sprintf("%s (%s – %s)", f.middle(mRate), number(first(spread(f.Metrics[mRate]))), number(second(spread(f.Metrics[mRate]))))
		t.row(f.Row, f.System, f.Load, rate, f.middle(mP50), f.middle(mP99), f.middle(mCPU), f.middle(mWritten), f.middle(mFlushes), f.middle(mShared))
	}
	t.write(w)
}

func first(a, _ float64) float64  { return a }
func second(_, b float64) float64 { return b }

// middle is a metric's median, "" when it was not measured.
func (f *Figure) middle(metric string) string {
	if len(f.Metrics[metric]) == 0 {
		return ""
	}
	return number(median(f.Metrics[metric]))
}

// number prints three digits, and thousands in groups.
func number(v float64) string {
	if v < 1000 {
		return strconv.FormatFloat(v, 'g', 3, 64)
	}
	digits := strconv.FormatFloat(v, 'f', 0, 64)
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}

// table is one of Markdown whose columns are aligned.
type table struct {
	header []string
	rows   [][]string
}

func (t *table) row(cells ...string) {
	for len(cells) < len(t.header) {
		cells = append(cells, "")
	}
	t.rows = append(t.rows, cells)
}

func (t *table) write(w io.Writer) {
	widths := make([]int, len(t.header))
	for _, r := range append(t.rows, t.header) {
		for i, c := range r {
			widths[i] = max(widths[i], len([]rune(c)))
		}
	}
	line := func(cells []string) {
		for i, c := range cells {
			fmt.Fprintf(w, "| %s%s ", c, strings.Repeat(" ", widths[i]-len([]rune(c))))
		}
		fmt.Fprintln(w, "|")
	}
	line(t.header)
	dashes := make([]string, len(widths))
	for i, n := range widths {
		dashes[i] = strings.Repeat("-", n)
	}
	line(dashes)
	for _, r := range t.rows {
		line(r)
	}
}

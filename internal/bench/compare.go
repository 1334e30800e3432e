package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
)

// report prints what is made of results that were kept.
func report(verb string, files []string) error {
	var results []*Result
	for _, file := range files {
		r, err := readResult(file)
		if err != nil {
			return err
		}
		results = append(results, r)
	}
	switch {
	case verb == "docs" && len(results) == 1:
		writeDocument(os.Stdout, results[0])
	case verb == "compare" && len(results) == 2:
		writeChanges(os.Stdout, results[0], results[1])
	default:
		return errors.New("usage: bench docs RESULT; bench compare OLD NEW")
	}
	return nil
}

// writeChanges writes how the goals' values and Muster's figures differ. A difference counts when the ranges of all repeats do
// not overlap: with five on each side, chance alone does that once in 126 times.
func writeChanges(w io.Writer, before, after *Result) {
	if before.Machine.CPU != after.Machine.CPU || before.Machine.Cores != after.Machine.Cores {
		fmt.Fprintln(w, "The machines differ: only ratios can be compared.")
	}
	t := table{header: []string{"row", "what", "before", "after", "after/before", ""}}
	for _, a := range after.Goals {
		i := slices.IndexFunc(before.Goals, func(b *Goal) bool { return b.Row == a.Row && b.Text == a.Text && b.Unit == a.Unit })
		if i >= 0 {
			t.row(append([]string{a.Row, a.Text}, change(before.Goals[i].Values, a.Values)...)...)
		}
	}
	for _, a := range after.Figures {
		i := slices.IndexFunc(before.Figures, func(b *Figure) bool { return b.Row == a.Row && b.System == a.System && b.Load == a.Load })
		if i < 0 {
			continue
		}
		for _, metric := range []string{mRate, mP50, mP99, mCPU} {
			t.row(append([]string{a.Row, fmt.Sprintf("%s, %s: %s", a.System, a.Load, metric)}, change(before.Figures[i].Metrics[metric], a.Metrics[metric])...)...)
		}
	}
	t.write(w)
}

// change is how values changed: both medians with half their spread, the ratio, and whether it counts.
func change(before, after []float64) []string {
	if len(before) == 0 || len(after) == 0 {
		return []string{middle(before), middle(after), "", ""}
	}
	verdict := "~"
	least, most := spread(before)
	least2, most2 := spread(after)
	switch {
	case least2 > most:
		verdict = "more"
	case most2 < least:
		verdict = "less"
	}
	return []string{middle(before), middle(after), number(median(after) / median(before)), verdict}
}

func middle(values []float64) string {
	if len(values) == 0 {
		return "—"
	}
	least, most := spread(values)
	m := median(values)
	if m == 0 {
		return "0"
	}
	return fmt.Sprintf("%s ± %.0f %%", number(m), (most-least)/2/m*100)
}

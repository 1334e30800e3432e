package main

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"muster/internal/load"
)

func figure(system string, rates ...float64) *Figure {
	return &Figure{Row: "P1", System: system, Load: "64 callers", Metrics: map[string][]float64{mRate: rates}, Latency: &load.Histogram{}}
}

// A ratio is of neighbours: what made both slow for a while does not show. A void figure has no ratio, and says why.
func TestRatiosArePaired(t *testing.T) {
	b := &bench{}
	ours, theirs := figure("Muster", 100, 10, 100), figure("etcd", 10, 1, 10)
	b.compare("P1", atLeast(10, "puts of etcd"), mRate, ours, theirs)
	ours.Void = "2 operations failed"
	b.compare("P1", atLeast(10, "puts of etcd"), mRate, ours, theirs)
	b.compare("P1", atLeast(10, "puts of etcd"), mRate, nil, theirs)
	g := b.result.Goals
	if least, most := spread(g[0].Values); least != 10 || most != 10 || !g[0].Met() {
		t.Errorf("the ratios are %v, want 10 throughout, and the goal reached", g[0].Values)
	}
	if g[1].Met() || g[2].Met() || !strings.Contains(g[1].Blank, "2 operations failed") || g[2].Blank == "" {
		t.Errorf("a void figure and a missing one are told as %q and %q", g[1].Blank, g[2].Blank)
	}
}

// A durable figure without flushes for what it claims is void.
func TestFiguresNeedFlushes(t *testing.T) {
	for _, c := range []struct {
		commits, flushes int64
		void             bool
	}{{10, 20, false}, {10, 9, true}, {0, 2, true}} {
		f := figure("Muster")
		f.add(&load.Sample{Ops: 100, Seconds: 1, Counts: map[string]int64{"commits": c.commits, "flushes": c.flushes}}, load.Usage{}, true)
		if (f.Void != "") != c.void {
			t.Errorf("%d commits, %d flushes: %q", c.commits, c.flushes, f.Void)
		}
	}
	f := figure("Muster")
	f.add(&load.Sample{Ops: 100, Failed: 1, Fault: "lost", Seconds: 1}, load.Usage{}, false)
	if !strings.Contains(f.Void, "lost") {
		t.Errorf("a lost ask is told as %q", f.Void)
	}
}

// The table says of each goal what was reached, what fell short and what is blank.
func TestTableOfGoals(t *testing.T) {
	var out bytes.Buffer
	writeGoals(&out, []*Goal{
		{Row: "P1", Text: "more", Bound: 0.85, Unit: "×", Values: []float64{0.9, 0.8, 1}},
		{Row: "P2", Text: "less", Bound: 1.2, AtMost: true, Unit: "×", Values: []float64{1.3}},
		{Row: "P11", Text: "locks", Bound: 2, AtMost: true, Unit: "applies", Blank: "there are no locks yet"},
	})
	want := `| row | goal        | what  | reached | min – max              |           |
| --- | ----------- | ----- | ------- | ---------------------- | --------- |
| P1  | ≥ 0.85 ×    | more  | 0.9 ×   | 0.8 – 1                | reached   |
| P2  | ≤ 1.2 ×     | less  | 1.3 ×   | 1.3 – 1.3              | **short** |
| P11 | ≤ 2 applies | locks | —       | there are no locks yet | blank     |
`
	if out.String() != want {
		t.Errorf("got\n%swant\n%s", out.String(), want)
	}
}

// docs/performance.md is what the result kept beside it says.
func TestDocumentIsOfTheResult(t *testing.T) {
	r, err := readResult("../../docs/bench/result.json")
	if err != nil {
		t.Fatal(err)
	}
	var want bytes.Buffer
	writeDocument(&want, r)
	got, err := os.ReadFile("../../docs/performance.md")
	if err != nil || !bytes.Equal(got, want.Bytes()) {
		t.Errorf("docs/performance.md is not of docs/bench/result.json (%v): make bench-docs", err)
	}
}

package main

import (
	"fmt"
	"io"
	"slices"
	"time"
)

// A bench is one run of the benchmark.
type bench struct {
	dir       string // for data and logs
	reference string // the program of the references
	rows      []string
	quick     bool
	repeats   int
	warm      time.Duration
	length    time.Duration // of one measured run
	profiles  string        // where members write CPU profiles of what is measured; "" for none
	out       io.Writer     // progress
	result    Result
	ends      []func()
}

// rows are what can be measured, in this order; each function measures the rows it is listed with.
var rows = []struct {
	ids []string
	run func(*bench) error
}{
	{[]string{"P1", "P2", "P13", "P14"}, (*bench).durable},
	{[]string{"P3"}, (*bench).hot},
	{[]string{"P4", "P5"}, (*bench).asks},
	{[]string{"P6"}, (*bench).tells},
	{[]string{"P7"}, (*bench).local},
	{[]string{"reads"}, (*bench).reads},
	{[]string{"P8"}, (*bench).idle},
	{[]string{"P9"}, (*bench).failover},
	{[]string{"P10"}, (*bench).replay},
	{[]string{"P11"}, (*bench).barrier},
	{[]string{"P12"}, (*bench).plan},
	{[]string{"P15"}, (*bench).growth},
	{[]string{"growth"}, (*bench).doubled},
}

func (b *bench) wanted(row string) bool { return len(b.rows) == 0 || slices.Contains(b.rows, row) }

// run measures the wanted rows. A part that fails leaves its rows blank and says why; the others go on.
func (b *bench) run() {
	for _, part := range rows {
		if !slices.ContainsFunc(part.ids, b.wanted) {
			continue
		}
		began := time.Now()
		if err := part.run(b); err != nil {
			for _, id := range part.ids {
				b.blank(id, goal{text: "this row"}, err.Error())
			}
			b.progress("%v: %v", part.ids, err)
		}
		b.end()
		b.progress("%v took %s", part.ids, time.Since(began).Round(100*time.Millisecond))
	}
	for _, f := range b.result.Figures {
		f.Tail = map[string]float64{}
		for name, q := range map[string]float64{"p50": 0.5, "p90": 0.9, "p99": 0.99, "p99.9": 0.999, "max": 1} {
			f.Tail[name] = micros(f.Latency.Quantile(q))
		}
	}
}

// atEnd has something done when the part that runs now has ended.
func (b *bench) atEnd(do func()) { b.ends = append(b.ends, do) }

func (b *bench) end() {
	for _, do := range slices.Backward(b.ends) {
		do()
	}
	b.ends = nil
}

func (b *bench) progress(format string, args ...any) { fmt.Fprintf(b.out, format+"\n", args...) }

package main

import (
	"fmt"
	"slices"

	"muster/internal/load"
)

// A Figure is what one system did under one load, a value for each repeat.
type Figure struct {
	Row     string               `json:"row"`
	System  string               `json:"system"`
	Load    string               `json:"load"` // as people say it: "64 callers"
	Metrics map[string][]float64 `json:"metrics"`
	Void    string               `json:"void,omitempty"` // why the figure does not count
	Latency *load.Histogram      `json:"-"`              // of all repeats
	Tail    map[string]float64   `json:"tail"`           // its quantiles, µs
}

// The metrics. Times are in µs, and what is per operation is over all processes of the system, the callers' included.
const (
	mRate    = "rate"    // operations per second
	mP50     = "p50"     // µs
	mP99     = "p99"     // µs
	mCPU     = "cpu"     // µs per operation
	mWritten = "written" // bytes per operation that the processes wrote, by the operating system's count
	mFlushes = "flushes" // fsyncs, in all processes
	mShared  = "shared"  // operations per flush
	mCommits = "commits" // of the journals: group commits
	mPages   = "pages"   // bytes per operation in the pages the journals wrote, bbolt's own included
)

// A bout lets systems take turns under the same loads, so that what the machine does meanwhile meets all of them: a ratio
// is taken between neighbours in time.
type bout struct {
	bench   *bench
	row     string
	callers []int
	systems []system
	loop    load.Loop // what all share; For is the bench's unless set
	durable bool      // every figure needs flushes
}

// run runs the bout and returns its figures. A system that breaks has void ones from then on and is left alone.
func (t bout) run() *figures {
	all := &figures{row: t.row}
	broken := map[system]error{}
	for repeat := range t.bench.repeats {
		for _, callers := range t.callers {
			for i := range t.systems {
				s := t.systems[(i+repeat)%len(t.systems)] // nobody always comes after the same one
				f := all.at(s.name(), callersOf(callers))
				if broken[s] == nil {
					broken[s] = t.one(f, s, callers)
				}
				if err := broken[s]; err != nil && f.Void == "" {
					f.Void = err.Error()
					t.bench.progress("%-4s %s: %v", t.row, s.name(), err)
				}
			}
		}
	}
	t.bench.result.Figures = append(t.bench.result.Figures, all.all...)
	return all
}

func callersOf(n int) string { return fmt.Sprintf("%d callers", n) }

// one warms a system up and measures it once.
func (t bout) one(f *Figure, s system, callers int) error {
	l := t.loop
	l.Callers, l.For = callers, t.bench.warm
	if _, err := s.run(l); err != nil {
		return err
	}
	l.For = t.bench.length
	defer t.bench.profile(s, t.row, callers)()
	before, err := load.Used(s.pids()...)
	if err != nil {
		return err
	}
	sample, err := s.run(l)
	if err != nil {
		return err
	}
	after, err := load.Used(s.pids()...)
	if err != nil {
		return err
	}
	f.add(sample, after.Sub(before), t.durable)
	t.bench.progress("%-4s %-28s %-14s %12.0f/s  p50 %-9s p99 %s", t.row, s.name(), f.Load, sample.Rate(), sample.Latency.Quantile(0.5), sample.Latency.Quantile(0.99))
	return nil
}

// add notes one measured run.
func (f *Figure) add(s *load.Sample, used load.Usage, durable bool) {
	if err := s.Sound(); err != nil && f.Void == "" {
		f.Void = err.Error()
	}
	done := float64(s.Ops + s.Late)
	f.note(mRate, s.Rate())
	f.note(mP50, micros(s.Latency.Quantile(0.5)))
	f.note(mP99, micros(s.Latency.Quantile(0.99)))
	f.note(mCPU, micros(used.CPU)/done)
	if durable {
		f.note(mWritten, float64(used.Written)/done)
		f.flushes(s)
	}
	f.Latency.Add(&s.Latency)
}

// flushes notes those of a durable run. Without one for each process that holds a copy there was none of what is claimed.
func (f *Figure) flushes(s *load.Sample) {
	n, counted := s.Counts["flushes"]
	if !counted {
		return // the system does not tell
	}
	f.note(mFlushes, float64(n))
	f.note(mShared, float64(s.Ops+s.Late)/max(float64(n), 1))
	if commits, ours := s.Counts["commits"]; ours {
		f.note(mCommits, float64(commits))
		f.note(mPages, float64(s.Counts["disk"])/float64(s.Ops+s.Late))
		if n < commits && f.Void == "" {
			f.Void = fmt.Sprintf("%d flushes for %d group commits", n, commits)
		}
	}
	if n < copies && f.Void == "" {
		f.Void = fmt.Sprintf("%d flushes on %d copies", n, copies)
	}
}

// copies of every durable record, the primary's among them.
const copies = 3

func (f *Figure) note(metric string, v float64) { f.Metrics[metric] = append(f.Metrics[metric], v) }

// figures are those of one bout.
type figures struct {
	row string
	all []*Figure
}

// at finds a figure, or begins it.
func (fs *figures) at(system, at string) *Figure {
	if f := fs.find(system, at); f != nil {
		return f
	}
	f := &Figure{Row: fs.row, System: system, Load: at, Metrics: map[string][]float64{}, Latency: &load.Histogram{}}
	fs.all = append(fs.all, f)
	return f
}

func (fs *figures) find(system, at string) *Figure {
	i := slices.IndexFunc(fs.all, func(f *Figure) bool { return f.System == system && f.Load == at })
	if i < 0 {
		return nil
	}
	return fs.all[i]
}

// void makes every figure of a system void.
func (fs *figures) void(system string, err error) {
	for _, f := range fs.all {
		if f.System == system && f.Void == "" {
			f.Void = err.Error()
		}
	}
}

package main

import (
	"fmt"
	"sync"
	"time"
)

// barrier measures rounds of three parties in three processes, beside one command of the Raft group.
func (b *bench) barrier() error {
	g, err := b.newGroup(3, false, volatileKind)
	if err != nil {
		return err
	}
	rounds := 30
	if b.quick {
		rounds = 10
	}
	var waits, applies []float64
	for repeat := range b.repeats {
		wait, apply, err := g.meet(repeat, rounds)
		if err != nil {
			return err
		}
		b.progress("P11  3 parties: last arrival to last release %.2f ms; one apply %.2f ms", wait, apply)
		waits, applies = append(waits, wait), append(applies, apply)
	}
	var ratio []float64
	for i := range waits {
		ratio = append(ratio, waits[i]/applies[i])
	}
	b.judge("P11", atMost(2, "one Raft apply, as a member sees it: barrier of 3 parties in 3 processes, last arrival to last release, p50"), ratio, "")
	b.judge("P11", atMost(5, "the same").in("ms"), waits, "")
	b.blank("P11", atMost(2, "lock and unlock").in("applies"), "there are no locks yet")
	return nil
}

// meet returns the medians of so many rounds, in ms: from the last arrival to the last release, and of an apply.
func (g *group) meet(repeat, rounds int) (wait, apply float64, err error) {
	var waits, applies []float64
	for n := range rounds {
		e := errand{Name: fmt.Sprintf("round-%d-%d", repeat, n), Parties: len(g.members)}
		met, faults := make([]moments, len(g.members)), make([]error, len(g.members))
		var all sync.WaitGroup
		for i, p := range g.members {
			all.Go(func() { faults[i] = e.run(p, "barrier", &met[i]) })
		}
		all.Wait()
		arrived, released := met[0].Arrived, met[0].Released
		for i := range met {
			if faults[i] != nil {
				return 0, 0, faults[i]
			}
			arrived, released = max(arrived, met[i].Arrived), max(released, met[i].Released)
		}
		waits = append(waits, float64(released-arrived)/1e6)
		var took time.Duration
		if err := (errand{}).run(g.members[n%len(g.members)], "apply", &took); err != nil {
			return 0, 0, err
		}
		applies = append(applies, micros(took)/1e3)
	}
	return median(waits), median(applies), nil
}

package main

import (
	"fmt"
	"time"

	"muster/internal/load"
)

// idle measures what an entity costs that nobody asks: the growth of the heap, by entity.
func (b *bench) idle() error {
	entities := 10_000_000
	if b.quick {
		entities = 200_000
	}
	g, err := b.newGroup(1, false, volatileKind)
	if err != nil {
		return err
	}
	p := g.members[0]
	var before, after uint64
	// What callers and pools need is there already. Few callers, because commands that run at once never block: a thousand
	// callers and the collector of ten million entities left the node's lease to end once, and its entities with it.
	first := errand{Kind: volatileKind.Name, To: 2048, Entities: entities, Callers: 16}
	rest := first
	rest.From, rest.To = first.To, entities
	if err := first.run(p, "touch", nil); err != nil {
		return err
	}
	if err := first.run(p, "heap", &before); err != nil {
		return err
	}
	if err := rest.run(p, "touch", nil); err != nil {
		return fmt.Errorf("%d entities: %w", entities, err)
	}
	if err := first.run(p, "heap", &after); err != nil {
		return err
	}
	own := float64(after-before)/float64(rest.To-rest.From) - 8 // the state is a number
	b.judge("P8", atMost(300, fmt.Sprintf("an idle entity of %s, its state apart", number(float64(entities)))).in("B"), []float64{own}, "")
	return nil
}

// replay measures how fast entities come back from their events, and how soon a node with many of them serves.
func (b *bench) replay() error {
	k := kindSettings{Name: "whole", Shards: durableP1, Whole: true}
	entities, events := 10_000, 100
	if b.quick {
		entities = 4000
	}
	rates, err := b.recoveries(k, entities, events)
	if err != nil {
		return err
	}
	f, err := b.newForeign("bbolt, a seek and a scan of 100 records", "scan")
	if err != nil {
		b.progress("the scan is left out: %v", err)
		b.blank("P10", atLeast(0.12, "records/s of a bbolt scan: replay of 10,000 entities × 100 events"), err.Error())
	} else {
		s := bout{bench: b, row: "P10", callers: []int{2}, systems: []system{f}}.run().find(f.title, callersOf(2))
		var ratio []float64
		for i, r := range s.Metrics[mRate] {
			ratio = append(ratio, rates[min(i, len(rates)-1)]/r)
		}
		b.judge("P10", atLeast(0.12, fmt.Sprintf("records/s of a bbolt scan: replay of %s entities × %d events, asked by 1,024 callers", number(float64(entities)), events)), ratio, s.Void)
	}
	b.end()
	return b.firstCommand(k)
}

// recoveries writes the events, and returns for each repeat with how many a second a fresh process brought all entities back.
func (b *bench) recoveries(k kindSettings, entities, events int) (rates []float64, err error) {
	g, err := b.newGroup(1, false, k)
	if err != nil {
		return nil, err
	}
	e := errand{Kind: k.Name, To: entities * events, Entities: entities, Callers: 1024}
	if err := e.run(g.members[0], "touch", nil); err != nil {
		return nil, err
	}
	g.done[k.Name] = uint64(e.To)
	for range b.repeats {
		if err := g.restart(0); err != nil {
			return nil, err
		}
		if err := g.members[0].Do(load.Request{Do: "ready"}, nil); err != nil {
			return nil, err
		}
		began := time.Now()
		if err := g.audit(work{Kind: k.Name, Entities: entities}); err != nil {
			return nil, err
		}
		rates = append(rates, float64(e.To)/time.Since(began).Seconds())
		b.progress("P10  %d entities × %d events come back: %.0f events/s", entities, events, rates[len(rates)-1])
	}
	return rates, nil
}

// firstCommand measures from the start of a process with many entities in its journal to its first answer.
func (b *bench) firstCommand(k kindSettings) error {
	entities := 1_000_000
	if b.quick {
		entities = 100_000
	}
	g, err := b.newGroup(1, false, k)
	if err != nil {
		return err
	}
	e := errand{Kind: k.Name, To: entities, Entities: entities, Callers: 1024}
	if err := e.run(g.members[0], "touch", nil); err != nil {
		return err
	}
	var took []float64
	for range b.repeats {
		g.members[0].Kill()
		began := time.Now()
		if err := g.restart(0); err != nil {
			return err
		}
		if err := (errand{Kind: k.Name, To: 1, Entities: entities, Callers: 1}).run(g.members[0], "touch", nil); err != nil {
			return err
		}
		took = append(took, time.Since(began).Seconds())
	}
	b.judge("P10", atMost(1, fmt.Sprintf("a node with %s entities, from the start of its process to its first answer", number(float64(entities)))).in("s"), took, "")
	return nil
}

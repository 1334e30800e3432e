package main

import (
	"fmt"

	"muster/internal/load"
)

// growth measures whether a group with more shards or entities is slower, and latency under rising load.
func (b *bench) growth() error {
	few := kindSettings{Name: "few", Shards: 16, Replicas: 2, MinAcks: 1}
	many := few
	many.Name, many.Shards = "many", 4096
	if b.quick {
		many.Shards = 512
	}
	g, err := b.newGroup(3, false, few, many)
	if err != nil {
		return err
	}
	small := work{Kind: few.Name, Entities: 1_000, Where: anywhere}
	large, wide := small, small
	large.Entities, wide.Kind = 1_000_000, many.Name
	least, shards, entities := g.ask("16 shards, 1,000 entities", small), g.ask(number(float64(many.Shards))+" shards, 1,000 entities", wide), g.ask("16 shards, 1,000,000 entities", large)
	f := bout{bench: b, row: "P15", callers: []int{1024}, systems: []system{least, shards, entities}, durable: true}.run()
	if err := g.audit(wide); err != nil { // a million others would take a minute to read
		f.void(shards.title, err)
	}
	at := callersOf(1024)
	b.compare("P15", atLeast(0.9, fmt.Sprintf("events/s with 16 shards: %s shards, %s", number(float64(many.Shards)), at)), mRate, f.find(shards.title, at), f.find(least.title, at))
	b.compare("P15", atLeast(0.9, "events/s with 1,000 entities: 1,000,000 entities, "+at), mRate, f.find(entities.title, at), f.find(least.title, at))
	if base := f.find(least.title, at); base.Void == "" {
		b.openLoop(least, median(base.Metrics[mRate]))
	}
	return nil
}

// openLoop compares the latency at 70 % of the peak with that at 20 %; it counts from when a command was due.
func (b *bench) openLoop(s *ours, peak float64) {
	figures := map[int]*Figure{}
	for _, percent := range []int{20, 50, 70} {
		t := bout{bench: b, row: "P15", callers: []int{1024}, systems: []system{s}, durable: true, loop: load.Loop{Rate: peak * float64(percent) / 100}}
		f := t.run().find(s.title, callersOf(1024))
		f.Load = fmt.Sprintf("open loop, %d %% of peak", percent)
		figures[percent] = f
	}
	b.compare("P15", atMost(2, "p50 at 20 % of the peak: p50 at 70 %, open loop"), mP50, figures[70], figures[20])
}

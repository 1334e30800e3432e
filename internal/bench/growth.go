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
	if f.find(least.title, at).Void != "" {
		return nil
	}
	return b.openLoop(least)
}

// openLoop compares the latency at 70 % of the peak with that at 20 %; it counts from when a command was due. The peak is taken anew
// before each round: the machine may not be as fast as it was a minute ago, and 70 % of what it was could be more than it has.
func (b *bench) openLoop(s *ours) error {
	const callers = 1024
	shares := []int{20, 70}
	all := &figures{row: "P15"}
	at := func(percent int) string { return fmt.Sprintf("open loop, %d %% of peak", percent) }
	t := bout{bench: b, row: "P15", durable: true}
	for repeat := range b.repeats {
		peak := all.at(s.title, callersOf(callers)+", the peak")
		if err := t.one(peak, s, callers); err != nil {
			return err
		}
		rate := peak.Metrics[mRate][repeat]
		for i := range shares {
			percent := shares[(i+repeat)%len(shares)]
			t.loop = load.Loop{Rate: rate * float64(percent) / 100}
			if err := t.one(all.at(s.title, at(percent)), s, callers); err != nil {
				return err
			}
		}
		t.loop = load.Loop{}
	}
	b.result.Figures = append(b.result.Figures, all.all...)
	b.compare("P15", atMost(2, "p50 at 20 % of the peak: p50 at 70 %, open loop"), mP50, all.find(s.title, at(70)), all.find(s.title, at(20)))
	return nil
}

// doubled measures what a command costs when one thing that it may depend on is twice as much; docs/scaling.md says what it should.
func (b *bench) doubled() error {
	base := kindSettings{Name: "base", Shards: 16, Replicas: 2, MinAcks: 1}
	shards, single := base, base
	shards.Name, shards.Shards = "shards", 2*base.Shards
	single.Name, single.Replicas = "single", base.Replicas/2
	g, err := b.newGroup(3, false, base, shards, single)
	if err != nil {
		return err
	}
	const callers = 1024
	w := work{Kind: base.Name, Entities: 10_000, Where: ownedHere}
	wide, more, large, fewer := w, w, w, w
	wide.Kind, more.Entities, large.Event, fewer.Kind = shards.Name, 2*w.Entities, 2*eventSize, single.Name
	least := g.ask("16 shards, 10,000 entities, 128 B, 2 replicas", w)
	systems := []*ours{least, g.ask("32 shards", wide), g.ask("20,000 entities", more), g.ask("256 B an event", large), g.ask("1 replica", fewer)}
	t := bout{bench: b, row: "growth", callers: []int{callers}, durable: true}
	for _, s := range systems {
		t.systems = append(t.systems, s)
	}
	t.systems = append(t.systems, twice{least})
	f := t.run()
	for _, w := range []work{more, wide, fewer} { // more of the same kind include the others
		if err := g.audit(w); err != nil {
			f.void(least.title, err)
		}
	}
	at := callersOf(callers)
	cost := func(most float64, what, metric string, more, less system) {
		b.compare("growth", atMost(most, what), metric, f.find(more.name(), at), f.find(less.name(), at))
	}
	cost(1.15, "CPU of a command, 16 shards: 32 shards", mCPU, systems[1], least)
	cost(1.15, "CPU of a command, 10,000 entities: 20,000 entities", mCPU, systems[2], least)
	cost(1.15, "CPU of a command, 128-byte events: 256-byte events", mCPU, systems[3], least)
	cost(1.6, "bytes in pages, 128-byte events: 256-byte events", mPages, systems[3], least)
	cost(1.6, "CPU of a command, 1 replica: 2 replicas", mCPU, least, systems[4])
	cost(1.05, "CPU of a command, 1024 callers: 2048 callers", mCPU, t.systems[len(systems)], least)
	return nil
}

// twice is a system under twice the callers.
type twice struct{ *ours }

func (t twice) name() string { return "twice the callers" }

func (t twice) run(l load.Loop) (*load.Sample, error) {
	l.Callers *= 2
	return t.ours.run(l)
}

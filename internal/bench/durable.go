package main

import "fmt"

// The figures of P1, P2, P13 and P14 are of one bout.
const (
	atOwner    = "Muster, at the owner"
	fromAny    = "Muster, from any node"
	bare       = "bare pipeline, bbolt"
	bareLog    = "bare pipeline, log file"
	etcdPuts   = "etcd, 3 processes"
	natsSync   = "NATS JetStream R3, sync always"
	dragonOne  = "dragonboat, 1 group, one process"
	dragonMany = "dragonboat, 48 groups, one process"
	manyKeys   = 10_000
	durableP1  = 48 // shards
	withShards = "48 shards"
)

// durable measures commands to journaled entities: replicas=2, min_acks=1, three processes, callers in these. At the owner is
// where the callers of the bare pipeline are; from any node two of three commands cross processes first, as those of the
// clients of etcd and NATS do.
func (b *bench) durable() error {
	k := kindSettings{Name: "durable", Shards: durableP1, Replicas: 2, MinAcks: 1}
	g, err := b.newGroup(3, false, k)
	if err != nil {
		return err
	}
	w := work{Kind: k.Name, Entities: manyKeys, Where: ownedHere}
	any := w
	any.Where = anywhere
	systems := []system{g.ask(atOwner, w), g.ask(fromAny, any)}
	systems = append(systems, b.foreigners([][2]string{{bare, "pipeline"}, {bareLog, "log"}, {etcdPuts, "etcd"}, {natsSync, "nats"}})...)
	if !b.quick {
		systems = append(systems, b.foreigners([][2]string{{dragonOne, "dragon1"}, {dragonMany, "dragon48"}})...)
	}
	f := bout{bench: b, row: "P1", callers: b.durableCallers(), systems: systems, durable: true}.run()
	if err := g.audit(w); err != nil {
		f.void(atOwner, err)
		f.void(fromAny, err)
	}
	b.judgeDurable(f)
	return nil
}

// durableCallers are the levels that the wanted rows need.
func (b *bench) durableCallers() []int {
	var levels []int
	if b.wanted("P2") {
		levels = append(levels, 1)
	}
	if b.wanted("P1") {
		levels = append(levels, 64)
	}
	levels = append(levels, 1024) // P13 and P14 are of this one
	if b.wanted("P1") {
		levels = append(levels, 4096)
	}
	return levels
}

func (b *bench) judgeDurable(f *figures) {
	for _, callers := range []int{64, 1024, 4096} {
		at := callersOf(callers)
		b.compare("P1", atLeast(0.85, fmt.Sprintf("events/s of the bare pipeline, %s, %s, asked at the owner", at, withShards)), mRate, f.find(atOwner, at), f.find(bare, at))
	}
	at := callersOf(1024)
	b.compare("P1", atLeast(10, "etcd's puts/s, "+at+", asked from any node"), mRate, f.find(fromAny, at), f.find(etcdPuts, at))
	b.compare("P1", atLeast(2, "NATS JetStream's messages/s with sync always, "+at+", asked from any node"), mRate, f.find(fromAny, at), f.find(natsSync, at))
	b.compare("P1", atLeast(3, "dragonboat's proposals/s over 48 groups, "+at+", asked at the owner"), mRate, f.find(atOwner, at), f.find(dragonMany, at))
	b.compare("P1", atLeast(1, "dragonboat's proposals/s in a single group, "+at+", asked at the owner"), mRate, f.find(atOwner, at), f.find(dragonOne, at))
	b.compare("P2", atMost(1.2, "p50 of the bare pipeline, 1 caller, asked at the owner"), mP50, f.find(atOwner, callersOf(1)), f.find(bare, callersOf(1)))
	b.compare("P2", atMost(1, "p50 of an etcd put, 1 caller, asked from any node"), mP50, f.find(fromAny, callersOf(1)), f.find(etcdPuts, callersOf(1)))
	if ours := f.find(atOwner, at); ours != nil && ours.Void == "" {
		var times []float64
		for _, pages := range ours.Metrics[mPages] {
			times = append(times, pages/copies/eventSize)
		}
		b.judge("P13", atMost(2.5, "bytes in pages written for a byte of event and copy, 128-byte events, "+at), times, "")
	}
	b.compare("P14", atMost(1.4, "CPU per event of the bare pipeline, all processes, "+at+", asked at the owner"), mCPU, f.find(atOwner, at), f.find(bare, at))
}

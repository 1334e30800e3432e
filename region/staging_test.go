package region_test

import (
	"testing"

	"muster/entity"
	"muster/region"
	"muster/replication"
	"muster/shard"
)

// A snapshot is whole, and takes the log's place, in the very batch in which the first part of the next one comes: the primary has given up
// waiting, or another leads by now. The one is installed, the other comes after it.
func TestNextSnapshotBesideTheLastPart(t *testing.T) {
	g, id := written(t)
	n, had := g.nodes[1], hosted(t, g.nodes[1], id)
	p := g.placement(id)
	snapshot := func(base shard.LSN, epoch shard.Epoch, last bool) region.Part {
		return region.Part{Last: last, Of: replication.Install{
			Shard: id, Epoch: epoch, From: p.Primary, To: had.Copy, Base: shard.Position{Epoch: p.Epoch, LSN: base},
		}}
	}
	n.region.Take(snapshot(1000, p.Epoch, false))
	until(t, "it is staged", func() bool { s, some := n.journal.Staged(had.Copy); return some && s.Base.LSN == 1000 })
	n.region.Take(snapshot(1000, p.Epoch, true), snapshot(2000, p.Epoch, false))
	until(t, "it is installed", func() bool { return n.region.Err() != nil || state(n, had.Copy).Base.LSN == 1000 })
	if err := n.region.Err(); err != nil {
		t.Fatalf("the node stops: %v", err)
	}
	n.region.Take(snapshot(2000, p.Epoch, false))
	until(t, "the next is staged", func() bool { s, some := n.journal.Staged(had.Copy); return some && s.Base.LSN == 2000 })
	n.region.Take(snapshot(2000, p.Epoch, true))
	until(t, "the next is installed", func() bool { return state(n, had.Copy).Base.LSN == 2000 })
}

// written is a shard with a primary and a replica, to which something was written.
func written(t *testing.T) (*group, shard.ID) {
	t.Helper()
	c := define("counter", entity.Shards(1), entity.Replicate(1, 0, 0))
	g := newGroup(t, 2, c)
	id := one("counter")
	g.place(id, 0, 1)
	g.await(id, shard.Active)
	if _, err := c.add.Ask(ctxFor(t), g.nodes[0].region, "e", 1); err != nil {
		t.Fatal(err)
	}
	return g, id
}

// state is what a node's journal holds of a copy.
func state(n *node, id shard.CopyID) replication.State {
	for _, s := range n.journal.Copies() {
		if s.State.Copy == id {
			return s.State
		}
	}
	return replication.State{}
}

// A copy is retired while its log is being shortened, and the two come to their host at once. The journal refuses to shorten what is removed, which
// is no fault of the disk: the node goes on.
func TestRetiredWhileShortened(t *testing.T) {
	g, id := written(t)
	n := g.nodes[1]
	until(t, "the replica has it confirmed", func() bool { return hosted(t, n, id).Confirmed > 1 })
	copy := hosted(t, n, id).Copy
	without := *g.placement(id)
	without.Copies = without.Copies[:1]
	n.region.RetireShortened(copy, &without)
	until(t, "its data are removed", func() bool { return state(n, copy).Copy == 0 })
	if err := n.region.Err(); err != nil {
		t.Errorf("the node stops: %v", err)
	}
}

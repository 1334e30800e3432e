package region_test

import (
	"context"
	"testing"
	"time"

	"muster/entity"
	"muster/shard"
)

// begun is a shard with a copy on each of three nodes, led by the first, whose entity e counts 1.
func begun(t *testing.T, replicate entity.Option) (*counters, *group, shard.ID) {
	c := define("counter", entity.Shards(1), replicate)
	g, id := newGroup(t, 3, c), one("counter")
	g.place(id, 0, 1, 2)
	g.await(id, shard.Active)
	if v, err := c.add.Ask(ctxFor(t), g.nodes[0].region, "e", 1); err != nil || v != 1 {
		t.Fatalf("add: %d, %v", v, err)
	}
	return c, g, id
}

// handOver has the shard's primary step down in favour of the node, and returns what it reports. Nothing comes of that yet.
func (g *group) handOver(id shard.ID, to *node) shard.Report {
	g.t.Helper()
	reports := make(chan shard.Report, 64)
	g.ignore(shard.ReportHandoff)
	g.watch(func(r shard.Report) {
		if r.Kind == shard.ReportHandoff {
			reports <- r
		}
	})
	g.wish(id, to)
	select {
	case r := <-reports:
		return r
	case <-ctxFor(g.t).Done():
		g.t.Fatal("the primary does not step down")
		return shard.Report{}
	}
}

// The lead is handed over, and too few copies hold the first record of the new epoch. The map shows the new primary serving; it does
// not, keeps what comes and refuses it when its deadline passes. When enough copies hold it, what still waits runs, once, and only
// then does the node that handed over count the pause.
func TestHandedOverServesOnceEstablished(t *testing.T) {
	c, g, id := begun(t, entity.Replicate(2, 2, 0))
	from, to, away := g.nodes[0], g.nodes[1], g.nodes[2]
	r := g.handOver(id, to)
	away.stop()
	g.edit(id, func(p *shard.Placement) { g.handedOver(p, r) })
	waits := make(chan error, 1)
	go func() {
		_, err := c.add.Ask(ctxFor(t), from.region, "e", 1)
		waits <- err
	}()
	soon, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
	defer cancel()
	if _, err := c.add.Ask(soon, to.region, "e", 1); shard.CodeOf(err) != shard.CodeTimeout {
		t.Errorf("an add before the shard is served: %v", err)
	}
	until(t, "the call whose deadline passed is refused", func() bool { return to.region.UnderWay() == 1 })
	if h := hosted(t, to, id); h.Role != "establishing" || h.Waiting == "" {
		t.Errorf("the new primary is %+v", h)
	}
	if h := from.region.HandOffs(); h.Count != 0 || from.region.Unserved() != 1 {
		t.Errorf("before the shard is served: %+v, %d unserved", h, from.region.Unserved())
	}
	away.start()
	if err := <-waits; err != nil {
		t.Fatalf("the add that waited: %v", err)
	}
	if v, err := c.get.Ask(ctxFor(t), from.region, "e", struct{}{}); err != nil || v != 2 {
		t.Errorf("get: %d, %v; want 2", v, err)
	}
	until(t, "the pause is counted", func() bool { return from.region.HandOffs().Count == 1 && from.region.Unserved() == 0 })
}

// A node is handed the lead and is cut off from the other copies before they hold anything of its epoch. It asks for another primary,
// though it never served; nothing is lost.
func TestHandedOverAndDeserted(t *testing.T) {
	c, g, id := begun(t, entity.Replicate(2, 1, 500*time.Millisecond))
	to := g.nodes[1]
	r := g.handOver(id, to)
	to.wires.close(true)
	asked := g.seen(shard.ReportRecover)
	g.edit(id, func(p *shard.Placement) { g.handedOver(p, r) })
	select {
	case <-asked:
	case <-ctxFor(t).Done():
		t.Fatal("the primary that cannot begin keeps its shard")
	}
	to.wires.close(false)
	g.recover(id) // by the longest log, which is that of the same node
	g.await(id, shard.Active)
	if v, err := c.add.Ask(ctxFor(t), g.nodes[2].region, "e", 1); err != nil || v != 2 {
		t.Errorf("add in the next epoch: %d, %v", v, err)
	}
}

// A node is handed the lead that cannot take it: its copy has promised a higher epoch. It asks for another primary, and again, until the
// map shows one.
func TestHandedOverAndUnable(t *testing.T) {
	_, g, id := begun(t, entity.Replicate(2, 1, 0))
	to := g.nodes[1]
	r := g.handOver(id, to)
	if sealed := to.region.Seal(ctxFor(t), []shard.SealItem{{Shard: id, Copy: r.Copy, Epoch: 5}}); len(sealed) != 1 || sealed[0].Fault != nil {
		t.Fatalf("sealed: %+v", sealed)
	}
	asked := g.seen(shard.ReportRecover)
	g.edit(id, func(p *shard.Placement) { g.handedOver(p, r) })
	select {
	case <-asked:
	case <-ctxFor(t).Done():
		t.Fatal("a primary that cannot lead keeps its shard")
	}
}

// A node of an earlier build is handed the lead in two steps: the epoch is established, and activated then.
func TestHandOffInTwoSteps(t *testing.T) {
	c := define("counter", entity.Shards(1), entity.Replicate(2, 1, 0))
	g := newGroup(t, 3, c)
	g.inTwo.Store(true)
	id := one("counter")
	g.place(id, 0, 1, 2)
	g.await(id, shard.Active)
	l := startLoad(t, c, 4, g.nodes...)
	for i := range 4 {
		to := g.nodes[(i+1)%3]
		g.wish(id, to)
		g.served(id, to)
		l.more(20)
	}
	l.stop()
	until(t, "the pauses are counted", func() bool { return g.handOffs() == 4 })
}

// handOffs counts what the nodes measured.
func (g *group) handOffs() (n uint64) {
	for _, one := range g.nodes {
		n += one.region.HandOffs().Count
	}
	return n
}

package region_test

import (
	"fmt"
	"testing"

	"muster/entity"
	"muster/shard"
)

// The protocol refuses what a batch of outcomes has recorded. That ends the term: whoever recorded, and whoever read beside them, is
// answered, and asks the next primary.
func TestRefusedProposalAnswersReads(t *testing.T) {
	c := define("counter", entity.Shards(1), entity.Replicate(0, 0, 0))
	inside, gate := make(chan struct{}, 8), make(chan struct{}, 8)
	event := entity.On(c.Type, "late", func(c *counter, e added) { c.Value += e.N })
	late := entity.Handle(c.Type, "late-add", func(x *entity.Context[counter], n int64) (int64, error) {
		inside <- struct{}{}
		<-gate
		event.Record(x, added{n})
		return x.State().Value, nil
	})
	g := newGroup(t, 1, c)
	g.placeAll("counter")
	ctx, n, id := ctxFor(t), g.nodes[0], one("counter")
	answers := make(chan string, 2)
	go func() { v, err := late.Ask(ctx, n.region, "a", 5); answers <- fmt.Sprint("add ", v, err) }()
	go func() { v, err := c.wait.Ask(ctx, n.region, "b", struct{}{}); answers <- fmt.Sprint("read ", v, err) }()
	<-inside
	<-c.inside
	hold := n.region.Hold(id, "")
	asked := g.seen(shard.ReportRecover)
	gate <- struct{}{}
	c.gate <- struct{}{}
	until(t, "both have finished", func() bool { return hold.Finished() == 2 })
	hold.Go()
	<-asked
	until(t, "both are answered", func() bool { return n.region.UnderWay() == 0 })
	gate <- struct{}{}
	go func() { c.gate <- struct{}{} }()
	g.recover(id)
	for range cap(answers) {
		if a := <-answers; a != "add 5 <nil>" && a != "read 0 <nil>" {
			t.Error(a)
		}
	}
}

// The protocol refuses a snapshot that is due. The term ends, the process does not.
func TestRefusedSnapshot(t *testing.T) {
	c := define("counter", entity.Shards(1), entity.Replicate(0, 0, 0), entity.SnapshotEvery(0))
	g := newGroup(t, 1, c)
	g.placeAll("counter")
	ctx, n, id := ctxFor(t), g.nodes[0], one("counter")
	if _, err := c.add.Ask(ctx, n.region, "e", 1); err != nil {
		t.Fatal(err)
	}
	hold := n.region.Hold(id, "e")
	asked := g.seen(shard.ReportRecover)
	hold.Go()
	<-asked
	g.recover(id)
	if v, err := c.add.Ask(ctx, n.region, "e", 1); err != nil || v != 2 {
		t.Errorf("add in the next epoch: %d, %v", v, err)
	}
}

package region_test

import (
	"testing"
	"time"

	"muster/entity"
	"muster/shard"
)

// A primary whose copies do not answer reads by its lease while that runs, and not without it; nor ever what is not confirmed, nor where the type
// wants reads to be confirmed by other copies.
func TestReadsGoByTheLease(t *testing.T) {
	c, g, _ := begun(t, entity.Replicate(2, 1, 200*time.Millisecond))
	n := g.nodes[0]
	g.nodes[1].stop()
	g.nodes[2].stop()
	get := func() (int64, error) { return c.get.Ask(ctxFor(t), n.region, "e", struct{}{}) }
	unconfirmed := func(when string) {
		t.Helper()
		if v, err := get(); shard.CodeOf(err) != shard.CodeUnconfirmed {
			t.Fatalf("%s: %d, %v; want unconfirmed", when, v, err)
		}
	}
	if v, err := get(); err != nil || v != 1 {
		t.Fatalf("with a lease: %d, %v; want 1", v, err)
	}
	n.lease.Store(int64(now() - time.Millisecond))
	unconfirmed("without a lease")
	n.lease.Store(int64(now() + forever))
	if v, err := get(); err != nil || v != 1 {
		t.Fatalf("with a lease again: %d, %v; want 1", v, err)
	}
	if _, err := c.add.Ask(ctxFor(t), n.region, "e", 1); shard.CodeOf(err) != shard.CodeUnconfirmed {
		t.Fatalf("add without copies: %v; want unconfirmed", err)
	}
	unconfirmed("behind a record that is not confirmed")
	if v, err := c.get.Ask(ctxFor(t), n.region, "other", struct{}{}); err != nil || v != 0 {
		t.Fatalf("of another entity: %d, %v; want 0", v, err)
	}
}

func TestConfirmedReadsDoWithoutLeases(t *testing.T) {
	c := define("counter", entity.Shards(1), entity.Replicate(1, 1, 200*time.Millisecond), entity.ConfirmedReads())
	g, id := newGroup(t, 2, c), one("counter")
	g.place(id, 0, 1)
	g.await(id, shard.Active)
	get := func() (int64, error) { return c.get.Ask(ctxFor(t), g.nodes[0].region, "e", struct{}{}) }
	if v, err := get(); err != nil || v != 0 {
		t.Fatalf("get: %d, %v", v, err)
	}
	g.nodes[1].stop()
	if v, err := get(); shard.CodeOf(err) != shard.CodeUnconfirmed {
		t.Fatalf("without the other copy: %d, %v; want unconfirmed", v, err)
	}
}

// A read that would have gone by a lease which ran out while it waited for a record gets a round instead, and is not forgotten.
func TestLeaseRunsOutUnderARead(t *testing.T) {
	c, g, _ := begun(t, entity.Replicate(2, 1, patience))
	n := g.nodes[0]
	g.nodes[1].stop()
	g.nodes[2].stop()
	added, read := make(chan error, 1), make(chan int64, 1)
	go func() {
		_, err := c.add.Ask(ctxFor(t), n.region, "e", 1)
		added <- err
	}()
	until(t, "the record is written", func() bool {
		h := n.region.Hosted()[0]
		return h.Last > h.Confirmed
	})
	go func() {
		v, err := c.get.Ask(ctxFor(t), n.region, "e", struct{}{})
		if err != nil {
			t.Errorf("get: %v", err)
		}
		read <- v
	}()
	until(t, "the read waits", func() bool { return n.region.UnderWay() == 2 })
	if v, err := c.get.Ask(ctxFor(t), n.region, "other", struct{}{}); err != nil || v != 0 {
		t.Fatalf("a read of another entity behind it: %d, %v", v, err)
	}
	n.lease.Store(int64(now() - time.Millisecond))
	g.nodes[1].start()
	if err := <-added; err != nil {
		t.Fatal(err)
	}
	if v := <-read; v != 2 {
		t.Fatalf("read %d; want 2", v)
	}
}

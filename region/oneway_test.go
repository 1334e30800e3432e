package region_test

import (
	"fmt"
	"testing"
	"time"

	"muster/entity"
	"muster/shard"
)

// Everything that is sent arrives once, wherever it is sent from, also when it is more than lanes and mailboxes hold.
func TestOneWay(t *testing.T) {
	for _, options := range [][]entity.Option{
		{entity.Shards(2), entity.Volatile()},
		entityOptions(2, 1, 1),
	} {
		c := define("counter", options...)
		t.Run(fmt.Sprint("volatile=", c.Spec().Volatile), func(t *testing.T) {
			g := newGroup(t, 2, c)
			g.placeAll("counter")
			const each = 10_000
			ids := []entity.ID{"hot", "e0", "e1", "e2", "e3", "e4", "e5", "e6"}
			ctx := ctxFor(t)
			for _, n := range g.nodes {
				for i := range each {
					id := ids[0]
					if i%2 == 1 {
						id = ids[1+i/2%7]
					}
					if err := c.add.OneWay(ctx, n.region, id, 1); err != nil {
						t.Fatal(i, err)
					}
				}
			}
			for sum := int64(0); sum < 2*each; {
				sum = 0
				for _, id := range ids {
					n, err := c.get.Ask(ctx, g.nodes[0].region, id, struct{}{})
					if err != nil {
						t.Fatalf("%d arrived: %v", sum, err)
					}
					sum += n
				}
				if sum > 2*each {
					t.Fatalf("%d of %d arrived", sum, 2*each)
				}
			}
			for _, n := range g.nodes {
				if d := n.region.Dropped(); d != 0 {
					t.Errorf("%s dropped %d", n.id, d)
				}
			}
		})
	}
}

// An entity that is busy holds up whoever sends to it, and nobody who asks anything else; nothing is dropped for it.
func TestOneWayWaitsForRoom(t *testing.T) {
	c := define("cache", entity.Shards(1), entity.Volatile())
	g := newGroup(t, 2, c)
	g.place(one("cache"), 0)
	g.await(one("cache"), shard.Active)
	ctx := ctxFor(t)
	for _, n := range g.nodes {
		t.Run("from "+string(n.id), func(t *testing.T) {
			id := entity.ID("busy-" + n.id)
			if err := c.wait.OneWay(ctx, n.region, id, struct{}{}); err != nil {
				t.Fatal(err)
			}
			<-c.inside
			sent := int64(0)
			for {
				short, cancel := shortly(ctx, 100*time.Millisecond)
				err := c.bulky.OneWay(short, n.region, id, make([]byte, 32<<10))
				cancel()
				if shard.CodeOf(err) == shard.CodeTimeout && ctx.Err() == nil {
					continue // its time was over before it was looked at: the machine is busy
				}
				if err != nil {
					expect(t, "a full lane", string(shard.CodeOf(err)), string(shard.CodeOverloaded))
					break
				}
				sent++
			}
			if _, err := c.add.Ask(ctx, n.region, "other", 1); err != nil {
				t.Fatalf("an ask beside a full lane: %v", err)
			}
			c.gate <- struct{}{}
			var v int64
			var err error
			defer func() { t.Logf("%d were sent, %d arrived: %v", sent, v, err) }()
			until(t, "all have arrived", func() bool {
				short, cancel := shortly(ctx, time.Second)
				defer cancel()
				v, err = c.get.Ask(short, n.region, id, struct{}{})
				return err == nil && v == sent // or the mailbox is still full
			})
		})
	}
	if d := g.nodes[0].region.Dropped() + g.nodes[1].region.Dropped(); d != 0 {
		t.Errorf("%d were dropped", d)
	}
}

// Without an owner a command waits at its sender, and its deadline says why it was not sent; what a handler fails with is
// counted and nobody hears of it.
func TestOneWayIsRefusedOrDropped(t *testing.T) {
	c := define("cache", entity.Shards(1), entity.Volatile())
	g := newGroup(t, 2, c)
	ctx := ctxFor(t)
	short, cancel := shortly(ctx, 50*time.Millisecond)
	defer cancel()
	err := c.add.OneWay(short, g.nodes[1].region, "e", 1)
	expect(t, "without an owner", fmt.Sprint(err), "unavailable (cache/0): the shard has no owner: not placed")
	sent := make(chan error, 1)
	go func() { sent <- c.add.OneWay(ctx, g.nodes[1].region, "e", 1) }()
	g.place(one("cache"), 0)
	if err := <-sent; err != nil {
		t.Fatal(err)
	}
	until(t, "it has arrived", func() bool {
		v, err := c.get.Ask(ctx, g.nodes[0].region, "e", struct{}{})
		return err == nil && v == 1
	})
	if err := c.refuse.OneWay(ctx, g.nodes[1].region, "e", struct{}{}); err != nil {
		t.Fatal(err)
	}
	if err := c.broken.OneWay(ctx, g.nodes[1].region, "e", 1); err != nil {
		t.Fatal(err)
	}
	until(t, "the failure is counted", func() bool { return g.nodes[0].region.Dropped() == 1 })
}

// What reaches a node that has handed the shard over, or that its sender's old map still names, is passed on to the owner.
func TestOneWayIsPassedOn(t *testing.T) {
	c := define("cache", entity.Shards(1), entity.Volatile())
	g := newGroup(t, 3, c)
	g.place(one("cache"), 0)
	g.await(one("cache"), shard.Active)
	ctx := ctxFor(t)
	g.nodes[2].turn(false) // it hears of no map from here on
	defer g.nodes[2].turn(true)
	g.place(one("cache"), 1)
	g.await(one("cache"), shard.Active)
	if err := c.add.OneWay(ctx, g.nodes[2].region, "e", 1); err != nil {
		t.Fatal(err)
	}
	until(t, "it has arrived", func() bool {
		v, err := c.get.Ask(ctx, g.nodes[1].region, "e", struct{}{})
		return err == nil && v == 1
	})
}

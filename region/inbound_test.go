package region_test

import (
	"fmt"
	"sync"
	"testing"

	"muster/entity"
)

// What came in a frame stays as it was sent until it is over, however long it waits: commands that wait behind one whose handler
// does not return each do what they were sent for, though the commands that came in the same frames are answered, and many more
// frames come meanwhile.
func TestFramesAreKeptUntilAllIsOver(t *testing.T) {
	for name, options := range map[string][]entity.Option{
		"volatile": {entity.Shards(1), entity.Volatile()}, "durable": entityOptions(1, 2, 1),
	} {
		t.Run(name, func(t *testing.T) { keepFrames(t, define("counter", options...)) })
	}
}

func keepFrames(t *testing.T, c *counters) {
	g := newGroup(t, 3, c)
	g.placeAll("counter")
	ctx := ctxFor(t)
	id := g.shardOf("counter", "slow")
	from := g.nodes[0]
	if g.placement(id).Node == from.id {
		from = g.nodes[1]
	}
	var all, waiting sync.WaitGroup
	ask := func(wait *sync.WaitGroup, id entity.ID, n int64) {
		wait.Go(func() {
			if _, err := c.add.Ask(ctx, from.region, id, n); err != nil {
				t.Errorf("add %d to %s: %v", n, id, err)
			}
		})
	}
	waiting.Go(func() {
		if _, err := c.wait.Ask(ctx, from.region, "slow", struct{}{}); err != nil {
			t.Error(err)
		}
	})
	<-c.inside
	const others, rounds = 40, 20 // in all less than may be asked of a shard beyond what it has not answered
	for i := range 32 {
		ask(&waiting, "slow", 1<<i)
		if err := c.add.OneWay(ctx, from.region, "slow", 1<<(32+i%8)); err != nil {
			t.Error(err)
		}
	}
	for range rounds {
		for i := range others {
			ask(&all, entity.ID(fmt.Sprintf("e%d", i)), 1<<41)
		}
		all.Wait()
	}
	select {
	case c.gate <- struct{}{}:
	case <-ctx.Done():
		t.Fatal("the time is over")
	}
	waiting.Wait()
	const want = 1<<32 - 1 + 4*(1<<40-1<<32)
	for v := int64(0); v != want && ctx.Err() == nil && !t.Failed(); { // one-way commands come when they come
		var err error
		if v, err = c.get.Ask(ctx, from.region, "slow", struct{}{}); err != nil || v > want {
			t.Fatalf("the entity counted %#x, want %#x; %v", v, int64(want), err)
		}
	}
	for i := range others {
		if v, err := c.get.Ask(ctx, from.region, entity.ID(fmt.Sprintf("e%d", i)), struct{}{}); err != nil || v != rounds<<41 {
			t.Fatalf("e%d counted %#x, want %#x; %v", i, v, int64(rounds)<<41, err)
		}
	}
}

package region_test

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"muster/entity"
	"muster/region"
	"muster/shard"
)

// Handlers that wait for other entities leave their places to those: else as many of them as Handlers allows would wait for
// handlers that never run, each until its deadline.
func TestHandlersThatAskLeaveTheirPlaces(t *testing.T) {
	const limit = 2
	for _, volatile := range []bool{false, true} {
		t.Run(fmt.Sprintf("volatile %v", volatile), func(t *testing.T) {
			options := entityOptions(1, 0, 0)
			if volatile {
				options = []entity.Option{entity.Shards(1), entity.Volatile()}
			}
			c := define("counter", options...)
			var to entity.Sender
			var all sync.WaitGroup
			inside := make(chan struct{}, limit)
			all.Add(limit)
			through := entity.Handle(c.Type, "through", func(x *entity.Context[counter], id string) (int64, error) {
				inside <- struct{}{}
				all.Done()
				all.Wait() // every place is taken
				ctx, cancel := context.WithCancel(x.Context())
				defer cancel()
				return c.add.Ask(ctx, to, entity.ID(id), 1)
			})
			g := newGroup(t, 1, c)
			n := g.nodes[0]
			n.stop()
			n.limits = region.Limits{Handlers: limit}
			n.start()
			g.placeAll("counter")
			g.await(one("counter"), shard.Active)
			to = n.region
			ctx := ctxFor(t)
			var asks sync.WaitGroup
			for i := range limit {
				asks.Go(func() {
					if v, err := through.Ask(ctx, n.region, entity.ID(fmt.Sprintf("a%d", i)), fmt.Sprintf("b%d", i)); err != nil || v != 1 {
						t.Errorf("%d, %v", v, err)
					}
				})
			}
			asks.Wait()
		})
	}
}

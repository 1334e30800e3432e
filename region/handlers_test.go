package region_test

import (
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"muster/entity"
	"muster/region"
	"muster/shard"
)

// At most Limits.Handlers handlers run at once, whichever worker runs them, and one that blocks holds up neither the shard's other
// entities nor its copy.
func TestHandlersAreLimited(t *testing.T) {
	const limit = 2
	c := define("counter", entityOptions(1, 1, 1)...)
	var running, most atomic.Int32
	busy := entity.Handle(c.Type, "busy", func(x *entity.Context[counter], _ struct{}) (int64, error) {
		n := running.Add(1)
		defer running.Add(-1)
		for was := most.Load(); n > was && !most.CompareAndSwap(was, n); was = most.Load() {
		}
		for range 10 {
			runtime.Gosched() // so that others begin meanwhile, if they may
		}
		return 0, nil
	})
	g := newGroup(t, 2, c)
	for _, n := range g.nodes {
		n.stop()
		n.limits = region.Limits{Handlers: limit}
		n.start()
	}
	g.place(one("counter"), 0, 1)
	g.await(one("counter"), shard.Active)
	ctx, n := ctxFor(t), g.nodes[0]
	all := func() {
		var asks sync.WaitGroup
		for i := range 200 {
			asks.Go(func() {
				id := entity.ID(fmt.Sprintf("e%d", i%50))
				if _, err := busy.Ask(ctx, n.region, id, struct{}{}); err != nil {
					t.Error(err)
				}
				if _, err := c.add.Ask(ctx, n.region, id, 1); err != nil {
					t.Error(err)
				}
			})
		}
		asks.Wait()
	}
	all()
	if most.Load() > limit {
		t.Errorf("%d handlers ran at once", most.Load())
	}
	most.Store(0)
	var blocked sync.WaitGroup
	blocked.Go(func() {
		if _, err := c.wait.Ask(ctx, n.region, "blocked", struct{}{}); err != nil {
			t.Error(err)
		}
	})
	<-c.inside
	all()
	if most.Load() > limit-1 {
		t.Errorf("%d handlers ran beside one that blocks", most.Load())
	}
	c.gate <- struct{}{}
	blocked.Wait()
}

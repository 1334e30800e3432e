package node_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"muster/coordinator/plan"
	"muster/entity"
	"muster/node"
	"muster/shard"
)

var tills = entity.Define[int]("till", entity.Shards(12))

var rung = entity.On(tills, "rung", func(n *int, by int) { *n += by })

var Ring = entity.Handle(tills, "ring", func(c *entity.Context[int], by int) (int, error) {
	rung.Record(c, by)
	return c.State(), nil
})

// payers pay into an entity each, one payment after the other, and see that each answer is one more than the last: nothing
// confirmed is lost and nothing is done twice.
type payers struct {
	paid atomic.Int64
	stop context.CancelFunc
	wait sync.WaitGroup
}

func newPayers(t *testing.T, n int, pay func(context.Context, entity.Sender, entity.ID, int) (int, error), through ...*node.Node) *payers {
	ctx, cancel := context.WithCancel(t.Context())
	p := &payers{stop: cancel}
	for i := range n {
		p.wait.Go(func() {
			for last := 0; ctx.Err() == nil; last++ {
				ask, cancel := context.WithTimeout(t.Context(), patience)
				got, err := pay(ask, through[(i+last)%len(through)], entity.ID(fmt.Sprintf("payee-%d", i)), 1)
				cancel()
				if err != nil || got != last+1 {
					t.Errorf("payment %d to %d: it holds %d, %v", last+1, i, got, err)
					return
				}
				p.paid.Add(1)
			}
		})
	}
	return p
}

func (p *payers) end() int64 {
	p.stop()
	p.wait.Wait()
	return p.paid.Load()
}

// until waits for what a map should show, and returns the first that does.
func (c *cluster) until(what string, holds func(*shard.View) bool) *shard.View {
	c.t.Helper()
	ctx, tick := c.context(), time.NewTicker(10*time.Millisecond)
	defer tick.Stop()
	for {
		v := c.nodes[0].View()
		if holds(v) {
			return v
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			c.t.Fatalf("%s: not within %s", what, patience)
		}
	}
}

// empty reports whether a node has no copy, learner or primary.
func empty(id shard.NodeID) func(*shard.View) bool {
	return func(v *shard.View) bool {
		for _, t := range v.Types {
			for _, p := range t.Placements {
				for _, c := range p.Copies {
					if c.Node == id {
						return false
					}
				}
				for _, l := range p.Learners {
					if l.Copy.Node == id {
						return false
					}
				}
				if p.Node == id {
					return false
				}
			}
		}
		return true
	}
}

// A node that holds the only copies of shards is drained under load: each copy gets a successor, hands over and goes. Nothing is
// lost, no request fails, and the node ends with nothing on it.
func TestDrainOfOnlyCopies(t *testing.T) {
	c := newCluster(t, 3, entity.Types(tills)...)
	c.start()
	c.ready()
	load := newPayers(t, 6, Ring.Ask, c.nodes...)
	began := time.Now()
	if err := c.nodes[0].Drain(c.context(), "n3", true); err != nil {
		t.Fatal(err)
	}
	c.until("n3 is empty", empty("n3"))
	took := time.Since(began)
	load.stop()
	n := load.end()
	c.until("n3 has seen it too", func(*shard.View) bool { return c.nodes[2].HandOffs().Count > 0 })
	t.Logf("n3 is empty after %s, %d payments meanwhile; %+v", took.Round(time.Millisecond), n, c.nodes[2].HandOffs())
	if n < 50 {
		t.Errorf("%d payments: the test shows nothing", n)
	}
	for _, p := range c.nodes[0].View().Types["till"].Placements {
		if len(p.Copies) != 1 || p.Retiring != 0 {
			t.Errorf("%s has %d copies, %d retiring", p.Shard, len(p.Copies), p.Retiring)
		}
	}
	if moves := plan.Balance(c.nodes[0].View()); len(moves) > 0 {
		t.Errorf("it goes on: %v", moves)
	}
}

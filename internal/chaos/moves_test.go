package chaos_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"muster/client"
	"muster/internal/chaos"
	"muster/node"
	"muster/shard"
)

const (
	moveEvery = 5 * time.Second // each shard
	writeRate = 500             // entries per second
)

// Under 500 writes per second every shard is moved every 5 s, and one process is killed in the middle. No command fails, since
// each is repeated until the next owner has it, and the books hold exactly what was confirmed. The pauses are printed; on a
// local disk that nobody else uses their p99 is to stay below 20 ms.
func TestMoves(t *testing.T) {
	g := form(t, chaos.Layout{Nodes: 3})
	g.load = chaos.Start(g.driver, chaos.Plan{Clients: 2 * clients, Rate: writeRate})
	g.eventually(10*time.Second, "100 entries are confirmed", func() bool { return g.load.Confirmed() >= 100 })
	victim := g.nodes[g.choose.IntN(len(g.nodes))]
	before := g.load.Confirmed()
	m := g.move(*length / 2)
	pauses := g.handOffs(g.nodes...)
	least := float64(lively)
	if *every {
		least = writeRate * 0.8
	}
	if per := float64(g.load.Confirmed()-before) / (*length / 2).Seconds(); per < least {
		t.Errorf("invalid run: %.0f of %d entries per second confirmed", per, writeRate)
	}
	g.must(victim.Kill())
	killed := time.Now()
	outage := g.serves(serving, "after the kill of "+victim.ID, killed)
	g.must(victim.Start())
	g.eventually(20*time.Second, victim.ID+" has caught up", func() bool { return g.caughtUp(victim) })
	t.Logf("killed %s, longest outage of a shard %s", victim.ID, outage)
	m += g.move(*length / 2)
	pauses = append(pauses, g.handOffs(victim)...) // the others count a hand-over to the killed node, which took a failover
	if want := int(*length/moveEvery) * chaos.Shards * 3 / 4; m < want {
		t.Errorf("invalid run: %d shards arrived where they were sent, fewer than %d", m, want)
	}
	for _, h := range pauses {
		t.Logf("%d hand-offs, %d stalled: pause p50 %s, p99 %s, longest %s", h.Count, h.Stalled, h.P50, h.P99, h.Max)
	}
	for _, e := range g.verify() {
		if e.Fate != chaos.Confirmed {
			t.Errorf("%s in book %s failed after %s: %s", e.ID, e.Book, e.Ended.Sub(e.Began).Round(time.Millisecond), e.Problem)
		}
	}
}

// move sends each shard to another node every moveEvery, for as long, and returns how many got there.
func (g *group) move(as time.Duration) (arrived int) {
	g.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), as)
	defer cancel()
	c := g.client(ctx)
	var mu sync.Mutex
	var all sync.WaitGroup
	for n := range shard.Number(chaos.Shards) {
		all.Go(func() {
			first := time.NewTimer(time.Duration(n) * moveEvery / chaos.Shards)
			defer first.Stop()
			for due := first.C; ; due = time.After(moveEvery) {
				select {
				case <-due:
				case <-ctx.Done():
					return
				}
				if g.moveOne(ctx, c, shard.ID{Type: "book", Number: n}) {
					mu.Lock()
					arrived++
					mu.Unlock()
				}
			}
		})
	}
	all.Wait()
	return arrived
}

// moveOne sends a shard to the next node, and reports whether it got there in half the time until it is moved again.
func (g *group) moveOne(ctx context.Context, c *client.Client, id shard.ID) bool {
	ctx, cancel := context.WithTimeout(ctx, moveEvery/2)
	defer cancel()
	p := g.driver.View().Placement(id)
	next := p.Copies[0].Node
	for i, copy := range p.Copies {
		if copy.Node == p.Node {
			next = p.Copies[(i+1)%len(p.Copies)].Node
		}
	}
	for ctx.Err() == nil {
		if done, err := c.Move(ctx, id, next); err == nil && done.Stage == "done" {
			return true
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
		}
	}
	return false
}

// client is connected to whichever node answers.
func (g *group) client(ctx context.Context) *client.Client {
	g.t.Helper()
	var addrs []string
	for _, p := range g.nodes {
		addrs = append(addrs, p.Addr)
	}
	c, err := client.Connect(ctx, addrs...)
	g.must(err)
	g.t.Cleanup(func() { c.Close() })
	return c
}

// handOffs are what the nodes' present lives measured.
func (g *group) handOffs(nodes ...*chaos.Process) (all []node.HandOffs) {
	g.t.Helper()
	for _, p := range nodes {
		h, err := p.HandOffs()
		g.must(err)
		all = append(all, h)
	}
	return all
}

package node_test

import (
	"context"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"muster/entity"
	"muster/node"
	"muster/shard"
)

// A crowd deposits through whichever nodes it is told of, and counts what it was told is done.
type crowd struct {
	bank *bank
	mu   sync.RWMutex // read-locked for each ask
	ask  []*node.Node
	done atomic.Int64
	end  chan struct{}
	all  sync.WaitGroup
}

func newCrowd(ctx context.Context, b *bank, callers int, nodes ...*node.Node) *crowd {
	c := &crowd{bank: b, ask: nodes, end: make(chan struct{})}
	for i := range callers {
		c.all.Go(func() { c.call(ctx, i) })
	}
	return c
}

func (c *crowd) call(ctx context.Context, i int) {
	for k := i; ; k += 7 {
		select {
		case <-c.end:
			return
		default:
		}
		account := k % len(c.bank.sums)
		c.mu.RLock()
		_, err := Deposit.Ask(ctx, c.ask[k%len(c.ask)], name(account), Amount{1})
		c.mu.RUnlock()
		if err != nil {
			c.bank.t.Errorf("deposit to %s: %v", name(account), err)
			return
		}
		c.bank.sums[account].Add(1)
		c.done.Add(1)
	}
}

// through changes the nodes that are asked. When it returns nobody asks those before any more, nor is about to.
func (c *crowd) through(nodes ...*node.Node) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ask = nodes
}

func (c *crowd) stop() {
	close(c.end)
	c.all.Wait()
}

// add prepares one more node, which is no founder, and returns its number.
func (c *cluster) add() int {
	c.t.Helper()
	l := listen(c.t)
	cfg, name := c.configs[0], fmt.Sprintf("n%d", len(c.configs)+1)
	cfg.ID, cfg.Addr, cfg.Listener = shard.NodeID(name), l.Addr().String(), l
	cfg.Dir, cfg.Logger = filepath.Join(c.t.TempDir(), name), logger(c.t, name)
	c.configs, c.nodes = append(c.configs, cfg), append(c.nodes, nil)
	return len(c.nodes) - 1
}

// led counts the shards of accounts that the node leads, and those it has a copy of in C, as seen by another.
func led(from *node.Node, id shard.NodeID) (leads, holds int) {
	v := from.View()
	for _, p := range v.Types["account"].Placements {
		if p == nil {
			continue
		}
		if p.Node == id && p.Status == shard.Active {
			leads++
		}
		for _, c := range p.Copies {
			if c.Node == id {
				holds++
			}
		}
	}
	return leads, holds
}

// Three nodes are restarted one after the other while others ask them: shards move away before their node stops, so not one
// request fails and nothing waits for a lease.
func TestRollingRestart(t *testing.T) {
	c := newCluster(t, 3, entity.Types(accounts)...)
	c.start()
	c.ready()
	b := &bank{t: t}
	load := newCrowd(t.Context(), b, 6, c.nodes...)
	for i := range c.nodes {
		others := []*node.Node{c.nodes[(i+1)%3], c.nodes[(i+2)%3]}
		load.through(others...)
		leads, _ := led(others[0], c.configs[i].ID)
		leaving := c.nodes[i]
		before := load.done.Load()
		c.shutdown(i)
		if leads > 0 && leaving.HandOffs().Count == 0 {
			t.Errorf("%s led %d shards and handed none over", leaving.ID(), leads)
		}
		t.Logf("%s led %d shards; %+v; %d deposits meanwhile", leaving.ID(), leads, leaving.HandOffs(), load.done.Load()-before)
		c.start(i)
		c.ready()
	}
	load.stop()
	b.check(c.context(), "in the end", c.senders()...)
}

// A fourth node joins a group that is loaded. It gets copies and leads its share, and no request fails.
func TestFourthNodeGetsItsShare(t *testing.T) {
	c := newCluster(t, 3, entity.Types(accounts)...)
	c.start()
	c.ready()
	b := &bank{t: t}
	load := newCrowd(t.Context(), b, 4, c.nodes...)
	i := c.add()
	c.start(i)
	ctx, tick := c.context(), time.NewTicker(10*time.Millisecond)
	defer tick.Stop()
	for leads, holds := 0, 0; leads < 2 || holds < 8; leads, holds = led(c.nodes[0], "n4") {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("n4 leads %d shards and holds %d copies", leads, holds)
		}
	}
	load.stop()
	leads, holds := led(c.nodes[0], "n4")
	t.Logf("n4 leads %d shards and holds %d copies of 16 and 48", leads, holds)
	for _, n := range c.nodes {
		t.Logf("%s: %+v", n.ID(), n.HandOffs())
	}
	b.check(c.context(), "in the end", c.senders()...)
}

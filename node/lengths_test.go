package node_test

import (
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"muster/entity"
	"muster/node"
	"muster/shard"
)

// A node comes back with four times the lease of the others, one of which leads, and is cut off. It serves its volatile entities and answers
// reads for longer than the leader's own lease; nobody else does before it has ceased to. So no ask that it answers begins when
// another node has answered one already.
func TestLeasesOfDifferentLength(t *testing.T) {
	const short, long = time.Second, 4 * time.Second
	c := newCluster(t, 3, entity.Types(accounts, visits)...)
	for i := range c.configs {
		c.configs[i].Tuning.Times.Lease = short
	}
	net := c.network()
	c.start()
	c.ready()
	leader := slices.IndexFunc(c.configs, func(cfg node.Config) bool { return cfg.ID == c.nodes[0].Inspect().Leader })
	lonely := (leader + 1) % len(c.nodes)
	c.shutdown(lonely)
	c.configs[lonely].Tuning.Times.Lease = long
	c.start(lonely)
	c.ready()
	c.comes("its lease is its own", func() bool { return node.LeaseLeft(c.nodes[lonely]) > long*3/4 })
	page, account := c.served("visit", lonely), c.served("account", lonely)
	if _, err := Deposit.Ask(c.context(), c.nodes[lonely], account, Amount{1}); err != nil {
		t.Fatal(err)
	}

	net.isolate(lonely, true)
	cut := time.Now()
	other := c.nodes[(lonely+1)%len(c.nodes)]
	visited := c.first(func() error { _, err := Visit.Ask(quick(t), other, page, struct{}{}); return err })
	deposited := c.first(func() error { _, err := Deposit.Ask(quick(t), other, account, Amount{1}); return err })
	var served, read time.Duration
	c.comes("others serve, and it does not", func() bool {
		began, after, stale := time.Now(), visited.Load(), deposited.Load()
		_, visit := Visit.Ask(quick(t), c.nodes[lonely], page, struct{}{})
		if visit == nil {
			served = began.Sub(cut)
		}
		if visit == nil && after {
			t.Errorf("%s after the cut it serves a volatile entity that another node serves", served)
		}
		began = time.Now()
		seen, look := Look.Ask(quick(t), c.nodes[lonely], account, struct{}{})
		if look == nil {
			read = began.Sub(cut)
		}
		if look == nil && stale && seen.Amount < 2 {
			t.Errorf("%s after the cut it reads a balance of %d, and another node has confirmed 2", read, seen.Amount)
		}
		return t.Failed() || after && stale && visit != nil && look != nil
	})
	if !t.Failed() && (served < 2*short || read < 2*short) {
		t.Errorf("it served for %s and read for %s: that shows nothing about its lease of %s", served, read, long)
	}
	t.Logf("it served for %s and read for %s after the cut", served, read)
}

// first asks until it is answered, on the side, and says when it was.
func (c *cluster) first(ask func() error) *atomic.Bool {
	answered, end := new(atomic.Bool), make(chan struct{})
	go func() {
		defer close(end)
		for c.t.Context().Err() == nil && ask() != nil {
			<-time.After(5 * time.Millisecond)
		}
		answered.Store(true)
	}()
	c.t.Cleanup(func() { <-end })
	return answered
}

// served waits until the node serves an entity of the type, and names it.
func (c *cluster) served(name shard.TypeName, by int) (found entity.ID) {
	c.t.Helper()
	c.comes(fmt.Sprintf("%s serves one of type %s", c.configs[by].ID, name), func() bool {
		v := c.nodes[by].View()
		for i := range 50 {
			id := entity.ID(fmt.Sprintf("%s-%d", name, i))
			s, _ := v.Locate(name, id)
			if p := v.Placement(s); p != nil && p.Status == shard.Active && p.Node == c.configs[by].ID {
				found = id
				return true
			}
		}
		return false
	})
	return found
}

// comes waits until something is so.
func (c *cluster) comes(what string, so func() bool) {
	c.t.Helper()
	for deadline := time.Now().Add(patience); !so(); <-time.After(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			c.t.Fatalf("not within %s: %s", patience, what)
		}
	}
}

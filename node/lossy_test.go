package node_test

import (
	"path/filepath"
	"testing"
	"time"

	"muster/client"
	"muster/entity"
	"muster/journal"
	"muster/shard"
)

// readings are confirmed by one disk, and do without it when that stays away for 2 s.
var readings = entity.Define[Account]("reading", entity.Shards(1), entity.Role("data"), entity.Replicate(1, 0, 5*time.Second), entity.LossyFailover(2*time.Second))

var noted = entity.On(readings, "noted", func(a *Account, e Deposited) { a.Balance += e.Amount })

var Note = entity.Handle(readings, "note", func(c *entity.Context[Account], a Amount) (Amount, error) {
	noted.Record(c, Deposited{a.Amount})
	return Amount{c.State().Balance}, nil
})

var Sum = entity.Handle(readings, "sum", func(c *entity.Context[Account], _ struct{}) (Amount, error) {
	return Amount{c.State().Balance}, nil
})

// inspect returns what a node holds, by copy.
func (c *cluster) inspect(i int) map[shard.CopyID]client.Hosted {
	c.t.Helper()
	cl, err := client.Open(c.context(), client.Config{Addrs: []string{c.configs[i].Addr}})
	if err != nil {
		c.t.Fatal(err)
	}
	defer cl.Close()
	s, err := cl.Inspect(c.context())
	if err != nil {
		c.t.Fatal(err)
	}
	held := map[shard.CopyID]client.Hosted{}
	for _, h := range s.Hosted {
		held[h.Copy] = h
	}
	return held
}

// A lossyGroup is a voter and two nodes that hold a shard of readings, one of which leads it.
type lossyGroup struct {
	*cluster
	network      *network
	old, replica int // nodes
	led, other   shard.Copy
}

var reading = shard.ID{Type: "reading"}

func newLossyGroup(t *testing.T) *lossyGroup {
	g := &lossyGroup{cluster: newCluster(t, 3, entity.Types(readings)...), old: 1, replica: 2}
	for i := range g.configs {
		g.configs[i].Voters, g.configs[i].Seeds = 1, g.configs[0].Seeds[:1]
		if i > 0 {
			g.configs[i].Roles = []string{"data"}
		}
	}
	g.network = g.cluster.network()
	g.start()
	g.ready()
	p := g.await(reading, "two copies", func(p *shard.Placement) bool { return p.Status == shard.Active && len(p.Copies) == 2 })
	if p.Node == g.configs[2].ID {
		g.old, g.replica = 2, 1
	}
	g.led, _ = p.CopyOn(directory(g.cluster, g.old))
	g.other, _ = p.CopyOn(directory(g.cluster, g.replica))
	return g
}

// taken waits until the replica leads, without the old primary.
func (g *lossyGroup) taken() *shard.Placement {
	g.t.Helper()
	p := g.await(reading, "the replica serves", func(p *shard.Placement) bool { return p.Status == shard.Active && p.Primary == g.other.ID })
	if _, kept := p.KeptAside(g.led.ID); !kept {
		g.t.Errorf("copy %d is not kept aside: %+v", g.led.ID, p.Aside)
	}
	return p
}

// The primary confirms records that its replica has not got, and dies. Nobody is asked: when the time that the type gives it is
// over, the replica goes on with what it has, and history says from where and without whom. The old primary comes back with
// confirmed records that the shard goes on without; they stay whole in its journal, beside its new copy.
func TestLossyFailover(t *testing.T) {
	c := newLossyGroup(t)
	old, replica, led, other := c.old, c.replica, c.led, c.other
	note := func(want int64) {
		t.Helper()
		if got, err := Note.Ask(c.context(), c.nodes[0], "m", Amount{1}); err != nil || got.Amount != want {
			t.Fatalf("note: %+v, %v; want %d", got, err, want)
		}
	}
	note(1)
	for began := time.Now(); c.inspect(replica)[other.ID].Durable < c.inspect(old)[led.ID].Last; <-time.After(20 * time.Millisecond) {
		if time.Since(began) > patience {
			t.Fatalf("the replica has %+v", c.inspect(replica))
		}
	}
	c.kill(replica)
	note(2)
	note(3)
	c.kill(old)
	c.start(replica)
	c.taken()
	note(2) // the second and third are given up
	base := c.givenUp(reading, led.ID)
	c.start(old)
	c.await(reading, "the old primary's node has a new copy", func(p *shard.Placement) bool { return len(p.Copies) == 2 })
	if have := c.inspect(old); have[led.ID].Role != "aside" {
		t.Errorf("the old primary's node holds %+v", have)
	}
	if got, err := Sum.Ask(c.context(), c.nodes[old], "m", struct{}{}); err != nil || got.Amount != 2 {
		t.Errorf("after all: %+v, %v", got, err)
	}
	c.shutdown(old)
	if tail := c.commandsBehind(old, led.ID, base); tail != 2 {
		t.Errorf("%d commands behind %s are kept aside; want 2", tail, base)
	}
}

// The primary is cut off from its replica and from the coordinator, and its own callers reach it. It needs nobody to confirm, so
// nothing but its clock stops it: by the time that the replica serves without it, it confirms no record and answers no read. When
// the network is whole again it gives way, and what it had confirmed alone is kept aside.
func TestLossyPrimaryCutOff(t *testing.T) {
	g := newLossyGroup(t)
	owner := g.nodes[g.old]
	cut := make(chan struct{})
	confirmed := make(chan int)
	go func() { // asks until the replica serves, and then for a second
		n := 0
		for open := true; open; {
			if _, err := Note.Ask(quick(t), owner, "m", Amount{1}); err == nil {
				n++
			}
			select {
			case <-cut:
				open = false
			default:
			}
		}
		confirmed <- n
	}()
	g.network.isolate(g.old, true)
	p := g.taken()
	for range 5 {
		if got, err := Sum.Ask(quick(t), owner, "m", struct{}{}); err == nil {
			t.Errorf("the old primary answers a read with %d in epoch %d", got.Amount, p.Epoch)
		}
		if _, err := Note.Ask(quick(t), owner, "m", Amount{1}); err == nil {
			t.Errorf("the old primary confirms in epoch %d", p.Epoch)
		}
	}
	close(cut)
	if n := <-confirmed; n == 0 {
		t.Error("the old primary confirmed nothing at all: this shows nothing")
	}
	if _, err := Note.Ask(g.context(), g.nodes[g.replica], "m", Amount{1}); err != nil {
		t.Errorf("the new primary: %v", err)
	}
	g.network.isolate(g.old, false)
	g.await(reading, "the old primary's node has a new copy", func(p *shard.Placement) bool { return len(p.Copies) == 2 })
	here, err := Sum.Ask(g.context(), g.nodes[g.old], "m", struct{}{})
	there, other := Sum.Ask(g.context(), g.nodes[g.replica], "m", struct{}{})
	if err != nil || other != nil || here != there {
		t.Errorf("one node reads %+v, %v, the other %+v, %v", here, err, there, other)
	}
}

// commandsBehind counts what the journal of a node that is down has of a copy behind a position.
func (c *cluster) commandsBehind(i int, copy shard.CopyID, base shard.Position) (n int) {
	c.t.Helper()
	j, err := journal.Open(filepath.Join(c.configs[i].Dir, "journal.db"), journal.Options{ReadOnly: true})
	if err != nil {
		c.t.Fatal(err)
	}
	defer j.Close()
	err = j.Each(copy, func(e journal.Entry) error {
		if e.Kind == "command" && e.LSN > base.LSN {
			n++
		}
		return nil
	})
	if err != nil {
		c.t.Fatal(err)
	}
	return n
}

// givenUp returns where the log ended with which the shard went on without the copy.
func (c *cluster) givenUp(id shard.ID, copy shard.CopyID) shard.Position {
	c.t.Helper()
	cl, err := client.Open(c.context(), client.Config{Addrs: []string{c.configs[0].Addr}})
	if err != nil {
		c.t.Fatal(err)
	}
	defer cl.Close()
	changes, err := cl.History(c.context(), id)
	if err != nil {
		c.t.Fatal(err)
	}
	for _, one := range changes {
		if one.Cause == shard.CauseLossy && len(one.GivenUp) == 1 && one.GivenUp[0].Copy == copy {
			return one.Base
		}
	}
	c.t.Fatalf("the history does not tell: %+v", changes)
	return shard.Position{}
}

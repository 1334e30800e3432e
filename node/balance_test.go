package node_test

import (
	"testing"
	"time"

	"muster/coordinator/plan"
	"muster/entity"
	"muster/shard"
)

// stores have as many shards as five nodes can share evenly, with three copies each.
var stores = entity.Define[int]("store", entity.Shards(40), entity.Replicate(2, 1, 5*time.Second))

var stocked = entity.On(stores, "stocked", func(n *int, by int) { *n += by })

var Stock = entity.Handle(stores, "stock", func(c *entity.Context[int], by int) (int, error) {
	stocked.Record(c, by)
	return c.State(), nil
})

// newestCopy is how many copies have been made in all: ids come from a counter.
func newestCopy(v *shard.View) (newest shard.CopyID) {
	for _, t := range v.Types {
		for _, p := range t.Placements {
			for _, c := range p.Copies {
				newest = max(newest, c.ID)
			}
			for _, l := range p.Learners {
				newest = max(newest, l.Copy.ID)
			}
		}
	}
	return newest
}

// settled reports whether nothing is under way and nothing is to be done.
func settled(v *shard.View) bool {
	for _, t := range v.Types {
		for _, p := range t.Placements {
			if p.Status != shard.Active || len(p.Learners) > 0 || p.Wished() || len(p.Copies) != t.Spec.Replicas+1 {
				return false
			}
		}
	}
	return !v.Paused && len(plan.Balance(v)) == 0
}

// idle fails when a settled group makes copies all the same, or does not come to rest. Leads may be exchanged for a while, for load: nodes
// tell what their shards are asked every 5 s, and where things are slow the leader knows it before the group has settled.
func (c *cluster) idle(when string) {
	c.t.Helper()
	epochs := func(v *shard.View) (sum shard.Epoch) {
		for _, p := range v.Types["store"].Placements {
			sum += p.Epoch
		}
		return sum
	}
	before, was, deadline := newestCopy(c.nodes[0].View()), epochs(c.nodes[0].View()), time.Now().Add(patience)
	for still := 0; still < 20; still++ {
		<-time.After(50 * time.Millisecond)
		now := c.nodes[0].View()
		if newestCopy(now) != before {
			c.t.Fatalf("%s: it goes on making copies", when)
		}
		if sum := epochs(now); sum != was {
			was, still = sum, -1
		}
		if time.Now().After(deadline) {
			c.t.Fatalf("%s: it goes on moving", when)
		}
	}
}

// shares counts copies and primaries by node.
func shares(v *shard.View) (copies, leads map[shard.NodeID]int) {
	copies, leads = map[shard.NodeID]int{}, map[shard.NodeID]int{}
	for _, p := range v.Types["store"].Placements {
		leads[p.Node]++
		for _, c := range p.Copies {
			copies[c.Node]++
		}
	}
	return copies, leads
}

// A group of three under load gets a fourth and a fifth node, and gives them their shares with as few moves as it takes; one is
// drained and leaves; one dies for longer than it is waited for, so that what it had is made elsewhere, and comes back. No
// request fails through the nodes that stay, nothing is lost or done twice, and after each the group is at rest.
func TestGrowAndShrink(t *testing.T) {
	c := newCluster(t, 3, entity.Types(stores)...)
	for i := range c.configs {
		c.configs[i].Tuning.Times.Rebuild, c.configs[i].Tuning.Times.Cooldown = time.Second, 200*time.Millisecond
	}
	c.start()
	c.ready()
	load := newPayers(t, 6, Stock.Ask, c.nodes...)
	first := newestCopy(c.nodes[0].View())
	if err := c.nodes[0].PauseBalance(c.context(), true, 0); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		c.start(c.add())
	}
	if err := c.nodes[0].PauseBalance(c.context(), false, 0); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	grown := c.until("the new nodes have their shares", func(v *shard.View) bool { return v.Up("n4") && v.Up("n5") && settled(v) })
	copies, leads := shares(grown)
	made := newestCopy(grown) - first
	t.Logf("grown after %s, %d copies made: %v, leads %v", time.Since(began).Round(time.Millisecond), made, copies, leads)
	if made < 48 || made > 50 { // 24 for each; 1.05 × 48 is 50.4
		t.Errorf("%d copies made where 48 are needed", made)
	}
	for id, n := range leads {
		if len(leads) != 5 || float64(n) > 1.1*40/5 {
			t.Errorf("%s leads %d of 40", id, n)
		}
	}
	c.idle("after growing")

	if err := c.nodes[0].Drain(c.context(), "n5", true); err != nil {
		t.Fatal(err)
	}
	c.until("n5 is empty", empty("n5"))
	c.shutdown(4)
	c.until("drained", settled)
	c.idle("after n5 left")

	c.kill(3)
	c.until("what n4 had is made elsewhere", func(v *shard.View) bool { return !v.Up("n4") && empty("n4")(v) && settled(v) })
	c.start(3)
	again := c.until("n4 has its share again", func(v *shard.View) bool { return v.Up("n4") && settled(v) })
	copies, leads = shares(again)
	if copies["n4"] != 30 || leads["n4"] != 10 {
		t.Errorf("shares %v, leads %v", copies, leads)
	}
	c.idle("after n4 came back")
	t.Logf("%d entries meanwhile", load.end())
}

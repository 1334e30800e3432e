package chaos_test

import (
	"syscall"
	"testing"
	"time"

	"muster/internal/chaos"
	"muster/shard"
)

// away is how soon shards must be served again that a node keeps which can be heard by some and not by others. A primary that is
// cut off from its replicas has to notice it first: after ack_timeout it asks for another.
const (
	away  = 15 * time.Second
	apart = 5 * time.Second // how long a node is cut off at least: more than two leases
)

// partitions are ways to cut a node off. It is a voter that does not lead; leader does.
var partitions = []struct {
	name string
	cuts func(node, leader *chaos.Process, others []string) []chaos.Cut
}{
	{"from its replicas, not from the coordinator", func(n, _ *chaos.Process, others []string) []chaos.Cut {
		return chaos.Apart(n.ID, others...)
	}},
	{"from the coordinator, not from its clients", func(n, l *chaos.Process, others []string) []chaos.Cut {
		return chaos.Apart(n.ID, append(others, l.ID, "driver")...)
	}},
	{"from the leader alone", func(n, l *chaos.Process, _ []string) []chaos.Cut {
		return chaos.Apart(n.ID, l.ID)
	}},
	{"so that nobody hears it", func(n, _ *chaos.Process, _ []string) []chaos.Cut {
		return []chaos.Cut{{From: n.ID}}
	}},
	{"so that it hears nobody", func(n, _ *chaos.Process, _ []string) []chaos.Cut {
		return []chaos.Cut{{To: n.ID}}
	}},
	{"except for Raft", func(n, _ *chaos.Process, _ []string) []chaos.Cut {
		return []chaos.Cut{{From: n.ID, Only: chaos.Calls}, {To: n.ID, Only: chaos.Calls}}
	}},
}

// A node that leads shards is cut off in one way after the other, while clients enter and others read through each node over
// connections that are not cut. Its shards are served by others, no read is stale, and what was confirmed in any epoch is there.
func TestPartitions(t *testing.T) {
	g := formOn(t, chaos.Layout{Nodes: 5, Voters: 3})
	g.underLoad(chaos.Plan{}, func() {
		g.look(g.nodes...)
		for range *rounds {
			for _, i := range g.some(3, len(partitions)) {
				g.partition(partitions[i].name, partitions[i].cuts)
			}
		}
	})
}

func (g *group) partition(name string, cuts func(node, leader *chaos.Process, others []string) []chaos.Cut) {
	g.t.Helper()
	node, leader := g.owner(3), g.leader()
	var others []string
	for _, p := range g.nodes {
		if p != node && p != leader {
			others = append(others, p.ID)
		}
	}
	led, held, cut := g.leads(node), g.network.Held(), time.Now()
	g.network.Cut(cuts(node, leader, others)...)
	lasting(apart)
	g.serves(away-apart, node.ID+" is cut off "+name, time.Now())
	outage, _ := g.load.Outage(cut, cut)
	if g.network.Held() == held {
		g.t.Errorf("invalid run: nothing was held back when %s was cut off %s", node.ID, name)
	}
	left := g.leads(node)
	g.network.Cut()
	healed := time.Now()
	back := g.serves(away, "after "+node.ID+" was cut off "+name, healed)
	g.eventually(60*time.Second, "every shard has its copies again", g.whole)
	g.t.Logf("%s, with %d shards, was cut off %s: longest outage of a shard %s, after healing %s; it kept %d; all copies back after %s; %d reads through it",
		node.ID, led, name, outage.Round(time.Millisecond), back, left, time.Since(healed).Round(time.Millisecond), g.load.Seen(node.ID, cut))
}

// The Raft leader, which leads shards too, is cut off from everyone, or loses its calls alone, so that it stays leader as far as
// Raft can tell.
func TestLeaderApart(t *testing.T) {
	long(t)
	g := formOn(t, chaos.Layout{Nodes: 5, Voters: 3})
	ways := []struct {
		name string
		only chaos.Traffic
	}{{"altogether", 0}, {"except for Raft", chaos.Calls}}
	g.underLoad(chaos.Plan{}, func() {
		g.look(g.nodes...)
		for range *rounds {
			for _, i := range g.some(1, len(ways)) {
				g.behead(ways[i].name, ways[i].only)
			}
		}
	})
}

func (g *group) behead(name string, only chaos.Traffic) {
	g.t.Helper()
	leader, held, cut := g.leader(), g.network.Held(), time.Now()
	g.network.Cut(chaos.Cut{From: leader.ID, Only: only}, chaos.Cut{To: leader.ID, Only: only})
	lasting(apart)
	g.serves(away-apart, "the leader "+leader.ID+" is cut off "+name, time.Now())
	outage, _ := g.load.Outage(cut, cut)
	if g.network.Held() == held {
		g.t.Errorf("invalid run: nothing was held back")
	}
	g.network.Cut()
	back := g.serves(away, "after healing", time.Now())
	g.eventually(60*time.Second, "every shard has its copies again", g.whole)
	g.t.Logf("%s, the leader, was cut off %s: longest outage of a shard %s, after healing %s", leader.ID, name, outage.Round(time.Millisecond), back)
}

// A process that leads shards is stopped for half a lease, two and ten, and goes on with everything in its sockets that was sent
// to it meanwhile. Half a lease is nothing; after longer ones others serve its shards, and none of the reads that waited in it
// is stale.
func TestStopped(t *testing.T) {
	long(t)
	const lease = time.Second
	g := form(t, chaos.Layout{Nodes: 3, Lease: lease})
	g.underLoad(chaos.Plan{}, func() {
		g.look(g.nodes...)
		for round := range *rounds {
			for _, stop := range []time.Duration{lease / 2, 2 * lease, 10 * lease} {
				g.pause(g.victim(round), stop, lease)
			}
		}
	})
}

func (g *group) pause(p *chaos.Process, stop, lease time.Duration) {
	g.t.Helper()
	epochs := g.epochs(p)
	g.must(p.Freeze())
	stopped := time.Now()
	outage := time.Duration(0)
	if stop > lease {
		outage = g.serves(serving+stop, p.ID+" is stopped", stopped)
	}
	lasting(stop - time.Since(stopped))
	if state := processState(p); state != "T" {
		g.t.Errorf("invalid run: %s is in state %s and not stopped", p.ID, state)
	}
	g.must(p.Signal(syscall.SIGCONT))
	g.serves(serving, p.ID+" goes on", time.Now())
	if stop > lease {
		g.eventually(60*time.Second, "every shard has its copies again", g.whole)
	}
	moved := 0
	for id, epoch := range epochs {
		if g.driver.View().Placement(id).Epoch > epoch {
			moved++
		}
	}
	if stop > 2*lease && moved < len(epochs) {
		g.t.Errorf("%d of %d shards were taken from %s, which was stopped for %s", moved, len(epochs), p.ID, stop)
	}
	g.t.Logf("%s, with %d shards, was stopped for %s: %d got another epoch, longest outage %s; %d reads through it since",
		p.ID, len(epochs), stop, moved, outage, g.load.Seen(p.ID, stopped))
}

// epochs are those of the shards that a process leads.
func (g *group) epochs(p *chaos.Process) map[shard.ID]shard.Epoch {
	all := map[shard.ID]shard.Epoch{}
	for _, s := range g.placements() {
		if s.Node == shard.NodeID(p.ID) {
			all[s.Shard] = s.Epoch
		}
	}
	return all
}

package coordinator_test

import (
	"fmt"
	"testing"
	"time"

	"muster/coordinator"
	"muster/fsm"
	"muster/shard"
)

// Each voter says with its renewals which entries it reads, so that the leader writes none that would stop one of an earlier build.
// A voter that has not said anything, or is down, reads none of the newer ones. What all read comes into force, for good.
func TestVotersSayWhatTheyRead(t *testing.T) {
	g := newGroup(t, 3)
	g.startAll()
	all := func() error { // by whoever leads now: the lead may be lost on a busy machine
		if reads := coordinator.Reads(g.leader().Coordinator); reads != fsm.Version {
			return fmt.Errorf("version %d", reads)
		}
		return nil
	}
	g.eventually("all have said so", all)
	g.eventually("the rules are in force", func() error {
		if v := coordinator.GroupVersion(g.leader().Coordinator); v != fsm.Version {
			return fmt.Errorf("version %d", v)
		}
		return nil
	})
	l := g.leader()
	for _, n := range g.nodes {
		if n == l {
			continue
		}
		session := n.Session()
		n.kill()
		coordinator.Forget(l.Coordinator, session)
		if reads := coordinator.Reads(l.Coordinator); l.View().Up(n.id) && reads != 0 {
			t.Errorf("a voter that said nothing counts for version %d", reads)
		}
		g.eventually("one that is down may read nothing", func() error {
			if reads := coordinator.Reads(g.leader().Coordinator); reads != 0 {
				return fmt.Errorf("version %d", reads)
			}
			return nil
		})
		if err := n.start(nil); err != nil {
			t.Fatal(err)
		}
		g.eventually("all have said so again", all)
		break
	}
}

// Each node of a new group says how long it acts by itself, and so does one that joins and one that comes back with other lengths: every
// voter has all of them.
func TestVotersKnowWhatEachActsOn(t *testing.T) {
	g := newGroup(t, 3)
	of := func(id shard.NodeID) fsm.Lengths { // of whole seconds by the node's number
		n := time.Duration(id[1] - '0')
		return fsm.Lengths{Lease: n * time.Second, Autonomy: n * time.Minute}
	}
	g.change = func(c *coordinator.Config) { c.Times.Lease, c.Times.Autonomy = of(c.Node).Lease, of(c.Node).Autonomy }
	g.startAll()
	if err := g.add("n4").start(g.change); err != nil {
		t.Fatal(err)
	}
	known := func() error {
		for _, on := range []shard.NodeID{"n1", "n2", "n3"} {
			for id, n := range g.nodes {
				if l, said := coordinator.Said(g.nodes[on].Coordinator, n.Session()); !said || l != of(id) {
					return fmt.Errorf("%s knows of %s: %+v", on, id, l)
				}
			}
		}
		return nil
	}
	g.eventually("every voter knows the lengths of all", known)
	before := of
	of = func(id shard.NodeID) fsm.Lengths {
		if id == "n2" {
			return fsm.Lengths{Lease: 9 * time.Second, Autonomy: time.Second}
		}
		return before(id)
	}
	g.nodes["n2"].stop()
	if err := g.nodes["n2"].start(g.change); err != nil {
		t.Fatal(err)
	}
	n2 := g.nodes["n2"]
	if l, said := coordinator.Said(g.leader().Coordinator, n2.Session()); !said || l != of("n2") {
		t.Errorf("the leader registered n2 and knows of its session: %+v", l)
	}
	g.eventually("every voter knows the new lengths too", known)
}

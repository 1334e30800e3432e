package coordinator_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"muster/client"
	"muster/coordinator"
	"muster/shard"
	"muster/transport"
	"muster/transport/wire"
)

// Many calls that wait in barriers through one node do not hold up its renewals.
func TestManyPartiesDoNotEndTheSession(t *testing.T) {
	g := newGroup(t, 3)
	g.startAll()
	lead := g.leader()
	var n *node
	for _, other := range g.nodes {
		if other != lead {
			n = other
		}
	}
	before, began := n.Session(), n.LeaseUntil()
	var all []*party
	for i := range 300 {
		all = append(all, n.arrive(patience, "crowd", 1000, fmt.Sprint("p", i)))
	}
	g.waiting("crowd", 300)
	g.eventually("the lease is renewed for some time", func() error {
		if until := n.LeaseUntil(); until < began+3*time.Second && n.Session() == before {
			return fmt.Errorf("it runs to %s, and ran to %s", until, began)
		}
		return nil
	})
	if now := n.Session(); now != before {
		t.Errorf("session %d is over, now it is %d", before, now)
	}
	n.kill() // which ends them
	for _, p := range all {
		<-p.done
	}
}

// Whoever is told of a release was in it: an arrival that is in the next round is not told of the one before.
func TestReleaseOfAnotherGeneration(t *testing.T) {
	g := newGroup(t, 1)
	g.startAll()
	n := g.nodes["n1"]
	for round := range 20 {
		name := fmt.Sprintf("b%d", round)
		first := n.arrive(patience, name, 2, "x")
		g.waiting(name, 1)
		var second, y *party
		var both sync.WaitGroup
		both.Go(func() { y = n.arrive(patience, name, 2, "y") })
		both.Go(func() { second = n.arrive(200*time.Millisecond, name, 2, "x") })
		both.Wait()
		<-first.done
		<-y.done
		<-second.done
		found, err := n.Inspect(context.Background(), true)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range found.Barriers {
			if string(r.Name) == name && second.err == nil {
				t.Fatalf("round %d: the second call of x was told generation %d; it waits in generation %d: %+v", round, second.out.Generation, r.Generation, r.Arrived)
			}
		}
	}
}

// A call whose place another one takes, of the same session or not, ends at once and says so; and when its node asks again, as after
// a change of the leader, it hears the same and asks no more.
func TestReplacedCallEndsAtOnce(t *testing.T) {
	g := newGroup(t, 3)
	g.startAll()
	lead := g.leader()
	others := g.others(lead)
	here, there := others[0], others[1]
	for name, by := range map[string]*node{"same-session": here, "other-session": there} {
		first := here.arrive(patience, name, 2, "x")
		g.waiting(name, 1)
		asked := wire.ArriveRequest{Name: name, Parties: 2, Participant: "x", Session: uint64(here.Session()), Request: coordinator.Arrivals(here.Coordinator), TimeoutMicros: patience.Microseconds()}
		second := by.arrive(patience, name, 2, "x")
		<-first.done
		if shard.CodeOf(first.err) != shard.CodeReplaced {
			t.Errorf("%s: the first call: %v", name, first.err)
		}
		reply, err := wire.NewGroupClient(here.port.Peer(lead.addr)).Arrive(t.Context(), &asked)
		if fault := transport.ErrorOf(reply.GetFault()); err != nil || fault == nil || fault.Code != shard.CodeReplaced {
			t.Errorf("%s: asked again: %v, %v", name, reply, err)
		}
		third := here.arrive(patience, name, 2, "y")
		<-second.done
		<-third.done
		if second.err != nil || third.err != nil {
			t.Errorf("%s: those who were in: %v, %v", name, second.err, third.err)
		}
	}
}

// Of two calls under one name that come at the same time from two nodes, one takes the place of the other, and the one that is in stays.
func TestOneOfTwoCallsIsReplaced(t *testing.T) {
	g := newGroup(t, 3)
	g.startAll()
	lead := g.leader()
	others := g.others(lead)
	for round := range 40 {
		name := fmt.Sprint("b", round)
		one, two := others[0].arrive(patience, name, 2, "x"), others[1].arrive(patience, name, 2, "x")
		in, out := one, two
		select {
		case <-one.done:
			in, out = two, one
		case <-two.done:
		}
		y := lead.arrive(patience, name, 2, "y")
		<-in.done
		<-y.done
		if shard.CodeOf(out.err) != shard.CodeReplaced || in.err != nil || y.err != nil {
			t.Fatalf("round %d: %v and %v; the other party: %v", round, out.err, in.err, y.err)
		}
	}
}

// A client without a deadline waits at a barrier.
func TestClientBarrierWithoutDeadline(t *testing.T) {
	g := newGroup(t, 1)
	g.startAll()
	n := g.nodes["n1"]
	c, err := client.Connect(context.Background(), n.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	done := make(chan error, 1)
	go func() {
		_, err := c.Barrier(context.Background(), "b", 2, "c")
		done <- err
	}()
	g.waiting("b", 1)
	p := n.arrive(patience, "b", 2, "d")
	<-p.done
	if err := <-done; err != nil || p.err != nil {
		t.Error(err, p.err)
	}
}

// A client cannot arrive under the session of a node: that node's own next call would be taken for a repetition.
func TestClientArrivesAsANode(t *testing.T) {
	g := newGroup(t, 1)
	g.startAll()
	n := g.nodes["n1"]
	conn, err := transport.Dial(n.addr, transport.ClientOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	c := wire.NewGroupClient(conn)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for i := range 2 {
		wait := int64(200_000 * (1 + i))
		c.Arrive(ctx, &wire.ArriveRequest{Name: "b", Parties: 2, Participant: fmt.Sprint("other", i), Session: uint64(n.Session()), Request: uint64(i + 1), TimeoutMicros: wait})
	}
	p := n.arrive(time.Second, "b", 2, "x")
	<-p.done
	if p.err == nil {
		t.Errorf("x was alone and is released: %+v", p.out)
	}
}

// Any node answers for the whole group, so one address is enough: also that of a member without a vote.
func TestWatchThroughAMember(t *testing.T) {
	g := newGroup(t, 1)
	g.startAll()
	m := g.add("m1")
	if err := m.start(nil); err != nil {
		t.Fatal(err)
	}
	c, err := client.Connect(context.Background(), m.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for e, err := range c.Watch(ctx) {
		if err != nil {
			t.Fatalf("nothing came through %s, though State works there: %v", m.addr, err)
		}
		t.Logf("map %d", e.View.Index)
		break
	}
}

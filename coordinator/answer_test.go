package coordinator_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"muster/fsm"
	"muster/internal/boottime"
	"muster/shard"
	"muster/transport/wire"
)

// What one node sets, a linearizable question at any other node sees at once, members without a vote included.
func TestLinearizableInspect(t *testing.T) {
	g := newGroup(t, 3)
	g.startAll()
	if err := g.add("m1").start(nil); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	ids := []shard.NodeID{"n1", "n2", "n3", "m1"}
	for i := range 20 {
		setter, asker := g.nodes[ids[i%4]], g.nodes[ids[(i/4+i+1)%4]]
		if err := setter.Require(ctx, i); err != nil {
			t.Fatal(err)
		}
		if setter.Required() != i {
			t.Errorf("%s set %d and its own map says %d", setter.id, i, setter.Required())
		}
		found, err := asker.Inspect(ctx, true)
		if err != nil {
			t.Fatal(err)
		}
		if found.View.Required != i || !found.Linearizable {
			t.Errorf("%s set %d, then %s asked and saw %d", setter.id, i, asker.id, found.View.Required)
		}
	}
	local, err := g.nodes["m1"].Inspect(ctx, false)
	if err != nil || local.Node != "m1" || local.Leader == "" || local.Age > time.Second {
		t.Errorf("m1's own knowledge: %+v, %v", local, err)
	}
}

// A node whose session the group has ended opens another, and tells who listens.
func TestEndedSessionIsReplaced(t *testing.T) {
	g := newGroup(t, 3, account)
	g.startAll()
	g.everyMap("every shard is active", active("account"))
	n, old := g.nodes["n2"], g.nodes["n2"].Session()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if _, _, err := n.Propose(ctx, &fsm.Depart{Session: old}); err != nil { // nobody else may
		t.Fatal(err)
	}
	g.eventually("n2 has another session", func() error {
		if s := n.Session(); s == old || !n.View().Up("n2") {
			return fmt.Errorf("session %d", s)
		}
		return nil
	})
	g.everyMap("every shard is active again", active("account"))
}

// The lease runs ahead of now while a majority lives, and out when it does not; it comes back with the majority.
func TestLeaseNeedsAMajority(t *testing.T) {
	g := newGroup(t, 3)
	g.startAll()
	n := g.nodes["n1"]
	ahead := func() error {
		if left := n.LeaseUntil() - boottime.Now(); left <= 0 || left > quick().Lease {
			return fmt.Errorf("%s left", left)
		}
		return nil
	}
	g.eventually("n1 holds a lease", ahead)
	g.nodes["n2"].kill()
	g.nodes["n3"].kill()
	g.eventually("the lease runs out", func() error {
		if ahead() == nil {
			return fmt.Errorf("%s left", n.LeaseUntil()-boottime.Now())
		}
		return nil
	})
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	if _, err := n.Inspect(ctx, true); shard.CodeOf(err) != shard.CodeNoLeader && shard.CodeOf(err) != shard.CodeTimeout {
		t.Errorf("a linearizable question without a majority: %v", err)
	}
	g.startAll()
	g.eventually("n1 holds a lease again", ahead)
	g.everyMap("all are up", up("n1", "n2", "n3"))
}

// A watch from nothing begins with the whole map, one from the newest index with a sign of life, one from the future is
// sent elsewhere; changes come in order and without gaps.
func TestWatch(t *testing.T) {
	g := newGroup(t, 1, account)
	g.startAll()
	n := g.nodes["n1"]
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	watch := func(from shard.Index) func() *wire.WatchEvent {
		stream, err := wire.NewGroupClient(n.port.Peer(n.addr)).Watch(ctx, &wire.WatchRequest{From: uint64(from)})
		if err != nil {
			t.Fatal(err)
		}
		return func() *wire.WatchEvent {
			e, err := stream.Recv()
			if err != nil {
				t.Fatal(err)
			}
			return e
		}
	}

	next := watch(0)
	e := next()
	whole, err := fsm.DecodeDelta(e.Deltas[0])
	if err != nil || !whole.Reset || e.Leader != "n1" {
		t.Fatalf("the first event: %+v, %v", e, err)
	}
	view, err := shard.NewView().With(whole)
	if err != nil {
		t.Fatal(err)
	}
	if err := n.Require(ctx, 1); err != nil {
		t.Fatal(err)
	}
	for view.Required != 1 {
		for _, b := range next().Deltas {
			d, err := fsm.DecodeDelta(b)
			if err != nil || d.Reset {
				t.Fatalf("%+v, %v", d, err)
			}
			if view, err = view.With(d); err != nil {
				t.Fatal(err)
			}
		}
	}

	began := time.Now()
	quiet := watch(view.Index)
	quiet()
	quiet()
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("two signs of life took %s", took)
	}
	if e := watch(view.Index + 1_000_000)(); !e.Behind {
		t.Errorf("a watch from the future got %+v", e)
	}
}

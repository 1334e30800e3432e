package coordinator_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"muster/coordinator"
	"muster/fsm"
	"muster/shard"
	"muster/transport"
	"muster/transport/wire"
)

// An order given to any node is carried out by the leader, again and again without harm. The end of a maintenance and of a pause
// outlives the leader they were ordered from: the next one lifts them. What has no end stays.
func TestOrdersOutliveTheLeader(t *testing.T) {
	g := newGroup(t, 3, account)
	g.startAll()
	g.everyMap("every shard is active", active("account"))
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	old := g.leader()
	var other *node
	for id, n := range g.nodes {
		if id != old.id {
			other = n
		}
	}
	for range 2 {
		for _, o := range []coordinator.Order{
			{Kind: coordinator.Cordon, Node: other.id, On: true},
			{Kind: coordinator.Maintain, Node: other.id, On: true, For: 3 * time.Second},
			{Kind: coordinator.Pause, On: true, For: 3 * time.Second},
		} {
			if out, err := other.Administer(ctx, o); err != nil || out.Stage != coordinator.StageDone {
				t.Fatalf("%+v: %+v, %v", o, out, err)
			}
		}
	}
	g.everyMap("paused and under maintenance", func(v *shard.View) error {
		m := v.Members[other.id]
		if !v.Paused || !m.Maintenance || !m.Cordoned || m.Until == 0 || v.PausedUntil == 0 {
			return fmt.Errorf("paused until %d, %+v", v.PausedUntil, m)
		}
		return nil
	})
	g.leader().kill() // the old one, unless that lost the lead meanwhile
	g.everyMap("both are over", func(v *shard.View) error {
		m := v.Members[other.id]
		if v.Paused || m.Maintenance || !m.Cordoned || m.Until != 0 || v.PausedUntil != 0 {
			return fmt.Errorf("paused %t until %d, %+v", v.Paused, v.PausedUntil, m)
		}
		return nil
	})
}

// deposed leads no more by the time that it knows what came of an order; asked again it has carried that out, or refuses it.
type deposed struct {
	wire.UnimplementedGroupServer
	asked atomic.Int32
	then  error
}

func (d *deposed) Administer(context.Context, *wire.AdministerRequest) (*wire.AdministerReply, error) {
	if d.asked.Add(1) == 1 {
		return &wire.AdministerReply{Fault: transport.FaultOf(shard.Unknownf(shard.CodeNotLeader, "this node lost the lead before it knew"))}, nil
	}
	return &wire.AdministerReply{Stage: string(coordinator.StageDone), Fault: transport.FaultOf(d.then)}, nil
}

// An order whose leader lost the lead while the order was stored may have been carried out or not. It is repeated, as it is when the leader cannot be
// reached; but not one to give the lead to whoever is fit, which would move it twice.
func TestOrdersAreRepeatedWhenTheLeadIsLost(t *testing.T) {
	g := newGroup(t, 1)
	n := g.nodes["n1"]
	for order, times := range map[coordinator.Order]int32{
		{Kind: coordinator.Cordon, Node: "n9", On: true}: 2,
		{Kind: coordinator.Transfer, Node: "n9"}:         2,
		{Kind: coordinator.Transfer}:                     1,
	} {
		d := &deposed{}
		addr := freeAddr(t)
		serveGroup(t, "n9", addr, d)
		if err := n.open(func(c *coordinator.Config) { c.Seeds = []string{addr} }); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		_, err := n.Administer(ctx, order)
		cancel()
		if asked := d.asked.Load(); asked != times || (err == nil) != (times == 2) {
			t.Errorf("%+v was given %d times: %v", order, asked, err)
		}
		n.kill()
	}
}

// An order that may have been carried out by a leader that lost the lead is refused by the next one. Whoever gave it does not hear that it was not
// applied: the next leader knows that of its own answer alone.
func TestRefusalAfterALostLeadIsUncertain(t *testing.T) {
	g := newGroup(t, 1)
	n := g.nodes["n1"]
	d := &deposed{then: shard.Errorf(shard.CodeOverloaded, "4096 proposals wait already")}
	addr := freeAddr(t)
	serveGroup(t, "n9", addr, d)
	if err := n.open(func(c *coordinator.Config) { c.Seeds = []string{addr} }); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	_, err := n.Administer(ctx, coordinator.Order{Kind: coordinator.Cordon, Node: "n9", On: true})
	if fault := shard.As(err); fault == nil || fault.Code != shard.CodeOverloaded || fault.Outcome != shard.Unknown {
		t.Errorf("%v, want that it is overloaded and its outcome unknown", err)
	}
	if d.then.(*shard.Error).Outcome != shard.NotApplied {
		t.Error("the answer itself was changed")
	}
}

// The lead goes to the node that was named. A drain that leaves too few copies is refused, and so is what makes no sense.
func TestOrdersAreJudged(t *testing.T) {
	g := newGroup(t, 3, account)
	g.startAll()
	g.everyMap("every shard is active", active("account"))
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if _, err := g.nodes["n1"].Administer(ctx, coordinator.Order{Kind: coordinator.Transfer, Node: "n1"}); err != nil {
		t.Fatal(err)
	}
	if leader := g.leader(); leader.id != "n1" {
		t.Errorf("%s leads after a transfer to n1", leader.id)
	}
	g.nodes["n3"].kill()
	g.everyMap("n3 is down", up("n1", "n2"))
	for _, c := range []struct {
		order coordinator.Order
		want  shard.Code
	}{
		{coordinator.Order{Kind: coordinator.Drain, Node: "n2", On: true}, shard.CodeConflict},
		{coordinator.Order{Kind: coordinator.Drain, Node: "n2", On: true, Judge: true}, shard.CodeConflict},
		{coordinator.Order{Kind: coordinator.Drain, Node: "n3", On: true, Judge: true}, ""},
		{coordinator.Order{Kind: coordinator.Remove, Node: "n2"}, shard.CodeConflict},
		{coordinator.Order{Kind: coordinator.Transfer, Node: "n3"}, shard.CodeConflict},
		{coordinator.Order{Kind: coordinator.Move, Node: "n3", Shard: shard.ID{Type: "account"}}, shard.CodeConflict},
		{coordinator.Order{Kind: coordinator.Cordon, Node: "n9", On: true}, shard.CodeNotFound},
		{coordinator.Order{Kind: coordinator.Drain, Node: "n9", On: true}, shard.CodeNotFound},
		{coordinator.Order{Kind: coordinator.Remove, Node: "n9"}, shard.CodeNotFound},
		{coordinator.Order{Kind: coordinator.Transfer, Node: "n9"}, shard.CodeNotFound},
		{coordinator.Order{Kind: coordinator.Pin, Node: "n9", Shard: shard.ID{Type: "account"}}, shard.CodeNotFound},
		{coordinator.Order{Kind: coordinator.Pin, Node: "n1", Shard: shard.ID{Type: "account", Number: 99}}, shard.CodeNotFound},
		{coordinator.Order{Kind: coordinator.Move, Node: "n1", Shard: shard.ID{Type: "nothing"}}, shard.CodeUnknownType},
		{coordinator.Order{Kind: coordinator.Cordon, On: true}, shard.CodeInvalid},
		{coordinator.Order{Kind: coordinator.Cordon, Node: "n1", On: true, For: time.Hour}, shard.CodeInvalid},
		{coordinator.Order{Kind: coordinator.Pause, On: true, For: coordinator.LongestSetting + 1}, shard.CodeInvalid},
		{coordinator.Order{Kind: 99, Node: "n1"}, shard.CodeInvalid},
		{coordinator.Order{}, shard.CodeInvalid},
	} {
		if _, err := g.nodes["n2"].Administer(ctx, c.order); shard.CodeOf(err) != c.want {
			t.Errorf("%+v: %v, want %q", c.order, err, c.want)
		}
	}
	if v := g.nodes["n2"].View(); v.Members["n2"].Draining || v.Members["n3"].Draining {
		t.Error("what was refused or only judged was done")
	}
	if changes, err := g.nodes["n2"].History(ctx, shard.ID{Type: "account"}); err != nil || len(changes) < 3 {
		t.Errorf("history: %v, %v", changes, err)
	}
}

// A voter that is too slow to write down its term when it is to lead gets the lead a little later, from whoever has it by then. A leader without another voter has
// nobody to give it to.
func TestTransferToASlowVoter(t *testing.T) {
	g := newGroup(t, 3)
	g.change = hasty
	g.startAll()
	g.everyMap("all are up", up("n1", "n2", "n3"))
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	lead := g.leader()
	to := g.others(lead)[0]
	time.AfterFunc(time.Second, coordinator.HoldVotes(to.Coordinator)) // twice as long as an election may take
	if out, err := lead.Administer(ctx, coordinator.Order{Kind: coordinator.Transfer, Node: to.id}); err != nil || out.After != string(to.id) {
		t.Errorf("%+v, %v", out, err)
	}
	alone := g.add("a1")
	if err := alone.start(func(c *coordinator.Config) { c.Seeds = nil }); err != nil {
		t.Fatal(err)
	}
	if _, err := alone.Administer(ctx, coordinator.Order{Kind: coordinator.Transfer}); shard.CodeOf(err) != shard.CodeConflict {
		t.Errorf("alone: %v", err)
	}
}

// The leader dies, and an order is given at once to a node that still takes it for the leader: it is carried out by the next one.
// When there is no leader to come, the client hears that, and before its own deadline cuts the answer off.
func TestOrdersWaitForALeader(t *testing.T) {
	g := newGroup(t, 3)
	g.startAll()
	g.everyMap("all are up", up("n1", "n2", "n3"))
	leader := g.leader()
	others := g.others(leader)
	leader.kill()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cordon := coordinator.Order{Kind: coordinator.Cordon, Node: others[1].id, On: true}
	if out, err := others[0].Administer(ctx, cordon); err != nil || !others[0].View().Members[others[1].id].Cordoned && out.Stage != coordinator.StageDone {
		t.Fatalf("%+v, %v", out, err)
	}
	others[1].kill()
	g.eventually("nobody leads", func() error {
		if id, _, _ := others[0].Leader(); id != "" {
			return fmt.Errorf("%s leads", id)
		}
		return nil
	})
	conn, err := transport.Dial(others[0].addr, transport.ClientOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	soon, end := context.WithTimeout(context.Background(), 2*time.Second)
	defer end()
	reply, err := wire.NewGroupClient(conn).Administer(soon, &wire.AdministerRequest{Order: coordinator.Cordon, Node: string(others[0].id)})
	if err != nil {
		t.Fatal(err)
	}
	// The deadline may find it while it connects to one of those that are gone.
	if f := transport.ErrorOf(reply.Fault); f.Outcome != shard.NotApplied || f.Code != shard.CodeNoLeader && f.Code != shard.CodeTimeout {
		t.Errorf("%v; want %s, not applied", f, shard.CodeNoLeader)
	}
}

// Without a leader an order is not applied, and is known not to be: the nodes that are gone cannot have heard it, whether or not one of them is still
// taken for the leader. What a client proposes waits for one, at any node.
func TestOrdersWithoutALeader(t *testing.T) {
	g := newGroup(t, 3)
	g.startAll()
	g.everyMap("all are up", up("n1", "n2", "n3"))
	n1 := g.nodes["n1"]
	g.nodes["n2"].kill()
	g.nodes["n3"].kill()
	g.eventually("n1 does not lead", func() error {
		if id, _, _ := n1.Leader(); id == "n1" {
			return fmt.Errorf("it still does")
		}
		return nil
	})
	for range 2 {
		ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
		_, err := n1.Administer(ctx, coordinator.Order{Kind: coordinator.Cordon, Node: "n2", On: true})
		cancel()
		if fault := shard.As(err); fault == nil || fault.Outcome != shard.NotApplied {
			t.Errorf("%v, want not applied", err)
		}
	}
	conn, err := transport.Dial(n1.addr, transport.ClientOptions{Group: n1.View().Group})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	entry, err := fsm.Encode(&fsm.RequireQuorum{Members: 2})
	if err != nil {
		t.Fatal(err)
	}
	answered := make(chan error, 1)
	go func() {
		reply, err := wire.NewGroupClient(conn).Propose(ctx, &wire.ProposeRequest{Commands: entry})
		if err == nil && reply.Fault != nil {
			err = transport.ErrorOf(reply.Fault)
		}
		answered <- err
	}()
	if err := g.nodes["n2"].start(nil); err != nil {
		t.Fatal(err)
	}
	if err := <-answered; err != nil {
		t.Error(err)
	}
	g.eventually("it is so", func() error {
		if n := n1.Required(); n != 2 {
			return fmt.Errorf("%d are required", n)
		}
		return nil
	})
}

package chaos_test

import (
	"context"
	"syscall"
	"testing"
	"time"

	"muster/internal/chaos"
	"muster/shard"
)

// One process after the other is killed under load, the Raft leader among them, and started again. No confirmed entry may
// be missing or doubled, every shard must confirm again within five seconds, and the restarted node must catch up.
func TestKill(t *testing.T) {
	g := form(t, chaos.Layout{Nodes: 3})
	g.underLoad(chaos.Plan{}, func() {
		for round := range *rounds {
			victim := g.victim(round)
			leader := g.leader()
			g.must(victim.Kill())
			killed := time.Now()
			outage := g.serves(serving, "after the kill of "+victim.ID, killed)
			g.must(victim.Start())
			g.eventually(20*time.Second, victim.ID+" has caught up", func() bool { return g.caughtUp(victim) })
			t.Logf("round %d: killed %s (leader: %t), longest outage of a shard %s", round+1, victim.ID, victim == leader, outage)
		}
	})
}

// Everybody is killed at once and started again: every confirmed entry must be there.
func TestKillAll(t *testing.T) {
	g := form(t, chaos.Layout{Nodes: 3})
	g.underLoad(chaos.Plan{}, func() {
		for _, p := range g.nodes {
			g.must(p.Signal(syscall.SIGKILL))
		}
		for _, p := range g.nodes {
			g.must(p.Await())
		}
		killed := time.Now()
		for _, p := range g.nodes {
			g.must(p.Start())
		}
		g.serves(15*time.Second, "after all were killed", killed)
	})
}

// With both replicas stopped and min_acks=1 a caller must hear that the outcome is unknown after ack_timeout, never ok. When they
// go on, so does everybody else.
func TestStoppedReplicas(t *testing.T) {
	g := form(t, chaos.Layout{Nodes: 3})
	const id = shard.EntityID("stopped")
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	began := time.Now()
	if _, err := chaos.EnterBook.Ask(ctx, g.driver, id, chaos.Enter{ID: "before"}); err != nil {
		t.Fatal(err)
	}
	if prompt := time.Since(began); prompt > time.Second {
		t.Errorf("with prompt replicas the answer took %s", prompt)
	}
	state, err := g.driver.State(ctx)
	g.must(err)
	where, _ := state.View.Locate("book", id)
	owner := state.View.Placement(where).Node
	for _, p := range g.nodes {
		if shard.NodeID(p.ID) != owner {
			g.must(p.Freeze())
		}
	}
	began = time.Now()
	place, err := chaos.EnterBook.Ask(ctx, g.driver, id, chaos.Enter{ID: "alone"})
	if fault := shard.As(err); fault == nil || fault.Outcome != shard.Unknown || fault.Code != shard.CodeUnconfirmed {
		t.Errorf("after %s: place %d, error %v; want outcome unknown", time.Since(began), place, err)
	}
	for _, p := range g.nodes {
		g.must(p.Signal(syscall.SIGCONT))
	}
	g.eventually(15*time.Second, "every shard serves", g.allServe)
	// The leader, which may have been stopped, still has to find that no session was renewed meanwhile: a read may be under way when it ends them.
	var ids []string
	within(15*time.Second, func() bool {
		ids, err = chaos.ReadBook.Ask(ctx, g.driver, id, chaos.Read{})
		return err == nil
	})
	if err != nil || len(ids) == 0 || ids[0] != "before" || len(ids) > 2 {
		t.Errorf("the book holds %q, %v", ids, err)
	}
}

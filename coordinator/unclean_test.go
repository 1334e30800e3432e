package coordinator_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"muster/coordinator"
	"muster/shard"
	"muster/transport/wire"
)

// A shard goes on with its last copy, and that is gone before it was elected. The order may come again as often as it likes: the shard
// waits, and the answer says for whom. A new order has to name the epoch that was looked at, and to accept what is left, which is nothing.
func TestRecoverDoesOneThing(t *testing.T) {
	g := newGroup(t, 1, shard.Spec{Name: "account", Shards: 1, Replicas: 1, AckTimeout: time.Second})
	start := func(n *node) {
		if err := n.start(func(cfg *coordinator.Config) {
			cfg.Times.Autonomy = 100 * time.Millisecond
			if cfg.Node == "n1" {
				cfg.Hosts = nil // it votes, and holds nothing
			}
		}); err != nil {
			t.Fatal(err)
		}
	}
	start(g.nodes["n1"])
	start(g.add("n2"))
	start(g.add("n3"))
	g.everyMap("it is served", active("account"))
	id := shard.ID{Type: "account"}
	first, last := g.nodes["n2"], g.nodes["n3"]
	if g.nodes["n1"].View().Placement(id).Node == last.id {
		first, last = last, first
	}
	first.kill()
	seen := g.evidence(id, func(e *wire.Evidence) bool { return e.Chosen != 0 && e.Reason == "" && e.QuietMicros == 0 })
	word := coordinator.Order{Kind: coordinator.Recover, Shard: id, On: true, Epoch: shard.Epoch(seen.Epoch), Copy: shard.CopyID(seen.Chosen)}
	last.copies.deafen()
	g.conflicting(map[string]coordinator.Order{
		"an older epoch": {Kind: coordinator.Recover, Shard: id, On: true, Epoch: word.Epoch - 1, Copy: word.Copy},
		"another copy":   {Kind: coordinator.Recover, Shard: id, On: true, Epoch: word.Epoch, Copy: word.Copy + 1},
		"nothing":        {Kind: coordinator.Recover, Shard: id, On: true, Epoch: word.Epoch},
	})
	if out, err := g.order(word); err != nil || out.Stage != coordinator.StageWaiting || out.Notes[0] != "it goes on, and is between two primaries" {
		t.Fatalf("%+v, %v", out, err)
	}
	last.kill()
	start(g.add("n4")) // where it could begin with nothing
	left := g.evidence(id, func(e *wire.Evidence) bool { return len(e.Anew) > 0 && e.QuietMicros == 0 })
	for range 3 {
		if out, err := g.order(word); err != nil || out.Stage != coordinator.StageWaiting || !strings.HasPrefix(out.Notes[0], fmt.Sprintf("it goes on with what %s has, and waits for that", last.id)) {
			t.Fatalf("the same again: %+v, %v", out, err)
		}
	}
	if p := g.nodes["n1"].View().Placement(id); uint64(p.Epoch) != left.Epoch || len(p.Copies) != 1 || p.Copies[0].ID != word.Copy || p.Emptied != 0 {
		t.Fatalf("it is %+v", p)
	}
	g.conflicting(map[string]coordinator.Order{
		"the copy that was given up": {Kind: coordinator.Recover, Shard: id, On: true, Epoch: word.Epoch, Copy: g.nodes["n1"].View().Placement(id).Aside[0].Copy.ID},
		"nothing, then":              {Kind: coordinator.Recover, Shard: id, On: true, Epoch: word.Epoch},
		"nothing that was offered":   {Kind: coordinator.Recover, Shard: id, On: true, Epoch: shard.Epoch(left.Epoch), Judge: true},
	})
	word.Epoch, word.Copy = shard.Epoch(left.Epoch), 0
	g.eventually("it is served by n4", func() error { return g.done(word) })
	if p := g.nodes["n1"].View().Placement(id); p.Node != "n4" || p.Emptied != word.Epoch+1 || len(p.Aside) != 2 {
		t.Errorf("it is %+v", p)
	}
}

// conflicting gives orders to recover by which nothing may be done.
func (g *group) conflicting(orders map[string]coordinator.Order) {
	g.t.Helper()
	for what, o := range orders {
		if out, err := g.order(o); shard.CodeOf(err) != shard.CodeConflict || !strings.Contains(err.Error(), "look at the evidence again") {
			g.t.Errorf("an order that accepted %s: %+v, %v", what, out, err)
		}
	}
}

// done gives an order, and fails while it is not done.
func (g *group) done(o coordinator.Order) error {
	out, err := g.order(o)
	if err == nil && out.Stage != coordinator.StageDone {
		err = fmt.Errorf("%+v", out)
	}
	return err
}

// order gives an order at n1.
func (g *group) order(o coordinator.Order) (coordinator.Outcome, error) {
	ctx, cancel := context.WithTimeout(g.t.Context(), patience)
	defer cancel()
	return g.nodes["n1"].Administer(ctx, o)
}

// evidence asks n1 until it is as it should be.
func (g *group) evidence(id shard.ID, is func(*wire.Evidence) bool) (e *wire.Evidence) {
	g.t.Helper()
	g.eventually("the evidence", func() error {
		reply, err := g.nodes["n1"].Consult(g.t.Context(), &wire.ConsultRequest{Question: wire.Question_QUESTION_EVIDENCE, Type: string(id.Type), Shard: uint32(id.Number)})
		if e = reply.GetEvidence(); err == nil && !is(e) {
			err = fmt.Errorf("%v", e)
		}
		return err
	})
	return e
}

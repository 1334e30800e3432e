package plan_test

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"

	"muster/coordinator/plan"
	"muster/shard"
)

// Every strategy, whatever befell the group: plans that are carried out come to an end, each sends copies and primaries only where
// they may go, never two of a shard to a node, and in the end every shard has all its copies and nothing is left on a draining
// node. A planner that has followed the views plans the same as one that sees the view for the first time.
func TestStrategiesConform(t *testing.T) {
	for _, strategy := range plan.Strategies() {
		t.Run(strategy.String(), func(t *testing.T) {
			for seed := range uint64(120) {
				dice := rand.New(rand.NewPCG(seed, 3))
				nodes := 5 * (1 + dice.IntN(3))
				w := settledBy(40+dice.IntN(80), nodes, dice.IntN(2)*2, strategy)
				planner := &plan.Planner{}
				for i := range 1 + dice.IntN(3) {
					upheaval(w, dice, nodes, i)
					recanted(w, planner, nodeID(dice.IntN(nodes)))
					converge(t, w, planner, seed)
				}
				if err := whole(w); err != nil {
					t.Fatalf("seed %d: %v", seed, err)
				}
			}
		})
	}
}

// recanted lets a planner plan the drain of a node, which is taken back before anything comes of it.
func recanted(w *town, planner *plan.Planner, node shard.NodeID) {
	m := w.view.Members[node]
	if m.ID == "" || m.Draining {
		return
	}
	m.Draining = true
	w.view.Members[node] = m
	planner.Plan(w.view, nil)
	m.Draining = false
	w.view.Members[node] = m
}

// converge carries out plans until none is left.
func converge(t *testing.T, w *town, planner *plan.Planner, seed uint64) {
	t.Helper()
	for round := 0; ; round++ {
		moves := plan.Balance(w.view)
		planner.Plan(w.view, nil)
		if again := planner.Moves(); !reflect.DeepEqual(again, moves) {
			t.Fatalf("seed %d: the planner that followed plans\n%v\nnot\n%v", seed, again, moves)
		}
		switch err := proper(w, moves); {
		case len(moves) == 0:
			return
		case err != nil:
			t.Fatalf("seed %d, round %d: %v", seed, round, err)
		case round > 12:
			t.Fatalf("seed %d: no end after %d rounds: %v", seed, round, moves)
		}
		w.carry(moves)
		if err := distinct(w); err != nil {
			t.Fatalf("seed %d, round %d: %v", seed, round, err)
		}
	}
}

// distinct sees that no node has two copies of a shard.
func distinct(w *town) error {
	for _, p := range w.view.Types["t"].Placements {
		nodes := map[shard.NodeID]bool{}
		for _, c := range p.Copies {
			if nodes[c.Node] {
				return fmt.Errorf("%s has two copies on %s", p.Shard, c.Node)
			}
			nodes[c.Node] = true
		}
	}
	return nil
}

// When a node joins, a rendezvous type moves to it what it wins, and nothing between the others. When it leaves again, all goes
// back to where it was.
func TestRendezvousMovesTheLeast(t *testing.T) {
	w := settledBy(200, 10, 2, shard.Rendezvous)
	before := places(w)
	w.join(10)
	for moves := plan.Balance(w.view); len(moves) > 0; moves = plan.Balance(w.view) {
		for _, m := range moves {
			if m.Kind == plan.CopyMove && m.To != nodeID(10) {
				t.Fatalf("%s: between nodes that were there before", m)
			}
		}
		w.carry(moves)
	}
	won := 0
	for i := range w.view.Types["t"].Placements {
		if places(w)[i][nodeID(10)] {
			won++
		}
	}
	if won < 20 || won > 120 {
		t.Errorf("the eleventh node won %d of 200 shards", won)
	}
	m := w.view.Members[nodeID(10)]
	m.Draining = true
	w.view.Members[m.ID] = m
	for moves := plan.Balance(w.view); len(moves) > 0; moves = plan.Balance(w.view) {
		w.carry(moves)
	}
	if after := places(w); !reflect.DeepEqual(after, before) {
		t.Error("after the eleventh node left not everything is where it was")
	}
}

func places(w *town) []map[shard.NodeID]bool {
	all := make([]map[shard.NodeID]bool, len(w.view.Types["t"].Placements))
	for i, p := range w.view.Types["t"].Placements {
		all[i] = map[shard.NodeID]bool{}
		for _, c := range p.Copies {
			all[i][c.Node] = true
		}
	}
	return all
}

// Nobody else's moves are undone: an external type whose shards were all put on one side stays there.
func TestExternalOnlyRepairs(t *testing.T) {
	w := settledBy(60, 5, 2, shard.External)
	w.join(5)
	if moves := plan.Balance(w.view); len(moves) > 0 {
		t.Errorf("moved for balance: %v", moves[0])
	}
	w.leave(1)
	for _, m := range plan.Balance(w.view) {
		if m.Reason != plan.NodeGone {
			t.Errorf("%v", m)
		}
	}
}

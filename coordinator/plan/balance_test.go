package plan_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"muster/coordinator/plan"
	"muster/shard"
)

// upheaval is one thing that befalls a group.
func upheaval(w *town, dice *rand.Rand, nodes, i int) {
	victim := dice.IntN(nodes)
	m := w.view.Members[nodeID(victim)]
	switch dice.IntN(5) {
	case 0:
		w.join(nodes + i)
		return
	case 1:
		if w.view.Up(m.ID) {
			w.leave(victim)
		}
		return
	case 2:
		m.Draining = w.view.Up(m.ID)
	case 3:
		m.Cordoned = true
	case 4:
		m.Leaving = w.view.Up(m.ID)
	}
	w.view.Members[m.ID] = m
}

// proper judges each move of a plan by itself.
func proper(w *town, moves []plan.Move) error {
	for _, m := range moves {
		p, to := w.view.Placement(m.Shard), w.view.Members[m.To]
		from := slices.IndexFunc(p.Copies, func(c shard.Copy) bool { return c.Node == m.From })
		has := slices.ContainsFunc(p.Copies, func(c shard.Copy) bool { return c.Node == m.To })
		switch {
		case !w.view.Up(m.To), to.Draining, to.Leaving, m.Kind == plan.CopyMove && to.Cordoned:
			return fmt.Errorf("%s: the target takes nothing", m)
		case m.Kind == plan.CopyMove && has:
			return fmt.Errorf("%s: it has a copy already", m)
		case m.Kind == plan.CopyMove && m.From != "" && (from < 0 || p.Copies[from].ID != m.Copy):
			return fmt.Errorf("%s: copy %d is not there", m, m.Copy)
		case m.Kind == plan.LeadMove && (p.Node != m.From || m.From == m.To):
			return fmt.Errorf("%s: led by %s", m, p.Node)
		case m.Reason == "":
			return fmt.Errorf("%s: without a reason", m)
		}
	}
	return nil
}

// whole judges a group for which nothing more is planned. An only copy stays on a node that is down, or is about to stop and may
// come back.
func whole(w *town) error {
	room := 0 // with fewer than three there may be nowhere to go
	for id, m := range w.view.Members {
		if w.view.Up(id) && m.Open() {
			room++
		}
	}
	only := w.view.Types["t"].Spec.Replicas == 0
	for _, p := range w.view.Types["t"].Placements {
		for _, c := range p.Copies {
			m := w.view.Members[c.Node]
			if room >= 3 && (m.Draining && w.view.Up(c.Node) || !w.view.Up(c.Node) && !only) {
				return fmt.Errorf("%s has a copy on %s: %+v", p.Shard, c.Node, m)
			}
		}
		if m := w.view.Members[p.Node]; room >= 3 && w.view.Up(p.Node) && (m.Draining || m.Leaving && !only) {
			return fmt.Errorf("%s is led by %+v", p.Shard, m)
		}
		if len(p.Copies) != w.view.Types["t"].Spec.Replicas+1 && room >= 3 {
			return fmt.Errorf("%s has %d copies", p.Shard, len(p.Copies))
		}
	}
	return nil
}

// While a group is paused only what is urgent is planned.
func TestPauseStopsBalancingAlone(t *testing.T) {
	w := settled(60, 5)
	w.join(5)
	w.view.Paused = true
	if moves := plan.Balance(w.view); len(moves) > 0 {
		t.Errorf("paused, and yet %v", moves[0])
	}
	w.leave(1)
	for _, m := range plan.Balance(w.view) {
		if m.Reason != plan.NodeGone {
			t.Errorf("paused, and yet %v", m)
		}
	}
}

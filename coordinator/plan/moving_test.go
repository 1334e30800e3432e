package plan_test

import (
	"slices"
	"testing"
	"time"

	"muster/coordinator/plan"
	"muster/fsm"
	"muster/shard"
)

// A node has joined, and all that it takes to give it its share is begun at once. Before the map shows any of that it changes
// otherwise: some of the shards have no primary any more, so that a plan would have others move. Nothing more is begun for as
// long as the map does not show what was, and what did not come about is begun anew later, elsewhere.
func TestWhatTheMapDoesNotShowIsNotPlannedAgain(t *testing.T) {
	spec := shard.Spec{Name: "t", Shards: 48, Replicas: 2, MinAcks: 1, AckTimeout: time.Second}
	s := serving(t, formed(t, 3, 0, spec))
	s = applied(t, s, &fsm.Register{Node: "n03", Directory: "d03", Machine: "m", Addr: "n03:1", Hosts: []shard.Spec{spec}, Nonce: "3"})
	d := plan.NewDriver()
	d.Budget = plan.Budget{Learners: 1000, PerNode: 1000, Wishes: 1000}
	now := time.Minute
	first := begun(d.Next(input(s, now)))
	if share := int(spec.Shards) * (spec.Replicas + 1) / 4; len(first) != share {
		t.Fatalf("%d copies are begun, the share is %d", len(first), share)
	}
	const otherwise = 6
	for _, l := range first[:otherwise] {
		s = applied(t, s, &fsm.BeginRecovery{Items: []fsm.Recovery{{Shard: l.Shard, Epoch: l.Epoch, Version: l.Version}}, Cause: shard.CauseAsked})
	}
	if more := begun(d.Next(input(s, now+d.Times.Replan))); len(more) > 0 {
		t.Errorf("%d more are begun although the map shows none of the %d: %v", len(more), len(first), more)
	}
	s = applied(t, s, &fsm.AddLearner{Items: first[otherwise:]})
	if more := begun(d.Next(input(s, now+d.Times.Retry-1))); len(more) > 0 {
		t.Errorf("%d more are begun although the map does not show %d: %v", len(more), otherwise, more)
	}
	if more := begun(d.Next(input(s, now+d.Times.Retry+d.Times.Replan))); len(more) != otherwise {
		t.Errorf("%d are begun in place of %d that did not come about: %v", len(more), otherwise, more)
	}
}

// begun are the copies that the steps begin.
func begun(steps []plan.Step) (all []fsm.NewLearner) {
	for _, step := range steps {
		if c, is := step.Command.(*fsm.AddLearner); is {
			all = append(all, c.Items...)
		}
	}
	return all
}

// serving gives every shard of type t a place and a primary, as a driver would.
func serving(t *testing.T, s *fsm.State) *fsm.State {
	t.Helper()
	for _, step := range plan.NewDriver().Next(input(s, time.Minute)) {
		if step.Command != nil {
			s = applied(t, s, step.Command)
		}
	}
	for _, p := range s.View.Types["t"].Placements {
		for _, c := range p.Copies {
			s = applied(t, s, &fsm.CopyReady{Items: []fsm.CopyItem{{Shard: p.Shard, Copy: c.ID, Directory: c.Directory}}})
		}
		p = s.View.Placement(p.Shard)
		s = applied(t, s, &fsm.Activate{Items: []fsm.Activation{{Shard: p.Shard, Epoch: p.Epoch, Version: p.Version, Session: p.Session}}})
	}
	return s
}

// A plan that stops when it has enough is the beginning of the whole one, and leaves nothing behind in the layout.
func TestPlanThatHasEnoughIsTheBeginning(t *testing.T) {
	town := settled(1_000, 20)
	for i := range 4 {
		town.leave(i * zones)
	}
	var whole, some plan.Planner
	n := whole.Plan(town.view, nil)
	const enough = 100
	if k := some.PlanSome(town.view, enough); k != enough+1 || n < 3*enough {
		t.Fatalf("%d of %d moves, enough are %d", k, n, enough)
	}
	if got, want := some.Moves(), whole.Moves()[:enough+1]; !slices.Equal(got, want) {
		t.Errorf("%v …, the whole plan begins with %v …", got[:3], want[:3])
	}
	if some.Plan(town.view, nil); !slices.Equal(some.Moves(), whole.Moves()) {
		t.Error("the next plan is another one")
	}
}

package shard_test

import (
	"reflect"
	"testing"
	"time"

	"muster/shard"
)

var spec = shard.Spec{Name: "account", Shards: 4, Replicas: 2, MinAcks: 1, AckTimeout: time.Second}

func active(number shard.Number, epoch shard.Epoch) shard.Placement {
	return shard.Placement{
		Shard: shard.ID{Type: "account", Number: number}, Epoch: epoch, Version: 1, Status: shard.Active,
		Primary: 1, Node: "n1", Session: 5, WriteQuorum: 2, ActiveEpoch: epoch, ActivePrimary: 1, ActiveSession: 5, ActiveNode: "n1",
		Copies: []shard.Copy{{ID: 1, Node: "n1", Directory: "d1", State: shard.CopyReady}, {ID: 2, Node: "n2", Directory: "d2", State: shard.CopyReady}},
	}
}

func follow(t *testing.T, v *shard.View, deltas ...*shard.Delta) *shard.View {
	t.Helper()
	for _, d := range deltas {
		next, err := v.With(d)
		if err != nil {
			t.Fatalf("delta %d: %v", d.Index, err)
		}
		v = next
	}
	return v
}

// A view is shared by readers while the next one is made: applying a delta must not change it. Whole must say everything
// that the deltas said, since a watcher that fell behind gets it in their place.
func TestViewsAreImmutableAndWhole(t *testing.T) {
	three := 3
	first := follow(t, shard.NewView(), &shard.Delta{Index: 1, Group: "g", Types: []shard.Spec{spec}, Required: &three,
		Members:  []shard.Member{{ID: "n1", Session: 5}},
		Sessions: []shard.Session{{ID: 5, Node: "n1"}}, Placements: []shard.Placement{active(0, 1)}})
	before := *first.Placement(shard.ID{Type: "account", Number: 0})
	second := follow(t, first, &shard.Delta{Index: 7, Ended: []shard.SessionID{5}, Placements: []shard.Placement{active(0, 2), active(3, 1)}})

	if got := first.Placement(shard.ID{Type: "account", Number: 0}); !reflect.DeepEqual(*got, before) || first.Placement(shard.ID{Type: "account", Number: 3}) != nil || !first.Up("n1") {
		t.Errorf("the older view changed: %+v", got)
	}
	if second.Up("n1") || !second.Ended(5) || second.Ended(6) || second.Required != 3 {
		t.Errorf("sessions after the end of 5: %+v", second)
	}
	again := follow(t, shard.NewView(), second.Whole())
	if !reflect.DeepEqual(again, second) {
		t.Errorf("the whole says\n%+v\nthe deltas said\n%+v", again, second)
	}
}

// A watcher must notice a delta it cannot apply instead of serving a wrong map.
func TestDeltasThatDoNotFitAreRefused(t *testing.T) {
	v := follow(t, shard.NewView(), &shard.Delta{Index: 4, Types: []shard.Spec{spec}})
	for name, d := range map[string]*shard.Delta{
		"older":         {Index: 4},
		"type twice":    {Index: 5, Types: []shard.Spec{spec}},
		"invalid type":  {Index: 5, Types: []shard.Spec{{Name: "x", Shards: 0, AckTimeout: 1}}},
		"unknown type":  {Index: 5, Placements: []shard.Placement{{Shard: shard.ID{Type: "nobody"}}}},
		"unknown shard": {Index: 5, Placements: []shard.Placement{active(4, 1)}},
	} {
		if next, err := v.With(d); err == nil {
			t.Errorf("%s: applied as %+v", name, next)
		}
	}
	if p := v.Placement(shard.ID{Type: "account", Number: 9}); p != nil {
		t.Errorf("shard 9 of 4 is %+v", p)
	}
}

func TestPlacementInvariants(t *testing.T) {
	good := active(0, 1)
	if err := good.Check(); err != nil || good.RecoveryQuorum() != 1 {
		t.Fatalf("a good placement: %v, recovery quorum %d", err, good.RecoveryQuorum())
	}
	for name, breakIt := range map[string]func(*shard.Placement){
		"two copies on a node":  func(p *shard.Placement) { p.Copies[1].Node = "n1" },
		"quorum above C":        func(p *shard.Placement) { p.WriteQuorum = 3 },
		"primary outside C":     func(p *shard.Placement) { p.Primary = 9 },
		"primary on lost disk":  func(p *shard.Placement) { p.Copies[0].State = shard.CopyLost },
		"no session":            func(p *shard.Placement) { p.Session = 0 },
		"recovering with owner": func(p *shard.Placement) { p.Status = shard.Recovering },
		"unrecorded activation": func(p *shard.Placement) { p.ActiveEpoch = 0 },
		"no status":             func(p *shard.Placement) { p.Status = 0 },
	} {
		p := active(0, 1)
		breakIt(&p)
		if p.Check() == nil {
			t.Errorf("%s passes the check", name)
		}
	}
}

func TestSpecsAreChecked(t *testing.T) {
	for name, breakIt := range map[string]func(*shard.Spec){
		"name": func(s *shard.Spec) { s.Name = "A" }, "role": func(s *shard.Spec) { s.Role = "é" }, "no shards": func(s *shard.Spec) { s.Shards = 0 },
		"too many shards": func(s *shard.Spec) { s.Shards = 1 << 20 }, "negative replicas": func(s *shard.Spec) { s.Replicas = -1 },
		"min_acks above replicas": func(s *shard.Spec) { s.MinAcks = 3 }, "no timeout": func(s *shard.Spec) { s.AckTimeout = 0 },
		"volatile with copies": func(s *shard.Spec) { s.Volatile = true },
	} {
		s := spec
		breakIt(&s)
		if err := s.Validate(); shard.CodeOf(err) != shard.CodeInvalid {
			t.Errorf("%s: %v", name, err)
		}
	}
	if spec.WriteQuorum() != 2 || (shard.Spec{Volatile: true}).WriteQuorum() != 0 {
		t.Error("write quorum")
	}
}

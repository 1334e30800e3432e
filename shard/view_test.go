package shard_test

import (
	"fmt"
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
	paused := true
	third := follow(t, second, &shard.Delta{Index: 8, Removed: []shard.NodeID{"n1", "n9"}, Paused: &paused,
		Members: []shard.Member{{ID: "n2", Cordoned: true}, {ID: "n9"}}})
	if _, gone := third.Members["n1"]; gone || len(third.Members) != 2 || !third.Paused || second.Paused || len(second.Members) != 1 {
		t.Errorf("n1 left, n9 came back under its name: %+v after %+v", third, second)
	}
	if m := third.Members["n2"]; m.Open() || !third.Members["n9"].Open() {
		t.Errorf("only what is marked is closed: %+v", m)
	}
	if again := follow(t, shard.NewView(), third.Whole()); !reflect.DeepEqual(again, third) {
		t.Errorf("the whole says\n%+v\nthe deltas said\n%+v", again, third)
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

// A whole map may be too large for one message. Its parts must say together what it says, whatever their size, and no part
// may pass for a map of its own.
func TestDeltasComeInParts(t *testing.T) {
	three, yes := 3, true
	d := &shard.Delta{Reset: true, Index: 9, Group: "g", Types: []shard.Spec{spec}, Required: &three, Paused: &yes, LastSession: 8,
		Members: []shard.Member{{ID: "n1"}, {ID: "n2"}}, Removed: []shard.NodeID{"n7"}, Ended: []shard.SessionID{4, 5, 6},
		Sessions:   []shard.Session{{ID: 7, Node: "n1"}},
		Placements: []shard.Placement{active(0, 1), active(1, 1), active(2, 1), active(3, 1)}}
	for most, want := range map[int]int{0: 4, 1: 4, 2: 2, 3: 2, 4: 1, 100: 1} {
		parts := d.Split(most)
		if len(parts) != want {
			t.Fatalf("%d items of a kind: %d parts, not %d", most, len(parts), want)
		}
		joined := *parts[0]
		for _, part := range parts[1:] {
			if next, err := shard.NewView().With(&joined); err == nil {
				t.Fatalf("a part passes for the map %+v", next)
			}
			if err := joined.Join(part); err != nil {
				t.Fatal(err)
			}
		}
		if !reflect.DeepEqual(&joined, d) {
			t.Errorf("%d items of a kind: joined\n%+v\nsplit\n%+v", most, &joined, d)
		}
		if err := joined.Join(&shard.Delta{Index: 9}); err == nil {
			t.Error("a whole delta was continued")
		}
	}
	begun := *d.Split(2)[0]
	for name, part := range map[string]*shard.Delta{"of another entry": {Index: 10}, "a beginning": d.Split(2)[0]} {
		if err := begun.Join(part); err == nil || len(begun.Placements) != 2 {
			t.Errorf("%s was taken for the next part: %v", name, err)
		}
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

// Learners and wishes have rules of their own.
func TestHealingInvariants(t *testing.T) {
	good := healing()
	if err := good.Check(); err != nil || !good.Wished() {
		t.Fatalf("a good placement: %v", err)
	}
	for name, breakIt := range map[string]func(*shard.Placement){
		"learner in C":          func(p *shard.Placement) { p.Learners[0].Copy.ID = 2 },
		"learner lost":          func(p *shard.Placement) { p.Learners[0].Copy.State = shard.CopyLost },
		"learner beside a copy": func(p *shard.Placement) { p.Learners[0].Copy.Node = "n2" },
		"two learners a node":   func(p *shard.Placement) { p.Learners = append(p.Learners, learner(8, "n3")) },
		"learners out of order": func(p *shard.Placement) { p.Learners = append(p.Learners, learner(6, "n4")) },
		"learner while forming": func(p *shard.Placement) {
			*p = shard.Placement{Status: shard.Forming, Copies: p.Copies, WriteQuorum: 2, Learners: p.Learners}
		},
		"too many learners": func(p *shard.Placement) {
			for n := range shard.MaxLearners {
				p.Learners = append(p.Learners, learner(shard.CopyID(8+n), shard.NodeID(fmt.Sprintf("x%d", n))))
			}
		},
		"wished to the primary":     func(p *shard.Placement) { p.HandTo, p.HandNode = 1, "n1" },
		"wished outside C":          func(p *shard.Placement) { p.HandTo, p.HandNode = 7, "n3" },
		"wished to another node":    func(p *shard.Placement) { p.HandNode = "n3" },
		"wished to a lost copy":     func(p *shard.Placement) { p.Copies[1].State = shard.CopyLost },
		"wished without a node":     func(p *shard.Placement) { p.HandNode = "" },
		"wished while establishing": func(p *shard.Placement) { p.Status = shard.Establishing },
		"volatile with a wish for a copy": func(p *shard.Placement) {
			p.Copies, p.Learners, p.WriteQuorum, p.Primary = nil, nil, 0, 0
		},
	} {
		p := healing()
		breakIt(&p)
		if p.Check() == nil {
			t.Errorf("%s passes the check", name)
		}
	}
}

// healing is an active shard with a learner on a third node, wished to its other copy.
func healing() shard.Placement {
	p := active(0, 1)
	p.Learners = []shard.Learner{learner(7, "n3")}
	p.HandTo, p.HandNode = 2, "n2"
	return p
}

func learner(id shard.CopyID, node shard.NodeID) shard.Learner {
	return shard.Learner{Copy: shard.Copy{ID: id, Node: node, Directory: shard.DirectoryID("d-" + node), State: shard.CopyMinted}}
}

// A lost copy is no neighbour: its successor may be made on the same node, in the same directory even, and that is then the
// one the directory holds.
func TestALostCopyGivesWay(t *testing.T) {
	p := healing()
	p.HandTo, p.HandNode = 0, ""
	p.Copies[1].State = shard.CopyLost
	p.Learners[0] = learner(7, "n2")
	p.Learners[0].Copy.Directory = "d2"
	if err := p.Check(); err != nil {
		t.Fatal(err)
	}
	if l, ok := p.LearnerOn("d2"); !ok || l.Copy.ID != 7 || p.Wished() {
		t.Errorf("learner in d2: %+v", l)
	}
	if c, _ := p.CopyOn("d2"); c.ID != 2 {
		t.Errorf("the only copy in d2 is %+v", c)
	}
	first, lost, joined := p.Copies[0], p.Copies[1], shard.Copy{ID: 7, Node: "n2", Directory: "d2", State: shard.CopyReady}
	p.Learners = nil
	for _, p.Copies = range [][]shard.Copy{{first, lost, joined}, {first, joined, lost}} {
		if c, _ := p.CopyOn("d2"); c.ID != 7 || p.Check() != nil {
			t.Errorf("joined beside the lost one, d2 holds %+v: %v", c, p.Check())
		}
	}
}

// Reports are kept in sets, so the wanted copies of one must compare as a set does.
func TestCopySetsAreComparable(t *testing.T) {
	a, err := shard.NewCopySet(9, 3, 4)
	b, other := shard.NewCopySet(3, 4, 9)
	if err != nil || other != nil || a != b || !reflect.DeepEqual(a.IDs(), []shard.CopyID{3, 4, 9}) {
		t.Errorf("%v, %v, %v, %v", a, b, err, other)
	}
	full, err := shard.NewCopySet(1, 2, 3, 4, 5, 6, 7)
	if err != nil || len(full.IDs()) != shard.MaxReplicas+1 || (shard.CopySet{}).IDs() != nil {
		t.Errorf("a full set is %v, %v", full.IDs(), err)
	}
	for _, ids := range [][]shard.CopyID{{1, 2, 3, 4, 5, 6, 7, 8}, {1, 0}, {2, 2}} {
		if s, err := shard.NewCopySet(ids...); shard.CodeOf(err) != shard.CodeInvalid {
			t.Errorf("%v is the set %v", ids, s)
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

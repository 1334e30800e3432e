package plan_test

import (
	"testing"
	"time"

	"muster/coordinator/plan"
	"muster/shard"
)

// A leader gives up the lead when the map has shown too few voters with a session for a lease, once in each lease. Members without a
// vote, and a node that came back with another directory, do not make up for a voter. A new leader gets three leases.
func TestDeafness(t *testing.T) {
	view := func(up ...shard.NodeID) *shard.View {
		v := shard.NewView()
		for i, id := range []shard.NodeID{"a", "b", "c", "d"} {
			v.Members[id] = shard.Member{ID: id, Directory: shard.DirectoryID("dir-" + id), Session: shard.SessionID(i + 1)}
		}
		for _, id := range up {
			m := v.Members[id]
			v.Sessions[m.Session] = shard.Session{ID: m.Session, Node: id, Directory: m.Directory}
		}
		return v
	}
	seats := []plan.Seat{
		{Node: "a", Directory: "dir-a", Voter: true}, {Node: "b", Directory: "dir-b", Voter: true}, {Node: "c", Directory: "dir-c", Voter: true},
		{Node: "d", Directory: "dir-d"},
	}
	wiped := append([]plan.Seat{}, seats...)
	wiped[1].Directory = "dir-before"
	var d plan.Deafness
	for i, step := range []struct {
		at    time.Duration
		view  *shard.View
		seats []plan.Seat
		want  bool
	}{
		{0, view("a", "b"), seats, false},
		{10, view("a", "d"), seats, false},
		{19, view("a", "d"), seats, false},
		{20, view("a", "d"), seats, true},
		{21, view("a"), seats, false},
		{29, view("a", "c"), seats, false}, // heard in time
		{31, view("a"), seats, false},
		{41, view("a"), seats, true},
		{42, view("a", "b"), wiped, false},
		{52, view("a", "b"), wiped, true},
	} {
		if got := d.Next(step.at*time.Second, 10*time.Second, step.view, step.seats); got != step.want {
			t.Errorf("step %d: %t", i, got)
		}
	}
	var young plan.Deafness
	for _, at := range []time.Duration{0, 10, 29, 30} {
		if got := young.Next(at*time.Second, 10*time.Second, view("a"), seats); got != (at == 30) {
			t.Errorf("a new leader after %d s: %t", at, got)
		}
	}
}

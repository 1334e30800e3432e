package plan_test

import (
	"testing"
	"time"

	"muster/coordinator/plan"
	"muster/fsm"
	"muster/shard"
)

// A primary has stepped down. To a process that knows how to begin an epoch that is active already the lead goes in one entry, which
// leaves the shard active; to any other in two, and so does a volatile shard. The same report once more changes nothing.
func TestHandOverIsOneEntryForWhoCanTakeIt(t *testing.T) {
	id := shard.ID{Type: "t"}
	s := formed(t, 3, 0, shard.Spec{Name: "t", Shards: 1, Replicas: 2, MinAcks: 1, AckTimeout: time.Second}, shard.Spec{Name: "v", Shards: 1, Volatile: true, AckTimeout: time.Second})
	s = applied(t, s, &fsm.Place{Items: []fsm.Placing{
		{Shard: id, Nodes: []shard.NodeID{"n00", "n01", "n02"}}, {Shard: shard.ID{Type: "v"}, Nodes: []shard.NodeID{"n00"}},
	}})
	for _, c := range s.View.Placement(id).Copies {
		s = applied(t, s, &fsm.CopyReady{Items: []fsm.CopyItem{{Shard: id, Copy: c.ID, Directory: c.Directory}}})
	}
	activate := &fsm.Activate{}
	for _, name := range []shard.TypeName{"t", "v"} {
		p := s.View.Placement(shard.ID{Type: name})
		activate.Items = append(activate.Items, fsm.Activation{Shard: p.Shard, Epoch: p.Epoch, Version: p.Version, Session: p.Session})
	}
	s = applied(t, s, activate)
	p := s.View.Placement(id)
	to := p.Copies[1]
	from := plan.Reporter{Directory: p.Copies[0].Directory, Session: p.Session}
	batch := []shard.Report{
		{Kind: shard.ReportHandoff, Shard: id, Copy: to.ID, Epoch: p.Epoch, Version: p.Version},
		{Kind: shard.ReportHandoff, Shard: shard.ID{Type: "v"}, Epoch: 1, Version: 1, Detail: string(to.Node)},
	}
	for status, takes := range map[shard.Status]bool{shard.Active: true, shard.Establishing: false} {
		news, err := plan.Sort(s.View, from, batch, func(one shard.SessionID) bool {
			return takes && one == s.View.Members[to.Node].Session
		})
		if err != nil {
			t.Fatal(err)
		}
		after := applied(t, s, news.Commands...)
		for range 2 {
			p, v := after.View.Placement(id), after.View.Placement(shard.ID{Type: "v"})
			if p.Status != status || p.Epoch != 2 || p.Primary != to.ID || v.Status != shard.Establishing || v.Node != to.Node {
				t.Errorf("who takes it %t: %+v, %+v", takes, p, v)
			}
			after = applied(t, after, news.Commands...)
		}
	}
}

// applied returns the state after one entry; what is refused of it has no effect.
func applied(t *testing.T, s *fsm.State, commands ...fsm.Command) *fsm.State {
	t.Helper()
	entry, err := fsm.Encode(commands...)
	if err != nil {
		t.Fatal(err)
	}
	next, result := fsm.Apply(s, s.Index()+1, entry)
	if result.Fault != nil {
		t.Fatal(result.Fault)
	}
	return next
}

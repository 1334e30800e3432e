package fsm_test

import (
	"fmt"
	"testing"

	"muster/fsm"
	"muster/shard"
)

// big returns a group of nodes with the shards of one type placed evenly, three copies each, all active.
func big(b *testing.B, nodes, shards int) *fsm.State {
	b.Helper()
	s, index := fsm.New(), shard.Index(0)
	apply := func(c fsm.Command) {
		index++
		next, result := fsm.Apply(s, index, encode(b, c))
		for _, v := range result.Verdicts {
			for _, f := range append(v.Faults, v.Fault) {
				if f != nil {
					b.Fatal(f)
				}
			}
		}
		s = next
	}
	spec := shard.Spec{Name: "t", Shards: uint32(shards), Replicas: 2, MinAcks: 1, AckTimeout: 1}
	name := func(i int) string { return fmt.Sprintf("n%d", i%nodes) }
	apply(&fsm.Genesis{Group: "g", Voters: []fsm.Founder{founder("n0")}})
	for i := range nodes {
		apply(&fsm.Register{Node: shard.NodeID(name(i)), Directory: shard.DirectoryID("dir-" + name(i)), Machine: "m", Addr: "a:1",
			Nonce: name(i), Hosts: []shard.Spec{spec}})
	}
	for first := 0; first < shards; first += 4096 {
		place, ready, activate := &fsm.Place{}, &fsm.CopyReady{}, &fsm.Activate{}
		for i := first; i < min(shards, first+4096); i++ {
			id := shard.ID{Type: "t", Number: shard.Number(i)}
			p := fsm.Placing{Shard: id}
			for k := range 3 {
				p.Nodes = append(p.Nodes, shard.NodeID(name(i+k)))
				ready.Items = append(ready.Items, fsm.CopyItem{Shard: id, Copy: shard.CopyID(3*i + k + 1), Directory: shard.DirectoryID("dir-" + name(i+k))})
			}
			place.Items = append(place.Items, p)
			activate.Items = append(activate.Items, fsm.Activation{Shard: id, Epoch: 1, Version: 1, Session: s.View.Members[p.Nodes[0]].Session})
		}
		apply(place)
		apply(ready)
		apply(activate)
	}
	return s
}

func benchmark(b *testing.B, s *fsm.State, c fsm.Command) {
	entry := encode(b, c)
	b.ReportAllocs()
	for b.Loop() {
		if _, result := fsm.Apply(s, s.Index()+1, entry); result.Fault != nil {
			b.Fatal(result.Fault)
		}
	}
	b.ReportMetric(float64(len(entry)), "bytes")
}

func BenchmarkRecoverThousand(b *testing.B) {
	s := big(b, 10, 4096)
	c := &fsm.BeginRecovery{Cause: shard.CauseAsked}
	for i := range 1000 {
		c.Items = append(c.Items, fsm.Recovery{Shard: shard.ID{Type: "t", Number: shard.Number(i)}, Epoch: 1, Version: 1})
	}
	benchmark(b, s, c)
}

func BenchmarkElectThousand(b *testing.B) {
	s := big(b, 3, 3000)
	s, _ = fsm.Apply(s, s.Index()+1, encode(b, &fsm.Expire{Session: 1}))
	c := &fsm.Elect{}
	for i := 0; i < 3000; i += 3 {
		copies := s.View.Placement(shard.ID{Type: "t", Number: shard.Number(i)}).Copies
		c.Items = append(c.Items, fsm.Election{Shard: shard.ID{Type: "t", Number: shard.Number(i)}, Epoch: 2, Version: 1,
			Copy: copies[1].ID, Session: 2, Answered: []shard.CopyID{copies[1].ID, copies[2].ID}})
	}
	benchmark(b, s, c)
}

func BenchmarkPlaceThousand(b *testing.B) {
	s := big(b, 10, 1)
	spec := shard.Spec{Name: "u", Shards: 1000, Replicas: 2, MinAcks: 1, AckTimeout: 1}
	c := &fsm.Place{}
	for n := range 10 {
		node := fmt.Sprintf("n%d", n)
		s, _ = fsm.Apply(s, s.Index()+1, encode(b, &fsm.Register{Node: shard.NodeID(node), Directory: shard.DirectoryID("dir-" + node),
			Machine: "m", Addr: "a:1", Nonce: node, Hosts: []shard.Spec{spec}}))
	}
	for i := range 1000 {
		c.Items = append(c.Items, fsm.Placing{Shard: shard.ID{Type: "u", Number: shard.Number(i)}, Nodes: []shard.NodeID{"n1", "n2", "n3"}})
	}
	benchmark(b, s, c)
}

func BenchmarkRenewThousand(b *testing.B) {
	s := big(b, 1000, 1)
	c := &fsm.Renew{}
	for i := range 1000 {
		c.Items = append(c.Items, fsm.Renewal{Session: shard.SessionID(i + 1), Number: 1})
	}
	benchmark(b, s, c)
}

func BenchmarkExpireAmong100k(b *testing.B) {
	s := big(b, 1000, 65_536)
	benchmark(b, s, &fsm.Expire{Session: 5})
}

func BenchmarkSnapshot100k(b *testing.B) {
	s := big(b, 1000, 65_536)
	for b.Loop() {
		s.Snapshot()
	}
	b.ReportMetric(float64(len(s.Snapshot())), "bytes")
}

func BenchmarkRestore100k(b *testing.B) {
	snapshot := big(b, 1000, 65_536).Snapshot()
	for b.Loop() {
		if _, err := fsm.Restore(snapshot); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkArriveThousandParties(b *testing.B) {
	s := big(b, 3, 1)
	var entries [][]byte
	for i := range 1000 {
		entries = append(entries, encode(b, &fsm.Arrive{Name: "x", Parties: 1000, Session: shard.SessionID(i%3 + 1), Request: uint64(i + 1)}))
	}
	for b.Loop() {
		next := s
		for i, entry := range entries {
			next, _ = fsm.Apply(next, s.Index()+shard.Index(i+1), entry)
		}
	}
}

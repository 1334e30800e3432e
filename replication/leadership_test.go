package replication_test

import (
	"slices"
	"testing"

	"muster/shard"
)

// A member that was silent for patience stays while the others owe an answer too: a primary that is cut off from all of them is to
// find itself deserted with enough of them left to elect another. Once they answer again the silent one goes.
func TestASilentMemberStaysWhileNobodyElseAnswers(t *testing.T) {
	const patience = 20
	all := &shard.Placement{Epoch: 1, Version: 1, Primary: 1, WriteQuorum: 2, Status: shard.Active}
	for id := shard.CopyID(1); id <= 3; id++ {
		all.Copies = append(all.Copies, shard.Copy{ID: id, Node: shard.NodeID(rune('a' + id)), State: shard.CopyReady})
	}
	p := newTrio(t) // 3 has not answered and owes it
	ticks := func(n int) {
		for range n {
			p.primary.Tick()
		}
	}
	ticks(patience - 10)
	p.write()
	ticks(patience - 6)
	if due := p.primary.Due(all, patience); due != nil {
		t.Fatalf("%v is due while 2 owes an answer for as long as the half of patience", due)
	}
	if !p.primary.Deserted(all, patience, func(shard.NodeID) bool { return true }) {
		t.Fatal("it is not deserted")
	}
	p.ack(2, p.last)
	if due := p.primary.Due(all, patience); !slices.Equal(due, []shard.CopyID{1, 2}) {
		t.Fatalf("%v is due, 2 answers and 3 does not", due)
	}
	if p.primary.Deserted(all, patience, func(shard.NodeID) bool { return true }) {
		t.Fatal("it is deserted by a quorum that answers")
	}
}

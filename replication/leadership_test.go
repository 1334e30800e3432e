package replication_test

import (
	"slices"
	"testing"

	"muster/replication"
	"muster/shard"
)

// A learner was on its way for a sound copy, to level the load, when another one was lost. It takes the place of the lost copy: had
// it replaced the sound one, C would have been smaller than the write quorum, and the shard would have waited for ever.
func TestALearnerTakesThePlaceOfALostCopyFirst(t *testing.T) {
	p := newTrio(t)
	p.ack(2, 1)
	p.ack(3, 1)
	spec := shard.Spec{Replicas: 2, MinAcks: 2}
	at := &shard.Placement{
		Epoch: 1, Version: 2, Primary: 1, WriteQuorum: 3, Status: shard.Active,
		Copies:   []shard.Copy{{ID: 1, State: shard.CopyReady}, {ID: 2, State: shard.CopyReady}, {ID: 3, State: shard.CopyLost}},
		Learners: []shard.Learner{{Copy: shard.Copy{ID: 4, State: shard.CopyReady}, Replaces: 2}},
	}
	p.primary.Configure(replication.LeadershipOf(at, spec))
	p.ack(4, 1)
	due := p.primary.Due(at, 20)
	if !slices.Equal(due, []shard.CopyID{1, 2, 4}) || !p.primary.Reconfigure(due) {
		t.Fatalf("%v is due, or refused", due)
	}
}

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
	if !p.primary.Deserted(all, patience, everybodyUp, nobodySilent) {
		t.Fatal("it is not deserted")
	}
	p.ack(2, p.last)
	if due := p.primary.Due(all, patience); !slices.Equal(due, []shard.CopyID{1, 2}) {
		t.Fatalf("%v is due, 2 answers and 3 does not", due)
	}
	if p.primary.Deserted(all, patience, everybodyUp, nobodySilent) {
		t.Fatal("it is deserted by a quorum that answers")
	}
}

func everybodyUp(shard.NodeID) bool { return true }
func nobodySilent(shard.NodeID) int { return 0 }

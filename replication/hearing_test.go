package replication_test

import (
	"testing"

	"muster/replication"
	"muster/shard"
)

// Two nodes have nothing to tell each other: one question a second, which is answered, and nothing is owed. Then the other is silent:
// that counts from the first question on, and ends with the first word.
func TestSilenceIsAskedAbout(t *testing.T) {
	var h replication.Hearing
	live := func(ticks int, answers bool) (asked int) {
		for range ticks {
			if h.Tick() {
				asked++
				if answers {
					h.Heard()
				}
			}
		}
		return asked
	}
	if asked := live(1000, true); asked != 1000/replication.HearTicks || h.Silent() != 0 {
		t.Errorf("asked %d times in 1000 ticks, silent for %d", asked, h.Silent())
	}
	if asked := live(100, false); asked != 100/replication.HearTicks || h.Silent() != 101-replication.HearTicks {
		t.Errorf("asked %d times in 100 ticks of silence, silent for %d", asked, h.Silent())
	}
	h.Heard()
	if h.Silent() != 0 || live(replication.HearTicks-1, false) != 0 || h.Silent() != 0 {
		t.Errorf("silent for %d ticks right after a word", h.Silent())
	}
}

// An idle primary owes nothing and is owed nothing. It is deserted when the nodes of too many copies have been silent for ack_timeout;
// no copy is left out of C for that. Asked for a sign of life a copy answers as it does any append.
func TestIdlePrimaryIsDesertedBySilentNodes(t *testing.T) {
	const patience = 20
	all := &shard.Placement{Epoch: 1, Version: 1, Primary: 1, WriteQuorum: 2, Status: shard.Active}
	for id := shard.CopyID(1); id <= 3; id++ {
		all.Copies = append(all.Copies, shard.Copy{ID: id, Node: shard.NodeID(rune('a' + id)), State: shard.CopyReady})
	}
	p := newTrio(t)
	p.ack(2, p.last)
	p.ack(3, p.last)
	silent := map[shard.NodeID]int{}
	deserted := func() bool {
		return p.primary.Deserted(all, patience, everybodyUp, func(n shard.NodeID) int { return silent[n] })
	}
	for range 10 * patience {
		p.primary.Tick()
	}
	silent["c"] = patience
	if deserted() {
		t.Error("it is deserted by a node of two")
	}
	silent["d"] = patience/2 - 1
	if deserted() {
		t.Error("it is deserted before ack_timeout is over")
	}
	if silent["d"]++; !deserted() {
		t.Error("it is not deserted, and both nodes have been silent for ack_timeout")
	}
	if due := p.primary.Due(all, patience); due != nil {
		t.Errorf("%v is due: somebody lacks nothing and is left out", due)
	}
	e := p.primary.Ask(3)
	if len(e.Appends) != 1 || e.Appends[0].To != 3 {
		t.Fatalf("copy 3 is not asked: %+v", e)
	}
	replica := replication.Open(theShard, replication.State{Copy: 3, Promised: 1, Last: shard.Position{Epoch: 1, LSN: 1}, History: shard.History{{Epoch: 1, First: 1}}})
	if e := replica.Append(e.Appends[0].Append); len(e.Acks) != 1 {
		t.Errorf("a copy that lacks nothing does not answer: %+v", e)
	}
}

// A member that owes an answer is asked again. The other owes nothing and might be as far away: it is asked too, and counts as answering
// only if it does. Nobody is left out while the rest is no quorum.
func TestOthersAreAskedWhenOneIsSilent(t *testing.T) {
	const patience = 40
	all := &shard.Placement{Epoch: 1, Version: 1, Primary: 1, WriteQuorum: 2, Status: shard.Active}
	for id := shard.CopyID(1); id <= 3; id++ {
		all.Copies = append(all.Copies, shard.Copy{ID: id, Node: shard.NodeID(rune('a' + id)), State: shard.CopyReady})
	}
	p := newTrio(t) // 3 owes an answer, 2 has given it
	asked := 0
	for range patience {
		for _, o := range p.primary.Tick().Appends {
			if o.To == 2 {
				asked++
			}
		}
	}
	if due := p.primary.Due(all, patience); asked == 0 || due != nil {
		t.Fatalf("2 was asked %d times and has not answered; %v is due", asked, due)
	}
	p.ack(2, p.last)
	if due := p.primary.Due(all, patience); len(due) != 2 {
		t.Errorf("%v is due, 2 answers and 3 does not", due)
	}
}

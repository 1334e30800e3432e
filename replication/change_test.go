package replication_test

import (
	"slices"
	"testing"

	"muster/replication"
	"muster/shard"
)

// A trio is a primary, copy 1, that serves epoch 1 over C = {1, 2, 3} with a write quorum of two, and whose peers answer
// only when the test says so. Writes are durable at once.
type trio struct {
	t       *testing.T
	primary *replication.Copy
	last    shard.LSN
	e       replication.Effects
}

func newTrio(t *testing.T) *trio {
	t.Helper()
	p := &trio{t: t, primary: replication.Open(theShard, replication.State{Copy: 1})}
	e, err := p.primary.Lead(p.leads(1, []shard.CopyID{1, 2, 3}))
	if err != nil {
		t.Fatal(err)
	}
	p.last = 1
	p.primary.Durable(e.Write.Ticket)
	p.ack(2, 1)
	p.primary.Activate(1)
	p.holds(1)
	return p
}

func (p *trio) leads(version shard.ConfigVersion, copies []shard.CopyID, learners ...replication.Learner) replication.Leadership {
	return replication.Leadership{Epoch: 1, Version: version, Copies: copies, WriteQuorum: 2, Learners: learners}
}

func (p *trio) write() {
	p.t.Helper()
	e, err := p.primary.Propose([]replication.Record{{Kind: replication.KindCommand}})
	if err != nil {
		p.t.Fatal(err)
	}
	p.last++
	p.primary.Durable(e.Write.Ticket)
}

func (p *trio) ack(from shard.CopyID, lsn shard.LSN) {
	p.e = p.primary.Ack(replication.Ack{Shard: theShard, Copy: from, Epoch: 1, LSN: lsn})
}

func (p *trio) holds(confirmed shard.LSN) {
	p.t.Helper()
	if err := p.primary.Check(); err != nil {
		p.t.Fatal(err)
	}
	if got := p.primary.Status().Confirmed; got != confirmed {
		p.t.Fatalf("confirmed %d, want %d", got, confirmed)
	}
}

func (p *trio) wants(want ...shard.CopyID) {
	p.t.Helper()
	if got := p.primary.Wanted(20, func(shard.CopyID) bool { return false }); !slices.Equal(got, want) {
		p.t.Fatalf("wants C = %v, expected %v", got, want)
	}
}

// A learner receives everything and its word counts for nothing, until the map says that it is a member. When it has caught
// up it replaces the copy it was made for in one step; from proposing that until the answer both quorums must hold a record.
func TestALearnerReplacesACopy(t *testing.T) {
	p := newTrio(t)
	p.primary.Configure(p.leads(1, []shard.CopyID{1, 2, 3}, replication.Learner{Copy: 4, Replaces: 2}))
	p.write()
	p.ack(4, 2)
	p.holds(1) // copies 1 and 4 hold record 2, and 4 does not count
	p.ack(3, 2)
	p.holds(2)
	p.wants(1, 3, 4)
	if !p.primary.Reconfigure([]shard.CopyID{1, 3, 4}) {
		t.Fatal("refused")
	}
	p.write()
	p.ack(2, 3)
	p.holds(2) // enough for the old C, not for the new
	p.ack(4, 3)
	p.holds(3)
	p.wants(1, 3, 4) // no answer means still pending: the same again
	if p.primary.Reconfigure([]shard.CopyID{1, 2}) {
		t.Fatal("a second change began while the first is undecided")
	}
	p.primary.Configure(p.leads(2, []shard.CopyID{1, 3, 4}))
	p.write()
	p.ack(2, 4)
	p.holds(3) // 2 is out
	p.ack(4, 4)
	p.holds(4)
	p.wants()
}

// A change that the group turned down is over when the map's version moves on, and the old quorum alone decides again.
func TestAChangeThatWasTurnedDown(t *testing.T) {
	p := newTrio(t)
	p.primary.Configure(p.leads(1, []shard.CopyID{1, 2, 3}, replication.Learner{Copy: 4, Replaces: 3}))
	p.ack(4, 1)
	if !p.primary.Reconfigure([]shard.CopyID{1, 2, 4}) {
		t.Fatal("refused")
	}
	p.write()
	p.ack(3, 2)
	p.holds(1)
	p.primary.Configure(p.leads(1, []shard.CopyID{1, 2, 3})) // the learner is gone, the change may still be decided
	p.holds(1)
	p.primary.Configure(p.leads(2, []shard.CopyID{1, 2, 3}))
	p.holds(2)
}

// A round of reads needs both quorums too: the next primary may come out of either C.
func TestReadsDuringAChangeNeedBothQuorums(t *testing.T) {
	p := newTrio(t)
	p.primary.Configure(p.leads(1, []shard.CopyID{1, 2, 3}, replication.Learner{Copy: 4, Replaces: 2}))
	p.ack(4, 1)
	p.ack(3, 1)
	if !p.primary.Reconfigure([]shard.CopyID{1, 3, 4}) {
		t.Fatal("refused")
	}
	round, _ := p.primary.Read()
	answer := func(from shard.CopyID) shard.LSN {
		return shard.LSN(p.primary.Ack(replication.Ack{Shard: theShard, Copy: from, Epoch: 1, LSN: 1, Round: round}).Round)
	}
	if answer(2) != 0 {
		t.Error("copy 2 alone verified the round, and it is leaving")
	}
	if answer(4) != shard.LSN(round) {
		t.Error("2 and 4 are a quorum of each C")
	}
}

// C may not change to what a failover could not count on.
func TestUnsafeChangesAreRefused(t *testing.T) {
	for name, c := range map[string][]shard.CopyID{
		"without the primary": {2, 3}, "below the write quorum": {1}, "a stranger": {1, 2, 9}, "one twice": {1, 2, 2},
		"not enough that hold what is confirmed": {1, 3, 4},
	} {
		p := newTrio(t)
		p.primary.Configure(p.leads(1, []shard.CopyID{1, 2, 3}, replication.Learner{Copy: 4, Replaces: 2}))
		if p.primary.Reconfigure(c) {
			t.Errorf("%s: C = %v was accepted", name, c)
		}
	}
}

// A member that owes an answer for longer than patience is left out, but never below the write quorum.
func TestASilentMemberIsLeftOut(t *testing.T) {
	p := newTrio(t)
	p.write()
	p.ack(2, 2)
	for range 19 {
		p.primary.Tick()
	}
	p.wants()
	p.primary.Tick()
	p.wants(1, 2)
	p.primary.Reconfigure([]shard.CopyID{1, 2})
	p.primary.Configure(p.leads(2, []shard.CopyID{1, 2}))
	p.write()
	for range 40 {
		p.primary.Tick()
	}
	p.wants() // 2 is silent now, and without it nothing could be confirmed
	p.holds(2)
}

// Every member whose data are lost leaves in one step, with a learner in place of one of them where there is one.
func TestLostMembersLeaveTogether(t *testing.T) {
	lost := func(id shard.CopyID) bool { return id == 2 || id == 3 }
	p := newTrio(t)
	if got := p.primary.Wanted(20, lost); got != nil {
		t.Fatalf("wants %v, below the write quorum", got)
	}
	p.primary.Configure(p.leads(1, []shard.CopyID{1, 2, 3}, replication.Learner{Copy: 4, Replaces: 2}))
	p.ack(4, 1)
	if got := p.primary.Wanted(20, lost); !slices.Equal(got, []shard.CopyID{1, 4}) {
		t.Fatalf("wants %v", got)
	}
}

// The only copy of a shard takes its successor into C beside itself, as soon as that has caught up, and can then step down for
// it: the primary cannot leave C, and nobody else is in it.
func TestAnOnlyCopyTakesItsSuccessorIn(t *testing.T) {
	only := func(version shard.ConfigVersion, copies ...shard.CopyID) replication.Leadership {
		return replication.Leadership{Epoch: 1, Version: version, Copies: copies, WriteQuorum: 1}
	}
	p := &trio{t: t, primary: replication.Open(theShard, replication.State{Copy: 1}), last: 1}
	e, err := p.primary.Lead(only(1, 1))
	if err != nil {
		t.Fatal(err)
	}
	p.primary.Durable(e.Write.Ticket)
	p.primary.Activate(1)
	with := only(1, 1)
	with.Learners = []replication.Learner{{Copy: 2, Replaces: 1}}
	p.primary.Configure(with)
	p.wants()
	p.ack(2, 1)
	p.wants(1, 2)
	if _, ok := p.primary.StepDown(2); ok || !p.primary.Reconfigure([]shard.CopyID{1, 2}) {
		t.Fatal("it stepped down for a learner, or would not take it in")
	}
	p.primary.Configure(only(2, 1, 2))
	p.write()
	p.holds(2) // a write quorum of one is the primary alone
	if _, ok := p.primary.StepDown(2); ok {
		t.Fatal("it stepped down for a copy that lacks a record")
	}
	p.ack(2, 2)
	if _, ok := p.primary.StepDown(2); !ok {
		t.Fatal("refused to step down")
	}
}

// A primary steps down for a member that holds everything, and never leads that epoch again.
func TestStepDown(t *testing.T) {
	p := newTrio(t)
	p.write()
	if _, ok := p.primary.StepDown(2); ok {
		t.Error("stepped down over an unconfirmed record")
	}
	p.ack(2, 2)
	for _, target := range []shard.CopyID{1, 3, 9} {
		if _, ok := p.primary.StepDown(target); ok {
			t.Errorf("stepped down for copy %d, which does not hold everything or is no peer", target)
		}
	}
	e, ok := p.primary.StepDown(2)
	if !ok || !e.Deposed {
		t.Fatal("refused to step down")
	}
	if _, err := p.primary.Propose([]replication.Record{{}}); err == nil {
		t.Error("it proposes after stepping down")
	}
	if _, err := p.primary.Lead(p.leads(1, []shard.CopyID{1, 2, 3})); err == nil {
		t.Error("it leads the epoch again")
	}
	if round, _ := p.primary.Read(); round != 0 {
		t.Error("it reads after stepping down")
	}
}

// Running with fewer copies than the type writes to. Without an operator's word the primary waits for ever; with it, C becomes those
// that answer and the write quorum as many as they are, and still nothing is confirmed that the old quorum does not hold until
// the map shows it. With the first copy that joins the write quorum rises again, and from proposing that on, records and reads
// need it.
func TestFewerCopiesOnPurpose(t *testing.T) {
	p := newTrio(t)
	p.write()
	for range 20 {
		p.primary.Tick()
	}
	if p.primary.Reconfigure([]shard.CopyID{1}) {
		t.Fatal("nobody has allowed it")
	}
	allowed := p.leads(2, []shard.CopyID{1, 2, 3})
	allowed.Full, allowed.Floor = 2, 1
	p.primary.Configure(allowed)
	p.wants(1)
	if !p.primary.Reconfigure([]shard.CopyID{1}) {
		t.Fatal("refused")
	}
	p.holds(1) // it may still be turned down
	alone := replication.Leadership{Epoch: 1, Version: 3, Copies: []shard.CopyID{1}, WriteQuorum: 1, Full: 2, Floor: 1}
	p.primary.Configure(alone)
	p.holds(2)
	p.wants()
	if round, e := p.primary.Read(); e.Round != round {
		t.Error("a read of the only copy waits")
	}

	alone.Learners = []replication.Learner{{Copy: 4}}
	p.primary.Configure(alone)
	p.ack(4, 2)
	p.wants(1, 4)
	if !p.primary.Reconfigure([]shard.CopyID{1, 4}) {
		t.Fatal("refused")
	}
	p.write()
	p.holds(2) // copy 4 may be elected without this one as soon as the change is decided
	round, e := p.primary.Read()
	if e.Round == round {
		t.Error("a read was verified by the primary alone, and copy 4 may be elected without it")
	}
	if e = p.primary.Ack(replication.Ack{Shard: theShard, Copy: 4, Epoch: 1, LSN: 3, Round: round}); e.Round != round {
		t.Error("copies 1 and 4 are the new quorum")
	}
	p.holds(3)
	p.primary.Configure(replication.Leadership{Epoch: 1, Version: 4, Copies: []shard.CopyID{1, 4}, WriteQuorum: 2, Full: 2})
	p.write()
	p.holds(3)
	p.ack(4, 4)
	p.holds(4)
}

// A permission is used as far as need be: of five copies that write to three, two that answer are two.
func TestAsManyCopiesAsThereAre(t *testing.T) {
	c := replication.Open(theShard, replication.State{Copy: 1})
	five := replication.Leadership{Epoch: 1, Version: 1, Copies: []shard.CopyID{1, 2, 3, 4, 5}, WriteQuorum: 3, Full: 3, Floor: 1}
	e, err := c.Lead(five)
	if err != nil {
		t.Fatal(err)
	}
	p := &trio{t: t, primary: c, last: 1}
	c.Durable(e.Write.Ticket)
	p.ack(2, 1)
	p.ack(3, 1)
	c.Activate(1)
	p.write()
	p.ack(2, 2)
	for range 20 {
		c.Tick()
	}
	p.wants(1, 2)
	if !c.Reconfigure([]shard.CopyID{1, 2}) {
		t.Fatal("refused")
	}
	p.holds(1)
	c.Configure(replication.Leadership{Epoch: 1, Version: 2, Copies: []shard.CopyID{1, 2}, WriteQuorum: 2, Full: 3, Floor: 1})
	p.holds(2)
}

// Two of three copies are lost, and all three must hold a record. One learner that has caught up may not join, since C would be too small with
// it; two may at once. What was confirmed before is on all of the new C; nothing else is until the map shows it.
func TestLearnersJoinTogetherWhenOneIsTooFew(t *testing.T) {
	p := newTrio(t)
	p.ack(3, p.last)
	three := p.leads(2, []shard.CopyID{1, 2, 3}, replication.Learner{Copy: 4, Replaces: 2}, replication.Learner{Copy: 5, Replaces: 3})
	three.WriteQuorum = 3
	p.primary.Configure(three)
	lost := func(id shard.CopyID) bool { return id == 2 || id == 3 }
	p.ack(4, p.last)
	if got := p.primary.Wanted(20, lost); got != nil {
		t.Fatalf("%v is wanted, which is too small a C", got)
	}
	p.ack(5, p.last)
	got := p.primary.Wanted(20, lost)
	if !slices.Equal(got, []shard.CopyID{1, 4, 5}) || !p.primary.Reconfigure(got) {
		t.Fatalf("%v is wanted, both learners have caught up", got)
	}
	p.write()
	p.ack(4, p.last)
	p.ack(5, p.last)
	p.holds(p.last - 1)
	after := p.leads(3, []shard.CopyID{1, 4, 5})
	after.WriteQuorum = 3
	p.primary.Configure(after)
	p.holds(p.last)
}

// A C of as many copies as any type may have exchanges one for a learner: it has no more of them afterwards.
func TestLearnerJoinsALargestC(t *testing.T) {
	p := newTrio(t)
	var all []shard.CopyID
	for id := shard.CopyID(1); id <= shard.MaxReplicas+1; id++ {
		all = append(all, id)
	}
	leaving, joining := all[len(all)-1], shard.CopyID(20)
	p.primary.Configure(p.leads(2, all, replication.Learner{Copy: joining, Replaces: leaving}))
	p.ack(joining, 1)
	want := append(slices.Clone(all[:len(all)-1]), joining)
	if got := p.primary.Wanted(40, func(shard.CopyID) bool { return false }); !slices.Equal(got, want) {
		t.Fatalf("wants %v, not %v", got, want)
	}
	if !p.primary.Reconfigure(want) {
		t.Error("it may not be proposed")
	}
	p.primary.Configure(p.leads(3, want, replication.Learner{Copy: 21}))
	p.ack(21, 1)
	if got := p.primary.Wanted(40, func(shard.CopyID) bool { return false }); got != nil {
		t.Errorf("wants %v, one more than there may be", got)
	}
}

// A learner that is slower than the members which confirm, and keeps up for all that, joins though it never holds everything that is confirmed; not
// before it has done so for a while, and not while the other members of that C are too few to hold it.
func TestSlowLearnerJoins(t *testing.T) {
	nobody := func(shard.CopyID) bool { return false }
	for _, c := range []struct {
		name     string
		learner  replication.Learner
		silences int // of the learner
		want     []shard.CopyID
	}{
		{"one in place of a member that lags", replication.Learner{Copy: 4, Replaces: 3}, 0, []shard.CopyID{1, 2, 4}},
		{"one in place of the member that confirms", replication.Learner{Copy: 4, Replaces: 2}, 0, nil},
		{"one that does not answer for a while", replication.Learner{Copy: 4, Replaces: 3}, 15, nil},
	} {
		p := newTrio(t)
		p.primary.Configure(p.leads(2, []shard.CopyID{1, 2, 3}, c.learner))
		p.ack(4, 1)
		for tick := range replication.LearnerTicks + 5 {
			if got := p.primary.Wanted(1000, nobody); tick > 0 && tick < replication.LearnerTicks && got != nil {
				t.Fatalf("%s: after %d ticks %v is wanted", c.name, tick, got)
			}
			p.write()
			p.ack(3, p.last-1)
			if tick < 30 || tick >= 30+c.silences {
				p.ack(4, p.last-1)
			}
			p.ack(2, p.last)
			p.primary.Tick()
		}
		got := p.primary.Wanted(1000, nobody)
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %v is wanted, not %v", c.name, got, c.want)
		}
		if got != nil && !p.primary.Reconfigure(got) {
			t.Errorf("%s: %v may not be proposed", c.name, got)
		}
	}
}

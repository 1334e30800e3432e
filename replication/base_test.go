package replication_test

import (
	"math/rand/v2"
	"slices"
	"testing"

	"muster/replication"
	"muster/shard"
)

// A log starts only where everything before is confirmed and durable here, and further on each time.
func TestStart(t *testing.T) {
	c := serving(t)
	e, err := c.Propose(make([]replication.Record, 5))
	if err != nil {
		t.Fatal(err)
	}
	start := func(lsn shard.LSN, want bool) replication.Effects {
		t.Helper()
		e, ok := c.Start(lsn)
		if err := c.Check(); ok != want || err != nil {
			t.Errorf("start after %d: %t, want %t; %v", lsn, ok, want, err)
		}
		return e
	}
	c.Ack(replication.Ack{Shard: theShard, Copy: 2, Epoch: 1, LSN: 6})
	start(0, false)
	start(2, false) // neither durable nor confirmed
	c.Durable(e.Write.Ticket)
	start(7, false)
	if e := start(4, true); len(e.Installs) != 1 || e.Installs[0].To != 3 || e.Installs[0].Base != at(1, 4) {
		t.Errorf("copy 3 holds nothing: %+v", e)
	}
	start(4, false)
	start(3, false)
	if e := start(6, true); len(e.Installs) != 1 || e.Installs[0].Base != at(1, 6) {
		t.Errorf("the snapshot did not follow the log's start: %+v", e)
	}
}

// While a peer is filled it is sent nothing else, its old Acks and refusals do not change that, and any sign of life keeps
// it from being taken for gone. Its Ack of the base ends it.
func TestFilling(t *testing.T) {
	c := serving(t)
	e, err := c.Propose(make([]replication.Record, 5))
	if err != nil {
		t.Fatal(err)
	}
	c.Durable(e.Write.Ticket)
	c.Ack(replication.Ack{Shard: theShard, Copy: 2, Epoch: 1, LSN: 6})
	c.Start(4)
	toThird := func(e replication.Effects) (sent []replication.Outgoing) {
		if err := c.Check(); err != nil {
			t.Error(err)
		}
		return slices.DeleteFunc(e.Appends, func(o replication.Outgoing) bool { return o.To != 3 })
	}
	_, read := c.Read()
	e, err = c.Propose(make([]replication.Record, 1))
	if err != nil {
		t.Fatal(err)
	}
	for what, e := range map[string]replication.Effects{
		"a read":     read,
		"a proposal": e,
		"an old ack": c.Ack(replication.Ack{Shard: theShard, Copy: 3, Epoch: 1, LSN: 2}),
		"an old nack": c.Nack(replication.Nack{
			Shard: theShard, Copy: 3, Epoch: 1, Why: replication.Gap, Promised: 1, Last: at(1, 2), History: shard.History{{Epoch: 1, First: 1}},
		}),
	} {
		if sent := toThird(e); len(sent) > 0 || len(e.Installs) > 0 {
			t.Errorf("after %s copy 3 is sent %+v %+v", what, sent, e.Installs)
		}
	}
	for range replication.ProbeTicks - 1 {
		c.Tick()
	}
	if !c.Filling(3, theShard, 1) || c.Filling(2, theShard, 1) || c.Filling(3, theShard, 2) {
		t.Error("who is being filled is not who the primary thinks")
	}
	for tick := range replication.ProbeTicks {
		if e := c.Tick(); len(e.Installs) > 0 != (tick == replication.ProbeTicks-1) {
			t.Errorf("%d ticks after copy 3 answered: %+v", tick+1, e)
		}
	}
	sent := toThird(c.Ack(replication.Ack{Shard: theShard, Copy: 3, Epoch: 1, LSN: 4}))
	if len(sent) != 1 || sent[0].Prev != at(1, 4) || sent[0].Through != 7 || c.Filling(3, theShard, 1) {
		t.Errorf("after the snapshot copy 3 is sent %+v", sent)
	}
}

// Parts of a snapshot are judged like Appends: by address, by epoch, and by what the copy knows already.
func TestOffer(t *testing.T) {
	ok := replication.Install{Shard: theShard, Epoch: 4, From: 1, To: 2, Base: at(3, 9)}
	for _, x := range []struct {
		name   string
		change func(*replication.Install)
		wanted bool
		why    replication.Why // 0: acknowledged, or wanted
	}{
		{"nothing wrong", func(*replication.Install) {}, true, 0},
		{"an end that the copy's log lacks", func(m *replication.Install) { m.Base = at(2, 5) }, true, 0},
		{"what the copy holds", func(m *replication.Install) { m.Base = at(3, 5) }, false, 0},
		{"what is confirmed here", func(m *replication.Install) { m.Base = at(1, 2) }, false, 0},
		{"another copy's", func(m *replication.Install) { m.To = 3 }, false, replication.WrongCopy},
		{"another shard's", func(m *replication.Install) { m.Shard.Number = 9 }, false, replication.WrongCopy},
		{"a lower epoch", func(m *replication.Install) { m.Epoch = 3 }, false, replication.StaleEpoch},
		{"a second primary", func(m *replication.Install) { m.From = 7 }, false, replication.Impossible},
		{"no base", func(m *replication.Install) { m.Base = at(0, 0) }, false, replication.Impossible},
		{"a base of a later epoch", func(m *replication.Install) { m.Base = at(5, 9) }, false, replication.Impossible},
		{"another record where one is confirmed", func(m *replication.Install) { m.Base = at(2, 2) }, false, replication.Impossible},
	} {
		c := replication.Open(theShard, replication.State{
			Copy: 2, Promised: 4, Last: at(3, 5), History: shard.History{{Epoch: 1, First: 1}, {Epoch: 3, First: 4}}, Confirmed: 2,
		})
		c.Append(replication.Append{Shard: theShard, Epoch: 4, From: 1, To: 2, Prev: at(1, 2)}) // it follows copy 1
		m := ok
		x.change(&m)
		e, wanted := c.Offer(m)
		refused := len(e.Nacks) == 1 && e.Nacks[0].Why == x.why
		acked := len(e.Acks) == 1 && e.Acks[0].LSN == m.Base.LSN
		if wanted != x.wanted || refused != (x.why != 0) || acked == (x.wanted || refused) || e.Write != nil {
			t.Errorf("%s: wanted %t, %+v", x.name, wanted, e)
		}
		if err := c.Check(); err != nil {
			t.Errorf("%s: %v", x.name, err)
		}
	}
}

// A snapshot of a higher epoch is a promise, like an Append: it is durable before anything that rests on it is said.
func TestOfferPromises(t *testing.T) {
	c := replication.Open(theShard, replication.State{Copy: 2, Promised: 1, Last: at(1, 1), History: shard.History{{Epoch: 1, First: 1}}, Confirmed: 1})
	e, wanted := c.Offer(replication.Install{Shard: theShard, Epoch: 2, From: 1, To: 2, Base: at(1, 1)})
	if wanted || e.Write == nil || e.Write.Promise != 2 || len(e.Acks) != 0 {
		t.Fatalf("%t %+v", wanted, e)
	}
	if e := c.Durable(e.Write.Ticket); len(e.Acks) != 1 || e.Acks[0].LSN != 1 {
		t.Errorf("%+v", e)
	}
}

// Wherever the primary's log starts, and wherever the other's starts and parts from it, the other ends up with the same.
func TestCommonPrefixWithBase(t *testing.T) {
	filled := 0
	for seed := range uint64(2000) {
		dice := rand.New(rand.NewPCG(seed, 3))
		shared := randomLog(dice, nil, 0, dice.IntN(20))
		epoch := shard.Epoch(0)
		if n := len(shared); n > 0 {
			epoch = shared[n-1].epoch
		}
		mine := &node{id: 1, disk: disk{log: randomLog(dice, shared, epoch, dice.IntN(30)), promised: 1000}}
		theirs := &node{id: 2, disk: disk{log: randomLog(dice, shared, epoch+500, dice.IntN(30)), promised: 1000}}
		mine.disk.base = shard.LSN(dice.IntN(len(mine.disk.log) + 1))
		theirs.disk.base = shard.LSN(dice.IntN(len(shared) + 1))
		mine.disk.confirmed, theirs.disk.confirmed = mine.disk.base, theirs.disk.base
		mine.start()
		theirs.start()
		if questions := bringTogether(t, mine, theirs); questions > 8 {
			t.Errorf("seed %d: %d questions", seed, questions)
		}
		if !slices.Equal(mine.log, theirs.log) {
			t.Fatalf("seed %d: %v is not %v", seed, theirs.log, mine.log)
		}
		if theirs.stage != nil {
			filled++
		}
	}
	if filled < 200 || filled > 1800 {
		t.Errorf("%d of 2000 were sent the snapshot: the test is lopsided", filled)
	}
}

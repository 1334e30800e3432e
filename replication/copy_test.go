package replication_test

import (
	"errors"
	"math/rand/v2"
	"slices"
	"testing"

	"muster/replication"
	"muster/shard"
)

// The scripts tell what a copy does in a story; here is what it does at its limits.

func at(epoch shard.Epoch, lsn shard.LSN) shard.Position {
	return shard.Position{Epoch: epoch, LSN: lsn}
}

func recordsAt(positions ...shard.Position) []replication.Record {
	records := make([]replication.Record, len(positions))
	for i, p := range positions {
		records[i] = replication.Record{Position: p, Kind: replication.KindCommand}
	}
	return records
}

// serving returns copy 1 of three as the primary of epoch 1, its epoch-start record confirmed by copy 2.
func serving(t testing.TB) *replication.Copy {
	t.Helper()
	c := replication.Open(theShard, replication.State{Copy: 1})
	e, err := c.Lead(replication.Leadership{Epoch: 1, Version: 1, Copies: []shard.CopyID{1, 2, 3}, WriteQuorum: 2})
	if err != nil {
		t.Fatal(err)
	}
	c.Durable(e.Write.Ticket)
	if e := c.Ack(replication.Ack{Shard: theShard, Copy: 2, Epoch: 1, LSN: 1}); !e.Established {
		t.Fatalf("not established: %+v", c.Status())
	}
	c.Activate(1)
	return c
}

// Whatever a replica must not take it refuses by its reason, stores nothing of it, and promises nothing for it.
func TestAppendRefusals(t *testing.T) {
	follower := func() *replication.Copy {
		c := replication.Open(theShard, replication.State{
			Copy: 2, Promised: 4, Last: at(3, 5), History: shard.History{{Epoch: 1, First: 1}, {Epoch: 3, First: 4}}, Confirmed: 2,
		})
		return c
	}
	ok := replication.Append{Shard: theShard, Epoch: 4, From: 1, To: 2, Prev: at(3, 5), Records: recordsAt(at(4, 6))}
	for _, x := range []struct {
		name   string
		change func(*replication.Append)
		want   replication.Why
	}{
		{"nothing wrong", func(*replication.Append) {}, 0},
		{"another copy's", func(m *replication.Append) { m.To = 3 }, replication.WrongCopy},
		{"another shard's", func(m *replication.Append) { m.Shard.Number = 9 }, replication.WrongCopy},
		{"a lower epoch", func(m *replication.Append) { m.Epoch = 3; m.Records = nil }, replication.StaleEpoch},
		{"beyond the log", func(m *replication.Append) { m.Prev = at(3, 7); m.Records = nil }, replication.Gap},
		{"after another record", func(m *replication.Append) { m.Prev = at(2, 5) }, replication.Conflict},
		{"a hole between records", func(m *replication.Append) { m.Records = recordsAt(at(4, 6), at(4, 8)) }, replication.Impossible},
		{"a hole after prev", func(m *replication.Append) { m.Records = recordsAt(at(4, 7)) }, replication.Impossible},
		{"epochs that go back", func(m *replication.Append) { m.Records = recordsAt(at(4, 6), at(3, 7)) }, replication.Impossible},
		{"a record of a later epoch", func(m *replication.Append) { m.Records = recordsAt(at(5, 6)) }, replication.Impossible},
		{"an epoch without a position", func(m *replication.Append) { m.Prev = at(1, 0); m.Records = nil }, replication.Impossible},
		{"another record where one is confirmed", func(m *replication.Append) {
			m.Prev, m.Records = at(1, 1), recordsAt(at(2, 2))
		}, replication.Impossible},
	} {
		c, m := follower(), ok
		x.change(&m)
		e := c.Append(m)
		switch {
		case x.want == 0 && (len(e.Nacks) != 0 || e.Write == nil):
			t.Errorf("%s: %+v", x.name, e)
		case x.want != 0 && (len(e.Nacks) != 1 || e.Nacks[0].Why != x.want || e.Write != nil || len(e.Acks) != 0):
			t.Errorf("%s: want %s, got %+v", x.name, x.want, e)
		}
		if err := c.Check(); err != nil {
			t.Errorf("%s: %v", x.name, err)
		}
	}
}

// One epoch has one primary: a second one is refused, by those who follow the first and by the first itself.
func TestTwoPrimariesOfOneEpoch(t *testing.T) {
	c := replication.Open(theShard, replication.State{Copy: 2})
	first := replication.Append{Shard: theShard, Epoch: 1, From: 1, To: 2, Records: recordsAt(at(1, 1))}
	c.Append(first)
	second := first
	second.From = 3
	if e := c.Append(second); len(e.Nacks) != 1 || e.Nacks[0].Why != replication.Impossible {
		t.Errorf("the follower took %+v", e)
	}
	p := serving(t)
	second.To = 1
	if e := p.Append(second); len(e.Nacks) != 1 || e.Nacks[0].Why != replication.Impossible || p.Status().Role != replication.Primary {
		t.Errorf("the primary took %+v", e)
	}
}

// Answers that cannot be answers to this primary change nothing.
func TestForeignAnswers(t *testing.T) {
	c := serving(t)
	e, err := c.Propose(recordsAt(at(0, 0)))
	if err != nil {
		t.Fatal(err)
	}
	c.Durable(e.Write.Ticket)
	before := c.Fingerprint(nil)
	for name, a := range map[string]replication.Ack{
		"another epoch":    {Shard: theShard, Copy: 2, Epoch: 2, LSN: 2},
		"not in C":         {Shard: theShard, Copy: 9, Epoch: 1, LSN: 2},
		"itself":           {Shard: theShard, Copy: 1, Epoch: 1, LSN: 2},
		"beyond the log":   {Shard: theShard, Copy: 2, Epoch: 1, LSN: 3},
		"a round to come":  {Shard: theShard, Copy: 2, Epoch: 1, LSN: 2, Round: 1},
		"another shard":    {Shard: shard.ID{Type: "u"}, Copy: 2, Epoch: 1, LSN: 2},
		"an earlier epoch": {Shard: theShard, Copy: 2, LSN: 2},
	} {
		if e := c.Ack(a); e.Confirmed != 0 || !slices.Equal(c.Fingerprint(nil), before) {
			t.Errorf("%s: %+v", name, e)
		}
	}
	for name, m := range map[string]replication.Nack{
		"another epoch":  {Shard: theShard, Copy: 2, Epoch: 2, Why: replication.StaleEpoch, Promised: 9},
		"not in C":       {Shard: theShard, Copy: 9, Epoch: 1, Why: replication.StaleEpoch, Promised: 9},
		"stale, yet not": {Shard: theShard, Copy: 2, Epoch: 1, Why: replication.StaleEpoch, Promised: 1},
	} {
		if e := c.Nack(m); e.Deposed || !slices.Equal(c.Fingerprint(nil), before) {
			t.Errorf("%s: %+v", name, e)
		}
	}
}

// A silent peer is sent MaxInFlight records and no more; its Ack lets as many follow as it acknowledges.
func TestWindow(t *testing.T) {
	c := serving(t)
	const batch = 1000
	sent := shard.LSN(1)
	take := func(e replication.Effects) {
		for _, o := range e.Appends {
			if o.To != 2 {
				continue
			}
			if o.Prev.LSN != sent {
				t.Fatalf("sent from %d after %d", o.Prev.LSN, sent)
			}
			sent = o.Through
		}
	}
	for range 6 {
		e, err := c.Propose(make([]replication.Record, batch))
		if err != nil {
			t.Fatal(err)
		}
		take(e)
	}
	if sent != 1+replication.MaxInFlight {
		t.Errorf("a silent peer was sent up to %d", sent)
	}
	take(c.Ack(replication.Ack{Shard: theShard, Copy: 2, Epoch: 1, LSN: 501}))
	if sent != 501+replication.MaxInFlight {
		t.Errorf("after 500 more were acknowledged it was sent up to %d", sent)
	}
}

// What cannot be confirmed piles up to a limit, and then is refused with nothing appended.
func TestPropose(t *testing.T) {
	c := serving(t)
	if _, err := c.Propose(make([]replication.Record, replication.MaxUnconfirmed)); err != nil {
		t.Fatal(err)
	}
	last := c.Status().Last
	_, err := c.Propose(make([]replication.Record, 1))
	if shard.CodeOf(err) != shard.CodeOverloaded || c.Status().Last != last {
		t.Errorf("%v, log to %s, was %s", err, c.Status().Last, last)
	}
	var fault *shard.Error
	if !errors.As(err, &fault) || fault.Outcome != shard.NotApplied || fault.Epoch != 1 || fault.Shard != theShard {
		t.Errorf("%+v does not say what and where", err)
	}
	if e, err := replication.Open(theShard, replication.State{Copy: 1}).Propose(nil); shard.CodeOf(err) != shard.CodeUnavailable {
		t.Errorf("a replica took a proposal: %+v, %v", e, err)
	}
}

// A primary finds where it and any other log part, in as many questions as its Nacks need to tell of the other's epochs.
func TestCommonPrefix(t *testing.T) {
	for seed := range uint64(300) {
		dice := rand.New(rand.NewPCG(seed, 1))
		shared := randomLog(dice, nil, 0, dice.IntN(40))
		epoch := shard.Epoch(0)
		if n := len(shared); n > 0 {
			epoch = shared[n-1].epoch
		}
		mine := &node{id: 1, disk: disk{log: randomLog(dice, shared, epoch, dice.IntN(120))}}
		theirs := &node{id: 2, disk: disk{log: randomLog(dice, shared, epoch+500, dice.IntN(120))}}
		mine.disk.promised, theirs.disk.promised = 1000, 1000
		mine.start()
		theirs.start()
		if questions := bringTogether(t, mine, theirs); questions > 12 {
			t.Errorf("seed %d: %d questions", seed, questions)
		}
		if !slices.Equal(mine.log, theirs.log) {
			t.Fatalf("seed %d: %v is not %v", seed, theirs.log, mine.log)
		}
	}
}

// randomLog appends records to a log, each the first of a new epoch as likely as not.
func randomLog(dice *rand.Rand, log journal, epoch shard.Epoch, more int) journal {
	log = slices.Clip(log)
	for range more {
		if epoch == 0 || dice.IntN(2) == 0 {
			epoch += 1 + shard.Epoch(dice.IntN(3))
		}
		log = append(log, entry{epoch: epoch, kind: replication.KindCommand, seq: 1})
	}
	return log
}

// bringTogether lets a lead epoch 1001 until b holds its log, and counts the Appends that took.
func bringTogether(t *testing.T, a, b *node) int {
	t.Helper()
	e, err := a.copy.Lead(replication.Leadership{Epoch: 1001, Version: 1, Copies: []shard.CopyID{a.id, b.id}, WriteQuorum: 2})
	if err != nil {
		t.Fatal(err)
	}
	a.log = a.log.with(e.Write)
	out := a.sends(e)
	questions := 1
	for ; len(out) > 0 && questions <= 1000; questions++ {
		var answer replication.Effects
		switch m := out[0].(type) {
		case replication.Append:
			answer = b.copy.Append(m)
		case snapshot:
			b.stage = m.stands
			answer = b.copy.Install(m.Install)
		}
		if answer.Write != nil {
			b.log = b.replaced(b.log, answer.Write).with(answer.Write)
			answer.Merge(b.copy.Durable(answer.Write.Ticket))
		}
		out = out[1:]
		for _, n := range answer.Nacks {
			out = append(out, a.sends(a.copy.Nack(n))...)
		}
		for _, k := range answer.Acks {
			out = append(out, a.sends(a.copy.Ack(k))...)
		}
		if err := errors.Join(a.copy.Check(), b.copy.Check()); err != nil {
			t.Fatal(err)
		}
	}
	return questions
}

// sends returns what a primary's effects send to its only peer.
func (n *node) sends(e replication.Effects) (out []any) {
	for _, o := range e.Appends {
		m := o.Append
		m.Records = n.log.records(m.Prev.LSN, o.Through)
		out = append(out, m)
	}
	for _, m := range e.Installs {
		out = append(out, snapshot{m, n.log[:m.Base.LSN]})
	}
	return out
}

// A state that rot or a defect left behind is told apart from one the protocol leaves.
func TestStateCheck(t *testing.T) {
	good := replication.State{
		Copy: 1, Promised: 3, Last: at(3, 4), History: shard.History{{Epoch: 1, First: 1}, {Epoch: 3, First: 4}}, Confirmed: 4,
	}
	if err := good.Check(); err != nil {
		t.Error(err)
	}
	if err := (replication.State{Copy: 1}).Check(); err != nil {
		t.Error(err)
	}
	cut := good
	cut.Base, cut.History = at(1, 2), good.History.After(at(1, 2))
	if err := cut.Check(); err != nil {
		t.Error(err)
	}
	for name, spoil := range map[string]func(*replication.State){
		"no copy id":                   func(s *replication.State) { s.Copy = 0 },
		"promise below the log":        func(s *replication.State) { s.Promised = 2 },
		"confirmed beyond the log":     func(s *replication.State) { s.Confirmed = 5 },
		"log without history":          func(s *replication.State) { s.History = nil },
		"history beyond the log":       func(s *replication.State) { s.Last = at(1, 3) },
		"history of another last":      func(s *replication.State) { s.Last = at(2, 4) },
		"history that begins too late": func(s *replication.State) { s.History = s.History[1:] },
		"history that goes back": func(s *replication.State) {
			s.History = shard.History{{Epoch: 3, First: 1}, {Epoch: 3, First: 2}}
		},
		"position without an epoch":   func(s *replication.State) { s.Last, s.History = at(0, 4), nil },
		"history from before the log": func(s *replication.State) { s.Base = at(1, 2) },
		"history of another base":     func(s *replication.State) { s.Base, s.History = at(2, 4), s.History[1:] },
		"base beyond the log":         func(s *replication.State) { s.Base, s.History = at(3, 5), s.History.After(at(3, 5)) },
		"base that is not confirmed":  func(s *replication.State) { s.Base, s.History, s.Confirmed = at(3, 4), s.History[1:], 3 },
	} {
		s := good
		s.History = slices.Clone(good.History)
		if spoil(&s); s.Check() == nil {
			t.Errorf("%s: %+v passes", name, s)
		}
	}
}

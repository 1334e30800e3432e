package replication_test

import (
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"muster/replication"
	"muster/shard"
)

// Merged effects lead to the same disk, the same position of every peer and the same answers as single ones, wherever a
// run is cut into batches. A replica follows primaries that come and go, each with a log of its own.
func TestMergeWrites(t *testing.T) {
	for seed := range uint64(500) {
		dice := rand.New(rand.NewPCG(seed, 2))
		c := replication.Open(theShard, replication.State{Copy: 2})
		var single, merged journal
		var promised [2]shard.Epoch
		var batch replication.Effects
		var acked [2]shard.LSN
		epoch := shard.Epoch(1)
		for range 30 {
			if dice.IntN(3) == 0 {
				epoch++
			}
			e := c.Append(nextAppend(dice, c, epoch))
			if e.Write != nil {
				single = single.with(e.Write)
				promised[0] = max(promised[0], e.Write.Promise)
				done := c.Durable(e.Write.Ticket)
				e.Acks = append(e.Acks, done.Acks...)
			}
			for _, a := range e.Acks {
				acked[0] = a.LSN
			}
			batch.Merge(e)
			if dice.IntN(4) == 0 {
				merged = flush(&batch, merged, &promised[1], &acked[1])
			}
		}
		merged = flush(&batch, merged, &promised[1], &acked[1])
		if !slices.Equal(single, merged) || promised[0] != promised[1] || acked[0] != acked[1] {
			t.Fatalf("seed %d: one by one %v, promised and acked %v; merged %v", seed, single, promised, merged)
		}
	}
}

func flush(e *replication.Effects, log journal, promised *shard.Epoch, acked *shard.LSN) journal {
	if e.Write != nil {
		log = log.with(e.Write)
		*promised = max(*promised, e.Write.Promise)
	}
	for _, a := range e.Acks {
		*acked = a.LSN
	}
	*e = replication.Effects{}
	return log
}

// nextAppend makes an Append that fits the copy's log somewhere.
func nextAppend(dice *rand.Rand, c *replication.Copy, epoch shard.Epoch) replication.Append {
	s := c.Status()
	m := replication.Append{Shard: theShard, Epoch: epoch, From: 1, To: s.Copy, Prev: s.Last}
	if s.Promised < epoch {
		m.Prev = c.At(shard.LSN(dice.IntN(int(s.Last.LSN) + 1)))
	}
	for i := range dice.IntN(4) {
		m.Records = append(m.Records, replication.Record{
			Position: at(epoch, m.Prev.LSN+1+shard.LSN(i)), Kind: replication.KindCommand, Seq: shard.Seq(dice.IntN(100)),
		})
	}
	return m
}

// Appends to one peer become one message where they follow one another, and stay apart where the primary started over.
func TestMergeAppends(t *testing.T) {
	out := func(to shard.CopyID, after, through shard.LSN, round uint64) replication.Outgoing {
		return replication.Outgoing{
			Append:  replication.Append{Epoch: 1, To: to, Prev: at(1, after), Round: round, Confirmed: after},
			Through: through,
		}
	}
	var e replication.Effects
	for _, o := range []replication.Outgoing{
		out(2, 1, 3, 0), out(3, 1, 3, 0), // a proposal
		out(2, 3, 4, 0), out(3, 3, 4, 0), // another
		out(2, 4, 4, 7), // a round
		out(3, 2, 4, 0), // copy 3 missed something
	} {
		e.Merge(replication.Effects{Appends: []replication.Outgoing{o}})
	}
	want := []replication.Outgoing{out(2, 1, 4, 7), out(3, 1, 4, 0), out(3, 2, 4, 0)}
	want[0].Confirmed, want[1].Confirmed = 4, 3
	if len(e.Appends) != len(want) {
		t.Fatalf("%d messages: %+v", len(e.Appends), e.Appends)
	}
	for i, o := range e.Appends {
		if o.To != want[i].To || o.Prev != want[i].Prev || o.Through != want[i].Through || o.Round != want[i].Round || o.Confirmed != want[i].Confirmed {
			t.Errorf("message %d is %+v, want %+v", i, o, want[i])
		}
	}
}

// An installed snapshot replaces what the writes before it would have stored; what is truncated and appended after it counts.
func TestMergeInstall(t *testing.T) {
	e := replication.Effects{Write: &replication.Write{Ticket: 1, Promise: 2, Truncate: 5, Records: make([]replication.Record, 3), Confirmed: 4}}
	e.Merge(replication.Effects{Write: &replication.Write{Ticket: 2, Install: at(2, 40), Confirmed: 40}})
	e.Merge(replication.Effects{Write: &replication.Write{Ticket: 3, Records: []replication.Record{{Position: at(2, 41)}, {Position: at(2, 42)}}, Confirmed: 40}})
	e.Merge(replication.Effects{Write: &replication.Write{Ticket: 4, Truncate: 42, Records: []replication.Record{{Position: at(3, 42)}}, Confirmed: 41}})
	want := &replication.Write{
		Ticket: 4, Promise: 2, Install: at(2, 40), Confirmed: 41,
		Records: []replication.Record{{Position: at(2, 41)}, {Position: at(3, 42)}},
	}
	if !reflect.DeepEqual(e.Write, want) {
		t.Errorf("merged to %+v, want %+v", e.Write, want)
	}
}

// The records of a merged write never grow into what the caller of Propose or the sender of an Append holds.
func TestMergeLeavesOthersAlone(t *testing.T) {
	c := serving(t)
	room := make([]replication.Record, 1, 4)
	first, err := c.Propose(room)
	if err != nil {
		t.Fatal(err)
	}
	second, err := c.Propose(make([]replication.Record, 1))
	if err != nil {
		t.Fatal(err)
	}
	first.Merge(second)
	if len(first.Write.Records) != 2 || first.Write.Ticket != second.Write.Ticket {
		t.Fatalf("merged write: %+v", first.Write)
	}
	if room[:2][1].LSN != 0 {
		t.Errorf("the proposer's slice got record %s", room[:2][1].Position)
	}
}

// BenchmarkPropose is a primary with two replicas: a batch is proposed, synced and acknowledged. Per record it costs O(1)
// and no allocation; the few are per batch.
func BenchmarkPropose(b *testing.B) {
	for _, batch := range []int{1, 64} {
		b.Run(map[int]string{1: "one", 64: "64"}[batch], func(b *testing.B) {
			c := serving(b)
			records := make([]replication.Record, batch)
			b.ReportAllocs()
			for b.Loop() {
				e, err := c.Propose(records)
				if err != nil {
					b.Fatal(err)
				}
				last := records[batch-1].LSN
				c.Durable(e.Write.Ticket)
				c.Ack(replication.Ack{Shard: theShard, Copy: 2, Epoch: 1, LSN: last})
				if e := c.Ack(replication.Ack{Shard: theShard, Copy: 3, Epoch: 1, LSN: last}); c.Confirmed() != last {
					b.Fatalf("%+v", e)
				}
			}
		})
	}
}

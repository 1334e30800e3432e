package replication_test

import (
	"testing"

	"muster/replication"
	"muster/shard"
)

// FuzzCopy feeds a copy whatever a network and a confused owner could: nothing may panic, break an invariant, or hand the
// journal a write that does not follow the one before.
func FuzzCopy(f *testing.F) {
	f.Add([]byte{2, 1, 3, 0, 0, 1, 0, 2, 1, 0, 0, 3, 5, 0, 6, 2})
	f.Add([]byte{0, 1, 0, 0, 3, 1, 8, 0, 1, 2, 2, 0, 4, 2, 8, 0, 2, 3, 7, 7})
	f.Fuzz(func(t *testing.T, script []byte) {
		in := &input{bytes: script}
		n := &node{id: 1}
		n.start()
		for len(in.bytes) > 0 {
			before := n.disk.promised
			in.step(t, n)
			if err := n.copy.Check(); err != nil {
				t.Fatal(err)
			}
			if n.disk.promised < before {
				t.Fatalf("the promise went back from %d to %d", before, n.disk.promised)
			}
			if last := n.copy.Status().Last; last.LSN != shard.LSN(len(n.log)) {
				t.Fatalf("the copy's log ends at %s, the journal was given %d records", last, len(n.log))
			}
		}
	})
}

// input turns bytes into calls.
type input struct{ bytes []byte }

// next returns a number below limit, 0 when the bytes are used up.
func (in *input) next(limit int) uint64 {
	if len(in.bytes) == 0 {
		return 0
	}
	b := in.bytes[0]
	in.bytes = in.bytes[1:]
	return uint64(int(b) % limit)
}

func (in *input) epoch() shard.Epoch { return shard.Epoch(in.next(6)) }
func (in *input) lsn() shard.LSN     { return shard.LSN(in.next(9)) }
func (in *input) copy() shard.CopyID { return shard.CopyID(in.next(5)) }

func (in *input) step(t *testing.T, n *node) {
	var e replication.Effects
	c := n.copy
	switch in.next(15) {
	case 0:
		e = c.Append(in.append())
	case 1:
		e = c.Ack(replication.Ack{Shard: theShard, Copy: in.copy(), Epoch: in.epoch(), LSN: in.lsn(), Round: in.next(4)})
	case 2:
		e, _ = c.Lead(replication.Leadership{Epoch: in.epoch(), Copies: []shard.CopyID{1, 2, 3}, WriteQuorum: int(in.next(5))})
	case 3:
		if c.Status().Established { // the map never says so before
			e = c.Activate(1)
		}
	case 4:
		e = c.Seal(in.epoch())
	case 5:
		e = c.Durable(replication.Ticket(1 << 40)) // all of them
	case 6:
		e, _ = c.Propose(make([]replication.Record, in.next(4)))
	case 7:
		e = c.Tick()
	case 8:
		e = c.Nack(in.nack())
	case 9:
		_, e = c.Read()
	case 10:
		e = c.Follow(in.epoch())
	case 12:
		e, _ = c.Start(in.lsn())
	case 13:
		e, _ = c.Offer(in.install())
	case 14:
		e = c.Install(in.install())
	case 11:
		if len(n.queue) > 0 {
			e = c.Durable(n.commit())
		}
	}
	in.carry(t, n, e)
}

func (in *input) append() replication.Append {
	m := replication.Append{
		Shard: theShard, Epoch: in.epoch(), From: in.copy(), To: shard.CopyID(1 + in.next(2)),
		Prev: at(in.epoch(), in.lsn()), Confirmed: in.lsn(), Round: in.next(3),
	}
	p := m.Prev
	for range in.next(4) {
		p = at(p.Epoch+in.epoch()%2, p.LSN+1)
		m.Records = append(m.Records, recordsAt(p)...)
	}
	return m
}

func (in *input) install() replication.Install {
	return replication.Install{
		Shard: theShard, Epoch: in.epoch(), From: in.copy(), To: shard.CopyID(1 + in.next(2)), Base: at(in.epoch(), in.lsn()),
	}
}

func (in *input) nack() replication.Nack {
	m := replication.Nack{
		Shard: theShard, Copy: in.copy(), Epoch: in.epoch(), Why: replication.Why(in.next(7)), Promised: in.epoch(),
		Last: at(in.epoch(), in.lsn()),
	}
	for range in.next(3) {
		m.History = append(m.History, shard.EpochStart{Epoch: in.epoch(), First: in.lsn()})
	}
	return m
}

func (in *input) carry(t *testing.T, n *node, e replication.Effects) {
	if w := e.Write; w != nil {
		end := shard.LSN(len(n.log))
		if w.Install.LSN != 0 {
			end = w.Install.LSN
			n.stage = make(journal, end)
		}
		if w.Truncate != 0 {
			if w.Truncate > end || w.Truncate <= n.disk.confirmed {
				t.Fatalf("write %+v cuts a log of %d records, %d confirmed", w, end, n.disk.confirmed)
			}
			end = w.Truncate - 1
		}
		if len(w.Records) > 0 && w.Records[0].LSN != end+1 {
			t.Fatalf("write %+v follows record %d", w, end)
		}
		n.queue = append(n.queue, w)
		n.log = n.replaced(n.log, w).with(w)
	}
	for _, o := range e.Appends {
		if o.Prev.LSN > o.Through || o.Prev.LSN < n.copy.Status().Base || o.Through > shard.LSN(len(n.log)) {
			t.Fatalf("sends %d to %d of %d records", o.Prev.LSN, o.Through, len(n.log))
		}
	}
	for _, a := range e.Acks {
		if a.LSN > shard.LSN(len(n.log)) {
			t.Fatalf("acknowledges %d of %d records", a.LSN, len(n.log))
		}
	}
}

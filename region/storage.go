package region

import (
	"fmt"

	"muster/journal"
	"muster/replication"
	"muster/shard"
)

// storage is what a host knows of its copy's log beside the protocol: where each entity's records are, which requests
// left which record, the newest records' bytes, and what may be read back. Owned by the host.
type storage struct {
	journal   *journal.Journal
	copy      shard.CopyID
	tail      tail
	heads     heads
	requests  requests
	unsynced  queue[unsynced]
	last      shard.LSN
	durable   shard.LSN // the journal can read back up to here
	confirmed shard.LSN
	crowded   bool // the journal has more to write than it should, as of this batch
}

// unsynced is a write under way and where the log ends with it.
type unsynced struct {
	ticket replication.Ticket
	last   shard.LSN
}

// rebuild reads the whole log once.
func (s *storage) rebuild() error {
	if s.last == 0 {
		return nil
	}
	err := s.journal.Scan(s.copy, func(r *replication.Record) error {
		s.heads.note(r)
		s.requests.note(r)
		s.heads.confirm(min(s.confirmed, r.LSN))
		return nil
	})
	if err != nil {
		return fmt.Errorf("read the log of copy %d: %w", s.copy, err)
	}
	return nil
}

// note takes a write into account that goes to the journal. Only a primary keeps the bytes.
func (s *storage) note(w *replication.Write, leading bool) {
	if w.Truncate > 0 {
		s.truncate(w.Truncate)
	}
	s.add(w.Records, leading)
	s.unsynced.push(unsynced{w.Ticket, s.last})
}

func (s *storage) truncate(lsn shard.LSN) {
	s.heads.truncate(lsn)
	s.requests.truncate(lsn)
	s.tail.reset()
	s.last = lsn - 1
	s.durable = min(s.durable, s.last)
	for i := range s.unsynced.all() {
		u := &s.unsynced.all()[i]
		u.last = min(u.last, s.last)
	}
}

func (s *storage) add(records []replication.Record, leading bool) {
	if len(records) == 0 {
		return
	}
	for i := range records {
		s.heads.note(&records[i])
		s.requests.note(&records[i])
	}
	s.last = records[len(records)-1].LSN
	if leading {
		s.keep(records)
	}
}

// keep adds records to the tail, one piece for each epoch: a new primary's first write may also hold its last as a replica.
func (s *storage) keep(records []replication.Record) {
	size := 0
	for i := range records {
		size += records[i].EncodedSize()
	}
	b := make([]byte, 0, size)
	p := piece{epoch: records[0].Epoch, first: records[0].LSN, ends: make([]int, 0, len(records))}
	for i := range records {
		r := &records[i]
		if r.Epoch != p.epoch {
			p.b = b[:len(b):len(b)]
			s.tail.add(p)
			b = b[len(b):]
			p = piece{epoch: r.Epoch, first: r.LSN}
		}
		b = r.Append(b)
		p.ends = append(p.ends, len(b))
	}
	p.b = b
	s.tail.add(p)
}

// synced takes into account that the write of that ticket, and those before it, are durable.
func (s *storage) synced(ticket replication.Ticket) {
	for s.unsynced.len() > 0 && s.unsynced.front().ticket <= ticket {
		s.durable = s.unsynced.pop().last
	}
	s.tail.trim(s.durable)
}

// confirm advances what is known to be confirmed.
func (s *storage) confirm(lsn shard.LSN) {
	if lsn > s.confirmed {
		s.confirmed = lsn
		s.heads.confirm(lsn)
	}
}

// record returns one record of the log, from memory or from the journal; one that is not durable only while it is led.
func (s *storage) record(lsn shard.LSN) (replication.Record, error) {
	if b, ok := s.tail.get(lsn); ok {
		r, _, err := replication.DecodeRecord(b)
		return r, err
	}
	records, err := s.journal.Read(s.copy, lsn, lsn, maxFrame)
	if err != nil {
		return replication.Record{}, err
	}
	return records[0], nil
}

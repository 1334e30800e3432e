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
	journal *journal.Journal
	copy    shard.CopyID
	tail    tail
	index
	unsynced   queue[unsynced]
	base       shard.LSN // the log starts after it
	last       shard.LSN
	durable    shard.LSN // the journal can read back up to here
	confirmed  shard.LSN
	compaction compaction
	crowded    bool               // the journal has more to write than it should, as of this batch
	remembered bool               // the requests apart from the log were read, or are being
	installed  replication.Ticket // the write of a shard snapshot whose requests are not read yet, 0 for none
}

// unsynced is a write under way and where the log ends with it.
type unsynced struct {
	ticket replication.Ticket
	last   shard.LSN
}

func newStorage(r *Region, s replication.State, x index) storage {
	x.heads.confirm(s.Confirmed)
	return storage{
		journal: r.cfg.Journal, copy: s.Copy, index: x, tail: tail{limit: r.limits.Tail},
		base: s.Base.LSN, last: s.Last.LSN, durable: s.Last.LSN, confirmed: s.Confirmed,
	}
}

// remember reads the requests that are apart from the log.
func (s *storage) remember() error {
	after := replication.Key{Kind: replication.KindRequests}
	for more := true; more; {
		records, rest, err := s.journal.Apart(s.copy, after, maxFrame)
		if err != nil {
			return fmt.Errorf("read the requests of copy %d: %w", s.copy, err)
		}
		for i := range records {
			after = records[i].Key()
			m, err := rememberedOf(&records[i])
			if err != nil {
				return fmt.Errorf("read the requests of session %d of copy %d: %w", after.Session, s.copy, err)
			}
			s.requests.restore(m, s.base)
		}
		more = rest
	}
	return nil
}

// note takes a write into account that goes to the journal. Only a primary keeps the bytes.
func (s *storage) note(w *replication.Write, leading bool) {
	if w.Install.LSN > 0 {
		s.install(w.Install.LSN, w.Ticket)
	}
	if w.Truncate > 0 {
		s.truncate(w.Truncate)
	}
	s.add(w.Records, leading)
	s.unsynced.push(unsynced{w.Ticket, s.last})
}

// install forgets the log: a shard snapshot takes its place, with the write of that ticket.
func (s *storage) install(base shard.LSN, ticket replication.Ticket) {
	s.index = newIndex()
	s.tail.reset()
	s.base, s.last, s.durable, s.installed = base, base, 0, ticket
	for i := range s.unsynced.all() {
		s.unsynced.all()[i].last = 0
	}
}

// cut forgets what the log has no more: it starts after lsn.
func (s *storage) cut(lsn shard.LSN) {
	s.base = lsn
	s.heads.cut(lsn)
	s.length.cut(lsn)
}

// path returns what to read to load the entity, nil when there is nothing.
func (s *storage) path(entity shard.EntityID) *path {
	p := s.heads.path(entity)
	if p == nil && s.base > 0 {
		return &path{apart: true}
	}
	return p
}

func (s *storage) truncate(lsn shard.LSN) {
	s.index.truncate(lsn)
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
		s.index.note(&records[i])
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
		b = r.Encode(b)
		p.ends = append(p.ends, len(b))
	}
	p.b = b
	s.tail.add(p)
}

// synced takes into account that the write of that ticket, and those before it, are durable.
func (s *storage) synced(ticket replication.Ticket) error {
	for s.unsynced.len() > 0 && s.unsynced.front().ticket <= ticket {
		s.durable = s.unsynced.pop().last
	}
	s.heads.confirm(min(s.confirmed, s.durable))
	s.tail.trim(s.durable)
	if s.installed == 0 || s.installed > ticket {
		return nil
	}
	s.installed = 0
	return s.remember()
}

// confirm advances what is known to be confirmed.
func (s *storage) confirm(lsn shard.LSN) {
	if lsn > s.confirmed {
		s.confirmed = lsn
		s.heads.confirm(min(lsn, s.durable)) // a snapshot that is not on this disk must not let go of what is
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

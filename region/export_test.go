package region

import (
	"time"

	"muster/region/route"
	"muster/replication"
	"muster/shard"
)

// Heads are what a host knows of where its entities' records are.
type Heads struct{ heads heads }

// Note takes a record into account that was appended.
func (h *Heads) Note(r replication.Record) { h.heads.note(&r) }

// Confirm makes the snapshots up to lsn count.
func (h *Heads) Confirm(lsn shard.LSN) { h.heads.confirm(lsn) }

// Truncate forgets the records from lsn on.
func (h *Heads) Truncate(lsn shard.LSN) { h.heads.truncate(lsn) }

// Covered returns the last LSN up to limit that the log can do without.
func (h *Heads) Covered(limit shard.LSN) shard.LSN { return h.heads.covered(limit) }

// Cells are a host's entities in memory, all of them idle.
type Cells struct{ cells cells }

// NewCells returns none yet.
func NewCells(limit int) *Cells { return &Cells{newCells(limit)} }

// Touch makes the entity the most recently used.
func (c *Cells) Touch(id shard.EntityID) { c.cells.touch(id) }

// Ahead adds an entity that nobody has asked for.
func (c *Cells) Ahead(id shard.EntityID) { c.cells.ahead(id) }

// Shrink drops what is beyond the limit.
func (c *Cells) Shrink() { c.cells.shrink(0) }

// Has reports whether the entity is in memory.
func (c *Cells) Has(id shard.EntityID) bool { return c.cells.residents[id] != nil }

// Len is how many are.
func (c *Cells) Len() int { return len(c.cells.residents) }

// Path is how an entity is brought back: from the snapshot at base, or what is apart, and the records after.
type Path struct {
	Base  shard.LSN
	Seq   shard.Seq
	Apart bool
	After []shard.LSN
}

// Path returns an entity's, and whether the log has something of it.
func (h *Heads) Path(entity shard.EntityID) (Path, bool) {
	p := h.heads.path(entity)
	if p == nil {
		return Path{}, false
	}
	return Path{p.base, p.seq, p.apart, p.after}, true
}

// Remembered is what a session's requests came to, without the replies' faults.
type Remembered struct {
	Session shard.SessionID
	Floor   uint64
	Answers []Answer
}

// An Answer is that to one request.
type Answer struct {
	Number uint64
	At     shard.LSN
	Digest uint64
	Reply  []byte
	Fault  *shard.Error
	Lost   bool
}

// Record is how it is put apart.
func (m *Remembered) Record(at shard.Position) replication.Record {
	r := remembered{session: m.Session, floor: m.Floor}
	for _, a := range m.Answers {
		r.answers = append(r.answers, recorded{a.Number, a.At, &kept{a.Digest, a.Reply, a.Fault, a.Lost}})
	}
	return r.record(at)
}

// RememberedOf reads it back.
func RememberedOf(r *replication.Record) (*Remembered, error) {
	m, err := rememberedOf(r)
	if err != nil {
		return nil, err
	}
	all := &Remembered{Session: m.session, Floor: m.floor}
	for _, a := range m.answers {
		all.Answers = append(all.Answers, Answer{a.number, a.at, a.kept.digest, a.kept.reply, a.kept.fault, a.kept.lost})
	}
	return all, nil
}

// ErrRemembered is why it may not be read.
var ErrRemembered = errRemembered

// Unserved counts the shards that were handed over to primaries that are not known to serve yet.
func (r *Region) Unserved() int64 { return r.copies.unserved() }

// UnderWay counts the calls that hosts have taken and not answered.
func (r *Region) UnderWay() int64 { return r.copies.underWay() }

// RoomForOneWays reports whether all the room is there that one-way commands of this node to entities of its own take.
func (r *Region) RoomForOneWays() bool {
	if !r.peers.here.TryAcquire(maxOneWayBytes) {
		return false
	}
	r.peers.here.Release(maxOneWayBytes)
	return true
}

// Closing reports whether Close has begun to refuse commands.
func (r *Region) Closing() bool { return r.fault.Load() != nil }

// Unsent counts the calls that wait to be sent to an address.
func (r *Region) Unsent(addr string) int { return r.peers.known(addr).calls.queue.len() }

// Wants is what the copy reports until the map shows its effect.
func (r *Region) Wants(id shard.CopyID) *shard.Report { return r.copies.host(id).pulse.report.Load() }

// A Hold keeps a host from its work until it is let go. Then the protocol leads no more, which the host is not told, and the entity has a
// snapshot to be proposed, if one is named.
type Hold struct {
	id     shard.ID
	entity shard.EntityID
	host   *host
	held   chan struct{}
	gate   chan struct{}
}

// Hold holds up the host of a shard.
func (r *Region) Hold(id shard.ID, entity shard.EntityID) *Hold {
	s := &Hold{id, entity, r.owner(id).(*host), make(chan struct{}), make(chan struct{})}
	s.host.inbox.put(func(b *batch) { b.steps = append(b.steps, s) })
	<-s.held
	return s
}

// Finished is how many outcomes of handlers wait for the host.
func (s *Hold) Finished() int {
	in := s.host.inbox
	in.mu.Lock()
	defer in.mu.Unlock()
	return len(in.mu.batch.finished)
}

// Go lets the host go on.
func (s *Hold) Go() { close(s.gate) }

func (s *Hold) finish(h *host, _ time.Duration) {
	close(s.held)
	<-s.gate
	h.protocol.Follow(h.term.epoch)
	if s.entity != "" {
		h.term.snapshots.push(snapshot{entity: s.entity, at: h.storage.confirmed, seq: h.storage.heads.entities[s.entity].last})
	}
}

// Disown has a region remove the copies that no map has recognized.
func Disown(r *Region) { r.copies.disown() }

// A Part is a piece of a shard snapshot, of which nothing but these matters here: it is empty.
type Part struct {
	Of   replication.Install
	Last bool
}

// Take hands parts to the copy they are for, all in one batch.
func (r *Region) Take(parts ...Part) {
	h := r.copies.host(parts[0].Of.To)
	h.inbox.put(func(b *batch) {
		for _, p := range parts {
			b.steps = append(b.steps, &part{of: p.Of, last: p.Last, from: &ackStream{newFunnel[answerback]()}})
		}
	})
}

// RetireShortened retires a copy in the very batch in which its log is to start later.
func (r *Region) RetireShortened(id shard.CopyID, p *shard.Placement) {
	r.copies.host(id).inbox.put(func(b *batch) {
		b.placement, b.fate = p, route.Remove
		b.steps = append(b.steps, shortening{})
	})
}

// shortening is the end of a keepStep that has put apart what there was.
type shortening struct{}

func (shortening) finish(h *host, now time.Duration) {
	until := min(h.storage.confirmed, h.storage.durable)
	(&keepStep{host: h, until: until, through: until}).finish(h, now)
}

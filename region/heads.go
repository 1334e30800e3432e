package region

import (
	"slices"

	"muster/replication"
	"muster/shard"
)

// heads notes, for each entity of a shard, where in the log its state is: its newest confirmed snapshot and the records
// since. Kept by primaries and replicas alike, so that a new primary can load any entity at once. Owned by the host.
//
// Only records with events are noted. Each of them advances the entity's sequence number by one, so a record's number
// follows from its place in the list.
type heads struct {
	entities  map[shard.EntityID]*head
	snapshots queue[snapshotAt] // logged but not confirmed, by LSN
}

type head struct {
	base  shard.LSN // newest confirmed snapshot, 0 for none
	seq   shard.Seq // the sequence number that base holds
	after []shard.LSN
}

type snapshotAt struct {
	entity shard.EntityID
	lsn    shard.LSN
	seq    shard.Seq
}

func newHeads() heads { return heads{entities: map[shard.EntityID]*head{}} }

// last is the entity's newest sequence number.
func (h *head) last() shard.Seq { return h.seq + shard.Seq(len(h.after)) }

// note takes a record into account that was appended to the log.
func (h *heads) note(r *replication.Record) {
	switch r.Kind {
	case replication.KindCommand:
		e := h.entities[r.Entity]
		if e == nil {
			e = &head{}
			h.entities[r.Entity] = e
		}
		if r.Seq > e.last() {
			e.after = append(e.after, r.LSN)
		}
	case replication.KindSnapshot:
		h.snapshots.push(snapshotAt{r.Entity, r.LSN, r.Seq})
	}
}

// confirm makes the snapshots up to lsn the ones to load from.
func (h *heads) confirm(lsn shard.LSN) {
	for h.snapshots.len() > 0 && h.snapshots.front().lsn <= lsn {
		s := h.snapshots.pop()
		e := h.entities[s.entity]
		if e == nil || s.seq <= e.seq || s.seq > e.last() {
			continue // an older one, or of records this log does not have: not usable
		}
		e.after = slices.Clone(e.after[s.seq-e.seq:])
		e.base, e.seq = s.lsn, s.seq
	}
}

// truncate forgets the records from lsn on. None of them was confirmed, so no base is among them.
func (h *heads) truncate(lsn shard.LSN) {
	for entity, e := range h.entities {
		i, _ := slices.BinarySearch(e.after, lsn)
		e.after = e.after[:i]
		if e.last() == 0 {
			delete(h.entities, entity)
		}
	}
	kept := slices.DeleteFunc(h.snapshots.take(), func(s snapshotAt) bool { return s.lsn >= lsn })
	h.snapshots = queue[snapshotAt]{items: kept}
}

// path returns what to read to load the entity, nil when it has no records.
func (h *heads) path(entity shard.EntityID) *path {
	e := h.entities[entity]
	if e == nil {
		return nil
	}
	return &path{base: e.base, seq: e.seq, after: slices.Clone(e.after)}
}

// A path is what an entity's state is made from.
type path struct {
	base  shard.LSN
	seq   shard.Seq
	after []shard.LSN
}

// end is the newest record of the path.
func (p *path) end() shard.LSN {
	if n := len(p.after); n > 0 {
		return p.after[n-1]
	}
	return p.base
}

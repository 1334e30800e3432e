package region

import (
	"cmp"
	"slices"

	"muster/replication"
	"muster/shard"
)

// heads notes, for each entity of a shard that has records in the log, where its state is: its newest snapshot that is confirmed and durable here, and
// the records since. Kept by primaries and replicas alike, so that a new primary can load any entity at once. An entity that
// is only apart from the log has no head, so what is kept here grows with the log and not with the entities. Owned by the host.
//
// Only records with events are noted. Each of them advances the entity's sequence number by one, so a record's number
// follows from its place in the list.
//
// Until somebody asks, records are only listed: a node that starts with many entities serves its first shards before it has looked
// at the others. What is asked first costs a shard some 100 ns for each of its records, once.
type heads struct {
	listed    listing                  // all there is until entities is set
	sure      shard.LSN                // what was confirmed and durable meanwhile
	entities  map[shard.EntityID]*head // nil until ready
	snapshots queue[snapshotAt]        // logged, and not confirmed or not durable here, by LSN
	bases     queue[snapshotAt]        // those that were an entity's newest when they were confirmed, by LSN
	live      queue[liveRecord]        // records with events, by LSN; those at the front that a snapshot covers are left out
	apart     shard.LSN                // bases up to here are apart from the log, too
}

// noted is what matters of a record.
type noted struct {
	entity   shard.EntityID
	lsn      shard.LSN
	seq      shard.Seq
	snapshot bool
}

// A listing holds records by LSN, in pages that never move: what a long log's list left behind when it grew was three times the list,
// and a node that starts pays for every page of memory that it touches.
type listing [][]noted

const pageOfNoted = 512

func (l *listing) add(n noted) {
	last := len(*l) - 1
	if last < 0 || len((*l)[last]) == pageOfNoted {
		*l = append(*l, make([]noted, 0, min(pageOfNoted, 8+len(*l)*pageOfNoted)))
		last++
	}
	(*l)[last] = append((*l)[last], n)
}

func (l listing) len() (n int) {
	for _, page := range l {
		n += len(page)
	}
	return n
}

// truncate forgets the records from lsn on.
func (l *listing) truncate(lsn shard.LSN) {
	for len(*l) > 0 {
		page := &(*l)[len(*l)-1]
		n, _ := slices.BinarySearchFunc(*page, lsn, func(n noted, lsn shard.LSN) int { return cmp.Compare(n.lsn, lsn) })
		if *page = (*page)[:n]; n > 0 {
			return
		}
		*l = (*l)[:len(*l)-1]
	}
}

// Invariant: after has last-seq records.
type head struct {
	id    shard.EntityID
	base  shard.LSN   // newest snapshot in the log that is confirmed and durable here, 0 for none
	seq   shard.Seq   // the sequence number that base holds; without a base, what is apart holds that at least
	last  shard.Seq   // the entity's newest
	after []shard.LSN // never written over: paths share it
}

type snapshotAt struct {
	entity shard.EntityID
	lsn    shard.LSN
	seq    shard.Seq
}

// A liveRecord is a record and its entity's head.
type liveRecord struct {
	lsn shard.LSN
	of  *head
}

// covered reports whether a snapshot holds what the record did.
func (r liveRecord) covered() bool { return len(r.of.after) == 0 || r.of.after[0] > r.lsn }

// note takes a record into account that was appended to the log.
func (h *heads) note(r *replication.Record) {
	if r.Kind != replication.KindCommand && r.Kind != replication.KindSnapshot {
		return
	}
	n := noted{r.Entity, r.LSN, r.Seq, r.Kind == replication.KindSnapshot}
	if h.entities == nil {
		h.listed.add(n)
	} else {
		h.add(n)
	}
}

// ready looks at what was only listed so far. Whatever asks begins with it.
func (h *heads) ready() {
	if h.entities != nil {
		return
	}
	h.entities = map[shard.EntityID]*head{}
	h.live.grow(h.listed.len())
	for _, page := range h.listed {
		for _, n := range page {
			h.place(n)
		}
	}
	h.listed = nil
	all := make([]shard.LSN, h.live.len()) // one piece for all lists: one by one they would leave behind more than they hold
	for _, r := range h.live.all() {
		if r.of.after == nil {
			n := r.of.last - r.of.seq
			r.of.after, all = all[:0:n], all[n:]
		}
		r.of.after = append(r.of.after, r.lsn)
	}
	h.confirm(h.sure)
}

// add takes a record into account at once.
func (h *heads) add(n noted) {
	if e := h.place(n); e != nil {
		e.after = append(e.after, n.lsn)
	}
}

// place finds where a record belongs, and returns the head whose list it comes into, if any. An entity that is met first at a later
// number than 1 has the rest apart.
func (h *heads) place(n noted) *head {
	if n.snapshot {
		h.snapshots.push(snapshotAt{n.entity, n.lsn, n.seq})
		return nil
	}
	e := h.entities[n.entity]
	if e == nil {
		first := max(n.seq, 1) - 1
		e = &head{id: n.entity, seq: first, last: first}
		h.entities[n.entity] = e
	}
	if n.seq <= e.last {
		return nil
	}
	e.last++
	h.live.push(liveRecord{n.lsn, e})
	return e
}

// confirm makes the snapshots up to lsn, which are confirmed and durable here, the ones to load from. One of an entity that has no records before it in the log tells
// nothing: what is apart is whole by itself, and the snapshot may well be older, for it is logged after its state was left
// behind.
func (h *heads) confirm(lsn shard.LSN) {
	if h.entities == nil {
		h.sure = max(h.sure, lsn)
		return
	}
	for h.snapshots.len() > 0 && h.snapshots.front().lsn <= lsn {
		s := h.snapshots.pop()
		e := h.entities[s.entity]
		if e == nil || s.seq < e.seq || s.seq == e.seq && e.base > 0 || s.seq > e.last {
			continue
		}
		e.after = slices.Clone(e.after[s.seq-e.seq:])
		e.base, e.seq = s.lsn, s.seq
		h.bases.push(s)
	}
}

// truncate forgets the records from lsn on. None of them was confirmed, so no base is among them.
func (h *heads) truncate(lsn shard.LSN) {
	h.listed.truncate(lsn)
	for entity, e := range h.entities {
		if i, _ := slices.BinarySearch(e.after, lsn); i < len(e.after) {
			e.after, e.last = slices.Clone(e.after[:i]), e.seq+shard.Seq(i)
		}
		if e.base == 0 && len(e.after) == 0 {
			delete(h.entities, entity)
		}
	}
	h.snapshots.filter(func(s snapshotAt) bool { return s.lsn < lsn })
	h.live.filter(func(r liveRecord) bool { return r.lsn < lsn })
}

// wants reports whether a snapshot of an entity up to seq is news.
func (h *heads) wants(entity shard.EntityID, seq shard.Seq) bool {
	h.ready()
	e := h.entities[entity]
	return e != nil && seq > e.seq && seq <= e.last
}

// logged reports whether a snapshot of the entity up to seq or later waits for its confirmation.
func (h *heads) logged(entity shard.EntityID, seq shard.Seq) bool {
	h.ready()
	return slices.ContainsFunc(h.snapshots.all(), func(s snapshotAt) bool { return s.entity == entity && s.seq >= seq })
}

// covered returns the last LSN up to limit that the log can do without, once the snapshots up to there are apart.
func (h *heads) covered(limit shard.LSN) shard.LSN {
	h.ready()
	for h.live.len() > 0 && h.live.front().lsn <= limit {
		if r := h.live.front(); !r.covered() {
			return r.lsn - 1
		}
		h.live.pop()
	}
	return limit
}

// cold lists the entities whose records hold the log's start back the longest, up to limit and at most that many.
func (h *heads) cold(limit shard.LSN, most int) (ids []shard.EntityID) {
	h.ready()
	seen := map[*head]bool{}
	for _, r := range h.live.all() {
		if r.lsn > limit || len(ids) == most {
			break
		}
		if !r.covered() && !seen[r.of] {
			seen[r.of] = true
			ids = append(ids, r.of.id)
		}
	}
	return ids
}

// newest lists the snapshots up to lsn that entities are loaded from and that are not apart yet, by LSN.
func (h *heads) newest(lsn shard.LSN) (lsns []shard.LSN) {
	h.ready()
	for _, s := range h.bases.all() {
		if s.lsn > lsn {
			break
		}
		if e := h.entities[s.entity]; s.lsn > h.apart && e != nil && e.base == s.lsn {
			lsns = append(lsns, s.lsn)
		}
	}
	return lsns
}

// cut forgets what stood up to lsn: the log starts after it, and every snapshot from there is apart.
func (h *heads) cut(lsn shard.LSN) {
	h.ready()
	h.covered(lsn)
	for h.bases.len() > 0 && h.bases.front().lsn <= lsn {
		s := h.bases.pop()
		e := h.entities[s.entity]
		if e == nil || e.base != s.lsn {
			continue
		}
		e.base = 0
		if len(e.after) == 0 {
			delete(h.entities, s.entity)
		}
	}
}

// path returns what to read of the log to load the entity, nil when it has no records there.
func (h *heads) path(entity shard.EntityID) *path {
	h.ready()
	e := h.entities[entity]
	if e == nil {
		return nil
	}
	return e.path()
}

func (e *head) path() *path {
	return &path{base: e.base, seq: e.seq, after: slices.Clip(e.after), apart: e.base == 0 && e.seq > 0}
}

// A path is what an entity's state is made from.
type path struct {
	base  shard.LSN
	seq   shard.Seq
	after []shard.LSN
	apart bool // the snapshot to begin with is apart from the log, if there is one
}

// end is the newest record of the path.
func (p *path) end() shard.LSN {
	if n := len(p.after); n > 0 {
		return p.after[n-1]
	}
	return p.base
}

// until shortens the path to the records up to lsn.
func (p *path) until(lsn shard.LSN) {
	n, found := slices.BinarySearch(p.after, lsn)
	if found {
		n++
	}
	p.after = p.after[:n]
}

package journal

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"

	bolt "go.etcd.io/bbolt"

	"muster/shard"
)

// pace says how fast space is given back. All of it rides on commits that somebody waits for anyway: a journal without work
// deletes nothing, because it does not grow either.
type pace struct {
	judgeEvery uint64 // keys between two looks at where the file may start
	tidy       int    // keys deleted with a commit while there are any to delete,
	tidyPerKey int    // and so many more for each key it writes
	moveSpan   uint64 // keys the file holds before short logs are moved forward,
	moveFactor int64  // … and how many times the bytes of all live records it takes up
	moveBytes  int64  // moved forward with one commit
}

// usualPace keeps up with any load, costs a commit at most a few hundred small changes of pages, and moves at most one byte
// for every three that are appended.
var usualPace = pace{judgeEvery: 1024, tidy: 128, tidyPerKey: 2, moveSpan: 32_768, moveFactor: 4, moveBytes: 1 << 20}

// space is what the file may give back to itself: keys of the log that no copy needs, and generations of what was apart
// that were replaced. It belongs to Journal.run.
//
// Invariant: front ≤ goal, and no copy's value has a from before goal once late ones are told.
type space struct {
	front       uint64   // the first key of the log that may be there
	goal        uint64   // the keys below are to be deleted
	judged      uint64   // the next key when goal was found
	stale       []uint64 // generations to be deleted
	generations uint64   // the highest that was ever given out, or is in the file
	pace        pace
}

func (s *space) newGeneration() uint64 {
	s.generations++
	return s.generations
}

// drop leaves generations to be deleted; 0 is none.
func (s *space) drop(generations ...uint64) {
	for _, g := range generations {
		if g != 0 {
			s.stale = append(s.stale, g)
		}
	}
}

// judge finds out, now and then, how far the front of the log may be deleted: up to the first live record of any copy. Where
// a few live records hold a long file, they are moved: the returned ops write them again, before the batch. The copies in late
// must be told of a later start before any key goes. While a copy is damaged nothing goes: what somebody may want to look
// at stays.
func (j *Journal) judge(batch []*op) (moves []*op, late []*copyLog) {
	if j.next-j.space.judged < j.space.pace.judgeEvery {
		return nil, nil
	}
	j.space.judged = j.next
	p := &j.space.pace
	held, live, whole := j.holders()
	if !whole {
		return nil, nil
	}
	first := func(a, b *copyLog) int {
		return cmp.Or(cmp.Compare(a.places.first().key, b.places.first().key), cmp.Compare(a.copy, b.copy))
	}
	if span := j.next - j.space.front; span >= p.moveSpan && int64(span)*ChunkSize >= p.moveFactor*live {
		slices.SortFunc(held, first)
		for room := p.moveBytes; len(held) > 0; held = held[1:] {
			o := j.move(held[0], batch, room)
			if o == nil {
				break
			}
			moves, room = append(moves, o), room-int64(len(o.entries))
		}
	}
	goal := j.next
	if len(held) > 0 {
		goal = slices.MinFunc(held, first).places.first().key
	}
	j.space.goal = max(goal, j.space.goal)
	return moves, j.late()
}

// holders returns the copies with live records, which hold the log's front back, the bytes of all of these, and whether all
// copies are whole.
func (j *Journal) holders() (held []*copyLog, live int64, whole bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.mu.rotten = false
	for _, l := range j.mu.copies {
		j.mu.rotten = j.mu.rotten || l.damaged != nil
		if l.places.count > 0 {
			held = append(held, l)
			live += l.places.bytes
		}
	}
	return held, live, !j.mu.rotten
}

// late gives the copies that start before goal a later start, and returns them.
func (j *Journal) late() []*copyLog {
	j.mu.Lock()
	defer j.mu.Unlock()
	var late []*copyLog
	for _, l := range j.mu.copies {
		if !l.created || l.value.from.key >= j.space.goal {
			continue
		}
		l.value.from = place{key: j.next}
		if l.places.count > 0 {
			l.value.from = l.places.first()
		}
		late = append(late, l)
	}
	return late
}

// move returns an op that writes a copy's live records again, nil when that cannot be done now: the batch is about the copy, they
// are too many, or they are rotten.
func (j *Journal) move(l *copyLog, batch []*op, room int64) *op {
	if l.places.bytes > room || slices.ContainsFunc(batch, func(o *op) bool { return o.copy == l.copy }) {
		return nil
	}
	o := &op{kind: opMove, copy: l.copy, log: l, records: l.places.count}
	o.entries = make([]byte, 0, l.places.bytes+headerSize+lsnSize)
	err := j.view(func(tx *bolt.Tx) error {
		r := entryReader{cursor: tx.Bucket(logBucket).Cursor()}
		for lsn := l.durable.base.LSN + 1; lsn <= l.durable.last.LSN; lsn++ {
			start := len(o.entries)
			var err error
			if o.entries, err = r.append(o.entries, l.places.at(lsn)); err != nil {
				return err
			}
			if err := soundEntry(o.entries[start:], l.copy, lsn); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		j.spoil(l.copy, err.Error())
		return nil
	}
	o.entries = appendLSN(o.entries, header{copy: l.copy, kind: kindConfirmed}, l.durable.confirmed)
	return o
}

// tidy deletes a little of what nobody needs, in the transaction of a commit that writes so many keys.
func (j *Journal) tidy(b *buckets, written int) error {
	s := &j.space
	budget := s.pace.tidy + s.pace.tidyPerKey*written
	end := min(s.goal, s.front+uint64(budget))
	if end == s.front && len(s.stale) == 0 || !j.giveUp(end) {
		return nil
	}
	var key [8]byte
	for ; s.front < end; s.front++ {
		binary.BigEndian.PutUint64(key[:], s.front)
		if err := b.log.Delete(key[:]); err != nil {
			return fmt.Errorf("delete key %d: %w", s.front, err)
		}
	}
	for budget > 0 && len(s.stale) > 0 {
		n, err := deleteGeneration(b.apart, s.stale[0], budget)
		if err != nil {
			return fmt.Errorf("delete generation %d: %w", s.stale[0], err)
		}
		if n < budget {
			s.stale = s.stale[1:]
		}
		budget -= n
	}
	return nil
}

// giveUp tells readers, before it happens, which keys are about to go; unless a copy is damaged.
func (j *Journal) giveUp(end uint64) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.mu.rotten {
		return false
	}
	j.mu.front = end
	return true
}

// deleteGeneration deletes at most n records of what was apart, and returns how many those were.
func deleteGeneration(b *bolt.Bucket, generation uint64, n int) (int, error) {
	prefix := binary.BigEndian.AppendUint64(nil, generation)
	var keys [][]byte
	cursor := b.Cursor()
	for k, _ := cursor.Seek(prefix); k != nil && bytes.HasPrefix(k, prefix) && len(keys) < n; k, _ = cursor.Next() {
		keys = append(keys, bytes.Clone(k))
	}
	for _, k := range keys {
		if err := b.Delete(k); err != nil {
			return 0, err
		}
	}
	return len(keys), nil
}

// Span is how many bytes of the log stand between a copy's first live record and the end: what the file cannot give up
// while the copy's log starts there. It is 0 for a copy without live records.
func (j *Journal) Span(copy shard.CopyID) int64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	l := j.mu.copies[copy]
	if l == nil || l.places.count == 0 {
		return 0
	}
	return int64(j.mu.next-l.places.first().key) * ChunkSize
}

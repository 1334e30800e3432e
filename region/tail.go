package region

import (
	"slices"

	"muster/shard"
)

// A tail holds the encodings of a led shard's newest records, so that replicas are served without reading the journal,
// and records that are not durable yet can be sent at all. It keeps more than its limit only while records are not
// durable. Owned by the host.
//
// Records that were written together stand in one piece, which usually is just what has to be sent: it is handed out
// without a copy.
//
// Invariant: the pieces are gap-free.
type tail struct {
	pieces queue[piece]
	bytes  int
	limit  int
}

// A piece is some consecutive records of one epoch. Immutable.
type piece struct {
	epoch shard.Epoch
	first shard.LSN
	b     []byte
	ends  []int // of each record in b
}

func (p *piece) last() shard.LSN { return p.first + shard.LSN(len(p.ends)) - 1 }

// within returns the last record that can be cut together with first in at most that many bytes, but at least first.
func (p *piece) within(first, last shard.LSN, most int) shard.LSN {
	from := 0
	if first > p.first {
		from = p.ends[first-p.first-1]
	}
	last = min(last, p.last())
	room, _ := slices.BinarySearch(p.ends, from+most+1)
	return max(first, min(last, p.first+shard.LSN(room)-1))
}

// cut returns the encodings of the piece's records from first to last.
func (p *piece) cut(first, last shard.LSN) []byte {
	from := 0
	if first > p.first {
		from = p.ends[first-p.first-1]
	}
	to := p.ends[last-p.first]
	return p.b[from:to:to]
}

// add appends the records that follow the newest.
func (t *tail) add(p piece) {
	t.pieces.push(p)
	t.bytes += len(p.b)
}

// piece returns the piece that holds a record and its place in the tail.
func (t *tail) piece(lsn shard.LSN) (int, bool) {
	all := t.pieces.all()
	for i := len(all) - 1; i >= 0 && all[i].last() >= lsn; i-- {
		if all[i].first <= lsn {
			return i, true
		}
	}
	return 0, false
}

// get returns a record's encoding.
func (t *tail) get(lsn shard.LSN) ([]byte, bool) {
	i, ok := t.piece(lsn)
	if !ok {
		return nil, false
	}
	return t.pieces.all()[i].cut(lsn, lsn), true
}

// span returns the records from first on, up to last and about most bytes, which are those of one piece if possible.
func (t *tail) span(first, last shard.LSN, most int) (span, bool) {
	i, ok := t.piece(first)
	if !ok {
		return span{}, false
	}
	all := t.pieces.all()[i:]
	s := span{first: first, last: all[0].within(first, last, most), epoch: all[0].epoch}
	s.b = all[0].cut(first, s.last)
	for _, p := range all[1:] {
		if s.last+1 != p.first || s.last == last || len(s.b)+len(p.b) > most {
			break
		}
		s.last, s.epoch = min(last, p.last()), p.epoch
		s.b = append(s.b, p.cut(p.first, s.last)...) // a cut has no room behind it, so this copies
	}
	return s, true
}

// trim drops the oldest durable records beyond the limit.
func (t *tail) trim(durable shard.LSN) {
	for t.bytes > t.limit && t.pieces.len() > 0 && t.pieces.all()[0].last() <= durable {
		t.bytes -= len(t.pieces.pop().b)
	}
}

// reset drops everything: the shard is not led any more.
func (t *tail) reset() { *t = tail{limit: t.limit} }

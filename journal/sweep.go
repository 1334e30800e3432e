package journal

import (
	"math"
	"slices"
	"sync"

	bolt "go.etcd.io/bbolt"

	"muster/replication"
	"muster/shard"
)

// A Want is durable records of one copy that a Sweep reads.
type Want struct {
	Copy shard.CopyID
	LSNs []shard.LSN // rising
	Err  error       // set by the Sweep: why it ended early
}

// Sweep reads the records of many wants, of one copy or of many, in one pass over the file, and calls fn with each on the caller's
// goroutine: the records of one want in the order of its LSNs, those of different wants in any. A record and its body are valid
// until fn returns. An error of fn, and whatever Read would fail with, is the want's Err and ends that want alone.
//
// What it saves beside a Read for each: records that stand close together, though of different copies, are read together, and
// one read transaction, of scanBytes at most, is shared by all of them. It takes 48 bytes of memory for each LSN.
func (j *Journal) Sweep(wants []Want, fn func(want int, r *replication.Record) error) {
	s := sweeps.Get().(*sweep)
	s.journal, s.fn, s.wants = j, fn, make([]sweeping, len(wants))
	for i := range wants {
		wants[i].Err = nil
		s.wants[i] = sweeping{Want: &wants[i], left: wants[i].LSNs}
	}
	s.plan()
	for order := s.order; len(order) > 0; {
		order = order[s.fill(order):]
		s.hand()
	}
	for i := range s.wants {
		s.alone(i)
	}
	s.journal, s.fn, s.wants, s.record = nil, nil, nil, replication.Record{}
	if cap(s.picks) <= pooledPicks {
		sweeps.Put(s)
	}
}

// pooledPicks bounds the picks of a pass whose memory is used again.
const pooledPicks = 128 << 10

var sweeps = sync.Pool{New: func() any { return &sweep{buf: make([]byte, 0, scanBytes+ChunkSize)} }}

// sweep is one pass.
//
// Invariant: in the order of the file the records of one want are in the order of LSNs, because a log is only ever written, and
// moved, in that order.
type sweep struct {
	journal *Journal
	fn      func(want int, r *replication.Record) error
	wants   []sweeping
	picks   []pick
	order   []uint64           // for each pick: how far its key is behind the lowest, and its index, 32 bits each
	read    []*pick            // of one transaction
	buf     []byte             // their entries
	record  replication.Record // the one that fn looks at
}

// sweeping is a want on the way.
type sweeping struct {
	*Want
	left   []shard.LSN
	missed bool // a record was not where the index had it: Read finds out why
}

// A pick is one record to read.
type pick struct {
	place
	want int
}

// plan looks up where the records are, and in which order that is.
func (s *sweep) plan() {
	n := 0
	for i := range s.wants {
		n += len(s.wants[i].left)
	}
	s.picks, s.order = slices.Grow(s.picks[:0], n), slices.Grow(s.order[:0], n)
	lowest := uint64(math.MaxUint64)
	for i := range s.wants {
		lowest = min(lowest, s.look(i))
	}
	for i := range s.picks {
		s.order = append(s.order, min(s.picks[i].key-lowest, math.MaxUint32)<<32|uint64(i))
	}
	slices.Sort(s.order)
}

// look adds the places of a want's records and returns the key of the first.
func (s *sweep) look(want int) uint64 {
	w := &s.wants[want]
	j := s.journal
	j.mu.Lock()
	defer j.mu.Unlock()
	l := j.mu.copies[w.Copy]
	if n := len(w.left); n == 0 || l == nil || l.damaged != nil || w.left[0] <= l.durable.base.LSN || w.left[n-1] > l.durable.last.LSN {
		w.missed = true
		return math.MaxUint64
	}
	first := l.places.at(w.left[0]).key
	for _, lsn := range w.left {
		s.picks = append(s.picks, pick{l.places.at(lsn), want})
	}
	return first
}

// fill reads the entries at the front of order in one transaction and returns how many those were, at least one. What it cannot
// read it leaves out.
func (s *sweep) fill(order []uint64) (n int) {
	s.buf, s.read = s.buf[:0], s.read[:0]
	err := s.journal.view(func(tx *bolt.Tx) error {
		r := entryReader{cursor: tx.Bucket(logBucket).Cursor()}
		for ; n < len(order) && len(s.buf) < scanBytes; n++ {
			p := &s.picks[uint32(order[n])]
			w := &s.wants[p.want]
			if w.missed || w.Err != nil {
				continue
			}
			b, err := r.append(s.buf, p.place)
			if err != nil {
				w.missed = true
				continue
			}
			s.buf, s.read = b, append(s.read, p)
		}
		return nil
	})
	if err == nil {
		return n
	}
	s.read = nil
	for i := range s.wants { // a page makes no sense: whose records are there, Read finds out
		s.wants[i].missed = true
	}
	return len(order)
}

// hand gives what was read to fn. A record that is not the next of its want, or is rotten, is left to Read, and all behind it.
func (s *sweep) hand() {
	rest := s.buf
	for _, p := range s.read {
		entry := rest[:p.size]
		rest = rest[p.size:]
		w := &s.wants[p.want]
		if w.Err != nil {
			continue
		}
		var err error
		if s.record, err = parseRecord(entry, w.Copy, w.left[0]); err != nil {
			w.missed = true
			continue
		}
		w.Err = s.fn(p.want, &s.record)
		w.left = w.left[1:]
	}
}

// alone reads what is left of a want record by record: its log was cut or moved meanwhile, or is rotten.
func (s *sweep) alone(want int) {
	w := &s.wants[want]
	for w.Err == nil && len(w.left) > 0 {
		var records []replication.Record
		records, w.Err = s.journal.Read(w.Copy, w.left[0], w.left[0], 0)
		if w.Err == nil {
			w.Err = s.fn(want, &records[0])
		}
		w.left = w.left[1:]
	}
}

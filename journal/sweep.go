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
// one read transaction, of sweepBytes at most, is shared by all of them. It takes 40 bytes of memory for each LSN.
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
	s.journal, s.fn, s.wants = nil, nil, nil
	if cap(s.picks) <= pooledPicks {
		sweeps.Put(s)
	}
}

const (
	pooledPicks = 128 << 10 // of a pass whose memory is used again, at most
	sweepBytes  = 256 << 10 // of one read transaction: what was read is still near the processor when it is looked at
)

var sweeps = sync.Pool{New: func() any { return &sweep{buf: make([]byte, 0, sweepBytes+ChunkSize)} }}

// sweep is one pass.
//
// Invariant: in the order of the file the records of one want are in the order of LSNs, because a log is only ever written, and
// moved, in that order.
type sweep struct {
	journal *Journal
	fn      func(want int, r *replication.Record) error
	wants   []sweeping
	picks   []pick
	order   []uint64 // for each pick: how far its key is behind the lowest, and its index, 32 bits each
	spare   []uint64 // what order is sorted into
	read    []entry  // of one transaction
	buf     []byte   // their bytes
}

// sweeping is a want on the way.
type sweeping struct {
	*Want
	left   []shard.LSN
	missed bool               // a record was not where the index had it: Read finds out why
	record replication.Record // the one that fn looks at; they are mostly of one entity, and Decode keeps its name
}

// A pick is one record to read.
type pick struct {
	place
	want int32
}

// An entry is a record that was read.
type entry struct{ want, size int32 }

// plan looks up where the records are, and in which order that is.
func (s *sweep) plan() {
	n := 0
	for i := range s.wants {
		n += len(s.wants[i].left)
	}
	s.picks, s.order = slices.Grow(s.picks[:0], n), slices.Grow(s.order[:0], n)
	lowest, highest := uint64(math.MaxUint64), uint64(0)
	for i := range s.wants {
		first, last := s.look(i)
		lowest, highest = min(lowest, first), max(highest, last)
	}
	for i := range s.picks {
		s.order = append(s.order, min(s.picks[i].key-lowest, math.MaxUint32)<<32|uint64(i))
	}
	s.sort(min(highest-min(lowest, highest), math.MaxUint32))
}

// sort sorts order by key, and by index within a key: many picks by eleven bits at a time, which costs less than to compare them.
func (s *sweep) sort(highest uint64) {
	const few, digit = 4096, 11
	if len(s.order) < few {
		slices.Sort(s.order)
		return
	}
	s.spare = slices.Grow(s.spare[:0], len(s.order))[:len(s.order)]
	for shift := 32; highest>>(shift-32) > 0; shift += digit {
		var ends [1 << digit]int32
		for _, o := range s.order {
			ends[o>>shift&(1<<digit-1)]++
		}
		at := int32(0)
		for i, n := range ends {
			ends[i] = at
			at += n
		}
		for _, o := range s.order {
			d := o >> shift & (1<<digit - 1)
			s.spare[ends[d]] = o
			ends[d]++
		}
		s.order, s.spare = s.spare, s.order
	}
}

// look adds the places of a want's records and returns the keys of the first and the last.
func (s *sweep) look(want int) (first, last uint64) {
	w := &s.wants[want]
	j := s.journal
	j.mu.Lock()
	defer j.mu.Unlock()
	l := j.mu.copies[w.Copy]
	if n := len(w.left); n == 0 || l == nil || l.damaged != nil || w.left[0] <= l.durable.base.LSN || w.left[n-1] > l.durable.last.LSN {
		w.missed = true
		return math.MaxUint64, 0
	}
	for _, lsn := range w.left {
		s.picks = append(s.picks, pick{l.places.at(lsn), int32(want)})
	}
	n := len(s.picks)
	return s.picks[n-len(w.left)].key, s.picks[n-1].key
}

// fill reads the entries at the front of order in one transaction and returns how many those were, at least one. What it cannot
// read it leaves out.
func (s *sweep) fill(order []uint64) (n int) {
	s.buf, s.read = s.buf[:0], s.read[:0]
	err := s.journal.view(func(tx *bolt.Tx) error {
		r := entryReader{cursor: tx.Bucket(logBucket).Cursor()}
		for ; n < len(order) && len(s.buf) < sweepBytes; n++ {
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
			s.buf, s.read = b, append(s.read, entry{p.want, int32(p.size)})
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
	for _, e := range s.read {
		b := rest[:e.size]
		rest = rest[e.size:]
		w := &s.wants[e.want]
		if w.Err != nil || w.missed {
			continue
		}
		if err := parseRecord(&w.record, b, w.Copy, w.left[0]); err != nil {
			w.missed = true
			continue
		}
		w.Err = s.fn(int(e.want), &w.record)
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

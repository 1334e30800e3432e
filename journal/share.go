package journal

import (
	"bytes"
	"encoding/binary"
	"fmt"

	bolt "go.etcd.io/bbolt"

	"muster/replication"
	"muster/shard"
)

// A share is some of the copies, and what one goroutine reads of them when the journal is opened. Entries of other copies are passed
// over.
type share struct {
	path   string
	copies map[shard.CopyID]*copyLog
	front  uint64             // the first key of the log that is there or needed
	next   uint64             // the key behind the last
	part   part               // an entry of which not all values were met yet
	record replication.Record // the one that is shown; the next takes its place
}

// part is the beginning of an entry that spans values.
type part struct {
	header header
	place  place
	bytes  []byte // payload so far; grows by what is there, never by what a length claims
}

func (c *share) read(tx *bolt.Tx) error {
	apart := tx.Bucket(apartBucket)
	for _, l := range c.copies {
		if l.known() {
			c.readApart(apart, l)
		}
	}
	c.readLog(tx.Bucket(logBucket))
	return nil
}

// readApart counts what a copy keeps apart and compares that with what its value says. The records' own bytes are checked
// when they are read: that is what lets the start of a node depend on the length of the logs and hardly on how many
// entities there are.
func (c *share) readApart(b *bolt.Bucket, l *copyLog) {
	if tallied, _ := tallyOf(b, l.value.generation); tallied != l.value.apart {
		l.damage(c.path, "what it keeps apart is not whole")
	}
	s := &l.value.staging
	if s.generation == 0 {
		return
	}
	tallied, last := tallyOf(b, s.generation)
	l.staged = Staging{Base: s.base, Source: s.source}
	var err error
	if last != nil && tallied == s.apart {
		l.staged.Last, err = parseKey(last)
	}
	if err != nil || tallied != s.apart { // its sender starts over
		*s, l.staged = staging{}, Staging{}
	}
}

// tallyOf counts a generation, and returns the last of its keys.
func tallyOf(b *bolt.Bucket, generation uint64) (t tally, last []byte) {
	prefix := binary.BigEndian.AppendUint64(nil, generation)
	cursor := b.Cursor()
	for k, v := cursor.Seek(prefix); bytes.HasPrefix(k, prefix); k, v = cursor.Next() {
		t.add(k, v)
		last = k[generationSize:]
	}
	return t, last
}

// readLog walks the log in arrival order, from where the first of its copies begins, and applies every entry to its copy.
func (c *share) readLog(log *bolt.Bucket) {
	end := log.Sequence()
	start := end + 1
	for _, l := range c.copies {
		if l.known() {
			start = min(start, l.value.from.key)
		}
	}
	cursor := log.Cursor()
	c.front = start
	if k, _ := cursor.First(); len(k) == 8 {
		c.front = min(start, binary.BigEndian.Uint64(k))
	}
	last := start - 1
	var seek [8]byte
	binary.BigEndian.PutUint64(seek[:], start)
	for k, v := cursor.Seek(seek[:]); k != nil; k, v = cursor.Next() {
		key := uint64(0)
		if len(k) == 8 {
			key = binary.BigEndian.Uint64(k)
		}
		if key != last+1 {
			c.dropPart()
			c.damageFrom(max(last+1, key-1), fmt.Sprintf("the log goes from key %d to key %x", last, k))
		}
		last = max(last, key)
		c.readValue(key, v)
	}
	c.dropPart()
	if end != last {
		c.damageFrom(max(end, last), fmt.Sprintf("the log ends at key %d instead of %d", last, end))
		last = max(last, end)
	}
	c.next = last + 1
}

// known reports whether the copy's value could be read.
func (l *copyLog) known() bool { return l.shard.Type != "" }

func (c *share) readValue(key uint64, v []byte) {
	mark, b := cutChunk(v)
	switch {
	case mark == chunkContinue && c.part.header.kind != 0:
		c.continuePart(b)
		return
	case mark == chunkStart:
		c.dropPart()
	default:
		c.damageFrom(key, fmt.Sprintf("key %d holds no whole value of this format", key))
		return
	}
	for len(b) > 0 {
		h, err := parseHeader(b)
		if err != nil {
			c.damageFrom(key, fmt.Sprintf("key %d: %v", key, err))
			return
		}
		p := place{key: key, offset: uint32(len(v) - len(b)), size: uint32(headerSize + h.length)}
		b = b[headerSize:]
		if h.length > len(b) {
			c.part = part{header: h, place: p, bytes: append([]byte(nil), b...)}
			return
		}
		c.apply(h, p, b[:h.length])
		b = b[h.length:]
	}
}

func (c *share) continuePart(b []byte) {
	p := &c.part
	p.bytes = append(p.bytes, b...)
	if len(p.bytes) > p.header.length {
		c.dropPart()
		return
	}
	if len(p.bytes) == p.header.length {
		done := *p
		c.part = part{}
		c.apply(done.header, done.place, done.bytes)
	}
}

// dropPart reports an entry whose values do not add up.
func (c *share) dropPart() {
	p := &c.part
	if l := c.copies[p.header.copy]; p.header.kind != 0 && !l.void(p.place) {
		l.damage(c.path, fmt.Sprintf("the entry at key %d is not whole", p.place.key))
	}
	c.part = part{}
}

// void reports whether an entry means nothing: its copy was removed, or has begun anew or later since.
func (l *copyLog) void(p place) bool {
	return l == nil || !l.known() || p.before(l.value.from)
}

// apply adds one entry to the index of its copy.
func (c *share) apply(h header, p place, payload []byte) {
	l := c.copies[h.copy]
	if l.void(p) || l.damaged != nil {
		return
	}
	var err error
	if h.kind == kindRecord {
		err = c.show(l, p, payload)
	} else {
		err = l.load(h.kind, payload)
	}
	if err != nil {
		l.damage(c.path, fmt.Sprintf("key %d: %v", p.key, err))
	}
}

// show adds a record to its copy's index, and shows it to whoever has to know it.
func (c *share) show(l *copyLog, p place, payload []byte) error {
	r := &c.record
	var rest []byte
	var err error
	if *r, rest, err = replication.DecodeRecord(payload); err != nil {
		return err
	}
	if len(rest) > 0 {
		return fmt.Errorf("%d bytes behind record %s", len(rest), r.Position)
	}
	l.places.append(p)
	if err := l.durable.extend(r.Position); err != nil {
		return err
	}
	if l.reader.Record != nil {
		l.reader.Record(r)
	}
	return nil
}

// load applies an entry that is no record.
func (l *copyLog) load(k kind, payload []byte) error {
	lsn, err := parseLSN(payload)
	if err != nil {
		return err
	}
	switch k {
	case kindTruncate:
		if err := l.durable.truncate(lsn); err != nil {
			return err
		}
		l.places.truncate(lsn)
		if l.reader.Truncate != nil {
			l.reader.Truncate(lsn)
		}
	case kindConfirmed:
		l.durable.confirmed = max(l.durable.confirmed, lsn)
	default:
		return fmt.Errorf("an entry of unknown kind %d: written by a newer program", k)
	}
	return nil
}

func (l *copyLog) damage(path, why string) {
	if l.damaged == nil {
		l.damaged = &DamagedError{Path: path, Copy: l.copy, Why: why}
	}
}

// damageFrom is for bytes of a key that could have been anybody's: every copy that begins there or before may have lost something.
// One that begins later has not.
func (c *share) damageFrom(key uint64, why string) {
	for _, l := range c.copies {
		if l.known() && l.value.from.key <= key {
			l.damage(c.path, why)
		}
	}
}

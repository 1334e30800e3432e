package journal

import (
	"encoding/binary"
	"fmt"

	bolt "go.etcd.io/bbolt"

	"muster/replication"
	"muster/shard"
)

// contents is what Open found in the file.
type contents struct {
	path   string
	copies map[shard.CopyID]*copyLog
	next   uint64 // key of the next value of the log
	space  space
	part   part // an entry of which not all values were met yet
}

// part is the beginning of an entry that spans values.
type part struct {
	header header
	place  place
	bytes  []byte // payload so far; grows by what is there, never by what a length claims
}

// read checks every byte the journal relies on and builds the index.
func (d *disk) read(path string, directory shard.DirectoryID) (*contents, error) {
	c := &contents{path: path, copies: map[shard.CopyID]*copyLog{}, space: space{pace: usualPace}}
	err := d.guard(func() error {
		return d.db.View(func(tx *bolt.Tx) error { return c.read(tx, directory) })
	})
	switch err.(type) {
	case nil:
		return c, nil
	case fault:
		return nil, &DamagedError{Path: path, Why: err.Error()}
	default:
		return nil, err
	}
}

func (c *contents) read(tx *bolt.Tx, directory shard.DirectoryID) error {
	own, copies, log, apart := tx.Bucket(journalBucket), tx.Bucket(copiesBucket), tx.Bucket(logBucket), tx.Bucket(apartBucket)
	if own == nil || copies == nil || log == nil {
		return fmt.Errorf("%s is %w: a bbolt file of another program", c.path, ErrWrongFile)
	}
	if f := own.Get(formatKey); string(f) != format {
		return fmt.Errorf("%s is %w: it has format %q, this program knows %q", c.path, ErrWrongFile, f, format)
	}
	if had := own.Get(directoryKey); directory != "" && len(had) > 0 && string(had) != string(directory) {
		return fmt.Errorf("%s is %w: it belongs to data directory %s, this is %s", c.path, ErrWrongFile, had, directory)
	}
	if apart == nil {
		return &DamagedError{Path: c.path, Why: "what is kept apart is missing"}
	}
	if err := copies.ForEach(c.readCopy); err != nil {
		return err
	}
	if n := copies.Sequence(); n != uint64(len(c.copies)) {
		return &DamagedError{Path: c.path, Why: fmt.Sprintf("it should hold %d copies and holds %d", n, len(c.copies))}
	}
	c.readApart(apart)
	c.readLog(log)
	for _, l := range c.copies {
		l.queued = l.durable
	}
	return nil
}

// readCopy takes a copy's value.
func (c *contents) readCopy(k, v []byte) error {
	if len(k) != 8 {
		return &DamagedError{Path: c.path, Why: "the name of a copy is not a number"}
	}
	id := shard.CopyID(binary.BigEndian.Uint64(k))
	l := &copyLog{copy: id, created: true}
	c.copies[id] = l
	var err error
	if l.value, err = decodeCopy(id, v); err != nil {
		c.damage(id, err.Error())
		return nil
	}
	l.shard, l.generation = l.value.shard, l.value.generation
	l.durable = emptyHead(l.value.promised, l.value.base)
	l.places.base = l.value.base.LSN
	c.space.generations = max(c.space.generations, l.value.generation, l.value.staging.generation)
	return nil
}

// readApart counts what every copy keeps apart and compares that with what its value says. The records' own bytes are checked
// when they are read: that is what lets the start of a node depend on the length of the logs and hardly on how many
// entities there are. Generations that nobody has are left to be deleted.
func (c *contents) readApart(b *bolt.Bucket) {
	all := map[uint64]*generation{}
	g := &generation{}
	cursor := b.Cursor()
	for k, v := cursor.First(); k != nil; k, v = cursor.Next() {
		number := uint64(0)
		if len(k) > generationSize {
			number = binary.BigEndian.Uint64(k)
		}
		if number != g.number || g.last == nil {
			if g = all[number]; g == nil {
				g = &generation{number: number}
				all[number] = g
			}
		}
		g.tally.add(k, v)
		g.last = k
	}
	for id, l := range c.copies {
		if v := &l.value; l.known() && !all[v.generation].is(v.apart) {
			c.damage(id, "what it keeps apart is not whole")
		}
		l.stagedIs(all[l.value.staging.generation])
		delete(all, l.value.generation)
		delete(all, l.value.staging.generation)
	}
	for number := range all {
		c.space.drop(number)
		c.space.generations = max(c.space.generations, number)
	}
}

// generation is what stands in the bucket "apart" under one number. A nil one is empty.
type generation struct {
	number uint64
	tally  tally
	last   []byte // the last key
}

func (g *generation) is(t tally) bool {
	if g == nil {
		return t == tally{}
	}
	return g.tally == t
}

// stagedIs notes how far a staged snapshot has come. One that is not whole is dropped: its sender starts over.
func (l *copyLog) stagedIs(g *generation) {
	s := &l.value.staging
	if s.generation == 0 {
		return
	}
	l.staged = Staging{Base: s.base, Source: s.source}
	var err error
	if g != nil {
		l.staged.Last, err = parseKey(g.last[generationSize:])
	}
	if err != nil || !g.is(s.apart) {
		*s, l.staged = staging{}, Staging{}
	}
}

// readLog walks the log in arrival order, from where the first copy begins, and applies every entry to its copy.
func (c *contents) readLog(log *bolt.Bucket) {
	end := log.Sequence()
	start := end + 1
	for _, l := range c.copies {
		if l.known() {
			start = min(start, l.value.from.key)
		}
	}
	cursor := log.Cursor()
	c.space.front = start
	if k, _ := cursor.First(); len(k) == 8 {
		c.space.front = min(start, binary.BigEndian.Uint64(k))
	}
	c.space.goal = c.space.front
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

func (c *contents) readValue(key uint64, v []byte) {
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

func (c *contents) continuePart(b []byte) {
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
func (c *contents) dropPart() {
	if p := &c.part; p.header.kind != 0 && !c.void(p.header.copy, p.place) {
		c.damage(p.header.copy, fmt.Sprintf("the entry at key %d is not whole", p.place.key))
	}
	c.part = part{}
}

// void reports whether an entry means nothing: its copy was removed, or has begun anew or later since.
func (c *contents) void(id shard.CopyID, p place) bool {
	l := c.copies[id]
	return l == nil || !l.known() || p.before(l.value.from)
}

// apply adds one entry to the index of its copy.
func (c *contents) apply(h header, p place, payload []byte) {
	if c.void(h.copy, p) {
		return
	}
	l := c.copies[h.copy]
	if l.damaged != nil {
		return
	}
	if err := l.load(h.kind, p, payload); err != nil {
		c.damage(h.copy, fmt.Sprintf("key %d: %v", p.key, err))
	}
}

func (l *copyLog) load(k kind, p place, payload []byte) error {
	if k == kindRecord {
		r, rest, err := replication.DecodeRecord(payload)
		if err != nil {
			return err
		}
		if len(rest) > 0 {
			return fmt.Errorf("%d bytes behind record %s", len(rest), r.Position)
		}
		l.places.append(p)
		return l.durable.extend(r.Position)
	}
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
	case kindConfirmed:
		l.durable.confirmed = max(l.durable.confirmed, lsn)
	default:
		return fmt.Errorf("an entry of unknown kind %d: written by a newer program", k)
	}
	return nil
}

func (c *contents) damage(id shard.CopyID, why string) {
	if l := c.copies[id]; l != nil && l.damaged == nil {
		l.damaged = &DamagedError{Path: c.path, Copy: id, Why: why}
	}
}

// damageFrom is for bytes of a key that could have been anybody's: every copy that begins there or before may have lost something.
// One that begins later has not.
func (c *contents) damageFrom(key uint64, why string) {
	for id, l := range c.copies {
		if l.known() && l.value.from.key <= key {
			c.damage(id, why)
		}
	}
}

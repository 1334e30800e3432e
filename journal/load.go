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
	born   map[shard.CopyID]bool // its creation was met in the log
	next   uint64                // key of the next value of the log
	part   part                  // an entry of which not all values were met yet
}

// part is the beginning of an entry that spans values.
type part struct {
	header header
	place  place
	bytes  []byte // payload so far; grows by what is there, never by what a length claims
}

// read checks every byte the journal relies on and builds the index.
func (d *disk) read(path string, directory shard.DirectoryID) (*contents, error) {
	c := &contents{path: path, copies: map[shard.CopyID]*copyLog{}, born: map[shard.CopyID]bool{}}
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
	own, copies, log := tx.Bucket(journalBucket), tx.Bucket(copiesBucket), tx.Bucket(logBucket)
	if own == nil || copies == nil || log == nil {
		return fmt.Errorf("%s is %w: a bbolt file of another program", c.path, ErrWrongFile)
	}
	if f := own.Get(formatKey); string(f) != format {
		return fmt.Errorf("%s is %w: it has format %q, this program knows %q", c.path, ErrWrongFile, f, format)
	}
	if had := own.Get(directoryKey); directory != "" && len(had) > 0 && string(had) != string(directory) {
		return fmt.Errorf("%s is %w: it belongs to data directory %s, this is %s", c.path, ErrWrongFile, had, directory)
	}
	err := copies.ForEach(func(k, v []byte) error {
		if len(k) != 8 {
			return &DamagedError{Path: c.path, Why: "the name of a copy is not a number"}
		}
		id := shard.CopyID(binary.BigEndian.Uint64(k))
		l := &copyLog{created: true}
		c.copies[id] = l
		var err error
		if l.shard, l.durable.promised, err = decodeCopy(id, v); err != nil {
			c.damage(id, err.Error())
		}
		return nil
	})
	if err != nil {
		return err
	}
	c.readLog(log)
	for id, l := range c.copies {
		if !c.born[id] {
			c.damage(id, "its beginning is missing from the log")
		}
		l.queued = l.durable
	}
	return nil
}

// readLog walks the log in arrival order and applies every entry to its copy.
func (c *contents) readLog(log *bolt.Bucket) {
	last := uint64(0)
	cursor := log.Cursor()
	for k, v := cursor.First(); k != nil; k, v = cursor.Next() {
		key := uint64(0)
		if len(k) == 8 {
			key = binary.BigEndian.Uint64(k)
		}
		if key != last+1 {
			c.dropPart()
			c.damageAll(fmt.Sprintf("the log goes from key %d to key %x", last, k))
		}
		last = max(last, key)
		c.readValue(key, v)
	}
	c.dropPart()
	if end := log.Sequence(); end != last {
		c.damageAll(fmt.Sprintf("the log ends at key %d instead of %d", last, end))
		last = max(last, end)
	}
	c.next = last + 1
}

func (c *contents) readValue(key uint64, v []byte) {
	switch {
	case len(v) > 0 && v[0] == chunkContinue && c.part.header.kind != 0:
		c.continuePart(v[1:])
		return
	case len(v) > 0 && v[0] == chunkStart:
		c.dropPart()
	default:
		c.damageAll(fmt.Sprintf("key %d holds no value of this format", key))
		return
	}
	for b := v[1:]; len(b) > 0; {
		h, err := parseHeader(b)
		if err != nil {
			c.damageAll(fmt.Sprintf("key %d: %v", key, err))
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
	if c.part.header.kind != 0 {
		c.damage(c.part.header.copy, fmt.Sprintf("the entry at key %d is not whole", c.part.place.key))
	}
	c.part = part{}
}

// apply adds one entry to the index of its copy. Entries of copies that were removed are passed over.
func (c *contents) apply(h header, p place, payload []byte) {
	l := c.copies[h.copy]
	if l == nil || l.shard.Type == "" { // removed, or not even its shard is known
		return
	}
	if h.kind == kindCreated {
		c.born[h.copy] = true
		l.places, l.damaged, l.durable = index{}, nil, head{promised: l.durable.promised}
		return
	}
	if l.damaged != nil {
		return
	}
	if !c.born[h.copy] {
		c.damage(h.copy, "its beginning is missing from the log")
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

// damageAll is for bytes that could have been anybody's: every copy that began before them may have lost something. One
// that began after them has not.
func (c *contents) damageAll(why string) {
	for id := range c.born {
		c.damage(id, why)
	}
}

package journal

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	bolt "go.etcd.io/bbolt"

	"muster/replication"
	"muster/shard"
)

// MaxKeepBytes bounds the encoded records of one Keep or Stage; a single larger record is taken alone.
const MaxKeepBytes = 256 << 10

// A tally makes what is apart checkable as a whole: rot that loses a record of the bucket, or doubles one, is as bad as
// rot in its bytes, and bbolt notices neither.
type tally struct {
	records uint64
	sum     uint64 // of each record's key and own checksum
}

func (t *tally) add(key, value []byte) {
	t.records++
	t.sum += apartSum(key, value)
}

func (t *tally) remove(key, value []byte) {
	t.records--
	t.sum -= apartSum(key, value)
}

// apartSum covers the whole record, because the last bytes of a value are the checksum of those before.
func apartSum(key, value []byte) uint64 {
	sum := crc32.Checksum(key, castagnoli)
	return uint64(crc32.Update(sum, castagnoli, value[max(0, len(value)-crc32.Size):]))
}

// apart is a change of what a copy keeps apart, or of what it stages.
type apart struct {
	puts  []pair
	drops [][]byte // keys without their generation
	size  int      // bytes of puts
}

// pair is a key without its generation, and a record's encoding.
type pair struct{ key, value []byte }

// generationSize is how many bytes of a key name its generation.
const generationSize = 8

// appendKey appends a key of the bucket "apart" without its generation: kind u8, then the entity's name or the session u64.
// Keys are in the order of Key.Compare.
func appendKey(b []byte, k replication.Key) ([]byte, error) {
	switch b = append(b, byte(k.Kind)); k.Kind {
	case replication.KindSnapshot:
		return append(b, k.Entity...), nil
	case replication.KindRequests:
		return binary.BigEndian.AppendUint64(b, uint64(k.Session)), nil
	default:
		return nil, fmt.Errorf("records of kind %d are not kept apart", k.Kind)
	}
}

// newApart lays out records, and keys to drop, for the bucket.
func newApart(records []replication.Record, drops []replication.Key) (apart, error) {
	a := apart{puts: make([]pair, len(records)), drops: make([][]byte, len(drops))}
	for i := range records {
		key, err := appendKey(nil, records[i].Key())
		if err != nil {
			return apart{}, err
		}
		if n := records[i].EncodedSize(); n > replication.MaxRecordSize {
			return apart{}, fmt.Errorf("a record apart has %d bytes, the limit is %d", n, replication.MaxRecordSize)
		}
		a.puts[i] = pair{key, records[i].Append(nil)}
		a.size += len(key) + len(a.puts[i].value)
	}
	for i, k := range drops {
		var err error
		if a.drops[i], err = appendKey(nil, k); err != nil {
			return apart{}, err
		}
	}
	if a.size > MaxKeepBytes && len(records) > 1 {
		return apart{}, fmt.Errorf("%d records apart have %d bytes, the limit is %d", len(records), a.size, MaxKeepBytes)
	}
	return a, nil
}

// store carries the change out under a generation and keeps its tally.
func (a *apart) store(b *bolt.Bucket, generation uint64, t *tally) error {
	key := binary.BigEndian.AppendUint64(nil, generation)
	for _, p := range a.puts {
		key = append(key[:generationSize], p.key...)
		if had := b.Get(key); had != nil {
			t.remove(key, had)
		}
		if err := b.Put(key, p.value); err != nil {
			return fmt.Errorf("put apart: %w", err)
		}
		t.add(key, p.value)
	}
	for _, d := range a.drops {
		key = append(key[:generationSize], d...)
		if had := b.Get(key); had != nil {
			t.remove(key, had)
			if err := b.Delete(key); err != nil {
				return fmt.Errorf("delete apart: %w", err)
			}
		}
	}
	return nil
}

// Keep stores records apart from a copy's log, each in place of the one with the same key, and drops others. All of it
// becomes durable together, before or with every later call for the copy. An error of the call, not of the disk, changes nothing:
// more than MaxKeepBytes, a kind that is not kept apart, a copy that is not there or is damaged.
func (j *Journal) Keep(copy shard.CopyID, records []replication.Record, drops []replication.Key, done func(error)) {
	a, err := newApart(records, drops)
	o := &op{kind: opKeep, copy: copy, change: &change{apart: a}, done: done}
	j.submit(o, func() error {
		if err != nil {
			return fmt.Errorf("journal: keep for copy %d: %w", copy, err)
		}
		return j.usable(o)
	})
}

// Entity returns the newest snapshot of an entity that is durable apart from the copy's log, and whether there is one. It
// shares no memory with the journal. A snapshot that fails its checksum is a *DamagedError and makes the copy damaged.
func (j *Journal) Entity(copy shard.CopyID, entity shard.EntityID) (replication.Record, bool, error) {
	name := replication.Key{Kind: replication.KindSnapshot, Entity: entity}
	var value []byte
	err := j.viewApart(copy, func(b *bolt.Bucket, generation []byte) error {
		key, err := appendKey(generation, name)
		if err != nil {
			return err
		}
		if value = bytes.Clone(b.Get(key)); value == nil {
			return missing(b, key)
		}
		return nil
	})
	if err != nil || value == nil {
		return replication.Record{}, false, err
	}
	r, err := decodeApart(name, value)
	if err != nil {
		return replication.Record{}, false, j.spoil(copy, fmt.Sprintf("the snapshot of entity %q: %v", entity, err))
	}
	return r, true, nil
}

// missing checks that a key is not in the bucket, which a search alone does not show: bbolt's pages have no checksums, and one bit
// of a key hides its record and leads those who search for others astray. Either way the search ends beside the key that is rotten, or
// between keys that are out of order. A record names its own key, so the neighbours tell; their generation, which it
// does not name, is out of order beside the key behind. What they do not tell is that a page was left out as a whole. What is rotten in
// another copy's record is that copy's: it costs no second one.
func missing(b *bolt.Bucket, key []byte) error {
	cursor := b.Cursor()
	next, value := cursor.Seek(key)
	if err := inOrder(1, key, next, value, cursor.Next); err != nil {
		return err
	}
	before, value := cursor.Last()
	if next != nil {
		cursor.Seek(key)
		before, value = cursor.Prev()
	}
	return inOrder(-1, key, before, value, cursor.Prev)
}

// inOrder checks that a neighbour of a key, and its own, stand on the side where they were found.
func inOrder(side int, key, k, v []byte, step func() (k, v []byte)) error {
	if k == nil {
		return nil
	}
	beyond, _ := step()
	mine := bytes.HasPrefix(k, key[:generationSize])
	if bytes.Compare(k, key) != side || beyond != nil && bytes.Compare(beyond, k) != side || mine && !names(k, v) {
		return fmt.Errorf("key %x is out of place beside %x", k, key)
	}
	return nil
}

// names reports whether a record of the bucket says that this is its key. Its beginning tells. Rejected: to compare its checksum as well. That says
// nothing more of the key, and for each entity that is new all of two snapshots was read, which may be megabytes.
func names(key, value []byte) bool {
	if len(key) <= generationSize {
		return false
	}
	name, err := parseKey(key[generationSize:])
	if err != nil {
		return false
	}
	own, err := replication.KeyOf(value)
	return err == nil && own == name
}

// Apart lists what is durable apart from a copy's log, in the order of Key.Compare behind a key, as many as fit into
// maxBytes and at least one, and whether there are more. The zero key is before all; Key{Kind: KindRequests} before all
// of that kind. The records share no memory with the journal. Between two calls the copy may have changed.
func (j *Journal) Apart(copy shard.CopyID, after replication.Key, maxBytes int) ([]replication.Record, bool, error) {
	var found []pair
	more := false
	err := j.viewApart(copy, func(b *bolt.Bucket, generation []byte) (err error) {
		found, more, err = listApart(b, generation, after, maxBytes)
		return err
	})
	if err != nil {
		return nil, false, err
	}
	records := make([]replication.Record, 0, len(found))
	for _, p := range found {
		name, err := parseKey(p.key)
		var r replication.Record
		if err == nil {
			r, err = decodeApart(name, p.value)
		}
		if err != nil {
			return nil, false, j.spoil(copy, fmt.Sprintf("apart, behind %v: %v", after, err))
		}
		records = append(records, r)
	}
	return records, more, nil
}

// listApart reads on behind a key. What is rotten must not look like the end, nor hide what stands beside it: whoever is sent the rest takes it
// for all there is. So where the search ended, and that keys rise, is checked as missing does it. What that does not tell is that the last key of
// all belongs to another generation by now.
func listApart(b *bolt.Bucket, generation []byte, after replication.Key, maxBytes int) (found []pair, more bool, err error) {
	start := bytes.Clone(generation)
	if after != (replication.Key{}) {
		start, _ = appendKey(start, after) // a kind that is not kept apart has nothing behind it but what is
	}
	cursor := b.Cursor()
	k, v := cursor.Seek(start)
	if bytes.Equal(k, start) {
		k, v = cursor.Next()
	} else if err := missing(b, start); err != nil {
		return nil, false, err
	}
	last, size := start, 0
	for ; k != nil && bytes.HasPrefix(k, generation); k, v = cursor.Next() {
		if bytes.Compare(k, last) <= 0 {
			return nil, false, fmt.Errorf("key %x is out of place behind %x", k, last)
		}
		if size += len(v); size > maxBytes && len(found) > 0 {
			return found, true, nil
		}
		last = bytes.Clone(k)
		found = append(found, pair{last[generationSize:], bytes.Clone(v)})
	}
	if k == nil {
		return found, false, nil
	}
	if beyond, _ := cursor.Next(); bytes.Compare(k, last) <= 0 || beyond != nil && bytes.Compare(beyond, k) <= 0 {
		return nil, false, fmt.Errorf("key %x is out of place behind %x", k, last)
	}
	return found, false, nil
}

// viewApart runs fn in a read transaction with a copy's generation, again if that was replaced meanwhile: a replaced one is
// deleted bit by bit.
func (j *Journal) viewApart(copy shard.CopyID, fn func(b *bolt.Bucket, generation []byte) error) error {
	for {
		before, err := j.generation(copy)
		if err != nil {
			return err
		}
		err = j.view(func(tx *bolt.Tx) error {
			return fn(tx.Bucket(apartBucket), binary.BigEndian.AppendUint64(nil, before))
		})
		if errors.Is(err, ErrClosed) {
			return err
		}
		if err != nil {
			return j.spoil(copy, fmt.Sprintf("what it keeps apart: %v", err))
		}
		if after, err := j.generation(copy); err != nil || after == before {
			return err
		}
	}
}

func (j *Journal) generation(copy shard.CopyID) (uint64, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	l := j.mu.copies[copy]
	switch {
	case l == nil || !l.created:
		return 0, fmt.Errorf("%w: read copy %d", ErrNoCopy, copy)
	case l.damaged != nil:
		return 0, l.damaged
	}
	return l.generation, nil
}

func parseKey(b []byte) (replication.Key, error) {
	switch k := replication.Kind(b[0]); {
	case k == replication.KindSnapshot:
		return replication.Key{Kind: k, Entity: shard.EntityID(b[1:])}, nil
	case k == replication.KindRequests && len(b) == 9:
		return replication.Key{Kind: k, Session: shard.SessionID(binary.BigEndian.Uint64(b[1:]))}, nil
	default:
		return replication.Key{}, fmt.Errorf("a key of kind %d with %d bytes", k, len(b))
	}
}

// decodeApart reads a record that must have the key it was found under.
func decodeApart(name replication.Key, value []byte) (replication.Record, error) {
	r, rest, err := replication.DecodeRecord(value)
	switch {
	case err != nil:
		return r, err
	case len(rest) > 0 || r.Key() != name:
		return r, fmt.Errorf("another record than %v is there", name)
	}
	return r, nil
}

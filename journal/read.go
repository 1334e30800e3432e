package journal

import (
	"encoding/binary"
	"errors"
	"fmt"

	bolt "go.etcd.io/bbolt"

	"muster/replication"
	"muster/shard"
)

// scanBytes bounds one read transaction of Scan: a long one would keep pages from being used again.
const scanBytes = 1 << 20

// Read returns durable records first to last of a copy, as many as fit into maxBytes of encoding and at least one. They
// share no memory with the journal. It fails with ErrCompacted when the log starts after first by now, and with ErrClosed after
// Close. A record that fails its checksum is a *DamagedError and makes the copy damaged.
func (j *Journal) Read(copy shard.CopyID, first, last shard.LSN, maxBytes int) ([]replication.Record, error) {
	for {
		places, err := j.places(copy, first, last, maxBytes)
		if err != nil {
			return nil, err
		}
		records, err := j.read(copy, first, places)
		if err == nil || errors.Is(err, ErrClosed) {
			return records, err
		}
		if !j.gone(places[0]) {
			return nil, j.spoil(copy, fmt.Sprintf("records from %d on: %v", first, err))
		}
	}
}

// gone reports whether a place was deleted, or is about to be, which is no damage: what it held was moved or is not needed.
func (j *Journal) gone(p place) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return p.key < j.mu.front
}

// read reads the records from first on at their places.
func (j *Journal) read(copy shard.CopyID, first shard.LSN, places []place) ([]replication.Record, error) {
	var buf []byte
	err := j.view(func(tx *bolt.Tx) error {
		r := entryReader{cursor: tx.Bucket(logBucket).Cursor()}
		for _, p := range places {
			var err error
			if buf, err = r.append(buf, p); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	records := make([]replication.Record, len(places))
	for i, p := range places {
		if err := parseRecord(&records[i], buf[:p.size], copy, first+shard.LSN(i)); err != nil {
			return nil, err
		}
		buf = buf[p.size:]
	}
	return records, nil
}

// Scan calls fn with every record that is in the log and durable when it starts, in LSN order. It stops at fn's first error and
// returns it, or with ErrCompacted when the log is cut meanwhile. fn may keep the record.
func (j *Journal) Scan(copy shard.CopyID, fn func(*replication.Record) error) error {
	j.mu.Lock()
	l := j.mu.copies[copy]
	if l == nil {
		j.mu.Unlock()
		return fmt.Errorf("%w: scan copy %d", ErrNoCopy, copy)
	}
	next, last := l.durable.base.LSN+1, l.durable.last.LSN
	j.mu.Unlock()
	for next <= last {
		records, err := j.Read(copy, next, last, scanBytes)
		if err != nil {
			return err
		}
		for i := range records {
			if err := fn(&records[i]); err != nil {
				return err
			}
		}
		next += shard.LSN(len(records))
	}
	return nil
}

// places copies the part of the index that a read needs.
func (j *Journal) places(copy shard.CopyID, first, last shard.LSN, maxBytes int) ([]place, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	l := j.mu.copies[copy]
	if l == nil {
		return nil, fmt.Errorf("%w: read copy %d", ErrNoCopy, copy)
	}
	if l.damaged != nil {
		return nil, l.damaged
	}
	switch base := l.durable.base.LSN; {
	case first < 1 || last < first || last > l.durable.last.LSN:
		return nil, fmt.Errorf("journal: read records %d to %d of copy %d, which holds %d to %d", first, last, copy, base+1, l.durable.last.LSN)
	case first <= base:
		return nil, fmt.Errorf("%w: read records from %d on of copy %d, which holds those from %d on", ErrCompacted, first, copy, base+1)
	}
	var places []place
	size := 0
	for lsn := first; lsn <= last; lsn++ {
		p := l.places.at(lsn)
		if size += int(p.size); size > maxBytes && lsn > first {
			break
		}
		places = append(places, p)
	}
	return places, nil
}

// spoil marks a copy as damaged, once, and returns the damage.
func (j *Journal) spoil(copy shard.CopyID, why string) error {
	err := &DamagedError{Path: j.path, Copy: copy, Why: why}
	j.mu.Lock()
	if l := j.mu.copies[copy]; l != nil && l.damaged == nil {
		l.damaged = err
	}
	j.mu.rotten = true
	j.mu.Unlock()
	j.opt.Logger.Error("copy is damaged", "copy", copy, "error", why)
	return err
}

// entryReader reads entries by their places within one transaction.
type entryReader struct {
	cursor *bolt.Cursor
	key    uint64 // of value, 0 before the first
	value  []byte
}

// append adds the whole entry to dst.
func (r *entryReader) append(dst []byte, p place) ([]byte, error) {
	need := int(p.size)
	offset := int(p.offset)
	for key := p.key; need > 0; key++ {
		if err := r.seek(key); err != nil {
			return dst, err
		}
		if offset >= len(r.value) {
			return dst, fmt.Errorf("key %d holds %d bytes", key, len(r.value))
		}
		part := r.value[offset:min(len(r.value), offset+need)]
		dst = append(dst, part...)
		need -= len(part)
		offset = chunkHeader
	}
	return dst, nil
}

func (r *entryReader) seek(key uint64) error {
	if r.key == key {
		return nil
	}
	k, v := r.near(key)
	r.key = 0
	if len(k) != 8 || binary.BigEndian.Uint64(k) != key {
		return fmt.Errorf("key %d is missing", key)
	}
	r.key, r.value = key, v
	return nil
}

// near moves the cursor to the key. A step stays in pages that are at hand, and a search goes down from the root, so some steps are
// cheaper.
func (r *entryReader) near(key uint64) (k, v []byte) {
	const steps = 24
	if r.key == 0 || key < r.key || key-r.key > steps {
		var want [8]byte
		binary.BigEndian.PutUint64(want[:], key)
		return r.cursor.Seek(want[:])
	}
	for at := r.key; at < key; at++ {
		if k, v = r.cursor.Next(); k == nil {
			return nil, nil
		}
	}
	return k, v
}

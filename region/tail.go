package region

import "muster/shard"

// A tail holds the encodings of a led shard's newest records, so that replicas are served without reading the journal,
// and records that are not durable yet can be sent at all. It keeps more than its limit only while records are not
// durable. Owned by the host.
//
// Invariant: the records are gap-free from first on.
type tail struct {
	first   shard.LSN // of the oldest kept; meaningful while there is one
	records queue[tailRecord]
	bytes   int
	limit   int
}

type tailRecord struct {
	epoch shard.Epoch
	b     []byte
}

// add appends the record that follows the newest.
func (t *tail) add(p shard.Position, b []byte) {
	if t.records.len() == 0 {
		t.first = p.LSN
	}
	t.records.push(tailRecord{p.Epoch, b})
	t.bytes += len(b)
}

// get returns a record's encoding and epoch.
func (t *tail) get(lsn shard.LSN) (tailRecord, bool) {
	if lsn < t.first || lsn >= t.first+shard.LSN(t.records.len()) {
		return tailRecord{}, false
	}
	return t.records.all()[lsn-t.first], true
}

// trim drops the oldest durable records beyond the limit.
func (t *tail) trim(durable shard.LSN) {
	for t.bytes > t.limit && t.records.len() > 0 && t.first <= durable {
		t.bytes -= len(t.records.pop().b)
		t.first++
	}
}

// reset drops everything: the shard is not led any more.
func (t *tail) reset() { *t = tail{limit: t.limit} }

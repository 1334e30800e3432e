package journal

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"muster/replication"
	"muster/shard"
)

// head is what a copy's data amounts to.
type head struct {
	promised  shard.Epoch
	last      shard.Position
	history   shard.History
	confirmed shard.LSN // a hint: at least these records were confirmed
}

// copyLog is what the journal knows of one copy. It lives under Journal.mu.
//
// Invariant: places.count == durable.last.LSN, because a log starts with LSN 1 (logs are not shortened at the start yet).
type copyLog struct {
	shard    shard.ID
	queued   head // after every write submitted
	durable  head // after every write that is on disk
	places   index
	created  bool // its creation is durable
	removing bool // Remove was called
	damaged  error
}

func (h head) state(id shard.CopyID) replication.State {
	return replication.State{
		Copy: id, Promised: h.promised, Last: h.last, History: h.history, Confirmed: min(h.confirmed, h.last.LSN),
	}
}

// after returns the head once w is stored, or why w does not fit the log.
func (h head) after(w *replication.Write) (head, error) {
	if w.Promise > 0 && w.Promise < h.promised {
		return h, fmt.Errorf("promise %d goes back from %d", w.Promise, h.promised)
	}
	h.promised = max(h.promised, w.Promise)
	if w.Truncate > 0 {
		if err := h.truncate(w.Truncate); err != nil {
			return h, err
		}
	}
	for i := range w.Records {
		if err := h.extend(w.Records[i].Position); err != nil {
			return h, err
		}
		if n := w.Records[i].EncodedSize(); n > replication.MaxRecordSize {
			return h, fmt.Errorf("record %s has %d bytes, the limit is %d", w.Records[i].Position, n, replication.MaxRecordSize)
		}
	}
	h.confirmed = max(h.confirmed, w.Confirmed)
	return h, nil
}

func (h *head) truncate(from shard.LSN) error {
	if from > h.last.LSN+1 || from <= h.confirmed {
		return fmt.Errorf("truncation at %d of a log that ends at %d and is confirmed to %d", from, h.last.LSN, h.confirmed)
	}
	h.history = h.history.Truncate(from)
	h.last = shard.Position{Epoch: h.history.At(from - 1), LSN: from - 1}
	return nil
}

func (h *head) extend(p shard.Position) error {
	if p.LSN != h.last.LSN+1 || p.Epoch < h.last.Epoch || p.Epoch == 0 {
		return fmt.Errorf("record %s does not follow %s", p, h.last)
	}
	h.last, h.history = p, h.history.Extend(p)
	return nil
}

const copyFormat = 1

// encodeCopy is the value of a copy in the bucket "copies": format u8, promised u64, number u32, type, crc u32.
func encodeCopy(id shard.CopyID, s shard.ID, promised shard.Epoch) []byte {
	b := []byte{copyFormat}
	b = binary.BigEndian.AppendUint64(b, uint64(promised))
	b = binary.BigEndian.AppendUint32(b, uint32(s.Number))
	b = append(b, s.Type...)
	return binary.BigEndian.AppendUint32(b, copySum(id, b))
}

func decodeCopy(id shard.CopyID, b []byte) (shard.ID, shard.Epoch, error) {
	n := len(b) - 4
	if n < 13 || copySum(id, b[:n]) != binary.BigEndian.Uint32(b[n:]) {
		return shard.ID{}, 0, fmt.Errorf("what the file says of it has a wrong checksum")
	}
	if b[0] != copyFormat {
		return shard.ID{}, 0, fmt.Errorf("it was written in format %d, this program knows %d", b[0], copyFormat)
	}
	s := shard.ID{Type: shard.TypeName(b[13:n]), Number: shard.Number(binary.BigEndian.Uint32(b[9:]))}
	return s, shard.Epoch(binary.BigEndian.Uint64(b[1:])), nil
}

// copySum covers the key too, so that a value under another key is noticed.
func copySum(id shard.CopyID, b []byte) uint32 {
	var key [8]byte
	binary.BigEndian.PutUint64(key[:], uint64(id))
	return crc32.Update(crc32.Checksum(key[:], castagnoli), castagnoli, b)
}

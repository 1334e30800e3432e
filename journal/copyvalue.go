package journal

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"

	bolt "go.etcd.io/bbolt"

	"muster/shard"
)

const copyFormat = 2

// copyValue is what the bucket "copies" says of a copy. It belongs to Journal.run.
//
// Invariant: no live record of the copy stands before from, and the log holds every key from from.key on.
type copyValue struct {
	shard      shard.ID
	promised   shard.Epoch
	base       shard.Position // its log starts right after it
	from       place          // its entries before this place are void; the size means nothing
	generation uint64         // of what it keeps apart
	apart      tally          // of that generation
	staging    staging
}

// staging is a shard snapshot that is not whole yet. What it would keep apart stands under a generation of its own.
type staging struct {
	generation uint64 // 0 for none
	base       shard.Position
	source     shard.CopyID
	apart      tally
}

// copyFixed is the size of a copy's value without the name of its type:
// format u8, promised u64, base u64 ×2, from u64 u32, generation u64, apart u64 ×2,
// staging: generation u64, base u64 ×2, source u64, apart u64 ×2; number u32, type, crc u32.
const copyFixed = 1 + 8 + 16 + 12 + 8 + 16 + 48 + 4 + 4

func (v *copyValue) encode(id shard.CopyID) []byte {
	b := make([]byte, 0, copyFixed+len(v.shard.Type))
	b = append(b, copyFormat)
	for _, n := range []uint64{uint64(v.promised), uint64(v.base.Epoch), uint64(v.base.LSN), v.from.key} {
		b = binary.BigEndian.AppendUint64(b, n)
	}
	b = binary.BigEndian.AppendUint32(b, v.from.offset)
	s := &v.staging
	for _, n := range []uint64{
		v.generation, v.apart.records, v.apart.sum,
		s.generation, uint64(s.base.Epoch), uint64(s.base.LSN), uint64(s.source), s.apart.records, s.apart.sum,
	} {
		b = binary.BigEndian.AppendUint64(b, n)
	}
	b = binary.BigEndian.AppendUint32(b, uint32(v.shard.Number))
	b = append(b, v.shard.Type...)
	return binary.BigEndian.AppendUint32(b, copySum(id, b))
}

func decodeCopy(id shard.CopyID, b []byte) (copyValue, error) {
	n := len(b) - 4
	if n < copyFixed-4 || copySum(id, b[:n]) != binary.BigEndian.Uint32(b[n:]) {
		return copyValue{}, fmt.Errorf("what the file says of it has a wrong checksum")
	}
	if b[0] != copyFormat {
		return copyValue{}, fmt.Errorf("%w: copy %d was written in format %d, this program knows %d", ErrWrongFile, id, b[0], copyFormat)
	}
	at := 1
	next := func() uint64 {
		at += 8
		return binary.BigEndian.Uint64(b[at-8:])
	}
	position := func() shard.Position { return shard.Position{Epoch: shard.Epoch(next()), LSN: shard.LSN(next())} }
	v := copyValue{promised: shard.Epoch(next()), base: position(), from: place{key: next()}}
	v.from.offset = binary.BigEndian.Uint32(b[at:])
	at += 4
	v.generation, v.apart = next(), tally{next(), next()}
	v.staging = staging{generation: next(), base: position(), source: shard.CopyID(next()), apart: tally{next(), next()}}
	v.shard = shard.ID{Type: shard.TypeName(b[at+4 : n]), Number: shard.Number(binary.BigEndian.Uint32(b[at:]))}
	return v, nil
}

// copySum covers the key too, so that a value under another key is noticed.
func copySum(id shard.CopyID, b []byte) uint32 {
	var key [8]byte
	binary.BigEndian.PutUint64(key[:], uint64(id))
	return crc32.Update(crc32.Checksum(key[:], castagnoli), castagnoli, b)
}

// put writes the value.
func (v *copyValue) put(copies *bolt.Bucket, id shard.CopyID) error {
	var key [8]byte
	binary.BigEndian.PutUint64(key[:], uint64(id))
	return copies.Put(key[:], v.encode(id))
}

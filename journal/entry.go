package journal

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"slices"

	"muster/replication"
	"muster/shard"
)

// kind tells what an entry of the log is. The numbers are part of the format.
type kind uint8

const (
	kindRecord    kind = 1 // payload: replication.Record, with its own checksum
	kindTruncate  kind = 2 // payload: LSN; the copy's records from there on are void
	kindConfirmed kind = 3 // payload: LSN; the copy knows that records up to it are confirmed
)

// A value of the log starts with one of these bytes and with its length as an u16: bbolt would not notice that it is shorter
// than it was.
const (
	chunkStart    = 'S' // an entry starts right after it
	chunkContinue = 'C' // more of the entry that the value before could not hold
)

const (
	chunkHeader = 3
	headerSize  = 20 // copy u64, length u32, kind u8, zero ×3, crc u32; big endian
	lsnSize     = 12 // lsn u64, crc u32
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// header stands before every payload.
type header struct {
	copy   shard.CopyID
	length int
	kind   kind
}

func (h header) append(dst []byte) []byte {
	start := len(dst)
	dst = binary.BigEndian.AppendUint64(dst, uint64(h.copy))
	dst = binary.BigEndian.AppendUint32(dst, uint32(h.length))
	dst = append(dst, byte(h.kind), 0, 0, 0)
	return binary.BigEndian.AppendUint32(dst, crc32.Checksum(dst[start:], castagnoli))
}

func parseHeader(b []byte) (header, error) {
	if len(b) < headerSize {
		return header{}, fmt.Errorf("%d bytes where an entry should start", len(b))
	}
	if crc32.Checksum(b[:16], castagnoli) != binary.BigEndian.Uint32(b[16:]) {
		return header{}, fmt.Errorf("the header of an entry has a wrong checksum")
	}
	h := header{
		copy:   shard.CopyID(binary.BigEndian.Uint64(b)),
		length: int(binary.BigEndian.Uint32(b[8:])), kind: kind(b[12]),
	}
	if h.length > replication.MaxRecordSize {
		return header{}, fmt.Errorf("an entry claims %d bytes, the limit is %d", h.length, replication.MaxRecordSize)
	}
	return h, nil
}

// parseRecord reads an entry that must be that record of that copy. Its body aliases b. The header's own checksum is not
// computed: each of the bits that it covers is known.
func parseRecord(r *replication.Record, b []byte, copy shard.CopyID, lsn shard.LSN) error {
	if len(b) < headerSize || shard.CopyID(binary.BigEndian.Uint64(b)) != copy ||
		int(binary.BigEndian.Uint32(b[8:])) != len(b)-headerSize || binary.BigEndian.Uint32(b[12:]) != uint32(kindRecord)<<24 {
		return fmt.Errorf("record %d is not where it was written", lsn)
	}
	_, err := r.Decode(b[headerSize:])
	if err == nil && r.LSN != lsn {
		err = fmt.Errorf("it is record %d", r.LSN)
	}
	if err != nil {
		return fmt.Errorf("record %d: %w", lsn, err)
	}
	return nil
}

// soundEntry checks all of an entry that is to be written again.
func soundEntry(b []byte, copy shard.CopyID, lsn shard.LSN) error {
	if _, err := parseHeader(b); err != nil {
		return err
	}
	return parseRecord(new(replication.Record), b, copy, lsn)
}

func appendLSN(dst []byte, h header, lsn shard.LSN) []byte {
	h.length = lsnSize
	dst = h.append(dst)
	dst = binary.BigEndian.AppendUint64(dst, uint64(lsn))
	return binary.BigEndian.AppendUint32(dst, crc32.Checksum(dst[len(dst)-8:], castagnoli))
}

func parseLSN(b []byte) (shard.LSN, error) {
	if len(b) != lsnSize || crc32.Checksum(b[:8], castagnoli) != binary.BigEndian.Uint32(b[8:]) {
		return 0, fmt.Errorf("a position has a wrong checksum")
	}
	return shard.LSN(binary.BigEndian.Uint64(b)), nil
}

// encodeWrite lays out the entries of one write in the order in which Open must meet them again.
func encodeWrite(b []byte, copy shard.CopyID, w *replication.Write) []byte {
	size := 2 * (headerSize + lsnSize)
	for i := range w.Records {
		size += headerSize + w.Records[i].EncodedSize()
	}
	b = slices.Grow(b, size)
	if w.Truncate > 0 {
		b = appendLSN(b, header{copy: copy, kind: kindTruncate}, w.Truncate)
	}
	for i := range w.Records {
		b = header{copy: copy, kind: kindRecord, length: w.Records[i].EncodedSize()}.append(b)
		b = w.Records[i].Append(b)
	}
	if w.Confirmed > 0 && (len(b) > 0 || w.Promise > 0) { // the hint is not worth a commit of its own
		b = appendLSN(b, header{copy: copy, kind: kindConfirmed}, w.Confirmed)
	}
	return b
}

// chunks cuts the entries of one commit into values. The bytes live in one buffer, reused by the next commit.
//
// Invariant: an entry that fits into a value is never cut.
type chunks struct {
	first  uint64 // key of the first value
	buf    []byte
	cuts   []int   // where each value starts in buf
	places []place // of the records
	full   bool    // the last value ends with the last part of a cut entry, and takes no other
}

// reset empties c for a commit whose first key is first.
func (c *chunks) reset(first uint64) {
	c.first, c.buf, c.cuts, c.places, c.full = first, c.buf[:0], c.cuts[:0], c.places[:0], false
}

func (c *chunks) open(mark byte) {
	c.cuts = append(c.cuts, len(c.buf))
	c.buf = append(c.buf, mark, 0, 0) // each fills in the length
	c.full = false
}

func (c *chunks) room() int {
	if len(c.cuts) == 0 || c.full {
		return 0
	}
	return ChunkSize - (len(c.buf) - c.cuts[len(c.cuts)-1])
}

// add appends one entry, header included, and returns where it stands.
func (c *chunks) add(entry []byte) place {
	if len(entry) > c.room() {
		c.open(chunkStart)
	}
	p := place{
		key: c.first + uint64(len(c.cuts)-1), offset: uint32(len(c.buf) - c.cuts[len(c.cuts)-1]), size: uint32(len(entry)),
	}
	for {
		n := min(len(entry), c.room())
		c.buf = append(c.buf, entry[:n]...)
		if entry = entry[n:]; len(entry) == 0 {
			break
		}
		c.open(chunkContinue)
	}
	c.full = p.key != c.first+uint64(len(c.cuts)-1)
	return p
}

// end returns a place behind everything added, and at or before what is added next.
func (c *chunks) end() place {
	if c.room() == 0 {
		return place{key: c.first + uint64(len(c.cuts))}
	}
	return place{key: c.first + uint64(len(c.cuts)-1), offset: uint32(len(c.buf) - c.cuts[len(c.cuts)-1])}
}

// cutChunk returns the mark of a value and what it holds, 0 for one that is not whole.
func cutChunk(v []byte) (mark byte, b []byte) {
	if len(v) < chunkHeader || int(binary.BigEndian.Uint16(v[1:])) != len(v) {
		return 0, nil
	}
	return v[0], v[chunkHeader:]
}

// each calls fn with every value and its key, in order.
func (c *chunks) each(fn func(key uint64, value []byte) error) error {
	for i, start := range c.cuts {
		end := len(c.buf)
		if i+1 < len(c.cuts) {
			end = c.cuts[i+1]
		}
		binary.BigEndian.PutUint16(c.buf[start+1:], uint16(end-start))
		if err := fn(c.first+uint64(i), c.buf[start:end]); err != nil {
			return err
		}
	}
	return nil
}

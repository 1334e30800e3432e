package replication

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math/bits"
	"slices"

	"muster/shard"
)

// Kind tells what a record is to the shard. The numbers are part of the stored format.
type Kind uint8

const (
	KindEpochStart Kind = iota + 1 // the first record of an epoch; no entity
	KindCommand                    // what one command did to one entity: its events and its reply
	KindSnapshot                   // confirmed state of one entity up to Seq
	KindRequests                   // what is remembered of one session's requests; never in a log, only apart from it
)

// MaxRecordSize bounds the encoding of a record, in bytes. A larger one is refused when proposed and when decoded.
const MaxRecordSize = 8 << 20

// Record is one entry of a shard's log. The protocol looks at Position alone; the rest belongs to the region above it.
//
// One command makes one record, however many events it has, so a command is durable whole or not at all.
type Record struct {
	shard.Position
	Kind    Kind
	Entity  shard.EntityID
	Seq     shard.Seq       // the entity's sequence number after this record; a snapshot repeats that of its state
	Request shard.RequestID // zero for records no request caused
	Floor   uint64          // the lowest number Request.Session still awaits
	Body    []byte          // opaque: entity.Outcome for a command, the encoded state for a snapshot

	encoded []byte // what Encode or DecodeRecord left of the encoding; nil for none
}

// A Key names a record that a copy keeps apart from its log: what it still needs of the records before the log's start. The
// newest KindSnapshot of an entity is one, the KindRequests of a session another.
type Key struct {
	Kind    Kind
	Entity  shard.EntityID  // of a KindSnapshot
	Session shard.SessionID // of a KindRequests
}

// Key returns the name of a record of one of these two kinds.
func (r *Record) Key() Key {
	if r.Kind == KindRequests {
		return Key{Kind: r.Kind, Session: r.Request.Session}
	}
	return Key{Kind: r.Kind, Entity: r.Entity}
}

// Compare orders keys by kind, then by entity or session: the order in which they are listed and sent.
func (k Key) Compare(other Key) int {
	return cmp.Or(cmp.Compare(k.Kind, other.Kind), cmp.Compare(k.Entity, other.Entity), cmp.Compare(k.Session, other.Session))
}

// The encoding, in the journal and on the wire alike:
//
//	length  uint32 little endian: bytes after this field
//	version 1 byte: recordVersion
//	kind    1 byte
//	epoch, lsn, seq, session, number, floor, len(entity): uvarint, in their shortest form
//	entity, body
//	crc     uint32 little endian: CRC-32C of everything before it, the length included
//
// The sum stands last so that the bytes before it can be written in one pass.
const (
	recordVersion = 1
	lengthSize    = 4
	crcSize       = 4
	minRecordSize = lengthSize + 2 + 7 + crcSize // every uvarint one byte, no entity, no body
)

var (
	// ErrCorrupt is wrapped by every decoding error of bytes that no version of this program wrote.
	ErrCorrupt = errors.New("corrupt record")
	// ErrVersion is wrapped by the decoding error of an intact record of a newer format.
	ErrVersion = errors.New("record of a newer format")
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// EncodedSize is the number of bytes Append adds.
func (r *Record) EncodedSize() int {
	if r.encoded != nil {
		return len(r.encoded)
	}
	return r.size()
}

func (r *Record) size() int {
	size := lengthSize + 2 + crcSize + len(r.Entity) + len(r.Body)
	for _, v := range r.numbers() {
		size += uvarintSize(v)
	}
	return size
}

// Encode is Append for a record that does not change any more, and whose encoding is wanted again: the record keeps it, in
// dst's memory, which must not change either. A record that was decoded has its encoding from there.
func (r *Record) Encode(dst []byte) []byte {
	start := len(dst)
	dst = r.Append(dst)
	r.encoded = dst[start:len(dst):len(dst)]
	return dst
}

// Append appends the encoding of r to dst and returns it. The record must not be larger than MaxRecordSize.
func (r *Record) Append(dst []byte) []byte {
	if r.encoded != nil {
		return append(dst, r.encoded...)
	}
	start := len(dst)
	dst = append(dst, 0, 0, 0, 0, recordVersion, byte(r.Kind))
	for _, v := range r.numbers() {
		dst = binary.AppendUvarint(dst, v)
	}
	dst = append(dst, r.Entity...)
	dst = append(dst, r.Body...)
	binary.LittleEndian.PutUint32(dst[start:], uint32(len(dst)-start-lengthSize+crcSize))
	return binary.LittleEndian.AppendUint32(dst, crc32.Checksum(dst[start:], castagnoli))
}

func (r *Record) numbers() [7]uint64 {
	return [7]uint64{
		uint64(r.Epoch), uint64(r.LSN), uint64(r.Seq),
		uint64(r.Request.Session), r.Request.Number, r.Floor, uint64(len(r.Entity)),
	}
}

// DecodeRecord reads one record and returns it with the bytes after it. Body, and the encoding that the record keeps, alias
// b, which must not change. It never allocates by a length it was told. An error wraps ErrCorrupt or ErrVersion, and the bytes
// after a bad record mean nothing.
func DecodeRecord(b []byte) (Record, []byte, error) {
	var r Record
	rest, err := r.Decode(b)
	if err != nil {
		return Record{}, b, err
	}
	return r, rest, nil
}

// Decode is DecodeRecord into r, which means nothing after an error. When r names the same entity already, nothing is allocated.
func (r *Record) Decode(b []byte) (rest []byte, err error) {
	frame, rest, err := cutFrame(b)
	if err == nil {
		err = r.parse(frame)
	}
	if err != nil {
		return b, err
	}
	r.encoded = frame[:len(frame):len(frame)]
	return rest, nil
}

// parse reads what is between the length and the sum of a frame.
func (r *Record) parse(frame []byte) error {
	fields := frame[lengthSize+2 : len(frame)-crcSize]
	var v [7]uint64
	for i := range v {
		n := 0
		switch v[i], n = binary.Uvarint(fields); {
		case n <= 0:
			return fmt.Errorf("%w: field %d ends early", ErrCorrupt, i)
		case n > 1 && fields[n-1] == 0:
			return fmt.Errorf("%w: a number not in its shortest form", ErrCorrupt)
		}
		fields = fields[n:]
	}
	if v[6] > uint64(len(fields)) {
		return fmt.Errorf("%w: entity of %d bytes in %d", ErrCorrupt, v[6], len(fields))
	}
	r.Kind = Kind(frame[lengthSize+1])
	r.Position = shard.Position{Epoch: shard.Epoch(v[0]), LSN: shard.LSN(v[1])}
	r.Seq, r.Floor = shard.Seq(v[2]), v[5]
	r.Request = shard.RequestID{Session: shard.SessionID(v[3]), Number: v[4]}
	if entity := fields[:v[6]]; string(entity) != string(r.Entity) {
		r.Entity = shard.EntityID(entity)
	}
	r.Body = fields[v[6]:len(fields):len(fields)]
	return nil
}

// KeyOf reads the key of the one record that b holds, from its beginning alone: whether the record is sound, which takes all of its bytes to know,
// DecodeRecord tells. An error wraps ErrCorrupt.
func KeyOf(b []byte) (Key, error) {
	if len(b) < minRecordSize || uint64(binary.LittleEndian.Uint32(b))+lengthSize != uint64(len(b)) {
		return Key{}, fmt.Errorf("%w: it is not %d bytes long", ErrCorrupt, len(b))
	}
	var r Record
	if err := r.parse(b); err != nil {
		return Key{}, err
	}
	return r.Key(), nil
}

// cutFrame splits off the first record's bytes and verifies length, sum and version, in this order: a version is only
// worth reading in bytes that are intact.
func cutFrame(b []byte) (frame, rest []byte, err error) {
	if len(b) < minRecordSize {
		return nil, b, fmt.Errorf("%w: %d bytes are too few", ErrCorrupt, len(b))
	}
	size := uint64(binary.LittleEndian.Uint32(b)) + lengthSize
	if size < minRecordSize || size > MaxRecordSize || size > uint64(len(b)) {
		return nil, b, fmt.Errorf("%w: length %d in %d bytes", ErrCorrupt, size, len(b))
	}
	frame, rest = b[:size], b[size:]
	sum := binary.LittleEndian.Uint32(frame[size-crcSize:])
	switch got := crc32.Checksum(frame[:size-crcSize], castagnoli); {
	case got != sum:
		return nil, b, fmt.Errorf("%w: checksum %08x, stored %08x", ErrCorrupt, got, sum)
	case frame[lengthSize] > recordVersion:
		return nil, b, fmt.Errorf("%w: version %d, this program knows %d", ErrVersion, frame[lengthSize], recordVersion)
	case frame[lengthSize] == 0:
		return nil, b, fmt.Errorf("%w: version 0", ErrCorrupt)
	}
	return frame, rest, nil
}

// DecodeRecords appends the records that stand back to back in b to dst. On an error it returns dst as it was given:
// half a batch is none.
func DecodeRecords(dst []Record, b []byte) ([]Record, error) {
	given := dst
	dst = slices.Grow(dst, CountRecords(b))
	for len(b) > 0 {
		r, rest, err := DecodeRecord(b)
		if err != nil {
			return given, fmt.Errorf("record %d of the batch: %w", len(dst)-len(given), err)
		}
		dst, b = append(dst, r), rest
	}
	return dst, nil
}

// CountRecords counts the records that stand back to back in b by the lengths they claim, as far as those make sense: at most
// one for each 17 bytes, whatever b says.
func CountRecords(b []byte) (n int) {
	for len(b) >= minRecordSize {
		size := uint64(binary.LittleEndian.Uint32(b)) + lengthSize
		if size < minRecordSize || size > uint64(len(b)) {
			break
		}
		n, b = n+1, b[size:]
	}
	return n
}

func uvarintSize(v uint64) int { return (bits.Len64(v|1) + 6) / 7 }

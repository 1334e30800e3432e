package entity

import (
	"encoding/binary"
	"errors"

	"muster/shard"
)

// An Outcome is what one command did: the events it recorded, and the reply or the refusal. Journaled as one record, so
// that a retry is answered with what the first attempt did.
type Outcome struct {
	Digest  uint64 // of the envelope, see Envelope.Digest
	Events  []EventRecord
	Reply   []byte
	Refusal *shard.Error // nil for a success; its Code, Outcome and Detail are kept
}

// An EventRecord is one event as it is journaled.
type EventRecord struct {
	Name    string
	Payload []byte
}

// The encoding: version, digest (8 bytes little endian), number of events, each as name and payload, reply, and a byte
// that says whether a refusal follows as code, outcome, detail. Numbers are uvarints, strings carry their length. The
// record around it has the checksum.
const outcomeVersion = 1

var errOutcome = errors.New("malformed outcome")

// Append appends the encoded outcome to dst.
func (o *Outcome) Append(dst []byte) []byte {
	dst = append(dst, outcomeVersion)
	dst = binary.LittleEndian.AppendUint64(dst, o.Digest)
	dst = binary.AppendUvarint(dst, uint64(len(o.Events)))
	for i := range o.Events {
		dst = appendBytes(dst, o.Events[i].Name)
		dst = appendBytes(dst, o.Events[i].Payload)
	}
	dst = appendBytes(dst, o.Reply)
	if o.Refusal == nil {
		return append(dst, 0)
	}
	dst = append(dst, 1)
	dst = appendBytes(dst, o.Refusal.Code)
	dst = append(dst, byte(o.Refusal.Outcome))
	return appendBytes(dst, o.Refusal.Detail)
}

// EncodedSize returns an upper bound of the bytes Append adds.
func (o *Outcome) EncodedSize() int {
	const number = binary.MaxVarintLen32
	n := 1 + 8 + number + number + len(o.Reply) + 1
	for i := range o.Events {
		n += 2*number + len(o.Events[i].Name) + len(o.Events[i].Payload)
	}
	if o.Refusal != nil {
		n += 2*number + len(o.Refusal.Code) + 1 + len(o.Refusal.Detail)
	}
	return n
}

// DecodeOutcome reads what Append wrote, and nothing after it. Payloads and the reply alias b. It never allocates more
// than b can fill.
func DecodeOutcome(b []byte) (Outcome, error) {
	r := reader{b: b}
	var o Outcome
	events := r.header()
	o.Digest = r.digest
	if events > 0 {
		o.Events = make([]EventRecord, 0, events)
	}
	for range events {
		o.Events = append(o.Events, EventRecord{Name: string(r.bytes()), Payload: r.bytes()})
	}
	o.Reply = r.bytes()
	switch r.byte() {
	case 0:
	case 1:
		o.Refusal = &shard.Error{Code: shard.Code(r.bytes()), Outcome: shard.Outcome(r.byte()), Detail: string(r.bytes())}
		if o.Refusal.Outcome > shard.Unknown || o.Refusal.Code == "" {
			r.err = errOutcome
		}
	default:
		r.err = errOutcome
	}
	if r.err == nil && len(r.b) > 0 {
		r.err = errOutcome
	}
	if r.err != nil {
		return Outcome{}, r.err
	}
	return o, nil
}

func appendBytes[T ~string | ~[]byte](dst []byte, s T) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(s))), s...)
}

// A reader takes an encoding apart. After the first error it yields zeros.
type reader struct {
	b      []byte
	digest uint64
	err    error
}

// header reads up to the number of events. Two bytes are the least an event takes, which bounds what a lying count can
// make a caller allocate.
func (r *reader) header() int {
	if r.byte() != outcomeVersion || len(r.b) < 8 {
		r.err = errOutcome
		return 0
	}
	r.digest, r.b = binary.LittleEndian.Uint64(r.b), r.b[8:]
	n := r.uvarint()
	if n > uint64(len(r.b)/2) || n > MaxEvents {
		r.err = errOutcome
		return 0
	}
	return int(n)
}

func (r *reader) byte() byte {
	if r.err != nil || len(r.b) == 0 {
		r.err = errOutcome
		return 0
	}
	v := r.b[0]
	r.b = r.b[1:]
	return v
}

func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.b)
	if r.err != nil || n <= 0 {
		r.err = errOutcome
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) bytes() []byte {
	n := r.uvarint()
	if r.err != nil || n > uint64(len(r.b)) {
		r.err = errOutcome
		return nil
	}
	v := r.b[:n:n]
	r.b = r.b[n:]
	return v
}

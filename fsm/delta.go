package fsm

import (
	"fmt"

	"muster/barrier"
	"muster/shard"
)

// deltaVersion is the format of encoded deltas and rounds.
const deltaVersion = 1

// Limits of what a Delta is sent in.
const (
	MaxDelta = 256 << 20 // bytes of an encoded Delta: one that holds a whole map is the largest
	MaxPart  = 48 << 20  // bytes of one message of it, beside which there is room for others in what a server may send
)

// partItems is how many items of each kind one of several parts holds: 256 KiB or so, when they are placements.
const partItems = 512

// EncodeDelta writes a delta as one or more messages, for Parts. One that is small makes one, as all did in earlier builds, whose nodes
// read no other.
func EncodeDelta(d *shard.Delta) [][]byte { return partsOf(d, MaxPart) }

func partsOf(d *shard.Delta, most int) [][]byte {
	whole := versioned(d)
	if len(whole) <= most {
		return [][]byte{whole}
	}
	return EncodeParts(d)
}

// EncodeParts is EncodeDelta for whoever is known to read parts: none is so large that it takes long to send.
func EncodeParts(d *shard.Delta) [][]byte {
	var messages [][]byte
	for _, part := range d.Split(partItems) {
		messages = append(messages, versioned(part))
	}
	return messages
}

// DecodeDelta reads all messages of one delta. It fails with CodeInvalid, as Parts does.
func DecodeDelta(messages ...[]byte) (*shard.Delta, error) {
	var one Single
	for _, b := range messages {
		if err := one.Take(b); err != nil {
			return nil, err
		}
	}
	return one.Delta()
}

// A Single is the one delta that an answer of some messages holds. It is read as they come, so no more than MaxDelta bytes are kept of an
// answer without end. Its zero value waits for the first; not concurrent.
type Single struct {
	parts Parts
	whole *shard.Delta
}

// Take reads the next message. It fails with CodeInvalid as Parts does, and when the delta is whole already; the answer is of no use then.
func (s *Single) Take(b []byte) error {
	if s.whole != nil {
		return shard.Errorf(shard.CodeInvalid, "more follows on delta %d, which is whole", s.whole.Index)
	}
	var err error
	s.whole, err = s.parts.Take(b)
	return err
}

// Delta returns what was read. It fails with CodeInvalid when that is not whole.
func (s *Single) Delta() (*shard.Delta, error) {
	if s.whole == nil {
		return nil, shard.Errorf(shard.CodeInvalid, "the delta is not whole")
	}
	return s.whole, nil
}

// Parts puts together the deltas of a stream that come in parts, in the order they were sent. Its zero value waits for a
// first part. One stream each, not concurrent.
type Parts struct {
	begun *shard.Delta
	bytes int
}

// Take reads the next message of a stream: the delta when it is whole, and nil while more is to
// come. Every placement is checked; whether the delta fits a View, With decides. It fails with CodeInvalid on a part that does not continue what came before, and beyond MaxDelta bytes; the stream is
// of no use then.
func (p *Parts) Take(b []byte) (*shard.Delta, error) {
	part := &shard.Delta{}
	if err := openVersioned(b, part); err != nil {
		return nil, err
	}
	if p.bytes += len(b); p.bytes > MaxDelta {
		return nil, shard.Errorf(shard.CodeInvalid, "delta %d of more than %d bytes", part.Index, MaxDelta)
	}
	if p.begun == nil {
		p.begun = part
	} else if err := p.begun.Join(part); err != nil {
		return nil, shard.Errorf(shard.CodeInvalid, "%v", err)
	}
	if p.begun.More {
		return nil, nil
	}
	whole := p.begun
	*p = Parts{}
	if err := checkDelta(whole); err != nil {
		return nil, shard.Errorf(shard.CodeInvalid, "delta %d: %v", whole.Index, err)
	}
	return whole, nil
}

// checkDelta bounds what With would allocate and checks every placement.
func checkDelta(d *shard.Delta) error {
	shards := uint64(0)
	for _, spec := range d.Types {
		shards += uint64(spec.Shards)
	}
	if len(d.Types) > MaxTypes || shards > MaxShards {
		return fmt.Errorf("%d types with %d shards, at most %d and %d", len(d.Types), shards, MaxTypes, MaxShards)
	}
	for i := range d.Placements {
		if err := d.Placements[i].Check(); err != nil {
			return err
		}
	}
	return nil
}

// EncodeRounds writes the open barriers for DecodeRounds.
func EncodeRounds(rounds []barrier.Round) []byte { return versioned(rounds) }

// DecodeRounds reads what EncodeRounds wrote. It fails with CodeInvalid.
func DecodeRounds(b []byte) ([]barrier.Round, error) {
	var rounds []barrier.Round
	if err := openVersioned(b, &rounds); err != nil {
		return nil, err
	}
	return rounds, nil
}

func versioned(v any) []byte {
	body, err := encoding.Marshal(v)
	if err != nil {
		panic(err) // plain data always encodes
	}
	return append([]byte{deltaVersion}, body...)
}

func openVersioned(b []byte, into any) error {
	switch {
	case len(b) == 0 || len(b) > MaxDelta:
		return shard.Errorf(shard.CodeInvalid, "delta of %d bytes, must be 1 to %d", len(b), MaxDelta)
	case b[0] != deltaVersion:
		return shard.Errorf(shard.CodeInvalid, "delta of version %d, this node reads %d", b[0], deltaVersion)
	}
	if err := strictWhole.Unmarshal(b[1:], into); err != nil {
		return shard.Errorf(shard.CodeInvalid, "delta cannot be read: %v", err)
	}
	return nil
}

package fsm

import (
	"fmt"

	"muster/barrier"
	"muster/shard"
)

// deltaVersion is the format of encoded deltas and rounds.
const deltaVersion = 1

// MaxDelta bounds the bytes of an encoded Delta: one that holds a whole map is the largest.
const MaxDelta = 256 << 20

// EncodeDelta writes a delta for DecodeDelta.
func EncodeDelta(d *shard.Delta) []byte { return versioned(d) }

// DecodeDelta reads what EncodeDelta wrote and checks every placement in it. Whether it fits a View, With decides. It fails
// with CodeInvalid.
func DecodeDelta(b []byte) (*shard.Delta, error) {
	d := &shard.Delta{}
	if err := openVersioned(b, d); err != nil {
		return nil, err
	}
	if err := checkDelta(d); err != nil {
		return nil, shard.Errorf(shard.CodeInvalid, "delta %d: %v", d.Index, err)
	}
	return d, nil
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

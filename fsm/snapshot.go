package fsm

import (
	"bytes"
	"crypto/sha256"
	"fmt"

	"muster/barrier"
	"muster/shard"
)

// A snapshot is: magic, format version (1 byte), CBOR of saved, SHA-256 of everything before. Equal states make equal
// snapshots, byte for byte.
const (
	snapshotMagic   = "muster-fsm"
	snapshotVersion = 1
	snapshotHeader  = len(snapshotMagic) + 1
)

// saved is a State as plain data, everything sorted.
type saved struct {
	Whole    shard.Delta   `cbor:"1,keyasint"` // the map
	Founders []Founder     `cbor:"2,keyasint,omitempty"`
	Lives    []life        `cbor:"3,keyasint,omitempty"`
	LastCopy shard.CopyID  `cbor:"4,keyasint,omitempty"`
	Barriers barrier.Saved `cbor:"5,keyasint"`
	Removed  []removal     `cbor:"6,keyasint,omitempty"`
	Time     int64         `cbor:"7,keyasint,omitempty"`
	Records  []record      `cbor:"8,keyasint,omitempty"`
	Version  byte          `cbor:"9,keyasint,omitempty"`
	Gone     []tenure      `cbor:"10,keyasint,omitempty"`
}

func (s *State) saved() saved {
	return saved{
		Whole: *s.View.Whole(), Founders: s.founders, Lives: s.lives, LastCopy: s.lastCopy, Barriers: s.Barriers.Save(),
		Removed: s.removed, Time: s.time, Records: s.records(), Version: s.version, Gone: s.gone,
	}
}

// Snapshot returns the whole state as bytes for Restore. It may run beside anything: the state is immutable.
func (s *State) Snapshot() []byte {
	body, err := encoding.Marshal(s.saved())
	if err != nil {
		panic(err) // plain data always encodes
	}
	out := make([]byte, 0, snapshotHeader+len(body)+sha256.Size)
	out = append(append(append(out, snapshotMagic...), snapshotVersion), body...)
	sum := sha256.Sum256(out)
	return append(out, sum[:]...)
}

// Restore reads what Snapshot wrote. Everything is verified before it returns: the checksum, the format, and the state's
// invariants; on any error there is no state. It fails with CodeInvalid on bytes that are not a whole snapshot, and with
// CodeInternal on one of a later version of this program.
func Restore(b []byte) (*State, error) {
	if len(b) < snapshotHeader+sha256.Size || !bytes.HasPrefix(b, []byte(snapshotMagic)) {
		return nil, shard.Errorf(shard.CodeInvalid, "snapshot: %d bytes that do not begin like one", len(b))
	}
	content, sum := b[:len(b)-sha256.Size], b[len(b)-sha256.Size:]
	if want := sha256.Sum256(content); !bytes.Equal(sum, want[:]) {
		return nil, shard.Errorf(shard.CodeInvalid, "snapshot: the checksum does not match: it is damaged or cut short")
	}
	if v := content[len(snapshotMagic)]; v != snapshotVersion {
		return nil, shard.Errorf(shard.CodeInternal, "snapshot of version %d, this node reads %d", v, snapshotVersion)
	}
	var from saved
	if err := strictWhole.Unmarshal(content[snapshotHeader:], &from); err != nil {
		return nil, shard.Errorf(shard.CodeInvalid, "snapshot cannot be read: %v", err)
	}
	s, err := from.state()
	if err != nil {
		return nil, shard.Errorf(shard.CodeInvalid, "snapshot: %v", err)
	}
	return s, nil
}

func (from *saved) state() (*State, error) {
	if !from.Whole.Reset {
		return nil, fmt.Errorf("it does not hold a whole map")
	}
	if err := checkDelta(&from.Whole); err != nil {
		return nil, err
	}
	view, err := shard.NewView().With(&from.Whole)
	if err != nil {
		return nil, err
	}
	barriers, err := barrier.Restore(from.Barriers)
	if err != nil {
		return nil, err
	}
	s := &State{
		View: view, Barriers: barriers, founders: from.Founders, lives: from.Lives, lastCopy: from.LastCopy,
		removed: from.Removed, time: from.Time, version: from.Version, gone: from.Gone,
	}
	if err := s.recall(from.Records); err != nil {
		return nil, err
	}
	return s, s.Check()
}

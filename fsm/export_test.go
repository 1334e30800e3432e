package fsm

import (
	"crypto/sha256"
	"slices"

	"muster/shard"
)

// SnapshotChanged is the state's snapshot, its checksum right, after change has meddled with its map and counters.
func SnapshotChanged(s *State, change func(whole *shard.Delta, lastCopy *shard.CopyID)) []byte {
	from := s.saved()
	change(&from.Whole, &from.LastCopy)
	return from.sealed()
}

// SnapshotGone is the state's snapshot with the lengths of a session whose life is forgotten.
func SnapshotGone(s *State, id shard.SessionID, l Lengths) []byte {
	from := s.saved()
	from.Gone = append(from.Gone, tenure{id, l})
	return from.sealed()
}

// SnapshotSaid is the state's snapshot with other lengths of its first life.
func SnapshotSaid(s *State, l Lengths) []byte {
	from := s.saved()
	from.Lives = slices.Clone(from.Lives)
	from.Lives[0].Lengths = l
	return from.sealed()
}

func (from *saved) sealed() []byte {
	body, err := encoding.Marshal(from)
	if err != nil {
		panic(err)
	}
	out := append(append([]byte(snapshotMagic), snapshotVersion), body...)
	sum := sha256.Sum256(out)
	return append(out, sum[:]...)
}

// EncodeUnchecked is Encode without its checks, to show that nodes make them again.
func EncodeUnchecked(commands ...Command) []byte {
	envelopes := make([]envelope, len(commands))
	for i, c := range commands {
		body, err := encoding.Marshal(c)
		if err != nil {
			panic(err)
		}
		envelopes[i] = envelope{rowOf(c).kind, body}
	}
	body, err := encoding.Marshal(envelopes)
	if err != nil {
		panic(err)
	}
	return append([]byte{1}, body...)
}

// PartsOf is EncodeDelta with another bound of one message.
func PartsOf(d *shard.Delta, most int) [][]byte { return partsOf(d, most) }

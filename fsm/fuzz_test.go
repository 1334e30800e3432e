package fsm_test

import (
	"bytes"
	"testing"

	"muster/fsm"
	"muster/shard"
)

// FuzzApply applies any bytes to a group at work. They must not panic, must leave a sound state, and must do the same on
// a second node.
func FuzzApply(f *testing.F) {
	for _, c := range full() {
		f.Add(fsm.EncodeUnchecked(c))
	}
	f.Add([]byte{1, 0x9a, 0xff, 0xff, 0xff, 0xff})
	start := formed(f).state
	f.Fuzz(func(t *testing.T, entry []byte) {
		next, result := fsm.Apply(start, start.Index()+1, entry)
		if result.Newer {
			return
		}
		if err := next.Check(); err != nil {
			t.Fatal(err)
		}
		again, _ := fsm.Apply(start, start.Index()+1, entry)
		if !bytes.Equal(next.Snapshot(), again.Snapshot()) {
			t.Fatal("the same entry on the same state made other bytes")
		}
	})
}

// FuzzRestore puts any bytes into the body of a snapshot whose checksum is right. What is restored must be sound, and its own
// snapshot must restore to the same.
func FuzzRestore(f *testing.F) {
	whole := formed(f).state.Snapshot()
	const header = len("muster-fsm") + 1
	f.Add(whole[header : len(whole)-32])
	f.Add([]byte{0xa1, 1, 0xa0})
	f.Fuzz(func(t *testing.T, body []byte) {
		s, err := fsm.Restore(sealed(append(append([]byte(nil), whole[:header]...), body...)))
		if err != nil {
			return
		}
		again, err := fsm.Restore(s.Snapshot())
		if err != nil || !bytes.Equal(s.Snapshot(), again.Snapshot()) {
			t.Fatalf("its own snapshot: %v", err)
		}
	})
}

// FuzzDecodeDelta reads any bytes as a delta and lets a map take what was read.
func FuzzDecodeDelta(f *testing.F) {
	view := formed(f).state.View
	f.Add(fsm.EncodeDelta(view.Whole())[0])
	f.Add(fsm.EncodeDelta(&shard.Delta{Index: 9, Ended: []shard.SessionID{1}})[0])
	f.Fuzz(func(t *testing.T, b []byte) {
		d, err := fsm.DecodeDelta(b)
		if err != nil {
			return
		}
		if next, err := view.With(d); err == nil && next.Index != d.Index {
			t.Fatalf("map %d after delta %d", next.Index, d.Index)
		}
	})
}

// FuzzDecodeVerdict reads any bytes as a verdict.
func FuzzDecodeVerdict(f *testing.F) {
	b, err := fsm.EncodeVerdict(fsm.Verdict{Faults: []*shard.Error{nil, {Code: shard.CodeConflict}}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		if v, err := fsm.DecodeVerdict(b); err == nil {
			_ = v.Err()
		}
	})
}

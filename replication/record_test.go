package replication_test

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"hash/crc32"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"

	"muster/replication"
	"muster/shard"
)

// samples are records with every field at its ends.
func samples() []replication.Record {
	return []replication.Record{
		{Kind: replication.KindEpochStart, Position: shard.Position{Epoch: 1, LSN: 1}, Body: []byte{}},
		{
			Kind: replication.KindCommand, Position: shard.Position{Epoch: 2, LSN: 300}, Entity: "account/7", Seq: 41,
			Request: shard.RequestID{Session: 12, Number: 9}, Floor: 8, Body: []byte("deposited 5"),
		},
		{Kind: replication.KindSnapshot, Position: shard.Position{Epoch: 9, LSN: 1 << 40}, Entity: "ä\u2028", Seq: 1, Body: bytes.Repeat([]byte{0}, 5000)},
		{
			Kind: 255, Position: shard.Position{Epoch: math.MaxUint64, LSN: math.MaxUint64}, Entity: shard.EntityID(strings.Repeat("e", shard.MaxEntityLength)),
			Seq: math.MaxUint64, Request: shard.RequestID{Session: math.MaxUint64, Number: math.MaxUint64}, Floor: math.MaxUint64, Body: []byte{},
		},
	}
}

// What is written is read again, alone and back to back, and its size is known before.
func TestRecordRoundTrip(t *testing.T) {
	var batch []byte
	for _, r := range samples() {
		encoded := r.Append([]byte("before"))[len("before"):]
		if len(encoded) != r.EncodedSize() {
			t.Errorf("%s: %d bytes, EncodedSize says %d", r.Position, len(encoded), r.EncodedSize())
		}
		got, rest, err := replication.DecodeRecord(append(slices.Clone(encoded), "after"...))
		if kept := got.Append(nil); string(kept) != string(encoded) || got.EncodedSize() != len(kept) {
			t.Errorf("%s: it keeps %x as its encoding, which is %x", r.Position, kept, encoded)
		}
		if err != nil || string(rest) != "after" || !equal(got, r) {
			t.Errorf("decoded %+v, rest %q, %v; want %+v", got, rest, err, r)
		}
		batch = append(batch, encoded...)
	}
	got, err := replication.DecodeRecords(nil, batch)
	if err != nil || !slices.EqualFunc(got, samples(), equal) {
		t.Errorf("batch decoded to %+v, %v", got, err)
	}
}

// equal compares records without the encodings that they keep.
func equal(a, b replication.Record) bool {
	replication.Forget(&a)
	replication.Forget(&b)
	return reflect.DeepEqual(a, b)
}

// A record that keeps its encoding is written like one that does not, also when the memory behind it is used on.
func TestRecordKeepsItsEncoding(t *testing.T) {
	for _, r := range samples() {
		want, kept := r.Append(nil), r
		b := kept.Encode(make([]byte, 0, 1024))
		b = append(b, "after"...)
		if got := kept.Append(nil); !bytes.Equal(got, want) || kept.EncodedSize() != len(want) || !bytes.Equal(b[:len(want)], want) {
			t.Errorf("%s: kept %x of %x, want %x", r.Position, got, b, want)
		}
		if again := append(kept.Encode(nil), kept.Append(nil)...); !bytes.Equal(again, append(want, want...)) {
			t.Errorf("%s: written twice as %x", r.Position, again)
		}
	}
}

// Keys order what is apart: snapshots by entity, then requests by session. The beginning of an encoding tells the key, whatever rots in the body, and
// bytes that are not one record have none.
func TestKeys(t *testing.T) {
	var keys []replication.Key
	for _, r := range []replication.Record{
		{Kind: replication.KindSnapshot, Entity: "a", Request: shard.RequestID{Session: 9}},
		{Kind: replication.KindSnapshot, Entity: "b"},
		{Kind: replication.KindRequests, Request: shard.RequestID{Session: 2, Number: 7}},
		{Kind: replication.KindRequests, Request: shard.RequestID{Session: 300}},
	} {
		keys = append(keys, r.Key())
		r.Body = bytes.Repeat([]byte("state "), 10)
		encoded := r.Append(nil)
		encoded[len(encoded)-8] ^= 1
		if k, err := replication.KeyOf(encoded); err != nil || k != r.Key() {
			t.Errorf("the encoding of %+v has key %+v, %v", r.Key(), k, err)
		}
		for _, b := range [][]byte{nil, encoded[:12], encoded[:len(encoded)-1], append(slices.Clone(encoded), 0)} {
			if k, err := replication.KeyOf(b); !errors.Is(err, replication.ErrCorrupt) {
				t.Errorf("%d bytes of a record of %d have key %+v, %v", len(b), len(encoded), k, err)
			}
		}
	}
	want := []replication.Key{
		{Kind: replication.KindSnapshot, Entity: "a"}, {Kind: replication.KindSnapshot, Entity: "b"},
		{Kind: replication.KindRequests, Session: 2}, {Kind: replication.KindRequests, Session: 300},
	}
	if !slices.Equal(keys, want) || !slices.IsSortedFunc(keys, replication.Key.Compare) {
		t.Errorf("keys %+v", keys)
	}
}

// The encoding is a stored format: these bytes must be read for ever.
func TestRecordGolden(t *testing.T) {
	golden := strings.Join([]string{
		"22000000", "01", "02", // length, version, kind
		"02", "ac02", "29", "0c", "09", "08", // epoch, lsn, seq, session, number, floor
		"09", hex.EncodeToString([]byte("account/7")), hex.EncodeToString([]byte("deposited 5")),
	}, "")
	r := samples()[1]
	encoded := r.Append(nil)
	body, sum := encoded[:len(encoded)-4], binary.LittleEndian.Uint32(encoded[len(encoded)-4:])
	if got := hex.EncodeToString(body); got != golden {
		t.Errorf("encoded as %s, was %s", got, golden)
	}
	if want := crc32.Checksum(body, crc32.MakeTable(crc32.Castagnoli)); sum != want {
		t.Errorf("sum %08x, want %08x", sum, want)
	}
}

// Each flipped bit is noticed, and each missing byte, and nothing of a damaged batch is handed out.
func TestRecordDamage(t *testing.T) {
	r := samples()[1]
	whole := r.Append(nil)
	for i := range len(whole) * 8 {
		damaged := slices.Clone(whole)
		damaged[i/8] ^= 1 << (i % 8)
		if _, _, err := replication.DecodeRecord(damaged); !errors.Is(err, replication.ErrCorrupt) {
			t.Fatalf("bit %d flipped: %v", i, err)
		}
	}
	for n := range whole {
		if _, rest, err := replication.DecodeRecord(whole[:n]); !errors.Is(err, replication.ErrCorrupt) || len(rest) != n {
			t.Fatalf("%d bytes of %d: %v", n, len(whole), err)
		}
	}
	before := samples()[:1]
	batch := append(slices.Clone(whole), whole[:20]...)
	if got, err := replication.DecodeRecords(before, batch); err == nil || len(got) != 1 {
		t.Errorf("half a batch gave %d records, %v", len(got)-1, err)
	}
}

// sealed gives changed bytes a length and a sum that fit, as a program of another version or an attacker could.
func sealed(frame []byte) []byte {
	binary.LittleEndian.PutUint32(frame, uint32(len(frame)))
	return binary.LittleEndian.AppendUint32(frame, crc32.Checksum(frame, crc32.MakeTable(crc32.Castagnoli)))
}

// Intact bytes that this version did not write are refused by what is wrong with them.
func TestRecordForeign(t *testing.T) {
	fields := func(version byte, rest ...byte) []byte {
		return sealed(append([]byte{0, 0, 0, 0, version, 1}, rest...))
	}
	for _, c := range []struct {
		name  string
		bytes []byte
		want  error
	}{
		{"newer version", fields(2, 1, 1, 0, 0, 0, 0, 0), replication.ErrVersion},
		{"version 0", fields(0, 1, 1, 0, 0, 0, 0, 0), replication.ErrCorrupt},
		{"a field too few", fields(1, 1, 1, 0, 0, 0, 0x80, 0x80), replication.ErrCorrupt},
		{"entity longer than the record", fields(1, 1, 1, 0, 0, 0, 0, 200, 1), replication.ErrCorrupt},
		{"a number longer than need be", fields(1, 0x81, 0, 1, 0, 0, 0, 0, 0), replication.ErrCorrupt},
	} {
		if _, _, err := replication.DecodeRecord(c.bytes); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
}

// A length that lies costs nothing.
func TestRecordLengthAllocatesNothing(t *testing.T) {
	r := samples()[0]
	lie := r.Append(nil)
	binary.LittleEndian.PutUint32(lie, 0xffff_fff0)
	few := testing.AllocsPerRun(100, func() {
		if _, _, err := replication.DecodeRecord(lie); err == nil {
			t.Error("a length of 4 GiB in 17 bytes was believed")
		}
	})
	if few > 5 {
		t.Errorf("%v allocations for the refusal", few)
	}
}

// FuzzDecodeRecord: whatever is accepted is exactly what would be written, so no two encodings mean one record.
func FuzzDecodeRecord(f *testing.F) {
	for _, r := range samples() {
		f.Add(r.Append(nil))
	}
	f.Add(sealed([]byte{0, 0, 0, 0, 1, 1, 1, 1, 0, 0, 0, 0, 9}))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, rest, err := replication.DecodeRecord(b)
		if err != nil {
			if len(rest) != len(b) {
				t.Fatalf("%d bytes left of %d after %v", len(rest), len(b), err)
			}
			return
		}
		replication.Forget(&r)
		if again := r.Append(nil); !bytes.Equal(again, b[:len(b)-len(rest)]) {
			t.Fatalf("%x is read as %+v, which is written as %x", b, r, again)
		}
	})
}

func BenchmarkRecord(b *testing.B) {
	r := samples()[1]
	r.Body = make([]byte, 128)
	encoded := r.Append(nil)
	b.Run("append", func(b *testing.B) {
		b.ReportAllocs()
		buffer := make([]byte, 0, 512)
		for b.Loop() {
			buffer = r.Append(buffer[:0])
		}
	})
	b.Run("decode", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, _, err := replication.DecodeRecord(encoded); err != nil {
				b.Fatal(err)
			}
		}
	})
}

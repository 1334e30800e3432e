package entity_test

import (
	"bytes"
	"encoding/hex"
	"reflect"
	"testing"

	"muster/entity"
	"muster/shard"
)

func outcomes() []entity.Outcome {
	return []entity.Outcome{
		{},
		{Digest: 1<<64 - 1, Reply: []byte("reply")},
		{Digest: 0x0102030405060708, Events: []entity.EventRecord{{"deposited", []byte(`{"Amount":7}`)}, {"e", []byte{}}}, Reply: []byte{0}},
		{Refusal: &shard.Error{Code: shard.CodeRefused, Outcome: shard.Unknown, Detail: "no"}, Reply: []byte{}},
	}
}

// The bytes are part of what journals hold, so they are pinned.
func TestOutcomeGolden(t *testing.T) {
	const want = "01" + "0807060504030201" + "02" +
		"09" + "6465706f7369746564" + "0c" + "7b22416d6f756e74223a377d" + "01" + "65" + "00" + "01" + "00" + "00"
	o := outcomes()[2]
	if got := hex.EncodeToString(o.Append(nil)); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	e := entity.Envelope{Command: "deposit", Payload: []byte(`{"Amount":7}`)}
	if got := e.Digest(); got != 0x98fc438ab1d59ede {
		t.Errorf("digest %#x", got)
	}
}

// What is appended is read back, within the promised size; cut anywhere or with a byte more, it is refused.
func TestOutcomeRoundTrip(t *testing.T) {
	for _, o := range outcomes() {
		b := o.Append([]byte("x"))[1:]
		if len(b) > o.EncodedSize() {
			t.Errorf("%d bytes, promised %d", len(b), o.EncodedSize())
		}
		got, err := entity.DecodeOutcome(b)
		if err != nil || !bytes.Equal(got.Append(nil), b) || got.Digest != o.Digest || !reflect.DeepEqual(got.Refusal, o.Refusal) {
			t.Errorf("%+v came back as %+v, %v", o, got, err)
		}
		for n := range b {
			if _, err := entity.DecodeOutcome(b[:n]); err == nil {
				t.Errorf("%x was taken when cut to %d bytes", b, n)
			}
		}
		if _, err := entity.DecodeOutcome(append(b, 0)); err == nil {
			t.Errorf("%x was taken with a byte more", b)
		}
	}
}

// Any bytes either are refused or decode to what encodes to something that decodes alike; and a cell that replays them
// agrees with the decoder and does not panic.
func FuzzDecodeOutcome(f *testing.F) {
	for _, o := range outcomes() {
		f.Add(o.Append(nil))
	}
	f.Add([]byte("\x01........\xff\xff\xff\xff\x0f"))
	f.Fuzz(func(t *testing.T, b []byte) {
		replay := accounts.NewCell("x").Replay(1, b)
		o, err := entity.DecodeOutcome(b)
		if err != nil {
			return
		}
		again, err := entity.DecodeOutcome(o.Append(nil))
		if err != nil || !reflect.DeepEqual(o, again) {
			t.Errorf("%+v, then %+v, %v", o, again, err)
		}
		for _, e := range o.Events {
			if e.Name != "deposited" && replay == nil {
				t.Errorf("replayed unknown event %q", e.Name)
			}
		}
	})
}

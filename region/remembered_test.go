package region_test

import (
	"errors"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"muster/region"
	"muster/replication"
	"muster/shard"
)

// someRemembered are a session's requests of every kind there is.
func someRemembered() *region.Remembered {
	return &region.Remembered{Session: 7, Floor: 40, Answers: []region.Answer{
		{Number: 40, At: 3, Digest: 1 << 60, Reply: []byte("a reply")},
		{Number: 41, At: 900, Lost: true},
		{Number: 300, At: 1 << 40, Digest: 5, Fault: &shard.Error{Code: shard.CodeRefused, Outcome: shard.NotApplied, Detail: "too little"}},
		{Number: 1 << 50, At: 1<<40 + 1, Reply: make([]byte, 4000)},
	}}
}

// What is put apart comes back as it was. Without its last bytes, or with a byte that is another, it is refused with a typed error or is something
// that could have been put apart: never a panic, and never an answer out of order or of no record.
func TestRememberedComesBack(t *testing.T) {
	at := shard.Position{Epoch: 2, LSN: 1 << 41}
	m := someRemembered()
	r := m.Record(at)
	back, err := region.RememberedOf(&r)
	if err != nil || !reflect.DeepEqual(back, m) {
		t.Fatalf("%+v came back as %+v, %v", m, back, err)
	}
	if e := r.Key(); e != (replication.Key{Kind: replication.KindRequests, Session: 7}) || r.Position != at {
		t.Errorf("it is kept as %+v at %s", e, r.Position)
	}
	whole := r.Body
	ends := 0
	for n := range whole {
		r.Body = whole[:n]
		if checkRemembered(t, &r) {
			ends++
		}
	}
	if ends != len(m.Answers) {
		t.Errorf("%d of %d beginnings were taken, want those that end with an answer: %d", ends, len(whole), len(m.Answers))
	}
	dice := rand.New(rand.NewPCG(1, 2))
	refused := 0
	for range 20_000 {
		r.Body = slices.Clone(whole)
		r.Body[dice.IntN(len(r.Body)-3900)] ^= 1 << dice.IntN(8)
		if !checkRemembered(t, &r) {
			refused++
		}
	}
	if refused == 0 {
		t.Error("nothing was refused")
	}
}

// checkRemembered reads a body that may be damaged and reports whether it was taken.
func checkRemembered(t *testing.T, r *replication.Record) bool {
	t.Helper()
	m, err := region.RememberedOf(r)
	if err != nil {
		if !errors.Is(err, region.ErrRemembered) {
			t.Errorf("refused without a type: %v", err)
		}
		return false
	}
	for i, a := range m.Answers {
		if a.At == 0 || i > 0 && a.Number <= m.Answers[i-1].Number {
			t.Errorf("answer %d is %+v", i, a)
		}
	}
	again := m.Record(r.Position)
	back, err := region.RememberedOf(&again)
	if err != nil || !reflect.DeepEqual(back, m) {
		t.Errorf("%+v came back as %+v, %v", m, back, err)
	}
	return true
}

// Whatever bytes are found apart, they are what could have been put there, or are refused with a typed error.
func FuzzRemembered(f *testing.F) {
	m := someRemembered()
	for n := range len(m.Answers) + 1 {
		part := *m
		part.Answers = m.Answers[:n]
		r := part.Record(shard.Position{Epoch: 1, LSN: 1})
		f.Add(r.Body)
	}
	f.Add([]byte{1, 1, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		checkRemembered(t, &replication.Record{Kind: replication.KindRequests, Request: shard.RequestID{Session: 7}, Body: b})
	})
}

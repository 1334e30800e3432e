package entity_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"muster/entity"
	"muster/shard"
)

// tallies is a type whose one command does whatever a test asks of it: every way a handler can end.
var tallies = entity.Define[tally]("tally")

type tally struct{ N int }

type act struct {
	Add  []int
	Then string
	Wrap bool
}

var leaked *entity.Context[tally]

var added = entity.On(tallies, "added", func(s *tally, n int) {
	if n == 13 {
		panic("thirteen")
	}
	s.N += n
})

var strange = entity.On(entity.Define[tally]("tally"), "strange", func(*tally, int) {})

var refused = &shard.Error{Code: shard.CodeRefused, Outcome: shard.Unknown, Detail: "elsewhere", Addr: "a"}

var doAct = entity.Handle(tallies, "act", func(c *entity.Context[tally], a act) (int, error) {
	for _, n := range a.Add {
		added.Record(c, n)
	}
	leaked = c
	switch a.Then {
	case "refuse":
		return 0, entity.Refuse("no: 100%%")
	case "pass on":
		return 0, fmt.Errorf("asked another: %w", refused)
	case "fail":
		return 0, errors.New("disk on fire")
	case "panic":
		panic("at the disco")
	case "wait":
		<-c.Context().Done()
		return 0, fmt.Errorf("waited: %w", c.Context().Err())
	case "strange":
		strange.Record(c, 1)
	case "flood":
		for range entity.MaxEvents + 1 {
			added.Record(c, 1)
		}
	case "goexit":
		runtime.Goexit()
	}
	return c.State().N, nil
})

var _ = entity.Handle(tallies, "big", func(c *entity.Context[tally], n int) (string, error) {
	return strings.Repeat("x", n), nil
})

func handle(t testing.TB, c *entity.Cell, a act) (entity.Outcome, error) {
	t.Helper()
	e, err := doAct.Envelope(c.ID(), a)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	return c.Handle(ctx, e)
}

// Every way a handler can end, and what it leaves: the code, whether the cell is still good, and the state.
func TestHowHandlersEnd(t *testing.T) {
	for _, c := range []struct {
		what    string
		act     act
		code    shard.Code // of the error
		refusal string
		spoiled bool
		seq     shard.Seq
		detail  string
	}{
		{"read", act{}, "", "", false, 1, ""},
		{"two events, one record", act{Add: []int{1, 2}}, "", "", false, 2, ""},
		{"refusal", act{Then: "refuse"}, "", "no: 100%", false, 1, ""},
		{"refusal passed on", act{Then: "pass on"}, "", "asked another: elsewhere", false, 1, ""},
		{"failure", act{Then: "fail"}, shard.CodeFailed, "", false, 1, "disk on fire"},
		{"timeout", act{Then: "wait"}, shard.CodeTimeout, "", false, 1, "waited"},
		{"refusal after an event", act{Add: []int{1}, Then: "refuse"}, shard.CodeFailed, "", true, 1, "recorded events and then refused: no"},
		{"failure after an event", act{Add: []int{1}, Then: "fail"}, shard.CodeFailed, "", true, 1, "disk on fire"},
		{"panic", act{Then: "panic"}, shard.CodeFailed, "", true, 1, "tally.act panicked: at the disco"},
		{"panic in the fold", act{Add: []int{13}}, shard.CodeFailed, "", true, 1, "thirteen"},
		{"event of another type", act{Then: "strange"}, shard.CodeFailed, "", true, 1, "belongs to another type"},
		{"too many events", act{Then: "flood"}, shard.CodeFailed, "", true, 1, "may record 1024 events"},
	} {
		t.Run(c.what, func(t *testing.T) {
			cell := tallies.NewCell("x")
			if _, err := handle(t, cell, act{Add: []int{40}}); err != nil {
				t.Fatal(err)
			}
			o, err := handle(t, cell, c.act)
			var fault *shard.Error
			if (c.code != "") != errors.As(err, &fault) || shard.CodeOf(err) != c.code {
				t.Fatalf("err = %v, want %q", err, c.code)
			}
			if err != nil && (fault.Outcome != shard.NotApplied || !strings.Contains(fault.Detail, c.detail)) {
				t.Errorf("fault = %+v", fault)
			}
			var panicked *entity.Panic
			if strings.Contains(c.what, "panic") && (!errors.As(err, &panicked) || len(panicked.Stack) == 0) {
				t.Errorf("%v carries no stack", err)
			}
			if cell.Spoiled() != c.spoiled || cell.Seq() != c.seq {
				t.Errorf("spoiled = %t, seq = %d", cell.Spoiled(), cell.Seq())
			}
			if (c.refusal != "") != (o.Refusal != nil) || c.refusal != "" && *o.Refusal != (shard.Error{Code: shard.CodeRefused, Detail: c.refusal}) {
				t.Errorf("refusal = %+v", o.Refusal)
			}
		})
	}
}

// A spoiled cell refuses everything until it is restored, and then holds only what was journaled.
func TestSpoiledUntilRestored(t *testing.T) {
	c := tallies.NewCell("x")
	first, _ := handle(t, c, act{Add: []int{40, 2}})
	snapshot, err := c.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := handle(t, c, act{Add: []int{7}, Then: "fail"}); err == nil {
		t.Fatal("no error")
	}
	if _, err := handle(t, c, act{}); shard.CodeOf(err) != shard.CodeFailed {
		t.Errorf("a spoiled cell answered: %v", err)
	}
	if _, err := c.Snapshot(); err == nil {
		t.Error("a spoiled cell made a snapshot")
	}
	if err := c.Replay(2, first.Append(nil)); err == nil {
		t.Error("a spoiled cell replayed")
	}
	if err := c.Restore(1, snapshot); err != nil {
		t.Fatal(err)
	}
	if o, err := handle(t, c, act{}); err != nil || string(o.Reply) != "42" || c.Seq() != 1 {
		t.Errorf("after restore: %s, seq %d, %v", o.Reply, c.Seq(), err)
	}
}

// runtime.Goexit, which testing's FailNow uses, skips every return; the cell must not pass for sound afterwards.
func TestGoexitSpoils(t *testing.T) {
	c := tallies.NewCell("x")
	done := make(chan struct{})
	go func() {
		defer close(done)
		handle(t, c, act{Then: "goexit"})
	}()
	<-done
	if !c.Spoiled() {
		t.Error("the cell passes for sound")
	}
}

func TestContextDiesWithItsHandler(t *testing.T) {
	c := tallies.NewCell("x")
	if _, err := handle(t, c, act{}); err != nil {
		t.Fatal(err)
	}
	for name, use := range map[string]func(){
		"state": func() { leaked.State() }, "id": func() { leaked.EntityID() },
		"context": func() { leaked.Context() }, "record": func() { added.Record(leaked, 1) },
	} {
		func() {
			defer func() {
				if got := fmt.Sprint(recover()); !strings.Contains(got, "after its handler returned") {
					t.Errorf("%s: %q", name, got)
				}
			}()
			use()
		}()
	}
	if c.Seq() != 0 {
		t.Error("a late event was recorded")
	}
}

// What can never be handled is refused without touching the cell.
func TestBadEnvelopes(t *testing.T) {
	c := tallies.NewCell("x")
	for _, e := range []struct {
		envelope entity.Envelope
		code     shard.Code
	}{
		{entity.Envelope{Command: "nope"}, shard.CodeUnknownCommand},
		{entity.Envelope{Command: "act", Payload: []byte(`{`)}, shard.CodeInvalid},
		{entity.Envelope{Command: "act"}, shard.CodeInvalid},
		{entity.Envelope{Command: "act", Payload: []byte(`{"Add":"x"}`)}, shard.CodeInvalid},
		{entity.Envelope{Command: "big", Payload: fmt.Append(nil, shard.MaxPayload)}, shard.CodeFailed},
	} {
		_, err := c.Handle(t.Context(), e.envelope)
		if shard.CodeOf(err) != e.code || c.Spoiled() || c.Seq() != 0 {
			t.Errorf("%s %q: %v", e.envelope.Command, e.envelope.Payload, err)
		}
	}
	big := entity.Envelope{Type: "t", Entity: "x", Command: "c", Payload: make([]byte, shard.MaxPayload)}
	if err := big.Validate(); err != nil {
		t.Error(err)
	}
	big.Payload = append(big.Payload, 0)
	for _, e := range []entity.Envelope{big, {}, {Type: "t", Command: "c"}, {Type: "t", Entity: "x"}, {Type: "t", Entity: "a\x00", Command: "c"}} {
		if err := e.Validate(); shard.CodeOf(err) != shard.CodeInvalid {
			t.Errorf("%.60v: %v", e, err)
		}
	}
}

// Replay takes records in order, once, and refuses what it does not know; it never lets a fold's panic out.
func TestReplayIsStrict(t *testing.T) {
	o := func(name, payload string) []byte {
		o := entity.Outcome{Events: []entity.EventRecord{{Name: name, Payload: []byte(payload)}}}
		return o.Append(nil)
	}
	none := (&entity.Outcome{Reply: []byte("r")}).Append(nil)
	for _, c := range []struct {
		what string
		seq  shard.Seq
		body []byte
		good bool
	}{
		{"next", 2, o("added", "1"), true},
		{"no event", 1, none, true},
		{"no event, next number", 2, none, false},
		{"again", 1, o("added", "1"), false},
		{"gap", 3, o("added", "1"), false},
		{"unknown event", 2, o("removed", "1"), false},
		{"bad payload", 2, o("added", "x"), false},
		{"panic", 2, o("added", "13"), false},
		{"nothing", 2, nil, false},
		{"cut", 2, o("added", "1")[:15], false},
	} {
		cell := tallies.NewCell("x")
		if err := cell.Replay(1, o("added", "5")); err != nil {
			t.Fatal(err)
		}
		if err := cell.Replay(c.seq, c.body); (err == nil) != c.good || cell.Spoiled() == c.good {
			t.Errorf("%s: %v, spoiled %t", c.what, err, cell.Spoiled())
		}
	}
}

func TestBadSnapshots(t *testing.T) {
	for _, b := range []string{"", "\x00{}", "\x02{}", "\x01", "\x01{", "\x01[]"} {
		c := tallies.NewCell("x")
		if err := c.Restore(1, []byte(b)); err == nil || !c.Spoiled() {
			t.Errorf("%q: %v", b, err)
		}
	}
}

// point encodes itself, as generated types do; its pointer form stands for protobuf messages.
type point struct{ x, y int32 }

func (p *point) MarshalBinary() ([]byte, error) {
	return binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, uint32(p.x)), uint32(p.y)), nil
}

func (p *point) UnmarshalBinary(b []byte) error {
	if len(b) != 8 {
		return errors.New("a point has 8 bytes")
	}
	p.x, p.y = int32(binary.BigEndian.Uint32(b)), int32(binary.BigEndian.Uint32(b[4:]))
	return nil
}

var (
	points = entity.Define[point]("point", entity.Encoding(entity.Binary), entity.SnapshotEncoding(entity.Binary))
	moved  = entity.On(points, "moved", func(s *point, by *point) { s.x += by.x; s.y += by.y })
	move   = entity.Handle(points, "move", func(c *entity.Context[point], by point) (*point, error) {
		moved.Record(c, &by)
		at := c.State()
		return &at, nil
	})
)

// Values and pointers pass through a codec alike, and a state comes back from snapshot and from replay the same.
func TestBinaryCodec(t *testing.T) {
	m := newMemory(points)
	for range 3 {
		if _, err := move.Ask(t.Context(), m, "p", point{1, -2}); err != nil {
			t.Fatal(err)
		}
	}
	k := key{"point", "p"}
	snapshot, err := m.cells[k].Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	m.cells[k] = points.NewCell("p")
	if err := m.cells[k].Restore(3, snapshot); err != nil {
		t.Fatal(err)
	}
	if at, err := move.Ask(t.Context(), m, "p", point{1, -2}); err != nil || *at != (point{4, -8}) {
		t.Errorf("restored: %v, %v", at, err)
	}
	delete(m.cells, k)
	if at, err := move.Ask(t.Context(), m, "p", point{}); err != nil || *at != (point{4, -8}) {
		t.Errorf("replayed: %v, %v", at, err)
	}
}

// A fold of a Lent type sees the very bytes of the record, and none is allocated for it. One of a Raw type may keep what it is given,
// and so may a handler and a caller of either.
func TestLent(t *testing.T) {
	for _, c := range []struct {
		codec  entity.Codec
		allocs float64
	}{{entity.Raw, 1}, {entity.Lent, 0}} {
		type state struct{ event []byte }
		typ := entity.Define[state]("lent", entity.Encoding(c.codec), entity.SnapshotEvery(0))
		written := entity.On(typ, "written", func(s *state, e []byte) { s.event = e })
		noted := entity.On(typ, "noted", func(*state, string) {})
		put := entity.Handle(typ, "put", func(x *entity.Context[state], b []byte) ([]byte, error) {
			written.Record(x, b)
			noted.Record(x, "a string")
			return b, nil
		})
		cell := typ.NewCell("e")
		payload := []byte("payload")
		out := must(cell.Handle(t.Context(), entity.Envelope{Command: "put", Payload: payload}))
		clear(payload)
		if string(out.Reply) != "payload" || string(out.Events[0].Payload) != "payload" || string(out.Events[1].Payload) != "a string" {
			t.Errorf("%T: %+v shares memory with the command", c.codec, out)
		}
		m := newMemory(typ)
		reply := must(put.Ask(t.Context(), m, "e", []byte("payload")))
		if again := must(put.Ask(t.Context(), m, "e", reply)); &again[0] == &reply[0] {
			t.Errorf("%T: a reply shares memory with a command", c.codec)
		}
		out.Events = out.Events[:1]
		record, seq := out.Append(nil), shard.Seq(0)
		back := typ.NewCell("e")
		if n := testing.AllocsPerRun(100, func() {
			if seq++; back.Replay(seq, record) != nil {
				t.Fatal("replay failed")
			}
		}); n != c.allocs {
			t.Errorf("%T: %v allocations for an event that is read back, want %v", c.codec, n, c.allocs)
		}
	}
}

// The hot path of an entity that is at home: decode, handle, record, fold, encode.
func BenchmarkHandle(b *testing.B) {
	ctx := context.Background()
	b.Run("json", func(b *testing.B) {
		c := accounts.NewCell("a")
		e, _ := Deposit.Envelope("a", DepositCmd{Amount: 1})
		run(b, func() error { _, err := c.Handle(ctx, e); return err })
	})
	b.Run("raw", func(b *testing.B) {
		c := notes.NewCell("a")
		e, _ := Write.Envelope("a", "hello")
		run(b, func() error { _, err := c.Handle(ctx, e); return err })
	})
	b.Run("volatile", func(b *testing.B) {
		c := counters.NewCell("a")
		e, _ := increment.Envelope("a", "x")
		run(b, func() error { _, err := c.Handle(ctx, e); return err })
	})
	b.Run("replay", func(b *testing.B) {
		c := notes.NewCell("a")
		e, _ := Write.Envelope("a", "hello")
		o, _ := notes.NewCell("a").Handle(ctx, e)
		body := o.Append(nil)
		run(b, func() error { return c.Replay(c.Seq()+1, body) })
	})
	b.Run("append", func(b *testing.B) {
		o, _ := accounts.NewCell("a").Handle(ctx, must(Deposit.Envelope("a", DepositCmd{Amount: 1})))
		buf := make([]byte, 0, o.EncodedSize())
		run(b, func() error { o.Append(buf[:0]); return nil })
	})
}

func run(b *testing.B, f func() error) {
	b.ReportAllocs()
	for b.Loop() {
		if err := f(); err != nil {
			b.Fatal(err)
		}
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

var (
	counters    = entity.Define[int]("counter", entity.Volatile(), entity.Encoding(entity.Raw))
	incremented = entity.On(counters, "incremented", func(n *int, by int) { *n += by })
	increment   = entity.Handle(counters, "increment", func(c *entity.Context[int], _ string) (string, error) {
		incremented.Record(c, 1)
		return "ok", nil
	})
)

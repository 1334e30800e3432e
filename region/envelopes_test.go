package region

import (
	"reflect"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"muster/entity"
	"muster/replication"
	"muster/shard"
	"muster/transport"
	"muster/transport/wire"
)

// Commands that nobody answers are the same message, without numbers and deadlines.
func TestOneWayFramesAreTheMessagesOfTheSchema(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		calls := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) *call { return drawCall(t, time.Now()) }), 0, 5).Draw(t, "calls")
		var out outgoingOneWays
		for _, c := range calls {
			c.deadline = time.Time{}
			out.commands = append(out.commands, c.routed)
		}
		packed := pack(t, &out)
		same(t, packed, &wire.EnvelopeFrame{})
		in := incomingCalls{}
		if err := in.Read(packed); err != nil || len(in.all.calls) != len(calls) {
			t.Fatalf("%d of %d commands, %v", len(in.all.calls), len(calls), err)
		}
		for i, c := range calls {
			if got := &in.all.calls[i]; got.token != 0 || !equal(c, got, time.Now()) {
				t.Fatalf("command %d, %+v, is read as %+v", i, c, got)
			}
		}
	})
}

// The frames are the schema's messages to the byte: whatever calls they carry, the generated code reads from them what was
// written, writes the same bytes, and is read alike.
func TestFramesAreTheMessagesOfTheSchema(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		now := time.Now()
		calls := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) *call { return drawCall(t, now) }), 0, 5).Draw(t, "calls")
		first := rapid.Uint64Range(1, 1<<40).Draw(t, "first")
		packed := pack(t, &outgoingCalls{calls: calls, first: first, now: now})
		var m wire.EnvelopeFrame
		same(t, packed, &m)
		in := incomingCalls{}
		if err := in.Read(packed); err != nil || len(in.all.calls) != len(calls) {
			t.Fatalf("%d of %d calls, %v", len(in.all.calls), len(calls), err)
		}
		for i, c := range calls {
			got, message := &in.all.calls[i], m.Envelopes[i]
			if got.token != first+uint64(i) || message.Call != got.token || message.Entity != string(c.env.Entity) {
				t.Fatalf("call %d is read as %+v and by the schema as %v", i, got, message)
			}
			if !equal(c, got, now) {
				t.Fatalf("call %d, %+v, is read as %+v", i, c, got)
			}
		}
	})
}

func drawCall(t *rapid.T, now time.Time) *call {
	number := rapid.Uint64Range(0, 1<<20)
	name := rapid.StringMatching(`[a-z]{1,5}`)
	c := &call{routed: routed{
		env: entity.Envelope{
			Type: shard.TypeName(name.Draw(t, "type")), Entity: shard.EntityID(name.Draw(t, "entity")), Command: name.Draw(t, "command"),
			Payload: rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(t, "payload"),
			Request: shard.RequestID{Session: shard.SessionID(number.Draw(t, "session")), Number: number.Draw(t, "number")},
			Floor:   number.Draw(t, "floor"),
		},
		epoch: shard.Epoch(number.Draw(t, "epoch")), tell: rapid.Bool().Draw(t, "tell"),
	}}
	c.shard = shard.ID{Type: c.env.Type, Number: shard.Number(rapid.Uint32Range(0, 300).Draw(t, "shard"))}
	if rapid.Bool().Draw(t, "deadline") {
		c.deadline = now.Add(time.Duration(rapid.IntRange(-5, 1<<30).Draw(t, "µs")) * time.Microsecond)
	}
	return c
}

func equal(sent, got *call, now time.Time) bool {
	if sent.deadline.IsZero() != got.deadline.IsZero() {
		return false
	}
	if late := got.deadline.Sub(sent.deadline); sent.deadline.After(now) && (late < 0 || late > time.Minute) {
		return false // the owner counts what was left from when it reads
	}
	return sent.shard == got.shard && sent.epoch == got.epoch && sent.tell == got.tell && sent.env.Type == got.env.Type &&
		sent.env.Entity == got.env.Entity && sent.env.Command == got.env.Command && sent.env.Request == got.env.Request &&
		sent.env.Floor == got.env.Floor && string(sent.env.Payload) == string(got.env.Payload)
}

func TestAnswersAreTheMessagesOfTheSchema(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		answers := rapid.SliceOfN(rapid.Custom(drawAnswer), 1, 5).Draw(t, "answers")
		var out outgoingAnswers
		var in incomingAnswers
		for rest := answers; len(rest) > 0; {
			rest = out.pack(rest)
			packed := pack(t, &out)
			same(t, packed, &wire.AnswerFrame{})
			if err := in.Read(packed); err != nil || len(in.answers) != len(out.answers) {
				t.Fatalf("%d of %d answers, %v", len(in.answers), len(out.answers), err)
			}
			for i, a := range out.answers {
				got := in.answers[i]
				if got.token != a.token || string(got.reply) != string(a.reply) || (got.fault == nil) != (a.fault == nil) {
					t.Fatalf("%+v is read as %+v", a, got)
				}
				if a.fault != nil && *got.fault != *a.fault {
					t.Fatalf("fault %+v is read as %+v", a.fault, got.fault)
				}
			}
		}
	})
}

func drawAnswer(t *rapid.T) answer {
	a := answer{token: rapid.Uint64().Draw(t, "token"), reply: rapid.SliceOfN(rapid.Byte(), 0, maxFrame).Draw(t, "reply")}
	if rapid.Bool().Draw(t, "refused") {
		a.fault = shard.Unknownf(shard.CodeTimeout, "%s", rapid.String().Draw(t, "detail"))
		a.fault = transport.ErrorOf(transport.FaultOf(a.fault)) // as text that is UTF-8
	}
	return a
}

func TestAppendsAreTheMessagesOfTheSchema(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		appends := rapid.SliceOfN(rapid.Custom(drawAppend), 0, 5).Draw(t, "appends")
		packed := pack(t, &outgoingAppends{appends})
		same(t, packed, &wire.AppendFrame{})
		in := incomingAppends{}
		for range 2 { // the second time over what the first has left
			if err := in.Read(packed); err != nil || len(in.appends) != len(appends) {
				t.Fatalf("%d of %d appends, %v", len(in.appends), len(appends), err)
			}
			for i, m := range appends {
				got := in.appends[i]
				if string(got.records) != string(m.records) || string(got.part) != string(m.part) || (got.part == nil) != (m.part == nil) {
					t.Fatalf("%+v is read as %+v", m, got)
				}
				if !reflect.DeepEqual(got.Append, m.Append) {
					t.Fatalf("%+v is read as %+v", m.Append, got.Append)
				}
			}
		}
	})
}

func drawAppend(t *rapid.T) appendMessage {
	n := func(name string) uint64 { return rapid.Uint64Range(0, 1<<40).Draw(t, name) }
	m := appendMessage{records: rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(t, "records"), Append: replication.Append{
		Shard: drawShard(t), Epoch: shard.Epoch(n("epoch")), From: shard.CopyID(n("from")), To: shard.CopyID(n("to")),
		Prev:      shard.Position{Epoch: shard.Epoch(n("prev epoch")), LSN: shard.LSN(n("prev"))},
		Confirmed: shard.LSN(n("confirmed")), Version: shard.ConfigVersion(n("version")), Round: n("round"),
	}}
	if rapid.Bool().Draw(t, "part") {
		m.part = packed(&wire.Part{After: keyMessage(drawKey(t)), Last: rapid.Bool().Draw(t, "last")})
	}
	return m
}

func drawShard(t *rapid.T) shard.ID {
	return shard.ID{
		Type:   shard.TypeName(rapid.StringMatching(`[a-z]{1,5}`).Draw(t, "type")),
		Number: shard.Number(rapid.Uint32Range(0, 300).Draw(t, "shard")),
	}
}

func drawKey(t *rapid.T) replication.Key {
	return replication.Key{
		Kind: replication.Kind(rapid.Uint8Range(1, 4).Draw(t, "kind")), Entity: shard.EntityID(rapid.String().Draw(t, "entity")),
		Session: shard.SessionID(rapid.Uint64().Draw(t, "session")),
	}
}

func TestAcksAreTheMessagesOfTheSchema(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		answers := rapid.SliceOfN(rapid.Custom(drawAnswerback), 0, 5).Draw(t, "answers")
		packed := pack(t, &outgoingAcks{answers})
		var m wire.AckFrame
		if err := proto.Unmarshal(packed, &m); err != nil {
			t.Fatal(err)
		}
		if again, err := proto.Marshal(&m); err != nil || len(again) != len(packed) { // it writes the acks before the nacks
			t.Fatalf("the schema writes %x, the frame %x (%v)", again, packed, err)
		}
		in := incomingAcks{}
		for range 2 {
			if err := in.Read(packed); err != nil || !reflect.DeepEqual(in.answers, answers) && len(answers) > 0 {
				t.Fatalf("%+v is read as %+v, %v", answers, in.answers, err)
			}
		}
	})
}

func drawAnswerback(t *rapid.T) answerback {
	n := func(name string) uint64 { return rapid.Uint64Range(0, 1<<40).Draw(t, name) }
	a := answerback{ack: replication.Ack{
		Shard: drawShard(t), Copy: shard.CopyID(n("copy")), Epoch: shard.Epoch(n("epoch")), LSN: shard.LSN(n("lsn")), Round: n("round"),
	}}
	switch rapid.IntRange(0, 2).Draw(t, "kind") {
	case 1:
		a.staged = packed(&wire.Staged{Last: keyMessage(drawKey(t)), Gap: rapid.Bool().Draw(t, "gap")})
	case 2:
		return answerback{nack: packed(nackMessage(replication.Nack{Shard: a.ack.Shard, Epoch: a.ack.Epoch, Why: replication.Gap}))}
	}
	return a
}

// pack encodes a frame and holds it to the size it claimed.
func pack(t *rapid.T, f transport.OutgoingFrame) []byte {
	b := f.Append(nil)
	if len(b) != f.Size() {
		t.Fatalf("%d bytes, announced as %d", len(b), f.Size())
	}
	return b
}

// same reads b as a message of the schema, which has to leave nothing over and to write the same bytes.
func same(t *rapid.T, b []byte, m proto.Message) {
	if err := proto.Unmarshal(b, m); err != nil {
		t.Fatal(err)
	}
	again, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil || string(again) != string(b) {
		t.Fatalf("the schema writes %x, the frame %x (%v)", again, b, err)
	}
}

// Nothing that a peer sends may panic, or make the reader believe more than the schema's own reader does.
func FuzzFrames(f *testing.F) {
	c := &call{routed: routed{env: entity.Envelope{Type: "t", Entity: "e", Command: "c", Payload: []byte("p")}, deadline: time.Now().Add(time.Hour)}}
	f.Add((&outgoingCalls{calls: []*call{c, c}, first: 1}).Append(nil))
	var out outgoingAnswers
	out.pack([]answer{{1, []byte("r"), nil}, {2, nil, shard.Invalid("no")}})
	f.Add(out.Append(nil))
	f.Add([]byte{0x0b, 0x0c, 0x0d, 1, 2, 3, 4})
	f.Fuzz(func(t *testing.T, b []byte) {
		in := incomingCalls{}
		if err := in.Read(b); err == nil {
			var m wire.EnvelopeFrame
			if err := proto.Unmarshal(b, &m); err == nil && len(m.Envelopes) != len(in.all.calls) {
				t.Errorf("%d calls, the schema reads %d", len(in.all.calls), len(m.Envelopes))
			}
		}
		var answers incomingAnswers
		if err := answers.Read(b); err == nil {
			var m wire.AnswerFrame
			if err := proto.Unmarshal(b, &m); err == nil && len(m.Answers) != len(answers.answers) {
				t.Errorf("%d answers, the schema reads %d", len(answers.answers), len(m.Answers))
			}
		}
		appends := incomingAppends{}
		if err := appends.Read(b); err == nil {
			var m wire.AppendFrame
			if err := proto.Unmarshal(b, &m); err == nil && len(m.Appends) != len(appends.appends) {
				t.Errorf("%d appends, the schema reads %d", len(appends.appends), len(m.Appends))
			}
		}
		acks := incomingAcks{}
		if err := acks.Read(b); err == nil {
			var m wire.AckFrame
			if err := proto.Unmarshal(b, &m); err == nil && len(m.Acks)+len(m.Nacks) != len(acks.answers) {
				t.Errorf("%d acks, the schema reads %d", len(acks.answers), len(m.Acks)+len(m.Nacks))
			}
		}
	})
}

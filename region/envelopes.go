package region

import (
	"bytes"
	"fmt"
	"time"

	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"

	"muster/shard"
	"muster/transport"
	"muster/transport/wire"
)

// The frames of a Deliver stream. Each is wire.EnvelopeFrame or wire.AnswerFrame to the byte, read from and written to what
// the region works with: a message of its own for each envelope was a third of what forwarding one cost.

// Which fields of the messages are strings, bytes or messages.
const (
	frameFields    = 1 << 1
	envelopeFields = 1<<2 | 1<<5 | 1<<6 | 1<<7
	answerFields   = 1<<2 | 1<<3
)

// outgoingCalls is a frame of envelopes on its way to their owner.
type outgoingCalls struct {
	calls []*call
	first uint64 // the number of the first; the others follow
	now   time.Time
}

// Size implements transport.OutgoingFrame.
func (o *outgoingCalls) Size() (n int) {
	for i, c := range o.calls {
		n += sizeOfMessage(c.wireSize(o.first+uint64(i), o.now))
	}
	return n
}

// Append implements transport.OutgoingFrame.
func (o *outgoingCalls) Append(b []byte) []byte {
	for i, c := range o.calls {
		number := o.first + uint64(i)
		b = c.appendWire(appendLength(b, 1, c.wireSize(number, o.now)), number, o.now)
	}
	return b
}

// outgoingOneWays is a frame of commands that nobody answers, and that therefore have no numbers.
type outgoingOneWays struct{ commands []routed }

// Size implements transport.OutgoingFrame.
func (o *outgoingOneWays) Size() (n int) {
	for i := range o.commands {
		n += sizeOfMessage(o.commands[i].wireSize(0, time.Time{}))
	}
	return n
}

// Append implements transport.OutgoingFrame.
func (o *outgoingOneWays) Append(b []byte) []byte {
	for i := range o.commands {
		m := &o.commands[i]
		b = m.appendWire(appendLength(b, 1, m.wireSize(0, time.Time{})), 0, time.Time{})
	}
	return b
}

// timeout is what is left until the deadline, in µs; 0 for none.
func (c *routed) timeout(now time.Time) uint64 {
	if c.deadline.IsZero() {
		return 0
	}
	return uint64(max(1, c.deadline.Sub(now).Microseconds()))
}

// wireSize is the number of bytes of the command as wire.Envelope.
func (c *routed) wireSize(number uint64, now time.Time) int {
	e := &c.env
	n := sizeOfVarint(number) + sizeOfBytes(len(e.Type)) + sizeOfVarint(uint64(c.shard.Number)) + sizeOfVarint(uint64(c.epoch)) +
		sizeOfBytes(len(e.Entity)) + sizeOfBytes(len(e.Command)) + sizeOfBytes(len(e.Payload)) +
		sizeOfVarint(uint64(e.Request.Session)) + sizeOfVarint(e.Request.Number) + sizeOfVarint(e.Floor) + sizeOfVarint(c.timeout(now))
	if c.tell {
		n += tagSize + 1
	}
	return n
}

func (c *routed) appendWire(b []byte, number uint64, now time.Time) []byte {
	e := &c.env
	b = appendVarint(b, 1, number)
	b = appendBytes(b, 2, e.Type)
	b = appendVarint(b, 3, uint64(c.shard.Number))
	b = appendVarint(b, 4, uint64(c.epoch))
	b = appendBytes(b, 5, e.Entity)
	b = appendBytes(b, 6, e.Command)
	b = appendBytes(b, 7, e.Payload)
	b = appendVarint(b, 8, uint64(e.Request.Session))
	b = appendVarint(b, 9, e.Request.Number)
	b = appendVarint(b, 10, e.Floor)
	b = appendVarint(b, 11, c.timeout(now))
	if c.tell {
		b = appendVarint(b, 12, 1)
	}
	return b
}

// leastEnvelope is less than any envelope has that names an entity and a command. A call is many times as large: a peer that sends empty
// ones must not fill the memory with them.
const leastEnvelope = 8

// incomingCalls is a frame of envelopes as their owner's node takes it in.
type incomingCalls struct {
	types, commands names
	frame           mem.Buffer
	all             *inbound // of the newest frame; the reader hands it on
}

// Keep implements transport.KeptFrame.
func (in *incomingCalls) Keep(frame mem.Buffer) { in.frame = frame }

// Read implements transport.IncomingFrame.
func (in *incomingCalls) Read(b []byte) error {
	count := 0
	for f := (fields{b: b, long: frameFields}); f.next(); {
		if f.number == 1 {
			count++
		}
	}
	if count > 1+len(b)/leastEnvelope {
		return fmt.Errorf("%d envelopes in %d bytes", count, len(b))
	}
	in.all = newInbound(count)
	in.all.frame, in.frame = in.frame, nil
	now, f, calls := time.Now(), fields{b: b, long: frameFields}, in.all.calls
	for f.next() {
		if f.number != 1 {
			continue
		}
		if err := in.read(&calls[0], f.bytes, now); err != nil {
			return err
		}
		calls = calls[1:]
	}
	return f.err
}

// read takes one wire.Envelope apart. The payload stays where it is.
func (in *incomingCalls) read(c *call, b []byte, now time.Time) error {
	f, e := fields{b: b, long: envelopeFields}, &c.env
	for f.next() {
		switch f.number {
		case 1:
			c.token = f.value
		case 2:
			e.Type = shard.TypeName(in.types.of(f.bytes))
			c.shard.Type = e.Type
		case 3:
			c.shard.Number = shard.Number(f.value)
		case 4:
			c.epoch = shard.Epoch(f.value)
		case 5:
			e.Entity = shard.EntityID(f.bytes)
		case 6:
			e.Command = in.commands.of(f.bytes)
		case 7:
			e.Payload = f.bytes
		case 8:
			e.Request.Session = shard.SessionID(f.value)
		case 9:
			e.Request.Number = f.value
		case 10:
			e.Floor = f.value
		case 11:
			c.deadline = now.Add(time.Duration(f.value) * time.Microsecond)
		case 12:
			c.tell = f.value != 0
		}
	}
	return f.err
}

// outgoingAnswers is a frame of answers on their way back.
type outgoingAnswers struct {
	answers []answer
	faults  [][]byte // of the answers that have one, as wire.Fault, in order
}

// pack makes a frame of the answers at the front, up to the size of a frame, and returns the others.
func (o *outgoingAnswers) pack(items []answer) (rest []answer) {
	size, n := 0, 0
	o.faults = o.faults[:0]
	for ; n < len(items) && (n == 0 || size+items[n].size() <= maxFrame); n++ {
		size += items[n].size()
		if items[n].fault != nil {
			b, err := proto.Marshal(transport.FaultOf(items[n].fault))
			if err != nil { // only for text that is not UTF-8, which FaultOf mends
				panic("region: a fault cannot be encoded: " + err.Error())
			}
			o.faults = append(o.faults, b)
		}
	}
	o.answers = items[:n]
	return items[n:]
}

// bytes adds up the sizes of the answers.
func (o *outgoingAnswers) bytes() (n int64) {
	for i := range o.answers {
		n += int64(o.answers[i].size())
	}
	return n
}

// each calls fn with every answer, its fault in wire form and the size of both together.
func (o *outgoingAnswers) each(fn func(a *answer, fault []byte, size int)) {
	faults := o.faults
	for i := range o.answers {
		a := &o.answers[i]
		size := sizeOfVarint(a.token) + sizeOfBytes(len(a.reply))
		var fault []byte
		if a.fault != nil {
			fault, faults = faults[0], faults[1:]
			size += sizeOfMessage(len(fault))
		}
		fn(a, fault, size)
	}
}

// Size implements transport.OutgoingFrame.
func (o *outgoingAnswers) Size() (n int) {
	o.each(func(_ *answer, _ []byte, size int) { n += sizeOfMessage(size) })
	return n
}

// Append implements transport.OutgoingFrame.
func (o *outgoingAnswers) Append(b []byte) []byte {
	o.each(func(a *answer, fault []byte, size int) {
		b = appendVarint(appendLength(b, 1, size), 1, a.token)
		b = appendBytes(b, 2, a.reply)
		if a.fault != nil {
			b = append(appendLength(b, 3, len(fault)), fault...)
		}
	})
	return b
}

// incomingAnswers is a frame of answers at the node that asked.
type incomingAnswers struct{ answers []answer } // used again for the next frame

// Read implements transport.IncomingFrame.
func (in *incomingAnswers) Read(b []byte) error {
	clear(in.answers)
	in.answers = in.answers[:0]
	f := fields{b: b, long: frameFields}
	for f.next() {
		if f.number != 1 {
			continue
		}
		a, err := readAnswer(f.bytes)
		if err != nil {
			return err
		}
		in.answers = append(in.answers, a)
	}
	return f.err
}

// readAnswer takes one wire.Answer apart.
func readAnswer(b []byte) (a answer, err error) {
	f := fields{b: b, long: answerFields}
	for f.next() {
		switch f.number {
		case 1:
			a.token = f.value
		case 2:
			a.reply = bytes.Clone(f.bytes)
		case 3:
			var m wire.Fault
			if err := proto.Unmarshal(f.bytes, &m); err != nil {
				return a, err
			}
			a.fault = transport.ErrorOf(&m)
		}
	}
	return a, f.err
}

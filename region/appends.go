package region

import (
	"bytes"

	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"

	"muster/replication"
	"muster/shard"
)

// The frames of a Replicate stream. Each is wire.AppendFrame or wire.AckFrame to the byte, like those of a Deliver stream;
// what only healing needs, parts and refusals, goes through the generated code.

// Which fields of the messages are strings, bytes or messages.
const (
	ackFrameFields = 1<<1 | 1<<2
	appendFields   = 1<<1 | 1<<8 | 1<<12
	ackFields      = 1<<1 | 1<<7
)

// An appendMessage is an append on its way to a peer, or a part of a shard snapshot.
type appendMessage struct {
	replication.Append        // without Records
	records            []byte // their encodings, back to back; not changed any more
	part               []byte // wire.Part, nil for an append to the log
}

func (m *appendMessage) wireSize() int {
	n := sizeOfBytes(len(m.Shard.Type)) + sizeOfVarint(uint64(m.Shard.Number)) + sizeOfVarint(uint64(m.Epoch)) +
		sizeOfVarint(uint64(m.From)) + sizeOfVarint(uint64(m.To)) + sizeOfVarint(uint64(m.Prev.Epoch)) + sizeOfVarint(uint64(m.Prev.LSN)) +
		sizeOfBytes(len(m.records)) + sizeOfVarint(uint64(m.Confirmed)) + sizeOfVarint(uint64(m.Version)) + sizeOfVarint(m.Round)
	if m.part != nil {
		n += sizeOfMessage(len(m.part))
	}
	return n
}

func (m *appendMessage) appendWire(b []byte) []byte {
	b = appendBytes(b, 1, m.Shard.Type)
	b = appendVarint(b, 2, uint64(m.Shard.Number))
	b = appendVarint(b, 3, uint64(m.Epoch))
	b = appendVarint(b, 4, uint64(m.From))
	b = appendVarint(b, 5, uint64(m.To))
	b = appendVarint(b, 6, uint64(m.Prev.Epoch))
	b = appendVarint(b, 7, uint64(m.Prev.LSN))
	b = appendBytes(b, 8, m.records)
	b = appendVarint(b, 9, uint64(m.Confirmed))
	b = appendVarint(b, 10, uint64(m.Version))
	b = appendVarint(b, 11, m.Round)
	if m.part != nil {
		b = append(appendLength(b, 12, len(m.part)), m.part...)
	}
	return b
}

// outgoingAppends is a frame of appends.
type outgoingAppends struct{ appends []appendMessage }

// Size implements transport.OutgoingFrame.
func (o *outgoingAppends) Size() (n int) {
	for i := range o.appends {
		n += sizeOfMessage(o.appends[i].wireSize())
	}
	return n
}

// Append implements transport.OutgoingFrame.
func (o *outgoingAppends) Append(b []byte) []byte {
	for i := range o.appends {
		b = o.appends[i].appendWire(appendLength(b, 1, o.appends[i].wireSize()))
	}
	return b
}

// incomingAppends is a frame of appends as a replica's node takes it in. The records and parts stand in the frame.
type incomingAppends struct {
	types   names
	frame   mem.Buffer
	appends []appendMessage // used again for the next frame
}

// Keep implements transport.KeptFrame.
func (in *incomingAppends) Keep(frame mem.Buffer) { in.frame = frame }

// over says that the appends were handed on, each with a hold of its own on the frame.
func (in *incomingAppends) over() {
	clear(in.appends)
	in.appends = in.appends[:0]
	in.frame.Free()
	in.frame = nil
}

// Read implements transport.IncomingFrame.
func (in *incomingAppends) Read(b []byte) error {
	clear(in.appends)
	in.appends = in.appends[:0]
	f := fields{b: b, long: frameFields}
	for f.next() {
		if f.number != 1 {
			continue
		}
		in.appends = append(in.appends, appendMessage{})
		if err := in.read(&in.appends[len(in.appends)-1], f.bytes); err != nil {
			return err
		}
	}
	return f.err
}

// read takes one wire.Append apart.
func (in *incomingAppends) read(m *appendMessage, b []byte) error {
	f := fields{b: b, long: appendFields}
	for f.next() {
		switch f.number {
		case 1:
			m.Shard.Type = shard.TypeName(in.types.of(f.bytes))
		case 2:
			m.Shard.Number = shard.Number(f.value)
		case 3:
			m.Epoch = shard.Epoch(f.value)
		case 4:
			m.From = shard.CopyID(f.value)
		case 5:
			m.To = shard.CopyID(f.value)
		case 6:
			m.Prev.Epoch = shard.Epoch(f.value)
		case 7:
			m.Prev.LSN = shard.LSN(f.value)
		case 8:
			m.records = f.bytes
		case 9:
			m.Confirmed = shard.LSN(f.value)
		case 10:
			m.Version = shard.ConfigVersion(f.value)
		case 11:
			m.Round = f.value
		case 12:
			m.part = f.bytes
		}
	}
	return f.err
}

// An answerback is what a copy answers to an append or a part.
type answerback struct {
	ack    replication.Ack
	staged []byte // wire.Staged, nil for an ack of the log
	nack   []byte // wire.Nack, instead of an ack
}

// packed encodes what has no short cut.
func packed(m proto.Message) []byte {
	b, err := proto.Marshal(m)
	if err != nil { // only for names that are not UTF-8, which are refused before they get anywhere
		panic("region: a message cannot be encoded: " + err.Error())
	}
	return b
}

func (a *answerback) wireSize() int {
	k := &a.ack
	n := sizeOfBytes(len(k.Shard.Type)) + sizeOfVarint(uint64(k.Shard.Number)) + sizeOfVarint(uint64(k.Copy)) +
		sizeOfVarint(uint64(k.Epoch)) + sizeOfVarint(uint64(k.LSN)) + sizeOfVarint(k.Round)
	if a.staged != nil {
		n += sizeOfMessage(len(a.staged))
	}
	return n
}

func (a *answerback) appendWire(b []byte) []byte {
	k := &a.ack
	b = appendBytes(b, 1, k.Shard.Type)
	b = appendVarint(b, 2, uint64(k.Shard.Number))
	b = appendVarint(b, 3, uint64(k.Copy))
	b = appendVarint(b, 4, uint64(k.Epoch))
	b = appendVarint(b, 5, uint64(k.LSN))
	b = appendVarint(b, 6, k.Round)
	if a.staged != nil {
		b = append(appendLength(b, 7, len(a.staged)), a.staged...)
	}
	return b
}

// outgoingAcks is a frame of answers to appends.
type outgoingAcks struct{ answers []answerback }

// Size implements transport.OutgoingFrame.
func (o *outgoingAcks) Size() (n int) {
	for i := range o.answers {
		if a := &o.answers[i]; a.nack != nil {
			n += sizeOfMessage(len(a.nack))
		} else {
			n += sizeOfMessage(a.wireSize())
		}
	}
	return n
}

// Append implements transport.OutgoingFrame.
func (o *outgoingAcks) Append(b []byte) []byte {
	for i := range o.answers {
		if a := &o.answers[i]; a.nack != nil {
			b = append(appendLength(b, 2, len(a.nack)), a.nack...)
		} else {
			b = a.appendWire(appendLength(b, 1, a.wireSize()))
		}
	}
	return b
}

// incomingAcks is a frame of answers at the primaries' node.
type incomingAcks struct {
	types   names
	answers []answerback // used again for the next frame
}

// Read implements transport.IncomingFrame.
func (in *incomingAcks) Read(b []byte) error {
	clear(in.answers)
	in.answers = in.answers[:0]
	f := fields{b: b, long: ackFrameFields}
	for f.next() {
		switch f.number {
		case 1:
			in.answers = append(in.answers, answerback{})
			if err := in.read(&in.answers[len(in.answers)-1], f.bytes); err != nil {
				return err
			}
		case 2:
			in.answers = append(in.answers, answerback{nack: bytes.Clone(f.bytes)})
		}
	}
	return f.err
}

// read takes one wire.Ack apart.
func (in *incomingAcks) read(a *answerback, b []byte) error {
	f := fields{b: b, long: ackFields}
	for f.next() {
		switch f.number {
		case 1:
			a.ack.Shard.Type = shard.TypeName(in.types.of(f.bytes))
		case 2:
			a.ack.Shard.Number = shard.Number(f.value)
		case 3:
			a.ack.Copy = shard.CopyID(f.value)
		case 4:
			a.ack.Epoch = shard.Epoch(f.value)
		case 5:
			a.ack.LSN = shard.LSN(f.value)
		case 6:
			a.ack.Round = f.value
		case 7:
			a.staged = bytes.Clone(f.bytes)
		}
	}
	return f.err
}

package entity

import (
	"context"

	"github.com/cespare/xxhash/v2"

	"muster/shard"
)

// ID names one entity of a type, in the application's words: 1 to shard.MaxEntityLength bytes of UTF-8.
type ID = shard.EntityID

// An Envelope is one command on its way to one entity.
type Envelope struct {
	Type    shard.TypeName
	Entity  ID
	Command string
	Payload []byte // the command as its type's Codec encodes it; not changed after sending

	// Who asked, so that a retry is recognised. Whoever sends leaves both zero; the node that takes the envelope into
	// the group fills them in.
	Request shard.RequestID
	Floor   uint64 // the lowest number Request.Session still awaits or may retry
}

// Validate reports the first part of the envelope that can never be delivered, with CodeInvalid.
func (e *Envelope) Validate() error {
	if err := shard.ValidName(string(e.Type)); err != nil {
		return err
	}
	if err := e.Entity.Validate(); err != nil {
		return err
	}
	if err := shard.ValidName(e.Command); err != nil {
		return err
	}
	if len(e.Payload) > shard.MaxPayload {
		return shard.Invalid("payload of %s.%s has %d bytes, more than %d", e.Type, e.Command, len(e.Payload), shard.MaxPayload)
	}
	return nil
}

// Digest condenses command and payload, so that a request id that comes back with another payload is noticed. It is
// xxhash64 of the command, a zero byte and the payload; part of the stored format.
func (e *Envelope) Digest() uint64 {
	var d xxhash.Digest
	d.Reset()
	d.WriteString(e.Command)
	d.Write([]byte{0})
	d.Write(e.Payload)
	return d.Sum64()
}

// A Sender takes envelopes to their entities: a node of the group, or a client outside of it. Safe for concurrent use.
//
// Errors are *shard.Error; their Outcome says whether the command may have taken effect.
type Sender interface {
	// Ask returns the entity's reply after everything the reply rests on is confirmed. Like Tell it fails with CodeInvalid on
	// an envelope that Validate refuses.
	Ask(ctx context.Context, e Envelope) ([]byte, error)
	// Tell returns when the command is confirmed, and carries no reply.
	Tell(ctx context.Context, e Envelope) error
}

// A OneWaySender also sends commands that nobody waits for: a node of the group. Safe for concurrent use.
type OneWaySender interface {
	// OneWay returns when the command is on its way. It runs at most once, and nobody hears whether it did. Whoever gives the
	// payload away does not change it any more. An error, a *shard.Error, means that nothing was sent.
	OneWay(ctx context.Context, e Envelope) error
}

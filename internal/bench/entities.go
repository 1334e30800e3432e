package main

import (
	"encoding/binary"
	"errors"
	"fmt"

	"muster/entity"
)

const (
	eventSize    = 128 // bytes of a command that is journaled, and of its event
	envelopeSize = 100 // bytes of a command that is not
	tagSize      = 8   // the first bytes of each command; the reply brings them back
)

// tally is the state of every entity the benchmark asks: how many commands it took.
type tally struct{ Count uint64 }

// MarshalBinary implements encoding.BinaryMarshaler.
func (t tally) MarshalBinary() ([]byte, error) {
	return binary.BigEndian.AppendUint64(nil, t.Count), nil
}

// UnmarshalBinary implements encoding.BinaryUnmarshaler.
func (t *tally) UnmarshalBinary(b []byte) error {
	if len(b) != 8 {
		return fmt.Errorf("a tally of %d bytes", len(b))
	}
	t.Count = binary.BigEndian.Uint64(b)
	return nil
}

// A kind is an entity type of the benchmark. Commands, events and replies are bytes, and its fold keeps none of them, so no codec is
// measured.
type kind struct {
	*entity.Type[tally]
	put *entity.Command[tally, []byte, []byte]
	get *entity.Command[tally, []byte, []byte]
}

// kindSettings say which options a type has.
type kindSettings struct {
	Name     string `json:"name"`
	Shards   int    `json:"shards"`
	Replicas int    `json:"replicas"`
	MinAcks  int    `json:"min_acks"`
	Volatile bool   `json:"volatile"`
	Whole    bool   `json:"whole"`   // no snapshots: an entity is brought back from all its events
	Confirm  bool   `json:"confirm"` // reads wait for other copies
}

// newKind defines a type that answers a command with the command's tag and the number of commands so far. A durable one
// records the whole command as its event.
func newKind(s kindSettings) *kind {
	options := []entity.Option{entity.Shards(s.Shards), entity.Encoding(entity.Lent), entity.SnapshotEncoding(entity.Binary)}
	if s.Whole {
		options = append(options, entity.SnapshotEvery(0))
	}
	if s.Confirm {
		options = append(options, entity.ConfirmedReads())
	}
	if s.Volatile {
		options = append(options, entity.Volatile())
	} else {
		options = append(options, entity.Replicate(s.Replicas, s.MinAcks, 0))
	}
	t := entity.Define[tally](s.Name, options...)
	counted := entity.On(t, "counted", func(t *tally, _ []byte) { t.Count++ })
	return &kind{
		Type: t,
		put: entity.Handle(t, "put", func(c *entity.Context[tally], command []byte) ([]byte, error) {
			if len(command) < tagSize {
				return nil, entity.Refuse("no tag")
			}
			counted.Record(c, command)
			return reply(command, c.State()), nil
		}),
		get: entity.Handle(t, "get", func(c *entity.Context[tally], command []byte) ([]byte, error) {
			if len(command) < tagSize {
				return nil, entity.Refuse("no tag")
			}
			return reply(command, c.State()), nil
		}),
	}
}

func reply(command []byte, t tally) []byte {
	return binary.BigEndian.AppendUint64(append(make([]byte, 0, 2*tagSize), command[:tagSize]...), t.Count)
}

var errWrong = errors.New("a wrong reply")

// counted checks a reply to a command with the tag, and returns what the entity counted.
func counted(reply []byte, tag uint64) (uint64, error) {
	if len(reply) != 2*tagSize || binary.BigEndian.Uint64(reply) != tag {
		return 0, fmt.Errorf("%w: %x to tag %x", errWrong, reply, tag)
	}
	return binary.BigEndian.Uint64(reply[tagSize:]), nil
}

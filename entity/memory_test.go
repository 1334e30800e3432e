package entity_test

import (
	"context"

	"muster/entity"
	"muster/shard"
)

// memory is a Sender that runs entities on the spot and keeps what they record, so that examples need no group.
type memory struct {
	types   map[shard.TypeName]entity.Definition
	cells   map[key]*entity.Cell
	journal map[key][][]byte
}

type key struct {
	typ shard.TypeName
	id  entity.ID
}

func newMemory(types ...entity.Definition) *memory {
	m := &memory{map[shard.TypeName]entity.Definition{}, map[key]*entity.Cell{}, map[key][][]byte{}}
	for _, t := range types {
		m.types[t.Spec().Name] = t
	}
	return m
}

func (m *memory) Ask(ctx context.Context, e entity.Envelope) ([]byte, error) {
	if err := e.Validate(); err != nil {
		return nil, err
	}
	t := m.types[e.Type]
	if t == nil {
		return nil, shard.Errorf(shard.CodeUnknownType, "%s", e.Type)
	}
	k := key{e.Type, e.Entity}
	if c := m.cells[k]; c == nil || c.Spoiled() {
		if err := m.load(t, k); err != nil {
			return nil, err
		}
	}
	o, err := m.cells[k].Handle(ctx, e)
	if err != nil {
		return nil, err
	}
	if len(o.Events) > 0 {
		m.journal[k] = append(m.journal[k], o.Append(nil))
	}
	if o.Refusal != nil {
		return nil, o.Refusal
	}
	return o.Reply, nil
}

func (m *memory) Tell(ctx context.Context, e entity.Envelope) error {
	_, err := m.Ask(ctx, e)
	return err
}

// load builds the entity from what is journaled, as a node does after a failover.
func (m *memory) load(t entity.Definition, k key) error {
	c := t.NewCell(k.id)
	for i, record := range m.journal[k] {
		if err := c.Replay(shard.Seq(i+1), record); err != nil {
			return err
		}
	}
	m.cells[k] = c
	return nil
}

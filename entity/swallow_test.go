package entity_test

import (
	"testing"

	"muster/entity"
	"muster/shard"
)

// A handler that recovers from the panic of a fold, or from Record's word that an event cannot be taken, has failed all the same: the
// state may be half of what the event makes of it, and the event in the journal would never let the entity be read back.
func TestAHandlerCannotSwallowWhatRecordEnds(t *testing.T) {
	typ := entity.Define[struct{ A, B int }]("pair")
	set := entity.On(typ, "set", func(s *struct{ A, B int }, n int) {
		s.A = n
		if n < 0 {
			panic("a fold that fails halfway")
		}
		s.B = n
	})
	large := entity.On(typ, "large", func(*struct{ A, B int }, []byte) {})
	quietly := func(f func()) {
		defer func() { _ = recover() }()
		f()
	}
	entity.Handle(typ, "fold", func(c *entity.Context[struct{ A, B int }], n int) (int, error) {
		quietly(func() { set.Record(c, n) })
		return c.State().A, nil
	})
	entity.Handle(typ, "limit", func(c *entity.Context[struct{ A, B int }], n int) (int, error) {
		quietly(func() { large.Record(c, make([]byte, entity.MaxEventBytes)) })
		return n, nil
	})
	for command, spoils := range map[string]bool{"fold": true, "limit": false} {
		c := typ.NewCell("e")
		out, err := c.Handle(t.Context(), entity.Envelope{Type: "pair", Entity: "e", Command: command, Payload: []byte("-1")})
		if shard.CodeOf(err) != shard.CodeFailed {
			t.Errorf("%s: %d events, reply %q, error %v; want a failure", command, len(out.Events), out.Reply, err)
		}
		if spoils && !c.Spoiled() {
			t.Errorf("%s: the cell is not spoiled", command)
		}
	}
}

package entity

import (
	"fmt"

	"muster/shard"
)

// Limits on what one command may record; beyond them the command fails.
const (
	MaxEvents     = 1024             // events of one command
	MaxEventBytes = shard.MaxPayload // their payloads in all
)

// An Event is one kind of change of an entity whose state is an S. Safe for concurrent use.
type Event[S, E any] struct {
	typ  *Type[S]
	name string
	form form[E]
	fold func(*S, E)
}

// On declares an event of the type and how it changes the state. The fold runs when the event is recorded and again
// whenever the entity is brought back, so it must depend on its arguments alone. It panics when the name is invalid or
// taken, or the codec cannot carry an E.
func On[S, E any](t *Type[S], name string, fold func(state *S, event E)) *Event[S, E] {
	where := t.register("On", name, t.events[name] != nil)
	if fold == nil {
		panic(where + ": the fold is nil")
	}
	e := &Event[S, E]{typ: t, name: name, fold: fold}
	if t.spec.Volatile {
		e.form = form[E]{codec: t.codec} // never encoded
	} else {
		e.form = mustForm[E](where, t.codec)
	}
	t.events[name] = func(state *S, payload []byte) error {
		event, err := e.form.lend(payload)
		if err == nil {
			fold(state, event)
		}
		return err
	}
	return e
}

// Name returns the event's name.
func (e *Event[S, E]) Name() string { return e.name }

// Record makes the event part of the entity. The state changes at once; the command's reply leaves after the event is
// confirmed. A command that records an event and then fails or refuses leaves no trace of it.
//
// An event that cannot be encoded or exceeds a limit ends the command with CodeFailed right here, by a panic that the
// caller of the handler contains. A handler that recovers from that, or from a panic of the fold, has failed all the same.
func (e *Event[S, E]) Record(c *Context[S], event E) {
	c.alive()
	if c.broken {
		panic(abort{fmt.Sprintf("event %s follows one that could not be recorded", e.name)})
	}
	c.broken = true
	if c.cell.typ != e.typ {
		panic(abort{fmt.Sprintf("event %s belongs to another type named %s", e.name, e.typ.spec.Name)})
	}
	var payload []byte
	if !e.typ.spec.Volatile {
		var err error
		if payload, err = e.form.encode(event); err != nil {
			panic(abort{fmt.Sprintf("event %s: %v", e.name, err)})
		}
	}
	c.size += len(payload)
	if len(c.events) == MaxEvents || c.size > MaxEventBytes {
		panic(abort{fmt.Sprintf("one command may record %d events of %d bytes in all", MaxEvents, MaxEventBytes)})
	}
	c.events = append(c.events, EventRecord{Name: e.name, Payload: payload})
	e.fold(&c.cell.state, event)
	c.broken = false
}

// abort ends a handler from inside Record. It is no defect of the program's control flow, so it carries no stack.
type abort struct{ detail string }

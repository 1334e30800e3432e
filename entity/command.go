package entity

import (
	"context"
	"errors"
	"fmt"

	"muster/shard"
)

// A Command is something an entity whose state is an S can be asked: a C, answered by an R. Safe for concurrent use.
type Command[S, C, R any] struct {
	typ   *Type[S]
	name  string
	ask   form[C]
	reply form[R]
}

// Handle declares a command of the type. The handlers of one entity run one at a time, in the order of arrival; those of
// different entities run side by side. A handler that records nothing is a read. It panics when the name is invalid or
// taken, or the codec cannot carry C or R.
//
// A handler answers with a reply, refuses with [Refuse], or fails with any other error, which reaches the caller as
// CodeFailed with its text. Events of a command that refuses or fails are dropped.
func Handle[S, C, R any](t *Type[S], name string, handler func(c *Context[S], command C) (R, error)) *Command[S, C, R] {
	where := t.register("Handle", name, t.commands[name] != nil)
	if handler == nil {
		panic(where + ": the handler is nil")
	}
	c := &Command[S, C, R]{typ: t, name: name, ask: mustForm[C](where, t.codec), reply: mustForm[R](where, t.codec)}
	t.commands[name] = func(x *Context[S], payload []byte) ([]byte, error) {
		command, err := c.ask.decode(payload)
		if err != nil {
			return nil, shard.Invalid("payload of %s.%s: %v", t.spec.Name, name, err)
		}
		reply, err := handler(x, command)
		if err != nil {
			return nil, faultOf(x.ctx, err)
		}
		b, err := c.reply.encode(reply)
		if err == nil && len(b) > shard.MaxPayload {
			err = fmt.Errorf("%d bytes, more than %d", len(b), shard.MaxPayload)
		}
		if err != nil {
			return nil, shard.Errorf(shard.CodeFailed, "reply of %s.%s: %v", t.spec.Name, name, err)
		}
		return b, nil
	}
	return c
}

// Name returns the command's name.
func (c *Command[S, C, R]) Name() string { return c.name }

// Ask sends the command to an entity and returns its reply. The deadline is that of ctx. Errors are *shard.Error:
// CodeRefused with the handler's words when it refused; Outcome says whether the command may have taken effect.
func (c *Command[S, C, R]) Ask(ctx context.Context, to Sender, id ID, command C) (reply R, err error) {
	e, err := c.envelope(id, command)
	if err != nil {
		return reply, err
	}
	b, err := to.Ask(ctx, e)
	if err != nil {
		return reply, err
	}
	if reply, err = c.reply.decode(b); err != nil {
		return reply, shard.Unknownf(shard.CodeInvalid, "reply of %s.%s: %v", e.Type, c.name, err)
	}
	return reply, nil
}

// Tell sends the command to an entity and returns when it is confirmed, without the reply. Errors are those of Ask.
func (c *Command[S, C, R]) Tell(ctx context.Context, to Sender, id ID, command C) error {
	e, err := c.envelope(id, command)
	if err != nil {
		return err
	}
	return to.Tell(ctx, e)
}

// OneWay sends the command to an entity and does not wait for it: it runs at most once, in no order relative to other commands, and nobody
// hears whether it ran or was refused. For a command whose effect matters there is Tell. Errors mean that it was not sent.
func (c *Command[S, C, R]) OneWay(ctx context.Context, to OneWaySender, id ID, command C) error {
	e, err := c.envelope(id, command)
	if err != nil {
		return err
	}
	return to.OneWay(ctx, e)
}

// Envelope returns the command ready to be sent. It fails with CodeInvalid on what can never be delivered.
func (c *Command[S, C, R]) Envelope(id ID, command C) (Envelope, error) {
	e, err := c.envelope(id, command)
	if err != nil {
		return e, err
	}
	return e, e.Validate()
}

// envelope leaves it to the sender to judge what it is given: each does, whoever it comes from.
func (c *Command[S, C, R]) envelope(id ID, command C) (Envelope, error) {
	payload, err := c.ask.encode(command)
	if err != nil {
		return Envelope{}, shard.Invalid("payload of %s.%s: %v", c.typ.spec.Name, c.name, err)
	}
	return Envelope{Type: c.typ.spec.Name, Entity: id, Command: c.name, Payload: payload}, nil
}

// faultOf is what a handler's error becomes. A refusal of another entity that the handler passes on is its own refusal.
func faultOf(ctx context.Context, err error) *shard.Error {
	var e *shard.Error
	switch {
	case errors.As(err, &e) && e.Code == shard.CodeRefused:
		if err == error(e) {
			return &shard.Error{Code: shard.CodeRefused, Detail: e.Detail}
		}
		return shard.Errorf(shard.CodeRefused, "%v", err)
	case ctx.Err() != nil && errors.Is(err, ctx.Err()):
		return shard.Errorf(shard.CodeTimeout, "%v", err)
	default:
		return shard.Errorf(shard.CodeFailed, "%v", err)
	}
}

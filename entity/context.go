package entity

import (
	"context"
	"fmt"
	"sync/atomic" //lint:pure a handler may keep its Context and use it late, from another goroutine

	"muster/shard"
)

// A Context is what a handler may use while it runs: the entity's state, its id, and the caller's deadline. It belongs to
// the goroutine that runs the handler; any use after the handler returned panics, because by then the state may belong
// to the next command.
type Context[S any] struct {
	ctx    context.Context
	cell   *cell[S]
	events []EventRecord
	first  [1]EventRecord // where the usual single event needs no allocation of its own
	size   int            // bytes of their payloads
	over   atomic.Bool
	broken bool // an event could not be recorded, or its fold has not returned
}

// State returns the state with all events recorded so far. It is a copy, so a handler cannot change the entity by
// accident; maps, slices and pointers inside are shared with the entity and must not be written to, or kept.
func (c *Context[S]) State() S {
	c.alive()
	return c.cell.state
}

// EntityID returns the entity's id.
func (c *Context[S]) EntityID() ID {
	c.alive()
	return c.cell.id
}

// Context returns the caller's context: it ends with the caller's deadline, or when this node may no longer run the
// entity.
func (c *Context[S]) Context() context.Context {
	c.alive()
	return c.ctx
}

func (c *Context[S]) alive() {
	if c.over.Load() {
		panic("entity: Context used after its handler returned")
	}
}

// Refuse is how a handler says no. The caller gets it as *shard.Error with CodeRefused and the words, formatted as by
// fmt.Sprintf, as Detail.
func Refuse(format string, args ...any) error {
	return &shard.Error{Code: shard.CodeRefused, Detail: fmt.Sprintf(format, args...)}
}

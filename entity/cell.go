package entity

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug" //lint:pure the stack of a handler that panicked

	"muster/shard"
)

// A Cell is one entity: its state and how many records it has. Not concurrent: its owner runs one call at a time.
//
// Handle folds events at once, before they are journaled, so that the next command need not wait for the disk. The
// price: when a command fails after it recorded, or panics, the state holds what the journal never will. Such a cell is
// spoiled; its owner drops it and builds another from the journal.
//
// Rejected: folding into a copy and swapping on success. Copying a state needs the codec, on every command.
type Cell struct {
	id       ID
	seq      shard.Seq
	spoiled  bool
	volatile bool // of its outcomes nothing is journaled
	body     body
}

// body is the part of a cell that knows its state's type.
type body interface {
	handle(ctx context.Context, command string, payload []byte) (Outcome, error)
	fold(name, payload []byte) error
	snapshot() ([]byte, error)
	restore(b []byte) error
}

// cell is a Cell with its state, in one allocation.
type cell[S any] struct {
	Cell
	typ   *Type[S]
	state S
}

// ID returns the entity's id.
func (c *Cell) ID() ID { return c.id }

// Seq returns the number of records with events that the state consists of.
func (c *Cell) Seq() shard.Seq { return c.seq }

// Spoiled reports whether the state may hold what is not journaled. A spoiled cell refuses everything but Restore.
func (c *Cell) Spoiled() bool { return c.spoiled }

// Handle runs the command. An Outcome with events has been folded already and advanced Seq by one; one without events
// changed nothing. A refusal is an Outcome. An error, always with a *shard.Error in its chain, means that there is
// nothing to journal: CodeUnknownCommand, CodeInvalid for a payload that cannot be decoded, CodeTimeout when the
// handler gave up with ctx, CodeFailed when it failed otherwise, with a *Panic in the chain when it panicked.
func (c *Cell) Handle(ctx context.Context, e Envelope) (Outcome, error) {
	if c.spoiled {
		return Outcome{}, errSpoiled(c)
	}
	out, err := c.body.handle(ctx, e.Command, e.Payload)
	if err != nil {
		return Outcome{}, err
	}
	if len(out.Events) > 0 {
		c.seq++
	}
	if len(out.Events) > 0 && !c.volatile || e.Request.Session != 0 { // of the rest nothing is kept that a retry could be compared with
		out.Digest = e.Digest()
	}
	return out, nil
}

// Replay folds the events of a journaled Outcome. Seq must be the next one, or the present one for an outcome without
// events. After an error the cell is spoiled.
func (c *Cell) Replay(seq shard.Seq, b []byte) (err error) {
	if c.spoiled {
		return errSpoiled(c)
	}
	c.spoiled = true
	defer func() {
		if v := recover(); v != nil {
			err = panicked(v, fmt.Sprintf("replay of entity %s, record %d", c.id, seq))
		}
	}()
	r := reader{b: b}
	events := r.header()
	for range events {
		name, payload := r.bytes(), r.bytes()
		if r.err != nil {
			break
		}
		if err := c.body.fold(name, payload); err != nil {
			return fmt.Errorf("replay entity %s, record %d, event %q: %w", c.id, seq, name, err)
		}
	}
	if r.err != nil {
		return fmt.Errorf("replay entity %s, record %d: %w", c.id, seq, r.err)
	}
	want := c.seq
	if events > 0 {
		want++
	}
	if seq != want {
		return fmt.Errorf("replay entity %s: record %d follows %d", c.id, seq, c.seq)
	}
	c.seq, c.spoiled = seq, false
	return nil
}

const snapshotVersion = 1

// Snapshot returns the state as bytes for Restore.
func (c *Cell) Snapshot() (b []byte, err error) {
	if c.spoiled {
		return nil, errSpoiled(c)
	}
	c.spoiled = true // until the codec has returned or panicked, so that runtime.Goexit leaves a spoiled cell
	returned := false
	defer func() {
		v := recover()
		if v != nil {
			b, err = nil, panicked(v, fmt.Sprintf("snapshot of entity %s", c.id))
		}
		c.spoiled = v == nil && !returned
	}()
	state, err := c.body.snapshot()
	returned = true
	if err != nil {
		return nil, fmt.Errorf("snapshot entity %s: %w", c.id, err)
	}
	return append([]byte{snapshotVersion}, state...), nil
}

// Restore replaces the state by a snapshot that was taken after record seq. A spoiled cell becomes sound again; after an
// error the cell is spoiled.
func (c *Cell) Restore(seq shard.Seq, b []byte) (err error) {
	c.spoiled = true
	defer func() {
		if v := recover(); v != nil {
			err = panicked(v, fmt.Sprintf("restore of entity %s", c.id))
		}
	}()
	if len(b) == 0 || b[0] != snapshotVersion {
		return fmt.Errorf("restore entity %s: not a snapshot of version %d", c.id, snapshotVersion)
	}
	if err := c.body.restore(b[1:]); err != nil {
		return fmt.Errorf("restore entity %s: %w", c.id, err)
	}
	c.seq, c.spoiled = seq, false
	return nil
}

func (c *cell[S]) handle(ctx context.Context, command string, payload []byte) (out Outcome, err error) {
	run := c.typ.commands[command]
	if run == nil {
		return out, shard.Errorf(shard.CodeUnknownCommand, "type %s has no command %q", c.typ.spec.Name, command)
	}
	x := &Context[S]{ctx: ctx, cell: c}
	x.events = x.first[:0]
	c.spoiled = true // until the handler has returned in order, so that even runtime.Goexit leaves a spoiled cell
	defer func() {
		x.over.Store(true)
		if v := recover(); v != nil {
			err = panicked(v, fmt.Sprintf("%s.%s", c.typ.spec.Name, command))
		}
	}()
	reply, err := run(x, payload)
	switch {
	case err == nil && x.broken:
		return out, shard.Errorf(shard.CodeFailed, "%s.%s went on after an event that could not be recorded", c.typ.spec.Name, command)
	case err == nil:
		c.spoiled = false
		return Outcome{Events: x.events, Reply: reply}, nil
	}
	var fault *shard.Error
	errors.As(err, &fault)
	switch refused := fault.Code == shard.CodeRefused; {
	case (len(x.events) > 0 || x.broken) && refused:
		return out, shard.Errorf(shard.CodeFailed, "%s.%s recorded events and then refused: %s", c.typ.spec.Name, command, fault.Detail)
	case len(x.events) > 0 || x.broken:
		return out, fault
	case refused:
		out.Refusal, err = fault, nil
	default:
		err = fault
	}
	c.spoiled = false
	return out, err
}

func (c *cell[S]) fold(name, payload []byte) error {
	fold := c.typ.events[string(name)]
	if fold == nil {
		return fmt.Errorf("type %s has no such event: was it journaled by another version of the program?", c.typ.spec.Name)
	}
	return fold(&c.state, payload)
}

func (c *cell[S]) snapshot() ([]byte, error) { return c.typ.state.encode(c.state) }

func (c *cell[S]) restore(b []byte) (err error) {
	c.state, err = c.typ.state.decode(b)
	return err
}

// A Panic is a handler's or fold's panic, contained. Its chain leads to the *shard.Error that the caller gets; the stack
// is for the log of the node it happened on.
type Panic struct {
	Value any
	Stack []byte
	fault *shard.Error
}

func (p *Panic) Error() string { return p.fault.Error() }

// Unwrap returns the *shard.Error with CodeFailed.
func (p *Panic) Unwrap() error { return p.fault }

func panicked(v any, what string) error {
	if a, ok := v.(abort); ok {
		return shard.Errorf(shard.CodeFailed, "%s: %s", what, a.detail)
	}
	return &Panic{Value: v, Stack: debug.Stack(), fault: shard.Errorf(shard.CodeFailed, "%s panicked: %v", what, v)}
}

func errSpoiled(c *Cell) error {
	return shard.Errorf(shard.CodeFailed, "entity %s has to be reloaded after a failed command", c.id)
}

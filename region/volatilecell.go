package region

import (
	"context"
	"errors"

	"muster/entity"
	"muster/shard"
)

// A volatileCell is one entity. While it is busy its cell belongs to whoever runs it.
type volatileCell struct {
	cell    *entity.Cell
	reign   *reign
	mailbox queue[*call]
	first   *call // what a worker runs before the mailbox
	busy    bool
}

// start has a worker run a call, and what is in the mailbox then, through a cell that is busy with nothing else.
func (v *volatile) start(cell *volatileCell, c *call) {
	cell.first = c
	v.region.workers.start(cell)
}

// work implements task: it takes the first call, and then what waits in the mailbox, through the cell.
func (cell *volatileCell) work() {
	v, c := cell.reign.of, cell.first
	cell.first = nil
	// A handler that ends its goroutine leaves c set: the rest of the mailbox needs another goroutine.
	defer func() {
		if c != nil {
			v.finish(cell.reign, c, nil, shard.Errorf(shard.CodeFailed, "the handler ended its goroutine"))
			v.goOn(cell)
		}
	}()
	for c != nil {
		if c.late() {
			v.unremembered(cell.reign, c, shard.Errorf(shard.CodeTimeout, "the deadline passed before the command ran"))
		} else {
			v.handle(cell, c, cell.reign.working)
		}
		c = v.next(cell)
	}
}

// runOne runs one call on the caller's goroutine and leaves the rest of the mailbox to a worker.
func (v *volatile) runOne(cell *volatileCell, c *call) {
	returned := false
	defer func() {
		if !returned {
			v.finish(cell.reign, c, nil, shard.Errorf(shard.CodeFailed, "the handler ended its goroutine"))
		}
		v.goOn(cell)
	}()
	v.handle(cell, c, cell.reign.life)
	returned = true
}

// goOn leaves the rest of a cell's mailbox to a worker.
func (v *volatile) goOn(cell *volatileCell) {
	if c := v.next(cell); c != nil {
		v.start(cell, c)
	}
}

// next takes the next call of a cell that was run, nil when it is idle now. A spoiled cell starts anew: what it held in
// memory cannot be told apart from what the failed command left there.
func (v *volatile) next(cell *volatileCell) *call {
	v.mu.Lock()
	defer v.mu.Unlock()
	r := cell.reign
	if v.mu.reign != r {
		return nil
	}
	if cell.cell.Spoiled() {
		cell.cell = v.def.NewCell(cell.cell.ID())
	}
	if cell.mailbox.len() == 0 || r.leaving.Paused {
		cell.busy = false
		r.busy--
		if r.leaving.Paused {
			v.handOver()
		}
		return nil
	}
	return cell.mailbox.pop()
}

// handle runs one handler and answers. The lease is looked at before and after: an output that was made under a lease that
// has ended since does not leave. The handler's context is made from that of life.
func (v *volatile) handle(cell *volatileCell, c *call, life context.Context) {
	r := cell.reign
	if r.life.Err() != nil || !v.leased() {
		v.unremembered(r, c, v.over())
		return
	}
	out, err := handled(life, cell.cell, c)
	c.outcome.Digest = out.Digest
	fault := out.Refusal
	if err != nil {
		fault = shard.As(err)
		var p *entity.Panic
		if errors.As(err, &p) {
			v.log.Error("handler panicked", "entity", c.env.Entity, "command", c.env.Command, "panic", p.Value, "stack", string(p.Stack))
		}
	}
	if r.life.Err() != nil || !v.leased() {
		out.Reply, fault = nil, shard.Unknownf(shard.CodeUnconfirmed, "the node's lease on shard %s ended while the command ran", v.id)
	}
	v.finish(r, c, out.Reply, fault)
}

package simulation

import (
	"fmt"
	"time"

	"muster/shard"
)

// A client appends numbers to entities and reads them, one command at a time. It gives each command one request id and
// repeats it, to whichever node is said to own the shard, until it is answered or its patience ends.
type client struct {
	w       *world
	session shard.SessionID
	number  uint64
	op      *operation
	ended   []*operation // in the order of their ends
	resting bool
}

// operation is one command of a client.
type operation struct {
	request
	began, ended time.Duration
	attempts     int
	unsure       bool // some attempt may have taken effect
	kind         kind // how it ended; 0 while it has not
	values       []uint64
}

// request is one attempt at a command.
type request struct {
	shard  shard.ID
	entity shard.EntityID
	id     shard.RequestID
	read   bool
	value  uint64
	reply  func(answer)
}

// answer is what a node says.
type answer struct {
	kind   kind
	values []uint64
}

// kind is what an answer claims.
type kind int

const (
	done    kind = iota + 1
	refused      // it did not and will not take effect
	unknown
)

const (
	patience   = 6 * time.Second // of a client for one command
	tryTimeout = 800 * time.Millisecond
)

// next begins another command.
func (c *client) next() {
	w := c.w
	if c.resting {
		c.op = nil
		return
	}
	ids := w.setup.shards()
	c.number++
	op := &operation{began: w.now}
	op.shard = pick(w, ids)
	op.entity = shard.EntityID(fmt.Sprintf("e%d", w.dice.IntN(3)))
	op.id = shard.RequestID{Session: c.session, Number: c.number}
	op.read = w.chance(0.3)
	op.value = uint64(c.session)<<32 | c.number
	c.op = op
	c.try(op)
}

// try sends the command once more.
func (c *client) try(op *operation) {
	w := c.w
	if op.kind != 0 {
		return
	}
	if w.now > op.began+patience {
		c.end(op, refused, nil)
		return
	}
	op.attempts++
	attempt, answered := op.attempts, false
	request := op.request
	request.reply = func(a answer) { c.back(func() { answered = true; c.answered(op, attempt, a) }) }
	to := c.target(op.shard)
	if !w.chance(w.net.loss) {
		w.after(w.delay(), func() { to.receive(func(p *process) { p.handle(request) }) })
	}
	w.after(tryTimeout, func() {
		if !answered && op.kind == 0 && op.attempts == attempt {
			op.unsure = true
			c.try(op)
		}
	})
}

// back brings an answer to the client, unless it is lost.
func (c *client) back(deliver func()) {
	if !c.w.chance(c.w.net.loss) {
		c.w.after(c.w.delay(), deliver)
	}
}

// target is a node that some node's map calls the owner, or any.
func (c *client) target(id shard.ID) *node {
	if p := pick(c.w, c.w.nodes).process; p != nil {
		if pl := p.view.Placement(id); pl != nil && pl.Node != "" {
			return c.w.node(pl.Node)
		}
	}
	return pick(c.w, c.w.nodes)
}

func (c *client) answered(op *operation, attempt int, a answer) {
	switch {
	case op.kind != 0:
	case a.kind == done:
		c.end(op, done, a.values)
	case a.kind == unknown:
		op.unsure = true
		fallthrough
	default:
		if attempt == op.attempts {
			c.w.after(c.w.between(10*time.Millisecond, 100*time.Millisecond), func() { c.try(op) })
		}
	}
}

// end notes how the command ended. A command that was refused at last may have taken effect at first.
func (c *client) end(op *operation, k kind, values []uint64) {
	if k == refused && op.unsure {
		k = unknown
	}
	op.kind, op.ended, op.values = k, c.w.now, values
	c.ended = append(c.ended, op)
	c.w.note(uint64(k), op.value, uint64(len(values)))
	c.w.after(c.w.between(0, 40*time.Millisecond), c.next)
}

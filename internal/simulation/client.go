package simulation

import (
	"time"

	"muster/region/route"
	"muster/shard"
)

// A client appends numbers to entities and reads them, one command at a time, each through a node of its choice.
type client struct {
	w       *world
	id      uint64
	number  uint64
	op      *operation
	ended   []*operation // in the order of their ends
	resting bool
}

// operation is one command of a client.
type operation struct {
	request
	began, ended time.Duration
	kind         kind // how it ended; 0 while it has not
	values       []uint64
	ends         func(*operation)
}

// request is one attempt at a command.
type request struct {
	shard  shard.ID
	entity shard.EntityID
	epoch  shard.Epoch // it runs in this epoch or not at all
	id     shard.RequestID
	read   bool
	value  uint64
	reply  func(answer)
}

// answer is what a node says; without a fault it is done.
type answer struct {
	fault  *shard.Error
	values []uint64
}

// kind is how a command ended.
type kind int

const (
	done    kind = iota + 1
	refused      // it did not and will not take effect
	unknown
)

// entityNames are the entities of each shard.
var entityNames = []shard.EntityID{"e0", "e1", "e2", probed}

const patience = 6 * time.Second // of a client for one command

// next begins another command.
func (c *client) next() {
	c.op = nil
	if c.resting {
		return
	}
	w := c.w
	op := c.draw()
	op.read = w.chance(0.3)
	op.entity = entityNames[w.dice.IntN(3)]
	op.shard = pick(w, w.setup.ids)
	op.ends = func(*operation) { w.after(w.between(0, w.setup.think), c.next) }
	via := pick(w, w.nodes).process
	if via == nil || via.adopted() == 0 || via.stopping {
		w.after(w.between(time.Millisecond, 50*time.Millisecond), c.next)
		return
	}
	c.op = op
	via.begin(op, c)
}

func (c *client) draw() *operation {
	c.number++
	op := &operation{began: c.w.now}
	op.value = c.id<<32 | c.number
	return op
}

// end notes how a command ended.
func (c *client) end(op *operation, k kind, values []uint64) {
	op.kind, op.ended, op.values = k, c.w.now, values
	c.ended = append(c.ended, op)
	c.w.note(uint64(k), op.value, uint64(len(values)))
	op.ends(op)
}

// send is a command on its way from the node it was given to, which finds the owner, waits for one, and repeats an attempt
// that came to nothing, always under the same request id.
type send struct {
	p       *process
	c       *client
	op      *operation
	routed  shard.Epoch // of the attempt that is out
	attempt int
	out     bool // an attempt is, or was answered "unknown"
	maybe   bool // some attempt may have taken effect
	over    bool
}

const (
	tryTimeout   = 800 * time.Millisecond // an attempt without an answer is lost with its stream
	unownedPause = 250 * time.Millisecond
	retryPause   = 10 * time.Millisecond
)

// begin takes a command from a client.
func (p *process) begin(op *operation, c *client) {
	p.numbers++
	op.id = shard.RequestID{Session: p.adopted(), Number: p.numbers}
	s := &send{p: p, c: c, op: op}
	p.sends = append(p.sends, s)
	p.n.w.after(patience, func() {
		if !s.over {
			s.end(answer{fault: shard.Unknownf(shard.CodeTimeout, "no answer")})
		}
	})
	s.pursue()
}

// pursue sends the command to where the map says, or waits until it says so.
func (s *send) pursue() {
	if s.over || s.p.n.process != s.p {
		return
	}
	s.attempt++
	attempt := s.attempt
	p := s.p
	to := route.At(p.view, route.Self{Node: p.n.id, Session: p.adopted()}, s.op.shard)
	s.routed = to.Epoch
	if to.Action != route.Deliver && to.Action != route.Forward {
		s.out = false
		p.after(unownedPause, func() { s.again(attempt) })
		return
	}
	s.post(to.Node, to.Epoch)
}

// again pursues unless something else has happened to the command since.
func (s *send) again(attempt int) {
	if s.attempt == attempt {
		s.pursue()
	}
}

func (s *send) post(node shard.NodeID, epoch shard.Epoch) {
	p, attempt := s.p, s.attempt
	w := p.n.w
	s.out, s.routed = true, epoch
	r := s.op.request
	r.epoch = epoch
	to := w.node(node)
	r.reply = func(a answer) {
		w.send(to, p.n, func(q *process) {
			if q == p {
				s.answered(attempt, a)
			}
		})
	}
	arrived := false // a stream delivers a command once or not at all: only another attempt is a second one
	w.send(p.n, to, func(q *process) {
		if !arrived {
			arrived = true
			q.handle(r)
		}
	})
	p.after(tryTimeout, func() {
		if s.attempt == attempt && !s.over {
			s.maybe = true
			s.pursue()
		}
	})
}

// answered acts on the answer of an attempt. One that is late, of an attempt given up, counts only if it says "done".
func (s *send) answered(attempt int, a answer) {
	if s.over || (a.fault != nil && attempt != s.attempt) {
		return
	}
	if a.fault == nil {
		s.end(a)
		return
	}
	next := route.After(a.fault, s.routed)
	s.maybe = s.maybe || a.fault.Outcome == shard.Unknown
	s.attempt++
	s.out = false
	attempt = s.attempt
	switch next.Verdict {
	case route.GiveUp:
		s.end(a)
	case route.AgainAt:
		s.post(next.Node, next.Epoch)
	case route.AfterMap:
		s.routed = next.Epoch - 1 // a map that has reached it wakes the command
		s.p.after(unownedPause, func() { s.again(attempt) })
		s.woken()
	default:
		s.p.after(s.p.n.w.between(retryPause, 10*retryPause), func() { s.again(attempt) })
	}
}

// nudge wakes the commands whose shards the new map shows in a later epoch than they were sent in.
func (p *process) nudge() {
	for _, s := range p.sends {
		s.woken()
	}
}

func (s *send) woken() {
	pl := s.p.view.Placement(s.op.shard)
	if pl == nil || pl.Epoch <= s.routed || s.over {
		return
	}
	s.maybe = s.maybe || s.out
	s.pursue()
}

// end tells the client. What only says that the last attempt did nothing says too much when an earlier one may have done
// something.
func (s *send) end(a answer) {
	if s.over {
		return
	}
	s.over = true
	for i, other := range s.p.sends {
		if other == s {
			s.p.sends = append(s.p.sends[:i:i], s.p.sends[i+1:]...)
			break
		}
	}
	switch {
	case a.fault == nil:
		s.c.end(s.op, done, a.values)
	case s.maybe || a.fault.Outcome == shard.Unknown:
		s.c.end(s.op, unknown, nil)
	default:
		s.c.end(s.op, refused, nil)
	}
}

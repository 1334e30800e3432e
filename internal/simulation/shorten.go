package simulation

import (
	"time"

	"muster/region/route"
	"muster/replication"
	"muster/shard"
)

// A log that starts later keeps its records up to the base all the same: here they stand for what a copy has put apart, the
// snapshots of entities and the requests of sessions, and they are what a shard snapshot carries. Nobody reads them as records:
// sendAppends fails on an Append that begins below the base.

const (
	partsOf      = 64 // records of one part of a shard snapshot, at most
	fillPatience = 10 * time.Second
)

// staging is a shard snapshot as far as it has come, beside the log. It is immutable.
type staging struct {
	base   shard.Position
	source shard.CopyID
	log    chain
}

// shortening is what a copy has to do with the start of its log and with shard snapshots.
type shortening struct {
	staged *staging // what will be staged when every write under way is done
	busy   bool     // something is being put apart
	fills  map[shard.CopyID]*filling
	late   map[shard.CopyID]func() // Appends of several records that have not left the network yet; see retard
}

// filling is the way of the shard snapshot to one peer.
type filling struct {
	of    replication.Install
	taken shard.LSN     // the peer has this much of it
	moved time.Duration // when it last answered, on the primary's clock
}

// part is a piece of a shard snapshot: the records after a position, as far as they go.
type part struct {
	of    replication.Install
	after shard.LSN
	log   chain // up to the end of the part
}

func (p *part) last() bool { return p.log.end() == p.of.Base.LSN }

// shorten lets the log start later, now and then: what it holds up to there is put apart first. Sometimes it asks for more than
// may go, which the protocol refuses.
func (h *host) shorten() {
	w := h.p.n.w
	if h.busy || h.retired || h.installing() || !w.chance(w.swarm.shorten) || h.isFilling() {
		return
	}
	most := h.confirmed
	if w.chance(0.2) {
		most = h.log.end()
	}
	if most <= h.log.base {
		return
	}
	goal := h.log.base + 1 + shard.LSN(w.dice.IntN(int(most-h.log.base)))
	h.busy = true
	h.p.n.write(func() {}, func() {
		h.busy = false
		if h.retired || h.isFilling() {
			return // the peer is sent what goes with the present start
		}
		h.flush() // its Appends may begin further below
		e, ok := h.copy.Start(goal)
		if !ok {
			return
		}
		w.counts.Shortened++
		w.check.starts(h, goal)
		h.log.base = goal
		h.run(e)
		h.p.n.write(func() { h.stored.start(goal) }, func() {})
	})
}

func (s *stored) start(base shard.LSN) {
	s.log.base = max(s.log.base, base)
	s.confirmed = max(s.confirmed, base)
}

// installing reports whether another start of the log is under way to the disk.
func (h *host) installing() bool { return h.log.base != h.stored.log.base }

// isFilling reports whether a peer is getting on with a snapshot, and forgets the transfers that are over.
func (h *host) isFilling() bool {
	if len(h.fills) == 0 {
		return false
	}
	under := false
	for _, p := range h.copy.Status().Peers {
		x := h.fills[p.Copy]
		switch {
		case x == nil:
		case !p.Filling || h.p.n.local() > x.moved+fillPatience:
			delete(h.fills, p.Copy)
		default:
			under = true
		}
	}
	return under
}

// fill begins to send the shard snapshot to a peer, or goes on.
func (h *host) fill(m replication.Install) {
	if h.term == nil || h.term.epoch != m.Epoch {
		return
	}
	x := h.fills[m.To]
	if x == nil || x.of.Base != m.Base {
		x = &filling{moved: h.p.n.local()}
		h.fills[m.To] = x
	}
	x.of = m
	h.pump(x)
}

// retard sends an Append, where logs are shortened sometimes late: at the latest just before the first part of the shard snapshot that its
// copy is sent meanwhile, which then finds the end of the snapshot there, and more.
func (h *host) retard(to *node, m replication.Append) {
	w := h.p.n.w
	if len(m.Records) < 2 || h.late[m.To] != nil || !w.chance(w.swarm.shorten/4) {
		h.send(to, m)
		return
	}
	left := false
	leave := func() {
		if !left {
			left = true
			delete(h.late, m.To)
			h.send(to, m)
		}
	}
	h.late[m.To] = leave
	w.after(w.between(0, latest), leave)
}

// pump sends the next part, or an empty one when the peer has them all and has not said that it has the log.
func (h *host) pump(x *filling) {
	w := h.p.n.w
	c, found := route.Named(h.term.placement, x.of.To)
	if !found || x.of.Base.LSN > h.log.base {
		return
	}
	end := min(x.taken+1+shard.LSN(w.dice.IntN(partsOf)), x.of.Base.LSN)
	m := part{x.of, x.taken, chain{records: h.log.records[:end:end], hashes: h.log.hashes[:end:end]}}
	if leave := h.late[x.of.To]; leave != nil {
		leave()
	}
	from := h.p.n
	w.send(from, w.node(c.Node), func(q *process) { q.admitted(func() { q.parted(&m, from) }) })
}

// parted hands a part of a snapshot to the copy it is for.
func (p *process) parted(m *part, from *node) {
	r := p.host(m.of.To)
	if r == nil {
		p.misses(from, replication.Nack{Shard: m.of.Shard, Copy: m.of.To, Epoch: m.of.Epoch, Why: replication.WrongCopy})
		return
	}
	r.stage(m, from)
}

// stage takes a part of a snapshot that follows what is staged, and tells what there is by then.
func (h *host) stage(m *part, from *node) {
	e, wanted := h.copy.Offer(m.of)
	if m.of.Epoch > h.from.epoch || h.from.node == nil {
		h.from = source{epoch: m.of.Epoch, node: from}
	}
	for _, n := range e.Nacks {
		from.w.send(h.p.n, from, func(p *process) { p.nack(h.p.n, n) })
	}
	h.run(e)
	if !wanted || h.busy || h.retired || h.installing() {
		return
	}
	s := h.staged
	if s == nil || s.base != m.of.Base || s.source != m.of.From {
		s = &staging{base: m.of.Base, source: m.of.From}
	}
	switch have := s.log.end(); {
	case m.after != have:
		h.tellStaged(m, have, from)
	case m.log.end() == have:
		h.install(m)
	default:
		next := &staging{s.base, s.source, m.log}
		h.staged = next
		h.p.n.write(func() { h.stored.staged = next }, func() {
			h.tellStaged(m, m.log.end(), from)
			h.install(m)
		})
	}
}

// install lets the snapshot take the log's place when m was its last part and is what is staged.
func (h *host) install(m *part) {
	s := h.staged
	if s == nil || s.base != m.of.Base || s.source != m.of.From || !m.last() || s.log.end() != m.log.end() || h.busy || h.retired || h.installing() {
		return
	}
	h.p.n.w.counts.Installed++
	h.run(h.copy.Install(m.of))
}

func (h *host) tellStaged(m *part, have shard.LSN, to *node) {
	from, of := h.p.n, m.of
	from.w.send(from, to, func(p *process) {
		for _, o := range p.hosts {
			if o.shard == of.Shard && o.id == of.From {
				o.filled(of, have)
			}
		}
	})
}

// filled takes a peer's answer to a part.
func (h *host) filled(of replication.Install, have shard.LSN) {
	x := h.fills[of.To]
	if h.term == nil || x == nil || x.of.Base != of.Base || !h.copy.Filling(of.To, of.Shard, of.Epoch) {
		return
	}
	x.moved, x.taken = h.p.n.local(), have
	if have < of.Base.LSN {
		h.pump(x)
	}
}

// starts judges a log that starts later: everything up to there is confirmed, as this copy has it, and durable here.
func (c *checker) starts(h *host, base shard.LSN) {
	t := c.of(h.shard)
	if t.outlived(h) {
		return
	}
	if t.confirmed.end() < base || h.log.at(base) != t.confirmed.at(base) || h.stored.log.end() < base {
		c.w.fail("I6: %s on %s: the log is to start after %d, confirmed is %d, durable %d", h.shard, h.p.n.id, base, t.confirmed.end(), h.stored.log.end())
	}
}

// replaces judges a snapshot that takes a log's place: it holds what is confirmed, and everything that the copy knew to be.
func (c *checker) replaces(h *host, s *staging) {
	t := c.of(h.shard)
	if t.outlived(h) {
		return
	}
	if acked := c.vowed(h); s.base.LSN < acked {
		c.w.fail("I7: %s on %s: a snapshot up to %d replaces the log, acknowledged is %d", h.shard, h.p.n.id, s.base.LSN, acked)
	}
	if base := s.base.LSN; t.confirmed.end() < base || s.log.at(base) != t.confirmed.at(base) || base < h.confirmed {
		c.w.fail("I6: %s on %s: a snapshot up to %d replaces the log, confirmed is %d, it knew %d", h.shard, h.p.n.id, base, t.confirmed.end(), h.confirmed)
	}
}

// replace makes the log what a snapshot that is staged makes it.
func (c *chain) replace(s *staging) {
	*c = s.log.shared()
	c.base = s.base.LSN
}

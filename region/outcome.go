package region

import (
	"time"

	"muster/region/route"
	"muster/replication"
	"muster/shard"
)

// collect turns what handlers did into one proposal and one round of reads.
func (h *host) collect(b *batch, now time.Duration) {
	reads := false
	for i, c := range b.finished {
		switch {
		case c.run.term != h.term:
			b.finished[i] = nil // its asker may use it again from here on
			h.leave(c, nil, h.elsewhere())
		case c.fault == nil && len(c.outcome.Events) > 0:
			b.finished[i] = nil // the proposal's now, or answered if that is refused
			h.term.proposal.add(c)
		default:
			reads = true
		}
	}
	if h.term == nil {
		return
	}
	h.propose(now)
	if reads {
		h.verify(b.finished, now)
	}
}

// propose hands the gathered records to the protocol and holds the replies back.
func (h *host) propose(now time.Duration) {
	p := &h.term.proposal
	if p.pending() == 0 {
		return
	}
	effects, err := h.protocol.Propose(p.records)
	if err != nil {
		// The cells are ahead of a log that did not take their records. They go, and so does the term.
		h.log.Error("proposal refused", "error", err)
		epoch := h.term.epoch
		effects = h.protocol.Follow(epoch)
		effects.Deposed = false
		h.depose(h.elsewhere())
		h.do(effects)
		h.tell(shard.Report{Kind: shard.ReportRecover, Epoch: epoch})
		return
	}
	for i, c := range p.calls {
		if c == nil {
			continue
		}
		c.at, c.expires = p.records[i].LSN, now+h.spec.AckTimeout
		c.run.of.last = c.at
		h.outputs.records.push(c)
		if c.state != nil {
			h.term.snapshots.push(snapshot{c.env.Entity, c.at, c.seq, c.state})
			c.state = nil
		}
	}
	p.lend()
	h.do(effects)
}

// verify makes answers without a record, which are all that is left of what finished, wait for whatever their handlers saw, and, while the
// lease does not run, for a round. Where the records beside them were refused the term is over.
func (h *host) verify(finished []*call, now time.Duration) {
	for _, c := range finished {
		if c == nil {
			continue
		}
		if h.term == nil {
			h.leave(c, nil, h.elsewhere())
			continue
		}
		c.read, c.at, c.expires = true, c.run.of.last, now+h.spec.AckTimeout
		h.outputs.reads.push(c)
	}
	if h.term != nil && !h.leased() {
		h.askAround()
	}
}

// leased reports whether this process alone has served the shard until now, by its lease and the map.
func (h *host) leased() bool {
	r := h.region
	until := r.cfg.Directory.LeaseUntil() // before the map
	return h.def.LeasedReads() && route.Leased(r.view.Load(), r.self(), h.id, h.term.epoch, until, r.cfg.Clock())
}

// askAround begins a round for the reads that cannot go by the lease.
func (h *host) askAround() {
	round, effects := h.protocol.Read()
	if round == 0 {
		for _, c := range h.outputs.reads.take() {
			h.leave(c, nil, h.elsewhere())
		}
	}
	h.outputs.ask(round)
	h.do(effects)
}

// settle lets answers leave whose grounds are confirmed, then does what waited for the confirmation.
func (h *host) settle(now time.Duration) {
	if h.term == nil {
		return
	}
	if h.outputs.len() > 0 && !h.region.muted(h.registered()) {
		h.release()
	}
	if h.term != nil && !h.term.handing.Paused {
		h.snapshots(now)
	}
	if h.term == nil {
		return // a write was refused
	}
	h.unstick()
	h.cells.shrink(h.storage.confirmed)
}

// release lets the answers leave whose grounds are there. What a read saw is confirmed before the lease is looked at.
func (h *host) release() {
	leased := h.outputs.reads.len() > 0 && h.leased()
	if !leased && h.outputs.unasked() {
		h.askAround()
		h.flush() // it may be verified already
	}
	if h.term != nil {
		h.outputs.settled(h.storage.confirmed, h.out.round, leased, h.answer)
	}
}

// answer sends a confirmed outcome. An outcome without a record is kept for a duplicate.
func (h *host) answer(c *call) {
	fault := c.fault
	if fault == nil {
		fault = faultOf(&c.outcome)
	}
	if c.read {
		h.keep(c, c.outcome.Reply, fault)
	}
	h.leave(c, c.outcome.Reply, fault)
}

// keep remembers the answer to a request that left no record.
func (h *host) keep(c *call, reply []byte, fault *shard.Error) {
	w := h.storage.requests.sessions[c.env.Request.Session]
	if w == nil || c.env.Request.Number < w.floor {
		return
	}
	k := &kept{digest: c.env.Digest(), fault: fault, reply: reply, lost: len(reply) > maxKeptReply}
	if k.lost {
		k.reply = nil
	}
	w.put(request{number: c.env.Request.Number, kept: k})
}

// expire makes outputs unknown that waited for longer than the type's ack_timeout. Their records stay.
func (h *host) expire(now time.Duration) {
	h.outputs.expired(now, func(c *call, recorded bool) {
		fault := &shard.Error{
			Code: shard.CodeUnconfirmed, Shard: h.id, Epoch: h.term.epoch,
			Detail: "not confirmed within ack_timeout: it waits for " + h.awaited(),
		}
		if recorded {
			fault.Outcome = shard.Unknown
		} else {
			h.keep(c, nil, fault)
		}
		h.leave(c, nil, fault)
	})
}

// snapshots proposes the states whose records are confirmed by now.
func (h *host) snapshots(now time.Duration) {
	t := h.term
	for t.snapshots.len() > 0 && t.snapshots.front().at <= h.storage.confirmed {
		s := t.snapshots.pop()
		if !h.storage.heads.wants(s.entity, s.seq) {
			continue // one was taken for the log's sake meanwhile, and is confirmed
		}
		t.proposal.put(replication.Record{Kind: replication.KindSnapshot, Entity: s.entity, Seq: s.seq, Body: s.state}, nil)
	}
	h.propose(now)
}

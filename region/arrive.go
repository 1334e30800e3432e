package region

import (
	"muster/entity"
	"muster/journal"
	"muster/shard"
)

// arrive admits a call to its entity, unless it is a duplicate or this copy does not serve.
func (h *host) arrive(c *call) {
	if fault := h.refuses(c); fault != nil {
		h.leave(c, nil, fault)
		return
	}
	id := c.env.Request
	if id.Session == 0 {
		h.admit(c)
		return
	}
	w, fault := h.storage.requests.admitted(h.region.view.Load(), h.id, id.Session)
	if fault != nil {
		h.leave(c, nil, fault)
		return
	}
	if id.Number >= w.floor {
		w.raise(min(c.env.Floor, id.Number))
	}
	switch q := w.find(id.Number); {
	case id.Number < w.floor:
		h.leave(c, nil, shard.Unknownf(shard.CodeRequestTooOld, "request %d of session %d: its sender no longer awaits numbers below %d", id.Number, id.Session, w.floor))
	case q != nil:
		h.again(c, q)
	case w.open.len() >= maxOpen:
		h.leave(c, nil, shard.Errorf(shard.CodeOverloaded, "session %d has %d open requests in shard %s", id.Session, w.open.len(), h.id))
	default:
		w.put(request{number: id.Number, call: c})
		h.admit(c)
	}
}

// refuses says why no call, or not this one, can run here now.
func (h *host) refuses(c *call) *shard.Error {
	switch t := h.term; {
	case t == nil || !t.serving:
		return &shard.Error{Code: shard.CodeUnavailable, Shard: h.id, Epoch: h.current(), Detail: "this copy does not serve yet"}
	case c.epoch < t.epoch:
		return &shard.Error{Code: shard.CodeMoved, Shard: h.id, Epoch: t.epoch, Node: h.region.cfg.Node, Addr: h.region.cfg.Port.Addr()}
	case c.epoch > t.epoch:
		return &shard.Error{Code: shard.CodeBehind, Shard: h.id, Epoch: t.epoch}
	case h.storage.last-h.storage.confirmed >= maxUnsettled:
		return &shard.Error{Code: shard.CodeOverloaded, Shard: h.id, Epoch: t.epoch, Detail: "too many records wait for confirmation: the shard waits for " + h.awaited()}
	case h.storage.crowded:
		return shard.Errorf(shard.CodeOverloaded, "the journal of node %s has more than %d bytes waiting to be written", h.region.cfg.Node, journal.MaxQueuedBytes)
	case h.def == nil:
		return shard.Errorf(shard.CodeUnknownType, "node %s holds a copy of %s but does not define the type", h.region.cfg.Node, h.id)
	}
	return nil
}

// again answers a duplicate with what its first attempt came to, or makes it wait for that.
func (h *host) again(c *call, q *request) {
	switch {
	case q.call != nil && q.call.env.Digest() != c.env.Digest():
		h.leave(c, nil, reused(c))
	case q.call != nil:
		q.call.join(c)
	case q.kept != nil && q.at > 0 && h.region.muted(h.registered()): // it may be given up by now
		h.leave(c, nil, &shard.Error{Code: shard.CodeUnconfirmed, Shard: h.id, Epoch: h.term.epoch, Outcome: shard.Unknown, Detail: "it waits for " + h.awaited()})
	case q.kept != nil:
		h.againKept(c, q.kept)
	default:
		h.againRecorded(c, q.at)
	}
}

func (h *host) againKept(c *call, k *kept) {
	switch {
	case k.digest != c.env.Digest():
		h.leave(c, nil, reused(c))
	case k.lost:
		h.leave(c, nil, shard.Unknownf(shard.CodeRequestTooOld, "request %d was answered, its reply is not kept", c.env.Request.Number))
	default:
		h.leave(c, k.reply, k.fault)
	}
}

// againRecorded reads the first attempt's reply from its record and sends it once the record is confirmed.
func (h *host) againRecorded(c *call, at shard.LSN) {
	r, err := h.storage.record(at)
	var out entity.Outcome
	if err == nil {
		out, err = entity.DecodeOutcome(r.Body)
	}
	switch {
	case err != nil:
		h.log.Error("cannot read the record of a repeated request", "lsn", at, "error", err)
		h.leave(c, nil, shard.Unknownf(shard.CodeInternal, "read record %d of %s: %v", at, h.id, err))
		h.rotten(err)
	case out.Digest != c.env.Digest():
		h.leave(c, nil, reused(c))
	case at <= h.storage.confirmed && !h.region.muted(h.registered()):
		h.leave(c, out.Reply, faultOf(&out))
	default:
		h.await(c, at, out)
	}
}

// await makes a duplicate wait for the record of its first attempt.
func (h *host) await(c *call, at shard.LSN, out entity.Outcome) {
	waiting, i := h.outputs.record(at)
	if waiting != nil {
		waiting.join(c)
		return
	}
	c.outcome, c.at, c.expires = out, at, h.region.now()+h.spec.AckTimeout
	h.outputs.insert(i, c)
}

func reused(c *call) *shard.Error {
	return shard.Errorf(shard.CodeRequestReused, "request %d of session %d came with another payload before", c.env.Request.Number, c.env.Request.Session)
}

func faultOf(o *entity.Outcome) *shard.Error { return o.Refusal }

// admit puts a call into its entity's mailbox and starts the handlers if none run.
func (h *host) admit(c *call) {
	if c.late() {
		h.unremembered(c, shard.Errorf(shard.CodeTimeout, "the deadline passed before the command ran"))
		return
	}
	r := h.cells.touch(c.env.Entity)
	if r.mailbox.len() >= h.region.limits.Mailbox && !c.oneWay {
		h.unremembered(c, shard.Errorf(shard.CodeOverloaded, "entity %s has %d commands waiting, more than Mailbox allows", c.env.Entity, r.mailbox.len()))
		return
	}
	r.mailbox.push(c)
	h.start(r)
}

// unremembered refuses a call as if it had never come, so that a retry may run.
func (h *host) unremembered(c *call, fault *shard.Error) {
	h.storage.requests.drop(c.env.Request)
	h.leave(c, nil, fault)
}

// start runs the handlers of what waits for the entity, after loading it if need be.
func (h *host) start(r *resident) {
	if r.run != nil || r.loading || r.mailbox.len() == 0 || h.term.handing.Paused {
		return
	}
	if r.cell == nil && !h.reload(r) {
		return
	}
	r.run = h.cells.runs.next()
	*r.run = run{host: h, term: h.term, of: r, cell: r.cell, calls: r.mailbox.take(), every: h.def.SnapshotEvery()}
	for _, c := range r.run.calls {
		c.run = r.run
	}
	h.region.workers.start(r.run)
}

// ended frees the cell of a run that is over.
func (h *host) ended(e *run) {
	if e.term != h.term {
		for _, c := range e.calls[e.done:] {
			h.leave(c, nil, h.elsewhere())
		}
		return
	}
	r := e.of
	r.run = nil
	if e.cell.Spoiled() {
		h.flush() // what the commands before the one that spoiled it recorded is noted only there, and has to be read back
		r.cell = nil
		waiting := append(e.calls[e.done:], r.mailbox.take()...)
		r.mailbox = queue[*call]{items: waiting}
	} else {
		r.mailbox.reuse(e.calls)
	}
	h.cells.runs.over(e)
	h.start(r)
}

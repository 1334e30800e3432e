package region

import (
	"context"

	"muster/region/route"
	"muster/replication"
	"muster/shard"
)

// tenure is the part that this copy plays in its shard. Owned by the host.
type tenure struct {
	term    *term              // nil unless this copy leads
	given   *replication.Given // what this process stepped down from, until the next primary serves; nil for nothing
	learner bool               // the copy does not count yet
}

// A term is the time in which this copy leads one epoch: from the election to the next Seal or higher epoch. Owned by
// the host; life is read by handlers.
type term struct {
	epoch     shard.Epoch
	placement *shard.Placement              // the newest of the epoch
	peers     map[shard.CopyID]shard.NodeID // where its copies are
	active    bool                          // the map says so
	serving   bool                          // and the log is on the write quorum
	untold    bool                          // a peer may not know that it serves
	life      context.Context               // of handlers
	end       context.CancelFunc
	proposal  proposal
	snapshots queue[snapshot]
	stuck     []*resident // entities to load once their records are durable
	handing   handing
	transfers map[shard.CopyID]*transfer // shard snapshots on their way to peers
	ahead     bool                       // entities were read that nobody had asked for
	wants     bool                       // another C is due: time matters
}

// A snapshot is an entity's state that is proposed once the record it was taken after is confirmed.
type snapshot struct {
	entity shard.EntityID
	at     shard.LSN
	seq    shard.Seq
	state  []byte
}

// place makes the copy what the newest map says it is.
func (h *host) place(p *shard.Placement) {
	_, h.learner = p.Learner(h.copy)
	if r := h.pulse.report.Load(); r != nil && r.Epoch < p.Epoch {
		h.pulse.want(nil)
	}
	h.succeeded(p)
	switch route.PartOf(p, h.copy, h.region.cfg.Directory.Session()) {
	case route.Lead:
		h.lead(p)
		h.configure(p)
	case route.Serve:
		h.lead(p) // an epoch that was handed over is active at once
		h.activate(p)
		h.configure(p)
	case route.Follow:
		h.do(h.protocol.Follow(p.Epoch))
	case route.Await: // the placement comes again with the session
	}
}

// lead begins the epoch that the map names this copy for. A copy that cannot, though the map of its session says so, has another one
// found: nobody else would, and the shard be served by no one.
func (h *host) lead(p *shard.Placement) {
	if h.term != nil && h.term.epoch >= p.Epoch || h.given != nil && h.given.Epoch >= p.Epoch {
		return
	}
	h.depose(h.elsewhere())
	life, end := context.WithCancel(h.region.workers.mark(h.region.life))
	h.term = &term{epoch: p.Epoch, placement: p, peers: nodesOf(p), life: life, end: end, transfers: map[shard.CopyID]*transfer{}}
	effects, err := h.protocol.Lead(h.leadership(p))
	if err != nil {
		h.log.Warn("cannot lead", "epoch", p.Epoch, "error", err)
		h.depose(h.elsewhere())
		h.tell(shard.Report{Kind: shard.ReportRecover, Epoch: p.Epoch})
		return
	}
	effects.Deposed = false // of an older epoch: done above
	h.log.Debug("leads", "epoch", p.Epoch, "last", h.storage.last)
	h.do(effects)
}

// elsewhere is what callers hear when this copy stops leading: ask again, the next primary knows.
func (h *host) elsewhere() *shard.Error {
	return &shard.Error{Code: shard.CodeUnavailable, Shard: h.id, Epoch: h.current(), Detail: "the shard got another primary"}
}

// current is the lowest epoch in which the shard may be served, as far as this copy knows.
func (h *host) current() shard.Epoch {
	e := h.protocol.Status().Promised
	if h.given != nil {
		e = max(e, h.given.Epoch+1)
	}
	return e
}

// activate begins to serve, or will when the log is on the write quorum. A map that is older than what this copy has promised since
// changes nothing.
func (h *host) activate(p *shard.Placement) {
	if h.term == nil || h.term.epoch != p.Epoch || h.term.active {
		return
	}
	h.term.active = true
	h.do(h.protocol.Activate(p.Version))
	h.serve()
}

// established goes on with a log that is on the write quorum: it asks for the epoch to be activated, or begins to serve.
func (h *host) established() {
	if h.term.active {
		h.serve()
		return
	}
	h.tell(shard.Report{Kind: shard.ReportEstablished, Epoch: h.term.epoch, Version: h.protocol.Status().Version})
}

// serve begins to serve if the epoch is both active and established.
func (h *host) serve() {
	t := h.term
	if t == nil || t.serving || !h.protocol.Serves() {
		return
	}
	t.serving, t.untold = true, true
	h.pulse.want(nil)
	h.log.Debug("serves", "epoch", t.epoch, "held", t.handing.held.len())
}

// announce lets the other copies know that this one serves: whoever handed the shard over measures how long that took.
func (h *host) announce() {
	if h.term == nil || !h.term.untold {
		return
	}
	effects, all := h.protocol.Tell()
	h.term.untold = !all
	h.do(effects)
}

// admitHeld lets in what waited for the shard to be served, before what comes now.
func (h *host) admitHeld() {
	t := h.term
	if t == nil || !t.serving || t.handing.Paused || t.handing.held.len() == 0 {
		return
	}
	for _, c := range t.handing.held.take() {
		h.arrive(c)
	}
}

// refuseLate gives up calls whose deadline passes before the shard is served.
func (h *host) refuseLate() {
	t := h.term
	if t == nil || t.serving || t.handing.held.len() == 0 {
		return
	}
	t.handing.held.filter(func(c *call) bool {
		if !c.late() {
			return true
		}
		h.leave(c, nil, shard.Errorf(shard.CodeTimeout, "the deadline passed before the shard was served: it waits for %s", h.awaited()))
		return false
	})
}

// tell reports to the coordinator until the map shows the effect, or something else is to be told. A report that names no
// copy is about this one.
func (h *host) tell(r shard.Report) {
	r.Shard = h.id
	if r.Copy == 0 {
		r.Copy = h.copy
	}
	if last := h.pulse.report.Load(); last != nil && *last == r {
		return
	}
	h.pulse.want(&r)
	h.region.cfg.Directory.Report(r)
}

// depose ends the term, if there is one. Cells hold what may never be confirmed, so they go. Whoever waits is told to ask
// again with the same request id: the next primary knows what became of the record. A nil fault stands for the node's end.
func (h *host) depose(fault *shard.Error) {
	t := h.term
	if t == nil {
		return
	}
	if fault == nil {
		fault = closedFault(h.id)
	}
	h.term = nil
	t.end()
	h.pulse.want(nil)
	recorded := *fault
	recorded.Outcome = shard.Unknown
	for _, c := range t.proposal.calls {
		h.leave(c, nil, fault) // never proposed
	}
	for _, c := range h.outputs.records.take() {
		h.leave(c, nil, &recorded)
	}
	for _, c := range h.outputs.reads.take() {
		h.leave(c, nil, fault)
	}
	for _, r := range h.cells.residents {
		for _, c := range r.mailbox.take() {
			h.leave(c, nil, fault)
		}
	}
	for _, c := range t.handing.held.take() {
		h.leave(c, nil, fault)
	}
	h.cells = newCells(h.cells.limit)
	h.storage.requests.depose()
	h.storage.tail.reset()
	h.log.Debug("leads no more", "epoch", t.epoch)
}

// leave answers a call for good.
func (h *host) leave(c *call, reply []byte, fault *shard.Error) {
	h.load.leave(c)
	c.reply(reply, fault)
}

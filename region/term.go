package region

import (
	"context"

	"muster/replication"
	"muster/shard"
)

// A term is the time in which this copy leads one epoch: from the election to the next Seal or higher epoch. Owned by
// the host; life is read by handlers.
type term struct {
	epoch       shard.Epoch
	peers       map[shard.CopyID]shard.NodeID // where the copies are
	established bool                          // the log is on the write quorum
	serving     bool                          // the map says active
	life        context.Context               // of handlers
	end         context.CancelFunc
	proposal    proposal
	snapshots   queue[snapshot]
	stuck       []*resident // entities to load once their records are durable
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
	session := h.region.cfg.Directory.Session()
	mine := p.Primary == h.copy && p.Session == session
	switch {
	case p.Primary == h.copy && p.Session > session:
		// Elected for a session that this process is granted and has not adopted yet. The placement comes again then.
	case mine && p.Status == shard.Establishing:
		h.lead(p)
	case mine && p.Status == shard.Active:
		h.activate(p)
	default:
		h.do(h.protocol.Follow(p.Epoch))
	}
}

// lead begins the epoch that the map elected this copy for.
func (h *host) lead(p *shard.Placement) {
	if h.term != nil && h.term.epoch >= p.Epoch {
		return
	}
	h.depose(h.elsewhere())
	copies, peers := make([]shard.CopyID, len(p.Copies)), make(map[shard.CopyID]shard.NodeID, len(p.Copies))
	for i, c := range p.Copies {
		copies[i], peers[c.ID] = c.ID, c.Node
	}
	life, end := context.WithCancel(h.region.life)
	h.term = &term{epoch: p.Epoch, peers: peers, life: life, end: end}
	effects, err := h.protocol.Lead(replication.Leadership{
		Epoch: p.Epoch, Version: p.Version, Copies: copies, WriteQuorum: p.WriteQuorum,
	})
	if err != nil {
		h.log.Warn("cannot lead", "epoch", p.Epoch, "error", err)
		h.depose(h.elsewhere())
		return
	}
	effects.Deposed = false // of an older epoch: done above
	h.log.Debug("leads", "epoch", p.Epoch, "last", h.storage.last)
	h.do(effects)
}

// elsewhere is what callers hear when this copy stops leading: ask again, the next primary knows.
func (h *host) elsewhere() *shard.Error {
	return &shard.Error{Code: shard.CodeUnavailable, Shard: h.id, Epoch: h.protocol.Status().Promised, Detail: "the shard got another primary"}
}

// activate begins to serve. A map that is older than what this copy has promised since changes nothing.
func (h *host) activate(p *shard.Placement) {
	if h.term == nil || h.term.epoch != p.Epoch || h.term.serving {
		return
	}
	h.do(h.protocol.Activate(p.Version))
	h.term.serving = h.term != nil
	h.pulse.want(nil)
}

// report tells the coordinator about this copy until the map shows the effect.
func (h *host) report(kind shard.ReportKind) {
	st := h.protocol.Status()
	r := &shard.Report{Kind: kind, Shard: h.id, Copy: h.copy, Epoch: h.term.epoch, Version: st.Version}
	h.pulse.want(r)
	h.region.cfg.Directory.Report(*r)
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

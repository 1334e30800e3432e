package region

import (
	"muster/replication"
	"muster/shard"
)

// configure tells the protocol what the map says about the epoch that this copy leads: C, the learners, the version.
func (h *host) configure(p *shard.Placement) {
	if h.term == nil || h.term.epoch != p.Epoch {
		return
	}
	h.term.placement, h.term.peers = p, nodesOf(p)
	h.do(h.protocol.Configure(h.leadership(p)))
	h.desire()
}

// leadership is a placement as the protocol needs it.
func (h *host) leadership(p *shard.Placement) replication.Leadership {
	return replication.LeadershipOf(p, h.registered())
}

// nodesOf tells where the copies and learners of a placement are.
func nodesOf(p *shard.Placement) map[shard.CopyID]shard.NodeID {
	nodes := make(map[shard.CopyID]shard.NodeID, len(p.Copies)+len(p.Learners))
	for _, c := range p.Copies {
		nodes[c.ID] = c.Node
	}
	for _, l := range p.Learners {
		nodes[l.Copy.ID] = l.Copy.Node
	}
	return nodes
}

// desire asks for another C when one is due, again and again until the map shows what became of it: a version that moved
// on. None is begun while the shard is being handed over; one that was begun holds the hand-over up.
func (h *host) desire() {
	t := h.term
	if t == nil || !t.active {
		return
	}
	wanted := h.protocol.Due(t.placement, replication.Patience(h.registered().AckTimeout))
	t.wants = wanted != nil
	switch last := h.pulse.report.Load(); {
	case wanted == nil && last != nil && last.Kind == shard.ReportReconfig:
		h.pulse.want(nil)
	case wanted == nil || t.handing.Paused || !h.protocol.Reconfigure(wanted):
	default:
		copies, err := shard.NewCopySet(wanted...)
		if err != nil {
			h.log.Error("the protocol wants a set of copies that cannot be", "copies", wanted, "error", err)
			return
		}
		h.tell(shard.Report{Kind: shard.ReportReconfig, Copies: copies, Epoch: t.epoch, Version: t.placement.Version})
	}
}

// deserted asks for another primary when this one is deserted, and reports whether it is. One that is heard again takes that back, for
// with no leader to hear it the report would stand until there is one, and cost the shard an epoch then.
func (h *host) deserted() bool {
	t := h.term
	if t == nil || !t.active {
		return false
	}
	patience := replication.Patience(h.registered().AckTimeout)
	if !h.protocol.Deserted(t.placement, patience, h.region.view.Load().Up, h.region.silent) {
		if last := h.pulse.report.Load(); last != nil && last.Kind == shard.ReportRecover {
			h.pulse.want(nil)
		}
		return false
	}
	h.tell(shard.Report{Kind: shard.ReportRecover, Epoch: t.epoch})
	return true
}

// registered is the type's configuration, which the node need not define itself to hold a copy.
func (h *host) registered() shard.Spec { return h.region.view.Load().Types[h.id.Type].Spec }

package region

import (
	"slices"

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

// leadership is a placement as the protocol needs it. Learners that their directory has not created yet are left out.
func (h *host) leadership(p *shard.Placement) replication.Leadership {
	l := replication.Leadership{Epoch: p.Epoch, Version: p.Version, WriteQuorum: p.WriteQuorum}
	for _, c := range p.Copies {
		l.Copies = append(l.Copies, c.ID)
	}
	for _, learner := range p.Learners {
		if learner.Copy.State == shard.CopyReady {
			l.Learners = append(l.Learners, replication.Learner{Copy: learner.Copy.ID, Replaces: h.room(p, learner.Replaces)})
		}
	}
	return l
}

// room returns the member that is to leave when a learner joins. A learner for which a full C has no room takes the place of a
// lost copy.
func (h *host) room(p *shard.Placement, replaces shard.CopyID) shard.CopyID {
	if _, member := p.Copy(replaces); member || len(p.Copies) <= h.registered().Replicas {
		return replaces
	}
	if i := slices.IndexFunc(p.Copies, func(c shard.Copy) bool { return c.State == shard.CopyLost }); i >= 0 {
		return p.Copies[i].ID
	}
	return replaces
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

// leaves reports whether a member of C is to go at once: the map has given up its data, or it was the shard's only copy and
// has handed over to this one.
func (t *term) leaves(id shard.CopyID) bool {
	c, ok := t.placement.Copy(id)
	return ok && (c.State == shard.CopyLost || id == t.placement.Retiring && id != t.placement.Primary)
}

// desire asks for another C when one is due, again and again until the map shows what became of it: a version that moved
// on. None is begun while the shard is being handed over; one that was begun holds the hand-over up.
func (h *host) desire() {
	t := h.term
	if t == nil || !t.serving {
		return
	}
	wanted := h.protocol.Wanted(h.patience(), t.leaves)
	if wanted != nil && !h.helps(wanted) {
		wanted = nil
	}
	t.wants = wanted != nil
	switch last := h.pulse.report.Load(); {
	case wanted == nil && last != nil && last.Kind == shard.ReportReconfig:
		h.pulse.want(nil)
	case wanted == nil || t.handing.paused || !h.protocol.Reconfigure(wanted):
	default:
		copies, err := shard.NewCopySet(wanted...)
		if err != nil {
			h.log.Error("the protocol wants a set of copies that cannot be", "copies", wanted, "error", err)
			return
		}
		h.tell(shard.Report{Kind: shard.ReportReconfig, Copies: copies, Epoch: t.epoch, Version: t.placement.Version})
	}
}

// helps reports whether a change is worth proposing. One that leaves copies out is not unless a write quorum of the others
// answers: the shard would confirm no more than before, and whoever comes back first could be the one left out.
func (h *host) helps(wanted []shard.CopyID) bool {
	s, patience := h.protocol.Status(), h.patience()
	answering := 1
	for _, p := range s.Peers {
		switch joins := slices.Contains(wanted, p.Copy); {
		case joins && p.Learner, s.Change != nil:
			return true
		case joins && p.Silent < patience:
			answering++
		}
	}
	return answering >= h.term.placement.WriteQuorum
}

// patience is how many ticks a member of C may owe an answer before it is left out: twice the type's ack_timeout.
func (h *host) patience() int { return int(2 * h.registered().AckTimeout / replication.TickInterval) }

// registered is the type's configuration, which the node need not define itself to hold a copy.
func (h *host) registered() shard.Spec { return h.region.view.Load().Types[h.id.Type].Spec }

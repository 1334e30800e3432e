package region_test

import (
	"slices"

	"muster/shard"
)

// moved acts on reports by which copies come, go and change places, and reports whether it did.
func (g *group) moved(p *shard.Placement, r shard.Report) bool {
	_, learns := p.Learner(r.Copy)
	mine := r.Epoch == p.Epoch && r.Version == p.Version && p.Status == shard.Active
	switch {
	case r.Kind == shard.ReportReady && learns:
		g.edit(r.Shard, func(p *shard.Placement) {
			p.Learners = slices.Clone(p.Learners)
			for i := range p.Learners {
				if p.Learners[i].Copy.ID == r.Copy {
					p.Learners[i].Copy.State = shard.CopyReady
				}
			}
		})
	case r.Kind == shard.ReportReconfig && mine:
		g.edit(r.Shard, since(p, func(p *shard.Placement) { reconfigured(p, r.Copies.IDs()) }))
	case r.Kind == shard.ReportHandoff && mine:
		g.edit(r.Shard, since(p, func(p *shard.Placement) { g.handedOver(p, r) }))
	default:
		return false
	}
	return true
}

func reconfigured(p *shard.Placement, ids []shard.CopyID) {
	in := func(c shard.Copy) bool { return slices.Contains(ids, c.ID) }
	p.Copies = slices.DeleteFunc(slices.Clone(p.Copies), func(c shard.Copy) bool { return !in(c) })
	var rest []shard.Learner
	for _, l := range p.Learners {
		if in(l.Copy) {
			p.Copies = append(p.Copies, l.Copy)
		} else {
			rest = append(rest, l)
		}
	}
	p.Learners = rest
	p.Version++
}

func (g *group) handedOver(p *shard.Placement, r shard.Report) {
	to := shard.NodeID(r.Detail)
	if r.Copy != 0 {
		c, _ := p.Copy(r.Copy)
		to = c.Node
	}
	p.Epoch, p.Status, p.Primary, p.Node = p.Epoch+1, shard.Establishing, r.Copy, to
	p.Session, p.ActiveSession, p.HandTo, p.HandNode = g.view.Members[to].Session, 0, 0, ""
	if r.Copy != 0 && !g.inTwo.Load() {
		activated(p)
	}
}

// learn mints a copy on the node that is to join C, in the place of the copy on another node if that is not nil.
func (g *group) learn(id shard.ID, on, insteadOf *node) {
	g.t.Helper()
	g.edit(id, func(p *shard.Placement) {
		g.copies++
		l := shard.Learner{Copy: shard.Copy{ID: g.copies, Node: on.id, Directory: on.directory, State: shard.CopyMinted}}
		if insteadOf != nil {
			c, _ := p.CopyOn(insteadOf.directory)
			l.Replaces = c.ID
		}
		p.Learners = append(slices.Clone(p.Learners), l)
	})
}

// wish asks the primary to hand over to the node, nobody when it is nil.
func (g *group) wish(id shard.ID, to *node) {
	g.t.Helper()
	g.edit(id, func(p *shard.Placement) {
		p.HandTo, p.HandNode = 0, ""
		if to != nil {
			c, _ := p.CopyOn(to.directory)
			p.HandTo, p.HandNode = c.ID, to.id
		}
	})
}

// ignore has reports of the kind not acted upon, 0 for none.
func (g *group) ignore(kind shard.ReportKind) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.deaf = kind
}

// served waits until the node serves the shard.
func (g *group) served(id shard.ID, by *node) {
	g.t.Helper()
	until(g.t, string(by.id)+" serves "+id.String(), func() bool {
		p := g.placement(id)
		return p.Status == shard.Active && p.Node == by.id
	})
}

// members waits until C is on these nodes.
func (g *group) members(id shard.ID, nodes ...int) {
	g.t.Helper()
	var want []shard.NodeID
	for _, i := range nodes {
		want = append(want, g.nodes[i].id)
	}
	slices.Sort(want)
	until(g.t, "C has other members", func() bool {
		var have []shard.NodeID
		for _, c := range g.placement(id).Copies {
			have = append(have, c.Node)
		}
		slices.Sort(have)
		return slices.Equal(have, want)
	})
}

// holds reports whether the node's journal has a copy of the shard.
func (n *node) holds(id shard.ID) bool {
	for _, c := range n.journal.Copies() {
		if c.Shard == id {
			return true
		}
	}
	return false
}

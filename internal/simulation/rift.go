package simulation

import (
	"maps"
	"slices"
	"time"

	"muster/fsm"
	"muster/region/route"
	"muster/shard"
)

// A rift goes through a shard at the worst moment: when its C is about to change, or has, or when its primary has just stepped down.
// The primary is left with no more copies than would make a quorum, of the C that it is wrong to ask alone, and hears nothing of what the
// others make of it; reads are asked of it all the while. Or the change is long in coming, and the copies that would stay are slow.

func (w *world) rifts() bool {
	return !w.healed && !w.torn && w.now >= warmUp && w.chance(w.swarm.rift)
}

// proposed does something about a change of C that a primary is about to ask for, and reports whether the request is on its way. It
// is not when the shard is torn apart: the primary keeps those that would join.
func (w *world) proposed(h *host, wanted []shard.CopyID, r shard.Report) (sent bool) {
	switch {
	case !w.rifts():
		return false
	case w.chance(0.5):
		w.stretch(h, wanted, r)
		return true
	}
	var join, stay []*node
	p := h.term.placement
	for _, id := range wanted {
		if l, learns := p.Learner(id); learns {
			join = append(join, w.node(l.Copy.Node))
		} else if c, member := p.Copy(id); member {
			stay = append(stay, w.node(c.Node))
		}
	}
	w.rift(p, join, stay)
	return false
}

// decided tears a shard apart along a change of C that the group has made: its primary does not hear of it, and keeps those that have
// left.
func (w *world) decided(before, p *shard.Placement) {
	if p.Status != shard.Active || p.Epoch != before.Epoch || slices.Equal(before.Copies, p.Copies) || !w.rifts() {
		return
	}
	var left, stay []*node
	for _, c := range before.Copies {
		if _, in := p.Copy(c.ID); in {
			stay = append(stay, w.node(c.Node))
		} else {
			left = append(left, w.node(c.Node))
		}
	}
	w.rift(p, left, stay)
}

// stretch has the request come late: when the map has changed otherwise and the copies that would stay have not synced for a while, or
// when a copy that would go is about to be handed the lead.
func (w *world) stretch(h *host, wanted []shard.CopyID, r shard.Report) {
	p, late := h.term.placement, w.between(100*time.Millisecond, 300*time.Millisecond)
	goes := slices.IndexFunc(p.Copies, func(c shard.Copy) bool { return c.State == shard.CopyReady && !slices.Contains(wanted, c.ID) })
	if goes >= 0 && w.chance(0.5) {
		w.order(&fsm.Wish{Items: []fsm.Wishing{{Shard: h.shard, Epoch: p.Epoch, Version: p.Version, To: p.Copies[goes].ID}}})
	} else {
		w.distract(h, p, wanted, late)
	}
	w.counts.Torn++
	w.log("rift: %s asks for %v of %s, which takes %s", h.p.n.id, wanted, h.shard, late)
	h.p.after(late, func() { h.p.post(r) })
}

// distract has the map change, and the copies of a C that is wanted not sync for a while.
func (w *world) distract(h *host, p *shard.Placement, wanted []shard.CopyID, late time.Duration) {
	for _, id := range wanted {
		if c, _ := route.Named(p, id); id != h.id {
			w.node(c.Node).disk.stalled = w.now + 2*late
		}
	}
	to := p.Node
	if p.Pinned == to {
		to = ""
	}
	w.order(&fsm.Pin{Shard: h.shard, Node: to})
}

// rift parts the primary of a shard, and as many others as make a write quorum with it, from the rest: first those that only one of the
// two C has. It is nothing when there are none of these, or when the rest could not go on.
func (w *world) rift(p *shard.Placement, one, both []*node) {
	owner := w.node(p.Node)
	some := []*node{owner}
	for _, n := range append(one, both...) {
		if len(some) < p.WriteQuorum && n != owner {
			some = append(some, n)
		}
	}
	others := 0
	for _, c := range p.Copies {
		if n := w.node(c.Node); n.process != nil && c.State == shard.CopyReady && !slices.Contains(some, n) {
			others++
		}
	}
	l := w.raft.leader
	if len(one) == 0 || len(some) < 2 || others < max(p.WriteQuorum, p.RecoveryQuorum()) || l == nil || slices.Contains(some, l.n) || owner.process == nil {
		return
	}
	before := maps.Clone(w.net.cut)
	w.part(some, slices.DeleteFunc(slices.Clone(w.nodes), func(n *node) bool { return slices.Contains(some, n) }))
	if !w.raft.majority(l.n) {
		w.net.cut = before
		return
	}
	w.counts.Torn++
	w.log("rift: %s is cut off with %d copies of %s", owner.id, len(some)-1, p.Shard)
	w.interrogate(p.Shard, owner)
}

// steppedDown keeps the news from a primary that has given up its lead: what it says is heard, and it hears nothing.
func (w *world) steppedDown(h *host) {
	if h.term.placement.WriteQuorum > 1 || !w.rifts() {
		return // whom it would have to ask hears of the next epoch
	}
	w.counts.Torn++
	for _, other := range w.others(h.p.n) {
		w.cut(other, h.p.n)
	}
	w.log("rift: %s hears no more of %s", h.p.n.id, h.shard)
	w.interrogate(h.shard, h.p.n)
}

// interrogate asks a node for reads of a shard, for longer than a lease, and then mends the links. Nothing else befalls the nodes meanwhile.
func (w *world) interrogate(id shard.ID, n *node) {
	w.torn = true
	p, end := n.process, w.now+w.between(2*time.Second, 5*time.Second)
	var again func()
	again = func() {
		switch {
		case w.healed || n.process != p || w.now >= end:
			w.torn = false
			w.net.cut = map[[2]*node]bool{}
		default:
			if p.adopted() != 0 {
				w.read(id, p)
			}
			w.after(w.between(50*time.Millisecond, 300*time.Millisecond), again)
		}
	}
	again()
}

// read asks a shard for one of its entities through a process.
func (w *world) read(id shard.ID, via *process) {
	c := w.clients[0]
	op := c.draw()
	op.shard, op.entity, op.read, op.ends = id, pick(w, entityNames), true, func(*operation) {}
	via.begin(op, c)
}

package plan

import (
	"slices"
	"time"

	"muster/fsm"
	"muster/shard"
)

// follow looks what became of the moves under way: those that are done are forgotten, those that have lost their purpose are
// given up.
func (b *batch) follow() {
	m := &b.d.moving
	m.flights = slices.DeleteFunc(m.flights, func(f flight) bool { return b.over(f) })
	for i := range m.flights {
		f := &m.flights[i]
		p := b.view.Placement(f.Shard)
		if f.Kind == LeadMove {
			f.seen = f.seen || p.HandNode == f.To
			b.withdraw(f, p)
		} else if l, learns := learnerOn(p, f.To); learns {
			f.seen = true
			b.drop(f, p, l)
		}
	}
	for id, r := range m.stalled { //lint:maporder each entry is judged by itself
		if p := b.view.Placement(id); p == nil || !p.Wished() || p.Epoch > r.Epoch {
			delete(m.stalled, id)
		}
	}
}

// over reports whether a move is not under way any more. One that was proposed and does not show was refused or lost.
func (b *batch) over(f flight) bool {
	p := b.view.Placement(f.Shard)
	if p == nil {
		return true
	}
	if f.Kind == LeadMove && p.HandNode == f.To {
		return false
	}
	if _, learns := learnerOn(p, f.To); f.Kind == CopyMove && learns {
		return false
	}
	if f.seen || done(p, f.Move) {
		return true
	}
	if b.in.Now < f.since+b.d.Times.Retry {
		return false
	}
	b.d.moving.stale = true
	return true
}

func done(p *shard.Placement, m Move) bool {
	if m.Kind == LeadMove {
		return p.Node == m.To || p.Status != shard.Active
	}
	return slices.ContainsFunc(p.Copies, func(c shard.Copy) bool { return c.Node == m.To && c.State == shard.CopyReady })
}

func learnerOn(p *shard.Placement, node shard.NodeID) (shard.Learner, bool) {
	i := slices.IndexFunc(p.Learners, func(l shard.Learner) bool { return l.Copy.Node == node })
	if i < 0 {
		return shard.Learner{}, false
	}
	return p.Learners[i], true
}

// withdraw takes back a wish that the primary does not fulfil.
func (b *batch) withdraw(f *flight, p *shard.Placement) {
	if p.HandNode != f.To {
		return
	}
	r, stalled := b.d.moving.stalled[f.Shard]
	stalled = stalled && r.Epoch == p.Epoch && (r.Copy == 0 || r.Copy == p.HandTo)
	if !stalled && b.in.Now < f.since+b.d.Times.HandOver || !f.giveUp(b.in.Now, b.d.Times.Retry) {
		return
	}
	b.wish.add(
		fsm.Wishing{Shard: f.Shard, Epoch: p.Epoch, Version: p.Version},
		Note{Reason: HandoffStalled, Shard: f.Shard, Epoch: p.Epoch, Node: f.To, Copy: p.HandTo},
	)
	b.d.moving.rested[rest{f.Shard, ""}] = b.in.Now + b.d.Times.Again
}

// drop gives up a learner that is not wanted any more, or that does not come about.
func (b *batch) drop(f *flight, p *shard.Placement, l shard.Learner) {
	why := b.pointless(f, p, l)
	if why == "" || !f.giveUp(b.in.Now, b.d.Times.Retry) {
		return
	}
	b.unlearn.add(
		fsm.LearnerItem{Shard: f.Shard, Copy: l.Copy.ID},
		Note{Reason: why, Shard: f.Shard, Epoch: p.Epoch, Node: f.To, Copy: l.Copy.ID},
	)
	if why == LearnerStuck {
		b.d.moving.shunned[f.To] = shunning{b.view.Members[f.To].Session, b.in.Now + b.d.Times.Shun}
		b.d.moving.rested[rest{f.Shard, ""}] = b.in.Now + b.d.Times.Again
	}
}

// pointless says why a learner should be given up, "" when it should not.
func (b *batch) pointless(f *flight, p *shard.Placement, l shard.Learner) Reason {
	want := b.view.Types[p.Shard.Type].Spec.Replicas + 1
	c, member := p.Copy(l.Replaces)
	_, back := sessionOf(b.view, c)
	since, down := b.d.moving.absent[f.To]
	switch {
	case f.Reason == NodeGone && member && c.State == shard.CopyReady && back:
		return CopyBack
	case !member && len(p.Copies) >= want:
		return Surplus
	case member && c.ID == p.Primary && len(p.Copies) > 1 && !p.Wished():
		return LeadsNow // it was elected, or handed the lead, meanwhile, and a primary is replaced by nobody
	case down && b.in.Now >= since+b.d.Times.Place:
		return LearnerGone
	case b.view.Members[f.To].Draining:
		return NodeDrains
	case l.Copy.State == shard.CopyMinted && !down && b.in.Now >= f.since+b.d.Times.Create:
		return LearnerStuck
	}
	return ""
}

// giveUp reports whether giving the flight up may be proposed now, and notes that it is.
func (f *flight) giveUp(now, retry time.Duration) bool {
	if f.dropped != 0 && now < f.dropped+retry {
		return false
	}
	f.dropped = now
	return true
}

package plan

import (
	"cmp"
	"slices"

	"muster/fsm"
	"muster/shard"
)

// repair plans copies for shards that miss some, those with the fewest first, until more than enough is planned.
func (l *layout) repair(enough int) {
	type patient struct {
		t    *table
		row  int32
		live int
	}
	var patients []patient
	for _, t := range l.tables {
		for _, i := range t.ailing {
			live := 0
			for _, h := range t.of(i) {
				if h.ready && t.sites[h.site].up {
					live++
				}
			}
			patients = append(patients, patient{t, i, live})
		}
	}
	slices.SortStableFunc(patients, func(a, b patient) int { return cmp.Compare(a.live, b.live) })
	for _, p := range patients {
		if len(l.planned) > enough {
			return
		}
		p.t.complement(p.row)
	}
}

// complement plans the copies one shard misses: in place of lost ones, then of those on nodes that are given up, then new ones.
func (t *table) complement(i int32) {
	p := t.placement(i)
	missing := t.wide - int(t.n[i])
	type want struct {
		copy shard.CopyID
		why  why
	}
	var wants []want
	for _, c := range p.Copies {
		switch s := t.find(c.Node); {
		case isReplaced(p, c.ID) || c.ID == p.Retiring:
		case c.State == shard.CopyLost:
			wants = append(wants, want{c.ID, copyGone})
		case s == nowhere || t.sites[s].gone:
			wants = append(wants, want{c.ID, nodeGone})
		}
	}
	slices.SortStableFunc(wants, func(a, b want) int { return first(a.why == copyGone, b.why == copyGone) })
	for range missing - len(wants) {
		wants = append(wants, want{why: copyMissing})
	}
	for _, w := range wants[:missing] {
		to := t.room(i, nowhere)
		if to == nowhere {
			c, _ := p.Copy(w.copy)
			t.note(Note{Reason: NoRoom, Shard: p.Shard, Epoch: p.Epoch, Copy: w.copy, Node: c.Node, Have: int(t.n[i]), Want: t.wide})
			return
		}
		t.copyTo(i, nowhere, to, w.why, w.copy)
	}
}

// complete plans that only copies which have their successors in C hand over to them.
func (t *table) complete() {
	for _, i := range t.passing {
		p := t.placement(i)
		if to := t.successor(p); to != nowhere {
			t.handTo(i, to, copyMoved)
		} else {
			t.note(Note{Reason: AwaitHeir, Shard: p.Shard, Epoch: p.Epoch, Node: p.Node, Copy: p.Primary})
		}
	}
}

// vacateLeads plans that what leaving and draining nodes lead is led elsewhere.
func (t *table) vacateLeads() {
	for _, i := range t.closing {
		if t.lead[i] == nowhere || !t.sites[t.lead[i]].closing() {
			continue
		}
		w := nodeLeaves
		if t.sites[t.lead[i]].member.Draining {
			w = nodeDrains
		}
		p := t.placement(i)
		switch to := t.heir(i); {
		case to != nowhere:
			t.handTo(i, to, w)
		case w == nodeDrains && t.movesAlone(i):
			t.carryAway(i)
		case p.Retiring == 0: // of others complete has said it
			t.note(Note{Reason: AwaitHeir, Shard: p.Shard, Epoch: p.Epoch, Node: t.sites[t.lead[i]].member.ID, Copy: p.Primary})
		}
	}
}

// movesAlone reports whether the row is an only copy that could move with the lead.
func (t *table) movesAlone(i int32) bool {
	homes := t.of(i)
	return t.alone && len(homes) == 1 && homes[0].ready && homes[0].site == t.lead[i]
}

// carryAway plans that an only copy on a draining node moves.
func (t *table) carryAway(i int32) {
	if to := t.room(i, t.lead[i]); to != nowhere {
		t.carry(i, to, nodeDrains)
		return
	}
	p := t.placement(i)
	t.note(Note{Reason: NoRoom, Shard: p.Shard, Epoch: p.Epoch, Node: p.Node, Copy: p.Primary})
}

// heir returns the best site to lead the row now, nowhere when there is none. A cordoned one is the last resort: it has the
// copy already. One that may not host the type any more is none: the hand-over would end in an election.
func (t *table) heir(i int32) int32 {
	best := nowhere
	better := func(s int32) {
		if best == nowhere || cmp.Or(first(t.host[s], t.host[best]), cmp.Compare(t.leads[s], t.leads[best])) < 0 {
			best = s
		}
	}
	if t.spec.Volatile {
		for _, s := range t.hosts {
			better(s)
		}
		return best
	}
	for _, h := range t.of(i) {
		if s := &t.sites[h.site]; h.ready && s.up && !s.closing() && fsm.Eligible(s.member, t.spec) {
			better(h.site)
		}
	}
	return best
}

// vacateCopies plans copies elsewhere for those on draining nodes. What such a node still leads stays until it is led
// elsewhere.
func (t *table) vacateCopies() {
	for _, i := range t.closing {
		for _, h := range slices.Clone(t.of(i)) {
			if !t.sites[h.site].member.Draining || h.site == t.lead[i] || !h.ready {
				continue
			}
			if to := t.room(i, h.site); to != nowhere {
				t.relocate(i, h.site, to, nodeDrains)
				continue
			}
			p, node := t.placement(i), t.sites[h.site].member.ID
			t.note(Note{Reason: NoRoom, Shard: p.Shard, Epoch: p.Epoch, Copy: readyOn(p, node), Node: node})
		}
	}
}

// pins plans that shards are led where an operator wants them, first giving that node a copy if it has none.
func (t *table) pins() {
	for _, i := range t.pinned {
		p := t.placement(i)
		s := t.find(p.Pinned)
		if s == nowhere || s == t.lead[i] || t.lead[i] == nowhere || t.host[s] && t.alone && !t.movesAlone(i) {
			continue
		}
		if !t.host[s] || !t.pin(i, s) {
			t.note(Note{Reason: PinBlocked, Shard: p.Shard, Epoch: p.Epoch, Node: p.Pinned})
		}
	}
}

// pin plans that the row is led by the site, and reports whether it can be.
func (t *table) pin(i, s int32) bool {
	switch {
	case t.spec.Volatile || t.at(i, s) != nil:
	case t.taken(i, s):
		return false
	case t.alone:
		t.carry(i, s, isPinned)
		return true
	default:
		from := t.spare(i, s)
		if from == nowhere {
			return false
		}
		t.relocate(i, from, s, isPinned)
	}
	if h := t.at(i, s); t.passed[i] != 0 && !t.spec.Volatile && (h == nil || !h.ready) {
		return true // it has to be handed over now, so to a copy that there is; the pin is for the next plan
	}
	t.handTo(i, s, isPinned)
	return true
}

// successor returns the site of the copy that is to lead in place of the only one, nowhere while it cannot.
func (t *table) successor(p *shard.Placement) int32 {
	for _, c := range p.Copies {
		s := t.find(c.Node)
		if c.ID != p.Retiring && c.State == shard.CopyReady && s != nowhere && t.sites[s].up && fsm.Eligible(t.sites[s].member, t.spec) {
			return s
		}
	}
	return nowhere
}

// isPinnedTo reports whether an operator wants the row's primary on the site.
func (t *table) isPinnedTo(i, s int32) bool {
	return t.state[i]&hasPin != 0 && t.placement(i).Pinned == t.sites[s].member.ID
}

// spare returns the home that should give way to a copy on the site: it does not lead, its zone is best spared, its node has
// most.
func (t *table) spare(i, to int32) int32 {
	best, sharing := nowhere, 0
	for _, h := range t.of(i) {
		if !h.ready || h.site == t.lead[i] {
			continue
		}
		n := t.sharing(i, to, h.site) - t.sharing(i, h.site, h.site)
		if best == nowhere || cmp.Or(cmp.Compare(n, sharing), cmp.Compare(t.copies[best], t.copies[h.site])) < 0 {
			best, sharing = h.site, n
		}
	}
	return best
}

// spread plans that copies which share a zone part, where another zone has fewer of the shard.
func (t *table) spread() {
	for _, i := range t.crowded {
		if t.state[i]&active == 0 {
			continue
		}
		for range t.n[i] {
			if !t.part(i) {
				break
			}
		}
	}
}

func (t *table) part(i int32) bool {
	homes := t.of(i)
	for k := len(homes) - 1; k >= 0; k-- {
		h := homes[k]
		if !h.ready || h.site == t.lead[i] || !t.host[h.site] || t.isPinnedTo(i, h.site) {
			continue
		}
		others := t.sharing(i, h.site, h.site)
		if others == 0 {
			continue
		}
		if to := t.tactics.room(t, i, h.site); to != nowhere && t.sharing(i, to, h.site) < others {
			t.relocate(i, h.site, to, zoneSpread)
			return true
		}
	}
	return false
}

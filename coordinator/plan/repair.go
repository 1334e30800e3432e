package plan

import (
	"cmp"
	"slices"

	"muster/shard"
)

// repair plans copies for shards that miss some, those with the fewest first.
func (l *layout) repair() {
	type patient struct {
		t    *table
		row  *row
		live int
	}
	var all []patient
	for _, t := range l.tables {
		for _, i := range t.ailing {
			r := &t.rows[i]
			live := 0
			for _, h := range r.homes {
				if h.ready && t.sites[h.site].up {
					live++
				}
			}
			all = append(all, patient{t, r, live})
		}
	}
	slices.SortStableFunc(all, func(a, b patient) int { return cmp.Compare(a.live, b.live) })
	for _, p := range all {
		p.t.restore(p.row)
	}
}

// restore plans the copies one shard misses: in place of lost ones, then of those on nodes that are given up, then new ones.
func (t *table) restore(r *row) {
	missing := t.spec.Replicas + 1 - len(r.homes)
	var wants []Move
	for _, c := range r.p.Copies {
		switch s := t.find(c.Node); {
		case replaced(r.p, c.ID):
		case c.State == shard.CopyLost:
			wants = append(wants, Move{From: c.Node, Copy: c.ID, Reason: CopyGone})
		case s == nowhere || t.sites[s].gone:
			wants = append(wants, Move{From: c.Node, Copy: c.ID, Reason: NodeGone})
		}
	}
	slices.SortStableFunc(wants, func(a, b Move) int { return first(a.Reason == CopyGone, b.Reason == CopyGone) })
	for range missing - len(wants) {
		wants = append(wants, Move{Reason: CopyMissing})
	}
	for _, m := range wants[:missing] {
		to := t.room(r, nowhere)
		if to == nowhere {
			t.note(Note{Reason: NoRoom, Shard: r.p.Shard, Epoch: r.p.Epoch, Copy: m.Copy, Node: m.From, Have: len(r.homes), Want: t.spec.Replicas + 1})
			return
		}
		t.copyTo(r, nowhere, to, m)
	}
}

// complete plans that only copies which have their successors in C hand over to them.
func (t *table) complete() {
	for _, i := range t.passing {
		r := &t.rows[i]
		if to := t.heir(r); to != nowhere && to != r.lead {
			t.handTo(r, to, CopyMoved)
		} else {
			t.note(Note{Reason: AwaitHeir, Shard: r.p.Shard, Epoch: r.p.Epoch, Node: r.p.Node, Copy: r.p.Primary})
		}
	}
}

// vacateLeads plans that what leaving and draining nodes lead is led elsewhere.
func (t *table) vacateLeads() {
	for _, i := range t.closing {
		r := &t.rows[i]
		if r.lead == nowhere || !t.sites[r.lead].closing() {
			continue
		}
		why := NodeLeaves
		if t.sites[r.lead].member.Draining {
			why = NodeDrains
		}
		if to := t.heir(r); to != nowhere {
			t.handTo(r, to, why)
			continue
		}
		if t.alone() && why == NodeDrains && len(r.homes) == 1 && r.homes[0].ready && r.homes[0].site == r.lead {
			if to := t.room(r, r.lead); to != nowhere {
				t.carry(r, to, why)
			} else {
				t.note(Note{Reason: NoRoom, Shard: r.p.Shard, Epoch: r.p.Epoch, Node: r.p.Node, Copy: r.p.Primary})
			}
			continue
		}
		if r.p.Retiring != 0 {
			continue // complete has said it
		}
		t.note(Note{Reason: AwaitHeir, Shard: r.p.Shard, Epoch: r.p.Epoch, Node: t.sites[r.lead].member.ID, Copy: r.p.Primary})
	}
}

// heir returns the best site to lead the row now, nowhere when there is none. A cordoned one is the last resort: it has the
// copy already.
func (t *table) heir(r *row) int32 {
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
	for _, h := range r.homes {
		if s := &t.sites[h.site]; h.ready && s.up && !s.closing() {
			better(h.site)
		}
	}
	return best
}

// vacateCopies plans copies elsewhere for those on draining nodes. What such a node still leads stays until it is led
// elsewhere.
func (t *table) vacateCopies() {
	for _, i := range t.closing {
		r := &t.rows[i]
		for _, h := range slices.Clone(r.homes) {
			if !t.sites[h.site].member.Draining || h.site == r.lead || !h.ready {
				continue
			}
			to := t.room(r, h.site)
			if to == nowhere {
				t.note(Note{Reason: NoRoom, Shard: r.p.Shard, Epoch: r.p.Epoch, Copy: h.copy, Node: t.sites[h.site].member.ID})
				continue
			}
			t.relocate(r, h.site, to, NodeDrains)
		}
	}
}

// pins plans that shards are led where an operator wants them, first giving that node a copy if it has none.
func (t *table) pins() {
	for _, i := range t.pinned {
		r := &t.rows[i]
		s := t.find(r.p.Pinned)
		if s == nowhere || s == r.lead || r.lead == nowhere {
			continue
		}
		if !t.host[s] {
			t.note(Note{Reason: PinBlocked, Shard: r.p.Shard, Epoch: r.p.Epoch, Node: r.p.Pinned})
			continue
		}
		if t.alone() {
			if len(r.homes) == 1 && r.homes[0].ready && r.homes[0].site == r.lead && !t.taken(r, s) {
				t.carry(r, s, Pinned)
			}
			continue
		}
		if h := r.at(s); h == nil && !t.spec.Volatile {
			from := t.spare(r, s)
			if from == nowhere || t.taken(r, s) {
				t.note(Note{Reason: PinBlocked, Shard: r.p.Shard, Epoch: r.p.Epoch, Node: r.p.Pinned})
				continue
			}
			t.relocate(r, from, s, Pinned)
		}
		t.handTo(r, s, Pinned)
	}
}

// spare returns the home that should give way to a copy on the site: it does not lead, its zone is best spared, its node has
// most.
func (t *table) spare(r *row, to int32) int32 {
	best, sharing := nowhere, 0
	for _, h := range r.homes {
		if !h.ready || h.site == r.lead {
			continue
		}
		n := t.sharing(r, to, h.site) - t.sharing(r, h.site, h.site)
		if best == nowhere || cmp.Or(cmp.Compare(n, sharing), cmp.Compare(t.copies[best], t.copies[h.site])) < 0 {
			best, sharing = h.site, n
		}
	}
	return best
}

// spread plans that copies which share a zone part, where another zone has fewer of the shard.
func (t *table) spread() {
	for _, i := range t.crowded {
		r := &t.rows[i]
		if r.p.Status != shard.Active {
			continue
		}
		for range r.homes {
			if !t.part(r) {
				break
			}
		}
	}
}

func (t *table) part(r *row) bool {
	for k := len(r.homes) - 1; k >= 0; k-- {
		h := r.homes[k]
		if !h.ready || h.site == r.lead || !t.host[h.site] || r.p.Pinned == t.sites[h.site].member.ID {
			continue
		}
		others := t.sharing(r, h.site, h.site)
		if others == 0 {
			continue
		}
		if to := t.room(r, h.site); to != nowhere && t.sharing(r, to, h.site) < others {
			t.relocate(r, h.site, to, ZoneSpread)
			return true
		}
	}
	return false
}

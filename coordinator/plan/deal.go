package plan

import (
	"slices"

	"muster/shard"
)

// manyHosts is from how many hosts on new shards are dealt: weighing every host against every other for each shard takes too long
// then, and with so many no two share much by chance.
const manyHosts = 65

// chooser returns what chooses the nodes of a type's new shards one by one, the primary first, and counts them.
func (b *batch) chooser(spec shard.Spec, up []shard.Member) func(shard.Number) []shard.NodeID {
	if spec.Strategy != shard.Rendezvous && len(up) < manyHosts {
		return func(shard.Number) []shard.NodeID { return b.load().allocate(spec, up, nil) }
	}
	l := survey(b.view, func(shard.Member) bool { return false })
	t := l.tables[slices.IndexFunc(l.tables, func(t *table) bool { return t.spec.Name == spec.Name })]
	t.admit()
	sites := t.tactics.found(t)
	return func(n shard.Number) []shard.NodeID {
		var nodes []shard.NodeID
		for _, s := range sites(int32(n)) {
			nodes = append(nodes, t.sites[s].member.ID)
		}
		return nodes
	}
}

// dealer gives new shards to hosts as cards are dealt: the primary to one that leads least, the other copies to those that have
// least, zones first. Who comes first among equals is as good as drawn, so that when a node dies its shards fall to all the
// others and not to its neighbours.
type dealer struct {
	*table
	byLeads, byCopies *ranking
	aside             []int32
}

func newDealer(t *table) *dealer {
	d := &dealer{table: t}
	any := func(int32) bool { return true }
	d.byLeads, d.byCopies = t.rank(t.leads, false, any), t.rank(t.copies, false, any)
	d.byLeads.shuffle(1)
	d.byCopies.shuffle(2)
	return d
}

// deal returns the sites of one shard, as many as there are up to what the type wants.
func (d *dealer) deal(int32) []int32 {
	primary := d.byLeads.top()
	d.leads[primary]++
	d.byLeads.fix()
	hand := []int32{primary}
	if d.spec.Volatile {
		return hand
	}
	apart := true // no two in a zone, while there are others
	for len(hand) < d.wide && (apart || d.byCopies.len() > 0) {
		if d.byCopies.len() == 0 {
			apart = false
			d.putBack(hand)
			continue
		}
		s := d.byCopies.top()
		if !contains(hand, s) && (!apart || d.alike(hand, s) == 0) {
			hand = append(hand, s)
			d.copies[s]++
		}
		d.aside = append(d.aside, s)
		d.byCopies.pop()
	}
	d.copies[primary]++
	d.putBack(nil)
	return hand
}

// putBack ends a search. Sites in hand stay aside.
func (d *dealer) putBack(hand []int32) {
	left := d.aside[:0]
	for _, s := range d.aside {
		if contains(hand, s) {
			left = append(left, s)
		} else {
			d.byCopies.push(s)
		}
	}
	d.aside = left
}

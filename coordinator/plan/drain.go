package plan

import (
	"maps"

	"muster/shard"
)

// Undrainable says what would stay on a node that is drained, as things are now, and by which rule: a Note for each shard, in order.
//
//	no-room        every other member has a copy of the shard, is down or takes nothing
//	await-heir     it leads the shard, and nobody else could
//	await-primary  the shard has no primary that could move it; it must recover first
func Undrainable(v *shard.View, node shard.NodeID) []Note {
	m, known := v.Members[node]
	if !known {
		return nil
	}
	drained := *v
	drained.Members = maps.Clone(v.Members)
	m.Draining = true
	drained.Members[node] = m
	l := survey(&drained, func(m shard.Member) bool { return !m.Maintenance })
	l.plan()
	s := l.find(node)
	gone, handed := map[[2]int32]bool{}, map[[2]int32]bool{}
	for _, p := range l.planned {
		if row := [2]int32{int32(p.table), p.row}; p.lead && p.from == s && p.to != s {
			handed[row] = true
		} else if !p.lead && p.from == s {
			gone[row] = true
		}
	}
	var stuck []Note
	for n, t := range l.tables {
		for i := range t.n {
			row := [2]int32{int32(n), int32(i)}
			if why := t.stays(int32(i), s, gone[row], handed[row]); why != "" {
				p := t.placement(int32(i))
				stuck = append(stuck, Note{Reason: why, Shard: p.Shard, Epoch: p.Epoch, Node: node, Copy: readyOn(p, node)})
			}
		}
	}
	return stuck
}

// stays says why something of the row is left on a site that is drained, "" when nothing is.
func (t *table) stays(i, s int32, gone, handed bool) Reason {
	p := t.placement(i)
	if p == nil {
		return ""
	}
	leads, holds := t.lead[i] == s && !handed, t.at(i, s) != nil && !gone
	switch {
	case !leads && !holds:
		return ""
	case t.state[i]&active == 0:
		return AwaitPrimary
	case leads && t.spec.Volatile || leads && !t.alone:
		return AwaitHeir
	case !t.at(i, s).ready:
		return "" // a learner is given up when its node drains
	default:
		return NoRoom
	}
}

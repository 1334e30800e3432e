package plan

import (
	"maps"
	"slices"

	"muster/shard"
)

// Drain says what a drain of the node would do, as things are now. Moves are those that take something off it, in the order in
// which they would be made; while it goes on others may have to be made first, and load may change their targets. Stays is what
// would be left on it, a Note for each shard, in order, with the rule:
//
//	no-room        every other member has a copy of the shard, is down or takes nothing
//	await-heir     it leads the shard, and nobody else could
//	await-primary  the shard has no primary that could move it; it must recover first
func Drain(v *shard.View, node shard.NodeID) (moves []Move, stays []Note) {
	m, known := v.Members[node]
	if !known {
		return nil, nil
	}
	drained := *v
	drained.Members = maps.Clone(v.Members)
	m.Draining = true
	drained.Members[node] = m
	l := survey(&drained, func(m shard.Member) bool { return !m.Maintenance })
	l.plan(everything)
	moves = slices.DeleteFunc(l.moves(len(l.planned)), func(m Move) bool { return m.From != node })
	return moves, l.stays(node)
}

// stays lists what is left on a node that is drained when the plan is carried out.
func (l *layout) stays(node shard.NodeID) (stays []Note) {
	s := l.find(node)
	gone, handed := map[[2]int32]bool{}, map[[2]int32]bool{}
	for _, p := range l.planned {
		if row := [2]int32{int32(p.table), p.row}; p.lead && p.from == s && p.to != s {
			handed[row] = true
		} else if !p.lead && p.from == s {
			gone[row] = true
		}
	}
	for n, t := range l.tables {
		for i := range t.n {
			row := [2]int32{int32(n), int32(i)}
			if why := t.stays(int32(i), s, gone[row], handed[row]); why != "" {
				p := t.placement(int32(i))
				stays = append(stays, Note{Reason: why, Shard: p.Shard, Epoch: p.Epoch, Node: node, Copy: readyOn(p, node)})
			}
		}
	}
	return stays
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

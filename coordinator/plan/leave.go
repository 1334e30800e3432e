package plan

import (
	"maps"
	"slices"

	"muster/fsm"
	"muster/shard"
)

// Movable counts the shards that the session leads and another node that is up could lead, and those it gave away that
// nobody serves yet: their next primary may need the copy here.
func Movable(v *shard.View, id shard.SessionID) int {
	n, node := 0, v.Sessions[id].Node
	for _, t := range v.Types { //lint:maporder a sum
		for _, p := range t.Placements {
			switch {
			case p == nil:
			case p.Session == id && hasHeir(v, t.Spec, p):
				n++
			case p.Status == shard.Establishing && p.ActiveNode == node && p.Session != id:
				n++
			}
		}
	}
	return n
}

// hasHeir reports whether another node could lead the shard: it holds a ready copy in C, or hosts the volatile type.
func hasHeir(v *shard.View, spec shard.Spec, p *shard.Placement) bool {
	if spec.Volatile {
		for _, m := range v.Members { //lint:maporder any one answers the question
			if m.ID != p.Node && v.Up(m.ID) && m.Open() && fsm.Eligible(m, spec) {
				return true
			}
		}
		return false
	}
	for _, c := range p.Copies {
		m := v.Members[c.Node]
		if c.ID != p.Primary && c.State == shard.CopyReady && v.Up(c.Node) && m.Directory == c.Directory && !m.Leaving && !m.Draining && fsm.Eligible(m, spec) {
			return true
		}
	}
	return false
}

// Stranded lists the shards that could not be served without the node: fewer of their other copies are up than their write
// quorum, and no other member could take one.
func Stranded(v *shard.View, node shard.NodeID) []shard.ID {
	var stuck []shard.ID
	for _, name := range slices.Sorted(maps.Keys(v.Types)) {
		t := v.Types[name]
		for _, p := range t.Placements {
			if p != nil && strands(v, t.Spec, p, node) {
				stuck = append(stuck, p.Shard)
			}
		}
	}
	return stuck
}

func strands(v *shard.View, spec shard.Spec, p *shard.Placement, node shard.NodeID) bool {
	left, here := 0, p.Node == node
	for _, c := range p.Copies {
		switch {
		case c.State == shard.CopyLost:
		case c.Node == node:
			here = true
		case c.State == shard.CopyReady && v.Up(c.Node):
			left++
		}
	}
	if !here || !spec.Volatile && left >= p.WriteQuorum {
		return false
	}
	return !hasPlace(v, spec, p, node)
}

// hasPlace reports whether some other member could take the shard, or one more copy of it.
func hasPlace(v *shard.View, spec shard.Spec, p *shard.Placement, not shard.NodeID) bool {
	for id, m := range v.Members { //lint:maporder any one answers the question
		taken := slices.ContainsFunc(p.Copies, func(c shard.Copy) bool { return c.Node == id && c.State != shard.CopyLost })
		if id != not && !taken && v.Up(id) && m.Open() && fsm.Eligible(m, spec) {
			return true
		}
	}
	return false
}

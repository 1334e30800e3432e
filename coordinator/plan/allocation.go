package plan

import (
	"cmp"
	"slices"
	"strings"

	"muster/shard"
)

// loads counts what every node carries, so that shards are spread evenly: over all types, and within each.
type loads struct {
	primaries map[shard.NodeID]int
	copies    map[shard.NodeID]int
	ofType    map[typeNode]*share
	pairs     map[[2]shard.NodeID]int // shards with this primary and that other copy
}

type typeNode struct {
	name shard.TypeName
	node shard.NodeID
}

// share is a node's part of one type.
type share struct{ primaries, copies int }

// load counts the view the first time it is needed.
func (b *batch) load() *loads {
	if b.loads != nil {
		return b.loads
	}
	b.loads = &loads{
		primaries: map[shard.NodeID]int{}, copies: map[shard.NodeID]int{},
		ofType: map[typeNode]*share{}, pairs: map[[2]shard.NodeID]int{},
	}
	for _, t := range b.view.Types { //lint:maporder sums
		for _, p := range t.Placements {
			if p != nil {
				b.loads.count(p)
			}
		}
	}
	return b.loads
}

func (l *loads) count(p *shard.Placement) {
	primary := p.Node
	if p.Status == shard.Forming {
		primary = p.Copies[0].Node // it will be, unless it dies first
	}
	if primary != "" {
		l.primary(p.Shard.Type, primary)
	}
	for _, c := range p.Copies {
		l.copy(p.Shard.Type, primary, c.Node)
	}
}

func (l *loads) of(name shard.TypeName, node shard.NodeID) *share {
	s := l.ofType[typeNode{name, node}]
	if s == nil {
		s = &share{}
		l.ofType[typeNode{name, node}] = s
	}
	return s
}

func (l *loads) primary(name shard.TypeName, node shard.NodeID) {
	l.primaries[node]++
	l.of(name, node).primaries++
}

func (l *loads) copy(name shard.TypeName, primary, node shard.NodeID) {
	l.copies[node]++
	l.of(name, node).copies++
	if primary != "" && primary != node {
		l.pairs[[2]shard.NodeID{primary, node}]++
	}
}

// allocate chooses the nodes of one shard, the primary first, and counts them. At most replicas + 1 of up are chosen, all
// different; those in keep are among them. Zones are spread first, then copies, then pairs, so that when a node dies its
// shards fall to all the others and not to one neighbour.
func (l *loads) allocate(spec shard.Spec, up []shard.Member, keep []shard.NodeID) []shard.NodeID {
	want := min(spec.Replicas+1, len(up))
	chosen := make([]shard.Member, 0, want)
	for _, m := range up {
		if slices.Contains(keep, m.ID) && len(chosen) < want {
			chosen = append(chosen, m)
		}
	}
	if len(chosen) == 0 {
		chosen = append(chosen, slices.MinFunc(up, l.asPrimary(spec.Name)))
	} else {
		slices.SortFunc(chosen, l.asPrimary(spec.Name))
	}
	for len(chosen) < want {
		rest := slices.DeleteFunc(slices.Clone(up), func(m shard.Member) bool {
			return slices.ContainsFunc(chosen, func(c shard.Member) bool { return c.ID == m.ID })
		})
		chosen = append(chosen, slices.MinFunc(rest, l.asCopy(spec.Name, chosen)))
	}
	nodes := make([]shard.NodeID, len(chosen))
	l.primary(spec.Name, chosen[0].ID)
	for i, m := range chosen {
		nodes[i] = m.ID
		if !spec.Volatile {
			l.copy(spec.Name, chosen[0].ID, m.ID)
		}
	}
	return nodes
}

// asPrimary orders the better home of a primary first.
func (l *loads) asPrimary(name shard.TypeName) func(a, b shard.Member) int {
	return func(a, b shard.Member) int {
		x, y := l.of(name, a.ID), l.of(name, b.ID)
		return cmp.Or(
			cmp.Compare(x.primaries, y.primaries), cmp.Compare(l.primaries[a.ID], l.primaries[b.ID]),
			cmp.Compare(x.copies, y.copies), cmpNode(a.ID, b.ID),
		)
	}
}

// asCopy orders the better home of a further copy first, beside those chosen.
func (l *loads) asCopy(name shard.TypeName, chosen []shard.Member) func(a, b shard.Member) int {
	primary := chosen[0].ID
	sharing := func(m shard.Member) int {
		n := 0
		for _, c := range chosen {
			if c.Zone == m.Zone {
				n++
			}
		}
		return n
	}
	return func(a, b shard.Member) int {
		x, y := l.of(name, a.ID), l.of(name, b.ID)
		return cmp.Or(
			cmp.Compare(sharing(a), sharing(b)), cmp.Compare(x.copies, y.copies),
			cmp.Compare(l.pairs[[2]shard.NodeID{primary, a.ID}], l.pairs[[2]shard.NodeID{primary, b.ID}]),
			cmp.Compare(l.copies[a.ID], l.copies[b.ID]), cmpNode(a.ID, b.ID),
		)
	}
}

func cmpNode(a, b shard.NodeID) int { return strings.Compare(string(a), string(b)) }

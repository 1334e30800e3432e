package plan

import (
	"cmp"
	"fmt"
	"slices"

	"muster/fsm"
	"muster/shard"
)

// Stage is how far what an operator ordered is.
type Stage string

// The stages. The last three are of orders that others carry out: repeat the order to see how far it is.
const (
	StageDone    Stage = "done"
	StageCopying Stage = "copying" // the shard gets a copy on the node
	StageHanding Stage = "handing" // the primary is asked to hand over
	StageWaiting Stage = "waiting" // the shard must recover first
)

// Towards is the next step towards a shard's being led by a node: a copy there first, when it has none, then the wish that
// the primary hand over; no command when it is under way, or cannot be yet. Which step is next is seen from the map alone,
// so it is asked for again until it is done. It fails with CodeConflict when the node cannot take the shard.
func Towards(v *shard.View, p *shard.Placement, node shard.NodeID) (Stage, fsm.Command, *shard.Error) {
	spec := v.Types[p.Shard.Type].Spec
	m, known := v.Members[node]
	switch {
	case p.Status != shard.Active:
		return StageWaiting, nil, nil
	case p.Node == node:
		return StageDone, nil, nil
	case !known:
		return "", nil, refusal(p, "there is no node %s", node)
	case !v.Up(node):
		return "", nil, refusal(p, "node %s is down", node)
	case !fsm.Eligible(m, spec):
		return "", nil, refusal(p, "node %s may not host the type", node)
	}
	i := slices.IndexFunc(p.Copies, func(c shard.Copy) bool { return c.Node == node && c.State == shard.CopyReady })
	switch {
	case p.HandNode == node:
		return StageHanding, nil, nil
	case spec.Volatile:
		return StageHanding, wishFor(p, 0, node), nil
	case i >= 0:
		return StageHanding, wishFor(p, p.Copies[i].ID, ""), nil
	}
	if slices.ContainsFunc(p.Learners, func(l shard.Learner) bool { return l.Copy.Node == node }) {
		return StageCopying, nil, nil
	}
	item := fsm.NewLearner{Shard: p.Shard, Epoch: p.Epoch, Version: p.Version, Node: node}
	if len(p.Copies) > spec.Replicas {
		item.Replaces = leastNeeded(v, p)
	}
	return StageCopying, &fsm.AddLearner{Items: []fsm.NewLearner{item}}, nil
}

func wishFor(p *shard.Placement, to shard.CopyID, node shard.NodeID) fsm.Command {
	return &fsm.Wish{Items: []fsm.Wishing{{Shard: p.Shard, Epoch: p.Epoch, Version: p.Version, To: to, Node: node}}}
}

// leastNeeded is the copy that gives way to one more: lost before down before up, of the node with the most copies, and the
// primary's only when there is no other, since that has to fill the new one and cannot leave before another leads.
func leastNeeded(v *shard.View, p *shard.Placement) shard.CopyID {
	count := map[shard.NodeID]int{}
	for _, t := range v.Types { //lint:maporder sums
		for _, other := range t.Placements {
			if other == nil {
				continue
			}
			for _, c := range other.Copies {
				count[c.Node]++
			}
		}
	}
	need := func(c shard.Copy) int {
		switch {
		case c.State == shard.CopyLost:
			return 0
		case !v.Up(c.Node):
			return 1
		default:
			return 2
		}
	}
	others := slices.DeleteFunc(slices.Clone(p.Copies), func(c shard.Copy) bool { return c.ID == p.Primary })
	if len(others) == 0 {
		return p.Primary // the only copy: it hands over to its successor, and leaves
	}
	return slices.MinFunc(others, func(a, b shard.Copy) int {
		return cmp.Or(cmp.Compare(need(a), need(b)), cmp.Compare(count[b.Node], count[a.Node]), cmp.Compare(a.ID, b.ID))
	}).ID
}

func refusal(p *shard.Placement, format string, args ...any) *shard.Error {
	return &shard.Error{Code: shard.CodeConflict, Shard: p.Shard, Epoch: p.Epoch, Detail: fmt.Sprintf(format, args...)}
}

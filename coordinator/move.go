package coordinator

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/hashicorp/raft"

	"muster/fsm"
	"muster/shard"
)

// move takes the next step towards a shard's being led by a node: a copy there first, when it has none, then the wish that the
// primary hand over. Which step is next is seen from the map alone, so the order is repeated until it is done, by
// anyone, to any leader.
func (v *voter) move(ctx context.Context, o Order) (Outcome, error) {
	view := v.machine.state().View
	p := view.Placement(o.Shard)
	if p == nil {
		return Outcome{}, &shard.Error{Code: shard.CodeConflict, Shard: o.Shard, Detail: "there is no such shard, or it has no place yet"}
	}
	out := Outcome{Before: o.about(view)}
	command := fsm.Command(nil)
	var fault *shard.Error
	switch {
	case p.Status != shard.Active:
		out.Stage = StageWaiting
	case p.Node == o.Node:
		out.Stage = StageDone
	default:
		out.Stage, command, fault = towards(view, p, o.Node)
	}
	if fault != nil {
		return Outcome{}, fault
	}
	if command != nil {
		if err := v.proposeOne(ctx, command); err != nil {
			return Outcome{}, err
		}
	}
	out.After = o.about(v.machine.state().View)
	if out.Stage == StageDone && p.Pinned != o.Node {
		out.Notes = []string{fmt.Sprintf("balancing may move it again: muster pin %s %s keeps it there", o.Shard, o.Node)}
	}
	return out, nil
}

// towards is the step that an active shard led elsewhere needs; no command when it is under way.
func towards(v *shard.View, p *shard.Placement, node shard.NodeID) (Stage, fsm.Command, *shard.Error) {
	spec := v.Types[p.Shard.Type].Spec
	m, known := v.Members[node]
	switch {
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
	for _, t := range v.Types {
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

// transferPatience bounds a transfer of the lead. Raft gives up after an election timeout by itself.
const transferPatience = 5 * time.Second

// transfer gives the lead of the group to another voter.
func (v *voter) transfer(ctx context.Context, o Order) (Outcome, error) {
	r := v.raft.Load()
	self := string(v.c.cfg.Node)
	if o.Node == v.c.cfg.Node {
		return Outcome{Stage: StageDone, Before: self, After: self}, nil
	}
	var f raft.Future
	if o.Node == "" {
		f = r.LeadershipTransfer()
	} else {
		to, err := v.seatOf(ctx, o.Node)
		if err != nil {
			return Outcome{}, err
		}
		if !v.machine.state().View.Up(o.Node) {
			return Outcome{}, &shard.Error{Code: shard.CodeConflict, Node: o.Node, Detail: "node " + string(o.Node) + " is down"}
		}
		f = r.LeadershipTransferToServer(to.ID, to.Address)
	}
	if err := answered(ctx, f, transferPatience); err != nil {
		return Outcome{}, shard.Unknownf(shard.CodeUnavailable, "the lead was not handed over: %v", err)
	}
	node, _, _ := v.leader()
	if node == v.c.cfg.Node || node == "" {
		node = cmp.Or(o.Node, "another voter")
	}
	return Outcome{Stage: StageDone, Before: self, After: string(node)}, nil
}

// seatOf returns the node's seat in the Raft group.
func (v *voter) seatOf(ctx context.Context, node shard.NodeID) (raft.Server, error) {
	servers, err := v.servers(ctx)
	if err != nil {
		return raft.Server{}, err
	}
	i := slices.IndexFunc(servers, func(s raft.Server) bool {
		name, directory := nodeOf(s.ID)
		return name == node && s.Suffrage == raft.Voter && v.machine.state().View.Members[node].Directory == directory
	})
	if i < 0 {
		return raft.Server{}, &shard.Error{Code: shard.CodeConflict, Node: node, Detail: "node " + string(node) + " has no vote"}
	}
	return servers[i], nil
}

func (v *voter) servers(ctx context.Context) ([]raft.Server, error) {
	f := v.raft.Load().GetConfiguration()
	if err := answered(ctx, f, v.c.cfg.Times.Propose); err != nil {
		return nil, shard.Errorf(shard.CodeTimeout, "raft configuration: %v", err)
	}
	return f.Configuration().Servers, nil
}

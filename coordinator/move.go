package coordinator

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/hashicorp/raft"

	"muster/coordinator/plan"
	"muster/shard"
)

// move takes the next step towards a shard's being led by a node: a copy there first, when it has none, then the wish that the
// primary hand over. Which step is next is seen from the map alone, so the order is repeated until it is done, by
// anyone, to any leader.
func (v *voter) move(ctx context.Context, o Order) (Outcome, error) {
	view := v.machine.state().View
	p := view.Placement(o.Shard)
	if p == nil {
		return Outcome{}, noPlace(o.Shard)
	}
	out := Outcome{Before: o.about(view)}
	stage, command, fault := plan.Towards(view, p, o.Node)
	if fault != nil {
		return Outcome{}, fault
	}
	out.Stage = stage
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

// transferPatience bounds a transfer of the lead. Raft gives up after an election timeout by itself.
const transferPatience = 5 * time.Second

// successorPatience bounds how long an answer waits to name whoever leads next.
const successorPatience = time.Second

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
	return Outcome{Stage: StageDone, Before: self, After: string(cmp.Or(v.successor(ctx), o.Node, "another voter"))}, nil
}

// successor waits a moment until another voter is known to lead, "" when none is.
func (v *voter) successor(ctx context.Context) shard.NodeID {
	ctx, cancel := context.WithTimeout(ctx, successorPatience)
	defer cancel()
	for {
		news := v.c.leaders.listen()
		if node, _, _ := v.leader(); node != "" && node != v.c.cfg.Node {
			return node
		}
		select {
		case <-news:
		case <-ctx.Done():
			return ""
		}
	}
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

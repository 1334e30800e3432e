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
		again := "balancing may move it again"
		if p.Pinned != "" {
			again = fmt.Sprintf("it is pinned to %s, where balancing brings it back", p.Pinned)
		}
		out.Notes = []string{fmt.Sprintf("%s: muster pin %s %s keeps it there", again, o.Shard, o.Node)}
	}
	return out, nil
}

// transferPatience bounds a transfer of the lead.
const transferPatience = 5 * time.Second

// successorPatience bounds how long it is waited for whoever leads next.
const successorPatience = time.Second

// transfer gives the lead of the group to another voter. Raft gives up after an election timeout, and the leader goes on; a voter that
// was slower to write down that it is to lead has missed what was stored since, and is not elected any more. So it is asked again, after a
// pause in which the group can work.
func (v *voter) transfer(ctx context.Context, o Order) (Outcome, error) {
	done := Outcome{Stage: StageDone, Before: string(v.c.cfg.Node)}
	if o.Node == v.c.cfg.Node {
		done.After = done.Before
		return done, nil
	}
	begin, err := v.transferTo(ctx, o.Node)
	if err != nil {
		return Outcome{}, err
	}
	limit, cancel := context.WithTimeout(ctx, transferPatience)
	defer cancel()
	for {
		err := answered(limit, begin(), transferPatience)
		next := v.successor(ctx)
		switch {
		case err == nil, next != "" && (o.Node == "" || next == o.Node):
			done.After = string(cmp.Or(next, o.Node, "another voter"))
			return done, nil
		case next != "": // that one is asked in turn
			return Outcome{}, v.translate(raft.ErrLeadershipLost)
		case limit.Err() != nil:
			return Outcome{}, shard.Unknownf(shard.CodeTimeout, "the lead was not handed over: %v", err)
		}
	}
}

// transferTo is how Raft is asked to hand over to the node, or with "" to whoever is fit.
func (v *voter) transferTo(ctx context.Context, node shard.NodeID) (begin func() raft.Future, err error) {
	r := v.raft.Load()
	if node == "" {
		servers, err := v.servers(ctx)
		if err == nil && len(servers) < 2 {
			err = &shard.Error{Code: shard.CodeConflict, Detail: "no other node has a vote"}
		}
		return r.LeadershipTransfer, err
	}
	to, err := v.seatOf(ctx, node)
	if err == nil && !v.machine.state().View.Up(node) {
		err = &shard.Error{Code: shard.CodeConflict, Node: node, Detail: "node " + string(node) + " is down"}
	}
	return func() raft.Future { return r.LeadershipTransferToServer(to.ID, to.Address) }, err
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

package coordinator

import (
	"context"
	"errors"
	"time"

	"github.com/hashicorp/raft"

	"muster/barrier"
	"muster/fsm"
	"muster/shard"
	"muster/transport"
	"muster/transport/wire"
)

// An Inspection is one node's knowledge of the group.
type Inspection struct {
	View         *shard.View
	Barriers     []barrier.Round // where somebody waits; nil from a node without a vote
	Node         shard.NodeID    // who answered
	Leader       shard.NodeID    // "" when none is known
	LeaderAddr   string
	Term         uint64
	Age          time.Duration // since the map was last known to be current
	Linearizable bool
}

// Inspect returns what this node knows, or with linearizable the state as it is at some moment during the call: everything
// that was committed before the call is in it. The latter needs a leader and fails with CodeNoLeader without one.
func (c *Coordinator) Inspect(ctx context.Context, linearizable bool) (*Inspection, error) {
	if !linearizable {
		return c.local(), nil
	}
	ctx, cancel := c.bounded(ctx)
	defer cancel()
	var found *Inspection
	err := c.atLeader(ctx, leaderCall{
		reads: true,
		local: func(ctx context.Context, v *voter) error {
			state, err := v.read(ctx)
			if err != nil {
				return err
			}
			found = c.local()
			found.View, found.Barriers, found.Age, found.Linearizable = state.View, state.Barriers.Open(), 0, true
			return nil
		},
		remote: func(ctx context.Context, g wire.GroupClient) error {
			var whole fsm.Single
			reply, err := transport.Inspect(ctx, g, &wire.InspectRequest{Linearizable: true}, whole.Take)
			if err == nil {
				found, err = inspectionOf(reply, &whole)
			}
			return err
		},
	})
	if err != nil {
		return nil, err
	}
	return found, nil
}

// local is what this node knows by itself.
func (c *Coordinator) local() *Inspection {
	i := &Inspection{View: c.View(), Node: c.cfg.Node, Age: c.Age()}
	i.Leader, i.LeaderAddr, i.Term = c.Leader()
	if v := c.voter.Load(); v != nil {
		i.Barriers = v.machine.state().Barriers.Open()
	}
	return i
}

// read is a linearizable read of the state on the leader.
//
// The commit index is taken before the leadership is verified, and the term must be the one this leader was ready in
// throughout. VerifyLeader counts acks of heartbeats that left before the call, so a leader that was paused could verify
// wrongly: nothing safety-critical may rest on this. What must be certain goes through the log.
func (v *voter) read(ctx context.Context) (*fsm.State, error) {
	if err := v.leading.awaitReady(ctx); err != nil {
		return nil, err
	}
	r := v.raft.Load()
	term, committed := r.CurrentTerm(), r.CommitIndex()
	if err := answered(ctx, r.VerifyLeader(), v.c.cfg.Times.Propose); err != nil {
		switch {
		case errors.Is(err, raft.ErrNotLeader), errors.Is(err, raft.ErrLeadershipLost):
			return nil, v.translate(raft.ErrNotLeader)
		case errors.Is(err, raft.ErrRaftShutdown):
			return nil, v.translate(err)
		}
		return nil, shard.Errorf(shard.CodeTimeout, "verify the lead: %v", err)
	}
	if !v.leading.isReady() || r.CurrentTerm() != term {
		return nil, v.translate(raft.ErrNotLeader)
	}
	needed, err := v.store.settled(committed)
	if err != nil {
		return nil, shard.As(err)
	}
	return v.machine.reach(ctx.Done(), shard.Index(needed))
}

func inspectionOf(r *wire.InspectReply, of *fsm.Single) (*Inspection, error) {
	i := &Inspection{
		Node: shard.NodeID(r.Node), Leader: shard.NodeID(r.Leader), LeaderAddr: r.LeaderAddr, Term: r.Term,
		Age: time.Duration(r.AgeMicros) * time.Microsecond, Linearizable: r.Linearizable,
	}
	whole, err := of.Delta()
	if err != nil {
		return nil, err
	}
	if i.View, err = shard.NewView().With(whole); err != nil {
		return nil, shard.Errorf(shard.CodeInternal, "inspect: %v", err)
	}
	if len(r.Barriers) > 0 {
		i.Barriers, err = fsm.DecodeRounds(r.Barriers)
	}
	return i, err
}

// replies are the messages of the answer: one, or with a large map one for each of its parts and one for the rest.
func (i *Inspection) replies(version string, hosted []*wire.Hosted) []*wire.InspectReply {
	last := &wire.InspectReply{
		Barriers: fsm.EncodeRounds(i.Barriers), Node: string(i.Node), Leader: string(i.Leader), LeaderAddr: i.LeaderAddr, Term: i.Term,
		AgeMicros: i.Age.Microseconds(), Linearizable: i.Linearizable, Version: version, Hosted: hosted,
	}
	whole := fsm.EncodeDelta(i.View.Whole())
	if len(whole) == 1 {
		last.Whole = whole[0]
		return []*wire.InspectReply{last}
	}
	var all []*wire.InspectReply
	for _, part := range whole {
		all = append(all, &wire.InspectReply{Whole: part})
	}
	return append(all, last)
}

// Required is how many members must be up, as this node's map has it; 0 for no requirement.
func (c *Coordinator) Required() int { return c.View().Required }

// Require sets how many members must be up. Repeating it is harmless.
func (c *Coordinator) Require(ctx context.Context, members int) error {
	ctx, cancel := c.bounded(ctx)
	defer cancel()
	verdict, index, err := c.proposeSurely(ctx, &fsm.RequireQuorum{Members: members})
	if err == nil {
		err = verdict.Err()
	}
	if err == nil {
		err = c.follower.reach(ctx, index)
	}
	return err
}

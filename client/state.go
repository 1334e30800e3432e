package client

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/grpc"

	"muster/barrier"
	"muster/fsm"
	"muster/shard"
	"muster/transport"
	"muster/transport/wire"
)

// State is what one node knows of its group. Read-only.
type State struct {
	View         *shard.View     // the map: members, types, placements, at View.Index
	Barriers     []barrier.Round // in which somebody waits
	Node         shard.NodeID    // who answered
	Leader       shard.NodeID    // "" when the node knows none
	LeaderAddr   string
	Term         uint64
	Age          time.Duration // since the map was last known to be current
	Linearizable bool          // the answer includes everything that was decided before it was asked for
	Version      string        // of the node's program
	Hosted       []Hosted      // the shard copies the node holds
}

// Hosted is what a node knows of one of its copies beyond the map.
type Hosted struct {
	Shard     shard.ID
	Copy      shard.CopyID
	Role      string
	Epoch     shard.Epoch
	Last      shard.LSN
	Durable   shard.LSN
	Confirmed shard.LSN
	Waiting   string // what it waits for, "" for nothing
}

// State returns the state of the group as it is at some moment during the call, with everything that was decided before.
// It takes a leader, and fails with CodeNoLeader when there is none.
func (c *Client) State(ctx context.Context) (State, error) { return c.state(ctx, true) }

// Inspect returns what the node that answers knows by itself, which may be old: see State.Age. It works without a leader. A node that
// has no map since it started is passed over, with CodeUnavailable if there is no other.
func (c *Client) Inspect(ctx context.Context) (State, error) { return c.state(ctx, false) }

func (c *Client) state(ctx context.Context, linearizable bool) (State, error) {
	var s State
	err := c.question(ctx, func(ctx context.Context, conn grpc.ClientConnInterface) error {
		var whole fsm.Single
		reply, err := transport.Inspect(ctx, wire.NewGroupClient(conn), &wire.InspectRequest{Linearizable: linearizable}, whole.Take)
		if err == nil {
			s, err = stateOf(reply, &whole)
		}
		if err == nil && s.View.Index == 0 {
			err = shard.NoMap(s.Node)
		}
		return err
	})
	return s, err
}

func stateOf(r *wire.InspectReply, of *fsm.Single) (State, error) {
	s := State{
		Node: shard.NodeID(r.Node), Leader: shard.NodeID(r.Leader), LeaderAddr: r.LeaderAddr, Term: r.Term,
		Age: time.Duration(r.AgeMicros) * time.Microsecond, Linearizable: r.Linearizable, Version: r.Version,
	}
	whole, err := of.Delta()
	if err != nil {
		return State{}, fmt.Errorf("map of node %s: %w", r.Node, err)
	}
	if s.View, err = shard.NewView().With(whole); err != nil {
		return State{}, fmt.Errorf("map of node %s: %w", r.Node, err)
	}
	if len(r.Barriers) > 0 {
		if s.Barriers, err = fsm.DecodeRounds(r.Barriers); err != nil {
			return State{}, fmt.Errorf("barriers of node %s: %w", r.Node, err)
		}
	}
	for _, h := range r.Hosted {
		s.Hosted = append(s.Hosted, Hosted{
			Shard: shard.ID{Type: shard.TypeName(h.Type), Number: shard.Number(h.Shard)},
			Copy:  shard.CopyID(h.Copy), Role: h.Role, Epoch: shard.Epoch(h.Epoch),
			Last: shard.LSN(h.Last), Durable: shard.LSN(h.Durable), Confirmed: shard.LSN(h.Confirmed), Waiting: h.Waiting,
		})
	}
	return s, nil
}

// RequiredQuorum returns how the quorum gate stands: how many members must be up, how many are, and who is missing.
func (c *Client) RequiredQuorum(ctx context.Context) (fsm.Gate, error) {
	s, err := c.State(ctx)
	if err != nil {
		return fsm.Gate{}, err
	}
	return (&fsm.State{View: s.View}).Gate(), nil
}

// SetRequiredQuorum sets how many members must be up; 0 means no requirement. Repeating it is harmless.
func (c *Client) SetRequiredQuorum(ctx context.Context, members int) error {
	entry, err := fsm.Encode(&fsm.RequireQuorum{Members: members})
	if err != nil {
		return err
	}
	return c.each(ctx, func(ctx context.Context, conn grpc.ClientConnInterface) error {
		reply, err := wire.NewGroupClient(conn).Propose(ctx, &wire.ProposeRequest{Commands: entry})
		if err == nil {
			err = fault(reply.Fault)
		}
		if err != nil {
			return err
		}
		if len(reply.Verdicts) != 1 {
			return shard.Unknownf(shard.CodeInternal, "%d verdicts for one command", len(reply.Verdicts))
		}
		verdict, err := fsm.DecodeVerdict(reply.Verdicts[0])
		if err != nil {
			return err
		}
		return verdict.Err()
	}, worthAnother)
}

package client

import (
	"context"
	"time"

	"google.golang.org/grpc"

	"muster/fsm"
	"muster/shard"
	"muster/transport"
	"muster/transport/wire"
)

// Done is what became of an order.
type Done struct {
	Stage         string   // "done"; or what is under way: "copying", "handing", "waiting"; "judged" when nothing was to be done
	Before, After string   // what the order is about, in words
	Notes         []string // what the operator should know
}

// Cordon says whether anything new may be placed on the node.
//
// This and all other orders may be repeated. They fail with CodeConflict when they would endanger data or cannot be carried
// out as things are, with CodeNotFound or CodeUnknownType when there is no such node or shard, with CodeNoLeader when the group has no leader, and with CodeWrongGroup when the certificate is not
// an admin's.
func (c *Client) Cordon(ctx context.Context, node shard.NodeID, on bool) (Done, error) {
	return c.administer(ctx, &wire.AdministerRequest{Order: wire.Order_ORDER_CORDON, Node: string(node), On: on})
}

// Maintain says that the node will be down and come back: its copies are not rebuilt elsewhere. The leader ends it after
// the time; 0 means no end.
func (c *Client) Maintain(ctx context.Context, node shard.NodeID, on bool, after time.Duration) (Done, error) {
	return c.administer(ctx, &wire.AdministerRequest{
		Order: wire.Order_ORDER_MAINTENANCE, Node: string(node), On: on, ForMillis: transport.Millis(after),
	})
}

// Drain has everything moved off the node, or no longer. It returns at once: State shows what is left. It is refused, naming
// shards, when they could not be written without the node and no other member can take their place.
func (c *Client) Drain(ctx context.Context, node shard.NodeID, on bool) (Done, error) {
	return c.administer(ctx, &wire.AdministerRequest{Order: wire.Order_ORDER_DRAIN, Node: string(node), On: on})
}

// JudgeDrain fails as Drain would, and changes nothing.
func (c *Client) JudgeDrain(ctx context.Context, node shard.NodeID) (Done, error) {
	return c.administer(ctx, &wire.AdministerRequest{Order: wire.Order_ORDER_DRAIN, Node: string(node), On: true, DryRun: true})
}

// Pause stops the moving of shards for balance alone, or lets it go on. The leader ends it after the time; 0 means no end.
func (c *Client) Pause(ctx context.Context, on bool, after time.Duration) (Done, error) {
	return c.administer(ctx, &wire.AdministerRequest{Order: wire.Order_ORDER_PAUSE, On: on, ForMillis: transport.Millis(after)})
}

// Pin prefers a node as the primary of a shard; "" lifts the preference.
func (c *Client) Pin(ctx context.Context, id shard.ID, node shard.NodeID) (Done, error) {
	return c.administer(ctx, ofShard(wire.Order_ORDER_PIN, id, node))
}

// Move takes the next step towards the shard's being led by the node: a copy there when it has none, then the hand-over. Repeat
// it until its Stage is "done".
func (c *Client) Move(ctx context.Context, id shard.ID, node shard.NodeID) (Done, error) {
	return c.administer(ctx, ofShard(wire.Order_ORDER_MOVE, id, node))
}

func ofShard(order wire.Order, id shard.ID, node shard.NodeID) *wire.AdministerRequest {
	return &wire.AdministerRequest{Order: order, Node: string(node), Type: string(id.Type), Shard: uint32(id.Number)}
}

// Remove takes a node that is down out of the group for good. Its data directory is never admitted again.
func (c *Client) Remove(ctx context.Context, node shard.NodeID) (Done, error) {
	return c.administer(ctx, &wire.AdministerRequest{Order: wire.Order_ORDER_REMOVE, Node: string(node)})
}

// TransferLead has another voter lead the group: the node, or with "" whichever is fit. The latter is not repeated when it may have taken
// effect: the next leader would hand over the lead once more.
func (c *Client) TransferLead(ctx context.Context, node shard.NodeID) (Done, error) {
	again := worthAnother
	if node == "" {
		again = notSent
	}
	return c.carryOut(ctx, &wire.AdministerRequest{Order: wire.Order_ORDER_TRANSFER, Node: string(node)}, again)
}

// administer gives an order that may be repeated.
func (c *Client) administer(ctx context.Context, req *wire.AdministerRequest) (Done, error) {
	return c.carryOut(ctx, req, worthAnother)
}

func (c *Client) carryOut(ctx context.Context, req *wire.AdministerRequest, again func(*shard.Error) bool) (Done, error) {
	var done Done
	err := c.each(ctx, func(ctx context.Context, conn grpc.ClientConnInterface) error {
		reply, err := wire.NewGroupClient(conn).Administer(ctx, req)
		if err == nil {
			err = fault(reply.Fault)
		}
		if err == nil {
			done = Done{reply.Stage, reply.Before, reply.After, reply.Notes}
		}
		return err
	}, again)
	return done, err
}

// History returns the newest changes of a shard, oldest first, as the leader has them. It fails with CodeNotFound or
// CodeUnknownType when there is no such shard.
func (c *Client) History(ctx context.Context, id shard.ID) ([]fsm.Change, error) {
	reply, err := c.consult(ctx, &wire.ConsultRequest{
		Question: wire.Question_QUESTION_HISTORY, Type: string(id.Type), Shard: uint32(id.Number),
	})
	if err != nil {
		return nil, err
	}
	return fsm.DecodeHistory(reply.History)
}

// Explain says where a shard is, why, and what it waits for, with what the leader knows beside the map: who has answered, what is
// under way, and when something is tried again. Leader is who answered. It fails with CodeNotFound or
// CodeUnknownType when there is no such shard.
func (c *Client) Explain(ctx context.Context, id shard.ID) (lines []PlanLine, leader shard.NodeID, err error) {
	reply, err := c.consult(ctx, &wire.ConsultRequest{
		Question: wire.Question_QUESTION_EXPLAIN, Type: string(id.Type), Shard: uint32(id.Number),
	})
	if err != nil {
		return nil, "", err
	}
	return planLines(reply.Plan), shard.NodeID(reply.Node), nil
}

// Peer is a seat in the Raft group.
type Peer struct {
	Node      shard.NodeID
	Addr      string
	Directory shard.DirectoryID
	Votes     bool
	Leads     bool
}

// Peers returns the seats of the Raft group, as its leader has them, and a line on each: why its holder is replaced or is not.
func (c *Client) Peers(ctx context.Context) ([]Peer, []PlanLine, error) {
	reply, err := c.consult(ctx, &wire.ConsultRequest{Question: wire.Question_QUESTION_PEERS})
	if err != nil {
		return nil, nil, err
	}
	peers := make([]Peer, len(reply.Peers))
	for i, p := range reply.Peers {
		peers[i] = Peer{shard.NodeID(p.Node), p.Addr, shard.DirectoryID(p.Directory), p.Votes, p.Leads}
	}
	return peers, planLines(reply.Plan), nil
}

func planLines(lines []*wire.PlanLine) []PlanLine {
	all := make([]PlanLine, len(lines))
	for i, l := range lines {
		all[i] = PlanLine{l.Step, l.Reason, l.Text}
	}
	return all
}

// PlanLine is a step of the leader's newest plan, or with an empty Step the reason why nothing is done about something.
type PlanLine struct {
	Step   string // the command that was proposed
	Reason string // stable
	Text   string
}

// Plan returns what the leader does now, and what it does not do and why.
func (c *Client) Plan(ctx context.Context) ([]PlanLine, error) {
	reply, err := c.consult(ctx, &wire.ConsultRequest{Question: wire.Question_QUESTION_PLAN})
	if err != nil {
		return nil, err
	}
	return planLines(reply.Plan), nil
}

func (c *Client) consult(ctx context.Context, req *wire.ConsultRequest) (*wire.ConsultReply, error) {
	var reply *wire.ConsultReply
	err := c.question(ctx, func(ctx context.Context, conn grpc.ClientConnInterface) (err error) {
		if reply, err = wire.NewGroupClient(conn).Consult(ctx, req); err == nil {
			err = fault(reply.Fault)
		}
		return err
	})
	return reply, err
}

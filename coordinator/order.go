package coordinator

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"muster/coordinator/plan"
	"muster/fsm"
	"muster/shard"
	"muster/transport"
	"muster/transport/wire"
)

// LongestSetting bounds how long a maintenance or pause with an end may last. What is to last longer has no end.
const LongestSetting = 30 * 24 * time.Hour

// Order is what an operator wants done. All orders may be repeated.
type Order struct {
	Kind  OrderKind
	Node  shard.NodeID
	Shard shard.ID
	On    bool          // of Cordon, Maintain, Drain and Pause: set or lift
	For   time.Duration // of Maintain and Pause: until the leader lifts it again; 0 for no end
	Judge bool          // of Drain: only say whether it would be refused; of Recover: only say how far it is

	Copy   shard.CopyID // of Discard; and of Recover, what is to go on: 0 for nothing
	Epoch  shard.Epoch  // of Recover: the one whose evidence the operator has seen
	Quorum int          // of Degrade: the lowest write quorum that is allowed, 0 for the type's own
	By     string       // who ordered it, for the log; "" is this node
}

// OrderKind is one of a closed set. It is what the schema calls Order.
type OrderKind = wire.Order

// The orders.
const (
	Cordon   = wire.Order_ORDER_CORDON      // nothing new is placed on the node
	Maintain = wire.Order_ORDER_MAINTENANCE // the node will be back: its copies are not rebuilt elsewhere
	Drain    = wire.Order_ORDER_DRAIN       // everything on the node moves away
	Pause    = wire.Order_ORDER_PAUSE       // no shard moves for balance alone
	Pin      = wire.Order_ORDER_PIN         // the node is preferred as the shard's primary; no Node lifts it
	Move     = wire.Order_ORDER_MOVE        // the node is to be the shard's primary, now
	Remove   = wire.Order_ORDER_REMOVE      // the node leaves the group for good
	Transfer = wire.Order_ORDER_TRANSFER    // the node, or whoever is fit, is to lead the group
)

// Stage is how far an order is.
type Stage = plan.Stage

// The stages. The last three are of orders that others carry out: repeat the order to see how far it is.
const (
	StageDone    = plan.StageDone
	StageJudged  = Stage("judged") // nothing was changed, and nothing speaks against it
	StageCopying = plan.StageCopying
	StageHanding = plan.StageHanding
	StageWaiting = plan.StageWaiting
)

// Outcome is what became of an order.
type Outcome struct {
	Stage         Stage
	Before, After string   // what the order is about, in words
	Notes         []string // what the operator should know
}

// Administer carries out an order: here when this node leads, at the leader otherwise. It fails with CodeConflict when the
// order would endanger data or cannot be carried out as things are, with CodeNotFound or CodeUnknownType when it names something
// that there is not, and says why.
func (c *Coordinator) Administer(ctx context.Context, o Order) (out Outcome, err error) {
	ctx, cancel := c.bounded(ctx)
	defer cancel()
	if err := o.validate(); err != nil {
		return Outcome{}, err
	}
	if o.By == "" {
		o.By = "node " + string(c.cfg.Node)
	}
	err = c.atLeader(ctx, leaderCall{
		again:   o.Kind != Transfer || o.Node != "", // whoever leads next would find somebody fit once more
		lingers: lastWord,
		local: func(ctx context.Context, v *voter) error {
			out, err = v.carryOut(ctx, o)
			return err
		},
		remote: func(ctx context.Context, g wire.GroupClient) error {
			reply, err := g.Administer(ctx, o.request())
			if err != nil {
				return transport.Typed(err)
			}
			if reply.Fault != nil {
				return transport.ErrorOf(reply.Fault)
			}
			out = Outcome{Stage(reply.Stage), reply.Before, reply.After, reply.Notes}
			return nil
		},
	})
	return out, err
}

func (o Order) request() *wire.AdministerRequest {
	return &wire.AdministerRequest{
		Order: o.Kind, Node: string(o.Node), Type: string(o.Shard.Type), Shard: uint32(o.Shard.Number), On: o.On,
		ForMillis: transport.Millis(o.For), DryRun: o.Judge, By: o.By, Copy: uint64(o.Copy), Quorum: uint32(o.Quorum), Epoch: uint64(o.Epoch),
	}
}

func orderOf(r *wire.AdministerRequest) Order {
	return Order{
		Kind: r.Order, Node: shard.NodeID(r.Node), Shard: shard.ID{Type: shard.TypeName(r.Type), Number: shard.Number(r.Shard)},
		On: r.On, For: time.Duration(min(max(r.ForMillis, -1), LongestSetting.Milliseconds()+1)) * time.Millisecond, Judge: r.DryRun, By: r.By,
		Copy: shard.CopyID(r.Copy), Quorum: int(min(r.Quorum, shard.MaxReplicas+1)), Epoch: shard.Epoch(r.Epoch),
	}
}

func (o Order) validate() error {
	nodeless := o.Kind == Pause || o.Kind >= Recover || (o.Node == "" && (o.Kind == Pin || o.Kind == Transfer))
	switch {
	case o.Kind <= wire.Order_ORDER_NONE || o.Kind > Degrade:
		return shard.Invalid("order %d is none that this node knows", o.Kind)
	case o.For < 0 || o.For > LongestSetting:
		return shard.Invalid("for %s, must be above 0 and at most %s", o.For, LongestSetting)
	case o.For != 0 && (!o.On || o.Kind != Maintain && o.Kind != Pause):
		return shard.Invalid("only what is set can have an end, a maintenance or a pause")
	case o.Kind == Recover && !o.On:
		return shard.Invalid("shard %s: to recover it takes the word of an operator that data may be lost", o.Shard)
	case nodeless:
		return nil
	}
	return o.Node.Validate()
}

// Administer implements the Group service. A client's order is passed on to the leader.
func (s *service) Administer(ctx context.Context, req *wire.AdministerRequest) (*wire.AdministerReply, error) {
	o := orderOf(req)
	var out Outcome
	var err error
	if node := transport.CallerNode(ctx); node == "" {
		ctx, cancel := answering(ctx)
		defer cancel()
		o.By = transport.CallerName(ctx)
		out, err = s.c.Administer(ctx, o)
	} else {
		o.By = fmt.Sprintf("%.200s through node %s", o.By, node)
		out, err = s.administer(ctx, o)
	}
	return &wire.AdministerReply{
		Stage: string(out.Stage), Before: out.Before, After: out.After, Notes: out.Notes, Fault: transport.FaultOf(err),
	}, nil
}

func (s *service) administer(ctx context.Context, o Order) (Outcome, error) {
	if err := o.validate(); err != nil {
		return Outcome{}, err
	}
	v, err := s.c.seat()
	if err != nil {
		return Outcome{}, err
	}
	return v.carryOut(ctx, o)
}

// carryOut does it here, on the leader, and writes it down.
func (v *voter) carryOut(ctx context.Context, o Order) (Outcome, error) {
	if err := v.leading.awaitReady(ctx); err != nil {
		return Outcome{}, err
	}
	out, err := v.obeyKnown(ctx, o)
	if o.Judge {
		return out, err
	}
	log := v.c.log.With("order", o.Kind, "node", o.Node, "shard", o.Shard, "on", o.On, "for", o.For, "copy", o.Copy, "quorum", o.Quorum, "epoch", o.Epoch, "by", o.By)
	if err != nil {
		log.Warn("an operator's order was refused", "error", err)
		return out, err
	}
	log.Info("an operator's order", "stage", out.Stage, "before", out.Before, "after", out.After)
	return out, nil
}

// obeyKnown refuses what names something that there is not. A node that was removed is named once more without harm, so that is asked
// only when the removal was refused.
func (v *voter) obeyKnown(ctx context.Context, o Order) (Outcome, error) {
	if o.Kind != Remove {
		if err := missing(v.machine.state().View, o.Node, o.Shard); err != nil {
			return Outcome{}, err
		}
		return v.obey(ctx, o)
	}
	out, err := v.obey(ctx, o)
	if shard.CodeOf(err) == shard.CodeConflict {
		err = cmp.Or(missing(v.machine.state().View, o.Node, shard.ID{}), err)
	}
	return out, err
}

func (v *voter) obey(ctx context.Context, o Order) (Outcome, error) {
	switch o.Kind {
	case Transfer:
		return v.transfer(ctx, o)
	case Move:
		return v.move(ctx, o)
	case Recover:
		return v.recover(ctx, o)
	case Degrade:
		return v.degrade(ctx, o)
	}
	before := v.machine.state()
	if o.Kind == Drain && o.On {
		if err := refuseDrain(before.View, o.Node); err != nil {
			return Outcome{}, err
		}
	}
	if o.Judge {
		return Outcome{Stage: StageJudged, Before: o.about(before.View), After: o.about(before.View)}, nil
	}
	if err := v.proposeOne(ctx, o.command(time.Now())); err != nil {
		return Outcome{}, err
	}
	after := v.machine.state()
	return Outcome{Stage: StageDone, Before: o.about(before.View), After: o.about(after.View), Notes: o.notes(after.View)}, nil
}

// proposeOne runs one command here and fails when it was refused, whole or in its only item.
func (v *voter) proposeOne(ctx context.Context, command fsm.Command) error {
	d, err := v.propose(ctx, fsm.Lengths{}, command)
	if err != nil {
		return err
	}
	if err := d.verdicts[0].Err(); err != nil {
		return err
	}
	if i := slices.IndexFunc(d.verdicts[0].Faults, func(f *shard.Error) bool { return f != nil }); i >= 0 {
		return d.verdicts[0].Faults[i]
	}
	return nil
}

// command is what an order means for the replicated state.
func (o Order) command(now time.Time) fsm.Command {
	until := int64(0)
	if o.For > 0 {
		until = now.Add(o.For).UnixMilli()
	}
	switch o.Kind {
	case Cordon:
		return &fsm.Mark{Node: o.Node, Cordoned: &o.On}
	case Maintain:
		return &fsm.Mark{Node: o.Node, Maintenance: &o.On, Until: until}
	case Drain:
		return &fsm.Mark{Node: o.Node, Draining: &o.On}
	case Pause:
		return &fsm.Pause{On: o.On, Until: until}
	case Pin:
		return &fsm.Pin{Shard: o.Shard, Node: o.Node}
	case Discard:
		return &fsm.Discard{Shard: o.Shard, Copy: o.Copy}
	default:
		return &fsm.Remove{Node: o.Node}
	}
}

package coordinator

import (
	"context"
	"fmt"
	"time"

	"muster/coordinator/plan"
	"muster/fsm"
	"muster/shard"
	"muster/transport/wire"
)

// What operators can order when a shard has lost more copies than its type's promise covers.
const (
	Recover = wire.Order_ORDER_RECOVER // one copy goes on alone, or nothing does; On: the operator accepts that confirmed records are lost
	Discard = wire.Order_ORDER_DISCARD // the data of a copy that was kept aside go
	Degrade = wire.Order_ORDER_DEGRADE // the shard may write to Quorum copies while others are away; 0 takes that back
)

// StageQuiet is that of a Recover which waits until the process that served last can confirm nothing any more.
const StageQuiet Stage = "quiet"

// recoverTries bounds how often an order to recover is begun anew because the shard went an epoch further meanwhile: one that
// cannot get a primary does so every few seconds.
const recoverTries = 3

// recover takes the next step towards a shard's going on with one copy alone, or with none. As with all orders of several steps, what is next
// is seen from the map, and the order is repeated until it is done.
func (v *voter) recover(ctx context.Context, o Order) (Outcome, error) {
	out := Outcome{Before: o.about(v.machine.state().View)}
	for try := 1; ; try++ {
		p := v.machine.state().View.Placement(o.Shard)
		if p == nil {
			return Outcome{}, noPlace(o.Shard)
		}
		stage, notes, err := v.promote(ctx, p)
		if after := v.machine.state().View.Placement(o.Shard); err != nil && after.Epoch != p.Epoch && try < recoverTries {
			continue
		}
		if err != nil {
			return Outcome{}, err
		}
		out.Stage, out.Notes, out.After = stage, notes, o.about(v.machine.state().View)
		return out, nil
	}
}

func (v *voter) promote(ctx context.Context, p *shard.Placement) (Stage, []string, error) {
	if fsm.Promoted(p) {
		if p.Status == shard.Active {
			return StageDone, asideNotes(p), nil
		}
		return StageWaiting, nil, nil
	}
	e, err := v.evidence(ctx, p.Shard)
	switch {
	case err != nil:
		return "", nil, err
	case e.Obstacle.Reason != "":
		return "", nil, &shard.Error{Code: shard.CodeConflict, Shard: p.Shard, Epoch: p.Epoch, Detail: e.Obstacle.Text}
	case e.Quiet > 0:
		return StageQuiet, []string{fmt.Sprintf("the process that served it last, on %s, may still confirm for %s", p.ActiveNode, e.Quiet.Round(100*time.Millisecond))}, nil
	}
	if len(e.Anew) > 0 {
		err = v.proposeOne(ctx, &fsm.BeginAnew{Items: []fsm.Placing{{Shard: e.Shard, Epoch: e.Epoch, Version: e.Version, Nodes: e.Anew}}})
		return StageWaiting, nil, err
	}
	return StageWaiting, nil, v.proposeOne(ctx, plan.Forsaking(e))
}

func asideNotes(p *shard.Placement) []string {
	if len(p.Aside) == 0 {
		return nil
	}
	return []string{fmt.Sprintf("%d copies are kept aside: muster aside %s lists them", len(p.Aside), p.Shard)}
}

// degrade allows or forbids a lower write quorum.
func (v *voter) degrade(ctx context.Context, o Order) (Outcome, error) {
	before := v.machine.state().View
	p := before.Placement(o.Shard)
	if p == nil {
		return Outcome{}, noPlace(o.Shard)
	}
	err := v.proposeOne(ctx, &fsm.Degrade{Items: []fsm.Degrading{{Shard: o.Shard, Epoch: p.Epoch, Version: p.Version, Floor: o.Quorum}}})
	if err != nil {
		return Outcome{}, err
	}
	return Outcome{Stage: StageDone, Before: o.about(before), After: o.about(v.machine.state().View)}, nil
}

func noPlace(id shard.ID) error {
	return &shard.Error{Code: shard.CodeConflict, Shard: id, Detail: "it has no place yet"}
}

// evidence asks the leader's loop what it knows of a shard.
func (v *voter) evidence(ctx context.Context, id shard.ID) (plan.Evidence, error) {
	if err := v.leading.awaitReady(ctx); err != nil {
		return plan.Evidence{}, err
	}
	return asked(ctx, v, func(d *plan.Driver, in plan.Input) plan.Evidence { return d.Evidence(in, id) })
}

func evidenceReply(e plan.Evidence) *wire.Evidence {
	w := &wire.Evidence{
		Epoch: uint64(e.Epoch), Version: uint64(e.Version), Status: e.Status.String(), Chosen: uint64(e.Chosen),
		BaseEpoch: uint64(e.Base.Epoch), BaseLsn: uint64(e.Base.LSN), Known: uint64(e.Known), Lost: uint64(e.Lost), Whole: e.Whole,
		QuietMicros: e.Quiet.Microseconds(), Reason: string(e.Obstacle.Reason), Text: e.Obstacle.Text,
	}
	for _, node := range e.Anew {
		w.Anew = append(w.Anew, string(node))
	}
	for _, c := range e.Copies {
		w.Witnesses = append(w.Witnesses, &wire.Witness{
			Copy: uint64(c.Copy.ID), Node: string(c.Copy.Node), Directory: string(c.Copy.Directory), State: c.Copy.State.String(),
			Learner: c.Learner, Up: c.Up, AwayMicros: c.Away.Microseconds(), Answered: c.Answered,
			LastEpoch: uint64(c.Last.Epoch), LastLsn: uint64(c.Last.LSN), Confirmed: uint64(c.Confirmed),
		})
	}
	return w
}

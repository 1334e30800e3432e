package coordinator

import (
	"context"
	"fmt"
	"strings"
	"time"

	"muster/coordinator/plan"
	"muster/fsm"
	"muster/shard"
	"muster/transport/wire"
)

// What operators can order when a shard has lost more copies than its type's promise covers.
const (
	Recover = wire.Order_ORDER_RECOVER // Copy goes on alone, or nothing does; On: the operator has seen the evidence of Epoch and accepts that confirmed records are lost
	Discard = wire.Order_ORDER_DISCARD // the data of a copy that was kept aside go
	Degrade = wire.Order_ORDER_DEGRADE // the shard may write to Quorum copies while others are away; 0 takes that back
)

// StageQuiet is that of a Recover which waits until the process that served last can confirm nothing any more.
const StageQuiet Stage = "quiet"

// recover takes the next step towards a shard's going on with one copy alone, or with none. As with all orders of several steps, what is next
// is seen from the map, and the order is repeated until it is done.
//
// It is a compare-and-set on the epoch whose evidence the operator has seen, and on what was to go on then. So however often it
// is repeated, it does one thing at most: when the copy that went on is gone before it was elected the shard waits for it, and
// whoever would do without that too has to look again. Rejected: going by the evidence of the moment. A node that blinked between two
// repetitions made an order to go on with its copy one to begin with nothing.
func (v *voter) recover(ctx context.Context, o Order) (Outcome, error) {
	out := Outcome{Before: o.about(v.machine.state().View)}
	p := v.machine.state().View.Placement(o.Shard)
	if p == nil {
		return Outcome{}, noPlace(o.Shard)
	}
	var err error
	if view := v.machine.state().View; !carriedOut(view, p, o) {
		out.Stage, out.Notes, err = v.promote(ctx, p, o)
	}
	if err != nil {
		return Outcome{}, err
	}
	after := v.machine.state().View
	if out.After = o.about(after); out.Stage == "" {
		out.Stage, out.Notes = goesOn(after, after.Placement(o.Shard))
	}
	return out, nil
}

// carriedOut reports whether the order had its effect before; or an earlier one had, the shard recovers by itself since, and this one
// comes of looking at that.
func carriedOut(v *shard.View, p *shard.Placement, o Order) bool {
	return fsm.WentOn(p, o.Epoch+1) && !withoutIt(p, o) || p.Epoch == o.Epoch && fsm.WentOn(p, p.Epoch) && (p.Status == shard.Active || len(gone(v, p)) == 0)
}

// withoutIt reports whether the shard went on from the order's epoch with something else than the order accepts.
func withoutIt(p *shard.Placement, o Order) bool {
	if o.Copy == 0 {
		return p.Emptied != o.Epoch+1
	}
	a, aside := p.KeptAside(o.Copy)
	return aside && a.Epoch == o.Epoch+1
}

// promote has the shard go on as the operator has accepted, unless the process that served last may still confirm: then it names the
// stage, and says for how long.
func (v *voter) promote(ctx context.Context, p *shard.Placement, o Order) (Stage, []string, error) {
	e, err := v.evidence(ctx, p.Shard)
	if err != nil {
		return "", nil, err
	}
	refused := &shard.Error{Code: shard.CodeConflict, Shard: p.Shard, Epoch: e.Epoch}
	switch {
	case e.Obstacle.Reason != "":
		refused.Detail = e.Obstacle.Text
	case e.Epoch != o.Epoch:
		refused.Detail = fmt.Sprintf("the order goes by what was known in epoch %d: look at the evidence again", o.Epoch)
	case e.Chosen != o.Copy:
		refused.Detail = fmt.Sprintf("%s would go on now, and %s was accepted: look at the evidence again", inWords(e.Chosen), inWords(o.Copy))
	case o.Judge:
		refused.Detail = "nothing could go on when it was looked at, so nothing was accepted: look at the evidence again"
	case e.Quiet > 0:
		return StageQuiet, []string{fmt.Sprintf("the process that served it last, on %s, may still confirm for %s", p.ActiveNode, e.Quiet.Round(100*time.Millisecond))}, nil
	case e.Chosen == 0:
		return "", nil, v.proposeOne(ctx, &fsm.BeginAnew{Items: []fsm.Placing{{Shard: e.Shard, Epoch: e.Epoch, Version: e.Version, Nodes: e.Anew}}})
	default:
		return "", nil, v.proposeOne(ctx, plan.Forsaking(e))
	}
	return "", nil, refused
}

func inWords(id shard.CopyID) string {
	if id == 0 {
		return "nothing"
	}
	return fmt.Sprintf("copy %d", id)
}

// goesOn says how far a shard is that went on, and what it waits for.
func goesOn(v *shard.View, p *shard.Placement) (Stage, []string) {
	away := gone(v, p)
	switch {
	case p.Status == shard.Active:
		return StageDone, asideNotes(p)
	case len(away) == 0:
		return StageWaiting, []string{"it goes on, and is between two primaries"}
	case p.Status == shard.Forming:
		return StageWaiting, []string{fmt.Sprintf("it begins with nothing, and waits for %s, where a new copy is to be made", strings.Join(away, ", "))}
	}
	return StageWaiting, []string{fmt.Sprintf("it goes on with what %s has, and waits for that: start it. If it will not come back, muster recover %s shows what would be left", strings.Join(away, ", "), p.Shard)}
}

// gone are the nodes of the members of C that cannot be reached.
func gone(v *shard.View, p *shard.Placement) (away []string) {
	for _, c := range p.Copies {
		if s, up := v.Sessions[v.Members[c.Node].Session]; !up || s.Directory != c.Directory {
			away = append(away, string(c.Node))
		}
	}
	return away
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

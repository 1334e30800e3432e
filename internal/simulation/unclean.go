package simulation

import (
	"slices"
	"time"

	"muster/coordinator/plan"
	"muster/fsm"
	"muster/shard"
)

// lower allows a shard to write to fewer copies than its type says. The group refuses that while nothing is missing.
func (w *world) lower(*node) {
	pl := w.anyPlacement()
	if pl == nil || pl.Status != shard.Active {
		return
	}
	most := w.setup.spec(pl.Shard.Type).WriteQuorum()
	if most < 2 || pl.Floor != 0 {
		return
	}
	floor := 1 + w.dice.IntN(most-1)
	if w.order(&fsm.Degrade{Items: []fsm.Degrading{{Shard: pl.Shard, Epoch: pl.Epoch, Version: pl.Version, Floor: floor}}}) {
		w.did(Lower, "%s may write to %d copies", pl.Shard, floor)
	}
}

// forsake has a shard that waits for copies go on with the best one that can be reached.
func (w *world) forsake(*node) {
	id := pick(w, w.setup.ids)
	w.insist(200*time.Millisecond, 3*time.Second, func(bool) bool { return w.healed || w.forsakeOne(id) })
}

// forsakeOne gives the order when the leader says that it may be. It reports whether nothing is left to do.
func (w *world) forsakeOne(id shard.ID) (over bool) {
	p := w.raft.leader
	if p == nil || p.leads == nil {
		return false
	}
	pl := p.view.Placement(id)
	if pl == nil || pl.Status == shard.Active || fsm.WentOn(pl, pl.Epoch) {
		return true
	}
	e := p.leads.driver.Evidence(p.input(), id)
	if command := plan.Forsaking(e); command != nil {
		w.did(Forsake, "%s in epoch %d", id, pl.Epoch)
		w.check.of(id).accepted = pl.Epoch
		w.raft.propose(p, ignored, command)
	}
	if e.Obstacle.Reason == "" && e.Quiet == 0 && len(e.Anew) > 0 {
		w.beginAnew(e)
	}
	return false
}

// beginAnew orders that a shard begin with nothing, as none of its copies can be reached. The order may take a while, and one of them
// be back by then.
func (w *world) beginAnew(e plan.Evidence) {
	w.did(BeginAnew, "%s in epoch %d", e.Shard, e.Epoch)
	w.check.of(e.Shard).accepted = e.Epoch
	command := &fsm.BeginAnew{Items: []fsm.Placing{{Shard: e.Shard, Epoch: e.Epoch, Version: e.Version, Nodes: e.Anew}}}
	w.after(w.between(0, 3*time.Second), func() { w.order(command) })
}

// rescue has operators bring back what is stuck when all else is well: a shard without a primary goes on with one copy or begins anew,
// one that has too few to write to does with those it has. It reports whether there was any.
func (w *world) rescue() bool {
	begun := false
	for _, id := range w.setup.ids {
		pl := w.raft.state().View.Placement(id)
		if !w.hopeless(pl) {
			continue
		}
		begun = true
		if pl.Status == shard.Active && len(w.intact(pl)) > 0 {
			w.order(&fsm.Degrade{Items: []fsm.Degrading{{Shard: id, Epoch: pl.Epoch, Version: pl.Version, Floor: len(w.intact(pl))}}})
		}
		w.insist(200*time.Millisecond, w.setup.times.Lease+w.setup.times.Autonomy+5*time.Second, func(bool) bool { return w.forsakeOne(id) })
	}
	if next := time.Duration(0); begun {
		w.until(w.now+w.setup.times.Lease+w.setup.times.Autonomy+10*time.Second, func() bool {
			if w.now < next {
				return false
			}
			next = w.now + lookEvery
			return !slices.ContainsFunc(w.setup.ids, func(id shard.ID) bool { return w.hopeless(w.raft.state().View.Placement(id)) })
		})
	}
	return begun
}

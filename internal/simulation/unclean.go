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
	if pl == nil || pl.Status == shard.Active || fsm.Promoted(pl) {
		return true
	}
	if command := plan.Forsaking(p.leads.driver.Evidence(p.input(), id)); command != nil {
		w.did(Forsake, "%s in epoch %d", id, pl.Epoch)
		w.raft.propose(p, ignored, command)
	}
	return false
}

// rescue has operators bring back what is stuck when all else is well: a shard without a primary goes on with one copy, one that
// has too few to write to does with those it has. It reports whether there was any.
func (w *world) rescue() bool {
	begun := false
	for _, id := range w.setup.ids {
		pl := w.raft.state().View.Placement(id)
		if !w.hopeless(pl) || len(w.intact(pl)) == 0 {
			continue
		}
		begun = true
		if pl.Status == shard.Active {
			w.order(&fsm.Degrade{Items: []fsm.Degrading{{Shard: id, Epoch: pl.Epoch, Version: pl.Version, Floor: len(w.intact(pl))}}})
		}
		w.insist(200*time.Millisecond, w.setup.times.Lease+w.setup.times.Autonomy+5*time.Second, func(bool) bool { return w.forsakeOne(id) })
	}
	if begun {
		w.until(w.now+w.setup.times.Lease+w.setup.times.Autonomy+10*time.Second, func() bool {
			return !slices.ContainsFunc(w.setup.ids, func(id shard.ID) bool {
				pl := w.raft.state().View.Placement(id)
				return w.hopeless(pl) && len(w.intact(pl)) > 0
			})
		})
	}
	return begun
}

// forsaken notes that a shard goes on with one copy alone: what only others held is not confirmed any more, and what clients were
// told until now may be gone.
func (c *checker) forsaken(p *shard.Placement) {
	t := c.of(p.Shard)
	if p.Cause != shard.CauseUnclean || p.Epoch == t.forsaken {
		return
	}
	t.forsaken = p.Epoch
	chosen := &c.copies[p.Copies[0].ID].log
	common := min(chosen.end(), t.confirmed.end())
	for common > 0 && chosen.at(common) != t.confirmed.at(common) {
		common--
	}
	c.w.counts.Forsaken++
	if common == t.confirmed.end() {
		return
	}
	c.w.log("%s goes on without confirmed records %d to %d", p.Shard, common+1, t.confirmed.end())
	c.w.counts.Lost++
	t.confirmed.cut(common + 1)
	t.lost = c.w.now
}

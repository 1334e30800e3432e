package replication_test

import (
	"slices"

	"muster/fsm"
	"muster/region/route"
	"muster/replication"
	"muster/shard"
)

// This file is how shards move in the explored world: what the group plans, and what primaries make of it.

// patience is how many ticks a member of C may owe an answer before it is left out.
const patience = 1

// A learner is a copy that the group has minted before the search begins.
type learner struct {
	node     int // its number from 1; 0 for none
	replaces shard.CopyID
}

// plans are the steps of the planner: any that the state machine would accept may come to its mind.
func (w *world) plans() []step {
	var all []step
	p := w.group.place
	if w.left.learners > 0 {
		for i, n := range w.nodes {
			if _, has := route.CopyOn(p, n.directory()); has {
				continue
			}
			all = append(all, step{what: mint, node: int8(i)})
			for _, c := range p.Copies {
				all = append(all, step{what: mint, node: int8(i), of: about(c.ID)})
			}
		}
	}
	if w.left.drops > 0 {
		for _, l := range p.Learners {
			all = append(all, step{what: drop, of: about(l.Copy.ID)})
		}
	}
	if w.left.wishes > 0 && p.Status == shard.Active {
		for _, c := range p.Copies {
			if c.ID != p.Primary && c.ID != p.HandTo {
				all = append(all, step{what: wish, of: about(c.ID)})
			}
		}
	}
	return all
}

func about(ids ...shard.CopyID) (of [copies]shard.CopyID) {
	copy(of[:], ids)
	return of
}

func (gs *groups) mint(g *group, node shard.NodeID, replaces shard.CopyID) *group {
	return gs.apply(g, &fsm.AddLearner{Items: []fsm.NewLearner{
		{Shard: theShard, Epoch: g.place.Epoch, Version: g.place.Version, Node: node, Replaces: replaces},
	}})
}

func (gs *groups) drop(g *group, id shard.CopyID) *group {
	return gs.apply(g, &fsm.DropLearner{Items: []fsm.LearnerItem{{Shard: theShard, Copy: id}}})
}

func (gs *groups) wish(g *group, to shard.CopyID) *group {
	return gs.apply(g, &fsm.Wish{Items: []fsm.Wishing{
		{Shard: theShard, Epoch: g.place.Epoch, Version: g.place.Version, To: to},
	}})
}

// changes lists the C that a primary may propose: what is due; with config.whims any of the copies that the map names. The
// protocol refuses what is not safe.
func (w *world) changes(n *node) []step {
	if !w.r.config.whims {
		due := n.copy.Due(n.seen.place, patience)
		if due == nil || n.copy.Changing() {
			return nil
		}
		return []step{{what: reconfigure, node: int8(n.place), of: about(due...)}}
	}
	var all []step
	known := n.known()
	for bits := 1; bits < 1<<len(known); bits++ {
		var c []shard.CopyID
		for i, id := range known {
			if bits>>i&1 != 0 {
				c = append(c, id)
			}
		}
		if len(c) <= copies {
			all = append(all, step{what: reconfigure, node: int8(n.place), of: about(c...)})
		}
	}
	return all
}

// known lists the copies that a primary has read of.
func (n *node) known() []shard.CopyID {
	var ids []shard.CopyID
	for _, c := range n.seen.place.Copies {
		ids = append(ids, c.ID)
	}
	for _, l := range n.seen.place.Learners {
		ids = append(ids, l.Copy.ID)
	}
	return ids
}

// reconfigure lets a primary ask for another C. It would repeat that until the map shows how it ended; the network does.
func (w *world) reconfigure(n *node, of [copies]shard.CopyID) bool {
	c := slices.DeleteFunc(of[:], func(id shard.CopyID) bool { return id == 0 })
	if !n.copy.Reconfigure(c) {
		return false
	}
	w.left.changes--
	set, err := shard.NewCopySet(c...)
	if err != nil {
		panic(err)
	}
	p := n.seen.place
	w.report(n, n.seen, shard.Report{Kind: shard.ReportReconfig, Shard: theShard, Copies: set, Epoch: p.Epoch, Version: p.Version})
	return true
}

// stepDown lets a primary give up its lead as soon as the protocol allows it; the region pauses first, and takes its time. What
// it does when the map then shows no successor, to ask for a recovery, is a suspect.
func (w *world) stepDown(n *node) bool {
	seen := n.seen
	e, ok := n.copy.StepDown(seen.place.HandTo)
	if !ok {
		return false
	}
	if w.group.place.Epoch == seen.place.Epoch {
		w.past.steppedDown(n, w.held(seen.place.HandTo))
	}
	n.given = replication.Given{Epoch: seen.place.Epoch, To: seen.place.HandTo}
	w.carry(n, e)
	w.handOver(n, seen)
	return true
}

// handOver reports what stepDown has done.
func (w *world) handOver(n *node, seen *group) {
	w.report(n, seen, shard.Report{
		Kind: shard.ReportHandoff, Shard: theShard, Copy: n.given.To, Epoch: n.given.Epoch, Version: seen.place.Version,
	})
}

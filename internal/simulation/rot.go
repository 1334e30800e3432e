package simulation

import (
	"slices"
	"time"

	"muster/region/route"
	"muster/shard"
)

// A journal loses what it held, and the directory stays what it was, its Raft store too. Either a sync fails: what the page cache shows
// proves nothing then, so the process ends, and the next one sets the whole journal aside and begins an empty one. Or rot gets into the data
// of a copy, and whoever reads them finds it: the process that hosts the copy, or the next when it opens the journal. Both cost
// each copy that they concern, and nothing else.

// failSync lets a sync of a node's journal fail.
func (w *world) failSync(n *node) {
	held := len(n.disk.copies)
	if held == 0 || w.ruins(n) && w.chance(sparing) {
		return
	}
	if back := w.between(0, 3*time.Second); w.setAside(n, back) {
		w.did(FailSync, "%s, away for %s, with %d copies", n.id, back, held)
	}
}

// sparing is the share of losses that do not happen because a shard could not bear them.
const sparing = 0.7

// ruins reports whether a shard would be left with too few copies to elect a primary, or to be written to, without those of a node.
func (w *world) ruins(n *node) bool {
	return slices.ContainsFunc(w.setup.ids, func(id shard.ID) bool {
		p := w.raft.state().View.Placement(id)
		if p == nil || p.WriteQuorum == 0 {
			return false
		}
		rest := slices.DeleteFunc(w.intact(p), func(s *stored) bool { return n.disk.find(s.id) != nil })
		return len(rest) < max(p.RecoveryQuorum(), p.WriteQuorum)
	})
}

// setAside ends a node's process. The next one begins with an empty journal.
func (w *world) setAside(n *node, back time.Duration) bool {
	if !w.kill(n, back) {
		return false
	}
	w.log("%s: its journal is set aside", n.id)
	n.disk.lose()
	n.disk.copies = nil
	return true
}

// lose notes that what the directory holds of copies is gone.
func (d *disk) lose() {
	for _, s := range d.copies {
		s.lost = true
	}
}

// rot spoils the data of a copy. Until that is found the copy goes on.
func (w *world) rot(n *node) {
	if len(n.disk.copies) == 0 || w.ruins(n) && w.chance(sparing) {
		return
	}
	s, found := pick(w, n.disk.copies), w.between(0, time.Second)
	if p := n.process; p != nil {
		if hd := p.holdingOf(s.id); hd != nil && hd.Creating {
			return // nobody reads it yet, so nobody would find it
		}
	}
	w.did(Rot, "copy %d of %s on %s", s.id, s.shard, n.id)
	s.lost, s.rotten = true, true
	if w.chance(0.5) {
		w.kill(n, found)
		return
	}
	w.after(found, func() {
		if n.process != nil && n.disk.find(s.id) == s { // a copy that was set aside meanwhile may have been made again
			n.process.damaged(s.id)
		}
	})
}

// rotten is what the journal says of data that cannot be trusted.
const rotten = "its data are rotten"

// damaged gives up a copy whose data cannot be read.
func (p *process) damaged(id shard.CopyID) {
	hd := p.holdingOf(id)
	if hd == nil || hd.host == nil {
		return
	}
	p.unhost(hd)
	hd.Damage = rotten
	if pl := p.view.Placement(hd.shard); pl != nil {
		if mine, ok := route.Named(pl, id); ok && mine.State != shard.CopyLost {
			hd.tell(p, mine)
		}
	}
}

// born lets a sync fail on a node that has created a copy, before anybody has heard that it did: the copy may be created again, empty,
// so nobody may have counted on the first.
func (w *world) born(p *process, hd *holding) {
	if w.healed || w.torn || w.now < warmUp || !w.chance(w.swarm.stillborn) {
		return
	}
	s := hd.host.stored
	p.hushed = hd.id
	w.insist(100*time.Millisecond, 1500*time.Millisecond, func(last bool) bool {
		if p.n.process != p || s.log.end() == 0 && !last {
			return p.n.process != p
		}
		p.hushed = 0
		if w.setAside(p.n, w.between(0, 500*time.Millisecond)) {
			w.counts.Stillborn++
			w.log("%s: copy %d of %s was there, and nobody knew", p.n.id, hd.id, hd.shard)
		}
		return true
	})
}

// gone judges copies that the group gives up: their data are, or their node was removed.
func (c *checker) gone(p *shard.Placement) {
	view := c.w.raft.state().View
	for _, x := range p.Copies {
		was, member := c.of(p.Shard).before.Copy(x.ID)
		if x.State != shard.CopyLost || !member || was.State != shard.CopyReady {
			continue
		}
		if _, there := view.Members[x.Node]; there && !c.copies[x.ID].lost {
			c.w.fail("I8: %s gives copy %d on %s up as lost, and its data are there", p.Shard, x.ID, x.Node)
		}
	}
}

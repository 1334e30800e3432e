package replication_test

import (
	"math"

	"muster/region/route"
	"muster/replication"
	"muster/shard"
)

// This file is what a node does with a map. The decisions are those of the region's own code: what becomes of a copy, what to
// report of it, which part it plays.

// concerns reports whether a map can make a difference to the node: one that names another primary means nothing to a
// process that neither leads nor is about to.
func concerns(g *group, n *node) bool {
	mine, named := route.CopyOn(g.place, n.directory())
	switch {
	case !n.up:
		return false
	case len(n.maps) > 0 || mine.ID != n.id:
		return named || n.copy != nil
	case n.copy == nil:
		return false
	}
	return g.place.Session == n.session || n.copy.Leads() != 0 || n.given.Epoch != 0
}

// see lets the node act on the next map.
func (w *world) see(n *node) {
	g := n.maps[0]
	n.maps = n.maps[1:]
	w.house(n, g)
	if n.copy == nil {
		return
	}
	w.succeeded(n, g)
	switch route.PartOf(g.place, n.id, n.session) {
	case route.Lead:
		w.lead(n, g)
	case route.Serve:
		w.lead(n, g)
		if n.copy.Leads() == g.place.Epoch && !n.copy.Serves() {
			w.carry(n, n.copy.Activate(g.place.Version))
		}
	case route.Follow:
		w.carry(n, n.copy.Follow(g.place.Epoch))
	}
	if n.copy.Leads() == g.place.Epoch {
		n.seen = g
		w.carry(n, n.copy.Configure(leadership(g.place)))
	}
}

// lead begins the epoch that a map names the node for, unless it has begun already or cannot.
func (w *world) lead(n *node, g *group) {
	if n.copy.Leads() == g.place.Epoch {
		return
	}
	if e, err := n.copy.Lead(leadership(g.place)); err == nil {
		w.past.leads(n, g.place.Epoch)
		w.carry(n, e)
	}
}

func leadership(p *shard.Placement) replication.Leadership {
	return replication.LeadershipOf(p, shard.Spec{Replicas: copies - 1, MinAcks: p.WriteQuorum - 1})
}

// house makes the node hold what the map says it holds: it retires a copy, or puts it aside, unless the copy has left the map
// behind; it creates one that is minted, and reports what it finds.
func (w *world) house(n *node, g *group) {
	held := route.Holding{Since: 1} // after a map that named it
	if n.id != 0 {
		fate := held.Fate(n.id, g.place, 1)
		if fate != route.Keep && !n.copy.Dispensable(g.place.Epoch) {
			return
		}
		if fate == route.Aside {
			w.past.lose(n)
		}
		if fate != route.Keep {
			n.remove()
		}
	}
	mine, named := route.CopyOn(g.place, n.directory())
	if !named {
		return
	}
	if n.id == 0 && mine.State == shard.CopyMinted {
		n.id, n.disk = mine.ID, disk{}
		n.open()
	}
	held.Missing = n.id != mine.ID
	if r, due := held.Report(theShard, mine); due {
		w.report(n, g, r)
	}
}

// rot is the copy's data being found damaged: nothing of it is ever used again.
func (w *world) rot(n *node) {
	w.past.lose(n)
	held := route.Holding{Since: 1, Damage: "rot"}
	if r, due := held.Report(theShard, shard.Copy{ID: n.id}); due {
		w.report(n, w.group, r)
	}
	n.remove()
}

// remove takes the copy out of the directory.
func (n *node) remove() {
	n.close()
	n.id, n.disk = 0, disk{}
}

// succeeded looks at what the map makes of a lead that was given up. How long the pause lasts makes no difference here.
func (w *world) succeeded(n *node, g *group) {
	if n.given.Epoch == 0 {
		return
	}
	switch n.given.Shown(g.place, math.MaxUint64) {
	case replication.GivenAgain:
		w.handOver(n, g)
	case replication.GivenOver:
		n.given = replication.Given{}
	}
}

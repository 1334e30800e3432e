package simulation

import (
	"time"

	"muster/shard"
)

func (w *world) kill(n *node, back time.Duration) bool {
	if n.process == nil || w.healed {
		return false
	}
	n.crash()
	w.after(back, n.start)
	return true
}

func (w *world) killOne(n *node) {
	if back := w.between(0, 5*time.Second); w.kill(n, back) {
		w.did(Kill, "%s for %s", n.id, back)
	}
}

func (w *world) pause(n *node) {
	d := w.between(50*time.Millisecond, 4*time.Second)
	n.paused = max(n.paused, w.now+d) // what waits for the end of an earlier one knows of no other
	w.did(PauseNode, "%s for %s", n.id, d)
}

// cutOff cuts a node off from some others, in one direction or both.
func (w *world) cutOff(n *node) {
	all, oneWay := w.chance(0.5), w.chance(0.3)
	for _, other := range w.others(n) {
		if !all && w.chance(0.5) {
			continue
		}
		w.cut(n, other)
		if !oneWay {
			w.cut(other, n)
		}
	}
	w.did(CutOff, "%s, from all %t, one way %t", n.id, all, oneWay)
}

// bridge parts the nodes in two halves that see each other only through one node.
func (w *world) bridge(n *node) {
	rest := w.others(n)
	w.dice.Shuffle(len(rest), func(i, j int) { rest[i], rest[j] = rest[j], rest[i] })
	w.part(rest[:len(rest)/2], rest[len(rest)/2:])
	w.did(Bridge, "%s", n.id)
}

// isolate cuts somebody who matters off from everybody: the leader of the group, or a primary from its copies alone.
func (w *world) isolate(*node) {
	if p := w.raft.leader; p != nil && w.chance(0.4) {
		w.part([]*node{p.n}, w.others(p.n))
		w.did(Isolate, "the leader, %s", p.n.id)
		return
	}
	pl := w.anyPlacement()
	if pl == nil || pl.Node == "" {
		return
	}
	var copies []*node
	for _, c := range pl.Copies {
		if c.Node != pl.Node {
			copies = append(copies, w.node(c.Node))
		}
	}
	w.part([]*node{w.node(pl.Node)}, copies)
	w.did(Isolate, "%s, the primary of %s", pl.Node, pl.Shard)
}

func (w *world) mend() {
	w.net.cut = map[[2]*node]bool{}
	for _, n := range w.nodes {
		n.disk.slow, n.disk.stalled = 0, 0
	}
	w.did(Mend, "all links")
}

func (w *world) slow(n *node) {
	n.disk.slow = w.between(0, 600*time.Millisecond)
	w.did(SlowDisk, "%s: each sync takes %s longer", n.id, n.disk.slow)
}

func (w *world) stall(n *node) {
	d := w.between(500*time.Millisecond, 5*time.Second)
	n.disk.stalled = w.now + d
	w.did(StallDisk, "%s: no sync for %s", n.id, d)
}

func (w *world) weather() {
	w.net.loss, w.net.twice, w.net.late = 0.3*w.dice.Float64()*w.dice.Float64(), 0.2*w.dice.Float64(), 0.2*w.dice.Float64()
	w.did(Weather, "loss %.2f, twice %.2f, late %.2f", w.net.loss, w.net.twice, w.net.late)
}

func (w *world) strikeOwner(*node) {
	if pl := w.anyPlacement(); pl != nil && pl.Node != "" && w.kill(w.node(pl.Node), w.between(0, 3*time.Second)) {
		w.did(StrikeOwner, "%s, which owns %s", pl.Node, pl.Shard)
	}
}

func (w *world) strikeLeader(*node) {
	if p := w.raft.leader; p != nil && w.kill(p.n, w.between(0, 3*time.Second)) {
		w.did(StrikeLeader, "%s", p.n.id)
	}
}

func (w *world) anyPlacement() *shard.Placement {
	return w.raft.state().View.Placement(pick(w, w.setup.ids))
}

// doubt makes a node ask for the recovery of everything it owns, while it goes on serving; perhaps it hears nothing of
// what comes of that.
func (w *world) doubt(n *node) {
	p := n.process
	if p == nil || p.adopted() == 0 {
		return
	}
	if w.chance(0.6) {
		w.after(w.between(0, 20*time.Millisecond), func() {
			for _, other := range w.others(n) {
				w.cut(other, n)
			}
		})
	}
	for _, id := range w.setup.ids {
		if pl := p.view.Placement(id); pl != nil && pl.Session == p.session.id {
			p.report(shard.Report{Kind: shard.ReportRecover, Shard: id, Copy: pl.Primary, Epoch: pl.Epoch, Version: pl.Version})
		}
	}
	w.did(Doubt, "%s asks for recovery of what it owns", n.id)
}

// duel cuts an owner off from the other nodes, with a log full of what it cannot confirm, until another has taken over and perhaps
// written a little; then that one dies and the first is back, with a log that is long and counts for nothing.
func (w *world) duel(*node) {
	pl := w.anyPlacement()
	if pl == nil || pl.Node == "" {
		return
	}
	id, first := pl.Shard, w.node(pl.Node)
	w.part([]*node{first}, w.others(first))
	w.did(Duel, "about %s: %s is cut off", id, first.id)
	if p := first.process; p != nil && p.adopted() != 0 {
		for range w.dice.IntN(40) {
			w.ask(id, "e0", p)
		}
	}
	brief := w.between(0, 500*time.Millisecond)
	w.insist(50*time.Millisecond, 5*time.Second, func(last bool) bool {
		now := w.raft.state().View.Placement(id)
		taken := now.Status == shard.Active && now.Node != first.id
		if w.healed || !last && !taken {
			return w.healed
		}
		w.after(brief, func() {
			if w.healed {
				return
			}
			w.mend()
			if taken {
				w.kill(w.node(now.Node), w.between(500*time.Millisecond, 5*time.Second))
			}
		})
		return true
	})
}

// siege lets the nodes of one shard fall one after the other, each for longer than a lease, so that answers outlive those
// who gave them. One of them has missed the newest records.
func (w *world) siege(*node) {
	pl := w.anyPlacement()
	if pl == nil || len(pl.Copies) < 3 {
		return
	}
	order := w.dice.Perm(len(pl.Copies))
	behind := w.node(pl.Copies[order[len(order)-1]].Node)
	w.part([]*node{behind}, w.others(behind))
	at := w.between(200*time.Millisecond, time.Second)
	for _, i := range order[:len(order)-1] {
		n := w.node(pl.Copies[i].Node)
		w.after(at, func() { w.kill(n, w.between(3*time.Second, 9*time.Second)) })
		at += w.between(500*time.Millisecond, 3*time.Second)
	}
	w.after(at-w.between(0, 500*time.Millisecond), func() {
		if !w.healed {
			w.mend()
		}
	})
	w.did(Siege, "of %s", pl.Shard)
}

// harry kills elected primaries before they serve, so that epochs pass that wrote and confirmed nothing, and copies that are
// wished to lead.
func (w *world) harry(p *shard.Placement) {
	if w.healed || w.now < warmUp {
		return
	}
	victim := shard.NodeID("")
	switch {
	case p.Status == shard.Establishing && w.chance(w.swarm.harry):
		victim = p.Node
	case p.Wished() && w.chance(w.swarm.target):
		victim = p.HandNode
	default:
		return
	}
	n := w.node(victim)
	w.after(w.between(0, 60*time.Millisecond), func() { w.kill(n, w.between(0, 3*time.Second)) })
}

// blackout ends all processes at once.
func (w *world) blackout(*node) {
	for _, n := range w.nodes {
		w.kill(n, w.between(0, 2*time.Second))
	}
	w.did(Blackout, "all nodes")
}

// wipeOne replaces a node's directory by an empty one. Voters that could not be replaced are spared.
func (w *world) wipeOne(n *node) {
	intact, voters := w.raft.intact(n)
	if n.process == nil || 2*intact <= voters {
		return
	}
	n.crash()
	n.wipe()
	w.after(w.between(0, 3*time.Second), n.start)
	w.did(Wipe, "%s", n.id)
}

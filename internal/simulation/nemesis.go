package simulation

import (
	"time"

	"muster/shard"
)

// faults counts what was done to the cluster: a run that broke nothing proved nothing.
type faults struct {
	crashes, pauses, cuts, wipes, stalls, leaders int
}

// disturb does something now and plans the next.
func (w *world) disturb() {
	if w.healed {
		return
	}
	w.after(w.between(50*time.Millisecond, 1500*time.Millisecond), w.disturb)
	n := pick(w, w.nodes)
	switch w.dice.IntN(15) {
	case 0, 1, 2:
		w.kill(n, w.between(0, 5*time.Second))
	case 3, 4:
		w.pause(n)
	case 5, 6:
		w.isolate(n)
	case 7:
		w.mend()
	case 8:
		w.stall(n)
	case 9:
		w.weather()
	case 10:
		w.strike(n)
	case 11:
		w.doubt(n)
	case 12:
		w.duel()
	case 13:
		w.siege()
	default:
		w.rare(n)
	}
}

func (w *world) kill(n *node, back time.Duration) {
	if n.process == nil {
		return
	}
	w.faults.crashes++
	n.crash()
	w.after(back, n.start)
}

func (w *world) pause(n *node) {
	d := w.between(50*time.Millisecond, 4*time.Second)
	w.faults.pauses++
	w.log("%s: pauses for %s", n.id, d)
	n.paused = w.now + d
}

// isolate cuts a node off from some others, in one direction or both.
func (w *world) isolate(n *node) {
	w.faults.cuts++
	all, oneWay := w.chance(0.5), w.chance(0.3)
	for _, other := range w.nodes {
		if other == n || !(all || w.chance(0.5)) {
			continue
		}
		w.log("cut %s -> %s, one way %t", n.id, other.id, oneWay)
		w.net.cut[[2]*node{n, other}] = true
		if !oneWay {
			w.net.cut[[2]*node{other, n}] = true
		}
	}
}

func (w *world) mend() {
	w.log("links mended")
	w.net.cut = map[[2]*node]bool{}
	for _, n := range w.nodes {
		n.disk.slow = 0
	}
}

func (w *world) stall(n *node) {
	w.faults.stalls++
	n.disk.slow = w.between(0, 600*time.Millisecond)
	w.log("%s: each sync takes %s longer", n.id, n.disk.slow)
}

func (w *world) weather() {
	w.net.loss, w.net.twice, w.net.late = 0.3*w.dice.Float64()*w.dice.Float64(), 0.2*w.dice.Float64(), 0.2*w.dice.Float64()
	w.log("network: loss %.2f, twice %.2f, late %.2f", w.net.loss, w.net.twice, w.net.late)
}

// strike kills a node where it hurts: the owner of some shard, or the leader of the group.
func (w *world) strike(n *node) {
	if p := w.raft.leader; p != nil && w.chance(0.5) {
		w.faults.leaders++
		w.kill(p.n, w.between(0, 3*time.Second))
		return
	}
	if pl := w.raft.state().View.Placement(pick(w, w.setup.shards())); pl != nil && pl.Node != "" {
		w.kill(w.node(pl.Node), w.between(0, 3*time.Second))
	}
}

// doubt makes a node ask for the recovery of everything it owns, while it goes on serving; perhaps it hears nothing of
// what comes of that.
func (w *world) doubt(n *node) {
	p := n.process
	if p == nil || p.session.id == 0 {
		return
	}
	if w.chance(0.6) {
		w.after(w.between(0, 20*time.Millisecond), func() {
			for _, other := range w.nodes {
				w.net.cut[[2]*node{other, n}] = other != n && !w.healed
			}
		})
	}
	for _, id := range w.setup.shards() {
		if pl := p.view.Placement(id); pl != nil && pl.Session == p.session.id {
			w.log("%s: asks for recovery of %s", n.id, id)
			p.report(shard.Report{Kind: shard.ReportRecover, Shard: id, Copy: pl.Primary, Epoch: pl.Epoch, Version: pl.Version})
		}
	}
}

// duel cuts an owner off from the other nodes, though not from clients, until another has taken over; then that one dies and
// the first is back, with a log that may be long and counts for nothing.
func (w *world) duel() {
	pl := w.raft.state().View.Placement(pick(w, w.setup.shards()))
	if pl == nil || pl.Node == "" {
		return
	}
	w.faults.cuts++
	id, first := pl.Shard, w.node(pl.Node)
	w.log("duel about %s: %s is cut off", id, first.id)
	for _, other := range w.nodes {
		if other != first {
			w.net.cut[[2]*node{first, other}], w.net.cut[[2]*node{other, first}] = true, true
		}
	}
	w.after(w.between(2500*time.Millisecond, 4*time.Second), func() {
		if w.healed {
			return
		}
		w.mend()
		if now := w.raft.state().View.Placement(id); now.Node != "" && now.Node != first.id {
			w.kill(w.node(now.Node), w.between(500*time.Millisecond, 5*time.Second))
		}
	})
}

// siege lets the nodes of one shard fall one after the other, each for longer than a lease, so that answers outlive those
// who gave them. One of them has missed the newest records.
func (w *world) siege() {
	pl := w.raft.state().View.Placement(pick(w, w.setup.shards()))
	if pl == nil || len(pl.Copies) < 3 {
		return
	}
	w.log("siege of %s", pl.Shard)
	order := w.dice.Perm(len(pl.Copies))
	behind := w.node(pl.Copies[order[len(order)-1]].Node)
	for _, other := range w.nodes {
		w.net.cut[[2]*node{other, behind}], w.net.cut[[2]*node{behind, other}] = other != behind, other != behind
	}
	at := w.between(200*time.Millisecond, time.Second)
	for _, i := range order[:len(order)-1] {
		n := w.node(pl.Copies[i].Node)
		w.after(at, func() {
			if !w.healed {
				w.kill(n, w.between(3*time.Second, 9*time.Second))
			}
		})
		at += w.between(500*time.Millisecond, 3*time.Second)
	}
	w.after(at-w.between(0, 500*time.Millisecond), func() {
		if !w.healed {
			w.mend()
		}
	})
}

// harry kills elected primaries before they serve, so that epochs pass that wrote and confirmed nothing.
func (w *world) harry(p *shard.Placement) {
	if w.healed || p.Status != shard.Establishing || w.now < warmUp || !w.chance(w.setup.harry) {
		return
	}
	n := w.node(p.Node)
	w.after(w.between(0, 60*time.Millisecond), func() { w.kill(n, w.between(0, 3*time.Second)) })
}

// rare is what should not happen: everything dies at once, or a disk is lost.
func (w *world) rare(n *node) {
	if w.chance(0.5) {
		for _, n := range w.nodes {
			w.kill(n, w.between(0, 2*time.Second))
		}
		return
	}
	if !w.setup.wipes || n.process == nil {
		return
	}
	w.faults.wipes++
	n.crash()
	n.wipe()
	w.after(w.between(0, 3*time.Second), n.start)
}

// heal ends all faults. What is down comes up.
func (w *world) heal() {
	w.log("healed")
	w.healed = true
	w.net = network{cut: map[[2]*node]bool{}}
	for _, n := range w.nodes {
		n.disk.slow = 0 // who is paused wakes by itself
		n.start()
	}
}

// awaited says what is still missing after the faults: a shard that can be recovered and is not served, or copies that do
// not agree. It is empty when all is well.
func (w *world) awaited() string {
	view := w.raft.state().View
	for _, id := range w.setup.shards() {
		p := view.Placement(id)
		if p == nil {
			return id.String() + " has no place"
		}
		if why := w.check.awaited(p); why != "" {
			return why
		}
	}
	return ""
}

// intact returns the copies that can answer, with what they hold.
func (w *world) intact(p *shard.Placement) []*stored {
	var out []*stored
	for _, c := range p.Copies {
		d := w.node(c.Node).disk
		if s := d.find(c.ID); s != nil && c.State == shard.CopyReady && d.directory == c.Directory {
			out = append(out, s)
		}
	}
	return out
}

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
	switch w.dice.IntN(12) {
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
		n.paused, n.disk.slow = 0, 0
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

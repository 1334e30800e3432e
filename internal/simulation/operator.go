package simulation

import (
	"slices"
	"time"

	"muster/coordinator/plan"
	"muster/fsm"
	"muster/shard"
)

// order proposes what an operator wants, if the group has a leader that takes it.
func (w *world) order(c fsm.Command) bool {
	p := w.raft.leader
	if p == nil || p.leads == nil {
		return false
	}
	w.raft.propose(p, ignored, c)
	return true
}

// insist repeats something until it says that it is over, or the patience is.
func (w *world) insist(every, most time.Duration, over func(last bool) bool) {
	end := w.now + most
	var again func()
	again = func() {
		if last := w.now >= end; !over(last) && !last {
			w.after(every, again)
		}
	}
	again()
}

// restart stops a node as a program is told to: it hands over what it leads, says good-bye, and comes back later.
func (w *world) restart(n *node) {
	p := n.process
	if p == nil || p.adopted() == 0 || p.stopping {
		return
	}
	w.did(Restart, "%s", n.id)
	p.stopping = true
	if w.raft.leader == p {
		w.raft.transfer()
	}
	left, since := -1, w.now
	w.insist(100*time.Millisecond, 8*time.Second, func(last bool) bool {
		if n.process != p {
			return true
		}
		id := p.adopted() // another than before, when the lease has run out meanwhile
		if now := plan.Movable(p.view, id); now != left {
			left, since = now, w.now
		}
		switch gone := id != 0 && p.view.Members[n.id].Leaving; {
		case last, gone && (left == 0 || w.now >= since+2*time.Second):
			w.log("%s: departs, %d shards did not go", n.id, left)
			p.stop()
			return true
		case !gone && id != 0 && w.chance(0.3):
			p.ask(&fsm.Leave{Session: id}, func(fsm.Verdict, shard.Index) {})
		}
		return false
	})
}

// stop ends everything the process serves, says good-bye, and ends the process a moment later.
func (p *process) stop() {
	p.stopped = true
	for _, h := range p.hosts {
		h.depose()
		h.retired = true
	}
	p.hosts = nil
	for _, id := range p.n.w.setup.ids {
		if v := p.volatile[id]; v != nil && v.placement != nil {
			v.dismiss(v.placement.Epoch)
		}
	}
	if p.session.id != 0 {
		p.ask(&fsm.Depart{Session: p.session.id}, func(fsm.Verdict, shard.Index) {})
	}
	w, n := p.n.w, p.n
	w.after(w.between(0, 200*time.Millisecond), func() {
		if n.process == p {
			n.crash()
			w.after(w.between(0, 3*time.Second), n.start)
		}
	})
}

// drain orders that a node be emptied, or takes that back.
func (w *world) drain(n *node) {
	m, known := w.raft.state().View.Members[n.id]
	on := !m.Draining
	if !known || on && len(plan.Stranded(w.raft.state().View, n.id)) > 0 {
		return
	}
	if w.order(&fsm.Mark{Node: n.id, Draining: &on}) {
		w.did(Drain, "%s, %t", n.id, on)
	}
}

func (w *world) cordon(n *node) {
	m, known := w.raft.state().View.Members[n.id]
	on := !m.Cordoned
	if known && w.order(&fsm.Mark{Node: n.id, Cordoned: &on}) {
		w.did(Cordon, "%s, %t", n.id, on)
	}
}

// maintain says that a node will be back, and takes it away for longer than a rebuild waits.
func (w *world) maintain(n *node) {
	on := true
	if _, known := w.raft.state().View.Members[n.id]; !known || n.process == nil {
		return
	}
	until := w.wall(n) + w.between(time.Second, 10*time.Second).Milliseconds()
	if w.order(&fsm.Mark{Node: n.id, Maintenance: &on, Until: until}) {
		w.did(Maintain, "%s", n.id)
		w.after(w.between(0, time.Second), func() { w.kill(n, w.setup.times.Rebuild+w.between(0, 3*time.Second)) })
	}
}

// moveShard orders that a node lead a shard, until it does or that cannot be.
func (w *world) moveShard(n *node) {
	id, counted := pick(w, w.setup.ids), false
	w.insist(250*time.Millisecond, 5*time.Second, func(bool) bool {
		p := w.raft.leader
		if w.healed || p == nil || p.leads == nil {
			return w.healed
		}
		pl := p.view.Placement(id)
		if pl == nil {
			return true
		}
		stage, command, fault := plan.Towards(p.view, pl, n.id)
		if fault != nil || stage == plan.StageDone {
			return true
		}
		if !counted {
			counted = true
			w.did(MoveShard, "%s to %s", id, n.id)
		}
		if command != nil {
			w.raft.propose(p, ignored, command)
		}
		return false
	})
}

func (w *world) pinShard(n *node) {
	to := n.id
	if w.chance(0.4) {
		to = ""
	}
	if id := pick(w, w.setup.ids); w.order(&fsm.Pin{Shard: id, Node: to}) {
		w.did(PinShard, "%s to %q", id, to)
	}
}

func (w *world) pauseMoves(n *node) {
	c := &fsm.Pause{On: !w.raft.state().View.Paused}
	if c.On {
		c.Until = w.wall(n) + w.between(time.Second, 10*time.Second).Milliseconds()
	}
	if w.order(c) {
		w.did(PauseMoves, "%t", c.On)
	}
}

// join brings a node that has not been there.
func (w *world) join(*node) {
	i := slices.IndexFunc(w.nodes, func(n *node) bool { return n.absent && !n.leaving })
	if i < 0 {
		return
	}
	n := w.nodes[i]
	w.did(Join, "%s", n.id)
	n.absent = false
	n.start()
}

// removeNode takes a node away for good, if the group allows it within some time; else it comes back. Under its name another
// may join later, with an empty directory.
func (w *world) removeNode(n *node) {
	present := 0
	for _, o := range w.nodes {
		if !o.absent {
			present++
		}
	}
	if intact, voters := w.raft.intact(n); n.process == nil || present <= w.setup.voters || 2*intact <= voters {
		return
	}
	w.log("%s is to be removed", n.id)
	n.absent, n.leaving = true, true
	n.crash()
	w.insist(500*time.Millisecond, 8*time.Second, func(last bool) bool {
		_, member := w.raft.state().View.Members[n.id]
		switch {
		case !member:
			w.did(RemoveNode, "%s", n.id)
			n.leaving = false
			n.wipe()
			return true
		case last || w.healed:
			n.absent, n.leaving = false, false
			n.start()
			return true
		}
		w.order(&fsm.Remove{Node: n.id})
		return false
	})
}

// removed deals with a node that the group does not admit any more: another one takes its name.
func (w *world) removed(n *node) {
	n.crash()
	n.wipe()
	n.start()
}

func (w *world) transferLead(*node) {
	if w.raft.leader != nil {
		w.did(TransferLead, "from %s", w.raft.leader.n.id)
		w.raft.transfer()
	}
}

// wall is a node's clock of the day, in Unix milliseconds. It may be wrong by seconds, and jumps.
func (w *world) wall(n *node) int64 {
	return int64(1_700_000_000_000) + (w.now + w.between(-2*time.Second, 2*time.Second)).Milliseconds()
}

// lift takes back, again and again until the map shows it, what operators had said of nodes, but for the drains that the run
// goes on with. What has an end must end by itself.
func (w *world) lift() {
	off := false
	w.insist(300*time.Millisecond, settleTime, func(bool) bool {
		v := w.raft.state().View
		idle := !v.Paused && w.raft.idle()
		if v.Paused && v.PausedUntil == 0 {
			w.order(&fsm.Pause{})
		}
		for _, n := range w.nodes {
			m := v.Members[n.id]
			c := &fsm.Mark{Node: n.id}
			if m.Cordoned {
				c.Cordoned = &off
			}
			if idle = idle && m.Until == 0; m.Maintenance && m.Until == 0 {
				c.Maintenance = &off
			}
			if m.Draining && !w.drains[n.id] {
				c.Draining = &off
			}
			if c.Validate() == nil {
				idle = false
				w.order(c)
			}
		}
		w.lifted = w.lifted || idle
		return idle
	})
}

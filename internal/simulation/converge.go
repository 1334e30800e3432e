package simulation

import (
	"fmt"
	"slices"
	"time"

	"muster/coordinator/plan"
	"muster/replication"
	"muster/shard"
)

// fewReports may still be on their way when all is well; what is repeated for as long as the calm lasts is more.
const fewReports = 3

// settleTime is how long after the last fault everything must be well again. It is when it was so at each of some looks.
const (
	settleTime = 60 * time.Second
	lookEvery  = 100 * time.Millisecond
	lookTimes  = 4
)

// heal ends all faults. What is down comes up; what operators had said is taken back, but some nodes stay drained.
func (w *world) heal() {
	w.log("healed")
	w.healed, w.resting = true, true
	w.net = network{cut: map[[2]*node]bool{}}
	v := w.raft.state().View
	for _, n := range w.nodes {
		n.disk.slow, n.disk.stalled = 0, 0 // who is paused wakes by itself
		n.start()
		if v.Members[n.id].Draining && w.chance(0.7) {
			w.drains[n.id] = true
		}
	}
	for _, c := range w.clients {
		c.resting = true
	}
	w.lift()
}

// settle waits until nothing is missing any more, and the planner has had the time to say so.
func (w *world) settle() {
	next, looks := time.Duration(0), 0
	w.until(w.now+settleTime, func() bool {
		if w.now < next {
			return false
		}
		next = w.now + lookEvery
		if looks++; w.awaited() != "" {
			looks = 0
		}
		return looks >= lookTimes
	})
	if why := w.awaited(); why != "" {
		w.explain()
		w.fail("I14: %s after all faults were over: %s", settleTime, why)
	}
}

// explain writes to the trace what the planner makes of a group that does not come to rest.
func (w *world) explain() {
	for _, m := range plan.Balance(w.raft.state().View) {
		w.log("wants %s", m)
	}
	for _, m := range w.raft.state().View.Members {
		w.log("%s: session %d, cordoned %t, draining %t, leaving %t, maintenance %t", m.ID, m.Session, m.Cordoned, m.Draining, m.Leaving, m.Maintenance)
	}
	if p := w.raft.leader; p != nil {
		for _, s := range p.leads.driver.Next(p.input()) {
			w.log("plans %s", s.Notes)
		}
	}
	for _, n := range w.nodes {
		if p := n.process; p != nil {
			p.explain()
		}
	}
}

// explain writes to the trace what the primaries of this process wait for.
func (p *process) explain() {
	for _, h := range p.hosts {
		if h.term == nil {
			continue
		}
		s := h.copy.Status()
		p.n.w.log("%s: %s: %s in epoch %d.%d, log %d, confirmed %d, base %d, due %v, change %v, reports %v",
			p.n.id, h.shard, s.Role, h.term.epoch, s.Version, h.log.end(), h.confirmed, h.log.base, h.copy.Due(h.term.placement, replication.Patience(h.spec.AckTimeout)), s.Change, h.report)
		for _, x := range s.Peers {
			p.n.w.log("  copy %d: %+v", x.Copy, x)
		}
	}
}

// stay demands that nothing moves any more once all is well: a plan that was carried out is the last. A shard that was
// stuck may still find what it lacked, or try; then the others may be placed around it.
func (w *world) stay() {
	for _, id := range w.setup.ids {
		w.stuck[id] = w.hopeless(w.raft.state().View.Placement(id))
	}
	before, vain := w.counts.placements, w.counts.vain
	w.until(w.now+calm, func() bool { return w.counts.placements != before })
	if w.counts.placements != before {
		w.fail("the group was at rest, and then something moved: the plan oscillates")
	}
	if n := w.counts.vain - vain; n > fewReports {
		w.fail("the group was at rest, and nodes went on to report what it knew: %d entries", n)
	}
}

// desert cuts one primary off from its copies and from nothing else, and demands that another takes its shard over: it would keep
// it and confirm nothing. It reports whether there was one to be cut off.
func (w *world) desert() bool {
	view := w.raft.state().View
	p := view.Placement(pick(w, w.setup.ids))
	ready := 0
	for _, c := range p.Copies {
		if c.ID != p.Primary && c.State == shard.CopyReady {
			ready++
		}
	}
	if p.Status != shard.Active || p.WriteQuorum < 2 || ready < max(p.WriteQuorum, p.RecoveryQuorum()) || w.hopeless(p) {
		return false
	}
	owner := w.node(p.Node)
	for _, c := range p.Copies {
		if other := w.node(c.Node); other != owner {
			w.net.cut[[2]*node{owner, other}], w.net.cut[[2]*node{other, owner}] = true, true
		}
	}
	if l := w.raft.leader; l == nil || l.n == owner || !w.raft.majority(l.n) { // the cut would concern the coordinator too
		w.net.cut = map[[2]*node]bool{}
		return false
	}
	w.log("%s is cut off from the copies of %s", owner.id, p.Shard)
	if w.chance(0.5) {
		w.ask(p.Shard, "e0", owner.process) // something to answer; else it has to find out by itself
	}
	w.replaced(p)
	w.net.cut = map[[2]*node]bool{}
	return true
}

// replaced demands that another takes a shard over from a primary that was cut off now. One that leaves a copy out first, which
// was silent for long, while it may still take the others for able to answer, may leave too few for that.
func (w *world) replaced(p *shard.Placement) {
	taken, brief := false, w.now+time.Second
	w.until(w.now+w.setup.spec(p.Shard.Type).AckTimeout+15*time.Second, func() bool {
		now := w.raft.state().View.Placement(p.Shard)
		taken = now.Status == shard.Active && now.Node != p.Node || w.now < brief && len(now.Copies) < len(p.Copies)
		return taken
	})
	if !taken {
		w.fail("I14: no copy answers the primary of %s on %s, and it keeps the shard", p.Shard, p.Node)
	}
}

// ask gives a command to an entity of a shard through a process.
func (w *world) ask(id shard.ID, entity shard.EntityID, via *process) *operation {
	c := w.clients[0]
	op := c.draw()
	op.shard, op.entity, op.ends = id, entity, func(*operation) {}
	via.begin(op, c)
	return op
}

// probed is asked for nothing else, so no slow handlers are ahead of a probe.
const probed = "probe"

// probe demands that every shard that can be served takes a command.
func (w *world) probe() {
	var open []*operation
	via := w.nodes[slices.IndexFunc(w.nodes, func(n *node) bool { return n.process != nil && n.process.adopted() != 0 })].process
	for _, id := range w.setup.ids {
		if p := w.raft.state().View.Placement(id); !w.hopeless(p) {
			open = append(open, w.ask(id, probed, via))
		}
	}
	w.until(w.now+probing, func() bool {
		return !slices.ContainsFunc(open, func(op *operation) bool { return op.kind == 0 })
	})
	for _, op := range open {
		if op.kind != done {
			w.fail("I14: %s takes no command after all faults were over", op.shard)
		}
	}
}

// awaited says what is still missing after the faults. It is empty when all is well.
func (w *world) awaited() string {
	for _, c := range w.clients {
		if c.op != nil {
			return "a command is not answered"
		}
	}
	if !w.lifted || w.now < warmUp+unkind+dawdling {
		return "what was said before the end of the faults is on its way, or an operator's setting has not ended"
	}
	if !w.raft.idle() {
		return "the group has no leader, or something is proposed"
	}
	view := w.raft.state().View
	for _, n := range w.nodes {
		if p := n.process; !n.absent && (p == nil || p.stopping || !p.leased() || !view.Up(n.id)) || n.leaving {
			return fmt.Sprintf("node %s is not up, or its lease has run out and nobody has ended its session yet", n.id)
		}
		if d := n.disk; w.now < n.paused || d.busy && d.ends > w.now+10*time.Millisecond {
			return fmt.Sprintf("node %s still pauses, or its disk does", n.id)
		}
	}
	for _, id := range w.setup.ids {
		p := view.Placement(id)
		if p == nil {
			return id.String() + " has no place"
		}
		if why := w.missing(p); why != "" && !w.hopeless(p) {
			return why
		}
	}
	for _, m := range plan.Balance(view) {
		if p := view.Placement(m.Shard); !w.hopeless(p) {
			return "a move is due: " + m.String()
		}
	}
	for _, s := range w.raft.seats {
		if m := view.Members[s.Node]; !s.Voter || m.Directory != s.Directory && w.candidates(view) {
			return fmt.Sprintf("the seat %s is not filled", s)
		}
	}
	return ""
}

// candidates reports whether a member without a seat could take one.
func (w *world) candidates(v *shard.View) bool {
	return slices.ContainsFunc(w.nodes, func(n *node) bool {
		m := v.Members[n.id]
		return v.Up(n.id) && m.Open() && !slices.ContainsFunc(w.raft.seats, func(s plan.Seat) bool { return s.Directory == m.Directory })
	})
}

// hopeless reports whether a shard has lost too many of its copies for an election, or for a write quorum: nothing will
// bring it back but an operator who accepts that. Its copies may be anywhere.
func (w *world) hopeless(p *shard.Placement) bool {
	if p.Status == shard.Forming || p.WriteQuorum == 0 {
		return false
	}
	intact := w.intact(p)
	if w.setup.spec(p.Shard.Type).LossyAfter > 0 {
		return len(intact) == 0
	}
	able := p.Status == shard.Active || len(intact) >= p.RecoveryQuorum() ||
		slices.ContainsFunc(intact, func(s *stored) bool { return s.id == p.ActivePrimary })
	return !able || len(intact) < p.WriteQuorum
}

// missing says what a shard still waits for. I14, I16.
func (w *world) missing(p *shard.Placement) string {
	view := w.raft.state().View
	spec := w.setup.spec(p.Shard.Type)
	if p.Status != shard.Active {
		return fmt.Sprintf("%s is %s in epoch %d", p.Shard, p.Status, p.Epoch)
	}
	if owner := w.node(p.Node).process; owner == nil || owner.session.id != p.Session {
		return fmt.Sprintf("%s: session %d, which serves it, is gone", p.Shard, p.Session)
	}
	if p.Wished() || len(p.Learners) > 0 || p.Retiring != 0 {
		return fmt.Sprintf("%s: %d learners, wished to %q, retiring %d", p.Shard, len(p.Learners), p.HandNode, p.Retiring)
	}
	if spec.Volatile {
		return ""
	}
	open := 0
	for _, m := range view.Members {
		if view.Up(m.ID) && m.Open() {
			open++
		}
	}
	intact := w.intact(p)
	if want := min(spec.Replicas+1, open); len(intact) < want {
		return fmt.Sprintf("%s: %d of %d copies are intact", p.Shard, len(intact), want)
	}
	if p.WriteQuorum < spec.WriteQuorum() && len(intact) >= spec.WriteQuorum() {
		return fmt.Sprintf("%s writes to %d of %d copies, its type wants %d", p.Shard, p.WriteQuorum, len(intact), spec.WriteQuorum())
	}
	confirmed := &w.check.of(p.Shard).confirmed
	for _, s := range intact {
		if s.log.end() != confirmed.end() || s.log.at(s.log.end()) != confirmed.at(confirmed.end()) {
			return fmt.Sprintf("%s: copy %d has %d records, %d are confirmed, or others", p.Shard, s.id, s.log.end(), confirmed.end())
		}
	}
	return w.misplaced(view, p)
}

// misplaced says which data of the shard are where they should not be: on a drained node, or left behind.
func (w *world) misplaced(view *shard.View, p *shard.Placement) string {
	for _, c := range p.Copies {
		if view.Members[c.Node].Draining && len(plan.Stranded(view, c.Node)) == 0 && w.roomBeside(view, p) {
			return fmt.Sprintf("%s: copy %d is on %s, which is drained", p.Shard, c.ID, c.Node)
		}
	}
	for _, n := range w.nodes {
		for _, s := range n.disk.copies {
			_, member := p.Copy(s.id)
			_, aside := p.KeptAside(s.id)
			if s.shard == p.Shard && !member && !aside && !n.absent {
				return fmt.Sprintf("%s: %s still has copy %d, which nobody counts on", p.Shard, n.id, s.id)
			}
		}
	}
	return ""
}

// roomBeside reports whether a node that takes copies has none of the shard.
func (w *world) roomBeside(view *shard.View, p *shard.Placement) bool {
	return slices.ContainsFunc(w.nodes, func(n *node) bool {
		m := view.Members[n.id]
		return view.Up(n.id) && m.Open() && !slices.ContainsFunc(p.Copies, func(c shard.Copy) bool { return c.Node == n.id })
	})
}

// intact returns the copies that can answer, with what they hold.
func (w *world) intact(p *shard.Placement) []*stored {
	var out []*stored
	for _, c := range p.Copies {
		d := w.node(c.Node).disk
		if s := d.find(c.ID); s != nil && !s.lost && c.State == shard.CopyReady && d.directory == c.Directory {
			out = append(out, s)
		}
	}
	return out
}

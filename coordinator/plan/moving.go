package plan

import (
	"slices"
	"time"

	"muster/fsm"
	"muster/shard"
)

// Budget bounds what is under way at once.
type Budget struct {
	Learners int // copies being made, of all shards
	PerNode  int // of them on one node
	Wishes   int // primaries asked to hand over
}

// DefaultBudget returns the budget of the product: a few copies at a time, since each is a bulk of reading and writing; many
// hand-overs, since each is over in moments.
func DefaultBudget() Budget { return Budget{Learners: 8, PerNode: 2, Wishes: 32} }

// moving is what the driver remembers of moves.
//
// The plan is made when the map has changed, at most every Times.Replan unless a node came, went or was marked, and when the map shows
// whatever was begun; and kept as an agenda. From it moves are begun as the budget allows, each judged again by the map as it is then. So while nothing
// changes, or all of the budget is spent, looking costs next to nothing.
type moving struct {
	absent    map[shard.NodeID]time.Duration // since when a member is down, before 0 if that was before this driver's clock began
	standings map[shard.NodeID]standing      // of the members when the agenda was made
	types     map[shard.TypeName]*shard.TypeView
	paused    bool
	planned   time.Duration // when the agenda was made; unset when 0
	stale     bool          // something was begun without effect: plan again

	layout  layout // kept from plan to plan
	agenda  []errand
	notes   []Note // of the plan: what should move and cannot
	flights []flight
	rested  map[rest]time.Duration    // until when a shard is not moved for balance
	shunned map[shard.NodeID]shunning // nodes that did not create a learner in time
	stalled map[shard.ID]shard.Report // primaries that could not hand over
}

// standing is what a plan goes by of a member.
type standing struct {
	session shard.SessionID
	marks   [4]bool
	up      bool
	gone    bool
	shunned bool
}

// errand is a move that waits to be begun. One that makes up for a copy which the primary put out of C waits for that
// copy's node.
type errand struct {
	Move
	awaits shard.NodeID
}

// flight is a move under way.
type flight struct {
	Move
	since   time.Duration // when it was proposed, or first seen
	seen    bool          // the map has shown it
	dropped time.Duration // when giving it up was proposed last; unset when 0
}

// shunning is of a node that did not create a learner in time: until when another gets what is to be made, unless the node starts anew.
type shunning struct {
	session shard.SessionID
	until   time.Duration
}

// rest is a shard after a move.
type rest struct {
	shard shard.ID
	kind  Kind
}

func newMoving() moving {
	return moving{
		absent: map[shard.NodeID]time.Duration{}, standings: map[shard.NodeID]standing{}, types: map[shard.TypeName]*shard.TypeView{},
		rested: map[rest]time.Duration{}, shunned: map[shard.NodeID]shunning{}, stalled: map[shard.ID]shard.Report{},
	}
}

// move plans, follows and begins moves.
func (b *batch) move() {
	m := &b.d.moving
	urgent := b.attend()
	changed := m.stale || m.paused != b.view.Paused || len(m.types) != len(b.view.Types)
	for name, t := range b.view.Types { //lint:maporder any one answers the question
		changed = changed || m.types[name] != t
	}
	changed = changed || len(b.d.meter.last) > 0 && b.in.Now >= m.planned+b.d.Times.Weigh
	b.follow()
	switch due := changed && b.in.Now >= m.planned+b.d.Times.Replan; {
	case urgent, due && !m.unseen():
		b.replan()
		b.begin()
	case !due:
		b.begin()
	default: // a plan by a map that does not show what was begun would have as much begun once more: nothing new until it does
	}
	for _, n := range m.notes {
		b.skip(n)
	}
}

// unseen reports whether the map does not show yet something that was begun.
func (m *moving) unseen() bool {
	return slices.ContainsFunc(m.flights, func(f flight) bool { return !f.seen })
}

// attend notes who is down and since when, and reports whether that or a member's marks changed since the last plan.
func (b *batch) attend() (changed bool) {
	m := &b.d.moving
	for id, s := range m.shunned { //lint:maporder each node is judged by itself
		if b.in.Now >= s.until || b.view.Members[id].Session != s.session {
			delete(m.shunned, id)
		}
	}
	for id, member := range b.view.Members { //lint:maporder each member is judged by itself
		s := b.standing(member)
		if since, known := m.absent[id]; s.up {
			delete(m.absent, id)
		} else {
			if !known { // the log tells how long it has been down, so that a new leader does not wait all over again
				since = b.in.Now - b.in.State.DownFor(id)
				m.absent[id] = since
			}
			s.gone = b.gone(member, since)
		}
		if m.standings[id] != s {
			m.standings[id], changed = s, true
		}
	}
	if len(m.standings) > len(b.view.Members) {
		changed = true
		for id := range m.standings { //lint:maporder each member is judged by itself
			if _, known := b.view.Members[id]; !known {
				delete(m.standings, id)
				delete(m.absent, id)
			}
		}
	}
	return changed
}

// maxAgenda bounds how many moves are kept: the map will have changed before they are through.
const maxAgenda = 4_096

func (b *batch) standing(m shard.Member) standing {
	_, shunned := b.d.moving.shunned[m.ID]
	return standing{
		session: m.Session, marks: [4]bool{m.Cordoned, m.Draining, m.Leaving, m.Maintenance}, up: b.view.Up(m.ID), shunned: shunned,
	}
}

// gone reports whether a member that is down is given up. Maintenance says that it will be back. However long it has been down, a
// new leader gives it a moment: the whole group may have been down, and be coming back.
func (b *batch) gone(m shard.Member, since time.Duration) bool {
	return !m.Maintenance && b.in.Now >= since+b.d.Times.Rebuild && b.in.Now >= b.in.LeaderSince+b.d.Times.Place
}

// replan makes the agenda anew.
func (b *batch) replan() {
	m := &b.d.moving
	l := &m.layout
	l.follow(b.view, func(member shard.Member) bool { return m.standings[member.ID].gone })
	l.loads, l.shunned = b.d.meter.measured(), func(node shard.NodeID) bool { return m.standings[node].shunned }
	l.plan(maxAgenda)
	m.agenda = m.agenda[:0]
	for _, move := range l.moves(maxAgenda) {
		e := errand{Move: move}
		if move.Reason == CopyMissing {
			e.awaits = b.mayReturn(move.Shard)
		}
		m.agenda = append(m.agenda, e)
	}
	for _, u := range l.underway {
		if !slices.ContainsFunc(m.flights, func(f flight) bool { return f.Shard == u.Shard && f.Kind == u.Kind && f.To == u.To }) {
			m.flights = append(m.flights, flight{Move: u, since: b.in.Now})
		}
	}
	clear(m.types)
	for name, t := range b.view.Types { //lint:maporder a copy
		m.types[name] = t
	}
	m.notes, m.planned, m.paused, m.stale = l.notes, b.in.Now, b.view.Paused, len(l.planned) > maxAgenda
	for r, until := range m.rested { //lint:maporder each entry is judged by itself
		if b.in.Now >= until {
			delete(m.rested, r)
		}
	}
}

// mayReturn returns the node whose copy was put out of C, and not made up for since, though the node may come back; "" when there is
// none: the history tells. A shard that writes to fewer copies than it should waits for nobody; what is kept aside does not return
// to it, and no copy to a node that is drained.
func (b *batch) mayReturn(id shard.ID) shard.NodeID {
	p := b.view.Placement(id)
	if p.WriteQuorum < b.view.Types[id.Type].Spec.WriteQuorum() {
		return ""
	}
	changes, filled := b.in.State.History(id), 0 // places that were filled later than the change that is looked at
	for i := len(changes) - 1; i > 0; i-- {
		was, now := changes[i-1].Copies, changes[i].Copies
		if filled += len(now) - len(was); filled >= 0 {
			continue
		}
		for _, s := range was {
			left := !slices.ContainsFunc(now, func(other fsm.Seat) bool { return other.Copy == s.Copy })
			if left && b.awaited(p, s) {
				return s.Node
			}
		}
		return ""
	}
	return ""
}

// awaited reports whether a copy that left C may be made once more where it was.
func (b *batch) awaited(p *shard.Placement, s fsm.Seat) bool {
	_, kept := p.KeptAside(s.Copy)
	st, known := b.d.moving.standings[s.Node]
	return known && !kept && !s.Lost && !st.up && !st.gone && !b.view.Members[s.Node].Draining
}

// begin proposes what the budget allows, in the order of the agenda.
func (b *batch) begin() {
	m := &b.d.moving
	spent := b.spent()
	left, late := make([]errand, 0, len(m.agenda)), map[Reason]bool{} // apart, for inVain counts the agenda meanwhile
	for i, e := range m.agenda {
		if spent.all(b.d.Budget) && len(spent.joint) == 0 {
			b.blocked(e, AwaitBudget, late)
			left = append(left, m.agenda[i:]...)
			break
		}
		switch why, wait := b.obstacle(e, spent); {
		case why == "":
			spent.add(e.Move, b.view)
			b.propose(e.Move)
		case wait:
			b.blocked(e, why, late)
			left = append(left, e)
			spent.hold(e.Shard, why)
		}
	}
	m.agenda = left
}

// blocked says for the first errand of each reason why it waits.
func (b *batch) blocked(e errand, why Reason, late map[Reason]bool) {
	if late[why] {
		return
	}
	late[why] = true
	b.skip(Note{Reason: why, Shard: e.Shard, Epoch: b.view.Placement(e.Shard).Epoch, Node: e.To})
}

// forBalance are the reasons of moves that can wait.
var forBalance = []Reason{CopiesUneven, LeadsUneven, ZoneSpread, LoadUneven, ByHash}

// obstacle says why a move cannot be begun now; wait is false when it never will, because the map has gone on.
func (b *batch) obstacle(e errand, s *spending) (why Reason, wait bool) {
	p := b.view.Placement(e.Shard)
	m := &b.d.moving
	switch balancing := slices.Contains(forBalance, e.Reason); {
	case p == nil, p.Status != shard.Active, !b.view.Up(e.To):
		return AwaitPrimary, false
	case e.awaits != "" && !m.standings[e.awaits].up:
		return AwaitReturn, true
	case s.busy[e.Shard] && !(e.Kind == CopyMove && together(p)), s.absent[e.Shard] && balancing:
		return AwaitMove, true
	case balancing && b.in.Now < m.rested[rest{e.Shard, e.Kind}], b.in.Now < m.rested[rest{e.Shard, ""}]:
		return AwaitCooldown, true
	case e.Kind == CopyMove && b.inVain(p):
		return AwaitCopies, true
	case e.Kind == CopyMove && !s.joint[e.Shard] && (s.learners >= b.d.Budget.Learners || s.perNode[e.To] >= b.d.Budget.PerNode):
		return AwaitBudget, true
	case e.Kind == LeadMove && s.wishes >= b.d.Budget.Wishes:
		return AwaitBudget, true
	case e.Kind == CopyMove:
		return b.copyObstacle(e.Move, p)
	default:
		return b.leadObstacle(e.Move, p)
	}
}

// copyObstacle judges whether what was to be replaced is still there, and does not lead, unless it is the only copy.
func (b *batch) copyObstacle(m Move, p *shard.Placement) (Reason, bool) {
	c, member := p.Copy(m.Copy)
	only := b.view.Types[p.Shard.Type].Spec.Replicas == 0
	switch {
	case m.Copy != 0 && (!member || c.Node != m.From || isReplaced(p, m.Copy)):
		return Surplus, false
	case m.Copy != 0 && m.Copy == p.Primary && !only:
		return AwaitTarget, true
	}
	return "", false
}

// settled is how often a session must have been renewed before its node is handed a lead: a second. Until then the node may not have
// the map yet, and a shard that is handed over waits for that.
const settled = 3

// leadObstacle judges whether the target could lead.
func (b *batch) leadObstacle(m Move, p *shard.Placement) (Reason, bool) {
	if p.Node != m.From || p.Wished() {
		return Surplus, false
	}
	if renewals, _ := b.in.State.Renewal(b.view.Members[m.To].Session); renewals < settled {
		return AwaitTarget, true
	}
	if len(p.Copies) == 0 {
		return "", false
	}
	i := slices.IndexFunc(p.Copies, func(c shard.Copy) bool { return c.Node == m.To && c.State == shard.CopyReady })
	if i < 0 {
		return AwaitTarget, true
	}
	if _, live := sessionOf(b.view, p.Copies[i]); !live {
		return AwaitTarget, false
	}
	return "", false
}

// propose adds a move to what is proposed now.
func (b *batch) propose(m Move) {
	p := b.view.Placement(m.Shard)
	note := Note{Reason: m.Reason, Shard: m.Shard, Epoch: p.Epoch, Node: m.From, Nodes: []shard.NodeID{m.To}, Copy: m.Copy}
	if m.Kind == CopyMove {
		b.learn.add(fsm.NewLearner{Shard: m.Shard, Epoch: p.Epoch, Version: p.Version, Node: m.To, Replaces: m.Copy}, note)
	} else {
		w := fsm.Wishing{Shard: m.Shard, Epoch: p.Epoch, Version: p.Version}
		for _, c := range p.Copies {
			if c.Node == m.To && c.State == shard.CopyReady {
				w.To = c.ID
			}
		}
		if w.To == 0 {
			w.Node = m.To
		}
		note.Copy = w.To
		b.wish.add(w, note)
	}
	b.d.moving.flights = append(b.d.moving.flights, flight{Move: m, since: b.in.Now})
	b.d.moving.rested[rest{m.Shard, m.Kind}] = b.in.Now + b.d.Times.Cooldown
}

// inVain reports whether new copies could not join C: no C may be proposed that holds a lost copy, or is smaller than the write
// quorum, and not as many are on their way or planned. Then only an operator helps, who allows a lower one.
func (b *batch) inVain(p *shard.Placement) bool {
	if !together(p) {
		return false // one is enough; the agenda is long, and looked at for each of its moves
	}
	coming := len(p.Learners)
	for _, e := range b.d.moving.agenda {
		if e.Shard == p.Shard && e.Kind == CopyMove {
			coming++
		}
	}
	return p.Quorums(p.WriteQuorum).For(sound(p)+max(coming, 1)) == 0
}

// together reports whether C can be changed only by several new copies at once, so that they are made beside each other.
func together(p *shard.Placement) bool { return p.Quorums(p.WriteQuorum).For(sound(p)+1) == 0 }

// sound counts the members of C whose data are not lost.
func sound(p *shard.Placement) (ready int) {
	for _, c := range p.Copies {
		if c.State == shard.CopyReady {
			ready++
		}
	}
	return ready
}

// spending is what moves under way take of the budget.
type spending struct {
	learners, wishes int
	perNode          map[shard.NodeID]int
	busy             map[shard.ID]bool // shards of which a move is under way, or is next
	joint            map[shard.ID]bool // of which a copy is on its way that joins only with others: those come whatever the budget
	absent           map[shard.ID]bool // of which a copy waits for its node to come back
}

// hold keeps what is less important about a shard from overtaking a move that waits. A node may stay away for as long as it is under
// maintenance: meanwhile nothing of the shard moves for balance, but what has to leave other nodes does.
func (s *spending) hold(id shard.ID, why Reason) {
	if why == AwaitReturn {
		s.absent[id] = true
	} else {
		s.busy[id] = true
	}
}

// spent counts the moves under way. Those of a shard that nobody leads cost nothing, since nobody fills a copy of it; and it
// may stay without a primary for as long as copies are away, while others need repair. Nor do copies that cannot join.
func (b *batch) spent() *spending {
	s := &spending{perNode: map[shard.NodeID]int{}, busy: map[shard.ID]bool{}, joint: map[shard.ID]bool{}, absent: map[shard.ID]bool{}}
	for _, f := range b.d.moving.flights {
		s.busy[f.Shard] = true
		if p := b.view.Placement(f.Shard); p != nil && p.Status == shard.Active && (f.Kind == LeadMove || !b.inVain(p)) {
			s.add(f.Move, b.view)
		}
	}
	return s
}

func (s *spending) add(m Move, v *shard.View) {
	s.busy[m.Shard] = true
	if m.Kind == LeadMove {
		s.wishes++
		return
	}
	s.learners++
	s.perNode[m.To]++
	if p := v.Placement(m.Shard); p != nil && together(p) {
		s.joint[m.Shard] = true
	}
}

func (s *spending) all(b Budget) bool { return s.learners >= b.Learners && s.wishes >= b.Wishes }

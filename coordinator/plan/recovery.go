package plan

import (
	"cmp"
	"slices"
	"time"

	"muster/fsm"
	"muster/shard"
)

// ofActive looks at a shard that is served. The state machine takes the primary away in the entry that ends its session,
// so an owner without a session is not expected here; it is recovered all the same.
func (b *batch) ofActive(p *shard.Placement, m *memory) {
	switch {
	case b.view.Ended(p.Session):
		b.restless = true
		b.beginRecovery(p, b.d.recall(p, b.in.Now), shard.CauseSessionExpired, OwnerGone)
	case m != nil && m.gaveUp(p):
		b.beginRecovery(p, b.d.recall(p, b.in.Now), shard.CauseAsked, OwnerAsked)
	}
}

// withdrawFloor takes an operator's permission to write to fewer copies back that was never used, once enough copies are up. One
// that was used ends with the change of C that makes up for it. Until the map shows it this is proposed again, which is
// harmless.
func (b *batch) withdrawFloor(spec shard.Spec, p *shard.Placement) {
	if p.Floor == 0 || p.WriteQuorum < spec.WriteQuorum() {
		return
	}
	up := 0
	for _, c := range p.Copies {
		if _, live := sessionOf(b.view, c); live && c.State == shard.CopyReady {
			up++
		}
	}
	if up >= p.WriteQuorum {
		b.floors.add(fsm.Degrading{Shard: p.Shard, Epoch: p.Epoch, Version: p.Version}, Note{Reason: CopyBack, Shard: p.Shard, Epoch: p.Epoch})
	}
}

// gaveUp reports whether the primary has said that it cannot go on in this epoch.
func (m *memory) gaveUp(p *shard.Placement) bool {
	return m.report.Kind == shard.ReportRecover && m.report.Epoch == p.Epoch && m.report.Copy == p.Primary
}

func (b *batch) beginRecovery(p *shard.Placement, m *memory, cause shard.Cause, why Reason) {
	if !b.due(m) {
		b.skip(Note{Reason: AwaitProposal, Shard: p.Shard, Epoch: p.Epoch})
		return
	}
	if b.recover == nil {
		b.recover = map[shard.Cause]*lot[fsm.Recovery]{}
	}
	if b.recover[cause] == nil {
		b.recover[cause] = &lot[fsm.Recovery]{}
	}
	b.recover[cause].add(
		fsm.Recovery{Shard: p.Shard, Epoch: p.Epoch, Version: p.Version},
		Note{Reason: why, Shard: p.Shard, Epoch: p.Epoch, Session: p.Session, Node: p.Node},
	)
}

// ofRecovering seals the copies of a shard without a primary, and elects one when enough have answered.
func (b *batch) ofRecovering(spec shard.Spec, p *shard.Placement, m *memory) {
	if spec.Volatile {
		b.electVolatile(spec, p, m)
		return
	}
	b.seal(p, m)
	c := b.canvass(p, m)
	switch {
	case c.winner == 0 && spec.LossyAfter > 0:
		b.doWithout(spec, p, m, c.note)
		return
	case c.winner == 0:
		b.skip(c.note)
		return
	}
	if m.enough == 0 {
		m.enough = b.in.Now
	}
	gather := b.d.Times.Gather
	if c.winner == p.Stalled {
		gather = b.d.Times.Reluctant
	}
	if wait := m.enough + gather - b.in.Now; len(c.awaited) > 0 && wait > 0 {
		b.skip(Note{Reason: AwaitOthers, Shard: p.Shard, Epoch: p.Epoch, Waiting: c.awaited, Wait: wait})
		return
	}
	if !b.due(m) {
		b.skip(Note{Reason: AwaitProposal, Shard: p.Shard, Epoch: p.Epoch})
		return
	}
	cut := shard.LSN(0)
	if b.in.State.GroupVersion() >= fsm.CutSince {
		cut = m.leftOut(c.winner)
	}
	b.elect.add(
		fsm.Election{Shard: p.Shard, Epoch: p.Epoch, Version: p.Version, Copy: c.winner, Session: c.session.ID, Answered: c.counted, Base: c.last, Cut: cut},
		Note{Reason: BestLog, Shard: p.Shard, Epoch: p.Epoch, Node: c.session.Node, Session: c.session.ID, Copy: c.winner, Last: c.last},
	)
	b.load().primary(p.Shard.Type, c.session.Node)
}

// seal asks every copy that can answer and has not, again after SealAgain.
func (b *batch) seal(p *shard.Placement, m *memory) {
	for _, c := range p.Copies {
		s, live := sessionOf(b.view, c)
		if !live || c.State != shard.CopyReady || m.answered(c.ID) {
			continue
		}
		if last, asked := m.asked[c.ID]; asked && b.in.Now < last+b.d.Times.SealAgain {
			continue
		}
		m.asked[c.ID] = b.in.Now
		if b.seals == nil {
			b.seals = map[shard.NodeID][]shard.SealItem{}
		}
		b.seals[s.Node] = append(b.seals[s.Node], shard.SealItem{Shard: p.Shard, Copy: c.ID, Epoch: p.Epoch})
	}
}

func (m *memory) answered(id shard.CopyID) bool {
	return slices.ContainsFunc(m.answers, func(s shard.Sealed) bool { return s.Copy == id })
}

// canvass is what the answers of one shard come to.
type canvass struct {
	winner  shard.CopyID // 0: nobody can be elected, note says why
	session shard.Session
	last    shard.Position
	counted []shard.CopyID // the answers the election rests on
	awaited []shard.CopyID // live copies that have not answered
	note    Note
}

// canvass finds the copy to elect: the most advanced log of those that answered and are up.
//
// The election rests on the answers that are no more advanced than the winner's. They must meet every write quorum: then
// each confirmed record is in one of those logs, and so in the winner's. The answer of a more advanced log on a node that
// has died since cannot be counted, for what it holds may be what was confirmed. The copy that led the last active epoch
// holds everything confirmed, so with its answer no other is needed.
//
// A copy that stalled is passed over when that can be: one that reaches too few others may have the longest log of all, filled
// with what it could not get confirmed, and would be elected again and again.
func (b *batch) canvass(p *shard.Placement, m *memory) canvass {
	c := canvass{note: Note{Reason: AwaitCopies, Shard: p.Shard, Epoch: p.Epoch, Want: p.RecoveryQuorum()}}
	answers := make([]candidate, 0, len(p.Copies))
	reachable := 0
	for _, copy := range p.Copies {
		if copy.State != shard.CopyReady {
			c.note.Waiting = append(c.note.Waiting, copy.ID)
			continue
		}
		s, live := sessionOf(b.view, copy)
		if i := slices.IndexFunc(m.answers, func(a shard.Sealed) bool { return a.Copy == copy.ID }); i >= 0 {
			answers = append(answers, b.candidate(p, m.answers[i], copy, s, live))
			reachable++
			continue
		}
		c.note.Waiting = append(c.note.Waiting, copy.ID)
		if live {
			c.awaited = append(c.awaited, copy.ID)
			reachable++
		}
	}
	c.note.Have = len(answers)
	if reachable >= p.RecoveryQuorum() || slices.Contains(c.awaited, p.ActivePrimary) {
		c.note.Reason = AwaitAnswers
	}
	slices.SortFunc(answers, candidate.compare)
	c.choose(p, answers)
	return c
}

func (c *canvass) choose(p *shard.Placement, answers []candidate) {
	fit := slices.DeleteFunc(slices.Clone(answers), func(a candidate) bool { return a.stalled })
	if c.among(p, fit, answers); c.winner == 0 && len(fit) < len(answers) {
		c.among(p, answers, answers)
	}
}

// among elects the best of those that are fit, if the answers it may count suffice.
func (c *canvass) among(p *shard.Placement, fit, answers []candidate) {
	best := slices.IndexFunc(fit, func(a candidate) bool { return a.live })
	if best < 0 {
		return
	}
	w := fit[best]
	sole := false
	var counted []shard.CopyID
	for _, a := range answers {
		if a.last.Compare(w.last) <= 0 {
			counted = append(counted, a.copy)
			sole = sole || (a.copy == p.ActivePrimary && a.copy != 0)
		}
	}
	if len(counted) < p.RecoveryQuorum() && !sole {
		if len(counted) < len(answers) {
			c.note.Reason, c.note.Copy = AwaitBest, answers[0].copy
		}
		return
	}
	slices.Sort(counted)
	c.winner, c.session, c.last, c.counted = w.copy, w.session, w.last, counted
}

// candidate is a copy that answered, with what decides between equals.
type candidate struct {
	copy    shard.CopyID
	last    shard.Position
	session shard.Session
	live    bool
	stalled bool // it was elected last time and did not come to serve
	served  bool // it led the last active epoch: choosing it keeps shards where they were
	near    bool // it is in the zone of the node that did
	load    int  // primaries on its node
}

func (b *batch) candidate(p *shard.Placement, a shard.Sealed, c shard.Copy, s shard.Session, live bool) candidate {
	zone := b.view.Members[p.ActiveNode].Zone
	return candidate{
		copy: a.Copy, last: a.Last, session: s, live: live, stalled: a.Copy == p.Stalled, served: a.Copy == p.ActivePrimary,
		near: zone != "" && b.view.Members[c.Node].Zone == zone, load: b.load().primaries[c.Node],
	}
}

// compare orders the better candidate first. The position decides, epoch before length; the rest is for equals.
func (a candidate) compare(b candidate) int {
	return cmp.Or(
		b.last.Compare(a.last),
		first(!a.stalled, !b.stalled), first(a.served, b.served), first(a.near, b.near),
		cmp.Compare(a.load, b.load), cmp.Compare(a.copy, b.copy),
	)
}

// first orders true before false.
func first(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return -1
	default:
		return 1
	}
}

// electVolatile names the least loaded member once the session before is over: there are no copies to ask.
func (b *batch) electVolatile(spec shard.Spec, p *shard.Placement, m *memory) {
	if wait := b.gate(p, m); wait > 0 {
		b.skip(Note{Reason: AwaitLease, Shard: p.Shard, Epoch: p.Epoch, Session: p.ActiveSession, Wait: wait})
		return
	}
	up := b.open(spec)
	if len(up) == 0 {
		up = b.eligible(spec) // to serve on a node that is to be emptied is better than not to serve
	}
	if len(up) == 0 {
		b.skip(Note{Reason: AwaitMembers, Shard: p.Shard, Epoch: p.Epoch, Want: 1})
		return
	}
	if !b.due(m) {
		b.skip(Note{Reason: AwaitProposal, Shard: p.Shard, Epoch: p.Epoch})
		return
	}
	w := b.load().allocate(spec, up, nil)[0]
	session := b.view.Members[w].Session
	b.elect.add(
		fsm.Election{Shard: p.Shard, Epoch: p.Epoch, Version: p.Version, Session: session},
		Note{Reason: LeastLoaded, Shard: p.Shard, Epoch: p.Epoch, Node: w, Session: session},
	)
}

// gate returns how long the session that served last may still act on its lease; 0 when it cannot.
//
// It cannot when it is over, when it is the very session that was elected, or when its copy answered a Seal as the one that
// led. Otherwise its lease for this shard ends one lease, its own, after BeginRecovery, for a renewal granted later does not
// extend it. The driver counts from when it first saw the shard without that primary, which is not before.
func (b *batch) gate(p *shard.Placement, m *memory) time.Duration {
	switch {
	case p.ActiveEpoch == 0, b.view.Ended(p.ActiveSession), p.ActiveSession == p.Session:
		return 0
	case m.led != 0 && m.led == p.ActivePrimary:
		return 0
	}
	return max(0, m.left+b.lengths(p.ActiveSession).Lease-b.in.Now)
}

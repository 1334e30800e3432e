package plan

import (
	"fmt"
	"slices"
	"time"

	"muster/fsm"
	"muster/shard"
)

// Evidence is what the leader knows of a shard that has lost more copies than it can bear: what an operator should see before
// one copy goes on alone.
type Evidence struct {
	Shard   shard.ID
	Epoch   shard.Epoch
	Version shard.ConfigVersion
	Status  shard.Status
	Copies  []Witness

	Chosen shard.CopyID   // the most advanced copy that can be reached, 0 for none
	Anew   []shard.NodeID // none can be reached: on these nodes the shard would begin with nothing
	Base   shard.Position // where its log ends
	Known  shard.LSN      // up to here everything was confirmed, by the word of a copy or by the shard's history
	Lost   shard.LSN      // so many confirmed records, at least, are not in the chosen log; how many more nobody knows
	Whole  bool           // nothing confirmed is missing: enough copies answered, and only too few to write to are there

	Quiet    time.Duration // for so long the process that served last may confirm, where the leader cannot see it
	Obstacle Line          // why it cannot be done, or not yet; no Reason for nothing
}

// Witness is one member of C, or a learner, which cannot be chosen.
type Witness struct {
	Copy      shard.Copy
	Learner   bool
	Up        bool          // its directory has a live session
	Away      time.Duration // since when its node is down, as this leader saw it
	Answered  bool          // it has promised the present epoch; the rest is its own word
	Last      shard.Position
	Confirmed shard.LSN // what it knows to be confirmed
}

// Evidence says what is known of a shard that does not recover.
func (d *Driver) Evidence(in Input, id shard.ID) Evidence {
	b := &batch{in: in, d: d, view: in.State.View}
	p := b.view.Placement(id)
	if p == nil {
		return Evidence{Shard: id, Obstacle: Line{AwaitMembers, fmt.Sprintf("%s has no place", id)}}
	}
	m := d.shards[id]
	if m != nil && (m.epoch != p.Epoch || m.version != p.Version || m.status != p.Status) {
		m = nil
	}
	return b.evidence(p, m)
}

// Forsaking is the command that has a shard go on with the chosen copy alone, nil while there is an obstacle, none to choose, or the process that
// served last may still confirm.
func Forsaking(e Evidence) fsm.Command {
	if e.Obstacle.Reason != "" || e.Chosen == 0 || e.Quiet > 0 {
		return nil
	}
	return &fsm.Promote{Items: []fsm.Promotion{{Shard: e.Shard, Epoch: e.Epoch, Version: e.Version, Copy: e.Chosen, Base: e.Base}}}
}

// evidence puts together what is known. The memory is that of the very placement, nil when there is none yet.
func (b *batch) evidence(p *shard.Placement, m *memory) Evidence {
	e := Evidence{Shard: p.Shard, Epoch: p.Epoch, Version: p.Version, Status: p.Status}
	for _, c := range p.Copies {
		e.Copies = append(e.Copies, b.witness(c, m))
	}
	e.choose(b, p, m)
	e.bound(b.in.State, p)
	for _, l := range p.Learners {
		w := b.witness(l.Copy, m)
		w.Learner = true
		e.Copies = append(e.Copies, w)
	}
	spec := b.view.Types[p.Shard.Type].Spec
	e.Quiet = b.quiet(spec, p, m)
	e.Obstacle = e.obstacle(spec, p)
	if e.Obstacle.Reason == "" && e.Chosen == 0 {
		e.beginAnew(b, spec)
	}
	return e
}

func (b *batch) witness(c shard.Copy, m *memory) Witness {
	w := Witness{Copy: c}
	if _, w.Up = sessionOf(b.view, c); !w.Up {
		if since, down := b.d.moving.absent[c.Node]; down {
			w.Away = b.in.Now - since
		}
	}
	if m == nil {
		return w
	}
	if i := slices.IndexFunc(m.answers, func(a shard.Sealed) bool { return a.Copy == c.ID }); i >= 0 {
		w.Answered, w.Last, w.Confirmed = true, m.answers[i].Last, m.answers[i].Confirmed
	}
	return w
}

// choose picks the copy that would be elected if no quorum were asked for. One that is elected already had a quorum behind it,
// or led before: nothing confirmed is missing then.
func (e *Evidence) choose(b *batch, p *shard.Placement, m *memory) {
	if p.Status == shard.Establishing {
		e.Whole = true
		e.Base, _ = baseOf(b.in.State, p.Shard, p.Epoch)
		if c, member := p.Copy(p.Primary); member {
			if _, up := sessionOf(b.view, c); up {
				e.Chosen = p.Primary
			}
		}
		return
	}
	if m == nil {
		return
	}
	e.Whole = b.canvass(p, m).winner != 0
	var best candidate
	for _, w := range e.Copies {
		i := slices.IndexFunc(m.answers, func(a shard.Sealed) bool { return a.Copy == w.Copy.ID })
		if i < 0 || !w.Up || w.Copy.State != shard.CopyReady {
			continue
		}
		s, live := sessionOf(b.view, w.Copy)
		if c := b.candidate(p, m.answers[i], w.Copy, s, live); best.copy == 0 || c.compare(best) < 0 {
			best = c
		}
	}
	e.Chosen, e.Base = best.copy, best.last
}

// bound finds what must have been confirmed. Each answer tells what its copy knew; and an epoch that was elected and activated had its
// first record, right behind the log it began with, on a write quorum.
func (e *Evidence) bound(s *fsm.State, p *shard.Placement) {
	for _, w := range e.Copies {
		e.Known = max(e.Known, w.Confirmed)
	}
	held := e.Base.LSN
	if p.ActiveEpoch != 0 {
		base, elected := baseOf(s, p.Shard, p.ActiveEpoch)
		e.Known = max(e.Known, base.LSN+1)
		if elected && e.Base.Epoch < p.ActiveEpoch {
			held = min(held, base.LSN) // what it has behind that is not what was confirmed there
		}
	}
	if !e.Whole && e.Chosen != 0 && e.Known > held {
		e.Lost = e.Known - held
	}
}

// baseOf returns where the log ended that an epoch was elected with. It is not known of one that was handed over, whose first primary
// held all that was confirmed, and none beyond it was there; nor when the history does not reach back so far.
func baseOf(s *fsm.State, id shard.ID, epoch shard.Epoch) (base shard.Position, known bool) {
	for _, c := range s.History(id) {
		if c.Epoch == epoch && c.Cause == shard.CauseElected {
			base, known = c.Base, true
		}
	}
	return base, known
}

// quiet returns how long the process that served last may still confirm without the leader's seeing it. It cannot when it said
// good-bye or handed over, when a later process has held the lock of its directory, when its copy has promised this epoch, or when the
// copies that have not are too few to write to.
func (b *batch) quiet(spec shard.Spec, p *shard.Placement, m *memory) time.Duration {
	l := b.lengths(p.ActiveSession)
	limit := l.Lease + spec.Autonomy(l.Autonomy)
	switch {
	case p.ActiveEpoch == 0, p.ActiveSession == 0, p.ActiveSession == p.Session, b.returned(p):
		return 0
	case p.Primary != 0 && p.Primary == p.ActivePrimary:
		return 0
	case m == nil:
		return limit
	case m.led != 0 && m.led == p.ActivePrimary, m.answered(p.ActivePrimary) && !b.elsewhere(p):
		return 0
	}
	silent := 0
	for _, c := range p.Copies {
		if !m.answered(c.ID) || c.ID == p.ActivePrimary {
			silent++
		}
	}
	if silent < p.WriteQuorum {
		return 0
	}
	return max(0, m.left+limit-b.in.Now)
}

// returned reports whether a later process has held the lock of the directory of the copy that led last, on the same machine.
func (b *batch) returned(p *shard.Placement) bool {
	m := b.view.Members[p.ActiveNode]
	c, known := p.Copy(p.ActivePrimary)
	return known && c.Directory == m.Directory && b.in.State.Succeeded(p.ActiveNode, p.ActiveSession)
}

// elsewhere reports whether what answers for the copy that led last is a process that cannot prove to have taken the place of the
// one that led: its directory may be a copy of that one's.
func (b *batch) elsewhere(p *shard.Placement) bool {
	return b.view.Members[p.ActiveNode].Session != p.ActiveSession && !b.returned(p)
}

func (e *Evidence) obstacle(spec shard.Spec, p *shard.Placement) Line {
	up, awaited := []shard.CopyID{}, []shard.CopyID{}
	for _, w := range e.Copies {
		if w.Learner || !w.Up || w.Copy.State != shard.CopyReady {
			continue
		}
		up = append(up, w.Copy.ID)
		if !w.Answered && p.Status == shard.Recovering {
			awaited = append(awaited, w.Copy.ID)
		}
	}
	switch {
	case spec.Volatile:
		return Line{NothingToLose, "a volatile shard has no copies"}
	case p.Status == shard.Active:
		return Line{Served, fmt.Sprintf("%s serves it: nothing is to be recovered", p.Node)}
	case p.Status == shard.Forming:
		return Line{AwaitCreation, "its first copies are being created"}
	case fsm.Sufficient(p, up):
		return Line{AwaitAnswers, fmt.Sprintf("%d of its %d copies are up, which is enough: it recovers by itself", len(up), len(p.Copies))}
	case len(awaited) > 0:
		return Line{AwaitAnswers, fmt.Sprintf("copies %v are up and have not answered yet", awaited)}
	}
	return Line{}
}

// beginAnew finds nodes for a shard of which no copy can be reached. All that was confirmed is lost then.
func (e *Evidence) beginAnew(b *batch, spec shard.Spec) {
	e.Lost = e.Known
	up := b.open(spec)
	if len(up) < spec.WriteQuorum() {
		e.Obstacle = Line{AwaitMembers, fmt.Sprintf("none of its copies can be reached, and of the nodes that could take new ones %d are up, %d must be", len(up), spec.WriteQuorum())}
		return
	}
	e.Anew = b.load().allocate(spec, up, nil)
}

package plan

import (
	"fmt"
	"strings"
	"time"

	"muster/fsm"
	"muster/shard"
)

// Line is one fact of an explanation.
type Line struct {
	Reason Reason // why the shard waits; "" for a plain fact
	Text   string // a sentence
}

// Explain says where a shard is, why, and what it waits for, from the group's state alone: every node can answer.
// What the leader knows beside that is in Driver.Explain.
func Explain(s *fsm.State, id shard.ID) []Line {
	v := s.View
	t := v.Types[id.Type]
	if t == nil || int(id.Number) >= len(t.Placements) {
		return []Line{{Text: fmt.Sprintf("there is no shard %s", id)}}
	}
	p := t.Placements[id.Number]
	if p == nil {
		return explainUnplaced(v, t.Spec, id)
	}
	lines := []Line{{Text: fmt.Sprintf("%s is %s in epoch %d since entry %d (%s)", id, p.Status, p.Epoch, p.Changed, p.Cause)}}
	switch p.Status {
	case shard.Forming:
		lines = append(lines, Line{AwaitCreation, "its nodes are creating the first copies"})
	case shard.Recovering:
		lines = append(lines, explainRecovering(s, t.Spec, p))
	case shard.Establishing:
		lines = append(lines, explainEstablishing(v, p))
	case shard.Active:
		lines = append(lines, Line{Text: fmt.Sprintf("%s serves it in session %d", p.Node, p.Session)})
	}
	up := 0
	for _, c := range p.Copies {
		state, live := "up", false
		if _, live = sessionOf(v, c); !live {
			state = "down"
		}
		if live && c.State == shard.CopyReady {
			up++
		}
		lines = append(lines, Line{Text: fmt.Sprintf("copy %d on %s: %s, %s", c.ID, c.Node, c.State, state)})
	}
	lines = append(lines, explainMoves(v, p)...)
	if p.Status == shard.Active && up < p.WriteQuorum {
		lines = append(lines, Line{AwaitCopies, fmt.Sprintf("writes wait: %d copies must hold a record, %d can", p.WriteQuorum, up)})
	}
	if left := sound(p); p.Status == shard.Active && together(p) {
		lines = append(lines, Line{AwaitCopies, fmt.Sprintf(
			"%d of its %d copies are lost: it goes on when %d new ones have caught up and join at once, or when an operator lets it write to fewer (degrade --copies %d)",
			len(p.Copies)-left, len(p.Copies), p.WriteQuorum-left, left)})
	}
	return append(lines, explainLoss(t.Spec, p)...)
}

// explainLoss says what an operator accepted, or is free to accept.
func explainLoss(spec shard.Spec, p *shard.Placement) []Line {
	var lines []Line
	if p.WriteQuorum < spec.WriteQuorum() {
		lines = append(lines, Line{Degraded, fmt.Sprintf("it writes to %d copies instead of %d until more join", p.WriteQuorum, spec.WriteQuorum())})
	}
	if p.Floor > 0 {
		lines = append(lines, Line{Degraded, fmt.Sprintf("an operator allows it to write to %d copies while others are away", p.Floor)})
	}
	if p.Emptied > 0 {
		lines = append(lines, Line{Text: fmt.Sprintf("it began with nothing in epoch %d: what it held before is lost", p.Emptied)})
	}
	for _, a := range p.Aside {
		began := "from a log that ended at " + a.Base.String()
		if a.Base == (shard.Position{}) {
			began = "empty"
		}
		lines = append(lines, Line{KeptAside, fmt.Sprintf("copy %d on %s is kept aside: epoch %d began without it, %s", a.Copy.ID, a.Copy.Node, a.Epoch, began)})
	}
	return lines
}

// explainMoves says what is under way or wished for.
func explainMoves(v *shard.View, p *shard.Placement) []Line {
	var lines []Line
	for _, l := range p.Learners {
		text := fmt.Sprintf("copy %d is being made on %s: %s", l.Copy.ID, l.Copy.Node, l.Copy.State)
		if l.Replaces != 0 {
			text += fmt.Sprintf(", and replaces copy %d", l.Replaces)
		}
		lines = append(lines, Line{Text: text})
	}
	if p.Retiring != 0 {
		lines = append(lines, Line{CopyMoved, fmt.Sprintf("copy %d has a successor in C, and leaves when that leads", p.Retiring)})
	}
	if p.Wished() {
		lines = append(lines, Line{Text: fmt.Sprintf("%s is asked to hand it over to %s", p.Node, p.HandNode)})
	}
	if p.Pinned != "" {
		lines = append(lines, Line{Pinned, fmt.Sprintf("an operator wants its primary on %s", p.Pinned)})
	}
	if v.Paused && p.Status == shard.Active {
		lines = append(lines, Line{Text: "balancing is paused: it is not moved for an even share"})
	}
	return lines
}

func explainUnplaced(v *shard.View, spec shard.Spec, id shard.ID) []Line {
	have := 0
	for _, m := range v.Members { //lint:maporder a sum
		if v.Up(m.ID) && m.Open() && fsm.Eligible(m, spec) {
			have++
		}
	}
	return []Line{
		{Text: fmt.Sprintf("%s has no place yet", id)},
		{AwaitMembers, fmt.Sprintf("%d members that host %s are up and take something new; it is placed on %d, or after a while on %d", have, spec.Name, spec.Replicas+1, max(1, spec.WriteQuorum()))},
	}
}

func explainRecovering(s *fsm.State, spec shard.Spec, p *shard.Placement) Line {
	v := s.View
	if spec.Volatile {
		of := ""
		if l, said := s.Lengths(p.ActiveSession); said {
			of = fmt.Sprintf(" on %s, %s long,", p.ActiveNode, l.Lease)
		}
		return Line{AwaitLease, fmt.Sprintf("the lease of session %d%s must end before another member takes over", p.ActiveSession, of)}
	}
	can := 0
	var down []string
	for _, c := range p.Copies {
		if _, live := sessionOf(v, c); live && c.State == shard.CopyReady {
			can++
			if c.ID == p.ActivePrimary {
				can = len(p.Copies)
			}
		} else {
			down = append(down, fmt.Sprintf("%d on %s", c.ID, c.Node))
		}
	}
	if can >= p.RecoveryQuorum() {
		return Line{AwaitAnswers, fmt.Sprintf("its copies are being asked; %d of %d must answer", p.RecoveryQuorum(), len(p.Copies))}
	}
	return Line{AwaitCopies, fmt.Sprintf("%d of %d copies must answer and %d can; missing: %s",
		p.RecoveryQuorum(), len(p.Copies), can, strings.Join(down, ", "))}
}

func explainEstablishing(v *shard.View, p *shard.Placement) Line {
	away := missing(v, p)
	if can := len(p.Copies) - len(away); can < p.WriteQuorum {
		return Line{AwaitCopies, fmt.Sprintf("%s is elected: %d copies must hold its log before it serves and %d can; it goes on when enough of copies %v are back",
			p.Node, p.WriteQuorum, can, away)}
	}
	return Line{AwaitPrimary, fmt.Sprintf("%s is bringing its log to %d copies before it serves", p.Node, p.WriteQuorum)}
}

// Explain is Explain with what this leader has heard so far: who answered, and with which log.
func (d *Driver) Explain(in Input, id shard.ID) []Line {
	lines := Explain(in.State, id)
	lines = append(lines, d.explainAgenda(in, id)...)
	p, m := in.State.View.Placement(id), d.shards[id]
	if f := d.fresh[id.Type]; p == nil && f != nil && in.Now < f.since+d.Times.Place {
		lines = append(lines, Line{AwaitMembers, fmt.Sprintf("fewer members have to do in %s", left(f.since+d.Times.Place, in.Now))})
	}
	if p == nil || m == nil || p.Epoch != m.epoch || p.Status != m.status {
		return lines
	}
	if p.Status == shard.Forming {
		lines = append(lines, Line{AwaitCreation, fmt.Sprintf("nodes that are down by then are replaced in %s", left(m.since+d.Times.Place, in.Now))})
	}
	if p.Status == shard.Establishing && len(p.Copies)-len(missing(in.State.View, p)) >= p.WriteQuorum {
		lines = append(lines, Line{AwaitPrimary, fmt.Sprintf("another copy is tried in %s", left(m.since+d.patience(m), in.Now))})
	}
	if p.Status != shard.Recovering {
		return lines
	}
	if len(p.Copies) > 0 {
		lines = append(lines, Line{AwaitAnswers, fmt.Sprintf("copies on nodes that are up are asked again every %s", d.Times.SealAgain)})
	}
	for _, a := range m.answers {
		lines = append(lines, Line{Text: fmt.Sprintf("copy %d has promised epoch %d with its log at %s", a.Copy, a.Epoch, a.Last)})
	}
	b := &batch{in: in, d: d, view: in.State.View}
	if c := b.canvass(p, m); c.note.Reason == AwaitBest {
		lines = append(lines, Line{AwaitBest, fmt.Sprintf("copy %d has the best log, and its node is down since", c.note.Copy)})
	}
	return append(lines, b.explainLossy(b.view.Types[id.Type].Spec, p, m)...)
}

// explainAgenda says which moves of the shard are under way, and which wait and what for.
func (d *Driver) explainAgenda(in Input, id shard.ID) []Line {
	var lines []Line
	b := &batch{in: in, d: d, view: in.State.View}
	spent := b.spent()
	for _, f := range d.moving.flights {
		if f.Shard == id {
			lines = append(lines, Line{f.Reason, fmt.Sprintf("under way for %s: %s", left(in.Now, f.since), f.Move)})
		}
	}
	for _, e := range d.moving.agenda {
		if e.Shard != id {
			continue
		}
		if why, wait := b.obstacle(e, spent); wait {
			lines = append(lines, Line{why, fmt.Sprintf("planned, and waits %s: %s", d.until(why, e, in.Now), e.Move)})
		}
	}
	for _, n := range d.moving.notes {
		if n.Shard == id {
			lines = append(lines, Line{n.Reason, n.sentence()})
		}
	}
	p := in.State.View.Placement(id)
	if p == nil {
		return lines
	}
	for _, c := range p.Copies {
		since, down := d.moving.absent[c.Node]
		switch m := in.State.View.Members[c.Node]; {
		case !down || c.State == shard.CopyLost:
		case m.Maintenance:
			lines = append(lines, Line{AwaitReturn, fmt.Sprintf("%s is under maintenance: its copy is not made elsewhere", c.Node)})
		case in.Now < since+d.Times.Rebuild:
			lines = append(lines, Line{AwaitReturn, fmt.Sprintf("%s may come back: in %s its copy is made elsewhere", c.Node, left(since+d.Times.Rebuild, in.Now))})
		}
	}
	return lines
}

// sentence says why something of a shard should move and cannot.
func (n Note) sentence() string {
	switch n.Reason {
	case NoRoom:
		what := "a copy it misses has no place"
		if n.Want == 0 {
			what = fmt.Sprintf("copy %d cannot leave %s", n.Copy, n.Node)
		}
		return what + ": every other member is down, takes nothing or has a copy"
	case AwaitHeir:
		return fmt.Sprintf("%s should not lead it, and no other copy could now", n.Node)
	case PinBlocked:
		return fmt.Sprintf("%s, where an operator wants its primary, cannot take it now", n.Node)
	}
	return n.String()
}

// until says for how long a planned move waits, or for what.
func (d *Driver) until(why Reason, e errand, now time.Duration) string {
	switch why {
	case AwaitReturn:
		return fmt.Sprintf("until %s is back or given up", e.awaits)
	case AwaitMove:
		return "until another move of the shard is over"
	case AwaitCooldown:
		rested := max(d.moving.rested[rest{e.Shard, e.Kind}], d.moving.rested[rest{e.Shard, ""}])
		return fmt.Sprintf("for %s, since the shard was moved a moment ago", left(rested, now))
	case AwaitBudget:
		return "until one of the moves under way is over"
	case AwaitCopies:
		return "until more copies come that could join"
	case AwaitTarget:
		return fmt.Sprintf("until %s can lead it, or what is to leave does not lead", e.To)
	}
	return "until it can be begun"
}

// left is the time until a moment, in whole tens of milliseconds; 0 when it has passed.
func left(at, now time.Duration) time.Duration { return max(0, at-now).Round(10 * time.Millisecond) }

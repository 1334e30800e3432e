package plan

import (
	"fmt"
	"strings"

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
		lines = append(lines, explainRecovering(v, t.Spec, p))
	case shard.Establishing:
		lines = append(lines, Line{AwaitPrimary, fmt.Sprintf("%s is bringing its log to %d copies before it serves", p.Node, p.WriteQuorum)})
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
	if p.Status == shard.Active && up < p.WriteQuorum {
		lines = append(lines, Line{AwaitCopies, fmt.Sprintf("writes wait: %d copies must hold a record, %d can", p.WriteQuorum, up)})
	}
	return lines
}

func explainUnplaced(v *shard.View, spec shard.Spec, id shard.ID) []Line {
	have := 0
	for _, m := range v.Members { //lint:maporder a sum
		if v.Up(m.ID) && fsm.Eligible(m, spec) {
			have++
		}
	}
	return []Line{
		{Text: fmt.Sprintf("%s has no place yet", id)},
		{AwaitMembers, fmt.Sprintf("%d members that host %s are up; it is placed on %d, or after a while on %d", have, spec.Name, spec.Replicas+1, max(1, spec.WriteQuorum()))},
	}
}

func explainRecovering(v *shard.View, spec shard.Spec, p *shard.Placement) Line {
	if spec.Volatile {
		return Line{AwaitLease, fmt.Sprintf("the lease of session %d must end before another member takes over", p.ActiveSession)}
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

// Explain is Explain with what this leader has heard so far: who answered, and with which log.
func (d *Driver) Explain(in Input, id shard.ID) []Line {
	lines := Explain(in.State, id)
	p, m := in.State.View.Placement(id), d.shards[id]
	if p == nil || m == nil || p.Epoch != m.epoch || p.Status != shard.Recovering {
		return lines
	}
	for _, a := range m.answers {
		lines = append(lines, Line{Text: fmt.Sprintf("copy %d has promised epoch %d with its log at %s", a.Copy, a.Epoch, a.Last)})
	}
	b := &batch{in: in, d: d, view: in.State.View}
	if c := b.canvass(p, m); c.note.Reason == AwaitBest {
		lines = append(lines, Line{AwaitBest, fmt.Sprintf("copy %d has the best log, and its node is down since", c.note.Copy)})
	}
	return lines
}

package plan

import (
	"fmt"
	"slices"
	"time"

	"muster/fsm"
	"muster/shard"
)

// doWithout lets a shard whose type accepts loss go on without the copies it waits for, once they have been away for too long. It
// is called when nobody can be elected. The note is the reason for that, and for waiting.
//
// The members that have answered stay, so that a shard of three copies is left with two and not with one: see fsm.Promote.
func (b *batch) doWithout(spec shard.Spec, p *shard.Placement, m *memory, n Note) {
	if n.Wait = b.endurance(spec, p, m); n.Wait > 0 {
		b.skip(n)
		return
	}
	e := b.evidence(p, m)
	if e.Obstacle.Reason != "" || e.Quiet > 0 { // Quiet is over with the endurance
		b.skip(n)
		return
	}
	one := fsm.Promotion{Shard: p.Shard, Epoch: p.Epoch, Version: p.Version, Copy: e.Chosen, Base: e.Base, Lossy: true}
	for _, w := range e.Copies {
		if w.Up && w.Answered && w.Copy.State == shard.CopyReady && !w.Learner && w.Copy.ID != e.Chosen {
			one.Kept = append(one.Kept, w.Copy.ID)
		}
	}
	given := fsm.GivenUp(p, one)
	if len(p.Aside)+len(given) > shard.MaxAside {
		n.Reason, n.Have, n.Want = AsideFull, len(p.Aside), shard.MaxAside
		b.skip(n)
		return
	}
	if !b.due(m) {
		b.skip(Note{Reason: AwaitProposal, Shard: p.Shard, Epoch: p.Epoch})
		return
	}
	why := Note{Reason: Lossy, Shard: p.Shard, Epoch: p.Epoch, Node: nodeOf(p, e.Chosen), Copy: e.Chosen, Last: e.Base}
	for _, c := range given {
		why.Given = append(why.Given, c.ID)
	}
	b.promote.add(one, why)
}

// endurance is how much longer the shard waits for its copies: as long as its type says, after the lease of the process that
// served last is over, and after each node that could bring a copy back went down. A lost copy is not waited for.
func (b *batch) endurance(spec shard.Spec, p *shard.Placement, m *memory) time.Duration {
	end := m.left + b.lengths(p.ActiveSession).Lease
	for _, c := range p.Copies {
		if _, up := sessionOf(b.view, c); up || c.State != shard.CopyReady {
			continue
		}
		since, known := b.d.moving.absent[c.Node]
		if !known {
			since = b.in.Now // it is about to be noticed
		}
		end = max(end, since)
	}
	return max(0, end+spec.LossyAfter-b.in.Now)
}

// explainLossy says when the shard will not wait any longer.
func (b *batch) explainLossy(spec shard.Spec, p *shard.Placement, m *memory) []Line {
	if spec.LossyAfter == 0 || b.canvass(p, m).winner != 0 {
		return nil
	}
	var away []string
	for _, c := range p.Copies {
		if _, up := sessionOf(b.view, c); !up || c.State != shard.CopyReady {
			away = append(away, fmt.Sprintf("%d on %s", c.ID, c.Node))
		}
	}
	if len(away) == 0 || len(away) == len(p.Copies) {
		return nil
	}
	return []Line{{Lossy, fmt.Sprintf("its type accepts loss: in %s it goes on without %s", b.endurance(spec, p, m), away)}}
}

func nodeOf(p *shard.Placement, id shard.CopyID) shard.NodeID {
	i := slices.IndexFunc(p.Copies, func(c shard.Copy) bool { return c.ID == id })
	if i < 0 {
		return ""
	}
	return p.Copies[i].Node
}

package plan

import (
	"slices"
	"time"

	"muster/fsm"
	"muster/shard"
)

// fresh is what the driver remembers of a type with shards that have no place yet.
type fresh struct {
	since    time.Duration // when the driver first saw it so
	enough   time.Duration // when enough members for all its copies were first up; unset when 0
	proposed time.Duration // unset when 0
}

// placeFresh gives nodes to the shards of a type that have none.
//
// They wait until members for all copies are up, and then for voters that are down, but only moments: a group that is
// starting should not put everything on the first nodes to arrive. After Times.Place a write quorum has to do.
func (b *batch) placeFresh(spec shard.Spec, unplaced []shard.ID) {
	if len(unplaced) == 0 {
		delete(b.d.fresh, spec.Name)
		return
	}
	f := b.d.fresh[spec.Name]
	if f == nil {
		f = &fresh{since: b.in.Now}
		b.d.fresh[spec.Name] = f
	}
	up := b.open(spec)
	if note, wait := b.holdOff(spec, f, up); wait {
		note.Shard = unplaced[0]
		b.skip(note)
		return
	}
	if f.proposed != 0 && b.in.Now < f.proposed+b.d.Times.Retry {
		b.skip(Note{Reason: AwaitProposal, Shard: unplaced[0]})
		return
	}
	f.proposed = b.in.Now
	choose := b.chooser(spec, up)
	for _, id := range unplaced {
		nodes := choose(id.Number)
		b.place.add(fsm.Placing{Shard: id, Nodes: nodes}, Note{Reason: NewShard, Shard: id, Nodes: nodes})
	}
}

// holdOff says why a new type waits, if it does.
func (b *batch) holdOff(spec shard.Spec, f *fresh, up []shard.Member) (Note, bool) {
	want, least := spec.Replicas+1, max(1, spec.WriteQuorum())
	patience := f.since + b.d.Times.Place - b.in.Now
	if len(up) < want {
		f.enough = 0
		note := Note{Reason: AwaitMembers, Have: len(up), Want: want, Wait: max(0, patience)}
		return note, len(up) < least || patience > 0
	}
	if f.enough == 0 {
		f.enough = b.in.Now
	}
	settle := f.enough + b.d.Times.Settle - b.in.Now
	return Note{Reason: AwaitVoters, Have: len(up), Want: want, Wait: settle}, settle > 0 && b.voterDown()
}

// voterDown reports whether a voter that the group knows is not up.
func (b *batch) voterDown() bool {
	for _, m := range b.view.Members { //lint:maporder any one answers the question
		if m.Voter && !b.view.Up(m.ID) {
			return true
		}
	}
	return false
}

// ofForming waits for the first copies of a shard, and moves those of nodes that are gone; and in the end those that a node which is up
// does not create, when others could.
func (b *batch) ofForming(spec shard.Spec, p *shard.Placement, m *memory) {
	var keep, late []shard.NodeID
	var waiting []shard.CopyID
	stranded, lost := false, false
	for _, c := range p.Copies {
		_, live := sessionOf(b.view, c)
		switch {
		case c.State == shard.CopyLost:
			lost = true
		case c.State == shard.CopyReady:
			keep = append(keep, c.Node)
			continue
		case live:
			late = append(late, c.Node)
		default:
			stranded = true
		}
		waiting = append(waiting, c.ID)
	}
	if b.in.Now < m.since+b.d.Times.Found || !b.suffice(spec, late) {
		keep, late = append(keep, late...), nil
	}
	wait := m.since + b.d.Times.Place - b.in.Now
	note := Note{Reason: AwaitCreation, Shard: p.Shard, Waiting: waiting}
	if !lost && len(late) == 0 && (!stranded || wait > 0) {
		if stranded {
			note.Wait = wait
		}
		b.skip(note)
		return
	}
	b.replace(spec, p, m, keep, late)
}

// suffice reports whether there are open members for all copies of a shard without some, of which there is one at least.
func (b *batch) suffice(spec shard.Spec, without []shard.NodeID) bool {
	if len(without) == 0 {
		return false
	}
	up, known := b.openTo[spec.Name]
	if !known {
		if up = b.open(spec); b.openTo == nil {
			b.openTo = map[shard.TypeName][]shard.Member{}
		}
		b.openTo[spec.Name] = up
	}
	others := 0
	for i := 0; i < len(up) && others <= spec.Replicas; i++ {
		if !slices.Contains(without, up[i].ID) {
			others++
		}
	}
	return others > spec.Replicas
}

// others returns open members without some.
func (b *batch) others(spec shard.Spec, without []shard.NodeID) []shard.Member {
	return slices.DeleteFunc(b.open(spec), func(m shard.Member) bool { return slices.Contains(without, m.ID) })
}

// replace moves a forming shard to nodes that are up and not late, keeping the copies that can be kept.
func (b *batch) replace(spec shard.Spec, p *shard.Placement, m *memory, keep, late []shard.NodeID) {
	up := b.others(spec, late)
	keep = slices.DeleteFunc(keep, func(id shard.NodeID) bool {
		return !slices.ContainsFunc(up, func(m shard.Member) bool { return m.ID == id })
	})
	if len(up) < spec.WriteQuorum() {
		b.skip(Note{Reason: AwaitMembers, Shard: p.Shard, Have: len(up), Want: spec.WriteQuorum()})
		return
	}
	if !b.due(m) {
		b.skip(Note{Reason: AwaitProposal, Shard: p.Shard, Epoch: p.Epoch})
		return
	}
	nodes := b.load().allocate(spec, up, keep)
	b.place.add(
		fsm.Placing{Shard: p.Shard, Epoch: p.Epoch, Version: p.Version, Nodes: nodes},
		Note{Reason: FormingStranded, Shard: p.Shard, Epoch: p.Epoch, Nodes: nodes},
	)
}

// open returns the members that are up and may be given a copy of the type, by name. Others the group would refuse, whatever they
// have already.
func (b *batch) open(spec shard.Spec) []shard.Member {
	return slices.DeleteFunc(b.eligible(spec), func(m shard.Member) bool { return !m.Open() })
}

// eligible returns the members that are up and may host the type, by name.
func (b *batch) eligible(spec shard.Spec) []shard.Member {
	var up []shard.Member
	for _, m := range b.view.Members { //lint:maporder sorted below
		if b.view.Up(m.ID) && fsm.Eligible(m, spec) {
			up = append(up, m)
		}
	}
	slices.SortFunc(up, func(a, b shard.Member) int { return cmpNode(a.ID, b.ID) })
	return up
}

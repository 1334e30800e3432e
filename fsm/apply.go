package fsm

import (
	"fmt"
	"maps"
	"slices"

	"muster/barrier"
	"muster/shard"
)

// Apply runs one Raft entry on a state and returns the next state and what happened. The given state stays as it was. An
// entry that cannot be read, is of a later version, or whose index is not newer than the state's, changes nothing that
// was decided; its Result says so. Apply never panics on bytes; it panics on a broken invariant of its own.
func Apply(s *State, index shard.Index, entry []byte) (*State, Result) {
	result := Result{Index: index}
	switch {
	case index <= s.Index():
		result.Fault = shard.Errorf(shard.CodeInternal, "entry %d does not follow state %d", index, s.Index())
		return s, result
	case Newer(entry):
		result.Newer = true
		result.Fault = shard.Errorf(shard.CodeInternal, "entry %d has version %d, this node reads %d", index, entry[0], Version)
		return s, result
	}
	d := newDraft(s, index)
	commands, fault := decode(entry)
	result.Fault = fault
	for _, c := range commands {
		result.Verdicts = append(result.Verdicts, d.run(c))
	}
	next := d.finish()
	result.Delta, result.Releases = d.delta, d.releases
	return next, result
}

// A draft is the state that one entry is making. What a command reads through it includes what the entry's earlier commands
// did. Nothing of it is shared until finish.
type draft struct {
	next     State // View is still the one before the entry
	index    shard.Index
	delta    shard.Delta
	releases []barrier.Release

	placed   map[shard.ID]int         // where in delta.Placements
	members  map[shard.NodeID]int     // where in delta.Members
	types    map[shard.TypeName]int   // where in delta.Types
	sessions map[shard.SessionID]bool // started in this entry and not ended; false: ended
	ownLives bool                     // next.lives is a copy of this draft's own
	ownPasts map[shard.TypeName]bool  // and so is next.pasts of that type
	length   int                      // next.historyLength, once it is needed
}

func newDraft(s *State, index shard.Index) *draft {
	return &draft{
		next: *s, index: index, delta: shard.Delta{Index: index},
		placed: map[shard.ID]int{}, members: map[shard.NodeID]int{},
		types: map[shard.TypeName]int{}, sessions: map[shard.SessionID]bool{}, ownPasts: map[shard.TypeName]bool{},
	}
}

func (d *draft) run(c Command) Verdict {
	if fault := c.Validate(); fault != nil {
		return refused(fault)
	}
	if _, genesis := c.(*Genesis); !genesis && !d.formed() {
		return refusef(shard.CodeConflict, "%s: the group is not formed yet", NameOf(c))
	}
	return c.apply(d)
}

// finish applies the delta. It cannot fail unless a command broke the map's rules, which is a defect that must not spread.
func (d *draft) finish() *State {
	view, err := d.next.View.With(&d.delta)
	if err != nil {
		panic(fmt.Sprintf("fsm: entry %d: %v", d.index, err))
	}
	d.next.View = view
	return &d.next
}

func (d *draft) formed() bool { return d.group() != "" }

func (d *draft) group() shard.GroupID {
	if d.delta.Group != "" {
		return d.delta.Group
	}
	return d.next.View.Group
}

func (d *draft) required() int {
	if d.delta.Required != nil {
		return *d.delta.Required
	}
	return d.next.View.Required
}

func (d *draft) lastSession() shard.SessionID {
	return max(d.delta.LastSession, d.next.View.LastSession)
}

func (d *draft) member(id shard.NodeID) (shard.Member, bool) {
	if i, changed := d.members[id]; changed {
		return d.delta.Members[i], true
	}
	if d.removed(id) {
		return shard.Member{}, false
	}
	m, known := d.next.View.Members[id]
	return m, known
}

func (d *draft) putMember(m shard.Member) {
	if i, changed := d.members[m.ID]; changed {
		d.delta.Members[i] = m
		return
	}
	d.members[m.ID] = len(d.delta.Members)
	d.delta.Members = append(d.delta.Members, m)
}

// memberCount counts the members, those of this entry included.
func (d *draft) memberCount() int {
	n := len(d.next.View.Members) - len(d.delta.Removed)
	for id := range d.members { //lint:maporder a count
		if _, known := d.next.View.Members[id]; !known || d.removed(id) {
			n++
		}
	}
	return n
}

// session returns a live session.
func (d *draft) session(id shard.SessionID) (shard.Session, bool) {
	if live, changed := d.sessions[id]; changed {
		i := slices.IndexFunc(d.delta.Sessions, func(s shard.Session) bool { return live && s.ID == id })
		if i < 0 {
			return shard.Session{}, false
		}
		return d.delta.Sessions[i], true
	}
	s, live := d.next.View.Sessions[id]
	return s, live
}

// up returns the live session of a member's node.
func (d *draft) up(id shard.NodeID) (shard.Session, bool) {
	m, known := d.member(id)
	if !known {
		return shard.Session{}, false
	}
	return d.session(m.Session)
}

// spec returns the type of a shard that exists.
func (d *draft) spec(id shard.ID) (shard.Spec, *shard.Error) {
	spec, known := d.typeNamed(id.Type)
	switch {
	case !known:
		return spec, &shard.Error{Code: shard.CodeUnknownType, Shard: id, Detail: "no member registered the type"}
	case uint32(id.Number) >= spec.Shards:
		return spec, &shard.Error{Code: shard.CodeInvalid, Shard: id, Detail: fmt.Sprintf("the type has %d shards", spec.Shards)}
	}
	return spec, nil
}

func (d *draft) typeNamed(name shard.TypeName) (shard.Spec, bool) {
	if i, changed := d.types[name]; changed {
		return d.delta.Types[i], true
	}
	if t := d.next.View.Types[name]; t != nil {
		return t.Spec, true
	}
	return shard.Spec{}, false
}

func (d *draft) placement(id shard.ID) *shard.Placement {
	if i, changed := d.placed[id]; changed {
		return &d.delta.Placements[i]
	}
	return d.next.View.Placement(id)
}

// put notes a changed placement, and in its shard's history why.
func (d *draft) put(p shard.Placement, why shard.Cause) {
	d.remember(changeOf(d.keep(p), why))
}

// keep notes a changed placement without a word in the history. A wish ends by itself when its shard is not active any more,
// or its copy not a ready member of C; a copy retires no more once it has left or is the only one.
func (d *draft) keep(p shard.Placement) *shard.Placement {
	p.Changed = d.index
	if _, member := p.Copy(p.Retiring); !member || len(p.Copies) == 1 {
		p.Retiring = 0
	}
	if to, _ := p.Copy(p.HandTo); p.Status != shard.Active || p.HandTo != 0 && to.State != shard.CopyReady {
		p.HandTo, p.HandNode = 0, ""
	}
	i, changed := d.placed[p.Shard]
	if !changed {
		i = len(d.delta.Placements)
		d.placed[p.Shard] = i
		d.delta.Placements = append(d.delta.Placements, shard.Placement{})
	}
	d.delta.Placements[i] = p
	return &d.delta.Placements[i]
}

// placements returns the placements that match, by type and number.
func (d *draft) placements(match func(*shard.Placement) bool) []shard.Placement {
	var found []shard.Placement
	for _, name := range slices.Sorted(maps.Keys(d.next.View.Types)) {
		for _, p := range d.next.View.Types[name].Placements {
			if p != nil && len(d.placed) > 0 {
				p = d.placement(p.Shard)
			}
			if p != nil && match(p) {
				found = append(found, *p)
			}
		}
	}
	for i := range d.delta.Placements { // those placed for the first time in this entry
		p := &d.delta.Placements[i]
		if d.next.View.Placement(p.Shard) == nil && match(p) {
			found = append(found, *p)
		}
	}
	slices.SortFunc(found, func(a, b shard.Placement) int { return a.Shard.Compare(b.Shard) })
	return found
}

// life returns the life of a session for writing, nil when there is none.
func (d *draft) life(id shard.SessionID) *life {
	i, found := findLife(d.next.lives, id)
	if !found {
		return nil
	}
	d.takeLives()
	return &d.next.lives[i]
}

func (d *draft) takeLives() {
	if !d.ownLives {
		d.next.lives, d.ownLives = slices.Clone(d.next.lives), true
	}
}

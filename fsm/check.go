package fsm

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"muster/shard"
)

// Check reports a broken invariant of the state, nil when it is sound. It looks at everything: tests call it after each
// entry, and Restore before a snapshot is used.
func (s *State) Check() error {
	if err := s.checkMembers(); err != nil {
		return err
	}
	copies := map[shard.CopyID]bool{}
	for _, name := range slices.Sorted(maps.Keys(s.View.Types)) {
		t := s.View.Types[name]
		if t.Spec.Name != name || len(t.Placements) != int(t.Spec.Shards) {
			return fmt.Errorf("type %s: %d placements for %d shards of %s", name, len(t.Placements), t.Spec.Shards, t.Spec.Name)
		}
		for n, p := range t.Placements {
			if p == nil {
				continue
			}
			if want := (shard.ID{Type: name, Number: shard.Number(n)}); p.Shard != want {
				return fmt.Errorf("shard %s stands at the place of %s", p.Shard, want)
			}
			if err := s.checkPlacement(t.Spec, p, copies); err != nil {
				return fmt.Errorf("shard %s: %w", p.Shard, err)
			}
		}
	}
	return s.Barriers.Check()
}

// CheckAfter is Check for a state that one entry made of a sound one, where d is what it changed in the map. An entry that
// changed nothing there, most of all a renewal, left the members, the placements and their histories as they were, and only the
// rest is looked at. For whoever checks after each of many entries.
func (s *State) CheckAfter(before *State, d *shard.Delta) error {
	if !d.Empty() || d.Index != s.View.Index || s.lastCopy != before.lastCopy || len(s.lives) != len(before.lives) {
		return s.Check()
	}
	for name := range s.View.Types { //lint:maporder each is judged by itself
		if !slices.Equal(s.pasts[name], before.pasts[name]) {
			return fmt.Errorf("type %s: entry %d changed a history and no placement", name, s.View.Index)
		}
	}
	if err := s.checkLives(); err != nil || s.Barriers == before.Barriers {
		return err
	}
	return s.Barriers.Check()
}

func (s *State) checkLives() error {
	for i, l := range s.lives {
		m, known := s.View.Members[l.Node]
		switch {
		case i > 0 && s.lives[i-1].Session >= l.Session:
			return fmt.Errorf("life %d after %d", l.Session, s.lives[i-1].Session)
		case !known || m.Session != l.Session || l.Session > s.View.LastSession || l.Confirmed > s.View.LastSession:
			return fmt.Errorf("node %s: life of session %d, member has %d, newest is %d", l.Node, l.Session, m.Session, s.View.LastSession)
		}
	}
	return s.checkLengths()
}

func (s *State) checkMembers() error {
	if s.version > Version {
		return fmt.Errorf("version %d is in force, this node reads %d", s.version, Version)
	}
	if (s.View.Group == "") != (len(s.founders) == 0) {
		return fmt.Errorf("group %q with %d founders", s.View.Group, len(s.founders))
	}
	if err := s.checkLives(); err != nil {
		return err
	}
	if s.View.PausedUntil != 0 && !s.View.Paused {
		return fmt.Errorf("an end of no pause")
	}
	registered := 0
	directories := map[shard.DirectoryID]shard.NodeID{}
	for _, id := range slices.Sorted(maps.Keys(s.View.Members)) {
		m := s.View.Members[id]
		if m.Until != 0 && !m.Maintenance {
			return fmt.Errorf("member %s: an end of no maintenance", id)
		}
		if other := directories[m.Directory]; other != "" || m.ID != id {
			return fmt.Errorf("member %s (%s): directory of %q", id, m.ID, other)
		}
		directories[m.Directory] = id
		if slices.ContainsFunc(s.removed, func(r removal) bool { return r.Directory == m.Directory }) {
			return fmt.Errorf("member %s has a directory that was removed", id)
		}
		if m.Session != 0 {
			registered++
		}
	}
	if registered != len(s.lives) {
		return fmt.Errorf("%d members have registered, %d lives", registered, len(s.lives))
	}
	for _, id := range slices.Sorted(maps.Keys(s.View.Sessions)) {
		live := s.View.Sessions[id]
		if m := s.View.Members[live.Node]; m.Session != id || live.ID != id || m.Directory != live.Directory {
			return fmt.Errorf("session %d of node %s is live, its member has %d", id, live.Node, m.Session)
		}
	}
	return nil
}

func (s *State) checkPlacement(spec shard.Spec, p *shard.Placement, copies map[shard.CopyID]bool) error {
	if err := p.Check(); err != nil {
		return err
	}
	all := slices.Clone(p.Copies)
	for _, l := range p.Learners {
		all = append(all, l.Copy)
	}
	for _, a := range p.Aside {
		all = append(all, a.Copy)
	}
	for _, c := range all {
		if c.ID == 0 || c.ID > s.lastCopy || copies[c.ID] || c.State < shard.CopyMinted || c.State > shard.CopyLost {
			return fmt.Errorf("copy %d (%s), the newest is %d: not unique or not minted", c.ID, c.State, s.lastCopy)
		}
		copies[c.ID] = true
		if m := s.View.Members[c.Node]; c.State != shard.CopyLost && m.Directory != c.Directory {
			return fmt.Errorf("copy %d is %s in a directory that node %s does not have", c.ID, c.State, c.Node)
		}
	}
	if err := cmp.Or(s.checkPlans(p), checkEmptied(p)); err != nil {
		return err
	}
	live, up := s.View.Sessions[p.Session]
	led, isCopy := p.Copy(p.Primary)
	switch {
	case len(p.Copies) > spec.Replicas+1 && p.Retiring == 0 || spec.Volatile != (len(p.Copies) == 0):
		return fmt.Errorf("%d copies of a type with %d replicas", len(p.Copies), spec.Replicas)
	case p.WriteQuorum < spec.WriteQuorum() && p.WriteQuorum != len(p.Copies):
		return fmt.Errorf("write quorum %d of %d copies: it could be higher", p.WriteQuorum, len(p.Copies))
	case p.WriteQuorum > spec.WriteQuorum() || (p.WriteQuorum < 1) != spec.Volatile || p.Floor >= max(1, spec.WriteQuorum()):
		return fmt.Errorf("write quorum %d, allowed down to %d, of a type with %d", p.WriteQuorum, p.Floor, spec.WriteQuorum())
	case p.Session != 0 && (!up || live.Node != p.Node):
		return fmt.Errorf("its primary's session %d is not a live one of node %s", p.Session, p.Node)
	case p.Primary != 0 && (!isCopy || led.Directory != live.Directory):
		return fmt.Errorf("its primary copy %d is not in the directory of session %d", p.Primary, p.Session)
	case p.Version < 1:
		return fmt.Errorf("%s in version %d", p.Status, p.Version)
	case p.ActiveEpoch > p.Epoch || p.Changed > s.View.Index:
		return fmt.Errorf("active epoch %d of %d, changed at %d of %d", p.ActiveEpoch, p.Epoch, p.Changed, s.View.Index)
	case p.Status != shard.Forming && slices.ContainsFunc(p.Copies, func(c shard.Copy) bool { return c.State == shard.CopyMinted }):
		return fmt.Errorf("%s with a copy that is not created", p.Status)
	}
	return s.checkHistory(p)
}

// checkPlans looks at what is to become of a shard.
func (s *State) checkPlans(p *shard.Placement) error {
	if _, member := p.Copy(p.Retiring); p.Retiring != 0 && (!member || len(p.Copies) != 2) {
		return fmt.Errorf("copy %d is to leave a C of %d copies, a member: %t", p.Retiring, len(p.Copies), member)
	}
	replaced := map[shard.CopyID]bool{}
	for _, l := range p.Learners {
		if _, member := p.Copy(l.Replaces); l.Replaces != 0 && (!member || replaced[l.Replaces]) {
			return fmt.Errorf("learner %d replaces copy %d, which is not in C or replaced by another", l.Copy.ID, l.Replaces)
		}
		replaced[l.Replaces] = true
	}
	if p.Wished() && !s.View.Up(p.HandNode) {
		return fmt.Errorf("it is wished to node %s, which is not up", p.HandNode)
	}
	if _, known := s.View.Members[p.Pinned]; p.Pinned != "" && !known {
		return fmt.Errorf("it is pinned to node %s, which does not exist", p.Pinned)
	}
	return nil
}

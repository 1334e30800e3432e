package fsm

import (
	"fmt"
	"slices"

	"muster/shard"
)

// MaxRemoved bounds the removed directories that are remembered. Beyond it the oldest is forgotten, which is harmless: should
// that directory ever come back it is a new member, and its copies are of no C.
const MaxRemoved = 4_096

// Remove takes a node out of the group for good. Its copies are lost and its directory is never admitted again; the name may
// be used by another directory. It is refused with CodeConflict while the node's session is live, and while a shard would
// be left with too few ready copies on nodes that are up, for its write quorum or, having no primary, for an election: then
// it has to be drained, or awaited. A node that was removed already stays so.
type Remove struct {
	Node shard.NodeID `cbor:"1,keyasint"`
}

// Validate implements Command.
func (c *Remove) Validate() *shard.Error {
	if err := c.Node.Validate(); err != nil {
		return shard.As(err)
	}
	return nil
}

func (c *Remove) apply(d *draft) Verdict {
	m, known := d.member(c.Node)
	if !known && slices.ContainsFunc(d.next.removed, func(r removal) bool { return r.Node == c.Node }) {
		return Verdict{}
	}
	m, fault := d.knownMember(c.Node)
	if fault != nil {
		return refused(fault)
	}
	if _, live := d.session(m.Session); live {
		return refusef(shard.CodeConflict, "node %s is up: stop it first", c.Node)
	}
	if fault := d.indispensable(c.Node); fault != nil {
		return refused(fault)
	}
	d.loseCopies(func(copy shard.Copy) bool { return copy.Node == c.Node })
	for _, p := range d.placements(func(p *shard.Placement) bool { return p.Pinned == c.Node }) {
		p.Pinned = ""
		d.put(p, shard.CausePinned)
	}
	d.dropMember(m)
	return Verdict{}
}

// indispensable names a shard that could not go on without the node's copy.
func (d *draft) indispensable(node shard.NodeID) *shard.Error {
	here := func(c shard.Copy) bool { return c.Node == node && c.State != shard.CopyLost }
	for _, p := range d.placements(func(p *shard.Placement) bool {
		return p.Status != shard.Forming && slices.ContainsFunc(p.Copies, here)
	}) {
		left, leader := 0, p.Status == shard.Active
		for _, c := range p.Copies {
			if _, up := d.up(c.Node); up && c.Node != node && c.State == shard.CopyReady {
				left++
				leader = leader || c.ID == p.ActivePrimary // whose word alone elects
			}
		}
		need := p.WriteQuorum
		if !leader {
			need = max(need, p.RecoveryQuorum())
		}
		if left < need {
			return conflict(&p, "node %s has a copy, and without it only %d of the %d it needs are up", node, left, need)
		}
	}
	return nil
}

// dropMember forgets a member and remembers its directory.
func (d *draft) dropMember(m shard.Member) {
	d.bury(m.Session)
	if i, changed := d.members[m.ID]; changed {
		d.delta.Members = slices.Delete(d.delta.Members, i, i+1)
		clear(d.members)
		for k, left := range d.delta.Members {
			d.members[left.ID] = k
		}
	}
	if _, known := d.next.View.Members[m.ID]; known && !d.removed(m.ID) {
		d.delta.Removed = append(d.delta.Removed, m.ID)
	}
	d.next.removed = append(slices.Clone(d.next.removed), removal{m.ID, m.Directory})
	if over := len(d.next.removed) - MaxRemoved; over > 0 {
		d.next.removed = d.next.removed[over:]
	}
}

// removal is a node that was taken out of the group.
type removal struct {
	Node      shard.NodeID      `cbor:"1,keyasint"`
	Directory shard.DirectoryID `cbor:"2,keyasint"`
}

// removed reports whether a member of the map before this entry was removed by it.
func (d *draft) removed(id shard.NodeID) bool { return slices.Contains(d.delta.Removed, id) }

// barred refuses a directory whose node was removed.
func (d *draft) barred(directory shard.DirectoryID) *shard.Error {
	i := slices.IndexFunc(d.next.removed, func(r removal) bool { return r.Directory == directory })
	if i < 0 {
		return nil
	}
	node := d.next.removed[i].Node
	return &shard.Error{Code: shard.CodeRemoved, Node: node,
		Detail: fmt.Sprintf("this data directory was node %s, which was removed from the group: start with an empty directory", node)}
}

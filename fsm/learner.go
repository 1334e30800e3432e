package fsm

import (
	"fmt"
	"slices"

	"muster/shard"
)

// AddLearner mints copies that are to join their shard's C: on each named node, in its current directory. The directory
// creates the copy and the primary fills it; that it counts is up to a Reconfig. A learner that is there already for the
// same purpose is not minted again. Compare-and-set on Epoch and Version, which stay as they are.
type AddLearner struct {
	Items []NewLearner `cbor:"1,keyasint"`
}

// NewLearner is one shard of an AddLearner. Replaces names the member of C that is to leave when the learner joins, 0 to let
// C grow. It may be the primary's copy: then another must lead before the two can change places.
type NewLearner struct {
	Shard    shard.ID            `cbor:"1,keyasint"`
	Epoch    shard.Epoch         `cbor:"2,keyasint"`
	Version  shard.ConfigVersion `cbor:"3,keyasint"`
	Node     shard.NodeID        `cbor:"4,keyasint"`
	Replaces shard.CopyID        `cbor:"5,keyasint,omitempty"`
}

// Validate implements Command.
func (c *AddLearner) Validate() *shard.Error {
	for _, i := range c.Items {
		if err := i.Node.Validate(); err != nil {
			return shard.As(err)
		}
	}
	return validItems(len(c.Items))
}

func (c *AddLearner) apply(d *draft) Verdict { return each(c.Items, d.addLearner) }

func (d *draft) addLearner(i NewLearner) *shard.Error {
	p, spec, fault := d.replicated(i.Shard, i.Epoch, i.Version)
	if fault != nil {
		return fault
	}
	if p.Status == shard.Forming {
		return conflict(p, "it is forming: its first copies are placed, not learnt")
	}
	m, fault := d.host(spec, i.Shard, i.Node)
	if fault != nil {
		return fault
	}
	if l, found := p.LearnerOn(m.Directory); found && l.Replaces == i.Replaces {
		return nil // minted by this command before
	}
	if fault := roomFor(p, spec, i); fault != nil {
		return fault
	}
	d.next.lastCopy++
	next := *p
	next.Learners = append(slices.Clone(p.Learners), shard.Learner{
		Copy:     shard.Copy{ID: d.next.lastCopy, Node: m.ID, Directory: m.Directory, State: shard.CopyMinted},
		Replaces: i.Replaces,
	})
	d.put(next, shard.CauseLearnerAdded)
	return nil
}

// roomFor refuses a learner whose node has a copy already, or which C would have no place for.
func roomFor(p *shard.Placement, spec shard.Spec, i NewLearner) *shard.Error {
	places := 0 // of the C that would be if every learner joined
	for _, c := range p.Copies {
		if c.State == shard.CopyLost {
			continue
		}
		if c.Node == i.Node {
			return conflict(p, "node %s has copy %d already", i.Node, c.ID)
		}
		if c.ID != i.Replaces && c.ID != p.Retiring {
			places++
		}
	}
	for _, l := range p.Learners {
		switch replaced, member := p.Copy(l.Replaces); {
		case l.Copy.Node == i.Node:
			return conflict(p, "node %s has learner %d already", i.Node, l.Copy.ID)
		case i.Replaces != 0 && l.Replaces == i.Replaces:
			return conflict(p, "copy %d is being replaced by learner %d", i.Replaces, l.Copy.ID)
		case !member || replaced.State == shard.CopyLost:
			places++
		}
	}
	if _, member := p.Copy(i.Replaces); i.Replaces != 0 && !member {
		return conflict(p, "copy %d is not in C", i.Replaces)
	}
	if places > spec.Replicas || len(p.Learners) >= shard.MaxLearners {
		return conflict(p, "it has all of its %d copies, learners among them", spec.Replicas+1)
	}
	return nil
}

// DropLearner gives learners up. One that is gone already, or never was, stays so; a copy that counts is refused with
// CodeConflict.
type DropLearner struct {
	Items []LearnerItem `cbor:"1,keyasint"`
}

// LearnerItem names a learner.
type LearnerItem struct {
	Shard shard.ID     `cbor:"1,keyasint"`
	Copy  shard.CopyID `cbor:"2,keyasint"`
}

// Validate implements Command.
func (c *DropLearner) Validate() *shard.Error { return validItems(len(c.Items)) }

func (c *DropLearner) apply(d *draft) Verdict {
	return each(c.Items, func(i LearnerItem) *shard.Error {
		p, fault := d.existing(i.Shard)
		if fault != nil {
			return fault
		}
		if _, member := p.Copy(i.Copy); member {
			return conflict(p, "copy %d is in C: only its primary can propose that it leave", i.Copy)
		}
		if _, learns := p.Learner(i.Copy); !learns {
			return nil
		}
		next := withoutLearners(*p, func(l shard.Learner) bool { return l.Copy.ID == i.Copy })
		d.put(next, shard.CauseLearnerDropped)
		return nil
	})
}

// withoutLearners takes learners away. While the shard is active that raises the version: a new C proposed with one of them
// can then not come to be any more, and its proposer sees it.
func withoutLearners(p shard.Placement, gone func(shard.Learner) bool) shard.Placement {
	left := slices.DeleteFunc(slices.Clone(p.Learners), gone)
	if len(left) < len(p.Learners) && p.Status == shard.Active {
		p.Version++
	}
	if len(left) == 0 {
		left = nil
	}
	p.Learners = left
	return p
}

// host returns the member that may take a copy or the lead of a shard: up, of the type, and not closed to what is new.
func (d *draft) host(spec shard.Spec, id shard.ID, node shard.NodeID) (shard.Member, *shard.Error) {
	m, _ := d.member(node)
	why := ""
	switch _, up := d.up(node); {
	case !up:
		why = "is not up"
	case !Eligible(m, spec):
		why = "may not host the type"
	case !m.Open():
		why = "takes nothing new: it is " + closedBy(m)
	default:
		return m, nil
	}
	return m, &shard.Error{Code: shard.CodeConflict, Shard: id, Node: node, Detail: fmt.Sprintf("node %s %s", node, why)}
}

func closedBy(m shard.Member) string {
	switch {
	case m.Draining:
		return "draining"
	case m.Leaving:
		return "leaving"
	default:
		return "cordoned"
	}
}

// replicated returns the placement that a compare-and-set speaks of, of a type that has copies.
func (d *draft) replicated(id shard.ID, epoch shard.Epoch, version shard.ConfigVersion) (*shard.Placement, shard.Spec, *shard.Error) {
	p, fault := d.expected(id, epoch, version)
	spec, _ := d.typeNamed(id.Type)
	if fault == nil && spec.Volatile {
		fault = &shard.Error{Code: shard.CodeInvalid, Shard: id, Detail: "a volatile shard has no copies"}
	}
	return p, spec, fault
}

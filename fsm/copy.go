package fsm

import (
	"slices"

	"muster/shard"
)

// CopyReady reports that directories have created copies that were minted for them. A copy that is ready stays so; one that
// is lost is lost for ever and refused with CodeConflict.
type CopyReady struct {
	Items []CopyItem `cbor:"1,keyasint"`
}

// CopyLost reports that directories do not have copies they should have, or that their data is rotten. A member of C stays in
// C and never answers; when it led its shard, that begins recovery. A learner is dropped.
type CopyLost struct {
	Items []CopyItem `cbor:"1,keyasint"`
}

// CopyItem names a copy and the directory that speaks of it. Another directory is refused with CodeConflict.
type CopyItem struct {
	Shard     shard.ID          `cbor:"1,keyasint"`
	Copy      shard.CopyID      `cbor:"2,keyasint"`
	Directory shard.DirectoryID `cbor:"3,keyasint"`
}

// Validate implements Command.
func (c *CopyReady) Validate() *shard.Error { return validItems(len(c.Items)) }

func (c *CopyReady) apply(d *draft) Verdict {
	return each(c.Items, func(i CopyItem) *shard.Error {
		p, have, fault := d.copyOf(i)
		switch {
		case fault != nil || have.State == shard.CopyReady:
			return fault
		case have.State == shard.CopyLost:
			return conflict(p, "copy %d was given up as lost", i.Copy)
		}
		next := withCopy(p, i.Copy, shard.CopyReady)
		if next.Status == shard.Forming {
			d.form(next)
		} else {
			d.keep(next)
		}
		return nil
	})
}

// Validate implements Command.
func (c *CopyLost) Validate() *shard.Error { return validItems(len(c.Items)) }

func (c *CopyLost) apply(d *draft) Verdict {
	return each(c.Items, func(i CopyItem) *shard.Error {
		p, have, fault := d.copyOf(i)
		if fault == nil && have.State != shard.CopyLost {
			d.lose(*p, func(c shard.Copy) bool { return c.ID == i.Copy })
		}
		return fault
	})
}

// copyOf finds the copy, learners among them, that an item speaks of.
func (d *draft) copyOf(i CopyItem) (*shard.Placement, shard.Copy, *shard.Error) {
	p, fault := d.existing(i.Shard)
	if fault != nil {
		return nil, shard.Copy{}, fault
	}
	c, found := p.Copy(i.Copy)
	if l, learns := p.Learner(i.Copy); learns {
		c, found = l.Copy, true
	}
	if !found || c.Directory != i.Directory {
		return nil, shard.Copy{}, conflict(p, "copy %d in that directory is none of its copies", i.Copy)
	}
	return p, c, nil
}

// loseCopies gives up every copy that matches, in all shards.
func (d *draft) loseCopies(gone func(shard.Copy) bool) {
	matching := func(p *shard.Placement) bool {
		return slices.ContainsFunc(p.Copies, func(c shard.Copy) bool { return c.State != shard.CopyLost && gone(c) }) ||
			slices.ContainsFunc(p.Learners, func(l shard.Learner) bool { return gone(l.Copy) })
	}
	for _, p := range d.placements(matching) {
		d.lose(p, gone)
	}
}

// lose gives up copies of one shard: members of C are marked as lost, learners dropped. A primary without its data begins
// recovery. While the shard is active its version rises, as when a learner is dropped, since a new C cannot hold them.
func (d *draft) lose(p shard.Placement, gone func(shard.Copy) bool) {
	next := p
	for _, c := range p.Copies {
		if c.State != shard.CopyLost && gone(c) {
			next = withCopy(&next, c.ID, shard.CopyLost)
			if next.Status == shard.Active {
				next.Version = p.Version + 1
			}
		}
	}
	if slices.ContainsFunc(next.Learners, func(l shard.Learner) bool { return gone(l.Copy) }) {
		next = withoutLearners(next, func(l shard.Learner) bool { return gone(l.Copy) })
	}
	if primary, leads := next.Copy(next.Primary); leads && primary.State == shard.CopyLost {
		d.recover(next, shard.CauseAsked)
		return
	}
	d.put(next, shard.CauseCopyLost)
}

// withCopy changes the state of a member of C or of a learner.
func withCopy(p *shard.Placement, id shard.CopyID, state shard.CopyState) shard.Placement {
	next := *p
	next.Copies, next.Learners = slices.Clone(p.Copies), slices.Clone(p.Learners)
	for i := range next.Copies {
		if next.Copies[i].ID == id {
			next.Copies[i].State = state
		}
	}
	for i := range next.Learners {
		if next.Learners[i].Copy.ID == id {
			next.Learners[i].Copy.State = state
		}
	}
	return next
}

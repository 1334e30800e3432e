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

// CopyLost reports that directories do not have copies they should have, or that their data is rotten. The copy stays in C
// and never answers; when it led its shard, that begins recovery.
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
			d.put(next)
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

// copyOf finds the copy that an item speaks of.
func (d *draft) copyOf(i CopyItem) (*shard.Placement, shard.Copy, *shard.Error) {
	if _, fault := d.spec(i.Shard); fault != nil {
		return nil, shard.Copy{}, fault
	}
	p := d.placement(i.Shard)
	if p == nil {
		return nil, shard.Copy{}, &shard.Error{Code: shard.CodeConflict, Shard: i.Shard, Detail: "it is not placed yet"}
	}
	c, found := p.Copy(i.Copy)
	if !found || c.Directory != i.Directory {
		return nil, shard.Copy{}, conflict(p, "copy %d in that directory is none of its copies", i.Copy)
	}
	return p, c, nil
}

// loseCopies marks every copy that matches as lost, in all shards.
func (d *draft) loseCopies(gone func(shard.Copy) bool) {
	matching := func(p *shard.Placement) bool { return slices.ContainsFunc(p.Copies, gone) }
	for _, p := range d.placements(matching) {
		d.lose(p, gone)
	}
}

// lose marks copies of one shard as lost. A primary without its data begins recovery.
func (d *draft) lose(p shard.Placement, gone func(shard.Copy) bool) {
	next := p
	for _, c := range p.Copies {
		if gone(c) {
			next = withCopy(&next, c.ID, shard.CopyLost)
		}
	}
	if primary, leads := next.Copy(next.Primary); leads && primary.State == shard.CopyLost {
		d.recover(next, shard.CauseAsked)
		return
	}
	d.put(next)
}

func withCopy(p *shard.Placement, id shard.CopyID, state shard.CopyState) shard.Placement {
	next := *p
	next.Copies = slices.Clone(p.Copies)
	for i := range next.Copies {
		if next.Copies[i].ID == id {
			next.Copies[i].State = state
		}
	}
	return next
}

package fsm

import (
	"fmt"
	"slices"

	"muster/shard"
)

// BeginAnew begins shards again with nothing, because no copy of them can be reached: whatever they held is lost, and an operator has
// accepted that. The next epoch begins, forming, over new copies on the named nodes, as a first placement does; it says for
// good that it began empty. Every old member and learner is lost and kept aside, for it may come back and hold everything.
//
// It is refused with CodeConflict while the shard has a primary, and while one of its copies can be reached: then a Promote loses
// less. That the process which served last can confirm nothing any more cannot be seen from here; the leader sees to it.
// Compare-and-set on Epoch and Version; the same again is harmless.
type BeginAnew struct {
	Items []Placing `cbor:"1,keyasint"`
}

// Validate implements Command.
func (c *BeginAnew) Validate() *shard.Error { return validPlacings(c.Items) }

func (c *BeginAnew) apply(d *draft) Verdict { return each(c.Items, d.beginAnew) }

func (d *draft) beginAnew(i Placing) *shard.Error {
	if p := d.placement(i.Shard); p != nil && p.Epoch == i.Epoch+1 && p.Emptied == p.Epoch {
		return nil // begun by this command before
	}
	p, spec, fault := d.replicated(i.Shard, i.Epoch, i.Version)
	if fault != nil {
		return fault
	}
	up := d.reachableOf(p)
	switch {
	case p.Status != shard.Recovering:
		return conflict(p, "it is %s: there is nothing to begin anew", p.Status)
	case len(up) > 0:
		return conflict(p, "copies %v can be reached: one of them can go on", up)
	}
	members, fault := d.candidates(spec, i)
	if fault != nil {
		return fault
	}
	next := *p
	next.Epoch, next.Version, next.Status, next.Cause = p.Epoch+1, p.Version+1, shard.Forming, shard.CauseEmptied
	next.Emptied, next.Stalled, next.Floor = next.Epoch, 0, 0
	next.Copies, next.Learners, next.WriteQuorum = nil, nil, spec.WriteQuorum()
	given := GivenUp(p, Promotion{})
	if next.Aside = setAside(p, given, shard.Position{}); len(next.Aside) > shard.MaxAside {
		return conflict(p, "it would have %d copies kept aside, at most %d: discard some", len(next.Aside), shard.MaxAside)
	}
	for _, m := range members {
		next.Copies = append(next.Copies, d.copyOn(m, nil))
	}
	id, change := changeOf(d.keep(next), next.Cause)
	change.GivenUp = seatsOf(given)
	d.remember(id, change)
	return nil
}

// checkEmptied sees that a shard forms once, or again because it was begun anew.
func checkEmptied(p *shard.Placement) error {
	switch {
	case p.Emptied > p.Epoch:
		return fmt.Errorf("begun anew in epoch %d of %d", p.Emptied, p.Epoch)
	case p.Status == shard.Forming && p.Epoch != p.Emptied, p.Status != shard.Forming && p.Epoch == 0:
		return fmt.Errorf("%s in epoch %d, begun anew in epoch %d", p.Status, p.Epoch, p.Emptied)
	}
	return nil
}

func seatsOf(copies []shard.Copy) []Seat {
	seats := make([]Seat, 0, len(copies))
	for _, c := range copies {
		seats = append(seats, Seat{c.ID, c.Node, c.State == shard.CopyLost})
	}
	return slices.Clip(seats)
}

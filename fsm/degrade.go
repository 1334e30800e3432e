package fsm

import "muster/shard"

// Degrade allows shards to confirm with fewer copies than their type says, down to a write quorum of Floor, or with 0 takes the
// permission back. It lowers nothing by itself: the primary proposes a C without the copies that are away, and the write
// quorum that goes with it, when it cannot do otherwise. The permission is over when the write quorum is back at the type's.
//
// It is refused with CodeConflict while a shard has all the copies it must write to, and while it is not served: without a
// primary only a Promote helps. Compare-and-set on Epoch and Version. The version rises, so that whoever has proposed a C
// knows which permission counts.
type Degrade struct {
	Items []Degrading `cbor:"1,keyasint"`
}

// Degrading is one shard of a Degrade.
type Degrading struct {
	Shard   shard.ID            `cbor:"1,keyasint"`
	Epoch   shard.Epoch         `cbor:"2,keyasint"`
	Version shard.ConfigVersion `cbor:"3,keyasint"`
	Floor   int                 `cbor:"4,keyasint,omitempty"`
}

// Validate implements Command.
func (c *Degrade) Validate() *shard.Error {
	for _, i := range c.Items {
		if i.Floor < 0 || i.Floor > shard.MaxReplicas {
			return shard.Errorf(shard.CodeInvalid, "shard %s: a write quorum of %d, must be 0 to %d", i.Shard, i.Floor, shard.MaxReplicas)
		}
	}
	return validItems(len(c.Items))
}

func (c *Degrade) apply(d *draft) Verdict { return each(c.Items, d.degrade) }

func (d *draft) degrade(i Degrading) *shard.Error {
	if p := d.placement(i.Shard); p != nil && p.Epoch == i.Epoch && p.Floor == i.Floor {
		return nil // nothing to change, or applied before
	}
	p, spec, fault := d.replicated(i.Shard, i.Epoch, i.Version)
	switch {
	case fault != nil:
		return fault
	case i.Floor == 0:
	case i.Floor >= spec.WriteQuorum():
		return conflict(p, "its type writes to %d copies: %d are not fewer", spec.WriteQuorum(), i.Floor)
	case p.Status != shard.Active:
		return conflict(p, "it is %s: only a primary that serves can go on with fewer copies", p.Status)
	case len(d.reachableOf(p)) >= spec.WriteQuorum():
		return conflict(p, "%d of its copies are up, and it writes to %d: nothing is missing", len(d.reachableOf(p)), spec.WriteQuorum())
	}
	next := *p
	next.Floor = i.Floor
	if p.Status == shard.Active {
		next.Version++
	}
	d.put(next, shard.CauseFloored)
	return nil
}

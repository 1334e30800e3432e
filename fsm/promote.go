package fsm

import (
	"cmp"
	"slices"

	"muster/shard"
)

// Promote goes on with one copy of a shard, without asking the others: confirmed records may be lost, and an operator or the type
// has accepted that. The next epoch begins, recovering, over a C of that copy with a write quorum of one; its primary raises that
// as copies join. Every other member and learner is lost and kept aside: it may hold what nobody else has.
//
// Where the type has accepted it, the members that have answered stay in C beside the chosen one. Their logs are no more advanced
// than its own, so what they hold beyond it is what a new epoch cuts off anyway; and the election that follows needs them all.
//
// It is refused with CodeConflict while the shard is served, and while so many copies are up that it gets a primary by itself:
// enough to elect, and enough to write to. That the process which served last can confirm nothing any more, and that a lossy type
// has waited long enough, cannot be seen from here; the leader sees to it. Compare-and-set on Epoch and Version; the same again
// is harmless.
type Promote struct {
	Items []Promotion `cbor:"1,keyasint"`
}

// Promotion is one shard of a Promote. Copy and those in Kept are ready members of C whose nodes are up.
type Promotion struct {
	Shard   shard.ID            `cbor:"1,keyasint"`
	Epoch   shard.Epoch         `cbor:"2,keyasint"`
	Version shard.ConfigVersion `cbor:"3,keyasint"`
	Copy    shard.CopyID        `cbor:"4,keyasint"`
	Base    shard.Position      `cbor:"5,keyasint,omitzero"`  // where its log ends, for the shard's history
	Lossy   bool                `cbor:"6,keyasint,omitempty"` // the type has accepted it, and nobody was asked
	Kept    []shard.CopyID      `cbor:"7,keyasint,omitempty"` // stay in C beside Copy; of a lossy one only
}

// Validate implements Command.
func (c *Promote) Validate() *shard.Error {
	for _, i := range c.Items {
		if len(i.Kept) == 0 {
			continue
		}
		if _, err := shard.NewCopySet(append(slices.Clone(i.Kept), i.Copy)...); err != nil || !i.Lossy {
			return shard.Errorf(shard.CodeInvalid, "shard %s: copies %v cannot stay beside %d: %v", i.Shard, i.Kept, i.Copy, err)
		}
	}
	return validItems(len(c.Items))
}

// needs implements younger.
func (c *Promote) needs() byte {
	if slices.ContainsFunc(c.Items, func(i Promotion) bool { return i.Lossy }) {
		return 3
	}
	return 1
}

func (c *Promote) apply(d *draft) Verdict { return each(c.Items, d.promote) }

func (d *draft) promote(i Promotion) *shard.Error {
	if p := d.placement(i.Shard); p != nil && p.Epoch == i.Epoch+1 && promotedTo(p, i.Copy) {
		return nil // promoted by this command before
	}
	p, spec, fault := d.replicated(i.Shard, i.Epoch, i.Version)
	if fault != nil {
		return fault
	}
	switch up := d.reachableOf(p); {
	case p.Status != shard.Recovering && (p.Status != shard.Establishing || i.Lossy):
		return conflict(p, "it is %s: there is nothing to recover", p.Status)
	case i.Lossy && spec.LossyAfter == 0:
		return conflict(p, "its type does not accept that records are lost")
	case !slices.Contains(up, i.Copy):
		return conflict(p, "copy %d is not a ready member of C on a node that is up", i.Copy)
	case slices.ContainsFunc(i.Kept, func(id shard.CopyID) bool { return !slices.Contains(up, id) }):
		return conflict(p, "of the copies %v not all are ready members of C on nodes that are up", i.Kept)
	case Sufficient(p, up):
		return conflict(p, "%d of its %d copies are up, which is enough: it recovers by itself", len(up), len(p.Copies))
	}
	next := *p
	next.Epoch, next.Version, next.Status, next.Cause = p.Epoch+1, p.Version+1, shard.Recovering, shard.CauseUnclean
	if i.Lossy {
		next.Cause = shard.CauseLossy
	}
	next.Primary, next.Node, next.Session, next.Stalled = 0, "", 0, 0
	next.Copies, next.Learners, next.WriteQuorum = nil, nil, 1
	for _, c := range p.Copies {
		if i.stays(c.ID) {
			next.Copies = append(next.Copies, c)
		}
	}
	given := GivenUp(p, i)
	if next.Aside = setAside(p, given, i.Base); len(next.Aside) > shard.MaxAside {
		return conflict(p, "it would have %d copies kept aside, at most %d: discard some", len(next.Aside), shard.MaxAside)
	}
	id, change := changeOf(d.keep(next), next.Cause)
	change.Base = i.Base
	change.GivenUp = seatsOf(given)
	d.remember(id, change)
	return nil
}

func (i *Promotion) stays(id shard.CopyID) bool { return id == i.Copy || slices.Contains(i.Kept, id) }

// promotedTo reports whether the placement's epoch began with a promotion of the copy.
func promotedTo(p *shard.Placement, id shard.CopyID) bool {
	_, member := p.Copy(id)
	return member && WentOn(p, p.Epoch)
}

// WentOn reports whether the epoch began with a Promote or a BeginAnew: the shard went on without copies that are kept aside.
func WentOn(p *shard.Placement, epoch shard.Epoch) bool {
	return slices.ContainsFunc(p.Aside, func(a shard.Aside) bool { return a.Epoch == epoch })
}

// Sufficient reports whether these copies, ready and on nodes that are up, bring the shard back without losing anything: they
// can elect a primary, and it can write to as many as it must.
func Sufficient(p *shard.Placement, up []shard.CopyID) bool {
	elects := len(up) >= p.RecoveryQuorum() || p.ActivePrimary != 0 && slices.Contains(up, p.ActivePrimary)
	return elects && len(up) >= p.WriteQuorum
}

// reachable reports whether the copy's directory belongs to a live session.
func (d *draft) reachable(c shard.Copy) bool {
	s, up := d.up(c.Node)
	return up && s.Directory == c.Directory
}

func (d *draft) reachableOf(p *shard.Placement) []shard.CopyID {
	var up []shard.CopyID
	for _, c := range p.Copies {
		if c.State == shard.CopyReady && d.reachable(c) {
			up = append(up, c.ID)
		}
	}
	return up
}

// GivenUp returns the copies that the shard goes on without. A learner that its directory has not created yet holds nothing, and
// goes.
func GivenUp(p *shard.Placement, i Promotion) []shard.Copy {
	var given []shard.Copy
	for _, c := range p.Copies {
		if !i.stays(c.ID) {
			given = append(given, c)
		}
	}
	for _, l := range p.Learners {
		if l.Copy.State == shard.CopyReady {
			given = append(given, l.Copy)
		}
	}
	return given
}

// setAside returns what is kept aside once the shard goes on without the given copies.
func setAside(p *shard.Placement, given []shard.Copy, base shard.Position) []shard.Aside {
	all := slices.Clone(p.Aside)
	for _, c := range given {
		c.State = shard.CopyLost
		all = append(all, shard.Aside{Copy: c, Epoch: p.Epoch + 1, Base: base})
	}
	slices.SortFunc(all, func(a, b shard.Aside) int { return cmp.Compare(a.Copy.ID, b.Copy.ID) })
	return all
}

// Discard gives up a copy that is kept aside: its node removes the data, which nothing brings back. A copy that is not kept
// aside any more stays so.
type Discard struct {
	Shard shard.ID     `cbor:"1,keyasint"`
	Copy  shard.CopyID `cbor:"2,keyasint"`
}

// Validate implements Command.
func (c *Discard) Validate() *shard.Error {
	if err := shard.ValidName(string(c.Shard.Type)); err != nil {
		return shard.As(err)
	}
	return nil
}

func (c *Discard) apply(d *draft) Verdict {
	p, fault := d.existing(c.Shard)
	if fault != nil {
		return refused(fault)
	}
	if _, member := p.Copy(c.Copy); member {
		return refused(conflict(p, "copy %d is in C: it is not kept aside", c.Copy))
	}
	if _, kept := p.KeptAside(c.Copy); !kept {
		return Verdict{}
	}
	next := *p
	next.Aside = slices.DeleteFunc(slices.Clone(p.Aside), func(a shard.Aside) bool { return a.Copy.ID == c.Copy })
	if len(next.Aside) == 0 {
		next.Aside = nil
	}
	d.put(next, shard.CauseDiscarded)
	return Verdict{}
}

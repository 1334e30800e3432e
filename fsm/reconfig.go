package fsm

import (
	"slices"

	"muster/shard"
)

// Reconfig changes the C of shards. Only the primary that leads proposes it, when the members of the new C that make a write
// quorum hold all it has confirmed; from then on it confirms by both quorums until the map shows how it ended.
//
// The new C is made of ready members and ready learners, the primary among them, and has no more copies than the type, see
// mostCopies, and no fewer than its write quorum. That is the one in force; it rises towards the type's when it was lower, and
// falls only as far as an operator allows: see shard.Quorums. A lost copy can only leave. Nodes are distinct without a look: a
// learner is never minted beside a copy that is not lost. Compare-and-set on Epoch, Version and Session; the same again is
// harmless.
type Reconfig struct {
	Items []Reconfiguration `cbor:"1,keyasint"`
}

// Reconfiguration is one shard of a Reconfig. Copies is the whole new C in any order. WriteQuorum is the one that goes with it.
type Reconfiguration struct {
	Shard       shard.ID            `cbor:"1,keyasint"`
	Epoch       shard.Epoch         `cbor:"2,keyasint"`
	Version     shard.ConfigVersion `cbor:"3,keyasint"`
	Session     shard.SessionID     `cbor:"4,keyasint"`
	Copies      []shard.CopyID      `cbor:"5,keyasint"`
	WriteQuorum int                 `cbor:"6,keyasint"`
}

// Validate implements Command.
func (c *Reconfig) Validate() *shard.Error {
	for _, i := range c.Items {
		if _, err := shard.NewCopySet(i.Copies...); err != nil || len(i.Copies) == 0 {
			return shard.Errorf(shard.CodeInvalid, "shard %s: %v is no set of 1 to %d copies", i.Shard, i.Copies, shard.MaxReplicas+1)
		}
	}
	return validItems(len(c.Items))
}

func (c *Reconfig) apply(d *draft) Verdict { return each(c.Items, d.reconfig) }

func (d *draft) reconfig(i Reconfiguration) *shard.Error {
	if p := d.placement(i.Shard); p != nil && p.Epoch == i.Epoch && p.Version == i.Version+1 && settles(p, i) {
		return nil // applied before
	}
	p, spec, fault := d.replicated(i.Shard, i.Epoch, i.Version)
	switch {
	case fault != nil:
		return fault
	case p.Status != shard.Active || p.Session != i.Session:
		return conflict(p, "it is %s, led by session %d: session %d cannot change its C", p.Status, p.Session, i.Session)
	case settles(p, i):
		return nil
	case len(i.Copies) > mostCopies(p, spec, i.Copies) || p.Quorums(spec.WriteQuorum()).For(len(i.Copies)) == 0:
		return conflict(p, "a C of %d copies, must be %d to %d", len(i.Copies), p.WriteQuorum, mostCopies(p, spec, i.Copies))
	case i.WriteQuorum != p.Quorums(spec.WriteQuorum()).For(len(i.Copies)):
		return conflict(p, "a write quorum of %d for %d copies, must be %d", i.WriteQuorum, len(i.Copies), p.Quorums(spec.WriteQuorum()).For(len(i.Copies)))
	case !slices.Contains(i.Copies, p.Primary):
		return conflict(p, "a C without the primary, copy %d", p.Primary)
	}
	next, fault := joined(p, i.Copies)
	if fault != nil {
		return fault
	}
	next.Version, next.Cause, next.WriteQuorum = p.Version+1, shard.CauseReconfigured, i.WriteQuorum
	switch {
	case i.WriteQuorum < p.WriteQuorum:
		next.Cause = shard.CauseDegraded
	case i.WriteQuorum > p.WriteQuorum:
		next.Cause = shard.CauseRestored
	}
	if _, member := next.Copy(p.Retiring); len(next.Copies) > spec.Replicas+1 && !member {
		next.Retiring = p.Primary
	}
	if next.Cause == shard.CauseRestored && next.WriteQuorum == spec.WriteQuorum() {
		next.Floor = 0 // what it was allowed for is over
	}
	d.put(next, next.Cause)
	return nil
}

// settles reports whether the placement is what the item asks for.
func settles(p *shard.Placement, i Reconfiguration) bool {
	return sameCopies(p.Copies, i.Copies) && p.WriteQuorum == i.WriteQuorum
}

// mostCopies is how many copies a new C may have: those of the type, and one more for moments when a type has no replicas and
// its only copy changes places with a learner. Only a member of C can be handed the lead, and the primary cannot leave C, so
// without a C of two such a shard could never move. The write quorum stays one: neither of the two copies is more alone
// than the one was.
func mostCopies(p *shard.Placement, spec shard.Spec, copies []shard.CopyID) int {
	most := spec.Replicas + 1
	if spec.Replicas > 0 {
		return most
	}
	for _, l := range p.Learners {
		if l.Replaces != 0 && l.Replaces == p.Primary && slices.Contains(copies, l.Copy.ID) {
			return most + 1
		}
	}
	if slices.Contains(copies, p.Retiring) {
		return most + 1
	}
	return most
}

// joined returns the placement whose C is made of the copies: the members in their order, then the learners that joined. A
// learner left over replaces nobody when its copy has left already.
func joined(p *shard.Placement, copies []shard.CopyID) (shard.Placement, *shard.Error) {
	next := *p
	next.Copies, next.Learners = nil, nil
	for _, c := range p.Copies {
		if slices.Contains(copies, c.ID) {
			next.Copies = append(next.Copies, c)
		}
	}
	for _, l := range p.Learners {
		if slices.Contains(copies, l.Copy.ID) {
			next.Copies = append(next.Copies, l.Copy)
			continue
		}
		if !slices.Contains(copies, l.Replaces) {
			l.Replaces = 0
		}
		next.Learners = append(next.Learners, l)
	}
	if len(next.Copies) != len(copies) {
		return next, conflict(p, "of the copies %v only %d are members or learners", copies, len(next.Copies))
	}
	for _, c := range next.Copies {
		if c.State != shard.CopyReady {
			return next, conflict(p, "copy %d is %s", c.ID, c.State)
		}
	}
	return next, nil
}

func sameCopies(have []shard.Copy, want []shard.CopyID) bool {
	return len(have) == len(want) && !slices.ContainsFunc(have, func(c shard.Copy) bool { return !slices.Contains(want, c.ID) })
}

package fsm

import (
	"slices"

	"muster/shard"
)

// BeginRecovery takes the primary from shards that have one, elected or serving, and raises their epochs. C and the write
// quorum stay. Compare-and-set on Epoch and Version.
type BeginRecovery struct {
	Items []Recovery  `cbor:"1,keyasint"`
	Cause shard.Cause `cbor:"2,keyasint"`
}

// Recovery is one shard of a BeginRecovery.
type Recovery struct {
	Shard   shard.ID            `cbor:"1,keyasint"`
	Epoch   shard.Epoch         `cbor:"2,keyasint"`
	Version shard.ConfigVersion `cbor:"3,keyasint"`
}

// Validate implements Command.
func (c *BeginRecovery) Validate() *shard.Error {
	if err := shard.ValidName(string(c.Cause)); err != nil {
		return shard.As(err)
	}
	return validItems(len(c.Items))
}

func (c *BeginRecovery) apply(d *draft) Verdict {
	return each(c.Items, func(i Recovery) *shard.Error {
		p, fault := d.expected(i.Shard, i.Epoch, i.Version)
		if fault != nil {
			return fault
		}
		if p.Session == 0 {
			return conflict(p, "it is %s: it has no primary to take away", p.Status)
		}
		d.recover(*p, c.Cause)
		return nil
	})
}

// recover raises the epoch and takes the primary away. One that was elected and never served, or that asks for it itself, is
// remembered as stalled.
func (d *draft) recover(p shard.Placement, cause shard.Cause) {
	if p.Status == shard.Establishing || cause == shard.CauseAsked {
		p.Stalled = p.Primary
	}
	if cause == shard.CauseLeft && p.Session == p.ActiveSession {
		p.ActiveSession = 0 // it said good-bye: nobody is left to wait for
	}
	p.Epoch, p.Status, p.Cause = p.Epoch+1, shard.Recovering, cause
	p.Primary, p.Node, p.Session = 0, "", 0
	d.put(p, cause)
}

// Elect names the new primary of recovering shards.
//
// An election is valid when copies whose answers meet every write quorum have promised the epoch: at least the recovery
// quorum of C, or the copy alone that led the last active epoch. The leader has chosen the best log among them; that the
// elected copy answered, is ready, and belongs to the directory of a live session is checked here once more. The primary
// of a volatile shard is a session of any member that may host the type; Copy is 0 and Answered empty.
type Elect struct {
	Items []Election `cbor:"1,keyasint"`
}

// Election is one shard of an Elect. Compare-and-set on Epoch and Version.
type Election struct {
	Shard    shard.ID            `cbor:"1,keyasint"`
	Epoch    shard.Epoch         `cbor:"2,keyasint"`
	Version  shard.ConfigVersion `cbor:"3,keyasint"`
	Copy     shard.CopyID        `cbor:"4,keyasint,omitempty"`
	Session  shard.SessionID     `cbor:"5,keyasint"`
	Answered []shard.CopyID      `cbor:"6,keyasint,omitempty"` // the copies whose Sealed of this epoch the leader holds
	Base     shard.Position      `cbor:"7,keyasint,omitzero"`  // where the elected log ends, for the shard's history
	Cut      shard.LSN           `cbor:"8,keyasint,omitempty"` // records that a copy which answered has and the elected log has not, the most of any; for the history
}

// needs implements younger.
func (c *Elect) needs() byte {
	if slices.ContainsFunc(c.Items, func(i Election) bool { return i.Cut > 0 }) {
		return CutSince
	}
	return 1
}

// Validate implements Command.
func (c *Elect) Validate() *shard.Error {
	for _, i := range c.Items {
		if len(i.Answered) > shard.MaxReplicas+1 {
			return shard.Errorf(shard.CodeInvalid, "shard %s: %d answers, at most %d", i.Shard, len(i.Answered), shard.MaxReplicas+1)
		}
		for k, id := range i.Answered {
			if slices.Contains(i.Answered[:k], id) {
				return shard.Errorf(shard.CodeInvalid, "shard %s: copy %d is counted twice", i.Shard, id)
			}
		}
	}
	return validItems(len(c.Items))
}

func (c *Elect) apply(d *draft) Verdict { return each(c.Items, d.elect) }

func (d *draft) elect(i Election) *shard.Error {
	p, fault := d.expected(i.Shard, i.Epoch, i.Version)
	if fault != nil {
		return fault
	}
	if p.Status == shard.Establishing && p.Primary == i.Copy && p.Session == i.Session {
		return nil // elected by this command before
	}
	if p.Status != shard.Recovering {
		return conflict(p, "it is %s: there is nothing to elect", p.Status)
	}
	s, live := d.session(i.Session)
	if !live {
		return shard.Errorf(shard.CodeSessionEnded, "shard %s: session %d has ended", i.Shard, i.Session)
	}
	if fault := d.electable(p, i, s); fault != nil {
		return fault
	}
	next := *p
	next.Status, next.Cause = shard.Establishing, shard.CauseElected
	next.Primary, next.Node, next.Session = i.Copy, s.Node, s.ID
	id, change := changeOf(d.keep(next), next.Cause)
	change.Base, change.Cut = i.Base, i.Cut
	d.remember(id, change)
	return nil
}

// electable checks the candidate and the answers.
func (d *draft) electable(p *shard.Placement, i Election, s shard.Session) *shard.Error {
	spec, _ := d.typeNamed(p.Shard.Type)
	if spec.Volatile {
		m, _ := d.member(s.Node)
		switch {
		case i.Copy != 0:
			return conflict(p, "a volatile shard has no copy %d", i.Copy)
		case !Eligible(m, spec):
			return conflict(p, "node %s may not host the type", s.Node)
		}
		return nil
	}
	c, found := p.Copy(i.Copy)
	switch {
	case !found || c.State != shard.CopyReady || !slices.Contains(i.Answered, i.Copy):
		return conflict(p, "copy %d is not a ready copy that answered", i.Copy)
	case c.Directory != s.Directory || c.Node != s.Node:
		return conflict(p, "copy %d is not in the directory of session %d", i.Copy, s.ID)
	}
	answers, sole := 0, false
	for _, id := range i.Answered {
		if a, in := p.Copy(id); in && a.State == shard.CopyReady {
			answers++
			sole = sole || id == p.ActivePrimary
		}
	}
	if answers < p.RecoveryQuorum() && !sole {
		return conflict(p, "%d copies answered, %d must", answers, p.RecoveryQuorum())
	}
	return nil
}

// Activate lets elected primaries serve. The leader proposes it when the primary has reported that its log is on the write
// quorum and the session that served before is over; neither can be seen from here. In an entry with the HandOver of the same
// shard it comes before the primary is established, which then serves when it is: what that copy holds is all that is confirmed, and
// so its word may decide an election from here on. Compare-and-set on Epoch, Version
// and Session.
type Activate struct {
	Items []Activation `cbor:"1,keyasint"`
}

// Activation is one shard of an Activate.
type Activation struct {
	Shard   shard.ID            `cbor:"1,keyasint"`
	Epoch   shard.Epoch         `cbor:"2,keyasint"`
	Version shard.ConfigVersion `cbor:"3,keyasint"`
	Session shard.SessionID     `cbor:"4,keyasint"`
}

// Validate implements Command.
func (c *Activate) Validate() *shard.Error { return validItems(len(c.Items)) }

func (c *Activate) apply(d *draft) Verdict {
	return each(c.Items, func(i Activation) *shard.Error {
		p, fault := d.expected(i.Shard, i.Epoch, i.Version)
		switch {
		case fault != nil:
			return fault
		case p.Session != i.Session || p.Session == 0:
			return conflict(p, "session %d is not its primary", i.Session)
		case p.Status == shard.Active:
			return nil
		}
		next := *p
		next.Status, next.Cause, next.Stalled = shard.Active, shard.CauseActivated, 0
		next.ActiveEpoch, next.ActivePrimary = p.Epoch, p.Primary
		next.ActiveSession, next.ActiveNode = p.Session, p.Node
		d.put(next, next.Cause)
		return nil
	})
}

// expected returns the placement that a compare-and-set speaks of.
func (d *draft) expected(id shard.ID, epoch shard.Epoch, version shard.ConfigVersion) (*shard.Placement, *shard.Error) {
	p, fault := d.existing(id)
	if fault != nil {
		return nil, fault
	}
	return p, current(p, id, epoch, version)
}

// existing returns the placement of a shard that is placed.
func (d *draft) existing(id shard.ID) (*shard.Placement, *shard.Error) {
	if _, fault := d.spec(id); fault != nil {
		return nil, fault
	}
	p := d.placement(id)
	if p == nil {
		return nil, &shard.Error{Code: shard.CodeConflict, Shard: id, Detail: "it is not placed yet"}
	}
	return p, nil
}

package fsm

import (
	"slices"

	"muster/barrier"
	"muster/shard"
)

// Renew extends the leases of sessions. It is in the log so that every voter knows how far each lease reaches, and it
// changes nothing in the map. An item of a session that is not live is refused with CodeSessionEnded. One whose number is
// not above the newest is refused with CodeConflict: a lease counts from the first sending of a number, so a repetition
// must not extend it. A node that lost an answer renews under the next number.
//
// Time is the leader's clock in Unix milliseconds. Nothing is decided by it: the histories of shards carry the newest, so
// that a person can tell when something happened, as exactly as renewals are frequent.
type Renew struct {
	Items []Renewal `cbor:"1,keyasint"`
	Time  int64     `cbor:"2,keyasint,omitempty"`
}

// Renewal is one session's wish to live on. Number rises with each from 1. Lengths are those of the session, for its life: the first that
// are said count. Said again they change nothing; out of bounds they are refused with CodeInvalid.
type Renewal struct {
	Session shard.SessionID `cbor:"1,keyasint"`
	Number  uint64          `cbor:"2,keyasint"`
	Lengths Lengths         `cbor:"3,keyasint,omitzero"`
}

// needs implements younger.
func (c *Renew) needs() byte {
	if slices.ContainsFunc(c.Items, func(r Renewal) bool { return r.Lengths.said() }) {
		return LengthsSince
	}
	return 1
}

// Validate implements Command.
func (c *Renew) Validate() *shard.Error {
	if c.Time < 0 {
		return shard.Errorf(shard.CodeInvalid, "time %d is before 1970", c.Time)
	}
	return validItems(len(c.Items))
}

func (c *Renew) apply(d *draft) Verdict {
	if c.Time != 0 {
		d.next.time = c.Time
	}
	return each(c.Items, d.renew)
}

func (d *draft) renew(r Renewal) *shard.Error {
	_, live := d.session(r.Session)
	l := d.life(r.Session)
	switch {
	case !live || l == nil:
		return shard.Errorf(shard.CodeSessionEnded, "session %d has ended", r.Session)
	case r.Number <= l.Renewal:
		return shard.Errorf(shard.CodeConflict, "session %d: renewal %d does not follow %d", r.Session, r.Number, l.Renewal)
	case r.Lengths.said() && r.Lengths.Validate() != nil:
		return shard.Errorf(shard.CodeInvalid, "session %d: %s", r.Session, r.Lengths.Validate().Detail)
	}
	l.Renewal, l.Confirmed = r.Number, r.Session
	l.say(r.Lengths)
	return nil
}

// Expire ends a session whose lease has run out by the leader's clock. It is refused with CodeConflict when the log holds a
// later renewal than the leader had seen. Shards the session led or was elected for begin recovery in the same entry. A
// session that has ended already stays so.
type Expire struct {
	Session     shard.SessionID `cbor:"1,keyasint"`
	LastRenewal uint64          `cbor:"2,keyasint,omitempty"` // the newest the leader had applied when the lease ran out
}

// Validate implements Command.
func (c *Expire) Validate() *shard.Error { return validSession(c.Session) }

func (c *Expire) apply(d *draft) Verdict {
	if _, live := d.session(c.Session); !live {
		return d.ended(c.Session)
	}
	if l := d.life(c.Session); l != nil && l.Renewal > c.LastRenewal {
		return refusef(shard.CodeConflict, "session %d renewed with %d after %d", c.Session, l.Renewal, c.LastRenewal)
	}
	d.endSession(c.Session, shard.CauseSessionExpired)
	return Verdict{}
}

// Depart ends a session because its process says good-bye: it has stopped serving and will send nothing more.
type Depart struct {
	Session shard.SessionID `cbor:"1,keyasint"`
}

// Validate implements Command.
func (c *Depart) Validate() *shard.Error { return validSession(c.Session) }

func (c *Depart) apply(d *draft) Verdict {
	if _, live := d.session(c.Session); !live {
		return d.ended(c.Session)
	}
	d.endSession(c.Session, shard.CauseLeft)
	return Verdict{}
}

// ended answers a command that wants a session over which is not live.
func (d *draft) ended(id shard.SessionID) Verdict {
	if id > d.lastSession() {
		return refusef(shard.CodeConflict, "there is no session %d, the newest is %d", id, d.lastSession())
	}
	return Verdict{}
}

// endSession ends a live session: its shards begin recovery, none is wished to its node any more, and it leaves every
// barrier.
func (d *draft) endSession(id shard.SessionID, cause shard.Cause) {
	s, _ := d.session(id)
	if l := d.life(id); l != nil {
		l.Ended = d.next.time
	}
	d.sessions[id] = false
	d.delta.Ended = append(d.delta.Ended, id)
	d.next.Barriers = d.next.Barriers.EndSession(barrier.Session(id))
	for _, p := range d.placements(func(p *shard.Placement) bool { return p.Session == id || p.HandNode == s.Node }) {
		if p.Session == id {
			d.recover(p, cause)
			continue
		}
		p.HandTo, p.HandNode = 0, ""
		d.put(p, shard.CauseWished)
	}
}

func validSession(id shard.SessionID) *shard.Error {
	if id == 0 {
		return shard.Errorf(shard.CodeInvalid, "session 0 is no session")
	}
	return nil
}

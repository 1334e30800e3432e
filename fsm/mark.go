package fsm

import "muster/shard"

// Mark sets or lifts what an operator said of a node. What is nil stays as it is.
//
// A maintenance may have an end. Nothing here looks at a clock: the leader reads the end in the state and lifts the mark when
// its clock has passed it, so the end outlives changes of the leader. That command names the end it means in Ended, and does
// nothing when an operator has set another meanwhile.
type Mark struct {
	Node        shard.NodeID `cbor:"1,keyasint"`
	Cordoned    *bool        `cbor:"2,keyasint,omitempty"`
	Draining    *bool        `cbor:"3,keyasint,omitempty"`
	Maintenance *bool        `cbor:"4,keyasint,omitempty"`
	Until       int64        `cbor:"5,keyasint,omitempty"` // when the maintenance ends, Unix milliseconds; 0 for no end
	Ended       int64        `cbor:"6,keyasint,omitempty"` // do it only while this is the member's Until; 0 always
}

// Validate implements Command.
func (c *Mark) Validate() *shard.Error {
	if c.Cordoned == nil && c.Draining == nil && c.Maintenance == nil {
		return shard.Errorf(shard.CodeInvalid, "node %.80s: nothing to mark", c.Node)
	}
	if c.Until != 0 && (c.Maintenance == nil || !*c.Maintenance) {
		return shard.Errorf(shard.CodeInvalid, "node %.80s: an end of no maintenance", c.Node)
	}
	if err := c.Node.Validate(); err != nil {
		return shard.As(err)
	}
	return validEnds(c.Until, c.Ended)
}

// validEnds sees that times are in a range where sums do not overflow: until the year 9999.
func validEnds(ends ...int64) *shard.Error {
	for _, at := range ends {
		if at < 0 || at > latestEnd {
			return shard.Errorf(shard.CodeInvalid, "time %d, must be 0 to %d", at, latestEnd)
		}
	}
	return nil
}

const latestEnd = 253_402_300_799_999 // Unix milliseconds

func (c *Mark) apply(d *draft) Verdict {
	m, fault := d.knownMember(c.Node)
	if fault != nil {
		return refused(fault)
	}
	if c.Ended != 0 && m.Until != c.Ended {
		return Verdict{}
	}
	next := m
	set(&next.Cordoned, c.Cordoned)
	set(&next.Draining, c.Draining)
	set(&next.Maintenance, c.Maintenance)
	if c.Maintenance != nil {
		next.Until = c.Until
	}
	d.updateMember(m, next)
	return Verdict{}
}

func set(mark, to *bool) {
	if to != nil {
		*mark = *to
	}
}

// Leave says that a process is about to stop: nothing new is placed on its node, and the shards it leads should be handed
// over before it departs. The node's next session begins without. A session that has ended has left.
type Leave struct {
	Session shard.SessionID `cbor:"1,keyasint"`
}

// Validate implements Command.
func (c *Leave) Validate() *shard.Error { return validSession(c.Session) }

func (c *Leave) apply(d *draft) Verdict {
	s, live := d.session(c.Session)
	if !live {
		return d.ended(c.Session)
	}
	m, _ := d.member(s.Node)
	next := m
	next.Leaving = true
	d.updateMember(m, next)
	return Verdict{}
}

// Pause stops the moving of shards for balance alone, or lets it go on. Recovery, repair and drains do not wait for it.
// Until and Ended are as those of Mark.
type Pause struct {
	On    bool  `cbor:"1,keyasint"`
	Until int64 `cbor:"2,keyasint,omitempty"`
	Ended int64 `cbor:"3,keyasint,omitempty"`
}

// Validate implements Command.
func (c *Pause) Validate() *shard.Error {
	if c.Until != 0 && !c.On {
		return shard.Errorf(shard.CodeInvalid, "an end of no pause")
	}
	return validEnds(c.Until, c.Ended)
}

func (c *Pause) apply(d *draft) Verdict {
	on, until := d.paused()
	if c.Ended != 0 && until != c.Ended {
		return Verdict{}
	}
	if on != c.On || until != c.Until {
		d.delta.Paused, d.delta.PausedUntil = &c.On, c.Until
	}
	return Verdict{}
}

// Pin names the node where an operator prefers a shard's primary; "" lifts the preference. It is a preference: it moves
// nothing by itself and outlives every change of epoch. The node must be one that may host the type, up or not.
type Pin struct {
	Shard shard.ID     `cbor:"1,keyasint"`
	Node  shard.NodeID `cbor:"2,keyasint,omitempty"`
}

// Validate implements Command.
func (c *Pin) Validate() *shard.Error {
	if err := shard.ValidName(string(c.Shard.Type)); err != nil {
		return shard.As(err)
	}
	if c.Node == "" {
		return nil
	}
	if err := c.Node.Validate(); err != nil {
		return shard.As(err)
	}
	return nil
}

func (c *Pin) apply(d *draft) Verdict {
	p, fault := d.existing(c.Shard)
	if fault != nil {
		return refused(fault)
	}
	if c.Node != "" {
		m, fault := d.knownMember(c.Node)
		if fault != nil {
			return refused(fault)
		}
		if spec, _ := d.typeNamed(c.Shard.Type); !Eligible(m, spec) {
			return refused(conflict(p, "node %s may not host the type", c.Node))
		}
	}
	if next := *p; next.Pinned != c.Node {
		next.Pinned = c.Node
		d.put(next, shard.CausePinned)
	}
	return Verdict{}
}

func (d *draft) paused() (on bool, until int64) {
	if d.delta.Paused != nil {
		return *d.delta.Paused, d.delta.PausedUntil
	}
	return d.next.View.Paused, d.next.View.PausedUntil
}

func (d *draft) knownMember(id shard.NodeID) (shard.Member, *shard.Error) {
	m, known := d.member(id)
	if !known {
		return m, &shard.Error{Code: shard.CodeConflict, Node: id, Detail: "there is no node " + string(id)}
	}
	return m, nil
}

// updateMember notes a member unless nothing of it changed.
func (d *draft) updateMember(old, next shard.Member) {
	if !sameMember(old, next) {
		d.putMember(next)
	}
}

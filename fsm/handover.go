package fsm

import "muster/shard"

// Wish asks the primaries of active shards to hand over. It changes nothing but the map: the primary reads it there and steps
// down when it can, or goes on. A wish ends with the epoch, with the session of the node it names, or by another Wish.
// Compare-and-set on Epoch and Version.
type Wish struct {
	Items []Wishing `cbor:"1,keyasint"`
}

// Wishing is one shard of a Wish: the copy that is to lead, a ready member of C whose node is up, or of a volatile shard the
// Node. With neither the wish is withdrawn.
type Wishing struct {
	Shard   shard.ID            `cbor:"1,keyasint"`
	Epoch   shard.Epoch         `cbor:"2,keyasint"`
	Version shard.ConfigVersion `cbor:"3,keyasint"`
	To      shard.CopyID        `cbor:"4,keyasint,omitempty"`
	Node    shard.NodeID        `cbor:"5,keyasint,omitempty"`
}

// Validate implements Command.
func (c *Wish) Validate() *shard.Error {
	for _, i := range c.Items {
		if i.To != 0 && i.Node != "" {
			return shard.Errorf(shard.CodeInvalid, "shard %s: copy %d or node %s, not both", i.Shard, i.To, i.Node)
		}
	}
	return validItems(len(c.Items))
}

func (c *Wish) apply(d *draft) Verdict { return each(c.Items, d.wish) }

func (d *draft) wish(i Wishing) *shard.Error {
	p, fault := d.expected(i.Shard, i.Epoch, i.Version)
	if fault != nil {
		return fault
	}
	next := *p
	next.HandTo, next.HandNode = i.To, i.Node
	if i.To != 0 || i.Node != "" {
		if next.HandNode, fault = d.successor(p, i); fault != nil {
			return fault
		}
	}
	if next.HandTo != p.HandTo || next.HandNode != p.HandNode {
		d.put(next, shard.CauseWished)
	}
	return nil
}

// successor returns the node that a wish means, when the shard could go there now.
func (d *draft) successor(p *shard.Placement, i Wishing) (shard.NodeID, *shard.Error) {
	spec, _ := d.typeNamed(p.Shard.Type)
	if p.Status != shard.Active {
		return "", conflict(p, "it is %s: nobody can hand it over", p.Status)
	}
	if fault := fitsType(spec, i.Shard, i.To); fault != nil {
		return "", fault
	}
	node := i.Node
	if !spec.Volatile {
		c, member := p.Copy(i.To)
		if !member || c.State != shard.CopyReady {
			return "", conflict(p, "copy %d is not a ready member of C", i.To)
		}
		node = c.Node
		if _, up := d.up(node); !up {
			return "", conflict(p, "node %s of copy %d is not up", node, i.To)
		}
	} else if _, fault := d.host(spec, i.Shard, node); fault != nil {
		return "", fault
	}
	if node == p.Node {
		return "", conflict(p, "node %s leads it already", node)
	}
	return node, nil
}

// HandOver makes another copy the primary of shards whose primary has stepped down for good. It is proposed on that primary's
// report, and on nothing else: that the copy holds everything confirmed cannot be seen from here. Nobody seals and nobody
// waits for a lease, since the session that led has stopped by itself; so an Activate may follow in the same entry.
// A copy that can no longer lead, lost or its node gone, leaves the shard recovering. Compare-and-set on Epoch, Version and Session; the same again is harmless.
type HandOver struct {
	Items []Handing `cbor:"1,keyasint"`
}

// Handing is one shard of a HandOver. Session is the one that stepped down; To is the copy that is to lead, of a volatile
// shard Node.
type Handing struct {
	Shard   shard.ID            `cbor:"1,keyasint"`
	Epoch   shard.Epoch         `cbor:"2,keyasint"`
	Version shard.ConfigVersion `cbor:"3,keyasint"`
	Session shard.SessionID     `cbor:"4,keyasint"`
	To      shard.CopyID        `cbor:"5,keyasint,omitempty"`
	Node    shard.NodeID        `cbor:"6,keyasint,omitempty"`
}

// Validate implements Command.
func (c *HandOver) Validate() *shard.Error {
	for _, i := range c.Items {
		if (i.To != 0) == (i.Node != "") {
			return shard.Errorf(shard.CodeInvalid, "shard %s: to copy %d, node %q: one of them must be named", i.Shard, i.To, i.Node)
		}
	}
	return validItems(len(c.Items))
}

func (c *HandOver) apply(d *draft) Verdict { return each(c.Items, d.handOver) }

func (d *draft) handOver(i Handing) *shard.Error {
	if p := d.placement(i.Shard); p != nil && handedOver(p, i) {
		return nil
	}
	p, fault := d.expected(i.Shard, i.Epoch, i.Version)
	if fault != nil {
		return fault
	}
	if p.Status != shard.Active || p.Session != i.Session {
		return conflict(p, "it is %s, led by session %d: session %d has nothing to hand over", p.Status, p.Session, i.Session)
	}
	spec, _ := d.typeNamed(i.Shard.Type)
	if fault := fitsType(spec, i.Shard, i.To); fault != nil {
		return fault
	}
	c, member := p.Copy(i.To)
	if spec.Volatile {
		c, member = shard.Copy{Node: i.Node, State: shard.CopyReady}, true
	}
	switch {
	case !member:
		return conflict(p, "copy %d is not in C", i.To)
	case c.Node == p.Node:
		return conflict(p, "node %s leads it already", p.Node)
	}
	next := *p
	next.ActiveSession = 0 // it has stopped: nobody is left to wait for
	m, _ := d.member(c.Node)
	s, up := d.up(c.Node)
	if !up || c.State != shard.CopyReady || !Eligible(m, spec) {
		d.recover(next, shard.CauseHandedOver)
		return nil
	}
	next.Epoch, next.Status, next.Cause = p.Epoch+1, shard.Establishing, shard.CauseHandedOver
	next.Primary, next.Node, next.Session = i.To, c.Node, s.ID
	d.put(next, next.Cause)
	return nil
}

// handedOver reports whether the item was applied before: it is the only way from its epoch to a next one of this cause.
func handedOver(p *shard.Placement, i Handing) bool {
	return p.Epoch == i.Epoch+1 && p.Cause == shard.CauseHandedOver &&
		(p.Status == shard.Recovering || p.Primary == i.To && (i.Node == "" || p.Node == i.Node))
}

// fitsType refuses a copy of a volatile shard, and a target without a copy of any other.
func fitsType(spec shard.Spec, id shard.ID, to shard.CopyID) *shard.Error {
	if spec.Volatile == (to == 0) {
		return nil
	}
	return &shard.Error{Code: shard.CodeInvalid, Shard: id, Detail: "a volatile shard goes to a node, any other to a copy"}
}

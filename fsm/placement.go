package fsm

import (
	"fmt"
	"slices"

	"muster/shard"
)

// Place puts shards on nodes for the first time, or moves the copies of a shard that is still forming. Each node gets a
// freshly minted copy in its current directory; a node that had one of the forming copies, not lost, keeps it. When all of
// them are ready the shard is established on the first whose node is up. A volatile shard is established at once.
type Place struct {
	Items []Placing `cbor:"1,keyasint"`
}

// Placing names the nodes of one shard, the preferred primary first: as many as the type has copies, or fewer down to its
// write quorum. Epoch and Version are those of the placement it replaces, 0 and 0 when there is none.
type Placing struct {
	Shard   shard.ID            `cbor:"1,keyasint"`
	Epoch   shard.Epoch         `cbor:"2,keyasint,omitempty"`
	Version shard.ConfigVersion `cbor:"3,keyasint,omitempty"`
	Nodes   []shard.NodeID      `cbor:"4,keyasint"`
}

// Validate implements Command.
func (c *Place) Validate() *shard.Error { return validPlacings(c.Items) }

func validPlacings(items []Placing) *shard.Error {
	for _, i := range items {
		if n := len(i.Nodes); n < 1 || n > shard.MaxReplicas+1 {
			return shard.Errorf(shard.CodeInvalid, "shard %s: %d nodes, must be 1 to %d", i.Shard, n, shard.MaxReplicas+1)
		}
		for k, node := range i.Nodes {
			if slices.Contains(i.Nodes[:k], node) {
				return shard.Errorf(shard.CodeInvalid, "shard %s: two copies on node %s", i.Shard, node)
			}
		}
	}
	return validItems(len(items))
}

func (c *Place) apply(d *draft) Verdict { return each(c.Items, d.place) }

func (d *draft) place(i Placing) *shard.Error {
	spec, fault := d.spec(i.Shard)
	if fault != nil {
		return fault
	}
	old := d.placement(i.Shard)
	if fault := current(old, i.Shard, i.Epoch, i.Version); fault != nil {
		return fault
	}
	if old != nil && old.Status != shard.Forming {
		return conflict(old, "it is %s: its copies are chosen", old.Status)
	}
	members, fault := d.candidates(spec, i)
	if fault != nil {
		return fault
	}
	next := shard.Placement{Shard: i.Shard, Version: 1, Status: shard.Forming, WriteQuorum: spec.WriteQuorum(), Cause: shard.CauseCreated}
	if spec.Volatile {
		next.Epoch, next.Status = 1, shard.Establishing
		next.Node, next.Session = members[0].ID, members[0].Session
		d.put(next, next.Cause)
		return nil
	}
	if old != nil {
		next = *old
		next.Version, next.Cause, next.Copies = old.Version+1, shard.CauseReplaced, nil
	}
	for _, m := range members {
		next.Copies = append(next.Copies, d.copyOn(m, old))
	}
	d.form(next)
	return nil
}

// candidates returns the members a placing names, each of which may take a copy.
func (d *draft) candidates(spec shard.Spec, i Placing) ([]shard.Member, *shard.Error) {
	least, most := spec.WriteQuorum(), spec.Replicas+1
	if spec.Volatile {
		least = 1
	}
	if n := len(i.Nodes); n < least || n > most {
		return nil, &shard.Error{Code: shard.CodeInvalid, Shard: i.Shard, Detail: fmt.Sprintf("%d nodes, must be %d to %d", n, least, most)}
	}
	members := make([]shard.Member, len(i.Nodes))
	for k, node := range i.Nodes {
		m, fault := d.host(spec, i.Shard, node)
		if fault != nil {
			return nil, fault
		}
		members[k] = m
	}
	return members, nil
}

// copyOn returns the forming copy the member has already, or mints one.
func (d *draft) copyOn(m shard.Member, old *shard.Placement) shard.Copy {
	if old != nil {
		if c, found := old.CopyOn(m.Directory); found && c.Node == m.ID && c.State != shard.CopyLost {
			return c
		}
	}
	d.next.lastCopy++
	return shard.Copy{ID: d.next.lastCopy, Node: m.ID, Directory: m.Directory, State: shard.CopyMinted}
}

// form notes a forming placement, or its first epoch, the one that it was begun anew in, when its whole C is ready: established on
// the first copy whose node is up, recovering when none is.
func (d *draft) form(p shard.Placement) {
	if slices.ContainsFunc(p.Copies, func(c shard.Copy) bool { return c.State != shard.CopyReady }) {
		if old := d.placement(p.Shard); old != nil && old.Version == p.Version {
			d.keep(p) // one more copy is ready
		} else {
			d.put(p, p.Cause)
		}
		return
	}
	p.Epoch, p.Status = max(1, p.Emptied), shard.Recovering
	for _, c := range p.Copies {
		if s, up := d.up(c.Node); up { // in the copy's directory: under another one the copy would be lost
			p.Status, p.Primary, p.Node, p.Session = shard.Establishing, c.ID, c.Node, s.ID
			break
		}
	}
	d.put(p, p.Cause)
}

// current refuses a compare-and-set whose expectation is over.
func current(p *shard.Placement, id shard.ID, epoch shard.Epoch, version shard.ConfigVersion) *shard.Error {
	switch {
	case p == nil && epoch == 0 && version == 0:
		return nil
	case p == nil:
		return &shard.Error{Code: shard.CodeConflict, Shard: id, Detail: "it is not placed yet"}
	case p.Epoch != epoch || p.Version != version:
		return conflict(p, "this was planned for %d.%d, it is at %d.%d", epoch, version, p.Epoch, p.Version)
	}
	return nil
}

func conflict(p *shard.Placement, format string, args ...any) *shard.Error {
	return &shard.Error{Code: shard.CodeConflict, Shard: p.Shard, Epoch: p.Epoch, Detail: fmt.Sprintf(format, args...)}
}

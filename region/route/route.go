// Package route decides, for each envelope and from one version of the map, whether this node runs it, passes it on,
// keeps it until the shard has an owner, or refuses it; and what the sender does about a refusal. It is a pure table.
package route

import (
	"fmt"
	"time"

	"muster/shard"
)

// Self is the node that decides.
type Self struct {
	Node    shard.NodeID
	Session shard.SessionID // its present life, 0 before registration
}

// Action is what to do with an envelope.
type Action uint8

const (
	Deliver Action = iota + 1 // this node owns the shard
	Forward                   // Node owns it
	Buffer                    // nobody serves it now; Reason says why
	Refuse                    // it can never be delivered; Fault says why
)

func (a Action) String() string {
	return [...]string{"", "deliver", "forward", "buffer", "refuse"}[a]
}

// Reason says why an envelope has to wait.
type Reason uint8

const (
	NotPlaced    Reason = iota + 1 // the shard has no placement yet
	Forming                        // its first copies are being created
	Recovering                     // it has no primary, its copies are being sealed
	Establishing                   // its new primary brings its log to the write quorum
	OwnerOver                      // the map still names a session that is over
)

func (r Reason) String() string {
	return [...]string{"", "not placed", "forming", "recovering", "establishing", "its owner's session is over"}[r]
}

// Decision is where an envelope goes.
type Decision struct {
	Action Action
	Shard  shard.ID
	Epoch  shard.Epoch // the epoch the decision rests on; the owner runs the envelope in this epoch or not at all
	Node   shard.NodeID
	Addr   string
	Reason Reason
	Fault  *shard.Error
}

func (d Decision) String() string {
	switch d.Action {
	case Deliver:
		return fmt.Sprintf("deliver %s, epoch %d", d.Shard, d.Epoch)
	case Forward:
		return fmt.Sprintf("forward %s to %s at %s, epoch %d", d.Shard, d.Node, d.Addr, d.Epoch)
	case Buffer:
		return fmt.Sprintf("buffer %s, epoch %d: %s", d.Shard, d.Epoch, d.Reason)
	default:
		return fmt.Sprintf("refuse: %v", d.Fault)
	}
}

// Decide routes an envelope to one entity.
func Decide(v *shard.View, self Self, t shard.TypeName, entity shard.EntityID) Decision {
	id, ok := v.Locate(t, entity)
	if !ok {
		return Decision{Action: Refuse, Fault: shard.Errorf(shard.CodeUnknownType, "no member hosts entity type %q", t)}
	}
	return At(v, self, id)
}

// At routes an envelope whose shard is known.
func At(v *shard.View, self Self, id shard.ID) Decision {
	p := v.Placement(id)
	if p == nil {
		return Decision{Action: Buffer, Shard: id, Reason: NotPlaced}
	}
	d := Decision{Action: Buffer, Shard: id, Epoch: p.Epoch, Node: p.Node}
	if d.Reason = waits(p); d.Reason != 0 {
		return d
	}
	if p.Node == self.Node && p.Session == self.Session {
		d.Action = Deliver
		return d
	}
	member, known := v.Members[p.Node]
	switch {
	case p.Node == self.Node || !known || v.Ended(p.Session):
		d.Reason = OwnerOver
	default:
		d.Action, d.Addr = Forward, member.Addr
	}
	return d
}

// Leased reports whether the process may answer from an epoch that it leads by its lease alone, without a word from other copies: the
// lease runs until then, on the same clock as now, and the map names this process owner in that very epoch. The caller has to read
// until first and v after that, for a lease is extended when the map has reached what it rests on: an older map could name an owner
// that is one no more. And it has to read now last, when the answer and what it rests on are there: until then nobody else served.
func Leased(v *shard.View, self Self, id shard.ID, epoch shard.Epoch, until, now time.Duration) bool {
	if now >= until {
		return false
	}
	d := At(v, self, id)
	return d.Action == Deliver && d.Epoch == epoch
}

func waits(p *shard.Placement) Reason {
	switch p.Status {
	case shard.Active:
		return 0
	case shard.Forming:
		return Forming
	case shard.Establishing:
		return Establishing
	default:
		return Recovering
	}
}

// Accept decides whether an envelope that another node routed by epoch may run here; nil means that it may. An envelope
// never runs in another epoch than the one it was routed by: its sender may have had an answer from the new owner since,
// and a late twin must not take effect after that.
func Accept(v *shard.View, self Self, id shard.ID, epoch shard.Epoch) *shard.Error {
	d := At(v, self, id)
	switch {
	case d.Action == Deliver && epoch == d.Epoch:
		return nil
	case v.Types[id.Type] == nil || int(id.Number) >= len(v.Types[id.Type].Placements):
		return &shard.Error{Code: shard.CodeBehind, Shard: id, Detail: "the node's map has no such shard yet"}
	case epoch > d.Epoch:
		return &shard.Error{Code: shard.CodeBehind, Shard: id, Epoch: d.Epoch, Detail: "the node's map is older than the sender's"}
	case d.Action == Forward:
		return &shard.Error{Code: shard.CodeMoved, Shard: id, Epoch: d.Epoch, Node: d.Node, Addr: d.Addr}
	case d.Action == Buffer:
		return &shard.Error{Code: shard.CodeUnavailable, Shard: id, Epoch: d.Epoch, Detail: d.Reason.String()}
	case epoch < d.Epoch:
		return &shard.Error{Code: shard.CodeMoved, Shard: id, Epoch: d.Epoch, Node: self.Node, Addr: v.Members[self.Node].Addr}
	}
	return nil
}

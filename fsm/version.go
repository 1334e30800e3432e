package fsm

import "muster/shard"

// RaiseVersion puts the rules of a version of entries in force: every voter reads it. Where a newer build would answer an entry otherwise
// than an older one, it goes by the group's version and not by its own, so that all voters come to the same state whatever they
// run. The version never falls: a lower or equal one changes nothing. The entry itself has the version that it raises to, so a
// voter of an older build that comes back later stops at it. The idea is that of the cluster version in CockroachDB and etcd.
type RaiseVersion struct {
	To byte `cbor:"1,keyasint"`
}

// The versions whose rules ask for the group's.
const (
	CutSince     = 4 // an election says how much it leaves out
	RaiseSince   = 5 // there is a RaiseVersion
	confirmSince = 5 // a process proves by its directory what became of the one before, and confirms that it was set back
	addrSince    = 6 // no two members that are up have one address
	endSince     = 6 // the end of a maintenance outlives the node's restart
	LengthsSince = 7 // a session says what it acts on
)

// Validate implements Command.
func (c *RaiseVersion) Validate() *shard.Error {
	if c.To < RaiseSince {
		return shard.Errorf(shard.CodeInvalid, "version %d cannot be raised to, the first that can is %d", c.To, RaiseSince)
	}
	return nil
}

// needs implements younger.
func (c *RaiseVersion) needs() byte { return c.To }

func (c *RaiseVersion) apply(d *draft) Verdict {
	d.next.version = max(d.next.version, c.To)
	return Verdict{}
}

// GroupVersion is the version whose rules are in force, 0 before any was raised to: every voter reads its entries.
func (s *State) GroupVersion() byte { return s.version }

package replication

import (
	"fmt"
	"slices"

	"muster/shard"
)

// Role is what a copy is for its shard at the moment.
type Role uint8

const (
	Replica      Role = iota + 1 // follows, or waits to hear from a primary
	Establishing                 // leads an epoch that is not active yet, or whose first record too few hold
	Primary                      // leads the active epoch and serves
)

func (r Role) String() string {
	return [...]string{"unknown", "replica", "establishing", "primary"}[r%4]
}

// Status describes a copy for people and for the reports its owner repeats.
type Status struct {
	Copy        shard.CopyID
	Role        Role
	Promised    shard.Epoch
	Version     shard.ConfigVersion // of the leadership, 0 for a replica
	Base        shard.LSN           // the log starts after it
	Last        shard.Position
	Durable     shard.LSN
	Confirmed   shard.LSN
	Established bool           // w copies hold the epoch-start record
	Primary     shard.CopyID   // who leads the promised epoch, 0 for not heard of yet
	Peers       []Progress     // what a primary knows of the others
	Change      []shard.CopyID // the C that was proposed and is not decided, nil for none
	Awaited     []shard.CopyID // whose word is missing for the newest record to be confirmed; some of them may do
}

// Progress is how far a peer has come.
type Progress struct {
	Copy    shard.CopyID
	Learner bool      // it does not count yet
	Matched shard.LSN // it holds this much durably
	Sent    shard.LSN // it was sent this much
	Filling bool      // it is sent the shard snapshot: its log ends below the start of this one
	Silent  int       // ticks since it answered, while it owes an answer or is doubted
	Refused Why       // why it last refused, 0 for not
}

// Serves reports whether the copy takes proposals and reads: the control group has activated its epoch, and w copies hold the
// epoch-start record.
func (c *Copy) Serves() bool { return c.serving() }

// Confirmed is the LSN the copy knows to be confirmed.
func (c *Copy) Confirmed() shard.LSN { return c.log.confirmed }

// Status returns a description that shares nothing with the copy.
func (c *Copy) Status() Status {
	s := Status{
		Copy: c.id, Role: Replica, Promised: c.log.promised, Base: c.log.base.LSN, Last: c.log.last,
		Durable: c.log.durable, Confirmed: c.log.confirmed, Primary: c.following.primary,
	}
	l := c.leading
	if l == nil {
		return s
	}
	s.Role, s.Primary, s.Version, s.Established, s.Change = Establishing, c.id, l.Version, l.established, slices.Clone(l.change)
	if c.serving() {
		s.Role = Primary
	}
	for _, p := range l.peers {
		s.Peers = append(s.Peers, Progress{p.copy, !p.member, p.match, p.next - 1, p.filling, max(p.silent, p.mute), p.refused})
	}
	s.Awaited = c.awaited()
	return s
}

// awaited lists whose word is missing for the newest record: the primary while its own sync runs, and the copies that do
// not hold it while too few do. Any of those will do, so it is empty as soon as enough have answered.
func (c *Copy) awaited() []shard.CopyID {
	l, last := c.leading, c.log.last.LSN
	var missing []shard.CopyID
	if c.log.durable < last {
		missing = append(missing, c.id)
	}
	if shard.LSN(l.quorum(matched)) >= last {
		return missing
	}
	for _, p := range l.peers {
		if (p.member || p.wanted) && p.match < last {
			missing = append(missing, p.copy)
		}
	}
	return missing
}

// Check reports a broken invariant of the copy. It reads everything and changes nothing: simulators call it after each
// step.
func (c *Copy) Check() error {
	if err := c.log.check(); err != nil {
		return fmt.Errorf("copy %d of %s: %w", c.id, c.shard, err)
	}
	if err := c.checkRole(); err != nil {
		return fmt.Errorf("copy %d of %s: %w", c.id, c.shard, err)
	}
	return nil
}

func (c *Copy) checkRole() error {
	f, l := &c.following, c.leading
	switch {
	case f.epoch != 0 && f.epoch != c.log.promised:
		return fmt.Errorf("follows epoch %d, promised %d", f.epoch, c.log.promised)
	case f.matched > c.log.last.LSN || f.acked > min(f.matched, c.log.durable):
		return fmt.Errorf("matched %d, acked %d, log ends at %s, durable to %d", f.matched, f.acked, c.log.last, c.log.durable)
	case l == nil:
		return nil
	case l.Epoch != c.log.promised || l.Epoch != c.log.last.Epoch || f.epoch != 0:
		return fmt.Errorf("leads epoch %d, promised %d, log ends at %s", l.Epoch, c.log.promised, c.log.last)
	}
	for _, p := range l.peers {
		if p.match >= p.next || p.next > c.log.last.LSN+1 || p.position() < c.log.base.LSN || p.filling && p.match >= c.log.base.LSN {
			return fmt.Errorf("peer %d matches %d, probed %d, next %d, filling %t, log from %s to %s",
				p.copy, p.match, p.probed, p.next, p.filling, c.log.base, c.log.last)
		}
	}
	return nil
}

func (l *log) check() error {
	switch {
	case l.durable > l.last.LSN || l.confirmed > l.last.LSN:
		return fmt.Errorf("durable to %d, confirmed to %d, but the log ends at %s", l.durable, l.confirmed, l.last)
	case l.durable < l.base.LSN && len(l.writes) == 0 || l.confirmed < l.base.LSN:
		return fmt.Errorf("durable to %d, confirmed to %d, but the log starts after %s", l.durable, l.confirmed, l.base)
	case l.kept > l.promised || l.last.Epoch > l.promised:
		return fmt.Errorf("promised epoch %d, durably %d, but the log ends at %s", l.promised, l.kept, l.last)
	case (l.last.LSN == 0) != (l.last.Epoch == 0) || l.history.At(l.last.LSN) != l.last.Epoch:
		return fmt.Errorf("the history %v does not lead to %s", l.history, l.last)
	}
	return l.checkHistory()
}

func (l *log) checkHistory() error {
	before, first := shard.EpochStart{}, max(1, l.base.LSN)
	for i, s := range l.history {
		if s.Epoch <= before.Epoch || s.First <= before.First || s.First > l.last.LSN || (i == 0 && s.First != first) {
			return fmt.Errorf("the history %v does not rise from %d to %s", l.history, first, l.last)
		}
		before = s
	}
	if l.base.LSN > 0 && l.history.At(l.base.LSN) != l.base.Epoch {
		return fmt.Errorf("the history %v does not begin with %s", l.history, l.base)
	}
	return nil
}

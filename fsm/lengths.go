package fsm

import (
	"cmp"
	"slices"
	"time"

	"muster/shard"
)

// Bounds of a session's lengths. Beyond them is a slip of whoever configured the node: a lease is what a failover waits for.
const (
	MinLease    = 10 * time.Millisecond
	MaxLease    = time.Hour
	MaxAutonomy = 24 * time.Hour
)

// Lengths are how long a session's process goes on by itself when it hears from nobody any more. Whoever takes its place waits for as long.
//
// Each process has its own, from its configuration, and they stay for its life. They are in the log, with its registration, so that every leader
// waits for what this process acts on, whatever that leader's own configuration says. So nodes may differ, and a rolling restart
// changes the lengths. In a new group all register before any version is in force, and so have those that live through an
// upgrade: their first renewal that the version allows says it.
//
// Rejected: one length for the group, in the state. To shorten it takes a wait for everybody who still goes by the longer one, and to
// lengthen it another. Rejected too: the session in the map says it. Members of an earlier build could not read the map, and the group's
// version is about voters only.
type Lengths struct {
	Lease    time.Duration `cbor:"1,keyasint"` // from the sending of a renewal: reads and volatile entities rest on it
	Autonomy time.Duration `cbor:"2,keyasint"` // from the lease's end: journaled entities go on confirming; see shard.Spec.Autonomy
}

// Validate reports lengths out of bounds.
func (l Lengths) Validate() *shard.Error {
	switch {
	case l.Lease < MinLease || l.Lease > MaxLease:
		return shard.Errorf(shard.CodeInvalid, "lease = %s, must be %s to %s", l.Lease, MinLease, MaxLease)
	case l.Autonomy <= 0 || l.Autonomy > MaxAutonomy:
		return shard.Errorf(shard.CodeInvalid, "autonomy = %s, must be above 0 and at most %s", l.Autonomy, MaxAutonomy)
	}
	return nil
}

// said reports whether there are any.
func (l Lengths) said() bool { return l != Lengths{} }

// say notes the first lengths that a session says.
func (l *life) say(said Lengths) {
	if !l.Lengths.said() {
		l.Lengths = said
	}
}

// Lengths returns what a session acts on, live or over, as far as a shard may still wait for it. It has said nothing when its process is of an
// earlier build, and while the group's version is below LengthsSince.
func (s *State) Lengths(id shard.SessionID) (l Lengths, said bool) {
	if i, found := findLife(s.lives, id); found {
		l = s.lives[i].Lengths
	} else if i, found := findTenure(s.gone, id); found {
		l = s.gone[i].Lengths
	}
	return l, l.said()
}

// tenure is what a session acted on whose life is forgotten. It is kept while a shard names that session as the one that served
// last: the process may be cut off, and not know that it is over.
type tenure struct {
	Session shard.SessionID `cbor:"1,keyasint"`
	Lengths Lengths         `cbor:"2,keyasint"`
}

func findTenure(gone []tenure, id shard.SessionID) (int, bool) {
	return slices.BinarySearchFunc(gone, id, func(t tenure, id shard.SessionID) int { return cmp.Compare(t.Session, id) })
}

// bury forgets the life of a session that is over, and keeps its lengths if a shard still names it. Tenures that no shard names any more go,
// so there are never more of them than shards.
func (d *draft) bury(id shard.SessionID) {
	i, found := findLife(d.next.lives, id)
	if !found {
		return
	}
	gone := slices.Clone(d.next.gone)
	if l := d.next.lives[i]; l.Lengths.said() {
		at, _ := findTenure(gone, id)
		gone = slices.Insert(gone, at, tenure{id, l.Lengths})
	}
	d.takeLives()
	d.next.lives = slices.Delete(d.next.lives, i, i+1)
	if len(gone) == 0 {
		return
	}
	named := map[shard.SessionID]bool{}
	d.placements(func(p *shard.Placement) bool {
		named[p.ActiveSession] = true
		return false // none of them is wanted
	})
	d.next.gone = slices.DeleteFunc(gone, func(t tenure) bool { return !named[t.Session] })
}

// checkLengths sees that every length is one that a leader can wait for.
func (s *State) checkLengths() error {
	for _, l := range s.lives {
		if fault := l.Lengths.Validate(); l.Lengths.said() && fault != nil {
			return fault
		}
	}
	for i, t := range s.gone {
		_, alive := findLife(s.lives, t.Session)
		switch fault := t.Lengths.Validate(); {
		case fault != nil:
			return fault
		case alive || t.Session > s.View.LastSession || i > 0 && s.gone[i-1].Session >= t.Session:
			return shard.Errorf(shard.CodeInternal, "lengths of session %d, which is known, to come or out of order", t.Session)
		}
	}
	return nil
}

package replication

import (
	"slices"

	"muster/shard"
)

// A Learner is a copy on its way into C: it receives records, and its word counts for nothing until it is a member.
type Learner struct {
	Copy     shard.CopyID
	Replaces shard.CopyID // the member that leaves when it joins, 0 for none
}

// Configure tells a primary what the map says about its epoch by now: C, the learners, and the version. A version that moved
// on decides a change that was proposed, for it or against it. What is older than the copy knows is ignored.
func (c *Copy) Configure(to Leadership) Effects {
	var e Effects
	l := c.leading
	if l == nil || to.Epoch != l.Epoch || to.Version < l.Version || to.check(c.id) != nil {
		return e
	}
	if to.Version > l.Version {
		l.change = nil
	}
	known := l.peers
	l.Leadership = to
	l.peers = l.gather(c.id, c.log.last.LSN+1)
	for i := range l.peers {
		p := &l.peers[i]
		if k := slices.IndexFunc(known, func(old peer) bool { return old.copy == p.copy }); k >= 0 {
			member := p.member
			*p = known[k]
			p.member, p.wanted = member, slices.Contains(l.change, p.copy)
			continue
		}
		c.probe(p, &e)
	}
	c.confirm(&e)
	c.verify(&e)
	return e
}

// gather returns the peers of a leadership, unheard of as yet.
func (l *leading) gather(self shard.CopyID, next shard.LSN) []peer {
	peers := make([]peer, 0, len(l.Copies)+len(l.Learners))
	for _, id := range l.Copies {
		if id != self {
			p := newPeer(id, next)
			p.member = true
			peers = append(peers, p)
		}
	}
	for _, learner := range l.Learners {
		peers = append(peers, newPeer(learner.Copy, next))
	}
	return peers
}

// Reconfigure begins to change C to copies, and reports whether the caller may propose that to the control group. From
// here until Configure shows a higher version, or the epoch is over, records and rounds need the write quorum of both the
// present C and the proposed one, whatever the control group answers: no answer means that it may still be decided. The
// same change may be begun again; another one may not meanwhile.
//
// It is refused while the epoch is not active; unless copies holds this copy, members and learners only, and as many as
// the write quorum or what is allowed below it; and until a write quorum of them holds everything that is confirmed, for a failover counts on that
// from the moment the change is decided. An epoch that was handed over may need it before it is established: C can lose too many just then.
func (c *Copy) Reconfigure(copies []shard.CopyID) bool {
	l := c.leading
	switch {
	case l == nil || !l.active:
		return false
	case l.change != nil:
		return slices.Equal(l.change, copies)
	case l.quorumFor(len(copies)) == 0 || len(copies) > shard.MaxReplicas+1 || !slices.Contains(copies, c.id):
		return false
	case len(slices.Compact(slices.Sorted(slices.Values(copies)))) != len(copies):
		return false
	}
	for _, id := range copies {
		if id != c.id && l.peer(id) == nil {
			return false
		}
	}
	if !c.held(copies) {
		return false
	}
	l.change = slices.Clone(copies)
	for i := range l.peers {
		l.peers[i].wanted = slices.Contains(copies, l.peers[i].copy)
	}
	return true
}

// held reports whether a write quorum of a next C holds everything that is confirmed.
func (c *Copy) held(copies []shard.CopyID) bool {
	holders, floor := 1, c.floor() // the primary holds what it counted
	for _, id := range copies {
		if p := c.leading.peer(id); id != c.id && p != nil && p.match >= floor {
			holders++
		}
	}
	return holders >= c.leading.quorumFor(len(copies))
}

// Wanted returns the C that this primary would propose now, nil when the present one will do: the change under way, else C
// without the members whose data are lost, with a learner that has caught up in place of the copy it replaces, or with as many as make a C, else without
// one that has owed an answer for patience ticks or more. All lost ones leave at once, because no C may be proposed that
// holds one. It asks for less than the write quorum only when too few members answer and that is allowed: then for those that
// do answer, all others leaving at once. A learner that is to replace the primary waits until another leads,
// unless there is no other: then it joins beside the primary, which can hand over to a member of C only.
//
// What lost matches need not be lost: the primary's caller may name any member that is to leave.
func (c *Copy) Wanted(patience int, lost func(shard.CopyID) bool) []shard.CopyID {
	l := c.leading
	if l == nil || !l.active {
		return nil
	}
	if l.change != nil {
		return l.change
	}
	sound := without(l.Copies, lost)
	if joined := c.joined(sound); joined != nil {
		return joined
	}
	if answering := without(sound, c.mute(patience)); len(answering) < l.WriteQuorum && l.quorumFor(len(answering)) > 0 {
		return answering
	}
	if len(sound) == len(l.Copies) {
		sound = without(l.Copies, c.silent(patience))
	}
	if len(sound) == len(l.Copies) || len(sound) < l.WriteQuorum {
		return nil
	}
	return sound
}

// joined returns the members with a learner that has caught up; with more of them only while there would be too few for a C otherwise, as when
// so many lost ones leave at once. It is nil when no learners may join.
func (c *Copy) joined(members []shard.CopyID) []shard.CopyID {
	l, alone := c.leading, len(members) == 1
	for _, learner := range l.Learners {
		staying := without(members, func(id shard.CopyID) bool { return id == learner.Replaces && id != c.id })
		if p := l.peer(learner.Copy); p == nil || !c.caughtUp(p) || len(staying) > shard.MaxReplicas || learner.Replaces == c.id && !alone {
			continue
		}
		next := append(staying, learner.Copy)
		switch {
		case l.quorumFor(len(next)) == 0:
			members = next
		case c.holdsAll(l.peer(learner.Copy)) || c.held(next):
			return next
		}
	}
	return nil
}

// mute matches every member that has owed an answer for patience ticks or more.
func (c *Copy) mute(patience int) func(shard.CopyID) bool {
	return func(id shard.CopyID) bool {
		p := c.leading.peer(id)
		return p != nil && p.silent >= patience
	}
}

// silent matches the first member that has owed an answer for patience ticks or more.
func (c *Copy) silent(patience int) func(shard.CopyID) bool {
	for i := range c.leading.peers {
		if p := &c.leading.peers[i]; p.member && p.silent >= patience {
			return is(p.copy)
		}
	}
	return is(0)
}

func is(id shard.CopyID) func(shard.CopyID) bool {
	return func(other shard.CopyID) bool { return other == id }
}

// floor is up to where the log of an active epoch is confirmed, whether or not this copy has heard so: all that an epoch began with
// when it was handed over.
func (c *Copy) floor() shard.LSN { return max(c.log.confirmed, c.leading.start-1) }

// caughtUp reports whether a learner holds what is confirmed and receives the rest as it comes. One that is slower than those who confirm
// never does while writes go on; it will do if it has kept up for long, and if the others are enough to hold what is confirmed.
func (c *Copy) caughtUp(p *peer) bool {
	return !p.member && c.keepsUp(p) && (c.holdsAll(p) || p.near >= LearnerTicks)
}

func (c *Copy) holdsAll(p *peer) bool { return p.match >= c.floor() }

// keepsUp reports whether a learner receives records as they come.
func (c *Copy) keepsUp(p *peer) bool { return !p.probing && p.match+MaxInFlight > c.log.last.LSN }

func without(copies []shard.CopyID, leaves func(shard.CopyID) bool) []shard.CopyID {
	return slices.DeleteFunc(slices.Clone(copies), leaves)
}

// StepDown ends this process's leadership in favour of target, for good: it does not lead this epoch again, reads
// included, so the control group may name target without a Seal. It refuses, and nothing has changed, while the copy does
// not serve, a change of C is under way, something is not confirmed, or target is not a member that holds everything.
func (c *Copy) StepDown(target shard.CopyID) (Effects, bool) {
	var e Effects
	if !c.serving() || c.leading.change != nil || c.log.confirmed != c.log.last.LSN {
		return e, false
	}
	if p := c.leading.peer(target); p == nil || !p.member || p.match != c.log.last.LSN {
		return e, false
	}
	c.stop(&e)
	return e, true
}

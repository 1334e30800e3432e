package plan

import (
	"maps"
	"slices"
	"time"

	"muster/fsm"
	"muster/shard"
)

// GatherRenewals is how long the first renewal of an entry waits for others at the most.
const GatherRenewals = 50 * time.Millisecond

// NextRenewal is how long after arrived the next renewal of a session is due: at the last grid point within a full interval, so
// that nodes come to share entries.
func NextRenewal(arrived, interval time.Duration) time.Duration {
	grid := interval / 4
	return (arrived+interval)/grid*grid - arrived
}

// sessions ends those whose lease ran out.
//
// A renewal counts from when this voter stored it, which is later than when its node sent it, so a node knows before the
// leader does that its lease is over. Expire names the newest renewal seen here; the state machine refuses it when
// the log holds a later one.
//
// The grace of a leader is made for nodes like its own. One with a shorter lease renews twice in that, and is given no longer: the leader's may be an hour.
func (b *batch) sessions() {
	for _, id := range slices.Sorted(maps.Keys(b.view.Sessions)) {
		at, number := b.in.Renewed(id)
		over := max(at+b.lengths(id).Lease, max(b.in.LeaderSince, b.d.awoke)+min(b.d.Times.Grace, b.lengths(id).Lease))
		if b.in.Now < over {
			continue
		}
		if last, proposed := b.d.expiry[id]; proposed && b.in.Now < last+b.d.Times.Retry {
			continue
		}
		b.d.expiry[id] = b.in.Now
		b.expire = append(b.expire, Step{
			Command: &fsm.Expire{Session: id, LastRenewal: number},
			Notes:   []Note{{Reason: LeaseRanOut, Session: id, Node: b.view.Sessions[id].Node}},
		})
	}
}

// lengths are those that a session goes by: every wait for it is as long as it says, whatever this leader's own are. One that has said
// nothing counts as having the leader's: its process is of an earlier build, or has not renewed yet and acts on nothing.
func (b *batch) lengths(id shard.SessionID) fsm.Lengths {
	if said, ok := b.in.State.Lengths(id); ok {
		return said
	}
	return fsm.Lengths{Lease: b.d.Times.Lease, Autonomy: b.d.Times.Autonomy}
}

// wake notices that the leader stood still: its process was stopped, or the machine was. What the nodes sent meanwhile is not stored
// yet, and those that stood still with it, in the same process or on the same machine, are about to send it. One that stands still over
// and over lets them renew no more than once in a lease, or no session would ever end.
func (b *batch) wake() {
	d, now := b.d, b.in.Now
	if d.looked != 0 && now >= d.looked+b.standstill() && (d.awoke == 0 || now >= d.awoke+d.Times.Lease) {
		d.awoke = now
	}
	d.looked = now
}

// standstill is how long nothing must have been looked at for that: two renewals, and no more than half the shortest lease that could be over by it. The
// leader's own may be an hour.
func (b *batch) standstill() time.Duration {
	long := b.d.Times.Grace
	for id := range b.view.Sessions { //lint:maporder a minimum
		long = min(long, b.lengths(id).Lease/2)
	}
	return long
}

// version puts the rules in force that every voter reads by now.
func (b *batch) version() {
	if b.in.Reads < fsm.RaiseSince || b.in.Reads <= b.in.State.GroupVersion() || b.d.raised != 0 && b.in.Now < b.d.raised+b.d.Times.Retry {
		return
	}
	b.d.raised = b.in.Now
	b.raise = []Step{{Command: &fsm.RaiseVersion{To: b.in.Reads}, Notes: []Note{{Reason: AllRead}}}}
}

// sessionOf returns the live session of the directory that holds the copy.
func sessionOf(v *shard.View, c shard.Copy) (shard.Session, bool) {
	s, live := v.Sessions[v.Members[c.Node].Session]
	return s, live && s.Directory == c.Directory
}

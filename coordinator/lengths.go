package coordinator

import (
	"time"

	"muster/fsm"
	"muster/shard"
)

// sayable is what may be put into the log of a session's lengths: nothing while a voter would have to stop at them.
func (l *leading) sayable(lengths fsm.Lengths) fsm.Lengths {
	if l.v.machine.state().GroupVersion() < fsm.LengthsSince {
		return fsm.Lengths{}
	}
	return lengths
}

// unsaid is what a renewal should put there: nothing when they are in it. They are not when the session is from before the version.
func (l *leading) unsaid(r fsm.Renewal) fsm.Lengths {
	if _, said := l.v.machine.state().Lengths(r.Session); said {
		return fsm.Lengths{}
	}
	return l.sayable(r.Lengths)
}

// waited is for how long this leader, or the next, waits for a session whose renewal is applied here.
func (l *leading) waited(id shard.SessionID) time.Duration {
	if said, ok := l.v.machine.state().Lengths(id); ok {
		return said.Lease
	}
	return l.v.c.cfg.Times.Lease
}

// inTheWay is for how long the session is waited for that a registration is refused for, 0 when it is refused for something else.
func (l *leading) inTheWay(fault *shard.Error) time.Duration {
	if fault.Code != shard.CodeInUse {
		return 0
	}
	return l.waited(l.v.machine.state().View.Members[fault.Node].Session)
}

// compare says that a node goes by other lengths than this leader. That is safe, and may still be a slip: a failover takes as long
// as the lease of the node that failed.
func (l *leading) compare(id shard.SessionID) {
	state, own := l.v.machine.state(), l.v.c.cfg.Times.lengths()
	theirs, said := state.Lengths(id)
	if !said || theirs == own {
		return
	}
	l.v.c.log.Warn("a node has another lease or autonomy than this one, which leads: it is waited for as long as it says",
		"node", state.View.Sessions[id].Node, "session", id, "lease", theirs.Lease, "autonomy", theirs.Autonomy, "here", own.Lease, "here_autonomy", own.Autonomy)
}

// compareAll is compare when a leadership begins.
func (l *leading) compareAll() {
	for id := range l.v.machine.state().View.Sessions {
		l.compare(id)
	}
}

package simulation

import (
	"slices"
	"time"

	"muster/fsm"
	"muster/shard"
)

// In one of so many seeds each node has a lease and an autonomy of its own, which its sessions say and leaders wait for. It is none of those
// by which a planted defect is found.
const (
	lengthed = 11
	unlike   = 7
)

func (w *world) uneven() bool { return w.seed%lengthed == unlike }

// lengths are what the node acts on by itself, and what it waits for as a leader where a session has said nothing.
func (n *node) lengths() fsm.Lengths {
	l := fsm.Lengths{Lease: lease, Autonomy: n.w.setup.times.Autonomy}
	if !n.w.uneven() {
		return l
	}
	switch (slices.Index(n.w.nodes, n) + int(n.w.seed/lengthed%3)) % 3 {
	case 0:
		l.Lease *= 2
	case 1:
		l.Lease, l.Autonomy = l.Lease/2, l.Autonomy/2
	}
	return l
}

// unsaid is what a leader puts into the log of the lengths of a process that renews.
func (p *process) unsaid(of *process) fsm.Lengths {
	state := p.n.w.raft.states[p.applied]
	if _, said := state.Lengths(of.session.id); said || !p.n.w.uneven() || state.GroupVersion() < fsm.LengthsSince {
		return fsm.Lengths{}
	}
	return of.n.lengths()
}

// waited is for how long the group waits for a session that has renewed.
func (p *process) waited(id shard.SessionID) time.Duration {
	if l, said := p.n.w.raft.states[p.applied].Lengths(id); said {
		return l.Lease
	}
	return p.n.lengths().Lease
}

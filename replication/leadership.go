package replication

import (
	"slices"
	"time"

	"muster/shard"
)

// LeadershipOf is a placement as the protocol needs it. Learners that their directory has not created yet are left out. While C has
// a lost copy a learner takes its place, whomever it was to replace: nothing is balanced or drained at the price of a copy that
// is missed, and with both gone C could be smaller than the write quorum, which no primary may propose.
func LeadershipOf(p *shard.Placement, spec shard.Spec) Leadership {
	l := Leadership{Epoch: p.Epoch, Version: p.Version, WriteQuorum: p.WriteQuorum, Full: spec.WriteQuorum(), Floor: p.Floor}
	for _, c := range p.Copies {
		l.Copies = append(l.Copies, c.ID)
	}
	for _, learner := range p.Learners {
		if learner.Copy.State == shard.CopyReady {
			l.Learners = append(l.Learners, Learner{Copy: learner.Copy.ID, Replaces: room(p, learner.Replaces)})
		}
	}
	return l
}

// room returns the member that is to leave when a learner joins that was to replace one.
func room(p *shard.Placement, replaces shard.CopyID) shard.CopyID {
	if i := slices.IndexFunc(p.Copies, func(c shard.Copy) bool { return c.State == shard.CopyLost }); i >= 0 {
		return p.Copies[i].ID
	}
	return replaces
}

// Patience is how many ticks a member of C may owe an answer before it is left out: twice the type's ack_timeout.
func Patience(ackTimeout time.Duration) int { return int(2 * ackTimeout / TickInterval) }

// answering is the silence, in ticks, up to which a member counts as one that answers: it has been asked again and had time to.
const answering = 2 * ProbeTicks

// Due returns the C that is worth proposing by the newest placement, nil for none. A change that leaves copies out is not
// unless a write quorum of the others answers now, not as patience has it: the shard would confirm no more than before, and
// whoever comes back first could be the one left out. A primary that was cut off from all its copies while one of them was
// silent already would else leave that one out before it finds itself deserted, and too few be left to elect another.
func (c *Copy) Due(p *shard.Placement, patience int) []shard.CopyID {
	wanted := c.Wanted(patience, func(id shard.CopyID) bool { return leaves(p, id) })
	if wanted == nil || !c.helps(wanted, patience) {
		return nil
	}
	return wanted
}

// Deserted reports whether too few members of C answer this primary for ack_timeout, half of patience, though the map says that
// enough of the others are up to elect one of themselves and to confirm without it. It should ask for another then: a node that
// is cut off from its peers and not from the control group would keep its shards, and confirm nothing, for as long as that lasts.
// One that was handed the lead and has not begun to serve in that time should ask too, whatever the reason.
//
// Silent tells for how many ticks a node has answered none of this node's shards: a primary that is owed nothing hears nothing itself.
func (c *Copy) Deserted(p *shard.Placement, patience int, up func(shard.NodeID) bool, silent func(shard.NodeID) int) bool {
	l := c.leading
	if l == nil || !l.active {
		return false
	}
	answering, others := 1, 0
	for i := range l.peers {
		peer := &l.peers[i]
		member, ok := p.Copy(peer.copy)
		if !ok {
			continue
		}
		if !peer.out(patience/2) && silent(member.Node) < patience/2 {
			answering++
		}
		if member.State == shard.CopyReady && up(member.Node) {
			others++
		}
	}
	alone := answering < p.WriteQuorum || l.waited >= patience/2
	return alone && others >= max(p.WriteQuorum, p.RecoveryQuorum())
}

// leaves reports whether a member of C is to go at once: the map has given up its data, or it was the shard's only copy and
// another leads now.
func leaves(p *shard.Placement, id shard.CopyID) bool {
	c, ok := p.Copy(id)
	return ok && (c.State == shard.CopyLost || id == p.Retiring && id != p.Primary)
}

func (c *Copy) helps(wanted []shard.CopyID, patience int) bool {
	if c.leading.change != nil {
		return true
	}
	able := 1
	for i := range c.leading.peers {
		switch p := &c.leading.peers[i]; {
		case !slices.Contains(wanted, p.copy):
		case !p.member:
			return true
		case !p.out(min(answering, patience)):
			able++
		}
	}
	return able >= c.leading.quorumFor(len(wanted))
}

// Dispensable reports whether a copy may be retired that the map does without in an epoch: it does not lead, and the map is not
// older than what it has promised.
func (c *Copy) Dispensable(epoch shard.Epoch) bool {
	return c.leading == nil && epoch >= c.log.promised
}

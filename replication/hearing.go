package replication

import "muster/shard"

// HearTicks is after how much silence a node asks another for a sign of life, and how often.
const HearTicks = 10

// A Hearing is what a node knows of whether another answers its primaries. A shard that owes nothing sends nothing, so an idle
// primary would not notice that its copies are out of reach before a command waits for them. One question for a pair of nodes, by any of
// the shards between them, tells that for all.
//
// It counts ticks and not time: a process that was stopped for a while has not been deaf for as long. The zero value has heard
// from the other just now. It has no lock.
type Hearing struct {
	quiet int // ticks since the other was heard
	owed  int // ticks since it was asked first, 0 while it owes no answer
}

// Heard notes a sign of life, and also that none is expected.
func (h *Hearing) Heard() { *h = Hearing{} }

// Silent is for how many ticks the other has owed an answer.
func (h *Hearing) Silent() int { return h.owed }

// Tick lets TickInterval pass and reports whether to ask now.
func (h *Hearing) Tick() (ask bool) {
	h.quiet++
	if h.owed > 0 {
		h.owed++
	}
	ask = h.quiet%HearTicks == 0
	if ask && h.owed == 0 {
		h.owed = 1
	}
	return ask
}

// Asks returns the copy on a node whose sign of life matters to the primary of the placement, when that is this session.
func Asks(p *shard.Placement, session shard.SessionID, node shard.NodeID) (shard.CopyID, bool) {
	if p == nil || p.Status != shard.Active || p.Session != session || session == 0 {
		return 0, false
	}
	for _, c := range p.Copies {
		if c.Node == node && c.ID != p.Primary && c.State == shard.CopyReady {
			return c.ID, true
		}
	}
	return 0, false
}

// Ask has a copy asked for a sign of life. One that owes an answer anyway is asked by Tick.
func (c *Copy) Ask(id shard.CopyID) Effects {
	var e Effects
	if c.leading == nil {
		return e
	}
	if p := c.leading.peer(id); p != nil && !p.probing {
		c.ask(p, &e)
	}
	return e
}

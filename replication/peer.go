package replication

import "muster/shard"

// A peer is what the primary knows of one other copy of C.
//
// Records are sent ahead of their acknowledgement, up to MaxInFlight of them, once the peer's log is known to join: an
// Ack in this epoch shows it. Until then the peer is probing: one Append is out and its answer decides where to go on.
//
// Invariant: match < next ≤ the log's end + 1. match never goes back: a ready copy loses nothing durable.
type peer struct {
	copy    shard.CopyID
	member  bool      // of C: it counts. A learner does not
	wanted  bool      // of the C that is proposed
	match   shard.LSN // acknowledged as durable in this epoch
	next    shard.LSN // the first record not sent yet
	probing bool
	probed  shard.LSN // probing: the Prev of the Append that is out
	round   uint64    // the newest round of confirmed reads it answered
	told    shard.LSN // the confirmed LSN it was last sent
	silent  int       // ticks since it last answered, while it owes an answer
	due     int       // the silence after which it is asked again
	refused Why       // why it last refused, 0 after an Ack
}

func newPeer(id shard.CopyID, next shard.LSN) peer {
	return peer{copy: id, next: next, probing: true, probed: next - 1, due: ProbeTicks}
}

// heard notes that the peer answers.
func (p *peer) heard() { p.silent, p.due = 0, ProbeTicks }

// rewind starts over behind base, a position the peer may share.
func (p *peer) rewind(base shard.LSN) {
	base = max(base, p.match)
	p.next, p.probing, p.probed = base+1, true, base
}

// acked takes an Ack of this epoch.
func (p *peer) acked(m Ack) {
	p.heard()
	p.match = max(p.match, m.LSN)
	p.next = max(p.next, p.match+1)
	p.round = max(p.round, m.Round)
	p.probing, p.refused = false, 0
}

// send sends the records a peer has not been sent, as far as it may have them.
func (c *Copy) send(p *peer, e *Effects) {
	through := min(c.log.last.LSN, p.match+MaxInFlight)
	if !p.probing && through >= p.next {
		c.post(p, through, e)
	}
}

// probe sends the one Append that shows whether the peer's log joins at probed.
func (c *Copy) probe(p *peer, e *Effects) {
	c.post(p, min(c.log.last.LSN, p.probed+MaxInFlight), e)
}

// ask sends an Append without records behind everything already sent: a peer that missed some answers with a Gap, one
// that is only slow to sync keeps what it has. While probing it asks from the beginning of the probe again.
func (c *Copy) ask(p *peer, e *Effects) {
	if p.probing {
		p.next = p.probed + 1
	}
	c.post(p, p.next-1, e)
}

// post sends what stands from next up to through.
func (c *Copy) post(p *peer, through shard.LSN, e *Effects) {
	l := c.leading
	e.Appends = append(e.Appends, Outgoing{Through: through, Append: Append{
		Shard: c.shard, Epoch: l.Epoch, From: c.id, To: p.copy, Prev: c.log.at(p.next - 1),
		Confirmed: c.log.confirmed, Version: l.Version, Round: l.asked,
	}})
	p.next, p.told = through+1, c.log.confirmed
}

// tick counts the silence of a peer that owes an answer and asks again when it has lasted. A peer that owes nothing is
// told the confirmed LSN if no record has carried it; an idle shard then sends nothing at all.
func (c *Copy) tick(p *peer, e *Effects) {
	l := c.leading
	reading := l.verified < l.asked && p.round < l.asked
	if !p.probing && p.match == c.log.last.LSN && !reading {
		p.heard()
		if p.told < c.log.confirmed {
			c.ask(p, e)
		}
		return
	}
	p.silent++
	if p.silent >= p.due {
		p.due += min(2*p.due, MaxProbe)
		c.ask(p, e)
	}
}

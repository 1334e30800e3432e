package replication

import "muster/shard"

// A peer is what the primary knows of one other copy of C.
//
// Records are sent ahead of their acknowledgement, up to MaxInFlight of them, once the peer's log is known to join: an
// Ack in this epoch shows it. Until then the peer is probing: one Append is out and its answer decides where to go on. A
// peer that would need records from below the log's base is filling: it is sent the shard snapshot, and its Ack of the base
// shows that the records after it may follow.
//
// Invariant: match < next ≤ the log's end + 1, and what is sent next stands above the base. match never goes back: a ready
// copy loses nothing durable. While filling, match < base.
type peer struct {
	copy    shard.CopyID
	member  bool      // of C: it counts. A learner does not
	wanted  bool      // of the C that is proposed
	match   shard.LSN // acknowledged as durable in this epoch
	next    shard.LSN // the first record not sent yet
	probing bool
	filling bool      // probing in another way: the shard snapshot is out instead of an Append
	probed  shard.LSN // probing: the Prev of the Append that is out; filling: the base
	round   uint64    // the newest round of confirmed reads it answered
	told    shard.LSN // the confirmed LSN it was last sent
	silent  int       // ticks since it last answered, while it owes an answer
	mute    int       // ticks since it was doubted, 1 at once, while it has not answered; 0 when it is not
	due     int       // the silence after which it is asked again
	refused Why       // why it last refused, 0 after an Ack
	near    int       // a learner: ticks for which it has kept up with the log, and answered
}

func newPeer(id shard.CopyID, next shard.LSN) peer {
	return peer{copy: id, next: next, probing: true, probed: next - 1, due: ProbeTicks}
}

// heard notes that the peer answers, or owes nothing.
func (p *peer) heard() { p.silent, p.due = 0, ProbeTicks }

// out reports whether the peer has owed an answer, or a sign of life, for so many ticks.
func (p *peer) out(ticks int) bool { return max(p.silent, p.mute) >= ticks }

// position is the Prev of what the peer is sent, or asked, next.
func (p *peer) position() shard.LSN {
	if p.probing {
		return p.probed
	}
	return p.next - 1
}

// rewind starts over behind base, a position the peer may share.
func (p *peer) rewind(base shard.LSN) {
	base = max(base, p.match)
	p.next, p.probing, p.probed, p.filling = base+1, true, base, false
}

// acked takes an Ack of this epoch. One that was under way when the peer began to be filled does not end that.
func (p *peer) acked(m Ack, base shard.LSN) {
	p.heard()
	p.mute = 0
	p.match = max(p.match, m.LSN)
	p.round = max(p.round, m.Round)
	if p.filling && p.match < base {
		return
	}
	p.next = max(p.next, p.match+1)
	p.probing, p.filling, p.refused = false, false, 0
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
	if p.filling {
		return // an Append would only be refused
	}
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
// told the confirmed LSN if no record has carried it, and asked while it is doubted; an idle shard sends nothing else of itself.
func (c *Copy) tick(p *peer, e *Effects) {
	l := c.leading
	if p.near++; !c.keepsUp(p) || p.silent >= answering {
		p.near = 0
	}
	reading := l.verified < l.asked && p.round < l.asked
	if !p.probing && p.match == c.log.last.LSN && !reading {
		p.heard()
		if p.told < c.log.confirmed || p.mute%ProbeTicks == 1 {
			c.ask(p, e)
		}
		return
	}
	p.silent++
	if p.silent >= p.due {
		p.due += min(2*p.due, MaxProbe)
		if p.filling {
			c.fill(p, e)
		} else {
			c.ask(p, e)
		}
	}
}

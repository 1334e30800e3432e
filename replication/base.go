package replication

import "muster/shard"

// Install says: what came with it, staged beside your log, is all that the records of my log up to Base have come to. It
// takes the place of a log that ends below Base.
type Install struct {
	Shard shard.ID
	Epoch shard.Epoch
	From  shard.CopyID // the primary's copy
	To    shard.CopyID
	Base  shard.Position
}

// Start says that the owner lets the log start after lsn from now on; what the records up to there came to is kept apart,
// durably. It returns false, and nothing has changed, unless lsn is beyond the present start, confirmed and durable here.
//
// No Append that leaves afterwards begins at or below lsn. A peer that would need one is sent the shard snapshot.
func (c *Copy) Start(lsn shard.LSN) (Effects, bool) {
	var e Effects
	if lsn <= c.log.base.LSN || lsn > min(c.log.confirmed, c.log.durable) {
		return e, false
	}
	c.log.start(lsn)
	if c.leading != nil {
		for i := range c.leading.peers {
			if p := &c.leading.peers[i]; p.filling || p.position() < lsn {
				c.fill(p, &e)
			}
		}
	}
	return e, true
}

// Offer judges a part of a shard snapshot before the owner stages it: true when the copy can do with it. It is refused, or
// answered like an Append that the copy knows already, in the Effects.
func (c *Copy) Offer(m Install) (Effects, bool) {
	var e Effects
	if why := c.unwelcome(&m); why != 0 {
		e.Nacks = []Nack{{
			Shard: c.shard, Copy: c.id, Epoch: m.Epoch, Why: why, Promised: c.log.promised, Last: c.log.last,
			History: c.log.tail(c.log.last.LSN),
		}}
		return e, false
	}
	if c.promise(m.Epoch, &e) {
		e.Write = c.log.write(Write{Promise: m.Epoch})
	}
	f, base := &c.following, m.Base
	f.epoch, f.primary = m.Epoch, m.From
	if base.LSN > c.log.confirmed && !c.log.holds(base) {
		return e, true
	}
	f.matched, f.owes = max(f.matched, base.LSN), true
	c.answer(&e)
	return e, false
}

// Install replaces the log by what was staged, unless the copy can do without. Until that is durable the copy
// acknowledges only what it had, and a crash brings the old log back.
func (c *Copy) Install(m Install) Effects {
	e, wanted := c.Offer(m)
	if !wanted {
		return e
	}
	f := &c.following
	c.log.install(m.Base, max(c.log.confirmed, f.matched))
	f.matched, f.owes = m.Base.LSN, true
	e.Merge(Effects{Write: c.log.write(Write{Install: m.Base}), Confirmed: c.log.confirmed})
	c.answer(&e)
	return e
}

// unwelcome says why m is not for this copy; 0 when it is.
func (c *Copy) unwelcome(m *Install) Why {
	if why := c.foreign(m.Shard, m.To, m.Epoch, m.From); why != 0 {
		return why
	}
	switch base := m.Base; {
	case base.LSN == 0 || base.Epoch == 0 || base.Epoch > m.Epoch:
		return Impossible
	case base.LSN <= c.log.confirmed && !c.log.holds(base):
		return Impossible // a snapshot without something that is confirmed
	}
	return 0
}

// fill begins to send the shard snapshot to a peer, or repeats the wish: its log ends below the start of this one.
func (c *Copy) fill(p *peer, e *Effects) {
	base := c.log.base
	p.filling, p.probing, p.probed, p.next = true, true, base.LSN, base.LSN+1
	e.Installs = append(e.Installs, Install{Shard: c.shard, Epoch: c.leading.Epoch, From: c.id, To: p.copy, Base: base})
}

// Filling notes that a peer to which the shard snapshot is being sent answers, without having all of it. It returns false
// when the peer is not, or no more, to be sent one in that epoch.
func (c *Copy) Filling(id shard.CopyID, of shard.ID, epoch shard.Epoch) bool {
	p := c.sender(id, of, epoch)
	if p == nil || !p.filling {
		return false
	}
	p.heard()
	return true
}

// start drops the records up to lsn.
func (l *log) start(lsn shard.LSN) {
	l.base = l.at(lsn)
	l.history = l.history.After(l.base)
}

// install replaces the log by an empty one that starts after base. The disk holds the old one until the write is synced:
// of that only what the primary has, too, goes on to count.
func (l *log) install(base shard.Position, shared shard.LSN) {
	l.base, l.last, l.history, l.confirmed = base, base, shard.History(nil).After(base), base.LSN
	l.durable = min(l.durable, shared)
	for i := range l.writes {
		l.writes[i].end = min(l.writes[i].end, shared)
	}
}

package replication

import "muster/shard"

// following is what a replica knows of the primary of the epoch it has promised. It lives in memory: after a restart the
// first Append fills it again.
//
// Invariant: matched ≤ the log's end, and acked ≤ both matched and the durable end.
type following struct {
	epoch    shard.Epoch  // 0 while the primary of the promised epoch has not been heard of
	primary  shard.CopyID // who leads that epoch
	matched  shard.LSN    // up to here the log is the primary's
	acked    shard.LSN    // the highest LSN acknowledged
	round    uint64       // the newest round asked for
	answered uint64       // the newest round acknowledged
	owes     bool         // an Append was taken and matched is not acknowledged yet
}

// Append takes what the primary of an epoch sends, or says why not. The Ack leaves in these or later Effects, when
// everything it claims is durable.
func (c *Copy) Append(m Append) Effects {
	var e Effects
	if why := c.refusal(&m); why != 0 {
		e.Nacks = []Nack{c.nack(&m, why)}
		return e
	}
	var w Write
	if c.promise(m.Epoch, &e) {
		w.Promise = m.Epoch
	}
	why := c.misfit(&m)
	if why == 0 {
		c.take(&m, &w, &e)
	} else {
		e.Nacks = []Nack{c.nack(&m, why)}
	}
	if w.Promise != 0 || len(w.Records) > 0 {
		e.Write = c.log.write(w)
	}
	c.answer(&e)
	return e
}

// refusal says why m is not for this copy, whatever it carries; 0 when it is.
func (c *Copy) refusal(m *Append) Why {
	if why := c.foreign(m.Shard, m.To, m.Epoch, m.From); why != 0 {
		return why
	}
	if !m.wellFormed() {
		return Impossible
	}
	return 0
}

// foreign says why this copy takes nothing of a message by its address; 0 when it may.
func (c *Copy) foreign(of shard.ID, to shard.CopyID, epoch shard.Epoch, from shard.CopyID) Why {
	switch {
	case to != c.id || of != c.shard:
		return WrongCopy
	case epoch < c.log.promised:
		return StaleEpoch
	case c.led == epoch:
		return Impossible // two primaries in one epoch: this process led it
	case c.following.epoch == epoch && c.following.primary != from:
		return Impossible
	}
	return 0
}

// misfit says why m's records do not join this log; 0 when they do. A record that contradicts a confirmed one is refused
// here, before anything is stored: nothing ever cuts below the confirmed LSN.
func (c *Copy) misfit(m *Append) Why {
	switch {
	case m.Prev.LSN > c.log.last.LSN:
		return Gap
	case !c.log.holds(m.Prev):
		return Conflict
	}
	if fresh := m.Records[c.known(m):]; len(fresh) > 0 && fresh[0].LSN <= c.log.confirmed {
		return Impossible
	}
	return 0
}

// known counts the records at the start of m that the log has already.
func (c *Copy) known(m *Append) int {
	n := 0
	for n < len(m.Records) && c.log.holds(m.Records[n].Position) {
		n++
	}
	return n
}

// take adds what is new in m. Records met again stay: cutting them would take back an earlier Ack, because a delayed
// Append may be older than what the log got since. Only from the first record that differs on is the log cut.
func (c *Copy) take(m *Append, w *Write, e *Effects) {
	fresh := m.Records[c.known(m):]
	if len(fresh) > 0 {
		if first := fresh[0].LSN; first <= c.log.last.LSN {
			w.Truncate = first
			c.log.truncate(first)
		}
		c.log.extend(fresh)
		w.Records = fresh
	}
	f := &c.following
	f.epoch, f.primary, f.owes = m.Epoch, m.From, true
	f.matched = max(f.matched, m.end())
	f.round = max(f.round, m.Round)
	c.learn(min(m.Confirmed, f.matched), e)
}

// learn notes that the log is confirmed up to lsn.
func (c *Copy) learn(lsn shard.LSN, e *Effects) {
	if lsn > c.log.confirmed {
		c.log.confirmed = lsn
		e.Confirmed = lsn
	}
}

// answer acknowledges what is durable of what the primary is known to have. It is silent while the promise is not durable,
// and while a write under way is all there would be to tell: Durable comes back here. Rounds do not wait for records.
func (c *Copy) answer(e *Effects) {
	f := &c.following
	lsn := min(f.matched, c.log.durable)
	news := lsn == f.matched || lsn > f.acked || f.round > f.answered
	if !f.owes || !news || c.log.kept < f.epoch {
		return
	}
	e.Acks = append(e.Acks, Ack{Shard: c.shard, Copy: c.id, Epoch: f.epoch, LSN: lsn, Round: f.round})
	f.acked, f.answered, f.owes = lsn, f.round, lsn < f.matched
}

func (c *Copy) nack(m *Append, why Why) Nack {
	return Nack{
		Shard: c.shard, Copy: c.id, Epoch: m.Epoch, Why: why,
		Promised: c.log.promised, Last: c.log.last, History: c.log.tail(m.Prev.LSN),
	}
}

package replication

import (
	"slices"

	"muster/shard"
)

// Leadership is what the control group says about an epoch and the copy that leads it.
type Leadership struct {
	Epoch       shard.Epoch
	Version     shard.ConfigVersion
	Copies      []shard.CopyID // C, the leading copy among them
	WriteQuorum int            // w: never clamped to the copies that happen to answer
	Learners    []Learner      // receive what the copies receive, and never count

	// The type's write quorum, 0 for WriteQuorum, and what an operator allows below it; see shard.Quorums.
	Full, Floor int
}

// quorumFor returns the write quorum of a next C of so many copies, 0 when there may be no such C.
func (l *Leadership) quorumFor(copies int) int {
	return shard.Quorums{Now: l.WriteQuorum, Full: l.Full, Floor: l.Floor}.For(copies)
}

func (l *Leadership) check(self shard.CopyID) *shard.Error {
	sorted := slices.Sorted(slices.Values(l.Copies))
	switch {
	case len(sorted) > shard.MaxReplicas+1:
		return shard.Invalid("%d copies, at most %d", len(sorted), shard.MaxReplicas+1)
	case l.WriteQuorum < 1 || l.WriteQuorum > len(sorted):
		return shard.Invalid("write quorum %d of %d copies", l.WriteQuorum, len(sorted))
	case len(slices.Compact(sorted)) != len(l.Copies):
		return shard.Invalid("copies %v name one twice", l.Copies)
	case !slices.Contains(l.Copies, self):
		return shard.Invalid("copy %d is not one of %v", self, l.Copies)
	case len(l.Learners) > shard.MaxReplicas+1:
		return shard.Invalid("%d learners, at most %d", len(l.Learners), shard.MaxReplicas+1)
	}
	return nil
}

// leading is a copy's time as the primary of one epoch.
//
// Only records from start on are counted: a record of an older epoch is confirmed through one of this epoch that stands
// after it. Counting it by itself would confirm what a later election may still cut (Raft's figure 8).
type leading struct {
	Leadership
	start       shard.LSN      // the epoch-start record
	established bool           // w copies hold it
	active      bool           // the control group has activated the epoch. With both: serve, confirm, answer reads
	waited      int            // ticks that it has been active without being established
	peers       []peer         // the other members of C, in the order of Copies, then the learners
	change      []shard.CopyID // the C that was proposed and not decided yet; nil for none

	asked    uint64 // the newest round sent; one is under way while verified < asked
	verified uint64
	waiting  bool // somebody read since asked was sent: another round follows
}

func (l *leading) peer(id shard.CopyID) *peer {
	i := slices.IndexFunc(l.peers, func(p peer) bool { return p.copy == id })
	if i < 0 {
		return nil
	}
	return &l.peers[i]
}

// quorum returns the highest value that w copies of C have reached, and as many copies of the C that is proposed as its own
// write quorum says. The primary is one of them; its own part is the caller's to add. With w = 1 it is unbounded.
func (l *leading) quorum(reached func(*peer) uint64) uint64 {
	q := l.quorumIn(l.WriteQuorum, func(p *peer) bool { return p.member }, reached)
	if l.change != nil {
		q = min(q, l.quorumIn(l.quorumFor(len(l.change)), func(p *peer) bool { return p.wanted }, reached))
	}
	return q
}

func (l *leading) quorumIn(quorum int, counts func(*peer) bool, reached func(*peer) uint64) uint64 {
	if quorum == 1 {
		return ^uint64(0)
	}
	var values [shard.MaxReplicas]uint64
	n := 0
	for i := range l.peers {
		if p := &l.peers[i]; counts(p) {
			values[n] = reached(p)
			n++
		}
	}
	if n < quorum-1 {
		return 0 // a learner of the proposed C is gone: nothing is confirmed until the map decides
	}
	sorted := values[:n]
	slices.Sort(sorted)
	return sorted[n-(quorum-1)]
}

// indispensable reports whether every election needs this copy's own word: with a write quorum of one, and none higher proposed.
func (l *leading) indispensable() bool {
	return l.WriteQuorum == 1 && (l.change == nil || l.quorumFor(len(l.change)) == 1)
}

func matched(p *peer) uint64  { return uint64(p.match) }
func answered(p *peer) uint64 { return p.round }

// Lead makes the copy the primary of an epoch that names this process: it promises the epoch and appends the epoch-start
// record. Effects.Established follows when w copies hold it. Leading the same epoch again is no change.
//
// It fails with CodeConflict when the copy has promised a higher epoch, follows another primary of this one, or has records
// of it that this leadership did not write: those may be acknowledged elsewhere in a form that was lost here. It fails with
// CodeInvalid when l is not a configuration this copy can lead.
func (c *Copy) Lead(l Leadership) (Effects, error) {
	var e Effects
	if c.leading != nil && c.leading.Epoch == l.Epoch {
		return e, nil
	}
	if err := l.check(c.id); err != nil {
		return e, err
	}
	if l.Epoch < c.log.promised || l.Epoch <= c.log.last.Epoch || l.Epoch == c.following.epoch {
		return e, c.fault(shard.CodeConflict, l.Epoch, "copy %d cannot lead: it promised epoch %d, follows epoch %d, its log ends at %s",
			c.id, c.log.promised, c.following.epoch, c.log.last)
	}
	var w Write
	if c.promise(l.Epoch, &e) {
		w.Promise = l.Epoch
	}
	c.led = l.Epoch
	c.leading = c.takeOver(l)
	w.Records = []Record{{Kind: KindEpochStart}}
	e.Merge(c.append(w))
	for i := range c.leading.peers {
		c.probe(&c.leading.peers[i], &e)
	}
	return e, nil
}

func (c *Copy) takeOver(l Leadership) *leading {
	start := c.log.last.LSN + 1
	led := &leading{Leadership: l, start: start, asked: c.rounds, verified: c.rounds}
	led.peers = led.gather(c.id, start)
	return led
}

// append gives w's records their places, writes them and sends them on.
func (c *Copy) append(w Write) Effects {
	var e Effects
	for i := range w.Records {
		w.Records[i].Position = shard.Position{Epoch: c.leading.Epoch, LSN: c.log.last.LSN + 1 + shard.LSN(i)}
	}
	c.log.extend(w.Records)
	e.Write = c.log.write(w)
	e.Appends = make([]Outgoing, 0, len(c.leading.peers))
	for i := range c.leading.peers {
		c.send(&c.leading.peers[i], &e)
	}
	return e
}

// Activate says that the control group has activated the epoch this copy leads: it may serve, confirm and answer reads as soon
// as w copies hold the epoch-start record, which they do by then unless the epoch was handed over. Without a leadership it does
// nothing.
func (c *Copy) Activate(version shard.ConfigVersion) Effects {
	var e Effects
	if c.leading != nil {
		c.leading.active = true
		c.leading.Version = max(c.leading.Version, version)
		c.confirm(&e)
	}
	return e
}

// Propose appends records, setting their positions in place; the records and their bodies belong to the copy from then
// on. Outputs that depend on one wait until Effects.Confirmed reaches its LSN.
//
// It fails with CodeUnavailable while the copy does not serve and with CodeOverloaded when MaxUnconfirmed records wait;
// nothing was appended then.
func (c *Copy) Propose(records []Record) (Effects, error) {
	if !c.serving() {
		return Effects{}, c.fault(shard.CodeUnavailable, c.log.promised, "copy %d does not serve", c.id)
	}
	if waiting := c.log.last.LSN - c.log.confirmed; waiting+shard.LSN(len(records)) > MaxUnconfirmed {
		return Effects{}, c.fault(shard.CodeOverloaded, c.leading.Epoch, "%d records wait for confirmation", waiting)
	}
	if len(records) == 0 {
		return Effects{}, nil
	}
	return c.append(Write{Records: slices.Clip(records)}), nil
}

func (c *Copy) serving() bool { return c.leading != nil && c.leading.active && c.leading.established }

// Ack takes a peer's word for what it holds. One of another epoch is dropped, and so is one beyond the log.
func (c *Copy) Ack(m Ack) Effects {
	var e Effects
	p := c.sender(m.Copy, m.Shard, m.Epoch)
	if p == nil || m.LSN > c.log.last.LSN || m.Round > c.leading.asked {
		return e
	}
	p.acked(m, c.log.base.LSN)
	c.confirm(&e)
	c.send(p, &e)
	c.verify(&e)
	return e
}

// Nack takes a peer's refusal: after a gap or a conflict the primary goes on from the newest position that both logs
// share. A peer that has promised a higher epoch proves that this one is over.
func (c *Copy) Nack(m Nack) Effects {
	var e Effects
	p := c.sender(m.Copy, m.Shard, m.Epoch)
	if p == nil {
		return e
	}
	p.refused = m.Why
	switch {
	case m.Why == StaleEpoch && m.Promised > m.Epoch:
		c.stop(&e)
	case m.Why == Gap || m.Why == Conflict:
		p.heard()
		p.mute = 0
		c.goOn(p, c.log.common(m.Last.LSN, m.History), &e)
	}
	return e
}

// goOn sends a peer whatever follows the newest position that it may share, unless that is under way already.
func (c *Copy) goOn(p *peer, shared shard.LSN, e *Effects) {
	shared = max(shared, p.match)
	switch {
	case shared < c.log.base.LSN && !p.filling:
		c.fill(p, e)
	case shared < c.log.base.LSN || p.probing && !p.filling && p.probed == shared:
	default:
		p.rewind(shared)
		c.probe(p, e)
	}
}

// sender returns the peer whose answer this is, nil when the answer is not for this leadership.
func (c *Copy) sender(id shard.CopyID, of shard.ID, epoch shard.Epoch) *peer {
	if c.leading == nil || c.leading.Epoch != epoch || of != c.shard {
		return nil
	}
	return c.leading.peer(id)
}

// confirm finds the highest LSN that w copies hold durably, the primary among them. Before Activate it only establishes:
// an election may still be decided by the copy that led the last active epoch alone. Of an epoch that was handed over Activate
// comes first, for this copy is the one whose word is then enough.
func (c *Copy) confirm(e *Effects) {
	l := c.leading
	held := min(c.log.durable, shard.LSN(l.quorum(matched)))
	if held < l.start {
		return
	}
	if !l.established {
		l.established, e.Established = true, true
	}
	if l.active {
		c.learn(held, e)
	}
}

// Read begins a round of confirmed reads, or joins the next one while a round is under way, and returns its number. Once
// Effects.Round reaches it, this copy was still the primary after Read was called: what was confirmed then may be
// answered. A leadership that ends leaves its rounds unverified. It returns 0 while the copy does not serve. With a write
// quorum of one every election needs this copy's own word, so the round is verified at once; unless a C is proposed that may
// elect without it.
func (c *Copy) Read() (uint64, Effects) {
	var e Effects
	if !c.serving() {
		return 0, e
	}
	l := c.leading
	switch {
	case l.indispensable():
		c.rounds++
		e.Round = c.rounds
		return e.Round, e
	case l.verified < l.asked:
		l.waiting = true
		return l.asked + 1, e
	}
	c.begin(&e)
	return l.asked, e
}

// begin sends a new round to every peer.
func (c *Copy) begin(e *Effects) {
	c.rounds++
	c.leading.asked, c.leading.waiting = c.rounds, false
	for i := range c.leading.peers {
		c.ask(&c.leading.peers[i], e)
	}
}

// verify notes a round that w copies have answered, the primary by still leading, and begins the next if one is awaited.
func (c *Copy) verify(e *Effects) {
	l := c.leading
	done := min(l.asked, l.quorum(answered))
	if done <= l.verified {
		return
	}
	l.verified, e.Round = done, done
	if l.waiting && l.verified == l.asked {
		c.begin(e)
	}
}

// Tell tells the peers what is confirmed, as far as no record has carried it to them, and reports whether all know it or will
// with what is under way. Tick does so too, and later.
func (c *Copy) Tell() (e Effects, all bool) {
	if c.leading == nil {
		return e, true
	}
	all = true
	for i := range c.leading.peers {
		switch p := &c.leading.peers[i]; {
		case p.told >= c.log.confirmed:
		case p.probing:
			all = false
		default:
			c.ask(p, &e)
		}
	}
	return e, all
}

// Tick lets TickInterval pass. When a member of C is asked again the others are doubted: whether it may be left out depends on who
// else answers, and who owes nothing does not show that.
func (c *Copy) Tick() Effects {
	var e Effects
	if c.leading == nil {
		return e
	}
	if c.leading.active && !c.leading.established {
		c.leading.waited++
	}
	overdue := slices.ContainsFunc(c.leading.peers, func(p peer) bool { return p.member && p.silent+1 >= p.due })
	for i := range c.leading.peers {
		p := &c.leading.peers[i]
		switch {
		case p.mute > 0:
			p.mute++
		case overdue && p.member:
			p.mute = 1
		}
		c.tick(p, &e)
	}
	return e
}

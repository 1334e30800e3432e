package simulation

import (
	"slices"
	"time"

	"muster/fsm"
	"muster/shard"
)

// sacrifice is what the checker knows of a shard that went on without copies that may hold confirmed records.
type sacrifice struct {
	before   shard.Placement // the newest placement
	accepted shard.Epoch     // the newest in which an operator accepted a loss
	forsaken shard.Epoch     // the newest that began without some copies
	went     chain           // the log it went on with then, or those that may be elected have it
	lost     time.Duration   // when confirmed records were given up last, 0 for never
}

// outlived reports whether a copy has a past that is not the shard's any more: it has promised no epoch since the shard went on
// without some copies, and may be one of them.
func (t *truth) outlived(h *host) bool { return h.copy.Status().Promised < t.forsaken }

// silenced judges a primary that confirms something in an epoch that the shard went on without: no output of it leaves, unless it is
// about what the shard went on with. Such a record was acknowledged before the copy promised another epoch, and is confirmed.
func (c *checker) silenced(h *host, lsn shard.LSN) {
	t := c.of(h.shard)
	switch {
	case h.serves == nil || h.muted():
	case lsn > t.went.end() || h.log.at(lsn) != t.went.at(lsn):
		c.w.fail("I6: %s on %s confirms %d, and the shard went on without it: its lease is over for less than its autonomy", h.shard, h.p.n.id, lsn)
	default:
		t.confirm(h, lsn)
	}
}

// uncleanly judges a shard that goes on without copies: an operator or its type has accepted that, nobody who is left holds more than
// the history says, and who is not left is named and kept aside. What only those held is not confirmed any more, and what clients
// were told until now may be gone.
func (c *checker) uncleanly(p *shard.Placement) {
	t := c.of(p.Shard)
	before := t.before
	if t.before = *p; p.Epoch == t.forsaken {
		return
	}
	switch p.Cause {
	case shard.CauseUnclean:
		c.w.counts.Forsaken++
	case shard.CauseLossy:
		c.w.counts.Lossy++
	case shard.CauseEmptied:
		c.w.counts.Emptied++
		c.unreachable(&before)
	default:
		return
	}
	accepted := t.accepted == before.Epoch
	if p.Cause == shard.CauseLossy {
		accepted = c.w.setup.spec(p.Shard.Type).LossyAfter > 0
	}
	if !accepted {
		c.w.fail("I10: %s goes on without copies (%s), and nobody has accepted that", p.Shard, p.Cause)
	}
	t.forsaken = p.Epoch
	history := c.w.raft.state().History(p.Shard)
	c.named(&before, p, &history[len(history)-1])
	common := c.left(p, &history[len(history)-1])
	if end := t.confirmed.end(); common < end {
		c.w.log("%s goes on without confirmed records %d to %d", p.Shard, common+1, end)
		c.w.counts.Lost++
		t.confirmed.cut(common + 1)
		t.in = t.in[:common]
		t.lost = c.w.now
	}
}

// unreachable judges a shard that begins with nothing: none of its copies could be reached.
func (c *checker) unreachable(before *shard.Placement) {
	view := c.w.raft.state().View
	for _, x := range before.Copies {
		if m := view.Members[x.Node]; x.State == shard.CopyReady && view.Up(x.Node) && m.Directory == x.Directory {
			c.w.fail("I10: %s begins with nothing, and its copy %d on %s can be reached", before.Shard, x.ID, x.Node)
		}
	}
}

// named judges what is said of the copies that a shard goes on without: each is kept aside, and its history has each of them.
func (c *checker) named(before, p *shard.Placement, said *fsm.Change) {
	gone := before.Copies
	for _, l := range before.Learners {
		if l.Copy.State == shard.CopyReady {
			gone = append(slices.Clip(gone), l.Copy)
		}
	}
	for _, x := range gone {
		if _, stays := p.Copy(x.ID); stays {
			continue
		}
		_, aside := p.KeptAside(x.ID)
		if !aside || said.Epoch != p.Epoch || !slices.ContainsFunc(said.GivenUp, func(s fsm.Seat) bool { return s.Copy == x.ID }) {
			c.w.fail("I10: %s goes on without copy %d, kept aside %t, and its history has %+v", p.Shard, x.ID, aside, said)
		}
	}
}

// left returns up to where what was confirmed is still there, and notes the log that the shard goes on with: the one that its history
// names. No copy that stays may have more.
func (c *checker) left(p *shard.Placement, said *fsm.Change) shard.LSN {
	t := c.of(p.Shard)
	t.went = chain{}
	if p.Cause == shard.CauseEmptied {
		return 0
	}
	most, found := shard.LSN(0), false
	for _, x := range p.Copies {
		log := &c.copies[x.ID].log
		common := min(log.end(), t.confirmed.end())
		for common > 0 && log.at(common) != t.confirmed.at(common) {
			common--
		}
		most = max(most, common)
		if log.has(said.Base) {
			t.went, found = log.shared(), true
		}
	}
	if !found || said.Cause == shard.CauseLossy && most > said.Base.LSN {
		c.w.fail("I10: %s goes on from %s, as its history says, and %d confirmed records are left", p.Shard, said.Base, most)
	}
	return most
}

// has reports whether the log has a record at the position, or none is asked for.
func (c *chain) has(at shard.Position) bool {
	return at.LSN == 0 || at.LSN <= c.end() && c.records[at.LSN-1].Position == at
}

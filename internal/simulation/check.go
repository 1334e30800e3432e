package simulation

import (
	"slices"
	"time"

	"muster/region/route"
	"muster/replication"
	"muster/shard"
)

// checker holds what was ever true of each shard, and judges each step by it. The numbers are those of the invariants in
// docs/protocol.md.
type checker struct {
	w      *world
	shards map[shard.ID]*truth
	copies map[shard.CopyID]*stored // every copy that was ever created, wiped ones too
	meet   rendezvous
}

// truth is what the checker knows of a shard.
type truth struct {
	known     map[shard.Position]uint64 // the hash of the log up to each record ever written
	leaders   map[shard.Epoch]*host
	confirmed chain                // what was confirmed, by any primary
	in        []shard.Epoch        // for each record of it, the epoch that confirmed it first
	activated shard.Epoch          // the newest epoch that was active in the map
	active    shard.Epoch          // the newest epoch that serves
	start     shard.LSN            // where its log ended when it began to
	given     map[shard.Epoch]bool // epochs whose primary stepped down for good
	epoch     shard.Epoch
	version   shard.ConfigVersion
	output    serving // of a volatile shard

	reconfigured shard.ConfigVersion // the newest that a change of C made
	sacrifice
}

func newChecker(w *world) *checker {
	return &checker{w: w, shards: map[shard.ID]*truth{}, copies: map[shard.CopyID]*stored{}, meet: newRendezvous()}
}

func (c *checker) of(id shard.ID) *truth {
	t := c.shards[id]
	if t == nil {
		t = &truth{known: map[shard.Position]uint64{}, leaders: map[shard.Epoch]*host{}, given: map[shard.Epoch]bool{}}
		c.shards[id] = t
	}
	return t
}

func (c *checker) created(s *stored) { c.copies[s.id] = s }

// removed judges a copy whose data go: nobody counts on them.
func (c *checker) removed(id shard.CopyID) {
	s := c.copies[id]
	if found, named := route.Named(c.w.raft.state().View.Placement(s.shard), id); named && found.State != shard.CopyLost {
		c.w.fail("I8: %s: copy %d is removed, it is %s and counts", s.shard, id, found.State)
	}
}

// placed judges placements as they are committed. I2: epoch and version never go back. I9, I16 are Placement.Check's.
func (c *checker) placed(changed []shard.Placement) {
	for i := range changed {
		p := &changed[i]
		t := c.of(p.Shard)
		if p.Epoch < t.epoch || (p.Epoch == t.epoch && p.Version < t.version) {
			c.w.fail("I2: %s goes back from epoch %d version %d to %d, %d", p.Shard, t.epoch, t.version, p.Epoch, p.Version)
		}
		begun := p.Status == shard.Active && p.Epoch != t.activated
		c.handed(p)
		c.gone(p)
		t.epoch, t.version = p.Epoch, p.Version
		c.keeps(p)
		c.uncleanly(p)
		if begun {
			t.activated = p.Epoch
			c.decides(p)
		}
	}
}

// decides judges an epoch as it becomes active. I4: the copy whose word alone decides the next election holds what is confirmed.
func (c *checker) decides(p *shard.Placement) {
	end := c.of(p.Shard).confirmed.end()
	s := c.copies[p.Primary]
	if end == 0 || p.Primary == 0 {
		return
	}
	if s == nil || s.log.end() < end || s.log.at(end) != c.of(p.Shard).confirmed.at(end) {
		c.w.fail("I4: %s epoch %d is active, and its copy %d does not hold what is confirmed up to %d", p.Shard, p.Epoch, p.Primary, end)
	}
}

// leads notes who leads. I1: one primary in an epoch, and none in one whose primary stepped down. One that was cut off may hear late
// that it was to lead, when others have long done so: it will not serve.
func (c *checker) leads(h *host, epoch shard.Epoch) {
	t := c.of(h.shard)
	if other := t.leaders[epoch]; other != nil && other != h {
		c.w.fail("I1: %s epoch %d is led by copies %d and %d", h.shard, epoch, other.id, h.id)
	}
	if t.given[epoch] {
		c.w.fail("I1: %s epoch %d is led by copy %d, and its primary stepped down for good", h.shard, epoch, h.id)
	}
	t.leaders[epoch] = h
	c.w.log("%s: %s: leads epoch %d from %d", h.p.n.id, h.shard, epoch, h.log.end())
}

// givesUp judges a primary that steps down for good. I13: the copy that is to lead holds all there is, as the primary has
// it, and counts. One that does not know that its epoch is over hands nothing over: the group refuses it.
func (c *checker) givesUp(h *host, to shard.CopyID) {
	t := c.of(h.shard)
	s := c.copies[to]
	if end := h.log.end(); h.term.epoch == t.epoch && (s == nil || s.log.end() < end || s.log.at(end) != h.log.at(end) || t.confirmed.end() != end) {
		c.w.fail("I13: %s epoch %d is handed over to copy %d, which does not hold all %d records", h.shard, h.term.epoch, to, end)
	}
	if _, member := c.w.raft.state().View.Placement(h.shard).Copy(to); h.term.epoch == t.epoch && !member {
		c.w.fail("I13: %s epoch %d is handed over to copy %d, which is not in C any more", h.shard, h.term.epoch, to)
	}
	t.given[h.term.epoch] = true
}

// handed judges an epoch that a hand-over begins: no other is active at once. I13: the primary of the one before has stepped down.
func (c *checker) handed(p *shard.Placement) {
	t := c.of(p.Shard)
	if (p.Cause == shard.CauseHandedOver || p.Status == shard.Active) && p.Epoch > t.epoch && p.WriteQuorum > 0 && !t.given[p.Epoch-1] {
		c.w.fail("I13: %s epoch %d is handed over, and its primary has not stepped down", p.Shard, p.Epoch-1)
	}
}

// record judges a record as it is written. I3: one position, one history.
func (c *checker) record(id shard.ID, at shard.Position, hash uint64) {
	t := c.of(id)
	if known, found := t.known[at]; found && known != hash {
		c.w.fail("I3: %s has two logs that end at %s", id, at)
	}
	t.known[at] = hash
}

// truncates judges a cut. I6: never below what the copy knows to be confirmed, and never a confirmed record, but by a copy that was not
// counted: one that the map does without may still follow a primary of long ago, and one that has not promised the epoch
// that confirmed the record may still hear from the primary of an epoch before, which had another in its place.
func (c *checker) truncates(h *host, lsn shard.LSN) {
	t := c.of(h.shard)
	if lsn <= c.vowed(h) {
		c.w.fail("I7: %s on %s cuts at %d, it has acknowledged %d to the primary of this epoch", h.shard, h.p.n.id, lsn, h.from.acked)
	}
	if lsn <= h.confirmed {
		c.w.fail("I6: %s on %s cuts at %d, it knew %d to be confirmed", h.shard, h.p.n.id, lsn, h.confirmed)
	}
	_, counts := route.Named(c.w.raft.state().View.Placement(h.shard), h.id)
	if counts && lsn <= t.confirmed.end() && t.in[lsn-1] <= h.copy.Status().Promised && lsn <= h.log.end() && h.log.at(lsn) == t.confirmed.at(lsn) {
		c.w.fail("I6: %s on %s cuts record %d, which is confirmed", h.shard, h.p.n.id, lsn)
	}
}

// effects judges what a call of the copy gave.
func (c *checker) effects(h *host, e *replication.Effects) {
	if err := h.copy.Check(); err != nil {
		c.w.fail("%s on %s: %v", h.shard, h.p.n.id, err)
	}
	for _, a := range e.Acks {
		c.acks(h, a)
	}
	for _, s := range e.Sealed {
		c.seals(h, s)
	}
	if e.Confirmed != 0 {
		c.confirms(h, e.Confirmed)
		h.confirmed = e.Confirmed
	}
}

// vowed is what a copy has acknowledged to the primary of the epoch it has promised: none of that may go.
func (c *checker) vowed(h *host) shard.LSN {
	if h.from.epoch != h.copy.Status().Promised {
		return 0
	}
	return h.from.acked
}

// acks judges an Ack as it leaves. I7: everything up to it is durable, as the primary of the epoch has it.
func (c *checker) acks(h *host, a replication.Ack) {
	c.present(h)
	if h.stored.promised < a.Epoch {
		c.w.fail("I7: %s on %s acknowledges in epoch %d, its durable promise is %d", h.shard, h.p.n.id, a.Epoch, h.stored.promised)
	}
	if h.stored.log.end() < a.LSN {
		c.w.fail("I7: %s on %s acknowledges %d, %d is durable", h.shard, h.p.n.id, a.LSN, h.stored.log.end())
	}
	if h.from.epoch == a.Epoch {
		h.from.acked = max(h.from.acked, a.LSN)
	}
	leader := c.of(h.shard).leaders[a.Epoch]
	if leader == nil {
		c.w.fail("I7: %s on %s acknowledges in epoch %d, which nobody leads", h.shard, h.p.n.id, a.Epoch)
	}
	// The leader's log of that epoch only grows while it leads; afterwards it may be cut.
	if leader.term != nil && leader.term.epoch == a.Epoch && leader.p.n.process == leader.p {
		if leader.log.end() < a.LSN || leader.log.at(a.LSN) != h.stored.log.at(a.LSN) {
			c.w.fail("I7: %s on %s acknowledges %d in epoch %d with another log than the primary's", h.shard, h.p.n.id, a.LSN, a.Epoch)
		}
	}
}

// present judges whoever answers: not a copy whose directory was set back, which has forgotten what it promised.
func (c *checker) present(h *host) {
	if h.stored.past {
		c.w.fail("I8: %s on %s answers by copy %d, whose directory was set back", h.shard, h.p.n.id, h.id)
	}
}

// seals judges a Sealed as it leaves: promise and log are durable. I2: the promise never goes back, over restarts too.
func (c *checker) seals(h *host, s shard.Sealed) {
	if s.Fault != nil {
		return
	}
	c.present(h)
	if h.stored.promised < s.Epoch {
		c.w.fail("I2: %s on %s seals epoch %d, its durable promise is %d", h.shard, h.p.n.id, s.Epoch, h.stored.promised)
	}
	// Once the primary of that epoch writes here the election is over, and what the answer says of the log no longer matters.
	if h.from.epoch < s.Epoch && (h.stored.log.end() < s.Last.LSN || c.of(h.shard).known[s.Last] != h.stored.log.at(s.Last.LSN)) {
		c.w.fail("%s on %s seals epoch %d with its log at %s, durable is %d", h.shard, h.p.n.id, s.Epoch, s.Last, h.stored.log.end())
	}
}

// activates judges a primary as it begins to serve. I4, I10: it holds everything that was confirmed, and nothing else there; I5: so do w
// copies of C, up to its first record. One
// that was cut off may hear late that its epoch was activated, when others have followed: it is a primary that does not know yet
// that it was deposed, and confirms and clients judge what comes of that.
func (c *checker) activates(h *host) {
	t := c.of(h.shard)
	epoch := h.term.epoch
	switch {
	case epoch == t.active:
		c.w.fail("I10: %s epoch %d serves twice", h.shard, epoch)
	case epoch < t.active:
		c.w.log("%s: %s: believes that epoch %d serves, epoch %d does", h.p.n.id, h.shard, epoch, t.active)
		return
	}
	t.active, t.start = epoch, h.log.end()
	if p := c.w.raft.state().View.Placement(h.shard); p.Epoch == epoch {
		if n := c.holders(p, t.start, h.log.at(t.start)); n < p.WriteQuorum {
			c.w.fail("I5: %s epoch %d serves on %s, %d copies hold its first record, %d must", h.shard, epoch, h.p.n.id, n, p.WriteQuorum)
		}
	}
	end := t.confirmed.end()
	if h.log.end() < end || h.log.at(end) != t.confirmed.at(end) {
		c.w.fail("I4: %s epoch %d serves on %s without what was confirmed up to %d", h.shard, epoch, h.p.n.id, end)
	}
	c.w.log("%s: %s: serves epoch %d, log %d, confirmed before %d", h.p.n.id, h.shard, epoch, h.log.end(), end)
}

// confirms judges a confirmed LSN. I4, I6: what was confirmed before is still there; I5: w copies of C hold it durably.
func (c *checker) confirms(h *host, lsn shard.LSN) {
	t := c.of(h.shard)
	if t.outlived(h) {
		c.silenced(h, lsn)
		return
	}
	if both := min(lsn, t.confirmed.end()); h.log.end() < lsn || h.log.at(both) != t.confirmed.at(both) {
		c.w.fail("I6: %s on %s confirms %d with another log than was confirmed", h.shard, h.p.n.id, lsn)
	}
	if lsn <= t.confirmed.end() {
		return
	}
	status := h.copy.Status()
	if status.Promised < t.active && lsn > t.start {
		c.w.fail("I10: %s on %s confirms %d in epoch %d, epoch %d serves since %d", h.shard, h.p.n.id, lsn, status.Promised, t.active, t.start)
	}
	if status.Role != replication.Primary {
		c.w.fail("I5: %s on %s is told that %d is confirmed, no primary confirmed it", h.shard, h.p.n.id, lsn)
	}
	p := c.w.raft.state().View.Placement(h.shard)
	holders := c.holders(p, lsn, h.log.at(lsn))
	if holders < p.WriteQuorum {
		c.w.fail("I5: %s on %s confirms %d, %d copies hold it, %d must", h.shard, h.p.n.id, lsn, holders, p.WriteQuorum)
	}
	t.confirm(h, lsn)
}

// confirm notes that the primary h has confirmed its log up to lsn.
func (t *truth) confirm(h *host, lsn shard.LSN) {
	for _, r := range h.log.records[min(lsn, t.confirmed.end()):lsn] {
		t.confirmed.add(r)
		t.in = append(t.in, h.copy.Status().Promised)
	}
}

// due is what was confirmed when a read came to a primary.
type due struct {
	lsn  shard.LSN
	hash uint64
	at   time.Duration
	last shard.LSN // what the primary had
}

// reads notes what a read must see.
func (c *checker) reads(h *host) due {
	confirmed := &c.of(h.shard).confirmed
	return due{confirmed.end(), confirmed.at(confirmed.end()), c.w.now, h.log.end()}
}

// answers judges a read as its answer leaves. I12: the primary had all that was confirmed when the read came, whoever confirmed it.
func (c *checker) answers(h *host, d due) {
	t := c.of(h.shard)
	if t.outlived(h) || t.lost >= d.at && t.lost > 0 {
		return
	}
	if d.last < d.lsn || h.log.at(d.lsn) != d.hash {
		c.w.fail("I12: %s on %s answers a read that came at %.4fs from a log of %d, without what was confirmed up to %d", h.shard, h.p.n.id, d.at.Seconds(), d.last, d.lsn)
	}
}

// holders counts the copies of C that have held a log up to a record, by its hash.
func (c *checker) holders(p *shard.Placement, lsn shard.LSN, hash uint64) int {
	n := 0
	for _, x := range p.Copies {
		if s := c.copies[x.ID]; s != nil && s.log.end() >= lsn && s.log.at(lsn) == hash {
			n++
		}
	}
	return n
}

// keeps judges a C that takes another's place. I5: w copies of it hold what is confirmed, or a failover might not find it.
func (c *checker) keeps(p *shard.Placement) {
	t := c.of(p.Shard)
	end := t.confirmed.end()
	if p.Status != shard.Active || end == 0 || slices.Equal(p.Copies, t.before.Copies) {
		return
	}
	if n := c.holders(p, end, t.confirmed.at(end)); n < p.WriteQuorum {
		c.w.fail("I5: %s has another C in %d.%d, of which %d copies hold the confirmed record %d, %d must", p.Shard, p.Epoch, p.Version, n, end, p.WriteQuorum)
	}
}

// volatileOutput judges an output of a volatile shard: once a later epoch has let one leave, no earlier one does.
func (c *checker) volatileOutput(p *process, id shard.ID, epoch shard.Epoch) {
	t := c.of(id)
	if last := t.output; epoch < last.epoch {
		c.w.fail("%s: %s acts in epoch %d, %s acted in epoch %d %s before",
			id, p.n.id, epoch, last.node, last.epoch, c.w.now-last.at)
	}
	t.output = serving{epoch, p.n.id, c.w.now}
}

package region

import (
	"errors"
	"time"

	"muster/journal"
	"muster/replication"
	"muster/shard"
)

// A compaction lets the log of one copy, primary or replica, start later when it has become long, so that opening a node,
// the memory for where records are, and the file grow with what is new and not with the past. It goes in steps, one at a
// time for the whole node and each on a goroutine of its own, while the journal has little to do:
//
//   - coldStep, by the primary alone: snapshots of the entities that hold the log's start back. They are proposed like any.
//   - keepStep: what the records up to a position came to is put apart, the snapshots of entities and the requests of sessions.
//   - The log starts after that position, in memory and, durably, in the journal.
//
// Owned by the host.
type compaction struct {
	busy     bool
	goal     shard.LSN     // the log is to start after it, 0 while it is short enough
	await    shard.LSN     // snapshots that were proposed end here
	stuck    bool          // no more entities can be helped: the start moves as far as it goes
	pins     bool          // at the newest tick: a few old records hold back much of the journal's file
	again    time.Duration // not before, on the region's clock
	received time.Duration // when a part of a shard snapshot last came
}

// A step is work for a host that ran elsewhere; the host takes its result at the end of a batch.
type step interface {
	finish(h *host, now time.Duration)
}

// measure looks at the file once in a while.
func (k *compaction) measure(h *host, now time.Duration) {
	s := &h.storage
	k.pins = s.last > s.base && s.journal.Span(s.copy) > maxSpan
}

// excess returns the LSN after which the log should start, 0 when it is short enough.
func (h *host) excess() shard.LSN {
	s, l := &h.storage, &h.region.limits
	var goal shard.LSN
	switch {
	case h.storage.compaction.pins:
		goal = s.last
	case s.last-s.base > shard.LSN(l.Log):
		goal = s.last - shard.LSN(l.Log/2)
	}
	if s.length.bytes > l.LogBytes {
		goal = max(goal, s.length.tail(l.LogBytes/2))
	}
	return min(goal, s.confirmed, s.durable)
}

// compact takes the next step if the log is too long and nothing that matters more is under way.
func (h *host) compact(now time.Duration) {
	k, s := &h.storage.compaction, &h.storage
	if k.busy || now < k.again || s.confirmed < min(k.await, s.last) {
		return
	}
	if k.goal <= s.base {
		k.goal, k.stuck = h.excess(), false
	}
	if k.goal <= s.base {
		return
	}
	k.again = now + tickInterval
	receiving := k.received > 0 && now < k.received+fillPatience
	if receiving || s.installed > 0 || s.journal.Backlog() > maxUpkeep || h.filling(now) {
		return
	}
	start := s.heads.covered(min(k.goal, s.confirmed))
	switch {
	case start < k.goal && !k.stuck && h.def != nil && h.mayPropose():
		h.cool()
	case start > s.base && (start == k.goal || k.stuck || h.term == nil):
		h.putApart(start)
	default:
		k.goal, k.again = 0, now+compactAgain
		if k.stuck {
			k.again = now + compactFailed
		}
	}
}

// mayPropose reports whether this copy can add records to the log for its own sake.
func (h *host) mayPropose() bool { return h.term != nil && h.term.serving && !h.term.handing.Paused }

// begin starts a step if no other host is at one.
func (h *host) begin(t task) {
	select {
	case h.region.copies.upkeep <- struct{}{}:
		h.storage.compaction.busy = true
		h.region.workers.start(t)
	default:
	}
}

// over hands a step's result to its host and gives its place back.
func (h *host) over(s step) {
	<-h.region.copies.upkeep
	h.inbox.put(func(b *batch) { b.steps = append(b.steps, s) })
}

// keepStep puts apart what the records up to a position came to. A snapshot that holds some of them may stand behind the
// position; it is put apart as well, so that what is apart is whole by itself.
type keepStep struct {
	host      *host
	until     shard.LSN
	through   shard.LSN   // the snapshots are those up to here
	snapshots []shard.LSN // where the entities' newest confirmed ones are
	sessions  []remembered
	drops     []replication.Key
	batch     []replication.Record
	size      int
	err       error
}

// putApart begins to make the log ready to start after lsn.
func (h *host) putApart(lsn shard.LSN) {
	s, through := &h.storage, min(h.storage.confirmed, h.storage.durable)
	h.begin(&keepStep{
		host: h, until: lsn, through: through,
		snapshots: s.heads.newest(through), sessions: s.requests.due(lsn), drops: s.requests.gone,
	})
}

func (k *keepStep) work() {
	k.err = errors.New("it ended early")
	defer k.host.over(k)
	k.err = k.run()
}

func (k *keepStep) run() error {
	j, copy := k.host.region.cfg.Journal, k.host.copy
	for _, lsn := range k.snapshots {
		r, err := readOne(j, copy, lsn)
		if err == nil {
			err = k.add(r)
		}
		if err != nil {
			return err
		}
	}
	for i := range k.sessions {
		m := &k.sessions[i]
		if err := m.read(j, copy); err != nil {
			return err
		}
		if err := k.add(m.record(shard.Position{LSN: k.until})); err != nil {
			return err
		}
	}
	return k.store(k.drops)
}

// add puts a record apart, together with others up to the size that the journal takes.
func (k *keepStep) add(r replication.Record) error {
	size := r.EncodedSize() + len(r.Entity) + 16
	if len(k.batch) > 0 && k.size+size > journal.MaxKeepBytes {
		if err := k.store(nil); err != nil {
			return err
		}
	}
	k.batch, k.size = append(k.batch, r), k.size+size
	return nil
}

// store waits for the disk: that is what paces a compaction.
func (k *keepStep) store(drops []replication.Key) error {
	if len(k.batch)+len(drops) == 0 {
		return nil
	}
	done := make(chan error, 1)
	k.host.region.cfg.Journal.Keep(k.host.copy, k.batch, drops, func(err error) { done <- err })
	k.batch, k.size = k.batch[:0], 0
	return <-done
}

// finish lets the log start later.
func (k *keepStep) finish(h *host, now time.Duration) {
	c, s := &h.storage.compaction, &h.storage
	c.busy = false
	var damage *journal.DamagedError
	switch {
	case errors.As(k.err, &damage):
		h.region.damaged(h, k.err)
		return
	case k.err != nil:
		h.log.Warn("the log could not be shortened", "after", k.until, "error", k.err)
		c.again = now + compactFailed
		return
	}
	s.requests.gone = s.requests.gone[min(len(k.drops), len(s.requests.gone)):]
	s.requests.stored(k.sessions, k.until)
	s.heads.apart = k.through
	if h.filling(now) {
		return // the peer is sent what goes with the present start
	}
	effects, ok := h.protocol.Start(k.until)
	if !ok {
		return
	}
	h.log.Debug("the log starts later", "after", k.until, "before", s.base, "last", s.last)
	s.cut(k.until)
	h.do(effects)
	in := h.inbox // closed when the copy was retired or found damaged meanwhile, which the journal refuses and is no fault of the disk
	s.journal.Start(h.copy, k.until, func(err error) {
		if err != nil {
			in.put(func(b *batch) { b.durable = append(b.durable, durable{err: err}) })
		}
	})
}

// read fills in the answers whose records are still in the log.
func (m *remembered) read(j *journal.Journal, copy shard.CopyID) error {
	for i := range m.answers {
		a := &m.answers[i]
		if a.kept != nil {
			continue
		}
		r, err := readOne(j, copy, a.at)
		if err == nil {
			a.kept, err = keptIn(&r)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

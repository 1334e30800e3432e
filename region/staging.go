package region

import (
	"time"

	"muster/journal"
	"muster/replication"
)

// A part is a piece of the shard snapshot that a primary sends to this copy, because the log here ends below the start of
// the primary's. It is staged in the journal beside what the copy holds, and answered when it is durable there.
type part struct {
	of      replication.Install
	after   replication.Key // it holds what follows this key
	last    bool            // nothing follows
	records []replication.Record
	from    *ackStream
}

// end is the last key of the snapshot that the copy has with this part.
func (p *part) end() replication.Key {
	if n := len(p.records); n > 0 {
		return p.records[n-1].Key()
	}
	return p.after
}

// finish stages what follows what was staged before. A part that came before is answered again; one that leaves something out
// is answered with what there is. While the copy itself puts something apart it takes none: the snapshot would have to come
// after that, and the primary sends it again.
func (p *part) finish(h *host, now time.Duration) {
	h.out.upstream(p.of.Epoch, p.from)
	e, wanted := h.protocol.Offer(p.of)
	h.do(e)
	if !wanted || h.storage.compaction.busy || h.storage.installed > 0 {
		return
	}
	h.storage.compaction.received = now
	s, some := h.storage.journal.Staged(h.copy)
	if !some || s.Base != p.of.Base || s.Source != p.of.From {
		some, s = false, journal.Staging{Base: p.of.Base, Source: p.of.From}
	}
	switch order := p.after.Compare(s.Last); {
	case order > 0:
		p.answer(s.Last, true)
	case order < 0:
		p.answer(s.Last, false)
	case some && len(p.records) == 0:
		h.installed(p)
	default:
		in := h.inbox
		h.storage.journal.Stage(h.copy, s, p.records, func(err error) {
			in.put(func(b *batch) { b.steps = append(b.steps, &stagedPart{p, err}) })
		})
	}
}

// stagedPart is a part that was staged, or why not.
type stagedPart struct {
	of  *part
	err error
}

func (s *stagedPart) finish(h *host, _ time.Duration) {
	if s.err != nil {
		h.log.Warn("a part of the snapshot was not staged", "from", s.of.of.From, "error", s.err)
		return
	}
	s.of.answer(s.of.end(), false)
	h.installed(s.of)
}

// installed lets the snapshot take the log's place when p was the last part and is what the journal holds. The journal is told at once: what the
// batch brings next may be a part of another snapshot, which would be staged in place of this one.
func (h *host) installed(p *part) {
	s, some := h.storage.journal.Staged(h.copy)
	if !p.last || !some || s.Base != p.of.Base || s.Source != p.of.From || s.Last != p.end() || h.storage.compaction.busy {
		return
	}
	h.log.Info("the snapshot takes the place of the log", "from", p.of.From, "base", p.of.Base, "had", h.storage.last)
	h.do(h.protocol.Install(p.of))
	h.flush()
}

// answer tells the primary what of its snapshot is durable here.
func (p *part) answer(last replication.Key, gap bool) {
	p.from.queue.put(stagedMessage(&p.of, last, gap))
}

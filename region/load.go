package region

import (
	"errors"
	"fmt"

	"muster/entity"
	"muster/journal"
	"muster/replication"
	"muster/shard"
)

// A load makes an entity's cell from its newest confirmed snapshot, in the log or apart from it, and the records since, all
// durable on this copy. What it finds may not be confirmed yet: answers that saw it wait for that.
type load struct {
	host *host
	term *term
	of   *resident
	path *path
	base shard.Seq // of the snapshot it began with
	cell *entity.Cell
	err  error
}

// reload makes the entity's cell, and reports whether it is there. Otherwise its mailbox waits for the load.
func (h *host) reload(r *resident) bool {
	p := h.storage.path(r.id)
	if p == nil {
		r.cell = h.def.NewCell(r.id)
		return true
	}
	r.last = p.end()
	r.loading = true
	if r.last > h.storage.durable {
		h.term.stuck = append(h.term.stuck, r)
		return false
	}
	h.region.workers.start(&load{host: h, term: h.term, of: r, path: p})
	return false
}

// unstick loads the entities whose records have become durable.
func (h *host) unstick() {
	waiting := h.term.stuck
	if len(waiting) == 0 {
		return
	}
	h.term.stuck = nil
	for _, r := range waiting {
		r.loading = false
		h.start(r)
	}
}

// loaded takes a load's result. When it failed, whoever waits gets the reason, and the next call tries again.
func (h *host) loaded(l *load) {
	if l.term != h.term {
		return
	}
	r := l.of
	r.loading = false
	if l.err == nil {
		r.cell, r.snapped = l.cell, l.base
		h.start(r)
		return
	}
	if errors.Is(l.err, journal.ErrCompacted) { // the log was shortened since the path was made
		h.start(r)
		return
	}
	h.log.Error("cannot load an entity", "entity", r.id, "error", l.err)
	for _, c := range r.mailbox.take() {
		h.unremembered(c, shard.Errorf(shard.CodeFailed, "load entity %s: %v", r.id, l.err))
	}
}

// do reads and replays, on a worker.
func (l *load) do() {
	l.cell = l.host.def.NewCell(l.of.id)
	l.err = fmt.Errorf("a fold ended its goroutine")
	defer func() {
		l.host.inbox.put(func(b *batch) { b.loaded = append(b.loaded, l) })
	}()
	l.err = l.replay(l.host.region.cfg.Journal)
}

// restore begins with the entity's newest snapshot, if it has one. One that is apart from the log may be of records that the
// log still has.
func (l *load) restore(j *journal.Journal) error {
	var r replication.Record
	var found bool
	var err error
	switch {
	case l.path.base > 0:
		r, err = readOne(j, l.host.copy, l.path.base)
		found = true
	case l.path.apart:
		r, found, err = j.Entity(l.host.copy, l.of.id)
	}
	if err != nil || !found {
		return err
	}
	l.base = r.Seq
	return l.cell.Restore(r.Seq, r.Body)
}

func (l *load) replay(j *journal.Journal) error {
	if err := l.restore(j); err != nil {
		return err
	}
	for first := 0; first < len(l.path.after); {
		n, err := l.span(j, l.path.after[first:])
		if err != nil {
			return err
		}
		first += n
	}
	return nil
}

// span replays the records at the front of lsns that lie close to each other, read in one go.
func (l *load) span(j *journal.Journal, lsns []shard.LSN) (int, error) {
	const apart = 16 // reading a few foreign records is cheaper than another read
	n := 1
	for n < len(lsns) && lsns[n]-lsns[n-1] <= apart {
		n++
	}
	records, err := j.Read(l.host.copy, lsns[0], lsns[n-1], maxFrame)
	if err != nil {
		return 0, err
	}
	read := shard.LSN(len(records))
	for i, lsn := range lsns[:n] {
		if lsn-lsns[0] >= read {
			return i, nil
		}
		r := &records[lsn-lsns[0]]
		if r.Seq <= l.cell.Seq() {
			continue
		}
		if err := l.cell.Replay(r.Seq, r.Body); err != nil {
			return 0, fmt.Errorf("record %d: %w", lsn, err)
		}
	}
	return n, nil
}

func readOne(j *journal.Journal, copy shard.CopyID, lsn shard.LSN) (replication.Record, error) {
	records, err := j.Read(copy, lsn, lsn, maxFrame)
	if err != nil {
		return replication.Record{}, err
	}
	return records[0], nil
}

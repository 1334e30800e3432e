package region

import (
	"errors"

	"muster/entity"
	"muster/journal"
	"muster/shard"
)

// A load is an entity's way back into memory: its cell is made from its newest confirmed snapshot, in the log or apart from it, and the records since, all
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
	h.region.copies.loads.start(&load{host: h, term: h.term, of: r, path: p})
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

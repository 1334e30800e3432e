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

// records is about how many the load reads.
func (l *load) records() int { return len(l.path.after) + 1 }

func recordsOf(loads []*load) (n int) {
	for _, l := range loads {
		n += l.records()
	}
	return n
}

// reload makes the entity's cell, and reports whether it is there. Otherwise its mailbox waits for the load.
func (h *host) reload(r *resident) bool {
	p := h.storage.path(r.id)
	if p == nil {
		r.cell = h.def.NewCell(r.id)
		return true
	}
	h.cells.expect(r, p.end())
	if r.last > h.storage.durable {
		h.term.stuck = append(h.term.stuck, r)
		return false
	}
	h.region.copies.loads.start(&load{host: h, term: h.term, of: r, path: p})
	h.readAhead()
	return false
}

// What it takes for entities to be read that nobody has asked for.
const (
	aheadLoads = 8  // entities of the shard that are on their way, at least
	aheadPart  = 16 // this part of those in the log is in memory or on its way, at least
)

// readAhead also lets the others be read that have records in the log, up to what cells may hold, once callers gather and have
// come for so many that every part of the log is read anyway: the records of one entity are spread over it, and what those
// between them cost beside is little. Once in a term, so that what nobody asks for in the end costs one reading of the log.
func (h *host) readAhead() {
	heads := &h.storage.heads
	if h.term.ahead || h.cells.loading < aheadLoads || len(h.cells.residents) < len(heads.entities)/aheadPart {
		return
	}
	h.term.ahead = true
	var ahead []*load
	for id, e := range heads.entities {
		if len(h.cells.residents) >= h.cells.limit {
			break
		}
		if p := e.path(); h.cells.residents[id] == nil && p.end() <= h.storage.durable {
			r := h.cells.ahead(id)
			h.cells.expect(r, p.end())
			ahead = append(ahead, &load{host: h, term: h.term, of: r, path: p})
		}
	}
	if len(ahead) > 0 {
		h.region.copies.loads.start(ahead...)
	}
}

// unstick loads the entities whose records have become durable.
func (h *host) unstick() {
	waiting := h.term.stuck
	if len(waiting) == 0 {
		return
	}
	h.term.stuck = nil
	for _, r := range waiting {
		h.cells.arrived(r)
		h.start(r)
	}
}

// loaded takes a load's result. When it failed, whoever waits gets the reason, and the next call tries again.
func (h *host) loaded(l *load) {
	if l.term != h.term {
		return
	}
	r := l.of
	h.cells.arrived(r)
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
	h.rotten(l.err)
}

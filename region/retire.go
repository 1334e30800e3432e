package region

import (
	"slices"

	"muster/shard"
)

// fate is what becomes of a copy that the map does not count on any more.
type fate uint8

const (
	aside  fate = iota + 1 // given up as lost: it answers nobody, its data stay
	remove                 // neither a member of C nor a learner: its data go
)

// settle notes, once in a process's life, that the map is younger than every copy the journal held at the start: it shows
// the session of this process, which was registered after the process that created those copies was over. From then on a
// copy that the map does not name is known to be no more. It reports whether that is so from now on.
//
// Rejected: to compare copy ids with those in the map. The newest ids may be exactly the ones an old map does not have.
func (c *copies) settle(v *shard.View, session shard.SessionID) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	s, live := v.Sessions[session]
	if c.mu.settled || session == 0 || !live || s.Directory != c.region.cfg.Directory.DirectoryID() {
		return false
	}
	c.mu.settled = true
	for _, h := range c.mu.held {
		if h.since == 0 {
			h.since = v.Index
		}
	}
	return true
}

// retire stops hosting the copies of the shard that do not count any more: they must answer neither a primary nor a Seal.
// The data of one that C and the learners do without are removed, which nothing can undo: the map has to be one that would
// name the copy if it were still one. Ids are not used again, so what such a map does not name never comes back.
//
// The host decides last, since it knows what the copy has promised.
func (c *copies) retire(p *shard.Placement, index shard.Index) {
	for _, id := range slices.Clone(c.mu.byShard[p.Shard]) {
		h := c.mu.held[id]
		var f fate
		switch found, ok := named(p, id); {
		case ok && found.State != shard.CopyLost:
			continue // it counts
		case ok:
			f = aside
		case h.since == 0 || index < h.since || h.creating:
		case h.missing:
			c.forget(id)
			continue
		default:
			h.report, f = nil, remove
		}
		if h.host != nil {
			h.host.inbox.put(func(b *batch) { b.placement, b.fate = p, f })
		}
	}
}

// forget drops a holding. The caller holds the lock.
func (c *copies) forget(id shard.CopyID) {
	h := c.mu.held[id]
	delete(c.mu.held, id)
	left := slices.DeleteFunc(c.mu.byShard[h.shard], func(other shard.CopyID) bool { return other == id })
	if c.mu.byShard[h.shard] = left; len(left) == 0 {
		delete(c.mu.byShard, h.shard)
	}
}

// unhost takes a host whose goroutine is about to end out of the tables, and returns its holding. The caller holds the lock.
func (c *copies) unhost(h *host) *holding {
	c.hosts.drop(h.copy)
	if c.region.owner(h.id) == owner(h) {
		c.region.owners.drop(h.id)
	}
	held := c.mu.held[h.copy]
	if held != nil {
		held.host = nil
	}
	return held
}

// retire ends the host if the map is not older than what the copy has promised. What is in the inbox is still answered.
func (h *host) retire(p *shard.Placement, f fate) {
	if promised := h.protocol.Status().Promised; h.term != nil || p.Epoch < promised {
		h.log.Warn("the map does without this copy in an epoch that it has left behind: the copy stays", "epoch", p.Epoch, "promised", promised)
		return
	}
	h.inbox.close()
	c := &h.region.copies
	c.mu.Lock()
	held := c.unhost(h)
	switch {
	case held == nil || c.mu.closed:
		f = 0
	case f == remove:
		c.forget(h.copy)
	default:
		held.aside = true
	}
	c.mu.Unlock()
	if f != remove {
		return
	}
	h.log.Info("the copy is not needed any more, its data are removed", "epoch", p.Epoch, "version", p.Version)
	h.region.cfg.Journal.Remove(h.copy, func(err error) {
		if err != nil {
			h.region.fail(err)
		}
	})
}

package region

import (
	"slices"

	"muster/region/route"
	"muster/shard"
)

// settle notes, once in a process's life, that the map is younger than every copy the journal held at the start. It reports
// whether that is so from now on.
func (c *copies) settle(v *shard.View, session shard.SessionID) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.mu.settled || !route.Settled(v, session, c.region.cfg.Directory.DirectoryID()) {
		return false
	}
	c.mu.settled = true
	for _, h := range c.mu.held {
		if h.Since == 0 {
			h.Since = v.Index
		}
	}
	return true
}

// retire stops hosting the copies of the shard that do not count any more: they must answer neither a primary nor a Seal. The
// host decides last, since it knows what the copy has promised.
func (c *copies) retire(p *shard.Placement, index shard.Index) {
	for _, id := range slices.Clone(c.mu.byShard[p.Shard]) {
		h := c.mu.held[id]
		f := h.Fate(id, p, index)
		switch {
		case f == route.Keep:
			continue
		case f == route.Forget:
			c.forget(id)
			continue
		case f == route.Remove && h.host == nil: // it was put aside, or is damaged
			c.forget(id)
			c.region.discard(id)
			continue
		}
		h.report = nil // it is known, or of no interest any more
		if h.host != nil {
			c.hush(h.host)
			h.host.inbox.put(func(b *batch) { b.placement, b.fate = p, f })
		}
	}
}

// disown removes the copies that no placement of a settled map has recognized.
func (c *copies) disown() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.mu.closed { // then they were not looked at
		return
	}
	for _, id := range slices.Clone(c.mu.byShard[shard.ID{}]) {
		c.forget(id)
		c.region.discard(id)
	}
}

// hush takes a copy that is given up when the process is admitted out of everybody's sight: it has answered nobody, so what waits for the
// host is not to be answered first, as it otherwise is.
func (c *copies) hush(h *host) {
	select {
	case <-c.admitted:
	default:
		c.hosts.drop(h.copy)
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

// unhost takes a host that is about to end out of the tables, and returns its holding. The caller holds the lock.
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
func (h *host) retire(p *shard.Placement, f route.Fate) {
	if !h.protocol.Dispensable(p.Epoch) {
		h.log.Warn("the map does without this copy in an epoch that it has left behind: the copy stays", "epoch", p.Epoch)
		return
	}
	h.inbox.close()
	c := &h.region.copies
	c.mu.Lock()
	held := c.unhost(h)
	switch {
	case held == nil || c.mu.closed:
		f = route.Keep
	case f == route.Remove:
		c.forget(h.copy)
	default:
		held.aside = true
	}
	c.mu.Unlock()
	if f != route.Remove {
		return
	}
	h.log.Info("the copy is not needed any more, its data are removed", "epoch", p.Epoch, "version", p.Version)
	h.region.discard(h.copy)
}

// discard removes a copy's data from the journal. Nothing waits for it: a process that dies before it is done does it again.
func (r *Region) discard(id shard.CopyID) {
	r.cfg.Journal.Remove(id, func(err error) {
		if err != nil {
			r.fail(err)
		}
	})
}

package region

import (
	"muster/entity"
	"muster/shard"
)

// A resident is one entity in memory: its cell and the calls that wait for it. The cell belongs to the run while there
// is one, to the host otherwise.
type resident struct {
	id      shard.EntityID
	cell    *entity.Cell // nil until it is loaded, and again when it is spoiled
	mailbox queue[*call]
	run     *run      // the handlers that run now, nil for none
	loading bool      // its records are being read
	last    shard.LSN // its newest record in the log
	snapped shard.Seq // the sequence number of its newest snapshot, taken or planned

	// Neighbours in the order of last use; nil at the ends.
	newer, older *resident
}

func (r *resident) idle() bool { return r.run == nil && !r.loading && r.mailbox.len() == 0 }

// cells holds a shard's entities that are in memory, at most limit of them beyond the busy ones: the least recently
// used are dropped, because they can be read again. Owned by the host.
type cells struct {
	residents map[shard.EntityID]*resident
	newest    *resident
	oldest    *resident
	limit     int
	loading   int // of the residents
	runs      runs
}

// expect begins the loading of an entity whose newest record that is.
func (c *cells) expect(r *resident, last shard.LSN) {
	r.last, r.loading = last, true
	c.loading++
}

// arrived ends the loading of an entity.
func (c *cells) arrived(r *resident) {
	r.loading = false
	c.loading--
}

func newCells(limit int) cells {
	return cells{residents: map[shard.EntityID]*resident{}, limit: limit}
}

// touch returns the entity's resident, a new one without a cell if it is not in memory, as the most recently used.
func (c *cells) touch(id shard.EntityID) *resident {
	r := c.residents[id]
	switch {
	case r == nil:
		r = &resident{id: id}
		c.residents[id] = r
	case r == c.newest:
		return r
	default:
		c.unlink(r)
	}
	r.older = c.newest
	if c.newest != nil {
		c.newest.newer = r
	}
	c.newest = r
	if c.oldest == nil {
		c.oldest = r
	}
	return r
}

// ahead returns a resident for an entity that is not in memory and that nobody has asked for: as the least recently used, so that it
// makes room for others and not they for it.
func (c *cells) ahead(id shard.EntityID) *resident {
	r := &resident{id: id, newer: c.oldest}
	c.residents[id] = r
	if c.oldest != nil {
		c.oldest.older = r
	} else {
		c.newest = r
	}
	c.oldest = r
	return r
}

func (c *cells) unlink(r *resident) {
	if r.newer != nil {
		r.newer.older = r.older
	} else {
		c.newest = r.older
	}
	if r.older != nil {
		r.older.newer = r.newer
	} else {
		c.oldest = r.newer
	}
	r.newer, r.older = nil, nil
}

// shrink drops idle entities beyond the limit whose records are all confirmed. It looks at a bounded number, so that many
// busy ones cost little.
func (c *cells) shrink(confirmed shard.LSN) {
	const most = 64
	r := c.oldest
	for range most {
		if r == nil || len(c.residents) <= c.limit {
			return
		}
		next := r.newer
		if r.idle() && r.last <= confirmed {
			c.unlink(r)
			delete(c.residents, r.id)
		}
		r = next
	}
}

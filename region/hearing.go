package region

import (
	"muster/replication"
	"muster/shard"
)

// listen has a node that was not heard for a while asked for a sign of life, by one of the shards that are led here and have a copy there.
// While it owes that, primaries that rest are given a tick, so that they find themselves deserted. One that the map shows as
// gone is not waited for.
func (c *copies) listen() {
	v, self := c.region.view.Load(), c.region.self()
	for id, m := range v.Members {
		n := c.region.peers.known(m.Addr)
		if id == self.Node || n == nil {
			continue // nothing was ever sent there
		}
		if !n.tick() {
			continue
		}
		concerned := c.concerned(v, self.Session, id)
		if len(concerned) == 0 || !v.Up(id) {
			n.heard()
			continue
		}
		c.asked++
		one := concerned[c.asked%len(concerned)] // in turn: a copy of its own may be what does not answer
		one.host.inbox.put(func(b *batch) { b.asks = append(b.asks, one.copy) })
		if n.silent() <= replication.HearTicks {
			continue
		}
		for _, h := range concerned {
			h.host.inbox.put(func(b *batch) { b.ticks++ })
		}
	}
}

// A question is for a copy elsewhere, by the primary here.
type question struct {
	host *host
	copy shard.CopyID
}

// concerned lists the shards that are led here and have a copy on the node.
func (c *copies) concerned(v *shard.View, session shard.SessionID, node shard.NodeID) (all []question) {
	for h := range c.hosts.all() {
		if id, asks := replication.Asks(v.Placement(h.id), session, node); asks {
			all = append(all, question{h, id})
		}
	}
	return all
}

// silent is for how many ticks a node has answered nothing that a primary here asked.
func (r *Region) silent(node shard.NodeID) int {
	m, known := r.view.Load().Members[node]
	if !known {
		return 0
	}
	if n := r.peers.known(m.Addr); n != nil {
		return n.silent()
	}
	return 0
}

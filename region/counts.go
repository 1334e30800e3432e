package region

import (
	"slices"

	"muster/shard"
)

// Count is what a copy that leads its shard was asked since this process hosts it.
type Count struct {
	Shard    shard.ID
	Messages uint64
	Bytes    uint64 // of their payloads
	Records  uint64 // in its log, the ones cut off included
}

// Counts returns the counts of all journaled shards that this node leads by its map, in order. It waits for nobody: a host adds
// to its counts after each batch.
func (r *Region) Counts() []Count {
	v := r.view.Load()
	var all []Count
	for h := range r.copies.hosts.all() {
		if p := v.Placement(h.id); p != nil && p.Status == shard.Active && p.Primary == h.copy {
			c := &h.pulse.count
			all = append(all, Count{h.id, c.messages.Load(), c.bytes.Load(), c.records.Load()})
		}
	}
	slices.SortFunc(all, func(a, b Count) int { return a.Shard.Compare(b.Shard) })
	return all
}

// tally adds up calls that have come. It is called before they arrive: a call that was answered may be used again.
func (p *pulse) tally(calls []*call, last shard.LSN) {
	size := 0
	for _, c := range calls {
		size += len(c.env.Payload)
	}
	p.count.messages.Add(uint64(len(calls)))
	p.count.bytes.Add(uint64(size))
	p.count.records.Store(uint64(last))
}

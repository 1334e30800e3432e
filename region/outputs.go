package region

import (
	"slices"
	"time"

	"muster/shard"
)

// outputs holds back every answer until what it rests on is confirmed. Owned by the host.
//
// Answers with a record wait for it, in log order. Answers without one are reads: they wait for the newest record they
// may have seen and for a round of the protocol that began after they ran. Each has a time by which it becomes unknown;
// as all outputs of a shard wait equally long, the front is always the first to expire.
type outputs struct {
	records queue[*call]
	reads   queue[*call]
}

func (o *outputs) len() int { return o.records.len() + o.reads.len() }

// settled calls leave with every answer whose grounds are confirmed.
func (o *outputs) settled(confirmed shard.LSN, round uint64, leave func(*call)) {
	for o.records.len() > 0 && o.records.front().at <= confirmed {
		leave(o.records.pop())
	}
	for o.reads.len() > 0 && o.reads.front().round <= round && o.reads.front().at <= confirmed {
		leave(o.reads.pop())
	}
}

// expired calls leave with every answer that waited for too long.
func (o *outputs) expired(now time.Duration, leave func(c *call, recorded bool)) {
	for o.records.len() > 0 && o.records.front().expires <= now {
		leave(o.records.pop(), true)
	}
	for o.reads.len() > 0 && o.reads.front().expires <= now {
		leave(o.reads.pop(), false)
	}
}

// record returns the waiting answer of that record, nil when it has left, and where it is or belongs.
func (o *outputs) record(lsn shard.LSN) (*call, int) {
	all := o.records.all()
	i, found := slices.BinarySearchFunc(all, lsn, func(c *call, lsn shard.LSN) int {
		switch {
		case c.at < lsn:
			return -1
		case c.at > lsn:
			return 1
		}
		return 0
	})
	if !found {
		return nil, i
	}
	return all[i], i
}

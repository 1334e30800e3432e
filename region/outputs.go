package region

import (
	"slices"
	"time"

	"muster/shard"
)

// outputs holds back every answer until what it rests on is confirmed. Owned by the host.
//
// Answers with a record wait for it, in log order. Answers without one are reads: they wait for the newest record they
// may have seen and then, unless the lease runs, for a round of the protocol that began after they ran. Each has a time by
// which it becomes unknown; as all outputs of a shard wait equally long, the front is the first to expire, but for retries that came
// late and wait for an old record.
type outputs struct {
	records queue[*call]
	reads   queue[*call]
	late    bool // a retry was put before others among the records
}

func (o *outputs) len() int { return o.records.len() + o.reads.len() }

// settled calls leave with every answer whose grounds are confirmed. While the lease runs no read waits for a round, and without it one that has none
// stays.
func (o *outputs) settled(confirmed shard.LSN, round uint64, leased bool, leave func(*call)) {
	for o.records.len() > 0 && o.records.front().at <= confirmed {
		leave(o.records.pop())
	}
	ready := func(c *call) bool { return c.at <= confirmed && (leased || c.round > 0 && c.round <= round) }
	for o.reads.len() > 0 && ready(o.reads.front()) {
		leave(o.reads.pop())
	}
	if slices.ContainsFunc(o.reads.all(), ready) { // each waits for its own entity's records
		o.reads.filter(func(c *call) bool {
			if !ready(c) {
				return true
			}
			leave(c)
			return false
		})
	}
}

// unasked reports whether reads wait that no round was begun for.
func (o *outputs) unasked() bool {
	return slices.ContainsFunc(o.reads.all(), func(c *call) bool { return c.round == 0 })
}

// ask has those wait for the round.
func (o *outputs) ask(round uint64) {
	for _, c := range o.reads.all() {
		if c.round == 0 {
			c.round = round
		}
	}
}

// expired calls leave with every answer that waited for too long.
func (o *outputs) expired(now time.Duration, leave func(c *call, recorded bool)) {
	for o.records.len() > 0 && o.records.front().expires <= now {
		leave(o.records.pop(), true)
	}
	if o.late {
		o.records.filter(func(c *call) bool {
			if c.expires > now {
				return true
			}
			leave(c, true)
			return false
		})
		o.late = o.records.len() > 0
	}
	for o.reads.len() > 0 && o.reads.front().expires <= now {
		leave(o.reads.pop(), false)
	}
}

// insert puts an answer before position i of those with a record. It may expire after those behind it.
func (o *outputs) insert(i int, c *call) {
	o.late = o.late || i < o.records.len()
	o.records.insert(i, c)
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

package region

import (
	"slices"
	"time"

	"muster/shard"
)

// outputs holds back every answer until what it rests on is confirmed. Owned by the host.
//
// Answers with a record wait for it, in log order. Answers without one are reads: they wait for the newest record they
// may have seen, and then go by the lease, or wait for a round of the protocol, too, that began after they ran. Each has a time by
// which it becomes unknown; as all outputs of a shard wait equally long, the front is the first to expire, but for retries that came
// late and wait for an old record.
type outputs struct {
	records queue[*call]
	leased  queue[*call] // reads that go by the lease
	reads   queue[*call] // those that wait for a round, older than any in leased
	late    bool         // a retry was put before others among the records
}

func (o *outputs) len() int { return o.records.len() + o.leased.len() + o.reads.len() }

// lapse has the reads that would go by the lease wait for a round.
func (o *outputs) lapse(round uint64) {
	for _, c := range o.leased.take() {
		c.round = round
		o.reads.push(c)
	}
}

// settled calls leave with every answer whose grounds are confirmed; that the lease runs has been looked at.
func (o *outputs) settled(confirmed shard.LSN, round uint64, leave func(*call)) {
	for o.records.len() > 0 && o.records.front().at <= confirmed {
		leave(o.records.pop())
	}
	for o.leased.len() > 0 && o.leased.front().at <= confirmed {
		leave(o.leased.pop())
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
	for _, reads := range []*queue[*call]{&o.leased, &o.reads} {
		for reads.len() > 0 && reads.front().expires <= now {
			leave(reads.pop(), false)
		}
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

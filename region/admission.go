package region

import (
	"sync/atomic"

	"muster/shard"
)

// admission counts the calls of a shard that were taken in and not answered. Safe for concurrent use.
type admission struct {
	calls atomic.Int64
	bytes atomic.Int64
}

// enter counts a call, or refuses it when a limit is reached.
func (a *admission) enter(c *call, l *Limits) *shard.Error {
	n, size := a.calls.Add(1), a.bytes.Add(int64(c.size()))
	if n <= int64(l.ShardCalls) && size <= int64(l.ShardBytes) {
		return nil
	}
	a.leave(c)
	return shard.Errorf(shard.CodeOverloaded, "the shard has %d commands of %d bytes under way, more than ShardCalls or ShardBytes allow", n, size)
}

// leave takes an answered call off, its duplicates with it.
func (a *admission) leave(c *call) {
	for ; c != nil; c = c.joined {
		a.calls.Add(-1)
		a.bytes.Add(-int64(c.size()))
	}
}

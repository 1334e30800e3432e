package region_test

import (
	"testing"
	"time"

	"muster/entity"
	"muster/shard"
)

// A copy whose disk is slower than those that confirm is filled while writes go on without a pause. It never holds everything that is confirmed, and
// joins all the same.
func TestSlowLearnerJoins(t *testing.T) {
	c := define("counter", entity.Shards(1), entity.Replicate(2, 1, 0), entity.SnapshotEvery(20))
	g := newGroupOf(t, 3, func(n *node) { n.options.SyncDelay = 5 * time.Millisecond }, c)
	id := one("counter")
	g.place(id, 0, 1)
	g.await(id, shard.Active)
	fill(t, c, g.nodes[0], 3000)
	l := startLoad(t, c, 128, g.nodes[0])
	until(t, "the log is shortened", func() bool { return hosted(t, g.nodes[0], id).Base > 3000 })
	to := g.nodes[2]
	to.options.SyncDelay = 100 * time.Millisecond
	to.stop()
	to.start()
	g.learn(id, to, nil)
	g.members(id, 0, 1, 2)
	t.Logf("%d adds meanwhile", l.adds.Load())
	l.stop()
	sum(t, c, g.nodes[0], 3000)
}

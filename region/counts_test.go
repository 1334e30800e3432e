package region_test

import (
	"fmt"
	"testing"

	"muster/entity"
	"muster/shard"
)

// What a shard is asked is counted by the node that leads it, wherever the asks come from, and by no other.
func TestCounts(t *testing.T) {
	c := define("counter", entity.Shards(4), entity.Replicate(1, 1, 0))
	g := newGroup(t, 2, c)
	g.placeAll("counter")
	ctx := ctxFor(t)
	const asks = 40
	for i := range asks {
		if _, err := c.add.Ask(ctx, g.nodes[i%2].region, entity.ID(fmt.Sprintf("e%d", i)), 10); err != nil {
			t.Fatal(err)
		}
	}
	messages, bytes, seen := uint64(0), uint64(0), map[shard.ID]bool{}
	for _, n := range g.nodes {
		for _, count := range n.region.Counts() {
			if seen[count.Shard] || g.placement(count.Shard).Node != n.id {
				t.Errorf("%s counts %s, which another leads", n.id, count.Shard)
			}
			seen[count.Shard] = true
			messages, bytes = messages+count.Messages, bytes+count.Bytes
			if count.Messages > 0 && count.Records == 0 {
				t.Errorf("%+v", count)
			}
		}
	}
	if len(seen) != 4 || messages < asks || bytes < 2*asks { // the payload is 10 in JSON
		t.Errorf("%d shards, %d messages, %d bytes", len(seen), messages, bytes)
	}
}

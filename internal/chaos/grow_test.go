package chaos_test

import (
	"testing"
	"time"

	"muster/internal/chaos"
)

// A group of three under load gets a fourth and a fifth node, with no more new copies than their shares, leads as even as can be and no
// command that fails. Each has its share of the copies then, and nothing moves.
func TestGrow(t *testing.T) {
	long(t)
	g := form(t, chaos.Layout{Nodes: 5, Voters: 3, Late: 2, Cooldown: time.Second})
	g.load = chaos.Start(g.driver, chaos.Plan{Clients: clients, Rate: writeRate / 2})
	g.eventually(10*time.Second, "100 entries are confirmed", func() bool { return g.load.Confirmed() >= 100 })
	minted, began := g.newest(), time.Now()
	for _, p := range g.nodes[3:] {
		g.must(p.Start())
	}
	share := chaos.Shards * 3 / len(g.nodes)
	g.eventually(90*time.Second, "each has its share", func() bool {
		return g.settled() && g.holds(g.nodes[3]) >= share && g.holds(g.nodes[4]) >= share && g.caughtUp(g.nodes[3]) && g.caughtUp(g.nodes[4])
	})
	made, needed := int(g.newest()-minted), 2*share
	most := 0
	for _, p := range g.nodes {
		most = max(most, g.leads(p))
	}
	t.Logf("two nodes had their shares after %s: %d copies made where %d are needed, no node leads more than %d of %d shards",
		time.Since(began).Round(time.Millisecond), made, needed, most, chaos.Shards)
	if made < needed || float64(made) > 1.05*float64(chaos.Shards*3*2)/float64(len(g.nodes)) {
		t.Errorf("%d copies were made where %d are needed", made, needed)
	}
	if even := (chaos.Shards + len(g.nodes) - 1) / len(g.nodes); most > even {
		t.Errorf("a node leads %d of %d shards", most, chaos.Shards)
	}
	g.quiet()
	for _, e := range g.verify() {
		if e.Fate != chaos.Confirmed {
			t.Errorf("%s in book %s failed after %s: %s", e.ID, e.Book, e.Ended.Sub(e.Began).Round(time.Millisecond), e.Problem)
		}
	}
}

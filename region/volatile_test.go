package region_test

import (
	"testing"
	"time"

	"muster/entity"
	"muster/shard"
	"muster/transport/wire"
)

func entityOptions(shards, replicas, minAcks int) []entity.Option {
	return []entity.Option{entity.Shards(shards), entity.Replicate(replicas, minAcks, 0)}
}

// A volatile entity lives in its owner's memory: any node reaches it, requests are recognised there too.
func TestVolatileEntities(t *testing.T) {
	c := define("cache", entity.Shards(2), entity.Volatile())
	g := newGroup(t, 2, c)
	g.placeAll("cache")
	ctx := ctxFor(t)
	for i, n := range g.nodes {
		if v, err := c.add.Ask(ctx, n.region, "e", 1); err != nil || v != int64(i+1) {
			t.Fatalf("add at %s: %d, %v", n.id, v, err)
		}
	}
	id := g.shardOf("cache", "e")
	owner := g.node(g.placement(id).Node)
	other := g.nodes[0]
	if other == owner {
		other = g.nodes[1]
	}
	l := dial(t, other, owner)
	again := func() string { return l.ask(by(envelope(id, 1, "e", "add", 5), other.Session(), 100, 100)) }
	expect(t, "first", again(), "7")
	expect(t, "again", again(), "7")
	expect(t, "other payload", l.ask(by(envelope(id, 1, "e", "add", 6), other.Session(), 100, 100)), "request-reused")
	if _, err := c.broken.Ask(ctx, owner.region, "e", -5); shard.CodeOf(err) != shard.CodeFailed {
		t.Fatalf("panic arrived as %v", err)
	}
	if v, err := c.get.Ask(ctx, owner.region, "e", struct{}{}); err != nil || v != 0 {
		t.Fatalf("an entity that failed with events in memory answered %d, %v; it starts anew", v, err)
	}
}

// When the lease ends, handlers are told, no output leaves, and the entities are gone; with a new lease they start anew.
func TestVolatileStopsWithTheLease(t *testing.T) {
	c := define("cache", entity.Shards(1), entity.Volatile())
	g := newGroup(t, 2, c)
	g.placeAll("cache")
	ctx := ctxFor(t)
	owner := g.nodes[0]
	if _, err := c.add.Ask(ctx, owner.region, "e", 3); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() {
		_, err := c.wait.Ask(ctx, owner.region, "slow", struct{}{})
		ended <- err
	}()
	<-c.inside
	owner.lease.Store(int64(now()))
	if e := shard.As(<-ended); e == nil || e.Outcome != shard.Unknown {
		t.Fatalf("the handler that ran when the lease ended: %v; want an unknown outcome", e)
	}
	for _, n := range g.nodes {
		short, cancel := shortly(ctx, 150*time.Millisecond)
		if v, err := c.get.Ask(short, n.region, "e", struct{}{}); err == nil {
			t.Fatalf("answered %d without a lease", v)
		}
		cancel()
	}
	owner.lease.Store(int64(now() + forever))
	if v, err := c.get.Ask(ctx, g.nodes[1].region, "e", struct{}{}); err != nil || v != 0 {
		t.Fatalf("get after the lease came back: %d, %v; want a new entity", v, err)
	}
}

// A command that found no lease was not run and is not remembered: its retry runs once the lease is back, in the same reign or
// in the next one.
func TestVolatileRetryAfterALeaseGap(t *testing.T) {
	c := define("cache", entity.Shards(1), entity.Volatile())
	g := newGroup(t, 2, c)
	g.placeAll("cache")
	id := one("cache")
	owner := g.node(g.placement(id).Node)
	other := g.nodes[0]
	if other == owner {
		other = g.nodes[1]
	}
	l := dial(t, other, owner)
	for number := uint64(1); number <= 20; number++ {
		ask := func() string {
			return l.ask(by(envelope(id, 1, "e", "get", struct{}{}), other.Session(), number, number))
		}
		owner.lease.Store(int64(now()))
		expect(t, "without a lease", ask(), "unavailable")
		owner.lease.Store(int64(now() + forever))
		until(t, "the retry runs", func() bool { return ask() == "0" })
	}
}

// A request that a limit refused has not happened: asked again, it is judged anew.
func TestVolatileRefusedAndAgain(t *testing.T) {
	c := define("cache", entity.Shards(1), entity.Volatile())
	g := newGroup(t, 2, c)
	for _, n := range g.nodes {
		n.stop()
		n.limits.VolatileCells = 1
		n.start()
	}
	g.placeAll("cache")
	id := one("cache")
	owner := g.node(g.placement(id).Node)
	other := g.nodes[0]
	if other == owner {
		other = g.nodes[1]
	}
	l := dial(t, other, owner)
	ask := func(e string, number uint64) string {
		return l.ask(by(envelope(id, g.placement(id).Epoch, e, "get", struct{}{}), other.Session(), number, 1))
	}
	expect(t, "the first entity", ask("a", 1), "0")
	expect(t, "one too many", ask("b", 2), "overloaded")
	done := make(chan string, 1)
	go func() { done <- ask("b", 2) }()
	select {
	case got := <-done:
		expect(t, "the same request again", got, "overloaded")
	case <-time.After(patience):
		t.Errorf("the same request again is never answered; %d calls are under way", owner.region.UnderWay())
	}
}

// The memory of a session that is over ends some time after it, so what comes of one then does not run: it may have run before.
func TestVolatileRefusesASessionThatIsOver(t *testing.T) {
	c := define("cache", entity.Shards(1), entity.Volatile())
	g := newGroup(t, 2, c)
	g.placeAll("cache")
	id := one("cache")
	owner := g.node(g.placement(id).Node)
	other := g.nodes[0]
	if other == owner {
		other = g.nodes[1]
	}
	session := other.Session()
	l := dial(t, other, owner)
	add := func(s shard.SessionID) *wire.Envelope { return by(envelope(id, 1, "e", "add", 5), s, 7, 7) }
	expect(t, "first", l.ask(add(session)), "5")
	g.change(func(d *shard.Delta) { d.Ended = []shard.SessionID{session} })
	expect(t, "of a session that is over", l.ask(add(session)), "session-ended")
	expect(t, "of one that the map does not show yet", l.ask(add(session+100)), "behind")
	if v, err := c.get.Ask(ctxFor(t), owner.region, "e", struct{}{}); err != nil || v != 5 {
		t.Fatalf("get: %d, %v; want 5", v, err)
	}
}

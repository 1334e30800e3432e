package region_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"muster/entity"
	"muster/journal"
	"muster/replication"
	"muster/shard"
	"muster/transport/wire"
)

// shortened waits until the log of the shard has become short on these nodes, and starts after some record.
func (g *group) shortened(id shard.ID, after shard.LSN, nodes ...*node) {
	g.t.Helper()
	for _, n := range nodes {
		until(g.t, fmt.Sprintf("the log on %s is shortened", n.id), func() bool {
			h := hosted(g.t, n, id)
			return h.Base >= after && h.Last-h.Base <= 2*shortLog
		})
	}
}

// many writes to so many entities, each once, and then so often to one.
func many(t *testing.T, c *counters, n *node, entities, hot int) {
	t.Helper()
	ctx := ctxFor(t)
	for i := range entities {
		if v, err := c.add.Ask(ctx, n.region, entity.ID(fmt.Sprintf("cold%d", i)), 1); err != nil || v != 1 {
			t.Fatalf("add to entity %d: %d, %v", i, v, err)
		}
	}
	for range hot {
		if _, err := c.add.Ask(ctx, n.region, "hot", 1); err != nil {
			t.Fatal(err)
		}
	}
}

// counts checks that each entity was added to so often.
func counts(t *testing.T, c *counters, n *node, entities int, cold, hot int64) {
	t.Helper()
	ctx := ctxFor(t)
	for i := range entities {
		if v, err := c.adds.Ask(ctx, n.region, entity.ID(fmt.Sprintf("cold%d", i)), struct{}{}); err != nil || v != cold {
			t.Errorf("entity %d: %d adds, %v; want %d", i, v, err, cold)
		}
	}
	if v, err := c.adds.Ask(ctx, n.region, "hot", struct{}{}); err != nil || v != hot {
		t.Errorf("the hot entity: %d adds, %v; want %d", v, err, hot)
	}
}

// A long log is shortened on the primary and on its replicas. Entities that were written once, long ago, do not prevent it, with
// or without a policy for snapshots. Whoever leads then, before and after a restart of all, has every entity's state, and answers a repeated
// request with what it did the first time although its record is gone.
func TestLogIsShortened(t *testing.T) {
	for _, every := range []int{0, 7} {
		t.Run(fmt.Sprintf("snapshot every %d", every), func(t *testing.T) {
			c := define("counter", append(entityOptions(1, 2, 2), entity.SnapshotEvery(every))...)
			g := newGroup(t, 3, c)
			id := one("counter")
			g.place(id, 0, 1, 2)
			g.await(id, shard.Active)
			session := g.nodes[1].Session()
			l := dial(t, g.nodes[1], g.nodes[0])
			add := func(number, floor uint64) *wire.Envelope {
				e := by(envelope(id, 0, "asked", "add", 5), session, number, floor)
				e.Epoch = uint64(g.placement(id).Epoch)
				return e
			}
			expect(t, "first", l.ask(add(11, 10)), "5")
			expect(t, "second", l.ask(add(12, 10)), "10")

			const cold, hot = 30, 200
			many(t, c, g.nodes[0], cold, hot)
			g.shortened(id, hot, g.nodes...)
			expect(t, "a repeated request", l.ask(add(11, 10)), "5")
			counts(t, c, g.nodes[2], cold, 1, hot)

			for _, n := range g.nodes {
				n.stop()
			}
			for _, n := range g.nodes {
				n.start()
				if h := hosted(t, n, id); h.Base < hot {
					t.Errorf("%s: the log starts after %d by now", n.id, h.Base)
				}
			}
			for _, n := range g.nodes {
				g.prefer(n)
				g.recover(id)
				g.await(id, shard.Active)
				if p := g.placement(id); p.Node != n.id {
					t.Fatalf("%s leads instead of %s", p.Node, n.id)
				}
				counts(t, c, g.nodes[0], cold, 1, hot)
				l := dial(t, g.nodes[0], n)
				g.change(func(d *shard.Delta) { // the session that asked is alive, by the map
					d.Sessions = []shard.Session{{ID: session, Node: g.nodes[1].id, Directory: g.nodes[1].directory}}
				})
				expect(t, "a repeated request", l.ask(add(12, 10)), "10")
				expect(t, "another payload", l.ask(by(envelopeOf(add(12, 10), 6), session, 12, 10)), "request-reused")
				expect(t, "one below the floor", l.ask(add(9, 9)), "request-too-old unknown")
			}
			if v, err := c.adds.Ask(ctxFor(t), g.nodes[0].region, "asked", struct{}{}); err != nil || v != 2 {
				t.Errorf("%d adds by two requests, %v", v, err)
			}
		})
	}
}

// envelopeOf is e with another number to add.
func envelopeOf(e *wire.Envelope, n int) *wire.Envelope {
	e.Payload = fmt.Append(nil, n)
	return e
}

// A node that was away while the others' logs were shortened, and one that comes with an empty disk, are sent the shard
// snapshot and then the tail, under load. Each of them can lead afterwards, alone with what it has.
func TestSnapshotAndTail(t *testing.T) {
	c := define("counter", entity.Shards(1), entity.Replicate(3, 1, 0), entity.SnapshotEvery(9))
	g := newGroup(t, 4, c)
	id := one("counter")
	g.place(id, 0, 1, 2)
	g.await(id, shard.Active)
	many(t, c, g.nodes[0], 20, 0)
	away := g.nodes[2]
	last := hosted(t, away, id).Last
	away.stop()

	l := startLoad(t, c, 6, g.nodes[:2]...)
	l.more(300)
	g.shortened(id, last+1, g.nodes[:2]...)
	away.start()
	level := func(n *node) {
		t.Helper()
		until(t, fmt.Sprintf("%s has caught up", n.id), func() bool {
			h := hosted(t, n, id)
			return h.Base > last && h.Durable+100 > hosted(t, g.nodes[0], id).Durable
		})
	}
	level(away)
	g.learn(id, g.nodes[3], nil)
	g.members(id, 0, 1, 2, 3)
	level(g.nodes[3])
	l.more(100)
	for _, n := range []*node{g.nodes[3], away} {
		g.wish(id, n)
		g.served(id, n)
		l.more(50)
	}
	counts(t, c, g.nodes[1], 20, 1, 0)
	l.stop()
}

// The stream breaks again and again while a snapshot of many parts is under way, and the receiver's process ends in the
// middle. It goes on from what is staged, and what it ends up with is whole.
func TestSnapshotIsResumed(t *testing.T) {
	c := define("counter", entity.Shards(1), entity.Replicate(2, 1, 0))
	g := newGroup(t, 3, c)
	id := one("counter")
	g.place(id, 0, 1)
	g.await(id, shard.Active)
	const entities = 3000
	fill(t, c, g.nodes[0], entities)
	until(t, "all entities are apart", func() bool { return apart(t, g.nodes[0], id) >= entities-shortLog })

	to := g.nodes[2]
	to.options.SyncDelay = 3 * time.Millisecond // so that parts stay under way for a while
	to.stop()
	to.start()
	g.learn(id, to, nil)
	staged := func() replication.Key {
		for _, s := range to.journal.Copies() {
			if st, some := to.journal.Staged(s.State.Copy); some {
				return st.Last
			}
		}
		return replication.Key{}
	}
	until(t, "something is staged", func() bool { return staged() != replication.Key{} })
	g.nodes[0].wires.cut()
	to.stop()
	to.start()
	if had := staged(); (had == replication.Key{}) && hosted(t, to, id).Base == 0 {
		t.Error("what was staged is lost with the process")
	}
	before, told := staged(), hosted(t, to, id).Waiting
	if half := (replication.Key{}); before != half && staged() != half && !strings.Contains(told, "the rest of the snapshot that copy") {
		t.Errorf("%v is staged, and it says that it waits for %q", before, told)
	}
	g.nodes[0].wires.cut()
	g.members(id, 0, 1, 2)
	g.wish(id, to)
	g.served(id, to)
	sum(t, c, g.nodes[1], entities)
}

// An entity whose state is too large for a snapshot is brought back from its records: it alone holds the log's start back, and the limit is
// what counts, not what it was written with. When its state has become small the log is shortened past it.
func TestSnapshotTooLarge(t *testing.T) {
	b := defineBlobs("blob", entity.Shards(1), entity.SnapshotEvery(0))
	g := newGroup(t, 1, b)
	n := g.nodes[0]
	again := func() {
		t.Helper()
		n.stop()
		n.limits.Snapshot = 1000
		n.start()
		g.recover(one("blob"))
		g.await(one("blob"), shard.Active)
	}
	g.placeAll("blob")
	again()
	ctx := ctxFor(t)
	put := func(id entity.ID, size int) {
		t.Helper()
		if _, err := b.put.Ask(ctx, n.region, id, make([]byte, size)); err != nil {
			t.Fatal(err)
		}
	}
	put("small", 10)
	put("large", 2000)
	large := hosted(t, n, one("blob")).Last
	for i := range 3 * shortLog {
		put(entity.ID(fmt.Sprint("e", i%10)), 10)
	}
	until(t, "the log starts right before the large entity", func() bool { return hosted(t, n, one("blob")).Base == large-1 })
	again()
	if v, err := b.get.Ask(ctx, n.region, "large", nil); err != nil || len(v) != 2000 {
		t.Errorf("the large entity has %d bytes, %v", len(v), err)
	}
	if h := hosted(t, n, one("blob")); h.Base != large-1 {
		t.Errorf("the log starts after %d, and the large entity needs it from %d on", h.Base, large)
	}
	put("large", 20)
	again() // a new life tries at once what failed in the last
	until(t, "the log is shortened", func() bool { return hosted(t, n, one("blob")).Base > large })
	if v, err := b.get.Ask(ctx, n.region, "large", nil); err != nil || len(v) != 20 {
		t.Errorf("the large entity has %d bytes, %v", len(v), err)
	}
}

// fill adds to so many entities at once, from a few callers.
func fill(t *testing.T, c *counters, n *node, entities int) {
	t.Helper()
	ctx := ctxFor(t)
	const callers = 32
	failed := make(chan error, callers)
	for k := range callers {
		go func() {
			for i := k; i < entities; i += callers {
				if _, err := c.add.Ask(ctx, n.region, entity.ID(fmt.Sprintf("one-of-many-entities-%06d", i)), 1); err != nil {
					failed <- err
					return
				}
			}
			failed <- nil
		}()
	}
	for range callers {
		if err := <-failed; err != nil {
			t.Fatal(err)
		}
	}
}

// sum checks that each of fill's entities was added to once.
func sum(t *testing.T, c *counters, n *node, entities int) {
	t.Helper()
	ctx := ctxFor(t)
	for i := range entities {
		if v, err := c.adds.Ask(ctx, n.region, entity.ID(fmt.Sprintf("one-of-many-entities-%06d", i)), struct{}{}); err != nil || v != 1 {
			t.Fatalf("entity %d: %d adds, %v", i, v, err)
		}
	}
}

// apart counts what a node keeps apart from its log.
func apart(t testing.TB, n *node, id shard.ID) (records int) {
	t.Helper()
	copy := hosted(t, n, id).Copy
	after := replication.Key{}
	for more := true; more; {
		part, rest, err := n.journal.Apart(copy, after, journal.MaxKeepBytes)
		if err != nil {
			t.Fatal(err)
		}
		if len(part) > 0 {
			after = part[len(part)-1].Key()
		}
		records, more = records+len(part), rest
	}
	return records
}

// Replicas end again and again, at no particular moment: in the middle of a compaction, of a snapshot on its way in, of its
// taking the log's place. Each time they come back they go on from what the disk has, and in the end each can lead.
func TestReplicasEndOnTheWay(t *testing.T) {
	c := define("counter", entity.Shards(1), entity.Replicate(2, 1, 0), entity.SnapshotEvery(9))
	g := newGroup(t, 3, c)
	id := one("counter")
	g.place(id, 0, 1, 2)
	g.await(id, shard.Active)
	fill(t, c, g.nodes[0], 500)
	l := startLoad(t, c, 6, g.nodes[0])
	dice := rand.New(rand.NewPCG(1, 1))
	for round := range 8 {
		n := g.nodes[1+round%2]
		n.stop()
		l.more(int64(dice.IntN(3 * shortLog)))
		n.options.SyncDelay = time.Duration(dice.IntN(4)) * time.Millisecond
		n.start()
		l.more(int64(dice.IntN(shortLog)))
	}
	for _, n := range g.nodes[1:] {
		g.wish(id, n)
		g.served(id, n)
		l.more(20)
	}
	l.stop()
	sum(t, c, g.nodes[0], 500)
}

// A node with many entities opens without reading them: what it reads is as long as its log, and each entity is read when it is asked for.
func TestOpeningReadsTheLogAlone(t *testing.T) {
	c := define("counter", entityOptions(1, 0, 0)...)
	g := newGroup(t, 1, c)
	id := one("counter")
	g.place(id, 0)
	g.await(id, shard.Active)
	n := g.nodes[0]
	const entities = 2000
	fill(t, c, n, entities)
	g.shortened(id, entities-shortLog, n)
	n.stop()
	n.start()
	read := 0
	for _, s := range n.journal.Copies() {
		if err := n.journal.Scan(s.State.Copy, func(*replication.Record) error { read++; return nil }); err != nil {
			t.Fatal(err)
		}
	}
	g.recover(id)
	g.await(id, shard.Active)
	if h := hosted(t, n, id); read > 2*shortLog || h.Entities != 0 {
		t.Errorf("%d records were read to open, %d entities are in memory", read, h.Entities)
	}
	sum(t, c, n, entities)
}

// A replica knows that a snapshot is confirmed before its own disk holds it: until it does the records it covers stay in the log, and the
// copy has every entity when it is opened again and leads.
func TestReplicaPutsApartWhatItHolds(t *testing.T) {
	c := define("counter", entity.Shards(1), entity.Replicate(1, 0, 0), entity.SnapshotEvery(1))
	g := newGroup(t, 2, c)
	g.nodes[0].stop()
	g.nodes[0].limits.Log = 100_000
	g.nodes[0].start()
	id := one("counter")
	g.place(id, 0, 1)
	g.await(id, shard.Active)
	r, ctx := g.nodes[1], ctxFor(t)
	r.options.SyncDelay = 20 * time.Millisecond
	r.stop()
	r.start()
	written := 0
	for round := 0; round < 6; round++ {
		base := hosted(t, r, id).Last
		deadline := time.Now().Add(patience)
		for hosted(t, r, id).Base <= base && time.Now().Before(deadline) {
			for range 10 {
				if v, err := c.add.Ask(ctx, g.nodes[0].region, entity.ID(fmt.Sprint("x", written)), 1); err != nil || v != 1 {
					t.Fatal(v, err)
				}
				written++
			}
		}
		r.stop()
		r.start()
	}
	r.stop()
	r.options.SyncDelay = 0
	r.start()
	if _, err := c.add.Ask(ctx, g.nodes[0].region, "last", 1); err != nil {
		t.Fatal(err)
	}
	g.lead(id, r)
	lost := 0
	for i := range written {
		v, err := c.adds.Ask(ctx, g.nodes[0].region, entity.ID(fmt.Sprint("x", i)), struct{}{})
		if err != nil {
			t.Fatal(err)
		}
		if v != 1 {
			lost++
		}
	}
	if lost > 0 {
		t.Errorf("%d of %d confirmed entities are gone", lost, written)
	}
}

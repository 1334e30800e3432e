package region_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"muster/entity"
	"muster/region"
	"muster/shard"
)

// The owner's node dies under load. Callers on the other nodes notice nothing but a pause: every add they were told of is
// there, none is there twice, and the entity is loaded from the new owner's log.
func TestFailoverLosesAndDoublesNothing(t *testing.T) {
	c := define("counter", entity.Shards(1), entity.Replicate(2, 1, 0), entity.SnapshotEvery(7))
	g := newGroup(t, 3, c)
	g.place(one("counter"), 0, 1, 2)
	g.await(one("counter"), shard.Active)
	ctx := ctxFor(t)

	const callers, each = 8, 50
	var all sync.WaitGroup
	halfway := make(chan struct{}, callers)
	for i := range callers {
		all.Go(func() {
			from, id := g.nodes[1+i%2].region, entity.ID(fmt.Sprintf("e%d", i%3))
			for k := range each {
				if _, err := c.add.Ask(ctx, from, id, 1); err != nil {
					t.Errorf("add: %v", err)
				}
				if k == each/2 {
					halfway <- struct{}{}
				}
			}
		})
	}
	<-halfway
	g.nodes[0].stop()
	g.recover(one("counter"))
	all.Wait()
	sum := int64(0)
	for i := range 3 {
		v, err := c.adds.Ask(ctx, g.nodes[2].region, entity.ID(fmt.Sprintf("e%d", i)), struct{}{})
		if err != nil {
			t.Fatal(err)
		}
		sum += v
	}
	if sum != callers*each {
		t.Fatalf("%d adds are there, %d were confirmed", sum, callers*each)
	}
}

// A copy whose node was away is brought up to date by the primary, so that it can lead after the next failure.
func TestRestartedCopyCatchesUp(t *testing.T) {
	c := define("counter", entity.Shards(1), entity.Replicate(2, 1, 0), entity.SnapshotEvery(5))
	g := newGroup(t, 3, c)
	id := one("counter")
	g.place(id, 0, 1, 2)
	g.await(id, shard.Active)
	ctx := ctxFor(t)
	add := func(n int) {
		t.Helper()
		for range n {
			if _, err := c.add.Ask(ctx, g.nodes[0].region, "e", 1); err != nil {
				t.Fatal(err)
			}
		}
	}
	add(10)
	g.nodes[2].stop()
	add(20)
	g.nodes[2].start()
	until(t, "n3 holds everything", func() bool {
		a, b := hosted(t, g.nodes[0], id), hosted(t, g.nodes[2], id)
		return a.Last > 30 && a.Last == b.Durable && a.Confirmed == b.Confirmed
	})
	g.nodes[1].stop()
	add(5)
	g.recover(id)
	if v, err := c.get.Ask(ctx, g.nodes[2].region, "e", struct{}{}); err != nil || v != 35 {
		t.Fatalf("get: %d, %v; want 35", v, err)
	}
}

// hosted asks again who was too busy to answer, as a host is that sends megabytes under the race detector.
func hosted(t testing.TB, n *node, id shard.ID) region.Hosted {
	t.Helper()
	for range 5 {
		for _, h := range n.region.Hosted() {
			if h.Shard == id {
				return h
			}
		}
	}
	t.Fatalf("%s does not hold %s", n.id, id)
	return region.Hosted{}
}

// A whole group restarts: what was confirmed is there, requests and heads are rebuilt from the log.
func TestRestartOfAll(t *testing.T) {
	c := define("counter", entity.Shards(2), entity.Replicate(2, 2, 0), entity.SnapshotEvery(3))
	g := newGroup(t, 3, c)
	g.placeAll("counter")
	ctx := ctxFor(t)
	for i := range 40 {
		if _, err := c.add.Ask(ctx, g.nodes[i%3].region, entity.ID(fmt.Sprint(i%5)), 1); err != nil {
			t.Fatal(err)
		}
	}
	for _, n := range g.nodes {
		n.stop()
	}
	for _, n := range g.nodes {
		n.start()
	}
	for i := range 2 {
		g.recover(shard.ID{Type: "counter", Number: shard.Number(i)})
	}
	for i := range 5 {
		if v, err := c.add.Ask(ctx, g.nodes[i%3].region, entity.ID(fmt.Sprint(i)), 1); err != nil || v != 9 {
			t.Fatalf("add to %d after the restart: %d, %v; want 9", i, v, err)
		}
	}
}

// Without the replicas it needs, a command is neither confirmed nor failed: after ack_timeout its outcome is unknown, the
// record stays, and it is confirmed once they are back. The status says who is awaited.
func TestAckTimeoutLeavesTheOutcomeUnknown(t *testing.T) {
	c := define("counter", entity.Shards(1), entity.Replicate(2, 1, 300*time.Millisecond))
	g := newGroup(t, 3, c)
	id := one("counter")
	g.place(id, 0, 1, 2)
	g.await(id, shard.Active)
	ctx := ctxFor(t)
	if _, err := c.add.Ask(ctx, g.nodes[0].region, "e", 1); err != nil {
		t.Fatal(err)
	}
	g.nodes[1].stop()
	g.nodes[2].stop()
	_, err := c.add.Ask(ctx, g.nodes[0].region, "e", 1)
	if e := shard.As(err); e == nil || e.Code != shard.CodeUnconfirmed || e.Outcome != shard.Unknown {
		t.Fatalf("add without replicas: %v; want unconfirmed, outcome unknown", err)
	}
	if w := hosted(t, g.nodes[0], id).Waiting; w == "" {
		t.Error("the status does not say what the shard waits for")
	}
	_, err = c.get.Ask(ctx, g.nodes[0].region, "e", struct{}{})
	if shard.CodeOf(err) != shard.CodeUnconfirmed {
		t.Fatalf("read without replicas: %v; want unconfirmed", err)
	}
	g.nodes[1].start()
	until(t, "both adds are confirmed", func() bool {
		v, err := c.get.Ask(ctx, g.nodes[0].region, "e", struct{}{})
		return err == nil && v == 2
	})
}

// min_acks = 0 does not wait for replicas: with both of them away, commands are confirmed by the primary's disk alone.
func TestMinAcksZeroDoesNotWait(t *testing.T) {
	c := define("counter", entity.Shards(1), entity.Replicate(2, 0, time.Second))
	g := newGroup(t, 3, c)
	g.place(one("counter"), 0, 1, 2)
	g.await(one("counter"), shard.Active)
	g.nodes[1].stop()
	g.nodes[2].stop()
	for i := range 20 {
		if v, err := c.add.Ask(ctxFor(t), g.nodes[0].region, "e", 1); err != nil || v != int64(i+1) {
			t.Fatalf("add: %d, %v", v, err)
		}
	}
}

// A sealed primary stops at once: it neither confirms nor reads, and its callers' commands take effect under the next
// one, exactly once.
func TestSealedPrimaryStops(t *testing.T) {
	c := define("counter", entity.Shards(1), entity.Replicate(2, 1, 0))
	g := newGroup(t, 3, c)
	id := one("counter")
	g.place(id, 0, 1, 2)
	g.await(id, shard.Active)
	ctx := ctxFor(t)
	if _, err := c.add.Ask(ctx, g.nodes[0].region, "e", 1); err != nil {
		t.Fatal(err)
	}
	slow := make(chan error, 1)
	go func() {
		_, err := c.wait.Ask(ctx, g.nodes[1].region, "slow", struct{}{})
		slow <- err
	}()
	<-c.inside
	p := g.placement(id)
	for i, n := range g.nodes {
		s := n.region.Seal(ctx, []shard.SealItem{{Shard: id, Copy: p.Copies[i].ID, Epoch: p.Epoch + 1}})
		if len(s) != 1 || s[0].Fault != nil || s[0].Led != (i == 0) {
			t.Fatalf("seal on %s: %+v", n.id, s)
		}
	}
	short, cancel := context.WithTimeout(ctx, 200*time.Millisecond)
	defer cancel()
	if v, err := c.get.Ask(short, g.nodes[0].region, "e", struct{}{}); err == nil {
		t.Fatalf("a sealed primary answered a read: %d", v)
	}
	g.recover(id)
	<-c.inside // the retry, under the next primary
	c.gate <- struct{}{}
	if err := <-slow; err != nil {
		t.Fatalf("the command that ran when the primary was sealed: %v", err)
	}
	if v, err := c.add.Ask(ctx, g.nodes[0].region, "e", 1); err != nil || v != 2 {
		t.Fatalf("add after the failover: %d, %v; want 2", v, err)
	}
}

// An old primary comes back with a record that was never confirmed, and that the next epoch does not have. Its tail is
// cut: the record is gone from its heads and requests too, so that when it leads again the command did not happen there.
func TestUnconfirmedTailIsCut(t *testing.T) {
	c := define("counter", entity.Shards(1), entity.Replicate(2, 1, 200*time.Millisecond))
	g := newGroup(t, 3, c)
	id := one("counter")
	g.place(id, 0, 1, 2)
	g.await(id, shard.Active)
	ctx := ctxFor(t)
	add := func(n *node, id entity.ID) int64 {
		t.Helper()
		v, err := c.add.Ask(ctx, n.region, id, 1)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	add(g.nodes[0], "e")
	g.ignore(shard.ReportReconfig) // of primaries, which leave out whoever is away for long
	g.nodes[1].stop()
	g.nodes[2].stop()
	for _, lost := range []entity.ID{"e", "lost", "lost"} {
		if _, err := c.add.Ask(ctx, g.nodes[0].region, lost, 1); shard.CodeOf(err) != shard.CodeUnconfirmed {
			t.Fatalf("add without replicas: %v", err)
		}
	}
	g.nodes[0].stop()
	g.nodes[1].start()
	g.nodes[2].start()
	g.recover(id)
	g.await(id, shard.Active)
	for want := int64(2); want < 5; want++ {
		if v := add(g.nodes[1], "e"); v != want {
			t.Fatalf("add at the next primary: %d, want %d", v, want)
		}
	}
	g.nodes[0].start()
	until(t, "n1 holds what the others hold", func() bool {
		return hosted(t, g.nodes[0], id).Durable == hosted(t, g.node(g.placement(id).Node), id).Last
	})
	g.node(g.placement(id).Node).stop()
	g.recover(id)
	g.await(id, shard.Active)
	g.lead(id, g.nodes[0])
	if v := add(g.nodes[0], "e"); v != 5 {
		t.Fatalf("add at the old primary: %d, want 5", v)
	}
	if v := add(g.nodes[0], "lost"); v != 1 {
		t.Fatalf("an entity whose records were cut answered %d, want 1", v)
	}
}

// Large records are caught up in frames that the transport carries, one by one if need be.
func TestLargeRecordsCatchUp(t *testing.T) {
	b := defineBlobs("blob", entity.Shards(1), entity.Replicate(2, 1, 0), entity.SnapshotEvery(2))
	g := newGroup(t, 3, b)
	id := one("blob")
	g.place(id, 0, 1, 2)
	g.await(id, shard.Active)
	g.nodes[2].stop()
	ctx := ctxFor(t)
	for i := range 12 {
		big := make([]byte, (i%4)*340_000)
		if _, err := b.put.Ask(ctx, g.nodes[1].region, entity.ID(fmt.Sprint(i%3)), big); err != nil {
			t.Fatal(err)
		}
	}
	g.nodes[2].start()
	until(t, "n3 holds everything", func() bool {
		return hosted(t, g.nodes[2], id).Durable == hosted(t, g.nodes[0], id).Last
	})
}

// With a slow disk commands are still taken ahead of the journal: many wait for one commit.
func TestSlowDisk(t *testing.T) {
	c := define("counter", entity.Shards(1), entity.Replicate(2, 1, 0))
	g := newGroup(t, 3, c)
	for _, n := range g.nodes {
		n.stop()
		n.options.SyncDelay = 20 * time.Millisecond
		n.start()
	}
	g.placeAll("counter")
	ctx := ctxFor(t)
	var all sync.WaitGroup
	before := g.nodes[0].journal.Stats().Commits
	for range 200 {
		all.Go(func() {
			if _, err := c.add.Ask(ctx, g.nodes[0].region, "e", 1); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if n := g.nodes[0].journal.Stats().Commits - before; n > 100 {
		t.Errorf("200 commands to one entity took %d commits: they waited for one another", n)
	}
}

// A process answers neither a Seal nor a primary before the map shows its session: only then is it known that its directory is what the
// group takes it for. What is given up by that very map never answers.
func TestNobodyIsAnsweredBeforeTheSessionShows(t *testing.T) {
	c := define("counter", entityOptions(2, 2, 1)...)
	g := newGroup(t, 3, c)
	kept, given := one("counter"), shard.ID{Type: "counter", Number: 1}
	for _, id := range []shard.ID{kept, given} {
		g.place(id, 0, 1, 2)
		g.await(id, shard.Active)
	}
	n := g.nodes[2]
	n.stop()
	g.ignore(shard.ReportReconfig) // of the primaries, which leave the copies out
	g.edit(given, func(p *shard.Placement) {
		p.Copies = slices.Clone(p.Copies)
		p.Copies[2].State = shard.CopyLost
		p.Version++
	})
	seal := func(id shard.ID, wait time.Duration) []shard.Sealed {
		ctx, cancel := context.WithTimeout(t.Context(), wait)
		defer cancel()
		p := g.placement(id)
		return n.region.Seal(ctx, []shard.SealItem{{Shard: id, Copy: p.Copies[2].ID, Epoch: p.Epoch}})
	}
	n.stranger = func() {
		n.region.Update(g.view)
		if sealed := seal(kept, 50*time.Millisecond); len(sealed) != 0 {
			t.Errorf("a process that nobody knows answers %+v", sealed)
		}
	}
	n.start()
	if sealed := seal(kept, patience); len(sealed) != 1 || sealed[0].Fault != nil {
		t.Errorf("a copy that counts answers %+v", sealed)
	}
	if sealed := seal(given, patience); len(sealed) != 1 || sealed[0].Fault == nil {
		t.Errorf("a copy that was given up answers %+v", sealed)
	}
}

package region_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"muster/entity"
	"muster/shard"
)

func shortly(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, d)
}

// A journal that cannot keep what it is given stops the region for good: nothing is confirmed, Err says why.
func TestJournalFaultStopsTheRegion(t *testing.T) {
	c := define("counter", entityOptions(1, 0, 0)...)
	g := newGroup(t, 1, c)
	g.placeAll("counter")
	ctx := ctxFor(t)
	n := g.nodes[0]
	if _, err := c.add.Ask(ctx, n.region, "e", 1); err != nil {
		t.Fatal(err)
	}
	if err := n.region.Err(); err != nil {
		t.Fatalf("a sound region says %v", err)
	}
	n.journal.Close()
	_, err := c.add.Ask(ctx, n.region, "e", 1)
	if e := shard.As(err); e == nil || e.Code != shard.CodeClosed || e.Outcome != shard.Unknown {
		t.Fatalf("add on a journal that is gone: %v; want closed, outcome unknown", err)
	}
	if n.region.Err() == nil {
		t.Error("Err is nil after the journal failed")
	}
	if _, err := c.get.Ask(ctx, n.region, "e", struct{}{}); shard.CodeOf(err) != shard.CodeClosed {
		t.Errorf("ask after the fault: %v", err)
	}
}

// A shard goes on confirming for a minute without a lease, and not for longer: an operator who promotes another copy by
// hand must be able to wait it out.
func TestAutonomyEnds(t *testing.T) {
	c := define("counter", entity.Shards(1), entity.Replicate(0, 0, 200*time.Millisecond))
	g := newGroup(t, 1, c)
	g.placeAll("counter")
	ctx := ctxFor(t)
	n := g.nodes[0]
	n.lease.Store(int64(now() - 50*time.Second))
	if _, err := c.add.Ask(ctx, n.region, "e", 1); err != nil {
		t.Fatalf("within autonomy: %v", err)
	}
	n.lease.Store(int64(now() - 61*time.Second))
	_, err := c.add.Ask(ctx, n.region, "e", 1)
	if e := shard.As(err); e == nil || e.Code != shard.CodeUnconfirmed || e.Outcome != shard.Unknown {
		t.Fatalf("beyond autonomy: %v; want unconfirmed, outcome unknown", err)
	}
	n.lease.Store(int64(now() + forever))
	if v, err := c.get.Ask(ctx, n.region, "e", struct{}{}); err != nil || v != 2 {
		t.Fatalf("with a lease again: %d, %v; want 2", v, err)
	}
}

// A primary whose type does without it after a while stops confirming by then: the leader does not wait for anything else.
func TestLossyPrimaryIsSilentSooner(t *testing.T) {
	c := define("counter", entity.Shards(1), entity.Replicate(1, 0, 200*time.Millisecond), entity.LossyFailover(20*time.Second))
	g := newGroup(t, 1, c)
	g.place(one("counter"), 0)
	g.await(one("counter"), shard.Active)
	ctx := ctxFor(t)
	n := g.nodes[0]
	n.lease.Store(int64(now() - 10*time.Second))
	if _, err := c.add.Ask(ctx, n.region, "e", 1); err != nil {
		t.Fatalf("before its time: %v", err)
	}
	n.lease.Store(int64(now() - 20*time.Second))
	if _, err := c.add.Ask(ctx, n.region, "e", 1); shard.CodeOf(err) != shard.CodeUnconfirmed {
		t.Fatalf("when others may go on without it: %v; want unconfirmed", err)
	}
}

// overhear returns what the nodes report from now on, one after the other; what nobody takes is dropped, as it is repeated.
func (g *group) overhear(t testing.TB) (next func() shard.Report) {
	t.Helper()
	all := make(chan shard.Report, 16)
	g.watch(func(r shard.Report) {
		select {
		case all <- r:
		default:
		}
	})
	return func() shard.Report {
		t.Helper()
		select {
		case r := <-all:
			return r
		case <-time.After(patience):
			t.Fatal("nothing was reported")
			return shard.Report{}
		}
	}
}

// A copy that the map says is ready and the directory does not hold is reported lost, again and again, and never created
// anew under its old id: it would be empty, and counted on. A map of earlier times that the node may see first, in which the copy was not made
// yet, changes nothing.
func TestMissingCopyIsReportedLost(t *testing.T) {
	for name, old := range map[string]bool{"by the newest map": false, "after an old map": true} {
		t.Run(name, func(t *testing.T) { testMissingCopy(t, old) })
	}
}

func testMissingCopy(t *testing.T, old bool) {
	c := define("counter", entityOptions(1, 2, 1)...)
	g := newGroup(t, 3, c)
	id := one("counter")
	g.ignore(shard.ReportReady)
	g.place(id, 0, 1, 2)
	n := g.nodes[2]
	if old {
		n.stale = g.view
	}
	g.ignore(0)
	g.await(id, shard.Active)
	n.stop()
	if err := os.Remove(filepath.Join(n.dir, "journal")); err != nil {
		t.Fatal(err)
	}
	next := g.overhear(t)
	n.start()
	for range 2 {
		if r := next(); r.Kind != shard.ReportLost || r.Shard != id || r.Copy != g.placement(id).Copies[2].ID {
			t.Fatalf("reported %+v", r)
		}
	}
	if h := hosted(t, n, id); h.Role != "missing" || h.Waiting == "" {
		t.Errorf("status of the missing copy: %+v", h)
	}
}

// Once the map shows that a copy is lost its node says so no more, even if nobody can take its place: each time would be an entry
// of the group's log. The copy of the other shard, of which the map does not know yet, is the clock.
func TestKnownLossIsNotReported(t *testing.T) {
	c := define("counter", entityOptions(2, 2, 1)...)
	g := newGroup(t, 3, c)
	known, other := one("counter"), shard.ID{Type: "counter", Number: 1}
	for _, id := range []shard.ID{known, other} {
		g.place(id, 0, 1, 2)
		g.await(id, shard.Active)
	}
	n := g.nodes[2]
	n.stop()
	if err := os.Remove(filepath.Join(n.dir, "journal")); err != nil {
		t.Fatal(err)
	}
	reports := g.overhear(t)
	next := func() shard.ID {
		r := reports()
		for r.Kind != shard.ReportLost {
			r = reports()
		}
		return r.Shard
	}
	n.start()
	for next() != known { // the reports are repeated
	}
	g.ignore(shard.ReportReconfig) // of the primary, which leaves the copy out
	g.edit(known, func(p *shard.Placement) {
		p.Copies = slices.Clone(p.Copies)
		p.Copies[2].State = shard.CopyLost
		p.Version++
	})
	for range 2 { // what was on its way when the map changed comes first
		for next() != other {
		}
	}
	for range 4 {
		if id := next(); id != other {
			t.Fatalf("the copy of %s is reported lost again", id)
		}
	}
}

// A copy whose data are damaged is reported lost and answers nobody; when the map does without it the data go.
func TestDamagedCopyIsReplaced(t *testing.T) {
	c := define("counter", entityOptions(1, 2, 1)...)
	g := newGroup(t, 3, c)
	id, entity := one("counter"), "an entity whose record rots"
	g.place(id, 0, 1, 2)
	g.await(id, shard.Active)
	if _, err := c.add.Ask(ctxFor(t), g.nodes[0].region, shard.EntityID(entity), 1); err != nil {
		t.Fatal(err)
	}
	n := g.nodes[2]
	until(t, "the copy holds the record", func() bool { return hosted(t, n, id).Durable == 2 })
	n.stop()
	path := filepath.Join(n.dir, "journal")
	file, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, bytes.ReplaceAll(file, []byte(entity), []byte(strings.ToUpper(entity))), 0o600); err != nil {
		t.Fatal(err)
	}
	next := g.overhear(t)
	n.start()
	r := next()
	for r.Kind != shard.ReportLost { // the primary may have something to say, too
		r = next()
	}
	if r.Copy != g.placement(id).Copies[2].ID {
		t.Fatalf("reported %+v", r)
	}
	if h := hosted(t, n, id); h.Role != "damaged" || h.Waiting == "" {
		t.Errorf("status of the damaged copy: %+v", h)
	}
	g.edit(id, func(p *shard.Placement) { reconfigured(p, []shard.CopyID{p.Copies[0].ID, p.Copies[1].ID}) })
	until(t, "its data are gone", func() bool { return len(n.journal.Copies()) == 0 })
}

// Limits are refusals with a name, and what is refused has not happened.
func TestMailboxLimit(t *testing.T) {
	c := define("counter", entityOptions(1, 0, 0)...)
	g := newGroup(t, 1, c)
	n := g.nodes[0]
	n.stop()
	n.limits.Mailbox = 4
	n.start()
	g.placeAll("counter")
	ctx := ctxFor(t)
	done := make(chan error, 20)
	go func() {
		_, err := c.wait.Ask(ctx, n.region, "e", struct{}{})
		done <- err
	}()
	<-c.inside
	for range 10 {
		go func() {
			_, err := c.add.Ask(ctx, n.region, "e", 1)
			done <- err
		}()
	}
	for range 6 {
		if e := shard.As(<-done); e == nil || e.Code != shard.CodeOverloaded || e.Outcome != shard.NotApplied {
			t.Fatalf("beyond the mailbox: %v", e)
		}
	}
	c.gate <- struct{}{}
	for range 5 {
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
	if v, err := c.get.Ask(ctx, n.region, "e", struct{}{}); err != nil || v != 4 {
		t.Fatalf("get: %d, %v; want 4", v, err)
	}
}

// Entities beyond the cap of cells are dropped while they are idle, and come back from the log as they were.
func TestIdleEntitiesAreReloaded(t *testing.T) {
	c := define("counter", entity.Shards(1), entity.SnapshotEvery(2))
	g := newGroup(t, 1, c)
	n := g.nodes[0]
	n.stop()
	n.limits.Cells = 3
	n.start()
	g.placeAll("counter")
	ctx := ctxFor(t)
	for round := range 5 {
		for i := range 10 {
			if v, err := c.add.Ask(ctx, n.region, entity.ID(rune('a'+i)), 1); err != nil || v != int64(round+1) {
				t.Fatalf("round %d: %d, %v", round, v, err)
			}
		}
	}
	if h := hosted(t, n, one("counter")); h.Entities > 4 {
		t.Errorf("%d entities are in memory, the cap is 3", h.Entities)
	}
}

// A region that closes lets what runs end, until ctx does: commands of volatile shards too.
func TestCloseWaitsForVolatileCommands(t *testing.T) {
	c := define("cache", entity.Shards(1), entity.Volatile())
	g := newGroup(t, 2, c)
	g.place(one("cache"), 1)
	g.await(one("cache"), shard.Active)
	answer := make(chan error, 1)
	go func() { _, err := c.wait.Ask(ctxFor(t), g.nodes[0].region, "e", struct{}{}); answer <- err }()
	<-c.inside
	closed := make(chan error, 1)
	go func() { closed <- g.nodes[1].region.Close(ctxFor(t)) }()
	until(t, "closing", func() bool { return g.nodes[1].region.Closing() })
	select {
	case c.gate <- struct{}{}:
	case err := <-closed:
		t.Fatalf("closed while a handler ran: %v", err)
	}
	if err := errors.Join(<-answer, <-closed); err != nil {
		t.Error(err)
	}
}

// A record that rots under a running node costs the copy it is of, and no other.
func TestRotCostsOneCopy(t *testing.T) {
	c := define("counter", entity.Shards(2), entity.Replicate(0, 0, 500*time.Millisecond), entity.SnapshotEvery(0))
	g := newGroup(t, 1, c)
	n := g.nodes[0]
	n.stop()
	n.limits.Cells, n.limits.Log = 1, 100_000
	n.start()
	g.placeAll("counter")
	here, other := shard.ID{Type: "counter", Number: 0}, shard.ID{Type: "counter", Number: 1}
	in := func(wanted shard.ID, prefix string) entity.ID {
		for i := 0; ; i++ {
			id := entity.ID(fmt.Sprintf("%s%d", prefix, i))
			if g.shardOf("counter", id) == wanted {
				return id
			}
		}
	}
	rots, sound, far := in(here, "an entity whose record rots"), in(here, "sound"), in(other, "far")
	ctx := ctxFor(t)
	for _, id := range []entity.ID{rots, sound, sound, sound, far} {
		if _, err := c.add.Ask(ctx, n.region, id, 1); err != nil {
			t.Fatal(err)
		}
	}
	until(t, "one in memory", func() bool { c.get.Ask(ctx, n.region, sound, struct{}{}); return hosted(t, n, here).Entities == 1 })
	path := filepath.Join(n.dir, "journal")
	file, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	for at := 0; ; {
		i := bytes.Index(file[at:], []byte(rots))
		if i < 0 {
			break
		}
		if _, err := f.WriteAt([]byte(strings.ToUpper(string(rots))), int64(at+i)); err != nil {
			t.Fatal(err)
		}
		at += i + 1
	}
	f.Close()
	short, cancel := shortly(ctx, time.Second)
	defer cancel()
	if _, err = c.get.Ask(short, n.region, rots, struct{}{}); err == nil {
		t.Error("an entity was made of a record that is rotten")
	}
	if _, err = c.add.Ask(short, n.region, in(here, "new"), 1); err == nil {
		t.Error("the damaged copy took a record")
	}
	if v, err := c.get.Ask(ctx, n.region, far, struct{}{}); err != nil || v != 1 {
		t.Errorf("an entity of another shard: %d, %v", v, err)
	}
	if err := n.region.Err(); err != nil {
		t.Errorf("the region stopped: %v", err)
	}
}

package region_test

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"muster/entity"
	"muster/region"
	"muster/shard"
)

// A mood decides what the fold of a type does to some entity's events when they are read back.
type mood struct {
	*entity.Type[string]
	put       *entity.Command[string, string, string]
	get       *entity.Command[string, struct{}, string]
	gate      chan struct{} // what "hang" waits for
	rereading atomic.Bool
	reread    sync.Map // the events that were read back
}

func defineMood(options ...entity.Option) *mood {
	m := &mood{Type: entity.Define[string]("mood", options...), gate: make(chan struct{})}
	written := entity.On(m.Type, "written", func(s *string, e string) {
		if m.rereading.Load() {
			m.reread.Store(e, true)
		}
		switch *s = e; {
		case !m.rereading.Load():
		case e == "hang":
			<-m.gate
		case e == "exit":
			runtime.Goexit()
		case e == "panic":
			panic("a defect")
		}
	})
	m.put = entity.Handle(m.Type, "put", func(x *entity.Context[string], v string) (string, error) {
		written.Record(x, v)
		return v, nil
	})
	m.get = entity.Handle(m.Type, "get", func(x *entity.Context[string], _ struct{}) (string, error) { return x.State(), nil })
	return m
}

// Entities of many shards are asked for at once, so that they are read back together. Some have a fold that panics, ends its
// goroutine or does not return: each of these fails or waits by itself, all others come back.
func TestReplayTogether(t *testing.T) {
	m := defineMood(entity.Shards(4), entity.SnapshotEvery(0))
	g := newGroup(t, 1, m)
	n := g.nodes[0]
	n.stop()
	n.limits.Log = 1000 // nothing is put apart
	n.start()
	g.placeAll("mood")
	ctx := ctxFor(t)
	bad := []string{"panic", "exit", "hang"}
	const entities, hangs = 200, 5
	what := func(i int) string {
		if k := i % 40; k < len(bad) {
			return bad[k]
		}
		return "fine"
	}
	for i := range entities {
		for _, v := range []string{"first", what(i)} {
			if _, err := m.put.Ask(ctx, n.region, entity.ID(fmt.Sprint("e", i)), v); err != nil {
				t.Fatal(err)
			}
		}
	}
	n.stop()
	m.rereading.Store(true)
	n.start()
	for i := range shard.Number(4) {
		id := shard.ID{Type: "mood", Number: i}
		g.recover(id)
		g.await(id, shard.Active)
	}
	var all, hanging sync.WaitGroup
	for i := range entities {
		wait := &all
		if what(i) == "hang" {
			wait = &hanging
		}
		wait.Go(func() {
			v, err := m.get.Ask(ctx, n.region, entity.ID(fmt.Sprint("e", i)), struct{}{})
			switch want := what(i); {
			case want == "panic" || want == "exit":
				if shard.CodeOf(err) != shard.CodeFailed || !strings.Contains(err.Error(), map[string]string{"panic": "a defect", "exit": "ended its goroutine"}[want]) {
					t.Errorf("entity %d, %s: %q, %v", i, want, v, err)
				}
			case err != nil || v != want:
				t.Errorf("entity %d: %q, %v", i, v, err)
			}
		})
	}
	all.Wait()
	close(m.gate)
	hanging.Wait()
}

// When callers wait for eight entities of a shard, the others that its log names are read with them, as many as cells may hold, and
// anew by the next primary. When they wait for seven, no other is.
func TestReadAhead(t *testing.T) {
	for _, c := range []struct{ asked, cells, inMemory int }{{7, 0, 7}, {8, 0, 60}, {8, 20, 20}} {
		t.Run(fmt.Sprintf("asked=%d/cells=%d", c.asked, c.cells), func(t *testing.T) { readAhead(t, c.asked, c.cells, c.inMemory) })
	}
}

func readAhead(t *testing.T, asked, cells, inMemory int) {
	m, shard0 := defineMood(entity.Shards(1), entity.SnapshotEvery(0)), one("mood")
	g := newGroup(t, 1, m)
	n, ctx := g.nodes[0], ctxFor(t)
	n.stop()
	n.limits.Log, n.limits.Cells = 1000, cells // nothing is put apart
	n.start()
	g.placeAll("mood")
	const entities = 60
	id := func(i int) entity.ID { return entity.ID(fmt.Sprint("e", i)) }
	last := func(i int) string {
		if i < asked {
			return "hang"
		}
		return string(id(i))
	}
	for i := range entities {
		for _, v := range []string{"first", last(i)} {
			if _, err := m.put.Ask(ctx, n.region, id(i), v); err != nil {
				t.Fatal(err)
			}
		}
	}
	n.stop()
	m.rereading.Store(true)
	n.start()
	get := func(i int) {
		if v, err := m.get.Ask(ctx, n.region, id(i), struct{}{}); err != nil || v != last(i) {
			t.Errorf("entity %d: %q, %v", i, v, err)
		}
	}
	var all sync.WaitGroup
	for life := range 2 {
		g.recover(shard0)
		g.await(shard0, shard.Active)
		for i := range asked {
			if life == 0 { // they ask the next primary by themselves
				all.Go(func() { get(i) })
			}
		}
		until(t, fmt.Sprint(inMemory, " entities are on their way"), func() bool { return hosted(t, n, shard0).Entities == inMemory })
	}
	close(m.gate)
	all.Wait()
	others := func() (n int) {
		for i := asked; i < entities; i++ {
			if _, read := m.reread.Load(last(i)); read {
				n++
			}
		}
		return n
	}
	until(t, "the others were read", func() bool { return others() >= inMemory-asked })
	if h := hosted(t, n, shard0); h.Entities != inMemory || others() > 2*(inMemory-asked) { // each primary picks some, if not all
		t.Errorf("%d entities are in memory, not %d, and %d were read that nobody had asked for", h.Entities, inMemory, others())
	}
	for i := range entities {
		get(i)
	}
}

// What was read ahead makes room before what somebody has asked for, and after it once it is asked for itself.
func TestReadAheadMakesRoom(t *testing.T) {
	c := region.NewCells(4)
	c.Touch("asked")
	c.Touch("asked too")
	for _, id := range []shard.EntityID{"ahead", "ahead and asked", "ahead too"} {
		c.Ahead(id)
	}
	c.Touch("ahead and asked")
	for _, gone := range []shard.EntityID{"ahead too", "ahead", "asked", "asked too", "ahead and asked"} {
		if c.Shrink(); c.Has(gone) || c.Len() != 4 {
			t.Errorf("%s is in memory, of %d; it was to go next", gone, c.Len())
		}
		c.Touch("new before " + gone + " went")
	}
}

// BenchmarkReplay asks 10,000 entities of 100 events each, of 16 shards on one node that has just started, by so many callers.
func BenchmarkReplay(b *testing.B) {
	const entities, events = 10_000, 100
	t := defineBlobs("blob", entity.Shards(16), entity.SnapshotEvery(0))
	g := newGroup(b, 1, t)
	n := g.nodes[0]
	n.stop()
	n.limits.Log = entities * events
	n.limits.LogBytes = 1 << 30
	n.start()
	g.placeAll("blob")
	ids := make([]entity.ID, entities)
	for i := range ids {
		ids[i] = entity.ID(fmt.Sprint("e", i))
	}
	each := func(callers, asks int, ask func(ctx context.Context, id entity.ID) error) {
		ctx, cancel := context.WithTimeout(b.Context(), time.Minute)
		defer cancel()
		var all sync.WaitGroup
		for i := range callers {
			all.Go(func() {
				for k := i; k < asks; k += callers {
					if err := ask(ctx, ids[k%entities]); err != nil {
						b.Error(err)
						return
					}
				}
			})
		}
		all.Wait()
	}
	each(1024, entities*events, func(ctx context.Context, id entity.ID) error {
		_, err := t.put.Ask(ctx, n.region, id, payload)
		return err
	})
	for _, callers := range []int{1, 64, 256, 1024} {
		b.Run(fmt.Sprint(callers), func(b *testing.B) {
			used := time.Duration(0)
			for b.Loop() {
				b.StopTimer()
				n.stop()
				n.start()
				for i := range shard.Number(16) {
					id := shard.ID{Type: "blob", Number: i}
					g.recover(id)
					g.await(id, shard.Active)
				}
				b.StartTimer()
				before := processTime(b)
				each(callers, entities, func(ctx context.Context, id entity.ID) error {
					_, err := t.get.Ask(ctx, n.region, id, nil)
					return err
				})
				used += processTime(b) - before
			}
			b.ReportMetric(float64(b.N*entities*events)/b.Elapsed().Seconds(), "events/s")
			b.ReportMetric(float64(used.Nanoseconds())/float64(b.N*entities*events), "cpu-ns/event")
		})
	}
}

package region_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"muster/entity"
	"muster/region"
	"muster/shard"
)

// A command that recorded, behind it in the same run one that spoils the cell, and one more: the last runs on the state that the first
// left, and both are there after a restart.
func TestSpoiledBehindARecord(t *testing.T) {
	c := define("counter", entity.Shards(1), entity.Replicate(0, 0, 0))
	g := newGroup(t, 1, c)
	g.placeAll("counter")
	ctx, n := ctxFor(t), g.nodes[0]
	ids := make([]entity.ID, 20)
	for i := range ids {
		ids[i] = entity.ID(fmt.Sprintf("e%d", i))
		under := int64(0)
		asked := func(command *entity.Command[counter, int64, int64], by int64) <-chan error {
			answer := make(chan error, 1)
			go func() { _, err := command.Ask(ctx, n.region, ids[i], by); answer <- err }()
			under++
			until(t, "under way", func() bool { return n.region.UnderWay() == 1+under })
			return answer
		}
		go c.wait.Ask(ctx, n.region, ids[i], struct{}{})
		<-c.inside
		first, broken, last := asked(c.add, 1), asked(c.broken, 100), asked(c.add, 10)
		c.gate <- struct{}{}
		if err := errors.Join(<-first, <-last); err != nil {
			t.Fatal(err)
		}
		if err := <-broken; shard.CodeOf(err) != shard.CodeFailed {
			t.Fatalf("the one between: %v", err)
		}
		until(t, "all answered", func() bool { return n.region.UnderWay() == 0 })
	}
	holds := func(when string) {
		for _, id := range ids {
			if v, err := c.get.Ask(ctx, n.region, id, struct{}{}); err != nil || v != 11 {
				t.Errorf("%s: entity %s is %d, %v; want 11", when, id, v, err)
			}
		}
	}
	holds("at once")
	n.stop()
	n.start()
	g.recover(one("counter"))
	g.await(one("counter"), shard.Active)
	holds("after a restart")
}

// endsOnce is a codec that ends its goroutine once it is armed.
type endsOnce struct{ armed *atomic.Bool }

func (e endsOnce) Marshal(v any) ([]byte, error) {
	if e.armed.CompareAndSwap(true, false) {
		runtime.Goexit()
	}
	return json.Marshal(v)
}

func (e endsOnce) Unmarshal(b []byte, v any) error { return json.Unmarshal(b, v) }

// A command whose snapshot ends the goroutine is called not applied, and is not: the next one's record follows the last that is there.
func TestGoexitInASnapshot(t *testing.T) {
	armed := new(atomic.Bool)
	c := define("counter", entity.Shards(1), entity.Replicate(0, 0, 0), entity.SnapshotEvery(2), entity.SnapshotEncoding(endsOnce{armed}))
	g := newGroup(t, 1, c)
	g.placeAll("counter")
	ctx, n := ctxFor(t), g.nodes[0]
	if _, err := c.add.Ask(ctx, n.region, "e", 1); err != nil {
		t.Fatal(err)
	}
	armed.Store(true)
	if _, err := c.add.Ask(ctx, n.region, "e", 10); shard.CodeOf(err) != shard.CodeFailed {
		t.Fatalf("add: %v", err)
	}
	if v, err := c.add.Ask(ctx, n.region, "e", 100); err != nil || v != 101 {
		t.Errorf("add: %d, %v; want 101", v, err)
	}
	n.stop()
	n.start()
	g.recover(one("counter"))
	g.await(one("counter"), shard.Active)
	if v, err := c.get.Ask(ctx, n.region, "e", struct{}{}); err != nil || v != 101 {
		t.Errorf("after a restart: %d, %v; want 101", v, err)
	}
}

// A run whose last handler spoils the cell when its copy is gone answers those behind it, so that one-way commands give back the room
// they take.
func TestSpoiledWhenTheCopyIsGone(t *testing.T) {
	c := define("counter", entityOptions(2, 1, 1)...)
	inside, gate := make(chan struct{}, 8), make(chan struct{})
	block := entity.Handle(c.Type, "block", func(*entity.Context[counter], struct{}) (int64, error) {
		inside <- struct{}{}
		<-gate
		panic("a defect")
	})
	g := newGroup(t, 2, c)
	g.nodes[0].limits = region.Limits{}
	here, other := shard.ID{Type: "counter", Number: 0}, shard.ID{Type: "counter", Number: 1}
	for _, id := range []shard.ID{here, other} {
		g.place(id, 0, 1)
		g.await(id, shard.Active)
	}
	in := func(wanted shard.ID) entity.ID {
		for i := 0; ; i++ {
			id := entity.ID(fmt.Sprintf("e%d", i))
			if g.shardOf("counter", id) == wanted {
				return id
			}
		}
	}
	ctx, n := ctxFor(t), g.nodes[0]
	bulk := make([]byte, 400<<10) // more than half of the room
	go c.wait.Ask(ctx, n.region, in(here), struct{}{})
	<-c.inside
	for _, err := range []error{block.OneWay(ctx, n.region, in(here), struct{}{}), c.bulky.OneWay(ctx, n.region, in(here), bulk)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	until(t, "under way", func() bool { return n.region.UnderWay() == 3 })
	c.gate <- struct{}{}
	<-inside                                // the run of the two others
	g.edit(here, func(p *shard.Placement) { // another primary, and C without the copy here
		p.Copies, p.Epoch, p.Version, p.WriteQuorum, p.Status = p.Copies[1:], p.Epoch+1, p.Version+1, 1, shard.Establishing
		p.Primary, p.Node, p.Session = p.Copies[0].ID, g.nodes[1].id, g.nodes[1].Session()
	})
	until(t, "the copy is gone", func() bool {
		for _, h := range n.region.Hosted() {
			if h.Shard == here {
				return false
			}
		}
		return true
	})
	close(gate)
	short, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if err := c.bulky.OneWay(short, n.region, in(other), bulk); err != nil {
		t.Errorf("a one-way command to a shard that has nothing to do: %v", err)
	}
}

// Many callers ask a few entities for additions, and for commands that record and then fail, panic or refuse, all at once: each entity
// is the sum of what was confirmed, at once and after a restart, and each reply is that of some moment in between.
func TestSumsAmongFailures(t *testing.T) {
	c := define("counter", entity.Shards(2), entity.Replicate(2, 1, 0), entity.SnapshotEvery(7))
	g := newGroup(t, 3, c)
	g.placeAll("counter")
	ctx := ctxFor(t)
	ids := []entity.ID{"a", "b", "c", "d"}
	var sums [4]atomic.Int64
	var callers sync.WaitGroup
	for i := range 64 {
		callers.Go(func() {
			random := rand.New(rand.NewPCG(uint64(i), 1))
			for range 40 {
				at, n := random.IntN(len(ids)), g.nodes[random.IntN(3)]
				switch random.IntN(8) {
				case 0:
					if _, err := c.broken.Ask(ctx, n.region, ids[at], int64(1-2*random.IntN(2))*1_000_000); shard.CodeOf(err) != shard.CodeFailed {
						t.Errorf("broken: %v", err)
					}
				case 1:
					if _, err := c.refuse.Ask(ctx, n.region, ids[at], struct{}{}); shard.CodeOf(err) != shard.CodeRefused {
						t.Errorf("refuse: %v", err)
					}
				default:
					by := int64(1 + random.IntN(9))
					v, err := c.add.Ask(ctx, n.region, ids[at], by)
					if sums[at].Add(by); err != nil || v < by || v >= 1_000_000 {
						t.Errorf("add %d: %d, %v", by, v, err)
					}
				}
			}
		})
	}
	callers.Wait()
	holds := func(when string) {
		for i, id := range ids {
			if v, err := c.get.Ask(ctx, g.nodes[i%3].region, id, struct{}{}); err != nil || v != sums[i].Load() {
				t.Errorf("%s: entity %s is %d, %v; %d were confirmed", when, id, v, err, sums[i].Load())
			}
		}
	}
	holds("at once")
	for _, n := range g.nodes {
		n.stop()
		n.start()
	}
	for i := range 2 {
		g.recover(shard.ID{Type: "counter", Number: shard.Number(i)})
		g.await(shard.ID{Type: "counter", Number: shard.Number(i)}, shard.Active)
	}
	holds("after a restart")
}

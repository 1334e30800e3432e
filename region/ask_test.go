package region_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"muster/entity"
	"muster/region"
	"muster/shard"
)

func ctxFor(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

func one(name string) shard.ID { return shard.ID{Type: shard.TypeName(name), Number: 0} }

// Any node answers for any entity: the owner runs the command, the others forward it, and the reply is the state after
// the command wherever it was asked.
func TestAskFromEveryNode(t *testing.T) {
	c := define("counter", entity.Shards(4), entity.Replicate(2, 1, 0))
	g := newGroup(t, 3, c)
	g.placeAll("counter")
	ctx := ctxFor(t)
	for i := range 12 {
		id := entity.ID(fmt.Sprintf("e%d", i))
		for k, n := range g.nodes {
			v, err := c.add.Ask(ctx, n.region, id, 10)
			if want := int64(10 * (k + 1)); err != nil || v != want {
				t.Fatalf("add to %s at %s: %d, %v; want %d", id, n.id, v, err, want)
			}
		}
		if v, err := c.get.Ask(ctx, g.nodes[i%3].region, id, struct{}{}); err != nil || v != 30 {
			t.Fatalf("get %s: %d, %v; want 30", id, v, err)
		}
	}
}

// A refusal, a failure and a panic reach the caller as what they are, and leave no trace in the entity, even when the
// handler had recorded an event: the cell is reloaded from the log.
func TestFailedCommandsLeaveNoTrace(t *testing.T) {
	c := define("counter", entity.Shards(1), entity.Replicate(2, 1, 0))
	g := newGroup(t, 3, c)
	g.placeAll("counter")
	ctx := ctxFor(t)
	for _, n := range g.nodes {
		if _, err := c.add.Ask(ctx, n.region, "e", 1); err != nil {
			t.Fatal(err)
		}
		_, err := c.refuse.Ask(ctx, n.region, "e", struct{}{})
		if e := shard.As(err); e == nil || e.Code != shard.CodeRefused || e.Outcome != shard.NotApplied {
			t.Fatalf("refusal arrived as %v", err)
		}
		for _, by := range []int64{100, -100} {
			if _, err := c.broken.Ask(ctx, n.region, "e", by); shard.CodeOf(err) != shard.CodeFailed {
				t.Fatalf("failure arrived as %v", err)
			}
		}
	}
	if v, err := c.get.Ask(ctx, g.nodes[0].region, "e", struct{}{}); err != nil || v != 3 {
		t.Fatalf("get: %d, %v; want 3", v, err)
	}
}

// What can never be delivered is refused before anything is sent.
func TestRefusesWhatCannotBeDelivered(t *testing.T) {
	c := define("counter", entity.Shards(1))
	g := newGroup(t, 1, c)
	g.placeAll("counter")
	ctx := ctxFor(t)
	for want, e := range map[shard.Code]entity.Envelope{
		shard.CodeUnknownType:    {Type: "nothing", Entity: "e", Command: "add"},
		shard.CodeInvalid:        {Type: "counter", Entity: "", Command: "add"},
		shard.CodeUnknownCommand: {Type: "counter", Entity: "e", Command: "nothing"},
	} {
		if _, err := g.nodes[0].region.Ask(ctx, e); shard.CodeOf(err) != want {
			t.Errorf("%+v: %v; want %s", e, err, want)
		}
	}
	over, cancel := context.WithCancel(ctx)
	cancel()
	_, err := c.add.Ask(over, g.nodes[0].region, "e", 1)
	if !errors.Is(err, &shard.Error{Code: shard.CodeTimeout}) && shard.CodeOf(err) != shard.CodeTimeout {
		t.Errorf("ask with a context that is over: %v", err)
	}
}

// Envelopes that come while the shard has no owner wait, and are answered as soon as it has one.
func TestBuffersUntilTheShardHasAnOwner(t *testing.T) {
	c := define("counter", entity.Shards(1), entity.Replicate(2, 1, 0))
	g := newGroup(t, 3, c)
	ctx := ctxFor(t)
	answers := make(chan error, 30)
	for i := range cap(answers) {
		go func() {
			_, err := c.add.Ask(ctx, g.nodes[i%3].region, "e", 1)
			answers <- err
		}()
	}
	g.placeAll("counter")
	for range cap(answers) {
		if err := <-answers; err != nil {
			t.Fatal(err)
		}
	}
	if v, err := c.get.Ask(ctx, g.nodes[1].region, "e", struct{}{}); err != nil || v != int64(cap(answers)) {
		t.Fatalf("get: %d, %v; want %d", v, err, cap(answers))
	}
}

// One slow handler holds up its own entity and no other one of the shard.
func TestEntitiesRunSideBySide(t *testing.T) {
	c := define("counter", entity.Shards(1))
	g := newGroup(t, 1, c)
	g.placeAll("counter")
	ctx := ctxFor(t)
	slow := make(chan error, 1)
	go func() {
		_, err := c.wait.Ask(ctx, g.nodes[0].region, "slow", struct{}{})
		slow <- err
	}()
	<-c.inside
	behind := make(chan int64, 1)
	go func() {
		v, _ := c.add.Ask(ctx, g.nodes[0].region, "slow", 5)
		behind <- v
	}()
	for range 20 {
		if _, err := c.add.Ask(ctx, g.nodes[0].region, "quick", 1); err != nil {
			t.Fatal(err)
		}
	}
	select {
	case <-behind:
		t.Fatal("a second handler ran beside the first in one entity")
	default:
	}
	c.gate <- struct{}{}
	if err := <-slow; err != nil {
		t.Fatal(err)
	}
	if v := <-behind; v != 5 {
		t.Fatalf("the command behind the slow one answered %d", v)
	}
}

// Limits.Timeout is the deadline of an Ask whose context has none, whether that can be cancelled or not, at the owner too.
func TestTimeoutWithoutADeadline(t *testing.T) {
	for name, options := range map[string][]entity.Option{
		"volatile": {entity.Shards(1), entity.Volatile()}, "durable": entityOptions(1, 0, 0),
	} {
		t.Run(name, func(t *testing.T) {
			c := define("counter", options...)
			g := newGroup(t, 1, c)
			n := g.nodes[0]
			n.stop()
			n.limits = region.Limits{Timeout: 200 * time.Millisecond}
			n.start()
			g.placeAll("counter")
			go c.wait.Ask(ctxFor(t), n.region, "e", struct{}{})
			<-c.inside
			cancellable, cancel := context.WithCancel(context.Background())
			defer cancel()
			for _, ctx := range []context.Context{context.Background(), cancellable} {
				answer := make(chan error, 1)
				go func() { _, err := c.get.Ask(ctx, n.region, "e", struct{}{}); answer <- err }()
				select {
				case err := <-answer:
					if shard.CodeOf(err) != shard.CodeTimeout {
						t.Errorf("%v: %v", ctx, err)
					}
				case <-time.After(patience):
					t.Fatalf("%v: no answer", ctx)
				}
			}
			c.gate <- struct{}{}
		})
	}
}

// What was asked of a node that cannot be reached does not stay in memory once its callers have given up.
func TestCallsToANodeThatCannotBeReached(t *testing.T) {
	c := define("counter", entity.Shards(1), entity.Replicate(0, 0, 0))
	g := newGroup(t, 2, c)
	g.place(one("counter"), 1)
	g.await(one("counter"), shard.Active)
	n := g.nodes[0]
	if _, err := c.add.Ask(ctxFor(t), n.region, "e", 1); err != nil {
		t.Fatal(err)
	}
	n.wires.close(true) // from here to the owner, which keeps its shard
	var all sync.WaitGroup
	for range 64 {
		all.Go(func() {
			ctx, cancel := shortly(t.Context(), 300*time.Millisecond)
			defer cancel()
			if _, err := c.add.Ask(ctx, n.region, "e", 1); shard.CodeOf(err) != shard.CodeTimeout && shard.CodeOf(err) != shard.CodeUnavailable {
				t.Errorf("add: %v", err)
			}
		})
	}
	all.Wait()
	until(t, "nothing waits to be sent", func() bool { return n.region.Unsent(g.nodes[1].port.Addr()) == 0 })
}

// A node that has no map yet does not know which types there are: it says so, and whoever asked may ask another node.
func TestAskBeforeTheMap(t *testing.T) {
	c := define("counter", entity.Shards(1), entity.Replicate(0, 0, 0))
	g := newGroup(t, 1, c)
	g.placeAll("counter")
	n := g.nodes[0]
	n.stop()
	n.stranger = func() {
		_, err := c.get.Ask(ctxFor(t), n.region, "e", struct{}{})
		if e := shard.As(err); e == nil || e.Code != shard.CodeUnavailable || e.Outcome != shard.NotApplied {
			t.Errorf("before there is a map: %v", err)
		}
		if err := c.add.OneWay(ctxFor(t), n.region, "e", 1); shard.CodeOf(err) != shard.CodeUnavailable {
			t.Errorf("one way, before there is a map: %v", err)
		}
	}
	n.start()
}

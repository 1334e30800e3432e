package region_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"testing"
	"time"

	"muster/entity"
	"muster/shard"
)

// wires are the connections a node has dialed, so that a test can cut them, for good or not.
type wires struct {
	mu    sync.Mutex
	conns []net.Conn
	gone  bool
}

func (w *wires) dial(ctx context.Context, addr string) (net.Conn, error) {
	w.mu.Lock()
	gone := w.gone
	w.mu.Unlock()
	if gone {
		return nil, errors.New("there is no way out")
	}
	c, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
	if err == nil {
		w.mu.Lock()
		w.conns = append(w.conns, c)
		w.mu.Unlock()
	}
	return c, err
}

// close lets no new connection be made and cuts those that are there, or lets some be made again.
func (w *wires) close(gone bool) {
	w.mu.Lock()
	w.gone = gone
	w.mu.Unlock()
	if gone {
		w.cut()
	}
}

func (w *wires) cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.conns {
		c.Close()
	}
	w.conns = nil
}

// A primary that nobody asks anything is cut off from its copies, and from nothing else. It owes nobody anything and still finds out,
// and asks for another: the next command would wait for it. The primaries whose copies can be reached ask for nothing. Once it is heard
// again, and nobody has answered what it asked for, it asks for nothing either.
func TestIdlePrimaryFindsThatItIsDeserted(t *testing.T) {
	c := define("counter", entity.Shards(3), entity.Replicate(2, 1, time.Second))
	g := newGroup(t, 3, c)
	g.placeAll("counter")
	asks := make(chan shard.Report, 64)
	g.watch(func(r shard.Report) {
		if r.Kind == shard.ReportRecover {
			asks <- r
		}
	})
	cut := g.placement(shard.ID{Type: "counter"}).Node
	g.node(cut).wires.close(true)
	select {
	case r := <-asks:
		p := g.placement(r.Shard)
		if p.Node != cut || r.Epoch != p.Epoch {
			t.Errorf("%s asks for another primary: %+v", p.Node, r)
		}
		g.node(cut).wires.close(false)
		until(t, "the primary that is heard again wants no other", func() bool { return g.node(cut).region.Wants(p.Primary) == nil })
	case <-ctxFor(t).Done():
		t.Fatal("the primary keeps its shard")
	}
}

// Connections break under load while the owner lives on. Answers are lost, attempts are repeated with the same request
// id, and every command takes effect exactly once.
func TestCutConnectionsLoseAndDoubleNothing(t *testing.T) {
	c := define("counter", entity.Shards(2), entity.Replicate(2, 1, 0))
	g := newGroup(t, 3, c)
	g.placeAll("counter")
	ctx := ctxFor(t)
	const callers, each = 12, 40
	var all sync.WaitGroup
	for i := range callers {
		all.Go(func() {
			for k := range each {
				if _, err := c.add.Ask(ctx, g.nodes[i%3].region, entity.ID(fmt.Sprintf("e%d", (i+k)%5)), 1); err != nil {
					t.Errorf("add: %v", err)
				}
			}
		})
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		all.Wait()
	}()
	cut := time.NewTicker(15 * time.Millisecond)
	defer cut.Stop()
	for cuts := 0; ; {
		select {
		case <-cut.C:
			if cuts < 12 {
				g.nodes[cuts%3].wires.cut()
			}
			cuts++
			continue
		case <-done:
		}
		break
	}
	sum := int64(0)
	for i := range 5 {
		v, err := c.adds.Ask(ctx, g.nodes[0].region, entity.ID(fmt.Sprintf("e%d", i)), struct{}{})
		if err != nil {
			t.Fatal(err)
		}
		sum += v
	}
	if sum != callers*each {
		t.Fatalf("%d adds are there, %d were asked for and confirmed", sum, callers*each)
	}
}

// A port hangs up where a node was, and the lanes of the region to that address were not gone yet, or are wanted again: the next command goes
// over another connection.
func TestLanesOutliveTheirConnection(t *testing.T) {
	c := define("counter", entity.Shards(1), entity.Replicate(1, 1, time.Second))
	g := newGroup(t, 3, c)
	g.place(shard.ID{Type: "counter"}, 0, 1)
	g.await(shard.ID{Type: "counter"}, shard.Active)
	ctx := ctxFor(t)
	for want := range int64(3) {
		if v, err := c.add.Ask(ctx, g.nodes[2].region, "e", 1); err != nil || v != want+1 {
			t.Fatalf("add: %d, %v; want %d", v, err, want+1)
		}
		for _, from := range g.nodes {
			for _, to := range g.nodes {
				from.port.HangUp(to.port.Addr())
			}
		}
	}
}

// Callers beyond the limits of what waits for an owner are refused, and what they asked has not happened.
func TestBufferLimit(t *testing.T) {
	c := define("counter", entityOptions(1, 0, 0)...)
	g := newGroup(t, 1, c)
	n := g.nodes[0]
	n.stop()
	n.limits.Buffered = 5
	n.start()
	ctx := ctxFor(t)
	answers := make(chan error, 12)
	for range cap(answers) {
		go func() {
			_, err := c.add.Ask(ctx, n.region, "e", 1)
			answers <- err
		}()
	}
	for range cap(answers) - 5 {
		if e := shard.As(<-answers); e == nil || e.Code != shard.CodeOverloaded || e.Outcome != shard.NotApplied {
			t.Fatalf("beyond the buffer: %v", e)
		}
	}
	g.placeAll("counter")
	for range 5 {
		if err := <-answers; err != nil {
			t.Fatal(err)
		}
	}
	if v, err := c.get.Ask(ctx, n.region, "e", struct{}{}); err != nil || v != 5 {
		t.Fatalf("get: %d, %v; want 5", v, err)
	}
}

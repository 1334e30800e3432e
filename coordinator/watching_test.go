package coordinator_test

import (
	"context"
	"testing"
	"time"

	"google.golang.org/grpc"

	"muster/coordinator"
	"muster/fsm"
	"muster/shard"
	"muster/transport/wire"
)

// To encode a large map takes long, and longer on a slow machine. The watcher that waits for it sees that its source lives: it would drop the watch and begin
// another, which waits as long. One that does not say that it reads parts, a client or a node of an earlier build, is sent nothing before the map.
func TestWatchLivesWhileTheMapIsEncoded(t *testing.T) {
	g := newGroup(t, 1)
	g.startAll()
	n := g.nodes["n1"]
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	release := coordinator.HoldEncoding(n.Coordinator)
	quiet, err := wire.NewGroupClient(n.port.Peer(n.addr)).Watch(ctx, &wire.WatchRequest{})
	if err != nil {
		t.Fatal(err)
	}
	stream, err := wire.NewGroupClient(n.port.Peer(n.addr)).Watch(ctx, &wire.WatchRequest{Parts: true})
	if err != nil {
		t.Fatal(err)
	}
	for age := int64(0); age < (400 * time.Millisecond).Microseconds(); {
		e, err := stream.Recv()
		if err != nil || len(e.Deltas) > 0 || e.Index != 0 || e.Behind || e.AgeMicros <= age {
			t.Errorf("before the map: %+v, %v", e, err)
			break
		}
		age = e.AgeMicros
	}
	release()
	wholeMap(t, stream)
	if e, err := quiet.Recv(); err != nil || len(e.Deltas) == 0 {
		t.Errorf("the first that a watcher hears that reads no parts: %+v, %v", e, err)
	}
}

// wholeMap is the first delta of a watch, and the largest event it took, in bytes.
func wholeMap(t *testing.T, stream grpc.ServerStreamingClient[wire.WatchEvent]) (whole *shard.Delta, largest int) {
	t.Helper()
	var parts fsm.Parts
	for whole == nil {
		e, err := stream.Recv()
		if err != nil {
			t.Fatal(err)
		}
		size := 0
		for _, b := range e.Deltas {
			if whole, err = parts.Take(b); err != nil {
				t.Fatal(err)
			}
			size += len(b)
		}
		largest = max(largest, size)
	}
	return whole, largest
}

// slowed is a source of maps, which a test sends.
type slowed struct {
	wire.UnimplementedGroupServer
	events chan *wire.WatchEvent
}

func (s *slowed) Watch(_ *wire.WatchRequest, stream grpc.ServerStreamingServer[wire.WatchEvent]) error {
	for {
		select {
		case e := <-s.events:
			if err := stream.Send(e); err != nil {
				return err
			}
		case <-stream.Context().Done():
			return nil
		}
	}
}

// A node that takes longer over a map than a source may be silent does not take its source for silent: what that said meanwhile waits to be read.
func TestSlowWatcherKeepsItsSource(t *testing.T) {
	g := newGroup(t, 1)
	s := &slowed{events: make(chan *wire.WatchEvent, 1)}
	addr := freeAddr(t)
	serveGroup(t, "n9", addr, s)
	const maps = 6 // each would have been its last by an even chance
	shown := make(chan shard.Index, maps)
	if err := g.nodes["n1"].open(func(c *coordinator.Config) {
		c.OnView = func(v *shard.View) {
			if v.Index < maps {
				s.send(v.Index + 1)
			}
			<-time.After(coordinator.WatchSilence + 100*time.Millisecond) // this node is slow: that is under test
			shown <- v.Index
		}
	}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	ended := make(chan struct{})
	go func() { coordinator.Follow(ctx, g.nodes["n1"].Coordinator, addr); close(ended) }()
	s.send(1)
	for at := shard.Index(0); at < maps; {
		select {
		case at = <-shown:
		case <-ended:
			t.Fatalf("the watch is dropped after map %d of %d", at, maps)
		}
	}
	cancel()
	<-ended
}

// A node registers while its follower does something else: OnView is called once more all the same, for it may have been shown the map that holds
// the session before the node knew that this is its own. A region that is not shown it answers nobody.
func TestAnnouncedMapIsShown(t *testing.T) {
	g := newGroup(t, 1)
	addr := freeAddr(t)
	serveGroup(t, "n9", addr, &slowed{})
	shown := make(chan struct{}, 1)
	if err := g.nodes["n1"].open(func(c *coordinator.Config) { c.OnView = func(*shard.View) { shown <- struct{}{} } }); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	coordinator.Announce(g.nodes["n1"].Coordinator)
	ended := make(chan struct{})
	go func() { coordinator.Follow(ctx, g.nodes["n1"].Coordinator, addr); close(ended) }()
	select {
	case <-shown:
	case <-ended:
		t.Error("the map is not shown again")
	}
	cancel()
	<-ended
}

// send sends the next map, which differs from the one before.
func (s *slowed) send(index shard.Index) {
	members := int(index)
	s.events <- &wire.WatchEvent{Index: uint64(index), Deltas: fsm.EncodeDelta(&shard.Delta{Index: index, Required: &members, Reset: index == 1})}
}

package client

import (
	"context"
	"errors"
	"iter"
	"time"

	"google.golang.org/grpc"

	"muster/fsm"
	"muster/shard"
	"muster/transport"
	"muster/transport/wire"
)

// watchPause is between two rounds over all addresses when no node lets itself be watched.
const watchPause = 200 * time.Millisecond

// Event is one step of the group as a watcher sees it.
type Event struct {
	View       *shard.View  // the map after the step
	Delta      *shard.Delta // what changed; nil for a heartbeat, which only tells of the leader
	Leader     shard.NodeID // "" when none is known
	LeaderAddr string
	Term       uint64
}

// Watch follows the map, from the whole of it on (a Delta with Reset), every change in order and once. When a node goes away
// it goes on at another; if that one no longer has the changes in between, another whole map comes. The loop ends
// when its body does, or with one error when ctx ends or the client is closed.
func (c *Client) Watch(ctx context.Context) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		w := &watcher{client: c, view: shard.NewView(), yield: yield}
		for {
			err := c.each(ctx, w.follow, func(*shard.Error) bool { return !w.left })
			if w.left {
				return
			}
			if ctx.Err() != nil || shard.CodeOf(err) == shard.CodeClosed || shard.CodeOf(err) == shard.CodeInvalid {
				yield(Event{}, err)
				return
			}
			select {
			case <-ctx.Done():
			case <-time.After(watchPause):
			}
		}
	}
}

// A watcher is one Watch. Its goroutine is the caller's.
type watcher struct {
	client *Client
	view   *shard.View
	parts  fsm.Parts // of the present stream
	yield  func(Event, error) bool
	left   bool // the loop's body has ended it
}

var errBehind = errors.New("the node has less than was seen already")

// follow watches at one node until that ends.
func (w *watcher) follow(ctx context.Context, conn grpc.ClientConnInterface) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	w.parts = fsm.Parts{}
	stream, err := wire.NewGroupClient(conn).Watch(ctx, &wire.WatchRequest{From: uint64(w.view.Index)})
	if err != nil {
		return err
	}
	for {
		e, err := stream.Recv()
		if err != nil {
			return err
		}
		if err := w.take(e); err != nil || w.left {
			return err
		}
	}
}

// take hands on what one message says.
func (w *watcher) take(e *wire.WatchEvent) error {
	if e.Behind && e.LeaderAddr != "" {
		return &shard.Error{Code: shard.CodeNotLeader, Node: shard.NodeID(e.Leader), Addr: e.LeaderAddr, Detail: "a member without a vote, or one that is behind"}
	}
	if e.Behind {
		return shard.Errorf(shard.CodeBehind, "%v", errBehind)
	}
	event := Event{Leader: shard.NodeID(e.Leader), LeaderAddr: e.LeaderAddr, Term: e.Term}
	for _, b := range e.Deltas {
		delta, err := w.parts.Take(b)
		if err != nil {
			return err
		}
		if delta == nil {
			continue
		}
		next, err := w.view.With(delta)
		if err != nil {
			w.view = shard.NewView() // start anew with the whole map
			return transport.Typed(err)
		}
		w.view, event.View, event.Delta = next, next, delta
		if w.left = !w.yield(event, nil); w.left {
			return nil
		}
	}
	if len(e.Deltas) == 0 {
		event.View = w.view
		w.left = !w.yield(event, nil)
	}
	return nil
}

package client_test

import (
	"context"
	"testing"
	"time"

	"google.golang.org/grpc"

	"muster/client"
	"muster/fsm"
	"muster/shard"
	"muster/transport/wire"
)

// stops makes the station answer nobody until the test ends, or the returned function is called.
func (s *station) stops(t *testing.T) (goOn context.CancelFunc) {
	until, goOn := context.WithCancel(t.Context())
	s.hangs.Store(&until)
	return goOn
}

// connected is a client of stations, which ends with the test.
func connected(t *testing.T, addrs ...string) *client.Client {
	t.Helper()
	c, err := client.Connect(within(t), addrs...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// A node that is stopped answers nobody and refuses nobody. A question, an order that may be repeated and a watch go on at the next address long before
// their time is over; they waited until gRPC gave up the connection, or for all of it.
func TestSilentNodeIsPassedOver(t *testing.T) {
	for what, call := range map[string]func(context.Context, *client.Client) error{
		"a question": func(ctx context.Context, c *client.Client) error { _, err := c.State(ctx); return err },
		"an order":   func(ctx context.Context, c *client.Client) error { _, err := c.Pause(ctx, true, 0); return err },
		"a setting":  func(ctx context.Context, c *client.Client) error { return c.SetRequiredQuorum(ctx, 1) },
		"a transfer to a node": func(ctx context.Context, c *client.Client) error {
			_, err := c.TransferLead(ctx, "n2")
			return err
		},
		"a watch": func(ctx context.Context, c *client.Client) error {
			for _, err := range c.Watch(ctx) {
				return err
			}
			return nil
		},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			first, second := open(t, "g"), open(t, "g")
			done := func(*wire.AdministerRequest) *wire.Fault { return nil }
			first.order, second.order = done, done
			c := connected(t, first.addr, second.addr)
			first.stops(t)
			began := time.Now()
			if err := call(within(t), c); err != nil || time.Since(began) > 6*time.Second {
				t.Errorf("after %s: %v", time.Since(began), err)
			}
		})
	}
}

// What may have happened at a node that is silent, and would happen twice, is not taken to another: it waits for its answer.
func TestSilentNodeMayHaveDoneIt(t *testing.T) {
	t.Parallel()
	first, second := open(t, "g"), open(t, "g")
	first.order = func(*wire.AdministerRequest) *wire.Fault { return nil }
	second.order = func(*wire.AdministerRequest) *wire.Fault { t.Error("the second was given the order"); return nil }
	c := connected(t, first.addr, second.addr)
	first.stops(t)
	for what, call := range map[string]func(context.Context) error{
		"a command":            func(ctx context.Context) error { return c.Tell(ctx, ping) },
		"a transfer to anyone": func(ctx context.Context) error { _, err := c.TransferLead(ctx, ""); return err },
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 3*silence)
		if err := call(ctx); shard.CodeOf(err) != shard.CodeTimeout || shard.As(err).Outcome != shard.Unknown {
			t.Errorf("%s: %v", what, err)
		}
		cancel()
	}
	if second.asked.Load() > 0 {
		t.Error("the second was asked")
	}
}

// A node that takes long over an answer and says who it is meanwhile is not given up, nor is the only one there is, which may go on.
func TestSlowNodeIsWaitedFor(t *testing.T) {
	t.Run("slow", func(t *testing.T) {
		t.Parallel()
		first, second := open(t, "g"), open(t, "g")
		c := connected(t, first.addr, second.addr)
		first.inspect = func(stream grpc.ServerStreamingServer[wire.InspectReply]) error {
			select {
			case <-time.After(4 * silence):
			case <-stream.Context().Done():
			}
			return stream.Send(&wire.InspectReply{Node: "slow", Whole: fsm.EncodeDelta(first.view.Whole())[0]})
		}
		if s, err := c.State(within(t)); err != nil || s.Node != "slow" {
			t.Errorf("%s answered, %v", s.Node, err)
		}
	})
	t.Run("alone", func(t *testing.T) {
		t.Parallel()
		only := open(t, "g")
		c := connected(t, only.addr)
		goOn := only.stops(t)
		time.AfterFunc(4*silence, goOn)
		if _, err := c.State(within(t)); err != nil {
			t.Error(err)
		}
	})
}

// A question whose time is over has not happened, though the node may have heard it.
func TestQuestionsHaveNotHappened(t *testing.T) {
	t.Parallel()
	only := open(t, "g")
	c := connected(t, only.addr)
	only.stops(t)
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, err := c.State(ctx); shard.CodeOf(err) != shard.CodeTimeout || shard.As(err).Outcome != shard.NotApplied {
		t.Error(err)
	}
}

// silence is how long a node may say nothing, see client.attended.
const silence = time.Second

package client

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"muster/barrier"
	"muster/shard"
	"muster/transport/wire"
)

// withdrawMargin is how much earlier than the caller the node gives up waiting, so that the arrival is taken back before
// the caller leaves.
const withdrawMargin = 500 * time.Millisecond

// A caller that gives up waits so long to hear what became of its arrival: longer than its node takes for that.
const (
	takeBackPatience = 4 * time.Second
	takeBackPause    = 50 * time.Millisecond
)

// Barrier arrives at the named barrier and waits until as many parties as it takes are in. The first to arrive says how many;
// another number is CodeMismatch, and fewer than one CodeInvalid. participant names this party, so that a repeated arrival is the same one; "" makes it a
// party of its own.
//
// When ctx ends the arrival is taken back, which may take three seconds beyond a cancellation; what opened before is a success.
// CodeTimeout with a certain outcome means that the arrival was taken back; CodeReplaced, that a later call of the same participant waits in the place
// of this one. After an error whose outcome is unknown the
// barrier may have counted this party.
func (c *Client) Barrier(ctx context.Context, name string, parties int, participant string) (barrier.Outcome, error) {
	var out barrier.Outcome
	if parties < 1 { // without any it would take a call back
		return barrier.Outcome{}, shard.Invalid("barrier %.80q takes %d parties: it takes one at least", name, parties)
	}
	err := c.each(ctx, func(ctx context.Context, conn grpc.ClientConnInterface) error {
		patience := remaining(ctx)
		patience -= min(withdrawMargin, patience/5)
		reply, err := arrive(ctx, wire.NewGroupClient(conn), &wire.ArriveRequest{
			Name: name, Parties: int32(min(parties, barrier.MaxParties+1)), Participant: participant, TimeoutMicros: patience.Microseconds(),
			Request: 1 + rand.Uint64N(math.MaxUint64),
		})
		if err == nil {
			err = fault(reply.Fault)
		}
		if err != nil {
			return err
		}
		out = barrier.Outcome{
			State: barrier.Released, Generation: barrier.Generation(reply.Generation),
			Parties: int(reply.Parties), Arrived: int(reply.Parties),
		}
		for _, p := range reply.Participants {
			out.Participants = append(out.Participants, barrier.Participant(p))
		}
		return nil
	}, notSent)
	return out, err
}

// arrive makes one call. When ctx is cancelled it does not break off, for then nobody would hear what became of the arrival: another call has the
// node take it back, again until this one is answered, as it may not have come in yet.
func arrive(ctx context.Context, g wire.GroupClient, req *wire.ArriveRequest) (*wire.ArriveReply, error) {
	call, breakOff := context.WithCancel(context.WithoutCancel(ctx))
	defer breakOff()
	if deadline, has := ctx.Deadline(); has {
		var cancel context.CancelFunc
		call, cancel = context.WithDeadline(call, deadline.Add(takeBackPatience))
		defer cancel()
	}
	var reply *wire.ArriveReply
	var err error
	answered := make(chan struct{})
	go func() {
		defer close(answered)
		reply, err = g.Arrive(call, req)
	}()
	select {
	case <-answered:
		return reply, err
	case <-ctx.Done():
	}
	if errors.Is(ctx.Err(), context.Canceled) {
		takeBack(call, g, &wire.ArriveRequest{Name: req.Name, Request: req.Request}, answered)
	}
	breakOff()
	<-answered
	if status.Code(err) == codes.Canceled { // that was us
		err = shard.Unknownf(shard.CodeTimeout, "barrier %s: the time is over before the node said that the arrival was taken back, which takes a leader", req.Name)
	}
	return reply, err
}

// takeBack asks for it until the call is answered, the node does not know how, or the patience ends.
func takeBack(ctx context.Context, g wire.GroupClient, req *wire.ArriveRequest, answered <-chan struct{}) {
	ctx, cancel := context.WithTimeout(ctx, takeBackPatience)
	defer cancel()
	tick := time.NewTicker(takeBackPause)
	defer tick.Stop()
	for {
		reply, err := g.Arrive(ctx, req)
		switch {
		case err != nil:
			return
		case reply.Fault == nil: // under way
			select {
			case <-answered:
			case <-ctx.Done():
			}
			return
		case shard.Code(reply.Fault.Code) != shard.CodeNotFound: // a node of an earlier build
			return
		}
		select {
		case <-answered:
			return
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

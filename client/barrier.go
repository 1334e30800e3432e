package client

import (
	"context"
	"time"

	"google.golang.org/grpc"

	"muster/barrier"
	"muster/transport/wire"
)

// withdrawMargin is how much earlier than the caller the node gives up waiting, so that the arrival is taken back before
// the caller leaves.
const withdrawMargin = 500 * time.Millisecond

// Barrier arrives at the named barrier and waits until as many parties as it takes are in. The first to arrive says how many;
// another number is CodeMismatch. participant names this party, so that a repeated arrival is the same one; "" makes it a
// party of its own.
//
// CodeTimeout with a certain outcome means that the arrival was taken back; CodeReplaced, that a later call of the same participant waits in the place
// of this one. After an error whose outcome is unknown the
// barrier may have counted this party.
func (c *Client) Barrier(ctx context.Context, name string, parties int, participant string) (barrier.Outcome, error) {
	var out barrier.Outcome
	err := c.each(ctx, func(ctx context.Context, conn grpc.ClientConnInterface) error {
		patience := remaining(ctx)
		patience -= min(withdrawMargin, patience/5)
		reply, err := wire.NewGroupClient(conn).Arrive(ctx, &wire.ArriveRequest{
			Name: name, Parties: int32(min(parties, barrier.MaxParties+1)), Participant: participant, TimeoutMicros: patience.Microseconds(),
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

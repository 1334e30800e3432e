package client

import (
	"context"
	"time"

	"google.golang.org/grpc"

	"muster/entity"
	"muster/transport"
	"muster/transport/wire"
)

// Ask sends the command and returns the reply. The node that takes it sends it on to the entity under its own session, so
// a repetition by the caller is a new command: after an error whose outcome is unknown, look before asking again.
//
// It fails with *shard.Error.
func (c *Client) Ask(ctx context.Context, e entity.Envelope) ([]byte, error) {
	return c.send(ctx, e, false)
}

// Tell sends the command and returns when it is confirmed. It fails as Ask does.
func (c *Client) Tell(ctx context.Context, e entity.Envelope) error {
	_, err := c.send(ctx, e, true)
	return err
}

func (c *Client) send(ctx context.Context, e entity.Envelope, tell bool) ([]byte, error) {
	if err := e.Validate(); err != nil {
		return nil, err
	}
	var payload []byte
	err := c.each(ctx, func(ctx context.Context, conn grpc.ClientConnInterface) error {
		reply, err := wire.NewMusterClient(conn).Ask(ctx, &wire.AskRequest{
			Type: string(e.Type), Entity: string(e.Entity), Command: e.Command, Payload: e.Payload,
			TimeoutMicros: timeout(ctx).Microseconds(), Tell: tell,
		})
		if err != nil {
			return err
		}
		payload = reply.Payload
		return fault(reply.Fault)
	}, notSent)
	return payload, err
}

// timeout is how long the node may take: less than what is left, so that its answer, which says what it waited for, arrives in time.
func timeout(ctx context.Context) time.Duration {
	left := remaining(ctx)
	return left - min(left/10, lastWords)
}

// lastWords is how long an answer may be under way.
const lastWords = 100 * time.Millisecond

// remaining is the time until the deadline of ctx, 0 for none.
func remaining(ctx context.Context) time.Duration {
	deadline, ok := ctx.Deadline()
	if !ok {
		return 0
	}
	return max(time.Microsecond, time.Until(deadline))
}

// fault is transport.ErrorOf as an error, nil for nil.
func fault(f *wire.Fault) error {
	if f == nil {
		return nil
	}
	return transport.ErrorOf(f)
}

var _ entity.Sender = (*Client)(nil)

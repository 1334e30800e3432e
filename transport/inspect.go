package transport

import (
	"context"
	"errors"
	"io"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"muster/shard"
	"muster/transport/wire"
)

// Inspect asks a node what it knows of the group. It gives each message of the map to take as it comes, for fsm.Single, and returns the
// message that says all the rest. It ends with the first failure, take's among them, and keeps no more of an answer than one message. It
// fails with *shard.Error, or as take did.
func Inspect(ctx context.Context, of wire.GroupClient, r *wire.InspectRequest, take func(whole []byte) error) (*wire.InspectReply, error) {
	caller := ctx
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // gRPC keeps a stream that is not read to its end until then
	stream, err := of.Inspect(ctx, r)
	var last *wire.InspectReply
	for err == nil {
		var reply *wire.InspectReply
		if reply, err = stream.Recv(); err != nil {
			break
		}
		if reply.Fault != nil {
			return nil, ErrorOf(reply.Fault)
		}
		if last = reply; len(reply.Whole) == 0 {
			continue
		}
		if err := take(reply.Whole); err != nil {
			return nil, err
		}
	}
	switch {
	case status.Code(err) == codes.Canceled && caller.Err() == nil:
		return nil, shard.Errorf(shard.CodeUnavailable, "the connection was given up")
	case !errors.Is(err, io.EOF):
		return nil, Typed(err)
	case last == nil:
		return nil, shard.Errorf(shard.CodeInternal, "the answer has no message")
	}
	return last, nil
}

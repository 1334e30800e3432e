package transport

import (
	"errors"
	"io"

	"google.golang.org/grpc"

	"muster/shard"
	"muster/transport/wire"
)

// Inspected reads the answer to an Inspect: the message that says all but the map, and the messages of the map, for fsm.DecodeDelta. It fails
// with *shard.Error. The stream is read to its end whatever it says: until then gRPC keeps it.
func Inspected(stream grpc.ServerStreamingClient[wire.InspectReply], err error) (last *wire.InspectReply, whole [][]byte, fault error) {
	for err == nil {
		var r *wire.InspectReply
		if r, err = stream.Recv(); err != nil {
			break
		}
		if fault == nil && r.Fault != nil {
			fault = ErrorOf(r.Fault)
		}
		if last = r; len(r.Whole) > 0 {
			whole = append(whole, r.Whole)
		}
	}
	switch {
	case fault != nil:
		return nil, nil, fault
	case !errors.Is(err, io.EOF):
		return nil, nil, Typed(err)
	case last == nil:
		return nil, nil, shard.Errorf(shard.CodeInternal, "the answer has no message")
	}
	return last, whole, nil
}

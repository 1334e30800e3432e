package transport

import (
	"errors"
	"io"

	"google.golang.org/grpc"

	"muster/transport/wire"
)

// Inspected reads the answer to an Inspect: the message that says all but the map, and the messages of the map, for fsm.DecodeDelta. It fails
// with *shard.Error.
func Inspected(stream grpc.ServerStreamingClient[wire.InspectReply], err error) (last *wire.InspectReply, whole [][]byte, fault error) {
	for err == nil {
		var r *wire.InspectReply
		if r, err = stream.Recv(); err != nil {
			break
		}
		if r.Fault != nil {
			return nil, nil, ErrorOf(r.Fault)
		}
		if last = r; len(r.Whole) > 0 {
			whole = append(whole, r.Whole)
		}
	}
	if !errors.Is(err, io.EOF) {
		return nil, nil, Typed(err)
	}
	return last, whole, nil
}

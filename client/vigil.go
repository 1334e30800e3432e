package client

import (
	"context"
	"errors"
	"time"

	"google.golang.org/grpc"

	"muster/shard"
	"muster/transport"
	"muster/transport/wire"
)

// silence is how long a call waits before its node is asked whether it lives, and how long that answer may take. Hello takes a node no lock and
// no other node, so one that does not answer it is stopped, hangs or is cut off, which neither the system nor gRPC tells for 13 s.
const silence = time.Second

var errSilent = errors.New("the node is silent")

// attended is the call, given up when the node does not even answer who it is. Then it fails with CodeUnavailable, and says as before whether it
// may have happened. A node that is merely slow has all the time there is.
func attended(addr string, call func(context.Context, grpc.ClientConnInterface) error) func(context.Context, grpc.ClientConnInterface) error {
	return func(ctx context.Context, conn grpc.ClientConnInterface) error {
		asking, giveUp := context.WithCancelCause(ctx)
		over := make(chan struct{})
		go func() {
			defer close(over)
			if silent(asking, conn) {
				giveUp(errSilent)
			}
		}()
		err := call(asking, conn)
		fault := transport.Typed(err)
		if fault != nil && fault.Code == shard.CodeTimeout && ctx.Err() == nil && errors.Is(context.Cause(asking), errSilent) {
			err = &shard.Error{Code: shard.CodeUnavailable, Outcome: fault.Outcome, Detail: addr + " does not answer any more"}
		}
		giveUp(nil)
		<-over
		return err
	}
}

// silent returns true when the node is, and false when the call is over.
func silent(asking context.Context, conn grpc.ClientConnInterface) bool {
	tick := time.NewTicker(silence)
	defer tick.Stop()
	for {
		select {
		case <-asking.Done():
			return false
		case <-tick.C:
		}
		hello, cancel := context.WithTimeout(asking, silence)
		_, err := wire.NewGroupClient(conn).Hello(hello, &wire.HelloRequest{})
		late := hello.Err() != nil
		cancel()
		if err != nil && late {
			return asking.Err() == nil
		}
	}
}

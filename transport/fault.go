package transport

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"muster/shard"
	"muster/transport/wire"
)

// FaultOf returns the wire form of err: that of the shard.Error in its chain, or the closest typed error for a failure of
// a call or a context. It returns nil for nil. ErrorOf is its inverse.
func FaultOf(err error) *wire.Fault {
	e := Typed(err)
	if e == nil {
		return nil
	}
	return &wire.Fault{
		Code: string(e.Code), Unknown: e.Outcome == shard.Unknown,
		Type: valid(string(e.Shard.Type)), Shard: uint32(e.Shard.Number), Epoch: uint64(e.Epoch),
		Node: valid(string(e.Node)), Addr: valid(e.Addr), Detail: valid(bounded(e.Detail)),
	}
}

// ErrorOf returns the error a fault stands for, nil for nil. A fault without a code is a defect of its sender: it
// becomes CodeInternal with an unknown outcome, never "all is well".
func ErrorOf(f *wire.Fault) *shard.Error {
	if f == nil {
		return nil
	}
	e := &shard.Error{
		Code: shard.Code(f.Code), Shard: shard.ID{Type: shard.TypeName(f.Type), Number: shard.Number(f.Shard)},
		Epoch: shard.Epoch(f.Epoch), Node: shard.NodeID(f.Node), Addr: f.Addr, Detail: f.Detail,
	}
	if f.Unknown {
		e.Outcome = shard.Unknown
	}
	if e.Code == "" {
		e.Code, e.Outcome = shard.CodeInternal, shard.Unknown
	}
	return e
}

// Typed returns err as a shard.Error: the one in its chain, the one a server attached to a gRPC status, or the closest
// code for a bare status or context error. What cannot be proved not to have happened is Unknown. It returns nil for nil.
func Typed(err error) *shard.Error {
	var e *shard.Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &e):
		return e
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return shard.Unknownf(shard.CodeTimeout, "%v", err)
	}
	s, ok := status.FromError(err)
	if !ok {
		return shard.As(err)
	}
	for _, d := range s.Details() {
		if f, ok := d.(*wire.Fault); ok {
			return ErrorOf(f)
		}
	}
	return bare(s)
}

// bare types a status that the other side's gRPC library made, not its handlers.
func bare(s *status.Status) *shard.Error {
	switch s.Code() {
	case codes.DeadlineExceeded, codes.Canceled:
		return shard.Unknownf(shard.CodeTimeout, "%s", s.Message())
	case codes.Unavailable:
		return shard.Unknownf(shard.CodeUnavailable, "%s", s.Message())
	case codes.ResourceExhausted:
		// A message above the size limit, either way: a request was not read, but an answer may have been lost.
		return shard.Unknownf(shard.CodeOverloaded, "%s", s.Message())
	case codes.Unimplemented, codes.InvalidArgument:
		return shard.Invalid("%s", s.Message())
	case codes.Unauthenticated, codes.PermissionDenied:
		return shard.Errorf(shard.CodeWrongGroup, "%s", s.Message())
	default:
		return shard.Unknownf(shard.CodeInternal, "%s: %s", s.Code(), s.Message())
	}
}

// StatusOf returns the gRPC status error that carries err whole, for handlers whose reply message has no fault of its
// own. It returns nil for nil.
func StatusOf(err error) error {
	f := FaultOf(err)
	if f == nil {
		return nil
	}
	s, attachErr := status.New(grpcCode(shard.Code(f.Code)), ErrorOf(f).Error()).WithDetails(f)
	if attachErr != nil {
		return status.Error(codes.Internal, f.Detail)
	}
	return s.Err()
}

func grpcCode(c shard.Code) codes.Code {
	switch c {
	case shard.CodeInvalid, shard.CodeUnknownCommand:
		return codes.InvalidArgument
	case shard.CodeUnknownType, shard.CodeNotFound:
		return codes.NotFound
	case shard.CodeOverloaded:
		return codes.ResourceExhausted
	case shard.CodeTimeout, shard.CodeUnconfirmed:
		return codes.DeadlineExceeded
	case shard.CodeUnavailable, shard.CodeNoLeader, shard.CodeClosed, shard.CodeBehind:
		return codes.Unavailable
	case shard.CodeInternal, shard.CodeFailed:
		return codes.Internal
	default:
		return codes.FailedPrecondition
	}
}

// Millis is a time as it crosses the wire, in whole milliseconds: away from 0, which often stands for no end.
func Millis(d time.Duration) int64 {
	whole := d.Truncate(time.Millisecond)
	switch {
	case d > whole:
		whole += time.Millisecond
	case d < whole:
		whole -= time.Millisecond
	}
	return whole.Milliseconds()
}

// valid keeps a stray byte in a detail from making the whole message unsendable: protobuf strings must be UTF-8.
func valid(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }

// MaxDetail is how many bytes of an error's text reach the other side: a frame of answers has many.
const MaxDetail = 64 << 10

// bounded cuts a text that is too long, and says so.
func bounded(s string) string {
	if len(s) <= MaxDetail {
		return s
	}
	return fmt.Sprintf("%s… (%d bytes in all)", s[:MaxDetail], len(s))
}

package region

import (
	"math/bits"
	"sync"
	"sync/atomic"

	"google.golang.org/grpc/mem"

	"muster/shard"
)

// An inbound is the calls that came in one frame, and the frame, in which their payloads stand. Once every call is over both are
// used again: nobody looks at a call, or keeps its payload, beyond its answer.
//
// It was two objects for each ask before, and more bytes than all else that the owner's node made for one.
//
// Invariant: the calls of one that is not in use are zero.
type inbound struct {
	calls []call
	frame mem.Buffer   // nil for calls that came in none
	left  atomic.Int64 // calls that are not over, and one for who hands them out
}

var inbounds = sync.Pool{New: func() any { return new(inbound) }}

// newInbound has room for n calls and counts them.
func newInbound(n int) *inbound {
	in := inbounds.Get().(*inbound)
	if cap(in.calls) < n {
		in.calls = make([]call, 1<<bits.Len(uint(n-1)))
	}
	in.calls = in.calls[:n]
	in.left.Store(1 + int64(n))
	return in
}

// over takes off a call, or who hands them out.
func (in *inbound) over() {
	if in.left.Add(-1) > 0 {
		return
	}
	clear(in.calls)
	if in.frame != nil {
		in.frame.Free()
		in.frame = nil
	}
	inbounds.Put(in)
}

// asked is the sink of calls that came in a frame of asks.
type asked struct {
	answers *answers
	calls   *inbound
}

// answer implements sink.
func (a *asked) answer(token uint64, reply []byte, fault *shard.Error) {
	a.answers.answer(token, reply, fault)
	a.calls.over()
}

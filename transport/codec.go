package transport

import (
	"google.golang.org/grpc"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/mem"
)

// The messages of hot streams turn themselves into their protobuf form and back: the same bytes as the message of the
// schema, without an object for each of its parts. A value is used by one goroutine at a time.
type (
	// OutgoingFrame is one that is sent.
	OutgoingFrame interface {
		// Size is the number of bytes Append adds.
		Size() int
		// Append appends the wire form to b.
		Append(b []byte) []byte
	}
	// IncomingFrame is one that is received.
	IncomingFrame interface {
		// Read takes the wire form apart. It must not keep b, unless it is a KeptFrame: the memory is used again.
		Read(b []byte) error
	}
	// KeptFrame is an incoming one that goes on using what Read was given.
	KeptFrame interface {
		IncomingFrame
		// Keep comes before Read and gives it the buffer that Read's bytes are in, to be freed when nobody looks at them any
		// more. One that is never freed is left to the garbage collector.
		Keep(b mem.Buffer)
	}
)

// codec is gRPC's protobuf codec with a short cut for frames.
type codec struct{ encoding.CodecV2 }

var frames = codec{encoding.GetCodecV2(proto.Name)}

// buffers are what frames are written to and read from. gRPC's own pool has nothing between 32 KiB and 1 MiB and clears all of what it
// hands out, so a frame of 40 KiB cost the clearing of a whole MiB, and held that for as long as it was kept. Tiers that are closer
// than these were slower than gRPC's: each has fewer buffers, and fewer of them are there when one is wanted.
var buffers = must(mem.NewBinaryTieredBufferPool(12, 14, 16, 18, 20))

func must(pool mem.BufferPool, err error) mem.BufferPool {
	if err != nil {
		panic(err) // the powers above are wrong
	}
	return pool
}

// Marshal implements encoding.CodecV2.
func (c codec) Marshal(v any) (mem.BufferSlice, error) {
	f, ok := v.(OutgoingFrame)
	if !ok {
		return c.CodecV2.Marshal(v)
	}
	size := f.Size()
	if mem.IsBelowBufferPoolingThreshold(size) {
		return mem.BufferSlice{mem.SliceBuffer(f.Append(make([]byte, 0, size)))}, nil
	}
	b := buffers.Get(size)
	*b = f.Append((*b)[:0])
	return mem.BufferSlice{mem.NewBuffer(b, buffers)}, nil
}

// Unmarshal implements encoding.CodecV2.
func (c codec) Unmarshal(data mem.BufferSlice, v any) error {
	f, ok := v.(IncomingFrame)
	if !ok {
		return c.CodecV2.Unmarshal(data, v)
	}
	b := data.MaterializeToBuffer(buffers)
	defer b.Free()
	if k, ok := v.(KeptFrame); ok {
		b.Ref()
		k.Keep(b)
	}
	return f.Read(b.ReadOnlyData())
}

func serverCodec() grpc.ServerOption { return grpc.ForceServerCodecV2(frames) }

func clientCodec() grpc.CallOption { return grpc.ForceCodecV2(frames) }
